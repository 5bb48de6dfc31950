"""A learning rate that falls when nothing gets better."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.arguments import count, number
from minigrad.errors import StateError
from minigrad.optim.optimizer import Optimizer, load_entries


class ReduceLROnPlateau:
    """Multiplies an optimizer's learning rates by `factor` when a metric has stopped to improve.

    (Arguments and behaviour are PyTorch's.) Its state has the rates themselves, so that a run which
    is resumed goes on with them.

    Args:
        optimizer: its rates must be numbers, not functions of the step.
        mode: 'min' if the metric ought to fall, 'max' if it ought to rise.
        factor: what rates are multiplied by.
        patience: how many calls without an improvement are let pass.
        threshold: an improvement is at least so large, relative ('rel') to the best or in itself
            ('abs'), as `threshold_mode` says.
        cooldown: how many calls after a reduction do not count.
        min_lr: no rate falls below; a number, or one for each group.
        eps: a reduction by less is not made.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ):
        who = "ReduceLROnPlateau"
        if isinstance(factor, bool) or not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be in [0, 1), got {factor}")
        patience, cooldown = (
            count(who, "patience", patience, 0),
            count(who, "cooldown", cooldown, 0),
        )
        threshold, eps = number(who, "threshold", threshold), number(who, "eps", eps)
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: mode must be 'min' or 'max' and threshold_mode 'rel' or "
                f"'abs'; got {mode!r} and {threshold_mode!r}"
            )
        groups = len(optimizer.param_groups)
        self.min_lrs = [min_lr] * groups if isinstance(min_lr, int | float) else list(min_lr)
        if len(self.min_lrs) != groups:
            raise ValueError(
                f"ReduceLROnPlateau: {len(self.min_lrs)} min_lr for {groups} groups; give one each"
            )
        self.min_lrs = [number(who, "min_lr", each) for each in self.min_lrs]
        self.optimizer, self.factor, self.patience, self.eps = optimizer, factor, patience, eps
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.cooldown = cooldown
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_calls = self.cooling = 0
        self._rates()

    def _rates(self) -> list[float]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if any(callable(r) for r in rates):
            raise StateError(
                "ReduceLROnPlateau: a learning rate of the optimizer is a function of the step; "
                "give it a number"
            )
        return [float(r) for r in rates]

    def step(self, metrics: Any) -> bool:
        """Take in one value of the metric; whether rates were reduced."""
        metric = float(metrics)
        if self._better(metric):
            self.best, self.bad_calls = metric, 0
        else:
            self.bad_calls += 1
        if self.cooling > 0:
            self.cooling, self.bad_calls = self.cooling - 1, 0
        if self.bad_calls <= self.patience:
            return False
        self.cooling, self.bad_calls, reduced = self.cooldown, 0, False
        rates = self._rates()
        for group, rate, least in zip(
            self.optimizer.param_groups, rates, self.min_lrs, strict=True
        ):
            new = max(rate * self.factor, least)
            if rate - new > self.eps:
                group["lr"], reduced = new, True
        return reduced

    def _better(self, metric: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * metric < sign * self.best - self.threshold
        return sign * metric < sign * self.best * (1 - sign * self.threshold)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The best value, the counts, and the rates of the optimizer's groups."""
        return {
            "best": np.array(self.best),
            "bad_calls": np.array(self.bad_calls),
            "cooling": np.array(self.cooling),
            "lr": np.array(self._rates()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, the rates of the optimizer included.

        Raises:
            StateError: it does not fit; nothing has been changed then.
        """
        ours = self.state_dict()
        load_entries("ReduceLROnPlateau", ours, state)
        self.best = float(ours["best"])
        self.bad_calls, self.cooling = int(ours["bad_calls"]), int(ours["cooling"])
        for group, rate in zip(self.optimizer.param_groups, ours["lr"], strict=True):
            group["lr"] = float(rate)
