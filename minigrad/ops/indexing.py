"""Reading, and writing anew, at indices. Nothing is changed in place: `index_set` and `index_add`
give a new array, the one overwriting, the other summing.

Indices are inputs and never tracked. Negative ones count from the end, as in NumPy. On the host
they are checked; on a device a check would stop the pipeline, so they are to be checked where they
are made.
"""

import math
import operator
from typing import NamedTuple

import numpy as np

from minigrad.autodiff import Tensor, as_array, beside, op, primitive, wrap
from minigrad.backend import array_module
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError
from minigrad.ops.elementwise import _match, where, zeros_like
from minigrad.ops.shaping import broadcast_to, moveaxis, ravel, reshape

__all__ = [
    "argwhere", "bincount", "embedding", "embedding_grad", "flatnonzero", "gather", "getitem",
    "index_add", "index_select", "index_set", "masked_select", "nonzero", "one_hot",
    "put_along_axis", "scatter", "scatter_add", "take", "take_along_axis", "unique",
]  # fmt: skip


class _Slice(NamedTuple):
    """A slice that can be hashed, so that it may be a static parameter."""

    start: int | None
    stop: int | None
    step: int | None


_ARRAY = "an array"  # in a template: the next array input goes here


def getitem(x, index):
    """`x[index]` with everything that NumPy takes: ints, slices, None, `...`, arrays, masks.

    The result of ints and slices alone may be a view. Where an index array repeats an element, the
    gradients of its copies are summed.
    """
    parts = index if isinstance(index, tuple) else (index,)
    template, arrays = [], []
    for part in parts:
        if isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            template.append(_Slice(*(None if v is None else operator.index(v) for v in bounds)))
        elif part is None or part is Ellipsis or type(part) is int:
            template.append(part)
        elif isinstance(part, np.integer):
            template.append(int(part))
        else:
            if isinstance(part, list | tuple | range | bool):
                part = np.asarray(part)
                part = beside([x], part if part.size else part.astype(int))
            template.append(_ARRAY)
            arrays.append(part)
    return _getitem(x, *arrays, template=tuple(template))


def _index(template, arrays):
    """The index that NumPy takes, from a template and the arrays for its gaps."""
    arrays = iter(arrays)
    return tuple(
        next(arrays) if t is _ARRAY else slice(*t) if type(t) is _Slice else t for t in template
    )


@primitive
def _getitem(xp, x, *arrays, template):
    """`x[index]`, the index taken apart into a static template and arrays."""
    return x[_index(template, arrays)]


@_getitem.vjp
def _(g, _y, _x, *arrays, template):
    spread = _spread(g, *arrays, template=template, shape=_x.shape)
    return (spread,) + (None,) * len(arrays)


@primitive
def _spread(xp, g, *arrays, template, shape):
    """Zeros of `shape` with `g` summed in at an index: what is adjoint to reading there."""
    y = xp.zeros(shape, g.dtype)
    index = _index(template, arrays)
    if arrays and any(a.dtype != bool for a in arrays):
        _add_at(xp, y, index, g)
    else:
        y[index] = g  # slices and masks name no element twice
    return y


@_spread.vjp
def _(gg, _y, _g, *arrays, template, shape):
    return (_getitem(gg, *arrays, template=template),) + (None,) * len(arrays)


# --------------------------------------------------------------------- rows along an axis


def checked_ids(name: str, ids, n: int, low: int | None = None):
    """`ids` as int64; integers in [low, n), by default [-n, n).

    The range is looked at on the host only, where that costs little.
    """
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"{name}: indices must be integers, got {ids.dtype}")
    low = -n if low is None else low
    if isinstance(ids, np.ndarray) and ids.size and (ids.min() < low or ids.max() >= n):
        at = tuple(int(i) for i in np.argwhere((ids < low) | (ids >= n))[0])
        raise OutOfRangeError(
            f"{name}: index {int(ids[at])} at position {at[0] if len(at) == 1 else at} is out of "
            f"range [{low}, {n})"
        )
    return ids if ids.dtype == np.int64 else ids.astype("int64")


@primitive
def take(xp, x, ids, *, axis=None):
    """The elements, rows, ... of `x` at `ids` along `axis` (None: of the flattened array).

    The result has the shape of `x` with that of `ids` in place of `axis`.
    """
    ids = checked_ids("take", xp.asarray(ids), x.size if axis is None else x.shape[axis])
    return xp.take(x, ids, axis=axis)


@take.vjp
def _(g, _y, _x, ids, *, axis=None):
    ids = beside([g], ids) if isinstance(ids, int) else ids
    if axis is None:
        flat = embedding_grad(reshape(g, shape=(-1,)), ids.reshape(-1), rows=math.prod(_x.shape))
        return reshape(flat, shape=_x.shape), None
    axis %= _x.ndim
    if axis:  # bring the axes of ids to the front
        g = moveaxis(g, tuple(range(axis, axis + ids.ndim)), tuple(range(ids.ndim)))
    return moveaxis(embedding_grad(g, ids, rows=_x.shape[axis]), 0, axis), None


