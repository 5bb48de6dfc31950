"""A record is what the engine did: every value is compared, bit for bit, with what was there.

`watching.studied` runs a function plainly, before an observer of the tests' own, and recorded; see
there for what it compares.
"""

import contextlib
import contextvars
import functools
import gc
import threading
import time

import numpy as np
import pytest
from cases import CASES
from hypothesis import Phase, given, settings
from watching import Watcher, check_places, compare, copied, is_same, studied

import minigrad as mg
from minigrad import kernels, nn, optim, random
from minigrad.autodiff import Tensor
from minigrad.backend import Observer, is_array, modes, watched
from minigrad.errors import AnomalyError, MinigradError
from minigrad.learner import Learner
from minigrad.study import load, recorder
from minigrad.study.steps import Call, Pull


def numbers(*shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def tracked(*shape, **options):
    return Tensor(numbers(*shape, **options), requires_grad=True)


def parameter(name, *shape, **options):
    p = nn.Parameter(numbers(*shape, **options))
    p.name = name
    return p


def ops_of(record):
    return [record.steps[i].op for i in record.forward]


# ------------------------------------------------------------------------------- every op

GROUPS: dict[str, list] = {}
for _case in CASES:
    GROUPS.setdefault(_case.op.__name__, []).append(_case)


@pytest.mark.parametrize("name", GROUPS)
def test_every_op_forward_and_backward(name):
    for case in GROUPS[name]:
        calls_of(case)()


def calls_of(case):
    @settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(case.calls)
    def check(call):
        record_of_a_call(case.op, call.inputs, call.params, case.order)

    return check


def record_of_a_call(op, inputs, params, order):
    def make():
        xs = [
            Tensor(x.copy(), requires_grad=order > 0 and x.dtype.kind == "f") if is_array(x) else x
            for x in inputs
        ]
        return functools.partial(forward_and_backward, op, params), xs, *filter(is_tensor, xs)

    record = studied(make)
    assert record.forward or not [s for s in record.steps if type(s) is Call]


def is_tensor(x):
    return type(x) is Tensor


def forward_and_backward(op, params, *xs):
    y = op(*xs, **params)
    ys = y if isinstance(y, tuple | list) else [y]
    ys = [v for v in ys if type(v) is Tensor and v.requires_grad]
    if ys:
        total = mg.sum(ys[0] * ys[0])
        for v in ys[1:]:
            total = total + mg.sum(v * v)
        total.backward()
    return y


# ------------------------------------------------------------------------- training steps


def step_of(model, optimizer, loss, x, y=None):
    optimizer.zero_grad()
    value = loss(model(x), y)
    value.backward()
    optimizer.step()
    return value


def square(y, target):
    return (y * y).mean()


def network():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


OPTIMIZERS = {
    "SGD": lambda m: optim.SGD(m, lr=0.1),
    "momentum": lambda m: optim.SGD(m, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda m: optim.Adam(m),
    "amsgrad": lambda m: optim.Adam(m, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda m: optim.AdamW(m),
    "Adafactor": lambda m: optim.Adafactor(m),
    "Lion": lambda m: optim.Lion(m),
    "RMSprop": lambda m: optim.RMSprop(m, momentum=0.5, centered=True),
    "NAdam": lambda m: optim.NAdam(m),
    "Rprop": lambda m: optim.Rprop(m),
    "scheduled": lambda m: optim.SGD(m, lr=lambda t: 0.1 / (t + 1)),
    "groups": lambda m: optim.Adam(
        [{"params": m[0], "name": "first", "lr": 0.5}, {"params": m[2], "betas": (0.5, 0.9)}]
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("fast", [True, False], ids=["kernels", "formulas"])
def test_steps_of_an_optimizer(name, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(kernels, "enabled", lambda: False)

    def make():
        model = network()
        optimizer = OPTIMIZERS[name](model)

        def steps(x):
            for _ in range(3):
                loss = step_of(model, optimizer, square, x)
            return loss

        return steps, (numbers(3, 4),), model, optimizer

    record = studied(make)
    updates = [s for s in record.steps if s.kind == "update"]
    assert [u.step for u in updates] == [1] * 4 + [2] * 4 + [3] * 4
    assert {u.optimizer for u in updates} == {type(OPTIMIZERS[name](network())).__name__}
    assert [leaf.name for leaf in record.leaves if leaf.kind == "parameter"] == [
        "0.weight", "0.bias", "2.weight", "2.bias",
    ]  # fmt: skip
    assert record.parameter("0.weight").update is updates[0]
    if not fast:
        assert {s.by for s in record.steps if type(s) is Call} == {"formula"}
    if name == "scheduled":
        assert [u.settings["lr"] for u in updates[::4]] == ["0.1", "0.05", str(0.1 / 3)]
    if name == "groups":
        assert [u.settings["lr"] for u in updates[:4]] == ["0.5", "0.5", "0.001", "0.001"]


def test_a_convolutional_network_with_batch_norm_and_dropout():
    def make():
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3),
            nn.Flatten(), nn.Linear(36, 3),
        )  # fmt: skip
        optimizer = optim.Adam(model)

        def step(x, y):
            return step_of(model, optimizer, nn.functional.cross_entropy, x, y)

        return step, (numbers(5, 1, 8, 8), np.arange(5) % 3), model, optimizer

    record = studied(make)
    assert {"x", "y"} <= {leaf.name for leaf in record.leaves}
    assert any(leaf.name == "1.running_mean" for leaf in record.leaves)


def test_the_step_of_the_translator():
    from jsl.config import PRESETS
    from jsl.corpus import load_corpus, starter_corpus_path
    from jsl.train import Trainer

    model, training = PRESETS["tiny"]
    corpus = load_corpus(starter_corpus_path(), model.max_seq_len)

    def make():
        trainer = Trainer(corpus, model, training, jit=False)
        trainer.model.train()
        batch = trainer.prepare(next(iter(trainer.batches)))
        return trainer.train_step, (batch,), trainer.model, *trainer.optimizers.values()

    record = studied(make)
    names = {leaf.name for leaf in record.leaves if leaf.kind == "parameter"}
    assert len(names) > 50
    assert not any(name == "" for name in names)
    assert {record.lines[record.steps[i].line].file for i in record.forward} == {
        "jsl/model.py"
    }  # fmt: skip


def test_two_networks_against_each_other():
    def make():
        generator, critic = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        one, other = optim.Adam(generator), optim.RMSprop(critic)

        def step(z, real):
            fake = generator(z)
            other.zero_grad()
            (critic(fake.detach()).mean() - critic(real).mean()).backward()
            other.step()
            one.zero_grad()
            loss = -critic(fake).mean()
            loss.backward()
            one.step()
            return loss

        return step, (numbers(4, 2), numbers(4, 3)), generator, critic, one, other

    record = studied(make)
    assert [s.optimizer for s in record.steps if s.kind == "update"] == ["RMSprop"] * 4 + [
        "Adam"
    ] * 2
    names = {leaf.name for leaf in record.leaves if leaf.kind == "parameter"}
    assert {"generator.weight", "critic.0.weight"} <= names
    assert sum(s.kind == "seed" for s in record.steps) == 2


@pytest.mark.parametrize("clip", [None, 0.01])
def test_the_step_of_a_learner(clip):
    def make():
        model = network()
        learner = Learner(
            model, optim.Adam(model), nn.functional.mse_loss, clip_norm=clip, jit=False, verbose=0
        )
        batch = numbers(3, 4), numbers(3, 2, seed=1)
        return learner.train_step, (batch,), model, *learner.optimizers.values()

    record = studied(make)
    assert record.parameter("0.weight").update.gradient is not None


def test_absent_gradients_leave_parameters_alone():
    def make():
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(7, 7))
        model[0].bias.requires_grad_(False)
        optimizer = optim.Adam(model)

        def step(x):
            model[0](x).sum().backward()
            optimizer.step()

        return step, (numbers(2, 2),), model, optimizer

    record = studied(make)
    updates = {s.parameter: s for s in record.steps if s.kind == "update"}
    assert [name for name, u in updates.items() if u.gradient is not None] == ["0.weight"]
    unused = record.parameter("1.weight")
    assert unused.value.shape == (7, 7)
    assert unused.value.any(), "its own value, and no moment"
    assert unused.leaf.value == unused.update.before == unused.update.after
    assert record.why("1.weight").reason == "no op of this run has read it"


def test_the_step_of_an_optimizer_alone():
    def make():
        model = nn.Linear(2, 3)
        optimizer = optim.Adam(model)
        given = {"weight": numbers(3, 2), "bias": None}
        return optimizer.step, (given,), model, optimizer

    record = studied(make)
    assert [s.kind for s in record.steps] == ["update"] * 2
    assert [leaf.name for leaf in record.leaves] == ["weight", "bias"]
    weight = record.parameter("weight")
    assert is_same(weight.value, record.values[weight.update.before].numbers())
    assert record.steps[1].gradient is None


def test_sparse_gradients():
    def make():
        table, head = nn.Embedding(6, 3, sparse=True), nn.Linear(3, 1)
        one, other = optim.SparseAdam(table), optim.SGD(head)

        def step(ids):
            for _ in range(2):
                head(table(ids)).sum().backward()
                head(table(ids)).sum().backward()
                other.step()
                one.step()
            return table.weight.grad

        return step, (np.array([1, 2, 1]),), table, head, one, other

    studied(make)


def test_clipping_and_accumulation():
    def make():
        model = network()
        optimizer = optim.SGD(model, lr=0.1)

        def step(x):
            for part in (x, x * 2):
                square(model(part), None).backward()
            norm = optim.clip_grad_norm_(optimizer.parameters, 0.1)
            optimizer.step()
            return norm

        return step, (numbers(3, 4),), model, optimizer

    record = studied(make)
    weight = record.parameter("0.weight")
    clipped = record.values[weight.update.gradient].numbers()
    assert np.abs(weight.gradient).max() > np.abs(clipped).max()
    model = make()[2]
    assert model  # parameters were drawn anew; the sum of both walks is what was clipped
    np.testing.assert_allclose(
        weight.gradient / np.linalg.norm(weight.gradient), clipped / np.linalg.norm(clipped), 1e-4
    )


def test_parts_of_a_batch_and_averages_of_weights():
    def make():
        model = network()
        optimizer, ema = optim.Adam(model), optim.EMA(model, decay=0.5)

        def step(x):
            with optim.Accumulate(model) as total:
                for part in (x, x[:1] * 2):
                    square(model(part), None).backward()
                    total.add(len(part))
            optimizer.step()
            ema.update()
            with ema.swapped():
                y = model(x)
            return y, model(x), ema.averages

        return step, (numbers(3, 4),), model, optimizer

    record = studied(make)
    inputs = [record.op("linear", i).inputs[1] for i in (0, -4, -2)]
    assert not is_same(inputs[0], inputs[1])
    assert not is_same(inputs[1], inputs[2])


def test_a_state_that_is_loaded():
    def make():
        model = nn.Linear(3, 2)

        def run(x):
            y = model(x)
            model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})
            return y, model(x)

        return run, (numbers(4, 3),), model

    record = studied(make)
    first, second = (record.op("linear", i).inputs[1] for i in (0, 1))
    assert is_same(second, first * 2)


def test_a_gradient_is_what_all_walks_gave():
    def make():
        w = parameter("w", 3)

        def twice():
            (w * 2).sum().backward()
            (w * w).sum().backward()

        return twice, (), w

    record = studied(make)
    w = numbers(3)
    np.testing.assert_array_equal(record.parameter("w").gradient, 2 + 2 * w)


def test_a_gradient_that_is_taken_away_at_once():
    def make():
        w, v = parameter("w", 3), parameter("v", 3)

        def twice():
            (w * 2 + v).sum().backward()
            (w * w).sum().backward()
            w.grad = None
            v.grad = Tensor(np.zeros(3, np.float32))

        return twice, (), w, v

    record = studied(make)
    np.testing.assert_array_equal(record.parameter("w").gradient, 2 + 2 * numbers(3))
    np.testing.assert_array_equal(record.parameter("v").gradient, np.ones(3))


def test_parameters_given_other_arrays():
    def make():
        model = nn.Linear(2, 3)
        optimizer = optim.SGD(model, lr=0.1, momentum=0.9)

        def step(x):
            with mg.no_grad():
                model.weight.data = model.weight.data * 0 + 1
            model(x).sum().backward()
            model.bias.data = np.ones(3, np.float32)
            optimizer.step()
            with mg.no_grad():
                model.weight.data -= 0.5
            return model(x)

        return step, (numbers(2, 2),), model, optimizer

    record = studied(make)
    weight = record.parameter("weight")
    assert [leaf.name for leaf in record.leaves if leaf.kind == "parameter"] == ["weight", "bias"]
    assert not record.values[weight.leaf.value].numbers().all() or weight.gradient is not None
    assert [s.kind for s in record.steps].count("write") >= 3


def test_what_a_constant_was_called_before_it_was_replaced():
    def make():
        w = Tensor(numbers(3), name="w")

        def run():
            y = w * 2
            w.data = np.ones(3, np.float32)
            return y + w

        return run, (), w

    record = studied(make)
    assert [leaf.name for leaf in record.leaves] == ["w"]
    assert is_same(record.parameter("w").value, numbers(3))


# --------------------------------------------------------------------- engine, by itself


def test_contributions_are_added_up():
    def make():
        x = tracked(3)
        return lambda x: (x + x + x * x).sum().backward(), (x,), x

    record = studied(make)
    gave = [(s.op, [g["total"] for g in s.gave]) for s in record.steps if type(s) is Pull]
    assert gave[0] == ("sum", [None])
    (multiply,) = (totals for op, totals in gave if op == "multiply")
    adds = [totals for op, totals in gave if op == "add"]
    assert adds[0] == [None, None]
    totals = [t for t in (*multiply, *adds[1]) if t is not None]
    assert len(totals) == 3, "of four gradients the first is no sum"
    x = numbers(3)
    np.testing.assert_allclose(record.parameter("x").gradient, 2 + 2 * x, rtol=1e-6)


def test_broadcasting_is_undone():
    def make():
        w, b = parameter("w", 4, 3), parameter("b", 3)
        return lambda: ((w + b) * 2.0).sum().backward(), (), w, b

    record = studied(make)
    (add,) = (s for s in record.steps if type(s) is Pull and s.op == "add")
    assert [g["unbroadcast"] for g in add.gave] == [None, [4, 3]]
    assert record.parameter("b").gradient.shape == (3,)


def test_a_graph_that_is_kept_and_walked_again():
    def make():
        w = parameter("w", 3)

        def twice():
            loss = mg.tanh(mg.exp(w)).sum()
            loss.backward(retain_graph=True)
            loss.backward()

        return twice, (), w

    record = studied(make)
    first, second = record.pulls[record.op("exp").step]
    assert record.steps[first].freed is None
    assert record.steps[second].freed > 0
    assert record.why("w").count == 2


def test_second_derivatives():
    def make():
        w, v = parameter("w", 3), numbers(3, seed=5)

        def product():
            loss = (mg.exp(w) * w).sum()
            (g,) = mg.gradients(loss, [w], create_graph=True)
            (g * v).sum().backward()
            return g

        return product, (), w

    record = studied(make)
    w, v = numbers(3), numbers(3, seed=5)
    np.testing.assert_allclose(record.parameter("w").gradient, np.exp(w) * (w + 2) * v, rtol=1e-5)
    within = [s for s in record.steps if type(s) is Call and s.within is not None]
    assert within
    assert any(s.tracked for s in within), "rules whose calls can be walked back through"


def cube(x):
    return (x * x * x).sum()


@pytest.mark.parametrize(
    "make",
    [
        lambda x: (mg.grad(cube), x),
        lambda x: (mg.value_and_grad(cube), x),
        lambda x: (mg.hessian(cube), x),
        lambda x: (mg.jacrev(lambda x: mg.sin(x) * x), x),
        lambda x: (mg.jacfwd(lambda x: mg.sin(x) * x), x),
        lambda x: (lambda x: mg.jvp(cube, (x,), (x,)), x),
        lambda x: (lambda x: mg.vjp(mg.exp, x)[1](x), x),
        lambda x: (lambda x: mg.hvp(cube, x, x), x),
        lambda x: (mg.vmap(mg.grad(cube)), x),
        lambda x: (mg.vmap(lambda row: mg.softmax(row) @ row), x),
        lambda x: (mg.grad(lambda x: mg.checkpoint(lambda x: mg.tanh(x) * x)(x).sum()), x),
    ],
    ids=["grad", "value_and_grad", "hessian", "jacrev", "jacfwd", "jvp", "vjp", "hvp",
         "vmap of grad", "vmap", "checkpoint"],
)  # fmt: skip
def test_transforms(make):
    for x in (numbers(2, 3), numbers(2, 3, dtype="float64")):
        record = studied(lambda x=x: ((found := make(x.copy()))[0], found[1:]))
        assert record.forward


def test_a_vmap_of_a_whole_gradient_with_parameters():
    def make():
        model = nn.Linear(3, 2)

        def loss(model, x):
            return (model(x) ** 2).sum()

        return mg.vmap(mg.grad(loss), in_axes=(None, 0)), (model, numbers(4, 3)), model

    studied(make)


def test_a_rule_of_ones_own():
    @mg.custom_vjp
    def clipped(x):
        return mg.clip(x, -1, 1)

    clipped.defvjp(lambda x: (mg.clip(x, -1, 1), ()), lambda kept, g: (g * 3,))

    def make():
        x = tracked(4)
        return lambda x: clipped(x * 2).sum().backward(), (x,), x

    record = studied(make)
    np.testing.assert_array_equal(record.parameter("x").gradient, np.full(4, 6, np.float32))


def test_ops_of_the_users():
    @mg.op
    def bent(xp, x, factor=2.0):
        return xp.tanh(x) * factor

    @mg.primitive
    def doubled(xp, x):
        return x * 2

    @doubled.vjp
    def doubled_back(g, y, x):
        return mg.multiply(g, 2.0)

    @mg.primitive(outputs=2)
    def both(xp, x):
        return x + 1, x * 3

    both.vjp(lambda g, y, x: (2 * (g[0] if g[0] is not None else 0) + 3 * g[1],))

    def make():
        x = tracked(3)

        def run(x):
            _, b = both(x)
            return (doubled(bent(x, factor=0.5)) + b).sum().backward()

        return run, (x,), x

    record = studied(make)
    call = record.op("doubled")
    assert call.formula.file == "tests/study/test_recording.py"
    assert "return x * 2" in call.formula.text
    assert call.rule.name == "doubled"
    assert call.rule.text.startswith("@doubled.vjp\ndef doubled_back(g, y, x):")
    assert call.line.text == "return (doubled(bent(x, factor=0.5)) + b).sum().backward()"
    own = [s for s in record.steps if type(s) is Call and s.within is not None and s.inputs]
    multiply = next(s for s in own if s.op == "multiply" and record.steps[s.within].op == "doubled")
    assert record.lines[multiply.line].text == "return mg.multiply(g, 2.0)"
    assert record.op("both").pull.came[0] is None


def test_calls_that_a_formula_makes_are_within():
    @mg.primitive
    def outer(xp, x):
        return mg.exp(x) + 1

    outer.no_gradient()

    @mg.primitive
    def failing(xp, x):
        mg.exp(x)
        raise ValueError("never")

    failing.no_gradient()

    def make():
        def run(x):
            with pytest.raises(MinigradError):
                failing(x)
            return outer(x) + mg.sin(x)

        return run, (numbers(3),)

    record = studied(make)
    exps = [i for i, s in enumerate(record.steps) if s.op == "exp"]
    assert [record.steps[i].within for i in exps] == [None, record.op("outer").step]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: mg.split(x, 2),
        lambda x: mg.linalg.svd(x),
        lambda x: mg.linalg.eigh(x @ x.T),
        lambda x: mg.topk(x, 2),
        lambda x: mg.linalg.slogdet(x),
        lambda x: mg.split(x, 2)[1:],
    ],
    ids=["split", "svd", "eigh", "topk", "slogdet", "one of split"],
)
def test_ops_with_several_outputs(f):
    def make():
        x = tracked(4, 4, dtype="float64")

        def run(x):
            ys = [y for y in f(x) if y.dtype.kind == "f"]
            sum((y * y).sum() for y in ys).backward()
            return ys

        return run, (x,), x

    studied(make)


