"""The Learner: what a step is, fit, evaluate, predict."""

import gc
import math

import numpy as np
import pytest
from support import same_state

import minigrad as mg
from minigrad import data, nn, optim, random
from minigrad.backend import to_device
from minigrad.errors import CaptureError, DivergenceError, ShapeError, StateError
from minigrad.learner import (
    Accuracy,
    Callback,
    Learner,
    Mean,
    MeanSquaredError,
    SparseCategoricalAccuracy,
)
from minigrad.learner.lookup import loss_of

rng = np.random.default_rng(0)
Y = rng.integers(0, 3, 50)
X = (rng.normal(size=(50, 2)) + 2 * Y[:, None]).astype("float32")
X_VALID, Y_VALID = X[:13] + 0.1, Y[:13]


def network(seed=0, dropout=0.0):
    with random.stream(seed):
        return nn.Sequential(
            nn.Linear(2, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )  # fmt: skip


def learner_of(model=None, optimizer="adam", loss="cross_entropy", cls=Learner, **options):
    return cls(model or network(), optimizer, loss, **{"verbose": 0, **options})


def tensors(*arrays):
    """A batch, on the backend in force."""
    return tuple(mg.tensor(a) for a in arrays)


# -- what it does by itself


def test_it_learns_and_measures():
    learner = learner_of(optimizer=lambda m: optim.Adam(m, lr=0.05), metrics=[Accuracy()])
    history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=20, batch_size=10)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert len(history["loss"]) == 20
    assert history["loss"][-1] < history["loss"][0] / 2
    assert (learner.epoch, learner.step) == (20, 100)
    found = learner.evaluate((X_VALID, Y_VALID), batch_size=5)
    assert found["accuracy"] == history["val_accuracy"][-1] > 0.7
    assert found["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert learner.history is history


def test_a_fit_is_the_loop_that_one_would_write():
    learner = learner_of(optimizer="sgd")
    batches = [tensors(X[:20], Y[:20]), tensors(X[20:], Y[20:])]
    history = learner.fit(batches, epochs=2)
    model = network()
    optimizer = optim.SGD(model)
    for epoch in range(2):
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = mg.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)  # means are weighted by samples
        assert history["loss"][epoch] == pytest.approx(total / 50, rel=1e-6)
    for name, values in model.state_dict().items():
        assert learner.model.state_dict()[name] == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize(
    "train",
    [
        (X, Y),
        (mg.tensor(X), mg.tensor(Y)),
        (X.tolist(), Y.tolist()),
        data.TensorDataset(X, Y),
        data.DataLoader(data.TensorDataset(X, Y), 32, shuffle=True),
    ],
)
def test_data_come_in_many_forms(train):
    history = learner_of().fit(train)
    assert history["loss"] == learner_of().fit((X, Y))["loss"]


def test_batches_are_any_iterable():
    batches = [tensors(X[:20], Y[:20]), list(tensors(X[20:], Y[20:]))]
    assert learner_of().fit(batches, batches[0])["val_loss"]

    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(zip(X, Y, strict=True))

    expected = learner_of().fit((X, Y), shuffle=False)["loss"]
    assert learner_of().fit(Stream())["loss"] == expected


@pytest.mark.parametrize("jit", [True, False])
def test_order_and_dropout_depend_on_the_seed_alone(jit):
    def run(seed):
        mg.randn(3)  # who else draws does not matter
        learner = learner_of(network(dropout=0.5), jit=jit)
        return dict(learner.fit((X, Y), epochs=2, batch_size=8, seed=seed))

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"accumulate": 3}])
def test_compiled_steps_do_what_plain_ones_do(options):
    found = []
    for jit in (True, False):
        learner = learner_of(network(dropout=0.3), jit=jit, metrics=[Accuracy()], **options)
        history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=3, batch_size=8)
        found.append((history, learner.model.state_dict()))
    for name in found[0][0]:
        assert found[0][0][name] == pytest.approx(found[1][0][name], rel=1e-4)
    for name, values in found[0][1].items():
        assert values == pytest.approx(found[1][1][name], abs=1e-4)


