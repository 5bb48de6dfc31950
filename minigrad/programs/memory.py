"""The memory of a program: a place for every array, shared by those that live at other times.

Liveness is by calls: a root is alive from the call that makes it to the last that reads it. Places
of which one dies before the other is born may overlap; all lie in one block. Gradients are made
where an optimizer reads them, and what comes from outside stays where it is.
"""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.kernels.instructions import NotByGroup
from minigrad.ops.activations import _relu_grad
from minigrad.programs.places import address_of, on_host_at
from minigrad.programs.values import Call, Groups, Update, Value

ALIGNED = 64  # bytes: a line of the cache

# Ops that may write over an input: element by element, each read before it is written.
IN_PLACE = {
    ops.add, ops.multiply, ops.subtract, ops.divide, ops.relu, _relu_grad, ops.negative, ops.exp,
    ops.tanh,
}  # fmt: skip


@dataclass(eq=False)
class Storage:
    """A place for roots that take over from each other; `first` to `last` are indices of calls.

    Attributes:
        show: makes an array of an address and a layout.
    """

    size: int
    first: int
    last: int
    address: int = 0
    offset: int = -1
    show: Callable[[int, Value], Any] = on_host_at


class Memory:
    """Gives every root of some calls its place.

    Args:
        calls: in order.
        arguments: the values that come in with each run.
        results: the values that go out.
        assigned: the values that arrays outside get at the end.
        updates: steps of optimizers, at the end.
        groups: of rows, if there are any.
        scratch: `scratch(call)` gives what a call needs meanwhile, as things with shape and dtype.

    Attributes:
        bytes: of the block.
        storages: the places in it.
        copies: gradients that were made elsewhere, and where their optimizer reads them.
        scratches: by call, the values of what it needs meanwhile.
    """

    show: Callable[[int, Value], Any] = staticmethod(on_host_at)
    in_place = IN_PLACE

    def __init__(
        self,
        calls: list[Call],
        arguments: Sequence[Value],
        results: Sequence[Value],
        assigned: Sequence[Value],
        updates: Sequence[Update],
        groups: Groups | None,
        scratch: Callable[[Call], Sequence[Any]],
    ):
        self.groups = groups
        self.keep_alive: list[Any] = []
        self.copies: list[tuple[Any, Value]] = []
        self.scratches: dict[Call, list[Value]] = {}
        self.storages: list[Storage] = []
        self._place_gradients(calls, results, updates)
        storages = self.storages
        end = len(calls)
        for i, call in enumerate(calls):
            self.scratches[call] = []
            for needs in scratch(call):
                value = Value(np.empty(needs.shape, needs.dtype))
                value.place = self._storage(bytes_of(value), i, i)
                self.scratches[call].append(value)
                storages.append(value.place)
        kept = {v.root for v in (*results, *assigned)}
        kept |= {v.root for u in updates for v in u.reads}
        last: dict[Value, int] = {}
        for i, call in enumerate(calls):
            for x in call.reads:
                last[x.root] = i
        for v in kept:
            last[v] = end
        for v in (*results, *assigned):
            if v.root.array is not None and v.root.place is None:
                self._place_outside(v.root, end)
        for v in arguments:
            v.root.place = self._storage(bytes_of(v.root), -1, end)
            storages.append(v.root.place)
        for i, call in enumerate(calls):
            for x in call.reads:
                if x.root.place is None:
                    self._place_outside(x.root, end)
            for j, y in enumerate(call.outputs):
                root = y.root
                if root.place is not None:
                    continue
                old = call.into.root.place if call.into is not None and j == 0 else None
                if old is None and j == 0:
                    old = _dying(call, i, y, last) if call.op in self.in_place else None
                if old is not None:
                    root.place = old
                    old.last = max(old.last, last.get(root, i))
                    continue
                root.place = self._storage(bytes_of(root), i, last.get(root, i))
                storages.append(root.place)
        self.bytes = arrange(storages)
        start = self.allocate(self.bytes)
        for storage in storages:
            storage.address = start + storage.offset

    def allocate(self, size: int) -> int:
        """Make the block; where it begins."""
        self._block = _zeros(size + ALIGNED)
        arena = np.frombuffer(self._block, np.uint8)
        self.keep_alive.append(arena)
        return -arena.ctypes.data % ALIGNED + arena.ctypes.data

    def _storage(self, size: int, first: int, last: int) -> Storage:
        return Storage(size, first, last, show=self.show)

    def _there(self, array: Any, end: int) -> Storage:
        """A place that is an array's own."""
        return Storage(0, -1, end, address_of(array), 0, self.show)

    def rest(self) -> None:
        """Give the block back to the system until the next run."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._block.madvise(mmap.MADV_DONTNEED)

    def _place_outside(self, root: Value, end: int) -> None:
        """A root that lies where it came from: a parameter, a buffer, a constant."""
        assert root.array is not None  # no call makes it
        root.place = self._there(root.array, end)
        self.keep_alive.append(root.array)

    def _place_gradients(
        self, calls: list[Call], results: Sequence[Value], updates: Sequence[Update]
    ) -> None:
        """Let gradients be computed where the optimizer reads them."""
        made = {y.root for call in calls if call.into is None for y in call.outputs}
        taken = {c.into.root for c in calls if c.into is not None}
        outside = {v.root for v in results}
        for update in updates:
            flat_of = {
                name: (flat, i)
                for flat in update.optimizer.flats
                for i, name in enumerate(flat.parameters)
            }
            of_groups = names_by_group(update, self.groups)
            for name, g in update.gradients.items():
                if g is None:
                    continue
                flat, i = flat_of[name]
                target = flat.view(flat.gradients, i)
                root = g.root
                if self.groups is not None and (names := of_groups.get(name)) is not None:
                    if root in self.groups.tables or not g.c_contiguous or g.offset:
                        raise NotByGroup(f"the gradient of '{name}'")
                    places = [flat_of[n] for n in names]
                    views = [f.view(f.gradients, j) for f, j in places]
                    self.groups.add_table(root, views)
                fits = (
                    root in made
                    and root.place is None
                    and root not in taken
                    and root not in outside
                    and g.c_contiguous
                    and root.size == g.size == target.size
                    and g.dtype == target.dtype
                    and root.c_contiguous
                )
                if fits:
                    root.place = self._there(target, len(calls))
                    self.keep_alive.append(flat.gradients)
                else:
                    self.copies.append((target, g))


def names_by_group(update: Update, groups: Groups | None) -> dict[str, list[str]]:
    """For each parameter of the first group: what the optimizer calls those of all groups."""
    if groups is None:
        return {}
    names = {id(p): name for name, p in update.optimizer.parameters.items()}
    return {
        names[id(tensors[0])]: [names[id(t)] for t in tensors]
        for tensors in groups.tensors
        if id(tensors[0]) in names
    }


def _dying(call: Call, i: int, y: Value, last: dict[Value, int]) -> Storage | None:
    """The place of an input that `y` may take over: of its size, and not read again."""
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


def _zeros(size: int) -> mmap.mmap:
    """Memory that is zeros once it is touched, and after a fork is each process's own."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, size)
