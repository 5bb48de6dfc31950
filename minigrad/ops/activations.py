"""Activations: functions of one element that networks bend their numbers with.

Names, arguments and defaults are PyTorch's, with `axis` in place of dim, and so are the derivatives
at the kinks. (`sigmoid` and `tanh` are among the elementwise functions.)
"""

import math

from minigrad.autodiff import op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import floating, is_half, real_array
from minigrad.ops.elementwise import (
    absolute,
    add,
    divide,
    erfc,
    exp,
    expm1,
    less_equal,
    log1p,
    maximum,
    minimum,
    multiply,
    sigmoid,
    subtract,
    tanh,
    where,
    zeros_like,
)
from minigrad.ops.shaping import reshape, split

__all__ = [
    "celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "logsigmoid", "mish", "prelu", "relu", "relu6", "selu", "silu", "softplus",
    "softshrink", "softsign", "tanhshrink", "threshold",
]  # fmt: skip

# ------------------------------------------------------------------- made of straight lines


@primitive
def relu(xp, x):
    """`max(x, 0)`; the derivative at 0 is 0. NaN stays NaN, and so is its derivative."""
    return xp.maximum(real_array(xp, x), 0)


relu.vjps(lambda g, y, _x: _relu_grad(g, y))


@primitive(kernel="elementwise.relu_grad")
def _relu_grad(xp, g, y):
    """The gradient of the input of a relu from that of its output `y`: NaN where `y` is."""
    return xp.multiply(g, xp.sign(y))


_relu_grad.vjps(lambda g, _dx, _g, y: _relu_grad(g, y), lambda g, _dx, _g, _y: zeros_like(g))


@op
def leaky_relu(xp, x, *, negative_slope=0.01):
    """`x` where it is positive, else `negative_slope * x`; at 0 the derivative is the slope."""
    return where(x > 0, x, multiply(x, negative_slope))


@op
def prelu(xp, x, weight):
    """`x` where it is positive, else `weight * x`: a leaky relu that learns its slope.

    Args:
        x: any shape; with axes (N, C, ...) if there is a weight for each channel.
        weight: one number in any shape, or (C,). Its derivative is 0 where `x` is positive.

    Raises:
        ShapeError: `weight` is neither.

    He et al., arXiv 1502.01852.
    """
    shape = getattr(weight, "shape", ())
    if math.prod(shape) == 1:
        weight = reshape(weight, shape=()) if shape else weight
    elif x.ndim > 1 and shape == x.shape[1:2]:
        weight = reshape(weight, shape=(-1,) + (1,) * (x.ndim - 2))
    else:
        raise ShapeError(
            f"prelu: `weight` must have one element, or one for each channel of axis 1 of `x`; got "
            f"{shape} for `x` of shape {x.shape}"
        )
    return where(x > 0, x, multiply(x, weight))


