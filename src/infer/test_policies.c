#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"

static const struct berth_batch_conf at_once = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

/* A bench with one ready model "m"; *ret_m is to be unreferenced. */
static void
ready(struct bench *b, const char *config, struct berth_model **ret_m)
{
    struct berth_err e = {""};

    bench_init(b, &at_once, 4, NULL);
    if (bench_register(b, "m", bench_file(b, "m.fake", "good"), config, &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(b, "m", BERTH_MODEL_READY);
    *ret_m = bench_find(b, "m");
}

static void
over(struct bench *b, struct berth_model *m)
{
    berth_model_unref(m);
    bench_fini(b);
}

static void
what_one_instance_fails_another_does(void **unused)
{
    struct berth_model *m;
    struct client c;
    struct bench b;

    (void)unused;
    ready(&b, "{\"instances\":2,\"broken\":1}", &m);
    uint32_t retried = 0;
    for (int i = 0; i < 50; i++) {
        client_tensor(&c, b.loop, 3, 1);
        client_submit(&c, m);
        client_wait(&c);
        assert_int_equal(c.r.result, 0);
        assert_true(((const float *)c.r.outputs[0].bytes)[0] == 6.0f);
        assert_true(c.r.instance_number == 1);
        assert_int_equal(c.r.runs, c.r.retried ? 2 : 1);
        retried += c.r.retried;
        client_fini(&c);
    }
    assert_true(fake_seen().runs == 50 + retried);
    /* What fails everywhere fails, after one retry. */
    client_tensor(&c, b.loop, 13, 1);
    client_submit(&c, m);
    client_wait(&c);
    assert_int_equal(c.r.result, -BERTH_EBACKEND);
    client_fini(&c);
    over(&b, m);
}

static void
alone_an_instance_fails_what_it_fails(void **unused)
{
    struct berth_model *m;
    struct client c;
    struct bench b;

    (void)unused;
    ready(&b, "{\"broken\":1}", &m);
    client_tensor(&c, b.loop, 3, 1);
    client_submit(&c, m);
    client_wait(&c);
    assert_int_equal(c.r.result, -BERTH_EBACKEND);
    assert_int_equal(fake_seen().runs, 1);
    client_fini(&c);
    over(&b, m);
}

static void
sequences_that_said_nothing_yet_go_elsewhere(void **unused)
{
    struct berth_model *m;
    struct client c[2];
    struct bench b;

    (void)unused;
    ready(&b, "{\"instances\":2,\"broken\":2}", &m);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2; i++) {
            client_prompt(&c[i], b.loop, "hello");
            client_submit(&c[i], m);
        }
        for (int i = 0; i < 2; i++) {
            client_wait(&c[i]);
            assert_int_equal(c[i].r.result, 0);
            assert_string_equal(c[i].text, "hello");
            client_fini(&c[i]);
        }
    }
    over(&b, m);
}

static void
every_instance_works(void **unused)
{
    struct berth_model *m;
    struct client c[4];
    struct bench b;
    unsigned seen = 0;

    (void)unused;
    ready(&b, "{\"instances\":4,\"batching\":\"off\"}", &m);
    fake_gate_run(false);
    for (int i = 0; i < 4; i++) {
        client_tensor(&c[i], b.loop, 1, 1);
        client_submit(&c[i], m);
    }
    fake_wait_runs(4); /* all at once */
    fake_gate_run(true);
    for (int i = 0; i < 4; i++) {
        client_wait(&c[i]);
        assert_int_equal(c[i].r.result, 0);
        seen |= 1u << c[i].r.instance_number;
        client_fini(&c[i]);
    }
    assert_int_equal(seen, 15);
    over(&b, m);
}

