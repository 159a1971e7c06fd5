#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "recon/workq.h"

#define MS UINT64_C(1000000)

static struct berth_workq *
make(const struct berth_workq_conf *conf)
{
    static const struct berth_workq_conf zero;
    struct berth_workq *q;

    assert_int_equal(berth_workq_new(conf != NULL ? conf : &zero, &q), 0);
    return q;
}

static void
takes(struct berth_workq *q, uint64_t now, const char *want)
{
    const char *key = NULL;
    uint64_t at;

    if (!berth_workq_take(q, now, &key, &at))
        key = NULL;
    if (want == NULL)
        assert_null(key);
    else
        assert_non_null(key);
    if (want != NULL)
        assert_string_equal(key, want);
}

static uint64_t
next_at(struct berth_workq *q, uint64_t now)
{
    const char *key;
    uint64_t at;

    assert_false(berth_workq_take(q, now, &key, &at));
    return at;
}

static void
done(struct berth_workq *q, const char *key, enum berth_outcome_kind kind, uint64_t after,
     uint64_t now)
{
    berth_workq_done(q, key, (struct berth_outcome){kind, after}, now);
}

static void
keys_come_once_and_in_order(void **unused)
{
    struct berth_workq *q = make(NULL);
    struct berth_workq_stats stats;

    (void)unused;
    assert_int_equal(berth_workq_add(q, "a", 10), 0);
    assert_int_equal(berth_workq_add(q, "b", 10), 0);
    assert_int_equal(berth_workq_add(q, "c", 11), 0);
    assert_int_equal(berth_workq_add(q, "a", 12), 0); /* keeps its place */
    berth_workq_stats(q, 10, &stats);
    assert_int_equal(stats.waiting, 3);
    assert_int_equal(stats.due, 2);
    assert_int_equal(stats.adds, 4);
    assert_int_equal(stats.merged, 1);
    takes(q, 20, "a");
    takes(q, 20, "b");
    takes(q, 20, "c");
    takes(q, 20, NULL);
    assert_true(next_at(q, 20) == UINT64_MAX);
    berth_workq_free(q);
}

static void
a_key_in_work_comes_again_after(void **unused)
{
    struct berth_workq *q = make(NULL);

    (void)unused;
    assert_int_equal(berth_workq_add(q, "a", 1), 0);
    takes(q, 1, "a");
    assert_int_equal(berth_workq_add(q, "a", 2), 0);
    assert_int_equal(berth_workq_add(q, "b", 3), 0);
    takes(q, 4, "b");
    takes(q, 4, NULL); /* a is not handed out a second time */
    done(q, "a", BERTH_OUTCOME_OK, 0, 5);
    takes(q, 5, "a");
    done(q, "a", BERTH_OUTCOME_OK, 0, 6);
    takes(q, 6, NULL);
    /* It does not go before those that waited while it was in work. */
    assert_int_equal(berth_workq_add(q, "a", 7), 0);
    takes(q, 7, "a");
    assert_int_equal(berth_workq_add(q, "a", 8), 0);
    assert_int_equal(berth_workq_add(q, "c", 9), 0);
    done(q, "a", BERTH_OUTCOME_OK, 0, 10);
    takes(q, 10, "c");
    takes(q, 10, "a");
    berth_workq_free(q);
}

static void
waits_are_the_shorter_one(void **unused)
{
    struct berth_workq *q = make(NULL);

    (void)unused;
    assert_int_equal(berth_workq_add_after(q, "a", 100, 0), 0);
    assert_int_equal(berth_workq_add_after(q, "a", 200, 0), 0);
    assert_int_equal(next_at(q, 0), 100);
    assert_int_equal(berth_workq_add_after(q, "a", 10, 40), 0);
    assert_int_equal(next_at(q, 40), 50);
    assert_int_equal(berth_workq_add_after(q, "b", UINT64_MAX, 40), 0); /* never, not long ago */
    takes(q, 50, "a");
    assert_int_equal(berth_workq_add_after(q, "a", 30, 50), 0);
    done(q, "a", BERTH_OUTCOME_OK, 1000, 60);
    assert_int_equal(next_at(q, 60), 80);
    takes(q, 80, "a");
    done(q, "a", BERTH_OUTCOME_AFTER, 5, 90);
    assert_int_equal(next_at(q, 90), 95);
    berth_workq_free(q);
}

