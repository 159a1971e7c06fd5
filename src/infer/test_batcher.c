#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "infer/batcher.h"
#include "infer/check.h"
#include "infer/request.h"

enum { MAX = 64 };

/* Requests made by the test; it owns the clock. */
static struct berth_request pool[MAX];
static struct berth_tensor inputs[MAX];
static struct berth_request *out[BERTH_BATCH_MAX];

static const struct berth_describe describe = {
    .tasks = BERTH_TASK_TENSOR, .batch_rows_max = UINT32_MAX, .sequence_max = 4};

/* Request i: rows x width, at this time. */
static struct berth_request *
request(int i, int64_t rows, int64_t width, uint64_t now)
{
    struct berth_err e;
    static char bytes[4096];

    inputs[i] = (struct berth_tensor){.name = "x",
                                      .dtype = BERTH_UINT8,
                                      .rank = 2,
                                      .shape = {rows, width},
                                      .bytes = bytes,
                                      .size = (size_t)(rows * width)};
    memset(&pool[i], 0, sizeof pool[i]);
    pool[i].task = BERTH_TASK_TENSOR;
    pool[i].inputs = &inputs[i];
    pool[i].input_count = 1;
    pool[i].submit_ns = now;
    assert_int_equal(berth_check_request(&describe, &pool[i], &e), 0);
    return &pool[i];
}

static struct berth_batcher
batcher(uint32_t requests_max, uint64_t wait_ms, uint32_t queue_len, uint32_t rows_max)
{
    const struct berth_batch_conf conf = {.batch_requests_max = requests_max,
                                          .wait_ns_max = wait_ms * BERTH_MS,
                                          .queue_len_max = queue_len};
    struct berth_batcher b;

    berth_batcher_init(&b, &conf, rows_max, false);
    return b;
}

