#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

static struct berth_arena arena;

static const struct berth_json *
parsed(const char *text)
{
    const struct berth_json *v = NULL;
    struct berth_err e = {""};

    if (berth_json_parse(&arena, text, strlen(text), NULL, &v, &e) != 0)
        fail_msg("%s: %s", text, e.msg);
    return v;
}

static void
parse_says_where_it_failed(void **unused)
{
    static const struct {
        const char *why, *text, *want;
    } cases[] = {
        {"empty", "", "line 1, column 1"},
        {"a stray comma", "{\"a\":1,\n \"b\":,}", "line 2, column 6"},
        {"no end", "[1,2", "line 1, column 5"},
        {"something after it", "{} x", "line 1, column 4"},
        {"a lone surrogate", "\"\\ud800\"", "line 1"},
        {"bad UTF-8", "\"\xff\"", "line 1"},
        {"NaN is not JSON", "NaN", "line 1"},
        {"a comment is not JSON", "/**/1", "line 1"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v = NULL;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        assert_int_equal(
            berth_json_parse(&arena, cases[i].text, strlen(cases[i].text), NULL, &v, &e),
            -BERTH_EINVAL);
        assert_null(v);
        if (strncmp(e.msg, cases[i].want, strlen(cases[i].want)) != 0)
            fail_msg("got %s", e.msg);
    }
}

static void
depth_is_limited(void **unused)
{
    static const struct {
        size_t depth;
        const char *middle;
        bool ok;
    } cases[] = {
        {BERTH_JSON_DEPTH_MAX, "", true},
        {BERTH_JSON_DEPTH_MAX + 1, "", false},
        {BERTH_JSON_DEPTH_MAX, "1,2,3", true},
        {BERTH_JSON_DEPTH_MAX, "1,{}", false},
        {BERTH_JSON_DEPTH_MAX - 1, "{}", true},
        {BERTH_JSON_DEPTH_MAX, "1,{\"a\":[1]}", false},
        {100000, "", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const size_t n = cases[i].depth, m = strlen(cases[i].middle);
        const struct berth_json *v = NULL;
        char *text = malloc(2 * n + m);

        memset(text, '[', n);
        memcpy(text + n, cases[i].middle, m);
        memset(text + n + m, ']', n);
        assert_int_equal(berth_json_parse(&arena, text, 2 * n + m, NULL, &v, NULL),
                         cases[i].ok ? 0 : -BERTH_EINVAL);
        free(text);
        berth_arena_reset(&arena);
    }
}

static void
memory_is_the_arenas(void **unused)
{
    struct berth_arena small;
    const struct berth_json *v = NULL;
    struct berth_err e = {""};
    char text[4096];

    (void)unused;
    memset(text, ' ', sizeof text);
    text[0] = '1';
    berth_arena_init(&small, 2048);
    assert_int_equal(berth_json_parse(&small, text, sizeof text, NULL, &v, &e), -BERTH_ENOMEM);
    berth_arena_fini(&small);
}

static void
numbers_have_types(void **unused)
{
    static const struct {
        const char *text;
        enum berth_json_type type;
        bool is_int, is_uint;
        double real;
    } cases[] = {
        {"0", BERTH_JSON_INT, true, true, 0},
        {"-7", BERTH_JSON_INT, true, false, -7},
        {"9223372036854775807", BERTH_JSON_INT, true, true, 9223372036854775807.0},
        {"9223372036854775808", BERTH_JSON_INT, false, true, 9223372036854775808.0},
        {"18446744073709551615", BERTH_JSON_INT, false, true, 18446744073709551615.0},
        {"18446744073709551616", BERTH_JSON_REAL, false, false, 18446744073709551616.0},
        {"1.0", BERTH_JSON_REAL, false, false, 1},
        {"1e3", BERTH_JSON_REAL, false, false, 1000},
        {"\"1\"", BERTH_JSON_STRING, false, false, NAN},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v = parsed(cases[i].text);
        int64_t n;
        uint64_t u;
        double d = NAN;

        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_json_type(v), cases[i].type);
        assert_int_equal(berth_json_int(v, &n), cases[i].is_int);
        assert_int_equal(berth_json_uint(v, &u), cases[i].is_uint);
        assert_int_equal(berth_json_real(v, &d), !isnan(cases[i].real));
        assert_true(isnan(cases[i].real) || d == cases[i].real);
    }
}

static void
members_are_found(void **unused)
{
    const struct berth_json *v = parsed("{\"a\":1,\"b\":[true,null,{}],\"a\":2,\"c\\u0000d\":3}");
    struct berth_slice text;
    int64_t n = 0;
    bool t = false;
    size_t seen = 0;

    (void)unused;
    assert_true(berth_json_int(berth_json_get(v, "a"), &n) && n == 2);
    assert_null(berth_json_get(v, "c"));
    assert_null(berth_json_get(berth_json_get(v, "a"), "x"));
    assert_int_equal(berth_json_len(berth_json_get(v, "b")), 3);
    assert_int_equal(berth_json_len(NULL), 0);
    assert_int_equal(berth_json_type(NULL), BERTH_JSON_NULL);
    assert_false(berth_json_string(NULL, &text));
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "b")); berth_json_next(&it);
         seen++) {
        assert_int_equal(it.index, seen);
        assert_int_equal(it.key.len, 0);
        if (seen == 0)
            assert_true(berth_json_bool(it.value, &t) && t);
    }
    assert_int_equal(seen, 3);
    struct berth_json_iter none = berth_json_iter(berth_json_get(v, "a"));
    assert_false(berth_json_next(&none));
}

