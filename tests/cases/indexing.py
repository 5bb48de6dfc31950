"""Reading and writing at indices."""

import math

import naive
import numpy as np
import strategies as draws
from hypothesis import assume
from hypothesis import strategies as st
from naive import indexing as loops

import minigrad as mg
from cases.case import Case
from minigrad.ops import indexing


def spread(g, *, index, shape):
    template, arrays = draws.template_of(index)
    return indexing._spread(g, *arrays, template=template, shape=shape)


def reorder_rows(x, order, back):
    return indexing._reorder_rows(x, order, back)


def put_at(x, values, *, index, accumulate=False):
    template, arrays = draws.template_of(index)
    return indexing._put(x, values, *arrays, template=template, accumulate=accumulate)


def loop_put_at(x, values, *, index, accumulate=False):
    return loops.index_put(x, index, values, accumulate)


def tril_indices(x, k):
    """The lower triangle of `x`, one element after the other."""
    found = mg.tril_indices(x.shape[0], k, x.shape[1])
    return mg.getitem(x, tuple(i.data for i in found))


def triu_indices(x, k):
    found = mg.triu_indices(x.shape[0], k, x.shape[1])
    return mg.getitem(x, tuple(i.data for i in found))


@st.composite
def mixed(draw):
    """Masks of one axis, ids of few bits, lists and ints side by side, with slices between."""
    (x,) = draw(draws.floats(draw(draws.shapes(2, 4, draws.SOME))))
    count, parts = draw(st.integers(0, 2)), []
    for n in x.shape:
        kinds = ["slice", "ids", "list", "int"] + ["mask"] * (count <= n)
        kind = draw(st.sampled_from(kinds))
        if kind == "ids":
            parts.append(draw(draws.integers((count,), 0, n)).astype("u1"))
        elif kind == "list":
            parts.append(draw(draws.integers((draw(st.sampled_from([count, 1])),), -n, n)).tolist())
        elif kind == "mask":
            mask = np.zeros(n, bool)
            mask[draws.generator(draw).permutation(n)[:count]] = True
            parts.append(mask)
        else:
            parts.append(-1 if kind == "int" else slice(None, None, -1))
    return draws.Call((x, tuple(parts)), {})


@st.composite
def one_number(draw):
    """Ids, each once, and one number for all of their places."""
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, draws.SOME))))
    return draws.Call((x, np.arange(x.shape[0]), draw(st.sampled_from([2, 0.25]))), {})


@st.composite
def put(draw, repeated):
    """(x, ids, values), ids shorter than `x`; values longer than ids, or a number."""
    shape = draw(draws.shapes(1, 3, draws.SOME))
    axis = draw(draws.axes(len(shape), ("int",)))
    own = [draw(st.integers(1, n)) for n in shape]
    own[axis] = draw(st.integers(0, 4 if repeated else shape[axis]))
    longer = tuple(n + draw(st.sampled_from([0, 0, 1])) for n in own)
    x, values = draw(draws.floats(shape, longer))
    ids = draw(draws.integers(tuple(own), -shape[axis], shape[axis]))
    if not repeated:
        own[axis] = shape[axis]
        order = np.argsort(draws.generator(draw).random(own), axis=axis)
        ids = order.take(range(ids.shape[axis]), axis=axis)
    values = 0.5 if draw(st.integers(0, 4)) == 0 else values
    return draws.Call((x, ids, values), {"axis": axis})


@st.composite
def put_broadcast(draw):
    """(x, ids, values) that broadcast as NumPy's do; with axis None ids of one axis."""
    shape = draw(draws.shapes(1, 3, draws.SOME))
    axis = draw(draws.axes(len(shape), ("none", "int")))
    own = [math.prod(shape)] if axis is None else [draw(st.sampled_from([n, 1])) for n in shape]
    n = own[0] if axis is None else shape[axis]
    own[axis or 0] = draw(st.integers(0, n))
    full = own if axis is None else [*shape]
    full[axis or 0] = own[axis or 0]
    x, values = draw(draws.floats(shape, draw(draws.narrower(tuple(full)))))
    first = draws.generator(draw).permutation(n)[: own[axis or 0]]
    ids = np.moveaxis(
        np.broadcast_to(first, np.moveaxis(np.empty(own), axis or 0, -1).shape), -1, axis or 0
    )
    return draws.Call((x, ids, values), {"axis": axis})


@st.composite
def flattened(draw):
    """An array and ids of one axis into it, flattened."""
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, draws.SOME))))
    ids = draw(draws.integers((draw(st.integers(0, 5)),), -x.size, x.size))
    return draws.Call((x, ids), {"axis": None})


@st.composite
def masked(draw):
    full, other = draw(draws.broadcastable(2, most=3))
    (x,) = draw(draws.floats(full))
    return draws.Call((x, draw(draws.booleans(other))), {})


def holes(x, seed):
    """`x` with zeros in it."""
    keep = np.random.default_rng(seed).random(x.shape) < 0.6
    return np.where(keep, x, 0.0)


@st.composite
def full_of_holes(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3))))
    return draws.Call((holes(x, draw(st.integers(0, 99))),), {})


@st.composite
def doubled(draw):
    """Some elements more than once."""
    (x,) = draw(draws.floats(draw(draws.shapes(1, 2, draws.SOME))))
    x = np.round(x)
    names = ("return_index", "return_inverse", "return_counts")
    return draws.Call((x,), draw(st.fixed_dictionaries({n: st.booleans() for n in names})))


