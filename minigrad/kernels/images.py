"""Handlers of the machine for what convolutions and pooling do: windows, and arrays in any layout.

A layout is given by lengths and, for every array, steps in elements. Windows are a layout too: what
a kernel sees along an axis is one axis more, over the same memory.
"""

import math

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.machine import WORDS, at, handler, share
from minigrad.kernels.vectors import (
    beats,
    evens,
    fill,
    fma,
    load,
    odds,
    select,
    store,
    total,
    zipped,
)  # fmt: skip

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


@compiled
def copy_row(y, x, n):
    """n numbers; the last vector begins where it still fits, and writes some of them twice."""
    if n >= 16:
        for j in range(0, n - 15, 16):
            store(y, j, load(x, j, 16))
        store(y, n - 16, load(x, n - 16, 16))
    elif n >= 8:
        store(y, 0, load(x, 0, 8))
        store(y, n - 8, load(x, n - 8, 8))
    elif n >= 4:
        store(y, 0, load(x, 0, 4))
        store(y, n - 4, load(x, n - 4, 4))
    else:
        ys, xs = carray(y, (n,)), carray(x, (n,))
        for j in range(n):
            ys[j] = xs[j]


@compiled
def add_row(y, x, n):
    """y += x, n numbers; where the last vector begins early, all is read before it is written."""
    if n >= 16:
        whole = n // 16 * 16
        last = load(y, n - 16, 16) + load(x, n - 16, 16)
        for j in range(0, whole, 16):
            store(y, j, load(y, j, 16) + load(x, j, 16))
        store(y, n - 16, last)
    elif n >= 8:
        first, last = load(y, 0, 8) + load(x, 0, 8), load(y, n - 8, 8) + load(x, n - 8, 8)
        store(y, 0, first)
        store(y, n - 8, last)
    elif n >= 4:
        first, last = load(y, 0, 4) + load(x, 0, 4), load(y, n - 4, 4) + load(x, n - 4, 4)
        store(y, 0, first)
        store(y, n - 4, last)
    else:
        ys, xs = carray(y, (n,)), carray(x, (n,))
        for j in range(n):
            ys[j] += xs[j]


@compiled
def where_positive_row(y, x, z, n):
    """y = x where z is positive, else z."""
    zero = carray(y, (1,)).dtype.type(0)
    zeros = fill(zero, 16)
    whole = n // 16 * 16
    for j in range(0, whole, 16):
        v = load(z, j, 16)
        store(y, j, select(v, ">", zeros, load(x, j, 16), v))
    ys, xs, zs = carray(y, (n,)), carray(x, (n,)), carray(z, (n,))
    for j in range(whole, n):
        ys[j] = xs[j] if zs[j] > zero else zs[j]


@compiled
def sum_row(y, x, z, n):
    """y = x + z."""
    whole = n // 16 * 16
    for j in range(0, whole, 16):
        store(y, j, load(x, j, 16) + load(z, j, 16))
    ys, xs, zs = carray(y, (n,)), carray(x, (n,)), carray(z, (n,))
    for j in range(whole, n):
        ys[j] = xs[j] + zs[j]


