"""Which memory was written, and when: so that a backward pass notices what it can no longer trust.

An op keeps arrays for its rule. If one is overwritten before the backward pass, the gradient would
be wrong in silence. So nodes and writes share one clock: every node has the tick at which it was
recorded, every write through a Tensor, an optimizer or `load_state_dict` is noted here with its
tick and its range of addresses, and the pass compares the two. Nothing is stored with an array, so
views, and tensors that share memory, are covered; and a training loop, in which every node is
younger than the last write, pays for one comparison of integers an op.

What NumPy writes on its own (`x.data[...] = 0`, an array that a tensor shares) is not seen here;
`minigrad.detect_anomaly` compares checksums for that.
"""

import itertools
import math
from typing import Any

from minigrad.batched import base

tick = itertools.count(1).__next__  # the clock: every call is later than the one before

latest = 0  # the tick of the last write

# (first address, last address): tick. Addresses that were freed and used again do no harm: what is
# kept there now was kept later than the write. When there are too many, the oldest become coarse.
_ranges: dict[tuple[int, int], int] = {}
_MOST = 4096


def wrote(array: Any) -> None:
    """Note that `array` has been written just now."""
    global latest
    latest = tick()
    where = _extent(array)
    _ranges.pop(where, None)  # so that the order is that of the last writes
    _ranges[where] = latest
    if len(_ranges) > _MOST:
        _coarsen()


def _coarsen() -> None:
    """Make one range of each two neighbours among the oldest: a write is never forgotten, at worst
    it counts for memory between two that was not written.
    """
    oldest = sorted(list(_ranges.items())[: _MOST // 2])
    for where, _ in oldest:
        _ranges.pop(where, None)
    for ((low, end), when), ((_, high), then) in zip(oldest[::2], oldest[1::2], strict=True):
        both = low, max(end, high)
        _ranges[both] = max(when, then, _ranges.get(both, 0))


def overwritten(array: Any, since: int) -> bool:
    """Whether memory of `array` has been written after the tick `since`."""
    low, high = _extent(array)
    return any(
        when > since and low < end and start < high
        for (start, end), when in list(_ranges.items())  # a copy: another thread may write
    )


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays lie in the same memory, at least in part."""
    (low, high), (start, end) = _extent(a), _extent(b)
    return low < end and start < high


def _extent(array: Any) -> tuple[int, int]:
    """The addresses of the first byte of `array` and of the one behind its last."""
    array = base(array)
    if not math.prod(array.shape):
        return 0, 0
    if hasattr(array, "__array_interface__"):
        low = array.__array_interface__["data"][0]
    else:
        low = array.data.ptr  # CuPy
    steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
    high = low + sum(s for s in steps if s > 0) + array.dtype.itemsize
    return low + sum(s for s in steps if s < 0), high
