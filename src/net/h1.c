#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/h1_priv.h"

/* HTTP/1.1 on a connection: one exchange at a time; what a client sends ahead waits in c->in. */

enum { EMPTY_LINES_MAX = 4 };

static uint64_t
deadline(const struct berth_conn *c, uint64_t after_ns)
{
    return berth_loop_now_ns(c->nl->loop) + after_ns;
}

static const struct berth_server_conf *
conf(const struct berth_conn *c)
{
    return &c->nl->server->conf;
}

/* The answer of h->x is in the connection's buffers, or cut off: what comes next? */
void
berth_h1_answer_done(struct berth_conn *c)
{
    struct berth_h1 *h = &c->h1;
    struct berth_xchg *x = h->x;

    h->x = NULL;
    h->begin_ns = 0;
    h->held = false;
    h->find = (struct berth_http1_find){0};
    if (!h->keep_alive || c->nl->draining) {
        h->state = BERTH_H1_CLOSING;
        c->read_deadline_ns = 0;
        c->close_when_sent = true;
    } else if (h->body_unread && h->left > 0) {
        h->state = BERTH_H1_SKIP;
        c->read_deadline_ns = deadline(c, conf(c)->body_timeout_ns);
    } else {
        h->state = BERTH_H1_HEAD;
        c->read_deadline_ns = deadline(c, conf(c)->idle_timeout_ns);
    }
    berth_conn_work_later(c);
    berth_xchg_sent(x);
}

static void
h1_pause(struct berth_xchg *x, bool paused)
{
    struct berth_conn *c = x->conn;

    c->h1.held = paused;
    if (c->h1.state != BERTH_H1_BODY && c->h1.state != BERTH_H1_CHUNKED)
        return; /* the body is complete: what follows is another request */
    c->read_deadline_ns =
        paused || x->answer != BERTH_ANSWER_NONE ? 0 : deadline(c, conf(c)->body_timeout_ns);
    berth_conn_pause(c, paused);
}

/* ---- requests ---- */

/* Answer with an error and close: what follows on this connection cannot be trusted. */
static void
refuse(struct berth_conn *c, uint16_t status, const char *why)
{
    struct berth_h1 *h = &c->h1;

    if (h->x == NULL && (h->x = berth_xchg_new(c, h->begin_ns)) == NULL) {
        berth_conn_break(c);
        return;
    }
    h->keep_alive = false;
    h->state = BERTH_H1_ANSWER;
    c->read_deadline_ns = 0;
    berth_xchg_refuse(h->x, status, why);
}

static void
handle(struct berth_conn *c)
{
    struct berth_h1 *h = &c->h1;

    if (berth_xchg_body_end(h->x) < 0) {
        refuse(c, 413, "the body does not fit into the memory of one request");
        return;
    }
    h->state = BERTH_H1_ANSWER;
    h->body_unread = false;
    c->read_deadline_ns = 0;
    berth_xchg_handle(h->x);
}

/* The application takes the body as it comes: its turn begins now. */
static void
begin_pieces(struct berth_conn *c, struct berth_xchg *x, bool chunked)
{
    struct berth_h1 *h = &c->h1;

    h->state = chunked ? BERTH_H1_CHUNKED : h->body_unread ? BERTH_H1_BODY : BERTH_H1_ANSWER;
    if (h->expects && h->body_unread)
        (void)berth_conn_put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    h->expects = false;
    c->read_deadline_ns = h->body_unread ? deadline(c, conf(c)->body_timeout_ns) : 0;
    x->refs++; /* the answer may be complete when they return */
    berth_xchg_handle(x);
    if (h->x == x && !h->body_unread)
        berth_xchg_piece(x, NULL, 0);
    berth_xchg_unref(x);
}

/* A piece; the end of the body, too, when it is the last. */
static void
take_piece(struct berth_conn *c, const char *at, size_t n, bool last)
{
    struct berth_h1 *h = &c->h1;
    struct berth_xchg *x = h->x;

    c->read_deadline_ns =
        x->answer == BERTH_ANSWER_NONE && !h->held ? deadline(c, conf(c)->body_timeout_ns) : 0;
    x->refs++;
    if (n > 0)
        berth_xchg_piece(x, at, n);
    if (last && h->x == x) {
        h->state = BERTH_H1_ANSWER;
        h->body_unread = false;
        c->read_deadline_ns = 0;
        berth_xchg_piece(x, NULL, 0);
    }
    berth_xchg_unref(x);
}

