"""Adam."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import kernels
from minigrad.optim.optimizer import Flat, Optimizer, runs


class Adam(Optimizer):
    """Steps along running means of the gradients, scaled by those of their squares.

    (Kingma and Ba, arXiv 1412.6980; the order of operations is PyTorch's.) Each parameter has its
    own step count, so one that sat out does not have its bias corrected too little.

    Args:
        parameters: a Module, a mapping of names, `model.parameters()`, or pairs (name, parameter).
        lr: the learning rate; may be changed between steps.
        betas: how much of the two running means stays at each step.
        eps: added to the denominator.
        weight_decay: this much of the weight is added to its gradient.
    """

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        rates = (lr, eps, weight_decay)
        if not (all(0 <= r < math.inf for r in rates) and all(0 <= b < 1 for b in betas)):
            raise ValueError(
                f"Adam: lr, eps and weight_decay must be finite and not negative, and betas in "
                f"[0, 1); got {lr=}, {eps=}, {weight_decay=}, {betas=}"
            )
        super().__init__(parameters)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay

    def options(self) -> dict[str, float]:
        """What one step is told, as it is now."""
        # float(): a learning rate from a schedule may be a NumPy scalar, which would lift float32.
        return {
            "lr": float(self.lr),
            "beta1": float(self.betas[0]),
            "beta2": float(self.betas[1]),
            "eps": float(self.eps),
            "weight_decay": float(self.weight_decay),
        }

    def captured(
        self, flat: Flat, present: Callable[[], np.ndarray]
    ) -> tuple[Any, Callable[[], None]]:
        if flat.xp is not np or flat.weights.dtype.itemsize < 4 or not kernels.in_use():
            return super().captured(flat, present)
        from minigrad.kernels import machine  # imports Numba: only for who captures
        from minigrad.programs import Instruction

        buffers = flat.weights, flat.gradients, *flat.moments.values()
        segments = np.zeros((3, len(flat.starts)), np.int64)  # start, stop and step of each
        numbers = np.zeros(7)

        def prepare() -> None:
            here = present()
            flat.steps[here] += 1
            starts, stops, steps = flat.starts[here], flat.stops[here], flat.steps[here]
            # Neighbours that have taken as many steps are one segment.
            cut = np.flatnonzero((starts[1:] != stops[:-1]) | (steps[1:] != steps[:-1])) + 1
            count = len(cut) + 1 if len(here) else 0
            segments[:, :count] = starts[[0, *cut]], stops[[*(cut - 1), -1]], steps[[0, *cut]]
            lr, beta1, beta2, eps, weight_decay = self.options().values()
            numbers[:] = lr, beta1, beta2, eps, 1.0, weight_decay, count

        words = [*(b.ctypes.data for b in buffers), flat.weights.size]
        words += [*(row.ctypes.data for row in segments), numbers.ctypes.data]
        handler = machine.adam(flat.weights.dtype)
        return Instruction("adam", handler, words, work=12 * flat.weights.size), prepare

    def update(self, flat: Flat, present: np.ndarray) -> None:
        m, v = flat.moments.values()
        options = self.options()
        if flat.xp is np and (kernel := kernels.find("adam_step")) is not None:
            done = kernel(
                flat.weights,
                flat.gradients,
                m,
                v,
                flat.starts[present],
                flat.stops[present],
                flat.steps[present],
                decoupled=False,
                **options,
            )
            if done is not NotImplemented:
                return
        for stretch, step in runs(flat, present):
            arrays = (a[stretch] for a in (flat.weights, flat.gradients, m, v))
            adam_step(flat.xp, *arrays, step, **options)


def adam_step(xp, w, g, m, v, step, *, lr, beta1, beta2, eps, weight_decay) -> None:
    """One step, number `step` from 1, in place on weights `w` and moments `m` and `v`."""
    tiny = float(np.finfo(w.dtype).tiny)
    if weight_decay:
        g = g + weight_decay * w
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    # An element that gets zeros decays into denormal numbers after some 830 steps, which are slow.
    for moment in (m, v):
        moment *= xp.abs(moment) >= tiny
    denominator = xp.sqrt(v) / math.sqrt(1 - beta2**step) + eps
    w -= (lr / (1 - beta1**step)) * m / denominator
