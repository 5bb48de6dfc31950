"""A strict stand-in for CuPy over NumPy: code for a device runs, and is judged, without a device.

For tests only: with `tests/standin` first on PYTHONPATH, `import cupy` finds it. It has what
minigrad uses, under CuPy's names, and errs on the side of refusal. Unlike in NumPy

    an array            is not converted in silence, and is no index, no dictionary key
    a NumPy array       is refused as an operand and as an index; NumPy scalars are welcome
    a reduction, x[0]   gives a 0-d array, never a scalar
    float(x), print(x)  and all else that waits for the device is counted in `synchronisations`
    asarray(x), x.get() and all else that moves data is counted in `transfers`
    capturing()         makes either of them an error, as while a CUDA graph is recorded
    empty(n)            is full of rubbish
    x[ids] = y          writes in random order, and `add.at` adds in random order
    1 / 0, log(-1)      are silent
    RawModule(code=...) runs on the CPU, and says which thread does what it must not (`on_host.h`)
    a stream            that is `non_blocking` works when it is waited for; a graph when launched
    a capture           refuses what CuPy's refuses, and memory of the default pool
    x + 1, empty(n)     are counted by a pool, and lie where `using_allocator` says
    bfloat16            is not sorted, and `where` gives float32 for it

Some of it is stricter than CuPy 14, which uploads lists and NumPy arrays that are used as indices,
wraps indices that are out of range, and lets NumPy's functions pass device arrays on to its own.
What it cannot show: speed, other rounding and memory order, subnormals flushed to 0, threads of
different warps and blocks that run at the same time.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from cupy import cuda, fft, linalg  # noqa: F401
from cupy._ndarray import (  # noqa: F401
    SCALARS,
    as_index,
    call,
    capturing,
    count,
    is_bfloat16,
    matmul,
    ndarray,
    refuse_library,
    run,
    scatter,
    synchronisations,
    to_device,
    to_host,
    to_operand,
    transfers,
    uninitialised,
)
from cupy._raw import CompileException, KernelError, RawModule  # noqa: F401
from cupy.cuda.memory import DEFAULT, PINNED
from cupy.cuda.stream import get_current_stream

__version__ = "14.0.0"

# ------------------------------------------------------------------------- NumPy's functions

UFUNCS = """
    abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or
    bitwise_xor cbrt ceil copysign cos cosh divide equal exp exp2 expm1 floor floor_divide fmax
    fmin fmod gcd greater greater_equal hypot invert isfinite isinf isnan lcm left_shift
    less less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
    logical_xor matmul maximum minimum mod multiply negative nextafter not_equal positive power
    reciprocal remainder right_shift rint sign signbit sin sinh sqrt square subtract tan tanh
    true_divide trunc
"""
FUNCTIONS = """
    all allclose amax amin any argmax argmin argsort array_equal ascontiguousarray
    asfortranarray broadcast_to clip concatenate cumprod cumsum diag diagonal dot expand_dims
    flip frexp full_like hstack isclose max mean min moveaxis ndim ones_like outer prod ravel
    repeat reshape roll round searchsorted shape size sort split squeeze stack std sum swapaxes
    tensordot tile trace transpose tril triu var vstack zeros_like
"""
SIZED_BY_VALUES = "argwhere bincount flatnonzero nonzero unique"  # so the host waits for the values
MAKERS = "arange eye full linspace ones result_type tri zeros"
SAME = """
    bool_ dtype e finfo float16 float32 float64 floating iinfo inf int16 int32 int64 int8 integer
    intp nan newaxis pi promote_types uint16 uint32 uint64 uint8
