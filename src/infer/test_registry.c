#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"
#include "wire/json.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};
static const struct berth_slice no_version = {NULL, 0};

/* Of its latest version, beside which another may serve. */
static void
wait_failed(struct bench *b, const char *name)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;
    bool failed = false;

    while (!failed) {
        struct berth_arena a;
        berth_arena_init(&a, 4 << 20);
        const struct berth_model_info info = bench_info(b, &a, name);
        failed = info.versions[info.version_count - 1].state == BERTH_MODEL_FAILED;
        berth_arena_fini(&a);
        assert_true(failed || berth_now_ns() < end);
        (void)usleep(1000);
    }
}

static void
what_is_wrong_is_named(void **unused)
{
    static const struct {
        const char *why, *name, *file, *config;
        int code;
        const char *want;
    } cases[] = {
        {"a blank in the name", "a b", "m.fake", NULL, -BERTH_EINVAL, "name: letters, digits"},
        {"no name", "", "m.fake", NULL, -BERTH_EINVAL, "name: 1 to 128"},
        {"no such file", "m", "no.fake", NULL, -BERTH_ENOENT, "no.fake: No such file"},
        {"nobody takes it", "m", "m.txt", NULL, -BERTH_EINVAL, "fake: .fake"},
        {"an unknown setting", "m", "m.fake", "{\"gredy\": true}", -BERTH_EINVAL,
         "config.gredy: unknown, did you mean 'greedy'?; allowed for backend fake: batch, broken, "
         "greedy"},
        {"a misspelt key of ours", "m", "m.fake", "{\"max_bacth_size\": 3}", -BERTH_EINVAL,
         "did you mean 'max_batch_size'?"},
        {"one name for one thing", "m", "m.fake", "{\"max_queue_len\": 3}", -BERTH_EINVAL,
         "config.max_queue_len: unknown; allowed"},
        {"and one in batching", "m", "m.fake", "{\"batching\": {\"max_batch_wait_ms\": 3}}",
         -BERTH_EINVAL, "config.batching: unknown key 'max_batch_wait_ms'; there is: mode"},
        {"a number out of range", "m", "m.fake", "{\"batch\": 1001}", -BERTH_EINVAL,
         "config.batch: expected a whole number from 0 to 1000, got 1001"},
        {"a wrong type", "m", "m.fake", "{\"greedy\": 1}", -BERTH_EINVAL,
         "config.greedy: expected true or false, got 1"},
        {"half an instance", "m", "m.fake", "{\"instances\": 0.5}", -BERTH_EINVAL,
         "config.instances: expected a whole number from 1 to 64, got 0.5"},
        {"a negative wait", "m", "m.fake", "{\"batching\": {\"max_wait_ms\": -1}}", -BERTH_EINVAL,
         "config.batching.max_wait_ms: expected milliseconds from 0 to 60000, got -1"},
        {"no list of versions", "m", "m.fake", "{\"versions\": \"newest\"}", -BERTH_EINVAL,
         "config.versions: expected latest, all, a list of numbers, or"},
    };
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    (void)bench_file(&b, "m.fake", "good");
    (void)bench_file(&b, "m.txt", "text");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_err e = {""};
        print_message("  %s\n", cases[i].why);
        assert_int_equal(bench_register(&b, cases[i].name, bench_file(&b, cases[i].file, NULL),
                                        cases[i].config, &e),
                         cases[i].code);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("%s", e.msg);
    }
    assert_int_equal(berth_registry_counts(b.g).registered, 0);
    bench_fini(&b);
}

