"""Adafactor."""

from typing import Any

import numpy as np

from minigrad.optim.flat import Flat
from minigrad.optim.naming import Parameters
from minigrad.optim.optimizer import Optimizer, Setting


class Adafactor(Optimizer):
    """Scaled by squares of gradients as Adam, of which only means over rows and columns are kept.

    (Shazeer and Stern, arXiv 1804.04235; arguments and order of operations are PyTorch's.) A matrix
    m x n has m + n numbers of state. The size of a step is relative to that of the weights.

    Args:
        parameters: as for `Optimizer`.
        lr: the largest relative size of a step, or a function of the step.
        beta2_decay: step t, from 1, keeps `1 - t**beta2_decay` of the running means.
        eps: what the mean of squares is at least (None: as much as the dtype resolves), and the
            size that weights are taken to have at least.
        d: an update whose root mean square is larger is scaled down to it.
        weight_decay: weights shrink by `lr * weight_decay` of themselves.
        maximize: climb.
    """

    slots = ("row_var", "col_var", "variance")

    beta2_decay, eps, d, weight_decay = (Setting() for _ in range(4))

    def __init__(
        self,
        parameters: Parameters,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            parameters,
            lr=lr,
            beta2_decay=beta2_decay,
            eps=eps,
            d=d,
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def check(self, options):
        super().check({k: v for k, v in options.items() if k not in ("beta2_decay", "eps")})
        (eps1, eps2), decay, d = options["eps"], options["beta2_decay"], options["d"]
        if not (decay <= 0 and d >= 1 and eps2 >= 0 and (eps1 is None or eps1 >= 0)):
            raise ValueError(
                f"Adafactor: beta2_decay must be at most 0, d at least 1, and eps not negative; "
                f"got beta2_decay={decay}, d={d}, eps={options['eps']}"
            )

    def moment_shape(self, moment, shape):
        if len(shape) < 2:
            return shape if moment == "variance" else None
        rows, columns = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
        return {"row_var": rows, "col_var": columns}.get(moment)

    def change(self, flat: Flat, present: np.ndarray) -> None:
        options = self.options(flat)
        for i in present:
            w, g, step = flat.views[i], flat.view(flat.gradients, i), int(flat.steps[i])
            rows, columns, whole = (flat.moment(m, i) for m in self.slots)
            self.formula(flat.xp, w, g, rows, columns, whole, step, **options)

    @staticmethod
    def formula(
        xp, w, g, rows, columns, whole, step, *, lr, beta2_decay, eps, d, weight_decay, maximize
    ) -> None:
        if not w.size:
            return
        if maximize:
            g = -g
        least, smallest = float(np.finfo(w.dtype).eps) if eps[0] is None else eps[0], eps[1]
        new = step**beta2_decay
        size = xp.maximum(_size(xp, w), smallest) * min(lr, 1 / step**0.5)
        if weight_decay:
            w *= 1 - lr * weight_decay
        square = g * g
        if whole is not None:
            whole += new * (square - whole)
            mean = whole
        else:
            rows += new * (xp.mean(square, axis=-1, keepdims=True) - rows)
            columns += new * (xp.mean(square, axis=-2, keepdims=True) - columns)
            mean = rows * columns / xp.maximum(xp.mean(rows, axis=-2, keepdims=True), least)
        update = g / xp.sqrt(xp.maximum(mean, least * least))
        w -= (size / xp.maximum(_size(xp, update) / d, 1)).astype(w.dtype) * update


def _size(xp: Any, x: Any) -> Any:
    """The root of the mean square."""
    return xp.sqrt(xp.mean(x * x))
