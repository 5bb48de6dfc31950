"""Dropout."""

from typing import Any

from minigrad import ops, random
from minigrad.autodiff import Tensor
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn.module import Module

__all__ = [
    "AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout",
]  # fmt: skip


class Dropout(Module):
    """In training, sets elements to 0 with probability `p` and scales the others by 1 / (1 - p).

    The mask is drawn from the next key of the current stream, see `minigrad.random.stream`.

    Args:
        p: from 0 to 1.
        inplace: for code written for PyTorch; nothing is overwritten, whatever it is.

    Raises:
        ValueError: `p` is no probability.
    """

    function: Any = staticmethod(F.dropout)

    def __init__(self, p: float = 0.5, inplace: bool = False):
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """x: any shape -> the same shape.

        Args:
            training: whether anything is dropped; by default whether the module is in training.
        """
        return type(self).function(x, self.p, self.training if training is None else training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L)."""

    function: Any = staticmethod(F.dropout1d)


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, H, W)."""

    function: Any = staticmethod(F.dropout2d)


class Dropout3d(Dropout):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    function: Any = staticmethod(F.dropout3d)


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, for networks of `SELU` (arXiv 1706.02515)."""

    function: Any = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """`AlphaDropout` of whole channels of (N, C, ...): what follows axis 1 is dropped together."""

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """x: (N, C, ...) -> the same shape.

        Args:
            training: as for `Dropout`.

        Raises:
            ShapeError: `x` has fewer than two axes.
        """
        if x.ndim < 2:
            raise ShapeError(f"FeatureAlphaDropout: x must be (N, C, ...), got {x.shape}")
        if not (self.training if training is None else training):
            return x
        one = ops.zeros_like(x[(slice(None), slice(None), *[slice(1)] * (x.ndim - 2))])
        # For one mask the result is linear in x: what comes of 0 and of 1 tells offset and factor.
        key = random.next_key()
        at0, at1 = (F.alpha_dropout(one + v, self.p, True, key=key) for v in (0, 1))
        return x * (at1 - at0) + at0