static void
floats_come_in_bulk(void **unused)
{
    static const struct {
        const char *text;
        size_t cap, want;
        float last;
    } cases[] = {
        {"[1,-2,0.5]", 3, 3, 0.5f},
        {"[1,2,3]", 2, 2, 2},
        {"[1,\"x\",3]", 3, 1, 1},
        {"[1,[2],3]", 3, 1, 1},
        {"[]", 3, 0, 0},
        {"7", 3, 0, 0},
        {"[3,1e39]", 3, 1, 3},
        {"[18446744073709551615]", 1, 1, 18446744073709551615.0f},
        {"[null]", 1, 0, 0},
        {"{\"a\":1}", 1, 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        float got[3] = {0};
        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_json_floats(parsed(cases[i].text), got, cases[i].cap),
                         cases[i].want);
        if (cases[i].want > 0)
            assert_true(got[cases[i].want - 1] == cases[i].last);
    }
    assert_int_equal(berth_json_floats(NULL, NULL, 0), 0);
}

static void
nan_is_taken_when_allowed(void **unused)
{
    const struct berth_json_parse how = {.allow_nan = true};
    const struct berth_json *v = NULL;
    double d = 0;

    (void)unused;
    assert_int_equal(berth_json_parse(&arena, "[NaN,-Infinity]", 15, &how, &v, NULL), 0);
    struct berth_json_iter it = berth_json_iter(v);
    assert_true(berth_json_next(&it) && berth_json_real(it.value, &d) && isnan(d));
    assert_true(berth_json_next(&it) && berth_json_real(it.value, &d) && d == -INFINITY);
}

static void
text_goes_round(void **unused)
{
    static const char *const cases[] = {
        "null",
        "true",
        "-1",
        "18446744073709551615",
        "0.1",
        "[]",
        "{}",
        "[[],{}]",
        "{\"a\":[1,2.5,\"x\\n\\\"\\\\\\u0001\xc3\xa9\"],\"b\":{\"c\":null,\"d\":[{}]}}",
        "[[[[[[[[1]]]]]],[[2]]],3]",
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_buf b;

        berth_buf_init(&b, &arena);
        berth_json_put(&b, parsed(cases[i]));
        assert_string_equal(berth_buf_text(&b), cases[i]);
    }
}

static void
bad_utf8_is_replaced(void **unused)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"plain text of some length", "\"plain text of some length\""},
        {"12345678\x01"
         "12345678",
         "\"12345678\\u0001"
         "12345678\""},
        {"a\xff"
         "b",
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc3", "\"\xef\xbf\xbd\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xe2\x82\xac and more to come", "\"\xe2\x82\xac and more to come\""},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_buf b;
        struct berth_jw w;

        berth_buf_init(&b, &arena);
        berth_jw_init(&w, &b);
        berth_jw_string(&w, cases[i].text);
        assert_string_equal(berth_buf_text(&b), cases[i].want);
    }
}

static const char *
float_text(float v)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &arena);
    berth_jw_init(&w, &b);
    berth_jw_float(&w, v);
    return berth_buf_text(&b);
}

