"""Running averages of weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import refuse_while_capturing, to_numpy
from minigrad.errors import StateError
from minigrad.nn import Module
from minigrad.optim.copying import Follower
from minigrad.optim.naming import Parameters, named, pairs_of
from minigrad.optim.optimizer import load_entries
from minigrad.writes import wrote


class EMA(Follower):
    """An exponential moving average of a model's parameters, to evaluate or keep in their place.

        ema = optim.EMA(model, decay=0.999)
        for batch in batches:
            train(batch)
            ema.update()
        with ema.swapped():
            evaluate(model)

    (Polyak averaging with forgetting.) It starts from the parameters as they are. What is no
    parameter, as the running statistics of BatchNorm, is not averaged and stays the model's.

    Args:
        model: a Module, or parameters as for an optimizer.
        decay: how much of the average stays at each update; or a function of the number of the
            update, from 0, as `lambda t: min(0.999, (1 + t) / (10 + t))`.

    Attributes:
        averages: array by name of the parameter, at least float32.
        updates: how many have been made.
    """

    called = "ema"

    def __init__(self, model: Parameters, decay: float | Callable[[int], float] = 0.999):
        self.parameters = named(pairs_of(model))
        self.decay, self.updates = decay, 0
        self._decay_at(0)
        self.averages = {
            name: p.data.astype(np.result_type(p.dtype, np.float32))
            for name, p in self.parameters.items()
        }
        self._swapped = False

    def _decay_at(self, update: int) -> float:
        given = self.decay(update) if callable(self.decay) else self.decay
        decay = float(given)
        if isinstance(given, bool | str) or not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay must be in [0, 1], got {decay} at update {update}")
        return decay

    def update(self) -> None:
        """average = decay * average + (1 - decay) * parameter, for all.

        Raises:
            CaptureError: inside `mg.jit`; call it after the step, outside.
            StateError: inside `swapped`, where the parameters are the averages.
        """
        refuse_while_capturing(
            "EMA.update",
            "reads parameters that the program changes only at its end; call it after the step, "
            "outside the function",
        )
        if self._swapped:
            raise StateError("EMA.update: the model has the averages now; update it outside")
        decay = self._decay_at(self.updates)
        for name, p in self.parameters.items():
            average = self.averages[name]
            average *= decay
            average += (1 - decay) * p.data
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the model its averages for a `with` block, and what it had before at the end.

        Raises:
            StateError: the model has them already.
        """
        if self._swapped:
            raise StateError("EMA.swapped: the model has the averages already")
        kept = {name: p.data.copy() for name, p in self.parameters.items()}
        self._swapped = True
        try:
            self._put(self.averages, self.parameters)
            yield
        finally:
            self._put(kept, self.parameters)
            self._swapped = False

    def copy_to(self, model: Module | None = None) -> None:
        """Give the averages for good to `model`, by name; by default to the model averaged.

        Raises:
            StateError: the parameters of `model` are not those averaged.
        """
        into = self.parameters if model is None else dict(model.named_parameters())
        if differing := into.keys() ^ self.averages.keys():
            raise StateError(
                f"EMA.copy_to: the model's parameters must be those averaged; they differ in "
                f"{sorted(differing)}"
            )
        self._put(self.averages, into)

    @staticmethod
    def _put(values: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> None:
        # Into the arrays that are there: they may be an optimizer's.
        for name, p in parameters.items():
            p.data[...] = values[name]
            wrote(p.data)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies on the host: 'average.<parameter>', and 'step', the number of updates."""
        state = {f"average.{n}": np.array(to_numpy(a)) for n, a in self.averages.items()}
        return {**state, "step": np.array(self.updates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over averages of parameters of the same names.

        Raises:
            StateError: lists all that does not fit; nothing has been changed then.
        """
        count = np.zeros((), np.int64)
        ours = {f"average.{name}": a for name, a in self.averages.items()}
        load_entries("EMA", {**ours, "step": count}, state)
        self.updates = int(count)

    def __deepcopy__(self, memo: dict) -> Self:
        if self._swapped:
            raise StateError("deepcopy: the model has the averages now; copy the EMA outside")
        return super().__deepcopy__(memo)

    def __repr__(self) -> str:
        numbers = sum(a.size for a in self.averages.values())
        return f"EMA({len(self.averages)} parameters, {numbers:,} numbers; decay={self.decay!r})"
