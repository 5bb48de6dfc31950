"""Arithmetic, functions of one element, comparisons."""

import naive
import strategies as draws

import minigrad as mg
from cases.case import Case


def keep_dtype(x):
    return mg.astype(x, dtype=x.dtype)


CASES = [
    # arithmetic
    Case(mg.add, naive.add, draws.operands(2)),
    Case(mg.subtract, naive.subtract, draws.operands(2)),
    Case(mg.multiply, naive.multiply, draws.operands(2)),
    Case(mg.divide, naive.divide, draws.operands(2)),
    Case(mg.power, naive.power, draws.operands(2, signed=False)),
    Case(mg.power, naive.power, draws.scalar_exponent()),
    Case(mg.negative, naive.negative, draws.one()),
    Case(mg.reciprocal, naive.reciprocal, draws.one()),
    Case(mg.square, naive.square, draws.one()),
    Case(keep_dtype, naive.same, draws.one()),
    Case(mg.stop_gradient, naive.same, draws.one(), order=0),
    Case(mg.zeros_like, naive.zeros_like, draws.one()),
    Case(mg.ones_like, naive.ones_like, draws.one()),
    # sign, size, choice
    Case(mg.absolute, naive.absolute, draws.one()),
    Case(mg.sign, naive.sign, draws.one()),
    Case(mg.maximum, naive.maximum, draws.operands(2, repeats=False, low=0.31)),
    Case(mg.minimum, naive.minimum, draws.operands(2, repeats=False, low=0.31)),
    Case(mg.where, naive.where, draws.chosen()),
    Case(mg.masked_fill, naive.masked_fill, draws.chosen(order=(1, 0, 2))),
    Case(mg.clip, naive.clip, draws.clipped()),
    # exponentials and the like
    Case(mg.exp, naive.exp, draws.one()),
    Case(mg.expm1, naive.expm1, draws.one()),
    Case(mg.log, naive.log, draws.one(signed=False)),
    Case(mg.log1p, naive.log1p, draws.one(signed=False)),
    Case(mg.sqrt, naive.sqrt, draws.one(signed=False)),
    Case(mg.sin, naive.sin, draws.one()),
    Case(mg.cos, naive.cos, draws.one()),
    Case(mg.tanh, naive.tanh, draws.one()),
    Case(mg.sigmoid, naive.sigmoid, draws.one()),
    Case(mg.erf, naive.erf, draws.one()),
    # comparisons and logic
    Case(mg.equal, naive.equal, draws.compared()),
    Case(mg.not_equal, naive.not_equal, draws.compared()),
    Case(mg.less, naive.less, draws.compared()),
    Case(mg.less_equal, naive.less_equal, draws.compared()),
    Case(mg.greater, naive.greater, draws.compared()),
    Case(mg.greater_equal, naive.greater_equal, draws.compared()),
    Case(mg.logical_and, naive.logical_and, draws.truths(2)),
    Case(mg.logical_or, naive.logical_or, draws.truths(2)),
    Case(mg.logical_not, naive.logical_not, draws.truths(1)),
    Case(mg.bitwise_and, naive.bitwise_and, draws.bits(2)),
    Case(mg.bitwise_or, naive.bitwise_or, draws.bits(2)),
    Case(mg.bitwise_xor, naive.bitwise_xor, draws.bits(2)),
    Case(mg.invert, naive.invert, draws.bits(1)),
    Case(mg.isnan, naive.isnan, draws.odd_values()),
    Case(mg.isfinite, naive.isfinite, draws.odd_values()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"keep_dtype": "astype"}
