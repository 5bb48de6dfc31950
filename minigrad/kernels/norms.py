"""Normalisation: over the last axis (layer norm), and over all but the channels (batch norm)."""

import math
from typing import Any

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import GROUPS, Declined
from minigrad.kernels.layouts import Empty, alike, covered, planes, planes_of, rows_of
from minigrad.kernels.machine import array, at, fields, kernel, of_group, share, span_of
from minigrad.kernels.reductions import column_sums
from minigrad.kernels.rows import row_sum
from minigrad.kernels.vectors import fill, fma, load, store, total

# --- layer norm -----------------------------------------------------------------------------------


@compiled
def mean_and_rstd(x, start, n, eps):
    """Mean, in two parts, and 1 / sqrt(biased variance + eps) of a row; whether that is settled.

    Far from zero the first part is off by its rounding, which may be as large as all deviations;
    the second is what the deviations from the first, which the second pass finds in the cache, have
    for a mean. Not settled are the few rows for which there is `wide_rstd`.
    """
    number, one = x.dtype.type, 1.0 / max(n, 1)  # a factor: divisions would be waited for
    mean = number(row_sum(x, start, n, number(0))[0] * one)
    sums, squares = row_sum(x, start, n, mean)
    rest = sums * one
    variance = squares * one - rest * rest
    settled = rest * rest <= variance < np.inf
    return mean, number(rest), number(1.0 / math.sqrt(variance + eps)), settled


@compiled
def wide_rstd(x, start, n, mean, rest, eps):
    """1 / sqrt(variance + eps) where squares lose digits or have no room: in float64."""
    squares = 0.0
    for j in range(start, start + n):
        v = np.float64(x[j] - mean) - rest
        squares += v * v
    return 1.0 / math.sqrt(squares / n + eps)


@compiled
def layer_norm_loop(y, x, weight, bias, eps):
    n = x.shape[1]
    whole = n // 16 * 16
    y, x = y.reshape(-1), x.reshape(-1)
    for start in range(0, x.size, max(n, 1)):
        mean, rest, rstd, settled = mean_and_rstd(x, start, n, eps)
        if not settled:
            rstd = x.dtype.type(wide_rstd(x, start, n, mean, rest, eps))
        low, lower, scale = fill(mean, 16), fill(rest, 16), fill(rstd, 16)
        for j in range(0, whole, 16):
            v = ((load(x, start + j, 16) - low) - lower) * scale
            store(y, start + j, fma(v, load(weight, j, 16), load(bias, j, 16)))
        j = whole
        while j < n:
            y[start + j] = ((x[start + j] - mean) - rest) * rstd * weight[j] + bias[j]
            j += 1


@kernel("y total x weight bias more n d", GROUPS, eps=float, work=10)
def layer_norm(record, kind, part, parts):
    """y = layer norm of x (n, d), or of x + more, which is stored in `total`; perhaps by groups."""
    r = fields(record)
    n, d = r.n, r.d
    start, stop = share(n, 16, part, parts)
    y, x = array(kind, r.y, (n, d)), array(kind, r.x, (n, d))
    if r.more:
        more, total = array(kind, r.more, (n, d)), array(kind, r.total, (n, d))
        for i in range(start, stop):
            for j in range(d):
                total[i, j] = x[i, j] + more[i, j]
        x = total
    for g in range(max(r.groups, 1)):
        low, high = span_of(r, g, n)
        low, high = max(start, low), min(stop, high)
        if low < high:
            weight = array(kind, of_group(r, r.weight, g), (d,))
            bias = array(kind, of_group(r, r.bias, g), (d,))
            layer_norm_loop(y[low:high], x[low:high], weight, bias, r.eps)


@layer_norm.accepts
def _(x, weight, bias, more=None, *, eps):
    """In programs with `more`, which is added first; the sum comes out, too."""
    if weight is None or bias is None or not x.ndim or not covered(x, weight, bias):
        return None
    if not weight.shape == bias.shape == x.shape[-1:]:
        return None
    if more is None:
        return x
    return (x, x) if x.size and alike(x, more) else None


