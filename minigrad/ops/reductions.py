"""Functions that make axes disappear, and running sums and products.

`axis` is None (all), an int or a tuple, as in NumPy. Half precision is summed and multiplied in
float32, and only the result is rounded to 16 bits. Where a function of integers gives fractions
(mean, var, norm, ...), they are float32.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minigrad.autodiff import as_array, as_arrays, op, primitive
from minigrad.backend import array_module
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import (
    astype,
    is_half,
    matched,
    narrowed,
    real_array,
    real_dtype,
    sortable,
    widened,
)
from minigrad.ops.elementwise import (
    absolute,
    divide,
    floor_divide,
    isnan,
    logaddexp,
    logical_or,
    maximum,
    minimum,
    multiply,
    ones_like,
    power,
    stop_gradient,
    where,
    zeros_like,
)
from minigrad.ops.indexing import (
    _in_range,
    corner_of,
    gather,
    refuse_longer,
    scatter_add,
    take_along_axis,
)
from minigrad.ops.shaping import (
    axis_of,
    broadcast_to,
    concatenate,
    diagonal,
    flip,
    moveaxis,
    pad,
    reshape,
    stack,
    swapaxes,
)  # fmt: skip

__all__ = [
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "cumprod",
    "cumsum", "cumulative_trapezoid", "index_reduce", "logcumsumexp", "logsumexp", "max", "mean",
    "median", "min", "nanmean", "nansum", "prod", "ptp", "quantile", "scatter_reduce",
    "std", "sum", "trace", "var",
]  # fmt: skip


def axes_of(axis, ndim: int) -> tuple[int, ...]:
    """The axes that `axis` means, as a tuple of non-negative numbers.

    Of a number, 0 and -1 mean none, as in NumPy's sums: so what works for a batch of numbers along
    its last axis works for one of them.
    """
    if axis is None or (not ndim and axis in (0, -1, (0,), (-1,), [0], [-1])):
        return tuple(range(ndim))
    return normalize_axis_tuple(axis, ndim)


def count_along(x, axis) -> int:
    """How many elements of `x` go into one element of the result."""
    return math.prod(x.shape[i] for i in axes_of(axis, x.ndim))


def restore_axes(y, x, axis, keepdims):
    """`y` with the axes of `x` back, as length 1."""
    if keepdims:
        return y
    gone = axes_of(axis, x.ndim)
    return reshape(y, shape=tuple(1 if i in gone else n for i, n in enumerate(x.shape)))


def drop_axes(y, axis, keepdims):
    """`y`, reduced with its axes kept, without them unless they are to be kept."""
    if keepdims:
        return y
    gone = axes_of(axis, y.ndim)
    return reshape(y, shape=tuple(n for i, n in enumerate(y.shape) if i not in gone))


# -------------------------------------------------------------------------------- sums


@primitive
def sum(xp, x, *, axis=None, keepdims=False, dtype=None):
    """The sum along `axis`, in `dtype` if given; of no elements it is 0. Booleans are counted."""
    axis = axes_of(axis, x.ndim)
    own = x.dtype if dtype is None else np.dtype(real_dtype("sum", dtype))
    if is_half(own):
        return x.sum(axis=axis, keepdims=keepdims, dtype="float32").astype(own)
    return x.sum(axis=axis, keepdims=keepdims, dtype=dtype)


@sum.vjp
def _(g, _y, _x, *, axis=None, keepdims=False, dtype=None):
    return broadcast_to(restore_axes(g, _x, axis, keepdims), shape=_x.shape)


@op
def mean(xp, x, *, axis=None, keepdims=False, dtype=None):
    """The mean along `axis`, in `dtype` if given; of no elements at all it is NaN."""
    n, integers = count_along(x, axis), dtype is None and x.dtype.kind in "iub"
    own = np.dtype("float32" if integers else x.dtype if dtype is None else dtype)
    # The sum of halves may be too large for 16 bits, that of integers is to be exact.
    total_dtype = "float64" if integers else "float32" if is_half(own) else own
    y = sum(x, axis=axis, keepdims=keepdims, dtype=total_dtype) / (n or math.nan)
    return y if y.dtype == own else astype(y, dtype=own)


@op
def var(xp, x, *, axis=None, correction=0, keepdims=False, ddof=None):
    """The variance along `axis`: the sum of squared deviations over `n - correction`.

    It is NaN where `n - correction` is not positive, as the variance of one element with
    `correction=1`. `ddof` is NumPy's older name of `correction`.
    """
    n = count_along(x, axis) - correction_of(correction, ddof)
    deviation = _centred(widened(x), axis=axis)
    y = sum(deviation * deviation, axis=axis, keepdims=keepdims) / (n if n > 0 else math.nan)
    return narrowed(y, x)


def correction_of(correction, ddof):
    """What is taken from the count, given by one of its names."""
    if ddof is not None and correction:
        raise ValueError(f"give correction={correction} or ddof={ddof}, not both")
    return correction if ddof is None else ddof


@primitive
def _centred(xp, x, *, axis=None):
    """`x` less its mean along `axis`.

    Far from zero the mean is off by its rounding, which all deviations have in common then; as
    they are small, their own mean is not.
    """
    axis, n = axes_of(axis, x.ndim), count_along(x, axis) or math.nan
    y = x - x.sum(axis=axis, keepdims=True) / n
    y -= y.sum(axis=axis, keepdims=True) / n
    return y


_centred.vjps(lambda g, _y, _x, *, axis=None: _centred(g, axis=axis))


@primitive
def _length(xp, x, *, axis=None, keepdims=False):
    """The root of the sum of squares along `axis`, also where the dtype has no room for squares.

    Where it is 0, its derivatives are.
    """
    axis = axes_of(axis, x.ndim)
    if xp is not np:  # to look at numbers would wait for a device
        wide = x.astype("float64")
        return xp.sqrt((wide * wide).sum(axis=axis, keepdims=keepdims)).astype(x.dtype)
    with np.errstate(over="ignore", under="ignore"):
        y = np.asarray((x * x).sum(axis=axis, keepdims=True))
    # Of all numbers below this, squares may have lost digits.
    low, most = np.finfo(x.dtype).tiny / np.finfo(x.dtype).eps * x.size, np.finfo(x.dtype).max
    good = (y >= low) & (y <= most)
    y = np.sqrt(y)
    if x.size and not good.all():
        scale = np.abs(x).max(axis=axis, keepdims=True)
        scale = np.where((scale > 0) & (scale <= most), scale, x.dtype.type(1))
        with np.errstate(over="ignore", under="ignore"):
            u = x / scale
            y = np.where(good, y, scale * np.sqrt((u * u).sum(axis=axis, keepdims=True)))
    return y if keepdims else y.reshape([n for i, n in enumerate(x.shape) if i not in axis])


@_length.vjp
def _(g, y, x, *, axis=None, keepdims=False):
    g, y = (restore_axes(v, x, axis, keepdims) for v in (g, y))
    return g * (x / where(y == 0, 1.0, y))


@op
def std(xp, x, *, axis=None, correction=0, keepdims=False, ddof=None):
    """The standard deviation along `axis`; where it is 0, so is its gradient, as in PyTorch.

    For `correction` and `ddof` see `var`.
    """
    axis = axes_of(axis, x.ndim)  # so that an error names this function
    n = count_along(x, axis) - correction_of(correction, ddof)
    y = _length(_centred(widened(x), axis=axis), axis=axis, keepdims=keepdims)
    return narrowed(y / (math.sqrt(n) if n > 0 else math.nan), x)


@op
def nansum(xp, x, *, axis=None, keepdims=False):
    """The sum along `axis` of what is not NaN; to the NaNs no gradient flows."""
    x = x if x.dtype.kind in "iub" else where(isnan(x), zeros_like(x), x)
    return sum(x, axis=axes_of(axis, x.ndim), keepdims=keepdims)


@op
def nanmean(xp, x, *, axis=None, keepdims=False):
    """The mean along `axis` of what is not NaN; NaN where there is nothing else."""
    wide, axis = widened(x), axes_of(axis, x.ndim)
    n = sum(isnan(wide) == 0, axis=axis, keepdims=keepdims, dtype=wide.dtype)
    y = nansum(wide, axis=axis, keepdims=keepdims) / where(n == 0, math.nan, n)
    return narrowed(y, x)


@op
def trace(xp, x, *, offset=0, axis1=0, axis2=1):
    """The sum along a diagonal, see `diagonal`."""
    return sum(diagonal(x, offset=offset, axis1=axis1, axis2=axis2), axis=-1)


@op
def logsumexp(xp, x, *, axis=None, keepdims=False):
    """`log(sum(exp(x)))` along `axis` without overflow; minus infinity where all of `x` is.

    Of no elements it is minus infinity, too.
    """
    wide, axis = widened(x), axes_of(axis, x.ndim)
    if not count_along(x, axis):
        return narrowed(sum(wide, axis=axis, keepdims=keepdims) - math.inf, x)
    # Any constant may be taken out of the exponent, so the maximum counts as one.
    top = stop_gradient(xp.max(wide, axis=axis, keepdims=True))
    shift = xp.where(xp.isfinite(top), top, 0.0)
    s = sum(xp.exp(wide - shift), axis=axis, keepdims=True)
    y = xp.where(s == 0, top, xp.log(xp.where(s == 0, 1.0, s)) + shift)
    return narrowed(drop_axes(y, axis, keepdims), x)


def logcumsumexp(x, axis: int):
    """`log(cumsum(exp(x)))` along `axis` without overflow (PyTorch's `logcumsumexp`)."""
    (x,) = as_arrays(x)
    if not x.ndim and axis in (0, -1):
        return logcumsumexp(reshape(x, shape=(1,)), 0)[0]
    axis, shift = axis_of("logcumsumexp", axis, x.shape), 1
    y = moveaxis(widened(x), source=axis, destination=-1)
    while shift < y.shape[-1]:  # after each step y holds the sums of up to twice as many
        more = logaddexp(y[..., shift:], y[..., :-shift])
        y = concatenate([y[..., :shift], more], axis=-1)
        shift *= 2
    y = moveaxis(y, source=-1, destination=axis)
    return narrowed(y + 0 if shift == 1 else y, x)


@primitive
def cumsum(xp, x, *, axis=None, dtype=None):
    """The running sum along `axis` (None: of the flattened array), in `dtype` if given."""
    own = x.dtype if dtype is None else np.dtype(real_dtype("cumsum", dtype))
    if is_half(own):
        return xp.cumsum(x, axis=axis, dtype="float32").astype(own)
    return xp.cumsum(x, axis=axis, dtype=dtype)


@cumsum.vjp
def _(g, _y, _x, *, axis=None, dtype=None):
    along = 0 if axis is None else axis
    return reshape(flip(cumsum(flip(g, axis=along), axis=along), axis=along), shape=_x.shape)


def cumulative_trapezoid(y, x=None, dx=1.0, axis: int = -1):
    """The running integral of `y` along `axis` by the trapezoidal rule; one element fewer.

    Args:
        x: where the samples were taken: one axis, or what broadcasts with `y`.
        dx: their distance, if there is no `x`.
    """
    y, x = as_arrays(y, x)
    y = moveaxis(y, source=axis, destination=-1)
    if x is None:
        step = dx
    else:
        x = x if x.ndim == 1 else moveaxis(x, source=axis, destination=-1)
        step = x[..., 1:] - x[..., :-1]
    parts = multiply(step * 0.5, y[..., 1:] + y[..., :-1])  # not multiply: of a number it stays one
    return moveaxis(cumsum(parts, axis=-1), source=-1, destination=axis)


# ---------------------------------------------------------------------------- products


@primitive
def prod(xp, x, *, axis=None, keepdims=False, dtype=None):
    """The product along `axis`, in `dtype` if given; of no elements it is 1.

    Its derivatives divide by nothing, so they are exact where elements are 0.
    """
    axis = axes_of(axis, x.ndim)
    own = x.dtype if dtype is None else np.dtype(real_dtype("prod", dtype))
    if is_half(own):
        return xp.prod(x, axis=axis, keepdims=keepdims, dtype="float32").astype(own)
    return xp.prod(x, axis=axis, keepdims=keepdims, dtype=dtype)


@prod.vjp
def _(g, _y, x, *, axis=None, keepdims=False, dtype=None):
    axes = axes_of(axis, x.ndim)
    last = tuple(range(-len(axes), 0))
    lines = moveaxis(x if x.dtype == g.dtype else astype(x, dtype=g.dtype), axes, last)
    line = reshape(lines, shape=(*lines.shape[: x.ndim - len(axes)], count_along(x, axis)))
    before, after = _product_before(line, -1), _product_before(flip(line, axis=-1), -1)
    others = reshape(before * flip(after, axis=-1), shape=lines.shape)
    return restore_axes(g, x, axis, keepdims) * moveaxis(others, last, axes)


def _product_before(x, axis: int):
    """For each element the product of those before it along `axis`."""
    before = (slice(None),) * (axis % x.ndim)
    head = [ones_like(x[(*before, slice(0, 1))]), x[(*before, slice(0, -1))]]
    return cumprod(concatenate(head, axis), axis=axis)


@primitive
def cumprod(xp, x, *, axis=None, dtype=None):
    """The running product along `axis` (None: of the flattened array), in `dtype` if given.

    Its derivatives divide by nothing, so they are exact where elements are 0.
    """
    own = x.dtype if dtype is None else np.dtype(real_dtype("cumprod", dtype))
    if is_half(own):
        return xp.cumprod(x, axis=axis, dtype="float32").astype(own)
    return xp.cumprod(x, axis=axis, dtype=dtype)


@cumprod.vjp
def _(g, _y, x, *, axis=None, dtype=None):
    # By x[i]: what stands before it, times the sum over k of g[k] x[i+1] ... x[k]. With the axis
    # reversed, that sum s obeys s[i] = x[i-1] s[i-1] + g[i].
    line = reshape(x, shape=(-1,)) if axis is None or not x.ndim else swapaxes(x, 0, axis)
    line = line if x.dtype == g.dtype else astype(line, dtype=g.dtype)
    g = flip(reshape(g, shape=(-1,)) if line.ndim == 1 else swapaxes(g, 0, axis), axis=0)
    factors = flip(concatenate([line[1:], ones_like(line[:1])]), axis=0)
    found = _product_before(line, 0) * flip(_recurrence(factors, g), axis=0)
    return reshape(found, shape=x.shape) if line.ndim == 1 else swapaxes(found, 0, axis)


@primitive
def _recurrence(xp, a, b):
    """`y[k] = a[k] * y[k - 1] + b[k]` along the first axis, from `y[0] = b[0]`."""
    y = xp.zeros(b.shape, "float32" if is_half(b.dtype) else b.dtype)
    y[:1] = b[:1]
    for k in range(1, b.shape[0]):
        y[k] = a[k] * y[k - 1] + b[k]
    return y.astype(b.dtype, copy=False)


@_recurrence.vjp
def _(g, y, a, _b):
    back = flip(concatenate([a[1:], a[:1]]), axis=0)
    gb = flip(_recurrence(back, flip(g, axis=0)), axis=0)
    return concatenate([zeros_like(a[:1]), gb[1:] * y[:-1]]), gb


# ---------------------------------------------------------------------------- extremes


@primitive
def max(xp, x, *, axis=None, keepdims=False):
    """The largest element along `axis`; equal ones share the gradient evenly.

    Where there are NaNs, it is NaN, and they share the gradient.
    """
    return x.max(axis=axes_of(axis, x.ndim), keepdims=keepdims)


@primitive
def min(xp, x, *, axis=None, keepdims=False):
    """The smallest element along `axis`; equal ones and NaNs are treated as by `max`."""
    return x.min(axis=axes_of(axis, x.ndim), keepdims=keepdims)


def _share_evenly(g, y, x, *, axis=None, keepdims=False):
    """The rule of max and min: the gradient goes to the extreme element, or evenly to all such."""
    hit = logical_or(x == restore_axes(y, x, axis, keepdims), x != x)
    ties = sum(hit, axis=axis, keepdims=True, dtype=g.dtype)
    share = restore_axes(g, x, axis, keepdims) / ties
    return where(hit, share, zeros_like(share))


max.vjp(_share_evenly)
min.vjp(_share_evenly)
amax, amin = max, min


class Extremes(NamedTuple):
    """What `aminmax` gives."""

    min: Any
    max: Any


def aminmax(x, axis=None, keepdims: bool = False) -> Extremes:
    """The smallest and the largest element along `axis`, see `min` and `max`."""
    return Extremes(min(x, axis=axis, keepdims=keepdims), max(x, axis=axis, keepdims=keepdims))


@op
def ptp(xp, x, *, axis=None, keepdims=False):
    """The range along `axis`: the largest element less the smallest."""
    axis = axes_of(axis, x.ndim)
    return max(x, axis=axis, keepdims=keepdims) - min(x, axis=axis, keepdims=keepdims)


@primitive(kernel={"cupy": "cuda.sorting.argmax"})
def argmax(xp, x, *, axis=None, keepdims=False):
    """The index of the first largest element along `axis` (None: of the flattened array)."""
    x = real_array(xp, x)
    return xp.argmax(x, axis=_the_axis(axis, x), keepdims=keepdims)


@primitive(kernel={"cupy": "cuda.sorting.argmin"})
def argmin(xp, x, *, axis=None, keepdims=False):
    """The index of the first smallest element along `axis` (None: of the flattened array)."""
    x = real_array(xp, x)
    return xp.argmin(x, axis=_the_axis(axis, x), keepdims=keepdims)


def _the_axis(axis, x):
    """`axis`, and None where it means the one of a number that has none, see `axes_of`."""
    return None if not x.ndim and axis in (0, -1) else axis


@primitive
def any(xp, x, *, axis=None, keepdims=False):
    """Whether any element along `axis` is true."""
    return xp.any(x, axis=axes_of(axis, x.ndim), keepdims=keepdims)


@primitive
def all(xp, x, *, axis=None, keepdims=False):
    """Whether all elements along `axis` are true."""
    return xp.all(x, axis=axes_of(axis, x.ndim), keepdims=keepdims)


@primitive
def _order(xp, x):
    """The indices that sort `x` along its last axis; equal elements stay in their order."""
    return xp.argsort(sortable(x), axis=-1, kind="stable")


for _op in (argmax, argmin, any, all, _order):
    _op.no_gradient()


@op
def count_nonzero(xp, x, *, axis=None, keepdims=False):
    """How many elements along `axis` are not 0."""
    return sum(x != 0, axis=axes_of(axis, x.ndim), keepdims=keepdims)


# --------------------------------------------------------------------- for each target

REDUCES = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(x, ids, values, axis: int, reduce: str, include_self: bool = True):
    """`x` with all `values` for an element, named by `ids` along `axis`, reduced to one.

    (PyTorch's `scatter_reduce`.) Elements without values stay as they are.

    Args:
        x: any shape.
        ids, values: as for `scatter`; ids may be repeated.
        reduce: 'sum', 'prod', 'mean' (of integers rounded down), 'amax' or 'amin'; of equal largest
            or smallest ones each gets the same share of the gradient.
        include_self: whether what stands in `x` counts as one of the values.

    Raises:
        ValueError: `reduce` is unknown.
        ShapeError: shapes do not fit.
    """
    x, ids, values = as_arrays(x, ids, values)
    return _reduced_at("scatter_reduce", x, ids, values, axis, reduce, include_self)


def index_reduce(x, ids, values, axis: int, reduce: str, include_self: bool = True):
    """`x` with all slices of `values` that `ids` names for a place along `axis` reduced to one.

    (PyTorch's `index_reduce`.)

    Args:
        ids: (n,) integers, which may be repeated.
        values: the shape of `x` with `n` in place of `axis`.
        reduce, include_self: as for `scatter_reduce`.

    Raises:
        ShapeError: shapes do not fit.
    """
    x, ids, values = as_arrays(x, ids, values)
    if not x.ndim and axis in (0, -1):  # a number is a line of one
        x, ids, values = (reshape(v, shape=(-1,)) for v in (x, ids, values))
        return reshape(index_reduce(x, ids, values, 0, reduce, include_self), shape=())
    axis = axis_of("index_reduce", axis, x.shape)
    shape = (*x.shape[:axis], *ids.shape, *x.shape[axis + 1 :])
    if ids.ndim != 1 or values.shape != shape:
        raise ShapeError(
            f"index_reduce: expected ids (n,) and values of the shape of x with n for axis {axis}; "
            f"got {ids.shape} and {values.shape} for {x.shape}"
        )
    ids = broadcast_to(reshape(ids, shape=(-1,) + (1,) * (x.ndim - 1 - axis)), shape=shape)
    return _reduced_at("index_reduce", x, ids, values, axis, reduce, include_self)


def _reduced_at(name: str, x, ids, values, axis: int, reduce: str, include_self: bool):
    if reduce not in REDUCES:
        raise ValueError(f"{name}: reduce must be one of {REDUCES}, got {reduce!r}")
    if not x.ndim and axis in (0, -1):  # a number is a line of one
        x, ids, values = (reshape(v, shape=(-1,)) for v in (x, ids, values))
        return reshape(_reduced_at(name, x, ids, values, 0, reduce, include_self), shape=())
    axis = axis_of(name, axis, x.shape)
    refuse_longer(name, x, ids, axis)
    values = broadcast_to(corner_of(name, ids, values), shape=ids.shape)
    ids = _in_range(ids, name=name, n=x.shape[axis])
    counts = scatter_add(zeros_like(stop_gradient(x), dtype="int64"), ids, 1, axis=axis)
    hit = counts > 0
    if reduce in ("amax", "amin"):
        options = {"largest": reduce == "amax", "include_self": include_self}
        return _extreme_at(x, ids, values, axis=axis, **options)
    if reduce == "prod":
        found = _by_target(x, ids, values, axis, multiply, 1)
        return where(hit, multiply(x, found) if include_self else found, x)
    y = scatter_add(x if include_self else where(hit, zeros_like(x), x), ids, values, axis=axis)
    if reduce == "sum":
        return y
    counts = counts + 1 if include_self else where(hit, counts, 1)
    return (floor_divide if y.dtype.kind in "iub" else divide)(y, counts)


def _by_target(x, ids, values, axis: int, combine, neutral):
    """For each element of `x` its values combined; where there are none something or other.

    Values are sorted by target, and then combined with those before them of the same target in
    steps of 1, 2, 4, ...: the last one of each target has all. So nothing is ever divided.
    """
    if not ids.size:
        return x
    ids, values = (moveaxis(v, source=axis, destination=-1) for v in (ids % x.shape[axis], values))
    order, shift = _order(ids), 1
    ids, values = (take_along_axis(v, order, axis=-1) for v in (ids, values))
    while shift < ids.shape[-1]:
        same = ids[..., shift:] == ids[..., :-shift]
        more = combine(values[..., shift:], where(same, values[..., :-shift], neutral))
        values = concatenate([values[..., :shift], more], axis=-1)
        shift *= 2
    lines = (*ids.shape[:-1], x.shape[axis])
    none = array_module(as_array(ids)).zeros(lines, "int64")
    counts = scatter_add(none, ids, 1, axis=-1)
    last = cumsum(counts, axis=-1) - 1
    y = take_along_axis(values, where(last < 0, 0, last), axis=-1)
    widths = zip(y.shape, moveaxis(x, source=axis, destination=-1).shape, strict=True)
    return moveaxis(
        pad(y, pad_width=tuple((0, n - m) for m, n in widths)), source=-1, destination=axis
    )


@primitive
def _extreme_at(xp, x, ids, values, *, axis, largest, include_self):
    """`scatter_reduce` by 'amax' or 'amin', with `values` in the shape of `ids`."""
    best = maximum if largest else minimum
    x, values = matched(x, values)
    found = _by_target(x, ids, values, axis, best, _worst(values.dtype, largest))
    counts = scatter_add(xp.zeros(x.shape, "int64"), ids, 1, axis=axis)
    return where(counts > 0, best(x, found) if include_self else found, x)


def _worst(dtype, largest: bool):
    """What is no larger (smaller) than any number of `dtype`."""
    if dtype.kind == "b":
        return not largest
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min if largest else np.iinfo(dtype).max)
    return -math.inf if largest else math.inf


