"""Fourier transforms."""

from typing import Any

import numpy as np

from cupy._ndarray import ndarray, run, to_operand


def fft(a: ndarray, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    return run(np.fft.fft, to_operand(a), n, axis, norm)


def ifft(a: ndarray, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    return run(np.fft.ifft, to_operand(a), n, axis, norm)
