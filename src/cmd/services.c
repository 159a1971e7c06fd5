#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/cmd_priv.h"
#include "cmd/service.h"
#include "cmd/table.h"
#include "wire/json.h"
#include "wire/uri.h"

/* services, describe, scale, rollback, promote, retry, delete, logs, plugins, node. */

enum { WAIT_S = 600 };

static void
put_replicas(struct berth_table *t, const struct berth_json *service)
{
    berth_table_put(t, "%llu/%llu",
                    (unsigned long long)berth_json_member_uint(service, "replicasReady"),
                    (unsigned long long)berth_json_member_uint(service, "replicaCount"));
}

/* Below the table: each environment that cannot be reached, once. */
static void
put_away(struct berth_buf *out, const struct berth_json *all)
{
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        const char *away = berth_service_away(it.value);
        bool told = away[0] == '\0';

        for (struct berth_json_iter k = berth_json_iter(all);
             !told && berth_json_next(&k) && k.index < it.index;)
            told = strcmp(berth_service_away(k.value), away) == 0;
        if (!told)
            berth_buf_printf(out, "%s\n", away);
    }
}

static int
print_services(struct berth_remote *r, const struct berth_json *all)
{
    static const char *const titles[] = {"SERVICE",  "MODEL",   "PHASE",   "READY",
                                         "REVISION", "SHIMLET", "ENDPOINT"};
    struct berth_table t;
    struct berth_buf out;

    berth_table_init(&t, &r->arena, BERTH_COUNT(titles), titles);
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (berth_arg(r->args, "all") == NULL &&
            strcmp(berth_remote_text(it.value, "phase", "?"), "terminated") == 0)
            continue;
        berth_table_put(&t, "%s", berth_remote_text(it.value, "serviceId", "?"));
        berth_table_put(&t, "%s", berth_remote_text(it.value, "modelName", "?"));
        berth_table_put(&t, "%s", berth_remote_text(it.value, "phase", "?"));
        put_replicas(&t, it.value);
        berth_table_put(&t, "%llu",
                        (unsigned long long)berth_json_member_uint(it.value, "revision"));
        berth_table_put(&t, "%s", berth_remote_text(it.value, "shimlet", "?"));
        berth_table_put(&t, "%s", berth_remote_text(it.value, "endpoint", ""));
    }
    berth_buf_init(&out, NULL);
    if (t.rows > 1)
        berth_table_print(&t, &out);
    else
        berth_buf_puts(&out, "No services: `berth deploy MODEL` makes one.\n");
    put_away(&out, all);
    return berth_print(r->args, &out);
}

static int
print_units(struct berth_remote *r, const struct berth_json *all)
{
    static const char *const titles[] = {"SHIMLET", "UNIT", "TRACK", "STATE", "SERVICE"};
    static const char *const keys[] = {"shimlet", "unit", "track", "state", "serviceId"};
    struct berth_table t;
    struct berth_buf out;

    berth_table_init(&t, &r->arena, BERTH_COUNT(titles), titles);
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        for (size_t i = 0; i < BERTH_COUNT(keys); i++)
            berth_table_put(&t, "%s", berth_remote_text(it.value, keys[i], ""));
    }
    berth_buf_init(&out, NULL);
    berth_table_print(&t, &out);
    return berth_print(r->args, &out);
}

int
berth_run_services(const struct berth_args *args)
{
    const struct berth_json *all = NULL;
    struct berth_remote r;
    int rc = berth_remote_init(&r, args);

    if (rc != BERTH_EXIT_OK)
        return rc;
    const bool units = berth_arg(args, "units") != NULL;
    rc = berth_service_call(&r, "GET", units ? "/units" : "", NULL, NULL, &all);
    if (rc == BERTH_EXIT_OK && berth_arg(args, "json") != NULL)
        rc = berth_service_print(args, all);
    else if (rc == BERTH_EXIT_OK)
        rc = units ? print_units(&r, all) : print_services(&r, all);
    berth_remote_fini(&r);
    return rc;
}

/* ---- describe ---- */

static void
put_line(struct berth_buf *out, const char *what, const char *text)
{
    if (text != NULL && text[0] != '\0')
        berth_buf_printf(out, "%-12s %s\n", what, text);
}

