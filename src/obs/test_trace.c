#include "obs/trace.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const int loop_a, loop_b, loop_c, model_a, model_b; /* only their addresses */

static struct berth_trace_note
note(unsigned number, uint64_t took_ns, uint16_t status)
{
    struct berth_trace_note n = {.wall_ns = number, .end_ns = took_ns, .status = status};

    (void)snprintf(n.id, sizeof n.id, "id-%u", number);
    (void)snprintf(n.why, sizeof n.why, "why %u", number);
    return n;
}

static void
add(struct berth_trace *t, const void *writer, unsigned number, uint64_t took_ns, uint16_t status)
{
    const struct berth_trace_note n = note(number, took_ns, status);

    berth_trace_add(t, writer, &model_a, &n);
}

static bool
find(const struct berth_trace *t, unsigned number, struct berth_trace_note *ret)
{
    char id[16];

    (void)snprintf(id, sizeof id, "id-%u", number);
    return berth_trace_find(t, id, NULL, NULL, ret);
}

static void
requests_are_found_by_id(void **unused)
{
    struct berth_trace *t = berth_trace_new(128, 2);
    struct berth_trace_note n;

    (void)unused;
    assert_false(find(t, 1, &n));
    add(t, &loop_a, 1, 100, 200);
    add(t, &loop_b, 2, 100, 503);
    add(t, &loop_c, 3, 100, 200); /* a writer too many is not recorded */
    assert_true(find(t, 1, &n));
    assert_int_equal(n.end_ns, 100);
    assert_string_equal(n.why, "");
    assert_true(find(t, 2, &n));
    assert_int_equal(n.status, 503);
    assert_string_equal(n.why, "why 2");
    assert_false(find(t, 3, &n));
    add(t, &loop_b, 1, 70, 200); /* the same id again: the newest is told */
    struct berth_trace_note later = note(1, 80, 200);
    later.wall_ns = 99;
    berth_trace_add(t, &loop_a, &model_a, &later);
    assert_true(find(t, 1, &n));
    assert_int_equal(n.end_ns, 80);
    berth_trace_free(t);
    berth_trace_free(NULL);
}

static void
slow_and_failed_ones_are_kept_longer(void **unused)
{
    struct berth_trace *t = berth_trace_new(64, 1);
    struct berth_trace_note n;

    (void)unused;
    for (unsigned i = 0; i < 20; i++)
        add(t, &loop_a, i, 100, 200);
    add(t, &loop_a, 1000, 500, 200); /* slow */
    add(t, &loop_a, 1001, 5, 400);
    add(t, &loop_a, 1002, 350, 200); /* not slow enough */
    for (unsigned i = 2000; i < 2100; i++)
        add(t, &loop_a, i, 100, 200);
    assert_false(find(t, 1, &n));
    assert_false(find(t, 1002, &n));
    assert_true(find(t, 1000, &n));
    assert_true(find(t, 1001, &n));
    assert_true(find(t, 2099, &n));
    /* Another model's requests are not slow for taking what its requests take. */
    n = note(3000, 100000, 200);
    berth_trace_add(t, &loop_a, &model_b, &n);
    for (unsigned i = 3001; i < 3100; i++) {
        n = note(i, 100000, 200);
        berth_trace_add(t, &loop_a, &model_b, &n);
    }
    assert_false(find(t, 3000, &n));
    assert_true(find(t, 1000, &n));
    berth_trace_free(t);
}

static bool
failed(const struct berth_trace_note *n, const void *arg)
{
    (void)arg;
    return berth_trace_failed(n);
}

static void
lists_are_in_order(void **unused)
{
    static const uint64_t took[] = {30, 10, 50, 20, 40};
    struct berth_trace *t = berth_trace_new(64, 2);
    struct berth_trace_note n[3];

    (void)unused;
    assert_int_equal(berth_trace_list(t, BERTH_TRACE_NEWEST, NULL, NULL, n, 3), 0);
    for (unsigned i = 0; i < 5; i++)
        add(t, i % 2 != 0 ? &loop_a : &loop_b, i, took[i], i == 1 || i == 3 ? 500 : 200);
    assert_int_equal(berth_trace_list(t, BERTH_TRACE_SLOWEST, NULL, NULL, n, 3), 3);
    assert_int_equal(n[0].end_ns, 50);
    assert_int_equal(n[1].end_ns, 40);
    assert_int_equal(n[2].end_ns, 30);
    assert_int_equal(berth_trace_list(t, BERTH_TRACE_NEWEST, NULL, NULL, n, 3), 3);
    assert_int_equal(n[0].wall_ns, 4);
    assert_int_equal(n[2].wall_ns, 2);
    assert_int_equal(berth_trace_list(t, BERTH_TRACE_NEWEST, failed, NULL, n, 3), 2);
    assert_int_equal(n[0].wall_ns, 3);
    assert_int_equal(n[1].wall_ns, 1);
    assert_int_equal(berth_trace_list(t, BERTH_TRACE_NEWEST, NULL, NULL, n, 0), 0);
    berth_trace_free(t);
}

/* ---- readers while it is written ---- */

enum { WRITES = 20000 };

struct race {
    struct berth_trace *t;
    atomic_uint writing;
    atomic_bool torn;
    atomic_uint seen;
};

static void *
write_many(void *arg)
{
    struct race *race = arg;
    char own; /* its address is who writes */

    for (unsigned i = 1; i <= WRITES; i++) {
        struct berth_trace_note n = note(i, i, i % 3 == 0 ? 500 : 200);
        n.engine_ns = n.done_ns = i; /* all of a record say the same number */
        n.tokens_out = i;
        berth_trace_add(race->t, &own, &model_a, &n);
    }
    atomic_fetch_sub(&race->writing, 1);
    return NULL;
}

static bool
is_whole(const struct berth_trace_note *n, const void *arg)
{
    struct race *race = (struct race *)arg;
    const unsigned i = (unsigned)n->wall_ns;
    const struct berth_trace_note want = note(i, i, i % 3 == 0 ? 500 : 200);

    atomic_fetch_add(&race->seen, 1);
    if (strcmp(n->id, want.id) != 0 || n->engine_ns != i || n->done_ns != i || n->end_ns != i ||
        n->tokens_out != i || n->status != want.status ||
        (n->status >= 400 && strcmp(n->why, want.why) != 0))
        atomic_store(&race->torn, true);
    return false;
}

static void
a_record_is_read_whole_or_not_at_all(void **unused)
{
    struct race race = {.t = berth_trace_new(128, 2)};
    struct berth_trace_note n;
    pthread_t threads[2];

    (void)unused;
    atomic_store(&race.writing, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &race), 0);
    do {
        (void)berth_trace_list(race.t, BERTH_TRACE_NEWEST, is_whole, &race, &n, 1);
    } while (atomic_load(&race.writing) > 0);
    (void)berth_trace_list(race.t, BERTH_TRACE_NEWEST, is_whole, &race, &n, 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(atomic_load(&race.seen) >= 64);
    assert_false(atomic_load(&race.torn));
    berth_trace_free(race.t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_found_by_id),
        cmocka_unit_test(slow_and_failed_ones_are_kept_longer),
        cmocka_unit_test(lists_are_in_order),
        cmocka_unit_test(a_record_is_read_whole_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
