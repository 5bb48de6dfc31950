"""What optimizers share: named parameters in flat buffers, and state under the same names."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import array_module, sample, to_numpy
from minigrad.errors import ShapeError, StateError
from minigrad.nn import Module


class Flat:
    """Parameters of one dtype and device laid end to end in one array.

    Each parameter's `.data` becomes a view into `weights`, so that one pass over one buffer updates
    them all, and reading a parameter costs nothing.

    Attributes:
        weights: the buffer of all parameters.
        gradients: a buffer of the same layout, filled before each step.
        moments: as many such buffers, of zeros, as the optimizer keeps.
        starts, stops: where each parameter lies.
        steps: (parameters,) how many steps each has taken.
    """

    def __init__(self, parameters: dict[str, Tensor], moments: Iterable[str]):
        self.parameters = parameters
        tensors = list(parameters.values())
        ends = np.cumsum([0, *(p.size for p in tensors)])
        self.starts, self.stops = ends[:-1], ends[1:]
        self.steps = np.zeros(len(tensors), np.int64)
        xp = self.xp = array_module(tensors[0].data)
        dtype = tensors[0].dtype
        self.weights = xp.empty(int(ends[-1]), dtype)
        self.gradients = xp.empty(int(ends[-1]), dtype)
        self.moments = {name: xp.zeros(int(ends[-1]), dtype) for name in moments}
        self.views = [self.view(self.weights, i) for i in range(len(tensors))]
        self.adopt()

    def view(self, buffer: Any, i: int) -> Any:
        """The part of a buffer that belongs to parameter `i`, in its shape."""
        shape = list(self.parameters.values())[i].shape
        return buffer[self.starts[i] : self.stops[i]].reshape(shape)

    def adopt(self) -> None:
        """Take in parameters whose `.data` is not the view here: at first, or once replaced."""
        for (name, p), view in zip(self.parameters.items(), self.views, strict=True):
            if p.data is not view:
                if p.shape != view.shape:
                    raise ShapeError(
                        f"optimizer: the data of '{name}' was replaced by an array of shape "
                        f"{p.shape}, it must stay {view.shape}; make another optimizer"
                    )
                view[...] = p.data
                p.data = view

    def collect(self, gradients: Mapping[str, Any]) -> np.ndarray:
        """Copy the gradients that are not None into the buffer; the places of those parameters."""
        present = []
        for i, (name, p) in enumerate(self.parameters.items()):
            g = gradients[name]
            if g is not None:
                g = g.data if type(g) is Tensor else g
                if g.shape != p.shape:
                    raise ShapeError(f"the gradient of '{name}' must be {p.shape}, got {g.shape}")
                self.gradients[self.starts[i] : self.stops[i]] = g.reshape(-1)
                present.append(i)
        return np.array(present, np.int64)


class Optimizer:
    """Changes parameters by their gradients.

    A parameter whose gradient is absent (None) is left alone: its value, its state and its step
    count stay as they are, to the bit. A gradient of zeros is not absent.

    Args:
        parameters: a Module, a mapping of name to parameter, or the list from `parameters()`.

    Raises:
        StateError: a parameter has no name, or two have the same one.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, parameters: Module | Mapping[str, Tensor] | Iterable[Tensor]):
        self.parameters = _named(parameters)
        kinds: dict[Any, dict[str, Tensor]] = {}
        for name, p in self.parameters.items():
            kinds.setdefault((array_module(p.data), p.dtype), {})[name] = p
        self.flats = [Flat(group, self.moments) for group in kinds.values()]

    def step(self, gradients: Mapping[str, Any] | None = None) -> None:
        """One update.

        Args:
            gradients: gradient (or None) for every parameter's name; by default each one's `.grad`.
        """
        if gradients is None:
            gradients = {name: p.grad for name, p in self.parameters.items()}
        elif gradients.keys() != self.parameters.keys():
            raise StateError(
                f"step: gradients must have exactly the parameters' names; they differ in "
                f"{sorted(gradients.keys() ^ self.parameters.keys())}"
            )
        for flat in self.flats:
            flat.adopt()
            present = flat.collect(gradients)
            if len(present):
                flat.steps[present] += 1
                self.update(flat, present)

    def update(self, flat: Flat, present: np.ndarray) -> None:
        """Change the weights of `present` parameters by `flat.gradients`; for subclasses."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Make all gradients absent."""
        for p in self.parameters.values():
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the state on the host: 'exp_avg.<parameter>' and so on, 'step.<parameter>'."""
        return {key: np.array(to_numpy(view)) for key, view in self._entries()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state saved from an optimizer over parameters of the same names.

        Raises:
            StateError: lists everything missing, unexpected, or of another shape or dtype; nothing
                has been changed then.
        """
        ours = dict(self._entries())
        problems = [f"missing: {k}" for k in ours.keys() - state.keys()]
        problems += [f"unexpected: {k}" for k in state.keys() - ours.keys()]
        for key in ours.keys() & state.keys():
            a, b = sample(ours[key]), sample(state[key])
            if a != b:
                problems.append(f"{key} must be {a}, got {b}")
        if problems:
            listing = "\n  ".join(sorted(problems))
            raise StateError(
                f"{type(self).__name__}.load_state_dict: {len(problems)} entries do not fit; "
                f"nothing was loaded:\n  {listing}"
            )
        for key, view in ours.items():
            view[...] = array_module(view).asarray(state[key])

    def _entries(self) -> Iterator[tuple[str, Any]]:
        """Names and views of all state."""
        for flat in self.flats:
            for i, name in enumerate(flat.parameters):
                for moment, buffer in flat.moments.items():
                    yield f"{moment}.{name}", flat.view(buffer, i)
                yield f"step.{name}", flat.steps[i : i + 1].reshape(())


