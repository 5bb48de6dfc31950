"""Attention without a matrix of scores in memory, forward and backward.

One head of one sample at a time, and of it a column of LANES queries: one query in each lane of a
vector. So scores, their maximum, exponentials and sums are all element by element, and keys and
values are read where they lie, one number at a time for all queries.

    q_t (D, lanes)      k (S, D)      s = k @ q_t       (S, lanes)
    p = softmax of s down the column                    (S, lanes)
    v (S, E)                          out_t = v.T @ p   (E, lanes)

The backward pass computes p again from q and k:

    dp = v @ g_t      ds = p * (dp - sum(p * dp))      dq_t = k.T @ ds
    dk = ds @ q       dv = p @ g                       both summed over the columns of queries

With dropout, factors (S, lanes) of 0 or 1 / (1 - probability) are drawn for a column, in the
backward pass again, from a key and the places of weights in (B, H, T, S): p is multiplied with them
where it meets v and g, and so is dp.

Letters: B batch, T queries, S keys, D channels of a head of q and k, E of v. Arrays come flat.
"""

import math
from typing import Any

import numpy as np
from numba import carray

from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import Declined, Drawn
from minigrad.kernels.layouts import BOOL, Empty, covered
from minigrad.kernels.machine import array, at_booleans, fields, integers, kernel, share
from minigrad.kernels.noise import BLOCKS, dropout_limit, mix
from minigrad.kernels.vectors import exp, fill, fma, iota, load, maximum, select, spread, store
from minigrad.random import Key

LANES = 16
HALF = 8  # lanes of the channels, of which there may be few


@compiled
def load_column(tile, x, start, step, rows, columns, scale):
    """`tile` (columns, LANES) = scale * the transpose of `rows` rows of x, then zeros."""
    for t in range(rows):
        for d in range(columns):
            tile[d * LANES + t] = x[start + t * step + d] * scale
    for t in range(rows, LANES):
        for d in range(columns):
            tile[d * LANES + t] = 0


@compiled
def store_column(x, start, step, tile, rows, columns):
    """`rows` rows of x = the transpose of `tile` (columns, LANES)."""
    for t in range(rows):
        for d in range(columns):
            x[start + t * step + d] = tile[d * LANES + t]


@compiled
def inner(y, at, tile, x, start, step, rows, columns):
    """y (rows, LANES) = x (rows, columns) @ tile (columns, LANES); eight rows at a time."""
    last = rows - 1
    zero = fill(y.dtype.type(0), 16)
    for s in range(0, rows, 8):
        i0, i1 = start + s * step, start + min(s + 1, last) * step
        i2, i3 = start + min(s + 2, last) * step, start + min(s + 3, last) * step
        i4, i5 = start + min(s + 4, last) * step, start + min(s + 5, last) * step
        i6, i7 = start + min(s + 6, last) * step, start + min(s + 7, last) * step
        a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
        for d in range(columns):
            b = load(tile, d * LANES, 16)
            a0 = fma(spread(x, i0 + d, 16), b, a0)
            a1 = fma(spread(x, i1 + d, 16), b, a1)
            a2 = fma(spread(x, i2 + d, 16), b, a2)
            a3 = fma(spread(x, i3 + d, 16), b, a3)
            a4 = fma(spread(x, i4 + d, 16), b, a4)
            a5 = fma(spread(x, i5 + d, 16), b, a5)
            a6 = fma(spread(x, i6 + d, 16), b, a6)
            a7 = fma(spread(x, i7 + d, 16), b, a7)
        o = at + s * LANES
        store(y, o, a0)
        store(y, o + 1 * LANES, a1)
        store(y, o + 2 * LANES, a2)
        store(y, o + 3 * LANES, a3)
        store(y, o + 4 * LANES, a4)
        store(y, o + 5 * LANES, a5)
        store(y, o + 6 * LANES, a6)
        store(y, o + 7 * LANES, a7)


