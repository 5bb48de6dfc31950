"""Pooling, interpolation, and what rearranges pixels.

All of them work along one axis after the other, the last one first: the largest of a rectangle is
the largest of the largest of its rows. For pooling, `_windows` of `minigrad.ops.convs` puts the
elements that are pooled into an axis of their own, axis 2.
"""

import math
from functools import partial

import numpy as np

from minigrad.autodiff import as_arrays, beside, op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.convs import _batch, _counts, _each, _reach, _sum_windows, _windows
from minigrad.ops.elementwise import where
from minigrad.ops.indexing import take
from minigrad.ops.reductions import _narrow, _wide, sum
from minigrad.ops.shaping import (
    broadcast_to,
    expand_dims,
    moveaxis,
    pad,
    repeat,
    reshape,
    transpose,
)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "interpolate", "max_pool1d", "max_pool2d", "max_pool3d", "pixel_shuffle", "pixel_unshuffle",
]  # fmt: skip

# ------------------------------------------------------------------------------- arguments


class _Pool:
    """The arguments of a pooling, one number for each axis, and what follows from them.

    Attributes:
        counts: how many windows there are along each axis.
        widths: how much is to be padded at both ends of each axis. With `ceil_mode` the last window
            may end beyond the padding.
    """

    def __init__(self, name, x, kernel_size, stride, padding, dilation, ceil_mode):
        lengths, n = x.shape[2:], x.ndim - 2
        self.kernel = _each(name, "kernel_size", kernel_size, n)
        # An empty tuple is what PyTorch's modules give for None.
        self.stride = self.kernel if stride in (None, ()) else _each(name, "stride", stride, n)
        self.padding = _each(name, "padding", padding, n, least=0)
        self.dilation = _each(name, "dilation", dilation, n)
        reach = _reach(self.kernel, self.dilation)
        if any(2 * p > r for p, r in zip(self.padding, reach, strict=True)):
            raise ShapeError(
                f"{name}: padding must be at most half of the kernel, or a window could be all "
                f"padding; got padding {self.padding} for kernel {reach}"
            )
        if not x.size and x.shape[0]:
            raise ShapeError(f"{name}: only the batch axis may be empty, got {x.shape}")
        self.counts, self.widths = [], []
        for length, s, p, r in zip(lengths, self.stride, self.padding, reach, strict=True):
            more = s - 1 if ceil_mode else 0
            (count,) = _counts(name, (length + 2 * p + more,), (r,), (s,), (1,))
            if ceil_mode and (count - 1) * s >= length + p:  # it would begin beyond the input
                count -= 1
            self.counts.append(count)
            self.widths.append((p, max(0, (count - 1) * s + r - p - length)))

    def windows(self, x, axis: int, **padding):
        """The windows along `axis` of `x`, padded there: elements of a window along axis 2."""
        if any(self.widths[axis]):
            widths = [(0, 0)] * x.ndim
            widths[axis] = self.widths[axis]
            x = pad(x, pad_width=tuple(widths), **padding)
        return _windows(
            x,
            axis=axis,
            size=self.kernel[axis],
            count=self.counts[axis],
            stride=self.stride[axis],
            dilation=self.dilation[axis],
        )


def _along(numbers, x, axis: int):
    """`numbers`, made on the host, as an array that broadcasts along `axis` of `x`."""
    numbers = np.asarray(numbers)
    if numbers.dtype.kind == "f":
        numbers = numbers.astype(x.dtype)
    return beside([x], numbers.reshape(-1, *(1,) * (-axis - 1)))


# --------------------------------------------------------------------------------- maximum


@primitive
def _largest(xp, windows):
    """The largest element of each window: (A, B, size, ...) gives (A, B, ...)."""
    return windows.max(axis=2)


@_largest.vjp
def _(g, y, windows):
    return where(_first_largest(windows, y), expand_dims(g, axis=2), 0.0)


@primitive
def _first_largest(xp, windows, y):
    """Where in each window the first of those is that equal its largest, `y`; or the first NaN."""
    found, searching = xp.zeros(windows.shape, bool), xp.ones(y.shape, bool)
    for i in range(windows.shape[2]):
        x = windows[:, :, i]
        equal = xp.logical_or(xp.equal(x, y), x != x)
        found[:, :, i] = xp.logical_and(equal, searching)
        searching = xp.logical_and(searching, ~equal)
    return found


