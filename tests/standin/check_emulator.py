"""Whether kernels on the CPU compute what CUDA says, and whether each kind of misuse is noticed."""

from importlib import resources

import cupy
import ml_dtypes
import numpy as np
import pytest

COMMON = (resources.files("minigrad.kernels.cuda") / "common.cuh").read_text(encoding="utf-8")


def kernel(body, parameters="float* y, const float* x, i64 n", before=""):
    """A function of one kernel with `body`."""
    code = f'{COMMON}\n{before}\nextern "C" __global__ void f({parameters}) {{ {body} }}'
    return cupy.RawModule(code=code, options=("--std=c++17",)).get_function("f")


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


# ------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("block", [(32,), (256,), (8, 16), (4, 4, 4)])
def test_every_thread_of_every_block_runs_once(block):
    f = kernel(
        """
        i64 block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        i64 thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        y[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1.0f;
        """,
        "float* y",
    )
    y = cupy.zeros(5 * 3 * 2 * np.prod(block), "float32")
    f((5, 3, 2), block, (y,))
    assert (y.get() == 1).all()


TOGETHER = {
    "__shfl_sync(ALL, v, 5)": lambda i: np.full(32, 5),
    "__shfl_sync(ALL, v, i + 1)": lambda i: (i + 1) % 32,
    "__shfl_sync(ALL, v, 1, 8)": lambda i: i // 8 * 8 + 1,
    "__shfl_xor_sync(ALL, v, 6)": lambda i: i ^ 6,
    "__shfl_down_sync(ALL, v, 3)": lambda i: np.where(i + 3 < 32, i + 3, i),
    "__shfl_up_sync(ALL, v, 3)": lambda i: np.where(i >= 3, i - 3, i),
    "__shfl_up_sync(ALL, v, 3, 16)": lambda i: np.where(i % 16 >= 3, i - 3, i),
    "__shfl_down_sync(ALL, v, 1, 4)": lambda i: np.where(i % 4 < 3, i + 1, i),
    "__ballot_sync(ALL, i % 3 == 0)": lambda i: np.full(32, sum(1 << k for k in i[::3])),
    "__any_sync(ALL, i == 3)": lambda i: np.full(32, 1),
    "__all_sync(ALL, i != 3)": lambda i: np.full(32, 0),
    "__syncthreads_count(i % 2)": lambda i: np.full(32, 16),
    "__syncthreads_or(0)": lambda i: np.full(32, 0),
    "__syncthreads_and(7)": lambda i: np.full(32, 1),
    "__reduce_max_sync(ALL, (int)i)": lambda i: np.full(32, 31),
    "__match_any_sync(ALL, i / 16)": lambda i: np.where(i < 16, 0xFFFF, 0xFFFF0000),
}


@pytest.mark.parametrize("type", ["int", "i64", "float", "double", "u32", "u64"])
def test_what_a_warp_does_together(type):
    calls = "".join(f"y[{32 * k} + i] = (i64)({call});" for k, call in enumerate(TOGETHER))
    f = kernel(f"int i = threadIdx.x; {type} v = i; {calls}", "i64* y")
    y = cupy.zeros((len(TOGETHER), 32), "int64")
    f((1,), (32,), (y,))
    for got, (call, expected) in zip(y.get(), TOGETHER.items(), strict=True):
        mask = 0xFFFFFFFF
        np.testing.assert_array_equal(got & mask, expected(np.arange(32)) & mask, err_msg=call)


def test_half_warps_go_their_own_ways():
    f = kernel(
        """
        int i = threadIdx.x;
        if (i < 16) for (int k = 8; k; k /= 2) i += __shfl_xor_sync(0xffffu, i, k);
        else i = __shfl_sync(0xffff0000u, i, 20);
        y[threadIdx.x] = i;
        """,
        "i64* y",
    )
    y = cupy.zeros(32, "int64")
    f((1,), (32,), (y,))
    assert y.get().tolist() == [120] * 16 + [20] * 16


