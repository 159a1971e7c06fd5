#include "cmd/cmd_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench_chat.h"
#include "cmd/bench_load.h"
#include "cmd/bench_pick.h"
#include "cmd/bench_priv.h"
#include "wire/json.h"

/* bench: one model under load, closed or open loop, alone or beside another server. */

enum { CHATS_MAX = 512, RUNS_MAX = 4096 };

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
                               .http1 = t->http1,
                               .http2 = uses_http2(b) ? t->http2 : NULL,
                               .request_count = b->name_count,
                               .zipf = b->zipf,
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
        const struct berth_buf body = {.at = (char *)(uintptr_t)b->works[0].body.at,
                                       .len = b->works[0].body.len};
        if (b->works[0].json_bytes == 0)
            return berth_remote_call(&b->remote, "POST", b->works[0].path, NULL, &body, NULL) == 0
                       ? berth_failed(b->args, "%s: answers now this, now that", t->base)
                       : BERTH_EXIT_FAILED;
    }
    berth_buf_init(&why, &b->remote.arena);
    berth_errors_put_text(&room->errors, &why);
    return berth_failed(b->args, "%s%s: %s", t->base, b->works[0].path,
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
            struct berth_bench_account before, after;
            const bool told = i == 0 && b->has_stats && berth_bench_account_read(b, &before);
            const int rc = b->prompt != NULL ? run_chat(b, &b->targets[i], run)
                                             : run_predict(b, &b->targets[i], run);
            if (rc != 0)
                return rc;
            if (told && berth_bench_account_read(b, &after))
                berth_bench_account_put(run, &before, &after);
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
        berth_remote_try(&b->remote, "GET", "/v1/models/{}", b->name, NULL, &status, &text);
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
    int rc = berth_bench_read_targets(b);

    if (rc == 0)
        rc = choose(b);
    if (rc != 0)
        return rc;
    if (b->prompt != NULL && b->name_count > 1)
        return berth_usage(b->args, "one model at a time can chat");
    if (b->prompt != NULL && (uint64_t)b->o.connections * b->o.streams > CHATS_MAX)
        return berth_usage(b->args, "--concurrency: at most %d chats at once", CHATS_MAX);
    if (b->prompt == NULL)
        rc = berth_bench_make_work(b);
    for (size_t i = 0; rc == 0 && b->prompt == NULL && i < b->target_count; i++)
        rc = try_once(b, &b->targets[i], &room);
    if (rc != 0)
        return rc;
    /* A server that is asked a path of its own has no statistics of the model; a port for gRPC
     * alone may not answer at all. */
    struct berth_bench_account now;
    b->has_stats = b->name_count == 1 && berth_arg(b->args, "path") == NULL &&
                   berth_remote_alive(&b->remote) && berth_bench_account_read(b, &now);
    rc = run_all(b);
    return rc == 0 ? report(b) : rc;
}

int
berth_run_bench(const struct berth_args *args)
{
    struct bench b = {.args = args, .model = args->words[0]};

    if (!berth_bench_options_read(&b.o, args))
        return BERTH_EXIT_USAGE;
    b.name_count = berth_names_parse(b.model, &b.zipf);
    if (b.name_count == 0)
        return berth_usage(args, "%s: several models are NAME{0..9} or NAME{0..9:zipf}", b.model);
    berth_names_put(b.model, 0, b.name, sizeof b.name);
    int rc = berth_remote_init(&b.remote, args);
    if (rc != 0)
        return rc;
    b.runs = calloc(RUNS_MAX, sizeof *b.runs);
    rc = b.runs != NULL ? bench(&b) : berth_bench_no_memory(&b);
    free(b.runs);
    berth_remote_fini(&b.remote);
    return rc;
}
