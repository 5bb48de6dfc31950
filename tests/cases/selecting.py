"""Choosing by conditions, by membership and by rank: as NumPy's."""

import math

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from strategies import Call

import minigrad as mg
from cases.case import Case


@st.composite
def conditions(draw):
    c, d, a, b, e = draw(draws.broadcastable(5, most=2))
    return Call((*map(draw, map(draws.booleans, (c, d))), *draw(draws.floats(a, b, e))), {})


def select(c, d, a, b, default):
    return mg.select([c, d], [a, b], default)


@st.composite
def masked(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(0, 3))))
    return Call((draw(draws.booleans(x.shape)), x), {})


@st.composite
def compressed(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3))))
    axis = draw(draws.axes(x.ndim, ("none", "int")))
    n = x.size if axis is None else x.shape[axis]
    return Call((draw(draws.booleans((draw(st.integers(0, n)),))), x), {"axis": axis})


@st.composite
def members(draw):
    shape, known = (draw(draws.shapes(most=2)) for _ in "ab")
    found = [draw(draws.integers(s, -3, 4)) for s in (shape, known)]
    if draw(draws.half_the_time):
        found = [x * 0.5 for x in found]
        found[0] = np.where(found[0] == 1, np.nan, found[0])
        found[1] = np.where(found[1] == 1, np.nan, found[1])
    return Call(tuple(found), {"invert": draw(draws.half_the_time)})


@st.composite
def ranked(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, draws.SOME))))
    axis = draw(draws.axes(x.ndim, ("none", "int")))
    n = x.size if axis is None else x.shape[axis]
    every = tuple(range(n))  # which only what is sorted is a partition for
    return Call((x,), {"kth": every, "axis": axis})


@st.composite
def keyed(draw):
    shape = (draw(st.integers(1, 3)), *draw(draws.shapes(1, 2)))
    keys = draw(draws.integers(shape, 0, 3))
    return Call((keys,), {"axis": draw(draws.axes(len(shape) - 1, ("int",)))})


@st.composite
def flat_ids(draw):
    shape = draw(draws.shapes(1, 3, draws.SOME))
    ids = draw(draws.integers(draw(draws.shapes(most=2)), 0, math.prod(shape)))
    return Call((ids,), {"shape": shape})


@st.composite
def many_ids(draw):
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    beyond = 0 if mode == "raise" else 3
    shape = draw(draws.shapes(1, 3, draws.SOME))
    own = draw(draws.broadcastable(len(shape), most=2))
    ids = [draw(draws.integers(s, -beyond, n + beyond)) for s, n in zip(own, shape, strict=True)]
    return Call(tuple(ids), {"dims": shape, "mode": mode, "fastest": draw(st.sampled_from("CF"))})


def unravel_from_the_front(ids, shape):
    return mg.unravel_index(ids, shape, "F")


def ravel_multi_index(*ids, dims, mode, fastest):
    return mg.ravel_multi_index(ids, dims, mode, fastest)


def ravel_multi_index_by_numpy(*ids, dims, mode, fastest):
    return np.ravel_multi_index(ids, dims, mode, fastest)


CASES = [
    Case(select, lambda c, d, a, b, e: np.select([c, d], [a, b], e), conditions()),
    Case(mg.extract, np.extract, masked()),
    Case(mg.compress, np.compress, compressed()),
    Case(mg.isin, np.isin, members()),
    Case(mg.partition, np.partition, ranked()),
    Case(mg.argpartition, np.argpartition, ranked()),
    Case(mg.lexsort, np.lexsort, keyed()),
    Case(mg.unravel_index, np.unravel_index, flat_ids()),
    Case(unravel_from_the_front, lambda i, shape: np.unravel_index(i, shape, "F"), flat_ids()),
    Case(ravel_multi_index, ravel_multi_index_by_numpy, many_ids()),
]

# What the table names under another name.
ALIASES: dict[str, str] = {
    "unravel_index": "_unraveled", "ravel_multi_index": "_raveled",
}  # fmt: skip
