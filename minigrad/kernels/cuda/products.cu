// Matrix products that cuBLAS does not do: of what lies anywhere, and of groups of rows; and what
// follows a product of its.
//
// A block computes 64 x 64 numbers of c, each of its 256 threads 4 x 4, from pieces of a and b of 16
// along k that lie in shared memory. Sums run along k in order.

#define TILE 64
#define DEPTH 16
#define PITCH (TILE + 4)

typedef typename Wide<T>::type A;

// ---------------------------------------------------------------------------------- one tile

// sums += a (rows, k) @ b (k, columns), of which at most a tile; steps are in elements. `FLIP_A`
// and `FLIP_B` tell along which axis neighbours lie, so that a warp reads neighbours.
__device__ __forceinline__ void multiply(
    A (&sums)[4][4], A* left, A* right, const T* a, i64 a_m, i64 a_k, i64 rows, const T* b,
    i64 b_k, i64 b_n, i64 columns, i64 k
) {
    const int EACH = TILE * DEPTH / 256;
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    A next_a[EACH], next_b[EACH];  // the next pieces are on their way while these are multiplied
    for (i64 start = -DEPTH; start < k; start += DEPTH) {
        if (start >= 0) {
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                int at = threadIdx.x + 256 * j;
                int row = FLIP_A ? at % TILE : at / DEPTH, x = FLIP_A ? at / TILE : at % DEPTH;
                int column = FLIP_B ? at / DEPTH : at % TILE, z = FLIP_B ? at % DEPTH : at / TILE;
                left[x * PITCH + row] = next_a[j];
                right[z * PITCH + column] = next_b[j];
            }
        }
        __syncthreads();
        i64 from = start + DEPTH;
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int at = threadIdx.x + 256 * j;
            int row = FLIP_A ? at % TILE : at / DEPTH, x = FLIP_A ? at / TILE : at % DEPTH;
            int column = FLIP_B ? at / DEPTH : at % TILE, z = FLIP_B ? at % DEPTH : at / TILE;
            bool there = row < rows && from + x < k;
            next_a[j] = there ? wide(a[row * a_m + (from + x) * a_k]) : A(0);
            there = column < columns && from + z < k;
            next_b[j] = there ? wide(b[(from + z) * b_k + column * b_n]) : A(0);
        }
        if (start < 0) continue;
#pragma unroll
        for (int x = 0; x < DEPTH; x++) {
            A u[4], v[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u[i] = left[x * PITCH + ty + 16 * i];
                v[i] = right[x * PITCH + tx + 16 * i];
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] += u[i] * v[j];
        }
        __syncthreads();
    }
}

// c = sums (+ what is there) (+ bias), perhaps relu of it.
__device__ __forceinline__ void keep(
    const A (&sums)[4][4], T* c, i64 ldc, const T* bias, i64 rows, i64 columns, bool add, bool relu
) {
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = ty + 16 * i, column = tx + 16 * j;
            if (row < rows && column < columns) {
                A y = sums[i][j];
                T* to = c + row * ldc + column;
                if (add) y += wide(*to);
                if (bias) y += wide(bias[column]);
                *to = narrow<T>(relu && y <= A(0) ? A(0) : y);
            }
        }
    }
}

// sums[i] = the sum of row i of a (rows, k), of at most a tile of rows: four threads for each, of
// which each adds up a quarter, in order.
__device__ __forceinline__ void add_up_rows(
    T* sums, A* box, const T* a, i64 a_m, i64 a_k, i64 rows, i64 k
) {
    int row = threadIdx.x % TILE, part = threadIdx.x / TILE;
    i64 each = (k + 3) / 4, stop = (part + 1) * each < k ? (part + 1) * each : k;
    A total = 0;
    if (row < rows)
        for (i64 x = part * each; x < stop; x++) total += wide(a[row * a_m + x * a_k]);
    box[threadIdx.x] = total;
    __syncthreads();
    if (part == 0 && row < rows)
        sums[row] = narrow<T>(box[row] + box[row + TILE] + (box[row + 2 * TILE] + box[row + 3 * TILE]));
    __syncthreads();
}

