"""Losses, metrics and optimizers by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minigrad import nn, ops, optim
from minigrad.arguments import nearest
from minigrad.errors import StateError
from minigrad.learner import metrics
from minigrad.ops import losses

KERAS = {
    "mse": "mse_loss",
    "mae": "l1_loss",
    "mean_squared_error": "mse_loss",
    "mean_absolute_error": "l1_loss",
    "sparse_categorical_crossentropy": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
}
LOSSES = [n for n in losses.__all__ if n.endswith(("entropy", "logits", "loss", "kl_div"))]
METRICS: dict[str, type[metrics.Metric]] = {
    "accuracy": metrics.Accuracy,
    "sparse_categorical_accuracy": metrics.SparseCategoricalAccuracy,
    "mse": metrics.MeanSquaredError,
    "mean_squared_error": metrics.MeanSquaredError,
    "perplexity": metrics.Perplexity,
    "bleu": metrics.BLEU,
}


def loss_of(given: Callable | str | None) -> Callable | None:
    """A function `loss(y_pred, y)` by its name here or in Keras; what is one stays as it is.

    Those of classes have them along the last axis, as Keras and the metrics do.
    """
    if not isinstance(given, str):
        return given
    name = KERAS.get(given, given)
    return getattr(ops, _known("loss", name, LOSSES))


def metrics_of(given: Iterable[Any]) -> list[Any]:
    """Metrics, of which some may be names."""
    return [METRICS[_known("metric", m, METRICS)]() if isinstance(m, str) else m for m in given]


def optimizers_of(model: nn.Module, given: Any) -> dict[str, optim.Optimizer]:
    """Optimizers by name, '' for the only one, that share out the parameters of `model`.

    Raises:
        StateError: a parameter belongs to two or to none; or there is no part of that name.
    """
    if not isinstance(given, Mapping):
        alone = optim.get(given, model)
        optim.check_ownership(model, alone)
        return {"": alone}
    found = {}
    for name, one in given.items():
        made = isinstance(one, optim.Optimizer)
        if not made and not isinstance(getattr(model, name, None), nn.Module):
            raise StateError(
                f"Learner: optimizer '{name}' is for the part of the model of that name, and "
                f"{type(model).__name__} has none; give an Optimizer"
            )
        found[name] = one if made else optim.get(one, getattr(model, name))
    optim.check_ownership(model, found)
    return found


def _known(what: str, name: str, names: Iterable[str]) -> str:
    """`name` if it is one of `names`."""
    if name not in names:
        raise ValueError(
            f"Learner: no {what} is called {name!r}{nearest(name, names)} "
            f"Known: {', '.join(names)}; or give a "
            f"{'function of (y_pred, y)' if what == 'loss' else 'Metric'}"
        )
    return name
