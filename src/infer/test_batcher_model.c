#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "infer/batcher.h"
#include "infer/check.h"
#include "infer/request.h"

/*
 * The batcher against a model of it that is as plain as can be: one array, looked through from the
 * front for every question.  BERTH_TEST_SEED repeats a run.
 */
enum { POOL = 256, SHAPES = 6, MANY = BERTH_QUEUE_LEN_MAX };

static uint64_t seed;

static uint32_t
dice(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 11) % n);
}

/* One that waits, as the plain model sees it. */
struct waiter {
    struct berth_request *r;
    uint32_t level;
    bool delayed;
    uint64_t order; /* among those of its level that are (or are not) delayed */
    uint64_t until_ns;
};

static struct berth_batcher b;
static struct waiter waiting[POOL];
static uint32_t waiting_len;
static uint64_t delays;
static struct berth_request pool[POOL];
static struct berth_tensor inputs[POOL];

static bool
goes_before(const struct waiter *x, const struct waiter *y)
{
    if (x->level != y->level)
        return x->level < y->level;
    if (x->delayed != y->delayed)
        return y->delayed;
    return x->order < y->order;
}

static int
compare(const void *x, const void *y)
{
    return goes_before(x, y) ? -1 : 1;
}

static void
model_remove(const struct berth_request *r)
{
    uint32_t i = 0;

    while (waiting[i].r != r)
        i++;
    memmove(&waiting[i], &waiting[i + 1], (--waiting_len - i) * sizeof waiting[0]);
}

/* The batch of this shape, if one is due: how many; those are ret[]. */
static uint32_t
model_batch(int64_t shape, uint64_t now, const struct waiter *ret[], bool *ret_full,
            uint64_t *ret_oldest)
{
    uint32_t n = 0, best = 0, len = 0;
    uint64_t rows = 0, oldest = UINT64_MAX, sum = 0;
    bool delayed = false;

    for (uint32_t i = 0; i < waiting_len; i++) {
        const struct waiter *w = &waiting[i];
        if (w->r->inputs[0].shape[1] != shape)
            continue;
        ret[len++] = w;
        sum += w->r->rows;
        delayed = delayed || w->delayed;
    }
    /* Within a list the first is looked at: the oldest of those in time; of the delayed none. */
    for (uint32_t i = 0; i < len; i++) {
        if (i == 0 || ret[i]->level != ret[i - 1]->level || ret[i]->delayed != ret[i - 1]->delayed)
            oldest = ret[i]->r->submit_ns < oldest ? ret[i]->r->submit_ns : oldest;
    }
    *ret_oldest = oldest;
    *ret_full = true;
    if (len == 0)
        return 0;
    const bool aged = b.conf.wait_ns_max > 0 && (delayed || now - oldest >= b.conf.wait_ns_max);
    while (n < len && n < b.conf.batch_requests_max &&
           (n == 0 || rows + ret[n]->r->rows <= b.rows_max)) {
        rows += ret[n++]->r->rows;
        for (uint32_t k = 0; k < b.conf.preferred_len; k++)
            best = b.conf.preferred[k] == rows && rows <= b.rows_max ? n : best;
    }
    if (best > 0 && !aged)
        return best;
    if (len >= b.conf.batch_requests_max || sum >= b.rows_max)
        return n;
    *ret_full = false;
    return aged || b.conf.wait_ns_max == 0 ? n : 0;
}

static void
check_take(uint64_t now)
{
    const struct waiter *list[POOL], *best[POOL];
    struct berth_request *got[BERTH_BATCH_MAX];
    uint64_t wake, want_wake = UINT64_MAX, best_oldest = 0;
    uint32_t best_n = 0, best_list = 0;
    bool best_full = false;

    qsort(waiting, waiting_len, sizeof waiting[0], compare);
    for (int64_t s = 1; s <= SHAPES; s++) {
        uint64_t oldest;
        bool full;
        uint32_t n = model_batch(s, now, list, &full, &oldest);
        if (n == 0) {
            if (oldest != UINT64_MAX && oldest + b.conf.wait_ns_max < want_wake)
                want_wake = oldest + b.conf.wait_ns_max;
            continue;
        }
        const uint32_t first = 2 * list[0]->level + list[0]->delayed;
        if (best_n > 0 && (first > best_list || (first == best_list && best_full > full) ||
                           (first == best_list && best_full == full && oldest > best_oldest)))
            continue;
        best_n = n;
        best_list = first;
        best_full = full;
        best_oldest = oldest;
        memcpy(best, list, n * sizeof list[0]);
    }
    assert_int_equal(berth_batcher_due(&b, now), best_n > 0);
    assert_int_equal(berth_batcher_take(&b, now, NULL, got, &wake), best_n);
    if (best_n == 0)
        assert_int_equal(wake, want_wake);
    for (uint32_t i = 0; i < best_n; i++)
        assert_ptr_equal(got[i], best[i]->r);
    for (uint32_t i = 0; i < best_n; i++)
        model_remove(got[i]);
}

