#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "infer/model.h"
#include "infer/placement.h"
#include "infer/test_fake.h"
#include "os/loop.h"

enum { US = 1000, MS = 1000000 };

static void
what_is_small_runs_on_the_loop(void **unused)
{
    static const struct {
        const char *why;
        uint32_t runs;
        uint64_t ns;
        bool want; /* after them */
    } steps[] = {
        {"nothing is known yet", 15, 2 * US, false},
        {"sixteen small runs", 1, 2 * US, true},
        {"one long run says nothing", 1, 50 * MS, true},
        {"a small one", 1, 2 * US, true},
        {"nor does another soon after", 1, 50 * MS, true},
        {"small again", 30, 2 * US, true},
        {"it grows, but not much", 100, 190 * US, true},
        {"it grows", 5, 250 * US, false},
        {"small, but not for long enough: it takes longer the second time", 40, 2 * US, false},
        {"small for that long", 24, 2 * US, true},
        {"two long ones in a row are believed", 2, 50 * MS, false},
    };
    struct berth_placement p;

    (void)unused;
    berth_placement_init(&p);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        bool here = false;
        print_message("  %s\n", steps[i].why);
        for (uint32_t k = 0; k < steps[i].runs; k++)
            here = berth_placement_ran(&p, steps[i].ns);
        assert_int_equal(here, steps[i].want);
    }
}

/* ---- with a fake engine that may run anywhere ---- */

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 50 * MS, .queue_len_max = 64};

static void
whose_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
}

struct set {
    struct bench b;
    struct berth_model *m;
    struct berth_loop *second;
    pthread_t loop, second_thread;
};

