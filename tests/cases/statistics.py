"""Statistics: as NumPy's."""

import warnings

import numpy as np
import strategies as draws
from hypothesis import assume
from hypothesis import strategies as st
from strategies import Call

import minigrad as mg
from cases.case import Case
from cases.reductions import NAN, ranked, running, with_some


def quietly(function):
    """NumPy's function without its warnings of lines that are all NaN."""

    def quiet(*inputs, **params):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*inputs, **params)

    return quiet


def in_percent(call):
    q = call.params["q"]
    q = [100 * v for v in q] if isinstance(q, tuple | list) else 100 * q
    return Call(call.inputs, call.params | {"q": q})


@st.composite
def weighted(draw, like_axis=False):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, draws.SOME))))
    axis = draw(draws.axes(x.ndim, ("int", "tuple") if like_axis else ("none", "int", "tuple")))
    axes = axis if isinstance(axis, tuple) else (axis,)
    shape = tuple(x.shape[a] for a in axes) if like_axis else x.shape
    (w,) = draw(draws.floats(shape, signed=False))
    params = {"axis": axis, "keepdims": draw(draws.half_the_time)}
    return Call((x, w), params)


def average(x, w, axis, keepdims):
    return mg.average(x, axis, w, returned=True, keepdims=keepdims)


def average_by_numpy(x, w, axis, keepdims):
    """NumPy took weights like several axes from 2.1 on."""
    if w.shape != x.shape:
        axes = axis if isinstance(axis, tuple) else (axis,)
        axes = [a % x.ndim for a in axes]
        w = w.transpose(np.argsort(axes)) if axes else w
        w = w.reshape([n if a in axes else 1 for a, n in enumerate(x.shape)])
    total = np.sum(w * np.ones(x.shape), axis=axis, keepdims=keepdims)
    return np.sum(w * x, axis=axis, keepdims=keepdims) / total, total


@st.composite
def variables(draw, several=True, weights=False):
    n, samples = draw(st.integers(1, 3)), draw(st.integers(4, 6))
    rowvar = draw(draws.half_the_time)
    shape = (n, samples) if rowvar else (samples, n)
    params = {"rowvar": rowvar}
    if several:  # evenly spaced numbers would often be correlated by 1, where there is a kink
        random_ = draws.generator(draw)
        found = [draw(draws.laid_out(random_.uniform(-2, 2, shape))) for _ in "xy"]
        return Call(tuple(found), params)
    if draw(draws.half_the_time) and not weights:
        shape, params = (samples,), {}
    if weights:
        aweights, x = draw(draws.floats((samples,), shape, signed=False))
        return Call((x, draw(draws.integers((samples,), 1, 4)), aweights), params)
    params["bias"] = draw(draws.half_the_time)
    return Call(tuple(draw(draws.floats(shape))), params)


def cov_weighted(x, fweights, aweights, rowvar):
    return mg.cov(x, rowvar=rowvar, fweights=fweights, aweights=aweights)


def cov_weighted_by_numpy(x, fweights, aweights, rowvar):
    return np.cov(x, rowvar=rowvar, fweights=fweights, aweights=aweights)


@st.composite
def counted(draw, weights=False):
    shape = draw(draws.shapes(0, 2))
    found = draw(draws.floats(shape, shape))
    bins = draw(st.sampled_from([1, 3, 4, (-2.5, -0.11, 0.22, 1.17)]))
    params = {"bins": bins}
    # With weights there are derivatives, and with edges that move no number would stay in its bin.
    if isinstance(bins, int) and (weights or draw(draws.half_the_time)):
        params["range"] = (-1.55, 1.77)
    elif isinstance(bins, int):
        # The numbers' own edges may fall on one of them, which float32 then puts beside.
        inner = np.histogram_bin_edges(found[0], bins)[1:-1]
        assume((np.abs(found[0][..., None] - inner) > 1e-4).all())
    return Call(tuple(found) if weights else (found[0],), params)


def histogram_weighted(a, weights, bins, range=None):
    return mg.histogram(a, bins, range, weights=weights)


def histogram_weighted_by_numpy(a, weights, bins, range=None):
    return np.histogram(a, bins, range, weights=weights)


def reduced(**options):
    return draws.reduced(draws.SOME, **options)


def nans(calls):
    return with_some(NAN, calls)


def corrections(calls):
    return calls.map(lambda call: Call(call.inputs, call.params | {"ddof": 1}))


CASES = [
    # what is not NaN
    Case(mg.nanmax, np.nanmax, reduced()),
    Case(mg.nanmax, quietly(np.nanmax), nans(reduced()), order=0),
    Case(mg.nanmin, np.nanmin, reduced()),
    Case(mg.nanmin, quietly(np.nanmin), nans(reduced()), order=0),
    Case(mg.nanprod, np.nanprod, reduced()),
    Case(mg.nanprod, np.nanprod, nans(reduced()), order=0),
    Case(mg.nancumsum, np.nancumsum, running()),
    Case(mg.nancumsum, np.nancumsum, nans(running()), order=0),
    Case(mg.nancumprod, np.nancumprod, running()),
    Case(mg.nancumprod, np.nancumprod, nans(running()), order=0),
    Case(mg.nanvar, quietly(np.nanvar), reduced()),
    Case(mg.nanvar, quietly(np.nanvar), corrections(nans(reduced())), order=0),
    Case(mg.nanstd, np.nanstd, draws.reduced(draws.SEVERAL, least=1, kinds=("none", "int"))),
    Case(mg.nanstd, quietly(np.nanstd), nans(reduced()), order=0),
    # quantiles
    Case(mg.percentile, np.percentile, ranked().map(in_percent)),
    Case(mg.nanquantile, np.nanquantile, ranked()),
    Case(mg.nanquantile, quietly(np.nanquantile), nans(ranked()), order=0),
    Case(mg.nanpercentile, quietly(np.nanpercentile), ranked().map(in_percent)),
    Case(mg.nanmedian, np.nanmedian, reduced()),
    Case(mg.nanmedian, quietly(np.nanmedian), nans(reduced()), order=0),
    # with weights
    Case(average, average_by_numpy, weighted()),
    Case(average, average_by_numpy, weighted(like_axis=True)),
    Case(mg.cov, np.cov, variables(several=False)),
    Case(mg.cov, np.cov, variables()),
    Case(cov_weighted, cov_weighted_by_numpy, variables(several=False, weights=True)),
    Case(mg.corrcoef, np.corrcoef, variables()),
    # histograms
    Case(mg.histogram, np.histogram, counted()),
    Case(histogram_weighted, histogram_weighted_by_numpy, counted(weights=True)),
]

# What the table names under another name.
ALIASES: dict[str, str] = {}
