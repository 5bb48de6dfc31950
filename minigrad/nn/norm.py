"""Normalising layers.

Letters: N examples, C channels.
"""

from typing import Any

from minigrad.arguments import count
from minigrad.autodiff import Tensor, no_grad
from minigrad.backend import xp
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.conv import check_channels
from minigrad.nn.module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d",
    "InstanceNorm3d", "LayerNorm", "LocalResponseNorm", "RMSNorm",
]  # fmt: skip

# ------------------------------------------------------------------------ over the features


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axes, then scaled and shifted (arXiv 1607.06450).

    Args:
        normalized_shape: the lengths of the axes to normalise over; an int for the last one.
        eps: added to the variance.

    Attributes:
        weight, bias: of `normalized_shape`, ones and zeros; None without `elementwise_affine`.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: str = "float32",
    ):
        self.normalized_shape, self.eps = _lengths(type(self).__name__, normalized_shape), eps
        self.weight = (
            init.constant(self.normalized_shape, 1.0, dtype) if elementwise_affine else None
        )
        with_bias = elementwise_affine and bias
        self.bias = init.constant(self.normalized_shape, 0.0, dtype) if with_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., *normalized_shape) -> the same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """Root mean square 1 over the last axes, then scaled (arXiv 1910.07467).

    Args:
        normalized_shape: the lengths of the axes to normalise over; an int for the last one.
        eps: added to the mean square; by default the machine epsilon of the input's dtype.

    Attributes:
        weight: of `normalized_shape`, ones; None without `elementwise_affine`.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: str = "float32",
    ):
        self.normalized_shape, self.eps = _lengths(type(self).__name__, normalized_shape), eps
        self.weight = (
            init.constant(self.normalized_shape, 1.0, dtype) if elementwise_affine else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., *normalized_shape) -> the same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


def _lengths(name: str, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    given = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(count(name, "normalized_shape", n, least=0) for n in given)


# ------------------------------------------------------------------------- over the channels


class GroupNorm(Module):
    """Mean 0 and variance 1 over each group of channels of each example (arXiv 1803.08494).

    Args:
        num_groups: a divisor of `num_channels`.
        num_channels: C.
        eps: added to the variance.

        affine: whether the result is scaled and, with `bias`, shifted.

    Attributes:
        weight, bias: (C,), ones and zeros; None without.

    Raises:
        ShapeError: `num_channels` is no multiple of `num_groups`.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: str = "float32",
    ):
        self.num_groups = count("GroupNorm", "num_groups", num_groups)
        self.num_channels, self.eps = count("GroupNorm", "num_channels", num_channels, least=0), eps
        if num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: num_channels must be a multiple of num_groups, got {num_channels} and "
                f"{num_groups}"
            )
        self.weight = init.constant((self.num_channels,), 1.0, dtype) if affine else None
        with_bias = affine and bias
        self.bias = init.constant((self.num_channels,), 0.0, dtype) if with_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) -> the same shape."""
        if 2 <= x.ndim <= 5:
            check_channels("GroupNorm", x, self.num_channels, x.ndim - 2, alone=False)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = self.weight is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={affine}"


class _Running(Module):
    """What batch norm and instance norm share: arguments, and statistics that are kept."""

    n: tuple[int, ...] = ()  # how many lengths an input may have
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        dtype: str,
    ):
        self.num_features = count(type(self).__name__, "num_features", num_features, least=0)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (self.num_features,)
        self.weight = init.constant(shape, 1.0, dtype) if affine else None
        self.bias = init.constant(shape, 0.0, dtype) if affine and bias else None
        tracked = track_running_stats
        self.register_buffer("running_mean", xp().zeros(shape, dtype) if tracked else None)
        self.register_buffer("running_var", xp().ones(shape, dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", xp().zeros((), "int64") if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget the statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            for array, value in (
                (self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)
            ):  # fmt: skip
                F.write(array, value)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Running):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: str = "float32",
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """x: (N, C, ...) -> the same shape.

        Args:
            training: whether the statistics are those of `x`, which then become part of the running
                ones; by default whether the module is in training.
        """
        name = type(self).__name__
        n = x.ndim - 2 if x.ndim - 2 in type(self).n else type(self).n[-1]
        check_channels(name, x, self.num_features, n, alone=False)
        training = self.training if training is None else training
        if not self.track_running_stats:
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        momentum = self.momentum
        if training:
            with no_grad():
                count = self.num_batches_tracked + 1
                if momentum is None:
                    momentum = 1 / count.astype("float64")
        y = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training,
            0.0 if momentum is None else momentum, self.eps,
        )  # fmt: skip
        if training:
            F.write(self.num_batches_tracked, count)
        return y


class BatchNorm1d(_BatchNorm):
    """Mean 0 and variance 1 for each channel over a batch (arXiv 1502.03167): (N, C) or (N, C, L).

    In training the statistics are those of the batch; in use they are running means of what was
    seen in training, which are part of the state.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the weight of new statistics in the running ones; None for their plain mean.
        affine: whether the result is scaled and, with `bias`, shifted.
        track_running_stats: without it, the statistics are always those of the batch.

    Attributes:
        weight, bias: (C,), ones and zeros; None without.
        running_mean, running_var: (C,), zeros and ones at first; buffers. The variance is the
            unbiased one.
        num_batches_tracked: how many batches they have seen, an int64; a buffer.

    Raises:
        ShapeError: the input does not fit, or in training has one value per channel.
    """

    n = (0, 1)


class BatchNorm2d(_BatchNorm):
    """Mean 0 and variance 1 for each channel over a batch (N, C, H, W); see `BatchNorm1d`."""

    n = (2,)


class BatchNorm3d(_BatchNorm):
    """Mean 0 and variance 1 for each channel over a batch (N, C, D, H, W); see `BatchNorm1d`."""

    n = (3,)


class _InstanceNorm(_Running):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: str = "float32",
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) or (C, ...) -> the same shape."""
        check_channels(type(self).__name__, x, self.num_features, type(self).n[0])
        if alone := x.ndim == type(self).n[0] + 1:
            x = x[None]
        y = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return y[0] if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Mean 0 and variance 1 for each channel of each example (arXiv 1607.08022): (N, C, L).

    Arguments and attributes are those of `BatchNorm1d`, but by default nothing is scaled and no
    statistics are kept.

    Raises:
        ShapeError: the input does not fit, or has one value per channel of an example.
    """

    n = (1,)


class InstanceNorm2d(_InstanceNorm):
    """Mean 0 and variance 1 for each channel of an example (N, C, H, W); see `InstanceNorm1d`."""

    n = (2,)


class InstanceNorm3d(_InstanceNorm):
    """Mean 0 and variance 1 for each channel of each example, (N, C, D, H, W); see
    `InstanceNorm1d`.
    """

    n = (3,)


class LocalResponseNorm(Module):
    """Each element over a power of the mean square of `size` neighbouring channels.

    (Krizhevsky, Sutskever and Hinton, 2012.) Arguments as for `functional.local_response_norm`.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) -> the same shape."""
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
