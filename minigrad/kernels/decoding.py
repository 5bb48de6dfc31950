"""Greedy and beam search of an encoder-decoder transformer in one compiled call for a batch.

    tokens of all sentences, one after the other             (N,)
      -> encoder, layer by layer, on all N rows at once      (N, D)
      -> keys and values of each decoder layer, kept         cross cache
    again and again, for the R sentences that are not finished:
      one row each -> decoder layers, self cache grows       (R, D) -> scores (R, A) -> next ids

Padding is dropped before: sentences of any lengths lie side by side without any. Every product is
rows of activations times weights, and the weights are laid out for that once, by `Packed`:

- A matrix (n_in, n_out) is cut into panels of 32 columns. A panel lies in one piece, row by row, so
  that it is read from the first byte to the last, whatever the number of rows that it meets; up to
  eight rows of activations stay in registers while it passes by.
- Sides are filled with zeros: outputs to a multiple of 32, inputs of 4, the channels of a head of
  the values of 16. So loops have no remainders.
- With int8 weights, w[i, j] = q[i, j] * scale[j]; `q` turns into floats in registers. For one
  sentence, a step takes as long as the weights take to arrive, and a quarter of the bytes arrives
  sooner. Activations stay float32, or are rounded as well, each row by a scale of its own: then a
  processor that has the instruction adds up products of bytes by fours, exactly, in 32 bits.

The cache holds keys as (blocks of 32 positions, heads, channels, 32 positions) and values as
(heads, positions, channels): both products of attention go along vectors for a single query, and
both read memory from one end to the other.

Small functions take pointers, see `vectors.data`, into arrays that their callers hold.

Letters: D model, H heads, A ids that compete, R rows in progress, T positions.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from minigrad.errors import OutOfRangeError
from minigrad.kernels.compiling import compiled
from minigrad.kernels.norms import wide_rstd
from minigrad.kernels.vectors import (
    data,
    exp,
    fill,
    fma,
    iota,
    load,
    maximum,
    select,
    spread,
    store,
    total,
)

__all__ = ["Packed", "search"]

Array = np.ndarray

PANEL = 32  # columns of a panel: two vectors of 16
BLOCK = 128  # rows that go through a layer together, so that what lies between stays in the cache

# An instruction's name in LLVM, which from version 22 on knows its operands as bytes.
VNNI, BYTES_ARE_BYTES = "llvm.x86.avx512.vpdpbusd.512", binding.llvm_version_info >= (22,)
HEADER = 64  # bytes before a row of rounded activations

# What is done with a product.
SET, ADD, RELU, GELU = range(4)

# The pieces of a layer, in their order in `places`.
NORM1, QKV, OUT, NORM2, UP, DOWN, QUERY, CROSS_OUT, NORM3, KV = range(10)
ENCODER_PIECES, DECODER_PIECES, TAIL_PIECES = 6, 10, 5
# After those of the layers.
ENCODER_NORM, DECODER_NORM, OUTPUT, ENCODER_EMBED, DECODER_EMBED = range(5)


# ---------------------------------------------------------------------- what Numba does not have


@intrinsic
def multiply(typing, y, x, start, step, m, place, count, rows):
    """y (rows, 32) = x (rows, count) @ a panel of `m` (count, 32); `count` is a multiple of 4.

    Row r of x begins at `start + r * step`. Sums of one or two rows are split in four or two, as
    one chain of additions would be waited for. For an `m` of uint8 see `_multiply_bytes`.
    """
    if not isinstance(rows, types.IntegerLiteral):
        return None
    n, whole = rows.literal_value, types.intp
    if m.dtype == types.uint8:
        return types.void(y, x, whole, whole, m, whole, whole, rows), _multiply_bytes(n)
    parts = max(1, 4 // n)
    integers = m.dtype == types.int8

    def generate(context, builder, signature, args):
        number, word = ir.FloatType(), ir.IntType(64)
        vector = ir.VectorType(number, 16)
        stored = ir.VectorType(ir.IntType(8), 16) if integers else vector

        y, x, m = args[0], args[1], args[4]
        start, step, place, count = args[2], args[3], args[5], args[6]
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fmuladd.v16f32"
        )
        lines = [builder.gep(x, [builder.add(start, builder.mul(step, word(r)))]) for r in range(n)]
        panel = builder.gep(m, [place])
        zero = ir.Constant(vector, [0.0] * 16)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2 * n * parts)]

        def weights(k, half):
            spot = builder.gep(panel, [builder.add(builder.mul(k, word(PANEL)), word(16 * half))])
            w = builder.load(builder.bitcast(spot, stored.as_pointer()), align=16)
            if integers:
                w = builder.sext(w, ir.VectorType(ir.IntType(32), 16))
                w = builder.sitofp(w, vector)
            return w

        undefined = ir.Constant(vector, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), 16), [0] * 16)
        with cgutils.for_range_slice(builder, word(0), count, word(parts)) as (k, _):
            for part in range(parts):
                i = builder.add(k, word(part))
                halves = weights(i, 0), weights(i, 1)
                for r in range(n):
                    one = builder.load(builder.gep(lines[r], [i]))
                    first = builder.insert_element(undefined, one, ir.IntType(32)(0))
                    every = builder.shuffle_vector(first, undefined, lanes)
                    for half in range(2):
                        cell = sums[(part * n + r) * 2 + half]
                        builder.store(
                            builder.call(fma, [every, halves[half], builder.load(cell)]), cell
                        )
        for r in range(n):
            for half in range(2):
                found = [builder.load(sums[(part * n + r) * 2 + half]) for part in range(parts)]
                while len(found) > 1:
                    found = [builder.fadd(*found[i : i + 2]) for i in range(0, len(found), 2)]
                spot = builder.gep(y, [word(r * PANEL + 16 * half)])
                builder.store(found[0], builder.bitcast(spot, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(y, x, whole, whole, m, whole, whole, rows), generate


def _multiply_bytes(n):
    """As `multiply`, for rows that `round_rows` has written: then start and step count bytes.

    A panel is (count / 4, 32, 4). Behind it stand the sums of its columns times -128, from which
    on products are added up, as 128 was added to what is in x. 32 bits hold 60,000 products.
    """

    def generate(context, builder, signature, args):
        y, x, start, step, m, place, count, _ = args
        word, number, byte = ir.IntType(64), ir.IntType(32), ir.IntType(8)
        vector, floats = ir.VectorType(number, 16), ir.VectorType(ir.FloatType(), 16)
        given = ir.VectorType(byte, 64) if BYTES_ARE_BYTES else vector
        add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector, given, given]), VNNI
        )
        undefined = ir.Constant(vector, ir.Undefined)
        lanes = ir.Constant(vector, [0] * 16)

        def everywhere(x):
            one = builder.insert_element(ir.Constant(undefined.type, ir.Undefined), x, number(0))
            return builder.shuffle_vector(one, undefined, lanes)

        rows = builder.gep(builder.bitcast(x, byte.as_pointer()), [start])
        lines = [builder.gep(rows, [builder.mul(step, word(r))]) for r in range(n)]
        panel = builder.gep(m, [place])

        def weights(k, half):
            spot = builder.gep(panel, [builder.add(builder.mul(k, word(PANEL)), word(64 * half))])
            return builder.load(builder.bitcast(spot, vector.as_pointer()), align=1)

        sums = [
            cgutils.alloca_once_value(builder, weights(count, half))
            for _ in range(n)
            for half in range(2)
        ]
        with cgutils.for_range_slice(builder, word(0), count, word(4)) as (k, _):
            halves = weights(k, 0), weights(k, 1)
            for r in range(n):
                spot = builder.bitcast(builder.gep(lines[r], [k]), number.as_pointer())
                every = everywhere(builder.load(spot, align=1))
                for half in range(2):
                    cell = sums[2 * r + half]
                    pair = [builder.bitcast(v, given) for v in (every, halves[half])]
                    builder.store(builder.call(add, [builder.load(cell), *pair]), cell)
        for r in range(n):
            spot = builder.gep(lines[r], [word(-HEADER)])
            scale = everywhere(builder.load(builder.bitcast(spot, number.as_pointer()), align=4))
            for half in range(2):
                found = builder.sitofp(builder.load(sums[2 * r + half]), floats)
                found = builder.fmul(found, builder.bitcast(scale, floats))
                spot = builder.gep(y, [word(r * PANEL + 16 * half)])
                builder.store(found, builder.bitcast(spot, floats.as_pointer()), align=4)
        return context.get_dummy_value()

    return generate


@intrinsic
def in_bytes(typing, m):
    """Whether activations are rounded, too, for a product with `m`: its dtype tells."""

    def generate(context, builder, signature, args):
        return ir.Constant(ir.IntType(1), m.dtype == types.uint8)

    return types.boolean(m), generate


@intrinsic
def store_rounded(typing, target, index, vector):
    """Write the nearest integers, plus 128, of a vector from byte `index` of `target` on."""

    def generate(context, builder, signature, args):
        kind, n = args[2].type, vector.lanes
        words, small = (ir.VectorType(ir.IntType(bits), n) for bits in (32, 8))
        rint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.rint.v{n}f32"
        )
        found = builder.fptosi(builder.call(rint, [args[2]]), words)
        found = builder.trunc(builder.add(found, ir.Constant(words, [128] * n)), small)
        spot = builder.gep(builder.bitcast(args[0], ir.IntType(8).as_pointer()), [args[1]])
        builder.store(found, builder.bitcast(spot, small.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(target, types.intp, vector), generate


@intrinsic
def largest(typing, vector):
    """The largest of the lanes."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.FloatType(), [args[0].type])
        name = f"llvm.vector.reduce.fmax.v{vector.lanes}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, args, fastmath=("nnan",))

    return vector.dtype(vector), generate


