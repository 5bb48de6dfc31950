"""Cross entropy of rows of logits with their classes, and what its mean divides by.

Bytes to move, for n bytes of logits: n for the losses, 2 n for the gradient, which may be written
over the logits. Rows whose class is ignored are not read, of 33 packs of 16 bytes and more.
"""

import math
from typing import Any

import numpy as np

from minigrad.errors import OutOfRangeError
from minigrad.kernels.cuda import rows
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page
from minigrad.kernels.layouts import INT64

PAGE, COUNTS = Page("losses", shared="rows"), Page("counts")
IDS = ("int64", "int32")

cross_entropy_rows = Kernel("cross_entropy_rows", PAGE)


def _takes(x: Any, target: Any) -> bool:
    """Whether x are rows (N, C) of logits and `target` (N,) classes."""
    return x.ndim == 2 and target.shape == x.shape[:1] and rows.takes(x) and _are_ids(target)


def _are_ids(ids: Any) -> bool:
    return ids.dtype.name in IDS and ids.flags.c_contiguous


@cross_entropy_rows.accepts
def _(x, target, *, ignore_index, label_smoothing):
    return Empty(x.shape[:1], x.dtype) if _takes(x, target) else None


@cross_entropy_rows.launches
def _(p, outputs, x, target, *, ignore_index, label_smoothing):
    define = rows.held(x, room=rows.Room(32, 32)) | {"IDS": target.dtype, "GRAD": False}
    args = *outputs, x, target, *rows.rows_of(x), *_options(p, x, ignore_index, label_smoothing)
    grid = rows.blocks(x.shape[0], define)
    yield Launch(PAGE, "cross_entropy_rows", define, grid, define["THREADS"], args)


@cross_entropy_rows.examples
def _(dtype):
    for x, ids in _examples(dtype):
        yield (x, ids), {"ignore_index": -100, "label_smoothing": 0.0}


def _options(p: Any, x: Any, ignore_index: int, label_smoothing: float) -> tuple:
    classes = x.shape[1]

    def tell(position: int, value: int) -> Exception:
        return OutOfRangeError(
            f"cross_entropy: index {value} at position {position} is out of range [0, {classes})"
        )

    return int(ignore_index), float(label_smoothing), *p.fault(tell)


def _examples(dtype):
    for c in (7, 1000, 1024, 1 << 15, 1 << 16):
        yield Empty((8, c), dtype), Empty((8,), np.dtype(IDS[c == 7]))


cross_entropy_rows_grad = Kernel("cross_entropy_rows_grad", PAGE)


@cross_entropy_rows_grad.accepts
def _(g, x, target, *, ignore_index, label_smoothing):
    if not _takes(x, target) or g.shape != target.shape or g.dtype != x.dtype:
        return None
    return x if g.flags.c_contiguous or _is_one(g) else None


def _is_one(g: Any) -> bool:
    """Whether it is the gradient of a mean: one number, repeated without memory."""
    return g.strides == (0,)


@cross_entropy_rows_grad.launches
def _(p, outputs, g, x, target, *, ignore_index, label_smoothing):
    define = rows.held(x, *outputs, room=rows.Room(32, 32)) | {"IDS": target.dtype, "GRAD": True}
    options = _options(p, x, ignore_index, label_smoothing)
    args = *outputs, g, int(not _is_one(g)), x, target, *rows.rows_of(x), *options
    grid = rows.blocks(x.shape[0], define)
    yield Launch(PAGE, "cross_entropy_rows_grad", define, grid, define["THREADS"], args)


@cross_entropy_rows_grad.examples
def _(dtype):
    for x, ids in _examples(dtype):
        yield (Empty((8,), dtype), x, ids), {"ignore_index": -100, "label_smoothing": 0.0}


count_of = Kernel("count_of", COUNTS)


@count_of.accepts
def _(like, ids, *, ignore_index, empty_is_zero):
    if not _are_ids(ids) or not ids.size or like.dtype.name not in rows.FLOATS:
        return None
    return Empty((), like.dtype)


@count_of.scratch
def _(like, ids, **options):
    return (Empty((min(-(-ids.size // 8192), 256),), INT64),)


@count_of.launches
def _(p, outputs, like, ids, *, ignore_index, empty_is_zero):
    (counts,), (y,), none = p.scratch, outputs, 1.0 if empty_is_zero else math.nan
    define, parts = {"T": y.dtype, "IDS": ids.dtype}, counts.size
    args = y, counts, ids, ids.size, int(ignore_index), none
    yield Launch(COUNTS, "count_of", define, parts, 1024, args)
    if parts > 1:
        yield Launch(COUNTS, "total_of", define, 1, 256, (y, counts, parts, none))


@count_of.examples
def _(dtype):
    for ids in map(np.dtype, IDS):
        inputs = Empty((1,), dtype), Empty((20_000,), ids)
        yield inputs, {"ignore_index": 0, "empty_is_zero": True}
