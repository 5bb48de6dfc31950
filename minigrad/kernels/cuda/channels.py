"""Batch norm: over all but the channels of x (A, C, ...).

Bytes to move, for x of n bytes: 3 n for `batch_norm_train`, which reads x twice, n for the
statistics, 5 n for the gradients.
"""

import math
from typing import Any

import numpy as np

from minigrad.kernels.cuda import rows
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, aligned

PAGE = Page("channels")
THREADS = 256
FLOAT64 = np.dtype(np.float64)


def _channels(x: Any, *affine: Any) -> bool:
    """Whether x (A, C, ...) lies C-contiguous, and `affine` (C,), or None, are of one dtype."""
    given = [v for v in affine if v is not None]
    return (
        x.ndim > 1
        and rows.takes(x)
        and x.size < 1 << 31
        and all(
            v.shape == x.shape[1:2]
            and v.flags.c_contiguous
            and v.dtype == given[0].dtype
            and v.dtype in (x.dtype, rows.wide(x.dtype))
            for v in given
        )
    )


def _lengths(x: Any) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _parts(x: Any) -> int:
    """Into how many parts each channel is split: for eight blocks on each of 132 SMs."""
    a, c, n = _lengths(x)
    blocks = c if n > 1 else -(-c // rows.WARP)
    return max(1, min(64, -(-1056 // blocks), a * n // (2048 if n > 1 else 64)))


def _sums(x: Any) -> Empty:
    return Empty((_parts(x), x.shape[1], 5), FLOAT64)


def _numbers(x: Any) -> Empty:
    return Empty((5, x.shape[1]), rows.wide(x.dtype))


def _define(x: Any, grad: bool, *others: Any) -> dict[str, Any]:
    n, pack = _lengths(x)[2], 16 // x.dtype.itemsize
    packed = n % pack == 0
    return {
        "T": x.dtype, "V": pack if packed else 1, "COLUMNS": n == 1, "GRAD": grad,
        "PACKED": not packed or aligned(x, *others), "THREADS": THREADS,
    }  # fmt: skip


def _dtype(x: Any, *affine: Any) -> Any:
    return next((v.dtype for v in affine if v is not None), x.dtype)


def _summed(define: dict, sums: Any, g: Any, x: Any) -> Launch:
    a, c, n = _lengths(x)
    grid = sums.shape[0], -(-c // rows.WARP) if n == 1 else c
    args = sums, g, x, *map(np.int32, (a, c, n))
    return Launch(PAGE, "channel_sums", define, grid, THREADS, args)


def _of_sums(define: dict, sums: Any, x: Any) -> tuple:
    """What those who read sums are told: packs of a channel, how many parts, and channels."""
    a, c, n = _lengths(x)
    return a * n // define["V"], np.int32(sums.shape[0]), np.int32(c)


def _each(define: dict, y: Any, g: Any, x: Any, numbers: Any) -> Launch:
    c, n = x.shape[1], _lengths(x)[2]
    define = dict(define)
    if define["COLUMNS"] and c % (pack := 16 // x.dtype.itemsize) == 0 and aligned(y, g, x):
        define["V"] = pack
    packs = x.size // define["V"]
    grid = min(-(-packs // (4 * THREADS)), 132 * 16)
    args = y, g, x, numbers, *map(np.int32, (packs, c, max(1, n // define["V"])))
    return Launch(PAGE, "each_channel", define, grid, THREADS, args)


def _examples(dtype):
    for shape in ((64, 70), (64, 64), (8, 6, 5, 5), (8, 6, 8, 8)):
        own = rows.wide(dtype) if len(shape) == 2 else dtype
        yield Empty(shape, dtype), Empty(shape[1:2], own)


batch_norm_train = Kernel("batch_norm_train", PAGE)


@batch_norm_train.accepts
def _(x, weight, bias, *, eps):
    return x if _channels(x, weight, bias) else None


@batch_norm_train.scratch
def _(x, weight, bias, *, eps):
    return _sums(x), _numbers(x)


@batch_norm_train.launches
def _(p, outputs, x, weight, bias, *, eps):
    (sums, numbers), (y,) = p.scratch, outputs
    define = _define(x, False, y) | {"W": _dtype(x, weight, bias)}
    yield _summed(define, sums, None, x)
    args = numbers, None, None, sums, weight, bias, *_of_sums(define, sums, x), float(eps)
    yield Launch(PAGE, "channel_numbers", define, -(-x.shape[1] // 4), 128, args)
    yield _each(define, y, None, x, numbers)


@batch_norm_train.examples
def _(dtype):
    for x, w in _examples(dtype):
        yield (x, w, w), {"eps": 1e-5}


batch_norm_grad = Kernel("batch_norm_grad", PAGE)


@batch_norm_grad.accepts
def _(g, x, weight, *, eps):
    if g.shape != x.shape or not rows.takes(x, g) or not _channels(x, weight):
        return None
    sums = Empty(x.shape[1:2], _dtype(x, weight))
    return x, sums, sums


@batch_norm_grad.scratch
def _(g, x, weight, *, eps):
    return _sums(x), _numbers(x)


@batch_norm_grad.launches
def _(p, outputs, g, x, weight, *, eps):
    (sums, numbers), (dx, dweight, dbias) = p.scratch, outputs
    define = _define(x, True, g, dx) | {"W": dweight.dtype}
    yield _summed(define, sums, g, x)
    args = numbers, dweight, dbias, sums, weight, None, *_of_sums(define, sums, x), float(eps)
    yield Launch(PAGE, "channel_numbers", define, -(-x.shape[1] // 4), 128, args)
    yield _each(define, dx, g, x, numbers)


@batch_norm_grad.examples
def _(dtype):
    for x, w in _examples(dtype):
        yield (x, x, w), {"eps": 1e-5}


batch_norm_stats = Kernel("batch_norm_stats", PAGE)


@batch_norm_stats.accepts
def _(x, running_mean, running_var, *, momentum):
    if running_mean is None or running_var is None or not _channels(x, running_mean, running_var):
        return None
    if x.size == x.shape[1]:
        return None  # the variance of one number, for one
    return running_mean, running_var


@batch_norm_stats.scratch
def _(x, running_mean, running_var, *, momentum):
    return (_sums(x),)


@batch_norm_stats.launches
def _(p, outputs, x, running_mean, running_var, *, momentum):
    (sums,) = p.scratch
    define = _define(x, False) | {"W": running_mean.dtype}
    yield _summed(define, sums, None, x)
    args = *outputs, running_mean, running_var, sums, *_of_sums(define, sums, x), float(momentum)
    yield Launch(PAGE, "channel_statistics", define, -(-x.shape[1] // 4), 128, args)


@batch_norm_stats.examples
def _(dtype):
    for x, w in _examples(dtype):
        yield (x, w, w), {"momentum": 0.1}
