"""Kernels for CUDA: the pages of `minigrad.kernels` again, for CuPy's arrays.

A page is two files: `norms.cu` has the kernels in CUDA C++, `norms.py` says which arrays they take
and how they are launched. A kernel has the name of its twin in `minigrad.kernels`, so that an op
names both at once: `kernel="norms.layer_norm"`.

    machine     Page, Kernel, Launch; compiling, and launching on arrays
    common.cuh  what all pages have: dtypes, packs of 16 bytes, sums over warps and blocks, Philox
    rows        how rows of numbers lie in registers, for softmaxes, losses, norms and sorting
    blas        products: our own binding of cuBLAS, which can be recorded in a CUDA graph
    faults      ids that are out of range, found on the device and told at the next transfer
    softmaxes norms losses attention embeddings products reductions windows updates noise
    elementwise sorting
                the pages, as on the CPU
    channels    norms of each channel over a batch
    indexing    index checks without a wait for the device
    *.cuh       what some pages share: rows.cuh, chains.cuh
    buffers copies counts draws groups (.cu)
                parts of updates, windows, losses, noise and reductions, compiled by themselves

A source needs no headers of CUDA, so that NVRTC compiles it wherever it is; tensor cores and
asynchronous copies are reached by inline PTX, each in one function of `common.cuh`. Tests compile
every kernel for sm_80 and sm_90 and read the compiler's report, and run the same text on the CPU,
where a header stands in for CUDA (`tests/standin`).

Sums are made in one order, without atomic additions of floats: equal inputs give bitwise equal
results. Memory is read and written 16 bytes at a time where it lies so.
"""
