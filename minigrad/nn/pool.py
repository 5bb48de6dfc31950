"""Pooling: one number for each window."""

import math
from typing import Any

import numpy as np

from minigrad import ops, random
from minigrad.autodiff import Tensor, on_device_of
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn.conv import check_channels
from minigrad.nn.module import FunctionLayer, Module
from minigrad.ops.windows import per_axis

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d",
]  # fmt: skip

Lengths = int | tuple[int, ...]
Wanted = int | None | tuple[int | None, ...]


class _Pool(FunctionLayer):
    def forward(self, x: Tensor) -> Any:
        """x: (N, C, ...) or (C, ...) -> the same with other lengths."""
        return super().forward(x)


class _MaxPool(_Pool):
    settings = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")

    def __init__(
        self,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        padding: Lengths = 0,
        dilation: Lengths = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.ceil_mode, self.return_indices = ceil_mode, return_indices


class MaxPool1d(_MaxPool):
    """The largest element of each window along the last axis: (N, C, L) -> (N, C, windows).

    Args:
        kernel_size: how many elements a window has.
        stride: from one window to the next; `kernel_size` by default.
        padding: places that count as minus infinity, on both sides; at most half of the kernel.
        dilation: the distance of neighbours in a window.
        return_indices: give a pair, the second one the places of what was found.
        ceil_mode: let the last window end beyond the input.
    """

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window over the last two axes; arguments as for `MaxPool1d`."""

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window over the last three axes; arguments as for `MaxPool1d`."""

    function = staticmethod(F.max_pool3d)


class _MaxUnpool(FunctionLayer):
    settings = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Lengths, stride: Lengths | None = None, padding: Lengths = 0):
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(  # type: ignore[override]
        self, x: Tensor, indices: Any, output_size: Any = None
    ) -> Tensor:
        """x: (N, C, ...) or (C, ...) -> the same with the lengths from before the pooling.

        Args:
            indices: the places that pooling gave with `return_indices`.
            output_size: the lengths, where several lead to those of `x`.
        """
        if type(output_size) is Tensor:  # a list came
            output_size = output_size.tolist()
        return type(self).function(x, indices, **self._settings(), output_size=output_size)


class MaxUnpool1d(_MaxUnpool):
    """The way back of `MaxPool1d`: what it found, at the places where it was; zeros elsewhere.

    Args:
        kernel_size, stride, padding: those of the pooling.
    """

    function = staticmethod(lambda *args, **options: F.max_unpool1d(*args, **options))


class MaxUnpool2d(_MaxUnpool):
    """The way back of `MaxPool2d`; see `MaxUnpool1d`."""

    function = staticmethod(lambda *args, **options: F.max_unpool2d(*args, **options))


class MaxUnpool3d(_MaxUnpool):
    """The way back of `MaxPool3d`; see `MaxUnpool1d`."""

    function = staticmethod(lambda *args, **options: F.max_unpool3d(*args, **options))


