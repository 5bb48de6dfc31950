"""`cupy.linalg`: no 16-bit floats, one batch for all operands, and NaN where NumPy raises."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cupy._ndarray import call, ndarray, refuse_library

BATCHED = "cholesky det eigh eigvalsh inv norm pinv qr slogdet solve svd"
PLAIN = "lstsq matrix_power matrix_rank"  # not in batches


def _function(name: str, batched: bool) -> Callable:
    def function(*args: Any, **options: Any) -> Any:
        y = getattr(np.linalg, name)(*args, **options)
        return tuple(y) if isinstance(y, tuple) else y  # NumPy's have names

    def wrapped(a: ndarray, *args: Any, **options: Any) -> Any:
        arrays = [x for x in (a, *args) if isinstance(x, ndarray)]
        if not isinstance(a, ndarray) or any(x.dtype.name == "float16" for x in arrays):
            raise TypeError(f"cupy.linalg.{name}: expected a device array that is not float16")
        if any(x.shape[:-2] != a.shape[:-2] for x in arrays) or (a.ndim > 2 and not batched):
            raise ValueError(f"cupy.linalg.{name}: the batches differ")
        if name != "norm":
            refuse_library("cuSOLVER")
        try:
            return call(function, a, *args, **options)
        except np.linalg.LinAlgError:
            return call(np.full_like, arrays[-1], np.nan)  # nothing waits for the device to tell

    return wrapped


for _names, _batched in ((BATCHED, True), (PLAIN, False)):
    globals().update({_name: _function(_name, _batched) for _name in _names.split()})


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the stand-in for cupy.linalg has no {name!r}")