static void
failures_wait_longer_each_time(void **unused)
{
    const struct berth_workq_conf conf = {0};
    struct berth_workq *q = make(&conf);
    uint64_t now = 0, wait = 5 * MS;

    (void)unused;
    assert_int_equal(berth_workq_add(q, "a", now), 0);
    for (int i = 1; i <= 25; i++) {
        takes(q, now, "a");
        done(q, "a", BERTH_OUTCOME_FAILED, 0, now);
        assert_int_equal(berth_workq_failures(q, "a"), i);
        assert_int_equal(next_at(q, now) - now, wait);
        assert_int_equal(berth_workq_backoff_ns(&conf, (uint32_t)i), wait);
        now += wait;
        wait = wait * 2 < 1000000 * MS ? wait * 2 : 1000000 * MS;
    }
    takes(q, now, "a");
    done(q, "a", BERTH_OUTCOME_AFTER, 1, now); /* under way: still counted */
    assert_int_equal(berth_workq_failures(q, "a"), 25);
    takes(q, now + 1, "a");
    done(q, "a", BERTH_OUTCOME_OK, 1, now + 1);
    assert_int_equal(berth_workq_failures(q, "a"), 0);
    takes(q, now + 2, "a");
    done(q, "a", BERTH_OUTCOME_FAILED, 0, now + 2);
    assert_int_equal(next_at(q, now), now + 2 + 5 * MS);
    /* What changed is looked at now; its failures are not forgotten by that. */
    assert_int_equal(berth_workq_add(q, "a", now + 3), 0);
    takes(q, now + 3, "a");
    assert_int_equal(berth_workq_failures(q, "a"), 1);
    assert_int_equal(berth_workq_failures(q, "nobody"), 0);
    berth_workq_free(q);
}

static void
an_outcome_may_begin_later(void **unused)
{
    const struct berth_workq_conf conf = {.backoff_max_ns = 5000 * MS};
    static const struct {
        uint64_t first, want;
    } cases[] = {{1 * MS, 5 * MS},       {1000 * MS, 2000 * MS}, {1000 * MS, 4000 * MS},
                 {1000 * MS, 5000 * MS}, {0, 80 * MS},           {9000 * MS, 5000 * MS}};
    struct berth_workq *q = make(&conf);
    uint64_t now = 0;

    (void)unused;
    assert_int_equal(berth_workq_add(q, "a", now), 0);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        takes(q, now, "a");
        done(q, "a", BERTH_OUTCOME_FAILED, cases[i].first, now);
        assert_int_equal(next_at(q, now) - now, cases[i].want);
        now += cases[i].want;
    }
    berth_workq_free(q);
}

static uint64_t
most(void *unused)
{
    (void)unused;
    return UINT64_MAX;
}

static uint64_t
given(void *arg)
{
    return *(uint64_t *)arg;
}

static void
jitter_is_within_its_share(void **unused)
{
    uint64_t value = 0;
    struct berth_workq_conf conf = {
        .backoff_first_ns = 100 * MS, .jitter_percent = 20, .random = given, .random_arg = &value};
    static const struct {
        uint64_t random, want;
    } cases[] = {{0, 100 * MS}, {7, 100 * MS + 7}, {20 * MS, 120 * MS}, {20 * MS + 1, 100 * MS}};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_workq *q = make(&conf);
        value = cases[i].random;
        assert_int_equal(berth_workq_add(q, "a", 0), 0);
        takes(q, 0, "a");
        done(q, "a", BERTH_OUTCOME_FAILED, 0, 0);
        assert_int_equal(next_at(q, 0), cases[i].want);
        berth_workq_free(q);
    }
    conf = (struct berth_workq_conf){.backoff_first_ns = UINT64_MAX - 1,
                                     .backoff_max_ns = UINT64_MAX,
                                     .jitter_percent = 100,
                                     .random = most};
    struct berth_workq *q = make(&conf);
    assert_int_equal(berth_workq_add(q, "a", 5), 0);
    takes(q, 5, "a");
    done(q, "a", BERTH_OUTCOME_FAILED, 0, 5);
    takes(q, 6, NULL); /* the sum did not go over */
    berth_workq_free(q);
}

