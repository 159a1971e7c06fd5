#include "deploy/route/routes_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/json.h"

/* What is published, for people and for lists of models. */

static void
put_replica(struct berth_jw *w, const struct berth_route_shared *sh)
{
    berth_jw_object(w);
    berth_jw_key(w, "id");
    berth_jw_string(w, sh->id);
    berth_jw_key(w, "track");
    berth_jw_string(w, berth_track_name(sh->b.track));
    berth_jw_key(w, "ready");
    berth_jw_bool(w, sh->b.ready);
    berth_jw_key(w, "draining");
    berth_jw_bool(w, sh->b.draining || berth_now_ns() < sh->b.out_until_ns);
    berth_jw_key(w, "inFlight");
    berth_jw_uint(w, sh->b.in_flight);
    berth_jw_key(w, "breaker");
    berth_jw_string(w, berth_breaker_state_name(sh->b.breaker.state));
    berth_jw_key(w, "requests");
    berth_jw_uint(w, sh->requests);
    berth_jw_object_end(w);
}

static void
put_record_locked(struct berth_jw *w, struct berth_route_record *rec, bool local)
{
    const struct berth_route_snapshot *s = rec->now;

    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, rec->name);
    berth_jw_key(w, "warning");
    berth_jw_string(w, local ? "a model of this name is registered here and answers instead; ask "
                               "for the service by its id"
                       : !rec->owns_name ? "an older service has this name and answers instead; "
                                           "ask for this one by its id"
                                         : NULL);
    berth_jw_key(w, "replicas");
    berth_jw_array(w);
    (void)pthread_mutex_lock(&rec->mu);
    for (size_t i = 0; i < s->count; i++)
        put_replica(w, s->shared[i]);
    (void)pthread_mutex_unlock(&rec->mu);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
}

void
berth_routes_put(struct berth_routes *r, const char *service_id, struct berth_jw *w)
{
    char *name = NULL;
    struct berth_route_record *rec;

    /* Asked without a lock held, as it has its own. */
    (void)pthread_mutex_lock(&r->mu);
    rec = berth_routes_find_locked(r, service_id);
    if (rec != NULL && rec->name != NULL)
        name = strdup(rec->name);
    (void)pthread_mutex_unlock(&r->mu);
    const bool local =
        name != NULL && r->conf.is_local != NULL && r->conf.is_local(r->conf.arg, name);
    free(name);
    (void)pthread_mutex_lock(&r->mu);
    rec = berth_routes_find_locked(r, service_id);
    if (rec != NULL && rec->now != NULL)
        put_record_locked(w, rec, local);
    else
        berth_jw_null(w);
    (void)pthread_mutex_unlock(&r->mu);
}

void
berth_routes_each(struct berth_routes *r,
                  void (*each)(void *arg, const char *name, const char *allow), void *arg)
{
    struct berth_route_record *rec, *next;

    (void)pthread_mutex_lock(&r->mu);
    HASH_ITER(by_id, r->by_id, rec, next) /* uthash keeps the order of insertion */
    {
        bool ready = false;

        if (!rec->owns_name)
            continue;
        (void)pthread_mutex_lock(&rec->mu);
        for (size_t i = 0; i < rec->now->count && !ready; i++)
            ready = rec->now->balanced[i]->ready && !rec->now->balanced[i]->draining;
        (void)pthread_mutex_unlock(&rec->mu);
        if (ready)
            each(arg, rec->name, rec->now->service.allow);
    }
    (void)pthread_mutex_unlock(&r->mu);
}
