#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "infer/model_priv.h"

/*
 * A thread that sleeps until the next deadline of any request and then cuts what has passed its
 * own, so that work stops even when the dialect does not say so and the engine is busy.
 */
struct berth_watchdog {
    pthread_t thread;
    pthread_mutex_t mu;  /* taken before a model's */
    pthread_cond_t wake; /* on CLOCK_MONOTONIC */
    struct berth_model *models;
    atomic_uint_least64_t next_ns; /* when it wakes; written under mu */
    bool stop;
};

static void *
watchdog_main(void *arg)
{
    struct berth_watchdog *w = arg;

    (void)pthread_setname_np(pthread_self(), "berth-deadline");
    (void)pthread_mutex_lock(&w->mu);
    while (!w->stop) {
        uint64_t now = berth_now_ns(), next = UINT64_MAX;
        /* A deadline noted while we look finds this, takes the lock after us and is not lost. */
        atomic_store(&w->next_ns, UINT64_MAX);
        for (struct berth_model *m = w->models; m != NULL; m = m->watch_next) {
            uint64_t t = berth_model_expire(m, now);
            next = t < next ? t : next;
        }
        atomic_store(&w->next_ns, next);
        if (next == UINT64_MAX) {
            (void)pthread_cond_wait(&w->wake, &w->mu);
        } else {
            struct timespec until = {.tv_sec = (time_t)(next / BERTH_S),
                                     .tv_nsec = (long)(next % BERTH_S)};
            (void)pthread_cond_timedwait(&w->wake, &w->mu, &until);
        }
    }
    (void)pthread_mutex_unlock(&w->mu);
    return NULL;
}

int
berth_watchdog_new(struct berth_watchdog **ret, struct berth_err *e)
{
    struct berth_watchdog *w = calloc(1, sizeof *w);
    pthread_condattr_t attr;

    if (w == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "watchdog: out of memory");
    (void)pthread_mutex_init(&w->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    atomic_init(&w->next_ns, UINT64_MAX);
    if (pthread_create(&w->thread, NULL, watchdog_main, w) != 0) {
        (void)pthread_cond_destroy(&w->wake);
        (void)pthread_mutex_destroy(&w->mu);
        free(w);
        return berth_err_set(e, BERTH_ENOMEM, "watchdog: cannot start its thread");
    }
    *ret = w;
    return 0;
}

void
berth_watchdog_free(struct berth_watchdog *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->mu);
    w->stop = true;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->mu);
    (void)pthread_join(w->thread, NULL);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->mu);
    free(w);
}

void
berth_watchdog_add(struct berth_watchdog *w, struct berth_model *m)
{
    (void)pthread_mutex_lock(&w->mu);
    m->watch_prev = NULL;
    m->watch_next = w->models;
    if (w->models != NULL)
        w->models->watch_prev = m;
    w->models = m;
    (void)pthread_mutex_unlock(&w->mu);
}

void
berth_watchdog_remove(struct berth_watchdog *w, struct berth_model *m)
{
    (void)pthread_mutex_lock(&w->mu);
    if (m->watch_prev != NULL)
        m->watch_prev->watch_next = m->watch_next;
    else
        w->models = m->watch_next;
    if (m->watch_next != NULL)
        m->watch_next->watch_prev = m->watch_prev;
    (void)pthread_mutex_unlock(&w->mu);
}

void
berth_watchdog_note(struct berth_watchdog *w, uint64_t deadline_ns)
{
    if (deadline_ns == 0 || deadline_ns >= atomic_load(&w->next_ns))
        return;
    (void)pthread_mutex_lock(&w->mu);
    if (deadline_ns < atomic_load(&w->next_ns)) {
        atomic_store(&w->next_ns, deadline_ns);
        (void)pthread_cond_signal(&w->wake);
    }
    (void)pthread_mutex_unlock(&w->mu);
}
