#include "deploy/route/routes_priv.h"

#include <stdio.h>

#include "base/assert.h"
#include "net/forward.h"
#include "obs/metrics.h"

/* Requests on their way through a service's replicas. */

bool
berth_routes_are(const struct berth_routes *r)
{
    return r != NULL && atomic_load_explicit(&r->published, memory_order_relaxed) > 0;
}

int
berth_trip_find(struct berth_trip *t, struct berth_routes *r, struct berth_slice name)
{
    struct berth_route_record *rec;

    (void)pthread_mutex_lock(&r->mu);
    HASH_FIND(by_name, r->by_name, name.at, name.len, rec);
    if (rec == NULL)
        HASH_FIND(by_id, r->by_id, name.at, name.len, rec);
    struct berth_route_snapshot *s = rec != NULL ? rec->now : NULL;
    if (s != NULL)
        s->refs++;
    (void)pthread_mutex_unlock(&r->mu);
    if (s == NULL)
        return -BERTH_ENOENT;
    *t = (struct berth_trip){.service = &s->service, .snapshot = s, .routes = r};
    return 0;
}

static struct berth_balance_ask
ask_of(const struct berth_trip *t, uint64_t now_ns)
{
    const struct berth_route_snapshot *s = t->snapshot;

    return (struct berth_balance_ask){.replicas = s->balanced,
                                      .count = s->count,
                                      .weights = s->weights,
                                      .tried = t->tried,
                                      .tried_count = t->tries,
                                      .now_ns = now_ns};
}

/* Nobody can be asked: says why. */
static int
none_to_ask(const struct berth_trip *t, const struct berth_balance_ask *ask, struct berth_err *e)
{
    const uint64_t again_ns = berth_balance_again_ns(ask);

    if (again_ns == 0)
        return berth_err_set(e, BERTH_ENOTREADY,
                             "service %s: none of its %zu replicas is ready; look at it with "
                             "describe, or try again later",
                             t->service->id, t->snapshot->count);
    return berth_err_set(e, BERTH_ENOTREADY,
                         "service %s: every replica that is ready failed lately; the next is tried "
                         "in %.1f s",
                         t->service->id,
                         again_ns > ask->now_ns ? (double)(again_ns - ask->now_ns) / 1e9 : 0.0);
}

static void
count_retry(const struct berth_trip *t, bool refused)
{
    struct berth_metrics *m = t->routes->conf.metrics;
    const char *const labels[] = {t->service->id, NULL};

    if (m == NULL)
        return;
    struct berth_series *s = berth_metrics_series(
        m, refused ? BERTH_METRIC_FORWARD_UNRETRIED : BERTH_METRIC_FORWARD_RETRIES, labels);
    berth_series_add(s, 1);
    berth_metrics_release(m, &s, 1);
}

static struct berth_route_shared *
shared_of(struct berth_balance_replica *b)
{
    return (struct berth_route_shared *)(void *)((char *)b -
                                                 offsetof(struct berth_route_shared, b));
}

int
berth_trip_next(struct berth_trip *t, uint64_t now_ns, struct berth_err *e)
{
    struct berth_route_record *rec = t->snapshot->of;
    const struct berth_balance_ask ask = ask_of(t, now_ns);
    struct berth_balance_replica *chosen = NULL;
    bool broke = false;

    berth_assert(!t->in_flight);
    if (t->tries == BERTH_TRIES_MAX)
        return berth_err_set(e, BERTH_EAGAIN, "service %s: tried on %u replicas", t->service->id,
                             t->tries);
    (void)pthread_mutex_lock(&rec->mu);
    if (t->tries == 0)
        berth_balance_fill(&rec->balance, &t->routes->conf.balance);
    else
        broke = !berth_balance_affords(&rec->balance);
    if (!broke)
        chosen = berth_balance_pick(&rec->balance, &ask, &t->probe);
    if (chosen != NULL && t->tries > 0)
        berth_balance_spend(&rec->balance);
    if (chosen != NULL) {
        shared_of(chosen)->requests++;
        berth_route_show_locked(shared_of(chosen));
    }
    (void)pthread_mutex_unlock(&rec->mu);
    if (t->tries > 0 && (broke || chosen != NULL))
        count_retry(t, broke);
    if (broke)
        return berth_err_set(e, BERTH_EAGAIN,
                             "service %s: too many of its requests were tried again already",
                             t->service->id);
    if (chosen == NULL)
        return none_to_ask(t, &ask, e);
    if (t->tries == 0)
        t->begin_ns = now_ns;
    t->tried[t->tries++] = chosen;
    t->in_flight = true;
    for (size_t i = 0; i < t->snapshot->count; i++)
        if (t->snapshot->balanced[i] == chosen)
            t->replica = &t->snapshot->replicas[i];
    return 0;
}

