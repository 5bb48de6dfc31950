"""Groups of processes: of one, which costs nothing, and of several over MPI.

Every collective call begins with a message of 256 bytes from each process to all, which says what
it is about to do. Where these differ, all of them know it and say who wanted what, in place of
waiting for each other for ever; and what is small travels in the same message. Waiting is done by
asking again and again, so that a time limit can end it.
"""

import atexit
import hashlib
import json
import os
import sys
import time
from types import TracebackType
from typing import Any

import numpy as np

from minigrad.backend import array_module, describe
from minigrad.distributed.devices import Devices
from minigrad.distributed.launching import TIMEOUT, Place
from minigrad.errors import DistributedError, DtypeError

OPERATIONS = ("sum", "max", "min")
_HEAD, _MESSAGE = 16, 240  # bytes: hash of the call and length of what it sends; and the beginning
_ENDS = "end the program"


class Done:
    """What is over already."""

    def poke(self) -> bool:
        """Whether it is over; asking is what lets it go on."""
        return True

    def wait(self) -> None:
        """Come back when it is over."""


class Group:
    """A process that is alone: it has all there is, and waits for nobody.

    Attributes:
        rank, size: its number, and how many there are.
        local_rank, local_size: the same among those on this machine.
    """

    rank = local_rank = 0
    size = local_size = 1

    def gather(self, said: Any, call: str = "gather") -> list[Any]:
        """What each process said, plain data, in the order of their ranks."""
        return [said]

    def start(self, x: Any, operation: str = "sum") -> Done:
        """Begin to put the sum (maximum, minimum) of all processes' arrays into `x` itself.

        It has to be begun by all in the same order, with equal shapes; that is not compared here.
        """
        return Done()

    def all_reduce(self, x: Any, operation: str = "sum") -> None:
        """Put the sum (maximum, minimum) of all processes' arrays into `x` itself."""

    def broadcast(self, x: Any, root: int = 0) -> None:
        """Put the array of the process `root` into `x`."""

    def barrier(self) -> None:
        """Come back when all are here."""

    def end(self, reason: str) -> None:
        """End all processes, at once, and say why."""


