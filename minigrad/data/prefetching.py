"""Batches on their way to a device, ahead of the steps that use them.

    host      | fill slot 0 | fill slot 1 | fill slot 2 | wait for slot 0, fill it | ...
    copies    |             | 0 -> device | 1 -> device | 2 -> device              | ...
    compute   |                           | step 0      | step 1                   | ...

A slot is page-locked memory, from which the device copies by itself, on a stream of its own, while
the host goes on and a step computes. Three events keep the order, and nobody waits for a step:

    the copy starts after what was queued when its array was made: the pool may have given memory
        that a kernel still reads
    the step starts after the copy of its batch
    a slot is filled again after its copy: the only wait of the host, and mostly over by then

Each batch gets arrays of its own: one that was handed out is overwritten by nobody.
"""

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import pinned, xp
from minigrad.data.collating import map_leaves

SLOTS = 3  # one that is filled while one is copied and one is to be used
ALIGNED = 256  # bytes, at which each array begins, as the device likes to read them


class Slot:
    """Page-locked memory for one batch.

    Attributes:
        copied: the event after the last copy from here; None if there was none.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.copied: Any = None

    def wait(self) -> None:
        """Wait for the copy that is in progress, if there is one."""
        if self.copied is not None and not self.copied.done:
            self.copied.synchronize()

    def take(self, nbytes: int) -> None:
        """Be free, and as large as that."""
        self.wait()
        if self.memory.size < nbytes:
            self.memory = pinned(nbytes)

    def place(self, x: np.ndarray, dtype: np.dtype, start: int) -> np.ndarray:
        """A copy of `x` here, from byte `start` on."""
        there = self.memory[start : start + x.nbytes].view(dtype).reshape(x.shape)
        there[...] = x
        return there


class Prefetcher:
    """Copies batches to the device that is present now, on a stream of its own."""

    def __init__(self) -> None:
        self.module = xp()
        self.device = self.module.cuda.Device()
        self.stream = self.module.cuda.Stream(non_blocking=True)
        self.slots = [Slot() for _ in range(SLOTS)]
        self.count = 0

    def prefetched(self, batches: Iterator[Any]) -> Generator[Any, None, None]:
        """The batches in their order, their numbers on the device; `SLOTS - 1` are made ahead.

        What making a batch raises is raised in its place: those before it are given first.
        """
        ready: deque[tuple[Any, Any]] = deque()  # (batch, event after its copy)
        error: Exception | None = None
        try:
            while True:
                while error is None and len(ready) < SLOTS:
                    try:
                        ready.append(self.sent(next(batches)))
                    except Exception as raised:  # StopIteration among them
                        error = raised
                if not ready:
                    break
                batch, copied = ready.popleft()
                if copied is not None:
                    self.module.cuda.get_current_stream().wait_event(copied)
                yield batch
        finally:
            for slot in self.slots:  # neither end may be used anew while it is still copied
                slot.wait()
        if not isinstance(error, StopIteration):
            assert error is not None
            raise error

    def sent(self, batch: Any) -> tuple[Any, Any]:
        """A batch in arrays that are being filled, and the event after that."""
        arrays: dict[int, np.ndarray] = {}

        def find(x: Any) -> None:
            if (array := _on_host(x)) is not None:
                arrays[id(array)] = array

        map_leaves(find, batch)
        slot = self.slots[self.count % SLOTS]
        self.count += 1
        sizes = [-(-x.nbytes // ALIGNED) * ALIGNED for x in arrays.values()]
        slot.take(sum(sizes))
        with self.device:
            dtypes = {at: x.dtype.newbyteorder("=") for at, x in arrays.items()}
            made = {at: self.module.empty(x.shape, dtypes[at]) for at, x in arrays.items()}
            self.stream.wait_event(self.module.cuda.get_current_stream().record())
            start = 0
            for (at, x), size in zip(arrays.items(), sizes, strict=True):
                if size:
                    made[at].set(slot.place(x, dtypes[at], start), stream=self.stream)
                start += size
            slot.copied = self.stream.record()

        def moved(x: Any) -> Any:
            array = _on_host(x)
            return x if array is None else made[id(array)]

        return map_leaves(moved, batch), slot.copied


def _on_host(x: Any) -> np.ndarray | None:
    """The array of `x` if it has to move: numbers on the host."""
    x = x.data if type(x) is Tensor else x
    return x if isinstance(x, np.ndarray) and x.dtype.kind in "biufc" else None