/* The head is parsed: ask the application, then go for the body. */
static void
begin(struct berth_conn *c, const struct berth_http1_head *head)
{
    struct berth_h1 *h = &c->h1;
    struct berth_xchg *x = h->x;

    h->keep_alive = head->keep_alive;
    h->expects = head->expect_continue;
    h->left = head->content_length;
    h->body_unread = head->chunked || h->left > 0;
    h->state = head->chunked ? BERTH_H1_CHUNKED : BERTH_H1_ANSWER;
    h->chunks = (struct berth_http1_chunks){0};
    x->http10 = head->http10;
    if (c->over_limit || c->nl->draining) {
        refuse(c, 503,
               c->over_limit ? "too many connections; raise server.max_connections"
                             : "the server is stopping");
        return;
    }
    if (c->from != NULL && c->from->plain_refused && c->tls == NULL) {
        refuse(c, 400, "this port speaks TLS only: use https");
        return;
    }
    x->refs++; /* an answer from within begin() may be complete when it returns */
    berth_xchg_begin(x);
    bool answered = x->answer != BERTH_ANSWER_NONE;
    berth_xchg_unref(x);
    if (answered) {
        if (h->x != NULL)
            h->state = BERTH_H1_ANSWER;
        return;
    }
    if (x->pub.piece != NULL) {
        begin_pieces(c, x, head->chunked);
        return;
    }
    if (!h->body_unread) {
        handle(c);
        return;
    }
    if (berth_xchg_body_start(x, !head->chunked, h->left) < 0) {
        refuse(c, 413, "the body is too large");
        return;
    }
    if (h->expects)
        (void)berth_conn_put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    h->state = head->chunked ? BERTH_H1_CHUNKED : BERTH_H1_BODY;
    c->read_deadline_ns = berth_xchg_body_deadline_ns(x);
}

/* One whole head at at[0..len). */
static void
take_head(struct berth_conn *c, const char *at, size_t len)
{
    struct berth_h1 *h = &c->h1;
    struct berth_http1_head head = {.header_room = h->find.lines};
    struct berth_http1_fault fault;
    struct berth_xchg *x = h->x = berth_xchg_new(c, h->begin_ns);

    if (x == NULL) {
        berth_conn_break(c);
        return;
    }
    while (len > 0 && (*at == '\r' || *at == '\n')) {
        at++;
        len--;
    }
    char *copy = berth_arena_strndup(&x->pub.arena, at, len);
    head.headers = BERTH_NEW_N(&x->pub.arena, struct berth_header, head.header_room);
    if (copy == NULL || head.headers == NULL) {
        refuse(c, 431, "the request's head does not fit into the memory of one request");
        return;
    }
    int r = berth_http1_parse_head(copy, len, BERTH_URL_BYTES_MAX, &head, &fault);
    x->pub.method = head.method;
    x->pub.path = head.path;
    x->pub.query = head.query;
    x->pub.authority = head.authority;
    x->pub.headers = head.headers;
    x->pub.header_count = head.header_count;
    x->is_head = berth_slice_is(head.method, "HEAD");
    if (r < 0)
        refuse(c, fault.status, fault.why);
    else
        begin(c, &head);
}

static size_t
consume_head(struct berth_conn *c, const char *at, size_t n)
{
    struct berth_h1 *h = &c->h1;
    const struct berth_http1_limits limits = {
        .head_bytes_max = conf(c)->head_bytes_max,
        .url_bytes_max = BERTH_URL_BYTES_MAX,
        .header_count_max = conf(c)->header_count_max,
    };
    struct berth_http1_fault fault;
    size_t len;

    if (h->begin_ns == 0 && n >= 2 && memcmp(at, "\r\n", 2) == 0) {
        /* Some clients send one behind a body: it is no request that could time out. */
        h->empty_lines++;
        if (h->empty_lines > EMPTY_LINES_MAX)
            refuse(c, 400, "empty lines where a request should begin");
        return 2;
    }
    if (h->begin_ns == 0) {
        h->empty_lines = 0;
        h->begin_ns = berth_now_ns();
        c->read_deadline_ns = deadline(c, conf(c)->head_timeout_ns);
    }
    int r = berth_http1_find_head(&h->find, &limits, at, n, &len, &fault);
    if (r == BERTH_HTTP1_MORE)
        return 0;
    if (r < 0) {
        refuse(c, fault.status, fault.why);
        return n;
    }
    take_head(c, at, len);
    return len;
}

