"""Convolutions, and what takes their gradients back as layers of its own.

Letters: N examples, C channels, and the lengths L, (H, W) or (D, H, W).
"""

import math
from typing import Any

from minigrad import ops
from minigrad.arguments import count
from minigrad.autodiff import Tensor
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module
from minigrad.ops.windows import per_axis

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
]  # fmt: skip

Lengths = int | tuple[int, ...]

_PAD_MODES = ("zeros", "reflect", "replicate", "circular")


def check_channels(name: str, x: Any, channels: int, n: int, alone: bool = True) -> None:
    """Raise unless `x` is (N, channels, *lengths) with `n` lengths; without N too, if `alone`.

    The message says what the shape looks like.

    Raises:
        ShapeError: it is not.
    """
    lengths = {0: "", 1: ", L", 2: ", H, W", 3: ", D, H, W"}[n]
    channel_axis = x.ndim - n - 1
    if channel_axis not in ((0, 1) if alone else (1,)):
        wanted = f"(N, {channels}{lengths})" + (f" or ({channels}{lengths})" if alone else "")
        raise ShapeError(f"{name}: x must be {wanted}, got {x.shape}")
    if x.shape[channel_axis] == channels:
        return
    hint = ""
    if n and x.shape[-1] == channels:
        order = (0, x.ndim - 1, *range(1, x.ndim - 1)) if channel_axis else (x.ndim - 1, *range(n))
        with_batch = "(N" if channel_axis else "("
        last = f"{with_batch}{lengths}, C)".replace("(, ", "(")
        first = f"{with_batch}, C{lengths})".replace("(, ", "(")
        hint = f"; it looks like channels last, {last}: x.transpose{order} makes it {first}"
    elif n and channels == 1 and channel_axis == 0:
        hint = "; it looks like a batch without the axis of channels: x[:, None] adds it"
    raise ShapeError(
        f"{name}: x must have {channels} channels at axis {channel_axis}, got "
        f"{x.shape[channel_axis]} in {x.shape}{hint}"
    )