def test_hooks():
    def make():
        w, seen = parameter("w", 3), []

        def run():
            y = mg.exp(w)
            y.register_hook(lambda g: seen.append(g.numpy().copy()))
            y.register_hook(lambda g: g * 10)
            remove = w.register_hook(lambda g: g + 1)
            (y * 2).sum().backward()
            remove()

        return run, (), w

    record = studied(make)
    assert (record.op("exp").gradient == 20).all()
    np.testing.assert_array_equal(record.parameter("w").gradient, 20 * np.exp(numbers(3)) + 1)


def test_a_hook_that_writes_into_the_gradient():
    def make():
        w = parameter("w", 3)

        def run():
            def overwrite(g):
                g.data[...] = 5

            y = mg.exp(w)
            y.register_hook(overwrite)
            (y * 2).sum().backward()

        return run, (), w

    record = studied(make)
    assert (record.op("exp").gradient == 5).all()
    assert (record.op("multiply").gradients[0] == 2).all(), "before it was overwritten"


def test_walks_within_a_hook():
    def make():
        w, v = parameter("w", 3), parameter("v", 3)

        def run():
            y = mg.exp(w)
            y.register_hook(mg.enable_grad()(lambda g: mg.gradients((v * g).sum(), [v])[0]))
            (y * 2 + w).sum().backward()

        return run, (), w, v

    record = studied(make)
    assert sum(s.kind == "seed" for s in record.steps) == 2
    assert record.why("w").count == 2
    lines = {record.lines[s.line].text for s in record.steps if type(s) is Call and s.within}
    assert len(lines) == 2, "of the walk outside, and of that inside"
    assert sum("mg.gradients((v * g)" in line for line in lines) == 1


