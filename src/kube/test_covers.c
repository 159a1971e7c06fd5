#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "kube/covers.h"
#include "wire/json.h"

static const struct {
    const char *live, *wish;
    bool covers;
} cases[] = {
    {"{\"a\":1,\"b\":2}", "{\"a\":1}", true},
    {"{\"a\":2}", "{\"a\":1}", false},
    {"{}", "{\"a\":1}", false},
    {"{\"a\":\"1\"}", "{\"a\":1}", false},
    {"{\"a\":1.0}", "{\"a\":1}", true},
    {"{\"a\":true}", "{\"a\":false}", false},
    /* Nothing wished for in it. */
    {"{}", "{\"a\":{}}", true},
    {"{\"a\":3}", "{\"a\":{}}", false},
    {"{}", "{\"a\":[]}", true},
    {"{\"a\":[1]}", "{\"a\":[]}", false},
    {"{}", "{\"a\":null}", true},
    {"{\"a\":1}", "{\"a\":null}", false},
    /* Texts and numbers in lists: all of them, in this order. */
    {"{\"a\":[\"x\",\"y\"]}", "{\"a\":[\"x\",\"y\"]}", true},
    {"{\"a\":[\"x\",\"y\"]}", "{\"a\":[\"x\"]}", false},
    {"{\"a\":[\"y\",\"x\"]}", "{\"a\":[\"x\",\"y\"]}", false},
    /* Objects: by name, wherever; others may be there; by place without one. */
    {"[{\"name\":\"other\"},{\"name\":\"x\",\"v\":1,\"w\":2}]", "[{\"name\":\"x\",\"v\":1}]", true},
    {"[{\"name\":\"x\",\"v\":2}]", "[{\"name\":\"x\",\"v\":1}]", false},
    {"[{\"port\":80,\"protocol\":\"TCP\"}]", "[{\"port\":80}]", true},
    {"[{\"port\":81},{\"port\":80}]", "[{\"port\":80},{\"port\":81}]", false},
    {"[]", "[{\"port\":80}]", false},
    {"null", "[{\"port\":80}]", false},
};

static void
a_live_object_covers_what_is_wished(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct berth_json *live = NULL, *wish = NULL;
        struct berth_arena a;
        berth_arena_init(&a, 1 << 20);
        assert_int_equal(
            berth_json_parse(&a, cases[i].live, strlen(cases[i].live), NULL, &live, NULL), 0);
        assert_int_equal(
            berth_json_parse(&a, cases[i].wish, strlen(cases[i].wish), NULL, &wish, NULL), 0);
        if (berth_kube_covers(live, wish) != cases[i].covers)
            fail_msg("%s over %s", cases[i].live, cases[i].wish);
        berth_arena_fini(&a);
    }
}

static const struct {
    const char *live, *wish, *shared;
} shares[] = {
    {"{\"a\":1,\"b\":2}", "{\"a\":3}", "{\"a\":1}"},
    /* A server leaves out what is empty, and writes quantities its own way. */
    {"{\"b\":2}", "{\"a\":\"\"}", "{}"},
    {"{\"cpu\":\"1\"}", "{\"cpu\":\"1000m\"}", "{\"cpu\":\"1\"}"},
    /* Elements by name, or by place. */
    {"[{\"name\":\"y\"},{\"name\":\"x\",\"v\":2,\"w\":3}]", "[{\"name\":\"x\",\"v\":1}]",
     "[{\"name\":\"x\",\"v\":2}]"},
    {"[{\"name\":\"x\",\"v\":1},{\"name\":\"x\",\"v\":2}]",
     "[{\"name\":\"x\",\"v\":3},{\"name\":\"x\",\"v\":4}]",
     "[{\"name\":\"x\",\"v\":1},{\"name\":\"x\",\"v\":2}]"},
    {"[{\"p\":80,\"q\":1}]", "[{\"p\":81},{\"p\":82}]", "[{\"p\":80},null]"},
    /* Lists of texts, and empty ones, as they are. */
    {"[\"x\",\"y\"]", "[\"x\"]", "[\"x\",\"y\"]"},
    {"{\"a\":[1]}", "{\"a\":[]}", "{\"a\":[1]}"},
    /* Of another type. */
    {"{\"a\":{\"b\":1}}", "{\"a\":[{\"name\":\"x\"}]}", "{\"a\":{\"b\":1}}"},
};

static void
what_a_live_object_says_of_a_wish(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        const struct berth_json *live = NULL, *wish = NULL;
        struct berth_arena a;
        struct berth_buf b;
        berth_arena_init(&a, 1 << 20);
        berth_buf_init(&b, &a);
        assert_int_equal(
            berth_json_parse(&a, shares[i].live, strlen(shares[i].live), NULL, &live, NULL), 0);
        assert_int_equal(
            berth_json_parse(&a, shares[i].wish, strlen(shares[i].wish), NULL, &wish, NULL), 0);
        berth_kube_put_shared(&b, live, wish);
        assert_string_equal(berth_buf_text(&b), shares[i].shared);
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_live_object_covers_what_is_wished),
                                       cmocka_unit_test(what_a_live_object_says_of_a_wish)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
