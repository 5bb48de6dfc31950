"""The matrix product of the BLAS that NumPy or SciPy brought along, called from inside kernels.

A kernel cannot keep an address in its code and be cached on disk; so the address of the routine is
an argument like others, found once per process by `routine`.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minigrad.kernels.compiling import compiled

_ROUTINES = {np.dtype("float32"): "sgemm", np.dtype("float64"): "dgemm"}


@cache
def _bundled() -> ctypes.CDLL | None:
    """The OpenBLAS in NumPy's wheel, where it has one."""
    package = Path(np.__file__).parent
    folders = package.parent / "numpy.libs", package / ".dylibs"
    for path in (p for folder in folders for p in sorted(folder.glob("*openblas64_*"))):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


@cache
def routine(dtype: np.dtype) -> int:
    """The address of the Fortran routine `sgemm` or `dgemm`.

    Its integers may have 32 or 64 bits: `gemm` passes them in cells of 64, of which a little-endian
    machine may read the first half.
    """
    name = _ROUTINES[np.dtype(dtype)]
    library = _bundled()
    if library is not None and sys.byteorder == "little":
        function = getattr(library, f"scipy_{name}_64_", None)
        if function is not None:
            address = ctypes.cast(function, ctypes.c_void_p).value
            assert address is not None  # what a library has is somewhere
            return address
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return get(capsule, get_name(capsule))


WHOLE = 1 << 40  # more rows than there are
STEPS = (16, 12, 24, 48)


@cache
def grains(dtype: np.dtype) -> tuple[int, int]:
    """At multiples of how many rows, and columns, a product may be cut without changing its bits.

    A BLAS takes so many at once, and does the last few by other code, whose sums may be rounded
    elsewhere: OpenBLAS takes 16 rows by AVX-512, and 12 by AVX2, where columns cannot be cut at
    all. So it is tried out, on products of many shapes; `WHOLE` if none of the steps will do.
    """
    with one_thread():
        rows = (step for step in STEPS if all(_cuts(dtype, step, by_row=True)))
        columns = (step for step in STEPS if all(_cuts(dtype, step, by_row=False)))
        return next(rows, WHOLE), next(columns, WHOLE)


def _cuts(dtype: np.dtype, step: int, by_row: bool) -> Iterator[bool]:
    """For products of many shapes, whether they are the same when they are cut at `step`."""
    numbers = np.random.default_rng(0).standard_normal(1 << 16).astype(dtype)
    most = 2 * step + 24
    for m, n, k in ((most, most, 8), (step + 8, step + 19, 24), (most, most, 65), (most, 64, 200)):
        for flip_a, flip_b in ((False, True), (False, False), (True, False)):
            a = numbers[: m * k].reshape((k, m) if flip_a else (m, k))
            b = numbers[m * k :][: k * n].reshape((n, k) if flip_b else (k, n))
            found = []
            for part in (slice(0, step), slice(step, None)):
                one, other = (a, flip_a), (b, flip_b)
                cut, flip = one if by_row else other
                piece = np.ascontiguousarray(cut[part] if flip is not by_row else cut[:, part])
                one, other = ((piece, flip), other) if by_row else (one, (piece, flip))
                found.append(_product(*one, *other))
            whole = _product(a, flip_a, b, flip_b)
            yield np.concatenate(found, 0 if by_row else 1).tobytes() == whole.tobytes()


def _product(a: np.ndarray, flip_a: bool, b: np.ndarray, flip_b: bool) -> np.ndarray:
    """A @ B by `routine`, of C-contiguous memory that holds A, or with `flip_a` A transposed."""
    (k, m), n = a.shape if flip_a else a.shape[::-1], b.shape[0 if flip_b else 1]
    c = np.empty((m, n), a.dtype)
    one, zero = np.ones(1, a.dtype), np.zeros(1, a.dtype)
    sizes = [np.array([x], np.int64) for x in (n, m, k, b.shape[1], a.shape[1], n)]
    cells = (*sizes[:3], one, b, sizes[3], a, sizes[4], zero, c, sizes[5])
    call = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 13)(routine(a.dtype))
    call(b"NT"[flip_b:], b"NT"[flip_a:], *(x.ctypes.data for x in cells))
    return c


def source() -> str:
    """Where `routine` finds it."""
    library = _bundled()
    if library is not None and hasattr(library, "scipy_sgemm_64_"):
        return "NumPy's OpenBLAS"
    return "SciPy's BLAS"


@contextmanager
def one_thread() -> Iterator[None]:
    """Products on the calling thread alone, for the length of a `with` block."""
    library = _bundled()
    setter = getattr(library, "scipy_openblas_set_num_threads64_", None)
    if library is None or setter is None:
        yield
        return
    before = library.scipy_openblas_get_num_threads64_()
    setter(1)
    try:
        yield
    finally:
        setter(before)


@intrinsic
def _fortran_gemm(typing, address, flip_a, flip_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """`gemm` on matrices in columns; flags are the letters' codes, `a`, `b`, `c` addresses."""
    integer = types.int64
    signature = types.void(
        integer, integer, integer, integer, integer, integer, alpha, integer, integer, integer,
        integer, alpha, integer, integer,
    )  # fmt: skip

    def generate(context, builder, signature, args):
        address, *values = args
        byte, pointer = ir.IntType(8), ir.IntType(8).as_pointer()
        cells = []
        for i, value in enumerate(values):
            if i in (6, 8, 11):  # the matrices
                cells.append(builder.inttoptr(value, pointer))
                continue
            value = builder.trunc(value, byte) if i < 2 else value
            with builder.goto_entry_block():  # inside of a loop the stack would grow
                cell = builder.alloca(value.type)
            builder.store(value, cell)
            cells.append(builder.bitcast(cell, pointer))
        kind = ir.FunctionType(ir.VoidType(), [pointer] * len(cells))
        builder.call(builder.inttoptr(address, kind.as_pointer()), cells)
        return context.get_dummy_value()

    return signature, generate


@compiled
def gemm(address, c, ldc, a, lda, flip_a, b, ldb, flip_b, m, n, k, alpha, beta):
    """`C = alpha * A @ B + beta * C` for matrices in rows, given by their addresses.

    C is (m, n), A is (m, k) and B is (k, n); with `flip_a` the memory at `a` holds A transposed, in
    rows that are `lda` elements apart, and likewise with `flip_b`. `alpha` and `beta` have the
    dtype of the matrices.
    """
    # What holds C in rows holds C.T = B.T @ A.T in columns, which is what Fortran wants.
    letter_a, letter_b = 84 if flip_a else 78, 84 if flip_b else 78  # "T", "N"
    _fortran_gemm(address, letter_b, letter_a, n, m, k, alpha, b, ldb, a, lda, beta, c, ldc)
