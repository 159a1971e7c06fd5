#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/explain.h"
#include "api/forward.h"
#include "api/grpc.h"
#include "api/routes.h"
#include "base/arena.h"
#include "base/num.h"
#include "infer/model.h"
#include "obs/trace.h"
#include "wire/uri.h"

/* Requests that went by: they are noted when they end, and told by GET /v1/requests. */

enum { LISTED = 20, LISTED_MAX = 200 };

/* ---- noting ---- */

const struct berth_request *
berth_call_last_part(const struct berth_call *c)
{
    const struct berth_request *last = NULL;

    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct berth_request *r = &c->parts[i].r;
        if (r->submit_ns != 0 && (last == NULL || r->done_ns > last->done_ns))
            last = r;
    }
    return last;
}

/* Cut where a character begins. */
static void
copy(char *to, size_t size, struct berth_slice from)
{
    size_t n = from.len < size ? from.len : size - 1;

    while (n > 0 && n < from.len && (from.at[n] & 0xc0) == 0x80)
        n--;
    memcpy(to, from.at, n);
    to[n] = '\0';
}

static uint64_t
after(const struct berth_call *c, uint64_t at_ns)
{
    return at_ns > c->begin_ns ? at_ns - c->begin_ns : 0;
}

/* What it asked for, when that was to run a model; else NULL. */
static const char *
path_of(const struct berth_call *c)
{
    const struct berth_grpc_method *method = c->grpc != NULL ? berth_grpc_method_of(c->grpc) : NULL;

    if (method != NULL && method->client_streams && c->released == NULL)
        return NULL; /* its requests are told one by one */
    if (c->route != NULL)
        return c->route->scope == BERTH_SCOPE_INFER ? c->route->pattern : NULL;
    return method != NULL && method->scope == BERTH_SCOPE_INFER ? method->path : NULL;
}

static uint16_t
status_of(const struct berth_call *c)
{
    if (c->failed.status != 0)
        return c->failed.status;
    if (c->released != NULL) /* of a stream that goes on */
        return c->ended ? 200 : 499;
    if (c->left || (c->grpc != NULL && berth_grpc_code(c->grpc) != 0))
        return 499; /* also when 200 went out before, at the head of a stream */
    return c->x->status != 0 ? c->x->status : 499; /* the client left first */
}

static void
note_part(struct berth_trace_note *n, const struct berth_call *c, const struct berth_request *r)
{
    n->submit_ns = after(c, r->submit_ns);
    n->run_ns = after(c, r->run_ns);
    n->first_ns = after(c, r->first_ns);
    n->done_ns = after(c, r->done_ns);
    n->company_ns = r->company_ns;
    n->cores_ns = r->cores_ns;
    n->engine_ns = r->engine_ns;
    n->tokens_in = r->finish.prompt_tokens;
    n->tokens_out = r->finish.completion_tokens;
    n->batch_requests = r->batch_requests;
    n->batch_max = r->batch_max;
    n->padded_permille = r->padded_permille;
    n->queue_ahead = r->queue_ahead;
    n->runs = r->runs;
    n->instance = r->instance_number;
    n->cached = r->cached;
    n->on_loop = r->on_loop;
    n->retried = r->retried;
}

void
berth_requests_note(const struct berth_call *c, uint64_t end_ns)
{
    const struct berth_exchange *x = c->x;
    const char *path = c->api->trace != NULL ? path_of(c) : NULL;
    const struct berth_request *r;
    struct berth_trace_note n;

    if (path == NULL)
        return;
    memset(&n, 0, offsetof(struct berth_trace_note, why));
    memcpy(n.id, c->id, sizeof c->id);
    n.wall_ns = c->wall_ns;
    n.end_ns = after(c, end_ns);
    n.body_ns = after(c, c->body_ns);
    n.load_ns = c->parked_ns;
    n.body_bytes = c->grpc != NULL ? berth_grpc_message(c->grpc).len : x->body.len;
    n.answer_bytes = x->answer_bytes;
    n.who = c->who;
    n.route = path;
    n.status = status_of(c);
    n.dialect = (uint8_t)c->dialect;
    n.streamed = c->streaming;
    n.parts = c->part_count;
    if ((r = berth_call_last_part(c)) != NULL)
        note_part(&n, c, r);
    copy(n.model, sizeof n.model,
         c->model != NULL ? berth_slice_of(berth_model_name(c->model)) : c->name);
    copy(n.version, sizeof n.version,
         berth_slice_of(c->model != NULL ? berth_model_version(c->model) : ""));
    n.why[0] = n.to[0] = '\0';
    berth_api_forward_note(c, &n);
    if (c->failed.status != 0) {
        n.code = c->failed.code;
        copy(n.why, sizeof n.why, berth_slice_of(c->failed.why));
    }
    berth_trace_add(c->api->trace, x->loop, c->model, &n);
}

