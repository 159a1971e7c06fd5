#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "deploy/progress_priv.h"
#include "wire/json.h"

/* How far a list of steps came: saved and told at each change. */

struct progress *
berth_progress_new(uint32_t step_count)
{
    struct progress *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->infos = calloc(step_count > 0 ? step_count : 1, sizeof *p->infos);
    p->run = calloc(1, berth_run_bytes(step_count));
    if (p->infos == NULL || p->run == NULL) {
        berth_progress_free(p);
        return NULL;
    }
    p->run->step_count = step_count;
    return p;
}

void
berth_progress_free(struct progress *p)
{
    if (p == NULL)
        return;
    free(p->infos);
    free(p->run);
    free(p);
}

/* ---- what is saved and told at each change ---- */

struct progress **
berth_progress_of(struct berth_deployment *x)
{
    return x->removing ? &x->s->removal : &x->s->tracks[x->which].progress;
}

/* The phase that a step's beginning stands for. */
static void
move_for_step(struct berth_deployment *x, const char *name)
{
    struct service *s = x->s;

    if (x->which != STABLE || x->removing)
        return;
    if (strcmp(name, "resource-deployment") == 0 &&
        (s->phase == BERTH_PHASE_PIPELINE_EXECUTING || s->phase == BERTH_PHASE_UPDATING))
        (void)berth_service_move(x->d, s, BERTH_PHASE_ENVIRONMENT_DEPLOYING, "", &x->pending);
    if (strcmp(name, "health-check") == 0 && (s->phase == BERTH_PHASE_PIPELINE_EXECUTING ||
                                              s->phase == BERTH_PHASE_ENVIRONMENT_DEPLOYING))
        (void)berth_service_move(x->d, s, BERTH_PHASE_HEALTH_CHECKING, "", &x->pending);
}

static void
tell_step(struct berth_deployment *x, uint32_t step, enum berth_step_state was)
{
    const struct berth_step_run *at = &x->run.steps[step];
    const bool ended = at->finished_wall_ns > at->started_wall_ns;
    struct berth_buf b;
    struct berth_jw w;

    berth_pending_begin(&x->pending, &b, &w, "service.step", x->s);
    berth_jw_key(&w, "step");
    berth_jw_string(&w, x->steps[step].name);
    berth_jw_key(&w, "event");
    berth_jw_string(&w, was == at->state ? "attempt" : berth_step_state_name(at->state));
    berth_jw_key(&w, "fromState");
    berth_jw_string(&w, berth_step_state_name(was));
    berth_jw_key(&w, "toState");
    berth_jw_string(&w, berth_step_state_name(at->state));
    berth_jw_key(&w, "state");
    berth_jw_string(&w, berth_step_state_name(at->state));
    berth_jw_key(&w, "attempt");
    berth_jw_uint(&w, at->attempts);
    berth_jw_key(&w, "durationMs");
    berth_jw_uint(&w, ended ? (at->finished_wall_ns - at->started_wall_ns) / BERTH_MS : 0);
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, x->asker);
    berth_jw_key(&w, "parameters");
    berth_jw_object(&w);
    berth_jw_key(&w, "revision");
    berth_jw_uint(&w, x->revision->number);
    berth_jw_key(&w, "track");
    berth_jw_string(&w, x->which == CANARY ? "canary" : "stable");
    berth_jw_object_end(&w);
    berth_jw_key(&w, "level");
    berth_jw_string(&w, at->state == BERTH_STEP_FAILED     ? "error"
                        : at->state == BERTH_STEP_RETRYING ? "warn"
                                                           : "info");
    berth_jw_key(&w, "message");
    berth_jw_string(&w, at->error);
    berth_pending_end(&x->pending, &b, &w);
}

/* A canary that does not come about stays as it is, and the service with it, which says why. */
static void
tell_failed_canary(struct berth_deployment *x, char reason[REASON_MAX])
{
    (void)snprintf(reason, REASON_MAX, "the canary failed: %s: %s", x->steps[x->run.failed].name,
                   x->run.steps[x->run.failed].error);
    berth_pending_note(&x->pending, x->s, "error", reason);
}

int
berth_progress_save(struct berth_deployment *x, struct berth_err *e)
{
    struct progress *p = *berth_progress_of(x);
    /* Nobody replaces the progress but the one reconcile of this service. */
    const bool fails =
        x->which == CANARY && x->run.state == BERTH_RUN_FAILED && p->run->state != BERTH_RUN_FAILED;
    char reason[REASON_MAX];
    int r = 0;

    if (fails)
        tell_failed_canary(x, reason);
    (void)pthread_mutex_lock(&x->s->mu);
    memcpy(p->run, &x->run, berth_run_bytes(x->run.step_count));
    if (fails) /* with the run, so that nobody sees a canary that failed and no reason */
        (void)snprintf(x->s->reason, sizeof x->s->reason, "%s", reason);
    if (x->pending.count > 0 || x->unsaved)
        r = berth_deploy_save(x->d, x->s, &x->pending, e);
    (void)pthread_mutex_unlock(&x->s->mu);
    if (r == 0)
        x->unsaved = false;
    return r;
}

int
berth_progress_observe(void *arg, const struct berth_run *run, uint32_t step,
                       enum berth_step_state was)
{
    struct berth_deployment *x = arg;
    const struct berth_step_run *at = &run->steps[step];
    const char *flow = x->flow->ops->name;
    struct berth_err e;

    if (was == BERTH_STEP_RUNNING && at->state == was)
        return 0; /* the first attempt of a step whose beginning is saved */
    tell_step(x, step, was);
    x->unsaved = true;
    if (at->state == BERTH_STEP_RETRYING)
        berth_deploy_count_retry(x->d, flow, x->steps[step].name);
    if (at->state == BERTH_STEP_SUCCEEDED || at->state == BERTH_STEP_FAILED)
        berth_deploy_count_step(x->d, flow, x->steps[step].name, at->state == BERTH_STEP_SUCCEEDED,
                                at->spent_ns);
    if (at->state == BERTH_STEP_RUNNING) {
        (void)pthread_mutex_lock(&x->s->mu);
        if (atomic_load(&x->s->generation) == x->op.generation)
            move_for_step(x, x->steps[step].name);
        (void)pthread_mutex_unlock(&x->s->mu);
    }
    /* The end of a step is saved together with the beginning of the next one. */
    if (at->state == BERTH_STEP_SUCCEEDED && run->state == BERTH_RUN_GOING &&
        x->pending.count < BERTH_EVENTS_AT_ONCE_MAX / 2)
        return 0;
    const int r = berth_progress_save(x, &e);
    if (r < 0)
        berth_error("service %s: how far it came cannot be saved: %s", x->s->id, e.msg);
    return r;
}
