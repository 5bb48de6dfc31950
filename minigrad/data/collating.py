"""Collating: one batch of some items, and one kind of leaf made of another all over a batch."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from numbers import Number
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import array_module, is_array
from minigrad.errors import DtypeError, ShapeError


def default_collate(items: Sequence[Any]) -> Any:
    """One batch of `items`, of the structure of one item, with a new first axis.

    Arrays, Tensors and numbers are stacked to an array. Python's floats become float32, integers
    int64; arrays keep their dtype. Tuples, named tuples, lists and dictionaries are gone into;
    strings, bytes and members of an enumeration become lists. A Tensor in a batch would be tracked
    by nobody, so arrays it is: the loader makes Tensors.

    Raises:
        ShapeError: items differ in shape, keys or length; the message says which.
        DtypeError: an item holds something else.
    """
    if not len(items):
        raise ShapeError("default_collate: expects at least one item, got none")
    return _collate(list(items), "")


def _collate(items: list[Any], where: str) -> Any:
    first = items[0]
    if isinstance(first, str | bytes | Enum) and not isinstance(first, Number):
        return items
    if isinstance(first, Mapping):
        for i, item in enumerate(items):
            if not isinstance(item, Mapping) or item.keys() != first.keys():
                raise _differ(where, i, f"the keys {list(item)}", f"the keys {list(first)}")
        return {k: _collate([item[k] for item in items], f"{where}[{k!r}]") for k in first}
    if isinstance(first, tuple | list):
        for i, item in enumerate(items):
            if not isinstance(item, tuple | list) or len(item) != len(first):
                size = f"length {len(item)}" if isinstance(item, tuple | list) else repr(item)
                raise _differ(where, i, size, f"length {len(first)}")
        parts = [
            _collate(list(column), f"{where}[{i}]")
            for i, column in enumerate(zip(*items, strict=True))
        ]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return _stack(items, where)


def _stack(items: list[Any], where: str) -> Any:
    arrays = []
    for i, item in enumerate(items):
        if type(item) is Tensor:
            item = item.data
        if not is_array(item) and not isinstance(item, Number | np.generic):
            raise DtypeError(
                f"default_collate: expects arrays, numbers, strings, or tuples, lists and "
                f"dictionaries of them; item {i} of the batch{_at(where)} is a "
                f"{type(item).__name__}; change it in the data set or give a collate_fn"
            )
        arrays.append(item)
    if all(isinstance(a, float) and not isinstance(a, np.generic) for a in arrays):
        return np.asarray(arrays, np.float32)
    shapes = [getattr(a, "shape", ()) for a in arrays]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise _differ(where, i, f"the shape {shape}", f"{shapes[0]}")
    if any(is_array(a) for a in arrays):
        xp = array_module(*arrays)
        return xp.stack([xp.asarray(a) for a in arrays])
    found = np.asarray(arrays)
    mixed = any(isinstance(a, float) and not isinstance(a, np.generic) for a in arrays)
    return found.astype(np.float32) if mixed and found.dtype == np.float64 else found


def _differ(where: str, i: int, came: str, first: str) -> ShapeError:
    return ShapeError(
        f"default_collate: item {i} of the batch{_at(where)} has {came}, item 0 has {first}; make "
        "them equal in the data set, or pad them: collate_fn=minigrad.data.PaddedCollate()"
    )


def _at(where: str) -> str:
    return f" at {where}" if where else ""


class PaddedCollate:
    """Collates arrays of different lengths: they are padded along their first axis.

    Lists of numbers count as arrays. Each place of the item is padded to its own longest.

    Args:
        value: what fills up.
        multiple: lengths are rounded up to a multiple of that, for fewer different shapes.
    """

    def __init__(self, value: float = 0, multiple: int = 1):
        self.value, self.multiple = value, multiple

    def __call__(self, items: Sequence[Any]) -> Any:
        return _collate(self._padded([_numbers_to_arrays(item) for item in items]), "")

    def _padded(self, items: list[Any]) -> list[Any]:
        """`items` with arrays of one length at each place."""
        first = items[0]
        if isinstance(first, Mapping):
            columns = {k: self._padded([item[k] for item in items]) for k in first}
            return [{k: columns[k][i] for k in first} for i in range(len(items))]
        if isinstance(first, tuple | list):
            places = [self._padded(list(column)) for column in zip(*items, strict=True)]
            rows = zip(*places, strict=True)
            named = hasattr(first, "_fields")
            return [type(first)(*row) if named else type(first)(row) for row in rows]
        items = [item.data if type(item) is Tensor else item for item in items]
        if not all(is_array(a) and a.ndim for a in items):
            return items
        length = max(len(a) for a in items)
        length = -(-length // self.multiple) * self.multiple
        return [self._filled(a, length) for a in items]

    def _filled(self, array: Any, length: int) -> Any:
        xp = array_module(array)
        found = xp.full((length, *array.shape[1:]), self.value, dtype=array.dtype)
        found[: len(array)] = array
        return found


def _numbers_to_arrays(item: Any) -> Any:
    """`item`, with arrays for its lists of numbers."""
    if isinstance(item, Mapping):
        return {k: _numbers_to_arrays(v) for k, v in item.items()}
    if isinstance(item, list) and all(isinstance(x, Number) for x in item):
        return Tensor(item).data if item else np.zeros(0, np.int64)
    if isinstance(item, tuple | list):
        parts = [_numbers_to_arrays(v) for v in item]
        return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)
    return item


def map_leaves(function: Callable, batch: Any) -> Any:
    """`batch` with `function(leaf)` for all that is no tuple, list or dictionary."""
    if isinstance(batch, Mapping):
        return {k: map_leaves(function, v) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [map_leaves(function, v) for v in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return function(batch)
