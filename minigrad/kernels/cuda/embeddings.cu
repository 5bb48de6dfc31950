// Rows that are looked up in a table, and their gradients, summed in the order of positions.
//
// T is the dtype of rows, I of ids; V elements are taken at once. Blocks have threads (x, y): x goes
// along a row, y over rows. GROUPED: each group of positions has a table of its own; then tables are
// addresses of tables, and the positions of group g begin at offsets[g] * each.

#if GROUPED
typedef const T* const* Tables;
typedef T* const* Gradients;
#else
typedef const T* Tables;
typedef T* Gradients;
#endif

template <typename P> __device__ __forceinline__ P* of_group(P* x, int) { return x; }
template <typename P> __device__ __forceinline__ P* of_group(P* const* x, int g) { return x[g]; }

__device__ __forceinline__ int group_of(i64 i, const i64* offsets, i64 each, int groups) {
    int g = 0;
    while (GROUPED && g + 1 < groups && i >= offsets[g + 1] * each) g++;
    return g;
}

template <int N, typename X> struct Some { X x[N]; };
template <int N, typename X> __device__ __forceinline__ Some<N, X> some(const X* p) {
    if (N == 1) return Some<N, X>{{p[0]}};
    union { Quad q; Some<N, X> some; } u;
    u.q = *(const Quad*)p;
    return u.some;
}
template <int N, typename X> __device__ __forceinline__ void put(X* p, Some<N, X> some) {
    if (N == 1) {
        p[0] = some.x[0];
        return;
    }
    union { Quad q; Some<N, X> some; } u;
    u.some = some;
    *(Quad*)p = u.q;
}

// y (n, d) = the rows `ids` (n,) of a table (rows, d); NaN where an id is not in [low, rows).
extern "C" __global__ void look_up(T* y, Tables tables, const I* ids, i64 n, i64 rows, i64 d,
                                   i64 low, i64* status, i64 number, const i64* offsets, i64 each,
                                   int groups) {
    const i64 i = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= n) return;
    const T* table = of_group(tables, group_of(i, offsets, each, groups));
    i64 id = (i64)ids[i];
    const bool there = id >= low && id < rows;
    if (!there && threadIdx.x == 0) fault(status, number, i, id);
    id = id < 0 ? id + rows : id;
    for (i64 j = threadIdx.x * V; j < d; j += blockDim.x * V) {
        Some<V, T> some_;
        if (there) {
            some_ = some<V>(table + id * d + j);
        } else {
#pragma unroll
            for (int e = 0; e < V; e++) some_.x[e] = narrow<T>(__uint_as_float(0x7fc00000u));
        }
        put<V>(y + i * d + j, some_);
    }
}

// ------------------------------------------------------- ids in order, with where they come from

struct Groups { const i64* offsets; i64 each; int count; };

// The row of position i, those of group g behind those of all before it; the last row of all for
// padding, which comes last and is left out.
__device__ __forceinline__ int row_of(const I* ids, i64 i, i64 rows, i64 padding, i64* status,
                                      i64 number, bool tell, Groups of) {
    i64 id = (i64)ids[i];
    const i64 last = GROUPED ? rows * of.count : rows;
    if (id < -rows || id >= rows) {
        if (tell) fault(status, number, i, id);
        return (int)last;
    }
    id = id < 0 ? id + rows : id;
    if (id == padding) return (int)last;
    return (int)(id + (GROUPED ? rows * group_of(i, of.offsets, of.each, of.count) : 0));
}

// All at once: how many of n come before each, which LANES threads count together.
#define LANES 8
extern "C" __global__ void ranks(int* keys, int* order, const I* ids, i64 n, i64 rows, i64 padding,
                                 i64* status, i64 number, const i64* offsets, i64 each,
                                 int groups) {
    __shared__ int box[1024];
    const Groups of{offsets, each, groups};
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    const int lane = threadIdx.x % LANES;
    const int key = i < n ? row_of(ids, i, rows, padding, status, number, lane == 0, of) : 0;
    int before = 0;
    for (i64 start = 0; start < n; start += 1024) {
        const int m = (int)(n - start < 1024 ? n - start : 1024);
        for (int j = threadIdx.x; j < m; j += blockDim.x)
            box[j] = row_of(ids, start + j, rows, padding, nullptr, 0, false, of);
        __syncthreads();
        for (int j = lane; j < m; j += LANES)
            before += box[j] < key || (box[j] == key && start + j < i);
        __syncthreads();
    }
    for (int k = LANES / 2; k > 0; k /= 2) before += __shfl_xor_sync(ALL, before, k);
    if (i < n && lane == 0) {
        keys[before] = key;
        order[before] = (int)i;
    }
}

// By digits of 8 bits, the lowest first (a radix sort, which is stable): each block has TILE of the
// keys, and counts its digits; the counts are summed; then each key knows its place.
#define TILE 256
#define DIGITS 256

extern "C" __global__ void first_keys(int* keys, int* order, const I* ids, i64 n, i64 rows,
                                      i64 padding, i64* status, i64 number, const i64* offsets,
                                      i64 each, int groups) {
    const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    keys[i] = row_of(ids, i, rows, padding, status, number, true, Groups{offsets, each, groups});
    order[i] = (int)i;
}

