"""What a model does with one set of inputs, written down op by op.

An op is written down whole if it has a translation (or is primitive, and so made of no others);
of other ops the calls are written down that their formula makes.
"""

import itertools
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from minigrad import graph
from minigrad.arguments import Captured
from minigrad.autodiff import REGISTRY, Op, Tensor, caller, no_grad, wrap
from minigrad.backend import Observer, is_array, watched
from minigrad.errors import ExportError
from minigrad.nn.module import Module
from minigrad.programs.watching import OURS, owner_of
from minigrad.random import Key


class Value:
    """An array that a recording has met.

    Attributes:
        shape, dtype: of the array.
        call, index: which output of which call it is; None for one from outside.
        name: of an input or a parameter; None for a constant.
        kind: 'input', 'parameter', 'constant', 'made' by an op, or 'view', of what is no constant
            by something else than an op.
    """

    def __init__(self, array: Any, kind: str, name: str | None = None):
        self.shape, self.dtype = array.shape, array.dtype
        self.kind, self.name = kind, name
        self.call: Call | None = None
        self.index = 0
        self._array: Any = array
        self._refer: Callable[[], Any] = lambda: None

    @property
    def array(self) -> Any:
        """The array itself; None once it is gone."""
        return self._refer() if self._array is None else self._array

    def let_go(self) -> None:
        """Keep the array no longer than others do."""
        if isinstance(self._array, np.ndarray):
            self._refer, self._array = weakref.ref(self._array), None


@dataclass(eq=False)
class Call:
    """One call of an op, and where it was made.

    Attributes:
        inputs: values, and what else came: numbers, None, keys.
        params: all static parameters.
        whole: whether it is translated, or refused, as it is; else its formula's calls are.
        module: the name of the innermost module in whose `forward` it was made; None for none.
        line: 'file.py:12' of the innermost line outside the package.
    """

    op: Any
    inputs: list[Any]
    params: dict[str, Any]
    outputs: list[Value]
    whole: bool
    module: str | None
    line: str

    @property
    def name(self) -> str:
        return name_of(self.op)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        inside = f" of module '{self.module}'" if self.module else ""
        return f"'{self.name.removeprefix('_')}'{inside} (called at {self.line})"


def name_of(op: Any) -> str:
    """The name of an op; of one that is not ours with its module, as it may be named like one."""
    ours = REGISTRY.get(op.__name__) is op
    return op.__name__ if ours else f"{op.__module__}.{op.__name__}"


@dataclass
class Recording:
    """The calls that lead from inputs to outputs, in order."""

    calls: list[Call]
    outputs: list[Value]
    structure: Any = field(default=None)  # the names of the outputs, as the model gives them