static void
limits_and_doubles_are_refused(void **unused)
{
    struct berth_model *m = NULL;
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 2, NULL);
    const char *path = bench_file(&b, "m.fake", "good");
    assert_int_equal(bench_register(&b, "one", path, NULL, &e), 0);
    assert_int_equal(bench_register(&b, "one", path, NULL, &e), -BERTH_EEXIST);
    assert_int_equal(bench_register(&b, "two", path, NULL, &e), 0);
    assert_int_equal(bench_register(&b, "three", path, NULL, &e), -BERTH_ELIMIT);
    assert_non_null(strstr(e.msg, "engine.max_models"));
    assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("two"), &e), 0);
    assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("two"), &e), -BERTH_ENOENT);
    assert_int_equal(berth_registry_find(b.g, BERTH_SLICE("two"), no_version, &m, &e),
                     -BERTH_ENOENT);
    assert_int_equal(bench_register(&b, "three", path, NULL, &e), 0);
    bench_wait_state(&b, "three", BERTH_MODEL_READY);
    bench_fini(&b);
}

static void
loading_happens_beside(void **unused)
{
    struct berth_model *m = (struct berth_model *)8;
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    fake_gate_load(false);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    assert_int_equal(berth_registry_find(b.g, BERTH_SLICE("m"), no_version, &m, &e),
                     -BERTH_ENOTREADY);
    assert_null(m);
    assert_string_equal(e.msg, "model 'm' is LOADING");
    assert_int_equal(berth_registry_counts(b.g).loading, 1);
    fake_gate_load(true);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    assert_int_equal(bench_register(&b, "bad", bench_file(&b, "x.fake", "bad"), NULL, &e), 0);
    bench_wait_state(&b, "bad", BERTH_MODEL_FAILED);
    assert_int_equal(berth_registry_find(b.g, BERTH_SLICE("bad"), no_version, &m, &e),
                     -BERTH_ENOTREADY);
    assert_non_null(strstr(e.msg, "x.fake: not a model"));
    bench_fini(&b);
}

static void
records_survive_a_restart(void **unused)
{
    char path[128], id[BERTH_UUID_TEXT];
    struct berth_model_info info;
    struct berth_arena a;
    struct berth_err e;
    struct bench b;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    bench_init(&b, &defaults, 4, NULL);
    bench_close(&b);
    (void)snprintf(path, sizeof path, "%s/state.db", b.dir);
    bench_open(&b, &defaults, 4, path);
    assert_int_equal(bench_register(&b, "kept", bench_file(&b, "kept.fake", "good"),
                                    "{\"batch\": 7, \"instances\": 2, \"labels\": [\"a\"]}", &e),
                     0);
    assert_int_equal(bench_register(&b, "cold", bench_file(&b, "cold.fake", "good"), NULL, &e), 0);
    assert_int_equal(bench_register(&b, "lost", bench_file(&b, "lost.fake", "good"), NULL, &e), 0);
    assert_int_equal(bench_register(&b, "gone", bench_file(&b, "gone.fake", "good"), NULL, &e), 0);
    bench_wait_state(&b, "kept", BERTH_MODEL_READY);
    bench_wait_state(&b, "cold", BERTH_MODEL_READY);
    assert_int_equal(berth_registry_unload(b.g, BERTH_SLICE("cold"), &e), 0);
    assert_int_equal(berth_registry_unregister(b.g, BERTH_SLICE("gone"), &e), 0);
    (void)snprintf(id, sizeof id, "%s", bench_info(&b, &a, "kept").id);
    bench_close(&b);
    (void)unlink(bench_file(&b, "lost.fake", NULL));

    bench_open(&b, &defaults, 4, path);
    assert_int_equal(berth_registry_restore(b.g, &e), 0);
    bench_wait_state(&b, "kept", BERTH_MODEL_READY);
    bench_wait_state(&b, "cold", BERTH_MODEL_UNLOADED);
    bench_wait_state(&b, "lost", BERTH_MODEL_FAILED);
    assert_non_null(strstr(bench_info(&b, &a, "lost").why, "lost.fake: No such file"));
    assert_int_equal(berth_registry_counts(b.g).registered, 3);
    info = bench_info(&b, &a, id); /* by its identity */
    assert_string_equal(info.name, "kept");
    assert_string_equal(info.id, id);
    assert_int_equal(info.versions[0].instances, 2);
    assert_int_equal(info.versions[0].describe->batch_rows_max, 7);
    assert_int_equal(info.versions[0].memory_bytes, UINT64_C(2) << 40);
    assert_int_equal(berth_json_len(berth_json_get(info.manifest, "labels")), 1);
    berth_arena_fini(&a);
    bench_fini(&b);
}

