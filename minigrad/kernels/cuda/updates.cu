// Steps of optimizers over flat buffers, in place. The formulas are those of the twins on the CPU.
//
// T is the dtype of weights, M of moments, G of gradients, L of the copy in fewer bits; V elements
// are taken at once, 1 where buffers are not aligned. A, B, C say which moments there are.

#define SGD 0
#define ADAGRAD 1
#define RMSPROP 2
#define LION 3
#define ADAM_VARIANT 4
#define ADAM 5

typedef typename Wide<T>::type W;

// V elements of X, in as few loads as there can be.
template <typename X> struct Some { X x[V]; };
template <typename X> __device__ __forceinline__ Some<X> some(const X* p) {
    union { Quad q[V * sizeof(X) / 16 ? V * sizeof(X) / 16 : 1]; u64 two; Some<X> some; } u;
    if (V * sizeof(X) >= 16) {
#pragma unroll
        for (int i = 0; i < (int)(V * sizeof(X) / 16); i++) u.q[i] = ((const Quad*)p)[i];
    } else {
        u.two = *(const u64*)p;
    }
    return u.some;
}
template <typename X> __device__ __forceinline__ void put(X* p, Some<X> some) {
    union { Quad q[V * sizeof(X) / 16 ? V * sizeof(X) / 16 : 1]; u64 two; Some<X> some; } u;
    u.some = some;
    if (V * sizeof(X) >= 16) {
#pragma unroll
        for (int i = 0; i < (int)(V * sizeof(X) / 16); i++) ((Quad*)p)[i] = u.q[i];
    } else {
        *(u64*)p = u.two;
    }
}

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }
__device__ __forceinline__ W size(W x) { return x < W(0) ? -x : x; }

// What is smaller than any normal number becomes 0, as on the CPU.
__device__ __forceinline__ W normal(W x) {
    const W tiny = sizeof(W) == 4 ? W(1.1754943508222875e-38) : W(2.2250738585072014e-308);
    return size(x) < tiny ? W(0) : x;
}

__device__ __forceinline__ double power(double x, i64 n) {
    double y = 1;
    for (; n > 0; n /= 2, x *= x)
        if (n % 2) y *= x;
    return y;
}

struct Options { double x[8]; };

// What depends on the step count alone.
struct Rates { W x, y; };

__device__ __forceinline__ Rates rates(const Options& o, i64 step) {
#if RULE == ADAM || RULE == ADAM_VARIANT
    return Rates{W(o.x[0] / (1 - power(o.x[1], step))), W(1 / sqrt(1 - power(o.x[2], step)))};
#elif RULE == ADAGRAD
    return Rates{W(o.x[0] / (1 + (step - 1) * o.x[1])), W(0)};
#elif RULE == SGD
    return step == 1 ? Rates{W(0), W(1)} : Rates{W(o.x[1]), W(1 - o.x[2])};
#else
    return Rates{W(0), W(0)};
#endif
}

// The new weight; moments in place.
__device__ __forceinline__ W changed(W w, W g, W& a, W& b, W& c, Rates rate, const Options& o) {
#if RULE == ADAM  // lr, beta1, beta2, eps, shrink, l2
    W x = w * W(o.x[4]), d = g + W(o.x[5]) * x;
    a = normal(W(o.x[1]) * a + W(1 - o.x[1]) * d);
    b = normal(W(o.x[2]) * b + W(1 - o.x[2]) * (d * d));
    return x - rate.x * a / (root(b) * rate.y + W(o.x[3]));
#elif RULE == ADAM_VARIANT  // lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled
    W x = w * W(o.x[7] != 0 ? 1 - o.x[0] * o.x[4] : 1);
    W d = (o.x[6] != 0 ? -g : g) + W(o.x[7] != 0 ? 0 : o.x[4]) * x;
    a = normal(W(o.x[1]) * a + W(1 - o.x[1]) * d);
    b = normal(W(o.x[2]) * b + W(1 - o.x[2]) * (d * d));
    W v = b;
#if C
    v = c = v > c || v != v ? v : c;
#endif
    return x - rate.x * a / (root(v) * rate.y + W(o.x[3]));
#elif RULE == SGD  // lr, momentum, dampening, weight_decay, nesterov, maximize
    W d = (o.x[5] != 0 ? -g : g) + W(o.x[3]) * w;
#if A
    a = normal(rate.x * a + rate.y * d);
    d = o.x[4] != 0 ? d + W(o.x[1]) * a : a;
#endif
    return w - W(o.x[0]) * d;
#elif RULE == ADAGRAD  // lr, lr_decay, weight_decay, initial_accumulator_value, eps, maximize
    W d = (o.x[5] != 0 ? -g : g) + W(o.x[2]) * w;
    a = a + d * d;
    return w - rate.x * d / (root(a) + W(o.x[4]));
#elif RULE == RMSPROP  // lr, alpha, eps, weight_decay, momentum, centered, maximize
    W d = (o.x[6] != 0 ? -g : g) + W(o.x[3]) * w, take = W(1 - o.x[1]);
    a = normal(W(o.x[1]) * a + take * (d * d));
    W square = a;
#if C
    c = normal(c + take * (d - c));
    square = square - c * c;
    square = square < W(0) ? W(0) : square;
#endif
    d = d / (root(square) + W(o.x[2]));
#if B
    d = b = normal(d + W(o.x[4]) * b);
#endif
    return w - W(o.x[0]) * d;
#else  // LION: lr, beta1, beta2, weight_decay, maximize
    W d = o.x[4] != 0 ? -g : g;
    W u = W(o.x[1]) * a + W(1 - o.x[1]) * d;
    u = u > W(0) ? W(1) : u < W(0) ? W(-1) : u;  // a NaN stays one
    a = normal(W(o.x[2]) * a + W(1 - o.x[2]) * d);
    return w * W(1 - o.x[0] * o.x[3]) - W(o.x[0]) * u;
#endif
}

