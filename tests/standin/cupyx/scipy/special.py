"""Special functions."""

from collections.abc import Callable
from typing import Any

import scipy.special
from cupy._ndarray import run, to_operand

NAMES = {
    "digamma", "erf", "erfc", "erfcx", "erfinv", "gammaln", "i0", "i0e", "i1", "i1e", "log_ndtr",
    "ndtr", "ndtri", "polygamma",
}  # fmt: skip


def __getattr__(name: str) -> Callable:
    if name not in NAMES:
        raise AttributeError(
            f"the stand-in for cupyx.scipy.special has no {name!r}; if CuPy has it, add it there"
        )
    return lambda *args: run(getattr(scipy.special, name), *map(_operand, args))


def _operand(x: Any) -> Any:
    return x if isinstance(x, int) else to_operand(x)
