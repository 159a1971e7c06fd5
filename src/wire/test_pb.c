#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "wire/pb.h"
#include "wire/pb_align.h"

static void
fields_are_read(void **unused)
{
    static const struct {
        const char *why;
        struct berth_slice message;
        size_t fields;
        bool bad;
    } cases[] = {
        {"nothing", BERTH_SLICE(""), 0, false},
        {"the guide's example: 1 is 150", BERTH_SLICE("\x08\x96\x01"), 1, false},
        {"all types", BERTH_SLICE("\x08\x01\x12\x02hi\x1d\1\0\0\0\x21\1\0\0\0\0\0\0\0"), 4, false},
        {"field 0 does not exist", BERTH_SLICE("\x00\x01"), 0, true},
        {"a group", BERTH_SLICE("\x0b\x0c"), 0, true},
        {"a type without meaning", BERTH_SLICE("\x0e\x00"), 0, true},
        {"a number cut short", BERTH_SLICE("\x08\x96"), 0, true},
        {"a number of 11 bytes", BERTH_SLICE("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 0,
         true},
        {"a number of 65 bits", BERTH_SLICE("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), 0,
         true},
        {"the largest number", BERTH_SLICE("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 1,
         false},
        {"bytes beyond the end", BERTH_SLICE("\x08\x01\x12\x03hi"), 1, true},
        {"a length near 2^64", BERTH_SLICE("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01hi"), 0,
         true},
        {"fixed32 cut short", BERTH_SLICE("\x1d\1\0\0"), 0, true},
        {"fixed64 cut short", BERTH_SLICE("\x21\1\0\0\0\0\0\0"), 0, true},
        {"a field number of 30 bits", BERTH_SLICE("\xf8\xff\xff\xff\x1f\x01"), 0, true},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_pb p = berth_pb_of(cases[i].message);
        struct berth_pb_field f;
        size_t n = 0;

        print_message("  %s\n", cases[i].why);
        while (berth_pb_next(&p, &f))
            n++;
        assert_int_equal(n, cases[i].fields);
        assert_int_equal(p.bad, cases[i].bad);
        assert_false(berth_pb_next(&p, &f)); /* and stays there */
    }
}

static void
numbers_are_taken_single_and_packed(void **unused)
{
    struct berth_pb p = berth_pb_of(BERTH_SLICE("\x1a\x04\x01\x96\x01\x02\x18\x05\x1a\x00"));
    static const uint64_t want[] = {1, 150, 2, 5};
    struct berth_pb_field f;
    size_t n = 0;
    bool bad = false;

    (void)unused;
    while (berth_pb_next(&p, &f)) {
        for (uint64_t x; berth_pb_number(&f, BERTH_PB_VARINT, &x, &bad); n++)
            assert_int_equal(x, want[n]);
    }
    assert_int_equal(n, 4);
    assert_false(bad || p.bad);
    /* A packed field that is cut short, and a single one of another form. */
    f = (struct berth_pb_field){.number = 3, .type = BERTH_PB_BYTES, .bytes = BERTH_SLICE("\x96")};
    uint64_t x;
    assert_false(berth_pb_number(&f, BERTH_PB_VARINT, &x, &bad));
    assert_true(bad);
    bad = false;
    f = (struct berth_pb_field){.number = 3, .type = BERTH_PB_FIXED32, .value = 1};
    assert_false(berth_pb_number(&f, BERTH_PB_VARINT, &x, &bad));
    assert_true(bad);
}

static void
what_is_written_is_read_again(void **unused)
{
    static const uint64_t numbers[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
    struct berth_arena a;
    struct berth_buf b;
    struct berth_pb_field f;
    char text[300];

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        berth_pb_put_uint(&b, 1, numbers[i]);
    const size_t outer = berth_pb_begin(&b, 2), inner = berth_pb_begin(&b, 3);
    berth_pb_put_bytes(&b, 4, text, sizeof text); /* its length takes two bytes: all is pushed */
    berth_pb_end(&b, inner);
    berth_pb_end(&b, outer);
    berth_pb_put_text(&b, 5, "");
    assert_false(b.failed);

    struct berth_pb p = berth_pb_of((struct berth_slice){b.at, b.len});
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_true(berth_pb_next(&p, &f));
        assert_true(f.value == numbers[i]);
    }
    assert_true(berth_pb_next(&p, &f) && f.number == 2);
    struct berth_pb in = berth_pb_of(f.bytes);
    assert_true(berth_pb_next(&in, &f) && f.number == 3 && in.at == in.end);
    in = berth_pb_of(f.bytes);
    assert_true(berth_pb_next(&in, &f) && f.number == 4 && in.at == in.end);
    assert_int_equal(f.bytes.len, sizeof text);
    assert_memory_equal(f.bytes.at, text, sizeof text);
    assert_true(berth_pb_next(&p, &f) && f.number == 5 && f.bytes.len == 0 && p.at == p.end);
    berth_arena_fini(&a);
}

/* In pieces of every size: the same fields, and large payloads of field 7 lie aligned. */
static void
payloads_are_aligned(void **unused)
{
    enum { SIZES = 8 };
    static const size_t sizes[SIZES] = {0, 63, 64, 65, 127, 1000, 2000, 64};
    struct berth_arena a;
    struct berth_buf b;
    char text[2000];

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    memset(text, 7, sizeof text);
    berth_pb_put_text(&b, 1, "model");
    berth_pb_put_uint(&b, 2, UINT64_MAX);
    berth_pb_put_tag(&b, 3, BERTH_PB_FIXED32);
    berth_buf_put(&b, "\1\2\3\4", 4);
    berth_pb_put_tag(&b, 4, BERTH_PB_FIXED64);
    berth_buf_put(&b, "\1\2\3\4\5\6\7\10", 8);
    for (size_t i = 0; i < SIZES; i++)
        berth_pb_put_bytes(&b, 7, text, sizes[i]);
    for (size_t step = 1; step < b.len + 10; step += step < 20 ? 1 : 97) {
        char *to = berth_arena_alloc_raw(&a, b.len + BERTH_PB_ALIGN_SPARE);
        struct berth_pb_align align = {.field = 7};
        size_t n = 0;

        for (size_t at = 0; at < b.len; at += step)
            berth_pb_align_put(&align, to, b.at + at, b.len - at < step ? b.len - at : step);
        struct berth_pb p = berth_pb_of((struct berth_slice){to, align.out_len});
        for (struct berth_pb_field f; berth_pb_next(&p, &f);) {
            if (f.number != 7)
                continue;
            assert_int_equal(f.bytes.len, sizes[n]);
            if (sizes[n] >= BERTH_PB_ALIGN_FROM)
                assert_int_equal((uintptr_t)f.bytes.at % BERTH_PB_ALIGN_TO, 0);
            if (sizes[n] > 0)
                assert_memory_equal(f.bytes.at, text, sizes[n]);
            n++;
        }
        assert_int_equal(n, SIZES);
        assert_false(p.bad);
    }
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(numbers_are_taken_single_and_packed),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(payloads_are_aligned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
