"""Sums: over rows, over all but the channels, of a few numbers, of squares."""

from typing import Any

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled, summing
from minigrad.kernels.instructions import GROUPS, NotByGroup
from minigrad.kernels.layouts import Empty, covered, planes, planes_of
from minigrad.kernels.machine import array, at, fields, kernel, of_group, share, span_of
from minigrad.kernels.rows import row_total
from minigrad.kernels.vectors import fill, load, store, total

WIDE = 256  # columns that are summed together
FEW = 4096  # numbers that one thread adds up


def _reduced(x: Any, axes: tuple[int, ...], keepdims: bool, dtype: Any) -> Empty | None:
    """What comes out of a sum over `axes`; None if it is of another dtype."""
    if dtype is not None and np.dtype(dtype) != x.dtype:
        return None
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    return Empty(tuple(shape), x.dtype)


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    """The axes in order, counted from the front."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % x.ndim for a in axes)) if x.ndim else ()


@compiled
def sum_columns(y, x, m, n, step, j0, j1):
    zero = fill(carray(y, (1,)).dtype.type(0), 16)
    j = j0
    if step >= WIDE:  # row after row, the four sums below in the first cache: rows are read ahead
        sums = np.empty(4 * WIDE, carray(y, (1,)).dtype)
        while j + 16 <= j1:
            width = min((j1 - j) // 16 * 16, WIDE)
            for k in range(0, 4 * width, 16):
                store(sums, k, zero)
            for i in range(m):
                to = i % 4 * width if i < m // 4 * 4 else 0
                for k in range(0, width, 16):
                    store(sums, to + k, load(sums, to + k, 16) + load(x, i * step + j + k, 16))
            for k in range(0, width, 16):
                a = load(sums, k, 16) + load(sums, width + k, 16)
                b = load(sums, 2 * width + k, 16) + load(sums, 3 * width + k, 16)
                store(y, j + k, a + b)
            j += width
    while j + 16 <= j1:  # sixteen columns at a time, four sums of every fourth row
        a0, a1, a2, a3 = zero, zero, zero, zero
        for i in range(m // 4):
            k = i * 4 * step + j
            a0 += load(x, k, 16)
            a1 += load(x, k + step, 16)
            a2 += load(x, k + 2 * step, 16)
            a3 += load(x, k + 3 * step, 16)
        for i in range(m // 4 * 4, m):
            a0 += load(x, i * step + j, 16)
        store(y, j, (a0 + a1) + (a2 + a3))
        j += 16
    ends, rows = carray(y, (n,)), carray(x, (m, step))
    for last in range(j, j1):
        ends[last] = 0
        for i in range(m):
            ends[last] += rows[i, last]


@kernel("y x m n step", GROUPS)
def column_sums(record, kind, part, parts):
    """y (n,) = the sums over the rows of x (m, n), which lie `step` elements apart."""
    r = fields(record)
    n, step = r.n, r.step
    j0, j1 = share(n, 16, part, parts)
    for g in range(max(r.groups, 1)):
        start, stop = span_of(r, g, r.m)
        if start < stop:
            x = at(kind, r.x + start * step * array(kind, r.x, (1,)).itemsize)
            sum_columns(at(kind, of_group(r, r.y, g)), x, stop - start, n, step, j0, j1)


@column_sums.accepts
def _(x, *, axis=None, keepdims=False, dtype=None):
    if x.ndim != 2 or not x.size or not covered(x) or axis is None or _axes(x, axis) != (0,):
        return None
    return _reduced(x, (0,), keepdims, dtype)


@column_sums.fills
def _(program, outputs, x, **_):
    (y,), (m, n) = outputs, x.shape
    return {"y": program.of_groups(y), "m": m, "n": n, "step": n, **program.groups(m, y)}


@kernel("y x n")
def sum_all(record, kind, part, parts):
    """y () = the sum of x (n,), n being small: one thread adds it up."""
    r = fields(record)
    if part == 0:
        array(kind, r.y, (1,))[0] = row_total(array(kind, r.x, (1, r.n)), 0)


@sum_all.accepts
def _(x, *, axis=None, keepdims=False, dtype=None):
    if axis is not None or not 0 < x.size <= FEW or not covered(x):
        return None
    return _reduced(x, tuple(range(x.ndim)), keepdims, dtype)


sum_all.fills(lambda program, outputs, x, **options: {"n": x.size})


@kernel("y x a c n x_a x_c")
def channel_sums(record, kind, part, parts):
    """y (c,) = the sums of x (a, c, n), whose rows of n are contiguous."""
    r = fields(record)
    a, c, n = r.a, r.c, r.n
    y = array(kind, r.y, (c,))
    zero, itemsize = y.dtype.type(0), y.itemsize
    start, stop = share(c, 1, part, parts)
    for j in range(start, stop):
        s = zero
        sums = fill(zero, 16)
        for i in range(a):
            x = at(kind, r.x + (i * r.x_a + j * r.x_c) * itemsize)
            for k in range(0, n // 16 * 16, 16):
                sums += load(x, k, 16)
            rest = carray(x, (n,))
            for k in range(n // 16 * 16, n):
                s += rest[k]
        y[j] = total(sums) + s


@channel_sums.accepts
def _(x, *, axis=None, keepdims=False, dtype=None):
    if x.ndim < 3 or not x.size or axis is None or _axes(x, axis) != (0, *range(2, x.ndim)):
        return None
    if x.dtype.kind != "f" or planes(x) is None:
        return None
    return _reduced(x, _axes(x, axis), keepdims, dtype)


@channel_sums.fills
def _(program, outputs, x, **_):
    if program.owns(*outputs):
        raise NotByGroup
    return planes_of(x)


@summing
def square_sum_loop(x):
    """The sum of squares, in float64: the square of no float32 overflows there."""
    found = 0.0
    for i in range(x.size):
        v = np.float64(x[i])
        found += v * v
    return found


def square_sum(x: np.ndarray) -> Any:
    """The sum of the squares of all elements, added up in float64, or NotImplemented."""
    return square_sum_loop(x.reshape(-1)) if covered(x) else NotImplemented
