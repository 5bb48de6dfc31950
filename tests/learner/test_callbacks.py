"""Callbacks, logs, histories, progress."""

import io
import json
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.learner import (
    Accuracy,
    Callback,
    CSVLog,
    EarlyStopping,
    EventFiles,
    GradientNorms,
    History,
    JSONLog,
    Learner,
    LearningRate,
    Plateau,
    Progress,
    Throughput,
    loop,
)

rng = np.random.default_rng(0)
Y = rng.integers(0, 3, 24)
X = (rng.normal(size=(24, 2)) + Y[:, None]).astype("float32")


def learner_of(callbacks=(), **options):
    with random.stream(0):
        model = nn.Linear(2, 3)
    optimizer = options.pop("optimizer", "adam")
    options = {"verbose": 0, "callbacks": callbacks, **options}
    return Learner(model, optimizer, "cross_entropy", **options)


class Scripted(Callback):
    """Gives a figure from a list at the end of each epoch."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, learner, logs):
        logs[self.name] = self.values[learner.epoch - 1]


def test_the_named_points_and_their_order():
    points = []

    class Every:  # no subclass of Callback: some methods are enough
        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda learner, *rest: points.append((name, learner.epoch, learner.step))

    learner_of([Every()]).fit((X, Y), (X, Y), epochs=2, batch_size=12)
    epoch = [
        "on_epoch_start", *["on_batch_start", "on_batch_end", "on_step_settled"] * 2,
        "on_evaluate_start", "on_evaluate_end", "on_epoch_end", "on_epoch_settled",
    ]  # fmt: skip
    assert [p for p, _, _ in points] == ["on_fit_start", *epoch, *epoch, "on_fit_end"]
    assert points[3] == ("on_batch_end", 0, 1)
    assert points[10] == ("on_epoch_end", 1, 2)


def test_logs_of_steps_and_of_epochs():
    seen = []

    class Look(Callback):
        def on_batch_end(self, learner, logs):
            seen.append(logs["loss"])

        def on_epoch_end(self, learner, logs):
            logs["mine"] = 7.0

    history = learner_of([Look()]).fit((X, Y), epochs=1, batch_size=16)
    assert history["loss"] == [pytest.approx((seen[0] * 16 + seen[1] * 8) / 24)]
    assert history["mine"] == [7.0]


def test_a_callback_can_stop():
    class Stop(Callback):
        def on_epoch_end(self, learner, logs):
            if learner.epoch == 3:
                learner.stop()

    assert len(learner_of([Stop()]).fit((X, Y), epochs=9)["loss"]) == 3


# -- early stopping


def test_early_stopping_puts_the_best_weights_back(capsys):
    class Keep(Callback):
        def on_epoch_end(self, learner, logs):
            states.append(learner.model.state_dict())

    states = []
    stopping = EarlyStopping(patience=2)
    learner = learner_of(
        [Scripted([3.0, 1.0, 2.0, math.nan, 0.5]), Keep(), stopping], verbose=2
    )  # fmt: skip
    assert len(learner.fit((X, Y), epochs=5)["loss"]) == 4
    for name, values in learner.model.state_dict().items():
        assert (values == states[1][name]).all()
    assert "the weights of epoch 2 are back, val_loss 1" in capsys.readouterr().out
    states.clear()
    assert len(learner.fit((X, Y), epochs=5)["loss"]) == 4  # a second training begins anew


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({"patience": 1}, [1.0, 1.0], 2),
        ({"patience": 2, "min_delta": 0.1}, [1.0, 0.95, 0.91, 0.0], 3),
        ({"patience": 1, "mode": "max"}, [1.0, 2.0, 1.5, 9.0], 3),
        ({"patience": 1, "monitor": "val_accuracy"}, [0.1, 0.2, 0.2, 0.3], 3),
        ({"patience": 1, "monitor": "val_accuracy", "mode": "min"}, [0.1, 0.2, 0.0, 0.3], 2),
    ],
)
def test_when_early_stopping_stops(options, values, epochs):
    script = Scripted(values, options.get("monitor", "val_loss"))
    learner = learner_of([script, EarlyStopping(restore_best=False, **options)])
    assert len(learner.fit((X, Y), epochs=len(values))["loss"]) == epochs


def test_a_figure_that_is_not_there_is_named():
    with pytest.raises(KeyError, match=r"EarlyStopping: no figure 'val_loss' .* there are loss"):
        learner_of([EarlyStopping()]).fit((X, Y))
    with pytest.raises(ValueError, match="mode must be 'auto', 'min' or 'max'"):
        EarlyStopping(mode="low")


# -- learning rates and gradients


def test_a_rate_for_each_epoch_and_one_that_falls_at_a_plateau():
    rates = []

    class Look(Callback):
        def on_batch_end(self, learner, logs):
            rates.append(learner.optimizer.lr)

    learner = learner_of([LearningRate(lambda epoch: 0.1 / (epoch + 1)), Look()])
    assert learner.fit((X, Y), epochs=2, batch_size=12)["lr"] == [0.1, 0.05]
    assert rates == [0.1, 0.1, 0.05, 0.05]
    plateau = Plateau(factor=0.5, patience=0)
    learner = learner_of(
        [Scripted([1.0, 1.0, 0.5, 0.5]), plateau], optimizer=lambda m: optim.SGD(m, lr=0.8)
    )
    assert learner.fit((X, Y), epochs=4)["lr"] == [0.8, 0.4, 0.4, 0.2]


def test_a_schedule_over_steps_is_the_optimizers():
    learner = learner_of(optimizer=lambda m: optim.SGD(m, lr=lambda t: 0.1 if t < 2 else 0.0))
    learner.fit((X, Y), epochs=1, batch_size=12)
    before = learner.model.state_dict()
    resumed_in_eager = learner.optimizer.step_count
    assert resumed_in_eager == 2
    learner.fit((X, Y), epochs=1)
    assert all((before[k] == v).all() for k, v in learner.model.state_dict().items())


@pytest.mark.parametrize("jit", [True, False])
def test_gradient_norms(jit):
    learner = learner_of([GradientNorms()], optimizer=lambda m: optim.SGD(m, lr=0.0), jit=jit)
    with random.stream(0):
        model = nn.Linear(2, 3)
    mg.cross_entropy(model(mg.tensor(X)), mg.tensor(Y)).backward()
    norm = math.sqrt(sum(float((p.grad.numpy() ** 2).sum()) for p in model.parameters()))
    history = learner.fit((X, Y), epochs=2, batch_size=24)
    assert history["grad_norm"] == pytest.approx([norm, norm], rel=1e-5)
    assert history["grad_norm_max"] == pytest.approx([norm, norm], rel=1e-5)
    accumulating = learner_of(
        [GradientNorms()], optimizer=lambda m: optim.SGD(m, lr=0.0), jit=jit, accumulate=2
    )
    history = accumulating.fit((X, Y), epochs=2, batch_size=12)
    assert history["grad_norm"] == pytest.approx([norm, norm], rel=1e-5)


def test_throughput_is_that_of_the_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("minigrad.learner.callbacks.time.perf_counter", lambda: now[0])

    class Slow(Callback):
        """A step takes half a second, a validation three."""

        def on_batch_start(self, learner, batch):
            now[0] += 0.5

        def on_evaluate_start(self, learner):
            now[0] += 3

    history = learner_of([Slow(), Throughput("rows")]).fit((X, Y), (X, Y), epochs=2, batch_size=9)
    assert history["seconds"] == [1.5, 1.5]
    assert history["rows_per_second"] == [16.0, 16.0]


# -- logs


def test_json_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    script = Scripted([1.0, math.inf], "odd")
    learner = learner_of([script, JSONLog(path, every=2)], metrics=[Accuracy()])
    history = learner.fit((X, Y), epochs=2, batch_size=8)
    text = path.read_bytes()
    assert b"\r" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(x["step"], x.get("epoch")) for x in lines] == [
        (2, None), (3, 1), (4, None), (6, None), (6, 2)
    ]  # fmt: skip
    assert lines[1]["loss"] == history["loss"][0]
    assert lines[1]["accuracy"] == history["accuracy"][0]
    assert [lines[1]["odd"], lines[4]["odd"]] == [1.0, None]


def test_csv(tmp_path):
    learner = learner_of([CSVLog()], artifact_dir=tmp_path)
    history = learner.fit((X, Y), (X, Y), epochs=2)
    text = (tmp_path / "history.csv").read_bytes().decode()
    assert text == history.to_csv()
    assert text.splitlines()[0] == "epoch,loss,val_loss"
    assert [float(v) for v in text.splitlines()[2].split(",")] == [
        2, history["loss"][1], history["val_loss"][1]
    ]  # fmt: skip


def test_event_files(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    learner = learner_of([EventFiles(every=2)], artifact_dir=tmp_path)
    history = learner.fit((X, Y), (X, Y), epochs=3, batch_size=12)
    found = EventAccumulator(str(tmp_path / "events"))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == ["epoch/loss", "epoch/val_loss", "step/loss"]
    epochs = found.Scalars("epoch/loss")
    assert [e.step for e in epochs] == [1, 2, 3]
    assert [e.value for e in epochs] == pytest.approx(history["loss"])
    assert [e.step for e in found.Scalars("step/loss")] == [2, 4, 6]


# -- history


def test_a_history_is_columns_of_figures(tmp_path):
    history = History()
    history.append({"loss": 2.0})
    history.append({"loss": 1.0, "val_loss": 0.5})
    assert dict(history) == {"loss": [2.0, 1.0], "val_loss": [None, 0.5]}
    assert repr(history) == "History(2 epochs of loss, val_loss)"
    assert history.to_csv(tmp_path / "a.csv") == "epoch,loss,val_loss\n1,2.0,\n2,1.0,0.5\n"
    assert (tmp_path / "a.csv").read_bytes() == history.to_csv().encode()
    with pytest.raises(KeyError, match="no figure 'accuracy'; there are loss, val_loss"):
        history["accuracy"]


def test_a_history_as_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    history = History([{"loss": 2.0, "accuracy": 0.1}, {"loss": 1.0, "val_loss": 1.5}])
    figure = history.plot(path=tmp_path / "a.png")
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 1]
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert len(history.plot("loss").axes) == 1
    assert History().plot().axes == []


# -- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_where_there_is_no_terminal(capsys):
    learner_of(verbose=1, metrics=[Accuracy()]).fit((X, Y), (X, Y), epochs=2, batch_size=5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  5/5  0:0")
    for part in ("s/step", "loss ", "accuracy ", "val_loss ", "val_accuracy "):
        assert part in lines[1]
    learner_of(verbose=0).fit((X, Y), epochs=2)
    assert capsys.readouterr().out == ""


def test_a_bar_on_a_terminal():
    file = Terminal()
    progress = Progress(1, file)
    assert progress.bar
    with progress.epoch("epoch 1/1", 3):
        for i in range(3):
            progress.step({"loss": 0.5 + i})
    progress.end("epoch 1/1", {"loss": 1.5})
    text = file.getvalue()
    assert "3/3" in text
    assert "loss 2.5" in text
    assert text.rstrip().splitlines()[-1].strip().endswith("loss 1.5")
    assert not Progress(2, Terminal()).bar


def test_progress_for_loops_by_hand(capsys):
    assert list(loop([1, 2, 3], "items")) == [1, 2, 3]
    assert list(loop(iter([1, 2]), "more")) == [1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("items  3/3  0:00")
    assert lines[1].startswith("more  2  0:00")
    assert list(loop([1], verbose=0)) == [1]
