#include <stdlib.h>
#include <string.h>

#include "net/h2_priv.h"

/* Answers on HTTP/2 streams.  Below nghttp2's callbacks, so everything only queues. */

static ssize_t
read_data(nghttp2_session *session, int32_t id, uint8_t *at, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *user)
{
    struct berth_conn *c = user;
    struct berth_h2_stream *st = source->ptr;
    size_t n = berth_outbuf_left(&st->out) > 0 ? berth_outbuf_left(&st->out) : st->tail.len;

    n = n < room ? n : room;
    if (n > 0 && berth_outbuf_left(&st->out) > 0) {
        memcpy(at, st->out.at + st->out.sent, n);
        berth_outbuf_consume(&st->out, &c->nl->bufs, n);
    } else if (n > 0) {
        memcpy(at, st->tail.at, n);
        st->tail.at += n;
        st->tail.len -= n;
    }
    bool more = berth_outbuf_left(&st->out) + st->tail.len > 0;
    st->deadline_ns = more ? berth_h2_now(c) + berth_h2_conf(c)->write_timeout_ns : 0;
    if (!more && st->end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n == 0) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static nghttp2_nv
nv_of(struct berth_slice name, struct berth_slice value)
{
    return (nghttp2_nv){.name = (uint8_t *)name.at,
                        .value = (uint8_t *)value.at,
                        .namelen = name.len,
                        .valuelen = value.len};
}

static struct berth_slice
number_of(uint64_t n, char text[24])
{
    char *p = text + 24;

    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return (struct berth_slice){p, (size_t)(text + 24 - p)};
}

/* The answer's head; a body of data frames follows when with_body. */
static void
put_head(struct berth_h2_stream *st, const char *type, bool known, uint64_t len, bool with_body)
{
    struct berth_conn *c = st->conn;
    struct berth_xchg *x = st->x;
    const struct berth_slice date = berth_net_date(c->nl); /* "date: VALUE\r\n" */
    char status[24], length[24];
    size_t room = 4, n = 0;

    for (const struct berth_added *a = x->added; a != NULL; a = a->next)
        room++;
    nghttp2_nv *nva = calloc(room, sizeof *nva); /* the exchange's own memory may be used up */
    if (nva == NULL) {
        berth_conn_break(c);
        return;
    }
    nva[n++] = nv_of(BERTH_SLICE(":status"), number_of(x->pub.status, status));
    nva[n++] = nv_of(BERTH_SLICE("date"), (struct berth_slice){date.at + 6, date.len - 8});
    if (type != NULL)
        nva[n++] = nv_of(BERTH_SLICE("content-type"), berth_slice_of(type));
    if (known)
        nva[n++] = nv_of(BERTH_SLICE("content-length"), number_of(len, length));
    for (const struct berth_added *a = x->added; a != NULL; a = a->next)
        nva[n++] = nv_of(a->name, a->value);
    const nghttp2_data_provider data = {.source.ptr = st, .read_callback = read_data};
    if (nghttp2_submit_response(c->h2->session, st->id, nva, n, with_body ? &data : NULL) != 0)
        berth_conn_break(c);
    free(nva);
    st->deadline_ns = berth_h2_now(c) + berth_h2_conf(c)->write_timeout_ns;
    berth_conn_work_later(c);
}

static bool
status_has_body(uint16_t status)
{
    return status != 204 && status != 304;
}

void
berth_h2_reply(struct berth_xchg *x, const char *type, const void *body, size_t len)
{
    struct berth_h2_stream *st = x->stream;
    bool with_body = len > 0 && !x->is_head && status_has_body(x->pub.status);

    if (with_body)
        st->tail = (struct berth_slice){body, len};
    st->end = true;
    put_head(st, type, status_has_body(x->pub.status), len, with_body);
}

void
berth_h2_start(struct berth_xchg *x, const char *type)
{
    if (!status_has_body(x->pub.status))
        x->is_head = true; /* writes are dropped */
    put_head(x->stream, type, false, 0, !x->is_head);
}

static void
wake(struct berth_h2_stream *st)
{
    if (st->deferred) {
        st->deferred = false;
        (void)nghttp2_session_resume_data(st->conn->h2->session, st->id);
    }
    berth_conn_work_later(st->conn);
}

int
berth_h2_write(struct berth_xchg *x, const void *bytes, size_t len)
{
    struct berth_h2_stream *st = x->stream;
    struct berth_conn *c = st->conn;

    if (c->broken)
        return -BERTH_ECANCELED;
    if (berth_outbuf_left(&st->out) > berth_h2_conf(c)->unsent_bytes_max)
        return -BERTH_EAGAIN;
    if (!berth_outbuf_put(&st->out, &c->nl->bufs, bytes, len)) {
        berth_conn_break(c);
        return -BERTH_ECANCELED;
    }
    if (st->deadline_ns == 0)
        st->deadline_ns = berth_h2_now(c) + berth_h2_conf(c)->write_timeout_ns;
    wake(st);
    return 0;
}

void
berth_h2_end(struct berth_xchg *x)
{
    struct berth_h2_stream *st = x->stream;

    st->end = true;
    wake(st);
}

void
berth_h2_abort(struct berth_xchg *x)
{
    struct berth_h2_stream *st = x->stream;

    (void)nghttp2_submit_rst_stream(st->conn->h2->session, NGHTTP2_FLAG_NONE, st->id,
                                    NGHTTP2_INTERNAL_ERROR);
    berth_conn_work_later(st->conn);
}
