#include "cmd/cmd_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/memory.h"
#include "cmd/remote.h"
#include "cmd/table.h"
#include "wire/json.h"

/* list and ps: the server's models as a table. */

static const char *
status_of(const struct berth_json *model)
{
    const struct berth_json *status = berth_json_get(model, "status");
    struct berth_slice text;

    if (berth_json_string(status, &text))
        return text.at;
    return berth_json_get(status, "Error") != NULL ? "Error" : "?";
}

static uint64_t
number(const struct berth_json *v, const char *group, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(berth_json_get(v, group), key), &n);
    return n;
}

static double
real(const struct berth_json *v, const char *group, const char *key)
{
    double x = 0;

    (void)berth_json_real(berth_json_get(berth_json_get(v, group), key), &x);
    return x;
}

static void
put_listed(struct berth_table *t, const struct berth_json *m)
{
    const struct berth_json *config = berth_json_get(m, "config");

    berth_table_put(t, "%s", berth_remote_text(m, "name", "?"));
    berth_table_put(t, "%s", berth_remote_text(config, "backend", ""));
    berth_table_put(t, "%s", berth_remote_text(m, "model_type", ""));
    berth_table_put(t, "%s", status_of(m));
    berth_table_put(t, "%s", berth_remote_text(config, "model_path", ""));
}

static void
put_running(struct berth_table *t, const struct berth_json *m)
{
    char room[24];

    berth_table_put(t, "%s", berth_remote_text(m, "name", "?"));
    berth_table_put(t, "%s", status_of(m));
    berth_table_put(t, "%s",
                    berth_bytes_text(number(m, "resource_usage", "memory_usage_bytes"), room));
    const uint64_t threads = number(m, "resource_usage", "threads");
    const uint64_t given = number(m, "resource_usage", "cores_given");
    if (given > 0 && given < threads)
        berth_table_put(t, "%llu of %llu", (unsigned long long)given, (unsigned long long)threads);
    else
        berth_table_put(t, "%llu", (unsigned long long)threads);
    berth_table_put(t, "%llu",
                    (unsigned long long)number(m, "performance_stats", "total_requests"));
    berth_table_put(t, "%llu",
                    (unsigned long long)number(m, "performance_stats", "failed_requests"));
    berth_table_put(t, "%.1f", real(m, "performance_stats", "avg_throughput_rps"));
    berth_table_put(t, "%.1f ms", real(m, "performance_stats", "avg_latency_ms"));
}

/* In memory, or on its way there or out. */
static bool
is_loaded(const struct berth_json *m)
{
    const char *status = status_of(m);

    return strcmp(status, "Unloaded") != 0 && strcmp(status, "Error") != 0;
}

/* Below the models: how the memory stands.  An older server does not say. */
static void
put_memory(struct berth_remote *r, struct berth_buf *out)
{
    const struct berth_json *v = NULL;
    struct berth_slice text;
    uint16_t status = 0;

    if (berth_remote_try(r, "GET", "/v1/memory", NULL, NULL, &status, &text) == 0 &&
        status == 200 && berth_json_parse(&r->arena, text.at, text.len, NULL, &v, NULL) == 0)
        berth_memory_put_sums(out, berth_json_get(v, "memory"));
}

/* Below the models: why those that are not loaded are not. */
static void
put_reasons(struct berth_buf *out, const struct berth_json *all)
{
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        const char *why = berth_remote_text(it.value, "reason", "");

        if (!is_loaded(it.value) && why[0] != '\0')
            berth_buf_printf(out, "%s: %s\n", berth_remote_text(it.value, "name", "?"), why);
    }
}

static int
models(const struct berth_args *args, bool running)
{
    static const char *const listed[] = {"NAME", "BACKEND", "TYPE", "STATUS", "PATH"};
    static const char *const loaded[] = {"NAME",     "STATUS", "MEMORY", "THREADS",
                                         "REQUESTS", "FAILED", "PER S",  "LATENCY"};
    const struct berth_json *answer = NULL;
    struct berth_remote r;
    struct berth_table t;
    struct berth_buf out;
    size_t count = 0;
    int rc = berth_remote_init(&r, args);

    if (rc != 0)
        return rc;
    rc = berth_remote_call(&r, "GET", "/v1/models", NULL, NULL, &answer);
    if (rc == 0) {
        berth_buf_init(&out, NULL);
        if (running)
            berth_table_init(&t, &r.arena, BERTH_COUNT(loaded), loaded);
        else
            berth_table_init(&t, &r.arena, BERTH_COUNT(listed), listed);
        const struct berth_json *all = berth_json_get(answer, "models");
        for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
            if (running && !is_loaded(it.value))
                continue;
            if (running)
                put_running(&t, it.value);
            else
                put_listed(&t, it.value);
            count++;
        }
        if (berth_arg(args, "json") != NULL) {
            berth_json_put(&out, answer);
            berth_buf_putc(&out, '\n');
        } else if (count > 0) {
            berth_table_print(&t, &out);
            if (!running)
                put_reasons(&out, all);
        } else {
            berth_buf_puts(&out, running ? "No model is loaded.\n"
                                         : "No models yet: `berth pull SOURCE --register`, or "
                                           "`berth run PATH`.\n");
        }
        if (running && berth_arg(args, "json") == NULL)
            put_memory(&r, &out);
        rc = berth_print(args, &out);
    }
    berth_remote_fini(&r);
    return rc;
}

int
berth_run_list(const struct berth_args *args)
{
    return models(args, false);
}

int
berth_run_ps(const struct berth_args *args)
{
    return models(args, true);
}
