"""Checkpoints, and trainings that go on after an interruption as if there had been none."""

import _thread
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import same_state

import minigrad as mg
from minigrad import data, nn, optim, random, runs
from minigrad.errors import RunError, StateError
from minigrad.learner import (
    Accuracy,
    Averages,
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    GradientNorms,
    JSONLog,
    Learner,
    LearningRate,
    Mean,
    Plateau,
)

rng = np.random.default_rng(0)
Y = rng.integers(0, 3, 50)
X = (rng.normal(size=(50, 2)) + Y[:, None]).astype("float32")


def network(seed=0):
    with random.stream(seed):
        return nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        )  # fmt: skip


def learner_of(folder, callbacks=(), **options):
    options = {"verbose": 0, "loss": "cross_entropy", "metrics": [Accuracy()], **options}
    return Learner(network(), options.pop("optimizer", "adam"), artifact_dir=folder,
                   callbacks=callbacks, **options)  # fmt: skip


class StopAt(Callback):
    """Presses Ctrl-C after a step, or at another point."""

    def __init__(self, step, point="on_batch_end", how=_thread.interrupt_main):
        self.at, self.how = step, how
        setattr(self, point, self.press)

    def press(self, learner, *_):
        if learner.step == self.at:
            self.at = None
            self.how()


def raised():
    raise KeyboardInterrupt


def everything(learner):
    """All state of a learner, to be compared to the bit."""
    found = {f"model.{k}": v for k, v in learner.model.state_dict().items()}
    for name, optimizer in learner.optimizers.items():
        found |= {f"{name}.{k}": v for k, v in optimizer.state_dict().items()}
    figures = {f"history.{k}": np.array(v) for k, v in learner.history.items()}
    return found | figures


def same_learner(a, b):
    same_state(everything(a), everything(b))


def fit(learner, epochs=4, **options):
    train = options.pop("train", (X, Y))
    return learner.fit(train, (X[:20], Y[:20]), epochs, 8, valid_batch_size=6, seed=5, **options)


def watchers():
    return [
        GradientNorms(), EarlyStopping(patience=2), Plateau(patience=0, factor=0.5),
        Checkpoint(every=2, keep=1, monitor="val_accuracy"), JSONLog(every=3), CSVLog(),
    ]  # fmt: skip


# Seven steps an epoch: in the midst of the first and of a later one, and at an epoch's end.
@pytest.mark.parametrize("step", [3, 9, 14])
@pytest.mark.parametrize("how", [_thread.interrupt_main, raised])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(step, how, tmp_path, capsys):
    whole = learner_of(tmp_path / "whole", watchers())
    fit(whole)
    cut = learner_of(tmp_path / "cut", [*watchers(), StopAt(step, how=how)], verbose=2)
    with pytest.raises(KeyboardInterrupt):
        fit(cut)
    saved = tmp_path / "cut" / "checkpoints" / f"step-{step:08}"
    out = capsys.readouterr().out
    assert f"interrupted in epoch {1 + step // 7 - (step == 14)} after step {step}, saved to" in out
    assert saved.as_posix() in out
    call = "learner.fit(train, valid, epochs=4, batch_size=8, shuffle=True, seed=5, "
    assert f"to go on: {call}valid_batch_size=6, resume=True)" in out
    resumed = learner_of(tmp_path / "cut", [*watchers(), StopAt(None)])
    mg.randn(5)
    fit(resumed, resume=True)
    same_learner(whole, resumed)
    for name in ("history.csv", "log.jsonl", "best.safetensors"):
        files = [(tmp_path / run / name).read_bytes() for run in ("whole", "cut")]
        assert files[0] == files[1], name


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}])
def test_the_same_learner_can_go_on(options, tmp_path):
    whole = learner_of(None, watchers()[:3], **options)
    fit(whole)
    learner = learner_of(tmp_path, [*watchers()[:3], StopAt(5), StopAt(9, how=raised)], **options)
    with pytest.raises(KeyboardInterrupt):
        fit(learner)
    for _ in range(3 if options else 2):
        try:
            fit(learner, resume=True)
        except KeyboardInterrupt:
            continue
    same_learner(whole, learner)


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(
    "train",
    [
        lambda: data.DataLoader(data.TensorDataset(X, Y), 9, shuffle=True, seed=3),
        lambda: [(X[i : i + 9], Y[i : i + 9]) for i in range(0, 50, 9)],
    ],
)
def test_loaders_and_lists_go_on_at_the_exact_batch(train, jit, tmp_path):
    whole = learner_of(None, jit=jit)
    fit(whole, train=train())
    cut = learner_of(tmp_path, [StopAt(8)], jit=jit)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, train=train())
    resumed = learner_of(tmp_path, [StopAt(None)], jit=jit)
    fit(resumed, train=train(), resume=True)
    same_learner(whole, resumed)


