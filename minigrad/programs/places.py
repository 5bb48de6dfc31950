"""Arrays of a program, be they the host's or a device's: where they lie, and copies of them."""

from typing import Any

import numpy as np

from minigrad.backend import array_module, is_array, to_numpy
from minigrad.batched import Batched


def is_plain(x: Any) -> bool:
    """Whether `x` is an array of NumPy or CuPy."""
    kind = type(x)
    return kind is np.ndarray or (kind is not Batched and is_array(x) and hasattr(x, "strides"))


def on_device(x: Any) -> bool:
    """Whether an array is CuPy's."""
    return not isinstance(x, np.ndarray)


def address_of(x: Any) -> int:
    """Where an array begins."""
    return x.data.ptr if on_device(x) else x.__array_interface__["data"][0]


def copied(x: Any) -> Any:
    """A copy of an array, C-contiguous; a scalar as a NumPy array."""
    return x.copy() if is_plain(x) and on_device(x) else np.array(x)


def assign(target: Any, x: Any) -> None:
    """Write the numbers of `x` to `target`, wherever each of them lies."""
    if on_device(target):
        x = array_module(target).asarray(x)
    elif is_plain(x) and on_device(x):
        x = to_numpy(x)
    target[...] = x


class _Interface:
    """What NumPy takes for an array: an address with a layout."""

    def __init__(self, address: int, value: Any):
        self.__array_interface__ = {
            "data": (address, False),
            "shape": value.shape,
            "strides": value.strides,
            "typestr": value.dtype.str,
            "version": 3,
        }


def on_host_at(address: int, value: Any) -> np.ndarray:
    """The array of the layout of `value` that begins at an address of the host."""
    found = np.asarray(_Interface(address, value))
    return found if value.dtype.kind != "V" else found.view(value.dtype)  # bfloat16 has no code


def on_device_at(address: int, value: Any) -> Any:
    """The array of the layout of `value` that begins at an address of the device."""
    import cupy

    if not value.size:
        return cupy.empty(value.shape, value.dtype)  # which lies nowhere
    low, high = value.extent
    memory = cupy.cuda.UnownedMemory(address + low, high - low, value)
    pointer = cupy.cuda.MemoryPointer(memory, -low)
    return cupy.ndarray(value.shape, value.dtype, memptr=pointer, strides=value.strides)
