#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sched.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"
#include "infer/waits.h"
#include "os/loop.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 3};
static const struct berth_slice no_version = {NULL, 0};

/* Somebody who waits, and what came of it. */
struct waiter {
    struct berth_model_wait w;
    struct berth_registry *g;
    const char *version;
    struct berth_model *at_once;
    int began;
    struct berth_err err;
    atomic_uint readies;
};

static void
on_ready(struct berth_model_wait *w)
{
    struct waiter *i = w->user;

    berth_assert(berth_loop_is_mine(w->loop));
    (void)atomic_fetch_add(&i->readies, 1);
}

static void
begin_on_loop(void *arg)
{
    struct waiter *i = arg;
    struct berth_slice version = i->version != NULL ? berth_slice_of(i->version) : no_version;

    i->began =
        berth_registry_find_or_wait(i->g, BERTH_SLICE("m"), version, &i->w, &i->at_once, &i->err);
}

static void
begin(struct waiter *i, struct bench *b, const char *version)
{
    *i = (struct waiter){.g = b->g, .version = version};
    i->w.loop = b->loop;
    i->w.ready = on_ready;
    i->w.user = i;
    berth_loop_call(b->loop, begin_on_loop, i);
}

static void
end_on_loop(void *arg)
{
    struct waiter *i = arg;

    berth_registry_wait_end(i->g, &i->w, BERTH_EDEADLINE);
    berth_registry_wait_end(i->g, &i->w, BERTH_ECANCELED); /* the first one counts */
}

static void
until_ready(struct waiter *i)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;

    while (atomic_load(&i->readies) == 0) {
        if (berth_now_ns() > end)
            fail_msg("a wait did not end");
        (void)sched_yield();
    }
}

static void
nothing(void *arg)
{
    (void)arg;
}

static void
those_who_wait_get_the_model(void **unused)
{
    struct waiter i[3], late;
    struct bench b;
    struct berth_err e;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    begin(&late, &b, NULL);
    assert_int_equal(late.began, -BERTH_ENOENT);
    fake_gate_load(false);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    for (size_t k = 0; k < 3; k++) {
        begin(&i[k], &b, k == 1 ? "1" : NULL);
        assert_int_equal(i[k].began, 1);
    }
    begin(&late, &b, NULL);
    assert_int_equal(late.began, -BERTH_EAGAIN);
    assert_non_null(strstr(late.err.msg, "engine.queue_len"));
    begin(&late, &b, "2");
    assert_int_equal(late.began, -BERTH_ENOENT);
    fake_gate_load(true);
    for (size_t k = 0; k < 3; k++) {
        until_ready(&i[k]);
        assert_int_equal(i[k].w.result, 0);
        assert_string_equal(berth_model_name(i[k].w.model), "m");
        berth_model_unref(i[k].w.model);
    }
    begin(&late, &b, NULL);
    assert_int_equal(late.began, 0);
    berth_model_unref(late.at_once);
    bench_fini(&b);
    assert_int_equal(atomic_load(&i[0].readies), 1);
}

static void
a_load_that_fails_ends_the_wait_with_its_reason(void **unused)
{
    struct waiter i;
    struct bench b;
    struct berth_err e;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    fake_gate_load(false);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "bad"), NULL, &e), 0);
    begin(&i, &b, NULL);
    assert_int_equal(i.began, 1);
    fake_gate_load(true);
    until_ready(&i);
    assert_int_equal(i.w.result, -BERTH_ENOTREADY);
    assert_non_null(strstr(i.w.err.msg, "m.fake: not a model"));
    begin(&i, &b, NULL);
    assert_int_equal(i.began, -BERTH_ENOTREADY); /* a broken model is not waited for again */
    bench_fini(&b);
}

static void
a_wait_ends_when_its_owner_says_so(void **unused)
{
    struct waiter i;
    struct bench b;
    struct berth_err e;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    fake_gate_load(false);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    begin(&i, &b, NULL);
    berth_loop_call(b.loop, end_on_loop, &i);
    until_ready(&i);
    assert_int_equal(i.w.result, -BERTH_EDEADLINE);
    assert_non_null(strstr(i.w.err.msg, "model 'm' was not loaded within"));
    fake_gate_load(true);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    berth_loop_call(b.loop, end_on_loop, &i); /* too late: without effect */
    berth_loop_call(b.loop, nothing, NULL);
    assert_int_equal(atomic_load(&i.readies), 1);
    bench_fini(&b);
}

static void
unregistering_and_stopping_end_waits(void **unused)
{
    struct waiter i, k;
    struct bench b;
    struct berth_err e;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    fake_gate_load(false);
    const char *path = bench_file(&b, "m.fake", "good");
    assert_int_equal(bench_register(&b, "m", path, NULL, &e), 0);
    fake_wait_loads(1);
    begin(&i, &b, NULL);
    assert_int_equal(i.began, 1);
    assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("m"), &e), 0);
    fake_gate_load(true);
    until_ready(&i);
    if (i.w.result == 0) /* its load was under way and ended well */
        berth_model_unref(i.w.model);
    fake_gate_load(false);
    assert_int_equal(bench_register(&b, "m", path, NULL, &e), 0);
    begin(&k, &b, NULL);
    assert_int_equal(k.began, 1);
    fake_gate_load(true);
    bench_fini(&b);
    assert_int_equal(atomic_load(&k.readies), 1);
    if (k.w.result == 0)
        berth_model_unref(k.w.model);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_wait_get_the_model),
        cmocka_unit_test(a_load_that_fails_ends_the_wait_with_its_reason),
        cmocka_unit_test(a_wait_ends_when_its_owner_says_so),
        cmocka_unit_test(unregistering_and_stopping_end_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
