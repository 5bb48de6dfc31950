"""Optimizers by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minigrad.arguments import nearest
from minigrad.optim.adadelta import Adadelta
from minigrad.optim.adafactor import Adafactor
from minigrad.optim.adagrad import Adagrad
from minigrad.optim.adam import Adam, AdamW
from minigrad.optim.adamax import Adamax
from minigrad.optim.asgd import ASGD
from minigrad.optim.lion import Lion
from minigrad.optim.nadam import NAdam
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.radam import RAdam
from minigrad.optim.rmsprop import RMSprop
from minigrad.optim.rprop import Rprop
from minigrad.optim.sgd import SGD
from minigrad.optim.sparse_adam import SparseAdam

NAMES: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (
        SGD, Adam, AdamW, Adagrad, RMSprop, Lion, Adafactor, SparseAdam,
        NAdam, RAdam, Adamax, Adadelta, ASGD, Rprop,
    )
}  # fmt: skip


def get(
    which: str | Callable[..., Optimizer] | Optimizer, parameters: Parameters, **options: Any
) -> Optimizer:
    """An optimizer over `parameters` by its name: `get("adam", model, lr=0.01)`.

    Args:
        which: a name ('sgd', 'adam', 'adamw', 'adagrad', 'rmsprop', 'lion', 'adafactor',
            'sparseadam', 'nadam', 'radam', 'adamax', 'adadelta', 'asgd', 'rprop'; capitals and
            underscores do not matter), a class or a function that makes one, or an optimizer,
            which is given back as it is.

    Raises:
        ValueError: the name is not known, or options were given for a finished optimizer.
    """
    if isinstance(which, Optimizer):
        if options:
            raise ValueError(f"optim.get: {type(which).__name__} is made already; got {options}")
        return which
    if not isinstance(which, str):
        return which(parameters, **options)
    name = which.lower().replace("_", "")
    if name not in NAMES:
        hint = nearest(name, NAMES)
        raise ValueError(f"optim.get: unknown optimizer {which!r}{hint} Known: {', '.join(NAMES)}")
    return NAMES[name](parameters, **options)


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer with which options, noted before there is a model; plain data, for JSON.

    `OptimizerConfig("sgd", {"lr": 0.1}).init(model)`; it serves `get` in place of a name.
    """

    name: str = "adam"
    options: dict[str, Any] = field(default_factory=dict)

    def init(self, parameters: Parameters) -> Optimizer:
        """The optimizer over `parameters`."""
        return get(self.name, parameters, **self.options)

    def __call__(self, parameters: Parameters, **options: Any) -> Optimizer:
        return get(self.name, parameters, **{**self.options, **options})


def AdamConfig(**options: Any) -> OptimizerConfig:
    """`AdamConfig(lr=1e-3).init(model)`, as in Burn."""
    return OptimizerConfig("adam", options)
