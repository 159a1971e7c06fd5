#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "shimlets/rollout.h"

enum { STEPS = 16, SEEN_MAX = 64 };

/* "0n" is replica 0 of the new hash, starting; letter 2: n(ew) or o(ld); letter 3: r(eady),
 * s(tarting), f(ailed), x (being stopped). */
static size_t
parse(const char *text, struct berth_rollout_seen *ret)
{
    size_t n = 0;

    for (; *text != '\0'; text += text[3] == ' ' ? 4 : 3) {
        const enum berth_replica_state state = text[2] == 'r'   ? BERTH_REPLICA_READY
                                               : text[2] == 's' ? BERTH_REPLICA_STARTING
                                               : text[2] == 'f' ? BERTH_REPLICA_FAILED
                                                                : BERTH_REPLICA_STOPPING;

        ret[n++] = (struct berth_rollout_seen){.index = (uint32_t)(text[0] - '0'),
                                               .hash = text[1] == 'n' ? "new" : "old",
                                               .state = state};
    }
    return n;
}

static void
plans_are_as_the_table_says(void **unused)
{
    static const struct {
        const char *why;
        uint32_t replicas, surge, unavailable;
        const char *seen, *want; /* "+0": start 0; "-0o": stop the old 0 */
    } cases[] = {
        {"a new unit starts at once", 3, 1, 0, "", "+0 +1 +2"},
        {"nothing to do", 2, 1, 0, "0nr 1nr", ""},
        {"zero replicas", 0, 1, 0, "0nr 1ns", "-1n -0n"},
        {"zero replicas, old ones", 0, 1, 0, "0or 1of", "-1o -0o"},
        {"scale up", 3, 1, 0, "0nr", "+1 +2"},
        {"a gap is filled", 3, 1, 0, "0nr 2nr", "+1"},
        {"scale down takes the newest", 1, 1, 0, "0nr 1nr 2nr", "-2n -1n"},
        {"scale down takes what does not serve first", 2, 1, 0, "0ns 1nr 2nr", "-0n"},
        {"failed ones are restarted in their place, not replaced", 2, 1, 0, "0nf 1nf", ""},
        {"rolling: one more", 2, 1, 0, "0or 1or", "+0"},
        {"rolling: wait until it is ready", 2, 1, 0, "0or 1or 0ns", ""},
        {"rolling: it is ready, an old one goes", 2, 1, 0, "0or 1or 0nr", "-1o"},
        {"rolling: the old one is still going", 2, 1, 0, "0or 1ox 0nr", ""},
        {"rolling: the next", 2, 1, 0, "0or 0nr", "+1"},
        {"rolling: the last old one", 2, 1, 0, "0or 0nr 1nr", "-0o"},
        {"rolling: a broken new one keeps all old ones", 2, 1, 0, "0or 1or 0nf", ""},
        {"one old one crashed meanwhile: it may come back", 2, 1, 0, "0or 1of 0nf", ""},
        {"all old ones are broken: the new one replaces them", 1, 1, 0, "0of 0nr", "-0o"},
        {"a broken one of a third revision makes room", 2, 1, 0, "0or 1or 5of", "-5o"},
        {"no surge: one goes first", 2, 0, 1, "0or 1or", "-1o"},
        {"no surge: its place is taken", 2, 0, 1, "0or", "+0"},
        {"no surge: and waited for", 2, 0, 1, "0or 0ns", ""},
        {"neither counts as one missing", 2, 0, 0, "0or 1or", "-1o"},
        {"recreate: all go", 3, 0, 3, "0or 1of 2or", "-1o -2o -0o"},
        {"recreate: wait until all are gone", 1, 0, 1, "0ox", ""},
        {"recreate: then all come", 2, 0, 2, "", "+0 +1"},
        {"surge and missing together", 4, 2, 1, "0or 1or 2or 3or", "+0 +1 -3o"},
        {"roll and grow: starts fill all the room", 4, 1, 0, "0or 1or", "+0 +1 +2"},
        {"roll and shrink", 1, 1, 0, "0or 1or 2or", "-2o -1o"},
        {"shrink in the middle of a roll", 1, 1, 0, "0or 0nr 1ns", "-1n -0o"},
        {"one that is being stopped takes a place", 1, 0, 1, "0nx", ""},
    };

    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_rollout_seen seen[SEEN_MAX];
        struct berth_rollout_step steps[STEPS];
        const struct berth_rollout_want want = {.replicas = cases[i].replicas,
                                                .surge_max = cases[i].surge,
                                                .unavailable_max = cases[i].unavailable,
                                                .hash = "new"};
        const size_t n = parse(cases[i].seen, seen);
        const size_t len = berth_rollout_plan(&want, seen, n, steps, STEPS);
        char got[256] = "";
        size_t at = 0;

        for (size_t k = 0; k < len; k++) {
            const struct berth_rollout_step *s = &steps[k];

            at += (size_t)snprintf(got + at, sizeof got - at, "%s%c%u%.1s", k > 0 ? " " : "",
                                   s->what == BERTH_ROLLOUT_START ? '+' : '-',
                                   s->what == BERTH_ROLLOUT_START ? s->index : seen[s->at].index,
                                   s->what == BERTH_ROLLOUT_START ? "" : seen[s->at].hash);
        }
        print_message("  %s\n", cases[i].why);
        assert_string_equal(got, cases[i].want);
    }
    (void)unused;
}

