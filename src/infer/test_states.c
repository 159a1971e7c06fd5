#include "infer/states.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 3};

/* Somebody who watches model m, and what was seen. */
struct watcher {
    struct berth_state_watch w;
    struct berth_registry *g;
    atomic_int last; /* of berth_registry_find() */
    atomic_uint changes, ends;
};

static void
on_changed(struct berth_state_watch *w)
{
    struct watcher *i = w->user;
    struct berth_model *m;
    struct berth_err e;
    const int r = berth_registry_find(i->g, BERTH_SLICE("m"), BERTH_SLICE(""), &m, &e);

    berth_assert(berth_loop_is_mine(w->loop));
    berth_assert(atomic_load(&i->ends) == 0);
    if (r == 0)
        berth_model_unref(m);
    atomic_store(&i->last, r);
    (void)atomic_fetch_add(&i->changes, 1);
}

static void
on_ended(struct berth_state_watch *w)
{
    struct watcher *i = w->user;

    berth_assert(berth_loop_is_mine(w->loop));
    (void)atomic_fetch_add(&i->ends, 1);
}

static void
watch_on_loop(void *arg)
{
    struct watcher *i = arg;

    berth_registry_state_watch(i->g, &i->w);
}

static void
unwatch_on_loop(void *arg)
{
    struct watcher *i = arg;

    berth_registry_state_unwatch(i->g, &i->w);
}

static void
begin(struct watcher *i, struct bench *b)
{
    *i = (struct watcher){.g = b->g, .last = 1};
    i->w.loop = b->loop;
    i->w.changed = on_changed;
    i->w.ended = on_ended;
    i->w.user = i;
    berth_loop_call(b->loop, watch_on_loop, i);
}

static void
until(const atomic_int *what, int value)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;

    while (atomic_load(what) != value) {
        if (berth_now_ns() > end)
            fail_msg("the last state was not told");
        (void)sched_yield();
    }
}

static void
end(struct watcher *i, struct bench *b)
{
    const uint64_t limit = berth_now_ns() + PATIENCE_NS;

    berth_loop_call(b->loop, unwatch_on_loop, i);
    while (atomic_load(&i->ends) == 0) {
        if (berth_now_ns() > limit)
            fail_msg("the watch did not end");
        (void)sched_yield();
    }
}

static void
every_last_state_is_told(void **unused)
{
    struct watcher i[2];
    struct bench b;
    struct berth_err e;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    begin(&i[0], &b);
    begin(&i[1], &b);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    until(&i[0].last, 0);
    until(&i[1].last, 0);
    end(&i[1], &b);
    const unsigned seen = atomic_load(&i[1].changes);
    assert_int_equal(berth_registry_unload(b.g, BERTH_SLICE("m"), &e), 0);
    until(&i[0].last, -BERTH_ENOTREADY);
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
    until(&i[0].last, 0);
    assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("m"), &e), 0);
    until(&i[0].last, -BERTH_ENOENT);
    assert_int_equal(atomic_load(&i[1].changes), seen); /* it had ended */
    end(&i[0], &b);
    bench_fini(&b);
    assert_int_equal(atomic_load(&i[0].ends), 1);
    assert_int_equal(atomic_load(&i[1].ends), 1);
}

/* Watches come and go while states change: whoever ended hears nothing more. */
static void
watches_end_in_the_middle_of_changes(void **unused)
{
    struct bench b;
    struct berth_err e;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    const char *path = bench_file(&b, "m.fake", "good");
    for (unsigned n = 0; n < 50; n++) {
        struct watcher i;
        begin(&i, &b);
        assert_int_equal(bench_register(&b, "m", path, NULL, &e), 0);
        assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("m"), &e), 0);
        end(&i, &b);
    }
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_last_state_is_told),
        cmocka_unit_test(watches_end_in_the_middle_of_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