static size_t
consume_body(struct berth_conn *c, const char *at, size_t n)
{
    struct berth_h1 *h = &c->h1;

    berth_assert(h->x != NULL);
    if (n > h->left)
        n = (size_t)h->left;
    h->left -= n;
    if (h->x->pub.piece != NULL) {
        take_piece(c, at, n, h->left == 0);
        return n;
    }
    c->read_deadline_ns = berth_xchg_body_deadline_ns(h->x);
    (void)berth_xchg_body_put(h->x, at, n); /* there is room: the length was checked */
    if (h->left == 0)
        handle(c);
    return n;
}

static size_t
consume_chunked(struct berth_conn *c, const char *at, size_t n)
{
    struct berth_h1 *h = &c->h1;
    struct berth_http1_fault fault;
    struct berth_slice data;
    size_t used = n;

    berth_assert(h->x != NULL);
    c->read_deadline_ns = berth_xchg_body_deadline_ns(h->x);
    int r = berth_http1_chunks_next(&h->chunks, at, n, &used, &data, &fault);
    if (h->x->pub.piece != NULL) {
        if (r < 0)
            berth_conn_break(c); /* the application has begun: it hears of it by gone() */
        else
            take_piece(c, r == BERTH_HTTP1_DATA ? data.at : "",
                       r == BERTH_HTTP1_DATA ? data.len : 0, r == BERTH_HTTP1_END);
        return used;
    }
    if (r < 0)
        refuse(c, fault.status, fault.why);
    else if (r == BERTH_HTTP1_END)
        handle(c);
    else if (r == BERTH_HTTP1_DATA && berth_xchg_body_put(h->x, data.at, data.len) < 0)
        refuse(c, 413, "the body is too large");
    return used;
}

static size_t
consume_skip(struct berth_conn *c, size_t n)
{
    struct berth_h1 *h = &c->h1;

    if (n > h->left)
        n = (size_t)h->left;
    h->left -= n;
    if (h->left == 0) {
        h->state = BERTH_H1_HEAD;
        c->read_deadline_ns = deadline(c, conf(c)->idle_timeout_ns);
    }
    return n;
}

/* Is there too much to send to take another request? */
static bool
is_clogged(struct berth_conn *c)
{
    if (berth_conn_unsent(c) < BERTH_PIPELINE_MAX)
        return false;
    berth_conn_flush(c);
    return berth_conn_unsent(c) >= BERTH_PIPELINE_MAX;
}

/* How many bytes are dealt with; the rest waits for more input or for an answer. */
static size_t
consume(struct berth_conn *c, const char *at, size_t n)
{
    size_t used = 0;

    while (used < n && !c->broken) {
        size_t did = 0;
        switch (c->h1.state) {
        case BERTH_H1_HEAD:
            if (is_clogged(c))
                return used;
            did = consume_head(c, at + used, n - used);
            break;
        case BERTH_H1_BODY:
            did = consume_body(c, at + used, n - used);
            break;
        case BERTH_H1_CHUNKED:
            did = consume_chunked(c, at + used, n - used);
            break;
        case BERTH_H1_SKIP:
            did = consume_skip(c, n - used);
            break;
        case BERTH_H1_ANSWER:
            return used;
        case BERTH_H1_CLOSING:
            return n;
        }
        if (did == 0)
            return used;
        used += did;
    }
    return used;
}

