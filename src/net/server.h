#ifndef BERTH_NET_SERVER_H
#define BERTH_NET_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/buf.h"
#include "wire/header.h"

struct berth_loop;

/*
 * The HTTP server: TLS or plain, HTTP/1.1 or HTTP/2, told apart by a connection's first bytes, on
 * any number of ports.  A connection lives and dies on one loop, and so do its exchanges.
 */
struct berth_server;

/*
 * One request and its answer, whatever the protocol.  Made by the server; belongs to its loop.
 * Everything that slices and headers point to is in `arena`.  It stays until the answer has ended
 * AND every reference taken with berth_exchange_ref() is given back.
 */
struct berth_exchange {
    struct berth_arena arena; /* limit: server conf exchange_bytes_max */
    struct berth_loop *loop;
    struct berth_slice method, path, query; /* path as sent, still percent-encoded, without query */
    struct berth_slice authority;           /* Host or :authority */
    const struct berth_header *headers;
    size_t header_count;
    struct berth_slice body; /* complete once handle() is called; aligned to 64, see body_split */
    uint64_t begin_ns;       /* CLOCK_MONOTONIC, first byte of the request */
    uint32_t listener_tag;   /* as given to berth_server_listen() */
    bool tls, http2, peer_is_loopback;
    const char *peer; /* "127.0.0.1:4711" */

    /* The application's: set in begin() or handle(). */
    size_t body_max; /* set in begin(); a longer body is answered with 413 before it is read */
    /* Set in begin(): this byte of the body is aligned instead of its first, so that data behind a
     * head can be used where it lies. */
    size_t body_split;
    void *user;
    /* Set in begin() to take the body as it comes instead of whole: handle() is then called right
     * after begin(), and the body follows in pieces, in order, and piece(x, NULL, 0) at its end.
     * `at` is borrowed for the call.  Not called any more once the answer has ended or gone() ran.
     * body_max is not looked at; what a client may send ahead is bounded by berth_exchange_pause().
     * A client that is not paused and sends nothing for body_timeout is gone, but only until the
     * answer is started: a method that may be quiet for long starts its answer early. */
    void (*piece)(struct berth_exchange *x, const char *at, size_t n);
    /* On the loop, once for each -BERTH_EAGAIN: less than half of unsent_bytes_max still waits, so
     * write again.  Not after the answer has ended or gone() ran.  May be NULL. */
    void (*writable)(struct berth_exchange *x);
    /* On the loop, at most once, after handle() began and only while the answer has not ended: the
     * client is gone (or reads too slowly; an end of its input counts, too).  Never from within a
     * call of this header.  Writes are without effect from then on; end the exchange nevertheless
     * (berth_exchange_end() will do, whether the answer was started or not). */
    void (*gone)(struct berth_exchange *x);
    /* On the loop, once, when the server begins to drain: an answer that would go on for long is
     * ended soon.  Rules as for gone().  May be NULL. */
    void (*draining)(struct berth_exchange *x);
    /* On the loop, once, when the answer has ended or the client is gone: for the access log. */
    uint16_t status;       /* of the answer; 0 before */
    uint64_t answer_bytes; /* of its body */
};

/* What the server calls.  All on the exchange's loop. */
struct berth_server_app {
    void *arg;
    /* The head is there, the body is not.  Set x->body_max, or answer at once (404, 401, ...):
     * then handle() is not called and the body is skipped or the connection closed. */
    void (*begin)(void *arg, struct berth_exchange *x);
    /* The request is complete.  Answer now, or later on this loop. */
    void (*handle)(void *arg, struct berth_exchange *x);
    /* The server itself refuses (400, 408, 413, 414, 431, 503): write an error body for it in the
     * shape that x->path's clients expect (x may have no path).  Must reply at once. */
    void (*refuse)(void *arg, struct berth_exchange *x, uint16_t status, const char *why);
    /* The exchange has ended and its last reference is given back; last look before it is freed
     * (access log, metrics).  Once for each exchange that begin() or refuse() saw, also when the
     * client left before handle().  May be NULL. */
    void (*ended)(void *arg, struct berth_exchange *x);
};

/* The first header of that name (given in lower case), or NULL. */
const struct berth_slice *berth_exchange_header(const struct berth_exchange *x, const char *name);

/* A further header of the answer, before reply or start.  Name and value are copied.  One that
 * holds a line end, or does not fit into the arena, is left out. */
void berth_exchange_add(struct berth_exchange *x, const char *name, const char *value);
/* Answer at once and whole.  body must stay until the exchange ends (its arena, or static). */
void berth_exchange_reply(struct berth_exchange *x, uint16_t status, const char *content_type,
                          const void *body, size_t len);
/* Or piece by piece: start, write..., end.  write copies; it returns
 *   0              taken
 *   -BERTH_EAGAIN  more than conf.unsent_bytes_max wait for a slow reader: nothing was taken
 *   -BERTH_ECANCELED  the client is gone */
