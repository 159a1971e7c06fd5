#include "recon/reconciler.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"

enum { THREADS_DEFAULT = 5, NAME_MAX_BYTES = 15 };

struct worker {
    struct berth_reconciler *of;
    pthread_t thread;
    const char *key;   /* in work, under mu; NULL: none */
    uint64_t since_ns; /* when it was taken */
};

struct berth_reconciler {
    struct berth_reconciler_conf conf;
    pthread_mutex_t mu;
    pthread_cond_t more; /* something became due earlier, or it is time to stop */
    pthread_cond_t less; /* a worker has ended its key */
    struct berth_workq *q;
    bool stop;
    uint64_t done, failed, busy_ns, wait_ns;
    uint32_t started, busy;
    struct worker workers[BERTH_RECONCILER_THREADS_MAX];
};

static uint64_t
kernel_random(void *unused)
{
    (void)unused;
    return berth_random_u64();
}

/* Wait on c until at_ns of the monotonic clock; UINT64_MAX: for ever. */
static void
wait_locked(struct berth_reconciler *w, pthread_cond_t *c, uint64_t at_ns)
{
    const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                .tv_nsec = (long)(at_ns % BERTH_S)};

    if (at_ns == UINT64_MAX)
        (void)pthread_cond_wait(c, &w->mu);
    else
        (void)pthread_cond_timedwait(c, &w->mu, &at);
}

/* Work on a key that was taken.  Holds mu outside of reconcile(). */
static void
work_locked(struct berth_reconciler *w, struct worker *me, const char *key)
{
    struct berth_outcome outcome = {.kind = BERTH_OUTCOME_OK};

    me->key = key;
    me->since_ns = berth_now_ns();
    w->busy++;
    (void)pthread_mutex_unlock(&w->mu);
    int r = w->conf.reconcile(w->conf.arg, key, &outcome);
    (void)pthread_mutex_lock(&w->mu);
    if (r < 0)
        outcome = (struct berth_outcome){.kind = BERTH_OUTCOME_FAILED};
    const uint64_t now = berth_now_ns();
    w->busy--;
    w->done++;
    w->failed += outcome.kind == BERTH_OUTCOME_FAILED;
    w->busy_ns += now - me->since_ns;
    me->key = NULL;
    berth_workq_done(w->q, key, outcome, now);
    (void)pthread_cond_broadcast(&w->less);
}

static void *
worker_main(void *arg)
{
    struct worker *me = arg;
    struct berth_reconciler *w = me->of;
    const char *key;
    uint64_t at_ns;

    (void)pthread_mutex_lock(&w->mu);
    while (!w->stop) {
        const uint64_t now = berth_now_ns();
        if (!berth_workq_take(w->q, now, &key, &at_ns)) {
            wait_locked(w, &w->more, at_ns);
            continue;
        }
        w->wait_ns += now - at_ns;
        /* This one does not wait for the next key now: one of those that wait for a later one, or
         * for the key just taken, has to look when it is due. */
        (void)pthread_cond_signal(&w->more);
        work_locked(w, me, key);
    }
    (void)pthread_mutex_unlock(&w->mu);
    return NULL;
}

static int
start(struct berth_reconciler *w, struct berth_err *e)
{
    char name[NAME_MAX_BYTES + 1];

    (void)snprintf(name, sizeof name, "%s", w->conf.name != NULL ? w->conf.name : "reconcile");
    for (uint32_t i = 0; i < w->conf.thread_count; i++) {
        w->workers[i].of = w;
        if (pthread_create(&w->workers[i].thread, NULL, worker_main, &w->workers[i]) != 0)
            return berth_err_set(e, BERTH_ELIMIT, "no thread to be had for worker %u of %u", i + 1,
                                 w->conf.thread_count);
        w->started++;
        (void)pthread_setname_np(w->workers[i].thread, name);
    }
    return 0;
}

