#include "cmd/bench_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "cmd/bench_pick.h"
#include "cmd/cmd_priv.h"
#include "cmd/input.h"
#include "wire/json.h"

int
berth_bench_no_memory(const struct bench *b)
{
    return berth_failed(b->args, "not enough memory");
}

/* ---- servers ---- */

/* Host and port of http://HOST[:PORT], copied. */
static bool
read_target(struct bench *b, const char *base, struct target *t)
{
    struct berth_arena *a = &b->remote.arena;
    const char *at = base + strlen("http://");

    if (strncmp(base, "http://", 7) != 0)
        return false;
    const size_t len = strcspn(at, "/");
    const char *colon = memrchr(at, ':', len);
    const char *bracket = memrchr(at, ']', len);
    if (colon != NULL && bracket != NULL && colon < bracket)
        colon = NULL; /* part of an IPv6 address */
    const size_t host_len = colon != NULL ? (size_t)(colon - at) : len;
    const bool bare = at[0] == '[' && host_len > 2;
    t->base = berth_arena_strndup(a, base, (size_t)(at - base) + len);
    t->host = berth_arena_strndup(a, at + bare, host_len - (bare ? 2 : 0));
    t->port =
        colon != NULL ? berth_arena_strndup(a, colon + 1, len - (size_t)(colon + 1 - at)) : "80";
    t->authority = berth_arena_strndup(a, at, len);
    return t->base != NULL && t->host != NULL && t->port != NULL && t->authority != NULL;
}

int
berth_bench_read_targets(struct bench *b)
{
    const char *bases[] = {b->remote.base, berth_arg(b->args, "compare")};

    for (size_t i = 0; i < BERTH_COUNT(bases) && bases[i] != NULL; i++) {
        if (!read_target(b, bases[i], &b->targets[b->target_count++]))
            return berth_failed(b->args, "%s: only http:// can be measured", bases[i]);
        b->targets[i].pid = b->o.pids[i];
    }
    return 0;
}

/* ---- what to send ---- */

/* Any bytes to any path: what --input holds, as it is. */
static int
raw_work(struct bench *b, const char *path)
{
    const char *input = berth_arg(b->args, "input");
    struct berth_buf text;
    int rc = 0;

    berth_buf_init(&text, &b->remote.arena);
    if (input != NULL)
        rc = berth_input_bytes(b->args, input, &text);
    b->name_count = 1; /* MODEL is only how the report calls it */
    b->works[0] =
        (struct berth_work){.protocol = b->o.protocol, .path = path, .body = {text.at, text.len}};
    return rc;
}

/* {"input": ...} to UniModel's API, which takes what people have. */
static int
predict_work(struct bench *b, const struct berth_buf *input)
{
    struct berth_buf body;

    if (b->o.protocol != BERTH_REST)
        return berth_usage(b->args, "--protocol %s needs an input with \"inputs\": tensors",
                           berth_protocol_name(b->o.protocol));
    berth_buf_init(&body, &b->remote.arena);
    berth_buf_puts(&body, "{\"input\":");
    berth_buf_put(&body, input->at, input->len);
    berth_buf_putc(&body, '}');
    for (size_t i = 0; i < b->name_count; i++) {
        char name[sizeof b->name];
        berth_names_put(b->model, i, name, sizeof name);
        const char *url = berth_remote_url(&b->remote, "/v1/models/{}:predict", name);
        if (url == NULL || body.failed)
            return berth_bench_no_memory(b);
        b->works[i] = (struct berth_work){.protocol = BERTH_REST,
                                          .path = url + strlen(b->remote.base),
                                          .body = {body.at, body.len}};
    }
    return 0;
}

static int
infer_work(struct bench *b, const struct berth_buf *text)
{
    const struct berth_slice asked = {text->at, text->len};
    struct berth_err e;

    for (size_t i = 0; i < b->name_count; i++) {
        char name[sizeof b->name];
        berth_names_put(b->model, i, name, sizeof name);
        if (berth_work_make(&b->works[i], b->o.protocol, name, asked, &b->remote.arena, &e) != 0)
            return berth_failed(b->args, "--input: %s", e.msg);
    }
    return 0;
}

