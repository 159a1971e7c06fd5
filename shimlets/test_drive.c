#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <berth/shimlet.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "shimlets/shimlets.h"
#include "wire/json.h"

/*
 * A host for one shimlet that is told what to do line by line, so that scenarios can show what a
 * shimlet does to a real environment:
 *
 *   test_shimlet_drive NAME SETTINGS-JSON OWNER [STATE-DIR]
 *
 * Each line of standard input is {"op": "apply", "unit": {...}, "timeout_ms": 30000} or another
 * operation with the unit's "name"; it is answered by one line {"op", "r", "error", ...}.  What the
 * shimlet tells by itself comes as {"event": "changed" | "drain" | "log" | "note", "what": ...}.
 */

struct berth_op {
    uint64_t until_ns;
    uint64_t drain_ns; /* how long draining a replica takes */
};

static pthread_mutex_t out_mu = PTHREAD_MUTEX_INITIALIZER; /* of standard output */

static void
say(struct berth_buf *b)
{
    (void)pthread_mutex_lock(&out_mu);
    (void)fwrite(b->at, 1, b->len, stdout);
    (void)putchar('\n');
    (void)fflush(stdout);
    (void)pthread_mutex_unlock(&out_mu);
}

/* ---- the host ---- */

static void
event(const char *name, const char *what)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "event");
    berth_jw_string(&w, name);
    berth_jw_key(&w, "what");
    berth_jw_string(&w, what);
    berth_jw_object_end(&w);
    say(&b);
    berth_buf_fini(&b);
}

static void
host_log(enum berth_log_level level, const char *msg)
{
    event("log", msg);
}

static bool
host_cancelled(const struct berth_op *op)
{
    return berth_now_ns() >= op->until_ns;
}

static uint64_t
host_left_ns(const struct berth_op *op)
{
    const uint64_t now_ns = berth_now_ns();

    return op->until_ns > now_ns ? op->until_ns - now_ns : 0;
}

static void
host_note(const struct berth_op *op, const char *text)
{
    event("note", text);
}

static int
host_drain(const struct berth_op *op, const char *replica_id, uint64_t limit_ns)
{
    const struct timespec took = {.tv_sec = (time_t)(op->drain_ns / BERTH_S),
                                  .tv_nsec = (long)(op->drain_ns % BERTH_S)};

    event("drain", replica_id);
    (void)nanosleep(&took, NULL);
    return 0;
}

static int
host_probe(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EUNSUPPORTED, "no probes here");
}

static void
host_changed(void *who, const char *service_id)
{
    event("changed", service_id);
}

static const struct berth_shimlet_host host = {
    .struct_size = sizeof host,
    .log = host_log,
    .cancelled = host_cancelled,
    .left_ns = host_left_ns,
    .note = host_note,
    .drain = host_drain,
    .probe = host_probe,
    .changed = host_changed,
};

/* ---- reading a line ---- */

static const char *
text(const struct berth_json *v, const char *key, const char *otherwise)
{
    struct berth_slice s;

    return berth_json_string(berth_json_get(v, key), &s) ? s.at : otherwise;
}

static uint64_t
number(const struct berth_json *v, const char *key, uint64_t otherwise)
{
    uint64_t n;

    return berth_json_uint(berth_json_get(v, key), &n) ? n : otherwise;
}

static const char *
raw(struct berth_arena *a, const struct berth_json *v, const char *key)
{
    const struct berth_json *at = berth_json_get(v, key);
    struct berth_buf b;

    if (at == NULL)
        return NULL;
    berth_buf_init(&b, a);
    berth_json_put(&b, at);
    return berth_buf_text(&b);
}

static const struct berth_pair *
pairs(struct berth_arena *a, const struct berth_json *v, size_t *ret)
{
    struct berth_pair *list = BERTH_NEW_N(a, struct berth_pair, berth_json_len(v) + 1);
    struct berth_json_iter it = berth_json_iter(v);
    struct berth_slice s;

    *ret = 0;
    while (list != NULL && berth_json_next(&it))
        if (berth_json_string(it.value, &s))
            list[(*ret)++] = (struct berth_pair){it.key.at, s.at};
    return list;
}

static const char *const *
strings(struct berth_arena *a, const struct berth_json *v)
{
    const char **list = BERTH_NEW_N(a, const char *, berth_json_len(v) + 1);
    struct berth_json_iter it = berth_json_iter(v);
    struct berth_slice s;
    size_t n = 0;

    while (list != NULL && berth_json_next(&it))
        if (berth_json_string(it.value, &s))
            list[n++] = s.at;
    return v != NULL ? list : NULL;
}

