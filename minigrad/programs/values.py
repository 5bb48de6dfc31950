"""What a program is made of, before anything has a place: values, calls, and groups of rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad import kernels
from minigrad.batched import Batched


class Value:
    """An array of a program: its layout, and whose memory it shows.

    Attributes:
        shape, dtype, strides: of the array.
        root: the value whose memory this is; itself unless it is a view.
        offset: where it starts there, in bytes.
        array: what a root's memory is if that lies outside of the program's; else None.
        made: whether a call of the program computes it.
    """

    __slots__ = ("array", "dtype", "made", "name", "offset", "place", "root", "shape", "strides")

    def __init__(self, x: np.ndarray, root: "Value | None" = None, offset: int = 0):
        self.shape, self.dtype, self.strides = x.shape, x.dtype, x.strides
        self.root, self.offset = root or self, offset
        self.array: np.ndarray | None = None
        self.made, self.name = False, ""
        self.place: Any = None  # of a root: its `Storage`

    size = property(lambda self: math.prod(self.shape))

    @property
    def contiguous(self) -> bool:
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

    def view(self) -> np.ndarray:
        """The array itself, where the plan has put it."""
        return array_at(self.address, self)

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Memory:
    """What NumPy takes for an array: an address with a layout."""

    def __init__(self, address: int, value: Value):
        self.__array_interface__ = {
            "data": (address, False),
            "shape": value.shape,
            "strides": value.strides,
            "typestr": value.dtype.str,
            "version": 3,
        }


def array_at(address: int, value: Value) -> np.ndarray:
    return np.asarray(Memory(address, value))


@dataclass(eq=False)
class Call:
    """One call: of an op, or of what several have been put together to.

    Attributes:
        name: the op's, or the handler's of a call that was made here.
        op: the op; None for a call that was made here.
        inputs: values, and what else came: scalars, None, keys.
        params: static parameters.
        outputs: values.
        into: the input whose memory the first output takes over; None for its own.
    """

    name: str
    op: Any
    inputs: list[Any]
    params: dict[str, Any]
    outputs: list[Value]
    into: Value | None = None
    line: str = ""

    @property
    def reads(self) -> list[Value]:
        found = (x.value if type(x) is Hidden else x for x in self.inputs)
        return [x for x in found if type(x) is Value]


@dataclass(eq=False)
class Storage:
    """A place for roots that take over from each other; `first` to `last` are indices of calls."""

    size: int
    first: int
    last: int
    address: int = 0
    offset: int = -1


@dataclass
class Update:
    """A step of an optimizer: what it is given for each of its parameters; None if absent."""

    optimizer: Any
    gradients: dict[str, Value | None]


class Region:
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
        self.groups = len(tensors[0])
        self.offsets = np.zeros(self.groups + 1, np.int64)
        self.rows = ids.shape[0]
        self.tables: dict[Value, np.ndarray] = {}  # of a root: its address in each group
        self.alive: list[Any] = []

    def add_table(self, root: Value, arrays: list[np.ndarray]) -> None:
        self.alive += arrays
        self.tables[root] = np.array([a.ctypes.data for a in arrays], np.int64)

    def table(self, value: Any) -> int:
        """The address of the addresses of a value in each group; 0 if it is common to all."""
        table = self.tables.get(value.root) if type(value) is Value else None
        return 0 if table is None or value.offset else table.ctypes.data

    def owns(self, *values: Any) -> bool:
        return any(type(v) is Value and v.root in self.tables for v in values)

    def words(self, rows: int) -> list[int]:
        """What a handler is told: groups, where offsets lie, how many of `rows` a sample has."""
        return [self.groups, self.offsets.ctypes.data, rows // self.rows]

    def split(self, ids: np.ndarray) -> np.ndarray:
        """Find the rows of each group; which groups have some."""
        counts = np.bincount(ids, minlength=self.groups)
        np.cumsum(counts, out=self.offsets[1:])
        return np.flatnonzero(counts)


class NotStacked(Exception):
    """A call that cannot be done group by group."""


class Hidden:
    """A value of which `vmap` hides leading axes: its levels, the outermost array's first."""

    __slots__ = ("levels", "value")

    def __init__(self, value: Value, levels: tuple[int, ...]):
        self.value, self.levels = value, levels

    def view(self) -> Batched:
        """What the op is called with."""
        x = self.value.view()
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


class Drawn:
    """The key that a run draws as its number `index`."""

    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index


@dataclass
class Instruction:
    """One line of a program: a handler with its words, or a function of no arguments."""

    name: str
    handler: int = 0
    words: list[int] = field(default_factory=list)
    function: Callable[[], None] | None = None
    work: int = 0  # floating-point operations, roughly
    shapes: str = ""


def alike(*values: Value) -> bool:
    """Whether all are contiguous, of one shape and one dtype that kernels know."""
    first = values[0]
    return (
        all(type(v) is Value for v in values)
        and first.dtype.kind == "f"
        and first.dtype.itemsize >= 4
        and all(v.contiguous and v.shape == first.shape and v.dtype == first.dtype for v in values)
    )


def kernels_know(call: Call) -> bool:
    """Whether all its arrays of floats are of one dtype that handlers are compiled for."""
    if not kernels.enabled() or any(type(x) is Hidden for x in call.inputs):
        return False
    kinds = {v.dtype for v in (*call.reads, *call.outputs) if v.dtype.kind == "f"}
    return len(kinds) == 1 and kinds <= {np.dtype("float32"), np.dtype("float64")}
