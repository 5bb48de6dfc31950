"""CUDA's runtime, as far as it is asked."""

import ctypes
from typing import Any

from cupy._devices import COUNT, Device, present
from cupy.cuda import memory, stream
from cupy.cuda._errors import CUDARuntimeError  # noqa: F401

memcpyHostToHost, memcpyHostToDevice, memcpyDeviceToHost = 0, 1, 2
memcpyDeviceToDevice, memcpyDefault = 3, 4
streamCaptureModeGlobal, streamCaptureModeThreadLocal, streamCaptureModeRelaxed = 0, 1, 2
is_hip = False


def getDeviceCount() -> int:
    return COUNT


def getDevice() -> int:
    return present()


def setDevice(device: int) -> None:
    Device(device).use()


def getDeviceProperties(device: int) -> dict[str, Any]:
    return {
        "name": b"stand-in", "major": 9, "minor": 0, "multiProcessorCount": 4,
        "totalGlobalMem": memory.DEVICE_BYTES, "sharedMemPerBlockOptin": 227 * 1024,
    }  # fmt: skip


def deviceSynchronize() -> None:
    stream.count(stream.synchronisations, "deviceSynchronize")
    stream.finish_all()


def streamSynchronize(ptr: int) -> None:
    stream.by_address(ptr).synchronize()


def runtimeGetVersion() -> int:
    return 13000


def driverGetVersion() -> int:
    return 13000


def memGetInfo() -> tuple[int, int]:
    """Bytes of the device that are free, and that there are."""
    taken = sum(pool.total_bytes() for pool in list(memory._pools))
    return memory.DEVICE_BYTES - taken, memory.DEVICE_BYTES


def memcpyAsync(dst: int, src: int, size: int, kind: int, stream_ptr: int) -> None:
    stream.submit(lambda: ctypes.memmove(dst, src, size) and None, stream.by_address(stream_ptr))


def memcpy(dst: int, src: int, size: int, kind: int) -> None:
    stream.count(stream.transfers, "memcpy")
    ctypes.memmove(dst, src, size)


def memsetAsync(ptr: int, value: int, size: int, stream_ptr: int) -> None:
    stream.submit(lambda: ctypes.memset(ptr, value, size) and None, stream.by_address(stream_ptr))
