"""Dropout."""

from minigrad import ops, random
from minigrad.autodiff import Tensor
from minigrad.nn.module import Module


class Dropout(Module):
    """In training, sets elements to 0 with probability `p` and scales the others by 1 / (1 - p).

    The mask is drawn from the next key of the current stream, see `minigrad.random.stream`.
    """

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        if not self.training or self.p == 0:
            return x
        return ops.dropout(x, random.next_key(), p=self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
