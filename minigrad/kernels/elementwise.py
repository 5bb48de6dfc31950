"""Element by element: sums, relu, and chains of ops in one pass over memory.

A chain is a short program of its own, which runs on blocks that fit into the first cache: blocks
are loaded into registers (of BLOCK numbers each), combined, and stored. What is in between never
reaches memory.
"""

import math
from typing import Any

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import Declined
from minigrad.kernels.layouts import covered, flat
from minigrad.kernels.machine import array, at, at_integers, fields, kernel, share
from minigrad.kernels.vectors import exp, fill, fma, load, maximum, nan_or, select, store
from minigrad.kernels.windows import WHERE_POSITIVE, layout_of, positive_row, strided, sum_row

BLOCK = 512  # numbers of a register
REGISTERS = 12

# A line of a chain is (what, target register, a, b, c): registers, or for the first four an address
# or the bits of a float64 in a, and in LOAD_ROWS a length in b.
LOAD, LOAD_ROWS, LOAD_ONE, NUMBER, STORE = range(5)
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


@kernel("n lines chain", strided=True)
def elementwise(record, kind, part, parts):
    """A chain on arrays of n elements, which lie in the same order."""
    r = fields(record)
    n, lines = r.n, r.lines
    chain = carray(at_integers(r.chain), (lines, 5))
    numbers = chain.view(np.float64)
    box = np.empty(REGISTERS * BLOCK, array(kind, r.chain, (1,)).dtype)
    start, stop = share(n, BLOCK, part, parts)
    for i in range(start, stop, BLOCK):
        m = min(BLOCK, stop - i)
        for k in range(lines):
            what, d, a, b, c = chain[k, 0], chain[k, 1], chain[k, 2], chain[k, 3], chain[k, 4]
            if what == LOAD:
                x = array(kind, a, (n,))
                for j in range(m):
                    box[d * BLOCK + j] = x[i + j]
            elif what == LOAD_ROWS:
                x = array(kind, a, (b,))
                place, done = i % b, 0
                while done < m:
                    run = min(b - place, m - done)
                    for j in range(run):
                        box[d * BLOCK + done + j] = x[place + j]
                    place, done = 0, done + run
            elif what == LOAD_ONE:
                x = array(kind, a, (1,))
                for j in range(BLOCK):
                    box[d * BLOCK + j] = x[0]
            elif what == NUMBER:
                if i == start:
                    for j in range(BLOCK):
                        box[d * BLOCK + j] = numbers[k, 2]
            elif what == STORE:
                y = array(kind, a, (n,))
                for j in range(m):
                    y[i + j] = box[d * BLOCK + j]
            else:
                combine(box, what, d, a, b, c, m)


@elementwise.fills
def _(program, outputs, *inputs, chain):
    """`chain.lines(y)` are what the loop runs, for the result y."""
    lines = program.keep(chain.lines(*outputs))
    y = outputs[0]
    return {"n": y.size, "lines": len(lines), "chain": lines, "work": y.size * len(lines)}


# --- ops of their own -----------------------------------------------------------------------------


@kernel("y a b n period")
def add(record, kind, part, parts):
    """y = a + b, where b is repeated every `period` elements."""
    r = fields(record)
    n, period, size = r.n, r.period, array(kind, r.y, (1,)).itemsize
    if period == n:
        start, stop = share(n, 1024, part, parts)
        y, a, b = r.y + start * size, r.a + start * size, r.b + start * size
        sum_row(at(kind, y), at(kind, a), at(kind, b), stop - start)
    else:
        start, stop = share(n // period, 1, part, parts)
        row = period * size
        for place in range(start * row, stop * row, row):
            sum_row(at(kind, r.y + place), at(kind, r.a + place), at(kind, r.b), period)


@add.accepts
def _(a, b):
    """One of them may be repeated along leading axes."""
    if a.ndim < b.ndim:
        a, b = b, a
    if not a.size or not covered(a, b) or b.shape != a.shape[a.ndim - b.ndim :]:
        return None
    return a


@add.fills
def _(program, outputs, a, b):
    if a.ndim < b.ndim:
        a, b = b, a
    return {"a": a, "b": b, "n": a.size, "period": b.size}


@kernel("y x n", strided=True)
def relu(record, kind, part, parts):
    """y = max(x, 0); NaN stays."""
    r = fields(record)
    n = r.n
    y, x = array(kind, r.y, (n,)), array(kind, r.x, (n,))
    start, stop = share(n, 1024, part, parts)
    zero = y.dtype.type(0)
    zeros = fill(zero, 16)
    i = start
    while i + 16 <= stop:
        v = load(x, i, 16)
        store(y, i, select(v, "<=", zeros, zeros, v))
        i += 16
    for j in range(i, stop):
        y[j] = zero if x[j] <= zero else x[j]


relu.accepts(lambda x: x if flat(x) else None)
relu.fills(lambda program, outputs, x: _length(x, *outputs))


def _length(*values: Any) -> dict[str, int]:
    if not flat(*values):
        raise Declined
    return {"n": values[0].size}


@compiled
def relu_grad_loop(dx, g, y):
    for i in range(y.size):
        dx[i] = g[i] if y[i] > 0 else y[i]


@kernel("dx g y n", strided=True)
def relu_grad(record, kind, part, parts):
    """dx = g where y > 0, else y, which is 0 or NaN."""
    r = fields(record)
    start, stop = share(r.n, 1024, part, parts)
    place = start * array(kind, r.y, (1,)).itemsize
    positive_row(at(kind, r.dx + place), at(kind, r.g + place), at(kind, r.y + place), stop - start)


@relu_grad.accepts
def _(g, y):
    whole = g.shape == y.shape and covered(g, y)
    return y if whole or flat(g, y) else None


relu_grad.fills(lambda program, outputs, g, y: _length(g, y, *outputs))


@relu_grad.direct((1,), (1,))
def _(dx, g, y):
    relu_grad_loop(dx.reshape(-1), g.reshape(-1), y.reshape(-1))


relu_grad_strided = strided.like("relu_grad")


@relu_grad_strided.accepts
def _(g, y):
    """Where they lie in different layouts."""
    return y if g.shape == y.shape and g.dtype == y.dtype else None


@relu_grad_strided.fills
def _(program, outputs, g, y):
    return layout_of(y.shape, WHERE_POSITIVE, *((v, v.strides) for v in (*outputs, g, y)))
