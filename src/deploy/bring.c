#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "deploy/progress_priv.h"
#include "wire/json.h"

/* Bringing a track about: the pipeline's goals as steps of a run that is saved at each change. */

enum { ARENA_BYTES_MAX = 8 << 20, SCRATCH_BYTES_MAX = 2 << 20, RETRIES_DEFAULT = 10 };

/* ---- a service while it is worked on ---- */

int
berth_deployment_new(struct berth_deployment **ret, struct berth_deploy *d, struct service *s,
                     enum which which, struct berth_err *e)
{
    struct berth_deployment *x = calloc(1, sizeof *x);
    int r = 0;

    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", s->id);
    x->d = d;
    x->s = s;
    x->which = which;
    berth_arena_init(&x->arena, ARENA_BYTES_MAX);
    berth_arena_init(&x->scratch, SCRATCH_BYTES_MAX);
    x->pending.a = &x->arena;
    (void)pthread_mutex_lock(&s->mu);
    x->revision = berth_revision_ref(s->tracks[which].wish);
    x->op = (struct berth_op){.d = d, .s = s, .generation = atomic_load(&s->generation)};
    (void)snprintf(x->asker, sizeof x->asker, "%s", s->asker);
    x->caller = (struct berth_caller){.struct_size = sizeof x->caller,
                                      .name = x->asker,
                                      .known = s->asker_known,
                                      .scopes = s->asker_scopes};
    (void)pthread_mutex_unlock(&s->mu);
    if (x->revision == NULL) {
        r = berth_err_set(e, BERTH_ENOENT, "service %s: nothing is wished for on this track",
                          s->id);
    } else if ((x->environ = berth_environ_get(d, s->shimlet)) == NULL) {
        r = berth_environ_unknown(d, s->shimlet, e);
    } else if ((x->flow = berth_flow_get(d, x->revision->spec.pipeline)) == NULL) {
        r = berth_flow_unknown(d, x->revision->spec.pipeline, e);
    } else if ((r = berth_environ_open(x->environ, &x->shimlet, e)) == 0) {
        r = berth_json_parse(&x->arena, x->revision->spec.json, x->revision->spec.json_len, NULL,
                             &x->spec, e);
    }
    atomic_store(&s->unplugged, x->revision != NULL && (x->environ == NULL || x->flow == NULL));
    if (r < 0) {
        berth_deployment_free(x);
        return r;
    }
    *ret = x;
    return 0;
}

void
berth_deployment_free(struct berth_deployment *x)
{
    if (x == NULL)
        return;
    berth_environ_put(x->d, x->environ);
    berth_flow_put(x->d, x->flow);
    berth_revision_unref(x->revision);
    berth_arena_fini(&x->arena);
    berth_arena_fini(&x->scratch);
    free(x);
}

/* ---- goals as steps ---- */

const char *const *
berth_flow_names(const struct berth_pipeline_ops *ops)
{
    return BERTH_PIPELINE_HAS(ops, deploy) ? NULL : ops->steps();
}

int
berth_flow_steps(const struct flow *f, bool removing, const struct berth_goal **ret_goals,
                 const char *const **ret_names, uint32_t *ret_count, struct berth_err *e)
{
    const struct berth_goal *goals = NULL;
    const char *const *names = NULL;
    uint32_t n = 0;

    if (removing)
        goals = BERTH_PIPELINE_HAS(f->ops, remove) ? f->ops->remove : berth_goals_remove;
    else if (BERTH_PIPELINE_HAS(f->ops, deploy))
        goals = f->ops->deploy;
    else
        names = f->names;
    while (n <= BERTH_STEPS_MAX &&
           (goals != NULL ? goals[n].name != NULL : names != NULL && names[n] != NULL))
        n++;
    if (n == 0 || n > BERTH_STEPS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "pipeline %s has %s steps, 1 to %d are possible",
                             f->ops->name, n == 0 ? "no" : "more", BERTH_STEPS_MAX);
    *ret_goals = goals;
    *ret_names = names;
    *ret_count = n;
    return 0;
}

/* Until when a step's function may take: the time that its step has left. */
static struct berth_deployment *
begin_call(void *arg, const struct berth_step *step)
{
    struct berth_deployment *x = arg;
    const uint64_t spent = x->run.steps[x->run.at].spent_ns;
    const uint64_t limit = step->policy.timeout_ns;

    berth_arena_reset(&x->scratch);
    x->at = step;
    x->op.deadline_ns =
        berth_deploy_now(x->d) + (spent + BERTH_S < limit ? limit - spent : BERTH_S);
    return x;
}

/* A call that was cut short because its time is up says so, not that somebody gave up. */
static int
end_call(const struct berth_deployment *x, int r)
{
    if (r == -BERTH_ECANCELED && !atomic_load(&x->d->stopping) &&
        atomic_load(&x->s->generation) == x->op.generation)
        return -BERTH_EDEADLINE;
    return r;
}

