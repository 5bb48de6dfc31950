"""Orders: sorting, searching, the largest few.

Equal elements keep their order, whatever is asked for. NaN counts as the largest of all: it comes
last in rising order, as in NumPy, and first in falling order, as in PyTorch.
"""

from typing import Any, NamedTuple

from minigrad.autodiff import as_arrays, op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.elementwise import stop_gradient, where
from minigrad.ops.indexing import take, take_along_axis
from minigrad.ops.shaping import _axis_of, flip, ravel, squeeze

__all__ = ["argsort", "digitize", "kthvalue", "searchsorted", "sort", "topk"]


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
    """Elements, and where they stand along the axis: what `topk` and `kthvalue` give."""

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
    return found if keepdims else Ranked(*(squeeze(v, axis=axis) for v in found))


def _ranked(name: str, x, k: int, least: int, axis: int, descending: bool) -> Ranked:
    """The first `k` elements in the order along `axis`; if there must be at least one, the last."""
    (x,) = as_arrays(x)
    axis = _axis_of(name, axis, x.shape)
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


@op(kernel=True)
def _top_ids(xp, x, *, k, descending):
    """The indices of the first `k` elements in the order along the last axis."""
    return argsort(x, axis=-1, descending=descending)[..., :k]


_top_ids.no_gradient()


def searchsorted(a, v, side="left", sorter=None):
    """Where each `v` would go into the sorted `a` (one axis) so that it stays sorted.

    Args:
        side: 'left' of equal elements, or 'right'.
        sorter: (n,) the indices that sort `a`, if it is not sorted.
    """
    if sorter is not None:
        a, sorter = as_arrays(a, sorter)
        if sorter.shape != a.shape:
            raise ShapeError(
                f"searchsorted: sorter of shape {sorter.shape} for an array of {a.shape}"
            )
        a = take(stop_gradient(a), sorter)
    return _searchsorted(a, v, side=side)


@primitive
def _searchsorted(xp, a, v, *, side):
    """`searchsorted` in what is sorted."""
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: the sorted array must have one axis, got shape {a.shape}")
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    return xp.searchsorted(a, xp.asarray(v), side=side)


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
