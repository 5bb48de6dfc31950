"""Gradients of a large batch from those of its parts."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from minigrad.autodiff import as_array, wrap
from minigrad.backend import refuse_while_capturing
from minigrad.errors import ShapeError, StateError
from minigrad.optim.copying import Follower
from minigrad.optim.naming import Parameters, pairs_of
from minigrad.sparse import SparseRows


class Accumulate(Follower):
    """The gradient of the mean over a large batch, from the means over its parts.

        with optim.Accumulate(model) as total:
            for x, y in parts:
                loss(model(x), y).backward()
                total.add(len(x))                 # or how many tokens count in y
        optimizer.step()
        optimizer.zero_grad()

    Each part's loss is a mean, over samples or over real tokens, and its weight is how many those
    are; then any split of a batch gives what the whole batch gives, but for rounding. (A plain sum
    of gradients would ask for a smaller learning rate, and a plain mean of means would give the
    tokens of short parts more weight.) Afterwards every parameter has the mean as its `.grad`, to
    be clipped and used as any other; it is absent where it was in all parts.

    Args:
        parameters: as for an optimizer, or without names.

    Attributes:
        weight: how many samples or tokens there are so far.

    Raises:
        StateError: there are gradients from before at the beginning of the block.
    """

    called = "total"

    def __init__(self, parameters: Parameters):
        self.parameters = pairs_of(parameters)
        self.weight = 0.0
        self._sums: list[Any] = [None] * len(self.parameters)

    def add(self, weight: Any, gradients: Mapping[str, Any] | None = None) -> None:
        """Take in a part of `weight` samples or tokens. Its `.grad`s are absent from here on.

        Args:
            weight: a number that is not negative; a part of weight 0 does not count at all.
            gradients: by the names of the parameters, in place of their `.grad`.

        Raises:
            ValueError: `weight` is negative or not finite.
            StateError: a gradient is of no parameter here.
            ShapeError: a gradient has not the shape of its parameter.
            CaptureError: it is called in a step of `mg.jit`.
        """
        refuse_while_capturing(
            "Accumulate",
            "adds up arrays outside the program; call add() after the step, outside the function, "
            "which may leave its gradients in .grad or return them",
        )
        number = float(weight)
        if not 0 <= number < math.inf:
            raise ValueError(
                f"Accumulate.add: weight must be finite and not negative, got {weight}"
            )
        if gradients is None:
            found = [p.grad for _, p in self.parameters]
            for _, p in self.parameters:
                p.grad = None
        else:
            names = [name or "parameter" for name, _ in self.parameters]
            if unknown := gradients.keys() - set(names):
                raise StateError(f"Accumulate.add: there are no parameters {sorted(unknown)}")
            found = [gradients.get(name) for name in names]
        for (name, p), g in zip(self.parameters, found, strict=True):
            shape = p.shape if g is None else tuple(as_array(g).shape)
            if shape != p.shape:
                raise ShapeError(
                    f"Accumulate.add: the gradient of '{name}' must be {p.shape}, got {shape}"
                )
        if number:
            self.weight += number
            self._sums = [_plus(s, g, number) for s, g in zip(self._sums, found, strict=True)]

    def finish(self) -> float:
        """Put the means into `.grad`, and begin anew. The weight of the whole batch."""
        total, sums = self.weight, self._sums
        self.weight, self._sums = 0.0, [None] * len(sums)
        for (_, p), s in zip(self.parameters, sums, strict=True):
            if s is None:
                p.grad = None
            else:
                mean = (s * (1 / total)).astype(p.dtype)
                p.grad = mean if type(mean) is SparseRows else wrap(mean)
        return total

    def __enter__(self) -> Self:
        if any(p.grad is not None for _, p in self.parameters):
            raise StateError("Accumulate: there are gradients from before; call zero_grad() first")
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.finish()
        if kind is not None:
            for _, p in self.parameters:
                p.grad = None


def _plus(total: Any, g: Any, weight: float) -> Any:
    """`total + weight * g`, where each may be absent; in at least float32."""
    if g is None:
        return total
    g = as_array(g)
    g = g.astype(np.result_type(g.dtype, np.float32)) * weight
    return g if total is None else total + g
