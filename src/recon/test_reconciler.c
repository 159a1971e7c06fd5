#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "recon/reconciler.h"

enum { KEYS = 16, ROUNDS = 400, ADDERS = 3 };

struct field {
    struct berth_reconciler *w;
    pthread_mutex_t mu;
    pthread_cond_t c;
    bool gate_open;
    uint32_t waiting_at_gate;
    atomic_uint in_work[KEYS], seen[KEYS], wished[KEYS], total;
    atomic_bool doubled;
    uint32_t fails; /* how often a key fails before it is fine */
};

static void
field_init(struct field *f)
{
    memset(f, 0, sizeof *f);
    (void)pthread_mutex_init(&f->mu, NULL);
    (void)pthread_cond_init(&f->c, NULL);
}

/* Wait, for 60 s at most, until *n is at least `want`. */
static void
await(struct field *f, const atomic_uint *n, unsigned want)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    (void)pthread_mutex_lock(&f->mu);
    while (atomic_load(n) < want) {
        if (pthread_cond_timedwait(&f->c, &f->mu, &until) != 0)
            fail_msg("%u of %u after 60 s", atomic_load(n), want);
    }
    (void)pthread_mutex_unlock(&f->mu);
}

static void
tell(struct field *f)
{
    (void)pthread_mutex_lock(&f->mu);
    (void)pthread_cond_broadcast(&f->c);
    (void)pthread_mutex_unlock(&f->mu);
}

/* Wait, for 60 s at most, until nothing is in work or waits: a wish that was seen may have been
 * added since. */
static void
await_rest(struct field *f)
{
    const uint64_t until = berth_now_ns() + 60 * BERTH_S;
    struct berth_reconciler_stats stats;

    do {
        if (berth_now_ns() > until)
            fail_msg("there is still work after 60 s");
        (void)sched_yield();
        berth_reconciler_stats(f->w, &stats);
    } while (stats.busy > 0 || stats.queue.waiting > 0);
}

static int
count_up(void *arg, const char *key, struct berth_outcome *ret)
{
    struct field *f = arg;
    const int k = (int)strtol(key, NULL, 10);

    (void)ret;
    if (atomic_fetch_add(&f->in_work[k], 1) != 0)
        atomic_store(&f->doubled, true);
    /* What was wished for before this began is what it sees. */
    const unsigned wished = atomic_load(&f->wished[k]);
    atomic_store(&f->seen[k], wished);
    atomic_fetch_sub(&f->in_work[k], 1);
    atomic_fetch_add(&f->total, 1);
    tell(f);
    return 0;
}

static void *
adder_main(void *arg)
{
    struct field *f = arg;
    char key[8];

    for (int i = 0; i < ROUNDS; i++) {
        const int k = i * 7 % KEYS;
        (void)snprintf(key, sizeof key, "%d", k);
        atomic_fetch_add(&f->wished[k], 1);
        if (berth_reconciler_add(f->w, key) != 0)
            abort();
    }
    return NULL;
}

static void
every_wish_is_seen_and_none_twice_at_once(void **unused)
{
    struct berth_reconciler_conf conf = {.reconcile = count_up};
    struct berth_reconciler_stats stats;
    pthread_t adders[ADDERS];
    struct berth_err e;
    struct field f;

    (void)unused;
    field_init(&f);
    conf.arg = &f;
    assert_int_equal(berth_reconciler_new(&conf, &f.w, &e), 0);
    for (int i = 0; i < ADDERS; i++)
        assert_int_equal(pthread_create(&adders[i], NULL, adder_main, &f), 0);
    for (int i = 0; i < ADDERS; i++)
        (void)pthread_join(adders[i], NULL);
    for (int k = 0; k < KEYS; k++)
        await(&f, &f.seen[k], atomic_load(&f.wished[k]));
    await_rest(&f);
    assert_false(atomic_load(&f.doubled));
    assert_int_equal(berth_reconciler_stop(f.w, 60 * BERTH_S), 0);
    berth_reconciler_stats(f.w, &stats);
    assert_int_equal(stats.threads, 5);
    assert_int_equal(stats.busy, 0);
    assert_int_equal(stats.done, atomic_load(&f.total));
    assert_int_equal(stats.queue.adds, ADDERS * ROUNDS);
    assert_int_equal(stats.queue.waiting, 0);
    assert_int_equal(berth_reconciler_add(f.w, "1"), -BERTH_ECANCELED);
    berth_reconciler_free(f.w);
}

