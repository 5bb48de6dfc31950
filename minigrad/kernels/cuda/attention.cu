// Attention without a matrix of scores in memory, forward and backward.
//
// A block has a few queries of one head (or keys, for the gradients of keys and values), 16 M of
// them for each of its warps, and takes the other side tile by tile, N at a time, through a ring of
// two places in shared memory: while one tile is computed with, the next one comes.
//
// All products leave their results as the tensor cores do: of each tile (16, 8) a lane has
//
//     [0] [1]   row lane / 4,       columns lane % 4 * 2 and the next one
//     [2] [3]   the row 8 below
//
// so that weights can be multiplied again where they are. There are two kinds of products, and each
// is written twice: for tensor cores (`CORES`: 16 bits, or 32 for float as TF32), and by multiplying
// and adding (0), for float and double. All the rest is the same text.
//
// Forward, an online softmax: `top` is the greatest score so far, and what was summed is faded by
// exp(old - new) when it grows (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2307.08691).
// Backward, p is computed again: one kernel for queries, which finds top, one over the sum and
// dot = sum(p * dp) of its rows first and writes them down for the second one, for keys and values.
//
//     dp = g @ v.T      ds = p * (dp - dot)      dq = ds @ k      dk = ds.T @ q      dv = p.T @ g
//
// Defined by the host: T, CORES, DIM and VDIM (features of a head of keys and of values, up to a
// multiple of 16), KERNEL (0 to 2, which of three), WARPS, M, N, MASK (1: of booleans, 2: of floats),
// CAUSAL, DROPS, ALIGNED, KEPT.

typedef typename Wide<T>::type A;

constexpr int THREADS = WARPS * WARP, ROWS = WARPS * 16 * M;
constexpr int CHUNK = 16 / sizeof(T);  // elements of one copy
// Rows in shared memory are one chunk longer: so eight of them begin in different banks.
constexpr int Q_ROW = DIM + CHUNK, V_ROW = VDIM + CHUNK;

struct alignas(2 * sizeof(T)) Two { T x, y; };  // neighbours

#define UNROLL _Pragma("unroll")
#define ROLL _Pragma("unroll 1")
#define EACH(m, i, n, count) \
    UNROLL for (int n = 0; n < count; n++) UNROLL for (int m = 0; m < M; m++) \
        UNROLL for (int i = 0; i < 4; i++)

// A product of `count` tiles side by side, for each of the warp's M tiles of 16 rows.
#define TILES(name, width) A name[M][width / 8][4]

template <int W> __device__ __forceinline__ void clear(TILES((&c), W)) {
    EACH(m, i, n, W / 8) c[m][n][i] = 0;
}

// Of element i of the tiles (m, n), in the warp's rows.
__device__ __forceinline__ int row_of(int m, int i) {
    return 16 * m + threadIdx.x % WARP / 4 + i / 2 * 8;
}

__device__ __forceinline__ int column_of(int n, int i) {
    return 8 * n + threadIdx.x % 4 * 2 + i % 2;
}

// ---------------------------------------------------------------------------------- products

#if CORES

constexpr int STEP = 32 / sizeof(T);  // what one instruction sums over

__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    u32 b[2] = {b0, b1};
#if CORES == 16
    mma_16(d, a, b, T());
#else
    mma_tf32(d, a, b);
#endif
}

template <int COUNT> __device__ __forceinline__ void round_to_tf32(u32 (&x)[COUNT]) {
#if CORES == 32
    UNROLL for (int i = 0; i < COUNT; i++) x[i] = to_tf32(__uint_as_float(x[i]));
#endif
}

