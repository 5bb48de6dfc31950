// Element by element: what chains of ops are made of. The kernels themselves are made, by
// `elementwise.py` and `reductions.py`.

// ------------------------------------------------------------------ elements in memory, and values

// V elements that lie side by side, in as few loads as there can be.
template <typename T, int V> struct Lanes { T x[V]; };

template <int BYTES> struct Bits { Quad q[BYTES / 16]; };
template <> struct Bits<8> { u64 q; };
template <> struct Bits<4> { u32 q; };
template <> struct Bits<2> { unsigned short q; };
template <> struct Bits<1> { u8 q; };

// `p` must be a multiple of their bytes, or of 16 if they are more.
template <int V, typename T> __device__ __forceinline__ Lanes<T, V> load_lanes(const T* p) {
    union { Bits<V * sizeof(T)> bits; Lanes<T, V> lanes; } u;
    u.bits = *reinterpret_cast<const Bits<V * sizeof(T)>*>(p);
    return u.lanes;
}

template <int V, typename T> __device__ __forceinline__ void store_lanes(T* p, Lanes<T, V> lanes) {
    union { Bits<V * sizeof(T)> bits; Lanes<T, V> lanes; } u;
    u.lanes = lanes;
    *reinterpret_cast<Bits<V * sizeof(T)>*>(p) = u.bits;
}

// What is computed with: floats of 16 bits as float, all else as it is.
template <typename T> __device__ __forceinline__ T value(T x) { return x; }
__device__ __forceinline__ float value(f16 x) { return wide(x); }
__device__ __forceinline__ float value(bf16 x) { return wide(x); }

template <typename T> struct Stored {
    template <typename A> static __device__ __forceinline__ T of(A x) { return (T)x; }
};
template <> struct Stored<f16> {
    template <typename A> static __device__ __forceinline__ f16 of(A x) {
        return narrow<f16>((float)x);
    }
};
template <> struct Stored<bf16> {
    template <typename A> static __device__ __forceinline__ bf16 of(A x) {
        return narrow<bf16>((float)x);
    }
};
template <typename T, typename A> __device__ __forceinline__ T stored(A x) {
    return Stored<T>::of(x);
}

// n / d for n < 2^31: `magic` and `shift` as `elementwise.divisor` finds them (Granlund and
// Montgomery, "Division by invariant integers using multiplication").
__device__ __forceinline__ u32 quotient(u32 n, u32 magic, u32 shift) {
    return (__umulhi(n, magic) + n) >> shift;
}

// ------------------------------------------------------------------------------ ops, as NumPy's are

template <typename A> __device__ __forceinline__ A greatest(A a, A b) {
    return a >= b || a != a ? a : b;
}
template <typename A> __device__ __forceinline__ A least(A a, A b) {
    return a <= b || a != a ? a : b;
}
template <typename A> __device__ __forceinline__ A greater_number(A a, A b) {
    return a >= b || b != b ? a : b;
}
template <typename A> __device__ __forceinline__ A lesser_number(A a, A b) {
    return a <= b || b != b ? a : b;
}
template <typename A> __device__ __forceinline__ A size_of(A x) { return x < A(0) ? A(-x) : x; }
__device__ __forceinline__ bool size_of(bool x) { return x; }
__device__ __forceinline__ float size_of(float x) { return fabsf(x); }
__device__ __forceinline__ double size_of(double x) { return fabs(x); }

template <typename A> __device__ __forceinline__ A sign_of(A x) {
    return x > A(0) ? A(1) : x < A(0) ? A(-1) : x;  // 0 and NaN stay
}
__device__ __forceinline__ bool sign_of(bool x) { return x; }

template <typename A> __device__ __forceinline__ bool infinite(A x) { return x == x && x - x != x - x; }
template <typename A> __device__ __forceinline__ bool finite(A x) { return x - x == x - x; }

