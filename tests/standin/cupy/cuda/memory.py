"""Memory: pools, pointers, and who hands out what.

Arrays of the default pool are NumPy's own, and only counted. Those of another allocator lie in what
it hands out: a block that is given back to a pool is handed out again, with what was in it.
"""

import ctypes
import gc
import math
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cupy._devices import Device, present
from cupy.cuda import stream as streams

DEVICE_BYTES = 1 << 34
ALIGNED = 512


class OutOfMemoryError(MemoryError):
    """There is not as much memory as was asked for, or as is allowed."""

    def __init__(self, size: int, total: int, limit: int = 0):
        self._size, self._total, self._limit = size, total, limit
        allowed = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{allowed})."
        )


class BaseMemory:
    """Some bytes of a device.

    Attributes:
        ptr: where they begin.
        size: how many they are.
    """

    ptr = 0
    size = 0

    def __init__(self) -> None:
        self.device_id = present()

    @property
    def device(self) -> Device:
        return Device(self.device_id)

    def buffer(self) -> Any:
        """The bytes as NumPy takes them, which keep this object alive."""
        found = (ctypes.c_char * max(self.size, 1)).from_address(self.ptr)
        found.memory = self
        return found


class Memory(BaseMemory):
    """Bytes of its own, which begin at a multiple of 512."""

    def __init__(self, size: int):
        super().__init__()
        self._held = np.full(size + ALIGNED, 0xFF, np.uint8)
        start = self._held.__array_interface__["data"][0]
        self.ptr, self.size = start + -start % ALIGNED, size


class UnownedMemory(BaseMemory):
    """Bytes that belong to somebody else."""

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int = -1):
        super().__init__()
        self.ptr, self.size, self._owner = ptr, size, owner


class MemoryPointer:
    """A place in some memory."""

    def __init__(self, mem: BaseMemory, offset: int):
        self.mem, self.ptr = mem, mem.ptr + offset

    @property
    def device_id(self) -> int:
        return self.mem.device_id

    @property
    def device(self) -> Device:
        return self.mem.device

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, by: int) -> "MemoryPointer":
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + by)

    __radd__ = __add__

    def __sub__(self, by: int) -> "MemoryPointer":
        return self + -by

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        streams.submit(lambda: ctypes.memset(self.ptr, value, size) and None, stream)

    def copy_from_device_async(self, src: "MemoryPointer", size: int, stream: Any = None) -> None:
        streams.submit(lambda: ctypes.memmove(self.ptr, src.ptr, size) and None, stream)

    def copy_from_device(self, src: "MemoryPointer", size: int) -> None:
        self.copy_from_device_async(src, size)


class _Block(Memory):
    """A block of a pool, to which it returns."""

    def __init__(self, pool: "MemoryPool", held: np.ndarray, size: int):
        BaseMemory.__init__(self)
        self._held, self._pool, self.size = held, pool, size
        start = held.__array_interface__["data"][0]
        self.ptr = start + -start % ALIGNED

    def __del__(self) -> None:
        self._pool._returned(self._held, self.device_id)


