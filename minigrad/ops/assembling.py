"""Arrays put together and taken apart: what stands on `shaping` and `indexing`."""

from typing import Any

import numpy as np

from minigrad.autodiff import Tensor, as_array, as_arrays, on_device_of
from minigrad.backend import is_array, to_numpy
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError
from minigrad.ops.creation import arange, linspace
from minigrad.ops.dtypes import astype
from minigrad.ops.indexing import refuse_if_batched, take
from minigrad.ops.shaping import (
    arrayed,
    atleast_1d,
    axis_of,
    broadcast_to,
    concatenate,
    flip,
    moveaxis,
    ravel,
    reshape,
    split,
)

__all__ = [
    "append", "block", "c_", "concat", "delete", "dsplit", "fliplr", "flipud", "hsplit", "insert",
    "r_", "rollaxis", "vsplit",
]  # fmt: skip

concat = concatenate  # the array API's name

# ------------------------------------------------------------------------------ turning, cutting


def fliplr(m):
    """`m`, of two axes or more, with the order of its columns reversed: the second axis.

    Raises:
        ShapeError: `m` has fewer than two axes.
    """
    m = arrayed(m)
    if m.ndim < 2:
        raise ShapeError(f"fliplr: expects two axes or more, got shape {m.shape}; use flip")
    return flip(m, axis=1)


def flipud(m):
    """`m` with the order of its rows reversed: the first axis.

    Raises:
        ShapeError: `m` has no axis.
    """
    m = arrayed(m)
    if not m.ndim:
        raise ShapeError("flipud: expects an axis or more, got shape ()")
    return flip(m, axis=0)


def rollaxis(a, axis: int, start: int = 0):
    """`a` with `axis` moved before the one that is at `start`; `moveaxis` is easier to read.

    Raises:
        OutOfRangeError: there is no such `axis` or `start`.
    """
    a = arrayed(a)
    axis = axis_of("rollaxis", axis, a.shape)
    if not -a.ndim <= start <= a.ndim:
        raise OutOfRangeError(f"rollaxis: start {start} is out of range for shape {a.shape}")
    start = start + a.ndim if start < 0 else start
    return moveaxis(a, source=axis, destination=start - (axis < start))


def vsplit(ary, indices_or_sections) -> list:
    """`ary` cut into pieces below each other, along the first axis: see `split`."""
    return _cut_along("vsplit", ary, indices_or_sections, 0, 2)


def hsplit(ary, indices_or_sections) -> list:
    """`ary` cut into pieces beside each other: along the second axis, or the only one."""
    return _cut_along("hsplit", ary, indices_or_sections, 1, 1)


def dsplit(ary, indices_or_sections) -> list:
    """`ary` cut into pieces behind each other, along the third axis: see `split`."""
    return _cut_along("dsplit", ary, indices_or_sections, 2, 3)


def _cut_along(name: str, ary, indices_or_sections, axis: int, least: int) -> list:
    ary = arrayed(ary)
    if ary.ndim < least:
        raise ShapeError(f"{name}: expects {least} axes or more, got shape {ary.shape}")
    return split(ary, indices_or_sections, min(axis, ary.ndim - 1))


# ------------------------------------------------------------------------- more, and less of it


def append(arr, values, axis: int | None = None):
    """`arr` and `values` one after the other along `axis` (None: both flattened)."""
    return concatenate([arr, values], axis)


def insert(arr, obj, values, axis: int | None = None):
    """`arr` with `values` put before the indices `obj` along `axis` (None: of it flattened).

    Args:
        obj: an index, a slice, or a sequence of indices or booleans; all of them count in `arr`.
        values: for a single index any number of them along `axis`; for several one each, or what
            broadcasts.

    Raises:
        OutOfRangeError: an index is out of range.
        DtypeError: the values would lose digits in the dtype of `arr`.
        ShapeError: `values` has more axes than `arr`.
    """
    arr, values = as_arrays(arr, values)
    if not np.can_cast(values.dtype, arr.dtype, "same_kind"):
        raise DtypeError(
            f"insert: values of {values.dtype} would be cut off in an array of {arr.dtype}; cast "
            f"one of them"
        )
    if axis is None:
        arr, axis = ravel(arr), 0
    axis = axis_of("insert", axis, arr.shape)
    n, places = arr.shape[axis], _places("insert", obj)
    if values.ndim > arr.ndim:
        raise ShapeError(f"insert: values of shape {values.shape} for an array of {arr.shape}")
    values = reshape(values, shape=(1,) * (arr.ndim - values.ndim) + values.shape)
    if np.ndim(places) == 0 and not isinstance(places, slice):
        values = moveaxis(values, source=0, destination=axis)
    count = len(np.arange(n)[places]) if isinstance(places, slice) else np.size(places)
    if not isinstance(places, slice) and places.dtype.kind == "b":
        count = int(np.count_nonzero(places))
    count = values.shape[axis] if count == 1 else count
    shape = (*arr.shape[:axis], count, *arr.shape[axis + 1 :])
    values = broadcast_to(astype(values, dtype=arr.dtype), shape=shape)
    order = _explained("insert", np.insert, np.arange(n), places, np.arange(n, n + count))
    return take(concatenate([arr, values], axis), on_device_of([arr], order), axis=axis)