void
berth_requests_failed(struct berth_call *c, const struct berth_fault *f)
{
    const char *message = f->message != NULL ? f->message : "";
    const size_t len = strnlen(message, BERTH_TRACE_WHY); /* one more than is kept: see copy() */
    char *why = berth_arena_alloc_raw(c->arena, len + 1);

    if (c->failed.status != 0)
        return;
    c->failed.status = berth_fault_status(f);
    c->failed.code = f->kind != NULL ? f->kind : berth_error_look(f->code)->unimodel;
    c->failed.why = why != NULL ? why : "";
    if (why != NULL) {
        memcpy(why, message, len);
        why[len] = '\0';
    }
}

/* ---- telling ---- */

struct filter {
    uint64_t who; /* 0: whoever */
    struct berth_slice model;
    bool failed;
};

static bool
is_wanted(const struct berth_trace_note *n, const void *arg)
{
    const struct filter *f = arg;

    return (f->who == 0 || n->who == f->who) && (!f->failed || berth_trace_failed(n)) &&
           (f->model.len == 0 || berth_slice_is(f->model, n->model));
}

/* Whoever may manage sees everyone's requests, and without keys nobody's are anybody's own. */
static uint64_t
limited_to(const struct berth_call *c)
{
    const uint32_t scopes = c->api->conf.key_count > 0
                                ? berth_admit_scopes(&c->api->admit, berth_admit_key(c->x))
                                : BERTH_SCOPE_MANAGE;

    return (scopes & BERTH_SCOPE_MANAGE) != 0 ? 0 : c->who;
}

static bool
is_recorded(struct berth_call *c)
{
    const struct berth_fault f = {
        .code = -BERTH_EUNSUPPORTED,
        .message = "requests are not recorded here; set monitoring.explain_requests above 0"};

    if (c->api->trace == NULL)
        berth_call_fault(c, &f);
    return c->api->trace != NULL;
}

void
berth_requests_explain(struct berth_call *c)
{
    const struct filter mine = {.who = limited_to(c)};
    struct berth_trace_note n;
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;

    if (!is_recorded(c))
        return;
    if (!berth_trace_find(c->api->trace, c->version.at, is_wanted, &mine, &n)) {
        (void)berth_err_set(
            &e, BERTH_ENOENT,
            "no request '%.40s' is remembered; the id is the answer's X-Request-Id, "
            "and old ones are forgotten (monitoring.explain_requests)",
            c->version.at);
        berth_call_fail(c, -BERTH_ENOENT, NULL, e.msg);
        return;
    }
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_account_put(&w, &n);
    berth_call_json(c, 200, &b);
}

/* ?order=newest|slowest, ?failed=true, ?model=NAME, ?limit=N */
static int
read_query(struct berth_call *c, struct filter *f, enum berth_trace_order *order, int64_t *limit,
           struct berth_err *e)
{
    struct berth_arena *a = &c->x->arena;
    const struct berth_slice q = c->x->query;
    struct berth_slice v;

    if (berth_uri_query(a, q, "order", &v)) {
        if (!berth_slice_is(v, "newest") && !berth_slice_is(v, "slowest"))
            return berth_err_set(e, BERTH_EINVAL, "order: must be newest or slowest");
        *order = berth_slice_is(v, "slowest") ? BERTH_TRACE_SLOWEST : BERTH_TRACE_NEWEST;
    }
    if (berth_uri_query(a, q, "failed", &v)) {
        f->failed = berth_slice_is(v, "true");
        if (!f->failed && !berth_slice_is(v, "false"))
            return berth_err_set(e, BERTH_EINVAL, "failed: must be true or false");
    }
    if (berth_uri_query(a, q, "model", &v))
        f->model = v;
    if (berth_uri_query(a, q, "limit", &v) && !berth_int_parse(v.at, v.len, 1, LISTED_MAX, limit))
        return berth_err_set(e, BERTH_EINVAL, "limit: must be a number from 1 to %d", LISTED_MAX);
    return 0;
}

void
berth_requests_list(struct berth_call *c)
{
    struct filter f = {.who = limited_to(c)};
    enum berth_trace_order order = BERTH_TRACE_NEWEST;
    int64_t limit = LISTED;
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;

    if (!is_recorded(c))
        return;
    int r = read_query(c, &f, &order, &limit, &e);
    struct berth_trace_note *found =
        r == 0 ? BERTH_NEW_N(&c->x->arena, struct berth_trace_note, (size_t)limit) : NULL;
    if (r == 0 && found == NULL)
        r = berth_err_set(&e, BERTH_ENOMEM,
                          "the list is larger than its memory limit; ask for less");
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    const size_t n = berth_trace_list(c->api->trace, order, is_wanted, &f, found, (size_t)limit);
    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "requests");
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++)
        berth_account_put_short(&w, &found[i]);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}
