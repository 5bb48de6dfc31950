"""How long a step takes on each backend, so that `auto` can choose by it.

A small model is often faster on the CPU: each of its arrays is done before a GPU has been told of
it. So a few steps are taken on each, by trainers that are thrown away: what the training is to
begin with, its weights, optimizer and random streams, has no part in it.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jsl.train import Trainer
from minigrad import backend, memory, random
from minigrad.learner import Callback, Learner

STEPS = 8
WARM = 4  # the first steps compile, and prove what they have compiled
ENOUGH = 10.0  # seconds after which a backend is not measured further


@dataclass(frozen=True)
class Measured:
    """Which backend is the faster one.

    Attributes:
        name: 'numpy' or 'cupy'.
        seconds: of a step, by backend; those that failed are not there.
        errors: what was raised by those that failed.
    """

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)


def faster(trainer: Callable[[], Trainer]) -> Measured:
    """The backend on which a step of the training takes less time; NumPy if the GPU fails.

    Args:
        trainer: makes the trainer as it would be, on the backend in force.
    """
    seconds: dict[str, float] = {}
    errors: dict[str, Exception] = {}
    for name in ("numpy", "cupy"):
        try:
            with backend.using(name), random.stream(0):
                seconds[name] = seconds_of(trainer())
        except Exception as error:  # a device has many ways to fail
            errors[name] = error
    name = min(seconds, key=lambda name: seconds[name], default="numpy")
    with backend.using("cupy"):
        gc.collect()  # a program and its arrays refer to each other
        memory.empty_cache()
    return Measured(name, seconds, errors)


def seconds_of(trainer: Trainer) -> float:
    """How long a step takes, once it has been compiled: the shortest of a few."""
    clock = _Clock()
    trainer.callbacks = [clock]
    trainer.on_nan = "ignore"
    batch = next(iter(trainer.batches))
    trainer.fit(_Few(batch, clock), epochs=1, seed=trainer.training.seed)
    steps = [b - a for a, b in pairwise(clock.ends)]
    return min(steps[WARM - 1 :] or steps)


class _Clock(Callback):
    """Notes when training begins and when each step has ended, its loss read."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_batch_start(self, learner: Learner, batch: Any) -> None:
        if not self.ends:
            self.ends.append(time.perf_counter())

    def on_batch_end(self, learner: Learner, logs: dict[str, float]) -> None:
        self.ends.append(time.perf_counter())


class _Few:
    """One batch, again and again, until there are enough steps or seconds."""

    def __init__(self, batch: Any, clock: _Clock):
        self.batch, self.clock = batch, clock

    def __iter__(self) -> Iterator[Any]:
        began = time.perf_counter()
        for _ in range(STEPS):
            yield self.batch
            if time.perf_counter() - began > ENOUGH:
                return
