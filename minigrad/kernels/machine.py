"""A machine that runs a captured step: kernels one after the other, without Python in between.

A program is a list of instructions. Each is the address of a compiled handler and the words that
the handler reads: addresses of arrays, lengths, flags. `run` calls them in order. Several threads
may run the same program side by side: every handler computes its share of the result, rows or
columns, and all wait for each other after every instruction. How a result is cut has no influence
on its bits, so that the number of threads has none either: sums are never split between threads.

    words[i]    [address of an output, ..., lengths, ..., flags]     int64, floats by their bits
    handler     f(words, kind, part, parts)    `kind` only tells the compiler the dtype

Handlers are compiled on first use, one by one, and kept on disk.
"""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from minigrad.kernels import attention as attention_of
from minigrad.kernels import blas, cpu
from minigrad.kernels.blas import gemm
from minigrad.kernels.compiling import AS_WRITTEN, compiled
from minigrad.kernels.vectors import fill, load, select, store

WIDE = 256  # columns that are summed together
WORDS = 40  # an instruction has at most as many
PATIENCE = 20_000  # looks at the counter before a waiting thread gives up its core

# ---------------------------------------------------------------------- what Numba does not have


@intrinsic
def at(typing, kind, address):
    """`address` as a pointer of the type of the pointer `kind`."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(kind))

    return kind(kind, types.int64), generate


@intrinsic
def at_booleans(typing, address):
    kind = types.CPointer(types.boolean)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(types.int64), generate


@intrinsic
def _call(typing, address, words, part, parts):
    """Call the handler at `address`."""

    def generate(context, builder, signature, args):
        i64 = ir.IntType(64)
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64])
        function = builder.inttoptr(args[0], kind.as_pointer())
        words = builder.inttoptr(args[1], pointer)
        builder.call(function, [words, words, args[2], args[3]])
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), generate


@intrinsic
def _arrive(typing, address):
    """Add 1 to the counter at `address`, seen by all threads; what it was before."""

    def generate(context, builder, signature, args):
        cell = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", cell, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def _look(typing, address):
    """The counter at `address`, as other threads left it."""

    def generate(context, builder, signature, args):
        cell = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(cell, "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _let_others_run(typing, address):
    """Call the system's routine that gives the core to another thread."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@compiled
