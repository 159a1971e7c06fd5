#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "recon/steps.h"
#include "recon/workq.h"

/*
 * Queue, virtual workers and runs of steps in one thread under a virtual clock.  Things are wished
 * for at random; each is brought about by a run of three steps in a world that answers with errors,
 * loses answers, takes time, and forgets; the process is killed at any point and goes on from the
 * runs that it saved.  A broken rule prints its seed: test_recon_sim SEED runs that one alone.
 */
enum { THINGS = 8, WORKERS = 3, STEPS = 3, WISHES = 60 };
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

struct thing {
    char key[16];
    uint32_t wished, had;      /* generations */
    uint32_t made[STEPS];      /* the generation that each step has brought about */
    uint64_t ready_ns[STEPS];  /* when what was begun is there */
    struct berth_run saved;    /* as on a disk */
    uint32_t saved_generation; /* of the run; 0: none */
    uint64_t not_before_ns;    /* its back-off, unless it is wished for anew */
    bool in_work;
};
struct hand {         /* a virtual worker */
    struct thing *of; /* NULL: idle */
    const char *key;
    uint64_t until_ns;
    struct berth_outcome outcome;
};

struct world {
    uint64_t seed, random, now_ns, crash_in;
    uint32_t errors_percent;
    struct berth_workq *q;
    struct berth_workq_conf conf;
    struct thing things[THINGS];
    struct hand hands[WORKERS];
    struct thing *at; /* being advanced */
    bool crashed;
    uint64_t reconciles, crashes, failures, attempts;
};

#define RULE(w, x) rule((w), (x), #x)

static void
rule(const struct world *w, bool kept, const char *what)
{
    if (!kept)
        fail_msg("seed %llu at %.3f s: %s", (unsigned long long)w->seed, (double)w->now_ns / 1e9,
                 what);
}

