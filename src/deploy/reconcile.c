#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"

/* One look at one service: what is the next thing to be done for it, and when is the one after. */

static const uint64_t retry_first_ns = 10 * BERTH_S, retry_max_ns = 300 * BERTH_S;

static struct berth_outcome
after(uint64_t ns)
{
    return (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = ns > 0 ? ns : 1};
}

static struct berth_outcome
failed(void)
{
    return (struct berth_outcome){.kind = BERTH_OUTCOME_FAILED};
}

static void
pending_init(struct pending *p, struct berth_arena *a)
{
    berth_arena_init(a, 1 << 20);
    *p = (struct pending){.a = a};
}

/* What is wished for and how far it is, at one moment. */
struct glance {
    enum berth_phase phase;
    uint64_t generation, phase_wall_ns, retry_wall_ns;
    uint64_t wish, good;               /* of the stable track */
    uint64_t canary_wish, canary_good; /* 0: there is none */
    bool deleting, retry, promoting, canary_leaving, canary_given_up, unsaved;
};

static struct glance
glance_at(struct service *s)
{
    (void)pthread_mutex_lock(&s->mu);
    const struct track *stable = &s->tracks[STABLE], *canary = &s->tracks[CANARY];
    struct glance g = {.phase = s->phase,
                       .generation = atomic_load(&s->generation),
                       .phase_wall_ns = s->phase_wall_ns,
                       .retry_wall_ns = s->retry_wall_ns,
                       .wish = stable->wish != NULL ? stable->wish->number : 0,
                       .good = stable->good,
                       .canary_wish = canary->wish != NULL ? canary->wish->number : 0,
                       .canary_good = canary->good,
                       .deleting = s->deleting,
                       .retry = s->retry,
                       .promoting = s->promoting,
                       .unsaved = s->unsaved,
                       .canary_leaving = canary->leaving};
    g.canary_given_up = canary->progress != NULL && g.canary_wish == canary->progress->revision &&
                        canary->progress->run->state == BERTH_RUN_FAILED;
    (void)pthread_mutex_unlock(&s->mu);
    return g;
}

/* ---- the end of a service ---- */

