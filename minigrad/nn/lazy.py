"""Layers that find out how many features or channels come in, at their first call.

Until then such a layer has no parameters: whoever asks for them is told to call the model once.
From then on it is the plain layer, also by its class.
"""

import threading
from typing import Any

from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import refuse_while_capturing
from minigrad.errors import ShapeError
from minigrad.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Lengths,
    check_channels,
)  # fmt: skip
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module
from minigrad.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)  # fmt: skip

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
]  # fmt: skip

_making = threading.Lock()  # two threads may come with a first call


class _Lazy(Module):
    """What the lazy layers share: how they become the plain layer.

    Attributes:
        becomes: the plain class, whose first argument is what is not known yet.
        owes: arrays that it will have, of which one tells that argument; see `_told_by`.
    """

    becomes: type[Module]
    owes: tuple[str, ...] = ("weight", "bias")

    def _prepare_lazily(self, least: int, **arguments: Any) -> None:
        """Keep the arguments of the plain layer, which are tried on a small one."""
        with random.stream(0):  # a stream of its own: the caller's is not used up
            type(self).becomes(least, **arguments)  # type: ignore[call-arg]
        self._arguments = arguments

    @property
    def unmade(self) -> bool:  # type: ignore[override]
        return True

    def _make(self, count: int) -> None:
        """Become the plain layer for so many features or channels."""
        refuse_while_capturing(
            f"a {type(self).__name__}",
            "makes its parameters at its first call, which cannot be in a step that is captured; "
            "call the model once before",
        )
        with _making:
            if not isinstance(self, _Lazy):
                return
            plain = type(self).becomes(count, **self._arguments)  # type: ignore[call-arg]
            vars(self).update(vars(plain))
            self.__class__ = type(plain)  # type: ignore[assignment]
            del self._arguments

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the plain layer, which this one becomes."""
        self._make(self._count(x))
        return self.forward(x, *args, **kwargs)

    def make_from(self, state: Any, prefix: str) -> None:
        for name in type(self).owes:
            shape = getattr(state.get(prefix + name), "shape", ())
            if (count := self._told_by(name, tuple(shape))) is not None:
                return self._make(count)

    def _count(self, x: Tensor) -> int:
        """How many features or channels `x` has."""
        raise NotImplementedError

    def _told_by(self, name: str, shape: tuple[int, ...]) -> int | None:
        """How many there must be, if array `name` of a state has this shape."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name in type(self).owes:
            hint = " yet: it is made at the first call; call the model once on an example"
        raise AttributeError(f"{type(self).__name__} has no '{name}'{hint}")

    def extra_repr(self) -> str:
        arguments = vars(self).get("_arguments", {})
        parts = [f"{k}={v!r}" for k, v in arguments.items() if k != "dtype"]
        return ", ".join(parts) + "; not called yet"


class LazyLinear(_Lazy, Linear):
    """A `Linear` that takes `in_features` from its first input; other arguments as there."""

    becomes = Linear

    def __init__(self, out_features: int, bias: bool = True, dtype: str = "float32"):
        self._prepare_lazily(1, out_features=out_features, bias=bias, dtype=dtype)

    def _count(self, x):
        if not x.ndim:
            raise ShapeError(f"LazyLinear: x must be (..., in_features), got {x.shape}")
        return x.shape[-1]

    def _told_by(self, name, shape):
        return shape[1] if name == "weight" and len(shape) == 2 else None


# ---------------------------------------------------------------------------------- convolutions


class _LazyConvolution(_Lazy):
    n = 0

    def _count(self, x):
        n = type(self).n
        axis = x.ndim - n - 1
        check_channels(type(self).__name__, x, x.shape[axis] if axis in (0, 1) else "C", n)
        return x.shape[axis]


class _LazyConv(_LazyConvolution):
    def __init__(
        self,
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
        self._prepare_lazily(
            groups, out_channels=out_channels, kernel_size=kernel_size, stride=stride,
            padding=padding, dilation=dilation, groups=groups, bias=bias,
            padding_mode=padding_mode, dtype=dtype,
        )  # fmt: skip

    def _told_by(self, name, shape):
        fits = name == "weight" and len(shape) == type(self).n + 2
        return shape[1] * self._arguments["groups"] if fits else None


class LazyConv1d(_LazyConv, Conv1d):
    """A `Conv1d` that takes `in_channels` from its first input; other arguments as there."""

    becomes, n = Conv1d, 1


class LazyConv2d(_LazyConv, Conv2d):
    """A `Conv2d` that takes `in_channels` from its first input; other arguments as there."""

    becomes, n = Conv2d, 2


class LazyConv3d(_LazyConv, Conv3d):
    """A `Conv3d` that takes `in_channels` from its first input; other arguments as there."""

    becomes, n = Conv3d, 3


class _LazyConvTranspose(_LazyConvolution):
    def __init__(
        self,
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
        self._prepare_lazily(
            groups, out_channels=out_channels, kernel_size=kernel_size, stride=stride,
            padding=padding, output_padding=output_padding, groups=groups, bias=bias,
            dilation=dilation, padding_mode=padding_mode, dtype=dtype,
        )  # fmt: skip

    def _told_by(self, name, shape):
        return shape[0] if name == "weight" and len(shape) == type(self).n + 2 else None


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A `ConvTranspose1d` that takes `in_channels` from its first input."""

    becomes, n = ConvTranspose1d, 1


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A `ConvTranspose2d` that takes `in_channels` from its first input."""

    becomes, n = ConvTranspose2d, 2


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A `ConvTranspose3d` that takes `in_channels` from its first input."""

    becomes, n = ConvTranspose3d, 3


# ----------------------------------------------------------------------------------------- norms


class _LazyNorm(_Lazy):
    owes = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    lengths: tuple[int, ...] = ()

    @property
    def unmade(self) -> bool:  # type: ignore[override]
        arguments = self._arguments
        return arguments["affine"] or arguments["track_running_stats"]

    def _told_by(self, name, shape):
        return shape[0] if name != "num_batches_tracked" and len(shape) == 1 else None


class _LazyBatchNorm(_LazyNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: str = "float32",
    ):
        self._prepare_lazily(
            1, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats,
            bias=bias, dtype=dtype,
        )  # fmt: skip

    def _count(self, x):
        n = type(self).n
        lengths = x.ndim - 2 if x.ndim - 2 in n else n[-1]
        channels = x.shape[1] if x.ndim > 1 else "C"
        check_channels(type(self).__name__, x, channels, lengths, alone=False)
        return x.shape[1]


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A `BatchNorm1d` that takes `num_features` from its first input; other arguments as there."""

    becomes = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A `BatchNorm2d` that takes `num_features` from its first input; other arguments as there."""

    becomes = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """A `BatchNorm3d` that takes `num_features` from its first input; other arguments as there."""

    becomes = BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: str = "float32",
    ):
        self._prepare_lazily(
            1, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats,
            bias=bias, dtype=dtype,
        )  # fmt: skip

    def _count(self, x):
        n = type(self).n[0]
        axis = x.ndim - n - 1
        check_channels(type(self).__name__, x, x.shape[axis] if axis in (0, 1) else "C", n)
        return x.shape[axis]


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """An `InstanceNorm1d` that takes `num_features` from its first input.

    Other than there, and as in PyTorch, it scales, and keeps statistics, unless told otherwise.
    """

    becomes = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """An `InstanceNorm2d` that takes `num_features` from its first input; see
    `LazyInstanceNorm1d`.
    """

    becomes = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """An `InstanceNorm3d` that takes `num_features` from its first input; see
    `LazyInstanceNorm1d`.
    """

    becomes = InstanceNorm3d
