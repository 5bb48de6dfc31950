"""Adamax."""

from typing import Any

from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class Adamax(Optimizer):
    """Adam that divides by the largest gradient of late in place of a mean of squares.

    (Kingma and Ba, arXiv 1412.6980, section 7; the order of operations is PyTorch's.)

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        betas: how much of the running mean, and of the largest so far, stays at each step.
        eps: added to each gradient's size.
        weight_decay: this much of the weight is added to its gradient.
        maximize: climb.
    """

    slots = ("exp_avg", "exp_inf")

    betas, eps, weight_decay = Setting(), Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    @staticmethod
    def formula(
        xp, w, g, m, largest, step, *, lr, beta1, beta2, eps, weight_decay, maximize
    ) -> None:
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * w
        m += (1 - beta1) * (g - m)
        flush(xp, m)
        largest[...] = xp.maximum(largest * beta2, xp.abs(g) + eps)
        w -= (lr / (1 - beta1**step)) * m / largest
