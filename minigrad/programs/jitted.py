"""`mg.jit`: a step is watched once, and from then on repeated without Python's part in it.

Jitted      the function that `jit` gives: programs for each signature of arguments
Step        one of them: what was captured, and the program that repeats it
Tracer      writes down the ops of a step while it runs

What else a step depended on is told by `minigrad.guards`.
"""

import functools
import math
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from operator import is_
from typing import Any

import numpy as np

from minigrad import kernels, random
from minigrad.arguments import Captured, count
from minigrad.autodiff import REGISTRY, Tensor, caller, wrap
from minigrad.backend import Observer, is_array, modes, watched, xp
from minigrad.batched import Batched
from minigrad.errors import CaptureError, ShapeError
from minigrad.kernels import Drawn, NotByGroup
from minigrad.nn.module import Module
from minigrad.optim.copying import copied
from minigrad.optim.flat import adopt_all
from minigrad.programs.guards import OURS, Guard, Watch, owner_of
from minigrad.programs.program import Program
from minigrad.programs.values import Call, Groups, Hidden, Update, Value, uncovered
from minigrad.trees import filled, flatten, taken_apart, tree_map

__all__ = ["Jitted", "disable_jit", "jit"]

PLAIN = (bool, int, float, str, bytes, type(None))


def jit(function: Callable | None = None, *, threads: int | None = None) -> Any:
    """`function` as a program: watched at its first call, repeated from then on.

    The function may be a whole training step (forward, `backward`, an optimizer's `step`), one that
    gives losses and gradients, or a forward pass. In its first call with arguments of some shapes
    and dtypes its ops are written down. What is repeated from then on is a program: no graph is
    built, every array has its place, and passes over memory are put together. In the first two
    calls the function itself runs, too, and results and state are compared. They are the program's
    in every call, so that bits do not depend on when it was captured. Results are untracked.

    Arrays among the arguments are data; all else there is part of the program, and so is what the
    function reads from outside. That is compared before each run: what has changed makes the
    function be captured again (a few programs are kept, for values that come again). What cannot be
    compared makes it run as it is, which is told once, in a warning.

        `lambda x:`                     | later                   | which is
        ------------------------------- | ----------------------- | -------------
        `x * a`                         | `a = 5.0`               | noticed
        `helper(x)`                     | `a = 5.0`               | noticed
        `x * d["k"]`                    | `d["k"] = 5.0`          | noticed
        `x * o.a`                       | `o.a = 5.0`             | noticed
        `x * getattr(o, "nested")["a"][0]` | `o.nested["a"][0] = 5.0` | noticed
        `x * C.a`                       | `C.a = 5.0`             | noticed
        `o.method(x)`                   | `o.value = 5.0`         | noticed
        `partial(x=x)`                  | `partial.keywords["s"] = 5.0` | noticed
        `x * array[0]`                  | `array[0] = 5.0`        | noticed
        `x * module.a`                  | `module.a = 5.0`        | noticed
        `x * module.weights["a"][0]`    | `module.weights["a"][0] = 5.0` | noticed
        `-layers(-x)`                   | `layers[0].negative_slope = 5.0` | noticed
        `x * p`                         | `p.data = np.float32([5.0])` | noticed
        `x * adam.lr`                   | `adam.lr = 5.0`         | noticed
        `x * float(os.environ["A"])`    | `os.environ["A"] = "5"` | noticed
        `x * float(sys.argv[-1])`       | `sys.argv[-1] = "5"`    | noticed
        `x * eval("a")`                 | `a = 5.0`               | noticed
        `x * float(open(file).read())`  | `file.write_text("5")`  | runs as it is
        `x * (time.time() * 0 + 2.0)`   | `pass`                  | runs as it is
        `x * rng.random()`              | `pass`                  | runs as it is
        `x * p.item()`                  | `pass`                  | refused
        `x * p.data[0]`                 | `pass`                  | refused
        `x * np.exp(x.data)`            | `pass`                  | refused
        `x if x > 0 else -x`            | `pass`                  | refused
        `mg.sum(mg.asarray(big)) * 0 + x * big[0]` | `big[0] = 5.0` | not seen
        `x * module.a`                  | `vars(module)["a"] = 5.0` | not seen

    The last two are not seen: a single number that NumPy takes out of an array of more than 1 MB of
    which an op takes the whole or a part, and a module's attribute that is set without setting it.
    (A module's own attributes are the only ones that are asked about their changes instead of being
    compared.) Nor is what only describes a thing: an array's flags, a tensor's name, the
    annotations of a class, the defaults in `dataclasses.fields`; nor a file that is read through
    `linecache`.

    An optimizer reads its options anew in every call. One function may be called from several
    threads: its calls wait for each other. A child process made by a fork has threads of its own.

    Inside another transform, under `profile` or `detect_anomaly`, with tracked arguments and on a
    device the function simply runs, and so it does instead of being captured while a profiler of
    Python's watches (`sys.setprofile`).

    Args:
        threads: how many may work on a large program; by default as `set_num_threads` says.

    Raises:
        CaptureError: the function reads values on the way (`item()`, `if x > 0`), or what the
            program gives is not what the function gave.
    """
    if function is None:
        return functools.partial(jit, threads=threads)
    return Jitted(function, threads)


