"""Normalisation over the last axis: layer norm and RMS norm. Over channels: see `channels`.

Bytes to move, for x of n bytes: 2 n, or 4 n with `more`, whose sum with x comes out; for gradients
3 n, or 4 n with `more`, and sums of blocks for those of weight and bias: 2 % of that, for n of 64
MiB. Rows that are longer than threads hold are read three times.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.kernels.cuda import rows
from minigrad.kernels.cuda.channels import batch_norm_grad, batch_norm_stats, batch_norm_train
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, Stand
from minigrad.kernels.instructions import NotByGroup

__all__ = [
    "batch_norm_grad", "batch_norm_stats", "batch_norm_train", "layer_norm", "layer_norm_grad",
    "rms_norm", "rms_norm_grad",
]  # fmt: skip

PAGE = Page("norms", shared="rows")
ROOM, GRAD_ROOM = rows.Room(32, 16), rows.Room(16, 16, threads=256, most=512)
SUMMING = 264 * 256  # threads that make sums: two blocks for each of 132 SMs
MOST_GROUPS = 64  # of rows that have their own weights


def _fits(x: Any, *parameters: Any) -> bool:
    """Whether x are rows, and weights are of its columns: of its dtype, or float32 for 16 bits."""
    given = [v for v in parameters if v is not None]
    return rows.takes(x) and all(
        v.shape == x.shape[-1:]
        and v.flags.c_contiguous
        and v.dtype == given[0].dtype
        and v.dtype in (x.dtype, rows.wide(x.dtype))
        for v in given
    )


def _weights(x: Any, *parameters: Any) -> dict[str, Any]:
    """The dtype of the weights, and whether there are any."""
    given = [v for v in parameters if v is not None]
    return {"W": given[0].dtype if given else x.dtype}


def _forward(name: str, rms: bool) -> Kernel:
    kernel = Kernel(name, PAGE, by_group=True)

    def accepts(x, weight, bias=None, more=None, *, eps):
        """In programs with `more`, which is added first; the sum comes out, too."""
        if not _fits(x, weight, bias):
            return None
        if more is None:
            return x
        return (x, x) if more.shape == x.shape and rows.takes(x, more) else None

    def launches(p, outputs, x, weight, bias=None, more=None, *, eps):
        y, total = (*outputs, None)[:2]
        n, d = rows.rows_of(x)
        grouped, table, groups = _groups(p, n, weight, bias)
        packed = () if grouped else (weight, bias)
        define = rows.held(x, *packed, more, y, total, room=ROOM) | _weights(x, weight, bias)
        define |= {
            "WEIGHT": weight is not None, "BIAS": bias is not None, "MORE": more is not None,
            "RMS": rms, "GRAD": False, "GROUPED": grouped,
        }  # fmt: skip
        args = y, total, x, more, table(weight), table(bias), n, d, _eps(eps, x), *groups
        yield Launch(PAGE, "layer_norm", define, rows.blocks(n, define), define["THREADS"], args)

    if rms:
        kernel.accepts(lambda x, weight, more=None, *, eps: accepts(x, weight, None, more, eps=eps))
        kernel.launches(
            lambda p, y, x, weight, more=None, *, eps: launches(
                p, y, x, weight, None, more, eps=eps
            )
        )
    else:
        kernel.accepts(accepts)
        kernel.launches(launches)

    @kernel.examples
    def _(dtype):
        for d in (1024, 1 << 16) if rms else (7, 1024, 16384, 1 << 16):
            x, w = Empty((8, d), dtype), Empty((d,), dtype)
            affine = (w,) if rms else (w, w)
            yield (x, *affine, x), {"eps": 1e-5}
            if d == 1024:
                yield (x, *affine), {"eps": 1e-5}
                yield (x, *(None for _ in affine)), {"eps": 1e-5}
                for w in (Empty((d,), rows.wide(dtype)), Stand((d,), dtype, by_group=True)):
                    yield (x, *(w for _ in affine)), {"eps": 1e-5}

    return kernel


def _groups(p: Any, n: int, *values: Any) -> tuple[bool, Callable[[Any], Any], tuple]:
    """Whether values are groups' own; what gives their tables then; and three arguments."""
    if not p.owns(*values):
        return False, lambda v: v, (None, 0, np.int32(0))
    count, offsets, each = p.groups(n)
    if count > MOST_GROUPS:
        raise NotByGroup
    return True, lambda v: None if v is None else p.table(v), (offsets, each, np.int32(count))


