#include <stdio.h>
#include <utlist.h>

#include "base/clock.h"
#include "infer/registry_priv.h"

/* The loader threads, and what they have to do. */

enum { RETRIES_EACH_MS = 4, RETRIES_MAX = 200 };
/* Of those that wait for room: first soon, then with pauses that grow by a quarter, so that what
 * nobody tells (a model is not in use any more) is seen after a quarter more of the time it took.
 */
static const uint64_t retry_ns_min = 2 * BERTH_MS, retry_ns_max = 50 * BERTH_MS;
static const uint64_t house_ns = 10 * BERTH_S;

static void
put_locked(struct berth_registry *g, struct berth_entry *x, enum berth_jobs list, bool first)
{
    x->queued = true;
    x->list = list;
    if (first)
        DL_PREPEND2(g->jobs[list], x, job_prev, job_next);
    else
        DL_APPEND2(g->jobs[list], x, job_prev, job_next);
    (void)pthread_cond_signal(&g->jobs_cond);
}

static void
take_locked(struct berth_registry *g, struct berth_entry *x)
{
    DL_DELETE2(g->jobs[x->list], x, job_prev, job_next);
    x->queued = false;
}

static void
queue_locked(struct berth_registry *g, struct berth_entry *x, enum berth_jobs list)
{
    if (x->busy) {
        x->queued = true; /* its loader will look again */
        return;
    }
    if (x->queued && x->list <= list)
        return;
    if (x->queued)
        take_locked(g, x);
    put_locked(g, x, list, false);
}

void
berth_loader_hurry_locked(struct berth_registry *g)
{
    const uint64_t soon = berth_now_ns() + retry_ns_min;

    g->retry_pause_ns = retry_ns_min;
    g->retry_ns = g->retry_ns < soon ? g->retry_ns : soon;
}

void
berth_loader_queue(struct berth_registry *g, struct berth_entry *x)
{
    (void)pthread_mutex_lock(&g->jobs_mu);
    queue_locked(g, x, BERTH_JOBS_WISH);
    (void)pthread_mutex_unlock(&g->jobs_mu);
}

void
berth_loader_demand_locked(struct berth_registry *g, struct berth_entry *x)
{
    if (!x->queued || x->list == BERTH_JOBS_WISH)
        queue_locked(g, x, BERTH_JOBS_DEMAND);
}

void
berth_registry_model_failed(void *registry)
{
    struct berth_registry *g = registry;

    (void)pthread_mutex_lock(&g->jobs_mu);
    g->failed_seen = true;
    (void)pthread_cond_broadcast(&g->jobs_cond);
    (void)pthread_mutex_unlock(&g->jobs_mu);
}

/* Work on x until nobody queued it meanwhile; free it when it is gone.  Holds jobs_mu outside. */
static void
work_locked(struct berth_registry *g, struct berth_entry *x)
{
    bool gone = false, done = true;

    x->busy = true;
    while (x->queued && done && !g->stop) {
        x->queued = false;
        (void)pthread_mutex_unlock(&g->jobs_mu);
        done = berth_loader_work(g, x);
        (void)pthread_rwlock_rdlock(&g->lock);
        gone = x->gone;
        (void)pthread_rwlock_unlock(&g->lock);
        (void)pthread_mutex_lock(&g->jobs_mu);
    }
    x->busy = false;
    if (g->house_ns > berth_now_ns() + BERTH_S / 2) /* something may be loaded from now on */
        g->house_ns = berth_now_ns() + BERTH_S / 2;
    if (done ==
        x->retried) /* it waits from now on, or there was room: so there may be for others */
        berth_loader_hurry_locked(g);
    x->retried = false;
    if (!done) {
        put_locked(g, x, BERTH_JOBS_BLOCKED, false);
    } else if (x->queued) { /* stopped: left to berth_registry_free() */
        put_locked(g, x, BERTH_JOBS_WISH, false);
    } else if (gone) { /* out of the tables: nobody else knows it */
        berth_entry_free(x);
    }
}

/* The next to work on; those that found no room are tried now and then, before the others, since
 * they have waited longer. */
