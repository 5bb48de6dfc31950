// The functions of cuBLAS that are called through ctypes. What they compute is computed by the
// function of Python's that `standin_computes_with` was given: see `_cublas.py`.

#include <stddef.h>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7 };

struct Handle {
    void* stream;
    void* workspace;
    size_t workspace_size;
    int math, pointers;
};

struct Operand {
    void* at;
    int dtype, leading;
    long long step;  // from one matrix of a batch to the next
};

struct Product {
    Handle* handle;
    int flip_a, flip_b, m, n, k;
    const void *alpha, *beta;
    Operand a, b, c;
    int batch, compute;
};

static int (*compute)(const Product*);

EXPORT void standin_computes_with(int (*function)(const Product*)) { compute = function; }

EXPORT int cublasCreate_v2(Handle** handle) {
    if (!handle) return INVALID_VALUE;
    *handle = new Handle();
    return SUCCESS;
}
EXPORT int cublasDestroy_v2(Handle* handle) {
    if (!handle) return NOT_INITIALIZED;
    delete handle;
    return SUCCESS;
}
EXPORT int cublasGetVersion_v2(Handle*, int* version) {
    *version = 130000;
    return SUCCESS;
}
// It takes the workspace away, as the manual says.
EXPORT int cublasSetStream_v2(Handle* handle, void* stream) {
    if (!handle) return NOT_INITIALIZED;
    handle->stream = stream;
    handle->workspace = nullptr;
    handle->workspace_size = 0;
    return SUCCESS;
}
EXPORT int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t size) {
    if (!handle) return NOT_INITIALIZED;
    if ((size_t)workspace % 256) return INVALID_VALUE;
    handle->workspace = workspace;
    handle->workspace_size = size;
    return SUCCESS;
}
EXPORT int cublasSetMathMode(Handle* handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    handle->math = mode;
    return SUCCESS;
}
EXPORT int cublasSetPointerMode_v2(Handle* handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    handle->pointers = mode;
    return mode == 0 ? SUCCESS : INVALID_VALUE;  // alpha and beta lie on the host
}

EXPORT int cublasGemmStridedBatchedEx(Handle* handle, int flip_a, int flip_b, int m, int n, int k,
                                      const void* alpha, const void* a, int type_a, int lda,
                                      long long step_a, const void* b, int type_b, int ldb,
                                      long long step_b, const void* beta, void* c, int type_c,
                                      int ldc, long long step_c, int batch, int compute_type, int) {
    if (!handle) return NOT_INITIALIZED;
    Product product = {handle, flip_a, flip_b, m, n, k, alpha, beta,
                       {(void*)a, type_a, lda, step_a}, {(void*)b, type_b, ldb, step_b},
                       {c, type_c, ldc, step_c}, batch, compute_type};
    return compute(&product);
}

EXPORT int cublasGemmEx(Handle* handle, int flip_a, int flip_b, int m, int n, int k,
                        const void* alpha, const void* a, int type_a, int lda, const void* b,
                        int type_b, int ldb, const void* beta, void* c, int type_c, int ldc,
                        int compute_type, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, flip_a, flip_b, m, n, k, alpha, a, type_a, lda, 0, b,
                                      type_b, ldb, 0, beta, c, type_c, ldc, 0, 1, compute_type,
                                      algorithm);
}
