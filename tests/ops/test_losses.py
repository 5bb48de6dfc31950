"""Losses: kinks, extremes, what is refused, and CTC where no way says the targets."""

import math

import numpy as np
import pytest
from support import host, refuses

import minigrad as mg
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError
from minigrad.testing import check_gradients


def tracked(*numbers, dtype="float64"):
    return mg.tensor(np.array(numbers, dtype), requires_grad=True)


def constant(x):
    return to_device(np.asarray(x))


def slope(function, *numbers, dtype="float64"):
    x = tracked(*numbers, dtype=dtype)
    y = function(x)
    return host(mg.gradients(mg.sum(y), x)).tolist()


ONE = {"reduction": "none"}


# ------------------------------------------------------------------------------------ kinks


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (lambda x: mg.l1_loss(x, constant([1.0, 1, 1]), **ONE), [0, 1, 2], [-1, 0, 1]),
        (
            lambda x: mg.huber_loss(x, constant(np.zeros(3)), delta=2.0, **ONE),
            [-2, 0, 3],
            [-2, 0, 2],
        ),
        (
            lambda x: mg.smooth_l1_loss(x, constant(np.zeros(3)), beta=2.0, **ONE),
            [-2, 0, 1],
            [-1, 0, 0.5],
        ),
        (lambda x: mg.smooth_l1_loss(x, constant(np.zeros(2)), beta=0), [0, 5], [0, 0.5]),
        (
            lambda x: mg.hinge_embedding_loss(x, constant([-1, -1, -1, 1]), **ONE),
            [0, 1, 2, 1],
            [-1, -1, 0, 1],
        ),
        (
            lambda x: mg.margin_ranking_loss(x, constant(np.zeros(3)), constant([1, 1, -1]), **ONE),
            [-1, 0, 0],
            [-1, -1, 1],
        ),
        (lambda x: mg.multi_margin_loss(x, constant(np.asarray(0))), [1, 0], [0, 0]),
        (lambda x: mg.kl_div(constant(np.zeros(2)), x, **ONE), [0, 1], [0, 1]),
        (
            lambda x: mg.gaussian_nll_loss(
                constant(np.ones(2)), constant(np.ones(2)), x, eps=0.5, **ONE
            ),
            [0, 2],
            [1, 0.25],
        ),
        (
            lambda x: mg.binary_cross_entropy(x, constant([0.0, 1, 0, 1]), **ONE),
            [0, 0, 1, 1],
            [0, -1e12, 1e12, 0],
        ),
        (
            lambda x: mg.binary_cross_entropy_with_logits(x, constant([0.0, 1, 1]), **ONE),
            [0, 0, -1e4],
            [0.5, -0.5, -1],
        ),
        (lambda x: mg.normalize(x, axis=0, eps=0.5), [0, 0], [2, 2]),
        (
            lambda x: mg.cosine_similarity(x, constant(np.ones(2)), axis=0, eps=1.0),
            [0, 0],
            [math.sqrt(0.5)] * 2,
        ),
        (lambda x: mg.pairwise_distance(x, constant(np.zeros(2)), eps=0.0), [0, 0], [0, 0]),
        (
            lambda x: mg.pairwise_distance(x, constant(np.zeros(3)), math.inf, eps=0.0),
            [2, -2, 1],
            [0.5, -0.5, 0],
        ),
    ],
)
def test_derivative_at_a_kink(function, at, expected):
    np.testing.assert_allclose(slope(function, *at), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda: mg.binary_cross_entropy(constant([0.0, 1]), constant([1.0, 1]), **ONE), [100, 0]),
        (lambda: mg.binary_cross_entropy(constant([1.0, math.nan]), constant([0.0, 1]), **ONE),
         [100, math.nan]),
        (lambda: mg.binary_cross_entropy_with_logits(
            constant([-1e4, 1e4, 0]), constant([1.0, 1, 0]), **ONE), [1e4, 0, math.log(2)]),
        (lambda: mg.soft_margin_loss(constant([1e4, -1e4]), constant([1, 1]), **ONE), [0, 1e4]),
        (lambda: mg.kl_div(constant([0.0, -1]), constant([0.0, 1]), **ONE), [0, 1]),
        (lambda: mg.kl_div(constant(np.zeros((2, 3))), constant(np.ones((2, 3))),
                           reduction="batchmean"), 0),
        (lambda: mg.hinge_embedding_loss(constant([math.nan]), constant([-1])), math.nan),
        (lambda: mg.mse_loss(constant(np.zeros((0, 2))), constant(np.zeros((0, 2)))), math.nan),
        (lambda: mg.mse_loss(constant(np.zeros((0, 2))), constant(np.zeros((0, 2))),
                             reduction="sum"), 0),
        (lambda: mg.cross_entropy(constant([[1.0, 2]]), constant([-100]), constant([1.0, 3])), 0),
        (lambda: mg.nll_loss(constant([[1.0, 2]]), constant([1]), constant([1.0, 0])), 0),
        (lambda: mg.pairwise_distance(constant([3.0, 0, -1]), constant(np.zeros(3)), 0, 0.0), 2),
    ],
)  # fmt: skip
def test_value_at_an_extreme(loss, expected):
    np.testing.assert_allclose(host(loss()), expected)


