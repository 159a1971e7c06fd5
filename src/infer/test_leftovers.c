#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/clock.h"
#include "infer/model.h"
#include "infer/registry_priv.h"
#include "infer/test_fake.h"
#include "obs/metrics.h"
#include "os/memory.h"
#include "store/store.h"

/* What is left of models that came and went: nothing.  Memory is counted, not guessed: what
 * malloc() has given out.  (A sanitizer's malloc() counts nothing; there the leaks are its own to
 * find.) */

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

static void
assert_series(struct bench *b, const char *part, bool there)
{
    struct berth_buf text;

    berth_buf_init(&text, NULL);
    berth_metrics_render(b->metrics, &text);
    if ((strstr(berth_buf_text(&text), part) != NULL) != there)
        fail_msg("%s: %s", part, text.at);
    berth_buf_fini(&text);
}

/* What malloc() has given out, once that is as little as wanted: the loader frees an entry after
 * its model was unloaded. */
static uint64_t
settled_bytes(uint64_t want)
{
    uint64_t bytes = 0;

    for (const uint64_t end = berth_now_ns() + PATIENCE_NS;
         (bytes = berth_memory_heap().used_bytes) > want && berth_now_ns() < end;)
        (void)usleep(1000);
    return bytes;
}

static void
come_and_go(struct bench *b, const char *path, unsigned number)
{
    struct berth_err e = {""};
    struct client c;
    char name[32];

    (void)snprintf(name, sizeof name, "comer-%u", number);
    if (bench_register(b, name, path, "{\"response_cache\": true}", &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(b, name, BERTH_MODEL_READY);
    struct berth_model *m = bench_find(b, name);
    client_tensor(&c, b->loop, 1, 1);
    client_submit(&c, m);
    assert_int_equal(c.submitted, 0);
    client_wait(&c);
    client_fini(&c);
    if (number % 2 == 0) { /* some are unloaded first */
        assert_int_equal(berth_registry_unload(b->g, berth_slice_of(name), &e), 0);
        berth_model_unref(m);
        bench_wait_state(b, name, BERTH_MODEL_UNLOADED);
        m = NULL;
    }
    assert_int_equal(berth_registry_unregister(b->g, berth_slice_of(name), &e), 0);
    berth_model_unref(m);
    fake_wait_unloads(number + 1);
}

static void
models_that_come_and_go_leave_nothing(void **unused)
{
    enum { FIRST = 60, MODELS = 360, EACH_BYTES_MAX = 1000 };
    struct bench b;

    (void)unused;
    fake_reset();
    bench_init(&b, &defaults, 4, NULL);
    const char *path = bench_file(&b, "m.fake", "good");
    for (unsigned i = 0; i < FIRST; i++)
        come_and_go(&b, path, i);
    const uint64_t before = berth_memory_heap().used_bytes;
    for (unsigned i = FIRST; i < MODELS; i++)
        come_and_go(&b, path, i);
    const uint64_t most = before + (MODELS - FIRST) * EACH_BYTES_MAX, after = settled_bytes(most);
    print_message("  %lld bytes a model\n",
                  ((long long)after - (long long)before) / (MODELS - FIRST));
    assert_in_range(after, 0, most);
    assert_series(&b, "model=\"comer", false);
    bench_fini(&b);
}

static void
a_load_that_goes_on_when_its_model_is_gone_leaves_no_series(void **unused)
{
    struct berth_err e = {""};
    struct bench b;

    (void)unused;
    fake_reset();
    bench_init(&b, &defaults, 4, NULL);
    (void)bench_file(&b, "two/1/m.fake", "good");
    (void)bench_file(&b, "two/2/m.fake", "good");
    const char *path = bench_file(&b, "two", NULL);
    fake_gate_load(false);
    if (bench_register(&b, "two", path, "{\"versions\": \"all\"}", &e) < 0)
        fail_msg("%s", e.msg);
    fake_wait_loads(1);
    assert_series(&b, "model=\"two\"", true);
    /* The second version's model is made after this. */
    assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("two"), &e), 0);
    assert_series(&b, "model=\"two\"", false);
    fake_gate_load(true);
    fake_wait_unloads(1);
    berth_registry_free(b.g); /* the loader has come to its end */
    b.g = NULL;
    assert_series(&b, "model=\"two\"", false);
    bench_fini(&b);
}

static void
what_is_known_of_fewer_models_takes_fewer_records(void **unused)
{
    static const char *const stale[] = {"memory/0001", "memory/0007"};
    struct berth_record *records = NULL;
    struct berth_err e = {""};
    struct berth_arena arena;
    struct bench b;
    size_t count = 0;

    (void)unused;
    fake_reset();
    bench_init(&b, &defaults, 4, NULL);
    if (bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    /* As if there had been thousands: read after the first record, they would be the last word. */
    for (size_t i = 0; i < sizeof stale / sizeof stale[0]; i++)
        assert_int_equal(berth_store_put(b.store, stale[i],
                                         BERTH_SLICE("{\"models\":{\"m\":{\"bytes\":1}}}"), 0, &e),
                         0);
    /* There is something new to write down, also if the loaders did that in between. */
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
    fake_wait_unloads(1);
    berth_registry_free(b.g); /* writes down what is known */
    b.g = NULL;
    berth_arena_init(&arena, 1 << 20);
    assert_int_equal(berth_store_list(b.store, &arena, "memory/", &records, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_string_equal(records[0].key, "memory/0000");
    berth_arena_fini(&arena);
    bench_fini(&b);
}

static void
kept_memory_is_given_back_where_that_helps(void **unused)
{
    static const struct {
        const char *why;
        uint64_t self, used; /* MiB */
        bool due;
        uint64_t after; /* resident after the trim */
    } looks[] = {
        {"all is in use", 500, 500, false, 0},
        {"a little is kept", 531, 500, false, 0},
        {"much is kept", 532, 500, true, 510},
        {"what did not go is not tried again", 541, 500, false, 0},
        {"but what came to it is", 542, 500, true, 505},
        {"an engine maps memory beside malloc()", 1500, 500, true, 1500},
        {"that is no reason to try again", 1520, 500, false, 0},
        {"a burst is in use", 1720, 700, false, 0},
        {"the engine's memory goes", 505, 500, false, 0},
        {"the next burst counts from there", 537, 500, true, 505},
        {"more in use than resident: not all is touched", 500, 600, false, 0},
    };
    struct berth_trim t = {.rest_bytes = 0};

    (void)unused;
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        const bool due = berth_trim_is_due(&t, looks[i].self << 20, looks[i].used << 20);
        if (due != looks[i].due)
            fail_msg("%s", looks[i].why);
        if (due)
            berth_trim_is_done(&t, looks[i].after << 20, looks[i].used << 20);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_that_come_and_go_leave_nothing),
        cmocka_unit_test(a_load_that_goes_on_when_its_model_is_gone_leaves_no_series),
        cmocka_unit_test(what_is_known_of_fewer_models_takes_fewer_records),
        cmocka_unit_test(kept_memory_is_given_back_where_that_helps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