// c (16 M, W) += a (16 M, K) @ b (W, K).T, both in shared memory, rows of K and a chunk.
template <int W, int K>
__device__ __forceinline__ void add_scores(TILES((&c), W), const T* a, const T* b) {
    constexpr int ROW = K + CHUNK;
    int lane = threadIdx.x % WARP;
    a += lane % 16 * ROW + lane / 16 * (STEP / 2);
    b += (lane % 8 + lane / 16 * 8) * ROW + lane / 8 % 2 * (STEP / 2);
    UNROLL for (int k = 0; k < K; k += STEP) {
        u32 x[M][4];
        UNROLL for (int m = 0; m < M; m++) {
            ldmatrix(x[m], a + 16 * m * ROW + k);
            round_to_tf32(x[m]);
        }
        UNROLL for (int n = 0; n < W / 8; n += 2) {
            u32 y[4];
            ldmatrix(y, b + 8 * n * ROW + k);
            round_to_tf32(y);
            UNROLL for (int m = 0; m < M; m++) {
                multiply(c[m][n], x[m], y[0], y[1]);
                multiply(c[m][n + 1], x[m], y[2], y[3]);
            }
        }
    }
}

// c (16 M, W) += p (16 M, K) @ b (K, W), b in shared memory.
template <int W, int K>
__device__ __forceinline__ void add_product(TILES((&c), W), TILES((&p), K), const T* b) {
    constexpr int ROW = W + CHUNK;
    int lane = threadIdx.x % WARP;
    UNROLL for (int k = 0; k < K; k += STEP) {
        u32 x[M][4];
#if CORES == 16
        UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++) {
            A* from = p[m][k / 8 + i / 2] + i % 2 * 2;
            x[m][i] = narrow_two<T>(from[0], from[1]);
        }
        UNROLL for (int n = 0; n < W / 8; n += 2) {
            u32 y[4];
            ldmatrix_transposed(y, b + (k + lane % 16) * ROW + 8 * n + lane / 16 * 8);
            UNROLL for (int m = 0; m < M; m++) {
                multiply(c[m][n], x[m], y[0], y[1]);
                multiply(c[m][n + 1], x[m], y[2], y[3]);
            }
        }
#else
        // A lane has columns 2 t and 2 t + 1, where the instruction wants t and t + 4. In a sum
        // any order will do, if rows of b are taken in the same one.
        UNROLL for (int m = 0; m < M; m++) {
            A(&from)[4] = p[m][k / 8];
            x[m][0] = to_tf32(from[0]), x[m][1] = to_tf32(from[2]);
            x[m][2] = to_tf32(from[1]), x[m][3] = to_tf32(from[3]);
        }
        const T* at = b + (k + lane % 4 * 2) * ROW + lane / 4;
        UNROLL for (int n = 0; n < W / 8; n++) {
            u32 y0 = to_tf32(at[8 * n]), y1 = to_tf32(at[8 * n + ROW]);
            UNROLL for (int m = 0; m < M; m++) multiply(c[m][n], x[m], y0, y1);
        }
#endif
    }
}

#else

template <int W, int K>
__device__ __forceinline__ void add_scores(TILES((&c), W), const T* a, const T* b) {
    constexpr int ROW = K + CHUNK;
    a += row_of(0, 0) * ROW;
    b += column_of(0, 0) * ROW;
    ROLL for (int k = 0; k < K; k += CHUNK) {
        Pack<T> x[M][2];
        UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++)
            x[m][i] = load(a + (16 * m + 8 * i) * ROW + k);
        UNROLL for (int n = 0; n < W / 8; n++) {
            Pack<T> y[2] = {load(b + 8 * n * ROW + k), load(b + (8 * n + 1) * ROW + k)};
            UNROLL for (int j = 0; j < CHUNK; j++)
                UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++)
                    c[m][n][i] += x[m][i / 2].x[j] * y[i % 2].x[j];
        }
    }
}

template <int W, int K>
__device__ __forceinline__ void add_product(TILES((&c), W), TILES((&p), K), const T* b) {
    constexpr int ROW = W + CHUNK;
    int first = threadIdx.x % WARP / 4 * 4;  // of the four lanes that have these rows
    b += column_of(0, 0);
    UNROLL for (int k = 0; k < K; k++) {
        A x[M][2];
        UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++)
            x[m][i] = __shfl_sync(ALL, p[m][k / 8][2 * i + k % 2], first + k % 8 / 2);
        UNROLL for (int n = 0; n < W / 8; n++) {
            Two y = *(const Two*)(b + k * ROW + 8 * n);
            UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++)
                c[m][n][i] += x[m][i / 2] * (i % 2 ? y.y : y.x);
        }
    }
}

