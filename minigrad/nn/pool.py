"""Pooling: one number for each window."""

from typing import Any

from minigrad.autodiff import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import FunctionLayer

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d",
    "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d",
    "MaxUnpool3d", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d",
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
