"""What the engine does, written down while it does it: an observer, and nothing else.

Nothing is computed a second time. An op's inputs and outputs, gradients, and what an optimizer
changes are copied when the engine tells of them; names, texts and statistics are found afterwards.
"""

import functools
import inspect
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minigrad import random, writes
from minigrad.autodiff import Node, Op, Slot, Tensor, as_array, backward_pass
from minigrad.backend import Observer, is_array, watched
from minigrad.nn import Module
from minigrad.programs import Jitted, disable_jit
from minigrad.random import Key
from minigrad.sparse import SparseRows
from minigrad.study.record import Call, Leaf, Pull, Record, Seed, Update, Write
from minigrad.study.sources import ROOT, Source, line_at, rules_of, source_of
from minigrad.study.values import Value, copy_of, shown
from minigrad.trees import leaves_of, paths

MOST_STEPS = 50_000
MOST_BYTES = 1 << 30  # of copies; of what comes later statistics and pictures are kept


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
    function = f.function if isinstance(f, Jitted) else f
    recorder = Recorder(_title(function), _names(function, args, kwargs))
    began = time.perf_counter()
    with disable_jit(), random.recorded(recorder.keys), watched(recorder):
        result = f(*args, **kwargs)
    seconds = time.perf_counter() - began
    record = recorder.finish(result)
    record.seconds = seconds
    if isinstance(f, Jitted):
        from minigrad.study.programs import add_program

        add_program(record, f, args, kwargs, recorder)
    return record


# ------------------------------------------------------------------------------ the observer


class _Known:
    """The last state of an array that was seen."""

    __slots__ = ("at", "exposed", "number", "of")

    def __init__(self, x: Any, number: int, exposed: bool):
        try:
            self.of: Callable[[], Any] = weakref.ref(x)
        except TypeError:
            self.of = lambda: x
        self.number, self.exposed, self.at = number, exposed, writes.latest


