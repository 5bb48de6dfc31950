"""The training loop."""

import copy
import dataclasses
import importlib.metadata
import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad import data, nn, ops, optim, random
from minigrad.autodiff import Tensor, enable_grad, gradients, no_grad
from minigrad.backend import is_array, to_numpy
from minigrad.capture import disable_jit
from minigrad.capture import jit as compiled
from minigrad.errors import CaptureError, StateError
from minigrad.learner.artifacts import Artifacts
from minigrad.learner.callbacks import Callback
from minigrad.learner.history import History
from minigrad.learner.metrics import Mean, Metric
from minigrad.learner.progress import Progress
from minigrad.trees import flatten

__all__ = ["Learner"]

LOSSES = {
    "mse": "mse_loss",
    "mae": "l1_loss",
    "mean_squared_error": "mse_loss",
    "sparse_categorical_crossentropy": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
}


class Learner:
    """Trains a model, and measures it.

        learner = Learner(model, "adam", loss="cross_entropy", metrics=[Accuracy()])
        history = learner.fit((x, y), valid=(x_test, y_test), epochs=5, batch_size=32)
        learner.evaluate((x_test, y_test))          # {"loss": ..., "accuracy": ...}
        learner.predict(x_new)

    What a step does can be said in three ways, each a method of a subclass:

    - `loss_step(batch)` gives the loss, or the loss and a dictionary of figures. Training and
      validation share it.
    - `train_step(batch)` does everything, calling `self.update(loss)` for a step of the optimizer
      (`self.update(loss, "name")` with several), and gives a dictionary of figures.
    - `valid_step(batch)` gives the dictionary for validation. By default it is what `loss_step`
      gives, or, where only `train_step` says what the losses are, that without its updates.

    An entry `y_pred` of such a dictionary is not shown: the metrics get it, with the batch's last
    part as targets.

    Steps are compiled with `mg.jit`; one that cannot be captured runs as it is, and a line says so.
    In validation and prediction the model is in eval mode and nothing is recorded.

    Args:
        model: a Module.
        optimizer: an Optimizer, its name, a function of the model that makes it; or a dictionary of
            several. A name in a dictionary is for the part of the model that has the key as its
            attribute: `{"dis": "adam", "gen": "adam"}`.
        loss: a function `loss(y_pred, y)`, or the name of one in `minigrad` ('cross_entropy',
            'mse_loss') or in Keras.
        metrics: of `minigrad.learner.metrics`, updated with `(y_pred, y)`.
        callbacks: see `minigrad.learner.callbacks`.
        artifact_dir: where configuration, logs and checkpoints go.
        jit: whether steps are compiled.
        clip_norm: the largest norm of all gradients of an optimizer's step.
        on_nan: what a loss that is not finite leads to: 'warn' once, 'raise', or 'ignore'.
        config: plain data or a dataclass, kept in the artifact directory's config.json.
        verbose: 0 shows nothing, 1 bars on a terminal and lines elsewhere, 2 lines.

    Attributes:
        epoch, step: how many of them are done.
        history: figures of all epochs so far.

    Raises:
        StateError: two optimizers have the same parameter, or none has one that wants gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any = "adam",
        loss: Callable | str | None = None,
        metrics: Iterable[Metric] = (),
        callbacks: Iterable[Callback] = (),
        artifact_dir: str | os.PathLike | None = None,
        *,
        jit: bool = True,
        clip_norm: float | None = None,
        on_nan: str = "warn",
        config: Any = None,
        verbose: int = 1,
    ):
        if on_nan not in ("warn", "raise", "ignore"):
            raise ValueError(f"Learner: on_nan must be 'warn', 'raise' or 'ignore', got {on_nan!r}")
        self.model, self.loss = model, _loss_named(loss)
        self.optimizers = _optimizers(model, optimizer)
        optim.check_ownership(model, *self.optimizers.values())
        self.metrics, self.callbacks = list(metrics), list(callbacks)
        self.artifacts = Artifacts(artifact_dir)
        self.clip_norm, self.on_nan, self.config = clip_norm, on_nan, config
        self.progress = Progress(verbose)
        self.jit = jit
        self.epoch = self.step = 0
        self.history = History()
        self._means: dict[str, Mean] = {}
        self._done = 0  # batches of the epoch in progress
        self._stopped, self._frozen, self._norms = False, False, False
        self._warned = False
        self._loader_state: Any = None
        self._signal: int | None = None
        self._compiled: dict[str, Callable] = {}

    # -- what a step is

    def loss_step(self, batch: Any) -> Any:
        """The loss of a batch (x, ..., y), or a pair of it and figures; subclasses may override.

        By default `loss(model(x, ...), y)`.
        """
        if self.loss is None:
            raise StateError(
                "Learner: give a loss, or a subclass with loss_step(batch) or train_step(batch)"
            )
        *x, y = batch if isinstance(batch, list | tuple) else (batch,)
        if not x:
            raise StateError(
                "Learner: a batch must be (x, y) for the loss; define loss_step for other batches"
            )
        y_pred = self.model(*x)
        return self.loss(y_pred, y), {"y_pred": y_pred}

    def train_step(self, batch: Any) -> dict[str, Any]:
        """One step of training; gives figures by name. Subclasses may override."""
        loss, figures = _pair(self.loss_step(batch))
        return {"loss": loss, **figures, **self.update(loss)}

    def valid_step(self, batch: Any) -> dict[str, Any]:
        """The figures of a batch that is not trained on. Subclasses may override."""
        if self._only_trains():
            # The step may ask for gradients; what it does with them is nothing. A program of its
            # own would take its steps all the same.
            with disable_jit(), enable_grad():
                return self.train_step(batch)
        loss, figures = _pair(self.loss_step(batch))
        return {"loss": loss, **figures}

    def _only_trains(self) -> bool:
        """Whether `train_step` alone says what the losses are."""
        own = type(self)
        overridden = own.train_step is not Learner.train_step
        return overridden and self.loss is None and own.loss_step is Learner.loss_step

    def update(self, loss: Tensor, name: str | None = None) -> dict[str, Any]:
        """One step of an optimizer down the slope of `loss`; nothing in validation.

        Only the parameters of that optimizer get gradients.

        Args:
            name: of the optimizer, if there are several.

        Returns:
            Figures: the norm of the gradients, where somebody asked for it.
        """
        if self._frozen:
            return {}
        optimizer = self.optimizer_named(name)
        parameters = optimizer.parameters
        found = gradients([loss], list(parameters.values()))
        figures: dict[str, Any] = {}
        for p, g in zip(parameters.values(), found, strict=True):
            p.grad = g
        if self.clip_norm is not None or self._norms:
            norm = optim.clip_grad_norm_(parameters, self.clip_norm or math.inf)
            if self._norms:
                figures["grad_norm" if name is None else f"grad_norm_{name}"] = norm
        optimizer.step()
        optimizer.zero_grad()
        return figures

    def optimizer_named(self, name: str | None = None) -> optim.Optimizer:
        """The optimizer of that name, or the only one."""
        if name is None and len(self.optimizers) == 1:
            return next(iter(self.optimizers.values()))
        if name not in self.optimizers:
            raise KeyError(
                f"Learner: no optimizer {name!r}; there are {', '.join(map(repr, self.optimizers))}"
            )
        return self.optimizers[name]

    @property
    def optimizer(self) -> optim.Optimizer:
        """The only optimizer."""
        return self.optimizer_named()

    # -- training

    def fit(
        self,
        train: Any,
        valid: Any = None,
        epochs: int = 1,
        batch_size: int | None = None,
        *,
        shuffle: bool = True,
        seed: int = 0,
        valid_batch_size: int | None = None,
        resume: bool = False,
    ) -> History:
        """Train for `epochs` epochs.

        Order, and all that steps draw at random, depend on `seed` and the step alone, so that a run
        that was interrupted and resumed ends with the same bits as one that went through.

        Args:
            train, valid: arrays (x, ..., y), a data set, a loader, or any iterable of batches that
                can be gone through again and again.
            batch_size: 32 by default, for arrays and data sets.
            shuffle: whether arrays and data sets come in another order in every epoch.
            resume: go on from the last checkpoint of the artifact directory, up to `epochs` epochs
                in all.

        Returns:
            The history: means of each epoch, weighted by samples.
        """
        loader = self._batches(train, batch_size or 32, shuffle, seed)
        held_out = None
        if valid is not None:
            held_out = self._batches(valid, valid_batch_size or batch_size or 32, False, seed)
        self.epoch = self.step = self._done = 0
        self.history, self._stopped, self._warned = History(), False, False
        settings = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle, "seed": seed}
        self.artifacts.prepare(self._described(settings), resume)
        if resume:
            where = self.artifacts.load(self)
            self.say(f"resumed from {where.as_posix()}: {self.epoch} epochs, {self.step} steps")
            if self._loader_state is not None and hasattr(loader, "load_state_dict"):
                loader.load_state_dict(self._loader_state)
        self._root = random.fold(random.key(seed), "fit")
        self._call("on_fit_start")
        with self._signals():
            while self.epoch < epochs and not self._stopped:
                self._one_epoch(loader, held_out, epochs, settings)
        self._call("on_fit_end")
        return self.history

    def stop(self) -> None:
        """End the training after this epoch; for callbacks."""
        self._stopped = True

    def _one_epoch(self, loader: Any, held_out: Any, epochs: int, settings: dict) -> None:
        title = f"epoch {self.epoch + 1}/{epochs}"
        if not self._done:
            self._means = {}
            for metric in self.metrics:
                metric.reset()
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(self.epoch)
        batches: Iterable = loader
        if self._done and not hasattr(loader, "load_state_dict"):
            batches = itertools.islice(loader, self._done, None)
        self._call("on_epoch_start")
        with self._mode(True), self.progress.epoch(title, _length(loader)):
            for batch in batches:
                self._call("on_batch_start", batch)
                logs = self._run("train_step", batch, self._means, self.metrics)
                self.step += 1
                self._done += 1
                self._look_for_nan(logs)
                self._call("on_batch_end", logs)
                self.progress.step({k: m.result() for k, m in self._means.items()})
                if self._signal is not None:
                    self._loader_state = _state_of(loader)
                    self._interrupted(epochs, settings)
        if not self._done:
            raise StateError(
                "Learner: there was no batch to train on; the data are empty, or an iterator that "
                "is used up: give a list, a data set or a loader"
            )
        logs = self._results(self._means, self.metrics)
        if held_out is not None:
            logs |= {f"val_{k}": v for k, v in self._measured(held_out).items()}
        self.epoch += 1
        self._done = 0
        self._loader_state = _state_of(loader)
        self._call("on_epoch_end", logs)
        self.history.append(logs)
        self.progress.end(title, logs)
        self._call("on_epoch_settled")

    def _run(
        self, kind: str, batch: Any, means: dict[str, Mean], metrics: Sequence[Metric]
    ) -> dict[str, float]:
        """Run a step, compiled if it can be, and take its figures in."""
        with random.stream(random.fold(self._root, kind, self.step)):
            found = self._step(kind)(batch)
        if not isinstance(found, Mapping):
            raise TypeError(
                f"Learner: {kind} must give a dictionary of figures, got {type(found).__name__}"
            )
        count, logs, y_pred = _samples(batch), {}, None
        for name, value in found.items():
            if name == "y_pred":
                y_pred = value
                continue
            logs[name] = value.item() if type(value) is Tensor else float(value)
            means.setdefault(name, Mean(name)).add(logs[name], count)
        if y_pred is not None:
            for metric in metrics:
                metric.update(y_pred, batch[-1])
        return logs

    def _step(self, kind: str) -> Callable:
        """`train_step` or `valid_step`, compiled; as it is from when that has failed."""
        method = getattr(self, kind)
        if not self.jit or (kind == "valid_step" and self._only_trains()):
            return method
        if kind not in self._compiled:
            self._compiled[kind] = compiled(method)
        fast = self._compiled[kind]

        def step(batch: Any) -> Any:
            key = random.next_key()
            try:
                with random.stream(key):
                    return fast(batch)
            except CaptureError as error:
                self._compiled[kind] = method
                self.say(f"{kind} runs without jit: {error}")
            with random.stream(key):
                return method(batch)

        return method if fast is method else step

    def _look_for_nan(self, logs: Mapping[str, float]) -> None:
        lost = [name for name, value in logs.items() if not math.isfinite(value)]
        if not lost or self.on_nan == "ignore":
            return
        text = (
            f"{lost[0]} is {logs[lost[0]]} at step {self.step}; a smaller learning rate or "
            f"clip_norm=1.0 may help, and `with mg.detect_anomaly():` around fit, with jit=False, "
            f"names the op"
        )
        if self.on_nan == "raise":
            raise FloatingPointError(text)
        if not self._warned:
            self._warned = True
            self.say(text)

    def watch_gradients(self) -> None:
        """Have `update` give the norm of the gradients as a figure, from now on."""
        if not self._norms:
            self._norms, self._compiled = True, {}

    # -- measuring

    def evaluate(self, given: Any, batch_size: int | None = None) -> dict[str, float]:
        """Loss and metrics over data, by name; nothing is trained.

        Args:
            given: as for `fit`.
        """
        return self._measured(self._batches(given, batch_size or 32, False, 0))

    def _measured(self, batches: Iterable) -> dict[str, float]:
        means: dict[str, Mean] = {}
        metrics = copy.deepcopy(self.metrics)
        for metric in metrics:
            metric.reset()
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(0)
        self._call("on_evaluate_start")
        root, self._root = getattr(self, "_root", None), random.fold(random.key(0), "evaluate")
        self._frozen = True
        try:
            with self._mode(False), no_grad(), self._still():
                for batch in batches:
                    self._run("valid_step", batch, means, metrics)
        finally:
            self._frozen = False
            if root is not None:
                self._root = root
        logs = self._results(means, metrics)
        self._call("on_evaluate_end", logs)
        return logs

    def predict(self, given: Any, batch_size: int = 32) -> Any:
        """What the model gives for arrays x, (x1, x2), a data set or batches: NumPy arrays.

        Of batches of several parts, as (x, y) of a loader, the last one is left out.
        """
        if is_array(given) or type(given) is Tensor:
            given = (given,)
        whole = isinstance(given, tuple) and all(is_array(x) or type(x) is Tensor for x in given)
        found = []
        with self._mode(False), no_grad():
            for batch in self._batches(given, batch_size, False, 0):
                parts = list(batch) if isinstance(batch, list | tuple) else [batch]
                y, rebuild = flatten(
                    self.model(*(parts if whole or len(parts) < 2 else parts[:-1]))
                )
                found.append([to_numpy(t.data) if type(t) is Tensor else t for t in y])
        if not found:
            raise StateError("Learner.predict: there is nothing to predict from")
        return rebuild([np.concatenate(list(column)) for column in zip(*found, strict=True)])

    def _results(self, means: Mapping[str, Mean], metrics: Iterable[Metric]) -> dict[str, float]:
        figures = {name: mean.result() for name, mean in means.items()}
        return figures | {m.name: m.result() for m in metrics}

    # -- where it is

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside model and optimizers: plain data, for JSON."""
        return _packed(
            {
                "epoch": self.epoch,
                "step": self.step,
                "done": self._done,
                "stopped": self._stopped,
                "loader": self._loader_state,
                "history": self.history.epochs,
                "means": {name: mean.state_dict() for name, mean in self._means.items()},
                "metrics": [metric.state_dict() for metric in self.metrics],
                "callbacks": [callback.state_dict() for callback in self.callbacks],
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises StateError if metrics or callbacks are others than they were.
        """
        state = _unpacked(state)
        for name, mine in (("metrics", self.metrics), ("callbacks", self.callbacks)):
            if len(state[name]) != len(mine):
                raise StateError(
                    f"Learner: the state has {len(state[name])} {name}, this learner has "
                    f"{len(mine)}; give the same as before"
                )
            for part, saved in zip(mine, state[name], strict=True):
                part.load_state_dict(saved)
        self.epoch, self.step, self._done = state["epoch"], state["step"], state["done"]
        self._stopped, self._loader_state = state["stopped"], state["loader"]
        self.history = History(state["history"])
        self._means = {name: Mean(name) for name in state["means"]}
        for name, saved in state["means"].items():
            self._means[name].load_state_dict(saved)

    def say(self, text: str) -> None:
        """Show a line, unless `verbose` is 0."""
        self.progress.say(text)

    # -- helpers

    def _batches(self, given: Any, batch_size: int, shuffle: bool, seed: int) -> Any:
        """A loader over arrays or a data set; what is iterable stays as it is."""
        if is_array(given) or type(given) is Tensor:
            given = (given,)
        if isinstance(given, tuple):
            given = data.TensorDataset(*given)
        if isinstance(given, list) or not hasattr(given, "__getitem__"):
            return given
        return data.DataLoader(given, batch_size, shuffle=shuffle, seed=seed)

    def _call(self, point: str, *args: Any) -> None:
        for callback in self.callbacks:
            if (method := getattr(callback, point, None)) is not None:
                method(self, *args)

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """The model in that mode; each of its modules as it was afterwards."""
        before = [(m, m.training) for _, m in self.model.named_modules()]
        self.model.train(training)
        try:
            yield
        finally:
            for module, mode in before:
                module.training = mode

    @contextmanager
    def _still(self) -> Iterator[None]:
        """No optimizer takes a step: `train_step` may run for its figures alone."""
        steps = [(o, "step") for o in self.optimizers.values()]
        try:
            for optimizer, name in steps:
                setattr(optimizer, name, lambda *args, **kwargs: None)
            yield
        finally:
            for optimizer, name in steps:
                delattr(optimizer, name)
            for p in (p for o in self.optimizers.values() for p in o.parameters.values()):
                p.grad = None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the training after a step; a second Ctrl-C at once."""
        self._signal = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self._signal is not None:
                raise KeyboardInterrupt
            self._signal = number

        numbers = [signal.SIGINT, signal.SIGTERM]
        before = [signal.signal(number, note) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _interrupted(self, epochs: int, settings: Mapping[str, Any]) -> None:
        number, self._signal = self._signal, None
        self._call("on_interrupt")
        where = self.artifacts.save(self)
        if where is None:
            self.say("interrupted; nothing was saved, as there is no artifact_dir")
        else:
            options = ", ".join(f"{k}={v!r}" for k, v in settings.items() if v is not None)
            self.say(
                f"interrupted in epoch {self.epoch + 1} after step {self.step}; saved to "
                f"{where.as_posix()}\nto go on: learner.fit(train, valid, {options}, resume=True)"
            )
        if number == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _described(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """config.json."""
        config = self.config
        if dataclasses.is_dataclass(config) and not isinstance(config, type):
            config = dataclasses.asdict(config)
        return _packed(
            {
                "minigrad": _version(),
                "learner": type(self).__name__,
                "model": type(self.model).__name__,
                "parameters": sum(p.size for p in self.model.parameters()),
                "optimizers": {
                    name or "optimizer": {"class": type(o).__name__, **o.defaults}
                    for name, o in self.optimizers.items()
                },
                "loss": getattr(self.loss, "__name__", None),
                "metrics": [m.name for m in self.metrics],
                **settings,
                "config": config,
            }
        )


def _version() -> str | None:
    """The installed version; None for a package that is only lying there."""
    try:
        return importlib.metadata.version("minigrad")
    except importlib.metadata.PackageNotFoundError:
        return None


def _loss_named(loss: Any) -> Callable | None:
    if not isinstance(loss, str):
        return loss
    name = LOSSES.get(loss, loss)
    for home in (nn.functional, ops):
        if callable(found := getattr(home, name, None)):
            return found
    raise ValueError(f"Learner: no loss is called {loss!r}; give a function of (y_pred, y)")


def _optimizers(model: nn.Module, given: Any) -> dict[str, optim.Optimizer]:
    if not isinstance(given, Mapping):
        return {"": optim.get(given, model)}
    found = {}
    for name, one in given.items():
        made = isinstance(one, optim.Optimizer)
        if not made and not hasattr(model, name):
            raise StateError(
                f"Learner: optimizer '{name}' is for the part of the model of that name, and "
                f"{type(model).__name__} has none; give an Optimizer"
            )
        found[name] = one if made else optim.get(one, getattr(model, name))
    return found


def _pair(found: Any) -> tuple[Tensor, dict[str, Any]]:
    return found if isinstance(found, tuple) else (found, {})


def _samples(batch: Any) -> int:
    """How many samples a batch has: the length of its first array."""
    for x in flatten(batch)[0]:
        if getattr(x, "shape", ()):
            return int(x.shape[0])
    return 1


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except TypeError:
        return None


def _state_of(loader: Any) -> Any:
    return loader.state_dict() if hasattr(loader, "state_dict") else None


def _packed(x: Any) -> Any:
    """Plain data that JSON can hold: what is not finite, and what is no data, as text."""
    if isinstance(x, Mapping):
        return {str(k): _packed(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_packed(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return {"float": repr(x)}
    return x if x is None or isinstance(x, str | int | float) else repr(x)


def _unpacked(x: Any) -> Any:
    if isinstance(x, Mapping):
        return (
            float(x["float"]) if x.keys() == {"float"} else {k: _unpacked(v) for k, v in x.items()}
        )
    return [_unpacked(v) for v in x] if isinstance(x, list) else x
