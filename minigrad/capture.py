"""`mg.jit`: a step is watched once, and from then on repeated without Python's part in it.

Jitted      the function that `jit` gives: one program for each signature of arguments
Tracer      writes down the ops of a step while it runs
Guard       what else the step depended on: settings of modules, numbers, parameters
"""

import functools
import math
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minigrad import kernels, random
from minigrad.arguments import count
from minigrad.autodiff import Tensor, caller, wrap
from minigrad.backend import is_array, modes, switched, xp
from minigrad.batched import Batched
from minigrad.errors import CaptureError, ShapeError
from minigrad.nn.module import Module, changes
from minigrad.optim import Optimizer
from minigrad.optim.copying import copied
from minigrad.programs import Call, Drawn, NotStacked, Program, Region, Update, Value
from minigrad.programs.values import Hidden, uncovered
from minigrad.trees import flatten

__all__ = ["Jitted", "disable_jit", "jit"]

PLAIN = (bool, int, float, str, bytes, type(None))


def jit(function: Callable | None = None, *, threads: int | None = None) -> Any:
    """`function` as a program: watched at its first call, repeated from then on.

    The function may be a whole training step (forward, `backward`, an optimizer's `step`), one that
    gives losses and gradients, or a forward pass. In its first call with arguments of some shapes
    and dtypes its ops are written down. What is repeated from then on is a program: no graph is
    built, every array has its place, and passes over memory are put together. In the first two
    calls the function runs beside the program, and results and state are compared. They are the
    program's in every call, so that bits do not depend on when it was captured.

    Arrays are data; all else in the arguments, and what the function reads from outside (settings
    of modules, numbers), is part of the program: if it changes, the function is watched again.
    Parameters and an optimizer's learning rate are read anew in every call. Results are untracked.

    Inside another transform, under `profile` or `detect_anomaly`, with tracked arguments and on a
    device the function simply runs.

    Args:
        threads: how many may work on a large program; by default as `set_num_threads` says.

    Raises:
        CaptureError: the function reads values on the way (`item()`, `if x > 0`), or what the
            program gives is not what the function gave.
    """
    if function is None:
        return functools.partial(jit, threads=threads)
    return Jitted(function, threads)


