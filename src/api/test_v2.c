#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/test_json.h"
#include "api/v2_class.h"
#include "api/v2_infer.h"
#include "api/v2_tensor.h"

/* ---- requests ---- */

static const struct berth_tensor_spec one_row[] = {
    {.name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 2}}};
static const struct berth_describe rows = {
    .inputs = one_row, .input_count = 1, .batch_rows_max = 8};

/* Read header followed by blob; no header length when len is negative. */
static int
read_body(const char *header, const void *blob, size_t blob_len, long len,
          struct berth_v2_infer *ret, struct berth_err *e)
{
    const size_t n = strlen(header);
    char *at = berth_arena_alloc_raw(&arena, n + blob_len + 1);
    const struct berth_v2_body from = {.body = {at, n + blob_len},
                                       .has_header_len = len >= 0,
                                       .header_len = (size_t)(len >= 0 ? len : 0),
                                       .describe = &rows};

    memcpy(at, header, n);
    if (blob_len > 0)
        memcpy(at + n, blob, blob_len);
    return berth_v2_infer_read(&arena, &from, ret, e);
}

/* The worked example: two blobs behind the header. */
static void
blobs_follow_the_header(void **unused)
{
    static const char header[] =
        "{\"id\":\"7\",\"inputs\":[{\"name\":\"input0\",\"shape\":[2,2],\"datatype\":\"UINT32\","
        "\"parameters\":{\"binary_data_size\":16}},{\"name\":\"input1\",\"shape\":[3],"
        "\"datatype\":\"BOOL\",\"parameters\":{\"binary_data_size\":3}}],"
        "\"outputs\":[{\"name\":\"output0\",\"parameters\":{\"binary_data\":true}}]}";
    static const unsigned char blob[] = {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1, 0, 1};
    static const uint32_t want[] = {1, 2, 3, 4};
    struct berth_v2_infer q;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(read_body(header, blob, sizeof blob, sizeof header - 1, &q, &e), 0);
    assert_int_equal(q.input_count, 2);
    assert_int_equal(q.inputs[0].size, 16);
    assert_memory_equal(q.inputs[0].bytes, want, sizeof want);
    assert_int_equal((uintptr_t)q.inputs[0].bytes % 8, 0);
    assert_int_equal(q.inputs[1].size, 3);
    assert_memory_equal(q.inputs[1].bytes, blob + 16, 3);
    assert_int_equal(q.output_count, 1);
    assert_true(q.outputs[0].binary);
    assert_true(berth_slice_is(q.id, "7"));
}

#define IN(tail) "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\"," tail "}]}"

static void
bad_requests_are_refused_by_path(void **unused)
{
    static const struct {
        const char *why, *header;
        size_t blob_len;
        long len; /* -1: no header length; -2: the header's */
        const char *message;
    } cases[] = {
        {"nothing in it", "{}", 0, -1, "inputs: must be an array of at most 1024 tensors"},
        {"no object", "[1]", 0, -1, "the body must be a JSON object, not an array"},
        {"a nameless input", "{\"inputs\":[{}]}", 0, -1,
         "inputs[0].name: must be a string that is not empty"},
        {"a negative dimension", IN("\"shape\":[1,-1],\"data\":[1]"), 0, -1,
         "inputs[0].shape[1]: must not be negative (input 'x')"},
        {"a dimension of text", IN("\"shape\":[\"1\"],\"data\":[1]"), 0, -1,
         "inputs[0].shape[0]: must be a whole number, not a string (input 'x')"},
        {"a dimension of 2^63", IN("\"shape\":[9223372036854775808],\"data\":[1]"), 0, -1,
         "inputs[0].shape[0]: must be a whole number below 2^63 (input 'x')"},
        {"no shape", IN("\"data\":[1]"), 0, -1,
         "inputs[0].shape: must be an array of at most 16 whole numbers (input 'x')"},
        {"neither data nor blob", IN("\"shape\":[1]"), 0, -1,
         "inputs[0].data: give either data or parameters.binary_data_size (input 'x')"},
        {"both", IN("\"shape\":[1],\"data\":[1],\"parameters\":{\"binary_data_size\":4}"), 4, -2,
         "inputs[0].data: give either data or parameters.binary_data_size (input 'x')"},
        {"a blob that is not there", IN("\"shape\":[2],\"parameters\":{\"binary_data_size\":8}"), 4,
         -2,
         "inputs[0].parameters.binary_data_size: 8 bytes, but only 4 are left in the body (input "
         "'x')"},
        {"a blob of the wrong size", IN("\"shape\":[3],\"parameters\":{\"binary_data_size\":8}"), 8,
         -2,
         "inputs[0]: has 8 bytes, but its shape has 3 elements of FP32 (4 bytes each) (input 'x')"},
        {"bytes that nobody owns", IN("\"shape\":[1],\"parameters\":{\"binary_data_size\":4}"), 5,
         -2, "1 bytes of the body belong to no input; see binary_data_size"},
        {"a negative size", IN("\"shape\":[1],\"parameters\":{\"binary_data_size\":-4}"), 4, -2,
         "inputs[0].parameters.binary_data_size: must be a whole number, at least 0 (input 'x')"},
        {"a header longer than the body", "{}", 0, 3,
         "Inference-Header-Content-Length: 3 bytes, but the body has 2"},
        {"a parameter that is an array", "{\"parameters\":{\"a\":[]},\"inputs\":[1]}", 0, -1,
         "parameters.a: must be a string, a number or a boolean"},
        {"an id that is a number", "{\"id\":1,\"inputs\":[]}", 0, -1,
         "id: must be a string of at most 1024 bytes"},
        {"an input twice",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]},"
         "{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]}]}",
         0, -1, "inputs[1].name: 'x' is there twice"},
        {"shared memory of no size",
         IN("\"shape\":[1],\"parameters\":{\"shared_memory_region\":\"r\"}"), 0, -1,
         "inputs[0].parameters.shared_memory_byte_size: is missing (input 'x')"},
        {"shared memory and data",
         IN("\"shape\":[1],\"data\":[1],\"parameters\":{\"shared_memory_region\":\"r\","
            "\"shared_memory_byte_size\":1}"),
         0, -1, "inputs[0].data: give either data or parameters.shared_memory_region (input 'x')"},
    };
    static const char blob[16] = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_v2_infer q;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        assert_int_equal(
            read_body(cases[i].header, blob, cases[i].blob_len,
                      cases[i].len == -2 ? (long)strlen(cases[i].header) : cases[i].len, &q, &e),
            -BERTH_EINVAL);
        assert_string_equal(e.msg, cases[i].message);
    }
}

