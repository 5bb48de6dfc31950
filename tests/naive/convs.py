"""Slow loops for convolution: one product of two numbers at a time."""

import math

import numpy as np

from naive import table


def per_axis(value, n):
    """`value` for each of `n` axes."""
    values = value if isinstance(value, tuple) else (value,)
    return values * n if len(values) == 1 else values


def in_batches(function):
    """`function` of (N, C, ...), for x without the batch axis as well."""

    def loop(x, *others, **params):
        rank = others[0].ndim if others else 4
        if x.ndim == rank:
            return function(x, *others, **params)
        return function(x[None], *others, **params)[0]

    return loop


def element_or(x, at, outside):
    """What `x` has at `at`, which may be beyond its ends."""
    inside = all(0 <= i < n for i, n in zip(at, x.shape, strict=True))
    return float(x[at]) if inside else outside


@in_batches
def conv(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    out, channels, *kernel = weight.shape
    n = len(kernel)
    stride, dilation = per_axis(stride, n), per_axis(dilation, n)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same":
        before, counts = [(r - 1) // 2 for r in reach], x.shape[2:]
    else:
        before = per_axis(0 if padding == "valid" else padding, n)
        counts = []
        for a in range(n):
            counts.append(0)
            while counts[a] * stride[a] + reach[a] <= x.shape[2 + a] + 2 * before[a]:
                counts[a] += 1

    def entry(at):
        i, o, *place = at
        first = o // (out // groups) * channels
        total = 0.0 if bias is None else float(bias[o])
        for c in range(channels):
            for k in np.ndindex(*kernel):
                where = [place[a] * stride[a] + k[a] * dilation[a] - before[a] for a in range(n)]
                total += float(weight[(o, c, *k)]) * element_or(x, (i, first + c, *where), 0.0)
        return total

    return table((x.shape[0], out, *counts), entry)


@in_batches
def conv_transpose(
    x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    channels, each, *kernel = weight.shape
    n = len(kernel)
    stride, dilation = per_axis(stride, n), per_axis(dilation, n)
    padding, extra = per_axis(padding, n), per_axis(output_padding, n)
    shape = [x.shape[0], each * groups]
    for a in range(n):
        last = (x.shape[2 + a] - 1) * stride[a] + (kernel[a] - 1) * dilation[a]
        shape.append(last + 1 + extra[a] - 2 * padding[a])
    y = table(shape, lambda at: 0.0 if bias is None else float(bias[at[1]]))
    for i, c, *place in np.ndindex(*x.shape):
        for o in range(each):
            for k in np.ndindex(*kernel):
                to = [place[a] * stride[a] + k[a] * dilation[a] - padding[a] for a in range(n)]
                if all(0 <= t < m for t, m in zip(to, shape[2:], strict=True)):
                    channel = c // (channels // groups) * each + o
                    y[(i, channel, *to)] += float(x[(i, c, *place)]) * float(weight[(c, o, *k)])
    return y


def places(lengths, kernel, dilation, padding, stride):
    """Where a kernel starts, all its places in order."""
    starts = []
    for a in range(2):
        last = lengths[a] + padding[a] - dilation[a] * (kernel[a] - 1)
        starts.append(range(-padding[a], last, stride[a]))
    return [(i, j) for i in starts[0] for j in starts[1]]


@in_batches
def unfold(x, *, kernel_size, dilation=1, padding=0, stride=1):
    kernel, dilation, padding, stride = (
        per_axis(v, 2) for v in (kernel_size, dilation, padding, stride)
    )
    starts = places(x.shape[2:], kernel, dilation, padding, stride)
    rows = [(c, i, j) for c in range(x.shape[1]) for i, j in np.ndindex(*kernel)]

    def entry(at):
        (c, i, j), (top, left) = rows[at[1]], starts[at[2]]
        return element_or(x, (at[0], c, top + i * dilation[0], left + j * dilation[1]), 0.0)

    return table((x.shape[0], len(rows), len(starts)), entry)


def fold(x, *, output_size, kernel_size, dilation=1, padding=0, stride=1):
    if x.ndim == 2:
        return fold(
            x[None], output_size=output_size, kernel_size=kernel_size, dilation=dilation,
            padding=padding, stride=stride,
        )[0]  # fmt: skip
    size, kernel, dilation, padding, stride = (
        per_axis(v, 2) for v in (output_size, kernel_size, dilation, padding, stride)
    )
    starts = places(size, kernel, dilation, padding, stride)
    offsets = list(np.ndindex(*kernel))
    y = np.zeros((x.shape[0], x.shape[1] // math.prod(kernel), *size))
    for b, row, column in np.ndindex(*x.shape):
        c, k = divmod(row, len(offsets))
        i, j = (starts[column][a] + offsets[k][a] * dilation[a] for a in range(2))
        if 0 <= i < size[0] and 0 <= j < size[1]:
            y[b, c, i, j] += float(x[b, row, column])
    return y


def windows(x, *, axis, size, count, stride=1, dilation=1):
    def entry(at):
        a, b, i, *rest = at
        rest[axis] = rest[axis] * stride + i * dilation
        return float(x[(a, b, *rest)])

    shape = list(x.shape)
    shape[axis] = count
    return table((*shape[:2], size, *shape[2:]), entry)


def sum_windows(g, *, axis, length, stride=1, dilation=1):
    shape = [*g.shape[:2], *g.shape[3:]]
    shape[axis] = length
    y = np.zeros(shape)
    for a, b, i, *rest in np.ndindex(*g.shape):
        to = list(rest)
        to[axis] = rest[axis] * stride + i * dilation
        y[(a, b, *to)] += float(g[(a, b, i, *rest)])
    return y
