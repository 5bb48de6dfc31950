"""How far vectors are apart, as layers."""

from minigrad.autodiff import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along axis `dim`.

    Args:
        dim: the axis.
        eps: the least length that is divided by.
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8):
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """x1, x2: shapes that broadcast -> that shape without axis `dim`."""
        return F.cosine_similarity(x1, x2, axis=self.dim, eps=self.eps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}"


class PairwiseDistance(Module):
    """The p-norm of the differences of vectors along the last axis.

    Args:
        p: of the norm.
        eps: added to the differences, against the kink at 0.
        keepdim: whether the axis stays, with length 1.
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        self.p, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """x1, x2: shapes that broadcast -> that shape without the last axis."""
        return F.pairwise_distance(x1, x2, p=self.p, eps=self.eps, keepdims=self.keepdim)

    def extra_repr(self) -> str:
        return f"p={self.p}, eps={self.eps}, keepdim={self.keepdim}"