class Recorder(Observer):
    """The observer that writes a record.

    Args:
        title: of the record.
        names: what tensors and arrays are called: {id: (object, name, kind)}.

    Attributes:
        keys: the random keys that were drawn.
        optimizers: those that made a step.
        assigned: tensors that were given other arrays.
        gradients: tensors whose `.grad` was set, with what it was before.
    """

    def __init__(self, title: str, names: dict[int, tuple[Any, str, str]]):
        self.record = Record(title)
        self.keys: list[Key] = []
        self.optimizers: list[Any] = []
        self.assigned_tensors: dict[int, Tensor] = {}
        self.gradients: dict[int, tuple[Tensor, Any]] = {}
        self._names = names
        self._known: dict[int, _Known] = {}
        self._leaves: dict[int, tuple[Any, int]] = {}  # of tensors and arrays, by id
        self._nodes: dict[int, int] = {}  # by serial number: the step of the call
        self._passes: list[list[int]] = []  # of each walk back: calls since its last rule
        self._inner: list[int] = []  # calls that the formula of a call made that is not over yet
        self._undone: list[tuple[Any, tuple[int, ...]]] = []
        self._found: list[tuple[Any, Any]] = []  # what the last rule gave
        self._sums: list[tuple[Any, Any, int]] = []  # what that was added up to
        self._pull: Pull | None = None
        self._lines: dict[tuple[str, int], int] = {}
        self._open: list[tuple[Write, Any]] = []
        self._before: list[tuple[Any, Any, int, Any, Update]] = []
        self._sources: list[tuple[Any, Any]] = []  # texts are looked up at the end
        self._bytes = 0

    # -- arrays

    def _add(self, x: Any, made: int | None, leaf: int | None) -> int:
        """A copy of `x` as a new value; its number."""
        values = self.record.values
        array = copy_of(x)
        value = Value(array, array.shape, str(array.dtype), made, leaf)
        self._bytes += array.nbytes
        if self._bytes > MOST_BYTES:
            value.shrink()
        values.append(value)
        self._known[id(x)] = _Known(x, len(values) - 1, made is None)
        return len(values) - 1

    def _now(self, x: Any, parent: Any = None) -> int:
        """The number of the value that `x` is now; a new one if it has not been seen so."""
        known = self._known.get(id(x))
        if known is None or known.of() is not x:
            return self._add(x, None, self._leaf_of(x, parent))
        value = self.record.values[known.number]
        written = writes.latest > known.at and writes.overwritten(x, known.at)
        if not written and known.exposed and value.array is not None and hasattr(x, "tobytes"):
            written = x.tobytes() != value.array.tobytes()  # by NumPy, behind the engine's back
        return self._add(x, None, value.leaf) if written else known.number

    def _gradient(self, x: Any, leaf: int | None = None) -> int:
        """The number of the value of a gradient, which is no leaf."""
        known = self._known.get(id(x))
        if known is not None and known.of() is x:
            return self._now(x)
        arrived = None if leaf is None else self.record.leaves[leaf].gradient
        if arrived is not None and hasattr(x, "tobytes"):
            array = self.record.values[arrived].array
            if array is not None and array.shape == x.shape and array.tobytes() == x.tobytes():
                return arrived  # `.grad` is a copy of it
        return self._add(x, None, None)

    def _leaf_of(self, x: Any, parent: Any = None) -> int:
        """The leaf that an array from outside is; `parent` is its tensor if that is tracked."""
        owner = parent if type(parent) is Tensor else x
        found = self._leaves.get(id(owner))
        if found is not None and found[0] is owner:
            return found[1]
        named, name, kind = self._names.get(id(owner)) or self._names.get(id(x)) or (None, "", "")
        if named is not owner and named is not x:
            name = kind = ""
        tracked = type(owner) is Tensor
        if tracked:
            name, kind = name or owner.name or "", kind or "parameter"
        leaves = self.record.leaves
        # Its value is the next one to be added, or what is known of it.
        known = self._known.get(id(x))
        number = known.number if known is not None and known.of() is x else len(self.record.values)
        leaves.append(Leaf(name, kind or "constant", number, tracked))
        self._leaves[id(owner)] = owner, len(leaves) - 1
        if tracked:
            self._leaves[id(x)] = x, len(leaves) - 1
        return len(leaves) - 1

    # -- forward

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        if self._full():
            return
        self._settle()
        outputs = y if type(y) is tuple else (y,)
        first = outputs[0]
        node = first.edge.node if type(first) is Tensor and first.edge is not None else None
        number = len(self.record.steps)
        inputs: list[dict[str, Any]] = []
        for i, x in enumerate(arrays):
            if is_array(x):
                inputs.append({"value": self._now(x, None if node is None else node.parents[i])})
            else:
                inputs.append({"text": shown(x)})
        line, site, nested = self._where()
        step = Call(
            op.__name__, inputs, {k: shown(v) for k, v in params.items()}, [], line, site, None,
            "kernel" if by_kernel else "formula", seconds, None, node is not None,
        )  # fmt: skip
        for t in outputs:
            x = as_array(t)
            known = self._known.get(id(x))
            # What an op passes on as it is stays the value that it was.
            same = known is not None and known.of() is x and any(x is a for a in arrays)
            step.outputs.append(self._now(x) if same else self._add(x, number, None))
        self.record.steps.append(step)
        self._sources.append((step, op))
        if node is not None:
            self._nodes[node.serial] = number
        if nested:
            self._inner.append(number)
            return
        for i in self._inner:
            self._steps(i).within = number
        self._inner.clear()
        if self._passes:
            self._passes[-1].append(number)

    def _steps(self, i: int) -> Any:
        return self.record.steps[i]

    def _full(self) -> bool:
        if len(self.record.steps) >= MOST_STEPS:
            self.record.truncated = True
        return self.record.truncated

    def _where(self) -> tuple[int, int | None, bool]:
        """The user's line, that of a layer, and whether a formula of another op made the call."""
        frame: Any = sys._getframe(2)
        site, nested, inside, walking = None, False, None, False
        while True:
            code = frame.f_code
            kind = _kind_of(code.co_filename)
            if kind == USER or frame.f_back is None:
                break
            if code is _BACKWARD:
                walking = True
            elif code is _CALL and inside is not None and not walking:
                nested = nested or inside not in _PASSING
            elif kind == LAYER and site is None:
                site = self._line(code.co_filename, frame.f_lineno)
            inside, frame = code, frame.f_back
        return self._line(frame.f_code.co_filename, frame.f_lineno), site, nested

    def _line(self, file: str, number: int) -> int:
        """The number of a line, whose text is read at the end."""
        return self._lines.setdefault((file, number), len(self._lines))

    # -- the walk back

    def walks_back(self, found: list) -> None:
        self._settle()
        self._passes.append([])
        if self._full():
            return
        gradients: list[dict[str, Any]] = [
            {"to": self._place(t), "value": self._gradient(as_array(g))} for t, g in found
        ]
        for (target, _), g in zip(found, gradients, strict=True):
            if type(target) is Tensor:
                self.record.leaves[g["to"]["leaf"]].gradient = g["value"]
        self.record.steps.append(Seed(gradients))

    def unbroadcast(self, shape: tuple[int, ...], g: Any) -> None:
        self._undone.append((g, shape))

    def pulled_back(self, node: Node, g: Any, found: list, seconds: float) -> None:
        if self._full():
            return
        self._settle()
        number = len(self.record.steps)
        came = [
            None if v is None else self._gradient(as_array(v))
            for v in (g if type(g) is tuple else (g,))
        ]
        places = _inputs_of(node, found)
        gave = []
        for (target, v), k in zip(found, places, strict=True):
            gift: dict[str, Any] = {
                "input": k, "to": self._place(target), "value": self._gradient(as_array(v)),
                "unbroadcast": next((list(s) for x, s in self._undone if x is v), None),
                "total": None,
            }  # fmt: skip
            if type(target) is Tensor:
                self.record.leaves[gift["to"]["leaf"]].gradient = gift["value"]
            gave.append(gift)
        self._undone.clear()
        call = self._nodes.get(node.serial)
        kept = [is_array(x) for x in node.saved]
        step = Pull(call, node.op.__name__, [], came, gave, kept, seconds)
        self.record.steps.append(step)
        self._sources.append(
            (step, (node.op, [k for k, p in enumerate(node.parents) if p is not None]))
        )
        self._claim(number)
        self._pull, self._found = step, found

    def _claim(self, number: int) -> None:
        """The calls since the last rule were made by the rule of step `number`."""
        for i in self._passes[-1]:
            self._steps(i).within = number
        self._passes[-1].clear()

    def added_up(self, target: Any, g: Any, total: Any) -> None:
        if self._full():
            return
        whole = as_array(total)
        number = self._add(whole, None, None)
        if type(target) is Tensor:
            self.record.leaves[self._place(target)["leaf"]].gradient = number
        self._sums.append((target, g, number))
        if self._passes[-1] and self._pull is not None:
            self._claim(self.record.steps.index(self._pull))

    def _settle(self) -> None:
        """What the last hooks could not know yet: sums of the last rule's gradients, and writes."""
        if self._sums and self._pull is not None:
            for target, g, number in reversed(self._sums):
                # Of two equal gradients for one target the second was added to the first.
                for gift, (t, v) in zip(
                    reversed(self._pull.gave), reversed(self._found), strict=True
                ):
                    if v is g and _same(t, target) and gift["total"] is None:
                        gift["total"] = number
                        break
        self._sums.clear()
        self._found = []
        for write, array in self._open:
            write.value = self._now(array)
            self.record.steps.append(write)
        self._open.clear()

    def frees(self, node: Node) -> None:
        if self._pull is None or self._full():
            return
        outputs = node.output if isinstance(node.output, tuple) else (node.output,)
        kept = {
            id(x): x.nbytes for x in (*node.saved, *outputs) if is_array(x) and hasattr(x, "nbytes")
        }
        self._pull.freed = sum(kept.values())

    def walked_back(self) -> None:
        self._settle()
        if self._pull is not None and not self._full():
            self._claim(len(self.record.steps) - 1)  # what hooks of leaves did
        self._passes.pop()
        self._pull = None

    def _place(self, target: Any) -> dict[str, Any]:
        if type(target) is Tensor:
            x = as_array(target)
            leaf = self._leaf_of(x, target)
            return {"leaf": leaf}
        call = self._nodes.get(target.node.serial)
        if call is None:
            return {"call": None}
        return {"call": call, "output": target.index if type(target) is Slot else 0}

    # -- what is changed

    def sets_gradient(self, tensor: Tensor, adds: bool) -> None:
        self.gradients.setdefault(id(tensor), (tensor, tensor.grad))

    def shown(self, tensor: Tensor, array: Any) -> Any:
        known = self._known.get(id(array))
        if known is not None:
            known.exposed = True
        return array

    def assigned(self, tensor: Tensor, array: Any) -> None:
        self.assigned_tensors[id(tensor)] = tensor
        if not self._full():
            self._write(tensor, array)

    def overwrites(self, array: Any) -> None:
        if not self._full() and id(array) in self._known:
            self._write(None, array)

    def _write(self, tensor: Tensor | None, array: Any) -> None:
        self._settle()
        owner = array if tensor is None else tensor
        found = self._leaves.get(id(owner)) or self._leaves.get(id(as_array(owner)))
        if (known := self._known.get(id(array))) is not None:
            known.exposed = True
        line = self._where()[0]
        self._open.append((Write(None if found is None else found[1], -1, line), array))

    def updated(self, optimizer: Any, gradients: Mapping[str, Any]) -> None:
        if self._full():
            return
        self._settle()
        self.optimizers.append(optimizer)
        self._before.clear()
        for flat in optimizer.flats:
            for i, (name, p) in enumerate(flat.parameters.items()):
                x = as_array(p)
                leaf = self._leaf_of(x, p) if p.requires_grad else None
                before = self._now(x, p if p.requires_grad else None)
                g = gradients[name]
                if g is not None:
                    g = g if type(g) is SparseRows else as_array(g)
                moments = {
                    m: [self._add(v, None, None)]
                    for m in flat.moments
                    if (v := flat.moment(m, i)) is not None
                }
                update = Update(
                    type(optimizer).__name__, {}, 0, name, leaf, before, before,
                    None if g is None else self._gradient(g, leaf), moments, None,
                )  # fmt: skip
                self._before.append((flat, p, i, optimizer, update))

    def stepped(self, optimizer: Any) -> None:
        if self._full():
            return
        self._settle()
        settings: dict[int, dict[str, str]] = {}
        for flat, p, i, mine, update in self._before:
            if mine is not optimizer:
                continue
            if id(flat) not in settings:
                settings[id(flat)] = {k: shown(v) for k, v in optimizer.options(flat).items()}
            update.settings, update.step = settings[id(flat)], int(flat.steps[i])
            if update.gradient is not None:
                update.after = self._add(as_array(p), None, update.leaf)
                for m, states in update.moments.items():
                    states.append(self._add(flat.moment(m, i), None, None))
            else:
                for states in update.moments.values():
                    states *= 2
            self.record.steps.append(update)
            self._sources.append((update, optimizer))
        self._before.clear()

    # -- the end

    def finish(self, result: Any) -> Record:
        """The record, once the run is over."""
        record = self.record
        self._settle()
        record.result = result
        for x in leaves_of(result):
            if type(x) is Tensor or is_array(x):
                record.outputs.append(self._now(as_array(x)))
        record.lines = [line_at(*place) for place in self._lines]
        numbers: dict[Source, int] = {}

        def number_of(source: Source | None) -> int | None:
            if source is None:
                return None
            if source not in numbers:
                numbers[source] = len(record.sources)
                record.sources.append(source)
            return numbers[source]

        texts = functools.cache(source_of)
        for step, of in self._sources:
            if type(step) is Call:
                step.formula = number_of(texts(of.formula, of.__name__))
            elif type(step) is Pull:
                op, inputs = of
                for i, rule in rules_of(op, inputs):
                    if (source := number_of(texts(rule, op.__name__))) is not None:
                        step.rules.append({"input": i, "source": source})
            else:
                step.formula = number_of(_formula_of(of))
        for tensor, number in self._leaves.values():
            if type(tensor) is Tensor:
                record.note(tensor, number)
        return record


