#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "shimlets/kubernetes/state.h"

/* What pods print: one after the other, or all at once while they are followed. */

enum {
    FOLLOWED_MAX = 32, /* each is a thread and a connection */
    LOOK_MS = 100,     /* for an end, while following */
    LIST_MS = 1000,    /* for new pods, while following */
};

/* Who hears the lines, from several pods at once. */
struct hearer {
    bool (*line)(void *arg, const char *replica, const char *text, size_t len);
    void *arg;
    pthread_mutex_t mu; /* line() is called under it: one at a time */
    atomic_bool enough; /* line() said stop */
    struct kubernetes_asked asked;
};

enum { LINE_MAX_BYTES = 64 * 1024 }; /* a longer one comes in pieces */

struct log {
    struct hearer *to;
    const char *replica;
    struct berth_buf rest; /* the begin of a line */
};

static void
give(struct log *l, const char *at, size_t len)
{
    struct hearer *to = l->to;

    (void)pthread_mutex_lock(&to->mu);
    if (!atomic_load(&to->enough) && !to->line(to->arg, l->replica, at, len))
        atomic_store(&to->enough, true);
    (void)pthread_mutex_unlock(&to->mu);
}

static bool
take_log(void *arg, const char *bytes, size_t len)
{
    struct log *l = arg;

    while (len > 0 && !atomic_load(&l->to->enough)) {
        const char *end = memchr(bytes, '\n', len);
        const size_t n = end != NULL ? (size_t)(end - bytes) : len;
        berth_buf_put(&l->rest, bytes, n);
        if (end != NULL || l->rest.len >= LINE_MAX_BYTES) {
            give(l, l->rest.len > 0 ? l->rest.at : "", l->rest.len);
            l->rest.len = 0;
        }
        bytes += n + (end != NULL);
        len -= n + (end != NULL);
    }
    return !atomic_load(&l->to->enough) && !l->rest.failed;
}

/* since_wall_ns: what was printed after that; 0: all. */
static int
log_of(struct berth_shimlet *s, const struct berth_kube_until *until, const char *pod, bool follow,
       uint32_t tail, uint64_t since_wall_ns, struct log *l, struct berth_err *e)
{
    char time[BERTH_TIME_TEXT];
    const struct berth_kube_ref ref = {&berth_kube_pods, s->conf.space, pod, "log"};
    struct berth_buf path;
    int r;

    berth_buf_init(&path, NULL);
    berth_kube_path_put(&path, ref.kind, ref.space, ref.name, ref.sub);
    berth_buf_printf(&path, "?follow=%s", follow ? "true" : "false");
    if (tail > 0)
        berth_buf_printf(&path, "&tailLines=%u", tail);
    if (since_wall_ns > 0)
        berth_buf_printf(&path, "&sinceTime=%s", berth_time_text(since_wall_ns, time));
    l->replica = pod;
    r = berth_buf_text(&path) != NULL ? berth_kube_stream(s->k, until, path.at, take_log, l, e)
                                      : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (l->rest.len > 0)
        give(l, l->rest.at, l->rest.len);
    l->rest.len = 0;
    berth_buf_fini(&path);
    return atomic_load(&l->to->enough) ? 0 : r; /* who has heard enough is not told how it ended */
}

/* ---- following ---- */

struct followed {
    struct berth_shimlet *s;
    struct hearer *to;
    struct berth_kube_until until;
    char pod[254];
    uint32_t tail;
    uint64_t since_wall_ns; /* it ended then, and goes on: its container was started again */
    pthread_t thread;
    bool used;
    atomic_bool ended;
};

static bool
is_over(void *arg)
{
    const struct hearer *to = arg;

    return atomic_load(&to->enough) || to->asked.h->cancelled(to->asked.op);
}

static void *
follow_one(void *arg)
{
    struct followed *d = arg;
    struct log l = {.to = d->to};
    struct berth_err e;

    berth_buf_init(&l.rest, NULL);
    /* It ends with its container, and fails while that is made: then it is tried again. */
    if (log_of(d->s, &d->until, d->pod, true, d->tail, d->since_wall_ns, &l, &e) == 0)
        d->since_wall_ns = berth_wall_ns();
    berth_buf_fini(&l.rest);
    atomic_store(&d->ended, true);
    return NULL;
}

/* The place for a pod; NULL: it is followed already, or (*ret_full) there is none. */
static struct followed *
place_for(struct followed *all, const char *pod, bool *ret_full)
{
    struct followed *free_one = NULL;

    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        struct followed *d = &all[i];
        const bool same = strcmp(d->pod, pod) == 0;
        if (d->used && !atomic_load(&d->ended)) {
            if (same)
                return NULL;
            continue;
        }
        if (same)
            return d;
        if (free_one == NULL || d->pod[0] == '\0')
            free_one = d;
    }
    *ret_full = free_one == NULL;
    return free_one;
}

