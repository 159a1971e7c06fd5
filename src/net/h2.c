#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/num.h"
#include "net/h2_priv.h"

/*
 * HTTP/2 on a connection.  nghttp2 turns bytes into frames and keeps the flow control; here are
 * the exchanges of its streams, the limits, and what a peer may do how often.
 *
 * nghttp2 must not be entered from one of its own callbacks, so what applications do below one
 * (answer, write, abort) only queues; pump() takes the queue out from resume().
 */
enum {
    STREAM_WINDOW = 1024 * 1024,    /* a body of 600 KB arrives without a stall */
    WIDE_WINDOW = 4 * 1024 * 1024,  /* for a body that turns out to be large */
    CONN_WINDOW = 16 * 1024 * 1024, /* several of them at once */
    /* What a peer may do that costs us and is of no use to it: points, and how they come back. */
    CALM_POINTS = 1000,
    CALM_POINTS_PER_S = 50,
    COST_RESET = 1,      /* a stream it opened and reset, or made us reset */
    COST_CONTROL = 2,    /* PING, SETTINGS, PRIORITY */
    COST_IDLE_PING = 10, /* PING while no stream is open: what should it keep alive? */
    GAIN_ANSWER = 1,     /* an answer to its end: who is served may change his mind now and then */
    COST_EMPTY = 2,      /* DATA with nothing in it */
    COST_INVALID = 5,
};

/* ---- a peer that wastes our time ---- */

/* why: for the peer's log; gRPC clients know "too_many_pings". */
static void
calm(struct berth_conn *c, const char *why)
{
    struct berth_h2 *h = c->h2;

    if (h->calmed)
        return;
    h->calmed = true; /* and it is closed when this is sent: on_frame_send() */
    atomic_fetch_add_explicit(&c->nl->server->refused_total, 1, memory_order_relaxed);
    if (nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h->session),
                              NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)why, strlen(why)) != 0)
        h->fatal = true;
}

static void
charge(struct berth_conn *c, int64_t cost, const char *why)
{
    struct berth_h2 *h = c->h2;
    uint64_t passed_ns = berth_h2_now(c) - h->points_ns;

    if (passed_ns >= BERTH_S) {
        h->points += (int64_t)(passed_ns / BERTH_S) * CALM_POINTS_PER_S;
        h->points = h->points < CALM_POINTS ? h->points : CALM_POINTS;
        h->points_ns = berth_h2_now(c);
    }
    h->points -= cost;
    if (h->points < 0)
        calm(c, why);
}

/* One PING for what we have sent is welcome: gRPC clients measure the line by it. */
static void
charge_ping(struct berth_conn *c)
{
    struct berth_h2 *h = c->h2;

    if (!h->answered)
        charge(c, TAILQ_EMPTY(&h->streams) ? COST_IDLE_PING : COST_CONTROL, "too_many_pings");
    h->answered = false;
}

/* ---- requests ---- */

static void
refuse(struct berth_h2_stream *st, uint16_t status, const char *why)
{
    st->deadline_ns = 0;
    berth_xchg_refuse(st->x, status, why);
}

