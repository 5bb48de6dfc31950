"""How kernels are compiled, and what the compiler may do with their floats.

LLVM may change the order of operations where a flag lets it. Which flags are right depends on what
is computed, so every function is compiled with one of two sets:

- AS_WRITTEN, unless there is a reason. `(x - m) - log` first takes away what x and m have in
  common, whatever that is; as `x - (m + log)` it loses the digits of `log` that m takes. So it is
  with every shift before an exponential, deviation from a mean, or correction that is small.
- SUMS, for a loop that does nothing but add up terms of one kind: in the order that it is written,
  each addition waits for the one before. Where terms are differences, they keep their brackets by
  being made in a function of the other set, or by lanes that are written out (`vectors`).

Flags belong to instructions, so a function keeps its own where it is compiled into another.

Neither has `nnan` and `ninf`: infinities and NaN mean something. Nor `arcp`: 1 / b may be infinite
or lose digits where a / b does not. Nor `nsz`: -0.0 is another number than 0.0 to `1 / x`.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

AS_WRITTEN = {"contract"}  # `a * b + c` rounded once, where that is one instruction
SUMS = {"contract", "reassoc"}


def compiled(function: Callable) -> Any:
    """Decorator: a loop in Numba, kept on disk if there is anywhere that it may be written."""
    return _compiled(function, AS_WRITTEN)


def summing(function: Callable) -> Any:
    """Decorator: as `compiled`, for a loop that only adds up, in any order."""
    return _compiled(function, SUMS)


def _compiled(function: Callable, fastmath: set[str]) -> Any:  # one of Numba's dispatchers
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in a home directory
        return njit(**options)(function)