bool
berth_trip_can_go_on(const struct berth_trip *t, uint64_t now_ns)
{
    struct berth_route_record *rec = t->snapshot->of;
    const struct berth_balance_ask ask = ask_of(t, now_ns);

    if (t->tries == BERTH_TRIES_MAX)
        return false;
    (void)pthread_mutex_lock(&rec->mu);
    const bool can = berth_balance_affords(&rec->balance) && berth_balance_has(&ask);
    (void)pthread_mutex_unlock(&rec->mu);
    return can;
}

void
berth_trip_answered(struct berth_trip *t, uint64_t now_ns)
{
    struct berth_route_record *rec = t->snapshot->of;
    struct berth_balance_replica *b = t->tried[t->tries - 1];

    if (!t->probe)
        return;
    (void)pthread_mutex_lock(&rec->mu);
    berth_balance_answered(b, now_ns);
    berth_route_show_locked(shared_of(b));
    (void)pthread_mutex_unlock(&rec->mu);
    t->probe = false;
}

/* ---- counting ---- */

/* One more with that status, when its series is at hand. */
static bool
count_locked(const struct berth_route_shared *sh, uint16_t status)
{
    for (size_t i = 0; i < BERTH_ROUTE_STATUSES_MAX && sh->answered[i] != NULL; i++) {
        if (sh->statuses[i] == status) {
            berth_series_add(sh->answered[i], 1);
            return true;
        }
    }
    return false;
}

/* The first with that status.  The series is made outside the lock, which others wait for. */
static void
count_first(const struct berth_trip *t, struct berth_route_shared *sh, uint16_t status)
{
    struct berth_metrics *m = t->routes->conf.metrics;
    pthread_mutex_t *mu = &t->snapshot->of->mu;
    char text[8] = "none";
    const char *const labels[] = {t->replica->id, t->service->id,
                                  berth_track_name(t->replica->track), text, NULL};
    size_t i = 0;

    if (status != 0)
        (void)snprintf(text, sizeof text, "%u", status);
    struct berth_series *series = berth_metrics_series(m, BERTH_METRIC_FORWARDED, labels);
    berth_series_add(series, 1);
    (void)pthread_mutex_lock(mu);
    while (i < BERTH_ROUTE_STATUSES_MAX && sh->answered[i] != NULL && sh->statuses[i] != status)
        i++;
    const bool kept =
        i < BERTH_ROUTE_STATUSES_MAX && sh->answered[i] == NULL && sh->b.track == t->replica->track;
    if (kept) {
        sh->statuses[i] = status;
        sh->answered[i] = series;
    }
    (void)pthread_mutex_unlock(mu);
    if (!kept)
        berth_metrics_release(m, &series, 1);
}

void
berth_trip_done(struct berth_trip *t, const struct berth_forward_end *end, uint64_t now_ns)
{
    struct berth_route_record *rec = t->snapshot->of;
    struct berth_balance_replica *b = t->tried[t->tries - 1];
    struct berth_route_shared *sh = shared_of(b);
    const uint16_t status = end->result == BERTH_FORWARD_BROKEN ? 0 : end->status;

    berth_assert(t->in_flight);
    t->in_flight = false;
    (void)pthread_mutex_lock(&rec->mu);
    berth_balance_done(b, &t->routes->conf.balance, berth_verdict_of(end), t->probe, now_ns);
    if (b->draining && b->in_flight == 0)
        (void)pthread_cond_broadcast(&rec->idle);
    berth_route_show_locked(sh);
    const bool counted = count_locked(sh, status);
    (void)pthread_mutex_unlock(&rec->mu);
    t->probe = false;
    if (!counted && t->routes->conf.metrics != NULL)
        count_first(t, sh, status);
}

static void
count_seconds(const struct berth_trip *t, uint64_t now_ns)
{
    struct berth_route_record *rec = t->snapshot->of;
    struct berth_metrics *m = t->routes->conf.metrics;
    const enum berth_track track = t->replica->track;
    const char *const labels[] = {t->service->id, berth_track_name(track), NULL};
    const double seconds = (double)(now_ns - t->begin_ns) / 1e9;

    (void)pthread_mutex_lock(&rec->mu);
    struct berth_series *series = rec->seconds[track];
    (void)pthread_mutex_unlock(&rec->mu);
    if (series != NULL) {
        berth_series_observe(series, seconds);
        return;
    }
    series = berth_metrics_series(m, BERTH_METRIC_FORWARD_SECONDS, labels);
    berth_series_observe(series, seconds);
    (void)pthread_mutex_lock(&rec->mu);
    const bool kept = rec->seconds[track] == NULL;
    if (kept)
        rec->seconds[track] = series;
    (void)pthread_mutex_unlock(&rec->mu);
    if (!kept)
        berth_metrics_release(m, &series, 1);
}

void
berth_trip_end(struct berth_trip *t, uint64_t now_ns)
{
    struct berth_route_snapshot *s = t->snapshot;

    if (s == NULL)
        return;
    berth_assert(!t->in_flight);
    if (t->routes->conf.metrics != NULL && t->replica != NULL)
        count_seconds(t, now_ns);
    *t = (struct berth_trip){.service = NULL};
    berth_route_snapshot_unref(s);
}
