"""`optim.LossScaler`: a scale that finds itself, and steps that are left out."""

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import to_device, to_numpy
from minigrad.errors import DtypeError, StateError
from minigrad.optim.sparse_adam import SparseAdam

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")


def model_of(seed=0):
    mg.random.seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def batch(i):
    x = np.random.default_rng(i).standard_normal((5, 4)).astype(np.float32)
    return to_device(x), to_device(x[:, :1] * 2)


def ones(*shape, name="p", dtype="float32"):
    return mg.Tensor(to_device(np.ones(shape, dtype)), requires_grad=True, name=name)


def given_gradients(values, scaler, lr=0.5):
    """A parameter of ones, and what a step by a gradient of `values` (times the scale) leaves."""
    p = ones(len(values))
    optimizer = optim.SGD({"p": p}, lr=lr)
    p.grad = mg.tensor((np.float32(values) * np.float32(scaler.get_scale())).tolist())
    scaler.step(optimizer)
    scaler.update()
    return to_numpy(p.data), optimizer


# ------------------------------------------------------------------------------------ the rule


def formula(scale, good, bad, growth=2.0, backoff=0.5, interval=2000):
    """PyTorch's `_amp_update_scale_`, written out."""
    if bad:
        return np.float32(scale * backoff), 0
    if good + 1 == interval:
        larger = np.float32(scale) * np.float32(growth)
        return (larger if np.isfinite(larger) else np.float32(scale)), 0
    return np.float32(scale), good + 1


@settings(deadline=None, max_examples=30)
@given(
    events=st.lists(st.sampled_from([0.0, 1.0, -3.0, np.inf, -np.inf, np.nan]), max_size=20),
    interval=st.integers(1, 4),
    factors=st.sampled_from([(2.0, 0.5), (1.5, 0.25)]),
    first=st.sampled_from([2.0**16, 2.0**127, 1.0]),
)
def test_the_scale_follows_its_rule(events, interval, factors, first):
    scaler = optim.LossScaler(first, *factors, growth_interval=interval)
    scale, good, steps = np.float32(first), 0, 0
    p = ones(2)
    optimizer = optim.Adam({"p": p}, lr=0.1)
    for event in events:
        p.grad = mg.tensor([event, 0.0])
        before = to_numpy(p.data).copy()
        scaler.step(optimizer)
        scaler.update()
        bad = not np.isfinite(event)
        steps += not bad
        assert not bad or (to_numpy(p.data) == before).all()
        scale, good = formula(scale, good, bad, *factors, interval)
        assert (scaler.get_scale(), int(scaler.state_dict()["good_steps"])) == (scale, good)
        assert optimizer.step_count == steps


def test_the_defaults_are_those_of_pytorch():
    scaler = optim.LossScaler()
    assert scaler.get_scale() == 65536.0
    assert (scaler.growth_factor, scaler.backoff_factor) == (2.0, 0.5)
    assert scaler.growth_interval == 2000


def test_gradients_are_divided_before_a_step():
    w, _ = given_gradients([0.25, -0.5], optim.LossScaler())
    np.testing.assert_array_equal(w, [0.875, 1.25])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_one_that_is_not_finite_leaves_the_step_out(bad):
    scaler = optim.LossScaler()
    w, optimizer = given_gradients([0.25, bad], scaler)
    np.testing.assert_array_equal(w, 1)
    assert scaler.get_scale() == 32768
    assert optimizer.step_count == 0
    assert not optimizer.state_dict()["step.p"]


def test_gradients_that_would_vanish_in_float16_do_not():
    x, found = mg.full((4, 4), 1e-5), []
    for scaler in (optim.LossScaler(enabled=False), optim.LossScaler()):
        w = ones(2, 4, name="w")
        optimizer = optim.SGD({"w": w}, lr=1.0)
        with mg.autocast("float16"):
            loss = mg.mean(mg.linear(x, w)) * 1e-3
        scaler.scale(loss).backward()
        scaler.unscale(optimizer)
        found.append(float(abs(w.grad.data).max()))
    assert found[0] == 0
    assert found[1] == pytest.approx(5e-9, rel=1e-2)


# ------------------------------------------------------------------------------------- mg.jit


