"""How kernels are compiled."""

from collections.abc import Callable

from numba import njit

# "nnan" and "ninf" are left out on purpose: see above.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def compiled(function: Callable) -> Callable:
    """Decorator: a loop in Numba, kept on disk if there is anywhere that it may be written."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": FASTMATH}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in a home directory
        return njit(**options)(function)