def test_the_logits_of_an_entropy_have_a_second_derivative_at_zero():
    x = tracked(0.0)
    loss = mg.binary_cross_entropy_with_logits(x, constant([0.5]))
    (g,) = mg.gradients(loss, [x], create_graph=True)
    assert mg.gradients(g, x).item() == 0.25


# ---------------------------------------------------------------------------------- classes

LOGITS = np.random.default_rng(3).normal(size=(2, 5, 3))
CLASSES = np.array([[0, 4, -100], [2, 2, 1]])


def test_a_weighted_mean_divides_by_the_weights_of_the_targets():
    x, target = constant(LOGITS), constant(CLASSES)
    w = np.array([1.0, 2, 0.5, 3, 1])
    counted = CLASSES[CLASSES >= 0]
    for smooth in (0.0, 0.3):
        options = {"axis": 1, "label_smoothing": smooth}
        total = mg.cross_entropy(x, target, constant(w), reduction="sum", **options)
        mean = mg.cross_entropy(x, target, constant(w), **options)
        assert total.item() / w[counted].sum() == pytest.approx(mean.item())


def test_one_hot_probabilities_are_classes():
    x, ids = constant(LOGITS), np.maximum(CLASSES, 0)
    hot = np.moveaxis(np.eye(5)[ids], -1, 1)
    w = constant(np.array([1.0, 2, 0.5, 3, 1]))
    for weight in (None, w):
        options = {"axis": 1, "reduction": "none", "label_smoothing": 0.2}
        a = mg.cross_entropy(x, constant(hot), weight, **options)
        b = mg.cross_entropy(x, constant(ids), weight, **options)
        np.testing.assert_allclose(host(a), host(b))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u8", "i8"])
def test_classes_may_be_integers_of_any_size(dtype):
    x, ids = constant(LOGITS[0]), constant(np.array([0, 1, 2, 2, 0], dtype))
    logp = mg.log_softmax(x)
    expected = mg.cross_entropy(x, constant(np.array([0, 1, 2, 2, 0])))
    assert mg.cross_entropy(x, ids).item() == expected.item()
    assert mg.nll_loss(logp, ids).item() == pytest.approx(expected.item())


# ------------------------------------------------------------------------------------- ctc


def chances(T, N, C):
    return mg.log_softmax(constant(np.random.default_rng(T).normal(size=(T, N, C))))


def test_ctc_without_a_way_is_infinite_and_moves_nothing():
    x = mg.tensor(chances(3, 3, 3), requires_grad=True)
    targets = constant([[1, 1], [1, 2], [2, 2]])  # [1, 1] needs a blank between: three times
    options = {"input_lengths": [2, 3, 3], "target_lengths": [2, 2, 2], "reduction": "none"}
    loss = mg.ctc_loss(x, targets, **options)
    assert np.isinf(host(loss)).tolist() == [True, False, False]
    g = mg.gradients(mg.sum(loss), x, create_graph=True)
    assert np.isfinite(host(g)).all()
    assert [bool(v.any()) for v in host(g).swapaxes(0, 1)] == [False, True, True]
    second = mg.gradients(mg.sum(g * g), x)
    assert np.isfinite(host(second)).all()
    zeroed = mg.ctc_loss(x, targets, zero_infinity=True, **options)
    assert zeroed[0].item() == 0
    assert host(zeroed[1:]).tolist() == host(loss[1:]).tolist()


def test_ctc_of_nothing_said():
    x = chances(3, 3, 2)
    loss = mg.ctc_loss(x, constant(np.zeros((3, 0), int)), [0, 1, 3], [0, 0, 0], reduction="none")
    silent = np.cumsum(host(x)[:, :, 0], axis=0)
    np.testing.assert_allclose(host(loss), [0, -silent[0, 1], -silent[2, 2]], atol=1e-15)


def test_ctc_does_not_look_behind_the_lengths():
    x, y = host(chances(4, 2, 3)).copy(), host(chances(4, 2, 3)).copy()
    y[3, 0], y[2:, 1] = 77, math.nan
    a = mg.ctc_loss(constant(x), constant([[1, 2], [2, 1]]), [3, 2], [2, 1])
    b = mg.ctc_loss(constant(y), constant([[1, 2], [2, 99]]), [3, 2], [2, 1])
    assert a.item() == b.item()


