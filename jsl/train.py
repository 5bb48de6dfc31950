"""Training: from a corpus to a run on disk."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import minigrad
from jsl import checkpoint
from jsl.batching import Batch, epoch_batches, make_batch
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import Corpus
from jsl.decode import generator
from jsl.errors import TrainingError, UsageError
from jsl.messages import listed, say
from jsl.model import arrays_of, build_model, loss_of
from jsl.vocabulary import Vocabulary
from minigrad import Tensor, nn, optim


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


class Trainer:
    """A model in training, and all that a run's files need.

    Args:
        corpus: what to learn.
        model: sizes.
        training: schedule; `epochs` is the number to add, to those of `resume` if there is one.
        resume: a run to continue with its weights and its optimizer's state.
        jit: repeat captured programs in place of the steps, for speed; the last bits of the weights
            depend on it.

    Raises:
        UsageError: the corpus has groups or tags that the run to continue does not know.
    """

    def __init__(
        self,
        corpus: Corpus,
        model: ModelConfig,
        training: TrainingConfig,
        resume: checkpoint.Run | None = None,
        jit: bool = True,
    ):
        self.corpus, self.model_config, self.training = corpus, model, training
        self.vocabulary = Vocabulary.from_tags(corpus.tags)
        groups = corpus.groups
        self.epoch = 0
        self.trained_before: frozenset[str] = frozenset()
        self.history: list[dict[str, Any]] = []
        self.first_loss: float | None = None
        if resume is not None:
            _check_continuation(corpus, resume)
            self.vocabulary, groups = resume.vocabulary, resume.groups
            self.epoch = resume.training.epochs
            self.trained_before = resume.trigrams
            self.history = list(resume.metrics["history"])
            self.first_loss = resume.metrics["first_step_loss_per_token"]
        self.last_epoch = self.epoch + training.epochs
        self.model = build_model(model, self.vocabulary, groups, training.seed)
        if resume is not None:
            checkpoint.restore(self.model, resume)
        self.optimizer = optim.Adam(self.model, lr=training.learning_rate)
        if resume is not None:
            self.optimizer.load_state_dict(checkpoint.load_optimizer(resume))
        self._step = minigrad.jit(self._one_step) if jit else None

    def _one_step(self, groups: Any, src: Any, tgt_in: Any, tgt_out: Any) -> Tensor:
        loss = loss_of(self.model, groups, src, tgt_in, tgt_out)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def step(self, batch: Batch) -> float:
        """One step; the loss per token before it."""
        if self._step is None:
            return self._one_step(*arrays_of(self.model, batch)).item()
        filled = batch.filled(min(self.training.batch_size, len(self.corpus.rows)))
        return self._step(*arrays_of(self.model, filled)).item()

    def run_epoch(self) -> Progress:
        """One pass over the corpus.

        Raises:
            TrainingError: the loss of a step is not finite, so that the weights are lost.
        """
        began = time.perf_counter()
        self.model.train()
        total, tokens = 0.0, 0
        for batch in epoch_batches(
            self.corpus.rows,
            self.vocabulary,
            self.training.batch_size,
            self.training.seed,
            self.epoch,
        ):
            value = self.step(batch)
            if not math.isfinite(value):
                rate = self.training.learning_rate
                raise TrainingError(
                    say("train.diverged", epoch=self.epoch + 1, loss=value, rate=rate)
                )
            if self.first_loss is None:
                self.first_loss = value
            total += value * batch.tokens
            tokens += batch.tokens
        self.epoch += 1
        seconds = time.perf_counter() - began
        progress = Progress(
            epoch=self.epoch,
            epochs=self.last_epoch,
            loss_per_token=total / tokens,
            loss_per_sentence=total / len(self.corpus.rows),
            tokens_per_second=tokens / seconds,
            seconds=seconds,
        )
        self.history.append(
            {
                "epoch": progress.epoch,
                "loss_per_token": progress.loss_per_token,
                "loss_per_sentence": progress.loss_per_sentence,
                "tokens_per_second": progress.tokens_per_second,
                "seconds": progress.seconds,
            }
        )
        return progress

    def run(
        self, report: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Train to the last epoch, or to the end of the one in which `stop()` becomes true.

        Raises:
            TrainingError: see `run_epoch`.
        """
        with np.errstate(all="ignore"):  # a loss that is not finite says it better than a warning
            while self.epoch < self.last_epoch:
                report(self.run_epoch())
                if stop():
                    break

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

    def save(self, directory: Path, matches: dict[str, tuple[int, int]]) -> None:
        """Write the run into `directory`."""
        last = self.history[-1] if self.history else {}
        checkpoint.save(
            directory,
            model=self.model_config,
            training=replace(self.training, epochs=self.epoch),
            vocabulary=self.vocabulary,
            groups=self.model.groups,
            corpus=self.corpus,
            trained_before=self.trained_before,
            weights=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            metrics={
                "first_step_loss_per_token": self.first_loss,
                "loss_per_token": last.get("loss_per_token"),
                "loss_per_sentence": last.get("loss_per_sentence"),
                "exact_match": {
                    group: {"right": right, "rows": rows}
                    for group, (right, rows) in matches.items()
                },
                "history": self.history,
            },
        )


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