def _inputs_of(node: Node, found: list) -> Iterator[int]:
    """To which input each pair (parent, gradient) belongs: they come in the inputs' order."""
    places = iter(range(len(node.parents)))
    for target, _ in found:
        yield next(i for i in places if _same(node.parents[i], target))


def _same(a: Any, b: Any) -> bool:
    """Whether two edges or leaves are one; slots are made anew, and `==` of Tensors is an op."""
    return a is b or (type(a) is Slot and a == b)


def _formula_of(optimizer: Any) -> Source | None:
    """The formula of an optimizer: the function of this name that its own calls, where it does."""
    formula = getattr(type(optimizer), "formula", None)
    return None if formula is None else source_of(formula, type(optimizer).__name__)


# -------------------------------------------------------------------------------------- lines

ENGINE, LAYER, USER = range(3)
_CALL, _BACKWARD = Op.__call__.__code__, backward_pass.__code__
# A call that goes on to another of these is not one that reports.
_PASSING = {_CALL, Op.inline.__code__, Op.failed.__code__}
_LAYERS = ("nn", "learner", "optim", "data")


@functools.cache
def _kind_of(file: str) -> int:
    """Whether a file is the engine's, has layers and the like, or is its user's."""
    try:
        parts = _relative(file)
    except ValueError:
        return USER
    if parts[0] == "examples" or parts[:2] == ("study", "book"):
        return USER
    return LAYER if parts[0] in _LAYERS else ENGINE