static void
put_described(struct berth_buf *out, const struct berth_json *s)
{
    static const struct {
        const char *title, *key;
    } lines[] = {{"service", "serviceId"}, {"model", "modelName"},   {"phase", "phase"},
                 {"message", "message"},   {"endpoint", "endpoint"}, {"pipeline", "pipeline"},
                 {"shimlet", "shimlet"},   {"created", "createdAt"}, {"changed", "updatedAt"}};
    const struct berth_json *canary = berth_json_get(s, "canary");

    for (size_t i = 0; i < BERTH_COUNT(lines); i++)
        put_line(out, lines[i].title, berth_remote_text(s, lines[i].key, ""));
    put_line(out, "warning", berth_remote_text(berth_json_get(s, "routes"), "warning", ""));
    berth_buf_printf(out, "%-12s %llu\n", "revision",
                     (unsigned long long)berth_json_member_uint(s, "revision"));
    if (berth_json_type(canary) == BERTH_JSON_OBJECT) {
        berth_buf_printf(out, "%-12s ", "canary");
        berth_json_put(out, canary);
        berth_buf_putc(out, '\n');
    }
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(s, "replicas"));
         berth_json_next(&it);) {
        const char *reason = berth_remote_text(it.value, "reason", "");

        berth_buf_printf(
            out, "%-12s %s %s %s %s%s%s\n", it.index == 0 ? "replicas" : "",
            berth_remote_text(it.value, "id", "?"), berth_remote_text(it.value, "track", ""),
            berth_remote_text(it.value, "state", "?"), berth_remote_text(it.value, "endpoint", ""),
            reason[0] != '\0' ? ": " : "", reason);
    }
    berth_buf_printf(out, "%-12s ", "resources");
    berth_json_put(out, berth_json_get(s, "resources"));
    berth_buf_printf(out, "\n%-12s ", "spec");
    berth_json_put(out, berth_json_get(s, "spec"));
    berth_buf_putc(out, '\n');
}

static void
put_history(struct berth_buf *out, const struct berth_json *pipeline,
            const struct berth_json *revisions)
{
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(pipeline, "steps"));
         berth_json_next(&it);) {
        const char *error = berth_remote_text(it.value, "error", "");

        const uint64_t attempts = berth_json_member_uint(it.value, "attempts");
        berth_buf_printf(out, "%-12s %-24s %-10s %llu ms, %llu attempt%s%s%s\n",
                         it.index == 0 ? "steps" : "", berth_remote_text(it.value, "name", "?"),
                         berth_remote_text(it.value, "state", "?"),
                         (unsigned long long)berth_json_member_uint(it.value, "durationMs"),
                         (unsigned long long)attempts, attempts == 1 ? "" : "s",
                         error[0] != '\0' ? ": " : "", error);
    }
    for (struct berth_json_iter it = berth_json_iter(revisions); berth_json_next(&it);)
        berth_buf_printf(out, "%-12s %llu, %s by %s\n", it.index == 0 ? "revisions" : "",
                         (unsigned long long)berth_json_member_uint(it.value, "revision"),
                         berth_remote_text(it.value, "createdAt", "?"),
                         berth_remote_text(it.value, "operator", "?"));
}

int
berth_run_describe(const struct berth_args *args)
{
    const char *name = args->words[0];
    const struct berth_json *s = NULL, *pipeline = NULL, *revisions = NULL;
    struct berth_buf out;
    struct berth_remote r;
    int rc = berth_remote_init(&r, args);

    if (rc != BERTH_EXIT_OK)
        return rc;
    rc = berth_service_call(&r, "GET", "/{}", name, NULL, &s);
    if (rc == BERTH_EXIT_OK && berth_arg(args, "json") != NULL) {
        rc = berth_service_print(args, s);
    } else if (rc == BERTH_EXIT_OK) {
        rc = berth_service_call(&r, "GET", "/{}/pipeline", name, NULL, &pipeline);
        if (rc == BERTH_EXIT_OK)
            rc = berth_service_call(&r, "GET", "/{}/revisions", name, NULL, &revisions);
        berth_buf_init(&out, NULL);
        put_described(&out, s);
        put_history(&out, pipeline, revisions);
        if (rc == BERTH_EXIT_OK)
            rc = berth_print(args, &out);
        else
            berth_buf_fini(&out);
    }
    berth_remote_fini(&r);
    return rc;
}

/* ---- changes ---- */

/* POST /{}/PATH with {"key": n} (key NULL: nothing), then watch. */
static int
change(const struct berth_args *args, const char *path, const char *key, long long n)
{
    const struct berth_json *data = NULL;
    struct berth_buf body;
    struct berth_remote r;
    int rc = berth_remote_init(&r, args);

    if (rc != BERTH_EXIT_OK)
        return rc;
    berth_buf_init(&body, &r.arena);
    if (key != NULL)
        berth_buf_printf(&body, "{\"%s\":%lld}", key, n);
    else
        berth_buf_puts(&body, "{}");
    rc = berth_service_call(&r, "POST", path, args->words[0], &body, &data);
    const char *id = berth_remote_text(data, "serviceId", "?");
    uint64_t revision = berth_json_member_uint(data, "revision");
    if (rc == BERTH_EXIT_OK && key != NULL && strcmp(key, "weight") == 0) {
        const struct berth_json *now = NULL; /* it is the canary that has a share to tell */
        rc = berth_service_call(&r, "GET", "/{}", id, NULL, &now);
        revision = berth_json_member_uint(berth_json_get(now, "canary"), "revision");
    }
    if (rc == BERTH_EXIT_OK && berth_arg(args, "no-wait") == NULL)
        rc = berth_service_wait(&r, id, revision, WAIT_S);
    else if (rc == BERTH_EXIT_OK)
        (void)printf("%s\n", id);
    berth_remote_fini(&r);
    return rc;
}

