// Ids that are looked at before something is read or written there.

// Note a fault at `position` unless there was one before it: in an earlier call, or in this one.
// For one thread of a block: `status[3]` is a lock.
__device__ void note(i64* status, i64 number, i64 position, i64 value) {
    if (!status) return;
    while (atomicCAS((u64*)status + 3, 0ull, 1ull) != 0ull) {}
    volatile i64* s = status;
    if (s[0] == 0 || (s[0] == number && position < s[1])) {
        s[0] = number;
        s[1] = position;
        s[2] = value;
    }
    __threadfence();
    atomicExch((u64*)status + 3, 0ull);
}

// y: the ids of x in 64 bits. In place of one that is out of range comes `low`, so that whoever
// reads there does not read beyond the end.
extern "C" __global__ void in_range(
    i64* y, const T* x, i64 size, i64 low, i64 n, i64* status, i64 number
) {
    __shared__ i64 box[WARP];
    i64 first = size, step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
        i64 id = (i64)x[i];
        bool good = id >= low && id < n;
        y[i] = good ? id : low;
        if (!good && i < first) first = i;
    }
    first = -block_max(-first, box);
    if (threadIdx.x == 0 && first < size) note(status, number, first, (i64)x[first]);
}

// The first place where `wrong` holds.
extern "C" __global__ void first_wrong(const T* wrong, i64 size, i64* status, i64 number) {
    __shared__ i64 box[WARP];
    i64 first = size, step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step)
        if (wrong[i] && i < first) first = i;
    first = -block_max(-first, box);
    if (threadIdx.x == 0 && first < size) note(status, number, first, 0);
}
