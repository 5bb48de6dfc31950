"""Convolution: what the kernel sees, in the columns of a matrix, times the kernel.

Two ops of `minigrad.ops.windows` carry it, each the gradient of the other. Axis after axis, the
last one first, they make the columns:

    convolution              pad,              _windows,       product with the weight
    transposed convolution   product with the weight,          _sum_windows,    crop

so that the second is the gradient of the first, and derivatives of every order follow. Half
precision is multiplied and summed in float32 (see `matmul`).
"""

import math
import operator

from minigrad.autodiff import op
from minigrad.errors import ShapeError
from minigrad.ops.products import matmul
from minigrad.ops.shaping import pad, reshape, swapaxes, transpose
from minigrad.ops.windows import (
    all_windows,
    per_axis,
    reach_of,
    sum_all_windows,
    window_counts,
    with_batch,
)

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "fold", "unfold",
]  # fmt: skip


def _check_channels(name: str, x, weight, groups: int, n: int, out_first: bool):
    """Raise unless weight and groups fit the channels of `x`."""
    names = "(out, in / groups, *kernel)" if out_first else "(in, out / groups, *kernel)"
    if weight.ndim != n + 2 or 0 in weight.shape[2:]:
        raise ShapeError(f"{name}: weight must be {names} with {n} lengths, got {weight.shape}")
    groups = operator.index(groups)
    channels = weight.shape[1] * groups if out_first else weight.shape[0]
    if groups < 1 or x.shape[1] != channels or weight.shape[0] % groups:
        raise ShapeError(
            f"{name}: x of shape {x.shape} has {x.shape[1]} channels, which do not fit a weight "
            f"{names} of shape {weight.shape} in {groups} groups"
        )


def _add_bias(name: str, y, bias):
    if bias is None:
        return y
    if bias.shape != y.shape[1:2]:
        raise ShapeError(f"{name}: bias must be ({y.shape[1]},), got {bias.shape}")
    return y + reshape(bias, shape=(-1, *(1,) * (y.ndim - 2)))


# ------------------------------------------------------------------------------ convolution