def test_a_loss_by_name_has_the_classes_where_the_metrics_have_them():
    x, y = mg.randn(4, 4, 4, key=mg.random.key(1)), np.arange(16).reshape(4, 4) % 4  # all fits
    for name in ("cross_entropy", "sparse_categorical_crossentropy"):
        loss = loss_of(name)(x, to_device(y))
        assert loss.item() == mg.cross_entropy(x, to_device(y), axis=-1).item()
    assert loss.item() != nn.functional.cross_entropy(x, to_device(y)).item()


def test_names_of_losses_metrics_and_optimizers():
    for loss in ("sparse_categorical_crossentropy", "cross_entropy", nn.functional.cross_entropy):
        learner = learner_of(loss=loss, optimizer=optim.SGD, metrics=["accuracy"])
        assert list(learner.fit((X, Y))) == ["loss", "accuracy"]
    regression = learner_of(loss="mse", metrics=["mse"])
    found = regression.fit((X, np.eye(3, dtype="float32")[Y]))
    assert found["mse"] == pytest.approx(found["loss"])
    with pytest.raises(ValueError, match=r"no loss is called 'cross_entopy'; did you mean 'cross_"):
        learner_of(loss="cross_entopy")
    with pytest.raises(ValueError, match=r"no metric is called 'acuracy'; did you mean 'accuracy'"):
        learner_of(metrics=["acuracy"])
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        learner_of(optimizer="adamm")


def test_predictions_are_arrays_in_order_and_in_eval_mode():
    model = network(dropout=0.5)
    learner = learner_of(model)
    model.eval()
    with mg.no_grad():
        wanted = mg.backend.to_numpy(model(mg.tensor(X)).data)
    model.train()
    loader = data.DataLoader(data.TensorDataset(X, Y), 20)
    for given in (X, mg.tensor(X), (X,), data.TensorDataset(X), loader, [mg.tensor(X)]):
        found = learner.predict(given, batch_size=7)
        assert type(found) is np.ndarray
        assert found == pytest.approx(wanted, abs=1e-6)
    assert all(m.training for _, m in model.named_modules())


def test_predictions_of_models_with_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 3)

        def forward(self, a, b):
            return {"sum": a + b, "out": (self.inner(a), b)}

    found = learner_of(Two()).predict((X, 2 * X), batch_size=20)
    assert found["sum"] == pytest.approx(3 * X)
    assert found["out"][0].shape == (50, 3)


# -- steps of one's own


class SharedStep(Learner):
    """As in Burn, where one step serves training and validation."""

    def loss_step(self, batch):
        x, y = batch
        y_pred = self.model(x)
        loss = mg.cross_entropy(y_pred, y)
        return loss, {"twice": 2 * loss, "y_pred": y_pred}


def test_loss_step_is_shared_by_training_and_validation():
    learner = learner_of(loss=None, cls=SharedStep, metrics=[Accuracy()])
    history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    assert list(history)[:3] == ["loss", "twice", "accuracy"]
    assert history["val_twice"] == pytest.approx([2 * v for v in history["val_loss"]])
    plain = learner_of(metrics=[Accuracy()]).fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    assert history["loss"] == pytest.approx(plain["loss"])


class OnlyLoss(Learner):
    def loss_step(self, batch):
        return mg.cross_entropy(self.model(batch[0]), batch[1])


class ByUpdate(Learner):
    def train_step(self, batch):
        x, y = batch
        loss = mg.cross_entropy(self.model(x), y)
        return {"loss": loss, **self.update(loss)}


class ByBackward(Learner):
    """As in Keras with PyTorch."""

    def train_step(self, batch):
        x, y = batch
        self.optimizer.zero_grad()
        loss = mg.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss}