#endif

// --------------------------------------------------------------------------- what is computed

// Steps are in elements; heads lie side by side in rows.
#define GIVEN \
    const T *q, const T *k, const T *v, const void *mask, i64 heads, i64 queries, i64 keys, i64 d, \
    i64 e, i64 q_batch, i64 q_row, i64 k_batch, i64 k_row, i64 v_batch, i64 v_row, \
    i64 mask_batch, i64 mask_head, i64 mask_query, i64 mask_key, double scale, const i64 *key, \
    i64 key_low, i64 key_high, i64 limit, double factor

// One head of one sample.
struct Head {
    const T *q, *k, *v;
    int queries, keys, d, e;
    i64 q_row, k_row, v_row;
    const void* mask;
    i64 mask_query, mask_key;
    A scale, factor;  // on scores in `UNIT`s; on weights that dropout keeps
    Key key;
    u32 limit;
    u64 first;  // number of its first weight among those of all heads
};

#if CORES  // scores are powers of 2, for which there is an instruction
#define UNIT A(1.4426950408889634)
__device__ __forceinline__ A power(A x) { return exp2f(x); }
#else
#define UNIT A(1)
__device__ __forceinline__ A power(A x) { return exp(x); }
#endif

#define HEAD(sample, head) \
    { \
        q + sample * q_batch + head * d, k + sample * k_batch + head * d, \
        v + sample * v_batch + head * e, (int)queries, (int)keys, (int)d, (int)e, q_row, k_row, \
        v_row, masked(mask, sample * mask_batch + head * mask_head), mask_query, mask_key, \
        A(scale) * UNIT, A(factor), key_of(key, key_low, key_high), (u32)limit, \
        (u64)place.head * (u64)queries * (u64)keys \
    }

#if MASK == 2
typedef T Masking;
#else
typedef u8 Masking;
#endif

__device__ __forceinline__ const void* masked(const void* mask, i64 at) {
    return (const Masking*)mask + at;
}

// COUNT rows of x to shared memory, those from `there` on and columns from d on as zeros.
template <int COUNT, int WIDTH>
__device__ __forceinline__ void bring(T* to, const T* x, i64 step, int there, int d) {
    constexpr int ROW = WIDTH + CHUNK;
#if ALIGNED
    constexpr int PARTS = WIDTH / CHUNK;
    ROLL for (int i = threadIdx.x; i < COUNT * PARTS; i += THREADS) {
        int row = i / PARTS, j = i % PARTS * CHUNK;
        bool is = row < there && j < d;
        copy_async(to + row * ROW + j, is ? x + row * step + j : x, is);
    }
#else
    ROLL for (int i = threadIdx.x; i < COUNT * WIDTH; i += THREADS) {
        int row = i / WIDTH, j = i % WIDTH;
        to[row * ROW + j] = row < there && j < d ? x[row * step + j] : narrow<T>(0.0f);
    }
#endif
}

