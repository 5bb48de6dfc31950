"""The stand-in for what CuPy keeps beside its main module: see `cupy`."""

from typing import Any

import numpy as np
from cupy._ndarray import pinned


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """A host array that is page-locked, full of rubbish."""
    return pinned(shape, dtype)


def zeros_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """Zeros on the host, page-locked."""
    return pinned(shape, dtype, 0)
