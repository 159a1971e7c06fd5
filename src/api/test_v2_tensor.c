#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/test_json.h"
#include "api/v2_tensor.h"

/* ---- tensors from JSON ---- */

static void
elements_become_bytes(void **unused)
{
    static const struct {
        const char *why;
        enum berth_dtype dtype;
        const char *data, *hex;
    } cases[] = {
        {"numbers are little-endian", BERTH_UINT32, "[1,2]", "0100000002000000"},
        {"booleans are a byte", BERTH_BOOL, "[true,false]", "0100"},
        {"0 and 1 are booleans, too", BERTH_BOOL, "[1,0]", "0100"},
        {"the least INT8", BERTH_INT8, "[-128,127]", "807f"},
        {"INT16", BERTH_INT16, "[-2,1]", "feff0100"},
        {"UINT64 is exact to its end", BERTH_UINT64, "[18446744073709551615,9007199254740993]",
         "ffffffffffffffff0100000000002000"},
        {"INT64 is exact beyond 2^53", BERTH_INT64, "[-1,9007199254740993]",
         "ffffffffffffffff0100000000002000"},
        {"FP32", BERTH_FP32, "[0.1,-2]", "cdcccc3d000000c0"},
        {"FP64 of whole numbers", BERTH_FP64, "[1,2.5]", "000000000000f03f0000000000000440"},
        {"FP16 rounds to nearest even", BERTH_FP16, "[1,-2]", "003c00c0"},
        {"FP16, its largest and smallest", BERTH_FP16, "[65504,5.96e-8]", "ff7b0100"},
        {"FP16 of a tenth", BERTH_FP16, "[0.1,0]", "662e0000"},
        {"BF16", BERTH_BF16, "[1,-2]", "803f00c0"},
        {"BYTES have a length each", BERTH_BYTES, "[\"a\",\"\\u00e9\"]", "010000006102000000c3a9"},
        {"an empty element is one", BERTH_BYTES, "[\"\",\"b\"]", "000000000100000062"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_tensor t = {.name = "x", .dtype = cases[i].dtype, .rank = 1, .shape = {2}};
        const struct berth_tensor_read how = {.path = "inputs[0].data"};
        struct berth_err e = {""};
        char hex[64];

        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_tensor_read_json(&t, &arena, json(cases[i].data), &how, &e), 0);
        assert_true(t.size * 2 < sizeof hex);
        for (size_t k = 0; k < t.size; k++)
            (void)snprintf(hex + 2 * k, 3, "%02x", ((const unsigned char *)t.bytes)[k]);
        assert_string_equal(hex, cases[i].hex);
        assert_int_equal(berth_tensor_check_bytes(&t, "x", &e), 0);
    }
}

