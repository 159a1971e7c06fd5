#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "shimlets/kubernetes/logs.h"
#include "shimlets/kubernetes/state.h"
#include "wire/json.h"

/*
 * Several pods' logs at once, also of pods that come while one listens.  A thread for each pod
 * reads its log; the caller's own hands the lines on, and looks at what pods there are when the
 * informer has seen a change.
 */

enum {
    GOING_MAX = 16, /* pods at once; a thread and a connection each */
    KEPT_MAX = 128, /* pods whose logs have been begun, and that are still there */
    SLICE_MS = 50,  /* how often the caller is asked whether it may go on */
    AGAIN_MS = 2000,
    AGAIN_MS_MAX = 10000,
    POD_TEXT = 256,
};

struct follower {
    struct follow *f;
    char pod[POD_TEXT], container[KUBERNETES_NAME_MAX + 1];
    uint64_t life;  /* of its container, when its log was begun */
    uint32_t tail;  /* lines; 0: all */
    char since[32]; /* "" at first */
    pthread_t thread;
    bool used, full;   /* full: it has to wait for others, which was told */
    bool there;        /* it was at the last look */
    unsigned vain;     /* tries in a row without a line */
    int told;          /* the failure that people were told of */
    uint64_t again_ns; /* 0: only when it changes */
    /* Under mu, while going. */
    bool going, ended; /* ended: the thread is to be joined */
    bool given, given_now;
    int r;
    struct berth_err why;
};

struct follow {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const struct berth_log_query *q;
    const char *unit_name;
    struct kubernetes_log *l;
    uint64_t seen; /* s->changes at the last look */
    bool first;    /* look */
    bool look;     /* there is room for another */
    bool over;     /* there is nothing to wait for */
    bool heard;    /* some log could be read */
    struct follower all[KEPT_MAX];
    pthread_mutex_t mu;
    pthread_cond_t cond; /* anything below has changed; CLOCK_MONOTONIC */
    /* Under mu. */
    const char *replica, *at; /* the line that is handed over, its thread's until it is taken */
    size_t len;
    uint64_t given, taken; /* lines; at most one is between them */
    bool stop;
};

/* ---- a pod's thread ---- */

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
    const struct kubernetes_log_query q = {.pod = x->pod,
                                           .container = x->container,
                                           .since = x->since,
                                           .tail = x->tail,
                                           .follow = true};
    struct kubernetes_log l = {.line = hand_over, .arg = f};
    struct berth_err e = {{0}};

    const int r = kubernetes_log_read(f->s, &until, &q, &l, &e);
    (void)pthread_mutex_lock(&f->mu);
    x->r = r;
    x->why = e;
    x->given_now = l.given;
    x->ended = true;
    (void)pthread_cond_broadcast(&f->cond);
    (void)pthread_mutex_unlock(&f->mu);
    return NULL;
}

/* ---- which pods ---- */

/* A pod's container: which of its lives it is in (0: nothing is said of it), and how that goes. */
struct stand {
    uint64_t life;
    bool waits, runs;
};

static struct stand
stand_of(const struct berth_json *pod)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(pod, "status.containerStatuses"));
    const struct berth_slice name = kubernetes_log_container(pod);

    while (berth_json_next(&it)) {
        if (berth_slice_is(berth_kube_text(it.value, "name"), name.at))
            return (struct stand){
                .life = 1 + (uint64_t)berth_kube_int(it.value, "restartCount", 0),
                .waits = berth_kube_at(it.value, "state.waiting") != NULL,
                .runs = berth_kube_at(it.value, "state.running") != NULL,
            };
    }
    return (struct stand){0};
}

static struct follower *
find(struct follow *f, const char *pod)
{
    for (size_t i = 0; i < KEPT_MAX; i++)
        if (f->all[i].used && strcmp(f->all[i].pod, pod) == 0)
            return &f->all[i];
    return NULL;
}

static size_t
going_count(const struct follow *f)
{
    size_t n = 0;

    for (size_t i = 0; i < KEPT_MAX; i++)
        n += f->all[i].used && f->all[i].going;
    return n;
}

/* A line of ours among the pod's. */
static void
say(struct follow *f, const char *pod, const char *text)
{
    char line[400];

    (void)snprintf(line, sizeof line, "berth: %s", text);
    f->l->replica = pod;
    kubernetes_log_give(f->l, line, strlen(line));
}

