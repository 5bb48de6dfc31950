"""Softmax and its logarithm along the last axis. A row that is all -inf gives zeros, or stays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.kernels.compiling import compiled
from minigrad.kernels.layouts import covered, rows_of
from minigrad.kernels.machine import Kernel, array, fields, kernel, share
from minigrad.kernels.rows import exp, exp_total, row_dot, row_max, row_total


def _of_rows(kernel: Kernel, loop: Callable) -> None:
    """What softmax and its logarithm have in common: y of the rows of x."""

    @kernel.accepts
    def _(x, *, axis, dtype=None):
        # With a dtype the formula converts `x` and comes back.
        return x if dtype is None and _is_last(axis, x) and covered(x) else None

    @kernel.direct((1, 1), axis=-1)
    def _(y, x, *, axis, dtype=None):
        loop(rows_of(y), rows_of(x))

    kernel.fills(lambda program, outputs, x, **options: _lengths(x))


def _grad_of_rows(kernel: Kernel, loop: Callable) -> None:
    """And their derivatives: dx of the rows of g and y."""

    @kernel.accepts
    def _(g, y, *, axis):
        return y if _is_last(axis, y) and g.shape == y.shape and covered(g, y) else None

    @kernel.direct((1, 1), (1, 1), axis=-1)
    def _(dx, g, y, *, axis):
        loop(rows_of(dx), rows_of(g), rows_of(y))

    kernel.fills(lambda program, outputs, g, y, **options: _lengths(y))


def _is_last(axis: int, x: Any) -> bool:
    return x.ndim > 0 and (axis == -1 or axis == x.ndim - 1)


def _lengths(x: Any) -> dict[str, int]:
    return {"n": math.prod(x.shape[:-1]), "d": x.shape[-1]}


@compiled
def shared_rows(kind, r, address, part, parts):
    """The share of a thread of the rows of a matrix (r.n, r.d)."""
    start, stop = share(r.n, 1, part, parts)
    return array(kind, address, (r.n, r.d))[start:stop]


@compiled
def softmax_row(y, x, i):
    """Softmax of row i; zeros if all of it is -inf. `y` and `x` must not overlap."""
    m = row_max(x, i)
    if m == -np.inf:
        # A NaN with its sign set, such as inf - inf gives, is ordered below -inf.
        fill = x.dtype.type(0)
        for j in range(x.shape[1]):
            if x[i, j] != x[i, j]:
                fill = x[i, j]
        for j in range(x.shape[1]):
            y[i, j] = fill
        return
    for j in range(x.shape[1]):
        y[i, j] = exp(x[i, j] - m)
    r = x.dtype.type(1) / row_total(y, i)
    for j in range(x.shape[1]):
        y[i, j] *= r


@compiled
def softmax_loop(y, x):
    for i in range(x.shape[0]):
        softmax_row(y, x, i)


@kernel("y x n d", work=8)
def softmax(record, kind, part, parts):
    """y = the softmax of each row of x (n, d)."""
    r = fields(record)
    y, x = shared_rows(kind, r, r.y, part, parts), shared_rows(kind, r, r.x, part, parts)
    softmax_loop(y, x)


_of_rows(softmax, softmax_loop)


@compiled
def softmax_grad_loop(dx, g, y):
    for i in range(y.shape[0]):
        dot = row_dot(g, y, i)
        for j in range(y.shape[1]):
            dx[i, j] = y[i, j] * (g[i, j] - dot)


@kernel("dx g y n d", work=4)
def softmax_grad(record, kind, part, parts):
    """dx = y * (g - sum(g * y)) of each row, for y (n, d) a softmax."""
    r = fields(record)
    dx, g = shared_rows(kind, r, r.dx, part, parts), shared_rows(kind, r, r.g, part, parts)
    softmax_grad_loop(dx, g, shared_rows(kind, r, r.y, part, parts))


_grad_of_rows(softmax_grad, softmax_grad_loop)


@compiled
def log_softmax_loop(y, x):
    for i in range(x.shape[0]):
        m = row_max(x, i)
        if m == -np.inf:
            m = x.dtype.type(0)
        total = exp_total(x, i, m)
        log = x.dtype.type(0) if total == 0 else x.dtype.type(np.log(total))
        for j in range(x.shape[1]):
            y[i, j] = (x[i, j] - m) - log


@kernel("y x n d", work=8)
def log_softmax(record, kind, part, parts):
    """y = the logarithm of the softmax of each row of x (n, d)."""
    r = fields(record)
    y, x = shared_rows(kind, r, r.y, part, parts), shared_rows(kind, r, r.x, part, parts)
    log_softmax_loop(y, x)


_of_rows(log_softmax, log_softmax_loop)


@compiled
def log_softmax_grad_loop(dx, g, y):
    for i in range(y.shape[0]):
        total = row_total(g, i)
        for j in range(y.shape[1]):
            dx[i, j] = g[i, j] - exp(y[i, j]) * total


@kernel("dx g y n d", work=8)
def log_softmax_grad(record, kind, part, parts):
    """dx = g - exp(y) * sum(g) of each row, for y (n, d) a log-softmax."""
    r = fields(record)
    dx, g = shared_rows(kind, r, r.dx, part, parts), shared_rows(kind, r, r.g, part, parts)
    log_softmax_grad_loop(dx, g, shared_rows(kind, r, r.y, part, parts))


_grad_of_rows(log_softmax_grad, log_softmax_grad_loop)
