#ifndef BERTH_API_CALL_H
#define BERTH_API_CALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/errors.h"
#include "base/buf.h"
#include "base/random.h"
#include "infer/request.h"
#include "net/server.h"
#include "wire/json.h"

struct berth_api;
struct berth_call;
struct berth_forwarding;
struct berth_grpc;
struct berth_model;
struct berth_route;

/* One of a call's requests to a model. */
struct berth_part {
    struct berth_request r; /* first: the core hands back its address */
    struct berth_call *call;
    uint32_t index;
    bool pending;              /* submitted, and done() has not run */
    bool ended;                /* done() has run, or it was never submitted: r.result says why */
    struct berth_buf text;     /* what has been generated, when the dialect collects it */
    struct berth_buf logprobs; /* the dialect's own rendering of the tokens so far */
    void *user;                /* the dialect's */
};

/* How a dialect takes what comes back.  All on the call's loop, never after the call has ended. */
struct berth_call_ops {
    /* A piece of part's output; NULL: it is collected in part->text. */
    void (*delta)(struct berth_call *c, struct berth_part *part, const struct berth_delta *d);
    /* A part has ended; NULL when only the end of all matters. */
    void (*part_done)(struct berth_call *c, struct berth_part *part);
    /* Every part has ended: answer, or end the stream. */
    void (*answer)(struct berth_call *c);
    /* One failed part fails the call at once (and cancels the others).  False: answer() looks at
     * each part's result. */
    bool all_or_nothing;
};

/*
 * One exchange on its way through the api: found route, admitted peer, identity, and for
 * inference the model and its requests.  In the exchange's arena, on its loop.
 *
 * The exchange is kept until every submitted request is done, so requests may borrow from its
 * arena.  After the answer (or a deadline, or a client that left) `ended` is set, and whatever
 * still comes back is dropped.
 */
struct berth_call {
    struct berth_api *api;
    struct berth_exchange *x;
    struct berth_arena *arena;       /* for all that the call makes: the exchange's, unless it is
                                        one of many on a stream */
    const struct berth_route *route; /* NULL: none */
    struct berth_grpc *grpc;         /* NULL: plain HTTP */
    /* Errors go here instead of being a JSON body; NULL otherwise. */
    void (*fault)(struct berth_call *c, const struct berth_fault *f);
    /* Answers in JSON go here: whole, or (last: false) an event of a stream, which ends the call by
     * itself.  NULL otherwise. */
    void (*json)(struct berth_call *c, struct berth_slice text, bool last);
    /* After the last part is done, and the last that is done with c; NULL otherwise. */
    void (*released)(struct berth_call *c);
    enum berth_dialect dialect;
    /* {model} and {version} (or {request}) of the path, decoded; or empty */
    struct berth_slice name, version;
    struct berth_slice cors_origin; /* to be allowed in the answer; or empty */
    const char *allow;              /* for 405: the Allow header's value */
    char id[BERTH_UUID_TEXT];       /* X-Request-Id */
    uint64_t wall_ns;               /* when the head had come */
    uint64_t begin_ns;              /* CLOCK_MONOTONIC, where its time limits begin */
    uint64_t body_ns;               /* when the body had come, if much later; 0: with the head */
    uint64_t who;                   /* a hash of the key that it came with; 0: none */
    /* Inference-Header-Content-Length of a request for v2's inference, or NULL */
    const struct berth_slice *head_len;

    const struct berth_json *body; /* berth_call_body() */
    struct berth_model *model;     /* berth_call_find(); referenced until the exchange goes */
    uint64_t asked_timeout_ns;     /* by the Grpc-Timeout header, over REST as well; 0: none */
    uint64_t timeout_ns;           /* of this call; 0: the api's */
    const char *timeout_name;      /* what set it, for the message */
    uint64_t queue_timeout_ns;     /* longest wait in the queue that the client asks for; or 0 */
    uint32_t priority;             /* that it asks for; 0: the model's default */
    const struct berth_call_ops *ops;
    void *state; /* the dialect's */
    struct berth_part *parts;
    uint32_t part_count, parts_left;
    bool ended, streaming;
    bool compressed; /* the body, until handle() */
    struct {         /* status 0: it has not failed */
        uint16_t status;
        const char *code, *why;
    } failed;
    struct berth_timer timer;
    struct berth_forwarding *forwarding; /* it was passed on; NULL: it was not */
    struct berth_park *park;             /* it waits for a model, or has waited; NULL: never */
    uint64_t parked_ns;                  /* how long, all together */
    /* Runs the call again after it was parked; NULL: the route's handler. */
    void (*again)(struct berth_call *c);
    struct berth_buf scratch; /* for berth_sse: one event */