/* A place that nobody has, or else one whose pod is gone. */
static struct follower *
keep(struct follow *f, const char *pod)
{
    struct follower *x = NULL;

    for (size_t i = 0; i < KEPT_MAX && (x == NULL || x->used); i++) {
        struct follower *at = &f->all[i];
        if (!at->used || (x == NULL && !at->there && !at->going))
            x = at;
    }
    if (x == NULL)
        return NULL;
    *x = (struct follower){.f = f, .used = true, .tail = f->first ? f->q->tail_lines : 0};
    (void)snprintf(x->pod, sizeof x->pod, "%s", pod);
    return x;
}

static void
begin(struct follow *f, struct follower *x, const struct berth_json *pod, uint64_t life)
{
    if (going_count(f) == GOING_MAX) {
        if (!x->full)
            say(f, x->pod, "16 replicas are followed already; name one to follow it alone");
        x->full = true;
        return;
    }
    (void)snprintf(x->container, sizeof x->container, "%s", kubernetes_log_container(pod).at);
    if (life != x->life)
        x->since[0] = '\0'; /* a log is of one life */
    x->life = life;
    x->again_ns = 0;
    x->full = x->ended = false;
    x->r = 0;
    x->going = pthread_create(&x->thread, NULL, follow_one, x) == 0;
    if (!x->going) {
        x->r = berth_err_set(&x->why, BERTH_EAGAIN, "no thread for this log");
        x->again_ns = berth_now_ns() + AGAIN_MS_MAX * BERTH_MS;
    }
}

/* One that is new, lives anew, or is to be tried again; not one whose life has ended. */
static void
attend_pod(struct follow *f, const struct berth_json *pod)
{
    const char *name = berth_kube_text(pod, "metadata.name").at;
    const struct stand now = stand_of(pod);
    struct follower *x = find(f, name);

    if (f->q->replica != NULL && strcmp(f->q->replica, name) != 0)
        return;
    if (x == NULL && (x = keep(f, name)) == NULL)
        return; /* more than are kept: some of them must go first */
    const bool is_new = x->container[0] == '\0';
    const bool due = x->again_ns != 0 && berth_now_ns() >= x->again_ns;
    x->there = true;
    /* What waits for its first start has no log yet; before it is scheduled nobody could be asked.
     */
    if (due)
        x->again_ns = 0;
    if (x->going || now.waits || berth_kube_text(pod, "spec.nodeName").len == 0)
        return;
    const bool anew = now.life != 0 && now.life != x->life;
    if (is_new || anew || (due && (now.runs || x->r < 0)))
        begin(f, x, pod, now.life);
}

static bool
is_gone(struct follow *f, const struct kubernetes_found *found)
{
    const struct kubernetes_known k = kubernetes_known(f->s, f->unit_name);

    return found->workload == NULL && found->pod_count == 0 && (k.kind == NULL || k.removing);
}

/* Look at what there is.  -BERTH_ENOENT: not the one that was asked for. */
static int
attend(struct follow *f, struct berth_err *e)
{
    struct kubernetes_found found;
    struct berth_arena a;

    f->seen = atomic_load(&f->s->changes);
    f->look = false;
    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = kubernetes_find(f->s, &a, f->unit_name, &found, e);
    for (size_t i = 0; i < KEPT_MAX; i++)
        f->all[i].there = false;
    /* Those that are followed are told before a new one looks for a place. */
    for (size_t i = 0; r == 0 && i < found.pod_count; i++) {
        struct follower *x = find(f, berth_kube_text(found.pods[i], "metadata.name").at);
        if (x != NULL)
            x->there = true;
    }
    for (size_t i = 0; r == 0 && i < found.pod_count; i++)
        attend_pod(f, found.pods[i]);
    if (r == 0 && f->q->replica != NULL && f->first && find(f, f->q->replica) == NULL)
        r = berth_err_set(e, BERTH_ENOENT, "the service has no replica \"%.80s\"", f->q->replica);
    if (r == 0)
        f->over = is_gone(f, &found);
    f->first = false;
    berth_arena_fini(&a);
    return r;
}

/* ---- ends ---- */

static bool
is_passing(int r)
{
    return r == -BERTH_ENETWORK || r == -BERTH_EDEADLINE || r == -BERTH_EAGAIN;
}

