#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "infer/gain.h"

/* A run of as many as it may be; single_us: what a request costs alone, batch_us(n): n together. */
static void
run(struct berth_gain *g, uint32_t waiting, uint64_t single_us, uint64_t more_us)
{
    const uint32_t max = berth_gain_requests_max(g, 8), n = waiting < max ? waiting : max;

    berth_gain_ran(g, n, (single_us + (n - 1) * more_us) * 1000);
}

static void
the_load_does_not_hide_the_answer(void **unused)
{
    static const struct {
        const char *why;
        uint32_t waiting;
        uint64_t single_us, more_us;
        enum berth_gain_choice want;
    } cases[] = {
        {"under load nobody runs alone by itself", 8, 1000, 10, BERTH_GAIN_BATCH},
        {"... also where that is better", 8, 1000, 1000, BERTH_GAIN_ALONE},
        {"a lone client tells nothing of batches", 1, 1000, 10, BERTH_GAIN_MEASURING},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_gain g;
        print_message("  %s\n", cases[i].why);
        berth_gain_init(&g);
        for (int k = 0; k < 60; k++)
            run(&g, cases[i].waiting, cases[i].single_us, cases[i].more_us);
        assert_int_equal(g.choice, cases[i].want);
        assert_int_equal(g.changes, 0);
    }
}

/* A choice near the border stays: noise of 5 % is no reason. */
static void
noise_changes_nothing(void **unused)
{
    struct berth_gain g;

    (void)unused;
    berth_gain_init(&g);
    for (int k = 0; k < 60; k++)
        run(&g, 8, 1000, 740); /* a share of 0.77 */
    assert_int_equal(g.choice, BERTH_GAIN_BATCH);
    for (int k = 0; k < 5000; k++)
        run(&g, 8, 1000, k % 2 == 0 ? 700 : 830);
    assert_int_equal(g.changes, 0);
}

/* Waiting for company that does not come is tried less and less. */
static void
company_that_does_not_come_is_asked_for_less(void **unused)
{
    struct berth_gain g;
    uint32_t waits = 0;

    (void)unused;
    berth_gain_init(&g);
    for (int k = 0; k < 4; k++)
        berth_gain_ran(&g, 1, BERTH_MS);
    assert_int_equal(berth_gain_wait_ns(&g, 50 * BERTH_MS), BERTH_MS);
    for (int k = 0; k < 10000; k++) {
        const bool waited = !berth_gain_enough(&g, 1);
        waits += waited;
        berth_gain_took(&g, 1, waited);
    }
    print_message("  %u waits\n", waits);
    assert_true(waits > 10000 / 300 && waits < 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_load_does_not_hide_the_answer),
        cmocka_unit_test(noise_changes_nothing),
        cmocka_unit_test(company_that_does_not_come_is_asked_for_less),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
