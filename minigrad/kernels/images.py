"""Handlers of the machine for what convolutions and pooling do: windows, and arrays in any layout.

A layout is given by lengths and, for every array, steps in elements. Windows are a layout too: what
a kernel sees along an axis is one axis more, over the same memory.
"""

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.machine import WORDS, at, handler, share
from minigrad.kernels.vectors import fill, load, select, store, total

AXES = 6  # of a layout at most


@compiled
def place(words, lengths, steps, axes, number):
    """Where element `number` of the first `axes` axes begins, in elements."""
    found = 0
    for a in range(axes - 1, -1, -1):
        found += number % words[lengths + a] * words[steps + a]
        number //= words[lengths + a]
    return found


@compiled
def begin(words, lengths, axes, number, counts):
    """Set `counts` to the place of element `number` of the first `axes` axes."""
    for a in range(axes - 1, -1, -1):
        counts[a] = number % words[lengths + a]
        number //= words[lengths + a]


@compiled
def advance(words, lengths, axes, counts):
    """The next place: the axis that goes one on; all behind it go back to 0."""
    for a in range(axes - 1, -1, -1):
        counts[a] += 1
        if counts[a] < words[lengths + a]:
            return a
        counts[a] = 0
    return -1


@compiled
def moved(words, lengths, steps, axes, axis, at_):
    """Where an array's next place is, given the axis that goes on."""
    for a in range(axes - 1, axis, -1):
        at_ -= (words[lengths + a] - 1) * words[steps + a]
    return at_ + words[steps + axis] if axis >= 0 else at_


@handler
def strided(words, kind, part, parts):
    """y = a (w[3] 0), or a where b > 0, else 0 (1), or a + b (2); all of them in any layout.

    Words: y, a, b, what, axes, lengths (6), steps of y (6), of a (6), of b (6).
    """
    w = carray(words, (WORDS,))
    what, axes = w[3], w[4]
    y = at(kind, w[0])
    outer = 1
    for i in range(axes - 1):
        outer *= w[5 + i]
    n = w[5 + axes - 1]
    sy, sa, sb = w[11 + axes - 1], w[17 + axes - 1], w[23 + axes - 1]
    start, stop = share(outer, 1, part, parts)
    first = carray(y, (1,))
    zero, itemsize = first.dtype.type(0), first.itemsize
    if start == stop:
        return
    counts = np.empty(AXES, np.int64)
    begin(w, 5, axes - 1, start, counts)
    iy, ia = place(w, 5, 11, axes - 1, start), place(w, 5, 17, axes - 1, start)
    ib = place(w, 5, 23, axes - 1, start)
    plain = sy == 1 and sa == 1 and (what == 0 or sb == 1)
    zeros = fill(zero, 16)
    for _ in range(start, stop):
        to, x = at(kind, w[0] + iy * itemsize), at(kind, w[1] + ia * itemsize)
        z = at(kind, w[2] + ib * itemsize)
        j = 0
        if plain:
            while j + 16 <= n:
                v = load(x, j, 16)
                if what == 1:
                    v = select(load(z, j, 16), ">", zeros, v, zeros)
                elif what == 2:
                    v = v + load(z, j, 16)
                store(to, j, v)
                j += 16
        ys, xs = carray(to, (n * max(sy, 1),)), carray(x, (n * max(sa, 1),))
        zs = carray(z, (n * max(sb, 1),))
        if what == 0:
            for i in range(j, n):
                ys[i * sy] = xs[i * sa]
        elif what == 1:
            for i in range(j, n):
                ys[i * sy] = xs[i * sa] if zs[i * sb] > zero else zero
        else:
            for i in range(j, n):
                ys[i * sy] = xs[i * sa] + zs[i * sb]
        axis = advance(w, 5, axes - 1, counts)
        iy = moved(w, 5, 11, axes - 1, axis, iy)
        ia = moved(w, 5, 17, axes - 1, axis, ia)
        ib = moved(w, 5, 23, axes - 1, axis, ib)


