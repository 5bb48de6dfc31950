"""Attention without a matrix of scores in memory; with dropout, and masks of booleans or floats.

Products are made by tensor cores for float16 and bfloat16, and for float32 where TF32 is allowed.
"""

import math
from collections.abc import Iterator
from typing import Any

from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, aligned
from minigrad.kernels.instructions import Drawn
from minigrad.kernels.layouts import BOOL, FLOAT32
from minigrad.precision import float32_matmul_precision, get_float32_matmul_precision
from minigrad.random import Key

PAGE = Page("attention")
HALVES = ("float16", "bfloat16")
FLOATS = ("float32", "float64", *HALVES)
SIZE = 128  # features of a head at most


def _limit(dropout: float) -> int:
    """The largest word for which a weight is kept, as `random.bernoulli` decides; -1 for none."""
    return round((1 - dropout) * 2**32) - 1


attention = Kernel("attention", PAGE)
attention_grad = Kernel("attention_grad", PAGE)


@attention.accepts
def _(q, k, v, mask, key, *, heads, causal, scale, dropout, keep=False):
    """q (B, T, H*D), k (B, S, H*D), v (B, S, H*E); a mask of booleans, or of floats to add.

    With `keep` a second output, `_stats`, is what `attention_grad` takes after y as its last input.
    """
    if not q.ndim == k.ndim == v.ndim == 3 or not all(map(_in_rows, (q, k, v))):
        return None
    if q.dtype.name not in FLOATS or not q.dtype == k.dtype == v.dtype:
        return None
    if key is None:
        if dropout:
            return None
    elif type(key) not in (Key, Drawn) or not 0 <= dropout < 1 or _limit(dropout) < 0:
        return None
    (B, T, width), (_, S, v_width) = q.shape, v.shape
    if heads < 1 or k.shape != (B, S, width) or v.shape[0] != B or width % heads or v_width % heads:
        return None
    if not q.size or not k.size or not v.size or max(width, v_width) > SIZE * heads:
        return None
    if mask is not None and not _fits(mask, q.dtype, (B, heads, T, S)):
        return None
    y = Empty((B, T, v_width), q.dtype)
    return (y, _stats(q, heads)) if keep else y


