#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "recon/steps.h"

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

/*
 * What steps are called for, in order, as words: the step's number, the function (a is_achieved,
 * e ensure, p pre, q post, r rollback) and what it gives (0, 1, E an error that is tried again,
 * F one that is not, C cut short, T: 0 after a long time).
 */
struct play {
    const char *script;
    uint64_t now_ns, wall_ns;
    int observe_fails_in; /* calls until one fails; 0: none */
    uint32_t observed;
    char states[256]; /* "0R 0S ..." as observed */
};

static int
call(void *arg, const struct berth_step *s, char fn, struct berth_err *e)
{
    struct play *p = arg;
    char said[4] = {s->name[0], fn, '\0'};

    if (strncmp(p->script, said, 2) != 0)
        fail_msg("%s was called, the script goes on with \"%s\"", said, p->script);
    const char result = p->script[2];
    p->script += p->script[3] == ' ' ? 4 : 3;
    p->now_ns += MS; /* nothing takes no time */
    p->wall_ns += MS;
    switch (result) {
    case 'E':
        return berth_err_set(e, BERTH_ENETWORK, "no answer");
    case 'F':
        return berth_err_set(e, BERTH_EINVAL, "wrong");
    case 'C':
        return berth_err_set(e, BERTH_ECANCELED, "cut short");
    case 'T':
        p->now_ns += 1000 * S;
        return 0;
    default:
        return result - '0';
    }
}

#define FUNCTION(name, letter)                                                  \
    static int name(void *arg, const struct berth_step *s, struct berth_err *e) \
    {                                                                           \
        return call(arg, s, letter, e);                                         \
    }
FUNCTION(is_achieved, 'a')
FUNCTION(ensure, 'e')
FUNCTION(pre, 'p')
FUNCTION(post, 'q')
FUNCTION(rollback, 'r')

static void
clock_of(void *arg, uint64_t *ret_now_ns, uint64_t *ret_wall_ns)
{
    const struct play *p = arg;

    *ret_now_ns = p->now_ns;
    *ret_wall_ns = p->wall_ns;
}

static char
letter(enum berth_step_state s)
{
    return "PRSFTKB"[s]; /* pending running succeeded failed retrying sKipped rolledBack */
}

static int
observe(void *arg, const struct berth_run *run, uint32_t step, enum berth_step_state was)
{
    struct play *p = arg;
    size_t len = strlen(p->states);

    (void)was;
    p->observed++;
    if (p->observe_fails_in > 0 && --p->observe_fails_in == 0)
        return -BERTH_EIO;
    (void)snprintf(p->states + len, sizeof p->states - len, "%u%c ", step,
                   letter(run->steps[step].state));
    return 0;
}

static struct berth_steps_env
env_of(struct play *p)
{
    return (struct berth_steps_env){.arg = p, .clock = clock_of, .observe = observe};
}

/* Advance to the end, waiting as told.  The sum of the waits is in *ret_waited. */
static int
drive(const struct berth_step *steps, uint32_t n, struct berth_run *run, struct play *p,
      uint64_t *ret_waited)
{
    const struct berth_steps_env env = env_of(p);
    uint64_t wait;
    int r;

    *ret_waited = 0;
    for (int i = 0; i < 1000; i++) {
        if ((r = berth_steps_advance(steps, n, run, &env, &wait)) != BERTH_ADVANCE_WAIT)
            return r;
        assert_true(wait > 0);
        p->now_ns += wait;
        p->wall_ns += wait;
        *ret_waited += wait;
    }
    fail_msg("no end");
    return 0;
}

enum { HOOKS = 1, NO_ROLLBACK = 2, NO_LOOK = 4, NO_ENSURE = 8, ROUNDS = 16 };

