#include "deploy/route/routes_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "obs/metrics.h"

/* Which replicas serve a name: what is published, and who holds how much of it. */

/* ---- what replicas share ---- */

void
berth_route_show_locked(const struct berth_route_shared *s)
{
    if (s->in_flight != NULL)
        berth_series_set(s->in_flight, s->b.in_flight);
    if (s->breaker != NULL)
        berth_series_set(s->breaker, s->b.breaker.state);
}

static struct berth_route_shared *
find_shared_locked(const struct berth_route_record *rec, const char *id)
{
    struct berth_route_shared *s;

    HASH_FIND_STR(rec->replicas, id, s);
    return s;
}

static struct berth_route_shared *
add_shared_locked(struct berth_route_record *rec, const char *id)
{
    struct berth_route_shared *s = calloc(1, sizeof *s);

    if (s == NULL || (s->id = strdup(id)) == NULL) {
        free(s);
        return NULL;
    }
    HASH_ADD_KEYPTR(hh, rec->replicas, s->id, strlen(s->id), s);
    return s;
}

/* What was counted for it is another one's from now on, or nobody's. */
static void
release_series_locked(const struct berth_route_record *rec, struct berth_route_shared *s)
{
    struct berth_metrics *m = rec->routes->conf.metrics;

    if (m == NULL || s->in_flight == NULL)
        return;
    berth_series_set(s->in_flight, 0);
    berth_series_set(s->breaker, BERTH_BREAKER_CLOSED);
    berth_metrics_release(m, &s->in_flight, 1);
    berth_metrics_release(m, &s->breaker, 1);
    berth_metrics_release(m, s->answered, BERTH_ROUTE_STATUSES_MAX);
    s->in_flight = s->breaker = NULL;
    memset(s->answered, 0, sizeof s->answered);
}

/* Those that no snapshot names. */
static void
sweep_locked(struct berth_route_record *rec)
{
    struct berth_route_shared *s, *next;

    HASH_ITER(hh, rec->replicas, s, next)
    {
        if (s->refs > 0)
            continue;
        berth_assert(s->b.in_flight == 0);
        HASH_DEL(rec->replicas, s);
        release_series_locked(rec, s);
        if (rec->routes->conf.metrics != NULL)
            berth_metrics_forget_of(rec->routes->conf.metrics, "replica", s->id);
        free(s->id);
        free(s);
    }
}

/* ---- records ---- */

static void
record_free(struct berth_route_record *rec)
{
    if (rec->routes->conf.metrics != NULL)
        berth_metrics_release(rec->routes->conf.metrics, rec->seconds, BERTH_TRACK_COUNT);
    berth_assert(rec->replicas == NULL);
    (void)pthread_cond_destroy(&rec->idle);
    (void)pthread_mutex_destroy(&rec->mu);
    free(rec->id);
    free(rec->name);
    free(rec);
}

struct berth_route_record *
berth_routes_find_locked(const struct berth_routes *r, const char *id)
{
    struct berth_route_record *rec;

    HASH_FIND(by_id, r->by_id, id, strlen(id), rec);
    return rec;
}

static struct berth_route_record *
add_locked(struct berth_routes *r, const char *id)
{
    struct berth_route_record *rec = calloc(1, sizeof *rec);
    pthread_condattr_t attr;

    if (rec == NULL || (rec->id = strdup(id)) == NULL) {
        free(rec);
        return NULL;
    }
    rec->routes = r;
    rec->number = r->numbers++;
    (void)pthread_mutex_init(&rec->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&rec->idle, &attr);
    (void)pthread_condattr_destroy(&attr);
    berth_balance_init(&rec->balance, &r->conf.balance);
    HASH_ADD_KEYPTR(by_id, r->by_id, rec->id, strlen(rec->id), rec);
    return rec;
}

/* The oldest service of that name gets it, if nobody has it. */
static void
give_name_locked(struct berth_routes *r, const char *name)
{
    struct berth_route_record *rec, *next, *oldest = NULL;

    HASH_FIND(by_name, r->by_name, name, strlen(name), rec);
    if (rec != NULL)
        return;
    HASH_ITER(by_id, r->by_id, rec, next)
    {
        if (rec->now != NULL && rec->name != NULL && strcmp(rec->name, name) == 0 &&
            (oldest == NULL || rec->number < oldest->number))
            oldest = rec;
    }
    if (oldest == NULL)
        return;
    oldest->owns_name = true;
    HASH_ADD_KEYPTR(by_name, r->by_name, oldest->name, strlen(oldest->name), oldest);
}

/* The record's name is another one from now on, or (NULL) none. */
static void
rename_locked(struct berth_routes *r, struct berth_route_record *rec, char *name)
{
    char *before = rec->name;

    if (rec->owns_name)
        HASH_DELETE(by_name, r->by_name, rec);
    const bool had = rec->owns_name;
    rec->owns_name = false;
    rec->name = name;
    if (name != NULL)
        give_name_locked(r, name);
    if (had)
        give_name_locked(r, before);
    free(before);
}

