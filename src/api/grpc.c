#include "api/grpc.h"

#include <string.h>
#include <strings.h>

#include "api/grpc_priv.h"
#include "wire/gzip.h"

/* A gRPC call's beginning, its messages, and how it is cut off.  Answers are in grpc_answer.c. */

enum {
    HELD_BYTES_MAX = 16 << 20, /* of a paused stream: more than a window of HTTP/2's */
    ALIGN_FROM = 1024,         /* of shorter messages a tensor is copied as fast */
};

static const struct berth_grpc_method *const tables[] = {
    berth_v2_grpc_methods,
    berth_unimodel_grpc_methods,
    berth_grpc_health_methods,
    berth_grpc_reflect_methods,
};

struct berth_api *
berth_grpc_api(const struct berth_grpc *g)
{
    return g->c->api;
}

struct berth_exchange *
berth_grpc_exchange(const struct berth_grpc *g)
{
    return g->c->x;
}

struct berth_call *
berth_grpc_call(const struct berth_grpc *g)
{
    return g->c;
}

void **
berth_grpc_state(struct berth_grpc *g)
{
    return &g->state;
}

bool
berth_grpc_over(const struct berth_grpc *g)
{
    return g->over;
}

enum berth_grpc_code
berth_grpc_code(const struct berth_grpc *g)
{
    return g->code;
}

const struct berth_grpc_method *
berth_grpc_method_of(const struct berth_grpc *g)
{
    return g->method;
}

struct berth_slice
berth_grpc_message(const struct berth_grpc *g)
{
    return g->message;
}

void
berth_grpc_take(struct berth_grpc *g, struct berth_arena *ret)
{
    *ret = g->arena;
    berth_arena_init(&g->arena, ret->max_bytes);
}

/* ---- cut off ---- */

static void
malformed(struct berth_grpc *g, const char *why)
{
    const struct berth_fault f = {
        .code = -BERTH_EINTERNAL, .kind = "SERIALIZATION_ERROR", .message = why};

    berth_grpc_fault(g, &f);
}

static void
cut(struct berth_grpc *g)
{
    berth_call_leave(g->c);
    if (g->method->cut != NULL)
        g->method->cut(g);
}

static void
gone(struct berth_exchange *x)
{
    struct berth_grpc *g = ((struct berth_call *)x->user)->grpc;

    if (g->over)
        return;
    g->code = BERTH_GRPC_CANCELLED;
    cut(g);
    if (!g->over) {
        berth_grpc_stop(g);
        berth_exchange_abort(x);
    }
}

static void
writable(struct berth_exchange *x)
{
    struct berth_grpc *g = ((struct berth_call *)x->user)->grpc;

    if (!g->over && g->method->writable != NULL)
        g->method->writable(g);
}

static void
too_late(struct berth_timer *t)
{
    struct berth_grpc *g = (struct berth_grpc *)((char *)t - offsetof(struct berth_grpc, timer));

    berth_grpc_end(g, -BERTH_EDEADLINE, "the call did not end within its grpc-timeout");
    cut(g);
}

/* ---- receiving ---- */

static void
begin_message(struct berth_grpc *g)
{
    const struct berth_grpc_method *m = g->method;
    const size_t max = m->message_max > 0 ? m->message_max : g->c->api->conf.body_bytes_max;
    struct berth_err e;

    if (g->message_seen && !m->client_streams) {
        malformed(g, "a second message came where the method takes one");
    } else if (g->in.compressed && g->encoding == BERTH_GRPC_IDENTITY) {
        malformed(g, "a message is compressed, but there is no grpc-encoding");
    } else if (g->in.len > max) {
        (void)berth_err_set(&e, BERTH_ETOOBIG, "the message has %u bytes, at most %zu are taken",
                            g->in.len, max);
        berth_grpc_end(g, -BERTH_ETOOBIG, e.msg);
    } else {
        /* What is announced is not yet sent, but memory that nobody touches costs nothing. */
        const bool align = m->aligned != 0 && !g->in.compressed && g->in.len >= ALIGN_FROM;
        const size_t room = (size_t)g->in.len + (align ? BERTH_PB_ALIGN_SPARE : 1);
        g->in.to = m->client_streams ? berth_arena_alloc_raw(&g->arena, room)
                                     : berth_exchange_alloc(g->c->x, room);
        g->in.align.field = align ? m->aligned : 0;
        if (g->in.to == NULL)
            berth_grpc_end(g, -BERTH_ENOMEM, "the request is larger than its memory limit");
    }
}

