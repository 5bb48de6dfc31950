"""Matrix products by cuBLAS, through a binding of our own that can be recorded in a CUDA graph.

CuPy's refuses to be: it sets the stream before each call, which also takes the workspace away, and
without one cuBLAS would allocate memory while it is recorded. Here each stream of each device has a
handle of its own with a workspace of its own, which are set once, in this order. (cuBLAS, 2.4.7 and
2.4.8: `cublasSetStream` resets the workspace; equal bits from run to run are promised for it.)

Matrices lie in rows here and in columns there, where C.T = B.T A.T is computed: nothing is copied,
nor is what lies transposed.
"""

import ctypes
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from minigrad.errors import BackendError
from minigrad.kernels.cuda.machine import address
from minigrad.kernels.instructions import Declined
from minigrad.kernels.layouts import joined, matrix_rows
from minigrad.precision import get_float32_matmul_precision

__all__ = ["Blas", "Gemm", "View", "current", "library", "products"]

# Of library_types.h and cublas_api.h.
DATA = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE_32F, COMPUTE_TF32, COMPUTE_64F = 68, 77, 70
SUMS_IN_FLOAT32 = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION, beside the default math
ANY_ALGORITHM = -1
STATUS = {
    1: "not initialized", 3: "no memory for it", 7: "an argument is invalid",
    8: "the device's architecture lacks it", 11: "memory cannot be reached",
    13: "the program failed on the device", 14: "an internal operation failed",
    15: "not supported", 16: "the license is missing",
}  # fmt: skip
MOST = (1 << 31) - 1  # lengths go as integers of 32 bits

_pointer, _int, _i64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_operand = [_pointer, _int, _int]  # where it lies, its dtype, its leading dimension
_strided = [*_operand, _i64]
_sizes = [_pointer, *[_int] * 5]  # the handle, two flags, m, n, k
_SIGNATURES: dict[str, list[Any]] = {
    "cublasCreate_v2": [ctypes.POINTER(_pointer)],
    "cublasDestroy_v2": [_pointer],
    "cublasSetStream_v2": [_pointer, _pointer],
    "cublasSetWorkspace_v2": [_pointer, _pointer, ctypes.c_size_t],
    "cublasSetMathMode": [_pointer, _int],
    "cublasGemmEx": [
        *_sizes, _pointer, *_operand, *_operand, _pointer, *_operand, _int, _int,
    ],
    "cublasGemmStridedBatchedEx": [
        *_sizes, _pointer, *_strided, *_strided, _pointer, *_strided, _int, _int, _int,
    ],
}  # fmt: skip