void berth_exchange_start(struct berth_exchange *x, uint16_t status, const char *content_type);
int berth_exchange_write(struct berth_exchange *x, const void *bytes, size_t len);
/* As write, but borrows: the bytes must stay until the exchange has ended (ended() ran).  For
 * tensors; few bytes are copied nevertheless.  What waits is not looked at, so that a message begun
 * by a write can be finished: -BERTH_EAGAIN comes only when 1,000 parts wait, or twice
 * unsent_bytes_max of few bytes. */
int berth_exchange_lend(struct berth_exchange *x, const void *bytes, size_t len);
/* A trailer: between start and end.  Name and value are copied; rules as for berth_exchange_add().
 * Without effect but on HTTP/2.  Where nothing was written between start and end, head and trailers
 * go out as one (gRPC: Trailers-Only) if that happens in the same round of the loop. */
void berth_exchange_trailer(struct berth_exchange *x, const char *name, const char *value);
void berth_exchange_end(struct berth_exchange *x);
/* While paused the client may not send more of a body in pieces than its flow-control window
 * holds (HTTP/1.1: the socket is not read).  piece() may still come for what has been read. */
void berth_exchange_pause(struct berth_exchange *x, bool paused);
/* Break the answer off so that the client can tell (connection closed, stream reset).  While the
 * server drains, an HTTP/1.1 client is not waited for to read what was written. */
void berth_exchange_abort(struct berth_exchange *x);
/* Has the client not taken all that was written, as far as we see?  While the answer goes on. */
bool berth_exchange_behind(const struct berth_exchange *x);

/* Memory for as long as the exchange's arena, counted against its limit and aligned to 64, for
 * large things: blocks are kept for the next exchange, as fresh ones cost a page fault every 4 KiB.
 * NULL: the limit, or no memory.  Loop. */
void *berth_exchange_alloc(struct berth_exchange *x, size_t n);

/* Keep the exchange (its arena) beyond its end: for work that still reads the request.  Loop. */
void berth_exchange_ref(struct berth_exchange *x);
void berth_exchange_unref(struct berth_exchange *x);

struct berth_server_conf {
    struct berth_loop *const *loops; /* connections are dealt out in turn */
    size_t loop_count;
    uint32_t connections_max; /* beyond: 503 and closed */
    size_t head_bytes_max;    /* request line and headers */
    uint32_t header_count_max;
    size_t exchange_bytes_max; /* an exchange's arena */
    size_t unsent_bytes_max;
    uint32_t streams_max;     /* HTTP/2 streams at once on a connection */
    uint64_t head_timeout_ns; /* first byte to the end of the head; TLS handshake */
    uint64_t body_timeout_ns; /* without any byte of the body */
    /* First byte of a request to the last of a body that is taken whole; 0: no limit. */
    uint64_t receive_timeout_ns;
    uint64_t idle_timeout_ns;  /* keep-alive */
    uint64_t write_timeout_ns; /* without any byte taken by the reader */
};

/* conf and app are copied; loops must outlive the server. */
int berth_server_new(const struct berth_server_conf *conf, const struct berth_server_app *app,
                     struct berth_server **ret, struct berth_err *e);

struct berth_tls_conf {
    const char *cert_path, *key_path; /* PEM; NULL: plain only */
    const char *client_ca_path;       /* PEM; not NULL: clients must show a certificate of it */
};
struct berth_listen_conf {
    const char *host; /* address or name */
    uint16_t port;    /* 0: any free one */
    uint32_t tag;
    bool plain_refused; /* with TLS: answer plain HTTP with 400 "use https" */
    struct berth_tls_conf tls;
};
/* Returns 0 and the port, or -BERTH_EIO "port 8000 is taken by another program; ..." */
int berth_server_listen(struct berth_server *s, const struct berth_listen_conf *conf,
                        uint16_t *ret_port, struct berth_err *e);
/* Certificates of the ports with that tag that speak TLS, read anew: for connections that begin
 * from now on.  On the first loop.  <0: one of them could not be used, and that port keeps what it
 * had. */
int berth_server_renew_tls(struct berth_server *s, uint32_t tag, const struct berth_tls_conf *conf,
                           struct berth_err *e);
/* No new connections or exchanges; idle connections are closed, busy ones finish (GOAWAY,
 * Connection: close).  Returns when none is left, or after limit_ns with the rest cut off: then
 * gone() has run for them.  Not from a loop. */
void berth_server_drain(struct berth_server *s, uint64_t limit_ns);
/* Drained first, with no limit left; then waits until every exchange has ended and its references
 * are given back, as their memory is the server's.  Not from a loop.  NULL is fine. */
void berth_server_free(struct berth_server *s);

struct berth_server_stats {
    uint64_t connections, connections_total, exchanges_total, refused_total;
    uint64_t rests_total; /* times that a port took no connections for 100 ms: no descriptors */
};
/* Any thread. */
struct berth_server_stats berth_server_stats(const struct berth_server *s);

#endif
