#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "deploy/routes.h"

/* What the routes are told of a service and its replicas. */

enum { TOLD_BYTES_MAX = 4 << 20 };

/* The track's replicas; where only one address for all of them is known, that one. */
static void
put_track(struct berth_arena *a, const struct track *t, enum berth_track track,
          struct berth_routed_replica *to, size_t *count)
{
    const struct berth_observed *as = t->seen != NULL ? &t->seen->as : NULL;
    bool own = false;

    if (as == NULL || t->wish == NULL)
        return;
    for (size_t i = 0; i < as->replica_count && *count < BERTH_ROUTES_REPLICAS_MAX; i++) {
        const struct berth_replica *r = &as->replicas[i];

        if (r->endpoint == NULL)
            continue;
        own = true;
        to[(*count)++] = (struct berth_routed_replica){
            .id = berth_arena_strdup(a, r->id),
            .endpoint = berth_arena_strdup(a, r->endpoint),
            .track = track,
            .ready = r->state == BERTH_REPLICA_READY,
        };
    }
    if (!own && as->endpoint != NULL && *count < BERTH_ROUTES_REPLICAS_MAX)
        to[(*count)++] = (struct berth_routed_replica){
            .id = track == BERTH_TRACK_STABLE ? "stable" : "canary",
            .endpoint = berth_arena_strdup(a, as->endpoint),
            .track = track,
            .ready = t->seen->ready > 0,
        };
}

/* s->mu held.  False: it is not to be reached. */
static bool
gather(struct service *s, struct berth_arena *a, struct berth_routed_service *ret)
{
    const struct track *stable = &s->tracks[STABLE], *canary = &s->tracks[CANARY];
    struct berth_routed_replica *replicas =
        BERTH_NEW_N(a, struct berth_routed_replica, BERTH_ROUTES_REPLICAS_MAX);

    if (s->deleting || stable->wish == NULL || replicas == NULL)
        return false;
    *ret = (struct berth_routed_service){
        .id = s->id,
        .name = berth_arena_strdup(a, stable->wish->spec.model_name),
        .replicas = replicas,
        .has_side_effects = stable->wish->spec.has_side_effects,
        .first_ns_max = stable->wish->spec.first_timeout_ns,
    };
    put_track(a, stable, BERTH_TRACK_STABLE, replicas, &ret->replica_count);
    if (canary->wish != NULL && !canary->leaving) {
        put_track(a, canary, BERTH_TRACK_CANARY, replicas, &ret->replica_count);
        ret->weights[BERTH_TRACK_STABLE] = 100 - s->canary_percent;
        ret->weights[BERTH_TRACK_CANARY] = s->canary_percent;
    }
    return ret->name != NULL;
}

void
berth_deploy_told_routes(struct berth_deploy *d, struct service *s)
{
    struct berth_routed_service routed;
    struct berth_arena a;
    struct berth_err e = {""};

    if (d->conf.routes == NULL)
        return;
    berth_arena_init(&a, TOLD_BYTES_MAX);
    (void)pthread_mutex_lock(&s->mu);
    const bool there = gather(s, &a, &routed);
    (void)pthread_mutex_unlock(&s->mu);
    if (!there)
        berth_routes_remove(d->conf.routes, s->id);
    else if (berth_routes_publish(d->conf.routes, &routed, &e) < 0)
        berth_warn("service %s: requests are not routed to it: %s", s->id, e.msg);
    berth_arena_fini(&a);
}
