#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"

/* Looking at a workload, and mending what differs from what is wished for. */

struct look {
    struct berth_deployment *x;
    struct seen *seen;
};

static void
looked(void *arg, const struct berth_observed *as)
{
    struct look *l = arg;

    berth_seen_free(l->seen);
    l->seen = berth_seen_new(as, berth_deploy_wall(l->x->d));
}

int
berth_deployment_look(struct berth_deployment *x, struct berth_err *e)
{
    struct track *t = &x->s->tracks[x->which];
    struct look l = {.x = x};
    int r = berth_deployment_unit(x, e);

    if (r == 0)
        r = x->environ->ops->status(x->shimlet, &x->op, x->unit.name, looked, &l, e);
    if (r == 0 && l.seen == NULL)
        r = berth_err_set(e, BERTH_EINTERNAL, "shimlet %s: status told nothing",
                          x->environ->ops->name);
    if (r < 0) {
        berth_seen_free(l.seen);
        return r;
    }
    for (size_t i = 0; i < l.seen->as.replica_count; i++) {
        const struct berth_replica *one = &l.seen->as.replicas[i];
        l.seen->ready += one->state == BERTH_REPLICA_READY && strcmp(one->hash, x->unit.hash) == 0;
    }
    (void)pthread_mutex_lock(&x->s->mu);
    struct seen *old = t->seen;
    t->seen = l.seen;
    (void)pthread_mutex_unlock(&x->s->mu);
    berth_seen_free(old);
    berth_deploy_told_routes(x->d, x->s);
    return 0;
}

/* Where the environment scales, it is held against the least that it may choose. */
static uint32_t
wanted(uint32_t replicas, uint32_t scale_min, uint32_t scale_max)
{
    return scale_max == 0 ? replicas : scale_min > 0 ? scale_min : 1;
}

uint32_t
berth_unit_wanted(const struct berth_unit *u)
{
    return wanted(u->replicas, u->scale_min, u->scale_max);
}

uint32_t
berth_spec_wanted(const struct berth_spec *spec)
{
    return wanted(spec->replicas, spec->scale_min, spec->scale_max);
}

bool
berth_seen_differs(const struct seen *seen, const struct berth_unit *u)
{
    const struct berth_observed *as = &seen->as;
    size_t there = 0;

    if (!as->exists || as->drifted || as->hash == NULL || strcmp(as->hash, u->hash) != 0)
        return true;
    for (size_t i = 0; i < as->replica_count; i++) {
        if (as->replicas[i].state == BERTH_REPLICA_STOPPING)
            continue;
        if (strcmp(as->replicas[i].hash, u->hash) != 0)
            return true;
        there++;
    }
    if (u->scale_max > 0) /* the environment chooses how many */
        return there < berth_unit_wanted(u);
    return as->replicas_desired != u->replicas || there != u->replicas;
}

bool
berth_seen_failed(const struct seen *seen)
{
    for (size_t i = 0; i < seen->as.replica_count; i++) {
        if (seen->as.replicas[i].state == BERTH_REPLICA_FAILED)
            return true;
    }
    return false;
}

const char *
berth_seen_says(const struct seen *seen, struct berth_arena *a)
{
    const char *message = seen->as.message;

    for (size_t i = 0; i < seen->as.replica_count; i++) {
        const struct berth_replica *one = &seen->as.replicas[i];
        if (one->state == BERTH_REPLICA_STARTING && one->reason != NULL)
            return berth_arena_printf(a, "%s: %s%s%s", one->id, one->reason,
                                      message != NULL ? "; " : "", message != NULL ? message : "");
    }
    return message;
}

/* Why not all of them are ready, for a person. */
static void
why_not_ready(const struct berth_deployment *x, char *ret, size_t cap)
{
    const struct seen *seen = x->s->tracks[x->which].seen;
    const uint32_t of = berth_unit_wanted(&x->unit);

    (void)snprintf(ret, cap, "%u of %u replicas are ready", seen->ready, of);
    for (size_t i = 0; i < seen->as.replica_count; i++) {
        const struct berth_replica *one = &seen->as.replicas[i];
        if (one->reason == NULL || one->state == BERTH_REPLICA_READY)
            continue;
        (void)snprintf(ret, cap, "%u of %u replicas are ready; %s: %s", seen->ready, of, one->id,
                       one->reason);
        return;
    }
}

