#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/registry_priv.h"
#include "infer/room.h"
#include "infer/test_asker.h"
#include "infer/test_fake.h"

/* A TIB, as a model's configuration says it. */
#define SIZE "\"memory_mb\": 1048576"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

/* Why it is not loaded, as told to those who wait for it, too. */
static bool
is_told(struct bench *b, const char *name, const char *part)
{
    (void)pthread_rwlock_rdlock(&b->g->lock);
    const struct berth_entry *x = berth_entry_find_locked(b->g, berth_slice_of(name));
    const bool yes = x != NULL && strstr(x->room_why, part) != NULL;
    (void)pthread_rwlock_unlock(&b->g->lock);
    return yes;
}

static void
until_told(struct bench *b, const char *name, const char *part)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;

    while (!is_told(b, name, part)) {
        if (berth_now_ns() > end)
            fail_msg("%s: never said: %s", name, part);
        (void)usleep(500);
    }
}

/* Until the load of this model has been worth its cost for the ledger (four times the time that it
 * took): from then on only uses change who goes first. */
static void
until_worth(struct bench *b, const char *name)
{
    struct berth_arena a;

    berth_arena_init(&a, 1 << 20);
    const uint64_t end = berth_now_ns() + 4 * bench_info(b, &a, name).versions[0].load_ns;
    berth_arena_fini(&a);
    while (berth_now_ns() < end)
        (void)usleep(500);
}

static void
wrong_settings_are_named(void **unused)
{
    static const struct {
        const char *config, *want;
    } cases[] = {
        {"{\"load\": \"often\"}", "config.load: expected start, demand or manual, got \"often\""},
        {"{\"keep_alive\": \"5 apples\"}",
         "config.keep_alive: expected seconds, or a text such as"},
        {"{\"keep_alive\": \"5\"}", "config.keep_alive: expected seconds"},
        {"{\"keep_alive\": []}", "config.keep_alive: expected seconds"},
        {"{\"keep_alive\": \"nans\"}", "config.keep_alive: expected seconds"},
        {"{\"pin\": 1}", "config.pin: expected true or false, got 1"},
        {"{\"memory_mb\": -1}", "config.memory_mb: expected a whole number from 0 to 1073741824"},
    };
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 1);
    const char *path = bench_file(&b, "m.fake", "good");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_err e = {""};
        assert_int_equal(bench_register(&b, "m", path, cases[i].config, &e), -BERTH_EINVAL);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].config, e.msg);
    }
    bench_fini(&b);
}

static void
more_models_than_room_take_turns(void **unused)
{
    static const char *const names[] = {"a", "b", "c"};
    char why[480];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 2);
    for (size_t i = 0; i < 3; i++)
        bench_add(&b, names[i], "{" SIZE "}");
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 3; i++) {
            bench_use(&b, names[i]);
            assert_true(berth_registry_memory(b.g).held_bytes <= 2 * TIB);
        }
    }
    struct fake_seen s = fake_seen();
    assert_true(s.loads <= 2 + 60);
    print_message("  60 requests in turn: %u loads\n", s.loads);
    /* One has gone for the last, and says so. */
    assert_int_equal(bench_state(&b, "c", NULL), BERTH_MODEL_READY);
    if (bench_state(&b, "a", why) == BERTH_MODEL_READY)
        assert_int_equal(bench_state(&b, "b", why), BERTH_MODEL_UNLOADED);
    /* For the last, or while it was being loaded: whoever was quicker. */
    assert_non_null(strstr(why, "evicted: "));
    assert_non_null(strstr(why, "another model"));
    bench_fini(&b);
}

static void
what_does_not_fit_at_start_waits_for_its_request(void **unused)
{
    char why[480];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 1);
    bench_add(&b, "first", "{" SIZE "}");
    bench_wait_state(&b, "first", BERTH_MODEL_READY);
    bench_add(&b, "second", "{" SIZE "}");
    bench_wait_state(&b, "second", BERTH_MODEL_UNLOADED);
    (void)bench_state(&b, "second", why);
    assert_non_null(strstr(why, "needs 1024.0 GiB"));
    assert_int_equal(bench_state(&b, "first", NULL), BERTH_MODEL_READY); /* nobody went for it */
    bench_use(&b, "second");
    assert_int_equal(bench_state(&b, "first", NULL), BERTH_MODEL_UNLOADED);
    bench_fini(&b);
}

