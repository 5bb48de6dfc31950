"""How rows of numbers are shared out among threads: the definitions of `rows.cuh`."""

import math
from typing import Any

import numpy as np

from minigrad.kernels.cuda.machine import C_TYPES, aligned

FLOATS = ("float32", "float64", "float16", "bfloat16")
WARP = 32
MOST_BLOCKS = 1 << 14  # more rows than that are taken one after another


def held(x: Any, *arrays: Any, room: int, threads: int = 128, most: int = 1024) -> dict[str, Any]:
    """Definitions for the rows of `x`, along its last axis.

    A row has as few threads as may be with one pack each, up to a warp; then more packs, up to
    `room` elements of a thread; then more warps, a block with the row for itself.

    Args:
        arrays: others that are read or written in packs, or None.
        room: elements of a row that a thread may hold; half as many of float64.
        threads: of a block that has several rows.
        most: threads of a row. One that they cannot hold is `LONG`.
    """
    d, dtype = x.shape[-1], x.dtype
    pack = 16 // dtype.itemsize
    if d % pack or not aligned(x, *arrays):
        pack = 1
    ahead = room // 2  # of a long row: what is on its way to a thread
    if dtype.itemsize == 8:  # two registers each
        room, most, ahead = room // 2, min(most, 512), room // 8
    lanes, long = min(WARP, _power_of_two(d / pack)), False
    if d > WARP * room:
        lanes = max(128, _power_of_two(d / room))
        if long := lanes > most:
            lanes = min(most, 512)
    packs = max(1, ahead // pack) if long else -(-d // (lanes * pack))
    return {
        "T": dtype, "V": pack, "K": packs, "G": lanes, "LONG": long,
        "THREADS": lanes if lanes > WARP else threads,
    }  # fmt: skip


def _power_of_two(x: float) -> int:
    """The least power of two that is not below `x`."""
    return 1 << max(0, math.ceil(math.log2(x)))


def blocks(rows: int, define: dict[str, Any], most: int = MOST_BLOCKS) -> int:
    return min(-(-rows // (define["THREADS"] // define["G"])), most)


def rows_of(x: Any) -> tuple[int, np.int32]:
    """How many rows there are along the last axis, and their length."""
    return x.size // x.shape[-1], np.int32(x.shape[-1])


def takes(x: Any, *others: Any) -> bool:
    """Whether `x` has elements, and all lie C-contiguous and are of its dtype, one of floats."""
    return bool(
        x.ndim and x.size and x.shape[-1] < 1 << 31 and x.dtype.name in FLOATS
        and all(v.dtype == x.dtype and v.flags.c_contiguous for v in (x, *others))
    )  # fmt: skip


def wide(dtype: np.dtype) -> np.dtype:
    """What a dtype is computed in."""
    return dtype if dtype.itemsize > 2 else np.dtype(np.float32)


assert set(FLOATS) < set(C_TYPES)
