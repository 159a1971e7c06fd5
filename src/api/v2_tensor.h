#ifndef BERTH_API_V2_TENSOR_H
#define BERTH_API_V2_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/tensor.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;
struct berth_jw;

/* Tensors as JSON and as bytes, for every datatype of the Open Inference Protocol.  Pure. */

const char *berth_dtype_name(enum berth_dtype d); /* "FP32" */
bool berth_dtype_parse(struct berth_slice name, enum berth_dtype *ret);
size_t berth_dtype_width(enum berth_dtype d); /* 0: BYTES */

/* How many elements a shape has; false when that is no size_t.  No dimension is negative. */
bool berth_shape_count(const int64_t *shape, uint32_t rank, size_t *ret);

/* Is size right for t's datatype and shape, and does a BYTES blob split exactly?  path names the
 * tensor in messages.  0 or -BERTH_EINVAL. */
int berth_tensor_check_bytes(const struct berth_tensor *t, const char *path, struct berth_err *e);

struct berth_tensor_read {
    const char *path; /* in messages: "inputs[0].data" */
    bool base64;      /* BYTES: each string is base64 */
    bool allow_nan;   /* NaN and Infinity are numbers */
};
/*
 * Elements from JSON into t->bytes and t->size; name, dtype, rank and shape are set before.  data
 * is flat or nested exactly as the shape; for rank 0 also the bare element.  Bytes are in the
 * arena.
 *   -BERTH_EINVAL  the message names the element      -BERTH_ENOMEM
 */
int berth_tensor_read_json(struct berth_tensor *t, struct berth_arena *a,
                           const struct berth_json *data, const struct berth_tensor_read *how,
                           struct berth_err *e);

/* The shape that nested arrays have: [[1,2],[3,4]] is 2 by 2.  The first element of each level is
 * looked at; berth_tensor_read_json() finds the ragged ones.  -BERTH_EINVAL: too deep. */
int berth_shape_of_json(const struct berth_json *v, int64_t shape[BERTH_RANK_MAX],
                        uint32_t *ret_rank, struct berth_err *e);

struct berth_tensor_put {
    bool nested;    /* arrays within arrays by the shape; else one flat array */
    uint32_t skip;  /* nested: leave out that many leading dimensions, which are 1 */
    bool allow_nan; /* write NaN, Infinity and -Infinity, which JSON does not have */
    bool base64;    /* BYTES: every element as base64 */
};
/* Write t's elements; -BERTH_EBACKEND when there are NaNs or infinite values and allow_nan is
 * false. */
int berth_tensor_put_json(struct berth_jw *w, const struct berth_tensor *t,
                          const struct berth_tensor_put *how, struct berth_err *e);
/* Is every element of a BYTES tensor well-formed UTF-8? */
bool berth_tensor_is_text(const struct berth_tensor *t);

/* Walk over a BYTES tensor: *at starts at 0; false at the end (or where it does not split). */
bool berth_bytes_next(const struct berth_tensor *t, size_t *at, struct berth_slice *ret);

#endif
