"""Softmax along the last axis. A row that is all -inf gives zeros."""

import math

from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page

PAGE = Page("softmaxes")
FLOATS = ("float32", "float64", "float16", "bfloat16")

softmax = Kernel("softmax", PAGE)


@softmax.accepts
def _(x, *, axis, dtype=None):
    if dtype is not None or not x.ndim or axis not in (-1, x.ndim - 1) or not x.size:
        return None
    return x if x.dtype.name in FLOATS and x.flags.c_contiguous else None


@softmax.launches
def _(p, outputs, x, **options):
    rows, d = math.prod(x.shape[:-1]), x.shape[-1]
    yield Launch(
        PAGE, "softmax_rows", {"T": x.dtype}, min(rows, 1 << 16), 128, (*outputs, x, rows, d)
    )


@softmax.examples
def _(dtype):
    yield (Empty((8, 1024), dtype),), {"axis": -1}