static void
handle(struct berth_h2_stream *st)
{
    struct berth_xchg *x = st->x;

    st->remote_ended = true;
    if (x->pub.piece != NULL && x->handled) {
        if (x->answer == BERTH_ANSWER_NONE)
            st->deadline_ns = 0; /* else it is the reader's */
        berth_xchg_piece(x, NULL, 0);
        return;
    }
    st->deadline_ns = 0;
    if (x->answer != BERTH_ANSWER_NONE)
        return;
    if (berth_xchg_body_end(st->x) < 0)
        refuse(st, 413, "the body does not fit into the memory of one request");
    else
        berth_xchg_handle(st->x);
}

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct berth_conn *c = user;
    struct berth_h2 *h = c->h2;

    h->block_ns = berth_h2_now(c);
    h->block_bytes = 0;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct berth_xchg *x = berth_xchg_new(c, berth_now_ns());
    struct berth_h2_stream *st =
        x != NULL ? BERTH_NEW(&x->pub.arena, struct berth_h2_stream) : NULL;
    if (st == NULL) {
        if (x != NULL)
            berth_xchg_sent(x);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    *st = (struct berth_h2_stream){
        .conn = c, .x = x, .id = frame->hd.stream_id, .content_length = -1};
    x->stream = st;
    x->pub.http2 = true;
    TAILQ_INSERT_TAIL(&h->streams, st, all);
    h->idle_ns = 0;
    return nghttp2_session_set_stream_user_data(session, st->id, st) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void
begin(struct berth_h2_stream *st, bool ended)
{
    struct berth_conn *c = st->conn;
    struct berth_xchg *x = st->x;

    x->is_head = berth_slice_is(x->pub.method, "HEAD");
    st->remote_ended = ended;
    if (st->fault.status != 0) {
        refuse(st, st->fault.status, st->fault.why);
        return;
    }
    if (berth_slice_is(x->pub.method, "CONNECT")) {
        refuse(st, 501, "CONNECT is not offered");
        return;
    }
    if (c->over_limit || c->nl->draining) {
        refuse(st, 503,
               c->over_limit ? "too many connections; raise server.max_connections"
                             : "the server is stopping");
        if (c->over_limit)
            c->h2->going = true; /* and closed when this answer is sent */
        return;
    }
    if (c->from != NULL && c->from->plain_refused && c->tls == NULL) {
        refuse(st, 400, "this port speaks TLS only: use https");
        return;
    }
    berth_xchg_begin(x); /* x stays: streams end in pump() or in their own frames */
    if (x->answer != BERTH_ANSWER_NONE)
        return;
    if (x->pub.piece != NULL) {
        st->deadline_ns = ended ? 0 : berth_h2_now(c) + berth_h2_conf(c)->body_timeout_ns;
        berth_xchg_handle(x);
        if (ended)
            berth_xchg_piece(x, NULL, 0);
        return;
    }
    bool known = ended || st->content_length >= 0;
    if (berth_xchg_body_start(x, known, ended ? 0 : (uint64_t)st->content_length) < 0)
        refuse(st, 413, "the body is too large");
    else if (ended)
        handle(st);
    else
        st->deadline_ns = berth_xchg_body_deadline_ns(x);
}

/* len bytes of a body are dealt with: let the client send more, but do not tell it every time. */
static void
open_windows(struct berth_h2_stream *st, size_t len)
{
    struct berth_h2 *h = st->conn->h2;

    st->taken += len;
    st->unacked += len;
    if (st->unacked < STREAM_WINDOW / 4 || st->paused)
        return;
    (void)nghttp2_session_consume_stream(h->session, st->id, st->unacked);
    st->unacked = 0;
    if (st->wide || st->taken < STREAM_WINDOW / 2)
        return;
    st->wide = true; /* over a long line, a window's worth in each of its round trips is too slow */
    (void)nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, st->id, WIDE_WINDOW);
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *at, size_t len,
              void *user)
{
    struct berth_conn *c = user;
    struct berth_h2 *h = c->h2;
    struct berth_h2_stream *st = berth_h2_stream_of(session, id);

    h->unacked += len;
    if (h->unacked >= CONN_WINDOW / 4) {
        (void)nghttp2_session_consume_connection(session, h->unacked);
        h->unacked = 0;
    }
    if (st == NULL)
        return 0;
    open_windows(st, len);
    if (st->linger_left > 0) {
        st->linger_left -= len < st->linger_left ? len : st->linger_left;
        if (st->linger_left == 0)
            (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    }
    if (st->x->pub.piece != NULL && st->x->handled) {
        if (st->x->answer == BERTH_ANSWER_NONE)
            st->deadline_ns = berth_h2_now(c) + berth_h2_conf(c)->body_timeout_ns;
        berth_xchg_piece(st->x, (const char *)at, len);
        return 0;
    }
    if (st->x->answer != BERTH_ANSWER_NONE)
        return 0;
    st->deadline_ns = berth_xchg_body_deadline_ns(st->x);
    if (berth_xchg_body_put(st->x, at, len) < 0)
        refuse(st, 413, "the body is too large");
    return 0;
}

static void
h2_pause(struct berth_xchg *x, bool paused)
{
    struct berth_h2_stream *st = x->stream;
    struct berth_conn *c = st->conn;

    st->paused = paused;
    if (paused)
        return;
    if (x->answer == BERTH_ANSWER_NONE && !st->remote_ended)
        st->deadline_ns = berth_h2_now(c) + berth_h2_conf(c)->body_timeout_ns;
    open_windows(st, 0);
    berth_conn_work_later(c);
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct berth_conn *c = user;
    struct berth_h2_stream *st = berth_h2_stream_of(session, frame->hd.stream_id);
    bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        c->h2->block_ns = 0;
        if (st != NULL && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            begin(st, ended);
        else if (st != NULL && ended)
            handle(st);
        break;
    case NGHTTP2_DATA:
        if (st != NULL && ended)
            handle(st);
        else if (frame->hd.length == 0)
            charge(c, COST_EMPTY, "empty_data");
        break;
    case NGHTTP2_RST_STREAM:
        charge(c, COST_RESET, "too_many_resets");
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0)
            charge_ping(c);
        break;
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0)
            charge(c, COST_CONTROL, "too_many_settings");
        break;
    case NGHTTP2_PRIORITY:
        charge(c, COST_CONTROL, "too_many_priorities");
        break;
    default:
        break;
    }
    return 0;
}

