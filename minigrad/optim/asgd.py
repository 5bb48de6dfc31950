"""Averaged stochastic gradient descent."""

from typing import Any

from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting


class ASGD(Optimizer):
    """SGD with falling steps, which keeps the average of the weights beside.

    (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992; arguments and order of operations are
    PyTorch's.) The average is in the state, as 'ax.<parameter>': until step `t0` it is the weights
    themselves. For an average to evaluate with there is `optim.EMA`, too.

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate of the first step, or a function of the step.
        lambd: step t, from 0, has the rate `lr / (1 + lambd * lr * t)**alpha`, and weights shrink
            by `lambd` times that.
        alpha: see above.
        t0: after how many steps averaging begins.
        weight_decay: this much of the weight is added to its gradient.
        maximize: climb.
    """

    slots = ("ax",)

    lambd, alpha, t0, weight_decay = (Setting() for _ in range(4))

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            lambd=lambd,
            alpha=alpha,
            t0=t0,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    @staticmethod
    def formula(xp, w, g, average, step, *, lr, lambd, alpha, t0, weight_decay, maximize) -> None:
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * w
        rate = lr / (1 + lambd * lr * (step - 1)) ** alpha
        w *= 1 - lambd * rate
        w -= rate * g
        average += (w - average) / max(1.0, step - 1 - t0)
