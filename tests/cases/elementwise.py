"""Arithmetic, functions of one element, comparisons."""

import math

import naive
import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import elementwise as slow
from strategies import Call

import minigrad as mg
from cases.case import Case


def keep_dtype(x):
    return mg.astype(x, dtype=x.dtype)


@st.composite
def divided(draw):
    """`a` and `b`, with `a / b` away from the whole numbers, where remainders jump."""
    shape = draw(draws.shapes(most=3))
    b = draw(st.sampled_from([2, 0.75, None, None, None]))
    if b is None:
        (b,) = draw(draws.floats(draw(draws.narrower(shape))))
    random_ = draws.generator(draw)
    quotient = random_.integers(-4, 4, shape) + random_.uniform(0.2, 0.8, shape)
    return Call((draw(draws.laid_out(quotient * b)), b), {})


@st.composite
def off_the_grid(draw, step=1.0, params=None):
    """Numbers away from the multiples of half a `step`, where roundings jump."""
    shape, random_ = draw(draws.shapes()), draws.generator(draw)
    x = (random_.integers(-9, 9, shape) + random_.uniform(0.1, 0.4, shape)) * step / 2
    return Call((draw(draws.laid_out(x)),), params or {})


@st.composite
def mixed(draw):
    """Two arrays, and a weight in (0, 1) or several."""
    start, end, weight = draw(draws.operands(3, scalars=False)).inputs
    return Call((start, end, draw(st.sampled_from([np.abs(weight) / 3, 0.25]))), {})


@st.composite
def limited(draw):
    """`x` and two bounds of which each may be None, a number or an array, in any order of size."""
    x, low, high = draw(draws.floats(*draw(draws.broadcastable(3, most=3)), high=1.99, low=0.31))
    low = draw(st.sampled_from([low, low, None, -2.5, 0]))
    high = draw(st.sampled_from([high, high, None, 2.5, 0]))
    return Call((x, low, high), {})


@st.composite
def shifted(draw):
    a, b = draw(draws.broadcastable(2, most=3))
    return Call((draw(draws.integers(a, -9, 9)), draw(draws.integers(b, 0, 5))), {})


@st.composite
def near(draw, same_shape=False, least=0):
    """Numbers of which many are close or equal, infinite or NaN, and tolerances."""
    a, b = draw(draws.broadcastable(2, least=least, most=3))
    b = a if same_shape else b
    random_ = draws.generator(draw)
    numbers = [0.0, 1.0, 1.001, -math.inf, math.inf, math.nan]
    left, right = random_.choice(numbers, a), random_.choice(numbers, b)
    if same_shape and draw(draws.half_the_time):
        right = left.copy()
    params = {"equal_nan": draw(draws.half_the_time)}
    if not same_shape and draw(draws.half_the_time):
        params |= {"rtol": 1e-2, "atol": 0.0}
    return Call((left, right), params)


def with_eps(call):
    return Call(call.inputs, {"eps": 0.25})