static bool
read_word(const struct berth_args *args, size_t at, long long min, long long max, long long *ret)
{
    char *end;

    if (at >= args->word_count)
        return true;
    *ret = strtoll(args->words[at], &end, 10);
    if (*end == '\0' && end != args->words[at] && *ret >= min && *ret <= max)
        return true;
    (void)berth_usage(args, "'%s' should be a whole number from %lld to %lld", args->words[at], min,
                      max);
    return false;
}

int
berth_run_scale(const struct berth_args *args)
{
    long long n = 0;

    return read_word(args, 1, 0, 1000, &n) ? change(args, "/{}/scale", "replicaCount", n)
                                           : BERTH_EXIT_USAGE;
}

int
berth_run_rollback(const struct berth_args *args)
{
    long long n = 0;

    if (!read_word(args, 1, 1, INT64_MAX, &n))
        return BERTH_EXIT_USAGE;
    return change(args, "/{}/rollback", n > 0 ? "revision" : NULL, n);
}

int
berth_run_promote(const struct berth_args *args)
{
    return change(args, "/{}/promote", NULL, 0);
}

int
berth_run_weight(const struct berth_args *args)
{
    long long n = 0;

    return read_word(args, 1, 0, 100, &n) ? change(args, "/{}/weight", "weight", n)
                                          : BERTH_EXIT_USAGE;
}

int
berth_run_retry(const struct berth_args *args)
{
    return change(args, "/{}/retry", NULL, 0);
}

int
berth_run_delete(const struct berth_args *args)
{
    struct berth_remote r;
    int rc = berth_remote_init(&r, args);

    for (size_t i = 0; rc == BERTH_EXIT_OK && i < args->word_count; i++) {
        const struct berth_json *s = NULL;

        /* Who types a name wants to hear that there is none; the API takes it as done.  It is
         * deleted by what was typed, as a beginning of an id is not enough for that. */
        rc = berth_service_call(&r, "GET", "/{}", args->words[i], NULL, &s);
        const char *id = berth_remote_text(s, "serviceId", args->words[i]);
        if (rc == BERTH_EXIT_OK)
            rc = berth_service_call(&r, "DELETE", "/{}", args->words[i], NULL, NULL);
        if (rc == BERTH_EXIT_OK && berth_arg(args, "no-wait") == NULL)
            rc = berth_service_wait_gone(&r, id, WAIT_S);
    }
    berth_remote_fini(&r);
    return rc;
}

int
berth_run_node(const struct berth_args *args)
{
    const char *what = args->words[0], *shimlet = berth_arg(args, "shimlet");
    struct berth_remote r;
    char path[160];

    if (strcmp(what, "drain") != 0 && strcmp(what, "undrain") != 0)
        return berth_usage(args, "'%s' should be drain or undrain", what);
    int rc = berth_remote_init(&r, args);
    if (rc != BERTH_EXIT_OK)
        return rc;
    (void)snprintf(path, sizeof path, "/nodes/{}/%s%s%.64s", what,
                   shimlet != NULL ? "?shimlet=" : "", shimlet != NULL ? shimlet : "");
    rc = berth_service_call(&r, "POST", path, args->words[1], NULL, NULL);
    if (rc == BERTH_EXIT_OK)
        (void)printf("%s: %sed\n", args->words[1], what);
    berth_remote_fini(&r);
    return rc;
}

/* ---- streams ---- */

int
berth_run_logs(const struct berth_args *args)
{
    const char *replica = berth_arg(args, "replica"), *track = berth_arg(args, "track");
    const bool follow = berth_arg(args, "follow") != NULL;
    long long tail = 0;
    struct berth_buf path;
    struct berth_remote r;

    if (!berth_arg_int(args, "tail", 1, 1000000, &tail))
        return BERTH_EXIT_USAGE;
    int rc = berth_remote_init(&r, args);
    if (rc != BERTH_EXIT_OK)
        return rc;
    berth_buf_init(&path, &r.arena);
    berth_buf_puts(&path, berth_arg(args, "pipeline") != NULL
                              ? "/api/v1/modserv/{}/pipeline/logs?format=text"
                              : "/api/v1/modserv/{}/logs?x=");
    if (follow)
        berth_buf_puts(&path, "&follow=1");
    if (tail > 0)
        berth_buf_printf(&path, "&tail=%lld", tail);
    if (replica != NULL) {
        berth_buf_puts(&path, "&replica=");
        berth_uri_put(&path, replica, strlen(replica));
    }
    if (track != NULL) {
        berth_buf_puts(&path, "&track=");
        berth_uri_put(&path, track, strlen(track));
    }
    const char *text = berth_buf_text(&path);
    rc = text != NULL
             ? berth_service_stream(&r, berth_remote_url(&r, text, args->words[0]), false, NULL)
             : berth_failed(args, "not enough memory");
    berth_remote_fini(&r);
    return rc;
}