@_extreme_at.vjp
def _(g, y, x, ids, values, *, axis, largest, include_self):
    here = logical_or(values == gather(y, ids, axis), values != values)
    none = zeros_like(x, dtype="int64")
    own = logical_or(x == y, x != x) if include_self else scatter_add(none, ids, 1, axis=axis) == 0
    ties = scatter_add(astype(own, dtype="int64"), ids, astype(here, dtype="int64"), axis=axis)
    share = g / astype(where(ties == 0, 1, ties), dtype=g.dtype)
    return where(own, share, 0.0), None, where(here, gather(share, ids, axis), 0.0)


# --------------------------------------------------------------------------- quantiles

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _between(low, high, t: float):
    """The point at the fraction `t` of the way from `low` to `high`."""
    if t == 0.5:
        return low * 0.5 + high * 0.5  # their difference may be too large, or of infinities
    return low + (high - low) * t if t < 0.5 else high - (high - low) * (1 - t)


@op
def quantile(xp, x, *, q, axis=None, keepdims=False, method="linear"):
    """The quantiles `q` of the elements along `axis`; NaN where there is a NaN.

    The gradient goes to the element, or the two elements, that the quantile is computed from; of
    equal elements to those that come first.

    Args:
        q: a number from 0 to 1, or a list of them: then the result has a first axis for them.
        method: what is taken where a quantile lies between two elements: 'linear' goes by the
            distances, 'midpoint' takes the middle; 'lower', 'higher' and 'nearest' take an element
            (halfway the one at an even place).

    Raises:
        ShapeError: there is no element.
        ValueError: `q` is out of range, or the method unknown.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    qs = np.asarray(q, "float64")
    if not np.all((qs >= 0) & (qs <= 1)):
        raise ValueError(f"q must be from 0 to 1, got {q}")
    axes, n = axes_of(axis, x.ndim), count_along(x, axis)
    if not n:
        raise ShapeError(f"quantile: of no elements there is none (axis {axis}, shape {x.shape})")
    wide = moveaxis(widened(x), axes, tuple(range(-len(axes), 0)))
    wide = reshape(wide, shape=(*wide.shape[: x.ndim - len(axes)], n))
    order = _order(wide)

    def ranked(k):
        return take_along_axis(wide, order[..., k : k + 1], axis=-1)[..., 0]

    found = []
    for place in (qs * (n - 1)).ravel().tolist():
        low, high = math.floor(place), math.ceil(place)
        if low == high or method in ("lower", "higher", "nearest"):
            found.append(ranked({"higher": high, "nearest": round(place)}.get(method, low)))
        else:
            t = 0.5 if method == "midpoint" else place - low
            found.append(_between(ranked(low), ranked(high), t))
    last = ranked(n - 1)  # NaNs are sorted to the end
    y = stack([where(isnan(last), last, v) for v in found])
    if keepdims:
        kept = tuple(1 if i in axes else m for i, m in enumerate(x.shape))
    else:
        kept = tuple(m for i, m in enumerate(x.shape) if i not in axes)
    return narrowed(reshape(y, shape=(*qs.shape, *kept)), x)


@op
def median(xp, x, *, axis=None, keepdims=False):
    """The median along `axis`, of an even number the mean of the two in the middle (as NumPy).

    The gradient goes to the one or the two in the middle. Of no elements it is NaN.
    """
    if not count_along(x, axis):
        return mean(x, axis=axis, keepdims=keepdims)
    return quantile(x, q=0.5, axis=axis, keepdims=keepdims)


# ------------------------------------------------------------------------------- norms


def norms_along(x, ord, axis: tuple[int, ...]):
    """Norms of the vectors along axes, which are kept; at 0 their derivatives are 0."""
    if isinstance(ord, str):
        raise ValueError(f"vectors have no norm {ord!r}; give a number, or a pair of axes")
    if ord is None or ord == 2:
        return _length(x, axis=axis, keepdims=True)
    if ord in (math.inf, -math.inf):
        return (max if ord > 0 else min)(absolute(x), axis=axis, keepdims=True)
    if ord == 0:
        return sum(x != 0, axis=axis, keepdims=True, dtype=x.dtype)
    if ord == 1 or not count_along(x, axis):
        return sum(absolute(x), axis=axis, keepdims=True)
    # The largest size, or the smallest that is not 0, is a factor: its power may be too large for
    # the dtype, or too small. Powers of 0 would have infinite derivatives, first or second.
    p, zero, size = float(ord), x == 0, absolute(x)
    factor = (
        max(size, axis=axis, keepdims=True)
        if p > 0
        else min(where(zero, math.inf, size), axis=axis, keepdims=True)
    )
    factor = stop_gradient(where((factor > 0) & (factor < math.inf), factor, 1.0))
    powers = power(where(zero, 1.0, size / factor), p)
    total = sum(where(zero, 0.0 if p > 0 else math.inf, powers), axis=axis, keepdims=True)
    zero = total == 0
    return where(zero, 0.0, power(where(zero, 1.0, total), 1 / p) * factor)