static void
check_expire(uint64_t now)
{
    bool gone[POOL] = {false}, delayed;
    uint64_t next, want_next = UINT64_MAX;

    /* Those to be delayed go in the order of their timeouts. */
    for (;;) {
        struct waiter *first = NULL;
        for (uint32_t i = 0; i < waiting_len; i++) {
            struct waiter *w = &waiting[i];
            if (w->until_ns != 0 && w->until_ns <= now &&
                (w->r->deadline_ns == 0 || w->r->deadline_ns > now) &&
                b.conf.policies[w->level].delay && (first == NULL || w->until_ns < first->until_ns))
                first = w;
        }
        if (first == NULL)
            break;
        first->until_ns = 0;
        first->delayed = true;
        first->order = ++delays;
    }
    for (struct berth_request *r = berth_batcher_expire(&b, now, &delayed, &next); r != NULL;
         r = r->next)
        gone[r - pool] = true;
    for (uint32_t i = 0; i < waiting_len; i++) {
        const struct waiter *w = &waiting[i];
        const bool dead = w->r->deadline_ns != 0 && w->r->deadline_ns <= now;
        const bool late = !dead && w->until_ns != 0 && w->until_ns <= now;
        assert_int_equal(gone[w->r - pool], dead || late);
        if (dead || late) {
            assert_int_equal(w->r->timed_out, late);
            continue;
        }
        if (w->until_ns != 0 && w->until_ns < want_next)
            want_next = w->until_ns;
        if (w->r->deadline_ns != 0 && w->r->deadline_ns < want_next)
            want_next = w->r->deadline_ns;
    }
    assert_int_equal(next, want_next);
    for (uint32_t i = 0; i < POOL; i++) {
        if (gone[i])
            model_remove(&pool[i]);
    }
}

static bool
is_waiting(const struct berth_request *r)
{
    for (uint32_t i = 0; i < waiting_len; i++) {
        if (waiting[i].r == r)
            return true;
    }
    return false;
}

static void
check_put(uint64_t now)
{
    static const struct berth_describe describe = {.tasks = BERTH_TASK_TENSOR,
                                                   .batch_rows_max = UINT32_MAX};
    static char bytes[64];
    const uint32_t i = dice(POOL);
    struct berth_request *r = &pool[i];
    struct berth_err e;
    uint32_t level = 0, at_level = 0;

    if (is_waiting(r))
        return;
    memset(r, 0, sizeof *r);
    const int64_t rows = 1 + dice(3), width = 1 + dice(SHAPES);
    inputs[i] = (struct berth_tensor){.name = "x",
                                      .dtype = BERTH_UINT8,
                                      .rank = 2,
                                      .shape = {rows, width},
                                      .bytes = bytes,
                                      .size = (size_t)(rows * width)};
    r->task = BERTH_TASK_TENSOR;
    r->inputs = &inputs[i];
    r->input_count = 1;
    r->submit_ns = now;
    r->priority = dice(b.conf.priority_levels + 2);
    /* Odd by the request's number, so that no two ever end at the same time. */
    r->queue_timeout_ns = dice(2) ? dice(40) * 1000 + 100 + i : 0;
    r->deadline_ns = dice(2) ? now + dice(200) * 1000 + 400 + i : 0;
    assert_int_equal(berth_check_request(&describe, NULL, r, &e), 0);
    if (b.conf.priority_levels > 0)
        level =
            (r->priority >= 1 && r->priority <= b.conf.priority_levels ? r->priority
                                                                       : b.conf.priority_default) -
            1;
    for (uint32_t k = 0; k < waiting_len; k++)
        at_level += waiting[k].level == level;
    const struct berth_queue_policy *p = &b.conf.policies[level];
    const bool full = waiting_len >= b.conf.queue_len_max ||
                      (p->queue_len_max > 0 && at_level >= p->queue_len_max);
    assert_int_equal(berth_batcher_put(&b, r), full ? -BERTH_EAGAIN : 0);
    if (full)
        return;
    uint64_t timeout = p->timeout_ns;
    if (p->allow_override && r->queue_timeout_ns > 0 &&
        (timeout == 0 || r->queue_timeout_ns < timeout))
        timeout = r->queue_timeout_ns;
    waiting[waiting_len++] = (struct waiter){
        .r = r, .level = level, .order = now, .until_ns = timeout > 0 ? now + timeout : 0};
}