@op
def hardtanh(xp, x, *, min_val=-1.0, max_val=1.0):
    """`x` limited to [min_val, max_val]; at the limits the derivative is 0, unlike that of `clip`.

    Raises:
        ValueError: `min_val` exceeds `max_val`.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val = {min_val} exceeds max_val = {max_val}")
    whole = float(min_val).is_integer() and float(max_val).is_integer()
    if whole and hasattr(x, "dtype") and x.dtype.kind in "iu":
        min_val, max_val = int(min_val), int(max_val)  # integers stay what they are
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def relu6(x):
    """`x` limited to [0, 6]; at the limits the derivative is 0."""
    return hardtanh(x, min_val=0.0, max_val=6.0)


@op
def hardsigmoid(xp, x):
    """A sigmoid of straight lines, 0 up to -3 and 1 from 3 on; there its derivative is 0."""
    return relu6(floating(xp, x) + 3) / 6


@op
def hardswish(xp, x):
    """`x * hardsigmoid(x)` (Howard et al., arXiv 1905.02244)."""
    return multiply(x, hardsigmoid(x))


@op
def softshrink(xp, x, *, lambd=0.5):
    """`x` nearer to 0 by `lambd`, and 0 where it was no further away; there the derivative is 0.

    Raises:
        ValueError: `lambd` is negative.
    """
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    further = where(x > 0, subtract(x, lambd), add(x, lambd))
    return where(absolute(x) <= lambd, 0.0, further)


@op
def hardshrink(xp, x, *, lambd=0.5):
    """`x`, and 0 where it is in [-lambd, lambd]; there the derivative is 0."""
    return where(absolute(x) <= lambd, 0.0, x)


def threshold(x, threshold, value):
    """`x` where it exceeds `threshold`, else `value`, where nothing flows back to `x`."""
    return where(less_equal(x, threshold), value, x)


# ------------------------------------------------------------------------------------ smooth


@op
def gelu(xp, x, *, approximate="none"):
    """`x` times the normal distribution function at `x` (Hendrycks and Gimpel, arXiv 1606.08415).

    Args:
        approximate: 'none' for the exact function, 'tanh' for the paper's approximation.

    Raises:
        ValueError: `approximate` is neither.
    """
    x = floating(xp, x)
    if is_half(x.dtype):  # NumPy would lift bfloat16 beside a number
        return gelu(x.astype("float32"), approximate=approximate).astype(x.dtype)
    # As 1 + erf and 1 + tanh, both would lose their digits towards minus infinity.
    if approximate == "none":
        return 0.5 * x * erfc(x * -(1 / math.sqrt(2)))
    if approximate == "tanh":
        return x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


@op
def silu(xp, x):
    """`x * sigmoid(x)`, also called swish (Elfwing et al., arXiv 1702.03118)."""
    return multiply(x, sigmoid(x))


@op
def softplus(xp, x, *, beta=1.0, threshold=20.0):
    """`log(1 + exp(beta * x)) / beta`, a smooth relu.

    Args:
        beta: how sharply it bends.
        threshold: where `beta * x` exceeds it, the result is `x` itself.
    """
    bx = multiply(x, beta)
    y = maximum(bx, 0.0) + log1p(exp(-absolute(bx)))
    return where(bx > threshold, x, divide(y, beta))


@softplus.vjp
def _(g, _y, x, *, beta=1.0, threshold=20.0):
    bx = x * beta
    return where(bx > threshold, g, g * sigmoid(bx))


@op
def logsigmoid(xp, x):
    """`log(sigmoid(x))` without overflow."""
    x = floating(xp, x)
    return minimum(x, 0.0) - log1p(exp(-absolute(x)))


@logsigmoid.vjp
def _(g, _y, x):
    return g * sigmoid(-x)


@op
def mish(xp, x):
    """`x * tanh(softplus(x))` (Misra, arXiv 1908.08681)."""
    return multiply(x, tanh(softplus(x)))


def _not_positive(x):
    """`x`, or 0 where it is positive: the exponential that is not taken must not overflow."""
    return where(x > 0, 0.0, x)


@op
def elu(xp, x, *, alpha=1.0):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`; at 0 the derivative is `alpha`.

    Clevert et al., arXiv 1511.07289.
    """
    return where(x > 0, x, multiply(expm1(_not_positive(x)), alpha))


@op
def celu(xp, x, *, alpha=1.0):
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)` (Barron, arXiv 1704.07483).

    Raises:
        ValueError: `alpha` is 0.
    """
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return where(x > 0, x, multiply(expm1(divide(_not_positive(x), alpha)), alpha))


@op
def selu(xp, x):
    """The elu whose outputs keep mean 0 and variance 1 (Klambauer et al., arXiv 1706.02515)."""
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return multiply(elu(x, alpha=alpha), scale)


@op
def softsign(xp, x):
    """`x / (1 + |x|)`."""
    return divide(x, 1 + absolute(x))


@softsign.vjp
def _(g, _y, x):
    d = 1 + absolute(x)
    return g / d / d


@op
def tanhshrink(xp, x):
    """`x - tanh(x)`."""
    return subtract(x, tanh(x))


@tanhshrink.vjp
def _(g, _y, x):
    y = tanh(x)
    return g * y * y


@op
def glu(xp, x, *, axis=-1):
    """The first half along `axis`, times the sigmoid of the second (Dauphin, arXiv 1612.08083).

    Raises:
        ShapeError: there is no such axis, or its length is odd.
    """
    if -x.ndim <= axis < x.ndim and x.shape[axis] % 2:
        raise ShapeError(f"glu: axis {axis} must have an even length to be halved, got {x.shape}")
    a, b = split(x, 2, axis)
    return multiply(a, sigmoid(b))
