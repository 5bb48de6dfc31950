"""Loops along one row of a matrix, which several kernels have in common.

Helpers take a matrix and a row's number: passing `x[i]` to a function costs 20 ns in reference
counts. Rows are filled by loops: Numba takes ten times as long to compile `y[:] = x`. Numba
computes `float32 * float` in float64, so scalars are cast to the arrays' dtype first.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from minigrad.kernels.compiling import AS_WRITTEN, compiled, summing
from minigrad.kernels.vectors import EXP, LOG2, LOWEST, ROUNDER, fill, fma, load, total

# --- exp and maximum, in forms that LLVM turns into vectors ---------------------------------------


def exp(x):
    """`e**x` inside a kernel: about 0.3 ns an element in float32, libm's in float64."""
    raise NotImplementedError  # only its overload exists


# How: see its constants. Sums keep their order: reordered, `t - rounder` would undo the rounding.
@overload(exp, jit_options={"fastmath": AS_WRITTEN, "error_model": "numpy"})
def _(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    low, rounder, log2e = map(np.float32, (LOWEST, ROUNDER, 1 / math.log(2)))
    log2_high, log2_low = map(np.float32, LOG2)
    c7, c6, c5, c4, c3, c2 = map(np.float32, EXP)

    def exp32(x):
        z = low if x < low else x
        t = np.float32(z * log2e + rounder)
        n = t - rounder
        r = z - n * log2_high - n * log2_low
        p = ((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + c2
        p = p * (r * r) + (r + np.float32(1))
        power = np.int32((t.view(np.int32) << 23) + 0x3F800000).view(np.float32)
        return np.float32(0) if x < low else p * power

    return exp32


def reorder(x):
    """Float to integer, or back, such that integers compare as their floats do, NaN beyond inf."""
    raise NotImplementedError  # only its overload exists


# Of positive floats the bits already order; of negative ones, all bits but the sign are inverted.
@overload(reorder, jit_options={"error_model": "numpy"})
def _(x):
    size = x.bitwidth
    real, integer = (np.float32, np.int32) if size == 32 else (np.float64, np.int64)
    here, there = (real, integer) if isinstance(x, types.Float) else (integer, real)
    sign, rest = size - 1, np.iinfo(integer).max

    def reordered(x):
        bits = here(x).view(integer)
        return integer(bits ^ ((bits >> sign) & rest)).view(there)

    return reordered


# --- rows -----------------------------------------------------------------------------------------


@compiled
def clear_row(x, i):
    for j in range(x.shape[1]):
        x[i, j] = 0


@compiled
def row_max(x, i):
    """The maximum of a row. Of integers, because LLVM finds that of floats one by one."""
    m = reorder(x.dtype.type(-np.inf))
    for j in range(x.shape[1]):
        m = max(m, reorder(x[i, j]))
    return reorder(m)


@summing
def row_total(x, i):
    """The sum of a row."""
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += x[i, j]
    return total


@summing
def row_dot(x, y, i):
    """The inner product of a row of x and one of y."""
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += x[i, j] * y[i, j]
    return total


@compiled
def shifted_exp(x, i, j, shift):
    """exp(x[i, j] - shift): apart, so that the difference is taken before anything is added."""
    return exp(x[i, j] - shift)


@summing
def exp_total(x, i, shift):
    """The sum of exp(x - shift) of a row."""
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += shifted_exp(x, i, j, shift)
    return total


@compiled
def row_sum(x, start, n, shift):
    """The sum of n elements from `start` on, each less `shift`, and that of their squares."""
    zero = x.dtype.type(0)
    low, sums, squares = fill(shift, 16), fill(zero, 16), fill(zero, 16)
    whole = n // 16 * 16
    for j in range(0, whole, 16):
        v = load(x, start + j, 16) - low
        sums = sums + v
        squares = fma(v, v, squares)
    s, q = total(sums), total(squares)
    while whole < n:  # a third faster than a `for`, for which LLVM prepares more than it does
        v = x[start + whole] - shift
        s += v
        q += v * v
        whole += 1
    return s, q
