// Random numbers of a key, as `minigrad.random` draws them. T is what comes out, A what it is computed
// in; DRAW is UNIFORM, NORMAL or INTEGERS.

#define UNIFORM 1
#define NORMAL 2
#define INTEGERS 3

// A block of Philox gives PER elements.
#define PER (DRAW == UNIFORM && sizeof(T) == 4 ? 4 : 2)

struct Range { double scale, shift; i64 span, first; };

// 53 bits, in [0, 1).
__device__ __forceinline__ double unit(u32 low, u32 high) {
    return (double)((u64)high << 21 | low >> 11) * 1.1102230246251565e-16;
}

__device__ __forceinline__ void draw_some(const Words& w, const Range& r, float* x) {
#if DRAW == UNIFORM
#pragma unroll
    for (int e = 0; e < 4; e++) {
        const float u = (float)(w.x[e] >> 8) * 5.9604644775390625e-8f;
        x[e] = __fadd_rn(__fmul_rn(u, (float)r.scale), (float)r.shift);
    }
#endif
}

__device__ __forceinline__ void draw_some(const Words& w, const Range& r, i64* x) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
        const u64 low = w.x[2 * e], high = w.x[2 * e + 1], span = r.span;
        x[e] = (i64)((high * span + (low * span >> 32)) >> 32) + r.first;
    }
}

__device__ __forceinline__ void draw_some(const Words& w, const Range& r, double* x) {
    const double u = unit(w.x[0], w.x[1]), v = unit(w.x[2], w.x[3]);
#if DRAW == UNIFORM
    x[0] = __dadd_rn(__dmul_rn(u, r.scale), r.shift);
    x[1] = __dadd_rn(__dmul_rn(v, r.scale), r.shift);
#else  // a point of the plane, whose coordinates are normal
    double s, c;
    sincospi(2 * v, &s, &c);
    const double radius = sqrt(-2 * log(1 - u));
    x[0] = radius * c * r.scale + r.shift;
    x[1] = radius * s * r.scale + r.shift;
#endif
}

// y (n,) of a key. A thread has 16 bytes, and whole blocks of words.
extern "C" __global__ void draw(T* y, i64 n, const i64* key, i64 low, i64 high, double scale,
                                double shift, i64 span, i64 first) {
    const int N = Pack<T>::N;
    const Key k = key_of(key, low, high);
    const Range range = {scale, shift, span, first};
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (i >= n) return;
    Pack<T> pack;
#pragma unroll
    for (int q = 0; q < N / PER; q++) {
        A x[PER];
        draw_some(philox(k.low, k.high, i / PER + q), range, x);
#pragma unroll
        for (int e = 0; e < PER; e++) pack.x[q * PER + e] = (T)x[e];
    }
    if (PACKED && i + N <= n) {
        store(y + i, pack);
    } else {
#pragma unroll
        for (int e = 0; e < N; e++)
            if (i + e < n) y[i + e] = pack.x[e];
    }
}
