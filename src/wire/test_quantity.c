#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "wire/quantity.h"

static void
it_prints_as_kubernetes_does(void **unused)
{
    static const struct {
        const char *text, *want; /* want NULL: no quantity */
    } cases[] = {
        {"1", "1"},
        {"0", "0"},
        {"-0", "0"},
        {"0Gi", "0"},
        {"1000m", "1"},
        {"0.5", "500m"},
        {"1.50", "1500m"},
        {"1.5Gi", "1536Mi"},
        {"0.5Gi", "512Mi"},
        {"1024Ki", "1Mi"},
        {"1.3Gi", "1395864371200m"},
        {"512", "512"},
        {"0.25Ki", "256"},
        {"1000Ki", "1000Ki"},
        {"16Gi", "16Gi"},
        {"2000", "2k"},
        {"1500", "1500"},
        {"2e3", "2e3"},
        {"20e2", "2e3"},
        {"1E", "1E"},
        {"1e0", "1"},
        {"1e-3", "1e-3"},
        {"5E-1", "500e-3"},
        {"+1M", "1M"},
        {"-1.5k", "-1500"},
        {"100n", "100n"},
        {"1.5n", "2n"},
        {"0.1n", "1n"},
        {"0.0000000001", "1n"},
        {".5", "500m"},
        {"5.", "5"},
        {"0.123456789", "123456789n"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775807.5", NULL},
        {"9223372036854775808", NULL},
        {"4000000000000000000.000000001", "4000000000000000000000000001n"},
        {"8Ei", NULL},
        {"7Ei", "7Ei"},
        {"00000000000000000000000000000000000000000000001", "1"},
        {"1.00000000000000000000000000000000000000000000", "1"},
        {"100000000000000000000000000000000000000000000", NULL},
        {"", NULL},
        {"-", NULL},
        {".", NULL},
        {"Gi", NULL},
        {"1.2.3", NULL},
        {"1 Gi", NULL},
        {"16Gb", NULL},
        {"1ki", NULL},
        {"1K", NULL},
        {"1e", NULL},
        {"1e+", NULL},
        {"1e+-3", NULL},
        {"1e99", NULL},
        {"--1", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_quantity q;
        char text[BERTH_QUANTITY_TEXT_MAX] = "";
        const bool ok = berth_quantity_parse(cases[i].text, strlen(cases[i].text), &q);

        print_message("  %s\n", cases[i].text);
        if (ok)
            berth_quantity_text(&q, text);
        if (cases[i].want == NULL)
            assert_false(ok);
        else
            assert_string_equal(text, cases[i].want);
    }
}

static void
it_knows_those_that_are_too_large(void **unused)
{
    static const struct {
        const char *text;
        bool is;
    } cases[] = {
        {"1e99", true},   {"1E+99", true},  {"9Ei", true}, {"-12345678901234567890123", true},
        {"1", true},      {"0.5Gi", true},  {"1e", false}, {"1e+", false},
        {"1e+-3", false}, {"1.2.3", false}, {"", false},   {"99999999999999999999Gb", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_quantity_is_form(cases[i].text, strlen(cases[i].text)), cases[i].is);
    }
}

static void
it_counts_units(void **unused)
{
    static const struct {
        const char *text;
        unsigned thousandths;
        uint64_t want; /* UINT64_MAX: it cannot */
    } cases[] = {
        {"1.5", 1, 1500}, {"1.5", 0, 2},         {"100u", 1, 1},
        {"4Ki", 0, 4096}, {"-1", 0, UINT64_MAX}, {"9223372036854775807", 1, UINT64_MAX},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_quantity q;
        uint64_t n = UINT64_MAX;

        print_message("  %s\n", cases[i].text);
        assert_true(berth_quantity_parse(cases[i].text, strlen(cases[i].text), &q));
        assert_int_equal(berth_quantity_units(&q, cases[i].thousandths, &n),
                         cases[i].want != UINT64_MAX);
        assert_int_equal(n, cases[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_prints_as_kubernetes_does),
        cmocka_unit_test(it_knows_those_that_are_too_large),
        cmocka_unit_test(it_counts_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
