// Sums and the like: what the kernels are made of that `reductions.py` makes.

struct Add {
    template <typename A> static __device__ __forceinline__ A of(A a, A b) { return a + b; }
};
struct Greatest {
    template <typename A> static __device__ __forceinline__ A of(A a, A b) { return greatest(a, b); }
};
struct Least {
    template <typename A> static __device__ __forceinline__ A of(A a, A b) { return least(a, b); }
};

// Over groups of G threads that lie side by side, a power of two up to a warp.
template <typename How, int G, typename A> __device__ __forceinline__ A over_group(A x) {
#pragma unroll
    for (int i = G / 2; i > 0; i /= 2) x = How::of(x, __shfl_xor_sync(ALL, x, i));
    return x;
}

// Over a block of whole warps; thread 0 has the result.
template <typename How, typename A> __device__ __forceinline__ A over_block(A x, A none) {
    __shared__ A box[WARP];
    x = over_group<How, WARP>(x);
    if (threadIdx.x % WARP == 0) box[threadIdx.x / WARP] = x;
    __syncthreads();
    x = threadIdx.x < blockDim.x / WARP ? box[threadIdx.x] : none;
    return threadIdx.x < WARP ? over_group<How, WARP>(x) : x;
}
