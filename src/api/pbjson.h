#ifndef BERTH_API_PBJSON_H
#define BERTH_API_PBJSON_H

#include <berth/err.h>

#include "base/buf.h"
#include "wire/json.h"

/*
 * Messages whose members stand in JSON by the same names, from one form to the other, by their
 * descriptor (see proto_sets.h).  google.protobuf.Value, Struct and ListValue are any JSON, bytes
 * are {"type":"Binary","data":base64} as /v1 has them.  Pure; any thread.
 */

enum { BERTH_PBJSON_DEPTH_MAX = 32 }; /* messages within each other */

/*
 * Write the message as the members of a JSON object that w is in; what is not set is left out.
 *   -BERTH_EINVAL  with the member's name: it is damaged, or deeper than can be
 */
int berth_pbjson_read(struct berth_jw *w, struct berth_slice descriptor, struct berth_slice message,
                      struct berth_err *e);
/*
 * Put the message that a JSON object is.  Members that the message does not have, nulls, and those
 * of another type are left out; of an object where a text belongs, the first key is taken (Rust's
 * enumerations).  Bytes are not written.  Look at b->failed.
 */
void berth_pbjson_put(struct berth_buf *b, struct berth_slice descriptor,
                      const struct berth_json *object);

#endif
