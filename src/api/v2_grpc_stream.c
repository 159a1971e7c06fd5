#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/v2_check.h"
#include "api/v2_grpc.h"
#include "api/v2_pb.h"
#include "base/arena.h"
#include "base/clock.h"
#include "wire/pb.h"

/*
 * ModelStreamInfer: each message is a request of its own.  They run at once and are answered in the
 * order in which they finish; generated text comes piece by piece.  A request that fails is
 * answered with its error, and the stream goes on.
 */
enum {
    CALLS_MAX = 128,            /* at once on a stream: no more is read until some have ended */
    CALLS_LOW = 64,             /* ... and then it goes on */
    UNSENT_BYTES_MAX = 64 << 20 /* answers that wait for a slow reader */
};

/* Fields of ModelStreamInferResponse and of the ModelInferResponse in it. */
enum { STREAM_ERROR = 1, STREAM_ANSWER = 2, ANSWER_ID = 3 };

/* An answer for which there was no room. */
struct unsent {
    STAILQ_ENTRY(unsent) next;
    struct berth_buf b;
};

struct stream {
    struct berth_grpc *g;
    TAILQ_HEAD(, item) items;
    uint32_t count;
    STAILQ_HEAD(, unsent) unsent;
    size_t unsent_bytes;
    bool half_closed, paused;
};

/* One request.  It lies, as all that it makes, in an arena of its own. */
struct item {
    struct berth_call call; /* first */
    struct berth_arena arena;
    struct stream *s;
    struct berth_slice message;
    TAILQ_ENTRY(item) next;
    bool busy;     /* within run(): not to be freed */
    bool released; /* ... but afterwards */
};

static struct item *
item_of(struct berth_call *c)
{
    return (struct item *)c;
}

/* ---- sending ---- */

static void
update(struct stream *s)
{
    const bool full = s->count >= (s->paused ? CALLS_LOW + 1 : CALLS_MAX);
    const bool pause = full || !STAILQ_EMPTY(&s->unsent);

    if (berth_grpc_over(s->g))
        return;
    if (s->half_closed && s->count == 0 && STAILQ_EMPTY(&s->unsent)) {
        berth_grpc_end(s->g, 0, NULL);
    } else if (pause != s->paused) {
        s->paused = pause;
        berth_grpc_pause(s->g, pause);
    }
}

static void
leave_all(struct stream *s)
{
    for (struct item *i = TAILQ_FIRST(&s->items), *next; i != NULL; i = next) {
        next = TAILQ_NEXT(i, next);
        berth_call_leave(&i->call); /* a request that waits for its model is freed by this */
    }
}

static void
fail_all(struct stream *s, int code, const char *message)
{
    berth_grpc_end(s->g, code, message);
    leave_all(s);
}

/* Send what is in b, now or when there is room; b is taken over. */
static void
send(struct stream *s, struct berth_buf *b)
{
    struct unsent *u;
    int r = -BERTH_EAGAIN;

    if (STAILQ_EMPTY(&s->unsent))
        r = berth_grpc_send_copy(s->g, b);
    if (r != -BERTH_EAGAIN) {
        berth_buf_fini(b);
        if (r == -BERTH_ENOMEM || r == -BERTH_ETOOBIG)
            fail_all(s, r, "an answer is larger than its memory limit");
        return;
    }
    u = malloc(sizeof *u);
    if (u == NULL || b->len > UNSENT_BYTES_MAX - s->unsent_bytes) {
        free(u);
        berth_buf_fini(b);
        fail_all(s, -BERTH_ELIMIT, "the answers are read too slowly");
        return;
    }
    u->b = *b;
    s->unsent_bytes += b->len;
    STAILQ_INSERT_TAIL(&s->unsent, u, next);
    update(s);
}

static void
drop_unsent(struct stream *s)
{
    struct unsent *u = STAILQ_FIRST(&s->unsent);

    STAILQ_REMOVE_HEAD(&s->unsent, next);
    s->unsent_bytes -= u->b.len;
    berth_buf_fini(&u->b);
    free(u);
}

static void
drop_all_unsent(void *stream)
{
    struct stream *s = stream;

    while (!STAILQ_EMPTY(&s->unsent))
        drop_unsent(s);
}

void
berth_v2_grpc_stream_writable(struct berth_grpc *g)
{
    struct stream *s = *berth_grpc_state(g);
    struct unsent *u;

    while (s != NULL && (u = STAILQ_FIRST(&s->unsent)) != NULL) {
        if (berth_grpc_send_copy(g, &u->b) == -BERTH_EAGAIN)
            return;
        drop_unsent(s);
    }
    if (s != NULL)
        update(s);
}

/* ---- a request's answers ---- */

static void
send_answer(struct item *i, const struct berth_v2_answer *from, bool final)
{
    const struct berth_v2_pb_flag flag = {"triton_final_response", final};
    struct berth_err e;
    struct berth_buf b;
    size_t guess = 512, begun;

    for (size_t k = 0; k < from->output_count; k++)
        guess += 64 + from->outputs[k].size;
    berth_grpc_begin(&b, NULL);
    (void)berth_buf_reserve(&b, guess);
    begun = berth_pb_begin(&b, STREAM_ANSWER);
    (void)berth_v2_pb_put_whole(&b, from, &flag, &e); /* send() looks at b.failed */
    berth_pb_end(&b, begun);
    send(i->s, &b);
}

