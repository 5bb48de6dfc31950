"""Gradients of look-ups, which touch few rows of a large table.

embedding = nn.Embedding(100_000, 64, sparse=True)
embedding([[3, 5, 3]]).sum().backward()
embedding.weight.grad        <SparseRows float32 (100000, 64), 2 rows>
embedding.weight.grad.rows   [3, 5]
"""

from collections.abc import Callable
from typing import Any

from minigrad.backend import array_module, register
from minigrad.errors import ShapeError


class SparseRows:
    """An array that is zero but for some of its rows.

    The sum of two has the rows of both; the sum with an array is an array.

    Attributes:
        rows: (n,) int64, rising, each once.
        values: (n, ...), what stands in these rows.
        shape: of the whole.

    Raises:
        ShapeError: the shapes do not fit each other.
    """

    __slots__ = ("rows", "shape", "values")

    __array_ufunc__ = None  # NumPy leaves `array + sparse` to us,
    __array_priority__ = 2000  # and so does CuPy

    def __init__(self, rows: Any, values: Any, shape: tuple[int, ...]):
        if rows.ndim != 1 or values.shape != (len(rows), *shape[1:]):
            raise ShapeError(
                f"SparseRows: expected (n,) rows and values (n, ...) of an array of shape {shape}, "
                f"got {rows.shape} and {values.shape}"
            )
        self.rows, self.values, self.shape = rows, values, tuple(shape)

    dtype = property(lambda x: x.values.dtype)
    ndim = property(lambda x: len(x.shape))

    def to_dense(self) -> Any:
        """The array itself, zeros included."""
        y = array_module(self.values).zeros(self.shape, self.dtype)
        y[self.rows] = self.values
        return y

    def map(self, function: Callable[[Any], Any]) -> "SparseRows":
        """The same rows with `function(values)` in them; it has to leave zeros alone."""
        return SparseRows(self.rows, function(self.values), self.shape)

    def copy(self) -> "SparseRows":
        return self.map(lambda values: values.copy())

    def astype(self, dtype: Any) -> "SparseRows":
        return self.map(lambda values: values.astype(dtype))

    def __add__(self, other: Any) -> Any:
        if self.shape != other.shape:
            raise ShapeError(f"SparseRows: cannot add shapes {self.shape} and {other.shape}")
        if type(other) is not SparseRows:
            y = other.copy()
            y[self.rows] += self.values
            return y
        xp = array_module(self.values)
        rows, places = xp.unique(xp.concatenate((self.rows, other.rows)), return_inverse=True)
        values = xp.zeros((len(rows), *self.shape[1:]), self.dtype)
        n = len(self.rows)
        values[places[:n]] = self.values
        values[places[n:]] += other.values  # no row twice in one of them
        return SparseRows(rows, values, self.shape)

    __radd__ = __add__

    def __mul__(self, factor: float) -> "SparseRows":
        return self.map(lambda values: values * factor)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"<SparseRows {self.dtype} {self.shape}, {len(self.rows)} rows>"


# So that the backward pass takes it for an array.
register(SparseRows, lambda x: array_module(x.values))
