"""One captured run of a function: how its program comes about, and is proved."""

import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minigrad import random
from minigrad.arguments import Captured
from minigrad.autodiff import Tensor, wrap
from minigrad.backend import Observer, array_module, to_numpy, watched
from minigrad.errors import CaptureError
from minigrad.kernels.instructions import NotByGroup
from minigrad.optim.flat import adopt_all
from minigrad.precision import is_half
from minigrad.programs.guards import Guard
from minigrad.programs.places import assign, copied, is_plain
from minigrad.programs.program import Program
from minigrad.programs.tracing import Tracer, state_of
from minigrad.programs.values import Value
from minigrad.programs.watching import Watch
from minigrad.trees import filled, flatten, taken_apart, tree_map

jit_enabled = ContextVar("jit", default=True)


@contextmanager
def disable_jit() -> Iterator[None]:
    """Inside the block, functions under `jit` run as they are."""
    token = jit_enabled.set(False)
    try:
        yield
    finally:
        jit_enabled.reset(token)


def keep_array(tensor: Tensor, array: Any) -> None:
    """Put a tensor's new values into the array that it had before."""
    if tensor._data is not array:
        assign(array, tensor._data)
        tensor._data = array


def _is_data(x: Any) -> bool:
    """Whether an argument is new in every call."""
    return is_plain(x) or (type(x) is Tensor and not x.requires_grad)


