"""Matrix products in place of cuBLAS, for who calls the library through ctypes.

A library of C (`cublas.cpp`) has the functions; the products are NumPy's. Matrices lie in columns,
`leading` elements from one to the next. It is as strict as cuBLAS about leading dimensions and
dtypes, and stricter about memory: what lies outside of an array is an error, and while a graph is
recorded there must be a workspace.
"""

import ctypes
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cupy import _host_compiler
from cupy._ndarray import memory_at
from cupy.cuda.stream import by_address, submit

INVALID_VALUE, EXECUTION_FAILED, INTERNAL_ERROR, NOT_SUPPORTED = 7, 13, 14, 15
COMPUTE_16F, COMPUTE_32F, PEDANTIC_32F, COMPUTE_64F, TF32 = 64, 68, 69, 70, 77
HALVES = (2, 14)


class _Handle(ctypes.Structure):
    _fields_ = (
        ("stream", ctypes.c_size_t),
        ("workspace", ctypes.c_size_t),
        ("workspace_size", ctypes.c_size_t),
        ("math", ctypes.c_int),
        ("pointers", ctypes.c_int),
    )


class _Operand(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_size_t),
        ("dtype", ctypes.c_int),
        ("leading", ctypes.c_int),
        ("step", ctypes.c_longlong),
    )


class _Product(ctypes.Structure):
    _fields_ = (
        ("handle", ctypes.POINTER(_Handle)),
        *((name, ctypes.c_int) for name in ("flip_a", "flip_b", "m", "n", "k")),
        ("alpha", ctypes.c_void_p),
        ("beta", ctypes.c_void_p),
        *((name, _Operand) for name in "abc"),
        ("batch", ctypes.c_int),
        ("compute", ctypes.c_int),
    )


@cache
def library() -> Path:
    """The library, compiled and ready."""
    source = Path(__file__).with_name("cublas.cpp").read_text("utf-8")
    kind = ".dll" if sys.platform == "win32" else ".so"
    path = _host_compiler.built(kind, [*_host_compiler.OPTIONS, "-shared"], source, [])
    ctypes.CDLL(str(path)).standin_computes_with(_computed)
    return path


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Product))
def _computed(pointer: Any) -> int:
    try:
        return _product(pointer.contents)
    except Exception:  # no error passes through C
        traceback.print_exc()
        return EXECUTION_FAILED


def _product(p: _Product) -> int:
    """Compute it, or put it behind what its stream does; a status."""
    stream, m, n, k = by_address(p.handle.contents.stream or 0), p.m, p.n, p.k
    rows = {"a": k if p.flip_a else m, "b": n if p.flip_b else k, "c": m}
    columns = {"a": m if p.flip_a else k, "b": k if p.flip_b else n, "c": n}
    if min(m, n, k, p.batch) < 0 or not {p.flip_a, p.flip_b} <= {0, 1, 2}:
        return INVALID_VALUE
    if any(getattr(p, x).leading < max(1, rows[x]) for x in "abc"):
        return INVALID_VALUE
    if not _supported(p):
        return NOT_SUPPORTED
    if m == 0 or n == 0 or p.batch == 0:
        return 0
    if p.batch > 1 and abs(p.c.step) < p.c.leading * (n - 1) + m:
        return INVALID_VALUE  # the products would lie on top of one another
    if stream.is_capturing() and not p.handle.contents.workspace:
        return INTERNAL_ERROR  # it would allocate memory
    kept = {x: _matrices(getattr(p, x), rows[x], columns[x], p.batch) for x in "abc"}
    scalar = ctypes.c_double if p.compute == COMPUTE_64F else ctypes.c_float
    alpha, beta = (scalar.from_address(at).value for at in (p.alpha, p.beta))
    flips, tf32 = (p.flip_a, p.flip_b), p.compute == TF32
    wide = np.float64 if p.compute == COMPUTE_64F else np.float32

    def work() -> None:
        (a, b, c) = (kept[x][0] for x in "abc")
        first, second = (
            rounded.swapaxes(1, 2) if flip else rounded
            for x, flip in zip((a, b), flips, strict=True)
            for rounded in [_rounded(x.astype(wide), tf32)]
        )
        with np.errstate(all="ignore"):
            y = wide(alpha) * (first @ second)
            c[...] = y + wide(beta) * c.astype(wide) if beta else y

    submit(work, stream)
    return 0


def _supported(p: _Product) -> bool:
    a, b, c = p.a.dtype, p.b.dtype, p.c.dtype
    if p.compute == COMPUTE_64F:
        return a == b == c == 1
    if p.compute == TF32:
        return a == b == c == 0
    if p.compute not in (COMPUTE_32F, PEDANTIC_32F):
        return False
    return a == b and (a == c == 0 or (a in HALVES and c in (a, 0)))


def _matrices(x: _Operand, rows: int, columns: int, batch: int) -> tuple[np.ndarray, Any]:
    """(batch, rows, columns) of the memory there, and whoever has that memory."""
    dtype = _dtype(x.dtype)
    item = dtype.itemsize
    strides = (x.step * item, item, x.leading * item)
    shape = (batch, rows, columns)
    if 0 in shape:
        return np.zeros(shape, dtype), None
    low = sum(min(0, (n - 1) * s) for n, s in zip(shape, strides, strict=True))
    high = item + sum(max(0, (n - 1) * s) for n, s in zip(shape, strides, strict=True))
    found = memory_at(x.at)
    if found is None or x.at + low < found[1][0] or x.at + high > found[1][1] or x.at % item:
        raise MemoryError(
            f"cuBLAS: a matrix {shape} of {dtype} at {x.at:#x}, strides {strides}, lies outside of "
            f"any array"
        )
    memory = (ctypes.c_char * (high - low)).from_address(x.at + low)
    return np.ndarray(shape, dtype, memory, -low, strides), found[0]


def _dtype(number: int) -> np.dtype:
    if number == 14:
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({0: np.float32, 1: np.float64, 2: np.float16}[number])


def _rounded(x: np.ndarray, tf32: bool) -> np.ndarray:
    """To TF32: nearest, ties away from zero."""
    if not tf32:
        return x
    finite = np.isfinite(x)
    bits = (x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(finite, bits.view(np.float32), x)