def _run(handlers, words, start, stop, part, parts, counter, give_way):
    """Instructions `start` to `stop`, this thread being number `part` of `parts`."""
    for i in range(start, stop):
        _call(handlers[i], words[i].ctypes.data, part, parts)
        if parts > 1:
            goal = (_arrive(counter) // parts + 1) * parts
            spins = 0
            while _look(counter) < goal:
                spins += 1
                if spins > PATIENCE:
                    _let_others_run(give_way)


# ------------------------------------------------------------------------------- what is shared


@compiled
def share(n, step, part, parts):
    """Where the share of thread `part` of `n` things begins and ends: at multiples of `step`."""
    units = (n + step - 1) // step
    return min(units * part // parts * step, n), min(units * (part + 1) // parts * step, n)


def handler(function: Callable) -> Callable:
    """Decorator: a function that gives the address of `function`, compiled for a dtype."""

    @cache
    def address(dtype: np.dtype) -> int:
        number = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
        signature = types.void(types.CPointer(types.int64), number, types.int64, types.int64)
        options = {"error_model": "numpy", "fastmath": AS_WRITTEN}
        try:
            made = cfunc(signature, cache=True, **options)(function)
        except RuntimeError:  # nowhere to keep it
            made = cfunc(signature, **options)(function)
        _alive.append(made)
        return made.address

    address.__name__, address.__doc__ = function.__name__, function.__doc__
    HANDLERS[function.__name__] = address
    return address


HANDLERS: dict[str, Callable[[np.dtype], int]] = {}  # by name; those of other modules too
_alive: list = []  # compiled functions whose addresses are in use


# ------------------------------------------------------------------------------------- products


@compiled
def finish(y, bias, rows, n, activation):
    """y (rows, n) += bias, then perhaps relu."""
    zero = carray(y, (1,)).dtype.type(0)
    zeros = fill(zero, 16)
    whole = n // 16 * 16
    for r in range(rows):
        for j in range(0, whole, 16):
            v = load(y, r * n + j, 16) + load(bias, j, 16)
            if activation:
                v = select(v, "<=", zeros, zeros, v)
            store(y, r * n + j, v)
    if whole < n:
        numbers, shift = carray(y, (rows, n)), carray(bias, (n,))
        for r in range(rows):
            for j in range(whole, n):
                x = numbers[r, j] + shift[j]
                numbers[r, j] = zero if activation and x <= zero else x


@compiled
def finish_rows(kind, c, ldc, bias, rows, n, activation):
    """Rows of n elements += the bias of each row, then perhaps relu."""
    shift = carray(at(kind, bias), (rows,))
    zero = shift.dtype.type(0)
    zeros = fill(zero, 16)
    whole = n // 16 * 16
    for r in range(rows):
        y = at(kind, c + r * ldc * shift.itemsize)
        x = fill(shift[r], 16)
        for j in range(0, whole, 16):
            v = load(y, j, 16) + x
            if activation:
                v = select(v, "<=", zeros, zeros, v)
            store(y, j, v)
        rest = carray(y, (n,))
        for j in range(whole, n):
            s = rest[j] + shift[r]
            rest[j] = zero if activation and s <= zero else s


@compiled
def product_block(
    kind, c, ldc, a, lda, flip_a, b, ldb, flip_b, bias, m, n, k, add, activation, routine, by_row
):
    """c (m, n) = a @ b + bias, perhaps relu of it, perhaps added to what is in c."""
    first = carray(at(kind, c), (1,))
    size, one = first.itemsize, first.dtype.type(1)
    beta = one if add else first.dtype.type(0)
    if k == 0:
        y = carray(at(kind, c), (m, ldc))
        for i in range(m):
            for j in range(n):
                y[i, j] *= beta
        return
    # A block of rows at a time, so that what follows finds it in the cache.
    block = m if not bias or by_row else max(64, (1 << 21) // (n * size))
    for i in range(0, m, block):
        rows = min(block, m - i)
        gemm(
            routine,
            c + i * ldc * size, ldc,
            a + (i if flip_a else i * lda) * size, lda, flip_a,
            b, ldb, flip_b,
            rows, n, k, one, beta,
        )  # fmt: skip
        if bias and by_row:
            finish_rows(kind, c + i * ldc * size, ldc, bias + i * size, rows, n, activation)
        elif bias:
            finish(at(kind, c + i * ldc * size), at(kind, bias), rows, n, activation)


@handler
def product(words, kind, part, parts):
    """c = a @ b + bias, perhaps relu of it, perhaps added to what is in c.

    With groups, b and bias are those of each row's group; see `Region` in `minigrad.programs`.
    """
    w = carray(words, (WORDS,))
    c, a, b, bias = w[0], w[1], w[2], w[3]
    m, n, k = w[4], w[5], w[6]
    ldc, lda, ldb, flip_a, flip_b = w[7], w[8], w[9], w[10], w[11]
    add, activation, routine = w[12], w[13], w[14]
    groups, each = w[15], w[17]
    size = carray(at(kind, c), (1,)).itemsize
    if groups:
        i0, i1 = share(m, 16, part, parts)
        offsets, b_of = carray(at(words, w[16]), (groups + 1,)), carray(at(words, w[18]), (groups,))
        bias_of = carray(at(words, w[19]), (groups if w[19] else 0,))
        for g in range(groups):
            start, stop = max(i0, offsets[g] * each), min(i1, offsets[g + 1] * each)
            if start < stop:
                product_block(
                    kind, c + start * ldc * size, ldc, a + start * lda * size, lda, flip_a,
                    b_of[g], ldb, flip_b, bias_of[g] if w[19] else 0,
                    stop - start, n, k, add, activation, routine, False,
                )  # fmt: skip
        return
    by_row = w[20] != 0
    i0, i1, j0, j1 = 0, m, 0, n
    if m >= n or (bias and not by_row):
        i0, i1 = share(m, 16, part, parts)
    else:
        j0, j1 = share(n, 16, part, parts)
    if i0 < i1 and j0 < j1:
        product_block(
            kind, c + (i0 * ldc + j0) * size, ldc, a + (i0 if flip_a else i0 * lda) * size, lda,
            flip_a, b + (j0 * ldb if flip_b else j0) * size, ldb, flip_b,
            bias + i0 * size if by_row else bias,
            i1 - i0, j1 - j0, k, add, activation, routine, by_row,
        )  # fmt: skip


@handler
def group_products(words, kind, part, parts):
    """For each group that has rows, c_g (m, n) = the rows of a, transposed, @ those of b."""
    w = carray(words, (WORDS,))
    a, b, m, n = w[1], w[2], w[4], w[5]
    lda, ldb, routine = w[8], w[9], w[14]
    groups, each = w[15], w[17]
    offsets, c_of = carray(at(words, w[16]), (groups + 1,)), carray(at(words, w[0]), (groups,))
    i0, i1 = share(m, 16, part, parts)
    if i0 == i1:
        return
    for g in range(groups):
        start, stop = offsets[g] * each, offsets[g + 1] * each
        if start < stop:
            size = carray(at(kind, c_of[g]), (1,)).itemsize
            product_block(
                kind, c_of[g] + i0 * n * size, n, a + (start * lda + i0) * size, lda, True,
                b + start * ldb * size, ldb, False, 0, i1 - i0, n, stop - start, 0, 0, routine,
                False,
            )  # fmt: skip


@handler
def column_sums(words, kind, part, parts):
    """y (n,) = the sums over the rows of x (m, n), which lie `step` elements apart."""
    w = carray(words, (WORDS,))
    m, n, step = w[2], w[3], w[4]
    groups, each = w[5], w[7]
    j0, j1 = share(n, 16, part, parts)
    if not groups:
        sum_columns(at(kind, w[0]), at(kind, w[1]), m, n, step, j0, j1)
        return
    offsets, y_of = carray(at(words, w[6]), (groups + 1,)), carray(at(words, w[0]), (groups,))
    for g in range(groups):
        start, stop = offsets[g] * each, offsets[g + 1] * each
        if start < stop:
            size = carray(at(kind, w[1]), (1,)).itemsize
            x = at(kind, w[1] + start * step * size)
            sum_columns(at(kind, y_of[g]), x, stop - start, n, step, j0, j1)


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


# ------------------------------------------------------------------------- element by element


@handler
def add(words, kind, part, parts):
    """y = a + b, where b is repeated every `period` elements."""
    w = carray(words, (WORDS,))
    n, period = w[3], w[4]
    y, a, b = (
        carray(at(kind, w[0]), (n,)),
        carray(at(kind, w[1]), (n,)),
        carray(at(kind, w[2]), (period,)),
    )
    if period == n:
        start, stop = share(n, 1024, part, parts)
        for i in range(start, stop):
            y[i] = a[i] + b[i]
    else:
        start, stop = share(n // period, 1, part, parts)
        whole = period // 16 * 16
        for r in range(start * period, stop * period, period):
            for j in range(0, whole, 16):
                v = load(at(kind, w[1]), r + j, 16) + load(at(kind, w[2]), j, 16)
                store(at(kind, w[0]), r + j, v)
            for j in range(whole, period):
                y[r + j] = a[r + j] + b[j]


@handler
def relu_grad(words, kind, part, parts):
    """dx = g where y > 0, else y, which is 0 or NaN."""
    w = carray(words, (WORDS,))
    n = w[3]
    dx, g, y = (
        carray(at(kind, w[0]), (n,)),
        carray(at(kind, w[1]), (n,)),
        carray(at(kind, w[2]), (n,)),
    )
    start, stop = share(n, 1024, part, parts)
    zero = y.dtype.type(0)
    zeros = fill(zero, 16)
    i = start
    while i + 16 <= stop:
        v = load(y, i, 16)
        store(dx, i, select(v, ">", zeros, load(g, i, 16), v))
        i += 16
    for j in range(i, stop):
        dx[j] = g[j] if y[j] > zero else y[j]


@handler
def relu(words, kind, part, parts):
    """y = max(x, 0); NaN stays."""
    w = carray(words, (WORDS,))
    n = w[2]
    y, x = carray(at(kind, w[0]), (n,)), carray(at(kind, w[1]), (n,))
    start, stop = share(n, 1024, part, parts)
    zero = y.dtype.type(0)
    zeros = fill(zero, 16)
    i = start
    while i + 16 <= stop:
        v = load(x, i, 16)
        store(y, i, select(v, "<=", zeros, zeros, v))
        i += 16
    for j in range(i, stop):
        y[j] = zero if x[j] <= zero else x[j]


# -------------------------------------------------------------------------------- normalisation


@handler
def layer_norm(words, kind, part, parts):
    """y = layer norm of x, or of x + more, which is stored in `total`; perhaps by groups."""
    w = carray(words, (WORDS,))
    n, d = w[4], w[5]
    eps = carray(words, (WORDS,)).view(np.float64)[6]
    groups, each = w[9], w[11]
    start, stop = share(n, 16, part, parts)
    y, x = carray(at(kind, w[0]), (n, d)), carray(at(kind, w[1]), (n, d))
    if w[7]:
        more, total = carray(at(kind, w[7]), (n, d)), carray(at(kind, w[8]), (n, d))
        for i in range(start, stop):
            for j in range(d):
                total[i, j] = x[i, j] + more[i, j]
        x = total
    if not groups:
        weight, bias = carray(at(kind, w[2]), (d,)), carray(at(kind, w[3]), (d,))
        cpu.layer_norm_loop(y[start:stop], x[start:stop], weight, bias, eps)
        return
    offsets = carray(at(words, w[10]), (groups + 1,))
    weight_of, bias_of = carray(at(words, w[2]), (groups,)), carray(at(words, w[3]), (groups,))
    for g in range(groups):
        low, high = max(start, offsets[g] * each), min(stop, offsets[g + 1] * each)
        if low < high:
            weight, bias = carray(at(kind, weight_of[g]), (d,)), carray(at(kind, bias_of[g]), (d,))
            cpu.layer_norm_loop(y[low:high], x[low:high], weight, bias, eps)


@handler
def layer_norm_grad(words, kind, part, parts):
    """dx; and for each of `chunks` of the rows, a row of partial sums (dweight, dbias).

    With groups, a chunk is what a group has.
    """
    w = carray(words, (WORDS,))
    n, d, chunks = w[5], w[6], w[7]
    eps = carray(words, (WORDS,)).view(np.float64)[8]
    groups, each = w[10], w[12]
    dx, g = carray(at(kind, w[0]), (n, d)), carray(at(kind, w[2]), (n, d))
    x = carray(at(kind, w[3]), (n, d))
    offsets = carray(at(words, w[11]), (groups + 1 if groups else 0,))
    tables = carray(at(words, w[4]), (groups,))
    for chunk in range(part, groups if groups else chunks, parts):
        if groups:
            start, stop = offsets[chunk] * each, offsets[chunk + 1] * each
            if start == stop:
                continue
            weight = carray(at(kind, tables[chunk]), (d,))
            dweight = carray(at(kind, carray(at(words, w[13]), (groups,))[chunk]), (d,))
            dbias = carray(at(kind, carray(at(words, w[14]), (groups,))[chunk]), (d,))
        else:
            start, stop = share(n, 1, chunk, chunks)
            weight = carray(at(kind, w[4]), (d,))
            sums = carray(at(kind, w[1]), (chunks, 2, d))
            dweight, dbias = sums[chunk, 0], sums[chunk, 1]
        cpu.layer_norm_grad_loop(
            dx[start:stop], dweight, dbias, g[start:stop], x[start:stop], weight, eps
        )
        if w[9]:
            more = carray(at(kind, w[9]), (n, d))
            for i in range(start, stop):
                for j in range(d):
                    dx[i, j] += more[i, j]


# ------------------------------------------------------------------------------------ attention


@handler
def attention(words, kind, part, parts):
    """out = attention of q, k, v; heads lie side by side."""
    w = carray(words, (WORDS,))
    B, T, S, D, E, heads, causal = w[5], w[6], w[7], w[8], w[9], w[10], w[11]
    scale = carray(words, (WORDS,)).view(np.float64)[12]
    start, stop = share(B, 1, part, parts)
    out = carray(at(kind, w[0]), (B, T, E))[start:stop]
    q, k = (
        carray(at(kind, w[1]), (B, T, D))[start:stop],
        carray(at(kind, w[2]), (B, S, D))[start:stop],
    )
    v = carray(at(kind, w[3]), (B, S, E))[start:stop]
    mask = carray(at_booleans(w[4]), (w[13], w[14], w[15], w[16]))
    if w[13] > 1:
        mask = mask[start:stop]
    attention_of.attention_loop(out, q, k, v, mask, heads, causal != 0, scale)


@handler
def attention_grad(words, kind, part, parts):
    """dq, dk, dv, given g."""
    w = carray(words, (WORDS,))
    B, T, S, D, E, heads, causal = w[5], w[6], w[7], w[8], w[9], w[10], w[11]
    scale = carray(words, (WORDS,)).view(np.float64)[12]
    start, stop = share(B, 1, part, parts)
    g = carray(at(kind, w[0]), (B, T, E))[start:stop]
    q, k = (
        carray(at(kind, w[1]), (B, T, D))[start:stop],
        carray(at(kind, w[2]), (B, S, D))[start:stop],
    )
    v = carray(at(kind, w[3]), (B, S, E))[start:stop]
    mask = carray(at_booleans(w[4]), (w[13], w[14], w[15], w[16]))
    if w[13] > 1:
        mask = mask[start:stop]
    dq, dk = (
        carray(at(kind, w[17]), (B, T, D))[start:stop],
        carray(at(kind, w[18]), (B, S, D))[start:stop],
    )
    dv = carray(at(kind, w[19]), (B, S, E))[start:stop]
    attention_of.attention_grad_loop(dq, dk, dv, g, q, k, v, mask, heads, causal != 0, scale)


# ----------------------------------------------------------------------------- losses, embedding


@handler
def cross_entropy_rows(words, kind, part, parts):
    w = carray(words, (WORDS,))
    n, c = w[3], w[4]
    smoothing = carray(words, (WORDS,)).view(np.float64)[6]
    start, stop = share(n, 16, part, parts)
    loss = carray(at(kind, w[0]), (n,))[start:stop]
    x = carray(at(kind, w[1]), (n, c))[start:stop]
    target = carray(at(words, w[2]), (n,))[start:stop]
    if not cpu.cross_entropy_loop(loss, x, target, w[5], smoothing):
        carray(at(words, w[7]), (1,))[0] = w[8]


@handler
def cross_entropy_rows_grad(words, kind, part, parts):
    """dx, given g, of which there may be one for all rows."""
    w = carray(words, (WORDS,))
    n, c = w[3], w[4]
    smoothing = carray(words, (WORDS,)).view(np.float64)[6]
    start, stop = share(n, 16, part, parts)
    dx = carray(at(kind, w[0]), (n, c))[start:stop]
    x = carray(at(kind, w[1]), (n, c))[start:stop]
    target = carray(at(words, w[2]), (n,))[start:stop]
    g = carray(at(kind, w[9]), (n if w[10] else 1,))
    if w[10]:
        g = g[start:stop]
    else:
        one = g[0]
        g = np.empty(stop - start, g.dtype)
        for i in range(stop - start):
            g[i] = one
    if not cpu.cross_entropy_grad_loop(dx, g, x, target, w[5], smoothing):
        carray(at(words, w[7]), (1,))[0] = w[8]


@handler
def sum_all(words, kind, part, parts):
    """y () = the sum of x (n,), n being small: one thread adds it up."""
    w = carray(words, (WORDS,))
    n = w[2]
    if part == 0:
        y, x = carray(at(kind, w[0]), (1,)), carray(at(kind, w[1]), (1, n))
        y[0] = cpu.row_total(x, 0)


@handler
def count_of(words, kind, part, parts):
    """y () = how many of the ids (n,) are not the ignored one; or, if none, the fifth word's bits.

    Words: y, ids, n, ignored, 1 or NaN.
    """
    w, none = carray(words, (WORDS,)), carray(words, (WORDS,)).view(np.float64)[4]
    if part == 0:
        y, ids = carray(at(kind, w[0]), (1,)), carray(at(words, w[1]), (w[2],))
        count = 0
        for i in range(w[2]):
            count += ids[i] != w[3]
        y[0] = count if count else none


@handler
def embedding(words, kind, part, parts):
    """y (n, d) = the rows `ids` (n,) of a table (rows, d); perhaps of each group's own."""
    w = carray(words, (WORDS,))
    n, rows, d = w[3], w[4], w[5]
    groups, each = w[8], w[10]
    start, stop = share(n, 16, part, parts)
    y, ids = carray(at(kind, w[0]), (n, d)), carray(at(words, w[2]), (n,))
    offsets = carray(at(words, w[9]), (groups + 1 if groups else 0,))
    for g in range(groups if groups else 1):
        low, high, place = start, stop, w[1]
        if groups:
            low, high = max(start, offsets[g] * each), min(stop, offsets[g + 1] * each)
            place = carray(at(words, w[1]), (groups,))[g]
        table = carray(at(kind, place), (rows, d))
        for i in range(low, high):
            row = ids[i]
            if row < 0 or row >= rows:
                carray(at(words, w[6]), (1,))[0] = w[7]
                return
            for j in range(d):
                y[i, j] = table[row, j]


@handler
def embedding_grad(words, kind, part, parts):
    """table (rows, d) of the sums of the rows of g (n, d) that have equal ids, but `padding`."""
    w = carray(words, (WORDS,))
    n, rows, d, padding = w[3], w[4], w[5], w[6]
    groups, each = w[9], w[11]
    j0, j1 = share(d, 16, part, parts)
    g, ids = carray(at(kind, w[1]), (n, d)), carray(at(words, w[2]), (n,))
    offsets = carray(at(words, w[10]), (groups + 1 if groups else 0,))
    for group in range(groups if groups else 1):
        start, stop, place = 0, n, w[0]
        if groups:
            start, stop = offsets[group] * each, offsets[group + 1] * each
            if start == stop:
                continue
            place = carray(at(words, w[0]), (groups,))[group]
        table, target, source = carray(at(kind, place), (rows, d)), at(kind, place), at(kind, w[1])
        for i in range(rows):
            for j in range(j0, j1):
                table[i, j] = 0
        for i in range(start, stop):
            row = ids[i] + rows if ids[i] < 0 else ids[i]  # as an index counts
            if row < 0 or row >= rows:
                carray(at(words, w[7]), (1,))[0] = w[8]
                return
            if row != padding:
                whole = j0 + (j1 - j0) // 16 * 16
                for j in range(j0, whole, 16):
                    at_row = row * d + j
                    store(target, at_row, load(target, at_row, 16) + load(source, i * d + j, 16))
                for j in range(whole, j1):
                    table[row, j] += g[i, j]


# ------------------------------------------------------------------------------------ optimizers


@handler
def adam(words, kind, part, parts):
    """One step on segments of flat buffers, and how many tells `options`; see `cpu.adam_loop`."""
    w = carray(words, (WORDS,))
    n, options = w[4], carray(at(words, w[8]), (7,)).view(np.float64)
    count = np.int64(options[6])
    x, g = carray(at(kind, w[0]), (n,)), carray(at(kind, w[1]), (n,))
    m, v = carray(at(kind, w[2]), (n,)), carray(at(kind, w[3]), (n,))
    starts, stops = carray(at(words, w[5]), (count,)), carray(at(words, w[6]), (count,))
    steps = carray(at(words, w[7]), (count,))
    lr, beta1, beta2 = options[0], options[1], options[2]
    low, high = share(n, 1024, part, parts)
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        first[i] = min(max(starts[i], low), high)
        last[i] = max(min(stops[i], high), first[i])
    cpu.adam_loop(
        x, g, m, v, first, last, steps, lr, beta1, beta2, options[3], options[4], options[5]
    )


# -------------------------------------------------------------------------------------- programs

WORTH_THREADS = 20_000_000  # operations of a program from which on a second thread pays


PROBE = 16  # instructions after which it is seen whether the threads pay
SHORTEST, LONGEST = 0.5, 30.0  # seconds for which the caller goes on alone


class _Team:
    """The threads that run programs: the caller and its helpers.

    Where other processes have the cores, every instruction waits for the system to let the last
    thread run: 30 times as long as alone was measured. So what is run first runs alone, and is
    timed; where together it takes longer than that, the caller goes on alone for a while, for twice
    as long if it happens again. Bits do not depend on it.
    """

    def __init__(self, parts: int):
        self.parts = parts
        self.until, self.pause = 0.0, SHORTEST
        self.counter = np.zeros(16, np.int64)
        self.doors = [queue.SimpleQueue() for _ in range(parts - 1)]
        self.give_way = _give_way()
        for part, door in enumerate(self.doors, start=1):
            threading.Thread(target=self._help, args=(part, door), daemon=True).start()

    def _help(self, part: int, door: queue.SimpleQueue) -> None:
        while (task := door.get()) is not None:
            _run(*task, part, self.parts, self.counter.ctypes.data, self.give_way)

    def run(
        self,
        handlers: np.ndarray,
        words: np.ndarray,
        start: int,
        stop: int,
        alone: dict[int, float] | None = None,
    ) -> None:
        """Instructions `start` to `stop`.

        Args:
            alone: what stretches take alone, by where they begin; None to have all threads run.
        """
        if alone is None or self.parts == 1:
            self._together(handlers, words, start, stop)
            return
        middle = min(start + PROBE, stop)
        for first, last in ((start, middle), (middle, stop)):
            if first == last:
                continue
            began = time.perf_counter()
            if first not in alone or began < self.until:
                _run(handlers, words, first, last, 0, 1, 0, 0)
                seconds = time.perf_counter() - began
                alone[first] = min(seconds, alone.get(first, seconds))
                continue
            self._together(handlers, words, first, last)
            now = time.perf_counter()
            if now - began > 1.2 * alone[first] + 0.001:
                self.until, self.pause = now + self.pause, min(2 * self.pause, LONGEST)
            else:
                self.pause = SHORTEST

    def _together(self, handlers: np.ndarray, words: np.ndarray, start: int, stop: int) -> None:
        for door in self.doors:
            door.put((handlers, words, start, stop))
        _run(handlers, words, start, stop, 0, self.parts, self.counter.ctypes.data, self.give_way)


_PROTOTYPE = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 4)


def run_one(name: str, dtype: np.dtype, words: list[int]) -> None:
    """Run one instruction on this thread; ctypes lets other threads of Python run meanwhile."""
    from minigrad.kernels import images  # noqa: F401 (its handlers)

    array = np.zeros(WORDS, np.int64)
    array[: len(words)] = words
    where = array.ctypes.data
    _PROTOTYPE(HANDLERS[name](dtype))(where, where, 0, 1)


@cache
def _give_way() -> int:
    """The address of the system's routine that gives the core to another thread."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value


_teams: dict[int, _Team] = {}
_busy = threading.Lock()


@contextmanager
def team(parts: int) -> Iterator[Callable]:
    """A function `run(handlers, words, start, stop)` with `parts` threads, for a `with` block.

    One program runs at a time; the BLAS uses one thread meanwhile.
    """
    with _busy, blas.one_thread():
        if parts not in _teams:
            _teams[parts] = _Team(parts)
        yield _teams[parts].run


def warm_up(
    dtypes: Iterable[str] = ("float32",),
    report: Callable[[str, float], None] | None = None,
    only: Container[str] | None = None,
) -> None:
    """Compile every handler, or load it from the on-disk cache; as `cpu.warm_up`."""
    from minigrad.kernels import elementwise, images, noise, updates  # noqa: F401 (more handlers)

    for dtype in dtypes:
        for name, address in HANDLERS.items():
            if only is not None and name not in only:
                continue
            began = time.perf_counter()
            address(np.dtype(dtype))
            if report:
                report(f"jit.{name}", time.perf_counter() - began)
