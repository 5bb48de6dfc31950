"""The training loop."""

import contextlib
import copy
import itertools
import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from minigrad import nn, random
from minigrad.autodiff import Tensor, no_grad
from minigrad.backend import is_array, to_numpy
from minigrad.distributed import init
from minigrad.errors import DivergenceError, RunError, StateError
from minigrad.learner.artifacts import Artifacts, described
from minigrad.learner.batches import as_batches, length_of, state_of
from minigrad.learner.callbacks import Callback, Checkpoint
from minigrad.learner.compiled import Compiled
from minigrad.learner.history import History, as_number
from minigrad.learner.interrupts import Interrupts
from minigrad.learner.lookup import metrics_of
from minigrad.learner.metrics import Mean, Metric
from minigrad.learner.progress import Progress, shown
from minigrad.learner.steps import Place, Stepping, in_float32
from minigrad.learner.together import Share, Together, figures_of, merge_states, shared
from minigrad.trees import flatten, tree_map

__all__ = ["Learner"]


# A model has one mode at a time: threads that train it or predict with it take turns.
_turns: "weakref.WeakKeyDictionary[nn.Module, threading.RLock]" = weakref.WeakKeyDictionary()

if hasattr(os, "register_at_fork"):  # a thread that had its turn is not there in the child
    os.register_at_fork(after_in_child=_turns.clear)