def _eps(eps: float | None, x: Any) -> float:
    """What is added to the mean of squares; by default the spacing of floats at 1."""
    return float(np.finfo(rows.wide(x.dtype)).eps if eps is None else eps)


def _backward(name: str, rms: bool) -> Kernel:
    kernel = Kernel(name, PAGE, by_group=True)

    @kernel.accepts
    def _(g, x, weight, more=None, *, eps):
        """In programs with `more`, which is added to dx."""
        if not _fits(x, weight) or g.shape != x.shape or not rows.takes(x, g):
            return None
        if more is not None and (more.shape != x.shape or not rows.takes(x, more)):
            return None
        sums = Empty(x.shape[-1:], x.dtype) if weight is None else weight
        return (x, sums) if rms else (x, sums, sums)

    def parts(x: Any) -> int:
        """How many sums of rows there are."""
        n, (lanes, long) = rows.rows_of(x)[0], rows.lanes(x, GRAD_ROOM)
        if long:
            return min(64, -(-n // 32))
        threads, groups = (lanes, 1) if lanes > rows.WARP else (256, 8)
        return min(-(-n // groups), SUMMING // threads)

    @kernel.scratch
    def _(g, x, weight, more=None, *, eps):
        n, d = rows.rows_of(x)
        dtype = rows.wide(x.dtype)
        sums = Empty((parts(x) + MOST_GROUPS, 1 if rms else 2, int(d)), dtype)
        return (sums, Empty((n, 3), dtype)) if rows.lanes(x, GRAD_ROOM)[1] else (sums,)

    @kernel.launches
    def _(p, outputs, g, x, weight, more=None, *, eps):
        dx, dweight, dbias = (*outputs, None)[:3]
        sums, stats = (*p.scratch, None)[:2]
        n, d = rows.rows_of(x)
        grouped, table, groups = _groups(p, n, weight, dweight, dbias)
        packed = () if grouped else (weight,)
        define = rows.held(x, *packed, g, more, dx, room=GRAD_ROOM)
        define |= _weights(x, weight) | {
            "WEIGHT": weight is not None, "BIAS": False, "MORE": more is not None,
            "RMS": rms, "GRAD": True, "GROUPED": grouped,
        }  # fmt: skip
        if grouped and define["LONG"]:
            raise NotByGroup
        threads, part = define["THREADS"], parts(x)
        most = -(-n // part)  # rows of a part, where it is one of a group
        part += int(groups[2])
        grid = rows.blocks(n, define) if define["LONG"] else part
        held = define["K"] * define["V"] * threads * sums.dtype.itemsize
        shared = held if threads > define["G"] else 0
        args = dx, sums, stats, g, x, table(weight), more, n, d, _eps(eps, x), *groups, most
        yield Launch(PAGE, "layer_norm_grad", define, grid, threads, args, shared)
        if define["LONG"]:
            args = sums, stats, g, x, n, d
            yield Launch(PAGE, "sums_of_columns", define, (-(-int(d) // 256), part), 256, args)
        width = (1 if rms else 2) * int(d)
        offsets, each, count = groups
        args = table(dweight), table(dbias), sums, np.int32(part), d, offsets, each, most
        grid = -(-width // 32), max(1, int(count))
        yield Launch(PAGE, "total_of_parts", define, grid, 1024, args)

    @kernel.examples
    def _(dtype):
        for d in (512, 1 << 16) if rms else (7, 512, 8192, 1 << 16):
            x, w = Empty((64, d), dtype), Empty((d,), dtype)
            yield (x, x, w, x), {"eps": 1e-5}
            if d == 512:
                yield (x, x, w), {"eps": 1e-5}
                yield (x, x, None), {"eps": 1e-5}
                for w in (Empty((d,), rows.wide(dtype)), Stand((d,), dtype, by_group=True)):
                    yield (x, x, w), {"eps": 1e-5}

    return kernel


layer_norm, rms_norm = _forward("layer_norm", False), _forward("rms_norm", True)
layer_norm_grad = _backward("layer_norm_grad", False)
rms_norm_grad = _backward("rms_norm_grad", True)
