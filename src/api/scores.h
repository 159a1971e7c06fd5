#ifndef BERTH_API_SCORES_H
#define BERTH_API_SCORES_H

#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/tensor.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;

/* Class scores: out of a tensor, ranked, and with their names.  Pure. */

/* A tensor's numbers as single precision, in the arena.  -BERTH_EINVAL: BYTES; -BERTH_ENOMEM. */
int berth_scores_of(struct berth_arena *a, const struct berth_tensor *t, float **ret,
                    size_t *ret_count, struct berth_err *e);
/* The k largest of n, best first (of equals the first one); k <= n.  NaN is less than all. */
void berth_scores_best(const float *scores, size_t n, uint32_t *ret, size_t k);
/* exp(x) over their sum; and 1 / (1 + exp(-x)) of each. */
void berth_scores_softmax(float *scores, size_t n);
void berth_scores_sigmoid(float *scores, size_t n);
/* labels[index], or empty when there is none. */
struct berth_slice berth_label(const struct berth_json *labels, uint32_t index);

#endif
