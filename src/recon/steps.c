#include "recon/steps.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const struct {
    const char *word;
} states[BERTH_STEP_STATE_COUNT] = {
#define X(name, word) [BERTH_STEP_##name] = {word},
    BERTH_STEP_STATES(X)
#undef X
};

#define SECOND_NS UINT64_C(1000000000)
static const uint64_t timeout_default_ns = 300 * SECOND_NS, poll_default_ns = SECOND_NS,
                      initial_default_ns = SECOND_NS / 2, max_default_ns = 30 * SECOND_NS;

/* What an advance works on. */
struct advance {
    const struct berth_step *steps;
    struct berth_run *run;
    const struct berth_steps_env *env;
    bool acted; /* the step at hand had its ensure in this advance */
};

/* What became of a piece of a step: a failure of observe is < 0 and stops everything. */
enum { GO_ON = 0, HELD = 1 };

const char *
berth_step_state_name(enum berth_step_state s)
{
    return states[s].word;
}

bool
berth_step_state_parse(const char *word, enum berth_step_state *ret)
{
    for (size_t i = 0; i < BERTH_STEP_STATE_COUNT; i++) {
        if (strcmp(states[i].word, word) == 0) {
            *ret = (enum berth_step_state)i;
            return true;
        }
    }
    return false;
}

void
berth_run_init(struct berth_run *run, uint32_t step_count)
{
    berth_assert(step_count >= 1 && step_count <= BERTH_STEPS_MAX);
    *run = (struct berth_run){.step_count = step_count};
}

size_t
berth_run_bytes(uint32_t step_count)
{
    return offsetof(struct berth_run, steps) + step_count * sizeof(struct berth_step_run);
}

void
berth_run_restored(struct berth_run *run)
{
    run->seen_ns = 0;
    run->ensured = false;
}

void
berth_run_restart(struct berth_run *run, uint32_t from)
{
    berth_assert(from < run->step_count);
    run->state = BERTH_RUN_GOING;
    run->at = from;
    run->wait_left_ns = 0;
    run->ensured = false;
    for (uint32_t i = from; i < run->step_count; i++)
        run->steps[i] = (struct berth_step_run){.state = BERTH_STEP_PENDING};
}