class Step:
    """One captured run of a function.

    Attributes:
        guard: what it depends on beside its arguments.
        as_it_is: why there can be no program; "" where there is one.
        program: what repeats it.
        objects: the arguments that are no data.
        result: what the first call gave.
        trusted: whether program and function have been compared on other numbers, too.
    """

    program: Program
    _drawing: tuple[int, int] | None = None  # the groups' place, where their models draw numbers

    def __init__(self, owner: Any, objects: list, leaves: list, shape: Any):
        self.owner, self.objects, self.trusted = owner, objects, False
        adopt_all()  # parameters that were given other arrays: optimizers read them in their place
        tracer, watch = Tracer(), Watch()
        inputs: list[Any] = []
        arguments, given, places = [], [], []
        for x in leaves:
            if _is_data(x):
                places.append(len(inputs))
                given.append(x._data if type(x) is Tensor else x)
                array = copied(given[-1])
                arguments.append(tracer.note(array, Value(array)))
                x = wrap(array)
            inputs.append(x)
        args, kwargs = filled(shape, inputs)
        try:
            with (
                _printing(owner.name),
                random.recorded(tracer.keys),
                watched(tracer),
                watch,
            ):
                y = owner.function(*args, **kwargs)
            y = tree_map(_shown, y)
            self.assignments = tracer.finish_assignments()
            self.guard = Guard(owner.function, objects, watch, tracer.is_whole, tracer.is_made)
            self.as_it_is = self._why_as_it_is(tracer)
            if self.as_it_is:
                if tracer.groups is None:
                    tracer.assign()
                    self.result = untracked(y)
                    return
                tracer.undo()  # what was captured is not what the groups give
                with disable_jit():
                    self.result = untracked(self.owner._simply(leaves, shape))
                return
            self._capture(tracer, arguments, y)
        except BaseException:
            tracer.undo()
            raise
        theirs = [copied(a) for a in _numbers(y)]
        theirs += map(_gradient, self._holders)
        after = [copied(a) for a in (*tracer.state(), *tracer.assigned_arrays)]
        before = [*tracer.before, *tracer.assigned_before]
        self.restore(before)
        if tracer.groups is None:
            with random.replayed(tracer.keys):
                self.result = self._compared(given, theirs, after)
            return
        if tracer.keys:
            ids = next(i for i, value in enumerate(arguments) if value is tracer.groups.ids)
            self._drawing = ids, places[ids]
        # What was captured is not what the groups give.
        for some, those in self._cases(given, leaves):
            with random.replayed(tracer.keys):
                theirs, after = self._function_gives(those, shape)[1:]
            self.restore(before)
            with random.replayed(tracer.keys):
                self.result = self._compared(some, theirs, after)
            if some is not given:
                self.restore(before)
        if self._drawing is not None:
            with random.replayed(tracer.keys):
                self.result = self.finish(self.program.run(given))

    def _why_as_it_is(self, tracer: Tracer) -> str:
        if self.guard.unwatched:
            return (
                f"it reads {', '.join(self.guard.unwatched[:3])}, of which a program would not "
                f"notice that it has changed; give it as an argument, in an array"
            )
        if tracer.on_host and tracer.on_device:
            return (
                "it computes with arrays of the host and with arrays of a device, and a program "
                "has one machine; move them to one, or make two functions of it"
            )
        return ""

    def _capture(self, tracer: Tracer, arguments: list, y: Any) -> None:
        """Make the program of what `tracer` has seen."""
        # A difference of sums, as of two means, has lost some digits; of those of 16 bits most.
        halves = any(is_half(v.dtype) for call in tracer.calls for v in call.outputs)
        self._allowed, self._least = (3e-2, 2e-2) if halves else (1e-3, 0.0)
        outs, self._shape = taken_apart(y)
        self._results = [self._is_result(t) and type(t) for t in outs]
        self._constants = [None if self._is_result(t) else t for t in outs]
        arrays = [t._data if type(t) is Tensor else t for t in outs if self._is_result(t)]
        gradients = tracer.gradients_left(self.guard)
        self._holders = [p for p, _ in gradients]
        self._count = len(arrays)
        results = [tracer.value_of(a) for a in arrays] + [v for _, v in gradients]
        self._assigned = tracer.assigned_tensors
        self.optimizers = [u.optimizer for u in tracer.updates]
        self.constants = tracer.constants(self.guard)
        known = {id(t) for t in self.guard.tensors}
        self.guard.absent = [t for t in tracer.absent if id(t) in known]
        if self.guard.reads_gradients:
            self.guard.grads = tracer.gradients_unchanged(self.guard)
        self.guard.seal()
        self.program = self._programmed(tracer, arguments, results)

    def _programmed(self, tracer: Tracer, arguments: list, results: list) -> Program:
        groups = tracer.groups
        kind: type[Program] = Program
        if tracer.on_device:
            from minigrad.programs.device import DeviceProgram as kind
        if groups is not None:
            for tensors in groups.tensors:
                root = tracer.value_of(tensors[0].data).root
                groups.add_table(root, [t.data for t in tensors])
        try:
            return kind(
                tracer.calls, arguments, results, tracer.updates, self.assignments,
                len(tracer.keys), self.owner.threads, groups,
            )  # fmt: skip
        except NotByGroup as error:
            raise CaptureError(
                f"jit: {error} cannot be done for several groups at once; give the groups as a "
                f"list of names, so that every split of a batch is a program of its own"
            ) from error

    @staticmethod
    def _is_result(x: Any) -> bool:
        return type(x) is Tensor or is_plain(x)

    def finish(self, arrays: list[Any]) -> Any:
        """The function's result from a run's; gradients that it leaves go to their tensors."""
        for p, g in zip(self._holders, arrays[self._count :], strict=True):
            p.grad = wrap(g)
        found = iter(arrays)
        return filled(
            self._shape,
            [
                c if not kind else wrap(next(found)) if kind is Tensor else next(found)
                for kind, c in zip(self._results, self._constants, strict=True)
            ],
        )  # fmt: skip

    # -- comparing

    def _cases(self, arrays: list, leaves: list) -> list[tuple[list, list]]:
        """On which arguments program and function are compared: on those of the call.

        Where the models of groups draw random numbers, each draws its own, and the program draws
        once for all rows; both are right, and equal if all rows are in one group. So they are
        compared on the rows as if all were in the first group that is there, and in the last.
        """
        if self._drawing is None:
            return [(arrays, leaves)]
        at, place = self._drawing
        cases = []
        for group in np.unique(to_numpy(arrays[at]))[[0, -1]]:
            ids = array_module(arrays[at]).full_like(arrays[at], int(group))
            own = wrap(ids) if type(leaves[place]) is Tensor else ids
            cases.append(
                (
                    [*arrays[:at], ids, *arrays[at + 1 :]],
                    [*leaves[:place], own, *leaves[place + 1 :]],
                )
            )
        return cases

    def snapshot(self) -> list[Any]:
        """Copies of all that a run changes."""
        return [copied(a) for a in self._state()]

    def restore(self, kept: list[Any]) -> None:
        for a, old in zip(self._state(), kept, strict=True):
            assign(a, old)

    def _state(self) -> Iterator[Any]:
        for optimizer in self.optimizers:
            yield from state_of(optimizer)
        for target, _ in self.assignments:
            yield target

    def prove(self, variants: Any, arrays: list, leaves: list, shape: Any) -> Any:
        """The second call: run function and program side by side; what the program gave.

        Where the function has changed what it reads, it counts for itself, and there is no program.
        """
        before = self.snapshot()
        keys = [random.next_key() for _ in range(self.program.keys_drawn)]
        for some, those in self._cases(arrays, leaves):

            def of_function(y: Any, own: bool = those is leaves) -> Any:
                """What the function gives for the call itself."""
                if not own:
                    self.restore(before)
                    y = self._function_gives(leaves, shape)[0]
                return untracked(y)

            self.restore(before)
            self.program.rest()  # the function needs memory of its own meanwhile
            reader = Reader(self.guard.kept)
            with random.replayed(keys), watched(reader):
                y, theirs, after = self._function_gives(those, shape)
            moved = reader.found
            moved = moved or ("" if self.guard.holds(before=False) else self.guard.changed)
            # Perhaps it computes something once and keeps it.
            if reader.found and not variants.missed:
                variants.missed = True
                variants.steps.remove(self)
                return of_function(y)
            if moved:
                self.owner.goes_on_as_it_is(
                    f"it changes what it reads: {moved}; give that as an argument, and return it"
                )
                return of_function(y)
            self.restore(before)
            with random.replayed(keys):
                try:
                    mine = self._compared(some, theirs, after)
                except CaptureError:
                    variants.steps.remove(self)
                    if variants.missed:
                        raise
                    variants.missed = True  # a first call may be special: once more, then
                    return of_function(y)
        if self._drawing is not None:
            self.restore(before)
            with random.replayed(keys):
                mine = self.finish(self.program.run(arrays))
        self.trusted = True
        return mine

    def _function_gives(self, leaves: list, shape: Any) -> tuple[Any, list, list]:
        """What the function itself gives, its numbers, and the state that it leaves."""
        token = jit_enabled.set(False)
        try:
            y = self.owner._simply(leaves, shape)
        finally:
            jit_enabled.reset(token)
        for tensor, array in self._assigned:
            keep_array(tensor, array)
        theirs = [copied(a) for a in _numbers(y)]
        return y, [*theirs, *map(_gradient, self._holders)], self.snapshot()

    def _compared(self, arrays: list, theirs: list[Any], after: list[Any]) -> Any:
        """What the program gives for `arrays`.

        Raises:
            CaptureError: that is not what the function gave and left behind, which then stays.
        """
        found = self.program.run(arrays)
        mine = self.finish(found)
        numbers = [*_numbers(mine), *found[self._count :]]
        pairs = [("a result", *p) for p in zip(numbers, theirs, strict=True)]
        pairs += [("the state afterwards", *p) for p in zip(self._state(), after, strict=True)]
        for what, a, b in pairs:
            worst = _difference(a, b, self._least)
            if not worst <= self._allowed:
                self.restore(after)
                raise CaptureError(
                    f"jit: the program of '{self.owner.name}' does not repeat the function: "
                    f"{what}, {a.dtype} {a.shape}, is off by {worst:.1e} of its size. "
                    f"Something that changes from call to call does not come in through the "
                    f"arguments, or is computed by NumPy, not by ops. Taken as constant were: "
                    f"{', '.join(self.constants) or 'no arrays'}"
                )
        return mine