static void
floats_are_short(void **unused)
{
    static const struct {
        float v;
        const char *want;
    } cases[] = {
        {0.0f, "0.0"},
        {-0.0f, "-0.0"},
        {0.1f, "0.1"},
        {-12.5f, "-12.5"},
        {1.0f / 3, "0.33333334"},
        {16777216.0f, "16777216.0"},
        {1e-4f, "0.0001"},
        {1.5e-9f, "1.5e-9"},
        {3.4028235e38f, "3.40282e+38"},
        {255.0f, "255.0"},
        {0.3f, "0.3"},
        {9.999999e-5f, "0.00009999999"},
        {INFINITY, "null"},
        {1e10f, "10000000000.0"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *got = float_text(cases[i].v);
        if (i == 8) /* the largest: only that it reads back */
            assert_true(strtof(got, NULL) == cases[i].v);
        else
            assert_string_equal(got, cases[i].want);
    }
}

static void
floats_read_back_the_same(void **unused)
{
    uint32_t bits = 12345;

    (void)unused;
    for (size_t i = 0; i < 300000; i++) {
        float v;
        char want[32];

        bits = bits * 1664525u + 1013904223u;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        const char *got = float_text(v);
        if (strtof(got, NULL) != v)
            fail_msg("%a written as %s", (double)v, got);
        for (int d = 1; d <= 9; d++) { /* no longer than needed */
            (void)snprintf(want, sizeof want, "%.*e", d - 1, (double)v);
            if (strtof(want, NULL) == v) {
                size_t digits = 0, zeros = 0;
                for (const char *c = got; *c != '\0' && *c != 'e'; c++)
                    if (*c >= '0' && *c <= '9' && (digits > 0 || *c != '0')) {
                        digits++;
                        zeros = *c == '0' ? zeros + 1 : 0;
                    }
                if (digits - zeros > (size_t)d)
                    fail_msg("%s written as %s", want, got);
                break;
            }
        }
        if (i % 1000 == 0)
            berth_arena_reset(&arena);
    }
}

static void
writer_places_commas(void **unused)
{
    struct berth_buf b;
    struct berth_jw w;
    const struct berth_json *v = parsed("[1,{\"z\":2}]");

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "a");
    berth_jw_array(&w);
    berth_jw_int(&w, INT64_MIN);
    berth_jw_int(&w, -1);
    berth_jw_double(&w, 0.1);
    berth_jw_double(&w, NAN);
    berth_jw_null(&w);
    berth_jw_array(&w);
    berth_jw_array_end(&w);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "b\"");
    berth_jw_object(&w);
    berth_jw_object_end(&w);
    berth_jw_key(&w, "c");
    berth_jw_value(&w, v);
    berth_jw_key(&w, "d");
    berth_jw_raw(&w, "[0]", 3);
    berth_jw_object_end(&w);
    assert_string_equal(berth_buf_text(&b), "{\"a\":[-9223372036854775808,-1,0.1,null,null,[]],"
                                            "\"b\\\"\":{},\"c\":[1,{\"z\":2}],\"d\":[0]}");
}

static void
writer_refuses_what_is_too_deep(void **unused)
{
    struct berth_buf b;
    struct berth_jw w;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_jw_init(&w, &b);
    for (int i = 0; i < BERTH_JSON_DEPTH_MAX; i++)
        berth_jw_array(&w);
    assert_false(b.failed);
    berth_jw_array(&w);
    assert_null(berth_buf_text(&b));
}

static void
indented_for_people(void **unused)
{
    static const struct {
        const char *why, *text, *want;
    } cases[] = {
        {"a scalar", "12.5", "12.5"},
        {"empty ones stay", "{\"a\":{},\"b\":[]}", "{\n  \"a\": {},\n  \"b\": []\n}"},
        {"within each other", "[{\"a\":[1,true,null]},2]",
         "[\n  {\n    \"a\": [\n      1,\n      true,\n      null\n    ]\n  },\n  2\n]"},
        {"what is in a string is no JSON", "[\"a,{\\\"}]:\\\\\",\"\"]",
         "[\n  \"a,{\\\"}]:\\\\\",\n  \"\"\n]"},
        {"a string in a key", "{\"a\\\"b:c\":-1e5}", "{\n  \"a\\\"b:c\": -1e5\n}"},
        {"nothing", "", ""},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_buf b;

        print_message("  %s\n", cases[i].why);
        berth_buf_init(&b, &arena);
        berth_json_indent(&b, cases[i].text, strlen(cases[i].text));
        assert_string_equal(b.len > 0 ? berth_buf_text(&b) : "", cases[i].want);
    }
    /* However it was cut off: nothing beyond it is read. */
    for (size_t n = 0; n <= strlen(cases[3].text); n++) {
        char *exact = malloc(n + 1);
        struct berth_buf b;

        assert_non_null(exact);
        memcpy(exact, cases[3].text, n);
        exact[n] = '\0';
        berth_buf_init(&b, &arena);
        berth_json_indent(&b, exact, n);
        assert_false(b.failed);
        free(exact);
    }
}

static int
setup(void **unused)
{
    (void)unused;
    berth_arena_init(&arena, 64 << 20);
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
        cmocka_unit_test_setup_teardown(parse_says_where_it_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_is_limited, setup, teardown),
        cmocka_unit_test(memory_is_the_arenas),
        cmocka_unit_test_setup_teardown(numbers_have_types, setup, teardown),
        cmocka_unit_test_setup_teardown(members_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(floats_come_in_bulk, setup, teardown),
        cmocka_unit_test_setup_teardown(nan_is_taken_when_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(text_goes_round, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_utf8_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(floats_are_short, setup, teardown),
        cmocka_unit_test_setup_teardown(floats_read_back_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(writer_places_commas, setup, teardown),
        cmocka_unit_test_setup_teardown(writer_refuses_what_is_too_deep, setup, teardown),
        cmocka_unit_test_setup_teardown(indented_for_people, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
