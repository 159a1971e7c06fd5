#include "cmd/cmd_priv.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/remote.h"
#include "cmd/table.h"
#include "wire/json.h"

/* explain: where a request's time went; without one, the requests that the server remembers. */

static double
real(const struct berth_json *v, const char *key)
{
    double x = 0;

    (void)berth_json_real(berth_json_get(v, key), &x);
    return x;
}

static unsigned long long
number(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

static void
put_head(struct berth_buf *out, const struct berth_json *v)
{
    const char *version = berth_remote_text(v, "version", "");

    berth_buf_printf(out, "%-9s %s at %s\n", "request", berth_remote_text(v, "id", ""),
                     berth_remote_text(v, "began", ""));
    berth_buf_printf(out, "%-9s %s (%s)\n", "path", berth_remote_text(v, "path", "?"),
                     berth_remote_text(v, "dialect", "?"));
    berth_buf_printf(out, "%-9s %s%s%s\n", "model", berth_remote_text(v, "model", "?"),
                     version[0] != '\0' ? ", version " : "", version);
    berth_buf_printf(out, "%-9s %llu after %.3f ms\n", "status", number(v, "status"),
                     real(v, "total_ms"));
}

static void
put_stages(struct berth_buf *out, const struct berth_json *stages)
{
    enum { BAR = 20 };
    static const char bar[BAR + 1] = "####################";

    for (struct berth_json_iter it = berth_json_iter(stages); berth_json_next(&it);) {
        const double share = real(it.value, "share");

        berth_buf_printf(out, "  %-10s %10.3f ms %5.1f %%  %-*.*s  %s\n",
                         berth_remote_text(it.value, "stage", ""), real(it.value, "ms"),
                         share * 100, BAR, (int)(share * BAR + 0.5), bar,
                         berth_remote_text(it.value, "what", ""));
    }
}

static void
put_rest(struct berth_buf *out, const struct berth_json *v)
{
    const struct berth_json *run = berth_json_get(v, "run"), *tokens = berth_json_get(v, "tokens");
    const struct berth_json *error = berth_json_get(v, "error");
    bool cached = false;

    if (berth_json_type(error) == BERTH_JSON_OBJECT)
        berth_buf_printf(out, "%-9s %s: %s\n", "error", berth_remote_text(error, "code", ""),
                         berth_remote_text(error, "message", ""));
    if (berth_json_type(run) == BERTH_JSON_OBJECT)
        berth_buf_printf(
            out,
            "%-9s instance %llu on %s, batch of %llu of %llu, %.1f %% padding, %llu "
            "waited before it, run %llu time(s)\n",
            "run", number(run, "instance"),
            strcmp(berth_remote_text(run, "placement", ""), "inline") == 0 ? "the connection's loop"
                                                                           : "its thread",
            number(run, "batch_requests"), number(run, "batch_max"), real(run, "padding") * 100,
            number(run, "queue_ahead"), number(run, "runs"));
    if (berth_json_bool(berth_json_get(v, "cached"), &cached) && cached)
        berth_buf_printf(out, "%-9s answered from the response cache\n", "cache");
    if (berth_json_type(tokens) == BERTH_JSON_OBJECT)
        berth_buf_printf(out, "%-9s %llu in, %llu out, the first after %.1f ms, then %.1f/s\n",
                         "tokens", number(tokens, "input"), number(tokens, "output"),
                         real(tokens, "first_ms"), real(tokens, "per_second"));
    berth_buf_printf(out, "%-9s %llu in, %llu out\n", "bytes", number(v, "body_bytes"),
                     number(v, "answer_bytes"));
    const struct berth_json *faster = berth_json_get(v, "faster");
    for (struct berth_json_iter it = berth_json_iter(faster); berth_json_next(&it);) {
        struct berth_slice text = {"", 0};
        (void)berth_json_string(it.value, &text);
        berth_buf_printf(out, "%-9s %.*s\n", it.index == 0 ? "faster" : "", (int)text.len, text.at);
    }
    if (berth_json_len(faster) == 0 && berth_json_type(error) != BERTH_JSON_OBJECT)
        berth_buf_printf(out, "%-9s nothing stood in its way\n", "faster");
}

static void
put_account(struct berth_buf *out, const struct berth_json *v)
{
    put_head(out, v);
    put_stages(out, berth_json_get(v, "stages"));
    put_rest(out, v);
}

static void
put_list(struct berth_buf *out, struct berth_arena *arena, const struct berth_json *requests)
{
    static const char *const titles[] = {"REQUEST", "BEGAN", "MODEL",  "STATUS",
                                         "TIME",    "MOST",  "MESSAGE"};
    struct berth_table t;

    if (berth_json_len(requests) == 0) {
        berth_buf_puts(out, "No such request is remembered.\n");
        return;
    }
    berth_table_init(&t, arena, BERTH_COUNT(titles), titles);
    for (struct berth_json_iter it = berth_json_iter(requests); berth_json_next(&it);) {
        const struct berth_json *v = it.value;

        berth_table_put(&t, "%s", berth_remote_text(v, "id", ""));
        berth_table_put(&t, "%s", berth_remote_text(v, "began", ""));
        berth_table_put(&t, "%s", berth_remote_text(v, "model", ""));
        berth_table_put(&t, "%llu", number(v, "status"));
        berth_table_put(&t, "%.3f ms", real(v, "total_ms"));
        berth_table_put(&t, "%s %.3f ms", berth_remote_text(v, "longest_stage", ""),
                        real(v, "longest_ms"));
        berth_table_put(&t, "%.60s", berth_remote_text(berth_json_get(v, "error"), "message", ""));
    }
    berth_table_print(&t, out);
}

static int
ask(const struct berth_args *args, struct berth_remote *r, const struct berth_json **ret)
{
    const char *model = berth_arg(args, "model");
    long long limit = 20;
    char path[160];

    if (args->word_count > 0)
        return berth_remote_call(r, "GET", "/v1/requests/{}/explain", args->words[0], NULL, ret);
    if (!berth_arg_int(args, "limit", 1, 200, &limit))
        return BERTH_EXIT_USAGE;
    (void)snprintf(path, sizeof path, "/v1/requests?limit=%lld%s%s%s", limit,
                   berth_arg(args, "slowest") != NULL ? "&order=slowest" : "",
                   berth_arg(args, "failed") != NULL ? "&failed=true" : "",
                   model != NULL ? "&model={}" : "");
    return berth_remote_call(r, "GET", path, model, NULL, ret);
}

int
berth_run_explain(const struct berth_args *args)
{
    const struct berth_json *answer = NULL;
    struct berth_remote r;
    struct berth_buf out;
    int rc = berth_remote_init(&r, args);

    if (rc != 0)
        return rc;
    rc = ask(args, &r, &answer);
    if (rc == 0) {
        berth_buf_init(&out, NULL);
        if (berth_arg(args, "json") != NULL) {
            berth_json_put(&out, answer);
            berth_buf_putc(&out, '\n');
        } else if (args->word_count > 0) {
            put_account(&out, answer);
        } else {
            put_list(&out, &r.arena, berth_json_get(answer, "requests"));
        }
        rc = berth_print(args, &out);
    }
    berth_remote_fini(&r);
    return rc;
}