@handler
def strided(words, kind, part, parts):
    """y = a (w[3] 0), or a where b > 0, else b (1), or a + b (2); all of them in any layout.

    Words: y, a, b, what, axes, lengths (6), steps of y (6), of a (6), of b (6).
    """
    w = carray(words, (WORDS,))
    what, axes = w[3], w[4]
    last, outer = axes - 1, axes - 2  # the rows of the last axis; those of the one before together
    rows, together = 1, w[5 + outer] if axes > 1 else 1
    for i in range(last):
        rows *= w[5 + i]
    n = w[5 + last]
    sy, sa, sb = w[11 + last], w[17 + last], w[23 + last]
    start, stop = share(rows, 1, part, parts)
    first = carray(at(kind, w[0]), (1,))
    zero, itemsize = first.dtype.type(0), first.itemsize
    plain = sy == 1 and sa == 1 and (what == 0 or sb == 1)
    counts = np.empty(AXES, np.int64)
    row = start
    while row < stop:
        begin(w, 5, last, row, counts)
        iy = w[0] + place(w, 5, 11, last, row) * itemsize
        ia = w[1] + place(w, 5, 17, last, row) * itemsize
        ib = w[2] + place(w, 5, 23, last, row) * itemsize
        dy, da, db = w[11 + outer] * itemsize, w[17 + outer] * itemsize, w[23 + outer] * itemsize
        end = min(stop, row + (together - counts[outer] if axes > 1 else 1))
        for _ in range(row, end):
            y, a, b = at(kind, iy), at(kind, ia), at(kind, ib)
            if plain and what == 0:
                copy_row(y, a, n)
            elif plain and what == 1:
                where_positive_row(y, a, b, n)
            elif plain:
                sum_row(y, a, b, n)
            else:
                ys, xs = carray(y, (n * max(sy, 1),)), carray(a, (n * max(sa, 1),))
                zs = carray(b, (n * max(sb, 1),))
                if what == 0:
                    for i in range(n):
                        ys[i * sy] = xs[i * sa]
                elif what == 1:
                    for i in range(n):
                        ys[i * sy] = xs[i * sa] if zs[i * sb] > zero else zs[i * sb]
                else:
                    for i in range(n):
                        ys[i * sy] = xs[i * sa] + zs[i * sb]
            iy, ia, ib = iy + dy, ia + da, ib + db
        row = end


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


@compiled
def wins(v, m):
    """Whether `v` is larger than `m`, or NaN where `m` is not."""
    return v > m or (v != v and m == m)


def _windows_of_four(lanes):
    """Loops over `lanes` windows of 2 by 2 that lie side by side: the largest, and its gradient."""
    both = 2 * lanes

    @compiled
    def most(y, start, x0, x1):
        top, below = load(x0, 2 * start, both), load(x1, 2 * start, both)
        m = evens(top)
        for v in (odds(top), evens(below), odds(below)):
            m = beats(v, m, v, m)
        store(y, start, m)

    @compiled
    def spread(d0, d1, start, g, x0, x1, zero):
        top, below, g = (
            load(x0, 2 * start, both),
            load(x1, 2 * start, both),
            load(g, start, lanes),
        )
        none = fill(zero, lanes)
        m, v = evens(top), odds(top)
        one, two = beats(v, m, none, g), beats(v, m, g, none)
        m, v = beats(v, m, v, m), evens(below)
        one, two, three = beats(v, m, none, one), beats(v, m, none, two), beats(v, m, g, none)
        m, v = beats(v, m, v, m), odds(below)
        one, two = beats(v, m, none, one), beats(v, m, none, two)
        three, four = beats(v, m, none, three), beats(v, m, g, none)
        store(d0, 2 * start, zipped(one, two))
        store(d1, 2 * start, zipped(three, four))

    return most, spread


most16, spread16 = _windows_of_four(16)
most4, spread4 = _windows_of_four(4)


@handler
def max_windows(words, kind, part, parts):
    """y (a, b, p, q) = the largest of each window of x (a, b, h, w); NaN if there is one.

    Words: y, x, a, b, steps of y, of x along a and b, h, w, p, q, kernel, stride, dilation (2).
    """
    w = carray(words, (WORDS,))
    B, width, P, Q = w[3], w[9], w[10], w[11]
    k0, k1, s0, s1, d0, d1 = w[12], w[13], w[14], w[15], w[16], w[17]
    itemsize = carray(at(kind, w[0]), (1,)).itemsize
    in_fours = k0 == 2 and k1 == 2 and s1 == 2 and d1 == 1
    start, stop = share(w[2] * B, 1, part, parts)
    for plane in range(start, stop):
        i, j = plane // B, plane % B
        to = at(kind, w[0] + (i * w[4] + j * w[5]) * itemsize)
        source = w[1] + (i * w[6] + j * w[7]) * itemsize
        y, x = carray(to, (P, Q)), carray(at(kind, source), (w[8], width))
        for p in range(P):
            q = 0
            if in_fours:
                row = at(kind, w[0] + (i * w[4] + j * w[5] + p * Q) * itemsize)
                x0 = at(kind, source + p * s0 * width * itemsize)
                x1 = at(kind, source + (p * s0 + d0) * width * itemsize)
                while q + 16 <= Q:
                    most16(row, q, x0, x1)
                    q += 16
                while q + 4 <= Q:
                    most4(row, q, x0, x1)
                    q += 4
            while q < Q:
                m = x[p * s0, q * s1]
                for k in range(k0):
                    for l in range(k1):
                        v = x[p * s0 + k * d0, q * s1 + l * d1]
                        m = v if wins(v, m) else m
                y[p, q] = m
                q += 1


