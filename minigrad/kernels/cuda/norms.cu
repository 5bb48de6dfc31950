// Layer norm along rows, with RMS its kind without a mean; with GRAD the derivative.
//
// Defined beside what rows.cuh has: W, the dtype of weights, as wide as T or wider; WEIGHT, BIAS and
// MORE, whether there are weights, a bias, and what is added to x (or to dx); GROUPED, whether each
// group of rows has its own. Then these are tables of addresses, and the rows of group g begin at
// offsets[g] * each.
//
// Far from zero a mean is off by its rounding, which may be as large as all deviations. Their own
// mean is what it lacks: `rest`. Squares are of deviations from both.

typedef double Boxes[3][WARP];  // for sums of A, or of doubles

struct Standard { A mean, rest, rstd; };

// 1 / sqrt(mean of squares + eps), and of what; if the row is not LONG, `v`, which has 0 behind its
// end, is less the mean then. Where float has no room for squares, they are summed in double.
__device__ __forceinline__ Standard standard(
    A (&v)[HELD], const T* x, int d, double eps, Boxes& box, Boxes& other
) {
    const A share = A(1) / A(d);
    A mean = 0, rest = 0, square = 0;
#if LONG
    if (!RMS) {
        for (int at = 0; at < d; at += SPAN) {
            take(v, x + at, d - at, A(0));
#pragma unroll
            for (int n = 0; n < HELD; n++) mean += v[n];
        }
        mean = row_sum(mean, (A*)box[0]) * share;
    }
    for (int at = 0; at < d; at += SPAN) {
        take(v, x + at, d - at, mean);
#pragma unroll
        for (int n = 0; n < HELD; n++) {
            rest += v[n] - mean;
            square += (v[n] - mean) * (v[n] - mean);
        }
    }
    rest = RMS ? A(0) : row_sum(rest, (A*)box[1]) * share;
    square = row_sum(square, (A*)box[2]) * share - rest * rest;
    bool settled = rest * rest <= square;
#else
    if (!RMS) {
#pragma unroll
        for (int n = 0; n < HELD; n++) mean += v[n];
        mean = row_sum(mean, (A*)box[0]) * share;
#pragma unroll
        for (int n = 0; n < HELD; n++) rest += v[n] = place(n) < d ? v[n] - mean : A(0);
        rest = row_sum(rest, (A*)box[1]) * share;
#pragma unroll
        for (int n = 0; n < HELD; n++) v[n] = place(n) < d ? v[n] - rest : A(0);
    }
#pragma unroll
    for (int n = 0; n < HELD; n++) square += v[n] * v[n];
    square = row_sum(square, (A*)box[2]) * share;
    bool settled = true;
#endif
    A rstd = A(1) / sqrt(square + A(eps));
    if (sizeof(A) == 4) settled = settled && square < -minus_infinity<A>() && square + A(eps) > A(1e-24);
    if (any_row(!settled)) {
        double squares = 0;
        for (int at = 0; at < d; at += SPAN) {
            if (LONG) take(v, x + at, d - at, A(0));
#pragma unroll
            for (int n = 0; n < HELD; n++) {
                double c = LONG ? (double)(v[n] - mean) - rest : (double)v[n];
                if (!LONG || place(n) < d - at) squares += c * c;
            }
            if (!LONG) break;
        }
        squares = row_sum(squares, other[0]) / d;
        if (!settled) rstd = A(1 / sqrt(squares + eps));
    }
    return Standard{mean, rest, rstd};
}

__device__ __forceinline__ void take_deviations(A (&v)[HELD], const T* x, int left, Standard s) {
    take(v, x, left, A(0));
#pragma unroll
    for (int n = 0; n < HELD; n++) v[n] = (v[n] - s.mean) - s.rest;
}

// V weights for pack i of a row, or of its part that begins at `at`.
__device__ __forceinline__ void take_weights(A (&w)[V], const W* from, int i, int at, int d) {
    from += at + place(i * V) < d ? at + place(i * V) : 0;
    if (!GROUPED) return load_pack(w, from);
#pragma unroll
    for (int j = 0; j < V; j++) w[j] = wide(from[j]);  // who knows where a group has them
}

#if GROUPED
typedef const W* const* Weights;
typedef W* const* Gradients;
#else
typedef const W* Weights;
typedef W* Gradients;
#endif

template <typename P> __device__ __forceinline__ P* of_group(P* x, int) { return x; }
template <typename P> __device__ __forceinline__ P* of_group(P* const* x, int g) {
    return x ? x[g] : nullptr;
}

#if !GRAD

// Registers for 512 threads of an SM and more: with a row of 16 bits there may be weights of 32.
constexpr int ROW_BLOCKS = (THREADS < 512 || sizeof(A) == 8 ? 512 : 1024) / THREADS;
#define ROW_BOUNDS __launch_bounds__(THREADS, ROW_BLOCKS)

