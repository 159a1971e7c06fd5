#ifndef BERTH_API_V2_INFER_H
#define BERTH_API_V2_INFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>
#include <berth/err.h>

#include "api/shm.h"
#include "base/buf.h"

struct berth_arena;
struct berth_json;
struct berth_timing;

/* An inference request of the Open Inference Protocol, read and checked; and its answer.  Pure. */

enum { BERTH_V2_TENSORS_MAX = 1024, BERTH_V2_ID_MAX = 1024, BERTH_V2_CLASSES_MAX = 1000 };

struct berth_v2_output {
    const char *name;
    struct berth_shm_span shm; /* where it is to be put; region NULL: into the answer */
    bool binary, base64;
    uint32_t classes; /* parameter "classification": that many best; 0: the tensor itself */
};

struct berth_v2_infer {
    struct berth_slice id; /* or empty */
    struct berth_tensor *inputs;
    struct berth_shm_span *shm; /* where inputs lie, until berth_v2_shm_fetch(); NULL: none does */
    size_t input_count;
    struct berth_v2_output *outputs; /* as asked for; none: all */
    const char **wanted;             /* their names */
    size_t output_count;
    bool binary;    /* for outputs that do not say */
    bool allow_nan; /* parameter "allow_nan" */
    bool timing;    /* parameter "berth_timing": parameters of the answer say where time went */
    uint64_t timeout_us; /* parameter "timeout"; 0: none */
    uint32_t priority;   /* parameter "priority": 1 first; 0: the model's default */
    /* gRPC's. */
    bool typed;       /* the inputs came as contents, not raw: so go the outputs */
    bool final_empty; /* parameter "triton_enable_empty_final_response" */
};

struct berth_v2_body {
    struct berth_slice body;
    /* Inference-Header-Content-Length: how much of body is JSON.  Has it no such header: all. */
    bool has_header_len;
    size_t header_len;
    /* For a raw request (header_len 0): what the model takes.  May be NULL otherwise. */
    const struct berth_describe *describe;
};

/* Everything in *ret lies in the arena or in the body.  -BERTH_EINVAL with the field's path in the
 * message, -BERTH_ENOMEM. */
int berth_v2_infer_read(struct berth_arena *a, const struct berth_v2_body *from,
                        struct berth_v2_infer *ret, struct berth_err *e);
/* The value of Inference-Header-Content-Length. */
int berth_v2_header_len(struct berth_slice value, size_t *ret, struct berth_err *e);

/* For those who read requests of another form: r with the input's name in its message; and the
 * error for a datatype's name that is none.  path ends in a dot. */
int berth_v2_name_in_error(int r, const char *name, struct berth_err *e);
int berth_v2_dtype_unknown(struct berth_err *e, const char *path, struct berth_slice dtype);

/* Input i, of `count`, lies in shared memory: *span.  -BERTH_ENOMEM */
int berth_v2_shm_input(struct berth_arena *a, struct berth_v2_infer *ret, size_t i, size_t count,
                       const struct berth_shm_span *span, struct berth_err *e);

struct berth_v2_answer {
    const char *model, *version;
    const struct berth_timing *timings; /* parameters of the answer */
    size_t timing_count;
    const struct berth_v2_infer *asked;
    const struct berth_tensor *outputs;
    size_t output_count;
    const struct berth_json *labels; /* the manifest's, for classification; or NULL */
};
/* How an output was asked for; NULL: not by name. */
const struct berth_v2_output *berth_v2_asked_for(const struct berth_v2_infer *asked,
                                                 const char *name);
/* The answer's body; *ret_header_len is its JSON part's length, or 0 when all of it is JSON.
 * -BERTH_EBACKEND: an output cannot be written as JSON. */
int berth_v2_answer_put(struct berth_buf *b, const struct berth_v2_answer *from,
                        size_t *ret_header_len, struct berth_err *e);

#endif