def _relative(file: str) -> tuple[str, ...]:
    from pathlib import Path

    return Path(file).relative_to(ROOT).parts


# -------------------------------------------------------------------------------------- names


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

    around = dict(_around(function))
    try:
        given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        given = {f"argument {i}": x for i, x in enumerate(args)} | dict(kwargs)
    modules = {
        name: m
        for name, x in {**around, **given}.items()
        for m in (x, getattr(x, "model", None))
        if isinstance(m, Module)
    }
    distinct = {id(m) for m in modules.values()}
    for name, module in modules.items():
        prefix = "" if len(distinct) == 1 else f"{name}."
        for path, p in module.named_parameters():
            add(p, prefix + path, "parameter")
        for path, b in _buffers(module):
            add(b, prefix + path, "constant")
    for name, x in given.items():
        for path, leaf in zip(paths(x), leaves_of(x), strict=True):
            if type(leaf) is Tensor and leaf.requires_grad:
                add(leaf, leaf.name or name + path, "parameter" if leaf.name else "argument")
            elif type(leaf) is Tensor or is_array(leaf):
                add(leaf, name + path, "argument")
    for name, x in around.items():
        if type(x) is Tensor or is_array(x):
            add(x, getattr(x, "name", None) or name, "parameter" if _tracked(x) else "constant")
    return found


def _tracked(x: Any) -> bool:
    return type(x) is Tensor and x.requires_grad


def _buffers(module: Module) -> Iterator[tuple[str, Tensor]]:
    for path, part in module.named_modules():
        for name, x in vars(part).items():
            if type(x) is Tensor and not x.requires_grad:
                yield f"{path}.{name}" if path else name, x


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
        return
    for name, cell in zip(code.co_freevars, inner.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet
            continue
    for name in code.co_names:
        if name in inner.__globals__:
            yield name, inner.__globals__[name]
