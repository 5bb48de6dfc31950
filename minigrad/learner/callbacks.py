"""What looks on while a `Learner` trains, and may step in.

A callback is an object with some of these methods; all get the learner first:

    on_fit_start(learner)             on_fit_end(learner)
    on_epoch_start(learner)           on_epoch_end(learner, logs)
                                      on_epoch_settled(learner)     the history has the epoch
    on_batch_start(learner, batch)    on_batch_end(learner, logs)
                                      on_step_settled(learner)      the optimizers have made a step
    on_evaluate_start(learner)        on_evaluate_end(learner, logs)
    on_interrupt(learner)

`logs` are figures by name, numbers: of one step at the end of a batch; means of the epoch, those of
the validation as `val_...`, at the end of an epoch. What a callback adds to the logs of an epoch is
part of the history. `learner.stop()` ends the training after the epoch.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.arguments import count, number
from minigrad.errors import DivergenceError
from minigrad.learner.history import as_number
from minigrad.optim import EMA, ReduceLROnPlateau
from minigrad.runs import save_text

if TYPE_CHECKING:
    from minigrad.learner.learner import Learner

__all__ = [
    "Averages", "CSVLog", "Callback", "Checkpoint", "EarlyStopping", "EventFiles", "GradientNorms",
    "JSONLog", "LearningRate", "Plateau", "Throughput",
]  # fmt: skip

Logs = dict[str, float]


class Callback:
    """Does nothing; subclasses define what they need. State is what a checkpoint keeps of it.

    Attributes:
        everywhere: of several processes that train one model, whether it is called in all; else in
            rank 0 only, as what writes files.
    """

    everywhere = True

    def on_fit_start(self, learner: "Learner") -> None: ...
    def on_fit_end(self, learner: "Learner") -> None: ...
    def on_epoch_start(self, learner: "Learner") -> None: ...
    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None: ...
    def on_epoch_settled(self, learner: "Learner") -> None: ...
    def on_batch_start(self, learner: "Learner", batch: Any) -> None: ...
    def on_batch_end(self, learner: "Learner", logs: Logs) -> None: ...
    def on_step_settled(self, learner: "Learner") -> None: ...
    def on_evaluate_start(self, learner: "Learner") -> None: ...
    def on_evaluate_end(self, learner: "Learner", logs: Logs) -> None: ...
    def on_interrupt(self, learner: "Learner") -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""

    def arrays(self) -> dict[str, np.ndarray]:
        """What else a checkpoint keeps: arrays by name."""
        return {}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on with the arrays of a checkpoint."""


def figure(name: str, logs: Mapping[str, float], who: str) -> float:
    """The figure that a callback follows. Raises KeyError, naming those there are."""
    if name not in logs:
        raise KeyError(f"{who}: no figure '{name}' in this epoch; there are {', '.join(logs)}")
    return logs[name]


