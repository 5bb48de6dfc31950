"""Reading and writing at indices, sorting."""

import naive
import strategies as draws

import minigrad as mg
from cases.case import Case
from minigrad.ops import indexing


def spread(g, *, index, shape):
    template, arrays = draws.template_of(index)
    return indexing._spread(g, *arrays, template=template, shape=shape)


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
    Case(mg.scatter_add, naive.scatter_add, draws.scattered(summing=True)),
    Case(mg.one_hot, naive.one_hot, draws.classes()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"spread": "_spread", "getitem": "_getitem"}
