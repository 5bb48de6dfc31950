"""The program: every array in its place, every instruction in order."""

import functools
import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad import kernels, random
from minigrad.errors import OutOfRangeError
from minigrad.programs.elementwise import chains
from minigrad.programs.fusion import RULES, Graph, activations, needed
from minigrad.programs.images import row_biases, use_layouts
from minigrad.programs.instructions import Writer
from minigrad.programs.values import (
    Call,
    Instruction,
    NotStacked,
    Region,
    Storage,
    Update,
    Value,
    kernels_know,
)
from minigrad.writes import wrote

ALIGNED = 64


class Program:
    """A captured step, ready to run again and again.

    Args:
        calls: the op calls, in order.
        arguments: the values that come in with each call.
        results: the values that go out.
        updates: steps of optimizers, all at the end.
        assignments: arrays that get values at the end.
        keys_drawn: how many random keys a run draws.
        region: rows that belong to groups, if any do.
        threads: how many may work on it; None for as many as `set_num_threads` says at each run.
    """

    def __init__(
        self,
        calls: list[Call],
        arguments: list[Value],
        results: list[Value],
        updates: list[Update],
        assignments: list[tuple[np.ndarray, Value]],
        keys_drawn: int,
        threads: int | None,
        region: Region | None = None,
    ):
        self.region = region
        self.arguments, self.results, self.updates = arguments, results, updates
        self.assignments, self.keys_drawn = assignments, keys_drawn
        self.keys: list[Any] = []
        self.key_words = np.zeros((keys_drawn, 2), np.int64)
        kept = {v.root for v in results} | {v.root for _, v in assignments}
        kept |= {g.root for u in updates for g in u.gradients.values() if g is not None}
        self.captured = len(calls)
        calls = needed(calls, kept)
        graph = Graph(calls, kept)
        if kernels.enabled():
            for rule in (use_layouts, *RULES, row_biases, activations, chains):
                rule(graph)
        self.calls = [c for c in graph.calls if c is not None]
        self.status = np.zeros(1, np.int64)
        self._scratch: dict[Call, Value] = {}
        self._plan(kept)
        scratch = self._scratch.__getitem__
        writer = Writer(scratch, self.status, self.keys, self.key_words, region)
        self.instructions: list[Instruction] = []
        for i, call in enumerate(self.calls):
            self.instructions += writer.instructions(call, i)
        self.keep_alive.append(writer.alive)
        self._finish_updates()
        self._assemble(threads)

    # -- memory

    def _plan(self, kept: set[Value]) -> None:
        """Give every root its place."""
        self.keep_alive: list[Any] = []
        storages: list[Storage] = []
        end = len(self.calls)
        self._place_gradients()
        for i, call in enumerate(self.calls):
            if call.name == "layer_norm_grad" and kernels_know(call):
                rows = call.inputs[1].size // max(call.inputs[1].shape[-1], 1)
                chunks = min(8, max(1, -(-rows // 64)))
                example = np.empty((chunks, 2, call.inputs[1].shape[-1]), call.outputs[0].dtype)
                self._scratch[call] = scratch = Value(example)
                scratch.place = Storage(example.nbytes, i, i)
                storages.append(scratch.place)
        last: dict[Value, int] = {}
        for i, call in enumerate(self.calls):
            for x in call.reads:
                last[x.root] = i
        for v in kept:
            last[v] = end
        for v in (*self.results, *(v for _, v in self.assignments)):
            if v.root.array is not None and v.root.place is None:
                self._place_outside(v.root, end)
        for v in self.arguments:
            v.root.place = Storage(bytes_of(v.root), -1, end)
            storages.append(v.root.place)
        for i, call in enumerate(self.calls):
            for x in call.reads:
                if x.root.place is None:
                    self._place_outside(x.root, end)
            for j, y in enumerate(call.outputs):
                root = y.root
                if root.place is not None:
                    continue
                old = call.into.root.place if call.into is not None and j == 0 else None
                if old is None and j == 0:
                    old = self._dying(call, i, y, last)
                if old is not None:
                    root.place = old
                    old.last = max(old.last, last.get(root, i))
                    continue
                root.place = Storage(bytes_of(root), i, last.get(root, i))
                storages.append(root.place)
        self.bytes = arrange(storages)
        self._memory = _zeros(self.bytes + ALIGNED)
        arena = np.frombuffer(self._memory, np.uint8)
        start = -arena.ctypes.data % ALIGNED + arena.ctypes.data
        for storage in storages:
            storage.address = start + storage.offset
        self.keep_alive.append(arena)

    def _place_outside(self, root: Value, end: int) -> None:
        """A root that lies where it came from: a parameter, a buffer, a constant."""
        root.place = Storage(0, -1, end, root.array.ctypes.data, 0)
        self.keep_alive.append(root.array)

    def _dying(self, call: Call, i: int, y: Value, last: dict[Value, int]) -> Storage | None:
        """The place of an input that `y` may take over: of its size, and not read again."""
        if call.name not in _IN_PLACE:
            return None
        for x in call.reads:
            root = x.root
            if (
                root.place is not None
                and root.place.size
                and root.place.last == i == last.get(root)
                and x.shape == y.shape
                and x.strides == y.strides
                and x.dtype == y.dtype
                and bytes_of(root) == bytes_of(y.root)
                and y.offset == x.offset == 0
                and all(_same_layout(x, v) for v in call.reads if v.root is root)
            ):
                return root.place
        return None

    def _place_gradients(self) -> None:
        """Let gradients be computed where the optimizer reads them."""
        self.copies: list[tuple[np.ndarray, Value]] = []
        made = {y.root for call in self.calls if call.into is None for y in call.outputs}
        taken = {c.into.root for c in self.calls if c.into is not None}
        outside = {v.root for v in self.results}
        for update in self.updates:
            flat_of = {
                name: (flat, i)
                for flat in update.optimizer.flats
                for i, name in enumerate(flat.parameters)
            }
            of_groups = self._group_names(update)
            for name, g in update.gradients.items():
                if g is None:
                    continue
                flat, i = flat_of[name]
                target = flat.view(flat.gradients, i)
                root = g.root
                if (names := of_groups.get(name)) is not None:
                    if root in self.region.tables or not g.contiguous or g.offset:
                        raise NotStacked(f"the gradient of '{name}'")
                    places = [flat_of[n] for n in names]
                    views = [f.view(f.gradients, j) for f, j in places]
                    self.region.add_table(root, views)
                fits = (
                    root in made
                    and root.place is None
                    and root not in taken
                    and root not in outside
                    and g.contiguous
                    and root.size == g.size == target.size
                    and g.dtype == target.dtype
                    and root.contiguous
                )
                if fits:
                    root.place = Storage(0, -1, len(self.calls), target.ctypes.data, 0)
                    self.keep_alive.append(flat.gradients)
                else:
                    self.copies.append((target, g))

    def _group_names(self, update: Update) -> dict[str, list[str]]:
        """For each parameter of the first group: what the optimizer calls those of all groups."""
        if self.region is None:
            return {}
        names = {id(p): name for name, p in update.optimizer.parameters.items()}
        return {
            names[id(tensors[0])]: [names[id(t)] for t in tensors]
            for tensors in self.region.tensors
            if id(tensors[0]) in names
        }

    # -- instructions

    def _finish_updates(self) -> None:
        """What comes at the end: assignments, and the steps of optimizers."""
        for target, value in (*self.copies, *self.assignments):
            source = value.view()
            self.instructions.append(
                Instruction("copy", function=lambda t=target, s=source: np.copyto(t, s))
            )
        self.before: list[Callable[[], None]] = []
        self.written: list[np.ndarray] = [target for target, _ in self.assignments]
        for update in self.updates:
            optimizer = update.optimizer
            for flat in optimizer.flats:
                places = {name: i for i, name in enumerate(flat.parameters)}
                of_groups = self._group_names(update)
                common = [
                    places[n]
                    for n, g in update.gradients.items()
                    if g is not None and n in places and n not in of_groups
                ]
                if any(len({n in places for n in names}) > 1 for names in of_groups.values()):
                    raise NotStacked("an optimizer with other options for some of the groups")
                mine = [
                    [places[n] for n in names]
                    for first, names in of_groups.items()
                    if first in places and update.gradients[first] is not None
                ]
                if not common and not mine:
                    continue
                present = functools.partial(
                    self._present, np.array(common, np.int64), np.array(mine)
                )
                instruction, before = optimizer.captured(flat, present)
                instruction.shapes = f"{flat.weights.dtype}[{flat.weights.size}]"
                self.before.append(before)
                self.instructions.append(instruction)
                self.written.append(flat.weights)

    def _present(self, common: np.ndarray, by_group: np.ndarray) -> np.ndarray:
        """The places of the parameters that have gradients in this run, in order."""
        if not by_group.size:
            return common
        return np.sort(np.concatenate([common, by_group[:, self.here].ravel()]))

    def _assemble(self, threads: int | None) -> None:
        """Stretches of native instructions, with Python's in between."""
        n = len(self.instructions)
        words = max((len(i.words) for i in self.instructions), default=0)
        self.stretches: list[tuple[int, int] | Callable[[], None]] = []
        self.work = sum(i.work for i in self.instructions)
        self.threads: int | None = 1
        if words:
            from minigrad.kernels import machine

            self.team, words = machine.team, machine.WORDS
            if self.work >= machine.WORTH_THREADS:
                self.threads = threads
        else:
            self.team = _alone
        self.handlers, self.words = np.zeros(n, np.int64), np.zeros((n, words), np.int64)
        self.alone: dict[int, float] = {}  # seconds of stretches on one thread
        start = 0
        for i, instruction in enumerate(self.instructions):
            if instruction.function is None:
                self.handlers[i] = instruction.handler
                self.words[i, : len(instruction.words)] = instruction.words
                continue
            if start < i:
                self.stretches.append((start, i))
            self.stretches.append(instruction.function)
            start = i + 1
        if start < n:
            self.stretches.append((start, n))
        self.inputs = [v.view() for v in self.arguments]
        self.outputs = [v.view() for v in self.results]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One run on new arguments; copies of the results."""
        for place, x in zip(self.inputs, arrays, strict=True):
            place[...] = x
        self.keys[:] = (random.next_key() for _ in range(self.keys_drawn))
        for words, key in zip(self.key_words, self.keys, strict=True):
            words[:] = key.low, key.high
        if self.region is not None:
            self.here = self.region.split(self.region.ids.view())
        for prepare in self.before:
            prepare()
        with self.team(self.threads or kernels.get_num_threads()) as run:
            for stretch in self.stretches:
                if type(stretch) is tuple:
                    run(self.handlers, self.words, *stretch, self.alone)
                else:
                    stretch()
        if self.status[0]:
            self._report()
        for array in self.written:
            wrote(array)
        return [y.copy() for y in self.outputs]

    def rest(self) -> None:
        """Give the buffers' memory back to the system until the next run."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)

    def _report(self) -> None:
        """Raise what the op says of an input that a handler refused."""
        call = self.calls[int(self.status[0]) - 1]
        self.status[0] = 0
        if call.op is not None:
            call.op(*(x.view() if type(x) is Value else x for x in call.inputs), **call.params)
        raise OutOfRangeError(f"{call.name}: an id is out of range (inputs: {call.reads})")

    def table(self, title: str) -> str:
        """A line for each instruction, with shapes, and the time it takes on old arguments."""
        for prepare in self.before:
            prepare()
        lines, native = [], 0
        threads = self.threads or kernels.get_num_threads()
        with self.team(threads) as run:
            for i, instruction in enumerate(self.instructions):
                began = time.perf_counter()
                if instruction.function is None:
                    native += 1
                    run(self.handlers, self.words, i, i + 1)
                else:
                    instruction.function()
                seconds = time.perf_counter() - began
                kind = "kernel" if instruction.function is None else "NumPy"
                what = f"{kind:6}  {instruction.name:24}  {instruction.shapes}"
                lines.append(f"{i:5}  {seconds * 1e6:9.1f}  {what}")
        head = (
            f"{title}: {self.captured} ops became {len(lines)} instructions, {native} of them "
            f"kernels; {self.bytes / 1e6:.2f} MB of buffers, {threads} threads"
        )
        return "\n".join(
            [head, "   no         us  by      what                      shapes", *lines]
        )


def _zeros(size: int) -> mmap.mmap:
    """Memory that is zeros once it is touched, and after a fork is each process's own."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, size)


@contextmanager
def _alone(threads: int) -> Iterator[None]:
    """In place of a team, for programs without kernels."""
    yield None


_IN_PLACE = {
    "add",
    "multiply",
    "subtract",
    "divide",
    "relu",
    "_relu_grad",
    "negative",
    "exp",
    "tanh",
}


def _same_layout(x: Value, y: Value) -> bool:
    return (x.shape, x.strides, x.offset) == (y.shape, y.strides, y.offset)


def bytes_of(root: Value) -> int:
    """What a root needs, rounded up to whole lines of the cache."""
    low, high = root.extent
    return -(-(high - low) // ALIGNED) * ALIGNED


def arrange(storages: list[Storage]) -> int:
    """Offsets such that places that live at the same time do not overlap; how many bytes in all."""
    placed: list[Storage] = []
    total = 0
    for s in sorted(storages, key=lambda s: -s.size):
        near = sorted(
            (p for p in placed if p.first <= s.last and s.first <= p.last), key=lambda p: p.offset
        )
        offset = 0
        for p in near:
            if offset + s.size <= p.offset:
                break
            offset = max(offset, p.offset + p.size)
        s.offset = offset
        placed.append(s)
        total = max(total, offset + s.size)
    return total
