// What CUDA C++ has beyond C++, for sources of kernels that are compiled for the CPU.
//
// A block's threads are fibers of one thread of the CPU. One runs until it waits for others: at
// __syncthreads, a shuffle, mma. What they do together is done when all that are named are there.
// `on_host.cpp` has the scheduler, which notices who waits for whom that never comes.

#pragma once
// GCC's <math.h> brings along special functions that no kernel has, and takes longer to read than
// most kernels to compile.
#if __has_include(<bits/c++config.h>)
#include <bits/c++config.h>
#undef _GLIBCXX_USE_STD_SPEC_FUNCS
#endif
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ON_HOST_HEADER

// -------------------------------------------------------------------------------- the scheduler

#define HOST_UNSEEN __attribute__((no_sanitize_address))  // the machine's own accesses

// What lanes do together: `mine` of each, by lane; those not in the mask have null.
typedef void (*HostTogether)(unsigned mask, void** mine, unsigned lanes);

extern "C" {
void host_together(const char* what, HostTogether act, unsigned mask, void* mine);
void host_barrier(const char* what, HostTogether act, void* mine);
void host_fail(const char* format, ...);
unsigned char* host_dynamic_shared();
void host_copy_later(void* to, const void* from, bool there);
void host_copies_begun();
void host_wait_for_copies(int sets);
void host_in_shared(const void* at, size_t size, const char* what);
}

struct HostLaunch {
    unsigned grid[3], block[3];
    size_t shared;
    int count;                 // of arguments
    const void* const* args;   // where each lies
    const int* sizes;          // in bytes
    const char* kinds;         // p i f b, t for what may be a table of pointers, v for a struct
    void** stacks;             // of the fibers, kept by the caller for the next launch
    unsigned long long seed;   // of the order in which threads run
    int (*where)(const void* at, const char** from, const char** to);  // an array; 0 if there is none
    char* error;
    size_t error_size;
};

extern "C" int host_run(HostLaunch*, void (*call)(void*), void* kernel);

template <typename P> struct HostKind { static const char kind = 'v'; };
template <typename P> struct HostKind<P*> { static const char kind = 'p'; };
template <typename P> struct HostKind<P**> { static const char kind = 't'; };
template <typename P> struct HostKind<P* const*> { static const char kind = 't'; };
template <> struct HostKind<long long*> { static const char kind = 't'; };
template <> struct HostKind<const long long*> { static const char kind = 't'; };
#define HOST_KIND(P, k) template <> struct HostKind<P> { static const char kind = k; };
HOST_KIND(bool, 'b') HOST_KIND(float, 'f') HOST_KIND(double, 'f') HOST_KIND(char, 'i')
HOST_KIND(signed char, 'i') HOST_KIND(unsigned char, 'i') HOST_KIND(short, 'i')
HOST_KIND(unsigned short, 'i') HOST_KIND(int, 'i') HOST_KIND(unsigned, 'i') HOST_KIND(long, 'i')
HOST_KIND(unsigned long, 'i') HOST_KIND(long long, 'i') HOST_KIND(unsigned long long, 'i')
#undef HOST_KIND

extern "C" int host_wrong_argument(HostLaunch*, int which, const char* kinds, const int* sizes, int count);

template <int... I> struct HostIndices {};
template <int N, int... I> struct HostCount : HostCount<N - 1, N - 1, I...> {};
template <int... I> struct HostCount<0, I...> { typedef HostIndices<I...> type; };

template <typename... P> struct HostKernel {
    void (*function)(P...);
    HostLaunch* launch;

    template <int... I> HOST_UNSEEN void call(HostIndices<I...>) {
        function(*(typename HostBare<P>::type*)launch->args[I]...);
    }
    template <typename Q> struct HostBare { typedef Q type; };
    template <typename Q> struct HostBare<const Q> { typedef Q type; };

    HOST_UNSEEN static void run(void* self) {
        ((HostKernel*)self)->call(typename HostCount<sizeof...(P)>::type());
    }
};