static int
goal_achieved(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = begin_call(arg, step);
    const struct berth_goal *g = step->own;

    return end_call(x, g->achieved(x, e));
}

static int
goal_ensure(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = begin_call(arg, step);
    const struct berth_goal *g = step->own;

    return end_call(x, g->ensure(x, e));
}

static int
goal_rollback(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = begin_call(arg, step);
    const struct berth_goal *g = step->own;

    x->op.deadline_ns = berth_deploy_now(x->d) + 60 * BERTH_S;
    return end_call(x, g->rollback(x, e));
}

static int
named_ensure(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = begin_call(arg, step);

    return end_call(x, x->flow->ops->run_step(step->name, x, e));
}

/* The first of the three that says something wins: the spec, the goal, the pipeline. */
static struct berth_policy
merged_policy(const struct berth_policy *spec, const struct berth_policy *goal,
              const struct berth_policy *flow)
{
    const struct berth_policy *const order[] = {spec, goal, flow};
    struct berth_policy p = {0};

    for (size_t i = 0; i < BERTH_COUNT(order); i++) {
        if (order[i] == NULL)
            continue;
        if (p.retries_max == 0)
            p.retries_max = order[i]->retries_max;
        if (p.timeout_ms == 0)
            p.timeout_ms = order[i]->timeout_ms;
        if (p.backoff_ms == 0)
            p.backoff_ms = order[i]->backoff_ms;
        if (p.backoff_max_ms == 0)
            p.backoff_max_ms = order[i]->backoff_max_ms;
        if (p.on_failure == BERTH_ON_FAILURE_DEFAULT)
            p.on_failure = order[i]->on_failure;
    }
    return p;
}

/* How long a step may take when nobody says: a rolling change goes in rounds of a start each. */
static uint64_t
default_timeout_ns(const struct berth_deployment *x, const char *name)
{
    const struct berth_spec *spec = &x->revision->spec;
    const uint64_t minutes = 300 * BERTH_S;
    const uint32_t at_once = spec->surge_max + spec->unavailable_max;
    uint64_t rounds = 1;

    if (strcmp(name, "resource-deployment") == 0)
        rounds = 1 + (spec->strategy == BERTH_STRATEGY_RECREATE
                          ? 1
                          : spec->replicas / (at_once > 0 ? at_once : 1));
    else if (strcmp(name, "health-check") != 0 && strcmp(name, "resource-removal") != 0)
        return minutes;
    const uint64_t ns = (spec->start_timeout_ns + spec->drain_timeout_ns) * rounds;
    return ns > minutes ? ns : minutes;
}

static void
fill_policy(const struct berth_deployment *x, struct berth_step *step,
            const struct berth_policy *goal)
{
    static const uint64_t never = (UINT64_C(1) << BERTH_EINVAL) | (UINT64_C(1) << BERTH_EPERM) |
                                  (UINT64_C(1) << BERTH_EAUTH) |
                                  (UINT64_C(1) << BERTH_EUNSUPPORTED) |
                                  (UINT64_C(1) << BERTH_ELIMIT) | (UINT64_C(1) << BERTH_ECONFIG);
    const struct berth_spec_step *own = berth_spec_step_of(&x->revision->spec, step->name);
    const struct berth_policy p = merged_policy(
        own != NULL ? &own->policy : NULL, goal,
        x->flow->ops->struct_size >= sizeof *x->flow->ops ? &x->flow->ops->policy : NULL);

    step->policy = (struct berth_step_policy){
        .max_retries = p.retries_max == 0            ? RETRIES_DEFAULT
                       : p.retries_max == UINT32_MAX ? 0
                                                     : p.retries_max,
        .timeout_ns =
            p.timeout_ms > 0 ? p.timeout_ms * BERTH_MS : default_timeout_ns(x, step->name),
        .poll_ns = x->d->conf.poll_ns < BERTH_S ? x->d->conf.poll_ns : BERTH_S,
        .backoff = {.initial_ns = p.backoff_ms > 0 ? p.backoff_ms * BERTH_MS : 200 * BERTH_MS,
                    .max_ns = p.backoff_max_ms > 0 ? p.backoff_max_ms * BERTH_MS : 10 * BERTH_S,
                    .jitter_percent = 20},
        .retry_on = ~never,
        .on_failure = p.on_failure == BERTH_ON_FAILURE_CONTINUE   ? BERTH_STEP_CONTINUE
                      : p.on_failure == BERTH_ON_FAILURE_ROLLBACK ? BERTH_STEP_ROLLBACK
                                                                  : BERTH_STEP_ABORT};
}