    /* A handler on the api's own thread leaves its answer here. */
    void (*job)(struct berth_call *c);
    bool off_loop;
    /* prepare.c: what a thread does, and then the loop. */
    void (*work)(struct berth_call *c);
    void (*then)(struct berth_call *c);
    bool left; /* the client went, or read too slowly, before the answer had ended */
    struct berth_msg msg;
    struct berth_call *next_job;
    struct {
        uint16_t status;
        uint32_t retry_after_s;
        const char *type;
        const void *body;
        size_t len;
    } reply;
};

/* Answer with a body that stays until the exchange ends. */
void berth_call_reply(struct berth_call *c, uint16_t status, const char *type, const void *body,
                      size_t len);
/* Answer with JSON from a buffer in the exchange's arena; a failed buffer is answered as
 * -BERTH_ENOMEM. */
void berth_call_json(struct berth_call *c, uint16_t status, const struct berth_buf *b);
/* Answer with an error in the dialect's shape.  param: the field, or NULL. */
void berth_call_fail(struct berth_call *c, int code, const char *param, const char *message);
void berth_call_fault(struct berth_call *c, const struct berth_fault *f);
/* Headers that every answer has; for those who start one by themselves. */
void berth_call_headers(struct berth_call *c);

/* The body as a JSON object in c->body.  False: it was not one, and the call is answered. */
bool berth_call_body(struct berth_call *c);

/*
 * Find the model to serve the call and hold it in c->model.  On the call's loop.  Returns
 *   0  c->model is held until the exchange goes
 *  <0  as berth_registry_find(), or -BERTH_ENOMEM: answer with e
 *   BERTH_CALL_PARKED  the model is not loaded but will be.  Return at once and touch c no more:
 * the handler runs again from its beginning (c->again, or the route's) when the model is loaded, or
 * when it cannot be, or when waiting has lasted too long; the same call of berth_call_find() then
 * gives 0 or an error.  So whatever a handler does before this must be right to be done twice:
 * parse, look up, set members; no answer, no submit.
 *
 * The wait is bounded: by the request's deadline (then -BERTH_EDEADLINE) and by
 * engine.load_wait_secs (then -BERTH_ENOTREADY).  It counts in the request's time.
 *
 * Who leaves meanwhile: for calls of HTTP routes (c->again NULL) the exchange's gone() is taken and
 * the handler is not run again.  Whoever sets c->again (gRPC) owns gone() and calls
 * berth_call_unpark() then.
 */
enum { BERTH_CALL_PARKED = 1 };
int berth_call_find(struct berth_call *c, struct berth_slice name, struct berth_slice version,
                    struct berth_err *e);
/* Nobody waits for a parked call any more: it will not run again, and c->ended is set.  On its
 * loop; without effect when it is not parked. */
void berth_call_unpark(struct berth_call *c);

/* What the client wishes for its place in the queue, once the model is known.  A timeout bounds the
 * wait in the queue where the model's queue policy lets requests say that, as Triton does; else the
 * whole call. */
void berth_call_wishes(struct berth_call *c, uint64_t priority, uint64_t timeout_ns);
struct berth_fields;
/* Likewise from a body's member "priority".  -BERTH_EINVAL */
int berth_call_read_priority(struct berth_call *c, struct berth_fields *f);

/* Make n requests, zeroed and with everything set but task, inputs, wanted and gen.  NULL: the
 * exchange's memory limit. */
struct berth_part *berth_call_parts(struct berth_call *c, uint32_t n);
/*
 * Submit every part whose r.result is 0; the others count as ended already.  ops->answer() comes
 * when all have ended, maybe before this returns; so do nothing with c afterwards.
 */
void berth_call_run(struct berth_call *c, const struct berth_call_ops *ops);
/* Nobody waits for the call any more: it has ended and its parts are cancelled. */
void berth_call_leave(struct berth_call *c);
/* Cut the call off with an error: the body for it, or the stream's last event.  Once; later parts
 * are cancelled. */
void berth_call_cut(struct berth_call *c, const struct berth_fault *f);

/* ---- server-sent events ---- */

/* Begin the stream, when it has not begun. */
void berth_sse_start(struct berth_call *c);
/* A buffer for the next event's data; empty, reused for every event. */
struct berth_buf *berth_sse_data(struct berth_call *c);
/* Send that event.  When the reader is gone or too slow, the call is over (c->ended). */
void berth_sse_send(struct berth_call *c);
void berth_sse_end(struct berth_call *c);

#endif