"""


def _ufunc(name: str) -> Callable:
    function = matmul if name == "matmul" else getattr(np, name)

    def ufunc(*operands: Any, out: ndarray | None = None, dtype: Any = None) -> ndarray:
        return run(function, *map(to_operand, operands), out=to_host(out), dtype=dtype)

    return ufunc


def _function(name: str) -> Callable:
    function = getattr(np, name)

    def wrapped(x: Any, *args: Any, **options: Any) -> Any:
        for part in x if isinstance(x, tuple | list) else [x]:
            if not isinstance(part, ndarray):
                raise TypeError(f"cupy.{name}: expected a device array, got {type(part).__name__}")
        return call(function, x, *args, **options)

    return wrapped


def _waiting(name: str) -> Callable:
    function = _function(name)

    def wrapped(*args: Any, **options: Any) -> Any:
        count(synchronisations, name)
        return function(*args, **options)

    return wrapped


def _maker(name: str) -> Callable:
    function = getattr(np, name)
    return lambda *args, **options: call(function, *args, **options)


# Beyond this line `all`, `any`, `max`, `min` and `sum` are the device's.
for _make, _names in (
    (_ufunc, UFUNCS),
    (_function, FUNCTIONS),
    (_waiting, SIZED_BY_VALUES),
    (_maker, MAKERS),
    (lambda name: getattr(np, name), SAME),
):
    globals().update({_name: _make(_name) for _name in _names.split()})


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"the stand-in for cupy has no {name!r}; if CuPy has it, add it in tests/standin/cupy"
    )


# ----------------------------------------------------------------------------- its own ways


def array(
    x: Any, dtype: Any = None, copy: bool = True, order: str = "K", *, blocking: bool = False
) -> ndarray:
    """`x` on the device; a transfer, unless it is a scalar or there already."""
    if isinstance(x, ndarray):
        return x.astype(dtype or x.dtype, order=order, copy=copy)
    if not isinstance(x, SCALARS) or get_current_stream().is_capturing():
        count(transfers, "asarray")
    return run(np.array, np.array(x, dtype=dtype, order=order))


def asarray(x: Any, dtype: Any = None, order: str = "K", *, blocking: bool = False) -> ndarray:
    """`x` on the device, itself if it is there already."""
    return array(x, dtype, copy=False, order=order, blocking=blocking)


def asnumpy(x: Any) -> np.ndarray:
    """`x` on the host."""
    return x.get() if isinstance(x, ndarray) else np.asarray(x)


def from_dlpack(source: Any) -> ndarray:
    """What shares the memory of an array on a device."""
    kind, _ = source.__dlpack_device__()
    if kind != 2:
        raise TypeError("CPU arrays cannot be directly imported to CuPy.")

    def capsule(**options: Any) -> Any:
        return source.__dlpack__(stream=1, **{"max_version": None} | options)

    whole = SimpleNamespace(__dlpack__=capsule, __dlpack_device__=lambda: (1, 0))
    return to_device(np.from_dlpack(whole))


def empty(shape: Any, dtype: Any = "float64") -> ndarray:
    """Rubbish: NaN, the largest integer, or True."""
    return uninitialised(shape, dtype)


def empty_like(x: ndarray, dtype: Any = None) -> ndarray:
    """Rubbish of the shape of `x`."""
    return empty(x.shape, dtype or x.dtype)


def where(condition: Any, *choices: Any) -> Any:
    """The one or the other by condition; or, without a choice, where the condition holds."""
    if not choices:
        return _waiting("nonzero")(condition)
    # There is no loop for bfloat16, and float32 is the next one that takes it.
    choices = [x.astype("float32") if is_bfloat16(x) else x for x in map(to_operand, choices)]
    return run(np.where, to_operand(condition), *choices)


def einsum(subscripts: str, *operands: ndarray) -> ndarray:
    """Einstein summation."""
    if {x.dtype.kind for x in operands} - set("iub"):
        refuse_library("cuBLAS")
    return run(np.einsum, subscripts, *map(to_operand, operands))


def take(a: ndarray, indices: Any, axis: int | None = None) -> ndarray:
    """The elements of `a` at `indices`, a device array or an integer, along `axis`."""
    ids = as_index(indices)[0]
    return run(np.take, to_operand(a), ids, axis, indices=tuple(_only_arrays(ids)))


def take_along_axis(a: ndarray, indices: ndarray, axis: int) -> ndarray:
    """`a[i, indices[i, j]]` for the last of two axes."""
    ids = to_operand(indices)
    return run(np.take_along_axis, to_operand(a), ids, axis, indices=(ids,))


def _only_arrays(*ids: Any) -> Any:
    return (x for x in ids if isinstance(x, np.ndarray))


def _add_at(a: ndarray, indices: Any, b: Any) -> None:
    if a.dtype.name not in ("int32", "uint32", "uint64", "float16", "float32", "float64"):
        raise TypeError(f"add.at: there is no atomic addition of {a.dtype}")
    scatter(np.add.at, a, indices, b)


globals()["add"].at = _add_at


def get_default_memory_pool() -> cuda.MemoryPool:
    """The pool that hands out memory unless another is asked for."""
    return DEFAULT


def get_default_pinned_memory_pool() -> Any:
    """The pool of page-locked host memory."""
    return PINNED


def is_available() -> bool:
    """Whether there is a device: there is this one."""
    return True
