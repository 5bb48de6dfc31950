"""What a captured step becomes: a plan of its memory, and the instructions that run in it.

A step arrives as the list of its op calls (`minigrad.capture`). On the way to a program

1. calls whose results nobody reads are dropped;
2. neighbours are put together where one pass over memory serves both (`_RULES`);
3. each call becomes a handler of `minigrad.kernels.machine`, a NumPy function that writes to a
   given array, or, where there is neither, the op itself and a copy;
4. every array gets its place in one block of memory, which it shares with arrays that live at
   other times; gradients of parameters lie where the optimizer reads them.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad import kernels, random
from minigrad.backend import is_array
from minigrad.errors import OutOfRangeError
from minigrad.writes import wrote

ALIGNED = 64


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
        return _array_at(self.address, self)

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class _Memory:
    """What NumPy takes for an array: an address with a layout."""

    def __init__(self, address: int, value: Value):
        self.__array_interface__ = {
            "data": (address, False),
            "shape": value.shape,
            "strides": value.strides,
            "typestr": value.dtype.str,
            "version": 3,
        }


def _array_at(address: int, value: Value) -> np.ndarray:
    return np.asarray(_Memory(address, value))


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
        return [x for x in self.inputs if type(x) is Value]


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


# ------------------------------------------------------------------------------- putting together


class _Graph:
    """The calls of a step while they are rewritten: who makes a root, and who reads it."""

    def __init__(self, calls: list[Call], kept: set[Value]):
        self.calls, self.kept = calls, kept
        self.maker: dict[Value, Call] = {}
        self.readers: dict[Value, list[Call]] = {}
        self.index: dict[Call, int] = {}
        for i, call in enumerate(calls):
            self.index[call] = i
            for y in call.outputs:
                self.maker[y.root] = call
            for x in call.reads:
                self.readers.setdefault(x.root, []).append(call)

    def only_reader(self, value: Value) -> Call | None:
        """The call that alone reads the memory of `value`; None if more is done with it."""
        readers = self.readers.get(value.root, [])
        return readers[0] if len(readers) == 1 and value.root not in self.kept else None

    def replace(self, old: Sequence[Call], new: Call) -> None:
        """`new` in the place of the last of `old`."""
        place = max(self.index[c] for c in old)
        for call in old:
            self.calls[self.index[call]] = None
            for x in call.reads:
                self.readers[x.root].remove(call)
        self.calls[place] = new
        self.index[new] = place
        for y in new.outputs:
            self.maker[y.root] = new
        for x in new.reads:
            self.readers.setdefault(x.root, []).append(new)


def _products(graph: _Graph) -> None:
    """Matrix products, and linear layers, become the product of the machine."""
    for call in list(filter(None, graph.calls)):
        if call.op is None or call.name not in ("matmul", "linear") or not _kernels_know(call):
            continue
        y, a, b = call.outputs[0], *call.inputs[:2]
        if type(a) is not Value or type(b) is not Value or not y.contiguous or not y.size:
            continue
        if not a.dtype == b.dtype == y.dtype or y.dtype.kind != "f" or y.dtype.itemsize < 4:
            continue
        bias = None
        if call.name == "linear":
            bias = call.inputs[2] if len(call.inputs) > 2 else None
            (n, k), m = b.shape, a.size // max(a.shape[-1], 1)
            if not a.contiguous or not b.contiguous or not k:
                continue
            if bias is not None and (bias.dtype != y.dtype or not bias.contiguous):
                continue
            layout = (k, False, k, True)
        else:
            if len(a.shape) != 2 or len(b.shape) != 2:
                continue
            (m, k), n = a.shape, b.shape[1]
            left, right = _rows_of(a), _rows_of(b)
            if left is None or right is None or not k:
                continue
            layout = (*left, *right)
        params = {"m": m, "n": n, "k": k, "layout": layout, "add": False, "relu": False}
        graph.replace([call], Call("product", None, [a, b, bias], params, [y]))


def _rows_of(x: Value) -> tuple[int, bool] | None:
    """Elements between rows of a matrix, and whether it lies transposed; None if it is neither."""
    item = x.dtype.itemsize
    (m, n), (s, t) = x.shape, x.strides
    if s % item or t % item:
        return None
    if t == item or n == 1:
        if s >= n * item or m == 1:
            return max(s // item, n), False
    if s == item or m == 1:
        if t >= m * item or n == 1:
            return max(t // item, m), True
    return None


def _activations(graph: _Graph) -> None:
    """relu right after a linear layer; and the derivative of relu in one pass."""
    for call in list(filter(None, graph.calls)):
        if call.name == "relu" and call.op is not None:
            x, y = call.inputs[0], call.outputs[0]
            maker = graph.maker.get(x.root)
            if (
                maker is not None
                and maker.name == "product"
                and maker.inputs[2] is not None
                and graph.only_reader(x) is call
                and x.size == y.size
                and x.contiguous
                and y.contiguous
            ):
                params = maker.params | {"relu": True}
                graph.replace([maker, call], Call("product", None, maker.inputs, params, [y]))
        elif call.name == "multiply" and call.op is not None and len(call.inputs) == 2:
            g, mask = call.inputs
            if type(mask) is not Value or type(g) is not Value:
                continue
            maker = graph.maker.get(mask.root)
            if maker is None or maker.name != "greater" or graph.only_reader(mask) is not call:
                continue
            y, zero = maker.inputs
            if type(y) is Value and type(zero) in (int, float) and zero == 0:
                if (
                    _alike(g, y, call.outputs[0])
                    and maker.outputs[0].shape == mask.shape == y.shape
                ):
                    graph.replace([maker, call], Call("relu_grad", None, [g, y], {}, call.outputs))


def _alike(*values: Value) -> bool:
    """Whether all are contiguous, of one shape and one dtype that kernels know."""
    first = values[0]
    return (
        first.dtype.kind == "f"
        and first.dtype.itemsize >= 4
        and all(v.contiguous and v.shape == first.shape and v.dtype == first.dtype for v in values)
    )


def _norms(graph: _Graph) -> None:
    """A sum right before a layer norm; and the sum of gradients right after its derivative."""
    for call in list(filter(None, graph.calls)):
        if (
            call.name == "add"
            and call.op is not None
            and _alike(*call.outputs)
            and len(call.reads) == 2
        ):
            a, b = call.inputs
            if not _alike(a, b, call.outputs[0]):
                continue
            total = call.outputs[0]
            after = next((c for c in graph.calls[graph.index[call] + 1 :] if c is not None), None)
            if after is not None and after.name == "layer_norm" and after.op is not None:
                x, weight, bias = after.inputs
                if x.root is total.root and _norm_fits(x, weight, bias, after.outputs[0]):
                    if x.contiguous and x.size == total.size:
                        new = Call(
                            "layer_norm", None, [a, weight, bias, b], after.params,
                            [after.outputs[0], total],
                        )  # fmt: skip
                        graph.replace([call, after], new)
                        continue
            for dx, r in ((a, b), (b, a)):
                maker = graph.maker.get(dx.root)
                if (
                    maker is not None
                    and maker.name == "layer_norm_grad"
                    and len(maker.inputs) == 3
                    and dx.root is maker.outputs[0].root
                    and dx.size == dx.root.size
                    and graph.only_reader(dx) is call
                    and _norm_fits(maker.inputs[1], maker.inputs[2], None, maker.outputs[0])
                    and (
                        r.root not in graph.maker
                        or graph.index[graph.maker[r.root]] < graph.index[maker]
                    )
                ):
                    outputs = [total, *maker.outputs[1:]]
                    place = graph.index[maker]
                    new = Call("layer_norm_grad", None, [*maker.inputs, r], maker.params, outputs)
                    graph.replace([maker, call], new)
                    graph.calls[graph.index[new]] = None  # as early as it was
                    graph.calls[place] = new
                    graph.index[new] = place
                    break


def _norm_fits(x: Value, weight: Any, bias: Any, y: Value) -> bool:
    d = x.shape[-1:]
    parts = [p for p in (weight, bias) if p is not None]
    return (
        bool(x.size)
        and all(
            type(p) is Value and p.shape == d and p.contiguous and p.dtype == x.dtype for p in parts
        )
        and bool(parts)
        and _alike(x, y)
    )


def _sums(graph: _Graph) -> None:
    """A product that is added to what is not read again is added in place."""
    for call in list(filter(None, graph.calls)):
        if call.name != "add" or call.op is None or len(call.reads) != 2:
            continue
        a, b = call.inputs
        y = call.outputs[0]
        if not _alike(a, b, y):
            continue
        for total, term in ((a, b), (b, a)):
            maker, before = graph.maker.get(term.root), graph.maker.get(total.root)
            if (
                maker is not None
                and before is not None
                and maker is not before
                and maker.name == "product"
                and not maker.params["add"]
                and maker.inputs[2] is None
                and graph.only_reader(term) is call
                and term.size == term.root.size
                and total.size == total.root.size
                and total.root not in graph.kept
                and total.root.array is None
                and graph.index[before] < graph.index[maker]
                and all(
                    graph.index[c] <= graph.index[maker] or c is call
                    for c in graph.readers[total.root]
                )
                and all(x.root is not total.root for x in maker.reads)
            ):
                params = maker.params | {"add": True}
                new = Call("product", None, [*maker.inputs, total], params, [y], into=total)
                graph.replace([maker, call], new)
                break


def _embeddings(graph: _Graph) -> None:
    """The gradient of an embedding leaves out the row of padding by itself."""
    for call in list(filter(None, graph.calls)):
        if call.name != "embedding_grad" or call.op is None:
            continue
        g, ids = call.inputs
        rows, padding, old = call.params["rows"], -1, [call]
        if type(ids) is not Value or ids.dtype != np.int64 or not ids.contiguous:
            continue
        chosen = graph.maker.get(g.root)
        if chosen is not None and chosen.name in ("where", "choice") and len(chosen.inputs) == 3:
            cond, zero, x = chosen.inputs
            test = graph.maker.get(cond.root) if type(cond) is Value else None
            if (
                test is not None
                and test.name == "equal"
                and type(test.inputs[0]) is Value
                and test.inputs[0].root is ids.root
                and type(test.inputs[1]) is int
                and type(zero) in (int, float)
                and zero == 0
                and graph.only_reader(g) is call
                and cond.size == ids.size
                and type(x) is Value
                and x.shape == g.shape
            ):
                padding, g, old = test.inputs[1], x, [chosen, call]
        if _alike(g, g) and call.outputs[0].contiguous and g.shape[:-1] == ids.shape:
            params = {"rows": rows, "padding": padding}
            graph.replace(old, Call("embedding_grad", None, [g, ids], params, call.outputs))


_RULES = (_products, _activations, _norms, _sums, _embeddings)


def _needed(calls: list[Call], kept: set[Value]) -> list[Call]:
    """The calls that something kept depends on."""
    wanted, found = set(kept), []
    for call in reversed(calls):
        if call.params.get("effect") or any(y.root in wanted for y in call.outputs):
            found.append(call)
            wanted.update(x.root for x in call.reads)
    return found[::-1]


# ----------------------------------------------------------------------------------- instructions


def _bits(x: float) -> int:
    return int(np.float64(x).view(np.int64))


class _Writer:
    """Turns calls into instructions, once every value has its place."""

    def __init__(self, scratch, status: np.ndarray, keys: list, region: Region | None):
        self.scratch, self.keys, self.region = scratch, keys, region
        self.status = status.ctypes.data

    def instructions(self, call: Call, number: int) -> list[Instruction]:
        shapes = f"{', '.join(map(repr, call.reads))} -> {', '.join(map(repr, call.outputs))}"
        write = getattr(self, f"_{call.name.lstrip('_')}", None) if _kernels_know(call) else None
        found = write(call, number) if write is not None else None
        by_group = self.region is not None and self.region.owns(*call.reads, *call.outputs)
        if by_group and (found is None or call.name not in _BY_GROUP):
            raise NotStacked(f"'{call.name}' of {shapes}")
        if found is None:
            found = [Instruction(call.name, function=_in_python(call, self.keys))]
        for instruction in found:
            instruction.shapes = shapes
        return found

    def _by_group(self, rows: int, *values: Any) -> list[int]:
        """Words about groups, if one of the values is a group's own; else none."""
        if self.region is None or not self.region.owns(*values):
            return [0, 0, 0]
        if rows % self.region.rows:
            raise NotStacked(f"{rows} rows of {self.region.rows} samples")
        return self.region.words(rows)

    def _place(self, value: Value) -> int:
        """The address of a value, or that of its addresses in each group."""
        return (self.region is not None and self.region.table(value)) or value.address

    def _native(self, name: str, dtype: Any, words: list[int], work: int) -> list[Instruction]:
        from minigrad.kernels import machine  # imports Numba: only for who captures

        address = getattr(machine, name)(np.dtype(dtype))
        return [Instruction(name, address, [int(w) for w in words], work=work)]

    def _product(self, call: Call, _: int) -> list[Instruction]:
        from minigrad.kernels import blas

        (a, b, bias), y, p = call.inputs[:3], call.outputs[0], call.params
        m, n, k = p["m"], p["n"], p["k"]
        lda, flip_a, ldb, flip_b = p["layout"]
        region, routine = self.region, blas.routine(y.dtype)
        if region is not None and region.owns(y):
            if not flip_a or flip_b or p["add"] or region.owns(a, b, bias):
                raise NotStacked("a product")
            words = [region.table(y), a.address, b.address, 0, m, n, k, n, lda, ldb, 0, 0, 0, 0]
            words += [routine, *self._by_group(k, y)]
            return self._native("group_products", y.dtype, words, 2 * m * n * k)
        words = [
            y.address, a.address, b.address, bias.address if bias is not None else 0,
            m, n, k, n, lda, ldb, flip_a, flip_b, p["add"], p["relu"], routine,
        ]  # fmt: skip
        if region is not None and region.owns(a, b, bias):
            whole = [v for v in (b, bias) if v is not None]
            if flip_a or region.owns(a) or not all(region.table(v) for v in whole):
                raise NotStacked("a product")
            words += [*self._by_group(m, b), region.table(b)]
            words += [region.table(bias) if bias is not None else 0]
        return self._native("product", y.dtype, words, 2 * m * n * k)

    def _relu(self, call: Call, _: int) -> list[Instruction] | None:
        x, y = call.inputs[0], call.outputs[0]
        if not _alike(x, y):
            return None
        return self._native("relu", y.dtype, [y.address, x.address, y.size], y.size)

    def _relu_grad(self, call: Call, _: int) -> list[Instruction]:
        (g, y), dx = call.inputs, call.outputs[0]
        return self._native(
            "relu_grad", y.dtype, [dx.address, g.address, y.address, y.size], y.size
        )

    def _add(self, call: Call, _: int) -> list[Instruction] | None:
        (a, b), y = call.inputs, call.outputs[0]
        if type(a) is not Value or type(b) is not Value or not y.size:
            return None
        if a.shape != y.shape:
            a, b = b, a
        trailing = b.shape == y.shape[len(y.shape) - len(b.shape) :]
        if not _alike(a, y) or not b.contiguous or b.dtype != y.dtype or not trailing:
            return None
        words = [y.address, a.address, b.address, y.size, b.size]
        return self._native("add", y.dtype, words, y.size)

    def _sum(self, call: Call, _: int) -> list[Instruction] | None:
        x, y = call.inputs[0], call.outputs[0]
        axis = call.params.get("axis")
        if len(x.shape) != 2 or axis not in (0, (0,), -2) or not _alike(x, x) or not x.size:
            return None
        if y.dtype != x.dtype or not y.contiguous:
            return None
        words = [self._place(y), x.address, *x.shape, x.shape[1], *self._by_group(x.shape[0], y)]
        return self._native("column_sums", y.dtype, words, x.size)

    def _layer_norm(self, call: Call, _: int) -> list[Instruction] | None:
        x, weight, bias, *more = call.inputs
        y = call.outputs[0]
        if bias is None or not _norm_fits(x, weight, bias, y):
            return None
        d = x.shape[-1]
        words = [y.address, x.address, self._place(weight), self._place(bias), x.size // d, d]
        words += [_bits(call.params.get("eps", 1e-5))]
        words += [more[0].address, call.outputs[1].address] if more else [0, 0]
        words += self._by_group(x.size // d, weight, bias)
        return self._native("layer_norm", y.dtype, words, 10 * y.size)

    def _layer_norm_grad(self, call: Call, number: int) -> list[Instruction] | None:
        g, x, weight, *more = call.inputs
        dx, dweight, dbias = call.outputs
        if not _norm_fits(x, weight, None, dx) or not _alike(g, x):
            return None
        d = x.shape[-1]
        sums = self.scratch(call)
        chunks = sums.shape[0]
        words = [dx.address, sums.address, g.address, x.address, self._place(weight)]
        words += [x.size // d, d, chunks, _bits(call.params.get("eps", 1e-5))]
        words += [more[0].address if more else 0]
        if self.region is not None and self.region.owns(weight):
            words += [
                *self._by_group(x.size // d, weight),
                *map(self.region.table, (dweight, dbias)),
            ]
            if not all(words[-2:]):
                raise NotStacked("a layer norm")
            return self._native("layer_norm_grad", dx.dtype, words, 20 * dx.size)
        found = self._native("layer_norm_grad", dx.dtype, words, 20 * dx.size)
        for i, y in enumerate((dweight, dbias)):
            if y.root.place is not None:
                words = [y.address, sums.address + i * d * x.dtype.itemsize, chunks, d, 2 * d]
                found += self._native("column_sums", y.dtype, words, chunks * d)
        return found

    def _attention(self, call: Call, _: int) -> list[Instruction] | None:
        words = self._attention_words(call, *call.inputs, out=call.outputs[0])
        if words is None:
            return None
        B, T, S, D, E = words[5:10]
        return self._native("attention", call.outputs[0].dtype, words, 2 * B * T * S * (D + E))

    def _attention_grad(self, call: Call, _: int) -> list[Instruction] | None:
        g, *rest = call.inputs
        words = self._attention_words(call, *rest, out=g)
        if words is None or not all(y.contiguous for y in call.outputs):
            return None
        places = [y.address for y in call.outputs]
        B, T, S, D, E = words[5:10]
        work = 2 * B * T * S * (3 * D + 2 * E)
        return self._native("attention_grad", g.dtype, [*words, *places], work)

    def _attention_words(self, call, q, k, v, mask=None, key=None, *, out):
        p = call.params
        if key is not None or p.get("dropout", 0.0) or len(q.shape) != 3:
            return None
        if not (_alike(q, q) and _alike(k, k) and _alike(v, v) and _alike(out, out)) or not q.size:
            return None
        if len({x.dtype for x in (q, k, v, out)}) > 1 or not k.size:
            return None
        (B, T, D), (_, S, E) = q.shape, v.shape
        heads = p.get("heads", 1)
        side = (0, 0, 0, 0)
        if mask is not None:
            if type(mask) is not Value or mask.dtype != bool or not mask.contiguous:
                return None
            side = (1,) * (4 - len(mask.shape)) + mask.shape
            if any(n not in (1, m) for n, m in zip(side, (B, heads, T, S), strict=True)):
                return None
        scale = p.get("scale")
        scale = math.sqrt(heads / max(D, 1)) if scale is None else scale
        address = self.status if mask is None else mask.address
        return [
            out.address, q.address, k.address, v.address, address, B, T, S, D, E, heads,
            p.get("causal", False), _bits(scale), *side,
        ]  # fmt: skip

    def _cross_entropy_rows(self, call: Call, number: int) -> list[Instruction] | None:
        (x, target), y = call.inputs, call.outputs[0]
        words = self._classes(call, x, target, number)
        if words is None or not y.contiguous:
            return None
        return self._native("cross_entropy_rows", x.dtype, [y.address, *words], 5 * x.size)

    def _cross_entropy_rows_grad(self, call: Call, number: int) -> list[Instruction] | None:
        (g, x, target), dx = call.inputs, call.outputs[0]
        words = self._classes(call, x, target, number)
        if words is None or not _alike(x, dx):
            return None
        many = g.strides != (0,) and g.size != 1
        if many and not g.contiguous:
            return None
        words = [dx.address, *words, g.address, many]
        return self._native("cross_entropy_rows_grad", x.dtype, words, 10 * x.size)

    def _classes(self, call: Call, x: Value, target: Any, number: int) -> list[int] | None:
        if not _alike(x, x) or len(x.shape) != 2 or not x.size or type(target) is not Value:
            return None
        if target.dtype != np.int64 or not target.contiguous:
            return None
        p = call.params
        return [
            x.address, target.address, *x.shape, p.get("ignore_index", -100),
            _bits(p.get("label_smoothing", 0.0)), self.status, number + 1,
        ]  # fmt: skip

    def _embedding(self, call: Call, number: int) -> list[Instruction] | None:
        (ids, table), y = call.inputs, call.outputs[0]
        if type(ids) is not Value or ids.dtype != np.int64 or not ids.contiguous:
            return None
        if not _alike(table, table) or not _alike(y, y) or not table.size:
            return None
        words = [y.address, self._place(table), ids.address, ids.size, *table.shape, self.status]
        words += [number + 1, *self._by_group(ids.size, table)]
        return self._native("embedding", y.dtype, words, y.size)

    def _reorder_rows(self, call: Call, number: int) -> list[Instruction] | None:
        (x, order, _), y = call.inputs, call.outputs[0]
        if not _alike(x, y) or order.dtype != np.int64 or not order.contiguous or not x.size:
            return None
        n = x.shape[0]
        words = [y.address, x.address, order.address, n, n, x.size // n, self.status, number + 1]
        return self._native("embedding", y.dtype, words, y.size)

    def _embedding_grad(self, call: Call, number: int) -> list[Instruction] | None:
        if call.op is not None:
            return None
        (g, ids), dw = call.inputs, call.outputs[0]
        words = [self._place(dw), g.address, ids.address, ids.size, *dw.shape]
        words += [call.params["padding"], self.status, number + 1, *self._by_group(ids.size, dw)]
        return self._native("embedding_grad", dw.dtype, words, g.size)


_BY_GROUP = {"product", "sum", "layer_norm", "layer_norm_grad", "embedding", "embedding_grad"}


def _kernels_know(call: Call) -> bool:
    """Whether all its arrays of floats are of one dtype that handlers are compiled for."""
    if not kernels.prefer(True):
        return False
    kinds = {v.dtype for v in (*call.reads, *call.outputs) if v.dtype.kind == "f"}
    return len(kinds) == 1 and kinds <= {np.dtype("float32"), np.dtype("float64")}


def _in_python(call: Call, keys: list) -> Callable[[], None]:
    """A function that computes a call with NumPy, into the places of its outputs."""
    inputs = [x.view() if type(x) is Value else x for x in call.inputs]
    outputs = [y.view() for y in call.outputs]
    ufunc = getattr(np, call.name, None)
    if type(ufunc) is np.ufunc and not call.params and len(outputs) == 1:
        y = outputs[0]
        plain = all(is_array(x) or type(x) in (int, float) for x in inputs)
        if plain and ufunc.nin == len(inputs) and _gives(ufunc, inputs) == y.dtype:
            return lambda: ufunc(*inputs, out=y)
    op, params = call.op, call.params

    def compute() -> None:
        values = [keys[x.index] if type(x) is Drawn else x for x in inputs]
        found = op(*values, **params)
        for y, new in zip(outputs, found if type(found) is tuple else (found,), strict=True):
            y[...] = new

    return compute


def _gives(ufunc: np.ufunc, inputs: Sequence[Any]) -> Any:
    """The dtype that a ufunc gives; None if that is not known without computing."""
    try:
        types = (x.dtype if is_array(x) else type(x) for x in inputs)
        return ufunc.resolve_dtypes((*types, None))[-1]
    except TypeError:
        return None


# ---------------------------------------------------------------------------------------- programs


class Program:
    """A captured step, ready to run again and again.

    Args:
        calls: the op calls, in order.
        arguments: the values that come in with each call.
        results: the values that go out.
        updates: steps of optimizers, all at the end.
        assignments: arrays that get values at the end.
        keys_drawn: how many random keys a run draws.
        region: rows that belong to groups, if any do.
        threads: how many may work on it.
    """

    def __init__(
        self,
        calls: list[Call],
        arguments: list[Value],
        results: list[Value],
        updates: list[Update],
        assignments: list[tuple[np.ndarray, Value]],
        keys_drawn: int,
        threads: int,
        region: Region | None = None,
    ):
        self.region = region
        self.arguments, self.results, self.updates = arguments, results, updates
        self.assignments, self.keys_drawn = assignments, keys_drawn
        self.keys: list[Any] = []
        kept = {v.root for v in results} | {v.root for _, v in assignments}
        kept |= {g.root for u in updates for g in u.gradients.values() if g is not None}
        self.captured = len(calls)
        calls = _needed(calls, kept)
        graph = _Graph(calls, kept)
        if kernels.prefer(True):
            for rule in _RULES:
                rule(graph)
        self.calls = [c for c in graph.calls if c is not None]
        self.status = np.zeros(1, np.int64)
        self._scratch: dict[Call, Value] = {}
        self._plan(kept)
        writer = _Writer(self._scratch.__getitem__, self.status, self.keys, region)
        self.instructions: list[Instruction] = []
        for i, call in enumerate(self.calls):
            self.instructions += writer.instructions(call, i)
        self._finish_updates()
        self._assemble(threads)

    # -- memory

    def _plan(self, kept: set[Value]) -> None:
        """Give every root its place."""
        self.keep_alive: list[Any] = []
        storages: list[Storage] = []
        end = len(self.calls)
        self._place_gradients()
        for i, call in enumerate(self.calls):
            if call.name == "layer_norm_grad" and _kernels_know(call):
                rows = call.inputs[1].size // max(call.inputs[1].shape[-1], 1)
                chunks = min(8, max(1, -(-rows // 64)))
                example = np.empty((chunks, 2, call.inputs[1].shape[-1]), call.outputs[0].dtype)
                self._scratch[call] = scratch = Value(example)
                scratch.place = Storage(example.nbytes, i, i)
                storages.append(scratch.place)
        last: dict[Value, int] = {}
        for i, call in enumerate(self.calls):
            for x in call.reads:
                last[x.root] = i
        for v in kept:
            last[v] = end
        for v in (*self.results, *(v for _, v in self.assignments)):
            if v.root.array is not None and v.root.place is None:
                self._place_outside(v.root, end)
        for v in self.arguments:
            v.root.place = Storage(_bytes(v.root), -1, end)
            storages.append(v.root.place)
        for i, call in enumerate(self.calls):
            for x in call.reads:
                if x.root.place is None:
                    self._place_outside(x.root, end)
            for j, y in enumerate(call.outputs):
                root = y.root
                if root.place is not None:
                    continue
                old = call.into.root.place if call.into is not None and j == 0 else None
                if old is None and j == 0:
                    old = self._dying(call, i, y, last)
                if old is not None:
                    root.place = old
                    old.last = max(old.last, last.get(root, i))
                    continue
                root.place = Storage(_bytes(root), i, last.get(root, i))
                storages.append(root.place)
        self.bytes = _arrange(storages)
        arena = np.empty(self.bytes + ALIGNED, np.uint8)
        start = -arena.ctypes.data % ALIGNED + arena.ctypes.data
        for storage in storages:
            storage.address = start + storage.offset
        arena[:] = 0  # touched once, so that the first run does not pay for the pages
        self.keep_alive.append(arena)

    def _place_outside(self, root: Value, end: int) -> None:
        """A root that lies where it came from: a parameter, a buffer, a constant."""
        root.place = Storage(0, -1, end, root.array.ctypes.data, 0)
        self.keep_alive.append(root.array)

    def _dying(self, call: Call, i: int, y: Value, last: dict[Value, int]) -> Storage | None:
        """The place of an input that `y` may take over: of its size, and not read again."""
        if call.name not in _IN_PLACE:
            return None
        for x in call.reads:
            root = x.root
            if (
                root.place is not None
                and root.place.size
                and root.place.last == i == last.get(root)
                and x.shape == y.shape
                and x.strides == y.strides
                and x.dtype == y.dtype
                and _bytes(root) == _bytes(y.root)
                and y.offset == x.offset == 0
            ):
                return root.place
        return None

    def _place_gradients(self) -> None:
        """Let gradients be computed where the optimizer reads them."""
        self.copies: list[tuple[np.ndarray, Value]] = []
        made = {y.root for call in self.calls if call.into is None for y in call.outputs}
        taken = {c.into.root for c in self.calls if c.into is not None}
        outside = {v.root for v in self.results}
        for update in self.updates:
            flat_of = {
                name: (flat, i)
                for flat in update.optimizer.flats
                for i, name in enumerate(flat.parameters)
            }
            of_groups = self._group_names(update)
            for name, g in update.gradients.items():
                if g is None:
                    continue
                flat, i = flat_of[name]
                target = flat.view(flat.gradients, i)
                root = g.root
                if (names := of_groups.get(name)) is not None:
                    if root in self.region.tables or not g.contiguous or g.offset:
                        raise NotStacked(f"the gradient of '{name}'")
                    places = [flat_of[n] for n in names]
                    views = [f.view(f.gradients, j) for f, j in places]
                    self.region.add_table(root, views)
                fits = (
                    root in made
                    and root.place is None
                    and root not in taken
                    and root not in outside
                    and g.contiguous
                    and root.size == g.size == target.size
                    and g.dtype == target.dtype
                    and root.contiguous
                )
                if fits:
                    root.place = Storage(0, -1, len(self.calls), target.ctypes.data, 0)
                    self.keep_alive.append(flat.gradients)
                else:
                    self.copies.append((target, g))

    def _group_names(self, update: Update) -> dict[str, list[str]]:
        """For each parameter of the first group: what the optimizer calls those of all groups."""
        if self.region is None:
            return {}
        names = {id(p): name for name, p in update.optimizer.parameters.items()}
        return {
            names[id(tensors[0])]: [names[id(t)] for t in tensors]
            for tensors in self.region.tensors
            if id(tensors[0]) in names
        }

    # -- instructions

    def _finish_updates(self) -> None:
        """What comes at the end: assignments, and the steps of optimizers."""
        for target, value in (*self.copies, *self.assignments):
            source = value.view()
            self.instructions.append(
                Instruction("copy", function=lambda t=target, s=source: np.copyto(t, s))
            )
        self.before: list[Callable[[], None]] = []
        self.written: list[np.ndarray] = [target for target, _ in self.assignments]
        for update in self.updates:
            optimizer = update.optimizer
            for flat in optimizer.flats:
                places = {name: i for i, name in enumerate(flat.parameters)}
                of_groups = self._group_names(update)
                common = [
                    places[n]
                    for n, g in update.gradients.items()
                    if g is not None and n in places and n not in of_groups
                ]
                mine = [
                    [places[n] for n in names]
                    for first, names in of_groups.items()
                    if first in places and update.gradients[first] is not None
                ]
                if not common and not mine:
                    continue
                present = functools.partial(
                    self._present, np.array(common, np.int64), np.array(mine)
                )
                instruction, before = optimizer.captured(flat, present)
                instruction.shapes = f"{flat.weights.dtype}[{flat.weights.size}]"
                self.before.append(before)
                self.instructions.append(instruction)
                self.written.append(flat.weights)

    def _present(self, common: np.ndarray, by_group: np.ndarray) -> np.ndarray:
        """The places of the parameters that have gradients in this run, in order."""
        if not by_group.size:
            return common
        return np.sort(np.concatenate([common, by_group[:, self.here].ravel()]))

    def _assemble(self, threads: int) -> None:
        """Stretches of native instructions, with Python's in between."""
        n = len(self.instructions)
        words = max((len(i.words) for i in self.instructions), default=0)
        self.stretches: list[tuple[int, int] | Callable[[], None]] = []
        self.work = sum(i.work for i in self.instructions)
        self.threads = 1
        if words:
            from minigrad.kernels import machine

            self.team, words = machine.team, machine.WORDS
            self.threads = threads if self.work >= machine.WORTH_THREADS else 1
        else:
            self.team = _alone
        self.handlers, self.words = np.zeros(n, np.int64), np.zeros((n, words), np.int64)
        start = 0
        for i, instruction in enumerate(self.instructions):
            if instruction.function is None:
                self.handlers[i] = instruction.handler
                self.words[i, : len(instruction.words)] = instruction.words
                continue
            if start < i:
                self.stretches.append((start, i))
            self.stretches.append(instruction.function)
            start = i + 1
        if start < n:
            self.stretches.append((start, n))
        self.inputs = [v.view() for v in self.arguments]
        self.outputs = [v.view() for v in self.results]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One run on new arguments; copies of the results."""
        for place, x in zip(self.inputs, arrays, strict=True):
            place[...] = x
        self.keys[:] = (random.next_key() for _ in range(self.keys_drawn))
        if self.region is not None:
            self.here = self.region.split(self.region.ids.view())
        for prepare in self.before:
            prepare()
        with self.team(self.threads) as run:
            for stretch in self.stretches:
                if type(stretch) is tuple:
                    run(self.handlers, self.words, *stretch)
                else:
                    stretch()
        if self.status[0]:
            self._report()
        for array in self.written:
            wrote(array)
        return [y.copy() for y in self.outputs]

    def _report(self) -> None:
        """Raise what the op says of an input that a handler refused."""
        call = self.calls[int(self.status[0]) - 1]
        self.status[0] = 0
        if call.op is not None:
            call.op(*(x.view() if type(x) is Value else x for x in call.inputs), **call.params)
        raise OutOfRangeError(f"{call.name}: an id is out of range (inputs: {call.reads})")

    def table(self, title: str) -> str:
        """A line for each instruction, with shapes, and microseconds of one run on old arguments."""
        for prepare in self.before:
            prepare()
        lines, native = [], 0
        with self.team(self.threads) as run:
            for i, instruction in enumerate(self.instructions):
                began = time.perf_counter()
                if instruction.function is None:
                    native += 1
                    run(self.handlers, self.words, i, i + 1)
                else:
                    instruction.function()
                seconds = time.perf_counter() - began
                kind = "kernel" if instruction.function is None else "NumPy"
                lines.append(
                    f"{i:5}  {seconds * 1e6:9.1f}  {kind:6}  {instruction.name:24}  {instruction.shapes}"
                )
        head = (
            f"{title}: {self.captured} ops became {len(lines)} instructions, {native} of them "
            f"kernels; {self.bytes / 1e6:.2f} MB of buffers, {self.threads} threads"
        )
        return "\n".join(
            [head, "   no         us  by      what                      shapes", *lines]
        )


@contextmanager
def _alone(threads: int) -> Iterator[None]:
    """In place of a team, for programs without kernels."""
    yield None


_IN_PLACE = {
    "add",
    "multiply",
    "subtract",
    "divide",
    "relu",
    "relu_grad",
    "negative",
    "exp",
    "tanh",
}


def _bytes(root: Value) -> int:
    """What a root needs, rounded up to whole lines of the cache."""
    low, high = root.extent
    return -(-(high - low) // ALIGNED) * ALIGNED


def _arrange(storages: list[Storage]) -> int:
    """Offsets such that places that live at the same time do not overlap; how many bytes in all."""
    placed: list[Storage] = []
    total = 0
    for s in sorted(storages, key=lambda s: -s.size):
        near = sorted(
            (p for p in placed if p.first <= s.last and s.first <= p.last), key=lambda p: p.offset
        )
        offset = 0
        for p in near:
            if offset + s.size <= p.offset:
                break
            offset = max(offset, p.offset + p.size)
        s.offset = offset
        placed.append(s)
        total = max(total, offset + s.size)
    return total
