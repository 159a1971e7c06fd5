#ifndef BERTH_API_GRPC_H
#define BERTH_API_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "api/errors.h"
#include "base/arena.h"
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
 * gzip and deflate both ways, message limits, cancellation, and the status with its message and
 * details.
 */

/* How a method takes its messages.  All on the call's loop. */
struct berth_grpc_method {
    const char *path; /* "/inference.GRPCInferenceService/ModelInfer" */
    enum berth_scope scope;
    size_t message_max; /* 0: the server's limit of a body */
    uint32_t aligned;   /* messages' bytes field whose payloads are to lie aligned to 64, as tensors
                           must; there is no field 15; 0: none */
    bool client_streams;
    bool server_streams;
    bool blocks; /* message() runs on the api's own thread and must end the call before it returns;
                    not for streams */
    /*
     * A request message, whole and expanded.  Of a unary request, the one: it stays until the call
     * has ended.  Of a stream, one of many: it is gone after the return, unless it was kept by
     * berth_grpc_take().
     */
    void (*message)(struct berth_grpc *g, struct berth_slice message);
    /* client_streams: the client sends no more.  NULL otherwise. */
    void (*half_closed)(struct berth_grpc *g);
    /* After a send that gave -BERTH_EAGAIN: there is room again.  May be NULL. */
    void (*writable)(struct berth_grpc *g);
    /* The call is over before the method ended it: client gone, deadline, server stopping.  What is
     * sent from now on is dropped.  May be NULL: parts of berth_grpc_call() are cancelled anyway.
     */
    void (*cut)(struct berth_grpc *g);
};

/* ---- what a method calls ---- */

struct berth_api *berth_grpc_api(const struct berth_grpc *g);
/* The call's exchange: arena, metadata (as headers), loop. */
struct berth_exchange *berth_grpc_exchange(const struct berth_grpc *g);
/*
 * The same call as the other dialects have it.  A unary method gives its work to a model by
 * berth_call_find(), berth_call_parts() and berth_call_run(): deadline, cancellation and errors
 * then work by themselves, and berth_call_fail() ends the call with a status.  Set c->again first:
 * what is to run once more when the model has been loaded (see berth_call_find()).
 */
struct berth_call *berth_grpc_call(const struct berth_grpc *g);
/* The method's own state, NULL at first. */
void **berth_grpc_state(struct berth_grpc *g);
/* Is it over, by end, error, deadline or a client that left? */
bool berth_grpc_over(const struct berth_grpc *g);

/* The last message that came: of a unary call, the one. */
struct berth_slice berth_grpc_message(const struct berth_grpc *g);
/* Within message() of a stream: the message's memory becomes the caller's, who moves it to *ret and
 * gives it back with berth_arena_fini(). */
void berth_grpc_take(struct berth_grpc *g, struct berth_arena *ret);

/* Send a message: copied (or compressed).  The results of berth_exchange_write(); on failure
 * nothing of it is sent. */
int berth_grpc_send(struct berth_grpc *g, const void *message, size_t len);
/* As berth_grpc_send(), of a message that was put behind berth_grpc_begin(). */
int berth_grpc_send_copy(struct berth_grpc *g, const struct berth_buf *b);
/*
 * Send a message without copying it.  berth_grpc_begin() gives a buffer in `a` with room for the
 * frame's head; put the message's beginning there.  What follows lies in parts.  Everything must
 * stay until the exchange has ended.
 */
void berth_grpc_begin(struct berth_buf *b, struct berth_arena *a);
int berth_grpc_send_parts(struct berth_grpc *g, struct berth_buf *b,
                          const struct berth_slice *parts, size_t count);
/* End the call.  code: 0 or -BERTH_E..., mapped by errors.c.  Idempotent. */
void berth_grpc_end(struct berth_grpc *g, int code, const char *message);
/* End it with an error that names a field. */
void berth_grpc_fault(struct berth_grpc *g, const struct berth_fault *f);
/* Do not read on until resumed: for streams whose answers are slower than their requests. */
void berth_grpc_pause(struct berth_grpc *g, bool paused);

/* ---- for api.c ---- */

/* Is it a gRPC request (and no other POST)? */
bool berth_grpc_is(const struct berth_exchange *x);
/* Take over the call of such an exchange, in berth_server_app.begin(). */
void berth_grpc_accept(struct berth_call *c);
/* The answer of a method that ran on the api's own thread; then its exchange's reference is back.
 */
void berth_grpc_job_done(struct berth_grpc *g);
/* The call's status, for metrics and the access log. */
enum berth_grpc_code berth_grpc_code(const struct berth_grpc *g);
/* NULL: there is none of that path. */
const struct berth_grpc_method *berth_grpc_method_of(const struct berth_grpc *g);

/* ---- the tables: each file that serves gRPC methods gives one, ended by a NULL path ---- */

extern const struct berth_grpc_method berth_v2_grpc_methods[];       /* v2_grpc.c */
extern const struct berth_grpc_method berth_grpc_health_methods[];   /* grpc_health.c */
extern const struct berth_grpc_method berth_grpc_reflect_methods[];  /* grpc_reflect.c */
extern const struct berth_grpc_method berth_unimodel_grpc_methods[]; /* unimodel_grpc.c */

#endif