static void
a_batch_goes_by_size_or_age(void **unused)
{
    static const struct {
        const char *why;
        int waiting;
        uint64_t at_ms; /* the oldest came at 1000, each next one 1 ms later */
        uint32_t want;
        uint64_t wake_ms; /* when nothing is due */
    } cases[] = {
        {"nothing waits", 0, 1000, 0, 0},
        {"one alone waits for company", 1, 1010, 0, 1050},
        {"the age is the oldest one's", 3, 1049, 0, 1050},
        {"old enough", 1, 1050, 1, 0},
        {"old enough, with company", 3, 1050, 3, 0},
        {"full at once", 8, 1007, 8, 0},
        {"more than full: the rest waits", 10, 1009, 8, 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
        uint64_t wake;
        print_message("  %s\n", cases[i].why);
        for (int k = 0; k < cases[i].waiting; k++)
            assert_int_equal(
                berth_batcher_put(&b, request(k, 1, 4, (1000 + (uint64_t)k) * BERTH_MS)), 0);
        assert_int_equal(berth_batcher_due(&b, cases[i].at_ms * BERTH_MS), cases[i].want > 0);
        assert_int_equal(berth_batcher_take(&b, cases[i].at_ms * BERTH_MS, out, &wake),
                         cases[i].want);
        for (uint32_t k = 0; k < cases[i].want; k++)
            assert_ptr_equal(out[k], &pool[k]); /* oldest first */
        if (cases[i].want == 0)
            assert_int_equal(wake,
                             cases[i].wake_ms == 0 ? UINT64_MAX : cases[i].wake_ms * BERTH_MS);
        assert_int_equal(b.len, (uint32_t)cases[i].waiting - cases[i].want);
    }
}

static void
models_that_gain_nothing_do_not_wait(void **unused)
{
    static const struct {
        const char *why;
        uint32_t rows_max;
        uint64_t wait_ms;
        uint32_t want;
    } cases[] = {
        {"without a batch dimension", 0, 50, 1},
        {"with one that is fixed", 1, 50, 1},
        {"with no wait: what is there", UINT32_MAX, 0, 3},
        {"as many rows as the model takes", 2, 50, 2},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_batcher b = batcher(8, cases[i].wait_ms, 64, cases[i].rows_max);
        uint64_t wake;
        print_message("  %s\n", cases[i].why);
        for (int k = 0; k < 3; k++)
            assert_int_equal(berth_batcher_put(&b, request(k, 1, 4, 5)), 0);
        assert_int_equal(berth_batcher_take(&b, 5, out, &wake), cases[i].want);
    }
}

static void
only_equal_shapes_run_together(void **unused)
{
    struct berth_batcher b = batcher(3, 50, 64, UINT32_MAX);
    uint64_t wake;

    (void)unused;
    (void)berth_batcher_put(&b, request(0, 1, 4, 10 * BERTH_MS)); /* alone of its kind */
    (void)berth_batcher_put(&b, request(1, 1, 5, 11 * BERTH_MS));
    (void)berth_batcher_put(&b, request(2, 7, 5, 12 * BERTH_MS)); /* rows may differ */
    assert_int_equal(berth_batcher_take(&b, 13 * BERTH_MS, out, &wake), 0);
    assert_int_equal(wake, 60 * BERTH_MS);
    (void)berth_batcher_put(&b, request(3, 1, 5, 13 * BERTH_MS));
    assert_int_equal(berth_batcher_take(&b, 13 * BERTH_MS, out, &wake), 3); /* full: goes first */
    assert_ptr_equal(out[0], &pool[1]);
    assert_int_equal(berth_batcher_take(&b, 60 * BERTH_MS, out, &wake), 1);
    assert_ptr_equal(out[0], &pool[0]);
}

static void
many_shapes_are_bounded(void **unused)
{
    struct berth_batcher b = batcher(8, 0, MAX, UINT32_MAX);
    uint32_t taken = 0, n;
    uint64_t wake;

    (void)unused;
    for (int k = 0; k < MAX; k++)
        assert_int_equal(berth_batcher_put(&b, request(k, 1, 1 + k, (uint64_t)k)), 0);
    assert_int_equal(berth_batcher_put(&b, request(0, 1, 1, 99)), -BERTH_EAGAIN);
    (void)request(0, 1, 1, 0);
    while ((n = berth_batcher_take(&b, 100, out, &wake)) > 0) {
        assert_int_equal(n, 1); /* never two shapes in one batch */
        taken += n;
    }
    assert_int_equal(taken, MAX);
}

static void
rows_bound_a_batch(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 64, 10);
    uint64_t wake;

    (void)unused;
    (void)berth_batcher_put(&b, request(0, 6, 2, 1));
    (void)berth_batcher_put(&b, request(1, 3, 2, 2));
    (void)berth_batcher_put(&b, request(2, 2, 2, 3));
    assert_int_equal(berth_batcher_take(&b, 3, out, &wake), 2); /* 6 + 3; 2 more would be 11 */
    assert_int_equal(berth_batcher_take(&b, 3 + 50 * BERTH_MS, out, &wake), 1);
}

static bool
is_second(struct berth_request *r, void *arg)
{
    (void)arg;
    return r == &pool[1] || r == &pool[3];
}

static void
requests_can_be_taken_out(void **unused)
{
    struct berth_batcher b = batcher(8, 0, 64, UINT32_MAX);
    uint64_t wake;

    (void)unused;
    for (int k = 0; k < 3; k++)
        (void)berth_batcher_put(&b, request(k, 1, 2, 1));
    struct berth_request *s = request(3, 1, 2, 1);
    s->task = BERTH_TASK_COMPLETION;
    (void)berth_batcher_put(&b, s);
    s = request(4, 1, 2, 1);
    s->task = BERTH_TASK_CHAT;
    (void)berth_batcher_put(&b, s);
    struct berth_request *dead = berth_batcher_sweep(&b, is_second, NULL);
    assert_ptr_equal(dead, &pool[1]);
    assert_ptr_equal(dead->next, &pool[3]);
    assert_null(dead->next->next);
    assert_true(berth_batcher_remove(&b, &pool[2]));
    assert_false(berth_batcher_remove(&b, &pool[2]));
    (void)berth_batcher_put(&b, request(5, 1, 2, 2)); /* the tail is right again */
    assert_int_equal(berth_batcher_take(&b, 9, out, &wake), 2);
    assert_ptr_equal(out[1], &pool[5]);
    assert_ptr_equal(berth_batcher_take_sequence(&b), &pool[4]);
    assert_null(berth_batcher_take_sequence(&b));
}

