"""Rows that are looked up in a table, and their gradients."""

import numpy as np

from minigrad.kernels.compiling import compiled
from minigrad.kernels.instructions import GROUPS
from minigrad.kernels.layouts import Empty, covered, covered_ids, rows_of
from minigrad.kernels.machine import array, at, fields, integers, kernel, of_group, share, span_of
from minigrad.kernels.rows import clear_row
from minigrad.kernels.vectors import load, store


@kernel("y table ids n rows d status number", GROUPS)
def embedding(record, kind, part, parts):
    """y (n, d) = the rows `ids` (n,) of a table (rows, d); perhaps of each group's own."""
    r = fields(record)
    n, rows, d = r.n, r.rows, r.d
    start, stop = share(n, 16, part, parts)
    y, ids = array(kind, r.y, (n, d)), integers(r.ids, n)
    for g in range(max(r.groups, 1)):
        low, high = span_of(r, g, n)
        table = array(kind, of_group(r, r.table, g), (rows, d))
        for i in range(max(start, low), min(stop, high)):
            row = ids[i]
            if row < 0 or row >= rows:
                integers(r.status, 1)[0] = r.number
                return
            for j in range(d):
                y[i, j] = table[row, j]


@embedding.accepts
def _(ids, table, *, padding_idx=None):
    if table.ndim != 2 or not table.size or not covered(table) or not covered_ids(ids):
        return None
    return Empty((*ids.shape, table.shape[1]), table.dtype)


@embedding.fills
def _(program, outputs, ids, table, *, padding_idx=None):
    lengths = {"n": ids.size, "rows": table.shape[0], "d": table.shape[1]}
    return {"table": program.of_groups(table), **lengths, **program.groups(ids.size, table)}


reorder_rows = embedding.like("reorder_rows")


@reorder_rows.accepts
def _(x, order, back):
    return x if x.ndim and x.size and covered(x) and covered_ids(order) else None


@reorder_rows.fills
def _(program, outputs, x, order, back):
    n = x.shape[0]
    return {"table": x, "ids": order, "n": n, "rows": n, "d": x.size // n}


@compiled
def embedding_grad_loop(dw, g, ids):
    for row in range(dw.shape[0]):
        clear_row(dw, row)
    for i in range(ids.size):
        row = ids[i]
        if row < 0 or row >= dw.shape[0]:
            return False
        for j in range(dw.shape[1]):
            dw[row, j] += g[i, j]
    return True


@kernel("table g ids n rows d padding status number", GROUPS)
def embedding_grad(record, kind, part, parts):
    """table (rows, d) of the sums of the rows of g (n, d) that have equal ids, but `padding`."""
    r = fields(record)
    n, rows, d = r.n, r.rows, r.d
    j0, j1 = share(d, 16, part, parts)
    g, ids = array(kind, r.g, (n, d)), integers(r.ids, n)
    for group in range(max(r.groups, 1)):
        start, stop = span_of(r, group, n)
        if start == stop:
            continue
        place = of_group(r, r.table, group)
        table, target, source = array(kind, place, (rows, d)), at(kind, place), at(kind, r.g)
        for i in range(rows):
            for j in range(j0, j1):
                table[i, j] = 0
        for i in range(start, stop):
            row = ids[i] + rows if ids[i] < 0 else ids[i]  # as an index counts
            if row < 0 or row >= rows:
                integers(r.status, 1)[0] = r.number
                return
            if row != r.padding:
                whole = j0 + (j1 - j0) // 16 * 16
                for j in range(j0, whole, 16):
                    at_row = row * d + j
                    store(target, at_row, load(target, at_row, 16) + load(source, i * d + j, 16))
                for j in range(whole, j1):
                    table[row, j] += g[i, j]


@embedding_grad.accepts
def _(g, ids, *, rows, padding=-1):
    """Sums (rows, D) of the rows of `g` (*ids.shape, D), but of those that `padding` has."""
    if not g.ndim or g.shape[:-1] != ids.shape or not covered(g) or not covered_ids(ids):
        return None
    return Empty((rows, g.shape[-1]), g.dtype)


@embedding_grad.fills
def _(program, outputs, g, ids, **options):
    (table,), n = outputs, ids.size
    lengths = {"n": n, "d": g.shape[-1]}
    return {"table": program.of_groups(table), **lengths, **program.groups(n, table)}


@embedding_grad.direct((1, 1), np.zeros(1, np.int64), rows=1)
def _(table, g, ids, *, rows):
    return embedding_grad_loop(table, rows_of(g), ids.reshape(-1))
