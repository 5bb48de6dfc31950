// Softmax along rows, with LOG its logarithm, and with GRAD the derivative.
//
// A row that is all -inf gives zeros, or stays. Outputs may lie where inputs do.

#if !GRAD

__device__ __forceinline__ void take_shifted(A (&v)[HELD], const T* x, int left, A shift) {
    take(v, x, left, A(0));
#pragma unroll
    for (int n = 0; n < HELD; n++) v[n] = LOG ? v[n] - shift : exp_of(v[n] - shift);
}

// y of x: each element is read and written once, where rows are not LONG.
extern "C" __global__ void BOUNDS softmax(T* y, const T* x, i64 rows, int d) {
    __shared__ A box[2][WARP];
    EACH_ROW {
        OWN_ROW;
        A v[HELD];
        const Exponentials e = exponentials<LOG>(v, x + row * d, d, box);
        const A of_total = LOG ? log(e.total) : A(1) / e.total;
        for (int at = 0; at < d; at += SPAN) {
            if (LONG) take_shifted(v, x + row * d + at, d - at, e.shift);
#pragma unroll
            for (int n = 0; n < HELD; n++) v[n] = LOG ? v[n] - of_total : v[n] * of_total;
            put(y + row * d + at, v, d - at, there);
            if (!LONG) break;
        }
    }
}

#else

// dx of g and y: two elements are read for each that is written. Of a softmax it is
// y (g - sum(g y)), of its logarithm g - exp(y) sum(g).
extern "C" __global__ void BOUNDS softmax_grad(T* dx, const T* g, const T* y, i64 rows, int d) {
    __shared__ A box[WARP];
    EACH_ROW {
        OWN_ROW;
        A u[HELD], v[HELD], total = 0;
        for (int at = 0; at < d; at += SPAN) {
            take(u, g + row * d + at, d - at, A(0));
            if (!LOG || !LONG) take(v, y + row * d + at, d - at, A(0));
#pragma unroll
            for (int n = 0; n < HELD; n++) total += LOG ? u[n] : u[n] * v[n];
            if (!LONG) break;
        }
        total = row_sum(total, box);
        for (int at = 0; at < d; at += SPAN) {
            if (LONG) {
                take(u, g + row * d + at, d - at, A(0));
                take(v, y + row * d + at, d - at, A(0));
            }
#pragma unroll
            for (int n = 0; n < HELD; n++)
                v[n] = LOG ? u[n] - exp_of(v[n]) * total : v[n] * (u[n] - total);
            put(dx + row * d + at, v, d - at, there);
            if (!LONG) break;
        }
        if (G > WARP) __syncthreads();  // before the next use of the box
    }
}

#endif
