"""Losses as layers, without PyTorch; `test_torch_layers.py` holds them against PyTorch's."""

import numpy as np
import pytest
from support import host, normal

import minigrad as mg
from minigrad import nn
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.nn import functional as F

X, Y = normal(3, 4), normal(3, 4, seed=1)
P, Q = mg.sigmoid(X), mg.sigmoid(Y)
SIGNS = to_device(np.array([1.0, -1.0, 1.0]))
IDS = to_device(np.array([2, 0, 3]))
WEIGHT = [1.0, 2.0, 0.5, 3.0]
W = to_device(np.array(WEIGHT, "float32"))

# A layer, its inputs, and what it must give: the function with the same settings.
SAME = [
    (nn.L1Loss(), (X, Y), lambda: F.l1_loss(X, Y)),
    (nn.MSELoss(reduction="sum"), (X, Y), lambda: F.mse_loss(X, Y, reduction="sum")),
    (nn.SmoothL1Loss(beta=0.2), (X, Y), lambda: F.smooth_l1_loss(X, Y, beta=0.2)),
    (nn.HuberLoss("none", 0.2), (X, Y), lambda: F.huber_loss(X, Y, reduction="none", delta=0.2)),
    (nn.GaussianNLLLoss(full=True, eps=0.1), (X, Y, P),
     lambda: F.gaussian_nll_loss(X, Y, P, full=True, eps=0.1)),
    (nn.PoissonNLLLoss(False, eps=0.1), (P, Q),
     lambda: F.poisson_nll_loss(P, Q, log_input=False, eps=0.1)),
    (nn.BCELoss(WEIGHT), (P, Q), lambda: F.binary_cross_entropy(P, Q, W)),
    (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), (X, Q),
     lambda: F.binary_cross_entropy_with_logits(X, Q, pos_weight=W)),
    (nn.KLDivLoss(reduction="batchmean"), (X, Q), lambda: F.kl_div(X, Q, reduction="batchmean")),
    (nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1), (X, IDS),
     lambda: F.cross_entropy(X, IDS, W, axis=1, label_smoothing=0.1)),
    (nn.NLLLoss(ignore_index=0, reduction="none"), (X, IDS),
     lambda: F.nll_loss(X, IDS, axis=1, ignore_index=0, reduction="none")),
    (nn.MultiMarginLoss(2, 0.3, WEIGHT), (X, IDS),
     lambda: F.multi_margin_loss(X, IDS, weight=W, p=2, margin=0.3)),
    (nn.MultiLabelSoftMarginLoss(WEIGHT), (X, Q),
     lambda: F.multilabel_soft_margin_loss(X, Q, W)),
    (nn.SoftMarginLoss(), (X[:, 0], SIGNS), lambda: F.soft_margin_loss(X[:, 0], SIGNS)),
    (nn.HingeEmbeddingLoss(0.3), (X[:, 0], SIGNS),
     lambda: F.hinge_embedding_loss(X[:, 0], SIGNS, margin=0.3)),
    (nn.MarginRankingLoss(0.3), (X[:, 0], Y[:, 0], SIGNS),
     lambda: F.margin_ranking_loss(X[:, 0], Y[:, 0], SIGNS, margin=0.3)),
    (nn.CosineEmbeddingLoss(0.3), (X, Y, SIGNS),
     lambda: F.cosine_embedding_loss(X, Y, SIGNS, margin=0.3)),
    (nn.TripletMarginLoss(0.3, 3.0, swap=True), (X, Y, P),
     lambda: F.triplet_margin_loss(X, Y, P, margin=0.3, p=3.0, swap=True)),
    (nn.TripletMarginWithDistanceLoss(margin=0.3, swap=True), (X, Y, P),
     lambda: F.triplet_margin_loss(X, Y, P, margin=0.3, swap=True)),
    (nn.CTCLoss(3, "sum", True), (normal(5, 2, 4), to_device(np.array([[0, 1], [2, 2]])),
                                  [5, 2], [2, 2]),
     lambda: F.ctc_loss(normal(5, 2, 4), to_device(np.array([[0, 1], [2, 2]])), [5, 2], [2, 2],
                        blank=3, reduction="sum", zero_infinity=True)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "inputs", "function"), SAME, ids=lambda x: str(x)[:24])
def test_a_loss_is_its_function(layer, inputs, function):
    np.testing.assert_allclose(host(layer(*inputs)), host(function()), rtol=1e-12)
    x, *others = inputs
    x = Tensor(host(x) if type(x) is Tensor else x, requires_grad=True)
    layer(x, *others).sum().backward()
    assert np.abs(host(x.grad)).sum() > 0


def test_all_losses_are_tried():
    tried = {type(layer).__name__ for layer, *_ in SAME}
    assert set(nn.loss.__all__) - tried == {
        "AdaptiveLogSoftmaxWithLoss", "MultiLabelMarginLoss",  # see below, and test_torch_layers
    }  # fmt: skip