class MemoryPool:
    """Memory that is not given back to the device, but handed out again."""

    def __init__(self, allocator: Callable[[int], MemoryPointer] | None = None):
        self._used: Counter[int] = Counter()  # by device
        self._cached: Counter[int] = Counter()
        self._blocks: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
        self._limit: Counter[int] = Counter()
        self._lock = threading.RLock()
        _pools.add(self)

    def malloc(self, size: int) -> MemoryPointer:
        """So many bytes.

        Raises:
            OutOfMemoryError: they are more than the device has, or the limit allows.
        """
        whole, device = _rounded(size), present()
        with self._lock:
            self._room(size, whole, device)
            found = self._blocks[device, whole]
            if found:
                held = found.pop()
                self._cached[device] -= whole
            else:
                held = np.full(whole + ALIGNED, 0xFF, np.uint8)
            self._used[device] += whole
        return MemoryPointer(_Block(self, held, size), 0)

    def _room(self, size: int, whole: int, device: int) -> None:
        """Make sure that there is room, or raise."""
        for attempt in range(2):
            limit, used = self._limit[device], self._used[device]
            others = sum(pool._used[device] for pool in list(_pools))
            if (not limit or used + whole <= limit) and others + whole <= DEVICE_BYTES:
                if limit and used + self._cached[device] + whole > limit:
                    self.free_all_blocks()
                return
            if not attempt:
                gc.collect()
        raise OutOfMemoryError(size, used + self._cached[device], limit)

    def _returned(self, held: np.ndarray, device: int) -> None:
        whole = held.size - ALIGNED
        with self._lock:
            self._used[device] -= whole
            self._cached[device] += whole
            self._blocks[device, whole].append(held)

    def _count(self, array: np.ndarray) -> None:
        """Count an array of NumPy's own, until it is gone."""
        whole, device = _rounded(array.nbytes), present()
        with self._lock:
            self._room(array.nbytes, whole, device)
            self._used[device] += whole
            self._cached[device] = max(self._cached[device] - whole, 0)
        gone = weakref.ref(array, lambda _: self._uncount(key, whole, device))
        key = id(gone)
        _counted[key] = gone

    def _uncount(self, key: int, whole: int, device: int) -> None:
        _counted.pop(key, None)
        with self._lock:
            self._used[device] -= whole
            self._cached[device] += whole

    def used_bytes(self) -> int:
        return self._used[present()]

    def free_bytes(self) -> int:
        return self._cached[present()]

    def total_bytes(self) -> int:
        return self.used_bytes() + self.free_bytes()

    def n_free_blocks(self) -> int:
        return sum(map(len, self._blocks.values()))

    def free_all_blocks(self, stream: Any = None) -> None:
        """Give back to the device what nobody uses."""
        with self._lock:
            self._blocks.clear()
            self._cached.clear()

    def free_all_free(self) -> None:
        self.free_all_blocks()

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Allow so many bytes, or such a part of the device; 0 for no limit."""
        if fraction is not None:
            if size is not None or not 0 <= fraction <= 1:
                raise ValueError("size and fraction cannot both be given, and fraction is 0 to 1")
            size = int(DEVICE_BYTES * fraction)
        self._limit[present()] = size or 0

    def get_limit(self) -> int:
        return self._limit[present()]


class PinnedMemoryPool:
    """Host memory that is page-locked; here any is."""

    def free_all_blocks(self) -> None:
        pass

    def n_free_blocks(self) -> int:
        return 0


def _rounded(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


_pools: "weakref.WeakSet[MemoryPool]" = weakref.WeakSet()
_counted: dict[int, Any] = {}
DEFAULT = MemoryPool()
PINNED = PinnedMemoryPool()

# ------------------------------------------------------------------------------- who hands it out

_allocator: Callable[[int], MemoryPointer] = DEFAULT.malloc
_local = threading.local()


def get_allocator() -> Callable[[int], MemoryPointer]:
    """What hands out memory in this thread."""
    return getattr(_local, "allocator", None) or _allocator


def set_allocator(allocator: Callable[[int], MemoryPointer] | None = None) -> None:
    """Have `allocator` hand out memory, in all threads."""
    global _allocator
    if getattr(_local, "allocator", None) is not None:
        raise ValueError("cannot set the global allocator inside using_allocator")
    _allocator = allocator or Memory_malloc


def Memory_malloc(size: int) -> MemoryPointer:
    return MemoryPointer(Memory(size), 0)


@contextmanager
def using_allocator(allocator: Callable[[int], MemoryPointer] | None = None) -> Iterator[None]:
    """Have `allocator` hand out memory, in this thread."""
    before = getattr(_local, "allocator", None)
    _local.allocator = allocator or Memory_malloc
    try:
        yield
    finally:
        _local.allocator = before


def alloc(size: int) -> MemoryPointer:
    """So many bytes of the current allocator."""
    return get_allocator()(size)


def in_place(memptr: MemoryPointer, shape: Any, dtype: Any, strides: Any) -> np.ndarray:
    """The NumPy array that lies there."""
    return np.ndarray(
        shape,
        dtype,
        buffer=memptr.mem.buffer(),
        offset=memptr.ptr - memptr.mem.ptr,
        strides=strides,
    )


def made(shape: Any, dtype: np.dtype) -> np.ndarray:
    """An array of the current allocator, which begins at a multiple of 512."""
    size = math.prod(shape if isinstance(shape, Iterable) else (shape,)) * dtype.itemsize
    if get_allocator() == DEFAULT.malloc and size:
        return placed(in_place(Memory_malloc(size), shape, dtype, None))
    return placed(np.empty(shape, dtype))


def placed(y: np.ndarray) -> np.ndarray:
    """A new array as the current allocator would have it."""
    allocator = get_allocator()
    if allocator == DEFAULT.malloc:
        if streams.get_current_stream().is_capturing() and y.nbytes:
            raise RuntimeError(
                "memory of the default pool while the current stream is capturing: a graph would "
                "go on using what the pool gives to others; capture within "
                "cupy.cuda.using_allocator(pool.malloc), with a pool that lives as long"
            )
        DEFAULT._count(y)
    elif y.nbytes:
        host = in_place(allocator(y.nbytes), y.shape, y.dtype, y.strides)
        host[...] = y
        y = host
    streams.keep(y)
    return y
