"""Differences, slopes, areas, running sums, lines through points, shifted products: as NumPy's."""

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from strategies import Call

import minigrad as mg
from cases.case import Case


@st.composite
def apart(draw, ends=False):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3)), repeats=True))
    axis = draw(draws.axes(x.ndim, ("int",)))
    params = {"n": draw(st.integers(0, 3)), "axis": axis}
    if not ends:
        return Call((x,), params)
    shape = list(x.shape)
    shape[axis] = draw(st.integers(0, 2))
    before, after = draw(draws.floats(tuple(shape), ()))
    return Call((x, before, after), params)


def diff_with_ends(x, before, after, n, axis):
    return mg.diff(x, n, axis, prepend=before, append=after)


def diff_with_ends_by_numpy(x, before, after, n, axis):
    return np.diff(x, n, axis, prepend=before, append=after)


@st.composite
def sampled(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, (3, 4, 5, 7)))))
    params = {"edge_order": draw(st.sampled_from([1, 2]))}
    if draw(draws.half_the_time):
        params["axis"] = draw(draws.axes(x.ndim, ("none", "int")))
    return Call((x,) if draw(draws.half_the_time) else (x, 0.5), params)


@st.composite
def sampled_anywhere(draw):
    """Samples, and their coordinates along an axis."""
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, (2, 3, 4, 5)))))
    axis = draw(draws.axes(x.ndim, ("int",)))
    return Call((x, draw(rising(x.shape[axis]))), {"axis": axis})


@st.composite
def rising(draw, n):
    steps = draws.generator(draw).uniform(0.5, 1.5, n)
    return draw(draws.laid_out(np.cumsum(steps) - 1))


def gradient_along(f, x, axis):
    return mg.gradient(f, x, axis=axis)


@st.composite
def below(draw):
    (y,) = draw(draws.floats(draw(draws.shapes(1, 3))))
    axis = draw(draws.axes(y.ndim, ("int",)))
    kind = draw(st.sampled_from(["dx", "line", "all"]))
    if kind == "dx":
        return Call((y,), {"dx": 0.5, "axis": axis})
    shape = (y.shape[axis],) if kind == "line" else y.shape
    return Call((y, *draw(draws.floats(shape))), {"axis": axis})


@st.composite
def running(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(0, 3))))
    params = {"include_initial": draw(draws.half_the_time)}
    if x.ndim > 1 or (x.ndim and draw(draws.half_the_time)):
        params["axis"] = draw(draws.axes(x.ndim, ("int",)))
    return Call((x,), params)


def cumulative(name):
    """NumPy's functions of these names came with 2.1."""

    def function(x, axis=None, include_initial=False):
        x, axis = np.atleast_1d(x), axis or 0
        y = getattr(np, name)(x, axis=axis)
        if not include_initial:
            return y
        first = np.full_like(np.take(y, [0] * 0, axis), 0)
        shape = list(first.shape)
        shape[axis] = 1
        return np.concatenate([np.full(shape, name == "cumprod", float), y], axis)

    return function


@st.composite
def powers(draw):
    (x,) = draw(draws.floats((draw(st.integers(0, 4)),)))
    N = draw(st.sampled_from([None, 0, 1, 2, 4]))
    return Call((x,), {"N": N, "increasing": draw(draws.half_the_time)})


@st.composite
def between(draw, periodic=False):
    """Points, and places between and beyond them, none at a point."""
    n = draw(st.integers(1, 5))
    points = np.arange(n) + draws.generator(draw).uniform(0, 0.3, n)
    (values,) = draw(draws.floats((n,)))
    shape = draw(draws.shapes(most=2))
    random_ = draws.generator(draw)
    places = random_.integers(-2, n + 1, shape) + random_.uniform(0.4, 0.9, shape)
    params = {}
    if periodic:
        points, params = random_.permutation(points), {"period": float(n)}
    elif draw(draws.half_the_time):
        params = {"left": -1.5, "right": 2}
    return Call((draw(draws.laid_out(places)), points, values), params)


@st.composite
def two_sequences(draw):
    n, m = (draw(st.integers(1, 6)) for _ in "nm")
    params = {"mode": draw(st.sampled_from(["full", "same", "valid"]))}
    return Call(tuple(draw(draws.floats((n,), (m,)))), params)


CASES = [
    Case(mg.diff, np.diff, apart()),
    Case(diff_with_ends, diff_with_ends_by_numpy, apart(ends=True)),
    Case(mg.gradient, np.gradient, sampled()),
    Case(gradient_along, lambda f, x, axis: np.gradient(f, x, axis=axis), sampled_anywhere()),
    Case(mg.trapezoid, np.trapezoid, below()),
    Case(mg.cumulative_sum, cumulative("cumsum"), running()),
    Case(mg.cumulative_prod, cumulative("cumprod"), running()),
    Case(mg.vander, np.vander, powers()),
    Case(mg.interp, np.interp, between()),
    Case(mg.interp, np.interp, between(periodic=True)),
    Case(mg.convolve, np.convolve, two_sequences()),
    Case(mg.correlate, np.correlate, two_sequences()),
]

# What the table names under another name.
ALIASES: dict[str, str] = {}