static void
set_up(struct set *s, const char *config)
{
    struct berth_err e = {""};

    fake_reset();
    fake_any_thread(true);
    bench_init(&s->b, &defaults, 4, NULL);
    if (bench_register(&s->b, "m", bench_file(&s->b, "m.fake", "good"), config, &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(&s->b, "m", BERTH_MODEL_READY);
    s->m = bench_find(&s->b, "m");
    assert_int_equal(berth_loop_new("two", &s->second, NULL), 0);
    berth_loop_call(s->b.loop, whose_thread, &s->loop);
    berth_loop_call(s->second, whose_thread, &s->second_thread);
}

static void
tear_down(struct set *s)
{
    berth_model_unref(s->m);
    berth_loop_free(s->second);
    bench_fini(&s->b);
    fake_any_thread(false);
}

static void
one(struct set *s)
{
    struct client c;

    client_tensor(&c, s->b.loop, 3, 1);
    client_submit(&c, s->m);
    client_wait(&c);
    assert_int_equal(c.r.result, 0);
    client_fini(&c);
}

static bool
is_on_loop(struct set *s)
{
    const pthread_t t = fake_thread();

    return pthread_equal(t, s->loop) || pthread_equal(t, s->second_thread);
}

/* Until it runs on the loop.  A machine in trouble may make small runs long for a while. */
static void
settle(struct set *s)
{
    for (int i = 0; i < 20000; i++) {
        one(s);
        if (is_on_loop(s))
            return;
    }
    fail_msg("it never ran on the loop");
}

struct many {
    struct set *s;
    struct client c[24];
    int n;
    unsigned before; /* runs */
};

static void
submit_all(void *arg)
{
    struct many *x = arg;

    for (int i = 0; i < x->n; i++)
        x->c[i].submitted = berth_model_submit(x->s->m, &x->c[i].r, &x->c[i].err);
}

/* In one round of the loop, which runs all of it: one that is held up leaves the rest to the
 * thread, and then it is done again. */
static void
in_one_round(struct many *x, void (*what)(void *))
{
    bool here = false;

    for (int tries = 0; !here; tries++) {
        assert_true(tries < 100);
        settle(x->s);
        here = true;
        x->before = fake_seen().runs;
        for (int i = 0; i < x->n; i++) {
            client_tensor(&x->c[i], x->s->b.loop, (float)(100 + i), 1);
            x->c[i].m = x->s->m;
        }
        berth_loop_call(x->s->b.loop, what, x);
        for (int i = 0; i < x->n; i++) {
            client_wait(&x->c[i]);
            here = here && (x->c[i].r.on_loop || x->c[i].r.result < 0);
        }
        for (int i = 0; !here && i < x->n; i++)
            client_fini(&x->c[i]);
    }
}

static void
what_comes_in_one_round_runs_together(void **unused)
{
    struct set s;
    struct many x = {.s = &s, .n = 20};

    (void)unused;
    set_up(&s, NULL);
    in_one_round(&x, submit_all);
    for (int i = 0; i < x.n; i++) {
        assert_int_equal(x.c[i].r.result, 0);
        assert_true(*(const float *)x.c[i].r.outputs[0].bytes == 2 * (float)(100 + i));
        client_fini(&x.c[i]);
    }
    const struct fake_seen seen = fake_seen();
    assert_int_equal(seen.runs - x.before, 3);
    assert_int_equal(seen.batches[x.before % 256], 8);
    assert_int_equal(seen.batches[(x.before + 2) % 256], 4);
    tear_down(&s);
}

static void
cancel_second(void *arg)
{
    struct many *x = arg;

    submit_all(x);
    berth_request_cancel(&x->c[1].r);
}

static void
what_is_cancelled_before_the_rounds_end_does_not_run(void **unused)
{
    struct set s;
    struct many x = {.s = &s, .n = 3};

    (void)unused;
    set_up(&s, NULL);
    in_one_round(&x, cancel_second);
    for (int i = 0; i < x.n; i++) {
        assert_int_equal(x.c[i].r.result, i == 1 ? -BERTH_ECANCELED : 0);
        client_fini(&x.c[i]);
    }
    assert_int_equal(fake_seen().batches[x.before % 256], 2);
    tear_down(&s);
}

/* A generation on the instance's thread, tensors from two loops: each has its turn. */
static void
loops_and_the_thread_take_turns(void **unused)
{
    struct set s;
    struct client c[8], talk;

    (void)unused;
    set_up(&s, NULL);
    settle(&s);
    for (int round = 0; round < 200; round++) {
        client_prompt(&talk, s.b.loop, "to and fro");
        if (round % 4 == 0)
            client_submit(&talk, s.m);
        for (int i = 0; i < 8; i++) {
            client_tensor(&c[i], i % 2 == 0 ? s.b.loop : s.second, (float)i, 1);
            client_submit(&c[i], s.m);
        }
        for (int i = 0; i < 8; i++) {
            client_wait(&c[i]);
            assert_int_equal(c[i].r.result, 0);
            client_fini(&c[i]);
        }
        if (round % 4 == 0) {
            client_wait(&talk);
            assert_int_equal(talk.r.result, 0);
            assert_string_equal(talk.text, "to and fro");
        }
        client_fini(&talk);
    }
    tear_down(&s);
}

static void
it_can_be_unloaded_while_loops_run_it(void **unused)
{
    struct set s;
    struct client c[8];

    (void)unused;
    set_up(&s, NULL);
    settle(&s);
    for (int i = 0; i < 8; i++) {
        client_tensor(&c[i], i % 2 == 0 ? s.b.loop : s.second, (float)i, 1);
        client_submit(&c[i], s.m);
        if (i == 3)
            assert_int_equal(berth_registry_unload(s.b.g, berth_slice_of("m"), NULL), 0);
    }
    for (int i = 0; i < 8; i++) {
        if (c[i].submitted == 0)
            client_wait(&c[i]); /* answered, one way or the other */
        client_fini(&c[i]);
    }
    tear_down(&s);
}

static void
a_wait_that_was_asked_for_is_kept(void **unused)
{
    struct set s;

    (void)unused;
    set_up(&s, "{\"max_batch_wait_ms\":1}");
    for (int i = 0; i < 40; i++) {
        one(&s);
        assert_false(is_on_loop(&s));
    }
    tear_down(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_small_runs_on_the_loop),
        cmocka_unit_test(what_comes_in_one_round_runs_together),
        cmocka_unit_test(what_is_cancelled_before_the_rounds_end_does_not_run),
        cmocka_unit_test(loops_and_the_thread_take_turns),
        cmocka_unit_test(it_can_be_unloaded_while_loops_run_it),
        cmocka_unit_test(a_wait_that_was_asked_for_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
