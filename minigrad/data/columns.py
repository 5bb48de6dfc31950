"""Tables as data sets: columns are turned into arrays once, and a batch is one gather for each.

A row of a column-wise table is spread over memory, so asking for rows one by one is slow, and
making a small array or Tensor of each is slower still. A batch asks for many rows at once, and for
that columns are as good as rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.data.datasets import Dataset, take
from minigrad.errors import DataError, DtypeError, ShapeError


class ColumnDataset(Dataset):
    """The rows of a Polars or pandas data frame, an Arrow table, or a dictionary of arrays.

        ColumnDataset(frame)                                  {'x0': ..., 'x1': ..., 'y': ...}
        ColumnDataset(frame, (["x0", "x1"], "y"))             (array (2,), number)
        ColumnDataset(frame, {"x": ["x0", "x1"], "group": "g"})   a dictionary of these

    Numbers become arrays, strings and other objects lists.

    Args:
        table: anything with columns by name.
        fields: what an item has: by default each column under its name; else a tuple or dictionary
            of a column's name, or of a list of names, whose numbers become one vector.
        dtype: what floating columns are cast to; by default they keep their dtype.

    Raises:
        DataError: a column is not there, or has missing values.
        ShapeError: columns differ in length.
        DtypeError: columns of one vector are not numbers.
    """

    def __init__(
        self,
        table: Any,
        fields: Sequence[Any] | Mapping[str, Any] | str | None = None,
        dtype: Any = None,
    ):
        names = _names(table)
        wanted = {name: name for name in names} if fields is None else fields
        self._shape: Any = None  # of an item: names, a length, or None for a single field
        if isinstance(wanted, Mapping):
            self._shape, parts = list(wanted), list(wanted.values())
        elif isinstance(wanted, str):
            parts = [wanted]
        else:
            self._shape, parts = len(wanted), list(wanted)
        self.columns = [_field(table, names, part, dtype) for part in parts]
        lengths = [len(column) for column in self.columns]
        if len(set(lengths)) != 1:
            raise ShapeError(f"ColumnDataset: expects columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int) -> Any:
        return self._item([column[index] for column in self.columns])

    def __getitems__(self, indices: Sequence[int]) -> Any:
        found = [take(column, indices) for column in self.columns]
        return self._item([a if a.dtype.kind in "biufc" else a.tolist() for a in found])

    def _item(self, values: list[Any]) -> Any:
        if isinstance(self._shape, list):
            return dict(zip(self._shape, values, strict=True))
        return values[0] if self._shape is None else tuple(values)


def _names(table: Any) -> list[str]:
    if isinstance(table, Mapping):
        return list(table)
    names = getattr(table, "column_names", None)  # Arrow; for the others these are `columns`
    return list(table.columns if names is None else names)


def _field(table: Any, names: list[str], part: Any, dtype: Any) -> np.ndarray:
    """One column as an array (N,), or several as (N, how many)."""
    if isinstance(part, str):
        found = _column(table, names, part)
    else:
        columns = [_column(table, names, name) for name in part]
        if bad := [n for n, c in zip(part, columns, strict=True) if c.dtype.kind not in "biuf"]:
            raise DtypeError(f"ColumnDataset: the columns {bad} are not numbers, so no vector")
        if len({len(c) for c in columns}) != 1:
            raise ShapeError(f"ColumnDataset: the columns {list(part)} differ in length")
        found = np.stack(columns, axis=-1)
    if dtype is not None and found.dtype.kind == "f":
        found = found.astype(dtype, copy=False)
    return np.ascontiguousarray(found)


def _column(table: Any, names: list[str], name: str) -> np.ndarray:
    if name not in names:
        raise DataError(f"ColumnDataset: no column {name!r}; there are {names}")
    column = table[name]
    missing = getattr(column, "null_count", 0)  # a number of Arrow's, a method of Polars'
    missing = missing() if callable(missing) else missing
    if missing:
        raise DataError(
            f"ColumnDataset: the column {name!r} has {missing} missing values; fill them or drop "
            "their rows before"
        )
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
