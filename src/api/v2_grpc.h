#ifndef BERTH_API_V2_GRPC_H
#define BERTH_API_V2_GRPC_H

#include "api/v2_infer.h"
#include "api/v2_text.h"
#include "base/buf.h"

struct berth_call;
struct berth_call_ops;
struct berth_grpc;

/* v2_grpc.c: a ModelInferRequest, from a call of its own or from a stream.  All in the call's
 * arena; c->state is what was read. */
struct berth_v2_grpc_asked {
    struct berth_v2_infer infer; /* first: what is shared with REST knows c->state as this */
    bool is_text;                /* the model generates text */
    struct berth_v2_text text;
    struct berth_tensor output; /* text_output */
};
/* 0, BERTH_CALL_PARKED as berth_call_find(), or what to answer. */
int berth_v2_grpc_read(struct berth_call *c, struct berth_slice message, struct berth_err *e);
/* Give what was read to the model.  Without memory for it the call fails, and ops are not set. */
void berth_v2_grpc_run(struct berth_call *c, const struct berth_call_ops *ops);
/* The answer of a call whose part has ended well. */
int berth_v2_grpc_answer(struct berth_call *c, struct berth_v2_answer *ret, struct berth_err *e);

/* The methods of inference.GRPCInferenceService that lie beside v2_grpc.c, whose table names them.
 */

/* v2_grpc_models.c */
void berth_v2_grpc_server_live(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_server_ready(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_server_metadata(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_model_ready(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_model_metadata(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_model_config(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_index(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_load(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_unload(struct berth_grpc *g, struct berth_slice message);
/* v2_grpc_stream.c */
void berth_v2_grpc_stream_message(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_stream_half_closed(struct berth_grpc *g);
void berth_v2_grpc_stream_writable(struct berth_grpc *g);
void berth_v2_grpc_stream_cut(struct berth_grpc *g);
/* v2_grpc_shm.c */
void berth_v2_grpc_shm_status(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_shm_register(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_shm_unregister(struct berth_grpc *g, struct berth_slice message);
/* v2_grpc_stats.c */
void berth_v2_grpc_stats(struct berth_grpc *g, struct berth_slice message);

#endif
