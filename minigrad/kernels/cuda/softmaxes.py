"""Softmax and its logarithm along the last axis. A row that is all -inf gives zeros, or stays.

Bytes to move, for x of n bytes: 2 n, and 3 n for a derivative. A row longer than 1024 threads hold
is read twice, the second time mostly from the cache.
"""

from minigrad.kernels.cuda import rows
from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page

PAGE = Page("softmaxes", shared="rows")


def _of_rows(name: str, log: bool) -> Kernel:
    """Softmax or its logarithm: y of the rows of x."""
    kernel = Kernel(name, PAGE)

    @kernel.accepts
    def _(x, *, axis, dtype=None):
        # With a dtype the formula converts `x` and comes back.
        return x if dtype is None and _is_last(axis, x) and rows.takes(x) else None

    @kernel.launches
    def _(p, outputs, x, **options):
        (y,), (n, d) = outputs, rows.rows_of(x)
        define = rows.held(x, y, room=rows.Room(32, 32)) | {"LOG": log, "GRAD": False}
        grid = rows.blocks(n, define)
        yield Launch(PAGE, "softmax", define, grid, define["THREADS"], (y, x, n, d))

    @kernel.examples
    def _(dtype):
        for d in (7, 1000, 1024, 1 << 15, 1 << 16):
            yield (Empty((8, d), dtype),), {"axis": -1}

    return kernel


def _grad_of_rows(name: str, log: bool) -> Kernel:
    """And their derivatives: dx of the rows of g and y."""
    kernel = Kernel(name, PAGE)

    @kernel.accepts
    def _(g, y, *, axis):
        return y if _is_last(axis, y) and g.shape == y.shape and rows.takes(y, g) else None

    @kernel.launches
    def _(p, outputs, g, y, *, axis):
        (dx,), (n, d) = outputs, rows.rows_of(y)
        define = rows.held(y, g, dx, room=rows.Room(16, 16)) | {"LOG": log, "GRAD": True}
        grid = rows.blocks(n, define)
        yield Launch(PAGE, "softmax_grad", define, grid, define["THREADS"], (dx, g, y, n, d))

    @kernel.examples
    def _(dtype):
        for d in (7, 500, 512, 16384, 1 << 16):
            x = Empty((8, d), dtype)
            yield (x, x), {"axis": -1}

    return kernel


def _is_last(axis, x) -> bool:
    return x.ndim > 0 and axis in (-1, x.ndim - 1)


softmax, log_softmax = _of_rows("softmax", False), _of_rows("log_softmax", True)
softmax_grad = _grad_of_rows("softmax_grad", False)
log_softmax_grad = _grad_of_rows("log_softmax_grad", True)