def _grouped(x, groups: int):
    """x (N, C, *lengths) as (groups, C / groups, N, *lengths)."""
    x = reshape(x, shape=(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    return transpose(x, axes=(1, 2, 0, *range(3, x.ndim)))


def _conv(name: str, n: int, x, weight, bias, stride, padding, dilation, groups):
    x, alone = with_batch(name, x, n)
    _check_channels(name, x, weight, groups, n, out_first=True)
    kernel, out = weight.shape[2:], weight.shape[0]
    stride = per_axis(name, "stride", stride, n)
    dilation = per_axis(name, "dilation", dilation, n)
    widths = _padding(name, padding, kernel, stride, dilation)
    if any(map(any, widths)):
        x = pad(x, pad_width=((0, 0), (0, 0), *widths))
    counts = window_counts(name, x.shape[2:], kernel, stride, dilation)

    # The matrices: (groups, out / groups, seen) times (groups, seen, places).
    seen, places = math.prod(weight.shape[1:]), x.shape[0] * math.prod(counts)
    columns = all_windows(_grouped(x, groups), kernel, counts, stride, dilation)
    columns = reshape(columns, shape=(groups, seen, places))
    y = matmul(reshape(weight, shape=(groups, out // groups, seen)), columns)
    y = swapaxes(reshape(y, shape=(out, x.shape[0], *counts)), axis1=0, axis2=1)
    y = _add_bias(name, y, bias)
    return y[0] if alone else y


def _padding(name: str, padding, kernel, stride, dilation) -> tuple[tuple[int, int], ...]:
    """How many zeros come before and after along each axis."""
    if not isinstance(padding, str):
        return tuple((p, p) for p in per_axis(name, "padding", padding, len(kernel), least=0))
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise ValueError(
            f"{name}: padding must be 'same', 'valid', an int or a tuple of them, got {padding!r}"
        )
    if any(s != 1 for s in stride):
        raise ShapeError(f"{name}: padding='same' needs stride 1, got {stride}; give the padding")
    return tuple(((r - 1) // 2, r // 2) for r in reach_of(kernel, dilation))


@op
def conv1d(xp, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """The products of the kernels with what they see of `x` as they move along its last axis.

    Args:
        x: (N, C, L) or (C, L).
        weight: (out, C / groups, kernel), applied without reversing it.
        bias: (out,) or None.
        stride: how far a kernel moves from one place to the next.
        padding: zeros on both sides; 'valid' for none, 'same' for as many as give the result the
            length of `x` (the odd one at the end), with stride 1.
        dilation: the distance of neighbouring kernel elements.
        groups: the channels are taken in that many groups, each with its own part of `out`.

    Returns:
        (N, out, places) with `(L + 2 padding - dilation (kernel - 1) - 1) // stride + 1` places.

    Raises:
        ShapeError: channels, groups and weight do not fit, or the kernel is longer than the input.
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


@op
def conv2d(xp, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """The products of the kernels with what they see of `x` as they move over its last two axes.

    Args:
        x: (N, C, H, W) or (C, H, W).
        weight: (out, C / groups, kernel height, kernel width).

    The others, and what is raised, as for `conv1d`; `stride`, `padding` and `dilation` may be
    tuples of one number for each axis.
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


@op
def conv3d(xp, x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """The products of the kernels with what they see of `x` as they move over its last three axes.

    Args:
        x: (N, C, D, H, W) or (C, D, H, W).
        weight: (out, C / groups, *kernel).

    The others, and what is raised, as for `conv2d`.
    """
    return _conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


# ------------------------------------------------------------------- transposed convolution


def _conv_transpose(
    name: str, n: int, x, weight, bias, stride, padding, output_padding, groups, dilation
):
    x, alone = with_batch(name, x, n)
    _check_channels(name, x, weight, groups, n, out_first=False)
    kernel, out = weight.shape[2:], weight.shape[1] * groups
    stride = per_axis(name, "stride", stride, n)
    dilation = per_axis(name, "dilation", dilation, n)
    padding = per_axis(name, "padding", padding, n, least=0)
    extra = per_axis(name, "output_padding", output_padding, n, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(
            f"{name}: output_padding must be smaller than stride or dilation, got {extra} with "
            f"stride {stride} and dilation {dilation}"
        )
    counts, reach = x.shape[2:], reach_of(kernel, dilation)
    lengths = [(c - 1) * s + r + e for c, s, r, e in zip(counts, stride, reach, extra, strict=True)]
    if 0 in counts or any(l <= 2 * p for l, p in zip(lengths, padding, strict=True)):
        raise ShapeError(
            f"{name}: nothing is left of {tuple(lengths)} elements without the padding {padding} "
            f"on both sides (x has shape {x.shape})"
        )

    # The matrices: (groups, seen, in / groups) times (groups, in / groups, places).
    batch, each = x.shape[0], x.shape[1] // groups
    seen, places = math.prod(weight.shape[1:]), batch * math.prod(counts)
    rows = swapaxes(reshape(weight, shape=(groups, each, seen)), axis1=1, axis2=2)
    columns = matmul(rows, reshape(_grouped(x, groups), shape=(groups, each, places)))
    columns = reshape(columns, shape=(groups, out // groups, *kernel, batch, *counts))
    y = sum_all_windows(columns, lengths, stride, dilation)
    y = swapaxes(reshape(y, shape=(out, batch, *lengths)), axis1=0, axis2=1)
    y = _add_bias(name, _crop(y, padding), bias)
    return y[0] if alone else y


def _crop(x, padding):
    """`x` without what was padded at both ends of its last axes."""
    if not any(padding):
        return x
    lengths = x.shape[x.ndim - len(padding) :]
    return x[(..., *(slice(p, n - p) for p, n in zip(padding, lengths, strict=True)))]


@op
def conv_transpose1d(
    xp, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """What takes gradients back through `conv1d`, as a layer: each element of `x` adds a kernel.

    Args:
        x: (N, C, L) or (C, L).
        weight: (C, out / groups, kernel).
        bias: (out,) or None.
        stride, dilation, groups: as for `conv1d`.
        padding: how much is cut off at both ends, as the convolution would pad there.
        output_padding: how much longer the result is at its end; smaller than stride or dilation.

    Returns:
        (N, out, n) with `n = (L - 1) stride - 2 padding + dilation (kernel - 1) + 1 +
        output_padding`.

    Raises:
        ShapeError: channels, groups and weight do not fit, or the result would be empty.
    """
    return _conv_transpose(
        "conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


@op
def conv_transpose2d(
    xp, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """What takes gradients back through `conv2d`, as a layer: each element of `x` adds a kernel.

    Args:
        x: (N, C, H, W) or (C, H, W).
        weight: (C, out / groups, kernel height, kernel width).

    The others, and what is raised, as for `conv_transpose1d`; tuples give one number for each axis.
    """
    return _conv_transpose(
        "conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


@op
def conv_transpose3d(
    xp, x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """What takes gradients back through `conv3d`, as a layer: each element of `x` adds a kernel.

    Args:
        x: (N, C, D, H, W) or (C, D, H, W).
        weight: (C, out / groups, *kernel).

    The others, and what is raised, as for `conv_transpose2d`.
    """
    return _conv_transpose(
        "conv_transpose3d", 3, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


# --------------------------------------------------------------------------- unfold and fold


@op
def unfold(xp, x, *, kernel_size, dilation=1, padding=0, stride=1):
    """What a kernel sees at each of its places, as columns: (N, C * kernel elements, places).

    Args:
        x: (N, C, H, W), or (C, H, W) for a result without the first axis.
        kernel_size, dilation, padding, stride: an int, or one for each of the two axes.

    Raises:
        ShapeError: the kernel is larger than the padded input.
    """
    x, alone = with_batch("unfold", x, 2)
    kernel = per_axis("unfold", "kernel_size", kernel_size, 2)
    stride = per_axis("unfold", "stride", stride, 2)
    dilation = per_axis("unfold", "dilation", dilation, 2)
    p, q = per_axis("unfold", "padding", padding, 2, least=0)
    x = pad(x, pad_width=((0, 0), (0, 0), (p, p), (q, q))) if p or q else x
    counts = window_counts("unfold", x.shape[2:], kernel, stride, dilation)
    y = all_windows(x, kernel, counts, stride, dilation)
    y = reshape(y, shape=(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(counts)))
    return y[0] if alone else y


@op
def fold(xp, x, *, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The columns of `unfold` put back into an image, added up where they overlap: (N, C, H, W).

    Args:
        x: (N, C * kernel elements, places), or without the first axis.
        output_size: (H, W), or an int for both.
        kernel_size, dilation, padding, stride: as for `unfold`.

    Raises:
        ShapeError: `x` is not what `unfold` gives for such an image.
    """
    if x.ndim not in (2, 3):
        raise ShapeError(
            f"fold: x must be (N, C * kernel, places) or (C * kernel, places), got {x.shape}"
        )
    x, alone = (x, False) if x.ndim == 3 else (reshape(x, shape=(1, *x.shape)), True)
    kernel = per_axis("fold", "kernel_size", kernel_size, 2)
    stride = per_axis("fold", "stride", stride, 2)
    dilation = per_axis("fold", "dilation", dilation, 2)
    padding = per_axis("fold", "padding", padding, 2, least=0)
    size = per_axis("fold", "output_size", output_size, 2)
    lengths = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    counts = window_counts("fold", lengths, kernel, stride, dilation)
    channels, rest = divmod(x.shape[1], math.prod(kernel))
    if rest or x.shape[2] != math.prod(counts):
        raise ShapeError(
            f"fold: for images of {size} and kernels of {kernel}, x must be (N, "
            f"{math.prod(kernel)} * C, {math.prod(counts)}), got {x.shape}"
        )
    x = reshape(x, shape=(x.shape[0], channels, *kernel, *counts))
    y = _crop(sum_all_windows(x, lengths, stride, dilation), padding)
    return y[0] if alone else y
