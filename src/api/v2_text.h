#ifndef BERTH_API_V2_TEXT_H
#define BERTH_API_V2_TEXT_H

#include <stdbool.h>

#include <berth/backend.h>
#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;
struct berth_v2_infer;

/*
 * Text generation by tensors, as Triton's backends of language models take it: input text_input
 * (BYTES, one element) and, as inputs of one element or as request parameters, stream, max_tokens,
 * temperature, top_p, ..., stop, and sampling_parameters, a JSON object of them.  Output
 * text_output.  Pure.
 */

/* Is the model one that takes no tensors, but text? */
bool berth_v2_is_text(const struct berth_describe *d);

struct berth_v2_text {
    struct berth_gen gen;
    bool whole; /* stream is false: one response, not one for each piece */
};
/* parameters: the request's, as a JSON object.  -BERTH_EINVAL, -BERTH_ENOMEM */
int berth_v2_text_read(struct berth_arena *a, const struct berth_v2_infer *asked,
                       struct berth_slice parameters, struct berth_v2_text *ret,
                       struct berth_err *e);

/* A tensor text_output of that text, in the arena.  -BERTH_ENOMEM */
int berth_v2_text_output(struct berth_arena *a, struct berth_slice text, struct berth_tensor *ret,
                         struct berth_err *e);

#endif
