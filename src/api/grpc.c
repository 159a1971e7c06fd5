#include "api/grpc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc_status.h"
#include "base/assert.h"
#include "base/clock.h"
#include "wire/grpc.h"
#include "wire/gzip.h"

enum {
    STATUS_BYTES = 8 * 1024, /* kept for an answer when a request has used its memory up */
    COMPRESS_FROM = 256,     /* shorter messages would only grow */
};

enum encoding { IDENTITY, GZIP, DEFLATE };
static const char *const encodings[] = {"identity", "gzip", "deflate"};

struct berth_grpc {
    struct berth_call *c;
    const struct berth_grpc_method *method;
    void *state;
    struct berth_grpc_frames in;
    struct berth_arena arena; /* client_streams: of the message that is coming */
    struct berth_slice message;
    enum encoding encoding; /* of both directions */
    bool message_seen, half_closed;
    bool started, over, timer_on;
    uint64_t deadline_ns;
    struct berth_timer timer;
    enum berth_grpc_code code;
    /* What a method on the api's own thread leaves: frames, and how the call ends. */
    struct berth_buf kept;
    struct berth_fault end;
    bool end_kept;
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

uint64_t
berth_grpc_deadline_ns(const struct berth_grpc *g)
{
    return g->deadline_ns;
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

/* ---- the end ---- */

static void
stop(struct berth_grpc *g)
{
    g->over = g->c->ended = true;
    if (g->timer_on)
        berth_timer_stop(&g->timer);
    g->timer_on = false;
    berth_arena_fini(&g->arena);
}

static void
put_status(struct berth_grpc *g, const struct berth_fault *f,
           void (*put)(struct berth_exchange *x, const char *name, const char *value))
{
    struct berth_exchange *x = g->c->x;
    char code[4];
    struct berth_buf text, details;

    (void)snprintf(code, sizeof code, "%d", (int)g->code);
    put(x, "grpc-status", code);
    if (f->code == 0)
        return;
    berth_buf_init(&text, &x->arena);
    berth_grpc_percent_put(&text, f->message);
    if (berth_buf_text(&text) != NULL)
        put(x, "grpc-message", text.at);
    berth_buf_init(&details, &x->arena);
    berth_grpc_details_put(&details, f, g->c->id);
    if (!details.failed)
        put(x, "grpc-status-details-bin", details.at);
}

static void
finish(struct berth_grpc *g, const struct berth_fault *f)
{
    struct berth_exchange *x = g->c->x;

    g->code = f->code == 0 ? BERTH_GRPC_OK : berth_error_look(f->code)->grpc;
    stop(g);
    if (f->code != 0) /* a client must be told, most of all when its memory is used up */
        x->arena.max_bytes += STATUS_BYTES;
    if (g->started) {
        put_status(g, f, berth_exchange_trailer);
        berth_exchange_end(x);
        return;
    }
    berth_call_headers(g->c);
    put_status(g, f, berth_exchange_add);
    berth_exchange_reply(x, 200, "application/grpc", "", 0);
}

/* As berth_call.fault: the error is counted already. */
static void
fault(struct berth_call *c, const struct berth_fault *f)
{
    struct berth_grpc *g = c->grpc;

    if (c->off_loop) {
        const char *message = f->message;
        if (message != NULL && (message = berth_arena_strdup(&c->x->arena, message)) == NULL)
            message = "out of memory";
        g->end = *f;
        g->end.message = message;
        g->end_kept = true;
    } else if (!g->over) {
        finish(g, f);
    }
}

void
berth_grpc_fault(struct berth_grpc *g, const struct berth_fault *f)
{
    if (!g->over)
        berth_call_fault(g->c, f);
}

void
berth_grpc_end(struct berth_grpc *g, int code, const char *message)
{
    const struct berth_fault f = {.code = code, .message = message};

    if (code != 0)
        berth_grpc_fault(g, &f);
    else
        fault(g->c, &f);
}

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
        stop(g);
        berth_exchange_abort(x);
    }
}