static struct berth_entry *
pick_locked(struct berth_registry *g, uint64_t now_ns)
{
    struct berth_entry *retried[RETRIES_MAX], *x = NULL;
    size_t n = 0;

    if (now_ns >= g->retry_ns && g->jobs[BERTH_JOBS_BLOCKED] != NULL) {
        const size_t most = g->retry_pause_ns / BERTH_MS * RETRIES_EACH_MS;
        g->retry_ns = now_ns + g->retry_pause_ns;
        while (n < most && n < RETRIES_MAX && (x = g->jobs[BERTH_JOBS_BLOCKED]) != NULL) {
            take_locked(g, x);
            x->retried = true;
            retried[n++] = x;
        }
        g->retry_pause_ns += g->retry_pause_ns / 4;
        if (g->retry_pause_ns > retry_ns_max)
            g->retry_pause_ns = retry_ns_max;
        while (n > 0)
            put_locked(g, retried[--n], BERTH_JOBS_DEMAND, true);
    }
    for (size_t i = 0; i < BERTH_JOBS_BLOCKED; i++) {
        if ((x = g->jobs[i]) != NULL) {
            take_locked(g, x);
            x->queued = true; /* as work_locked() expects it */
            return x;
        }
    }
    return NULL;
}

static void
keep_house(struct berth_registry *g)
{
    uint64_t pause = berth_room_keep(g);

    berth_room_save(g, false);
    (void)pthread_mutex_lock(&g->jobs_mu);
    const bool due = g->count_due;
    if (due && pause > BERTH_S / 4)
        pause = BERTH_S / 4;
    g->house_ns = berth_now_ns() + pause;
    (void)pthread_mutex_unlock(&g->jobs_mu);
    if (due)
        berth_registry_count_states(g);
}

static void
sleep_locked(struct berth_registry *g)
{
    uint64_t until = g->house_ns;

    if (g->jobs[BERTH_JOBS_BLOCKED] != NULL && g->retry_ns < until)
        until = g->retry_ns;
    const struct timespec t = {.tv_sec = (time_t)(until / BERTH_S),
                               .tv_nsec = (long)(until % BERTH_S)};
    (void)pthread_cond_timedwait(&g->jobs_cond, &g->jobs_mu, &t);
}

static void *
loader_main(void *arg)
{
    struct berth_registry *g = arg;

    (void)pthread_setname_np(pthread_self(), "berth-loader");
    (void)pthread_mutex_lock(&g->jobs_mu);
    while (!g->stop) {
        const uint64_t now = berth_now_ns();
        struct berth_entry *x;
        if (g->failed_seen || now >= g->house_ns) {
            const bool failed = g->failed_seen;
            g->failed_seen = failed ? false : g->failed_seen;
            g->house_ns = failed ? g->house_ns : now + house_ns;
            (void)pthread_mutex_unlock(&g->jobs_mu);
            if (failed)
                berth_retire_failed(g);
            else
                keep_house(g);
            (void)pthread_mutex_lock(&g->jobs_mu);
        } else if ((x = pick_locked(g, now)) != NULL) {
            work_locked(g, x);
        } else {
            sleep_locked(g);
        }
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return NULL;
}

int
berth_loaders_start(struct berth_registry *g, struct berth_err *e)
{
    uint32_t n = g->conf.loaders == 0 ? 2 : g->conf.loaders;

    n = n > BERTH_LOADERS_MAX ? BERTH_LOADERS_MAX : n;
    while (g->loader_len < n) {
        if (pthread_create(&g->loaders[g->loader_len], NULL, loader_main, g) != 0) {
            berth_loaders_stop(g);
            return berth_err_set(e, BERTH_ENOMEM, "registry: cannot start its loader threads");
        }
        g->loader_len++;
    }
    return 0;
}

void
berth_loaders_stop(struct berth_registry *g)
{
    (void)pthread_mutex_lock(&g->jobs_mu);
    g->stop = true;
    (void)pthread_cond_broadcast(&g->jobs_cond);
    (void)pthread_mutex_unlock(&g->jobs_mu);
    for (uint32_t i = 0; i < g->loader_len; i++)
        (void)pthread_join(g->loaders[i], NULL);
    g->loader_len = 0;
}