template <typename... P> int host_launch(void (*function)(P...), HostLaunch* launch) {
    const int count = sizeof...(P), sizes[] = {(int)sizeof(P)..., 0};
    static const char kinds[] = {HostKind<P>::kind..., 0};  // a graph launches the same again
    for (int i = 0; i < count || i < launch->count; i++) {
        bool same = i < count && i < launch->count && sizes[i] == launch->sizes[i];
        char a = same ? kinds[i] : 0, b = same ? launch->kinds[i] : 1;
        if (a != b && !((a == 'p' || a == 't') && b == 'i'))
            return host_wrong_argument(launch, i, kinds, sizes, count);
    }
    HostKernel<P...> kernel{function, launch};
    launch->kinds = kinds;
    return host_run(launch, HostKernel<P...>::run, &kernel);
}

// ------------------------------------------------------------------------------------- the words

#undef __noinline__
#undef __align__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
#define HOST_VECTORS(T, name, wide) \
    struct __align__(2 * sizeof(T)) name##2 { T x, y; }; \
    struct __align__(wide) name##4 { T x, y, z, w; }; \
    static inline name##2 make_##name##2(T x, T y) { return name##2{x, y}; } \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return name##4{x, y, z, w}; }
HOST_VECTORS(float, float, 16)
HOST_VECTORS(double, double, 16)
HOST_VECTORS(int, int, 16)
HOST_VECTORS(unsigned, uint, 16)
HOST_VECTORS(short, short, 8)
HOST_VECTORS(unsigned short, ushort, 8)
HOST_VECTORS(signed char, char, 4)
HOST_VECTORS(unsigned char, uchar, 4)
HOST_VECTORS(long long, longlong, 16)
HOST_VECTORS(unsigned long long, ulonglong, 16)
#undef HOST_VECTORS

struct HostPlace { uint3 thread, block; dim3 threads, blocks; };
extern "C" HostPlace host_place;
#define threadIdx host_place.thread
#define blockIdx host_place.block
#define blockDim host_place.threads
#define gridDim host_place.blocks
static const int warpSize = 32;

// ---------------------------------------------------------------------- threads that wait for others

#define HOST_BLOCK(name, init, step) \
    static inline int name(int predicate) { \
        int found = predicate; \
        host_barrier(#name, [](unsigned, void** mine, unsigned n) { \
            int y = init; \
            for (unsigned i = 0; i < n; i++) { int p = *(int*)mine[i] != 0; y = step; } \
            for (unsigned i = 0; i < n; i++) *(int*)mine[i] = y; \
        }, &found); \
        return found; \
    }
HOST_BLOCK(__syncthreads_count, 0, y + p)
HOST_BLOCK(__syncthreads_and, 1, y & p)
HOST_BLOCK(__syncthreads_or, 0, y | p)
#undef HOST_BLOCK

static inline void __syncthreads() { host_barrier("__syncthreads", nullptr, nullptr); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    host_together("__syncwarp", nullptr, mask, nullptr);
}

static inline int host_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

template <typename T> struct HostShuffled { T value; int from; };

template <typename T> HOST_UNSEEN void host_shuffle_together(unsigned mask, void** mine, unsigned) {
    T given[32];
    for (int i = 0; i < 32; i++) if (mine[i]) given[i] = ((HostShuffled<T>*)mine[i])->value;
    for (int i = 0; i < 32; i++)
        if (mine[i]) {
            HostShuffled<T>* to = (HostShuffled<T>*)mine[i];
            if (to->from < 0 || to->from > 31 || !(mask >> to->from & 1))
                return host_fail("a shuffle: lane %d reads from lane %d, which the mask %08x does not name",
                          i, to->from, mask);
            to->value = given[to->from];
        }
}

template <typename T> T host_shuffle(const char* what, unsigned mask, T value, int from) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles take 4 or 8 bytes");
    HostShuffled<T> mine{value, from};
    host_together(what, host_shuffle_together<T>, mask, &mine);
    return mine.value;
}