static void
steps_are_brought_about_in_order(void **unused)
{
    static const struct {
        const char *why, *script;
        int flags;
        uint32_t retries;
        enum berth_step_failure how;
        int want;
        const char *states; /* in the end */
        uint64_t waited;    /* at least, and less than a second more */
    } cases[] = {
        {"what is so already is left alone", "0a1 1a1 2a1", 0, 0, 0, 0, "SSS", 0},
        {"looked at, brought about, looked at", "0a0 0e0 0a1 1a1 2a0 2e0 2a1", 0, 0, 0, 0, "SSS",
         0},
        {"not yet is waited for, without another ensure", "0a0 0e0 0a0 0a0 0a0 0a1 1a1 2a1", 0, 0,
         0, 0, "SSS", 3 * S},
        {"an error is tried again after a growing wait", "0a0 0eE 0a0 0eE 0a0 0e0 0a1 1a1 2a1", 0,
         2, 0, 0, "SSS", 1500 * MS},
        {"an error whose work was done after all", "0a0 0eE 0a1 1a1 2a1", 0, 1, 0, 0, "SSS",
         500 * MS},
        {"it is given up after the retries", "0a0 0eE 0a0 0eE", 0, 1, 0, 2, "FKK", 500 * MS},
        {"no retries", "0a0 0eE", 0, 0, 0, 2, "FKK", 0},
        {"what time will not mend is not tried again", "0a0 0eF", 0, 9, 0, 2, "FKK", 0},
        {"one that cannot be seen", "0aE 0a0 0e0 0aE 0a0 0e0 0a1 1a1 2a1", 0, 2, 0, 0, "SSS",
         1500 * MS},
        {"errors are counted in a row", "0aE 0a0 0e0 0a0 0aE 0a0 0e0 0a0 0aE 0a1 1a1 2a1", 0, 1, 0,
         0, "SSS", 3500 * MS},
        {"a failed step that may be left out", "0a1 1a0 1eE 2a0 2e0 2a1", 0, 0, BERTH_STEP_CONTINUE,
         0, "SFS", 0},
        {"all of them left out", "0aF 1aF 2aF", 0, 0, BERTH_STEP_CONTINUE, 0, "FFF", 0},
        {"taken back, last first", "0a0 0e0 0a1 1a0 1e0 1a1 2a0 2eE 2r0 1r0 0r0", 0, 0,
         BERTH_STEP_ROLLBACK, 2, "BBF", 0},
        {"what was so already is not taken back", "0a1 1a0 1e0 1a1 2a0 2eE 2r0 1r0", 0, 0,
         BERTH_STEP_ROLLBACK, 2, "SBF", 0},
        {"what was never begun is not taken back", "0a0 0e0 0a1 1aF 0r0", 0, 0, BERTH_STEP_ROLLBACK,
         2, "BFK", 0},
        {"no way to take it back", "0a0 0e0 0a1 1a0 1eF", NO_ROLLBACK, 0, BERTH_STEP_ROLLBACK, 2,
         "SFK", 0},
        {"taking back is tried again", "0a0 0e0 0a1 1aF 0rE 0r0", 0, 1, BERTH_STEP_ROLLBACK, 2,
         "BFK", 500 * MS},
        {"taking back that fails does not hinder the others",
         "0a0 0e0 0a1 1a0 1e0 1a1 2aF 1rE 1rE 0r0", 0, 1, BERTH_STEP_ROLLBACK, 2, "BFF", 500 * MS},
        {"hooks are around the work", "0a0 0p0 0e0 0a0 0a1 0q0 1a1 2a1", HOOKS, 0, 0, 0, "SSS", S},
        {"a hook before that fails", "0a0 0pE 0a0 0p0 0e0 0a1 0q0 1a1 2a1", HOOKS, 1, 0, 0, "SSS",
         500 * MS},
        {"a hook after that fails", "0a0 0p0 0e0 0a1 0qE 0a1 0q0 1a1 2a1", HOOKS, 1, 0, 0, "SSS",
         500 * MS},
        {"a hook after that fails for good", "0a0 0p0 0e0 0a1 0qF", HOOKS, 1, 0, 2, "FKK", 0},
        {"nothing to look at: done once it was brought about", "0eE 0e0 1e0 2e0", NO_LOOK, 1, 0, 0,
         "SSS", 500 * MS},
        {"only waited for", "0a0 0a0 0a0 0a1 1a1 2a1", NO_ENSURE, 0, 0, 0, "SSS", 2 * S},
        {"one round at each look", "0a0 0e0 0a0 0a0 0e0 0a0 0a0 0e0 0a1 1a1 2a1", ROUNDS, 0, 0, 0,
         "SSS", 2 * S},
        {"a round that fails", "0a0 0e0 0a0 0a0 0eE 0a0 0e0 0a1 1a1 2a1", ROUNDS, 1, 0, 0, "SSS",
         1500 * MS},
        {"cut short is no failure", "0a0 0eC 0a0 0e0 0a1 1a1 2a1", 0, 0, 0, 0, "SSS", 1 * S},
        {"its time is up in ensure", "0a0 0eT 0a0", 0, 9, 0, 2, "FKK", 0},
        {"its time is up in ensure, but it is there", "0a0 0eT 0a1 1a1 2a1", 0, 9, 0, 0, "SSS", 0},
        {"its time is up in a look, and it is taken back", "0a0 0e0 0aT 0r0", 0, 9,
         BERTH_STEP_ROLLBACK, 2, "FKK", 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct play p = {.script = cases[i].script, .now_ns = 7, .wall_ns = 1000 * S};
        struct berth_step steps[3];
        struct berth_run run;
        struct berth_err e = {""};
        uint64_t waited;
        char states[4] = "";

        print_message("  %s\n", cases[i].why);
        for (int k = 0; k < 3; k++) {
            static const char *const names[] = {"0", "1", "2"};
            steps[k] = (struct berth_step){
                .name = names[k],
                .is_achieved = cases[i].flags & NO_LOOK ? NULL : is_achieved,
                .ensure = cases[i].flags & NO_ENSURE ? NULL : ensure,
                .rollback = cases[i].flags & NO_ROLLBACK ? NULL : rollback,
                .pre = cases[i].flags & HOOKS ? pre : NULL,
                .post = cases[i].flags & HOOKS ? post : NULL,
                .in_rounds = cases[i].flags & ROUNDS,
                .policy = {.max_retries = cases[i].retries, .on_failure = cases[i].how}};
        }
        assert_int_equal(berth_steps_check(steps, 3, &e), 0);
        berth_run_init(&run, 3);
        assert_int_equal(drive(steps, 3, &run, &p, &waited), cases[i].want);
        assert_string_equal(p.script, "");
        for (int k = 0; k < 3; k++)
            states[k] = letter(run.steps[k].state);
        assert_string_equal(states, cases[i].states);
        if (waited < cases[i].waited || waited >= cases[i].waited + S / 2)
            fail_msg("waited %.3f s", (double)waited / 1e9);
        /* It stays at its end, and is not worked on again. */
        assert_int_equal(drive(steps, 3, &run, &p, &waited), cases[i].want);
    }
}

static const struct berth_step one[] = {
    {.name = "0", .is_achieved = is_achieved, .ensure = ensure, .policy = {.max_retries = 2}}};

static void
an_early_call_looks_but_does_not_hurry(void **unused)
{
    struct play p = {.script = "0a0 0e0 0a0 0a0 0aE", .now_ns = S};
    const struct berth_steps_env env = env_of(&p);
    struct berth_run run;
    uint64_t wait;

    (void)unused;
    berth_run_init(&run, 1);
    assert_int_equal(berth_steps_advance(one, 1, &run, &env, &wait), BERTH_ADVANCE_WAIT);
    assert_int_equal(wait, S);
    p.now_ns += 10 * MS; /* something happened: look */
    assert_int_equal(berth_steps_advance(one, 1, &run, &env, &wait), BERTH_ADVANCE_WAIT);
    assert_true(wait < S && wait > S - 20 * MS);
    p.now_ns += 10 * MS;
    assert_int_equal(berth_steps_advance(one, 1, &run, &env, &wait), BERTH_ADVANCE_WAIT);
    assert_int_equal(wait, 500 * MS);
    assert_int_equal(run.steps[0].state, BERTH_STEP_RETRYING);
    assert_string_equal(run.steps[0].error, "no answer");
    assert_int_equal(run.steps[0].code, BERTH_ENETWORK);
    p.now_ns += 200 * MS; /* a back-off is not cut short: the script has no call for it */
    assert_int_equal(berth_steps_advance(one, 1, &run, &env, &wait), BERTH_ADVANCE_WAIT);
    assert_int_equal(wait, 300 * MS);
    p.script = "0a1";
    p.now_ns += 300 * MS;
    assert_int_equal(berth_steps_advance(one, 1, &run, &env, &wait), BERTH_ADVANCE_DONE);
    assert_string_equal(run.steps[0].error, "");
}

static void
a_step_has_its_time(void **unused)
{
    static const struct berth_step steps[] = {{.name = "0",
                                               .is_achieved = is_achieved,
                                               .ensure = ensure,
                                               .policy = {.timeout_ns = 2500 * MS}},
                                              {.name = "1", .is_achieved = is_achieved}};
    struct play p = {.script = "0a0 0e0 0a0 0a0 0a0 0a0", .now_ns = S, .wall_ns = 50 * S};
    struct berth_run run;
    uint64_t waited;

    (void)unused;
    berth_run_init(&run, 2);
    assert_int_equal(drive(steps, 2, &run, &p, &waited), BERTH_ADVANCE_FAILED);
    assert_true(waited > 2400 * MS && waited <= 2500 * MS);
    assert_int_equal(run.steps[0].code, BERTH_EDEADLINE);
    assert_string_equal(run.steps[0].error, "timeout after 2.5s");
    assert_int_equal(run.failed, 0);
    assert_int_equal(run.steps[0].started_wall_ns, 50 * S);
    assert_true(run.steps[0].finished_wall_ns >= 50 * S + 2500 * MS);
    assert_int_equal(run.steps[0].attempts, 1);
    assert_string_equal(p.states, "0R 0R 0F 1K ");
}

static void
a_restored_run_goes_on(void **unused)
{
    static const struct berth_step steps[] = {
        {.name = "0", .is_achieved = is_achieved, .ensure = ensure},
        {.name = "1", .is_achieved = is_achieved, .ensure = ensure, .policy = {.max_retries = 5}}};
    struct play p = {.script = "0a1 1a0 1eE", .now_ns = 9000 * S};
    struct berth_steps_env env = env_of(&p);
    struct berth_run run, saved;
    uint64_t wait;

    (void)unused;
    berth_run_init(&run, 2);
    assert_int_equal(berth_steps_advance(steps, 2, &run, &env, &wait), BERTH_ADVANCE_WAIT);
    memcpy(&saved, &run, sizeof saved);
    berth_run_restored(&saved);
    p.now_ns = 5; /* another boot's clock: it is younger */
    assert_int_equal(berth_steps_advance(steps, 2, &saved, &env, &wait), BERTH_ADVANCE_WAIT);
    assert_int_equal(wait, 500 * MS); /* the back-off is not lost */
    p.now_ns += wait;
    p.script = "1a0 1e0 1a0";
    assert_int_equal(berth_steps_advance(steps, 2, &saved, &env, &wait), BERTH_ADVANCE_WAIT);
    assert_int_equal(saved.steps[1].attempts, 2);
    berth_run_restored(&saved); /* killed while it waited: what was done may be lost */
    p.now_ns += wait;
    p.script = "1a0 1e0 1a1";
    assert_int_equal(berth_steps_advance(steps, 2, &saved, &env, &wait), BERTH_ADVANCE_DONE);
    assert_int_equal(saved.steps[0].attempts, 0);
    p.script = "1a0 1e0 1a1";
    berth_run_restart(&saved, 1);
    assert_int_equal(berth_steps_advance(steps, 2, &saved, &env, &wait), BERTH_ADVANCE_DONE);
    assert_int_equal(saved.steps[1].attempts, 1);
}

static void
what_cannot_be_saved_is_not_done(void **unused)
{
    /* However late saving fails, a later advance comes to the same end. */
    static const struct berth_step steps[] = {
        {.name = "0", .is_achieved = is_achieved, .ensure = ensure, .rollback = rollback},
        {.name = "1",
         .is_achieved = is_achieved,
         .ensure = ensure,
         .rollback = rollback,
         .policy = {.on_failure = BERTH_STEP_ROLLBACK}},
        {.name = "2", .is_achieved = is_achieved}};

    (void)unused;
    for (int at = 1; at <= 9; at++) {
        struct play p = {.script = "", .now_ns = 1, .observe_fails_in = at};
        const struct berth_steps_env env = env_of(&p);
        struct berth_run run;
        uint64_t wait;
        int r;
        berth_run_init(&run, 3);
        do { /* the words are made up as they are asked for: only the end counts */
            static const char *const worlds[] = {"0a0 0e0 0a1 1a0 1eF 1r0 0r0",
                                                 "0a0 0e0 0a1 1a0 1eF 1r0 0r0 0r0",
                                                 "0a1 1a0 1eF 1r0 0r0",
                                                 "1a0 1eF 1r0 0r0",
                                                 "1r0 0r0",
                                                 "0r0"};
            const enum berth_step_state s0 = run.steps[0].state, s1 = run.steps[1].state;
            p.script = run.state == BERTH_RUN_TAKING_BACK ? (run.at == 1 ? worlds[4] : worlds[5])
                       : s0 == BERTH_STEP_SUCCEEDED || s1 == BERTH_STEP_RUNNING ? worlds[3]
                                                                                : worlds[0];
            r = berth_steps_advance(steps, 3, &run, &env, &wait);
        } while (r == -BERTH_EIO);
        assert_int_equal(r, BERTH_ADVANCE_FAILED);
        assert_int_equal(run.steps[0].state, BERTH_STEP_ROLLEDBACK);
        assert_int_equal(run.steps[1].state, BERTH_STEP_FAILED);
        assert_int_equal(run.steps[2].state, BERTH_STEP_SKIPPED);
        assert_string_equal(run.steps[1].error, "wrong");
    }
}

static void
rollback_errors_are_kept_beside_the_reason(void **unused)
{
    static const struct berth_step steps[] = {{.name = "0",
                                               .is_achieved = is_achieved,
                                               .ensure = ensure,
                                               .rollback = rollback,
                                               .policy = {.on_failure = BERTH_STEP_ROLLBACK}}};
    struct play p = {.script = "0a0 0eF 0rE", .now_ns = 1};
    struct berth_run run;
    uint64_t waited;

    (void)unused;
    berth_run_init(&run, 1);
    assert_int_equal(drive(steps, 1, &run, &p, &waited), BERTH_ADVANCE_FAILED);
    assert_string_equal(run.steps[0].error, "wrong; rollback: no answer");
    assert_int_equal(run.steps[0].code, BERTH_EINVAL);
}

static void
wrong_lists_are_refused(void **unused)
{
    static const struct {
        const char *want;
        struct berth_step steps[2];
        uint32_t count;
    } cases[] = {
        {"0 steps", {{.name = "a"}}, 0},
        {"33 steps", {{.name = "a"}}, BERTH_STEPS_MAX + 1},
        {"step 1: its name", {{.name = NULL}}, 1},
        {"step 2: its name", {{.name = "a", .ensure = ensure}, {.name = ""}}, 2},
        {"step 1: its name",
         {{.name = "0123456789012345678901234567890123456789012345678901234567890123"}},
         1},
        {"nothing to do", {{.name = "a"}}, 1},
        {"there twice", {{.name = "a", .ensure = ensure}, {.name = "a", .ensure = ensure}}, 2},
        {"factor is 99", {{.name = "a", .ensure = ensure, .policy.backoff.factor_percent = 99}}, 1},
        {"jitter is 101",
         {{.name = "a", .ensure = ensure, .policy.backoff.jitter_percent = 101}},
         1},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_err e = {""};
        assert_int_equal(berth_steps_check(cases[i].steps, cases[i].count, &e), -BERTH_EINVAL);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].want, e.msg);
    }
}

static void
states_have_words(void **unused)
{
    enum berth_step_state s;

    (void)unused;
    for (int i = 0; i < BERTH_STEP_STATE_COUNT; i++) {
        assert_true(berth_step_state_parse(berth_step_state_name((enum berth_step_state)i), &s));
        assert_int_equal(s, i);
    }
    assert_false(berth_step_state_parse("done", &s));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_brought_about_in_order),
        cmocka_unit_test(an_early_call_looks_but_does_not_hurry),
        cmocka_unit_test(a_step_has_its_time),
        cmocka_unit_test(a_restored_run_goes_on),
        cmocka_unit_test(what_cannot_be_saved_is_not_done),
        cmocka_unit_test(rollback_errors_are_kept_beside_the_reason),
        cmocka_unit_test(wrong_lists_are_refused),
        cmocka_unit_test(states_have_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