static uint64_t
retry_pause_ns(struct bench *b)
{
    (void)pthread_mutex_lock(&b->g->jobs_mu);
    const uint64_t ns = b->g->retry_pause_ns;
    (void)pthread_mutex_unlock(&b->g->jobs_mu);
    return ns;
}

/* Until the loaders look as seldom as they do at most; never sooner on the way there. */
static void
until_seldom(struct bench *b)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;

    for (uint64_t was = 0, now; (now = retry_pause_ns(b)) < 50 * BERTH_MS; was = now) {
        assert_true(now >= was && berth_now_ns() < end);
        (void)usleep(500);
    }
}

/* Loaders look less and less often whether a model that is in use still is; who comes new is looked
 * after soon. */
static void
who_waits_long_for_room_is_tried_less_often(void **unused)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct asker using, waiting[BERTH_COUNT(names)];
    struct bench b;
    size_t n = 0;
    bool soon = false;

    (void)unused;
    bench_init_room(&b, &defaults, 1);
    bench_add(&b, "used", "{" SIZE "}");
    bench_wait_state(&b, "used", BERTH_MODEL_READY);
    for (size_t i = 0; i < BERTH_COUNT(names); i++)
        bench_add(&b, names[i], "{\"load\": \"demand\", " SIZE "}");
    asker_ask(&using, &b, "used");
    asker_wait(&using);
    asker_run(&waiting[n++], &b, names[0]);
    until_told(&b, names[0], "in use 1024.0 GiB");
    until_seldom(&b);
    /* A fifth of a second later it is seldom again: should we have slept that long, the next one
     * comes new. */
    while (!soon) {
        assert_true(n < BERTH_COUNT(names));
        asker_run(&waiting[n], &b, names[n]);
        n++;
        for (const uint64_t end = berth_now_ns() + 2 * BERTH_S; !soon && berth_now_ns() < end;) {
            soon = retry_pause_ns(&b) < 50 * BERTH_MS;
            (void)usleep(500);
        }
    }
    until_seldom(&b);
    berth_model_unref(using.model); /* idle from here on: it may go */
    for (size_t i = 0; i < n; i++) {
        asker_wait(&waiting[i]);
        assert_int_equal(waiting[i].result, 0);
        client_wait(&waiting[i].client);
        client_fini(&waiting[i].client);
    }
    bench_fini(&b);
}

static void
pinned_and_used_models_stay(void **unused)
{
    struct asker using, waiting, never;
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 2);
    bench_add(&b, "pinned", "{\"pin\": true, " SIZE "}");
    bench_wait_state(&b, "pinned", BERTH_MODEL_READY);
    bench_add(&b, "used", "{" SIZE "}");
    bench_add(&b, "other", "{" SIZE "}");
    bench_add(&b, "large", "{\"memory_mb\": 2097152}");
    asker_ask(&using, &b, "used");
    asker_wait(&using);
    assert_int_equal(using.result, 0);
    asker_ask(&never, &b, "large"); /* not even with everything gone that may go */
    asker_wait(&never);
    assert_int_equal(never.result, -BERTH_ENOMEM);
    static const char *const says[] = {
        "'large' needs 2048.0 GiB", "pinned 1024.0 GiB", "in use 1024.0 GiB",
        "models hold 2048.0 GiB",   "of 2560.0 GiB",     "engine.memory.max_memory_gb"};
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++) {
        if (strstr(never.err.msg, says[i]) == NULL)
            fail_msg("'%s' is not in: %s", says[i], never.err.msg);
    }
    asker_ask(&waiting, &b, "other");
    until_told(&b, "other", "in use 1024.0 GiB");
    assert_false(atomic_load(&waiting.ready));
    asker_end(&waiting);
    asker_wait(&waiting);
    assert_int_equal(waiting.result, -BERTH_ENOTREADY);
    assert_non_null(strstr(waiting.err.msg, "in use 1024.0 GiB"));
    asker_ask(&waiting, &b, "other");
    berth_model_unref(using.model); /* idle from here on: it may go */
    asker_wait(&waiting);
    assert_int_equal(waiting.result, 0);
    berth_model_unref(waiting.model);
    assert_int_equal(bench_state(&b, "pinned", NULL), BERTH_MODEL_READY);
    assert_int_equal(bench_state(&b, "used", NULL), BERTH_MODEL_UNLOADED);
    bench_fini(&b);
}

