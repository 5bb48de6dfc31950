"""Adam and AdamW."""

import math
from typing import Any, Self

import numpy as np

from minigrad import kernels
from minigrad.errors import CaptureError
from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class Adam(Optimizer):
    """Steps along running means of the gradients, scaled by those of their squares.

    (Kingma and Ba, arXiv 1412.6980; the order of operations is PyTorch's.) Each parameter has its
    own step count, so one that sat out does not have its bias corrected too little.

    Args:
        parameters: a Module, a mapping of names, `model.parameters()`, or pairs (name, parameter);
            or groups, see `Optimizer`.
        lr: the learning rate, or a function of the step; may be changed between steps.
        betas: how much of the two running means stays at each step.
        eps: added to the denominator.
        weight_decay: this much of the weight is added to its gradient.
        amsgrad: divide by the largest mean of squares so far (Reddi et al., arXiv 1904.09237).
        maximize: climb.
    """

    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    kernel = "adam_variant_step"
    decoupled = False

    betas, eps, weight_decay = Setting(), Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
        )

    @classmethod
    def keras(cls, parameters: Parameters, lr: Any = 1e-3, **options: Any) -> Self:
        """With the eps of Keras and of the JAX examples, 1e-7.

        Keras itself adds it before the correction of the bias, to a root that is smaller in the
        first steps; where gradients are much larger than 1e-7 that makes no difference.
        """
        return cls(parameters, lr, **{"eps": 1e-7, **options})

    def moments(self, group):
        return self.slots if group["amsgrad"] else self.slots[:2]

    def options(self, flat: Flat) -> dict[str, Any]:
        return {**super().options(flat), "decoupled": self.decoupled}

    def rule(self, flat: Flat) -> str:
        plain = not (flat.group["amsgrad"] or flat.group["maximize"])
        return "adam_step" if plain else self.kernel

    def numbers(self, flat: Flat, rule: str) -> list[float]:
        if rule != "adam_step":
            return super().numbers(flat, rule)
        o = self.options(flat)
        if o["maximize"]:
            raise CaptureError("jit: Adam's `maximize` was changed; make another jit")
        shrink, l2 = 1.0, o["weight_decay"]
        if o["decoupled"]:
            shrink, l2 = 1 - o["lr"] * l2, 0.0
        return [o["lr"], o["beta1"], o["beta2"], o["eps"], shrink, l2]

    def change(self, flat: Flat, present: np.ndarray) -> None:
        o = self.options(flat)
        plain = not (o.pop("amsgrad") or o.pop("maximize"))
        if flat.xp is np and plain and kernels.enabled():
            segments = flat.starts[present], flat.stops[present], flat.steps[present]
            buffers = flat.weights, flat.gradients, *flat.moments.values()
            kernel = kernels.find("updates.adam_step")
            if kernel(*buffers, *segments, **o) is not NotImplemented:
                return
        super().change(flat, present)

    @staticmethod
    def formula(xp, w, g, m, v, largest, step, *, amsgrad, maximize, **options) -> None:
        adam_step(xp, w, -g if maximize else g, m, v, step, **options, largest=largest)


class AdamW(Adam):
    """Adam whose weights shrink by `lr * weight_decay` of themselves, apart from the gradients.

    (Loshchilov and Hutter, arXiv 1711.05101.) Arguments as for Adam.
    """

    decoupled = True

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


def adam_step(
    xp, w, g, m, v, step, *, lr, beta1, beta2, eps, weight_decay, decoupled=False, largest=None
) -> None:
    """One step, number `step` from 1, in place on weights `w` and moments `m` and `v`.

    And on the `largest` values of `v` so far, for AMSGrad.
    """
    if weight_decay and decoupled:
        w *= 1 - lr * weight_decay
    elif weight_decay:
        g = g + weight_decay * w
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    flush(xp, m, v)
    if largest is not None:
        largest[...] = v = xp.maximum(largest, v)
    denominator = xp.sqrt(v) / math.sqrt(1 - beta2**step) + eps
    w -= (lr / (1 - beta1**step)) * m / denominator
