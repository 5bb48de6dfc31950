"""Look-up tables and positions."""

from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.backend import array_module
from minigrad.errors import ShapeError
from minigrad.nn import init
from minigrad.nn.module import Module


class Embedding(Module):
    """One trainable vector per id.

    Attributes:
        weight: (num_embeddings, embedding_dim), standard normal.

    Args:
        padding_idx: this id has the zero vector, which no gradient reaches.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: str = "float32",
    ):
        if padding_idx is not None and not 0 <= padding_idx < num_embeddings:
            raise ShapeError(
                f"Embedding: padding_idx must be in [0, {num_embeddings}), got {padding_idx}"
            )
        self.padding_idx = padding_idx
        self.weight = init.normal((num_embeddings, embedding_dim), dtype=dtype)
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, ids: Tensor) -> Tensor:
        """ids: integers of any shape -> (*ids.shape, embedding_dim)."""
        return ops.embedding(as_ids(ids), self.weight, padding_idx=self.padding_idx)

    def extra_repr(self) -> str:
        n, d = self.weight.shape
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{n}, {d}{padding}"


def as_ids(ids: Any) -> Tensor:
    """Ids as a Tensor: made from an array, a list of lists or one id alone."""
    return ids if type(ids) is Tensor else Tensor(ids)


def sinusoids(length: int, features: int, dtype: str = "float32") -> np.ndarray:
    """(length, features) sines (even columns) and cosines (odd ones) of falling frequency.

    Row t, columns 2i and 2i + 1: the angle is t / 10000^(2i / features) (Vaswani et al., section
    3.5, arXiv 1706.03762).
    """
    angle = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, features, 2) / features)
    table = np.empty((length, features))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle)[:, : features // 2]
    return table.astype(dtype)


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
