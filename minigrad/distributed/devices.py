"""Sums over GPUs, one of each process, by NCCL through CuPy.

NCCL works on a stream of its own, so that it goes on beside the computation: it waits for an event
of the stream that made the numbers, and whoever needs the sum waits for an event of it. No call
here makes the host wait. MPI is used to meet only.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from minigrad.errors import DistributedError, DtypeError

if TYPE_CHECKING:
    from minigrad.distributed.groups import Processes

_TYPES = {
    "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "uint32": "UINT32", "int64": "INT64",
    "uint64": "UINT64", "float16": "FLOAT16", "float32": "FLOAT32", "float64": "FLOAT64",
    "bfloat16": "BFLOAT16",
}  # fmt: skip


def take_device(cupy: ModuleType, local_rank: int, local_size: int) -> None:
    """Compute on GPU number `local_rank` from here on.

    Raises:
        DistributedError: there are fewer of them than processes on this machine.
    """
    there = cupy.cuda.runtime.getDeviceCount()
    if local_size > there:
        raise DistributedError(
            f"init: {local_size} processes on this machine and {there} GPU{'s' * (there != 1)}; "
            f"start one process for each GPU, or set MINIGRAD_BACKEND=numpy"
        )
    cupy.cuda.Device(local_rank).use()


class Devices:
    """The GPUs of a group.

    Raises:
        DistributedError: CuPy finds no NCCL here.
    """

    def __init__(self, group: "Processes", cupy: ModuleType):
        self._cupy, self._nccl = cupy, cupy.cuda.nccl
        there = group.gather(bool(self._nccl.available), "is NCCL there")
        if not all(there):
            without = ", ".join(str(rank) for rank, found in enumerate(there) if not found)
            raise DistributedError(
                f"all_reduce: CuPy finds no NCCL in the processes {without}; install "
                f"nvidia-nccl-cu13 (or -cu12), or set MINIGRAD_BACKEND=numpy"
            )
        own = self._nccl.get_unique_id().hex() if group.rank == 0 else ""
        key = bytes.fromhex(group.gather(own, "NCCL's unique id")[0])
        self._comm = self._nccl.NcclCommunicator(group.size, key, group.rank)
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def all_reduce(self, x: Any, operation: str = "sum") -> "_Sum":
        """Begin to put the sum (max, min) of all arrays, which are contiguous, into `x` itself."""
        self._after_now()
        op = getattr(self._nccl, f"NCCL_{operation.upper()}")
        where = x.data.ptr
        self._comm.allReduce(where, where, x.size, self._type(x), op, self._stream.ptr)
        return _Sum(self._cupy, self._stream.record())

    def broadcast(self, x: Any, root: int) -> None:
        """Put the array of the process `root` into `x`."""
        self._after_now()
        where = x.data.ptr
        # As bytes: of any dtype.
        self._comm.broadcast(where, where, x.nbytes, self._nccl.NCCL_UINT8, root, self._stream.ptr)
        _Sum(self._cupy, self._stream.record()).wait()

    def _after_now(self) -> None:
        """Let our stream begin after what the current one has been given to do."""
        current = self._cupy.cuda.get_current_stream()
        self._stream.wait_event(current.record())

    def _type(self, x: Any) -> int:
        if x.dtype.name not in _TYPES:
            raise DtypeError(f"all_reduce: NCCL has no {x.dtype}; there are {', '.join(_TYPES)}")
        return int(getattr(self._nccl, f"NCCL_{_TYPES[x.dtype.name]}"))


class _Sum:
    """A reduction under way on the devices."""

    def __init__(self, cupy: ModuleType, done: Any):
        self._cupy, self._done = cupy, done

    def poke(self) -> bool:
        """False: nobody needs to ask, it goes on by itself."""
        return False

    def wait(self) -> None:
        """Let the current stream go on after it; the host does not wait."""
        self._cupy.cuda.get_current_stream().wait_event(self._done)
