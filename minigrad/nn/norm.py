"""Normalising layers."""

from operator import index

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.nn import init
from minigrad.nn.functional import layer_norm
from minigrad.nn.module import Module


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axes, then scaled and shifted (arXiv 1607.06450).

    Args:
        normalized_shape: the lengths of the axes to normalise over; an int for the last one.
        eps: added to the variance.

    Attributes:
        weight, bias: of `normalized_shape`, ones and zeros; None without `elementwise_affine`.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: str = "float32",
    ):
        if isinstance(normalized_shape, int | np.integer):
            normalized_shape = (normalized_shape,)
        self.normalized_shape, self.eps = tuple(map(index, normalized_shape)), eps
        self.weight = (
            init.constant(self.normalized_shape, 1.0, dtype) if elementwise_affine else None
        )
        with_bias = elementwise_affine and bias
        self.bias = init.constant(self.normalized_shape, 0.0, dtype) if with_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., *normalized_shape) -> the same shape."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"