_first_largest.no_gradient()


@op(kernel=True)
def _max_windows(xp, x, *, kernel, stride, dilation, counts):
    """The largest of each window: x (A, B, *lengths) gives (A, B, *counts).

    Args:
        kernel, stride, dilation, counts: a tuple each, of one number for each of the last axes.
    """
    for windows in _in_turn(kernel, stride, dilation, counts):
        x = _largest(windows(x))
    return x


@_max_windows.vjp
def _(g, _y, x, *, kernel, stride, dilation, counts):
    return _max_windows_grad(g, x, kernel=kernel, stride=stride, dilation=dilation, counts=counts)


@op(kernel=True)
def _max_windows_grad(xp, g, x, *, kernel, stride, dilation, counts):
    """The gradient of the input of `_max_windows` from that of its output."""
    steps = []
    for windows in _in_turn(kernel, stride, dilation, counts):
        w = windows(x)
        y = _largest(w)
        steps.append((_first_largest(w, y), x.shape))
        x = y
    for a in range(-len(kernel), 0):
        first, shape = steps[-1 - a]
        g = where(first, expand_dims(g, axis=2), 0.0)
        g = _sum_windows(g, axis=a, length=shape[a], stride=stride[a], dilation=dilation[a])
    return g


def _in_turn(kernel, stride, dilation, counts):
    """Functions that give the windows along one axis after the other, the last one first."""
    for a in range(-1, -len(kernel) - 1, -1):
        options = {"size": kernel[a], "count": counts[a], "stride": stride[a]}
        yield partial(_windows, axis=a, dilation=dilation[a], **options)


