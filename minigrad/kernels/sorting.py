"""The first few elements of rows in their order."""

from minigrad.kernels.compiling import compiled
from minigrad.kernels.layouts import INT64, Empty, covered, rows_of
from minigrad.kernels.machine import array, fields, integers, kernel, share

MOST = 32  # elements that are found by insertion


@compiled
def comes_before(v, u, descending):
    """Whether `v` comes before `u`, not being equal to it; NaN counts as the largest."""
    if descending:
        return v > u or (v != v and u == u)
    return v < u or (v == v and u != u)


@compiled
def top_ids_loop(y, x, descending):
    """The places of the first elements of each sorted row; equal ones stay in their order.

    Insertion into a list of k, which few elements enter once it is full.
    """
    k = y.shape[1]
    for i in range(x.shape[0]):
        have = 0
        for j in range(x.shape[1]):
            v = x[i, j]
            if have == k and not comes_before(v, x[i, y[i, k - 1]], descending):
                continue
            have = min(have + 1, k)
            p = have - 1
            while p > 0 and comes_before(v, x[i, y[i, p - 1]], descending):
                y[i, p] = y[i, p - 1]
                p -= 1
            y[i, p] = j


@kernel("y x n d k descending", work=4)
def top_ids(record, kind, part, parts):
    """y (n, k) = the places of the first k elements of each row of x (n, d)."""
    r = fields(record)
    start, stop = share(r.n, 1, part, parts)
    y = integers(r.y, r.n * r.k).reshape((r.n, r.k))[start:stop]
    top_ids_loop(y, array(kind, r.x, (r.n, r.d))[start:stop], r.descending != 0)


@top_ids.accepts
def _(x, *, k, descending):
    if not x.ndim or not x.size or not covered(x) or not 0 < k <= min(MOST, x.shape[-1]):
        return None
    return Empty((*x.shape[:-1], k), INT64)


@top_ids.direct((1, 1), k=1, descending=True)
def _(y, x, *, k, descending):
    top_ids_loop(y.reshape(-1, k), rows_of(x), bool(descending))


@top_ids.fills
def _(program, outputs, x, *, k, descending):
    d = x.shape[-1]
    return {"n": x.size // d, "d": d, "descending": bool(descending)}