def test_sums_over_blocks():
    f = kernel(
        "__shared__ float box[WARP]; float s = block_sum(x[threadIdx.x], box); y[threadIdx.x] = s;"
    )
    x = floats(256)
    y = cupy.empty(256, "float32")
    f((1,), (256,), (y, cupy.asarray(x), 256))
    np.testing.assert_allclose(y.get(), x.sum(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_floats_of_16_bits(dtype):
    name = {"float16": "f16", "bfloat16": "bf16"}[np.dtype(dtype).name]
    up = kernel("y[threadIdx.x + 256 * blockIdx.x] = wide(x[threadIdx.x + 256 * blockIdx.x]);",
                f"float* y, const {name}* x")  # fmt: skip
    down = kernel("i64 i = threadIdx.x + 256 * blockIdx.x; y[i] = narrow<T>(x[i]);",
                  f"{name}* y, const float* x", f"#define T {name}")  # fmt: skip
    every = np.arange(1 << 16).astype(np.uint16).view(dtype)
    y = cupy.empty(1 << 16, "float32")
    up((256,), (256,), (y, cupy.asarray(every)))
    np.testing.assert_array_equal(y.get(), every.astype("float32"))

    # All of them, what lies just between two, beside that, and NaN.
    f = every.astype("float32")
    with np.errstate(all="ignore"):
        middle = ((f[:-1].astype("f8") + f[1:].astype("f8")) / 2).astype("float32")
        given = [f[:-1], middle, np.nextafter(middle, f[1:]), np.nextafter(middle, f[:-1])]
        for x in given:
            x = np.append(x, np.float32(np.nan))
            z = cupy.empty(1 << 16, dtype)
            down((256,), (256,), (z, cupy.asarray(x)))
            np.testing.assert_array_equal(
                z.get().astype("float32"), x.astype(dtype).astype("float32")
            )


# ------------------------------------------------------ tensor cores, by fragments of the PTX ISA


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_products_of_16_bits(dtype):
    name = {"float16": "f16", "bfloat16": "bf16"}[np.dtype(dtype).name]
    f = kernel(
        """
        int lane = threadIdx.x, g = lane / 4, t = lane % 4;
        const u32* A = (const u32*)a; const u16* B = (const u16*)b;  // (16, 16) and (16, 8)
        u32 fa[4] = {A[g * 8 + t], A[(g + 8) * 8 + t], A[g * 8 + t + 4], A[(g + 8) * 8 + t + 4]};
        u32 fb[2];
        for (int i = 0; i < 2; i++)
            fb[i] = B[(2 * t + 8 * i) * 8 + g] | (u32)B[(2 * t + 8 * i + 1) * 8 + g] << 16;
        float d[4];
        for (int i = 0; i < 4; i++) d[i] = y[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2];
        mma_16(d, fa, fb, T());
        for (int i = 0; i < 4; i++) y[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = d[i];
        """,
        f"float* y, const {name}* a, const {name}* b",
        f"#define T {name}\ntypedef unsigned short u16;",
    )
    a, b, d = floats(16, 16).astype(dtype), floats(16, 8).astype(dtype), floats(16, 8)
    y = cupy.asarray(d)
    f((1,), (32,), (y, cupy.asarray(a), cupy.asarray(b)))
    expected = d + a.astype("float64") @ b.astype("float64")
    np.testing.assert_allclose(y.get(), expected, rtol=1e-5, atol=1e-5)


def test_products_of_tf32():
    f = kernel(
        """
        int lane = threadIdx.x, g = lane / 4, t = lane % 4;  // a (16, 8), b (8, 8)
        u32 fa[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]),
                     to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])};
        u32 fb[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
        float d[4] = {0, 0, 0, 0};
        mma_tf32(d, fa, fb);
        for (int i = 0; i < 4; i++) y[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = d[i];
        """,
        "float* y, const float* a, const float* b",
    )
    a, b = floats(16, 8), floats(8, 8)
    y = cupy.empty((16, 8), "float32")
    f((1,), (32,), (y, cupy.asarray(a), cupy.asarray(b)))
    assert 1e-6 < abs(y.get() - a @ b).max() < 1e-2  # so many bits, and no more
    np.testing.assert_allclose(y.get(), tf32(a) @ tf32(b), rtol=1e-5, atol=1e-5)


def tf32(x):
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize("how", ["ldmatrix", "ldmatrix_transposed"])
def test_matrices_from_shared_memory(how):
    f = kernel(
        f"""
        __shared__ __align__(16) unsigned short box[32 * 8];
        int lane = threadIdx.x;
        for (int i = 0; i < 8; i++) box[lane * 8 + i] = x[lane * 8 + i];
        __syncthreads();
        u32 r[4];
        {how}(r, box + lane * 8);
        for (int i = 0; i < 4; i++) y[lane * 4 + i] = r[i];
        """,
        "u32* y, const unsigned short* x",
    )
    x = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8)
    y = cupy.empty((32, 4), "uint32")
    f((1,), (32,), (y, cupy.asarray(x)))
    got = y.get().view(np.uint16).reshape(8, 4, 4, 2)  # g, t, matrix, half
    given = x.transpose(0, 2, 1) if how == "ldmatrix_transposed" else x
    np.testing.assert_array_equal(got.transpose(2, 0, 1, 3).reshape(4, 8, 8), given)


COPY = """
    __shared__ __align__(16) float box[2][128];
    int i = threadIdx.x * 4;
    copy_async(box[0] + i, x + i, true);
    copies_begun();
    copy_async(box[1] + i, x + i + 128, threadIdx.x < 16);
    copies_begun();
"""


def test_asynchronous_copies():
    f = kernel(
        COPY
        + """
        wait_for_copies<1>(); __syncthreads();
        for (int k = 0; k < 4; k++) y[i + k] = box[0][i + k];
        for (int k = 0; k < 4; k++) if (!(box[1][i + k] != box[1][i + k])) y[i + k] = -1;
        wait_for_copies<0>(); __syncthreads();
        for (int k = 0; k < 4; k++) y[128 + i + k] = box[1][i + k];
        """
    )
    x = floats(256)
    y = cupy.empty(256, "float32")
    f((1,), (32,), (y, cupy.asarray(x), 256))
    x[128 + 64 :] = 0
    np.testing.assert_array_equal(y.get(), x)


# ------------------------------------------------------------------ arrays, by their addresses


def test_addresses_in_a_table_and_in_a_struct():
    x = [cupy.asarray(floats(64) + i) for i in range(3)]
    table = cupy.asarray(np.array([a.data.ptr for a in x[:2]]))
    y = cupy.empty(64, "float32")
    f = kernel("y[threadIdx.x] = ((float*)table[blockIdx.x])[threadIdx.x];",
               "float* y, const i64* table")  # fmt: skip
    f((2,), (64,), (y, table))
    assert y.get().tolist() in [x[0].get().tolist(), x[1].get().tolist()]
    f = kernel("y[threadIdx.x] = *(float*)(table[0] + n + 4 * threadIdx.x);",
               "float* y, const i64* table, i64 n")  # fmt: skip
    with pytest.raises(cupy.KernelError, match="outside of any array"):
        f((1,), (64,), (y, table, x[2].data.ptr - x[0].data.ptr))
    two = np.array([(x[0].data.ptr, x[1].data.ptr)], [("a", "i8"), ("b", "i8")])
    f = kernel("y[threadIdx.x] = two.a[threadIdx.x] + two.b[threadIdx.x];", "float* y, Two two",
               "struct Two { const float *a, *b; };")  # fmt: skip
    f((1,), (64,), (y, two[0]))
    np.testing.assert_allclose(y.get(), x[0].get() + x[1].get())


# -------------------------------------------------------------------------- what is noticed


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("if (threadIdx.x < 40) __syncthreads();", "not all threads of the block reach"),
        ("if (threadIdx.x == 40) return; __syncthreads();", "has ended"),
        ("if (threadIdx.x % 32 < 20) __shfl_sync(ALL, 1, 0);", "not all lanes of the mask"),
        ("if (threadIdx.x % 32 < 20) __syncwarp();", "not all lanes of the mask"),
        ("__shfl_sync(1u << threadIdx.x % 32, 1, 3);", "which the mask"),
        ("__syncwarp(1u);", "does not name its own lane"),
        ("if (threadIdx.x < 32) __syncthreads(); else __syncthreads_or(1);", "not all threads"),
        ("if (threadIdx.x < 10) __shfl_sync(ALL, 1, 0); else __shfl_down_sync(ALL, 1, 1);",
         "not all lanes of the mask"),
        ("y[threadIdx.x + 1] = 0;", "writes 4 bytes outside of any array"),
        ("y[0] = x[(int)threadIdx.x - 1];", "reads 4 bytes outside of any array"),
        ("y[0] = x[1 << 30];", "reads 4 bytes"),
        ("float* p = 0; *p = 1;", "writes 4 bytes at (nil)"),
        ("y[0] = load(x + 1).x[0];", "not a multiple of 16"),
        ("Pack<float> p = load(x); store(y + 2, p);", "not a multiple of 16"),
        ("*(double*)(y + 1) = 0;", "not a multiple of 8"),
        ("*(float*)((char*)y + 2) = 0;", "not a multiple of 4"),
        ("__shared__ float box[32]; box[threadIdx.x] = 0; y[0] = box[0];", "box, which has 128"),
        ("DYNAMIC_SHARED(raw); ((float*)raw)[threadIdx.x] = 1;", "dynamic shared memory"),
        ("__shared__ float box[64]; copy_async(box + threadIdx.x, x, true);", "multiple of 16"),
        ("copy_async(y, x, true);", "not in shared memory"),
        ("__shared__ __align__(16) float box[64]; copy_async(box, x + 64, true);", "outside"),
        ("u32 r[4]; ldmatrix(r, x);", "not in shared memory"),
        ("__trap();", "__trap"),
        ("volatile char big[200000]; for (int i = 0; i < 200000; i++) big[i] = 1;", "stack"),
    ],
)  # fmt: skip
def test_misuse_is_noticed(body, says):
    f = kernel(body)
    y, x = cupy.zeros(64, "float32"), cupy.asarray(floats(64))
    with pytest.raises(cupy.KernelError, match=says.replace("(", r"\(").replace(")", r"\)")):
        f((2,), (64,), (y, x, 64), shared_mem=128)


