// Cross entropy of rows of logits with their classes, and its derivative with GRAD.
//
// Probabilities are not stored: the derivative makes them again, and may lie where the logits do.
// A row whose class is to be ignored is not read, where a warp has it for itself.

// Whether a class is there; if not, it is noted, and the result is NaN until somebody is told.
__device__ __forceinline__ bool in_range(i64 t, int d, i64 row, i64* status, i64 number) {
    if (t >= 0 && t < d) return true;
    if (threadIdx.x % G == 0) fault(status, number, row, t);
    return false;
}

#if !GRAD

// loss of x: each logit is read once; with smoothing a second time, from the cache.
extern "C" __global__ void BOUNDS cross_entropy_rows(
    T* loss, const T* x, const IDS* target, i64 rows, int d, i64 ignored, double smoothing,
    i64* status, i64 number
) {
    __shared__ A box[2][WARP];
    const A e = smoothing;
    EACH_ROW {
        OWN_ROW;
        const i64 t = target[row];
        if (G >= WARP && t == ignored) {
            if (threadIdx.x % G == 0) loss[row] = narrow<T>(A(0));
            continue;
        }
        const bool known = t == ignored || in_range(t, d, row, status, number);
        A v[HELD], below = 0;
        const Exponentials of = exponentials<false>(v, x + row * d, d, box);
        if (smoothing > 0) {  // else 0 * (a class at -inf) would be NaN
#pragma unroll 4
            for (int j = place(0); j < d; j += G * V) {
                A u[V];
                load_pack(u, x + row * d + j);
#pragma unroll
                for (int i = 0; i < V; i++) below += of.shift - u[i];
            }
            below = e * (row_sum(below, box[0]) / A(d));
            if (G > WARP) __syncthreads();
        }
        if (!there || threadIdx.x % G) continue;
        // logsumexp(x) = shift + log(total); what is large cancels before the small log is added.
        A y = t == ignored ? A(0)
              : known      ? log(of.total) + ((A(1) - e) * (of.shift - wide(x[row * d + t])) + below)
                           : NOT_A_NUMBER;
        loss[row] = narrow<T>(y);
    }
}

#else

// dx of x: each logit is read once, and its derivative written. Between gradients `g` are `step`
// elements: 0 if there is one for all rows.
extern "C" __global__ void BOUNDS cross_entropy_rows_grad(
    T* dx, const T* g, i64 step, const T* x, const IDS* target, i64 rows, int d, i64 ignored,
    double smoothing, i64* status, i64 number
) {
    __shared__ A box[2][WARP];
    const A e = smoothing, each = e / A(d);
    EACH_ROW {
        OWN_ROW;
        const i64 t = target[row];
        const bool counts = t != ignored;
        A v[HELD], gradient = counts ? wide(g[row * step]) : A(0), scale = 0;
        Exponentials of = {0, 1};
        if (G < WARP || counts) {  // all threads of a warp, or of a block, or none
            if (counts && !in_range(t, d, row, status, number)) gradient = NOT_A_NUMBER;
            of = exponentials<false>(v, x + row * d, d, box);
            scale = A(1) / of.total;
        }
        for (int at = 0; at < d; at += SPAN) {
            if (LONG && counts) {
                take(v, x + row * d + at, d - at, of.shift);
#pragma unroll
                for (int n = 0; n < HELD; n++) v[n] = exp_of(v[n] - of.shift);
            }
#pragma unroll
            for (int n = 0; n < HELD; n++) {
                A p = v[n] * scale;
                if (at + place(n) == t) p -= A(1) - e;
                v[n] = counts ? gradient * (p - each) : A(0);
            }
            put(dx + row * d + at, v, d - at, there);
            if (!LONG) break;
        }
    }
}

#endif
