"""Ops that draw random numbers: from a key, so that the same call draws the same again."""

from minigrad import random
from minigrad.arguments import PLAIN
from minigrad.autodiff import primitive

__all__ = [
    "dropout",
]  # fmt: skip

PLAIN.add(random.Key)  # a key enters a formula as it is


@primitive
def dropout(xp, x, key, *, p, shared=()):
    """`x` with each element set to 0 with probability `p`, and the others scaled by 1 / (1 - p).

    Args:
        key: a `minigrad.random.Key`; the gradient draws the same mask from it again.
        shared: axes along which one draw decides for all elements.
    (Srivastava et al., JMLR 15, 2014; for shared axes Tompson et al., arXiv 1411.4280.)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if p == 1:
        return xp.zeros_like(x)
    shared = [a % x.ndim for a in shared]
    shape = tuple(1 if a in shared else n for a, n in enumerate(x.shape))
    keep = random.bernoulli(key, 1 - p, shape, xp=xp)
    return xp.where(keep, x * (1 / (1 - p)), x.dtype.type(0))


@dropout.vjp
def _(g, _y, _x, key, *, p, shared=()):
    return dropout(g, key, p=p, shared=shared), None
