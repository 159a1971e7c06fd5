#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "deploy/change_priv.h"
#include "wire/json.h"

/* What people ask for: each change is in the store before it is answered. */

/* ---- create ---- */

static int
new_id(struct berth_deploy *d, const struct berth_spec *spec, struct berth_arena *a,
       char id[BERTH_SERVICE_ID_MAX], struct berth_err *e)
{
    const uint64_t x = berth_deploy_random(d), y = berth_deploy_random(d);
    char uuid[BERTH_UUID_TEXT];

    (void)snprintf(uuid, sizeof uuid, "%08x-%04x-4%03x-%04x-%012" PRIx64, (unsigned)(x >> 32),
                   (unsigned)(x >> 16 & 0xffff), (unsigned)(x & 0xfff),
                   (unsigned)(0x8000 | (y >> 48 & 0x3fff)), y & UINT64_C(0xffffffffffff));
    const char *name = berth_name_service(spec->model_name, uuid, a);
    if (name == NULL || strlen(name) >= BERTH_SERVICE_ID_MAX)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", spec->model_name);
    (void)snprintf(id, BERTH_SERVICE_ID_MAX, "%s", name);
    return 0;
}

static int
create(struct change *c, const struct berth_spec *spec, struct berth_err *e)
{
    struct service *s = c->s;
    int r;

    s->phase = BERTH_PHASE_INITIALIZING;
    s->created_wall_ns = s->phase_wall_ns = berth_deploy_wall(c->d);
    s->canary_percent = spec->canary_percent;
    berth_change_asker(c);
    const struct before before = berth_change_before(s);
    if ((r = berth_change_revision(c, spec, &s->tracks[STABLE].wish, e)) < 0)
        return r;
    s->last_revision = s->tracks[STABLE].wish->number;
    berth_change_audit_spec(c, "service.created", "deploy", NULL, s->tracks[STABLE].wish);
    berth_service_came(c->d, s, &c->pending);
    if ((r = berth_change_write(c, &before, e)) == 0)
        berth_deploy_count_move(c->d, BERTH_PHASE_COUNT, s->phase);
    return r;
}

int
berth_deploy_create(struct berth_deploy *d, const struct berth_spec *spec,
                    const struct berth_actor *who, char id[BERTH_SERVICE_ID_MAX],
                    struct berth_err *e)
{
    char made[BERTH_SERVICE_ID_MAX] = "";
    struct change c;
    int r = berth_deploy_check_names(d, spec->shimlet, spec->pipeline, e);

    if (r < 0)
        return r;
    berth_change_init(&c, d, who);
    r = new_id(d, spec, &c.a, made, e);
    if (r == 0 && (c.s = berth_service_new(made)) == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", made);
    if (r == 0) {
        /* Before others find it: they read this without its mu. */
        (void)snprintf(c.s->shimlet, sizeof c.s->shimlet, "%s", spec->shimlet);
        (void)pthread_mutex_lock(&c.s->mu);
        if ((r = berth_deploy_add_service(d, c.s, e)) == 0 && (r = create(&c, spec, e)) < 0) {
            c.s->deleting = true; /* for those who found it meanwhile */
            berth_deploy_drop_service(d, c.s);
        }
    }
    if ((r = berth_change_end(&c, r)) == 0)
        (void)snprintf(id, BERTH_SERVICE_ID_MAX, "%s", made);
    return r;
}

/* ---- update, and what is one ---- */

/*
 * Something else is wished for: who asks for the phase after the answer reads what becomes of this
 * wish, not of the one before.  A failed service is tried at once.
 */
static void
move_for_wish(struct change *c)
{
    struct service *s = c->s;
    const enum berth_phase from = s->phase;

    s->failed_runs = 0;
    if (from == BERTH_PHASE_FAILED)
        s->retry = true;
    if (s->tracks[STABLE].good == s->tracks[STABLE].wish->number)
        return; /* it is there already */
    if (from == BERTH_PHASE_FAILED && s->tracks[STABLE].good == 0)
        (void)berth_service_move(c->d, s, BERTH_PHASE_PIPELINE_EXECUTING, "", &c->pending);
    else if (from == BERTH_PHASE_FAILED || from == BERTH_PHASE_RUNNING ||
             from == BERTH_PHASE_DEGRADED)
        (void)berth_service_move(c->d, s, BERTH_PHASE_UPDATING, "", &c->pending);
}

/* The stable track is to become the spec; a canary goes. */
static int
wish_stable(struct change *c, const struct before *before, const struct berth_spec *spec,
            const char *action, uint64_t *ret_revision, struct berth_err *e)
{
    struct service *s = c->s;
    struct revision *new = NULL;
    int r = berth_change_revision(c, spec, &new, e);

    if (r < 0) {
        berth_change_put_back(s, before);
        return r;
    }
    berth_change_asker(c);
    berth_change_audit_spec(c, "service.updated", action, &s->tracks[STABLE].wish->spec, new);
    s->tracks[STABLE].wish = new;
    s->last_revision = new->number;
    move_for_wish(c);
    const uint64_t number = new->number;
    if ((r = berth_change_write(c, before, e)) == 0) {
        *ret_revision = number;
        c->rewished = true;
    }
    return r;
}

static int
wish_canary(struct change *c, const struct berth_spec *spec, uint64_t *ret_revision,
            struct berth_err *e)
{
    struct service *s = c->s;
    struct track *t = &s->tracks[CANARY];
    struct revision *new = NULL;
    const struct before before = berth_change_before(s);
    int r = berth_change_revision(c, spec, &new, e);