def test_ctc_with_impossible_classes_has_finite_gradients():
    x = host(chances(4, 1, 3)).copy()
    x[1, 0] = [0, -math.inf, -math.inf]
    x = mg.tensor(x, requires_grad=True)
    loss = mg.ctc_loss(x, constant([[1, 2]]), [4], [2])
    g = mg.gradients(loss, x, create_graph=True)
    assert np.isfinite(host(g)).all()
    assert host(g)[1, 0].tolist() == pytest.approx([-0.5, 0, 0])
    assert np.isfinite(host(mg.gradients(mg.sum(g * g), x))).all()


def test_ctc_of_one_example_and_its_mean():
    x = chances(4, 1, 3)
    one = mg.ctc_loss(x[:, 0], constant([1, 2, 1]), 4, 2)
    assert one.shape == ()
    total = mg.ctc_loss(x, constant([[1, 2]]), constant([4]), constant([2]), reduction="sum")
    assert one.item() == pytest.approx(total.item() / 2)
    check_gradients(lambda x: mg.ctc_loss(x, constant([[1, 2]]), [4], [2]), x)


def test_ctc_of_single_and_half_precision():
    for dtype in ("f4", "f2"):
        x = mg.tensor(host(chances(4, 1, 3)).astype(dtype), requires_grad=True)
        loss = mg.ctc_loss(x, constant([[1, 2]]), [4], [2])
        assert loss.dtype == mg.gradients(loss, x).dtype == np.dtype(dtype)


# ------------------------------------------------------------------------- dtypes and errors


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    "loss",
    [
        *(mg.mse_loss, mg.l1_loss, mg.huber_loss, mg.smooth_l1_loss, mg.poisson_nll_loss),
        *(mg.binary_cross_entropy, mg.binary_cross_entropy_with_logits, mg.kl_div),
        *(mg.soft_margin_loss, mg.multilabel_soft_margin_loss, mg.hinge_embedding_loss),
        lambda x, t: mg.gaussian_nll_loss(x, t, 2.0),
        lambda x, t: mg.margin_ranking_loss(x, x * 2, t),
        lambda x, t: mg.multi_margin_loss(x, t[:, 0]),
        lambda x, t: mg.cosine_embedding_loss(x, x * 2, t[:, 0]),
        lambda x, t: mg.cross_entropy(x, t[:, 0], x[0], label_smoothing=0.1),
        lambda x, t: mg.nll_loss(x, t[:, 0], x[0]),
        lambda x, t: mg.triplet_margin_loss(x, x * 2, mg.subtract(t, x)),
    ],
)
def test_integer_targets_leave_the_dtype_alone(loss, dtype):
    values, ints = np.array([[0.25, 0.5], [0.75, 0.5]], dtype), constant(np.eye(2, dtype="i8"))
    x = mg.tensor(values, requires_grad=True)
    assert loss(constant(values), ints).dtype == np.dtype(dtype)
    assert loss(x, ints).dtype == np.dtype(dtype)
    assert mg.gradients(loss(x, ints), x).dtype == np.dtype(dtype)


