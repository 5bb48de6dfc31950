"""Learning rates as functions of the step, which counts from 0: the first update has number 0.

    lr = schedules.Warmup(100, schedules.Cosine(0.1, steps=900))
    optimizer = optim.Adam(model, lr=lr)

A schedule remembers nothing, so that a run which is resumed cannot start it again: the optimizer's
step, part of its state, decides. Any other function of the step serves as well. All hold their last
value where they have come to an end, and can be multiplied by numbers and by each other.
"""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = [
    "Constant", "Cosine", "Exponential", "InverseSquareRoot", "Join", "Linear", "MultiStep",
    "OneCycle", "Product", "Rate", "Repeat", "Schedule", "Step", "Warmup",
]  # fmt: skip

Rate = Callable[[int], float]


class Schedule:
    """A learning rate for every step; for subclasses, which define `at`.

    Raises:
        ValueError: it is asked for a step below 0.
    """

    def at(self, step: int) -> float:
        """The value at a step that is not negative."""
        raise NotImplementedError(f"{type(self).__name__} must define at")

    def __call__(self, step: int) -> float:
        if step < 0:
            raise ValueError(f"{type(self).__name__}: steps count from 0, got {step}")
        return float(self.at(step))

    def __mul__(self, other: "float | Rate") -> "Product":
        return Product(self, other)

    __rmul__ = __mul__


def value(rate: "float | Rate", step: int) -> float:
    """What a number or a schedule is at a step."""
    return float(rate(step) if callable(rate) else rate)


@dataclass(frozen=True)
class Constant(Schedule):
    """`lr` throughout."""

    lr: float

    def at(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class Step(Schedule):
    """`lr`, multiplied by `gamma` after every `step_size` steps (PyTorch's StepLR)."""

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _positive(self, step_size=self.step_size)

    def at(self, step: int) -> float:
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """`lr`, multiplied by `gamma` at each of the `milestones` (PyTorch's MultiStepLR)."""

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(sorted(self.milestones)))

    def at(self, step: int) -> float:
        return self.lr * self.gamma ** bisect.bisect_right(self.milestones, step)


@dataclass(frozen=True)
class Exponential(Schedule):
    """`lr * gamma**step` (PyTorch's ExponentialLR)."""

    lr: float
    gamma: float

    def at(self, step: int) -> float:
        return self.lr * self.gamma**step


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` in a straight line to `end`, which is reached at step `steps`.

    (optax's linear_schedule; PyTorch's LinearLR with `start = lr * start_factor`.)
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _positive(self, steps=self.steps)

    def at(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From `lr` along half a cosine down to `end`, which is reached at step `steps`.

    (Loshchilov and Hutter, arXiv 1608.03983; PyTorch's CosineAnnealingLR up to its T_max, optax's
    cosine_decay_schedule.)
    """

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, steps=self.steps)

    def at(self, step: int) -> float:
        return _cosine(self.lr, self.end, min(step / self.steps, 1))


@dataclass(frozen=True)
class InverseSquareRoot(Schedule):
    """Up in a straight line to `lr` at step `warmup`, from there on `lr * sqrt(warmup / step)`.

    (Vaswani et al., section 5.3, arXiv 1706.03762, has `lr = (features * warmup) ** -0.5`.) Without
    a warm-up `lr / sqrt(step)`, and `lr` at step 0.

    Raises:
        ValueError: `warmup` is negative.
    """

    lr: float
    warmup: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.warmup, bool) or not 0 <= self.warmup < math.inf:
            raise ValueError(f"InverseSquareRoot: warmup must not be negative, got {self.warmup}")

    def at(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * step / self.warmup
        return self.lr * math.sqrt(max(self.warmup, 1) / max(step, 1))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to `max_lr` and down to nearly nothing, in `total_steps` steps (PyTorch's OneCycleLR).

    (Smith and Topin, arXiv 1708.07120.) The last step, number `total_steps - 1`, has the lowest
    rate. PyTorch cycles the momentum too; for that give the optimizer a schedule as `momentum`.

    Args:
        pct_start: the part of the steps that goes up.
        anneal_strategy: 'cos' or 'linear'.
        div_factor: it starts at `max_lr / div_factor`.
        final_div_factor: it ends at the start's rate divided by this.
        three_phase: go down to the start's rate as fast as up, and only then to the end.

    Raises:
        ValueError: `pct_start` is not in [0, 1], or there is no such strategy.
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        _positive(self, total_steps=self.total_steps)
        if not 0 <= self.pct_start <= 1 or self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycle: pct_start must be in [0, 1] and anneal_strategy 'cos' or 'linear'; got "
                f"{self.pct_start} and {self.anneal_strategy!r}"
            )

    def at(self, step: int) -> float:
        low, up = self.max_lr / self.div_factor, self.pct_start * self.total_steps
        legs = [(low, 0.0), (self.max_lr, up - 1)]  # rates, and the steps that have them
        if self.three_phase:
            legs.append((low, 2 * up - 2))
        legs.append((low / self.final_div_factor, self.total_steps - 1))
        for (start, begin), (end, stop) in pairwise(legs):
            if step <= stop or stop == legs[-1][1]:
                done = (step - begin) / (stop - begin) if stop > begin else 1.0
                done = min(max(done, 0.0), 1.0)
                if self.anneal_strategy == "cos":
                    return _cosine(start, end, done)
                return start + (end - start) * done
        raise AssertionError("the last leg covers every step")


@dataclass(frozen=True)
class Warmup(Schedule):
    """In a straight line from `start` to what `after` begins with, which it reaches, and then goes
    on with, at step `steps`: `after` counts from there.

    Raises:
        ValueError: `steps` is negative.
    """

    steps: int
    after: "float | Rate"
    start: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not 0 <= self.steps < math.inf:
            raise ValueError(f"Warmup: steps must not be negative, got {self.steps}")

    def at(self, step: int) -> float:
        if step >= self.steps:
            return value(self.after, step - self.steps)
        return self.start + (value(self.after, 0) - self.start) * step / self.steps


@dataclass(frozen=True)
class Join(Schedule):
    """One after the other: number i + 1 begins, with its own step 0, at `boundaries[i]`.

    (optax's join_schedules, PyTorch's SequentialLR.)

    Raises:
        ValueError: the boundaries do not rise, or are not one less than the schedules.
    """

    schedules: "tuple[float | Rate, ...]"
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        rising = list(self.boundaries) == sorted(self.boundaries)
        if len(self.schedules) != len(self.boundaries) + 1 or not rising:
            raise ValueError(
                f"Join: expected rising boundaries, one less than schedules; got "
                f"{len(self.schedules)} schedules and the boundaries {self.boundaries}"
            )

    def at(self, step: int) -> float:
        i = bisect.bisect_right(self.boundaries, step)
        return value(self.schedules[i], step - (self.boundaries[i - 1] if i else 0))


@dataclass(frozen=True)
class Repeat(Schedule):
    """`schedule` from its step 0 again after every `every` steps: restarts."""

    schedule: Rate
    every: int

    def __post_init__(self) -> None:
        _positive(self, every=self.every)

    def at(self, step: int) -> float:
        return value(self.schedule, step % self.every)


@dataclass(frozen=True)
class Product(Schedule):
    """Two schedules, or a schedule and a number, multiplied."""

    a: "float | Rate"
    b: "float | Rate"

    def at(self, step: int) -> float:
        return value(self.a, step) * value(self.b, step)


def _cosine(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine, of which the part `done` is done."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _positive(schedule: Any, **numbers: float) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not 0 < number < math.inf:
            raise ValueError(f"{type(schedule).__name__}: {name} must be positive, got {number}")