static uint64_t
next_random(void *arg)
{
    struct world *w = arg;

    w->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = w->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool
chance(struct world *w, uint32_t percent)
{
    return next_random(w) % 100 < percent;
}

/* Any call may be the last one of this process. */
static bool
dies(struct world *w)
{
    if (w->crash_in > 0 && --w->crash_in == 0)
        w->crashed = true;
    return w->crashed;
}

static int
step_look(void *arg, const struct berth_step *s, struct berth_err *e)
{
    struct world *w = arg;
    const struct thing *t = w->at;
    const size_t i = (size_t)(s->name[0] - '0');

    if (dies(w))
        return berth_err_set(e, BERTH_ECANCELED, "dead");
    w->now_ns += next_random(w) % (3 * MS);
    if (chance(w, w->errors_percent))
        return berth_err_set(e, BERTH_ENETWORK, "no answer");
    return t->made[i] == t->saved_generation && t->ready_ns[i] <= w->now_ns;
}

static int
step_ensure(void *arg, const struct berth_step *s, struct berth_err *e)
{
    struct world *w = arg;
    struct thing *t = w->at;
    const size_t i = (size_t)(s->name[0] - '0');

    if (dies(w))
        return berth_err_set(e, BERTH_ECANCELED, "dead");
    RULE(w, i == 0 || t->made[i - 1] == t->saved_generation); /* in order */
    w->attempts++;
    w->now_ns += next_random(w) % (50 * MS);
    if (chance(w, w->errors_percent))
        return berth_err_set(e, BERTH_EIO, "refused");
    if (t->made[i] != t->saved_generation) { /* idempotent */
        t->made[i] = t->saved_generation;
        t->ready_ns[i] = w->now_ns + next_random(w) % (3 * S);
    }
    if (dies(w) || chance(w, w->errors_percent))
        return berth_err_set(e, BERTH_ENETWORK, "the answer was lost");
    return 0;
}

static const struct berth_step steps[STEPS] = {
    {.name = "0", .is_achieved = step_look, .ensure = step_ensure, .policy = {.max_retries = 2}},
    {.name = "1",
     .is_achieved = step_look,
     .ensure = step_ensure,
     .policy = {.max_retries = 1, .timeout_ns = 20 * S, .backoff = {.jitter_percent = 50}}},
    {.name = "2", .is_achieved = step_look, .ensure = step_ensure, .policy = {.max_retries = 3}},
};

static void
clock_of(void *arg, uint64_t *ret_now_ns, uint64_t *ret_wall_ns)
{
    const struct world *w = arg;

    *ret_now_ns = *ret_wall_ns = w->now_ns;
}

static int
save(void *arg, const struct berth_run *run, uint32_t step, enum berth_step_state was)
{
    struct world *w = arg;

    (void)step;
    (void)was;
    if (dies(w))
        return -BERTH_EIO;
    memcpy(&w->at->saved, run, sizeof *run);
    return 0;
}

static struct berth_outcome
advance(struct world *w, struct thing *t)
{
    const struct berth_steps_env env = {
        .arg = w, .clock = clock_of, .random = next_random, .observe = save};
    struct berth_run run;
    uint64_t wait;

    if (t->saved_generation != t->wished) {
        berth_run_init(&t->saved, STEPS);
        t->saved_generation = t->wished;
    }
    memcpy(&run, &t->saved, sizeof run);
    if (run.state == BERTH_RUN_FAILED)
        berth_run_restart(&run, 0);
    w->at = t;
    int r = berth_steps_advance(steps, STEPS, &run, &env, &wait);
    if (w->crashed)
        return (struct berth_outcome){.kind = BERTH_OUTCOME_FAILED};
    memcpy(&t->saved, &run, sizeof run);
    if (r == BERTH_ADVANCE_DONE) {
        for (int i = 0; i < STEPS; i++)
            RULE(w, t->made[i] == t->saved_generation);
        t->had = t->saved_generation;
        return (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
    }
    if (r == BERTH_ADVANCE_WAIT) {
        RULE(w, wait > 0);
        return (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = wait};
    }
    w->failures++;
    return (struct berth_outcome){.kind = BERTH_OUTCOME_FAILED};
}

static void
restart(struct world *w)
{
    berth_workq_free(w->q);
    RULE(w, berth_workq_new(&w->conf, &w->q) == 0);
    memset(w->hands, 0, sizeof w->hands);
    w->crashed = false;
    w->crashes++;
    w->crash_in = chance(w, 70) ? 1 + next_random(w) % 200 : 0;
    for (int i = 0; i < THINGS; i++) {
        struct thing *t = &w->things[i];
        t->in_work = false;
        t->not_before_ns = 0;
        berth_run_restored(&t->saved);
        if (t->wished != t->had)
            RULE(w, berth_workq_add(w->q, t->key, w->now_ns) == 0);
    }
}

static void
wish(struct world *w, struct thing *t)
{
    t->wished++; /* durable before it is queued */
    t->not_before_ns = 0;
    RULE(w, berth_workq_add(w->q, t->key, w->now_ns) == 0);
}

static void
begin(struct world *w, struct hand *h)
{
    uint64_t at;

    if (!berth_workq_take(w->q, w->now_ns, &h->key, &at))
        return;
    for (int i = 0; i < THINGS; i++) {
        if (strcmp(w->things[i].key, h->key) == 0)
            h->of = &w->things[i];
    }
    RULE(w, h->of != NULL);
    RULE(w, !h->of->in_work);
    RULE(w, w->now_ns >= h->of->not_before_ns);
    h->of->in_work = true;
    const uint64_t began_ns = w->now_ns;
    h->outcome = advance(w, h->of);
    w->reconciles++;
    /* The work took the time that it says; others go on meanwhile. */
    h->until_ns = w->now_ns;
    w->now_ns = began_ns;
    if (!w->crashed && w->errors_percent > 0 && chance(w, 10))
        wish(w, h->of); /* while it is in work */
}

static void
end(struct world *w, struct hand *h)
{
    struct thing *t = h->of;
    const uint32_t failures = berth_workq_failures(w->q, h->key);
    const bool fails = h->outcome.kind == BERTH_OUTCOME_FAILED;

    t->in_work = false;
    h->of = NULL;
    /* Wished for meanwhile, it comes at once; else not before its wait is over. */
    t->not_before_ns = 0;
    if (t->wished == t->saved_generation && fails)
        t->not_before_ns = w->now_ns + berth_workq_backoff_ns(&w->conf, failures + 1);
    berth_workq_done(w->q, h->key, h->outcome, w->now_ns);
    RULE(w, berth_workq_failures(w->q, t->key) == (fails ? failures + 1 : 0) ||
                h->outcome.kind == BERTH_OUTCOME_AFTER);
}

/* When the next thing happens: a worker's end, a key that becomes due, a wish. */
static uint64_t
next_time(struct world *w, uint64_t wish_ns)
{
    struct berth_workq_stats stats;
    uint64_t next = wish_ns, at;
    bool idle = false;
    const char *key;

    for (int i = 0; i < WORKERS; i++) {
        idle = idle || w->hands[i].of == NULL;
        if (w->hands[i].of != NULL && w->hands[i].until_ns < next)
            next = w->hands[i].until_ns;
    }
    berth_workq_stats(w->q, w->now_ns, &stats);
    if (idle && stats.due == 0) {
        RULE(w, !berth_workq_take(w->q, w->now_ns, &key, &at));
        if (at < next)
            next = at;
    }
    return next > w->now_ns ? next : w->now_ns;
}

static bool
all_is_had(const struct world *w)
{
    for (int i = 0; i < THINGS; i++) {
        if (w->things[i].had != w->things[i].wished)
            return false;
    }
    return true;
}

static void
simulate(struct world *w)
{
    uint64_t wish_ns = 0;
    uint32_t wishes = 0;

    for (int turn = 0; wishes < WISHES || !all_is_had(w); turn++) {
        RULE(w, turn < 200000);
        if (wishes == WISHES) { /* calm: now it must converge */
            wish_ns = UINT64_MAX;
            w->errors_percent = 0;
            w->crash_in = 0;
        } else if (w->now_ns >= wish_ns) {
            wish(w, &w->things[next_random(w) % THINGS]);
            wishes++;
            wish_ns = w->now_ns + next_random(w) % (4 * S);
        }
        for (int i = 0; i < WORKERS && !w->crashed; i++) {
            if (w->hands[i].of != NULL && w->hands[i].until_ns <= w->now_ns)
                end(w, &w->hands[i]);
            if (w->hands[i].of == NULL)
                begin(w, &w->hands[i]);
        }
        if (w->crashed)
            restart(w);
        w->now_ns = next_time(w, wish_ns);
        RULE(w, w->now_ns < UINT64_MAX); /* else something was forgotten */
    }
}

static void
run_seed(uint64_t seed, struct world *w)
{
    memset(w, 0, sizeof *w);
    w->seed = w->random = seed;
    w->now_ns = 1;
    w->errors_percent = (uint32_t)(next_random(w) % 40);
    w->crash_in = chance(w, 80) ? 1 + next_random(w) % 300 : 0;
    w->conf = (struct berth_workq_conf){
        .keys_max = THINGS, .jitter_percent = 30, .random = next_random, .random_arg = w};
    RULE(w, berth_workq_new(&w->conf, &w->q) == 0);
    for (int i = 0; i < THINGS; i++)
        (void)snprintf(w->things[i].key, sizeof w->things[i].key, "thing-%d", i);
    simulate(w);
    berth_workq_free(w->q);
}

static uint64_t only_seed;

static void
all_that_is_wished_for_comes_about(void **unused)
{
    const uint64_t first = only_seed != 0 ? only_seed : 1, last = only_seed != 0 ? only_seed : 1000;
    uint64_t reconciles = 0, crashes = 0, failures = 0, attempts = 0;
    struct world *w = malloc(sizeof *w);

    (void)unused;
    assert_non_null(w);
    for (uint64_t seed = first; seed <= last; seed++) {
        run_seed(seed, w);
        reconciles += w->reconciles;
        crashes += w->crashes;
        failures += w->failures;
        attempts += w->attempts;
    }
    print_message("  %llu seeds: %llu reconciles, %llu attempts, %llu failed runs, %llu crashes\n",
                  (unsigned long long)(last - first + 1), (unsigned long long)reconciles,
                  (unsigned long long)attempts, (unsigned long long)failures,
                  (unsigned long long)crashes);
    free(w);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_is_wished_for_comes_about),
    };

    if (argc > 1)
        only_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
