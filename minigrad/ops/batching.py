"""The three ops behind `vmap`: a batch axis is hidden, shown again, or summed away.

Between `_hide` and `_show` a tensor holds a `minigrad.batched.Batched`: every op sees one example.
Each is the adjoint of another, so gradients pass through a `vmap` as through any op. And
`_fresh` and `_constant`, which higher derivatives need too.
"""

from minigrad import batched
from minigrad.autodiff import primitive
from minigrad.ops.elementwise import zeros_like

__all__: list[str] = []


@primitive
def _hide(xp, x, *, axis, level):
    """`x` without `axis`, which becomes the hidden batch axis of `level`."""
    return batched.hide(x, axis, level)


@primitive
def _show(xp, x, *, axis, level, length):
    """`x` with its hidden axis of `level` at `axis`; copied `length` times if it has none."""
    return batched.show(x, level, length, axis)


@primitive
def _relevel(xp, x, *, levels):
    """`x` with the hidden axes `levels`: summed over others that it has, copied along new ones."""
    keep = [level for level, _ in levels]
    x = batched.sum_levels(x, [level for level, _ in batched.levels_of(x) if level not in keep])
    return batched.add_levels(x, levels)


@primitive
def _fresh(xp, x):
    """`x` itself, as a tensor with an edge of its own: what a transform differentiates by."""
    return x


@primitive
def _constant(xp, x, of):
    """`x`, which does not depend on `of`, as if it did: with derivative 0."""
    return x


_fresh.vjps(lambda g, _y, _x: g)
_constant.vjps(lambda g, _y, _x, _of: g, lambda g, _y, _x, of: zeros_like(of))
_hide.vjps(
    lambda g, _y, _x, *, axis, level: _show(g, axis=axis, level=level, length=_x.shape[axis])
)
_show.vjps(lambda g, _y, _x, *, axis, level, length: _hide(g, axis=axis, level=level))
_relevel.vjps(lambda g, _y, _x, *, levels: g)  # the engine does the reverse