// --------------------------------------------------------------------- of many arrays at once

// Of each problem five places: where c, a, b, a bias and sums lie (0: there are none); and seven
// words: m, n, k, elements between rows of a and b, whether relu follows, and its first tile.
// c = a @ b (+ bias), all of them as FLIP_A and FLIP_B say; sums (m,) are those of the rows of a.
extern "C" __global__ void products_together(T* const* places, const i64* words, i64 count) {
    __shared__ A left[DEPTH * PITCH], right[DEPTH * PITCH];
    i64 low = 0, high = count;
    while (high - low > 1) {
        i64 middle = (low + high) / 2;
        if (words[7 * middle + 6] <= blockIdx.x) low = middle;
        else high = middle;
    }
    T* const* p = places + 5 * low;
    const i64* w = words + 7 * low;
    const T *a = p[1], *b = p[2], *bias = p[3];
    i64 m = w[0], n = w[1], k = w[2], lda = w[3], ldb = w[4], tile = blockIdx.x - w[6];
    i64 across = (n + TILE - 1) / TILE, i = tile / across * TILE, j = tile % across * TILE;
    i64 a_m = FLIP_A ? 1 : lda, a_k = FLIP_A ? lda : 1, b_k = FLIP_B ? 1 : ldb, b_n = FLIP_B ? ldb : 1;
    A sums[4][4] = {};
    multiply(sums, left, right, a + i * a_m, a_m, a_k, m - i, b + j * b_n, b_k, b_n, n - j, k);
    keep(sums, p[0] + i * n + j, n, bias ? bias + j : bias, m - i, n - j, false, w[5] != 0);
    if (p[4] && j == 0) add_up_rows(p[4] + i, left, a + i * a_m, a_m, a_k, m - i, k);
}

// ---------------------------------------------------------------------------- of whole arrays

// c (.., m, n) = a @ b, where steps may be anything; `l0 l1 l2` are lengths of the axes before the
// last two, `a0 a1 a2` steps along them.
extern "C" __global__ void strided_product(
    T* c, const T* a, const T* b, i64 m, i64 n, i64 k, i64 a_m, i64 a_k, i64 b_k, i64 b_n,
    i64 l0, i64 l1, i64 l2, i64 c0, i64 c1, i64 c2, i64 a0, i64 a1, i64 a2, i64 b0, i64 b1, i64 b2
) {
    __shared__ A left[DEPTH * PITCH], right[DEPTH * PITCH];
    i64 across = (n + TILE - 1) / TILE, tiles = (m + TILE - 1) / TILE * across;
    for (i64 t = blockIdx.x; t < tiles * l0 * l1 * l2; t += gridDim.x) {
        i64 i = t % tiles / across * TILE, j = t % across * TILE, batch = t / tiles;
        i64 x2 = batch % l2, x1 = batch / l2 % l1, x0 = batch / l2 / l1;
        A sums[4][4] = {};
        multiply(
            sums, left, right, a + x0 * a0 + x1 * a1 + x2 * a2 + i * a_m, a_m, a_k, m - i,
            b + x0 * b0 + x1 * b1 + x2 * b2 + j * b_n, b_k, b_n, n - j, k
        );
        keep(
            sums, c + x0 * c0 + x1 * c1 + x2 * c2 + i * n + j, n, (const T*)0, m - i, n - j, false,
            false
        );
    }
}