static void
wrong_data_is_refused_by_place(void **unused)
{
    static const struct {
        const char *why;
        enum berth_dtype dtype;
        uint32_t rank;
        int64_t shape[3];
        const char *data, *message;
    } cases[] = {
        {"a count that is short",
         BERTH_FP32,
         1,
         {3},
         "[1,2]",
         "inputs[0].data: has 2 elements, but its shape has 3"},
        {"a count that is long",
         BERTH_FP32,
         2,
         {1, 1},
         "[1,2]",
         "inputs[0].data: has 2 elements, but its shape has 1"},
        {"out of range", BERTH_INT8, 1, {2}, "[1,128]", "inputs[0].data[1]: does not fit INT8"},
        {"negative and unsigned",
         BERTH_UINT8,
         1,
         {1},
         "[-1]",
         "inputs[0].data[0]: does not fit UINT8"},
        {"more than INT64 has",
         BERTH_INT64,
         1,
         {1},
         "[9223372036854775808]",
         "inputs[0].data[0]: does not fit INT64"},
        {"a fraction is no whole number",
         BERTH_INT32,
         1,
         {1},
         "[1.5]",
         "inputs[0].data[0]: must be a whole number, not a number"},
        {"a string is no number",
         BERTH_FP32,
         1,
         {1},
         "[\"1\"]",
         "inputs[0].data[0]: must be a finite number, not a string"},
        {"null is none either",
         BERTH_FP32,
         1,
         {1},
         "[null]",
         "inputs[0].data[0]: must be a finite number, not null"},
        {"NaN is not without the flag",
         BERTH_FP32,
         1,
         {1},
         "[NaN]",
         "inputs[0].data[0]: must be a finite number, not a number"},
        {"too large for single precision",
         BERTH_FP32,
         1,
         {1},
         "[1e39]",
         "inputs[0].data[0]: does not fit FP32"},
        {"too large for half precision",
         BERTH_FP16,
         1,
         {1},
         "[65536]",
         "inputs[0].data[0]: does not fit FP16"},
        {"a number is no text",
         BERTH_BYTES,
         1,
         {1},
         "[1]",
         "inputs[0].data[0]: must be a string, not a whole number"},
        {"2 is no boolean",
         BERTH_BOOL,
         1,
         {1},
         "[2]",
         "inputs[0].data[0]: must be true, false, 1 or 0, not a whole number"},
        {"ragged rows",
         BERTH_FP32,
         2,
         {2, 2},
         "[[1,2],[3]]",
         "inputs[0].data: has 1 elements in a row of dimension 1, but its shape says 2"},
        {"ragged with the right sum",
         BERTH_FP32,
         2,
         {2, 2},
         "[[1,2,3],[4]]",
         "inputs[0].data: has 3 elements in a row of dimension 1, but its shape says 2"},
        {"nested too little",
         BERTH_FP32,
         3,
         {1, 2, 1},
         "[[1,2]]",
         "inputs[0].data: is nested less deeply than its shape of rank 3"},
        {"nested too deeply",
         BERTH_FP32,
         2,
         {1, 1},
         "[[[1]]]",
         "inputs[0].data[0]: must be a finite number, not an array"},
        {"no array",
         BERTH_FP32,
         1,
         {1},
         "1",
         "inputs[0].data: must be an array, not a whole number"},
        {"a shape beyond memory",
         BERTH_FP32,
         2,
         {INT64_MAX, INT64_MAX},
         "[]",
         "inputs[0].data: the shape is too large"},
        {"a claim without data",
         BERTH_FP64,
         1,
         {100000},
         "[]",
         "inputs[0].data: has 0 elements, but its shape has 100000"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_tensor t = {.dtype = cases[i].dtype, .rank = cases[i].rank};
        const struct berth_tensor_read how = {.path = "inputs[0].data"};
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        memcpy(t.shape, cases[i].shape, sizeof cases[i].shape);
        assert_int_equal(berth_tensor_read_json(&t, &arena, json(cases[i].data), &how, &e),
                         -BERTH_EINVAL);
        assert_string_equal(e.msg, cases[i].message);
    }
}

static void
shapes_at_their_edges(void **unused)
{
    static const struct {
        const char *why;
        uint32_t rank;
        int64_t shape[3];
        const char *data;
        size_t size;
    } cases[] = {
        {"rank 0 has one element", 0, {0}, "[7]", 8},
        {"rank 0 may be bare", 0, {0}, "7", 8},
        {"an empty tensor is one", 1, {0}, "[]", 0},
        {"with larger dimensions, too", 3, {2, 0, 5}, "[]", 0},
        {"and nested", 2, {2, 0}, "[[],[]]", 0},
        {"flat data fits any shape", 3, {1, 2, 2}, "[1,2,3,4]", 32},
        {"nested data fits its own", 3, {1, 2, 2}, "[[[1,2],[3,4]]]", 32},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_tensor t = {.dtype = BERTH_INT64, .rank = cases[i].rank};
        const struct berth_tensor_read how = {.path = "data"};
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        memcpy(t.shape, cases[i].shape, sizeof cases[i].shape);
        assert_int_equal(berth_tensor_read_json(&t, &arena, json(cases[i].data), &how, &e), 0);
        assert_int_equal(t.size, cases[i].size);
    }
}

/* ---- tensors to JSON ---- */

static void
bytes_become_elements(void **unused)
{
    static const struct {
        const char *why;
        enum berth_dtype dtype;
        uint32_t rank;
        int64_t shape[3];
        const char *data, *want; /* data: read first, so both ways are one */
        bool nested;
        uint32_t skip;
    } cases[] = {
        {"shortest single precision",
         BERTH_FP32,
         1,
         {2},
         "[0.1,16777216]",
         "[0.1,16777216.0]",
         false,
         0},
        {"whole numbers stay whole",
         BERTH_INT64,
         1,
         {2},
         "[-9223372036854775808,0]",
         "[-9223372036854775808,0]",
         false,
         0},
        {"UINT64 to its end",
         BERTH_UINT64,
         1,
         {1},
         "[18446744073709551615]",
         "[18446744073709551615]",
         false,
         0},
        {"flat by default", BERTH_INT8, 2, {2, 2}, "[[1,2],[3,4]]", "[1,2,3,4]", false, 0},
        {"nested when asked", BERTH_INT8, 2, {2, 2}, "[1,2,3,4]", "[[1,2],[3,4]]", true, 0},
        {"without the batch's dimension", BERTH_INT8, 2, {1, 2}, "[1,2]", "[1,2]", true, 1},
        {"rank 0 is bare when nested", BERTH_BOOL, 0, {0}, "[true]", "true", true, 0},
        {"text", BERTH_BYTES, 1, {2}, "[\"a\",\"\\\"\"]", "[\"a\",\"\\\"\"]", false, 0},
        {"nothing", BERTH_FP32, 2, {0, 3}, "[]", "[]", true, 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_tensor t = {.dtype = cases[i].dtype, .rank = cases[i].rank};
        const struct berth_tensor_read read = {.path = "data"};
        const struct berth_tensor_put put = {.nested = cases[i].nested, .skip = cases[i].skip};
        struct berth_err e = {""};
        struct berth_buf b;
        struct berth_jw w;

        print_message("  %s\n", cases[i].why);
        memcpy(t.shape, cases[i].shape, sizeof cases[i].shape);
        assert_int_equal(berth_tensor_read_json(&t, &arena, json(cases[i].data), &read, &e), 0);
        berth_buf_init(&b, &arena);
        berth_jw_init(&w, &b);
        assert_int_equal(berth_tensor_put_json(&w, &t, &put, &e), 0);
        assert_string_equal(berth_buf_text(&b), cases[i].want);
    }
}

static void
odd_numbers_need_a_flag(void **unused)
{
    const float odd[] = {1, __builtin_nanf(""), -__builtin_inff()};
    const struct berth_tensor t = {.name = "y",
                                   .dtype = BERTH_FP32,
                                   .rank = 1,
                                   .shape = {3},
                                   .bytes = odd,
                                   .size = sizeof odd};
    struct berth_tensor_put how = {.allow_nan = false};
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_jw_init(&w, &b);
    assert_int_equal(berth_tensor_put_json(&w, &t, &how, &e), -BERTH_EBACKEND);
    assert_string_equal(e.msg, "output 'y' contains NaN or infinite values; request binary output");
    berth_buf_init(&b, &arena);
    berth_jw_init(&w, &b);
    how.allow_nan = true;
    assert_int_equal(berth_tensor_put_json(&w, &t, &how, &e), 0);
    assert_string_equal(berth_buf_text(&b), "[1.0,NaN,-Infinity]");
}

/* ---- tensors from bytes ---- */

static void
blobs_of_text_must_split(void **unused)
{
    static const unsigned char good[] = {1, 0, 0, 0, 'a', 0, 0, 0, 0, 2, 0, 0, 0, 0xc3, 0xa9};
    static const struct {
        const char *why;
        size_t size;
        int64_t count;
        int want;
    } cases[] = {
        {"three elements", sizeof good, 3, 0},
        {"not four", sizeof good, 4, -BERTH_EINVAL},
        {"cut short", sizeof good - 1, 3, -BERTH_EINVAL},
        {"cut within a length", 7, 2, -BERTH_EINVAL},
        {"none", 0, 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct berth_tensor t = {.name = "s",
                                       .dtype = BERTH_BYTES,
                                       .rank = 1,
                                       .shape = {cases[i].count},
                                       .bytes = good,
                                       .size = cases[i].size};
        struct berth_err e;

        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_tensor_check_bytes(&t, "s", &e), cases[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(elements_become_bytes, reset, fini),
        cmocka_unit_test_setup_teardown(wrong_data_is_refused_by_place, reset, fini),
        cmocka_unit_test_setup_teardown(shapes_at_their_edges, reset, fini),
        cmocka_unit_test_setup_teardown(bytes_become_elements, reset, fini),
        cmocka_unit_test_setup_teardown(odd_numbers_need_a_flag, reset, fini),
        cmocka_unit_test_setup_teardown(blobs_of_text_must_split, reset, fini),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