static int
typed_work(struct bench *b, const char *typed)
{
    const struct berth_json *v = NULL;
    struct berth_buf text;

    berth_buf_init(&text, &b->remote.arena);
    const int rc = berth_input_put(b->args, &b->remote.arena, typed, &text);
    if (rc != 0)
        return rc;
    if (text.failed || berth_json_parse(&b->remote.arena, text.at, text.len, NULL, &v, NULL) != 0)
        return berth_bench_no_memory(b);
    return berth_work_is_infer(v) ? infer_work(b, &text) : predict_work(b, &text);
}

/* In the shapes that the model's metadata names. */
static int
generated_work(struct bench *b)
{
    const struct berth_json *meta = NULL;
    const struct berth_buf hello = {.at = (char *)(uintptr_t) "\"hello\"", .len = 7};
    struct berth_buf text;
    struct berth_err e;
    int rc = berth_remote_call(&b->remote, "GET", "/v2/models/{}", b->name, NULL, &meta);

    if (rc != 0)
        return rc;
    const struct berth_json *inputs = berth_json_get(meta, "inputs");
    if (berth_json_len(inputs) == 0)
        return predict_work(b, &hello);
    berth_buf_init(&text, &b->remote.arena);
    rc = berth_work_generate(inputs, &text, &e);
    return rc == 0 ? infer_work(b, &text)
                   : berth_failed(b->args, "%s: %s; give --input", b->name, e.msg);
}

/* The key is the first server's. */
static int
address_work(struct bench *b, struct target *t, const char *key)
{
    struct berth_arena *a = &b->remote.arena;

    t->http1 = BERTH_NEW_N(a, struct berth_slice, b->name_count);
    t->http2 = BERTH_NEW_N(a, struct berth_h2_request, b->name_count);
    if (t->http1 == NULL || t->http2 == NULL)
        return berth_bench_no_memory(b);
    for (size_t i = 0; i < b->name_count; i++)
        if (berth_work_http1(&b->works[i], t->authority, key, a, &t->http1[i]) != 0 ||
            berth_work_http2(&b->works[i], t->authority, key, a, &t->http2[i]) != 0)
            return berth_bench_no_memory(b);
    return 0;
}

int
berth_bench_make_work(struct bench *b)
{
    const char *path = berth_arg(b->args, "path"), *typed = berth_arg(b->args, "input");
    struct berth_arena *a = &b->remote.arena;

    b->works = BERTH_NEW_N(a, struct berth_work, b->name_count);
    if (b->works == NULL)
        return berth_bench_no_memory(b);
    int rc = path != NULL    ? raw_work(b, path)
             : typed != NULL ? typed_work(b, typed)
                             : generated_work(b);

    for (size_t i = 0; rc == 0 && i < b->target_count; i++)
        rc = address_work(b, &b->targets[i], i == 0 ? b->remote.key : NULL);
    return rc;
}

/* ---- where the server's time went, by its own account ---- */

static const char *const stage_names[] = {"queue", "compute_input", "compute_infer",
                                          "compute_output"};

static uint64_t
number_of(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

bool
berth_bench_account_read(struct bench *b, struct berth_bench_account *ret)
{
    const struct berth_json *v = NULL;
    struct berth_slice text;
    uint16_t status = 0;

    memset(ret, 0, sizeof *ret);
    if (berth_remote_try(&b->remote, "GET", "/v2/models/{}/stats", b->name, NULL, &status, &text) !=
            0 ||
        status != 200 || berth_json_parse(&b->remote.arena, text.at, text.len, NULL, &v, NULL) != 0)
        return false;
    const struct berth_json *all = berth_json_get(v, "model_stats");
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        const struct berth_json *stats = berth_json_get(it.value, "inference_stats");
        ret->requests += number_of(berth_json_get(stats, "success"), "count");
        for (size_t i = 0; i < BERTH_COUNT(stage_names); i++)
            ret->ns[i] += number_of(berth_json_get(stats, stage_names[i]), "ns");
    }
    return berth_json_len(all) > 0;
}

void
berth_bench_account_put(struct berth_bench_run *run, const struct berth_bench_account *before,
                        const struct berth_bench_account *after)
{
    if (after->requests <= before->requests || run->stages.count > 0)
        return;
    for (size_t i = 0; i < BERTH_COUNT(stage_names); i++) {
        if (after->ns[i] < before->ns[i])
            continue;
        (void)snprintf(run->stages.at[i].name, BERTH_STAGE_NAME_MAX, "%s", stage_names[i]);
        run->stages.at[i].ms = (double)(after->ns[i] - before->ns[i]) / 1e6;
        run->stages.at[i].times = after->requests - before->requests;
        run->stages.count = i + 1;
    }
}