def test_an_interruption_within_validation(tmp_path):
    # Without jit: a step that asks for the epoch runs as it is, and what NumPy adds up is rounded
    # otherwise than in a program.
    whole = learner_of(None, jit=False)
    fit(whole)

    class Pressed(Learner):
        pressed = False

        def valid_step(self, batch):
            if self.epoch == 1 and not self.pressed:
                self.pressed = True
                _thread.interrupt_main()
            return super().valid_step(batch)

    options = {"verbose": 0, "jit": False}
    cut = Pressed(network(), "adam", "cross_entropy", [Accuracy()], (), tmp_path, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(cut)
    assert len(cut.history["loss"]) == 1
    resumed = learner_of(tmp_path, jit=False)
    fit(resumed, resume=True)
    same_learner(whole, resumed)


def test_an_interruption_within_a_step_points_at_the_last_checkpoint(tmp_path, capsys):
    class Pressed(Learner):
        def loss_step(self, batch):
            if self.step == 9:
                raise KeyboardInterrupt
            return super().loss_step(batch)

    def learner(folder):
        return Pressed(
            network(), "adam", "cross_entropy", [Accuracy()], [Checkpoint()] if folder else [],
            folder, jit=False,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        fit(learner(tmp_path))
    out = capsys.readouterr().out
    assert "after step 9, within a step; the last checkpoint is" in out
    assert "step-00000007\nto go on: learner.fit(" in out
    with pytest.raises(KeyboardInterrupt):
        fit(learner(None))
    assert "there is nothing to go on from: give an artifact_dir" in capsys.readouterr().out


def test_accumulated_gradients_are_not_cut_in_two(tmp_path):
    whole = learner_of(None, accumulate=3)
    fit(whole)
    cut = learner_of(tmp_path, [StopAt(4)], accumulate=3)
    with pytest.raises(KeyboardInterrupt):
        fit(cut)
    assert cut.step == 6
    resumed = learner_of(tmp_path, [StopAt(None)], accumulate=3)
    fit(resumed, resume=True)
    same_learner(whole, resumed)


def test_more_epochs_after_the_end(tmp_path):
    whole = learner_of(None)
    fit(whole, epochs=5)
    for epochs, resume in ((2, False), (4, True), (5, True), (3, True)):
        learner = learner_of(tmp_path, [Checkpoint()])
        fit(learner, epochs=epochs, resume=resume)
        assert len(learner.history["loss"]) == max(epochs, 5 if epochs == 3 else 0)
    same_learner(whole, learner)


def test_a_training_that_was_stopped_early_stays_so(tmp_path):
    def learner():
        return learner_of(
            tmp_path, [EarlyStopping("loss", patience=1, mode="max"), Checkpoint()]
        )  # fmt: skip

    first = learner()
    history = fit(first, epochs=20)
    assert len(history["loss"]) < 20
    second = learner()
    fit(second, epochs=20, resume=True)
    same_learner(first, second)


def test_schedules_and_several_optimizers_go_on(tmp_path):
    def learner(callbacks, folder=tmp_path):
        model = network()
        optimizers = {
            "first": optim.SGD(model[0], lr=lambda t: 0.1 * 0.9**t, momentum=0.9),
            "rest": optim.Adam({n: p for n, p in model.named_parameters() if n[0] != "0"}),
        }
        rate = LearningRate(lambda epoch: 0.01 / (1 + epoch), "rest")
        return Both(model, optimizers, "mse", (), [rate, *callbacks], folder, verbose=0)

    class Both(Learner):
        def train_step(self, batch):
            loss = mg.cross_entropy(self.model(batch[0]), batch[1])
            loss.backward()
            for optimizer in self.optimizers.values():
                optimizer.step()
                optimizer.zero_grad()
            return {"loss": loss}

        def valid_step(self, batch):
            return {"loss": mg.cross_entropy(self.model(batch[0]), batch[1])}

    whole = learner([], None)
    history = fit(whole)
    assert history["lr_rest"] == [0.01, 0.005, 0.01 / 3, 0.0025]
    with pytest.raises(KeyboardInterrupt):
        fit(learner([StopAt(11)]))
    resumed = learner([StopAt(None)])
    fit(resumed, resume=True)
    same_learner(whole, resumed)


@pytest.mark.parametrize("jit", [True, False])
def test_a_learner_is_saved_where_one_likes_and_goes_on_from_there(jit, tmp_path):
    whole = learner_of(tmp_path / "whole", watchers(), jit=jit)
    fit(whole)
    first = learner_of(tmp_path / "first", watchers(), jit=jit)
    fit(first, epochs=2)
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    for _ in range(2):  # a second save replaces the first
        first.save(place, {"config.json": {"depth": 2}})
    names = sorted(p.name for p in place.iterdir())
    assert {"config.json", "manifest.json", "mine.txt", "training.json"} < set(names)
    assert set(runs.verify_manifest(place)) == set(names) - {"manifest.json", "mine.txt"}
    second = learner_of(tmp_path / "second", watchers(), jit=jit)
    second.load(place)
    assert (second.epoch, second.step) == (2, 14)
    same_learner(first, second)
    fit(second, resume="here")
    fit(first, resume="here")
    for learner in (first, second):
        same_learner(whole, learner)
        fit(learner, resume="here")  # nothing is left to do
        same_learner(whole, learner)


@pytest.mark.parametrize("step", [3, 9, 14])
def test_here_is_also_in_the_midst_of_an_epoch(step):
    whole = learner_of(None, watchers()[:3])
    fit(whole, resume="here")  # there is nothing to go on from: it begins
    cut = learner_of(None, [*watchers()[:3], StopAt(step)])
    with pytest.raises(KeyboardInterrupt):
        fit(cut)
    mg.randn(5)
    fit(cut, resume="here")
    same_learner(whole, cut)


def test_within_a_step_a_learner_is_neither_saved_nor_goes_on(tmp_path):
    def fail(_):
        raise ZeroDivisionError

    learner = learner_of(None)
    learner.prepare = lambda batch: batch if learner.step < 9 else fail(batch)
    with pytest.raises(ZeroDivisionError):
        fit(learner)
    with pytest.raises(StateError, match="it cannot be saved, as step 9 or its epoch did not end"):
        learner.save(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(StateError, match="it cannot go on from here"):
        fit(learner, resume="here")
    del learner.prepare
    fit(learner)
    with pytest.raises(StateError, match="of a training with seed=5, not 6"):
        learner.fit((X, Y), epochs=9, seed=6, resume="here")


def test_what_cannot_be_loaded_leaves_the_place(tmp_path):
    learner = learner_of(None)
    fit(learner, epochs=1)
    learner.save(tmp_path)
    other = learner_of(None, [EarlyStopping()])
    fit(other, epochs=2)
    with pytest.raises(StateError, match="this learner has"):
        other.load(tmp_path)
    assert other.epoch == 2
    with pytest.raises(RunError):
        other.load(tmp_path / "none")
    assert other.epoch == 2


# -- what is in the directory


def test_the_artifact_directory(tmp_path):
    folder = tmp_path / "a" / "run"
    learner = learner_of(folder, [Checkpoint(every=2, keep=2)], config={"depth": 2})
    fit(learner, epochs=6)
    kept = [p.name for p in learner.artifacts.checkpoints()]
    assert kept == ["step-00000028", "step-00000042"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["kind"] == "minigrad.learner"
    assert config["config"] == {"depth": 2}
    assert (config["epochs"], config["seed"], config["loss"]) == (6, 5, "cross_entropy")
    assert config["optimizers"]["optimizer"]["class"] == "Adam"
    files = sorted(p.name for p in (folder / "checkpoints" / kept[0]).iterdir())
    wanted = ["manifest.json", "model.safetensors", "optimizer.safetensors", "training.json"]
    assert files == wanted
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoints", "config.json"]
    fit(learner, epochs=2)  # begins anew
    assert [p.name for p in learner.artifacts.checkpoints()] == ["step-00000014"]


def test_the_best_weights_are_kept(tmp_path):
    learner = learner_of(tmp_path, [Checkpoint(every=100, monitor="val_loss"), LearningRate(rate)])
    history = fit(learner, epochs=5)
    best = int(np.argmin(history["val_loss"]))
    assert best < 4
    learner.model.load_state_dict(runs.load_arrays(tmp_path / "best.safetensors"))
    found = learner.evaluate((X[:20], Y[:20]), batch_size=6)
    assert found["loss"] == pytest.approx(history["val_loss"][best], rel=1e-5)


def rate(epoch):
    return (0.01, 0.01, 0.5, 3.0, 9.0)[epoch]


@pytest.mark.parametrize("content", ["notes.txt", "config.json", "a list", "checkpoints"])
def test_a_directory_of_somebody_else_is_not_touched(content, tmp_path):
    if content == "checkpoints":
        (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
        (tmp_path / "checkpoints" / "step-00000001" / "training.json").write_text("{}")
    else:
        name = "config.json" if content == "a list" else content
        (tmp_path / name).write_text("[]" if content == "a list" else '{"mine": 1}')
    before = sorted(tmp_path.rglob("*"))
    learner = learner_of(tmp_path)
    with pytest.raises(RunError, match="was not made by a Learner; nothing in it was touched"):
        fit(learner)
    assert learner.step == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_place_of_a_directory_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="was not made by a Learner"):
        fit(learner_of(tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "mine"


def test_what_others_put_beside_the_checkpoints_stays(tmp_path):
    fit(learner_of(tmp_path, [Checkpoint()]), epochs=1)
    others = [tmp_path / "checkpoints" / "step-00000002", tmp_path / "notes"]
    for other in others:
        other.mkdir()
        (other / "mine.txt").write_text("mine")
    fit(learner_of(tmp_path, [Checkpoint(keep=1)]), epochs=2)
    assert all((other / "mine.txt").read_text() == "mine" for other in others)


def test_a_save_that_was_killed_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    learner = learner_of(tmp_path, [Checkpoint(keep=1)])
    fit(learner, epochs=2)

    def killed(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(runs.directories, "write_manifest", killed)
        with pytest.raises(OSError, match="no space left"):
            fit(learner, epochs=3, resume=True)
    whole, resumed = learner_of(None), learner_of(tmp_path, [Checkpoint(keep=1)])
    fit(whole, epochs=3)
    fit(resumed, epochs=3, resume=True)
    same_learner(whole, resumed)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000021"]


@pytest.mark.parametrize("name", ["model.safetensors", "training.json", "optimizer.safetensors"])
def test_a_damaged_checkpoint_is_refused(name, tmp_path):
    learner = learner_of(tmp_path, [Checkpoint()])
    fit(learner, epochs=2)
    path = learner.artifacts.checkpoints()[-1] / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    other = learner_of(tmp_path, [Checkpoint()])
    before = everything(other)
    with pytest.raises(RunError, match="is damaged; remove it to resume from the one before"):
        fit(other, resume=True)
    after = everything(other)
    assert all((before[k] == after[k]).all() for k in before)


def test_what_does_not_fit_a_checkpoint_is_named(tmp_path):
    with pytest.raises(RunError, match="no artifact_dir to resume from"):
        fit(learner_of(None), resume=True)
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        fit(learner_of(tmp_path / "none"), resume=True)
    assert not (tmp_path / "none").exists()
    fit(learner_of(tmp_path, [Checkpoint()]), epochs=1)
    with pytest.raises(StateError, match=r"the callbacks \['Checkpoint'\], this learner has \[\]"):
        fit(learner_of(tmp_path), resume=True)
    with pytest.raises(StateError, match=r"metrics \['Accuracy'\], this learner has \['Mean'\]"):
        fit(learner_of(tmp_path, [Checkpoint()], metrics=[Mean()]), resume=True)
    with pytest.raises(StateError, match="of a training with seed=5, not 6"):
        learner_of(tmp_path, [Checkpoint()]).fit((X, Y), batch_size=8, seed=6, resume=True)
    with pytest.raises(StateError, match="DataLoader: the state is of a loader with batch_size=8"):
        learner_of(tmp_path, [Checkpoint()]).fit((X, Y), batch_size=9, seed=5, resume=True)
    with pytest.raises(StateError, match="exp_avg"):
        fit(learner_of(tmp_path, [Checkpoint()], optimizer="lion"), resume=True)
    with pytest.raises(StateError, match="Checkpoint needs a directory: give the Learner an art"):
        fit(learner_of(None, [Checkpoint()]))


# -- signals


def test_handlers_are_there_only_while_it_trains(tmp_path):
    def mine(number, frame):
        raise AssertionError("not during the training")

    numbers, during = (signal.SIGINT, signal.SIGTERM), []

    class Look(Callback):
        def on_batch_end(self, learner, logs):
            during.append([signal.getsignal(n) for n in numbers])

    before = [signal.signal(signal.SIGINT, mine), signal.signal(signal.SIGTERM, signal.SIG_IGN)]
    try:
        for broken in (False, True):
            learner = learner_of(None, [Look(), *[StopAt(2, how=raised)] * broken])
            if broken:
                with pytest.raises(KeyboardInterrupt):
                    fit(learner)
            else:
                fit(learner, epochs=1)
            assert [signal.getsignal(n) for n in numbers] == [mine, signal.SIG_IGN]
        assert during[0][0] is not mine
        assert during[0][1] == signal.SIG_IGN  # who ignores a signal goes on ignoring it
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    class Twice(Learner):
        def loss_step(self, batch):
            signal.raise_signal(signal.SIGINT)
            if self.step == 0:
                signal.raise_signal(signal.SIGINT)
            raise AssertionError("went on")

    learner = Twice(network(), artifact_dir=tmp_path, jit=False, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        fit(learner)
    assert learner.artifacts.checkpoints() == []


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("point", ["on_batch_end", "on_evaluate_start", "on_epoch_end"])
@pytest.mark.parametrize("how", ["ctrl-c", "at once", "error"])
def test_the_history_so_far_is_kept_and_said(how, point, jit, capsys):
    def failing():
        raise ZeroDivisionError("of mine")

    press = {"ctrl-c": _thread.interrupt_main, "at once": raised, "error": failing}[how]
    learner = learner_of(None, [StopAt(18 if point == "on_batch_end" else 21, point, press)])
    learner.progress.verbose, learner.jit = 2, jit
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)) as stopped:
        fit(learner)
    done = 3 if (how, point) == ("ctrl-c", "on_epoch_end") else 2
    assert [len(learner.history[k]) for k in ("loss", "val_loss", "accuracy")] == [done] * 3
    [note] = stopped.value.__notes__
    said = f"learner.history has the history so far: {done} epochs"
    assert note.startswith(said)
    assert ("; of epoch 3" in note) == (point != "on_epoch_end")
    if how != "error":
        assert said in capsys.readouterr().out
    whole = learner_of(None, jit=jit)
    history = fit(whole)
    assert learner.history["loss"] == history["loss"][:done]
    assert all(m.training for _, m in learner.model.named_modules())
    learner.evaluate((X, Y))  # and it can be used


def test_an_interrupted_evaluation_changes_nothing():
    learner = learner_of(None)
    history = fit(learner, epochs=1)
    learner.callbacks.append(StopAt(7, "on_evaluate_start", raised))
    before, rows = everything(learner), list(history.epochs)
    with pytest.raises(KeyboardInterrupt):
        learner.evaluate((X, Y))
    assert learner.history.epochs == rows
    assert all(m.training for _, m in learner.model.named_modules())
    after = everything(learner)
    assert all((before[k] == after[k]).all() for k in before)


def test_other_threads_can_train():
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(learner_of(None), epochs=1)))
    thread.start()
    thread.join()
    assert found[0]["loss"] == fit(learner_of(None), epochs=1)["loss"]


def test_a_signal_in_the_last_epoch_is_not_lost(tmp_path):
    learner = learner_of(tmp_path, [StopAt(7, "on_epoch_end")])
    with pytest.raises(KeyboardInterrupt):
        fit(learner, epochs=1)
    resumed = learner_of(tmp_path, [StopAt(None)])
    assert len(fit(resumed, epochs=1, resume=True)["loss"]) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [3, 14])
def test_an_interrupt_may_only_stop_after_the_epoch(number, step):
    whole, noted = learner_of(None), []
    fit(whole)
    press = StopAt(step, how=lambda: signal.raise_signal(number))
    learner = learner_of(None, [press, StopAt(14, "on_evaluate_start")], on_interrupt="stop")
    learner.interrupts.noted = noted.append
    if step == 14:
        learner.callbacks.pop()
    history = fit(learner, epochs=20)
    assert len(history["val_loss"]) == learner.epoch == (1 if step == 3 else 2)
    assert noted == [learner.interrupts.received] == [number]
    learner.callbacks.clear()
    fit(learner, resume="here")
    same_learner(whole, learner)


def test_the_second_interrupt_raises_also_where_the_first_one_stops():
    learner = learner_of(None, [StopAt(3), StopAt(5)], on_interrupt="stop")
    with pytest.raises(KeyboardInterrupt):
        fit(learner)
    assert learner.step == 5


def test_interrupts_are_noted_around_a_training_and_ignored_for_an_instant():
    def press():
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    learner = learner_of(None, on_interrupt="stop")
    with learner.interrupts as interrupts:
        fit(learner, epochs=1)
        with interrupts.ignored():
            press()
            press()
        assert interrupts.received is None
        press()
        assert interrupts.received == signal.SIGINT
        fit(learner, epochs=9, resume="here")
        assert learner.epoch == 2
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with interrupts.ignored():
            press()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is before
    assert interrupts.received == signal.SIGINT
    fit(learner, epochs=4, resume="here")  # a block of its own
    assert (learner.epoch, interrupts.received) == (4, None)


SCRIPT = """
import signal, sys
import numpy as np
import minigrad as mg
from minigrad import nn, random

class Stop(mg.learner.Callback):
    def on_batch_end(self, learner, logs):
        if learner.step == 5 and "--stop" in sys.argv:
            signal.raise_signal(signal.SIGTERM)

generator = np.random.default_rng(0)
x, y = generator.normal(size=(40, 3)).astype("float32"), generator.integers(0, 2, 40)
with random.stream(1):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
learner = mg.Learner(model, "adam", "cross_entropy", callbacks=[Stop()], artifact_dir=sys.argv[1])
learner.fit((x, y), epochs=3, batch_size=10, resume="--resume" in sys.argv)
print("sum", sum(float(np.abs(v).astype("float64").sum()) for v in model.state_dict().values()))
"""


def test_sigterm_saves_and_ends_the_process(tmp_path):
    def run(folder, *options):
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / folder), *options],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip

    whole, cut = run("whole"), run("cut", "--stop")
    assert cut.returncode == 128 + signal.SIGTERM
    assert cut.stderr == ""
    assert "interrupted in epoch 2 after step 5, saved to" in cut.stdout
    assert "learner.fit(train, epochs=3, shuffle=True, seed=0, resume=True)" not in cut.stdout
    assert "learner.fit(train, epochs=3, batch_size=10, shuffle=True, seed=0, res" in cut.stdout
    resumed = run("cut", "--resume")
    assert resumed.returncode == whole.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]


