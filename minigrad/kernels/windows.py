"""Windows and arrays in any layout, as convolutions and pooling have them.

A layout is given by lengths and, for every array, steps in elements. Windows are a layout too: what
a kernel sees along an axis is one axis more, over the same memory.
"""

import math
from typing import Any

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import Declined
from minigrad.kernels.layouts import AXES, Empty, joined, planes, windows_of
from minigrad.kernels.machine import array, at, fields, kernel, share
from minigrad.kernels.vectors import beats, evens, fill, load, odds, select, store, zipped

# --- arrays in any layout -------------------------------------------------------------------------


@compiled
def place(lengths, steps, axes, number):
    """Where element `number` of the first `axes` axes begins, in elements."""
    found = 0
    for a in range(axes - 1, -1, -1):
        found += number % lengths[a] * steps[a]
        number //= lengths[a]
    return found


@compiled
def begin(lengths, axes, number, counts):
    """Set `counts` to the place of element `number` of the first `axes` axes."""
    for a in range(axes - 1, -1, -1):
        counts[a] = number % lengths[a]
        number //= lengths[a]


@compiled
def advance(lengths, axes, counts):
    """The next place: the axis that goes one on; all behind it go back to 0."""
    for a in range(axes - 1, -1, -1):
        counts[a] += 1
        if counts[a] < lengths[a]:
            return a
        counts[a] = 0
    return -1


@compiled
def moved(lengths, steps, axes, axis, at_):
    """Where an array's next place is, given the axis that goes on."""
    for a in range(axes - 1, axis, -1):
        at_ -= (lengths[a] - 1) * steps[a]
    return at_ + steps[axis] if axis >= 0 else at_


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
def positive_row(y, x, z, n):
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


@kernel("y a b what axes", lengths=AXES, y_steps=AXES, a_steps=AXES, b_steps=AXES, strided=True)
def strided(record, kind, part, parts):
    """y = a (if `what` is 0), or a where b > 0, else b (1), or a + b (2); all in any layout."""
    r = fields(record)
    what, axes = r.what, r.axes
    last, outer = axes - 1, axes - 2  # the rows of the last axis; those of the one before together
    rows, together = 1, r.lengths[outer] if axes > 1 else 1
    for i in range(last):
        rows *= r.lengths[i]
    n = r.lengths[last]
    sy, sa, sb = r.y_steps[last], r.a_steps[last], r.b_steps[last]
    start, stop = share(rows, 1, part, parts)
    first = array(kind, r.y, (1,))
    zero, itemsize = first.dtype.type(0), first.itemsize
    plain = sy == 1 and sa == 1 and (what == 0 or sb == 1)
    counts = np.empty(AXES, np.int64)
    row = start
    while row < stop:
        begin(r.lengths, last, row, counts)
        iy = r.y + place(r.lengths, r.y_steps, last, row) * itemsize
        ia = r.a + place(r.lengths, r.a_steps, last, row) * itemsize
        ib = r.b + place(r.lengths, r.b_steps, last, row) * itemsize
        dy, da = r.y_steps[outer] * itemsize, r.a_steps[outer] * itemsize
        db = r.b_steps[outer] * itemsize
        end = min(stop, row + (together - counts[outer] if axes > 1 else 1))
        for _ in range(row, end):
            y, a, b = at(kind, iy), at(kind, ia), at(kind, ib)
            if plain and what == 0:
                copy_row(y, a, n)
            elif plain and what == 1:
                positive_row(y, a, b, n)
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


COPY, WHERE_POSITIVE, SUM = range(3)


def layout_of(shape: tuple, what: int, *arrays: tuple[Any, tuple]) -> dict[str, Any]:
    """The fields of `strided` for y, a and perhaps b, each with its strides; all have one shape.

    Raises:
        Declined: a layout is not for it.
    """
    found = joined(shape, *(strides for _, strides in arrays), item=arrays[0][0].dtype.itemsize)
    if found is None or not math.prod(shape):
        raise Declined
    lengths, steps = found
    values = {"what": what, "axes": len(lengths), "lengths": lengths, "b": None, "b_steps": None}
    for name, (x, _), s in zip("yab", arrays, steps, strict=False):
        values |= {name: x, f"{name}_steps": s}
    return values


reshape = strided.like("reshape")


@reshape.accepts
def _(x, *, shape):
    shape = shape if isinstance(shape, tuple) else (shape,)
    if not _takes(x):
        return None
    missing = x.size // -math.prod(shape)  # for the length that is -1, if one is
    return Empty(tuple(missing if n == -1 else n for n in shape), x.dtype)


@reshape.fills
def _(program, outputs, x, *, shape):
    (y,) = outputs
    if not y.flags.c_contiguous:
        raise Declined
    # What is read in the order of `x` is written one element after the other.
    packed = tuple(math.prod(x.shape[i + 1 :]) * x.dtype.itemsize for i in range(x.ndim))
    return layout_of(x.shape, COPY, (y, packed), (x, x.strides))


