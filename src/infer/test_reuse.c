#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "infer/model.h"
#include "infer/test_fake.h"

/* Answers from the response cache, as a registry's models give them. */

static const struct berth_batch_conf at_once = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

static void
bench_with(struct bench *b, const char *config)
{
    struct berth_err e = {""};

    bench_init(b, &at_once, 4, NULL);
    if (bench_register(b, "m", bench_file(b, "m.fake", "good"), config, &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(b, "m", BERTH_MODEL_READY);
}

/* One request; was it answered from the cache? */
static bool
ask(struct bench *b, float value)
{
    struct berth_model *m = bench_find(b, "m");
    struct client c;

    client_tensor(&c, b->loop, value, 2);
    client_submit(&c, m);
    client_wait(&c);
    assert_int_equal(c.r.result, 0);
    assert_int_equal(c.r.output_count, 1);
    assert_string_equal(c.r.outputs[0].name, "y");
    const float *y = c.r.outputs[0].bytes;
    for (int i = 0; i < 4; i++)
        assert_true(y[i] == 2 * (value + (float)i));
    const bool cached = c.r.cached;
    assert_int_equal(c.r.run_ns == 0, cached);
    assert_true(c.r.submit_ns <= c.r.done_ns);
    client_fini(&c);
    berth_model_unref(m);
    return cached;
}

static void
an_equal_request_does_not_run_again(void **unused)
{
    struct berth_model_info info;
    struct berth_arena a;
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_with(&b, "{\"response_cache\":true}");
    assert_false(ask(&b, 1));
    assert_true(ask(&b, 1));
    assert_false(ask(&b, 2));
    assert_true(ask(&b, 1));
    assert_int_equal(fake_seen().runs, 2);
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_registry_info(b.g, &a, BERTH_SLICE("m"), &info, &e), 0);
    const struct berth_version_stats *s = &info.versions[0].stats;
    assert_int_equal(s->cache_hit.count, 2);
    assert_int_equal(s->cache_miss.count, 2);
    assert_int_equal(s->success.count, 4);
    assert_int_equal(s->executions, 2);
    assert_int_equal(s->inferences, 4); /* two rows each; hits do not count */
    assert_int_equal(info.stats.ok, 4);
    berth_arena_fini(&a);
    bench_fini(&b);
}

static void
without_the_setting_all_run(void **unused)
{
    struct bench b;

    (void)unused;
    bench_with(&b, NULL);
    assert_false(ask(&b, 1));
    assert_false(ask(&b, 1));
    assert_int_equal(fake_seen().runs, 2);
    bench_fini(&b);
}

static void
a_new_load_knows_nothing_of_the_old_one(void **unused)
{
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_with(&b, "{\"response_cache\":true}");
    assert_false(ask(&b, 1));
    assert_true(ask(&b, 1));
    const unsigned unloads = fake_seen().unloads;
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
    fake_wait_unloads(unloads + 1);
    assert_false(ask(&b, 1));
    assert_true(ask(&b, 1));
    bench_fini(&b);
}

static void
failures_are_not_kept(void **unused)
{
    struct berth_model *m;
    struct client c;
    struct bench b;

    (void)unused;
    bench_with(&b, "{\"response_cache\":true}");
    m = bench_find(&b, "m");
    for (int i = 0; i < 2; i++) {
        client_tensor(&c, b.loop, 14, 1); /* this one fails alone */
        client_submit(&c, m);
        client_wait(&c);
        assert_true(c.r.result < 0);
        assert_false(c.r.cached);
        client_fini(&c);
    }
    berth_model_unref(m);
    bench_fini(&b);
}

static bool
say(struct bench *b, const char *prompt, float temperature, bool seeded)
{
    struct berth_model *m = bench_find(b, "m");
    struct client c;

    client_prompt(&c, b->loop, prompt);
    c.r.gen.logprobs = -1;
    c.r.gen.temperature = temperature;
    c.r.gen.seeded = seeded;
    client_submit(&c, m);
    client_wait(&c);
    assert_int_equal(c.r.result, 0);
    assert_int_equal(c.text_len, strlen(prompt));
    assert_memory_equal(c.text, prompt, c.text_len);
    const bool cached = c.r.cached;
    client_fini(&c);
    berth_model_unref(m);
    return cached;
}

static void
generations_are_reused_when_chance_has_no_part(void **unused)
{
    struct bench b;

    (void)unused;
    bench_with(&b, "{\"response_cache\":true}");
    assert_false(say(&b, "hello", 0, false));
    assert_true(say(&b, "hello", 0, false));
    assert_false(say(&b, "hello", 0.7f, false));
    assert_false(say(&b, "hello", 0.7f, false));
    assert_false(say(&b, "hello", 0.7f, true));
    assert_true(say(&b, "hello", 0.7f, true));
    assert_false(say(&b, "world", 0, false));
    bench_fini(&b);
}

static int
setup(void **unused)
{
    (void)unused;
    fake_reset();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_equal_request_does_not_run_again, setup),
        cmocka_unit_test_setup(without_the_setting_all_run, setup),
        cmocka_unit_test_setup(a_new_load_knows_nothing_of_the_old_one, setup),
        cmocka_unit_test_setup(failures_are_not_kept, setup),
        cmocka_unit_test_setup(generations_are_reused_when_chance_has_no_part, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