@primitive(kernel=True)
def embedding_grad(xp, g, ids, *, rows):
    """`rows` rows of zeros, with row `i` of `g` added to row `ids[i]`: the adjoint of a look-up.

    Args:
        g: (*ids.shape, ...).
        ids: integers of any shape.
    """
    y = xp.zeros((rows, *g.shape[ids.ndim :]), g.dtype)
    _add_at(xp, y, ids, g)
    return y


@embedding_grad.vjp
def _(gg, _y, _g, ids, *, rows):
    return take(gg, ids, axis=0), None


@op
def embedding(xp, ids, weight, *, padding_idx=None):
    """Rows of `weight` at `ids`: (*ids.shape, features).

    Args:
        ids: integers of any shape in [0, rows).
        weight: (rows, features).
        padding_idx: this row gets no gradient.

    Raises:
        ShapeError: an id is out of range; the message names its position.
    """
    ids = checked_ids("embedding", ids, weight.shape[0], low=0)
    if padding_idx is not None and type(weight) is Tensor:
        padding = one_hot(beside([weight], padding_idx), num_classes=weight.shape[0]) == 1
        weight = where(padding[:, None], weight.detach(), weight)
    return xp.take(weight, ids, axis=0)


@embedding.vjp
def _(g, _y, ids, _weight, *, padding_idx=None):
    if padding_idx is not None:
        g = where((ids == padding_idx % _weight.shape[0])[..., None], 0.0, g)
    return None, embedding_grad(g, ids, rows=_weight.shape[0])


def index_select(x, ids, axis: int = 0):
    """`x` at `ids` (one axis of integers) along `axis` (PyTorch's `index_select`)."""
    return take(x, ids, axis=axis)


def _writable(xp, x, values):
    """A copy of `x` that may be written, and `values`, both in the dtype that they share."""
    x, values = _match(x, values)
    y = xp.empty(x.shape, xp.result_type(x, values))
    y[...] = x
    return y, values


def _add_at(xp, y, index, values):
    """`y[index] += values`, where an index that is repeated counts each time."""
    if y.dtype == "int64" and not isinstance(y, np.ndarray) and hasattr(y, "view"):
        # A device adds atomically to unsigned numbers only; the bits of the sum are the same.
        y, values = y.view("uint64"), values.astype("uint64")
    xp.add.at(y, index, values)


def _along(axis, ids, x):
    """The index of `ids` along `axis` of `x`."""
    return (*(slice(None),) * (axis % x.ndim), ids)


@primitive
def index_add(xp, x, ids, values, *, axis=0):
    """`x` with `values` added at `ids` along `axis`; where an id is repeated, both are added.

    Args:
        x: any shape.
        ids: (n,) integers.
        values: the shape of `x` with `n` in place of `axis`.
    """
    ids = checked_ids("index_add", ids, x.shape[axis])
    y, values = _writable(xp, x, values)
    _add_at(xp, y, _along(axis, ids, x), values)
    return y


index_add.vjps(
    lambda g, _y, _x, _ids, _values, *, axis=0: g,
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis=0: take(g, ids, axis=axis),
)


@primitive
def index_set(xp, x, ids, values, *, axis=0):
    """`x` with `values` in place of what is at `ids` along `axis`; shapes as for `index_add`.

    Raises:
        ShapeError: an id is repeated, so that it would be left to chance which value stays.
    """
    ids = checked_ids("index_set", ids, x.shape[axis])
    if isinstance(ids, np.ndarray) and np.unique(ids % x.shape[axis]).size != ids.size:
        raise ShapeError(
            "index_set: an index is repeated, so its value would be left to chance; use index_add "
            "to sum"
        )
    y, values = _writable(xp, x, values)
    y[_along(axis, ids, x)] = values
    return y


index_set.vjps(
    lambda g, _y, _x, ids, _values, *, axis=0: index_set(
        g, ids, zeros_like(take(g, ids, axis=axis)), axis=axis
    ),
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis=0: take(g, ids, axis=axis),
)

# --------------------------------------------------------------------- element by element