static int
on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    charge(user, COST_INVALID, "invalid_frames");
    return 0;
}

/* The whole answer is out, but the client still sends.  One that knows of answers before their
 * request's end (a body in pieces: gRPC) is told by a reset (RFC 9113, 8.1).  Other common clients
 * then forget the answer, so what they send is dropped for a while. */
static void
answered_early(struct berth_h2_stream *st)
{
    struct berth_conn *c = st->conn;

    if (st->x->pub.piece != NULL) {
        (void)nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, st->id,
                                        NGHTTP2_NO_ERROR);
        return;
    }
    st->linger_left = BERTH_LINGER_BYTES_MAX;
    st->deadline_ns = berth_h2_now(c) + BERTH_LINGER_NS;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct berth_conn *c = user;
    struct berth_h2 *h = c->h2;

    if (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) {
        h->answered = true;
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
            return 0;
        h->points += h->points < CALM_POINTS ? GAIN_ANSWER : 0;
        struct berth_h2_stream *st = berth_h2_stream_of(session, frame->hd.stream_id);
        if (st != NULL && !st->remote_ended)
            answered_early(st);
    } else if (frame->hd.type == NGHTTP2_RST_STREAM) {
        if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
            charge(c, COST_RESET, "too_many_resets");
    } else if (frame->hd.type == NGHTTP2_GOAWAY && h->calmed) {
        h->fatal = true;
    }
    return 0;
}

static void
stream_close(struct berth_h2_stream *st)
{
    struct berth_conn *c = st->conn;
    struct berth_xchg *x = st->x;

    TAILQ_REMOVE(&c->h2->streams, st, all);
    if (st->is_due)
        TAILQ_REMOVE(&c->h2->due, st, due);
    if (TAILQ_EMPTY(&c->h2->streams))
        c->h2->idle_ns = berth_h2_now(c);
    berth_outbuf_drop(&st->out, &c->nl->bufs);
    berth_outbuf_drop(&st->lents.list, &c->nl->bufs);
    x->stream = NULL;
    if (x->answer == BERTH_ANSWER_ENDED)
        berth_xchg_sent(x);
    else
        berth_xchg_gone(x);
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct berth_h2_stream *st = berth_h2_stream_of(session, id);

    if (st != NULL)
        stream_close(st);
    return 0;
}

/* ---- the connection ---- */

static void
h2_input(struct berth_conn *c, const char *at, size_t n)
{
    struct berth_h2 *h = c->h2;

    if (h->fatal || h->calmed)
        return;
    bool in_block = h->block_ns != 0;
    ssize_t used = nghttp2_session_mem_recv(h->session, (const uint8_t *)at, n);
    if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC || used == NGHTTP2_ERR_NOMEM)
        h->fatal = true;
    else if (used < 0) /* nghttp2's own limits: acknowledgements, continuations */
        calm(c, "flood");
    /* A header block that never ends costs memory and work without ever being a request. */
    h->block_bytes = h->block_ns == 0 ? 0 : in_block ? h->block_bytes + n : 0;
    if (h->block_bytes > 2 * berth_h2_conf(c)->head_bytes_max)
        calm(c, "endless_head");
}

static void
h2_gone(struct berth_conn *c)
{
    struct berth_h2_stream *st;

    if (c->h2 == NULL)
        return;
    while ((st = TAILQ_FIRST(&c->h2->streams)) != NULL) {
        (void)nghttp2_session_set_stream_user_data(c->h2->session, st->id, NULL);
        stream_close(st);
    }
}