static void
too_late(struct berth_timer *t)
{
    struct berth_grpc *g = (struct berth_grpc *)((char *)t - offsetof(struct berth_grpc, timer));

    g->timer_on = false;
    berth_grpc_end(g, -BERTH_EDEADLINE, "the call did not end within its grpc-timeout");
    cut(g);
}

/* ---- sending ---- */

static void
start(struct berth_grpc *g)
{
    if (g->started)
        return;
    g->started = true;
    berth_call_headers(g->c);
    if (g->encoding != IDENTITY)
        berth_exchange_add(g->c->x, "grpc-encoding", encodings[g->encoding]);
    berth_exchange_start(g->c->x, 200, "application/grpc");
}

void
berth_grpc_begin(struct berth_buf *b, struct berth_arena *a)
{
    berth_buf_init(b, a);
    if (berth_buf_reserve(b, BERTH_GRPC_HEAD) != NULL)
        b->len = BERTH_GRPC_HEAD;
}

static int
send_compressed(struct berth_grpc *g, const struct berth_slice *parts, size_t count)
{
    struct berth_arena scratch;
    struct berth_err e;
    char *at;
    size_t len;
    int r;

    berth_arena_init(&scratch, g->c->api->conf.output_bytes_max);
    r = berth_gzip_write(&scratch, parts, count, g->encoding == DEFLATE, BERTH_GRPC_HEAD, &at, &len,
                         &e);
    if (r == 0) {
        berth_grpc_head_put(at, true, len - BERTH_GRPC_HEAD);
        r = berth_exchange_write(g->c->x, at, len);
    }
    berth_arena_fini(&scratch);
    return r;
}

int
berth_grpc_send_parts(struct berth_grpc *g, struct berth_buf *b, const struct berth_slice *parts,
                      size_t count)
{
    struct berth_exchange *x = g->c->x;
    size_t len = b->len - BERTH_GRPC_HEAD;
    int r = 0;

    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    if (b->failed)
        return -BERTH_ENOMEM;
    if (len > UINT32_MAX)
        return -BERTH_ETOOBIG;
    berth_grpc_head_put(b->at, false, len);
    if (g->c->off_loop) {
        berth_buf_put(&g->kept, b->at, b->len);
        for (size_t i = 0; i < count; i++)
            berth_buf_put(&g->kept, parts[i].at, parts[i].len);
        return g->kept.failed ? -BERTH_ENOMEM : 0;
    }
    if (g->over)
        return -BERTH_ECANCELED;
    start(g);
    if (g->encoding != IDENTITY && len >= COMPRESS_FROM && count < 64) {
        struct berth_slice all[65] = {{b->at + BERTH_GRPC_HEAD, b->len - BERTH_GRPC_HEAD}};
        if (count > 0)
            memcpy(all + 1, parts, count * sizeof *parts);
        return send_compressed(g, all, count + 1);
    }
    r = berth_exchange_lend(x, b->at, b->len);
    for (size_t i = 0; i < count && r == 0; i++) {
        if (parts[i].len > 0)
            r = berth_exchange_lend(x, parts[i].at, parts[i].len);
    }
    return r;
}

int
berth_grpc_send(struct berth_grpc *g, const void *message, size_t len)
{
    const struct berth_slice part = {message, len};
    char head[BERTH_GRPC_HEAD];
    int r;

    if (len > UINT32_MAX)
        return -BERTH_ETOOBIG;
    berth_grpc_head_put(head, false, len);
    if (g->c->off_loop) {
        berth_buf_put(&g->kept, head, sizeof head);
        berth_buf_put(&g->kept, message, len);
        return g->kept.failed ? -BERTH_ENOMEM : 0;
    }
    if (g->over)
        return -BERTH_ECANCELED;
    start(g);
    if (g->encoding != IDENTITY && len >= COMPRESS_FROM)
        return send_compressed(g, &part, 1);
    r = berth_exchange_write(g->c->x, head, sizeof head);
    return r < 0 || len == 0 ? r : berth_exchange_write(g->c->x, message, len);
}