class ByGradients(Learner):
    """As in Keras with TensorFlow."""

    def train_step(self, batch):
        x, y = batch
        variables = list(self.model.parameters())
        loss = mg.cross_entropy(self.model(x), y)
        gradients = mg.gradients([loss], variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss}


class ByFunction(Learner):
    """As in JAX."""

    def train_step(self, batch):
        def loss_of(model):
            return mg.cross_entropy(model(batch[0]), batch[1])

        loss, gradients = mg.value_and_grad(loss_of)(self.model)
        self.optimizer.update(self.model, gradients)
        return {"loss": loss}


@pytest.mark.parametrize("cls", [OnlyLoss, ByUpdate, ByBackward, ByGradients, ByFunction])
@pytest.mark.parametrize("jit", [True, False])
def test_every_way_to_write_a_step_trains_alike_and_can_be_evaluated(cls, jit):
    """Exercise 4 of the lecture: `evaluate` works though only `train_step` was written."""
    learner = learner_of(loss=None, cls=cls, jit=jit)
    plain = learner_of()
    history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    expected = plain.fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    for name in ("loss", "val_loss"):
        assert history[name] == pytest.approx(expected[name], rel=1e-5)
    assert not learner._compiled.plain
    before, moments = learner.model.state_dict(), learner.optimizer.state_dict()
    found = learner.evaluate((X, Y))
    assert found["loss"] == pytest.approx(plain.evaluate((X, Y))["loss"], rel=1e-5)
    same_state(before, learner.model.state_dict())
    same_state(moments, learner.optimizer.state_dict())
    assert all(p.grad is None for p in learner.model.parameters())
    assert "step" not in vars(learner.optimizer)


def test_with_a_loss_validation_is_by_the_loss():
    class Mixed(Learner):
        def train_step(self, batch):
            loss = 5 * self.loss(self.model(batch[0]), batch[1])
            return {"five times": loss, **self.update(loss)}

    learner = learner_of(cls=Mixed, metrics=[Accuracy()])
    assert list(learner.evaluate((X, Y))) == ["loss", "accuracy"]


def test_valid_step_of_ones_own():
    class Own(ByUpdate):
        def valid_step(self, batch):
            y_pred = self.model(batch[0])
            assert not y_pred.requires_grad
            return {"right": (y_pred.argmax(axis=1) == batch[1]).astype("float32").mean()}

    learner = learner_of(loss=None, cls=Own)
    history = learner.fit((X, Y), (X_VALID, Y_VALID))
    assert list(history) == ["loss", "val_right"]
    assert learner.evaluate((X_VALID, Y_VALID)) == {"right": history["val_right"][-1]}


def test_valid_step_may_add_to_what_there_is():
    class More(ByBackward):
        def valid_step(self, batch):
            return {**super().valid_step(batch), "more": 1.0}

    learner = learner_of(loss=None, cls=More)
    history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    expected = learner_of().fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    assert history["val_more"] == [1.0, 1.0]


def test_steps_with_programs_of_their_own_are_evaluated_without_training():
    class Parts(Learner):
        def __init__(self, *args, **options):
            super().__init__(*args, jit=False, **options)
            self.fast = mg.jit(self.part)

        def part(self, x, y):
            loss = mg.cross_entropy(self.model(x), y)
            self.update(loss)
            return loss

        def train_step(self, batch):
            return {"loss": self.fast(*batch)}

    learner = Parts(network(), "adam", verbose=0)
    history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    expected = learner_of().fit((X, Y), (X_VALID, Y_VALID), epochs=2)
    assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)


def test_a_train_step_that_changes_modes_leaves_no_trace_in_evaluation():
    class Modes(Learner):
        def train_step(self, batch):
            self.model.train()
            loss = mg.cross_entropy(self.model(batch[0]), batch[1])
            return {"loss": loss, **self.update(loss)}

    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    learner = learner_of(model, loss=None, cls=Modes)
    learner.fit((X, Y))
    before = model.state_dict()
    learner.evaluate((X, Y))
    same_state(before, model.state_dict())


