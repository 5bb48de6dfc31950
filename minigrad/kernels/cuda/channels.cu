// Batch norm: over all but the channels of x (a, c, n), which lies C-contiguous. Three launches: sums
// of parts of each channel; of these, what is done to each element; and that.
//
// Defined: T; W, the dtype of weights and running statistics; V, elements of a pack; COLUMNS, for
// n = 1, where neighbours in memory are of different channels; GRAD; PACKED; THREADS.

typedef Wide<T>::type A;

// V elements, in 16 bytes if they lie so: PACKED.
__device__ __forceinline__ void load_pack(A* to, const T* from) {
#if V == 1 || !PACKED
#pragma unroll
    for (int j = 0; j < V; j++) to[j] = wide(from[j]);
#else
    Pack<T> pack = load(from);
#pragma unroll
    for (int j = 0; j < V; j++) to[j] = wide(pack.x[j]);
#endif
}

// A block has a part of one channel, or of 32 of them, one for each lane: then warps share the part.
#if COLUMNS
#define STEP (THREADS / WARP)
#define FIRST (threadIdx.x / WARP)
#else
#define STEP THREADS
#define FIRST threadIdx.x
#endif

// Over the threads that have a channel in common.
template <typename X> __device__ __forceinline__ X channel_sum(X x, X* box) {
#if COLUMNS
    __syncthreads();
    box[threadIdx.x] = x;
    __syncthreads();
    x = 0;
    for (int i = threadIdx.x % WARP; i < THREADS; i += WARP) x += box[i];
    return x;
#else
    __syncthreads();
    return block_sum(x, box);
#endif
}

// Where part i of a channel begins, in packs of the channel.
__device__ __forceinline__ i64 part_of(i64 packs, int i, int parts) { return packs * i / parts; }

// Sums (parts, c, 5) of each part of each channel: its mean, in two parts, for far from zero it is
// off by its rounding; the squares of the deviations from it; with GRAD g, and g times the
// deviations. What is read again to have deviations is in the cache.
extern "C" __global__ void __launch_bounds__(THREADS) channel_sums(
    double* sums, const T* g, const T* x, int a, int c, int n
) {
    __shared__ double memory[THREADS];
    A* box = (A*)memory;
    const int own = COLUMNS ? blockIdx.y * WARP + threadIdx.x % WARP : blockIdx.y;
    const int ch = own < c ? own : c - 1, per = n / V, parts = gridDim.x;
    const int start = part_of((i64)a * per, blockIdx.x, parts);
    const int stop = part_of((i64)a * per, blockIdx.x + 1, parts);
    const A count = A((stop - start) * V);
#define EACH_PACK                                           \
    _Pragma("unroll 4")                                     \
    for (int k = start + FIRST; k < stop; k += STEP)
#define PLACE (COLUMNS ? (i64)k * c + ch : ((i64)(k / per) * c + ch) * n + k % per * V)
    A mean = 0;
    EACH_PACK {
        A v[V];
        load_pack(v, x + PLACE);
#pragma unroll
        for (int j = 0; j < V; j++) mean += v[j];
    }
    mean = channel_sum(mean, box) / count;
    A rest = 0, square = 0, of_g = 0, of_gd = 0;
    EACH_PACK {
        A v[V], u[V];
        load_pack(v, x + PLACE);
        if (GRAD) load_pack(u, g + PLACE);
#pragma unroll
        for (int j = 0; j < V; j++) {
            const A d = v[j] - mean;
            rest += d;
            square += d * d;
            if (GRAD) of_g += u[j];
            if (GRAD) of_gd += u[j] * d;
        }
    }
    rest = channel_sum(rest, box) / count;
    square = channel_sum(square, box) - rest * rest * count;
    if (GRAD) of_g = channel_sum(of_g, box);
    if (GRAD) of_gd = channel_sum(of_gd, box) - rest * of_g;
    // Where float has no room for squares, or they lost digits, they are summed in double.
    double squares = square;
    bool settled = rest * rest * count <= square;
    if (sizeof(A) == 4) settled = settled && square < -minus_infinity<A>() && square > A(1e-24) * count;
    if (__syncthreads_or(!settled)) {
        double wide_square = 0;
        EACH_PACK {
            A v[V];
            load_pack(v, x + PLACE);
#pragma unroll
            for (int j = 0; j < V; j++) {
                const double d = (double)(v[j] - mean) - rest;
                wide_square += d * d;
            }
        }
        wide_square = channel_sum(wide_square, memory);
        if (!settled) squares = wide_square;
    }
    if (FIRST || own >= c) return;
    double* to = sums + ((i64)blockIdx.x * c + ch) * 5;
    to[0] = mean;
    to[1] = rest;
    to[2] = squares;
    to[3] = of_g;
    to[4] = of_gd;
}