static int
begin(struct followed *all, struct berth_shimlet *s, struct hearer *to, const char *pod,
      uint32_t tail, struct berth_err *e)
{
    bool full = false;
    struct followed *d = place_for(all, pod, &full);

    if (full)
        return berth_err_set(e, BERTH_ELIMIT, "kubernetes: %d pods are followed at once; name one",
                             FOLLOWED_MAX);
    if (d == NULL || strlen(pod) >= sizeof d->pod)
        return 0;
    if (d->used)
        (void)pthread_join(d->thread, NULL);
    d->used = false;
    if (strcmp(d->pod, pod) != 0)
        d->since_wall_ns = 0;
    d->s = s;
    d->to = to;
    d->until =
        (struct berth_kube_until){.deadline_ns = UINT64_MAX, .cancelled = is_over, .arg = to};
    d->tail = d->since_wall_ns > 0 ? 0 : tail;
    (void)snprintf(d->pod, sizeof d->pod, "%s", pod);
    atomic_store(&d->ended, false);
    if (pthread_create(&d->thread, NULL, follow_one, d) != 0)
        return berth_err_set(e, BERTH_ELIMIT, "kubernetes: no thread to be had");
    d->used = true;
    return 0;
}

/* Until there may be new pods; false: it is over. */
static bool
wait_on(struct hearer *to)
{
    static const struct timespec some = {.tv_nsec = LOOK_MS * 1000000};

    for (int ms = 0; ms < LIST_MS && !is_over(to); ms += LOOK_MS)
        (void)nanosleep(&some, NULL);
    return !is_over(to);
}

/* Pods come and go while somebody reads; where they are is in memory, and asks nobody. */
static int
follow_all(struct berth_shimlet *s, struct hearer *to, const char *unit_name,
           const struct berth_log_query *q, struct berth_err *e)
{
    struct followed *all = calloc(FOLLOWED_MAX, sizeof *all);
    uint32_t tail = q->tail_lines;
    int r = 0;

    if (all == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "kubernetes: out of memory");
    do {
        struct kubernetes_found f;
        struct berth_arena a;

        berth_arena_init(&a, KUBERNETES_ARENA_MAX);
        r = kubernetes_find(s, &a, unit_name, &f, e);
        for (size_t i = 0; r == 0 && i < f.pod_count; i++) {
            if (!kubernetes_pod_is_over(f.pods[i]))
                r = begin(all, s, to, berth_kube_text(f.pods[i], "metadata.name").at, tail, e);
        }
        berth_arena_fini(&a);
        tail = 0; /* of those that come later, everything */
    } while (r == 0 && wait_on(to));
    atomic_store(&to->enough, true);
    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        if (all[i].used)
            (void)pthread_join(all[i].thread, NULL);
    }
    free(all);
    return r;
}

static int
tell_all(struct berth_shimlet *s, struct hearer *to, const struct berth_kube_until *until,
         const char *unit_name, const struct berth_log_query *q, struct berth_err *e)
{
    struct log l = {.to = to};
    struct kubernetes_found f;
    struct berth_arena a;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    berth_buf_init(&l.rest, NULL);
    int r = q->replica != NULL ? log_of(s, until, q->replica, q->follow, q->tail_lines, 0, &l, e)
                               : kubernetes_find(s, &a, unit_name, &f, e);
    for (size_t i = 0; q->replica == NULL && r == 0 && i < f.pod_count && !is_over(to); i++)
        r = log_of(s, until, berth_kube_text(f.pods[i], "metadata.name").at, false, q->tail_lines,
                   0, &l, e);
    berth_buf_fini(&l.rest);
    berth_arena_fini(&a);
    return r;
}

/* One after the other; with follow, all of them as they print, and those that come. */
int
kubernetes_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                const struct berth_log_query *q,
                bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                void *arg, struct berth_err *e)
{
    struct hearer to = {.line = line, .arg = arg};
    struct berth_kube_until until = kubernetes_until(s, op, &to.asked);
    int r;

    if (q->follow)
        until.deadline_ns = UINT64_MAX; /* cancelled() ends it */
    (void)pthread_mutex_init(&to.mu, NULL);
    r = q->follow && q->replica == NULL ? follow_all(s, &to, unit_name, q, e)
                                        : tell_all(s, &to, &until, unit_name, q, e);
    (void)pthread_mutex_destroy(&to.mu);
    return r;
}
