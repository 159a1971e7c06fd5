#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "llama_host.h"

/* What a model will take, told from its file's head, against what the engine says once it is
 * loaded and what the process has grown by. */

/* ThreadSanitizer's shadow memory is resident, too: several bytes for each that was touched. */
#ifdef __SANITIZE_THREAD__
#define RESIDENT_IS_OURS 0
#else
#define RESIDENT_IS_OURS 1
#endif

static const char model_name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

static uint64_t
now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t
resident(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1); /* NOLINT(cert-err34-c) */
    (void)fclose(f);
    return pages * 4096;
}

static void
assert_near(uint64_t said, uint64_t real)
{
    const uint64_t apart = said > real ? said - real : real - said;

    if (apart > real / 4)
        fail_msg("%llu bytes were told, and %llu it is", (unsigned long long)said,
                 (unsigned long long)real);
}

static void
it_tells_what_a_load_takes(void **unused)
{
    static const char *const settings[] = {
        "{}",
        "{\"context_length\": 512, \"parallel\": 1}",
        "{\"context_length\": 2048, \"parallel\": 16}",
        "{\"context_length\": 2048, \"parallel\": 4, \"cache_type_k\": \"q8_0\", \"mmap\": false}",
        "{\"embedding\": true, \"pooling\": \"mean\"}",
    };
    const struct berth_backend_ops *const ops = host_plugin();

    (void)unused;
    assert_non_null(host_model(model_name)); /* tools/setup models brings it */
    assert_true(BERTH_HAS(ops, forecast));
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const struct berth_load how = {.struct_size = sizeof how,
                                       .path = host_model(model_name),
                                       .settings_json = settings[i],
                                       .threads = 1};
        struct berth_instance *m;
        struct berth_err e = {""};

        const uint64_t begin = now_ms(), before = resident();
        const uint64_t said = ops->forecast(&host_calls, &how);
        const uint64_t took = now_ms() - begin, after = resident();
        const uint64_t kept = after > before ? after - before : 0; /* the system may take pages */
        const uint64_t load_begin = now_ms();
        if (ops->load(&host_calls, &how, &m, &e) < 0)
            fail_msg("%s", e.msg);
        const uint64_t load = now_ms() - load_begin;
        print_message(
            "  %s: %llu MiB told in %llu ms, %llu MiB says the engine, loaded in %llu ms\n",
            settings[i], (unsigned long long)said >> 20, (unsigned long long)took,
            (unsigned long long)ops->memory(m) >> 20, (unsigned long long)load);
        assert_near(said, ops->memory(m));
        if (i > 0 && RESIDENT_IS_OURS) /* the first opens the engine itself */
            assert_true(kept < said / 2);
        ops->unload(m);
    }
}

/* What cannot be loaded is told when it is loaded; here it is nothing. */
static void
it_tells_nothing_of_what_is_no_model(void **unused)
{
    const struct berth_backend_ops *const ops = host_plugin();
    const struct berth_load cases[] = {
        {.path = "/nowhere/model.gguf", .settings_json = "{}", .threads = 1},
        {.path = "/dev/null", .settings_json = "{}", .threads = 1},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(ops->forecast(&host_calls, &cases[i]), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_tells_what_a_load_takes),
        cmocka_unit_test(it_tells_nothing_of_what_is_no_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
