"""What neighbours along an axis have to do with each other: differences, slopes, areas, running
sums, what lies between two points, products of shifted sequences.
"""

import numpy as np

from minigrad.autodiff import as_arrays, on_device_of
from minigrad.errors import DtypeError, ShapeError
from minigrad.ops.convs import conv1d
from minigrad.ops.dtypes import astype, in_floats
from minigrad.ops.elementwise import (
    clip,
    minimum,
    mod,
    multiply,
    not_equal,
    ones_like,
    stop_gradient,
    subtract,
    where,
)
from minigrad.ops.indexing import take
from minigrad.ops.products import matmul
from minigrad.ops.reductions import cumprod, cumsum, sum
from minigrad.ops.shaping import (
    arrayed,
    axis_of,
    broadcast_to,
    concatenate,
    flip,
    moveaxis,
    pad,
    reshape,
    stack,
)
from minigrad.ops.sorting import argsort, searchsorted

__all__ = [
    "convolve", "correlate", "cumulative_prod", "cumulative_sum", "diff", "gradient", "interp",
    "trapezoid", "vander",
]  # fmt: skip


def diff(a, n: int = 1, axis: int = -1, prepend=None, append=None):
    """Each element along `axis` less the one before it, `n` times; booleans: where they change.

    Args:
        prepend, append: what is put before and after `a` first: a number, or an array that fits.

    Raises:
        ShapeError: `a` has no axis.
        ValueError: `n` is negative.
    """
    if n < 0:
        raise ValueError(f"diff: n must not be negative, got {n}")
    a, prepend, append = as_arrays(a, prepend, append)
    if n == 0:
        return a
    axis = axis_of("diff", axis, a.shape)
    one = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    parts = [x if x is None or x.ndim else broadcast_to(x, shape=one) for x in (prepend, a, append)]
    parts = [x for x in parts if x is not None]
    a = concatenate(parts, axis) if len(parts) > 1 else a
    before = (slice(None),) * axis
    for _ in range(n):
        later, earlier = a[(*before, slice(1, None))], a[(*before, slice(None, -1))]
        a = (not_equal if a.dtype.kind == "b" else subtract)(later, earlier)
    return a


