#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "shimlets/kubernetes/state.h"
#include "wire/json.h"

/* What pods printed: one after the other, or several at once as it comes. */

/* ---- one pod ---- */

enum {
    LINE_MAX_BYTES = 64 * 1024, /* a longer one comes in pieces */
    FOLLOWED_MAX = 16,          /* pods at once; a thread and a connection each */
    SLICE_MS = 50,              /* how often the caller is asked whether it may go on */
};

struct log {
    bool (*line)(void *arg, const char *replica, const char *text, size_t len);
    void *arg;
    const char *replica;
    struct berth_buf rest; /* the begin of a line */
    bool stopped;
};

static void
give(struct log *l, const char *at, size_t len)
{
    if (!l->stopped && !l->line(l->arg, l->replica, at, len))
        l->stopped = true;
}

static bool
take_log(void *arg, const char *bytes, size_t len)
{
    struct log *l = arg;

    while (len > 0 && !l->stopped) {
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
    return !l->stopped && !l->rest.failed;
}

static int
log_of(struct berth_shimlet *s, const struct berth_kube_until *until, const char *pod, bool follow,
       uint32_t tail, struct log *l, struct berth_err *e)
{
    const struct berth_kube_ref ref = {&berth_kube_pods, s->conf.space, pod, "log"};
    struct berth_buf path;
    int r;

    berth_buf_init(&path, NULL);
    berth_kube_path_put(&path, ref.kind, ref.space, ref.name, ref.sub);
    berth_buf_printf(&path, "?follow=%s", follow ? "true" : "false");
    if (tail > 0)
        berth_buf_printf(&path, "&tailLines=%u", tail);
    l->replica = pod;
    berth_buf_init(&l->rest, NULL);
    r = berth_buf_text(&path) != NULL ? berth_kube_stream(s->k, until, path.at, take_log, l, e)
                                      : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (l->rest.len > 0)
        give(l, l->rest.at, l->rest.len);
    berth_buf_fini(&l->rest);
    berth_buf_fini(&path);
    return l->stopped ? 0 : r; /* who has heard enough is not told how it ended */
}

/* ---- several at once ---- */

/* A thread for each pod reads its log; the caller's own hands the lines on, so that it is called on
 * that thread alone. */
struct follow {
    struct berth_shimlet *s;
    uint32_t tail;
    pthread_mutex_t mu;
    pthread_cond_t cond; /* anything below has changed; CLOCK_MONOTONIC */
    /* Under mu. */
    const char *replica, *at; /* the line that is handed over, its thread's until it is taken */
    size_t len;
    uint64_t given, taken; /* lines; at most one is between them */
    size_t running;        /* threads */
    size_t ended_well;
    bool stop;
    int r; /* the first failure, and why */
    struct berth_err why;
};

struct follower {
    struct follow *f;
    const char *pod;
    pthread_t thread;
};

static bool
is_stopped(void *arg)
{
    struct follow *f = arg;

    (void)pthread_mutex_lock(&f->mu);
    const bool stop = f->stop;
    (void)pthread_mutex_unlock(&f->mu);
    return stop;
}

static bool
hand_over(void *arg, const char *replica, const char *text, size_t len)
{
    struct follow *f = arg;

    (void)pthread_mutex_lock(&f->mu);
    while (f->given != f->taken && !f->stop)
        (void)pthread_cond_wait(&f->cond, &f->mu);
    if (!f->stop) {
        f->replica = replica;
        f->at = text;
        f->len = len;
        const uint64_t mine = ++f->given;
        (void)pthread_cond_broadcast(&f->cond);
        while (f->taken < mine && !f->stop)
            (void)pthread_cond_wait(&f->cond, &f->mu);
    }
    const bool go_on = !f->stop;
    (void)pthread_mutex_unlock(&f->mu);
    return go_on;
}

static void *
follow_one(void *arg)
{
    struct follower *x = arg;
    struct follow *f = x->f;
    const struct berth_kube_until until = {
        .deadline_ns = UINT64_MAX, .cancelled = is_stopped, .arg = f};
    struct log l = {.line = hand_over, .arg = f};
    struct berth_err e = {{0}};

    const int r = log_of(f->s, &until, x->pod, true, f->tail, &l, &e);
    (void)pthread_mutex_lock(&f->mu);
    f->running--;
    f->ended_well += r == 0;
    if (r < 0 && f->r == 0) {
        f->r = r;
        f->why = e;
    }
    (void)pthread_cond_broadcast(&f->cond);
    (void)pthread_mutex_unlock(&f->mu);
    return NULL;
}

/* Until all logs have ended, nobody wants to hear more, or the caller is cancelled.  mu is held. */
static int
hand_on_locked(struct follow *f, const struct berth_op *op, struct log *l)
{
    int r = 0;

    while (f->running > 0) {
        const uint64_t at_ns = berth_now_ns() + SLICE_MS * BERTH_MS;
        const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                    .tv_nsec = (long)(at_ns % BERTH_S)};
        const bool line = f->given != f->taken && !f->stop;
        if (!line)
            (void)pthread_cond_timedwait(&f->cond, &f->mu, &at);
        (void)pthread_mutex_unlock(&f->mu); /* what follows is others' functions */
        if (line) {
            l->replica = f->replica; /* they stay until it is taken */
            give(l, f->at, f->len);
        }
        const bool cancelled = f->s->h->cancelled(op);
        (void)pthread_mutex_lock(&f->mu);
        if (line)
            f->taken = f->given;
        if (cancelled && !f->stop)
            r = -BERTH_ECANCELED;
        f->stop = f->stop || cancelled || l->stopped;
        (void)pthread_cond_broadcast(&f->cond);
    }
    return r;
}

