"""The stand-in for cuBLAS: products of matrices that lie in columns, and what it refuses."""

import ctypes

import cupy
import ml_dtypes
import numpy as np
import pytest
from cuda.pathfinder import load_nvidia_dynamic_lib
from cupy.cuda import MemoryPool, Stream, using_allocator

LIBRARY = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class Blas:
    def __init__(self, stream=Stream.null):
        self.handle = ctypes.c_void_p()
        assert LIBRARY.cublasCreate_v2(ctypes.byref(self.handle)) == 0
        assert LIBRARY.cublasSetStream_v2(self.handle, ctypes.c_void_p(stream.ptr)) == 0

    def workspace(self):
        self.memory = cupy.empty(4096, "uint8")
        return LIBRARY.cublasSetWorkspace_v2(
            self.handle, ctypes.c_void_p(self.memory.data.ptr + -self.memory.data.ptr % 256), 1024
        )

    def gemm(self, a, b, c, *, flips=(0, 0), leading=None, compute=None, alpha=1.0, beta=0.0):
        """`c = alpha a b + beta c`, of device arrays (batch, columns, rows); the status."""
        if compute is None:
            compute = 70 if c.dtype == np.float64 else 68
        scalar = ctypes.c_double if compute == 70 else ctypes.c_float
        m, n = c.shape[2], c.shape[1]
        k = a.shape[2] if flips[0] else a.shape[1]
        leading = leading or [x.shape[2] for x in (a, b, c)]

        def operand(x, ld):
            return (ctypes.c_void_p(x.data.ptr), DTYPES[x.dtype.name], ld,
                    ctypes.c_longlong(x.shape[1] * x.shape[2]))  # fmt: skip

        return LIBRARY.cublasGemmStridedBatchedEx(
            self.handle, *flips, m, n, k, ctypes.byref(scalar(alpha)), *operand(a, leading[0]),
            *operand(b, leading[1]), ctypes.byref(scalar(beta)), *operand(c, leading[2]),
            c.shape[0], compute, -1,
        )  # fmt: skip


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32").astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", BFLOAT16])
@pytest.mark.parametrize("flips", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products(dtype, flips):
    batch, m, n, k = 3, 5, 4, 7
    a, b = numbers(batch, m, k, dtype=dtype), numbers(batch, k, n, dtype=dtype, seed=1)
    c = numbers(batch, n, m, dtype=dtype, seed=2)
    d = cupy.asarray(c)
    given = [
        cupy.asarray(np.ascontiguousarray(x if flip else x.swapaxes(1, 2)))
        for x, flip in zip((a, b), flips, strict=True)
    ]
    assert Blas().gemm(*given, d, flips=flips, alpha=0.5, beta=2.0) == 0
    expected = 0.5 * (a.astype("f8") @ b.astype("f8")).swapaxes(1, 2) + 2 * c.astype("f8")
    np.testing.assert_allclose(
        d.get().astype("f8"), expected, atol={4: 1e-5, 8: 1e-12, 2: 0.05}[c.itemsize]
    )


def test_halves_are_summed_in_float32():
    a = cupy.ones((1, 3000, 1), "float16")
    b = cupy.ones((1, 1, 3000), "float16")
    for dtype in ("float16", "float32"):
        c = cupy.empty((1, 1, 1), dtype)
        assert Blas().gemm(a, b, c) == 0
        assert c.get() == 3000


def test_tf32_rounds():
    a, b = numbers(1, 4, 6), numbers(1, 5, 4)
    exact, rounded = (cupy.empty((1, 5, 6), "float32") for _ in range(2))
    for c, compute in ((exact, 68), (rounded, 77)):
        assert Blas().gemm(cupy.asarray(a), cupy.asarray(b), c, compute=compute) == 0
    assert 1e-6 < abs(exact.get() - rounded.get()).max() < 1e-2


def test_nothing_is_read_where_beta_is_zero():
    c = cupy.empty((1, 2, 2), "float32")
    assert np.isnan(c.get()).all()
    assert Blas().gemm(cupy.ones((1, 2, 2), "float32"), cupy.ones((1, 2, 2), "float32"), c) == 0
    assert (c.get() == 2).all()


def test_what_is_refused(capfd):
    a, b, c = (cupy.ones((1, 3, 3), "float32") for _ in range(3))
    blas = Blas()
    assert blas.gemm(a, b, c, leading=[2, 3, 3]) == 7
    assert blas.gemm(a, b, c, leading=[3, 3, 2]) == 7
    assert blas.gemm(a, b, c, compute=70) == 15
    assert blas.gemm(a, b, cupy.ones((1, 3, 3), "float16")) == 15
    assert blas.gemm(a, b, c, leading=[3, 4, 3]) == 13  # behind the end of b
    assert "outside of any array" in capfd.readouterr().err
    assert LIBRARY.cublasGemmEx(None, *[0] * 18) == 1


def test_products_are_captured():
    a, b = cupy.ones((1, 3, 3), "float32"), cupy.ones((1, 3, 3), "float32")
    c = cupy.zeros((1, 3, 3), "float32")
    stream = Stream(non_blocking=True)
    blas = Blas(stream)
    with using_allocator(MemoryPool().malloc), stream:
        stream.begin_capture()
        assert blas.gemm(a, b, c) == 14  # without a workspace
        stream.end_capture()
        assert blas.workspace() == 0
        stream.synchronize()
        stream.begin_capture()
        assert blas.gemm(a, b, c) == 0
        graph = stream.end_capture()
    assert (c.get() == 0).all()
    a += 1.0
    graph.launch()
    assert (c.get() == 6).all()