@compiled
def outer(y, p, at, x, start, step, rows, columns, factor):
    """y (columns, LANES) = factor * x.T @ p, for x (rows, columns), p (rows, LANES)."""
    last = columns - 1
    zero = fill(y.dtype.type(0), 16)
    for d in range(0, columns, 8):
        i0, i1 = start + d, start + min(d + 1, last)
        i2, i3 = start + min(d + 2, last), start + min(d + 3, last)
        i4, i5 = start + min(d + 4, last), start + min(d + 5, last)
        i6, i7 = start + min(d + 6, last), start + min(d + 7, last)
        a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
        for s in range(rows):
            b = load(p, at + s * LANES, 16)
            j = s * step
            a0 = fma(spread(x, i0 + j, 16), b, a0)
            a1 = fma(spread(x, i1 + j, 16), b, a1)
            a2 = fma(spread(x, i2 + j, 16), b, a2)
            a3 = fma(spread(x, i3 + j, 16), b, a3)
            a4 = fma(spread(x, i4 + j, 16), b, a4)
            a5 = fma(spread(x, i5 + j, 16), b, a5)
            a6 = fma(spread(x, i6 + j, 16), b, a6)
            a7 = fma(spread(x, i7 + j, 16), b, a7)
        o = d * LANES
        store(y, o, a0 * factor)
        store(y, o + 1 * LANES, a1 * factor)
        store(y, o + 2 * LANES, a2 * factor)
        store(y, o + 3 * LANES, a3 * factor)
        store(y, o + 4 * LANES, a4 * factor)
        store(y, o + 5 * LANES, a5 * factor)
        store(y, o + 6 * LANES, a6 * factor)
        store(y, o + 7 * LANES, a7 * factor)


@compiled
def accumulate(y, p, at, x, rows, lanes, columns):
    """y (rows, columns) += p (rows, `lanes` of LANES) @ x (lanes, columns); columns of HALF."""
    for s in range(0, rows, 8):
        i = at + s * LANES
        for d in range(0, columns, HALF):
            o = s * columns + d
            a0, a1 = load(y, o, 8), load(y, o + columns, 8)
            a2, a3 = load(y, o + 2 * columns, 8), load(y, o + 3 * columns, 8)
            a4, a5 = load(y, o + 4 * columns, 8), load(y, o + 5 * columns, 8)
            a6, a7 = load(y, o + 6 * columns, 8), load(y, o + 7 * columns, 8)
            for t in range(lanes):
                b = load(x, t * columns + d, 8)
                a0 = fma(spread(p, i + t, 8), b, a0)
                a1 = fma(spread(p, i + 1 * LANES + t, 8), b, a1)
                a2 = fma(spread(p, i + 2 * LANES + t, 8), b, a2)
                a3 = fma(spread(p, i + 3 * LANES + t, 8), b, a3)
                a4 = fma(spread(p, i + 4 * LANES + t, 8), b, a4)
                a5 = fma(spread(p, i + 5 * LANES + t, 8), b, a5)
                a6 = fma(spread(p, i + 6 * LANES + t, 8), b, a6)
                a7 = fma(spread(p, i + 7 * LANES + t, 8), b, a7)
            store(y, o, a0)
            store(y, o + columns, a1)
            store(y, o + 2 * columns, a2)
            store(y, o + 3 * columns, a3)
            store(y, o + 4 * columns, a4)
            store(y, o + 5 * columns, a5)
            store(y, o + 6 * columns, a6)
            store(y, o + 7 * columns, a7)