class Jitted:
    """A function that is repeated as a program; see `jit`."""

    def __init__(self, function: Callable, threads: int | None = None):
        functools.update_wrapper(self, function)
        if threads is not None:
            threads = count("jit", "threads", threads, 1, kernels.MOST_THREADS)
        self.function, self.threads = function, threads
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self._steps: dict[Any, Step] = {}
        self._last: Step | None = None

    def __get__(self, x: Any, owner: Any = None) -> Any:
        return self if x is None else functools.partial(self, x)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = modes.get()
        inside = mode.observers or mode.levels or mode.differentiating
        if inside or xp() is not np or not _enabled.get():
            return self._simply(*flatten((args, kwargs)))
        leaves, rebuild = flatten((args, kwargs))
        arrays, key = [], []
        for x in leaves:
            if type(x) is Tensor:
                if x.requires_grad and x.edge is not None:
                    return self._simply(leaves, rebuild)
                if not x.requires_grad:
                    x = x.data
            if type(x) is np.ndarray:
                arrays.append(x)
                key += (x.shape, x.dtype)
            else:
                key.append(x if type(x) in PLAIN else id(x))
        signature = (len(args), *kwargs, mode.recording, *key)
        try:
            step = self._steps.get(signature)
        except TypeError as error:
            raise CaptureError(
                f"jit: '{self.name}': an argument cannot be told apart: {error}"
            ) from error
        if step is None or not step.guard.holds():
            step = self._steps[signature] = self._last = Step(self, leaves, rebuild)
            return step.result
        self._last = step
        if not step.trusted:
            return step.prove(arrays, leaves, rebuild)
        return step.finish(step.program.run(arrays))

    def __deepcopy__(self, memo: dict) -> "Jitted":
        """One without programs yet, of the function with copies of what it closes over."""
        memo[id(self)] = new = Jitted(copied(self.function, memo), self.threads)
        return new

    def _simply(self, leaves: list, rebuild: Callable) -> Any:
        """The function as it is; arrays come as Tensors all the same."""
        args, kwargs = rebuild([wrap(x) if is_array(x) else x for x in leaves])
        return self.function(*args, **kwargs)

    def program(self) -> str:
        """The program of the last call: a line for each instruction, with shapes and times."""
        if self._last is None:
            raise CaptureError(f"jit: '{self.name}' has not been called yet")
        step = self._last
        kept = step.snapshot()
        try:
            return step.program.table(self.name)
        finally:
            step.restore(kept)


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
    """One captured signature of a function.

    Attributes:
        program: what repeats it.
        guard: what it depends on beside its arguments.
        result: what the first call gave.
        trusted: whether program and function have been compared.
    """

    def __init__(self, owner: Jitted, leaves: list, rebuild: Callable):
        self.owner, self.trusted = owner, False
        self.guard = Guard(owner.function, leaves)
        tracer = Tracer(self.guard)
        inputs, arguments = [], []
        for x in leaves:
            if _is_data(x):
                array = np.array(x.data if type(x) is Tensor else x)
                arguments.append(tracer.note(array, Value(array)))
                x = wrap(array)
            inputs.append(x)
        args, kwargs = rebuild(inputs)
        before = self.guard.snapshot()
        with (
            self._left_as(before),
            _watched(owner.name, self.guard),
            random.recorded(tracer.keys),
            switched(observers=(*modes.get().observers, tracer), capture=tracer),
        ):
            y = owner.function(*args, **kwargs)
        outs, self._rebuild = flatten(y)
        self._kinds = [type(t) for t in outs]
        self._constants = [None if self._is_result(t) else t for t in outs]
        arrays = [t.data if type(t) is Tensor else t for t in outs if self._is_result(t)]
        gradients = tracer.gradients_left()
        self._holders = [p for p, _ in gradients]
        self._count = len(arrays)
        results = [tracer.value_of(a) for a in arrays] + [v for _, v in gradients]
        self.assignments = tracer.finish_assignments()
        self._assigned = tracer.assigned_tensors
        self.optimizers = list({id(u.optimizer): u.optimizer for u in tracer.updates}.values())
        self.constants = tracer.constants()
        self.guard.settle()
        with self._left_as(before):
            self.program = self._programmed(tracer, arguments, results)
        self.guard.restore(before)
        del before
        given = [x.data if type(x) is Tensor else x for x in leaves if _is_data(x)]
        self.result = self.prove(given, leaves, rebuild, tracer.keys)
        self.trusted = False

    @contextmanager
    def _left_as(self, before: list[np.ndarray]) -> Iterator[None]:
        """Should the block fail, nothing has happened."""
        try:
            yield
        except BaseException:
            self.guard.restore(before)
            raise

    def _programmed(self, tracer: "Tracer", arguments: list, results: list) -> Program:
        region = tracer.region
        for tensors in region.tensors if region is not None else ():
            root = tracer.value_of(tensors[0].data).root
            region.add_table(root, [t.data for t in tensors])
        try:
            return Program(
                tracer.calls, arguments, results, tracer.updates, self.assignments,
                len(tracer.keys), self.owner.threads or kernels.get_num_threads(), region,
            )  # fmt: skip
        except NotStacked as error:
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
        return self._rebuild(
            [
                c if kind not in (Tensor, np.ndarray)
                else wrap(next(found)) if kind is Tensor else next(found)
                for kind, c in zip(self._kinds, self._constants, strict=True)
            ]
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
            for flat in optimizer.flats:
                yield from (flat.weights, *flat.moments.values(), flat.steps)
        for target, _ in self.assignments:
            yield target

    def prove(self, arrays: list, leaves: list, rebuild: Callable, keys: list | None = None) -> Any:
        """Run function and program side by side; raise if they differ. What the program gave."""
        before = self.snapshot()
        if keys is None:
            keys = [random.next_key() for _ in range(self.program.keys_drawn)]
        self.program.rest()  # the function needs memory of its own meanwhile
        with random.replayed(keys):
            theirs = untracked(self.owner._simply(leaves, rebuild))
        for tensor, array in self._assigned:
            keep_array(tensor, array)
        after = self.snapshot()
        self.restore(before)
        with random.replayed(keys):
            mine = self.finish(self.program.run(arrays))
        pairs = [("a result", *p) for p in zip(_numbers(mine), _numbers(theirs), strict=True)]
        pairs += [("the state afterwards", *p) for p in zip(self._state(), after, strict=True)]
        for what, a, b in pairs:
            worst = _difference(a, b)
            if not worst <= (1e-4 if what == "a result" else 1e-3):
                self.restore(after)
                raise CaptureError(
                    f"jit: the program of '{self.owner.name}' does not repeat the function: "
                    f"{what}, {a.dtype} {a.shape}, is off by {worst:.1e} of its size. "
                    f"Something that changes from call to call does not come in through the "
                    f"arguments, or is computed by NumPy, not by ops. Taken as constant were: "
                    f"{', '.join(self.constants) or 'no arrays'}"
                )
        self.trusted = True
        return mine


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


class Tracer:
    """Writes down every op of a step while it runs; an observer of ops.

    Attributes:
        calls: so far.
        updates: steps of optimizers so far.
        keys: that were drawn from the random stream.
        region: groups of rows with parameters of their own, if there are any.
    """

    def __init__(self, guard: "Guard"):
        self.guard = guard
        self.calls: list[Call] = []
        self.updates: list[Update] = []
        self.keys: list[Any] = []
        self.region: Region | None = None
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
        if (name := self.guard.gradient_of(array)) is not None:
            raise CaptureError(
                f"jit: the step adds to the gradient of {name} that was there before it; call "
                f"zero_grad() at its beginning or end, or leave out jit"
            )
        value = Value(array)
        value.array = array
        self._outside.append((array, value))
        self._lines.append(caller())
        return self.note(array, value)

    def note(self, array: np.ndarray, value: Value) -> Value:
        self._values[id(array)] = weakref.ref(array), value
        return value

    def called(self, op: Any, arrays: list, params: dict, y: Any, seconds: float) -> None:
        if op.__name__ == "_getitem" and any(x.dtype.kind == "b" for x in arrays[1:]):
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
        self.calls.append(Call(op.__name__, op, inputs, params, values))

    def drew(self, draw: Callable, key: random.Key, numbers: np.ndarray) -> None:
        """Note that `draw(key)` has given random numbers."""
        value = Value(numbers)
        value.made = True
        self.calls.append(Call(draw.func.__name__, draw, [self._input(key)], {}, [value]))
        self.note(numbers, value)

    def pulled_back(self, node: Any, g: Any, found: list, seconds: float) -> None:
        pass

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
        if self.region is not None:
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
        self.region = Region(value, [list(ps) for ps in zip(*parameters, strict=True)])
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
        self.updates.append(Update(optimizer, found))
        self._stepped |= {id(p.data): name for name, p in optimizer.parameters.items()}

    def assigned(self, tensor: Tensor, array: Any) -> None:
        """Note that `tensor` is about to be given the array of another."""
        self.value_of(array)
        self._assigned.setdefault(id(tensor), (tensor, tensor.data))

    def refuse(self, what: str) -> None:
        """Raise because a value is wanted that is not known when a program is run."""
        raise CaptureError(
            f"jit: {what} asks for a value while a step is captured (at {caller()}), and what "
            f"follows would hang on it; give the tensor back and read it outside, or use "
            f"where(condition, a, b) in place of an if"
        )

    def refuse_write(self) -> None:
        """Raise because memory is overwritten in a way that no op describes."""
        raise CaptureError(
            f"jit: an array is written to in place while a step is captured (at {caller()}); write "
            f"`x[...] = new`, or `x.data = index_set(x, ids, new).data` for a part of it"
        )

    def finish_assignments(self) -> list[tuple[np.ndarray, Value]]:
        """Arrays that get values after each run; tensors keep the arrays that they had."""
        found = []
        for tensor, old in self._assigned.values():
            found.append((old, self.value_of(tensor.data)))
            tensor._data = old
        self.assigned_tensors = list(self._assigned.values())
        return found

    def gradients_left(self) -> list[tuple[Tensor, Value]]:
        """Parameters whose `.grad` was computed in this step and stays."""
        return [
            (p, self._values[id(p.grad.data)][1])
            for p in self.guard.tensors
            if p.grad is not None
            and (known := self._values.get(id(p.grad.data))) is not None
            and known[0]() is p.grad.data
        ]

    def constants(self) -> list[str]:
        """Arrays that came from nowhere: described, with the line that met them first."""
        known = self.guard.arrays()
        return [
            f"{a.dtype} {a.shape} at {line}"
            for (a, _), line in zip(self._outside, self._lines, strict=True)
            if id(a) not in known
        ]


@contextmanager
def _watched(name: str, guard: "Guard") -> Iterator[None]:
    """Warn if something is printed, or a list or dictionary grows, while a step is captured."""
    printed = []

    class Stream:
        def __init__(self, stream: Any):
            self.stream = stream

        def write(self, text: str) -> int:
            printed.append(text)
            return self.stream.write(text)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.stream, attribute)

    sizes = [(what, x, len(x)) for what, x in guard.containers]
    old = sys.stdout
    sys.stdout = stream = Stream(old)
    try:
        yield
    finally:
        if sys.stdout is stream:
            sys.stdout = old
    effects = [f"it printed {''.join(printed)[:40]!r}"] if printed else []
    effects += [f"{what} grew" for what, x, n in sizes if len(x) != n]
    if effects:
        warnings.warn(
            f"jit: while '{name}' was captured, {' and '.join(effects)}; that will not happen "
            f"again when the program is repeated",
            stacklevel=4,
        )


