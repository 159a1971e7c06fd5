#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"

static void
arena_refuses_beyond_its_limit(void **unused)
{
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 100000);
    assert_non_null(berth_arena_alloc(&a, 60000));
    assert_null(berth_arena_alloc(&a, 60000));
    assert_null(berth_arena_alloc_n(&a, SIZE_MAX / 2, 4));
    char *small = berth_arena_alloc(&a, 40000);
    assert_non_null(small);
    for (size_t i = 0; i < 40000; i++)
        assert_int_equal(small[i], 0);
    berth_arena_fini(&a);
}

static void
arena_aligns_raw_bytes_to_64(void **unused)
{
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    for (size_t n = 1; n < 3000; n += 37) {
        assert_non_null(berth_arena_strndup(&a, "x", 1));
        assert_int_equal((uintptr_t)berth_arena_alloc_raw(&a, n) % 64, 0);
        assert_int_equal((uintptr_t)berth_arena_alloc(&a, n) % _Alignof(max_align_t), 0);
    }
    berth_arena_fini(&a);
}

static void
note(void *arg)
{
    char **at = arg;

    *(*at)++ = 'x';
}

static void
arena_runs_defers_once_and_can_be_used_again(void **unused)
{
    struct berth_arena a;
    char calls[8] = "", *at = calls;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_arena_defer(&a, note, &at), 0);
    assert_int_equal(berth_arena_defer(&a, note, &at), 0);
    berth_arena_reset(&a);
    assert_string_equal(calls, "xx");
    assert_int_equal(a.used_bytes, 0);
    assert_string_equal(berth_arena_printf(&a, "%d-%s", 7, "seven"), "7-seven");
    berth_arena_fini(&a);
    assert_string_equal(calls, "xx");
}

static void
buf_grows_and_remembers_failure(void **unused)
{
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, NULL);
    b.max = 1000;
    for (int i = 0; i < 99; i++)
        berth_buf_printf(&b, "%09d,", i);
    assert_false(b.failed);
    assert_int_equal(b.len, 990);
    berth_buf_put(&b, "0123456789abcdef", 16);
    assert_true(b.failed);
    assert_int_equal(b.len, 990);
    assert_null(berth_buf_text(&b));
    berth_buf_fini(&b);
}

static void
ints_parse_whole_and_in_range(void **unused)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } cases[] = {
        {"0", true, 0},
        {"-5", true, -5},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {"1x", false, 0},
        {" 1", false, 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        int64_t got = 77;
        print_message("  '%s'\n", cases[i].text);
        assert_int_equal(
            berth_int_parse(cases[i].text, strlen(cases[i].text), INT64_MIN, INT64_MAX, &got),
            cases[i].ok);
        assert_int_equal(got, cases[i].ok ? cases[i].want : 77);
    }
    int64_t got = 77;
    assert_false(berth_int_parse("11", 2, 0, 10, &got));
}

/* Values worked out by hand from IEEE 754; also in the Open Inference Protocol's examples. */
static void
half_and_bfloat_round_to_nearest_even(void **unused)
{
    static const struct {
        float f;
        uint16_t half, bf16;
    } cases[] = {
        {1.0f, 0x3c00, 0x3f80},     {-2.0f, 0xc000, 0xc000},   {65504.0f, 0x7bff, 0x4780},
        {5.96e-8f, 0x0001, 0x3380}, {0.1f, 0x2e66, 0x3dcd},    {65520.0f, 0x7c00, 0x4780},
        {0.0f, 0x0000, 0x0000},     {2.9e-8f, 0x0000, 0x32f9}, {1.00048828125f, 0x3c00, 0x3f80},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %g\n", (double)cases[i].f);
        assert_int_equal(berth_float_to_half(cases[i].f), cases[i].half);
        assert_int_equal(berth_float_to_bf16(cases[i].f), cases[i].bf16);
    }
    for (uint32_t h = 0; h < 0x10000; h++) {
        bool nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0;
        if (!nan)
            assert_int_equal(berth_float_to_half(berth_half_to_float((uint16_t)h)), h);
    }
}

