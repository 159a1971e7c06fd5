#include "os/loop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "base/assert.h"
#include "base/clock.h"

enum { SPARE_TIMERS_MAX = 256 };

struct berth_loop {
    uv_loop_t uv;
    uv_async_t wake;
    pthread_t thread;
    char name[16];
    pthread_mutex_t mu;
    struct berth_msg *first, **last; /* under mu */
    /* The loop's own. */
    uv_check_t round_end;
    uv_idle_t again; /* active: there is more to do, do not wait for events */
    struct berth_late *late, **late_last;
    uint64_t late_ns;
    bool posted; /* messages of its own */
    bool closing;
    uv_timer_t *spare[SPARE_TIMERS_MAX]; /* stopped, for the next berth_timer_arm() */
    uint32_t spare_len;
};

static void
drain(struct berth_loop *l)
{
    (void)pthread_mutex_lock(&l->mu);
    struct berth_msg *m = l->first;
    l->first = NULL;
    l->last = &l->first;
    (void)pthread_mutex_unlock(&l->mu);
    for (struct berth_msg *next; m != NULL; m = next) {
        next = m->next;
        m->run(m);
    }
}

static void
woken(uv_async_t *wake)
{
    drain(wake->data);
}

static void
no_wait(uv_idle_t *idle)
{
    (void)idle; /* that it is active is all */
}

static void
come_again(struct berth_loop *l)
{
    if (!uv_is_closing((uv_handle_t *)&l->again))
        (void)uv_idle_start(&l->again, no_wait);
}

/* After the events of a round, and before what was written goes out.  What this brings about is
 * left for the next round, so that events are seen in between. */
static void
end_round(uv_check_t *check)
{
    struct berth_loop *l = check->data;
    struct berth_late *t = l->late;

    if (t != NULL) {
        l->late = NULL;
        l->late_last = &l->late;
        l->late_ns = berth_now_ns();
    }
    for (struct berth_late *next; t != NULL; t = next) {
        next = t->next;
        t->queued = false;
        t->run(t);
    }
    if (l->posted) {
        l->posted = false;
        drain(l);
    }
    if (l->late == NULL && !l->posted)
        (void)uv_idle_stop(&l->again);
}

bool
berth_loop_late(struct berth_loop *l, struct berth_late *t)
{
    if (t->queued)
        return false;
    t->queued = true;
    t->next = NULL;
    *l->late_last = t;
    l->late_last = &t->next;
    come_again(l);
    return true;
}

uint64_t
berth_loop_late_ns(const struct berth_loop *l)
{
    return l->late_ns;
}

static void *
loop_main(void *arg)
{
    struct berth_loop *l = arg;
    char name[16];

    (void)snprintf(name, sizeof name, "berth-%.9s", l->name);
    (void)pthread_setname_np(pthread_self(), name);
    (void)uv_run(&l->uv, UV_RUN_DEFAULT);
    while (l->posted) { /* in the last round */
        l->posted = false;
        drain(l);
        (void)uv_run(&l->uv, UV_RUN_DEFAULT);
    }
    return NULL;
}

int
berth_loop_new(const char *name, struct berth_loop **ret, struct berth_err *e)
{
    struct berth_loop *l = calloc(1, sizeof *l);

    if (l == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "loop %s: out of memory", name);
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    (void)pthread_mutex_init(&l->mu, NULL);
    l->last = &l->first;
    int r = uv_loop_init(&l->uv);
    if (r < 0) {
        free(l);
        return berth_err_set(e, BERTH_EIO, "loop %s: %s (open files: see ulimit -n)", name,
                             uv_strerror(r));
    }
    l->late_last = &l->late;
    l->wake.data = l->round_end.data = l;
    (void)uv_check_init(&l->uv, &l->round_end); /* these four cannot fail */
    (void)uv_check_start(&l->round_end, end_round);
    (void)uv_idle_init(&l->uv, &l->again);
    uv_unref((uv_handle_t *)&l->round_end);
    uv_unref((uv_handle_t *)&l->again);
    r = uv_async_init(&l->uv, &l->wake, woken);
    if (r < 0 || pthread_create(&l->thread, NULL, loop_main, l) != 0) {
        if (r == 0)
            uv_close((uv_handle_t *)&l->wake, NULL);
        uv_close((uv_handle_t *)&l->round_end, NULL);
        uv_close((uv_handle_t *)&l->again, NULL);
        (void)uv_run(&l->uv, UV_RUN_DEFAULT);
        (void)uv_loop_close(&l->uv);
        free(l);
        return berth_err_set(e, BERTH_EIO, "loop %s: cannot start its thread", name);
    }
    *ret = l;
    return 0;
}