# -------------------------------------------------------------------------------------- products


@compiled
def up32(n):
    """n, rounded up to a multiple of 32."""
    return (n + 31) // 32 * 32


@compiled
def copy(x, to, start, count):
    """Copy `count` numbers of x, a multiple of 16, from `start` to `to`."""
    for i in range(0, count, 16):
        store(x, to + i, load(x, start + i, 16))


@compiled
def finish(y, at, step, tile, rows, w, bias, scale, then):
    """32 columns of y, from `at` on = the tile * scales + biases, and what is to be done `then`."""
    s0, s1 = load(w, scale, 16), load(w, scale + 16, 16)
    b0, b1 = load(w, bias, 16), load(w, bias + 16, 16)
    zero = fill(np.float32(0), 16)
    for r in range(rows):
        o = at + r * step
        y0 = fma(load(tile, r * 32, 16), s0, b0)
        y1 = fma(load(tile, r * 32 + 16, 16), s1, b1)
        if then == ADD:
            y0 = y0 + load(y, o, 16)
            y1 = y1 + load(y, o + 16, 16)
        elif then == RELU:
            y0 = maximum(zero, y0)
            y1 = maximum(zero, y1)
        store(y, o, y0)
        store(y, o + 16, y1)
        if then == GELU:
            for j in range(o, o + 32):
                y[j] = (
                    y[j]
                    * np.float32(0.5)
                    * np.float32(math.erfc(y[j] * np.float32(-math.sqrt(0.5))))
                )