extern "C" __global__ void count_digits(int* counts, const int* keys, i64 n, i64 shift) {
    __shared__ int box[TILE];
    const i64 i = (i64)blockIdx.x * TILE + threadIdx.x;
    box[threadIdx.x] = i < n ? keys[i] >> shift & (DIGITS - 1) : -1;
    __syncthreads();
    int found = 0;
    for (int j = 0; j < TILE; j++) found += box[j] == (int)threadIdx.x;
    counts[(i64)threadIdx.x * gridDim.x + blockIdx.x] = found;
}

// In place of each count the sum of those before it. One block.
extern "C" __global__ void sum_counts(int* counts, i64 n) {
    __shared__ int box[1024];
    const i64 each = (n + blockDim.x - 1) / blockDim.x;
    const i64 start = threadIdx.x * each < n ? threadIdx.x * each : n;
    const i64 stop = start + each < n ? start + each : n;
    int total = 0;
    for (i64 i = start; i < stop; i++) total += counts[i];
    box[threadIdx.x] = total;
    __syncthreads();
    for (int k = 1; k < blockDim.x; k *= 2) {
        const int before = threadIdx.x >= k ? box[threadIdx.x - k] : 0;
        __syncthreads();
        box[threadIdx.x] += before;
        __syncthreads();
    }
    int sum = box[threadIdx.x] - total;
    for (i64 i = start; i < stop; i++) {
        const int count = counts[i];
        counts[i] = sum;
        sum += count;
    }
}

extern "C" __global__ void place_keys(int* keys, int* order, const int* old_keys,
                                      const int* old_order, const int* counts, i64 n, i64 shift) {
    __shared__ int box[TILE];
    const i64 i = (i64)blockIdx.x * TILE + threadIdx.x;
    const int key = i < n ? old_keys[i] : 0;
    const int digit = i < n ? key >> shift & (DIGITS - 1) : -1;
    box[threadIdx.x] = digit;
    __syncthreads();
    int before = 0;
    for (int j = 0; j < (int)threadIdx.x; j++) before += box[j] == digit;
    if (i < n) {
        const int place = counts[(i64)digit * gridDim.x + blockIdx.x] + before;
        keys[place] = key;
        order[place] = old_order[i];
    }
}

// ------------------------------------------------------------------------------ sums of equal ids

// The first of n ordered keys that is not below `key`.
__device__ __forceinline__ int first_of(const int* keys, int n, int key) {
    int low = 0, high = n;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (keys[middle] < key) low = middle + 1;
        else high = middle;
    }
    return low;
}

typedef typename Wide<T>::type W;

__device__ __forceinline__ void add_rows(Some<V, W>& sum, const T* g, const int* order, int start,
                                         int stop, i64 d, i64 j) {
#pragma unroll 4
    for (int p = start; p < stop; p++) {
        const Some<V, T> row = some<V>(g + order[p] * d + j);
#pragma unroll
        for (int e = 0; e < V; e++) sum.x[e] += wide(row.x[e]);
    }
}

// Of more than LONG equal ids, each stretch of LONG positions has its own sum: `parts` (stretches, 2,
// d), first of those that began before it.
extern "C" __global__ void sum_stretches(W* parts, const T* g, const int* keys, const int* order,
                                         i64 n, i64 rows, i64 d) {
    const int start = blockIdx.x * LONG, stop = start + LONG < n ? start + LONG : (int)n;
    const int first = keys[start], last = keys[stop - 1];
    const int end = first_of(keys, (int)n, first + 1), begin = first_of(keys, (int)n, last);
    const bool head = start > 0 && keys[start - 1] == first && first < rows &&
                      end - first_of(keys, (int)n, first) > LONG;
    const bool tail = begin >= start && last < rows &&
                      first_of(keys, (int)n, last + 1) - begin > LONG;
    W* to = parts + (i64)blockIdx.x * 2 * d;
    for (i64 j = threadIdx.x * V; j < d; j += blockDim.x * V) {
        if (head) {
            Some<V, W> sum = {};
            add_rows(sum, g, order, start, end < stop ? end : stop, d, j);
            for (int e = 0; e < V; e++) to[j + e] = sum.x[e];
        }
        if (tail) {
            Some<V, W> sum = {};
            add_rows(sum, g, order, begin, stop, d, j);
            for (int e = 0; e < V; e++) to[d + j + e] = sum.x[e];
        }
    }
}

// dw (rows, d) = the sums; GROUPED, `rows` are those of all groups, of which each has `own`.
extern "C" __global__ void sum_rows(Gradients dws, const T* g, const W* parts, const int* keys,
                                    const int* order, i64 n, i64 rows, i64 d, i64 own) {
    const i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    const int start = first_of(keys, (int)n, (int)row);
    const int stop = start < n && keys[start] == row ? first_of(keys, (int)n, (int)row + 1) : start;
    for (i64 j = threadIdx.x * V; j < d; j += blockDim.x * V) {
        Some<V, W> sum = {};
        if (stop - start <= LONG) {
            add_rows(sum, g, order, start, stop, d, j);
        } else {
            for (int k = start / LONG; k * LONG < stop; k++) {
                const W* part = parts + ((i64)k * 2 + (k * LONG <= start)) * d + j;
#pragma unroll
                for (int e = 0; e < V; e++) sum.x[e] += part[e];
            }
        }
        Some<V, T> out;
#pragma unroll
        for (int e = 0; e < V; e++) out.x[e] = narrow<T>(sum.x[e]);
        put<V>(of_group(dws, (int)(row / own)) + row % own * d + j, out);
    }
}
