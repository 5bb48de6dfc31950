"""Rows that are looked up in a table, and their gradients.

A gradient is a sum over the positions that name a row. Additions in memory would come in any order;
so the ids are sorted first, with their positions, and every row is summed in the order of these.
Ids that come very often are summed in stretches.
"""

import math
from typing import Any

import numpy as np

from minigrad.errors import out_of_range
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, Stand, address, aligned
from minigrad.kernels.instructions import NotByGroup

PAGE = Page("embeddings")
FLOATS = ("float32", "float64", "float16", "bfloat16")
IDS = ("int64", "int32")
INT = np.dtype("int32")
THREADS = 256
FEW = 16384  # ids that are sorted in one launch, by comparing all with all
LANES, TILE, DIGITS, BITS = 8, 256, 256, 8  # as the source has them
LONG = 32  # positions that are summed one after the other


def _ids(ids: Any) -> bool:
    return ids.dtype.name in IDS and ids.flags.c_contiguous and ids.size < 2**31


def _lanes(d: int, *arrays: Any) -> int:
    """Elements that are taken at once along rows of d."""
    lanes = 16 // arrays[0].dtype.itemsize
    return lanes if d % lanes == 0 and aligned(*arrays) else 1


def _block(d: int, lanes: int) -> tuple[int, int]:
    """Threads along a row, and over rows."""
    along = 1
    while along < THREADS and along * lanes < d:
        along *= 2
    return along, THREADS // along


# --- looking up -----------------------------------------------------------------------------------


def _groups(p: Any, n: int, value: Any) -> tuple[bool, Any, tuple]:
    """Whether a value is a group's own; it, or its table then; and three arguments about groups."""
    if not p.owns(value):
        return False, value, (None, 0, np.int32(0))
    count, offsets, each = p.groups(n)
    return True, p.table(value), (offsets, each, np.int32(count))


