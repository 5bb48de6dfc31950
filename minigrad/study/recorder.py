"""The observer that writes down what the engine does, while it does it.

Nothing is computed a second time. An op's inputs and outputs, gradients, and what an optimizer
changes are copied when the engine tells of them; names, texts and statistics are found afterwards.
"""

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad import writes
from minigrad.autodiff import Node, Op, Slot, Tensor, as_array, backward_pass
from minigrad.backend import Observer, is_array
from minigrad.batched import base
from minigrad.random import Key
from minigrad.sparse import SparseRows
from minigrad.study.record import Record
from minigrad.study.sources import ROOT, Sources, line_at, rules_of
from minigrad.study.steps import Call, Leaf, Pull, Seed, Step, Update, Write
from minigrad.study.values import Value, copy_of, shown
from minigrad.trees import leaves_of

MOST_STEPS = 20_000
MOST_BYTES = 1 << 30  # of copies; of what comes later statistics and pictures are kept


def _reach(x: Any) -> Any:
    """A function that gives `x` for as long as it lives, if that can be told."""
    try:
        return weakref.ref(x)
    except TypeError:
        return lambda: x


class Recorder(Observer):
    """The observer that writes a record.

    Args:
        names: gives what tensors and arrays are called, {id: (object, name, kind)}; it is asked
            when somebody looks at the record.

    Attributes:
        steps, values, leaves: of the record so far.
        truncated: whether there were more steps than a record holds.
        keys: the random keys that were drawn.
        optimizers: those that made a step.
        tensors: those that were given other arrays, with the arrays that they had before.
        written: arrays that were written to in place, or that somebody could write to.
        gradients: tensors whose `.grad` was set, with what it was before.
    """

    def __init__(self, names: Callable[[], dict[int, tuple[Any, str, str]]]):
        self.steps: list[Step] = []
        self.values: list[Value] = []
        self.leaves: list[Leaf] = []
        self.truncated = False
        self.keys: list[Key] = []
        self.optimizers: list[Any] = []
        self.tensors: list[tuple[Tensor, Any]] = []
        self.written: dict[int, Any] = {}
        self.gradients: dict[int, tuple[Tensor, Any]] = {}
        self._names = names
        # Of an array that was seen, by id: how to reach it, the number of its last value, whose
        # memory it lies in, and the last write announced by then.
        self._known: dict[int, tuple[Any, int, int, int]] = {}
        self._exposed: set[int] = set()  # memory that others than the engine may write to
        self._leaf: dict[int, tuple[Any, int]] = {}  # of tensors and arrays, by id
        self._inside: set[int] = set()  # values that only formulas and rules have read
        self._owners: list[tuple[Any, Any]] = []  # of each leaf: its tensor or array, its array
        self._nodes: dict[int, int] = {}  # by serial number: the step of the call
        self._earlier: dict[int, int] = {}  # of those made before the record: which of them it is
        self._passes: list[list[int]] = []  # of each walk back: calls since its last rule
        # Of each: the line that asked for it, and what of the walk around it is not told yet.
        self._walks: list[tuple[int, list]] = []
        # Calls that the formula of another made, which is not over yet, and that one's frame.
        self._inner: list[tuple[int, Any]] = []
        self._undone: list[tuple[Any, tuple[int, ...]]] = []
        self._found: list[tuple[Any, Any]] = []  # what the last rule gave
        self._sums: list[tuple[Any, Any, int]] = []  # what that was added up to
        self._pull: tuple[int, Pull] | None = None  # the last one of the walk back
        self._lines: dict[tuple[str, int], int] = {}
        self._open: list[tuple[Write, Any]] = []
        self._arriving: list[Tensor] = []  # whose `.grad` is about to be set by a backward pass
        self._before: list[tuple[Any, dict[str, list]]] = []  # of an optimizer that makes a step
        self._given: dict[str, Any] = {}  # its gradients: copies, or values that are known
        self._stepped: list[tuple[Any, ...]] = []
        self._functions: dict[tuple[Callable, str], int] = {}  # whose texts somebody may ask for
        self._drawn: dict[int, tuple[Any, str]] = {}  # random numbers, and from what
        self._formulas: dict[Op, int] = {}
        self._rules: dict[Any, list[dict[str, Any]]] = {}
        self._bytes = 0
        self._thread = get_ident()  # of which it writes; another may have come by its context

    # -- arrays

    def _add(self, x: Any, made: int | None, leaf: int | None, private: bool = False) -> int:
        """A copy of `x` as a new value; its number.

        Args:
            private: whether only the engine has it, although no op has made it.
        """
        reach: Callable[[], Any]
        if type(x) is ndarray:
            number, reach = self._keep(x.copy("K"), made, leaf), weakref.ref(x)
            memory = id(x if x.base is None else x.base)
        else:
            number, reach, memory = self._keep(copy_of(x), made, leaf), _reach(x), id(x)
        if made is None and not private:
            self._exposed.add(memory)
        elif memory == id(x):  # a new array, perhaps where one was that is gone
            self._exposed.discard(memory)
        self._known[id(x)] = reach, number, memory, writes.latest
        return number

    def _keep(self, array: Any, made: int | None, leaf: int | None) -> int:
        """An array that is the record's own as a new value; its number."""
        value = Value(array, made, leaf)
        self._bytes += array.nbytes
        if self._bytes > MOST_BYTES:
            value.shrink()
        self.values.append(value)
        return len(self.values) - 1

    def _now(self, x: Any, parent: Any = None, inside: bool = False) -> int:
        """The number of the value that `x` is now; a new one if it has not been seen so.

        Args:
            parent: its tensor, if that is tracked.
            inside: whether a formula or a rule uses it, whose own arrays are no leaves.
        """
        known = self._known.get(id(x))
        if known is not None and known[0]() is x:
            # Nobody else has it, and nothing has been written since: the common case, quickly.
            if known[2] not in self._exposed and writes.latest == known[3]:
                return known[1]
            if type(parent) is Tensor:
                if id(parent) not in self._leaf:
                    self._leaf_of(x, parent)
            elif known[1] in self._inside and not inside:
                self._leaf_of(x)
            return self._state(x, known)
        if inside and type(parent) is not Tensor:
            self._inside.add(len(self.values))
            return self._add(x, None, None)
        return self._add(x, None, self._leaf_of(x, parent))

    def _state(self, x: Any, known: tuple[Any, int, int, int]) -> int:
        """The number of the value that a known array is now."""
        _, number, memory, at = known
        exposed = memory in self._exposed
        if not exposed and writes.latest == at:
            return number
        value = self.values[number]
        if type(x) is SparseRows:
            written = value.differs(x.to_dense())
        else:
            written = writes.latest > at and writes.overwritten(x, at)
            if not written and exposed and type(x) is ndarray:
                written = value.differs(x)  # by NumPy, behind the engine's back
        return self._add(x, None, value.leaf) if written else number

    def _seen(self, x: Any) -> Any:
        """What is known of an array; None if it has not been seen."""
        known = self._known.get(id(x))
        return known if known is not None and known[0]() is x else None

    def _gradient(self, x: Any, leaf: int | None = None) -> int:
        """The number of the value of a gradient, which is no leaf."""
        known = self._known.get(id(x))
        if known is not None and known[0]() is x:
            if known[2] not in self._exposed and writes.latest == known[3]:
                return known[1]
            return self._state(x, known)
        arrived = None if leaf is None else self.leaves[leaf].gradient
        if arrived is not None and self._equal(arrived, x):
            # `.grad` is a copy of it, which nobody else has.
            self._known[id(x)] = weakref.ref(x), arrived, id(x), writes.latest
            return arrived
        return self._add(x, None, None, private=True)

    def _equal(self, number: int, x: Any) -> bool:
        """Whether a value has the bits of a NumPy array."""
        array = self.values[number].array
        if type(x) is not ndarray or type(array) is not ndarray or array.shape != x.shape:
            return False
        return array.dtype == x.dtype and array.tobytes() == x.tobytes()

    def _leaf_of(self, x: Any, parent: Any = None) -> int:
        """The leaf that an array from outside is; `parent` is its tensor if that is tracked.

        Its value is what is known of it, or the next one to be added.
        """
        owner = parent if type(parent) is Tensor else x
        found = self._leaf.get(id(owner))
        if found is not None and found[0] is owner:
            return found[1]
        own = self._leaf.get(id(x))
        if own is not None and self._owners[own[1]][0] is x:  # until now it was no tensor's
            number = own[1]
            self.leaves[number].tracked, self._owners[number] = True, (owner, x)
        else:
            known, number = self._seen(x), len(self.leaves)
            value = len(self.values) if known is None else known[1]
            if value in self._inside:
                self._inside.discard(value)
                self.values[value].leaf = number
            self.leaves.append(Leaf("", "constant", value, owner is not x))
            self._owners.append((owner, x))
        self._leaf[id(owner)] = owner, number
        self._leaf[id(x)] = x, number
        return number

    def _leaf_for(self, tensor: Tensor) -> int:
        """The leaf that a tensor is, whether or not it has been seen."""
        found = self._leaf.get(id(tensor))
        if found is not None and found[0] is tensor:
            return found[1]
        x = base(as_array(tensor))
        number = self._leaf_of(x, tensor)
        if self._seen(x) is None:
            self._add(x, None, number)
        return number

    # -- forward

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        if self._waiting():
            return
        outputs = y if type(y) is tuple else (y,)
        first = outputs[0]
        node = first.edge.node if type(first) is Tensor and first.edge is not None else None
        number = len(self.steps)
        line, site, outer = self._where()
        parents = node.parents if node is not None else (None,) * len(arrays)
        inside = outer is not None or bool(self._passes)
        inputs: list[dict[str, Any]] = []
        for x, parent in zip(arrays, parents, strict=True):
            if type(x) is ndarray:
                inputs.append({"value": self._now(x, parent, inside)})
            elif is_array(x):
                inputs.append({"value": self._now(base(x), parent, inside)})
            else:
                inputs.append({"text": shown(x)})
        made = []
        for t in outputs:
            x = as_array(t)
            if type(x) is not ndarray:
                x = base(x)
            # What an op passes on as it is stays the value that it was.
            same = self._seen(x) is not None and any(x is base(a) for a in arrays)
            made.append(self._now(x) if same else self._add(x, number, None))
        if (formula := self._formulas.get(op)) is None:
            formula = self._formulas[op] = self._source(op.formula, op.__name__)
        self.steps.append(
            Call(
                op.__name__, inputs, {k: shown(v) for k, v in params.items()} if params else {},
                made, line, site, formula, "kernel" if by_kernel else "formula", seconds, None,
                node is not None,
            )
        )  # fmt: skip
        if node is not None:
            self._nodes[node.serial] = number
        if outer is not None:
            self._inner.append((number, outer))
            return
        if self._inner:  # those of a call that has failed are nobody's
            frame = sys._getframe(1)
            self._claim([i for i, outer in self._inner if outer is frame], number)
            self._inner.clear()
        if self._passes:
            self._passes[-1].append(number)

    def _claim(self, calls: list[int], number: int) -> None:
        """`calls` were made by step `number`."""
        for i in calls:
            self.steps[i].within = number  # type: ignore[union-attr]
        calls.clear()

    def _waiting(self) -> bool:
        """Whether nothing is to be written: the record is full, or another thread calls.

        If not, what waited for the next hook is done.
        """
        if get_ident() != self._thread:
            return True
        if len(self.steps) >= MOST_STEPS:
            self.truncated = True
        if self._sums or self._open or self._arriving:
            self._settle()
        return self.truncated

    def _where(self) -> tuple[int, int | None, Any]:
        """The user's line, that of a layer, and the frame of another call whose formula called."""
        frame: Any = sys._getframe(2)
        site, outer, inside = None, None, None
        while True:
            code, back = frame.f_code, frame.f_back
            if code is _BACKWARD and self._passes:
                return self._walks[-1][0], site, outer
            if (kind := _KINDS.get(code.co_filename)) is None:
                kind = _KINDS[code.co_filename] = kind_of(code.co_filename)
            if kind == USER or back is None:
                if back is not None and back.f_code is _CALL:  # a formula that is the user's
                    outer = back
                return self._line(code.co_filename, frame.f_lineno), site, outer
            if code is _CALL and inside is not None:
                if inside not in _PASSING:  # the outermost that will report
                    outer = frame
            elif kind == LAYER and site is None:
                site = self._line(code.co_filename, frame.f_lineno)
            inside, frame = code, back

    def _line(self, file: str, number: int) -> int:
        """The number of a line, whose text is read at the end."""
        return self._lines.setdefault((file, number), len(self._lines))

    # -- the walk back

    def walks_back(self, found: list) -> None:
        if get_ident() != self._thread:
            return
        line = self._where()[0]  # as seen from a walk within which this one is, if there is one
        self._passes.append([])
        self._walks.append((line, self._undone))
        self._undone = []
        if not self._waiting():
            self.steps.append(Seed([self._gift(t, g) for t, g in found]))

    def _gift(self, target: Any, g: Any) -> dict[str, Any]:
        """Where a gradient goes, and its value."""
        value = self._gradient(g if type(g) is ndarray else base(as_array(g)))
        if type(target) is Tensor:
            leaf = self._leaf_for(target)
            self.leaves[leaf].gradient = value
            return {"to": {"leaf": leaf}, "value": value}
        slot, serial = target.index if type(target) is Slot else 0, target.node.serial
        if (call := self._nodes.get(serial)) is None:
            place = {"call": None, "before": self._before_record(serial), "output": slot}
            return {"to": place, "value": value}
        return {"to": {"call": call, "output": slot}, "value": value}

    def _before_record(self, serial: int) -> int:
        """Which node it is of those that were made before the record."""
        return self._earlier.setdefault(serial, len(self._earlier))

    def unbroadcast(self, shape: tuple[int, ...], g: Any) -> None:
        if get_ident() == self._thread:
            self._undone.append((g, shape))

    def pulled_back(self, node: Node, g: Any, found: list, seconds: float) -> None:
        if self._waiting():
            return
        arrived: list[Any] = [g]
        if type(g) is not ndarray:
            several = g if type(g) is tuple else (g,)
            arrived = [None if v is None else base(as_array(v)) for v in several]
        module = getattr(node.op, "__module__", "minigrad.")
        if not module.startswith("minigrad."):  # a rule of the user's was given it
            for v in arrived:
                self._expose(v)
        came = [None if v is None else self._gradient(v) for v in arrived]
        gave, k, parents, undone = [], -1, node.parents, self._undone
        for target, v in found:  # they come in the inputs' order
            k += 1
            while parents[k] is not target and not _same(parents[k], target):
                k += 1
            gift = self._gift(target, v)
            gift["input"], gift["unbroadcast"], gift["total"] = k, None, None
            if undone:
                gift["unbroadcast"] = next((list(s) for x, s in undone if x is v), None)
            gave.append(gift)
        self._undone.clear()
        call = self._nodes.get(node.serial)
        step = Pull(
            call, node.op.__name__, self._rules_of(node), came, gave,
            [type(x) is ndarray or is_array(x) for x in node.saved], seconds,
            before=self._before_record(node.serial) if call is None else None,
        )  # fmt: skip
        self._pull, self._found = (len(self.steps), step), found
        self.steps.append(step)
        self._claim(self._passes[-1], len(self.steps) - 1)

    def _rules_of(self, node: Node) -> list[dict[str, Any]]:
        op = node.op
        tracked = tuple([p is not None for p in node.parents])
        # Transforms make nodes whose op is none, and has a rule of its own.
        found = self._rules.get((op, tracked)) if type(op) is Op else None
        if found is None:
            inputs = [i for i, wanted in enumerate(tracked) if wanted]
            found = [
                {"input": i, "source": self._source(rule, op.__name__)}
                for i, rule in rules_of(op, inputs)
            ]
            if type(op) is Op:
                self._rules[op, tracked] = found
        return found

    def _source(self, function: Callable, name: str) -> int:
        """The number of a function's text, which is looked up when somebody asks."""
        return self._functions.setdefault((function, name), len(self._functions))

    def added_up(self, target: Any, g: Any, total: Any) -> None:
        if self.truncated or self._pull is None or get_ident() != self._thread:
            return
        x = base(as_array(total))
        if (known := self._seen(x)) is not None and self.values[known[1]].made is not None:
            number = self._state(x, known)  # an op has added them
        else:
            number = self._add(x, None, None, private=True)
        if type(target) is Tensor:
            self.leaves[self._leaf_for(target)].gradient = number
        self._sums.append((target, g, number))
        self._claim(self._passes[-1], self._pull[0])  # the addition, where it was an op

    def _settle(self) -> None:
        """Put down what the last hooks could not know yet: sums of gradients, and what is written.

        Of two equal gradients for one target the second was added to the first.
        """
        sums, self._sums = self._sums, []
        if self._pull is not None:
            gifts = list(zip(self._pull[1].gave, self._found, strict=True))[::-1]
            for target, g, number in reversed(sums):
                for gift, (t, v) in gifts:
                    if v is g and _same(t, target) and gift["total"] is None:
                        gift["total"] = number
                        break
        arriving, self._arriving = self._arriving, []
        for tensor in arriving:  # hooks of leaves, and what was there before, count
            if (g := tensor.grad) is not None:
                leaf = self._leaf_for(tensor)
                g = g if type(g) is SparseRows else as_array(g)
                self.leaves[leaf].gradient = self._gradient(g, leaf)
        opened, self._open = self._open, []
        for write, array in opened:
            write.value = self._now(array)
            if write.leaf is None:
                write.leaf = self.values[write.value].leaf
            self.steps.append(write)

    def frees(self, node: Node) -> None:
        if self._pull is not None and not self.truncated and get_ident() == self._thread:
            outputs = node.output if isinstance(node.output, tuple) else (node.output,)
            kept = [x for x in (*node.saved, *outputs) if type(x) is ndarray]
            self._pull[1].freed = sum({id(x): x.nbytes for x in kept}.values()) if kept else 0

    def walked_back(self) -> None:
        if get_ident() != self._thread:
            return
        if not self._waiting() and self._pull is not None:
            self._claim(self._passes[-1], self._pull[0])  # what hooks of leaves did
        self._passes.pop()
        self._undone = self._walks.pop()[1]
        self._pull = None

    # -- what is changed

    def sets_gradient(self, tensor: Tensor, adds: bool) -> None:
        waits = self._waiting()  # which looks at what the last one was set to
        self.gradients.setdefault(id(tensor), (tensor, tensor.grad))
        if adds and not waits:
            self._arriving.append(tensor)

    def shown(self, tensor: Tensor, array: Any) -> Any:
        self.written[id(array)] = array
        self._expose(base(array))
        return array

    def _expose(self, x: Any) -> None:
        """Note that others than the engine may write to an array, if it has been seen."""
        if (known := self._known.get(id(x))) is not None:
            self._exposed.add(known[2])

    def drew(self, draw: Callable, key: Any, numbers: Any) -> None:
        name = getattr(getattr(draw, "func", draw), "__name__", "numbers")
        self._drawn[id(numbers)] = numbers, f"drawn: {name}"

    def assigned(self, tensor: Tensor, array: Any) -> None:
        self.tensors.append((tensor, as_array(tensor)))
        if not self._waiting():
            self._write(tensor, array)

    def overwrites(self, array: Any) -> None:
        array = base(array)
        self.written[id(array)] = array
        if not self._waiting() and id(array) in self._known:
            self._write(array, array)

    def _write(self, owner: Any, array: Any) -> None:
        """Note that `owner`, a tensor or an array, gets other values: those of `array`, soon."""
        found = self._leaf.get(id(owner)) or self._leaf.get(id(base(as_array(owner))))
        array = base(array)
        if self._seen(array) is not None:
            self._expose(array)
        elif found is not None and is_array(array):  # from here on the leaf is that array
            self._leaf[id(array)] = array, found[1]
        line = self._where()[0]
        self._open.append((Write(None if found is None else found[1], -1, line), array))

    def updated(self, optimizer: Any, gradients: Mapping[str, Any], skip: Any = None) -> None:
        self.optimizers.append(optimizer)
        if self._waiting():
            return
        self._before = [(flat, flat.copies()) for flat in optimizer.flats]
        self._given, dense = {}, {}
        for name, g in gradients.items():
            if g is None:
                continue
            g = g if type(g) is SparseRows else as_array(g)
            if type(g) is ndarray:
                dense[name] = g
            else:
                found = self._leaf.get(id(optimizer.parameters[name]))
                self._given[name] = self._gradient(g, None if found is None else found[1])
        for kind in {g.dtype for g in dense.values()}:  # in one copy; see `_updates`
            own = {name: g for name, g in dense.items() if g.dtype == kind}
            flat, at = np.concatenate([g.reshape(-1) for g in own.values()]), 0
            for name, g in own.items():
                self._given[name] = flat[at : at + g.size].reshape(g.shape)
                at += g.size

    def stepped(self, optimizer: Any) -> None:
        if self._waiting():
            return
        for flat, before in self._before:
            settings = {k: shown(v) for k, v in optimizer.options(flat).items()}
            place = len(self.steps)  # one for each parameter, to be filled by `_updates`
            self.steps += [None] * len(flat.parameters)  # type: ignore[list-item]
            source = self._source(optimizer.formula, type(optimizer).__name__)
            now = flat.copies(), self._given, settings, flat.steps.tolist(), source
            self._stepped.append((place, type(optimizer).__name__, flat, before, *now))
        self._before = []

    # -- the end

    def outside(self) -> Iterator[Any]:
        """Tensors and arrays that came from outside, were written to, or that a name leads to."""
        for owner, x in self._owners:
            yield owner
            yield x
        for tensor, before in self.tensors:
            yield tensor
            yield before
        yield from self.written.values()
        for x, _, _ in self._names().values():
            yield x

    def finish(self, title: str, result: Any, seconds: float) -> Record:
        """The record, once the run is over."""
        self._waiting()
        try:
            leaves = leaves_of(result)
        except RecursionError:  # a list that is in itself
            leaves = []
        outputs = [self._now(base(as_array(x))) for x in leaves if type(x) is Tensor or is_array(x)]
        return Record(
            title, self.steps, self.values, self.leaves, Sources(self._functions), [], outputs,
            truncated=self.truncated, seconds=seconds, result=result, later=self._complete,
        )  # fmt: skip

    def _complete(self, record: Record) -> None:
        """What nobody has to know during the run: each parameter's update, lines and names."""
        record.lines = [line_at(*place) for place in self._lines]
        owned = [pair for _, _, flat, *_ in self._stepped for pair in flat.parameters.items()]
        for stepped in self._stepped:
            self._updates(*stepped)
        self._stepped.clear()
        names = self._names()
        for array_of, old in self.tensors:  # a name leads to what a tensor was at first, too
            if (known := names.get(id(array_of))) is not None:
                names.setdefault(id(old), (old, *known[1:]))
        for key, (numbers, name) in self._drawn.items():
            names.setdefault(key, (numbers, name, "constant"))
        for name, p in owned:
            names.setdefault(id(p), (p, name, "parameter"))
        for leaf, (owner, x) in zip(self.leaves, self._owners, strict=True):
            for one in (owner, x):
                named, name, kind = names.get(id(one), (None, "", ""))
                if named is one:
                    leaf.name, leaf.kind = name, kind
                    break
            else:
                if type(owner) is Tensor:
                    leaf.name, leaf.kind = owner.name or "", "parameter"
            record.note(owner, self._leaf[id(owner)][1])

    def _updates(
        self, place: int, optimizer: str, flat: Any, before: dict, after: dict, given: dict,
        settings: dict[str, str], numbers: list[int], source: int,
    ) -> None:  # fmt: skip
        """The steps of an optimizer's step: one a parameter."""
        for i, (name, p) in enumerate(flat.parameters.items()):
            found = self._leaf.get(id(p)) or self._leaf.get(id(as_array(p)))
            leaf = None if found is None else found[1]
            if type(g := given.get(name)) is ndarray:
                arrived = None if leaf is None else self.leaves[leaf].gradient
                same = arrived is not None and self._equal(arrived, g)
                g = given[name] = arrived if same else self._keep(g, None, None)
            if leaf is None and p.requires_grad:
                leaf = self._leaf_of(as_array(p), p)
                self.leaves[leaf].value = self._keep(before[""][i], None, leaf)
            old, new = self._states(before[""][i], after[""][i], leaf, g)
            moments = {
                m: self._states(before[m][i], after[m][i], None, g)
                for m in flat.moments
                if before[m][i] is not None
            }
            self.steps[place + i] = Update(
                optimizer, settings, numbers[i], name, leaf, old, new, g, moments, source
            )

    def _states(self, before: Any, after: Any, leaf: int | None, g: int | None) -> list[int]:
        """Two values, of which the first may be that of a leaf; without a gradient one, twice."""
        first = None if leaf is None else self.leaves[leaf].value
        if first is None or not self._equal(first, before):
            first = self._keep(before, None, leaf)
        return [first, first if g is None else self._keep(after, None, leaf)]


def _same(a: Any, b: Any) -> bool:
    """Whether two edges or leaves are one; slots are made anew, and `==` of Tensors is an op."""
    return a is b or (type(a) is Slot and a == b)


# -------------------------------------------------------------------------------------- lines

ENGINE, LAYER, USER = range(3)
_CALL, _BACKWARD = Op.__call__.__code__, backward_pass.__code__
# A call that goes on to another of these is not one that reports.
_PASSING = {_CALL, Op.inline.__code__, Op.failed.__code__}
_LAYERS = ("nn", "learner", "optim", "data")


_KINDS: dict[str, int] = {}  # of files that were met


def kind_of(file: str) -> int:
    """Whether a file is the engine's, has layers and the like, or is its user's."""
    try:
        parts = Path(file).relative_to(ROOT).parts
    except ValueError:
        return USER
    if parts[0] == "examples" or parts[:2] == ("study", "book"):
        return USER
    return LAYER if parts[0] in _LAYERS else ENGINE
