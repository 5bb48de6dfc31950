"""Functions of one element at a time. Shapes broadcast; gradients are summed back by the engine.

Dtypes: Python scalars never change the dtype of a floating-point array, and integers and booleans
take the dtype of the floating-point operand that they meet, so float32 stays float32. Where floats
come of integers or booleans alone, as in `exp(ids)`, `ids / 2` or `ids * 0.5`, they are float32 as
in PyTorch; sums, products, powers and roundings of integers stay integers.

What NumPy warns of (a division by 0, the logarithm of -1) it warns of here; CuPy is silent.
"""

import math

import numpy as np

from minigrad.abstract import Abstract
from minigrad.autodiff import Tensor, as_arrays, op, primitive
from minigrad.backend import array_module
from minigrad.batched import Batched
from minigrad.ops.dtypes import (
    astype,
    chosen,
    floating,
    floating_pair,
    is_half,
    matched,
    real,
    real_array,
    real_dtype,
)
from minigrad.trees import tree_map

__all__ = [
    "abs", "absolute", "add", "addcdiv", "addcmul", "allclose", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "array_equal", "bitwise_and",
    "bitwise_not", "bitwise_or", "bitwise_xor", "cbrt", "ceil", "clip", "clone", "copysign", "cos",
    "cosh", "deg2rad", "divide", "equal", "erf", "erfc", "exp", "exp2", "expm1", "floor",
    "floor_divide", "fmax", "fmin", "fmod", "frac", "frexp", "gcd", "greater", "greater_equal",
    "hypot", "invert", "isclose", "isfinite", "isinf", "isnan", "lcm", "ldexp", "left_shift",
    "lerp", "less", "less_equal", "log", "log1p", "log2", "log10", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logit", "masked_fill", "maximum", "minimum", "mod",
    "multiply", "nan_to_num", "negative", "nextafter", "not_equal", "ones_like", "positive",
    "power", "rad2deg", "reciprocal", "remainder", "right_shift", "rint", "round", "rsqrt",
    "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square", "stop_gradient", "subtract", "tan",
    "tanh", "true_divide", "trunc", "xlogy", "zeros_like",
]  # fmt: skip


def _smooth(name: str, doc: str, rule):
    """An op from the array module's function of that name, for floats, with a rule."""

    def formula(xp, x):
        return getattr(xp, name)(floating(xp, x))

    formula.__name__ = formula.__qualname__ = name
    formula.__doc__ = doc
    return primitive(formula).vjps(rule)


def _step(name: str, doc: str):
    """An op from the array module's function of that name, which is flat between its jumps."""

    def formula(xp, x):
        x = real_array(xp, x)
        return x.copy() if x.dtype.kind in "iub" else getattr(xp, name)(x)

    formula.__name__ = formula.__qualname__ = name
    formula.__doc__ = doc
    return primitive(formula).vjps(lambda g, _y, _x: zeros_like(g))


# ---------------------------------------------------------------------------- arithmetic


@primitive
def add(xp, a, b):
    """`a + b`, element by element."""
    return xp.add(*matched(a, b))


add.vjps(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)


@primitive
def subtract(xp, a, b):
    """`a - b`, element by element."""
    return xp.subtract(*matched(a, b))


subtract.vjps(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g)


@primitive
def multiply(xp, a, b):
    """`a * b`, element by element."""
    return xp.multiply(*matched(a, b))


multiply.vjps(lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)


@primitive
def divide(xp, a, b):
    """`a / b`, element by element."""
    return xp.divide(*floating_pair(xp, a, b))


divide.vjps(lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -g * y / b)
true_divide = divide


@primitive
def floor_divide(xp, a, b):
    """The largest whole number up to `a / b`; its derivatives are 0."""
    return xp.floor_divide(*matched(a, b))


floor_divide.vjps(lambda g, _y, _a, _b: zeros_like(g))


@primitive
def mod(xp, a, b):
    """What is left of `a` when whole `b`s are taken away, with the sign of `b`: Python's `a % b`.

    At its jumps the derivatives are those of the side that the value belongs to.
    """
    return xp.remainder(*matched(a, b))


mod.vjps(lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * floor_divide(a, b))
remainder = mod


@primitive
def fmod(xp, a, b):
    """What is left of `a` when whole `b`s are taken away, with the sign of `a`, as in C."""
    return xp.fmod(*matched(a, b))


