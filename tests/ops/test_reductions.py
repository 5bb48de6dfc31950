"""Reductions: the conventions, extremes, dtypes and errors that the table of ops does not show."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import ShapeError
from minigrad.testing import check_op

NAN, INF = math.nan, math.inf


def gradient_of(function, x, **options):
    x = tracked(x)
    return mg.gradients(mg.sum(function(x)), x, **options).detach().numpy()


def tracked(x):
    return Tensor(to_device(np.asarray(x)), requires_grad=True)


# ---------------------------------------------------------------------------- conventions


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (mg.std, [2, 2, 2], [0, 0, 0]),
        (lambda x: mg.std(x, axis=1), [[2, 2], [1, 3]], [[0, 0], [-0.5, 0.5]]),
        (mg.norm, [0, 0], [0, 0]),
        (mg.norm, [[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        (lambda x: mg.norm(x, axis=1), [[0, 0], [3, 4]], [[0, 0], [0.6, 0.8]]),
        (lambda x: mg.norm(x, 1), [0, -2], [0, -1]),
        (lambda x: mg.norm(x, 3), [0, 0], [0, 0]),
        (lambda x: mg.norm(x, 1.5), [0, 2], [0, 1]),
        (lambda x: mg.norm(x, 0.5), [0, 2], [0, 1]),
        (lambda x: mg.norm(x, -1), [0, 2], [0, 0]),
        (lambda x: mg.norm(x, INF), [0, 0], [0, 0]),
        (lambda x: mg.norm(x, INF), [3, -3, 1], [0.5, -0.5, 0]),
        (lambda x: mg.norm(x, -INF), [3, -1, 1], [0, -0.5, 0.5]),
        (lambda x: mg.norm(x, 1), [[1, 3], [-3, 1]], [[0.5, 0.5], [-0.5, 0.5]]),
        (lambda x: mg.norm(x, "nuc"), [[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        (lambda x: mg.norm(x, 2), [[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        (mg.median, [3, 1, 2], [0, 0, 1]),
        (mg.median, [4, 1, 3, 2], [0, 0, 0.5, 0.5]),
        (mg.median, [2, 1, 2, 2, 3], [0, 0, 1, 0, 0]),
        (lambda x: mg.quantile(x, 0.25), [1, 5], [0.75, 0.25]),
        (lambda x: mg.quantile(x, 0.25, method="nearest"), [1, 5], [1, 0]),
        (lambda x: mg.quantile(x, [0, 1]), [1, 5], [1, 1]),
        (mg.amax, [1, NAN, NAN], [0, 0.5, 0.5]),
        (mg.amin, [1, NAN, 0], [0, 1, 0]),
        (lambda x: mg.max(x, axis=1), [[1, 1], [NAN, 0]], [[0.5, 0.5], [1, 0]]),
        (mg.ptp, [1, 1], [0, 0]),
        (mg.nansum, [1, NAN], [1, 0]),
        (mg.nanmean, [1, NAN, 3], [0.5, 0, 0.5]),
        (mg.nanmean, [NAN, NAN], [0, 0]),
        (mg.prod, [2, 0, 3], [0, 6, 0]),
        (mg.prod, [2, 0, 0], [0, 0, 0]),
        (mg.prod, [0], [1]),
        (lambda x: mg.prod(x, axis=(0, 1)), [[2, 0], [3, 4]], [[0, 24], [0, 0]]),
        (mg.cumprod, [2, 0, 3], [1, 8, 0]),
        (mg.cumprod, [0, 0, 3], [1, 0, 0]),
        (mg.cumsum, [[1, 2], [3, 4]], [[4, 3], [2, 1]]),
    ],
)
def test_derivative_at_a_kink(function, at, expected):
    at = np.array(at, float)
    np.testing.assert_allclose(gradient_of(function, at), expected)
    np.testing.assert_allclose(gradient_of(function, at, create_graph=True), expected)


@pytest.mark.parametrize("zeros", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("function", [mg.prod, mg.cumprod])
def test_products_with_zeros_to_second_order(function, zeros):
    x = np.array([0.0] * zeros + [1.5, -0.7, 2.0, 1.2][zeros:])
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        check_op(function, to_device(x[order]))


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (mg.std, [2, 2]),
        (mg.norm, [0, 0]),
        (lambda x: mg.norm(x, 3), [0, 0]),
        (lambda x: mg.norm(x, 1.5), [0, 1]),
    ],
)
def test_second_derivatives_are_finite_where_the_first_has_a_kink(function, at):
    x = tracked(np.array(at, float))
    g = mg.gradients(function(x), x, create_graph=True)
    assert np.isfinite(mg.gradients(mg.sum(g), x).numpy()).all()


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (mg.sum, [], 0),
        (mg.prod, [], 1),
        (mg.nansum, [], 0),
        (mg.count_nonzero, [], 0),
        (mg.any, [], False),
        (mg.all, [], True),
        (mg.norm, [], 0),
        (mg.logsumexp, [], -INF),
        *((f, [], NAN) for f in (mg.mean, mg.var, mg.std, mg.median, mg.nanmean)),
        (lambda x: mg.sum(x, axis=1), np.ones((2, 0)), [0, 0]),
        (lambda x: mg.mean(x, axis=1), np.ones((2, 0)), [NAN, NAN]),
        (lambda x: mg.mean(x, axis=0), np.ones((2, 0)), []),
        (lambda x: mg.max(x, axis=0), np.ones((2, 0)), []),
        (lambda x: mg.var(x, correction=1), [2], NAN),
        (lambda x: mg.std(x, ddof=1), [2], NAN),
        (lambda x: mg.var(x, correction=3), [2, 3], NAN),
        (mg.median, [1, NAN, 3], NAN),
        (mg.median, [INF, INF], INF),
        (mg.median, [1e308, 1.2e308], 1.1e308),
        (lambda x: mg.quantile(x, [0.0, 1.0]), [1, NAN, 3], [NAN, NAN]),
        (lambda x: mg.quantile(x, [[0.0, 0.5], [0.5, 1.0]]), [1, 3], [[1, 2], [2, 3]]),
        (lambda x: mg.norm(x, -1), [0, 2], 0),
        (lambda x: mg.norm(x, 0), [0, 2, 3], 2),
        (mg.prod, [0, 1e200, 1e200], 0),
        (mg.cumprod, [1e-200, 1e200, 1e200], [1e-200, 1, 1e200]),
        (mg.nanmean, [NAN], NAN),
        (mg.logsumexp, [NAN, 0], NAN),
        (mg.argmax, [1, NAN, 3], 1),
    ],
)
def test_value_at_an_extreme(function, x, expected):
    found = function(to_device(np.array(x, float)))
    np.testing.assert_allclose(Tensor(found).numpy(), expected)


def test_axis_and_options_may_be_given_in_numpys_ways():
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(mg.sum(x, 0), x.sum(0))
    np.testing.assert_allclose(mg.sum(x, [0, 1]), x.sum())
    np.testing.assert_allclose(mg.sum(x, ()), x)
    np.testing.assert_allclose(mg.cumsum(x, 1), x.cumsum(1))
    np.testing.assert_allclose(mg.quantile(x, 0.3, 0), np.quantile(x, 0.3, 0))
    np.testing.assert_allclose(mg.quantile(x, (0.3,), (0, 1), True), [[[3.3]]])
    np.testing.assert_allclose(mg.norm(x, "fro", (0, 1), True), [[np.linalg.norm(x)]])
    np.testing.assert_allclose(mg.norm(x, 1, (1, 0)), np.linalg.norm(x, 1, (1, 0)))
    np.testing.assert_allclose(mg.norm(x[0], np.int64(3)), np.linalg.norm(x[0], 3))
    np.testing.assert_allclose(mg.trace(x, 1), np.trace(x, 1))
    assert mg.amax is mg.max


# --------------------------------------------------------------------------------- dtypes

FRACTIONS = (mg.mean, mg.var, mg.std, mg.norm, mg.median, mg.logsumexp, mg.nanmean)
WHOLE = (mg.sum, mg.prod, mg.cumsum, mg.cumprod, mg.nansum, mg.trace)
FLOATS = (*FRACTIONS, *WHOLE, mg.max, mg.min, mg.ptp, lambda x: mg.quantile(x, [0.1, 0.7]))


@pytest.mark.parametrize("dtype", ["?", "u1", "i4", "i8"])
def test_integers(dtype):
    x = np.array([[1, 0], [1, 1]], dtype)
    assert {f(x).dtype for f in FRACTIONS} == {np.dtype("f4")}
    assert {f(x).dtype for f in WHOLE} == {np.dtype("u8" if dtype == "u1" else "i8")}
    assert mg.max(x).dtype == x.dtype
    assert mg.count_nonzero(x).dtype == mg.argmin(x).dtype == np.int64
    np.testing.assert_allclose(mg.var(x), np.var(x), rtol=1e-6)
    np.testing.assert_allclose(mg.norm(x), math.sqrt(3), rtol=1e-6)


def test_the_mean_of_many_truths_is_exact():
    x = np.ones((2**25 + 2, 1), bool)  # in float32 they could not all be counted one by one
    x[-1] = False
    assert mg.mean(x, axis=0) == np.float32((2**25 + 1) / (2**25 + 2))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("function", FLOATS)
def test_floats_keep_their_dtype(function, dtype):
    x = tracked(np.array([[1, 2], [3, 5]], dtype))
    assert function(x).dtype == x.dtype
    for create_graph in (False, True):
        g = mg.gradients(mg.sum(function(x)), x, create_graph=create_graph)
        assert g.dtype == x.dtype
        exact = gradient_of(function, np.array([[1.0, 2], [3, 5]]))
        np.testing.assert_allclose(g.detach().numpy(), exact, rtol=5e-3, atol=2e-3)


def test_half_precision_is_added_and_multiplied_in_single():
    x = np.ones(5000, np.float16)  # one by one it would stop at 2048
    assert mg.cumsum(x)[-1] == 5000
    assert mg.norm(x * np.float16(300)) == np.float16(300 * math.sqrt(5000))
    assert mg.std(np.array([-60000, 60000], "f2")) == np.float16(60000)
    assert mg.var(np.array([1, -1] * 3000, "f2")) == 1
    assert mg.median(np.array([60000, 65000], "f2")) == 62496
    tiny = np.array([1e-4, 1e-4, 1e4, 1e4], "f2")  # the first two alone give 0
    np.testing.assert_allclose(mg.prod(tiny), 1, rtol=2e-3)
    np.testing.assert_allclose(mg.cumprod(tiny)[-1], 1, rtol=2e-3)
    np.testing.assert_allclose(mg.logsumexp(np.zeros(5000, "f2")), math.log(5000), rtol=1e-3)


@pytest.mark.parametrize("function", [mg.sum, mg.mean, mg.prod, mg.cumsum, mg.cumprod])
def test_a_dtype_can_be_asked_for(function):
    x = tracked(np.array([1.5, 2, 3], "f4"))
    y = function(x, dtype="float64")
    assert y.dtype == np.float64
    same = function(np.array([1.5, 2, 3]))
    np.testing.assert_allclose(y.detach().numpy(), same)
    g = mg.gradients(mg.sum(y), x)
    assert g.dtype == np.float32
    np.testing.assert_allclose(g.numpy(), gradient_of(function, np.array([1.5, 2, 3])), rtol=1e-6)
    assert function(np.arange(3), dtype=np.float32).dtype == np.float32
    assert function(np.ones(3, "f4"), dtype=np.float16).dtype == np.float16


# --------------------------------------------------------------------------------- errors

X, EMPTY = np.ones((2, 3)), np.ones((2, 0))
REDUCTIONS = (
    *(mg.sum, mg.mean, mg.var, mg.std, mg.prod, mg.max, mg.min, mg.ptp, mg.nansum, mg.nanmean),
    *(mg.logsumexp, mg.median, mg.norm, mg.cumsum, mg.cumprod, mg.argmax, mg.argmin, mg.any),
    *(mg.all, mg.count_nonzero),
)


@pytest.mark.parametrize("with_history", [False, True])
@pytest.mark.parametrize("function", REDUCTIONS, ids=lambda f: f.__name__)
def test_an_axis_out_of_range_is_refused_by_name(function, with_history):
    x = Tensor(X, requires_grad=True) if with_history else X
    for kind in (ShapeError, IndexError):
        with pytest.raises(kind, match=f"^{function.__name__}: axis 2 "):
            function(x, axis=2)


@pytest.mark.parametrize("with_history", [False, True])
@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda x: mg.sum(x, (0, -2)), ShapeError, "sum|repeated axis"),
        (lambda x: mg.max(x[:0]), ShapeError, "max|zero-size|(0, 3)"),
        (lambda x: mg.argmax(x[:0]), ShapeError, "argmax|empty"),
        (lambda x: mg.var(x, correction=1, ddof=1), ValueError, "var|correction|ddof|not both"),
        (lambda x: mg.quantile(x, 1.5), ValueError, "quantile|0 to 1|1.5"),
        (lambda x: mg.quantile(x, [0.5, NAN]), ValueError, "quantile|0 to 1|nan"),
        (lambda x: mg.quantile(x, 0.5, method="best"), ValueError, "quantile|midpoint|'best'"),
        (lambda x: mg.quantile(x[:0], 0.5), ShapeError, "quantile|no elements|(0, 3)"),
        (lambda x: mg.quantile(x, Tensor([0.5])), TypeError, "quantile|'q'|static"),
        (lambda x: mg.cumsum(x, 0, dtype=complex), TypeError, "cumsum|complex"),
        (lambda x: mg.sum(x, 0, dtype="O"), TypeError, "sum|O"),
        (lambda x: mg.argmax(None), TypeError, "NoneType"),
        (lambda x: mg.norm(x[0], "fro"), ValueError, "norm|vectors|'fro'"),
        (lambda x: mg.norm(x, 3), ValueError, "norm|matrices|3"),
        (lambda x: mg.norm(x, "max"), ValueError, "norm|matrices|'max'"),
        (lambda x: mg.norm(x[None], 2), ShapeError, "norm|one axis|two|(1, 2, 3)"),
        (lambda x: mg.norm(x, 2, (0, 0)), ShapeError, "norm|repeated"),
        (lambda x: mg.norm(x[:0, 0], INF), ShapeError, "zero-size"),
        (lambda x: mg.trace(x[0]), ShapeError, "diagonal|axis 1"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, error, fragments, with_history):
    with pytest.raises(error) as caught:
        call(Tensor(X, requires_grad=True) if with_history else X)
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)
