"""Pooling, interpolation, and what rearranges pixels.

All of them work along one axis after the other, the last one first: the largest of a rectangle is
the largest of the largest of its rows. For pooling, `_windows` of `minigrad.ops.windows` puts the
elements that are pooled into an axis of their own, axis 2.
"""

import math
import operator
from functools import partial

import numpy as np

from minigrad.autodiff import as_arrays, on_device_of, op, primitive
from minigrad.errors import DtypeError, ShapeError
from minigrad.ops.dtypes import narrowed, widened
from minigrad.ops.elementwise import multiply, power, where, zeros_like
from minigrad.ops.indexing import checked_ids, refuse_where, scatter_add, take, take_along_axis
from minigrad.ops.reductions import sum
from minigrad.ops.shaping import (
    broadcast_to,
    expand_dims,
    moveaxis,
    pad,
    repeat,
    reshape,
    swapaxes,
    transpose,
)
from minigrad.ops.windows import (
    _sum_windows,
    _windows,
    per_axis,
    reach_of,
    window_counts,
    with_batch,
)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "channel_shuffle", "interpolate", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d",
    "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "pixel_shuffle",
    "pixel_unshuffle",
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
        self.kernel = per_axis(name, "kernel_size", kernel_size, n)
        # An empty tuple is what PyTorch's modules give for None.
        self.stride = self.kernel if stride in (None, ()) else per_axis(name, "stride", stride, n)
        self.padding = per_axis(name, "padding", padding, n, least=0)
        self.dilation = per_axis(name, "dilation", dilation, n)
        reach = reach_of(self.kernel, self.dilation)
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
            (count,) = window_counts(name, (length + 2 * p + more,), (r,), (s,), (1,))
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
    return on_device_of([x], numbers.reshape(-1, *(1,) * (-axis - 1)))


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


@op(kernel="windows.max_windows")
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


@op(kernel="windows.max_windows_grad")
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
    return broadcast_to(on_device_of([x], ids), shape=x.shape)