def _lowest(dtype):
    """What is not larger than any number of `dtype`."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min)
    return -math.inf if dtype.kind != "b" else False


def _places(x):
    """For each element of `x` (N, C, *lengths) its place in the flattened (*lengths)."""
    lengths = x.shape[2:]
    ids = np.arange(math.prod(lengths)).reshape(1, 1, *lengths)
    return broadcast_to(beside([x], ids), shape=x.shape)


def _max_pool(name, n, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    x, alone = _batch(name, *as_arrays(x), n)
    pool = _Pool(name, x, kernel_size, stride, padding, dilation, ceil_mode)
    lowest = _lowest(x.dtype)
    if not return_indices:
        if any(map(any, pool.widths)):
            x = pad(x, pad_width=((0, 0), (0, 0), *pool.widths), constant_values=lowest)
        options = {"kernel": pool.kernel, "stride": pool.stride, "dilation": pool.dilation}
        return _result(_max_windows(x, counts=tuple(pool.counts), **options), None, alone)
    places = _places(x)
    for axis in range(-1, -n - 1, -1):
        windows = pool.windows(x, axis, constant_values=lowest)
        x = _largest(windows)
        # In padding, which is found where all is -inf, that of its neighbour.
        places = _found(windows, x, pool.windows(places, axis, mode="edge"))
    return _result(x, places, alone)


def _found(windows, largest, places):
    """The place of the first largest element of each window, from those of all elements."""
    return sum(where(_first_largest(windows, largest), places, 0), axis=2)


def _result(x, places, alone: bool):
    """`x`, with `places` if there are any, without the batch axis if that had been added."""
    x, places = (y if y is None or not alone else y[0] for y in (x, places))
    return x if places is None else (x, places)


def max_pool1d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """The largest element of each window along the last axis.

    Of equal ones the first gets the gradient (where all of a window is minus infinity, that may be
    one of the padding). NaN counts as the largest.

    Args:
        x: (N, C, L) or (C, L).
        kernel_size: how many elements a window has.
        stride: from one window to the next; `kernel_size` by default.
        padding: places that count as minus infinity, on both sides; at most half of the kernel.
        dilation: the distance of neighbours in a window.
        ceil_mode: let the last window end beyond the padded input, if it begins within.
        return_indices: give a pair, the second one the places in `x` (int64) of what was found.

    Returns:
        (N, C, `(L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1`).

    Raises:
        ShapeError: the window is longer than the padded input, or the padding too large.
    """
    return _max_pool(
        "max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """The largest element of each window over the last two axes of (N, C, H, W) or (C, H, W).

    As `max_pool1d`; numbers may be tuples, one for each axis. Of equal elements that one is the
    first which comes first in the first row. Indices are places in the flattened (H, W).
    """
    return _max_pool(
        "max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool3d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """The largest element of each window over the last three axes, see `max_pool2d`."""
    return _max_pool(
        "max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


# ------------------------------------------------------------------------------------ mean


def _avg_pool(
    name, n, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None
):
    (given,) = as_arrays(x)
    x, alone = _batch(name, given, n)
    pool = _Pool(name, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise ValueError(f"{name}: divisor_override must not be 0")
    lengths, y = x.shape[2:], _wide(x)
    for axis in range(-1, -n - 1, -1):
        y = sum(pool.windows(y, axis), axis=2)
        if divisor_override is None:
            counted = pool.padding[axis] if count_include_pad else 0
            starts = np.arange(pool.counts[axis]) * pool.stride[axis] - pool.padding[axis]
            ends = np.minimum(starts + pool.kernel[axis], lengths[axis] + counted)
            sizes = ends - np.maximum(starts, -counted)
            y = y / (int(sizes[0]) if np.all(sizes == sizes[0]) else _along(sizes * 1.0, y, axis))
    y = _narrow(y if divisor_override is None else y / divisor_override, given)
    return y[0] if alone else y


def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window along the last axis; of integers in float32.

    Args:
        x: (N, C, L) or (C, L).
        kernel_size, stride, ceil_mode: as for `max_pool1d`.
        padding: zeros on both sides, at most half of the kernel.
        count_include_pad: whether padded zeros count as elements. What `ceil_mode` adds never does.
    """
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """The mean of each window over the last two axes of (N, C, H, W) or (C, H, W).

    As `avg_pool1d`; numbers may be tuples, one for each axis.

    Args:
        divisor_override: what the sums are divided by, in place of the number of elements.
    """
    return _avg_pool(
        "avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )  # fmt: skip


def avg_pool3d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """The mean of each window over the last three axes, see `avg_pool2d`."""
    return _avg_pool(
        "avg_pool3d", 3, x, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )  # fmt: skip


# ------------------------------------------------------------------------------- adaptive


def _sizes(name: str, x, output_size) -> tuple[int, ...]:
    """The length of the result along each axis; None stands for that of `x`."""
    if 0 in x.shape[1:]:
        raise ShapeError(f"{name}: only the batch axis may be empty, got {x.shape}")
    lengths = x.shape[2:]
    wanted = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,)
    wanted = wanted * len(lengths) if len(wanted) == 1 else wanted
    if len(wanted) == len(lengths):
        wanted = tuple(n if k is None else k for k, n in zip(wanted, lengths, strict=True))
    return _each(name, "output_size", wanted, len(lengths))


def _shares(x, axis: int, count: int):
    """The windows that share the elements of `axis` among `count`, and the sizes of the windows.

    Window i is from `floor(i n / count)` to `ceil((i + 1) n / count)`; shorter ones repeat their
    last element.
    """
    n = x.shape[axis]
    if n % count == 0:
        size = n // count
        return _windows(x, axis=axis, size=size, count=count, stride=size), np.full(count, size)
    i = np.arange(count)
    starts, ends = i * n // count, -(-(i + 1) * n // count)
    sizes = ends - starts
    ids = np.minimum(starts + np.arange(sizes.max())[:, None], ends - 1)
    windows = take(x, beside([x], ids), axis=x.ndim + axis)
    return moveaxis(windows, axis - 1, 2), sizes


def _adaptive_avg_pool(name, n, x, output_size):
    (given,) = as_arrays(x)
    x, alone = _batch(name, given, n)
    y, counts = _wide(x), _sizes(name, x, output_size)
    for axis in range(-1, -n - 1, -1):
        windows, sizes = _shares(y, axis, counts[axis])
        size = windows.shape[2]
        if np.all(sizes == size):
            y = sum(windows, axis=2) / size
            continue
        ids = np.arange(size).reshape(size, *(1,) * n)
        inside = beside([x], ids) < _along(sizes, y, axis)
        y = sum(where(inside, windows, 0.0), axis=2) / _along(sizes * 1.0, y, axis)
    y = _narrow(y, given)
    return y[0] if alone else y