/* A log has ended: by itself, as its container did, or because it could not be read. */
static void
end_one(struct follow *f, struct follower *x)
{
    const uint64_t ms = (uint64_t)AGAIN_MS << (x->vain < 8 ? x->vain : 8);
    char time[BERTH_TIME_TEXT];

    (void)pthread_join(x->thread, NULL);
    x->going = x->ended = false;
    f->look = true;
    f->heard = f->heard || x->r == 0 || x->given_now;
    x->given = x->given || x->given_now;
    x->vain = x->given_now ? 0 : x->vain + 1;
    /* Begun before anything was said of the container, which had begun for all that. */
    if (x->life == 0 && (x->r == 0 || x->given))
        x->life = 1;
    if (x->given) { /* of a life that goes on, what comes from now on: servers cut long streams */
        (void)snprintf(x->since, sizeof x->since, "%.19sZ", berth_time_text(berth_wall_ns(), time));
        x->tail = 0;
    }
    if (x->r == 0 || is_passing(x->r))
        x->again_ns = berth_now_ns() + (ms < AGAIN_MS_MAX ? ms : AGAIN_MS_MAX) * BERTH_MS;
    /* -EINVAL is a container that waits, -ENOENT one that has gone: they come, or do not. */
    if (x->r < 0 && x->told != x->r && x->r != -BERTH_ENOENT && x->r != -BERTH_EINVAL)
        say(f, x->pod, x->why.msg);
    x->told = x->r;
}

/* Nothing is to be expected: the one that was asked for has ended, or we may not read any. */
static bool
is_through(const struct follow *f, int *ret_r, struct berth_err *e)
{
    const struct follower *x = &f->all[0];

    if (going_count(f) > 0)
        return false;
    if (f->over ||
        (f->q->replica != NULL && x->used && (!x->there || (x->container[0] != '\0' && x->r == 0))))
        return true;
    if (f->heard || !x->used || (x->r != -BERTH_EPERM && x->r != -BERTH_EAUTH))
        return false;
    *ret_r = x->r;
    if (e != NULL)
        *e = x->why;
    return true;
}

static bool
is_work(const struct follow *f)
{
    const uint64_t now_ns = berth_now_ns();

    for (size_t i = 0; i < KEPT_MAX; i++) {
        const struct follower *x = &f->all[i];
        if (x->there && !x->going && x->again_ns != 0 && now_ns >= x->again_ns)
            return true;
    }
    return f->look || f->seen != atomic_load(&f->s->changes);
}

/* ---- the caller's thread ---- */

/* A line, or the end of a log, within a slice; what is to be done about it is others' functions, so
 * without the lock. */
static void
wait_and_hand_on(struct follow *f)
{
    const uint64_t at_ns = berth_now_ns() + SLICE_MS * BERTH_MS;
    const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                .tv_nsec = (long)(at_ns % BERTH_S)};
    bool ended = false;

    (void)pthread_mutex_lock(&f->mu);
    if (f->given == f->taken)
        (void)pthread_cond_timedwait(&f->cond, &f->mu, &at);
    const bool line = f->given != f->taken;
    for (size_t i = 0; i < KEPT_MAX; i++)
        ended = ended || f->all[i].ended;
    (void)pthread_mutex_unlock(&f->mu);
    if (line) {
        f->l->replica = f->replica; /* they stay until it is taken */
        kubernetes_log_give(f->l, f->at, f->len);
        (void)pthread_mutex_lock(&f->mu);
        f->taken = f->given;
        (void)pthread_cond_broadcast(&f->cond);
        (void)pthread_mutex_unlock(&f->mu);
    }
    for (size_t i = 0; ended && i < KEPT_MAX; i++) {
        struct follower *x = &f->all[i];
        (void)pthread_mutex_lock(&f->mu);
        const bool mine = x->ended;
        (void)pthread_mutex_unlock(&f->mu);
        if (mine)
            end_one(f, x);
    }
}

static int
go(struct follow *f, struct berth_err *e)
{
    int r = attend(f, e);

    while (r == 0 && !f->l->stopped && !is_through(f, &r, e)) {
        if (f->s->h->cancelled(f->op))
            return berth_err_set(e, BERTH_ECANCELED, "stopped");
        wait_and_hand_on(f);
        if (is_work(f))
            r = attend(f, e);
    }
    return f->l->stopped ? 0 : r;
}

int
kubernetes_follow(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                  const struct berth_log_query *q, struct kubernetes_log *l, struct berth_err *e)
{
    struct follow *f = calloc(1, sizeof *f);
    pthread_condattr_t attr;

    if (f == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    f->s = s;
    f->op = op;
    f->q = q;
    f->unit_name = unit_name;
    f->l = l;
    f->first = true;
    (void)pthread_mutex_init(&f->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    const int r = go(f, e);
    (void)pthread_mutex_lock(&f->mu);
    f->stop = true;
    (void)pthread_cond_broadcast(&f->cond);
    (void)pthread_mutex_unlock(&f->mu);
    for (size_t i = 0; i < KEPT_MAX; i++)
        if (f->all[i].going)
            (void)pthread_join(f->all[i].thread, NULL);
    (void)pthread_cond_destroy(&f->cond);
    (void)pthread_mutex_destroy(&f->mu);
    free(f);
    return r;
}