def test_walks_within_a_rule():
    """What was told before such a walk is still known after it."""

    @mg.primitive
    def scaled(xp, x, y):
        return x * y

    def second(g, _y, x, y):
        with mg.enable_grad():
            z = Tensor(np.ones((4, 3), np.float32), requires_grad=True)
            loss = (z + np.ones(3, np.float32)).sum()
        return g * x * mg.gradients(loss, [z])[0].data

    scaled.vjps(lambda g, _y, x, y: g * y, second)

    def make():
        x, y = parameter("x", 3), parameter("y", 4, 3)
        return lambda: scaled(x, y).sum().backward(), (), x, y

    record = studied(make)
    gave = record.op("scaled").pull.gave
    assert [g["unbroadcast"] for g in gave] == [[4, 3], None]


def test_a_rule_that_writes_into_what_it_is_given():
    @mg.primitive
    def hasty(xp, x):
        return x * 3

    def rule(g, _y, _x):
        g *= 3
        return g

    hasty.vjps(rule)

    def make():
        x = parameter("x", 3)
        return lambda: (hasty(mg.exp(x) * 1.0) * 2.0).sum().backward(), (), x

    record = studied(make)
    assert (record.op("multiply").gradient == 6).all()


def test_a_walk_that_fails_and_one_after_it():
    def make():
        w = parameter("w", 3)

        def fail(g):
            raise KeyError("no")

        def run():
            y = mg.exp(w)
            y.register_hook(fail)
            with pytest.raises(KeyError):
                (y * 2).sum().backward()
            z = mg.sin(w)
            (z * 3).sum().backward()
            return z

        return run, (), w

    record = studied(make)
    assert ops_of(record)[-3:] == ["sin", "multiply", "sum"]


