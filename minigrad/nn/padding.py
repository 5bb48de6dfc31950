"""Padding: more at the ends of the last one, two or three axes.

An int pads all ends alike; a tuple names two numbers an axis, from the last axis on: (left, right,
top, bottom, front, back). A negative number cuts. PyTorch's names and arguments.
"""

from operator import index
from typing import Any

from minigrad.autodiff import Tensor
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn.module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip

Widths = int | tuple[int, ...] | list[int]


class _Pad(Module):
    """What the layers share; subclasses say over how many axes they go, and in which mode.

    Raises:
        ShapeError: `padding` has not two widths for each of these axes.
    """

    axes = 1
    mode = "constant"

    def __init__(self, padding: Widths):
        n = 2 * type(self).axes
        widths = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * n
        if len(widths) != n:
            raise ShapeError(
                f"{type(self).__name__}: padding must be an int or {n} of them, two an axis from "
                f"the last one on, got {padding}"
            )
        self.padding = tuple(map(index, widths))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) or (C, ...) -> the same with other lengths.

        Raises:
            ShapeError: `x` has too few or too many axes.
        """
        n, mode = type(self).axes, type(self).mode
        if x.ndim not in (n + 1, n + 2) and (mode != "constant" or x.ndim < n):
            lengths = {1: "L", 2: "H, W", 3: "D, H, W"}[n]
            raise ShapeError(
                f"{type(self).__name__}: x must be (N, C, {lengths}) or (C, {lengths}), got "
                f"{x.shape}"
            )
        return F.pad(x, self.padding, mode, self._value())

    def _value(self) -> float | None:
        return None

    def extra_repr(self) -> str:
        return f"{self.padding}"


# -------------------------------------------------------------------------------------- a number


class ZeroPad1d(_Pad):
    """Zeros at the ends of the last axis."""


class ZeroPad2d(_Pad):
    """Zeros at the ends of the last two axes."""

    axes = 2


class ZeroPad3d(_Pad):
    """Zeros at the ends of the last three axes."""

    axes = 3


class ConstantPad1d(_Pad):
    """`value` at the ends of the last axis."""

    def __init__(self, padding: Widths, value: float):
        super().__init__(padding)
        self.value = value

    def _value(self) -> Any:
        return self.value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """`value` at the ends of the last two axes."""

    axes = 2


class ConstantPad3d(ConstantPad1d):
    """`value` at the ends of the last three axes."""

    axes = 3


# ------------------------------------------------------------------------- more of the input


class ReflectionPad1d(_Pad):
    """The input as in a mirror that stands on its last element, at the ends of the last axis."""

    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """The input as in a mirror, at the ends of the last two axes; see `ReflectionPad1d`."""

    axes = 2


class ReflectionPad3d(ReflectionPad1d):
    """The input as in a mirror, at the ends of the last three axes; see `ReflectionPad1d`."""

    axes = 3


class ReplicationPad1d(_Pad):
    """The outermost element again, at the ends of the last axis."""

    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """The outermost element again, at the ends of the last two axes."""

    axes = 2


class ReplicationPad3d(ReplicationPad1d):
    """The outermost element again, at the ends of the last three axes."""

    axes = 3


class CircularPad1d(_Pad):
    """The input over again, from its other end, at the ends of the last axis."""

    mode = "circular"


class CircularPad2d(CircularPad1d):
    """The input over again, from its other end, at the ends of the last two axes."""

    axes = 2


class CircularPad3d(CircularPad1d):
    """The input over again, from its other end, at the ends of the last three axes."""

    axes = 3