KEPT = 8  # programs of one signature at most, and how often it may be captured in vain


class Variants:
    """The programs of one signature: they differ in what was read beside the arguments.

    Attributes:
        steps: the one used last comes first.
        calls, captures: how many there have been.
        missed: whether a second call has already given something else than the program.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.calls = self.captures = 0
        self.missed = False

    def that_holds(self, objects: list) -> "Step | None":
        """The program that is right now, if there is one."""
        for i, step in enumerate(self.steps):
            if all(map(is_, step.objects, objects)) and step.guard.holds():
                if i:
                    self.steps.insert(0, self.steps.pop(i))
                return step
        return None


_all: "weakref.WeakSet[Jitted]" = weakref.WeakSet()


class Jitted:
    """A function that is repeated as a program; see `jit`.

    Attributes:
        as_it_is: why the function runs as it is and not as a program; "" while it does not.
        report: who is told so, once; by default it is a warning.
    """

    def __init__(self, function: Callable, threads: int | None = None):
        functools.update_wrapper(self, function)
        if threads is not None:
            threads = count("jit", "threads", threads, 1, kernels.MOST_THREADS)
        self.function, self.threads = function, threads
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self.as_it_is = ""
        self.report: Callable[[str], None] = _warn
        self._variants: dict[Any, Variants] = {}
        self._last: Step | None = None
        self._free_all()
        _all.add(self)

    def _free_all(self) -> None:
        # A program has one memory: calls from several threads wait for each other.
        self._lock, self._running = threading.RLock(), False

    def __get__(self, x: Any, owner: Any = None) -> Any:
        return self if x is None else functools.partial(self, x)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = modes.get()
        leaves, shape = taken_apart((args, kwargs))
        inside = mode.observers or mode.levels or mode.differentiating
        if inside or xp() is not np or not _enabled.get():
            return self._simply(leaves, shape)
        if self.as_it_is:
            return untracked(self._simply(leaves, shape))
        arrays, objects, key = [], [], [shape, mode.recording]
        for x in leaves:
            kind = type(x)
            if kind is Tensor:
                if x.requires_grad and x.edge is not None:
                    return self._simply(leaves, shape)
                if not x.requires_grad:
                    x, kind = x._data, np.ndarray
            if kind is np.ndarray:
                arrays.append(x)
                key += (x.shape, x.dtype)
            elif kind in PLAIN:
                key += (kind, x if kind is not float else repr(x))  # NaN is NaN, -0.0 is not 0.0
            elif isinstance(x, np.generic):
                key += (kind, x.tobytes())
            else:
                objects.append(x)
                key.append(kind)
        with self._lock:
            if self._running:  # it is called by what it runs itself, such as a finalizer
                return self._simply(leaves, shape)
            self._running = True
            try:
                return self._run(tuple(key), arrays, objects, leaves, shape)
            finally:
                self._running = False

    def _run(self, signature: tuple, arrays: list, objects: list, leaves: list, shape: Any) -> Any:
        variants = self._variants.get(signature)
        if variants is None:
            variants = self._variants[signature] = Variants()
        variants.calls += 1
        step = variants.that_holds(objects)
        if step is not None:
            self._last = step
            if step.trusted:
                return step.finish(step.program.run(arrays))
            return step.prove(variants, arrays, leaves, shape)
        if variants.captures >= KEPT and variants.calls < 4 * variants.captures:
            changed = next((s.guard.changed for s in variants.steps if s.guard.changed), "")
            self.goes_on_as_it_is(
                f"it is called again and again with another {changed or 'object'}; give what "
                f"changes as an argument, in an array"
            )
            return untracked(self._simply(leaves, shape))
        if sys.getprofile() is not None:  # which is how a capture watches what runs
            return untracked(self._simply(leaves, shape))
        variants.captures += 1
        step = Step(self, objects, leaves, shape)
        if step.program is None:
            self.goes_on_as_it_is(
                f"it reads {', '.join(step.guard.unwatched[:3])}, of which a program would not "
                f"notice that it has changed; give it as an argument, in an array"
            )
        else:
            self._last = step
            variants.steps = [step, *variants.steps[: KEPT - 1]]
        return step.result

    def goes_on_as_it_is(self, reason: str) -> None:
        """From here on the function runs as it is; tell it once."""
        self.as_it_is = reason
        self._variants.clear()
        self.report(f"jit: '{self.name}' runs as it is, without a program: {reason}")

    @property
    def steps(self) -> list["Step"]:
        """All that was captured and is kept."""
        return [step for variants in self._variants.values() for step in variants.steps]

    def __deepcopy__(self, memo: dict) -> "Jitted":
        """One without programs yet, of the function with copies of what it closes over."""
        memo[id(self)] = new = Jitted(copied(self.function, memo), self.threads)
        return new

    def _simply(self, leaves: list, shape: Any) -> Any:
        """The function as it is; arrays come as Tensors all the same."""
        args, kwargs = filled(shape, [wrap(x) if is_array(x) else x for x in leaves])
        return self.function(*args, **kwargs)

    def program(self) -> str:
        """The program of the last call: a line for each instruction, with shapes and times.

        Raises:
            CaptureError: it has not been called yet, or runs as it is.
        """
        if self.as_it_is:
            raise CaptureError(f"jit: '{self.name}' runs as it is: {self.as_it_is}")
        if self._last is None:
            raise CaptureError(f"jit: '{self.name}' has not been called yet")
        step = self._last
        with self._lock:
            kept = step.snapshot()
            try:
                return step.program.table(self.name)
            finally:
                step.restore(kept)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=6)


def _free_after_fork() -> None:
    for jitted in _all:
        jitted._free_all()


if hasattr(os, "register_at_fork"):  # a thread that held a lock is not there in the child
    os.register_at_fork(after_in_child=_free_after_fork)


def keep_array(tensor: Tensor, array: np.ndarray) -> None:
    """Put a tensor's new values into the array that it had before."""
    if tensor._data is not array:
        array[...] = tensor._data
        tensor._data = array