// Of a tile of QUERIES and KEYS which begins at `query` and `key`: in words of 32 keys, which ones
// are seen and which weights dropout keeps.
template <int QUERIES, int KEYS> struct Sight {
    static constexpr int WORDS = (KEYS + 31) / 32;
    static constexpr int SIZE = QUERIES * WORDS;
    u32 *seen, *kept;
    int query, key;
    bool hides;  // whether there are words of what is seen
    bool alike;  // whether there are but those of one query, for all

    // By all threads; there must be a __syncthreads() before words are used, and after.
    __device__ __forceinline__ void look(const Head& h, int query, int key) {
        this->query = query, this->key = key;
        bool edge = key + KEYS > h.keys || (CAUSAL && key + KEYS > query + 1);
        hides = MASK == 1 || edge;
        alike = !h.mask_query && !edge;
        if (hides) ROLL for (int w = 0; w < WORDS; w++) {
            u32 word = ALL;
#if MASK == 1
            int lane = threadIdx.x % WARP, at = key + 32 * w + lane;
            const u8* mask = (const u8*)h.mask + at * h.mask_key;
            if (h.mask_query) {
                ROLL for (int i = threadIdx.x / WARP; i < QUERIES; i += WARPS) {
                    bool is = at < h.keys && query + i < h.queries;
                    word = __ballot_sync(ALL, is && mask[(query + i) * h.mask_query]);
                    if (lane == 0) seen[i * WORDS + w] = word & reach(h, i, w);
                }
                continue;
            }
            word = __ballot_sync(ALL, at < h.keys && mask[0]);
#endif
            ROLL for (int i = threadIdx.x; i < (alike ? 1 : QUERIES); i += THREADS)
                seen[i * WORDS + w] = word & reach(h, i, w);
        }
#if DROPS
        ROLL for (int i = threadIdx.x; i < SIZE; i += THREADS) {
            u64 at = h.first + (u64)(query + i / WORDS) * (u64)h.keys + (key + i % WORDS * 32);
            int before = at % 4;  // words of a counter
            u32 word = 0;
            ROLL for (int j = -before; j < (KEYS < 32 ? KEYS : 32); j += 4) {
                Words words = philox(h.key.low, h.key.high, (at - before) / 4 + (j + before) / 4);
                UNROLL for (int l = 0; l < 4; l++)
                    if (0 <= j + l && j + l < 32 && words.x[l] <= h.limit) word |= 1u << (j + l);
            }
            kept[i] = word;
        }
#endif
    }

    // Of 32 keys those that are there, and not later than query i where that counts.
    __device__ __forceinline__ u32 reach(const Head& h, int i, int w) const {
        int n = h.keys - key;
        if (CAUSAL && query + i + 1 - key < n) n = query + i + 1 - key;
        n -= 32 * w;
        return n >= 32 ? ALL : n <= 0 ? 0 : (1u << n) - 1;
    }

    // The score of query i and key j of the tile, given their product.
    __device__ __forceinline__ A score(A x, const Head& h, int i, int j) const {
        x *= h.scale;
#if MASK == 2
        if (query + i < h.queries && key + j < h.keys) {
            i64 at = (query + i) * h.mask_query + (key + j) * h.mask_key;
            x += wide(((const T*)h.mask)[at]) * UNIT;
        }
#endif
        return x;
    }

    __device__ __forceinline__ bool sees(int i, int j) const {
        return seen[(alike ? 0 : i) * WORDS + j / 32] >> (j % 32) & 1;
    }

    __device__ __forceinline__ bool keeps(int i, int j) const {
        return !DROPS || kept[i * WORDS + j / 32] >> (j % 32) & 1;
    }

    // A weight, or its gradient, after dropout.
    __device__ __forceinline__ A drop(A x, const Head& h, int i, int j) const {
        return !DROPS ? x : keeps(i, j) ? x * h.factor : A(0);
    }
};

__device__ __forceinline__ A of_four(A x, bool greatest) {
    UNROLL for (int i = 1; i < 4; i *= 2) {
        A y = __shfl_xor_sync(ALL, x, i);
        x = greatest ? fmax(x, y) : x + y;
    }
    return x;
}

// The warp's rows, of which there are `rows`, to y, rows `step` apart, of `d` columns.
template <int W>
__device__ __forceinline__ void put(T* y, i64 step, int rows, int d, TILES((&c), W)) {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int n = 0; n < W / 8; n++)
        UNROLL for (int i = 0; i < 4; i += 2) {
            int row = row_of(m, i), j = column_of(n, 0);
            T* to = y + row * step + j;
#if ALIGNED
            if (row < rows && j < d)
                *(Two*)to = Two{narrow<T>(c[m][n][i]), narrow<T>(c[m][n][i + 1])};
#else
            if (row < rows && j < d) to[0] = narrow<T>(c[m][n][i]);
            if (row < rows && j + 1 < d) to[1] = narrow<T>(c[m][n][i + 1]);
#endif
        }
}