static int
fail_at_first(void *arg, const char *key, struct berth_outcome *ret)
{
    struct field *f = arg;
    const unsigned n = atomic_fetch_add(&f->total, 1) + 1;

    (void)key;
    tell(f);
    if (n <= f->fails)
        return n % 2 == 0 ? -BERTH_EIO : (ret->kind = BERTH_OUTCOME_FAILED, 0);
    return 0;
}

static void
failures_are_tried_again(void **unused)
{
    struct berth_reconciler_conf conf = {
        .thread_count = 2, .queue = {.backoff_first_ns = 1}, .reconcile = fail_at_first};
    struct berth_reconciler_stats stats;
    struct berth_err e;
    struct field f;

    (void)unused;
    field_init(&f);
    f.fails = 6;
    conf.arg = &f;
    assert_int_equal(berth_reconciler_new(&conf, &f.w, &e), 0);
    assert_int_equal(berth_reconciler_add_after(f.w, "k", BERTH_MS), 0);
    await(&f, &f.total, 7);
    assert_int_equal(berth_reconciler_stop(f.w, 60 * BERTH_S), 0);
    berth_reconciler_stats(f.w, &stats);
    assert_int_equal(stats.failed, 6);
    assert_int_equal(stats.queue.retries, 6);
    assert_int_equal(stats.done, 7);
    berth_reconciler_free(f.w);
}

static int
wait_at_the_gate(void *arg, const char *key, struct berth_outcome *ret)
{
    struct field *f = arg;

    (void)key;
    (void)ret;
    atomic_fetch_add(&f->total, 1);
    (void)pthread_mutex_lock(&f->mu);
    (void)pthread_cond_broadcast(&f->c);
    while (!f->gate_open)
        (void)pthread_cond_wait(&f->c, &f->mu);
    (void)pthread_mutex_unlock(&f->mu);
    return 0;
}

static void
a_stop_waits_for_what_is_in_work_and_no_longer(void **unused)
{
    struct berth_reconciler_conf conf = {.thread_count = 1, .reconcile = wait_at_the_gate};
    struct berth_reconciler_stats stats;
    struct berth_err e;
    struct field f;

    (void)unused;
    field_init(&f);
    conf.arg = &f;
    assert_int_equal(berth_reconciler_new(&conf, &f.w, &e), 0);
    assert_int_equal(berth_reconciler_add(f.w, "first"), 0);
    assert_int_equal(berth_reconciler_add(f.w, "second"), 0);
    await(&f, &f.total, 1);
    assert_int_equal(berth_reconciler_stop(f.w, 1), -BERTH_EDEADLINE);
    berth_reconciler_stats(f.w, &stats);
    assert_int_equal(stats.busy, 1);
    assert_string_equal(stats.longest_key, "first");
    assert_true(stats.longest_ns > 0);
    assert_int_equal(stats.queue.waiting, 1);
    (void)pthread_mutex_lock(&f.mu);
    f.gate_open = true;
    (void)pthread_cond_broadcast(&f.c);
    (void)pthread_mutex_unlock(&f.mu);
    assert_int_equal(berth_reconciler_stop(f.w, 60 * BERTH_S), 0);
    berth_reconciler_stats(f.w, &stats);
    assert_int_equal(stats.done, 1);
    assert_int_equal(stats.longest_ns, 0);
    berth_reconciler_free(f.w);
    assert_int_equal(atomic_load(&f.total), 1); /* the second was not begun */
}

static void
wrong_settings_are_refused(void **unused)
{
    static const struct berth_reconciler_conf cases[] = {
        {.thread_count = BERTH_RECONCILER_THREADS_MAX + 1, .reconcile = count_up},
        {.queue = {.jitter_percent = 101}, .reconcile = count_up},
    };
    struct berth_reconciler *w;
    struct berth_err e;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(berth_reconciler_new(&cases[i], &w, &e), -BERTH_EINVAL);
    berth_reconciler_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wish_is_seen_and_none_twice_at_once),
        cmocka_unit_test(failures_are_tried_again),
        cmocka_unit_test(a_stop_waits_for_what_is_in_work_and_no_longer),
        cmocka_unit_test(wrong_settings_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