// y of x, or of total = x + more: each element is read and written once.
extern "C" __global__ void ROW_BOUNDS layer_norm(
    T* y, T* total, const T* x, const T* more, Weights weights, Weights biases, i64 rows, int d,
    double eps, const i64* offsets, i64 each, int groups
) {
    __shared__ Boxes box, other;
    EACH_ROW {
        OWN_ROW;
        A v[HELD];
        for (int at = 0; at < d && (MORE || !LONG); at += SPAN) {
            take(v, x + row * d + at, d - at, A(0));
            if (MORE) {
                A u[HELD];
                take(u, more + row * d + at, d - at, A(0));
#pragma unroll
                for (int n = 0; n < HELD; n++) v[n] = wide(narrow<T>(v[n] + u[n]));
                put(total + row * d + at, v, d - at, there);
            }
            if (!LONG) break;
        }
        const T* from = (MORE ? total : x) + row * d;
        const Standard s = standard(v, from, d, eps, box, other);
        int g = 0;
        while (GROUPED && g + 1 < groups && row >= offsets[g + 1] * each) g++;
        const W* __restrict__ weight = of_group(weights, g);
        const W* __restrict__ bias = of_group(biases, g);
        for (int at = 0; at < d; at += SPAN) {
            if (LONG) take_deviations(v, from + at, d - at, s);
#pragma unroll
            for (int i = 0; i < K; i++) {
                A w[V], b[V];
                if (WEIGHT) take_weights(w, weight, i, at, d);
                if (BIAS) take_weights(b, bias, i, at, d);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    A h = v[i * V + j] * s.rstd;
                    if (WEIGHT) h *= w[j];
                    v[i * V + j] = BIAS ? h + b[j] : h;
                }
            }
            put(y + row * d + at, v, d - at, there);
            if (!LONG) break;
        }
        if (RMS && G > WARP) __syncthreads();  // before the next use of its one box
    }
}

#else

// Registers for 512 threads of an SM and more; for half of that where each element has its address.
constexpr int GRAD_BLOCKS = (V == 1 ? 256 : 512) / THREADS;
#define GRAD_BOUNDS __launch_bounds__(THREADS, GRAD_BLOCKS)
#define KINDS (RMS ? 1 : 2)  // of sums: g h, and g

// Rows of a part: of all, every `step` from `start`; or, GROUPED, `most` of one group: the first
// parts are those of group 0, and so on. The last ones may have none.
struct Part { i64 start, stop, step; int group; };

__device__ __forceinline__ Part part_of(
    i64 rows, const i64* offsets, i64 each, int groups, i64 most
) {
#if GROUPED
    i64 i = blockIdx.x;
    for (int g = 0; g < groups; g++) {
        const i64 start = offsets[g] * each, stop = offsets[g + 1] * each;
        const i64 parts = (stop - start + most - 1) / most;
        if (i < parts) return Part{start + i * most, min(stop, start + (i + 1) * most), GROUPS, g};
        i -= parts;
    }
    return Part{0, 0, 1, 0};
#else
    return Part{(i64)blockIdx.x * GROUPS, rows, (i64)gridDim.x * GROUPS, 0};
#endif
}

// dx + more of g and x: with h the standardised x and e = g * weight it is
// (e - mean(e) - h mean(e h)) / std, where RMS lacks mean(e). Two elements are read for each that is
// written. Beside, sums (blocks, KINDS, d) of g h, and of g, over the rows of each block; for LONG
// rows what is needed for them: stats (rows, 3).
extern "C" __global__ void GRAD_BOUNDS layer_norm_grad(
    T* dx, A* sums, A* stats, const T* g, const T* x, Weights weights, const T* more, i64 rows,
    int d, double eps, const i64* offsets, i64 each, int groups, i64 most
) {
    __shared__ Boxes box, other;
    const Part part = part_of(rows, offsets, each, groups, most);
    if (GROUPED && part.start >= part.stop) return;
    const W* __restrict__ weight = of_group(weights, part.group);
    const A share = A(1) / A(d);
#if !LONG
    A own[KINDS][HELD];
#pragma unroll
    for (int n = 0; n < HELD; n++)
        for (int kind = 0; kind < KINDS; kind++) own[kind][n] = 0;
#endif
    for (i64 first = part.start; first < part.stop; first += part.step) {
        const bool there = first + threadIdx.x / G < part.stop;
        const i64 row = there ? first + threadIdx.x / G : part.stop - 1;
        A v[HELD], u[HELD], e_mean = 0, eh_mean = 0;
#if !LONG
        take(v, x + row * d, d, A(0));
        take(u, g + row * d, d, A(0));
#endif
        const Standard s = standard(v, x + row * d, d, eps, box, other);
        for (int at = 0; at < d; at += SPAN) {
#if LONG
            take_deviations(v, x + row * d + at, d - at, s);
            take(u, g + row * d + at, d - at, A(0));
#endif
#pragma unroll
            for (int i = 0; i < K; i++) {
                A w[V];
                if (WEIGHT) take_weights(w, weight, i, at, d);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    const int n = i * V + j;
                    v[n] *= s.rstd;
#if !LONG
                    if (there) own[0][n] += u[n] * v[n];
                    if (there && !RMS) own[KINDS - 1][n] += u[n];
#endif
                    if (WEIGHT) u[n] *= w[j];
                    e_mean += u[n];
                    eh_mean += u[n] * v[n];
                }
            }
            if (!LONG) break;
        }
        e_mean = RMS ? A(0) : row_sum(e_mean, (A*)box[0]) * share;
        eh_mean = row_sum(eh_mean, (A*)box[1]) * share;
        for (int at = 0; at < d; at += SPAN) {
#if LONG
            take_deviations(v, x + row * d + at, d - at, s);
            take(u, g + row * d + at, d - at, A(0));
#pragma unroll
            for (int i = 0; i < K; i++) {
                A w[V];
                if (WEIGHT) take_weights(w, weight, i, at, d);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    v[i * V + j] *= s.rstd;
                    if (WEIGHT) u[i * V + j] *= w[j];
                }
            }
#endif
#pragma unroll
            for (int n = 0; n < HELD; n++) v[n] = s.rstd * (u[n] - e_mean - v[n] * eh_mean);
            if (MORE) {
                take(u, more + row * d + at, d - at, A(0));
#pragma unroll
                for (int n = 0; n < HELD; n++) v[n] += u[n];
            }
            put(dx + row * d + at, v, d - at, there);
            if (!LONG) break;
        }