class Learner(Stepping):
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

    An entry `y_pred` of such a dictionary is not shown: the metrics get it, with the entry `y` as
    targets, or else the batch's last part. A step may also update metrics itself, if it gives no
    `y_pred`.

    Two methods say what a batch is: `prepare(batch)` makes of it what steps get, where the data are
    no arrays yet, and `weigh(batch)` says how much it counts in the means, its samples by default.

    Steps are compiled with `mg.jit`; one that cannot be captured runs as it is, and a line says so.
    In validation and prediction the model is in eval mode and nothing is recorded.

    Started by `mpiexec -n 4 python train.py`, four processes train one model. Each gets its share
    of every batch, and what comes of it is what one process would have come to, but for rounding:
    gradients and figures are means over all, by what `weigh` gives. (What is not: random draws, as
    those of dropout, are each process's own, and batch norm sees one share.) Rank 0 writes files
    and says things. All have to make the same calls; `predict` is each one's own.

    Args:
        model: a Module.
        optimizer: an Optimizer, its name, a function of the model that makes it; or a dictionary of
            several. A name in a dictionary is for the part of the model that has the key as its
            attribute: `{"dis": "adam", "gen": "adam"}`.
        loss: a function `loss(y_pred, y)`, or the name of one in `minigrad` ('cross_entropy',
            'mse_loss') or in Keras: with the classes along the last axis, as the metrics have them.
        metrics: of `minigrad.learner.metrics`, updated with `(y_pred, y)`; or names ('accuracy').
            A `Mean` is left to the steps of a subclass.
        callbacks: see `minigrad.learner.callbacks`.
        artifact_dir: where configuration, logs and checkpoints go.
        jit: whether steps are compiled.
        clip_norm: the largest norm of all gradients of an optimizer's step.
        accumulate: batches for each step of the optimizers, which then follows the mean over all
            their samples; at the end of an epoch they may be fewer.
        precision: what steps compute in. 'float32'; 'tf32', products of float32 that are less exact
            and faster on a device; 'bfloat16' or 'float16', products in 16 bits, with a
            `LossScaler` in the second. Parameters and optimizers stay as they are, see `autocast`.
        on_nan: what a loss that is not finite leads to: 'warn' once, 'raise', or 'ignore'.
        on_interrupt: what Ctrl-C, SIGTERM and SIGHUP lead to: 'raise' saves a checkpoint after the
            step in progress and raises; 'stop' ends the training after the epoch in progress, as
            `stop()` does, and `fit` returns. The second one raises at once.
        config: plain data or a dataclass, kept in the artifact directory's config.json.
        verbose: 0 shows nothing, 1 bars on a terminal and lines elsewhere, 2 lines.
        distributed: whether this is one of several processes: by default if `mpiexec` started it,
            see `minigrad.distributed.init`.

    Attributes:
        optimizers: by name; '' for the only one, which is also `optimizer`.
        history: figures of all epochs so far.
        interrupts: notes Ctrl-C and SIGTERM during `fit`; `with learner.interrupts:` around it and
            what follows makes them be noted there, too. See `minigrad.learner.Interrupts`.

    Raises:
        StateError: two optimizers have the same parameter, or none has one that wants gradients.
        ValueError: an argument is out of its range.
        DistributedError: there are to be several processes, and MPI does not work, or nobody has
            started them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any = "adam",
        loss: Callable | str | None = None,
        metrics: Iterable[Metric | str] = (),
        callbacks: Iterable[Callback] = (),
        artifact_dir: str | os.PathLike | None = None,
        *,
        jit: bool = True,
        clip_norm: float | None = None,
        accumulate: int = 1,
        precision: str = "float32",
        on_nan: str = "warn",
        on_interrupt: str = "raise",
        config: Any = None,
        verbose: int = 1,
        distributed: bool | None = None,
    ):
        if on_nan not in ("warn", "raise", "ignore"):
            raise ValueError(f"Learner: on_nan must be 'warn', 'raise' or 'ignore', got {on_nan!r}")
        if on_interrupt not in ("raise", "stop"):
            raise ValueError(
                f"Learner: on_interrupt must be 'raise' or 'stop', got {on_interrupt!r}"
            )
        super().__init__(model, optimizer, loss, clip_norm, accumulate, precision)
        group = init(distributed)
        self._together = Together(self.optimizers) if group.size > 1 else None
        self._metrics, self.callbacks = metrics_of(metrics), list(callbacks)
        self.artifacts = Artifacts(artifact_dir, writes=group.rank == 0)
        self.jit, self.config = jit, config
        self.on_nan, self.on_interrupt = on_nan, on_interrupt
        self.progress = Progress(verbose if group.rank == 0 else 0)
        self.history = History()
        self._means: dict[str, Mean] = {}  # of the epoch in progress
        self._compiled, self.interrupts = Compiled(), Interrupts()

    @property
    def metrics(self) -> list[Metric]:
        """Reset at the beginning of each epoch; subclasses may list others."""
        return self._metrics

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
        resume: bool | str = False,
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
                in all; with 'here', from where this learner is, after an earlier `fit` or `load`.

        Returns:
            The history: means of each epoch, weighted by samples.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the step in progress, at the second time at once; after
                SIGTERM or SIGHUP it is SystemExit. A checkpoint was saved, if there is an artifact
                directory, and what to call to go on was said. The history so far is in `history`,
                after any other exception too; a note on it says so. (With on_interrupt='stop' it is
                the second signal that raises.)
            DivergenceError: a figure is not finite, with on_nan='raise'.
            ValueError: `epochs` is no integer from 0 on, or `resume` none of these.
            StateError: the last step did not end, so that nothing goes on from 'here'.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer) or epochs < 0:
            raise ValueError(f"Learner.fit: epochs must be an integer from 0 on, got {epochs!r}")
        if resume not in (False, True, "here"):
            raise ValueError(f"Learner.fit: resume must be True, False or 'here', got {resume!r}")
        call = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle, "seed": seed}
        call |= {"valid_batch_size": valid_batch_size} if valid_batch_size is not None else {}
        loader, held_out = as_batches("fit", train, batch_size, shuffle, seed), None
        if valid is not None:
            size = batch_size if valid_batch_size is None else valid_batch_size
            held_out = as_batches("fit", valid, size)
        here, saved = resume == "here" and self.step > 0, bool(resume) and resume != "here"
        if here:
            self._whole("go on from here")
            self._same_seed(self._place.seed, seed)
        else:
            self._place, self.history, self._means = Place(seed=seed), History(), {}
        self._without_gradients()
        together = self._together
        with self.artifacts.held(saved):
            if together is not None:
                together.group.barrier()  # rank 0 has tidied up what the others are about to read
                loader, held_out = shared(loader), None if held_out is None else shared(held_out)
            if saved:
                where = self.artifacts.load(self)
                self.say(
                    f"resumed from {Path(where).as_posix()}: {self.epoch} epochs, {self.step} steps"
                )
            if self._place.loader is not None and hasattr(loader, "load_state_dict"):
                loader.load_state_dict(self._place.loader)
            if together is not None:
                self._agree(together, {**call, "batches of an epoch": length_of(loader)})
            self.artifacts.prepare(described(self, call), here or saved)
            self._call("on_fit_start")
            self._through(loader, held_out, epochs, {"valid": valid, **call})
            self._call("on_fit_end")
        return self.history

    def _agree(self, together: Together, facts: Mapping[str, Any]) -> None:
        """See to it that all processes train the same, from the same place on."""
        place = self._place
        where = {"epoch": place.epoch, "step": place.step, "batches": place.batches}
        own: dict[str, Any] = {"learner": type(self).__name__, "clip_norm": self.clip_norm}
        own |= {"accumulate": self.accumulate, "jit": self.jit}
        own |= {"metrics": [m.name for m in self.metrics]}
        together.begin(self.model, {**own, **where, **facts})
        self.say(
            f"{together.group.size} processes, each with its share of every batch; rank 0 writes"
        )

    def _through(self, loader: Any, held_out: Any, epochs: int, call: Mapping[str, Any]) -> None:
        """Train to the last epoch, or to an interrupt."""
        try:
            with self.interrupts:
                while self.epoch < epochs and not self._place.stopped:
                    self._one_epoch(loader, held_out, epochs)
                    if self.on_interrupt == "stop" and self.interrupts.received is not None:
                        break
        except KeyboardInterrupt as error:
            error.add_note(self._so_far())
            self._interrupted(call)
            if self.interrupts.received not in (None, signal.SIGINT):
                raise SystemExit(128 + self.interrupts.received) from None
            raise
        except Exception as error:
            error.add_note(self._so_far())
            raise

    def stop(self) -> None:
        """End the training after this epoch; for callbacks."""
        self._place.stopped = True

    def _one_epoch(self, loader: Any, held_out: Any, epochs: int) -> None:
        place, title = self._place, f"epoch {self.epoch + 1}/{epochs}"
        if not place.batches:
            self._means = {}
            for metric in self.metrics:
                metric.reset()
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(place.epoch)
        batches = iter(loader)
        if not hasattr(loader, "load_state_dict"):
            batches = itertools.islice(batches, place.batches, None)
        key = random.fold(random.key(place.seed or 0), "fit", "train_step")
        if self._together is not None:
            key = random.fold(key, "rank", self._together.group.rank)
        self._call("on_epoch_start")
        with (
            self._mode(True),
            self.progress.epoch(title, length_of(loader), place.batches),
            contextlib.closing(batches) if hasattr(batches, "close") else contextlib.nullcontext(),
        ):
            for batch, share, weight in self._shares(batches):
                place.batch_weight, self._share = weight, share
                if batch is not None:
                    self._call("on_batch_start", batch)
                place.whole = False
                logs = self._step(batch, key)
                place.step, place.batches = place.step + 1, place.batches + 1
                place.loader = state_of(loader)
                if self.accumulate > 1:
                    for name, value in self._accumulated(self._share).items():
                        logs[name] = value
                        self._means.setdefault(name, Mean(name)).add(value)
                place.whole = not place.waiting
                self._look_for_nan(logs)
                self._call("on_batch_end", logs)
                self.progress.step({k: m.result() for k, m in self._means.items()})
                if place.whole:
                    self._call("on_step_settled")
                    self._check_interrupts()
        if not place.batches:
            raise StateError(
                "Learner: there was no batch to train on; the data are empty, or an iterator that "
                "is used up: give a list, a data set or a loader"
            )
        if place.waiting:
            self._accumulated(None)
        logs = self._results(self._means)
        if held_out is not None:
            logs |= {f"val_{k}": v for k, v in self._measured(held_out).items()}
        place.whole = False
        place.epoch, place.batches, place.loader = place.epoch + 1, 0, state_of(loader)
        self._call("on_epoch_end", logs)
        self.history.append(logs)
        place.whole = True
        self.progress.end(title, self.history.epochs[-1])
        self._call("on_epoch_settled")
        self._check_interrupts()

    def _shares(self, batches: Iterable[Any]) -> Iterator[Share]:
        """Batches, what this process's part of them weighs, and what all weighs."""
        if self._together is not None:
            yield from self._together.shares(batches, self.weigh)
            return
        for batch in batches:
            weight = self.weigh(batch)
            yield Share(batch, weight, weight)

    def _step(self, batch: Any, key: random.Key) -> dict[str, float]:
        """A step of training by all processes, on a share of the batch in each: its figures."""
        place, together = self._place, self._together
        if together is None:
            return self._run("train_step", batch, place.batch_weight, key, place.step, self._means)
        own: dict[str, Mean] = {}
        metrics = [m for m in self.metrics if not isinstance(m, Mean)]
        with self._other_metrics():
            logs = {}
            if batch is None:
                said = together.follow(self._descend) if self.accumulate == 1 else None
            else:
                logs = self._run("train_step", batch, self._share, key, place.step, own)
                logs |= self._behind_program() if self.accumulate == 1 else {}
                said = None
            if said is None:
                states = [m.state_dict() for m in metrics] if batch is not None else []
                said = together.end(logs, states, self._share)
        for i, metric in enumerate(metrics):
            merge_states(metric, [one["metrics"][i] for one in said if one.get("metrics")])
        together.average_buffers(self.model, self._share)
        logs = figures_of(said)
        for name, value in logs.items():
            self._means.setdefault(name, Mean(name)).add(value, place.batch_weight)
        return logs

    def _run(
        self,
        kind: str,
        batch: Any,
        weight: float,
        key: random.Key,
        number: int,
        means: dict[str, Mean],
    ) -> dict[str, float]:
        """Run a step, and take its figures in."""
        batch = self.prepare(batch)
        own = type(self).valid_step is not Stepping.valid_step
        fast = self.jit and (kind == "train_step" or own or not self._only_trains())
        found = self._compiled.run(self, kind, batch, random.fold(key, number), fast)
        if not isinstance(found, Mapping):
            raise TypeError(
                f"Learner: {kind} must give a dictionary of figures, got {type(found).__name__}"
            )
        logs, measured = {}, "y_pred" in found
        for name, value in found.items():
            if measured and name in ("y_pred", "y"):
                continue
            logs[name] = as_number(value)
            means.setdefault(name, Mean(name)).add(logs[name], weight)
        metrics = [m for m in self.metrics if measured and not isinstance(m, Mean)]
        if metrics and "y" not in found and not isinstance(batch, list | tuple):
            raise StateError(
                f"Learner: {metrics[0].name} needs targets, and a batch that is a "
                f"{type(batch).__name__} has no last part; have {kind} give 'y' beside 'y_pred'"
            )
        for metric in metrics:
            metric.update(found["y_pred"], found["y"] if "y" in found else batch[-1])
        return logs

    def _look_for_nan(self, logs: Mapping[str, float]) -> None:
        lost = [name for name, value in logs.items() if not math.isfinite(value)]
        if not lost or self.on_nan == "ignore":
            return
        text = (
            f"{lost[0]} is {logs[lost[0]]} at step {self.step}; a smaller learning rate or "
            f"clip_norm=1.0 may help, and `with mg.detect_anomaly():` around fit names the op"
        )
        if self.on_nan == "raise":
            error = DivergenceError(text)
            error.figure, error.value, error.step = lost[0], logs[lost[0]], self.step
            raise error
        if not self._place.warned:
            self._place.warned = True
            self.say(text)

    def _so_far(self) -> str:
        """What is known of a training that ends too early, and where."""
        done = len(self.history.epochs)
        text = f"learner.history has the history so far: {done} epoch{'s' * (done != 1)}"
        if self._place.batches and self._means:
            means = {k: m.result() for k, m in self._means.items() if m.weight}
            text += f"; of epoch {self.epoch + 1}, {self._place.batches} batches: {shown(means)}"
        return text

    def _interrupted(self, call: Mapping[str, Any]) -> None:
        """Save what there is, and say what to call to go on."""
        self._call("on_interrupt")
        where, whole = None, self._place.whole
        if whole:
            try:
                where = self.artifacts.save(self)
            except (DivergenceError, RunError) as error:  # the interrupt is not to be lost over it
                self.say(str(error))
                whole = False
        if self._together is not None and self._place.whole:
            self._together.group.barrier()  # nobody ends the others while rank 0 saves
        if not whole:
            where = next(iter(self.artifacts.checkpoints()[::-1]), None)
        at = f"interrupted in epoch {self.epoch + 1} after step {self.step}"
        self.say(self._so_far())
        if where is None:
            why = "there is no checkpoint" if self.artifacts.directory else "give an artifact_dir"
            self.say(f"{at}; there is nothing to go on from: {why}")
            return
        data = "train, valid" if call["valid"] is not None else "train"
        options = "".join(f"{k}={v!r}, " for k, v in call.items() if k != "valid" and v is not None)
        kept = "; the last checkpoint is"
        saved = (
            "saved to"
            if whole
            else f"{'not saved' if self._place.whole else 'within a step'}{kept}"
        )
        self.say(
            f"{at}, {saved} {where.as_posix()}\nto go on: learner.fit({data}, {options}resume=True)"
        )

    # -- measuring

    def evaluate(self, given: Any, batch_size: int | None = None) -> dict[str, float]:
        """Loss and metrics over data, by name; nothing is trained.

        Args:
            given: as for `fit`.
        """
        batches = as_batches("evaluate", given, batch_size)
        return self._measured(batches if self._together is None else shared(batches))

    def _measured(self, batches: Any) -> dict[str, float]:
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(0)
        means, key = dict[str, Mean](), random.fold(random.key(0), "evaluate", "valid_step")
        self._call("on_evaluate_start")
        with self._mode(False), no_grad(), self._still(), self._other_metrics():
            for number, batch in enumerate(batches):
                if batch is None:  # no share of it is this process's
                    continue
                self._run("valid_step", batch, self.weigh(batch), key, number, means)
                if self._together is None:
                    self._check_interrupts()
            if self._together is not None:
                self._together.merged(means, self.metrics)
                self._check_interrupts()
            logs = self._results(means)
        if not means:
            raise StateError("Learner.evaluate: there was no batch; the data are empty or used up")
        self._call("on_evaluate_end", logs)
        return logs

    def predict(self, given: Any, batch_size: int | None = None) -> Any:
        """What the model gives for arrays x, (x1, x2), a data set or batches: NumPy arrays.

        Of batches of several parts, as (x, y) of a loader, the last one is left out. Calls from
        several threads, and those during a training, take turns.

        Raises:
            StateError: there is nothing to predict from.
        """
        if is_array(given) or type(given) is Tensor:
            given = (given,)
        found = []
        with self._mode(False), no_grad(), self.computing():
            for batch in map(self.prepare, _whole(as_batches("predict", given, batch_size))):
                parts = list(batch) if isinstance(batch, list | tuple) else [batch]
                if not isinstance(given, tuple) and len(parts) > 1:
                    parts = parts[:-1]
                y, rebuild = flatten(tree_map(in_float32, self.model(*parts)))
                found.append([to_numpy(t.data) if type(t) is Tensor else t for t in y])
        if not found:
            raise StateError("Learner.predict: there is nothing to predict from")
        return rebuild([np.concatenate(list(column)) for column in zip(*found, strict=True)])

    def _results(self, means: Mapping[str, Mean]) -> dict[str, float]:
        figures = {name: mean.result() for name, mean in means.items()}
        return figures | {m.name: m.result() for m in self.metrics}

    # -- where it is

    def save(
        self, directory: str | os.PathLike, documents: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint of all there is into a directory of your choice, for `load`; its path,
        or its URI in an object store.

        Files of an older one are replaced, all at once; others stay.

        Args:
            documents: plain data, written as JSON files of these names that belong to it.

        Raises:
            DivergenceError: a parameter is not finite; nothing was written.
            RunError: a file cannot be written, or another process is writing there.
            StateError: in the midst of a step.
        """
        self._whole("be saved")
        self.artifacts.write(self, directory, documents)

    def load(self, directory: str | os.PathLike) -> None:
        """Be where the learner was that was saved there; `fit(..., resume="here")` goes on.

        Raises:
            RunError: it is no checkpoint, or it is damaged.
            StateError: it does not fit the model, the optimizers, the metrics or the callbacks.
        """
        before, self._place = self._place, Place()  # of any seed
        try:
            self.artifacts.load(self, directory)
        except BaseException:
            self._place = before
            raise

    def _whole(self, purpose: str) -> None:
        if not self._place.whole:
            raise StateError(
                f"Learner: it cannot {purpose}, as step {self.step} or its epoch did not end; "
                f"load a checkpoint, or fit anew"
            )

    def _same_seed(self, theirs: int | None, mine: int | None) -> None:
        if mine is not None and theirs != mine:
            raise StateError(
                f"Learner: the state is of a training with seed={theirs}, not {mine}; give the "
                f"same as before"
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside model, optimizers and callbacks' arrays: plain data."""
        place = self._place
        return {
            "epoch": place.epoch,
            "step": place.step,
            "batches": place.batches,
            "stopped": place.stopped,
            "loader": place.loader,
            "seed": place.seed,
            "scalers": {
                name: {k: v.item() for k, v in scaler.state_dict().items()}
                for name, scaler in self.scalers.items()
            },
            "without_jit": sorted(self._compiled.plain),
            "history": self.history.epochs,
            "means": {name: mean.state_dict() for name, mean in self._means.items()},
            "metrics": _states(self.metrics),
            "callbacks": _states(self.callbacks),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            StateError: metrics or callbacks are others than they were, or the seed of `fit` is.
        """
        for name, mine in (("metrics", self.metrics), ("callbacks", self.callbacks)):
            theirs = [kind for kind, _ in state[name]]
            if theirs != [type(x).__name__ for x in mine]:
                raise StateError(
                    f"Learner: the state has the {name} {theirs}, this learner has "
                    f"{[type(x).__name__ for x in mine]}; give the same as before"
                )
        self._same_seed(state["seed"], self._place.seed)
        for part, (_, saved) in zip(
            [*self.metrics, *self.callbacks], [*state["metrics"], *state["callbacks"]], strict=True
        ):
            if hasattr(part, "load_state_dict"):
                part.load_state_dict(saved)
        names = ("epoch", "step", "batches", "stopped", "loader", "seed")
        self._place = Place(**{name: state[name] for name in names})
        for name, saved in state.get("scalers", {}).items():
            if name in self.scalers:  # it goes on in another precision otherwise
                self.scalers[name].load_state_dict(
                    {
                        "scale": np.float32(saved["scale"]),
                        "good_steps": np.int64(saved["good_steps"]),
                    }
                )
        self._compiled.plain.update(state["without_jit"])
        self.history = History(state["history"])
        self._means = {name: Mean(name) for name in state["means"]}
        for name, saved in state["means"].items():
            self._means[name].load_state_dict(saved)

    def say(self, text: str) -> None:
        """Show a line, unless `verbose` is 0."""
        self.progress.say(text)

    # -- helpers

    def _check_interrupts(self) -> None:
        if self._together is not None:  # a signal may reach one process, or each at another step
            self.interrupts.received = self._together.signal(self.interrupts.received)
        if self.on_interrupt == "raise":
            self.interrupts.check()

    def __copy__(self) -> NoReturn:
        raise StateError(
            "copy: two Learners of one model and one training would disagree about it; "
            "copy.deepcopy(learner) gives one with a model of its own, and Learner(learner.model, "
            "learner.optimizer, ...) another one for the same model"
        )

    def _call(self, point: str, *args: Any) -> None:
        callbacks = self.callbacks
        if not self.artifacts.writes:
            callbacks = [c for c in callbacks if getattr(c, "everywhere", True)]
        if point.endswith("_settled"):  # a checkpoint has what all others have done by then
            callbacks = sorted(callbacks, key=lambda c: isinstance(c, Checkpoint))
        for callback in callbacks:
            if (method := getattr(callback, point, None)) is not None:
                method(self, *args)

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """The model in that mode; each of its modules as it was afterwards.

        Whoever wants it in another mode, on another thread, waits.
        """
        with _turns.setdefault(self.model, threading.RLock()), self.model.in_mode(training):
            yield

    @contextmanager
    def _other_metrics(self) -> Iterator[None]:
        """Metrics that have seen nothing; afterwards they are as they were."""
        metrics = self.metrics
        before = [copy.deepcopy(vars(metric)) for metric in metrics]
        for metric in metrics:
            metric.reset()
        try:
            yield
        finally:
            for metric, old in zip(metrics, before, strict=True):
                vars(metric).clear()
                vars(metric).update(old)


def _whole(batches: Any) -> Any:
    """All of the batches of a loader, in place of a process's share of them."""
    if getattr(batches, "shared", False) and hasattr(batches, "dataset"):
        batches = copy.copy(batches)
        batches.shared = False
    return batches


def _states(parts: Sequence[Any]) -> list:
    """Class and state of each."""
    return [[type(x).__name__, x.state_dict() if hasattr(x, "state_dict") else {}] for x in parts]