// Where a block works: at which head of all samples, and from which of its `rows` on.
struct Place { i64 head; int row; };

__device__ __forceinline__ Place place_of(i64 rows, bool later_first) {
    int tiles = (rows + ROWS - 1) / ROWS, tile = blockIdx.x % tiles;
    if (later_first) tile = tiles - 1 - tile;
    return Place{blockIdx.x / tiles, tile * ROWS};
}

// How many tiles of keys these queries see.
__device__ __forceinline__ int tiles_of_keys(const Head& h, int row) {
    int stop = CAUSAL && row + ROWS < h.keys ? row + ROWS : h.keys;
    return (stop + N - 1) / N;
}

// ----------------------------------------------------------------------------------- kernels

// What weights are computed with again, in `stats` (heads of all samples, 3, `all` rows, of which
// whole tiles of 16 are written): the greatest score of each row, one over the sum, and dot.
__device__ __forceinline__ A* stats_at(A* stats, i64 head, i64 all, int row) {
    return stats + head * 3 * all + row;
}

#if KERNEL == 0

// y, and the first two of `stats` unless that is null.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention(T* y, A* stats, i64 all, GIVEN) {
    DYNAMIC_SHARED(memory);
    T *queries_of = (T*)memory, *keys_of = queries_of + ROWS * Q_ROW;
    T* values_of = keys_of + 2 * N * Q_ROW;
    Sight<ROWS, N> sight;
    sight.seen = (u32*)(values_of + 2 * N * V_ROW), sight.kept = sight.seen + sight.SIZE;
    Place place = place_of(queries, CAUSAL);  // for later ones see more keys
    i64 sample = place.head / heads, head = place.head % heads;
    Head h = HEAD(sample, head);
    int row = place.row, mine = threadIdx.x / WARP * 16 * M, tiles = tiles_of_keys(h, row);

    auto fetch = [&](int tile) {
        int at = tile * N, slot = tile % 2 * N;
        bring<N, DIM>(keys_of + slot * Q_ROW, h.k + at * h.k_row, h.k_row, h.keys - at, h.d);
        bring<N, VDIM>(values_of + slot * V_ROW, h.v + at * h.v_row, h.v_row, h.keys - at, h.e);
    };
    bring<ROWS, DIM>(queries_of, h.q + row * h.q_row, h.q_row, h.queries - row, h.d);
    fetch(0);
    copies_begun();

    TILES(out, VDIM);
    clear<VDIM>(out);
    A top[M][2], total[M][2];
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++)
        top[m][i] = minus_infinity<A>(), total[m][i] = 0;

    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) fetch(tile + 1);
        copies_begun();
        sight.look(h, row, tile * N);
        wait_for_copies<1>();
        __syncthreads();
        TILES(p, N);
        clear<N>(p);
        add_scores<N, DIM>(p, queries_of + mine * Q_ROW, keys_of + tile % 2 * N * Q_ROW);
        EACH(m, i, n, N / 8)
            p[m][n][i] = sight.score(p[m][n][i], h, mine + row_of(m, i), column_of(n, i));
        if (sight.hides)
            EACH(m, i, n, N / 8)
                if (!sight.sees(mine + row_of(m, i), column_of(n, i)))
                    p[m][n][i] = minus_infinity<A>();
        UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++) {
            A high = top[m][i];
            UNROLL for (int n = 0; n < N / 8; n++)
                high = fmax(high, fmax(p[m][n][2 * i], p[m][n][2 * i + 1]));
            high = of_four(high, true);
            A shift = high == minus_infinity<A>() ? A(0) : high, fade = power(top[m][i] - shift);
            top[m][i] = high;
            total[m][i] *= fade;
            UNROLL for (int n = 0; n < N / 8; n++) UNROLL for (int j = 2 * i; j < 2 * i + 2; j++) {
                A x = power(p[m][n][j] - shift);
                total[m][i] += x;
                p[m][n][j] = sight.keeps(mine + row_of(m, j), column_of(n, j)) ? x : A(0);
            }
            UNROLL for (int n = 0; n < VDIM / 8; n++)
                out[m][n][2 * i] *= fade, out[m][n][2 * i + 1] *= fade;
        }
        add_product<VDIM, N>(out, p, values_of + tile % 2 * N * V_ROW);
        __syncthreads();
    }
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++) {
        A sum = of_four(total[m][i], false), inverse = sum == 0 ? A(0) : 1 / sum;
        if (stats && threadIdx.x % 4 == 0) {
            int at = row + mine + row_of(m, 2 * i);
            A* to = stats_at(stats, place.head, all, at);
            bool there = at < h.queries && sum != 0;
            to[0] = there ? top[m][i] : A(0);
            to[all] = there ? inverse : A(0);
        }
#if DROPS
        inverse *= h.factor;
#endif
        UNROLL for (int n = 0; n < VDIM / 8; n++)
            out[m][n][2 * i] *= inverse, out[m][n][2 * i + 1] *= inverse;
    }
    i64 step = heads * e, at = row + mine;
    put<VDIM>(y + (sample * queries + at) * step + head * e, step, queries - at, e, out);
}

