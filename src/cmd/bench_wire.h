#ifndef BERTH_BENCH_WIRE_H
#define BERTH_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "cmd/bench_errors.h"
#include "cmd/bench_stages.h"
#include "net/h2_client.h"

/*
 * The connections of a load, and the requests that they send: HTTP/1.1, one request at a
 * time on each, or HTTP/2, several.  No clock and no account: the owner (bench_load.c) says when to
 * send and is told what came of it.  One thread, one epoll.
 */
struct berth_wire_conn;

/* One request under way at most; over and over. */
struct berth_flight {
    struct berth_wire_conn *conn;
    uint64_t due_ns;   /* when it should have been sent; closed loop: when it was */
    uint64_t begin_ns; /* when it was begun */
    size_t request;    /* which one it is */
    bool busy;
};

/* What came of one request. */
struct berth_landing {
    bool ok;
    enum berth_bench_error kind; /* of one without an answer; BERTH_BENCH_ERROR_COUNT: it has one */
    uint16_t status;             /* HTTP's */
    int32_t grpc_status;         /* -1: none */
    const struct berth_stages *stages; /* as the server said them; NULL: it did not */
};

struct berth_wire_conf {
    const char *host, *port;
    const struct berth_slice *http1; /* heads and bodies; or */
    const struct berth_h2_request *http2;
    size_t request_count;
    bool grpc;                     /* it succeeds when grpc-status is 0 */
    uint32_t connections, streams; /* streams: of each connection; HTTP/1.1: 1 */
    /* flight is free again when this is called; a new one may be begun, not flushed. */
    void (*landed)(void *arg, struct berth_flight *flight, const struct berth_landing *landing);
    void *arg;
};

struct berth_wire;

/* Connects.  -BERTH_ENETWORK, -BERTH_ENOMEM.  conf is borrowed. */
int berth_wire_new(struct berth_wire **ret, const struct berth_wire_conf *conf,
                   struct berth_err *e);
void berth_wire_free(struct berth_wire *w);
/* connections * streams; index below that. */
size_t berth_wire_flight_count(const struct berth_wire *w);
struct berth_flight *berth_wire_flight(struct berth_wire *w, size_t index);

/* Begin the flight's request; due_ns, begin_ns and request are set.  What goes wrong is told by
 * landed(). */
void berth_wire_begin(struct berth_wire *w, struct berth_flight *flight);
/* Send what was begun.  Before every wait. */
void berth_wire_flush(struct berth_wire *w);
/* Wait until something happens, at most so long, or until `alarm_fd` (-1: none) is readable. */
void berth_wire_wait(struct berth_wire *w, int timeout_ms);
/* Also end a wait when this is readable; it is read empty. */
int berth_wire_watch_timer(struct berth_wire *w, int timer_fd);
/* Give up a flight and its connection, and with it what else is under way there. */
void berth_wire_give_up(struct berth_wire *w, struct berth_flight *flight,
                        enum berth_bench_error why);

#endif