void
berth_loop_post(struct berth_loop *l, struct berth_msg *m)
{
    m->next = NULL;
    (void)pthread_mutex_lock(&l->mu);
    bool was_empty = l->first == NULL;
    *l->last = m;
    l->last = &m->next;
    (void)pthread_mutex_unlock(&l->mu);
    if (berth_loop_is_mine(l)) { /* it is awake */
        l->posted = true;
        come_again(l);
    } else if (was_empty) { /* one wake-up per batch, not per message */
        (void)uv_async_send(&l->wake);
    }
}

static void
timer_closed(uv_handle_t *h)
{
    free(h);
}

static void
close_wake(void *arg)
{
    struct berth_loop *l = arg;

    l->closing = true;
    while (l->spare_len > 0)
        uv_close((uv_handle_t *)l->spare[--l->spare_len], timer_closed);
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->round_end, NULL);
    uv_close((uv_handle_t *)&l->again, NULL);
}

void
berth_loop_free(struct berth_loop *l)
{
    if (l == NULL)
        return;
    berth_assert(!berth_loop_is_mine(l));
    berth_loop_call(l, close_wake, l);
    (void)pthread_join(l->thread, NULL);
    berth_assert(l->first == NULL);
    berth_assert(uv_loop_close(&l->uv) == 0); /* every handle was closed by its owner */
    (void)pthread_mutex_destroy(&l->mu);
    free(l);
}

struct call {
    struct berth_msg msg;
    void (*fn)(void *);
    void *arg;
    pthread_mutex_t mu;
    pthread_cond_t done_cond;
    bool done;
};

static void
call_run(struct berth_msg *m)
{
    struct call *c = (struct call *)m;

    c->fn(c->arg);
    (void)pthread_mutex_lock(&c->mu);
    c->done = true;
    (void)pthread_cond_signal(&c->done_cond);
    (void)pthread_mutex_unlock(&c->mu);
}

void
berth_loop_call(struct berth_loop *l, void (*fn)(void *), void *arg)
{
    struct call c = {.msg.run = call_run,
                     .fn = fn,
                     .arg = arg,
                     .mu = PTHREAD_MUTEX_INITIALIZER,
                     .done_cond = PTHREAD_COND_INITIALIZER};

    if (berth_loop_is_mine(l)) {
        fn(arg);
        return;
    }
    berth_loop_post(l, &c.msg);
    (void)pthread_mutex_lock(&c.mu);
    while (!c.done)
        (void)pthread_cond_wait(&c.done_cond, &c.mu);
    (void)pthread_mutex_unlock(&c.mu);
    (void)pthread_cond_destroy(&c.done_cond);
    (void)pthread_mutex_destroy(&c.mu);
}

bool
berth_loop_is_mine(const struct berth_loop *l)
{
    return pthread_equal(pthread_self(), l->thread) != 0;
}

uint64_t
berth_loop_now_ns(const struct berth_loop *l)
{
    return uv_now(&l->uv) * BERTH_MS;
}

struct uv_loop_s *
berth_loop_uv(struct berth_loop *l)
{
    return &l->uv;
}

static void
timer_fire(uv_timer_t *uv)
{
    struct berth_timer *t = uv->data;

    if (t != NULL)
        t->fire(t);
}

/* A timer for t: one that an earlier one left, or a new one. */
static uv_timer_t *
timer_new(struct berth_loop *l)
{
    if (l->spare_len > 0)
        return l->spare[--l->spare_len];
    uv_timer_t *uv = calloc(1, sizeof *uv);
    if (uv != NULL)
        (void)uv_timer_init(&l->uv, uv); /* cannot fail */
    return uv;
}

int
berth_timer_arm(struct berth_timer *t, struct berth_loop *l, uint64_t at_ns,
                void (*fire)(struct berth_timer *))
{
    /* libuv counts whole milliseconds, rounded down: from the next one on at_ns has been. */
    const uint64_t at_ms = at_ns / BERTH_MS + (at_ns % BERTH_MS != 0), now_ms = uv_now(&l->uv);

    berth_assert(berth_loop_is_mine(l));
    if (t->impl == NULL) {
        uv_timer_t *uv = timer_new(l);
        if (uv == NULL)
            return -BERTH_ENOMEM;
        uv->data = t;
        t->impl = uv;
        t->loop = l;
    }
    t->fire = fire;
    return uv_timer_start(t->impl, timer_fire, at_ms > now_ms ? at_ms - now_ms : 0, 0) == 0
               ? 0
               : -BERTH_EINVAL;
}

void
berth_timer_stop(struct berth_timer *t)
{
    uv_timer_t *uv = t->impl;

    if (uv == NULL)
        return;
    t->impl = NULL;
    uv->data = NULL;
    (void)uv_timer_stop(uv);
    if (!t->loop->closing && t->loop->spare_len < SPARE_TIMERS_MAX)
        t->loop->spare[t->loop->spare_len++] = uv;
    else
        uv_close((uv_handle_t *)uv, timer_closed);
}