    if (r < 0)
        return r;
    berth_change_asker(c);
    berth_change_audit_spec(c, "service.updated", "canary", &s->tracks[STABLE].wish->spec, new);
    t->wish = new;
    t->leaving = false;
    s->promoting = false;
    s->canary_percent = spec->canary_percent;
    s->last_revision = new->number;
    const uint64_t number = new->number;
    if ((r = berth_change_write(c, &before, e)) == 0)
        *ret_revision = number;
    return r;
}

int
berth_service_takes(const struct service *s, const struct berth_spec *spec, struct berth_err *e)
{
    if (s->deleting || s->tracks[STABLE].wish == NULL)
        return berth_err_set(e, BERTH_EEXIST, "service %s is being deleted", s->id);
    if (strcmp(spec->shimlet, s->shimlet) != 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "service %s runs on %s and cannot move to %s: deploy it there, then "
                             "delete this one",
                             s->id, s->shimlet, spec->shimlet);
    return 0;
}

static int
update(struct change *c, const struct berth_spec *spec, uint64_t expected, uint64_t *ret_revision,
       struct berth_err *e)
{
    struct service *s = c->s;
    const struct berth_spec *now = &s->tracks[STABLE].wish->spec;
    const struct track *canary = &s->tracks[CANARY];

    if (expected > 0 && expected != s->last_revision)
        return berth_err_set(e, BERTH_EEXIST,
                             "service %s is at revision %" PRIu64 " by now, not %" PRIu64
                             ": look at it and send the update again",
                             s->id, s->last_revision, expected);
    struct berth_spec whole;
    int r = berth_service_takes(s, spec, e);
    if (r < 0 || (r = berth_spec_unmasked(spec, now, &c->a, &whole, e)) < 0)
        return r;
    spec = &whole;
    const bool wants_canary =
        spec->strategy == BERTH_STRATEGY_CANARY && strcmp(spec->hash, now->hash) != 0;
    const struct berth_spec *same = wants_canary ? NULL : now;
    if (wants_canary && canary->wish != NULL && !canary->leaving)
        same = &canary->wish->spec;
    if (same != NULL && same->json_len == spec->json_len &&
        memcmp(same->json, spec->json, spec->json_len) == 0 &&
        (wants_canary || canary->wish == NULL || canary->leaving)) {
        *ret_revision = wants_canary ? canary->wish->number : s->tracks[STABLE].wish->number;
        return 0;
    }
    if (wants_canary && s->tracks[STABLE].good > 0) {
        /* Nothing would come of it, and nothing fail, until the plugin is there again. */
        r = berth_deploy_check_names(c->d, s->shimlet, NULL, e);
        return r < 0 ? r : wish_canary(c, spec, ret_revision, e);
    }
    const struct before before = berth_change_before(s);
    s->tracks[CANARY].leaving = canary->wish != NULL;
    s->promoting = false;
    return wish_stable(c, &before, spec, "update", ret_revision, e);
}

int
berth_deploy_update(struct berth_deploy *d, const char *id, const struct berth_spec *spec,
                    uint64_t expected, const struct berth_actor *who, uint64_t *ret_revision,
                    struct berth_err *e)
{
    struct change c;
    int r = berth_deploy_check_names(d, NULL, spec->pipeline, e);

