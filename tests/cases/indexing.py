"""Reading and writing at indices, sorting."""

import naive
import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import indexing as loops

import minigrad as mg
from cases.case import Case
from minigrad.ops import indexing


def spread(g, *, index, shape):
    template, arrays = draws.template_of(index)
    return indexing._spread(g, *arrays, template=template, shape=shape)


@st.composite
def summed_in(draw):
    """(x, ids, values), ids perhaps repeated."""
    shape = draw(draws.shapes(1, 3, draws.SOME))
    axis = draw(draws.axes(len(shape), ("int",)))
    own = [draw(st.integers(1, n)) for n in shape]
    own[axis] = draw(st.integers(0, 4))
    x, values = draw(draws.floats(shape, tuple(own)))
    ids = draw(draws.integers(tuple(own), -shape[axis], shape[axis]))
    return draws.Call((x, ids, values), {"axis": axis})


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
def small_numbers(draw):
    ids = draw(draws.integers((draw(st.integers(0, 9)),), 0, 6))
    return draws.Call((ids,), {"minlength": draw(st.integers(0, 9))})


CASES = [
    # indexing
    Case(mg.getitem, naive.getitem, draws.indexed()),
    Case(spread, naive.spread, draws.spread_at()),
    Case(mg.take, naive.take, draws.picked()),
    Case(mg.index_select, naive.index_select, draws.picked(flat=False)),
    Case(mg.embedding, naive.embedding, draws.looked_up()),
    Case(mg.embedding_grad, naive.embedding_grad, draws.counted_up()),
    Case(mg.index_add, naive.index_add, draws.written(repeated=True)),
    Case(mg.index_set, naive.index_set, draws.written(repeated=False)),
    Case(mg.gather, naive.gather, draws.gathered()),
    Case(mg.take_along_axis, naive.take_along_axis, draws.gathered(broadcasting=True)),
    Case(mg.scatter, naive.scatter, draws.scattered()),
    Case(mg.put_along_axis, loops.put_along_axis, draws.scattered()),
    Case(mg.scatter_add, loops.scatter_add, summed_in()),
    Case(indexing._scatter_add, naive.scatter_add, draws.scattered(summing=True)),
    # shapes that depend on values
    Case(mg.masked_select, loops.masked_select, masked()),
    Case(mg.nonzero, loops.nonzero, full_of_holes(), order=0),
    Case(mg.argwhere, loops.argwhere, full_of_holes(), order=0),
    Case(mg.flatnonzero, loops.flatnonzero, full_of_holes(), order=0),
    Case(mg.unique, loops.unique, doubled(), order=0),
    Case(mg.bincount, loops.bincount, small_numbers(), order=0),
    Case(mg.one_hot, naive.one_hot, draws.classes()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"spread": "_spread", "getitem": "_getitem"}
