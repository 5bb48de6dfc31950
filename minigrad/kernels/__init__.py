"""Fast versions of formulas: arrays in, arrays out, or `NotImplemented`.

`cpu.py` holds the Numba kernels, `updates.py` those of optimizers. A kernel has the name and the
arguments of the formula that it speeds up and knows nothing of autodiff; what it does not cover (a
dtype, an axis, a layout) it declines, and the formula answers.

Whether kernels answer at all is decided once per process, at the first call that has one: a switch
half-way would change the last bits of a training run. `MINIGRAD_KERNELS=0` switches them off,
`use(True)` and `use(False)` decide before the first call; `in_use()` tells, so that a run can
record it.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from minigrad.arguments import count
from minigrad.errors import BackendError

_decision: bool | None = None


def in_use() -> bool | None:
    """Whether kernels answer in this process; None while that is still open."""
    return _decision


def use(kernels: bool) -> bool:
    """Decide for this process whether kernels answer; returns what is in force.

    `MINIGRAD_KERNELS=0` in the environment wins over `use(True)`, `=1` over `use(False)`.

    Raises:
        BackendError: it was decided the other way before, so bits could change half-way.
    """
    global _decision
    setting = os.environ.get("MINIGRAD_KERNELS", "")
    if setting not in ("", "0", "1"):
        raise BackendError(f"MINIGRAD_KERNELS: expected 0 or 1, got {setting!r}")
    wanted = setting == "1" if setting else kernels
    if _decision is None:
        _decision = wanted
    elif _decision != wanted:
        raise BackendError(
            f"kernels.use({kernels}): this process has already computed with kernels "
            f"{'on' if _decision else 'off'}; decide before the first op, or start another process"
        )
    return _decision


def enabled() -> bool:
    """Whether kernels answer in this process; decides that they do, if that is still open."""
    return use(True) if _decision is None else _decision


MOST_THREADS = 1024  # each has a stack of its own; more than machines have is a slip


def warm_up(what: str = "all", report: Callable[[Any], None] | None = None) -> None:
    """Compile kernels for float32, on several cores, or load them from the disk.

    Args:
        what: "transformer" for a training step of a transformer with cross entropy and Adam,
            "search" for what `nn.Generator` takes, "search and transformer" for both, "all" for
            everything.
        report: called with `name`, `seconds` (None as its compiling begins), `done` and `total`;
            by one thread at a time, but not always the caller's. What is on disk does not begin.

    Raises:
        ValueError: `what` is none of these.
    """
    from minigrad.kernels import warming

    warming.warm_up(what, report)


_threads = 0


def get_num_threads() -> int:
    """How many threads may work on one program: as set, else as many as there are cores."""
    return _threads or len(_cores())


def set_num_threads(number: int) -> None:
    """Let at most `number` threads work on one program (`mg.jit`) from now on; 0 for all cores.

    Raises:
        ValueError: it is no integer from 0 to MOST_THREADS.
    """
    global _threads
    _threads = count("set_num_threads", "number", number, 0, MOST_THREADS)


def _cores() -> range:
    """As many as this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return range(len(os.sched_getaffinity(0)))
    return range(os.cpu_count() or 1)


@cache
def find(name: str) -> Callable | None:
    """The CPU kernel of the op called `name`; None if kernels are off or there is none."""
    if not enabled():
        return None
    from minigrad.kernels import cpu, updates  # import Numba: not before a kernel is wanted

    name = name.lstrip("_")
    return getattr(updates if name in updates.__all__ else cpu, name, None)
