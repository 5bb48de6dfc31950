"""A Learner put together call by call, as in Burn."""

import os
from typing import Any, Self

from minigrad import nn
from minigrad.learner.callbacks import Checkpoint
from minigrad.learner.history import History
from minigrad.learner.learner import Learner
from minigrad.learner.metrics import Metric

__all__ = ["LearnerBuilder"]


class LearnerBuilder:
    """A chain of settings that ends in `build`, as Burn's: what it gives is a `Learner`.

        builder = LearnerBuilder("runs/a").with_file_checkpointer(10).num_epochs(20).summary()
        learner = builder.build(model, "adam", 1e-3, loss="cross_entropy")
        trained = learner.fit(train, valid)

    Args:
        artifact_dir: as of a Learner.
        options: of the Learner, by name: `verbose=0`, `callbacks=[...]`.
    """

    def __init__(self, artifact_dir: str | os.PathLike | None = None, **options: Any):
        self._callbacks = list(options.pop("callbacks", ()))
        self._metrics: dict[str, Metric | str] = {}
        self._options = {"artifact_dir": artifact_dir, **options}
        self._epochs, self._summary = 1, False

    def metric_train_numeric(self, metric: Metric | str) -> Self:
        """Measure that too. What is measured is so in training and in validation; the loss is
        in any case, so that a metric of the name 'loss' adds nothing.
        """
        name = metric if isinstance(metric, str) else metric.name
        if name != "loss":
            self._metrics[name] = metric
        return self

    metric_valid_numeric = metric_train_numeric

    def with_file_checkpointer(self, every: int = 1) -> Self:
        """Save every so many epochs; the last two checkpoints stay."""
        self._callbacks.append(Checkpoint(every, keep=2))
        return self

    def precision(self, precision: str) -> Self:
        """What steps compute in: 'float32', 'tf32', 'bfloat16' or 'float16'."""
        self._options["precision"] = precision
        return self

    def num_epochs(self, epochs: int) -> Self:
        """How many epochs `fit` trains for."""
        self._epochs = epochs
        return self

    def summary(self) -> Self:
        """Show, after the training, the lowest and the highest value of each figure."""
        self._summary = True
        return self

    def build(
        self, model: nn.Module, optim: Any, lr: float | None = None, loss: Any = None
    ) -> "BuiltLearner":
        """The learner, with a model, an optimizer and maybe its learning rate.

        Args:
            loss: as of a Learner; without one it is the model that has `loss_step(batch)`.
        """
        if loss is None and hasattr(model, "loss_step"):
            kind: type[Learner] = LearnerOfModel
        else:
            kind = Learner
        learner = kind(
            model, optim, loss, list(self._metrics.values()), self._callbacks, **self._options
        )
        for optimizer in learner.optimizers.values() if lr is not None else ():
            optimizer.lr = lr
        return BuiltLearner(learner, self._epochs, self._summary)


class LearnerOfModel(Learner):
    """Asks the model what a step is."""

    def loss_step(self, batch: Any) -> Any:
        """What the model gives."""
        return self.model.loss_step(batch)  # type: ignore[attr-defined]


class BuiltLearner:
    """A Learner that knows for how many epochs it trains: `fit` gives the trained model."""

    def __init__(self, learner: Learner, epochs: int, summary: bool):
        self.learner, self.epochs, self._summary = learner, epochs, summary

    def fit(self, train: Any, valid: Any = None, **options: Any) -> nn.Module:
        """Train; options as for `Learner.fit`."""
        history = self.learner.fit(train, valid, self.epochs, **options)
        if self._summary:
            self.learner.say(extremes(history))
        return self.learner.model


def extremes(history: History) -> str:
    """A line for each figure: its lowest and highest value, and in which epochs."""
    lines = []
    for name in history:
        known = [(v, n) for n, v in enumerate(history[name], start=1) if v is not None]
        (low, first), (high, last) = min(known), max(known)
        lines.append(f"{name}: lowest {low:.4g} (epoch {first}), highest {high:.4g} (epoch {last})")
    return "\n".join(lines)
