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
static struct berth_request pool[MAX + 1];
static struct berth_tensor inputs[MAX + 1];
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
    assert_int_equal(berth_check_request(&describe, NULL, &pool[i], &e), 0);
    return &pool[i];
}

static struct berth_batcher
batcher(uint32_t requests_max, uint64_t wait_ms, uint32_t queue_len, uint32_t rows_max)
{
    const struct berth_batch_conf conf = {.batch_requests_max = requests_max,
                                          .wait_ns_max = wait_ms * BERTH_MS,
                                          .queue_len_max = queue_len,
                                          .mode = BERTH_BATCHING_DYNAMIC};
    struct berth_batcher b;

    berth_batcher_init(&b, &conf, rows_max);
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
        assert_int_equal(berth_batcher_take(&b, cases[i].at_ms * BERTH_MS, NULL, out, &wake),
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
        assert_int_equal(berth_batcher_take(&b, 5, NULL, out, &wake), cases[i].want);
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
    assert_int_equal(berth_batcher_take(&b, 13 * BERTH_MS, NULL, out, &wake), 0);
    assert_int_equal(wake, 60 * BERTH_MS);
    (void)berth_batcher_put(&b, request(3, 1, 5, 13 * BERTH_MS));
    assert_int_equal(berth_batcher_take(&b, 13 * BERTH_MS, NULL, out, &wake),
                     3); /* full: goes first */
    assert_ptr_equal(out[0], &pool[1]);
    assert_int_equal(berth_batcher_take(&b, 60 * BERTH_MS, NULL, out, &wake), 1);
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
    assert_int_equal(berth_batcher_put(&b, request(MAX, 1, 1, 99)), -BERTH_EAGAIN);
    while ((n = berth_batcher_take(&b, 100, NULL, out, &wake)) > 0) {
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
    assert_int_equal(berth_batcher_take(&b, 3, NULL, out, &wake),
                     2); /* 6 + 3; 2 more would be 11 */
    assert_int_equal(berth_batcher_take(&b, 3 + 50 * BERTH_MS, NULL, out, &wake), 1);
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
    assert_true(berth_batcher_remove(&b, &pool[1]));
    assert_true(berth_batcher_remove(&b, &pool[3]));
    assert_true(berth_batcher_remove(&b, &pool[2]));
    assert_false(berth_batcher_remove(&b, &pool[2]));
    (void)berth_batcher_put(&b, request(5, 1, 2, 2)); /* the tail is right again */
    assert_int_equal(berth_batcher_take(&b, 9, NULL, out, &wake), 2);
    assert_ptr_equal(out[1], &pool[5]);
    assert_ptr_equal(berth_batcher_take_sequence(&b, NULL), &pool[4]);
    assert_null(berth_batcher_take_sequence(&b, NULL));
    (void)berth_batcher_put(&b, request(0, 1, 2, 1));
    (void)berth_batcher_put(&b, request(1, 1, 3, 1));
    struct berth_request *all = berth_batcher_take_all(&b);
    assert_ptr_equal(all, &pool[0]);
    assert_ptr_equal(all->next, &pool[1]);
    assert_null(all->next->next);
    assert_int_equal(b.len, 0);
}

/* One client that sends its next request when it has an answer. */
static uint64_t
lone_client_wait(struct berth_batcher *b, uint64_t *now)
{
    uint64_t wake, start = *now;

    assert_int_equal(berth_batcher_put(b, request(0, 1, 2, *now)), 0);
    if (berth_batcher_take(b, *now, NULL, out, &wake) == 0) {
        *now = wake;
        assert_int_equal(berth_batcher_take(b, *now, NULL, out, &wake), 1);
    }
    return *now - start;
}

static void
a_lone_client_is_not_made_to_wait_for_ever(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
    uint64_t now = BERTH_S, waited = 0, wake;

    (void)unused;
    b.conf.mode = BERTH_BATCHING_AUTO;
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
    assert_int_equal(berth_batcher_take(&b, now, NULL, out, &wake), 2);
    (void)berth_batcher_put(&b, request(0, 1, 2, now));
    assert_int_equal(berth_batcher_take(&b, now, NULL, out, &wake), 0);
    (void)berth_batcher_put(&b, request(1, 1, 2, now));
    assert_int_equal(berth_batcher_take(&b, now, NULL, out, &wake), 2);
}

static void
a_wait_is_worth_what_it_saves(void **unused)
{
    static const struct {
        const char *why;
        uint64_t single_us, four_us, want_us;
        enum berth_batching mode;
    } cases[] = {
        {"four cost little more than one: as long as one", 100, 130, 100, BERTH_BATCHING_AUTO},
        {"a slow model: not longer than is allowed", 80000, 90000, 50000, BERTH_BATCHING_AUTO},
        {"four cost four times one", 100, 400, 0, BERTH_BATCHING_AUTO},
        {"... but the wait was asked for", 100, 400, 50000, BERTH_BATCHING_DYNAMIC},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
        print_message("  %s\n", cases[i].why);
        b.conf.mode = cases[i].mode;
        for (int k = 0; k < 4; k++) {
            berth_batcher_ran(&b, 1, cases[i].single_us * 1000);
            berth_batcher_ran(&b, 4, cases[i].four_us * 1000);
        }
        assert_int_equal(berth_batcher_wait_ns(&b), cases[i].want_us * 1000);
    }
}

/* ---- preferred sizes ---- */

static void
preferred_sizes_go_first(void **unused)
{
    static const struct {
        const char *why;
        uint32_t preferred[3], preferred_len;
        uint64_t wait_ms, at_ms; /* all came at 1000 */
        int waiting;
        int64_t rows;
        uint32_t want;
    } cases[] = {
        {"a preferred size does not wait", {4, 8}, 2, 50, 1000, 4, 1, 4},
        {"the largest that can be formed", {4, 8}, 2, 50, 1000, 9, 1, 8},
        {"none can: wait for company", {4, 8}, 2, 50, 1000, 3, 1, 0},
        {"... no longer than the wait, then as it is", {4, 8}, 2, 50, 1050, 3, 1, 3},
        {"past the wait nobody is left behind", {4, 8}, 2, 50, 1050, 6, 1, 6},
        {"without a wait: preferred first", {4}, 1, 0, 1000, 6, 1, 4},
        {"without a wait: else what is there", {4}, 1, 0, 1000, 3, 1, 3},
        {"sizes are rows", {4, 8}, 2, 50, 1000, 2, 2, 2},
        {"rows that do not add up to one wait", {5}, 1, 50, 1000, 3, 2, 0},
        {"full goes, preferred or not", {5}, 1, 50, 1000, 16, 2, 16},
        {"full, and preferred can be formed", {6}, 1, 50, 1000, 20, 1, 6},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_batcher b = batcher(16, cases[i].wait_ms, 64, UINT32_MAX);
        uint64_t wake, at = cases[i].at_ms * BERTH_MS;
        print_message("  %s\n", cases[i].why);
        memcpy(b.conf.preferred, cases[i].preferred, sizeof cases[i].preferred);
        b.conf.preferred_len = cases[i].preferred_len;
        for (int k = 0; k < cases[i].waiting; k++)
            assert_int_equal(berth_batcher_put(&b, request(k, cases[i].rows, 4, 1000 * BERTH_MS)),
                             0);
        assert_int_equal(berth_batcher_due(&b, at), cases[i].want > 0);
        assert_int_equal(berth_batcher_take(&b, at, NULL, out, &wake), cases[i].want);
    }
}

/* ---- priorities and policies ---- */

static struct berth_request *
urgent(int i, uint32_t priority, uint64_t now)
{
    struct berth_request *r = request(i, 1, 4, now);

    r->priority = priority;
    return r;
}

static void
the_urgent_go_first(void **unused)
{
    struct berth_batcher b = batcher(3, 0, 64, UINT32_MAX);
    uint64_t wake;

    (void)unused;
    b.conf.priority_levels = 3;
    b.conf.priority_default = 2;
    (void)berth_batcher_put(&b, urgent(0, 3, 1));
    (void)berth_batcher_put(&b, urgent(1, 0, 2)); /* says nothing: 2 */
    (void)berth_batcher_put(&b, urgent(2, 9, 3)); /* there is no such level: 2 */
    (void)berth_batcher_put(&b, urgent(3, 1, 4));
    (void)berth_batcher_put(&b, urgent(4, 1, 5));
    static const int order[] = {3, 4, 1, 2, 0};
    assert_int_equal(berth_batcher_take(&b, 9, NULL, out, &wake), 3);
    for (int k = 0; k < 3; k++)
        assert_ptr_equal(out[k], &pool[order[k]]);
    assert_int_equal(berth_batcher_take(&b, 9, NULL, out, &wake), 2);
    assert_ptr_equal(out[0], &pool[2]);
    assert_ptr_equal(out[1], &pool[0]);

    /* Of two shapes the more urgent one, also when the other is full. */
    for (int k = 0; k < 3; k++)
        (void)berth_batcher_put(&b, urgent(k, 2, 10));
    struct berth_request *r = request(5, 1, 5, 11);
    r->priority = 1;
    (void)berth_batcher_put(&b, r);
    assert_int_equal(berth_batcher_take(&b, 11, NULL, out, &wake), 1);
    assert_ptr_equal(out[0], &pool[5]);

    /* Sequences have priorities too. */
    for (int k = 10; k < 13; k++) {
        r = urgent(k, (uint32_t)(13 - k), 12);
        r->task = BERTH_TASK_CHAT;
        (void)berth_batcher_put(&b, r);
    }
    for (int k = 12; k >= 10; k--)
        assert_ptr_equal(berth_batcher_take_sequence(&b, NULL), &pool[k]);
}

static void
one_queue_knows_no_priority(void **unused)
{
    struct berth_batcher b = batcher(1, 0, 64, UINT32_MAX);
    uint64_t wake;

    (void)unused;
    (void)berth_batcher_put(&b, urgent(0, 3, 1));
    (void)berth_batcher_put(&b, urgent(1, 1, 2));
    assert_int_equal(berth_batcher_take(&b, 9, NULL, out, &wake), 1);
    assert_ptr_equal(out[0], &pool[0]);
}

static void
timeouts_follow_the_policy(void **unused)
{
    static const struct {
        const char *why;
        struct berth_queue_policy policy;
        uint64_t asked_ms, at_ms; /* it came at 1000 */
        bool gone, timed_out;
    } cases[] = {
        {"no timeout", {.timeout_ns = 0}, 0, 9000, false, false},
        {"the default one, in time", {.timeout_ns = 20 * BERTH_MS}, 0, 1019, false, false},
        {"the default one, over", {.timeout_ns = 20 * BERTH_MS}, 0, 1020, true, true},
        {"an own one without leave", {.timeout_ns = 20 * BERTH_MS}, 5, 1010, false, false},
        {"an own one", {.timeout_ns = 20 * BERTH_MS, .allow_override = true}, 5, 1005, true, true},
        {"... cannot be longer",
         {.timeout_ns = 20 * BERTH_MS, .allow_override = true},
         500,
         1020,
         true,
         true},
        {"... is all there is", {.allow_override = true}, 5, 1005, true, true},
        {"a delay keeps it", {.timeout_ns = 20 * BERTH_MS, .delay = true}, 0, 1500, false, false},
        {"the deadline ends it all the same",
         {.timeout_ns = 20 * BERTH_MS, .delay = true},
         0,
         3000,
         true,
         false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
        struct berth_request *r = request(0, 1, 4, 1000 * BERTH_MS);
        uint64_t next;
        bool delayed;
        print_message("  %s\n", cases[i].why);
        b.conf.policies[0] = cases[i].policy;
        r->queue_timeout_ns = cases[i].asked_ms * BERTH_MS;
        r->deadline_ns = i == 0 ? 0 : 3000 * BERTH_MS;
        assert_int_equal(berth_batcher_put(&b, r), 0);
        struct berth_request *out_of_it =
            berth_batcher_expire(&b, cases[i].at_ms * BERTH_MS, &delayed, &next);
        assert_ptr_equal(out_of_it, cases[i].gone ? r : NULL);
        assert_int_equal(r->timed_out, cases[i].timed_out);
        assert_int_equal(b.len, !cases[i].gone);
        if (cases[i].gone || i == 0)
            assert_int_equal(next, UINT64_MAX);
    }
}

static void
the_delayed_go_behind_their_level(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
    uint64_t wake, next;
    bool delayed;

    (void)unused;
    b.conf.priority_levels = 2;
    b.conf.priority_default = 1;
    b.conf.policies[0] = (struct berth_queue_policy){.timeout_ns = 10 * BERTH_MS, .delay = true};
    (void)berth_batcher_put(&b, urgent(0, 1, 1000 * BERTH_MS));
    (void)berth_batcher_put(&b, urgent(1, 2, 1001 * BERTH_MS));
    assert_null(berth_batcher_expire(&b, 1010 * BERTH_MS, &delayed, &next));
    assert_true(delayed);
    (void)berth_batcher_put(&b, urgent(2, 1, 1011 * BERTH_MS));
    assert_int_equal(berth_batcher_take(&b, 1011 * BERTH_MS, NULL, out, &wake), 3);
    assert_ptr_equal(out[0], &pool[2]);
    assert_ptr_equal(out[1], &pool[0]);
    assert_ptr_equal(out[2], &pool[1]);
}

static void
a_level_has_its_own_room(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 5, UINT32_MAX);

    (void)unused;
    b.conf.priority_levels = 2;
    b.conf.priority_default = 2;
    b.conf.policies[1].queue_len_max = 2;
    assert_int_equal(berth_batcher_put(&b, urgent(0, 2, 1)), 0);
    assert_int_equal(berth_batcher_put(&b, urgent(1, 2, 1)), 0);
    assert_int_equal(berth_batcher_put(&b, urgent(2, 2, 1)), -BERTH_EAGAIN);
    assert_int_equal(berth_batcher_put(&b, urgent(3, 1, 1)), 0);
    assert_int_equal(berth_batcher_put(&b, urgent(4, 1, 1)), 0);
    assert_int_equal(berth_batcher_put(&b, urgent(5, 1, 1)), 0);
    assert_int_equal(berth_batcher_put(&b, urgent(6, 1, 1)), -BERTH_EAGAIN); /* the whole queue */
    assert_true(berth_batcher_remove(&b, &pool[0]));
    assert_int_equal(berth_batcher_put(&b, urgent(7, 2, 1)), 0);
}

static void
what_failed_is_tried_elsewhere(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
    /* Two instances: only their addresses matter. */
    static const char marks[2];
    const struct berth_instance_thread *one = (const void *)&marks[0],
                                       *two = (const void *)&marks[1];
    uint64_t wake;

    (void)unused;
    berth_batcher_put_retry(&b, request(0, 1, 4, 1), one);
    assert_int_equal(b.len, 1);
    assert_int_equal(berth_batcher_take(&b, 2, one, out, &wake), 0);
    assert_int_equal(wake, UINT64_MAX);
    (void)berth_batcher_put(&b, request(1, 1, 4, 2));
    assert_int_equal(berth_batcher_take(&b, 3, two, out, &wake), 1); /* at once, and alone */
    assert_ptr_equal(out[0], &pool[0]);

    struct berth_request *s = request(2, 1, 4, 3);
    s->task = BERTH_TASK_CHAT;
    berth_batcher_put_retry(&b, s, two);
    assert_false(berth_batcher_has_sequence(&b, two));
    assert_null(berth_batcher_take_sequence(&b, two));
    assert_true(berth_batcher_has_sequence(&b, one));
    assert_ptr_equal(berth_batcher_take_sequence(&b, one), s);
}

/* ---- what is decided ---- */

static void
the_decision_follows_what_runs_take(void **unused)
{
    struct berth_batcher b = batcher(8, 50, 64, UINT32_MAX);
    char why[BERTH_BATCH_WHY];
    uint64_t wake;

    (void)unused;
    b.conf.mode = BERTH_BATCHING_AUTO;
    struct berth_batch_view v = berth_batcher_view(&b);
    assert_int_equal(v.choice, BERTH_GAIN_MEASURING);
    assert_string_equal(berth_batch_why(&v, why), "no requests have come together yet");
    for (int i = 0; i < 4; i++) {
        berth_batcher_ran(&b, 1, 10 * BERTH_MS);
        berth_batcher_ran(&b, 4, 40 * BERTH_MS);
    }
    v = berth_batcher_view(&b);
    assert_int_equal(v.choice, BERTH_GAIN_ALONE);
    assert_int_equal(v.wait_ns, 0);
    assert_string_equal(berth_batch_why(&v, why),
                        "a request costs 10 ms in a batch and 10 ms alone");

    /* It runs them alone, and tries a batch now and then. */
    unsigned batches = 0;
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 3; k++)
            (void)berth_batcher_put(&b, request(k, 1, 4, 1));
        uint32_t n = berth_batcher_take(&b, 2, NULL, out, &wake);
        assert_true(n == 1 || n == 3);
        batches += n == 3;
        berth_batcher_ran(&b, n, n * 10 * BERTH_MS);
        (void)berth_batcher_take_all(&b);
    }
    assert_true(batches >= 2 && batches <= 5);

    /* Batches have become cheap: those tries show it. */
    int rounds = 0;
    while (berth_batcher_view(&b).choice == BERTH_GAIN_ALONE && rounds++ < 1000) {
        for (int k = 0; k < 4; k++)
            (void)berth_batcher_put(&b, request(k, 1, 4, 1));
        uint32_t n = berth_batcher_take(&b, 2, NULL, out, &wake);
        berth_batcher_ran(&b, n, 10 * BERTH_MS);
        (void)berth_batcher_take_all(&b);
    }
    v = berth_batcher_view(&b);
    assert_int_equal(v.choice, BERTH_GAIN_BATCH);
    assert_int_equal(v.changes, 1);
    assert_true(v.wait_ns > 0 && v.requests_max == 8);

    /* ... and under load, when nobody ever runs alone by itself, expensive again. */
    rounds = 0;
    while (berth_batcher_view(&b).choice == BERTH_GAIN_BATCH && rounds++ < 10000) {
        for (int k = 0; k < 8; k++)
            (void)berth_batcher_put(&b, request(k, 1, 4, 1));
        uint32_t n = berth_batcher_take(&b, 2, NULL, out, &wake);
        berth_batcher_ran(&b, n, n * 5 * BERTH_MS);
        (void)berth_batcher_take_all(&b);
    }
    assert_int_equal(berth_batcher_view(&b).choice, BERTH_GAIN_ALONE);
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
        cmocka_unit_test(preferred_sizes_go_first),
        cmocka_unit_test(the_urgent_go_first),
        cmocka_unit_test(one_queue_knows_no_priority),
        cmocka_unit_test(timeouts_follow_the_policy),
        cmocka_unit_test(the_delayed_go_behind_their_level),
        cmocka_unit_test(a_level_has_its_own_room),
        cmocka_unit_test(what_failed_is_tried_elsewhere),
        cmocka_unit_test(the_decision_follows_what_runs_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