// `width` is a power of two: each segment of so many lanes is by itself.
#define HOST_SHUFFLES(T) \
    static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32) { \
        int i = host_lane(); \
        return host_shuffle("__shfl_sync", mask, v, (i & ~(width - 1)) | (lane & (width - 1))); \
    } \
    static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) { \
        int i = host_lane(), j = i ^ bits; \
        return host_shuffle("__shfl_xor_sync", mask, v, j > (i | (width - 1)) ? i : j); \
    } \
    static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) { \
        int i = host_lane(), j = i - (int)by; \
        return host_shuffle("__shfl_up_sync", mask, v, j < (i & ~(width - 1)) ? i : j); \
    } \
    static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) { \
        int i = host_lane(), j = i + (int)by; \
        return host_shuffle("__shfl_down_sync", mask, v, j > (i | (width - 1)) ? i : j); \
    }
HOST_SHUFFLES(int) HOST_SHUFFLES(unsigned) HOST_SHUFFLES(float) HOST_SHUFFLES(double)
HOST_SHUFFLES(long) HOST_SHUFFLES(unsigned long)
HOST_SHUFFLES(long long) HOST_SHUFFLES(unsigned long long)
#undef HOST_SHUFFLES

HOST_UNSEEN static inline void host_ballot(unsigned, void** mine, unsigned) {
    unsigned found = 0;
    for (int i = 0; i < 32; i++) if (mine[i] && *(unsigned*)mine[i]) found |= 1u << i;
    for (int i = 0; i < 32; i++) if (mine[i]) *(unsigned*)mine[i] = found;
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned found = predicate != 0;
    host_together("__ballot_sync", host_ballot, mask, &found);
    return found;
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }

template <typename T> HOST_UNSEEN void host_match(unsigned, void** mine, unsigned) {
    T given[32];
    for (int i = 0; i < 32; i++) if (mine[i]) given[i] = *(T*)mine[i];
    for (int i = 0; i < 32; i++) if (mine[i]) {
        unsigned found = 0;
        for (int j = 0; j < 32; j++) if (mine[j] && given[i] == given[j]) found |= 1u << j;
        memcpy(mine[i], &found, 4);
    }
}
template <typename T> unsigned __match_any_sync(unsigned mask, T value) {
    host_together("__match_any_sync", host_match<T>, mask, &value);
    unsigned found;
    memcpy(&found, &value, 4);
    return found;
}

#define HOST_REDUCE(name, T, step) \
    static inline T name(unsigned mask, T value) { \
        host_together(#name, [](unsigned, void** mine, unsigned) { \
            bool first = true; \
            T y = 0; \
            for (int i = 0; i < 32; i++) if (mine[i]) { \
                T x = *(T*)mine[i]; \
                y = first ? x : step; \
                first = false; \
            } \
            for (int i = 0; i < 32; i++) if (mine[i]) *(T*)mine[i] = y; \
        }, mask, &value); \
        return value; \
    }
HOST_REDUCE(__reduce_add_sync, unsigned, y + x) HOST_REDUCE(__reduce_add_sync, int, y + x)
HOST_REDUCE(__reduce_max_sync, unsigned, y > x ? y : x) HOST_REDUCE(__reduce_max_sync, int, y > x ? y : x)
HOST_REDUCE(__reduce_min_sync, unsigned, y < x ? y : x) HOST_REDUCE(__reduce_min_sync, int, y < x ? y : x)
HOST_REDUCE(__reduce_and_sync, unsigned, y & x) HOST_REDUCE(__reduce_or_sync, unsigned, y | x)
HOST_REDUCE(__reduce_xor_sync, unsigned, y ^ x)
#undef HOST_REDUCE

static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __trap() { host_fail("the kernel called __trap()"); }

// -------------------------------------------------------------------------------------- memory

template <typename T> T __ldg(const T* p) { return *p; }
template <typename T> T __ldca(const T* p) { return *p; }
template <typename T> T __ldcg(const T* p) { return *p; }
template <typename T> T __ldcs(const T* p) { return *p; }
template <typename T> T __ldlu(const T* p) { return *p; }
template <typename T> T __ldcv(const T* p) { return *p; }
template <typename T> void __stwb(T* p, T x) { *p = x; }
template <typename T> void __stcg(T* p, T x) { *p = x; }
template <typename T> void __stcs(T* p, T x) { *p = x; }
template <typename T> void __stwt(T* p, T x) { *p = x; }

