"""The idx format of MNIST: a type, the lengths of the axes, and the numbers, big-endian.

    bytes 0 and 1: zero; byte 2: the type; byte 3: how many axes; then a uint32 for each length

Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", 1998.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.backend import to_numpy
from minigrad.errors import DataError, DtypeError
from minigrad.runs import atomic_write

StrPath = str | os.PathLike[str]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: StrPath) -> np.ndarray:
    """The array in an idx file, gzipped or not, in the byte order of this machine.

    Raises:
        DataError: it is no idx file, or is shorter or longer than its header says.
        FileNotFoundError: it is not there.
    """
    return parse_idx(read_bytes(path), str(path))


def read_bytes(path: StrPath) -> bytes:
    """What is in a file, unpacked if it is gzipped; raises DataError if it cannot be unpacked."""
    content = Path(path).read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"read_idx: {path} is a damaged or truncated gzip file ({error}); get it anew"
        ) from None


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an idx file; `name` is for messages. Raises DataError."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise DataError(
            f"read_idx: {name} is no idx file: expected it to begin with 00 00, a type of "
            f"{', '.join(f'{t:02x}' for t in TYPES)} and the number of axes, got "
            f"{content[:4].hex(' ') or 'an empty file'}"
        )
    dtype, ndim = np.dtype(TYPES[content[2]]), content[3]
    start = 4 + 4 * ndim
    if len(content) < start:
        raise DataError(
            f"read_idx: {name} is truncated: {ndim} axes need a header of {start} bytes, the file "
            f"has {len(content)}"
        )
    shape = tuple(np.frombuffer(content, ">u4", ndim, 4).tolist())
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise DataError(
            f"read_idx: {name} is {state}: {dtype.newbyteorder('=')} {shape} takes {expected} "
            f"bytes, the file has {len(content)}"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def write_idx(path: StrPath, array: Any) -> None:
    """Write an array as an idx file, gzipped if the name ends with '.gz'; the same bytes each time.

    Raises:
        DtypeError: idx has no such type.
        RunError: the file cannot be written.
    """
    array = to_numpy(array)
    types = {np.dtype(name): number for number, name in TYPES.items()}
    dtype = array.dtype.newbyteorder(">")
    if dtype not in types or array.ndim > 255:
        raise DtypeError(
            f"write_idx: expects uint8, int8, int16, int32, float32 or float64, got {array.dtype}; "
            "cast it first"
        )
    header = bytes([0, 0, types[dtype], array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(dtype).tobytes()
    if str(path).endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    atomic_write(path, content)