static void
drop_if_over_locked(struct berth_routes *r, struct berth_route_record *rec)
{
    if (rec->now != NULL || rec->snapshots > 0)
        return;
    (void)pthread_mutex_lock(&rec->mu);
    sweep_locked(rec);
    (void)pthread_mutex_unlock(&rec->mu);
    HASH_DELETE(by_id, r->by_id, rec);
    record_free(rec);
}

/* ---- snapshots ---- */

static void
unref_locked(struct berth_route_snapshot *s)
{
    struct berth_route_record *rec = s->of;

    if (--s->refs > 0)
        return;
    (void)pthread_mutex_lock(&rec->mu);
    for (size_t i = 0; i < s->count; i++)
        s->shared[i]->refs--;
    sweep_locked(rec);
    (void)pthread_mutex_unlock(&rec->mu);
    rec->snapshots--;
    drop_if_over_locked(rec->routes, rec);
    berth_route_snapshot_free(s);
}

void
berth_route_snapshot_unref(struct berth_route_snapshot *s)
{
    struct berth_routes *r = s->of->routes;

    (void)pthread_mutex_lock(&r->mu);
    unref_locked(s);
    (void)pthread_mutex_unlock(&r->mu);
}

/* ---- publishing ---- */

/* Find or make what each replica shares with earlier snapshots. */
static int
bind_locked(struct berth_route_record *rec, struct berth_route_snapshot *s, struct berth_err *e)
{
    struct berth_route_shared *each, *next;
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->count; i++) {
        struct berth_route_shared *sh = find_shared_locked(rec, s->replicas[i].id);

        if (sh != NULL && sh->named)
            r = berth_err_set(e, BERTH_EINVAL, "service %s: two replicas have the id %s", rec->id,
                              sh->id);
        else if (sh == NULL && (sh = add_shared_locked(rec, s->replicas[i].id)) == NULL)
            r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", rec->id);
        else
            sh->named = true;
        s->shared[i] = sh;
    }
    HASH_ITER(hh, rec->replicas, each, next)
    {
        each->named = false;
    }
    return r;
}

static void
show_locked(struct berth_route_record *rec, struct berth_route_shared *sh)
{
    struct berth_metrics *m = rec->routes->conf.metrics;
    const char *const labels[] = {sh->id, rec->id, berth_track_name(sh->b.track), NULL};

    if (m == NULL || sh->in_flight != NULL)
        return;
    sh->in_flight = berth_metrics_series(m, BERTH_METRIC_FORWARD_IN_FLIGHT, labels);
    sh->breaker = berth_metrics_series(m, BERTH_METRIC_FORWARD_BREAKER, labels);
    berth_route_show_locked(sh);
}

/* From now on every request sees what is published, whichever snapshot it holds. */
static void
apply_locked(struct berth_route_record *rec, struct berth_route_snapshot *s,
             const struct berth_routed_service *from)
{
    struct berth_route_shared *sh, *next;

    HASH_ITER(hh, rec->replicas, sh, next)
    {
        sh->b.ready = false;
    }
    for (size_t i = 0; i < s->count; i++) {
        sh = s->shared[i];
        sh->refs++;
        sh->b.ready = from->replicas[i].ready && from->replicas[i].endpoint != NULL;
        if (sh->b.ready && rec->drains == 0) /* the drain was given up: it was not ended */
            sh->b.draining = false;
        if (sh->b.track != from->replicas[i].track)
            release_series_locked(rec, sh); /* a canary that was promoted */
        sh->b.track = from->replicas[i].track;
        s->balanced[i] = &sh->b;
        show_locked(rec, sh);
    }
}

static int
publish_locked(struct berth_routes *r, const struct berth_routed_service *from,
               struct berth_route_snapshot *s, struct berth_err *e)
{
    struct berth_route_record *rec = berth_routes_find_locked(r, from->id);
    char *name = strdup(from->name);
    int rc = 0;

    if (rec == NULL && atomic_load(&r->published) >= BERTH_ROUTES_SERVICES_MAX)
        rc = berth_err_set(e, BERTH_ELIMIT, "service %s: there are %d services already", from->id,
                           BERTH_ROUTES_SERVICES_MAX);
    else if (name == NULL || (rec == NULL && (rec = add_locked(r, from->id)) == NULL))
        rc = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", from->id);
    if (rc < 0) {
        free(name);
        return rc;
    }
    s->of = rec;
    (void)pthread_mutex_lock(&rec->mu);
    rc = bind_locked(rec, s, e);
    if (rc == 0)
        apply_locked(rec, s, from);
    sweep_locked(rec);
    (void)pthread_mutex_unlock(&rec->mu);
    if (rc < 0) {
        free(name);
        drop_if_over_locked(r, rec);
        return rc;
    }
    struct berth_route_snapshot *before = rec->now;
    rec->now = s;
    rec->snapshots++;
    if (rec->name == NULL || strcmp(rec->name, name) != 0)
        rename_locked(r, rec, name);
    else
        free(name);
    if (before != NULL)
        unref_locked(before);
    else
        atomic_fetch_add(&r->published, 1);
    return 0;
}

