"""Adadelta."""

from typing import Any

from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class Adadelta(Optimizer):
    """Scales each gradient by what steps were of late, over what gradients were.

    (Zeiler, arXiv 1212.5701; the order of operations is PyTorch's.) So steps have the unit of the
    weights, and the learning rate can stay 1.

    Args:
        parameters: as for `Optimizer`.
        lr: what steps are multiplied by, or a function of the step.
        rho: how much of the two running means of squares stays at each step, in [0, 1].
        eps: added to both under the root.
        weight_decay: this much of the weight is added to its gradient.
        maximize: climb.
    """

    slots = ("square_avg", "acc_delta")

    rho, eps, weight_decay = Setting(), Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    def check(self, options):
        super().check(options)
        if not callable(options["rho"]) and options["rho"] > 1:
            raise ValueError(f"Adadelta: rho must be in [0, 1], got {options['rho']}")

    @staticmethod
    def formula(xp, w, g, square, steps, step, *, lr, rho, eps, weight_decay, maximize) -> None:
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * w
        square *= rho
        square += (1 - rho) * g * g
        delta = xp.sqrt(steps + eps) / xp.sqrt(square + eps) * g
        steps *= rho
        steps += (1 - rho) * delta * delta
        flush(xp, square, steps)
        w -= lr * delta
