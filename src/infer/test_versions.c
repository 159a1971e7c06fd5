#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"
#include "infer/versions.h"
#include "wire/json.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

static void
shares_are_kept_in_any_row_of_requests(void **unused)
{
    static const struct {
        uint32_t weights[3];
        size_t n;
    } cases[] = {{{90, 10}, 2}, {{1, 1}, 2}, {{1}, 1}, {{1, 0, 99}, 3}, {{1000000, 1000000, 1}, 3}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint64_t from = 0; from < 100000; from += 33333) {
            unsigned got[3] = {0};
            uint64_t sum = 0;
            for (size_t k = 0; k < cases[i].n; k++)
                sum += cases[i].weights[k];
            for (uint64_t t = from; t < from + 1000; t++)
                got[berth_versions_pick(cases[i].weights, cases[i].n, t)]++;
            for (size_t k = 0; k < cases[i].n; k++) {
                const double want = 1000.0 * cases[i].weights[k] / (double)sum;
                assert_true(got[k] >= want - 6 && got[k] <= want + 6);
                assert_true(cases[i].weights[k] > 0 || got[k] == 0);
            }
        }
    }
}

/* A model "m" with versions 1, 2 and 3 and this config. */
static void
three(struct bench *b, const char *config)
{
    struct berth_err e = {""};

    (void)bench_file(b, "m/1/m.fake", "good");
    (void)bench_file(b, "m/2/m.fake", "good");
    (void)bench_file(b, "m/3/m.fake", "good");
    if (bench_register(b, "m", bench_file(b, "m", NULL), config, &e) < 0)
        fail_msg("%s", e.msg);
    bench_wait_state(b, "m", BERTH_MODEL_READY);
}

/* The version that serves this text; "" when none does. */
static const char *
serves(struct bench *b, const char *text, char ret[32])
{
    struct berth_model *m = NULL;
    struct berth_err e;

    ret[0] = '\0';
    if (berth_registry_find(b->g, BERTH_SLICE("m"), berth_slice_of(text), &m, &e) == 0) {
        (void)snprintf(ret, 32, "%s", berth_model_version(m));
        berth_model_unref(m);
    }
    return ret;
}

static void
wait_serves(struct bench *b, const char *text, const char *version)
{
    char got[32];

    for (uint64_t end = berth_now_ns() + PATIENCE_NS; strcmp(serves(b, text, got), version) != 0;
         (void)usleep(1000)) {
        if (berth_now_ns() > end)
            fail_msg("%s is served by '%s', waited for '%s'", text, got, version);
    }
}

static int
configure(struct bench *b, const char *patch, bool *reload, struct berth_err *e)
{
    const struct berth_json *v;
    struct berth_arena a;

    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_json_parse(&a, patch, strlen(patch), NULL, &v, e), 0);
    const int r = berth_registry_configure(b->g, BERTH_SLICE("m"), v, reload, e);
    berth_arena_fini(&a);
    return r;
}

