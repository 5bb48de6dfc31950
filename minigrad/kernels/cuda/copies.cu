// A copy that swaps axes, through tiles of shared memory, so that both sides are read and written
// along their rows. E is a type of an element's size.

#define SIDE 32

// y[o][i][.][j] = x[o][j][.][i] in any order of axes: `i` (of m) is where x lies side by side, `j`
// (of n) where y does; the others, of up to 4 axes, are numbered by the third index of the grid.
extern "C" __global__ void transpose(E* y, const E* x, i64 m, i64 n, i64 x_j, i64 y_i, i64 l1,
                                     i64 l2, i64 l3, i64 y_0, i64 y_1, i64 y_2, i64 y_3, i64 x_0,
                                     i64 x_1, i64 x_2, i64 x_3, i64 planes) {
    __shared__ E box[SIDE][SIDE + 1];
    const i64 tiles = (m + SIDE - 1) / SIDE;
    const i64 i0 = (blockIdx.x % tiles) * SIDE, j0 = (blockIdx.x / tiles) * SIDE;
    for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        i64 rest = plane;
        const i64 c3 = rest % l3;
        rest /= l3;
        const i64 c2 = rest % l2;
        rest /= l2;
        const i64 c1 = rest % l1, c0 = rest / l1;
        const E* from = x + c0 * x_0 + c1 * x_1 + c2 * x_2 + c3 * x_3;
        E* to = y + c0 * y_0 + c1 * y_1 + c2 * y_2 + c3 * y_3;
#pragma unroll
        for (int k = threadIdx.y; k < SIDE; k += 8)
            if (j0 + k < n && i0 + threadIdx.x < m)
                box[k][threadIdx.x] = from[(j0 + k) * x_j + i0 + threadIdx.x];
        __syncthreads();
#pragma unroll
        for (int k = threadIdx.y; k < SIDE; k += 8)
            if (i0 + k < m && j0 + threadIdx.x < n)
                to[(i0 + k) * y_i + j0 + threadIdx.x] = box[threadIdx.x][k];
        __syncthreads();
    }
}
