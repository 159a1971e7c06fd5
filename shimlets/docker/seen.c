#include "shimlets/docker/docker_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"
#include "shimlets/docker/stream.h"
#include "wire/json.h"
#include "wire/uri.h"

enum {
    CONTAINERS_MAX = 4096, /* of one unit */
    LOOPS = 3,             /* restarts after which one that is not ready is said to crash */
};

/* ---- reading ---- */

const char *
berth_docker_label_of(const struct berth_shimlet *s, const struct berth_json *labels,
                      const char *key)
{
    struct berth_slice v;
    char label[160];

    (void)snprintf(label, sizeof label, "%s.%s", s->conf.label_prefix, key);
    return berth_json_string(berth_json_get(labels, label), &v) ? v.at : NULL;
}

uint64_t
berth_docker_label_number(const struct berth_shimlet *s, const struct berth_json *labels,
                          const char *key)
{
    const char *text = berth_docker_label_of(s, labels, key);
    int64_t v;

    return text != NULL && berth_int_parse(text, strlen(text), 0, INT64_MAX, &v) ? (uint64_t)v : 0;
}

static const char *
text_of(const struct berth_json *v, const char *key)
{
    struct berth_slice s;

    return berth_json_string(berth_json_get(v, key), &s) ? s.at : "";
}

static bool
true_of(const struct berth_json *v, const char *key)
{
    bool is = false;

    return berth_json_bool(berth_json_get(v, key), &is) && is;
}