def test_classes_in_clusters():
    loss = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0, head_bias=True)
    assert [(n, p.shape) for n, p in loss.named_parameters()] == [
        ("head.weight", (5, 8)), ("head.bias", (5,)),
        ("tail.0.0.weight", (4, 8)), ("tail.0.1.weight", (3, 4)),
        ("tail.1.0.weight", (2, 8)), ("tail.1.1.weight", (4, 2)),
    ]  # fmt: skip
    x = normal(6, 8).astype("float32")
    logp = loss.log_prob(Tensor(x))
    np.testing.assert_allclose(np.exp(host(logp)).sum(axis=1), 1, rtol=1e-5)
    target = to_device(np.array([0, 3, 9, 5, 2, 6]))
    output, mean = loss(x, target)
    np.testing.assert_allclose(host(output), host(logp)[np.arange(6), host(target)], rtol=1e-6)
    assert mean.item() == pytest.approx(-host(output).mean())
    assert loss.predict(Tensor(x)).tolist() == host(logp).argmax(axis=1).tolist()
    for wrong in ([], [3, 2], [0, 3], [3, 10]):
        with pytest.raises(ValueError, match="cutoffs must"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 10, wrong)
    with pytest.raises(ValueError, match=r"x must be \(N, 8\) and target \(N,\)"):
        loss(x, target[:2])


def test_classes_are_along_axis_1_unless_another_is_named():
    # Logits by which the classes along axis 1 are certain: 0, 1, 2 of the three examples.
    x = to_device(np.eye(3)[:, :, None] * np.full(3, 50.0))
    target = to_device(np.array([[0] * 3, [1] * 3, [2] * 3]))
    assert nn.CrossEntropyLoss()(x, target).item() == pytest.approx(0, abs=1e-12)
    assert nn.CrossEntropyLoss(axis=-1)(x, target).item() == pytest.approx(np.log(3))
    assert nn.NLLLoss()(x, target).item() == -50
    last = host(x).transpose(0, 2, 1)
    assert nn.CrossEntropyLoss(axis=-1)(to_device(last), target).item() == pytest.approx(
        0, abs=1e-9
    )
    assert nn.NLLLoss(axis=2)(to_device(last), target).item() == -50
    # probabilities go the same way
    p = to_device(np.eye(3)[:, :, None] * np.ones(3))
    assert nn.CrossEntropyLoss()(x, p).item() == pytest.approx(0, abs=1e-12)
    assert nn.CrossEntropyLoss(axis=2)(x, p).item() > 1
    # one example alone
    one = to_device(np.array([0.0, 50, 0]))
    assert nn.CrossEntropyLoss()(one, to_device(np.array(1))).item() == pytest.approx(0, abs=1e-12)
    assert repr(nn.NLLLoss(axis=2)) == "NLLLoss(ignore_index=-100, reduction='mean', axis=2)"


def test_weights_are_buffers_and_are_saved():
    loss = nn.CrossEntropyLoss(WEIGHT)
    assert list(loss.state_dict()) == ["weight"]
    assert loss.parameters() == []
    assert loss.weight.dtype == np.float32
    other = nn.CrossEntropyLoss([1.0] * 4)
    other.load_state_dict(loss.state_dict())
    assert host(other.weight).tolist() == WEIGHT
    assert nn.CrossEntropyLoss().state_dict() == {}
    both = nn.BCEWithLogitsLoss(WEIGHT, pos_weight=np.ones(4, "float32"))
    assert list(both.state_dict()) == ["weight", "pos_weight"]
    double = nn.BCELoss(np.array(WEIGHT))
    assert double.weight.dtype == np.float64  # an array keeps its dtype
    with pytest.raises(ValueError, match="weight"):
        nn.CrossEntropyLoss([1.0, 2.0])(X, IDS)


@pytest.mark.parametrize(
    ("size_average", "reduce", "meant"),
    [
        (None, None, "sum"), (True, None, "mean"), (False, None, "sum"), (None, False, "none"),
        (True, False, "none"), (False, False, "none"), (False, True, "sum"), (None, True, "mean"),
    ],
)  # fmt: skip
def test_the_older_names_of_reductions(size_average, reduce, meant):
    assert nn.MSELoss(size_average, reduce, "sum").reduction == meant
    assert nn.NLLLoss(None, size_average, -100, reduce, "sum").reduction == meant


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.MSELoss(reduction="average"), r"MSELoss: reduction must be one of"),
        (lambda: nn.L1Loss(reduction="batchmean"), r"L1Loss: reduction must be one of"),
        (lambda: nn.MultiMarginLoss(3), "p must be 1 or 2"),
        (lambda: nn.TripletMarginLoss(0), "margin must be positive"),
        (lambda: nn.TripletMarginWithDistanceLoss(margin=-1), "margin must be positive"),
    ],
)
def test_settings_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_distance_may_have_parameters():
    class Learned(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter([2.0])

        def forward(self, a, b):
            return mg.sum(abs(a - b), axis=-1) * self.scale

    loss = nn.TripletMarginWithDistanceLoss(distance_function=Learned(), margin=9.0)
    assert [n for n, _ in loss.named_parameters()] == ["distance_function.scale"]
    loss(X, Y, P).backward()
    assert loss.distance_function.scale.grad is not None


def test_a_learner_takes_a_loss_as_a_layer():
    model = nn.Linear(4, 3)
    learner = mg.Learner(model, "adam", nn.CrossEntropyLoss([1.0, 2.0, 3.0]))
    x, y = np.random.default_rng(0).normal(size=(8, 4)).astype("float32"), np.arange(8) % 3
    before = model.state_dict()["weight"]
    learner.fit((x, y), epochs=2, batch_size=4)
    assert (model.state_dict()["weight"] != before).any()
