"""Where in a sequence something stands: positions that are added, learned or turned by."""

from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.backend import array_module
from minigrad.errors import OutOfRangeError, ShapeError
from minigrad.nn import init
from minigrad.nn.module import Module


def sinusoids(length: int, features: int, dtype: str = "float32") -> np.ndarray:
    """(length, features) sines (even columns) and cosines (odd ones) of falling frequency.

    Row t, columns 2i and 2i + 1: the angle is t / 10000^(2i / features) (Vaswani et al., section
    3.5, arXiv 1706.03762).
    """
    angle = _angles(length, features)
    table = np.empty((length, features))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle)[:, : features // 2]
    return table.astype(dtype)


def _angles(length: int, features: int, base: float = 10000.0) -> np.ndarray:
    """(length, features / 2): row t, column i is t / base^(2i / features)."""
    return np.arange(length)[:, None] / base ** (np.arange(0, features, 2) / features)


class SinusoidalPositions(Module):
    """Adds `sinusoids` to a sequence, of any length: nothing is trained, nothing is saved."""

    def __init__(self):
        self._table = None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, features) -> the same shape."""
        T, features = x.shape[-2:]
        module = array_module(x.data)
        table = self._table
        if (
            table is None
            or len(table) < T
            or (table.shape[1], table.dtype) != (features, x.dtype)
            or type(table) is not type(x.data)
        ):
            table = self._table = module.asarray(sinusoids(T, features, x.dtype))
        return x + table[:T]


class LearnedPositions(Module):
    """Adds a trained vector for each position to a sequence of at most `max_length`.

    Attributes:
        weight: (max_length, features), normal with the standard deviation 0.02. A longer table is
            made with `extended`.

    Raises:
        OutOfRangeError: a sequence is longer than `max_length`.
    """

    def __init__(self, max_length: int, features: int, dtype: str = "float32"):
        self.weight = init.normal((max_length, features), 0.02, dtype)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x: (..., T, features), of which the first is at position `start` -> the same shape.

        Raises:
            OutOfRangeError: there are fewer positions.
        """
        T = x.shape[-2]
        if start < 0 or start + T > len(self.weight):
            raise OutOfRangeError(
                f"LearnedPositions: there are {len(self.weight)} positions, position "
                f"{start + T - 1} was asked for; use extended({start + T})"
            )
        return x + self.weight[start : start + T]

    def extended(self, max_length: int) -> "LearnedPositions":
        """Another one for longer sequences: the vectors that there are, and new ones after them.

        Raises:
            ShapeError: there are more than `max_length` already.
        """
        n, features = self.weight.shape
        if max_length < n:
            raise ShapeError(f"LearnedPositions: there are {n} positions already, got {max_length}")
        longer = LearnedPositions(max_length, features, str(self.weight.dtype))
        longer.weight.data[:n] = self.weight.data
        return longer

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class RotaryPositions(Module):
    """Turns each pair of features by an angle that grows with the position, for queries and keys.

    Products of a query and a key then depend on how far they are apart, not on where they are.
    (Su et al., "RoFormer", arXiv 2104.09864.) Nothing is trained, and sequences may be of any
    length. Features 2i and 2i + 1 of position t are turned by t / base^(2i / features).

    Args:
        features: of a head, an even number.
        base: the larger, the slower the last pairs turn.

    Raises:
        ShapeError: `features` is not even.
    """

    def __init__(self, features: int, base: float = 10000.0):
        if features < 2 or features % 2:
            raise ShapeError(f"RotaryPositions: features must be even, got {features}")
        self.features, self.base = features, base

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x: (..., T, heads x features), the first at position `start` -> the same shape.

        Raises:
            ShapeError: the last axis is not made of heads.
        """
        T, width = x.shape[-2:]
        if width % self.features:
            raise ShapeError(
                f"RotaryPositions: the last axis must be heads of {self.features} features, got "
                f"{x.shape}"
            )
        angle = _angles(start + T, self.features, self.base)[start:, None, :]
        cos, sin = (_beside(x, f(angle)) for f in (np.cos, np.sin))
        pairs = ops.reshape(x, shape=(*x.shape[:-1], width // self.features, self.features // 2, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        turned = ops.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)
        return ops.reshape(turned, shape=x.shape)

    def extra_repr(self) -> str:
        return f"{self.features}, base={self.base}"


def _beside(x: Tensor, table: np.ndarray) -> Any:
    return array_module(x.data).asarray(table.astype(x.dtype))