    if (r < 0)
        return r;
    if ((r = berth_change_begin_alive(&c, d, id, who, e)) == 0)
        r = update(&c, spec, expected, ret_revision, e);
    return berth_change_end(&c, r);
}

int
berth_deploy_scale(struct berth_deploy *d, const char *id, uint32_t replicas,
                   const struct berth_actor *who, uint64_t *ret_revision, struct berth_err *e)
{
    struct berth_spec scaled;
    struct change c;
    int r;

    if ((r = berth_change_begin_alive(&c, d, id, who, e)) == 0) {
        const struct before before = berth_change_before(c.s);
        const struct revision *now = c.s->tracks[STABLE].wish;
        if (now->spec.replicas == replicas)
            *ret_revision = now->number;
        else if ((r = berth_spec_scaled(&now->spec, replicas, &c.a, &scaled, e)) == 0)
            r = wish_stable(&c, &before, &scaled, "scale", ret_revision, e);
    }
    return berth_change_end(&c, r);
}

/* The number of the revision before the present one that ran as the stable one; 0: none is kept. */
static uint64_t
one_before(struct change *c, struct berth_err *e)
{
    const uint64_t now = c->s->tracks[STABLE].wish->number;
    struct revision *r;

    for (uint64_t n = now - 1; n > 0 && now - n <= c->d->conf.revisions_max; n--) {
        if (berth_revision_load(c->d, c->s->id, n, &r, e) < 0)
            continue;
        const bool fits =
            r->good && strcmp(r->spec.json, c->s->tracks[STABLE].wish->spec.json) != 0;
        berth_revision_unref(r);
        if (fits)
            return n;
    }
    return 0;
}

static int
rollback(struct change *c, uint64_t revision, uint64_t *ret_revision, struct berth_err *e)
{
    struct service *s = c->s;
    struct track *canary = &s->tracks[CANARY];
    const struct before before = berth_change_before(s);
    struct revision *old = NULL;
    int r;

    /* While it is promoted the stable track has its spec: then that goes back, too. */
    if (revision == 0 && canary->wish != NULL && !canary->leaving && !s->promoting) {
        canary->leaving = true;
        return wish_stable(c, &before, &s->tracks[STABLE].wish->spec, "rollback", ret_revision, e);
    }
    if (revision == 0 && (revision = one_before(c, e)) == 0)
        return berth_err_set(e, BERTH_ENOENT,
                             "service %s: no revision before this one ran; name the one that "
                             "is meant",
                             s->id);
    if ((r = berth_revision_load(c->d, s->id, revision, &old, e)) < 0)
        return r;
    canary->leaving = canary->wish != NULL;
    s->promoting = false;
    r = wish_stable(c, &before, &old->spec, "rollback", ret_revision, e);
    berth_revision_unref(old);
    return r;
}

int
berth_deploy_rollback(struct berth_deploy *d, const char *id, uint64_t revision,
                      const struct berth_actor *who, uint64_t *ret_revision, struct berth_err *e)
{
    struct change c;
    int r;

    if ((r = berth_change_begin_alive(&c, d, id, who, e)) == 0)
        r = rollback(&c, revision, ret_revision, e);
    return berth_change_end(&c, r);
}

int
berth_deploy_take_back(struct berth_deploy *d, const char *id, struct berth_err *e)
{
    /* What comes back was asked for by somebody who might. */
    static const struct berth_actor engine = {
        .name = "berth", .peer = "", .known = true, .scopes = BERTH_CALLER_MANAGE};
    struct revision *good = NULL;
    uint64_t ignored;
    struct change c;
    int r = berth_change_begin(&c, d, id, &engine, e);

    if (r == 0) {
        const struct track *t = &c.s->tracks[STABLE];
        const uint64_t number = t->good;
        /* Only of what is wished for now: a newer wish has been acknowledged. */
        const bool is = !c.s->deleting && t->progress != NULL && t->progress->taken_back &&
                        t->progress->revision == t->wish->number && number > 0 &&
                        number != t->wish->number;
        r = is ? berth_revision_load(d, c.s->id, number, &good, e) : 1;
        if (r == 0 && strcmp(good->spec.hash, t->wish->spec.hash) == 0)
            r = 1; /* it is the good one that does not come about */
        if (r == 0)
            r = rollback(&c, number, &ignored, e);
        berth_revision_unref(good);
    }
    return berth_change_end(&c, r);
}

static int
no_canary(const struct service *s, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL,
                         "service %s has no canary: update it with strategy canary first", s->id);
}