int
berth_routes_publish(struct berth_routes *r, const struct berth_routed_service *from,
                     struct berth_err *e)
{
    struct berth_route_snapshot *s = NULL;

    if (from->replica_count > BERTH_ROUTES_REPLICAS_MAX)
        return berth_err_set(e, BERTH_ELIMIT, "service %s: %zu replicas, at most %d", from->id,
                             from->replica_count, BERTH_ROUTES_REPLICAS_MAX);
    int rc = berth_route_snapshot_new(from, &s, e);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&r->mu);
    rc = publish_locked(r, from, s, e);
    (void)pthread_mutex_unlock(&r->mu);
    if (rc < 0)
        berth_route_snapshot_free(s);
    return rc;
}

void
berth_routes_remove(struct berth_routes *r, const char *service_id)
{
    (void)pthread_mutex_lock(&r->mu);
    struct berth_route_record *rec = berth_routes_find_locked(r, service_id);
    if (rec != NULL && rec->now != NULL) {
        struct berth_route_snapshot *before = rec->now;
        struct berth_route_shared *sh, *next;

        rec->now = NULL;
        rename_locked(r, rec, NULL);
        (void)pthread_mutex_lock(&rec->mu);
        HASH_ITER(hh, rec->replicas, sh, next)
        {
            sh->b.ready = false;
        }
        (void)pthread_mutex_unlock(&rec->mu);
        atomic_fetch_sub(&r->published, 1);
        if (r->conf.metrics != NULL)
            berth_metrics_forget_of(r->conf.metrics, "service", rec->id);
        unref_locked(before); /* rec may be gone */
    }
    (void)pthread_mutex_unlock(&r->mu);
}

uint32_t
berth_routes_drain(struct berth_routes *r, const char *service_id, const char *replica_id,
                   uint64_t limit_ns)
{
    const uint64_t now_ns = berth_now_ns();
    const uint64_t until_ns = limit_ns < UINT64_MAX / 2 ? now_ns + limit_ns : UINT64_MAX / 2;
    const struct timespec until = {.tv_sec = (time_t)(until_ns / BERTH_S),
                                   .tv_nsec = (long)(until_ns % BERTH_S)};
    struct berth_route_shared *sh;
    uint32_t left = 0;
    int late = 0;

    (void)pthread_mutex_lock(&r->mu);
    struct berth_route_record *rec = berth_routes_find_locked(r, service_id);
    if (rec != NULL)
        rec->snapshots++; /* so that it stays */
    (void)pthread_mutex_unlock(&r->mu);
    if (rec == NULL)
        return 0;
    (void)pthread_mutex_lock(&rec->mu);
    rec->drains++;
    while ((sh = find_shared_locked(rec, replica_id)) != NULL) { /* it may go meanwhile */
        sh->b.draining = true;
        left = sh->b.in_flight;
        if (left == 0 || late != 0)
            break;
        late = pthread_cond_timedwait(&rec->idle, &rec->mu, &until);
    }
    if (sh != NULL && left == 0)
        sh->b.out_until_ns = berth_now_ns() + BERTH_ROUTES_HOLD_S * BERTH_S;
    rec->drains--;
    (void)pthread_mutex_unlock(&rec->mu);
    (void)pthread_mutex_lock(&r->mu);
    rec->snapshots--;
    drop_if_over_locked(r, rec);
    (void)pthread_mutex_unlock(&r->mu);
    return sh != NULL ? left : 0;
}

/* ---- new and free ---- */

int
berth_routes_new(const struct berth_routes_conf *conf, struct berth_routes **ret,
                 struct berth_err *e)
{
    struct berth_routes *r = calloc(1, sizeof *r);

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "routes: out of memory");
    r->conf = *conf;
    r->conf.balance = berth_balance_conf(conf->balance);
    (void)pthread_mutex_init(&r->mu, NULL);
    *ret = r;
    return 0;
}

void
berth_routes_free(struct berth_routes *r)
{
    struct berth_route_record *rec, *next;

    if (r == NULL)
        return;
    HASH_ITER(by_id, r->by_id, rec, next)
    {
        berth_assert(rec->now != NULL); /* no trip holds one that was removed */
        berth_routes_remove(r, rec->id);
    }
    berth_assert(r->by_id == NULL);
    (void)pthread_mutex_destroy(&r->mu);
    free(r);
}