@compiled
def round_rows(tile, x, start, step, rows, n):
    """Rows of x, n numbers each, rounded behind a tile: a scale in HEADER bytes, then the bytes."""
    zero, one = fill(np.float32(0), 16), np.float32(1)
    for r in range(rows):
        i, top = start + r * step, zero
        for j in range(0, n, 16):
            v = load(x, i + j, 16)
            top = maximum(maximum(v, zero - v), top)
        scale = largest(top) / np.float32(127)
        scale = scale if scale > 0 else one
        o = 4 * 8 * PANEL + r * (n + HEADER)
        tile[o // 4] = scale
        for j in range(0, n, 16):
            store_rounded(tile, o + HEADER + j, load(x, i + j, 16) / fill(scale, 16))


@compiled
def product(y, y0, y_step, x, x0, x_step, rows, w, m, places, piece, n_in, n_out, then, tile):
    """y (rows, n_out) = x (rows, n_in) @ a matrix + its bias; see `finish`."""
    bias, matrix = places[2 * piece], places[2 * piece + 1]
    n_in, n_out = (n_in + 3) // 4 * 4, (n_out + 31) // 32 * 32
    panel_size = n_in * 32
    if in_bytes(m):
        panel_size += 4 * 32  # the sums behind it
        round_rows(tile, x, x0, x_step, rows, up32(n_in))
        x, x0, x_step = tile, 4 * 8 * PANEL + HEADER, up32(n_in) + HEADER
    for j in range(0, n_out, 32):
        panel, b, s = matrix + j // 32 * panel_size, bias + j, bias + n_out + j
        o, i, r = y0 + j, x0, 0
        while rows - r >= 8:
            multiply(tile, x, i, x_step, m, panel, n_in, 8)
            finish(y, o, y_step, tile, 8, w, b, s, then)
            o, i, r = o + 8 * y_step, i + 8 * x_step, r + 8
        if rows - r >= 4:
            multiply(tile, x, i, x_step, m, panel, n_in, 4)
            finish(y, o, y_step, tile, 4, w, b, s, then)
            o, i, r = o + 4 * y_step, i + 4 * x_step, r + 4
        if rows - r >= 2:
            multiply(tile, x, i, x_step, m, panel, n_in, 2)
            finish(y, o, y_step, tile, 2, w, b, s, then)
            o, i, r = o + 2 * y_step, i + 2 * x_step, r + 2
        if rows - r:
            multiply(tile, x, i, x_step, m, panel, n_in, 1)
            finish(y, o, y_step, tile, 1, w, b, s, then)


# ------------------------------------------------------------------------------------ other parts


@compiled
def normalise(y, y0, x, x0, step, rows, w, place, n):
    """Layer norm of rows of x; the mean is in two parts, see `cpu.mean_and_rstd`."""
    padded = up32(n)
    scale, shift, eps = place, place + padded, w[place + 2 * padded]
    whole = n // 16 * 16
    for r in range(rows):
        i, o = x0 + r * step, y0 + r * step
        sums = fill(np.float32(0), 16)
        for j in range(0, whole, 16):
            sums = sums + load(x, i + j, 16)
        mean = total(sums)
        for j in range(whole, n):
            mean += x[i + j]
        mean = np.float32(mean / np.float32(n))
        low, sums, more = fill(mean, 16), fill(np.float32(0), 16), fill(np.float32(0), 16)
        for j in range(0, whole, 16):
            v = load(x, i + j, 16) - low
            more = more + v
            sums = fma(v, v, sums)
        squares, rest = total(sums), total(more)
        for j in range(whole, n):
            rest += x[i + j] - mean
            squares += (x[i + j] - mean) * (x[i + j] - mean)
        rest = np.float32(rest / np.float32(n))
        variance = np.float64(squares) / n - np.float64(rest) * rest
        rstd = np.float32(1 / math.sqrt(variance + eps))
        if not rest * rest <= variance < np.inf:
            rstd = np.float32(wide_rstd(x, i, n, mean, rest, eps))
        factor, lower = fill(rstd, 16), fill(rest, 16)
        for j in range(0, whole, 16):
            v = ((load(x, i + j, 16) - low) - lower) * factor
            store(y, o + j, fma(v, load(w, scale + j, 16), load(w, shift + j, 16)))
        for j in range(whole, n):
            y[o + j] = ((x[i + j] - mean) - rest) * rstd * w[scale + j] + w[shift + j]


@compiled
def before(h, x, x0, step, rows, w, place, n, first):
    """h = what a branch takes: the norm of rows of x if norms stand first, else x itself."""
    if first:
        normalise(h, 0, x, x0, step, rows, w, place, n)
    else:
        for j in range(0, rows * step, 16):
            store(h, j, load(x, x0 + j, 16))


@compiled
def after(x, x0, step, rows, w, place, n, first):
    """The norm of rows of x, to which a branch was added, if norms stand last."""
    if not first:
        normalise(x, x0, x, x0, step, rows, w, place, n)


@compiled
def embed(x, at, w, place, token, table, position, step):
    """A row of x = the embedding of `token` + that of `position`."""
    i, j = place + token * step, position * step
    for c in range(0, step, 16):
        store(x, at + c, load(w, i + c, 16) + load(table, j + c, 16))


@compiled
def keep(keys, k0, values, v0, x, at, j, room, heads, head):
    """Keys and values of position `j`, which stand at x[at:], into a cache of `room` positions."""
    k = k0 + j // 32 * heads * head * 32 + j % 32
    for c in range(heads * head):
        keys[k + c * 32] = x[at + c]
    padded = (head + 15) // 16 * 16
    at += heads * head
    for h in range(heads):
        for c in range(0, padded, 16):
            store(values, v0 + (h * room + j) * padded + c, load(x, at + h * padded + c, 16))


@compiled
def attend(out, o0, q, q0, keys, k0, values, v0, count, room, heads, head, p):
    """What one query gathers from `count` positions in each head; zeros if there are none."""
    padded = (head + 15) // 16 * 16
    zero = fill(np.float32(0), 16)
    if not count:
        for c in range(0, heads * padded, 16):
            store(out, o0 + c, zero)
        return
    scale = fill(np.float32(1 / math.sqrt(head)), 16)
    lowest = fill(np.float32(-np.inf), 16)
    even = head // 2 * 2
    for h in range(heads):
        top = lowest
        for j in range(0, count, 32):
            k = k0 + (j * heads + h * 32) * head
            a0, a1, a2, a3 = zero, zero, zero, zero
            c = q0 + h * head
            if count - j > 16:
                for _ in range(0, even, 2):
                    one, two = spread(q, c, 16), spread(q, c + 1, 16)
                    a0 = fma(one, load(keys, k, 16), a0)
                    a1 = fma(one, load(keys, k + 16, 16), a1)
                    a2 = fma(two, load(keys, k + 32, 16), a2)
                    a3 = fma(two, load(keys, k + 48, 16), a3)
                    k += 64
                    c += 2
            else:
                for _ in range(0, even, 2):
                    a0 = fma(spread(q, c, 16), load(keys, k, 16), a0)
                    a2 = fma(spread(q, c + 1, 16), load(keys, k + 32, 16), a2)
                    k += 64
                    c += 2
            if even < head:
                one = spread(q, c, 16)
                a0 = fma(one, load(keys, k, 16), a0)
                a1 = fma(one, load(keys, k + 16, 16), a1)
            a0, a1 = (a0 + a2) * scale, (a1 + a3) * scale
            if j + 32 > count:  # what lies behind the last key
                a0 = select(iota(a0), "<", fill(np.float32(count - j), 16), a0, lowest)
                a1 = select(iota(a1), "<", fill(np.float32(count - j - 16), 16), a1, lowest)
            store(p, j, a0)
            store(p, j + 16, a1)
            top = maximum(top, maximum(a0, a1))
        top, sums = fill(largest(top), 16), zero
        for j in range(0, count, 16):
            e = exp(load(p, j, 16) - top)
            store(p, j, e)
            sums = sums + e
        factor = fill(np.float32(1) / total(sums), 16)
        for c in range(0, padded, 16):
            a0, a1, a2, a3 = zero, zero, zero, zero
            v = v0 + h * room * padded + c
            j = 0
            while j + 4 <= count:
                a0 = fma(spread(p, j, 16), load(values, v, 16), a0)
                a1 = fma(spread(p, j + 1, 16), load(values, v + padded, 16), a1)
                a2 = fma(spread(p, j + 2, 16), load(values, v + 2 * padded, 16), a2)
                a3 = fma(spread(p, j + 3, 16), load(values, v + 3 * padded, 16), a3)
                j, v = j + 4, v + 4 * padded
            while j < count:
                a0 = fma(spread(p, j, 16), load(values, v, 16), a0)
                j, v = j + 1, v + padded
            store(out, o0 + h * padded + c, ((a0 + a1) + (a2 + a3)) * factor)


# --------------------------------------------------------------------------------------- encoder


@compiled
def encode(tokens, positions, starts, table, w, m, places, sizes, tile):
    """Memory, (N, D) in rows of a multiple of 32 numbers, of the tokens of all sentences."""
    d, heads, ff = sizes[0], sizes[1], sizes[2]
    head = d // heads
    width = heads * ((head + 15) // 16 * 16)
    step, f_step, a_step = up32(d), up32(ff), up32(width)
    q_step = up32(2 * d + width)
    n = tokens.size
    longest = 0
    for b in range(starts.size - 1):
        longest = max(longest, starts[b + 1] - starts[b])
    span = up32(longest)
    x, a = np.zeros(n * step, np.float32), np.zeros(n * a_step, np.float32)
    qkv = np.empty(n * q_step, np.float32)
    h = np.zeros(min(n, BLOCK) * step, np.float32)
    f = np.empty(min(n, BLOCK) * f_step, np.float32)
    keys, values = np.zeros(d * span, np.float32), np.empty(longest * width, np.float32)
    p = np.empty(span, np.float32)
    through_encoder(
        x,
        a,
        qkv,
        h,
        f,
        keys,
        values,
        p,
        tokens,
        positions,
        starts,
        table,
        w,
        m,
        places,
        sizes,
        tile,
    )
    return x


@compiled
def through_encoder(
    x_, a_, qkv_, h_, f_, keys_, values_, p_, tokens, positions, starts, table_, w_, m_, places_,
    sizes, tile_,
):  # fmt: skip
    """What `encode` has made arrays for; x becomes the memory."""
    d, heads, ff, layers, first, act = sizes[0], sizes[1], sizes[2], sizes[3], sizes[5], sizes[6]
    head = d // heads
    width = heads * ((head + 15) // 16 * 16)
    step, f_step, a_step = up32(d), up32(ff), up32(width)
    q_step = up32(2 * d + width)
    n, tail = tokens.size, places_.shape[0] - TAIL_PIECES
    x, a, qkv, h, f, p = data(x_), data(a_), data(qkv_), data(h_), data(f_), data(p_)
    keys, values, table, w, m = data(keys_), data(values_), data(table_), data(w_), data(m_)
    places, tile = data(places_), data(tile_)
    embed_place = places[2 * (tail + ENCODER_EMBED)]
    for i in range(n):
        embed(x, i * step, w, embed_place, tokens[i], table, positions[i], step)
    for layer in range(layers):
        at = layer * ENCODER_PIECES
        norm1, norm2 = places[2 * (at + NORM1)], places[2 * (at + NORM2)]
        for i in range(0, n, BLOCK):
            rows = min(BLOCK, n - i)
            before(h, x, i * step, step, rows, w, norm1, d, first)
            product(qkv, i * q_step, q_step, h, 0, step, rows, w, m, places, at + QKV, d, q_step,
                    SET, tile)  # fmt: skip
        for b in range(starts.size - 1):
            begin, count = starts[b], starts[b + 1] - starts[b]
            for j in range(count):
                i = (begin + j) * q_step
                keep(keys, 0, values, 0, qkv, i + d, j, count, heads, head)
            for i in range(begin, begin + count):
                attend(a, i * a_step, qkv, i * q_step, keys, 0, values, 0, count, count, heads,
                       head, p)  # fmt: skip
        for i in range(0, n, BLOCK):
            rows, o = min(BLOCK, n - i), i * step
            product(x, o, step, a, i * a_step, a_step, rows, w, m, places, at + OUT, width, d, ADD,
                    tile)  # fmt: skip
            after(x, o, step, rows, w, norm1, d, first)
            before(h, x, o, step, rows, w, norm2, d, first)
            product(f, 0, f_step, h, 0, step, rows, w, m, places, at + UP, d, ff, act, tile)
            product(x, o, step, f, 0, f_step, rows, w, m, places, at + DOWN, ff, d, ADD, tile)
            after(x, o, step, rows, w, norm2, d, first)
    normalise(x, 0, x, 0, step, n, w, places[2 * (tail + ENCODER_NORM)], d)


# --------------------------------------------------------------------------------------- decoder


@compiled
def remember(
    cross_keys_, cross_values_, kv_, memory_, starts, spans, w_, m_, places_, sizes, tile_
):
    """Keys and values of the memory: layer after layer, in each sentence after sentence."""
    d, heads, layers = sizes[0], sizes[1], sizes[4]
    head, B = d // heads, starts.size - 1
    v_width, n = heads * ((head + 15) // 16 * 16), starts[B]
    step, kv_step = up32(d), up32(d + v_width)
    cross_keys, cross_values, kv = data(cross_keys_), data(cross_values_), data(kv_)
    memory, w, m, places, tile = data(memory_), data(w_), data(m_), data(places_), data(tile_)
    for layer in range(layers):
        at = sizes[3] * ENCODER_PIECES + layer * DECODER_PIECES
        b = 0
        for i in range(0, n, BLOCK):
            rows = min(BLOCK, n - i)
            product(kv, 0, kv_step, memory, i * step, step, rows, w, m, places, at + KV, d,
                    kv_step, SET, tile)  # fmt: skip
            for r in range(rows):
                while i + r >= starts[b + 1]:
                    b += 1
                keep(cross_keys, (layer * spans[B] + spans[b]) * d, cross_values,
                     (layer * n + starts[b]) * v_width, kv, r * kv_step, i + r - starts[b],
                     starts[b + 1] - starts[b], heads, head)  # fmt: skip


@compiled
def one_step(
    x_, h_, qkv_, a_, f_, p_, scores_, tile_, self_keys_, self_values_, cross_keys_, cross_values_,
    sentence, slot, token, alive, starts, spans, t, T, w_, m_, places_, table_, sizes, s_step,
):  # fmt: skip
    """The scores of what follows the tokens of rows, which are at position `t`.

    Row r belongs to sentence `sentence[r]`, and its past lies in slot `slot[r]` of the self cache.
    """
    d, heads, ff, layers, first, act = sizes[0], sizes[1], sizes[2], sizes[4], sizes[5], sizes[6]
    head = d // heads
    width = heads * ((head + 15) // 16 * 16)
    step, f_step, a_step, q_step = up32(d), up32(ff), up32(width), up32(2 * d + width)
    k_slot, v_slot, k_span = d * up32(T), T * width, spans[spans.size - 1] * d
    slots, n = self_values_.size // max(1, layers * v_slot), starts[starts.size - 1]
    x, h, qkv, a, f, p = data(x_), data(h_), data(qkv_), data(a_), data(f_), data(p_)
    self_keys, self_values, cross_keys = data(self_keys_), data(self_values_), data(cross_keys_)
    cross_values, scores, w, m = data(cross_values_), data(scores_), data(w_), data(m_)
    places, table, tile = data(places_), data(table_), data(tile_)
    tail = places_.shape[0] - TAIL_PIECES
    embed_place = places[2 * (tail + DECODER_EMBED)]
    for r in range(alive):
        embed(x, r * step, w, embed_place, token[r], table, t, step)
    for layer in range(layers):
        at = sizes[3] * ENCODER_PIECES + layer * DECODER_PIECES
        norm1, norm2 = places[2 * (at + NORM1)], places[2 * (at + NORM2)]
        norm3 = places[2 * (at + NORM3)]
        before(h, x, 0, step, alive, w, norm1, d, first)
        product(qkv, 0, q_step, h, 0, step, alive, w, m, places, at + QKV, d, q_step, SET, tile)
        for r in range(alive):
            k, v = (layer * slots + slot[r]) * k_slot, (layer * slots + slot[r]) * v_slot
            q = r * q_step
            keep(self_keys, k, self_values, v, qkv, q + d, t, T, heads, head)
            attend(a, r * a_step, qkv, q, self_keys, k, self_values, v, t + 1, T, heads, head, p)
        product(x, 0, step, a, 0, a_step, alive, w, m, places, at + OUT, width, d, ADD, tile)
        after(x, 0, step, alive, w, norm1, d, first)

        before(h, x, 0, step, alive, w, norm2, d, first)
        product(qkv, 0, step, h, 0, step, alive, w, m, places, at + QUERY, d, d, SET, tile)
        for r in range(alive):
            b = sentence[r]
            k, v = layer * k_span + spans[b] * d, (layer * n + starts[b]) * width
            count = starts[b + 1] - starts[b]
            attend(a, r * a_step, qkv, r * step, cross_keys, k, cross_values, v, count, count,
                   heads, head, p)  # fmt: skip
        product(x, 0, step, a, 0, a_step, alive, w, m, places, at + CROSS_OUT, width, d, ADD, tile)
        after(x, 0, step, alive, w, norm2, d, first)

        before(h, x, 0, step, alive, w, norm3, d, first)
        product(f, 0, f_step, h, 0, step, alive, w, m, places, at + UP, d, ff, act, tile)
        product(x, 0, step, f, 0, f_step, alive, w, m, places, at + DOWN, ff, d, ADD, tile)
        after(x, 0, step, alive, w, norm3, d, first)
    normalise(h, 0, x, 0, step, alive, w, places[2 * (tail + DECODER_NORM)], d)
    product(scores, 0, s_step, h, 0, step, alive, w, m, places, tail + OUTPUT, d, s_step, SET, tile)


# ----------------------------------------------------------------------------------------- beams


@compiled
def log_sum(scores, start, n):
    """log of the sum of exp of n scores; what lies behind them, up to a multiple of 16, is read."""
    stop = start + n
    tops = fill(np.float32(-np.inf), 16)
    for i in range(start, stop, 16):
        tops = maximum(up_to(load(scores, i, 16), stop - i), tops)
    top, sums = largest(tops), 0.0
    tops = fill(top, 16)
    for block in range(start, stop, 1024):  # so that no sum in float32 gets long
        found = fill(np.float32(0), 16)
        for i in range(block, min(block + 1024, stop), 16):
            found = found + exp(up_to(load(scores, i, 16), stop - i) - tops)
        sums += total(found)
    return top + math.log(sums)


@compiled
def up_to(x, n):
    """x, with -inf in its lanes from number n on."""
    return select(iota(x), "<", fill(np.float32(n), 16), x, fill(np.float32(-np.inf), 16))


@compiled
def best_continuations(
    parents, choices, ranks, new_logs, logs, ends, rows, base, held, scores_, s_step, n, t, penalty
):
    """How many there are of the best continuations of the `held` hypotheses from `base` on.

    Number j continues hypothesis `parents[j]` with the competing id number `choices[j]`, or is that
    hypothesis, if it is ended. The better stand before; of equal ones those that were found first.
    """
    found, width, scores = 0, ranks.size, data(scores_)
    for i in range(held):
        old = ends[base + i] >= 0
        start, count = rows[base + i] * s_step, n
        shift = 0.0
        if old:
            count = 1
        else:
            shift = logs[base + i] - log_sum(scores, start, n)
        power = float(ends[base + i] if old else t + 1) ** penalty
        bound = -np.inf if old else least(ranks, found, power, shift)
        for block in range(0, count, 16):
            if not old and largest(up_to(load(scores, start + block, 16), n - block)) < bound:
                continue
            for c in range(block, min(block + 16, count)):
                if not old and scores[start + c] < bound:
                    continue
                log = logs[base + i] if old else scores[start + c] + shift
                rank = log / power
                if found == width and rank <= ranks[width - 1]:
                    continue
                j = min(found, width - 1)
                while j > 0 and rank > ranks[j - 1]:
                    ranks[j], new_logs[j] = ranks[j - 1], new_logs[j - 1]
                    parents[j], choices[j] = parents[j - 1], choices[j - 1]
                    j -= 1
                ranks[j], new_logs[j], parents[j], choices[j] = rank, log, i, c
                found = min(found + 1, width)
                if not old:
                    bound = least(ranks, found, power, shift)
    return found


@compiled
def least(ranks, found, power, shift):
    """A score below which none gets a rank above the last; a little lower, as sums are rounded."""
    if found < ranks.size:
        return -np.inf
    needed = ranks[found - 1] * power
    return needed - shift - 1e-12 * (abs(needed) + abs(shift))


@compiled
def hand_down(slots, base, parents, found, keys_, values_, k_slot, v_slot, layers, heads, t, T, d):
    """Slots for the continuations: that of the parent for the first, a copy of it for others."""
    width = parents.size
    taken, new = np.zeros(width, np.bool_), np.full(width, -1)
    for j in range(found):
        if not taken[parents[j]]:
            taken[parents[j]] = True
            new[j] = slots[base + parents[j]]
    total, free = slots.size, 0
    keys, values = data(keys_), data(values_)
    for j in range(width):
        if new[j] >= 0:
            continue
        while taken[free]:
            free += 1
        taken[free] = True
        new[j] = slots[base + free]
        if j >= found:
            continue
        parent = slots[base + parents[j]]
        for layer in range(layers):
            to, start = (layer * total + new[j]) * k_slot, (layer * total + parent) * k_slot
            copy(keys, to, start, up32(t + 1) * d)
            to, start = (layer * total + new[j]) * v_slot, (layer * total + parent) * v_slot
            of_head = v_slot // heads
            for h in range(heads):
                copy(values, to + h * of_head, start + h * of_head, of_head // T * (t + 1))
    for j in range(width):
        slots[base + j] = new[j]


# ---------------------------------------------------------------------------------------- search


def search_loop(
    out, lengths, steps, src, limits, table, w, m, places, sizes, allowed, start_id, end_id, width,
    penalty,
):  # fmt: skip
    """Fill the rows of `out` (B * best, T) with ids, and `lengths` (B * best, 2) with the number of
    ids and of steps; and, if it is not empty, `steps` (B * best, T) with log probabilities.

    A sentence's best hypotheses follow each other; a number of -1 means that there is none. False
    if an id of `src` is not below `limits[1]`. `limits[0]` is padding, which is passed over.

    A beam holds `width` hypotheses, the best first; of equal ones, the older beam and then the
    smaller id stand before. Without a width above 1 the scores need no logarithm.
    """
    d, heads, ff, layers = sizes[0], sizes[1], sizes[2], sizes[4]
    head = d // heads
    v_width = heads * ((head + 15) // 16 * 16)
    A, R = allowed.size, src.shape[0] * width
    step, kv_step, s_step = up32(d), up32(d + v_width), up32(A)
    B, T = src.shape[0], out.shape[1]
    best = out.shape[0] // max(1, B)
    # A tile, and behind it what `round_rows` writes.
    widest = max(up32(ff), up32(d), up32(v_width)) + HEADER
    tile = np.empty(8 * PANEL + max(R, BLOCK) * widest // 4, np.float32)

    tokens, positions = np.empty(src.size, np.int64), np.empty(src.size, np.int64)
    starts = np.zeros(B + 1, np.int64)
    n = 0
    for b in range(B):
        for i in range(src.shape[1]):
            if not 0 <= src[b, i] < limits[1]:
                return False
            if src[b, i] != limits[0]:
                tokens[n], positions[n] = src[b, i], i
                n += 1
        starts[b + 1] = n
    memory = encode(tokens[:n], positions, starts, table, w, m, places, sizes, tile)

    spans = np.zeros(B + 1, np.int64)
    longest = up32(T)
    for b in range(B):
        spans[b + 1] = spans[b] + up32(starts[b + 1] - starts[b])
        longest = max(longest, spans[b + 1] - spans[b])
    cross_keys = np.zeros(layers * spans[B] * d, np.float32)
    cross_values = np.empty(layers * n * v_width, np.float32)
    kv = np.empty(min(n, BLOCK) * kv_step, np.float32)
    remember(cross_keys, cross_values, kv, memory, starts, spans, w, m, places, sizes, tile)

    k_slot, v_slot = d * up32(T), T * v_width
    self_keys = np.zeros(layers * R * k_slot, np.float32)
    self_values = np.empty(layers * R * v_slot, np.float32)
    x, h = np.zeros(R * step, np.float32), np.zeros(R * step, np.float32)
    qkv, a = (
        np.empty(R * up32(2 * d + v_width), np.float32),
        np.zeros(R * up32(v_width), np.float32),
    )
    f, scores = np.empty(R * up32(ff), np.float32), np.empty(R * s_step, np.float32)
    p = np.empty(longest, np.float32)

    # Rows in progress: of which sentence, in which slot of the self cache, and the last id.
    sentence, slot = np.arange(B), np.arange(B) * width
    token = np.full(B, start_id)
    alive = B
    lengths[:] = 0 if width == 1 else -1
    # Of beam search, for each hypothesis: its ids, log probability, length with its end (negative
    # while it goes on), row (if it goes on) and slot.
    if width > 1:
        sentence, slot, token = np.resize(sentence, R), np.resize(slot, R), np.resize(token, R)
    ids, new_ids = np.zeros((R, T), np.int64), np.zeros((width, T), np.int64)
    logs_of, new_logs_of = np.zeros((R, T)), np.zeros((width, T))  # of each step
    logs, new_logs, ranks = np.zeros(R), np.zeros(width), np.zeros(width)
    ends, new_ends = np.full(R, -1), np.full(width, -1)
    row, slots = np.repeat(np.arange(B), width), np.arange(R)
    parents, choices = np.zeros(width, np.int64), np.zeros(width, np.int64)
    held = np.ones(B, np.int64)

    for t in range(T):
        one_step(
            x, h, qkv, a, f, p, scores, tile, self_keys, self_values, cross_keys, cross_values,
            sentence, slot, token, alive, starts, spans, t, T, w, m, places, table, sizes, s_step,
        )  # fmt: skip
        kept = 0
        if width == 1:
            for r in range(alive):
                most, b = r * s_step, sentence[r]
                for i in range(r * s_step + 1, r * s_step + A):
                    if scores[i] > scores[most]:
                        most = i
                choice = allowed[most - r * s_step]
                lengths[b, 1] = t + 1
                if steps.size:
                    steps[b, t] = scores[most] - log_sum(data(scores), r * s_step, A)
                if choice != end_id:
                    out[b, t] = choice
                    lengths[b, 0] = t + 1
                    sentence[kept], slot[kept], token[kept] = b, slot[r], choice
                    kept += 1
        for b in range(B if width > 1 else 0):
            base, going = b * width, False
            for i in range(held[b]):
                going = going or ends[base + i] < 0
            if not going:
                continue
            found = best_continuations(
                parents, choices, ranks, new_logs, logs, ends, row, base, held[b], scores, s_step,
                A, t, penalty,
            )  # fmt: skip
            hand_down(slots, base, parents, found, self_keys, self_values, k_slot, v_slot, layers,
                      heads, t, T, d)  # fmt: skip
            going = False
            for j in range(found):
                i = base + parents[j]
                for s in range(t):
                    new_ids[j, s], new_logs_of[j, s] = ids[i, s], logs_of[i, s]
                new_logs_of[j, t] = new_logs[j] - logs[i]
                new_ids[j, t], new_ends[j] = end_id, ends[i]
                if ends[i] < 0:
                    new_ids[j, t] = allowed[choices[j]]
                    new_ends[j] = t + 1 if allowed[choices[j]] == end_id else -1
                going = going or new_ends[j] < 0
            held[b] = found
            for j in range(found):
                for s in range(t + 1):
                    ids[base + j, s], logs_of[base + j, s] = new_ids[j, s], new_logs_of[j, s]
                logs[base + j], ends[base + j] = new_logs[j], new_ends[j]
                if new_ends[j] < 0:
                    row[base + j] = kept
                    sentence[kept], slot[kept], token[kept] = b, slots[base + j], new_ids[j, t]
                    kept += 1
        alive = kept
        if not alive:
            break
    for b in range(B if width > 1 else 0):
        for j in range(min(best, held[b])):
            i, o = b * width + j, b * best + j
            ended = ends[i] >= 0
            lengths[o, 0], lengths[o, 1] = ends[i] - 1 if ended else T, ends[i] if ended else T
            for s in range(lengths[o, 0]):
                out[o, s] = ids[i, s]
            for s in range(lengths[o, 1] if steps.size else 0):
                steps[o, s] = logs_of[i, s]
    return True


def loop_for(kind: str) -> Callable:
    """The search for weights of one kind, under a name of its own in the on-disk cache."""
    name = f"search_{kind}"
    function = FunctionType(search_loop.__code__, globals(), name)
    function.__qualname__, function.__module__ = name, __name__
    return compiled(function)


LOOPS = {np.dtype(kind): loop_for(kind) for kind in ("float32", "int8")}
BYTES = loop_for("uint8")  # for weights in bytes, compiled where it is asked for


@cache
def has_bytes() -> bool:
    """Whether the processor adds up products of bytes, by AVX-512 VNNI."""
    features = getattr(config, "CPU_FEATURES", None)  # where somebody has set them
    found = get_host_cpu_features() if features is None else features
    return "+avx512vnni" in found.split(",")


# --------------------------------------------------------------------------------------- packing


def padded(x: Array, axis: int, multiple: int) -> Array:
    """`x` with zeros behind, so that the length of `axis` is a multiple."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % multiple)
    return np.pad(x, widths)


def flat(table: Array) -> Array:
    """A table's rows one after the other, each filled up as rows of activations are."""
    return np.ascontiguousarray(padded(table, 1, PANEL), np.float32).reshape(-1)


def spread_heads(x: Array, heads: int) -> Array:
    """Columns of `x` with zeros behind those of each head, which are then a multiple of 16."""
    return padded(x.reshape(*x.shape[:-1], heads, -1), -1, 16).reshape(*x.shape[:-1], -1)


class Packed:
    """The weights of a model as `search_loop` reads them.

    Attributes:
        numbers: float32; norms, biases and scales, embeddings.
        matrices: float32 or int8, in panels; uint8 for the bytes that `multiply` takes.
        places: (pieces, 2), where a piece begins in `numbers` and in `matrices`.
        sizes: D, heads, features between, encoder layers, decoder layers, norms first, activation.
        ids: those that compete, ascending.

    Args:
        weights: a `minigrad.nn.generation.Weights`, in float32.
        int8: whether matrices become int8 with a scale for each output.
        in_bytes: whether activations are rounded as well, for processors as `has_bytes` says.
    """

    def __init__(self, weights: Any, int8: bool = False, in_bytes: bool = False):
        self.int8, self.in_bytes = int8, in_bytes
        self._numbers: list[Array] = []
        self._matrices: list[Array] = []
        self._counts = [0, 0]
        heads = weights.heads
        places = []
        for layer in (*weights.encoder, *weights.decoder):
            w, b = layer.qkv
            d = len(w)
            w = np.concatenate([w[:, : 2 * d], spread_heads(w[:, 2 * d :], heads)], axis=1)
            b = np.concatenate([b[: 2 * d], spread_heads(b[2 * d :], heads)])
            places += [self._norm(*layer.norm1), self._matrix(w, b), self._out(layer.out, heads)]
            places += [self._norm(*layer.norm2), self._matrix(*layer.up), self._matrix(*layer.down)]
            if layer.kv is not None:
                w, b = layer.kv
                w = np.concatenate([w[:, :d], spread_heads(w[:, d:], heads)], axis=1)
                b = np.concatenate([b[:d], spread_heads(b[d:], heads)])
                places += [self._matrix(*layer.query), self._out(layer.cross_out, heads)]
                places += [self._norm(*layer.norm3), self._matrix(w, b)]
        places += [self._norm(*weights.encoder_norm), self._norm(*weights.decoder_norm)]
        places += [self._matrix(*weights.output)]
        for table in (weights.encoder_embed, weights.decoder_embed):
            places.append(self._add(padded(table, 1, PANEL)))
        self.places = np.array(places, np.int64)
        self.numbers = joined(self._numbers, np.float32)
        self.matrices = joined(self._matrices, np.int8 if int8 else np.float32)
        if in_bytes:
            self.matrices = self.matrices.view(np.uint8)
        del self._numbers, self._matrices
        self.sizes = np.array(
            [
                weights.encoder_embed.shape[1],
                heads,
                weights.encoder[0].up[0].shape[1] if weights.encoder else 1,
                len(weights.encoder),
                len(weights.decoder),
                weights.norm_first,
                GELU if weights.activation == "gelu" else RELU,
            ],
            np.int64,
        )
        self.ids = np.ascontiguousarray(weights.ids, np.int64)
        self.vocabulary = len(weights.encoder_embed)

    def _add(self, numbers: Array, matrix: Array | None = None) -> tuple[int, int]:
        place = self._counts[0], self._counts[1]
        self._numbers.append(numbers.reshape(-1))
        self._counts[0] += numbers.size
        if matrix is not None:
            self._matrices.append(matrix.reshape(-1))
            self._counts[1] += matrix.size
        return place

    def _norm(self, weight: Array, bias: Array, eps: float) -> tuple[int, int]:
        """Weight, bias and eps, each filled up."""
        parts = weight, bias, np.array([eps])
        return self._add(np.concatenate([padded(x, 0, PANEL) for x in parts]))

    def _matrix(self, w: Array, b: Array) -> tuple[int, int]:
        """Panels of w (n_in, n_out); then the bias, and the scales of the outputs."""
        w, b = padded(padded(w, 0, 4), 1, PANEL), padded(b, 0, PANEL)
        scales = np.ones_like(b)
        if self.int8:
            scales = np.abs(w).max(axis=0, initial=0) / np.float32(127)
            scales[scales == 0] = 1
            w = np.rint(w / scales).astype(np.int8)
        panels = w.reshape(len(w), -1, PANEL).transpose(1, 0, 2)
        if self.in_bytes:
            sums = -128 * panels.astype(np.int32).sum(axis=1, keepdims=True, dtype=np.int32)
            by_fours = panels.reshape(len(panels), -1, 4, PANEL).swapaxes(2, 3)
            pieces = by_fours.reshape(len(panels), -1), sums.reshape(len(panels), -1).view(np.int8)
            panels = np.concatenate(pieces, axis=1)
        return self._add(np.concatenate([b, scales]), np.ascontiguousarray(panels))

    def _out(self, pair: tuple[Array, Array], heads: int) -> tuple[int, int]:
        """The projection of what attention gathers, whose heads have zeros behind."""
        w, b = pair
        return self._matrix(spread_heads(w.T, heads).T, b)


def joined(parts: Sequence[Array], dtype: type) -> Array:
    """All parts in one flat array that begins at a multiple of 64 bytes."""
    size = sum(x.size for x in parts)
    room = np.empty(size * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -room.ctypes.data % 64
    whole: Array = room[start : start + size * np.dtype(dtype).itemsize].view(dtype)
    np.concatenate(parts, out=whole, casting="same_kind")
    return whole


# ---------------------------------------------------------------------------------------- calling

WORTH_A_THREAD = 3_000_000  # multiplications that take longer than waking a thread
AT_ONCE = 32  # hypotheses in one call: more would no longer fit into the cache


def search(
    packed: Packed,
    src: Array,
    padding_id: int,
    table: Array,
    *,
    start_id: int,
    end_id: int,
    max_length: int,
    width: int = 1,
    length_penalty: float = 0.0,
    nbest: int = 1,
    scored: bool = True,
    threads: int = 1,
) -> list[list[tuple[list[int], list[float]]]]:
    """What is found for each row of `src` (B, S), best first: ids, and log probabilities of steps.

    Args:
        packed: the weights.
        padding_id: the id in `src` that is passed over.
        table: what is added to embeddings by position, at least S and max_length; see `flat`.
        start_id, end_id, max_length: see `minigrad.nn.Generator`.
        width: 1 for greedy search.
        nbest: how many of a beam are given, at most `width`.
        scored: whether log probabilities are wanted; there are none otherwise.
        threads: sentences are split between so many.

    Raises:
        OutOfRangeError: `src` has an id that is not in the vocabulary.
    """
    count, most = len(src), max(1, AT_ONCE // width)
    parts = min(threads, count)
    if parts > 1:
        work = count * (src.shape[1] + max_length * width) * packed.matrices.size
        parts = parts if work > WORTH_A_THREAD else 1
    parts = max(1, -(-count // (most * parts))) * parts
    limits = np.array([padding_id, packed.vocabulary])

    def one(src: Array) -> list[list[tuple[list[int], list[float]]]]:
        out = np.empty((len(src) * nbest, max_length), np.int64)
        lengths = np.empty((len(src) * nbest, 2), np.int64)
        steps = np.empty((len(out) if scored else 0, max_length))
        loop = BYTES if packed.in_bytes else LOOPS[packed.matrices.dtype]
        good = loop(
            out, lengths, steps, src, limits, table, packed.numbers, packed.matrices, packed.places,
            packed.sizes, packed.ids, start_id, end_id, width, length_penalty,
        )  # fmt: skip
        if not good:
            raise OutOfRangeError(
                f"Generator: ids of src must be in [0, {packed.vocabulary}), got "
                f"{src.min()}..{src.max()}"
            )
        logs = steps.tolist() if scored else [[]] * len(out)
        each = [
            (ids[:n], log[:count]) if n >= 0 else None
            for ids, log, (n, count) in zip(out.tolist(), logs, lengths.tolist(), strict=True)
        ]
        return [
            [pair for pair in each[i : i + nbest] if pair is not None]
            for i in range(0, len(each), nbest)
        ]

    if parts == 1:
        return one(np.ascontiguousarray(src))
    shares = [np.ascontiguousarray(src[i::parts]) for i in range(parts)]
    others = [pool().submit(one, share) if i % threads else None for i, share in enumerate(shares)]
    found: list[list[tuple[list[int], list[float]]]] = [[]] * count
    for i, (share, other) in enumerate(zip(shares, others, strict=True)):
        if other is None:
            found[i::parts] = one(share)
    for i, other in enumerate(others):
        if other is not None:
            found[i::parts] = other.result()
    return found


@cache
def pool() -> ThreadPoolExecutor:
    """The threads beside the caller's."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "minigrad-decoding")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=pool.cache_clear)


def compile_for(kind: Any) -> None:
    """Compile the search for weights of a kind in `LOOPS`, or load it from the on-disk cache."""
    ids, row = np.zeros(1, np.int64), np.zeros(32, np.float32)
    places, none = np.zeros((TAIL_PIECES, 2), np.int64), np.zeros((0, 1), np.int64)
    sizes = np.array([1, 1, 1, 0, 0, 1, RELU])
    LOOPS[kind](
        none, none, np.zeros((0, 1)), none, ids, row, row, np.zeros(128, kind), places, sizes, ids,
        0, 0, 1, 0.0,
    )  # fmt: skip