#elif KERNEL == 1

// dq, and `stats`: in a first turn over all keys; or, if the forward pass has left them (`KEPT`),
// the last of them from y, since dot = sum(g * y).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_grad_queries(
    T* dq, A* stats, i64 all, const T* y, const T* g, i64 g_batch, i64 g_row, GIVEN) {
    DYNAMIC_SHARED(memory);
    T *queries_of = (T*)memory, *grads_of = queries_of + ROWS * Q_ROW;
    T *keys_of = grads_of + ROWS * V_ROW, *values_of = keys_of + 2 * N * Q_ROW;
    Sight<ROWS, N> sight;
    sight.seen = (u32*)(values_of + 2 * N * V_ROW), sight.kept = sight.seen + sight.SIZE;
    Place place = place_of(queries, CAUSAL);  // for later ones see more keys
    i64 sample = place.head / heads, head = place.head % heads;
    Head h = HEAD(sample, head);
    int row = place.row, mine = threadIdx.x / WARP * 16 * M, tiles = tiles_of_keys(h, row);

    auto fetch = [&](int turn) {
        int at = turn % tiles * N, slot = turn % 2 * N;
        bring<N, DIM>(keys_of + slot * Q_ROW, h.k + at * h.k_row, h.k_row, h.keys - at, h.d);
        bring<N, VDIM>(values_of + slot * V_ROW, h.v + at * h.v_row, h.v_row, h.keys - at, h.e);
    };
    bring<ROWS, DIM>(queries_of, h.q + row * h.q_row, h.q_row, h.queries - row, h.d);
    g += sample * g_batch + head * e + row * g_row;
    bring<ROWS, VDIM>(grads_of, g, g_row, h.queries - row, h.e);
    fetch(0);
    copies_begun();

    TILES(out, DIM);
    clear<DIM>(out);
    A top[M][2], total[M][2], dot[M][2];
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++)
        top[m][i] = minus_infinity<A>(), total[m][i] = dot[m][i] = 0;
#if KEPT
    wait_for_copies<0>();
    __syncthreads();
    i64 y_row = heads * e;
    y += (sample * queries + row + mine) * y_row + head * e;
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++) {
        int r = row_of(m, 2 * i), at = row + mine + r;
        if (at < h.queries)
            ROLL for (int j = threadIdx.x % 4; j < h.e; j += 4)
                dot[m][i] += wide(y[r * y_row + j]) * wide(grads_of[(mine + r) * V_ROW + j]);
        dot[m][i] = of_four(dot[m][i], false);
        A* to = stats_at(stats, place.head, all, at);
        top[m][i] = to[0], total[m][i] = to[all];
        if (threadIdx.x % 4 == 0) to[2 * all] = dot[m][i];
    }
