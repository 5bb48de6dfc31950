"""RMSprop."""

from typing import Any

from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class RMSprop(Optimizer):
    """Divides each gradient by the root of a running mean of its squares.

    (Hinton, lecture 6 of "Neural networks for machine learning"; `centered` as in Graves, arXiv
    1308.0850; the order of operations is PyTorch's.)

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        alpha: how much of the running mean stays at each step.
        eps: added to the root.
        weight_decay: this much of the weight is added to its gradient.
        momentum: how much stays of a running sum of steps.
        centered: divide by the deviation from a running mean of the gradients.
        maximize: climb.
    """

    slots = ("square_avg", "momentum_buffer", "grad_avg")
    kernel = "rmsprop_step"

    alpha, eps, weight_decay, momentum, centered = (Setting() for _ in range(5))

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def moments(self, group):
        kept = True, group["momentum"], group["centered"]
        return tuple(m for m, k in zip(self.slots, kept, strict=True) if k)

    @staticmethod
    def formula(
        xp, w, g, square, buffer, mean, step, *, lr, alpha, eps, weight_decay, momentum, centered,
        maximize,
    ) -> None:  # fmt: skip
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * w
        square *= alpha
        square += (1 - alpha) * g * g
        flush(xp, square)
        spread = square
        if mean is not None:
            mean += (1 - alpha) * (g - mean)
            flush(xp, mean)
            spread = xp.maximum(square - mean * mean, 0)  # rounding may leave less than nothing
        g = g / (xp.sqrt(spread) + eps)
        if buffer is not None:
            buffer *= momentum
            buffer += g
            flush(xp, buffer)
            g = buffer
        w -= lr * g