def test_a_checkpoint_may_be_in_an_object_store():
    pytest.importorskip("fsspec")
    trained, other = learner_of(None), learner_of(None)
    fit(trained, epochs=2)
    trained.save("memory://learner/a")
    other.load("memory://learner/a")
    same_learner(trained, other)
    with pytest.raises(RunError, match="artifact_dir must be on disk"):
        learner_of("memory://learner/b")


# -- what is saved on the way


class Killed(BaseException):
    """Ends a training as kill -9 would: nobody handles it."""


@pytest.mark.parametrize("step", [3, 6, 7, 11, 27])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_training_goes_on_from_what_was_saved_on_the_way(step, accumulate, tmp_path):
    def learner(folder, *more, averages=None):
        averages = averages or Averages(0.9)
        return learner_of(
            folder, [Checkpoint(keep=2, steps=3), averages, *watchers()[:3], *more],
            accumulate=accumulate,
        )  # fmt: skip

    def kill():
        raise Killed

    mine, theirs = Averages(0.9), Averages(0.9)
    whole = learner(tmp_path / "whole", averages=mine)
    fit(whole)
    with pytest.raises(Killed):
        fit(learner(tmp_path / "cut", StopAt(step, how=kill)))
    kept = learner(tmp_path / "cut").artifacts.checkpoints()
    assert len(kept) <= 2
    resumed = learner(tmp_path / "cut", StopAt(None), averages=theirs)
    if kept:
        fit(resumed, resume=True)
    else:
        with pytest.raises(RunError, match="no checkpoint to resume from"):
            fit(resumed, resume=True)
        fit(resumed)
    same_learner(whole, resumed)
    same_state(mine.ema.state_dict(), theirs.ema.state_dict())