@handler
def max_windows_grad(words, kind, part, parts):
    """dx (a, b, h, w) = zeros, and g (a, b, p, q) added where its window's first largest is.

    Words: dx, x, a, b, steps of dx, of x along a and b, h, w, p, q, kernel, stride, dilation (2),
    g, its steps along a and b.
    """
    w = carray(words, (WORDS,))
    B, H, width, P, Q = w[3], w[8], w[9], w[10], w[11]
    k0, k1, s0, s1, d0, d1 = w[12], w[13], w[14], w[15], w[16], w[17]
    first = carray(at(kind, w[0]), (1,))
    itemsize, zero = first.itemsize, first.dtype.type(0)
    in_fours = k0 == 2 and k1 == 2 and s0 == 2 and s1 == 2 and d0 == 1 and d1 == 1
    start, stop = share(w[2] * B, 1, part, parts)
    for plane in range(start, stop):
        i, j = plane // B, plane % B
        target, source = (
            w[0] + (i * w[4] + j * w[5]) * itemsize,
            w[1] + (i * w[6] + j * w[7]) * itemsize,
        )
        gradient = w[18] + (i * w[19] + j * w[20]) * itemsize
        dx, x = carray(at(kind, target), (H, width)), carray(at(kind, source), (H, width))
        g = carray(at(kind, gradient), (P, Q))
        if not in_fours:
            for k in range(H):
                for l in range(width):
                    dx[k, l] = zero
        for p in range(P):
            q = 0
            if in_fours:
                row, line = at(kind, gradient + p * Q * itemsize), 2 * p * width * itemsize
                to0, x0 = at(kind, target + line), at(kind, source + line)
                line += width * itemsize
                to1, x1 = at(kind, target + line), at(kind, source + line)
                while q + 16 <= Q:
                    spread16(to0, to1, q, row, x0, x1, zero)
                    q += 16
                while q + 4 <= Q:
                    spread4(to0, to1, q, row, x0, x1, zero)
                    q += 4
                for l in range(2 * q, width):  # what is left, some of it not seen by any window
                    dx[2 * p, l] = zero
                    dx[2 * p + 1, l] = zero
            while q < Q:
                m, k_, l_ = x[p * s0, q * s1], 0, 0
                for k in range(k0):
                    for l in range(k1):
                        v = x[p * s0 + k * d0, q * s1 + l * d1]
                        if wins(v, m):
                            m, k_, l_ = v, k, l
                dx[p * s0 + k_ * d0, q * s1 + l_ * d1] += g[p, q]
                q += 1
        if in_fours:
            for k in range(2 * P, H):
                for l in range(width):
                    dx[k, l] = zero


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
                add_row(
                    at(kind, w[0] + (i0 + i * ystep) * itemsize),
                    at(kind, w[1] + (i1 + i * gstep) * itemsize),
                    n,
                )
            else:
                for j in range(n):
                    y[i * ystep + j * sy] += g[i * gstep + j * sg]
        axis = advance(w, 5, axes - 1, counts)
        i0 = moved(w, 5, 11, axes - 1, axis, i0)
        i1 = moved(w, 5, 17, axes - 1, axis, i1)


