#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "deploy/route/access.h"

static const uint64_t begin_ns = 1000 * BERTH_S;

static void
first_at_once_then_in_sums(void **unused)
{
    struct berth_access_sums *s = calloc(1, sizeof *s);
    struct berth_access_sum sum;
    uint64_t next = 0, now = begin_ns;

    (void)unused;
    assert_non_null(s);
    assert_true(berth_access_add(s, "svc", "ann", "10.0.0.1:7", true, now));
    assert_true(berth_access_take(s, false, now, &sum, &next));
    assert_string_equal(sum.who, "ann");
    assert_int_equal(sum.count, 1);
    assert_true(sum.granted && sum.known);
    for (int i = 0; i < 1000; i++)
        assert_false(berth_access_add(s, "svc", "ann", "10.0.0.1:7", true, now + 1));
    assert_false(berth_access_take(s, false, now + 1, &sum, &next));
    assert_int_equal(next, now + 60 * BERTH_S);
    now = next;
    assert_true(berth_access_take(s, false, now, &sum, &next));
    assert_int_equal(sum.count, 1000);
    assert_int_equal(sum.since_ns, begin_ns);
    /* Pauses grow to an hour. */
    for (int i = 0; i < 6; i++) {
        (void)berth_access_add(s, "svc", "ann", "10.0.0.1:7", true, now);
        assert_false(berth_access_take(s, false, now, &sum, &next));
        now = next;
        assert_true(berth_access_take(s, false, now, &sum, &next));
    }
    (void)berth_access_add(s, "svc", "ann", "10.0.0.1:7", true, now);
    assert_false(berth_access_take(s, false, now, &sum, &next));
    assert_int_equal(next - now, 3600 * BERTH_S);
    /* At the end nothing is lost; who is away for a pause begins anew. */
    assert_true(berth_access_take(s, true, now, &sum, &next));
    assert_false(berth_access_take(s, true, now, &sum, &next));
    assert_int_equal(s->len, 1);
    assert_false(berth_access_take(s, false, now + 7200 * BERTH_S, &sum, &next));
    assert_int_equal(s->len, 0);
    assert_int_equal(next, UINT64_MAX);
    free(s);
}

static void
callers_are_told_apart_up_to_a_number(void **unused)
{
    struct berth_access_sums *s = calloc(1, sizeof *s);
    struct berth_access_sum sum;
    uint64_t next, told = 0;
    char peer[32];

    (void)unused;
    assert_non_null(s);
    (void)berth_access_add(s, "svc", NULL, "10.9.9.9:1", false, begin_ns);
    (void)berth_access_add(s, "svc", NULL, "10.9.9.9:2", false, begin_ns); /* the same address */
    (void)berth_access_add(s, "svc", "10.9.9.9", "x", false, begin_ns);    /* a key of that name */
    (void)berth_access_add(s, "svc", "ann", "x", false, begin_ns);
    (void)berth_access_add(s, "svc", "ann", "x", true, begin_ns);
    (void)berth_access_add(s, "other", "ann", "x", true, begin_ns);
    assert_int_equal(s->len, 5);
    for (int i = 0; i < 600; i++) {
        (void)snprintf(peer, sizeof peer, "10.1.%d.%d:9", i / 200, i % 200);
        (void)berth_access_add(s, "svc", NULL, peer, false, begin_ns);
    }
    assert_int_equal(s->len, BERTH_ACCESS_SUMS_MAX);
    assert_int_equal(s->others, 605 - BERTH_ACCESS_SUMS_MAX);
    while (berth_access_take(s, true, begin_ns, &sum, &next))
        told += sum.count;
    assert_int_equal(told, BERTH_ACCESS_SUMS_MAX + 1);
    free(s);
}

/* A call of a closed service finds its sum at once, however many callers there are. */
static void
sums_are_found_without_a_walk(void **unused)
{
    struct berth_access_sums *s = calloc(1, sizeof *s);
    struct berth_access_sum sum;
    uint64_t next = 0, told = 0, now = begin_ns;
    char who[32];

    (void)unused;
    assert_non_null(s);
    for (int round = 0; round < 3; round++) { /* those of the round before went meanwhile */
        for (int i = 0; i < 2 * BERTH_ACCESS_SUMS_MAX; i++) {
            (void)snprintf(who, sizeof who, "r%d-%d", round, i / 2);
            (void)berth_access_add(s, "svc", who, "10.0.0.1:7", i % 2 == 0, now);
        }
        assert_int_equal(s->len, BERTH_ACCESS_SUMS_MAX);
        const uint64_t before = s->compared;
        for (int i = 0; i < BERTH_ACCESS_SUMS_MAX; i++) {
            (void)snprintf(who, sizeof who, "r%d-%d", round, i / 2);
            (void)berth_access_add(s, "svc", who, "10.0.0.1:7", i % 2 == 0, now);
        }
        assert_true(s->compared - before < (uint64_t)3 * BERTH_ACCESS_SUMS_MAX);
        while (berth_access_take(s, false, now, &sum, &next)) {
            assert_int_equal(sum.count, 2);
            told++;
        }
        assert_int_equal(told, (round + 1) * BERTH_ACCESS_SUMS_MAX);
        now += 7200 * BERTH_S;
        /* Half of them ask again, so that the other half goes from between them. */
        for (int i = 0; i < BERTH_ACCESS_SUMS_MAX; i += 4) {
            (void)snprintf(who, sizeof who, "r%d-%d", round, i / 2);
            (void)berth_access_add(s, "svc", who, "10.0.0.1:7", true, now);
        }
        assert_int_equal(s->len, BERTH_ACCESS_SUMS_MAX);
        for (int i = 0; berth_access_take(s, false, now, &sum, &next); i++)
            assert_int_equal(sum.count, 1);
        assert_int_equal(s->len, BERTH_ACCESS_SUMS_MAX / 4);
        now += 7200 * BERTH_S;
        assert_false(berth_access_take(s, false, now, &sum, &next));
        assert_int_equal(s->len, 0);
    }
    free(s);
}

static void
lists_name_keys(void **unused)
{
    static const struct {
        const char *why, *allow, *name, *print;
        bool want;
    } cases[] = {
        {"no list: everybody", NULL, NULL, NULL, true},
        {"any key", "*", "ann", "key-1", true},
        {"any key is not no key", "*", NULL, NULL, false},
        {"by name", "bob ann", "ann", "key-1", true},
        {"by fingerprint", "bob key-1", "ann", "key-1", true},
        {"the last of them", "ann bob", "bob", "key-2", true},
        {"another one", "ann bob", "eve", "key-3", false},
        {"a beginning is another name", "ann bob", "an", "key", false},
        {"a longer one, too", "ann bob", "anna", "key-33", false},
        {"an empty list: nobody", "", "ann", "key-1", false},
        {"an empty name is none", "", "", "", false},
        {"the star is alone", "a*", "ann", "key-1", false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_access_allows(cases[i].allow, cases[i].name, cases[i].print),
                         cases[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_at_once_then_in_sums),
        cmocka_unit_test(callers_are_told_apart_up_to_a_number),
        cmocka_unit_test(sums_are_found_without_a_walk),
        cmocka_unit_test(lists_name_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
