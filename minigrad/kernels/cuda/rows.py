"""How rows of numbers are shared out among threads: the definitions of `rows.cuh`."""

import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.kernels.cuda.machine import C_TYPES, aligned

FLOATS = ("float32", "float64", "float16", "bfloat16")
WARP = 32
MOST_BLOCKS = 1 << 14  # more rows than that are taken one after another


class Room(NamedTuple):
    """How much of a row may be held.

    Attributes:
        of_warp: elements of a row that a thread may hold if the row has a warp or less; half as
            many of float64.
        of_block: the same for a row that has a block.
        threads: of a block that has several rows.
        most: threads of a row. One that they cannot hold is `LONG`.
    """

    of_warp: int
    of_block: int
    threads: int = 128
    most: int = 1024


def held(x: Any, *arrays: Any, room: Room) -> dict[str, Any]:
    """Definitions for the rows of `x`, along its last axis.

    A row has as few threads as may be with one pack each, up to a warp; then more packs, as there
    is room; then more warps, a block with the row for itself.

    Args:
        arrays: others that are read or written in packs, or None.
    """
    d, dtype = x.shape[-1], x.dtype
    pack = 16 // dtype.itemsize
    if d % pack:
        pack = 1
    group, long = lanes(x, room)
    if group == WARP:  # or a part of it
        group = min(WARP, _power_of_two(d / pack))
    ahead = room.of_block // (8 if dtype.itemsize == 8 else 2)  # of a long row: is on its way
    packs = max(1, ahead // pack) if long else -(-d // (group * pack))
    return {
        "T": dtype, "V": pack, "K": packs, "G": group, "LONG": long,
        "PACKED": pack == 1 or aligned(x, *arrays),
        "THREADS": group if group > WARP else room.threads,
    }  # fmt: skip


def lanes(x: Any, room: Room) -> tuple[int, bool]:
    """How many threads a row has, if it is not for a part of a warp; and whether it is `LONG`."""
    d, double = x.shape[-1], x.dtype.itemsize == 8  # two registers for each
    if d <= WARP * (room.of_warp // (2 if double else 1)):
        return WARP, False
    group = max(128, _power_of_two(d / (room.of_block // (2 if double else 1))))
    most = min(room.most, 512) if double else room.most
    return (group, False) if group <= most else (min(most, 512), True)


def _power_of_two(x: float) -> int:
    """The least power of two that is not below `x`."""
    return 1 << max(0, math.ceil(math.log2(x)))


def blocks(n: int, define: dict[str, Any]) -> int:
    """How many blocks there are for `n` rows."""
    return min(-(-n // (define["THREADS"] // define["G"])), MOST_BLOCKS)


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
