// Sums of columns for each group of rows: the gradients of biases that groups have for themselves.

// sums[g] (d,) = those of the rows of group g of x (rows, d), which begin at offsets[g] * each. A
// block has 32 columns, each of which 8 threads add up, and then one, in order. Without rows a group
// keeps what it has.
extern "C" __global__ void __launch_bounds__(256) sums_of_groups(
    T* const* sums, const T* x, const i64* offsets, i64 each, i64 d
) {
    typedef typename Wide<T>::type A;
    __shared__ A box[8][WARP];
    const i64 g = blockIdx.y, column = (i64)blockIdx.x * WARP + threadIdx.x % WARP;
    const int part = threadIdx.x / WARP;
    const i64 first = offsets[g] * each, stop = offsets[g + 1] * each;
    A total = 0;
    if (column < d)
        for (i64 row = first + part; row < stop; row += 8) total += wide(x[row * d + column]);
    box[part][threadIdx.x % WARP] = total;
    __syncthreads();
    if (part == 0 && column < d && first < stop) {
        for (int i = 1; i < 8; i++) total += box[i][threadIdx.x];
        sums[g][column] = narrow<T>(total);
    }
}
