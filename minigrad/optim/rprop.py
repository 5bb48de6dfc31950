"""Rprop."""

from typing import Any

from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting


class Rprop(Optimizer):
    """Each weight has a step size of its own, which grows while the sign of its gradient stays.

    (Riedmiller and Braun, ICNN 1993; arguments and order of operations are PyTorch's.) For
    gradients of all data, not of batches.

    Args:
        parameters: as for `Optimizer`.
        lr: the step sizes to begin with (of a function of the step its first value).
        etas: what a step size is multiplied by where the sign has changed, and where it has not.
        step_sizes: the least and the largest.
        maximize: climb.
    """

    slots = ("prev", "step_size")

    etas, step_sizes = Setting(), Setting()

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
    ):
        super().__init__(parameters, lr=lr, etas=etas, step_sizes=step_sizes, maximize=maximize)

    def check(self, options):
        super().check(options)
        (down, up), (least, most) = options["etas"], options["step_sizes"]
        if not (0 < down < 1 < up and 0 <= least <= most):
            raise ValueError(
                f"Rprop: etas must be one in (0, 1) and one above 1, and step_sizes rising from 0; "
                f"got etas={options['etas']}, step_sizes={options['step_sizes']}"
            )

    def prepare(self, flat: Flat) -> None:
        flat.moments["step_size"][...] = self._at(flat.group, 0)["lr"]

    @staticmethod
    def formula(xp, w, g, before, size, step, *, lr, etas, step_sizes, maximize) -> None:
        if maximize:
            g = -g
        sign = xp.sign(g * before)
        # (1 + sign where it is 0, or NaN, which stays.)
        factor = xp.where(sign > 0, etas[1], xp.where(sign < 0, etas[0], 1 + sign))
        size[...] = xp.clip(size * factor.astype(size.dtype), *step_sizes)
        g = xp.where(sign < 0, 0, g)
        w -= xp.sign(g) * size
        before[...] = g
