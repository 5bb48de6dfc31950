"""Numba kernels: array functions with the names and arguments of the formulas they speed up.

A kernel is arrays in, arrays out, or `NotImplemented` where it does not cover the call; then the
formula answers. Nothing here knows autodiff. The covered case is always the same: C-contiguous
float32 or float64 arrays, all of one dtype, in native byte order.

How the file works:

- Each public function is thin Python: check, allocate, call one compiled loop, return.
- Loops are serial and release the GIL; threads belong to the caller. They compile at the first
  call for a dtype and are kept in Numba's on-disk cache. `warm_up` compiles them ahead of time.
- Sums run in vectors: reordered in functions that are `summing`, else by lanes that are written
  out; nothing else is reordered, see `compiling`. A loop that sums along a row writes to no array:
  for one that does, LLVM adds a scalar version for arrays that overlap, which it also takes for
  arrays that merely lie close, and the order of the sum would hang on addresses. As it is, equal
  inputs give bitwise equal results.
- Infinities and NaN keep their meaning: -inf is how a mask looks, and a NaN must reach the loss to
  be noticed.
- Helpers take a matrix and a row's number: passing `x[i]` to a function costs 20 ns in reference
  counts. Rows are filled by loops: Numba takes ten times as long to compile `y[:] = x`.
- Numba computes `float32 * float` in float64, so scalars are cast to the arrays' dtype first.

Letters: B batch, H heads, T queries, S keys, D channels of a head of q and k, E of v, C classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterable
from types import NotImplementedType
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from minigrad.kernels.attention import attention_grad_loop, attention_loop
from minigrad.kernels.compiling import AS_WRITTEN, compiled, summing
from minigrad.kernels.vectors import fill, fma, load, store, total
from minigrad.random import Key

__all__ = [
    "adam_step",
    "attention",
    "attention_grad",
    "batch_norm_grad",
    "batch_norm_stats",
    "batch_norm_train",
    "cross_entropy_rows",
    "cross_entropy_rows_grad",
    "dropout",
    "embedding_grad",
    "layer_norm",
    "layer_norm_grad",
    "log_softmax",
    "log_softmax_grad",
    "max_windows",
    "max_windows_grad",
    "relu_grad",
    "softmax",
    "softmax_grad",
    "square_sum",
    "sum_windows",
    "top_ids",
    "warm_up",
    "windows",
]

Array = np.ndarray
Declined = NotImplementedType

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
INT64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)


def covered(x: Array, *others: Array) -> bool:
    """Whether all arrays are C-contiguous and of one dtype, float32 or float64.

    `is` is the quick comparison of dtypes; a byte-swapped dtype is another object.
    """
    dtype = x.dtype
    if (dtype is not FLOAT32 and dtype is not FLOAT64) or not x.flags.c_contiguous:
        return False
    for y in others:  # noqa: SIM110 (`all` of a generator takes twice as long)
        if y.dtype is not dtype or not y.flags.c_contiguous:
            return False
    return True


def rows_of(x: Array) -> Array:
    """`x` as a matrix of rows along its last axis."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


# --- exp and maximum, in forms that LLVM turns into vectors ---------------------------------------


def exp(x):
    """`e**x` inside a kernel: about 0.3 ns an element in float32, libm's in float64."""
    raise NotImplementedError  # only its overload exists


# Here sums keep their order: reordered, `t - 12582912` would undo the rounding.
@overload(exp, jit_options={"fastmath": AS_WRITTEN, "error_model": "numpy"})
def _(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    # exp(x) = 2**n * exp(r) with n = round(x / log 2), |r| <= log(2) / 2; at most 1.3 ulp off.
    # Adding 1.5 * 2**23 leaves a float32 no bits for a fraction, so it rounds, and n appears in the
    # low bits; shifted by 23 they are the exponent field of 2**n. log 2 is subtracted in two parts,
    # the first short enough for n * part to be exact. Below `low`, results would be denormal: 0.
    low = np.float32(-87.33)
    log2e, rounder = np.float32(1.4426950408889634), np.float32(12582912.0)
    log2_high, log2_low = np.float32(0.693359375), np.float32(-2.12194440e-4)
    c2, c3 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1)
    c4, c5 = np.float32(4.1665795894e-2), np.float32(8.3334519073e-3)
    c6, c7 = np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)

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


@compiled
def clear(x, start):
    """`x[start:] = 0` for a matrix."""
    for i in range(start, x.shape[0]):
        clear_row(x, i)


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


