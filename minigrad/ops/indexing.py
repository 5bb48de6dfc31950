"""Reading, and writing anew, at indices. Nothing is changed in place: `index_set` and `index_add`
give a new array, the one overwriting, the other summing.

Indices are inputs and never tracked: integers of any width, never booleans. Negative ones count
from the end, as in NumPy. All are checked. On a device, where to wait for a check would stop the
pipeline, the error comes when the host next waits in any case: see `minigrad.kernels.cuda.faults`.
"""

import functools
import importlib
import math
import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad import kernels
from minigrad.autodiff import (
    Tensor,
    as_array,
    as_arrays,
    joined,
    on_device_of,
    op,
    primitive,
    wrap,
)
from minigrad.backend import array_module, is_array, modes, xp
from minigrad.batched import Batched
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError, out_of_range
from minigrad.ops.dtypes import astype, is_half, matched, sortable
from minigrad.ops.elementwise import where as choice
from minigrad.ops.shaping import axis_of, broadcast_to, moveaxis, ravel, reshape

__all__ = [
    "argwhere", "bincount", "diagonal_scatter", "embedding", "embedding_grad", "flatnonzero",
    "gather", "getitem", "index_add", "index_fill", "index_put", "index_select", "index_set",
    "masked_scatter", "masked_select", "nonzero", "one_hot", "put", "put_along_axis", "scatter",
    "scatter_add", "select_scatter", "slice_scatter", "take", "take_along_axis", "tril_indices",
    "triu_indices", "unique", "unique_consecutive", "where",
]  # fmt: skip