int
berth_deploy_promote(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                     uint64_t *ret_revision, struct berth_err *e)
{
    struct change c;
    int r;

    if ((r = berth_change_begin_alive(&c, d, id, who, e)) == 0) {
        struct track *canary = &c.s->tracks[CANARY];
        if (canary->wish == NULL || canary->leaving)
            r = no_canary(c.s, e);
        else {
            const struct before before = berth_change_before(c.s);
            c.s->promoting = true;
            c.s->canary_percent = 100;
            r = wish_stable(&c, &before, &canary->wish->spec, "promote", ret_revision, e);
        }
    }
    return berth_change_end(&c, r);
}

int
berth_deploy_weight(struct berth_deploy *d, const char *id, uint32_t percent,
                    const struct berth_actor *who, struct berth_err *e)
{
    struct change c;
    int r;

    if (percent > 100)
        return berth_err_set(e, BERTH_EINVAL, "weight: %u is more than 100 percent", percent);
    if ((r = berth_change_begin_alive(&c, d, id, who, e)) == 0) {
        const struct before before = berth_change_before(c.s);
        if (c.s->tracks[CANARY].wish == NULL || c.s->tracks[CANARY].leaving)
            r = no_canary(c.s, e);
        else {
            c.s->canary_percent = percent;
            berth_change_asker(&c);
            berth_change_audit_number(&c, "service.updated", "weight", "weight", percent);
            r = berth_change_write(&c, &before, e);
        }
    }
    return berth_change_end(&c, r);
}

/* ---- the rest ---- */

int
berth_deploy_delete(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                    struct berth_err *e)
{
    struct change c;
    struct berth_buf b;
    struct berth_jw w;
    int r = berth_change_begin(&c, d, id, who, e);

    if (r == -BERTH_ENOENT)
        return berth_change_end(&c, 0);
    if (r == 0 && !c.s->deleting) {
        const struct before before = berth_change_before(c.s);
        c.s->deleting = true;
        c.s->tracks[CANARY].leaving = c.s->tracks[CANARY].wish != NULL;
        berth_change_asker(&c);
        berth_change_audit(&c, &b, &w, "service.deleted", "delete");
        berth_jw_object(&w);
        berth_jw_object_end(&w);
        berth_pending_end(&c.pending, &b, &w);
        (void)berth_service_move(d, c.s, BERTH_PHASE_TERMINATING, "", &c.pending);
        r = berth_change_write(&c, &before, e);
    }
    return berth_change_end(&c, r);
}

int
berth_deploy_retry(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                   struct berth_err *e)
{
    struct change c;
    int r = berth_change_begin_alive(&c, d, id, who, e);

    if (r == 0) {
        const struct before before = berth_change_before(c.s);
        berth_change_asker(&c);
        move_for_wish(&c);
        berth_change_audit_number(&c, "service.updated", "retry", "revision", c.s->last_revision);
        r = berth_change_write(&c, &before, e);
    }
    return berth_change_end(&c, r);
}
