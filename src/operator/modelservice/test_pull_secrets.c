#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "kube/object.h"
#include "operator/modelservice/pull_secrets.h"
#include "operator/modelservice/test_arena.h"
#include "wire/json.h"

static const struct berth_json *
json(const char *text)
{
    const struct berth_json *ret = NULL;

    assert_int_equal(berth_json_parse(&arena, text, strlen(text), NULL, &ret, NULL), 0);
    return ret;
}

#define NAMED(name) "{\"name\":\"" name "\"}"
#define NOTED(names, list)                                                  \
    "{\"metadata\":{\"annotations\":{\"" BERTH_MSVC_PULL_NOTE "\":\"" names \
    "\"}},\"imagePullSecrets\":[" list "]}"

static void
others_pull_secrets_stay(void **unused)
{
    static const struct {
        const char *live, *wish, *want;
    } cases[] = {
        {NULL, "[" NAMED("a") "]", "[" NAMED("a") "]"},
        {NOTED("a", NAMED("a")), "[" NAMED("a") "]", "[" NAMED("a") "]"},
        /* Somebody's is kept; what was ours and is not wished for goes. */
        {NOTED("a", NAMED("a") "," NAMED("x")), "[" NAMED("a") "]",
         "[" NAMED("a") "," NAMED("x") "]"},
        {NOTED("a,b", NAMED("a") "," NAMED("x") "," NAMED("b")), "[" NAMED("b") "]",
         "[" NAMED("b") "," NAMED("x") "]"},
        {NOTED("a", NAMED("a") "," NAMED("x")), NULL, "[" NAMED("x") "]"},
        {NOTED("a", NAMED("a")), NULL, NULL},
        /* A part of a name is another name. */
        {NOTED("abc", NAMED("ab") "," NAMED("bc")), NULL, "[" NAMED("ab") "," NAMED("bc") "]"},
        /* Of another operator's: nobody knows whose they are. */
        {"{\"imagePullSecrets\":[" NAMED("x") "]}", "[" NAMED("a") "]",
         "[" NAMED("a") "," NAMED("x") "]"},
    };
    char wish[256];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(wish, sizeof wish, "{\"kind\":\"ServiceAccount\"%s%s}",
                       cases[i].wish != NULL ? ",\"imagePullSecrets\":" : "",
                       cases[i].wish != NULL ? cases[i].wish : "");
        const struct berth_json *got = berth_msvc_keep_pull_secrets(
            cases[i].live != NULL ? json(cases[i].live) : NULL, json(wish), &arena);
        const struct berth_json *list = berth_json_get(got, "imagePullSecrets");
        struct berth_buf text;
        berth_buf_init(&text, &arena);
        assert_string_equal(berth_json_member_text(got, "kind", ""), "ServiceAccount");
        assert_int_equal(list == NULL, cases[i].want == NULL);
        if (list == NULL)
            continue;
        berth_json_put(&text, list);
        if (strcmp(berth_buf_text(&text), cases[i].want) != 0)
            fail_msg("case %zu: %s, should be %s", i, berth_buf_text(&text), cases[i].want);
    }
}

static void
ours_are_noted(void **unused)
{
    static const char none[] = "{\"kind\":\"ServiceAccount\"}";
    const struct berth_json *wish = json(none);

    (void)unused;
    assert_ptr_equal(berth_msvc_note_pull_secrets(wish, &arena), wish);
    wish = json("{\"imagePullSecrets\":[" NAMED("a") "," NAMED("b") "]}");
    const struct berth_json *noted = berth_msvc_note_pull_secrets(wish, &arena);
    assert_string_equal(berth_kube_annotation(noted, BERTH_MSVC_PULL_NOTE).at, "a,b");
    /* What was noted is known again. */
    assert_int_equal(
        berth_json_len(berth_json_get(berth_msvc_keep_pull_secrets(noted, json(none), &arena),
                                      "imagePullSecrets")),
        0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ours_are_noted, begin, end),
        cmocka_unit_test_setup_teardown(others_pull_secrets_stay, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