def _adaptive_max_pool(name, n, x, output_size, return_indices):
    x, alone = _batch(name, *as_arrays(x), n)
    counts = _sizes(name, x, output_size)
    places = _places(x) if return_indices else None
    for axis in range(-1, -n - 1, -1):
        windows, _ = _shares(x, axis, counts[axis])
        x = _largest(windows)
        if return_indices:
            places = _found(windows, x, _shares(places, axis, counts[axis])[0])
    return _result(x, places, alone)


def adaptive_avg_pool1d(x, output_size):
    """The means of `output_size` windows that share the last axis: (N, C, output_size).

    Window i reaches from `floor(i L / output_size)` to `ceil((i + 1) L / output_size)`.

    Args:
        x: (N, C, L) or (C, L).
        output_size: an int; None for the length of `x`.
    """
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool2d(x, output_size):
    """The means of windows that share the last two axes of (N, C, H, W) or (C, H, W).

    Args:
        output_size: (rows, columns), either of which may be None for that of `x`; or one for both.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, x, output_size)


def adaptive_avg_pool3d(x, output_size):
    """The means of windows that share the last three axes, see `adaptive_avg_pool2d`."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, x, output_size)


def adaptive_max_pool1d(x, output_size, return_indices=False):
    """The largest of each of `output_size` windows, see `adaptive_avg_pool1d` and `max_pool1d`."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, x, output_size, return_indices)


def adaptive_max_pool2d(x, output_size, return_indices=False):
    """The largest of each of the windows of `adaptive_avg_pool2d`; else as `max_pool2d`."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, x, output_size, return_indices)