@layer_norm.fills
def _(program, outputs, x, weight, bias, more=None, *, eps):
    if not x.size:
        raise Declined
    found = {"total": (*outputs, None)[1], "n": x.size // x.shape[-1], "d": x.shape[-1]}
    if groups := program.groups(found["n"], weight, bias):
        found |= {"weight": program.table(weight), "bias": program.table(bias)}
    return found | groups


@layer_norm.direct((1, 1), (1,), (1,), eps=1.0)
def _(y, x, weight, bias, *, eps):
    layer_norm_loop(rows_of(y), rows_of(x), weight, bias, float(eps))


@compiled
def layer_norm_grad_loop(dx, dweight, dbias, g, x, weight, eps):
    # With n = (x - mean) * rstd and h = g * weight: dx = rstd * (h - mean(h) - n * mean(h * n)).
    n, zero, one = x.shape[1], x.dtype.type(0), 1.0 / max(x.shape[1], 1)
    whole = n // 16 * 16
    dx, g, x = dx.reshape(-1), g.reshape(-1), x.reshape(-1)
    for j in range(n):
        dweight[j] = zero
        dbias[j] = zero
    all_settled = True
    for start in range(0, x.size, max(n, 1)):
        mean, rest, rstd, settled = mean_and_rstd(x, start, n, eps)
        if not settled:
            all_settled = False
            continue
        low, lower, scale = fill(mean, 16), fill(rest, 16), fill(rstd, 16)
        h_sums, hn_sums = fill(zero, 16), fill(zero, 16)
        for j in range(0, whole, 16):
            v = ((load(x, start + j, 16) - low) - lower) * scale
            e = load(g, start + j, 16)
            h = e * load(weight, j, 16)
            h_sums = h_sums + h
            hn_sums = fma(h, v, hn_sums)
            store(dweight, j, fma(e, v, load(dweight, j, 16)))
            store(dbias, j, e + load(dbias, j, 16))
        h_sum, hn_sum = total(h_sums), total(hn_sums)
        j = whole
        while j < n:
            v = ((x[start + j] - mean) - rest) * rstd
            h = g[start + j] * weight[j]
            h_sum += h
            hn_sum += h * v
            dweight[j] += g[start + j] * v
            dbias[j] += g[start + j]
            j += 1
        h_mean, hn_mean = x.dtype.type(h_sum * one), x.dtype.type(hn_sum * one)
        h_low, hn_low = fill(h_mean, 16), fill(hn_mean, 16)
        for j in range(0, whole, 16):
            v = ((load(x, start + j, 16) - low) - lower) * scale
            h = load(g, start + j, 16) * load(weight, j, 16)
            store(dx, start + j, scale * (h - h_low - v * hn_low))
        j = whole
        while j < n:
            v = ((x[start + j] - mean) - rest) * rstd
            dx[start + j] = rstd * (g[start + j] * weight[j] - h_mean - v * hn_mean)
            j += 1
    if not all_settled:
        layer_norm_grad_unsettled(dx, dweight, dbias, g, x, weight, eps)


@compiled
def layer_norm_grad_unsettled(dx, dweight, dbias, g, x, weight, eps):
    """The rows of `layer_norm_grad_loop`, all in one, whose variance is not settled."""
    n, zero = weight.size, x.dtype.type(0)
    for start in range(0, x.size, max(n, 1)):
        mean, rest, _, settled = mean_and_rstd(x, start, n, eps)
        if settled:
            continue
        rstd = x.dtype.type(wide_rstd(x, start, n, mean, rest, eps))
        h_mean, hn_mean = zero, zero
        for j in range(n):
            v = ((x[start + j] - mean) - rest) * rstd
            h = g[start + j] * weight[j]
            h_mean += h
            hn_mean += h * v
            dweight[j] += g[start + j] * v
            dbias[j] += g[start + j]
        h_mean, hn_mean = x.dtype.type(h_mean / n), x.dtype.type(hn_mean / n)
        for j in range(n):
            v = ((x[start + j] - mean) - rest) * rstd
            dx[start + j] = rstd * (g[start + j] * weight[j] - h_mean - v * hn_mean)


@kernel("dx dweight dbias g x weight more sums n d chunks", GROUPS, eps=float, work=20)
def layer_norm_grad(record, kind, part, parts):
    """dx (n, d); and for each of `chunks` of the rows, a row of partial sums (dweight, dbias).

    With groups, a chunk is what a group has, and `dweight` and `dbias` have addresses.
    """
    r = fields(record)
    n, d, groups, chunks = r.n, r.d, r.groups, r.chunks
    dx, g, x = array(kind, r.dx, (n, d)), array(kind, r.g, (n, d)), array(kind, r.x, (n, d))
    for chunk in range(part, groups if groups else chunks, parts):
        start, stop = span_of(r, chunk, n)
        weight = array(kind, of_group(r, r.weight, chunk), (d,))
        if groups:
            if start == stop:
                continue
            dweight = array(kind, of_group(r, r.dweight, chunk), (d,))
            dbias = array(kind, of_group(r, r.dbias, chunk), (d,))
        else:
            start, stop = share(n, 1, chunk, chunks)
            sums = array(kind, r.sums, (chunks, 2, d))
            dweight, dbias = sums[chunk, 0], sums[chunk, 1]
        layer_norm_grad_loop(
            dx[start:stop], dweight, dbias, g[start:stop], x[start:stop], weight, r.eps
        )
        if r.more:
            more = array(kind, r.more, (n, d))
            for i in range(start, stop):
                for j in range(d):
                    dx[i, j] += more[i, j]


@layer_norm_grad.accepts
def _(g, x, weight, more=None, *, eps):
    """In programs with `more`, which is added to dx."""
    if weight is None or not x.ndim or not covered(g, x, weight):
        return None
    if g.shape != x.shape or weight.shape != x.shape[-1:]:
        return None
    return (x, weight, weight) if more is None or (x.size and alike(x, more)) else None


@layer_norm_grad.fills
def _(program, outputs, g, x, weight, more=None, *, eps):
    if not x.size:
        raise Declined
    _, dweight, dbias = outputs
    d, chunks = x.shape[-1], _chunks(x)
    n = x.size // d
    found = {"n": n, "d": d, "chunks": chunks, "sums": None}
    if program.owns(weight):
        tables = map(program.table, (weight, dweight, dbias))
        found |= zip(("weight", "dweight", "dbias"), tables, strict=True)
        return found | program.groups(n, weight)
    sums = program.scratch()
    for i, y in enumerate((dweight, dbias)):
        part = {"x": sums + i * d * x.dtype.itemsize, "m": chunks, "n": d, "step": 2 * d}
        program.then(column_sums.instruction(y.dtype, chunks * d, y=y, **part))
    return found | {"sums": sums}


@layer_norm_grad.direct((1, 1), (1, 1), (1,), eps=1.0)
def _(dx, dweight, dbias, g, x, weight, *, eps):
    layer_norm_grad_loop(rows_of(dx), dweight, dbias, rows_of(g), rows_of(x), weight, float(eps))


def _chunks(x: Any) -> int:
    """How many sums of rows there are, which threads share."""
    return min(8, max(1, -(-(x.size // max(x.shape[-1], 1)) // 64)))


layer_norm_grad.scratch = lambda g, x, *_: Empty((_chunks(x), 2, x.shape[-1]), x.dtype)


# --- batch norm: x (A, C, ...), planes of which lie without gaps ----------------------------------

SIZES = "a c n x_a x_c"  # of x (a, c, n), and its steps along a and c


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


@compiled
def standard_of_16(kind, x, rows, step, r, variances, eps):
    """The mean's parts, and 1 / sqrt(variance + eps), of 16 columns."""
    moments_of_16(kind, x, rows, step, r, variances)
    for j in range(16):
        r[32 + j] = rstd_of(r, variances[j], eps)
    return load(r, 0, 16), load(r, 16, 16), load(r, 32, 16)


@kernel("y x weight bias", SIZES, "y_a y_c", eps=float, work=8, strided=True)
def batch_norm_train(record, kind, part, parts):
    """y = each channel of x (a, c, n) standardised, times weight, plus bias."""
    r = fields(record)
    a, c, n = r.a, r.c, r.n
    eps = r.eps
    weight, bias = array(kind, r.weight, (c,)), array(kind, r.bias, (c,))
    itemsize = weight.itemsize
    in_rows = n == 1 and r.x_c == 1 and r.y_c == 1
    start, stop = share(c, 16 if in_rows else 1, part, parts)
    box, variances = np.empty(48, weight.dtype), np.empty(16)
    while in_rows and start + 16 <= stop:
        x, step = r.x + start * itemsize, r.x_a * itemsize
        means, rests, rstds = standard_of_16(kind, x, a, step, box, variances, eps)
        scales, shifts = rstds * load(weight, start, 16), load(bias, start, 16)
        for i in range(a):
            target = at(kind, r.y + (i * r.y_a + start) * itemsize)
            d = (load(at(kind, x + i * step), 0, 16) - means) - rests
            store(target, 0, fma(d, scales, shifts))
        start += 16
    for k in range(start, stop):
        x, step = r.x + k * r.x_c * itemsize, r.x_a * itemsize
        # Folded into one number, bias - mean * scale would lose what is small beside the mean.
        mean, rest, variance = moments(kind, x, a, step, n)
        scale, shift = weight[k] * rstd_of(box, variance, eps), bias[k]
        means, rests = fill(mean, 16), fill(rest, 16)
        scales, shifts, whole = fill(scale, 16), fill(shift, 16), n // 16 * 16
        for i in range(a):
            source = at(kind, x + i * step)
            target = at(kind, r.y + (i * r.y_a + k * r.y_c) * itemsize)
            for j in range(0, whole, 16):
                store(target, j, fma((load(source, j, 16) - means) - rests, scales, shifts))
            xs, ys = carray(source, (n,)), carray(target, (n,))
            for j in range(whole, n):
                ys[j] = ((xs[j] - mean) - rest) * scale + shift


batch_norm_train.accepts(lambda x, weight, bias, *, eps: x if _channels(x, weight, bias) else None)
batch_norm_train.fills(lambda program, outputs, x, w, b, **options: planes_of(x=x, y=outputs[0]))


@kernel("dx dweight dbias g x weight", SIZES, "dx_a dx_c g_a g_c", eps=float, work=12, strided=True)
def batch_norm_grad(record, kind, part, parts):
    """dx (a, c, n), dweight and dbias (c,) of a batch norm, whose output has the gradient g.

    With h the standardised x, dbias = sum(g), dweight = sum(g h) and
    dx = weight / std (g - dbias / m - h dweight / m) for the m = a n numbers of a channel."""
    r = fields(record)
    a, c, n = r.a, r.c, r.n
    eps = r.eps
    dweight, dbias = array(kind, r.dweight, (c,)), array(kind, r.dbias, (c,))
    weight = array(kind, r.weight, (c,))
    itemsize, zero = weight.itemsize, weight.dtype.type(0)
    whole = n // 16 * 16
    in_rows = n == 1 and r.x_c == 1 and r.dx_c == 1 and r.g_c == 1
    start, stop = share(c, 16 if in_rows else 1, part, parts)
    box, variances, none = np.empty(48, weight.dtype), np.empty(16), fill(zero, 16)
    while in_rows and start + 16 <= stop:
        x, step = r.x + start * itemsize, r.x_a * itemsize
        g, gstep = r.g + start * itemsize, r.g_a * itemsize
        means, rests, rstds = standard_of_16(kind, x, a, step, box, variances, eps)
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
            store(at(kind, r.dx + (i * r.dx_a + start) * itemsize), 0, fma(h, slopes, v))
        start += 16
    for k in range(start, stop):
        x, step = r.x + k * r.x_c * itemsize, r.x_a * itemsize
        g, gstep = r.g + k * r.g_c * itemsize, r.g_a * itemsize
        mean, rest, variance = moments(kind, x, a, step, n)
        rstd = rstd_of(box, variance, eps)
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
            target = at(kind, r.dx + (i * r.dx_a + k * r.dx_c) * itemsize)
            for j in range(0, whole, 16):
                v = fma(load(gradient, j, 16), scales, fill(zero, 16) - shifts)
                h = ((load(source, j, 16) - means) - rests) * rstds
                store(target, j, fma(h, slopes, v))
            xs, gs, ds = carray(source, (n,)), carray(gradient, (n,)), carray(target, (n,))
            for j in range(whole, n):
                h = ((xs[j] - mean) - rest) * rstd
                ds[j] = gs[j] * scale - h * slope - shift


@batch_norm_grad.accepts
def _(g, x, weight, *, eps):
    if g.shape != x.shape or g.dtype != x.dtype or not _channels(x, weight):
        return None
    return x, weight, weight


@batch_norm_grad.fills
def _(program, outputs, g, x, weight, *, eps):
    dx, *others = outputs
    if not covered(*others):
        raise Declined
    return planes_of(x=x, dx=dx, g=g)


@kernel("mean var x running_mean running_var", SIZES, momentum=float, work=6)
def batch_norm_stats(record, kind, part, parts):
    """Running statistics (c,) after a batch x (a, c, n): each old + momentum (new - old)."""
    r = fields(record)
    a, c, n = r.a, r.c, r.n
    means, variances = array(kind, r.mean, (c,)), array(kind, r.var, (c,))
    old_means = array(kind, r.running_mean, (c,))
    old_variances = array(kind, r.running_var, (c,))
    momentum = means.dtype.type(r.momentum)
    keep = means.dtype.type(1 - r.momentum)
    unbiased = means.dtype.type(a * n / (a * n - 1)) if a * n > 1 else means.dtype.type(np.nan)
    in_rows = n == 1 and r.x_c == 1
    start, stop = share(c, 16 if in_rows else 1, part, parts)
    box, of_16 = np.empty(48, means.dtype), np.empty(16)
    while start < stop:
        x, step, count = r.x + start * r.x_c * means.itemsize, r.x_a * means.itemsize, 1
        if in_rows and start + 16 <= stop:
            moments_of_16(kind, x, a, step, box, of_16)
            count = 16
        else:
            box[0], box[16], of_16[0] = moments(kind, x, a, step, n)
        for j in range(count):
            k = start + j
            means[k] = old_means[k] * keep + (box[j] + box[16 + j]) * momentum
            variance = means.dtype.type(of_16[j])
            variances[k] = old_variances[k] * keep + variance * unbiased * momentum
        start += count


@batch_norm_stats.accepts
def _(x, running_mean, running_var, *, momentum):
    if not _channels(x, running_mean, running_var) or x.size == x.shape[1]:
        return None  # the variance of one number, for one
    return running_mean, running_var


batch_norm_stats.fills(lambda program, outputs, x, mean, var, **options: planes_of(x=x))


def _channels(x: Any, *affine: Any) -> bool:
    """Whether x (A, C, ...) has planes without gaps, and `affine` are of its channels."""
    if x.ndim < 2 or not x.size or affine[0] is None or affine[-1] is None or planes(x) is None:
        return False
    channels = x.shape[1:2]
    return covered(*affine) and all(v.dtype is x.dtype and v.shape == channels for v in affine)
