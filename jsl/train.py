"""Training: from a corpus to a run on disk."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jsl import checkpoint, matching, schema
from jsl.batching import Batch, Batches, in_slots
from jsl.config import SLOTS, ModelConfig, TrainingConfig
from jsl.corpus import Corpus, Row
from jsl.errors import TrainingError, UsageError
from jsl.matching import Compared, Matches
from jsl.messages import say
from jsl.model import arrays_of, build_model, group_weights, loss_of
from jsl.statistics import statistics
from jsl.vocabulary import Vocabulary
from minigrad import Tensor, nn, optim, runs
from minigrad.backend import to_device
from minigrad.distributed import rank, world_size
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
        valid_loss_per_token: of the validation corpus, if there is one.
    """

    epoch: int
    epochs: int
    loss_per_token: float
    loss_per_sentence: float
    tokens_per_second: float
    seconds: float
    valid_loss_per_token: float | None = None


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
            figures = {
                checkpoint.FIGURES.get(name, name): value
                for name, value in learner.history.epochs[-1].items()
            }
            self.to(Progress(epoch=learner.epoch, epochs=learner.last_epoch, **figures))


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
        figures = learner.history.epochs[-1] if learner.history.epochs else {}
        loss = figures.get("val_loss", figures.get("loss", math.inf))
        if loss < self.lowest:
            self.lowest = loss
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
        valid: what is not learned, but looked at after each epoch.
        distributed: as of a Learner: whether this is one of several processes.
        precision: as of a Learner: what steps compute in.

    Attributes:
        interrupted: whether `run` was ended by Ctrl-C or another signal.
        grown: what the run to continue did not know and now learns, groups or tags.

    Raises:
        UsageError: the corpus is cut into other tokens than that of the run to continue, or has too
            many tags for the kind of model, or the groups would be one.
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
        valid: Corpus | None = None,
        distributed: bool | None = None,
        precision: str = "float32",
    ):
        self.corpus, self.model_config, self.training = corpus, model, training
        self.valid = valid
        kinds = corpus.source_kind, corpus.target_kind
        groups, begun = corpus.groups, 0
        self.trained_before: frozenset[str] = frozenset()
        self.grown: list[str] = []
        if resume is None:
            self.vocabulary = Vocabulary.from_rows(corpus.rows, *kinds, training.min_count)
        else:
            known = resume.vocabulary
            if kinds != (known.source_kind, known.target_kind):
                raise UsageError(
                    say(
                        "train.other_tokens",
                        found=" → ".join(kinds),
                        known=known.source_kind,
                        target=known.target_kind,
                    )
                )
            new_groups = [group for group in groups if group not in resume.groups]
            self.grown = [*new_groups, *known.unknown_tags(corpus.tags)]
            self.vocabulary = known.with_tags(known.unknown_tags(corpus.tags))
            groups = (*resume.groups, *new_groups)
            begun, self.trained_before = resume.training.epochs, resume.trigrams
        if model.kind == "decoder-only":
            for part in filter(None, (corpus, valid)):
                most = max(part.rows, key=lambda row: len(row.tags))
                if len(most.tags) > SLOTS:
                    raise UsageError(
                        say(
                            "train.slots",
                            path=part.path,
                            line=most.line,
                            found=len(most.tags),
                            slots=SLOTS,
                        )
                    )
        self.last_epoch = begun + training.epochs
        self.losses, self.report = Losses(len(corpus.rows)), Report()
        self.interrupted = False
        translator = build_model(model, self.vocabulary, groups, training.seed)
        super().__init__(
            translator,
            optim.Adam(translator, lr=_rate(training)),
            clip_norm=training.clip_norm or None,
            callbacks=[Throughput("tokens"), self.losses, self.report, saves or Saves()],
            jit=jit,
            precision=precision,
            on_nan="raise",
            verbose=0,
            distributed=distributed,
        )
        self.batches = self._batches(corpus.rows)
        self.valid_batches: Batches | None = None
        self.left_out = 0  # rows of `valid` with tags that no model can say
        if valid is not None:
            known_rows = [
                row
                for row in valid.rows
                if row.group in groups and not self.vocabulary.unknown_tags(row.tags)
            ]
            self.left_out = len(valid.rows) - len(known_rows)
            self.valid_batches = self._batches(known_rows) if known_rows else None
        if resume is not None:
            (checkpoint.grow if self.grown else checkpoint.resume)(self, resume)

    def _batches(self, rows: Sequence[Row]) -> Batches:
        training = self.training
        return Batches(
            rows,
            self.vocabulary,
            training.batch_size,
            training.seed,
            training.buckets,
            training.batch_tokens,
        )

    def prepare(self, batch: Batch) -> tuple[Any, ...]:
        """The arrays of a batch; for `jit`, of few different shapes."""
        given, whole, n = batch, batch.whole or batch, 1 if batch.whole is None else world_size()
        if self.jit:
            batch = batch.filled()
        slots = self.model_config.kind == "decoder-only"
        ready = in_slots(batch) if slots else batch
        weights = None
        if self.training.loss_weighting == "group":
            # Of the batch of all processes, and as the mean over all counts this one's loss.
            found = group_weights(in_slots(whole) if slots else whole)
            if n > 1:
                found = found[rank() :: n] * (self.weigh(whole) / self.weigh(given))
            missing = [(0, a - b) for a, b in zip(ready.tgt_out.shape, found.shape, strict=True)]
            weights = to_device(np.pad(found, missing).astype(np.float32))
        groups, *ids = arrays_of(self.model, ready)
        # A program sorts the rows by group where it computes; without one, the host does.
        return (to_device(groups) if self.jit else groups), *ids, weights

    def weigh(self, batch: Batch) -> int:
        """Target tokens, for a loss that is a mean over them."""
        slots = self.model_config.kind == "decoder-only"  # all of them are targets
        return len(batch.groups) * SLOTS if slots else batch.tokens

    def loss_step(self, batch: tuple[Any, ...]) -> Tensor:
        """The loss per token; in training with what the labels are smoothed by."""
        smoothing = self.training.label_smoothing if self.model.training else 0.0
        groups, src, tgt_in, tgt_out, weights = batch
        return loss_of(self.model, groups, src, tgt_in, tgt_out, weights, smoothing)

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
                    self.batches,
                    self.valid_batches,
                    epochs=self.last_epoch,
                    seed=self.training.seed,
                    resume="here",
                )
        except DivergenceError as error:
            raise TrainingError(
                say("train.diverged", epoch=self.epoch + 1, loss=error.value, rate=rate)
            ) from error
        except (KeyboardInterrupt, SystemExit):
            if self.interrupts.received is None or not self.whole:
                raise
            self.interrupted = True

    def look(self, batches: Batches | None = None) -> float:
        """The loss per token with the weights as they are, which no step has seen yet.

        Args:
            batches: of the corpus, if nothing else is said.

        Raises:
            TrainingError: it is not finite.
        """
        with np.errstate(all="ignore"):
            loss = self.evaluate(self.batches if batches is None else batches)["loss"]
        if not math.isfinite(loss):
            rate = self.training.learning_rate
            raise TrainingError(say("train.lost", loss=loss, rate=rate))
        return loss

    def losses_by_group(self) -> dict[str, float]:
        """For each group of the corpus the loss per token, as `look` finds it.

        Raises:
            TrainingError: one is not finite.
        """
        found = {}
        for group in self.corpus.groups:
            rows = [row for row in self.corpus.rows if row.group == group]
            found[group] = self.look(self._batches(rows))
        return found

    def compare(self, rows: Sequence[Row] | None = None, batch_size: int = 64) -> Matches:
        """Rows of each group beside what greedy decoding makes of them.

        Args:
            rows: the corpus, if nothing else is said.
        """
        rows = self.corpus.rows if rows is None else rows
        found = Matches()
        for group in dict.fromkeys([*self.model.groups, *(row.group for row in rows)]):
            own = [row for row in rows if row.group == group]
            if group not in self.model.groups:
                given = (matching.expected(self.vocabulary, row) for row in own)
                pairs = zip(own, given, strict=True)
                found.add(group, (Compared(group, row.japanese, tags, "") for row, tags in pairs))
                continue
            limit = self.model_config.max_seq_len
            model = self.model[group]
            found.add(group, matching.compare(model, self.vocabulary, own, limit, batch_size))
        return found

    def exact_matches(
        self, rows: Sequence[Row] | None = None, batch_size: int = 64
    ) -> dict[str, tuple[int, int]]:
        """For each group: how many rows greedy decoding gives back, and of how many."""
        return self.compare(rows, batch_size).counts

    def save_run(
        self,
        directory: Path | str,
        matches: Mapping[str, tuple[int, int]],
        valid_matches: Mapping[str, tuple[int, int]] = checkpoint.NONE,
        losses: Mapping[str, float] = checkpoint.NONE,
    ) -> None:
        """Write the run into `directory`, in the place of an older one.

        Args:
            matches, valid_matches, losses: as `exact_matches` and `losses_by_group` give them.

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
            valid=self.valid,
            trained_before=self.trained_before,
            progress={
                "steps": self.step,
                "last_epoch": self.last_epoch,
                "finished": self.epoch >= self.last_epoch,
                "jit": bool(self.jit),
            },
        )
        metrics = checkpoint.metrics_of(
            self.history.epochs,
            self.losses.first,
            matches,
            valid_matches,
            losses,
            statistics(self.model.state_dict()),
        )
        schema.check(checkpoint.named(directory, checkpoint.CONFIG), config, schema.CONFIG)
        schema.check(checkpoint.named(directory, checkpoint.METRICS), metrics, schema.METRICS)
        try:
            with checkpoint.saving(directory):
                self.save(directory, {checkpoint.CONFIG: config, checkpoint.METRICS: metrics})
        except DivergenceError as error:
            rate = self.training.learning_rate
            raise TrainingError(say("train.lost", loss=error.value, rate=rate)) from error


def _rate(training: TrainingConfig) -> Any:
    """The learning rate, or how it changes from step to step."""
    if not training.warmup:
        return training.learning_rate
    return optim.schedules.InverseSquareRoot(training.learning_rate, training.warmup)


def parameter_count(model: nn.Grouped) -> int:
    """How many numbers a model has to learn."""
    return int(np.sum([p.size for p in model.parameters()]))
