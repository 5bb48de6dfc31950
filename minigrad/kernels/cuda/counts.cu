// How many ids are not the ignored one, or `none` if that is 0: one block writes y; of several, each
// counts a part of the ids, and `total_of` makes y of the counts.

typedef Wide<T>::type A;

__device__ __forceinline__ T counted(i64 count, double none) {
    return narrow<T>(count ? A(count) : A(none));
}

extern "C" __global__ void __launch_bounds__(1024) count_of(
    T* y, i64* counts, const IDS* ids, i64 n, i64 ignored, double none
) {
    __shared__ int box[WARP];
    const i64 step = (i64)gridDim.x * 1024;
    int count = 0;
#pragma unroll 8
    for (i64 i = (i64)blockIdx.x * 1024 + threadIdx.x; i < n; i += step) count += ids[i] != ignored;
    count = block_sum(count, box);
    if (threadIdx.x) return;
    if (gridDim.x == 1)
        *y = counted(count, none);
    else
        counts[blockIdx.x] = count;
}

extern "C" __global__ void __launch_bounds__(256) total_of(
    T* y, const i64* counts, i64 n, double none
) {
    __shared__ i64 box[WARP];
    i64 count = 0;
    for (i64 i = threadIdx.x; i < n; i += 256) count += counts[i];
    count = block_sum(count, box);
    if (threadIdx.x == 0) *y = counted(count, none);
}