@cache
def library() -> Any:
    """cuBLAS, the one that CuPy uses.

    Raises:
        BackendError: it is nowhere; the message says what was tried.
    """
    names, tried = [], []
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        names.append(load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception as error:  # it has an error of its own for each way of not finding something
        tried.append(f"cuda.pathfinder: {error}")
        with suppress(Exception):  # CuPy finds its own, which then has been loaded by that name
            import cupy

            cupy.cuda.device.get_cublas_handle()
    dll = "cublas64_{}.dll" if sys.platform == "win32" else "libcublas.so.{}"
    for name in [*names, *(dll.format(version) for version in (13, 12))]:
        try:
            found = ctypes.CDLL(name)
        except OSError as error:
            tried.append(f"{name}: {error}")
            continue
        for function, types in _SIGNATURES.items():
            getattr(found, function).argtypes = types
            getattr(found, function).restype = _int
        return found
    raise BackendError(
        f"cuBLAS was not found, which multiplies matrices on the device ({'; '.join(tried)}); "
        f"install minigrad[cuda12] or [cuda13], which bring it"
    )


def _check(function: str, status: int) -> None:
    if status:
        raise BackendError(
            f"{function}: status {status}, {STATUS.get(status, 'of which nothing is known here')}"
        )


class Blas:
    """A handle of cuBLAS for one stream of one device, with a workspace.

    Whoever records products in a graph makes the `current` one of the recording stream before, and
    keeps it for as long as the graph, which has the workspace built in.
    """

    def __init__(self, stream: Any):
        import cupy

        self.library, self.handle = library(), _pointer()
        self.call("cublasCreate_v2", ctypes.byref(self.handle))
        self._end = weakref.finalize(self, self.library.cublasDestroy_v2, self.handle)
        self._end.atexit = False  # the device may be gone by then
        new = int(cupy.cuda.Device().compute_capability) >= 90
        self.workspace = cupy.empty(32 << 20 if new else 4 << 20, "uint8")
        self.call("cublasSetStream_v2", self.handle, stream.ptr)
        self.call(
            "cublasSetWorkspace_v2", self.handle, address(self.workspace), self.workspace.size
        )
        self.call("cublasSetMathMode", self.handle, SUMS_IN_FLOAT32)

    def call(self, function: str, *args: Any) -> None:
        """Call a function of the library.

        Raises:
            BackendError: it gave a status other than 0.
        """
        _check(function, getattr(self.library, function)(*args))


_of: dict[int, "weakref.WeakKeyDictionary[Any, Blas]"] = {}


def current() -> Blas:
    """The handle of the current stream of the current device."""
    import cupy

    device, stream = cupy.cuda.Device().id, cupy.cuda.get_current_stream()
    handles = _of.setdefault(device, weakref.WeakKeyDictionary())
    if (found := handles.get(stream)) is None:
        found = handles[stream] = Blas(stream)
    return found


@dataclass(frozen=True)
class Gemm:
    """C = alpha op(A) op(B) + beta C, of matrices (m, n), (m, k) and (k, n) that lie in rows.

    float32 is exact, or TF32 where `set_float32_matmul_precision` says so when it is made ready;
    float16 and bfloat16 are summed in float32, and C may be float32 then.

    Attributes:
        c, a, b: arrays, or values of a program.
        lda, ldb, ldc: elements between the rows, as they lie in memory.
        flip_a, flip_b: whether it lies transposed: A as (k, m), B as (n, k).
        batch: how many products.
        steps: elements from one to the next, in C, A and B; 0 where all have the same.
        starts: elements before the first.
    """

    who = "cuBLAS"  # computes it, as programs tell

    c: Any
    a: Any
    b: Any
    m: int
    n: int
    k: int
    lda: int
    ldb: int
    ldc: int
    flip_a: bool = False
    flip_b: bool = False
    alpha: float = 1.0
    beta: float = 0.0
    batch: int = 1
    steps: tuple[int, ...] = (0, 0, 0)
    starts: tuple[int, ...] = (0, 0, 0)

    def ready(self) -> Callable[[], None]:
        """Look up addresses; what is returned computes it on the stream that is current then.

        Raises:
            BackendError: there is no cuBLAS; later: it refuses.
        """
        library()
        kind = self.a.dtype.name
        scalar = ctypes.c_double if kind == "float64" else ctypes.c_float
        alpha, beta = scalar(self.alpha), scalar(self.beta)
        (c, ldc), (a, lda), (b, ldb) = (
            ((address(x) + start * x.dtype.itemsize, DATA[x.dtype.name]), ld)
            for x, start, ld in zip(
                (self.c, self.a, self.b), self.starts, (self.ldc, self.lda, self.ldb), strict=True
            )
        )
        sizes = (int(self.flip_b), int(self.flip_a), self.n, self.m, self.k)
        first, second = ctypes.byref(alpha), ctypes.byref(beta)
        how = _compute(kind), ANY_ALGORITHM
        args: tuple[Any, ...]
        if self.batch == 1:
            name = "cublasGemmEx"
            args = (*sizes, first, *b, ldb, *a, lda, second, *c, ldc, *how)
        else:
            name, (of_c, of_a, of_b) = "cublasGemmStridedBatchedEx", self.steps
            left, right = (*b, ldb, of_b), (*a, lda, of_a)
            args = (*sizes, first, *left, *right, second, *c, ldc, of_c, self.batch, *how)

        def compute() -> None:
            blas = current()
            blas.call(name, blas.handle, *args)

        return compute


def _compute(kind: str) -> int:
    """In what products of a dtype are summed."""
    if kind == "float64":
        return COMPUTE_64F
    if kind == "float32" and get_float32_matmul_precision() == "high":
        return COMPUTE_TF32
    return COMPUTE_32F


class View(NamedTuple):
    """An array as it is multiplied: with another shape, over the same memory."""

    of: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def steps(self, lead: tuple[int, ...]) -> list[int] | None:
        """Elements between neighbours along the axes `lead`, which those before the last two
        broadcast to, and along these two. None if one is no whole element.
        """
        item = self.of.dtype.itemsize
        if any(s % item for s in self.strides):
            return None
        own = [0 if n == 1 else s // item for n, s in zip(self.shape, self.strides, strict=True)]
        return [0] * (len(lead) + 2 - len(own)) + own


def products(c: View, a: View, b: View, alpha: float = 1.0, beta: float = 0.0) -> Iterator[Gemm]:
    """The matrix products over the last two axes, for all others, which broadcast to those of `c`.

    `c` is C-contiguous. Axes that lie one behind the other are one; the longest is the batch of a
    call, and for the rest there are as many calls.

    Raises:
        Declined: a matrix lies neither in rows nor in columns, or there are too many axes.
    """
    item, lead, (m, n), k = a.of.dtype.itemsize, c.shape[:-2], c.shape[-2:], a.shape[-1]
    steps = [x.steps(lead) for x in (c, a, b)]
    right = matrix_rows(b.shape[-2:], b.strides[-2:], item)
    if None in steps or right is None:
        raise Declined
    found = joined(lead, *(tuple(s[:-2]) for s in steps), item=1)  # type: ignore[index]
    if found is None:
        raise Declined
    lengths, (of_c, of_a, of_b) = found
    # One large product of all rows where b is the same for them, and they lie as those of one.
    if len(lengths) == 1 and lengths[0] > 1 and not of_b[0]:
        left = matrix_rows((m * lengths[0], k), a.strides[-2:], item)
        if left is not None and not left[1] and of_a[0] == m * left[0]:
            m, lengths, of_a, of_b, of_c = m * lengths[0], [1], [0], [0], [0]
    left = matrix_rows((m, k), a.strides[-2:], item)
    if left is None or max(m, n, k, left[0], right[0]) > MOST:
        raise Declined
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    batch, step = lengths.pop(longest), tuple(x.pop(longest) for x in (of_c, of_a, of_b))
    for index in itertools.product(*map(range, lengths)):
        starts = tuple(
            sum(i * s for i, s in zip(index, own, strict=True)) for own in (of_c, of_a, of_b)
        )
        yield Gemm(
            c.of, a.of, b.of, m, n, k, left[0], right[0], n, left[1], right[1], alpha, beta,
            batch, step, starts,
        )  # fmt: skip