static void
one_that_is_stuck_holds_nobody_else(void **unused)
{
    struct client c[40];
    struct berth_model *m;
    struct bench b;
    int held = -1;

    (void)unused;
    ready(&b, "{\"instances\":3,\"stuck\":2,\"max_batch_size\":1}", &m);
    fake_gate_run(false);
    for (int i = 0; i < 40; i++) {
        client_tensor(&c[i], b.loop, 1, 1);
        client_submit(&c[i], m);
    }
    /* All but the one that the stuck instance has; should it have slept through, all. */
    const uint64_t end = berth_now_ns() + PATIENCE_NS;
    for (unsigned done = 0, stuck = 0; done + stuck < 40; (void)usleep(1000)) {
        assert_true(berth_now_ns() < end);
        done = 0;
        for (int i = 0; i < 40; i++)
            done += client_is_done(&c[i]);
        stuck = done < 39 ? 0 : fake_seen().held;
    }
    for (int i = 0; i < 40; i++) {
        if (client_is_done(&c[i]))
            assert_true(c[i].r.result == 0 && c[i].r.instance_number != 1);
        else
            held = i;
    }
    fake_gate_run(true);
    if (held >= 0) {
        client_wait(&c[held]);
        assert_int_equal(c[held].r.instance_number, 1);
    }
    for (int i = 0; i < 40; i++)
        client_fini(&c[i]);
    over(&b, m);
}

/* A model whose engine is busy, and the shortest of some queue timeouts in which it came to that:
 * in ms. */
static uint64_t
busy_with(struct bench *b, struct client *busy, struct berth_model **ret_m)
{
    char config[128];

    for (uint64_t ms = 30;; ms *= 4) {
        assert_true(ms < 60 * 1000);
        (void)snprintf(config, sizeof config,
                       "{\"batching\":{\"mode\":\"off\",\"queue_policy\":"
                       "{\"default_timeout_ms\":%llu}}}",
                       (unsigned long long)ms);
        ready(b, config, ret_m);
        fake_gate_run(false);
        client_tensor(busy, b->loop, 1, 1);
        client_submit(busy, *ret_m);
        while (fake_seen().runs == 0 && !client_is_done(busy))
            (void)usleep(1000);
        if (fake_seen().runs > 0)
            return ms;
        client_fini(busy);
        over(b, *ret_m);
    }
}

static void
a_queue_timeout_is_answered_while_the_engine_is_busy(void **unused)
{
    struct client busy, late;
    struct berth_model *m;
    struct bench b;

    (void)unused;
    const uint64_t ms = busy_with(&b, &busy, &m);
    client_tensor(&late, b.loop, 2, 1);
    client_submit(&late, m);
    client_wait(&late);
    assert_int_equal(late.r.result, -BERTH_EDEADLINE);
    assert_true(late.r.timed_out);
    assert_non_null(strstr(late.r.err.msg, "Request timeout expired"));
    assert_true(late.r.done_ns - late.r.submit_ns >= ms * BERTH_MS);
    assert_false(client_is_done(&busy));
    fake_gate_run(true);
    client_wait(&busy);
    assert_int_equal(busy.r.result, 0);
    client_fini(&busy);
    client_fini(&late);
    over(&b, m);
}

static void
the_delayed_are_served_in_the_end(void **unused)
{
    struct client busy, late;
    struct berth_model *m;
    struct bench b;

    (void)unused;
    ready(&b,
          "{\"batching\":{\"mode\":\"off\",\"queue_policy\":{\"default_timeout_ms\":1,"
          "\"timeout_action\":\"delay\"}}}",
          &m);
    fake_gate_run(false);
    client_tensor(&busy, b.loop, 1, 1);
    client_submit(&busy, m);
    fake_wait_runs(1);
    client_tensor(&late, b.loop, 2, 1);
    client_submit(&late, m);
    fake_gate_run(true);
    client_wait(&late);
    assert_int_equal(late.r.result, 0);
    client_wait(&busy);
    client_fini(&busy);
    client_fini(&late);
    over(&b, m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_instance_fails_another_does),
        cmocka_unit_test(alone_an_instance_fails_what_it_fails),
        cmocka_unit_test(sequences_that_said_nothing_yet_go_elsewhere),
        cmocka_unit_test(every_instance_works),
        cmocka_unit_test(one_that_is_stuck_holds_nobody_else),
        cmocka_unit_test(a_queue_timeout_is_answered_while_the_engine_is_busy),
        cmocka_unit_test(the_delayed_are_served_in_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
