"""A loss that is scaled, so that its gradients do not vanish in float16."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autodiff import Tensor, no_grad, primitive, wrap
from minigrad.backend import to_numpy, xp
from minigrad.errors import DtypeError, StateError
from minigrad.optim.flat import rows_in
from minigrad.optim.optimizer import Optimizer, load_entries


class LossScaler:
    """Multiplies a loss so that its gradients fit float16, and finds the factor by itself.

    Gradients below 6e-8 are zero in float16, whose largest number is 65504. So the loss is
    multiplied by a scale and the gradients of the parameters, which are float32, divided by it
    again. Where one of them is infinite or NaN the scale was too large: that step is left out, and
    the scale halved; after 2000 steps without one it is doubled. (Micikevicius et al., "Mixed
    precision training", arXiv 1710.03740; PyTorch's GradScaler, with its defaults.)

        scaler = optim.LossScaler()
        with mg.autocast("float16"):
            loss = mg.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale(optimizer)                            # only to clip in between
        optim.clip_grad_norm_(model, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    All of it may stand in a function under `mg.jit`: scale and counter are arrays, and a run of the
    program finds out whether its step is one. bfloat16 has the range of float32 and needs no scale.

    Args:
        init_scale: the first scale, a positive number.
        growth_factor: above 1.
        backoff_factor: between 0 and 1.
        growth_interval: steps in a row without infinities before the scale grows.
        enabled: False: nothing is scaled, and steps are the optimizer's.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        if not (0 < init_scale < math.inf and 1 < growth_factor < math.inf):
            raise ValueError(
                f"LossScaler: init_scale must be positive and growth_factor above 1, got "
                f"{init_scale} and {growth_factor}"
            )
        if not 0 < backoff_factor < 1:
            raise ValueError(f"LossScaler: backoff_factor must be in (0, 1), got {backoff_factor}")
        if isinstance(growth_interval, bool) or not growth_interval >= 1:
            raise ValueError(
                f"LossScaler: growth_interval must be at least 1, got {growth_interval}"
            )
        self.growth_factor, self.backoff_factor = float(growth_factor), float(backoff_factor)
        self.growth_interval, self.enabled = int(growth_interval), enabled
        self._scale = Tensor(xp().asarray(init_scale, dtype="float32"), name="scale")
        self._good = Tensor(xp().asarray(0, dtype="int64"), name="good_steps")
        # Since the last update: optimizers with whether a gradient was infinite or NaN.
        self._found: list[tuple[Optimizer, Tensor]] = []
        self._stepped: list[Optimizer] = []

    def scale(self, loss: Any) -> Any:
        """`loss` times the scale, in float32: what `backward` is called of."""
        if not self.enabled:
            return loss
        return loss.astype("float32") * self._scale

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, before they are clipped.

        Raises:
            StateError: it was done since the last `update`, or there are no gradients.
            DtypeError: a parameter is float16, whose gradient may have vanished already.
        """
        if not self.enabled:
            return
        if any(o is optimizer for o, _ in self._found):
            raise StateError(
                "LossScaler.unscale: the gradients of this optimizer were already divided by the "
                "scale since the last update(); call scaler.update() at the end of each step"
            )
        for name, p in optimizer.parameters.items():
            if p.dtype == np.float16:
                raise DtypeError(
                    f"LossScaler: the parameter '{name}' is float16, in which a gradient that is "
                    f"divided by the scale vanishes; keep parameters in float32 and compute inside "
                    f"mg.autocast('float16')"
                )
        with no_grad():
            factor = 1.0 / self._scale
            factors = {factor.dtype: factor}
            found = []
            for p in optimizer.parameters.values():
                if p.grad is None:
                    continue
                if (rows := rows_in(p.grad)) is not None:
                    values = wrap(rows.values) * factor
                    rows.values = values.data
                else:
                    dtype = p.grad.dtype
                    if dtype not in factors:
                        factors[dtype] = factor.astype(dtype)
                    p.grad = values = p.grad * factors[dtype]
                found.append(values)
            if not found:
                raise StateError(
                    "LossScaler: the optimizer's parameters have no gradients; call "
                    "scaler.scale(loss).backward() first"
                )
            self._found.append((optimizer, _some_lost(*found)))

    unscale_ = unscale  # PyTorch's name

    def step(self, optimizer: Optimizer) -> None:
        """A step of the optimizer, by gradients divided by the scale; none if one is not finite.

        Raises:
            StateError: it has made a step since the last `update`; and as `unscale`.
        """
        if not self.enabled:
            return optimizer.step()
        if any(o is optimizer for o in self._stepped):
            raise StateError(
                "LossScaler.step: this optimizer has made a step since the last update(); call "
                "scaler.update() at the end of each step"
            )
        if not any(o is optimizer for o, _ in self._found):
            self.unscale(optimizer)
        skip = next(flag for o, flag in self._found if o is optimizer)
        optimizer.step(skip=skip)
        self._stepped.append(optimizer)

    def update(self) -> None:
        """Find the scale of the next step: once, after the steps of all optimizers.

        Raises:
            StateError: no gradients were divided by the scale since the last one.
        """
        if not self.enabled:
            return
        if not self._found:
            raise StateError("LossScaler.update: call scaler.step(optimizer) before")
        with no_grad():
            bad = ops.any(ops.stack([flag for _, flag in self._found]))
            grows = self._good + 1 >= self.growth_interval
            larger = self._scale * self.growth_factor
            larger = ops.where(grows & ops.isfinite(larger), larger, self._scale)
            scale = ops.where(bad, self._scale * self.backoff_factor, larger)
            good = ops.where(bad | grows, 0, self._good + 1)
            self._scale.data, self._good.data = scale.data, good.data
        self._found, self._stepped = [], []

    def get_scale(self) -> float:
        """The scale as a number: on a device the host waits for it. 1 if it is not enabled."""
        return self._scale.item() if self.enabled else 1.0

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the scale, (), and of the steps without infinities since it last changed."""
        return {
            "scale": np.array(to_numpy(self._scale.data)),
            "good_steps": np.array(to_numpy(self._good.data)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state.

        Raises:
            StateError: it is not one of a LossScaler; nothing has been changed then.
        """
        ours = {"scale": self._scale.data, "good_steps": self._good.data}
        load_entries("LossScaler", ours, state)

    def __repr__(self) -> str:
        return (
            f"LossScaler(growth_factor={self.growth_factor}, backoff_factor="
            f"{self.backoff_factor}, growth_interval={self.growth_interval}, "
            f"enabled={self.enabled})"
        )


@primitive(kernel={"cupy": "cuda.updates.some_lost"})
def _some_lost(xp, *gradients):
    """Whether any element of any of them is infinite or NaN: ()."""
    return xp.logical_not(xp.stack([xp.isfinite(g).all() for g in gradients]).all())


_some_lost.no_gradient()
