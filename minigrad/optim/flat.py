"""Parameters laid end to end in flat buffers."""

import copy
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad import memory
from minigrad.autodiff import Tensor, as_array
from minigrad.backend import array_module
from minigrad.devices import device_of
from minigrad.errors import BackendError, DtypeError, MinigradError, ShapeError, StateError
from minigrad.sparse import SparseRows

Shape = tuple[int, ...]
ALIGNED = 128  # bytes, on a device: what a parameter's place begins at a multiple of

# Who has which buffer: a parameter whose `.data` lies in the buffer of another optimizer is its.
_owners: weakref.WeakValueDictionary[int, "Flat"] = weakref.WeakValueDictionary()


class Flat:
    """Parameters of one group, dtype and device laid end to end in one array.

    Each parameter's `.data` becomes a view into `weights`, so that one pass over one buffer updates
    them all, and reading a parameter costs nothing.

    Attributes:
        weights: the buffer of all parameters.
        gradients: a buffer of the same layout, filled before each step.
        moments: as many such buffers, of zeros, as the optimizer keeps.
        starts, stops: where each parameter lies.
        steps: (parameters + 1,) how many steps each has taken, and last how many steps the
            optimizer has made.
        counted: the same as far as the host knows: a device may have left some out (`LeftOut`).
        group: the options of its parameters.
    """

    owed: "LeftOut | None" = None  # who leaves steps out that `counted` has

    def __init__(
        self,
        parameters: dict[str, Tensor],
        moments: Mapping[str, Callable[[Shape], Shape | None]],
        group: dict[str, Any],
        owner: str,
    ):
        """`moments` says for each moment which shape it has for a parameter, None for nothing."""
        self.parameters, self.group, self.owner = parameters, group, owner
        tensors = list(parameters.values())
        xp = self.xp = array_module(tensors[0].data)
        dtype = tensors[0].dtype
        # A device reads 16 bytes at a time, where they begin at a multiple; in between are zeros.
        unit = 1 if xp is np else ALIGNED // dtype.itemsize
        places = np.cumsum([0, *(-(-p.size // unit) * unit for p in tensors)])
        self.starts = places[:-1]
        self.stops = self.starts + [p.size for p in tensors]
        self.counted = np.zeros(len(tensors) + 1, np.int64)
        make = xp.empty if xp is np else xp.zeros
        self.weights = make(int(places[-1]), dtype)
        self.gradients = make(int(places[-1]), dtype)
        self.views = [self.view(self.weights, i) for i in range(len(tensors))]
        self.moments: dict[str, Any] = {}
        self._places: dict[str, list[tuple[int, Shape] | None]] = {}
        for name, shape_of in moments.items():
            end, found = 0, []
            for p in tensors:
                shape = shape_of(p.shape)
                found.append(None if shape is None else (end, shape))
                end += 0 if shape is None else -(-math.prod(shape) // unit) * unit
            self._places[name], self.moments[name] = found, xp.zeros(end, dtype)
        _owners[id(self.weights)] = self
        self.adopt(take=True)

    def __deepcopy__(self, memo: dict) -> "Flat":
        """Buffers with the same numbers; copied parameters look into them as the others do here."""
        self.settle()
        new = memo[id(self)] = object.__new__(type(self))
        vars(new).update(vars(self))
        new.parameters = {name: copy.deepcopy(p, memo) for name, p in self.parameters.items()}
        new.group, new.counted = copy.deepcopy(self.group, memo), self.counted.copy()
        new.weights, new.gradients = self.weights.copy(), self.gradients.copy()
        new.moments = {name: moment.copy() for name, moment in self.moments.items()}
        new.views = [new.view(new.weights, i) for i in range(len(self.views))]
        _owners[id(new.weights)] = new
        pairs = zip(self.parameters.values(), new.parameters.values(), strict=True)
        for (p, q), old, view in zip(pairs, self.views, new.views, strict=True):
            if p.data is old:  # another array, given since, is taken in at the next step
                q.data = view
        return new

    @property
    def steps(self) -> np.ndarray:
        self.settle()
        return self.counted

    def settle(self) -> None:
        """Find out which of the counted steps a device has left out; the host waits, if any."""
        if self.owed is not None:
            self.owed.settle()

    def view(self, buffer: Any, i: int) -> Any:
        """The part of a buffer that belongs to parameter `i`, in its shape."""
        shape = list(self.parameters.values())[i].shape
        return buffer[self.starts[i] : self.stops[i]].reshape(shape)

    def moment(self, name: str, i: int) -> Any:
        """The part of a moment that belongs to parameter `i`; None if it has none."""
        if (place := self._places[name][i]) is None:
            return None
        start, shape = place
        return self.moments[name][start : start + int(np.prod(shape, dtype=np.int64))].reshape(
            shape
        )

    def copies(self) -> dict[str, list[Any]]:
        """Copies of the weights ('') and moments: of each parameter, None if it has none."""
        shapes = [p.shape for p in self.parameters.values()]
        weights = self.weights.copy()
        places = zip(self.starts.tolist(), self.stops.tolist(), shapes, strict=True)
        found: dict[str, list[Any]] = {"": [weights[a:b].reshape(shape) for a, b, shape in places]}
        for i, (p, view) in enumerate(zip(self.parameters.values(), self.views, strict=True)):
            if p._data is not view:  # replaced, and not taken in yet
                found[""][i] = p._data.copy()
        for name, kept in self._places.items():
            moment = self.moments[name].copy()
            parts: list[Any] = []
            for place in kept:
                if place is None:
                    parts.append(None)
                else:
                    start, shape = place
                    parts.append(moment[start : start + math.prod(shape)].reshape(shape))
            found[name] = parts
        return found

    def adopt(self, take: bool = False) -> None:
        """Take in parameters whose `.data` is not the view here: at first, or once replaced.

        Raises:
            StateError: unless it may `take` them, another optimizer that lives has them now.
        """
        for (name, p), view in zip(self.parameters.items(), self.views, strict=True):
            if p._data is not view:
                if not take:
                    self._check(name, p, view)
                view[...] = p.data
                p.data = view

    def fits(self) -> bool:
        """Whether every parameter's `.data` is its view here."""
        return all(
            p._data is view for p, view in zip(self.parameters.values(), self.views, strict=True)
        )

    def _check(self, name: str, p: Tensor, view: Any) -> None:
        """Raise unless the array that `p` was given can be taken in."""
        if p.shape != view.shape:
            raise ShapeError(
                f"optimizer: the data of '{name}' was replaced by an array of shape "
                f"{p.shape}, it must stay {view.shape}; make another optimizer"
            )
        if device_of(p.data) != device_of(view):
            raise BackendError(
                f"optimizer: '{name}' has moved to {device_of(p.data)}; move a model "
                f"before its optimizer is made, or make another one and let it go on from this "
                f"one's state: new.load_state_dict(old.state_dict())"
            )
        if p.dtype != view.dtype:
            raise DtypeError(
                f"optimizer: the data of '{name}' was replaced by an array of {p.dtype}, it must "
                f"stay {view.dtype}; make another optimizer"
            )
        other = _owners.get(id(getattr(p.data, "base", None)))
        if other is not None and any(q is p for q in other.parameters.values()):
            raise StateError(
                f"{self.owner}: '{name}' belongs to an optimizer ({other.owner}) that was made "
                f"after this one; a parameter can have one, see optim.check_ownership. Delete one "
                f"of them, or give them different parameters"
            )

    def collect(
        self, gradients: Mapping[str, Any], rows_of: Callable[["Flat", str, Any], Any]
    ) -> tuple[np.ndarray, dict[int, Any]]:
        """Copy the gradients that are not None into the buffer; the places of those parameters.

        And those that stay sparse, by place: `rows_of` says so, or makes them dense.
        """
        present, sparse = [], {}
        for i, (name, p) in enumerate(self.parameters.items()):
            if gradients[name] is None:
                continue
            g = as_array(gradients[name])
            if g.shape != p.shape:
                raise ShapeError(f"the gradient of '{name}' must be {p.shape}, got {g.shape}")
            if type(g) is SparseRows:
                g = rows_of(self, name, g)
                if type(g) is SparseRows:
                    sparse[i] = g
                    continue
            self.gradients[self.starts[i] : self.stops[i]] = g.reshape(-1)
            present.append(i)
        return np.array(present, np.int64), sparse


class LeftOut:
    """Steps that the host counts before a run, and of which the run leaves some out on a device.

    Kernels take `number` off the steps that they are told. The host does so once somebody asks.

    Attributes:
        places: pairs of a buffer and what of its `counted` goes up with each run.
        number: () int64 on the device: how many runs have left their step out since then.
    """

    def __init__(self, places: list[tuple[Flat, np.ndarray]], number: Any):
        self.places, self.number = places, number

    def begin(self) -> None:
        """Before a run: what others have left out is settled.

        So is this one's own where options depend on how many steps there were.
        """
        for flat, _ in self.places:
            if flat.owed is not self or any(map(callable, flat.group.values())):
                flat.settle()
        for flat, _ in self.places:
            flat.owed = self

    def settle(self) -> None:
        """Take what was left out off the counts; the host waits for the device."""
        device = self.number.device
        device.synchronize()  # a run may have been on any stream, and so may the next be
        number = int(self.number)
        for flat, places in self.places:
            flat.counted[places] -= number
            if flat.owed is self:
                flat.owed = None
        self.number.fill(0)
        device.synchronize()


memory.holds(
    Flat,
    lambda flat: [
        (f"weights of {flat.owner}", flat.weights),
        (f"gradients of {flat.owner}", flat.gradients),
        *((f"{name} of {flat.owner}", moment) for name, moment in flat.moments.items()),
    ],
    rank=0,
)


def adopt_all() -> None:
    """Take in what parameters were given: each by the optimizer that was made last.

    What would make an optimizer's step raise is left for that step to raise.
    """
    taken: set[int] = set()
    for flat in reversed(list(_owners.values())):
        tensors = {id(p) for p in flat.parameters.values()}
        if not (flat.fits() or taken & tensors):
            with suppress(MinigradError):
                flat.adopt()
        taken |= tensors


def rows_in(g: Any) -> SparseRows | None:
    """The rows of a sparse gradient, be it in a Tensor or not; None for any other."""
    g = g.data if type(g) is Tensor else g
    return g if type(g) is SparseRows else None


def runs(flat: Flat, present: np.ndarray) -> Iterator[tuple[slice, int]]:
    """Stretches of the buffers that present neighbours share, with their step count."""
    cuts = [0]
    for i, (a, b) in enumerate(pairwise(present)):
        if b != a + 1 or flat.steps[a] != flat.steps[b]:
            cuts.append(i + 1)
    for first, last in pairwise([*cuts, len(present)]):
        a, b = present[first], present[last - 1]
        yield slice(int(flat.starts[a]), int(flat.stops[b])), int(flat.steps[a])