static void
consume_waiting(struct berth_conn *c)
{
    size_t n = berth_outbuf_left(&c->in);

    if (n > 0) {
        size_t used = consume(c, c->in.at + c->in.sent, n);
        berth_outbuf_consume(&c->in, &c->nl->bufs, used);
    }
    bool held = c->h1.held && (c->h1.state == BERTH_H1_BODY || c->h1.state == BERTH_H1_CHUNKED);
    berth_conn_pause(c, held || (berth_outbuf_left(&c->in) >= BERTH_PIPELINE_MAX &&
                                 (c->h1.state == BERTH_H1_ANSWER || berth_conn_unsent(c) > 0)));
}

static void
h1_input(struct berth_conn *c, const char *at, size_t n)
{
    size_t used = berth_outbuf_left(&c->in) == 0 ? consume(c, at, n) : 0;

    if (used == n)
        return;
    if (!berth_outbuf_put(&c->in, &c->nl->bufs, at + used, n - used)) {
        berth_conn_break(c);
        return;
    }
    if (used == 0)
        consume_waiting(c);
}

static char *
h1_room(struct berth_conn *c, size_t *ret_room)
{
    struct berth_h1 *h = &c->h1;

    if (h->state != BERTH_H1_BODY || berth_outbuf_left(&c->in) > 0 || h->x->pub.piece != NULL)
        return NULL;
    *ret_room = (size_t)h->left;
    return h->x->body_at + h->x->pub.body.len;
}

static void
h1_filled(struct berth_conn *c, size_t n)
{
    struct berth_h1 *h = &c->h1;

    berth_assert(h->state == BERTH_H1_BODY && n <= h->left);
    h->left -= n;
    h->x->pub.body.len += n;
    c->read_deadline_ns = berth_xchg_body_deadline_ns(h->x);
    if (h->left == 0)
        handle(c);
}

static void
h1_resume(struct berth_conn *c)
{
    struct berth_xchg *x = c->h1.x;

    if (x != NULL && x->answer == BERTH_ANSWER_ENDED)
        berth_h1_answer_done(c); /* the large body is sent */
    else if (x != NULL && x->starved)
        berth_xchg_writable(x);
    consume_waiting(c);
}

/* No client of these APIs closes its side while it waits, so an end of input means that it left:
 * work for it stops.  Only an answer that is complete here still goes out. */
static void
h1_eof(struct berth_conn *c)
{
    const struct berth_xchg *x = c->h1.x;

    if ((x == NULL || x->answer == BERTH_ANSWER_ENDED) && berth_conn_unsent(c) > 0) {
        c->h1.keep_alive = false;
        c->close_when_sent = true;
        c->read_deadline_ns = 0;
    } else {
        berth_conn_break(c);
    }
}

static void
h1_expired(struct berth_conn *c)
{
    switch (c->h1.state) {
    case BERTH_H1_HEAD:
        if (c->h1.begin_ns == 0)
            berth_conn_finish(c);
        else
            refuse(c, 408, "the request's head took too long");
        break;
    case BERTH_H1_BODY:
    case BERTH_H1_CHUNKED:
        if (c->h1.x->pub.piece != NULL)
            berth_conn_break(c);
        else
            refuse(c, 408, "the body took too long");
        break;
    case BERTH_H1_SKIP:
    case BERTH_H1_ANSWER:
    case BERTH_H1_CLOSING:
        berth_conn_break(c);
        break;
    }
}

static void
h1_drain(struct berth_conn *c)
{
    struct berth_h1 *h = &c->h1;

    h->keep_alive = false;
    if (h->x != NULL)
        berth_xchg_draining(h->x);
    if (h->state == BERTH_H1_HEAD && h->begin_ns == 0 && berth_conn_unsent(c) == 0)
        berth_conn_break(c);
}

static void
h1_gone(struct berth_conn *c)
{
    struct berth_xchg *x = c->h1.x;

    c->h1.x = NULL;
    if (x != NULL)
        berth_xchg_gone(x);
}

const struct berth_proto berth_proto_h1 = {
    .input = h1_input,
    .room = h1_room,
    .filled = h1_filled,
    .eof = h1_eof,
    .resume = h1_resume,
    .expired = h1_expired,
    .drain = h1_drain,
    .gone = h1_gone,
    .reply = berth_h1_reply,
    .start = berth_h1_start,
    .write = berth_h1_write,
    .lend = berth_h1_lend,
    .pause = h1_pause,
    .end = berth_h1_end,
    .abort = berth_h1_abort,
};