static int
follow_all(struct berth_shimlet *s, const struct berth_op *op, const char *const *pods,
           size_t count, uint32_t tail, struct log *l, struct berth_err *e)
{
    struct follow f = {.s = s, .tail = tail, .mu = PTHREAD_MUTEX_INITIALIZER};
    struct follower all[FOLLOWED_MAX];
    pthread_condattr_t attr;
    size_t n = 0;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f.cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_lock(&f.mu);
    for (; n < count; n++) {
        all[n] = (struct follower){.f = &f, .pod = pods[n]};
        if (pthread_create(&all[n].thread, NULL, follow_one, &all[n]) != 0) {
            f.r = berth_err_set(&f.why, BERTH_ELIMIT, "no thread for the log of %s", pods[n]);
            break;
        }
        f.running++;
    }
    int r = hand_on_locked(&f, op, l);
    (void)pthread_mutex_unlock(&f.mu);
    for (size_t i = 0; i < n; i++)
        (void)pthread_join(all[i].thread, NULL);
    (void)pthread_cond_destroy(&f.cond);
    (void)pthread_mutex_destroy(&f.mu);
    if (r < 0)
        return berth_err_set(e, BERTH_ECANCELED, "stopped");
    if (f.r < 0 && f.ended_well == 0 && !l->stopped) {
        if (e != NULL)
            *e = f.why;
        r = f.r;
    }
    return r;
}

/* ---- a unit ---- */

/* The pods' names, or the one that is asked for: what is no pod of the unit is nobody's to read. */
static int
choose(const struct kubernetes_found *f, const char *replica, struct berth_arena *a,
       const char ***ret, size_t *ret_count, struct berth_err *e)
{
    const char **names = BERTH_NEW_N(a, const char *, f->pod_count + 1);
    size_t n = 0;

    if (names == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (size_t i = 0; i < f->pod_count; i++) {
        const struct berth_slice name = berth_kube_text(f->pods[i], "metadata.name");
        if (replica == NULL || berth_slice_is(name, replica))
            names[n++] = name.at;
    }
    *ret = names;
    *ret_count = n;
    return n > 0 || replica == NULL
               ? 0
               : berth_err_set(e, BERTH_ENOENT, "the service has no replica \"%.80s\"", replica);
}

int
kubernetes_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                const struct berth_log_query *q,
                bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                void *arg, struct berth_err *e)
{
    struct log l = {.line = line, .arg = arg};
    struct kubernetes_asked asked;
    struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct kubernetes_found f;
    const char **pods = NULL;
    struct berth_arena a;
    size_t n = 0, given = 0;

    until.deadline_ns = UINT64_MAX; /* a log is as long as it is; cancelled() ends it */
    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = kubernetes_find(s, &a, unit_name, &f, e), failed = 0;
    if (r == 0)
        r = choose(&f, q->replica, &a, &pods, &n, e);
    const size_t followed = !q->follow ? 0 : n < FOLLOWED_MAX ? n : FOLLOWED_MAX;
    /* A pod that has not begun has no log, which is no reason to keep back the others'. */
    for (size_t i = followed; r == 0 && i < n && !l.stopped && failed != -BERTH_ECANCELED; i++) {
        failed = log_of(s, &until, pods[i], false, q->tail_lines, &l, e);
        given += failed == 0;
    }
    if (r == 0 && (failed == -BERTH_ECANCELED || (failed < 0 && given + followed == 0)))
        r = failed;
    if (r == 0 && followed > 0 && !l.stopped)
        r = follow_all(s, op, pods, followed, q->tail_lines, &l, e);
    berth_arena_fini(&a);
    return r;
}