static uint64_t
or_default(uint64_t value, uint64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

static uint64_t
wall_now(struct advance *a)
{
    uint64_t now, wall;

    a->env->clock(a->env->arg, &now, &wall);
    return wall;
}

/* Charge the time since the last look at the clock to the step at hand and to its wait. */
static void
pass_time(struct advance *a)
{
    struct berth_run *run = a->run;
    uint64_t now, wall, passed;

    a->env->clock(a->env->arg, &now, &wall);
    passed = run->seen_ns != 0 && now > run->seen_ns ? now - run->seen_ns : 0;
    run->seen_ns = now;
    run->wait_left_ns = run->wait_left_ns > passed ? run->wait_left_ns - passed : 0;
    run->steps[run->at].spent_ns += passed;
}

static int
observe(struct advance *a, uint32_t step, enum berth_step_state was)
{
    return a->env->observe != NULL ? a->env->observe(a->env->arg, a->run, step, was) : GO_ON;
}

static int
move(struct advance *a, uint32_t step, enum berth_step_state to)
{
    struct berth_step_run *s = &a->run->steps[step];
    enum berth_step_state was = s->state;

    s->state = to;
    return was != to ? observe(a, step, was) : GO_ON;
}

/* Keep an error, cut to what a run has room for. */
static void
keep_error(struct berth_step_run *s, int code, const char *what, const char *text)
{
    s->code = (enum berth_code) - code;
    (void)snprintf(s->error, sizeof s->error, "%s%s%s", what, *what != '\0' ? ": " : "",
                   *text != '\0' ? text : "it failed without a reason");
}

static uint64_t
backoff_ns(const struct advance *a, const struct berth_step_backoff *b, uint32_t failures)
{
    const uint64_t max = or_default(b->max_ns, max_default_ns);
    const uint64_t factor = or_default(b->factor_percent, 200);
    uint64_t wait = or_default(b->initial_ns, initial_default_ns);

    for (uint32_t i = 1; i < failures && wait < max && factor > 100; i++)
        wait = wait / 100 > max / factor ? max : wait / 100 * factor;
    if (wait > max)
        wait = max;
    const uint64_t most = wait / 100 * b->jitter_percent;
    if (a->env->random != NULL && most > 0)
        wait += a->env->random(a->env->arg) % (most + 1);
    return wait;
}

static uint64_t
time_left(const struct advance *a)
{
    const uint64_t limit = or_default(a->steps[a->run->at].policy.timeout_ns, timeout_default_ns);
    const uint64_t spent = a->run->steps[a->run->at].spent_ns;

    return spent < limit ? limit - spent : 0;
}

/* Wait for ns, but no longer than the step's time. */
static void
hold(struct advance *a, uint64_t ns)
{
    const uint64_t left = time_left(a);

    a->run->wait_left_ns = ns < left ? ns : left;
    if (a->run->wait_left_ns == 0)
        a->run->wait_left_ns = 1; /* its time is up: say so at the next call, not in a circle */
}

static void
next_step(struct advance *a)
{
    struct berth_run *run = a->run;

    run->at++;
    run->wait_left_ns = 0;
    run->ensured = false;
    a->acted = false;
    if (run->at == run->step_count) {
        run->at = run->step_count - 1;
        run->state = BERTH_RUN_DONE;
    }
}

static int
succeed(struct advance *a)
{
    const uint32_t at = a->run->at;
    struct berth_step_run *s = &a->run->steps[at];

    pass_time(a);
    s->finished_wall_ns = wall_now(a);
    s->failures = 0;
    s->code = BERTH_OK;
    s->error[0] = '\0';
    enum berth_step_state was = s->state;
    s->state = BERTH_STEP_SUCCEEDED;
    next_step(a);
    return observe(a, at, was);
}

/* The step is given up: end the run, begin to take back, or go on without it. */
static int
give_up(struct advance *a)
{
    struct berth_run *run = a->run;
    const uint32_t at = run->at;
    struct berth_step_run *s = &run->steps[at];
    const enum berth_step_failure how = a->steps[at].policy.on_failure;
    const enum berth_step_state was = s->state;
    int r;

    s->state = BERTH_STEP_FAILED;
    s->finished_wall_ns = wall_now(a);
    run->wait_left_ns = 0;
    if (how == BERTH_STEP_CONTINUE) {
        next_step(a);
        return observe(a, at, was);
    }
    run->failed = at;
    s->failures = 0; /* taking back has its own */
    run->state = how == BERTH_STEP_ROLLBACK ? BERTH_RUN_TAKING_BACK : BERTH_RUN_FAILED;
    for (uint32_t i = at + 1; i < run->step_count; i++)
        run->steps[i].state = BERTH_STEP_SKIPPED;
    if ((r = observe(a, at, was)) < 0)
        return r;
    for (uint32_t i = at + 1; i < run->step_count; i++) {
        if ((r = observe(a, i, BERTH_STEP_PENDING)) < 0)
            return r;
    }
    return GO_ON;
}

/* Not reached, and its time is up. */
static int
out_of_time(struct advance *a)
{
    struct berth_step_run *s = &a->run->steps[a->run->at];
    const uint64_t limit = or_default(a->steps[a->run->at].policy.timeout_ns, timeout_default_ns);
    char text[BERTH_STEP_ERROR_MAX + 1];

    (void)snprintf(text, sizeof text, "timeout after %gs%s%s", (double)limit / 1e9,
                   s->error[0] != '\0' ? "; the last error was: " : "", s->error);
    keep_error(s, -BERTH_EDEADLINE, "", text);
    return give_up(a);
}

/* An error of the step at hand: another attempt later, or the end of it. */
static int
stumble(struct advance *a, int code, const char *what, const struct berth_err *e)
{
    const struct berth_step_policy *p = &a->steps[a->run->at].policy;
    struct berth_step_run *s = &a->run->steps[a->run->at];
    const uint64_t retry_on = p->retry_on != 0 ? p->retry_on : BERTH_STEP_RETRY_ON;
    const bool mendable = -code < 64 && (retry_on >> -code & 1) != 0;

    pass_time(a);
    a->run->ensured = false;
    if (code == -BERTH_ECANCELED) {
        if (time_left(a) == 0)
            return out_of_time(a);
        hold(a, or_default(p->poll_ns, poll_default_ns));
        return HELD;
    }
    keep_error(s, code, what, e->msg);
    s->failures++;
    if (mendable && time_left(a) == 0)
        return out_of_time(a);
    if (!mendable || s->failures > p->max_retries)
        return give_up(a);
    hold(a, backoff_ns(a, &p->backoff, s->failures));
    if (s->state == BERTH_STEP_RETRYING) /* it was, and its attempt failed before it began */
        return observe(a, a->run->at, BERTH_STEP_RETRYING);
    return move(a, a->run->at, BERTH_STEP_RETRYING);
}

static int
look(struct advance *a, struct berth_err *e)
{
    const struct berth_step *step = &a->steps[a->run->at];
    int r = a->run->ensured;

    if (step->is_achieved != NULL)
        r = step->is_achieved(a->env->arg, step, e);
    pass_time(a);
    return r;
}

/* pre, ensure, and a look at what came of it. */
static int
bring_about(struct advance *a)
{
    const struct berth_step *step = &a->steps[a->run->at];
    struct berth_step_run *s = &a->run->steps[a->run->at];
    struct berth_err e = {""};
    int r;

    const enum berth_step_state was = s->state;
    const bool another_round = a->run->ensured;
    a->acted = true;
    s->state = BERTH_STEP_RUNNING;
    if (!another_round) {
        s->attempts++;
        if ((r = observe(a, a->run->at, was)) < 0)
            return r;
    }
    if (!another_round && step->pre != NULL && (r = step->pre(a->env->arg, step, &e)) < 0)
        return stumble(a, r, "before", &e);
    if (step->ensure != NULL && (r = step->ensure(a->env->arg, step, &e)) < 0)
        return stumble(a, r, "", &e);
    a->run->ensured = true;
    return GO_ON;
}

static int
finish(struct advance *a)
{
    const struct berth_step *step = &a->steps[a->run->at];
    struct berth_err e = {""};
    int r;

    if (a->run->steps[a->run->at].attempts > 0 && step->post != NULL &&
        (r = step->post(a->env->arg, step, &e)) < 0)
        return stumble(a, r, "after", &e);
    return succeed(a);
}

/* One round of the step at hand. */
static int
work(struct advance *a)
{
    struct berth_step_run *s = &a->run->steps[a->run->at];
    struct berth_err e = {""};
    int r;

    if (s->state == BERTH_STEP_PENDING) {
        s->started_wall_ns = wall_now(a);
        s->spent_ns = 0;
        if ((r = move(a, a->run->at, BERTH_STEP_RUNNING)) < 0)
            return r;
    }
    if (s->state == BERTH_STEP_RETRYING && a->run->wait_left_ns > 0)
        return HELD;
    if ((r = look(a, &e)) < 0)
        return stumble(a, r, "", &e);
    if (r > 0)
        return finish(a);
    if (time_left(a) == 0)
        return out_of_time(a);
    if (a->run->ensured) {
        s->failures = 0;
        if (a->steps[a->run->at].in_rounds && !a->acted) {
            a->run->wait_left_ns = 0;
            return bring_about(a);
        }
        if (a->run->wait_left_ns == 0)
            hold(a, or_default(a->steps[a->run->at].policy.poll_ns, poll_default_ns));
        return HELD;
    }
    a->run->wait_left_ns = 0;
    return bring_about(a);
}

/* A rollback failed: another attempt later, or it stays as it is, with the error for a person. */
static int
stumble_back(struct advance *a, int code, const struct berth_err *e)
{
    const struct berth_step_policy *p = &a->steps[a->run->at].policy;
    struct berth_step_run *s = &a->run->steps[a->run->at];
    const size_t len = strlen(s->error);

    if (s->failures++ < p->max_retries) {
        a->run->wait_left_ns = backoff_ns(a, &p->backoff, s->failures);
        return HELD;
    }
    if (a->run->at != a->run->failed)
        keep_error(s, code, "rollback", e->msg);
    else /* why it was taken back comes first */
        (void)snprintf(s->error + len, sizeof s->error - len, "; rollback: %s", e->msg);
    return move(a, a->run->at, BERTH_STEP_FAILED);
}

/* Take back the step at hand, or leave it, and go one towards the first. */
static int
take_back(struct advance *a)
{
    struct berth_run *run = a->run;
    const struct berth_step *step = &a->steps[run->at];
    struct berth_step_run *s = &run->steps[run->at];
    struct berth_err e = {""};
    int r = GO_ON;

    if (run->wait_left_ns > 0)
        return HELD;
    /* What this run has not done is not its to undo. */
    if (s->attempts > 0 && step->rollback != NULL) {
        r = step->rollback(a->env->arg, step, &e);
        pass_time(a);
        if (r < 0)
            r = stumble_back(a, r, &e);
        else if (run->at != run->failed)
            r = move(a, run->at, BERTH_STEP_ROLLEDBACK);
    }
    if (r != GO_ON)
        return r;
    if (run->at == 0) {
        run->state = BERTH_RUN_FAILED;
        return GO_ON;
    }
    run->at--;
    run->steps[run->at].failures = 0;
    return GO_ON;
}

int
berth_steps_advance(const struct berth_step *steps, uint32_t step_count, struct berth_run *run,
                    const struct berth_steps_env *env, uint64_t *ret_wait_ns)
{
    struct advance a = {.steps = steps, .run = run, .env = env};
    int r = GO_ON;

    berth_assert(step_count == run->step_count && run->at < step_count);
    pass_time(&a);
    while (r == GO_ON && (run->state == BERTH_RUN_GOING || run->state == BERTH_RUN_TAKING_BACK))
        r = run->state == BERTH_RUN_GOING ? work(&a) : take_back(&a);
    if (r < 0)
        return r;
    if (r == HELD) {
        *ret_wait_ns = run->wait_left_ns;
        return BERTH_ADVANCE_WAIT;
    }
    return run->state == BERTH_RUN_DONE ? BERTH_ADVANCE_DONE : BERTH_ADVANCE_FAILED;
}

int
berth_steps_check(const struct berth_step *steps, uint32_t step_count, struct berth_err *e)
{
    if (step_count < 1 || step_count > BERTH_STEPS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%u steps, 1 to %d are possible", step_count,
                             BERTH_STEPS_MAX);
    for (uint32_t i = 0; i < step_count; i++) {
        const struct berth_step *s = &steps[i];
        const struct berth_step_backoff *b = &s->policy.backoff;
        if (s->name == NULL || s->name[0] == '\0' ||
            strnlen(s->name, BERTH_STEP_NAME_MAX + 1) > BERTH_STEP_NAME_MAX)
            return berth_err_set(e, BERTH_EINVAL, "step %u: its name has 1 to %d bytes", i + 1,
                                 BERTH_STEP_NAME_MAX);
        if (s->is_achieved == NULL && s->ensure == NULL)
            return berth_err_set(e, BERTH_EINVAL, "step %s has nothing to do", s->name);
        if (b->factor_percent != 0 && (b->factor_percent < 100 || b->factor_percent > 1000))
            return berth_err_set(
                e, BERTH_EINVAL,
                "step %s: its back-off's factor is %u %%, 100 to 1000 are possible", s->name,
                b->factor_percent);
        if (b->jitter_percent > 100)
            return berth_err_set(e, BERTH_EINVAL,
                                 "step %s: its jitter is %u %%, 0 to 100 are possible", s->name,
                                 b->jitter_percent);
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(steps[k].name, s->name) == 0)
                return berth_err_set(e, BERTH_EINVAL, "step %s is there twice", s->name);
        }
    }
    return 0;
}
