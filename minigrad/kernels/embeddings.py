"""Rows that are looked up in a table, and their gradients."""

import numpy as np

from minigrad.kernels.compiling import compiled
from minigrad.kernels.layouts import Empty, covered, covered_ids, rows_of
from minigrad.kernels.machine import GROUPS, Declined, array, at, fields, integers, kernel, share
from minigrad.kernels.vectors import load, store


@kernel("y table ids n rows d status number", GROUPS)
def embedding(record, kind, part, parts):
    """y (n, d) = the rows `ids` (n,) of a table (rows, d); perhaps of each group's own."""
    r = fields(record)
    n, rows, d, groups = r.n, r.rows, r.d, r.groups
    start, stop = share(n, 16, part, parts)
    y, ids, offsets = array(kind, r.y, (n, d)), integers(r.ids, n), integers(r.offsets, groups + 1)
    for g in range(groups if groups else 1):
        low, high, place = start, stop, r.table
        if groups:
            low, high = max(start, offsets[g] * r.each), min(stop, offsets[g + 1] * r.each)
            place = integers(r.table, groups)[g]
        table = array(kind, place, (rows, d))
        for i in range(low, high):
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
    rows, d = table.shape
    return {
        "y": outputs[0], "table": program.of_groups(table), "ids": ids, "n": ids.size,
        "rows": rows, "d": d, "status": program.status, "number": program.number,
        **program.groups(ids.size, table),
    }  # fmt: skip


reorder_rows = embedding.like("reorder_rows")


@reorder_rows.accepts
def _(x, order, back):
    return x if x.ndim and x.size and covered(x) and covered_ids(order) else None


@reorder_rows.fills
def _(program, outputs, x, order, back):
    n = x.shape[0]
    return {
        "y": outputs[0], "table": x, "ids": order, "n": n, "rows": n, "d": x.size // n,
        "status": program.status, "number": program.number,
    }  # fmt: skip


@compiled
def embedding_grad_loop(dw, g, ids):
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
    n, rows, d, groups = r.n, r.rows, r.d, r.groups
    j0, j1 = share(d, 16, part, parts)
    g, ids, offsets = array(kind, r.g, (n, d)), integers(r.ids, n), integers(r.offsets, groups + 1)
    for group in range(groups if groups else 1):
        start, stop, place = 0, n, r.table
        if groups:
            start, stop = offsets[group] * r.each, offsets[group + 1] * r.each
            if start == stop:
                continue
            place = integers(r.table, groups)[group]
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
def _(program, outputs, g, ids, *, rows, padding=-1):
    (table,) = outputs
    if not g.size:
        raise Declined
    return {
        "table": program.of_groups(table), "g": g, "ids": ids, "n": ids.size, "rows": rows,
        "d": g.shape[-1], "padding": padding, "status": program.status, "number": program.number,
        **program.groups(ids.size, table),
    }  # fmt: skip


@embedding_grad.direct
def _(table, g, ids, *, rows):
    table[...] = 0
    return embedding_grad_loop(table, rows_of(g), ids.reshape(-1))


embedding_grad.example = lambda dtype: (
    (np.ones((1, 1), dtype), np.zeros(1, np.int64)),
    {"rows": 1},
)
