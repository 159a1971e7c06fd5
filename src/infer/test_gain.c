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

/* Another program takes the core for a while in the midst of some runs, and the first run is slow.
 */
static void
pauses_are_not_the_model_s(void **unused)
{
    enum { PAUSE_US = 4000 };
    static const struct {
        const char *why;
        uint64_t single_us, more_us;
        enum berth_gain_choice want;
    } cases[] = {
        {"a batch that costs more stays none", 30, 60, BERTH_GAIN_ALONE},
        {"a batch that costs less stays one", 30, 5, BERTH_GAIN_BATCH},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_gain g;
        print_message("  %s\n", cases[i].why);
        berth_gain_init(&g);
        berth_gain_ran(&g, 1, PAUSE_US * 1000);
        for (int k = 0; k < 5000; k++) {
            const uint32_t n = berth_gain_requests_max(&g, 8);
            const uint64_t pause_us = k % 10 == 3 ? PAUSE_US : 0;
            berth_gain_ran(&g, n,
                           (cases[i].single_us + (n - 1) * cases[i].more_us + pause_us) * 1000);
            if (k > 200)
                assert_int_equal(g.choice, cases[i].want);
        }
        assert_int_equal(g.changes, 0);
    }
}

/* What is no gain is tried less and less, and as soon as before when that has changed. */
static void
a_loss_is_tried_less(void **unused)
{
    struct berth_gain g;
    uint32_t batches = 0;

    (void)unused;
    berth_gain_init(&g);
    for (int k = 0; k < 5000; k++) {
        batches += g.choice == BERTH_GAIN_ALONE && berth_gain_requests_max(&g, 8) > 1;
        run(&g, 8, 100, 150);
    }
    print_message("  %u batches\n", batches);
    assert_true(batches > 5000 / 300 && batches < 5000 / 200);
    for (int k = 0; k < 5000 && g.choice != BERTH_GAIN_BATCH; k++)
        run(&g, 8, 100, 5);
    assert_int_equal(g.choice, BERTH_GAIN_BATCH);
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
        cmocka_unit_test(pauses_are_not_the_model_s),
        cmocka_unit_test(a_loss_is_tried_less),
        cmocka_unit_test(company_that_does_not_come_is_asked_for_less),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