# --------------------------------------------------------------------------------- batch norm


@compiled
def moments(kind, x, rows, step, n):
    """Mean, in two parts, and (biased) variance of `rows` rows of n numbers, `step` bytes apart.

    The second part of the mean is what deviations from the first, which is rounded, have for a
    mean: far from zero that is not little.
    """
    first = carray(at(kind, x), (1,))
    zero, count = first.dtype.type(0), first.dtype.type(rows * n)
    sums, rest = fill(zero, 16), zero
    whole = n // 16 * 16
    for i in range(rows):
        row = at(kind, x + i * step)
        for j in range(0, whole, 16):
            sums += load(row, j, 16)
        tail = carray(row, (n,))
        for j in range(whole, n):
            rest += tail[j]
    mean = (total(sums) + rest) / count
    means = fill(mean, 16)
    sums, squares, rest, square = fill(zero, 16), fill(zero, 16), zero, zero
    for i in range(rows):
        row = at(kind, x + i * step)
        for j in range(0, whole, 16):
            d = load(row, j, 16) - means
            sums += d
            squares = fma(d, d, squares)
        tail = carray(row, (n,))
        for j in range(whole, n):
            d = tail[j] - mean
            rest += d
            square += d * d
    rest = (total(sums) + rest) / count
    variance = (total(squares) + square) / count - rest * rest
    if settled(variance, rest):
        return mean, rest, np.float64(variance)
    return mean, rest, wide_variance(kind, x, rows, step, n, mean, rest)


@compiled
def settled(variance, rest):
    """Whether a variance is finite, and has lost no digits by subtracting `rest` squared."""
    return rest * rest <= variance < np.inf


@compiled
def wide_variance(kind, x, rows, step, n, mean, rest):
    """The variance in float64, where it is not `settled`."""
    square = 0.0
    for i in range(rows):
        row = carray(at(kind, x + i * step), (n,))
        for j in range(n):
            d = np.float64((row[j] - mean) - rest)
            square += d * d
    return square / (rows * n)


@compiled
def moments_of_16(kind, x, rows, step, r, variances):
    """As `moments`, of 16 columns at once: the mean's parts into `r` and r[16:]."""
    number, itemsize = r.dtype.type, r.itemsize
    zeros, counts = fill(number(0), 16), fill(number(1) / number(rows), 16)
    sums, squares = zeros, zeros
    for i in range(rows):
        sums += load(at(kind, x + i * step), 0, 16)
    mean, sums = sums * counts, zeros
    for i in range(rows):
        d = load(at(kind, x + i * step), 0, 16) - mean
        sums += d
        squares = fma(d, d, squares)
    rest = sums * counts
    store(r, 0, mean)
    store(r, 16, rest)
    store(r, 32, squares * counts - rest * rest)
    for j in range(16):
        variances[j] = r[32 + j]
        if not settled(r[32 + j], r[16 + j]):
            column = x + j * itemsize
            variances[j] = wide_variance(kind, column, rows, step, 1, r[j], r[16 + j])


@compiled
def rstd_of(r, variance, eps):
    """1 / sqrt(variance + eps), in the dtype of `r`."""
    return r.dtype.type(1 / math.sqrt(variance + eps))


