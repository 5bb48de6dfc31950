"""Two backends side by side, op by op: which op is the first to differ, and which side is wrong.

    report = minigrad.testing.compare_backends(model, (x, y), loss=cross_entropy)
    print(report)       the first op beyond tolerance, and a table
    report.check()      raises AssertionError if there is one

A model that gives other numbers on a device than on the host differs first in one op, and from
there on in all. So each op is compared alone: the model runs where its parameters are; what each op
was given is copied to the other side, and the op runs there on the same numbers; and so does each
rule of the backward pass. Where the two differ, the formula in float64, without any kernel, says
who is right.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad import kernels, random
from minigrad.arguments import Like
from minigrad.autodiff import Node, Op, Slot, Tensor, caller, gradients
from minigrad.backend import (
    Observer,
    array_module,
    describe,
    get_backend,
    is_array,
    switched,
    to_device,
    to_numpy,
    using,
    watched,
)
from minigrad.nn import Module
from minigrad.sparse import SparseRows
from minigrad.trees import leaves_of, tree_map

# By the bits of the result's dtype: relative, and a tenth of it of the largest number beside.
TOLERANCES = {64: 1e-9, 32: 1e-4, 16: 2e-2}


@dataclass(frozen=True)
class Compared:
    """One op, or one rule, on both sides.

    Attributes:
        direction: 'forward' or 'backward', where rules are, and the ops that they call.
        where: the module within the model, '' outside of all; and the line.
        inputs: dtypes and shapes.
        difference: between the two sides, the largest, in tolerances: above 1 is beyond it.
        errors: of each side against float64, in tolerances, by its name; empty where the sides
            agree, or where there is no such reference.
        note: what else is to be said.
    """

    op: str
    direction: str
    where: str
    line: str
    inputs: str
    difference: float
    errors: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the two sides agree."""
        return self.difference <= 1

    @property
    def wrong(self) -> list[str]:
        """The sides that are beyond tolerance of float64; the further one if neither is."""
        beyond = [name for name, error in self.errors.items() if not error <= 1]
        if self.ok or beyond or not self.errors:
            return beyond
        return [max(self.errors, key=lambda name: self.errors[name])]

    def __str__(self) -> str:
        place = f" in {self.where}" if self.where else ""
        text = (
            f"'{self.op}', {self.direction}{place} ({self.line}), of {self.inputs}: the two differ "
            f"by {self.difference:.3g} tolerances"
        )
        if self.errors:
            errors = ", ".join(f"{name} by {error:.3g}" for name, error in self.errors.items())
            text += f"; {' and '.join(self.wrong)} wrong (from float64 differs {errors})"
        return f"{text}; {self.note}" if self.note else text


@dataclass
class Comparison:
    """What `compare_backends` found.

    Attributes:
        sides: the names of the two.
        rows: every op and rule that was compared, in the order in which they ran.
    """

    sides: tuple[str, str]
    rows: list[Compared] = field(default_factory=list)

    @property
    def failures(self) -> list[Compared]:
        """Those beyond tolerance."""
        return [row for row in self.rows if not row.ok]

    @property
    def first(self) -> Compared | None:
        """The first op beyond tolerance; None if there is none."""
        return next(iter(self.failures), None)

    @property
    def ok(self) -> bool:
        """Whether all are within tolerance."""
        return not self.failures

    def check(self) -> None:
        """Raise AssertionError, with all that is known, if an op is beyond tolerance."""
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        """The first op beyond tolerance, and a table of all ops, the worst first."""
        counts = [sum(row.direction == way for row in self.rows) for way in ("forward", "backward")]
        head = (
            f"{self.sides[0]} against {self.sides[1]}: {counts[0]} ops forward and {counts[1]} "
            f"backward, {len(self.failures)} beyond tolerance"
        )
        worst: dict[tuple[str, str], list[Compared]] = {}
        for row in self.rows:
            worst.setdefault((row.op, row.direction), []).append(row)
        cells = [("op", "direction", "calls", "beyond", "difference in tolerances")]
        for (op, way), rows in sorted(
            worst.items(), key=lambda item: -max(row.difference for row in item[1])
        ):
            beyond, most = sum(not row.ok for row in rows), max(row.difference for row in rows)
            cells.append((op, way, str(len(rows)), str(beyond), f"{most:.3g}"))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        first = [f"first: {self.first}"] if self.first else []
        return "\n".join([head, *first, *table])