static struct berth_unit
unit(struct berth_arena *a, const struct berth_json *v)
{
    struct berth_unit u = {
        .struct_size = sizeof u,
        .name = text(v, "name", "unit"),
        .service_id = text(v, "service_id", "service"),
        .track = text(v, "track", "stable"),
        .revision = number(v, "revision", 1),
        .hash = text(v, "hash", "0"),
        .replicas = (uint32_t)number(v, "replicas", 1),
        .model_name = text(v, "model_name", "model"),
        .model_path = text(v, "model_path", NULL),
        .image = text(v, "image", NULL),
        .command = strings(a, berth_json_get(v, "command")),
        .port = (uint16_t)number(v, "port", 0),
        .cpu_milli = number(v, "cpu_milli", 0),
        .memory_bytes = number(v, "memory_bytes", 0),
        .accelerator_count = (uint32_t)number(v, "accelerator_count", 0),
        .accelerator_resource = text(v, "accelerator_resource", NULL),
        .accelerator_product = text(v, "accelerator_product", NULL),
        .health_path = text(v, "health_path", "/health"),
        .start_timeout_ns = number(v, "start_timeout_ms", 300000) * BERTH_MS,
        .drain_timeout_ns = number(v, "drain_timeout_ms", 1000) * BERTH_MS,
        .surge_max = (uint32_t)number(v, "surge_max", 1),
        .unavailable_max = (uint32_t)number(v, "unavailable_max", 0),
        .workload = text(v, "workload", "Deployment"),
        .scale_min = (uint32_t)number(v, "scale_min", 0),
        .scale_max = (uint32_t)number(v, "scale_max", 0),
        .scale_cpu_percent = (uint32_t)number(v, "scale_cpu_percent", 0),
        .settings_json = raw(a, v, "settings"),
        .spec_json = raw(a, v, "spec"),
    };

    u.env = pairs(a, berth_json_get(v, "env"), &u.env_count);
    u.labels = pairs(a, berth_json_get(v, "labels"), &u.label_count);
    return u;
}

/* ---- answering ---- */

