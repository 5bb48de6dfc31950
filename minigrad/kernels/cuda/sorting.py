"""The first few elements of rows in their order, and the largest and the smallest alone.

Bytes to move: those of x, once, and 8 for each element that is found.
"""

from typing import Any

import numpy as np

from minigrad.kernels.cuda import rows
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page
from minigrad.kernels.layouts import INT64

PAGE = Page("sorting", shared="rows")
MOST = 32  # elements that are found one after another
ROOM = rows.Room(32, 32)

top_ids = Kernel("top_ids", PAGE)


@top_ids.accepts
def _(x, *, k, descending):
    if not rows.takes(x) or not 0 < k <= min(MOST, x.shape[-1]):
        return None
    return Empty((*x.shape[:-1], k), INT64)


@top_ids.launches
def _(p, outputs, x, *, k, descending):
    yield _launch(outputs[0], x, k, bool(descending), nan_first=bool(descending))


def _launch(y: Any, x: Any, k: int, descending: bool, nan_first: bool) -> Launch:
    # A row is not held, so that all long ones are alike.
    define = rows.held(x, room=ROOM) | {"K": 1, "LONG": False}
    define |= {"DESCENDING": descending, "NAN_FIRST": nan_first}
    n, d = rows.rows_of(x)
    args = y, x, n, d, np.int32(k)
    return Launch(PAGE, "top_ids", define, rows.blocks(n, define), define["THREADS"], args)


@top_ids.examples
def _(dtype):
    for d in (7, 1024, 1 << 16):
        yield (Empty((8, d), dtype),), {"k": 2, "descending": d > 7}


def _extreme(name: str, largest: bool) -> Kernel:
    """The place of the first NaN of a row, or else of its first extreme."""
    kernel = Kernel(name, PAGE)

    @kernel.accepts
    def _(x, *, axis, keepdims):
        last = axis in (-1, x.ndim - 1) if axis is not None else x.ndim == 1
        if not last or not rows.takes(x):
            return None
        return Empty(x.shape[:-1] + (1,) * bool(keepdims), INT64)

    @kernel.launches
    def _(p, outputs, x, **options):
        yield _launch(outputs[0], x, 1, largest, nan_first=True)

    @kernel.examples
    def _(dtype):
        for d in (7, 4096):
            yield (Empty((8, d), dtype),), {"axis": -1, "keepdims": False}

    return kernel


argmax, argmin = _extreme("argmax", True), _extreme("argmin", False)
