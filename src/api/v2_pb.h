#ifndef BERTH_API_V2_PB_H
#define BERTH_API_V2_PB_H

#include <berth/err.h>

#include "api/v2_infer.h"
#include "base/buf.h"

struct berth_arena;

/*
 * ModelInferRequest and ModelInferResponse (proto/inference.proto), read and written without
 * copying tensors.  Pure.
 */

enum { BERTH_V2_PB_RAW = 7 }; /* raw_input_contents */

/* Which model; the rest stays unread until it is known.  Empty when not given.  -BERTH_EINVAL */
int berth_v2_pb_model(struct berth_slice message, struct berth_slice *ret_name,
                      struct berth_slice *ret_version, struct berth_err *e);
/*
 * The request.  Tensors' bytes point into the message where they lie aligned, names and converted
 * contents into the arena.  -BERTH_EINVAL with the field's path in the message, -BERTH_ENOMEM.
 */
int berth_v2_pb_read(struct berth_arena *a, struct berth_slice message, struct berth_v2_infer *ret,
                     struct berth_err *e);

/* The request's parameters as a JSON object.  -BERTH_EINVAL */
int berth_v2_pb_parameters(struct berth_buf *b, struct berth_slice message, struct berth_err *e);

/* A parameter of the answer: true or false. */
struct berth_v2_pb_flag {
    const char *name; /* NULL: none */
    bool value;
};

enum { BERTH_V2_PB_LEND_FROM = 4096 }; /* bytes of a tensor that are lent, not copied */

/*
 * A ModelInferResponse: its beginning is put to b, and the rest lies in *ret_parts, which point
 * into the arena and to the outputs' own bytes.  -BERTH_ENOMEM
 */
int berth_v2_pb_put(struct berth_buf *b, struct berth_arena *a, const struct berth_v2_answer *from,
                    const struct berth_v2_pb_flag *flag, struct berth_slice **ret_parts,
                    size_t *ret_count, struct berth_err *e);
/* The same as one piece, for messages within messages. */
int berth_v2_pb_put_whole(struct berth_buf *b, const struct berth_v2_answer *from,
                          const struct berth_v2_pb_flag *flag, struct berth_err *e);

#endif