fmod.vjps(lambda g, _y, _a, _b: g, lambda g, y, a, b: -g * rint((a - y) / b))


@primitive
def power(xp, a, b):
    """`a` to the power `b`; `0 ** 0` is 1.

    At `a = 0` the derivative by `b` is 0 (minus infinity for a negative `b`), at `b = 0` that by
    `a` is 0. For a negative `a` the derivative by `b` is NaN.
    """
    a, b = matched(a, b)
    return a**b


def _power_a(g, _y, a, b):
    if isinstance(b, int | float):
        return g * b * power(a, b - 1) if b != 0 else zeros_like(g)
    return g * b * power(a, where(logical_and(a == 0, b == 0), 1, b - 1))


def _power_b(g, y, a, b):
    flat = (a == 0) & (b >= 0)  # operators: of two numbers an op would make an array
    return g * y * log(where(flat, ones_like(g), a))


power.vjps(_power_a, _power_b)


@primitive
def positive(xp, x):
    """`+x`: a copy."""
    return xp.positive(real_array(xp, x))


positive.vjps(lambda g, _y, _x: g)


@primitive
def negative(xp, x):
    """`-x`."""
    return xp.negative(real_array(xp, x))


negative.vjps(lambda g, _y, _x: -g)


@op
def reciprocal(xp, x):
    """`1 / x`."""
    return divide(1, x)


@reciprocal.vjp
def _(g, y, _x):
    return -g * y * y


@op
def square(xp, x):
    """`x * x`."""
    return multiply(x, x)


@op
def lerp(xp, start, end, weight):
    """From `start` (weight 0) to `end` (weight 1) on a straight line; both are met exactly.

    `start` and `end` are arrays, `weight` is an array or a number.
    """
    return add(multiply(1 - weight, start), multiply(weight, end))


@op
def addcmul(xp, x, a, b, *, value=1):
    """`x + value * a * b` (PyTorch's `addcmul`)."""
    return add(x, _times(value, multiply(a, b)))


@op
def addcdiv(xp, x, a, b, *, value=1):
    """`x + value * a / b` (PyTorch's `addcdiv`)."""
    return add(x, _times(value, divide(a, b)))


def _times(factor, x):
    return x if factor == 1 else multiply(x, factor)


def clone(x):
    """`x` in an array of its own, with its history (PyTorch's `clone`).

    `Tensor.copy` gives one without it.
    """
    (x,) = as_arrays(x)
    return astype(x, dtype=x.dtype)


@primitive
def zeros_like(xp, x, *, dtype=None):
    """Zeros in the shape of `x`, and in its dtype unless another is given."""
    return xp.zeros_like(real_array(xp, x), dtype=real_dtype("zeros_like", dtype))


zeros_like.no_gradient()


@primitive
def ones_like(xp, x, *, dtype=None):
    """Ones in the shape of `x`, and in its dtype unless another is given."""
    return xp.ones_like(real_array(xp, x), dtype=real_dtype("ones_like", dtype))


ones_like.no_gradient()

# ------------------------------------------------------------------- sign, size, choice


@primitive
def absolute(xp, x):
    """`|x|`; the derivative at 0 is 0."""
    return xp.absolute(real_array(xp, x))


absolute.vjps(lambda g, _y, x: g * sign(x))
abs = absolute


@primitive
def sign(xp, x):
    """-1, 0 or 1; its derivative is 0 everywhere."""
    return xp.sign(real_array(xp, x))


sign.vjps(lambda g, _y, _x: zeros_like(g))


@primitive
def copysign(xp, a, b):
    """The size of `a` with the sign of `b`; the derivative by `a` is 0 at 0, that by `b` is 0."""
    return xp.copysign(*floating_pair(xp, a, b))


copysign.vjps(
    lambda g, y, a, _b: g * sign(a) * sign(y),
    lambda g, _y, _a, _b: zeros_like(g),
)

floor = _step("floor", "The largest whole number up to `x`; its derivative is 0.")
ceil = _step("ceil", "The smallest whole number from `x` on; its derivative is 0.")
trunc = _step("trunc", "`x` without what is behind the point; its derivative is 0.")
rint = _step("rint", "The nearest whole number, the even one of two; its derivative is 0.")


@op
def frac(xp, x):
    """What is behind the point, with the sign of `x`: `x - trunc(x)`, of derivative 1."""
    return subtract(x, trunc(x))


