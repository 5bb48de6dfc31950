"""The stand-in's NCCL: sums over processes by MPI, done when their stream comes to them.

Of the same order of calls in all processes, as NCCL wants it; ranks that call in another order wait
for each other, as they would there. Half precision is summed in float32 and rounded once.
"""

import ctypes
from typing import Any

import numpy as np

from cupy.cuda.stream import ExternalStream

available = True

NCCL_INT8, NCCL_UINT8, NCCL_INT32, NCCL_UINT32, NCCL_INT64, NCCL_UINT64 = range(6)
NCCL_FLOAT16, NCCL_FLOAT32, NCCL_FLOAT64, NCCL_BFLOAT16 = range(6, 10)
NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN = range(4)

_NAMES = [
    "int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
    "bfloat16",
]  # fmt: skip
_ID = bytes(range(128))  # CuPy 14 gives bytes

calls: list[tuple[str, int, str]] = []  # what was asked for: name, numbers, dtype


def get_unique_id() -> bytes:
    return _ID


class NcclCommunicator:
    """Rank `rank` of `ndev`; all have to give the same id."""

    def __init__(self, ndev: int, commId: bytes, rank: int):
        from mpi4py import MPI

        assert type(commId) is bytes
        assert commId == _ID
        assert (MPI.COMM_WORLD.size, MPI.COMM_WORLD.rank) == (ndev, rank)
        self._mpi, self._comm = MPI, MPI.COMM_WORLD.Dup()

    def allReduce(
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        name = _NAMES[datatype]
        calls.append(("allReduce", count, name))
        operation = [self._mpi.SUM, self._mpi.PROD, self._mpi.MAX, self._mpi.MIN][op]

        def work() -> None:
            x, y = _at(sendbuf, count, name), _at(recvbuf, count, name)
            wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x.copy()
            self._comm.Allreduce(self._mpi.IN_PLACE, wide, operation)
            y[...] = wide.astype(y.dtype)

        ExternalStream(stream)._submit(work)

    def broadcast(
        self, sendbuff: int, recvbuff: int, count: int, datatype: int, root: int, stream: int
    ) -> None:
        name = _NAMES[datatype]
        calls.append(("broadcast", count, name))

        def work() -> None:
            whole = _at(sendbuff, count, name).view(np.uint8).copy()
            self._comm.Bcast(whole, root)
            _at(recvbuff, count, name).view(np.uint8)[...] = whole

        ExternalStream(stream)._submit(work)


def _at(address: int, count: int, name: str) -> Any:
    """The numbers that lie there."""
    if name == "bfloat16":
        import ml_dtypes

        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(name)
    if not count:
        return np.zeros(0, dtype)
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype)
