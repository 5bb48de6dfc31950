"""Adagrad."""

from typing import Any

from minigrad.errors import StateError
from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting


class Adagrad(Optimizer):
    """Divides each gradient by the root of the sum of its squares so far.

    (Duchi et al., JMLR 12, 2011.) With a sparse gradient only its rows change.

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        lr_decay: update number t of a parameter, from 0, has the rate `lr / (1 + t * lr_decay)`.
        weight_decay: this much of the weight is added to its gradient.
        initial_accumulator_value: what the sums start with.
        eps: added to the root.
        maximize: climb.
    """

    slots = ("sum",)
    kernel = "adagrad_step"

    lr_decay, weight_decay, initial_accumulator_value = Setting(), Setting(), Setting()
    eps = Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def prepare(self, flat: Flat) -> None:
        flat.moments["sum"][...] = flat.group["initial_accumulator_value"]

    def rows_of(self, flat: Flat, name: str, g: Any) -> Any:
        if flat.group["weight_decay"]:
            raise StateError(
                f"Adagrad: weight_decay would change every row of '{name}', whose gradient is "
                f"sparse; give it a group with weight_decay=0, or nn.Embedding(..., sparse=False)"
            )
        return g

    @staticmethod
    def formula(
        xp, w, g, total, step, *, lr, lr_decay, weight_decay, initial_accumulator_value, eps,
        maximize,
    ) -> None:  # fmt: skip
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * w
        total += g * g
        w -= lr / (1 + (step - 1) * lr_decay) * g / (xp.sqrt(total) + eps)