def compare_backends(
    model: Callable,
    batch: Any,
    loss: Callable | None = None,
    *,
    against: str | None = None,
    rtol: float | None = None,
) -> Comparison:
    """Run `model` on `batch`, forward and backward, and each of its ops on another backend too.

    Nothing is changed by it: gradients go nowhere, buffers and random streams are as before.

    Args:
        model: a Module, or a function.
        batch: an array or Tensor, or a tuple of what the model takes; with `loss` its last part is
            the target.
        loss: a function of what the model gives and of the target; by default, what the model
            gives is summed with fixed weights.
        against: 'numpy' or 'cupy', by default that of the two which the model is not on; or
            'formula', the formulas without kernels, on the backend that the model is on.
        rtol: the relative tolerance; by default 1e-9 for float64, 1e-4 for float32, 2e-2 for 16
            bits. A tenth of it of the largest number of an array is allowed to all of its numbers.
            Integers and booleans must be equal.

    Raises:
        BackendError: CuPy cannot be used.
        ValueError: there is no such backend, or it is the model's own.
    """
    parameters = model.parameters() if isinstance(model, Module) else []
    leaves = [x.data if type(x) is Tensor else x for x in leaves_of(batch)]
    arrays = [p.data for p in parameters] or [x for x in leaves if is_array(x)]
    own = array_module(*arrays[:1]).__name__ if arrays else get_backend()
    other = against or {"numpy": "cupy", "cupy": "numpy"}[own]
    if other not in ("numpy", "cupy", "formula") or other == own:
        raise ValueError(
            f"compare_backends: against must be 'formula' or the backend that the model is not on, "
            f"which is {own}; got {against!r}"
        )
    with using(own if other == "formula" else other):
        pass  # which says why, if it cannot be used
    sides = (own, "formulas" if other == "formula" else other)
    walk = _Walk(Comparison(sides), other, rtol)
    with using(own), random.stream(0), _as_before(model):
        batch = tree_map(_on_backend, batch)
        parts = list(batch) if isinstance(batch, tuple | list) else [batch]
        target = [parts.pop()] if loss is not None else []
        with _named(model, walk.path), watched(walk):
            y = model(*parts)
            ys = [loss(y, *target)] if loss is not None else leaves_of(y)
            ys = [y for y in ys if type(y) is Tensor and y.requires_grad]
            tracked = [p for p in parameters if p.requires_grad]
            inputs = [x for x in leaves_of(parts) if type(x) is Tensor and x.requires_grad]
            if ys and (tracked or inputs):
                weights = [to_device(_weights(y.shape).astype(y.dtype)) for y in ys]
                gradients(ys, [*tracked, *inputs], weights)
    return walk.report


