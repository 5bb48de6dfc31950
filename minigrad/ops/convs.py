"""Convolution: what the kernel sees, in the columns of a matrix, times the kernel.

Two ops carry it. `_windows` puts what a kernel sees along one axis into an axis of its own;
`_sum_windows` puts such windows back where they came from, and adds them up where they overlap.
Each is the gradient of the other. Axis after axis, the last one first, they make the columns:

    convolution              pad,              _windows,       product with the weight
    transposed convolution   product with the weight,          _sum_windows,    crop

so that the second is the gradient of the first, and derivatives of every order follow. Half
precision is multiplied and summed in float32 (see `matmul`).
"""

import math
import operator

from minigrad.autodiff import op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import is_half
from minigrad.ops.products import matmul
from minigrad.ops.shaping import pad, reshape, swapaxes, transpose

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "fold", "unfold",
]  # fmt: skip

# -------------------------------------------------------------------------------- windows


def _seen(axis: int, start: int, count: int, stride: int) -> tuple:
    """The index of what `count` windows have at one place: `start`, and then every `stride`."""
    stop = start + (count - 1) * stride + 1
    return (..., slice(start, stop, stride), *(slice(None),) * (-axis - 1))


@primitive(kernel="windows.windows")
def _windows(xp, x, *, axis, size, count, stride=1, dilation=1):
    """`count` windows of `size` elements along `axis`, which is counted from the end.

    Of x (A, B, ..., L, ...) it gives (A, B, size, ..., count, ...): element i of window j is
    `x[j * stride + i * dilation]`.
    """
    shape = list(x.shape)
    shape[axis] = count
    y = xp.zeros((*shape[:2], size, *shape[2:]), x.dtype)  # in C order, so that it can be a matrix
    for i in range(size):
        y[:, :, i] = x[_seen(axis, i * dilation, count, stride)]
    return y


@primitive(kernel="windows.sum_windows")
def _sum_windows(xp, g, *, axis, length, stride=1, dilation=1):
    """Zeros of `length` along `axis` with all windows added in: the adjoint of `_windows`."""
    count = g.shape[axis]
    shape = [*g.shape[:2], *g.shape[3:]]
    shape[axis] = length
    y = xp.zeros(tuple(shape), "float32" if is_half(g.dtype) else g.dtype)
    for i in range(g.shape[2]):
        y[_seen(axis, i * dilation, count, stride)] += g[:, :, i]
    return y.astype(g.dtype) if is_half(g.dtype) else y


@_windows.vjp
def _(g, _y, _x, *, axis, size, count, stride=1, dilation=1):
    return _sum_windows(g, axis=axis, length=_x.shape[axis], stride=stride, dilation=dilation)


@_sum_windows.vjp
def _(gg, _y, _g, *, axis, length, stride=1, dilation=1):
    return _windows(
        gg, axis=axis, size=_g.shape[2], count=_g.shape[axis], stride=stride, dilation=dilation
    )


def _all_windows(x, kernel, counts, stride, dilation):
    """`_windows` along the last axes: (A, B, ..., *L) becomes (A, B, *kernel, ..., *counts)."""
    for a in range(-1, -len(kernel) - 1, -1):
        x = _windows(
            x, axis=a, size=kernel[a], count=counts[a], stride=stride[a], dilation=dilation[a]
        )
    return x


def _sum_all_windows(g, lengths, stride, dilation):
    """The adjoint: (A, B, *kernel, ..., *counts) becomes (A, B, ..., *lengths)."""
    for a in range(-len(lengths), 0):
        g = _sum_windows(g, axis=a, length=lengths[a], stride=stride[a], dilation=dilation[a])
    return g


# ------------------------------------------------------------------------------- arguments