# ------------------------------------------------------------------ writes, views, sharing


def test_views_of_what_is_overwritten_by_numpy():
    def make():
        x = tracked(4)

        def run(x):
            with mg.no_grad():
                y = x * 2
                view = mg.reshape(y, (2, 2))
                y.data[...] = 7
                z = view + 1
                view.data[0, 0] = 3
                return z, y + 1, mg.reshape(y, (4, 1)) * 2

        return run, (x,), x

    studied(make)


def test_arguments_that_numpy_overwrites():
    def make():
        a = numbers(4)

        def run(a):
            view = mg.reshape(a, (2, 2))
            b = mg.add(view, 1)
            a[0] = 9
            a[1] = np.nan
            return b, mg.add(view, 1), mg.exp(view), mg.exp(a)

        return run, (a,), a

    record = studied(make)
    assert record.op("exp").inputs[0][0, 0] == 9
    assert record.op("add", 0).inputs[0][0, 0] == numbers(4)[0]
    assert record.op("add", 1).inputs[0][0, 0] == 9


def test_writes_through_tensors():
    def make():
        state, p = Tensor(numbers(3)), parameter("p", 3)

        def run(x):
            y = state + x
            state[1:] = 5
            z = state + x
            state[...] = z
            state.copy_(x)
            with mg.no_grad():
                p.data -= 0.1
                p.data = p.data * 2
                p.data += 1
            return y, z, state * 1, p * 1

        return run, (numbers(3, seed=1),), state, p

    record = studied(make)
    writes = [s for s in record.steps if s.kind == "write"]
    lines = [record.lines[s.line].text for s in writes]
    assert lines[:3] == ["state[1:] = 5", "state[...] = z", "state.copy_(x)"]
    assert {"p.data -= 0.1", "p.data = p.data * 2", "p.data += 1"} & set(lines)
    names = {None if s.leaf is None else record.leaves[s.leaf].name for s in writes}
    assert "state" in names


