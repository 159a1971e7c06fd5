#include "shimlets/kubernetes/logs.h"

#include <stdio.h>
#include <string.h>

#include "shimlets/kubernetes/state.h"
#include "wire/json.h"

/* What pods printed, one after the other; follow.c goes on from there. */

/* ---- one pod ---- */

enum { LINE_MAX_BYTES = 64 * 1024 /* a longer one comes in pieces */ };

void
kubernetes_log_give(struct kubernetes_log *l, const char *at, size_t len)
{
    l->given = true;
    if (!l->stopped && !l->line(l->arg, l->replica, at, len))
        l->stopped = true;
}

static bool
take_log(void *arg, const char *bytes, size_t len)
{
    struct kubernetes_log *l = arg;

    while (len > 0 && !l->stopped) {
        const char *end = memchr(bytes, '\n', len);
        const size_t n = end != NULL ? (size_t)(end - bytes) : len;
        berth_buf_put(&l->rest, bytes, n);
        if (end != NULL || l->rest.len >= LINE_MAX_BYTES) {
            kubernetes_log_give(l, l->rest.len > 0 ? l->rest.at : "", l->rest.len);
            l->rest.len = 0;
        }
        bytes += n + (end != NULL);
        len -= n + (end != NULL);
    }
    return !l->stopped && !l->rest.failed;
}

int
kubernetes_log_read(struct berth_shimlet *s, const struct berth_kube_until *until,
                    const struct kubernetes_log_query *q, struct kubernetes_log *l,
                    struct berth_err *e)
{
    const struct berth_kube_ref ref = {&berth_kube_pods, s->conf.space, q->pod, "log"};
    struct berth_buf path;
    int r;

    berth_buf_init(&path, NULL);
    berth_kube_path_put(&path, ref.kind, ref.space, ref.name, ref.sub);
    berth_buf_printf(&path, "?follow=%s", q->follow ? "true" : "false");
    if (q->container[0] != '\0')
        berth_buf_printf(&path, "&container=%s", q->container);
    if (q->tail > 0)
        berth_buf_printf(&path, "&tailLines=%u", q->tail);
    if (q->since[0] != '\0')
        berth_buf_printf(&path, "&sinceTime=%s", q->since);
    l->replica = q->pod;
    berth_buf_init(&l->rest, NULL);
    r = berth_buf_text(&path) != NULL ? berth_kube_stream(s->k, until, path.at, take_log, l, e)
                                      : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (l->rest.len > 0)
        kubernetes_log_give(l, l->rest.at, l->rest.len);
    berth_buf_fini(&l->rest);
    berth_buf_fini(&path);
    return l->stopped ? 0 : r; /* who has heard enough is not told how it ended */
}

/* The engine's, where others were put beside it: the one with our port. */
struct berth_slice
kubernetes_log_container(const struct berth_json *pod)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(pod, "spec.containers"));
    struct berth_slice first = {"", 0};

    while (berth_json_next(&it)) {
        struct berth_json_iter port = berth_json_iter(berth_json_get(it.value, "ports"));
        const struct berth_slice name = berth_kube_text(it.value, "name");
        if (first.len == 0)
            first = name;
        while (berth_json_next(&port))
            if (berth_slice_is(berth_kube_text(port.value, "name"), "http"))
                return name;
    }
    return first;
}

/* ---- a unit ---- */

/* One pod after the other.  One that has not begun has no log, which is no reason to keep back the
 * others'. */
static int
read_all(struct berth_shimlet *s, const struct berth_kube_until *until,
         const struct kubernetes_found *f, const struct berth_log_query *q,
         struct kubernetes_log *l, struct berth_err *e)
{
    size_t asked = 0, given = 0;
    int r = 0;

    for (size_t i = 0; i < f->pod_count && !l->stopped && r != -BERTH_ECANCELED; i++) {
        struct kubernetes_log_query one = {
            .pod = berth_kube_text(f->pods[i], "metadata.name").at,
            .container = kubernetes_log_container(f->pods[i]).at,
            .since = "",
            .tail = q->tail_lines,
        };
        if (q->replica != NULL && strcmp(one.pod, q->replica) != 0)
            continue;
        asked++;
        r = kubernetes_log_read(s, until, &one, l, e);
        given += r == 0;
    }
    if (q->replica != NULL && asked == 0)
        return berth_err_set(e, BERTH_ENOENT, "the service has no replica \"%.80s\"", q->replica);
    return r == -BERTH_ECANCELED || given == 0 ? r : 0;
}

int
kubernetes_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                const struct berth_log_query *q,
                bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                void *arg, struct berth_err *e)
{
    struct kubernetes_log l = {.line = line, .arg = arg};
    struct kubernetes_asked asked;
    struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct kubernetes_found f;
    struct berth_arena a;

    if (q->follow)
        return kubernetes_follow(s, op, unit_name, q, &l, e);
    until.deadline_ns = UINT64_MAX; /* a log is as long as it is; cancelled() ends it */
    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = kubernetes_find(s, &a, unit_name, &f, e);
    if (r == 0)
        r = read_all(s, &until, &f, q, &l, e);
    berth_arena_fini(&a);
    return r;
}