def refuse_if_batched(name: str, array, alternative: str) -> None:
    """Raise if `array`, whose values decide the shape of a result, stands for several arrays.

    Raises:
        ShapeError: it does, or a call is being captured.
    """
    if getattr(array, "hides_a_batch_axis", False) or modes.get().capturing:
        raise ShapeError(
            f"{name}: the shape of the result depends on values, which differ from example to "
            f"example under vmap, and from call to call under jit; {alternative}"
        )


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

    Raises:
        OutOfRangeError: an index is out of range, or there are too many; or an array of them is
            neither of integers nor of booleans.
        DtypeError: an index is something else.
    """
    if not hasattr(x, "dtype"):
        (x,) = as_arrays(x)
    template, arrays = _taken_apart("getitem", x, index)
    return _getitem(x, *arrays, template=template)


def _taken_apart(name: str, x, index) -> tuple[tuple, list]:
    """What can be hashed of an index into `x`, with gaps, and the arrays for these."""
    template: list[Any] = []
    arrays: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        part = joined(part) if type(part) in (list, tuple) else part
        kind = type(part)
        if kind is slice:
            bounds = (part.start, part.stop, part.step)
            template.append(_Slice(*[None if v is None else operator.index(v) for v in bounds]))
        elif kind is int or part is None or part is Ellipsis:
            template.append(part)
        elif kind is Tensor or is_array(part):
            template.append(_ARRAY)
            arrays.append(part)
        elif isinstance(part, list | tuple | range | bool | np.bool_):
            numbers = np.asarray(part)
            numbers = numbers if numbers.size else numbers.astype(int)  # [] would be floats
            template.append(_ARRAY)
            arrays.append(on_device_of(as_arrays(x), numbers))
        elif hasattr(part, "__index__"):
            template.append(operator.index(part))
        else:
            raise DtypeError(
                f"{name}: an index must be an integer, a slice, None, `...`, or an array or list "
                f"of integers or booleans; got {part!r}"
            )
    return tuple(template), arrays


def _index(template, arrays):
    """The index that NumPy takes, from a template and the arrays for its gaps."""
    if not arrays:
        return tuple([slice(*t) if type(t) is _Slice else t for t in template])
    arrays = iter(arrays)
    return tuple(
        next(arrays) if t is _ARRAY else slice(*t) if type(t) is _Slice else t for t in template
    )


@primitive
def _getitem(xp, x, *arrays, template):
    """`x[index]`, the index taken apart into a static template and arrays."""
    if xp is not np and arrays:
        for a in arrays:
            if a.dtype.kind == "b":
                refuse_if_batched("getitem", a, "use where(mask, x, 0)")
        arrays = _in_range_each("getitem", x.shape, template, arrays)
    return x[_index(template, arrays)]


def _in_range_each(name: str, shape, template, arrays) -> list:
    """The arrays of an index into `shape`, those of integers checked: on a device nobody else does.

    NumPy itself checks them.
    """
    taken = sum(1 for t in template if t is not None and t is not Ellipsis and t is not _ARRAY)
    taken += sum(a.ndim if a.dtype.kind == "b" else 1 for a in arrays)
    rest, found, axis = iter(arrays), [], 0
    for t in template:
        if t is _ARRAY:
            a = next(rest)
            if a.dtype.kind in "iu" and axis < len(shape):  # too many are told elsewhere
                found.append(checked_ids(name, a, shape[axis], axis=axis))
                axis += 1
            else:
                found.append(a)
                axis += a.ndim if a.dtype.kind == "b" else 1
        elif t is not None:
            axis += len(shape) - taken if t is Ellipsis else 1
    return found


@_getitem.vjp
def _(g, _y, _x, *arrays, template):
    spread = _spread(g, *arrays, template=template, shape=_x.shape)
    return (spread,) + (None,) * len(arrays)


@primitive
def _spread(xp, g, *arrays, template, shape):
    """Zeros of `shape` with `g` summed in at an index: what is adjoint to reading there."""
    if xp is not np and arrays:
        arrays = _in_range_each("getitem", shape, template, arrays)
    y, index = xp.zeros(shape, g.dtype), _index(template, arrays)
    if any(a.dtype.kind != "b" for a in arrays):
        return _add_at(xp, y, index, g)
    y[index] = g  # slices and masks name no element twice
    return y


@_spread.vjp
def _(gg, _y, _g, *arrays, template, shape):
    return (_getitem(gg, *arrays, template=template),) + (None,) * len(arrays)


def _add_at(xp, y, index, values):
    """`y`, a new array, with `values` added at `index`; what is named twice gets both.

    Half precision is summed in float32.
    """
    dtype = wide = y.dtype
    if is_half(dtype):
        wide = np.dtype("float32")
    elif dtype.kind in "iu" and not isinstance(y, np.ndarray):
        # A device adds atomically to few kinds of integers; the last bits of the sum are the same.
        wide = np.dtype("uint64")
    if wide == dtype:
        xp.add.at(y, index, values)
        return y
    y = y.astype(wide)
    xp.add.at(y, index, xp.asarray(values).astype(wide))
    return y.astype(dtype)


@primitive
def _reorder_rows(xp, x, order, back):
    """The rows of `x` in a new `order`, a permutation; `back` is the one that undoes it."""
    return xp.take(x, order, axis=0)


_reorder_rows.vjps(
    lambda g, _y, _x, order, back: _reorder_rows(g, back, order),
    lambda *_, **__: None,
    lambda *_, **__: None,
)


# --------------------------------------------------------------------- rows along an axis


def checked_ids(name: str, ids, n: int, low: int | None = None, axis: int | None = None):
    """`ids`, an array, as int64; integers in [low, n), by default [-n, n).

    Args:
        axis: that they count along, if a message is to be NumPy's of an index.

    Raises:
        DtypeError: they are no integers; booleans are none.
        OutOfRangeError: one is out of range; the message names its position. On a device it is
            raised at the next transfer, and until then an id that is in range stands for it;
            where there is none, at once.
    """
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"{name}: indices must be integers, got {ids.dtype}")
    low = -n if low is None else low
    if type(ids) is not Tensor and not isinstance(ids, np.ndarray):
        ids = _checked_on_device(name, ids, n, low, axis)
    elif type(ids) is not Tensor and ids.size and (ids.min() < low or ids.max() >= n):
        at = int(np.argmax((ids < low) | (ids >= n)))
        raise out_of_range(name, ids.shape, n, low, axis)(at, int(ids.flat[at]))
    return ids if ids.dtype == np.int64 else ids.astype("int64")


def _checked_on_device(name: str, ids, n: int, low: int, axis: int | None):
    """`ids`, perhaps of a `vmap`, of which those that are out of range are noted."""
    if type(ids) is Batched:
        if isinstance(ids.value, np.ndarray):
            return ids
        return Batched(_checked_on_device(name, ids.value, n, low, axis), ids.level)
    xp = array_module(ids)
    if not ids.size or xp.__name__ != "cupy":  # in a dry call there are no ids
        return ids
    ids = xp.ascontiguousarray(ids).reshape(ids.shape)  # which has an axis at least
    if low >= n:  # no id stands for one where there is none: what comes next would fail before
        raise out_of_range(name, ids.shape, n, low, axis)(0, int(ids.reshape(-1)[0]))
    options = {"name": name, "n": n, "low": low, "axis": axis}
    y = kernels.find("cuda.indexing.in_range").call(ids, **options) if kernels.enabled() else None
    if y is not None and y is not NotImplemented:
        return y
    wrong = (ids < low) | (ids >= n)
    faults().look(xp, wrong, ids, out_of_range(name, ids.shape, n, low, axis))
    return xp.where(wrong, low, ids)


def faults():
    """Where faults on a device are written down; it is there only where CuPy is."""
    return importlib.import_module("minigrad.kernels.cuda.faults")


def refuse_where(wrong, error: Exception) -> None:
    """Raise `error` if any of `wrong`, an array of booleans, holds.

    On a device it is raised at the next transfer.
    """
    while type(wrong) is Batched:
        wrong = wrong.value
    if isinstance(wrong, np.ndarray | np.bool_):
        if wrong.any():
            raise error
    elif wrong.size:
        xp = array_module(wrong)
        wrong = xp.ascontiguousarray(wrong)

        def tell(position: int, value: int) -> Exception:
            return error

        y = NotImplemented
        if kernels.enabled():
            y = kernels.find("cuda.indexing.first_wrong").call(wrong, tell=tell)
        if y is NotImplemented:
            faults().look(xp, wrong, None, tell)


@primitive
def _in_range(xp, ids, *, name, n, low=None):
    """`checked_ids` as an op, for ids that a program reads anew in each call."""
    return checked_ids(name, ids, n, low)


_in_range.no_gradient()


def _ids_beside(g, ids):
    """`ids`, perhaps a Python number, as an array where `g` is."""
    return ids if hasattr(ids, "dtype") else on_device_of([g], ids)


def _refuse_repeated(name: str, ids, n: int, axis: int, values) -> None:
    """Raise where it would be left to chance which of several `values` stays."""
    if not hasattr(values, "dtype") or not ids.size:
        return
    error = ShapeError(
        f"{name}: an index is repeated, so its value would be left to chance; use "
        f"{'index_add' if name == 'index_set' else 'scatter_add'} to sum"
    )
    xp, axis = array_module(ids), axis % ids.ndim
    if xp is np:
        refuse_where(np.diff(np.sort(ids % n, axis=axis), axis=axis) == 0, error)
    else:
        shape = (*ids.shape[:axis], n, *ids.shape[axis + 1 :])
        _refuse_named_twice(xp, shape, _places(xp, ids, axis, ids.shape), ids.shape, error)


def _refuse_named_twice(xp, shape, index, places, error: Exception) -> None:
    """Raise if an index into an array of `shape` names a place twice; it reads `places`.

    Each writes its number there. Of two that meet one is overwritten, whichever it is.
    """
    numbers = xp.arange(math.prod(places)).reshape(places)
    written = xp.zeros(shape, "int64")
    written[index] = numbers
    refuse_where(written[index] != numbers, error)


@primitive
def take(xp, x, ids, *, axis=None):
    """The elements, rows, ... of `x` at `ids` along `axis` (None: of the flattened array).

    The result has the shape of `x` with that of `ids` in place of `axis`.

    Raises:
        OutOfRangeError: an id or the axis is out of range.
        DtypeError: the ids are no integers.
    """
    axis = None if not x.ndim and axis in (0, -1) else axis  # a number is a line of one
    n = x.size if axis is None else x.shape[normalize_axis_index(axis, x.ndim)]
    return xp.take(x, checked_ids("take", xp.asarray(ids), n), axis=axis)


@take.vjp
def _(g, _y, _x, ids, *, axis=None):
    ids = _ids_beside(g, ids)
    if axis is None or not _x.ndim:
        flat = embedding_grad(reshape(g, shape=(-1,)), ids.reshape(-1), rows=math.prod(_x.shape))
        return reshape(flat, shape=_x.shape), None
    axis %= _x.ndim
    if axis:  # bring the axes of ids to the front
        g = moveaxis(g, tuple(range(axis, axis + ids.ndim)), tuple(range(ids.ndim)))
    return moveaxis(embedding_grad(g, ids, rows=_x.shape[axis]), 0, axis), None


@primitive(kernel="embeddings.embedding_grad")
def embedding_grad(xp, g, ids, *, rows):
    """`rows` rows of zeros, with row `i` of `g` added to row `ids[i]`: the adjoint of a look-up.

    Args:
        g: (*ids.shape, ...).
        ids: integers of any shape.
    """
    if xp is not np:
        ids = checked_ids("embedding_grad", ids, rows)
    return _add_at(xp, xp.zeros((rows, *g.shape[ids.ndim :]), g.dtype), ids, g)


@embedding_grad.vjp
def _(gg, _y, _g, ids, *, rows):
    return take(gg, ids, axis=0), None


def check_table(name: str, weight) -> None:
    """Whether `weight` has rows that can be looked up.

    Raises:
        ShapeError: it has not two axes.
    """
    if len(shape := getattr(weight, "shape", ())) != 2:
        raise ShapeError(
            f"{name}: weight must be (rows, features), got shape {shape}; for rows of more axes "
            f"there is take(weight, ids, axis=0)"
        )


@op
def embedding(xp, ids, weight, *, padding_idx=None):
    """Rows of `weight` at `ids`: (*ids.shape, features).

    Args:
        ids: integers of any shape in [0, rows).
        weight: (rows, features).
        padding_idx: this row gets no gradient; negative ones count from the end.

    Raises:
        ShapeError: `weight` has not two axes.
        OutOfRangeError: an id is out of range; the message names its position.
        DtypeError: the ids are no integers.
    """
    check_table("embedding", weight)
    rows = weight.shape[0]
    ids = ids if hasattr(ids, "dtype") else xp.asarray(ids)
    ids = checked_ids("embedding", ids, rows, low=0)
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise OutOfRangeError(f"embedding: padding_idx is {padding_idx}, there are {rows} rows")
        if type(weight) is Tensor:
            padding = one_hot(on_device_of([weight], padding_idx % rows), num_classes=rows) == 1
            weight = choice(padding[:, None], weight.detach(), weight)
    return xp.take(weight, ids, axis=0)


@embedding.vjp
def _(g, _y, ids, _weight, *, padding_idx=None):
    ids = _ids_beside(g, ids)
    if padding_idx is not None:
        g = choice((ids == padding_idx % _weight.shape[0])[..., None], 0.0, g)
    return None, embedding_grad(g, ids, rows=_weight.shape[0])


def index_select(x, ids, axis: int = 0):
    """`x` at `ids` (one axis of integers) along `axis` (PyTorch's `index_select`)."""
    x, ids = as_arrays(x, ids)
    _one_axis("index_select", ids)
    y = take(x, ids, axis=axis)
    return y if x.ndim else reshape(y, shape=())


def _one_axis(name: str, ids) -> None:
    if ids.ndim > 1:
        raise ShapeError(f"{name}: the indices must have one axis, got shape {ids.shape}")


def _writable(xp, x, values):
    """A copy of `x` that may be written, and `values`, both in the dtype that they share."""
    x, values = matched(x, values)
    # NumPy would make float64 of bfloat16 and a Python number.
    alone = not hasattr(values, "dtype") and x.dtype.kind != "b"
    y = xp.empty(x.shape, x.dtype if alone else xp.result_type(x, values))
    y[...] = x
    return y, values


def _of_numbers(write):
    """The formula `write`, of `x` without axes as of a line of one number."""

    @functools.wraps(write)
    def formula(xp, x, ids, values, *, axis=0):
        if x.ndim or axis not in (0, -1):
            return write(xp, x, ids, values, axis=axis)
        values = values.reshape(-1) if hasattr(values, "dtype") else values
        return write(xp, x.reshape(-1), xp.asarray(ids).reshape(-1), values, axis=0).reshape(())

    return formula


def _along(axis, ids, x):
    """The index of `ids` along `axis` of `x`."""
    return (*(slice(None),) * (axis % x.ndim), ids)


@primitive
@_of_numbers
def index_add(xp, x, ids, values, *, axis=0):
    """`x` with `values` added at `ids` along `axis`; where an id is repeated, both are added.

    Args:
        x: any shape.
        ids: (n,) integers.
        values: the shape of `x` with `n` in place of `axis`, or what broadcasts to it.
    """
    ids = xp.asarray(ids)
    _one_axis("index_add", ids)
    ids = checked_ids("index_add", ids, x.shape[normalize_axis_index(axis, x.ndim)])
    y, values = _writable(xp, x, values)
    return _add_at(xp, y, _along(axis, ids, x), values)


index_add.vjps(
    lambda g, _y, _x, _ids, _values, *, axis=0: g,
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis=0: take(g, ids, axis=axis),
)


@primitive
@_of_numbers
def index_set(xp, x, ids, values, *, axis=0):
    """`x` with `values` in place of what is at `ids` along `axis`; shapes as for `index_add`.

    Raises:
        ShapeError: an id is repeated, so that it would be left to chance which value stays.
    """
    ids, n = xp.asarray(ids), x.shape[normalize_axis_index(axis, x.ndim)]
    _one_axis("index_set", ids)
    ids = checked_ids("index_set", ids, n)
    if ids.ndim:
        _refuse_repeated("index_set", ids, n, 0, values)
    y, values = _writable(xp, x, values)
    y[_along(axis, ids, x)] = values
    return y


index_set.vjps(
    lambda g, _y, _x, ids, _values, *, axis=0: index_set(g, ids, 0.0, axis=axis),
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis=0: take(g, ids, axis=axis),
)


def index_fill(x, ids, value, axis: int):
    """`x` with `value` in place of what is at `ids` along `axis` (PyTorch's `index_fill`).

    Args:
        ids: (n,) integers, which may be repeated.
        value: one number, which gets its gradient; the result has the dtype of `x`.
        axis: an int.
    """
    x, ids = as_arrays(x, ids)
    if not x.ndim and axis in (0, -1):  # a number is a line of one
        return reshape(index_fill(ravel(x), ids, value, 0), shape=())
    axis = axis_of("index_fill", axis, x.shape)
    _one_axis("index_fill", ids)
    return _filled("index_fill", x, _marked(ids, x.shape[axis]), value, axis)


def _marked(ids, n: int):
    """(n,) booleans: which are among `ids`."""
    none = array_module(as_array(ids)).zeros(n, "int64")
    return index_add(none, ids if ids.ndim else reshape(ids, shape=(1,)), 1) > 0


def _filled(name: str, x, mask, value, axis: int | None = None):
    """`x` with `value` where `mask` is True: of the shape of `x`, or for each place of `axis`."""
    if getattr(value, "shape", ()):
        raise ShapeError(f"{name}: expected one number to fill with, got shape {value.shape}")
    if hasattr(value, "dtype"):
        value = value if value.dtype == x.dtype else astype(value, dtype=x.dtype)
    elif x.dtype.kind in "iu" and not float(value).is_integer():
        raise DtypeError(f"{name}: {value} is no number of {x.dtype}")
    else:
        value = bool(value) if x.dtype.kind == "b" else x.dtype.type(value).item()
    if axis is not None:
        mask = reshape(mask, shape=(-1,) + (1,) * (x.ndim - 1 - axis))
    return choice(mask, value, x)


def index_put(x, indices, values, accumulate: bool = False):
    """`x` with `values` in place of `x[indices]`, or added there (PyTorch's `index_put`).

    Args:
        indices: all that `x[indices]` takes; of arrays mostly, integers or masks, in a tuple.
        values: the shape of `x[indices]`, or what broadcasts to it.
        accumulate: whether to add them; where a place is named twice, both are added.

    Raises:
        ShapeError: shapes do not fit; or without `accumulate` a place is named twice, so that it
            would be left to chance which of several values stays.
    """
    (x,) = as_arrays(x)
    if isinstance(indices, list) and any(hasattr(i, "shape") for i in indices):
        indices = tuple(indices)  # PyTorch's users write lists of arrays, too
    template, arrays = _taken_apart("index_put", x, indices)
    if not accumulate and not getattr(values, "shape", ()) and not isinstance(values, list):
        none = array_module(as_array(x)).zeros(x.shape, bool)
        return _filled("index_put", x, _put(none, True, *arrays, template=template), values)
    _, values = as_arrays(x, values)
    return _put(x, values, *arrays, template=template, accumulate=accumulate)


@primitive
def _put(xp, x, values, *arrays, template, accumulate=False):
    """`x` with `values` put, or added, at an index that was taken apart."""
    if xp is not np and arrays:
        for a in arrays:
            if a.dtype.kind == "b":
                refuse_if_batched("index_put", a, "use where(mask, values, x)")
        arrays = _in_range_each("put", x.shape, template, arrays)
    index = _index(template, arrays)
    if hasattr(values, "dtype") and not accumulate and any(a.dtype.kind != "b" for a in arrays):
        error = ShapeError(
            "index_put: a place is named twice, so its value would be left to chance; use "
            "accumulate=True to sum"
        )
        _refuse_named_twice(xp, x.shape, index, x[index].shape, error)
    y, values = _writable(xp, x, values)
    if accumulate:
        return _add_at(xp, y, index, values)
    y[index] = values
    return y


@_put.vjp
def _(g, _y, _x, _values, *arrays, template, accumulate=False):
    def of_values():
        return _getitem(g, *arrays, template=template)

    gx = g if accumulate else _put(g, 0.0, *arrays, template=template)
    return gx, of_values, *(None,) * len(arrays)


# --------------------------------------------------------------------- element by element


@primitive
def take_along_axis(xp, x, ids, *, axis=-1):
    """`y[i, j] = x[i, ids[i, j]]` for the last of two axes: one look-up for each element of `ids`.

    `ids` has as many axes as `x`; the others broadcast. With `axis` None `x` is flattened, and
    `ids` has one axis.

    Raises:
        ShapeError: `ids` has not as many axes as `x`.
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    ids = xp.asarray(ids)
    if ids.ndim != x.ndim:
        raise ShapeError(f"take_along_axis: ids have {ids.ndim} axes in place of {x.ndim}")
    n = x.shape[normalize_axis_index(axis, x.ndim)]
    return xp.take_along_axis(x, checked_ids("take_along_axis", ids, n), axis=axis)


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
    return _add_at(xp, xp.zeros(shape, g.dtype), _places(xp, ids, axis, shape), g)


@_scatter_add.vjp
def _(gg, _y, _g, ids, *, axis, shape):
    return take_along_axis(gg, ids, axis=axis), None


def refuse_longer(name: str, x, ids, axis: int) -> None:
    """Raise unless `ids` has the axes of `x`, and but for `axis` at most their lengths."""
    axis = normalize_axis_index(axis, x.ndim)
    fits = ids.ndim == x.ndim and all(
        m <= n or a == axis for a, (m, n) in enumerate(zip(ids.shape, x.shape, strict=True))
    )
    if not fits:
        raise ShapeError(
            f"{name}: ids must have as many axes as x and, but for axis {axis}, at most its "
            f"lengths; got {ids.shape} for {x.shape}"
        )


def corner_of(name: str, ids, values):
    """The part of `values` that has ids; a number belongs to all of them."""
    if not getattr(values, "ndim", 0):
        return values
    if len(values.shape) != ids.ndim or any(
        n < m for n, m in zip(values.shape, ids.shape, strict=True)
    ):
        raise ShapeError(
            f"{name}: values of shape {values.shape} do not suffice for ids of shape {ids.shape}"
        )
    return values[tuple(map(slice, ids.shape))]


def _uncornered(g, ids, axis, values):
    """The gradient of `values`, of which only a corner was used."""
    g = gather(g, ids, axis)
    if g.shape == values.shape or not values.ndim:
        return g
    corner = tuple(_Slice(None, m, None) for m in ids.shape)
    return _spread(g, template=corner, shape=values.shape)


@primitive
@_of_numbers
def scatter(xp, x, ids, values, *, axis):
    """`x` with `values` put at `ids` along `axis` (PyTorch's `scatter`): the reverse of `gather`.

    Args:
        x: any shape.
        ids: integers with as many axes as `x`, and but for `axis` lengths up to its own.
        values: a number, or one for each id; as in PyTorch they may have larger lengths, and then
            the first ones count.

    Raises:
        ShapeError: shapes do not fit; or within a line along `axis` an id is repeated, so that it
            would be left to chance which value stays.
    """
    ids = xp.asarray(ids)
    refuse_longer("scatter", x, ids, axis)
    values = corner_of("scatter", ids, values)
    ids = checked_ids("scatter", ids, x.shape[axis])
    _refuse_repeated("scatter", ids, x.shape[axis], axis, values)
    y, values = _writable(xp, x, values)
    y[_places(xp, ids, axis, ids.shape)] = values
    return y


scatter.vjps(
    lambda g, _y, _x, ids, _values, *, axis: scatter(g, ids, 0.0, axis=axis),
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis: _uncornered(g, ids, axis, _values),
)


@primitive
@_of_numbers
def scatter_add(xp, x, ids, values, *, axis):
    """`x` with `values` added at `ids` along `axis` (PyTorch's `scatter_add`), as for `scatter`.

    Where an id is repeated, all its values are added.
    """
    ids = xp.asarray(ids)
    refuse_longer("scatter_add", x, ids, axis)
    values = corner_of("scatter_add", ids, values)
    ids = checked_ids("scatter_add", ids, x.shape[axis])
    y, values = _writable(xp, x, values)
    return _add_at(xp, y, _places(xp, ids, axis, ids.shape), values)


scatter_add.vjps(
    lambda g, _y, _x, _ids, _values, *, axis: g,
    lambda *_, **__: None,
    lambda g, _y, _x, ids, _values, *, axis: _uncornered(g, ids, axis, _values),
)


def gather(x, ids, axis: int):
    """`y[i, j] = x[i, ids[i, j]]` along `axis` (PyTorch's `gather`); the shape is that of `ids`.

    Args:
        x: any shape.
        ids: integers with as many axes as `x`, and but for `axis` lengths up to its own. Nothing
            broadcasts; see `take_along_axis` for that.
    """
    x, ids = as_arrays(x, ids)
    if not x.ndim and axis in (0, -1):  # a number is a line of one
        return reshape(gather(ravel(x), ravel(ids), 0), shape=ids.shape)
    if not ids.size and ids.ndim != x.ndim:  # as in PyTorch; there is nothing that could not fit
        return reshape(ravel(x)[:0], shape=ids.shape)
    axis = axis_of("gather", axis, x.shape)
    refuse_longer("gather", x, ids, axis)
    lengths = (*ids.shape[:axis], x.shape[axis], *ids.shape[axis + 1 :])
    corner = x if lengths == x.shape else x[tuple(map(slice, lengths))]
    return take_along_axis(corner, ids, axis=axis)


def put_along_axis(x, ids, values, axis: int | None):
    """`x` with `values` put at `ids` along `axis`; unlike NumPy's it gives a new array.

    As in NumPy the other axes of `ids` broadcast with those of `x`, and `values` with `ids`. With
    `axis` None `x` is flattened for it, and `ids` has one axis.

    Raises:
        ShapeError: `ids` has not as many axes as `x`.
    """
    x, ids = as_arrays(x, ids)
    if axis is None:
        return reshape(put_along_axis(ravel(x), ids, values, 0), shape=x.shape)
    axis = axis_of("put_along_axis", axis, x.shape)
    if ids.ndim != x.ndim:
        raise ShapeError(f"put_along_axis: ids have {ids.ndim} axes in place of {x.ndim}")
    ids = broadcast_to(ids, shape=(*x.shape[:axis], ids.shape[axis], *x.shape[axis + 1 :]))
    if isinstance(values, list) or getattr(values, "ndim", 0) > 0:
        values = broadcast_to(values, shape=ids.shape)
    return scatter(x, ids, values, axis=axis)


# --------------------------------------------------------------------------- parts anew


def put(x, ids, values, accumulate: bool = False):
    """`x` with `values` put at `ids`, which count along the flattened `x`; see `index_set`.

    Args:
        ids: integers of any shape.
        values: as many, in that shape or another.
        accumulate: add them to what is there; then an id may be repeated.
    """
    x, ids, values = as_arrays(x, ids, values)
    write = index_add if accumulate else index_set
    values = ravel(values) if values.size == ids.size else values
    return reshape(write(ravel(x), ravel(ids), values), shape=x.shape)


def select_scatter(x, values, axis: int, index: int):
    """`x` with `values` in place of what is at `index` along `axis`."""
    x, values = as_arrays(x, values)
    axis = axis_of("select_scatter", axis, x.shape)
    _check_part("select_scatter", values, (*x.shape[:axis], *x.shape[axis + 1 :]))
    return index_set(x, on_device_of([x], index), values, axis=axis)


def slice_scatter(x, values, axis: int = 0, start=None, end=None, step=None):
    """`x` with `values` in place of `x[start:end:step]` along `axis`."""
    x, values = as_arrays(x, values)
    axis = axis_of("slice_scatter", axis, x.shape)
    ids = array_module(as_array(x)).arange(x.shape[axis])[start:end:step]
    _check_part("slice_scatter", values, (*x.shape[:axis], len(ids), *x.shape[axis + 1 :]))
    return index_set(x, ids, values, axis=axis)


def diagonal_scatter(x, values, offset: int = 0, axis1: int = 0, axis2: int = 1):
    """`x` with `values` in place of `diagonal(x, offset, axis1, axis2)`."""
    x, values = as_arrays(x, values)
    module = array_module(as_array(x))
    places = module.arange(math.prod(x.shape)).reshape(x.shape)
    places = module.diagonal(places, offset, axis1, axis2)
    _check_part("diagonal_scatter", values, places.shape)
    return put(x, places, values)


def _check_part(name: str, values, shape) -> None:
    if tuple(values.shape) != tuple(shape):
        raise ShapeError(f"{name}: values must have shape {tuple(shape)}, got {values.shape}")


def masked_scatter(x, mask, source):
    """`x` with the elements of `source`, in its order, where `mask` is True (PyTorch's).

    Args:
        mask: booleans that broadcast with `x`.
        source: at least as many elements as are to be replaced.

    Raises:
        ShapeError: there are fewer.
        DtypeError: `mask` is not of booleans.
    """
    x, mask, source = as_arrays(x, mask, source)
    if mask.dtype.kind != "b":
        raise DtypeError(f"masked_scatter: the mask must be booleans, got {mask.dtype}")
    shape = np.broadcast_shapes(x.shape, mask.shape)
    mask, values = broadcast_to(mask, shape=shape), ravel(source)
    plain = as_array(mask)
    if isinstance(plain, np.ndarray):
        count = f"{int(plain.sum())} elements"
    else:
        count = "more elements"  # to count them would wait for a device
    refuse_where(
        plain.sum() > values.shape[0],
        ShapeError(
            f"masked_scatter: {count} are to be replaced, and there are {values.shape[0]} in source"
        ),
    )
    if not values.shape[0]:
        return broadcast_to(x, shape=shape)
    ids = reshape(_ranks(ravel(mask), most=values.shape[0] - 1), shape=shape)
    return choice(mask, take(values, ids), x)


@primitive
def _ranks(xp, mask, *, most):
    """For each place of `mask`, which one of its True it is, at most `most`."""
    return xp.clip(xp.cumsum(mask, dtype="int64") - 1, 0, most)


_ranks.no_gradient()


# ------------------------------------------------------------- shapes that depend on values


def masked_select(x, mask):
    """The elements of `x` where `mask` is True, in one axis (PyTorch's `masked_select`).

    The two broadcast together.

    Raises:
        DtypeError: `mask` is not of booleans.
        ShapeError: they do not broadcast.
    """
    x, mask = as_arrays(x, mask)
    if mask.dtype.kind != "b":
        raise DtypeError(f"masked_select: the mask must be booleans, got {mask.dtype}")
    array = mask.data if type(mask) is Tensor else mask
    refuse_if_batched("masked_select", array, "use where(mask, x, 0)")
    try:
        shape = np.broadcast_shapes(x.shape, mask.shape)
    except ValueError:
        raise ShapeError(
            f"masked_select: a mask of shape {mask.shape} does not broadcast with {x.shape}"
        ) from None
    return ravel(broadcast_to(x, shape=shape))[ravel(broadcast_to(mask, shape=shape))]


def where(condition, a=None, b=None):
    """`a` where `condition` holds, `b` elsewhere; nothing flows to the element not taken.

    Without `a` and `b` it is `nonzero(condition)`, as in NumPy.

    Raises:
        ValueError: only one of `a` and `b` is given.
    """
    if a is None and b is None:
        return nonzero(condition)
    if a is None or b is None:
        raise ValueError("where: give both of `a` and `b`, or none of them")
    return choice(condition, a, b)


where.__module__ = choice.__module__  # it stands for that op, in tables too


def nonzero(x) -> tuple:
    """For each axis of `x` the indices of its elements that are not zero, in C order.

    Raises:
        ShapeError: `x` has no axis.
    """

    def find(xp, x):
        if not x.ndim:
            raise ShapeError("nonzero: a 0-d array has no axes; reshape it to (1,) first")
        return tuple(xp.nonzero(x))

    return _untracked("nonzero", find, x)


def argwhere(x):
    """(n, x.ndim): the index of each of the `n` elements that are not zero, in C order."""
    return _untracked("argwhere", lambda xp, x: xp.argwhere(x), x)


def flatnonzero(x):
    """The indices, in the flattened `x`, of its elements that are not zero."""
    return _untracked("flatnonzero", lambda xp, x: xp.flatnonzero(x), x)


def unique(x, return_index=False, return_inverse=False, return_counts=False, axis=None):
    """The different elements of `x` in rising order, differentiable; as NumPy's `unique`.

    Of equal elements the first one gets the gradient.

    Args:
        axis: compare what is along it (rows, for axis 0) in place of elements.

    Returns:
        The elements; then, as asked for, where each stands first in the flattened `x` (or along
        `axis`), for each element of `x` its place among them, and how often each is there.
    """
    (x,) = as_arrays(x)
    axis = axis if axis is None else axis_of("unique", axis, x.shape)

    def find(xp, x):
        wanted = dict.fromkeys(("return_index", "return_inverse", "return_counts"), True)
        return xp.unique(sortable(x), **wanted, axis=axis)[1:]

    first, inverse, counts = _untracked("unique", find, x)
    places = x.shape if axis is None else (x.shape[axis],)
    found = [take(x, first, axis=axis), first, reshape(inverse, shape=places), counts]
    wanted = (True, return_index, return_inverse, return_counts)
    found = [v for v, want in zip(found, wanted, strict=True) if want]
    return found[0] if len(found) == 1 else tuple(found)


def unique_consecutive(x, return_inverse=False, return_counts=False, axis=None):
    """`x` without what equals its neighbour before it (PyTorch's), differentiable.

    Args:
        axis: whole slices along it are compared; None for the elements of the flattened `x`.

    Returns:
        The elements; then, as asked for, for each of `x` its place among them, and how many were
        taken together.
    """
    (x,) = as_arrays(x)
    lines = ravel(x) if axis is None else moveaxis(x, axis, 0)
    along = 0 if axis is None else axis_of("unique_consecutive", axis, x.shape)

    def find(xp, x):
        rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        new = xp.ones(len(rows), bool)
        new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
        first = xp.flatnonzero(new)
        after = xp.concatenate([first[1:], xp.full((1,), len(rows), first.dtype)])
        return first, xp.cumsum(new) - 1, (after - first)[: len(first)]

    first, inverse, counts = _untracked("unique_consecutive", find, lines)
    inverse = reshape(inverse, shape=x.shape) if axis is None else inverse
    found = [take(ravel(x) if axis is None else x, first, axis=along)]
    found += [inverse] * bool(return_inverse) + [counts] * bool(return_counts)
    return found[0] if len(found) == 1 else tuple(found)


def bincount(x, weights=None, minlength=0):
    """How often each of 0, 1, ... is among the integers `x`; or the sums of their `weights`.

    Args:
        x: (n,) integers from 0 on.
        weights: (n,) numbers; floats get gradients, and sums of integers are float32.
        minlength: the least length of the result.

    Raises:
        ShapeError: `x` has not one axis, or `weights` has another shape.
        OutOfRangeError: a number is negative.
        DtypeError: they are no integers.
    """
    (x,) = as_arrays(x)
    if x.ndim != 1 or minlength < 0:
        raise ShapeError(
            f"bincount: x must have one axis, and minlength not be negative; got shape {x.shape}, "
            f"{minlength}"
        )
    x = x if x.size else x.astype("int64")

    def count(xp, x):
        x = checked_ids("bincount", x, 2**63 - 1)
        if x.size and int(x.min()) < 0:  # a device is waited for in any case
            raise OutOfRangeError(f"bincount: {int(x.min())} is negative")
        return x, xp.bincount(x, minlength=minlength)

    x, counts = _untracked("bincount", count, x)
    if weights is None:
        return counts
    _, weights = as_arrays(x, weights)
    if weights.shape != x.shape:
        raise ShapeError(f"bincount: weights of shape {weights.shape} for numbers of {x.shape}")
    if weights.dtype.kind in "iub":
        sums = embedding_grad(astype(weights, dtype="float64"), x, rows=counts.shape[0])
        return astype(sums, dtype="float32")
    return embedding_grad(weights, x, rows=counts.shape[0])


def _untracked(name: str, function, x):
    """`function(xp, array)`, whose results have no history, in the kind of `x`."""
    x = joined(x)
    array = as_array(x)
    refuse_if_batched(name, array, "use where(condition, x, 0) or a fixed number of elements")
    found = function(array_module(array), array)
    if type(x) is not Tensor:
        return found
    return tuple(map(wrap, found)) if isinstance(found, tuple) else wrap(found)


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple:
    """Rows and columns of the elements on and below diagonal `k` of an (n, m) matrix, m = n."""
    return tuple(wrap(xp().asarray(i)) for i in np.tril_indices(n, k, m))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple:
    """Rows and columns of the elements on and above diagonal `k` of an (n, m) matrix, m = n."""
    return tuple(wrap(xp().asarray(i)) for i in np.triu_indices(n, k, m))


@primitive
def one_hot(xp, ids, *, num_classes=-1):
    """(*ids.shape, num_classes) int64: 1 at the place that `ids` names, 0 elsewhere.

    Args:
        ids: integers in [0, num_classes).
        num_classes: -1 for as many as the largest id needs, which waits for a device.

    Raises:
        OutOfRangeError: an id is out of range; the message names its position.
        ShapeError: there are no ids to tell `num_classes`.
        ValueError: `num_classes` is no length, nor -1.
    """
    ids = xp.asarray(ids)
    if num_classes == -1:
        refuse_if_batched("one_hot", ids, "state num_classes")
        if not ids.size:
            raise ShapeError("one_hot: state num_classes, there are no ids to tell")
        num_classes = int(ids.max()) + 1
    elif num_classes < 0 or num_classes != int(num_classes):
        raise ValueError(f"one_hot: num_classes must be a length, or -1; got {num_classes}")
    ids = checked_ids("one_hot", ids, num_classes, low=0)
    return (ids[..., None] == xp.arange(num_classes)).astype("int64")


one_hot.no_gradient()
