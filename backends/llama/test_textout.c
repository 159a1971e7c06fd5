#include "textout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What has gone out when every piece was pushed and what was ready was taken; `met` is the stop
 * string. */
struct run {
    char sent[256];
    size_t len, largest_wait;
    const char *met;
};

static void
push_all(struct run *r, const char *const *pieces, const char *const *stop, size_t stop_count)
{
    struct berth_textout t;
    size_t i = 0;

    (void)memset(r, 0, sizeof *r);
    berth_textout_init(&t, stop, stop_count);
    for (bool last = false; !last && r->met == NULL; i++) {
        last = pieces[i] == NULL;
        if (last)
            assert_int_equal(berth_textout_end(&t), 0);
        else
            assert_int_equal(berth_textout_push(&t, pieces[i], strlen(pieces[i])), 0);
        const size_t n = berth_textout_ready(&t, last, &r->met);
        assert_true(r->len + n < sizeof r->sent);
        (void)memcpy(r->sent + r->len, t.text == NULL ? "" : t.text, n);
        r->len += n;
        berth_textout_take(&t, n);
        if (t.text_len > r->largest_wait)
            r->largest_wait = t.text_len;
    }
    berth_textout_fini(&t);
}

static void
only_whole_characters_go_out(void **unused)
{
    static const struct {
        const char *why;
        const char *pieces[6];
        const char *want;
    } cases[] = {
        {"plain text passes", {"ab", "c"}, "abc"},
        {"an emoji in four pieces is one", {"\xF0", "\x9F", "\x99", "\x82!"}, "\xF0\x9F\x99\x82!"},
        {"two bytes, then two", {"x\xF0\x9F", "\x99\x82"}, "x\xF0\x9F\x99\x82"},
        {"an end in the middle of one", {"a\xE2\x82"}, "a\xEF\xBF\xBD"},
        {"a lone continuation",
         {"a\x82", "b"},
         "a\xEF\xBF\xBD"
         "b"},
        {"broken off by a letter",
         {"\xE2\x82", "b"},
         "\xEF\xBF\xBD"
         "b"},
        {"broken off by another beginning", {"\xF0\x9F", "\xC3\xA9"}, "\xEF\xBF\xBD\xC3\xA9"},
        {"a longer form than needed", {"\xC0\xAF"}, "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"a surrogate", {"\xED\xA0\x80"}, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"beyond the last character",
         {"\xF4\x90\x80\x80"},
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run r;

        print_message("  %s\n", cases[i].why);
        push_all(&r, cases[i].pieces, NULL, 0);
        assert_string_equal(r.sent, cases[i].want);
    }
}

static void
stop_strings_end_the_text(void **unused)
{
    static const struct {
        const char *why;
        const char *pieces[6];
        const char *stop[3];
        const char *want;
        int met; /* index into stop, -1: none */
    } cases[] = {
        {"in one piece", {"one STOP two"}, {"STOP"}, "one ", 0},
        {"across three pieces", {"one S", "TO", "P two"}, {"STOP"}, "one ", 0},
        {"nearly, but not", {"one ST", "OX two"}, {"STOP"}, "one STOX two", -1},
        {"begun at the very end", {"one STO"}, {"STOP"}, "one STO", -1},
        {"the one that begins first", {"a END b STOP"}, {"STOP", "END"}, "a ", 1},
        {"a repeated beginning", {"aa", "ab"}, {"aab"}, "a", 0},
        {"at the start", {"\n\n", "x"}, {"\n\n"}, "", 0},
        {"of more than ASCII",
         {"a\xE2\x82", "\xAC"
                       "b"},
         {"\xE2\x82\xAC"},
         "a",
         0},
        {"after an emoji", {"\xF0\x9F\x99", "\x82#", "#x"}, {"##"}, "\xF0\x9F\x99\x82", 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run r;
        size_t n = 0;

        while (n < 3 && cases[i].stop[n] != NULL)
            n++;
        print_message("  %s\n", cases[i].why);
        push_all(&r, cases[i].pieces, cases[i].stop, n);
        assert_string_equal(r.sent, cases[i].want);
        if (cases[i].met < 0)
            assert_null(r.met);
        else
            assert_ptr_equal(r.met, cases[i].stop[cases[i].met]);
    }
}

static void
no_more_waits_than_a_stop_string(void **unused)
{
    static const char *const pieces[] = {"SSSSSSSSSS", "STSTSTST", "STOSTOSTO", "STO", NULL};
    static const char *const stop[] = {"STOP"};
    struct run r;

    (void)unused;
    push_all(&r, pieces, stop, 1);
    assert_true(r.largest_wait < strlen(stop[0]));
    assert_string_equal(r.sent, "SSSSSSSSSSSTSTSTSTSTOSTOSTOSTO");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_whole_characters_go_out),
        cmocka_unit_test(stop_strings_end_the_text),
        cmocka_unit_test(no_more_waits_than_a_stop_string),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
