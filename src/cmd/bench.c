#include "cmd/cmd_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/bench_chat.h"
#include "cmd/bench_load.h"
#include "cmd/bench_options.h"
#include "cmd/bench_report.h"
#include "cmd/bench_work.h"
#include "cmd/input.h"
#include "cmd/remote.h"
#include "wire/json.h"

/* bench: one model under load, closed or open loop, alone or beside another server. */

enum { CHATS_MAX = 512, RUNS_MAX = 4096 };

struct target {
    const char *base; /* "http://HOST:PORT" */
    const char *host, *port, *authority;
    struct berth_slice http1;
    struct berth_h2_request http2;
    pid_t pid; /* 0: not told */
};

struct bench {
    const struct berth_args *args;
    struct berth_remote remote;
    const char *model, *prompt; /* prompt NULL: predictions */
    struct berth_bench_options o;
    bool has_stats; /* the first server tells what its time went to */
    struct berth_work work;
    struct target targets[2];
    size_t target_count;
    struct berth_bench_run *runs;
    size_t run_count;
};

static int
no_memory(const struct bench *b)
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
    t->host = berth_arena_strndup(a, at + bare, host_len - 2 * bare);
    t->port =
        colon != NULL ? berth_arena_strndup(a, colon + 1, len - (size_t)(colon + 1 - at)) : "80";
    t->authority = berth_arena_strndup(a, at, len);
    return t->base != NULL && t->host != NULL && t->port != NULL && t->authority != NULL;
}

static int
read_targets(struct bench *b)
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
    b->work =
        (struct berth_work){.protocol = b->o.protocol, .path = path, .body = {text.at, text.len}};
    return rc;
}

/* {"input": ...} to UniModel's API, which takes what people have. */
static int
predict_work(struct bench *b, const struct berth_buf *input)
{
    struct berth_buf path, body;

    if (b->o.protocol != BERTH_REST)
        return berth_usage(b->args, "--protocol %s needs an input with \"inputs\": tensors",
                           berth_protocol_name(b->o.protocol));
    berth_buf_init(&body, &b->remote.arena);
    berth_buf_puts(&body, "{\"input\":");
    berth_buf_put(&body, input->at, input->len);
    berth_buf_putc(&body, '}');
    berth_buf_init(&path, &b->remote.arena);
    const char *url = berth_remote_url(&b->remote, "/v1/models/{}:predict", b->model);
    if (url == NULL || body.failed)
        return no_memory(b);
    b->work = (struct berth_work){
        .protocol = BERTH_REST, .path = url + strlen(b->remote.base), .body = {body.at, body.len}};
    return 0;
}

static int
infer_work(struct bench *b, const struct berth_buf *text)
{
    struct berth_err e;
    const int rc = berth_work_make(&b->work, b->o.protocol, b->model,
                                   (struct berth_slice){text->at, text->len}, &b->remote.arena, &e);

    return rc == 0 ? 0 : berth_failed(b->args, "--input: %s", e.msg);
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
        return no_memory(b);
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
    int rc = berth_remote_call(&b->remote, "GET", "/v2/models/{}", b->model, NULL, &meta);

    if (rc != 0)
        return rc;
    const struct berth_json *inputs = berth_json_get(meta, "inputs");
    if (berth_json_len(inputs) == 0)
        return predict_work(b, &hello);
    berth_buf_init(&text, &b->remote.arena);
    rc = berth_work_generate(inputs, &text, &e);
    return rc == 0 ? infer_work(b, &text)
                   : berth_failed(b->args, "%s: %s; give --input", b->model, e.msg);
}

static int
make_work(struct bench *b)
{
    const char *path = berth_arg(b->args, "path"), *typed = berth_arg(b->args, "input");
    int rc = path != NULL    ? raw_work(b, path)
             : typed != NULL ? typed_work(b, typed)
                             : generated_work(b);

    for (size_t i = 0; rc == 0 && i < b->target_count; i++) {
        struct target *t = &b->targets[i];
        /* The key is the first server's. */
        const char *key = i == 0 ? b->remote.key : NULL;
        if (berth_work_http1(&b->work, t->authority, key, &b->remote.arena, &t->http1) != 0 ||
            berth_work_http2(&b->work, t->authority, key, &b->remote.arena, &t->http2) != 0)
            rc = no_memory(b);
    }
    return rc;
}