@handler
def channel_sums(words, kind, part, parts):
    """y (c,) = the sums of x (a, c, n), whose rows of n are contiguous.

    Words: y, x, a, c, n, steps of a and c.
    """
    w = carray(words, (WORDS,))
    a, c, n = w[2], w[3], w[4]
    y = carray(at(kind, w[0]), (c,))
    zero, itemsize = y.dtype.type(0), y.itemsize
    start, stop = share(c, 1, part, parts)
    for j in range(start, stop):
        s = zero
        sums = fill(zero, 16)
        for i in range(a):
            x = at(kind, w[1] + (i * w[5] + j * w[6]) * itemsize)
            for k in range(0, n // 16 * 16, 16):
                sums += load(x, k, 16)
            rest = carray(x, (n,))
            for k in range(n // 16 * 16, n):
                s += rest[k]
        y[j] = total(sums) + s


@handler
def largest(words, kind, part, parts):
    """y = the largest of each window; NaN if there is one.

    Words: y, x, -, size, axes, lengths of y (6), steps of y (6), of x (6), step of a window.
    """
    w = carray(words, (WORDS,))
    size, axes = w[3], w[4]
    outer = 1
    for i in range(axes - 1):
        outer *= w[5 + i]
    n, sy, sx, step = w[5 + axes - 1], w[11 + axes - 1], w[17 + axes - 1], w[23]
    itemsize = carray(at(kind, w[0]), (1,)).itemsize
    start, stop = share(outer, 1, part, parts)
    if start == stop:
        return
    counts = np.empty(AXES, np.int64)
    begin(w, 5, axes - 1, start, counts)
    iy, ix = place(w, 5, 11, axes - 1, start), place(w, 5, 17, axes - 1, start)
    for _ in range(start, stop):
        y = carray(at(kind, w[0] + iy * itemsize), (n * max(sy, 1),))
        x = carray(at(kind, w[1] + ix * itemsize), (n * sx + size * step,))
        for j in range(n):
            m = x[j * sx]
            for i in range(1, size):
                v = x[j * sx + i * step]
                m = v if v > m or v != v else m
            y[j * sy] = m
        axis = advance(w, 5, axes - 1, counts)
        iy = moved(w, 5, 11, axes - 1, axis, iy)
        ix = moved(w, 5, 17, axes - 1, axis, ix)


@handler
def largest_grad(words, kind, part, parts):
    """dx = zeros, and g added where the first element of a window is that equals its largest.

    Words: dx, x, y, size, axes, lengths of y (6), steps of dx (6), of x (6), of y (6), of g (6),
    steps of a window in dx and x, g, elements of a part of dx, how many axes number the parts.
    """
    w = carray(words, (WORDS,))
    size, axes = w[3], w[4]
    steps = 35
    dstep, xstep, whole, leading = w[steps], w[steps + 1], w[steps + 3], w[steps + 4]
    itemsize = carray(at(kind, w[0]), (1,)).itemsize
    pieces, rows = 1, 1
    for i in range(axes - 1):
        if i < leading:
            pieces *= w[5 + i]
        else:
            rows *= w[5 + i]
    n = w[5 + axes - 1]
    sd, sx, sy, sg = w[11 + axes - 1], w[17 + axes - 1], w[23 + axes - 1], w[29 + axes - 1]
    start, stop = share(pieces, 1, part, parts)
    zeros = carray(at(kind, w[0] + start * whole * itemsize), ((stop - start) * whole,))
    for i in range(zeros.size):
        zeros[i] = 0
    if start == stop:
        return
    counts, row = np.empty(AXES, np.int64), start * rows
    begin(w, 5, axes - 1, row, counts)
    i0, i1 = place(w, 5, 11, axes - 1, row), place(w, 5, 17, axes - 1, row)
    i2, i3 = place(w, 5, 23, axes - 1, row), place(w, 5, 29, axes - 1, row)
    for _ in range(row, stop * rows):
        dx = carray(at(kind, w[0] + i0 * itemsize), (n * max(sd, 1) + size * dstep,))
        x = carray(at(kind, w[1] + i1 * itemsize), (n * max(sx, 1) + size * xstep,))
        y = carray(at(kind, w[2] + i2 * itemsize), (n * max(sy, 1),))
        g = carray(at(kind, w[steps + 2] + i3 * itemsize), (n * max(sg, 1),))
        for j in range(n):
            m, first = y[j * sy], size - 1
            for i in range(size - 1, -1, -1):  # without a branch that cannot be foreseen
                v = x[j * sx + i * xstep]
                first = i if v == m or v != v else first
            dx[j * sd + first * dstep] += g[j * sg]
        axis = advance(w, 5, axes - 1, counts)
        i0 = moved(w, 5, 11, axes - 1, axis, i0)
        i1 = moved(w, 5, 17, axes - 1, axis, i1)
        i2 = moved(w, 5, 23, axes - 1, axis, i2)
        i3 = moved(w, 5, 29, axes - 1, axis, i3)


@handler
def sum_windows(words, kind, part, parts):
    """y = zeros, and all windows g added where they came from.

    Words: y, g, -, size, axes, lengths (6), steps of y (6), of g (6), steps of a window in y and g,
    elements of a part of y, how many axes number the parts.
    """
    w = carray(words, (WORDS,))
    size, axes = w[3], w[4]
    ystep, gstep, whole, leading = w[23], w[24], w[25], w[26]
    itemsize = carray(at(kind, w[0]), (1,)).itemsize
    pieces, rows = 1, 1
    for i in range(axes - 1):
        if i < leading:
            pieces *= w[5 + i]
        else:
            rows *= w[5 + i]
    n, sy, sg = w[5 + axes - 1], w[11 + axes - 1], w[17 + axes - 1]
    start, stop = share(pieces, 1, part, parts)
    zeros = carray(at(kind, w[0] + start * whole * itemsize), ((stop - start) * whole,))
    for i in range(zeros.size):
        zeros[i] = 0
    if start == stop:
        return
    counts, row = np.empty(AXES, np.int64), start * rows
    begin(w, 5, axes - 1, row, counts)
    i0, i1 = place(w, 5, 11, axes - 1, row), place(w, 5, 17, axes - 1, row)
    for _ in range(row, stop * rows):
        y = carray(at(kind, w[0] + i0 * itemsize), (n * max(sy, 1) + size * ystep,))
        g = carray(at(kind, w[1] + i1 * itemsize), (n * max(sg, 1) + size * gstep,))
        for i in range(size):
            if sy == 1 and sg == 1:
                for j in range(n):
                    y[i * ystep + j] += g[i * gstep + j]
            else:
                for j in range(n):
                    y[i * ystep + j * sy] += g[i * gstep + j * sg]
        axis = advance(w, 5, axes - 1, counts)
        i0 = moved(w, 5, 11, axes - 1, axis, i0)
        i1 = moved(w, 5, 17, axes - 1, axis, i1)
