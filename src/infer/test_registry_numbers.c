#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"
#include "obs/metrics.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

static bool
is_shown(struct bench *b, const char *line)
{
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    berth_metrics_render(b->metrics, &text);
    const bool yes = strstr(berth_buf_text(&text), line) != NULL;
    berth_buf_fini(&text);
    return yes;
}

static void
until_shown(struct bench *b, const char *line)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;

    while (!is_shown(b, line)) {
        assert_true(berth_now_ns() < end);
        (void)usleep(500);
    }
}

static void
numbers_are_kept(void **unused)
{
    struct berth_model_info info, *list;
    struct berth_model *m;
    struct berth_arena a;
    struct berth_err e;
    struct bench b;
    size_t n;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    bench_init(&b, &defaults, 4, NULL);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    m = bench_find(&b, "m");
    for (int i = 0; i < 20; i++) {
        struct client c;
        client_tensor(&c, b.loop, i == 7 ? 14 : 1, 1);
        client_submit(&c, m);
        client_wait(&c);
        client_fini(&c);
    }
    struct client c;
    client_prompt(&c, b.loop, "12345");
    client_submit(&c, m);
    client_wait(&c);
    client_fini(&c);
    info = bench_info(&b, &a, "m");
    assert_int_equal(info.stats.requests, 21);
    assert_int_equal(info.stats.ok, 20);
    assert_int_equal(info.stats.failed, 1);
    assert_int_equal(info.stats.batches, 21);
    assert_int_equal(info.stats.tokens_out, 5);
    assert_true(info.stats.latency_p99_ms >= info.stats.latency_p95_ms);
    assert_true(info.stats.latency_p95_ms > 0 && info.stats.rps > 0);
    assert_true(info.used_wall_ns >= info.created_wall_ns);
    assert_string_equal(info.model_type, "LLM");
    assert_int_equal(berth_registry_list(b.g, &a, &list, &n, &e), 0);
    assert_int_equal(n, 1);
    /* A loader counts states after it has handed the model out. */
    until_shown(&b, "berth_models{state=\"READY\"} 1\n");
    struct berth_buf text;
    berth_buf_init(&text, NULL);
    berth_metrics_render(b.metrics, &text);
    const char *metrics = berth_buf_text(&text);
    static const char *const lines[] = {
        "berth_inferences_total{model=\"m\",result=\"ok\"} 20\n",
        "berth_inferences_total{model=\"m\",result=\"error\"} 1\n",
        "berth_batch_size_count{model=\"m\"} 20\n",
        "berth_tokens_generated_total{model=\"m\"} 5\n",
        "berth_time_to_first_token_seconds_count{model=\"m\"} 1\n",
        "berth_models{state=\"READY\"} 1\n",
        "berth_queue_length{model=\"m\"} 0\n",
        "berth_sequences_running{model=\"m\"} 0\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (strstr(metrics, lines[i]) == NULL)
            fail_msg("no line %s in\n%s", lines[i], metrics);
    }
    berth_buf_fini(&text);
    berth_model_unref(m);
    berth_arena_fini(&a);
    bench_fini(&b);
}

/* What a forgotten model leaves behind: nothing, also when its memory comes back only afterwards.
 */
static void
a_forgotten_model_has_no_numbers(void **unused)
{
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    const char *path = bench_file(&b, "m.fake", "good");
    for (unsigned round = 1; round <= 2; round++) {
        assert_int_equal(bench_register(&b, "m", path, NULL, &e), 0);
        bench_wait_state(&b, "m", BERTH_MODEL_READY);
        struct berth_model *m = bench_find(&b, "m"); /* keeps it loaded until it is forgotten */
        struct berth_buf text;
        berth_buf_init(&text, NULL);
        berth_metrics_render(b.metrics, &text);
        const char *at = strstr(berth_buf_text(&text), "berth_model_memory_bytes{model=\"m\"} ");
        assert_non_null(at);
        assert_true(strtod(strchr(at, ' '), NULL) >= 1);
        berth_buf_fini(&text);
        assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("m"), &e), 0);
        berth_model_unref(m);
        fake_wait_unloads(round);
    }
    berth_registry_free(b.g); /* every model has stopped when this returns */
    b.g = NULL;
    struct berth_buf text;
    berth_buf_init(&text, NULL);
    berth_metrics_render(b.metrics, &text);
    if (strstr(berth_buf_text(&text), "model=\"m\"") != NULL)
        fail_msg("%s", text.at);
    berth_buf_fini(&text);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_kept),
        cmocka_unit_test(a_forgotten_model_has_no_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