/* ---- plugins ---- */

static int
print_plugins(struct berth_remote *r, const struct berth_json *data)
{
    static const char *const titles[] = {"TYPE", "NAME", "VERSION", "SOURCE", "DESCRIPTION"};
    static const char *const groups[] = {"shimlets", "pipelines"};
    struct berth_table t;
    struct berth_buf out;

    berth_table_init(&t, &r->arena, BERTH_COUNT(titles), titles);
    for (size_t g = 0; g < BERTH_COUNT(groups); g++) {
        for (struct berth_json_iter it = berth_json_iter(berth_json_get(data, groups[g]));
             berth_json_next(&it);) {
            berth_table_put(&t, "%.*s", (int)strlen(groups[g]) - 1, groups[g]);
            berth_table_put(&t, "%s", berth_remote_text(it.value, "name", "?"));
            berth_table_put(&t, "%s", berth_remote_text(it.value, "version", ""));
            berth_table_put(&t, "%s", berth_remote_text(it.value, "source", ""));
            berth_table_put(&t, "%s", berth_remote_text(it.value, "description", ""));
        }
    }
    berth_buf_init(&out, NULL);
    berth_table_print(&t, &out);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(data, "missing"));
         berth_json_next(&it);)
        berth_buf_printf(&out, "\nmissing: %s %s: %s\n", berth_remote_text(it.value, "type", "?"),
                         berth_remote_text(it.value, "name", "?"),
                         berth_remote_text(it.value, "why", "?"));
    berth_buf_printf(&out, "\nunless a service says otherwise: %s, by %s\n",
                     berth_remote_text(data, "defaultShimlet", "?"),
                     berth_remote_text(data, "defaultPipeline", "?"));
    return berth_print(r->args, &out);
}

static int
change_plugin(struct berth_remote *r, const char *what, const char *word)
{
    const struct berth_args *args = r->args;
    const char *type = berth_arg(args, "type");
    struct berth_buf body;
    struct berth_jw w;
    char path[64];

    if (type == NULL) /* as the file is called */
        type = strstr(word, "berth-pipeline-") != NULL ? "pipeline" : "shimlet";
    berth_buf_init(&body, &r->arena);
    berth_jw_init(&w, &body);
    berth_jw_object(&w);
    berth_jw_key(&w, "type");
    berth_jw_string(&w, type);
    berth_jw_key(&w, strcmp(what, "load") == 0 ? "path" : "name");
    berth_jw_string(&w, word);
    if (berth_arg(args, "replace") != NULL) {
        berth_jw_key(&w, "replace");
        berth_jw_bool(&w, true);
    }
    berth_jw_object_end(&w);
    (void)snprintf(path, sizeof path, "/api/v1/plugins/%s", what);
    const int rc = berth_remote_call(r, "POST", path, NULL, &body, NULL);
    if (rc == BERTH_EXIT_OK)
        (void)printf("%s: %sed\n", word, what);
    return rc;
}

int
berth_run_plugins(const struct berth_args *args)
{
    const char *what = args->word_count > 0 ? args->words[0] : "list";
    const bool list = strcmp(what, "list") == 0;
    const struct berth_json *answer = NULL;
    struct berth_remote r;

    if (!list && strcmp(what, "load") != 0 && strcmp(what, "unload") != 0 &&
        strcmp(what, "reload") != 0)
        return berth_usage(args, "'%s' should be list, load, reload or unload", what);
    if (!list && args->word_count < 2)
        return berth_usage(args, "%s what? give the plugin's %s", what,
                           strcmp(what, "load") == 0 ? "file" : "name");
    int rc = berth_remote_init(&r, args);
    if (rc != BERTH_EXIT_OK)
        return rc;
    if (!list) {
        rc = change_plugin(&r, what, args->words[1]);
    } else {
        rc = berth_remote_call(&r, "GET", "/api/v1/plugins", NULL, NULL, &answer);
        const struct berth_json *data = berth_json_get(answer, "data");
        if (rc == BERTH_EXIT_OK)
            rc = berth_arg(args, "json") != NULL ? berth_service_print(args, data)
                                                 : print_plugins(&r, data);
    }
    berth_remote_fini(&r);
    return rc;
}
