"""Copies by `copy`: a copied model and its optimizer train apart from the originals, to the bit."""

import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.data import DataLoader, TensorDataset
from minigrad.errors import CaptureError, GradientError, StateError

OPTIMIZERS = {
    "sgd": lambda m: optim.SGD(m, 0.1),
    "momentum": lambda m: optim.SGD(m, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda m: optim.Adam(m, 0.01),
    "amsgrad": lambda m: optim.Adam(m, 0.01, amsgrad=True),
    "adamw": lambda m: optim.AdamW(m, 0.01),
    "adagrad": lambda m: optim.Adagrad(m, 0.05, initial_accumulator_value=0.1),
    "rmsprop": lambda m: optim.RMSprop(m, 0.01, momentum=0.5, centered=True),
    "lion": lambda m: optim.Lion(m, 0.01),
    "adafactor": lambda m: optim.Adafactor(m),
    "sparse": lambda m: optim.SparseAdam(m, 0.01),
    "nadam": lambda m: optim.NAdam(m, 0.01),
    "radam": lambda m: optim.RAdam(m, 0.01),
    "adamax": optim.Adamax,
    "adadelta": optim.Adadelta,
    "asgd": lambda m: optim.ASGD(m, t0=1),
    "rprop": optim.Rprop,
    "schedule": lambda m: optim.Adam(m, optim.schedules.Cosine(0.01, 10)),
    "function": lambda m: optim.Adam(m, lambda t: 0.01 / (1 + t)),
    "groups": lambda m: optim.Adam(
        [
            {"params": m[0], "name": "first", "lr": 0.01},
            {"params": {"w": m[2].weight, "b": m[2].bias}, "lr": lambda t: 0.02},
        ]
    ),
}


def network(seed=0):
    with mg.random.stream(seed):
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    model[2].tied = model[0].weight  # under a second name
    return model


def batch(i):
    rng = np.random.default_rng(i)
    return rng.normal(size=(4, 3)).astype("f"), rng.normal(size=(4, 2)).astype("f")


def stepper(model, optimizer, jit=False):
    def step(x, y):
        loss = mg.mean((model(x) - y) ** 2)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return mg.jit(step) if jit else step


def train(step, start, stop):
    for i in range(start, stop):
        step(*batch(i))


def state(*parts):
    return [{k: v.copy() for k, v in part.state_dict().items()} for part in parts]


def same_states(a, b):
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("which", OPTIMIZERS)
def test_a_copy_trains_the_copied_model_and_nothing_else(which, jit):
    model = network()
    optimizer = OPTIMIZERS[which](model)
    step = stepper(model, optimizer, jit)
    train(step, 0, 4)
    before = state(model, optimizer)
    model2, optimizer2, step2 = copy.deepcopy((model, optimizer, step))
    if not jit:
        step2 = stepper(model2, optimizer2)
    same_states(before, state(model2, optimizer2))
    for p, q in zip(model.parameters(), model2.parameters(), strict=True):
        assert p.name == q.name
        assert p.requires_grad == q.requires_grad
        assert not np.shares_memory(p.data, q.data)
        assert (
            optimizer2.parameters[next(k for k, v in optimizer.parameters.items() if v is p)] is q
        )
    assert model2[2].tied is model2[0].weight
    train(step2, 4, 8)
    same_states(before, state(model, optimizer))  # the original has not moved
    there = state(model2, optimizer2)
    assert any((there[0][k] != before[0][k]).any() for k in before[0])
    train(step, 4, 8)
    same_states(there, state(model, optimizer))  # and does the same afterwards
    same_states(there, state(model2, optimizer2))
    once = network()  # as without a copy
    whole = OPTIMIZERS[which](once)
    train(stepper(once, whole, jit), 0, 8)
    same_states(there, state(once, whole))


def test_options_of_a_copy_are_its_own():
    model = network()
    optimizer = optim.Adam(model, 0.01)
    _, other = copy.deepcopy((model, optimizer))
    other.lr = 0.5
    other.param_groups[0]["eps"] = 1.0
    assert (optimizer.lr, optimizer.eps, other.lr) == (0.01, 1e-8, 0.5)
    assert other.flats[0].group is other.param_groups[0]


@pytest.mark.parametrize(
    "follower",
    [optim.SGD, optim.EMA, optim.Accumulate, lambda m: optim.ReduceLROnPlateau(optim.SGD(m))],
)
def test_alone_it_says_what_to_do(follower):
    model = network()
    made = follower(model)
    for given in (made, (made, model), {"optimizer": made}):
        with pytest.raises(StateError, match=r"copy.deepcopy\(\(model, "):
            copy.deepcopy(given)
    copy.deepcopy((model, made))
    if not isinstance(made, optim.ReduceLROnPlateau):
        with pytest.raises(StateError, match=r"copy\.deepcopy"):
            copy.copy(made)


def test_data_given_since_is_taken_in_by_the_copy_too():
    model = network()
    optimizer = optim.Adam(model, 0.01)
    train(stepper(model, optimizer), 0, 2)
    model[0].weight.data = np.ones((5, 3), "f")
    model2, optimizer2 = copy.deepcopy((model, optimizer))
    train(stepper(model2, optimizer2), 2, 4)
    assert (model[0].weight.data == 1).all()
    train(stepper(model, optimizer), 2, 4)
    same_states(state(model, optimizer), state(model2, optimizer2))


def test_averages_plateaus_and_sums_are_copied_with_their_model():
    model = network()
    optimizer = optim.SGD(model, 0.1)
    ema, plateau = optim.EMA(model, 0.5), optim.ReduceLROnPlateau(optimizer, patience=0)
    total = optim.Accumulate(model)
    train(stepper(model, optimizer), 0, 2)
    ema.update()
    before = state(model, optimizer, ema, plateau)
    m, o, e, p, t = copy.deepcopy((model, optimizer, ema, plateau, total))
    assert p.optimizer is o
    assert e.parameters["0.weight"] is m[0].weight
    train(stepper(m, o), 2, 4)
    e.update()
    p.step(1.0), p.step(2.0)
    mg.mean(m(batch(5)[0]) ** 2).backward()
    t.add(4)
    t.finish()
    assert o.lr < optimizer.lr
    assert m[0].weight.grad is not None
    assert model[0].weight.grad is None
    same_states(before, state(model, optimizer, ema, plateau))
    with ema.swapped(), pytest.raises(StateError, match="averages now"):
        copy.deepcopy((model, ema))


def test_sparse_gradients_and_grouped_models():
    with mg.random.stream(0):
        model = nn.Embedding(6, 2, sparse=True)
    optimizer = optim.SparseAdam(model, 0.1)
    model(np.array([1, 3])).sum().backward()
    model2, optimizer2 = copy.deepcopy((model, optimizer))
    assert model2.weight.grad.values is not model.weight.grad.values
    before = state(model, optimizer)
    optimizer2.step()
    same_states(before, state(model, optimizer))
    optimizer.step()
    same_states(state(model, optimizer), state(model2, optimizer2))

    grouped = nn.Grouped({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    optimizer = optim.Adam(grouped, 0.1)
    x, ids = np.ones((4, 3), "f"), np.array([0, 1, 0, 1])

    def step_of(model, optimizer):
        def step(ids, x):
            mg.mean(model(ids, x) ** 2).backward()
            optimizer.step()
            optimizer.zero_grad()

        return mg.jit(step)

    step = step_of(grouped, optimizer)
    for _ in range(3):
        step(ids, x)
    before = state(grouped, optimizer)
    grouped2, optimizer2 = copy.deepcopy((grouped, optimizer))
    step2 = step_of(grouped2, optimizer2)
    for _ in range(3):
        step2(ids, x)
    same_states(before, state(grouped, optimizer))
    for _ in range(3):
        step(ids, x)
    same_states(state(grouped, optimizer), state(grouped2, optimizer2))


class Trainer:
    """An owner of jitted functions of every sort."""

    def __init__(self):
        self.model = model = network()
        self.optimizer = optim.Adam(model, 0.01)
        loss_of = lambda x, y: mg.mean((model(x) - y) ** 2)  # noqa: E731

        def step(x, y, optimizer=self.optimizer):
            loss_of(x, y).backward()
            optimizer.step()
            optimizer.zero_grad()

        self.closure, self.method = mg.jit(step), mg.jit(self._step)
        self.of_self = mg.jit(lambda x, y: self._step(x, y))

    def _step(self, x, y):
        stepper(self.model, self.optimizer)(x, y)


@pytest.mark.parametrize("which", ["closure", "method", "of_self"])
def test_the_owner_of_a_jitted_function_is_copied(which):
    trainer = Trainer()
    train(getattr(trainer, which), 0, 3)
    before = state(trainer.model, trainer.optimizer)
    other = copy.deepcopy(trainer)
    train(getattr(other, which), 3, 6)
    same_states(before, state(trainer.model, trainer.optimizer))
    train(getattr(trainer, which), 3, 6)
    same_states(state(trainer.model, trainer.optimizer), state(other.model, other.optimizer))


def test_learners_are_copied():
    x, y = batch(0)
    learner = mg.Learner(network(), "adam", loss="mse_loss", verbose=0)
    learner.fit((x, y), epochs=2)
    before = state(learner.model, learner.optimizer)
    other = copy.deepcopy(learner)
    other.fit((x, y), epochs=3)
    same_states(before, state(learner.model, learner.optimizer))
    learner.fit((x, y), epochs=3)
    same_states(state(learner.model, learner.optimizer), state(other.model, other.optimizer))
    assert learner.history.epochs == other.history.epochs
    with pytest.raises(StateError, match="deepcopy"):
        copy.copy(learner)


def test_modules_own_what_they_hold():
    calls = []
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.register_forward_hook(lambda m, args, out: calls.append(m))
    model[0].weight.register_hook(lambda g: g * 0)
    other = copy.deepcopy(model)
    other(batch(0)[0]).sum().backward()
    assert calls == [other]
    assert not other[0].weight.grad.data.any()
    assert not model[1].running_mean.data.any()
    assert other[1].running_mean.data.any()
    assert model[0].weight.grad is None
    assert set(model.state_dict()) == set(other.state_dict())


def test_tensors():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    mg.sum(x * x).backward()
    y = copy.deepcopy(x)
    assert y.requires_grad
    assert y.grad.data is not x.grad.data
    assert y.data is not x.data
    shared = mg.Tensor(x.data)
    a, b = copy.deepcopy((x, shared))
    assert a.data is b.data
    assert a.data is not x.data
    with pytest.raises(GradientError, match="detach"):
        copy.deepcopy(x * 2)
    z = copy.copy(x * 2)  # the history stays
    z.sum().backward()
    assert x.grad.data.tolist() == [4, 6]
    for how in (copy.copy, copy.deepcopy):  # zeros would come, without a word
        with pytest.raises(GradientError, match="no gradient comes back"):
            mg.grad(lambda x, how=how: (how(x) * 2).sum())(x.detach())
    np.testing.assert_array_equal(
        mg.grad(lambda x: (copy.copy(x * 1) * 2).sum())(x.detach()), [2, 2]
    )
    with pytest.raises(CaptureError, match=r"copy\.deepcopy"):
        mg.jit(lambda x: copy.deepcopy(x) * 2)(np.ones(2, "f"))
    np.testing.assert_array_equal(mg.vmap(lambda x: copy.deepcopy(x) * 2)(x.detach()), [2, 4])


def test_keys_streams_and_loaders():
    stream = mg.random.Stream(3)
    stream.next_key()
    assert copy.deepcopy(stream).next_key() == stream.next_key()
    key = mg.random.key(5)
    assert copy.deepcopy(key) == copy.copy(key) == key
    data = TensorDataset(np.arange(12.0))
    options = {"num_workers": 1, "worker_type": "thread", "persistent_workers": True}
    with DataLoader(data, 2, shuffle=True, **options) as loader:
        list(loader)
        for how in (copy.copy, copy.deepcopy):
            with how(loader) as other:
                for mine, theirs in zip(loader, other, strict=True):  # side by side
                    np.testing.assert_array_equal(mine[0], theirs[0])
                assert other.epoch == loader.epoch
                list(other)
                assert other.epoch == loader.epoch + 1
