"""Reductions, running sums and products, norms."""

import math

import naive
import numpy as np
import strategies as draws
from hypothesis import assume
from hypothesis import strategies as st
from naive import reductions as loops
from strategies import (
    SOME,
    Call,
    axes,
    floats,
    generator,
    half_the_time,
    integers,
    laid_out,
    shapes,
    written,
)

import minigrad as mg
from cases.case import Case
from minigrad.ops.reductions import _centred, _extreme_at, _length, _recurrence

NAN = float("nan")


@st.composite
def with_some(draw, value, call):
    """A `call` with `value` in place of none, one, two or many of its elements."""
    (x,), params = draw(call)
    flat = x.reshape(-1).copy()
    count = draw(st.sampled_from([0, 1, 2, x.size // 2]))
    flat[generator(draw).permutation(x.size)[:count]] = value
    return Call((draw(laid_out(flat.reshape(x.shape))),), params)


@st.composite
def running(draw):
    """A few elements, and perhaps an axis."""
    (x,) = draw(floats(draw(shapes(most=3)), repeats=True))
    params = draw(st.sampled_from([{}, {"axis": None}]))
    if x.ndim and draw(half_the_time):
        params = {"axis": draw(axes(x.ndim, ("int",)))}
    return Call((x,), params)


@st.composite
def along_one(draw):
    (x,) = draw(floats(draw(shapes(1, 3))))
    return Call((x,), {"axis": draw(axes(x.ndim, ("int",)))})


@st.composite
def _targets(draw, params):
    """(x, ids, values): ids shorter than `x` but for their axis, and often repeated."""
    shape = draw(shapes(1, 3, SOME))
    axis = draw(axes(len(shape), ("int",)))
    own = [draw(st.integers(1, n)) for n in shape]
    own[axis] = draw(st.integers(0, 5))
    x, values = draw(floats(shape, tuple(own)))
    ids = draw(integers(tuple(own), -shape[axis], shape[axis]))
    return Call((x, ids, values), {"axis": axis, "include_self": draw(half_the_time)} | params)


@st.composite
def by_target(draw):
    reduce = draw(st.sampled_from(["prod", "amax", "mean", "sum", "amin"]))
    return draw(_targets({"reduce": reduce}))


@st.composite
def extremes_by_target(draw):
    return draw(_targets({"largest": draw(half_the_time)}))


@st.composite
def slices_by_target(draw):
    call = draw(written(repeated=True))
    reduce = draw(st.sampled_from(["prod", "amax", "mean", "amin"]))
    params = {"reduce": reduce, "include_self": draw(half_the_time)}
    return Call(call.inputs, call.params | params)


@st.composite
def traced(draw):
    (x,) = draw(floats(draw(shapes(2, 3)), repeats=True))
    params = {}
    if draw(half_the_time):
        axis1, axis2 = draw(st.permutations(range(x.ndim)))[:2]
        params = {"axis1": axis1 - x.ndim * draw(half_the_time), "axis2": axis2}
    return Call((x,), params | {"offset": draw(st.sampled_from([0, 1, -1, 2, -5]))})


FRACTIONS = (0, 1, 0.5, 0.25, 0.3, 0.9, 1 / 3)


@st.composite
def ranked(draw):
    call = draw(draws.reduced(draws.SOME))
    q = st.sampled_from(FRACTIONS)
    q = draw(q | st.lists(q, min_size=1, max_size=3).map(tuple))
    method = draw(st.sampled_from(["linear", "lower", "higher", "midpoint", "nearest"]))
    return Call(call.inputs, call.params | {"q": q, "method": method})


@st.composite
def normed(draw):
    """Vectors or matrices, and one of the norms that they have."""
    (x,) = draw(floats(draw(shapes(1, 3, draws.SOME))))
    if draw(half_the_time):
        params = {"ord": None} if draw(half_the_time) else {}
        if draw(half_the_time) or x.ndim == 1:
            ord_ = draw(st.sampled_from([None, 2, 1, 3, 0.5, -1, -2, 1.5, 0, math.inf, -math.inf]))
            params = {"ord": ord_, "axis": draw(axes(x.ndim, ("int",)))}
    elif x.ndim > 1:
        ord_ = draw(st.sampled_from([None, "fro", 1, -1, math.inf, -math.inf]))
        params = {"ord": ord_}
        if x.ndim > 2 or draw(half_the_time):
            a, b = draw(st.permutations(range(x.ndim)))[:2]
            params["axis"] = (a - x.ndim * draw(half_the_time), b)
        if ord_ not in (None, "fro"):  # the largest sum must stay so over a step
            along = params.get("axis", (0, 1))[0 if abs(ord_) == 1 else 1]
            assume(np.all(np.diff(np.sort(np.abs(x).sum(axis=along), axis=None)) > 1e-3))
    else:
        params = {"ord": draw(st.sampled_from([1, 2.0, math.inf]))}
    return Call((x,), params | {"keepdims": draw(half_the_time)})


@st.composite
def spectral(draw):
    """Matrices whose singular values are apart, and a norm made of those."""
    n, m = draw(st.sampled_from([(2, 2), (2, 3), (3, 1), (1, 1), (1, 2)]))
    lead = draw(shapes(most=1, lengths=(1, 2, 3)))
    random_ = generator(draw)
    u = np.linalg.qr(random_.standard_normal((*lead, n, n)))[0]
    v = np.linalg.qr(random_.standard_normal((*lead, m, m)))[0]
    s = np.zeros((n, m))
    np.fill_diagonal(s, [2.0, 1.1])
    x = draw(laid_out(u @ s @ v))
    params = {"ord": draw(st.sampled_from(["nuc", 2, -2])), "keepdims": draw(half_the_time)}
    if lead or draw(half_the_time):
        params["axis"] = (-2, -1)
    return Call((x,), params)


@st.composite
def two_of_one_shape(draw):
    return Call(tuple(draw(floats(*[draw(shapes(1, 3))] * 2))), {})


@st.composite
def by_older_name(draw):
    call = draw(draws.varied())
    correction = call.params.pop("correction")
    return Call(call.inputs, call.params | {"ddof": correction})


@st.composite
def over_axes(draw):
    """An array that is not near 0, and axes."""
    (x,) = draw(floats(draw(shapes(1, 3, draws.SOME))))
    return Call((x,), {"axis": draw(axes(x.ndim))})


CASES = [
    # sums
    Case(mg.sum, naive.sum, draws.reduced(repeats=True)),
    Case(mg.mean, naive.mean, draws.reduced(draws.SOME, repeats=True)),
    Case(mg.var, naive.var, draws.varied()),
    Case(mg.var, loops.var, by_older_name()),
    Case(_centred, loops.centred, over_axes()),
    Case(mg.std, naive.std, draws.varied(draws.SEVERAL, never_empty=True)),
    Case(mg.nansum, loops.nansum, draws.reduced(repeats=True)),
    Case(mg.nansum, loops.nansum, with_some(NAN, draws.reduced()), order=0),
    Case(mg.nanmean, loops.nanmean, draws.reduced(draws.SOME)),
    Case(mg.nanmean, loops.nanmean, with_some(NAN, draws.reduced()), order=0),
    Case(mg.trace, loops.trace, traced()),
    Case(mg.logsumexp, naive.logsumexp, draws.reduced(draws.SOME)),
    Case(mg.logcumsumexp, loops.logcumsumexp, along_one()),
    Case(mg.scatter_reduce, loops.scatter_reduce, by_target()),
    Case(mg.index_reduce, loops.index_reduce, slices_by_target()),
    Case(_extreme_at, loops.extreme_at, extremes_by_target()),
    Case(mg.cumsum, loops.cumsum, running()),
    # products
    Case(mg.prod, loops.prod, draws.reduced(repeats=True)),
    Case(mg.prod, loops.prod, with_some(0.0, draws.reduced(low=0.9, high=1.1))),
    Case(mg.cumprod, loops.cumprod, running()),
    Case(mg.cumprod, loops.cumprod, with_some(0.0, running())),
    Case(_recurrence, loops.recurrence, two_of_one_shape()),
    # extremes
    Case(mg.max, naive.max, draws.reduced(draws.SOME)),
    Case(mg.min, naive.min, draws.reduced(draws.SOME)),
    Case(mg.ptp, loops.ptp, draws.reduced(draws.SOME)),
    Case(mg.argmax, naive.argmax, draws.reduced(draws.SOME, kinds=("none", "int"))),
    Case(mg.argmin, naive.argmin, draws.reduced(draws.SOME, kinds=("none", "int"))),
    Case(mg.any, naive.any, draws.reduced(array=draws.booleans)),
    Case(mg.all, naive.all, draws.reduced(array=draws.booleans)),
    Case(mg.count_nonzero, loops.count_nonzero, with_some(0.0, draws.reduced())),
    # quantiles
    Case(mg.median, loops.median, draws.reduced(draws.SOME)),
    Case(mg.quantile, loops.quantile, ranked()),
    # norms
    Case(mg.norm, loops.norm, normed()),
    Case(mg.norm, loops.norm, spectral()),
    Case(_length, loops.length, draws.reduced(draws.SOME)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"max": "amax", "min": "amin", "median": "_order"}