def _each(name: str, what: str, value, n: int, least: int = 1) -> tuple[int, ...]:
    """One int for each of `n` axes, from an int or a sequence of `n` or of one."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    try:
        if bool in map(type, values):  # who passes one has mistaken an argument for another
            raise TypeError
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(
            f"{name}: {what} must be an int or a tuple of them, got {value!r}"
        ) from None
    values = values * n if len(values) == 1 else values
    if len(values) != n or any(v < least for v in values):
        raise ShapeError(
            f"{name}: {what} must be an int of at least {least}, or {n} of them, got {value}"
        )
    return values


def _batch(name: str, x, n: int) -> tuple:
    """`x` as (N, C, *lengths) with `n` lengths, and whether the batch axis had to be added."""
    if x.ndim not in (n + 1, n + 2):
        lengths = ", ".join("DHW"[-n:]) if n > 1 else "L"
        raise ShapeError(f"{name}: x must be (N, C, {lengths}) or (C, {lengths}), got {x.shape}")
    return (x, False) if x.ndim == n + 2 else (reshape(x, shape=(1, *x.shape)), True)


def _reach(kernel, dilation) -> tuple[int, ...]:
    """How many elements a kernel spans along each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def _counts(name: str, lengths, kernel, stride, dilation) -> tuple[int, ...]:
    """How many windows there are along each axis of a padded input."""
    reach = _reach(kernel, dilation)
    if any(r > n for r, n in zip(reach, lengths, strict=True)):
        raise ShapeError(
            f"{name}: the kernel spans {reach} elements, which is more than the padded input of "
            f"{tuple(lengths)}; give a larger input, more padding or a smaller kernel"
        )
    return tuple((n - r) // s + 1 for n, r, s in zip(lengths, reach, stride, strict=True))


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
    x, alone = _batch(name, x, n)
    _check_channels(name, x, weight, groups, n, out_first=True)
    kernel, out = weight.shape[2:], weight.shape[0]
    stride = _each(name, "stride", stride, n)
    dilation = _each(name, "dilation", dilation, n)
    widths = _padding(name, padding, kernel, stride, dilation)
    if any(map(any, widths)):
        x = pad(x, pad_width=((0, 0), (0, 0), *widths))
    counts = _counts(name, x.shape[2:], kernel, stride, dilation)

    # The matrices: (groups, out / groups, seen) times (groups, seen, places).
    seen, places = math.prod(weight.shape[1:]), x.shape[0] * math.prod(counts)
    columns = _all_windows(_grouped(x, groups), kernel, counts, stride, dilation)
    columns = reshape(columns, shape=(groups, seen, places))
    y = matmul(reshape(weight, shape=(groups, out // groups, seen)), columns)
    y = swapaxes(reshape(y, shape=(out, x.shape[0], *counts)), axis1=0, axis2=1)
    y = _add_bias(name, y, bias)
    return y[0] if alone else y


def _padding(name: str, padding, kernel, stride, dilation) -> tuple[tuple[int, int], ...]:
    """How many zeros come before and after along each axis."""
    if not isinstance(padding, str):
        return tuple((p, p) for p in _each(name, "padding", padding, len(kernel), least=0))
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise ValueError(
            f"{name}: padding must be 'same', 'valid', an int or a tuple of them, got {padding!r}"
        )
    if any(s != 1 for s in stride):
        raise ShapeError(f"{name}: padding='same' needs stride 1, got {stride}; give the padding")
    return tuple(((r - 1) // 2, r // 2) for r in _reach(kernel, dilation))


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
    x, alone = _batch(name, x, n)
    _check_channels(name, x, weight, groups, n, out_first=False)
    kernel, out = weight.shape[2:], weight.shape[1] * groups
    stride = _each(name, "stride", stride, n)
    dilation = _each(name, "dilation", dilation, n)
    padding = _each(name, "padding", padding, n, least=0)
    extra = _each(name, "output_padding", output_padding, n, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(
            f"{name}: output_padding must be smaller than stride or dilation, got {extra} with "
            f"stride {stride} and dilation {dilation}"
        )
    counts, reach = x.shape[2:], _reach(kernel, dilation)
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
    y = _sum_all_windows(columns, lengths, stride, dilation)
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
    x, alone = _batch("unfold", x, 2)
    kernel = _each("unfold", "kernel_size", kernel_size, 2)
    stride = _each("unfold", "stride", stride, 2)
    dilation = _each("unfold", "dilation", dilation, 2)
    p, q = _each("unfold", "padding", padding, 2, least=0)
    x = pad(x, pad_width=((0, 0), (0, 0), (p, p), (q, q))) if p or q else x
    counts = _counts("unfold", x.shape[2:], kernel, stride, dilation)
    y = _all_windows(x, kernel, counts, stride, dilation)
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
    kernel = _each("fold", "kernel_size", kernel_size, 2)
    stride = _each("fold", "stride", stride, 2)
    dilation = _each("fold", "dilation", dilation, 2)
    padding = _each("fold", "padding", padding, 2, least=0)
    size = _each("fold", "output_size", output_size, 2)
    lengths = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    counts = _counts("fold", lengths, kernel, stride, dilation)
    channels, rest = divmod(x.shape[1], math.prod(kernel))
    if rest or x.shape[2] != math.prod(counts):
        raise ShapeError(
            f"fold: for images of {size} and kernels of {kernel}, x must be (N, "
            f"{math.prod(kernel)} * C, {math.prod(counts)}), got {x.shape}"
        )
    x = reshape(x, shape=(x.shape[0], channels, *kernel, *counts))
    y = _crop(_sum_all_windows(x, lengths, stride, dilation), padding)
    return y[0] if alone else y