/* As berth_call.fault. */
static void
fault(struct berth_call *c, const struct berth_fault *f)
{
    struct item *i = item_of(c);
    const struct berth_v2_grpc_asked *asked = c->state;
    struct berth_buf b;
    size_t begun;

    c->ended = true;
    berth_grpc_begin(&b, NULL);
    berth_pb_put_text(&b, STREAM_ERROR, f->message);
    begun = berth_pb_begin(&b, STREAM_ANSWER);
    if (asked != NULL)
        berth_pb_put_bytes(&b, ANSWER_ID, asked->infer.id.at, asked->infer.id.len);
    berth_pb_end(&b, begun);
    send(i->s, &b);
}

static void
piece(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    struct berth_v2_grpc_asked *asked = c->state;
    struct berth_arena scratch;
    struct berth_v2_answer from;
    struct berth_err e;

    if (d->text_len == 0)
        return;
    berth_arena_init(&scratch, c->api->conf.output_bytes_max);
    if (berth_v2_grpc_answer(c, &from, &e) == 0 &&
        berth_v2_text_output(&scratch, (struct berth_slice){d->text, d->text_len}, &asked->output,
                             &e) == 0)
        send_answer(item_of(c), &from, false);
    berth_arena_fini(&scratch);
}

/* The end: of tensors the one answer; of a text the last, whose text is empty when all of it has
 * gone out in pieces. */
static void
answer(struct berth_call *c)
{
    const struct berth_v2_grpc_asked *asked = c->state;
    struct berth_v2_answer from;
    struct berth_err e;
    const int r = berth_v2_grpc_answer(c, &from, &e);

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    c->ended = true;
    if (asked->is_text && !asked->text.whole && asked->infer.final_empty)
        from.output_count = 0;
    send_answer(item_of(c), &from, true);
}

static const struct berth_call_ops whole_ops = {.answer = answer, .all_or_nothing = true};
static const struct berth_call_ops piece_ops = {
    .delta = piece, .answer = answer, .all_or_nothing = true};

/* ---- a request ---- */

static void
item_free(struct item *i)
{
    struct stream *s = i->s;
    struct berth_arena arena = i->arena;

    TAILQ_REMOVE(&s->items, i, next);
    s->count--;
    berth_arena_fini(&arena);
    update(s);
}

static void
released(struct berth_call *c)
{
    struct item *i = item_of(c);

    berth_requests_note(c, berth_now_ns());
    i->released = true;
    if (!i->busy)
        item_free(i);
}

static void
run(struct berth_call *c)
{
    struct item *i = item_of(c);
    const struct berth_v2_grpc_asked *asked;
    struct berth_err e;
    int r;

    i->busy = true;
    r = berth_v2_grpc_read(c, i->message, &e);
    asked = c->state;
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else if (r == 0)
        berth_v2_grpc_run(c, asked->is_text && !asked->text.whole ? &piece_ops : &whole_ops);
    i->busy = false;
    /* It is over: done already, or never begun. */
    if (i->released || (r != BERTH_CALL_PARKED && c->ops == NULL))
        item_free(i);
}

void
berth_v2_grpc_stream_message(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *of = berth_grpc_call(g);
    struct stream *s = *berth_grpc_state(g);
    struct berth_arena arena;
    struct item *i;

    if (s == NULL) {
        s = BERTH_NEW(&of->x->arena, struct stream);
        if (s == NULL || berth_arena_defer(&of->x->arena, drop_all_unsent, s) < 0) {
            berth_grpc_end(g, -BERTH_ENOMEM, "the stream is larger than its memory limit");
            return;
        }
        s->g = g;
        TAILQ_INIT(&s->items);
        STAILQ_INIT(&s->unsent);
        *berth_grpc_state(g) = s;
    }
    berth_grpc_take(g, &arena);
    i = BERTH_NEW(&arena, struct item);
    if (i == NULL) {
        berth_arena_fini(&arena);
        fail_all(s, -BERTH_ENOMEM, "a request is larger than its memory limit");
        return;
    }
    i->arena = arena;
    i->s = s;
    i->message = message;
    i->call = (struct berth_call){.api = of->api,
                                  .x = of->x,
                                  .arena = &i->arena,
                                  .grpc = g,
                                  .dialect = BERTH_DIALECT_GRPC,
                                  .fault = fault,
                                  .released = released,
                                  .again = run,
                                  .name = {"", 0},
                                  .version = {"", 0},
                                  .cors_origin = {"", 0},
                                  .wall_ns = berth_wall_ns(),
                                  .begin_ns = berth_now_ns()};
    memcpy(i->call.id, of->id, sizeof i->call.id);
    TAILQ_INSERT_TAIL(&s->items, i, next);
    s->count++;
    update(s);
    run(&i->call);
}

void
berth_v2_grpc_stream_half_closed(struct berth_grpc *g)
{
    struct stream *s = *berth_grpc_state(g);

    if (s == NULL) {
        berth_grpc_end(g, 0, NULL);
        return;
    }
    s->half_closed = true;
    update(s);
}

void
berth_v2_grpc_stream_cut(struct berth_grpc *g)
{
    if (*berth_grpc_state(g) != NULL)
        leave_all(*berth_grpc_state(g));
}