class WithTrackers(Learner):
    """As in Keras: metrics are made, updated and listed by the model's author."""

    def __init__(self, *args, **options):
        self.loss_tracker, self.right = Mean("My_loss"), SparseCategoricalAccuracy("My_accuracy")
        super().__init__(*args, **options)

    @property
    def metrics(self):
        return [self.loss_tracker, self.right]

    def train_step(self, batch):
        x, y = batch
        y_pred = self.model(x)
        loss = mg.cross_entropy(y_pred, y)
        self.update(loss)
        self.loss_tracker.update(loss, len(x))
        self.right.update(y_pred, y)
        return {m.name: m.result() for m in self.metrics}


def test_metrics_in_the_way_of_keras(capsys):
    learner = learner_of(loss=None, cls=WithTrackers, verbose=2)
    history = learner.fit((X, Y), (X_VALID, Y_VALID), epochs=3)
    expected = learner_of(metrics=[Accuracy()], jit=False).fit((X, Y), (X_VALID, Y_VALID), epochs=3)
    for mine, theirs in (("My_loss", "loss"), ("My_accuracy", "accuracy")):
        assert history[mine] == pytest.approx(expected[theirs])
        assert history[f"val_{mine}"] == pytest.approx(expected[f"val_{theirs}"])
    assert "train_step runs without jit, so more slowly: numpy() asks" in capsys.readouterr().out
    seen = learner.loss_tracker.state_dict()
    learner.evaluate((X, Y))
    assert learner.loss_tracker.state_dict() == seen


def test_a_mean_among_the_metrics_is_left_to_the_step():
    class Own(Learner):
        def train_step(self, batch):
            self.metrics[0].update(7.0, len(batch[0]))
            return super().train_step(batch)

    learner = learner_of(cls=Own, metrics=[Mean("seven"), Accuracy()], jit=False)
    history = learner.fit((X, Y))
    assert history["seven"] == [7.0]
    assert math.isnan(learner.evaluate((X, Y))["seven"])


def test_steps_must_give_figures():
    class Nothing(Learner):
        def train_step(self, batch):
            self.update(self.loss_step(batch)[0])

    with pytest.raises(TypeError, match="train_step must give a dictionary of figures, got None"):
        learner_of(cls=Nothing).fit((X, Y))
    with pytest.raises(StateError, match=r"a subclass with loss_step\(batch\) or train_step"):
        learner_of(loss=None).fit((X, Y))


# -- jit, where it cannot be


class Counting(Learner):
    """Every third step has another loss."""

    count = 0

    def train_step(self, batch):
        self.count += 1
        loss = mg.cross_entropy(self.model(batch[0]), batch[1])
        loss = loss * 3 if self.count % 3 == 0 else loss
        return {"loss": loss, **self.update(loss)}


class Annealing(Learner):
    def loss_step(self, batch):
        return mg.cross_entropy(self.model(batch[0]), batch[1]) * min(1.0, 0.2 * self.epoch)


class ByStep(Learner):
    def loss_step(self, batch):
        return mg.cross_entropy(self.model(batch[0]), batch[1]) * (1 + self.step)


class Printing(OnlyLoss):
    def train_step(self, batch):
        print("a step")
        return super().train_step(batch)


class Collecting(OnlyLoss):
    def train_step(self, batch):
        found = super().train_step(batch)
        self.losses.append(found["loss"].item() if self.jit is False else found["loss"])
        return found


