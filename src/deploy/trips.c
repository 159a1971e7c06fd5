#include "deploy/routes_priv.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
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

static struct berth_series *
count_retry(struct berth_trip *t, bool refused)
{
    struct berth_metrics *m = t->routes->conf.metrics;
    const char *const labels[] = {t->service->id, NULL};

    return m == NULL
               ? NULL
               : berth_metrics_series(
                     m, refused ? BERTH_METRIC_FORWARD_UNRETRIED : BERTH_METRIC_FORWARD_RETRIES,
                     labels);
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
    if (t->tries > 0 && (broke || chosen != NULL)) {
        struct berth_series *s = count_retry(t, broke);
        if (s != NULL)
            berth_series_add(s, 1);
    }
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

static struct berth_series *
find_answered_locked(const struct berth_route_shared *sh, uint16_t status)
{
    for (size_t i = 0; i < BERTH_ROUTE_STATUSES_MAX && sh->answered[i].series != NULL; i++)
        if (sh->answered[i].status == status)
            return sh->answered[i].series;
    return NULL;
}

static void
keep_answered_locked(struct berth_route_shared *sh, uint16_t status, struct berth_series *series)
{
    for (size_t i = 0; i < BERTH_ROUTE_STATUSES_MAX; i++) {
        if (sh->answered[i].series == NULL) {
            sh->answered[i].status = status;
            sh->answered[i].series = series;
            return;
        }
    }
}

/* Made outside the lock, which requests of other loops wait for. */
static struct berth_series *
make_answered(const struct berth_trip *t, uint16_t status)
{
    char text[8] = "none";
    const char *const labels[] = {t->replica->id, t->service->id,
                                  berth_track_name(t->replica->track), text, NULL};

    if (status != 0)
        (void)snprintf(text, sizeof text, "%u", status);
    return berth_metrics_series(t->routes->conf.metrics, BERTH_METRIC_FORWARDED, labels);
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
    struct berth_series *series = find_answered_locked(sh, status);
    (void)pthread_mutex_unlock(&rec->mu);
    t->probe = false;
    if (t->routes->conf.metrics == NULL)
        return;
    if (series == NULL) {
        series = make_answered(t, status);
        (void)pthread_mutex_lock(&rec->mu);
        if (find_answered_locked(sh, status) == NULL)
            keep_answered_locked(sh, status, series);
        (void)pthread_mutex_unlock(&rec->mu);
    }
    berth_series_add(series, 1);
}

void
berth_trip_end(struct berth_trip *t, uint64_t now_ns)
{
    struct berth_route_snapshot *s = t->snapshot;

    if (s == NULL)
        return;
    berth_assert(!t->in_flight);
    if (t->routes->conf.metrics != NULL && t->replica != NULL) {
        struct berth_route_record *rec = s->of;
        const enum berth_track track = t->replica->track;
        const char *const labels[] = {t->service->id, berth_track_name(track), NULL};

        (void)pthread_mutex_lock(&rec->mu);
        struct berth_series *seconds = rec->seconds[track];
        (void)pthread_mutex_unlock(&rec->mu);
        if (seconds == NULL) {
            seconds =
                berth_metrics_series(t->routes->conf.metrics, BERTH_METRIC_FORWARD_SECONDS, labels);
            (void)pthread_mutex_lock(&rec->mu);
            rec->seconds[track] = seconds;
            (void)pthread_mutex_unlock(&rec->mu);
        }
        berth_series_observe(seconds, (double)(now_ns - t->begin_ns) / 1e9);
    }
    *t = (struct berth_trip){.service = NULL};
    berth_route_snapshot_unref(s);
}
