"""`mg.study`: one run of a function, recorded."""

import contextlib
import functools
import gc
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from minigrad import random
from minigrad.autodiff import Tensor, as_array
from minigrad.backend import is_array, watched
from minigrad.nn import Module
from minigrad.programs import Jitted, disable_jit
from minigrad.study.programs import add_program
from minigrad.study.record import Record
from minigrad.study.recorder import USER, Recorder, kind_of
from minigrad.trees import leaves_of, paths


def study(f: Callable, *args: Any, **kwargs: Any) -> Record:
    """What the engine does in one run of `f(*args, **kwargs)`: op by op, and rule by rule.

    The run is the one that there is: afterwards parameters, gradients and optimizers are as they
    are after a call of `f`, bit for bit. A function under `mg.jit` is recorded as it runs without;
    then the program that stands for it is made, too, and what that changes is put back.

        record = mg.study(step, x, y)
        print(record)
        print(record.op("softmax").gradient)
        print(record.why("conv.weight"))
        record.page("step.html")

    Args:
        f: a function of tensors and arrays, or a whole training step.

    Returns:
        A `minigrad.study.Record`, with what `f` returned as its `result`.

    Raises:
        TypeError: `f` cannot be called.
    """
    if not callable(f):
        raise TypeError(f"study: expected a function, got {type(f).__name__}")
    function, jitted = _beneath(f)
    recorder = Recorder(functools.partial(_names, function, args, kwargs))
    began = time.perf_counter()
    with _few_collections(), disable_jit(), random.recorded(recorder.keys), watched(recorder):
        result = f(*args, **kwargs)
    seconds = time.perf_counter() - began
    record = recorder.finish(_title(function), result, seconds)
    if jitted is not None:
        add_program(record, *jitted, args, kwargs, recorder)
    return record


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Inside, Python looks for garbage a hundred times less often.

    A record is thousands of small objects that stay: looking through them again and again would
    take a tenth of the time, and find nothing.
    """
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(before[0] * 100, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _beneath(f: Callable) -> tuple[Callable, tuple[Jitted, functools.partial] | None]:
    """`f` without `mg.jit`; if it is under that, what is, and how it was to be called."""
    if isinstance(f, Jitted):
        return f.function, (f, functools.partial(f))
    if isinstance(f, functools.partial) and isinstance(f.func, Jitted):  # a method is one, too
        return functools.partial(f.func.function, *f.args, **f.keywords), (f.func, f)
    return f, None


def _title(function: Callable) -> str:
    """What a function is called, with its module where that has a name."""
    inner = getattr(function, "func", function)
    name = getattr(inner, "__qualname__", type(inner).__name__).replace("<locals>.", "")
    module = getattr(inner, "__module__", "") or ""
    return name if module in ("", "__main__", "builtins") else f"{module}.{name}"


def _names(function: Callable, args: tuple, kwargs: Mapping) -> dict[int, tuple[Any, str, str]]:
    """What tensors and arrays are called that a function is given, or that it closes over."""
    found: dict[int, tuple[Any, str, str]] = {}

    def add(x: Any, name: str, kind: str) -> None:
        found.setdefault(id(x), (x, name, kind))
        if type(x) is Tensor:
            found.setdefault(id(as_array(x)), (as_array(x), name, kind))

    around = list(_all_around(function))
    try:
        given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        given = {f"argument {i}": x for i, x in enumerate(args)} | dict(kwargs)
    modules = _modules([*given.items(), *around])
    for name, module in modules:
        prefix = "" if len(modules) == 1 else f"{name}."
        for path, p in module.named_parameters():
            add(p, prefix + path, "parameter")
        for path, b in module.named_buffers():
            add(b, prefix + path, "constant")
    for name, x in given.items():
        for path, leaf in _leaves(x):
            if type(leaf) is Tensor and leaf.requires_grad:
                add(leaf, leaf.name or name + path, "parameter" if leaf.name else "argument")
            elif type(leaf) is Tensor or is_array(leaf):
                add(leaf, name + path, "argument")
    for name, x in around:
        if type(x) is Tensor or is_array(x):
            add(x, getattr(x, "name", None) or name, "parameter" if _tracked(x) else "constant")
    return found


def _modules(things: list[tuple[str, Any]]) -> list[tuple[str, Module]]:
    """The modules among things and their `.model`s, with names; none that is in another of them."""
    found: dict[int, tuple[str, Module]] = {}
    taken: Counter[str] = Counter()
    for name, x in things:
        for path, m in _parts(x):
            if isinstance(m, Module) and id(m) not in found:
                taken[name + path] += 1
                count = taken[name + path]
                found[id(m)] = name + path + (f" {count}" if count > 1 else ""), m
    inside = {id(part) for _, m in found.values() for _, part in m.named_modules() if part is not m}
    return [pair for key, pair in found.items() if key not in inside]


def _parts(x: Any) -> Iterator[tuple[str, Any]]:
    """`x` and its `.model`; of a small list or dictionary what is in it, with where."""
    yield "", x
    with contextlib.suppress(Exception):  # of a property, which is none of our business
        yield "", getattr(x, "model", None)
    if isinstance(x, list | tuple | dict) and 0 < len(x) <= 100:
        yield from _leaves(x)


def _leaves(x: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree, with where they stand; none if it is in itself."""
    try:
        return list(zip(paths(x), leaves_of(x), strict=True))
    except RecursionError:
        return []


def _tracked(x: Any) -> bool:
    return type(x) is Tensor and x.requires_grad


def _all_around(function: Callable, depth: int = 3) -> Iterator[tuple[str, Any]]:
    """What a function reads from outside, by name, and what functions among that read."""
    for name, x in _around(function):
        yield name, x
        own = isinstance(x, FunctionType | MethodType | functools.partial)
        if own and depth and kind_of(_file_of(x)) == USER:
            yield from _all_around(x, depth - 1)


def _file_of(function: Any) -> str:
    inner = inspect.unwrap(getattr(function, "func", function))
    code = getattr(inner, "__code__", None)
    return "" if code is None else code.co_filename


def _around(function: Callable) -> Iterator[tuple[str, Any]]:
    """What a function reads from outside, by name: its `self`, what it closes over, globals."""
    while isinstance(function, functools.partial):
        yield from ((f"argument {i}", x) for i, x in enumerate(function.args))
        yield from function.keywords.items()
        function = function.func
    if (owner := getattr(function, "__self__", None)) is not None:
        yield "self", owner
        yield from getattr(owner, "__dict__", {}).items()
    inner = inspect.unwrap(getattr(function, "__func__", function))
    if (code := getattr(inner, "__code__", None)) is None:
        if not isinstance(function, type):
            yield "self", function
            if not isinstance(function, Module):
                yield from getattr(function, "__dict__", {}).items()
        return
    for name, cell in zip(code.co_freevars, inner.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet
            continue
    for name in code.co_names:
        if name in inner.__globals__:
            yield name, inner.__globals__[name]