class Branching(Learner):
    def loss_step(self, batch):
        loss = mg.cross_entropy(self.model(batch[0]), batch[1])
        return loss * 2 if loss > 1 else loss


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Counting, "the step sets learner.count"),
        (Annealing, "Learner.epoch asks for a value"),
        (ByStep, "Learner.step asks for a value"),
        (Printing, "it printed"),
        (Collecting, "entries and has"),
        (Branching, "a truth value asks"),
    ],
)
def test_a_step_that_cannot_be_captured_runs_as_it_is(cls, reason, capsys):
    found = []
    for jit in (True, False):
        learner = learner_of(loss=None, cls=cls, jit=jit, verbose=2)
        learner.losses = []
        found.append((dict(learner.fit((X, Y), epochs=3, batch_size=10)), learner))
    out = capsys.readouterr().out
    assert found[0][0] == found[1][0]
    same_state(found[0][1].model.state_dict(), found[1][1].model.state_dict())
    assert found[0][1].count == found[1][1].count == 15 if cls is Counting else True
    assert len(found[0][1].losses) == len(found[1][1].losses)
    assert out.count("runs without jit, so more slowly: ") == 1
    assert reason in out


def test_a_setting_that_changes_between_epochs_is_seen():
    class Weighted(Learner):
        weight = 1.0

        def loss_step(self, batch):
            return mg.cross_entropy(self.model(batch[0]), batch[1]) * self.weight

    class Rising(Callback):
        def on_epoch_start(self, learner):
            learner.weight = 1.0 + learner.epoch

    runs = []
    for jit in (True, False):
        learner = learner_of(loss=None, cls=Weighted, jit=jit, callbacks=[Rising()])
        runs.append(learner.fit((X, Y), epochs=4, batch_size=10)["loss"])
        assert not learner._compiled.plain
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


def test_a_setting_that_changes_in_every_step_ends_compiling(capsys):
    class Weighted(Learner):
        weight = 1.0

        def loss_step(self, batch):
            return mg.cross_entropy(self.model(batch[0]), batch[1]) * self.weight

    class Rising(Callback):
        def on_batch_start(self, learner, batch):
            learner.weight = 1.0 + learner.step

    runs = []
    for jit in (True, False):
        learner = learner_of(loss=None, cls=Weighted, jit=jit, callbacks=[Rising()], verbose=2)
        runs.append(learner.fit((X, Y), epochs=4, batch_size=10)["loss"])
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)
    assert "again and again with another Weighted.weight" in capsys.readouterr().out


def test_errors_of_a_step_are_not_hidden():
    with pytest.raises(ShapeError, match="linear"):
        learner_of().fit((X[:, :1], Y))

    class Failing(Learner):
        def loss_step(self, batch):
            raise CaptureError("of the user's own")

    with pytest.raises(CaptureError, match="of the user's own"):
        learner_of(cls=Failing).fit((X, Y))


# -- several optimizers


class Pair(nn.Module):
    def __init__(self):
        self.dis, self.gen = nn.Linear(2, 1), nn.Linear(3, 2)

    def forward(self, z):
        return self.gen(z)


class GAN(Learner):
    def train_step(self, batch):
        x, z = batch
        model = self.model
        fake = model.gen(z)
        d_loss = (mg.softplus(-model.dis(x)) + mg.softplus(model.dis(fake.detach()))).mean()
        self.update(d_loss, "dis")
        g_loss = mg.softplus(-model.dis(model.gen(z))).mean()
        self.update(g_loss, "gen")
        return {"d_loss": d_loss, "g_loss": g_loss}


Z = rng.normal(size=(50, 3)).astype("float32")


def pair():
    with random.stream(3):
        return Pair()


@pytest.mark.parametrize("jit", [True, False])
def test_named_optimizers_train_their_own_parts(jit):
    learner = learner_of(pair(), {"dis": "adam", "gen": optim.SGD}, None, cls=GAN, jit=jit)
    assert list(learner.optimizers) == ["dis", "gen"]
    history = learner.fit((X, Z), (X, Z), epochs=3, batch_size=10)
    assert list(history) == ["d_loss", "g_loss", "val_d_loss", "val_g_loss"]
    assert learner._compiled.plain == ({"train_step"} if jit else set())
    model = pair()
    d, g = optim.Adam(model.dis), optim.SGD(model.gen)
    for x, z in (b for _ in range(3) for b in _epoch(_)):
        fake = model.gen(z)
        (mg.softplus(-model.dis(x)) + mg.softplus(model.dis(fake.detach()))).mean().backward()
        d.step()
        d.zero_grad()
        mg.softplus(-model.dis(model.gen(z))).mean().backward()
        g.step()
        g.zero_grad()
        d.zero_grad()
    for name, values in model.state_dict().items():
        assert learner.model.state_dict()[name] == pytest.approx(values, abs=1e-5)