#endif

    int turns = (KEPT ? 1 : 2) * tiles;
    for (int turn = 0; turn < turns; turn++) {
        if (turn + 1 < turns) fetch(turn + 1);
        copies_begun();
        sight.look(h, row, turn % tiles * N);
        wait_for_copies<1>();
        __syncthreads();
        TILES(p, N);
        TILES(dp, N);
        clear<N>(p);
        clear<N>(dp);
        const T* of_tile = keys_of + turn % 2 * N * Q_ROW;
        add_scores<N, DIM>(p, queries_of + mine * Q_ROW, of_tile);
        add_scores<N, VDIM>(dp, grads_of + mine * V_ROW, values_of + turn % 2 * N * V_ROW);
        EACH(m, i, n, N / 8) {
            int r = mine + row_of(m, i), j = column_of(n, i);
            p[m][n][i] = sight.score(p[m][n][i], h, r, j);
            dp[m][n][i] = sight.drop(dp[m][n][i], h, r, j);
        }
        if (sight.hides)
            EACH(m, i, n, N / 8)
                if (!sight.sees(mine + row_of(m, i), column_of(n, i)))
                    p[m][n][i] = minus_infinity<A>();
        if (!KEPT && turn < tiles) {  // of all keys, what the weights are
            UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++) {
                A high = top[m][i];
                UNROLL for (int n = 0; n < N / 8; n++)
                    high = fmax(high, fmax(p[m][n][2 * i], p[m][n][2 * i + 1]));
                high = of_four(high, true);
                A shift = high == minus_infinity<A>() ? A(0) : high;
                A fade = power(top[m][i] - shift);
                top[m][i] = high;
                total[m][i] *= fade, dot[m][i] *= fade;
                UNROLL for (int n = 0; n < N / 8; n++)
                    UNROLL for (int j = 2 * i; j < 2 * i + 2; j++) {
                        A x = power(p[m][n][j] - shift);
                        total[m][i] += x;
                        dot[m][i] += x * dp[m][n][j];
                    }
            }
            if (turn == tiles - 1)
                UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 2; i++) {
                    A sum = of_four(total[m][i], false);
                    total[m][i] = sum == 0 ? A(0) : 1 / sum;
                    dot[m][i] = of_four(dot[m][i], false) * total[m][i];
                    if (top[m][i] == minus_infinity<A>()) top[m][i] = 0;
                    int at = row + mine + row_of(m, 2 * i);
                    A* to = stats_at(stats, place.head, all, at);
                    bool there = at < h.queries;
                    if (threadIdx.x % 4 == 0) {
                        to[0] = there ? top[m][i] : A(0);
                        to[all] = there ? total[m][i] : A(0);
                        to[2 * all] = there ? dot[m][i] : A(0);
                    }
                }
        } else {
            EACH(m, i, n, N / 8) {
                A x = power(p[m][n][i] - top[m][i / 2]) * total[m][i / 2];
                p[m][n][i] = x * (dp[m][n][i] - dot[m][i / 2]);
            }
            add_product<DIM, N>(out, p, of_tile);
        }
        __syncthreads();
    }
    EACH(m, i, n, DIM / 8) out[m][n][i] *= A(scale);
    i64 step = heads * d, at = row + mine;
    put<DIM>(dq + (sample * queries + at) * step + head * d, step, queries - at, d, out);
}

#else

