"""Tensors from nothing or from numbers, made by the array module in force (`backend.xp`), or on
the `device` that is named: 'cpu', 'cuda', 'cuda:0'.

    tensor      always copies
    asarray     shares the memory of an array that is on the right device and has the right dtype,
                and gives a Tensor back as it is, with its history
    Tensor      (the class) always shares the memory of an array, wherever that is
    from_dlpack always shares the memory of an array of another library
    from_numpy  always shares the memory of a NumPy array
    the others  have memory of their own

Where memory is shared, a change to the array shows in the tensor, and the other way round.
"""

from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from minigrad import random
from minigrad.autodiff import Tensor, as_array, as_arrays, joined, on_device_of, primitive
from minigrad.backend import array_module, modes, to_device, using, xp
from minigrad.devices import placed
from minigrad.errors import DtypeError, GradientError
from minigrad.ops.dtypes import astype, in_floats, real_dtype
from minigrad.ops.elementwise import where
from minigrad.ops.shaping import moveaxis

__all__ = [
    "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "from_numpy", "full",
    "full_like", "identity", "linspace", "logspace", "ones", "rand", "randint", "randn", "tensor",
    "tri", "zeros",
]  # fmt: skip


def tensor(data, dtype=None, requires_grad: bool = False, *, device: str | None = None) -> Tensor:
    """A new tensor with a copy of `data`: numbers, (nested) lists, an array or a Tensor.

    It has no history, whatever `data` had: `asarray` keeps that.

    Without `dtype`, Python floats become float32, Python integers int64, and arrays keep theirs.
    """
    with placed(device):
        array = to_device(as_array(data))
        return Tensor(array.astype(dtype or array.dtype, copy=True), requires_grad)


def asarray(data, dtype=None, *, device: str | None = None) -> Tensor:
    """`data` as a tensor, without a copy where none is needed; numbers as for `tensor`."""
    data = joined(data)
    if type(data) is Tensor:
        data = data if device is None else data.to(device)
        return data if dtype is None or data.dtype == np.dtype(dtype) else data.astype(dtype)
    with placed(device):
        array = to_device(as_array(data))
        return Tensor(array.astype(dtype or array.dtype, copy=False))


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares its memory with a NumPy array: a change to one shows in the other.

    Raises:
        TypeError: it is no NumPy array.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    return Tensor(array)