def adaptive_max_pool3d(x, output_size, return_indices=False):
    """The largest of each of the windows of `adaptive_avg_pool3d`; else as `max_pool3d`."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, x, output_size, return_indices)


# --------------------------------------------------------------------------- interpolation

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


def interpolate(
    x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    """Images, signals or volumes of another size (PyTorch's `interpolate`).

    Args:
        x: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        size: the new lengths, a tuple or an int for all.
        scale_factor: instead of it: how many times larger, a tuple or a number; rounded down.
        mode: 'nearest' (the element at `floor(i * old / new)`, computed in float32 as PyTorch
            does), 'nearest-exact' (at `floor((i + 1/2) * old / new)`); 'linear', 'bilinear',
            'trilinear' for one, two, three axes; 'area' for the means of `adaptive_avg_pool2d`.
        align_corners: for the linear ones: True takes elements as points, of which the outermost
            stay outermost; False, the default, as tiles that together cover the same area.
        recompute_scale_factor: take the ratio of the lengths, which are whole numbers, in place of
            `scale_factor` itself.

    Raises:
        ShapeError: lengths and axes do not fit, or something is empty.
    """
    (x,) = as_arrays(x)
    if x.ndim not in (3, 4, 5):
        raise ShapeError(
            f"interpolate: x must be (N, C, L), (N, C, H, W) or (N, C, D, H, W), got {x.shape}"
        )
    n = x.ndim - 2
    new, scales = _new_lengths(x.shape[2:], size, scale_factor, recompute_scale_factor)
    if 0 in x.shape[1:] or min(new) < 1:
        raise ShapeError(
            f"interpolate: only the batch axis may be empty, got {x.shape} and new lengths {new}"
        )
    if mode in _LINEAR:
        if _LINEAR[mode] != n:
            fits = next(m for m, k in _LINEAR.items() if k == n)
            raise ShapeError(f"interpolate: mode '{mode}' does not fit {x.shape}; use '{fits}'")
        y = _wide(x)
        for axis in range(-1, -n - 1, -1):
            y = _blended(y, axis, new[axis], scales[axis], bool(align_corners))
        return _narrow(y, x)
    if mode not in ("nearest", "nearest-exact", "area"):
        raise ValueError(
            f"interpolate: mode must be 'nearest', 'nearest-exact', 'area' or one of "
            f"{list(_LINEAR)}, got {mode!r}"
        )
    if align_corners is not None:
        raise ValueError(f"interpolate: align_corners is for {list(_LINEAR)}, not for '{mode}'")
    if mode == "area":
        return _adaptive_avg_pool("interpolate", n, x, new)
    for axis in range(-1, -n - 1, -1):
        ids = _nearest(x.shape[axis], new[axis], scales[axis], exact=mode != "nearest")
        times = new[axis] // x.shape[axis]
        if np.array_equal(ids, np.repeat(np.arange(x.shape[axis]), times)):  # the common case
            x = repeat(x, repeats=times, axis=axis)
        else:
            x = take(x, beside([x], ids), axis=x.ndim + axis)
    return x


def _nearest(n: int, count: int, scale: float, exact: bool):
    """Which of `n` elements each of `count` takes; as PyTorch computes it, in float32."""
    i = np.arange(count, dtype=np.float32) + np.float32(0.5 if exact else 0)
    return np.minimum(np.floor(i * np.float32(scale)).astype(np.int64), n - 1)


def _new_lengths(lengths, size, scale_factor, recompute) -> tuple[tuple[int, ...], list[float]]:
    """The new lengths, and by how much a step in the result moves on in the input."""
    n = len(lengths)
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if size is not None:
        if recompute:
            raise ValueError(
                "interpolate: recompute_scale_factor is for scale_factor, not for size"
            )
        new = _each("interpolate", "size", size, n)
        if isinstance(size, tuple | list) and len(size) != n:
            raise ShapeError(f"interpolate: size must be an int or {n} of them, got {size}")
        return new, [np.float64(m) / k for m, k in zip(lengths, new, strict=True)]
    factors = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor,) * n
    if len(factors) != n or not all(f > 0 for f in factors):
        raise ShapeError(
            f"interpolate: scale_factor must be a positive number or {n} of them, got "
            f"{scale_factor}"
        )
    new = tuple(math.floor(m * float(f)) for m, f in zip(lengths, factors, strict=True))
    if recompute:
        return new, [m / k if k else 0.0 for m, k in zip(lengths, new, strict=True)]
    return new, [1 / f for f in factors]


def _blended(x, axis: int, count: int, scale: float, align_corners: bool):
    """`count` elements along `axis`, each between two neighbours in `x`."""
    n = x.shape[axis]
    i = np.arange(count)
    if align_corners:
        at = i * ((n - 1) / max(count - 1, 1))
    else:
        at = np.maximum((i + 0.5) * scale - 0.5, 0)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    part = np.minimum(at - low, 1.0)
    before = take(x, beside([x], low), axis=x.ndim + axis)
    after = take(x, beside([x], np.minimum(low + 1, n - 1)), axis=x.ndim + axis)
    return before * _along(1 - part, x, axis) + after * _along(part, x, axis)


# ---------------------------------------------------------------------------------- pixels


def _image(name: str, x, factor: int):
    if x.ndim < 3 or factor < 1:
        raise ShapeError(
            f"{name}: x must be (..., C, H, W) and the factor positive, got {x.shape} and {factor}"
        )
    return x.shape[:-3], *x.shape[-3:]


@op
def pixel_shuffle(xp, x, *, upscale_factor):
    """(..., C r r, H, W) as (..., C, H r, W r) with r = `upscale_factor`: channels become pixels.

    Raises:
        ShapeError: the channels cannot be divided by the square of the factor.
    """
    r = upscale_factor
    lead, channels, height, width = _image("pixel_shuffle", x, r)
    if channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle: {channels} channels of {x.shape} cannot be divided by {r} * {r}"
        )
    k = len(lead)
    x = reshape(x, shape=(*lead, channels // (r * r), r, r, height, width))
    x = transpose(x, axes=(*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape(x, shape=(*lead, channels // (r * r), height * r, width * r))


@op
def pixel_unshuffle(xp, x, *, downscale_factor):
    """(..., C, H r, W r) as (..., C r r, H, W) with r = `downscale_factor`: the way back.

    Raises:
        ShapeError: height and width cannot be divided by the factor.
    """
    r = downscale_factor
    lead, channels, height, width = _image("pixel_unshuffle", x, r)
    if height % r or width % r:
        raise ShapeError(f"pixel_unshuffle: height and width of {x.shape} cannot be divided by {r}")
    k = len(lead)
    x = reshape(x, shape=(*lead, channels, height // r, r, width // r, r))
    x = transpose(x, axes=(*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape(x, shape=(*lead, channels * r * r, height // r, width // r))
