// Softmax along rows. A row that is all -inf gives zeros.

extern "C" __global__ void softmax_rows(T* y, const T* x, i64 rows, i64 d) {
    typedef typename Wide<T>::type A;
    __shared__ A box[WARP], other[WARP];
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const T* from = x + row * d;
        T* to = y + row * d;
        A m = minus_infinity<A>();
        for (i64 j = threadIdx.x; j < d; j += blockDim.x) m = larger(m, wide(from[j]));
        m = block_max(m, box);
        A total = 0;
        for (i64 j = threadIdx.x; j < d; j += blockDim.x) total += exp(wide(from[j]) - m);
        total = block_sum(total, other);
        A scale = m == minus_infinity<A>() ? A(0) : A(1) / total;
        for (i64 j = threadIdx.x; j < d; j += blockDim.x)
            to[j] = narrow<T>(scale == A(0) ? A(0) : exp(wide(from[j]) - m) * scale);
        __syncthreads();
    }
}