def from_dlpack(source, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of any array with DLPack: NumPy's, PyTorch's, CuPy's.

    Args:
        device: where it is to be, 'cpu', 'cuda' or 'cuda:1'; None for where `source` is.
        copy: whether it must be a copy (True), or must share memory (False); None for a copy
            only where it has to move.
        (https://dmlc.github.io/dlpack)

    Raises:
        TypeError: `source` does not speak DLPack.
        BackendError: it is on a device, and CuPy cannot be used.
        BufferError: it would have to move, and may not be copied.
    """
    if not hasattr(source, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: {type(source).__name__} has no __dlpack__ method")
    on_host = int(source.__dlpack_device__()[0]) == 1  # kDLCPU
    with using("numpy" if on_host else "cupy") as module:
        x = Tensor(module.from_dlpack(source))
    y = x if device is None else x.to(device)
    if copy is False and y is not x:
        raise BufferError(
            f"from_dlpack: from {x.device} to {device} it is copied; leave copy out, or device"
        )
    return Tensor(y.data.copy()) if copy and y is x else y


# ----------------------------------------------------------------------- one number for all


def zeros(
    shape, dtype="float32", requires_grad: bool = False, *, device: str | None = None
) -> Tensor:
    """Zeros of `shape`."""
    with placed(device) as xp:
        return Tensor(xp.zeros(shape, dtype), requires_grad)


def ones(
    shape, dtype="float32", requires_grad: bool = False, *, device: str | None = None
) -> Tensor:
    """Ones of `shape`."""
    with placed(device) as xp:
        return Tensor(xp.ones(shape, dtype), requires_grad)


def full(
    shape, fill_value, dtype="float32", requires_grad: bool = False, *, device: str | None = None
) -> Tensor:
    """`shape` filled with one value."""
    with placed(device) as xp:
        return Tensor(xp.full(shape, _value("full", fill_value), dtype), requires_grad)


def empty(
    shape, dtype="float32", requires_grad: bool = False, *, device: str | None = None
) -> Tensor:
    """`shape` with whatever is in the memory."""
    with placed(device) as xp:
        return Tensor(xp.empty(shape, dtype), requires_grad)


@primitive
def full_like(xp, x, *, fill_value, dtype=None):
    """One value in the shape of `x`, and in its dtype unless another is given."""
    fill_value = _value("full_like", fill_value)
    return xp.full_like(x, fill_value, dtype=real_dtype("full_like", dtype))


full_like.no_gradient()


def empty_like(x, dtype=None):
    """The shape of `x`, an array or a Tensor, with whatever is in the memory."""
    data = x.data if type(x) is Tensor else x
    made = array_module(data).empty_like(data, dtype=dtype)
    return Tensor(made) if type(x) is Tensor else made


# -------------------------------------------------------------------------------- patterns


def eye(
    N: int, M: int | None = None, k: int = 0, dtype="float32", requires_grad=False,
    *, device: str | None = None,
) -> Tensor:  # fmt: skip
    """(N, M) with ones on diagonal `k` and zeros elsewhere; M is N by default."""
    with placed(device) as xp:
        return Tensor(xp.eye(N, M, k, dtype=dtype), requires_grad)


def identity(n: int, dtype="float32") -> Tensor:
    """The identity matrix (n, n)."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype="float32") -> Tensor:
    """(N, M) with ones on diagonal `k` and below it, and zeros above; M is N by default."""
    return Tensor(xp().tri(N, M, k, dtype=dtype))


def arange(
    start, stop=None, step=1, dtype=None, requires_grad: bool = False, *, device: str | None = None
) -> Tensor:
    """Evenly spaced numbers from `start` (0 if only one is given) up to and without `stop`.

    Raises:
        ValueError: `step` is 0.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    start, stop, step = (_value("arange", v) for v in (start, stop, step))
    if step == 0:
        raise ValueError("arange: step must not be 0")
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = "float32"
    with placed(device) as xp:
        return Tensor(xp.arange(start, stop, step, dtype=dtype), requires_grad)


def _value(name: str, x: Any) -> Any:
    """A number or array behind `x`, which must not be tracked: what is made has no history."""
    if type(x) is Tensor and x.requires_grad:
        raise GradientError(f"{name}: gives a constant; use x.detach() for a tracked tensor")
    if (x if hasattr(x, "dtype") else np.asarray(x)).dtype.kind not in "fiubV":
        raise DtypeError(f"{name}: expected real numbers, got {x!r}")
    return x.data if type(x) is Tensor else x


def linspace(
    start, stop, num: int = 50, endpoint: bool = True, dtype=None, requires_grad: bool = False,
    *, axis: int = 0,
) -> Tensor:  # fmt: skip
    """`num` evenly spaced numbers from `start` up to `stop`, that included if `endpoint`.

    Of ends that are tracked it is differentiable. Arrays as ends broadcast; `axis` is then where
    the new axis goes. Without `dtype` it is that of the ends if they are arrays of floats, and
    float32 otherwise.

    Raises:
        ValueError: `num` is negative.
    """
    if num < 0:
        raise ValueError(f"linspace: num must not be negative, got {num}")
    if not any(hasattr(v, "shape") or isinstance(v, list | tuple) for v in (start, stop)):
        start, stop = (_value("linspace", v) for v in (start, stop))
        made = xp().linspace(start, stop, num, endpoint, dtype=dtype or "float32")
        return Tensor(made, requires_grad)
    start, stop = as_arrays(start, stop)
    if dtype is not None and np.dtype(dtype).kind == "f":  # computed in it, not only given
        start, stop = (astype(v, dtype=np.result_type(v.dtype, dtype)) for v in (start, stop))
    y = spaced(start, stop, num, endpoint, axis)
    y = y if dtype is None or y.dtype == np.dtype(dtype) else astype(y, dtype=dtype)
    y = y if type(y) is Tensor else Tensor(to_device(y))
    return y.requires_grad_() if requires_grad else y


def spaced(start, stop, num: int, endpoint: bool = True, axis: int = 0):
    """`linspace` between two arrays."""
    start, stop = in_floats(start, stop)
    steps = num - 1 if endpoint else num
    step = (stop - start) / max(steps, 1)
    i = np.arange(num).reshape(-1, *(1,) * step.ndim).astype(start.dtype)
    i = on_device_of([start, stop], i)
    y = i * step + start
    if endpoint and num > 1:
        y = where(i == steps, stop, y)  # met exactly
    return y if axis == 0 else moveaxis(y, source=0, destination=axis)


def logspace(
    start, stop, num: int = 50, endpoint: bool = True, base=10.0, dtype="float32",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`base` to the powers of `linspace(start, stop, num, endpoint)`."""
    start, stop, base = (_value("logspace", v) for v in (start, stop, base))
    return Tensor(xp().logspace(start, stop, num, endpoint, base, dtype=dtype), requires_grad)


# ---------------------------------------------------------------------------- at random


def _lengths(shape: tuple) -> tuple:
    """`randn((2, 3))` as well as `randn(2, 3)`."""
    return shape if len(shape) != 1 or isinstance(shape[0], Integral) else tuple(shape[0])


def _drawn(draw, key):
    """What `draw` gives for a key; a program of `mg.jit` draws anew in each run."""
    key = key or random.next_key()
    found = draw(key)
    for observer in modes.get().observers:
        observer.drew(draw, key, found)
    return found


def randn(
    *shape: int,
    dtype="float32",
    requires_grad: bool = False,
    key: random.Key | None = None,
    device: str | None = None,
) -> Tensor:
    """Standard normal numbers, from `key` or else from the current stream of keys."""
    with placed(device) as xp:
        draw = partial(random.normal, shape=_lengths(shape), dtype=dtype, xp=xp)
        return Tensor(_drawn(draw, key), requires_grad)


def rand(
    *shape: int,
    dtype="float32",
    requires_grad: bool = False,
    key: random.Key | None = None,
    device: str | None = None,
) -> Tensor:
    """Numbers uniform in [0, 1), from `key` or else from the current stream of keys."""
    with placed(device) as xp:
        draw = partial(random.uniform, shape=_lengths(shape), dtype=dtype, xp=xp)
        return Tensor(_drawn(draw, key), requires_grad)


def randint(
    low: int, high: int | None = None, shape=(), key: random.Key | None = None,
    *, device: str | None = None,
) -> Tensor:  # fmt: skip
    """Integers from `low` (0 if only one limit is given) up to and without `high`, int64."""
    low, high = (0, low) if high is None else (low, high)
    with placed(device) as xp:
        draw = partial(random.integers, low=low, high=high, shape=shape, xp=xp)
        return Tensor(_drawn(draw, key))
