#include "api/call.h"

#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "api/grpc.h"
#include "api/routes.h"
#include "api/timing.h"
#include "base/arena.h"
#include "base/assert.h"
#include "infer/model.h"
#include "wire/grpc.h"

enum { SMALL_OUTPUT_BYTES = 2048, OUTPUT_ROOM_MAX = 4 << 20 };

static const char out_of_memory[] = "the request is larger than its memory limit; send less";

/* Was all of it in the response cache? */
static bool
is_cached(const struct berth_call *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        if (!c->parts[i].r.cached)
            return false;
    }
    return true;
}

void
berth_call_headers(struct berth_call *c)
{
    berth_exchange_add(c->x, "x-request-id", c->id);
    if (c->part_count > 0 && berth_model_caches(c->model))
        berth_exchange_add(c->x, "x-cache", is_cached(c) ? "hit" : "miss");
    if (c->part_count > 0 && c->x->query.len > 0)
        berth_call_timing_header(c);
    if (c->parked_ns > 0)
        berth_call_parked_header(c);
    if (c->cors_origin.len > 0) {
        berth_exchange_add(c->x, "access-control-allow-origin", c->cors_origin.at);
        berth_exchange_add(c->x, "vary", "Origin");
        berth_exchange_add(c->x, "access-control-expose-headers",
                           "X-Request-Id, Retry-After, X-Cache, Server-Timing, "
                           "Inference-Header-Content-Length, X-Berth-Replica");
    }
    if (c->allow != NULL)
        berth_exchange_add(c->x, "allow", c->allow);
    if (c->reply.retry_after_s > 0) {
        char text[16];

        (void)snprintf(text, sizeof text, "%u", c->reply.retry_after_s);
        berth_exchange_add(c->x, "retry-after", text);
    }
}

void
berth_call_reply(struct berth_call *c, uint16_t status, const char *type, const void *body,
                 size_t len)
{
    c->reply.status = status;
    c->reply.type = type;
    c->reply.body = body;
    c->reply.len = len;
    if (!c->off_loop)
        berth_call_send(c);
}

void
berth_call_send(struct berth_call *c)
{
    berth_assert(!c->streaming);
    c->ended = true;
    berth_call_headers(c);
    berth_exchange_reply(c->x, c->reply.status, c->reply.type, c->reply.body, c->reply.len);
}

void
berth_call_json(struct berth_call *c, uint16_t status, const struct berth_buf *b)
{
    if (b->failed)
        berth_call_fail(c, -BERTH_ENOMEM, NULL, out_of_memory);
    else if (c->json != NULL)
        c->json(c, (struct berth_slice){b->at, b->len}, true);
    else
        berth_call_reply(c, status, "application/json", b->at, b->len);
}

void
berth_call_fault(struct berth_call *c, const struct berth_fault *f)
{
    static const char last_resort[] =
        "{\"error\":\"RESOURCE_ERROR\",\"message\":\"out of memory\"}";
    const struct berth_error_look *look = berth_error_look(f->code);
    struct berth_buf b;

    berth_requests_failed(c, f);
    berth_api_count_error(c->api, f);
    if (c->fault != NULL) {
        c->fault(c, f);
        return;
    }
    berth_buf_init(&b, c->arena);
    berth_fault_put(&b, c->dialect, f);
    if (berth_fault_status(f) == 429 || berth_fault_status(f) == 503)
        c->reply.retry_after_s = look->retry_after_s > 0 ? look->retry_after_s : 1;
    if (b.failed)
        berth_call_reply(c, 503, "application/json", last_resort, sizeof last_resort - 1);
    else
        berth_call_reply(c, berth_fault_status(f), "application/json", b.at, b.len);
}

void
berth_call_fail(struct berth_call *c, int code, const char *param, const char *message)
{
    const struct berth_fault f = {.code = code, .param = param, .message = message};

    berth_call_fault(c, &f);
}

