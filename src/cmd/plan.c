#include "cmd/cmd_priv.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/memory.h"
#include "cmd/remote.h"
#include "cmd/table.h"
#include "wire/json.h"
#include "wire/uri.h"

/* plan: what loading a model would take, and what would have to go; and lines on memory for others.
 */

static uint64_t
bytes_of(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

static double
ms_of(const struct berth_json *v, const char *key)
{
    double x = 0;

    (void)berth_json_real(berth_json_get(v, key), &x);
    return x;
}

void
berth_memory_put_sums(struct berth_buf *out, const struct berth_json *s)
{
    char held[24], budget[24], promised[24], others[24], left[24];

    berth_buf_printf(out,
                     "memory: models hold %s of %s, %s promised to loads, %s free; others use %s\n",
                     berth_bytes_text(bytes_of(s, "held_bytes"), held),
                     berth_bytes_text(bytes_of(s, "budget_bytes"), budget),
                     berth_bytes_text(bytes_of(s, "promised_bytes"), promised),
                     berth_bytes_text(bytes_of(s, "free_bytes"), left),
                     berth_bytes_text(bytes_of(s, "others_bytes"), others));
}

void
berth_memory_put_outcome(struct berth_buf *out, const struct berth_json *m)
{
    const struct berth_json *said = berth_json_get(m, "predicted"),
                            *was = berth_json_get(m, "measured");
    char a[24], b[24];
    bool pinned = false;
    double keep = 0;

    (void)berth_json_bool(berth_json_get(m, "pinned"), &pinned);
    berth_buf_printf(out, "%-10s load: %s%s", "memory", berth_remote_text(m, "load", "start"),
                     pinned ? ", pinned" : "");
    if (!pinned && berth_json_real(berth_json_get(m, "keep_alive_secs"), &keep))
        berth_buf_printf(out, ", unloaded after %g s without use", keep);
    berth_buf_putc(out, '\n');
    if (was == NULL)
        return;
    berth_buf_printf(out, "%-10s %s and %.0f ms to load were expected (by %s)\n", "",
                     berth_bytes_text(bytes_of(said, "bytes"), a), ms_of(said, "load_ms"),
                     berth_remote_text(m, "predicted_by", "its files"));
    berth_buf_printf(out, "%-10s %s and %.0f ms it was; %llu evicted for it\n", "",
                     berth_bytes_text(bytes_of(was, "bytes"), b), ms_of(was, "load_ms"),
                     (unsigned long long)bytes_of(m, "evicted"));
}

static void
put_plan(struct berth_buf *out, struct berth_remote *r, const struct berth_json *p)
{
    static const char *const titles[] = {"EVICTED", "MEMORY", "TO RELOAD"};
    const struct berth_json *said = berth_json_get(p, "predicted"),
                            *evicts = berth_json_get(p, "evicts");
    const char *verdict = berth_remote_text(p, "verdict", "?");
    struct berth_table t;
    char room[24];

    berth_buf_printf(out, "%s: %s with %s; %s and %.0f ms to load (by %s)\n",
                     berth_remote_text(p, "model", "new model"), verdict,
                     berth_remote_text(p, "backend", "?"),
                     berth_bytes_text(bytes_of(said, "bytes"), room), ms_of(said, "load_ms"),
                     berth_remote_text(p, "predicted_by", "?"));
    const char *why = berth_remote_text(p, "reason", NULL);
    if (why != NULL)
        berth_buf_printf(out, "%s\n", why);
    if (berth_json_len(evicts) > 0) {
        berth_table_init(&t, &r->arena, BERTH_COUNT(titles), titles);
        for (struct berth_json_iter it = berth_json_iter(evicts); berth_json_next(&it);) {
            berth_table_put(&t, "%s", berth_remote_text(it.value, "model", "?"));
            berth_table_put(&t, "%s", berth_bytes_text(bytes_of(it.value, "bytes"), room));
            berth_table_put(&t, "%.0f ms", ms_of(it.value, "reload_ms"));
        }
        berth_table_print(&t, out);
    }
    berth_memory_put_sums(out, berth_json_get(p, "memory"));
}

/* The query for a model's name or, when it is one, a path; made absolute, as the server may run
 * elsewhere. */
static bool
put_query(struct berth_buf *query, const struct berth_args *args)
{
    const char *word = args->words[0], *backend = berth_arg(args, "backend");
    const char *config = berth_arg(args, "config");
    char path[PATH_MAX];
    const bool is_path =
        strchr(word, '/') != NULL || (strchr(word, '.') != NULL && access(word, F_OK) == 0);

    if (is_path && realpath(word, path) == NULL)
        return false;
    berth_buf_puts(query, is_path ? "/v1/plan?path=" : "/v1/plan?model=");
    berth_uri_put(query, is_path ? path : word, strlen(is_path ? path : word));
    if (backend != NULL) {
        berth_buf_puts(query, "&backend=");
        berth_uri_put(query, backend, strlen(backend));
    }
    if (config != NULL) {
        berth_buf_puts(query, "&config=");
        berth_uri_put(query, config, strlen(config));
    }
    return true;
}

int
berth_run_plan(const struct berth_args *args)
{
    const struct berth_json *answer = NULL;
    struct berth_buf query, out;
    struct berth_remote r;
    int rc;

    berth_buf_init(&query, NULL);
    if (!put_query(&query, args)) {
        berth_buf_fini(&query);
        return berth_failed(args, "%s: %m", args->words[0]);
    }
    rc = berth_remote_init(&r, args);
    if (rc == 0) {
        rc = berth_remote_call(&r, "GET", berth_buf_text(&query), NULL, NULL, &answer);
        if (rc == 0) {
            berth_buf_init(&out, NULL);
            if (berth_arg(args, "json") != NULL) {
                berth_json_put(&out, answer);
                berth_buf_putc(&out, '\n');
            } else {
                put_plan(&out, &r, answer);
            }
            rc = berth_print(args, &out);
        }
        berth_remote_fini(&r);
    }
    berth_buf_fini(&query);
    return rc;
}
