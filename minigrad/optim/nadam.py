"""NAdam."""

import math
from typing import Any

import numpy as np

from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class NAdam(Optimizer):
    """Adam that looks one step ahead, as Nesterov's momentum does.

    (Dozat, ICLR workshop 2016; arguments and order of operations are PyTorch's.)

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        betas: how much of the two running means stays at each step.
        eps: added to the denominator.
        weight_decay: this much of the weight is added to its gradient.
        momentum_decay: in step t the momentum is `betas[0] * (1 - 0.96**(t * momentum_decay) / 2)`.
        decoupled_weight_decay: weights shrink by `lr * weight_decay` of themselves instead, as in
            AdamW.
        maximize: climb.
    """

    slots = ("exp_avg", "exp_avg_sq", "mu_product")

    betas, eps, weight_decay, momentum_decay, decoupled_weight_decay = (Setting() for _ in range(5))

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
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
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def moment_shape(self, moment, shape):
        return () if moment == "mu_product" else shape

    def prepare(self, flat: Flat) -> None:
        flat.moments["mu_product"][...] = 1

    def change(self, flat: Flat, present: np.ndarray) -> None:
        options = self.options(flat)
        for i in present:  # each has momenta of its own behind it
            w, g, step = flat.views[i], flat.view(flat.gradients, i), int(flat.steps[i])
            m, v, product = (flat.moment(name, i) for name in self.slots)
            self.formula(flat.xp, w, g, m, v, product, step, **options)

    @staticmethod
    def formula(
        xp, w, g, m, v, product, step, *, lr, beta1, beta2, eps, weight_decay, momentum_decay,
        decoupled_weight_decay, maximize,
    ) -> None:  # fmt: skip
        if maximize:
            g = -g
        if weight_decay and decoupled_weight_decay:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        now, ahead = (beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (step, step + 1))
        product *= now
        so_far = float(product)
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        flush(xp, m, v)
        denominator = xp.sqrt(v) / math.sqrt(1 - beta2**step) + eps
        w -= (lr * (1 - now) / (1 - so_far)) * g / denominator
        w -= (lr * ahead / (1 - so_far * ahead)) * m / denominator