def _epoch(number):
    loader = data.DataLoader(data.TensorDataset(X, Z), 10, shuffle=True, seed=0)
    loader.set_epoch(number)
    return loader


def test_a_gan_of_compiled_parts():
    """Several updates in a step, as where the discriminator learns twice: a program for each."""

    class Parts(GAN):
        def __init__(self, *args, compiled, **options):
            super().__init__(*args, jit=False, **options)
            if compiled:
                self.discriminate = mg.jit(self.discriminate)
                self.generate = mg.jit(self.generate)

        def discriminate(self, x, z):
            with mg.no_grad():
                fake = self.model.gen(z)
            loss = (mg.softplus(-self.model.dis(x)) + mg.softplus(self.model.dis(fake))).mean()
            self.update(loss, "dis")
            return loss

        def generate(self, z):
            loss = mg.softplus(-self.model.dis(self.model.gen(z))).mean()
            self.update(loss, "gen")
            return loss

        def train_step(self, batch):
            x, z = batch
            for _ in range(2):
                d_loss = self.discriminate(x, z)
            return {"d_loss": d_loss, "g_loss": self.generate(z)}

    found = []
    for compiled in (True, False):
        learner = Parts(pair(), {"dis": "adam", "gen": "adam"}, verbose=0, compiled=compiled)
        found.append(learner.fit((X, Z), epochs=3, batch_size=10))
    for name in ("d_loss", "g_loss"):
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-4)


def test_who_owns_a_parameter_is_checked():
    model = pair()
    with pytest.raises(StateError, match=r"gen\.weight' belongs to none"):
        Learner(model, {"dis": "adam"})
    with pytest.raises(StateError, match=r"'dis\.weight' belongs to dis and both"):
        Learner(model, {"dis": "adam", "both": optim.Adam(model)})
    with pytest.raises(StateError, match="optimizer 'critic' is for the part of the model of that"):
        Learner(model, {"critic": "adam", "gen": "adam"})
    learner = learner_of(model, {"dis": "adam", "gen": "adam"}, None, cls=GAN)
    with pytest.raises(KeyError, match="no optimizer None; there are 'dis', 'gen'"):
        learner.optimizer  # noqa: B018


# -- clipping, accumulating, figures that are not finite


@pytest.mark.parametrize("jit", [True, False])
def test_accumulated_batches_are_as_one(jit):
    """Also where they differ in size, and the last ones of an epoch are fewer."""
    parts = [tensors(X[a:b], Y[a:b]) for a, b in ((0, 7), (7, 20), (20, 30), (30, 48), (48, 50))]
    whole = [tensors(X[a:b], Y[a:b]) for a, b in ((0, 20), (20, 48), (48, 50))]
    small = learner_of(accumulate=2, clip_norm=0.5, jit=jit)
    large = learner_of(clip_norm=0.5, jit=jit)
    a, b = small.fit(parts, epochs=3), large.fit(whole, epochs=3)
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    for name, values in large.model.state_dict().items():
        assert small.model.state_dict()[name] == pytest.approx(values, abs=1e-5)
    assert small.optimizer.state_dict()["step.0.weight"] == 9


class Sentences(Learner):
    """Batches are lists of (words, label), of which a word of 0 is none."""

    def prepare(self, batch):
        words = np.array([words for words, _ in batch])
        return mg.tensor(words), mg.tensor(np.array([label for _, label in batch]))

    def weigh(self, batch):
        return sum(word > 0 for words, _ in batch for word in words)

    def loss_step(self, batch):
        words, labels = batch
        y = self.model(words)
        targets = mg.where(words == 0, -1, labels[:, None])
        return mg.cross_entropy(y, targets, ignore_index=-1), {"y_pred": y[:, 0]}


