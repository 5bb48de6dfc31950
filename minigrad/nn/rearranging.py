"""Layers that put the elements of images elsewhere: patches, pixels, channels."""

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn.module import FunctionLayer, Module

__all__ = ["ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold"]

Lengths = int | tuple[int, ...]


class Unfold(FunctionLayer):
    """All patches of images: (N, C, H, W) -> (N, C kernel, places).

    Args:
        kernel_size: of a patch; an int or one for each axis, as all of them.
        dilation: the distance of neighbours in a patch.
        padding: zeros on both sides.
        stride: from one patch to the next.
    """

    function = staticmethod(F.unfold)
    settings = ("kernel_size", "dilation", "padding", "stride")

    def __init__(
        self,
        kernel_size: Lengths,
        dilation: Lengths = 1,
        padding: Lengths = 0,
        stride: Lengths = 1,
    ):
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride


class Fold(FunctionLayer):
    """Images that are the sums of their patches: (N, C kernel, places) -> (N, C, H, W).

    Args:
        output_size: (H, W).

    The others as for `Unfold`, of which this is the adjoint.
    """

    function = staticmethod(F.fold)
    settings = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(
        self,
        output_size: Lengths,
        kernel_size: Lengths,
        dilation: Lengths = 1,
        padding: Lengths = 0,
        stride: Lengths = 1,
    ):
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride


class PixelShuffle(FunctionLayer):
    """Channels become pixels: (..., C r r, H, W) -> (..., C, H r, W r), r = `upscale_factor`."""

    function = staticmethod(F.pixel_shuffle)
    settings = ("upscale_factor",)

    def __init__(self, upscale_factor: int):
        self.upscale_factor = upscale_factor


class PixelUnshuffle(FunctionLayer):
    """Pixels become channels: (..., C, H r, W r) -> (..., C r r, H, W), r = `downscale_factor`."""

    function = staticmethod(F.pixel_unshuffle)
    settings = ("downscale_factor",)

    def __init__(self, downscale_factor: int):
        self.downscale_factor = downscale_factor


class ChannelShuffle(Module):
    """Channels of `groups` in turn: the first of each, then the second ... (arXiv 1707.01083).

    Raises:
        ValueError: `groups` is not positive.
    """

    def __init__(self, groups: int):
        if groups < 1:
            raise ValueError(f"ChannelShuffle: groups must be positive, got {groups}")
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) -> the same shape.

        Raises:
            ShapeError: `x` has no axes after its channels, or these do not divide into the groups.
        """
        if x.ndim < 3 or x.shape[1] % self.groups:
            raise ShapeError(
                f"ChannelShuffle: x must be (N, C, ...) with a multiple of {self.groups} "
                f"channels, got {x.shape}"
            )
        N, C, *lengths = x.shape
        grouped = ops.reshape(x, shape=(N, self.groups, C // self.groups, *lengths))
        return ops.reshape(ops.swapaxes(grouped, axis1=1, axis2=2), shape=x.shape)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
