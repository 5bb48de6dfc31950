"""Ids and numbers that may be wrong, looked at on the device; see `faults`."""

import numpy as np

from minigrad.errors import out_of_range
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page

PAGE = Page("indexing")
THREADS, BLOCKS = 256, 1024
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")

in_range = Kernel("in_range", PAGE, INTEGERS)


@in_range.accepts
def _(ids, *, name, n, low=None, axis=None):
    if ids.dtype.name not in INTEGERS or not ids.size or not ids.flags.c_contiguous:
        return None
    return Empty(ids.shape, np.dtype(np.int64))


@in_range.launches
def _(p, outputs, ids, *, name, n, low=None, axis=None):
    low = -n if low is None else low
    status, number = p.fault(out_of_range(name, ids.shape, n, low, axis))
    args = (*outputs, ids, ids.size, low, n, status, number)
    yield Launch(PAGE, "in_range", {"T": ids.dtype}, _blocks(ids.size), THREADS, args)


@in_range.examples
def _(dtype):
    yield (Empty((8, 1024), dtype),), {"name": "embedding", "n": 100}


first_wrong = Kernel("first_wrong", PAGE, ("bool",))


@first_wrong.accepts
def _(wrong, *, tell):
    if wrong.dtype != np.bool_ or not wrong.size or not wrong.flags.c_contiguous:
        return None
    return ()


@first_wrong.launches
def _(p, outputs, wrong, *, tell):
    args = (wrong, wrong.size, *p.fault(tell))
    yield Launch(PAGE, "first_wrong", {"T": wrong.dtype}, _blocks(wrong.size), THREADS, args)


@first_wrong.examples
def _(dtype):
    yield (Empty((1024,), dtype),), {"tell": lambda position, value: ValueError()}


def _blocks(size: int) -> int:
    return min(-(-size // THREADS), BLOCKS)
