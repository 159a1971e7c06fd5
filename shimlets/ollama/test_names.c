#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "shimlets/ollama/ollama_priv.h"

static void
addresses_are_what_ollamas_clients_take(void **unused)
{
    static const struct {
        const char *text, *url; /* NULL: refused */
    } cases[] = {
        {"", "http://127.0.0.1:11434"},
        {":4000", "http://127.0.0.1:4000"},
        {"127.0.0.1:11434", "http://127.0.0.1:11434"},
        {"gpu", "http://gpu:11434"},
        {"http://gpu", "http://gpu"}, /* then the scheme's own port is meant */
        {"https://gpu.lan", "https://gpu.lan"},
        {"https://gpu.lan/ollama/", "https://gpu.lan/ollama"},
        {"gpu/ollama", "http://gpu:11434/ollama"},
        {"0.0.0.0", "http://127.0.0.1:11434"}, /* what it listens on */
        {"http://0.0.0.0:80/", "http://127.0.0.1:80"},
        {"[::]:4000", "http://[::1]:4000"},
        {"[fd00::1]", "http://[fd00::1]:11434"},
        {"user@gpu", NULL},
        {"gpu?x", NULL},
        {"gpu#x", NULL},
        {"a b", NULL},
        {"gpu\r\nx", NULL},
        {"[::1", "http://[::1:11434"}, /* not of use, and not of harm: nobody answers there */
    };
    char url[BERTH_OLLAMA_HOST], longer[BERTH_OLLAMA_HOST + 8];
    struct berth_err e;

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const int r = berth_ollama_host(cases[i].text, url, &e);

        if (cases[i].url == NULL) {
            assert_int_equal(r, -BERTH_EINVAL);
        } else {
            assert_int_equal(r, 0);
            assert_string_equal(url, cases[i].url);
        }
    }
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(berth_ollama_host(longer, url, &e), -BERTH_EINVAL);
}

static void
names_say_whose_they_are(void **unused)
{
    static const struct {
        const char *name;
        bool ours;
    } cases[] = {
        {"berth-own/unit:r3-g4-ab12", true},
        {"berth-own/unit:r18446744073709551616-g4-ab", false}, /* beyond any number */
        {"berth-own/other:r3-g4-ab12", false},
        {"berth-own2/unit:r3-g4-ab12", false},
        {"berth-own/unit", false},
        {"berth-own/unit:latest", false},
        {"berth-own/unit:r3-g4-", false},
        {"berth-own/unit:r-g4-ab", false},
        {"berth-own/unit:r3-gx-ab", false},
        {"berth-own/unit:r3-g4-0123456789012345678901234567890123456789", false},
        {"smollm:135m", false},
        {"", false},
    };
    struct berth_ollama_tag tag, want = {.revision = 3, .number = 4, .hash = "ab12"};
    struct berth_slice unit;
    char name[BERTH_OLLAMA_NAME], longer[100];

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        if (berth_ollama_name_parse(berth_slice_of(cases[i].name), "own", "unit", &tag, NULL) !=
            cases[i].ours)
            fail_msg("%s", cases[i].name);
    assert_true(berth_ollama_name("own", "unit", &want, name));
    assert_string_equal(name, cases[0].name);
    assert_true(berth_ollama_name_parse(berth_slice_of(name), "own", NULL, &tag, &unit));
    assert_memory_equal(&tag, &want, sizeof tag);
    assert_true(berth_slice_is(unit, "unit"));
    memset(longer, 'u', sizeof longer);
    longer[81] = '\0';
    assert_false(berth_ollama_name("own", longer, &want, name));
    assert_false(berth_ollama_name(longer, "unit", &want, name));
}

struct heard {
    char text[256];
    size_t count;
};

static void
hear(void *arg, const char *text, size_t len)
{
    struct heard *h = arg;

    h->count++;
    strncat(h->text, text, len < 100 ? len : 100);
    strcat(h->text, "|");
}

static void
lines_come_whole_however_they_are_cut(void **unused)
{
    static const char text[] = "{\"a\":1}\n\n{\"b\":2}\nleft";

    (void)unused;
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct berth_ollama_lines l = {.len = 0};
        struct heard h = {.count = 0};

        for (size_t at = 0; at < sizeof text - 1; at += piece)
            berth_ollama_lines_feed(&l, text + at,
                                    sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece,
                                    hear, &h);
        assert_string_equal(h.text, "{\"a\":1}|{\"b\":2}|");
    }
}

static void
a_line_that_is_too_long_is_left_out(void **unused)
{
    struct berth_ollama_lines l = {.len = 0};
    struct heard h = {.count = 0};
    char piece[1000];

    (void)unused;
    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 20; i++)
        berth_ollama_lines_feed(&l, piece, sizeof piece, hear, &h);
    berth_ollama_lines_feed(&l, "\nnext\n", 6, hear, &h);
    assert_string_equal(h.text, "next|");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_what_ollamas_clients_take),
        cmocka_unit_test(names_say_whose_they_are),
        cmocka_unit_test(lines_come_whole_however_they_are_cut),
        cmocka_unit_test(a_line_that_is_too_long_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
