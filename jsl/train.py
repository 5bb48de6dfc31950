"""Training: from a corpus to a run on disk."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jsl import checkpoint, schema
from jsl.batching import Batch, Batches, make_batch
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import Corpus
from jsl.decode import generator
from jsl.errors import TrainingError, UsageError
from jsl.messages import listed, say
from jsl.model import arrays_of, build_model, loss_of
from jsl.vocabulary import Vocabulary
from minigrad import Tensor, nn, optim, runs
from minigrad.errors import DivergenceError, StateError
from minigrad.learner import Callback, Checkpoint, Learner, Throughput


@dataclass(frozen=True)
class Progress:
    """What is known at the end of an epoch. Losses are those of the steps of this epoch.

    Attributes:
        epoch: counted from 1, continued runs included.
        epochs: at which number training will end.
        loss_per_token: cross entropy summed over target tokens, end marks too, over their number.
        loss_per_sentence: the same sum over the number of sentences.
        tokens_per_second: target tokens trained on.
        seconds: of this epoch.
    """

    epoch: int
    epochs: int
    loss_per_token: float
    loss_per_sentence: float
    tokens_per_second: float
    seconds: float


class Losses(Callback):
    """Notes the loss before the first step of all, and that of an epoch per sentence."""

    def __init__(self, sentences: int):
        self.sentences = sentences
        self.first: float | None = None
        self._total, self._epoch = 0.0, -1

    def on_epoch_start(self, learner: Learner) -> None:
        if self._epoch != learner.epoch:  # not one that goes on
            self._total, self._epoch = 0.0, learner.epoch

    def on_batch_end(self, learner: Learner, logs: dict[str, float]) -> None:
        if self.first is None:
            self.first = logs["loss"]
        self._total += logs["loss"] * learner.batch_weight

    def on_epoch_end(self, learner: Learner, logs: dict[str, float]) -> None:
        logs["loss_per_sentence"] = self._total / self.sentences

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "total": self._total, "epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.first = None if state["first"] is None else _number(state, "first")
        self._total, self._epoch = _number(state, "total", 0.0), int(_number(state, "epoch", -1))


def _number(state: Mapping[str, Any], name: str, *absent: float) -> float:
    """A number of a state, or what it is where a state of an earlier version has none.

    Raises StateError if it is no number.
    """
    x: Any = state.get(name, *absent)
    if type(x) not in (int, float):
        raise StateError(f"{name}: expected a number, got a {type(x).__name__}")
    return x


class Report(Callback):
    """Passes the figures of each epoch on."""

    to: Callable[[Progress], None] | None = None

    def on_epoch_settled(self, learner: Learner) -> None:
        if self.to is not None:
            assert isinstance(learner, Trainer)
            figures = dict(learner.history.epochs[-1])
            loss = figures.pop("loss")
            self.to(Progress(learner.epoch, learner.last_epoch, loss, **figures))


class Saves(Checkpoint):
    """Runs on the way to one in `directory`, every so many steps or minutes.

    Args:
        directory: of the training; they are in `checkpoints` there, the one of the lowest loss of
            an epoch in `best`, too.
        keep: how many of them stay, besides that.
        others: runs of a former training, that go once there is one of this.
    """

    def __init__(
        self,
        directory: Path | None = None,
        keep: int = 1,
        steps: int | None = None,
        minutes: float | None = None,
        others: Sequence[Path] = (),
    ):
        super().__init__(sys.maxsize, keep, steps=steps, minutes=minutes)
        self.directory, self.others = directory, list(others)
        self.lowest: float = math.inf

    def on_fit_start(self, learner: Learner) -> None:
        super().on_fit_start(learner)
        if self.directory is None or not (self.directory / checkpoint.BEST).is_dir():
            self.lowest = math.inf

    def save(self, learner: Learner) -> None:
        assert isinstance(learner, Trainer)
        assert self.directory is not None
        saved = self.directory / checkpoint.CHECKPOINTS / f"step-{learner.step:08}"
        learner.save_run(saved, {})
        self.forget_others(saved)
        assert self.keep is not None
        checkpoint.keep_last(self.directory, self.keep)
        losses = learner.history.epochs
        if losses and losses[-1]["loss"] < self.lowest:
            self.lowest = losses[-1]["loss"]
            learner.save_run(self.directory / checkpoint.BEST, {})

    def forget_others(self, saved: Path | str) -> None:
        """Remove what is of a former training, now that a run of this one is `saved`."""
        with checkpoint.saving(saved):
            for other in self.others:
                if other != saved and other.is_dir():
                    runs.remove(other)
        self.others = []

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.lowest = _number(state, "lowest", math.inf)


class Trainer(Learner):
    """A model in training, and all that a run's files need.

    Args:
        corpus: what to learn.
        model: sizes.
        training: schedule; `epochs` is the number to add, to those of `resume` if there is one.
        resume: a run to continue with its weights and its optimizer's state.
        jit: repeat captured programs in place of the steps, for speed; the last bits of the weights
            depend on it.
        saves: what is saved on the way; nothing by default.

    Attributes:
        interrupted: whether `run` was ended by Ctrl-C or another signal.

    Raises:
        UsageError: the corpus has groups or tags that the run to continue does not know.
        RunDirError: the files of the run to continue do not belong together.
    """

    model: nn.Grouped

    def __init__(
        self,
        corpus: Corpus,
        model: ModelConfig,
        training: TrainingConfig,
        resume: checkpoint.Run | None = None,
        jit: bool = True,
        saves: Saves | None = None,
    ):
        self.corpus, self.model_config, self.training = corpus, model, training
        self.vocabulary = Vocabulary.from_tags(corpus.tags)
        groups, begun = corpus.groups, 0
        self.trained_before: frozenset[str] = frozenset()
        if resume is not None:
            _check_continuation(corpus, resume)
            self.vocabulary, groups = resume.vocabulary, resume.groups
            begun, self.trained_before = resume.training.epochs, resume.trigrams
        self.last_epoch = begun + training.epochs
        self.losses, self.report = Losses(len(corpus.rows)), Report()
        self.interrupted = False
        translator = build_model(model, self.vocabulary, groups, training.seed)
        super().__init__(
            translator,
            optim.Adam(translator, lr=training.learning_rate),
            callbacks=[Throughput("tokens"), self.losses, self.report, saves or Saves()],
            jit=jit,
            on_nan="raise",
            verbose=0,
        )
        self.batches = Batches(corpus.rows, self.vocabulary, training.batch_size, training.seed)
        if resume is not None:
            checkpoint.resume(self, resume)

    def prepare(self, batch: Batch) -> tuple[Any, ...]:
        """The arrays of a batch; for `jit`, of few different shapes."""
        if self.jit:
            batch = batch.filled(min(self.training.batch_size, len(self.corpus.rows)))
        return arrays_of(self.model, batch)

    def weigh(self, batch: Batch) -> int:
        """Target tokens, for a loss that is a mean over them."""
        return batch.tokens

    def loss_step(self, batch: tuple[Any, ...]) -> Tensor:
        """The loss per token."""
        return loss_of(self.model, *batch)

    def run(self, report: Callable[[Progress], None] | None = None) -> None:
        """Train to the last epoch, or to the end of the step in which there is an interrupt.

        Raises:
            KeyboardInterrupt: there were so many interrupts that the step did not end.
            TrainingError: the loss is not finite, so that the weights are lost.
        """
        self.report.to = report
        rate = self.training.learning_rate
        try:
            with np.errstate(all="ignore"):  # a loss that is not finite says it better
                self.fit(
                    self.batches, epochs=self.last_epoch, seed=self.training.seed, resume="here"
                )
        except DivergenceError as error:
            raise TrainingError(
                say("train.diverged", epoch=self.epoch + 1, loss=error.value, rate=rate)
            ) from error
        except (KeyboardInterrupt, SystemExit):
            if self.interrupts.received is None or not self.whole:
                raise
            self.interrupted = True

    def look(self) -> float:
        """The loss per token with the weights as they are, which no step has seen yet.

        Raises:
            TrainingError: it is not finite.
        """
        with np.errstate(all="ignore"):
            loss = self.evaluate(self.batches)["loss"]
        if not math.isfinite(loss):
            rate = self.training.learning_rate
            raise TrainingError(say("train.lost", loss=loss, rate=rate))
        return loss

    def exact_matches(self, batch_size: int = 64) -> dict[str, tuple[int, int]]:
        """For each group: how many training rows greedy decoding gives back, and of how many."""
        found = {}
        for group in self.model.groups:
            rows = [row for row in self.corpus.rows if row.group == group]
            right = 0
            limit = self.model_config.max_seq_len
            search = generator(self.model[group], self.vocabulary, limit)
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                src = make_batch(part, self.vocabulary).src
                decoded = search.greedy(src)
                right += sum(
                    self.vocabulary.decode_tags(ids) == " ".join(row.tags)
                    for ids, row in zip(decoded, part, strict=True)
                )
            found[group] = (right, len(rows))
        return found

    def save_run(self, directory: Path | str, matches: dict[str, tuple[int, int]]) -> None:
        """Write the run into `directory`, in the place of an older one.

        Raises:
            RunDirError: a file cannot be written, or an entry is not what `jsl.schema` says.
            TrainingError: the weights are lost: they are not finite.
        """
        config = checkpoint.config_of(
            model=self.model_config,
            training=replace(self.training, epochs=self.epoch),
            vocabulary=self.vocabulary,
            groups=self.model.groups,
            corpus=self.corpus,
            trained_before=self.trained_before,
            progress={
                "steps": self.step,
                "last_epoch": self.last_epoch,
                "finished": self.epoch >= self.last_epoch,
                "jit": bool(self.jit),
            },
        )
        metrics = checkpoint.metrics_of(self.history.epochs, self.losses.first, matches)
        schema.check(checkpoint.named(directory, checkpoint.CONFIG), config, schema.CONFIG)
        schema.check(checkpoint.named(directory, checkpoint.METRICS), metrics, schema.METRICS)
        try:
            with checkpoint.saving(directory):
                self.save(directory, {checkpoint.CONFIG: config, checkpoint.METRICS: metrics})
        except DivergenceError as error:
            rate = self.training.learning_rate
            raise TrainingError(say("train.lost", loss=error.value, rate=rate)) from error


def _check_continuation(corpus: Corpus, run: checkpoint.Run) -> None:
    """That a run knows all groups and tags of a corpus."""
    if unknown := [g for g in corpus.groups if g not in run.groups]:
        raise UsageError(
            say(
                "train.unknown_groups",
                found=listed(unknown),
                known=listed(run.groups),
            )
        )
    if unknown := [t for t in corpus.tags if t not in run.vocabulary.tags]:
        raise UsageError(say("train.unknown_tags", found=listed(unknown)))


def parameter_count(model: nn.Grouped) -> int:
    """How many numbers a model has to learn."""
    return int(np.sum([p.size for p in model.parameters()]))
