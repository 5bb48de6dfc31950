"""Memory: how much there is, who has it, and what is said when there is none left.

    print(mg.memory.memory_report())      used, cached, free; pools; the largest tensors
    mg.memory.set_memory_limit(0.5)       at most half of the device for CuPy's pool
    mg.memory.empty_cache()               what no array uses goes back to the device
    with mg.track_memory(): ...           from here on the line that made a tensor is known

CuPy keeps what is freed in pools, for the next array. Programs of `mg.jit` on a device have pools
of their own, which live as long as they do. Who has which array is asked of Python's garbage
collector, and only when a report is made: nothing is counted meanwhile.
"""

import gc
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minigrad import backend
from minigrad.backend import describe, is_array
from minigrad.devices import CPU, Device, device_of
from minigrad.errors import BackendError, OutOfMemoryError

__all__ = ["Live", "Report", "empty_cache", "live", "memory_report", "set_memory_limit"]

MOST = 8  # of the largest tensors that are listed


class Live(NamedTuple):
    """An array that something holds: its bytes, dtype, shape, who it is, and the line it is from.

    `line` is '' outside of `mg.track_memory()`.
    """

    nbytes: int
    dtype: str
    shape: tuple[int, ...]
    what: str
    line: str

    def __str__(self) -> str:
        made = f", made at {self.line}" if self.line else ""
        return f"{size(self.nbytes):>10}  {self.dtype} {self.shape}  {self.what}{made}"


@dataclass(frozen=True)
class Report:
    """What `memory_report` found. Bytes; None for what is not known or not there.

    Attributes:
        device: 'cpu' or 'cuda:0'.
        used: by arrays, in all pools; on the host by what `live` finds.
        cached: held by pools for arrays to come.
        limit: of CuPy's pool.
        free, total: of the device.
        pools: by name, bytes used and cached.
        largest: the largest arrays that something of minigrad holds.
    """

    device: str
    used: int
    cached: int
    limit: int | None
    free: int | None
    total: int | None
    pools: dict[str, tuple[int, int]] = field(default_factory=dict)
    largest: list[Live] = field(default_factory=list)

    def __str__(self) -> str:
        """A few lines, the largest tensors last."""
        whole = [f"{size(n)} {what}" for n, what in self._whole() if n is not None]
        lines = [f"{self.device}: {', '.join(whole)}"]
        lines += [
            f"pool {name}: {size(used)} used, {size(cached)} cached"
            for name, (used, cached) in self.pools.items()
        ]
        if self.largest:
            lines += ["largest tensors:", *map(str, self.largest)]
            if not any(x.line for x in self.largest):
                lines.append(
                    "(inside `with mg.track_memory():` the lines that made them are known)"
                )
        return "\n".join(lines)

    def _whole(self) -> list[tuple[int | None, str]]:
        return [
            (self.used, "used"), (self.cached, "cached"), (self.limit, "is the limit"),
            (self.free, "free"), (self.total, "in all"),
        ]  # fmt: skip


def memory_report(device: str | None = None) -> Report:
    """What memory there is on a device, by default that in force, and who has it.

    Raises:
        BackendError: there is no such device.
    """
    with Device(
        device or backend.get_backend().replace("numpy", "cpu").replace("cupy", "cuda")
    ) as on:
        if on.type == "cpu":
            found = live(CPU)
            return Report(
                "cpu", sum(x.nbytes for x in found), 0, None, *_of_the_host(), {}, found[:MOST]
            )
        module = backend.xp()
        here = Device(f"cuda:{module.cuda.runtime.getDevice()}")
        pool = module.get_default_memory_pool()
        pools = {"of CuPy": _usage(pool)}
        for name, other in list(_pools.values()):
            used, cached = _usage(other)
            before = pools.get(name, (0, 0))
            pools[name] = before[0] + used, before[1] + cached
        free, total = module.cuda.runtime.memGetInfo()
        used, cached = (sum(column) for column in zip(*pools.values(), strict=True))
        limit = pool.get_limit() or None
        return Report(here, used, cached, limit, free, total, pools, live(here)[:MOST])


def _usage(pool: Any) -> tuple[int, int]:
    """Bytes in use and cached."""
    return pool.used_bytes(), pool.total_bytes() - pool.used_bytes()