def test_checkpoints_come_after_so_many_steps_or_minutes(tmp_path, monkeypatch):
    learner = learner_of(tmp_path / "a", [Checkpoint(every=100, keep=None, steps=5)])
    fit(learner, epochs=2)
    saved = [p.name for p in learner.artifacts.checkpoints()]
    assert saved == ["step-00000005", "step-00000010"]
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Passing(Callback):
        def on_batch_end(self, learner, logs):
            now[0] += 20

    learner = learner_of(tmp_path / "b", [Passing(), Checkpoint(100, keep=None, minutes=1)])
    fit(learner, epochs=1)
    assert [p.name for p in learner.artifacts.checkpoints()] == ["step-00000003", "step-00000006"]


def test_a_state_that_is_not_finite_pushes_out_none_that_is(tmp_path, capsys):
    class Ruin(Callback):
        def on_epoch_start(self, learner):
            if learner.epoch == 2:
                next(iter(learner.model.parameters())).data[...] = np.nan

    learner = learner_of(tmp_path, [Ruin(), Checkpoint(keep=1)], verbose=2)
    fit(learner, epochs=4)
    assert [p.name for p in learner.artifacts.checkpoints()] == ["step-00000014"]
    assert "is not finite after step 21; nothing was saved" in capsys.readouterr().out
    good = learner_of(tmp_path, [Ruin(), Checkpoint(keep=1)])
    good.artifacts.load(good)
    assert good.epoch == 2