@st.composite
def doubled_rows(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, (1, 2, 3)))))
    axis = draw(draws.axes(x.ndim, ("int",)))
    n = x.shape[axis]
    x = np.take(x, draws.generator(draw).integers(0, n, n), axis)
    return draws.Call((draw(draws.laid_out(x)),), {"axis": axis})


def unique_along(x, axis):
    return mg.unique(x, True, True, True, axis=axis)


def unique_along_by_numpy(x, axis):
    found, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    return found, first, inverse.ravel(), counts  # NumPy 2.0 gave it more axes


@st.composite
def small_numbers(draw):
    ids = draw(draws.integers((draw(st.integers(0, 9)),), 0, 6))
    (weights,) = draw(draws.floats(ids.shape))
    weights = None if draw(st.booleans()) else weights
    return draws.Call((ids, weights), {"minlength": draw(st.integers(0, 9))})


@st.composite
def reordered(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(least=1, most=3))))
    order = np.array(draw(st.permutations(range(len(x)))), np.int64)
    return draws.Call((x, order, np.argsort(order)), {})


@st.composite
def classes(draw, stated):
    count = draw(st.sampled_from(draws.SOME))
    ids = draw(draws.integers(draw(draws.shapes(least=0 if stated else 1, most=3)), 0, count))
    if not stated:
        assume(ids.size)
    return draws.Call((ids,), {"num_classes": count if stated else -1})


@st.composite
def matrix(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(2, 2))))
    return draws.Call((x, draw(st.integers(-4, 4))), {})


@st.composite
def ranged(draw):
    ids = draw(draws.integers(draw(draws.shapes(most=2)), -3, 3))
    return draws.Call((ids,), {"name": "an op", "n": 3})


@st.composite
def filled(draw):
    (x, ids), params = draw(draws.picked(flat=False))
    value = np.array(0.7) if draw(st.booleans()) else 2
    return draws.Call((x, ids, value), params)


@st.composite
def put_into(draw, last=False):
    """x, an index that names no place twice unless `accumulate`, and values that broadcast."""
    (x,) = draw(draws.floats(draw(draws.shapes(most=3))))
    index, accumulate = draw(draws.indices(x.shape)), draw(st.booleans())
    places = np.arange(x.size).reshape(x.shape)[index]
    assume(accumulate or np.unique(places).size == places.size)
    (values,) = draw(draws.floats(draw(draws.narrower(places.shape))))
    params = {"accumulate": accumulate}
    if last:
        return draws.Call((x, values), params | {"index": index})
    values = values if draw(st.integers(0, 3)) else 0.5
    return draws.Call((x, index, values), params)


CASES = [
    # indexing
    Case(mg.getitem, naive.getitem, draws.indexed()),
    Case(mg.getitem, naive.getitem, mixed()),
    Case(spread, naive.spread, draws.spread_at()),
    Case(mg.take, naive.take, draws.picked()),
    Case(mg.index_select, naive.index_select, draws.picked(flat=False)),
    Case(mg.embedding, naive.embedding, draws.looked_up()),
    Case(mg.embedding_grad, naive.embedding_grad, draws.counted_up()),
    Case(mg.index_add, naive.index_add, draws.written(repeated=True)),
    Case(mg.index_add, loops.index_add, one_number()),
    Case(mg.index_set, naive.index_set, draws.written(repeated=False)),
    Case(mg.index_set, loops.index_set, one_number()),
    Case(indexing._in_range, loops.in_range, ranged()),
    Case(mg.index_fill, loops.index_fill, filled()),
    Case(mg.index_put, loops.index_put, put_into()),
    Case(put_at, loop_put_at, put_into(last=True)),
    Case(mg.gather, naive.gather, draws.gathered()),
    Case(mg.take_along_axis, naive.take_along_axis, draws.gathered(broadcasting=True)),
    Case(mg.take_along_axis, loops.take_along_axis, flattened()),
    Case(mg.scatter, naive.scatter, draws.scattered()),
    Case(mg.scatter, loops.scatter, put(repeated=False)),
    Case(mg.put_along_axis, loops.put_along_axis, put_broadcast()),
    Case(mg.scatter_add, loops.scatter_add, put(repeated=True)),
    Case(indexing._scatter_add, naive.scatter_add, draws.scattered(summing=True)),
    Case(reorder_rows, loops.reorder_rows, reordered()),
    # shapes that depend on values
    Case(mg.masked_select, loops.masked_select, masked()),
    Case(mg.nonzero, loops.nonzero, full_of_holes(), order=0),
    Case(mg.where, loops.nonzero, full_of_holes(), order=0),
    Case(mg.argwhere, loops.argwhere, full_of_holes(), order=0),
    Case(mg.flatnonzero, loops.flatnonzero, full_of_holes(), order=0),
    Case(mg.unique, loops.unique, doubled(), order=0),
    Case(unique_along, unique_along_by_numpy, doubled_rows(), order=0),
    Case(mg.bincount, loops.bincount, small_numbers()),
    Case(tril_indices, loops.tril_indices, matrix()),
    Case(triu_indices, loops.triu_indices, matrix()),
    Case(mg.one_hot, loops.one_hot, classes(stated=True)),
    Case(mg.one_hot, loops.one_hot, classes(stated=False)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {
    "spread": "_spread",
    "put_at": "_put",
    "getitem": "_getitem",
    "reorder_rows": "_reorder_rows",
}
