"""Softmax and its logarithm. `axis` is an int, or a tuple of axes that are taken together."""

import math

import numpy as np

from minigrad.autodiff import op
from minigrad.errors import DtypeError
from minigrad.ops.dtypes import astype, is_half
from minigrad.ops.elementwise import stop_gradient
from minigrad.ops.reductions import sum

__all__ = [
    "log_softmax", "log_softmax_grad", "softmax", "softmax_grad", "softmin",
]  # fmt: skip


def _in_float32(function, *xs, axis):
    """`function` of half precision, computed in float32: 16 bits are too few for its sums."""
    wide = (astype(x, dtype="float32") for x in xs)
    return astype(function(*wide, axis=axis), dtype=xs[0].dtype)


def _converted(name, x, dtype):
    """`x` in `dtype`, in which it is then computed."""
    if np.dtype(dtype).kind not in "fV":
        raise DtypeError(f"{name}: dtype must be one of floats, got {dtype}")
    return astype(x, dtype=dtype)


def shifted_exp(xp, x, axis):
    """`exp(x - max(x))` along `axis`, all zeros where all of `x` is minus infinity."""
    # The result of a softmax does not depend on the shift, so the maximum counts as a constant.
    top = stop_gradient(xp.max(x, axis=axis, keepdims=True))
    return xp.exp(x - xp.where(top == -math.inf, 0.0, top))


@op(kernel="softmaxes.softmax")
def softmax(xp, x, *, axis=-1, dtype=None):
    """Exponentials of `x` scaled to sum to one along `axis`; same shape and dtype as `x`.

    Where all of `x` along `axis` is minus infinity the result is zero, and so is the gradient.

    Args:
        dtype: of floats, to which `x` is converted first; None for its own.
    """
    if dtype is not None:
        return softmax(_converted("softmax", x, dtype), axis=axis)
    if is_half(x.dtype):
        return _in_float32(softmax, x, axis=axis)
    if x.size == 0:
        return x * 1.0
    e = shifted_exp(xp, x, axis)
    s = sum(e, axis=axis, keepdims=True)
    return e / xp.where(s == 0, 1.0, s)


@softmax.vjp
def _(g, y, _x, *, axis=-1, dtype=None):
    return softmax_grad(g, y, axis=axis)  # which the engine casts back


@op(kernel="softmaxes.softmax_grad")
def softmax_grad(xp, g, y, *, axis=-1):
    """The gradient of the input of a softmax from that of its output `y`."""
    if is_half(y.dtype):
        return _in_float32(softmax_grad, g, y, axis=axis)
    return y * (g - sum(g * y, axis=axis, keepdims=True))


@op
def softmin(xp, x, *, axis=-1, dtype=None):
    """The softmax of `-x` along `axis`: the smallest gets the most. `dtype` is as for `softmax`."""
    return softmax(-x, axis=axis, dtype=dtype)


@op(kernel="softmaxes.log_softmax")
def log_softmax(xp, x, *, axis=-1, dtype=None):
    """The logarithm of the softmax of `x` along `axis`, computed without forming the softmax.

    `dtype` is as for `softmax`.
    """
    if dtype is not None:
        return log_softmax(_converted("log_softmax", x, dtype), axis=axis)
    if is_half(x.dtype):
        return _in_float32(log_softmax, x, axis=axis)
    if x.size == 0:
        return x * 1.0
    top = stop_gradient(xp.max(x, axis=axis, keepdims=True))
    x = x - xp.where(top == -math.inf, 0.0, top)
    s = sum(xp.exp(x), axis=axis, keepdims=True)
    return x - xp.log(xp.where(s == 0, 1.0, s))


@log_softmax.vjp
def _(g, y, _x, *, axis=-1, dtype=None):
    return log_softmax_grad(g, y, axis=axis)  # which the engine casts back


@op(kernel="softmaxes.log_softmax_grad")
def log_softmax_grad(xp, g, y, *, axis=-1):
    """The gradient of the input of a log-softmax from that of its output `y`."""
    if is_half(y.dtype):
        return _in_float32(log_softmax_grad, g, y, axis=axis)
    return g - xp.exp(y) * sum(g, axis=axis, keepdims=True)