@handler
def batch_norm_train(words, kind, part, parts):
    """y = each channel of x (a, c, n) standardised, times weight, plus bias.

    Words: y, x, weight, bias, eps, a, c, n, steps of x along a and c, of y.
    """
    w = carray(words, (WORDS,))
    a, c, n = w[5], w[6], w[7]
    eps = w[4:5].view(np.float64)[0]
    weight, bias = carray(at(kind, w[2]), (c,)), carray(at(kind, w[3]), (c,))
    itemsize = weight.itemsize
    in_rows = n == 1 and w[9] == 1 and w[11] == 1
    start, stop = share(c, 16 if in_rows else 1, part, parts)
    r, variances = np.empty(48, weight.dtype), np.empty(16)
    while in_rows and start + 16 <= stop:
        x, step = w[1] + start * itemsize, w[8] * itemsize
        moments_of_16(kind, x, a, step, r, variances)
        for j in range(16):
            r[32 + j] = rstd_of(r, variances[j], eps)
        means, rests = load(r, 0, 16), load(r, 16, 16)
        scales, shifts = load(r, 32, 16) * load(weight, start, 16), load(bias, start, 16)
        for i in range(a):
            target = at(kind, w[0] + (i * w[10] + start) * itemsize)
            d = (load(at(kind, x + i * step), 0, 16) - means) - rests
            store(target, 0, fma(d, scales, shifts))
        start += 16
    for k in range(start, stop):
        x, step = w[1] + k * w[9] * itemsize, w[8] * itemsize
        # Folded into one number, bias - mean * scale would lose what is small beside the mean.
        mean, rest, variance = moments(kind, x, a, step, n)
        scale, shift = weight[k] * rstd_of(r, variance, eps), bias[k]
        means, rests, scales, shifts = (
            fill(mean, 16), fill(rest, 16), fill(scale, 16), fill(shift, 16),
        )  # fmt: skip
        for i in range(a):
            source, target = (
                at(kind, x + i * step),
                at(kind, w[0] + (i * w[10] + k * w[11]) * itemsize),
            )
            whole = n // 16 * 16
            for j in range(0, whole, 16):
                store(target, j, fma((load(source, j, 16) - means) - rests, scales, shifts))
            xs, ys = carray(source, (n,)), carray(target, (n,))
            for j in range(whole, n):
                ys[j] = ((xs[j] - mean) - rest) * scale + shift