// dk and dv, given `stats` of `all` rows. Here rows of tiles are keys and their columns queries.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_grad_keys(T* dk, T* dv, const A* stats, i64 all, const T* g, i64 g_batch, i64 g_row, GIVEN) {
    constexpr int STATS = 3 * N;
    DYNAMIC_SHARED(memory);
    T *keys_of = (T*)memory, *values_of = keys_of + ROWS * Q_ROW;
    T *queries_of = values_of + ROWS * V_ROW, *grads_of = queries_of + 2 * N * Q_ROW;
    A* stats_of = (A*)(grads_of + 2 * N * V_ROW);
    Sight<N, ROWS> sight;
    sight.seen = (u32*)(stats_of + 2 * STATS), sight.kept = sight.seen + sight.SIZE;
    Place place = place_of(keys, false);
    i64 sample = place.head / heads, head = place.head % heads;
    Head h = HEAD(sample, head);
    int row = place.row, mine = threadIdx.x / WARP * 16 * M;
    int tiles = (h.queries + N - 1) / N;

    g += sample * g_batch + head * e;
    stats += place.head * 3 * all;
    auto fetch = [&](int tile) {
        int at = tile * N, slot = tile % 2 * N, left = h.queries - at;
        bring<N, DIM>(queries_of + slot * Q_ROW, h.q + at * h.q_row, h.q_row, left, h.d);
        bring<N, VDIM>(grads_of + slot * V_ROW, g + at * g_row, g_row, left, h.e);
        constexpr int PART = 16 / sizeof(A);
        for (int i = threadIdx.x; i < STATS / PART; i += THREADS) {
            int kind = i / (N / PART), j = i % (N / PART) * PART;
            bool is = at + j < (h.queries + 15) / 16 * 16;  // which were written
            copy_async(stats_of + tile % 2 * STATS + i * PART,
                       is ? stats + kind * all + at + j : stats, is);
        }
    };
    bring<ROWS, DIM>(keys_of, h.k + row * h.k_row, h.k_row, h.keys - row, h.d);
    bring<ROWS, VDIM>(values_of, h.v + row * h.v_row, h.v_row, h.keys - row, h.e);
    int first = CAUSAL ? row / N : 0;
    if (first < tiles) fetch(first);
    copies_begun();

    TILES(of_k, DIM);
    TILES(of_v, VDIM);
    clear<DIM>(of_k);
    clear<VDIM>(of_v);
    for (int tile = first; tile < tiles; tile++) {
        if (tile + 1 < tiles) fetch(tile + 1);
        copies_begun();
        sight.look(h, tile * N, row);
        wait_for_copies<1>();
        __syncthreads();
        TILES(p, N);
        TILES(dp, N);
        clear<N>(p);
        clear<N>(dp);
        const T* q_tile = queries_of + tile % 2 * N * Q_ROW;
        const T* g_tile = grads_of + tile % 2 * N * V_ROW;
        const A* stat = stats_of + tile % 2 * STATS;
        add_scores<N, DIM>(p, keys_of + mine * Q_ROW, q_tile);
        add_scores<N, VDIM>(dp, values_of + mine * V_ROW, g_tile);
        EACH(m, i, n, N / 8)
            p[m][n][i] = sight.score(p[m][n][i], h, column_of(n, i), mine + row_of(m, i));
        if (sight.hides)
            EACH(m, i, n, N / 8)
                if (!sight.sees(column_of(n, i), mine + row_of(m, i)))
                    p[m][n][i] = minus_infinity<A>();
        EACH(m, i, n, N / 8) {
            int j = mine + row_of(m, i), r = column_of(n, i);
            A x = power(p[m][n][i] - stat[r]) * stat[N + r];
            dp[m][n][i] = x * (sight.drop(dp[m][n][i], h, r, j) - stat[2 * N + r]);
            p[m][n][i] = sight.drop(x, h, r, j);
        }
        add_product<VDIM, N>(of_v, p, g_tile);
        add_product<DIM, N>(of_k, dp, q_tile);
        __syncthreads();
    }
    EACH(m, i, n, DIM / 8) of_k[m][n][i] *= A(scale);
    i64 at = row + mine;
    put<DIM>(dk + (sample * keys + at) * heads * d + head * d, heads * d, keys - at, d, of_k);
    put<VDIM>(dv + (sample * keys + at) * heads * e + head * e, heads * e, keys - at, e, of_v);
}

#endif