def sentences(jit=True, **options):
    with random.stream(0):
        model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    return learner_of(model, loss=None, cls=Sentences, jit=jit, **options)


SENTENCES = [([1, 0, 0], 0), ([2, 3, 0], 1), ([4, 4, 2], 0), ([3, 1, 2], 1), ([1, 0, 0], 1)]


@pytest.mark.parametrize("jit", [True, False])
def test_batches_that_are_no_arrays_and_a_loss_that_is_a_mean_over_words(jit):
    batches = [SENTENCES[:2], SENTENCES[2:4], SENTENCES[4:]]
    seen = []

    class Watch(Callback):
        def on_batch_end(self, learner, logs):
            seen.append((logs["loss"], learner.batch_weight))

    learner = sentences(jit, optimizer=lambda m: optim.SGD(m, lr=0.0), callbacks=[Watch()])
    learner._metrics = [Accuracy()]
    history = learner.fit(batches, [SENTENCES])
    assert [n for _, n in seen] == [3, 6, 1]
    mean = sum(loss * n for loss, n in seen) / 10
    [whole] = [learner.evaluate([SENTENCES])]
    assert whole["loss"] == pytest.approx(mean, rel=1e-6)
    for name in ("loss", "val_loss"):
        assert history[name] == [pytest.approx(mean, rel=1e-6)]
    assert history["accuracy"] == [whole["accuracy"]]
    found = learner.predict(batches)
    assert found.shape == (5, 3, 2)
    assert found[:, 0].argmax(-1).tolist() == learner.predict([SENTENCES])[:, 0].argmax(-1).tolist()


def test_accumulated_batches_are_weighed_alike():
    small, large = sentences(accumulate=2), sentences()
    small.fit([SENTENCES[:2], SENTENCES[2:]], epochs=3)
    large.fit([SENTENCES], epochs=3)
    for name, values in large.model.state_dict().items():
        assert small.model.state_dict()[name] == pytest.approx(values, abs=1e-5)


def test_a_step_cannot_read_how_much_its_batch_counts():
    class Reads(Sentences):
        def loss_step(self, batch):
            return super().loss_step(batch)[0] * self.batch_weight

    learner = learner_of(sentences().model, loss=None, cls=Reads)
    learner.fit([SENTENCES, SENTENCES[:3]], epochs=2)
    assert learner._compiled.plain == {"train_step"}


def test_accumulating_two_losses_of_one_optimizer_is_refused():
    class Twice(Learner):
        def train_step(self, batch):
            self.update(self.loss_step(batch)[0])
            return self.update(self.loss_step(batch)[0])

    with pytest.raises(StateError, match="an optimizer has one loss in a step"):
        learner_of(cls=Twice, accumulate=2, jit=False).fit((X, Y))


def test_gradients_are_clipped():
    learner = learner_of(optimizer=lambda m: optim.SGD(m, lr=1.0), clip_norm=1e-3)
    before = learner.model.state_dict()
    learner.fit((X, Y), batch_size=50)
    after = learner.model.state_dict()
    moved = math.sqrt(sum(((after[k] - before[k]) ** 2).sum() for k in after))
    assert moved == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("on_nan", ["warn", "raise", "ignore"])
def test_a_loss_that_is_not_finite_is_reported(on_nan, capsys):
    learner = learner_of(loss="mse", on_nan=on_nan, verbose=2)
    target = np.full((50, 3), math.inf, "float32")
    if on_nan == "raise":
        with (
            np.errstate(all="ignore"),
            pytest.raises(
                FloatingPointError, match=r"loss is inf at step 1; .*detect_anomaly"
            ) as caught,
        ):
            learner.fit((X, target), batch_size=10)
        assert type(caught.value) is DivergenceError
        assert (caught.value.figure, caught.value.value) == ("loss", math.inf)
        assert caught.value.step == learner.step == 1
        return
    with np.errstate(all="ignore"):
        learner.fit((X, target), batch_size=10)
    said = capsys.readouterr().out.count("with mg.detect_anomaly():")
    assert said == (1 if on_nan == "warn" else 0)