@compiled
def hide(p, keys, mask, b, h, row, rows, causal):
    """Scores of -inf for the keys that a query must not see."""
    inf = p.dtype.type(np.inf)
    if mask.size:
        mb = b if mask.shape[0] > 1 else 0
        mh = h if mask.shape[1] > 1 else 0
        step = 1 if mask.shape[3] > 1 else 0
        for s in range(keys):
            if mask.shape[2] > 1:
                for t in range(rows):
                    if not mask[mb, mh, row + t, s * step]:
                        p[s * LANES + t] = -inf
            elif not mask[mb, mh, 0, s * step]:
                store(p, s * LANES, fill(-inf, 16))
    if causal:
        for s in range(row + 1, keys):
            x = load(p, s * LANES, 16)
            number = fill(p.dtype.type(s - row), 16)
            store(p, s * LANES, select(iota(x), "<", number, fill(-inf, 16), x))


@compiled
def exponentials(p, keys):
    """exp(score - maximum) in place; one over their sum, or zero where no key is seen."""
    zero, one = fill(p.dtype.type(0), 16), fill(p.dtype.type(1), 16)
    lowest = fill(p.dtype.type(-np.inf), 16)
    m = lowest
    for s in range(keys):
        m = maximum(load(p, s * LANES, 16), m)
    m = select(m, "==", lowest, zero, m)
    sums = zero
    for s in range(keys):
        e = exp(load(p, s * LANES, 16) - m)
        store(p, s * LANES, e)
        sums = sums + e
    return select(sums, "==", zero, zero, one / sums)


@compiled
def draw(factors, counters, first, step, keys, drop):
    """`factors` (keys, LANES): what dropout multiplies the weights of a column with.

    Those of query t lie at `first + t * step` and up among all weights, and four neighbours share a
    counter. A lane takes the counters from its first weight's on, and the words before that one
    are passed over.
    """
    low, high, limit, factor = drop
    one, zero, most = factors.dtype.type(factor), factors.dtype.type(0), np.uint32(limit)
    together = BLOCKS // LANES  # counters of each lane
    for s in range(0, keys + 3, 4 * together):
        for t in range(LANES):
            block = (first + t * step + s) >> 2
            for i in range(together):
                counters[0, i * LANES + t] = block + i
                counters[1, i * LANES + t] = (block + i) >> 32
        mix(counters, low, high)
        for i in range(together):
            for word in range(4):
                o = (s + 4 * i + word) * LANES
                for t in range(LANES):
                    kept = counters[word, i * LANES + t] <= most
                    factors[o + t] = one if kept else zero
    if first % 4 or step % 4:
        passed = np.empty(LANES, factors.dtype)
        for t in range(LANES):
            passed[t] = (first + t * step) % 4
        passed_over = load(passed, 0, 16)
        n0, n1 = fill(factors.dtype.type(0), 16), fill(factors.dtype.type(1), 16)
        n2 = fill(factors.dtype.type(2), 16)
        for o in range(0, keys * LANES, LANES):
            x = select(passed_over, "==", n2, load(factors, o + 2 * LANES, 16),
                       load(factors, o + 3 * LANES, 16))  # fmt: skip
            x = select(passed_over, "==", n1, load(factors, o + LANES, 16), x)
            store(factors, o, select(passed_over, "==", n0, load(factors, o, 16), x))


@compiled
def thin(p, factors, keys):
    """p (keys, LANES) times the factors; 0 where they are, whatever p is."""
    zero = fill(p.dtype.type(0), 16)
    for o in range(0, keys * LANES, LANES):
        f = load(factors, o, 16)
        store(p, o, select(f, ">", zero, load(p, o, 16) * f, zero))