/* Fill x->steps for deploying or removing. */
static int
fill_steps(struct berth_deployment *x, bool removing, struct berth_err *e)
{
    const struct berth_goal *goals;
    const char *const *names;
    int r = berth_flow_steps(x->flow, removing, &goals, &names, &x->step_count, e);

    if (r < 0)
        return r;
    x->removing = removing;
    for (uint32_t i = 0; i < x->step_count; i++) {
        struct berth_step *step = &x->steps[i];
        const struct berth_goal *g = goals != NULL ? &goals[i] : NULL;
        *step = (struct berth_step){.name = g != NULL ? g->name : names[i], .ensure = named_ensure};
        if (g != NULL) {
            step->own = (void *)g;
            step->is_achieved = g->achieved != NULL ? goal_achieved : NULL;
            step->ensure = g->ensure != NULL ? goal_ensure : NULL;
            step->rollback = g->rollback != NULL ? goal_rollback : NULL;
            step->in_rounds = g->achieved != NULL && g->ensure != NULL;
        }
        fill_policy(x, step, g != NULL ? &g->policy : NULL);
        const struct berth_spec_step *own = berth_spec_step_of(&x->revision->spec, step->name);
        if (own != NULL && !removing) {
            step->pre = own->pre_hook != NULL ? berth_hook_pre : NULL;
            step->post = own->post_hook != NULL ? berth_hook_post : NULL;
        }
    }
    return berth_steps_check(x->steps, x->step_count, e);
}

/* ---- a run ---- */

static void
clock_of(void *arg, uint64_t *ret_now_ns, uint64_t *ret_wall_ns)
{
    const struct berth_deployment *x = arg;

    *ret_now_ns = berth_deploy_now(x->d);
    *ret_wall_ns = berth_deploy_wall(x->d);
}

static uint64_t
random_of(void *arg)
{
    const struct berth_deployment *x = arg;

    return berth_deploy_random(x->d);
}

/* Is the run that is kept one of these steps? */
static bool
is_of_these(const struct berth_deployment *x, const struct progress *p)
{
    if (p == NULL || p->revision != x->revision->number || p->run->step_count != x->step_count)
        return false;
    for (uint32_t i = 0; i < x->step_count; i++) {
        if (strcmp(p->infos[i].name, x->steps[i].name) != 0)
            return false;
    }
    return true;
}

static int
begin_run(struct berth_deployment *x, struct berth_err *e)
{
    struct progress *p = berth_progress_new(x->step_count), **at = berth_progress_of(x), *old;
    struct track *t = &x->s->tracks[x->which];

    if (p == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "service %s: out of memory", x->s->id);
    p->revision = x->revision->number;
    p->started_wall_ns = berth_deploy_wall(x->d);
    for (uint32_t i = 0; i < x->step_count; i++) {
        (void)snprintf(p->infos[i].name, sizeof p->infos[i].name, "%s", x->steps[i].name);
        p->infos[i].max_retries = x->steps[i].policy.max_retries;
        p->infos[i].timeout_ns = x->steps[i].policy.timeout_ns;
    }
    berth_run_init(&x->run, x->step_count);
    memcpy(p->run, &x->run, berth_run_bytes(x->step_count));
    (void)pthread_mutex_lock(&x->s->mu);
    old = *at;
    *at = p;
    if (!x->removing)
        berth_values_begin(t);
    (void)pthread_mutex_unlock(&x->s->mu);
    berth_progress_free(old);
    x->unit_made = false;
    x->unsaved = true;
    return 0;
}

/* The service's phase when a run begins or is taken up again. */
static void
move_for_run_locked(struct berth_deployment *x)
{
    struct service *s = x->s;

    if (x->which != STABLE || x->removing || atomic_load(&s->generation) != x->op.generation)
        return;
    if (x->run.steps[0].state != BERTH_STEP_PENDING &&
        (s->phase == BERTH_PHASE_PIPELINE_EXECUTING ||
         s->phase == BERTH_PHASE_ENVIRONMENT_DEPLOYING || s->phase == BERTH_PHASE_HEALTH_CHECKING))
        return; /* it goes on where it was */
    if (s->phase == BERTH_PHASE_RUNNING || s->phase == BERTH_PHASE_DEGRADED ||
        s->phase == BERTH_PHASE_ENVIRONMENT_DEPLOYING || s->phase == BERTH_PHASE_HEALTH_CHECKING ||
        (s->phase == BERTH_PHASE_FAILED && s->tracks[STABLE].good > 0))
        (void)berth_service_move(x->d, s, BERTH_PHASE_UPDATING, "", &x->pending);
    (void)berth_service_move(x->d, s, BERTH_PHASE_PIPELINE_EXECUTING, "", &x->pending);
}