#define TILE 4096  // elements of a block
#define KNOWN 32   // segments of a block whose rates are found once

// Segments lie in device memory, `starts`, `stops`, `steps` of as many as `numbers[0]` says, and
// options behind that; or, if these are null, there is one, of the arguments that follow. After a
// fault, such as an id that is out of range, gradients are nothing to go by: until it is told, which
// `status` knows, weights stay as they are.
extern "C" __global__ void __launch_bounds__(256) update(
    T* w, const G* g, M* a, M* b, M* c, L* low, i64 n, const i64* starts, const i64* stops,
    const i64* steps, const double* numbers, i64 start, i64 stop, i64 step, double o0, double o1,
    double o2, double o3, double o4, double o5, double o6, double o7, const F* clip,
    const float* scale, const bool* skip, const i64* late, const i64* status) {
    __shared__ Rates known[KNOWN];
    Options o = {{o0, o1, o2, o3, o4, o5, o6, o7}};
    i64 count = 1, first = (i64)blockIdx.x * TILE;
    const i64 left_out = late ? *late : 0;  // steps that were counted and left out
    int s = 0, before;
    if (numbers) {
        count = (i64)numbers[0];
#pragma unroll
        for (int i = 0; i < 8; i++) o.x[i] = numbers[i + 1];
        int end = (int)count;  // the first segment that ends behind where the block begins
        while (s < end) {
            int middle = (s + end) / 2;
            if (stops[middle] > first) end = middle;
            else s = middle + 1;
        }
    }
    before = s;
    if (threadIdx.x < KNOWN && s + threadIdx.x < count)
        known[threadIdx.x] = rates(o, (steps ? steps[s + threadIdx.x] : step) - left_out);
    __syncthreads();
    if ((skip && *skip) || (status && *status)) return;
    const W factor = W(clip ? *clip : F(1)) / W(scale ? *scale : 1.0f);

    i64 last = first + TILE < n ? first + TILE : n;
    for (i64 i = first + threadIdx.x * V; i < last; i += blockDim.x * V) {
        while (s < count && (numbers ? stops[s] : stop) <= i) s++;
        if (s == count) break;
        const i64 low_end = numbers ? starts[s] : start, high_end = numbers ? stops[s] : stop;
#if V > 1
        if (low_end <= i && i + V <= high_end) {
            const Rates rate = s - before < KNOWN ? known[s - before] : rates(o, steps[s] - left_out);
            Some<T> ws = some(w + i);
            const Some<G> gs = some(g + i);
            Some<M> as, bs, cs;
#if A
            as = some(a + i);
#endif
#if B
            bs = some(b + i);
#endif
#if C
            cs = some(c + i);
#endif
            Some<L> lows;
#pragma unroll
            for (int e = 0; e < V; e++) {
                W x = A ? wide(as.x[e]) : W(0), y = B ? wide(bs.x[e]) : W(0);
                W z = C ? wide(cs.x[e]) : W(0);
                const W found = changed(wide(ws.x[e]), wide(gs.x[e]) * factor, x, y, z, rate, o);
                ws.x[e] = narrow<T>(found);
                lows.x[e] = narrow<L>((float)found);
                as.x[e] = narrow<M>(x);
                bs.x[e] = narrow<M>(y);
                cs.x[e] = narrow<M>(z);
            }
            put(w + i, ws);
#if A
            put(a + i, as);
#endif
#if B
            put(b + i, bs);
#endif
#if C
            put(c + i, cs);
#endif
            if (low) put(low + i, lows);
            continue;
        }
#endif
        int t = s;  // elements that lie in several segments, or not all in one
        for (i64 j = i; j < i + V && j < last; j++) {
            while (t < count && (numbers ? stops[t] : stop) <= j) t++;
            if (t == count) break;
            if ((numbers ? starts[t] : start) > j) continue;
            const Rates rate = t - before < KNOWN ? known[t - before] : rates(o, steps[t] - left_out);
            W x = A ? wide(a[j]) : W(0), y = B ? wide(b[j]) : W(0), z = C ? wide(c[j]) : W(0);
            const W found = changed(wide(w[j]), wide(g[j]) * factor, x, y, z, rate, o);
            w[j] = narrow<T>(found);
            if (low) low[j] = narrow<L>((float)found);
            if (A) a[j] = narrow<M>(x);
            if (B) b[j] = narrow<M>(y);
            if (C) c[j] = narrow<M>(z);
        }
    }
}