/* A client that asks as fast as it gets answers, and finds the model anew each time. */
struct asker {
    struct bench *b;
    atomic_bool stop;
    atomic_uint answers;
};

static void *
ask(void *arg)
{
    struct asker *k = arg;

    while (!atomic_load(&k->stop)) {
        struct berth_model *m;
        struct client c;
        berth_assert(berth_registry_find(k->b->g, BERTH_SLICE("m"), no_version, &m, NULL) == 0);
        client_tensor(&c, k->b->loop, 5, 1);
        client_submit(&c, m);
        client_wait(&c);
        berth_assert(c.r.result == 0);
        client_fini(&c);
        berth_model_unref(m);
        (void)atomic_fetch_add(&k->answers, 1);
    }
    return NULL;
}

static void
a_reload_fails_no_request(void **unused)
{
    struct asker k = {.b = NULL};
    struct berth_err e;
    pthread_t thread;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    k.b = &b;
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    assert_int_equal(pthread_create(&thread, NULL, ask, &k), 0);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
        fake_wait_unloads(i + 1); /* the one before went, after the new one came */
        for (unsigned had = atomic_load(&k.answers); atomic_load(&k.answers) == had;)
            (void)usleep(100);
    }
    /* One that does not load leaves the old one serving. */
    (void)bench_file(&b, "m.fake", "bad");
    unsigned loads = fake_seen().loads;
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
    fake_wait_loads(loads + 1);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    atomic_store(&k.stop, true);
    (void)pthread_join(thread, NULL);
    print_message("  %u answers over 10 reloads\n", atomic_load(&k.answers));
    bench_fini(&b);
}

