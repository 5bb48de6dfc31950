"""Orders: sorting, searching, the largest few.

Equal elements keep their order, whatever is asked for. NaN counts as the largest of all: it comes
last in rising order, as in NumPy, and first in falling order, as in PyTorch.
"""

from typing import Any, NamedTuple

import numpy as np

from minigrad.autodiff import as_array, as_arrays, on_device_of, op, primitive
from minigrad.backend import array_module
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import sortable
from minigrad.ops.elementwise import stop_gradient, where
from minigrad.ops.indexing import take, take_along_axis
from minigrad.ops.reductions import argmax, sum
from minigrad.ops.shaping import (
    axis_of,
    concatenate,
    expand_dims,
    flip,
    moveaxis,
    ravel,
    reshape,
    squeeze,
)

__all__ = [
    "argsort", "cummax", "cummin", "digitize", "kthvalue", "mode", "searchsorted", "sort", "topk",
]  # fmt: skip


@primitive
def argsort(xp, x, *, axis=-1, descending=False, stable=True):
    """The indices that sort `x` along `axis` (None: flattened).

    Args:
        stable: the order always is.
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    if not x.ndim:
        return xp.zeros_like(x, dtype="int64")
    x = sortable(x)
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    # From behind, so that equal elements keep their order in the falling one too.
    order = xp.argsort(xp.flip(x, axis=axis), axis=axis, kind="stable")
    return x.shape[axis] - 1 - xp.flip(order, axis=axis)


argsort.no_gradient()


@op
def sort(xp, x, *, axis=-1, descending=False, stable=True):
    """`x` in order along `axis` (None: flattened); each gradient returns to its element.

    Args:
        stable: the order always is.
    """
    if axis is None:
        x, axis = ravel(x), 0
    if not x.ndim:
        return x
    order = argsort(stop_gradient(x), axis=axis, descending=descending)
    return take_along_axis(x, order, axis=axis)


class Ranked(NamedTuple):
    """Elements, and where they stand along the axis: what `topk`, `cummax` and others give."""

    values: Any
    indices: Any


def topk(x, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Ranked:
    """The `k` largest (or smallest) elements along `axis` and their indices, the first one first.

    They come in order, whether `sorted` or not. Of equal elements the first ones are taken.

    Raises:
        ShapeError: there are fewer than `k` elements.
    """
    return _ranked("topk", x, k, 0, axis, largest)


def kthvalue(x, k: int, axis: int = -1, keepdims: bool = False) -> Ranked:
    """The `k`-th smallest element along `axis`, counted from 1, and its index (PyTorch's).

    Of equal elements the first ones count as smaller.

    Raises:
        ShapeError: there are fewer than `k` elements.
    """
    found = _ranked("kthvalue", x, k, 1, axis, False)
    flat = keepdims or not found.values.ndim
    return found if flat else Ranked(*(squeeze(v, axis=axis) for v in found))


def _ranked(name: str, x, k: int, least: int, axis: int, descending: bool) -> Ranked:
    """The first `k` elements in the order along `axis`; if there must be at least one, the last."""
    (x,) = as_arrays(x)
    if not x.ndim and axis in (0, -1):  # a number is a line of one
        found = _ranked(name, reshape(x, shape=(1,)), k, least, 0, descending)
        return found if not k else Ranked(*(reshape(v, shape=()) for v in found))
    axis = axis_of(name, axis, x.shape)
    if not least <= k <= x.shape[axis]:
        raise ShapeError(
            f"{name}: k must be from {least} to {x.shape[axis]}, the length of axis {axis}; got {k}"
        )
    if axis == x.ndim - 1 and not least:
        ids = _top_ids(x, k=k, descending=descending)
    else:
        order = argsort(stop_gradient(x), axis=axis, descending=descending)
        ids = order[(*(slice(None),) * axis, slice(least and k - 1, k))]
    return Ranked(take_along_axis(x, ids, axis=axis), ids)


@op(kernel="sorting.top_ids")
def _top_ids(xp, x, *, k, descending):
    """The indices of the first `k` elements in the order along the last axis."""
    return argsort(x, axis=-1, descending=descending)[..., :k]


_top_ids.no_gradient()


def mode(x, axis: int = -1, keepdims: bool = False) -> Ranked:
    """The most frequent element along `axis`, of several the smallest; and the last of its places.

    (PyTorch's `mode`.) It is NaN only where there is nothing else.

    Raises:
        ShapeError: there is no element.
    """
    (x,) = as_arrays(x)
    if not x.ndim and axis in (0, -1):  # a number is a line of one
        return Ranked(*(reshape(v, shape=()) for v in mode(reshape(x, shape=(1,)), 0)))
    axis = axis_of("mode", axis, x.shape)
    if not x.shape[axis]:
        raise ShapeError(f"mode: axis {axis} of shape {x.shape} is empty")
    lines = moveaxis(stop_gradient(x), source=axis, destination=-1)
    order = argsort(lines, axis=-1)
    lines = take_along_axis(lines, order, axis=-1)
    places = array_module(as_array(x)).arange(lines.shape[-1])
    changed = concatenate([lines[..., :1], lines[..., :-1]], -1) != lines
    first = cummax(where(changed, places, 0), -1).values  # where the run of each element begins
    last = argmax(places - first, axis=-1, keepdims=True)
    ids = moveaxis(take_along_axis(order, last, axis=-1), source=-1, destination=axis)
    found = Ranked(take_along_axis(x, ids, axis=axis), ids)
    return found if keepdims else Ranked(*(squeeze(v, axis=axis) for v in found))


def cummax(x, axis: int) -> Ranked:
    """The largest element so far along `axis`, and where it stands (PyTorch's `cummax`).

    Of equal elements it is the last one that has been reached, and that gets the gradient. From the
    first NaN on it is NaN.
    """
    return _best_so_far("cummax", x, axis, True)


def cummin(x, axis: int) -> Ranked:
    """The smallest element so far along `axis`, and where it stands; else as `cummax`."""
    return _best_so_far("cummin", x, axis, False)


def _best_so_far(name: str, x, axis: int, largest: bool) -> Ranked:
    (x,) = as_arrays(x)
    if not x.ndim and axis in (0, -1):
        return Ranked(*(v[0] for v in _best_so_far(name, ravel(x), 0, largest)))
    axis = axis_of(name, axis, x.shape)
    ids = _running_ids(stop_gradient(moveaxis(x, source=axis, destination=-1)), largest=largest)
    ids = moveaxis(ids, source=-1, destination=axis)
    return Ranked(take_along_axis(x, ids, axis=axis), ids)


@primitive
def _running_ids(xp, x, *, largest):
    """The index of the last largest (smallest) element up to each one of the last axis.

    In steps of 1, 2, 4, ...: after each an index is the best of twice as many elements before it.
    """
    n, shift = x.shape[-1], 1
    ids = xp.broadcast_to(xp.arange(n), x.shape)
    while shift < n:
        before, after = ids[..., :-shift], ids[..., shift:]
        a, b = (xp.take_along_axis(x, i, axis=-1) for i in (before, after))
        better = xp.logical_or(b >= a if largest else b <= a, b != b)
        ids = xp.concatenate([ids[..., :shift], xp.where(better, after, before)], axis=-1)
        shift *= 2
    return ids.copy() if shift == 1 else ids


_running_ids.no_gradient()


def searchsorted(a, v, side="left", sorter=None):
    """Where each `v` would go into the sorted `a` so that it stays sorted.

    Args:
        a: (n,); or (..., n) for `v` (..., m) with the same axes before the last, line by line (as
            in PyTorch): then all are compared with all.
        side: 'left' of equal elements, or 'right'.
        sorter: the indices that sort `a`, in its shape, if it is not sorted.

    Raises:
        ShapeError: `side` is neither, or `sorter` has not the shape of `a`.
    """
    if side not in ("left", "right"):
        raise ShapeError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    a, v = as_arrays(a, v)
    if a.ndim > 1:
        return _searchsorted_lines(a, v, side, sorter)
    if sorter is not None:
        if not hasattr(sorter, "dtype"):
            sorter = on_device_of([a], np.asarray(sorter, int))
        if sorter.shape != a.shape:
            raise ShapeError(
                f"searchsorted: sorter of shape {sorter.shape} for an array of {a.shape}"
            )
        a = take(stop_gradient(a), sorter)
    return _searchsorted(a, v, side=side)


def _searchsorted_lines(a, v, side: str, sorter):
    """`searchsorted` along the last axis: how many of a line are less than each `v`, or equal."""
    if a.shape[:-1] != v.shape[:-1]:
        raise ShapeError(
            f"searchsorted: the sorted array must have one axis, or those of v before the last; "
            f"got {a.shape} for v of {v.shape}"
        )
    a, v = stop_gradient(a), expand_dims(stop_gradient(v), axis=-1)
    if sorter is not None:
        a = take_along_axis(a, sorter, axis=-1)
    a = expand_dims(a, axis=-2)
    after = (a > v) if side == "right" else (a >= v)
    # NaN is the largest of all: `a` is before it unless it is one itself, on the left side.
    nan_v, nan_a = v != v, a != a
    after = where(nan_v, nan_a if side == "left" else nan_a & ~nan_a, after | nan_a)
    return sum(~after, axis=-1)


@primitive
def _searchsorted(xp, a, v, *, side):
    """`searchsorted` in what is sorted."""
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: the sorted array must have one axis, got shape {a.shape}")
    return xp.searchsorted(sortable(a), sortable(xp.asarray(v)), side=side)


_searchsorted.no_gradient()


def digitize(x, bins, right: bool = False):
    """For each element of `x` the number of the bin that it is in, from 0 for below all.

    Args:
        bins: (n,) limits in rising order. Bin i is [bins[i - 1], bins[i]). In falling order, it
            is [bins[i], bins[i - 1]).
        right: the bins are (bins[i - 1], bins[i]], or (bins[i], bins[i - 1]].
    """
    x, bins = as_arrays(x, bins)
    side = "left" if right else "right"
    y = searchsorted(bins, x, side=side)
    if not bins.size:
        return y
    falling = bins.shape[0] - searchsorted(flip(bins, axis=0), x, side=side)  # from the other end
    return where(bins[0] > bins[-1], falling, y)  # no branch: for vmap and jit
