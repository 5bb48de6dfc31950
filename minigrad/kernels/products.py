"""Matrix products with a bias and a relu on the way; of all rows, or of those of each group."""

from numba import carray

from minigrad.kernels import blas
from minigrad.kernels.blas import gemm
from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import GROUPS, Declined, NotByGroup
from minigrad.kernels.machine import array, at, fields, kernel, of_group, share, span_of
from minigrad.kernels.vectors import fill, load, select, spread, store


@compiled
def finish(kind, c, ldc, bias, rows, n, relu, by_row):
    """Rows of n elements += bias, or with `by_row` each its own number of it; then perhaps relu."""
    first = carray(at(kind, bias), (1,))
    zero, size = first.dtype.type(0), first.itemsize
    zeros, whole = fill(zero, 16), n // 16 * 16
    for r in range(rows):
        y, b = at(kind, c + r * ldc * size), at(kind, bias + r * size if by_row else bias)
        for j in range(0, whole, 16):
            v = load(y, j, 16) + (spread(b, 0, 16) if by_row else load(b, j, 16))
            if relu:
                v = select(v, "<=", zeros, zeros, v)
            store(y, j, v)
        numbers, shifts = carray(y, (n,)), carray(b, (n,))
        for j in range(whole, n):
            x = numbers[j] + shifts[0 if by_row else j]
            numbers[j] = zero if relu and x <= zero else x


@compiled
def product_block(
    kind, c, ldc, a, lda, flip_a, b, ldb, flip_b, bias, m, n, k, add, relu, routine, grain, by_row
):  # fmt: skip
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
    block = m if not bias or by_row else max(64, (1 << 21) // (n * size)) // grain * grain + grain
    for i in range(0, m, block):
        rows = min(block, m - i)
        gemm(
            routine,
            c + i * ldc * size, ldc,
            a + (i if flip_a else i * lda) * size, lda, flip_a,
            b, ldb, flip_b,
            rows, n, k, one, beta,
        )  # fmt: skip
        if bias:
            shift = bias + i * size if by_row else bias
            finish(kind, c + i * ldc * size, ldc, shift, rows, n, relu, by_row)


SIZES = "m n k lda ldb routine row_grain"


@kernel("c a b bias", SIZES, "ldc flip_a flip_b add relu column_grain by_row", GROUPS, work=2)
def product(record, kind, part, parts):
    """c = a @ b + bias, perhaps relu of it, perhaps added to what is in c.

    With groups, b and bias are those of each row's group.
    """
    r = fields(record)
    c, a, b, bias = r.c, r.a, r.b, r.bias
    m, n, k = r.m, r.n, r.k
    ldc, lda, ldb, flip_a, flip_b = r.ldc, r.lda, r.ldb, r.flip_a, r.flip_b
    add, relu, routine, grain = r.add, r.relu, r.routine, r.row_grain
    size = array(kind, c, (1,)).itemsize
    if r.groups:
        for g in range(r.groups):
            first, last = span_of(r, g, m)
            i0, i1 = share(last - first, grain, part, parts)
            start, stop = first + i0, first + i1
            if start < stop:
                product_block(
                    kind, c + start * ldc * size, ldc, a + start * lda * size, lda, flip_a,
                    of_group(r, b, g), ldb, flip_b, of_group(r, bias, g) if bias else 0,
                    stop - start, n, k, add, relu, routine, grain, False,
                )  # fmt: skip
        return
    by_row = r.by_row != 0
    i0, i1, j0, j1 = 0, m, 0, n
    if m >= n or (bias and not by_row) or r.column_grain >= n:
        i0, i1 = share(m, grain, part, parts)
    else:
        j0, j1 = share(n, r.column_grain, part, parts)
    if i0 < i1 and j0 < j1:
        product_block(
            kind, c + (i0 * ldc + j0) * size, ldc, a + (i0 if flip_a else i0 * lda) * size, lda,
            flip_a, b + (j0 * ldb if flip_b else j0) * size, ldb, flip_b,
            bias + i0 * size if by_row else bias,
            i1 - i0, j1 - j0, k, add, relu, routine, grain, by_row,
        )  # fmt: skip


@product.fills
def _(program, outputs, a, b, bias, total=None, *, m, n, k, layout, add, relu, by_row=False):
    """`layout` has, for a and b, the elements between rows and whether it lies transposed."""
    (c,), (_, flip_a, _, flip_b) = outputs, layout
    if program.owns(c):
        raise Declined
    found = {
        "ldc": n, "flip_a": flip_a, "flip_b": flip_b, "column_grain": blas.grains(a.dtype)[1],
        **_sizes(a, m, n, k, layout),
    }  # fmt: skip
    if program.owns(a, b, bias):
        if by_row or flip_a or program.owns(a):
            raise NotByGroup
        found |= {"b": program.table(b), "bias": None if bias is None else program.table(bias)}
        found |= program.groups(m, b)
    return found


def _sizes(a, m, n, k, layout):
    found = {"lda": layout[0], "ldb": layout[2], "work": 2 * m * n * k}
    return found | {"routine": blas.routine(a.dtype), "row_grain": blas.grains(a.dtype)[0]}


@kernel("c a b", SIZES, GROUPS, work=2)
def group_products(record, kind, part, parts):
    """For each group that has rows, c_g (m, n) = the rows of a, transposed, @ those of b."""
    r = fields(record)
    a, b, m, n, lda, ldb = r.a, r.b, r.m, r.n, r.lda, r.ldb
    i0, i1 = share(m, r.row_grain, part, parts)
    if i0 == i1:
        return
    for g in range(r.groups):
        start, stop = span_of(r, g, r.k)
        if start < stop:
            c = of_group(r, r.c, g)
            size = array(kind, c, (1,)).itemsize
            product_block(
                kind, c + i0 * n * size, n, a + (start * lda + i0) * size, lda, True,
                b + start * ldb * size, ldb, False, 0, i1 - i0, n, stop - start, 0, 0, r.routine,
                r.row_grain, False,
            )  # fmt: skip


@group_products.fills
def _(program, outputs, a, b, bias, total=None, *, m, n, k, layout, add, relu, by_row=False):
    (c,), (_, flip_a, _, flip_b) = outputs, layout
    if not program.owns(c):
        raise Declined
    if not flip_a or flip_b or add or by_row or bias is not None or program.owns(a, b):
        raise NotByGroup
    return {"c": program.table(c), **_sizes(a, m, n, k, layout), **program.groups(k, c)}
