"""The program: every array in its place, every instruction in order."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad import kernels, random
from minigrad.autodiff import Op
from minigrad.backend import modes, switched
from minigrad.errors import OutOfRangeError
from minigrad.kernels.instructions import Instruction, NotByGroup
from minigrad.programs.in_python import in_python
from minigrad.programs.memory import Memory, names_by_group
from minigrad.programs.values import Call, Graph, Groups, Update, Value, needed
from minigrad.writes import wrote


class Program:
    """A captured step, ready to run again and again.

    Args:
        calls: the op calls, in order.
        arguments: the values that come in with each call.
        results: the values that go out.
        updates: steps of optimizers, all at the end.
        assignments: arrays that get values at the end.
        keys_drawn: how many random keys a run draws.
        threads: how many may work on it; None for as many as `set_num_threads` says at each run.
        groups: rows that belong to groups, if any do.

    Attributes:
        captured: the calls as they were given; `calls` are what became of them.
        instructions: in order; `call_of` says for each of the first ones to which of `calls` it
            belongs; those behind are assignments and optimizers' steps.

    Raises:
        NotByGroup: there are groups, and something cannot be done for each.
    """

    def __init__(
        self,
        calls: list[Call],
        arguments: list[Value],
        results: list[Value],
        updates: list[Update],
        assignments: list[tuple[Any, Value]],
        keys_drawn: int,
        threads: int | None,
        groups: Groups | None = None,
    ):
        self.groups = groups
        self.arguments, self.results, self.updates = arguments, results, updates
        self.assignments, self.keys_drawn = assignments, keys_drawn
        self.keys: list[Any] = []
        self.key_words = np.zeros((keys_drawn, 2), np.int64)
        self.status = np.zeros(1, np.int64)
        assigned = [v for _, v in assignments]
        kept = {v.root for v in (*results, *assigned)}
        kept |= {v.root for u in updates for v in u.reads}
        self.captured = calls
        place = functools.partial(
            self.kind_of_memory,
            arguments=arguments, results=results, assigned=assigned, updates=updates, groups=groups,
        )  # fmt: skip
        self._lower(needed(calls, kept), kept, place)
        self._finish_updates()
        self._assemble(threads)

    kind_of_memory = Memory

    def _lower(self, calls: list[Call], kept: set[Value], place: Callable[..., Memory]) -> None:
        """Put calls together, give values their places, and make kernels of calls."""
        if not kernels.enabled():
            if self.groups is not None:
                raise NotByGroup("a step without kernels")
            self.calls, self.memory = calls, place(calls, scratch=lambda call: ())
            self.instructions = [
                Instruction(c.name, function=in_python(c, self.keys)) for c in calls
            ]
            self.call_of = list(range(len(calls)))
            return
        from minigrad.programs.chains import chains  # imports Numba: not before a kernel is wanted
        from minigrad.programs.fusion import fuse
        from minigrad.programs.lowering import Host, Lowering

        graph = Graph(calls, kept, Host())
        fuse(graph)
        chains(graph)
        self.calls = [c for c in graph.calls if c is not None]
        chosen = {call: graph.machine.kernels_for(call) for call in self.calls}

        def scratch(call: Call) -> list:
            return [k.scratch(*call.inputs) for k in chosen[call] if k.scratch is not None][:1]

        self.memory = place(self.calls, scratch=scratch)
        lowering = Lowering(
            chosen, self.memory.scratches, self.status, self.keys, self.key_words, self.groups
        )
        found = [
            (i, line)
            for i, call in enumerate(self.calls)
            for line in lowering.instructions(call, i)
        ]
        self.call_of, self.instructions = [i for i, _ in found], [line for _, line in found]
        self.memory.keep_alive.append(lowering.alive)

    def _finish_updates(self) -> None:
        """What comes at the end: assignments, and the steps of optimizers."""
        for target, value in (*self.memory.copies, *self.assignments):
            self.instructions.append(self.copy(target, value))
        self.before: list[Callable[[], None]] = []
        self.written: list[Any] = [target for target, _ in self.assignments]
        for update in self.updates:
            stepped = list(self._stepped(update))
            skip = update.skip
            leaving = None if skip is None else self.leaving(update.optimizer, skip, stepped)
            if leaving is not None:
                self.before.append(leaving.begin)
                self.instructions += leaving.first
            for flat, common, by_group in stepped:
                present = functools.partial(self._present, common, by_group)
                instructions, before = self.update(update.optimizer, flat, present, leaving)
                for instruction in instructions:
                    instruction.shapes = f"{flat.weights.dtype}[{flat.weights.size}]"
                self.before.append(before)
                self.instructions += instructions
                self.written.append(flat.weights)
            if leaving is not None:
                self.instructions += leaving.last

    def _stepped(self, update: Update) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """The buffers that an optimizer changes, with the places of parameters that have gradients:

        of those in every run, and (parameters, groups) of those of groups.
        """
        of_groups = names_by_group(update, self.groups)
        for flat in update.optimizer.flats:
            places = {name: i for i, name in enumerate(flat.parameters)}
            common = [
                places[n]
                for n, g in update.gradients.items()
                if g is not None and n in places and n not in of_groups
            ]
            if any(len({n in places for n in names}) > 1 for names in of_groups.values()):
                raise NotByGroup("an optimizer with other options for some of the groups")
            mine = [
                [places[n] for n in names]
                for first, names in of_groups.items()
                if first in places and update.gradients[first] is not None
            ]
            if common or mine:
                yield flat, np.array(common, np.int64), np.array(mine)

    def leaving(self, optimizer: Any, skip: Value, stepped: list) -> Any:
        """What leaves a step out where a run finds that it is none, as `Kept` does."""
        return Kept(optimizer, skip.view(), self.on_host)

    def copy(self, target: Any, value: Value) -> Instruction:
        """What writes a value to an array outside."""
        return Instruction("copy", function=functools.partial(np.copyto, target, value.view()))

    def on_host(self, name: str, function: Callable[[], None]) -> Instruction:
        """What Python does, by numbers that it reads."""
        return Instruction(name, function=function)

    def update(
        self, optimizer: Any, flat: Any, present: Callable[[], np.ndarray], leaving: Any
    ) -> tuple[list[Instruction], Callable[[], None]]:
        """An optimizer's step on one of its buffers, and what to do before each run."""
        instruction, before = optimizer.captured(flat, present)
        return [instruction], before

    def _present(self, common: np.ndarray, by_group: np.ndarray) -> np.ndarray:
        """The places of the parameters that have gradients in this run, in order."""
        if not by_group.size:
            return common
        return np.sort(np.concatenate([common, by_group[:, self.here].ravel()]))

    def _assemble(self, threads: int | None) -> None:
        """Stretches of kernels, with Python's functions in between."""
        n = len(self.instructions)
        native = [i for i in self.instructions if i.record is not None]
        words = max((i.record.size for i in native if i.record is not None), default=0)
        self.stretches: list[tuple[int, int] | Callable[[], None]] = []
        self.work = sum(i.work for i in native)
        self.threads: int | None = 1
        self.team: Callable[..., Any] = _alone
        if native:
            from minigrad.kernels import machine

            self.team = machine.team
            if self.work >= machine.WORTH_THREADS:
                self.threads = threads
        self.addresses, self.records = np.zeros(n, np.int64), np.zeros((n, words), np.int64)
        self.alone: dict[int, float] = {}  # seconds of stretches on one thread
        start = 0
        for i, instruction in enumerate(self.instructions):
            if instruction.record is not None:
                self.addresses[i] = instruction.address
                self.records[i, : instruction.record.size] = instruction.record
            elif instruction.function is not None:
                if start < i:
                    self.stretches.append((start, i))
                self.stretches.append(instruction.function)
                start = i + 1
        if start < n:
            self.stretches.append((start, n))
        self.inputs = [v.view() for v in self.arguments]
        self.outputs = [v.view() for v in self.results]

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """One run on new arguments; copies of the results."""
        if modes.get().autocast is not None:  # casts are calls of the program, if there are any
            with switched(autocast=None):
                return self._run(arrays)
        return self._run(arrays)

    def _run(self, arrays: Sequence[Any]) -> list[Any]:
        for place, x in zip(self.inputs, arrays, strict=True):
            place[...] = x
        self.begin()
        with self.team(self.threads or kernels.get_num_threads()) as run:
            for stretch in self.stretches:
                if isinstance(stretch, tuple):
                    run(self.addresses, self.records, *stretch, self.alone)
                else:
                    stretch()
        if self.status[0]:
            self._report()
        for array in self.written:
            wrote(array)
        return [y.copy() for y in self.outputs]

    def begin(self) -> None:
        """What the host does before a run: it draws keys, finds groups, reads options."""
        self.keys[:] = (random.next_key() for _ in range(self.keys_drawn))
        for words, key in zip(self.key_words, self.keys, strict=True):
            words[:] = key.low, key.high
        if self.groups is not None:
            self.here = self.groups.split(self.groups.ids.view())
        for prepare in self.before:
            prepare()

    def rest(self) -> None:
        """Give the buffers' memory back to the system until the next run."""
        self.memory.rest()

    def _report(self) -> None:
        """Raise what the op says of an input that a kernel refused."""
        call = self.calls[int(self.status[0]) - 1]
        self.status[0] = 0
        if type(call.op) is Op:
            call.op(*(x.view() if type(x) is Value else x for x in call.inputs), **call.params)
        raise OutOfRangeError(f"{call.name}: an id is out of range (inputs: {call.reads})")

    def times(self) -> list[float]:
        """The seconds that each instruction takes on old arguments; it changes what a run does."""
        for prepare in self.before:
            prepare()
        found = []
        with self.team(self.threads or kernels.get_num_threads()) as run:
            for i, instruction in enumerate(self.instructions):
                began = time.perf_counter()
                if instruction.function is None:
                    run(self.addresses, self.records, i, i + 1)
                else:
                    instruction.function()
                found.append(time.perf_counter() - began)
        return found

    def table(self, title: str) -> str:
        """A line for each instruction, with shapes, and the time it takes on old arguments."""
        lines = [
            f"{i:5}  {seconds * 1e6:9.1f}  {instruction.by:6}  {instruction.name:24}  "
            f"{instruction.shapes}"
            for i, (instruction, seconds) in enumerate(
                zip(self.instructions, self.times(), strict=True)
            )
        ]
        native = sum(instruction.function is None for instruction in self.instructions)
        threads = self.threads or kernels.get_num_threads()
        head = (
            f"{title}: {len(self.captured)} ops became {len(lines)} instructions, {native} of them "
            f"kernels; {self.memory.bytes / 1e6:.2f} MB of buffers, {threads} threads"
        )
        return "\n".join(
            [head, "   no         us  by      what                      shapes", *lines]
        )


class Kept:
    """What an optimizer has before its step, for a run in which the step turns out to be none.

    Attributes:
        first, last: the instructions before and behind those of the step.
    """

    def __init__(self, optimizer: Any, skip: Any, instruction: Callable[..., Instruction]):
        self.flats, self.skip = optimizer.flats, skip
        self.first = [instruction("keep", self.keep)]
        self.last = [instruction("unless", self.restore)]
        self.steps: list[np.ndarray] = []
        self.arrays: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """Before a run, in which steps are counted at once."""
        self.steps = [flat.steps.copy() for flat in self.flats]

    def keep(self) -> None:
        """Copy all that the step will change, if it is none."""
        self.arrays = []
        if bool(self.skip):
            for flat in self.flats:
                self.arrays += [(x, x.copy()) for x in (flat.weights, *flat.moments.values())]

    def restore(self) -> None:
        """After the step."""
        if not self.arrays:
            return
        for x, old in self.arrays:
            x[...] = old
        for flat, steps in zip(self.flats, self.steps, strict=True):
            flat.steps[:] = steps
        self.arrays = []


@contextmanager
def _alone(threads: int) -> Iterator[None]:
    """In place of a team, for programs without kernels."""
    yield None
