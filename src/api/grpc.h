#ifndef BERTH_API_GRPC_H
#define BERTH_API_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "api/errors.h"
#include "base/buf.h"
#include "net/server.h"

struct berth_api;
struct berth_call;
struct berth_grpc;

/*
 * gRPC over HTTP/2 (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md): POST /package.Service/Method
 * with content-type application/grpc; each message is a flag, a length and bytes; the status is in
 * the trailers.  A berth_grpc is one call of a method, unary or streaming; it lies in its
 * exchange's arena and belongs to its loop.
 *
 * What this layer does for every method: admission (keys, scopes), grpc-timeout, grpc-encoding
 * gzip both ways, message limits, cancellation, and the status with its message and details.
 */

/* How a method takes its messages.  All on the call's loop. */
struct berth_grpc_method {
    const char *path; /* "/inference.GRPCInferenceService/ModelInfer" */
    enum berth_scope scope;
    size_t message_max; /* 0: the server's limit of a body */
    bool client_streams;
    bool blocks; /* message() runs on the api's own thread and must answer before it returns */
    /* A request message; it stays until the call has ended.  For a unary request, the one. */
    void (*message)(struct berth_grpc *g, struct berth_slice message);
    /* client_streams: the client sends no more.  NULL otherwise. */
    void (*half_closed)(struct berth_grpc *g);
    /* The call is over before the method ended it: client gone, deadline, server stopping.  May be
     * NULL. */
    void (*cut)(struct berth_grpc *g);
};

/* ---- what a method calls ---- */

struct berth_api *berth_grpc_api(const struct berth_grpc *g);
/* The call's exchange: arena, metadata (as headers), loop. */
struct berth_exchange *berth_grpc_exchange(const struct berth_grpc *g);
/* The method's own state, NULL at first. */
void **berth_grpc_state(struct berth_grpc *g);
/* CLOCK_MONOTONIC; 0: none. */
uint64_t berth_grpc_deadline_ns(const struct berth_grpc *g);

/* Send a message: copied (or compressed).  The results of berth_exchange_write(). */
int berth_grpc_send(struct berth_grpc *g, const void *message, size_t len);
/* Send a message that lies in parts; they must stay until the exchange has ended. */
int berth_grpc_send_parts(struct berth_grpc *g, const struct berth_slice *parts, size_t count);
/* End the call.  code: 0 or -BERTH_E..., mapped by errors.c.  Idempotent. */
void berth_grpc_end(struct berth_grpc *g, int code, const char *message);
/* Do not read on until resumed: for streams whose answers are slower than their requests. */
void berth_grpc_pause(struct berth_grpc *g, bool paused);

/* ---- the tables: each file that serves gRPC methods gives one, ended by a NULL path ---- */

extern const struct berth_grpc_method berth_v2_grpc_methods[];       /* v2_grpc.c */
extern const struct berth_grpc_method berth_grpc_health_methods[];   /* grpc_health.c */
extern const struct berth_grpc_method berth_grpc_reflect_methods[];  /* grpc_reflect.c */
extern const struct berth_grpc_method berth_unimodel_grpc_methods[]; /* unimodel_grpc.c */

#endif
