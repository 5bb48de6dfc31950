"""Kernels: fast versions of formulas, a page for each family of ops.

A kernel has the name and the arguments of the formula that it speeds up and knows nothing of
autodiff; what it does not cover (a dtype, an axis, a layout) it declines, and the formula answers.

    layouts     what kernels ask of arrays, and of the values of a program
    machine     Kernel, its record of named fields, and the threads that run programs
    instructions
                what programs and kernels both know
    softmaxes norms losses attention embeddings products reductions windows updates noise
    elementwise sorting
                the pages. A kernel is told on one: its record, its loop, `accepts` (what comes out,
                or nothing), `fills` (the rest of its record), and where calls are short, `direct`
    compiling rows vectors blas
                what loops are made of
    decoding    the search of a translation, in one compiled call
    warming     compiles them ahead

Loops are serial and release the GIL; how they are shared among threads is the machine's affair.
They compile at the first call for a dtype and are kept in Numba's on-disk cache. Sums run in
vectors: reordered in functions that are `summing`, else by lanes that are written out; nothing else
is reordered, see `compiling`. A loop that sums along a row writes to no array: for one that does,
LLVM adds a scalar version for arrays that overlap, which it also takes for arrays that merely lie
close, and the order of the sum would hang on addresses. As it is, equal inputs give bitwise equal
results. Infinities and NaN keep their meaning: -inf is how a mask looks, and a NaN must reach the
loss to be noticed.

A second machine, for CUDA, stands beside the first: `minigrad.kernels.cuda`, with pages under the
same names. An op names its kernel once, as `kernel="norms.layer_norm"`: of the page for NumPy or of
the one for CuPy, whichever array comes.

Whether kernels answer at all is decided once per process, at the first call that has one: a switch
half-way would change the last bits of a training run. `MINIGRAD_KERNELS=0` switches them off,
`use(True)` and `use(False)` decide before the first call; `in_use()` tells, so that a run can
record it.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from minigrad.arguments import count
from minigrad.errors import BackendError

__all__ = [
    "MOST_THREADS", "enabled", "get_num_threads", "in_use", "kept", "set_num_threads", "use",
    "warm_up",
]  # fmt: skip

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


@contextmanager
def formulas() -> Iterator[None]:
    """Inside the `with` block no kernel answers, whatever was decided: for tests, as a reference.

    It holds for all threads.
    """
    global _decision
    before, _decision = _decision, False
    try:
        yield
    finally:
        _decision = before


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

    warming.warm_up(what, report, len(_cores()))


def kept(what: str = "all") -> Any:
    """Which kernels are compiled already, and where they are kept.

    Args:
        what: as for `warm_up`.

    Returns:
        `folder`, None where nothing can be kept, and the names that are `there` and `missing`.

    Raises:
        ValueError: `what` is none of these.
    """
    from minigrad.kernels import warming

    return warming.kept(what)


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
def find(place: str) -> Any:
    """The kernel `page.name`; its page imports Numba: not before one is wanted.

    Raises:
        AttributeError, ModuleNotFoundError: there is none.
    """
    page, _, name = place.rpartition(".")
    return getattr(importlib.import_module(f"minigrad.kernels.{page}"), name)


@cache
def twin(place: str) -> str | None:
    """The kernel for CUDA that `page.name` has in `minigrad.kernels.cuda`, in the same words."""
    page, _, name = place.rpartition(".")
    if importlib.util.find_spec(f"minigrad.kernels.cuda.{page}") is None:
        return None
    there = hasattr(importlib.import_module(f"minigrad.kernels.cuda.{page}"), name)
    return f"cuda.{place}" if there else None