X, IDS, ONES = np.full((2, 3), 0.5), np.array([0, 1]), np.ones(2)
CTC = np.log(np.full((4, 2, 3), 1 / 3))


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: mg.mse_loss(X, X[0]), ShapeError, "mse_loss|(2, 3)|(3,)"),
        (lambda: mg.mse_loss(X, 1.0), ShapeError, "mse_loss|(2, 3)|()"),
        (lambda: mg.mse_loss(X, X, reduction="avg"), ValueError, "mse_loss|'mean'|'avg'"),
        (lambda: mg.nll_loss(X, IDS, reduction="avg"), ValueError, "nll_loss|'avg'"),
        (lambda: mg.ctc_loss(X, IDS, 1, 1, reduction=None), ValueError, "ctc_loss|None"),
        (lambda: mg.huber_loss(X, X, delta=0), ValueError, "huber_loss|delta|0"),
        (lambda: mg.smooth_l1_loss(X, X, beta=-1), ValueError, "beta|-1"),
        (lambda: mg.binary_cross_entropy(X + 1, X), ValueError, "[0, 1]|with_logits"),
        (lambda: mg.binary_cross_entropy(X, X, np.ones((2, 2, 3))), ShapeError, "weight|(2, 3)"),
        (lambda: mg.gaussian_nll_loss(X, X, -X), ValueError, "gaussian_nll_loss|negative"),
        (lambda: mg.gaussian_nll_loss(X, X, np.ones(3)), ShapeError, "var|(3,)"),
        (lambda: mg.gaussian_nll_loss(X, X, X, eps=0), ValueError, "eps"),
        (lambda: mg.cross_entropy(X, X[0]), ShapeError, "(2,)|float64 (3,)"),
        (lambda: mg.cross_entropy(X, X[:, 0]), DtypeError, "integers|float64"),
        (lambda: mg.cross_entropy(X, IDS, np.ones(2)), ShapeError, "weight|(3,)|(2,)"),
        (lambda: mg.cross_entropy(X, X, ignore_index=1), ValueError, "ignore_index"),
        (lambda: mg.nll_loss(X, IDS + 2), OutOfRangeError, "nll_loss|3|position 1"),
        (lambda: mg.nll_loss(X, IDS[:1]), ShapeError, "nll_loss|(2,)|(1,)"),
        (lambda: mg.multi_margin_loss(X, IDS, p=3), ValueError, "p must be 1 or 2"),
        (lambda: mg.cosine_embedding_loss(X, X, X), ShapeError, "target (N,)"),
        (lambda: mg.triplet_margin_loss(X, X, X, margin=0), ValueError, "margin"),
        (lambda: mg.cosine_similarity(X, X.T), ShapeError, "cosine_similarity|(3, 2)"),
        (lambda: mg.ctc_loss(CTC[0, 0], IDS, 1, 1), ShapeError, "(T, N, C)|(3,)"),
        (lambda: mg.ctc_loss(CTC, X, [4, 4], [1, 1]), DtypeError, "targets|float64"),
        (lambda: mg.ctc_loss(CTC, IDS, [5, 4], [1, 1]), ShapeError, "5|T = 4"),
        (lambda: mg.ctc_loss(CTC, IDS, [4], [1, 1]), ShapeError, "input_lengths|2|[4]"),
        (lambda: mg.ctc_loss(CTC, IDS, [4, 4], [2, 1]), ShapeError, "3 labels|(2,)"),
        (lambda: mg.ctc_loss(CTC, IDS, [4, 4], [1, 1], blank=3), OutOfRangeError, "blank 3"),
        (lambda: mg.ctc_loss(CTC, IDS + 2, [4, 4], [1, 1]), OutOfRangeError, "ctc_loss|3"),
        (lambda: mg.ctc_loss(CTC, IDS, [4.0, 4], [1, 1]), DtypeError, "input_lengths|integers"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected_and_what_came(call, error, fragments):
    with refuses(error) as caught:
        call()
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


# -------------------------------------------------------------------------------- bfloat16


def bfloat16_losses():
    ids = constant([0, 1, 2, 0])
    return {
        "smooth_l1": lambda x: mg.smooth_l1_loss(x, x * 0),
        "huber": lambda x: mg.huber_loss(x, x * 0),
        "cross_entropy": lambda x: mg.cross_entropy(x, ids, label_smoothing=0.1),
        "cross_entropy_rows": lambda x: mg.cross_entropy_rows(x, ids, label_smoothing=0.1),
        "weighted": lambda x: mg.cross_entropy(x, ids, x[0] * 0 + 1, label_smoothing=0.1),
        "shares": lambda x: mg.cross_entropy(x, mg.add(x * 0, 0.25), label_smoothing=0.1),
        "nll": lambda x: mg.nll_loss(x, ids),
        "binary_cross_entropy": lambda x: mg.binary_cross_entropy(mg.add(x * 0, 0.5), x * 0),
        "with_logits": lambda x: mg.binary_cross_entropy_with_logits(x, x * 0 + 1),
        "kl_div": lambda x: mg.kl_div(x, mg.add(x * 0, 0.5)),
        "cosine": lambda x: mg.cosine_similarity(x, x * 0 + 1),
        "triplet": lambda x: mg.triplet_margin_loss(x, x * 0, x * 0 + 1),
        "gaussian": lambda x: mg.gaussian_nll_loss(x, x * 0, x * 0 + 1),
        "attention": lambda x: mg.scaled_dot_product_attention(x, x, x, scale=0.5),
        "dropout": lambda x: mg.dropout(x, mg.random.key(0), p=0.3),
        "where": lambda x: mg.multiply(mg.where(x > 0, x, 0.0), 0.3),
    }


@pytest.mark.parametrize("name", bfloat16_losses())
def test_bfloat16_is_not_lifted_by_a_number(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.linspace(-1, 1, 12).reshape(4, 3).astype(ml_dtypes.bfloat16)
    x = Tensor(to_device(x), requires_grad=True)
    y = bfloat16_losses()[name](x)
    assert y.dtype == x.dtype
    assert mg.gradients(mg.sum(y), x).dtype == x.dtype
    assert bfloat16_losses()[name](x.data).dtype == x.dtype  # an array stays what it was, too