static void
utf8_is_checked_to_the_letter(void **unused)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"", true},
        {"plain ascii that is longer than eight bytes", true},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", true},
        {"12345678\xc3", false},
        {"\xc0\x80", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\x80", false},
        {"\xff", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_int_equal(berth_utf8_valid(cases[i].text, strlen(cases[i].text)), cases[i].ok);
}

static void
errors_carry_context_outermost_first(void **unused)
{
    struct berth_err e;

    (void)unused;
    int r = berth_err_set(&e, BERTH_ENOENT, "open %s", "model.onnx");
    assert_int_equal(berth_err_wrap(&e, r, "model %s", "iris"), -BERTH_ENOENT);
    assert_string_equal(e.msg, "model iris: open model.onnx");
}

static void
an_arena_uses_lent_bytes_first(void **unused)
{
    static _Alignas(64) unsigned char lent[512];
    const unsigned char *const end = lent + sizeof lent;
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_arena_lend(&a, NULL, sizeof lent); /* none: as if not called */
    berth_arena_lend(&a, lent, sizeof lent);
    unsigned char *first = berth_arena_alloc_raw(&a, 100), *second = berth_arena_alloc_raw(&a, 100);
    assert_true(first >= lent && first + 100 <= end && second >= lent && second + 100 <= end);
    assert_int_equal((uintptr_t)second % 64, 0);
    unsigned char *large = berth_arena_alloc_raw(&a, 1000), *more = berth_arena_alloc_raw(&a, 300);
    assert_true(large + 1000 <= lent || large >= end);
    assert_true(more + 300 <= lent || more >= end);
    memset(large, 1, 1000);
    berth_arena_reset(&a); /* what was lent is the lender's again */
    unsigned char *again = berth_arena_alloc_raw(&a, 100);
    assert_true(again + 100 <= lent || again >= end);
    berth_arena_fini(&a);
}

static void
arenas_come_and_go_without_growth_of_the_heap(void **unused)
{
    enum { TIMES = 200, CHUNKS = 12, KEPT = TIMES * CHUNKS };
    char **kept = calloc(KEPT, sizeof *kept);
    struct berth_arena a;
    const size_t before = mallinfo2().arena;

    (void)unused;
    assert_non_null(kept);
    for (size_t i = 0; i < TIMES; i++) {
        berth_arena_init(&a, 1 << 20);
        for (size_t j = 0; j < CHUNKS; j++) {
            assert_non_null(berth_arena_alloc(&a, 15000));
            /* Small things that stay lie between its chunks. */
            kept[i * CHUNKS + j] = malloc(16 + (i * CHUNKS + j) * 37 % 200);
            assert_non_null(kept[i * CHUNKS + j]);
        }
        berth_arena_fini(&a);
    }
    const size_t after = mallinfo2().arena;
    const size_t grown = after > before ? after - before : 0; /* what was there may be given back */
    for (size_t i = 0; i < KEPT; i++)
        free(kept[i]);
    free(kept);
    assert_in_range(grown, 0, 4 << 20); /* of which what stays is 0.4 */
}

static void
keep_line(void *arg, const char *line, size_t len)
{
    berth_buf_put(arg, line, len);
}

/* Wherever the characters lie, a message that is too long is still text, and says that it goes on.
 */
static void
a_line_that_is_too_long_is_cut_at_a_whole_character(void **unused)
{
    enum { LONG = 2000 };
    static const char *const of[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\x8b"};
    static const char more[] = "\xe2\x80\xa6\n";

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(of) * 4; i++) {
        const char *one = of[i / 4];
        struct berth_buf line, text;
        berth_buf_init(&line, NULL);
        berth_buf_init(&text, NULL);
        berth_buf_puts(&text, &"bbb"[3 - i % 4]);
        while (text.len < LONG)
            berth_buf_puts(&text, one);
        berth_log_init(BERTH_LOG_INFO, BERTH_LOG_TEXT, -1);
        berth_log_sink(keep_line, &line);
        berth_info("%s", berth_buf_text(&text));
        berth_log_sink(NULL, NULL);
        assert_true(berth_utf8_valid(line.at, line.len));
        assert_in_range(line.len, 1000, 1100);
        const size_t end = line.len - strlen(more), n = strlen(one);
        assert_memory_equal(line.at + end, more, strlen(more));
        assert_memory_equal(line.at + end - n, one, n);
        berth_buf_fini(&text);
        berth_buf_fini(&line);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_uses_lent_bytes_first),
        cmocka_unit_test(arenas_come_and_go_without_growth_of_the_heap),
        cmocka_unit_test(arena_refuses_beyond_its_limit),
        cmocka_unit_test(arena_aligns_raw_bytes_to_64),
        cmocka_unit_test(arena_runs_defers_once_and_can_be_used_again),
        cmocka_unit_test(buf_grows_and_remembers_failure),
        cmocka_unit_test(ints_parse_whole_and_in_range),
        cmocka_unit_test(half_and_bfloat_round_to_nearest_even),
        cmocka_unit_test(utf8_is_checked_to_the_letter),
        cmocka_unit_test(errors_carry_context_outermost_first),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_at_a_whole_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