static void
policies_say_what_is_loaded(void **unused)
{
    static const struct {
        const char *config, *served; /* a digit for each */
    } cases[] = {
        {"{\"versions\": \"latest\"}", "3"},
        {"{\"versions\": {\"latest\": 2}}", "23"},
        {"{\"versions\": {\"latest\": 9}}", "123"},
        {"{\"versions\": {\"all\": true}}", "123"},
        {"{\"versions\": {\"specific\": [1, 3]}}", "13"},
        {"{\"versions\": {\"labels\": {\"stable\": 1}}}", "13"}, /* named ones too */
        {"{\"versions\": {\"split\": {\"1\": 1, \"2\": 1, \"3\": 0}}}", "123"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b;
        char got[32], text[2] = "";
        print_message("  %s\n", cases[i].config);
        bench_init(&b, &defaults, 4, NULL);
        three(&b, cases[i].config);
        for (text[0] = '1'; text[0] <= '3'; text[0]++) {
            if (strchr(cases[i].served, text[0]) != NULL)
                wait_serves(&b, text, text);
            else
                assert_string_equal(serves(&b, text, got), "");
        }
        bench_fini(&b);
    }
}

static void
labels_and_shares_change_while_it_serves(void **unused)
{
    struct berth_err e = {""};
    unsigned got[4] = {0};
    char version[32];
    bool reload;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 4, NULL);
    three(&b, "{\"versions\": {\"all\": true, \"labels\": {\"stable\": 1, \"canary\": 2},"
              "\"split\": {\"stable\": 90, \"canary\": 10}}}");
    wait_serves(&b, "stable", "1");
    wait_serves(&b, "canary", "2");
    wait_serves(&b, "3", "3");
    assert_string_equal(serves(&b, "nightly", version), "");
    for (int i = 0; i < 1000; i++)
        got[serves(&b, "", version)[0] - '0']++;
    assert_true(got[1] > 880 && got[1] < 920 && got[1] + got[2] == 1000);

    const unsigned loads = fake_seen().loads;
    /* Both labels would be version 2, and its share there twice. */
    assert_int_equal(configure(&b, "{\"versions\": {\"labels\": {\"stable\": 2}}}", &reload, &e),
                     -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "version 2 is there twice"));
    assert_int_equal(
        configure(&b, "{\"versions\": {\"labels\": {\"stable\": 2, \"canary\": 3}}}", &reload, &e),
        0);
    assert_false(reload);
    assert_string_equal(serves(&b, "stable", version), "2");
    assert_string_equal(serves(&b, "canary", version), "3");
    for (int i = 0; i < 100; i++)
        assert_string_not_equal(serves(&b, "", version), "1");
    assert_int_equal(fake_seen().loads, loads);

    /* Another policy loads and unloads. */
    assert_int_equal(configure(&b, "{\"versions\": {\"all\": null, \"latest\": 1}}", &reload, &e),
                     0);
    assert_true(reload);
    wait_serves(&b, "1", "");
    wait_serves(&b, "2", "2");
    bench_fini(&b);
}

static void
a_change_is_kept_and_a_wrong_one_is_not(void **unused)
{
    struct berth_model_info info;
    struct berth_err e = {""};
    struct berth_arena a;
    char path[128];
    bool reload;
    struct bench b;

    (void)unused;
    berth_arena_init(&a, 4 << 20);
    bench_init(&b, &defaults, 4, NULL);
    bench_close(&b);
    (void)snprintf(path, sizeof path, "%s/state.db", b.dir);
    bench_open(&b, &defaults, 4, path);
    three(&b, "{\"versions\": {\"latest\": 1}, \"max_batch_size\": 4, \"scale\": 0.5}");
    assert_int_equal(configure(&b, "{\"max_batch_size\": 2}", &reload, &e), 0);
    assert_false(reload);
    assert_int_equal(berth_registry_info(b.g, &a, BERTH_SLICE("m"), &info, &e), 0);
    assert_int_equal(info.batch.batch_requests_max, 2);
    assert_int_equal(configure(&b, "{\"scale\": null}", &reload, &e), 0);
    assert_true(reload); /* the backend's own */
    assert_int_equal(configure(&b, "{\"max_batch_size\": 0}", &reload, &e), -BERTH_EINVAL);
    assert_int_equal(configure(&b, "{\"max_bacth_size\": 3}", &reload, &e), -BERTH_EINVAL);
    assert_int_equal(berth_registry_configure(b.g, BERTH_SLICE("x"), info.config, &reload, &e),
                     -BERTH_ENOENT);
    bench_close(&b);
    bench_open(&b, &defaults, 4, path);
    assert_int_equal(berth_registry_restore(b.g, &e), 0);
    bench_wait_state(&b, "m", BERTH_MODEL_READY);
    assert_int_equal(berth_registry_info(b.g, &a, BERTH_SLICE("m"), &info, &e), 0);
    assert_int_equal(info.batch.batch_requests_max, 2);
    assert_null(berth_json_get(info.config, "scale"));
    bench_fini(&b);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_kept_in_any_row_of_requests),
        cmocka_unit_test(policies_say_what_is_loaded),
        cmocka_unit_test(labels_and_shares_change_while_it_serves),
        cmocka_unit_test(a_change_is_kept_and_a_wrong_one_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
