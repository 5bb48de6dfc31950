"""Functions that move elements and compute nothing. Results may be views; none is written."""

import math
from itertools import accumulate, pairwise
from numbers import Integral

from numpy.lib.array_utils import normalize_axis_tuple

from minigrad.autodiff import op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.elementwise import _match

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "moveaxis", "ravel", "reshape", "split",
    "squeeze", "stack", "swapaxes", "transpose", "tril", "triu",
]  # fmt: skip


@primitive
def reshape(xp, x, *, shape):
    """The same elements in another shape, in C order; one length may be -1."""
    return x.reshape(shape)


@reshape.vjp
def _(g, _y, _x, *, shape):
    return reshape(g, shape=_x.shape)


@op
def ravel(xp, x):
    """`x` with one axis."""
    return reshape(x, shape=(-1,))


@primitive
def transpose(xp, x, *, axes=None):
    """The axes of `x` in the order `axes`, reversed by default."""
    return x.transpose(axes)


@transpose.vjp
def _(g, _y, _x, *, axes=None):
    if axes is None:
        return transpose(g)
    order = [a % len(axes) for a in axes]
    return transpose(g, axes=tuple(order.index(i) for i in range(len(order))))


@primitive
def swapaxes(xp, x, *, axis1, axis2):
    """`x` with two axes exchanged."""
    return x.swapaxes(axis1, axis2)


@swapaxes.vjp
def _(g, _y, _x, *, axis1, axis2):
    return swapaxes(g, axis1=axis1, axis2=axis2)


def moveaxis(x, source, destination):
    """`x` with the axes `source` moved to the places `destination` (ints or sequences)."""
    source = normalize_axis_tuple(source, x.ndim)
    destination = normalize_axis_tuple(destination, x.ndim)
    order = [a for a in range(x.ndim) if a not in source]
    for to, a in sorted(zip(destination, source, strict=True)):
        order.insert(to, a)
    return transpose(x, axes=tuple(order))


@primitive
def expand_dims(xp, x, *, axis):
    """`x` with a new axis of length 1 at `axis` (an int or a tuple)."""
    return xp.expand_dims(x, axis)


@primitive
def squeeze(xp, x, *, axis=None):
    """`x` without its axes of length 1: all of them, or those in `axis`."""
    return xp.squeeze(x, axis)


@primitive
def broadcast_to(xp, x, *, shape):
    """`x` repeated along new axes and along axes of length 1; a read-only view, or `x` itself."""
    return x if x.shape == shape else xp.broadcast_to(x, shape)


def _same_elements(g, _y, _x, **_):
    return reshape(g, shape=_x.shape)


expand_dims.vjp(_same_elements)
squeeze.vjp(_same_elements)
broadcast_to.vjp(lambda g, _y, _x, *, shape: g)  # the engine sums it


def concatenate(xs, axis: int | None = 0):
    """The arrays of a sequence, one after the other along an existing axis (None: flattened)."""
    return _concatenate(*xs, axis=axis)


@primitive
def _concatenate(xp, *xs, axis=0):
    """`concatenate`, each array an input of its own."""
    return xp.concatenate(_match(*xs), axis=axis)


@_concatenate.vjp
def _(g, _y, *_xs, axis=0):
    if axis is None:
        parts = split(g, _ends([math.prod(x.shape) for x in _xs]))
        return tuple(reshape(p, shape=x.shape) for p, x in zip(parts, _xs, strict=True))
    return tuple(split(g, _ends([x.shape[axis] for x in _xs]), axis))


def _ends(lengths: list[int]) -> list[int]:
    """Where to cut so that the pieces have these lengths."""
    return list(accumulate(lengths[:-1]))


def stack(xs, axis: int = 0):
    """The arrays of a sequence, all of one shape, along a new axis."""
    xs = list(xs)
    if len({x.shape for x in xs}) != 1:
        raise ShapeError(f"stack: all shapes must be the same, got {[x.shape for x in xs]}")
    return concatenate([expand_dims(x, axis=axis) for x in xs], axis)


def split(x, indices_or_sections, axis: int = 0) -> list:
    """`x` cut along `axis`: into that many equal parts, or before each of the given indices.

    Raises:
        ShapeError: the axis does not divide into that many equal parts.
    """
    n = x.shape[axis]
    if isinstance(indices_or_sections, Integral):
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ShapeError(
                f"split: axis {axis} of length {n} does not divide into {indices_or_sections} "
                f"equal parts; give the indices to cut at"
            )
        size = n // indices_or_sections
        indices_or_sections = range(size, n, size) if size else [0] * (indices_or_sections - 1)
    cuts = [0, *indices_or_sections, n]
    before = (slice(None),) * (axis % x.ndim)
    return [x[(*before, slice(a, b))] for a, b in pairwise(cuts)]


@primitive
def tril(xp, x, *, k=0):
    """The lower triangle of the last two axes, zeros above diagonal `k`."""
    return xp.tril(x, k)


@primitive
def triu(xp, x, *, k=0):
    """The upper triangle of the last two axes, zeros below diagonal `k`."""
    return xp.triu(x, k)


tril.vjps(lambda g, _y, _x, *, k=0: tril(g, k=k))
triu.vjps(lambda g, _y, _x, *, k=0: triu(g, k=k))
