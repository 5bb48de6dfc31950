"""Metrics: numbers about a whole pass, gathered batch by batch.

    accuracy = Accuracy()
    for x, y in batches:
        accuracy.update(model(x), y)
    accuracy.result()

Results are weighted by what they count (samples, tokens, words), never means of means. Two metrics
that saw different batches `merge` into one that saw both, and `state_dict` is plain data for JSON.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import refuse_while_capturing, to_numpy
from minigrad.errors import OutOfRangeError, ShapeError, StateError

__all__ = [
    "BLEU", "Accuracy", "Mean", "MeanSquaredError", "Metric", "Perplexity",
    "SparseCategoricalAccuracy",
]  # fmt: skip


def host(x: Any) -> np.ndarray:
    """`x`, an array of any kind, as a NumPy array."""
    x = x.detach().numpy() if type(x) is Tensor else x
    return to_numpy(x) if hasattr(x, "dtype") else np.asarray(x)


def _counts(metric: "Metric") -> None:
    """Raise CaptureError inside `mg.jit`, whose program would not count when it is repeated."""
    refuse_while_capturing(metric.name, "counts, and not in a program; do it outside")


class Metric:
    """A weighted mean; subclasses say what is averaged, in `update`.

    Attributes:
        name: under which a `Learner` shows it.
        total, weight: the weighted sum so far, and the weights'.
    """

    name = "metric"

    def __init__(self, name: str | None = None):
        self.name = name or self.name
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.total, self.weight = 0.0, 0.0

    def update(self, y_pred: Any, y: Any, weight: Any = None) -> None:
        """Take a batch in: predictions (B, ...), targets, and perhaps weights (B, ...).

        Raises:
            ShapeError: the shapes do not fit each other.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def add(self, values: Any, weight: Any = None) -> None:
        """Take values in, each with its weight, 1 by default.

        Raises ShapeError if weights do not broadcast to the values.
        """
        if isinstance(values, float) and isinstance(weight, int):  # a figure of a step, quickly
            _counts(self)
            if weight:
                self.total += values * weight
                self.weight += weight
            return
        values = host(values).astype(np.float64)
        _counts(self)
        if weight is None:
            weights = np.ones(values.shape)
        else:
            weights = host(weight).astype(np.float64)
            weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
            try:
                weights = np.broadcast_to(weights, values.shape)
            except ValueError:
                raise ShapeError(
                    f"{self.name}: weights must broadcast to {values.shape}, got "
                    f"{host(weight).shape}"
                ) from None
        counted = weights != 0  # what has no weight may be NaN
        self.total += float((values * weights)[counted].sum())
        self.weight += float(weights.sum())

    def result(self) -> float:
        """The mean so far; NaN before there is anything."""
        return self.total / self.weight if self.weight else math.nan

    def merge(self, other: Self) -> Self:
        """Take in what another one saw; returns itself.

        Raises:
            TypeError: it is of another class.
        """
        if type(other) is not type(self):
            raise TypeError(
                f"merge: expected a {type(self).__name__}, got a {type(other).__name__}"
            )
        self.total += other.total
        self.weight += other.weight
        return self

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, as plain data."""
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            StateError: it is a state of something else.
        """
        if state.keys() != self.state_dict().keys():
            raise StateError(
                f"{type(self).__name__}: expected the entries {sorted(self.state_dict())}, got "
                f"{sorted(state)}"
            )
        for key, value in state.items():
            setattr(self, key, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, result={self.result():.6g})"


def _masked(counted: np.ndarray, weight: Any) -> np.ndarray:
    """Weights (B, ...), where given, that are 0 for what does not count."""
    if weight is None:
        return counted
    weight = host(weight)
    return counted * weight.reshape(weight.shape + (1,) * (counted.ndim - weight.ndim))


class Mean(Metric):
    """The mean of numbers: `update(values, weight=None)`."""

    name = "mean"

    def update(self, values: Any, weight: Any = None) -> None:  # type: ignore[override]
        self.add(values, weight)


