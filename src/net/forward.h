#ifndef BERTH_NET_FORWARD_H
#define BERTH_NET_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "wire/header.h"

struct berth_exchange;
struct berth_forward;
struct berth_loop;

/*
 * Passing an exchange on to another server by HTTP/1.1 (plain or TLS), and that server's answer
 * back, from the exchange's own loop and without ever blocking it.  Connections are kept and used
 * again.  Everything here is called, and calls, on that loop.
 *
 * What goes up: method, target, body, and the headers but those that belong to one connection
 * (Connection and what it names, Transfer-Encoding, Upgrade, ...), credentials (Authorization,
 * X-API-Key, Cookie) and Content-Encoding, as the body of an exchange is not as it was sent.  Host,
 * X-Request-Id, X-Forwarded-For, -Proto and -Host are set.
 * What comes down: status, headers (but the connection's, cookies and CORS, which are ours to say),
 * and the body as it comes.  Nothing of an answer is passed on before the first byte of its body
 * has come; one of known and small length goes on when it is whole.  So an upstream that dies in
 * between can be replaced by another one and nobody notices.
 *
 * A slow client stops the reading of its upstream; the body that goes up is in memory already.
 */
struct berth_forwarder;

struct berth_forwarder_conf {
    uint32_t running_max;     /* at once, 0: 4,096 */
    uint32_t connections_max; /* that are kept for the next one, 0: 256 */
    size_t head_bytes_max;    /* of an answer, with interim ones and trailers; 0: 64 KiB */
    size_t whole_bytes_max;   /* an answer's body that is passed on whole; 0: 256 KiB */
};

/* conf NULL: all defaults.  The loop must outlive it. */
int berth_forwarder_new(struct berth_loop *l, const struct berth_forwarder_conf *conf,
                        struct berth_forwarder **ret, struct berth_err *e);
/* Nothing may be running.  NULL is fine. */
void berth_forwarder_free(struct berth_forwarder *f);

enum berth_forward_result {
    /* The answer was passed on, and the exchange has ended. */
    BERTH_FORWARD_OK,
    /* Nothing was passed on: the exchange is as it was, and may be forwarded again or answered. */
    BERTH_FORWARD_DECLINED,   /* pass() returned false */
    BERTH_FORWARD_UNREACHED,  /* there was no connection: nothing of the request was sent */
    BERTH_FORWARD_UNANSWERED, /* the connection ended too early */
    BERTH_FORWARD_MALFORMED,  /* what came is no HTTP/1.1, or its head is beyond the limit */
    BERTH_FORWARD_LATE,       /* a deadline passed */
    /* The answer was begun and cannot be ended: the caller aborts the exchange. */
    BERTH_FORWARD_BROKEN,   /* by the upstream, or a deadline */
    BERTH_FORWARD_UNWANTED, /* by the client, who is gone; also before the answer began */
};

struct berth_forward_end {
    enum berth_forward_result result;
    uint16_t status;   /* of the upstream's answer, 0: none came */
    uint64_t first_ns; /* CLOCK_MONOTONIC, when its head had come; 0: never */
    bool out_of_time;  /* until_ns has passed: not a matter of the upstream's silence */
    const char *why;   /* for people; valid during done() */
};

#define BERTH_FORWARD_SILENT_NS UINT64_C(120000000000)

struct berth_forward_to {
    const char *origin; /* "http://127.0.0.1:8080", "https://[::1]:443": nothing behind the port */
    struct berth_slice target;       /* "/base/v1/completions?a=b", sent as it is */
    struct berth_slice body;         /* stays until done() */
    const char *ca_path;             /* PEM, for https; NULL: the system's */
    const char *authorization;       /* "Bearer ..."; NULL: none */
    const char *request_id;          /* X-Request-Id; NULL: none */
    const struct berth_header *more; /* in place of the client's; names in lower case */
    size_t more_count;
    /* It must not be sent twice, not even when a kept connection turns out to be closed by the
     * other side: so a new one is made for it. */
    bool once;
    uint64_t connect_ns_max; /* 0: 5 s */
    uint64_t silent_ns_max;  /* between two pieces of the answer; 0: BERTH_FORWARD_SILENT_NS */
    uint64_t first_until_ns; /* CLOCK_MONOTONIC, for the answer's head; 0: until_ns */
    uint64_t until_ns;       /* CLOCK_MONOTONIC, for all of it; 0: never */
    /* Once, right before anything of the answer is passed on: add headers to the exchange and
     * return true, or return false to have the answer dropped.  Call nothing of this header. */
    bool (*pass)(void *arg, uint16_t status);
    /* Once, unless cancelled, and never before berth_forward_start() has returned.  The forward is
     * gone; the exchange may be forwarded again from here. */
    void (*done)(void *arg, const struct berth_forward_end *end);
    void *arg;
};

/*
 * Send x on.  What `to` points to is copied into x's arena or, like the body, must stay until
 * done().  x is kept until then.  The caller's x->writable must call berth_forward_writable(), and
 * x->gone berth_forward_cancel().
 *   -BERTH_EAGAIN  running_max
 *   -BERTH_EINVAL  the target or the method is none that can be sent (CONNECT is not)
 *   -BERTH_ENOMEM  memory, or the exchange's limit
 */
int berth_forward_start(struct berth_forwarder *f, struct berth_exchange *x,
                        const struct berth_forward_to *to, struct berth_forward **ret,
                        struct berth_err *e);
/* The client takes more. */
void berth_forward_writable(struct berth_forward *w);
/* Cut it off: the upstream's connection is closed at once, done() is not called, and what of the
 * answer was begun is the caller's to abort. */
void berth_forward_cancel(struct berth_forward *w);

/* ---- pure, for tests and fuzzers ---- */

/* Does a request's header of that (lower-case) name go up?  connection: the value of Connection. */
bool berth_forward_goes_up(struct berth_slice name, struct berth_slice connection);
/* Does an answer's header go down? */
bool berth_forward_comes_down(struct berth_slice name, struct berth_slice connection);
/* A line "Name: value" CR LF of len bytes: the name in lower case, both NUL-ended in place.  False:
 * it is none, or goes on the line before (a fold). */
bool berth_forward_split(char *line, size_t len, struct berth_header *ret);

#endif
