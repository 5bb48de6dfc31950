"""Functions that make axes disappear. `axis` is None (all), an int or a tuple, as in NumPy."""

import math

from numpy.lib.array_utils import normalize_axis_tuple

from minigrad.autodiff import op, primitive
from minigrad.ops.elementwise import astype, stop_gradient, where
from minigrad.ops.shaping import broadcast_to, reshape

__all__ = [
    "all", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "std", "sum", "var",
]  # fmt: skip


def axes_of(axis, ndim: int) -> tuple[int, ...]:
    """The axes that `axis` means, as a tuple of non-negative numbers."""
    return tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)


def _count(x, axis) -> int:
    """How many elements of `x` go into one element of the result."""
    return math.prod(x.shape[i] for i in axes_of(axis, x.ndim))


def _restore(y, x, axis, keepdims):
    """`y` with the axes of `x` back, as length 1."""
    if keepdims:
        return y
    gone = axes_of(axis, x.ndim)
    return reshape(y, shape=tuple(1 if i in gone else n for i, n in enumerate(x.shape)))


@primitive
def sum(xp, x, *, axis=None, keepdims=False):
    """The sum along `axis`. Half precision is summed in float32; booleans are counted."""
    axis = axes_of(axis, x.ndim)
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":
        return x.sum(axis=axis, keepdims=keepdims, dtype="float32").astype(x.dtype)
    return x.sum(axis=axis, keepdims=keepdims)


@sum.vjp
def _(g, _y, _x, *, axis=None, keepdims=False):
    return broadcast_to(_restore(g, _x, axis, keepdims), shape=_x.shape)


@op
def mean(xp, x, *, axis=None, keepdims=False):
    """The mean along `axis`; of no elements at all it is NaN. Half precision: as for `sum`."""
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":
        wide = astype(x, dtype="float32")  # the sum itself may be too large for 16 bits
        return astype(mean(wide, axis=axis, keepdims=keepdims), dtype=x.dtype)
    return sum(x, axis=axis, keepdims=keepdims) / (_count(x, axis) or math.nan)


@op
def var(xp, x, *, axis=None, correction=0, keepdims=False):
    """The variance along `axis`: the sum of squared deviations over `n - correction`.

    It is NaN where `n - correction` is not positive, as the variance of one element with
    `correction=1`.
    """
    deviation = x - mean(x, axis=axis, keepdims=True)
    n = _count(x, axis) - correction
    return sum(deviation * deviation, axis=axis, keepdims=keepdims) / (n if n > 0 else math.nan)


@op
def std(xp, x, *, axis=None, correction=0, keepdims=False):
    """The standard deviation along `axis`; its derivative at 0 is infinite."""
    return xp.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def _share_evenly(g, y, x, *, axis=None, keepdims=False):
    """The rule of max and min: the gradient goes to the extreme element, or evenly to all such."""
    hit = x == _restore(y, x, axis, keepdims)
    ties = astype(sum(hit, axis=axis, keepdims=True), dtype=g.dtype)
    return where(hit, _restore(g, x, axis, keepdims) / ties, 0.0)


@primitive
def max(xp, x, *, axis=None, keepdims=False):
    """The largest element along `axis`; equal ones share the gradient evenly."""
    return x.max(axis=axes_of(axis, x.ndim), keepdims=keepdims)


@primitive
def min(xp, x, *, axis=None, keepdims=False):
    """The smallest element along `axis`; equal ones share the gradient evenly."""
    return x.min(axis=axes_of(axis, x.ndim), keepdims=keepdims)


max.vjp(_share_evenly)
min.vjp(_share_evenly)


@primitive
def argmax(xp, x, *, axis=None, keepdims=False):
    """The index of the first largest element along `axis` (None: of the flattened array)."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive
def argmin(xp, x, *, axis=None, keepdims=False):
    """The index of the first smallest element along `axis` (None: of the flattened array)."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)


@primitive
def any(xp, x, *, axis=None, keepdims=False):
    """Whether any element along `axis` is true."""
    return xp.any(x, axis=axes_of(axis, x.ndim), keepdims=keepdims)


@primitive
def all(xp, x, *, axis=None, keepdims=False):
    """Whether all elements along `axis` are true."""
    return xp.all(x, axis=axes_of(axis, x.ndim), keepdims=keepdims)


for _op in (argmax, argmin, any, all):
    _op.no_gradient()


@op
def logsumexp(xp, x, *, axis=None, keepdims=False):
    """`log(sum(exp(x)))` along `axis` without overflow; minus infinity where all of `x` is."""
    # Any constant may be taken out of the exponent, so the maximum counts as one.
    top = stop_gradient(xp.max(x, axis=axis, keepdims=True))
    shift = xp.where(xp.isfinite(top), top, 0.0)
    s = sum(xp.exp(x - shift), axis=axis, keepdims=True)
    y = xp.where(s == 0, top, xp.log(xp.where(s == 0, 1.0, s)) + shift)
    return y if keepdims else sum(y, axis=axis)