bool
berth_call_body(struct berth_call *c)
{
    struct berth_err e;
    struct berth_fault f = {.code = -BERTH_EINVAL, .kind = "SERIALIZATION_ERROR"};
    const struct berth_slice body = c->x->body;
    int r;

    if (c->body != NULL) /* the call was parked, and runs again */
        return true;
    if (body.len == 0) {
        f.message = "the body is empty; send a JSON object";
        berth_call_fault(c, &f);
        return false;
    }
    r = berth_json_parse(c->arena, body.at, body.len, NULL, &c->body, &e);
    if (r == 0 && berth_json_type(c->body) != BERTH_JSON_OBJECT)
        r = berth_err_set(&e, BERTH_EINVAL, "must be an object, not %s",
                          berth_json_type_name(c->body));
    if (r < 0) {
        (void)berth_err_wrap(&e, r, "the body is not right JSON");
        f.code = r;
        f.message = e.msg;
        berth_call_fault(c, &f);
    }
    return r == 0;
}

/* ---- requests ---- */

static void
fini_parts(void *call)
{
    struct berth_call *c = call;

    for (uint32_t i = 0; i < c->part_count; i++)
        berth_arena_fini(&c->parts[i].r.arena);
}

static void
part_delta(struct berth_request *r, const struct berth_delta *d)
{
    struct berth_part *part = r->user;
    struct berth_call *c = part->call;

    if (c->ended)
        return;
    if (c->ops->delta != NULL)
        c->ops->delta(c, part, d);
    else
        berth_buf_put(&part->text, d->text, d->text_len);
}

static void
cancel_parts(struct berth_call *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        if (c->parts[i].pending)
            berth_request_cancel(&c->parts[i].r);
    }
}

/* One less to wait for; after the last, c may be gone. */
static void
release(struct berth_call *c)
{
    struct berth_exchange *x = c->x;

    if (--c->parts_left > 0)
        return;
    berth_timer_stop(&c->timer);
    if (!c->ended)
        c->ops->answer(c);
    berth_assert(c->ended);
    if (c->grpc == NULL)
        x->gone = NULL;
    if (c->released != NULL)
        c->released(c);
    berth_exchange_unref(x);
}

void
berth_call_cut(struct berth_call *c, const struct berth_fault *f)
{
    if (c->ended)
        return;
    if (c->streaming) {
        berth_api_count_error(c->api, f);
        berth_requests_failed(c, f);
        berth_fault_put(berth_sse_data(c), c->dialect, f);
        berth_sse_send(c);
        berth_sse_end(c);
    } else {
        berth_call_fault(c, f);
    }
    cancel_parts(c);
}

/* Out of time: the core or the timer sees it first, the client reads the same. */
static void
cut_late(struct berth_call *c)
{
    char text[160];

    (void)snprintf(text, sizeof text,
                   "the model did not answer within %.3f s; send a smaller request or raise %s",
                   (double)c->timeout_ns / 1e9, c->timeout_name);
    const struct berth_fault f = {.code = -BERTH_EDEADLINE, .message = text};
    berth_call_cut(c, &f);
}

static void
part_ended(struct berth_call *c, struct berth_part *part)
{
    part->ended = true;
    if (c->ended)
        return;
    if (part->r.result == -BERTH_EDEADLINE && !part->r.timed_out) {
        cut_late(c);
    } else if (part->r.result < 0 && (c->ops->all_or_nothing || part->r.timed_out)) {
        const struct berth_fault f = {.code = part->r.result, .message = part->r.err.msg};
        berth_call_cut(c, &f);
    } else if (c->ops->part_done != NULL) {
        c->ops->part_done(c, part);
    }
}

static void
part_done(struct berth_request *r)
{
    struct berth_part *part = r->user;
    struct berth_call *c = part->call;

    part->pending = false;
    part_ended(c, part);
    release(c);
}