@handler
def batch_norm_grad(words, kind, part, parts):
    """dx (a, c, n), dweight and dbias (c,) of a batch norm, whose output has the gradient g.

    With h the standardised x, dbias = sum(g), dweight = sum(g h) and
    dx = weight / std (g - dbias / m - h dweight / m) for the m = a n numbers of a channel.
    Words: dx, dweight, dbias, g, x, weight, eps, a, c, n, steps of x along a and c, of dx, of g.
    """
    w = carray(words, (WORDS,))
    a, c, n = w[7], w[8], w[9]
    eps = w[6:7].view(np.float64)[0]
    dweight, dbias = carray(at(kind, w[1]), (c,)), carray(at(kind, w[2]), (c,))
    weight = carray(at(kind, w[5]), (c,))
    itemsize, zero = weight.itemsize, weight.dtype.type(0)
    whole = n // 16 * 16
    in_rows = n == 1 and w[11] == 1 and w[13] == 1 and w[15] == 1
    start, stop = share(c, 16 if in_rows else 1, part, parts)
    r, variances, none = np.empty(48, weight.dtype), np.empty(16), fill(zero, 16)
    while in_rows and start + 16 <= stop:
        x, step = w[4] + start * itemsize, w[10] * itemsize
        g, gstep = w[3] + start * itemsize, w[14] * itemsize
        moments_of_16(kind, x, a, step, r, variances)
        for j in range(16):
            r[32 + j] = rstd_of(r, variances[j], eps)
        means, rests, rstds = load(r, 0, 16), load(r, 16, 16), load(r, 32, 16)
        sums, dots = none, none
        for i in range(a):
            v = load(at(kind, g + i * gstep), 0, 16)
            h = ((load(at(kind, x + i * step), 0, 16) - means) - rests) * rstds
            sums += v
            dots = fma(v, h, dots)
        store(dweight, start, dots)
        store(dbias, start, sums)
        scales = load(weight, start, 16) * rstds
        each = scales * fill(weight.dtype.type(1) / weight.dtype.type(a), 16)
        slopes, shifts = none - each * dots, none - each * sums
        for i in range(a):
            v = fma(load(at(kind, g + i * gstep), 0, 16), scales, shifts)
            h = ((load(at(kind, x + i * step), 0, 16) - means) - rests) * rstds
            store(at(kind, w[0] + (i * w[12] + start) * itemsize), 0, fma(h, slopes, v))
        start += 16
    for k in range(start, stop):
        x, step = w[4] + k * w[11] * itemsize, w[10] * itemsize
        g, gstep = w[3] + k * w[15] * itemsize, w[14] * itemsize
        mean, rest, variance = moments(kind, x, a, step, n)
        rstd = rstd_of(r, variance, eps)
        means, rests, rstds = fill(mean, 16), fill(rest, 16), fill(rstd, 16)
        sums, dots, sum_, dot = fill(zero, 16), fill(zero, 16), zero, zero
        for i in range(a):
            source, gradient = at(kind, x + i * step), at(kind, g + i * gstep)
            for j in range(0, whole, 16):
                v = load(gradient, j, 16)
                sums += v
                dots = fma(v, ((load(source, j, 16) - means) - rests) * rstds, dots)
            xs, gs = carray(source, (n,)), carray(gradient, (n,))
            for j in range(whole, n):
                sum_ += gs[j]
                dot += gs[j] * (((xs[j] - mean) - rest) * rstd)
        sum_, dot = sum_ + total(sums), dot + total(dots)
        dweight[k], dbias[k] = dot, sum_
        # dx = g * scale - h * slope - shift
        scale = weight[k] * rstd
        count = weight.dtype.type(a * n)
        slope, shift = scale * dot / count, scale * sum_ / count
        scales, slopes, shifts = fill(scale, 16), fill(zero - slope, 16), fill(shift, 16)
        for i in range(a):
            source, gradient = at(kind, x + i * step), at(kind, g + i * gstep)
            target = at(kind, w[0] + (i * w[12] + k * w[13]) * itemsize)
            for j in range(0, whole, 16):
                v = fma(load(gradient, j, 16), scales, fill(zero, 16) - shifts)
                h = ((load(source, j, 16) - means) - rests) * rstds
                store(target, j, fma(h, slopes, v))
            xs, gs, ds = carray(source, (n,)), carray(gradient, (n,)), carray(target, (n,))
            for j in range(whole, n):
                h = ((xs[j] - mean) - rest) * rstd
                ds[j] = gs[j] * scale - h * slope - shift


@handler
def batch_norm_stats(words, kind, part, parts):
    """Running statistics (c,) after a batch x (a, c, n): each old + momentum (new - old).

    Words: mean, variance, x, old mean, old variance, momentum, a, c, n, steps of x along a and c.
    """
    w = carray(words, (WORDS,))
    a, c, n = w[6], w[7], w[8]
    means, variances = carray(at(kind, w[0]), (c,)), carray(at(kind, w[1]), (c,))
    old_means, old_variances = carray(at(kind, w[3]), (c,)), carray(at(kind, w[4]), (c,))
    momentum = means.dtype.type(w[5:6].view(np.float64)[0])
    keep = means.dtype.type(1 - w[5:6].view(np.float64)[0])
    unbiased = means.dtype.type(a * n / (a * n - 1)) if a * n > 1 else means.dtype.type(np.nan)
    in_rows = n == 1 and w[10] == 1
    start, stop = share(c, 16 if in_rows else 1, part, parts)
    r, of_16 = np.empty(48, means.dtype), np.empty(16)
    while start < stop:
        x, step, count = w[2] + start * w[10] * means.itemsize, w[9] * means.itemsize, 1
        if in_rows and start + 16 <= stop:
            moments_of_16(kind, x, a, step, r, of_16)
            count = 16
        else:
            r[0], r[16], of_16[0] = moments(kind, x, a, step, n)
        for j in range(count):
            k = start + j
            means[k] = old_means[k] * keep + (r[j] + r[16 + j]) * momentum
            variance = means.dtype.type(of_16[j])
            variances[k] = old_variances[k] * keep + variance * unbiased * momentum
        start += count