/* One client that sends its next request when it has an answer. */
static uint64_t
lone_client_wait(struct berth_batcher *b, uint64_t *now)
{
    uint64_t wake, start = *now;

    assert_int_equal(berth_batcher_put(b, request(0, 1, 2, *now)), 0);
    if (berth_batcher_take(b, *now, out, &wake) == 0) {
        *now = wake;
        assert_int_equal(berth_batcher_take(b, *now, out, &wake), 1);
    }
    return *now - start;
}

static void
a_lone_client_is_not_made_to_wait_for_ever(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
    uint64_t now = BERTH_S, waited = 0, wake;

    (void)unused;
    b.learn = true;
    for (int i = 0; i < 4; i++) { /* what a run costs is not known yet */
        assert_int_equal(lone_client_wait(&b, &now), 0);
        berth_batcher_ran(&b, 1, 20 * BERTH_MS);
    }
    assert_int_equal(lone_client_wait(&b, &now), 20 * BERTH_MS); /* nobody came */
    for (int i = 0; i < 16; i++)
        assert_int_equal(lone_client_wait(&b, &now), 0);
    assert_int_equal(lone_client_wait(&b, &now), 20 * BERTH_MS); /* is it still so? */
    for (int i = 0; i < 1000; i++)
        waited += lone_client_wait(&b, &now);
    assert_true(waited / 1000 < BERTH_MS);

    while (lone_client_wait(&b, &now) == 0) /* up to the next such try */
        continue;

    /* Company comes while a batch runs: from now on two are waited for. */
    (void)berth_batcher_put(&b, request(0, 1, 2, now));
    (void)berth_batcher_put(&b, request(1, 1, 2, now));
    assert_int_equal(berth_batcher_take(&b, now, out, &wake), 2);
    (void)berth_batcher_put(&b, request(0, 1, 2, now));
    assert_int_equal(berth_batcher_take(&b, now, out, &wake), 0);
    (void)berth_batcher_put(&b, request(1, 1, 2, now));
    assert_int_equal(berth_batcher_take(&b, now, out, &wake), 2);
}

static void
a_wait_is_worth_what_it_saves(void **unused)
{
    static const struct {
        const char *why;
        uint64_t single_us, four_us, want_us;
        bool learn;
    } cases[] = {
        {"four cost little more than one: as long as one", 100, 130, 100, true},
        {"a slow model: not longer than is allowed", 80000, 90000, 50000, true},
        {"four cost four times one", 100, 400, 0, true},
        {"... but the wait was asked for", 100, 400, 50000, false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
        print_message("  %s\n", cases[i].why);
        b.learn = cases[i].learn;
        for (int k = 0; k < 4; k++) {
            berth_batcher_ran(&b, 1, cases[i].single_us * 1000);
            berth_batcher_ran(&b, 4, cases[i].four_us * 1000);
        }
        assert_int_equal(berth_batcher_wait_ns(&b), cases[i].want_us * 1000);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_goes_by_size_or_age),
        cmocka_unit_test(models_that_gain_nothing_do_not_wait),
        cmocka_unit_test(only_equal_shapes_run_together),
        cmocka_unit_test(many_shapes_are_bounded),
        cmocka_unit_test(rows_bound_a_batch),
        cmocka_unit_test(requests_can_be_taken_out),
        cmocka_unit_test(a_lone_client_is_not_made_to_wait_for_ever),
        cmocka_unit_test(a_wait_is_worth_what_it_saves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