class Best:
    """The best value so far of a figure that should fall ('min') or rise ('max')."""

    def __init__(self, mode: str, name: str, least: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
        rising = any(part in name for part in ("acc", "bleu", "f1", "auc"))
        self.rising = mode == "max" or (mode == "auto" and rising)
        self.least = abs(least)
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.value = -math.inf if self.rising else math.inf

    def improves(self, value: float) -> bool:
        """Whether `value` is better, by more than `least`; it is kept then."""
        better = value > self.value + self.least if self.rising else value < self.value - self.least
        if better:
            self.value = value
        return better


class EarlyStopping(Callback):
    """Ends the training when a figure has not improved for some epochs.

    Args:
        monitor: the figure.
        patience: how many epochs without improvement are borne.
        min_delta: an improvement is more than that.
        mode: 'min', 'max', or 'auto', which takes accuracies and the like to rise.
        restore_best: put back the weights of the best epoch at the end.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ):
        self.monitor, self.restore_best = monitor, restore_best
        self.patience = count("EarlyStopping", "patience", patience, 0)
        min_delta = number("EarlyStopping", "min_delta", min_delta)
        self.best, self.waited, self.epoch = Best(mode, monitor, min_delta), 0, 0
        self._weights: Mapping[str, np.ndarray] = {}

    def on_fit_start(self, learner: "Learner") -> None:
        if not learner.step:
            self.best.forget()
            self.waited, self.epoch, self._weights = 0, 0, {}

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        if self.best.improves(figure(self.monitor, logs, "EarlyStopping")):
            self.waited, self.epoch = 0, learner.epoch
            if self.restore_best:
                self._weights = learner.model.state_dict()
            return
        self.waited += 1
        if self.waited >= self.patience:
            learner.stop()

    def on_fit_end(self, learner: "Learner") -> None:
        if self._weights and self.epoch != learner.epoch:
            learner.model.load_state_dict(self._weights)
            learner.say(
                f"the weights of epoch {self.epoch} are back, {self.monitor} {self.best.value:.6g}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.value, "waited": self.waited, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best.value, self.waited, self.epoch = state["best"], state["waited"], state["epoch"]

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(self._weights)

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._weights = arrays


class Checkpoint(Callback):
    """Saves to the learner's artifact directory: every so often, the best, the last few.

    A checkpoint has everything that `fit(..., resume=True)` needs to go on as if nothing had
    happened. The best epoch's weights are also in `best.safetensors`. A state that is not finite is
    not saved, which a line says; with `accumulate`, a checkpoint waits for the optimizers' step.

    Args:
        every: epochs from one checkpoint to the next.
        keep: how many of the last ones stay; None for all. The best one stays in any case.
        monitor: the figure by which the best is found; None for none.
        mode: as for `EarlyStopping`.
        steps: within epochs, too, after so many steps.
        minutes: within epochs, too, when so many have gone since the last one.
    """

    def __init__(
        self,
        every: int = 1,
        keep: int | None = 2,
        monitor: str | None = None,
        mode: str = "auto",
        *,
        steps: int | None = None,
        minutes: float | None = None,
    ):
        self.every = count("Checkpoint", "every", every)
        self.keep = None if keep is None else count("Checkpoint", "keep", keep)
        self.steps = None if steps is None else count("Checkpoint", "steps", steps)
        self.minutes = None if minutes is None else number("Checkpoint", "minutes", minutes)
        self.monitor = monitor
        self.best = None if monitor is None else Best(mode, monitor)

    def on_fit_start(self, learner: "Learner") -> None:
        if type(self).save is Checkpoint.save:
            learner.artifacts.needed("Checkpoint")
        self._saved_at, self._saved_after = time.monotonic(), learner.step
        if self.best is not None and not learner.step:
            self.best.forget()

    def on_step_settled(self, learner: "Learner") -> None:
        enough = self.steps is not None and learner.step - self._saved_after >= self.steps
        late = self.minutes is not None and time.monotonic() - self._saved_at >= 60 * self.minutes
        if enough or late:
            self._save(learner)

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        assert self.monitor is None or self.best is not None
        if self.best and self.best.improves(figure(self.monitor or "", logs, "Checkpoint")):
            with _unless_lost(learner):
                learner.artifacts.save_weights(learner)

    def on_epoch_settled(self, learner: "Learner") -> None:
        if learner.epoch % self.every == 0:
            self._save(learner)

    def _save(self, learner: "Learner") -> None:
        with _unless_lost(learner):
            self.save(learner)
        self._saved_at, self._saved_after = time.monotonic(), learner.step

    def save(self, learner: "Learner") -> None:
        """Make a checkpoint; subclasses may make another."""
        learner.artifacts.save(learner, keep=self.keep)

    def state_dict(self) -> dict[str, Any]:
        return {"best": None if self.best is None else self.best.value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.best is not None and state["best"] is not None:
            self.best.value = state["best"]


@contextmanager
def _unless_lost(learner: "Learner") -> Iterator[None]:
    """What is not finite is not saved in the block, and the training says so and goes on."""
    try:
        yield
    except DivergenceError as error:
        learner.say(str(error))


class Averages(Callback):
    """Keeps a running average of the weights, as `optim.EMA`, after every step of the optimizers.

    It is part of every checkpoint. `callback.ema.swapped()` gives it to the model for a while,
    `callback.ema.copy_to()` for good.

    Args:
        decay: as of `optim.EMA`.

    Attributes:
        ema: the average; there from the beginning of `fit` on.
    """

    def __init__(self, decay: float | Callable[[int], float] = 0.999):
        self.decay = decay
        self.ema: EMA | None = None
        self._state: Mapping[str, np.ndarray] = {}

    def on_fit_start(self, learner: "Learner") -> None:
        if self.ema is None or not learner.step:
            self.ema = EMA(learner.model, self.decay)
        if self._state and learner.step:
            self.ema.load_state_dict(self._state)
        self._state = {}

    def on_step_settled(self, learner: "Learner") -> None:
        assert self.ema is not None
        self.ema.update()

    def arrays(self) -> dict[str, np.ndarray]:
        return {} if self.ema is None else self.ema.state_dict()

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._state = arrays


class LearningRate(Callback):
    """Sets the learning rate from epoch to epoch.

    (A schedule over steps is the optimizer's own: `Adam(model, lr=schedules.cosine(...))`.)

    Args:
        schedule: gives the rate for an epoch's number, from 0 on.
        optimizer: which, if there are several.
    """

    def __init__(self, schedule: Callable[[int], float], optimizer: str | None = None):
        self.schedule, self.optimizer = schedule, optimizer

    def on_epoch_start(self, learner: "Learner") -> None:
        learner.optimizer_named(self.optimizer).lr = float(self.schedule(learner.epoch))

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        logs[_rate(self.optimizer)] = float(self.schedule(learner.epoch - 1))


def _rate(optimizer: str | None) -> str:
    """The name of a learning rate among the figures."""
    return f"lr_{optimizer}" if optimizer else "lr"


class Plateau(Callback):
    """Lowers the learning rate when a figure stays where it is; see `optim.ReduceLROnPlateau`.

    Args:
        monitor: the figure.
        options: those of `ReduceLROnPlateau`, as factor and patience.
    """

    def __init__(self, monitor: str = "val_loss", optimizer: str | None = None, **options: Any):
        self.monitor, self.optimizer, self.options = monitor, optimizer, options
        self._plateau: ReduceLROnPlateau | None = None
        self._state: Mapping[str, Any] | None = None

    def on_fit_start(self, learner: "Learner") -> None:
        if self._plateau is None or not learner.step:
            self._plateau = ReduceLROnPlateau(
                learner.optimizer_named(self.optimizer), **self.options
            )
        if self._state is not None:
            ours = self._plateau.state_dict()
            state = {name: np.array(x, ours[name].dtype) for name, x in self._state.items()}
            self._plateau.load_state_dict(state)
            self._state = None

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        assert self._plateau is not None
        self._plateau.step(figure(self.monitor, logs, "Plateau"))
        logs[_rate(self.optimizer)] = float(learner.optimizer_named(self.optimizer).lr)

    def state_dict(self) -> dict[str, Any]:
        state = {} if self._plateau is None else self._plateau.state_dict()
        return {name: value.tolist() for name, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._state = state or None


class GradientNorms(Callback):
    """Notes the 2-norm of all gradients of each step: mean and largest of the epoch.

    It asks the learner to show them: `grad_norm` (`grad_norm_<optimizer>` of several) is among the
    figures of every step.
    """

    def __init__(self) -> None:
        self._largest: dict[str, float] = {}

    def on_fit_start(self, learner: "Learner") -> None:
        learner.watch_gradients()
        if not learner.step:
            self._largest = {}

    def on_batch_end(self, learner: "Learner", logs: Logs) -> None:
        for name, value in logs.items():
            if name.startswith("grad_norm"):
                self._largest[name] = max(self._largest.get(name, 0.0), value)

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        logs.update({f"{name}_max": value for name, value in self._largest.items()})
        self._largest = {}

    def state_dict(self) -> dict[str, Any]:
        return {"largest": dict(self._largest)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._largest = dict(state["largest"])


class Throughput(Callback):
    """Notes how long the steps of an epoch took, and how much went through them in a second.

    The figures are `seconds`, without the validation's, and `samples_per_second`.

    Args:
        unit: what `Learner.weigh` counts, for the name of the figure: 'tokens'.
    """

    def __init__(self, unit: str = "samples"):
        self.unit = unit

    def on_epoch_start(self, learner: "Learner") -> None:
        self._began = self._ended = time.perf_counter()
        self._count = 0.0

    def on_batch_end(self, learner: "Learner", logs: Logs) -> None:
        self._count += learner.batch_weight
        self._ended = time.perf_counter()

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        seconds = self._ended - self._began
        logs["seconds"] = seconds
        logs[f"{self.unit}_per_second"] = self._count / seconds if seconds else 0.0


class JSONLog(Callback):
    """Writes a line of JSON for each epoch, and for every `every`-th step if that is set.

    Args:
        path: by default `log.jsonl` in the artifact directory.
    """

    everywhere = False

    def __init__(self, path: str | os.PathLike | None = None, every: int | None = None):
        self.path = path
        self.every = None if every is None else count("JSONLog", "every", every)
        self._lines: list[str] = []

    def on_fit_start(self, learner: "Learner") -> None:
        self._path = Path(self.path or learner.artifacts.needed("JSONLog") / "log.jsonl")
        kept = []
        if learner.step and self._path.exists():  # resumed: later lines are written again
            for line in self._path.read_text(encoding="utf-8").splitlines():
                if json.loads(line)["step"] <= learner.step:
                    kept.append(line)
        self._lines = kept
        self._write()

    def on_batch_end(self, learner: "Learner", logs: Logs) -> None:
        if self.every and learner.step % self.every == 0:
            self._add({"step": learner.step}, logs)

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        self._add({"epoch": learner.epoch, "step": learner.step}, logs)
        self._write()

    def on_interrupt(self, learner: "Learner") -> None:
        self._write()

    def _add(self, place: Mapping[str, int], logs: Mapping[str, Any]) -> None:
        figures = {name: as_number(value) for name, value in logs.items()}
        finite = {name: x if math.isfinite(x) else None for name, x in figures.items()}
        self._lines.append(json.dumps({**place, **finite}, ensure_ascii=False))

    def _write(self) -> None:
        save_text(self._path, "".join(f"{line}\n" for line in self._lines))


class CSVLog(Callback):
    """Writes the history as CSV after each epoch.

    Args:
        path: by default `history.csv` in the artifact directory.
    """

    everywhere = False

    def __init__(self, path: str | os.PathLike | None = None):
        self.path = path

    def on_fit_start(self, learner: "Learner") -> None:
        self._path = Path(self.path or learner.artifacts.needed("CSVLog") / "history.csv")

    def on_epoch_settled(self, learner: "Learner") -> None:
        learner.history.to_csv(self._path)


class EventFiles(Callback):
    """Writes what TensorBoard shows: the figures of epochs and of steps.

    Needs the library tensorboard (`pip install 'minigrad[tensorboard]'`).

    Args:
        path: by default `events` in the artifact directory.
        every: steps from one set of figures to the next; None for epochs only.

    Raises:
        ModuleNotFoundError: a fit starts, and TensorBoard is not installed.
    """

    everywhere = False

    def __init__(self, path: str | os.PathLike | None = None, every: int | None = 10):
        self.path = path
        self.every = None if every is None else count(type(self).__name__, "every", every)

    def on_fit_start(self, learner: "Learner") -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import (  # type: ignore
                EventFileWriter,
            )
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "EventFiles needs tensorboard: pip install 'minigrad[tensorboard]'"
            ) from None
        folder = Path(self.path or learner.artifacts.needed("EventFiles") / "events")
        self._writer = EventFileWriter(str(folder))

    def on_batch_end(self, learner: "Learner", logs: Logs) -> None:
        if self.every and learner.step % self.every == 0:
            self._write({f"step/{name}": v for name, v in logs.items()}, learner.step)

    def on_epoch_end(self, learner: "Learner", logs: Logs) -> None:
        self._write({f"epoch/{name}": v for name, v in logs.items()}, learner.epoch)
        self._writer.flush()

    def on_fit_end(self, learner: "Learner") -> None:
        self._writer.close()

    on_interrupt = on_fit_end

    def _write(self, figures: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore

        values = [Summary.Value(tag=name, simple_value=v) for name, v in figures.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self._writer.add_event(event)