def test_one_array_under_two_tensors_and_detached_ones():
    def make():
        a = numbers(3)
        x, y = Tensor(a, requires_grad=True), Tensor(a, requires_grad=True)

        def run(x, y):
            loss = ((x.detach() * 2 + x * 3 + y * y) * (x > 0)).sum()
            loss.backward()

        return run, (x, y), x, y

    record = studied(make)
    assert [leaf.name for leaf in record.leaves if leaf.tracked] == ["x", "y"]
    mask, a = numbers(3) > 0, numbers(3)
    np.testing.assert_array_equal(record.parameter("x").gradient, 3 * mask)
    np.testing.assert_allclose(record.parameter("y").gradient, 2 * a * mask, rtol=1e-6)


@pytest.mark.parametrize("first", ["compared", "detached", "without gradients"])
def test_what_is_read_as_a_constant_first_is_one_leaf(first):
    def make():
        w = parameter("w", 3)

        def run():
            if first == "compared":
                c = w > 0
            elif first == "detached":
                c = w.detach() * 2
            else:
                with mg.no_grad():
                    c = w * 2
            (mg.exp(w) * c).sum().backward()

        return run, (), w

    record = studied(make)
    assert [(leaf.name, leaf.tracked) for leaf in record.leaves if leaf.name] == [("w", True)]
    assert record.parameter("w").gradient is not None
    assert record.why("w").count == 1


def test_kinds_of_arrays():
    import ml_dtypes

    values = [
        np.array(1.5, "float32"), np.zeros((0, 3), "float32"), np.array([], "float64"),
        np.array([np.nan, -0.0, 0.0, np.inf, -np.inf], "float32"), np.arange(4),
        np.array([True, False]), np.arange(3, dtype="uint8"), np.arange(3, dtype="int16"),
        numbers(3, dtype="float16"), numbers(3, dtype="float64"),
        numbers(3).astype(ml_dtypes.bfloat16), numbers(3).astype(">f4"), numbers(4, 4)[::2, ::-1],
        np.asfortranarray(numbers(3, 4)), np.broadcast_to(numbers(1, 3), (4, 3)),
    ]  # fmt: skip

    def make():
        copies = [x.copy() if x.flags.writeable else x for x in values]

        def run(*xs):
            with np.errstate(all="ignore"):
                found = [mg.add(x, x) if x.dtype != bool else mg.logical_not(x) for x in xs]
                for x in xs:
                    if x.dtype.kind in "fV":
                        t = Tensor(x, requires_grad=True)
                        (t * t).sum().backward()
                        found.append(t.grad)
            return found

        return run, copies, *copies

    record = studied(make)
    assert {v.dtype for v in record.values} >= {
        "float16", "float32", "float64", "bfloat16", "int64", "int16", "uint8", "bool",
    }  # fmt: skip
    assert not any(">" in v.dtype for v in record.values)


def test_minus_zero_and_other_nans_are_other_values():
    def make():
        a = np.zeros(2, np.float32)

        def run(a):
            y = mg.exp(a)
            a[...] = -0.0
            z = mg.exp(a)
            a[...] = np.nan
            w = mg.exp(a)
            a[...] = -a
            return y, z, w, mg.exp(a)

        return run, (a,), a

    record = studied(make)
    inputs = [record.steps[i].inputs[0]["value"] for i in record.forward if i is not None]
    assert len(set(inputs)) >= 4


def test_numbers_and_constants():
    def make():
        x = tracked(2)

        def run(x):
            return (x * 2.0 + 1) ** 2, mg.exp(3.0), mg.where(x > 0, x, -1.0), mg.sum([1.0, 2.0])

        return run, (x,), x

    record = studied(make)
    assert record.op("multiply").inputs[1] == "2.0"
    assert record.op("exp").inputs[0].shape == ()


def test_random_numbers_and_streams():
    def make():
        x = tracked(2)

        def run(x):
            a = mg.randn(2)
            with random.stream(4):
                b = mg.randn(2)
            c = nn.functional.dropout(x, 0.5, training=True)
            return a + b + c + mg.rand(2)

        return run, (x,), x

    studied(make)