@compiled
def attention_loop(out, q, k, v, mask, heads, causal, scale, first, drop):
    """Of samples from number `first` on; `drop`: the key's words, the limit and the factor."""
    B, T, width = q.shape
    S, v_width = v.shape[1], v.shape[2]
    D, E = width // heads, v_width // heads
    dtype = q.dtype
    scale = dtype.type(scale)
    out, q, k, v = out.reshape(-1), q.reshape(-1), k.reshape(-1), v.reshape(-1)
    q_t, p = np.empty(D * LANES, dtype), np.empty((S + 8) * LANES, dtype)
    out_t = np.empty((E + 8) * LANES, dtype)
    drops = drop[3] != 1
    factors = np.empty((S + 24) * LANES if drops else 0, dtype)
    counters = np.empty((4, BLOCKS), np.uint32)
    for b in range(B):
        for h in range(heads):
            k0, v0 = b * S * width + h * D, b * S * v_width + h * E
            for row in range(0, T, LANES):
                rows = min(LANES, T - row)
                keys = min(S, row + rows) if causal else S
                load_column(q_t, q, (b * T + row) * width + h * D, width, rows, D, scale)
                inner(p, 0, q_t, k, k0, width, keys, D)
                hide(p, keys, mask, b, h, row, rows, causal)
                factor = exponentials(p, keys)
                if drops:
                    at = (((first + b) * heads + h) * T + row) * S
                    draw(factors, counters, at, S, keys, drop)
                    thin(p, factors, keys)
                outer(out_t, p, 0, v, v0, v_width, keys, E, factor)
                store_column(out, (b * T + row) * v_width + h * E, v_width, out_t, rows, E)


@compiled
def load_rows(tile, x, start, step, rows, columns, padded, scale):
    """`tile` (rows, padded) = scale * rows of x; what is padded stays as it is."""
    for t in range(rows):
        for d in range(columns):
            tile[t * padded + d] = x[start + t * step + d] * scale


@compiled
def store_rows(x, start, step, tile, rows, columns, padded):
    for s in range(rows):
        for d in range(columns):
            x[start + s * step + d] = tile[s * padded + d]