// Of the sums of all parts, by a warp for each channel: the whole channel's.
struct Channel { A mean, rest; double square, of_g, of_gd; };

__device__ __forceinline__ Channel whole(const double* sums, int ch, i64 packs, int parts, int c) {
    const int lane = threadIdx.x % WARP;
    const double start = sums[ch * 5];  // all means are told from this one
    double mean = 0, square = 0, of_g = 0, of_gd = 0;
    for (int i = lane; i < parts; i += WARP) {
        const double* part = sums + ((i64)i * c + ch) * 5;
        mean += ((part[0] - start) + part[1]) * (part_of(packs, i + 1, parts) - part_of(packs, i, parts));
    }
    mean = warp_sum(mean) / packs;
    for (int i = lane; i < parts; i += WARP) {
        const double* part = sums + ((i64)i * c + ch) * 5;
        const double d = ((part[0] - start) + part[1]) - mean;
        square += part[2] + d * d * ((part_of(packs, i + 1, parts) - part_of(packs, i, parts)) * V);
        of_g += part[3];
        of_gd += part[4] + d * part[3];
    }
    const A high = A(start + mean);
    return Channel{
        high, A((start - high) + mean), warp_sum(square), warp_sum(of_g), warp_sum(of_gd)
    };
}

#define OWN_CHANNEL                                                 \
    const int own = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; \
    const int ch = own < c ? own : c - 1;                           \
    const Channel of = whole(sums, ch, packs, parts, c);            \
    if (own >= c || threadIdx.x % WARP) return;                     \
    const double count = (double)packs * V

// Numbers (5, c): the mean in two parts; and scale, slope and shift of each channel, see below. With
// GRAD also the gradients of weight and bias.
extern "C" __global__ void __launch_bounds__(128) channel_numbers(
    A* numbers, W* dweight, W* dbias, const double* sums, const W* weight, const W* bias, i64 packs,
    int parts, int c, double eps
) {
    OWN_CHANNEL;
    const double rstd = 1 / sqrt(of.square / count + eps);
    const double scale = weight ? rstd * wide(weight[ch]) : rstd;
    A* to = numbers + ch;
    to[0] = of.mean;
    to[c] = of.rest;
    to[2 * c] = A(scale);
#if GRAD
    const double dw = of.of_gd * rstd;
    dweight[ch] = narrow<W>(Wide<W>::type(dw));
    dbias[ch] = narrow<W>(Wide<W>::type(of.of_g));
    to[3 * c] = A(scale * rstd * dw / count);
    to[4 * c] = A(scale * of.of_g / count);
#else
    to[4 * c] = bias ? wide(bias[ch]) : 0;
#endif
}

// The running statistics after a batch, each old + momentum (new - old).
extern "C" __global__ void __launch_bounds__(128) channel_statistics(
    W* mean, W* var, const W* running_mean, const W* running_var, const double* sums, i64 packs,
    int parts, int c, double momentum
) {
    OWN_CHANNEL;
    const double m = (double)wide(running_mean[ch]), v = (double)wide(running_var[ch]);
    mean[ch] = narrow<W>(Wide<W>::type(m * (1 - momentum) + ((double)of.mean + of.rest) * momentum));
    var[ch] = narrow<W>(Wide<W>::type(v * (1 - momentum) + of.square / (count - 1) * momentum));
}

// With d the deviation from the mean: y = d scale + shift, and dx = g scale - d slope - shift. x is
// read and y written once; or x and g, and dx. `packs` are those of all x.
extern "C" __global__ void __launch_bounds__(THREADS) each_channel(
    T* y, const T* g, const T* x, const A* __restrict__ numbers, int packs, int c, int per
) {
#pragma unroll 4
    for (int k = blockIdx.x * THREADS + threadIdx.x; k < packs; k += gridDim.x * THREADS) {
        A v[V], u[V];
        load_pack(v, x + (i64)k * V);
        if (GRAD) load_pack(u, g + (i64)k * V);
#pragma unroll
        for (int j = 0; j < V; j++) {
            const int ch = COLUMNS ? (int)(((i64)k * V + j) % c) : (int)((unsigned)k / per % c);
            const A d = (v[j] - numbers[ch]) - numbers[c + ch];
            const A scale = numbers[2 * c + ch], shift = numbers[4 * c + ch];
            v[j] = GRAD ? (u[j] * scale - d * numbers[3 * c + ch]) - shift : d * scale + shift;
        }
#if V == 1 || !PACKED
#pragma unroll
        for (int j = 0; j < V; j++) y[(i64)k * V + j] = narrow<T>(v[j]);
#else
        Pack<T> pack;
#pragma unroll
        for (int j = 0; j < V; j++) pack.x[j] = narrow<T>(v[j]);
        store(y + (i64)k * V, pack);
#endif
    }
}