class _Walk(Observer):
    """The observer that runs each op a second time."""

    def __init__(self, report: Comparison, other: str, rtol: float | None):
        self.report, self.other, self.rtol = report, other, rtol
        self.path: list[str] = []  # of modules that are being called
        self.places: dict[int, tuple[str, str]] = {}  # of nodes: module and line
        self.direction = "forward"

    def walks_back(self, found: list) -> None:
        self.direction = "backward"

    def called(
        self, op: Op, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        place = (self.path[-1] if self.path else "", caller())
        outputs = y if isinstance(y, tuple) else (y,)
        if type(outputs[0]) is Tensor and outputs[0].edge is not None:
            self.places[outputs[0].edge.node.serial] = place
        self.compare(op, place, arrays, outputs, lambda xs: op(*xs, **params))

    def pulled_back(self, node: Node, g: Any, found: list, seconds: float) -> None:
        pulled, wanted = list(found), []  # the places of the inputs whose gradients were wanted
        for i, parent in enumerate(node.parents):
            if pulled and parent is not None and _is(parent, pulled[0][0]):
                wanted.append(i)
                pulled.pop(0)
        parents = [i if i in wanted else None for i in range(len(node.parents))]

        def again(given: list) -> list:
            saved, output, g = given
            twin = Node(node.op, parents, saved, output, node.params)
            return [x for _, x in twin.pull_back(g, None, as_tensors=False)]

        given = [list(node.saved), node.output, g]
        place = self.places.get(node.serial, ("", "a line before"))
        self.compare(node.op, place, given, [x for _, x in found], again)

    def compare(
        self, op: Op, place: tuple[str, str], given: list, outputs: Any, run: Callable
    ) -> None:
        """Run it on the other side, and note how far the two are apart."""
        results = [y.data if type(y) is Tensor else y for y in outputs]
        if any(hasattr(x, "hides_a_batch_axis") for x in (*_arrays(given), *results)):
            return  # under vmap: another side has no such array
        ours = [_host(y) for y in results]
        name, inputs = op.__name__.removeprefix("_"), ", ".join(map(describe, _arrays(given)))
        with switched(observers=(), capturing=False, recording=False):
            module = get_backend() if self.other == "formula" else self.other
            with using(module), _formulas(self.other == "formula"):
                theirs = _outputs(run(_mapped(given, _on_backend)))
            note, difference = "", 0.0
            if len(ours) != len(theirs):
                note, difference = f"{len(ours)} results and {len(theirs)}", np.inf
            for a, b in zip(ours, theirs, strict=False):
                difference = max(difference, self.apart(a, b, b, a.dtype))
            errors: dict[str, float] = {}
            if not difference <= 1 and not note:
                try:
                    with using("numpy"), _formulas(True), np.errstate(all="ignore"):
                        exact = _outputs(run(_mapped(given, _in_float64)))
                except Exception as error:  # of all that an op may say to float64
                    note = f"there is no reference in float64: {error}"
                else:
                    for side, values in zip(self.report.sides, (ours, theirs), strict=True):
                        pairs = zip(values, exact, strict=True)
                        errors[side] = max(self.apart(v, e, e, v.dtype) for v, e in pairs)
        where, line = place
        self.report.rows.append(
            Compared(name, self.direction, where, line, inputs, difference, errors, note)
        )

    def apart(self, a: np.ndarray, b: np.ndarray, scale: np.ndarray, dtype: np.dtype) -> float:
        """The largest difference of two arrays in tolerances for `dtype`; infinite if one is NaN
        or infinite, or is of another shape, where the other is not.
        """
        if a.shape != b.shape:
            return np.inf
        if a.dtype.kind in "iub":
            return 0.0 if np.array_equal(a, b) else np.inf
        if not a.size:
            return 0.0
        a, b, scale = (x.astype(np.float64) for x in (a, b, scale))
        finite = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return np.inf
        if not finite.any():
            return 0.0
        rtol = self.rtol or TOLERANCES[dtype.itemsize * 8]
        size = np.abs(np.where(finite, scale, 0.0))
        allowed = rtol * (size + 0.1 * size.max()) + np.finfo(np.float32).tiny
        return float(np.max(np.abs(a - b)[finite] / allowed[finite]))


def _is(a: Any, b: Any) -> bool:
    """Whether two parents are one; slots are made anew for each."""
    return a is b or (type(a) is Slot and a == b)


def _formulas(wanted: bool) -> contextlib.AbstractContextManager:
    return kernels.formulas() if wanted else contextlib.nullcontext()


@contextlib.contextmanager
def _as_before(model: Any) -> Iterator[None]:
    """After the block the model's buffers have the arrays and values that they had."""
    buffers = model.buffers() if isinstance(model, Module) else []
    before = [(b, b.data, b.data.copy()) for b in buffers]
    try:
        yield
    finally:
        for buffer, array, values in before:
            array[...] = values
            buffer.data = array


@contextlib.contextmanager
def _named(model: Any, path: list[str]) -> Iterator[None]:
    """In the block `path` ends with the name of the module whose `forward` runs."""
    remove: list[Callable[[], None]] = []
    if isinstance(model, Module):
        for name, module in model.named_modules():

            def enter(_module: Any, _args: Any, name: str = name) -> None:
                path.append(name)

            def leave(_module: Any, _args: Any, _out: Any) -> None:
                path.pop()

            remove += [
                module.register_forward_pre_hook(enter),
                module.register_forward_hook(leave),
            ]
    try:
        yield
    finally:
        for hook in remove:
            hook()


def _arrays(given: Any) -> list:
    """All arrays and what stands for one, however deep."""
    if isinstance(given, tuple | list):
        return [x for part in given for x in _arrays(part)]
    return [] if given is None else [given]


def _mapped(given: Any, move: Callable) -> Any:
    """`given`, its arrays moved, in the same lists and tuples."""
    if isinstance(given, list):
        return [_mapped(x, move) for x in given]
    if isinstance(given, tuple):
        return tuple(_mapped(x, move) for x in given)
    return move(given)


def _on_backend(x: Any) -> Any:
    """Arrays and Tensors on the backend in force, anything else as it is."""
    if type(x) is SparseRows:
        return SparseRows(to_device(x.rows), to_device(x.values), x.shape)
    if type(x) is Tensor:
        moved = to_device(x.data)
        return x if moved is x.data else Tensor(moved, x.requires_grad)
    return to_device(x) if is_array(x) else x


def _in_float64(x: Any) -> Any:
    """Floats as float64, on the host."""
    if type(x) is Like:
        return Like(x.shape, np.dtype(np.float64), x.levels) if x.dtype.kind in "fV" else x
    if type(x) is SparseRows:
        return SparseRows(to_numpy(x.rows), _in_float64(x.values), x.shape)
    if not is_array(x):
        return x
    x = to_numpy(x)
    return x.astype(np.float64) if x.dtype.kind in "fV" else x


def _outputs(y: Any) -> list[np.ndarray]:
    return [_host(v) for v in (y if isinstance(y, tuple | list) else (y,))]


def _host(y: Any) -> np.ndarray:
    y = y.data if type(y) is Tensor else y
    return to_numpy(y.to_dense() if type(y) is SparseRows else y)


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed numbers of size 1 and both signs."""
    return np.sin(np.arange(1, 1 + int(np.prod(shape)))).reshape(shape)
