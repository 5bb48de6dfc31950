"""What the ops ask of dtypes, and what they make of them."""

import numpy as np

from minigrad.autodiff import as_arrays, primitive
from minigrad.backend import describe, is_array
from minigrad.errors import DtypeError
from minigrad.precision import is_half

__all__ = ["astype"]


def matched(*operands):
    """Operands with integer and boolean arrays in the dtype of the floating-point ones."""
    if len(operands) == 2:  # the common cases, quickly: one dtype for both, or a scalar
        a, b = operands
        if (
            type(a) is np.ndarray
            and (dtype := a.dtype).kind == "f"
            and (type(b) is float or (type(b) is np.ndarray and b.dtype is dtype))
        ):
            return operands
    dtype = None
    for x in operands:  # one dtype for all, and perhaps scalars
        if type(x) is float or type(x) is int:
            continue
        own = getattr(x, "dtype", None)
        if dtype is None and own is not None:
            dtype = own
        elif own is not dtype or own is None:
            break
    else:
        if dtype is not None and dtype.kind == "f":
            return operands
        if dtype is not None and dtype.kind == "V":  # bfloat16, which NumPy lifts beside a float
            return [dtype.type(x) if type(x) is float else x for x in operands]
    dtypes = {x.dtype for x in map(real, operands) if is_array(x)}
    floats = [d for d in dtypes if d.kind not in "iub"]
    if floats and len(floats) == len(dtypes):
        return operands
    if floats:
        target = np.result_type(*floats) if len(floats) > 1 else floats[0]
    elif any(isinstance(x, float) for x in operands):
        target = np.dtype(np.float32)
    else:
        return operands
    if not dtypes:
        return [target.type(x) if isinstance(x, float) else x for x in operands]
    return [x.astype(target) if is_array(x) and x.dtype.kind in "iub" else x for x in operands]


def sortable(x):
    """`x` in a dtype that can be sorted: CuPy cannot sort bfloat16, and float32 has all of it."""
    return x.astype("float32") if x.dtype.kind == "V" else x


def chosen(xp, condition, a, b):
    """`xp.where` of operands that are matched: CuPy's knows no bfloat16, and gives float32."""
    y = xp.where(condition, a, b)
    for x, other in ((a, b), (b, a)):
        dtype = getattr(x, "dtype", None)
        if dtype is not None and dtype.kind == "V" and getattr(other, "dtype", dtype) == dtype:
            return y if y.dtype == dtype else y.astype(dtype)
    return y


def real_array(xp, x):
    """`x` as an array, a Python float as float32."""
    if hasattr(real(x), "dtype"):
        return x
    return xp.asarray(x, dtype="float32" if isinstance(x, float) else None)


def real(x):
    """`x`, which must be a number or hold real numbers."""
    if x.dtype.kind in "fiubV" if hasattr(x, "dtype") else isinstance(x, int | float):
        return x
    raise DtypeError(
        f"expected an array, a Tensor or a number, got {describe(x)}; real numbers only, complex "
        f"is not supported"
    )


def real_dtype(name: str, dtype):
    """`dtype`, which must be one of real numbers, or None."""
    if dtype is not None and np.dtype(dtype).kind not in "fiubV":
        raise DtypeError(f"{name}: {dtype} is not supported; real numbers only")
    return dtype


def floating(xp, x):
    """`x` as an array of floats: integers, booleans and Python's numbers as float32."""
    if not hasattr(x, "dtype"):
        return xp.asarray(real(x), dtype="float32")
    return x if x.dtype.kind in "fV" else real(x).astype("float32")


def floating_pair(xp, a, b):
    """Two operands matched, at least one of them in floating point."""
    a, b = matched(a, b)
    for x in (a, b):
        if hasattr(x, "dtype") and x.dtype.kind in "fV":
            return a, b
    return floating(xp, a), floating(xp, b)


@primitive
def astype(xp, x, *, dtype):
    """`x` in another dtype; the gradient returns in the dtype of `x`.

    Integers and booleans have no gradient: there the history ends.

    Raises:
        DtypeError: no dtype is stated.
    """
    if dtype is None:  # which would mean float64
        raise DtypeError("astype: state a dtype, got None")
    return real_array(xp, x).astype(real_dtype("astype", dtype))


astype.vjps(lambda g, _y, _x, *, dtype: g)  # the engine casts it back


def in_floats(*xs) -> list:
    """`xs` as arrays of one floating-point dtype, float32 if all are integers; None stays None."""
    arrays = as_arrays(*xs)
    floats = [x.dtype for x in arrays if x is not None and x.dtype.kind not in "iub"]
    dtype = np.result_type(*floats) if floats else np.dtype(np.float32)
    return [x if x is None or x.dtype == dtype else astype(x, dtype=dtype) for x in arrays]


def widened(x):
    """`x` in a dtype to compute in: float32 for half precision, integers and booleans."""
    return astype(x, dtype="float32") if is_half(x.dtype) or x.dtype.kind in "iub" else x


def narrowed(y, x):
    """`y`, computed from `widened(x)`, in half precision if `x` is."""
    return astype(y, dtype=x.dtype) if is_half(x.dtype) else y


def half_widened(x):
    """Half precision as float32: 16 bits are too few for a sum of squares."""
    return astype(x, dtype="float32") if is_half(x.dtype) else x


def as_came(y, x):
    """`y` in the dtype of `x`, if that holds floats."""
    return y if y.dtype == x.dtype or x.dtype.kind in "iub" else astype(y, dtype=x.dtype)
