#include <stdlib.h>
#include <string.h>

#include "net/h2_priv.h"

/* Answers on HTTP/2 streams.  Below nghttp2's callbacks, so everything only queues. */

enum {
    LENT_MIN = 1024, /* fewer bytes are copied: that is cheaper than a place in sendmsg's list */
    FRAME_HEAD = 9,
    NV_FEW = 16, /* headers that need no memory of their own */
};

static nghttp2_nv
nv_of(struct berth_slice name, struct berth_slice value)
{
    return (nghttp2_nv){.name = (uint8_t *)name.at,
                        .value = (uint8_t *)value.at,
                        .namelen = name.len,
                        .valuelen = value.len};
}

/* An id is never sent twice: in HPACK's table it would only push out what is. */
static nghttp2_nv
nv_of_added(const struct berth_added *a)
{
    nghttp2_nv nv = nv_of(a->name, a->value);

    if (berth_slice_is(a->name, "x-request-id"))
        nv.flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    return nv;
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

static size_t
left(const struct berth_h2_stream *st)
{
    return berth_outbuf_left(&st->out) + st->lents.bytes + st->tail.len;
}

/* The bytes that are next, whole; .len 0: none. */
static struct berth_slice
next_run(const struct berth_h2_stream *st, bool *ret_lent)
{
    const struct berth_slice next = berth_lents_next(&st->lents, &st->out, ret_lent);

    if (next.len > 0)
        return next;
    *ret_lent = true;
    return st->tail;
}

static void
consume_run(struct berth_h2_stream *st, size_t n)
{
    if (berth_outbuf_left(&st->out) + st->lents.bytes > 0) {
        (void)berth_lents_consume(&st->lents, &st->conn->nl->bufs, &st->out, n);
        return;
    }
    st->tail.at += n;
    st->tail.len -= n;
}

static void
copy_runs(struct berth_h2_stream *st, uint8_t *at, size_t n)
{
    bool lent;

    while (n > 0) {
        const struct berth_slice next = next_run(st, &lent);
        size_t did = n < next.len ? n : next.len;
        memcpy(at, next.at, did);
        consume_run(st, did);
        at += did;
        n -= did;
    }
}

static void
submit_trailers(struct berth_h2_stream *st)
{
    struct berth_conn *c = st->conn;
    size_t n = 0;
    nghttp2_nv few[NV_FEW] = {0}, *nva = few;

    for (const struct berth_added *a = st->x->trailers; a != NULL; a = a->next)
        n++;
    if (n > NV_FEW)
        nva = calloc(n, sizeof *nva); /* the exchange's own memory may be used up */
    if (nva == NULL) {
        berth_conn_break(c);
        return;
    }
    n = 0;
    for (const struct berth_added *a = st->x->trailers; a != NULL; a = a->next)
        nva[n++] = nv_of(a->name, a->value);
    if (nghttp2_submit_trailer(c->h2->session, st->id, nva, n) != 0)
        berth_conn_break(c);
    if (nva != few)
        free(nva);
}

/* Room again for a writer that was refused? */
static void
look_for_room(struct berth_h2_stream *st)
{
    if (left(st) <= berth_h2_conf(st->conn)->unsent_bytes_max / 2) {
        berth_h2_due(st);
        berth_conn_work_later(st->conn);
    }
}

static ssize_t
read_data(nghttp2_session *session, int32_t id, uint8_t *at, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *user)
{
    struct berth_conn *c = user;
    struct berth_h2_stream *st = source->ptr;
    size_t all = left(st), n = all < room ? all : room;

    st->deadline_ns = all > n ? berth_h2_now(c) + berth_h2_conf(c)->write_timeout_ns : 0;
    if (n > LENT_MIN && st->lents.bytes + st->tail.len > 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY; /* the bytes are taken by berth_h2_send_data() */
    else if (n > 0)
        copy_runs(st, at, n);
    if (all == n && st->end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (st->x->trailers != NULL) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            submit_trailers(st);
        }
    } else if (n == 0) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (st->x->starved)
        look_for_room(st);
    return (ssize_t)n;
}

int
berth_h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                   nghttp2_data_source *source, void *user)
{
    struct berth_conn *c = user;
    struct berth_h2_stream *st = source->ptr;
    bool ok, lent;

    if (berth_conn_unsent(c) >= BERTH_H2_PUMP_BYTES)
        return NGHTTP2_ERR_WOULDBLOCK;
    ok = berth_conn_put(c, head, FRAME_HEAD);
    while (ok && n > 0) {
        const struct berth_slice next = next_run(st, &lent);
        size_t did = n < next.len ? n : next.len;
        ok = lent && did > LENT_MIN ? berth_conn_lend(c, (struct berth_slice){next.at, did}, st->x)
                                    : berth_conn_put(c, next.at, did);
        consume_run(st, did);
        n -= did;
    }
    if (st->x->starved)
        look_for_room(st);
    return ok ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* The answer's head; a body of data frames follows when with_body.  Without one, what is meant for
 * behind it belongs to the head. */
static void
put_head(struct berth_h2_stream *st, const char *type, bool known, uint64_t len, bool with_body)
{
    struct berth_conn *c = st->conn;
    struct berth_xchg *x = st->x;
    const struct berth_slice date = berth_net_date(c->nl); /* "date: VALUE\r\n" */
    char status[24], length[24];
    size_t room = 4, n = 0;
    nghttp2_nv few[NV_FEW], *nva = few;

    for (const struct berth_added *a = x->added; a != NULL; a = a->next)
        room++;
    for (const struct berth_added *a = x->trailers; a != NULL; a = a->next)
        room++;
    if (room > NV_FEW)
        nva = calloc(room, sizeof *nva); /* the exchange's own memory may be used up */
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
        nva[n++] = nv_of_added(a);
    for (const struct berth_added *a = with_body ? NULL : x->trailers; a != NULL; a = a->next)
        nva[n++] = nv_of(a->name, a->value);
    const nghttp2_data_provider data = {.source.ptr = st, .read_callback = read_data};
    if (nghttp2_submit_response(c->h2->session, st->id, nva, n, with_body ? &data : NULL) != 0)
        berth_conn_break(c);
    if (nva != few)
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

/* The head waits for the end of the round: an answer that ends until then without a body is one
 * frame. */
void
berth_h2_start(struct berth_xchg *x, const char *type)
{
    struct berth_h2_stream *st = x->stream;

    if (!status_has_body(x->pub.status))
        x->is_head = true; /* writes are dropped */
    st->head_due = true;
    st->type = type != NULL ? berth_arena_strdup(&x->pub.arena, type) : NULL;
    st->deadline_ns = 0;
    berth_h2_due(st);
    berth_conn_work_later(st->conn);
}

static void
tell_head(struct berth_h2_stream *st)
{
    bool empty = st->end && left(st) == 0;

    st->head_due = false;
    put_head(st, st->type, false, 0, !st->x->is_head && !empty);
}

void
berth_h2_run_due(struct berth_conn *c)
{
    struct berth_h2 *h = c->h2;
    struct berth_h2_stream *st;

    while ((st = TAILQ_FIRST(&h->due)) != NULL && !c->broken) {
        TAILQ_REMOVE(&h->due, st, due);
        st->is_due = false;
        if (st->head_due)
            tell_head(st);
        if (st->x->starved && left(st) <= berth_h2_conf(c)->unsent_bytes_max / 2)
            berth_xchg_writable(st->x); /* the stream stays: it ends in pump() or by its frames */
    }
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

/* Bytes were added. */
static void
added(struct berth_h2_stream *st)
{
    if (st->deadline_ns == 0)
        st->deadline_ns = berth_h2_now(st->conn) + berth_h2_conf(st->conn)->write_timeout_ns;
    wake(st);
}

static int
put(struct berth_h2_stream *st, const void *bytes, size_t len)
{
    struct berth_conn *c = st->conn;

    if (c->broken)
        return -BERTH_ECANCELED;
    if (!berth_outbuf_put(&st->out, &c->nl->bufs, bytes, len)) {
        berth_conn_break(c);
        return -BERTH_ECANCELED;
    }
    added(st);
    return 0;
}

int
berth_h2_write(struct berth_xchg *x, const void *bytes, size_t len)
{
    struct berth_h2_stream *st = x->stream;

    return left(st) > berth_h2_conf(st->conn)->unsent_bytes_max ? -BERTH_EAGAIN
                                                                : put(st, bytes, len);
}

int
berth_h2_lend(struct berth_xchg *x, const void *bytes, size_t len)
{
    struct berth_h2_stream *st = x->stream;
    struct berth_conn *c = st->conn;

    if (len <= BERTH_COPY_BYTES_MAX)
        return berth_outbuf_left(&st->out) / 2 > berth_h2_conf(c)->unsent_bytes_max
                   ? -BERTH_EAGAIN
                   : put(st, bytes, len);
    if (c->broken)
        return -BERTH_ECANCELED;
    if (berth_lents_count(&st->lents) >= BERTH_LENTS_MAX)
        return -BERTH_EAGAIN;
    const struct berth_slice run = {bytes, len};
    if (!berth_lents_add(&st->lents, &c->nl->bufs, &st->out, run, NULL)) {
        berth_conn_break(c);
        return -BERTH_ECANCELED;
    }
    added(st);
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

    st->head_due = false;
    (void)nghttp2_submit_rst_stream(st->conn->h2->session, NGHTTP2_FLAG_NONE, st->id,
                                    NGHTTP2_INTERNAL_ERROR);
    berth_conn_work_later(st->conn);
}
