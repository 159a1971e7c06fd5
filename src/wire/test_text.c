#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/base64.h"
#include "wire/uri.h"

static struct berth_arena arena;

static void
base64_reads(void **unused)
{
    static const struct {
        const char *why, *text, *want; /* want NULL: refused */
    } cases[] = {
        {"nothing", "", ""},
        {"one byte", "Zg==", "f"},
        {"two bytes", "Zm8=", "fo"},
        {"three bytes", "Zm9v", "foo"},
        {"without padding", "Zm9vYg", "foob"},
        {"line ends within and behind", "Zm9v\r\nYm\r\nFy\n", "foobar"},
        {"a line end before the padding", "Zm8\n=\n", "fo"},
        {"one letter left over", "Zm9vY", NULL},
        {"half of the padding", "Zg=", NULL},
        {"padding alone", "====", NULL},
        {"more after the padding", "Zg==Zg==", NULL},
        {"a blank", "Zm 9v", NULL},
        {"URL alphabet", "__--", NULL},
        {"no ASCII", "Zm9\xc3", NULL},
        {"padding in the middle", "Z=9v", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        void *bytes = NULL;
        size_t len = 0;
        const bool ok =
            berth_base64_decode(&arena, cases[i].text, strlen(cases[i].text), &bytes, &len);

        print_message("  %s\n", cases[i].why);
        assert_int_equal(ok, cases[i].want != NULL);
        if (ok) {
            assert_int_equal(len, strlen(cases[i].want));
            assert_memory_equal(bytes, cases[i].want, len);
        }
    }
}

static void
base64_goes_round(void **unused)
{
    unsigned char bytes[300];

    (void)unused;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct berth_buf b;
        void *back = NULL;
        size_t len = 0;

        berth_buf_init(&b, &arena);
        berth_base64_put(&b, bytes, n);
        assert_int_equal(b.len, (n + 2) / 3 * 4);
        assert_true(berth_base64_decode(&arena, b.at, b.len, &back, &len));
        assert_int_equal(len, n);
        assert_memory_equal(back, bytes, n);
    }
}

static void
uri_decodes(void **unused)
{
    static const struct {
        const char *text, *want; /* want NULL: refused */
        bool plus;
    } cases[] = {
        {"", "", false},
        {"plain", "plain", false},
        {"a%20b+c", "a b+c", false},
        {"a%20b+c", "a b c", true},
        {"%e2%82%AC", "\xe2\x82\xac", false},
        {"%", NULL, false},
        {"%2", NULL, false},
        {"%zz", NULL, false},
        {"a%00b", NULL, false},
        {"%2F%3a", "/:", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_slice got = {"", 0};
        const bool ok =
            berth_uri_decode(&arena, berth_slice_of(cases[i].text), cases[i].plus, &got);

        assert_int_equal(ok, cases[i].want != NULL);
        if (ok)
            assert_string_equal(got.at, cases[i].want);
    }
}

static void
uri_queries_are_searched(void **unused)
{
    static const struct {
        const char *query, *key, *want;
    } cases[] = {
        {"a=1&b=two+words&c", "b", "two words"},
        {"a=1&b=2&c", "c", ""},
        {"a=1", "b", NULL},
        {"ab=1&a=2", "a", "2"},
        {"%61=x", "a", "x"},
        {"", "a", NULL},
        {"a=%zz", "a", NULL},
        {"&&a=1=2&", "a", "1=2"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_slice got = {"", 0};
        const bool ok = berth_uri_query(&arena, berth_slice_of(cases[i].query), cases[i].key, &got);

        assert_int_equal(ok, cases[i].want != NULL);
        if (ok)
            assert_string_equal(got.at, cases[i].want);
    }
}

static void
uri_escapes(void **unused)
{
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_uri_put(&b, "a-Z_0.~ /\xc3\xa9%", 12);
    assert_string_equal(berth_buf_text(&b), "a-Z_0.~%20%2F%C3%A9%25");
}

static int
setup(void **unused)
{
    (void)unused;
    berth_arena_init(&arena, 1 << 20);
    return 0;
}

static int
teardown(void **unused)
{
    (void)unused;
    berth_arena_fini(&arena);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_reads), cmocka_unit_test(base64_goes_round),
        cmocka_unit_test(uri_decodes),  cmocka_unit_test(uri_queries_are_searched),
        cmocka_unit_test(uri_escapes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
