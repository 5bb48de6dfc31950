"""Lion."""

from typing import Any

from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class Lion(Optimizer):
    """Steps of one size in every coordinate: only the sign of a running mean counts.

    (Chen et al., arXiv 2302.06675; the default of `weight_decay` is that of optax.) Steps are
    larger than Adam's, so the learning rate should be 3 to 10 times smaller.

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        betas: how much of the running mean stays in what gives the sign, and in the mean itself.
        weight_decay: weights shrink by `lr * weight_decay` of themselves.
        maximize: climb.
    """

    slots = ("exp_avg",)
    kernel = "lion_step"

    betas, weight_decay = Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 1e-3,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters, lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize
        )

    @staticmethod
    def formula(xp, w, g, m, step, *, lr, beta1, beta2, weight_decay, maximize) -> None:
        if maximize:
            g = -g
        direction = xp.sign(beta1 * m + (1 - beta1) * g)
        w *= 1 - lr * weight_decay
        w -= lr * direction
        m *= beta2
        m += (1 - beta2) * g
        flush(xp, m)