static void
a_load_by_hand_makes_room_and_gives_up_in_time(void **unused)
{
    struct asker using;
    struct berth_err e;
    char why[480];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 1);
    bench_add(&b, "a", "{" SIZE "}");
    bench_wait_state(&b, "a", BERTH_MODEL_READY);
    bench_add(&b, "b", "{\"load\": \"manual\", " SIZE "}");
    bench_wait_state(&b, "b", BERTH_MODEL_UNLOADED);
    asker_ask(&using, &b, "b");
    asker_wait(&using);
    assert_int_equal(using.result, -BERTH_ENOTREADY); /* requests do not load it */
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("b"), &e), 0);
    bench_wait_state(&b, "b", BERTH_MODEL_READY);
    assert_int_equal(bench_state(&b, "a", NULL), BERTH_MODEL_UNLOADED);
    asker_ask(&using, &b, "b");
    asker_wait(&using);
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("a"), &e), 0);
    until_told(&b, "a", "in use 1024.0 GiB"); /* not said of it before */
    bench_wait_state(&b, "a", BERTH_MODEL_UNLOADED);
    (void)bench_state(&b, "a", why);
    assert_non_null(strstr(why, "in use 1024.0 GiB"));
    assert_int_equal(bench_state(&b, "b", NULL), BERTH_MODEL_READY);
    berth_model_unref(using.model);
    /* Loaded again, there is no room for two of it: it goes first, and comes back. */
    unsigned loads = fake_seen().loads;
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("b"), &e), 0);
    fake_wait_loads(loads + 1);
    bench_wait_state(&b, "b", BERTH_MODEL_READY);
    assert_int_equal(berth_registry_unload(b.g, BERTH_SLICE("b"), &e), 0);
    bench_wait_state(&b, "b", BERTH_MODEL_UNLOADED);
    asker_ask(&using, &b, "b");
    asker_wait(&using);
    assert_int_equal(using.result, -BERTH_ENOTREADY); /* what was unloaded stays so */
    assert_int_equal(berth_registry_memory(b.g).promised_bytes, 0);
    bench_fini(&b);
}

static void
what_nobody_uses_is_unloaded(void **unused)
{
    char why[480];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 3);
    bench_add(&b, "short", "{\"keep_alive\": \"100ms\", " SIZE "}");
    bench_add(&b, "long", "{\"keep_alive\": -1, " SIZE "}");
    bench_add(&b, "pinned", "{\"keep_alive\": 0, \"pin\": true, " SIZE "}");
    bench_use(&b, "short");
    bench_use(&b, "long");
    bench_use(&b, "pinned");
    bench_wait_state(&b, "short", BERTH_MODEL_UNLOADED);
    (void)bench_state(&b, "short", why);
    assert_non_null(strstr(why, "unused for as long as its keep_alive says"));
    assert_int_equal(bench_state(&b, "long", NULL), BERTH_MODEL_READY);
    assert_int_equal(bench_state(&b, "pinned", NULL), BERTH_MODEL_READY);
    bench_use(&b, "short");
    bench_fini(&b);
}

static void
the_last_used_come_back_first(void **unused)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    char path[128];
    struct berth_arena arena;
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 2);
    bench_close(&b);
    (void)snprintf(path, sizeof path, "%s/store", b.dir);
    bench_open(&b, &defaults, 64, path);
    for (size_t i = 0; i < 4; i++)
        bench_add(&b, names[i], "{\"load\": \"start\", " SIZE "}");
    bench_use(&b, "d");
    bench_use(&b, "b");
    bench_use(&b, "a");
    bench_use(&b, "d");
    bench_close(&b);
    b.loaders = 1; /* two may overtake each other */
    bench_open(&b, &defaults, 64, path);
    assert_int_equal(berth_registry_restore(b.g, &e), 0);
    bench_wait_state(&b, "d", BERTH_MODEL_READY);
    bench_wait_state(&b, "a", BERTH_MODEL_READY);
    bench_wait_state(&b, "b", BERTH_MODEL_UNLOADED);
    bench_wait_state(&b, "c", BERTH_MODEL_UNLOADED);
    /* What was measured is known again, with what had been expected beside it. */
    berth_arena_init(&arena, 1 << 20);
    const struct berth_model_info info = bench_info(&b, &arena, "b");
    assert_int_equal(info.memory.measured_bytes, TIB);
    assert_int_equal(info.memory.predicted_bytes, TIB);
    assert_true(info.memory.measured_load_ns > 0);
    berth_arena_fini(&arena);
    bench_fini(&b);
}

