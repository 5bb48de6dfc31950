"""Sorting and searching."""

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import sorting as loops

import minigrad as mg
from cases.case import Case
from minigrad.ops.sorting import _running_ids, _top_ids


@st.composite
def ordered(draw, least=0):
    """An array and how to sort it."""
    shape = draw(draws.shapes(least, 3))
    (x,) = draw(draws.floats(shape))
    params = {"descending": draw(st.booleans())}
    if shape and draw(st.booleans()):
        params["axis"] = draw(draws.axes(len(shape), ("none", "int")))
    return draws.Call((x,), params)


@st.composite
def topmost(draw):
    shape = draw(draws.shapes(1, 3, draws.SOME))
    axis = draw(draws.axes(len(shape), ("int",)))
    (x,) = draw(draws.floats(shape))
    k = draw(st.integers(0, shape[axis]))
    return draws.Call((x,), {"k": k, "axis": axis, "largest": draw(st.booleans())})


@st.composite
def first_few(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, draws.SOME))))
    k = draw(st.integers(0, x.shape[-1]))
    return draws.Call((x,), {"k": k, "descending": draw(st.booleans())})


@st.composite
def ranked(draw):
    x, params = draw(topmost())
    (x,) = x
    k, axis = draw(st.integers(1, x.shape[params["axis"]])), params["axis"]
    return draws.Call((x,), {"k": k, "axis": axis, "keepdims": draw(st.booleans())})


@st.composite
def so_far(draw, last=False):
    """An array with ties for values alone, without them for gradients, and an axis."""
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3))))
    if last:
        return draws.Call((np.round(x * 2),), {"largest": draw(st.booleans())})
    return draws.Call((x,), {"axis": draw(draws.axes(x.ndim, ("int",)))})


@st.composite
def searched(draw):
    a, v = draw(draws.floats((draw(st.integers(0, 8)),), draw(draws.shapes(most=2))))
    a = np.sort(a)
    if a.size and v.size:
        v = np.array(v)
        v.flat[0] = a[0]
    return draws.Call((a, v), {"side": draw(st.sampled_from(["left", "right"]))})


@st.composite
def binned(draw):
    bins, x = draw(searched()).inputs
    return draws.Call((x, bins), {"right": draw(st.booleans())})


@st.composite
def searched_unsorted(draw):
    call = draw(searched())
    a, v = call.inputs
    turn = draws.generator(draw).permutation(a.size)
    return draws.Call((a[turn], v), call.params | {"sorter": np.argsort(turn).tolist()})


def searchsorted_by(a, v, sorter, side):
    return mg.searchsorted(a, v, side, list(sorter))


def searchsorted_by_numpy(a, v, sorter, side):
    return np.searchsorted(a, v, side, np.array(sorter, int))


CASES = [
    Case(mg.argsort, loops.argsort, ordered()),
    Case(mg.sort, loops.sort, ordered()),
    Case(mg.topk, loops.topk, topmost()),
    Case(_top_ids, loops.top_ids, first_few()),
    Case(mg.kthvalue, loops.kthvalue, ranked()),
    Case(mg.cummax, loops.cummax, so_far()),
    Case(mg.cummin, loops.cummin, so_far()),
    Case(_running_ids, loops.running_ids, so_far(last=True)),
    Case(mg.searchsorted, loops.searchsorted, searched()),
    Case(searchsorted_by, searchsorted_by_numpy, searched_unsorted()),
    Case(mg.digitize, loops.digitize, binned()),
]

# What the table names under another name.
ALIASES: dict[str, str] = {"searchsorted": "_searchsorted"}