static uint64_t
uint_of(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

int
berth_docker_list(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                  struct berth_arena *a, const struct berth_json **ret, struct berth_err *e)
{
    struct berth_buf path;

    berth_buf_init(&path, a);
    berth_buf_puts(&path, "/containers/json?all=1&");
    const int r = berth_docker_filters(&s->conf, unit_name, a, &path, e);
    const struct berth_docker_ask ask = {.path = berth_buf_text(&path), .op = op};
    if (r < 0)
        return r;
    if (ask.path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    return berth_docker_ask(s->g, &ask, a, ret, e);
}

/* ---- judging ---- */

struct look {
    struct berth_shimlet *s;
    const struct berth_op *op;
    struct berth_arena *a;
    const char *unit;
};

/* "ended with status 3", "ended by signal 9 (Killed)", "out of memory ...", with the last line. */
static const char *
end_reason(const struct look *k, const struct berth_docker_seen *c, const struct berth_json *state)
{
    const uint64_t code = uint_of(state, "ExitCode");
    const char *error = text_of(state, "Error");
    const char *last = berth_docker_last_lines(k->s, k->op, c->id, k->a);
    struct berth_buf b;

    berth_buf_init(&b, k->a);
    if (true_of(state, "OOMKilled"))
        berth_buf_printf(&b, "took more memory than its limit of %llu MiB and was killed",
                         (unsigned long long)(c->memory_limit >> 20));
    else if (error[0] != '\0')
        berth_buf_printf(&b, "cannot start: %.300s", error);
    else if (code > 128 && code < 128 + 65)
        berth_buf_printf(&b, "ended by signal %u (%s)", (unsigned)(code - 128),
                         sigdescr_np((int)(code - 128)) != NULL ? sigdescr_np((int)(code - 128))
                                                                : "unknown");
    else
        berth_buf_printf(&b, "ended with status %llu", (unsigned long long)code);
    if (c->restarts > 0)
        berth_buf_printf(&b, ", restarted %u times", c->restarts);
    if (last != NULL)
        berth_buf_printf(&b, "; its last lines: %s", last);
    return berth_buf_text(&b);
}

/* Its figures, asked for at most every 10 s, and only where the daemon answers at once. */
static void
measure(const struct look *k, struct berth_docker_seen *c, struct berth_docker_verdict *v)
{
    const struct berth_json *root;
    struct berth_arena a;

    if (v->measure && berth_docker_engine_is_at_least(k->s->g, 41)) {
        berth_arena_init(&a, 1024 * 1024);
        const struct berth_docker_ask ask = {
            .path =
                berth_arena_printf(&a, "/containers/%s/stats?stream=false&one-shot=true", c->id),
            .op = k->op,
        };
        if (ask.path != NULL && berth_docker_ask(k->s->g, &ask, &a, &root, NULL) == 0) {
            const struct berth_json *memory = berth_json_get(root, "memory_stats");
            const struct berth_json *stats = berth_json_get(memory, "stats");
            const struct berth_json *cpu = berth_json_get(root, "cpu_stats");
            const uint64_t used = uint_of(memory, "usage");
            /* Pages of files that the kernel can drop at once: by both versions' names. */
            const uint64_t old = uint_of(stats, "total_inactive_file");
            const uint64_t file = old > 0 ? old : uint_of(stats, "inactive_file");
            berth_docker_health_measured(k->s->health, c->id, used > file ? used - file : used,
                                         uint_of(berth_json_get(cpu, "cpu_usage"), "total_usage"),
                                         v);
        }
        berth_arena_fini(&a);
    }
    c->memory_bytes = v->memory_bytes;
    c->cpu_milli = v->cpu_milli;
}

/* One that runs: does it answer? */
static int
judge_running(const struct look *k, struct berth_docker_seen *c, const struct berth_json *labels,
              const struct berth_json *state, struct berth_err *e)
{
    const char *path = berth_docker_label_of(k->s, labels, "health");
    const char *service = berth_docker_label_of(k->s, labels, "service");
    const char *url =
        path != NULL && c->endpoint != NULL
            ? berth_arena_printf(k->a, "%s%s%s", c->endpoint, path[0] == '/' ? "" : "/", path)
            : NULL;
    const struct berth_docker_patient p = {
        .id = c->id,
        .run = text_of(state, "StartedAt"),
        .url = url,
        .service_id = service != NULL ? service : "",
        .unit = k->unit,
        .start_timeout_ns = c->start_ns,
    };
    struct berth_docker_verdict v;
    const int r = berth_docker_health_see(k->s->health, &p, &v, e);

    if (r < 0)
        return r;
    c->running = true;
    if (v.ready) { /* what it takes while it starts says nothing of what it will take */
        measure(k, c, &v);
        c->state = BERTH_REPLICA_READY;
        return 0;
    }
    c->state = v.overdue || c->restarts >= LOOPS ? BERTH_REPLICA_FAILED : BERTH_REPLICA_STARTING;
    if (v.overdue)
        c->need = BERTH_DOCKER_NEEDS_RESTART;
    c->reason =
        c->restarts >= LOOPS
            ? berth_arena_printf(k->a, "restarted %u times, not ready: %s", c->restarts, v.why)
            : berth_arena_printf(k->a, "%s for %llu s of at most %llu s: %s",
                                 v.was_ready ? "does not answer any more,"
                                 : v.overdue ? "not ready"
                                             : "starting",
                                 (unsigned long long)(v.for_ns / BERTH_S),
                                 (unsigned long long)(c->start_ns / BERTH_S), v.why);
    return 0;
}

/* What the daemon's word for it means. */
static int
judge(const struct look *k, struct berth_docker_seen *c, const struct berth_json *root,
      const struct berth_json *labels, struct berth_err *e)
{
    const struct berth_json *state = berth_json_get(root, "State");
    const char *status = text_of(state, "Status");

    c->state = BERTH_REPLICA_FAILED;
    if (strcmp(status, "running") == 0)
        return judge_running(k, c, labels, state, e);
    if (strcmp(status, "created") == 0) {
        const char *error = text_of(state, "Error");
        c->need = BERTH_DOCKER_NEEDS_START;
        c->state = error[0] != '\0' ? BERTH_REPLICA_FAILED : BERTH_REPLICA_STARTING;
        c->reason =
            error[0] != '\0' ? berth_arena_printf(k->a, "cannot start: %.300s", error) : NULL;
    } else if (strcmp(status, "restarting") == 0) {
        c->state = c->restarts >= LOOPS ? BERTH_REPLICA_FAILED : BERTH_REPLICA_STARTING;
        c->reason = end_reason(k, c, state);
    } else if (strcmp(status, "paused") == 0) {
        c->need = BERTH_DOCKER_NEEDS_UNPAUSE;
        c->reason = "paused by somebody";
    } else if (strcmp(status, "removing") == 0 || strcmp(status, "dead") == 0) {
        c->need = BERTH_DOCKER_NEEDS_REMOVAL;
        c->state = BERTH_REPLICA_STOPPING;
    } else { /* "exited": what crashes is restarted by the daemon, so somebody stopped it */
        c->need = BERTH_DOCKER_NEEDS_START;
        c->reason = end_reason(k, c, state);
    }
    return 0;
}

/* "http://127.0.0.1:21000"; NULL: no port is known. */
static const char *
endpoint_of(const struct look *k, uint64_t port)
{
    const char *address = k->s->conf.address;

    if (port == 0 || port > 65535)
        return NULL;
    if (strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0)
        address = berth_docker_engine_host(k->s->g);
    const bool six = strchr(address, ':') != NULL && address[0] != '[';
    return berth_arena_printf(k->a, "http://%s%s%s:%u", six ? "[" : "", address, six ? "]" : "",
                              (unsigned)port);
}

/* Fill in from what GET /containers/ID/json says. */
static int
fill(const struct look *k, const struct berth_json *root, struct berth_docker_seen *c,
     struct berth_err *e)
{
    const struct berth_json *labels = berth_json_get(berth_json_get(root, "Config"), "Labels");
    const struct berth_json *host = berth_json_get(root, "HostConfig");
    const char *name = text_of(root, "Name"), *hash = berth_docker_label_of(k->s, labels, "hash");

    c->name = name[0] == '/' ? name + 1 : name;
    c->hash = hash != NULL ? hash : "";
    c->revision = berth_docker_label_number(k->s, labels, "revision");
    c->index = (uint32_t)berth_docker_label_number(k->s, labels, "replica");
    c->start_ns = berth_docker_label_number(k->s, labels, "start_ms") * BERTH_MS;
    c->drain_ns = berth_docker_label_number(k->s, labels, "drain_ms") * BERTH_MS;
    c->accelerators = (uint32_t)berth_docker_label_number(k->s, labels, "accelerators");
    c->cpu_milli_limit = berth_docker_label_number(k->s, labels, "cpu_milli");
    c->memory_limit = berth_docker_label_number(k->s, labels, "memory_bytes");
    c->limits_changed =
        (c->memory_limit > 0 && uint_of(host, "Memory") != c->memory_limit) ||
        (c->cpu_milli_limit > 0 && uint_of(host, "NanoCpus") != c->cpu_milli_limit * 1000000);
    c->restarts = (uint32_t)uint_of(root, "RestartCount");
    c->endpoint = endpoint_of(k, berth_docker_label_number(k->s, labels, "port"));
    return judge(k, c, root, labels, e);
}

static int
inspect(const struct look *k, const char *id, struct berth_docker_seen *c, struct berth_err *e)
{
    const struct berth_docker_ask ask = {
        .path = berth_arena_printf(k->a, "/containers/%s/json", id),
        .op = k->op,
    };
    const struct berth_json *root = NULL;

    if (ask.path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    *c = (struct berth_docker_seen){.id = id};
    (void)snprintf(c->short_id, sizeof c->short_id, "%.12s", id);
    const int r = berth_docker_ask(k->s->g, &ask, k->a, &root, e);
    return r < 0 ? r : fill(k, root, c, e);
}

static int
by_index(const void *x, const void *y)
{
    const struct berth_docker_seen *a = x, *b = y;

    if (a->index != b->index)
        return a->index < b->index ? -1 : 1;
    return a->revision < b->revision ? -1 : a->revision > b->revision;
}

static bool
is_id(const char *id)
{
    return strlen(id) == BERTH_DOCKER_ID && strspn(id, "0123456789abcdef") == BERTH_DOCKER_ID;
}

int
berth_docker_look(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                  struct berth_arena *a, struct berth_docker_seen **ret, size_t *ret_count,
                  struct berth_err *e)
{
    const struct look k = {.s = s, .op = op, .a = a, .unit = unit_name};
    const struct berth_json *listed;
    size_t n = 0;
    int r = berth_docker_list(s, op, unit_name, a, &listed, e);

    if (r < 0)
        return r;
    const size_t max = berth_json_len(listed);
    if (max > CONTAINERS_MAX)
        return berth_err_set(e, BERTH_ELIMIT, "docker: %zu containers of %s; %d are looked after",
                             max, unit_name, CONTAINERS_MAX);
    struct berth_docker_seen *seen = BERTH_NEW_N(a, struct berth_docker_seen, max + 1);
    const char **ids = BERTH_NEW_N(a, const char *, max + 1);
    if (seen == NULL || ids == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    for (struct berth_json_iter it = berth_json_iter(listed); berth_json_next(&it);) {
        const char *id = text_of(it.value, "Id");

        if (!is_id(id))
            continue;
        r = inspect(&k, id, &seen[n], e);
        if (r == -BERTH_ENOENT) /* gone since it was listed */
            continue;
        if (r < 0)
            return r;
        if (!seen[n].running)
            berth_docker_health_forget(s->health, id);
        ids[n++] = id;
    }
    berth_docker_health_keep(s->health, unit_name, ids, n);
    qsort(seen, n, sizeof *seen, by_index);
    *ret = seen;
    *ret_count = n;
    return 0;
}