static void
a_plan_says_what_a_load_would_mean(void **unused)
{
    struct berth_load_plan p;
    struct berth_arena a;
    struct berth_err e;
    struct bench b;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    bench_init_room(&b, &defaults, 2);
    bench_add(&b, "a", "{" SIZE "}");
    bench_add(&b, "b", "{" SIZE "}");
    bench_use(&b, "a");
    bench_use(&b, "b");
    until_worth(&b, "a");
    until_worth(&b, "b");
    const char *path = bench_file(&b, "new.fake", "good");
    const struct berth_slice none = {"", 0};
    assert_int_equal(berth_registry_plan(b.g, &a, BERTH_SLICE("a"), NULL, NULL, NULL, &p, &e), 0);
    assert_true(p.loaded);
    assert_int_equal(p.by, BERTH_BY_LOAD);
    assert_int_equal(p.bytes, TIB);
    assert_int_equal(berth_registry_plan(b.g, &a, none, path, NULL, NULL, &p, &e), 0);
    assert_false(p.loaded);
    assert_int_equal(p.by, BERTH_BY_FILES);
    assert_string_equal(p.backend, "fake");
    assert_int_equal(berth_registry_plan(b.g, &a, none, "/no/such", NULL, NULL, &p, &e),
                     -BERTH_ENOENT);
    assert_int_equal(berth_registry_plan(b.g, &a, BERTH_SLICE("x"), NULL, NULL, NULL, &p, &e),
                     -BERTH_ENOENT);
    bench_add(&b, "c", "{" SIZE "}");
    bench_wait_state(&b, "c", BERTH_MODEL_UNLOADED);
    assert_int_equal(berth_registry_plan(b.g, &a, BERTH_SLICE("c"), NULL, NULL, NULL, &p, &e), 0);
    assert_int_equal(p.verdict, BERTH_LEDGER_EVICT);
    assert_int_equal(p.victim_count, 1);
    assert_int_equal(p.victims[0].bytes, TIB);
    assert_int_equal(p.sums.held_bytes, 2 * TIB);
    /* Nothing happened; and then it is as it was said. */
    assert_int_equal(bench_state(&b, p.victims[0].name, NULL), BERTH_MODEL_READY);
    bench_use(&b, "c");
    assert_int_equal(bench_state(&b, p.victims[0].name, NULL), BERTH_MODEL_UNLOADED);
    bench_fini(&b);
    berth_arena_fini(&a);
}

/* Several threads want more models than there is room for: every one gets its model, and nothing
 * goes away under anybody. */
enum { MODELS = 12, ASKERS = 24, ROUNDS = 40 };

static void
everybody_gets_a_turn(void **unused)
{
    static struct asker askers[ASKERS];
    char name[16];
    struct bench b;

    (void)unused;
    bench_init_room(&b, &defaults, 3);
    for (int i = 0; i < MODELS; i++) {
        (void)snprintf(name, sizeof name, "m%d", i);
        bench_add(&b, name, "{" SIZE "}");
    }
    for (int round = 0; round < ROUNDS; round++) {
        char names[ASKERS][16];
        for (int i = 0; i < ASKERS; i++) {
            (void)snprintf(names[i], sizeof names[i], "m%d", (i * 7 + round) % MODELS);
            asker_run(&askers[i], &b, names[i]);
        }
        for (int i = 0; i < ASKERS; i++) {
            asker_wait(&askers[i]);
            if (askers[i].result != 0)
                fail_msg("%s", askers[i].err.msg);
            client_wait(&askers[i].client);
            assert_int_equal(askers[i].client.r.result, 0);
            client_fini(&askers[i].client);
        }
    }
    struct fake_seen s = fake_seen();
    print_message("  %d requests for %d models with room for 3: %u loads\n", ASKERS * ROUNDS,
                  MODELS, s.loads);
    assert_true(s.loads <= ASKERS * ROUNDS);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_settings_are_named),
        cmocka_unit_test(more_models_than_room_take_turns),
        cmocka_unit_test(what_does_not_fit_at_start_waits_for_its_request),
        cmocka_unit_test(pinned_and_used_models_stay),
        cmocka_unit_test(who_waits_long_for_room_is_tried_less_often),
        cmocka_unit_test(a_load_by_hand_makes_room_and_gives_up_in_time),
        cmocka_unit_test(what_nobody_uses_is_unloaded),
        cmocka_unit_test(the_last_used_come_back_first),
        cmocka_unit_test(a_plan_says_what_a_load_would_mean),
        cmocka_unit_test(everybody_gets_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
