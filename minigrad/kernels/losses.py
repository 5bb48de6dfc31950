"""Cross-entropy of rows of logits with classes, and what its mean divides by."""

import math
from typing import Any

import numpy as np

from minigrad.kernels.compiling import compiled
from minigrad.kernels.layouts import Empty, covered, covered_ids
from minigrad.kernels.machine import array, fields, integers, kernel, share
from minigrad.kernels.rows import clear_row, exp_total, row_max, row_sum
from minigrad.kernels.softmaxes import softmax_row

CLASSES = "x target n c ignore_index status number"
IDS = np.zeros(1, np.int64)


def _takes(x: Any, target: Any) -> bool:
    """Whether x are rows (N, C) of logits and `target` (N,) classes."""
    return x.ndim == 2 and target.shape == x.shape[:1] and covered(x) and covered_ids(target)


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


@kernel("loss", CLASSES, label_smoothing=float, work=5)
def cross_entropy_rows(record, kind, part, parts):
    """loss (n,) of logits x (n, c) with classes `target` (n,); 0 where they are ignored."""
    r = fields(record)
    n, c = r.n, r.c
    start, stop = share(n, 16, part, parts)
    loss, x = array(kind, r.loss, (n,)), array(kind, r.x, (n, c))
    loss, x, target = loss[start:stop], x[start:stop], integers(r.target, n)[start:stop]
    if not cross_entropy_loop(loss, x, target, r.ignore_index, r.label_smoothing):
        integers(r.status, 1)[0] = r.number


@cross_entropy_rows.accepts
def _(x, target, *, ignore_index, label_smoothing):
    return Empty(x.shape[:1], x.dtype) if _takes(x, target) else None


cross_entropy_rows.fills(lambda program, outputs, x, target, **options: _lengths(x))


@cross_entropy_rows.direct((1, 1), IDS, ignore_index=-100, label_smoothing=0.0)
def _(loss, x, target, *, ignore_index, label_smoothing):
    return cross_entropy_loop(loss, x, target, int(ignore_index), float(label_smoothing))


def _lengths(x: Any) -> dict[str, int]:
    return {"n": x.shape[0], "c": x.shape[1]}


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


@kernel("dx g many", CLASSES, label_smoothing=float, work=10)
def cross_entropy_rows_grad(record, kind, part, parts):
    """dx (n, c), given g (n,), or one for all rows if they are not `many`."""
    r = fields(record)
    n, c = r.n, r.c
    start, stop = share(n, 16, part, parts)
    dx, x = array(kind, r.dx, (n, c))[start:stop], array(kind, r.x, (n, c))[start:stop]
    target, g = integers(r.target, n)[start:stop], array(kind, r.g, (n if r.many else 1,))
    g = g[start:stop] if r.many else np.full(stop - start, g[0])
    if not cross_entropy_grad_loop(dx, g, x, target, r.ignore_index, r.label_smoothing):
        integers(r.status, 1)[0] = r.number


@cross_entropy_rows_grad.accepts
def _(g, x, target, *, ignore_index, label_smoothing):
    if not _takes(x, target) or g.shape != target.shape or g.dtype is not x.dtype:
        return None
    return x if g.flags.c_contiguous or _is_one(g) else None


def _is_one(g: Any) -> bool:
    """Whether it is the gradient of a mean: one number, repeated without memory."""
    return g.strides == (0,)


@cross_entropy_rows_grad.fills
def _(program, outputs, g, x, target, **options):
    return {"many": not _is_one(g), **_lengths(x)}


@cross_entropy_rows_grad.direct((1,), (1, 1), IDS, ignore_index=-100, label_smoothing=0.0)
def _(dx, g, x, target, *, ignore_index, label_smoothing):
    g = g.copy() if _is_one(g) else g
    return cross_entropy_grad_loop(dx, g, x, target, int(ignore_index), float(label_smoothing))


@kernel("y ids n ignore_index", none=float)
def count_of(record, kind, part, parts):
    """y () = how many of the ids (n,) are not the ignored one; if none is, `none`."""
    r = fields(record)
    if part == 0:
        y, ids = array(kind, r.y, (1,)), integers(r.ids, r.n)
        count = 0
        for i in range(r.n):
            count += ids[i] != r.ignore_index
        y[0] = count if count else r.none


@count_of.accepts
def _(like, ids, *, ignore_index, empty_is_zero):
    return Empty((), like.dtype) if covered_ids(ids) and like.dtype.kind == "f" else None


@count_of.fills
def _(program, outputs, like, ids, *, empty_is_zero, **options):
    return {"n": ids.size, "none": 1.0 if empty_is_zero else math.nan}