def test_a_seed_within_the_run():
    def run():
        random.seed(5)
        return mg.randn(3)

    random.seed(1)
    expected, then = run(), random.next_key()
    random.seed(1)
    record = mg.study(run)
    assert is_same(copied(record.result), copied(expected))
    assert random.next_key() == then
    random.seed(0)


def test_a_stream_that_outlives_the_run():
    def numbers_of():
        with random.stream(3):
            while True:
                yield mg.randn(2)

    def after(how):
        draws = numbers_of()
        how(next, draws)
        found = copied(mg.randn(2)), copied(next(draws))
        draws.close()
        return found

    expected, got = after(lambda f, x: f(x)), after(mg.study)
    assert all(map(is_same, got, expected))


# --------------------------------------------------------------------------- who is called


class Model(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 2)

    def __call__(self, x):
        return mg.tanh(self.inner(x))

    def loss(self, x):
        return self(x).sum()


class Caller:
    def __init__(self):
        self.w = parameter("w", 3)

    def __call__(self, x):
        return self.w * x


def doubled_plus(x, *, plus):
    return mg.add(x, plus)


@pytest.mark.parametrize(
    ("make", "title"),
    [
        (lambda: (mg.exp, numbers(3)), "minigrad.ops.elementwise.exp"),
        (lambda: (Model(), numbers(2, 3)), "Model"),
        (lambda: (Model().loss, numbers(2, 3)), "Model.loss"),
        (lambda: (Caller(), numbers(3)), "Caller"),
        (lambda: (functools.partial(doubled_plus, plus=1.0), numbers(3)), "doubled_plus"),
        (lambda: (lambda x: mg.exp(x), numbers(3)), "<lambda>"),
        (lambda: (next, (mg.exp(x) for x in [numbers(3)])), "next"),
        (lambda: (list, (mg.exp(x) for x in [numbers(3), numbers(2)])), "list"),
        (lambda: (lambda xs: [x * 2 for x in xs], (mg.randn(2) for _ in range(3))), "<lambda>"),
        (lambda: (Tensor.sum, tracked(3)), "sum"),
        (lambda: (tracked(3).sum,), "sum"),
        (lambda: (nn.Linear(3, 2), numbers(4, 3)), "minigrad.nn"),
    ],
)  # fmt: skip
def test_what_can_be_studied(make, title):
    record = studied(lambda: ((found := make())[0], found[1:]))
    assert title in record.title
    assert record.title in str(record).splitlines()[0]
    assert record.forward


def test_names_of_leaves():
    model, scale = Model(), numbers(3)

    def run(x, pair, *, other):
        return model(mg.multiply(x, scale)) + pair["a"][0] + other

    pair = {"a": [Tensor(numbers(2), requires_grad=True)]}
    record = mg.study(run, numbers(4, 3), pair, other=numbers(2, seed=1))
    assert {(leaf.name, leaf.kind) for leaf in record.leaves} == {
        ("x", "argument"), ("scale", "constant"), ("inner.weight", "parameter"),
        ("inner.bias", "parameter"), ("pair['a'][0]", "argument"), ("other", "argument"),
    }  # fmt: skip


shared = nn.Linear(3, 3)


def helped(x):
    return shared(x)


def test_names_of_modules_wherever_they_are():
    models, other = {"a": nn.Linear(3, 3), "b": [nn.Linear(3, 3)]}, nn.Linear(3, 3)

    def shadowing():
        shared = nn.Linear(3, 3)
        return lambda x: helped(shared(x))

    def run(x, pair, f, model):
        return f(models["a"](models["b"][0](pair[1](other(model.model(x))))))

    class Holder:
        def __init__(self):
            self.model = nn.Linear(3, 3)

    endless = [1]
    endless.append(endless)
    f = shadowing()
    record = mg.study(run, numbers(2, 3), [1, nn.Linear(3, 3)], f, Holder())
    names = {leaf.name for leaf in record.leaves if leaf.kind == "parameter"}
    assert names >= {
        f"{name}.weight" for name in ("pair[1]", "model", "models['a']", "models['b'][0]", "other")
    }
    record = mg.study(f, numbers(2, 3))
    names = {leaf.name for leaf in record.leaves if leaf.kind == "parameter"}
    assert names == {"shared.weight", "shared.bias", "shared 2.weight", "shared 2.bias"}
    record = mg.study(lambda x, y: (mg.exp(x), y)[1], numbers(2), endless)
    assert record.leaves[0].name == "x"
    assert record.outputs == []


def test_names_that_would_raise():
    class Odd:
        @property
        def model(self):
            raise RuntimeError("none of your business")

    record = mg.study(lambda x, odd: mg.exp(x), numbers(3), Odd())
    assert record.leaves[0].name == "x"


@pytest.mark.parametrize("f", [3, "exp", None, [mg.exp]])
def test_what_cannot_be_studied(f):
    with pytest.raises(TypeError, match="study: expected a function, got"):
        mg.study(f)


@pytest.mark.parametrize("where", ["forward", "within a rule", "in a hook"])
def test_an_error_of_the_function_passes_through(where):
    x = tracked(3)

    def raises(g=None, y=None, x=None):
        raise LookupError("mine")

    @mg.primitive
    def failing(xp, x):
        return x * 2

    failing.vjp(raises)

    def run(x):
        with mg.no_grad():
            before = mg.exp(x)
        y = failing(x) if where == "within a rule" else x * 2
        if where == "in a hook":
            y.register_hook(raises)
        if where == "forward":
            raises()
        y.sum().backward()
        return before

    mode = modes.get()
    key = random.stream(1)
    with key, pytest.raises(LookupError, match="mine"):
        mg.study(run, x)
    assert modes.get() == mode
    assert x.grad is None
    y = (x * x).sum()
    y.backward()
    assert is_same(copied(x.grad), 2 * x.data)