class AvgPool1d(_Pool):
    """The mean of each window along the last axis: (N, C, L) -> (N, C, windows).

    Args:
        kernel_size, stride, ceil_mode: as for `MaxPool1d`.
        padding: zeros on both sides.
        count_include_pad: whether they count as elements.
    """

    function = staticmethod(F.avg_pool1d)
    settings: tuple[str, ...] = (
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"
    )  # fmt: skip

    def __init__(
        self,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        padding: Lengths = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad = count_include_pad


class AvgPool2d(AvgPool1d):
    """The mean of each window over the last two axes; arguments as for `AvgPool1d`.

    Args:
        divisor_override: what sums are divided by, in place of the number of elements.
    """

    function = staticmethod(F.avg_pool2d)
    settings = (*AvgPool1d.settings, "divisor_override")

    def __init__(
        self,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        padding: Lengths = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override


class AvgPool3d(AvgPool2d):
    """The mean of each window over the last three axes; arguments as for `AvgPool2d`."""

    function = staticmethod(F.avg_pool3d)


class _LPPool(_Pool):
    settings = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self,
        norm_type: float,
        kernel_size: Lengths,
        stride: Lengths | None = None,
        ceil_mode: bool = False,
    ):
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode


class LPPool1d(_LPPool):
    """The p-norm of each window along the last axis.

    Args:
        norm_type: p.
        kernel_size, stride, ceil_mode: as for `MaxPool1d`.
    """

    function = staticmethod(lambda *args, **options: F.lp_pool1d(*args, **options))


class LPPool2d(_LPPool):
    """The p-norm of each window over the last two axes; arguments as for `LPPool1d`."""

    function = staticmethod(lambda *args, **options: F.lp_pool2d(*args, **options))


class LPPool3d(_LPPool):
    """The p-norm of each window over the last three axes; arguments as for `LPPool1d`."""

    function = staticmethod(lambda *args, **options: F.lp_pool3d(*args, **options))


class _AdaptiveAvgPool(_Pool):
    settings = ("output_size",)

    def __init__(self, output_size: Wanted):
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows that share the last axis, whatever its length.

    Args:
        output_size: an int; for more axes one for all or one for each, None for that of the input.
    """

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that share the last two axes; see `AdaptiveAvgPool1d`."""

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of windows that share the last three axes; see `AdaptiveAvgPool1d`."""

    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_Pool):
    settings = ("output_size", "return_indices")

    def __init__(self, output_size: Wanted, return_indices: bool = False):
        self.output_size, self.return_indices = output_size, return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of each of `output_size` windows that share the last axis.

    Args:
        output_size: as for `AdaptiveAvgPool1d`.
        return_indices: give a pair, the second one the places of what was found.
    """

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of each of the windows that share the last two axes; see `AdaptiveMaxPool1d`."""

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of each of the windows that share the last three; see `AdaptiveMaxPool1d`."""

    function = staticmethod(F.adaptive_max_pool3d)


class _FractionalMaxPool(Module):
    """What the layers share: windows that are spread over the input at random.

    Raises:
        ValueError: not one of `output_size` and `output_ratio` is given, or a ratio is not in (0,
            1).
    """

    axes = 2
    _random_samples: Any

    def __init__(
        self,
        kernel_size: Lengths,
        output_size: Lengths | None = None,
        output_ratio: float | tuple[float, ...] | None = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ):
        name, n = type(self).__name__, type(self).axes
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{name}: give either output_size or output_ratio")
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, n)
        self.output_size: tuple[int, ...] | None = None
        if output_size is not None:
            self.output_size = per_axis(name, "output_size", output_size, n)
        if isinstance(output_ratio, int | float):
            output_ratio = (output_ratio,) * n
        if output_ratio and (len(output_ratio) != n or not all(0 < r < 1 for r in output_ratio)):
            raise ValueError(f"{name}: output_ratio must be between 0 and 1, got {output_ratio}")
        self.output_ratio, self.return_indices = output_ratio, return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, x: Tensor) -> Any:
        """x: (N, C, ...) or (C, ...) -> the same with other lengths; or that and indices.

        Raises:
            ShapeError: so many windows do not fit `x`.
        """
        n = type(self).axes
        channels: Any = x.shape[-n - 1] if x.ndim > n else "C"
        check_channels(type(self).__name__, x, channels, n)
        if alone := x.ndim == n + 1:
            x = x[None]
        (N, C), lengths = x.shape[:2], x.shape[2:]
        counts = self.output_size or tuple(
            int(m * r) for m, r in zip(lengths, self.output_ratio or (), strict=True)
        )
        if any(
            not 1 <= count <= length - k + 1
            for count, k, length in zip(counts, self.kernel_size, lengths, strict=True)
        ):
            raise ShapeError(
                f"{type(self).__name__}: {counts} windows of {self.kernel_size} do not fit "
                f"x of shape {x.shape}"
            )
        u = self._random_samples
        if u is None:  # one number for each channel and axis
            one = ops.zeros_like(x[(slice(None), slice(None), *[0] * (n - 1), slice(1))])
            like = ops.stop_gradient(ops.broadcast_to(one, shape=(N, C, n)))
            u = F._uniform_beside(like, random.next_key(), low=0.0, high=1.0)
            u = ops.astype(u, dtype=x.dtype)
        places: Any = 0  # (N, C, windows of each axis, elements of each axis)
        for a, (count, k, length) in enumerate(zip(counts, self.kernel_size, lengths, strict=True)):
            own = u[..., 1 - a if n == 2 else a, None]  # PyTorch has width first, but in 3-d last
            at = _starts(own, count, length - k)[..., None] + on_device_of([x], np.arange(k))
            around = [N, C, *[1] * (2 * n)]
            around[2 + a], around[2 + n + a] = count, k
            places = places * length + ops.reshape(at, shape=tuple(around))
        shape = (N, C, math.prod(counts), math.prod(self.kernel_size))
        places = ops.reshape(places, shape=shape)
        flat = ops.reshape(x, shape=(N, C, math.prod(lengths)))
        found = ops.take_along_axis(flat, ops.reshape(places, shape=(N, C, -1)), axis=2)
        found = ops.reshape(found, shape=shape)
        largest = ops.argmax(found, axis=-1)[..., None]
        y, ids = (
            ops.reshape(ops.take_along_axis(v, largest, axis=-1), shape=(N, C, *counts))
            for v in (found, places)
        )
        if alone:
            y, ids = y[0], ids[0]
        return (y, ids) if self.return_indices else y

    def extra_repr(self) -> str:
        name = "output_ratio" if self.output_size is None else "output_size"
        size = f"{name}={getattr(self, name)}"
        return f"kernel_size={self.kernel_size}, {size}, return_indices={self.return_indices}"


