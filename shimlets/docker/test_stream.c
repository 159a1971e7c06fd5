#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/buf.h"
#include "shimlets/docker/stream.h"

struct kept {
    struct berth_buf text;
    size_t stop_after;
};

static bool
keep(void *arg, const char *text, size_t len)
{
    struct kept *k = arg;

    berth_buf_put(&k->text, text, len);
    berth_buf_putc(&k->text, '|');
    return k->stop_after == 0 || --k->stop_after > 0;
}

static void
lines_are_cut_wherever_pieces_end(void **unused)
{
    static const struct {
        const char *why, *text, *want;
        bool drop;
    } cases[] = {
        {"lines", "a\nbc\n", "a|bc|", false},
        {"an empty one is a line", "a\n\nb\n", "a||b|", false},
        {"a last one without its end", "a\nb", "a|b|", false},
        {"a carriage return is no part of it", "a\r\nb\r\n", "a|b|", false},
        {"a long one goes in parts", "abcdefghijkl\nm\n", "abcdefgh|ijkl|m|", false},
        {"exactly as long as it may be", "abcdefgh\nm\n", "abcdefgh|m|", false},
        {"a long one is dropped whole", "abcdefghijkl\nm\n", "m|", true},
        {"one that is longer than twice", "abcdefghijklmnopqrstu\nm\n", "m|", true},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        for (size_t piece = 1; piece < 24; piece++) {
            const size_t all = strlen(cases[i].text);
            struct berth_docker_lines l;
            struct kept k = {.stop_after = 0};

            berth_buf_init(&k.text, NULL);
            berth_docker_lines_init(&l, 8, cases[i].drop, keep, &k);
            for (size_t at = 0; at < all; at += piece)
                assert_true(berth_docker_lines_feed(&l, cases[i].text + at,
                                                    all - at < piece ? all - at : piece));
            assert_true(berth_docker_lines_end(&l));
            if (strcmp(berth_buf_text(&k.text), cases[i].want) != 0)
                fail_msg("%s, in pieces of %zu: %s", cases[i].why, piece, k.text.at);
            berth_docker_lines_fini(&l);
            berth_buf_fini(&k.text);
        }
    }
}

static void
a_reader_that_has_enough_is_not_asked_again(void **unused)
{
    struct berth_docker_lines l;
    struct kept k = {.stop_after = 2};

    (void)unused;
    berth_buf_init(&k.text, NULL);
    berth_docker_lines_init(&l, 100, false, keep, &k);
    assert_false(berth_docker_lines_feed(&l, "a\nb\nc\n", 6));
    assert_string_equal(berth_buf_text(&k.text), "a|b|");
    berth_docker_lines_fini(&l);
    berth_buf_fini(&k.text);
}

static bool
keep_part(void *arg, unsigned stream, const char *bytes, size_t len)
{
    struct berth_buf *b = arg;

    for (size_t i = 0; i < len; i++)
        berth_buf_printf(b, "%u%c", stream, bytes[i]);
    return true;
}

static void
frames_are_taken_apart(void **unused)
{
    static const char two[] =
        "\1\0\0\0\0\0\0\2ab\2\0\0\0\0\0\0\1c\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1d";
    static const char plain[] = "no frames at all";

    (void)unused;
    for (size_t piece = 1; piece < 40; piece++) {
        struct berth_buf b;
        struct berth_docker_frames f = {.part = keep_part, .arg = &b};

        berth_buf_init(&b, NULL);
        for (size_t at = 0; at < sizeof two - 1; at += piece)
            assert_true(berth_docker_frames_feed(
                &f, two + at, sizeof two - 1 - at < piece ? sizeof two - 1 - at : piece));
        assert_string_equal(berth_buf_text(&b), "1a1b2c1d");
        assert_int_equal(f.left, 0);
        b.len = 0;
        f = (struct berth_docker_frames){.part = keep_part, .arg = &b};
        for (size_t at = 0; at < sizeof plain - 1; at += piece)
            assert_true(berth_docker_frames_feed(
                &f, plain + at, sizeof plain - 1 - at < piece ? sizeof plain - 1 - at : piece));
        assert_string_equal(berth_buf_text(&b), "1n1o1 1f1r1a1m1e1s1 1a1t1 1a1l1l");
        berth_buf_fini(&b);
    }
}

static void
events_tell_which_service(void **unused)
{
    static const struct {
        const char *why, *text, *action, *service;
    } cases[] = {
        {"one of ours",
         "{\"status\":\"die\",\"id\":\"f7a8\",\"Type\":\"container\",\"Action\":\"die\",\"Actor\":"
         "{\"ID\":\"f7a8\",\"Attributes\":{\"berth.service\":\"m-1\",\"exitCode\":\"1\"}},"
         "\"timeNano\":1795276772373987477}",
         "die", "m-1"},
        {"what follows the colon is for people",
         "{\"Type\":\"container\",\"Action\":\"exec_start: sh\",\"Actor\":{\"ID\":\"a\"}}",
         "exec_start", ""},
        {"another type", "{\"Type\":\"image\",\"Action\":\"pull\",\"Actor\":{\"ID\":\"a\"}}", NULL,
         NULL},
        {"no id", "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{}}", NULL, NULL},
        {"no JSON", "die", NULL, NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_docker_event ev;

        print_message("  %s\n", cases[i].why);
        const bool is =
            berth_docker_event_parse(cases[i].text, strlen(cases[i].text), "berth.service", &ev);
        assert_int_equal(is, cases[i].action != NULL);
        if (is) {
            assert_string_equal(ev.action, cases[i].action);
            assert_string_equal(ev.service_id, cases[i].service);
        }
    }
}

static void
times_are_read(void **unused)
{
    static const struct {
        const char *text;
        uint64_t ns;
        size_t skip; /* 0: no time */
    } cases[] = {
        {"2026-11-21T15:59:33.329349560Z hello", UINT64_C(1795276773329349560), 31},
        {"2026-11-21T15:59:33Z", UINT64_C(1795276773000000000), 20},
        {"2026-11-21T15:59:33.5Z x", UINT64_C(1795276773500000000), 23},
        {"2026-11-21 15:59:33Z", 0, 0},
        {"2026-11-21T15:59:33.5", 0, 0},
        {"0001-01-01T00:00:00Z", 0, 0},
        {"", 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        uint64_t ns = 0;
        size_t skip = 0;

        print_message("  %s\n", cases[i].text);
        assert_int_equal(berth_docker_stamp(cases[i].text, strlen(cases[i].text), &ns, &skip),
                         cases[i].skip > 0);
        assert_int_equal(ns, cases[i].ns);
        assert_int_equal(skip, cases[i].skip);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_cut_wherever_pieces_end),
        cmocka_unit_test(a_reader_that_has_enough_is_not_asked_again),
        cmocka_unit_test(frames_are_taken_apart),
        cmocka_unit_test(events_tell_which_service),
        cmocka_unit_test(times_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