static void
too_late(struct berth_timer *t)
{
    cut_late((struct berth_call *)((char *)t - offsetof(struct berth_call, timer)));
}

void
berth_call_leave(struct berth_call *c)
{
    if (c->ended)
        return;
    berth_call_unpark(c);
    c->ended = true;
    cancel_parts(c);
}

static void
client_gone(struct berth_exchange *x)
{
    struct berth_call *c = x->user;

    if (c->ended)
        return;
    c->left = true;
    berth_call_leave(c);
    berth_exchange_abort(x);
}

static void
limit_time(struct berth_call *c, uint64_t ns, const char *name)
{
    if (ns > 0 && (c->timeout_ns == 0 || ns < c->timeout_ns)) {
        c->timeout_ns = ns;
        c->timeout_name = name;
    }
}

bool
berth_call_read_timeout(struct berth_call *c)
{
    const struct berth_slice *h = berth_exchange_header(c->x, "grpc-timeout");

    if (h == NULL || berth_grpc_timeout_parse(*h, &c->asked_timeout_ns))
        return true;
    berth_call_fail(c, -BERTH_EINVAL, NULL,
                    "grpc-timeout: expected 1 to 8 digits and a unit of H M S m u n, as in 300m");
    return false;
}

void
berth_call_wishes(struct berth_call *c, uint64_t priority, uint64_t timeout_ns)
{
    c->priority = priority <= UINT32_MAX ? (uint32_t)priority : UINT32_MAX;
    if (berth_model_takes_queue_timeout(c->model, c->priority))
        c->queue_timeout_ns = timeout_ns;
    else
        c->timeout_ns = timeout_ns;
}

int
berth_call_read_priority(struct berth_call *c, struct berth_fields *f)
{
    int64_t priority = c->priority;
    const int r = berth_field_int(f, "priority", 0, UINT32_MAX, &priority);

    if (r == 0)
        c->priority = (uint32_t)priority;
    return r;
}

/* Memory for the outputs: as much as they took lately, so that they need none of their own.  NULL:
 * they get theirs from the system. */
static void *
output_room(struct berth_call *c, size_t *ret_bytes)
{
    size_t bytes = c->model != NULL ? berth_model_output_bytes(c->model) : 0;

    bytes = bytes < OUTPUT_ROOM_MAX ? bytes + bytes / 16 : OUTPUT_ROOM_MAX;
    *ret_bytes = bytes + SMALL_OUTPUT_BYTES;
    if (c->off_loop || c->arena != &c->x->arena || *ret_bytes > OUTPUT_ROOM_MAX)
        return NULL;
    return *ret_bytes > 2 * SMALL_OUTPUT_BYTES ? berth_exchange_alloc(c->x, *ret_bytes)
                                               : berth_arena_alloc_raw(c->arena, *ret_bytes);
}

struct berth_part *
berth_call_parts(struct berth_call *c, uint32_t n)
{
    c->timeout_name = "the request's own timeout";
    limit_time(c, c->asked_timeout_ns, "Grpc-Timeout");
    limit_time(c, c->api->conf.request_timeout_ns, "server.request_timeout_secs");
    c->parts = BERTH_NEW_N(c->arena, struct berth_part, n);
    size_t room_bytes = 0;
    void *room =
        n == 1 ? output_room(c, &room_bytes) : NULL; /* goes after the arena that uses it */
    if (c->parts == NULL || berth_arena_defer(c->arena, fini_parts, c) < 0)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        struct berth_part *part = &c->parts[i];

        part->call = c;
        part->index = i;
        berth_buf_init(&part->text, c->arena);
        berth_buf_init(&part->logprobs, c->arena);
        part->r.loop = c->x->loop;
        part->r.user = part;
        part->r.delta = part_delta;
        part->r.done = part_done;
        berth_arena_init(&part->r.arena, c->api->conf.output_bytes_max);
    }
    if (room != NULL)
        berth_arena_lend(&c->parts[0].r.arena, room, room_bytes);
    c->part_count = n;
    return c->parts;
}