static bool
expand(struct berth_grpc *g)
{
    const struct berth_grpc_method *m = g->method;
    const size_t max = m->message_max > 0 ? m->message_max : g->c->api->conf.body_bytes_max;
    const void *at;
    size_t len;
    struct berth_err e;
    const int r = berth_gzip_read(m->client_streams ? &g->arena : &g->c->x->arena, g->message.at,
                                  g->message.len, max, &at, &len, &e);

    if (r == -BERTH_EINVAL)
        malformed(g, e.msg);
    else if (r < 0)
        berth_grpc_end(g, r, e.msg);
    else
        g->message = (struct berth_slice){at, len};
    return r == 0;
}

static void
take_message(struct berth_grpc *g)
{
    g->message =
        (struct berth_slice){g->in.to, g->in.align.field != 0 ? g->in.align.out_len : g->in.len};
    g->message_seen = true;
    if (g->in.compressed && !expand(g))
        return;
    if (g->method->client_streams) {
        g->method->message(g, g->message);
        berth_arena_reset(&g->arena);
    }
}

static void
body_end(struct berth_grpc *g)
{
    g->half_closed = true;
    if (!berth_grpc_frames_whole(&g->in)) {
        malformed(g, "the request ends within a message");
    } else if (g->method->client_streams) {
        g->method->half_closed(g);
    } else if (!g->message_seen) {
        malformed(g, "the request has no message");
    } else if (g->method->blocks) {
        berth_api_job(g->c);
    } else {
        g->method->message(g, g->message);
    }
}

/* Take messages off the piece until it is empty or the method wants no more. */
static void
feed(struct berth_grpc *g, const char **at, size_t *n)
{
    enum berth_grpc_event event;

    g->feeding = true;
    do {
        event = berth_grpc_frames_put(&g->in, at, n);
        switch (event) {
        case BERTH_GRPC_BEGUN:
            begin_message(g);
            break;
        case BERTH_GRPC_MESSAGE:
            take_message(g);
            break;
        case BERTH_GRPC_BAD:
            malformed(g, "a message begins with a flag that has no meaning");
            break;
        case BERTH_GRPC_MORE:
            break;
        }
    } while (event != BERTH_GRPC_MORE && !g->over && !g->paused);
    g->feeding = false;
    if (g->over) {
        *n = 0;
        berth_grpc_free_input(g);
    }
}

/* The client may send more once all that it sent is taken: what is held stays within a window. */
static void
open_or_shut(struct berth_grpc *g)
{
    const bool shut = g->paused || g->held.len > 0;

    if (g->over || shut == g->shut)
        return;
    g->shut = shut;
    berth_exchange_pause(g->c->x, shut);
}

/* Go on with what came while the stream was paused. */
static void
feed_held(struct berth_grpc *g)
{
    const char *at = g->held.len > 0 ? g->held.at + g->held_at : "";
    size_t n = g->held.len - g->held_at;

    feed(g, &at, &n); /* also without bytes: an empty message may be due */
    g->held_at = g->held.len - n;
    if (n == 0)
        g->held.len = g->held_at = 0;
    if (n == 0 && g->end_held && !g->over && !g->paused)
        body_end(g);
}

void
berth_grpc_pause(struct berth_grpc *g, bool paused)
{
    if (g->over || paused == g->paused)
        return;
    g->paused = paused;
    if (!paused && !g->feeding)
        feed_held(g);
    open_or_shut(g);
}

/* A client may still send what the flow control's window allows. */
static void
piece(struct berth_exchange *x, const char *at, size_t n)
{
    struct berth_grpc *g = ((struct berth_call *)x->user)->grpc;

    if (g->over || g->half_closed)
        return;
    if (n == 0 && (g->paused || g->held.len > 0)) {
        g->end_held = true;
        return;
    }
    if (n == 0) {
        body_end(g);
        return;
    }
    if (!g->paused && g->held.len == 0)
        feed(g, &at, &n);
    if (n == 0 || g->over)
        return;
    berth_buf_put(&g->held, at, n);
    if (g->held.failed)
        berth_grpc_end(g, -BERTH_ELIMIT, "more is sent than is taken");
    else
        open_or_shut(g);
}

/* ---- the beginning ---- */

