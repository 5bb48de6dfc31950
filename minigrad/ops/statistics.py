"""Statistics: what is not NaN, averages with weights, covariances, histograms.

`axis` is as for the reductions. In the functions whose name begins with `nan` no gradient flows to
a NaN; of nothing else but NaNs a result is NaN (a sum is 0 and a product 1).
"""

import math
from numbers import Integral
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor, as_array, as_arrays, on_device_of, op, primitive, wrap
from minigrad.backend import array_module
from minigrad.errors import DtypeError, ShapeError
from minigrad.ops.creation import spaced
from minigrad.ops.dtypes import astype, chosen, in_floats, narrowed, real_array, widened
from minigrad.ops.elementwise import (
    clip,
    divide,
    isnan,
    logical_and,
    minimum,
    multiply,
    ones_like,
    sqrt,
    stop_gradient,
    where,
    zeros_like,
)
from minigrad.ops.indexing import embedding_grad, refuse_where, take_along_axis
from minigrad.ops.products import matmul
from minigrad.ops.reductions import (
    METHODS,
    _centred,
    _length,
    _order,
    axes_of,
    correction_of,
    count_along,
    cumprod,
    cumsum,
    max,
    mean,
    min,
    nanmean,
    prod,
    quantile,
    restore_axes,
    sum,
)
from minigrad.ops.shaping import (
    atleast_2d,
    broadcast_to,
    concatenate,
    moveaxis,
    ravel,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from minigrad.ops.sorting import searchsorted

__all__ = [
    "average", "corrcoef", "cov", "histogram", "nancumprod", "nancumsum", "nanmax", "nanmedian",
    "nanmin", "nanpercentile", "nanprod", "nanquantile", "nanstd", "nanvar", "percentile",
]  # fmt: skip

# ----------------------------------------------------------------------- what is not NaN


def _extreme(xp, name: str, worst: float, x, axis, keepdims):
    x = real_array(xp, x)
    axes = axes_of(axis, x.ndim)
    if x.dtype.kind not in "iub":
        known = chosen(xp, xp.isnan(x), x.dtype.type(worst), x)
        y = getattr(known, name)(axis=axes, keepdims=keepdims)
        unknown = xp.all(xp.isnan(x), axis=axes, keepdims=keepdims)
        return chosen(xp, unknown, x.dtype.type("nan"), y)
    return getattr(x, name)(axis=axes, keepdims=keepdims)


@primitive
def nanmax(xp, x, *, axis=None, keepdims=False):
    """The largest element along `axis` that is not NaN; equal ones share the gradient evenly."""
    return _extreme(xp, "max", -math.inf, x, axis, keepdims)


@primitive
def nanmin(xp, x, *, axis=None, keepdims=False):
    """The smallest element along `axis` that is not NaN; equal ones share the gradient evenly."""
    return _extreme(xp, "min", math.inf, x, axis, keepdims)


def _share_among_numbers(g, y, x, *, axis=None, keepdims=False):
    """The rule of both: the gradient goes to the extreme element, evenly to all such."""
    hit = x == restore_axes(y, x, axis, keepdims)  # a NaN equals nothing
    ties = sum(hit, axis=axis, keepdims=True, dtype=g.dtype)
    share = restore_axes(g, x, axis, keepdims) / where(ties == 0, 1.0, ties)
    return where(hit, share, zeros_like(share))


nanmax.vjp(_share_among_numbers)
nanmin.vjp(_share_among_numbers)


def _without_nan(x, value: float):
    """`x` with `value` in place of NaN."""
    return x if x.dtype.kind in "iub" else where(isnan(x), zeros_like(x) + value, x)


@op
def nanprod(xp, x, *, axis=None, keepdims=False, dtype=None):
    """The product along `axis` of what is not NaN."""
    return prod(_without_nan(x, 1.0), axis=axes_of(axis, x.ndim), keepdims=keepdims, dtype=dtype)


@op
def nancumsum(xp, x, *, axis=None, dtype=None):
    """The running sum along `axis` (None: of the flattened array), a NaN counting as 0."""
    return cumsum(_without_nan(x, 0.0), axis=axis, dtype=dtype)


@op
def nancumprod(xp, x, *, axis=None, dtype=None):
    """The running product along `axis` (None: of the flattened array), a NaN counting as 1."""
    return cumprod(_without_nan(x, 1.0), axis=axis, dtype=dtype)


@op
def nanvar(xp, x, *, axis=None, correction=0, keepdims=False, ddof=None):
    """The variance along `axis` of what is not NaN; `correction` and `ddof` as for `var`.

    It is NaN where no more than `correction` elements are left.
    """
    axis, wide = axes_of(axis, x.ndim), widened(x)
    deviation, n = _deviations(wide, axis, keepdims)
    squares = sum(deviation * deviation, axis=axis, keepdims=keepdims)
    return narrowed(squares / _positive(n - correction_of(correction, ddof)), x)


def _deviations(x, axis, keepdims):
    """`x` less its mean along `axis`, 0 where it is NaN, and how many numbers are not."""
    absent = isnan(x)
    zero, n = zeros_like(x), sum(absent == 0, axis=axis, keepdims=True, dtype=x.dtype)
    # The mean of nothing is NaN; there is nothing then whose deviation could count.
    d = where(absent, zero, x - nanmean(x, axis=axis, keepdims=True))
    # Far from zero it is off by its rounding, which all deviations have in common then.
    d = where(absent, zero, d - sum(d, axis=axis, keepdims=True) / where(n == 0, 1.0, n))
    return d, n if keepdims else squeeze(n, axis=axis)


def _positive(n):
    """`n`, and NaN where that is not positive: what a sum of squares is divided by."""
    return where(n > 0, n, math.nan)


@op
def nanstd(xp, x, *, axis=None, correction=0, keepdims=False, ddof=None):
    """The standard deviation along `axis` of what is not NaN: the root of `nanvar`.

    Where it is 0, so is its gradient.
    """
    axis = axes_of(axis, x.ndim)
    deviation, n = _deviations(widened(x), axis, keepdims)
    length = _length(deviation, axis=axis, keepdims=keepdims)
    return narrowed(length / sqrt(_positive(n - correction_of(correction, ddof))), x)


# ------------------------------------------------------------------------------- quantiles


def _fractions(name: str, q):
    """`q`, in percent, as fractions."""
    qs = np.asarray(q, "float64")
    if not np.all((qs >= 0) & (qs <= 100)):
        raise ValueError(f"{name}: q must be from 0 to 100, got {q}")
    return qs / 100


@op
def percentile(xp, x, *, q, axis=None, keepdims=False, method="linear"):
    """The percentiles `q`, from 0 to 100: see `quantile`."""
    q = _fractions("percentile", q)
    return quantile(x, q=q, axis=axis, keepdims=keepdims, method=method)


@op
def nanquantile(xp, x, *, q, axis=None, keepdims=False, method="linear"):
    """The quantiles `q` of the elements along `axis` that are not NaN: see `quantile`.

    NaN where there are none.

    Raises:
        ValueError: `q` is not in [0, 1], or there is no such `method`.
        ShapeError: the axis is empty.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    qs = np.asarray(q, "float64")
    if not np.all((qs >= 0) & (qs <= 1)):
        raise ValueError(f"q must be from 0 to 1, got {q}")
    axes, n = axes_of(axis, x.ndim), count_along(x, axis)
    if not n:
        raise ShapeError(f"of no elements there is none (axis {axis}, shape {x.shape})")
    wide = moveaxis(widened(x), axes, tuple(range(-len(axes), 0)))
    wide = reshape(wide, shape=(*wide.shape[: x.ndim - len(axes)], n))
    order = _order(wide)  # NaNs at the end
    known = sum(isnan(wide) == 0, axis=-1, keepdims=True)
    last = known - 1 + (known == 0)

    def ranked(places):
        at = take_along_axis(order, astype(places, dtype="int64"), axis=-1)
        return take_along_axis(wide, at, axis=-1)[..., 0]

    found = []
    for fraction in qs.ravel().tolist():
        place = multiply(astype(last, dtype="float64"), fraction)
        low, high = xp.floor(place), xp.ceil(place)
        if method in ("lower", "higher", "nearest"):
            at = {"lower": low, "higher": high, "nearest": xp.rint(place)}[method]
            found.append(ranked(at))
            continue
        a, b = ranked(low), ranked(high)
        t = astype(place - low, dtype=wide.dtype)[..., 0]
        t = where(low[..., 0] == high[..., 0], zeros_like(t), t if method == "linear" else 0.5)
        # Half of each at the middle: their difference may be too large, or of infinities.
        between = where(t < 0.5, a + (b - a) * t, b - (b - a) * (1 - t))
        y = where(t == 0.5, a * 0.5 + b * 0.5, where(t == 0, a, between))
        found.append(y)
    if keepdims:
        kept = tuple(1 if i in axes else m for i, m in enumerate(x.shape))
    else:
        kept = tuple(m for i, m in enumerate(x.shape) if i not in axes)
    return narrowed(reshape(stack(found), shape=(*qs.shape, *kept)), x)


@op
def nanpercentile(xp, x, *, q, axis=None, keepdims=False, method="linear"):
    """The percentiles `q`, from 0 to 100, of what is not NaN: see `nanquantile`."""
    q = _fractions("nanpercentile", q)
    return nanquantile(x, q=q, axis=axis, keepdims=keepdims, method=method)


@op
def nanmedian(xp, x, *, axis=None, keepdims=False):
    """The median along `axis` of what is not NaN; of nothing it is NaN."""
    if not count_along(x, axis):
        return mean(x, axis=axis, keepdims=keepdims)
    return nanquantile(x, q=0.5, axis=axis, keepdims=keepdims)


# ---------------------------------------------------------------------------- with weights


def average(a, axis=None, weights=None, returned: bool = False, *, keepdims: bool = False):
    """The mean along `axis`, in which each element counts as its weight says.

    Where the weights add up to 0 it is not finite.

    Args:
        weights: the shape of `a`, or the lengths of its axes in `axis`; all the same by default.
        returned: give the sum of the weights, too, in the shape of the result.

    Raises:
        ShapeError: the weights have another shape.
    """
    a, weights = as_arrays(a, weights)
    axes = axes_of(axis, a.ndim)
    if weights is None:
        y = mean(a, axis=axes, keepdims=keepdims)
        total = multiply(ones_like(stop_gradient(y)), float(count_along(a, axis)))
        return (y, total) if returned else y
    if weights.shape != a.shape:
        if axis is None or weights.shape != tuple(a.shape[i] for i in axes):
            raise ShapeError(
                f"average: weights must have the shape of a, {a.shape}, or the lengths of its axes "
                f"{axis}; got {weights.shape}"
            )
        order = tuple(sorted(range(len(axes)), key=lambda i: axes[i]))
        weights = transpose(weights, axes=order)
        weights = reshape(
            weights, shape=tuple(n if i in axes else 1 for i, n in enumerate(a.shape))
        )
    like, weights = in_floats(a, weights)
    wide, weights = widened(like), broadcast_to(widened(weights), shape=a.shape)
    total = sum(weights, axis=axes, keepdims=keepdims)
    y = narrowed(divide(sum(wide * weights, axis=axes, keepdims=keepdims), total), like)
    return (y, narrowed(total, like)) if returned else y


def cov(
    m, y=None, rowvar: bool = True, bias: bool = False, ddof: int | None = None,
    fweights=None, aweights=None, *, dtype=None,
):  # fmt: skip
    """The covariances of variables, (n, n): one for each row of `m`, samples along it.

    Where there are no more than `ddof` samples, it is NaN.

    Args:
        m: (n, samples), or (samples,) of one variable, whose result is 0-d.
        y: further variables.
        rowvar: False if the variables are the columns.
        bias: divide by the number of samples, not by one less.
        ddof: how many less; 1 by default, 0 with `bias`.
        fweights: (samples,) integers: how often each sample counts.
        aweights: (samples,): how much each counts.
        dtype: to compute in.

    Raises:
        ShapeError: `m` or `y` has more than two axes, or the samples or weights are not as many.
        ValueError: `ddof` is no integer, or a weight is negative (looked at on the host only).
        DtypeError: `fweights` are no integers.
    """
    if ddof is not None and ddof != int(ddof):
        raise ValueError(f"cov: ddof must be an integer, got {ddof}")
    m, y, fweights, aweights = as_arrays(m, y, fweights, aweights)
    x = _variables("cov", m, y, rowvar, dtype)
    wide = widened(x)
    if not wide.shape[0]:
        return narrowed(wide[:, :0], x)
    ddof = (0 if bias else 1) if ddof is None else ddof
    n, w = wide.shape[1], None
    for name, v in (("fweights", fweights), ("aweights", aweights)):
        if v is None:
            continue
        if v.shape != (n,):
            raise ShapeError(f"cov: {name} must be ({n},), got shape {v.shape}")
        if name == "fweights" and v.dtype.kind not in "iu":
            raise DtypeError(f"cov: fweights must be integers, got {v.dtype}")
        refuse_where(as_array(v) < 0, ValueError(f"cov: {name} must not be negative"))
        v = astype(v, dtype=wide.dtype)  # before they are multiplied and summed
        w = v if w is None else multiply(w, v)
    count: Any
    if w is None:
        count = float(n - ddof) if n > ddof else math.nan
        deviation = right = _centred(wide, axis=1)
    else:
        total = sum(w)
        deviation = wide - sum(wide * w, axis=1, keepdims=True) / total
        deviation = deviation - sum(deviation * w, axis=1, keepdims=True) / total  # as `_centred`
        right = deviation * w
        if ddof and aweights is not None:
            count = total - ddof * sum(w * aweights) / total
        else:
            count = total - ddof
        rounding = 4 * float(np.finfo(wide.dtype).eps) * total
        count = where(count > rounding, count, math.nan)
    c = matmul(deviation, swapaxes(right, axis1=0, axis2=1)) / count
    return narrowed(squeeze(c), x)


def _variables(name: str, m, y, rowvar: bool, dtype):
    """Those of `cov`, one in each row."""
    for v in (m, y):
        if v is not None and v.ndim > 2:
            raise ShapeError(f"{name}: expects vectors or matrices, got shape {v.shape}")
    x = _rows(m, rowvar)
    x = x if y is None else concatenate([x, _rows(y, rowvar, of_y=True)])
    return x if dtype is None else astype(x, dtype=dtype)


def _rows(x, rowvar: bool, of_y: bool = False):
    """`x` with one variable in each row."""
    two = atleast_2d(x)
    turn = two.shape[0] != 1 if of_y else x.ndim == 2
    return transpose(two) if not rowvar and turn else two


def corrcoef(x, y=None, rowvar: bool = True, *, dtype=None):
    """The correlations of variables, (n, n), in [-1, 1]; see `cov` for the arguments."""
    x, y = as_arrays(x, y)
    x = _variables("corrcoef", x, y, rowvar, dtype)
    wide = widened(x)
    if not wide.shape[0]:
        return narrowed(wide[:, :0], x)
    deviation = _centred(wide, axis=1)
    # Not by the covariances, for which the dtype may have no room.
    unit = divide(deviation, _length(deviation, axis=1, keepdims=True))
    return narrowed(squeeze(clip(matmul(unit, swapaxes(unit, axis1=0, axis2=1)), -1, 1)), x)


# ------------------------------------------------------------------------------ histograms


def histogram(a, bins=10, range=None, density: bool = False, weights=None) -> tuple:
    """How many elements of `a` are in each bin, and the edges of the bins.

    Bin i is [edge[i], edge[i + 1]), the last one with its end.

    Args:
        a: any shape; what is computed from the edges has gradients by its ends.
        bins: how many, of one width; or their edges in rising order.
        range: the first and the last edge, where `bins` is a number; by default the smallest and
            the largest element (0 and 1 of none).
        density: divide by the sum and by the width of each bin.
        weights: what each element counts; they get gradients.

    Returns:
        (bins,) integers, or with weights or `density` numbers of their kind; (bins + 1,) edges.

    Raises:
        ValueError: the range is not finite, or edges or range do not rise.
        ShapeError: `weights` has not the shape of `a`.
    """
    if isinstance(bins, str):
        raise ValueError(f"histogram: there are no rules such as {bins!r}; give a number of bins")
    a, weights = as_arrays(a, weights)
    a = astype(a, dtype="int64") if a.dtype.kind == "b" else a
    if weights is not None and weights.shape != a.shape:
        raise ShapeError(f"histogram: weights of shape {weights.shape} for a of {a.shape}")
    a = ravel(a)
    edges = _edges(a, bins, range)
    n = edges.shape[0] - 1
    place = searchsorted(edges, a, side="right") - 1
    inside = logical_and(a >= edges[0], a <= edges[-1])
    place = where(inside, minimum(place, n - 1), n)  # one more, for what is in none
    one = ones_like(place) if weights is None else ravel(weights)
    counts = embedding_grad(one, place, rows=n + 1)[:n]
    if density:
        counts = counts / (edges[1:] - edges[:-1]) / sum(counts)
    return counts, wrap(edges) if type(a) is Tensor and type(edges) is not Tensor else edges


def _edges(a, bins, range):
    if not isinstance(bins, Integral):
        _, edges = as_arrays(a, bins)
        if edges.ndim != 1 or edges.shape[0] < 2:
            raise ShapeError(f"histogram: edges must be (n,), n > 1, got shape {edges.shape}")
        limits = as_array(edges)
        refuse_where(limits[1:] < limits[:-1], ValueError("histogram: the edges must rise"))
        return edges
    if bins < 1:
        raise ValueError(f"histogram: bins must be at least 1, got {bins}")
    a = astype(a, dtype="float64") if a.dtype.kind in "iub" else widened(a)
    if range is None and a.shape[0]:
        low, high = min(a), max(a)
        ends = [as_array(low), as_array(high)]
        # To print them would wait for a device.
        told = f"{ends[0]} to {ends[1]}" if isinstance(ends[0], np.ndarray) else "of a"
        for end in ends:
            infinite = ~array_module(end).isfinite(end)
            refuse_where(infinite, ValueError(f"histogram: the range {told} is not finite"))
        flat = low == high
        low, high = where(flat, low - 0.5, low), where(flat, high + 0.5, high)
        return spaced(low, high, bins + 1)
    low, high = (0.0, 1.0) if range is None else map(float, range)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"histogram: the range must be finite and rise, got {range}")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return on_device_of([a], np.linspace(low, high, bins + 1, dtype=a.dtype))
