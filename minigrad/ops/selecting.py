"""Choosing elements by conditions, by membership and by rank."""

import math
from numbers import Integral

import numpy as np

from minigrad.autodiff import as_arrays, primitive
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError
from minigrad.ops.dtypes import sortable
from minigrad.ops.elementwise import stop_gradient, where
from minigrad.ops.indexing import checked_ids, flatnonzero, take, take_along_axis
from minigrad.ops.shaping import arrayed, axis_of, ravel, unstack
from minigrad.ops.sorting import argsort, sort

__all__ = [
    "argpartition", "compress", "extract", "isin", "lexsort", "partition", "ravel_multi_index",
    "select", "unravel_index",
]  # fmt: skip


def select(condlist, choicelist, default=0):
    """The elements of the first choice whose condition holds, of `default` where none does.

    Conditions, choices and `default` broadcast together; the gradient goes to what was taken.

    Raises:
        ValueError: there are none, or not as many of both.
        DtypeError: a condition is not boolean.
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"select: expects as many conditions as choices, got {len(condlist)} and "
            f"{len(choicelist)}"
        )
    y = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        condition = arrayed(condition)
        if condition.dtype.kind != "b":
            raise DtypeError(f"select: conditions must be booleans, got {condition.dtype}")
        y = where(condition, choice, y)
    return y


def extract(condition, arr):
    """The elements of `arr`, flattened, where `condition`, flattened, is not 0."""
    return take(ravel(arrayed(arr)), flatnonzero(condition))


def compress(condition, a, axis: int | None = None):
    """What is along `axis` of `a` (None: flattened) where `condition`, (n,), is not 0.

    `condition` may be shorter than the axis.

    Raises:
        ShapeError: `condition` has not one axis.
    """
    condition, a = as_arrays(condition, a)
    if condition.ndim != 1:
        raise ShapeError(f"compress: the condition must have one axis, got {condition.shape}")
    return take(a, flatnonzero(condition), axis=axis)


@primitive
def isin(xp, element, test_elements, *, assume_unique=False, invert=False, kind=None):
    """Where an element is among `test_elements`, of any shape: booleans without history.

    NaN is in nothing. `assume_unique` and `kind` are for calls written for NumPy, and ignored.

    Args:
        invert: where it is not.
    """
    element = sortable(xp.asarray(element))
    known = xp.sort(sortable(xp.asarray(test_elements)).reshape(-1))
    if not known.shape[0]:
        return xp.zeros_like(element, dtype=bool) | bool(invert)
    at = xp.minimum(xp.searchsorted(known, element), known.shape[0] - 1)
    found = xp.take(known, at) == element
    return ~found if invert else found


isin.no_gradient()

# --------------------------------------------------------------------------------- by rank


def _ranks(name: str, kth, n: int) -> None:
    for k in np.atleast_1d(kth):
        if not -n <= k < n:
            raise OutOfRangeError(f"{name}: kth {k} is out of range [{-n}, {n})")


def partition(a, kth, axis: int | None = -1):
    """`a` with its `kth` elements along `axis` where they are in rising order, smaller ones before.

    The others are in order too: it is `sort`, which is a partition for every `kth`.

    Args:
        kth: an index or several.
        axis: None for the flattened array.
    """
    a = arrayed(a)
    _ranks("partition", kth, _length("partition", a, axis))
    return sort(a, axis=axis)


def argpartition(a, kth, axis: int | None = -1):
    """The indices that partition `a` along `axis`: see `partition`; it is `argsort`."""
    a = arrayed(a)
    _ranks("argpartition", kth, _length("argpartition", a, axis))
    return argsort(stop_gradient(a), axis=axis)


def _length(name: str, a, axis) -> int:
    return math.prod(a.shape) if axis is None else a.shape[axis_of(name, axis, a.shape)]


def lexsort(keys, axis: int = -1):
    """The indices that sort along `axis` by the last of `keys`, by the one before where equal, ...

    Args:
        keys: a sequence of arrays of one shape, or an array with the keys along its first axis.

    Raises:
        ShapeError: there are no keys, or they are not of one shape.
    """
    keys = [stop_gradient(k) for k in as_arrays(*keys)]
    if not keys or len({k.shape for k in keys}) > 1:
        raise ShapeError(f"lexsort: expects keys of one shape, got {[k.shape for k in keys]}")
    if not keys[0].ndim:
        return argsort(keys[0])
    order = argsort(keys[0], axis=axis)
    for key in keys[1:]:
        again = argsort(take_along_axis(key, order, axis=axis), axis=axis)
        order = take_along_axis(order, again, axis=axis)
    return order


# ------------------------------------------------------------------- indices of flattened arrays


@primitive
def _unraveled(xp, ids, *, shape, order):
    """`unravel_index`, its results along a new first axis."""
    rest = checked_ids("unravel_index", xp.asarray(ids), math.prod(shape), low=0)
    found = []
    for n in shape[::-1] if order == "C" else shape:
        found.append(rest % n)
        rest = rest // n
    return xp.stack(found[::-1] if order == "C" else found)


_unraveled.no_gradient()


def unravel_index(indices, shape, order: str = "C") -> tuple:
    """The indices along each axis of an array of `shape`, of `indices` into it flattened.

    Args:
        order: 'C' if the last axis moves fastest when it is flattened, 'F' for the first.

    Raises:
        OutOfRangeError: an index is negative or beyond the end.
    """
    shape = (shape,) if isinstance(shape, Integral) else tuple(shape)
    _orders("unravel_index", order)
    indices = _ids(indices)
    if not shape:
        checked_ids("unravel_index", np.asarray(indices), 1, low=0)
        return ()
    return unstack(_unraveled(indices, shape=shape, order=order))


@primitive
def _raveled(xp, *ids, dims, mode, order):
    """`ravel_multi_index`, each array of indices an input of its own."""
    y, step = 0, 1
    pairs = list(zip(ids, dims, mode, strict=True))
    for i, n, how in pairs[::-1] if order == "C" else pairs:
        i = xp.asarray(i)
        if how == "raise":
            i = checked_ids("ravel_multi_index", i, n, low=0)
        i = i % n if how == "wrap" else xp.clip(i, 0, n - 1) if how == "clip" else i
        y, step = i * step + y, step * n
    return y


_raveled.no_gradient()


def ravel_multi_index(multi_index, dims, mode="raise", order: str = "C"):
    """The index into a flattened array of shape `dims`, of one index along each of its axes.

    Args:
        multi_index: as many arrays of integers as `dims`; they broadcast.
        mode: what is done with an index out of range: 'raise', 'wrap' or 'clip'; perhaps one for
            each axis.
        order: as for `unravel_index`.

    Raises:
        ValueError: the indices or modes are not as many as `dims`, or a mode is none of the three.
    """
    dims, multi_index = tuple(dims), [_ids(i) for i in multi_index]
    _orders("ravel_multi_index", order)
    mode = (mode,) * len(dims) if isinstance(mode, str) else tuple(mode)
    if not len(dims) == len(multi_index) == len(mode) or not set(mode) <= {"raise", "wrap", "clip"}:
        raise ValueError(
            f"ravel_multi_index: expects an array of indices, and a mode of 'raise', 'wrap' and "
            f"'clip', for each of {dims}; got {len(multi_index)} and {mode}"
        )
    return _raveled(*multi_index, dims=dims, mode=mode, order=order)


def _ids(x):
    x = arrayed(x)
    if x.dtype.kind not in "iu":
        raise DtypeError(f"expected indices, integers, got {x.dtype}")
    return x


def _orders(name: str, order: str) -> None:
    if order not in ("C", "F"):
        raise ValueError(f"{name}: order must be 'C' or 'F', got {order!r}")
