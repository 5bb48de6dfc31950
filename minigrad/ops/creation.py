"""Tensors from nothing or from numbers, made by the array module in force (`backend.xp`)."""

import numpy as np

from minigrad import random
from minigrad.autodiff import Tensor, as_array
from minigrad.backend import to_device, xp

__all__ = [
    "arange", "from_numpy", "full", "ones", "rand", "randn", "tensor", "zeros",
]  # fmt: skip


def tensor(data, dtype=None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`: numbers, (nested) lists, an array or a Tensor.

    Without `dtype`, Python floats become float32, Python integers int64, and arrays keep theirs.
    """
    array = to_device(as_array(data))
    return Tensor(array.astype(dtype or array.dtype, copy=True), requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares its memory with a NumPy array: a change to one shows in the other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    return Tensor(array)


def zeros(shape, dtype="float32", requires_grad: bool = False) -> Tensor:
    """Zeros of `shape`."""
    return Tensor(xp().zeros(shape, dtype), requires_grad)


def ones(shape, dtype="float32", requires_grad: bool = False) -> Tensor:
    """Ones of `shape`."""
    return Tensor(xp().ones(shape, dtype), requires_grad)


def full(shape, value, dtype="float32", requires_grad: bool = False) -> Tensor:
    """`shape` filled with one value."""
    return Tensor(xp().full(shape, value, dtype), requires_grad)


def arange(start, stop=None, step=1, dtype=None) -> Tensor:
    """Evenly spaced numbers from `start` (0 if only one is given) up to and without `stop`."""
    start, stop = (0, start) if stop is None else (start, stop)
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = "float32"
    return Tensor(xp().arange(start, stop, step, dtype=dtype))


def randn(*shape: int, dtype="float32", key: random.Key | None = None) -> Tensor:
    """Standard normal numbers, from `key` or else from the current stream of keys."""
    return Tensor(random.normal(key or random.next_key(), shape, dtype=dtype, xp=xp()))


def rand(*shape: int, dtype="float32", key: random.Key | None = None) -> Tensor:
    """Numbers uniform in [0, 1), from `key` or else from the current stream of keys."""
    return Tensor(random.uniform(key or random.next_key(), shape, dtype=dtype, xp=xp()))