@pytest.mark.parametrize(
    "body",
    [
        # no barrier between writing and reading, in both directions
        "__shared__ float box[64]; box[i] = x[i]; y[i] = box[63 - i];",
        # nor between reading and the next writing
        """__shared__ float box[64];
        for (int k = 0; k < 8; k++) {
            box[i] = x[i] + k; __syncthreads(); y[i] = box[63 - i] - k;
        }""",
        COPY.replace("threadIdx.x < 16", "false") + "y[i] = box[0][i];",  # no wait
        # what a block before left in shared memory
        "__shared__ float box[64]; if (blockIdx.x == 0) box[i] = x[63 - i]; __syncthreads(); "
        "y[i] = box[i];",
    ],
)
def test_what_is_not_waited_for_is_wrong(body):
    block = 64 if "int i" not in body else 32
    f = kernel(("int i = threadIdx.x; " if block == 64 else "") + body)
    x = floats(256)
    y = cupy.zeros(128, "float32")
    wrong = 0
    for _ in range(4):
        f((2,), (block,), (y, cupy.asarray(x), 64))
        wrong += not np.array_equal(y.get()[:64], x[:64][::-1])
    assert wrong


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((1, 2), "takes 3 arguments, and was given 2"),
        ((1, 2, 3, 4), "takes 3 arguments, and was given 4"),
        ((1, 2, np.int32(3)), "argument 2 is a integer of 8 bytes"),
        ((1, 2, 3.0), "argument 2 is a integer of 8 bytes"),
        ((1.0, 2, 3), "argument 0 is a pointer"),
    ],
)
def test_arguments_are_counted_and_typed(args, says):
    with pytest.raises(cupy.KernelError, match=says):
        kernel("")((1,), (32,), args)


def test_launches_are_as_a_device_takes_them():
    f = kernel("")
    args = (0, 0, 0)
    for grid, block in (((0,), (32,)), ((1,), (1025,)), ((1,), (64, 64)), ((1, 1 << 16), (32,))):
        with pytest.raises(RuntimeError, match="INVALID_VALUE"):
            f(grid, block, args)
    with pytest.raises(RuntimeError, match="dynamic shared memory"):
        f((1,), (32,), args, shared_mem=50_000)
    f.max_dynamic_shared_size_bytes = 100_000
    f((1,), (32,), args, shared_mem=100_000)
    with pytest.raises(RuntimeError, match="at most"):
        f.max_dynamic_shared_size_bytes = 300_000


def test_a_source_that_is_wrong_is_said_to_be():
    with pytest.raises(cupy.CompileException, match="nonsense"):
        kernel("nonsense;")
    with pytest.raises(RuntimeError, match="not found: g"):
        cupy.RawModule(code='extern "C" __global__ void f() {}').get_function("g")
