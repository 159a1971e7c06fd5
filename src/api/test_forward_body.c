#include "api/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"

static void
only_the_model_is_renamed(void **unused)
{
    static const struct {
        const char *why, *body, *want; /* want NULL: refused */
    } cases[] = {
        {"in the middle", "{\"a\":1,\"model\":\"x\",\"b\":2}",
         "{\"a\":1,\"model\":\"new\",\"b\":2}"},
        {"blanks stay", " { \"model\" : \"x\" , \"b\":[ 1 ] } \n",
         " { \"model\" : \"new\" , \"b\":[ 1 ] } \n"},
        {"the only one", "{\"model\":\"x\"}", "{\"model\":\"new\"}"},
        {"the name that it has", "{\"model\":\"new\",\"b\":\"\\u00e9\"}",
         "{\"model\":\"new\",\"b\":\"\\u00e9\"}"},
        {"not what is within", "{\"m\":{\"model\":\"x\"},\"l\":[{\"model\":1}],\"model\":\"x\"}",
         "{\"m\":{\"model\":\"x\"},\"l\":[{\"model\":1}],\"model\":\"new\"}"},
        {"all of them, or the other side takes another one", "{\"model\":\"x\",\"model\":\"y\"}",
         "{\"model\":\"new\",\"model\":\"new\"}"},
        {"a key that is written oddly", "{\"mo\\u0064el\":\"x\"}", "{\"mo\\u0064el\":\"new\"}"},
        {"a key like it", "{\"models\":\"x\",\"mode\":\"y\",\"\\\\model\":1}",
         "{\"models\":\"x\",\"mode\":\"y\",\"\\\\model\":1}"},
        {"brackets and quotes in texts", "{\"a\":\"}],\\\"model\\\":\",\"model\":\"x\"}",
         "{\"a\":\"}],\\\"model\\\":\",\"model\":\"new\"}"},
        {"a backslash before the quote", "{\"a\":\"\\\\\",\"model\":\"x\"}",
         "{\"a\":\"\\\\\",\"model\":\"new\"}"},
        {"another kind of value", "{\"model\":{\"a\":[1,\"]\"]} ,\"b\":1}",
         "{\"model\":\"new\" ,\"b\":1}"},
        {"a number at the end", "{\"model\":12 }", "{\"model\":\"new\" }"},
        {"none", "{}", "{}"},
        {"an array", "[\"model\"]", NULL},
        {"nothing", "", NULL},
        {"half of it", "{\"model\":\"x", NULL},
        {"no colon", "{\"model\" \"x\"}", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_slice got = {"", 0};

        berth_arena_init(&a, 1 << 20);
        bool streams;
        const int r =
            berth_forward_rename(&a, berth_slice_of(cases[i].body), "new", &got, &streams);
        if ((r == 0) != (cases[i].want != NULL) || (r == 0 && !berth_slice_is(got, cases[i].want)))
            fail_msg("%s: %d %.*s", cases[i].why, r, (int)got.len, got.at);
        if (r == 0 && strcmp(cases[i].body, cases[i].want) == 0)
            assert_ptr_equal(got.at, cases[i].body); /* not copied */
        berth_arena_fini(&a);
    }
}

static void
the_new_name_is_quoted(void **unused)
{
    struct berth_arena a;
    struct berth_slice got;
    bool streams;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(
        berth_forward_rename(&a, BERTH_SLICE("{\"model\":1}"), "a\"b\n", &got, &streams), 0);
    assert_true(berth_slice_is(got, "{\"model\":\"a\\\"b\\n\"}"));
    berth_arena_fini(&a);
}

/* Whether the client wants the answer as it comes: the outermost member, and true alone. */
static void
a_stream_is_seen(void **unused)
{
    static const struct {
        const char *body;
        bool want;
    } cases[] = {
        {"{\"model\":\"x\",\"stream\":true}", true},
        {"{\"stream\" : true , \"model\":\"x\"}", true},
        {"{\"stream\":false}", false},
        {"{\"stream\":\"true\"}", false},
        {"{\"a\":{\"stream\":true}}", false},
        {"{\"a\":\"{\\\"stream\\\":true}\"}", false},
        {"{}", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_slice got;
        bool streams = !cases[i].want;

        berth_arena_init(&a, 1 << 20);
        assert_int_equal(
            berth_forward_rename(&a, berth_slice_of(cases[i].body), "new", &got, &streams), 0);
        if (streams != cases[i].want)
            fail_msg("%s", cases[i].body);
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_model_is_renamed),
        cmocka_unit_test(the_new_name_is_quoted),
        cmocka_unit_test(a_stream_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