def train(program, optimizer_of, scale, steps=10, clip=True):
    model = model_of()
    optimizer, scaler = optimizer_of(model), optim.LossScaler(scale, growth_interval=3)

    def step(x, y):
        optimizer.zero_grad()
        with mg.autocast("float16"):
            loss = mg.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        if clip:
            scaler.unscale(optimizer)
            optim.clip_grad_norm_(model, 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss

    run = mg.jit(step) if program else step
    found = []
    for i in range(steps):
        loss = float(run(*batch(i)).data)
        found.append((loss, scaler.get_scale(), optimizer.step_count))
    assert not program or not run.as_it_is
    return found, [to_numpy(p.data) for p in model.parameters()], optimizer.state_dict()


OPTIMIZERS = [
    lambda m: optim.Adam(m, lr=0.01), lambda m: optim.SGD(m, lr=0.05, momentum=0.9),
    lambda m: optim.RAdam(m, lr=0.01),
]  # fmt: skip


@pytest.mark.parametrize("optimizer_of", OPTIMIZERS, ids=["Adam", "SGD", "RAdam"])
@pytest.mark.parametrize("scale", [2.0**10, 2.0**19])
def test_a_program_leaves_out_the_same_steps(optimizer_of, scale):
    plain, mine = (train(program, optimizer_of, scale) for program in (False, True))
    assert [x[1:] for x in plain[0]] == [x[1:] for x in mine[0]]
    if scale > 2**16:
        assert plain[0][-1][2] < 10  # some were left out
    np.testing.assert_allclose([x[0] for x in plain[0]], [x[0] for x in mine[0]], rtol=1e-3)
    for a, b in zip(plain[1], mine[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    for name, a in plain[2].items():
        np.testing.assert_allclose(a, mine[2][name], atol=1e-3)


def test_a_program_without_clipping():
    plain, mine = (train(p, OPTIMIZERS[0], 2.0**18, clip=False) for p in (False, True))
    assert [x[1:] for x in plain[0]] == [x[1:] for x in mine[0]]


def test_two_optimizers_under_one_scale():
    models = model_of(0), model_of(1)
    optimizers = [optim.Adam(m, lr=0.01) for m in models]
    scaler = optim.LossScaler(4.0)

    @mg.jit
    def step(x, y, poison):
        for optimizer in optimizers:
            optimizer.zero_grad()
        losses = [mg.mse_loss(m(x), y) for m in models]
        scaler.scale(losses[0] + losses[1] * poison).backward()
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
        return losses[0]

    for i, poison in enumerate([1, 1, np.inf, 1]):
        step(*batch(i), to_device(np.float32(poison)))
    assert [o.step_count for o in optimizers] == [4, 3]
    assert scaler.get_scale() == 2.0


# -------------------------------------------------------------------------------------- state


def test_state_goes_round():
    scaler = optim.LossScaler(8.0, growth_interval=5)
    given_gradients([1.0], scaler)
    given_gradients([np.inf], scaler)
    given_gradients([1.0], scaler)
    state = scaler.state_dict()
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {
        "scale": ((), np.float32), "good_steps": ((), np.int64),
    }  # fmt: skip
    other = optim.LossScaler()
    other.load_state_dict(state)
    assert other.get_scale() == scaler.get_scale() == 4.0
    assert other.state_dict()["good_steps"] == 1
    given_gradients([1.0], scaler)
    assert other.state_dict()["good_steps"] == 1  # it was copied
    with pytest.raises(StateError, match="good_steps"):
        other.load_state_dict({"scale": np.float32(1)})
    assert other.get_scale() == 4.0


def test_a_copy_is_its_own():
    scaler = optim.LossScaler(8.0)
    other = copy.deepcopy(scaler)
    given_gradients([np.inf], scaler)
    assert (scaler.get_scale(), other.get_scale()) == (4.0, 8.0)


def test_disabled_it_does_nothing():
    scaler = optim.LossScaler(enabled=False)
    loss = mg.tensor(3.0)
    assert scaler.scale(loss) is loss
    assert scaler.get_scale() == 1.0
    w, optimizer = given_gradients([np.inf], scaler)
    assert not np.isfinite(w).all()
    assert optimizer.step_count == 1


def test_sparse_gradients_are_divided_too():
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer, scaler = SparseAdam(embedding, lr=0.1), optim.LossScaler(4.0)
    before = to_numpy(embedding.weight.data).copy()
    scaler.scale(mg.sum(embedding(mg.tensor([1, 2])))).backward()
    scaler.unscale(optimizer)
    np.testing.assert_array_equal(to_numpy(embedding.weight.grad.values), 1)
    scaler.step(optimizer)
    scaler.update()
    assert (
        (to_numpy(embedding.weight.data) != before).any(axis=1) == [False, True, True, False]
    ).all()


# ------------------------------------------------------------------------------------- misuse


def test_misuse_is_told():
    scaler = optim.LossScaler()
    p = ones(2)
    optimizer = optim.SGD({"p": p}, lr=0.1)
    with pytest.raises(StateError, match="no gradients"):
        scaler.step(optimizer)
    with pytest.raises(StateError, match=r"scaler\.step"):
        scaler.update()
    p.grad = mg.ones(2)
    scaler.unscale(optimizer)
    with pytest.raises(StateError, match="already divided"):
        scaler.unscale(optimizer)
    scaler.step(optimizer)
    with pytest.raises(StateError, match=r"scaler\.update"):
        scaler.step(optimizer)
    scaler.update()


def test_parameters_in_float16_are_refused():
    p = ones(2, dtype="float16")
    optimizer = optim.SGD({"p": p}, lr=0.1)
    p.grad = mg.ones(2, dtype="float16")
    with pytest.raises(DtypeError, match=r"'p' is float16.*autocast"):
        optim.LossScaler().unscale(optimizer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"init_scale": 0}, {"init_scale": np.inf}, {"growth_factor": 1.0}, {"backoff_factor": 1.0},
        {"backoff_factor": 0.0}, {"growth_interval": 0}, {"growth_interval": True},
    ],
)  # fmt: skip
def test_arguments_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        optim.LossScaler(**wrong)


@pytest.mark.peer
def test_pytorch_follows_the_same_rule():
    torch = pytest.importorskip("torch")
    theirs = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    mine = optim.LossScaler(64.0, growth_interval=2)
    p = torch.nn.Parameter(torch.ones(2))
    sgd = torch.optim.SGD([p], lr=0.5)
    q = ones(2, name="q")
    optimizer = optim.SGD({"q": q}, lr=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for bad in [0, 0, 1, 0, 1, 0, 0, 0, 0]:
            value = np.inf if bad else 0.25
            theirs.scale(torch.zeros(()))
            p.grad = torch.full((2,), float(value))
            theirs.step(sgd)
            theirs.update()
            q.grad = mg.full(2, float(value))
            mine.step(optimizer)
            mine.update()
            assert mine.get_scale() == theirs.get_scale()
            np.testing.assert_allclose(to_numpy(q.data), p.detach().numpy())
