#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "infer/model.h"
#include "infer/registry_priv.h"
#include "infer/room.h"
#include "infer/test_asker.h"
#include "infer/test_fake.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

/* The forecast says a MiB, and it takes a TiB. */
static void
what_took_more_than_expected_makes_room_or_goes_again(void **unused)
{
    static const char small[] = "{\"memory_mb\": 1}";
    struct asker using, late;
    char why[480];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 1);
    bench_add(&b, "a", small);
    bench_wait_state(&b, "a", BERTH_MODEL_READY);
    bench_add(&b, "b", small); /* nobody goes for what nobody asked for */
    bench_wait_state(&b, "b", BERTH_MODEL_UNLOADED);
    (void)bench_state(&b, "b", why);
    static const char *const says[] = {"'b' took 1024.0 GiB",
                                       "512.0 GiB more than engine.memory.max_memory_gb leaves",
                                       "expected 1.0 MiB", "or raise it"};
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++) {
        if (strstr(why, says[i]) == NULL)
            fail_msg("'%s' is not in: %s", says[i], why);
    }
    assert_int_equal(bench_state(&b, "a", NULL), BERTH_MODEL_READY);
    assert_int_equal(berth_registry_memory(b.g).held_bytes, TIB);
    /* The first asked for that was guessed wrongly: the idle one goes for it. */
    bench_add(&b, "c", "{\"memory_mb\": 1, \"load\": \"demand\"}");
    bench_wait_state(&b, "c", BERTH_MODEL_UNLOADED);
    bench_use(&b, "c");
    assert_int_equal(bench_state(&b, "a", why), BERTH_MODEL_UNLOADED);
    assert_non_null(strstr(why, "its memory was needed for another model (c)"));
    assert_int_equal(berth_registry_memory(b.g).held_bytes, TIB);
    /* While the other is in use it waits, not loaded; and it is not loaded in vain again. */
    bench_add(&b, "d", "{\"memory_mb\": 1, \"load\": \"demand\"}");
    bench_wait_state(&b, "d", BERTH_MODEL_UNLOADED);
    asker_ask(&using, &b, "c");
    asker_wait(&using);
    const unsigned loads = fake_seen().loads;
    asker_ask(&late, &b, "d");
    fake_wait_loads(loads + 1);
    (void)usleep(50000);
    assert_false(atomic_load(&late.ready));
    assert_int_equal(fake_seen().loads, loads + 1);
    berth_model_unref(using.model);
    asker_wait(&late);
    assert_int_equal(late.result, 0);
    berth_model_unref(late.model);
    /* Loaded again, unless its first load was only measured when the other one had gone. */
    assert_in_range(fake_seen().loads, loads + 1, loads + 2);
    bench_fini(&b);
}

/* Until a loader has kept house, which it does twice a second, so many times more. */
static void
until_house_is_kept(struct bench *b, int times)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;
    uint64_t was = 0;

    for (int seen = -1; seen < times;) {
        assert_true(berth_now_ns() < end);
        (void)pthread_mutex_lock(&b->g->jobs_mu);
        const uint64_t now = b->g->house_ns;
        (void)pthread_mutex_unlock(&b->g->jobs_mu);
        seen += now != was;
        was = now;
        (void)usleep(500);
    }
}

/* It took too much, and its engine takes long to give it back. */
static void
nobody_goes_for_what_goes_already(void **unused)
{
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 1);
    bench_add(&b, "stays", "{\"memory_mb\": 1}");
    bench_wait_state(&b, "stays", BERTH_MODEL_READY);
    fake_gate_unload(false);
    bench_add(&b, "goes", "{\"memory_mb\": 1}");
    fake_wait_unloads(1);
    until_house_is_kept(&b, 4);
    assert_int_equal(bench_state(&b, "stays", NULL), BERTH_MODEL_READY);
    assert_int_equal(fake_seen().unloads, 1);
    fake_gate_unload(true);
    bench_wait_state(&b, "goes", BERTH_MODEL_UNLOADED);
    assert_int_equal(bench_state(&b, "stays", NULL), BERTH_MODEL_READY);
    assert_int_equal(berth_registry_memory(b.g).held_bytes, TIB);
    bench_fini(&b);
}

static void
what_never_fits_is_refused_before_it_is_loaded_again(void **unused)
{
    struct asker a;
    char why[480];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 0);
    bench_add(&b, "huge", "{\"memory_mb\": 1, \"pin\": true}");
    bench_wait_state(&b, "huge", BERTH_MODEL_UNLOADED);
    (void)bench_state(&b, "huge", why);
    assert_non_null(strstr(why, "'huge' took 1024.0 GiB, 512.0 GiB more than"));
    assert_int_equal(berth_registry_memory(b.g).held_bytes, 0);
    const unsigned loads = fake_seen().loads;
    asker_ask(&a, &b, "huge");
    asker_wait(&a);
    assert_int_equal(a.result, -BERTH_ENOMEM);
    assert_non_null(strstr(a.err.msg, "needs 1024.0 GiB of memory (measured)"));
    assert_int_equal(fake_seen().loads, loads);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_took_more_than_expected_makes_room_or_goes_again),
        cmocka_unit_test(nobody_goes_for_what_goes_already),
        cmocka_unit_test(what_never_fits_is_refused_before_it_is_loaded_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
