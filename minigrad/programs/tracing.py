"""What a step does, written down op by op while it runs."""

import sys
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from minigrad import random
from minigrad.arguments import Captured
from minigrad.autodiff import REGISTRY, Tensor, caller
from minigrad.backend import Observer
from minigrad.batched import Batched
from minigrad.errors import CaptureError, ShapeError
from minigrad.kernels.instructions import Drawn
from minigrad.nn.module import Module
from minigrad.programs.guards import Guard
from minigrad.programs.places import address_of, assign, copied, is_plain, on_device
from minigrad.programs.values import Call, Groups, Hidden, Update, Value, uncovered
from minigrad.programs.watching import OURS, owner_of
from minigrad.writes import overlap

PLAIN = (bool, int, float, str, bytes, type(None))


class Tracer(Observer):
    """The observer that writes down every op of a step while it runs.

    Attributes:
        calls: so far.
        updates: steps of optimizers so far.
        keys: that were drawn from the random stream.
        groups: of rows with parameters of their own, if there are any.
        on_host, on_device: whether arrays of the host and of a device have been met.
    """

    captures = True

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.updates: list[Update] = []
        self.keys: list[Any] = []
        self.groups: Groups | None = None
        self.on_host = self.on_device = False
        self.before: list[Any] = []  # the state of optimizers, before they were called
        self.absent: list[Tensor] = []  # a gradient was found absent that nobody here had cleared
        self._gradients: dict[int, tuple[Tensor, Any]] = {}  # which were changed: as they were
        self._outside: list[tuple[Any, Value]] = []
        self._lines: list[str] = []
        self._assigned: dict[int, tuple[Tensor, Any]] = {}
        self._stepped: dict[int, str] = {}  # parameters that an optimizer has changed
        self._values: dict[int, tuple[weakref.ref, Value]] = {}

    def value_of(self, array: Any) -> Value:
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

    def is_whole(self, array: Any) -> bool:
        """Whether ops take an array, or parts of it that lie in its memory: each run reads it."""
        return any(a is array or overlap(a, array) for a, _ in self._outside)

    def shown(self, tensor: Tensor, array: Any) -> Any:
        """What `tensor.data` is: to the engine the array, to others one that hides its values."""
        if owner_of(sys._getframe(2).f_code.co_filename) == OURS:
            return array
        return Captured(array, self)

    def note(self, array: Any, value: Value) -> Value:
        self._values[id(array)] = weakref.ref(array), value
        if on_device(array):
            self.on_device = True
        else:
            self.on_host = True
        return value

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        """Note the call of an op.

        Raises:
            ShapeError: the shape of its result depends on values.
            CaptureError: it reads what an optimizer's step has changed.
        """
        # A user's op may be called like one of ours, or like anything here: it has another name.
        ours = REGISTRY.get(op.__name__) is op
        name = op.__name__ if ours else f"{op.__module__}.{op.__name__}"
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

    def drew(self, draw: Any, key: random.Key, numbers: Any) -> None:
        """Note that `draw(key)`, a `partial`, has given random numbers."""
        value = Value(numbers)
        value.made = True
        self.calls.append(Call(draw.func.__name__, draw, [self._input(key)], {}, [value]))
        self.note(numbers, value)

    def _input(self, x: Any) -> Any:
        if is_plain(x):
            return self.value_of(x)
        if type(x) is Batched:
            array, levels = uncovered(x)
            return Hidden(self.value_of(array), levels)
        if type(x) is random.Key:
            for i, key in enumerate(self.keys):
                if key is x:
                    return Drawn(i)
        return x

    def _is_view(self, y: Any, arrays: list, inputs: list) -> bool:
        """Whether `y` shows memory of an input, and nothing was computed; then it is noted so."""
        for x, value in zip(arrays, inputs, strict=True):
            x, _ = uncovered(x)
            if y is x:
                return True
            if is_plain(x) and y.base is not None and overlap(x, y):
                value = value.value if type(value) is Hidden else value
                offset = address_of(y) - address_of(x)
                self.note(y, Value(y, value.root, value.offset + offset))
                return True
        return False

    # -- groups

    def split(self, ids: Any, models: list[Module]) -> bool:
        """Note that rows go to `models` by `ids`; whether one program can serve every split.

        Raises:
            CaptureError: the models differ too much, or it is not the first such call.
        """
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
        places = [list(ps) for ps in zip(*parameters, strict=True)]
        # Others are shared, and like any parameter that all rows go through.
        own = [ps for ps in places if len(ps) == 1 or any(p is not ps[0] for p in ps)]
        if len({id(p) for ps in own for p in ps}) < len(own) * len(models):
            raise CaptureError(
                "jit: some sub-models of a Grouped share a parameter that others have for "
                "themselves; share it between all of them, or use disable_jit"
            )
        self.groups = Groups(value, own)
        return True

    def knows(self, array: Any) -> bool:
        known = self._values.get(id(array))
        return known is not None and known[0]() is array

    # -- what a step does beside giving a result

    def updated(self, optimizer: Any, gradients: Mapping[str, Any], skip: Any = None) -> None:
        """Note a step of an optimizer, which goes on to make it; unless `skip` is true.

        Raises:
            CaptureError: it has already made one.
        """
        if any(u.optimizer is optimizer for u in self.updates):
            raise CaptureError("jit: an optimizer makes two steps in one call; make it one a call")
        found = {
            name: None if g is None else self.value_of(g.data if type(g) is Tensor else g)
            for name, g in gradients.items()
        }
        self.before += [copied(a) for a in state_of(optimizer)]
        flag = None if skip is None else self.value_of(skip.data)
        self.updates.append(Update(optimizer, found, flag))
        self._stepped |= {id(p.data): name for name, p in optimizer.parameters.items()}

    def assigned(self, tensor: Tensor, array: Any) -> None:
        """Note that `tensor` is about to be given the array of another."""
        self.value_of(array)
        self._assigned.setdefault(id(tensor), (tensor, tensor.data))

    def refuse(self, what: str, reason: str = "") -> None:
        """Raise CaptureError because a program cannot repeat `what`, for `reason`, or else because
        a value is wanted that is not known when a program is run.
        """
        raise CaptureError(
            f"jit: {what} {reason}"
            if reason
            else f"jit: {what} asks for a value while a step is captured (at {caller()}), and what "
            f"follows would hang on it; give the tensor back and read it outside, or use "
            f"where(condition, a, b) in place of an if"
        )

    def overwrites(self, array: Any) -> None:
        """Raise CaptureError because memory is overwritten in a way that no op describes."""
        raise CaptureError(
            f"jit: an array is written to in place while a step is captured (at {caller()}); write "
            f"`x[...] = new`, or `x.data = index_set(x, ids, new).data` for a part of it"
        )

    def finish_assignments(self) -> list[tuple[Any, Value]]:
        """Arrays that get values after each run; tensors keep the arrays that they had."""
        self.assigned_tensors = list(self._assigned.values())
        self.assigned_arrays = [tensor._data for tensor, _ in self.assigned_tensors]
        self.assigned_before = [copied(old) for _, old in self.assigned_tensors]
        found = []
        for tensor, old in self.assigned_tensors:
            found.append((old, self.value_of(tensor._data)))
            tensor._data = old
        return found

    def assign(self) -> None:
        """Give tensors what the step has assigned to them."""
        for (tensor, _), array in zip(self.assigned_tensors, self.assigned_arrays, strict=True):
            tensor._data = array

    def state(self) -> Iterator[Any]:
        """What the optimizers that were called have."""
        for update in self.updates:
            yield from state_of(update.optimizer)

    def undo(self) -> None:
        """The step has failed: tensors and optimizers are as they were before."""
        for tensor, old in self._assigned.values():
            tensor._data = old
        for tensor, old in self._gradients.values():
            tensor._grad = old
        for a, old in zip(self.state(), self.before, strict=True):
            assign(a, old)

    def sets_gradient(self, tensor: Tensor, adds: bool) -> None:
        """Note that `tensor.grad` is about to be set; `adds`: to the sum with what it is.

        Raises:
            CaptureError: it adds to what was there before the step.
        """
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


def state_of(optimizer: Any) -> Iterator[Any]:
    for flat in optimizer.flats:
        yield from (flat.weights, *flat.moments.values(), flat.steps)


def _settings_of(model: Module) -> list:
    """The classes and settings of a model's modules, and its parameters' shapes, by name."""
    found: list[Any] = [(name, p.shape, p.dtype) for name, p in model.named_parameters()]
    for name, m in model.named_modules():
        plain = {k: v for k, v in vars(m).items() if type(v) in PLAIN and k[:1] != "_"}
        found.append((name, type(m), plain))
    return found
