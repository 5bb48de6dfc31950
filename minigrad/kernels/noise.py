"""What draws random numbers: dropout."""

import numpy as np

from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import Declined, Drawn
from minigrad.kernels.layouts import FLOAT32, FLOAT64, flat
from minigrad.kernels.machine import array, fields, integers, kernel, share
from minigrad.random import Key

BLOCKS = 64  # of four words each, that are drawn together


@compiled
def mix(counters, low, high):
    """Four words each in place of `counters` (4, BLOCKS), of which the first two rows are given.

    Round by round over all counters, so that rounds run in vectors.
    """
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = counters[0], counters[1], counters[2], counters[3]
    for b in range(BLOCKS):
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


@compiled
def draw_words(words, counters, first, low, high):
    """Fill `words` (BLOCKS, 4) with those of block `first` and up, as `minigrad.random` draws."""
    for b in range(BLOCKS):
        counters[0, b] = first + b
        counters[1, b] = (first + b) >> 32
    mix(counters, low, high)
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


@kernel("y x n key limit", scale=float, work=30, strided=True)
def dropout(record, kind, part, parts):
    """y = x, scaled or 0 as the words of the key that lies at `key` say."""
    r = fields(record)
    start, stop = share(r.n, 4 * BLOCKS, part, parts)
    y, x, key = array(kind, r.y, (r.n,)), array(kind, r.x, (r.n,)), integers(r.key, 2)
    dropout_loop(y, x, start, stop, key[0], key[1], r.limit, r.scale)


@dropout.accepts
def _(x, key, *, p, shared, levels):
    if shared or levels or type(key) not in (Key, Drawn) or not 0 <= p <= 1:
        return None
    if x.dtype is not FLOAT32 and x.dtype is not FLOAT64:
        return None
    return x if x.flags.c_contiguous and dropout_limit(p) >= 0 else None


@dropout.fills
def _(program, outputs, x, key, *, p, **options):
    if not flat(x, *outputs):
        raise Declined
    limit, scale = dropout_limit(p), 1 / (1 - p)
    return {"n": x.size, "key": program.key(key), "limit": limit, "scale": scale}


@dropout.direct((1, 1), Key(0, 0), p=0.5, shared=(), levels=None)
def _(y, x, key, *, p, shared, levels):
    limit, scale = dropout_limit(p), 1 / (1 - p)
    dropout_loop(y.reshape(-1), x.reshape(-1), 0, x.size, key.low, key.high, limit, scale)
