// The first elements of rows in their order, and the first alone. Equal ones stay in their order.
//
// Defined beside what rows.cuh has: DESCENDING; and NAN_FIRST, whether NaN comes before all numbers.

#define NONE 0x7fffffff

struct Candidate { A value; int place; };

__device__ __forceinline__ bool comes_before(A v, A u) {
    if (v != v || u != u) return NAN_FIRST ? u == u : v == v;
    return DESCENDING ? v > u : v < u;
}

// Whether `v` comes before `u`. Nothing comes last.
__device__ __forceinline__ bool before(Candidate v, Candidate u) {
    if (v.place == NONE || u.place == NONE) return v.place != NONE;
    const bool equal = v.value == u.value || (v.value != v.value && u.value != u.value);
    return equal ? v.place < u.place : comes_before(v.value, u.value);
}

// The first of a thread's own elements, of those that come after `last` if that is something.
__device__ __forceinline__ Candidate first_after(Candidate last, const T* x, int d) {
    Candidate best = {0, NONE};
#pragma unroll 4
    for (int j = place(0); j < d; j += G * V) {
        A v[V];
        load_pack(v, x + j);
#pragma unroll
        for (int i = 0; i < V; i++) {
            const Candidate own = {v[i], j + i};
            if (before(own, best) && (last.place == NONE || before(last, own))) best = own;
        }
    }
    return best;
}

__device__ __forceinline__ Candidate first_of_lanes(Candidate own, int lanes) {
#pragma unroll
    for (int i = lanes / 2; i > 0; i /= 2) {
        const Candidate other = {__shfl_xor_sync(ALL, own.value, i), __shfl_xor_sync(ALL, own.place, i)};
        if (before(other, own)) own = other;
    }
    return own;
}

// y (rows, k) of x: the row is read once. A thread keeps the first of its own elements; the one whose
// has been taken looks for the next, in the cache.
extern "C" __global__ void __launch_bounds__(THREADS) top_ids(
    i64* y, const T* x, i64 rows, int d, int k
) {
#if G > WARP
    __shared__ A values[WARP];
    __shared__ int places[WARP];
#endif
    EACH_ROW {
        OWN_ROW;
        Candidate own = first_after(Candidate{0, NONE}, x + row * d, d);
        for (int i = 0; i < k; i++) {
            Candidate best = first_of_lanes(own, G < WARP ? G : WARP);
#if G > WARP
            const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
            __syncthreads();
            if (lane == 0) {
                values[warp] = best.value;
                places[warp] = best.place;
            }
            __syncthreads();
            best = Candidate{0, NONE};
            if (lane < G / WARP) best = Candidate{values[lane], places[lane]};
            best = first_of_lanes(best, WARP);
#endif
            if (there && threadIdx.x % G == 0) y[row * k + i] = best.place;
            if (own.place == best.place && i + 1 < k) own = first_after(best, x + row * d, d);
        }
    }
}