class Reader(Observer):
    """An observer: whether an op reads what the call before has left behind."""

    def __init__(self, kept: Mapping[str, Tensor]):
        self.kept = {id(t._data): name for name, t in kept.items()}
        self.found = ""

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        for x in arrays:
            if id(x) in self.kept:
                self.found = f"{self.kept[id(x)]} is what the call before has left there"


def _shown(x: Any) -> Any:
    return x.array if type(x) is Captured else x


def untracked(y: Any) -> Any:
    """A tree of Tensors without their history."""
    leaves, rebuild = flatten(y)
    return rebuild([wrap(t.data) if type(t) is Tensor else t for t in leaves])


def _numbers(y: Any) -> list[Any]:
    return [
        t.data if type(t) is Tensor else t if is_plain(t) else np.asarray(t)
        for t in flatten(y)[0]
        if type(t) in (Tensor, int, float) or is_plain(t)
    ]


def _gradient(p: Tensor) -> Any:
    """A copy of a gradient; where there is none, what equals nothing."""
    return copied(np.nan if p._grad is None else p._grad._data)


def _difference(a: Any, b: Any, least: float = 0.0) -> float:
    """The norm of the difference beside the norm; where both have gone astray nothing counts.

    Elements count as no smaller than `least`, of which what was computed in 16 bits is noise.
    """
    if a.shape != b.shape:
        return float("inf")
    a, b = to_numpy(a), to_numpy(b)
    noise = float(np.finfo(b.dtype).eps) if b.dtype.kind == "f" else 1e-30
    a, b, off, size = a.reshape(-1), b.reshape(-1), 0.0, 0.0
    for start in range(0, a.size, 1 << 18):  # in pieces: large models are compared in float64 too
        x, y = (v[start : start + (1 << 18)].astype(np.float64) for v in (a, b))
        astray, lost = ~np.isfinite(x), ~np.isfinite(y)
        same = (x == y) | (astray & lost)
        if astray.any() and lost.any():
            same |= astray | lost
        off += float(np.sum((x - y)[~same] ** 2))
        size += float(np.sum(y[~lost] ** 2))
    # What is zero but for rounding, as the gradient of a bias before a softmax, has no size.
    floor = (1e4 if noise > 1e-10 else 1e6) * noise
    size = max(math.sqrt(size), max(floor, least) * math.sqrt(a.size))
    return math.sqrt(off) / size if off else 0.0


@contextmanager
def _printing(name: str) -> Iterator[None]:
    """Warn if something is printed while a step is captured."""
    printed = []

    class Stream:
        def __init__(self, stream: Any):
            self.stream = stream

        def write(self, text: str) -> int:
            printed.append(text)
            return self.stream.write(text)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.stream, attribute)

    old = sys.stdout
    sys.stdout = stream = Stream(old)
    try:
        yield
    finally:
        if sys.stdout is stream:
            sys.stdout = old
    if printed:
        warnings.warn(
            f"jit: while '{name}' was captured, it printed {''.join(printed)[:40]!r}; that will "
            f"not happen again when the program is repeated",
            stacklevel=6,
        )
