#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "wire/grpc.h"

/* The body in pieces of every size gives the same messages. */
static void
messages_come_out_of_any_pieces(void **unused)
{
    static const char body[] = "\0\0\0\0\5hello\0\0\0\0\0\1\0\0\0\2yo";
    const size_t len = sizeof body - 1;

    (void)unused;
    for (size_t step = 1; step <= len; step++) {
        struct berth_grpc_frames f = {0};
        char room[8], got[64] = "";
        size_t n = 0, messages = 0;

        for (size_t at = 0; at < len; at += step) {
            const char *p = body + at;
            size_t left = len - at < step ? len - at : step;
            enum berth_grpc_event event;

            while ((event = berth_grpc_frames_put(&f, &p, &left)) != BERTH_GRPC_MORE) {
                assert_int_not_equal(event, BERTH_GRPC_BAD);
                if (event == BERTH_GRPC_BEGUN) {
                    assert_true(f.len <= sizeof room);
                    f.to = room;
                    continue;
                }
                assert_int_equal(f.compressed, messages == 2);
                memcpy(got + n, room, f.len);
                n += f.len;
                messages++;
            }
            assert_int_equal(left, 0);
        }
        assert_int_equal(messages, 3);
        assert_true(berth_grpc_frames_whole(&f));
        assert_string_equal(got, "helloyo");
    }
}

static void
broken_bodies_are_noticed(void **unused)
{
    struct berth_grpc_frames f = {0};
    const char *at = "\2\0\0\0\1x";
    size_t n = 6;

    (void)unused;
    assert_int_equal(berth_grpc_frames_put(&f, &at, &n), BERTH_GRPC_BAD);
    f = (struct berth_grpc_frames){0};
    at = "\0\0\0";
    n = 3;
    assert_int_equal(berth_grpc_frames_put(&f, &at, &n), BERTH_GRPC_MORE);
    assert_false(berth_grpc_frames_whole(&f));
    f = (struct berth_grpc_frames){0};
    at = "\0\0\0\0\2x";
    n = 6;
    assert_int_equal(berth_grpc_frames_put(&f, &at, &n), BERTH_GRPC_BEGUN);
    char room[2];
    f.to = room;
    assert_int_equal(berth_grpc_frames_put(&f, &at, &n), BERTH_GRPC_MORE);
    assert_false(berth_grpc_frames_whole(&f));
    f = (struct berth_grpc_frames){0};
    at = "\0\xff\xff\xff\xff";
    n = 5;
    assert_int_equal(berth_grpc_frames_put(&f, &at, &n), BERTH_GRPC_BEGUN);
    assert_true(f.len == UINT32_MAX);
}

static void
timeouts_are_read(void **unused)
{
    static const struct {
        const char *text;
        uint64_t want; /* 0: not understood */
    } cases[] = {
        {"1H", UINT64_C(3600000000000)},
        {"2M", UINT64_C(120000000000)},
        {"3S", 3000000000},
        {"300m", 300000000},
        {"5u", 5000},
        {"7n", 7},
        {"0m", 1},
        {"99999999H", UINT64_MAX}, /* beyond 64 bits */
        {"", 0},
        {"5", 0},
        {"m", 0},
        {"-1m", 0},
        {"123456789m", 0},
        {"1.5S", 0},
        {"1s", 0},
        {"1 m", 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  \"%s\"\n", cases[i].text);
        uint64_t ns = 0;
        assert_int_equal(berth_grpc_timeout_parse(berth_slice_of(cases[i].text), &ns),
                         cases[i].want != 0);
        assert_true(ns == cases[i].want);
    }
}

static void
messages_are_percent_encoded(void **unused)
{
    struct berth_arena a;
    struct berth_buf b;

    (void)unused;
    berth_arena_init(&a, 1 << 16);
    berth_buf_init(&b, &a);
    berth_grpc_percent_put(&b, "50 % of \xc3\xa9\n~");
    assert_string_equal(berth_buf_text(&b), "50 %25 of %C3%A9%0A~");
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_of_any_pieces),
        cmocka_unit_test(broken_bodies_are_noticed),
        cmocka_unit_test(timeouts_are_read),
        cmocka_unit_test(messages_are_percent_encoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