# --- windows --------------------------------------------------------------------------------------

windows = strided.like("windows")


@windows.accepts
def _(x, *, axis, size, count, stride=1, dilation=1):
    """`count` windows of `size` elements along `axis`, counted from the end, in an axis 2."""
    if not _takes(x) or not _within(x.shape[axis:][:1], (size,), (stride,), (dilation,), (count,)):
        return None
    return Empty(windows_of(x, axis, size, count, stride, dilation)[0], x.dtype)


@windows.fills
def _(program, outputs, x, *, axis, size, count, stride=1, dilation=1):
    (y,) = outputs
    shape, strides = windows_of(x, axis, size, count, stride, dilation)
    return layout_of(shape, COPY, (y, y.strides), (x, strides))


def _takes(x: Any) -> bool:
    return bool(x.size) and x.dtype in (np.float32, np.float64)


def _within(lengths, kernel, stride, dilation, counts) -> bool:
    """Whether the last window along each axis ends within its length."""
    return all(
        (c - 1) * s + (k - 1) * d < n
        for n, k, s, d, c in zip(lengths, kernel, stride, dilation, counts, strict=True)
    )


@kernel("y g size axes y_step g_step whole leading", lengths=AXES, y_steps=AXES, g_steps=AXES)
def sum_windows(record, kind, part, parts):
    """y = zeros, and all windows g added where they came from."""
    r = fields(record)
    size, axes = r.size, r.axes
    ystep, gstep, whole, leading = r.y_step, r.g_step, r.whole, r.leading
    itemsize = array(kind, r.y, (1,)).itemsize
    pieces, rows = 1, 1
    for i in range(axes - 1):
        if i < leading:
            pieces *= r.lengths[i]
        else:
            rows *= r.lengths[i]
    n, sy, sg = r.lengths[axes - 1], r.y_steps[axes - 1], r.g_steps[axes - 1]
    start, stop = share(pieces, 1, part, parts)
    zeros = array(kind, r.y + start * whole * itemsize, ((stop - start) * whole,))
    for i in range(zeros.size):
        zeros[i] = 0
    if start == stop:
        return
    counts, row = np.empty(AXES, np.int64), start * rows
    begin(r.lengths, axes - 1, row, counts)
    i0 = place(r.lengths, r.y_steps, axes - 1, row)
    i1 = place(r.lengths, r.g_steps, axes - 1, row)
    for _ in range(row, stop * rows):
        y = array(kind, r.y + i0 * itemsize, (n * max(sy, 1) + size * ystep,))
        g = array(kind, r.g + i1 * itemsize, (n * max(sg, 1) + size * gstep,))
        for i in range(size):
            if sy == 1 and sg == 1:
                to = at(kind, r.y + (i0 + i * ystep) * itemsize)
                add_row(to, at(kind, r.g + (i1 + i * gstep) * itemsize), n)
            else:
                for j in range(n):
                    y[i * ystep + j * sy] += g[i * gstep + j * sg]
        axis = advance(r.lengths, axes - 1, counts)
        i0 = moved(r.lengths, r.y_steps, axes - 1, axis, i0)
        i1 = moved(r.lengths, r.g_steps, axes - 1, axis, i1)


@sum_windows.accepts
def _(g, *, axis, length, stride=1, dilation=1):
    """Zeros of `length` along `axis` with all windows added in."""
    counts = g.shape[axis:][:1]
    if not _takes(g) or not _within((length,), g.shape[2:3], (stride,), (dilation,), counts):
        return None
    shape = [*g.shape[:2], *g.shape[3:]]
    shape[axis] = length
    return Empty(tuple(shape), g.dtype)


@sum_windows.fills
def _(program, outputs, g, *, axis, length, stride=1, dilation=1):
    (y,), item, size = outputs, g.dtype.itemsize, g.shape[2]
    _, strides = windows_of(y, axis, size, g.shape[axis], stride, dilation)
    # Pieces are what threads share: what belongs to one index of the first two axes.
    shape = g.shape[:2] + g.shape[3:]
    of_y, of_g = strides[:2] + strides[3:], g.strides[:2] + g.strides[3:]
    first = joined(shape[:2], of_y[:2], of_g[:2], item=item)
    rest = joined(shape[2:], of_y[2:], of_g[2:], item=item)
    if first is None or rest is None or g.strides[2] % item or g.strides[2] < 0:
        raise Declined
    lengths = first[0] + rest[0]
    if len(lengths) > AXES:
        raise Declined
    y_steps, g_steps = (a + b for a, b in zip(first[1], rest[1], strict=True))
    return {
        "size": size, "axes": len(lengths), "lengths": lengths, "y_steps": y_steps,
        "g_steps": g_steps, "y_step": strides[2] // item, "g_step": g.strides[2] // item,
        "whole": y.size // (shape[0] * shape[1]), "leading": len(first[0]),
    }  # fmt: skip