def test_study_inside_study():
    x = tracked(3)
    inner = []

    def run(x):
        y = mg.exp(x)
        inner.append(mg.study(lambda y: mg.sin(y) * 2, y))
        z = inner[0].result.sum()
        z.backward()
        return z

    record = studied(lambda: (inner.clear(), (run, (x := tracked(3),), x))[1])
    assert ops_of(inner[0]) == ["sin", "multiply"]
    assert ops_of(record)[:4] == ["exp", "sin", "multiply", "sum"]
    assert x.grad is None


def test_other_observers_beside_it():
    x = tracked(3)
    watcher = Watcher()
    with mg.profile() as profile, watched(watcher), mg.detect_anomaly():
        record = mg.study(lambda x: (mg.exp(x) * 2).sum().backward(), x)
    assert profile.rows["exp"].calls == 1
    compare(record, watcher.events)
    with np.errstate(all="ignore"), mg.detect_anomaly(), pytest.raises(AnomalyError):
        mg.study(lambda: mg.log(Tensor(np.float32(-1))))
    assert not modes.get().observers


def test_threads_have_records_of_their_own():
    records = {}

    def chain(x):
        for _ in range(30):
            x = mg.exp(x * 0.1)
        return x

    def run(i):
        records[i] = mg.study(chain, Tensor(numbers(5, seed=i)))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]

    def all_of_them():
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return mg.exp(numbers(2))

    record = mg.study(all_of_them)
    assert ops_of(record) == ["exp"], "what other threads do is theirs"
    for i, found in records.items():
        assert len(found.forward) == 60
        expected = chain(Tensor(numbers(5, seed=i)))
        assert is_same(found.values[found.outputs[-1]].numbers(), copied(expected))


def test_threads_that_come_by_the_context_of_a_recorded_one():
    model = nn.Linear(3, 2)
    failed = []

    def work():
        try:
            for _ in range(20):
                (mg.exp(model(numbers(4, 3))) * numbers(2)).sum().backward()
        except Exception as error:
            failed.append(error)

    def run():
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(3)
        ]
        for t in threads:
            t.start()
        y = mg.tanh(tracked(3))
        for _ in range(30):
            y = y * 2
        y.sum().backward()
        for t in threads:
            t.join()
        return y

    record = mg.study(run)
    assert not failed
    assert ops_of(record) == ["tanh", *["multiply"] * 30, "sum"]
    check_places(record)
    assert len([s for s in record.steps if type(s) is Pull]) == 32


def test_nothing_is_told_without_an_observer(monkeypatch):
    for kind in (Observer, recorder.Recorder):
        for name in vars(kind):
            if callable(getattr(kind, name)) and not name.startswith("__"):
                monkeypatch.setattr(kind, name, lambda *_, **__: pytest.fail("called"))
    monkeypatch.setattr(optim.flat.Flat, "copies", lambda self: pytest.fail("copied"))
    model = network()
    step_of(model, optim.Adam(model), square, numbers(3, 4))


# ------------------------------------------------------------------------------- kernels


def test_who_answered():
    if not kernels.enabled():
        pytest.skip("kernels are off")
    record = mg.study(lambda x: (mg.softmax(x), mg.softmax(x, axis=0), mg.tanh(x)), numbers(4, 4))
    assert [record.op("softmax", i).by for i in (0, 1)] == ["kernel", "formula"]
    assert record.op("tanh").by == "formula"


# ---------------------------------------------------------------------------------- jit


def jitted_step():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9)

    @mg.jit
    def step(x):
        loss = (model(x) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, (numbers(6, 3),), model, optimizer


def test_a_program_is_there_and_what_it_changes_is_put_back():
    record = studied(lambda: jitted_step())
    assert record.program_note == ""
    program = record.program
    assert {"calls", "instructions", "places", "bytes", "threads"} == program.keys()
    assert program["instructions"]


def test_a_jitted_function_goes_on_as_before():
    one, other = jitted_step(), jitted_step()
    for x, y in zip(one[2].parameters(), other[2].parameters(), strict=True):
        y.data[...] = x.data
    with random.stream(1):
        expected = [copied(one[0](*one[1])) for _ in range(3)]
    with random.stream(1):
        got = [copied(other[0](*other[1]))]
        got.append(copied(mg.study(other[0], *other[1]).result))
        got.append(copied(other[0](*other[1])))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_gradients_that_were_there_before_a_jitted_step():
    def make():
        w, b = parameter("w", 3), Tensor(numbers(3, seed=2))
        w.grad = Tensor(np.ones(3, np.float32))

        @mg.jit
        def step(x):
            loss = (w * x).sum()
            loss.backward()
            return loss

        return step, (numbers(3, seed=1),), w, b

    record = studied(make)
    assert record.program is None
    assert "the gradient of 'w' that was there before" in record.program_note


def test_arrays_that_a_jitted_function_overwrites():
    def make():
        state, w, array = Tensor(numbers(3)), parameter("w", 3), numbers(3, seed=8)

        @mg.jit
        def step(x):
            state[...] = state * 2
            with mg.no_grad():
                w.data = (w * 0.9).data
            return state + x + w * 1

        return step, (array,), state, w, array

    record = studied(make)
    assert record.program is not None, record.program_note


@pytest.mark.parametrize("how", ["a value", "an error", "a generator", "numpy"])
def test_what_jit_cannot_capture(how):
    def make():
        w, left = parameter("w", 3), [1]
        generator = (numbers(3, seed=i) for i in range(1))

        @mg.jit
        def step(x):
            if how == "a value" and float(x.sum()) > 1e9:
                return w
            if how == "an error":
                left.pop()
            if how == "a generator":
                x = next(generator)
            if how == "numpy":
                x = Tensor(x.numpy() * 2)
            with mg.no_grad():
                w.data -= 1
            return (w * x).sum()

        return step, (numbers(3),), w

    record = studied(make)
    assert record.program is None
    assert record.program_note
    assert "/" not in record.program_note.replace("tests/study/", "")
    expected = {"an error": "IndexError", "a generator": "StopIteration"}
    assert expected.get(how, "jit") in record.program_note


def test_a_function_that_jit_leaves_as_it_is():
    def make():
        w = parameter("w", 3)

        @mg.jit
        def step(x):
            time.perf_counter()
            with mg.no_grad():
                w.data = (w * 0.9).data
            return w * x

        return step, (numbers(3),), w

    record = studied(make)
    assert record.program is None
    assert record.program_note.startswith("it runs as it is: ")


def test_methods_and_partials_under_jit():
    class Net(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 2)

        @mg.jit
        def run(self, x):
            return self.inner(x)

    net = Net()
    record = mg.study(net.run, numbers(2, 3))
    assert record.program is not None, record.program_note
    assert {leaf.name for leaf in record.leaves} >= {"inner.weight", "inner.bias"}
    added = functools.partial(mg.jit(lambda a, b, c: a + b * c), numbers(3), c=numbers(3, seed=1))
    record = mg.study(added, numbers(3))
    assert record.program is not None, record.program_note


def test_a_jitted_function_where_jit_is_off():
    step, args, *_ = jitted_step()
    with mg.disable_jit():
        record = mg.study(step, *args)
    assert (record.program, record.program_note) == (None, "mg.disable_jit is in force")


def test_a_jitted_function_inside_a_transform_and_before_others():
    records = []
    step = mg.jit(lambda x: mg.sin(x).sum())
    mg.grad(lambda x: records.append(mg.study(step, x)) or records[-1].result)(numbers(3))
    assert "inside a transform" in records[0].program_note
    with mg.profile() as profile:
        record = mg.study(step, numbers(3))
    assert record.program is not None, record.program_note
    assert profile.rows["sin"].calls == 1


def test_a_function_without_jit_has_no_program():
    record = mg.study(mg.exp, numbers(3))
    assert (record.program, record.program_note) == (None, "")


# -------------------------------------------------------------------------------- limits


def test_a_record_that_is_full(monkeypatch):
    monkeypatch.setattr(recorder, "MOST_STEPS", 7)
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model)
    before = copied(model.weight)
    record = mg.study(
        lambda x: [step_of(model, optimizer, square, x) for _ in range(3)], numbers(2, 3)
    )
    assert record.truncated
    assert len(record.steps) <= 9
    assert "the run went on; the record was full" in str(record)
    assert not is_same(copied(model.weight), before), "the run was whole"
    assert optimizer.step_count == 3
    whole = mg.study(mg.exp, numbers(2))
    assert not whole.truncated


