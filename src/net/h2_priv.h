#ifndef BERTH_NET_H2_PRIV_H
#define BERTH_NET_H2_PRIV_H

#include <nghttp2/nghttp2.h>

#include "net/server_priv.h"

/* What h2.c (requests, limits) and h2_answer.c share of a connection's HTTP/2 state. */
struct berth_h2_stream {
    TAILQ_ENTRY(berth_h2_stream) all, due;
    struct berth_conn *conn;
    struct berth_xchg *x; /* the stream is in its arena */
    int32_t id;
    size_t head_bytes, header_room;
    struct berth_http1_fault fault; /* of the head; status 0: none */
    int64_t content_length;         /* -1: not known */
    bool remote_ended;              /* the request is complete */
    bool deferred;                  /* nghttp2 waits for resume_data */
    bool end;                       /* nothing comes behind out and tail */
    bool is_due;                    /* on the list of pump()'s */
    bool head_due;                  /* started, and nothing is told yet */
    bool paused;                    /* by the application: its window is not opened */
    bool wide;                      /* its window was widened */
    size_t linger_left;             /* bytes still dropped behind the answer; 0: not lingering */
    uint64_t deadline_ns;           /* of the body, or of the reader */
    size_t taken, unacked;          /* bytes of the body, and those not yet told to nghttp2 */
    const char *type;               /* of the answer, while head_due */
    struct berth_outbuf out;
    struct berth_lents lents; /* among out's bytes */
    struct berth_slice tail;  /* behind them */
};

TAILQ_HEAD(berth_h2_streams, berth_h2_stream);

struct berth_h2 {
    nghttp2_session *session;
    struct berth_h2_streams streams, due;
    size_t unacked; /* bytes of bodies not yet told to nghttp2 */
    int64_t points;
    uint64_t points_ns;        /* when they were last topped up */
    uint64_t idle_ns;          /* since when no stream is open; 0: some are */
    uint64_t block_ns;         /* since when a header block is incomplete; 0: none is */
    size_t block_bytes;        /* of it */
    bool answered;             /* something of an answer went out since the last PING */
    bool calmed, going, fatal; /* told ENHANCE_YOUR_CALM; told GOAWAY; nghttp2 gave up */
};

static inline uint64_t
berth_h2_now(const struct berth_conn *c)
{
    return berth_loop_now_ns(c->nl->loop);
}

static inline const struct berth_server_conf *
berth_h2_conf(const struct berth_conn *c)
{
    return &c->nl->server->conf;
}

static inline struct berth_h2_stream *
berth_h2_stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* Look after the stream in pump(), where nghttp2 may be entered. */
static inline void
berth_h2_due(struct berth_h2_stream *st)
{
    if (st->is_due)
        return;
    st->is_due = true;
    TAILQ_INSERT_TAIL(&st->conn->h2->due, st, due);
}

/* ---- h2_head.c: nghttp2's callbacks ---- */
int berth_h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                       void *user);
int berth_h2_on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                               const uint8_t *name, size_t name_len, const uint8_t *value,
                               size_t value_len, uint8_t flags, void *user);

/* ---- h2_answer.c ---- */
enum { BERTH_H2_PUMP_BYTES = 128 * 1024 /* taken from nghttp2 before they are sent */ };
/* nghttp2 wants a frame of a stream's bytes written: 9 bytes of head, n of the stream. */
int berth_h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                       size_t n, nghttp2_data_source *source, void *user);
/* What was put off to the end of the round. */
void berth_h2_run_due(struct berth_conn *c);

/* ---- h2_answer.c: what berth_proto_h2 calls ---- */
void berth_h2_reply(struct berth_xchg *x, const char *type, const void *body, size_t len);
void berth_h2_start(struct berth_xchg *x, const char *type);
int berth_h2_write(struct berth_xchg *x, const void *bytes, size_t len);
int berth_h2_lend(struct berth_xchg *x, const void *bytes, size_t len);
void berth_h2_end(struct berth_xchg *x);
void berth_h2_abort(struct berth_xchg *x);

#endif