class Accuracy(Metric):
    """The share of predictions that are what they should be: labels, or one vector each.

    `y_pred` and `y` have one shape and are compared element by element; or `y_pred` (B, ..., C) are
    scores of classes and `y` (B, ...) labels, or one-hot (B, ..., C) of floats.

    Raises ShapeError for other shapes, and for scores where labels are needed: they equal none.
    """

    name = "accuracy"

    def update(self, y_pred: Any, y: Any, weight: Any = None) -> None:
        y_pred, y = host(y_pred), host(y)
        if y_pred.dtype.kind == "f" and y_pred.ndim:
            if y.shape == y_pred.shape and y.dtype.kind == "f" and y.shape[-1] > 1:
                y = y.argmax(axis=-1)
            if y.shape == y_pred.shape[:-1]:
                y_pred = y_pred.argmax(axis=-1)
        if y_pred.shape != y.shape:
            raise ShapeError(
                f"{self.name}: expected labels of one shape, or scores (..., C) and labels (...), "
                f"got {y_pred.shape} and {y.shape}"
            )
        if y_pred.dtype.kind == "f" and (y_pred[np.isfinite(y_pred)] % 1).any():
            raise ShapeError(
                f"{self.name}: expected labels, or scores (..., C) of two or more classes, and got "
                f"{y_pred.shape} numbers that are no labels; of probabilities give y_pred > 0.5"
            )
        self.add(y_pred == y, weight)


class SparseCategoricalAccuracy(Metric):
    """The share of labels `y` (B, ...) that have the largest score in `y_pred` (B, ..., C).

    Args:
        ignore_index: a label that does not count.
    """

    name = "accuracy"

    def __init__(self, name: str | None = None, ignore_index: int | None = None):
        super().__init__(name)
        self.ignore_index = ignore_index

    def update(self, y_pred: Any, y: Any, weight: Any = None) -> None:
        y_pred, y = host(y_pred), host(y)
        if y.ndim == y_pred.ndim and y.shape[-1:] == (1,):
            y = y[..., 0]
        if y_pred.ndim < 1 or y.shape != y_pred.shape[:-1]:
            raise ShapeError(
                f"{self.name}: expected scores (..., C) and labels (...), got {y_pred.shape} and "
                f"{y.shape}"
            )
        if self.ignore_index is not None:
            counted = y != self.ignore_index
            weight = _masked(counted, weight)
        self.add(y_pred.argmax(axis=-1) == y, weight)


class MeanSquaredError(Metric):
    """The mean of (y_pred - y)^2."""

    name = "mse"

    def update(self, y_pred: Any, y: Any, weight: Any = None) -> None:
        y_pred, y = host(y_pred).astype(np.float64), host(y).astype(np.float64)
        if y_pred.shape != y.shape:
            raise ShapeError(
                f"{self.name}: expected two arrays of one shape, got {y_pred.shape} and {y.shape}"
            )
        self.add((y_pred - y) ** 2, weight)


class Perplexity(Metric):
    """e to the mean cross entropy of labels `y` (B, ...) under logits `y_pred` (B, ..., C).

    Args:
        ignore_index: a label that does not count.
    """

    name = "perplexity"

    def __init__(self, name: str | None = None, ignore_index: int = -100):
        super().__init__(name)
        self.ignore_index = ignore_index

    def update(self, y_pred: Any, y: Any, weight: Any = None) -> None:
        """Take a batch in: logits (..., C), labels (...), and perhaps weights (...).

        Raises:
            ShapeError: the shapes do not fit each other.
            OutOfRangeError: a label is no class.
        """
        logits, y = host(y_pred).astype(np.float64), host(y)
        if logits.ndim < 1 or y.shape != logits.shape[:-1]:
            raise ShapeError(
                f"{self.name}: expected logits (..., C) and labels (...), got {logits.shape} and "
                f"{y.shape}"
            )
        counted = y != self.ignore_index
        top = logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
        labels = np.where(counted, y, 0)
        if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[-1]:
            raise OutOfRangeError(
                f"{self.name}: labels must be in [0, {logits.shape[-1]}), or ignore_index="
                f"{self.ignore_index}; they are from {labels.min()} to {labels.max()}"
            )
        picked = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        self.add(total - picked, _masked(counted, weight))

    def result(self) -> float:
        mean = super().result()
        return math.exp(mean) if mean < 700 else math.inf if mean == mean else math.nan


