"""A handler of the machine for chains of element-by-element ops, in one pass over memory.

A chain is a short program of its own, which runs on blocks that fit into the first cache: blocks
are loaded into registers (of BLOCK numbers each), combined, and stored. What is in between never
reaches memory.
"""

import math

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.machine import WORDS, at, handler, share
from minigrad.kernels.vectors import exp, fill, fma, load, maximum, nan_or, select, store

BLOCK = 512  # numbers of a register
REGISTERS = 12

# A line of a chain is (what, target register, a, b, c): registers, or for the first four an address
# or the bits of a float64 in a, and in LOAD_ROWS a length in b.
LOAD, LOAD_ROWS, LOAD_ONE, NUMBER, STORE = range(5)
OPS = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "greater_equal",
    "less", "less_equal", "equal", "not_equal", "where", "negative", "absolute", "square", "sqrt",
    "reciprocal", "exp", "sigmoid", "tanh",
)  # fmt: skip
CODES = {name: 5 + i for i, name in enumerate(OPS)}
ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM = range(5, 11)
GREATER, GREATER_EQUAL, LESS, LESS_EQUAL, EQUAL, NOT_EQUAL = range(11, 17)
WHERE, NEGATIVE, ABSOLUTE, SQUARE, SQRT, RECIPROCAL, EXP, SIGMOID, TANH = range(17, 26)


@compiled
def compare(what, x, y, one, zero):
    if what == GREATER:
        return select(x, ">", y, one, zero)
    if what == GREATER_EQUAL:
        return select(x, ">=", y, one, zero)
    if what == LESS:
        return select(x, "<", y, one, zero)
    if what == LESS_EQUAL:
        return select(x, "<=", y, one, zero)
    same = select(x, "==", y, one, zero)
    return same if what == EQUAL else one - same


@compiled
def combine(r, what, d, a, b, c, m):
    """Register d = what of the registers a, b and c, on the first m numbers."""
    d, a, b, c = d * BLOCK, a * BLOCK, b * BLOCK, c * BLOCK
    zero, one = fill(r.dtype.type(0), 16), fill(r.dtype.type(1), 16)
    if what == ADD:
        for j in range(0, m, 16):
            store(r, d + j, load(r, a + j, 16) + load(r, b + j, 16))
    elif what == SUBTRACT:
        for j in range(0, m, 16):
            store(r, d + j, load(r, a + j, 16) - load(r, b + j, 16))
    elif what == MULTIPLY:
        for j in range(0, m, 16):
            store(r, d + j, load(r, a + j, 16) * load(r, b + j, 16))
    elif what == DIVIDE:
        for j in range(0, m, 16):
            store(r, d + j, load(r, a + j, 16) / load(r, b + j, 16))
    elif what == MAXIMUM:
        for j in range(0, m, 16):
            x = load(r, a + j, 16)
            store(r, d + j, nan_or(x, maximum(x, load(r, b + j, 16))))
    elif what == MINIMUM:
        for j in range(0, m, 16):
            x, y = load(r, a + j, 16), load(r, b + j, 16)
            store(r, d + j, nan_or(x, select(x, "<", y, x, y)))
    elif what <= NOT_EQUAL:
        for j in range(0, m, 16):
            store(r, d + j, compare(what, load(r, a + j, 16), load(r, b + j, 16), one, zero))
    elif what == WHERE:
        for j in range(0, m, 16):
            x, y = load(r, b + j, 16), load(r, c + j, 16)
            store(r, d + j, select(load(r, a + j, 16), "==", zero, y, x))
    elif what == NEGATIVE:
        for j in range(0, m, 16):
            store(r, d + j, fill(r.dtype.type(-0.0), 16) - load(r, a + j, 16))
    elif what == ABSOLUTE:
        for j in range(m):
            r[d + j] = abs(r[a + j])
    elif what == SQUARE:
        for j in range(0, m, 16):
            x = load(r, a + j, 16)
            store(r, d + j, x * x)
    elif what == SQRT:
        for j in range(m):
            r[d + j] = math.sqrt(r[a + j])
    elif what == RECIPROCAL:
        for j in range(0, m, 16):
            store(r, d + j, one / load(r, a + j, 16))
    elif what == EXP:
        for j in range(0, m, 16):
            x = load(r, a + j, 16)
            store(r, d + j, select(x, ">", fill(r.dtype.type(limit(r)), 16), one / zero, exp(x)))
    elif what == SIGMOID:
        for j in range(0, m, 16):
            x = load(r, a + j, 16)
            low = select(x, "<", zero, x, zero - x)  # -|x|, so that nothing overflows
            e = exp(nan_or(x, low))
            store(r, d + j, select(x, "<", zero, e, one) / (one + e))
    elif what == TANH:
        for j in range(0, m, 16):
            store(r, d + j, tanh(r, load(r, a + j, 16), zero, one))


@compiled
def tanh(r, x, zero, one):
    """tanh of 16 numbers, to 2e-7 of it: a polynomial near 0 (Cephes), else by exp(-2|x|)."""
    low = nan_or(x, select(x, "<", zero, x, zero - x))  # -|x|
    e = exp(low + low)
    far = (one - e) / (one + e)
    z = x * x
    p = constant(r, -5.70498872745e-3)
    p = fma(p, z, constant(r, 2.06390887954e-2))
    p = fma(p, z, constant(r, -5.37397155531e-2))
    p = fma(p, z, constant(r, 1.33314422036e-1))
    p = fma(p, z, constant(r, -3.33332819422e-1))
    near = fma(p * z, x, x)
    return select(low, ">", constant(r, -0.625), near, select(x, "<", zero, zero - far, far))


@compiled
def constant(r, value):
    """16 times a number, in the dtype of `r`."""
    return fill(r.dtype.type(value), 16)


@compiled
def limit(r):
    """The largest number whose exponential is finite."""
    return 88.72283 if r.itemsize == 4 else 709.782712893384


@handler
def elementwise(words, kind, part, parts):
    """A chain on arrays of n elements, which lie in the same order. Words: n, lines, the chain."""
    w = carray(words, (WORDS,))
    n, lines = w[0], w[1]
    chain = carray(at(words, w[2]), (lines, 5))
    numbers = chain.view(np.float64)
    r = np.empty(REGISTERS * BLOCK, carray(at(kind, w[2]), (1,)).dtype)
    start, stop = share(n, BLOCK, part, parts)
    for i in range(start, stop, BLOCK):
        m = min(BLOCK, stop - i)
        for k in range(lines):
            what, d, a, b, c = chain[k, 0], chain[k, 1], chain[k, 2], chain[k, 3], chain[k, 4]
            if what == LOAD:
                x = carray(at(kind, a), (n,))
                for j in range(m):
                    r[d * BLOCK + j] = x[i + j]
            elif what == LOAD_ROWS:
                x = carray(at(kind, a), (b,))
                place, done = i % b, 0
                while done < m:
                    run = min(b - place, m - done)
                    for j in range(run):
                        r[d * BLOCK + done + j] = x[place + j]
                    place, done = 0, done + run
            elif what == LOAD_ONE:
                x = carray(at(kind, a), (1,))
                for j in range(BLOCK):
                    r[d * BLOCK + j] = x[0]
            elif what == NUMBER:
                if i == start:
                    for j in range(BLOCK):
                        r[d * BLOCK + j] = numbers[k, 2]
            elif what == STORE:
                y = carray(at(kind, a), (n,))
                for j in range(m):
                    y[i + j] = r[d * BLOCK + j]
            else:
                combine(r, what, d, a, b, c, m)