// Threads change only where they wait, so nothing comes between.
#define HOST_ATOMIC(name, step) \
    template <typename T, typename U> T name(T* p, U u) { \
        T x = (T)u, old = *p; \
        *p = step; \
        return old; \
    }
HOST_ATOMIC(atomicAdd, old + x) HOST_ATOMIC(atomicSub, old - x)
HOST_ATOMIC(atomicMax, x > old ? x : old) HOST_ATOMIC(atomicMin, x < old ? x : old)
HOST_ATOMIC(atomicAnd, old & x) HOST_ATOMIC(atomicOr, old | x) HOST_ATOMIC(atomicXor, old ^ x)
HOST_ATOMIC(atomicExch, x)
HOST_ATOMIC(atomicInc, old >= x ? 0 : old + 1)
HOST_ATOMIC(atomicDec, old == 0 || old > x ? x : old - 1)
#undef HOST_ATOMIC
template <typename T, typename U, typename V> T atomicCAS(T* p, U expected, V x) {
    T old = *p;
    if (old == (T)expected) *p = (T)x;
    return old;
}

// ----------------------------------------------------------------------------------------- bits

template <typename To, typename From> To host_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline float __uint_as_float(unsigned x) { return host_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return host_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return host_bits<float>(x); }
static inline int __float_as_int(float x) { return host_bits<int>(x); }
static inline double __longlong_as_double(long long x) { return host_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return host_bits<long long>(x); }
static inline int __double2loint(double x) { return (int)__double_as_longlong(x); }
static inline int __double2hiint(double x) { return (int)(__double_as_longlong(x) >> 32); }
static inline double __hiloint2double(int high, int low) {
    return __longlong_as_double((long long)((unsigned long long)(unsigned)high << 32 | (unsigned)low));
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((unsigned long long)a * b >> 32);
}
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
static inline unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32));
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return (unsigned)((((unsigned long long)high << 32 | low) << (by & 31)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return (unsigned)(((unsigned long long)high << 32 | low) >> (by & 31));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned which) {
    unsigned long long both = (unsigned long long)b << 32 | a;
    unsigned y = 0;
    for (int i = 0; i < 4; i++) {
        unsigned s = which >> (4 * i) & 15, byte = (unsigned)(both >> (8 * (s & 7))) & 255;
        if (s & 8) byte = byte & 128 ? 255 : 0;
        y |= byte << (8 * i);
    }
    return y;
}

// ------------------------------------------------------------------------------------- numbers

template <typename A, typename B> struct HostBoth { typedef decltype(A() + B()) type; };
#define HOST_CHOICE(name, compare, choose) \
    template <typename A, typename B> inline typename HostBoth<A, B>::type name(A a, B b) { \
        typedef typename HostBoth<A, B>::type T; \
        return (T)a compare (T)b ? (T)a : (T)b; \
    } \
    static inline float name(float a, float b) { return choose##f(a, b); } \
    static inline double name(double a, double b) { return choose(a, b); }
HOST_CHOICE(min, <, fmin)
HOST_CHOICE(max, >, fmax)
#undef HOST_CHOICE
static inline int umin(unsigned a, unsigned b) { return a < b ? a : b; }
static inline int umax(unsigned a, unsigned b) { return a > b ? a : b; }

// glibc declares some of these names for itself.
static inline float host_expf(float x) { return expf(x); }
#define __expf host_expf
static inline float host_exp10f(float x) { return powf(10.0f, x); }
#define __exp10f host_exp10f
static inline float host_logf(float x) { return logf(x); }
#define __logf host_logf
static inline float host_log2f(float x) { return log2f(x); }
#define __log2f host_log2f
static inline float host_log10f(float x) { return log10f(x); }
#define __log10f host_log10f
static inline float host_sinf(float x) { return sinf(x); }
#define __sinf host_sinf
static inline float host_cosf(float x) { return cosf(x); }
#define __cosf host_cosf
static inline float host_tanf(float x) { return tanf(x); }
#define __tanf host_tanf
static inline float host_powf(float x, float y) { return powf(x, y); }
#define __powf host_powf
static inline void host_sincosf(float x, float* s, float* c) { *s = sinf(x); *c = cosf(x); }
#define __sincosf host_sincosf
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __drcp_rn(double x) { return 1.0 / x; }
static inline double __dsqrt_rn(double x) { return sqrt(x); }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
static inline float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline double rcbrt(double x) { return 1.0 / cbrt(x); }
#define exp10f host_exp10f
static inline void host_sincos(double x, double* s, double* c) { *s = sin(x); *c = cos(x); }
#define sincosf host_sincosf
#define sincos host_sincos
static inline double sinpi(double x) { return sin(3.14159265358979323846 * fmod(x, 2.0)); }
static inline double cospi(double x) { return cos(3.14159265358979323846 * fmod(x, 2.0)); }
static inline float sinpif(float x) { return (float)sinpi((double)x); }
static inline float cospif(float x) { return (float)cospi((double)x); }
static inline void sincospif(float x, float* s, float* c) { *s = sinpif(x); *c = cospif(x); }
static inline void sincospi(double x, double* s, double* c) { *s = sinpi(x); *c = cospi(x); }
static inline float normcdff(float x) { return (float)(0.5 * erfc(-(double)x * 0.70710678118654752440)); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }

// To integers: as the hardware does, towards zero, saturated, and NaN to 0.
template <typename I> I host_to_integer(double x) {
    const bool is_signed = (I)-1 < (I)0;
    const int bits = 8 * sizeof(I) - is_signed;
    const double top = ldexp(1.0, bits);
    if (x != x) return sizeof(I) == 8 ? (I)(1ull << 63) : (I)0;
    if (x >= top) return is_signed ? (I)((1ull << bits) - 1) : (I)-1;
    if (x < (is_signed ? -top : 0.0)) return is_signed ? (I)(1ull << bits) : (I)0;
    return (I)x;
}
static inline int __float2int_rn(float x) { return host_to_integer<int>(rint((double)x)); }
static inline int __float2int_rz(float x) { return host_to_integer<int>(x); }
static inline int __float2int_rd(float x) { return host_to_integer<int>(floor((double)x)); }
static inline int __float2int_ru(float x) { return host_to_integer<int>(ceil((double)x)); }
static inline unsigned __float2uint_rn(float x) { return host_to_integer<unsigned>(rint((double)x)); }
static inline unsigned __float2uint_rz(float x) { return host_to_integer<unsigned>(x); }
static inline unsigned __float2uint_rd(float x) { return host_to_integer<unsigned>(floor((double)x)); }
static inline long long __float2ll_rn(float x) { return host_to_integer<long long>(rint((double)x)); }
static inline long long __float2ll_rz(float x) { return host_to_integer<long long>(x); }
static inline long long __double2ll_rn(double x) { return host_to_integer<long long>(rint(x)); }
static inline long long __double2ll_rz(double x) { return host_to_integer<long long>(x); }
static inline int __double2int_rn(double x) { return host_to_integer<int>(rint(x)); }
static inline int __double2int_rz(double x) { return host_to_integer<int>(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __ll2float_rn(long long x) { return (float)x; }
static inline float __ull2float_rn(unsigned long long x) { return (float)x; }
static inline double __int2double_rn(int x) { return x; }
static inline double __uint2double_rn(unsigned x) { return x; }
static inline double __ll2double_rn(long long x) { return (double)x; }
static inline float __double2float_rn(double x) { return (float)x; }

// ------------------------------------------------------------- floats of 16 bits: for common.cuh

static inline float f16_to_float(unsigned short bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    float y = (float)fraction * 5.9604644775390625e-8f;  // 2^-24: subnormal, or zero
    return sign ? -y : y;
}

// Rounded to nearest, ties to even; a NaN is 7fff, as the hardware gives it.
static inline unsigned short float_to_f16(float x) {
    unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return 0x7fff;
    if (a >= 0x477ff000u) return sign | 0x7c00;  // 65520 and more
    if (a < 0x38800000u) {                       // below 2^-14: multiples of 2^-24
        float y = __uint_as_float(a) * 16777216.0f;
        return sign | (unsigned)rintf(y);
    }
    unsigned rounded = a + 0xfffu + (a >> 13 & 1);
    return sign | ((rounded >> 13) - (112 << 10));
}

static inline unsigned short float_to_bf16(float x) {
    unsigned u = __float_as_uint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u + 0x7fffu + (u >> 16 & 1)) >> 16;
}

// --------------------------------------------------- tensor cores, asynchronous copies: likewise
//
// Layouts are those of the PTX ISA, "Warp level matrix instructions". With g = lane / 4 and
// t = lane % 4, 16 bits packed two to a word, the first in the low half:
//
//     mma.m16n8k16  a[0]: A[g][2t..]      a[1]: A[g + 8][2t..]
//                   a[2]: A[g][2t + 8..]  a[3]: A[g + 8][2t + 8..]
//                   b[0]: B[2t..][g]      b[1]: B[2t + 8..][g]
//     mma.m16n8k8   a[0]: A[g][t]         a[1]: A[g + 8][t]
//     (TF32)        a[2]: A[g][t + 4]     a[3]: A[g + 8][t + 4]
//                   b[0]: B[t][g]         b[1]: B[t + 4][g]
//     both          d[0]: D[g][2t]        d[1]: D[g][2t + 1]
//                   d[2]: D[g + 8][2t]    d[3]: D[g + 8][2t + 1]
//     ldmatrix.x4   r[i]: row g of matrix i, elements 2t and 2t + 1; transposed: of column g

struct bf16;
struct f16;

struct HostMma { float* d; const unsigned *a, *b; };

extern "C" void host_mma_together_bf16(unsigned, void**, unsigned);
extern "C" void host_mma_together_f16(unsigned, void**, unsigned);
extern "C" void host_mma_together_tf32(unsigned, void**, unsigned);
extern "C" void host_ldmatrix_together(unsigned, void**, unsigned);
extern "C" void host_ldmatrix_transposed_together(unsigned, void**, unsigned);

template <typename T> struct HostMmaOf;
template <> struct HostMmaOf<bf16> { static constexpr HostTogether act = host_mma_together_bf16; };
template <> struct HostMmaOf<f16> { static constexpr HostTogether act = host_mma_together_f16; };

template <typename T>
void mma_16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], T) {
    HostMma mine{d, a, b};
    host_together("mma_16", HostMmaOf<T>::act, 0xffffffffu, &mine);
}
static inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    HostMma mine{d, a, b};
    host_together("mma_tf32", host_mma_together_tf32, 0xffffffffu, &mine);
}

// To nearest, ties away from zero. The 13 bits that are left are not looked at.
static inline unsigned to_tf32(float x) {
    unsigned u = __float_as_uint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
    return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
}

struct HostRows { unsigned* r; const void* row; };

static inline void ldmatrix(unsigned (&r)[4], const void* row) {
    HostRows mine{r, row};
    host_in_shared(row, 16, "ldmatrix");
    host_together("ldmatrix", host_ldmatrix_together, 0xffffffffu, &mine);
}
static inline void ldmatrix_transposed(unsigned (&r)[4], const void* row) {
    HostRows mine{r, row};
    host_in_shared(row, 16, "ldmatrix");
    host_together("ldmatrix", host_ldmatrix_transposed_together, 0xffffffffu, &mine);
}

static inline void copy_async(void* to, const void* from, bool there) {
    host_in_shared(to, 16, "copy_async");
    host_copy_later(to, from, there);
}
static inline void copies_begun() { host_copies_begun(); }
template <int N> void wait_for_copies() { host_wait_for_copies(N); }