bool
berth_grpc_is(const struct berth_exchange *x)
{
    static const char type[] = "application/grpc";
    const struct berth_slice *h = berth_exchange_header(x, "content-type");

    if (h == NULL || h->len < sizeof type - 1 || !berth_slice_is(x->method, "POST") ||
        strncasecmp(h->at, type, sizeof type - 1) != 0)
        return false;
    return h->len == sizeof type - 1 || strchr("+; ", h->at[sizeof type - 1]) != NULL;
}

static const struct berth_grpc_method *
find_method(struct berth_slice path)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (const struct berth_grpc_method *m = tables[i]; m->path != NULL; m++) {
            if (berth_slice_is(path, m->path))
                return m;
        }
    }
    return NULL;
}

/* The form of messages, behind "application/grpc": proto, or what is proto by default. */
static bool
is_proto(const struct berth_exchange *x)
{
    const struct berth_slice *h = berth_exchange_header(x, "content-type");
    const size_t skip = sizeof "application/grpc" - 1;
    const char *at = h->at + skip, *end = memchr(at, ';', h->len - skip);
    const size_t len = end != NULL ? (size_t)(end - at) : h->len - skip;

    return len == 0 || *at == ' ' || berth_slice_is((struct berth_slice){at, len}, "+proto");
}

static bool
read_encoding(struct berth_grpc *g)
{
    const struct berth_slice *h = berth_exchange_header(g->c->x, "grpc-encoding");

    for (size_t i = 0; h != NULL && i < BERTH_GRPC_ENCODING_COUNT; i++) {
        if (berth_slice_is(*h, berth_grpc_encodings[i])) {
            g->encoding = (enum berth_grpc_encoding)i;
            return true;
        }
    }
    return h == NULL;
}

static void
limit_time(struct berth_grpc *g)
{
    const uint64_t ns = g->c->asked_timeout_ns;

    if (ns == 0 || ns > UINT64_MAX - g->c->x->begin_ns)
        return;
    g->deadline_ns = g->c->x->begin_ns + ns;
    if (!g->method->client_streams && !g->method->server_streams)
        return; /* berth_call_run() sees to it */
    /* Without memory for a timer there is none: the model's own limits remain. */
    (void)berth_timer_arm(&g->timer, g->c->x->loop, g->deadline_ns, too_late);
}

static void
job(struct berth_call *c)
{
    c->grpc->method->message(c->grpc, c->grpc->message);
}

/* Everything that can be refused before a message has come. */
static bool
check(struct berth_grpc *g)
{
    struct berth_call *c = g->c;
    struct berth_exchange *x = c->x;
    struct berth_err e;

    if (c->x->listener_tag == BERTH_API_LISTENER_METRICS || g->method == NULL) {
        (void)berth_err_set(&e, BERTH_EUNSUPPORTED, "there is no method %.*s",
                            (int)(x->path.len < 200 ? x->path.len : 200), x->path.at);
        berth_grpc_end(g, -BERTH_EUNSUPPORTED, e.msg);
        return false;
    }
    if (!is_proto(x)) {
        berth_grpc_end(g, -BERTH_EUNSUPPORTED,
                       "content-type: messages must be proto: application/grpc");
        return false;
    }
    if (!berth_api_admitted(c, g->method->scope))
        return false;
    if (!read_encoding(g)) {
        berth_exchange_add(x, "grpc-accept-encoding", "identity,gzip,deflate");
        berth_grpc_end(g, -BERTH_EUNSUPPORTED, "grpc-encoding: must be identity, gzip or deflate");
        return false;
    }
    return berth_call_read_timeout(c);
}

void
berth_grpc_accept(struct berth_call *c)
{
    struct berth_exchange *x = c->x;
    struct berth_grpc *g = BERTH_NEW(&x->arena, struct berth_grpc);

    c->dialect = BERTH_DIALECT_GRPC;
    if (g == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "the request is larger than its memory limit");
        return;
    }
    g->c = c;
    c->grpc = g;
    c->fault = berth_grpc_call_fault;
    c->job = job;
    berth_arena_init(&g->arena, x->arena.max_bytes);
    berth_buf_init(&g->kept, &x->arena);
    berth_buf_init(&g->held, NULL);
    g->held.max = HELD_BYTES_MAX;
    g->method = find_method(x->path);
    if (!check(g))
        return;
    x->piece = piece;
    x->gone = gone;
    x->writable = writable;
    limit_time(g);
    if (g->method->client_streams) /* it may be quiet for long: the server is there, it says */
        berth_grpc_start(g);
}
