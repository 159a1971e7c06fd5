#include "infer/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <berth/err.h>

#include "base/arena.h"

static struct berth_version_stats
version(struct berth_stats *s, const char *label, struct berth_arena *a)
{
    struct berth_version_stats v;

    assert_int_equal(berth_stats_version_get(s, label, a, &v), 0);
    return v;
}

static void
duration_is(struct berth_duration d, uint64_t count, uint64_t ns)
{
    assert_int_equal(d.count, count);
    assert_int_equal(d.ns, ns);
}

/* Two requests of 3 and 1 rows in one run, and one that failed. */
static void
requests_count_for_their_version(void **unused)
{
    const struct berth_stats_item pair[] = {
        {.rows = 3,
         .latency_ns = 100,
         .queue_ns = 40,
         .input_ns = 5,
         .infer_ns = 50,
         .output_ns = 5},
        {.latency_ns = 90, .queue_ns = 30, .input_ns = 5, .infer_ns = 50, .output_ns = 5},
    };
    const struct berth_stats_item bad = {.result = -BERTH_EBACKEND, .rows = 1, .latency_ns = 7};
    const struct berth_stats_item late = {.result = -BERTH_EDEADLINE, .latency_ns = 9};
    const struct berth_stats_run run = {.rows = 4, .input_ns = 5, .infer_ns = 50, .output_ns = 5};
    const struct berth_stats_run alone = {.rows = 1, .infer_ns = 6};
    struct berth_stats *s = berth_stats_new();
    struct berth_model_stats all;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_stats_version(s, "1"), 0);
    assert_int_equal(berth_stats_version(s, "2"), 1);
    assert_int_equal(berth_stats_version(s, "1"), 0);
    berth_stats_add(s, 0, pair, 2, &run);
    berth_stats_add(s, 0, &bad, 1, &alone);
    berth_stats_add(s, 0, &late, 1, NULL); /* never ran */
    struct berth_version_stats v = version(s, "1", &a);
    duration_is(v.success, 2, 190);
    duration_is(v.fail, 2, 16);
    duration_is(v.queue, 2, 70);
    duration_is(v.input, 2, 10);
    duration_is(v.infer, 2, 100);
    duration_is(v.output, 2, 10);
    duration_is(v.cache_hit, 0, 0);
    assert_int_equal(v.inferences, 4);
    assert_int_equal(v.executions, 2);
    assert_true(v.last_wall_ns > 0);
    assert_int_equal(v.batch_count, 2);
    assert_int_equal(v.batches[0].rows, 1);
    assert_int_equal(v.batches[1].rows, 4);
    assert_int_equal(v.batches[1].count, 1);
    assert_int_equal(v.batches[1].infer_ns, 50);
    assert_int_equal(version(s, "2", &a).success.count, 0);
    assert_int_equal(version(s, "nope", &a).last_wall_ns, 0);
    berth_stats_get(s, &all);
    assert_int_equal(all.requests, 4);
    assert_int_equal(all.failed, 1);
    assert_int_equal(all.canceled, 1);
    assert_int_equal(all.batches, 2);
    assert_int_equal(all.run_ns, 56);
    berth_arena_fini(&a);
    berth_stats_unref(s);
}

/* A hit is a success that neither waited nor ran. */
static void
hits_are_no_runs(void **unused)
{
    struct berth_stats *s = berth_stats_new();
    struct berth_model_stats all;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_stats_version(s, "1"), 0);
    berth_stats_hit(s, 0, 2, 3);
    berth_stats_miss(s, 0, 4);
    struct berth_version_stats v = version(s, "1", &a);
    duration_is(v.success, 1, 3);
    duration_is(v.queue, 1, 0);
    duration_is(v.infer, 0, 0);
    duration_is(v.cache_hit, 1, 2);
    duration_is(v.cache_miss, 1, 4);
    assert_int_equal(v.inferences + v.executions, 0);
    berth_stats_get(s, &all);
    assert_int_equal(all.ok, 1);
    berth_arena_fini(&a);
    berth_stats_unref(s);
}

static void
sizes_stay_sorted_and_bounded(void **unused)
{
    struct berth_stats *s = berth_stats_new();
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_stats_version(s, "1"), 0);
    for (uint64_t i = 0; i < 2 * BERTH_STATS_SIZES_MAX; i++) {
        const struct berth_stats_run run = {.rows = 1 + i * 7919 % 997}; /* not in order */
        const struct berth_stats_item item = {.rows = 1};
        berth_stats_add(s, 0, &item, 1, &run);
        berth_stats_add(s, 0, &item, 1, &run);
    }
    struct berth_version_stats v = version(s, "1", &a);
    assert_int_equal(v.batch_count, BERTH_STATS_SIZES_MAX);
    assert_int_equal(v.executions, 4 * BERTH_STATS_SIZES_MAX);
    for (size_t i = 0; i < v.batch_count; i++) {
        assert_int_equal(v.batches[i].count, 2);
        assert_true(i == 0 || v.batches[i - 1].rows < v.batches[i].rows);
    }
    berth_arena_fini(&a);
    berth_stats_unref(s);
}

static void
last_changes_of_state_are_kept(void **unused)
{
    enum { MORE = 10 };
    const struct berth_state_change *changes;
    struct berth_stats *s = berth_stats_new();
    char why[400];
    struct berth_arena a;
    uint64_t total;
    size_t n;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_stats_changes(s, &a, &changes, &n, &total), 0);
    assert_int_equal(n + total, 0);
    assert_int_equal(berth_stats_version(s, "12"), 0);
    memset(why, 'x', sizeof why - 1);
    why[sizeof why - 1] = '\0';
    for (int i = 0; i < BERTH_STATS_CHANGES_MAX + MORE; i++)
        berth_stats_state(s, 0, i % 2 != 0 ? BERTH_MODEL_READY : BERTH_MODEL_LOADING, NULL);
    berth_stats_state(s, 0, BERTH_MODEL_FAILED, why);
    assert_int_equal(berth_stats_changes(s, &a, &changes, &n, &total), 0);
    assert_int_equal(n, BERTH_STATS_CHANGES_MAX);
    assert_int_equal(total, BERTH_STATS_CHANGES_MAX + MORE + 1);
    assert_int_equal(changes[n - 1].state, BERTH_MODEL_FAILED);
    assert_int_equal(strlen(changes[n - 1].why), sizeof changes->why - 1);
    assert_string_equal(changes[n - 1].version, "12");
    assert_int_equal(changes[n - 2].state, BERTH_MODEL_READY);
    assert_string_equal(changes[n - 2].why, "");
    for (size_t i = 1; i < n; i++)
        assert_true(changes[i - 1].wall_ns <= changes[i].wall_ns);
    berth_arena_fini(&a);
    berth_stats_unref(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_count_for_their_version),
        cmocka_unit_test(hits_are_no_runs),
        cmocka_unit_test(sizes_stay_sorted_and_bounded),
        cmocka_unit_test(last_changes_of_state_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