CASES = [
    # arithmetic
    Case(mg.add, naive.add, draws.operands(2)),
    Case(mg.subtract, naive.subtract, draws.operands(2)),
    Case(mg.multiply, naive.multiply, draws.operands(2)),
    Case(mg.divide, naive.divide, draws.operands(2)),
    Case(mg.floor_divide, slow.floor_divide, divided()),
    Case(mg.mod, slow.mod, divided()),
    Case(mg.fmod, slow.fmod, divided()),
    Case(mg.power, naive.power, draws.operands(2, signed=False)),
    Case(mg.power, naive.power, draws.scalar_exponent()),
    Case(mg.positive, slow.positive, draws.one()),
    Case(mg.negative, naive.negative, draws.one()),
    Case(mg.reciprocal, naive.reciprocal, draws.one()),
    Case(mg.square, naive.square, draws.one()),
    Case(mg.lerp, slow.lerp, mixed()),
    Case(keep_dtype, naive.same, draws.one()),
    Case(mg.clone, naive.same, draws.one()),
    Case(mg.stop_gradient, naive.same, draws.one(), order=0),
    Case(mg.zeros_like, naive.zeros_like, draws.one()),
    Case(mg.ones_like, naive.ones_like, draws.one()),
    # sign, size, choice
    Case(mg.absolute, naive.absolute, draws.one()),
    Case(mg.sign, naive.sign, draws.one()),
    Case(mg.copysign, slow.copysign, draws.operands(2)),
    Case(mg.floor, slow.floor, off_the_grid()),
    Case(mg.ceil, slow.ceil, off_the_grid()),
    Case(mg.trunc, slow.trunc, off_the_grid()),
    Case(mg.rint, slow.rint, off_the_grid()),
    Case(mg.round, slow.round_to, off_the_grid()),
    Case(mg.round, slow.round_to, off_the_grid(0.1, {"decimals": 1})),
    Case(mg.maximum, naive.maximum, draws.operands(2, repeats=False, low=0.31)),
    Case(mg.minimum, naive.minimum, draws.operands(2, repeats=False, low=0.31)),
    Case(mg.fmax, slow.fmax, draws.operands(2, repeats=False, low=0.31)),
    Case(mg.fmin, slow.fmin, draws.operands(2, repeats=False, low=0.31)),
    Case(mg.where, naive.where, draws.chosen()),
    Case(mg.masked_fill, naive.masked_fill, draws.chosen(order=(1, 0, 2))),
    Case(mg.clip, slow.clip, limited()),
    Case(mg.clip, naive.clip, draws.clipped()),
    Case(mg.nan_to_num, slow.nan_to_num, draws.one(
        params={"nan": st.just(0.5), "posinf": st.just(3), "neginf": st.just(-3)})),
    Case(mg.nan_to_num, slow.nan_to_num, draws.odd_values().map(
        lambda call: Call(call.inputs, {"posinf": 3.0, "neginf": -3.0})), order=0),
    # exponentials and the like
    Case(mg.exp, naive.exp, draws.one()),
    Case(mg.exp2, slow.exp2, draws.one()),
    Case(mg.expm1, naive.expm1, draws.one()),
    Case(mg.log, naive.log, draws.one(signed=False)),
    Case(mg.log2, slow.log2, draws.one(signed=False)),
    Case(mg.log10, slow.log10, draws.one(signed=False)),
    Case(mg.log1p, naive.log1p, draws.one(signed=False)),
    Case(mg.sqrt, naive.sqrt, draws.one(signed=False)),
    Case(mg.cbrt, slow.cbrt, draws.one()),
    Case(mg.rsqrt, slow.rsqrt, draws.one(signed=False)),
    Case(mg.logaddexp, slow.logaddexp, draws.operands(2)),
    Case(mg.xlogy, slow.xlogy, draws.operands(2, signed=False)),
    Case(mg.sigmoid, naive.sigmoid, draws.one()),
    Case(mg.logit, slow.logit, draws.one(signed=False, low=0.1, high=0.9)),
    Case(mg.logit, slow.logit, draws.one(signed=False, low=0.1, high=0.22).map(with_eps)),
    Case(mg.logit, slow.logit, draws.one(signed=False, low=0.3, high=0.7).map(with_eps)),
    Case(mg.erf, naive.erf, draws.one()),
    Case(mg.erfc, slow.erfc, draws.one()),
    # angles and triangles
    Case(mg.sin, naive.sin, draws.one()),
    Case(mg.cos, naive.cos, draws.one()),
    Case(mg.tan, slow.tan, draws.one(high=1.3)),
    Case(mg.arcsin, slow.arcsin, draws.one(high=0.9)),
    Case(mg.arccos, slow.arccos, draws.one(high=0.9)),
    Case(mg.arctan, slow.arctan, draws.one()),
    Case(mg.arctan2, slow.arctan2, draws.operands(2)),
    Case(mg.hypot, slow.hypot, draws.operands(2)),
    Case(mg.sinh, slow.sinh, draws.one()),
    Case(mg.cosh, slow.cosh, draws.one()),
    Case(mg.tanh, naive.tanh, draws.one()),
    Case(mg.arcsinh, slow.arcsinh, draws.one()),
    Case(mg.arccosh, slow.arccosh, draws.one(signed=False, low=1.2, high=3)),
    Case(mg.arctanh, slow.arctanh, draws.one(high=0.9)),
    Case(mg.sinc, slow.sinc, draws.one(low=0.01)),
    Case(mg.deg2rad, slow.deg2rad, draws.one()),
    Case(mg.rad2deg, slow.rad2deg, draws.one()),
    # comparisons and logic
    Case(mg.equal, naive.equal, draws.compared()),
    Case(mg.not_equal, naive.not_equal, draws.compared()),
    Case(mg.less, naive.less, draws.compared()),
    Case(mg.less_equal, naive.less_equal, draws.compared()),
    Case(mg.greater, naive.greater, draws.compared()),
    Case(mg.greater_equal, naive.greater_equal, draws.compared()),
    Case(mg.isclose, slow.isclose, near()),
    Case(mg.allclose, slow.allclose, near()),
    Case(mg.allclose, slow.allclose, near(same_shape=True)),
    Case(mg.array_equal, slow.array_equal, draws.compared()),
    Case(mg.array_equal, slow.array_equal, near(same_shape=True)),
    Case(mg.logical_and, naive.logical_and, draws.truths(2)),
    Case(mg.logical_or, naive.logical_or, draws.truths(2)),
    Case(mg.logical_xor, slow.logical_xor, draws.truths(2)),
    Case(mg.logical_not, naive.logical_not, draws.truths(1)),
    Case(mg.bitwise_and, naive.bitwise_and, draws.bits(2)),
    Case(mg.bitwise_or, naive.bitwise_or, draws.bits(2)),
    Case(mg.bitwise_xor, naive.bitwise_xor, draws.bits(2)),
    Case(mg.invert, naive.invert, draws.bits(1)),
    Case(mg.left_shift, slow.left_shift, shifted()),
    Case(mg.right_shift, slow.right_shift, shifted()),
    Case(mg.isnan, naive.isnan, draws.odd_values()),
    Case(mg.isinf, slow.isinf, draws.odd_values()),
    Case(mg.isfinite, naive.isfinite, draws.odd_values()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {
    "keep_dtype": "astype",
    "divide": "true_divide",
    "mod": "remainder",
    "invert": "bitwise_not",
}