// Rows of n elements += bias, or each its own number of it; perhaps relu of it. `FRESH`: there is
// nothing yet. `I` is an integer that counts them all.
extern "C" __global__ void finish(T* c, const T* bias, i64 rows, i64 n) {
    const int N = VECTOR ? Pack<T>::N : 1;
    I packs = (I)(n / N), all = (I)rows * packs;
    for (I i = blockIdx.x * (I)blockDim.x + threadIdx.x; i < all; i += (I)gridDim.x * blockDim.x) {
        I row = i / packs, j = (i - row * packs) * N;
        T* to = c + (i64)i * N;
#if VECTOR
        Pack<T> y, shift;
        if (!FRESH) y = load(to);
        if (bias && !BY_ROW) shift = load(bias + j);
#pragma unroll
        for (int x = 0; x < N; x++) {
            A z = FRESH ? A(0) : wide(y.x[x]);
            if (bias) z += wide(BY_ROW ? bias[row] : shift.x[x]);
            y.x[x] = narrow<T>(RELU && z <= A(0) ? A(0) : z);
        }
        store(to, y);
#else
        A z = FRESH ? A(0) : wide(*to);
        if (bias) z += wide(bias[BY_ROW ? row : j]);
        *to = narrow<T>(RELU && z <= A(0) ? A(0) : z);
#endif
    }
}

// --------------------------------------------------------------------------- of groups of rows

// The rows of group g begin at offsets[g] * each. Each group's b and bias lie where tables say.
// For ids of groups in any order, where the rows of each would begin if they were sorted: a block
// for each group counts the ids that are smaller.
extern "C" __global__ void offsets_of(i64* offsets, const i64* ids, i64 rows) {
    __shared__ i64 box[WARP];
    i64 count = 0;
    for (i64 i = threadIdx.x; i < rows; i += blockDim.x) count += ids[i] < (i64)blockIdx.x;
    count = block_sum(count, box);
    if (threadIdx.x == 0) offsets[blockIdx.x] = count;
}

// c = a @ b of the row's group. A block takes a tile of one group: there are at most
// rows / 64 + groups of these; the first ones are those of group 0, and so on.
extern "C" __global__ void product_by_group(
    T* c, const T* a, i64 a_m, i64 a_k, const T* const* b, i64 b_k, i64 b_n,
    const T* const* bias, const i64* offsets, i64 groups, i64 each, i64 n, i64 k, bool add,
    bool relu
) {
    __shared__ A left[DEPTH * PITCH], right[DEPTH * PITCH];
    i64 tile = blockIdx.x, j = (i64)blockIdx.y * TILE;
    for (i64 g = 0; g < groups; g++) {
        i64 first = offsets[g] * each, rows = offsets[g + 1] * each - first;
        i64 tiles = (rows + TILE - 1) / TILE;
        if (tile >= 0 && tile < tiles) {
            i64 i = first + tile * TILE, left_over = rows - tile * TILE;
            A sums[4][4] = {};
            multiply(
                sums, left, right, a + i * a_m, a_m, a_k, left_over, b[g] + j * b_n, b_k,
                b_n, n - j, k
            );
            keep(
                sums, c + i * n + j, n, bias ? bias[g] + j : (const T*)0, left_over,
                n - j, add, relu
            );
        }
        tile -= tiles;
    }
}

// For each group that has rows, its c (m, n) = the rows of a, transposed, @ those of b.
extern "C" __global__ void products_of_groups(
    T* const* c, const T* a, i64 lda, const T* b, i64 ldb, const i64* offsets, i64 each, i64 m,
    i64 n
) {
    __shared__ A left[DEPTH * PITCH], right[DEPTH * PITCH];
    i64 g = blockIdx.z, i = (i64)blockIdx.y * TILE, j = (i64)blockIdx.x * TILE;
    i64 first = offsets[g] * each, rows = offsets[g + 1] * each - first;
    if (rows > 0) {
        A sums[4][4] = {};
        multiply(
            sums, left, right, a + first * lda + i, 1, lda, m - i, b + first * ldb + j, ldb, 1,
            n - j, rows
        );
        keep(sums, c[g] + i * n + j, n, (const T*)0, m - i, n - j, false, false);
    }
}