@compiled
def attention_grad_loop(dq, dk, dv, g, q, k, v, mask, heads, causal, scale, first, drop):
    B, T, width = q.shape
    S, v_width = v.shape[1], v.shape[2]
    D, E = width // heads, v_width // heads
    dtype = q.dtype
    scale, one = dtype.type(scale), dtype.type(1)
    dq, dk, dv, g = dq.reshape(-1), dk.reshape(-1), dv.reshape(-1), g.reshape(-1)
    q, k, v = q.reshape(-1), k.reshape(-1), v.reshape(-1)
    D_, E_ = (D + HALF - 1) // HALF * HALF, (E + HALF - 1) // HALF * HALF
    q_t, g_t = np.empty(D * LANES, dtype), np.empty(E * LANES, dtype)
    q_rows, g_rows = np.zeros(D_ * LANES, dtype), np.zeros(E_ * LANES, dtype)
    p, ds = np.empty((S + 8) * LANES, dtype), np.empty((S + 8) * LANES, dtype)
    dq_t = np.empty((D + 8) * LANES, dtype)
    dk_rows, dv_rows = np.empty((S + 8) * D_, dtype), np.empty((S + 8) * E_, dtype)
    drops = drop[3] != 1
    factors = np.empty((S + 24) * LANES if drops else 0, dtype)
    counters = np.empty((4, BLOCKS), np.uint32)
    for b in range(B):
        for h in range(heads):
            k0, v0 = b * S * width + h * D, b * S * v_width + h * E
            dk_rows[:] = 0
            dv_rows[:] = 0
            for row in range(0, T, LANES):
                rows = min(LANES, T - row)
                keys = min(S, row + rows) if causal else S
                q0, g0 = (b * T + row) * width + h * D, (b * T + row) * v_width + h * E
                load_column(q_t, q, q0, width, rows, D, scale)
                load_column(g_t, g, g0, v_width, rows, E, one)
                load_rows(q_rows, q, q0, width, rows, D, D_, scale)  # so dk comes out scaled
                load_rows(g_rows, g, g0, v_width, rows, E, E_, one)
                inner(p, 0, q_t, k, k0, width, keys, D)
                hide(p, keys, mask, b, h, row, rows, causal)
                factor = exponentials(p, keys)
                inner(ds, 0, g_t, v, v0, v_width, keys, E)
                if drops:
                    at = (((first + b) * heads + h) * T + row) * S
                    draw(factors, counters, at, S, keys, drop)
                    thin(ds, factors, keys)
                dot = fill(dtype.type(0), 16)
                for s in range(keys):
                    w = load(p, s * LANES, 16) * factor
                    store(p, s * LANES, w)
                    dot = fma(w, load(ds, s * LANES, 16), dot)
                for s in range(keys):
                    x = load(p, s * LANES, 16) * (load(ds, s * LANES, 16) - dot)
                    store(ds, s * LANES, x)
                if drops:
                    thin(p, factors, keys)
                for s in range(keys, (keys + 7) // 8 * 8):  # the last block of eight goes on
                    store(p, s * LANES, fill(dtype.type(0), 16))
                    store(ds, s * LANES, fill(dtype.type(0), 16))
                outer(dq_t, ds, 0, k, k0, width, keys, D, fill(scale, 16))
                store_column(dq, q0, width, dq_t, rows, D)
                accumulate(dk_rows, ds, 0, q_rows, keys, rows, D_)
                accumulate(dv_rows, p, 0, g_rows, keys, rows, E_)
            store_rows(dk, k0, width, dk_rows, S, D, D_)
            store_rows(dv, v0, v_width, dv_rows, S, E, E_)


# --- the kernels ----------------------------------------------------------------------------------

MASKED = "q k v mask B T S D E heads causal key limit"
NUMBERS: dict[str, Any] = {"sides": 4, "scale": float, "factor": float}
NO_MASK = np.empty((0, 0, 0, 0), np.bool_)


@compiled
def inputs_of(r, kind, start, stop):
    """q, k, v and the mask, (1 or B, 1 or H, 1 or T, 1 or S) or empty, of samples from `start`."""
    q, k = array(kind, r.q, (r.B, r.T, r.D)), array(kind, r.k, (r.B, r.S, r.D))
    v, shape = array(kind, r.v, (r.B, r.S, r.E)), (r.sides[0], r.sides[1], r.sides[2], r.sides[3])
    mask = carray(at_booleans(r.mask), shape)
    if shape[0] > 1:
        mask = mask[start:stop]
    return q[start:stop], k[start:stop], v[start:stop], mask


@compiled
def drop_of(r):
    """The two words of the key, the limit and the factor of dropout."""
    key = integers(r.key, 2)
    return (key[0] if r.key else 0), (key[1] if r.key else 0), r.limit, r.factor


@kernel("out", MASKED, **NUMBERS)
def attention(record, kind, part, parts):
    """out = attention of q, k, v; heads lie side by side."""
    r = fields(record)
    start, stop = share(r.B, 1, part, parts)
    q, k, v, mask = inputs_of(r, kind, start, stop)
    out = array(kind, r.out, (r.B, r.T, r.E))[start:stop]
    attention_loop(out, q, k, v, mask, r.heads, r.causal != 0, r.scale, start, drop_of(r))


@attention.accepts
def _(q, k, v, mask, key, *, heads, causal, scale, dropout):
    """q (B, T, H*D), k (B, S, H*D), v (B, S, H*E), and a mask of booleans."""
    if not covered(q, k, v) or not q.ndim == k.ndim == v.ndim == 3:
        return None
    if key is None:
        if dropout:
            return None
    elif type(key) not in (Key, Drawn) or not 0 <= dropout < 1 or dropout_limit(dropout) < 0:
        return None
    (B, T, width), (_, S, v_width) = q.shape, v.shape
    if k.shape != (B, S, width) or v.shape[0] != B or width % heads or v_width % heads:
        return None
    if mask is not None:
        if mask.dtype is not BOOL or mask.ndim > 4:
            return None
        for side, full in zip(_sides(mask), (B, heads, T, S), strict=True):
            if side != 1 and side != full:
                return None
    return Empty((B, T, v_width), q.dtype)


def _sides(mask: Any) -> tuple[int, ...]:
    return (1,) * (4 - mask.ndim) + mask.shape


def _scale_of(q: Any, heads: int, scale: float | None) -> float:
    """The factor on the scores; 1/sqrt(D) if it is not given."""
    return math.sqrt(heads / max(q.shape[2], 1)) if scale is None else float(scale)


@attention.fills
def _masked(program, outputs, q, k, v, mask, key, *, heads, causal, scale, dropout):
    """The fields of `MASKED`."""
    if (mask is not None and not mask.flags.c_contiguous) or not q.size or not k.size:
        raise Declined
    (B, T, D), (_, S, E) = q.shape, v.shape
    work = 2 * B * T * S * (3 * D + 2 * E if len(outputs) == 3 else D + E)
    limit, factor = _kept(dropout)
    return {
        "B": B, "T": T, "S": S, "D": D, "E": E, "sides": None if mask is None else _sides(mask),
        "causal": bool(causal), "scale": _scale_of(q, heads, scale), "work": work,
        "key": None if key is None else program.key(key), "limit": limit, "factor": factor,
    }  # fmt: skip


def _kept(dropout: float) -> tuple[int, float]:
    """The largest word for which a weight is kept, and the factor on those."""
    return dropout_limit(dropout), 1 / (1 - dropout)


def _drop(key: Key | None, dropout: float) -> tuple[int, int, int, float]:
    """What the loops want to know of dropout."""
    return *(key or (0, 0)), *_kept(dropout)


_EXAMPLE = {"heads": 1, "causal": False, "scale": 1.0, "dropout": 0.0}


@attention.direct(*((1, 1, 1),) * 3, None, None, **_EXAMPLE)
def _(out, q, k, v, mask, key, *, heads, causal, scale, dropout):
    mask, factor = _whole(mask), _scale_of(q, heads, scale)
    attention_loop(out, q, k, v, mask, heads, bool(causal), factor, 0, _drop(key, dropout))


def _whole(mask: np.ndarray | None) -> np.ndarray:
    """The mask as the loops want it: four axes, C-contiguous."""
    return NO_MASK if mask is None else np.ascontiguousarray(mask.reshape(_sides(mask)))


@kernel("dq dk dv g", MASKED, **NUMBERS)
def attention_grad(record, kind, part, parts):
    """dq, dk, dv, given g."""
    r = fields(record)
    B, T, S, D, E = r.B, r.T, r.S, r.D, r.E
    start, stop = share(B, 1, part, parts)
    q, k, v, mask = inputs_of(r, kind, start, stop)
    g, dq = array(kind, r.g, (B, T, E))[start:stop], array(kind, r.dq, (B, T, D))[start:stop]
    dk, dv = array(kind, r.dk, (B, S, D))[start:stop], array(kind, r.dv, (B, S, E))[start:stop]
    attention_grad_loop(
        dq, dk, dv, g, q, k, v, mask, r.heads, r.causal != 0, r.scale, start, drop_of(r)
    )


@attention_grad.accepts
def _(g, q, k, v, mask, key, **options):
    out = attention.outputs(q, k, v, mask, key, **options)
    if out is None or not covered(q, g) or g.shape != out.shape:
        return None
    return q, k, v


@attention_grad.fills
def _(program, outputs, g, q, k, v, mask, key, **options):
    return _masked(program, outputs, q, k, v, mask, key, **options)


@attention_grad.direct(*((1, 1, 1),) * 4, None, None, **_EXAMPLE)
def _(dq, dk, dv, g, q, k, v, mask, key, *, heads, causal, scale, dropout):
    mask, factor = _whole(mask), _scale_of(q, heads, scale)
    attention_grad_loop(
        dq, dk, dv, g, q, k, v, mask, heads, bool(causal), factor, 0, _drop(key, dropout)
    )