def _named(parameters) -> dict[str, Tensor]:
    if isinstance(parameters, Module):
        return dict(parameters.named_parameters())
    if isinstance(parameters, Mapping):
        names: dict[int, str] = {}
        for name, p in parameters.items():
            if names.setdefault(id(p), name) != name:
                raise StateError(
                    f"optimizer: '{names[id(p)]}' and '{name}' are one and the same parameter; "
                    f"list it once"
                )
        return dict(parameters)
    found: dict[str, Tensor] = {}
    tensors = list(parameters)
    for p in tensors:
        if p.name in (None, "parameter") and len(tensors) > 1:
            raise StateError(
                f"optimizer: a parameter of shape {p.shape} has no name; pass the model, "
                f"model.parameters(), or a dictionary of names"
            )
        if p.name in found:
            raise StateError(
                f"optimizer: two parameters are called '{p.name}', of shapes "
                f"{found[p.name].shape} and {p.shape}; pass a dictionary of names"
            )
        found[p.name] = p
    return found


def runs(flat: Flat, present: np.ndarray) -> Iterator[tuple[slice, int]]:
    """Stretches of the buffers that present neighbours share, with their step count."""
    cuts = [0]
    for i, (a, b) in enumerate(pairwise(present)):
        if b != a + 1 or flat.steps[a] != flat.steps[b]:
            cuts.append(i + 1)
    for first, last in pairwise([*cuts, len(present)]):
        a, b = present[first], present[last - 1]
        yield slice(int(flat.starts[a]), int(flat.stops[b])), int(flat.steps[a])


def clip_grad_norm_(
    parameters: Module | Mapping[str, Tensor] | Iterable[Tensor], max_norm: float
) -> float:
    """Scale all gradients in place so that their common 2-norm is at most `max_norm`.

    Returns:
        The norm before. Absent gradients stay absent; a norm that is not finite scales nothing.
    """
    if max_norm <= 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    if isinstance(parameters, Module | Mapping):
        parameters = _named(parameters).values()
    grads = [p.grad.data for p in parameters if p.grad is not None]
    if not grads:
        return 0.0
    # In float64, where the square of no float32 overflows.
    wide = (g.astype("float64").reshape(-1) for g in grads)
    norm = math.sqrt(float(sum(g @ g for g in wide)))
    if max_norm < norm < float("inf"):
        for g in grads:
            g *= max_norm / norm
    return norm