static int
keep(struct berth_deployment *x, char *why, size_t cap, struct berth_err *e)
{
    struct track *t = &x->s->tracks[x->which];
    char text[sizeof t->mending] = "";
    int r = berth_deployment_look(x, e);

    if (r < 0)
        return r;
    const bool differs = berth_seen_differs(t->seen, &x->unit);
    why[0] = '\0';
    if (t->seen->ready < berth_unit_wanted(&x->unit))
        why_not_ready(x, why, cap);
    if (differs) {
        (void)snprintf(text, sizeof text, "what runs differs from what is wished for%s%s: mended",
                       t->seen->as.message != NULL ? ": " : "",
                       t->seen->as.message != NULL ? t->seen->as.message : "");
        if (strcmp(text, t->mending) != 0) /* once, and again when it is something else */
            berth_pending_note(&x->pending, x->s, "warn", text);
    }
    memcpy(t->mending, text, sizeof text);
    if ((differs || berth_seen_failed(t->seen)) &&
        (r = x->environ->ops->apply(x->shimlet, &x->op, &x->unit, e)) < 0)
        return r;
    return differs || why[0] != '\0' ? 0 : 1;
}

/* Are there as many as there should be, all of them well or not asked yet? */
static bool
may_be_well(const struct seen *seen, const struct berth_unit *u)
{
    uint32_t n = 0;

    for (size_t i = 0; i < seen->as.replica_count; i++)
        n += strcmp(seen->as.replicas[i].hash, u->hash) == 0 &&
             (seen->as.replicas[i].state == BERTH_REPLICA_READY ||
              seen->as.replicas[i].state == BERTH_REPLICA_STARTING);
    return n >= berth_unit_wanted(u);
}

int
berth_track_keep(struct berth_deploy *d, struct service *s, enum which which, uint64_t *ret_wait_ns,
                 struct berth_err *e)
{
    struct berth_deployment *x = NULL;
    char why[REASON_MAX] = "";
    struct berth_err ignored;
    int r = berth_deployment_new(&x, d, s, which, e);

    if (r < 0)
        return r;
    x->op.deadline_ns = berth_deploy_now(d) + 60 * BERTH_S;
    if (s->tracks[which].seen == NULL) /* since this program began */
        s->tracks[which].taken_over_ns = berth_deploy_now(d);
    r = keep(x, why, sizeof why, e);
    const bool watches =
        BERTH_SHIMLET_HAS(x->environ->ops, watches) && x->environ->ops->watches(x->shimlet);
    *ret_wait_ns = r == 1 && watches ? d->conf.resync_ns : d->conf.poll_ns;
    (void)pthread_mutex_lock(&s->mu);
    const struct track *t = &s->tracks[which];
    /* What is seen to be short is told, also when it cannot be mended now. */
    if (which == STABLE && s->generation == x->op.generation && !s->deleting &&
        (r >= 0 || why[0] != '\0')) {
        const bool short_of = t->seen->ready < berth_unit_wanted(&x->unit);
        /* An environment that was just opened asks its replicas now: a later look tells. */
        const bool asks = t->taken_over_ns != 0 &&
                          berth_deploy_now(d) - t->taken_over_ns < 2 * BERTH_S &&
                          may_be_well(t->seen, &x->unit);
        if (s->phase == BERTH_PHASE_RUNNING && short_of && !asks)
            (void)berth_service_move(d, s, BERTH_PHASE_DEGRADED, why, &x->pending);
        else if ((s->phase == BERTH_PHASE_DEGRADED || s->phase == BERTH_PHASE_FAILED) && !short_of)
            (void)berth_service_move(d, s, BERTH_PHASE_RUNNING, "", &x->pending);
    }
    if (x->pending.count > 0)
        (void)berth_deploy_save(d, s, &x->pending, &ignored);
    (void)pthread_mutex_unlock(&s->mu);
    berth_deployment_free(x);
    return r;
}

int
berth_track_leave(struct berth_deploy *d, struct service *s, struct berth_err *e)
{
    struct berth_deployment *x = NULL;
    int r = berth_deployment_new(&x, d, s, CANARY, e);

    if (r < 0)
        return r;
    x->op.deadline_ns = berth_deploy_now(d) + 60 * BERTH_S;
    r = berth_deployment_unit(x, e);
    if (r == 0)
        r = x->environ->ops->remove(x->shimlet, &x->op, x->unit.name, e);
    if (r == 0) {
        struct track *t = &s->tracks[CANARY];
        (void)pthread_mutex_lock(&s->mu);
        const bool still = t->leaving;
        if (still) {
            berth_revision_unref(t->wish);
            berth_progress_free(t->progress);
            berth_values_clear(t);
            berth_seen_free(t->seen);
            *t = (struct track){0};
        }
        r = berth_deploy_save(d, s, &x->pending, e);
        (void)pthread_mutex_unlock(&s->mu);
        if (r == 0)
            r = still ? 1 : 0;
        berth_deploy_told_routes(d, s);
    } else if (r == 1) {
        r = 0;
    }
    berth_deployment_free(x);
    return r;
}