def _is_data(x: Any) -> bool:
    """Whether an argument is new in every call."""
    return type(x) is np.ndarray or (type(x) is Tensor and not x.requires_grad)


_enabled = ContextVar("jit", default=True)


@contextmanager
def disable_jit() -> Iterator[None]:
    """Inside the block, functions under `jit` run as they are."""
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)


class Step:
    """One captured run of a function.

    Attributes:
        program: what repeats it; None if nothing can.
        guard: what it depends on beside its arguments.
        objects: the arguments that are no data.
        result: what the first call gave.
        trusted: whether program and function have been compared on other numbers, too.
    """

    def __init__(self, owner: Jitted, objects: list, leaves: list, shape: Any):
        self.owner, self.objects, self.trusted = owner, objects, False
        self.program: Program | None = None
        adopt_all()  # parameters that were given other arrays: optimizers read them in their place
        tracer, watch = Tracer(), Watch()
        inputs, arguments, given = [], [], []
        for x in leaves:
            if _is_data(x):
                given.append(x._data if type(x) is Tensor else x)
                array = np.array(given[-1])
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
            if self.guard.unwatched:
                tracer.assign()
                self.result = untracked(y)
                return
            self._capture(tracer, arguments, y)
        except BaseException:
            tracer.undo()
            raise
        theirs = [np.array(a) for a in _numbers(y)]
        theirs += [np.array(p._grad._data) for p in self._holders]
        after = [np.array(a) for a in (*tracer.state(), *tracer.assigned_arrays)]
        self.restore([*tracer.before, *tracer.assigned_before])
        with random.replayed(tracer.keys):
            if tracer.groups is not None:  # what was captured is not what the groups give
                theirs, after = self._function_gives(leaves, shape)[1:]
                self.restore([*tracer.before, *tracer.assigned_before])
        with random.replayed(tracer.keys):
            self.result = self._compared(given, theirs, after)

    def _capture(self, tracer: "Tracer", arguments: list, y: Any) -> None:
        """Make the program of what `tracer` has seen."""
        outs, self._shape = taken_apart(y)
        self._kinds = [type(t) for t in outs]
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

    def _programmed(self, tracer: "Tracer", arguments: list, results: list) -> Program:
        groups = tracer.groups
        for tensors in groups.tensors if groups is not None else ():
            root = tracer.value_of(tensors[0].data).root
            groups.add_table(root, [t.data for t in tensors])
        try:
            return Program(
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
        return type(x) in (Tensor, np.ndarray)

    def finish(self, arrays: list[np.ndarray]) -> Any:
        """The function's result from a run's; gradients that it leaves go to their tensors."""
        for p, g in zip(self._holders, arrays[self._count :], strict=True):
            p.grad = wrap(g)
        found = iter(arrays)
        return filled(
            self._shape,
            [
                c if kind not in (Tensor, np.ndarray)
                else wrap(next(found)) if kind is Tensor else next(found)
                for kind, c in zip(self._kinds, self._constants, strict=True)
            ],
        )  # fmt: skip

    # -- comparing

    def snapshot(self) -> list[np.ndarray]:
        """Copies of all that a run changes."""
        return [np.array(a) for a in self._state()]

    def restore(self, kept: list[np.ndarray]) -> None:
        for a, old in zip(self._state(), kept, strict=True):
            a[...] = old

    def _state(self) -> Iterator[np.ndarray]:
        for optimizer in self.optimizers:
            yield from _state_of(optimizer)
        for target, _ in self.assignments:
            yield target

    def prove(self, variants: Variants, arrays: list, leaves: list, shape: Any) -> Any:
        """The second call: run function and program side by side; what the program gave.

        Where the function has changed what it reads, it counts for itself, and there is no program.
        """
        before = self.snapshot()
        keys = [random.next_key() for _ in range(self.program.keys_drawn)]
        self.program.rest()  # the function needs memory of its own meanwhile
        reader = Reader(self.guard.kept)
        with random.replayed(keys), watched(reader):
            y, theirs, after = self._function_gives(leaves, shape)
        moved = reader.found or ("" if self.guard.holds(before=False) else self.guard.changed)
        if reader.found and not variants.missed:  # perhaps it computes something once and keeps it
            variants.missed = True
            variants.steps.remove(self)
            return untracked(y)
        if moved:
            self.owner.goes_on_as_it_is(
                f"it changes what it reads: {moved}; give that as an argument, and return it"
            )
            return untracked(y)
        self.restore(before)
        with random.replayed(keys):
            try:
                mine = self._compared(arrays, theirs, after)
            except CaptureError:
                variants.steps.remove(self)
                if variants.missed:
                    raise
                variants.missed = True  # a first call may be special: once more, then
                return untracked(y)
        self.trusted = True
        return mine

    def _function_gives(self, leaves: list, shape: Any) -> tuple[Any, list, list]:
        """What the function itself gives, its numbers, and the state that it leaves."""
        token = _enabled.set(False)
        try:
            y = self.owner._simply(leaves, shape)
        finally:
            _enabled.reset(token)
        for tensor, array in self._assigned:
            keep_array(tensor, array)
        theirs = [np.array(a) for a in _numbers(y)]
        return y, theirs + [np.array(p._grad._data) for p in self._holders], self.snapshot()

    def _compared(self, arrays: list, theirs: list[np.ndarray], after: list[np.ndarray]) -> Any:
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
            worst = _difference(a, b)
            if not worst <= 1e-3:  # a difference of sums, as of two means, has lost some digits
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

    def called(self, op: Any, arrays: list, params: dict, y: Any, seconds: float) -> None:
        for x in arrays:
            if id(x) in self.kept:
                self.found = f"{self.kept[id(x)]} is what the call before has left there"


def _shown(x: Any) -> Any:
    return x.array if type(x) is Captured else x


def untracked(y: Any) -> Any:
    """A tree of Tensors without their history."""
    leaves, rebuild = flatten(y)
    return rebuild([wrap(t.data) if type(t) is Tensor else t for t in leaves])


def _numbers(y: Any) -> list[np.ndarray]:
    return [
        t.data if type(t) is Tensor else np.asarray(t)
        for t in flatten(y)[0]
        if type(t) in (Tensor, np.ndarray, int, float)
    ]


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The norm of the difference beside the norm; where both have gone astray nothing counts."""
    if a.shape != b.shape:
        return float("inf")
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
    size = max(math.sqrt(size), floor * math.sqrt(a.size))
    return math.sqrt(off) / size if off else 0.0


# ----------------------------------------------------------------------------------------- watching


class Tracer(Observer):
    """The observer that writes down every op of a step while it runs.

    Attributes:
        calls: so far.
        updates: steps of optimizers so far.
        keys: that were drawn from the random stream.
        groups: of rows with parameters of their own, if there are any.
    """

    captures = True

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.updates: list[Update] = []
        self.keys: list[Any] = []
        self.groups: Groups | None = None
        self.before: list[np.ndarray] = []  # the state of optimizers, before they were called
        self.absent: list[Tensor] = []  # a gradient was found absent that nobody here had cleared
        self._gradients: dict[int, tuple[Tensor, Any]] = {}  # which were changed: as they were
        self._outside: list[tuple[np.ndarray, Value]] = []
        self._lines: list[str] = []
        self._assigned: dict[int, tuple[Tensor, np.ndarray]] = {}
        self._stepped: dict[int, str] = {}  # parameters that an optimizer has changed
        self._values: dict[int, tuple[weakref.ref, Value]] = {}

    def value_of(self, array: np.ndarray) -> Value:
        """The value that an array is; one from outside if nobody has seen it yet."""
        known = self._values.get(id(array))
        if known is not None and known[0]() is array:
            return known[1]
        value = Value(array)
        value.array = array
        self._outside.append((array, value))
        self._lines.append(caller())
        return self.note(array, value)

    def is_made(self, array: Any) -> bool:
        """Whether an op of this step has computed an array."""
        return self.knows(array) and self._values[id(array)][1].root.made

    def is_whole(self, array: np.ndarray) -> bool:
        """Whether ops take an array, or parts of it that lie in its memory: each run reads it."""
        return any(a is array or np.may_share_memory(a, array) for a, _ in self._outside)

    def shown(self, tensor: Tensor, array: Any) -> Any:
        """What `tensor.data` is: to the engine the array, to others one that hides its values."""
        if owner_of(sys._getframe(2).f_code.co_filename) == OURS:
            return array
        return Captured(array, self)

    def note(self, array: np.ndarray, value: Value) -> Value:
        self._values[id(array)] = weakref.ref(array), value
        return value

    def called(self, op: Any, arrays: list, params: dict, y: Any, seconds: float) -> None:
        # A user's op may be called like one of ours, or like anything here: it has another name.
        name = op.__name__ if REGISTRY.get(op.__name__) is op else f"{op.__module__}.{op.__name__}"
        if name == "_getitem" and any(x.dtype.kind == "b" for x in arrays[1:]):
            raise ShapeError(
                "getitem: the shape of the result depends on values, which differ from call to "
                "call under jit; use where(mask, x, 0)"
            )
        for x in arrays:
            if id(x) in self._stepped:
                raise CaptureError(
                    f"jit: '{self._stepped[id(x)]}' is read after an optimizer's step in the same "
                    f"call (at {caller()}), and a program takes its steps at the end; make two "
                    f"functions of it, each under jit"
                )
        inputs = [self._input(x) for x in arrays]
        outputs = [
            t.data if type(t) is Tensor else t for t in (y if isinstance(y, tuple) else (y,))
        ]
        outputs = [uncovered(x)[0] for x in outputs]
        if len(outputs) == 1 and self._is_view(outputs[0], arrays, inputs):
            return
        values = []
        for new in outputs:
            value = Value(new)
            value.made = True
            values.append(self.note(new, value))
        self.calls.append(Call(name, op, inputs, params, values))

    def drew(self, draw: Callable, key: random.Key, numbers: np.ndarray) -> None:
        """Note that `draw(key)` has given random numbers."""
        value = Value(numbers)
        value.made = True
        self.calls.append(Call(draw.func.__name__, draw, [self._input(key)], {}, [value]))
        self.note(numbers, value)

    def _input(self, x: Any) -> Any:
        if type(x) is np.ndarray:
            return self.value_of(x)
        if type(x) is Batched:
            array, levels = uncovered(x)
            return Hidden(self.value_of(array), levels)
        if type(x) is random.Key:
            for i, key in enumerate(self.keys):
                if key is x:
                    return Drawn(i)
        return x

    def _is_view(self, y: np.ndarray, arrays: list, inputs: list) -> bool:
        """Whether `y` shows memory of an input, and nothing was computed; then it is noted so."""
        for x, value in zip(arrays, inputs, strict=True):
            x, _ = uncovered(x)
            if y is x:
                return True
            if type(x) is np.ndarray and y.base is not None and np.may_share_memory(x, y):
                value = value.value if type(value) is Hidden else value
                offset = y.__array_interface__["data"][0] - x.__array_interface__["data"][0]
                self.note(y, Value(y, value.root, value.offset + offset))
                return True
        return False

    # -- groups

    def split(self, ids: Any, models: list[Module]) -> bool:
        """Note that rows go to `models` by `ids`; whether one program can serve every split."""
        if type(ids) is not Tensor or not self.knows(ids.data):
            return False  # the groups are part of the program
        if self.groups is not None:
            raise CaptureError("jit: a step can call one Grouped model, once")
        value = self.value_of(ids.data)
        parameters = [[p for _, p in m.named_parameters()] for m in models]
        settings = [_settings_of(m) for m in models]
        buffers = any(m.buffers() for m in models)  # which the program could not tell apart
        if any(s != settings[0] for s in settings) or value.root.made or buffers:
            raise CaptureError(
                "jit: the sub-models of a Grouped differ or have buffers, so that every split of a "
                "batch is another program: give the groups as a list of names, which is no array"
            )
        self.groups = Groups(value, [list(ps) for ps in zip(*parameters, strict=True)])
        return True

    def knows(self, array: np.ndarray) -> bool:
        known = self._values.get(id(array))
        return known is not None and known[0]() is array

    # -- what a step does beside giving a result

    def updated(self, optimizer: Any, gradients: Mapping[str, Any]) -> None:
        """Note a step of an optimizer, which goes on to make it."""
        if any(u.optimizer is optimizer for u in self.updates):
            raise CaptureError("jit: an optimizer makes two steps in one call; make it one a call")
        found = {
            name: None if g is None else self.value_of(g.data if type(g) is Tensor else g)
            for name, g in gradients.items()
        }
        self.before += [np.array(a) for a in _state_of(optimizer)]
        self.updates.append(Update(optimizer, found))
        self._stepped |= {id(p.data): name for name, p in optimizer.parameters.items()}

    def assigned(self, tensor: Tensor, array: Any) -> None:
        """Note that `tensor` is about to be given the array of another."""
        self.value_of(array)
        self._assigned.setdefault(id(tensor), (tensor, tensor.data))

    def refuse(self, what: str, reason: str = "") -> None:
        """Raise because a program cannot repeat `what`, for `reason`, or else because a value is
        wanted that is not known when a program is run.
        """
        raise CaptureError(
            f"jit: {what} {reason}"
            if reason
            else f"jit: {what} asks for a value while a step is captured (at {caller()}), and what "
            f"follows would hang on it; give the tensor back and read it outside, or use "
            f"where(condition, a, b) in place of an if"
        )

    def overwrites(self, array: Any) -> None:
        """Raise because memory is overwritten in a way that no op describes."""
        raise CaptureError(
            f"jit: an array is written to in place while a step is captured (at {caller()}); write "
            f"`x[...] = new`, or `x.data = index_set(x, ids, new).data` for a part of it"
        )

    def finish_assignments(self) -> list[tuple[np.ndarray, Value]]:
        """Arrays that get values after each run; tensors keep the arrays that they had."""
        self.assigned_tensors = list(self._assigned.values())
        self.assigned_arrays = [tensor._data for tensor, _ in self.assigned_tensors]
        self.assigned_before = [np.array(old) for _, old in self.assigned_tensors]
        found = []
        for tensor, old in self.assigned_tensors:
            found.append((old, self.value_of(tensor._data)))
            tensor._data = old
        return found

    def assign(self) -> None:
        """Give tensors what the step has assigned to them."""
        for (tensor, _), array in zip(self.assigned_tensors, self.assigned_arrays, strict=True):
            tensor._data = array

    def state(self) -> Iterator[np.ndarray]:
        """What the optimizers that were called have."""
        for update in self.updates:
            yield from _state_of(update.optimizer)

    def undo(self) -> None:
        """The step has failed: tensors and optimizers are as they were before."""
        for tensor, old in self._assigned.values():
            tensor._data = old
        for tensor, old in self._gradients.values():
            tensor._grad = old
        for a, old in zip(self.state(), self.before, strict=True):
            a[...] = old

    def sets_gradient(self, tensor: Tensor, adds: bool) -> None:
        """Note that `tensor.grad` is about to be set; `adds`: to the sum with what it is."""
        old = tensor._grad
        if adds and id(tensor) not in self._gradients:
            if old is not None:
                what = f"'{tensor.name}'" if tensor.name else f"a tensor {tensor.shape}"
                raise CaptureError(
                    f"jit: the step adds to the gradient of {what} that was there before it; call "
                    f"zero_grad() at its beginning or end, or leave out jit"
                )
            if not self.knows(tensor._data) or self.value_of(tensor._data).root.array is not None:
                self.absent.append(tensor)  # from outside
        self._gradients.setdefault(id(tensor), (tensor, old))

    def gradients_left(self, guard: Guard) -> list[tuple[Tensor, Value]]:
        """Tensors from outside whose `.grad` was computed in this step and stays."""
        return [
            (t, self._values[id(t._grad._data)][1])
            for t in guard.tensors
            if id(t) in self._gradients and type(t._grad) is Tensor and self.knows(t._grad._data)
        ]

    def gradients_unchanged(self, guard: Guard) -> list[tuple[Tensor, Any]]:
        """Tensors from outside whose `.grad` this step may only have read."""
        return [(t, t._grad) for t in guard.tensors if id(t) not in self._gradients]

    def constants(self, guard: Guard) -> list[str]:
        """Arrays that came from nowhere: described, with the line that met them first.

        Raises:
            CaptureError: one of them is a gradient from before the step.
        """
        known = {id(t._data) for t in guard.tensors}
        old = [(t, t._grad) for t in guard.tensors if id(t) not in self._gradients]
        old += self._gradients.values()
        grads = {id(g._data): t for t, g in old if type(g) is Tensor}
        found = []
        for (a, _), line in zip(self._outside, self._lines, strict=True):
            if (t := grads.get(id(a))) is not None:
                raise CaptureError(
                    f"jit: the step reads the gradient of {t.name or 'a tensor'} {t.shape} that "
                    f"was there before it (at {line}); compute it in the step, or give it as an "
                    f"argument"
                )
            if id(a) not in known:
                found.append(f"{a.dtype} {a.shape} at {line}")
        return found


def _state_of(optimizer: Any) -> Iterator[np.ndarray]:
    for flat in optimizer.flats:
        yield from (flat.weights, *flat.moments.values(), flat.steps)


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


def _settings_of(model: Module) -> list:
    """The classes and settings of a model's modules, and its parameters' shapes, by name."""
    found: list[Any] = [(name, p.shape, p.dtype) for name, p in model.named_parameters()]
    for name, m in model.named_modules():
        plain = {k: v for k, v in vars(m).items() if type(v) in PLAIN and k[:1] != "_"}
        found.append((name, type(m), plain))
    return found