void
berth_grpc_job_done(struct berth_grpc *g)
{
    berth_assert(g->end_kept);
    if (g->over)
        return;
    if (g->end.code == 0 && g->kept.failed)
        g->end = (struct berth_fault){.code = -BERTH_ENOMEM,
                                      .message = "the answer is larger than its memory limit"};
    if (g->end.code == 0 && g->kept.len > 0) {
        start(g);
        (void)berth_exchange_lend(g->c->x, g->kept.at, g->kept.len);
    }
    finish(g, &g->end);
}

void
berth_grpc_pause(struct berth_grpc *g, bool paused)
{
    if (!g->over)
        berth_exchange_pause(g->c->x, paused);
}

/* ---- receiving ---- */

static void
begin_message(struct berth_grpc *g)
{
    const struct berth_grpc_method *m = g->method;
    const size_t max = m->message_max > 0 ? m->message_max : g->c->api->conf.body_bytes_max;
    struct berth_arena *a = m->client_streams ? &g->arena : &g->c->x->arena;
    struct berth_err e;

    if (g->message_seen && !m->client_streams) {
        malformed(g, "a second message came where the method takes one");
    } else if (g->in.compressed && g->encoding == IDENTITY) {
        malformed(g, "a message is compressed, but there is no grpc-encoding");
    } else if (g->in.len > max) {
        (void)berth_err_set(&e, BERTH_ETOOBIG, "the message has %u bytes, at most %zu are taken",
                            g->in.len, max);
        berth_grpc_end(g, -BERTH_ETOOBIG, e.msg);
    } else {
        /* What is announced is not yet sent, but memory that nobody touches costs nothing. */
        g->in.to = berth_arena_alloc_raw(a, (size_t)g->in.len + 1);
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
    g->message = (struct berth_slice){g->in.to, g->in.len};
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

static void
piece(struct berth_exchange *x, const char *at, size_t n)
{
    struct berth_grpc *g = ((struct berth_call *)x->user)->grpc;
    enum berth_grpc_event event = BERTH_GRPC_MORE;

    if (g->over || g->half_closed)
        return;
    if (n == 0) {
        body_end(g);
        return;
    }
    do {
        event = berth_grpc_frames_put(&g->in, &at, &n);
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
    } while (event != BERTH_GRPC_MORE && !g->over);
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
    for (size_t i = 0; i < BERTH_COUNT(tables); i++) {
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

    for (size_t i = 0; h != NULL && i < BERTH_COUNT(encodings); i++) {
        if (berth_slice_is(*h, encodings[i])) {
            g->encoding = (enum encoding)i;
            return true;
        }
    }
    return h == NULL;
}

static void
limit_time(struct berth_grpc *g)
{
    const struct berth_slice *h = berth_exchange_header(g->c->x, "grpc-timeout");
    const uint64_t ns = h != NULL ? berth_grpc_timeout_ns(*h) : 0;
    const uint64_t now = berth_now_ns();

    if (ns == 0 || ns > UINT64_MAX - g->c->x->begin_ns)
        return;
    g->deadline_ns = g->c->x->begin_ns + ns;
    if (!g->method->client_streams && !g->method->server_streams)
        return; /* berth_call_run() sees to it */
    g->timer_on = berth_timer_start(&g->timer, g->c->x->loop,
                                    g->deadline_ns > now ? g->deadline_ns - now : 0, too_late) == 0;
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
    return true;
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
    c->fault = fault;
    c->job = job;
    berth_arena_init(&g->arena, x->arena.max_bytes);
    berth_buf_init(&g->kept, &x->arena);
    g->method = find_method(x->path);
    if (!check(g))
        return;
    x->piece = piece;
    x->gone = gone;
    limit_time(g);
}
