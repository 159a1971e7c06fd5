#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "wire/json.h"

static const struct berth_json *
parse(struct berth_arena *a, const char *text)
{
    const struct berth_json *v;
    struct berth_err e = {""};

    if (berth_json_parse(a, text, strlen(text), NULL, &v, &e) < 0)
        fail_msg("%s: %s", text, e.msg);
    return v;
}

static void
a_patch_is_applied(void **unused)
{
    static const struct {
        const char *why, *v, *patch, *want;
    } cases[] = {
        /* as RFC 7386 has them in its appendix */
        {"replaced", "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"added", "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"taken away", "{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"one of two", "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"an array by a text", "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"a text by an array", "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"within", "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
         "{\"a\":{\"b\":\"d\"}}"},
        {"arrays are whole", "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"an array by another", "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"an object by an array", "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"an object by null", "{\"a\":\"foo\"}", "null", "null"},
        {"an object by a text", "{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"a null that stays", "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"an array by an object", "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"nulls in what is new", "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        /* and what specs have */
        {"a text by an object", "{\"a\":\"b\"}", "{\"a\":{\"c\":1,\"d\":null}}",
         "{\"a\":{\"c\":1}}"},
        {"what is not there", "{}", "{\"a\":null}", "{}"},
        {"nothing", "{\"a\":{\"b\":[1,{}]}}", "{}", "{\"a\":{\"b\":[1,{}]}}"},
        {"nothing within", "{\"a\":{\"b\":1}}", "{\"a\":{}}", "{\"a\":{\"b\":1}}"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_arena a;
        struct berth_buf b;
        struct berth_jw w;

        berth_arena_init(&a, 1 << 20);
        berth_buf_init(&b, &a);
        berth_jw_init(&w, &b);
        berth_jw_merged(&w, parse(&a, cases[i].v), parse(&a, cases[i].patch));
        if (strcmp(berth_buf_text(&b), cases[i].want) != 0)
            fail_msg("%s: %s", cases[i].why, berth_buf_text(&b));
        berth_arena_fini(&a);
    }
}

static void
nothing_is_an_empty_object(void **unused)
{
    struct berth_arena a;
    struct berth_buf b;
    struct berth_jw w;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    berth_jw_init(&w, &b);
    berth_jw_merged(&w, NULL, parse(&a, "{\"a\":1,\"b\":null}"));
    assert_string_equal(berth_buf_text(&b), "{\"a\":1}");
    berth_arena_fini(&a);
}

/* What is missing or of another type is the default. */
static void
members_have_defaults(void **unused)
{
    struct berth_arena a;
    char text[4];

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    const struct berth_json *v =
        parse(&a, "{\"n\":18446744073709551615,\"m\":-1,\"b\":true,\"t\":\"text\",\"z\":null}");
    assert_true(berth_json_member_uint(v, "n") == UINT64_MAX);
    assert_true(berth_json_member_uint(v, "m") == 0);
    assert_true(berth_json_member_uint(v, "t") == 0);
    assert_true(berth_json_member_uint(NULL, "n") == 0);
    assert_true(berth_json_member_bool(v, "b"));
    assert_false(berth_json_member_bool(v, "n"));
    assert_false(berth_json_member_bool(v, "none"));
    assert_string_equal(berth_json_member_text(v, "t", "dflt"), "text");
    assert_string_equal(berth_json_member_text(v, "b", "dflt"), "dflt");
    assert_null(berth_json_member_text(v, "z", NULL));
    berth_json_member_copy(v, "t", text, sizeof text);
    assert_string_equal(text, "tex"); /* cut to what has room */
    berth_json_member_copy(v, "none", text, sizeof text);
    assert_string_equal(text, "");
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patch_is_applied),
        cmocka_unit_test(nothing_is_an_empty_object),
        cmocka_unit_test(members_have_defaults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