# --- the largest of each window -------------------------------------------------------------------

POOLED = "a b y_a y_b x_a x_b h width p q k0 k1 s0 s1 d0 d1"


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
        top, below = load(x0, 2 * start, both), load(x1, 2 * start, both)
        g = load(g, start, lanes)
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


@kernel("y x", POOLED, work=2, strided=True)
def max_windows(record, kind, part, parts):
    """y (a, b, p, q) = the largest of each window of x (a, b, h, w); NaN if there is one."""
    r = fields(record)
    B, width, P, Q = r.b, r.width, r.p, r.q
    k0, k1, s0, s1, d0, d1 = r.k0, r.k1, r.s0, r.s1, r.d0, r.d1
    itemsize = array(kind, r.y, (1,)).itemsize
    in_fours = k0 == 2 and k1 == 2 and s1 == 2 and d1 == 1
    start, stop = share(r.a * B, 1, part, parts)
    for plane in range(start, stop):
        i, j = plane // B, plane % B
        to = at(kind, r.y + (i * r.y_a + j * r.y_b) * itemsize)
        source = r.x + (i * r.x_a + j * r.x_b) * itemsize
        y, x = carray(to, (P, Q)), array(kind, source, (r.h, width))
        for p in range(P):
            q = 0
            if in_fours:
                row = at(kind, r.y + (i * r.y_a + j * r.y_b + p * Q) * itemsize)
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


@max_windows.accepts
def _(x, *, kernel, stride, dilation, counts):
    """The largest of each window along the last one or two axes of x (A, B, *lengths)."""
    if len(kernel) > 2 or x.ndim != 2 + len(kernel) or not _takes(x) or planes(x) is None:
        return None
    if not math.prod(counts) or not _within(x.shape[2:], kernel, stride, dilation, counts):
        return None
    return Empty((*x.shape[:2], *counts), x.dtype)


max_windows.fills(lambda program, outputs, x, **options: _pooled(outputs[0], x, **options))


def _pooled(y: Any, x: Any, kernel, stride, dilation, counts) -> dict[str, Any]:
    """The fields of `POOLED`: `y` is the result, or the gradient of `x`."""
    steps_y, steps_x = planes(y), planes(x)
    if steps_y is None or steps_x is None:
        raise Declined
    found = {"a": x.shape[0], "b": x.shape[1]}
    found |= zip(("y_a", "y_b", "x_a", "x_b"), (*steps_y, *steps_x), strict=True)
    one = (1,) * (2 - len(kernel))
    numbers = (x.shape[2:], counts, kernel, stride, dilation)
    names = ("h", "width"), ("p", "q"), ("k0", "k1"), ("s0", "s1"), ("d0", "d1")
    for pair, values in zip(names, numbers, strict=True):
        found |= zip(pair, (*one, *values), strict=True)
    return found


@kernel("y x g", POOLED, "g_a g_b", work=3, strided=True)
def max_windows_grad(record, kind, part, parts):
    """dx (a, b, h, w) = zeros, and g (a, b, p, q) added where its window's first largest is."""
    r = fields(record)
    B, H, width, P, Q = r.b, r.h, r.width, r.p, r.q
    k0, k1, s0, s1, d0, d1 = r.k0, r.k1, r.s0, r.s1, r.d0, r.d1
    first = array(kind, r.y, (1,))
    itemsize, zero = first.itemsize, first.dtype.type(0)
    in_fours = k0 == 2 and k1 == 2 and s0 == 2 and s1 == 2 and d0 == 1 and d1 == 1
    start, stop = share(r.a * B, 1, part, parts)
    for plane in range(start, stop):
        i, j = plane // B, plane % B
        target = r.y + (i * r.y_a + j * r.y_b) * itemsize
        source = r.x + (i * r.x_a + j * r.x_b) * itemsize
        gradient = r.g + (i * r.g_a + j * r.g_b) * itemsize
        dx, x = array(kind, target, (H, width)), array(kind, source, (H, width))
        g = array(kind, gradient, (P, Q))
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


@max_windows_grad.accepts
def _(g, x, **options):
    """Zeros like `x`, and `g` added where the first largest of its window is."""
    y = max_windows.outputs(x, **options)
    if y is None or g.shape != y.shape or g.dtype is not y.dtype or planes(g) is None:
        return None
    return x


@max_windows_grad.fills
def _(program, outputs, g, x, **options):
    found = _pooled(outputs[0], x, **options)
    return found | dict(zip(("g_a", "g_b"), planes(g), strict=True))