static void
limits_are_kept(void **unused)
{
    static const struct berth_workq_conf wrong[] = {{.keys_max = BERTH_WORKQ_KEYS_MAX + 1},
                                                    {.jitter_percent = 101}};
    struct berth_workq *q = make(&(struct berth_workq_conf){.keys_max = 2}), *none;
    char key[BERTH_WORKQ_KEY_MAX + 2];
    struct berth_workq_stats stats;

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(wrong); i++)
        assert_int_equal(berth_workq_new(&wrong[i], &none), -BERTH_EINVAL);
    assert_int_equal(berth_workq_add(q, "", 0), -BERTH_EINVAL);
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    assert_int_equal(berth_workq_add(q, key, 0), -BERTH_EINVAL);
    key[BERTH_WORKQ_KEY_MAX] = '\0';
    assert_int_equal(berth_workq_add(q, key, 0), 0);
    assert_int_equal(berth_workq_add(q, "b", 0), 0);
    assert_int_equal(berth_workq_add(q, "c", 0), -BERTH_ELIMIT);
    assert_int_equal(berth_workq_add(q, "b", 0), 0); /* is there already */
    takes(q, 0, key);
    assert_int_equal(berth_workq_add(q, "c", 0), -BERTH_ELIMIT); /* in work counts too */
    done(q, key, BERTH_OUTCOME_OK, 0, 0);
    assert_int_equal(berth_workq_add(q, "c", 0), 0);
    berth_workq_stats(q, 0, &stats);
    assert_int_equal(stats.refused, 2);
    berth_workq_free(q);
}

static void
closed_it_lets_end_what_is_in_work(void **unused)
{
    static const enum berth_outcome_kind kinds[] = {BERTH_OUTCOME_OK, BERTH_OUTCOME_AFTER,
                                                    BERTH_OUTCOME_FAILED};
    struct berth_workq_stats stats;

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(kinds); i++) {
        struct berth_workq *q = make(NULL);
        assert_int_equal(berth_workq_add(q, "a", 0), 0);
        assert_int_equal(berth_workq_add(q, "b", 0), 0);
        takes(q, 0, "a");
        assert_int_equal(berth_workq_add(q, "a", 0), 0);
        berth_workq_close(q);
        assert_int_equal(berth_workq_add(q, "c", 1), -BERTH_ECANCELED);
        takes(q, 1, NULL);
        assert_true(next_at(q, 1) == UINT64_MAX);
        done(q, "a", kinds[i], 1, 1);
        takes(q, 10000 * MS, NULL);
        berth_workq_stats(q, 1, &stats);
        assert_int_equal(stats.in_work, 0);
        assert_int_equal(stats.waiting, 1);
        berth_workq_free(q);
    }
    berth_workq_free(NULL);
}

static void
many_keys_come_by_their_time(void **unused)
{
    enum { KEYS = 5000 };
    struct berth_workq *q = make(NULL);
    uint64_t last = 0, now = 0;
    uint32_t x = 12345, got = 0;
    char name[16];
    const char *key;
    uint64_t at;

    (void)unused;
    for (int i = 0; i < KEYS; i++) {
        x = x * 1664525 + 1013904223;
        (void)snprintf(name, sizeof name, "k%d", i);
        assert_int_equal(berth_workq_add_after(q, name, x >> 12, 0), 0);
    }
    while (got < KEYS) {
        if (!berth_workq_take(q, now, &key, &at)) {
            assert_true(at > now);
            now = at;
            continue;
        }
        assert_true(at >= last && at <= now);
        last = at;
        got++;
        done(q, key, BERTH_OUTCOME_OK, 0, now);
    }
    assert_true(next_at(q, now) == UINT64_MAX);
    berth_workq_free(q);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_once_and_in_order),
        cmocka_unit_test(a_key_in_work_comes_again_after),
        cmocka_unit_test(waits_are_the_shorter_one),
        cmocka_unit_test(failures_wait_longer_each_time),
        cmocka_unit_test(an_outcome_may_begin_later),
        cmocka_unit_test(jitter_is_within_its_share),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(closed_it_lets_end_what_is_in_work),
        cmocka_unit_test(many_keys_come_by_their_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
