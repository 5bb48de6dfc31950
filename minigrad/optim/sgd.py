"""Stochastic gradient descent."""

from typing import Any, Self

from minigrad.errors import StateError
from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting, flush


class SGD(Optimizer):
    """Steps down the gradient, or down a running sum of gradients.

    (The formula of momentum is PyTorch's: the learning rate multiplies the sum.) With a sparse
    gradient and no momentum only its rows change; with momentum the others move on as well.

    Args:
        parameters: as for `Optimizer`.
        lr: the learning rate, or a function of the step.
        momentum: how much of the running sum stays at each step.
        dampening: this part of each gradient but the first is left out of the sum.
        weight_decay: this much of the weight is added to its gradient.
        nesterov: look one step ahead (Sutskever et al., 2013).
        maximize: climb.
    """

    slots = ("momentum_buffer",)
    kernel = "sgd_step"

    momentum, dampening, weight_decay, nesterov = Setting(), Setting(), Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    @classmethod
    def keras(cls, parameters: Parameters, lr: Any = 1e-2, **options: Any) -> Self:
        """With the learning rate of Keras, 0.01."""
        return cls(parameters, lr, **options)

    def check(self, options):
        super().check(options)
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ValueError(
                f"SGD: nesterov needs a momentum and no dampening; got "
                f"momentum={options['momentum']}, dampening={options['dampening']}"
            )

    def moments(self, group):
        return self.slots if group["momentum"] else ()

    def rows_of(self, flat: Flat, name: str, g: Any) -> Any:
        if flat.group["weight_decay"]:
            raise StateError(
                f"SGD: weight_decay would change every row of '{name}', whose gradient is sparse; "
                f"give it a group with weight_decay=0, or nn.Embedding(..., sparse=False)"
            )
        return g.to_dense() if flat.group["momentum"] else g

    @staticmethod
    def formula(
        xp, w, g, buffer, step, *, lr, momentum, dampening, weight_decay, nesterov, maximize
    ) -> None:
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * w
        if buffer is not None:
            if step == 1:
                buffer[...] = g
            else:
                buffer *= momentum
                buffer += (1 - dampening) * g
            flush(xp, buffer)
            g = g + momentum * buffer if nesterov else buffer
        w -= lr * g