static void
a_raw_body_is_the_only_input(void **unused)
{
    static const float row[] = {1, 2};
    struct berth_v2_infer q;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(read_body("", row, sizeof row, 0, &q, &e), 0);
    assert_int_equal(q.inputs[0].rank, 2);
    assert_int_equal(q.inputs[0].shape[0], 1);
    assert_int_equal(q.inputs[0].shape[1], 2);
    assert_memory_equal(q.inputs[0].bytes, row, sizeof row);
    assert_true(q.binary);
    assert_int_equal(read_body("", row, 4, 0, &q, &e), -BERTH_EINVAL);
    assert_string_equal(e.msg, "the body has 4 bytes, which do not fill input 'x'");
}

/* ---- answers ---- */

static void
answers_have_blobs_when_asked(void **unused)
{
    static const float scores[] = {0.5f, 0.25f};
    static const char text[] = {1, 0, 0, 0, (char)0xff};
    const struct berth_tensor outputs[] = {
        {.name = "y", .dtype = BERTH_FP32, .rank = 1, .shape = {2}, .bytes = scores, .size = 8},
        {.name = "s", .dtype = BERTH_BYTES, .rank = 1, .shape = {1}, .bytes = text, .size = 5}};
    struct berth_v2_output asked[] = {{.name = "y", .binary = true}, {.name = "s"}};
    const struct berth_v2_infer q = {.id = BERTH_SLICE("a"), .outputs = asked, .output_count = 2};
    const struct berth_v2_answer from = {
        .model = "m", .version = "1", .asked = &q, .outputs = outputs, .output_count = 2};
    static const char want[] =
        "{\"model_name\":\"m\",\"model_version\":\"1\",\"id\":\"a\",\"outputs\":["
        "{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[2],"
        "\"parameters\":{\"binary_data_size\":8}},"
        "{\"name\":\"s\",\"datatype\":\"BYTES\",\"shape\":[1],"
        "\"parameters\":{\"content_type\":\"base64\"},\"data\":[\"/w==\"]}]}";
    struct berth_err e;
    struct berth_buf b;
    size_t header_len;

    (void)unused;
    berth_buf_init(&b, &arena);
    assert_int_equal(berth_v2_answer_put(&b, &from, &header_len, &e), 0);
    assert_int_equal(header_len, sizeof want - 1);
    assert_int_equal(b.len, header_len + 8);
    assert_memory_equal(b.at, want, header_len);
    assert_memory_equal(b.at + header_len, scores, 8);
    asked[0].binary = false;
    berth_buf_init(&b, &arena);
    assert_int_equal(berth_v2_answer_put(&b, &from, &header_len, &e), 0);
    assert_int_equal(header_len, 0); /* all JSON */
}

static void
classes_are_ranked(void **unused)
{
    static const float scores[] = {0.25f, 0.5f, 0.125f, 1, 3, 2};
    const struct berth_tensor y = {
        .name = "y", .dtype = BERTH_FP32, .rank = 2, .shape = {2, 3}, .bytes = scores, .size = 24};
    struct berth_v2_output asked = {.name = "y", .classes = 2};
    const struct berth_v2_infer q = {.id = {"", 0}, .outputs = &asked, .output_count = 1};
    struct berth_v2_answer from = {.model = "m",
                                   .version = "1",
                                   .asked = &q,
                                   .outputs = &y,
                                   .output_count = 1,
                                   .labels = json("[\"cat\",\"dog\"]")};
    static const char *const want[] = {"0.500000:1:dog", "0.250000:0:cat", "3.000000:1:dog",
                                       "2.000000:2"};
    struct berth_slice s;
    struct berth_err e;
    size_t at = 0;

    (void)unused;
    assert_int_equal(berth_v2_classify(&arena, &q, &from, &e), 0);
    assert_int_equal(from.outputs[0].shape[1], 2);
    for (size_t i = 0; i < 4; i++) {
        assert_true(berth_bytes_next(&from.outputs[0], &at, &s));
        assert_true(berth_slice_is(s, want[i]));
    }
    assert_int_equal(berth_tensor_check_bytes(&from.outputs[0], "y", &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blobs_follow_the_header, reset, fini),
        cmocka_unit_test_setup_teardown(bad_requests_are_refused_by_path, reset, fini),
        cmocka_unit_test_setup_teardown(a_raw_body_is_the_only_input, reset, fini),
        cmocka_unit_test_setup_teardown(answers_have_blobs_when_asked, reset, fini),
        cmocka_unit_test_setup_teardown(classes_are_ranked, reset, fini),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
