"""Matrix products, with a bias and a relu after them; of all rows, or of those of each group.

cuBLAS multiplies (see `blas`). What it does not take, matrices whose elements lie apart along both
axes and groups of rows that a run finds on the device, is done by kernels of this page.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minigrad.kernels.cuda.blas import Gemm, View, products
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, Stand, address, aligned
from minigrad.kernels.instructions import Declined, NotByGroup

PAGE = Page("products")
FLOATS = ("float32", "float64", "float16", "bfloat16")
TILE, THREADS = 64, 256


def _fit(a: Any, b: Any) -> bool:
    """Whether both are arrays of floats of one dtype, and have axes."""
    if not getattr(a, "ndim", 0) or not getattr(b, "ndim", 0):
        return False
    return a.dtype == b.dtype and a.dtype.name in FLOATS


# ------------------------------------------------------------------------------------- matmul

matmul = Kernel("matmul", PAGE)


@matmul.accepts
def _(a, b):
    if not _fit(a, b) or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        return None
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:  # the formula tells it
        return None
    return Empty((*lead, *a.shape[:-1][-1:], *(b.shape[-1:] if b.ndim > 1 else ())), a.dtype)


@matmul.launches
def _(p, outputs, a, b):
    (y,) = outputs
    left, right = View(a, a.shape, a.strides), View(b, b.shape, b.strides)
    item, shape = y.dtype.itemsize, y.shape
    if b.ndim == 1:
        right, shape = View(b, (b.shape[0], 1), (b.strides[0], item)), (*shape, 1)
    if a.ndim == 1:
        left = View(a, (1, a.shape[0]), (item, a.strides[0]))
        shape = (*shape[:-1], 1, shape[-1])
    yield from _products(View(y, shape, _in_rows(shape, item)), left, right)


@matmul.examples
def _(dtype):
    x = dtype.itemsize
    for left in ((18 * x, 2 * x), (2 * x, 18 * x)):
        for right in ((14 * x, 2 * x), (2 * x, 14 * x)):
            yield (Stand((5, 8), dtype, steps=left), Stand((8, 4), dtype, steps=right)), {}
    yield (Empty((8, 0), dtype), Empty((0, 4), dtype)), {}


def _in_rows(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """The strides of a C-contiguous array."""
    return tuple(item * math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _products(c: View, a: View, b: View) -> Iterator[Gemm | Launch]:
    """c = a @ b, over the last two axes.

    Raises:
        Declined: there are too many axes of which none lies behind another.
    """
    if not math.prod(c.shape):
        return
    if not a.shape[-1]:
        yield _finish(c.of, None, 1, math.prod(c.shape), fresh=True)
        return
    try:
        found: list[Any] = list(products(c, a, b))
    except Declined:
        found = [anywhere(c, a, b)]
    yield from found


def anywhere(c: View, a: View, b: View) -> Launch:
    """c = a @ b by a kernel of ours, which takes whatever steps there are.

    Raises:
        Declined: there are too many axes of which none lies behind another.
    """
    lead, (m, n), k = c.shape[:-2], c.shape[-2:], a.shape[-1]
    of_c, of_a, of_b = (x.steps(lead) for x in (c, a, b))
    if of_a is None or of_b is None or of_c is None:
        raise Declined
    axes: list[tuple[int, ...]] = []
    for axis in zip(lead, of_c, of_a, of_b, strict=False):
        if axes and all(x == axis[0] * y for x, y in zip(axes[-1][1:], axis[1:], strict=True)):
            axes[-1] = (axes[-1][0] * axis[0], *axis[1:])
        elif axis[0] != 1:
            axes.append(axis)
    if len(axes) > 3:
        raise Declined
    axes = [(1, 0, 0, 0)] * (3 - len(axes)) + axes
    (a_m, a_k), (b_k, b_n) = of_a[-2:], of_b[-2:]
    tiles = -(-m // TILE) * -(-n // TILE) * math.prod(lead)
    sizes = m, n, k, a_m, a_k, b_k, b_n, *(x for column in zip(*axes, strict=True) for x in column)
    return Launch(
        PAGE,
        "strided_product",
        _definitions(c.of.dtype, abs(a_m) < abs(a_k), abs(b_k) < abs(b_n)),
        min(tiles, 1 << 20),
        THREADS,
        (c.of, a.of, b.of, *sizes),
    )


def _definitions(
    dtype: np.dtype, flip_a: bool = False, flip_b: bool = False, **more: Any
) -> dict[str, Any]:
    """What the page is compiled with; every function of it is, each time."""
    of_finish = {"I": "u32", "VECTOR": False, "FRESH": False, "BY_ROW": False, "RELU": False}
    return {"T": dtype, "FLIP_A": flip_a, "FLIP_B": flip_b, **of_finish, **more}


def _finish(
    c: Any, bias: Any, rows: int, n: int, *, relu=False, by_row=False, fresh=False
) -> Launch:
    """Rows of n elements += bias, or each its own number of it; perhaps relu; `fresh`: to zeros."""
    pack = 16 // c.dtype.itemsize
    vector = n % pack == 0 and aligned(c, None if by_row else bias)
    count = rows * n // (pack if vector else 1)
    define = _definitions(
        c.dtype,
        I="u32" if count < 1 << 31 else "i64",
        VECTOR=vector,
        FRESH=fresh,
        BY_ROW=by_row,
        RELU=relu,
    )
    blocks = min(-(-count // THREADS), 1 << 16)
    return Launch(PAGE, "finish", define, blocks, THREADS, (c, bias, rows, n))


# ------------------------------------------------------------------------------------- linear

linear = Kernel("linear", PAGE)


@linear.accepts
def _(x, weight, bias=None):
    if not _fit(x, weight) or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        return None
    if bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[:1]):
        return None
    fine = bias is None or bias.flags.c_contiguous
    return Empty((*x.shape[:-1], weight.shape[0]), x.dtype) if fine else None


@linear.launches
def _(p, outputs, x, weight, bias=None):
    (y,) = outputs
    shape = y.shape if y.ndim > 1 else (1, *y.shape)
    item, (n, k) = y.dtype.itemsize, weight.shape
    rows = View(x, x.shape if x.ndim > 1 else (1, k), (0, *x.strides)[-max(x.ndim, 2) :])
    yield from _products(
        View(y, shape, _in_rows(shape, item)), rows, View(weight, (k, n), weight.strides[::-1])
    )
    if bias is not None and y.size:
        yield _finish(y, bias, y.size // n, n)


@linear.examples
def _(dtype):
    for n in (8, 9):
        yield (Empty((5, 16), dtype), Empty((n, 16), dtype), Empty((n,), dtype)), {}


# ---------------------------------------------------------------------------------- in programs

# Calls are put together to fit these: c (m, n), of any shape that lies so, is a @ b (+ bias). The
# params are those of their twins: `layout` has, for a and b, the elements between rows and whether
# it lies transposed; `by_row`: the bias has a number for each row.


def offsets_of(offsets: Any, ids: Any) -> Launch:
    """What finds (groups + 1,) where the rows of each begin, from the int64 ids of all rows."""
    define = _definitions(np.dtype("float32"))
    blocks = offsets.shape[0]
    return Launch(PAGE, "offsets_of", define, blocks, THREADS, (offsets, ids, ids.size))


product = Kernel("product", PAGE, by_group=True)


@product.launches
def _(p, outputs, a, b, bias, total=None, *, m, n, k, layout, add, relu, by_row=False):
    (c,), (lda, flip_a, ldb, flip_b) = outputs, layout
    if p.owns(c):
        raise Declined
    if p.owns(a, b, bias):
        if by_row or flip_a or p.owns(a):
            raise NotByGroup
        count, offsets, each = p.groups(m)
        tables = p.table(b), None if bias is None else p.table(bias)
        yield Launch(
            PAGE,
            "product_by_group",
            _definitions(a.dtype, False, flip_b),
            (-(-m // TILE) + count, -(-n // TILE)),
            THREADS,
            (
                c, a, lda, 1, tables[0], *((1, ldb) if flip_b else (ldb, 1)), tables[1], offsets,
                count, each, n, k, np.bool_(add), np.bool_(relu),
            ),
        )  # fmt: skip
        return
    fresh = not (k or add)
    if k:
        yield Gemm(c, a, b, m, n, k, lda, ldb, n, flip_a, flip_b, beta=float(add))
    if bias is not None or fresh:
        yield _finish(c, bias, m, n, relu=relu, by_row=by_row, fresh=fresh)


@product.examples
def _(dtype):
    for n in (8, 9):
        sizes = {"m": 4, "n": n, "k": 16, "add": False}
        a, c = Empty((4, 16), dtype), Empty((4, n), dtype)
        for flip in (False, True):
            shape = (n, 16) if flip else (16, n)
            layout = {"layout": (16, False, shape[1], flip)}
            b, bias = (Stand(x, dtype, by_group=True) for x in (shape, (n,)))
            yield (a, b, bias, c), sizes | layout | {"relu": True}
        for by_row in (False, True):
            for relu in (False, True):
                bias = Empty((4 if by_row else n,), dtype)
                yield (
                    (a, Empty(b.shape, dtype), bias, c),
                    sizes | layout | {"relu": relu, "by_row": by_row},
                )


products_together = Kernel("products_together", PAGE)


class Problem(NamedTuple):
    """One of many products: c (m, n) = a @ b (+ bias), perhaps relu of it.

    Attributes:
        lda, ldb: elements between rows of a and b, as they lie in memory.
        bias: whether there is one (n,) among the inputs.
        sums: whether the sums (m,) of the rows of a are wanted, too.
    """

    m: int
    n: int
    k: int
    lda: int
    ldb: int
    bias: bool = False
    relu: bool = False
    sums: bool = False


@products_together.launches
def _(p, outputs, *inputs, problems, flip_a, flip_b):
    """Products that do not need each other: inputs are a, b, bias of each, outputs c and sums."""
    given, made = iter(inputs), iter(outputs)
    places, words, tiles = [], [], 0
    dtype = outputs[0].dtype
    for x in problems:
        a, b = next(given), next(given)
        bias, c = next(given) if x.bias else None, next(made)
        sums = next(made) if x.sums else None
        places += [0 if v is None else address(v) for v in (c, a, b, bias, sums)]
        words += [x.m, x.n, x.k, x.lda, x.ldb, int(x.relu), tiles]
        tiles += -(-x.m // TILE) * -(-x.n // TILE)
    define = _definitions(dtype, flip_a, flip_b)
    args = p.words(places), p.words(words), len(problems)
    yield Launch(PAGE, "products_together", define, tiles, THREADS, args)


@products_together.examples
def _(dtype):
    sizes = Problem(4, 8, 16, 16, 16, bias=True)
    a, b, bias, c = (Empty(x, dtype) for x in ((4, 16), (8, 16), (8,), (4, 8)))
    for flip_a in (False, True):
        for flip_b in (False, True):
            yield (
                (a, b, bias, c),
                {"problems": [sizes], "flip_a": flip_a, "flip_b": flip_b},
            )


group_products = Kernel("group_products", PAGE, by_group=True)


@group_products.launches
def _(p, outputs, a, b, bias, total=None, *, m, n, k, layout, add, relu, by_row=False):
    (c,), (lda, flip_a, ldb, flip_b) = outputs, layout
    if not p.owns(c):
        raise Declined
    if not flip_a or flip_b or add or by_row or bias is not None or p.owns(a, b):
        raise NotByGroup
    count, offsets, each = p.groups(k)
    yield Launch(
        PAGE,
        "products_of_groups",
        _definitions(a.dtype, True, False),
        (-(-n // TILE), -(-m // TILE), count),
        THREADS,
        (p.table(c), a, lda, b, ldb, offsets, each, m, n),
    )


@group_products.examples
def _(dtype):
    sizes = {"m": 4, "n": 8, "k": 16, "layout": (4, True, 8, False), "add": False, "relu": False}
    c = Stand((4, 8), dtype, by_group=True)
    yield (Empty((16, 4), dtype), Empty((16, 8), dtype), None, c), sizes
