#ifndef BERTH_CHECK_H
#define BERTH_CHECK_H

#include <stdbool.h>

#include <berth/backend.h>

struct berth_pad_conf;
struct berth_request;

/*
 * Does a request fit what the model takes?  Pure; any thread.  On success r->rows, r->pad
 * (pad where it applies to r, else NULL), r->bucket and r->shape_hash are set.  The messages name
 * the tensor, what was expected and what came. -BERTH_EINVAL, -BERTH_EUNSUPPORTED (the task)
 */
int berth_check_request(const struct berth_describe *d, const struct berth_pad_conf *pad,
                        struct berth_request *r, struct berth_err *e);

/* May two checked requests run in one batch: equal names, types and shapes but for dimension 0
 * and what is padded? */
bool berth_check_same_shape(const struct berth_request *a, const struct berth_request *b);

#endif
