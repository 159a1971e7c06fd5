#ifndef BERTH_TENSOR_H
#define BERTH_TENSOR_H

#include <stddef.h>
#include <stdint.h>

/*
 * Tensors as the Open Inference Protocol (version 2) names them.  Elements are little-endian, in
 * row-major order, without padding; BOOL is one byte, 0 or 1.  A BYTES tensor is, element by
 * element, a 4-byte little-endian length and that many bytes.
 */
/*  name    width in bytes (0: varies) */
#define BERTH_DTYPES(X) \
    X(BOOL, 1)          \
    X(UINT8, 1)         \
    X(UINT16, 2)        \
    X(UINT32, 4)        \
    X(UINT64, 8)        \
    X(INT8, 1)          \
    X(INT16, 2)         \
    X(INT32, 4)         \
    X(INT64, 8)         \
    X(FP16, 2)          \
    X(BF16, 2)          \
    X(FP32, 4)          \
    X(FP64, 8)          \
    X(BYTES, 0)

enum berth_dtype {
#define X(name, width) BERTH_##name,
    BERTH_DTYPES(X)
#undef X
        BERTH_DTYPE_COUNT
};

#define BERTH_RANK_MAX 16u

/* What a model takes or gives under one name; -1 in shape stands for "varies". */
struct berth_tensor_spec {
    const char *name; /* NUL-ended UTF-8 */
    enum berth_dtype dtype;
    uint32_t rank;
    int64_t shape[BERTH_RANK_MAX];
};

/* One tensor.  Everything is borrowed; the comment of the function that hands it out says until
 * when.  No dimension is negative, and size fits the shape (checked before a backend sees it). */
struct berth_tensor {
    const char *name;
    enum berth_dtype dtype;
    uint32_t rank;
    int64_t shape[BERTH_RANK_MAX];
    const void *bytes; /* aligned to 8 at least; NULL only when size is 0 */
    size_t size;       /* in bytes */
};

#endif
