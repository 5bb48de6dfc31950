"""What kernels ask of arrays, and of the values of a program alike: dtypes, shapes and strides.

Whatever has `shape`, `strides`, `dtype` and `flags.c_contiguous` can be asked.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.kernels.instructions import Declined

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
INT64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
AXES = 6  # of a layout at most


class Empty(NamedTuple):
    """What comes out of a kernel, where no input is like it."""

    shape: tuple[int, ...]
    dtype: np.dtype


def covered(x: Any, *others: Any) -> bool:
    """Whether all arrays are C-contiguous and of one dtype, float32 or float64.

    `is` is the quick comparison of dtypes; a byte-swapped dtype is another object.
    """
    dtype = x.dtype
    if (dtype is not FLOAT32 and dtype is not FLOAT64) or not x.flags.c_contiguous:
        return False
    for y in others:  # noqa: SIM110 (`all` of a generator takes twice as long)
        if y.dtype is not dtype or not y.flags.c_contiguous:
            return False
    return True


def covered_ids(ids: Any) -> bool:
    """Whether ids are int64 and C-contiguous."""
    return ids.dtype is INT64 and ids.flags.c_contiguous


def rows_of(x: np.ndarray) -> np.ndarray:
    """`x` as a matrix of rows along its last axis."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def alike(*values: Any) -> bool:
    """Whether all are covered, and of one shape."""
    first = values[0]
    return covered(*values) and all(v.shape == first.shape for v in values)


def matrix_rows(
    shape: tuple[int, ...], strides: tuple[int, ...], item: int
) -> tuple[int, bool] | None:
    """Elements between the rows of a matrix and whether it lies transposed; None if neither."""
    (m, n), (s, t) = shape, strides
    if s % item or t % item:
        return None
    if (t == item or n == 1) and (s >= n * item or m == 1):
        return max(s // item, n), False
    if (s == item or m == 1) and (t >= m * item or n == 1):
        return max(t // item, m), True
    return None


def flat(*values: Any) -> bool:
    """Whether all are `dense`, and of float32 or float64."""
    dtype = values[0].dtype
    return (dtype is FLOAT32 or dtype is FLOAT64) and dense(*values)


def dense(*values: Any) -> bool:
    """Whether all lie in one stretch of memory without gaps, in the same order of axes."""
    first = values[0]
    step = first.dtype.itemsize
    for n, s in sorted(zip(first.shape, first.strides, strict=True), key=lambda axis: axis[1]):
        if n != 1 and s != step:
            return not first.size
        step *= n
    layout = (first.shape, first.strides, first.dtype)
    return all((v.shape, v.strides, v.dtype) == layout for v in values)


def planes(x: Any) -> list[int] | None:
    """Steps in elements along the first two axes, if what is behind them lies without gaps."""
    if x.flags.c_contiguous:  # as it mostly is
        n = math.prod(x.shape[2:])
        return [x.shape[1] * n, n]
    item = expected = x.dtype.itemsize
    for n, s in zip(x.shape[:1:-1], x.strides[:1:-1], strict=True):
        if n != 1 and s != expected:
            return None
        expected *= n
    if any(s % item or s < 0 for s in x.strides[:2]):
        return None
    return [s // item for s in x.strides[:2]]


def planes_of(x: Any, **others: Any) -> dict[str, int]:
    """Lengths of x (a, c, n) as `planes` are, and the steps along a and c of all, as `x_a`, `x_c`.

    Raises:
        Declined: one of them has other planes.
    """
    found = {"a": x.shape[0], "c": x.shape[1], "n": math.prod(x.shape[2:])}
    for name, v in {"x": x, **others}.items():
        steps = planes(v)
        if steps is None:
            raise Declined
        found[f"{name}_a"], found[f"{name}_c"] = steps
    return found


def joined(
    shape: tuple[int, ...], *strides: tuple[int, ...], item: int
) -> tuple[list[int], list[list[int]]] | None:
    """Lengths, and steps in elements for each of `strides`: neighbours are one where all allow it.

    None if there are too many axes, or a step that is negative or no whole element.
    """
    found: list[tuple] = []
    for axis in ((n, *(s[i] for s in strides)) for i, n in enumerate(shape) if n != 1):
        if found and all(
            outer == inner * axis[0] for outer, inner in zip(found[-1][1:], axis[1:], strict=True)
        ):
            found[-1] = (found[-1][0] * axis[0], *axis[1:])
        else:
            found.append(axis)
    found = found or [(1, *(item for _ in strides))]
    if len(found) > AXES or any(s % item or s < 0 for _, *steps in found for s in steps):
        return None
    lengths = [n for n, *_ in found]
    return lengths, [[axis[i + 1] // item for axis in found] for i in range(len(strides))]


def windows_of(
    x: Any, axis: int, size: int, count: int, stride: int, dilation: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of the windows along `axis` (from the end): (A, B, size, ..., count, ...).

    They lie over the memory of `x`: what a window sees along an axis is one axis more.
    """
    shape, strides = list(x.shape), list(x.strides)
    step = strides[axis]
    shape[axis], strides[axis] = count, step * stride
    shape.insert(2, size)
    strides.insert(2, step * dilation)
    return tuple(shape), tuple(strides)