static void
unloading_lets_what_runs_finish(void **unused)
{
    struct berth_model *m;
    struct berth_err e;
    struct client c;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    m = bench_find(&b, "m");
    fake_gate_run(false);
    client_tensor(&c, b.loop, 1, 1);
    client_submit(&c, m);
    berth_model_unref(m);
    fake_wait_runs(1);
    assert_int_equal(berth_registry_unload(b.g, BERTH_SLICE("m"), &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_DRAINING);
    fake_gate_run(true);
    client_wait(&c);
    assert_int_equal(c.r.result, 0);
    client_fini(&c);
    bench_wait_state(&b, "m", BERTH_MODEL_UNLOADED);
    assert_int_equal(fake_seen().unloads, 1);
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("m"), &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    bench_fini(&b);
}

static void
the_end_cuts_what_runs(void **unused)
{
    struct client running, waiting;
    struct berth_model *m;
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    assert_int_equal(bench_register(&b, "m", bench_file(&b, "m.fake", "good"), NULL, &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    m = bench_find(&b, "m");
    fake_gate_run(false);
    client_tensor(&running, b.loop, 1, 1);
    client_submit(&running, m);
    fake_wait_runs(1);
    client_tensor(&waiting, b.loop, 1, 1);
    client_submit(&waiting, m);
    berth_registry_free(b.g);
    b.g = NULL;
    client_wait(&running);
    client_wait(&waiting);
    assert_int_equal(running.r.result, -BERTH_ECANCELED);
    assert_int_equal(waiting.r.result, -BERTH_ENOTREADY);
    client_fini(&running);
    client_fini(&waiting);
    berth_model_unref(m); /* a reference outlives the registry */
    bench_fini(&b);
}

static void
versions_are_folders(void **unused)
{
    struct berth_model *m;
    struct berth_model_info info;
    struct berth_arena a;
    struct berth_err e;
    struct bench b;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    bench_init(&b, &defaults, 4, NULL);
    (void)bench_file(&b, "v/2/m.fake", "good");
    (void)bench_file(&b, "v/10/m.fake", "good");
    (void)bench_file(&b, "v/berth.yaml", "task: testing\nbatch: 5\nlabels: [x, y]\n");
    assert_int_equal(bench_register(&b, "v", bench_file(&b, "v", NULL), "{\"batch\": 6}", &e), 0);
    bench_wait_state(&b, "v", BERTH_MODEL_READY);
    info = bench_info(&b, &a, "v");
    assert_int_equal(info.version_count, 2);
    assert_string_equal(info.version, "10");
    assert_string_equal(info.versions[0].version, "2");
    assert_int_equal(info.versions[0].state, BERTH_MODEL_UNLOADED);
    assert_int_equal(info.versions[1].describe->batch_rows_max, 6); /* before the manifest's */
    assert_int_equal(berth_json_len(berth_json_get(info.manifest, "labels")), 2);
    assert_int_equal(berth_registry_find(b.g, BERTH_SLICE("v"), BERTH_SLICE("2"), &m, &e),
                     -BERTH_ENOTREADY);
    assert_int_equal(berth_registry_find(b.g, BERTH_SLICE("v"), BERTH_SLICE("3"), &m, &e),
                     -BERTH_ENOENT);
    assert_string_equal(e.msg, "model 'v' has no version '3'");

    (void)bench_file(&b, "v/11/m.fake", "bad"); /* a later one that does not load */
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("v"), &e), 0);
    wait_failed(&b, "v");
    (void)bench_file(&b, "v/11/m.fake", "good");
    m = bench_find(&b, "v");
    assert_string_equal(berth_model_version(m), "10"); /* still */
    berth_model_unref(m);
    assert_int_equal(berth_registry_load(b.g, BERTH_SLICE("v"), &e), 0);
    fake_wait_unloads(1); /* version 10 */
    m = bench_find(&b, "v");
    assert_string_equal(berth_model_version(m), "11");
    berth_model_unref(m);

    assert_int_equal(
        bench_register(&b, "all", bench_file(&b, "v", NULL), "{\"versions\": [2, 11]}", &e), 0);
    fake_wait_loads(5);
    bench_wait_state(&b, "all", BERTH_MODEL_READY);
    for (uint64_t end = berth_now_ns() + PATIENCE_NS;; (void)usleep(1000)) {
        int r = berth_registry_find(b.g, BERTH_SLICE("all"), BERTH_SLICE("2"), &m, &e);
        if (r == 0)
            break;
        assert_true(berth_now_ns() < end);
    }
    assert_string_equal(berth_model_version(m), "2");
    berth_model_unref(m);
    berth_arena_fini(&a);
    bench_fini(&b);
}

static void
defaults_can_change_while_models_serve(void **unused)
{
    const struct berth_batch_conf other = {
        .batch_requests_max = 3, .wait_ns_max = 7 * BERTH_MS, .queue_len_max = 2};
    struct berth_model_info info;
    struct berth_arena a;
    struct berth_err e;
    struct bench b;

    (void)unused;
    berth_arena_init(&a, 8 << 20);
    bench_init(&b, &defaults, 4, NULL);
    const char *path = bench_file(&b, "m.fake", "good");
    assert_int_equal(bench_register(&b, "plain", path, NULL, &e), 0);
    assert_int_equal(bench_register(&b, "own", path, "{\"max_batch_size\": 5}", &e), 0);
    assert_int_equal(bench_register(&b, "off", path, "{\"batching\": \"off\"}", &e), 0);
    bench_wait_state(&b, "plain", BERTH_MODEL_READY);
    bench_wait_state(&b, "own", BERTH_MODEL_READY);
    bench_wait_state(&b, "off", BERTH_MODEL_READY);
    berth_registry_batch_set(b.g, &other);
    info = bench_info(&b, &a, "plain");
    assert_int_equal(info.batch.batch_requests_max, 3);
    assert_int_equal(info.batch.wait_ns_max, 7 * BERTH_MS);
    info = bench_info(&b, &a, "own");
    assert_int_equal(info.batch.batch_requests_max, 5);
    assert_int_equal(info.batch.queue_len_max, 2);
    info = bench_info(&b, &a, "off");
    assert_int_equal(info.batch.batch_requests_max, 1);
    assert_int_equal(info.batch.wait_ns_max, 0);
    struct berth_model *m = bench_find(&b, "plain");
    struct client c[4];
    fake_gate_run(false);
    for (int i = 0; i < 4; i++) {
        client_tensor(&c[i], b.loop, 1, 1);
        client_submit(&c[i], m);
        if (i == 0)
            fake_wait_runs(1);
    }
    assert_int_equal(c[3].submitted, -BERTH_EAGAIN); /* one runs, two wait */
    fake_gate_run(true);
    for (int i = 0; i < 4; i++) {
        if (i < 3)
            client_wait(&c[i]);
        client_fini(&c[i]);
    }
    berth_model_unref(m);
    berth_arena_fini(&a);
    bench_fini(&b);
}

struct churner {
    struct bench *b;
    const char *path, *name;
    unsigned seed;
};

/* Everything that can be done to a model, in an order that nobody planned. */
static void *
churn(void *arg)
{
    struct churner *k = arg;
    struct berth_slice name = berth_slice_of(k->name);

    for (int i = 0; i < 300; i++) {
        struct berth_model_spec spec = {.name = k->name, .path = k->path};
        struct berth_model *m = NULL;
        struct berth_err e;
        struct client c;
        char id[BERTH_UUID_TEXT];
        switch (rand_r(&k->seed) % 6) {
        case 0:
            (void)berth_registry_register(k->b->g, &spec, id, &e);
            break;
        case 1:
            (void)berth_registry_load(k->b->g, name, &e);
            break;
        case 2:
            (void)berth_registry_unload(k->b->g, name, &e);
            break;
        case 3:
            (void)berth_registry_unregister(k->b->g, name, &e);
            break;
        default:
            if (berth_registry_find(k->b->g, name, no_version, &m, &e) < 0)
                break;
            client_tensor(&c, k->b->loop, 1, 1);
            client_submit(&c, m);
            if (c.submitted == 0)
                client_wait(&c);
            client_fini(&c);
            berth_model_unref(m);
        }
    }
    return NULL;
}

static void
any_order_of_changes_is_survived(void **unused)
{
    static const char *const names[] = {"a", "a", "b"};
    struct churner k[3];
    pthread_t threads[3];
    struct bench b;

    (void)unused;
    for (unsigned round = 0; round < 4; round++) {
        bench_init(&b, &defaults, 4, NULL);
        const char *path = bench_file(&b, "m.fake", "good");
        for (unsigned i = 0; i < 3; i++) {
            k[i] = (struct churner){
                .b = &b, .path = path, .name = names[i], .seed = round * 10 + i + 1};
            assert_int_equal(pthread_create(&threads[i], NULL, churn, &k[i]), 0);
        }
        for (unsigned i = 0; i < 3; i++)
            (void)pthread_join(threads[i], NULL);
        bench_fini(&b);
        assert_int_equal(fake_seen().loads, fake_seen().unloads);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(limits_and_doubles_are_refused),
        cmocka_unit_test(loading_happens_beside),
        cmocka_unit_test(records_survive_a_restart),
        cmocka_unit_test(a_reload_fails_no_request),
        cmocka_unit_test(unloading_lets_what_runs_finish),
        cmocka_unit_test(the_end_cuts_what_runs),
        cmocka_unit_test(versions_are_folders),
        cmocka_unit_test(defaults_can_change_while_models_serve),
        cmocka_unit_test(any_order_of_changes_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
