"""Orders: sorting, searching, the largest few. Equal elements keep their order; NaN comes last."""

from typing import Any, NamedTuple

from minigrad.autodiff import op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.elementwise import stop_gradient
from minigrad.ops.indexing import take_along_axis
from minigrad.ops.shaping import ravel

__all__ = ["argsort", "searchsorted", "sort", "topk"]


@primitive
def argsort(xp, x, *, axis=-1, descending=False):
    """The indices that sort `x` along `axis` (None: flattened); equal elements keep their order."""
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
def sort(xp, x, *, axis=-1, descending=False):
    """`x` in rising order along `axis` (None: flattened); each gradient returns to its element."""
    if axis is None:
        x, axis = ravel(x), 0
    if not x.ndim:
        return x
    order = argsort(stop_gradient(x), axis=axis, descending=descending)
    return take_along_axis(x, order, axis=axis)


class TopK(NamedTuple):
    """What `topk` gives."""

    values: Any
    indices: Any


def topk(x, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> TopK:
    """The `k` largest (or smallest) elements along `axis` and their indices, the first one first.

    They come in order, whether `sorted` or not. Of equal elements the first ones are taken.

    Raises:
        ShapeError: there are fewer than `k` elements.
    """
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(
            f"topk: k must be from 0 to {x.shape[axis]}, the length of axis {axis}; got {k}"
        )
    order = argsort(stop_gradient(x), axis=axis, descending=largest)
    ids = order[(*(slice(None),) * (axis % x.ndim), slice(0, k))]
    return TopK(take_along_axis(x, ids, axis=axis), ids)


@primitive
def searchsorted(xp, a, v, *, side="left"):
    """Where each `v` would go into the sorted `a` (one axis) so that it stays sorted.

    Args:
        side: 'left' of equal elements, or 'right'.
    """
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: the sorted array must have one axis, got shape {a.shape}")
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    return xp.searchsorted(a, xp.asarray(v), side=side)


searchsorted.no_gradient()
