"""Ops that draw random numbers: from a key, so that the same call draws the same again."""

import functools

from minigrad import batched, random
from minigrad.arguments import PLAIN
from minigrad.autodiff import primitive
from minigrad.backend import array_module
from minigrad.ops.dtypes import chosen

__all__ = [
    "dropout",
]  # fmt: skip

PLAIN.add(random.Key)  # a key enters a formula as it is


@primitive(kernel="noise.dropout")
def dropout(xp, x, key, *, p, shared=(), levels=None):
    """`x` with each element set to 0 with probability `p`, and the others scaled by 1 / (1 - p).

    Args:
        key: a `minigrad.random.Key`; the gradient draws the same mask from it again.
        shared: axes along which one draw decides for all elements.
        levels: the hidden batch axes of `vmap` along which examples get masks of their own; by
            default those that `x` has.
    (Srivastava et al., JMLR 15, 2014; for shared axes Tompson et al., arXiv 1411.4280.)

    Raises:
        ValueError: `p` is no probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if p == 1:
        return xp.zeros_like(x)
    levels = batched.levels_of(x) if levels is None else levels
    shared = [a % x.ndim for a in shared]
    shape = tuple(1 if a in shared else n for a, n in enumerate(x.shape))
    keep = drawn(x, shape, levels, functools.partial(random.bernoulli, key, 1 - p))
    scale = x.dtype.type(1 / (1 - p)) if x.dtype.kind == "V" else 1 / (1 - p)
    return chosen(array_module(x, keep), keep, x * scale, x.dtype.type(0))


@dropout.vjp
def _(g, _y, _x, key, *, p, shared=(), levels=None):
    levels = _x.levels if levels is None else levels  # of `g` there may be more
    return dropout(g, key, p=p, shared=shared, levels=levels), None


def drawn(x, shape, levels, draw):
    """What `draw(shape, xp=...)` gives beside `x`, other numbers for each example of a `vmap`."""
    while type(x) is batched.Batched:
        x = x.value
    y = draw((*(length for _, length in levels), *shape), xp=array_module(x))
    for level, _ in levels:
        y = batched.hide(y, 0, level)
    return y
