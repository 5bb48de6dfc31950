"""Arrays put together and taken apart: as NumPy's."""

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from strategies import Call

import minigrad as mg
from cases.case import Case


@st.composite
def turned(draw, least):
    return Call(tuple(draw(draws.floats(draw(draws.shapes(least, 4))))), {})


@st.composite
def rolled(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1))))
    start = draw(st.integers(-x.ndim, x.ndim))
    return Call((x,), {"axis": draw(draws.axes(x.ndim, ("int",))), "start": start})


@st.composite
def cut(draw, axis, least):
    (x,) = draw(draws.floats(draw(draws.shapes(least, max(least, 3), (1, 2, 4, 0)))))
    n = x.shape[axis]
    even = [k for k in (1, 2, 4) if n % k == 0]
    at = st.lists(st.integers(0, n), max_size=3).map(sorted)
    return Call((x, draw(st.sampled_from(even) | at)), {})


@st.composite
def appended(draw):
    shape = list(draw(draws.shapes(1, 3)))
    axis = draw(draws.axes(len(shape), ("none", "int")))
    longer = list(shape)
    longer[axis or 0] = draw(st.integers(0, 3))
    other = tuple(longer) if axis is not None else draw(draws.shapes(0, 2))
    return Call(tuple(draw(draws.floats(tuple(shape), other))), {"axis": axis})


@st.composite
def places(draw, n, least):
    """An index, or several in one of the forms there are."""
    end = n if least else n - 1
    one = st.integers(-n, end) if end >= -n else st.nothing()
    forms = [st.lists(one, max_size=4) if n or least else st.just([])]
    forms += [one] if n or least else []
    forms += [st.sampled_from([slice(None, None, 2), slice(1, -1), slice(None, None, -1)])]
    forms += [st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)] if n else []
    return draw(draw(st.sampled_from(forms)))


@st.composite
def deleted(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3))))
    axis = draw(draws.axes(x.ndim, ("none", "int")))
    n = x.size if axis is None else x.shape[axis]
    return Call((x,), {"obj": draw(places(n, False)), "axis": axis})


@st.composite
def inserted(draw):
    shape = list(draw(draws.shapes(1, 3, draws.SOME)))
    axis = draw(draws.axes(len(shape), ("int",)))
    obj = draw(places(shape[axis], True))
    several = np.size(np.arange(shape[axis])[obj]) if isinstance(obj, slice) else np.size(obj)
    several = np.count_nonzero(obj) if isinstance(obj, np.ndarray) else several
    longer = list(shape)
    longer[axis] = several
    values = draw(st.sampled_from([(), tuple(longer)])) if np.ndim(obj) else ()
    x, v = draw(draws.floats(tuple(shape), values))
    return Call((x, v), {"obj": obj, "axis": axis})


def delete(x, obj, axis):
    return mg.delete(x, obj, axis)


def insert(x, values, obj, axis):
    return mg.insert(x, obj, values, axis)


@st.composite
def blocks(draw):
    n, m, k, l = (draw(st.sampled_from((1, 2, 3, 0))) for _ in "nmkl")
    return Call(tuple(draw(draws.floats((n, k), (n, l), (m, k + l)))), {})


def block(a, b, c):
    return mg.block([[a, b], [c]])


@st.composite
def vectors(draw):
    n = draw(st.integers(0, 3))
    return Call(tuple(draw(draws.floats((n,), (n,), ()))), {})


def r_(a, b, c):
    return mg.r_[a, 1:3, b, c, 0.5, 0:1:3j]


def c_(a, b, c):
    return mg.c_[a, b]


CASES = [
    Case(mg.fliplr, np.fliplr, turned(2)),
    Case(mg.flipud, np.flipud, turned(1)),
    Case(mg.rollaxis, np.rollaxis, rolled()),
    Case(mg.vsplit, np.vsplit, cut(0, 2)),
    Case(mg.hsplit, np.hsplit, cut(1, 2)),
    Case(mg.hsplit, np.hsplit, cut(-1, 1).filter(lambda call: call.inputs[0].ndim == 1)),
    Case(mg.dsplit, np.dsplit, cut(2, 3)),
    Case(mg.append, np.append, appended()),
    Case(delete, np.delete, deleted()),
    Case(insert, lambda x, values, obj, axis: np.insert(x, obj, values, axis), inserted()),
    Case(block, lambda a, b, c: np.block([[a, b], [c]]), blocks()),
    Case(r_, lambda a, b, c: np.r_[a, 1:3, b, c, 0.5, 0:1:3j], vectors()),
    Case(c_, lambda a, b, c: np.c_[a, b], vectors()),
]

# What the table names under another name.
ALIASES: dict[str, str] = {}