def gradient(f, *varargs, axis=None, edge_order: int = 1):
    """The slopes of the samples `f` along each axis, by central differences: NumPy's `gradient`.

    It is no derivative by parameters; for that see `grad` and `gradients`.

    Args:
        varargs: the distance of samples: a number for all axes, or for each axis a number or the
            coordinates of its samples, (n,). 1 by default.
        axis: along which; all by default.
        edge_order: 1 or 2: the order of the differences at both ends.

    Returns:
        An array of the shape of `f`; a tuple of them if there are several axes.

    Raises:
        ShapeError: an axis has fewer than `edge_order + 1` elements, or as many coordinates as it
            has not.
        TypeError: `f` is a function, or the distances are not as many as the axes.
        ValueError: `edge_order` is neither 1 nor 2.
    """
    if callable(f) and not hasattr(f, "shape"):
        raise TypeError("gradient: takes samples, not a function; use grad(function)")
    (f,) = in_floats(f)
    if not f.ndim:
        raise ShapeError(
            "gradient: expects samples along an axis, got one number; for derivatives of it use "
            "gradients(y, x) or y.backward()"
        )
    several = range(f.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = [axis_of("gradient", a, f.shape) for a in several]
    _, *steps = as_arrays(f, *(varargs or [1.0]))  # in the dtype of f, not in float32
    if len(steps) == 1 and not steps[0].ndim:
        steps = [varargs[0] if varargs else 1.0] * len(axes)
    if len(steps) != len(axes):
        raise TypeError(f"gradient: got {len(steps)} distances for {len(axes)} axes")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    found = tuple(_slopes(f, h, a, edge_order) for a, h in zip(axes, steps, strict=True))
    return found[0] if len(found) == 1 else found


def _slopes(f, h, axis: int, edge_order: int):
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(
            f"gradient: axis {axis} has {n} elements, and edge_order={edge_order} needs "
            f"{edge_order + 1}"
        )
    x = moveaxis(f, source=axis, destination=-1)
    d = (x[..., 1:] - x[..., :-1]) / _distances(f, h, axis)  # the slopes between neighbours
    if n == 2:
        return moveaxis(concatenate([d, d], -1), source=-1, destination=axis)
    h = _distances(f, h, axis)
    left, right = (h[:-1], h[1:]) if getattr(h, "ndim", 0) else (h, h)
    # A parabola through three points has in the middle the mean of both slopes, the nearer one
    # counting more; at its ends it goes on as it bends.
    inner = (right * d[..., :-1] + left * d[..., 1:]) / (left + right)
    first, last = d[..., :1], d[..., -1:]
    if edge_order == 2:
        first = 2 * first - inner[..., :1]
        last = 2 * last - inner[..., -1:]
    return moveaxis(concatenate([first, inner, last], -1), source=-1, destination=axis)


def _distances(f, h, axis: int):
    """What is between neighbours along `axis`: a number, or (n - 1,)."""
    h = h if isinstance(h, int | float) else in_floats(h)[0]
    if not getattr(h, "ndim", 0):
        return h
    if h.shape != (f.shape[axis],):
        raise ShapeError(
            f"gradient: axis {axis} of length {f.shape[axis]} needs a number or as many "
            f"coordinates, got shape {h.shape}"
        )
    return h[1:] - h[:-1]


def trapezoid(y, x=None, dx=1.0, axis: int = -1):
    """The area below the samples `y` along `axis`, by trapezoids.

    Args:
        x: where the samples are: (n,), or the shape of `y`; every `dx` by default.
    """
    y, x = as_arrays(y, x)
    y = moveaxis(y, source=axis_of("trapezoid", axis, y.shape), destination=-1)
    if x is not None:
        dx = diff(x if x.ndim == 1 else moveaxis(x, source=axis, destination=-1))
    return sum(multiply(y[..., 1:] + y[..., :-1], 0.5) * dx, axis=-1)


def cumulative_sum(x, *, axis: int | None = None, dtype=None, include_initial: bool = False):
    """The running sum along `axis`, which may be left out where there is only one.

    Args:
        include_initial: put the 0 of no elements in front.
    """
    return _running("cumulative_sum", cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x, *, axis: int | None = None, dtype=None, include_initial: bool = False):
    """The running product along `axis`, which may be left out where there is only one.

    Args:
        include_initial: put the 1 of no elements in front.
    """
    return _running("cumulative_prod", cumprod, 1, x, axis, dtype, include_initial)


def _running(name, function, start, x, axis, dtype, include_initial):
    x = arrayed(x)
    x = x if x.ndim else reshape(x, shape=(1,))
    if x.ndim != 1 and axis is None:
        raise ShapeError(f"{name}: state an axis, of an array of shape {x.shape}")
    axis = axis_of(name, 0 if axis is None else axis, x.shape)
    y = function(x, axis=axis, dtype=dtype)
    if not include_initial:
        return y
    return pad(y, pad_width=[(int(a == axis), 0) for a in range(y.ndim)], constant_values=start)


def vander(x, N: int | None = None, increasing: bool = False):
    """(n, N): the powers of each element of `x`, (n,), from N - 1 down to 0; N is n by default.

    Args:
        increasing: from 0 up.

    Raises:
        ShapeError: `x` has not one axis, or `N` is negative.
    """
    x = arrayed(x)
    if x.ndim != 1:
        raise ShapeError(f"vander: x must have one axis, got shape {x.shape}")
    N = x.shape[0] if N is None else N
    if N < 0:
        raise ShapeError(f"vander: N must not be negative, got {N}")
    x = astype(x, dtype="int64") if x.dtype.kind in "ib" else x
    if not N:
        return x[:, None][:, :0]
    powers = [ones_like(x)]
    for _ in range(N - 1):
        powers.append(powers[-1] * x)
    return stack(powers if increasing else powers[::-1], axis=1)


# ------------------------------------------------------------------------ between two points


def interp(x, xp, fp, left=None, right=None, period=None):
    """The values at `x` of the lines that join the points (xp, fp), differentiable by all three.

    NaN stays NaN.

    Args:
        xp: (n,) rising; with `period`, in any order.
        fp: (n,).
        left, right: below the first and beyond the last point, the first and the last of `fp` by
            default.
        period: the points repeat after it; `left` and `right` then do not count.

    Raises:
        ShapeError: `xp` and `fp` have not one axis of the same length, or are empty.
        ValueError: `period` is 0.
    """
    x, points, values, left, right = in_floats(x, xp, fp, left, right)
    if points.ndim != 1 or points.shape != values.shape or not points.shape[0]:
        raise ShapeError(
            f"interp: xp and fp must have one axis of one length, got {points.shape} and "
            f"{values.shape}"
        )
    if period is not None:
        if isinstance(period, int | float) and period == 0:
            raise ValueError("interp: period must not be 0")
        period = abs(period)
        x, points = mod(x, period), mod(points, period)
        order = argsort(stop_gradient(points))
        points, values = take(points, order), take(values, order)
        points = concatenate([points[-1:] - period, points, points[:1] + period])
        values = concatenate([values[-1:], values, values[:1]])
        left = right = None
    n = points.shape[0]
    i = searchsorted(stop_gradient(points), stop_gradient(x), side="right") - 1
    low = clip(i, 0, max(n - 2, 0))
    high = minimum(low + 1, n - 1)
    x0, f0, f1 = take(points, low), take(values, low), take(values, high)
    width = take(points, high) - x0
    t = (x - x0) / where(width == 0, 1.0, width)
    # From the nearer end, so that both are met exactly.
    y = where(t > 0.5, f1 - (f1 - f0) * (1 - t), f0 + (f1 - f0) * t)
    y = where(x < points[0], values[0] if left is None else left, y)
    return where(x > points[-1], values[-1] if right is None else right, y)


# ------------------------------------------------------------------------- shifted sequences


def convolve(a, v, mode: str = "full"):
    """The convolution of two sequences: `y[k] = sum over j of a[j] v[k - j]`.

    Args:
        a, v: (n,) and (m,).
        mode: 'full', (n + m - 1,): wherever they overlap; 'same', (max(n, m),): the middle of that;
            'valid', (max(n, m) - min(n, m) + 1,): where the shorter one lies within the longer.
    """
    a, v = _sequences("convolve", a, v)
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    return _moved_along("convolve", a, flip(v, axis=0), mode)


def correlate(a, v, mode: str = "valid"):
    """The correlation of two sequences: `y[k] = sum over j of a[j + k] v[j]`.

    Args:
        a, v: (n,) and (m,).
        mode: as for `convolve`.
    """
    a, v = _sequences("correlate", a, v)
    if v.shape[0] > a.shape[0]:
        return flip(_moved_along("correlate", v, a, mode), axis=0)
    return _moved_along("correlate", a, v, mode)


def _sequences(name: str, *xs) -> list:
    arrays = as_arrays(*xs)
    for x in arrays:
        if x.ndim > 1 or not x.size:
            raise ShapeError(f"{name}: expects two sequences of one axis, got shape {x.shape}")
    return [reshape(x, shape=(-1,)) for x in arrays]


def _moved_along(name: str, x, w, mode: str):
    """The products of the kernel `w` with what it sees of `x`, which is as long or longer."""
    m = w.shape[0]
    ends = {"full": (m - 1, m - 1), "same": (m // 2, m - m // 2 - 1), "valid": (0, 0)}
    if mode not in ends:
        raise ValueError(f"{name}: mode must be 'full', 'same' or 'valid', got {mode!r}")
    x = pad(x, pad_width=[ends[mode]])
    if x.dtype.kind in "iub" and w.dtype.kind in "iub":  # exactly
        if x.dtype.kind == w.dtype.kind == "b":
            raise DtypeError(f"{name}: expects numbers, got booleans; cast them first")
        places = np.arange(x.shape[0] - m + 1)[:, None] + np.arange(m)
        return matmul(take(x, on_device_of([x], places)), w)
    x, w = in_floats(x, w)
    return conv1d(x[None, None], w[None, None])[0, 0]
