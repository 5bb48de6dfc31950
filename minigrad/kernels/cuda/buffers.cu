// Many arrays in one launch: their norm, and copies into one buffer. The kernels that tell which
// array a block has are made by `updates.py`; a block takes CHUNK elements of one.

#define CHUNK 16384

// In double, where the square of no float overflows; and what is 0 unless x is infinite or NaN.
struct Square { static __device__ __forceinline__ double of(double x) { return x * x; } };
struct Zero { static __device__ __forceinline__ double of(double x) { return x - x; } };

// The sum of F of a block's share.
template <typename F, typename T>
__device__ __forceinline__ double sum_of(const T* x, i64 n, i64 block) {
    const int N = Pack<T>::N;
    i64 start = block * CHUNK, stop = start + CHUNK < n ? start + CHUNK : n;
    double s = 0;
    if ((u64)x % 16 == 0) {
        i64 whole = start + (stop - start) / N * N;
        for (i64 i = start + threadIdx.x * N; i < whole; i += blockDim.x * N) {
            Pack<T> pack = load(x + i);
#pragma unroll
            for (int e = 0; e < N; e++) s += F::of(wide(pack.x[e]));
        }
        start = whole;
    }
    for (i64 i = start + threadIdx.x; i < stop; i += blockDim.x) s += F::of(wide(x[i]));
    return s;
}

// y = x * factor, a block's share.
template <typename Y, typename X>
__device__ __forceinline__ void copy_of(Y* y, const X* x, i64 n, i64 block,
                                        typename Wide<Y>::type factor) {
    const int NX = Pack<X>::N, NY = Pack<Y>::N, N = NX > NY ? NX : NY;
    i64 start = block * CHUNK, stop = start + CHUNK < n ? start + CHUNK : n;
    if (((u64)x | (u64)y) % 16 == 0) {
        i64 whole = start + (stop - start) / N * N;
        for (i64 i = start + threadIdx.x * N; i < whole; i += blockDim.x * N) {
            Pack<X> from[N / NX];
            Pack<Y> to[N / NY];
#pragma unroll
            for (int q = 0; q < N / NX; q++) from[q] = load(x + i + q * NX);
#pragma unroll
            for (int e = 0; e < N; e++)
                to[e / NY].x[e % NY] = narrow<Y>(wide(from[e / NX].x[e % NX]) * factor);
#pragma unroll
            for (int q = 0; q < N / NY; q++) store(y + i + q * NY, to[q]);
        }
        start = whole;
    }
    for (i64 i = start + threadIdx.x; i < stop; i += blockDim.x)
        y[i] = narrow<Y>(wide(x[i]) * factor);
}

// The norm, and what gradients are multiplied by so that it is at most `most`: 1 if it is not
// finite. One block.
template <typename F>
__device__ __forceinline__ void norm_of(double* norm, F* factor, const double* parts, i64 count,
                                        double most) {
    __shared__ double box[WARP];
    double s = 0;
    for (i64 i = threadIdx.x; i < count; i += blockDim.x) s += parts[i];
    s = sqrt(block_sum(s, box));
    if (threadIdx.x == 0) {
        *norm = s;
        *factor = s > most && s - s == 0 ? F(most / s) : F(1);
    }
}

extern "C" __global__ void clip_float(double* norm, float* factor, const double* parts, i64 count,
                                      double most) {
    norm_of(norm, factor, parts, count, most);
}

extern "C" __global__ void clip_double(double* norm, double* factor, const double* parts,
                                       i64 count, double most) {
    norm_of(norm, factor, parts, count, most);
}

// Whether a part is not 0: something was infinite or NaN. One block.
extern "C" __global__ void lost(bool* y, const double* parts, i64 count) {
    __shared__ double box[WARP];
    double s = 0;
    for (i64 i = threadIdx.x; i < count; i += blockDim.x) s += parts[i];
    s = block_sum(s, box);
    if (threadIdx.x == 0) *y = !(s == 0);
}

extern "C" __global__ void leave_out(const bool* skip, i64* late) {
    if (threadIdx.x == 0 && *skip) ++*late;
}