def delete(arr, obj, axis: int | None = None):
    """`arr` without what is at the indices `obj` along `axis` (None: of it flattened).

    Args:
        obj: an index, a slice, or a sequence of indices or booleans.

    Raises:
        OutOfRangeError: an index is out of range.
    """
    arr = arrayed(arr)
    if axis is None:
        arr, axis = ravel(arr), 0
    axis = axis_of("delete", axis, arr.shape)
    kept = _explained("delete", np.delete, np.arange(arr.shape[axis]), _places("delete", obj))
    return take(arr, on_device_of([arr], kept), axis=axis)


def _places(name: str, obj) -> Any:
    """What `obj` says, on the host: the shape of the result hangs on it."""
    if isinstance(obj, slice):
        return obj
    if type(obj) is Tensor or hasattr(obj, "shape"):
        array = as_array(obj)
        if type(obj) is Tensor or not isinstance(array, np.ndarray):
            refuse_if_batched(name, array, "give the indices as numbers")
        places = to_numpy(array)
    else:
        places = to_numpy(as_array(obj)) if isinstance(obj, list | tuple) else np.asarray(obj)
    places = places.astype(int) if not places.size else places  # [] would be floats
    if places.dtype.kind not in "iub" or places.ndim > 1:
        raise DtypeError(f"{name}: indices must be integers or booleans of one axis, got {obj!r}")
    return places


def _explained(name: str, function, n, *arguments):
    try:
        return function(n, *arguments)
    except IndexError as error:
        raise OutOfRangeError(f"{name}: {error}") from None
    except ValueError as error:
        raise ShapeError(f"{name}: {error}") from None


# --------------------------------------------------------------------------- from nested lists


def block(arrays):
    """An array from nested lists of blocks: the innermost along the last axis, and so on outwards.

    `block([[a, b], [c, d]])` is a matrix of four blocks. Blocks with fewer axes get new ones at
    the front.

    Raises:
        ShapeError: the lists are not of one depth, one is empty, or the blocks do not fit.
    """
    depth = _depth(arrays, "")
    blocks = as_arrays(*_flat(arrays))
    ndim = max(depth, *(x.ndim for x in blocks))
    found = iter([reshape(x, shape=(1,) * (ndim - x.ndim) + x.shape) for x in blocks])

    def put(part, axis):
        if not isinstance(part, list):
            return next(found)
        return concatenate([put(p, axis + 1) for p in part], axis)

    return put(arrays, ndim - depth)


def _depth(part, where: str) -> int:
    if isinstance(part, tuple):
        raise TypeError(f"block: arrays{where} is a tuple; only lists are nested")
    if not isinstance(part, list):
        return 0
    if not part:
        raise ShapeError(f"block: arrays{where} is an empty list")
    depths = [_depth(p, f"{where}[{i}]") for i, p in enumerate(part)]
    if len(set(depths)) > 1:
        raise ShapeError(f"block: the lists in arrays{where} differ in depth: {depths}")
    return 1 + depths[0]


def _flat(part) -> list:
    return [x for p in part for x in _flat(p)] if isinstance(part, list) else [part]


class _Joiner:
    """Arrays, numbers and slices in brackets, put together: `r_[0:3, 7, x]`, `c_[x, y]`.

    `r_` puts them one after the other along the first axis, `c_` beside each other along the last,
    vectors as columns. A slice is a range: `start:stop:step`, or `start:stop:5j` for 5 numbers
    with both ends.
    """

    def __init__(self, name: str):
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<minigrad.{self.__name__}>"

    def __getitem__(self, parts: Any) -> Any:
        parts = parts if isinstance(parts, tuple) else (parts,)
        if any(isinstance(p, str) for p in parts):
            raise ValueError(
                f"{self.__name__}: there are no directives such as {parts[0]!r}; use concatenate "
                f"or stack with an axis"
            )
        ranges = [_range(p) if isinstance(p, slice) else p for p in parts]
        if any(map(is_array, parts)) and not any(type(p) is Tensor for p in parts):
            ranges = [r.data if type(r) is Tensor else r for r in ranges]  # arrays give arrays
        xs = as_arrays(*ranges)
        if self.__name__ == "r_":
            return concatenate([atleast_1d(x) for x in xs], 0)
        return concatenate([x if x.ndim > 1 else reshape(x, shape=(-1, 1)) for x in xs], -1)


def _range(part: slice):
    start, step = part.start or 0, 1 if part.step is None else part.step
    if isinstance(step, complex):
        return linspace(start, part.stop, int(abs(step)))
    return arange(start, part.stop, step)


r_, c_ = _Joiner("r_"), _Joiner("c_")
