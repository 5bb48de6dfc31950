"""What a program is made of, before anything has a place: values, calls, and groups of rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import kernels
from minigrad.autodiff import Op
from minigrad.backend import to_numpy
from minigrad.batched import Batched
from minigrad.kernels.instructions import NotByGroup
from minigrad.kernels.layouts import FLOAT32, FLOAT64
from minigrad.programs.places import address_of


class Value:
    """An array of a program: its layout, and whose memory it shows.

    Attributes:
        shape, dtype, strides, ndim, size, flags.c_contiguous: of the array.
        root: the value whose memory this is; itself unless it is a view.
        offset: where it starts there, in bytes.
        array: what a root's memory is if that lies outside of the program's; else None.
        made: whether a call of the program computes it.
    """

    __slots__ = ("array", "dtype", "made", "offset", "place", "root", "shape", "strides")

    def __init__(self, x: Any, root: "Value | None" = None, offset: int = 0):
        self.shape, self.dtype, self.strides = x.shape, x.dtype, x.strides
        self.root, self.offset = root or self, offset
        self.array: Any = None
        self.made = False
        self.place: Any = None  # of a root: its `Storage`

    size = property(lambda self: math.prod(self.shape))
    ndim = property(lambda self: len(self.shape))
    flags = property(lambda self: self)
    whole = property(lambda self: self.size == self.root.size)  # all that its root has

    @property
    def c_contiguous(self) -> bool:
        step = self.dtype.itemsize
        for n, s in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and s != step:
                return not self.size
            step *= n
        return True

    @property
    def extent(self) -> tuple[int, int]:
        """The first byte and the one behind the last, seen from where it starts."""
        if not self.size:
            return 0, 0
        steps = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        low, high = (sum(s for s in steps if (s < 0) == down) for down in (True, False))
        return low, high + self.dtype.itemsize

    @property
    def address(self) -> int:
        return self.root.place.address + self.offset

    def view(self) -> Any:
        """The array itself, where the plan has put it."""
        return self.root.place.show(self.address, self)

    def view_of(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> "Value":
        """Another view of the same memory, from where this one begins."""
        found = Value(np.empty(0, self.dtype), self.root, self.offset)
        found.shape, found.strides = shape, strides
        return found

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(eq=False)
class Call:
    """One call: of an op, or of what several have been put together to.

    Attributes:
        name: as it is shown.
        op: what is called: an op, a kernel where calls have been put together, or what draws.
        inputs: values, and what else came: scalars, None, keys.
        params: static parameters.
        outputs: values.
        into: the input whose memory the first output takes over; None for its own.
        parts: the captured calls that it stands for; empty for one that was captured itself.
    """

    name: str
    op: Any
    inputs: list[Any]
    params: dict[str, Any]
    outputs: list[Value]
    into: Value | None = None
    parts: tuple["Call", ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """All static parameters, those that were not given too."""
        return {**self.op.static, **self.params} if type(self.op) is Op else self.params

    def is_given_by(self, likes: Any, strided: bool) -> bool:
        """Whether what a kernel tells that comes out, see its `accepts`, is what the call gives.

        Args:
            strided: whether outputs may lie in any layout; else they are C-contiguous.
        """
        if likes is None:
            return False
        likes = likes if type(likes) is tuple else (likes,)
        return len(likes) == len(self.outputs) and all(
            y.shape == like.shape and y.dtype == like.dtype and (strided or y.c_contiguous)
            for y, like in zip(self.outputs, likes, strict=True)
        )

    @property
    def reads(self) -> list[Value]:
        found = (x.value if type(x) is Hidden else x for x in self.inputs)
        return [x for x in found if type(x) is Value]


@dataclass
class Update:
    """A step of an optimizer: what it is given for each of its parameters; None if absent.

    Attributes:
        skip: a boolean: where a run finds it true, all stays as it was; None: it is made always.
    """

    optimizer: Any
    gradients: dict[str, Value | None]
    skip: Value | None = None

    @property
    def reads(self) -> list[Value]:
        return [v for v in (*self.gradients.values(), self.skip) if v is not None]


class Groups:
    """Groups of rows, each with parameters of its own, in one program (`nn.Grouped`).

    A step is captured as if all rows, sorted by group, belonged to the first group. Calls that read
    its parameters, or make gradients of them, are then done group by group, on the rows that a run
    finds in `offsets`: how a batch is split is data.

    Attributes:
        ids: the value of the group of each row, before sorting.
        tensors: for each parameter of the first group, those of all groups.
        offsets: (groups + 1,) where each group's rows begin.
    """

    def __init__(self, ids: Value, tensors: list[list[Any]]):
        self.ids, self.tensors = ids, tensors
        self.count = len(tensors[0])
        self.offsets = np.zeros(self.count + 1, np.int64)
        self.rows = ids.shape[0]
        self.tables: dict[Value, np.ndarray] = {}  # of a root: its address in each group
        self.alive: list[Any] = []

    def add_table(self, root: Value, arrays: list[Any]) -> None:
        self.alive += arrays
        self.tables[root] = np.array(list(map(address_of, arrays)), np.int64)

    def table(self, value: Value) -> np.ndarray | None:
        """The addresses of a value in each group; None if it is common to all, or a part."""
        return None if value.offset else self.tables.get(value.root)

    def owns(self, *values: Any) -> bool:
        return any(type(v) is Value and v.root in self.tables for v in values)

    def fields(self, rows: int) -> dict[str, Any]:
        """What a kernel is told: how many, where offsets lie, how many of `rows` a sample has.

        Raises:
            NotByGroup: the rows are not those of samples.
        """
        if rows % self.rows:
            raise NotByGroup
        return {"groups": self.count, "offsets": self.offsets, "each": rows // self.rows}

    def split(self, ids: Any) -> np.ndarray:
        """Find the rows of each group; which groups have some."""
        counts = np.bincount(to_numpy(ids), minlength=self.count)
        np.cumsum(counts, out=self.offsets[1:])
        return np.flatnonzero(counts)


class Hidden:
    """A value of which `vmap` hides leading axes: its levels, the outermost array's first."""

    __slots__ = ("levels", "value")

    def __init__(self, value: Value, levels: tuple[int, ...]):
        self.value, self.levels = value, levels

    def view(self) -> Batched:
        """What the op is called with."""
        x: Any = self.value.view()
        for level in reversed(self.levels):
            x = Batched(x, level)
        return x

    def __repr__(self) -> str:
        return repr(self.value)