class Processes(Group):
    """All processes that one `mpiexec` has started.

    From here on an error that nobody catches ends all of them, and a process that ends does not
    leave before the others do.

    Raises:
        DistributedError: mpi4py is not there, or finds the library of another MPI.
    """

    def __init__(self, place: Place, seconds: float):
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise DistributedError(
                f"init: this is process {place.rank} of {place.size}, and mpi4py does not work "
                f"({str(error).strip().splitlines()[0]}); install minigrad[mpi] and an MPI, or set "
                f"MINIGRAD_DISTRIBUTED=0 for processes that know nothing of each other"
            ) from error
        world = MPI.COMM_WORLD
        if world.size != place.size:
            raise DistributedError(
                f"init: mpiexec has started {place.size} processes, and the MPI library of mpi4py "
                f"knows of {world.size}: they are of two MPIs ({MPI.Get_library_version()[:40]!r} "
                f"is the library); start with the mpiexec that belongs to it"
            )
        self._mpi, self._seconds = MPI, seconds
        self._comm = world.Dup()  # nobody else's messages arrive here
        self.rank, self.size = world.rank, world.size
        here = world.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.rank, here.size
        here.Free()
        self._calls, self._over = 0, False
        self._devices: Devices | None = None
        self._hook, sys.excepthook = sys.excepthook, self._failed
        atexit.register(self._leave)

    # -- collective calls

    def gather(self, said: Any, call: str = "gather") -> list[Any]:
        return self._exchange(call, said)

    def start(self, x: Any, operation: str = "sum") -> Any:
        if array_module(x) is not np:
            return self.devices(x).all_reduce(x, operation)
        return _Sum(self, x, operation)

    def all_reduce(self, x: Any, operation: str = "sum") -> None:
        self._exchange(f"all_reduce({describe(x)}, {operation!r})")
        self.start(x, operation).wait()

    def broadcast(self, x: Any, root: int = 0) -> None:
        call = f"broadcast({describe(x)}, root={root})"
        self._exchange(call)
        if array_module(x) is not np:
            self.devices(x).broadcast(x, root)
        else:
            self.wait(self._comm.Ibcast([x.reshape(-1).view(np.uint8), self._mpi.BYTE], root), call)

    def barrier(self) -> None:
        self._exchange("barrier")

    def devices(self, x: Any) -> Devices:
        """The GPUs of all processes, one each; x: an array of this one's."""
        if self._devices is None:
            self._devices = Devices(self, array_module(x))
        return self._devices

    # -- what they are made of

    def _exchange(self, call: str, said: Any = None) -> list[Any]:
        """What all processes say at this call; DistributedError if it is not the same call."""
        self._calls += 1
        body = json.dumps(said).encode()
        mine = f"{self._calls}: {call}"
        digest = hashlib.blake2b(mine.encode(), digest_size=8).digest()
        head = digest + len(body).to_bytes(8, "little")
        small = len(body) <= _MESSAGE
        first = body if small else b""
        message = np.frombuffer((head + first).ljust(_HEAD + _MESSAGE, b" "), np.uint8)
        everyone = np.empty((self.size, len(message)), np.uint8)
        self.wait(self._comm.Iallgather(message, everyone), call, forever=call == _ENDS)
        heads = [row[:_HEAD].tobytes() for row in everyone]
        if any(head[:8] != digest for head in heads):
            self._disagree(mine)
        lengths = [int.from_bytes(head[8:], "little") for head in heads]
        bodies = [
            row[_HEAD : _HEAD + n].tobytes() for row, n in zip(everyone, lengths, strict=True)
        ]
        longest = max(lengths)
        if longest > _MESSAGE:
            padded = np.frombuffer(body.ljust(longest, b" "), np.uint8)
            found = np.empty((self.size, longest), np.uint8)
            self.wait(self._comm.Iallgather(padded, found), call)
            bodies = [row.tobytes() for row in found]
        return [json.loads(body) for body in bodies]

    def _disagree(self, mine: str) -> None:
        """Raise, with what each process wants to do; all of them are here."""
        message = np.frombuffer(mine.encode()[:_MESSAGE].ljust(_MESSAGE, b" "), np.uint8)
        everyone = np.empty((self.size, _MESSAGE), np.uint8)
        self.wait(self._comm.Iallgather(message, everyone), mine)
        wants = [row.tobytes().decode(errors="replace").rstrip() for row in everyone]
        listing = "\n  ".join(f"rank {rank} is at call {want}" for rank, want in enumerate(wants))
        raise DistributedError(
            f"the processes do not do the same:\n  {listing}\nEach has to make the same calls in "
            f"the same order, for the same model"
        )

    def wait(self, request: Any, call: str, forever: bool = False) -> None:
        """Come back when an MPI request is done.

        Raises:
            DistributedError: it takes longer than the time limit, or MPI has failed.
        """
        began, asked = time.monotonic(), 0
        while not self.test(request, call):
            asked += 1
            if asked > 200:  # the others are long in coming: leave the processor to them
                time.sleep(min(1e-5 * (asked - 200), 1e-3))
                if not forever and time.monotonic() - began > self._seconds:
                    raise DistributedError(
                        f"rank {self.rank} of {self.size} has waited {self._seconds:g} s for the "
                        f"others at call {self._calls}, {call}; one of them is stuck, or computes "
                        f"for longer: {TIMEOUT} sets the seconds"
                    )

    def test(self, request: Any, call: str) -> bool:
        """Whether an MPI request is done; DistributedError if MPI has failed."""
        try:
            return bool(request.Test())
        except self._mpi.Exception as error:
            raise DistributedError(f"rank {self.rank}: {call}: {error}") from error

    def begin(self, x: np.ndarray, operation: str) -> Any:
        """The MPI request that reduces a contiguous array in place."""
        op = getattr(self._mpi, operation.upper())
        return self._comm.Iallreduce(self._mpi.IN_PLACE, x, op)

    # -- the end

    def end(self, reason: str) -> None:
        sys.stdout.flush()
        sys.stderr.write(
            f"minigrad: rank {self.rank} of {self.size} {reason}; all processes are ended\n"
        )
        sys.stderr.flush()
        self._over = True
        time.sleep(0.5)  # mpiexec passes texts on, and drops what is on the way when it ends all
        self._mpi.COMM_WORLD.Abort(1)
        os._exit(1)  # some come back from it before they are ended

    def _failed(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """What becomes of an error that nobody catches: the others must not wait for this one."""
        self._hook(kind, error, trace)
        self.end(f"failed: {kind.__name__}: {error}")

    def _leave(self) -> None:
        """The last call: a process that leaves early would let others wait for it in vain."""
        if self._over or self._mpi.Is_finalized():
            return
        try:
            self._exchange(_ENDS)
        except DistributedError as error:
            time.sleep(1.0)  # those who wait say it better, and where they are
            self.end(f"has ended before the others: {error}")
        except KeyboardInterrupt:
            self.end("was interrupted")


class _Sum:
    """A reduction under way. MPI knows no half precision: that is summed in float32."""

    def __init__(self, group: Processes, x: np.ndarray, operation: str):
        self.group, self.x = group, x
        wide = x.dtype.kind not in "iufc" or x.dtype.itemsize < (4 if x.dtype.kind == "f" else 1)
        self.buffer = x.astype(np.float32) if wide else x
        self.request = group.begin(self.buffer, operation)
        self.call = f"the reduction of {describe(x)}"

    def poke(self) -> bool:
        return self.group.test(self.request, self.call)

    def wait(self) -> None:
        self.group.wait(self.request, self.call)
        if self.buffer is not self.x:
            self.x[...] = self.buffer.astype(self.x.dtype)


def checked(who: str, x: Any, operation: str = "sum") -> None:
    """Raise unless `x` is an array that can be reduced by that operation."""
    if operation not in OPERATIONS:
        raise ValueError(f"{who}: expected one of {', '.join(OPERATIONS)}, got {operation!r}")
    kind = x.dtype.kind
    if kind not in "iufV" and not (kind == "c" and operation == "sum"):
        raise DtypeError(f"{who}: {operation} of {x.dtype} is not defined; give numbers")