static void
any_conf(void)
{
    struct berth_batch_conf conf = {.batch_requests_max = 1 + dice(12),
                                    .wait_ns_max = dice(3) * 20000,
                                    .queue_len_max = 1 + dice(POOL),
                                    .mode = BERTH_BATCHING_DYNAMIC,
                                    .priority_levels = dice(2) ? 0 : 1 + dice(5)};

    conf.priority_default = conf.priority_levels > 0 ? 1 + dice(conf.priority_levels) : 0;
    for (uint32_t at = 0; dice(2) && conf.preferred_len < 3;)
        conf.preferred[conf.preferred_len++] = at += 1 + dice(6);
    for (uint32_t i = 0; i < BERTH_PRIORITIES_MAX; i++)
        conf.policies[i] =
            (struct berth_queue_policy){.timeout_ns = dice(2) ? dice(60) * 1000 + i + 1 : 0,
                                        .queue_len_max = dice(3) ? 0 : 1 + dice(20),
                                        .delay = dice(2),
                                        .allow_override = dice(2)};
    berth_batcher_init(&b, &conf, dice(2) ? UINT32_MAX : 4 + dice(12));
    waiting_len = 0;
    delays = 0;
}

static void
the_batcher_does_as_its_model(void **unused)
{
    (void)unused;
    for (int round = 0; round < 300; round++) {
        uint64_t now = 1000000;
        any_conf();
        for (int step = 0; step < 400; step++) {
            now += (1 + dice(6)) * 1000;
            const uint32_t what = dice(10);
            if (what < 6) {
                check_put(now);
            } else if (what < 9) {
                check_expire(now);
                check_take(now);
            } else if (waiting_len > 0) {
                struct berth_request *r = waiting[dice(waiting_len)].r;
                assert_true(berth_batcher_remove(&b, r));
                assert_false(berth_batcher_remove(&b, r));
                model_remove(r);
            }
            assert_int_equal(b.len, waiting_len);
        }
        for (struct berth_request *r = berth_batcher_take_all(&b); r != NULL; r = r->next)
            model_remove(r);
        assert_int_equal(waiting_len, 0);
        assert_null(b.expiry);
        assert_int_equal(b.groups_used, 0);
    }
}

/* With as many as may wait, each with a deadline of its own: nothing looks through them all.  Were
 * it so, this would take minutes. */
static void
a_full_queue_is_as_fast_as_a_short_one(void **unused)
{
    const struct berth_batch_conf conf = {.batch_requests_max = 8,
                                          .queue_len_max = MANY,
                                          .mode = BERTH_BATCHING_DYNAMIC,
                                          .priority_levels = 4,
                                          .priority_default = 2};
    struct berth_request *many = calloc(MANY, sizeof *many), *got[BERTH_BATCH_MAX];
    uint64_t wake, next;
    uint32_t taken = 0, removed = 0, expired = 0;
    bool delayed;

    (void)unused;
    assert_non_null(many);
    berth_batcher_init(&b, &conf, UINT32_MAX);
    for (uint32_t i = 0; i < MANY; i++) {
        many[i].task = BERTH_TASK_TENSOR;
        many[i].rows = 1;
        many[i].submit_ns = i;
        many[i].priority = 1 + i % 4;
        many[i].deadline_ns = 1000000 + dice(1000000);
        assert_int_equal(berth_batcher_put(&b, &many[i]), 0);
    }
    for (uint32_t i = 0; i < MANY / 2; i++)
        removed += berth_batcher_remove(&b, &many[dice(MANY)]);
    for (uint64_t now = 1000000; now < 1500000; now += 5) {
        for (struct berth_request *r = berth_batcher_expire(&b, now, &delayed, &next); r != NULL;
             r = r->next)
            expired++;
        if (now % 50 == 0)
            taken += berth_batcher_take(&b, now, NULL, got, &wake);
    }
    while (berth_batcher_take(&b, 1500000, NULL, got, &wake) > 0)
        taken += 0;
    assert_int_equal(b.len, 0);
    assert_null(b.expiry);
    assert_true(removed > MANY / 4 && taken > 0 && expired > 0);
    free(many);
}

int
main(void)
{
    const char *from = getenv("BERTH_TEST_SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_batcher_does_as_its_model),
        cmocka_unit_test(a_full_queue_is_as_fast_as_a_short_one),
    };

    seed = from != NULL ? strtoull(from, NULL, 10) : berth_random_u64();
    seed += seed == 0;
    print_message("BERTH_TEST_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
