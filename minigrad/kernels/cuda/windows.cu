// Windows, as convolutions and pooling have them: sums of windows that overlap, the largest of each,
// and copies of what lies in any layout. Every result is computed by one thread, so that sums have
// one order.

typedef typename Wide<T>::type W;

// y (a, m, l, q) = the sum of all g (a, size, m, count, q) whose element i of window j came from
// place j * stride + i * dilation.
extern "C" __global__ void sum_windows(T* y, const T* g, i64 n, i64 m, i64 l, i64 q, i64 size,
                                       i64 count, i64 stride, i64 dilation) {
    for (i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x; k < n;
         k += (i64)gridDim.x * blockDim.x) {
        i64 rest = k;
        const i64 iq = rest % q;
        rest /= q;
        const int il = (int)(rest % l);
        rest /= l;
        const i64 im = rest % m, ia = rest / m;
        W sum = 0;
        for (int i = 0; i < (int)size; i++) {
            const int t = il - i * (int)dilation;
            const int j = t / (int)stride;
            if (t < 0 || t != j * (int)stride || j >= (int)count) continue;
            sum += wide(g[(((ia * size + i) * m + im) * count + j) * q + iq]);
        }
        y[k] = narrow<T>(sum);
    }
}

// A plane of x, of the window that begins at (p * s0, q * s1): the place of its first largest, or
// of its first NaN.
struct Window { int h, w, k0, k1, s0, s1, d0, d1; };

__device__ __forceinline__ int largest(const T* x, const Window& o, int p, int q, W* value) {
    int at = p * o.s0 * o.w + q * o.s1, found = at;
    W most = wide(x[at]);
    for (int i = 0; i < o.k0; i++)
        for (int j = 0; j < o.k1; j++) {
            const int here = at + i * o.d0 * o.w + j * o.d1;
            const W v = wide(x[here]);
            if (v > most || (v != v && most == most)) {
                most = v;
                found = here;
            }
        }
    *value = most;
    return found;
}

#define WINDOW i64 h, i64 w, i64 k0, i64 k1, i64 s0, i64 s1, i64 d0, i64 d1

// y (a, b, p, q) of x (a, b, h, w), whose planes lie x_a and x_b apart.
extern "C" __global__ void max_windows(T* y, const T* x, i64 n, i64 b, i64 x_a, i64 x_b, i64 p,
                                       i64 q, WINDOW) {
    const Window o = {(int)h, (int)w, (int)k0, (int)k1, (int)s0, (int)s1, (int)d0, (int)d1};
    for (i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x; k < n;
         k += (i64)gridDim.x * blockDim.x) {
        const i64 plane = k / (p * q);
        const int at = (int)(k - plane * p * q), row = at / (int)q;
        W value;
        largest(x + plane / b * x_a + plane % b * x_b, o, row, at - row * (int)q, &value);
        y[k] = narrow<T>(value);
    }
}

// dx (a, b, h, w): of each element the sum of g (a, b, p, q) of the windows whose first largest it
// is.
extern "C" __global__ void max_windows_grad(T* dx, const T* g, const T* x, i64 n, i64 b, i64 g_a,
                                            i64 g_b, i64 x_a, i64 x_b, i64 p, i64 q, WINDOW) {
    const Window o = {(int)h, (int)w, (int)k0, (int)k1, (int)s0, (int)s1, (int)d0, (int)d1};
    for (i64 k = (i64)blockIdx.x * blockDim.x + threadIdx.x; k < n;
         k += (i64)gridDim.x * blockDim.x) {
        const i64 plane = k / (h * w);
        const int at = (int)(k - plane * h * w), row = at / o.w, column = at - row * o.w;
        const T* here = x + plane / b * x_a + plane % b * x_b;
        const T* from = g + plane / b * g_a + plane % b * g_b;
        const int reach0 = (o.k0 - 1) * o.d0, reach1 = (o.k1 - 1) * o.d1;
        int i = row - reach0, j0 = column - reach1;
        i = i > 0 ? (i + o.s0 - 1) / o.s0 : 0;
        j0 = j0 > 0 ? (j0 + o.s1 - 1) / o.s1 : 0;
        W sum = 0;
        for (; i < (int)p && i * o.s0 <= row; i++) {
            if ((row - i * o.s0) % o.d0 != 0) continue;
            for (int j = j0; j < (int)q && j * o.s1 <= column; j++) {
                if ((column - j * o.s1) % o.d1 != 0) continue;
                W value;
                if (largest(here, o, i, j, &value) == at) sum += wide(from[i * (int)q + j]);
            }
        }
        dx[k] = narrow<T>(sum);
    }
}
