"""More functions of one element at a time, and second names of those in `elementwise`."""

import math

from minigrad.autodiff import op, primitive
from minigrad.ops.dtypes import floating, floating_pair
from minigrad.ops.elementwise import (
    LN2,
    absolute,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    deg2rad,
    equal,
    floor_divide,
    invert,
    left_shift,
    mod,
    ones_like,
    power,
    rad2deg,
    right_shift,
    round,
    softmax_of_two,
    untracked,
    where,
    zeros_like,
)

__all__ = [
    "acos", "acosh", "around", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_invert",
    "bitwise_left_shift", "bitwise_right_shift", "degrees", "divmod", "fabs", "float_power",
    "heaviside", "isneginf", "isposinf", "logaddexp2", "pow", "radians", "signbit",
]  # fmt: skip

# The array API's names, and NumPy's older ones.
acos, acosh, asin, asinh = arccos, arccosh, arcsin, arcsinh
atan, atan2, atanh = arctan, arctan2, arctanh
bitwise_invert, bitwise_left_shift, bitwise_right_shift = invert, left_shift, right_shift
around, pow, degrees, radians = round, power, rad2deg, deg2rad


@op
def fabs(xp, x):
    """`|x|` in floats, also of integers; the derivative at 0 is 0."""
    return absolute(floating(xp, x))


def divmod(a, b) -> tuple:
    """`a // b` and `a % b`: see `floor_divide` and `mod`."""
    return floor_divide(a, b), mod(a, b)


@op
def float_power(xp, a, b):
    """`a` to the power `b` in float64, whatever they are; derivatives as for `power`."""
    return power(*(_double(xp, x) for x in (a, b)))


def _double(xp, x):
    return x.astype("float64") if hasattr(x, "dtype") else xp.asarray(x, dtype="float64")


@op
def heaviside(xp, x1, x2):
    """0 where `x1` is negative, 1 where it is positive, `x2` where it is 0; NaN stays NaN.

    To `x1` flows no gradient, to `x2` that of the places where it was taken.
    """
    x1, x2 = floating_pair(xp, x1, x2)
    like = x1 if hasattr(x1, "dtype") else x2
    step = where(x1 > 0, ones_like(like), zeros_like(like))  # operators: numbers stay numbers
    return where(x1 != x1, x1, where(x1 == 0, x2, step))


heaviside.vjps(
    lambda g, _y, _x1, _x2: zeros_like(g),
    lambda g, _y, x1, _x2: where(x1 == 0, g, 0.0),
)


@primitive
def logaddexp2(xp, a, b):
    """`log2(2**a + 2**b)` without overflow; equal infinities each get half of the gradient."""
    return xp.logaddexp2(*floating_pair(xp, a, b))


logaddexp2.vjps(
    lambda g, _y, a, b: softmax_of_two(g, a * LN2, b * LN2),
    lambda g, _y, a, b: softmax_of_two(g, b * LN2, a * LN2),
)

signbit = untracked("signbit", "Where the sign is minus, of -0.0 too.", operands=1)


@op
def isposinf(xp, x):
    """Where `x` is infinity."""
    return equal(x, math.inf)


@op
def isneginf(xp, x):
    """Where `x` is minus infinity."""
    return equal(x, -math.inf)


for _op in (isposinf, isneginf):
    _op.no_gradient()
