"""Ops that draw random numbers: from a key, so that the same call draws the same again."""

from minigrad import random
from minigrad.autodiff import _PLAIN, primitive

__all__ = [
    "dropout",
]  # fmt: skip

_PLAIN.add(random.Key)  # a key enters a formula as it is


@primitive
def dropout(xp, x, key, *, p):
    """`x` with each element set to 0 with probability `p`, and the others scaled by 1 / (1 - p).

    Args:
        key: a `minigrad.random.Key`; the gradient draws the same mask from it again.
    (Srivastava et al., JMLR 15, 2014.)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    keep = random.bernoulli(key, 1 - p, x.shape, xp=xp)
    return xp.where(keep, x * (1 / (1 - p)), x.dtype.type(0)) if p < 1 else xp.zeros_like(x)


dropout.vjps(lambda g, _y, _x, key, *, p: dropout(g, key, p=p), lambda *_, **__: None)
