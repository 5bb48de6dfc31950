// How many ids are not the ignored one: each block counts a part of them.

extern "C" __global__ void __launch_bounds__(256) count_of(
    i64* counts, const IDS* ids, i64 n, i64 ignored
) {
    __shared__ int box[WARP];
    const i64 step = (i64)gridDim.x * 256;
    int count = 0;
#pragma unroll 4
    for (i64 i = (i64)blockIdx.x * 256 + threadIdx.x; i < n; i += step) count += ids[i] != ignored;
    count = block_sum(count, box);
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

typedef Wide<T>::type A;

// y is the sum of the counts, or `none` if that is 0.
extern "C" __global__ void __launch_bounds__(256) total_of(
    T* y, const i64* counts, i64 n, double none
) {
    __shared__ i64 box[WARP];
    i64 count = 0;
    for (i64 i = threadIdx.x; i < n; i += 256) count += counts[i];
    count = block_sum(count, box);
    if (threadIdx.x == 0) *y = narrow<T>(count ? A(count) : A(none));
}
