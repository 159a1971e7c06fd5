#ifndef BERTH_API_GRPC_PRIV_H
#define BERTH_API_GRPC_PRIV_H

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "wire/grpc.h"

/* What grpc.c (a call's beginning and its messages) and grpc_answer.c share. */

enum berth_grpc_encoding {
    BERTH_GRPC_IDENTITY,
    BERTH_GRPC_GZIP,
    BERTH_GRPC_DEFLATE,
    BERTH_GRPC_ENCODING_COUNT
};

struct berth_grpc {
    struct berth_call *c;
    const struct berth_grpc_method *method;
    void *state;
    struct berth_grpc_frames in;
    struct berth_arena arena; /* client_streams: of the message that is coming */
    struct berth_slice message;
    enum berth_grpc_encoding encoding; /* of both directions */
    bool message_seen, half_closed;
    bool paused, feeding, end_held;
    bool shut;             /* the client is told to wait */
    struct berth_buf held; /* of a paused stream: what had been read already; malloc'd */
    size_t held_at;        /* taken off its front */
    bool started, over;
    uint64_t deadline_ns;
    struct berth_timer timer;
    enum berth_grpc_code code;
    /* What a method on the api's own thread leaves: frames, and how the call ends. */
    struct berth_buf kept;
    struct berth_fault end;
    bool end_kept;
};

extern const char *const berth_grpc_encodings[BERTH_GRPC_ENCODING_COUNT]; /* "gzip" */

/* Send the answer's head, if it has not been sent. */
void berth_grpc_start(struct berth_grpc *g);
/* The call is over, without a word to the client. */
void berth_grpc_stop(struct berth_grpc *g);
/* Give back what has come in. */
void berth_grpc_free_input(struct berth_grpc *g);
/* As berth_call.fault. */
void berth_grpc_call_fault(struct berth_call *c, const struct berth_fault *f);

#endif
