"""What the table of ops cannot show of PyTorch's combined functions and the special functions."""

import math

import numpy as np
import pytest
from scipy import special as scipys

import minigrad as mg
from minigrad.errors import ShapeError


def derivatives(function, *numbers):
    x = mg.tensor(np.array(numbers), requires_grad=True)
    first = mg.gradients(function(x).sum(), x, create_graph=True)
    return first.detach().numpy(), mg.gradients(first.sum(), x).numpy()


def test_derivatives_near_zero_and_far_keep_their_digits():
    at = np.array([0.0, 1e-9, 1e-3, 0.999, 1.001, 30.0])
    first, second = derivatives(mg.i1, *at)
    np.testing.assert_allclose(first, scipys.ivp(1, at), rtol=1e-13)
    np.testing.assert_allclose(second, scipys.ivp(1, at, 2), rtol=1e-12)
    first, _ = derivatives(mg.erfcx, 9.999, 10.001, 1e4, 1e8)
    x = np.array([9.999, 10.001, 1e4, 1e8], np.longdouble)
    series = sum((-1) ** k * math.prod(range(1, 2 * k, 2)) / (2 * x * x) ** k for k in range(1, 14))
    np.testing.assert_allclose(first, (series * 2 / np.sqrt(np.pi)).astype(float), rtol=1e-12)
    first, second = derivatives(mg.log_ndtr, -1e5, -40.0, 1e5)
    np.testing.assert_allclose(first, [1e5 + 1e-5, 40.024968827, 0], rtol=1e-9)
    np.testing.assert_allclose(second, [-1 + 1e-10, -0.99937733, 0], rtol=1e-7)


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (mg.entr, [0.0, -1.0, 1.0], [0, -math.inf, 0]),
        (lambda x: mg.xlog1py(x, -1.0), [0.0], [0]),
        (mg.erfinv, [-1.0, 1.0, 2.0], [-math.inf, math.inf, math.nan]),
        (mg.lgamma, [0.0, -1.0, 171.0, 1e300], [math.inf, math.inf, *scipys.gammaln([171, 1e300])]),
        (lambda x: mg.frexp(x)[0], [5e-324, 0.0, -3.0], [0.5, 0, -0.75]),
        (lambda x: mg.mode(x)[0], [2.0, 1.0, math.nan, math.nan], [1]),
    ],
)
def test_value_at_an_extreme(function, x, expected):
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(np.ravel(function(np.array(x))), expected, atol=0)


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, math.inf, 0])
def test_points_that_are_the_same_have_distance_zero_and_move_nothing(p):
    x = mg.ones((2, 3), requires_grad=True)
    y = mg.cdist(x, mg.ones((1, 3)), p)
    assert not y.detach().numpy().any()
    if p:
        assert not mg.gradients(y.sum(), x).numpy().any()
    assert mg.cdist(mg.ones((2, 0)), mg.ones((3, 0)), p).shape == (2, 3)


def test_with_beta_zero_nothing_is_read():
    x, a = mg.full((2, 2), math.nan), mg.ones((2, 2))
    assert mg.addmm(x, a, a, beta=0).numpy().tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("norm", [1e-3, 1.0, 5.0, 300.0])
def test_exponential_of_large_and_small_matrices(norm):
    from scipy.linalg import expm

    x = np.random.default_rng(0).standard_normal((3, 4, 4))
    x = x * norm / np.abs(x).sum(axis=-1).max() - norm * np.eye(4)
    np.testing.assert_allclose(mg.linalg.matrix_exp(x), expm(x), rtol=1e-8, atol=1e-14)
    assert mg.linalg.matrix_exp(x.astype("f4")).dtype == np.float32
    assert np.isnan(mg.linalg.matrix_exp(np.full((2, 2), np.inf))).all()


def test_a_number_is_a_line_of_one():
    x = mg.tensor(2.0, requires_grad=True)
    ids, one = mg.tensor([0]), mg.tensor(3.0)
    for function, value, slope in [
        (lambda: mg.sum(x, axis=0), 2, 1),
        (lambda: mg.max(x, axis=-1, keepdims=True), 2, 1),
        (lambda: mg.logsumexp(x, axis=0), 2, 1),
        (lambda: mg.softmax(x, axis=0), 1, 0),
        (lambda: mg.index_add(x, ids, one, axis=0), 5, 1),
        (lambda: mg.index_set(x, ids, one, axis=0), 3, 0),
        (lambda: mg.scatter(x, mg.tensor(0), one, axis=0), 3, 0),
        (lambda: mg.scatter_add(x, mg.tensor(0), one, axis=-1), 5, 1),
        (lambda: mg.index_select(x, ids, 0), 2, 1),
        (lambda: mg.gather(x, mg.tensor(0), 0), 2, 1),
        (lambda: mg.take(x, 0, axis=0), 2, 1),
        (lambda: mg.topk(x, 1)[0], 2, 1),
        (lambda: mg.kthvalue(x, 1)[0], 2, 1),
    ]:
        y = function()
        assert (y.shape, y.item(), mg.gradients(y, x).item()) == ((), value, slope)
    for function in (lambda: mg.sum(x, axis=1), lambda: mg.gather(x, ids, 1)):
        with pytest.raises(IndexError):
            function()
    assert mg.argmax(x, axis=0).item() == 0
    assert x.unfold(0, 1, 1).shape == (1,)


def test_shapes_that_do_not_fit_are_told():
    X = np.ones((2, 3))
    for call, words in [
        (lambda: mg.addmm(X, X, X.T @ X), r"x of shape \(2, 3\)|\(2, 3\)"),
        (lambda: mg.addmm(np.ones((5, 2, 3)), X, X.T @ X), r"does not broadcast to \(2, 3\)"),
        (lambda: mg.baddbmm(X, X, X), "3 and 3 axes"),
        (lambda: mg.masked_scatter(X, X > 0, np.ones(5)), "6 elements.*5 in source"),
        (lambda: mg.slice_scatter(X, X, 1, 0, 2), r"\(2, 2\)"),
        (lambda: mg.unflatten(X, axis=1, shape=(2, 2)), r"\(2, 2\) does not fit axis 1"),
        (lambda: mg.cdist(X, X.T), r"\(2, 3\) and \(3, 2\)"),
        (lambda: mg.searchsorted(X, X.T), r"\(2, 3\) for v of \(3, 2\)"),
        (lambda: mg.linalg.householder_product(X, X), "m >= n"),
        (lambda: mg.mode(np.ones((2, 0))), "axis 1"),
        (lambda: mg.tensor(X).unfold(1, 4, 1), "no window of 4"),
    ]:
        if "x of shape" in words:
            call()  # it fits
            continue
        with pytest.raises(ShapeError, match=words):
            call()


def test_numbers_beside_float64_are_not_rounded_to_float32():
    x = np.random.default_rng(0).standard_normal((5, 5))
    for ours, theirs in zip(mg.gradient(x, 2.0, 2.1), np.gradient(x, 2.0, 2.1), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    ours = mg.gradient(x, [0, 0.1, 0.3, 0.4, 0.9], axis=0)
    np.testing.assert_allclose(ours, np.gradient(x, [0, 0.1, 0.3, 0.4, 0.9], axis=0), rtol=1e-12)
    ends = np.float32(0.1), np.array(7)
    y = mg.linspace(mg.tensor(ends[0]), mg.tensor(ends[1]), 50, dtype="float64")
    np.testing.assert_allclose(y.numpy(), np.linspace(*map(float, ends), 50), rtol=1e-14)
