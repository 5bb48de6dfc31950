// What all pages have. No headers: NVRTC has none by itself. On the CPU, where tests run the same
// text, `ON_HOST` is defined, and a header of the stand-in has what is CUDA's own.

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

#define WARP 32
#define ALL 0xffffffffu

// ------------------------------------------------------------------------------------- dtypes

// Two floats of 16 bits, which are computed with in float.
struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };

#ifdef ON_HOST
#define DYNAMIC_SHARED(name) unsigned char* name = host_dynamic_shared()
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

__device__ __forceinline__ float f16_to_float(unsigned short bits) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits));
    return y;
}

__device__ __forceinline__ unsigned short float_to_f16(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

__device__ __forceinline__ unsigned short float_to_bf16(float x) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

// What a dtype is computed in: float, or double for double.
template <typename T> struct Wide { typedef float type; };
template <> struct Wide<double> { typedef double type; };

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ double wide(double x) { return x; }
__device__ __forceinline__ float wide(f16 x) { return f16_to_float(x.bits); }
__device__ __forceinline__ float wide(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// `narrow<T>(x)`: rounded to nearest, ties to even.
template <typename T> __device__ __forceinline__ T narrow(float x) { return (T)x; }
template <typename T> __device__ __forceinline__ T narrow(double x) { return (T)x; }
template <> __device__ __forceinline__ f16 narrow<f16>(float x) { return f16{float_to_f16(x)}; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return bf16{float_to_bf16(x)}; }

// Two of 16 bits side by side, the first one below, as tensor cores take them.
template <typename T> __device__ __forceinline__ u32 narrow_two(float x, float y) {
    return narrow<T>(x).bits | (u32)narrow<T>(y).bits << 16;
}

#ifndef ON_HOST
template <> __device__ __forceinline__ u32 narrow_two<bf16>(float x, float y) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(y), "f"(x));
    return bits;
}

template <> __device__ __forceinline__ u32 narrow_two<f16>(float x, float y) {
    u32 bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(y), "f"(x));
    return bits;
}
#endif

template <typename T> __device__ __forceinline__ T minus_infinity();
template <> __device__ __forceinline__ float minus_infinity<float>() {
    return __uint_as_float(0xff800000u);
}
template <> __device__ __forceinline__ double minus_infinity<double>() {
    return __longlong_as_double((i64)0xfff0000000000000ull);
}

// ------------------------------------------------------------------------- packs of 16 bytes

// As many elements as one load of 128 bits brings.
template <typename T> struct __align__(16) Pack {
    static const int N = 16 / sizeof(T);
    T x[N];
};

struct __align__(16) Quad { u32 x, y, z, w; };

// `p` must be a multiple of 16.
template <typename T> __device__ __forceinline__ Pack<T> load(const T* p) {
    union { Quad q; Pack<T> pack; } u;
    u.q = *reinterpret_cast<const Quad*>(p);
    return u.pack;
}

template <typename T> __device__ __forceinline__ void store(T* p, Pack<T> pack) {
    union { Quad q; Pack<T> pack; } u;
    u.pack = pack;
    *reinterpret_cast<Quad*>(p) = u.q;
}

// ---------------------------------------------------------------------- over warps and blocks

template <typename A> __device__ __forceinline__ A warp_sum(A x) {
    for (int i = WARP / 2; i > 0; i /= 2) x += __shfl_xor_sync(ALL, x, i);
    return x;
}

// The greatest; NaN if there is one.
template <typename A> __device__ __forceinline__ A larger(A a, A b) {
    return a > b || a != a ? a : b;
}

template <typename A> __device__ __forceinline__ A warp_max(A x) {
    for (int i = WARP / 2; i > 0; i /= 2) x = larger(x, __shfl_xor_sync(ALL, x, i));
    return x;
}

// For all threads of a block of whole warps, each of which gets the result. `box` is shared memory
// of 32; between two uses of one box there must be a __syncthreads().
template <typename A> __device__ __forceinline__ A block_sum(A x, A* box) {
    x = warp_sum(x);
    int warps = blockDim.x / WARP;
    if (threadIdx.x % WARP == 0) box[threadIdx.x / WARP] = x;
    __syncthreads();
    x = threadIdx.x % WARP < warps ? box[threadIdx.x % WARP] : A(0);
    return warp_sum(x);
}

template <typename A> __device__ __forceinline__ A block_max(A x, A* box) {
    x = warp_max(x);
    int warps = blockDim.x / WARP;
    if (threadIdx.x % WARP == 0) box[threadIdx.x / WARP] = x;
    __syncthreads();
    x = box[threadIdx.x % WARP < warps ? threadIdx.x % WARP : 0];
    return warp_max(x);
}

// ------------------------------------------------------------------------------------- faults

// Note the first id of the device's that is out of range: see `faults.py`.
__device__ __forceinline__ void fault(i64* status, i64 number, i64 position, i64 value) {
    if (status && atomicCAS((u64*)status, 0ull, (u64)number) == 0ull) {
        status[1] = position;
        status[2] = value;
    }
}

// ------------------------------------------------------------------------------------- Philox

// The four words of block `i` of a key: as `minigrad.random` draws.
struct Words { u32 x[4]; };

__device__ __forceinline__ Words philox(u32 k0, u32 k1, u64 i) {
    u32 c0 = (u32)i, c1 = (u32)(i >> 32), c2 = 0, c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u32 h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        u32 h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0;
        c1 = l1;
        c2 = h0 ^ c3 ^ k1;
        c3 = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}

// A key as `Eager.key` and programs pass it: where its two words lie, or else the words.
struct Key { u32 low, high; };

__device__ __forceinline__ Key key_of(const i64* at, i64 low, i64 high) {
    if (at) return Key{(u32)at[0], (u32)at[1]};
    return Key{(u32)low, (u32)high};
}

// ------------------------------------------------------------- tensor cores, asynchronous copies

#ifndef ON_HOST

// d += a b, for a (16, 16) and b (16, 8) of 16 bits, d (16, 8) of floats; PTX ISA, mma.m16n8k16.
__device__ __forceinline__ void mma_16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d += a b, for a (16, 8) and b (8, 8) of TF32 (floats of which 10 bits count); mma.m16n8k8.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// A float rounded to TF32, as its bits.
__device__ __forceinline__ u32 to_tf32(float x) {
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// Four matrices (8, 8) of 16 bits from shared memory, as `mma_16` takes them; lane i gives where
// row i % 8 of matrix i / 8 begins.
__device__ __forceinline__ void ldmatrix(u32 (&r)[4], const void* row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_transposed(u32 (&r)[4], const void* row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// 16 bytes to shared memory, meanwhile; zeros unless `there`. `copies_begun` ends a set of them,
// `wait_for_copies<n>` waits until at most n sets are under way.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
    u32 at = (u32)__cvta_generic_to_shared(to);
    int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void copies_begun() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#endif
