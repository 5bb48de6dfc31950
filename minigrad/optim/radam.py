"""RAdam."""

import math
from typing import Any

from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class RAdam(Optimizer):
    """Adam that trusts its mean of squares only as far as that has seen enough gradients.

    (Liu et al., arXiv 1908.03265; arguments and order of operations are PyTorch's.) In the first
    steps, five with the default betas, it is SGD with momentum; a warm-up is not needed.

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        betas: how much of the two running means stays at each step.
        eps: added to the root.
        weight_decay: this much of the weight is added to its gradient.
        decoupled_weight_decay: weights shrink by `lr * weight_decay` of themselves instead, as in
            AdamW.
        maximize: climb.
    """

    slots = ("exp_avg", "exp_avg_sq")

    betas, eps, weight_decay, decoupled_weight_decay = (Setting() for _ in range(4))

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    @staticmethod
    def formula(
        xp, w, g, m, v, step, *, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay,
        maximize,
    ) -> None:  # fmt: skip
        if maximize:
            g = -g
        if weight_decay and decoupled_weight_decay:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        flush(xp, m, v)
        correction = 1 - beta2**step
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / correction  # how many gradients v is worth
        rate = lr / (1 - beta1**step)
        if length > 5:
            rate *= math.sqrt(
                (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
            )
            w -= (rate * math.sqrt(correction)) * m / (xp.sqrt(v) + eps)
        else:
            w -= rate * m