def _max_pool(name, n, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    x, alone = with_batch(name, *as_arrays(x), n)
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
    x, alone = with_batch(name, given, n)
    pool = _Pool(name, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise ValueError(f"{name}: divisor_override must not be 0")
    lengths, y = x.shape[2:], widened(x)
    for axis in range(-1, -n - 1, -1):
        y = sum(pool.windows(y, axis), axis=2)
        if divisor_override is None:
            counted = pool.padding[axis] if count_include_pad else 0
            starts = np.arange(pool.counts[axis]) * pool.stride[axis] - pool.padding[axis]
            ends = np.minimum(starts + pool.kernel[axis], lengths[axis] + counted)
            sizes = ends - np.maximum(starts, -counted)
            y = y / (int(sizes[0]) if np.all(sizes == sizes[0]) else _along(sizes * 1.0, y, axis))
    y = narrowed(y if divisor_override is None else y / divisor_override, given)
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


# ------------------------------------------------------------------------------- p-norms


def _lp_pool(name, n, x, norm_type, kernel_size, stride, ceil_mode):
    p = float(norm_type)
    if p == 0 or not math.isfinite(p):
        raise ValueError(
            f"{name}: norm_type must be a number other than 0, got {norm_type}"
            + ("; for the largest there is max_pool" if p == math.inf else "")
        )
    powers = multiply(x, x) if p == 2 else power(x, p)
    means = _avg_pool(name, n, powers, kernel_size, stride, 0, ceil_mode, True)
    total = multiply(means, math.prod(per_axis(name, "kernel_size", kernel_size, n)))
    zero = total == 0  # where a root has no derivative
    return where(zero, 0.0, power(where(zero, 1.0, total), 1 / p))


def lp_pool1d(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm `(x1^p + x2^p + ...)^(1/p)` of each window along the last axis.

    Where the sum is 0, so is the gradient. As in PyTorch the powers are those of `x` itself, not of
    its size, so that for odd p a negative sum gives NaN; and a window that `ceil_mode` lets end
    beyond the input counts as many times the mean of what it has as a whole one has elements.

    Args:
        x: (N, C, L) or (C, L).
        norm_type: p.
        kernel_size, stride, ceil_mode: as for `avg_pool1d`.
    """
    return _lp_pool("lp_pool1d", 1, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window over the last two axes of (N, C, H, W) or (C, H, W): `lp_pool1d`.

    Numbers may be tuples, one for each axis.
    """
    return _lp_pool("lp_pool2d", 2, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The p-norm of each window over the last three axes, see `lp_pool2d`."""
    return _lp_pool("lp_pool3d", 3, x, norm_type, kernel_size, stride, ceil_mode)


# ---------------------------------------------------------------------- back to the places


@primitive
def _put_back(xp, x, ids, *, size):
    """Zeros (A, size) with `x` (A, n) at `ids` (A, n); what is named twice must be the same."""
    ids = checked_ids("max_unpool", ids, size, low=0)
    y = xp.zeros((x.shape[0], size), x.dtype)
    at = (xp.arange(x.shape[0])[:, None], ids)
    y[at] = x
    there = y[at]
    refuse_where(
        (there != x) & ((there == there) | (x == x)),  # NaN is as good as NaN
        ShapeError(
            "max_unpool: an index is repeated with another value, so it would be left to chance "
            "which one stays"
        ),
    )
    return y


@_put_back.vjp
def _(g, _y, _x, ids, *, size):
    times = scatter_add(zeros_like(g, dtype="int64"), ids, 1, axis=1)
    return take_along_axis(g, ids, axis=1) / take_along_axis(times, ids, axis=1), None


def _max_unpool(name, n, x, indices, kernel_size, stride, padding, output_size):
    x, indices = as_arrays(x, indices)
    if indices.shape != x.shape:
        raise ShapeError(
            f"{name}: indices must have the shape of x, {x.shape}; got {indices.shape}"
        )
    x, alone = with_batch(name, x, n)
    kernel = per_axis(name, "kernel_size", kernel_size, n)
    stride = kernel if stride in (None, ()) else per_axis(name, "stride", stride, n)
    padding = per_axis(name, "padding", padding, n, least=0)
    steps = zip(x.shape[2:], kernel, stride, padding, strict=True)
    lengths = tuple((m - 1) * s - 2 * p + k for m, k, s, p in steps)
    if output_size is not None:
        wanted = tuple(output_size)[2:] if len(output_size) == n + 2 else tuple(output_size)
        fits = len(wanted) == n and all(
            abs(w - m) < s for w, m, s in zip(wanted, lengths, stride, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"{name}: output_size must be {n} lengths that differ from {lengths} by less than "
                f"the stride, {stride}; got {tuple(output_size)}"
            )
        lengths = tuple(map(operator.index, wanted))
    lines = (math.prod(x.shape[:2]), math.prod(x.shape[2:]))
    flat = _put_back(
        reshape(x, shape=lines), reshape(indices, shape=lines), size=math.prod(lengths)
    )
    y = reshape(flat, shape=(*x.shape[:2], *lengths))
    return y[0] if alone else y


def max_unpool1d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with the elements of `x` back where `max_pool1d` found them.

    Where windows overlapped, an element may come back several times; they share its gradient.

    Args:
        x: (N, C, L) or (C, L), the largest of each window.
        indices: their places, as `max_pool1d` gives them with `return_indices`.
        kernel_size, stride, padding: those of the pooling.
        output_size: the lengths of its input, where they do not follow from the others: with or
            without N and C.

    Returns:
        (N, C, `(L - 1) stride - 2 padding + kernel_size`), or `output_size`.

    Raises:
        ShapeError: shapes do not fit; or (on the host) two different elements have one place.
        OutOfRangeError: an index is beyond the lengths.
    """
    return _max_unpool("max_unpool1d", 1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """What `max_pool2d` found back in its place in (N, C, H, W) or (C, H, W); see `max_unpool1d`.

    Numbers may be tuples, one for each axis.
    """
    return _max_unpool("max_unpool2d", 2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """What `max_pool3d` found back in its place, see `max_unpool2d`."""
    return _max_unpool("max_unpool3d", 3, x, indices, kernel_size, stride, padding, output_size)


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
    return per_axis(name, "output_size", wanted, len(lengths))


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
    windows = take(x, on_device_of([x], ids), axis=x.ndim + axis)
    return moveaxis(windows, source=axis - 1, destination=2), sizes


def _adaptive_avg_pool(name, n, x, output_size):
    (given,) = as_arrays(x)
    x, alone = with_batch(name, given, n)
    y, counts = widened(x), _sizes(name, x, output_size)
    for axis in range(-1, -n - 1, -1):
        windows, sizes = _shares(y, axis, counts[axis])
        size = windows.shape[2]
        if np.all(sizes == size):
            y = sum(windows, axis=2) / size
            continue
        ids = np.arange(size).reshape(size, *(1,) * n)
        inside = on_device_of([x], ids) < _along(sizes, y, axis)
        y = sum(where(inside, windows, 0.0), axis=2) / _along(sizes * 1.0, y, axis)
    y = narrowed(y, given)
    return y[0] if alone else y


def _adaptive_max_pool(name, n, x, output_size, return_indices):
    x, alone = with_batch(name, *as_arrays(x), n)
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

_SMOOTH = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}  # and their axes


def interpolate(
    x,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """Images, signals or volumes of another size (PyTorch's `interpolate`).

    Args:
        x: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        size: the new lengths, a tuple or an int for all.
        scale_factor: instead of it: how many times larger, a tuple or a number; rounded down.
        mode: 'nearest' (the element at `floor(i * old / new)`, computed in float32 as PyTorch
            does), 'nearest-exact' (at `floor((i + 1/2) * old / new)`); 'linear', 'bilinear',
            'trilinear' for one, two, three axes; 'bicubic' for two, by Keys' cubic convolution
            (1981) with a = -3/4; 'area' for the means of `adaptive_avg_pool2d`.
        align_corners: for the linear ones and 'bicubic': True takes elements as points, of which
            the outermost stay outermost; False, the default, as tiles that together cover the same
            area.
        recompute_scale_factor: take the ratio of the lengths, which are whole numbers, in place of
            `scale_factor` itself.
        antialias: for 'bilinear' and 'bicubic' (then with a = -1/2): of a smaller image each
            element is a mean over all that it covers, as in Pillow.

    Raises:
        ShapeError: lengths and axes do not fit, or something is empty.
        DtypeError: integers are to be blended.
        ValueError: `mode` is none of these, or `antialias` or `align_corners` does not apply to it.
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
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            f"interpolate: antialias is for 'bilinear' and 'bicubic', not for {mode!r}"
        )
    if mode in _SMOOTH:
        if _SMOOTH[mode] != n:
            fits = next(m for m, k in _SMOOTH.items() if k == n)
            raise ShapeError(f"interpolate: mode '{mode}' does not fit {x.shape}; use '{fits}'")
        if x.dtype.kind in "iub":
            raise DtypeError(
                f"interpolate: mode '{mode}' blends, which {x.dtype} cannot hold; give "
                f"x.astype('float32')"
            )
        y = widened(x)
        for axis in range(-1, -n - 1, -1):
            m, k, scale = x.shape[axis], new[axis], scales[axis]
            if align_corners:
                scale = (m - 1) / (k - 1) if k > 1 else 0.0
            if antialias:
                y = _mixed(y, axis, *_covered(m, k, scale, cubic=mode == "bicubic"))
            elif mode == "bicubic":
                y = _mixed(y, axis, *_of_four(m, k, scale, bool(align_corners)))
            else:
                y = _blended(y, axis, k, scale, bool(align_corners))
        return narrowed(y, x)
    if mode not in ("nearest", "nearest-exact", "area"):
        raise ValueError(
            f"interpolate: mode must be 'nearest', 'nearest-exact', 'area' or one of "
            f"{list(_SMOOTH)}, got {mode!r}"
        )
    if align_corners is not None:
        raise ValueError(f"interpolate: align_corners is for {list(_SMOOTH)}, not for '{mode}'")
    if mode == "area":
        return _adaptive_avg_pool("interpolate", n, x, new)
    for axis in range(-1, -n - 1, -1):
        ids = _nearest(x.shape[axis], new[axis], scales[axis], exact=mode != "nearest")
        times = new[axis] // x.shape[axis]
        if np.array_equal(ids, np.repeat(np.arange(x.shape[axis]), times)):  # the common case
            x = repeat(x, repeats=times, axis=axis)
        else:
            x = take(x, on_device_of([x], ids), axis=x.ndim + axis)
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
        new = per_axis("interpolate", "size", size, n)
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
    at = i * scale if align_corners else np.maximum((i + 0.5) * scale - 0.5, 0)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    part = np.minimum(at - low, 1.0)
    before = take(x, on_device_of([x], low), axis=x.ndim + axis)
    after = take(x, on_device_of([x], np.minimum(low + 1, n - 1)), axis=x.ndim + axis)
    return before * _along(1 - part, x, axis) + after * _along(part, x, axis)


def _mixed(x, axis: int, ids, weights):
    """Along `axis` sums of elements of `x`: those at `ids` (count, taps), times the weights."""
    y = 0.0
    for one, w in zip(ids.T, weights.T, strict=True):
        y = y + take(x, on_device_of([x], one), axis=x.ndim + axis) * _along(w, x, axis)
    return y


def _cubic(t, a: float):
    """Keys' kernel, which reaches from -2 to 2."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = (((t - 5) * t + 8) * t - 4) * a
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def _of_four(n: int, count: int, scale: float, align_corners: bool):
    """Four neighbours for each of `count` elements, and their weights; the ends go on outside."""
    i = np.arange(count)
    at = i * scale if align_corners else (i + 0.5) * scale - 0.5
    ids = np.floor(at).astype(np.int64)[:, None] + np.arange(-1, 3)
    return np.clip(ids, 0, n - 1), _cubic(at[:, None] - ids, -0.75)


def _covered(n: int, count: int, scale: float, cubic: bool):
    """What each of `count` elements covers, and the weights, which sum to 1."""
    wide = max(scale, 1.0)  # by how much the kernel is stretched
    reach = wide * (2 if cubic else 1)
    centre = (np.arange(count) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), n)
    ids = first[:, None] + np.arange((end - first).max())
    t = (ids + 0.5 - centre[:, None]) / wide
    weights = np.where(ids < end[:, None], _cubic(t, -0.5) if cubic else 1 - np.abs(t), 0.0)
    weights = np.maximum(weights, 0.0) if not cubic else weights
    return np.minimum(ids, n - 1), weights / weights.sum(axis=1, keepdims=True)


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


@op
def channel_shuffle(xp, x, *, groups):
    """(N, C, ...) with the channels of `groups` groups dealt out in turn: g k as k g.

    (Zhang et al., "ShuffleNet", arXiv 1707.01083.)

    Raises:
        ShapeError: the channels are no multiple of the groups.
    """
    if x.ndim < 3 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(f"channel_shuffle: {groups} groups do not fit x (N, C, ...) of {x.shape}")
    parts = reshape(x, shape=(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    return reshape(swapaxes(parts, axis1=1, axis2=2), shape=x.shape)