static void
an_exclusive_index_is_not_given_twice(void **unused)
{
    struct berth_rollout_seen seen[SEEN_MAX];
    struct berth_rollout_step steps[STEPS];
    struct berth_rollout_want want = {.replicas = 1, .surge_max = 1, .hash = "new"};
    size_t n = parse("0or", seen);

    (void)unused;
    want.index_exclusive = true;
    assert_int_equal(berth_rollout_plan(&want, seen, n, steps, STEPS), 1);
    assert_int_equal(steps[0].index, 1);
    n = parse("0ox", seen); /* it holds its port until it is gone */
    assert_int_equal(berth_rollout_plan(&want, seen, n, steps, STEPS), 1);
    assert_int_equal(steps[0].index, 1);
}

static void
a_round_has_no_more_steps_than_asked_for(void **unused)
{
    struct berth_rollout_seen seen[SEEN_MAX] = {0};
    struct berth_rollout_step steps[2];
    const struct berth_rollout_want up = {.replicas = 1000, .surge_max = 1, .hash = "new"};
    const struct berth_rollout_want down = {.surge_max = 1, .hash = "new"};

    (void)unused;
    assert_int_equal(berth_rollout_plan(&up, seen, 0, steps, 2), 2);
    assert_int_equal(berth_rollout_plan(&down, seen, parse("0or 1or 2nr 3nr", seen), steps, 2), 2);
}

/* ---- a small world that the plan is followed in ---- */

struct world {
    struct berth_rollout_seen r[SEEN_MAX];
    size_t n;
    uint64_t random;
};

static uint32_t
roll_die(struct world *w, uint32_t sides)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33) % sides;
}

static size_t
ready_count(const struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++)
        n += w->r[i].state == BERTH_REPLICA_READY;
    return n;
}

/* As many as wanted, of the wanted hash, and no other: all ready. */
static bool
is_done(const struct world *w, const struct berth_rollout_want *want)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->r[i].state == BERTH_REPLICA_STOPPING || strcmp(w->r[i].hash, want->hash) != 0)
            return false;
    }
    return w->n == want->replicas && ready_count(w) == w->n;
}

/* Some of what is starting gets ready, some of what is being stopped goes; with `ill`, what is
 * ready may fail and come back. */
static void
let_time_pass(struct world *w, bool ill)
{
    for (size_t i = 0; i < w->n;) {
        struct berth_rollout_seen *r = &w->r[i];

        if (r->state == BERTH_REPLICA_STOPPING && roll_die(w, 2) == 0) {
            *r = w->r[--w->n];
            continue;
        }
        if (r->state == BERTH_REPLICA_STARTING && roll_die(w, 3) == 0)
            r->state = BERTH_REPLICA_READY;
        else if (ill && r->state == BERTH_REPLICA_READY && roll_die(w, 10) == 0)
            r->state = BERTH_REPLICA_FAILED;
        else if (r->state == BERTH_REPLICA_FAILED && roll_die(w, 4) == 0)
            r->state = BERTH_REPLICA_STARTING;
        i++;
    }
}

/* Take the steps one after the other; the limits hold after each. */
static void
take(struct world *w, const struct berth_rollout_want *want, const struct berth_rollout_step *steps,
     size_t len)
{
    const size_t missing =
        want->surge_max == 0 && want->unavailable_max == 0 ? 1 : want->unavailable_max;
    const size_t least = want->replicas > missing ? want->replicas - missing : 0;

    for (size_t i = 0; i < len; i++) {
        if (steps[i].what == BERTH_ROLLOUT_START) {
            for (size_t k = 0; k < w->n; k++)
                assert_false(w->r[k].index == steps[i].index &&
                             w->r[k].state != BERTH_REPLICA_STOPPING &&
                             strcmp(w->r[k].hash, want->hash) == 0);
            w->r[w->n++] =
                (struct berth_rollout_seen){steps[i].index, want->hash, BERTH_REPLICA_STARTING};
            assert_true(w->n <= want->replicas + want->surge_max);
            continue;
        }
        struct berth_rollout_seen *r = &w->r[steps[i].at];
        const bool was_ready = r->state == BERTH_REPLICA_READY;

        assert_int_not_equal(r->state, BERTH_REPLICA_STOPPING);
        r->state = BERTH_REPLICA_STOPPING;
        assert_true(!was_ready || ready_count(w) >= least);
    }
}

static void
rolls_keep_their_limits_and_come_to_an_end(void **unused)
{
    static const char *const hashes[] = {"a", "b", "c", "d"};

    (void)unused;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct world w = {.random = seed * 2654435761u + 1};
        struct berth_rollout_want want = {.hash = "a"};

        for (int change = 0; change < 6; change++) {
            /* One change may come while the last one is still going on. */
            const uint32_t rounds = change == 5 ? 1000 : 1 + roll_die(&w, 12);
            uint32_t round = 0;

            want.replicas = roll_die(&w, 8);
            want.surge_max = roll_die(&w, 4);
            want.unavailable_max = roll_die(&w, 4);
            want.hash = hashes[roll_die(&w, 4)];
            for (; round < rounds; round++) {
                struct berth_rollout_step steps[STEPS];
                const size_t len = berth_rollout_plan(&want, w.r, w.n, steps, STEPS);

                take(&w, &want, steps, len);
                let_time_pass(&w, change < 5 && seed % 2 == 0);
                if (is_done(&w, &want))
                    break;
            }
            assert_true(change < 5 || round < rounds);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_as_the_table_says),
        cmocka_unit_test(an_exclusive_index_is_not_given_twice),
        cmocka_unit_test(a_round_has_no_more_steps_than_asked_for),
        cmocka_unit_test(rolls_keep_their_limits_and_come_to_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
