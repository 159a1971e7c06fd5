#include <stdio.h>
#include <string.h>

#include "api/grpc_priv.h"
#include "api/grpc_status.h"
#include "base/assert.h"
#include "wire/gzip.h"

/* What a gRPC call sends: messages and the status. */

enum {
    STATUS_BYTES = 8 * 1024, /* kept for an answer when a request has used its memory up */
    COMPRESS_FROM = 256,     /* shorter messages would only grow */
};

const char *const berth_grpc_encodings[BERTH_GRPC_ENCODING_COUNT] = {"identity", "gzip", "deflate"};

/* ---- the end ---- */

void
berth_grpc_free_input(struct berth_grpc *g)
{
    berth_arena_fini(&g->arena);
    berth_buf_fini(&g->held);
    g->held_at = 0;
}

void
berth_grpc_stop(struct berth_grpc *g)
{
    g->over = g->c->ended = true;
    berth_timer_stop(&g->timer);
    if (!g->feeding) /* else the message that is being taken lies there */
        berth_grpc_free_input(g);
}

static void
put_status(struct berth_grpc *g, const struct berth_fault *f,
           void (*put)(struct berth_exchange *x, const char *name, const char *value))
{
    struct berth_exchange *x = g->c->x;
    char code[4];
    struct berth_buf text, details;

    if (f->code == 0) {
        put(x, "grpc-status", "0");
        return;
    }
    (void)snprintf(code, sizeof code, "%d", (int)g->code);
    put(x, "grpc-status", code);
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
    berth_grpc_stop(g);
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
void
berth_grpc_call_fault(struct berth_call *c, const struct berth_fault *f)
{
    struct berth_grpc *g = c->grpc;

    if (c->off_loop) {
        const char *message = f->message;
        if (message != NULL && (message = berth_arena_strdup(&c->x->arena, message)) == NULL)
            message = "out of memory";
        g->end = *f;
        g->end.message = message;
        g->end.param = f->param != NULL ? berth_arena_strdup(&c->x->arena, f->param) : NULL;
        g->end_kept = true;
    } else if (!g->over) {
        finish(g, f);
    }
}

void
berth_grpc_fault(struct berth_grpc *g, const struct berth_fault *f)
{
    if (g->c->off_loop || !g->over) /* `over` is the loop's */
        berth_call_fault(g->c, f);
}

void
berth_grpc_end(struct berth_grpc *g, int code, const char *message)
{
    const struct berth_fault f = {.code = code, .message = message};

    if (code != 0)
        berth_grpc_fault(g, &f);
    else
        berth_grpc_call_fault(g->c, &f);
}

/* ---- sending ---- */

void
berth_grpc_start(struct berth_grpc *g)
{
    if (g->started)
        return;
    g->started = true;
    berth_call_headers(g->c);
    if (g->encoding != BERTH_GRPC_IDENTITY)
        berth_exchange_add(g->c->x, "grpc-encoding", berth_grpc_encodings[g->encoding]);
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
    r = berth_gzip_write(&scratch, parts, count, g->encoding == BERTH_GRPC_DEFLATE, BERTH_GRPC_HEAD,
                         &at, &len, &e);
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
    berth_grpc_start(g);
    if (g->encoding != BERTH_GRPC_IDENTITY && len >= COMPRESS_FROM && count < 64) {
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
berth_grpc_send_copy(struct berth_grpc *g, const struct berth_buf *b)
{
    const size_t len = b->len - BERTH_GRPC_HEAD;
    const struct berth_slice part = {b->at + BERTH_GRPC_HEAD, len};

    if (b->failed)
        return -BERTH_ENOMEM;
    if (len > UINT32_MAX)
        return -BERTH_ETOOBIG;
    berth_grpc_head_put(b->at, false, len);
    if (g->c->off_loop) {
        berth_buf_put(&g->kept, b->at, b->len);
        return g->kept.failed ? -BERTH_ENOMEM : 0;
    }
    if (g->over)
        return -BERTH_ECANCELED;
    berth_grpc_start(g);
    if (g->encoding != BERTH_GRPC_IDENTITY && len >= COMPRESS_FROM)
        return send_compressed(g, &part, 1);
    return berth_exchange_write(g->c->x, b->at, b->len);
}

int
berth_grpc_send(struct berth_grpc *g, const void *message, size_t len)
{
    struct berth_buf b;
    int r;

    berth_grpc_begin(&b, NULL);
    berth_buf_put(&b, message, len);
    r = berth_grpc_send_copy(g, &b);
    berth_buf_fini(&b);
    return r;
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
        berth_grpc_start(g);
        (void)berth_exchange_lend(g->c->x, g->kept.at, g->kept.len);
    }
    finish(g, &g->end);
}