#if LONG
        if (threadIdx.x == 0) {
            stats[row * 3] = s.mean;
            stats[row * 3 + 1] = s.rest;
            stats[row * 3 + 2] = s.rstd;
        }
#endif
    }
#if !LONG
    // What the rows of this block have in all, in the order of its groups.
    DYNAMIC_SHARED(memory);
    A* parts = (A*)memory;  // (GROUPS, SPAN)
#pragma unroll
    for (int kind = 0; kind < KINDS; kind++) {
        A* to = sums + ((i64)blockIdx.x * KINDS + kind) * d;
        if (GROUPS == 1) {
#pragma unroll
            for (int n = 0; n < HELD; n++)
                if (place(n) < d) to[place(n)] = own[kind][n];
            continue;
        }
        __syncthreads();
#pragma unroll
        for (int n = 0; n < HELD; n++) parts[threadIdx.x / G * SPAN + place(n)] = own[kind][n];
        __syncthreads();
        for (int j = threadIdx.x; j < d; j += THREADS) {
            A total = 0;
            for (int i = 0; i < GROUPS; i++) total += parts[i * SPAN + j];
            to[j] = total;
        }
    }
#endif
}

#if LONG

// The sums (parts, KINDS, d) of long rows: a thread has a column of a part of the rows.
extern "C" __global__ void __launch_bounds__(256) sums_of_columns(
    A* sums, const A* stats, const T* g, const T* x, i64 rows, int d
) {
    const int j = blockIdx.x * 256 + threadIdx.x;
    const i64 start = rows * blockIdx.y / gridDim.y, stop = rows * (blockIdx.y + 1) / gridDim.y;
    if (j >= d) return;
    A of_gh = 0, of_g = 0;
#pragma unroll 4
    for (i64 i = start; i < stop; i++) {
        const A* s = stats + i * 3;
        A u = wide(g[i * d + j]);
        of_gh += u * (((wide(x[i * d + j]) - s[0]) - s[1]) * s[2]);
        of_g += u;
    }
    A* to = sums + (i64)blockIdx.y * KINDS * d + j;
    to[0] = of_gh;
    if (!RMS) to[d] = of_g;
}

#endif

// dweight and dbias (d,) of the sums (parts, KINDS, d): 32 columns to a block, in a fixed order. Those
// of a group without rows stay as they are.
extern "C" __global__ void __launch_bounds__(1024) total_of_parts(
    Gradients dweights, Gradients dbiases, const A* sums, int parts, int d, const i64* offsets,
    i64 each, i64 most
) {
    __shared__ A box[WARP][WARP + 1];
    const int g = blockIdx.y;
    if (GROUPED) {
        i64 before = 0;
        for (int i = 0; i <= g; i++) {
            sums += before * KINDS * d;
            before = ((offsets[i + 1] - offsets[i]) * each + most - 1) / most;
        }
        parts = before;
        if (!parts) return;
    }
    W *dweight = of_group(dweights, g), *dbias = of_group(dbiases, g);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, width = KINDS * d;
    int j = blockIdx.x * WARP + lane;
    A total = 0;
    for (int i = warp; i < parts && j < width; i += WARP) total += sums[(i64)i * width + j];
    box[warp][lane] = total;
    __syncthreads();
    total = warp_sum(box[lane][warp]);
    j = blockIdx.x * WARP + warp;
    if (lane || j >= width) return;
    if (j < d)
        dweight[j] = narrow<W>(total);
    else
        dbias[j - d] = narrow<W>(total);
}

#endif