@primitive
def nextafter(xp, a, b):
    """The number next to `a` on the way to `b`; its derivative by `a` is 1, that by `b` is 0."""
    return xp.nextafter(*floating_pair(xp, a, b))


nextafter.vjps(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: zeros_like(g))


@primitive
def round(xp, x, *, decimals=0):
    """`x` to that many decimals, a tie to the even digit; its derivative is 0."""
    x = real_array(xp, x)
    return x.copy() if x.dtype.kind == "b" else xp.round(x, decimals)  # NumPy gives float16


round.vjps(lambda g, _y, _x, *, decimals=0: zeros_like(g))


@primitive
def maximum(xp, a, b):
    """The larger of `a` and `b`; where they are equal, each gets half of the gradient.

    NaN wins, and then both get the gradient.
    """
    return xp.maximum(*matched(a, b))


@primitive
def minimum(xp, a, b):
    """The smaller of `a` and `b`; ties and NaN are as for `maximum`."""
    return xp.minimum(*matched(a, b))


@primitive
def fmax(xp, a, b):
    """The larger of `a` and `b`, or the one that is not NaN; ties are as for `maximum`."""
    return xp.fmax(*matched(a, b))


@primitive
def fmin(xp, a, b):
    """The smaller of `a` and `b`, or the one that is not NaN; ties are as for `maximum`."""
    return xp.fmin(*matched(a, b))


def _share(g, ahead, behind):
    """`g` unless `ahead` is behind, half of it where they are level."""
    return where(ahead < behind, 0.0, where(ahead == behind, g * 0.5, g))


def _share_among_numbers(g, mine, ahead, behind):
    """As `_share`, but nothing where `mine` is NaN."""
    return where(isnan(mine), 0.0, _share(g, ahead, behind))


maximum.vjps(lambda g, _y, a, b: _share(g, a, b), lambda g, _y, a, b: _share(g, b, a))
minimum.vjps(lambda g, _y, a, b: _share(g, b, a), lambda g, _y, a, b: _share(g, a, b))
fmax.vjps(
    lambda g, _y, a, b: _share_among_numbers(g, a, a, b),
    lambda g, _y, a, b: _share_among_numbers(g, b, b, a),
)
fmin.vjps(
    lambda g, _y, a, b: _share_among_numbers(g, a, b, a),
    lambda g, _y, a, b: _share_among_numbers(g, b, a, b),
)


@primitive
def where(xp, condition, a, b):
    """`a` where `condition` holds, `b` elsewhere; nothing flows to the element not taken."""
    a, b = matched(a, b)
    return chosen(xp, real(condition), a, b)


where.vjps(
    lambda g, _y, _c, _a, _b: None,
    lambda g, _y, c, _a, _b: where(c, g, 0.0),
    lambda g, _y, c, _a, _b: where(c, 0.0, g),
)


def clip(x, min=None, max=None, *, a_min=None, a_max=None):  # NumPy's names, new and old
    """`x` limited to `min` and `max`, either of which may be None, a number or an array.

    Where `min` exceeds `max`, the result is `max`. On a bound, `x` gets the gradient; beyond, the
    bound does. NaN stays NaN.

    Raises:
        TypeError: a bound is given by both of its names, `min` and `a_min`.
    """
    if (min is not None and a_min is not None) or (max is not None and a_max is not None):
        raise TypeError("clip: give `min` or `a_min`, and `max` or `a_max`, not both")
    low, high = (min if a_min is None else a_min), (max if a_max is None else a_max)
    y = as_arrays(x)[0] if low is None else where(less(x, low), low, x)
    return y if high is None else where(greater(y, high), high, y)


@op
def nan_to_num(xp, x, *, nan=0.0, posinf=None, neginf=None):
    """`x` with numbers in place of NaN and of the infinities, whose places get no gradient.

    Args:
        nan: in place of NaN.
        posinf, neginf: in place of the infinities; None for the largest and the smallest number
            of the dtype.
    """
    x = real_array(xp, x)
    if x.dtype.kind in "iub":
        return x.copy()
    info = np.finfo if x.dtype.kind == "f" else _bfloat16_info
    most = float(info(x.dtype).max)
    y = where(x == math.inf, most if posinf is None else posinf, x)
    y = where(x == -math.inf, -most if neginf is None else neginf, y)
    return where(isnan(x), nan, y)


