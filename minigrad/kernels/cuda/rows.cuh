// Rows of d numbers, each held in registers by G threads: a part of a warp, or a block.
//
// Pack i of thread t of a row begins at element (i * G + t) * V, for i < K; so neighbours read
// neighbouring packs, and all loads of a row are under way together. A LONG row has more packs than
// that: it is read piece by piece, SPAN elements at a time, and again where it is needed again.
//
// Defined by `rows.py`: T, V, K, G, LONG, PACKED, and THREADS of a block, which is THREADS / G rows.

typedef Wide<T>::type A;

#define NOT_A_NUMBER (minus_infinity<A>() - minus_infinity<A>())

#define HELD (K * V)
#define SPAN (G * K * V)
#define GROUPS (THREADS / G)

// Registers for 640 threads of an SM and more.
constexpr int BLOCKS = (THREADS < 512 || sizeof(A) == 8 ? 640 : 1024) / THREADS;
#define BOUNDS __launch_bounds__(THREADS, BLOCKS)

// Each row for one group, and for all threads of a block as often. `there` is whether a group has a
// row of its own; if not it reads the last one, and must not write.
#define EACH_ROW                                                                                \
    for (i64 first = (i64)blockIdx.x * GROUPS; first < rows; first += (i64)gridDim.x * GROUPS)
#define OWN_ROW                                                                                 \
    const bool there = first + threadIdx.x / G < rows;                                          \
    const i64 row = there ? first + threadIdx.x / G : rows - 1

__device__ __forceinline__ int place(int n) {  // of an element that a thread holds
    return (n / V * G + threadIdx.x % G) * V + n % V;
}

// V elements, which X may have wider than T: 16 bytes to a load, or one by one unless PACKED. The same
// thread has them either way, so that sums do not hang on addresses.
template <typename X> __device__ __forceinline__ void load_pack(A* to, const X* from) {
#if V == 1 || !PACKED
#pragma unroll
    for (int j = 0; j < V; j++) to[j] = wide(from[j]);
#else
#pragma unroll
    for (int i = 0; i < V; i += Pack<X>::N) {
        Pack<X> pack = load(from + i);
#pragma unroll
        for (int j = 0; j < Pack<X>::N; j++) to[i + j] = wide(pack.x[j]);
    }
#endif
}

// The first elements of a row, or what is left of it; `otherwise` behind its end. What is behind
// is read from the beginning: a load that need not be asked for, and hides among the others.
template <typename X>
__device__ __forceinline__ void take(A (&to)[HELD], const X* row, int left, A otherwise) {
#pragma unroll
    for (int i = 0; i < K; i++) load_pack(to + i * V, row + (place(i * V) < left ? place(i * V) : 0));
#pragma unroll
    for (int n = 0; n < HELD; n++)
        if (place(n) >= left) to[n] = otherwise;
}

__device__ __forceinline__ void put(T* row, const A (&from)[HELD], int left, bool there) {
#pragma unroll
    for (int i = 0; i < K; i++) {
        if (!there || place(i * V) >= left) continue;
#if V == 1 || !PACKED
#pragma unroll
        for (int j = 0; j < V; j++) row[place(i * V) + j] = narrow<T>(from[i * V + j]);
#else
        Pack<T> pack;
#pragma unroll
        for (int j = 0; j < V; j++) pack.x[j] = narrow<T>(from[i * V + j]);
        store(row + place(i * V), pack);
#endif
    }
}

// Over a row: what every thread of it gets. `box` is shared memory of 32, and two uses of one box
// have a use of another between them, or __syncthreads().
template <typename X> __device__ __forceinline__ X row_sum(X x, X* box) {
#if G > WARP
    return block_sum(x, box);
#else
#pragma unroll
    for (int i = G / 2; i > 0; i /= 2) x += __shfl_xor_sync(ALL, x, i);
    return x;
#endif
}

__device__ __forceinline__ A row_max(A x, A* box) {
#if G > WARP
    return block_max(x, box);
#else
#pragma unroll
    for (int i = G / 2; i > 0; i /= 2) x = larger(x, __shfl_xor_sync(ALL, x, i));
    return x;
#endif
}

// Whether it is so in a row, or in another of the same warp.
__device__ __forceinline__ bool any_row(bool x) {
#if G < WARP
    int y = x;
#pragma unroll
    for (int i = WARP / 2; i > 0; i /= 2) y |= __shfl_xor_sync(ALL, y, i);
    return y;
#else
    return x;
#endif
}

// ----------------------------------------------------------------------------- exponentials

// Of 16 bits, which have 11 digits at most, the quick one is good enough.
__device__ __forceinline__ float exp_of(float x) { return sizeof(T) == 2 ? __expf(x) : expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }

__device__ __forceinline__ A largest(const A (&v)[HELD]) {
    A m = v[0];
#pragma unroll
    for (int n = 1; n < HELD; n++) m = larger(m, v[n]);
    return m;
}

// What a row is shifted by: its largest, or 0 if all of it is -inf.
__device__ __forceinline__ A shift_of(A m) { return m == minus_infinity<A>() ? A(0) : m; }

// The shift of a row, and the sum of exp(x - shift), 1 if that is 0. `v` becomes exp(x - shift), or
// with KEEP x - shift, unless the row is LONG. Then it is read once: a thread's sum is scaled
// whenever its largest grows.
struct Exponentials { A shift, total; };

template <bool KEEP>
__device__ __forceinline__ Exponentials exponentials(
    A (&v)[HELD], const T* x, int d, A (&box)[2][WARP]
) {
    A m = minus_infinity<A>(), total = 0;
#if LONG
    for (int at = 0; at < d; at += SPAN) {
        take(v, x + at, d - at, minus_infinity<A>());
        A top = larger(m, largest(v)), own = shift_of(top);
        total *= exp_of(m - own);
#pragma unroll
        for (int n = 0; n < HELD; n++) total += exp_of(v[n] - own);
        m = top;
    }
    A shift = shift_of(row_max(m, box[0]));
    total *= exp_of(shift_of(m) - shift);
#else
    take(v, x, d, minus_infinity<A>());
    m = largest(v);
    A shift = shift_of(row_max(m, box[0]));
#pragma unroll
    for (int n = 0; n < HELD; n++) {
        A own = v[n] - shift, e = exp_of(own);
        v[n] = KEEP ? own : e;
        total += e;
    }
#endif
    total = row_sum(total, box[1]);
    return Exponentials{shift, total == A(0) ? A(1) : total};
}
