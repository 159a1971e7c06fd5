#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"
#include "wire/yaml.h"

static void
yaml_becomes_json(void **unused)
{
    static const struct {
        const char *why, *text, *want; /* want NULL: refused */
    } cases[] = {
        {"an empty document", "", "{}"},
        {"comments alone", "# nothing\n", "{}"},
        {"a document with nothing in it", "---\n", "{}"},
        {"some of them around one", "---\n---\na: 1\n---\n# end\n", "{\"a\":1}"},
        {"a mapping", "a: 1\nb:\n  c: [x, 2.5, true]\n",
         "{\"a\":1,\"b\":{\"c\":[\"x\",2.5,true]}}"},
        {"spellings of nothing", "[~, null, Null, ]", "[null,null,null]"},
        {"no value", "a:\n", "{\"a\":null}"},
        {"quoted scalars are strings", "['1', \"true\", '']", "[\"1\",\"true\",\"\"]"},
        {"a tag makes a string", "!!str 12", "\"12\""},
        {"not JSON's numbers", "[007, .5, 1., 0x1f, 1_000, +1]",
         "[\"007\",\".5\",\"1.\",\"0x1f\",\"1_000\",\"+1\"]"},
        {"yes and no are words", "[yes, no, on]", "[\"yes\",\"no\",\"on\"]"},
        {"JSON is YAML", "{\"a\": [1, {\"b\": null}]}", "{\"a\":[1,{\"b\":null}]}"},
        {"a block of text", "a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}"},
        {"keys are strings", "1: a\ntrue: b\n", "{\"1\":\"a\",\"true\":\"b\"}"},
        {"an alias", "a: &x {b: 1}\nc: *x\nd: [*x, *x]\n",
         "{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1},{\"b\":1}]}"},
        {"an alias in a sequence", "[1, &x [2], *x]", "[1,[2],[2]]"},
        {"an alias to itself", "a: &x [*x]\n", NULL},
        {"an unknown alias", "a: *x\n", NULL},
        {"merge keys", "a: {<<: {b: 1}}\n", NULL},
        {"a list as a key", "[1]: 2\n", NULL},
        {"two documents", "a: 1\n---\nb: 2\n", NULL},
        {"a tab for a blank", "a:\n\tb: 1\n", NULL},
        {"no end", "[1, 2\n", NULL},
        {"bad UTF-8", "a: \xff\n", NULL},
        {"a number too large", "1e999", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v = NULL;
        struct berth_arena a;
        struct berth_buf b;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        berth_buf_init(&b, &a);
        const int rc = berth_yaml_parse(&a, cases[i].text, strlen(cases[i].text), &v, &e);
        assert_int_equal(rc, cases[i].want != NULL ? 0 : -BERTH_EINVAL);
        if (rc == 0) {
            berth_json_put(&b, v);
            assert_string_equal(berth_buf_text(&b), cases[i].want);
        } else {
            assert_int_equal(strncmp(e.msg, "line ", 5), 0);
        }
        berth_arena_fini(&a);
    }
}

/* Ten levels of ten aliases each: text of 1 KB, values beyond counting. */
static void
billion_laughs_are_refused(void **unused)
{
    struct berth_arena a;
    struct berth_buf b;
    struct berth_err e = {""};
    const struct berth_json *v = NULL;

    (void)unused;
    berth_arena_init(&a, 64 << 20);
    berth_buf_init(&b, &a);
    berth_buf_puts(&b, "a0: &a0 [lol]\n");
    for (int i = 1; i < 10; i++) {
        berth_buf_printf(&b, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++)
            berth_buf_printf(&b, "*a%d, ", i - 1);
        berth_buf_puts(&b, "]\n");
    }
    assert_int_equal(berth_yaml_parse(&a, b.at, b.len, &v, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "expand"));
    berth_arena_fini(&a);
}

static void
depth_is_limited(void **unused)
{
    struct berth_arena a;
    const struct berth_json *v = NULL;
    char text[400];

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    memset(text, '[', sizeof text);
    assert_int_equal(berth_yaml_parse(&a, text, sizeof text, &v, NULL), -BERTH_EINVAL);
    berth_arena_fini(&a);
}

static void
lines_are_found(void **unused)
{
    static const char text[] = "server:\n  host: x\n  port: 1\nlist:\n  - a: 1\nengine:\n"
                               "  gpu: {ids: [1],\n    p2p: no}\nserver2: {port: 2}\n";
    static const struct {
        const char *path;
        size_t want;
    } cases[] = {
        {"server", 1},     {"server.host", 2},   {"server.port", 3}, {"engine.gpu.p2p", 8},
        {"server.nix", 0}, {"server2.port", 9},  {"serve", 0},       {"engine.gpu", 7},
        {"port", 0},       {"server.host.x", 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_int_equal(berth_yaml_line(text, sizeof text - 1, cases[i].path), cases[i].want);
    assert_int_equal(berth_yaml_line("---\n---\na: 1\n", 13, "a"), 3);
}

static void
what_is_written_reads_back(void **unused)
{
    static const struct {
        const char *json, *yaml;
    } cases[] = {
        {"{\"b\":1,\"a\":{\"c\":[1,\"x\",null,true,1.5]}}",
         "a:\n  c:\n  - 1\n  - x\n  - null\n  - true\n  - 1.5\nb: 1\n"},
        {"{\"a\":{},\"b\":[]}", "a: {}\nb: []\n"},
        /* Texts that would be something else. */
        {"[\"1\",\"true\",\"no\",\"null\",\"\",\"0x1f\",\"1e3\",\"12:30\",\"2026-01-02\",\"~\"]",
         "- \"1\"\n- \"true\"\n- \"no\"\n- \"null\"\n- \"\"\n- \"0x1f\"\n- \"1e3\"\n- \"12:30\"\n"
         "- \"2026-01-02\"\n- \"~\"\n"},
        {"{\"yes\":\"a: b\",\"n\":\"# c\"}", "\"n\": '# c'\n\"yes\": 'a: b'\n"},
        {"{\"script\":\"one\\ntwo\\n\"}", "script: |\n  one\n  two\n"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct berth_json *v = NULL, *back = NULL;
        struct berth_yaml_notes notes;
        struct berth_buf yaml, again;
        struct berth_arena a;
        berth_arena_init(&a, 1 << 20);
        berth_buf_init(&yaml, &a);
        berth_buf_init(&again, &a);
        assert_int_equal(berth_json_parse(&a, cases[i].json, strlen(cases[i].json), NULL, &v, NULL),
                         0);
        assert_int_equal(berth_yaml_put(&yaml, v, &a), 0);
        assert_string_equal(berth_buf_text(&yaml), cases[i].yaml);
        assert_int_equal(berth_yaml_parse_told(&a, yaml.at, yaml.len, &back, &notes, NULL), 0);
        assert_int_equal(notes.count, 0);
        assert_int_equal(berth_yaml_put(&again, back, &a), 0);
        assert_string_equal(berth_buf_text(&again), cases[i].yaml);
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_becomes_json),          cmocka_unit_test(billion_laughs_are_refused),
        cmocka_unit_test(depth_is_limited),           cmocka_unit_test(lines_are_found),
        cmocka_unit_test(what_is_written_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