static void
tell_status(void *arg, const struct berth_observed *seen)
{
    static const char *const states[] = {"starting", "ready", "failed", "stopping"};
    struct berth_jw *w = arg;

    berth_jw_key(w, "exists");
    berth_jw_bool(w, seen->exists);
    berth_jw_key(w, "drifted");
    berth_jw_bool(w, seen->drifted);
    berth_jw_pair(w, "hash", seen->hash);
    berth_jw_pair_uint(w, "desired", seen->replicas_desired);
    berth_jw_pair(w, "endpoint", seen->endpoint);
    berth_jw_pair(w, "message", seen->message);
    berth_jw_key(w, "replicas");
    berth_jw_array(w);
    for (size_t i = 0; i < seen->replica_count; i++) {
        const struct berth_replica *r = &seen->replicas[i];
        berth_jw_object(w);
        berth_jw_pair(w, "id", r->id);
        berth_jw_pair(w, "hash", r->hash);
        berth_jw_pair_uint(w, "revision", r->revision);
        berth_jw_pair(w, "state", states[r->state]);
        berth_jw_pair(w, "endpoint", r->endpoint);
        berth_jw_pair(w, "reason", r->reason);
        berth_jw_pair(w, "node", r->node);
        berth_jw_pair_uint(w, "restarts", r->restarts);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
tell_listed(void *arg, const struct berth_listed *one)
{
    struct berth_jw *w = arg;

    berth_jw_object(w);
    berth_jw_pair(w, "service_id", one->service_id);
    berth_jw_pair(w, "track", one->track);
    berth_jw_pair(w, "name", one->name);
    berth_jw_pair(w, "hash", one->hash);
    berth_jw_object_end(w);
}

static void
tell_text(void *arg, const char *json, size_t len)
{
    struct berth_jw *w = arg;

    berth_jw_key(w, "objects");
    berth_jw_raw(w, json, len);
}

static bool
tell_line(void *arg, const char *replica, const char *line, size_t len)
{
    struct berth_jw *w = arg;

    berth_jw_object(w);
    berth_jw_pair(w, "replica", replica);
    berth_jw_key(w, "text");
    berth_jw_string_n(w, line, len);
    berth_jw_object_end(w);
    return true;
}

static int
tell_resources(const struct berth_shimlet_ops *ops, struct berth_shimlet *s,
               const struct berth_op *op, struct berth_jw *w, struct berth_err *e)
{
    struct berth_resources r = {.struct_size = sizeof r};
    const int got = ops->resources(s, op, &r, e);

    if (got == 0) {
        berth_jw_pair_uint(w, "cpu_milli_total", r.cpu_milli_total);
        berth_jw_pair_uint(w, "cpu_milli_free", r.cpu_milli_free);
        berth_jw_pair_uint(w, "memory_bytes_total", r.memory_bytes_total);
        berth_jw_pair_uint(w, "memory_bytes_free", r.memory_bytes_free);
        berth_jw_pair_uint(w, "accelerators_total", r.accelerators_total);
        berth_jw_pair_uint(w, "accelerators_free", r.accelerators_free);
    }
    return got;
}

static bool
is(const struct berth_json *line, const char *op)
{
    return strcmp(text(line, "op", ""), op) == 0;
}

/* The operations that collect a list. */
static int
run_list(const struct berth_shimlet_ops *ops, struct berth_shimlet *s, const struct berth_op *op,
         const struct berth_json *line, struct berth_jw *w, struct berth_err *e)
{
    struct berth_log_query q = {.replica = text(line, "replica", NULL),
                                .tail_lines = (uint32_t)number(line, "tail", 0)};
    int r;

    (void)berth_json_bool(berth_json_get(line, "follow"), &q.follow);
    berth_jw_key(w, "items");
    berth_jw_array(w);
    r = is(line, "list") ? ops->list(s, op, tell_listed, w, e)
                         : ops->logs(s, op, text(line, "name", ""), &q, tell_line, w, e);
    berth_jw_array_end(w);
    return r;
}

static int
run(const struct berth_shimlet_ops *ops, struct berth_shimlet *s, struct berth_arena *a,
    const struct berth_json *line, struct berth_jw *w, struct berth_err *e)
{
    const struct berth_op op = {.until_ns =
                                    berth_now_ns() + number(line, "timeout_ms", 60000) * BERTH_MS,
                                .drain_ns = number(line, "drain_ms", 0) * BERTH_MS};
    const struct berth_unit u = unit(a, berth_json_get(line, "unit"));
    const char *name = text(line, "name", "");
    uint32_t held = 0;
    bool drain = true;
    int r;

    if (is(line, "apply"))
        return ops->apply(s, &op, &u, e);
    if (is(line, "remove"))
        return ops->remove(s, &op, name, e);
    if (is(line, "status"))
        return ops->status(s, &op, name, tell_status, w, e);
    if (is(line, "list") || is(line, "logs"))
        return run_list(ops, s, &op, line, w, e);
    if (is(line, "check"))
        return ops->check(s, &op, &u, e);
    if (is(line, "render"))
        return ops->render(s, &op, &u, tell_text, w, e);
    if (is(line, "resources"))
        return tell_resources(ops, s, &op, w, e);
    if (is(line, "held")) {
        r = ops->held(s, &op, name, &held, e);
        berth_jw_pair_uint(w, "held", held);
        return r;
    }
    (void)berth_json_bool(berth_json_get(line, "drain"), &drain);
    return is(line, "node") ? ops->node(s, &op, name, drain, e)
                            : berth_err_set(e, BERTH_EINVAL, "no such operation");
}

static void
answer(const struct berth_shimlet_ops *ops, struct berth_shimlet *s, const char *line, size_t len)
{
    const struct berth_json *doc;
    struct berth_err e = {{0}};
    struct berth_arena a;
    struct berth_buf b;
    struct berth_jw w;

    berth_arena_init(&a, 16 << 20);
    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    int r = berth_json_parse(&a, line, len, NULL, &doc, &e);
    if (r == 0) {
        berth_jw_pair(&w, "op", text(doc, "op", ""));
        r = run(ops, s, &a, doc, &w, &e);
    }
    berth_jw_key(&w, "r");
    berth_jw_int(&w, r);
    berth_jw_pair(&w, "error", r < 0 ? e.msg : NULL);
    berth_jw_object_end(&w);
    say(&b);
    berth_buf_fini(&b);
    berth_arena_fini(&a);
}

int
main(int argc, char **argv)
{
    const struct berth_shimlet_ops *ops = NULL;
    struct berth_shimlet *s = NULL;
    struct berth_err e = {{0}};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    for (size_t i = 0; argc >= 4 && berth_shimlets_builtin[i] != NULL; i++)
        if (strcmp(berth_shimlets_builtin[i]->name, argv[1]) == 0)
            ops = berth_shimlets_builtin[i];
    if (ops == NULL) {
        (void)fprintf(stderr, "usage: test_shimlet_drive NAME SETTINGS-JSON OWNER [STATE-DIR]\n");
        return 2;
    }
    const struct berth_shimlet_open how = {.struct_size = sizeof how,
                                           .settings_json = argv[2],
                                           .owner = argv[3],
                                           .state_dir = argc > 4 ? argv[4] : NULL,
                                           .program = "berth"};
    if (ops->open(&host, &how, &s, &e) < 0) {
        event("failed", e.msg);
        return 1;
    }
    event("open", ops->name);
    while ((n = getline(&line, &cap, stdin)) > 0)
        answer(ops, s, line, (size_t)n);
    free(line);
    ops->close(s);
    return 0;
}