@primitive
def take_along_axis(xp, x, ids, *, axis=-1):
    """`y[i, j] = x[i, ids[i, j]]` for the last of two axes: one look-up for each element of `ids`.

    PyTorch calls it `gather`. `ids` has as many axes as `x`; the others broadcast. With `axis` None
    both are flattened.
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    ids = checked_ids("take_along_axis", ids, x.shape[axis])
    return xp.take_along_axis(x, ids, axis=axis)


@take_along_axis.vjp
def _(g, _y, _x, ids, *, axis=-1):
    if axis is None:
        flat = _scatter_add(g, ids, axis=0, shape=(math.prod(_x.shape),))
        return reshape(flat, shape=_x.shape), None
    return _scatter_add(g, ids, axis=axis, shape=_x.shape), None


def _places(xp, ids, axis: int, shape):
    """Index arrays for the elements that `ids` names along `axis`."""
    axis %= ids.ndim
    return tuple(
        ids
        if a == axis
        else xp.arange(shape[a]).reshape([-1 if b == a else 1 for b in range(ids.ndim)])
        for a in range(ids.ndim)
    )


@primitive
def _scatter_add(xp, g, ids, *, axis, shape):
    """Zeros of `shape` with the elements of `g` added at `ids` along `axis`: adjoint to gather."""
    y = xp.zeros(shape, g.dtype)
    _add_at(xp, y, _places(xp, ids, axis, shape), g)
    return y


@_scatter_add.vjp
def _(gg, _y, _g, ids, *, axis, shape):
    return take_along_axis(gg, ids, axis=axis), None


@primitive
def scatter(xp, x, ids, values, *, axis):
    """`x` with `values` put at `ids` along `axis` (PyTorch's `scatter`): the reverse of gather.

    `ids` and `values` have one shape, with as many axes as `x`, and lengths up to those of `x`.
    Within a line along `axis` no id may be repeated: it would be left to chance which value stays.
    """
    ids = checked_ids("scatter", ids, x.shape[axis])
    y, values = _writable(xp, x, values)
    y[_places(xp, ids, axis, ids.shape)] = values
    return y


scatter.vjps(
    lambda g, _y, _x, ids, _values, *, axis: scatter(
        g, ids, zeros_like(gather(g, ids, axis)), axis=axis
    ),
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis: gather(g, ids, axis),
)


@primitive
def scatter_add(xp, x, ids, values, *, axis):
    """`x` with `values` added at `ids` along `axis` (PyTorch's `scatter_add`), as for `scatter`.

    Where an id is repeated, all its values are added.
    """
    ids = checked_ids("scatter_add", ids, x.shape[axis])
    y, values = _writable(xp, x, values)
    _add_at(xp, y, _places(xp, ids, axis, ids.shape), values)
    return y


scatter_add.vjps(
    lambda g, _y, _x, _ids, _values, *, axis: g,
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis: gather(g, ids, axis),
)


def gather(x, ids, axis: int):
    """`y[i, j] = x[i, ids[i, j]]` along `axis` (PyTorch's `gather`); shapes as for `scatter`."""
    corner = tuple(
        slice(None) if a == axis % x.ndim else slice(0, n) for a, n in enumerate(ids.shape)
    )
    return take_along_axis(x[corner], ids, axis=axis)


def put_along_axis(x, ids, values, axis: int):
    """`x` with `values` put at `ids` along `axis`; unlike NumPy's it gives a new array."""
    return scatter(x, ids, values, axis=axis)


# ------------------------------------------------------------- shapes that depend on values


def masked_select(x, mask):
    """The elements of `x` where `mask` is True, in one axis (PyTorch's `masked_select`)."""
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return ravel(broadcast_to(x, shape=shape))[ravel(broadcast_to(mask, shape=shape))]


def nonzero(x) -> tuple:
    """For each axis of `x` the indices of its elements that are not zero, in C order."""
    return _on_arrays(lambda xp, x: tuple(xp.nonzero(x)), x)


def argwhere(x):
    """(n, x.ndim): the index of each of the `n` elements that are not zero, in C order."""
    return _on_arrays(lambda xp, x: xp.argwhere(x), x)


def flatnonzero(x):
    """The indices, in the flattened `x`, of its elements that are not zero."""
    return _on_arrays(lambda xp, x: xp.flatnonzero(x), x)


def unique(x, return_index=False, return_inverse=False, return_counts=False):
    """The different elements of `x` in rising order, differentiable; as NumPy's `unique`.

    Returns:
        The elements; then, as asked for, where each stands first in the flattened `x`, for each
        element of `x` its place among them, and how often each is there.
    """

    def find(xp, x):
        return xp.unique(x, return_index=True, return_inverse=True, return_counts=True)[1:]

    first, inverse, counts = _on_arrays(find, x)
    found = [take(x, first), first, reshape(inverse, shape=x.shape), counts]
    wanted = (True, return_index, return_inverse, return_counts)
    found = [v for v, want in zip(found, wanted, strict=True) if want]
    return found[0] if len(found) == 1 else tuple(found)


def bincount(x, minlength=0):
    """How often each of 0, 1, ... is among the integers `x` (one axis)."""
    return _on_arrays(lambda xp, x: xp.bincount(x, minlength=minlength), x)


def _on_arrays(function, x):
    """`function(xp, array)`, whose results have no history, in the kind of `x`."""
    array = x.data if type(x) is Tensor else as_array(x)
    found = function(array_module(array), array)
    if type(x) is not Tensor:
        return found
    return tuple(map(wrap, found)) if isinstance(found, tuple) else wrap(found)


@primitive
def one_hot(xp, ids, *, num_classes=-1):
    """(*ids.shape, num_classes) int64: 1 at the place that `ids` names, 0 elsewhere.

    Without `num_classes` there are as many as the largest id needs, which waits for a device.
    """
    if num_classes == -1:
        num_classes = int(ids.max()) + 1 if ids.size else 0
    ids = checked_ids("one_hot", ids, num_classes)
    return (ids[..., None] % num_classes == xp.arange(num_classes)).astype("int64")


one_hot.no_gradient()