def _of_the_host() -> tuple[int | None, int | None]:
    """Bytes free and in all, where the system tells."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows; macOS has no SC_AVPHYS_PAGES
        return None, None


def set_memory_limit(limit: int | float | None) -> None:
    """Let CuPy's pool on the present device take so much at most.

    Programs of `mg.jit` have pools of their own, which do not count.

    Args:
        limit: bytes as an integer, a fraction of the device as a float up to 1.0; None for no
            limit.

    Raises:
        BackendError: NumPy is in force, whose memory is the system's to limit.
        ValueError: it is negative, or a fraction above 1.
    """
    module = backend.xp()
    if module.__name__ == "numpy":
        raise BackendError(
            "set_memory_limit: NumPy computes, and its memory is the system's to limit: ulimit -v"
        )
    fraction = isinstance(limit, float)
    if limit is not None and not 0 <= limit <= (1 if fraction else 1 << 62):
        raise ValueError(
            f"set_memory_limit: expected bytes, a fraction from 0.0 to 1.0, or None, got {limit!r}"
        )
    pool = module.get_default_memory_pool()
    if fraction:
        pool.set_limit(fraction=limit)
    else:
        pool.set_limit(size=limit or 0)


def empty_cache() -> None:
    """Give back to the device what CuPy's pools hold and no array uses.

    The pools of programs are left alone: a CUDA graph goes on using what looks free there.
    """
    module = backend.xp()
    if module.__name__ == "cupy":
        module.get_default_memory_pool().free_all_blocks()
        module.get_default_pinned_memory_pool().free_all_blocks()


_pools: "weakref.WeakKeyDictionary[Any, tuple[str, Any]]" = weakref.WeakKeyDictionary()


def register_pool(name: str, pool: Any, owner: Any) -> None:
    """Have reports count a pool of device memory, for as long as its `owner` lives."""
    _pools[owner] = name, pool


# --------------------------------------------------------------------------------- who has what

# Pairs (what it is, array) for objects of a class; the lower the rank, the better the name.
_holders: dict[type, tuple[int, Callable[[Any], Iterable[tuple[str, Any]]]]] = {}

_lines: dict[int, tuple[weakref.ref, str]] = {}  # by the id of an array


def holds(kind: type, arrays_of: Callable[[Any], Iterable[tuple[str, Any]]], rank: int) -> None:
    """Have reports look into objects of the class `kind`, by pairs (what it is, array).

    Args:
        rank: of several names for one array that of the lowest rank is shown.
    """
    _holders[kind] = rank, arrays_of


def note_line(array: Any, line: str) -> None:
    """Note that `array` was made at `line`, for as long as it lives."""
    at = id(array)
    if is_array(array) and not hasattr(array, "levels"):
        _lines[at] = weakref.ref(array, lambda _: _lines.pop(at, None)), line


def live(device: str | None = None) -> list[Live]:
    """The arrays that tensors, recorded ops and optimizers hold, the largest first.

    Args:
        device: those that are there; None for all.
    """
    found: dict[int, tuple[int, Live]] = {}  # by the id of the array that has the memory
    for rank, what, array in _held():
        if device is not None and device_of(array) != device:
            continue
        root = array
        while is_array(base := getattr(root, "base", None)):
            root = base
        known = _lines.get(id(array))
        line = known[1] if known is not None and known[0]() is array else ""
        before = found.get(id(root))
        if before is None or rank < before[0]:
            if array.nbytes != root.nbytes:
                what += f", a view into {describe(root)}"
            shown = Live(root.nbytes, str(array.dtype), array.shape, what, line)
            if before is not None and not line:
                shown = shown._replace(line=before[1].line)
            found[id(root)] = rank, shown
        elif line and not before[1].line:
            found[id(root)] = before[0], before[1]._replace(line=line)
    return sorted((shown for _, shown in found.values()), key=lambda x: -x.nbytes)


def _held() -> Iterator[tuple[int, str, Any]]:
    """Triples (rank, what it is, array)."""
    for x in gc.get_objects():
        if (holder := _holders.get(type(x))) is None:
            continue
        rank, arrays_of = holder
        for what, array in arrays_of(x):
            while hasattr(array, "hides_a_batch_axis"):
                array = array.value
            if is_array(array):
                yield rank, what, array


def exhausted(error: MemoryError, who: str, arrays: Iterable[Any]) -> OutOfMemoryError:
    """The error for a `who` that found no memory for what `arrays` gave, with all there is to know.

    Args:
        error: what NumPy or CuPy raised.
    """
    came = ", ".join(map(describe, arrays))
    there = [device_of(x) for x in arrays if is_array(x)]
    text = f"{who}: there is not enough memory (inputs: {came}); {error or 'none is left'}"
    try:
        text += f"\n{memory_report(there[0] if there else None)}"
    except Exception as another:  # a report must not hide the error
        text += f"\n(and no report: {another})"
    return OutOfMemoryError(
        f"{text}\nMake the batch smaller, accumulate gradients over several, or delete what is not "
        f"needed; mg.memory.empty_cache() gives back what pools hold"
    )


def size(n: int) -> str:
    """Bytes in words."""
    for unit, many in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= many:
            return f"{n / many:.1f} {unit}"
    return f"{n} B"