def _bfloat16_info(dtype):
    import ml_dtypes  # where there is such an array, it is installed

    return ml_dtypes.finfo(dtype)


def masked_fill(x, mask, value):
    """`x` with `value` where `mask` is True (PyTorch's `masked_fill`)."""
    return where(mask, value, x)


# ------------------------------------------------------------ exponentials and the like

LN2, LN10 = math.log(2), math.log(10)

exp = _smooth("exp", "The exponential function.", lambda g, y, _x: g * y)
exp2 = _smooth("exp2", "2 to the power `x`.", lambda g, y, _x: g * y * LN2)
expm1 = _smooth("expm1", "`exp(x) - 1`, precise near 0.", lambda g, y, _x: g * (y + 1))
log = _smooth("log", "The natural logarithm.", lambda g, _y, x: g / x)
log2 = _smooth("log2", "The logarithm to base 2.", lambda g, _y, x: g / (x * LN2))
log10 = _smooth("log10", "The logarithm to base 10.", lambda g, _y, x: g / (x * LN10))
log1p = _smooth("log1p", "`log(1 + x)`, precise near 0.", lambda g, _y, x: g / (x + 1))
sqrt = _smooth(
    "sqrt", "The square root; its derivative at 0 is infinite.", lambda g, y, _x: g * 0.5 / y
)
cbrt = _smooth(
    "cbrt", "The cube root; its derivative at 0 is infinite.", lambda g, y, _x: g / (3 * y * y)
)


@op
def ldexp(xp, a, b):
    """`a * 2**b`; unlike NumPy's, `b` may be of floats, and gets a gradient."""
    a, b = floating_pair(xp, a, b)
    return multiply(a, exp2(b) if hasattr(b, "dtype") else 2.0**b)


def frexp(x):
    """`x` as `mantissa * 2**exponent`, with a mantissa from 0.5 up to 1, or 0; both of them.

    The exponents are integers without history, so the derivative of the mantissa is `2**-exponent`.
    """
    exponent = _exponent(x)
    half = right_shift(exponent, 1)  # in two steps, as 2**1074 is out of range
    return ldexp(ldexp(x, -half), half - exponent), exponent


@primitive
def _exponent(xp, x):
    """The exponents that `frexp` gives."""
    return xp.frexp(floating(xp, x))[1]


_exponent.no_gradient()


@op
def rsqrt(xp, x):
    """`1 / sqrt(x)`."""
    return 1 / sqrt(x)


@rsqrt.vjp
def _(g, y, _x):
    return g * -0.5 * y * y * y


@primitive
def logaddexp(xp, a, b):
    """`log(exp(a) + exp(b))` without overflow; equal infinities each get half of the gradient."""
    return xp.logaddexp(*floating_pair(xp, a, b))


def softmax_of_two(g, a, b):
    """The part of `g` that `a` gets: exp(a) / (exp(a) + exp(b))."""
    tie = logical_and(isinf(a), equal(a, b))  # inf - inf would be NaN
    zero = zeros_like(g)
    return g * sigmoid(where(tie, zero, a) - where(tie, zero, b))


logaddexp.vjps(
    lambda g, _y, a, b: softmax_of_two(g, a, b),
    lambda g, _y, a, b: softmax_of_two(g, b, a),
)


@op
def xlogy(xp, a, b):
    """`a * log(b)`, but 0 where `a` is 0, unless `b` is NaN.

    Where `a` is 0 and `log(b)` is not finite, the derivatives are 0.
    """
    a, b = floating_pair(xp, a, b)
    return multiply(a, log(_where_it_counts(b if hasattr(b, "dtype") else a, a, b)))


def _where_it_counts(like, a, b):
    """`b`, and 1 where `a` is 0 and `log(b)` is not finite; in the dtype of `like`."""
    endless = (b <= 0) | (b == math.inf)  # operators: of two numbers an op would make an array
    return where((a == 0) & endless, ones_like(like), b)


xlogy.vjps(
    lambda g, _y, a, b: g * log(_where_it_counts(g, a, b)),
    lambda g, _y, a, b: g * (a / _where_it_counts(g, a, b)),
)


@op
def sigmoid(xp, x):
    """`1 / (1 + exp(-x))`; it cannot overflow, and small values are as precise as large ones."""
    x = floating(xp, x)
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-xp.absolute(x)))


