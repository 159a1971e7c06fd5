#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void
value(const uint8_t *bytes, size_t n, size_t piece, char text[2 * BERTH_SIPHASH_BYTES + 1])
{
    uint8_t key[BERTH_SIPHASH_KEY], got[BERTH_SIPHASH_BYTES];
    struct berth_siphash s;

    for (uint8_t i = 0; i < sizeof key; i++)
        key[i] = i;
    berth_siphash_init(&s, key);
    for (size_t at = 0; at < n; at += piece)
        berth_siphash_put(&s, bytes + at, n - at < piece ? n - at : piece);
    berth_siphash_end(&s, got);
    for (size_t i = 0; i < sizeof got; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", got[i]);
}

/* As `openssl mac -macopt hexkey:000102..0f -macopt size:16 SIPHASH` says of the bytes 0, 1, ... */
static void
values_are_those_of_others(void **unused)
{
    static const struct {
        size_t len;
        const char *want;
    } cases[] = {
        {0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
        {7, "a1f1ebbed8dbc153c0b84aa61ff08239"},  {8, "3b62a9ba6258f5610f83e264f31497b4"},
        {9, "264499060ad9baabc47f8b02bb6d71ed"},  {15, "5493e99933b0a8117e08ec0f97cfc3d9"},
        {16, "6ee2a4ca67b054bbfd3315bf85230577"}, {63, "5150d1772f50834a503e069a973fbd7c"},
    };
    uint8_t bytes[64];
    char text[2 * BERTH_SIPHASH_BYTES + 1];

    (void)unused;
    for (uint8_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece < 20; piece++) { /* however it is cut into pieces */
            value(bytes, cases[i].len, piece, text);
            assert_string_equal(text, cases[i].want);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
