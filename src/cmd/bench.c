#include "cmd/cmd_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "cmd/bench_chat.h"
#include "cmd/bench_load.h"
#include "cmd/input.h"
#include "cmd/remote.h"
#include "wire/json.h"

/* bench: one model under load, closed or open loop. */

enum { CONCURRENCY_MAX = 4096, CHATS_MAX = 512, ELEMENTS_MAX = 64 << 20, OPEN_CONNECTIONS = 64 };

struct bench {
    const struct berth_args *args;
    struct berth_remote remote;
    const char *model;
    long long concurrency, max_tokens;
    long long requests; /* 0: for so many seconds */
    double rate, seconds, warmup_s;
    const char *path; /* of the request; {} is the model */
    struct berth_buf body;
};

/* ---- what to send ---- */

/* Zeros of a shape, dimensions that vary being 1; false when they are too many. */
static bool
put_zeros(struct berth_buf *b, const struct berth_json *shape, bool text)
{
    size_t count = 1;

    berth_buf_puts(b, "\"shape\":[");
    for (struct berth_json_iter it = berth_json_iter(shape); berth_json_next(&it);) {
        int64_t n = 1;
        (void)berth_json_int(it.value, &n);
        n = n > 0 ? n : 1;
        if ((uint64_t)n > ELEMENTS_MAX / count)
            return false;
        count *= (size_t)n;
        berth_buf_printf(b, "%s%lld", it.index > 0 ? "," : "", (long long)n);
    }
    berth_buf_puts(b, "],\"data\":[");
    for (size_t i = 0; i < count; i++)
        berth_buf_printf(b, "%s%s", i > 0 ? "," : "", text ? "\"hello\"" : "0");
    berth_buf_puts(b, "]}");
    return !b->failed;
}

/* A request of the Open Inference Protocol out of what the model says it takes. */
static bool
put_tensors(struct berth_buf *b, const struct berth_json *inputs)
{
    berth_buf_puts(b, "{\"inputs\":[");
    for (struct berth_json_iter it = berth_json_iter(inputs); berth_json_next(&it);) {
        const char *type = berth_remote_text(it.value, "datatype", "FP32");
        struct berth_jw w;
        if (it.index > 0)
            berth_buf_putc(b, ',');
        berth_buf_puts(b, "{\"name\":");
        berth_jw_init(&w, b);
        berth_jw_string(&w, berth_remote_text(it.value, "name", ""));
        berth_buf_printf(b, ",\"datatype\":\"%s\",", type);
        if (!put_zeros(b, berth_json_get(it.value, "shape"), strcmp(type, "BYTES") == 0))
            return false;
    }
    berth_buf_puts(b, "]}");
    return true;
}

static int
workload(struct bench *b)
{
    const char *typed = berth_arg(b->args, "input");
    const struct berth_json *meta = NULL;
    int rc;

    b->path = "/v1/models/{}:predict";
    if (typed == NULL) {
        rc = berth_remote_call(&b->remote, "GET", "/v2/models/{}", b->model, NULL, &meta);
        if (rc != 0)
            return rc;
        const struct berth_json *inputs = berth_json_get(meta, "inputs");
        if (berth_json_len(inputs) > 0) {
            b->path = "/v2/models/{}/infer";
            return put_tensors(&b->body, inputs)
                       ? BERTH_EXIT_OK
                       : berth_failed(b->args, "%s takes too much: give --input", b->model);
        }
        typed = "hello";
    }
    berth_buf_puts(&b->body, "{\"input\":");
    rc = berth_input_put(b->args, &b->remote.arena, typed, &b->body);
    berth_buf_putc(&b->body, '}');
    return rc;
}

/* ---- what came of it ---- */

static double
ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void
put_number(struct berth_jw *w, const char *key, double v)
{
    berth_jw_key(w, key);
    berth_jw_double(w, (double)(long long)(v * 1000 + 0.5) / 1000);
}

static void
put_hist(struct berth_jw *w, const char *key, const struct berth_hist *h)
{
    berth_jw_key(w, key);
    berth_jw_object(w);
    put_number(w, "mean", h->count > 0 ? ms(h->sum_ns / h->count) : 0);
    put_number(w, "p50", ms(berth_hist_at(h, 0.5)));
    put_number(w, "p90", ms(berth_hist_at(h, 0.9)));
    put_number(w, "p95", ms(berth_hist_at(h, 0.95)));
    put_number(w, "p99", ms(berth_hist_at(h, 0.99)));
    put_number(w, "p99_9", ms(berth_hist_at(h, 0.999)));
    put_number(w, "max", ms(h->max_ns));
    berth_jw_object_end(w);
}

struct outcome {
    const char *workload;
    uint64_t ok, failed, elapsed_ns, cpu_ns, completion_tokens;
    const struct berth_errors *errors;
    const struct berth_hist *latency, *first, *between; /* the last two: NULL but for chat */
};

