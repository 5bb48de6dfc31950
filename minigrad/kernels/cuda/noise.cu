// Dropout: the mask is drawn from a key, and so never stored. Four elements share a block of Philox,
// word i of a key being that of element i, as `minigrad.random` has it.

// y = x * scale where the word is at most `limit`, else 0. V elements of a thread are whole packs,
// and whole blocks of words.
extern "C" __global__ void dropout(T* y, const T* x, i64 n, const i64* key, i64 low, i64 high,
                                   i64 limit, double scale) {
    typedef typename Wide<T>::type W;
    const int N = Pack<T>::N, V = N > 4 ? N : 4;
    const Key k = key_of(key, low, high);
    const u32 most = (u32)limit;
    const W factor = wide(narrow<T>((W)scale));
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    u32 words[V];
#pragma unroll
    for (int q = 0; q < V / 4; q++) {
        const Words four = philox(k.low, k.high, i / 4 + q);
#pragma unroll
        for (int e = 0; e < 4; e++) words[4 * q + e] = four.x[e];
    }
    if (PACKED && i + V <= n) {
#pragma unroll
        for (int q = 0; q < V / N; q++) {
            Pack<T> pack = load(x + i + q * N);
#pragma unroll
            for (int e = 0; e < N; e++) {
                const W v = wide(pack.x[e]) * factor;
                pack.x[e] = narrow<T>(words[q * N + e] <= most ? v : W(0));
            }
            store(y + i + q * N, pack);
        }
    } else {
#pragma unroll
        for (int e = 0; e < V; e++)
            if (i + e < n) y[i + e] = narrow<T>(words[e] <= most ? wide(x[i + e]) * factor : W(0));
    }
}