def test_of_two_learners_in_one_directory_one_is_refused(tmp_path):
    fit(learner_of(tmp_path, [Checkpoint()]), epochs=1)
    with (
        runs.locked(tmp_path),
        ThreadPoolExecutor(1) as other,  # a lock is a thread's
        pytest.raises(RunError, match="another process is writing into"),
    ):
        other.submit(fit, learner_of(tmp_path, [Checkpoint()]), 1).result()


def test_what_a_killed_process_left_is_no_foreign_directory(tmp_path):
    (tmp_path / f".config.json.tmp-{'0' * 16}").write_text("{")
    left = tmp_path / "checkpoints" / "step-00000007"
    fit(learner_of(tmp_path, [Checkpoint(keep=1)]), epochs=1)
    gone = left.with_name(f".step-00000003.gone-{'0' * 16}")
    gone.mkdir()
    half = left.with_name("step-00000014")
    (half / f".save-{'0' * 16}").mkdir(parents=True)
    fit(learner_of(tmp_path, [Checkpoint(keep=1)]), epochs=1, resume=True)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.name[0] == ".") == []
    assert [p.name for p in left.parent.iterdir()] == ["step-00000007"]


def test_the_artifact_directory_may_be_named_by_its_uri(tmp_path):
    learner = learner_of((tmp_path / "a").as_uri(), [Checkpoint()])
    fit(learner, epochs=1)
    assert learner.artifacts.checkpoints()[0].parent == tmp_path / "a" / "checkpoints"
