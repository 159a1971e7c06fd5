#include "cmd/cmd_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/memory.h"
#include "cmd/remote.h"
#include "cmd/table.h"
#include "wire/json.h"

/* show: what a model is, what it takes and gives, how it does. */

struct shown {
    const struct berth_json *model, *meta, *status;
};

static void
put_line(struct berth_buf *out, const char *what, const char *text)
{
    if (text != NULL && text[0] != '\0')
        berth_buf_printf(out, "%-10s %s\n", what, text);
}

static void
put_tensors(struct berth_buf *out, const char *title, const struct berth_json *tensors)
{
    for (struct berth_json_iter it = berth_json_iter(tensors); berth_json_next(&it);) {
        berth_buf_printf(out, "%-10s %s %s ", it.index == 0 ? title : "",
                         berth_remote_text(it.value, "name", "?"),
                         berth_remote_text(it.value, "datatype", "?"));
        berth_json_put(out, berth_json_get(it.value, "shape"));
        berth_buf_putc(out, '\n');
    }
}

/* ", isolation: process, pid 12, 1 restart": nothing about a model of the server's own process. */
static void
put_isolation(struct berth_buf *out, const struct berth_json *instance)
{
    uint64_t pid = 0, restarts = 0;

    if (strcmp(berth_remote_text(instance, "isolation", ""), "process") != 0)
        return;
    (void)berth_json_uint(berth_json_get(instance, "worker_pid"), &pid);
    (void)berth_json_uint(berth_json_get(instance, "worker_restarts"), &restarts);
    berth_buf_puts(out, ", isolation: process");
    if (pid > 0)
        berth_buf_printf(out, ", pid %llu", (unsigned long long)pid);
    if (restarts > 0)
        berth_buf_printf(out, ", started again %llu time%s", (unsigned long long)restarts,
                         restarts == 1 ? "" : "s");
}

static void
put_instances(struct berth_buf *out, const struct berth_json *instances)
{
    for (struct berth_json_iter it = berth_json_iter(instances); berth_json_next(&it);) {
        uint64_t memory = 0, context = 0, threads = 0, given = 0;
        double load = 0, share = 0;
        char room[24];
        (void)berth_json_uint(berth_json_get(it.value, "memory_bytes"), &memory);
        (void)berth_json_uint(berth_json_get(it.value, "context_length"), &context);
        (void)berth_json_uint(berth_json_get(it.value, "threads"), &threads);
        (void)berth_json_uint(berth_json_get(it.value, "cores_given"), &given);
        (void)berth_json_real(berth_json_get(it.value, "load_ms"), &load);
        berth_buf_printf(
            out, "%-10s %s: %s, %s, loaded in %.0f ms", it.index == 0 ? "versions" : "",
            berth_remote_text(it.value, "version", "?"), berth_remote_text(it.value, "state", "?"),
            berth_bytes_text(memory, room), load);
        for (struct berth_json_iter l = berth_json_iter(berth_json_get(it.value, "labels"));
             berth_json_next(&l);) {
            struct berth_slice label;
            if (berth_json_string(l.value, &label))
                berth_buf_printf(out, ", '%s'", label.at);
        }
        if (berth_json_real(berth_json_get(it.value, "share"), &share))
            berth_buf_printf(out, ", %.3g %% of requests", share * 100);
        if (context > 0)
            berth_buf_printf(out, ", context %llu", (unsigned long long)context);
        if (threads > 0)
            berth_buf_printf(out, ", %llu thread%s", (unsigned long long)threads,
                             threads == 1 ? "" : "s");
        if (given > 0 && given < threads)
            berth_buf_printf(out, " (%llu in its last run)", (unsigned long long)given);
        if (strcmp(berth_remote_text(it.value, "placement", ""), "inline") == 0)
            berth_buf_puts(out, ", runs inline");
        put_isolation(out, it.value);
        const char *why = berth_remote_text(it.value, "reason", "");
        berth_buf_printf(out, "%s%s\n", why[0] != '\0' ? ": " : "", why);
    }
}

/* Do requests run together, and why? */
static void
put_batching(struct berth_buf *out, const struct berth_json *batching)
{
    const char *decision = berth_remote_text(batching, "decision", NULL);
    double wait = 0;
    uint64_t max = 0, expected = 0, sequences = 0;

    if (decision == NULL)
        return;
    (void)berth_json_uint(berth_json_get(batching, "max_sequences"), &sequences);
    (void)berth_json_real(berth_json_get(batching, "wait_ms"), &wait);
    (void)berth_json_uint(berth_json_get(batching, "max_requests"), &max);
    (void)berth_json_uint(berth_json_get(batching, "expected_requests"), &expected);
    const bool runs = max > 1 || sequences == 0; /* it has runs that might be shared */
    if (runs) {
        berth_buf_printf(out, "%-10s %s, %s: %s; up to %llu at once", "batching",
                         berth_remote_text(batching, "mode", ""), decision,
                         berth_remote_text(batching, "reason", ""), (unsigned long long)max);
        if (expected > 0)
            berth_buf_printf(out, ", %llu come together", (unsigned long long)expected);
        berth_buf_printf(out, ", waits %.3g ms\n", wait);
    }
    if (sequences > 0)
        berth_buf_printf(out,
                         "%-10s up to %llu sequences at once; they come and go between steps\n",
                         runs ? "" : "batching", (unsigned long long)sequences);
}