class _Convolution(Module):
    """What convolutions and transposed ones share: the arguments, and their first values."""

    n = 0  # how many lengths

    def _prepare(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
        padding_mode, transposed, dtype,
    ):  # fmt: skip
        name = type(self).__name__
        if padding_mode not in (("zeros",) if transposed else _PAD_MODES):
            raise ValueError(
                f"{name}: padding_mode must be "
                f"{'zeros' if transposed else f'one of {_PAD_MODES}'}, got {padding_mode!r}"
            )
        self.in_channels = count(name, "in_channels", in_channels, least=0)
        self.out_channels = count(name, "out_channels", out_channels, least=0)
        self.groups = count(name, "groups", groups)
        if self.in_channels % groups or self.out_channels % groups:
            raise ShapeError(
                f"{name}: in_channels and out_channels must be multiples of groups, got "
                f"{in_channels}, {out_channels} and {groups}"
            )
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, type(self).n)
        self.stride = per_axis(name, "stride", stride, type(self).n)
        self.dilation = per_axis(name, "dilation", dilation, type(self).n)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"{name}: padding must be 'same', 'valid', an int or a tuple of them, got "
                    f"{padding!r}"
                )
            if padding == "same" and set(self.stride) != {1}:
                raise ShapeError(f"{name}: padding='same' needs stride 1, got {stride}")
            self.padding = padding
        else:
            self.padding = per_axis(name, "padding", padding, type(self).n, least=0)
        self.padding_mode = padding_mode
        channels = (self.in_channels, self.out_channels)
        first, second = channels if transposed else channels[::-1]
        shape = (first, second // self.groups, *self.kernel_size)
        bound = init.fan_in_bound(math.prod(shape[1:]))
        self.weight = init.uniform(shape, bound, dtype)
        self.bias = init.uniform((self.out_channels,), bound, dtype) if bias else None

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        usual = {
            "padding": (0,) * type(self).n,
            "output_padding": (0,) * type(self).n,
            "dilation": (1,) * type(self).n,
            "groups": 1,
            "padding_mode": "zeros",
        }
        for what, value in usual.items():
            if (mine := getattr(self, what, value)) != value:
                parts.append(f"{what}={mine}")
        return ", ".join(parts) + ("" if self.bias is not None else ", bias=False")


class _Conv(_Convolution):
    """Kernels that move over the input; see the subclasses."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Lengths | str = 0,
        dilation: Lengths = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: str = "float32",
    ):
        self._prepare(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, False, dtype,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_channels, ...) or (in_channels, ...) -> the same with out_channels."""
        check_channels(type(self).__name__, x, self.in_channels, type(self).n)
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(x), 0
        conv = (ops.conv1d, ops.conv2d, ops.conv3d)[type(self).n - 1]
        return conv(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def _padded(self, x):
        """`x` with more of itself around it, as `padding_mode` says."""
        widths = []
        for i in range(type(self).n):
            if self.padding == "same":
                total = (self.kernel_size[i] - 1) * self.dilation[i]
                widths.append((total // 2, total - total // 2))
            else:
                widths.append((0, 0) if self.padding == "valid" else (self.padding[i],) * 2)
        return F.pad(x, [w for pair in reversed(widths) for w in pair], mode=self.padding_mode)


class Conv1d(_Conv):
    """Learned kernels that move along the last axis: (N, C, L) -> (N, out_channels, places).

    An input of (C, L) alone is taken too.

    Args:
        in_channels, out_channels: how many the input and the result have.
        kernel_size: how many elements a kernel sees; for more axes an int or one for each.
        stride: how far a kernel moves from one place to the next.
        padding: zeros on both sides; 'valid' for none, 'same' for the length of the input.
        dilation: the distance of neighbouring elements of a kernel.
        groups: the channels are taken in that many groups, each with its own part of the result.
        bias: whether there is one.
        padding_mode: 'zeros'; or 'reflect', 'replicate', 'circular' for more of the input itself.

    Attributes:
        weight: (out_channels, in_channels / groups, *kernel_size), uniform within 1/sqrt(fan_in).
        bias: (out_channels,), likewise, or None.

    Raises:
        ShapeError: channels and groups do not fit each other, or the input.
    """

    n = 1


class Conv2d(_Conv):
    """Learned kernels that move over the last two axes: (N, C, H, W) -> (N, out_channels, ...).

    Arguments, attributes and errors are those of `Conv1d`; an int stands for both axes.
    """

    n = 2


class Conv3d(_Conv):
    """Learned kernels that move over the last three axes of (N, C, D, H, W).

    Arguments, attributes and errors are those of `Conv1d`; an int stands for all axes.
    """

    n = 3


class _ConvTranspose(_Convolution):
    """Each element of the input adds a kernel to the result; see the subclasses.

    Raises:
        TypeError: `padding` is a string.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Lengths = 0,
        output_padding: Lengths = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Lengths = 1,
        padding_mode: str = "zeros",
        dtype: str = "float32",
    ):
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__}: padding must be an int, got {padding!r}")
        self._prepare(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, True, dtype,
        )  # fmt: skip
        name = type(self).__name__
        self.output_padding = per_axis(
            name, "output_padding", output_padding, type(self).n, least=0
        )

    def forward(self, x: Tensor, output_size: Lengths | None = None) -> Tensor:
        """x: (N, in_channels, ...) or (in_channels, ...) -> the same with out_channels.

        Args:
            output_size: the lengths of the result, where a stride leaves several possible, or its
                whole shape; in place of `output_padding`.
        """
        check_channels(type(self).__name__, x, self.in_channels, type(self).n)
        extra = self.output_padding if output_size is None else self._extra(x, output_size)
        conv = (ops.conv_transpose1d, ops.conv_transpose2d, ops.conv_transpose3d)[type(self).n - 1]
        return conv(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=extra,
            groups=self.groups,
            dilation=self.dilation,
        )

    def _extra(self, x, output_size):
        """The output padding that gives the result the lengths `output_size`."""
        name = type(self).__name__
        if type(output_size) is Tensor:  # a list came
            output_size = output_size.data.tolist()
        wanted = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,)
        n = type(self).n
        wanted = per_axis(name, "output_size", wanted[-n:], n)
        least = [
            (length - 1) * s - 2 * p + d * (k - 1) + 1
            for length, s, p, d, k in zip(
                x.shape[-n:], self.stride, self.padding, self.dilation, self.kernel_size,
                strict=True,
            )
        ]  # fmt: skip
        extra = tuple(w - l for w, l in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = [l + s - 1 for l, s in zip(least, self.stride, strict=True)]
            raise ShapeError(
                f"{name}: output_size must be from {tuple(least)} to {tuple(most)} for x of shape "
                f"{x.shape}, got {wanted}"
            )
        return extra


class ConvTranspose1d(_ConvTranspose):
    """Each element adds a learned kernel to the result: (N, C, L) -> (N, out_channels, more).

    It is the adjoint of a `Conv1d` of the same arguments: what takes its gradients back.

    Args:
        in_channels, out_channels, kernel_size, groups, bias, dilation: as for `Conv1d`.
        stride: how far the kernels of neighbouring elements are apart.
        padding: how much of the result is cut off on both sides.
        output_padding: how much is added at its end, below `stride` or `dilation`.

    Attributes:
        weight: (in_channels, out_channels / groups, *kernel_size), uniform within 1/sqrt(fan_in),
            where fan_in is what PyTorch takes for it: out_channels / groups times the kernel.
        bias: (out_channels,), likewise, or None.

    Raises:
        ShapeError: channels and groups do not fit each other, or the input.
    """

    n = 1


class ConvTranspose2d(_ConvTranspose):
    """Each element adds a learned kernel to the result: (N, C, H, W) -> (N, out_channels, ...).

    Arguments, attributes and errors are those of `ConvTranspose1d`; an int stands for both axes.
    """

    n = 2


class ConvTranspose3d(_ConvTranspose):
    """Each element adds a learned kernel to the result: (N, C, D, H, W) -> (N, out_channels, ...).

    Arguments, attributes and errors are those of `ConvTranspose1d`; an int stands for all axes.
    """

    n = 3