static int
advance(struct berth_deployment *x, uint64_t *ret_wait_ns, struct berth_err *e)
{
    const struct berth_steps_env env = {
        .arg = x, .clock = clock_of, .random = random_of, .observe = berth_progress_observe};
    int r = 0, saved;

    if (!is_of_these(x, *berth_progress_of(x)))
        r = begin_run(x, e);
    else
        memcpy(&x->run, (*berth_progress_of(x))->run, berth_run_bytes(x->step_count));
    if (r < 0)
        return r;
    if (x->run.state == BERTH_RUN_DONE)
        return BERTH_ADVANCE_DONE;
    if (x->run.state == BERTH_RUN_FAILED) {
        berth_run_restart(&x->run, 0);
        x->unsaved = true;
    }
    (void)pthread_mutex_lock(&x->s->mu);
    move_for_run_locked(x);
    (void)pthread_mutex_unlock(&x->s->mu);
    r = berth_steps_advance(x->steps, x->step_count, &x->run, &env, ret_wait_ns);
    saved = berth_progress_save(x, e);
    if (r < 0)
        return berth_err_set(e, BERTH_EIO, "service %s: its state cannot be saved", x->s->id);
    return saved < 0 ? saved : r;
}

/* The run has come to an end: say so, and count it. */
static void
end_run(struct berth_deployment *x, bool ok)
{
    const struct progress *p = *berth_progress_of(x);
    const uint64_t wall = berth_deploy_wall(x->d);

    berth_deploy_count_run(x->d, x->flow->ops->name, x->environ->ops->name, ok,
                           wall > p->started_wall_ns ? wall - p->started_wall_ns : 0);
}

static int
done_locked(struct berth_deployment *x, struct berth_err *e)
{
    struct service *s = x->s;
    struct track *t = &s->tracks[x->which];
    bool changed = t->good != x->revision->number;

    berth_values_settle(t, x->revision->number);
    t->good = x->revision->number;
    if (x->which == STABLE && atomic_load(&s->generation) == x->op.generation &&
        s->phase != BERTH_PHASE_RUNNING && s->phase != BERTH_PHASE_DEGRADED) {
        s->failed_runs = 0;
        s->retry_wall_ns = 0;
        s->retry = false;
        (void)berth_service_move(x->d, s, BERTH_PHASE_RUNNING, "", &x->pending);
        changed = true;
    }
    return changed ? berth_deploy_save(x->d, s, &x->pending, e) : 0;
}

/* Does the step that failed say that what was before is to come back? */
static void
note_taken_back(struct berth_deployment *x)
{
    (void)pthread_mutex_lock(&x->s->mu);
    (*berth_progress_of(x))->taken_back =
        x->steps[x->run.failed].policy.on_failure == BERTH_STEP_ROLLBACK;
    (void)pthread_mutex_unlock(&x->s->mu);
}

int
berth_track_bring(struct berth_deploy *d, struct service *s, enum which which,
                  uint64_t *ret_wait_ns, struct berth_err *e)
{
    struct berth_deployment *x = NULL;
    int r = berth_deployment_new(&x, d, s, which, e);

    if (r < 0)
        return r;
    const uint64_t good = s->tracks[which].good;
    if ((r = fill_steps(x, false, e)) == 0)
        r = advance(x, ret_wait_ns, e);
    switch (r) {
    case BERTH_ADVANCE_DONE:
        (void)pthread_mutex_lock(&s->mu);
        r = done_locked(x, e);
        (void)pthread_mutex_unlock(&s->mu);
        if (good != x->revision->number)
            end_run(x, true);
        r = r < 0 ? r : 1;
        break;
    case BERTH_ADVANCE_WAIT:
        r = 0;
        break;
    case BERTH_ADVANCE_FAILED: {
        const struct berth_step_run *at = &x->run.steps[x->run.failed];
        end_run(x, false);
        note_taken_back(x);
        r = berth_err_set(e, at->code != BERTH_OK ? at->code : BERTH_EINTERNAL, "%s: %s",
                          x->steps[x->run.failed].name, at->error);
        break;
    }
    }
    berth_deployment_free(x);
    return r;
}

int
berth_service_remove(struct berth_deploy *d, struct service *s, uint64_t *ret_wait_ns,
                     struct berth_err *e)
{
    struct berth_deployment *x = NULL;
    int r = berth_deployment_new(&x, d, s, STABLE, e);

    if (r < 0)
        return r;
    if ((r = fill_steps(x, true, e)) == 0)
        r = advance(x, ret_wait_ns, e);
    if (r == BERTH_ADVANCE_DONE)
        r = 1;
    else if (r == BERTH_ADVANCE_WAIT)
        r = 0;
    else if (r == BERTH_ADVANCE_FAILED)
        r = berth_err_set(e, x->run.steps[x->run.failed].code, "%s: %s",
                          x->steps[x->run.failed].name, x->run.steps[x->run.failed].error);
    berth_deployment_free(x);
    return r;
}
