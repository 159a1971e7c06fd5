#include <string.h>

#include "base/assert.h"
#include "net/h1_priv.h"

/* Answers on HTTP/1.1 connections. */

enum { CHUNK_ROOM = 20 /* for a chunk's length and line ends */ };

static char *
put_text(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}
#define PUT(at, literal) put_text((at), (literal), sizeof(literal) - 1)

static char *
put_number(char *at, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;

    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return put_text(at, digits + i, sizeof digits - i);
}

static bool
status_has_body(uint16_t status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* The answer's head.  known: Content-Length is `len`; else chunked, or until the end in 1.0. */
static bool
put_head(struct berth_xchg *x, const char *type, bool known, size_t len)
{
    struct berth_conn *c = x->conn;
    struct berth_h1 *h = &c->h1;
    const char *reason = berth_http1_reason(x->pub.status);
    size_t type_len = type != NULL ? strlen(type) : 0;
    size_t room = 256 + type_len;
    const struct berth_slice date = berth_net_date(c->nl);

    for (const struct berth_added *a = x->added; a != NULL; a = a->next)
        room += a->name.len + a->value.len + 4;
    char *at = berth_conn_reserve(c, room), *p = at;
    if (at == NULL)
        return false;
    if (h->body_unread &&
        (h->expects || h->left > BERTH_SKIP_BYTES_MAX || h->state == BERTH_H1_CHUNKED))
        h->keep_alive = false;
    x->chunked = !known && !x->http10;
    if ((!known && x->http10) || c->nl->draining)
        h->keep_alive = false;
    p = PUT(p, "HTTP/1.1 ");
    p = put_number(p, x->pub.status);
    *p++ = ' ';
    p = put_text(p, reason, strlen(reason));
    p = PUT(p, "\r\n");
    p = put_text(p, date.at, date.len);
    if (type_len > 0) {
        p = PUT(p, "content-type: ");
        p = put_text(p, type, type_len);
        p = PUT(p, "\r\n");
    }
    if (known && status_has_body(x->pub.status)) {
        p = PUT(p, "content-length: ");
        p = put_number(p, len);
        p = PUT(p, "\r\n");
    } else if (x->chunked) {
        p = PUT(p, "transfer-encoding: chunked\r\n");
    }
    if (!h->keep_alive)
        p = PUT(p, "connection: close\r\n");
    else if (x->http10)
        p = PUT(p, "connection: keep-alive\r\n");
    for (const struct berth_added *a = x->added; a != NULL; a = a->next) {
        p = put_text(p, a->name.at, a->name.len);
        p = PUT(p, ": ");
        p = put_text(p, a->value.at, a->value.len);
        p = PUT(p, "\r\n");
    }
    p = PUT(p, "\r\n");
    berth_assert((size_t)(p - at) <= room);
    c->out.len += (size_t)(p - at);
    return true;
}

void
berth_h1_reply(struct berth_xchg *x, const char *type, const void *body, size_t len)
{
    struct berth_conn *c = x->conn;

    if (put_head(x, type, true, len) && len > 0 && !x->is_head && status_has_body(x->pub.status)) {
        if (len > BERTH_COPY_BYTES_MAX) { /* resume() goes on when it is sent */
            c->tail = (struct berth_slice){body, len};
            berth_conn_work_later(c);
            return;
        }
        (void)berth_conn_put(c, body, len); /* a failure has broken the connection */
    }
    berth_h1_answer_done(c);
}

void
berth_h1_start(struct berth_xchg *x, const char *type)
{
    bool bodyless = !status_has_body(x->pub.status);

    (void)put_head(x, type, bodyless, 0);
    if (bodyless)
        x->is_head = true; /* writes are dropped */
    if (x->pub.piece != NULL)
        x->conn->read_deadline_ns = 0; /* the body's pace is the application's matter */
    berth_conn_work_later(x->conn);
}

/* A chunk's line before its len bytes. */
static void
put_size(struct berth_conn *c, size_t len)
{
    char size[2 * sizeof len + 2], *p = size + sizeof size;

    *--p = '\n';
    *--p = '\r';
    do
        *--p = "0123456789abcdef"[len & 15];
    while ((len >>= 4) > 0);
    (void)berth_conn_put(c, p, (size_t)(size + sizeof size - p));
}

int
berth_h1_write(struct berth_xchg *x, const void *bytes, size_t len)
{
    struct berth_conn *c = x->conn;

    if (berth_conn_unsent(c) > c->nl->server->conf.unsent_bytes_max) {
        berth_conn_flush(c);
        if (!c->broken && berth_conn_unsent(c) > c->nl->server->conf.unsent_bytes_max)
            return -BERTH_EAGAIN;
    }
    if (c->broken || berth_conn_reserve(c, len + CHUNK_ROOM) == NULL)
        return -BERTH_ECANCELED;
    if (x->chunked)
        put_size(c, len);
    (void)berth_conn_put(c, bytes, len);
    if (x->chunked)
        (void)berth_conn_put(c, "\r\n", 2);
    berth_conn_work_later(c);
    return 0;
}

int
berth_h1_lend(struct berth_xchg *x, const void *bytes, size_t len)
{
    struct berth_conn *c = x->conn;
    bool few = len <= BERTH_COPY_BYTES_MAX;

    if (c->broken)
        return -BERTH_ECANCELED;
    if (few ? berth_outbuf_left(&c->out) / 2 > c->nl->server->conf.unsent_bytes_max
            : berth_lents_count(&c->lents) >= BERTH_LENTS_MAX)
        return -BERTH_EAGAIN;
    if (x->chunked)
        put_size(c, len);
    if (few)
        (void)berth_conn_put(c, bytes, len);
    else
        (void)berth_conn_lend(c, (struct berth_slice){bytes, len}, x);
    if (x->chunked)
        (void)berth_conn_put(c, "\r\n", 2);
    berth_conn_work_later(c);
    return c->broken ? -BERTH_ECANCELED : 0;
}

void
berth_h1_end(struct berth_xchg *x)
{
    struct berth_conn *c = x->conn;

    if (x->chunked && !x->is_head)
        (void)berth_conn_put(c, "0\r\n\r\n", 5);
    berth_h1_answer_done(c);
}

void
berth_h1_abort(struct berth_xchg *x)
{
    struct berth_conn *c = x->conn;

    c->h1.keep_alive = false;
    /* A chunked answer without its end is enough, unless it waits for a reader while the server
     * stops; otherwise only a reset tells. */
    if (!x->chunked || (c->nl->draining && berth_conn_unsent(c) > 0)) {
        c->reset = true;
        berth_conn_break(c);
    }
    berth_h1_answer_done(c);
}
