#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "wire/gzip.h"

/* gzip and zlib of "hello hello hello". */
static const unsigned char gz[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
                                   0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x90, 0x00,
                                   0x80, 0x88, 0xf9, 0xe5, 0x11, 0x00, 0x00, 0x00};
static const unsigned char zl[] = {0x78, 0x9c, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57,
                                   0xc8, 0x40, 0x90, 0x00, 0x3a, 0x2e, 0x06, 0x7d};

static void
both_kinds_are_read(void **unused)
{
    static const struct {
        const char *why;
        const unsigned char *at;
        size_t len, max;
        int want;
    } cases[] = {
        {"gzip", gz, sizeof gz, 17, 0},
        {"zlib", zl, sizeof zl, 100, 0},
        {"more than may be", gz, sizeof gz, 16, -BERTH_ETOOBIG},
        {"cut short", gz, sizeof gz - 1, 100, -BERTH_EINVAL},
        {"cut within the header", gz, 5, 100, -BERTH_EINVAL},
        {"nothing", gz, 0, 100, -BERTH_EINVAL},
        {"no gzip at all", (const unsigned char *)"{\"inputs\":[]}", 13, 100, -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_arena a;
        struct berth_err e;
        const void *at;
        size_t len;

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        const int r = berth_gzip_read(&a, cases[i].at, cases[i].len, cases[i].max, &at, &len, &e);
        assert_int_equal(r, cases[i].want);
        if (r == 0) {
            assert_int_equal(len, 17);
            assert_memory_equal(at, "hello hello hello", 17);
        }
        berth_arena_fini(&a);
    }
}

/* Whatever the parts, also empty ones: what is written is read again. */
static void
what_is_written_is_read_again(void **unused)
{
    static char large[100000];
    const struct berth_slice parts[] = {{"", 0}, {"hello", 5}, {large, sizeof large}, {"", 0}};

    (void)unused;
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * i >> 7);
    for (size_t count = 1; count <= 4; count++) {
        for (int zlib = 0; zlib < 2; zlib++) {
            struct berth_arena a;
            struct berth_err e;
            const void *back;
            char *at;
            size_t len, n;
            const size_t want = count < 2 ? 0 : count < 3 ? 5 : 5 + sizeof large;

            berth_arena_init(&a, 1 << 20);
            assert_int_equal(berth_gzip_write(&a, parts, count, zlib, 5, &at, &len, &e), 0);
            assert_int_equal((unsigned char)at[5], zlib ? 0x78 : 0x1f);
            assert_int_equal(berth_gzip_read(&a, at + 5, len - 5, 1 << 20, &back, &n, &e), 0);
            assert_int_equal(n, want);
            if (n > 5)
                assert_memory_equal((const char *)back + 5, large, sizeof large);
            berth_arena_fini(&a);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_are_read),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
