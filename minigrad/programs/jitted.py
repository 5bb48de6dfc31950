"""`mg.jit`: a step is watched once, and from then on repeated without Python's part in it.

What is kept of one captured run is a `minigrad.programs.step.Step`.
"""

import functools
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy as np

from minigrad import kernels
from minigrad.arguments import count
from minigrad.autodiff import Tensor, wrap
from minigrad.backend import is_array, modes
from minigrad.errors import CaptureError
from minigrad.optim.copying import copied
from minigrad.precision import get_float32_matmul_precision
from minigrad.programs.places import is_plain
from minigrad.programs.program import Program
from minigrad.programs.step import Step, jit_enabled, untracked
from minigrad.programs.tracing import PLAIN
from minigrad.trees import filled, taken_apart

__all__ = ["Jitted", "jit"]


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

    Inside another transform, under `profile` or `detect_anomaly` and with tracked arguments the
    function simply runs, and so it does instead of being captured while a profiler of Python's
    watches (`sys.setprofile`).

    Where arrays are CuPy's, the program is one of the device, recorded as a CUDA graph: see
    `minigrad.programs.device`.

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

    def that_holds(self, objects: list) -> Step | None:
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
        if inside or not jit_enabled.get():
            return self._simply(leaves, shape)
        if self.as_it_is:
            return untracked(self._simply(leaves, shape))
        arrays, objects = [], []
        key = [shape, mode.recording, mode.autocast, get_float32_matmul_precision()]
        for x in leaves:
            kind = type(x)
            if kind is Tensor:
                if x.requires_grad and x.edge is not None:
                    return self._simply(leaves, shape)
                if not x.requires_grad:
                    x = x._data
                    kind = type(x)
            if kind is np.ndarray or is_plain(x):
                arrays.append(x)
                key += (kind, x.shape, x.dtype)
                if kind is not np.ndarray:  # a graph belongs to its device
                    key.append(x.device.id)
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
        if step.as_it_is:
            self.goes_on_as_it_is(step.as_it_is)
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
    def steps(self) -> list[Step]:
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
        with self.measuring() as program:
            return program.table(self.name)

    @contextmanager
    def measuring(self) -> Iterator[Program]:
        """The program of the last call; what is run of it inside the block is undone.

        Raises:
            CaptureError: it has not been called yet.
        """
        if self._last is None:
            raise CaptureError(f"jit: '{self.name}' has not been called yet")
        step = self._last
        with self._lock:
            kept = step.snapshot()
            try:
                yield step.program
            finally:
                step.restore(kept)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=6)


def _free_after_fork() -> None:
    for jitted in _all:
        jitted._free_all()


if hasattr(os, "register_at_fork"):  # a thread that held a lock is not there in the child
    os.register_at_fork(after_in_child=_free_after_fork)