/* Take the record and the revisions away; the events stay. */
static int
forget(struct berth_deploy *d, struct service *s, struct berth_err *e)
{
    enum { BATCH = 32 };
    struct berth_store_op ops[BATCH];
    struct berth_record *list;
    struct berth_arena a;
    struct pending p;
    size_t n = 0;
    int r;

    pending_init(&p, &a);
    a.max_bytes = 256 << 20;
    const char *prefix = berth_arena_printf(&a, "revision/%s/", s->id);
    const char *key = berth_arena_printf(&a, "service/%s", s->id);
    if (prefix == NULL || key == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    else
        r = berth_store_list(d->conf.store, &a, prefix, &list, &n, e);
    for (size_t i = 0; r == 0 && i < n; i += BATCH) {
        size_t k = 0;
        for (; k < BATCH && i + k < n; k++)
            ops[k] = (struct berth_store_op){.kind = BERTH_STORE_DELETE, .key = list[i + k].key};
        r = berth_deploy_commit(d, NULL, &p, ops, k, e);
    }
    if (r == 0) { /* last, so that a kill in between leaves something to go on with */
        ops[0] = (struct berth_store_op){.kind = BERTH_STORE_DELETE, .key = key};
        r = berth_deploy_commit(d, NULL, &p, ops, 1, e);
    }
    berth_arena_fini(&a);
    if (r == 0) {
        berth_deploy_count_move(d, s->phase, BERTH_PHASE_COUNT);
        berth_deploy_drop_service(d, s);
    }
    return r;
}

/* No step of it ever began, the store says, so that nothing can have been made for it: it goes also
 * where its environment cannot be opened. */
static bool
was_never_begun(struct service *s)
{
    (void)pthread_mutex_lock(&s->mu);
    const bool never = s->tracks[STABLE].progress == NULL && s->tracks[STABLE].good == 0 &&
                       s->tracks[CANARY].progress == NULL && s->removal == NULL;
    (void)pthread_mutex_unlock(&s->mu);
    return never;
}

/* A late answer of the environment may have made something after it was removed: 1 there is
 * nothing, 0 something was there and is being removed. */
static int
is_nothing_left(struct berth_deploy *d, struct service *s, struct berth_err *e)
{
    struct berth_deployment *x = NULL;
    int r = berth_deployment_new(&x, d, s, STABLE, e);

    if (r == -BERTH_ENOENT || (r < 0 && was_never_begun(s)))
        return 1; /* its plugins are gone, too, or were never asked for anything */
    if (r < 0)
        return r;
    x->op.deadline_ns = berth_deploy_now(d) + 60 * BERTH_S;
    r = berth_deployment_look(x, e);
    if (r == 0 && !s->tracks[STABLE].seen->as.exists)
        r = 1;
    else if (r == 0 && (r = x->environ->ops->remove(x->shimlet, &x->op, x->unit.name, e)) > 0)
        r = 0;
    berth_deployment_free(x);
    return r;
}

static struct berth_outcome
terminated(struct berth_deploy *d, struct service *s, const struct glance *g)
{
    const uint64_t wall = berth_deploy_wall(d), due = g->phase_wall_ns + d->conf.forget_ns;
    struct berth_err e = {""};

    if (wall < due)
        return after(due - wall);
    const int r = is_nothing_left(d, s, &e);
    if (r == 0)
        return after(d->conf.poll_ns);
    if (r < 0 || forget(d, s, &e) < 0) {
        berth_warn("service %s: not forgotten yet: %s", s->id, e.msg);
        return failed();
    }
    return (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
}

static struct berth_outcome
remove_all(struct berth_deploy *d, struct service *s, const struct glance *g)
{
    struct berth_err e = {""};
    struct berth_arena a;
    struct pending p;
    uint64_t wait_ns = d->conf.poll_ns;
    int r = 1;

    berth_deploy_told_routes(d, s); /* no new requests first of all */
    if (g->canary_wish > 0)
        r = berth_track_leave(d, s, &e);
    if (r == 1)
        r = berth_service_remove(d, s, &wait_ns, &e);
    if (r < 0 && was_never_begun(s))
        r = 1;
    if (r == 0)
        return after(wait_ns < d->conf.poll_ns ? wait_ns : d->conf.poll_ns);
    pending_init(&p, &a);
    (void)pthread_mutex_lock(&s->mu);
    if (r == 1)
        (void)berth_service_move(d, s, BERTH_PHASE_TERMINATED, "", &p);
    else
        (void)snprintf(s->reason, sizeof s->reason, "%s", e.msg);
    const int saved = berth_deploy_save(d, s, &p, &e);
    berth_deploy_named(d, s);
    (void)pthread_mutex_unlock(&s->mu);
    berth_arena_fini(&a);
    if (r < 0 || saved < 0)
        return failed();
    return after(d->conf.forget_ns);
}

/* ---- a service that is wished for ---- */

static bool
is_mendable(int code)
{
    return code != -BERTH_EINVAL && code != -BERTH_EPERM && code != -BERTH_EAUTH &&
           code != -BERTH_EUNSUPPORTED && code != -BERTH_ECONFIG;
}

static bool
is_under_way(enum berth_phase p)
{
    return p == BERTH_PHASE_INITIALIZING || p == BERTH_PHASE_PIPELINE_EXECUTING ||
           p == BERTH_PHASE_ENVIRONMENT_DEPLOYING || p == BERTH_PHASE_HEALTH_CHECKING ||
           p == BERTH_PHASE_UPDATING;
}

/* A service whose plugins are missing runs on and is not looked after: that is told.  s->mu held.
 */
static void
say_unplugged_locked(struct berth_deploy *d, struct service *s, const struct berth_err *why,
                     struct pending *p)
{
    struct berth_err e;

    if (!atomic_load(&s->unplugged) ||
        (s->phase != BERTH_PHASE_RUNNING &&
         (s->phase != BERTH_PHASE_DEGRADED || strcmp(s->reason, why->msg) == 0)))
        return;
    (void)berth_service_move(d, s, BERTH_PHASE_DEGRADED, why->msg, p);
    if (berth_deploy_save(d, s, p, &e) < 0)
        berth_error("service %s: its state cannot be saved: %s", s->id, e.msg);
}

/* It could not be looked at. */
static struct berth_outcome
not_kept(struct berth_deploy *d, struct service *s, const struct berth_err *why)
{
    struct berth_arena a;
    struct pending p;

    pending_init(&p, &a);
    (void)pthread_mutex_lock(&s->mu);
    say_unplugged_locked(d, s, why, &p);
    (void)pthread_mutex_unlock(&s->mu);
    berth_arena_fini(&a);
    return failed();
}

/* A run of the stable track failed: when is the next one? */
static struct berth_outcome
stable_failed(struct berth_deploy *d, struct service *s, uint64_t generation, int code,
              const struct berth_err *why)
{
    struct berth_err e = {""};
    struct berth_arena a;
    struct pending p;
    struct berth_outcome ret = failed();

    pending_init(&p, &a);
    (void)pthread_mutex_lock(&s->mu);
    if (atomic_load(&s->generation) != generation) {
        ret = after(1); /* something else is wished for by now */
    } else if (!is_under_way(s->phase) && s->phase != BERTH_PHASE_FAILED) {
        say_unplugged_locked(d, s, why, &p);
        (void)snprintf(s->reason, sizeof s->reason, "%s", why->msg);
    } else {
        uint64_t wait = retry_first_ns;
        for (uint32_t i = 0; i < s->failed_runs && wait < retry_max_ns; i++)
            wait *= 2;
        wait = wait < retry_max_ns ? wait : retry_max_ns;
        s->failed_runs++;
        s->retry = false;
        s->retry_wall_ns = is_mendable(code) ? berth_deploy_wall(d) + wait : 0;
        (void)berth_service_move(d, s, BERTH_PHASE_FAILED, why->msg, &p);
        /* What ran before may have changed while this was tried: it is looked at soon. */
        if (s->tracks[STABLE].good > 0)
            ret = after(d->conf.poll_ns < wait ? d->conf.poll_ns : wait);
        else
            ret =
                is_mendable(code) ? after(wait) : (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
        if (berth_deploy_save(d, s, &p, &e) < 0) {
            berth_error("service %s: %s", s->id, e.msg);
            ret = failed();
        }
        berth_warn("service %s: failed: %s", s->id, why->msg);
    }
    (void)pthread_mutex_unlock(&s->mu);
    berth_arena_fini(&a);
    return ret;
}

static void
end_promotion(struct berth_deploy *d, struct service *s, uint64_t generation)
{
    struct berth_err e = {""};
    struct berth_arena a;
    struct pending p;

    pending_init(&p, &a);
    (void)pthread_mutex_lock(&s->mu);
    if (atomic_load(&s->generation) == generation) {
        s->promoting = false;
        s->tracks[CANARY].leaving = s->tracks[CANARY].wish != NULL;
    }
    if (berth_deploy_save(d, s, &p, &e) < 0)
        berth_error("service %s: %s", s->id, e.msg);
    (void)pthread_mutex_unlock(&s->mu);
    berth_arena_fini(&a);
}

/* 1: nothing to be done for the canary now. */
static int
reconcile_canary(struct berth_deploy *d, struct service *s, uint64_t *ret_wait_ns,
                 struct berth_err *e)
{
    const struct glance g = glance_at(s);
    int r;

    if (g.canary_wish == 0)
        return atomic_load(&s->stray) ? berth_stray_remove(d, s, e) : 1;
    if (g.canary_leaving)
        return berth_track_leave(d, s, e);
    if (g.canary_given_up)
        return 1;
    if (g.canary_good == g.canary_wish)
        return berth_track_keep(d, s, CANARY, ret_wait_ns, e);
    r = berth_track_bring(d, s, CANARY, ret_wait_ns, e);
    if (r < 0 && glance_at(s).canary_given_up)
        return 1;          /* which was told */
    return r == 1 ? 0 : r; /* there now: it is looked at from the next time on */
}

/* An update has failed, and what ran before may still run: it is not changed, but looked at, so
 * that requests find it (after a restart, too).  Come back after that, or when it is tried again.
 */
static struct berth_outcome
look_on(struct berth_deploy *d, struct service *s, const struct glance *g, uint64_t left_ns)
{
    const uint64_t good[TRACK_COUNT] = {g->good, g->canary_leaving ? 0 : g->canary_good};
    uint64_t wait_ns = left_ns;

    for (int i = 0; i < TRACK_COUNT; i++) {
        struct berth_deployment *x = NULL;
        struct berth_err e = {""};
        if (good[i] == 0)
            continue;
        int r = berth_deployment_new(&x, d, s, (enum which)i, &e);
        if (r == 0) {
            x->op.deadline_ns = berth_deploy_now(d) + 60 * BERTH_S;
            r = berth_deployment_look(x, &e);
        }
        const bool watches = r == 0 && BERTH_SHIMLET_HAS(x->environ->ops, watches) &&
                             x->environ->ops->watches(x->shimlet);
        const uint64_t next_ns = watches ? d->conf.resync_ns : d->conf.poll_ns;
        wait_ns = wait_ns == 0 || next_ns < wait_ns ? next_ns : wait_ns;
        if (r < 0)
            berth_debug("service %s: not looked at: %s", s->id, e.msg);
        berth_deployment_free(x);
    }
    return wait_ns > 0 ? after(wait_ns) : (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
}

static struct berth_outcome
reconcile(struct berth_deploy *d, struct service *s, const struct glance *g)
{
    uint64_t wait_ns = d->conf.poll_ns, canary_wait_ns = d->conf.resync_ns;
    struct berth_err e = {""};
    int r;

    if (g->phase == BERTH_PHASE_FAILED && !g->retry) {
        const uint64_t wall = berth_deploy_wall(d);
        if (g->retry_wall_ns == 0)
            return look_on(d, s, g, 0);
        if (wall < g->retry_wall_ns && !berth_service_is_back(d, s, g->phase_wall_ns))
            return look_on(d, s, g, g->retry_wall_ns - wall);
    }
    if (g->good != g->wish || is_under_way(g->phase) || g->phase == BERTH_PHASE_FAILED) {
        r = berth_track_bring(d, s, STABLE, &wait_ns, &e);
        if (r == 0)
            return after(wait_ns);
        if (r < 0) {
            const struct berth_outcome ret = stable_failed(d, s, g->generation, r, &e);
            if (berth_deploy_take_back(d, s->id, &e) < 0)
                berth_warn("service %s: not taken back: %s", s->id, e.msg);
            return ret;
        }
    }
    r = berth_track_keep(d, s, STABLE, &wait_ns, &e);
    if (r < 0)
        return not_kept(d, s, &e);
    const bool steady = r == 1;
    if (g->promoting)
        end_promotion(d, s, g->generation);
    r = reconcile_canary(d, s, &canary_wait_ns, &e);
    if (r < 0)
        return failed();
    if (r == 0)
        canary_wait_ns = d->conf.poll_ns;
    wait_ns = canary_wait_ns < wait_ns ? canary_wait_ns : wait_ns;
    return (struct berth_outcome){.kind = steady && r == 1 ? BERTH_OUTCOME_OK : BERTH_OUTCOME_AFTER,
                                  .after_ns = wait_ns};
}

/* What could not be written before. */
static void
catch_up(struct berth_deploy *d, struct service *s)
{
    struct berth_err e = {""};
    struct berth_arena a;
    struct pending p;

    pending_init(&p, &a);
    (void)pthread_mutex_lock(&s->mu);
    if (s->unsaved && berth_deploy_save(d, s, &p, &e) < 0)
        berth_error("service %s: its state cannot be saved: %s", s->id, e.msg);
    (void)pthread_mutex_unlock(&s->mu);
    berth_arena_fini(&a);
}

int
berth_service_reconcile(void *arg, const char *id, struct berth_outcome *ret)
{
    struct berth_deploy *d = arg;

    if (strcmp(id, ORPHANS_KEY) == 0) {
        if (!atomic_load(&d->stopping)) /* whichever was not queued once is not forgotten */
            (void)berth_deploy_poke_all(d, d->conf.resync_ns);
        *ret = atomic_load(&d->stopping) ? after(BERTH_S) : berth_orphans_sweep(d);
        return 0;
    }
    struct service *s = berth_deploy_service(d, id);

    if (s == NULL)
        return 0;
    const struct glance g = glance_at(s);
    catch_up(d, s); /* what runs is kept all the same */
    if (atomic_load(&d->stopping))
        *ret = after(BERTH_S);
    else if (berth_service_waits(d, s))
        *ret = after(d->conf.resync_ns);
    else if (g.phase == BERTH_PHASE_TERMINATED)
        *ret = terminated(d, s, &g);
    else if (g.deleting)
        *ret = remove_all(d, s, &g);
    else
        *ret = reconcile(d, s, &g);
    if (g.phase != BERTH_PHASE_TERMINATED && glance_at(s).unsaved)
        *ret = failed(); /* soon again */
    berth_service_unref(d, s);
    return 0;
}
