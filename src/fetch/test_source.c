#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "fetch/source.h"

#define SUM "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void
sources_are_understood(void **unused)
{
    static const struct {
        const char *text;
        enum berth_source_kind kind;
        const char *at, *label, *name, *sha256;
    } cases[] = {
        {"m.gguf", BERTH_SOURCE_PATH, "m.gguf", "m.gguf", NULL, ""},
        {"/a b/@x", BERTH_SOURCE_PATH, "/a b/@x", "/a b/@x", NULL, ""},
        {"m#sha256=" SUM, BERTH_SOURCE_PATH, "m", "m", NULL, SUM},
        {"http://h/a/m%20x.onnx?k=secret", BERTH_SOURCE_HTTP, "http://h/a/m%20x.onnx?k=secret",
         "http://h/a/m%20x.onnx", "m x.onnx", ""},
        {"HTTPS://u:p@h:8/m#sha256=" SUM, BERTH_SOURCE_HTTP, "HTTPS://u:p@h:8/m", "HTTPS://h:8/m",
         "m", SUM},
        {"http://h", BERTH_SOURCE_HTTP, "http://h", "http://h", NULL, ""},
        {"http://h/", BERTH_SOURCE_HTTP, "http://h/", "http://h/", NULL, ""},
        {"http://h/a/..", BERTH_SOURCE_HTTP, "http://h/a/..", "http://h/a/..", NULL, ""},
        {"http://h/%2e%2e%2fx", BERTH_SOURCE_HTTP, "http://h/%2e%2e%2fx", "http://h/%2e%2e%2fx",
         NULL, ""},
        {"http://h/x@y", BERTH_SOURCE_HTTP, "http://h/x@y", "http://h/x@y", "x@y", ""},
        {"hf://o/r/m.gguf", BERTH_SOURCE_HUB, "http://hub/o/r/resolve/main/m.gguf",
         "hf://o/r/m.gguf", "m.gguf", ""},
        {"hf://o/r/a/m x.gguf@refs/pr/1", BERTH_SOURCE_HUB,
         "http://hub/o/r/resolve/refs%2Fpr%2F1/a/m%20x.gguf", "hf://o/r/a/m x.gguf@refs/pr/1",
         "m x.gguf", ""},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_source s;
        struct berth_err e;
        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_source_parse(cases[i].text, "http://hub", &s, &e), 0);
        assert_int_equal(s.kind, cases[i].kind);
        assert_string_equal(s.at, cases[i].at);
        assert_string_equal(s.label, cases[i].label);
        assert_string_equal(s.sha256, cases[i].sha256);
        assert_string_equal(s.name != NULL ? s.name : "none",
                            cases[i].name != NULL ? cases[i].name : "none");
        berth_source_fini(&s);
    }
}

static void
what_is_no_source_is_told_the_forms(void **unused)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "hf://ORG/REPO/FILE"},
        {"s3://bucket/m", "hf://ORG/REPO/FILE"},
        {"http://", "hf://ORG/REPO/FILE"},
        {"http:///x", "hf://ORG/REPO/FILE"},
        {"http://u@/x", "hf://ORG/REPO/FILE"},
        {"hf://o/r", "ORG/REPO/FILE"},
        {"hf://o/r/", "ORG/REPO/FILE"},
        {"hf://o//m", "ORG/REPO/FILE"},
        {"hf://o/r/../m", "ORG/REPO/FILE"},
        {"hf://o/r/m@", "ORG/REPO/FILE"},
        {"hf://o/r/m@..", "ORG/REPO/FILE"},
        {"m#sha256=12", "64 hex digits"},
        {"m#sha256=" SUM "0", "64 hex digits"},
        {"http://h/a\nb", "control"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_source s;
        struct berth_err e;
        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_source_parse(cases[i].text, "http://hub", &s, &e), -BERTH_EINVAL);
        assert_non_null(strstr(e.msg, cases[i].says));
    }
}

static void
names_are_files_and_nothing_else(void **unused)
{
    static const struct {
        const char *name;
        int want;
    } cases[] = {
        {"m.gguf", 0},           {"..x", 0},
        {"", -BERTH_EINVAL},     {".", -BERTH_EINVAL},
        {"..", -BERTH_EINVAL},   {"a/b", -BERTH_EINVAL},
        {"a\nb", -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_int_equal(berth_source_name_check(cases[i].name, NULL), cases[i].want);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_are_understood),
        cmocka_unit_test(what_is_no_source_is_told_the_forms),
        cmocka_unit_test(names_are_files_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
