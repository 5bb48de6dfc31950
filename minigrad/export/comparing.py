"""Recordings of one model at several sizes, made one: what differs is a formula of the sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.backend import to_numpy
from minigrad.errors import ExportError
from minigrad.export.recording import Call, Recording, Value
from minigrad.export.sizes import Size, Sizes, Unfit, fit, fit_real


@dataclass(frozen=True)
class Ref:
    """An array of the exported graph: an input or a parameter by name, or an output of a step."""

    kind: str
    name: Any
    index: int = 0


@dataclass(eq=False)
class Constant:
    """An array that the model brings, the same in all recordings."""

    array: np.ndarray


@dataclass(eq=False)
class Filled:
    """One number in a shape that differs."""

    number: Any
    dtype: np.dtype
    shape: tuple


@dataclass(eq=False)
class Range:
    """`start + step * i`, in a shape of which one length differs."""

    start: Any
    step: Any
    dtype: np.dtype
    shape: tuple


@dataclass(eq=False)
class Triangle:
    """A matrix of two numbers: `low` up to diagonal `k`, and `high` above it."""

    low: Any
    high: Any
    k: int
    dtype: np.dtype
    shape: tuple


@dataclass(eq=False)
class Numbers:
    """A few numbers that follow from sizes."""

    numbers: list
    dtype: np.dtype
    shape: tuple


@dataclass(eq=False)
class Table:
    """The first part of a larger table, as much as is needed along each axis."""

    array: np.ndarray
    shape: tuple


@dataclass(eq=False)
class Step:
    """A call, in which what differs from recording to recording is a formula.

    Attributes:
        call: one of the recorded ones.
        inputs: Refs, constants of the classes above, numbers, Sizes, Roots, None.
        params: static parameters, perhaps with Sizes in them.
        shapes: of the inputs that are arrays, and None for others; `made`: of the outputs. What
            cannot be expressed is None there.
    """

    call: Call
    inputs: list[Any]
    params: dict[str, Any]
    shapes: list[Any]
    made: list[tuple]
    dtypes: list[Any]


class Comparison:
    """Recordings side by side.

    Args:
        recordings: of one model.
        sizes: at which they were made; in the last ones the lengths are the largest.
        most: the lengths that the user has stated to be the largest.

    Attributes:
        steps: the calls, in order.
        outputs, shapes: what the model gives.
        limits: the names for which a table had to be cut off, and where.
    """

    def __init__(self, recordings: Sequence[Recording], sizes: Sequence[Sizes], most: Sizes):
        self.recordings, self.sizes, self.most = recordings, sizes, most
        self.limits: dict[str, int] = {}
        self._places = [
            {value: (i, j) for i, c in enumerate(r.calls) for j, value in enumerate(c.outputs)}
            for r in recordings
        ]
        self._constants: dict[Value, Any] = {}
        self.steps = self._steps()
        columns = list(zip(*(r.outputs for r in recordings), strict=True))
        self.outputs = [self._input(c, "an output of the model", i) for i, c in enumerate(columns)]
        self.shapes = [self._shape(c) for c in columns]

    def _steps(self) -> list[Step]:
        lists = [r.calls for r in self.recordings]
        for calls in zip(*lists, strict=False):
            for other, sizes in zip(calls, self.sizes, strict=True):
                if other.op is not calls[0].op or len(other.inputs) != len(calls[0].inputs):
                    self._differ(calls[0], other, sizes)
        lengths = list(map(len, lists))
        if len(set(lengths)) > 1:
            most = max(range(len(lists)), key=lambda i: lengths[i])
            self._differ(None, lists[most][min(lengths)], self.sizes[most])
        structures = [r.structure for r in self.recordings]
        if any(s != structures[0] for s in structures):
            raise ExportError("export.onnx: how many outputs the model gives depends on sizes")
        return [self._step(calls) for calls in zip(*lists, strict=True)]

    def _differ(self, one: Call | None, other: Call, sizes: Sizes) -> None:
        instead = f" in place of {one.place}" if one is not None else ""
        raise ExportError(
            f"export.onnx: which ops the model calls depends on the lengths of its inputs: with "
            f"{told(sizes)} there is {other.place}{instead}; a file has the same ops for all, so "
            f"leave out of dynamic_axes what a loop or an if hangs on"
        )

    def _step(self, calls: Sequence[Call]) -> Step:
        first = calls[0]
        columns = list(zip(*(c.inputs for c in calls), strict=True))
        names = first.params.keys()
        return Step(
            first,
            [self._input(values, first.place, i) for i, values in enumerate(columns)],
            {k: self._parameter([c.params[k] for c in calls], k, first) for k in names},
            [self._shape(v) if type(v[0]) is Value else None for v in columns],
            [self._shape(v) for v in zip(*(c.outputs for c in calls), strict=True)],
            [v.dtype for v in first.outputs],
        )

    def _shape(self, values: Sequence[Value]) -> tuple:
        if len({len(v.shape) for v in values}) > 1:
            raise ExportError("export.onnx: how many axes an array has depends on sizes")
        return tuple(fit(n, self.sizes) for n in zip(*(v.shape for v in values), strict=True))

    # -- inputs

    def _input(self, values: Sequence[Any], place: str, i: int) -> Any:
        what = f"input {i} of {place}" if place[0] == "'" else place
        if type(values[0]) is not Value:
            return self._number(values, what)
        if any(type(v) is not Value or v.kind != values[0].kind for v in values):
            self._refuse(what, "is another array at other lengths")
        if values[0].kind == "made":
            places = {p[v] for p, v in zip(self._places, values, strict=True)}
            if len(places) > 1:
                self._refuse(what, "comes from other ops at other lengths")
            return Ref("made", *places.pop())
        if values[0].kind != "constant":
            if len({v.name for v in values}) > 1:
                self._refuse(what, "is another array at other lengths")
            return Ref(values[0].kind, values[0].name)
        if values[0] not in self._constants:
            arrays = [to_numpy(v.array) for v in values]
            self._constants[values[0]] = self._constant(arrays, what)
        return self._constants[values[0]]

    def _parameter(self, values: Sequence[Any], name: str, call: Call) -> Any:
        return self._number(values, f"'{name}' of {call.place}", Unfit)

    def _number(self, values: Sequence[Any], what: str, otherwise: Any = None) -> Any:
        """A number, a tuple of them, or anything else, of which each part is the same or fits.

        Where one does not fit, it is `otherwise(why)`, or an error if there is no such.
        """
        kind = type(values[0])
        if any(type(v) is not kind for v in values):
            self._refuse(what, f"is {values[0]!r} at some lengths and {values[-1]!r} at others")
        if kind in (list, tuple) or isinstance(values[0], tuple):
            if len(set(map(len, values))) > 1:
                self._refuse(what, f"is {values[0]!r} at some lengths and {values[-1]!r} at others")
            parts = [self._number(column, what, otherwise) for column in zip(*values, strict=True)]
            return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
        if all(v is values[0] or v == values[0] for v in values):
            return values[0]
        if kind is float and all(map(math.isnan, values)):
            return values[0]
        found: Any = None
        if isinstance(values[0], int | np.integer) and kind is not bool:
            found = fit(list(map(int, values)), self.sizes)
        elif isinstance(values[0], float):
            found = fit_real(list(map(float, values)), self.sizes)
        if found is None:
            why = self._why(what, f"is {values[0]!r} or {values[-1]!r}")
            if otherwise is None:
                raise ExportError(why)
            return otherwise(why)
        return found

    def _why(self, what: str, how: str) -> str:
        if not self.sizes[0]:
            return f"export.onnx: {what} {how}, by the values of the inputs; compute it with ops"
        varied = ", ".join(f"'{name}'" for name in self.sizes[0])
        return (
            f"export.onnx: {what} {how}, which is no formula of {varied}; leave it out of "
            f"dynamic_axes, or compute it with ops"
        )

    def _refuse(self, what: str, how: str) -> None:
        raise ExportError(self._why(what, how))

    # -- constants

    def _constant(self, arrays: list[np.ndarray], what: str) -> Any:
        """What an array is that the model brings: the same in all recordings, or how it grows."""
        first, last = arrays[0], arrays[-1]
        dtype = last.dtype
        if any(a.ndim != first.ndim or a.dtype != dtype for a in arrays):
            self._refuse(what, f"has the shape {first.shape} or {last.shape}")
        if all(a.shape == first.shape for a in arrays):
            if all(_alike(a, first) for a in arrays):
                return Constant(last)
            if first.size > 64:
                self._refuse(what, f"is an array {first.shape} with other numbers each time")
            columns = zip(*(a.reshape(-1).tolist() for a in arrays), strict=True)
            numbers = [self._number(c, f"a number in {what}") for c in columns]
            return Numbers(numbers, dtype, first.shape)
        shape = tuple(fit(n, self.sizes) for n in zip(*(a.shape for a in arrays), strict=True))
        if None in shape:
            self._refuse(what, f"has the shape {first.shape} or {last.shape}")
        return (
            self._filled(arrays, shape)
            or self._range(arrays, shape)
            or _triangle(arrays, shape)
            or self._table(arrays, shape, what)
        )

    def _filled(self, arrays, shape) -> Filled | None:
        numbers = {a.reshape(-1)[0].item() for a in arrays if a.size}
        if len(numbers) != 1 or any((a != next(iter(numbers))).any() for a in arrays):
            return None
        return Filled(numbers.pop(), arrays[0].dtype, shape)

    def _range(self, arrays, shape) -> Range | None:
        if sum(n != 1 for n in shape) != 1 or any(a.size < 2 for a in arrays):
            return None
        dtype = arrays[0].dtype
        if dtype.kind not in "iuf":
            return None
        lines = [a.reshape(-1) for a in arrays]
        wide = np.int64 if dtype.kind in "iu" else np.float64
        steps = {(line[1].astype(wide) - line[0].astype(wide)).item() for line in lines}
        step, starts = steps.pop(), [line[0].item() for line in lines]
        if steps:
            return None
        for line, start in zip(lines, starts, strict=True):
            if not np.array_equal(np.arange(line.size, dtype=wide) * step + start, line):
                return None
        if dtype.kind == "f":
            return Range(starts[0], step, dtype, shape) if len(set(starts)) == 1 else None
        start = fit(starts, self.sizes)
        return None if start is None else Range(start, step, dtype, shape)

    def _table(self, arrays, shape, what) -> Table:
        """The largest, if all others are its first parts."""
        last = arrays[-1]
        for a in arrays:
            inside = all(n <= m for n, m in zip(a.shape, last.shape, strict=True))
            if not inside or not _alike(last[tuple(map(slice, a.shape))], a):
                self._refuse(what, f"is an array {arrays[0].shape} or {last.shape}")
        names = {name for n in shape if type(n) is Size for name in n.names}
        for name in sorted(names):
            if name not in self.most:
                raise ExportError(
                    f"export.onnx: {what} is a table of numbers that grows with '{name}'; a file "
                    f"has it up to some length: state that, as in max_lengths={{'{name}': 512}}"
                )
            self.limits[name] = self.most[name]
        return Table(last, shape)


def _triangle(arrays, shape) -> Triangle | None:
    if last_two_alone(shape) and all(min(a.shape[-2:]) > 1 for a in arrays):
        found = set()
        for a in arrays:
            matrix = a.reshape(a.shape[-2:])
            low, high = matrix[-1, 0], matrix[0, -1]
            i, j = (np.arange(n) for n in matrix.shape)
            k = int((matrix[0] == low).sum()) - 1
            if k < 0:  # the first diagonal of `low` begins further down
                k = -int((matrix[:, 0] == high).sum())
            if low == high or not np.array_equal(
                matrix, np.where(j[None] - i[:, None] <= k, low, high)
            ):
                return None
            found.add((low.item(), high.item(), k))
        if len(found) == 1:
            low, high, k = found.pop()
            return Triangle(low, high, k, arrays[0].dtype, shape)
    return None


def last_two_alone(shape) -> bool:
    """Whether the axes before the last two have the length 1."""
    return len(shape) >= 2 and all(n == 1 for n in shape[:-2])


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal; floats may differ in the last digits of how they were found."""
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    tolerance = 8 * float(np.finfo(a.dtype).eps)
    return np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def told(sizes: Sizes) -> str:
    """'batch=3, length=7'."""
    return ", ".join(f"{name}={n}" for name, n in sizes.items()) or "the values of the example"