static void
put_json(const struct bench *b, const struct outcome *o, struct berth_buf *out)
{
    const double seconds = (double)o->elapsed_ns / 1e9;
    struct berth_jw w;

    berth_jw_init(&w, out);
    berth_jw_object(&w);
    berth_jw_key(&w, "model");
    berth_jw_string(&w, b->model);
    berth_jw_key(&w, "workload");
    berth_jw_string(&w, o->workload);
    berth_jw_key(&w, "mode");
    berth_jw_string(&w, b->rate > 0 ? "open" : "closed");
    berth_jw_key(&w, "concurrency");
    berth_jw_int(&w, b->concurrency);
    put_number(&w, "rate", b->rate);
    put_number(&w, "seconds", seconds);
    berth_jw_key(&w, "requests");
    berth_jw_uint(&w, o->ok + o->failed);
    berth_jw_key(&w, "ok");
    berth_jw_uint(&w, o->ok);
    berth_jw_key(&w, "failed");
    berth_jw_uint(&w, o->failed);
    berth_jw_key(&w, "errors");
    berth_errors_put_json(o->errors, &w);
    put_number(&w, "requests_per_s", seconds > 0 ? (double)o->ok / seconds : 0);
    put_hist(&w, "latency_ms", o->latency);
    if (o->first != NULL) {
        put_hist(&w, "first_token_ms", o->first);
        put_hist(&w, "inter_token_ms", o->between);
        berth_jw_key(&w, "completion_tokens");
        berth_jw_uint(&w, o->completion_tokens);
        put_number(&w, "tokens_per_s", (double)o->completion_tokens / seconds);
    } else {
        put_number(&w, "client_cpu_share", (double)o->cpu_ns / (double)o->elapsed_ns);
    }
    berth_jw_object_end(&w);
    berth_buf_putc(out, '\n');
}

static void
put_line(struct berth_buf *out, const char *what, const struct berth_hist *h)
{
    berth_buf_printf(out,
                     "%-12s mean %.3f  p50 %.3f  p90 %.3f  p95 %.3f  p99 %.3f  p99.9 %.3f  max "
                     "%.3f ms\n",
                     what, h->count > 0 ? ms(h->sum_ns / h->count) : 0, ms(berth_hist_at(h, 0.5)),
                     ms(berth_hist_at(h, 0.9)), ms(berth_hist_at(h, 0.95)),
                     ms(berth_hist_at(h, 0.99)), ms(berth_hist_at(h, 0.999)), ms(h->max_ns));
}

static void
put_text(const struct bench *b, const struct outcome *o, struct berth_buf *out)
{
    const double seconds = (double)o->elapsed_ns / 1e9;

    berth_buf_printf(out, "%s, %s, %s loop, %lld at once\n", b->model, o->workload,
                     b->rate > 0 ? "open" : "closed", b->concurrency);
    berth_buf_printf(out, "%-12s %llu ok, %llu failed in %.2f s: %.1f/s\n", "requests",
                     (unsigned long long)o->ok, (unsigned long long)o->failed, seconds,
                     (double)o->ok / seconds);
    if (o->failed > 0) {
        berth_buf_printf(out, "%-12s ", "errors");
        berth_errors_put_text(o->errors, out);
        berth_buf_putc(out, '\n');
    }
    put_line(out, "latency", o->latency);
    if (o->first != NULL) {
        put_line(out, "first token", o->first);
        put_line(out, "inter-token", o->between);
        berth_buf_printf(out, "%-12s %llu: %.1f/s\n", "tokens",
                         (unsigned long long)o->completion_tokens,
                         (double)o->completion_tokens / seconds);
    } else if ((double)o->cpu_ns > 0.9 * (double)o->elapsed_ns) {
        berth_buf_puts(out, "This client was busy all the time: the server may be faster.\n");
    }
}

static int
report(const struct bench *b, const struct outcome *o)
{
    struct berth_buf out;

    berth_buf_init(&out, NULL);
    if (berth_arg(b->args, "json") != NULL)
        put_json(b, o, &out);
    else
        put_text(b, o, &out);
    const int rc = berth_print(b->args, &out);
    return o->ok > 0 ? rc : BERTH_EXIT_FAILED;
}

/* ---- the two kinds ---- */

static int
bench_chat(struct bench *b, const char *prompt)
{
    static struct berth_chat_load_result r; /* too large for a stack; one bench a process */
    const struct berth_chat_load load = {
        .args = b->args,
        .model = b->model,
        .prompt = prompt,
        .max_tokens = b->max_tokens,
        .threads = (uint32_t)b->concurrency,
        .rate = b->rate,
        .warmup_ns = (uint64_t)(b->warmup_s * 1e9),
        .duration_ns = (uint64_t)(b->seconds * 1e9),
        .requests = (uint64_t)b->requests,
    };

    if (b->concurrency > CHATS_MAX)
        return berth_usage(b->args, "--concurrency: at most %d chats at once", CHATS_MAX);
    const int rc = berth_chat_load_run(&load, &r);
    if (rc != 0)
        return rc;
    const struct outcome o = {.workload = "chat",
                              .ok = r.ok,
                              .failed = r.failed,
                              .elapsed_ns = r.elapsed_ns,
                              .completion_tokens = r.completion_tokens,
                              .errors = &r.errors,
                              .latency = &r.total,
                              .first = &r.first,
                              .between = &r.between};
    return report(b, &o);
}