/* The last changes of state; all that are kept are in --json. */
static void
put_life(struct berth_buf *out, const struct berth_json *life)
{
    enum { LINES = 6 };
    const size_t n = berth_json_len(life), from = n > LINES ? n - LINES : 0;

    for (struct berth_json_iter it = berth_json_iter(life); berth_json_next(&it);) {
        if (it.index < from)
            continue;
        const char *why = berth_remote_text(it.value, "reason", "");
        berth_buf_printf(out, "%-10s %s %s: %s%s%s\n", it.index == from ? "life" : "",
                         berth_remote_text(it.value, "time", ""),
                         berth_remote_text(it.value, "version", ""),
                         berth_remote_text(it.value, "state", ""), why[0] != '\0' ? ", " : "", why);
    }
}

static void
put_stats(struct berth_buf *out, const struct berth_json *stats)
{
    uint64_t requests = 0, failed = 0;
    double avg = 0, p99 = 0;

    (void)berth_json_uint(berth_json_get(stats, "total_requests"), &requests);
    (void)berth_json_uint(berth_json_get(stats, "failed_requests"), &failed);
    (void)berth_json_real(berth_json_get(stats, "avg_latency_ms"), &avg);
    (void)berth_json_real(berth_json_get(stats, "p99_latency_ms"), &p99);
    berth_buf_printf(out, "%-10s %llu, %llu failed, %.2f ms on average, p99 %.2f ms\n", "requests",
                     (unsigned long long)requests, (unsigned long long)failed, avg, p99);
}

static void
put_text(struct berth_buf *out, const struct shown *s)
{
    const struct berth_json *config = berth_json_get(s->model, "config");
    const struct berth_json *custom = berth_json_get(config, "custom_params");
    const struct berth_json *status = berth_json_get(s->model, "status");
    const char *why = berth_remote_text(s->model, "reason", "");

    put_line(out, "name", berth_remote_text(s->model, "name", ""));
    put_line(out, "id", berth_remote_text(s->model, "id", ""));
    put_line(out, "type", berth_remote_text(s->model, "model_type", ""));
    put_line(out, "backend", berth_remote_text(config, "backend", ""));
    put_line(out, "platform", berth_remote_text(s->meta, "platform", ""));
    put_line(out, "path", berth_remote_text(config, "model_path", ""));
    if (berth_json_type(status) == BERTH_JSON_OBJECT)
        put_line(out, "status", berth_remote_text(status, "Error", "Error"));
    else
        berth_buf_printf(out, "%-10s %s%s%s\n", "status", berth_remote_text(s->model, "status", ""),
                         why[0] != '\0' ? ": " : "", why);
    put_tensors(out, "inputs", berth_json_get(s->meta, "inputs"));
    put_tensors(out, "outputs", berth_json_get(s->meta, "outputs"));
    if (berth_json_len(custom) > 0) {
        berth_buf_printf(out, "%-10s ", "config");
        berth_json_put(out, custom);
        berth_buf_putc(out, '\n');
    }
    put_instances(out, berth_json_get(s->status, "instances"));
    if (berth_json_get(s->status, "memory") != NULL)
        berth_memory_put_outcome(out, berth_json_get(s->status, "memory"));
    put_batching(out, berth_json_get(s->status, "batching"));
    put_stats(out, berth_json_get(s->model, "performance_stats"));
    put_life(out, berth_json_get(s->status, "life"));
}

static void
put_json(struct berth_buf *out, const struct shown *s)
{
    static const char *const of_meta[] = {"platform", "inputs", "outputs"};
    struct berth_jw w;

    berth_jw_init(&w, out);
    berth_jw_object(&w);
    for (struct berth_json_iter it = berth_json_iter(s->model); berth_json_next(&it);) {
        berth_jw_key_n(&w, it.key.at, it.key.len);
        berth_jw_value(&w, it.value);
    }
    for (size_t i = 0; i < BERTH_COUNT(of_meta); i++) {
        berth_jw_key(&w, of_meta[i]);
        berth_jw_value(&w, berth_json_get(s->meta, of_meta[i]));
    }
    berth_jw_key(&w, "instances");
    berth_jw_value(&w, berth_json_get(s->status, "instances"));
    berth_jw_key(&w, "memory");
    berth_jw_value(&w, berth_json_get(s->status, "memory"));
    berth_jw_key(&w, "batching");
    berth_jw_value(&w, berth_json_get(s->status, "batching"));
    berth_jw_key(&w, "life");
    berth_jw_value(&w, berth_json_get(s->status, "life"));
    berth_jw_object_end(&w);
    berth_buf_putc(out, '\n');
}

/* An answer that need not be there: a model that never loaded has no metadata. */
static const struct berth_json *
maybe(struct berth_remote *r, const char *path, const char *name)
{
    const struct berth_json *v = NULL;
    struct berth_slice text;
    uint16_t status = 0;

    if (berth_remote_try(r, "GET", path, name, NULL, &status, &text) != 0 || status != 200 ||
        berth_json_parse(&r->arena, text.at, text.len, NULL, &v, NULL) != 0)
        return NULL;
    return v;
}

int
berth_run_show(const struct berth_args *args)
{
    struct berth_remote r;
    struct shown s = {0};
    struct berth_buf out;
    int rc = berth_remote_init(&r, args);

    if (rc != 0)
        return rc;
    rc = berth_remote_call(&r, "GET", "/v1/models/{}", args->words[0], NULL, &s.model);
    if (rc == 0) {
        s.meta = maybe(&r, "/v2/models/{}", args->words[0]);
        s.status = maybe(&r, "/v1/models/{}/status", args->words[0]);
        berth_buf_init(&out, NULL);
        if (berth_arg(args, "json") != NULL)
            put_json(&out, &s);
        else
            put_text(&out, &s);
        rc = berth_print(args, &out);
    }
    berth_remote_fini(&r);
    return rc;
}