class Recorder(Observer):
    """The observer that writes down what a model does.

    Args:
        has_translation: `has_translation(op)`: whether calls of a composite op are to stay whole,
            or whether some of them are.
        fits: `fits(op, inputs, params)`: whether this call is one that can be translated whole.
        model: whose parameters are named; None for none.
    """

    captures = True

    def __init__(self, has_translation: Callable, fits: Callable, model: Module | None):
        self.has_translation, self.fits = has_translation, fits
        self.values: dict[int, Value] = {}  # by the ids of their arrays
        self.calls: list[Call] = []
        self.modules: dict[int, str] = {}
        if model is not None:
            self.modules = {id(m): name for name, m in model.named_modules()}
            for name, p in itertools.chain(model.named_parameters(), model.named_buffers()):
                if id(p._data) not in self.values:  # those that are tied have the first name
                    self.values[id(p._data)] = Value(p._data, "parameter", name)

    def record(self, model: Callable, inputs: Mapping[str, Any], args, kwargs) -> Recording:
        """Call the model; `inputs` are those of its arguments that are Tensors, by name.

        Raises:
            ExportError: it asks for values, or does something else that no file can repeat.
        """
        for name, x in inputs.items():
            self.values[id(x._data)] = Value(x._data, "input", name)
        with no_grad():
            with watched(self):
                given = model(*args, **kwargs)
            outputs: list[Value] = []
            structure = _named(given, outputs, self.value_of)
            calls = self._spelled_out(outputs)
        for value in self.values.values():
            if value.kind != "constant":
                value.let_go()  # only constants are compared
        return Recording(calls, outputs, structure)

    def value_of(self, array: Any) -> Value:
        known = self.values.get(id(array))
        if known is None or known.array is not array:
            kind = "view" if self._is_view(array) else "constant"
            known = self.values[id(array)] = Value(array, kind)
        return known

    def _is_view(self, array: Any) -> bool:
        """Whether an array that no op has made shows the memory of one that is not constant."""
        if not isinstance(array, np.ndarray) or array.base is None:
            return False
        others = (v.array for v in self.values.values() if v.kind in ("made", "input", "view"))
        return any(isinstance(x, np.ndarray) and np.may_share_memory(x, array) for x in others)

    # -- what the engine tells

    def whole(self, op: Any) -> bool:
        return self.has_translation(op)

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        outputs = [t._data if type(t) is Tensor else t for t in (y if type(y) is tuple else (y,))]
        if len(outputs) == 1 and any(outputs[0] is x for x in arrays):
            return  # nothing was done
        inputs = [self.value_of(x) if is_array(x) else x for x in arrays]
        tensors = any(type(t) is Tensor for t in (y if type(y) is tuple else (y,)))
        varies = (x.kind != "constant" if type(x) is Value else type(x) is Key for x in inputs)
        if not tensors and not any(varies):
            for array in outputs:
                self.values[id(array)] = Value(array, "constant")
            return
        settings = {**op.static, **params} if type(op) is Op else params
        whole = op.primitive or self.fits(op, arrays, settings)
        call = Call(op, inputs, settings, [], whole, self._module(sys._getframe(1)), caller())
        for i, array in enumerate(outputs):
            value = Value(array, "made")
            value.call, value.index = call, i
            call.outputs.append(value)
            if not any(array is x for x in arrays):
                self.values[id(array)] = value
            if not tensors:
                value.let_go()  # mostly of a formula, which has no more need of it soon
        self.calls.append(call)

    def shown(self, tensor: Tensor, array: Any) -> Any:
        """What `tensor.data` is: to the engine the array, to others one that hides its values."""
        if owner_of(sys._getframe(2).f_code.co_filename) == OURS:
            return array
        return Captured(array, self)

    def drew(self, draw: Any, key: Any, numbers: Any) -> None:
        self.refuse("random numbers", "are drawn, which would be the same in every run")

    def assigned(self, tensor: Tensor, array: Any) -> None:
        self.refuse("a tensor", "is given another array, and a file keeps no state")

    def overwrites(self, array: Any) -> None:
        """An array is written to in place.

        Raises:
            ExportError: always.
        """
        self.refuse("an array", "is written to in place; write `where` or `index_set`")

    def updated(self, optimizer: Any, gradients: Any, skip: Any = None) -> None:
        self.refuse("an optimizer", "makes a step, and only a forward pass can be exported")

    def split(self, groups: Any, models: list) -> bool:
        if type(groups) is Tensor:
            self.refuse("nn.Grouped", "is called with groups that are values; export model[group]")
        return False

    def refuse(self, what: str, reason: str = "") -> None:
        """Raise ExportError because of `what`, for `reason` or because it asks for a value."""
        reason = reason or (
            "asks for a value, and what follows would hang on that of the example; use "
            "where(condition, a, b) in place of an if"
        )
        module = self._module(sys._getframe(1))
        inside = f", in module '{module}'" if module else ""
        raise ExportError(f"export.onnx: {what} {reason} (at {caller()}{inside})")

    def _module(self, frame: FrameType | None) -> str | None:
        """The name of the innermost module that a frame, or one that called it, is a method of."""
        while frame is not None:
            code = frame.f_code
            if code.co_argcount and code.co_varnames[0] == "self" and code.co_name == "forward":
                found = self.modules.get(id(frame.f_locals.get("self")))
                if found is not None:
                    return found
            frame = frame.f_back
        return None

    # -- from all calls to those that count

    def _spelled_out(self, outputs: Sequence[Value]) -> list[Call]:
        """The calls that `outputs` need, in order, with formulas in place of what has none.

        In place of a call stand those that its formula makes, and its outputs are theirs.
        """
        calls, self.calls = self.calls, []
        same: dict[Value, Value] = {}  # an output of a call: what the formula has made
        while True:
            needed = {_now(v, same) for v in outputs}
            kept: list[Call] = []
            for call in reversed(calls):
                if needed.intersection(call.outputs):
                    kept.append(call)
                    call.inputs = [_now(x, same) if type(x) is Value else x for x in call.inputs]
                    needed.update(x for x in call.inputs if type(x) is Value)
            kept.reverse()
            outputs[:] = [_now(v, same) for v in outputs]  # type: ignore[index]
            if all(call.whole for call in kept):
                _check_views(kept, outputs)
                return kept
            calls = []
            for call in kept:
                calls += [call] if call.whole else self._formula_of(call, same)

    def _formula_of(self, call: Call, same: dict[Value, Value]) -> list[Call]:
        """The calls that the formula of a composite makes."""
        arguments: list[Any] = []
        for x in call.inputs:
            if type(x) is Value:
                array = x.array
                if array is None:
                    raise ExportError(
                        f"export.onnx: {call.place} is called with plain arrays; give it Tensors"
                    )
                self.values[id(array)] = x
                x = wrap(array)
            arguments.append(x)
        self.calls = []
        with watched(self):
            given = call.op.formula(graph.ops, *arguments, **call.params)
            found = given if type(given) is tuple else (given,)
            for old, new in zip(call.outputs, found, strict=True):
                if type(new) is Tensor and new.dtype != old.dtype:  # a kernel's own
                    new = graph.ops.astype(new, dtype=old.dtype)
                same[old] = self.value_of(new._data if type(new) is Tensor else np.asarray(new))
        for inner in self.calls:
            inner.module, inner.line = call.module, call.line
        return self.calls


def _check_views(calls: Sequence[Call], outputs: Sequence[Value]) -> None:
    """Raise if something is read that NumPy has made of an array, and no op.

    Raises:
        ExportError: something is.
    """
    for call in calls:
        if any(type(x) is Value and x.kind == "view" for x in call.inputs):
            raise ExportError(
                f"export.onnx: {call.place} reads a part of an array that no op describes; take "
                f"it with ops"
            )
    if any(x.kind == "view" for x in outputs):
        raise ExportError("export.onnx: an output is a part of an array that no op describes")


def _now(value: Value, same: Mapping[Value, Value]) -> Value:
    while value in same:
        value = same[value]
    return value


def _named(given: Any, outputs: list[Value], value_of: Callable) -> Any:
    """The Tensors in what a model gave, appended to `outputs`; in its structure, their numbers."""
    if isinstance(given, Mapping):
        return {str(k): _named(v, outputs, value_of) for k, v in given.items()}
    if isinstance(given, tuple | list):
        return [_named(v, outputs, value_of) for v in given]
    if type(given) is not Tensor:
        raise ExportError(
            f"export.onnx: the model gives a {type(given).__name__}; it must give Tensors, or "
            f"tuples, lists or dictionaries of them"
        )
    outputs.append(value_of(given._data))
    return len(outputs) - 1