int
berth_reconciler_new(const struct berth_reconciler_conf *conf, struct berth_reconciler **ret,
                     struct berth_err *e)
{
    pthread_condattr_t attr;
    int r;

    if (conf->thread_count > BERTH_RECONCILER_THREADS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%u workers, at most %d", conf->thread_count,
                             BERTH_RECONCILER_THREADS_MAX);
    struct berth_reconciler *w = calloc(1, sizeof *w);
    if (w == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "workers: out of memory");
    w->conf = *conf;
    if (w->conf.thread_count == 0)
        w->conf.thread_count = THREADS_DEFAULT;
    if (w->conf.queue.random == NULL)
        w->conf.queue.random = kernel_random;
    (void)pthread_mutex_init(&w->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->more, &attr);
    (void)pthread_cond_init(&w->less, &attr);
    (void)pthread_condattr_destroy(&attr);
    if ((r = berth_workq_new(&w->conf.queue, &w->q)) < 0)
        r = berth_err_set(e, (enum berth_code) - r, "the work queue's settings are out of range");
    else
        r = start(w, e);
    if (r < 0) {
        berth_reconciler_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

int
berth_reconciler_add_after(struct berth_reconciler *w, const char *key, uint64_t after_ns)
{
    (void)pthread_mutex_lock(&w->mu);
    int r = berth_workq_add_after(w->q, key, after_ns, berth_now_ns());
    if (r == 0)
        (void)pthread_cond_signal(&w->more);
    (void)pthread_mutex_unlock(&w->mu);
    return r;
}

int
berth_reconciler_add(struct berth_reconciler *w, const char *key)
{
    return berth_reconciler_add_after(w, key, 0);
}

int
berth_reconciler_stop(struct berth_reconciler *w, uint64_t limit_ns)
{
    const uint64_t now = berth_now_ns();
    const uint64_t until = limit_ns > UINT64_MAX - now ? UINT64_MAX : now + limit_ns;

    (void)pthread_mutex_lock(&w->mu);
    if (w->q != NULL)
        berth_workq_close(w->q);
    w->stop = true;
    (void)pthread_cond_broadcast(&w->more);
    while (w->busy > 0 && berth_now_ns() < until)
        wait_locked(w, &w->less, until);
    int r = w->busy > 0 ? -BERTH_EDEADLINE : 0;
    (void)pthread_mutex_unlock(&w->mu);
    return r;
}

void
berth_reconciler_free(struct berth_reconciler *w)
{
    if (w == NULL)
        return;
    (void)berth_reconciler_stop(w, UINT64_MAX);
    for (uint32_t i = 0; i < w->started; i++)
        (void)pthread_join(w->workers[i].thread, NULL);
    berth_workq_free(w->q);
    (void)pthread_cond_destroy(&w->more);
    (void)pthread_cond_destroy(&w->less);
    (void)pthread_mutex_destroy(&w->mu);
    free(w);
}

void
berth_reconciler_stats(struct berth_reconciler *w, struct berth_reconciler_stats *ret)
{
    const uint64_t now = berth_now_ns();

    (void)pthread_mutex_lock(&w->mu);
    *ret = (struct berth_reconciler_stats){.threads = w->started,
                                           .busy = w->busy,
                                           .done = w->done,
                                           .failed = w->failed,
                                           .busy_ns = w->busy_ns,
                                           .wait_ns = w->wait_ns};
    berth_workq_stats(w->q, now, &ret->queue);
    for (uint32_t i = 0; i < w->started; i++) {
        const struct worker *x = &w->workers[i];
        if (x->key == NULL || now <= x->since_ns || now - x->since_ns <= ret->longest_ns)
            continue;
        ret->longest_ns = now - x->since_ns;
        (void)snprintf(ret->longest_key, sizeof ret->longest_key, "%s", x->key);
    }
    (void)pthread_mutex_unlock(&w->mu);
}
