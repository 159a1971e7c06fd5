#include <string.h>

#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "deploy/route/routes.h"
#include "net/certificate.h"

/* What the routes are told of a service and its replicas. */

enum { TOLD_BYTES_MAX = 4 << 20 };

/* What the routes are told, and what is looked up for them with no lock held. */
struct told {
    struct berth_routed_service as;
    struct berth_routed_replica *replicas;
    const char **key_paths; /* one for each of them, or NULL */
};

/* ---- for whom ---- */

static bool
is_on(const char *const *names, const char *name)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* The same in a text with blanks between. */
static bool
is_in(const char *text, const char *name)
{
    for (const char *at = text; *at != '\0';) {
        const size_t len = strcspn(at, " ");

        if (strlen(name) == len && memcmp(at, name, len) == 0)
            return true;
        at += len + (at[len] == ' ');
    }
    return false;
}

/*
 * Whoever is on the list that the steps have set, and on the one that is wished for: a name that an
 * update takes away is out when that is answered, whatever becomes of its steps; one that it adds
 * comes when they have got there.
 */
bool
berth_track_allow(const struct track *t, struct berth_arena *a, const char **ret)
{
    const char *set = berth_values_get(t, BERTH_VALUE_ALLOW);
    const char *const *wished = t->wish != NULL ? t->wish->spec.allow : NULL;
    struct berth_buf b;

    if (set != NULL) { /* behind the number of its revision */
        set += strcspn(set, " ");
        set += *set == ' ';
    }
    if (wished == NULL || is_on(wished, "*")) {
        const char *all = set != NULL ? set : wished != NULL ? "*" : NULL;

        *ret = all != NULL ? berth_arena_strdup(a, all) : NULL;
        return all == NULL || *ret != NULL;
    }
    const bool any = set == NULL || is_in(set, "*");
    berth_buf_init(&b, a);
    for (; *wished != NULL; wished++) {
        if (**wished == '\0' ||
            strpbrk(*wished, " \t\n") != NULL) /* no name: access-control says */
            continue;
        if (any || is_in(set, *wished))
            berth_buf_printf(&b, "%s%s", b.len > 0 ? " " : "", *wished);
    }
    *ret = b.failed ? NULL : b.len > 0 ? berth_buf_text(&b) : "";
    return *ret != NULL;
}

/* ---- where ---- */

/* The track's replicas; where only one address for all of them is known, that one. */
static void
put_track(struct berth_arena *a, const struct track *t, enum berth_track track, struct told *told)
{
    struct berth_routed_replica *to = told->replicas;
    size_t *count = &told->as.replica_count;
    const struct berth_observed *as = t->seen != NULL ? &t->seen->as : NULL;
    bool own = false;

    if (as == NULL || t->wish == NULL)
        return;
    for (size_t i = 0; i < as->replica_count && *count < BERTH_ROUTES_REPLICAS_MAX; i++) {
        const struct berth_replica *r = &as->replicas[i];
        const char *name = as->model_names != NULL ? as->model_names[i] : NULL;

        if (r->endpoint == NULL)
            continue;
        own = true;
        told->key_paths[*count] = r->key_path != NULL ? berth_arena_strdup(a, r->key_path) : NULL;
        to[(*count)++] = (struct berth_routed_replica){
            .id = berth_arena_strdup(a, r->id),
            .endpoint = berth_arena_strdup(a, r->endpoint),
            .served_name = name != NULL ? berth_arena_strdup(a, name) : NULL,
            .track = track,
            .ready = r->state == BERTH_REPLICA_READY,
            .ca_path = r->ca_path != NULL ? berth_arena_strdup(a, r->ca_path) : NULL,
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
gather(struct service *s, struct berth_arena *a, struct told *told)
{
    const struct track *stable = &s->tracks[STABLE], *canary = &s->tracks[CANARY];
    struct berth_routed_service *ret = &told->as;

    *told = (struct told){
        .replicas = BERTH_NEW_N(a, struct berth_routed_replica, BERTH_ROUTES_REPLICAS_MAX),
        .key_paths = BERTH_NEW_N(a, const char *, BERTH_ROUTES_REPLICAS_MAX)};
    if (s->deleting || stable->wish == NULL || told->replicas == NULL || told->key_paths == NULL)
        return false;
    ret->id = s->id;
    ret->name = berth_arena_strdup(a, stable->wish->spec.model_name);
    ret->replicas = told->replicas;
    ret->has_side_effects = stable->wish->spec.has_side_effects;
    ret->first_ns_max = stable->wish->spec.first_timeout_ns;
    if (!berth_track_allow(stable, a, &ret->allow))
        return false; /* rather nobody than everybody */
    put_track(a, stable, BERTH_TRACK_STABLE, told);
    if (canary->wish != NULL && !canary->leaving) {
        put_track(a, canary, BERTH_TRACK_CANARY, told);
        ret->weights[BERTH_TRACK_STABLE] = 100 - s->canary_percent;
        ret->weights[BERTH_TRACK_CANARY] = s->canary_percent;
    }
    return ret->name != NULL;
}

/* Keys are in files, mostly one for all replicas.  One that cannot be read: no requests. */
static void
read_keys(struct berth_arena *a, struct told *told)
{
    char key[BERTH_BEARER_MAX];

    for (size_t i = 0; i < told->as.replica_count; i++) {
        struct berth_routed_replica *to = &told->replicas[i];
        struct berth_err e = {""};

        if (told->key_paths[i] == NULL)
            continue;
        if (i > 0 && told->key_paths[i - 1] != NULL &&
            strcmp(told->key_paths[i - 1], told->key_paths[i]) == 0) {
            to->authorization = told->replicas[i - 1].authorization;
        } else if (berth_bearer_read(told->key_paths[i], key, &e) == 0) {
            to->authorization = berth_arena_printf(a, "Bearer %s", key);
        } else {
            berth_warn("service %s: replica %s: its key: %s", told->as.id, to->id, e.msg);
        }
        to->ready = to->ready && to->authorization != NULL;
    }
    explicit_bzero(key, sizeof key);
}

void
berth_deploy_told_routes(struct berth_deploy *d, struct service *s)
{
    struct told told;
    struct berth_arena a;
    struct berth_err e = {""};

    if (d->conf.routes == NULL)
        return;
    berth_arena_init(&a, TOLD_BYTES_MAX);
    /* What is told last was looked up last: an older list must not come after a newer one. */
    (void)pthread_mutex_lock(&s->told_mu);
    (void)pthread_mutex_lock(&s->mu);
    const bool there = gather(s, &a, &told);
    (void)pthread_mutex_unlock(&s->mu);
    if (there)
        read_keys(&a, &told);
    const bool published = there && berth_routes_publish(d->conf.routes, &told.as, &e) == 0;
    /* Of one that is for some alone nothing older stays: it may name those who are out by now. */
    if (!there || (!published && told.as.allow != NULL))
        berth_routes_remove(d->conf.routes, s->id);
    (void)pthread_mutex_unlock(&s->told_mu);
    if (there && !published)
        berth_warn("service %s: requests are not routed to it: %s", s->id, e.msg);
    berth_arena_fini(&a);
}
