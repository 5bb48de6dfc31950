"""A Learner put together as in Burn; and what is easily overlooked in any Learner."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from support import same_state

import minigrad as mg
from minigrad import nn, random
from minigrad.errors import StateError
from minigrad.learner import (
    BLEU,
    Accuracy,
    Callback,
    Checkpoint,
    JSONLog,
    Learner,
    LearnerBuilder,
    Mean,
)

rng = np.random.default_rng(0)
Y = rng.integers(0, 3, 50)
X = (rng.normal(size=(50, 2)) + Y[:, None]).astype("float32")


def network():
    with random.stream(0):
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def learner_of(callbacks=(), cls=Learner, loss="cross_entropy", **options):
    return cls(network(), "adam", loss, callbacks=callbacks, **{"verbose": 0, **options})


# -- the builder


def test_a_chain_of_settings_is_a_learner(tmp_path, capsys):
    built = (
        LearnerBuilder(tmp_path, verbose=2)
        .metric_train_numeric(Mean("loss"))
        .metric_valid_numeric(Mean("loss"))
        .metric_train_numeric(Accuracy())
        .metric_valid_numeric(Accuracy())
        .with_file_checkpointer(2)
        .num_epochs(4)
        .summary()
        .build(network(), "adam", 0.01, loss="cross_entropy")
    )
    trained = built.fit((X, Y), (X, Y), batch_size=10)
    assert trained is built.learner.model
    by_hand = learner_of(metrics=[Accuracy()])
    by_hand.optimizer.lr = 0.01
    history = by_hand.fit((X, Y), (X, Y), epochs=4, batch_size=10)
    assert dict(history) == dict(built.learner.history)
    same_state(by_hand.model.state_dict(), trained.state_dict())
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000010", "step-00000020"]
    said = capsys.readouterr().out.splitlines()
    low, high = min(history["val_loss"]), max(history["val_loss"])
    assert said[-2].startswith(f"val_loss: lowest {low:.4g} (epoch ")
    assert f"highest {high:.4g} (epoch " in said[-2]


def test_the_model_may_say_what_a_step_is():
    class WithStep(nn.Module):
        def __init__(self):
            self.inner = network()

        def loss_step(self, batch):
            x, y = batch
            return mg.cross_entropy(self.inner(x), y)

    built = LearnerBuilder(verbose=0).num_epochs(2).build(WithStep(), "adam")
    built.fit((X, Y), (X, Y))
    assert dict(built.learner.history) == dict(learner_of().fit((X, Y), (X, Y), epochs=2))
    assert not built.learner._compiled.plain


# -- what is left after interruptions and errors


class StopAt(Callback):
    def __init__(self, step, error=None):
        self.at, self.error = step, error

    def on_batch_end(self, learner, logs):
        if learner.step == self.at:
            self.at = None
            if self.error is not None:
                raise self.error
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_learner_can_be_used():
    learner = learner_of([StopAt(1)])
    with pytest.raises(KeyboardInterrupt):
        learner.fit((X, Y), batch_size=10)
    assert learner.evaluate((X, Y))["loss"] > 0
    assert learner.predict(X).shape == (50, 3)
    assert len(learner.fit((X, Y))["loss"]) == 1


def test_gradients_of_a_training_that_failed_are_forgotten():
    runs = []
    for failing in (True, False):
        learner = learner_of([StopAt(1 if failing else -1, RuntimeError("x"))], accumulate=2)
        start, moments = learner.model.state_dict(), learner.optimizer.state_dict()
        if failing:
            with pytest.raises(RuntimeError):
                learner.fit((X, Y), batch_size=10)
            learner.model.load_state_dict(start)  # of batch norm
            same_state(moments, learner.optimizer.state_dict())
        learner.fit((X, Y), batch_size=10)
        runs.append(learner.model.state_dict())
    same_state(*runs)


def test_a_step_that_cannot_be_captured_counts_once_for_batch_norm():
    class Looks(Learner):
        def loss_step(self, batch):
            loss = mg.cross_entropy(self.model(batch[0]), batch[1])
            return loss, {"shown": loss.item()}

    runs = []
    for jit in (True, False):
        learner = learner_of(cls=Looks, loss=None, jit=jit)
        learner.fit((X, Y), epochs=2)
        runs.append(learner.model.state_dict())
    same_state(*runs)
    assert runs[0]["1.num_batches_tracked"] == 4


@pytest.mark.parametrize("cls", ["Constant", "Words"])
def test_metrics_that_a_step_updates_without_arrays_count_in_every_step(cls, capsys):
    class Constant(Learner):
        def train_step(self, batch):
            self.metrics[0].update(7.0, len(batch[0]))
            return super().train_step(batch)

    class Words(Learner):
        def loss_step(self, batch):
            if self.model.training:
                self.metrics[0].update(["a b c d"], ["a b c d"])
            return self.loss(self.model(batch[0]), batch[1])

    kind, metric = {"Constant": (Constant, Mean()), "Words": (Words, BLEU())}[cls]
    learner = learner_of(cls=kind, metrics=[metric], verbose=2)
    history = learner.fit((X, Y), epochs=3, batch_size=10)
    assert history[metric.name] == pytest.approx([7.0 if cls == "Constant" else 100.0] * 3)
    assert (metric.weight if cls == "Constant" else metric.length) == (
        50 if cls == "Constant" else 20
    )
    assert "counts, and not in a program" in capsys.readouterr().out


@pytest.mark.parametrize("cut", range(1, 6))  # renames: of the whole, and of its four files
def test_saving_a_step_again_never_loses_it(cut, tmp_path, monkeypatch):
    learner = learner_of([Checkpoint(keep=1)], artifact_dir=tmp_path)
    learner.fit((X, Y))
    renames = []

    def killed(rename):
        def maybe(old, new):
            if "tmp-" not in Path(old).name:
                renames.append(new)
                if len(renames) == cut:
                    raise OSError("killed")
            return rename(old, new)

        return maybe

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(os, name, killed(getattr(os, name)))
        with pytest.raises(OSError, match="killed"):
            learner.artifacts.save(learner)
    resumed = learner_of([Checkpoint(keep=1)], artifact_dir=tmp_path)
    resumed.fit((X, Y), resume=True)
    assert resumed.step == 2
    same_state(learner.model.state_dict(), resumed.model.state_dict())
    resumed.artifacts.save(resumed)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


# -- figures and targets of other kinds


def test_figures_of_callbacks_may_be_arrays_and_tensors(tmp_path):
    class More(Callback):
        def on_epoch_end(self, learner, logs):
            logs |= {"a": np.float32(1.5), "b": np.array([2]), "c": mg.tensor(3.0), "d": 4}

    learner = learner_of([More(), JSONLog()], artifact_dir=tmp_path)
    history = learner.fit((X, Y))
    assert [history[k] for k in "abcd"] == [[1.5], [2.0], [3.0], [4.0]]
    assert all(type(history[k][0]) is float for k in "abcd")
    assert '"a": 1.5, "b": 2.0, "c": 3.0, "d": 4.0' in (tmp_path / "log.jsonl").read_text()


def test_metrics_of_batches_that_are_dictionaries():
    class ByName(Learner):
        def loss_step(self, batch):
            y_pred = self.model(batch["x"])
            return mg.cross_entropy(y_pred, batch["y"]), {"y_pred": y_pred, **self.more(batch)}

        def more(self, batch):
            return {"y": batch["y"]}

    class WithoutTargets(ByName):
        def more(self, batch):
            return {}

    batches = [{"y": Y[:20], "x": X[:20]}, {"y": Y[20:], "x": X[20:]}]
    pairs = [(b["x"], b["y"]) for b in batches]
    history = learner_of(cls=ByName, loss=None, metrics=["accuracy"]).fit(batches, batches)
    expected = learner_of(metrics=["accuracy"]).fit(pairs, pairs)
    assert dict(history) == dict(expected)
    assert list(learner_of(cls=WithoutTargets, loss=None).fit(batches)) == ["loss"]
    with pytest.raises(StateError, match=r"accuracy needs targets.* have train_step give 'y'"):
        learner_of(cls=WithoutTargets, loss=None, metrics=["accuracy"]).fit(batches)


def test_the_builder_takes_callbacks():
    class Count(mg.learner.Callback):
        epochs = 0

        def on_epoch_end(self, learner, logs):
            self.epochs += 1

    counted, model = Count(), nn.Linear(2, 1)
    builder = mg.learner.LearnerBuilder(callbacks=[counted], verbose=0).num_epochs(3)
    trained = builder.build(model, "sgd", 0.1, loss="mse").fit(
        (np.ones((4, 2), "f"), np.ones((4, 1), "f"))
    )
    assert counted.epochs == 3
    assert trained is model