void
berth_call_run(struct berth_call *c, const struct berth_call_ops *ops)
{
    const enum berth_task task = c->part_count > 0 ? c->parts[0].r.task : BERTH_TASK_CHAT;
    uint64_t until;

    if (c->off_loop) { /* prepare.c calls again on the loop */
        c->ops = ops;
        return;
    }
    if (task == BERTH_TASK_TENSOR || task == BERTH_TASK_EMBEDDING)
        limit_time(c, c->api->conf.run_timeout_ns, "engine.batch_config.timeout_ms");
    until = c->begin_ns + c->timeout_ns;
    for (uint32_t i = 0; i < c->part_count; i++) {
        c->parts[i].r.deadline_ns = until;
        c->parts[i].r.priority = c->priority;
        c->parts[i].r.queue_timeout_ns = c->queue_timeout_ns;
    }
    c->ops = ops;
    c->parts_left = c->part_count + 1; /* one for this function: done() may come at once */
    berth_exchange_ref(c->x);
    if (c->grpc == NULL) /* else its own handler comes here by berth_call_leave() */
        c->x->gone = client_gone;
    if (berth_timer_arm(&c->timer, c->x->loop, until, too_late) < 0) {
        const struct berth_fault f = {.code = -BERTH_ENOMEM, .message = "out of memory"};
        berth_call_cut(c, &f);
    }
    for (uint32_t i = 0; i < c->part_count; i++) {
        struct berth_part *part = &c->parts[i];

        if (c->ended) {
            c->parts_left--;
            continue;
        }
        if (part->r.result == 0) {
            part->pending = true;
            const int r = berth_model_submit(c->model, &part->r, &part->r.err);
            if (r == 0)
                continue;
            part->pending = false;
            part->r.result = r;
        }
        part_ended(c, part);
        c->parts_left--;
    }
    release(c);
}

/* ---- server-sent events ---- */

void
berth_sse_start(struct berth_call *c)
{
    if (c->streaming || c->ended || c->json != NULL)
        return;
    c->streaming = true;
    berth_call_headers(c);
    berth_exchange_add(c->x, "cache-control", "no-cache");
    berth_exchange_add(c->x, "x-accel-buffering", "no"); /* proxies must not collect the stream */
    berth_exchange_start(c->x, 200, "text/event-stream; charset=utf-8");
}

struct berth_buf *
berth_sse_data(struct berth_call *c)
{
    if (c->scratch.arena == NULL)
        berth_buf_init(&c->scratch, c->arena);
    c->scratch.len = 0;
    c->scratch.failed = false;
    if (c->json == NULL)
        berth_buf_puts(&c->scratch, "data: ");
    return &c->scratch;
}

void
berth_sse_send(struct berth_call *c)
{
    int r;

    if (c->ended)
        return;
    if (c->json != NULL) {
        if (c->scratch.failed)
            berth_call_fail(c, -BERTH_ENOMEM, NULL, out_of_memory);
        else
            c->json(c, (struct berth_slice){c->scratch.at, c->scratch.len}, false);
        return;
    }
    berth_buf_puts(&c->scratch, "\n\n");
    r = c->scratch.failed ? -BERTH_ENOMEM
                          : berth_exchange_write(c->x, c->scratch.at, c->scratch.len);
    if (r < 0) { /* whoever reads so slowly gets no half of an answer */
        c->ended = c->left = true;
        berth_exchange_abort(c->x);
        cancel_parts(c);
    }
}

void
berth_sse_end(struct berth_call *c)
{
    if (c->ended)
        return;
    if (c->grpc != NULL) {
        berth_grpc_end(c->grpc, 0, NULL);
        return;
    }
    c->ended = true;
    berth_exchange_end(c->x);
}