def uncovered(x: Any) -> tuple[Any, tuple[int, ...]]:
    """The array below all hidden axes, and their levels, the outermost first."""
    levels = []
    while type(x) is Batched:
        levels.append(x.level)
        x = x.value
    return x, tuple(levels)


class Graph:
    """The calls of a step while they are rewritten: who makes a root, and who reads it.

    `machine` is what will run them: see `minigrad.programs.lowering.Host`.
    """

    def __init__(self, calls: list[Call], kept: set[Value], machine: Any):
        self.calls: list[Call | None] = list(calls)
        self.kept, self.machine = kept, machine
        self.maker: dict[Value, Call] = {}
        self.readers: dict[Value, list[Call]] = {}
        self.index: dict[Call, int] = {}
        for i, call in enumerate(calls):
            self._put(i, call)

    def _put(self, i: int, call: Call) -> None:
        self.calls[i], self.index[call] = call, i
        for y in call.outputs:
            self.maker[y.root] = call
        for x in call.reads:
            self.readers.setdefault(x.root, []).append(call)

    def plain(self) -> list[Call]:
        """The calls as they are now, without those of `vmap`, whose inputs hide an axis."""
        return [
            c for c in self.calls if c is not None and not any(type(x) is Hidden for x in c.inputs)
        ]

    def has(self, call: Call) -> bool:
        """Whether a call is still there."""
        return self.calls[self.index[call]] is call

    def only_reader(self, value: Value) -> Call | None:
        """The call that alone reads the memory of `value`; None if more is done with it."""
        readers = self.readers.get(value.root, [])
        return readers[0] if len(readers) == 1 and value.root not in self.kept else None

    def replace(self, old: Sequence[Call], new: Call, early: bool = False) -> None:
        """`new` in the place of the last of `old`; `early` in that of the first."""
        new.parts = tuple(part for c in old for part in c.parts or (c,))
        places = [self.index[c] for c in old]
        for i, call in zip(places, old, strict=True):
            self.calls[i] = None
            for x in call.reads:
                self.readers[x.root].remove(call)
        self._put(min(places) if early else max(places), new)


def kernels_know(call: Call) -> bool:
    """Whether all its arrays of floats are of one dtype that kernels are compiled for."""
    if not kernels.enabled() or any(type(x) is Hidden for x in call.inputs):
        return False
    kinds = {v.dtype for v in (*call.reads, *call.outputs) if v.dtype.kind == "f"}
    return len(kinds) == 1 and kinds <= {FLOAT32, FLOAT64}


def needed(calls: list[Call], kept: set[Value]) -> list[Call]:
    """The calls that something kept depends on."""
    wanted, found = set(kept), []
    for call in reversed(calls):
        if call.params.get("effect") or any(y.root in wanted for y in call.outputs):
            found.append(call)
            wanted.update(x.root for x in call.reads)
    return found[::-1]
