"""What optimizers share: named parameters in flat buffers, and state under the same names."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor, as_array
from minigrad.backend import array_module, modes, sample, to_numpy
from minigrad.errors import ShapeError, StateError
from minigrad.nn import Module
from minigrad.writes import wrote

Parameters = Module | Mapping[str, Tensor] | Iterable[Tensor | tuple[str, Tensor]] | Tensor


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
                g = as_array(g)
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
        parameters: a Module, a mapping of name to parameter, the list from `parameters()`, or pairs
            (name, parameter).

    Raises:
        StateError: there are no parameters, one has no name, or two have the same one.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, parameters: Parameters):
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
        elif not isinstance(gradients, Mapping):
            raise StateError(
                f"step: expected a mapping of parameters' names to gradients, got "
                f"{type(gradients).__name__}"
            )
        elif gradients.keys() != self.parameters.keys():
            raise StateError(
                f"step: gradients must have exactly the parameters' names; they differ in "
                f"{sorted(gradients.keys() ^ self.parameters.keys())}"
            )
        if (capture := modes.get().capture) is not None:
            capture.updated(self, gradients)
        for flat in self.flats:
            flat.adopt()
            present = flat.collect(gradients)
            if len(present):
                flat.steps[present] += 1
                self.update(flat, present)
                for neighbours in np.split(present, np.flatnonzero(np.diff(present) != 1) + 1):
                    start, stop = flat.starts[neighbours[0]], flat.stops[neighbours[-1]]
                    wrote(flat.weights[start:stop])

    def captured(
        self, flat: Flat, present: Callable[[], np.ndarray]
    ) -> tuple[Any, Callable[[], None]]:
        """This update as an instruction of a program, and what to do before each run.

        `present()` gives the places of the parameters that have gradients in the run to come.
        """

        def update() -> None:
            here = present()
            flat.steps[here] += 1
            self.update(flat, here)

        from minigrad.programs import Instruction  # for who captures

        return Instruction(type(self).__name__, function=update), lambda: None

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
            StateError: `state` is not a mapping; or lists everything missing, unexpected, of
                another shape or dtype, or a negative step. Nothing has been changed then.
        """
        if not isinstance(state, Mapping):
            raise StateError(
                f"{type(self).__name__}.load_state_dict: expected a mapping of names to arrays, "
                f"got {type(state).__name__}"
            )
        ours = dict(self._entries())
        problems = [f"missing: {k}" for k in ours.keys() - state.keys()]
        problems += [f"unexpected: {k}" for k in state.keys() - ours.keys()]
        for key in ours.keys() & state.keys():
            a, b = sample(ours[key]), sample(state[key])
            if a != b:
                problems.append(f"{key} must be {a}, got {b}")
            elif key.startswith("step.") and (step := int(to_numpy(state[key]))) < 0:
                problems.append(f"{key} must not be negative, got {step}")
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


def _pairs(parameters: Parameters) -> list[tuple[str | None, Tensor]]:
    """All parameters with their names, None where nobody gave one."""
    if isinstance(parameters, Module):
        parameters = parameters.named_parameters()
    elif isinstance(parameters, Mapping):
        parameters = parameters.items()
    elif type(parameters) is Tensor:
        parameters = [parameters]
    found = []
    for x in parameters:
        match x:
            case Tensor():
                found.append((None if x.name == "parameter" else x.name, x))
            case (str(), Tensor()):
                found.append(x)
            case _:
                raise StateError(
                    f"optimizer: expected a Module, a mapping of names, parameters, or pairs "
                    f"(name, parameter); there is a {type(x).__name__} among them"
                )
    return found


def _named(parameters: Parameters) -> dict[str, Tensor]:
    """Parameters by name, each once."""
    pairs = _pairs(parameters)
    if not pairs:
        raise StateError("optimizer: there are no parameters; give a model or a list that has some")
    found: dict[str, Tensor] = {}
    names: dict[int, str] = {}
    for name, p in pairs:
        if name is None and len(pairs) > 1:
            raise StateError(
                f"optimizer: a parameter of shape {p.shape} has no name; pass the model, "
                f"model.parameters(), or a dictionary of names"
            )
        name = name or "parameter"
        if name in found:
            raise StateError(
                f"optimizer: two parameters are called '{name}', of shapes "
                f"{found[name].shape} and {p.shape}; pass a dictionary of names"
            )
        if (first := names.setdefault(id(p), name)) != name:
            raise StateError(
                f"optimizer: '{first}' and '{name}' are one and the same parameter; list it once"
            )
        found[name] = p
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


def clip_grad_norm_(parameters: Parameters, max_norm: float) -> float:
    """Scale all gradients so that their common 2-norm is at most `max_norm`.

    In place, where a gradient has its array for itself. Gradients that are views or share an array,
    as those from `minigrad.gradients` may, get arrays of their own.

    Args:
        parameters: as for an optimizer, or without names, or one parameter alone.

    Returns:
        The norm before. Absent gradients stay absent; a norm that is not finite scales nothing.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    grads = [p.grad for _, p in _pairs(parameters) if p.grad is not None]
    arrays = [g.data for g in grads]
    if not arrays:
        return 0.0
    # In float64, where the square of no float32 overflows.
    wide = (g.astype("float64").reshape(-1) for g in arrays)
    norm = math.sqrt(float(sum(g @ g for g in wide)))
    if max_norm < norm < float("inf"):
        scale = float(max_norm / norm)  # a NumPy scalar would lift float32
        uses = Counter(id(_owner(array)) for array in arrays)
        for g, array in zip(grads, arrays, strict=True):
            own = _owner(array) is array and uses[id(array)] == 1
            if own and getattr(array.flags, "writeable", True):  # CuPy's arrays always are
                array *= scale
                wrote(array)
            else:
                g.data = array_module(array).asarray(array * scale)
    return norm


def _owner(array: Any) -> Any:
    """The array whose memory `array` shows: itself, unless it is a view."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array