def test_a_record_that_is_full_at_any_step(monkeypatch, tmp_path):
    def step(model, optimizer, x):
        for _ in range(2):
            with mg.no_grad():
                model.bias.data -= 0.1
            step_of(model, optimizer, square, x)
        return mg.checkpoint(lambda x: mg.tanh(x) * x)(model.weight)

    def record():
        with random.stream(0):
            model = nn.Linear(3, 2)
        return mg.study(step, model, optim.Adam(model), numbers(2, 3))

    whole = record()
    for most in range(1, len(whole.steps) + 2):
        monkeypatch.setattr(recorder, "MOST_STEPS", most)
        found = record()
        assert found.truncated == (most <= len(whole.steps))
        assert len(found.steps) <= most + 2
        found.save(tmp_path / "a.json")
        assert str(load(tmp_path / "a.json")) == str(found)
        kinds = [s.kind for s in found.steps]
        assert kinds == [s.kind for s in whole.steps][: len(kinds)]


def test_a_full_record_of_a_jitted_step_puts_back_all(monkeypatch):
    monkeypatch.setattr(recorder, "MOST_STEPS", 2)

    def state(how):
        with random.stream(3):
            step, args, model, optimizer = jitted_step()
        with random.stream(4):
            how(step, *args)
        return {**model.state_dict(), **optimizer.state_dict()}

    expected = state(lambda f, *args: f.function(*args))
    got = state(mg.study)
    assert got.keys() == expected.keys()
    for name, x in expected.items():
        assert is_same(np.asarray(got[name]), np.asarray(x)), name


def test_of_many_bytes_statistics_are_kept(monkeypatch):
    monkeypatch.setattr(recorder, "MOST_BYTES", 4 * 400)
    a = numbers(10, 20)

    def run(a):
        y = mg.exp(a)
        z = mg.multiply(y, 2)
        a[...] = 0
        return z, mg.add(a, 1)

    record = mg.study(run, a)
    assert not record.truncated
    kept = [v.array is not None for v in record.values]
    assert kept[:2] == [True, True]
    assert not any(kept[2:])
    last = record.values[record.outputs[1]]
    assert (last.figures["low"], last.figures["high"], last.figures["std"]) == (1, 1, 0)
    read = record.steps[record.forward[-1]].inputs[0]["value"]
    assert record.values[read].figures["zeros"] == 200, "written after it was no longer kept"
    with pytest.raises(mg.errors.DataError, match="statistics and a picture only"):
        last.numbers()
    z = record.values[record.outputs[0]]
    np.testing.assert_allclose(z.norm(), np.linalg.norm(2 * np.exp(numbers(10, 20))), rtol=1e-4)


# ---------------------------------------------------------------------------------- garbage


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_looked_for_as_before_afterwards(fails):
    seen, before = [], gc.get_threshold()

    def step():
        seen.append(gc.get_threshold())
        if fails:
            raise RuntimeError

    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        mg.study(step)
    assert seen[0][0] > before[0]
    assert gc.get_threshold() == before


def test_the_calls_of_a_formula_in_an_op_that_is_made_of_ops_are_its_own():
    """`cross_entropy` is recorded as its parts, of which one has a formula that calls ops."""

    def step(x):
        return mg.cross_entropy(x, np.array([1]))

    record = mg.study(step, Tensor(np.float32([[1, 2, 3]]), requires_grad=True))
    counted = record.op("_count_of")
    inner = [s.op for s in record.steps if type(s) is Call and s.within == counted.step]
    assert inner == ["sum", "astype", "where"]
    assert [record.steps[i].op for i in record.forward] == [
        "reshape", "reshape", "cross_entropy_rows", "sum", "_count_of", "divide",
    ]  # fmt: skip