class BLEU(Metric):
    """BLEU of a corpus, from 0 to 100: how many n-grams of the translations are in a reference.

    (Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002.)
    Counts of all sentences are summed before anything is divided, and short translations are
    punished, as sacrebleu does with tokenization switched off.

    Args:
        order: the longest n-grams.
        smooth: how an order without a match counts: 'exp' as half of what the order before would,
            as in sacrebleu; 'none' makes the whole 0.

    Raises:
        ValueError: `order` is less than 1, or there is no such `smooth`.
    """

    name = "bleu"

    def __init__(self, name: str | None = None, order: int = 4, smooth: str = "exp"):
        if order < 1 or smooth not in ("exp", "none"):
            raise ValueError(
                f"BLEU: expected order >= 1 and smooth 'exp' or 'none', got {order}, {smooth!r}"
            )
        self.order, self.smooth = order, smooth
        super().__init__(name)

    def reset(self) -> None:
        self.matches, self.counts = [0] * self.order, [0] * self.order
        self.length, self.reference_length = 0, 0

    def update(  # type: ignore[override]
        self, translations: Iterable[Any], references: Iterable[Any], weight: None = None
    ) -> None:
        """Take sentences in: each a list of words, or a string, which is split at spaces.

        Several references of one translation are a tuple of such, or a list of lists. Raises
        ValueError if there are more of the ones than of the others.

        Raises:
            TypeError: the translations are one string.
        """
        if isinstance(translations, str):
            raise TypeError("BLEU.update: expected a list of translations, got one string")
        _counts(self)
        for found, wanted in zip(translations, references, strict=True):
            words, several = _words(found), _references(wanted)
            self.length += len(words)
            self.reference_length += min(
                (len(r) for r in several), key=lambda n: (abs(n - len(words)), n)
            )
            for n in range(1, self.order + 1):
                most: Counter = Counter()
                for r in several:
                    most |= _grams(r, n)
                mine = _grams(words, n)
                self.matches[n - 1] += sum((mine & most).values())
                self.counts[n - 1] += sum(mine.values())

    def result(self) -> float:
        if not self.length or not self.counts[0]:
            return 0.0 if self.reference_length else math.nan
        logs, halves = 0.0, 1.0
        used = [(m, c) for m, c in zip(self.matches, self.counts, strict=True) if c]
        if len(used) < self.order and self.smooth == "none":
            return 0.0
        for matched, count in used:
            if not matched:
                if self.smooth == "none":
                    return 0.0
                halves *= 2
                logs += math.log(1 / (halves * count))
            else:
                logs += math.log(matched / count)
        if not any(self.matches):
            return 0.0
        short = min(0.0, 1 - self.reference_length / self.length)
        return 100 * math.exp(short + logs / self.order) if len(used) == self.order else 0.0

    def merge(self, other: Self) -> Self:
        if type(other) is not type(self) or other.order != self.order:
            raise TypeError(f"merge: expected a BLEU of order {self.order}, got {other!r}")
        self.matches = [a + b for a, b in zip(self.matches, other.matches, strict=True)]
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.length += other.length
        self.reference_length += other.reference_length
        return self

    def state_dict(self) -> dict[str, Any]:
        return {
            "matches": list(self.matches),
            "counts": list(self.counts),
            "length": self.length,
            "reference_length": self.reference_length,
        }


def _words(sentence: Any) -> list:
    """The words of a sentence: of a string those between spaces, of an array its numbers."""
    if isinstance(sentence, str):
        return sentence.split()
    words = host(sentence).tolist() if hasattr(sentence, "shape") else list(sentence)
    if odd := [w for w in words if isinstance(w, list) or (isinstance(w, str) and " " in w)]:
        raise ValueError(
            f"BLEU: expected a sentence as a string or as a list of words, there is {odd[0]!r} "
            f"among its words; several references of one translation go into a tuple"
        )
    return words


def _references(wanted: Any) -> list[list]:
    """One reference, or several, as lists of words."""
    several = isinstance(wanted, tuple) or (
        isinstance(wanted, list) and bool(wanted) and all(isinstance(r, list) for r in wanted)
    )
    return [_words(r) for r in wanted] if several else [_words(wanted)]


def _grams(words: Sequence, n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