template <typename A> __device__ __forceinline__ A remainder_of(A a, A b) {
    if (b == A(0)) return A(0);
    if (b == A(-1)) return A(0);  // of the smallest integer it would overflow
    A r = a % b;
    return r != A(0) && (r < A(0)) != (b < A(0)) ? A(r + b) : r;
}
template <typename A> __device__ __forceinline__ A floored(A a, A b) {
    if (b == A(0)) return A(0);
    if (b == A(-1)) return A(-a);
    A q = a / b;
    return a % b != A(0) && (a < A(0)) != (b < A(0)) ? A(q - A(1)) : q;
}
template <typename A> __device__ __forceinline__ A rest_in_c(A a, A b) {
    return b == A(0) || b == A(-1) ? A(0) : A(a % b);
}

template <typename A> __device__ __forceinline__ A float_remainder(A a, A b) {
    A r = fmod(a, b);
    if (b == A(0)) return r;
    if (r == A(0)) return copysign(A(0), b);
    return (r < A(0)) != (b < A(0)) ? r + b : r;
}
__device__ __forceinline__ float remainder_of(float a, float b) { return float_remainder(a, b); }
__device__ __forceinline__ double remainder_of(double a, double b) { return float_remainder(a, b); }
__device__ __forceinline__ float rest_in_c(float a, float b) { return fmodf(a, b); }
__device__ __forceinline__ double rest_in_c(double a, double b) { return fmod(a, b); }

template <typename A> __device__ __forceinline__ A float_floored(A a, A b) {
    if (b == A(0)) return a / b;
    A r = fmod(a, b), q = (a - r) / b;
    if (r != A(0) && (r < A(0)) != (b < A(0))) q -= A(1);
    if (q == A(0)) return copysign(A(0), a / b);
    A whole = floor(q);
    return q - whole > A(0.5) ? whole + A(1) : whole;
}
__device__ __forceinline__ float floored(float a, float b) { return float_floored(a, b); }
__device__ __forceinline__ double floored(double a, double b) { return float_floored(a, b); }

template <typename A> __device__ __forceinline__ A whole_power(A x, int n) {
    A y = A(1);
    for (; n > 0; n /= 2, x = A(x * x))
        if (n % 2) y = A(y * x);
    return y;
}

template <typename A> __device__ __forceinline__ A shifted_left(A a, A b) {
    return b >= A(0) && b < A(8 * sizeof(A)) ? A((u64)a << (u64)b) : A(0);
}
template <typename A> __device__ __forceinline__ A shifted_right(A a, A b) {
    return b >= A(0) && b < A(8 * sizeof(A)) ? A(a >> b) : a < A(0) ? A(-1) : A(0);
}

template <typename A> __device__ __forceinline__ A logistic(A x) {
    A e = exp(-size_of(x));
    return (x < A(0) ? e : A(1)) / (A(1) + e);
}
template <typename A> __device__ __forceinline__ A log_logistic(A x) {
    return least(x, A(0)) - log1p(exp(-size_of(x)));
}
template <typename A> __device__ __forceinline__ A soft_plus(A x, A beta, A threshold) {
    A bx = beta * x;
    return bx > threshold ? x : (greatest(bx, A(0)) + log1p(exp(-size_of(bx)))) / beta;
}
template <typename A> __device__ __forceinline__ A log_of_sum(A a, A b) {
    if (a == b) return a + A(0.693147180559945309417232121458);
    A d = a - b;
    return d > A(0) ? a + log1p(exp(-d)) : d <= A(0) ? b + log1p(exp(d)) : d;
}
template <typename A> __device__ __forceinline__ A log2_of_sum(A a, A b) {
    const A log2_e = A(1.442695040888963407359924681002);
    if (a == b) return a + A(1);
    A d = a - b;
    return d > A(0) ? a + log2_e * log1p(exp2(-d)) : d <= A(0) ? b + log2_e * log1p(exp2(d)) : d;
}
template <typename A> __device__ __forceinline__ A x_log_y(A a, A b) {
    return a == A(0) && (b <= A(0) || (infinite(b) && b > A(0))) ? A(0) : a * log(b);
}
template <typename A> __device__ __forceinline__ A x_log1p_y(A a, A b) {
    return a == A(0) && (b <= A(-1) || (infinite(b) && b > A(0))) ? A(0) : a * log1p(b);
}
