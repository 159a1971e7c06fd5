#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "infer/room.h"
#include "infer/test_fake.h"

/* What a load is expected to take before it was ever measured. */

static const uint64_t MIB = 1 << 20;
static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};

static void
a_backend_is_asked_before_its_files(void **unused)
{
    static const struct {
        const char *why, *config;
        uint64_t said_mib, want_mib; /* want 0: by its files */
        enum berth_forecast_by by;
    } cases[] = {
        {"it says nothing", "{\"load\":\"demand\"}", 0, 0, BERTH_BY_FILES},
        {"it says something", "{\"load\":\"demand\"}", 560, 560, BERTH_BY_BACKEND},
        {"of each instance", "{\"load\":\"demand\",\"instances\":3}", 560, 1680, BERTH_BY_BACKEND},
        {"the configuration knows better", "{\"load\":\"demand\",\"memory_mb\":70}", 560, 70,
         BERTH_BY_FILES},
        {"an isolated one's file is not opened here",
         "{\"load\":\"demand\",\"isolation\":\"process\"}", 560, 0, BERTH_BY_FILES},
        {"what cannot be", "{\"load\":\"demand\",\"instances\":2}", UINT64_MAX >> 20, 0,
         BERTH_BY_FILES},
    };
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 64, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_load_plan p;
        struct berth_arena a;
        struct berth_err e = {""};
        char name[16], file[32];

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        fake_forecast(cases[i].said_mib == UINT64_MAX >> 20 ? UINT64_MAX : cases[i].said_mib * MIB);
        (void)snprintf(name, sizeof name, "m%zu", i);
        (void)snprintf(file, sizeof file, "%s.fake", name);
        if (bench_register(&b, name, bench_file(&b, file, "good"), cases[i].config, &e) < 0 ||
            berth_registry_plan(b.g, &a, berth_slice_of(name), NULL, NULL, NULL, &p, &e) < 0)
            fail_msg("%s", e.msg);
        assert_int_equal(p.by, cases[i].by);
        if (cases[i].want_mib > 0)
            assert_int_equal(p.bytes, cases[i].want_mib * MIB);
        else
            assert_true(p.bytes < 100 * MIB);
        berth_arena_fini(&a);
    }
    fake_forecast(0);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backend_is_asked_before_its_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