static void
pump(struct berth_conn *c)
{
    struct berth_h2 *h = c->h2;
    const uint8_t *at;

    berth_h2_run_due(c);
    while (berth_conn_unsent(c) < BERTH_H2_PUMP_BYTES && !c->broken && !h->fatal) {
        ssize_t n = nghttp2_session_mem_send(h->session, &at);
        if (n < 0) {
            h->fatal = true;
            break;
        }
        if (n == 0 || !berth_conn_put(c, at, (size_t)n))
            break;
    }
    bool over = !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session);
    bool gone = h->going && TAILQ_EMPTY(&h->streams);
    if (h->fatal || over || (gone && !nghttp2_session_want_write(h->session)))
        c->close_when_sent = true;
    if (h->fatal || over) /* nothing can be answered any more: do not wait for the socket's end */
        h2_gone(c);
}

static char *
h2_room(struct berth_conn *c, size_t *ret_room)
{
    return NULL;
}

static void
h2_eof(struct berth_conn *c)
{
    berth_conn_break(c);
}

/* Called every tick: nothing that a peer may delay is without a deadline. */
static void
h2_expired(struct berth_conn *c)
{
    struct berth_h2 *h = c->h2;
    uint64_t now_ns = berth_h2_now(c);

    c->read_deadline_ns = now_ns + 1;
    for (struct berth_h2_stream *st = TAILQ_FIRST(&h->streams), *next; st != NULL; st = next) {
        next = TAILQ_NEXT(st, all);
        if (st->deadline_ns == 0 || now_ns < st->deadline_ns)
            continue;
        st->deadline_ns = 0;
        bool in_body = st->x->answer == BERTH_ANSWER_NONE && !st->remote_ended;
        if (in_body && st->x->pub.piece == NULL)
            refuse(st, 408, "the body took too long");
        else if (!in_body || !st->paused)
            (void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, st->id,
                                            st->linger_left > 0 ? NGHTTP2_NO_ERROR
                                                                : NGHTTP2_CANCEL);
    }
    if (h->block_ns != 0 && now_ns - h->block_ns >= berth_h2_conf(c)->head_timeout_ns)
        calm(c, "slow_head");
    if (h->idle_ns != 0 && now_ns - h->idle_ns >= berth_h2_conf(c)->idle_timeout_ns)
        (void)nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
}

static void
h2_drain(struct berth_conn *c)
{
    struct berth_h2 *h = c->h2;

    struct berth_h2_stream *st;

    if (h->going)
        return;
    h->going = true;
    (void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(h->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
    berth_conn_work_later(c);
    TAILQ_FOREACH(st, &h->streams, all) {
        berth_xchg_draining(st->x); /* the stream stays until pump() */
    }
}

static nghttp2_session *
session_new(struct berth_conn *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    nghttp2_session *session = NULL;

    if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&option) == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(cb, berth_h2_on_header);
        nghttp2_session_callbacks_set_on_invalid_header_callback(cb, berth_h2_on_invalid_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_send_data_callback(cb, berth_h2_send_data);
        nghttp2_option_set_no_closed_streams(option, 1);     /* no tree of priorities past */
        nghttp2_option_set_no_auto_window_update(option, 1); /* open_windows() */
        if (nghttp2_session_server_new2(&session, cb, c, option) != 0)
            session = NULL;
    }
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    return session;
}

bool
berth_h2_open(struct berth_conn *c)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, berth_h2_conf(c)->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)berth_h2_conf(c)->head_bytes_max},
    };
    struct berth_h2 *h = calloc(1, sizeof *h);

    if (h == NULL)
        return false;
    TAILQ_INIT(&h->streams);
    TAILQ_INIT(&h->due);
    h->points = CALM_POINTS;
    h->points_ns = h->idle_ns = berth_h2_now(c);
    c->h2 = h;
    h->session = session_new(c);
    if (h->session == NULL ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, BERTH_COUNT(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) != 0)
        return false;
    c->read_deadline_ns = berth_h2_now(c) + 1;
    return true;
}

void
berth_h2_free(struct berth_conn *c)
{
    if (c->h2 == NULL)
        return;
    nghttp2_session_del(c->h2->session);
    free(c->h2);
    c->h2 = NULL;
}

const struct berth_proto berth_proto_h2 = {
    .input = h2_input,
    .room = h2_room,
    .eof = h2_eof,
    .resume = pump,
    .expired = h2_expired,
    .drain = h2_drain,
    .gone = h2_gone,
    .reply = berth_h2_reply,
    .start = berth_h2_start,
    .write = berth_h2_write,
    .lend = berth_h2_lend,
    .pause = h2_pause,
    .end = berth_h2_end,
    .abort = berth_h2_abort,
};