/* ---- where the server's time went, by its own account ---- */

struct account {
    uint64_t requests;
    uint64_t ns[4];
};
static const char *const stage_names[] = {"queue", "compute_input", "compute_infer",
                                          "compute_output"};

static uint64_t
number_of(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

/* The statistics extension's sums over all versions of the model; false: not offered. */
static bool
read_account(struct bench *b, struct account *ret)
{
    const struct berth_json *v = NULL;
    struct berth_slice text;
    uint16_t status = 0;

    memset(ret, 0, sizeof *ret);
    if (berth_remote_try(&b->remote, "GET", "/v2/models/{}/stats", b->model, NULL, &status,
                         &text) != 0 ||
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

static void
put_account(struct berth_bench_run *run, const struct account *before, const struct account *after)
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

/* ---- runs ---- */

static bool
uses_http2(const struct bench *b)
{
    return b->o.protocol == BERTH_GRPC || b->o.streams > 1;
}

static struct berth_load
load_of(const struct bench *b, const struct target *t)
{
    return (struct berth_load){.host = t->host,
                               .port = t->port,
                               .request = t->http1,
                               .http2 = uses_http2(b) ? &t->http2 : NULL,
                               .grpc = b->o.protocol == BERTH_GRPC,
                               .connections = b->o.connections,
                               .streams = b->o.streams,
                               .server_pid = t->pid};
}

/* Once, to see that it works, and to have its error told. */
static int
try_once(struct bench *b, const struct target *t, struct berth_load_result *room)
{
    struct berth_load load = load_of(b, t);
    struct berth_buf why;
    struct berth_err e;

    load.connections = load.streams = 1;
    load.requests = 1;
    if (berth_load_run(&load, room, &e) != 0)
        return berth_failed(b->args, "%s: %s", t->base, e.msg);
    if (room->ok == 1)
        return 0;
    if (!uses_http2(b) && t == &b->targets[0]) { /* ask again for the server's own words */
        const struct berth_buf body = {.at = (char *)(uintptr_t)b->work.body.at,
                                       .len = b->work.body.len};
        if (b->work.json_bytes == 0)
            return berth_remote_call(&b->remote, "POST", b->work.path, NULL, &body, NULL) == 0
                       ? berth_failed(b->args, "%s: answers now this, now that", t->base)
                       : BERTH_EXIT_FAILED;
    }
    berth_buf_init(&why, &b->remote.arena);
    berth_errors_put_text(&room->errors, &why);
    return berth_failed(b->args, "%s%s: %s", t->base, b->work.path,
                        why.failed ? "" : berth_buf_text(&why));
}

static int
run_predict(struct bench *b, const struct target *t, struct berth_bench_run *ret)
{
    static struct berth_load_result r; /* too large for a stack; one bench a process */
    struct berth_load load = load_of(b, t);
    struct berth_err e;

    load.rate = ret->rate;
    load.poisson = b->o.poisson;
    load.seed = ret->round;
    load.warmup_ns = (uint64_t)(b->o.warmup_s * 1e9);
    load.duration_ns = (uint64_t)(b->o.seconds * 1e9);
    load.requests = (uint64_t)b->o.requests;
    if (berth_load_run(&load, &r, &e) != 0)
        return berth_failed(b->args, "%s: %s", t->base, e.msg);
    ret->ok = r.ok;
    ret->failed = r.failed;
    ret->seconds = (double)r.elapsed_ns / 1e9;
    ret->client_cpu_share = (double)r.cpu_ns / (double)r.elapsed_ns;
    if (t->pid > 0 && r.ended > 0)
        ret->server_cpu_us = (double)r.server_cpu_ns / 1e3 / (double)r.ended;
    ret->latency = berth_spread_of(&r.latency);
    ret->errors = r.errors;
    ret->stages = r.stages;
    return 0;
}

static int
run_chat(struct bench *b, const struct target *t, struct berth_bench_run *ret)
{
    static struct berth_chat_load_result r; /* too large for a stack; one bench a process */
    const struct berth_chat_load load = {
        .args = b->args,
        .base = t->base,
        .with_key = t == &b->targets[0],
        .model = b->model,
        .prompt = b->prompt,
        .max_tokens = b->o.max_tokens,
        .threads = b->o.connections * b->o.streams,
        .rate = ret->rate,
        .poisson = b->o.poisson,
        .seed = ret->round,
        .warmup_ns = (uint64_t)(b->o.warmup_s * 1e9),
        .duration_ns = (uint64_t)(b->o.seconds * 1e9),
        .requests = (uint64_t)b->o.requests,
        .server_pid = t->pid,
    };
    const int rc = berth_chat_load_run(&load, &r);

    if (rc != 0)
        return rc;
    ret->ok = r.ok;
    ret->failed = r.failed;
    ret->seconds = (double)r.elapsed_ns / 1e9;
    ret->completion_tokens = r.completion_tokens;
    if (t->pid > 0 && r.ok + r.failed > 0)
        ret->server_cpu_us = (double)r.server_cpu_ns / 1e3 / (double)(r.ok + r.failed);
    ret->latency = berth_spread_of(&r.total);
    ret->first = berth_spread_of(&r.first);
    ret->between = berth_spread_of(&r.between);
    ret->errors = r.errors;
    return 0;
}

static struct berth_bench_report
report_of(const struct bench *b)
{
    return (struct berth_bench_report){.model = b->model,
                                       .workload = b->prompt != NULL ? "chat" : "predict",
                                       .protocol = berth_protocol_name(b->o.protocol),
                                       .servers = {b->targets[0].base, b->targets[1].base},
                                       .connections = b->o.connections,
                                       .streams = b->o.streams,
                                       .poisson = b->o.poisson,
                                       .is_sweep = b->o.step > 0,
                                       .p99_ms_max = b->o.p99_ms_max,
                                       .runs = b->runs,
                                       .run_count = b->run_count};
}

/* All rounds at one rate, the servers in turns. */
static int
run_rate(struct bench *b, double rate)
{
    for (unsigned round = 1; round <= (unsigned)b->o.rounds; round++) {
        for (size_t i = 0; i < b->target_count; i++) {
            if (b->run_count == RUNS_MAX)
                return berth_failed(b->args, "more than %d runs", RUNS_MAX);
            struct berth_bench_run *run = &b->runs[b->run_count];
            *run = (struct berth_bench_run){
                .server = i, .round = round, .rate = rate, .server_cpu_us = -1};
            struct account before, after;
            const bool told = i == 0 && b->has_stats && read_account(b, &before);
            const int rc = b->prompt != NULL ? run_chat(b, &b->targets[i], run)
                                             : run_predict(b, &b->targets[i], run);
            if (rc != 0)
                return rc;
            if (told && read_account(b, &after))
                put_account(run, &before, &after);
            b->run_count++;
        }
    }
    return 0;
}

static int
run_all(struct bench *b)
{
    if (b->o.step <= 0)
        return run_rate(b, b->o.rate);
    for (int i = 0; b->o.from + i * b->o.step <= b->o.to * (1 + 1e-12); i++) {
        const double rate = b->o.from + i * b->o.step;
        const int rc = run_rate(b, rate);
        if (rc != 0)
            return rc;
        const struct berth_bench_report r = report_of(b);
        if (b->o.p99_ms_max > 0 &&
            !(berth_report_median(&r, 0, rate, berth_run_p99) <= b->o.p99_ms_max))
            break;
    }
    return 0;
}

/* ---- what came of it ---- */

static int
write_json(const struct bench *b, const char *path, const struct berth_bench_report *r)
{
    struct berth_buf out;
    int rc = BERTH_EXIT_OK;

    berth_buf_init(&out, NULL);
    berth_report_json(r, &out);
    if (strcmp(path, "-") == 0)
        return berth_print(b->args, &out);
    FILE *f = out.failed ? NULL : fopen(path, "we");
    if (f == NULL || fwrite(out.at, out.len, 1, f) != 1)
        rc = berth_failed(b->args, "%s: cannot be written: %m", path);
    if (f != NULL && fclose(f) != 0 && rc == BERTH_EXIT_OK)
        rc = berth_failed(b->args, "%s: cannot be written: %m", path);
    berth_buf_fini(&out);
    return rc;
}

static int
report(const struct bench *b)
{
    const struct berth_bench_report r = report_of(b);
    const char *json = berth_arg(b->args, "json");
    struct berth_buf out;
    bool answered = true;
    int rc = BERTH_EXIT_OK;

    if (json != NULL)
        rc = write_json(b, json, &r);
    if (rc == BERTH_EXIT_OK && (json == NULL || strcmp(json, "-") != 0)) {
        berth_buf_init(&out, NULL);
        berth_report_text(&r, &out);
        rc = berth_print(b->args, &out);
    }
    for (size_t i = 0; i < b->run_count; i++)
        answered = answered && b->runs[i].ok > 0;
    return answered ? rc : BERTH_EXIT_FAILED;
}

/* ---- all of it ---- */

/* Ask what kind of model it is, unless what was typed tells what to do. */
static int
choose(struct bench *b)
{
    const struct berth_json *model = NULL;

    b->prompt = berth_arg(b->args, "chat");
    if (b->prompt != NULL || berth_arg(b->args, "input") != NULL ||
        berth_arg(b->args, "path") != NULL || b->o.protocol != BERTH_REST)
        return 0;
    uint16_t status = 0;
    struct berth_slice text;
    const int rc =
        berth_remote_try(&b->remote, "GET", "/v1/models/{}", b->model, NULL, &status, &text);
    /* Another server than ours does not know that path: its metadata will tell. */
    if (rc == 0 && status == 200 &&
        berth_json_parse(&b->remote.arena, text.at, text.len, NULL, &model, NULL) == 0 &&
        strcmp(berth_remote_text(model, "model_type", ""), "LLM") == 0)
        b->prompt = "Write a line about harbours.";
    return rc;
}

static int
bench(struct bench *b)
{
    static struct berth_load_result room; /* too large for a stack */
    int rc = read_targets(b);

    if (rc == 0)
        rc = choose(b);
    if (rc != 0)
        return rc;
    if (b->prompt != NULL && (uint64_t)b->o.connections * b->o.streams > CHATS_MAX)
        return berth_usage(b->args, "--concurrency: at most %d chats at once", CHATS_MAX);
    if (b->prompt == NULL)
        rc = make_work(b);
    for (size_t i = 0; rc == 0 && b->prompt == NULL && i < b->target_count; i++)
        rc = try_once(b, &b->targets[i], &room);
    if (rc != 0)
        return rc;
    /* What speaks gRPC alone, or is asked a path of its own, is not asked for statistics. */
    struct account now;
    b->has_stats =
        b->o.protocol != BERTH_GRPC && berth_arg(b->args, "path") == NULL && read_account(b, &now);
    rc = run_all(b);
    return rc == 0 ? report(b) : rc;
}

int
berth_run_bench(const struct berth_args *args)
{
    struct bench b = {.args = args, .model = args->words[0]};

    if (!berth_bench_options_read(&b.o, args))
        return BERTH_EXIT_USAGE;
    int rc = berth_remote_init(&b.remote, args);
    if (rc != 0)
        return rc;
    b.runs = calloc(RUNS_MAX, sizeof *b.runs);
    rc = b.runs != NULL ? bench(&b) : no_memory(&b);
    free(b.runs);
    berth_remote_fini(&b.remote);
    return rc;
}