@sigmoid.vjp
def _(g, y, _x):
    return g * y * (1 - y)


@op
def logit(xp, x, *, eps=None):
    """`log(x / (1 - x))`, the inverse of `sigmoid`; `eps` first limits `x` to [eps, 1 - eps].

    Raises:
        ValueError: `eps` is not in [0, 1/2].
    """
    x = floating(xp, x)
    if eps is not None:
        if not 0 <= eps <= 0.5:
            raise ValueError(f"logit: eps must be from 0 to 1/2, got {eps}")
        x = clip(x, eps, 1 - eps)
    return log(x) - log1p(negative(x))


def special_function(xp, name, x, *orders):
    """SciPy's special function of that name, of numbers `orders` first; in the dtype of `x`."""
    if type(x) is Abstract:
        return x
    if type(x) is Batched:
        return Batched(special_function(array_module(x.value), name, x.value, *orders), x.level)
    if xp is np:
        from scipy import special  # not at import: SciPy is slow to start
    else:
        from cupyx.scipy import special
    return getattr(special, name)(*orders, x).astype(x.dtype, copy=False)


@primitive
def erf(xp, x):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to `x`."""
    x = floating(xp, x)
    return special_function(xp, "erf", x)


@primitive
def erfc(xp, x):
    """`1 - erf(x)`, precise where `erf(x)` is close to 1."""
    x = floating(xp, x)
    return special_function(xp, "erfc", x)


erf.vjps(lambda g, _y, x: g * exp(-x * x) * (2 / math.sqrt(math.pi)))
erfc.vjps(lambda g, _y, x: g * exp(-x * x) * (-2 / math.sqrt(math.pi)))

# --------------------------------------------------------------------- angles and triangles

sin = _smooth("sin", "The sine of `x` radians.", lambda g, _y, x: g * cos(x))
cos = _smooth("cos", "The cosine of `x` radians.", lambda g, _y, x: -g * sin(x))
tan = _smooth("tan", "The tangent of `x` radians.", lambda g, y, _x: g * (1 + y * y))
arcsin = _smooth(
    "arcsin",
    "The angle in [-pi/2, pi/2] whose sine is `x`; its derivative at -1 and 1 is infinite.",
    lambda g, _y, x: g / sqrt((1 - x) * (1 + x)),
)
arccos = _smooth(
    "arccos",
    "The angle in [0, pi] whose cosine is `x`; its derivative at -1 and 1 is infinite.",
    lambda g, _y, x: -g / sqrt((1 - x) * (1 + x)),
)
arctan = _smooth(
    "arctan",
    "The angle in [-pi/2, pi/2] whose tangent is `x`.",
    lambda g, _y, x: g / (1 + x * x),
)
sinh = _smooth("sinh", "The hyperbolic sine.", lambda g, _y, x: g * cosh(x))
cosh = _smooth("cosh", "The hyperbolic cosine.", lambda g, _y, x: g * sinh(x))
tanh = _smooth("tanh", "The hyperbolic tangent.", lambda g, y, _x: g * (1 - y * y))
arcsinh = _smooth("arcsinh", "The inverse of `sinh`.", lambda g, _y, x: g / hypot(x, 1.0))
arccosh = _smooth(
    "arccosh",
    "The inverse of `cosh` from 1 on; its derivative at 1 is infinite.",
    lambda g, _y, x: g / (sqrt(x - 1) * sqrt(x + 1)),
)
arctanh = _smooth("arctanh", "The inverse of `tanh`.", lambda g, _y, x: g / ((1 - x) * (1 + x)))


@primitive
def hypot(xp, a, b):
    """`sqrt(a^2 + b^2)` without overflow on the way; at (0, 0) the derivatives are 0."""
    return xp.hypot(*floating_pair(xp, a, b))


hypot.vjps(
    lambda g, y, a, _b: g * (a / where(y == 0, 1.0, y)),
    lambda g, y, _a, b: g * (b / where(y == 0, 1.0, y)),
)


@primitive
def arctan2(xp, a, b):
    """The angle of the point (b, a) in [-pi, pi]; at (0, 0) the derivatives are 0."""
    return xp.arctan2(*floating_pair(xp, a, b))


def _over_square(g, x, a, b):
    """`g * x / (a^2 + b^2)`, where `x` is one of the two; 0 where both are."""
    radius = hypot(a, b)
    radius = where(radius == 0, 1.0, radius)
    return g * (x / radius) / radius


arctan2.vjps(
    lambda g, _y, a, b: _over_square(g, b, a, b),
    lambda g, _y, a, b: _over_square(-g, a, a, b),
)


@op
def sinc(xp, x):
    """`sin(pi x) / (pi x)`, and 1 at 0 (NumPy's `sinc`)."""
    x = floating(xp, x)
    if is_half(x.dtype):  # 16 bits are too few for the series
        return sinc(x.astype("float32")).astype(x.dtype)
    x = multiply(x, math.pi)
    near = absolute(x) < 1
    # There a series: as a quotient, the derivatives would lose all digits towards 0.
    xx, series = where(near, x * x, 0.0), 1.0
    for n in range(18, 0, -2):
        series = 1.0 - xx * (1 / (n * (n + 1))) * series
    far = where(near, 1.0, x)
    return where(near, series, sin(far) / far)


@op
def deg2rad(xp, x):
    """Degrees as radians."""
    return multiply(x, math.pi / 180)


@op
def rad2deg(xp, x):
    """Radians as degrees."""
    return multiply(x, 180 / math.pi)


# -------------------------------------------------------------- comparisons and logic


def untracked(name: str, doc: str, operands: int = 2):
    """An op from NumPy's function of that name, whose result has no history."""

    def of_two(xp, a, b):
        return getattr(xp, name)(*matched(a, b))

    def of_one(xp, x):
        return getattr(xp, name)(real_array(xp, x))

    formula = of_two if operands == 2 else of_one
    formula.__name__ = formula.__qualname__ = name
    formula.__doc__ = doc
    return primitive(formula).no_gradient()


equal = untracked("equal", "Where `a == b`, as booleans without history.")
not_equal = untracked("not_equal", "Where `a != b`, as booleans without history.")
less = untracked("less", "Where `a < b`, as booleans without history.")
less_equal = untracked("less_equal", "Where `a <= b`, as booleans without history.")
greater = untracked("greater", "Where `a > b`, as booleans without history.")
greater_equal = untracked("greater_equal", "Where `a >= b`, as booleans without history.")
logical_and = untracked("logical_and", "Where both are true.")
logical_or = untracked("logical_or", "Where at least one is true.")
bitwise_and = untracked("bitwise_and", "The bits that both integers have; of booleans: both.")
bitwise_or = untracked("bitwise_or", "The bits that either integer has; of booleans: either.")
bitwise_xor = untracked("bitwise_xor", "The bits that one of two integers has, not both.")
invert = untracked("invert", "All bits of an integer changed; of a boolean: not.", operands=1)
logical_xor = untracked("logical_xor", "Where one of the two is true, not both.")
logical_not = untracked("logical_not", "Where `x` is false.", operands=1)
left_shift = untracked("left_shift", "`a * 2**b`, of integers.")
right_shift = untracked("right_shift", "The largest whole number up to `a / 2**b`, of integers.")
gcd = untracked("gcd", "The greatest common divisor of integers; of 0 and 0 it is 0.")
lcm = untracked("lcm", "The least common multiple of integers; with 0 it is 0.")
bitwise_not = invert
isnan = untracked("isnan", "Where `x` is not a number.", operands=1)
isinf = untracked("isinf", "Where `x` is infinite.", operands=1)
isfinite = untracked("isfinite", "Where `x` is neither infinite nor NaN.", operands=1)


@primitive
def isclose(xp, a, b, *, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Where `|a - b| <= atol + rtol * |b|`, as booleans without history."""
    return xp.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


@primitive
def allclose(xp, a, b, *, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether `isclose` holds everywhere: one boolean, 0-d and without history."""
    return xp.all(xp.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan))


@primitive
def array_equal(xp, a, b, *, equal_nan=False):
    """Whether shape and elements are the same: one boolean, 0-d and without history."""
    a, b = xp.asarray(a), xp.asarray(b)
    if a.shape != b.shape:
        return xp.asarray(False)
    same = a == b
    if equal_nan:
        same = same | (xp.isnan(a) & xp.isnan(b))
    return xp.all(same)


for _op in (isclose, allclose, array_equal):
    _op.no_gradient()


def stop_gradient(x):
    """`x` as a constant: the same values, no history; of a tree, every leaf of it."""
    return tree_map(lambda v: v.detach() if type(v) is Tensor else v, x)