/* Host and port of http://HOST[:PORT], copied. */
static bool
place_of(struct bench *b, const char **ret_host, const char **ret_port)
{
    const char *at = b->remote.base + strlen("http://");
    const size_t len = strcspn(at, "/");
    const char *colon = memrchr(at, ':', len);
    const char *bracket = memrchr(at, ']', len);

    if (strncmp(b->remote.base, "http://", 7) != 0)
        return false;
    if (colon != NULL && bracket != NULL && colon < bracket)
        colon = NULL; /* part of an IPv6 address */
    size_t host_len = colon != NULL ? (size_t)(colon - at) : len;
    if (at[0] == '[' && host_len > 2)
        *ret_host = berth_arena_strndup(&b->remote.arena, at + 1, host_len - 2);
    else
        *ret_host = berth_arena_strndup(&b->remote.arena, at, host_len);
    *ret_port = colon != NULL ? berth_arena_strndup(&b->remote.arena, colon + 1,
                                                    len - (size_t)(colon + 1 - at))
                              : "80";
    return *ret_host != NULL && *ret_port != NULL;
}

static int
bench_predict(struct bench *b)
{
    static struct berth_load_result r; /* too large for a stack; one bench a process */
    struct berth_load load = {.connections = (uint32_t)b->concurrency,
                              .rate = b->rate,
                              .warmup_ns = (uint64_t)(b->warmup_s * 1e9),
                              .duration_ns = (uint64_t)(b->seconds * 1e9),
                              .requests = (uint64_t)b->requests};
    struct berth_buf head;
    struct berth_err e;
    int rc = workload(b);

    if (rc == 0) /* once, to see that it works, and to have its error told */
        rc = berth_remote_call(&b->remote, "POST", b->path, b->model, &b->body, NULL);
    if (rc != 0)
        return rc;
    if (!place_of(b, &load.host, &load.port))
        return berth_failed(b->args, "%s: only http:// can be measured", b->remote.base);
    const char *url = berth_remote_url(&b->remote, b->path, b->model);
    berth_buf_init(&head, &b->remote.arena);
    berth_buf_printf(&head, "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n",
                     url != NULL ? url + strlen(b->remote.base) : "", load.host, load.port);
    if (b->remote.key != NULL)
        berth_buf_printf(&head, "Authorization: Bearer %s\r\n", b->remote.key);
    berth_buf_printf(&head, "Content-Length: %zu\r\n\r\n", b->body.len);
    berth_buf_put(&head, b->body.at, b->body.len);
    if (head.failed)
        return berth_failed(b->args, "not enough memory");
    load.request = (struct berth_slice){head.at, head.len};
    if (berth_load_run(&load, &r, &e) != 0)
        return berth_failed(b->args, "%s", e.msg);
    const struct outcome o = {.workload = "predict",
                              .ok = r.ok,
                              .failed = r.failed,
                              .elapsed_ns = r.elapsed_ns,
                              .cpu_ns = r.cpu_ns,
                              .errors = &r.errors,
                              .latency = &r.latency};
    return report(b, &o);
}

int
berth_run_bench(const struct berth_args *args)
{
    struct bench b = {
        .args = args, .model = args->words[0], .max_tokens = 64, .seconds = 5, .warmup_s = 1};
    const struct berth_json *model = NULL;

    if (!berth_arg_int(args, "concurrency", 1, CONCURRENCY_MAX, &b.concurrency) ||
        !berth_arg_int(args, "max-tokens", 1, 1000000, &b.max_tokens) ||
        !berth_arg_real(args, "rate", 0.001, 1e7, &b.rate) ||
        !berth_arg_int(args, "requests", 1, 1000000000, &b.requests) ||
        !berth_arg_real(args, "duration", 0.1, 86400, &b.seconds) ||
        !berth_arg_real(args, "warmup", 0, 3600, &b.warmup_s))
        return BERTH_EXIT_USAGE;
    if (b.requests > 0 && berth_arg(args, "duration") != NULL)
        return berth_usage(args, "--requests or --duration, not both");
    if (b.requests > 0)
        b.seconds = 0; /* until they are done */
    if (b.concurrency == 0)
        b.concurrency = b.rate > 0 ? OPEN_CONNECTIONS : 1;
    int rc = berth_remote_init(&b.remote, args);
    if (rc != 0)
        return rc;
    berth_buf_init(&b.body, &b.remote.arena);
    rc = berth_remote_call(&b.remote, "GET", "/v1/models/{}", b.model, NULL, &model);
    if (rc == 0) {
        const char *prompt = berth_arg(args, "chat");
        if (prompt == NULL && berth_arg(args, "input") == NULL &&
            strcmp(berth_remote_text(model, "model_type", ""), "LLM") == 0)
            prompt = "Write a line about harbours.";
        rc = prompt != NULL ? bench_chat(&b, prompt) : bench_predict(&b);
    }
    berth_remote_fini(&b.remote);
    return rc;
}