# --- softmax --------------------------------------------------------------------------------------


@compiled
def softmax_row(y, x, i):
    """Softmax of row i; zeros if all of it is -inf. `y` and `x` must not overlap."""
    m = row_max(x, i)
    if m == -np.inf:
        # A NaN with its sign set, such as inf - inf gives, is ordered below -inf.
        fill = x.dtype.type(0)
        for j in range(x.shape[1]):
            if x[i, j] != x[i, j]:
                fill = x[i, j]
        for j in range(x.shape[1]):
            y[i, j] = fill
        return
    for j in range(x.shape[1]):
        y[i, j] = exp(x[i, j] - m)
    r = x.dtype.type(1) / row_total(y, i)
    for j in range(x.shape[1]):
        y[i, j] *= r


@compiled
def softmax_loop(y, x):
    for i in range(x.shape[0]):
        softmax_row(y, x, i)


@compiled
def softmax_grad_loop(dx, g, y):
    for i in range(y.shape[0]):
        dot = row_dot(g, y, i)
        for j in range(y.shape[1]):
            dx[i, j] = y[i, j] * (g[i, j] - dot)


def softmax(x: Array, *, axis: int, dtype: Any = None) -> Array | Declined:
    """Softmax along the last axis; a row of -inf gives zeros."""
    if dtype is not None:
        return NotImplemented  # the formula converts `x` and comes back
    if not x.ndim or (axis != -1 and axis != x.ndim - 1) or not covered(x):
        return NotImplemented
    y = np.empty_like(x)
    softmax_loop(rows_of(y), rows_of(x))
    return y


def softmax_grad(g: Array, y: Array, *, axis: int) -> Array | Declined:
    """`y * (g - sum(g * y))` along the last axis, for `y` a softmax."""
    if not y.ndim or (axis != -1 and axis != y.ndim - 1) or g.shape != y.shape or not covered(g, y):
        return NotImplemented
    dx = np.empty_like(y)
    softmax_grad_loop(rows_of(dx), rows_of(g), rows_of(y))
    return dx


@compiled
def log_softmax_loop(y, x):
    for i in range(x.shape[0]):
        m = row_max(x, i)
        if m == -np.inf:
            m = x.dtype.type(0)
        total = exp_total(x, i, m)
        log = x.dtype.type(0) if total == 0 else x.dtype.type(np.log(total))
        for j in range(x.shape[1]):
            y[i, j] = (x[i, j] - m) - log


@compiled
def log_softmax_grad_loop(dx, g, y):
    for i in range(y.shape[0]):
        total = row_total(g, i)
        for j in range(y.shape[1]):
            dx[i, j] = g[i, j] - exp(y[i, j]) * total


def log_softmax(x: Array, *, axis: int, dtype: Any = None) -> Array | Declined:
    """The logarithm of the softmax along the last axis; a row of -inf stays as it is."""
    if dtype is not None:
        return NotImplemented
    if not x.ndim or (axis != -1 and axis != x.ndim - 1) or not covered(x):
        return NotImplemented
    y = np.empty_like(x)
    log_softmax_loop(rows_of(y), rows_of(x))
    return y


def log_softmax_grad(g: Array, y: Array, *, axis: int) -> Array | Declined:
    """`g - exp(y) * sum(g)` along the last axis, for `y` a log-softmax."""
    if not y.ndim or (axis != -1 and axis != y.ndim - 1) or g.shape != y.shape or not covered(g, y):
        return NotImplemented
    dx = np.empty_like(y)
    log_softmax_grad_loop(rows_of(dx), rows_of(g), rows_of(y))
    return dx


# --- layer normalisation --------------------------------------------------------------------------


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
    return x.dtype.type(1.0 / math.sqrt(squares / n + eps))


# Rows that are not settled are left to a loop of their own: a loop within would take registers from
# all others, and a fifth of the time.


@compiled
def layer_norm_loop(y, x, weight, bias, eps):
    n = x.shape[1]
    whole = n // 16 * 16
    y, x = y.reshape(-1), x.reshape(-1)
    all_settled = True
    for start in range(0, x.size, max(n, 1)):
        mean, rest, rstd, settled = mean_and_rstd(x, start, n, eps)
        all_settled = all_settled and settled
        low, lower, scale = fill(mean, 16), fill(rest, 16), fill(rstd, 16)
        for j in range(0, whole, 16):
            v = ((load(x, start + j, 16) - low) - lower) * scale
            store(y, start + j, fma(v, load(weight, j, 16), load(bias, j, 16)))
        j = whole
        while j < n:
            y[start + j] = ((x[start + j] - mean) - rest) * rstd * weight[j] + bias[j]
            j += 1
    if not all_settled:
        layer_norm_unsettled(y, x, weight, bias, eps)


