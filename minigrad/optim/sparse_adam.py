"""Adam for sparse gradients."""

import math
from typing import Any

from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class SparseAdam(Optimizer):
    """Adam that changes the rows which have gradients, and nothing else, moments included.

    For the weights of `nn.Embedding(..., sparse=True)`. (As PyTorch's: steps are counted for a
    parameter, not for a row, and eps is added before the correction of the bias, so that where
    every row has a gradient it is Adam but for eps.) A dense gradient is one of all rows.

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        betas: how much of the two running means of a row stays when it has a gradient.
        eps: added to the root.
        maximize: climb.
    """

    slots = ("exp_avg", "exp_avg_sq")

    betas, eps = Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, maximize=maximize)

    def rows_of(self, flat: Flat, name: str, g: Any) -> Any:
        return g

    @staticmethod
    def formula(xp, w, g, m, v, step, *, lr, beta1, beta2, eps, maximize) -> None:
        if maximize:
            g = -g
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        flush(xp, m, v)
        w -= lr * math.sqrt(1 - beta2**step) / (1 - beta1**step) * m / (xp.sqrt(v) + eps)