def _look_up(p, y, table, ids, low, status):
    d = table.size // table.shape[0]
    grouped, tables, groups = _groups(p, ids.size, table)
    lanes = 1 if grouped else _lanes(d, table, y)  # who knows where a group has it
    block = _block(d, lanes)
    args = (y, tables, ids, ids.size, table.shape[0], d, low, *status, *groups)
    if y.size:
        define = {"T": table.dtype, "I": ids.dtype, "V": lanes, "LONG": LONG, "GROUPED": grouped}
        yield Launch(PAGE, "look_up", define, -(-ids.size // block[1]), block, args)


def _looks_up(table: Any, ids: Any) -> bool:
    return table.dtype.name in FLOATS and table.flags.c_contiguous and table.size > 0 and _ids(ids)


embedding = Kernel("embedding", PAGE, by_group=True)


@embedding.accepts
def _(ids, table, *, padding_idx=None):
    """Rows (*ids.shape, d) of a table (rows, d)."""
    if table.ndim != 2 or not _looks_up(table, ids):
        return None
    return Empty((*ids.shape, table.shape[1]), table.dtype)


@embedding.launches
def _(p, outputs, ids, table, *, padding_idx=None):
    tell = out_of_range("embedding", ids.shape, table.shape[0], 0)
    yield from _look_up(p, *outputs, table, ids, 0, p.fault(tell))


@embedding.examples
def _(dtype):
    for d in (64, 7):
        for kind in IDS:
            yield (Empty((8, 3), np.dtype(kind)), Empty((10, d), dtype)), {}
    yield (Empty((8, 3), np.dtype("int64")), Stand((10, 64), dtype, by_group=True)), {}


take = Kernel("take", PAGE)


@take.accepts
def _(x, ids, *, axis=None):
    """Rows of `x` along its first axis; negative ids count from the end."""
    first = axis == 0 or (x.ndim == 1 and axis in (None, -1)) or (x.ndim and axis == -x.ndim)
    if not x.ndim or not first or not _looks_up(x, ids):
        return None
    return Empty((*ids.shape, *x.shape[1:]), x.dtype)


@take.launches
def _(p, outputs, x, ids, *, axis=None):
    n = x.shape[0]
    yield from _look_up(p, *outputs, x, ids, -n, p.fault(out_of_range("take", ids.shape, n, -n)))


@take.examples
def _(dtype):
    yield (Empty((8, 4, 4), dtype), Empty((3,), np.dtype("int64"))), {"axis": 0}


reorder_rows = Kernel("reorder_rows", PAGE)


@reorder_rows.accepts
def _(x, order, back):
    """The rows of `x` in a new order."""
    return x if x.ndim and _looks_up(x, order) and order.shape == x.shape[:1] else None


@reorder_rows.launches
def _(p, outputs, x, order, back):
    yield from _look_up(p, *outputs, x, order, 0, (None, 0))


@reorder_rows.examples
def _(dtype):
    ids = Empty((8,), np.dtype("int64"))
    yield (Empty((8, 64), dtype), ids, ids), {}


# --- gradients ------------------------------------------------------------------------------------

embedding_grad = Kernel("embedding_grad", PAGE, by_group=True)


@embedding_grad.accepts
def _(g, ids, *, rows, padding=-1):
    """Sums (rows, ...) of the rows of `g` (*ids.shape, ...) by ids, but of those of `padding`."""
    if g.dtype.name not in FLOATS or not g.flags.c_contiguous or not _ids(ids):
        return None
    if g.shape[: ids.ndim] != ids.shape or not 0 < rows < 2**31 - 1:
        return None
    return Empty((rows, *g.shape[ids.ndim :]), g.dtype)


def _shapes(g: Any, ids: Any) -> tuple[int, int, int, int]:
    """How many ids, elements of a row, stretches, and tiles of the sort there are."""
    n = ids.size
    d = math.prod(g.shape[ids.ndim :])
    return n, d, -(-n // LONG) if n > LONG else 0, 0 if n <= FEW else -(-n // TILE)


@embedding_grad.scratch
def _(g, ids, **options):
    """Keys and positions in order, sums of stretches; for many ids once more keys, and counts."""
    n, d, stretches, tiles = _shapes(g, ids)
    wide = g.dtype if g.dtype.itemsize == 8 else np.dtype("float32")
    again = n if tiles else 0
    return (
        Empty((2, max(n, 1)), INT),
        Empty((max(stretches * 2 * d, 1),), wide),
        Empty((2, max(again, 1)), INT),
        Empty((max(DIGITS * tiles, 1),), INT),
    )


@embedding_grad.launches
def _(p, outputs, g, ids, *, rows, padding=-1):
    (dw,) = outputs
    sorted_, parts, other, counts = p.scratch
    n, d, stretches, tiles = _shapes(g, ids)
    if not dw.size:
        return
    grouped, dws, groups = _groups(p, n, dw)
    lanes = 1 if grouped else _lanes(d, g, dw)
    all_rows = rows * max(int(groups[2]), 1)
    if all_rows >= 2**31 - 1:
        raise NotByGroup
    define = {"T": g.dtype, "I": ids.dtype, "V": lanes, "LONG": LONG, "GROUPED": grouped}

    def launch(function, grid, block, *args):
        return Launch(PAGE, function, define, grid, block, args)

    keys, order = Half(sorted_, 0), Half(sorted_, 1)
    status = p.fault(out_of_range("embedding_grad", ids.shape, rows, -rows)) if n else (None, 0)
    if n and not tiles:
        grid = -(-n * LANES // THREADS)
        yield launch("ranks", grid, THREADS, keys, order, ids, n, rows, padding, *status, *groups)
    elif n:
        passes = -(-all_rows.bit_length() // BITS)
        here, there = (keys, order), (Half(other, 0), Half(other, 1))
        if passes % 2:  # so that the last one ends in `keys` and `order`
            here, there = there, here
        grid = -(-n // THREADS)
        args = *here, ids, n, rows, padding, *status, *groups
        yield launch("first_keys", grid, THREADS, *args)
        for k in range(passes):
            shift = k * BITS
            yield launch("count_digits", tiles, TILE, counts, here[0], n, shift)
            yield launch("sum_counts", 1, 1024, counts, DIGITS * tiles)
            yield launch("place_keys", tiles, TILE, *there, *here, counts, n, shift)
            here, there = there, here
    block = _block(d, lanes)
    if stretches:
        yield launch(
            "sum_stretches", stretches, max(block[0], 32), parts, g, keys, order, n, all_rows, d
        )
    grid = -(-all_rows // block[1])
    yield launch("sum_rows", grid, block, dws, g, parts, keys, order, n, all_rows, d, rows)


class Half:
    """One of the two rows of an array, as an argument."""

    def __init__(self, pair: Any, row: int):
        self.pair, self.row = pair, row

    @property
    def address(self) -> int:
        return address(self.pair) + self.row * self.pair.size // 2 * self.pair.dtype.itemsize


@embedding_grad.examples
def _(dtype):
    for d in (64, 7):
        for n in (100, 1000, FEW + 1):
            yield (Empty((n, d), dtype), Empty((n,), np.dtype("int64"))), {"rows": 300}