def _starts(u: Tensor, count: int, last: int) -> Tensor:
    """(..., count) where windows begin: from 0 to `last`, in steps that differ by 1 at most."""
    u = ops.stop_gradient(u)
    i = on_device_of([u], np.arange(count).astype(u.dtype))
    step = on_device_of([u], np.asarray(last / max(count - 1, 1), u.dtype))
    starts = ops.floor((u + i) * step) - ops.floor(u * step)
    starts = ops.where(on_device_of([u], np.arange(count) == count - 1), last, starts)
    return ops.astype(starts, dtype="int64")


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of each of a given number of windows whose distances are drawn.

    (Graham, "Fractional max-pooling", arXiv 1412.6071.) For each channel of each example and each
    axis one number is drawn from the next key of the current stream, in use as in training.

    Args:
        kernel_size: of a window; an int or one for each axis.
        output_size: how many windows there are; or
        output_ratio: that as a part of the input's lengths.
        return_indices: give a pair, the second one the places of what was found.
    """


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest of windows whose distances are drawn, over three axes; see
    `FractionalMaxPool2d`.
    """

    axes = 3


class Upsample(FunctionLayer):
    """The input over a finer grid: (N, C, ...) with longer lengths; see `mg.interpolate`.

    Args:
        size: the new lengths; or
        scale_factor: by how much each grows.
        mode: 'nearest', 'nearest-exact', 'linear', 'bilinear' or 'trilinear'.
        align_corners: whether the ends of old and new grid are the middles of their outer elements.
        recompute_scale_factor: take the ratio of the lengths in place of `scale_factor` itself.
    """

    function = staticmethod(F.interpolate)
    settings = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")

    def __init__(
        self,
        size: Lengths | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) -> the same with other lengths."""
        return super().forward(x)

    def extra_repr(self) -> str:
        size = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """The nearest elements of (N, C, H, W); arguments as for `Upsample`."""

    def __init__(
        self,
        size: Lengths | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
    ):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """(N, C, H, W) blended bilinearly, corners aligned; arguments as for `Upsample`."""

    def __init__(
        self,
        size: Lengths | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
    ):
        super().__init__(size, scale_factor, "bilinear", True)