@compiled
def layer_norm_unsettled(y, x, weight, bias, eps):
    """The rows of `layer_norm_loop`, all in one, whose variance is not settled."""
    n = weight.size
    for start in range(0, x.size, max(n, 1)):
        mean, rest, _, settled = mean_and_rstd(x, start, n, eps)
        if settled:
            continue
        rstd = wide_rstd(x, start, n, mean, rest, eps)
        for j in range(n):
            y[start + j] = ((x[start + j] - mean) - rest) * rstd * weight[j] + bias[j]


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
        rstd = wide_rstd(x, start, n, mean, rest, eps)
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


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> Array | Declined:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` over the last axis."""
    if weight is None or bias is None or not x.ndim or not covered(x, weight, bias):
        return NotImplemented
    if not weight.shape == bias.shape == x.shape[-1:]:
        return NotImplemented
    y = np.empty_like(x)
    layer_norm_loop(rows_of(y), rows_of(x), weight, bias, float(eps))
    return y


def layer_norm_grad(
    g: Array, x: Array, weight: Array | None, *, eps: float
) -> tuple[Array, Array, Array] | Declined:
    """Gradients of `layer_norm` by `x`, `weight` and `bias`, given `g` by its result."""
    if weight is None or not x.ndim or not covered(g, x, weight):
        return NotImplemented
    if g.shape != x.shape or weight.shape != x.shape[-1:]:
        return NotImplemented
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty_like(weight)
    layer_norm_grad_loop(rows_of(dx), dweight, dbias, rows_of(g), rows_of(x), weight, float(eps))
    return dx, dweight, dbias


# --- attention ------------------------------------------------------------------------------------

NO_MASK = np.empty((0, 0, 0, 0), np.bool_)


def attention_mask(
    q: Array, k: Array, v: Array, mask: Array | None, key: object, heads: int
) -> Array | None:
    """The mask as the loops want it, C-contiguous and not broadcast; None to decline the call."""
    if key is not None or not covered(q, k, v) or not q.ndim == k.ndim == v.ndim == 3:
        return None
    (B, T, width), (_, S, v_width) = q.shape, v.shape
    if k.shape != (B, S, width) or v.shape[0] != B or width % heads or v_width % heads:
        return None
    if mask is None:
        return NO_MASK
    if mask.dtype is not BOOL or mask.ndim > 4:
        return None
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    for side, full in zip(mask.shape, (B, heads, T, S), strict=True):
        if side != 1 and side != full:
            return None
    return np.ascontiguousarray(mask)


def scale_of(q: Array, heads: int, scale: float | None) -> float:
    """The factor on the scores; 1/sqrt(D) if it is not given."""
    return math.sqrt(heads / max(q.shape[2], 1)) if scale is None else float(scale)


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    key: object,
    *,
    heads: int,
    causal: bool,
    scale: float | None,
    dropout: float,
) -> Array | Declined:
    """`softmax(scale * q @ k.T) @ v` in each head, (B, T, H*E); heads lie side by side.

    q (B, T, H*D), k (B, S, H*D), v (B, S, H*E); `mask` broadcasts to (B, H, T, S), True takes part;
    `causal` lets query i see the keys j <= i. A query without keys gives zeros. No dropout here.
    """
    mask = None if dropout else attention_mask(q, k, v, mask, key, heads)
    if mask is None:
        return NotImplemented
    out = np.empty((q.shape[0], q.shape[1], v.shape[2]), q.dtype)
    attention_loop(out, q, k, v, mask, heads, bool(causal), scale_of(q, heads, scale))
    return out


def attention_grad(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    key: object,
    *,
    heads: int,
    causal: bool,
    scale: float | None,
    dropout: float,
) -> tuple[Array, Array, Array] | Declined:
    """Gradients of `attention` by q, k and v, given `g` by its result."""
    mask = None if dropout else attention_mask(q, k, v, mask, key, heads)
    if mask is None or not covered(q, g) or g.shape != (*q.shape[:2], v.shape[2]):
        return NotImplemented
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    attention_grad_loop(
        dq, dk, dv, g, q, k, v, mask, heads, bool(causal), scale_of(q, heads, scale)
    )
    return dq, dk, dv


# --- cross-entropy --------------------------------------------------------------------------------


@compiled
def cross_entropy_loop(loss, x, target, ignore_index, label_smoothing):
    e, zero, flat = x.dtype.type(label_smoothing), x.dtype.type(0), x.reshape(-1)
    for i in range(x.shape[0]):
        t = target[i]
        if t == ignore_index:
            loss[i] = 0
            continue
        if t < 0 or t >= x.shape[1]:
            return False
        m = row_max(x, i)
        total, shift = exp_total(x, i, m), zero
        if e > 0:  # else 0 * (a class at -inf) would be NaN
            n = x.shape[1]
            shift = e * (-row_sum(flat, i * n, n, m)[0] / x.dtype.type(n))
        # logsumexp(x) = m + log(total); the large m cancels before the small log is added.
        loss[i] = math.log(total) + ((x.dtype.type(1) - e) * (m - x[i, t]) + shift)
    return True


@compiled
def cross_entropy_grad_loop(dx, g, x, target, ignore_index, label_smoothing):
    e = x.dtype.type(label_smoothing)
    for i in range(x.shape[0]):
        t = target[i]
        if t == ignore_index:
            clear_row(dx, i)
            continue
        if t < 0 or t >= x.shape[1]:
            return False
        softmax_row(dx, x, i)
        dx[i, t] -= x.dtype.type(1) - e
        shift = e / x.dtype.type(x.shape[1])
        for j in range(x.shape[1]):
            dx[i, j] = g[i] * (dx[i, j] - shift)
    return True


def cross_entropy_rows(
    x: Array, target: Array, *, ignore_index: int, label_smoothing: float
) -> Array | Declined:
    """Cross-entropy (N,) of logits (N, C) with target classes (N,); 0 where ignored.

    Targets out of range are for the formula to report.
    """
    if x.ndim != 2 or not covered(x) or not covered_ids(target) or target.shape != x.shape[:1]:
        return NotImplemented
    loss = np.empty(x.shape[0], x.dtype)
    good = cross_entropy_loop(loss, x, target, int(ignore_index), float(label_smoothing))
    return loss if good else NotImplemented


def cross_entropy_rows_grad(
    g: Array, x: Array, target: Array, *, ignore_index: int, label_smoothing: float
) -> Array | Declined:
    """Gradient (N, C) of `cross_entropy_rows` by `x`, given `g` (N,) by its result."""
    if g.strides == (0,):  # the gradient of a mean: one number, repeated without memory
        g = g.copy()
    if x.ndim != 2 or not covered(x, g) or not covered_ids(target):
        return NotImplemented
    if not g.shape == target.shape == x.shape[:1]:
        return NotImplemented
    dx = np.empty_like(x)
    good = cross_entropy_grad_loop(dx, g, x, target, int(ignore_index), float(label_smoothing))
    return dx if good else NotImplemented


# --- relu -----------------------------------------------------------------------------------------


@compiled
def relu_grad_loop(dx, g, y):
    for i in range(y.size):
        dx[i] = g[i] if y[i] > 0 else y[i]


def relu_grad(g: Array, y: Array) -> Array | Declined:
    """`g` where the result `y` of a relu is positive; else `y` itself, which is 0 or NaN."""
    if g.shape != y.shape or not covered(g, y):
        return NotImplemented
    dx = np.empty_like(y)
    relu_grad_loop(dx.reshape(-1), g.reshape(-1), y.reshape(-1))
    return dx


# --- embedding ------------------------------------------------------------------------------------


def covered_ids(ids: Array) -> bool:
    return ids.dtype is INT64 and ids.flags.c_contiguous


@compiled
def embedding_grad_loop(dw, g, ids):
    for i in range(ids.size):
        row = ids[i]
        if row < 0 or row >= dw.shape[0]:
            return False
        for j in range(dw.shape[1]):
            dw[row, j] += g[i, j]
    return True


def embedding_grad(g: Array, ids: Array, *, rows: int) -> Array | Declined:
    """Sums (rows, D) of the rows of `g` (*ids.shape, D) that have equal ids, in their order."""
    if not g.ndim or g.shape[:-1] != ids.shape or not covered(g) or not covered_ids(ids):
        return NotImplemented
    dw = np.zeros((rows, g.shape[-1]), g.dtype)
    return dw if embedding_grad_loop(dw, rows_of(g), ids.reshape(-1)) else NotImplemented


# --- dropout --------------------------------------------------------------------------------------

BLOCKS = 64  # of four words each, that are drawn together


@compiled
def draw_words(words, counters, first, low, high):
    """Fill `words` (BLOCKS, 4) with those of block `first` and up, as `minigrad.random` draws them.

    Round by round over all `counters` (4, BLOCKS), so that rounds run in vectors.
    """
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = counters[0], counters[1], counters[2], counters[3]
    for b in range(BLOCKS):
        c0[b] = first + b
        c1[b] = (first + b) >> 32
        c2[b] = 0
        c3[b] = 0
    k0, k1 = np.uint64(low), np.uint64(high)
    for _ in range(10):
        for b in range(BLOCKS):
            p0 = np.uint64(c0[b]) * np.uint64(0xD2511F53)
            p1 = np.uint64(c2[b]) * np.uint64(0xCD9E8D57)
            c0[b] = (p1 >> half) ^ np.uint64(c1[b]) ^ k0
            c1[b] = p1
            c2[b] = (p0 >> half) ^ np.uint64(c3[b]) ^ k1
            c3[b] = p0
        k0 = (k0 + np.uint64(0x9E3779B9)) & mask
        k1 = (k1 + np.uint64(0xBB67AE85)) & mask
    for b in range(BLOCKS):
        for lane in range(4):
            words[b, lane] = counters[lane, b]


@compiled
def dropout_loop(y, x, start, stop, low, high, limit, scale):
    """From `start`, which 4 divides, to `stop`: scaled where words are at most `limit`, else 0."""
    zero, factor, most = x.dtype.type(0), x.dtype.type(scale), np.uint32(limit)
    words, counters = np.empty((BLOCKS, 4), np.uint32), np.empty((4, BLOCKS), np.uint32)
    word = words.reshape(-1)
    for first in range(start, stop, words.size):
        draw_words(words, counters, first // 4, low, high)
        n = min(words.size, stop - first)
        to, at = y[first : first + n], x[first : first + n]
        for i in range(n):
            to[i] = at[i] * factor if word[i] <= most else zero


def dropout_limit(p: float) -> int:
    """The largest word for which an element is kept, as `random.bernoulli` decides; -1 for none."""
    return round((1 - p) * 2**32) - 1


def dropout(
    x: Array, key: Key, *, p: float, shared: tuple[int, ...], levels: tuple | None
) -> Array | Declined:
    """`x / (1 - p)` where the key's words say so, with probability 1 - p, and 0 elsewhere."""
    if shared or levels or type(key) is not Key or not 0 <= p <= 1 or not covered(x):
        return NotImplemented
    if (limit := dropout_limit(p)) < 0:
        return NotImplemented
    y = np.empty_like(x)
    dropout_loop(y.reshape(-1), x.reshape(-1), 0, x.size, key.low, key.high, limit, 1 / (1 - p))
    return y


# --- pooling --------------------------------------------------------------------------------------


def run_handler(name: str, dtype: np.dtype, words: list[int]) -> None:
    """Run an instruction of the machine at once, on this thread."""
    from minigrad.kernels import machine  # which imports this file

    machine.run_one(name, dtype, words)


def within(lengths, kernel, stride, dilation, counts) -> bool:
    """Whether the last window along each axis ends within its length."""
    return all(
        (c - 1) * s + (k - 1) * d < n
        for n, k, s, d, c in zip(lengths, kernel, stride, dilation, counts, strict=True)
    )


def pool_words(to: Array, x: Array, g: Array | None, kernel, stride, dilation, counts) -> list[int]:
    """Words of the handlers `max_windows` and `max_windows_grad`, for contiguous arrays."""
    words = [to.ctypes.data, x.ctypes.data, *x.shape[:2]]
    for array in (to, x):
        plane = math.prod(array.shape[2:])
        words += [plane * array.shape[1], plane]
    one = (1,) * (2 - len(kernel))
    for numbers in (x.shape[2:], counts, kernel, stride, dilation):
        words += [*one, *numbers]
    if g is not None:
        plane = math.prod(counts)
        words += [g.ctypes.data, plane * x.shape[1], plane]
    return words


def max_windows(x: Array, *, kernel, stride, dilation, counts) -> Array | Declined:
    """The largest of each window along the last one or two axes of x (A, B, *lengths)."""
    if len(kernel) > 2 or x.ndim != 2 + len(kernel) or not covered(x) or not x.size:
        return NotImplemented
    if not within(x.shape[2:], kernel, stride, dilation, counts):
        return NotImplemented
    y = np.empty((*x.shape[:2], *counts), x.dtype)
    words = pool_words(y, x, None, kernel, stride, dilation, counts)
    run_handler("max_windows", x.dtype, words)
    return y


def max_windows_grad(g: Array, x: Array, *, kernel, stride, dilation, counts) -> Array | Declined:
    """Zeros like `x`, and `g` added where the first largest of its window is."""
    if len(kernel) > 2 or x.ndim != 2 + len(kernel) or not covered(x, g) or not x.size:
        return NotImplemented
    fits = within(x.shape[2:], kernel, stride, dilation, counts)
    if not fits or g.shape != (*x.shape[:2], *counts):
        return NotImplemented
    dx = np.empty_like(x)
    words = pool_words(dx, x, g, kernel, stride, dilation, counts)
    run_handler("max_windows_grad", x.dtype, words)
    return dx


# --- the first few of rows ------------------------------------------------------------------------


@compiled
def comes_before(v, u, descending):
    """Whether `v` comes before `u`, not being equal to it; NaN counts as the largest."""
    if descending:
        return v > u or (v != v and u == u)
    return v < u or (v == v and u != u)


@compiled
def top_ids_loop(y, x, descending):
    """The places of the first elements of each sorted row; equal ones stay in their order.

    Insertion into a list of k, which few elements enter once it is full.
    """
    k = y.shape[1]
    for i in range(x.shape[0]):
        have = 0
        for j in range(x.shape[1]):
            v = x[i, j]
            if have == k and not comes_before(v, x[i, y[i, k - 1]], descending):
                continue
            have = min(have + 1, k)
            p = have - 1
            while p > 0 and comes_before(v, x[i, y[i, p - 1]], descending):
                y[i, p] = y[i, p - 1]
                p -= 1
            y[i, p] = j


def top_ids(x: Array, *, k: int, descending: bool) -> Array | Declined:
    """The places of the first `k` elements in the order along the last axis, for small `k`."""
    if not x.size or not covered(x) or not 0 < k <= 32:
        return NotImplemented
    y = np.empty((*x.shape[:-1], k), np.int64)
    top_ids_loop(y.reshape(-1, k), rows_of(x), bool(descending))
    return y


# --- norms of gradients ---------------------------------------------------------------------------


@summing
def square_sum_loop(x):
    """The sum of squares, in float64: the square of no float32 overflows there."""
    found = 0.0
    for i in range(x.size):
        v = np.float64(x[i])
        found += v * v
    return found


def square_sum(x: Array) -> float | Declined:
    """The sum of the squares of all elements, added up in float64."""
    return square_sum_loop(x.reshape(-1)) if covered(x) else NotImplemented


# --- batch norm -----------------------------------------------------------------------------------


def plane_words(x: Array) -> list[int]:
    """a, c, n and steps along a and c of (A, C, ...), for the handlers of batch norm."""
    n = math.prod(x.shape[2:])
    return [x.shape[0], x.shape[1], n, x.shape[1] * n, n]


def batch_norm_train(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> Array | Declined:
    """Each channel of x (N, C, ...) standardised, then scaled and shifted."""
    if x.ndim < 2 or weight is None or bias is None or not x.size:
        return NotImplemented
    if not covered(x, weight, bias) or {weight.shape, bias.shape} != {x.shape[1:2]}:
        return NotImplemented
    y = np.empty_like(x)
    words = [y.ctypes.data, x.ctypes.data, weight.ctypes.data, bias.ctypes.data, bits(eps)]
    words += [*plane_words(x), *plane_words(x)[3:]]
    run_handler("batch_norm_train", x.dtype, words)
    return y


def batch_norm_grad(g: Array, x: Array, weight: Array | None, *, eps: float) -> Any:
    """Gradients of the input, the weight and the bias of a batch norm."""
    if x.ndim < 2 or weight is None or g.shape != x.shape or not x.size:
        return NotImplemented
    if not covered(g, x, weight) or weight.shape != x.shape[1:2]:
        return NotImplemented
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty_like(weight)
    words = [dx.ctypes.data, dweight.ctypes.data, dbias.ctypes.data, g.ctypes.data, x.ctypes.data]
    words += [weight.ctypes.data, bits(eps), *plane_words(x), *plane_words(x)[3:] * 2]
    run_handler("batch_norm_grad", x.dtype, words)
    return dx, dweight, dbias


def batch_norm_stats(
    x: Array, running_mean: Array, running_var: Array, *, momentum: float
) -> tuple[Array, Array] | Declined:
    """The running mean and (unbiased) variance after a batch."""
    old = running_mean, running_var
    if (
        x.ndim < 2
        or not covered(x, *old)
        or not x.size
        or any(v.shape != x.shape[1:2] for v in old)
    ):
        return NotImplemented
    if x.size == x.shape[1]:  # the variance of one number
        return NotImplemented
    new = np.empty_like(running_mean), np.empty_like(running_var)
    words = [v.ctypes.data for v in (*new, x, *old)] + [bits(momentum), *plane_words(x)]
    run_handler("batch_norm_stats", x.dtype, words)
    return new


def bits(x: float) -> int:
    """A float64 as the word of an instruction."""
    return int(np.float64(x).view(np.int64))


# --- windows --------------------------------------------------------------------------------------


def window_words(x: Array, w: Array, axis: int, stride: int, dilation: int) -> tuple:
    """Lengths; steps in x and in its windows w; steps from element to element of a window in both.

    x (A, B, ..., L, ...) counts as (AB, outer, L, inner), w as (AB, size, outer, count, inner).
    """
    first, L = x.shape[0] * x.shape[1], x.shape[axis]
    outer = math.prod(x.shape[2 : x.ndim + axis])
    inner = math.prod(x.shape[x.ndim + axis + 1 :])
    size, count = w.shape[2], w.shape[axis]
    lengths = [first, outer, count, inner]
    in_x = [outer * L * inner, L * inner, stride * inner, 1]
    in_w = [size * outer * count * inner, count * inner, inner, 1]
    if inner == 1:  # so that rows are as long as can be
        lengths, in_x, in_w = lengths[:3], in_x[:3], in_w[:3]
    return lengths, in_x, in_w, dilation * inner, outer * count * inner


def windows(
    x: Array, *, axis: int, size: int, count: int, stride: int = 1, dilation: int = 1
) -> Array | Declined:
    """`count` windows of `size` elements along `axis`, counted from the end, in an axis 2."""
    if not covered(x) or not x.size:
        return NotImplemented
    if not within(x.shape[axis:][:1], (size,), (stride,), (dilation,), (count,)):
        return NotImplemented
    shape = [*x.shape[:2], size, *x.shape[2:]]
    shape[axis] = count
    y = np.empty(shape, x.dtype)
    lengths, in_x, in_w, step_x, step_w = window_words(x, y, axis, stride, dilation)
    words = [y.ctypes.data, x.ctypes.data, 0, 0, len(lengths) + 1]
    for numbers, along in ((lengths, size), (in_w, step_w), (in_x, step_x)):
        numbers.insert(1, along)
        words += numbers + [0] * (6 - len(numbers))
    run_handler("strided", x.dtype, words)
    return y


def sum_windows(
    g: Array, *, axis: int, length: int, stride: int = 1, dilation: int = 1
) -> Array | Declined:
    """Zeros of `length` along `axis` with all windows added in."""
    if not covered(g) or not g.size:
        return NotImplemented
    if not within((length,), g.shape[2:3], (stride,), (dilation,), g.shape[axis:][:1]):
        return NotImplemented
    shape = [*g.shape[:2], *g.shape[3:]]
    shape[axis] = length
    y = np.empty(shape, g.dtype)
    lengths, in_y, in_g, step_y, step_g = window_words(y, g, axis, stride, dilation)
    words = [y.ctypes.data, g.ctypes.data, 0, g.shape[2], len(lengths)]
    for numbers in (lengths, in_y, in_g):
        words += numbers + [0] * (6 - len(numbers))
    words += [step_y, step_g, y.size // lengths[0], 1]
    run_handler("sum_windows", g.dtype, words)
    return y


# --- Adam -----------------------------------------------------------------------------------------


@compiled
def adam_loop(w, g, m, v, starts, stops, steps, lr, beta1, beta2, eps, shrink, l2):
    for i in range(starts.size):
        if not 0 <= starts[i] <= stops[i] <= w.size:
            return False
    # Corrections are float64; what meets the arrays is rounded to their dtype once.
    number = w.dtype.type
    b1, b2, c1, c2 = number(beta1), number(beta2), number(1 - beta1), number(1 - beta2)
    eps_, shrink_, l2_ = number(eps), number(shrink), number(l2)
    zero, tiny = number(0), np.finfo(w.dtype).tiny
    for i in range(starts.size):
        rate = number(lr / (1 - beta1 ** steps[i]))
        root = number(1 / math.sqrt(1 - beta2 ** steps[i]))
        # Indices from 0 on are known not to be negative, which Numba would count from the end.
        segment = slice(starts[i], stops[i])
        wi, gi, mi, vi = w[segment], g[segment], m[segment], v[segment]
        for j in range(wi.size):
            x = wi[j] * shrink_
            d = gi[j] + l2_ * x
            mj = b1 * mi[j] + c1 * d
            vj = b2 * vi[j] + c2 * (d * d)
            # Moments of rows without gradients shrink for ever; denormals would slow every step.
            mj = zero if abs(mj) < tiny else mj
            vj = zero if vj < tiny else vj
            mi[j] = mj
            vi[j] = vj
            wi[j] = x - rate * mj / (math.sqrt(vj) * root + eps_)
    return True


def adam_step(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    starts: Array,
    stops: Array,
    steps: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> Declined | None:
    """One step of Adam (AdamW if `decoupled`), in place, on segments of flat buffers.

    Parameter i is `w[starts[i]:stops[i]]`; `steps[i]` >= 1 counts its steps, this one included.
    What no segment covers stays as it is. Denormal moments become 0.
    """
    if w.ndim != 1 or not covered(w, g, m, v) or not w.shape == g.shape == m.shape == v.shape:
        return NotImplemented
    if not (covered_ids(starts) and covered_ids(stops) and covered_ids(steps)):
        return NotImplemented
    if starts.ndim != 1 or not starts.shape == stops.shape == steps.shape:
        return NotImplemented
    shrink, l2 = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, float(weight_decay))
    numbers = float(lr), float(beta1), float(beta2), float(eps), shrink, l2
    return None if adam_loop(w, g, m, v, starts, stops, steps, *numbers) else NotImplemented


# --- compiling ahead ------------------------------------------------------------------------------


def warm_up(
    dtypes: Iterable[str] = ("float32",),
    report: Callable[[str, float], None] | None = None,
    only: Container[str] | None = None,
) -> None:
    """Compile every kernel, or load it from the on-disk cache, by calling it on tiny arrays.

    `report(name, seconds)` is called after each; `only` has the names of those that are wanted.
    """
    for dtype in dtypes:
        x, x3, row = np.ones((1, 1), dtype), np.ones((1, 1, 1), dtype), np.ones(1, dtype)
        ids, ends = np.zeros(1, np.int64), np.ones(1, np.int64)
        heads = {"heads": 1, "causal": False, "scale": 1.0, "dropout": 0.0}
        classes = {"ignore_index": -100, "label_smoothing": 0.0}
        adam = {"lr": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
        flat = (row.copy() for _ in range(4))
        one = {"kernel": (1,), "stride": (1,), "dilation": (1,)}
        calls = [
            (softmax, (x,), {"axis": -1}),
            (softmax_grad, (x, x), {"axis": -1}),
            (log_softmax, (x,), {"axis": -1}),
            (log_softmax_grad, (x, x), {"axis": -1}),
            (layer_norm, (x, row, row), {"eps": 1e-5}),
            (layer_norm_grad, (x, x, row), {"eps": 1e-5}),
            (attention, (x3, x3, x3, None, None), heads),
            (attention_grad, (x3, x3, x3, x3, None, None), heads),
            (cross_entropy_rows, (x, ids), classes),
            (cross_entropy_rows_grad, (row, x, ids), classes),
            (relu_grad, (x, x), {}),
            (embedding_grad, (x, ids), {"rows": 1}),
            (dropout, (x, Key(0, 0)), {"p": 0.5, "shared": (), "levels": None}),
            (top_ids, (x,), {"k": 1, "descending": True}),
            (square_sum, (x,), {}),
            (batch_norm_train, (x, row, row), {"eps": 1e-5}),
            (batch_norm_grad, (x, x, row), {"eps": 1e-5}),
            (batch_norm_stats, (np.ones((2, 1), dtype), row, row), {"momentum": 0.1}),
            (max_windows, (x3,), {**one, "counts": (1,)}),
            (max_windows_grad, (x3, x3), {**one, "counts": (1,)}),
            (windows, (x3,), {"axis": -1, "size": 1, "count": 1}),
            (sum_windows, (x3[..., None],), {"axis": -1, "length": 1}),
            (adam_step, (*flat, ids, ends, ends), {**adam, "decoupled": False}),
        ]
        for kernel, args, options in calls:
            if only is not None and kernel.__name__ not in only:
                continue
            began = time.perf_counter()
            kernel(*args, **options)
            if report:
                report(kernel.__name__, time.perf_counter() - began)