# -- modes


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_as_they_were_also_after_errors(training):
    class Watching(Learner):
        def loss_step(self, batch):
            seen.append((self.model.training, mg.tensor([1.0], requires_grad=True)))
            seen[-1] = (seen[-1][0], (seen[-1][1] * 2).requires_grad)
            if self.model.training is broken:
                raise RuntimeError("in the midst")
            return super().loss_step(batch)

    model = network()
    model.train(training)
    model[2].train(not training)
    for broken in (None, True, False):
        seen = []
        learner = learner_of(model, cls=Watching, jit=False)
        if broken is None:
            learner.fit((X, Y), (X_VALID, Y_VALID))
            assert seen == [(True, True), (True, True), (False, False)]
        else:
            with pytest.raises(RuntimeError, match="in the midst"):
                learner.fit((X, Y), (X_VALID, Y_VALID))
            with mg.no_grad():
                pass
        assert model.training is training
        assert model[2].training is not training
        assert not learner._frozen


# -- errors


def test_what_cannot_be_data_is_named():
    with pytest.raises(StateError, match=r"give arrays as a pair, fit\(\(x, y\)\)"):
        learner_of().fit(X, Y)
    with pytest.raises(TypeError, match=r"got a ndarray; arrays go together, as in evaluate\(\(x,"):
        learner_of().evaluate(X, Y)
    with pytest.raises(TypeError, match=r"expected arrays .* got a int"):
        learner_of().fit(3)
    for empty in ([], (X[:0], Y[:0])):
        with pytest.raises(StateError, match="no batch to train on"):
            learner_of().fit(empty)
        with pytest.raises(StateError, match="evaluate: there was no batch"):
            learner_of().evaluate(empty)
        with pytest.raises(StateError, match="nothing to predict from"):
            learner_of().predict(empty)
    used_up = (tensors(X, Y) for _ in range(2))
    with pytest.raises(StateError, match="an iterator that is used up"):
        learner_of().fit(used_up, epochs=2)


def test_what_cannot_be_an_option_is_named():
    for options, text in (
        ({"on_nan": "stop"}, "on_nan must be"),
        ({"on_interrupt": "ignore"}, "on_interrupt must be 'raise' or 'stop', got 'ignore'"),
        ({"accumulate": 0}, "accumulate to be an integer >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=text):
            learner_of(**options)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        learner_of().fit((X, Y), batch_size=0)
    with pytest.raises(ValueError, match="resume must be True, False or 'here', got 'there'"):
        learner_of().fit((X, Y), resume="there")
    for epochs in (-1, 1.5):
        with pytest.raises(ValueError, match="epochs must be an integer from 0 on"):
            learner_of().fit((X, Y), epochs=epochs)
    assert dict(learner_of().fit((X, Y), epochs=0)) == {}


def test_a_model_without_labels_needs_no_more_than_a_loss_step():
    class Reconstructs(Learner):
        def loss_step(self, batch):
            return mg.mse_loss(self.model(batch[0]), batch[0])

    learner = learner_of(nn.Linear(2, 2), loss=None, cls=Reconstructs)
    history = learner.fit(X, X_VALID, epochs=2)
    assert history["val_loss"][1] < history["val_loss"][0]
    assert learner.evaluate(X)["loss"] > 0


def test_a_learner_leaves_nothing_behind():
    learner = learner_of(metrics=[MeanSquaredError()], loss="mse")
    learner.fit((X, np.eye(3, dtype="float32")[Y]))
    del learner
    gc.collect()