class Guard:
    """What a function reads beside its arguments, as far as that can be seen.

    Its closure, the globals that it names, the object that it is bound to, and so on through the
    functions among them: numbers and settings of modules are compared before each call; parameters
    must have the arrays that they had.
    """

    def __init__(self, function: Callable, leaves: list):
        self.modules: list[Module] = []
        self.tensors: list[Tensor] = []
        self.optimizers: list[Optimizer] = []
        self.containers: list[tuple[str, Any]] = []
        self._numbers: list[tuple[Callable[[], Any], Any]] = []
        self._seen: set[int] = set()
        self._function(function)
        for x in leaves:
            self._meet("an argument", x)
        for module in list(self.modules):
            held = [*dict(module.named_parameters()).values(), *module.buffers()]
            self.tensors += [p for p in held if all(p is not t for t in self.tensors)]
        self._gradients = {
            id(p.grad.data): (p.grad.data, f"'{p.name}'" if p.name else f"a tensor {p.shape}")
            for p in self.tensors
            if p.grad is not None
        }
        self._settings = self._changes = None
        self._arrays: list[tuple[Tensor, Any]] = []

    def _function(self, function: Any) -> None:
        if isinstance(function, functools.partial):
            for x in (*function.args, *function.keywords.values()):
                self._meet("an argument", x)
            function = function.func
        if isinstance(function, Jitted):
            function = function.function
        if isinstance(function, types.MethodType):
            self._meet("self", function.__self__)
            function = function.__func__
        if isinstance(function, Module):
            self._meet("the module", function)
            function = type(function).forward
        if not isinstance(function, types.FunctionType) or id(function) in self._seen:
            return
        self._seen.add(id(function))
        if _is_ours(function.__module__ or ""):
            return
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                x = cell.cell_contents
            except ValueError:
                continue
            self._meet(f"'{name}'", x)
            if type(x) in PLAIN:
                self._numbers.append((functools.partial(getattr, cell, "cell_contents"), x))
        names = set(code.co_names)
        for name in names & function.__globals__.keys():
            x = function.__globals__[name]
            self._meet(f"'{name}'", x)
            if type(x) in PLAIN:
                self._numbers.append((functools.partial(function.__globals__.get, name), x))
        for x in function.__defaults__ or ():
            self._meet("a default", x)

    def _meet(self, what: str, x: Any) -> None:
        if id(x) in self._seen:
            return
        if isinstance(x, Module):
            self._seen.add(id(x))
            self.modules += [m for _, m in x.named_modules()]
        elif isinstance(x, Optimizer):
            self._seen.add(id(x))
            self.optimizers.append(x)
            self.tensors += [
                p for p in x.parameters.values() if all(p is not t for t in self.tensors)
            ]
        elif type(x) is Tensor:
            self._seen.add(id(x))
            self.tensors.append(x)
        elif isinstance(x, list | dict | tuple | set):
            self._seen.add(id(x))
            if not isinstance(x, tuple):
                self.containers.append((what, x))
            for v in list(x.values() if isinstance(x, dict) else x)[:1000]:
                self._meet(what, v)
        elif isinstance(x, types.FunctionType | types.MethodType | functools.partial | Jitted):
            self._function(x)
        elif hasattr(x, "__dict__") and not isinstance(x, type | types.ModuleType):
            self._seen.add(id(x))
            module = type(x).__module__
            if not _is_ours(module) and module.split(".")[0] not in ("numpy", "builtins"):
                for name, v in list(vars(x).items()):
                    self._meet(f"'{name}'", v)

    def snapshot(self) -> list[np.ndarray]:
        """Copies of what optimizers change."""
        return [np.array(a) for a in self._state()]

    def restore(self, kept: list[np.ndarray]) -> None:
        for a, old in zip(self._state(), kept, strict=True):
            a[...] = old

    def _state(self) -> Iterator[np.ndarray]:
        for flat in (f for o in self.optimizers for f in o.flats):
            yield from (flat.weights, *flat.moments.values(), flat.steps)

    def gradient_of(self, array: np.ndarray) -> str | None:
        """Whose gradient `array` was before the step; None if nobody's."""
        known = self._gradients.get(id(array))
        return known[1] if known is not None and known[0] is array else None

    def arrays(self) -> set[int]:
        """The identities of the arrays of all tensors that are known."""
        return {id(t.data) for t in self.tensors}

    def settle(self) -> None:
        """The step has been captured: what holds now must hold from here on."""
        self._settings, self._changes = self._read_settings(), changes()
        self._arrays = [(t, t.data) for t in self.tensors]
        self._gradients = {}

    def holds(self) -> bool:
        """Whether the step still depends on what it did when it was captured."""
        for read, value in self._numbers:
            x = read()
            if x is not value and (type(x) is not type(value) or x != value):
                return False
        for t, array in self._arrays:
            if t._data is not array:
                return False
        if changes() != self._changes:
            if self._read_settings() != self._settings:
                return False
            self._changes = changes()
        return True

    def _read_settings(self) -> list:
        return [
            {k: v if type(v) in PLAIN else id(v) for k, v in vars(m).items() if k[:1] != "_"}
            for m in self.modules
        ]


def _is_ours(module: str) -> bool:
    """Whether a module is of the engine, which holds no model of a user's."""
    package, _, part = module.partition(".")
    return package == "minigrad" and part.split(".")[0] not in ("examples", "learner")


def _settings_of(model: Module) -> list:
    """The classes and settings of a model's modules, and its parameters' shapes, by name."""
    found: list[Any] = [(name, p.shape, p.dtype) for name, p in model.named_parameters()]
    for name, m in model.named_modules():
        plain = {k: v for k, v in vars(m).items() if type(v) in PLAIN and k[:1] != "_"}
        found.append((name, type(m), plain))
    return found