def _stats(q: Any, heads: int) -> Empty:
    """What is written down of each row: see the source. A block has 128 rows at most."""
    B, T, _ = q.shape
    dtype = q.dtype if q.dtype.name == "float64" else FLOAT32
    return Empty((B * heads, 3, -(-T // 128) * 128), dtype)


def _in_rows(x: Any) -> bool:
    """Whether elements of a row lie side by side, and rows anywhere."""
    item = x.dtype.itemsize
    return x.strides[2] == item and not any(s % item for s in x.strides)


def _fits(mask: Any, dtype: Any, full: tuple[int, ...]) -> bool:
    """Whether a mask is of booleans or of `dtype`, and broadcasts to `full`."""
    if mask.dtype.kind != "b" and mask.dtype != dtype:
        return False
    lengths = zip(mask.shape[::-1], full[::-1], strict=False)
    return mask.ndim <= 4 and all(n in (1, m) for n, m in lengths)


@attention_grad.accepts
def _(g, q, k, v, mask, key, y=None, stats=None, **options):
    """With y and `stats` of `attention`, one of eleven products less for each of two."""
    out = attention.outputs(q, k, v, mask, key, **options)
    if y is not None and (y.dtype != q.dtype or y.shape != g.shape or not y.flags.c_contiguous):
        return None
    if out is None or g.shape != out.shape or g.dtype != q.dtype or not _in_rows(g):
        return None
    if q.dtype.name == "float64" and max(q.shape[2], v.shape[2]) > SIZE // 2 * options["heads"]:
        return None  # sums of so many would not fit into registers
    return tuple(Empty(x.shape, x.dtype) for x in (q, k, v))


FORWARD, QUERIES, KEYS = range(3)  # kernels of the source
FLOATS_MASK = 2


class Tiles:
    """How a kernel divides its work.

    Attributes:
        warps, m, n: of a block; tiles of 16 of its own rows that each warp has; the length of a
            tile of the other side.
        rows: of a block, in all.
        define: what the source is compiled with.
    """

    def __init__(self, kernel: int, case: dict, heads: int, q: Any, v: Any, length: int):
        """`length` is that of the side of which a block has its rows; `case` as of `_case`."""
        dtype = q.dtype
        d, e = (-(-x.shape[2] // heads // 16) * 16 for x in (q, v))
        half, wide = dtype.name in HALVES, dtype.name == "float64"
        tf32 = dtype.name == "float32" and get_float32_matmul_precision() == "high"
        cores = 16 if half else 32 if tf32 else 0
        large = max(d, e) > SIZE // 2
        # What registers hold, as the compiler's report tells.
        self.m = 2 if cores and not large and length > 64 and case["MASK"] != FLOATS_MASK else 1
        most = 2 if wide else 4
        self.n = 32
        floats = case["MASK"] == FLOATS_MASK
        if wide and kernel == KEYS:
            self.n = 8
        elif wide or (large and (floats or not half)) or (tf32 and (floats or kernel == KEYS)):
            self.n = 16
        elif half and kernel == FORWARD and not large:
            self.n = 64
        self.warps = next(n for n in (1, 2, 4) if n == most or 16 * self.m * n >= length)
        while self._shared(kernel, dtype.itemsize, d, e) > LIMIT:
            self.warps //= 2
        self.shared = self._shared(kernel, dtype.itemsize, d, e)
        self.rows = 16 * self.m * self.warps
        self.define = {
            "T": dtype, "CORES": cores, "DIM": d, "VDIM": e, "KERNEL": kernel,
            "WARPS": self.warps, "M": self.m, "N": self.n, **case,
        }  # fmt: skip

    def _shared(self, kernel: int, item: int, d: int, e: int) -> int:
        """Bytes of shared memory: see the pointers at the beginning of each kernel."""
        rows, q_row, v_row = 16 * self.m * self.warps, d * item + 16, e * item + 16
        own = q_row if kernel == FORWARD else q_row + v_row
        queries, keys = (self.n, rows) if kernel == KEYS else (rows, self.n)
        stats = 2 * 3 * self.n * max(item, 4) if kernel == KEYS else 0
        words = 2 * queries * -(-keys // 32)
        return rows * own + 2 * self.n * (q_row + v_row) + stats + 4 * words


LIMIT = 99 * 1024  # bytes of shared memory that a block may have on every GPU from sm_80 on


def _given(p: Any, q: Any, k: Any, v: Any, mask: Any, key: Any, heads: int, scale: Any,
           dropout: float) -> tuple:  # fmt: skip
    """The arguments that all kernels of the source have."""
    (_, T, width), (_, S, v_width) = q.shape, v.shape
    d = width // heads
    steps = [s // q.dtype.itemsize for x in (q, k, v) for s in x.strides[:2]]
    mask_steps = [0] * 4
    if mask is not None:
        for i in range(mask.ndim):
            if mask.shape[i] > 1:
                mask_steps[4 - mask.ndim + i] = mask.strides[i] // mask.dtype.itemsize
    scale = 1 / math.sqrt(d) if scale is None else float(scale)
    return (
        q, k, v, mask, heads, T, S, d, v_width // heads, *steps, *mask_steps, scale,
        *((None, 0, 0) if key is None else p.key(key)), _limit(dropout), 1 / (1 - dropout),
    )  # fmt: skip


def _case(heads: int, mask: Any, causal: bool, key: Any, *arrays: Any) -> dict[str, Any]:
    """What the source is compiled with for these inputs; `arrays` are all that have rows."""
    item = arrays[0].dtype.itemsize
    whole = all(
        x.shape[2] // heads * item % 16 == 0 and not any(s % 16 for s in x.strides[:2])
        for x in arrays
    )
    return {
        "MASK": 0 if mask is None else 1 if mask.dtype.kind == "b" else FLOATS_MASK,
        "CAUSAL": bool(causal),
        "DROPS": key is not None,
        "ALIGNED": whole and aligned(*arrays),
    }  # fmt: skip


@attention.launches
def _(p, outputs, q, k, v, mask, key, *, heads, causal, scale, dropout, keep=False):
    (y, *more), (B, T, _) = outputs, q.shape
    stats, rows = (more[0], more[0].shape[2]) if more else (None, 0)
    case = _case(heads, mask, causal, key, q, k, v, y) | {"KEPT": False}
    tiles = Tiles(FORWARD, case, heads, q, v, T)
    given = _given(p, q, k, v, mask, key, heads, scale, dropout)
    blocks = B * heads * -(-T // tiles.rows)
    yield Launch(
        PAGE, "attention", tiles.define, blocks, 32 * tiles.warps, (y, stats, rows, *given),
        tiles.shared,
    )  # fmt: skip


@attention_grad.scratch
def _(g, q, k, v, mask, key, y=None, stats=None, *, heads, **options):
    return () if stats is not None else (_stats(q, heads),)


@attention_grad.launches
def _(p, outputs, g, q, k, v, mask, key, y=None, stats=None, *, heads, causal, scale, dropout):
    (dq, dk, dv), (B, T, _) = outputs, q.shape
    stats = p.scratch[0] if stats is None else stats
    case = _case(heads, mask, causal, key, g, q, k, v, dq, dk, dv)
    given = _given(p, q, k, v, mask, key, heads, scale, dropout)
    of_g = (g, *(s // g.dtype.itemsize for s in g.strides[:2]))
    for kernel, name, length, args in (
        (QUERIES, "attention_grad_queries", T, (dq, stats, stats.shape[2], y)),
        (KEYS, "attention_grad_keys", k.shape[1], (dk, dv, stats, stats.shape[2])),
    ):
        kept = {"KEPT": kernel == QUERIES and y is not None}
        tiles = Tiles(kernel, case | kept, heads, q, v, length)
        blocks = B * heads * -(-length // tiles.rows)
        yield Launch(
            PAGE, name, tiles.define, blocks, 32 * tiles.warps, (*args, *of_g, *given),
            tiles.shared,
        )  # fmt: skip


def _examples(dtype: Any) -> Iterator[tuple[tuple, dict]]:
    """q, k, v, mask and key, with options: what takes most registers, and what is small and odd."""
    for d, e, T, S, causal in (
        (64, 64, 128, 128, True),
        (128, 128, 70, 70, True),
        (5, 9, 9, 9, False),
    ):
        q, k, v = (Empty((2, n, 2 * m), dtype) for n, m in ((T, d), (S, d), (S, e)))
        mask = Empty((2, 1, 1, S), BOOL) if causal else Empty((T, S), dtype)
        options = {"heads": 2, "causal": causal, "scale": None, "dropout": 0.1}
        yield (q, k, v, mask, Key(1, 2)), options
        if dtype.name == "float32":
            with float32_matmul_precision("high"):
                yield (q, k, v, mask, Key(1, 2)), options


@attention.examples
def _(dtype):
    yield from _examples(dtype)


@attention_grad.examples
def _(dtype):
    for (q, k, v, *others), options in _examples(dtype):
        g = Empty((*q.shape[:2], v.shape[2]), dtype)
        if dtype.name != "float64" or g.shape[2] <= SIZE:
            yield (g, q, k, v, *others), options
            if options["causal"]:
                yield (g, q, k, v, *others, g, _stats(q, options["heads"])), options
