#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <proto/inference.pb-c.h>

#include "api/grpc_pb.h"
#include "api/grpc_status.h"
#include "api/v2_pb.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/base64.h"
#include "wire/pb.h"

/* A request for model m with one INT8 input x of shape [2]; `with` adds what is tried. */
static struct berth_slice
request(struct berth_arena *a, void (*with)(struct berth_buf *b))
{
    struct berth_buf b;

    berth_buf_init(&b, a);
    berth_pb_put_text(&b, 1, "m");
    berth_pb_put_text(&b, 3, "id-1");
    const size_t input = berth_pb_begin(&b, 5);
    berth_pb_put_text(&b, 1, "x");
    berth_pb_put_text(&b, 2, "INT8");
    berth_pb_put_bytes(&b, 3, "\2", 1);
    berth_pb_end(&b, input);
    if (with != NULL)
        with(&b);
    assert_false(b.failed);
    return (struct berth_slice){b.at, b.len};
}

static void
raw(struct berth_buf *b)
{
    berth_pb_put_bytes(b, 7, "\1\2", 2);
}

static void
raw_and_unknown(struct berth_buf *b)
{
    berth_pb_put_bytes(b, 99, "whatever", 8);
    berth_pb_put_uint(b, 98, 1);
    raw(b);
}

static void
raw_twice(struct berth_buf *b)
{
    raw(b);
    raw(b);
}

static void
raw_too_long(struct berth_buf *b)
{
    berth_pb_put_bytes(b, 7, "\1\2\3", 3);
}

static void
long_id(struct berth_buf *b)
{
    char text[BERTH_V2_ID_MAX + 2];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    berth_pb_put_text(b, 3, text);
    raw(b);
}

static void
parameter(struct berth_buf *b, const char *name, uint32_t choice, uint64_t value)
{
    const size_t entry = berth_pb_begin(b, 4);

    berth_pb_put_text(b, 1, name);
    const size_t inner = berth_pb_begin(b, 2);
    berth_pb_put_uint(b, choice, value);
    berth_pb_end(b, inner);
    berth_pb_end(b, entry);
}

static void
parameters(struct berth_buf *b)
{
    parameter(b, "priority", 5, 3);
    parameter(b, "timeout", 2, 1500);
    parameter(b, "triton_enable_empty_final_response", 1, 1);
    raw(b);
}

static void
negative_timeout(struct berth_buf *b)
{
    parameter(b, "timeout", 2, UINT64_MAX);
}

static void
bool_timeout(struct berth_buf *b)
{
    parameter(b, "timeout", 1, 1);
}

static void
classes(struct berth_buf *b)
{
    const size_t output = berth_pb_begin(b, 6);

    berth_pb_put_text(b, 1, "y");
    const size_t entry = berth_pb_begin(b, 2);
    berth_pb_put_text(b, 1, "classification");
    const size_t inner = berth_pb_begin(b, 2);
    berth_pb_put_uint(b, 2, 1001);
    berth_pb_end(b, inner);
    berth_pb_end(b, entry);
    berth_pb_end(b, output);
    raw(b);
}

static void
requests_are_read(void **unused)
{
    static const struct {
        const char *why;
        void (*with)(struct berth_buf *b);
        const char *want; /* NULL: taken */
    } cases[] = {
        {"raw", raw, NULL},
        {"fields that are not known", raw_and_unknown, NULL},
        {"parameters", parameters, NULL},
        {"no data", NULL,
         "inputs[0]: has 0 bytes, but its shape has 2 elements of INT8 (1 bytes each) (input 'x')"},
        {"more raw tensors than inputs", raw_twice,
         "raw_input_contents: has 2 tensors, but the request has 1 inputs"},
        {"too long", raw_too_long,
         "inputs[0]: has 3 bytes, but its shape has 2 elements of INT8 (1 bytes each) (input 'x')"},
        {"a long id", long_id, "id: must be a string of at most 1024 bytes"},
        {"a time before", negative_timeout,
         "parameters.timeout: must be a whole number, at least 0"},
        {"a time that is true", bool_timeout,
         "parameters.timeout: must be a whole number, at least 0"},
        {"too many classes", classes, "outputs[0].parameters.classification: must be 1 to 1000"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_v2_infer q;
        struct berth_err e;

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        const int r = berth_v2_pb_read(&a, request(&a, cases[i].with), &q, &e);
        assert_int_equal(r, cases[i].want != NULL ? -BERTH_EINVAL : 0);
        if (r < 0) {
            assert_string_equal(e.msg, cases[i].want);
        } else {
            assert_int_equal(q.input_count, 1);
            assert_int_equal(q.inputs[0].size, 2);
            assert_memory_equal(q.inputs[0].bytes, "\1\2", 2);
            assert_false(q.typed);
        }
        if (cases[i].with == parameters) {
            assert_int_equal(q.priority, 3);
            assert_int_equal(q.timeout_us, 1500);
            assert_true(q.final_empty);
        }
        berth_arena_fini(&a);
    }
}

/* Numbers come packed or one by one, by the writer's choice. */
static void
typed(struct berth_buf *b)
{
    const size_t input = berth_pb_begin(b, 5);

    berth_pb_put_text(b, 1, "y");
    berth_pb_put_text(b, 2, "INT64");
    berth_pb_put_uint(b, 3, 2); /* a shape that is not packed */
    berth_pb_put_uint(b, 3, 2);
    const size_t contents = berth_pb_begin(b, 5);
    berth_pb_put_uint(b, 3, 7);
    berth_pb_put_bytes(b, 3, "\1\2", 2);
    berth_pb_put_uint(b, 3, UINT64_MAX);
    berth_pb_end(b, contents);
    berth_pb_end(b, input);
    const size_t first = berth_pb_begin(b, 5); /* x has none: give it some, by a second field */
    berth_pb_put_text(b, 1, "z");
    berth_pb_put_text(b, 2, "INT8");
    berth_pb_put_bytes(b, 3, "\0", 1);
    berth_pb_end(b, first);
}

static void
contents_are_converted(void **unused)
{
    struct berth_arena a;
    struct berth_buf b;
    struct berth_v2_infer q;
    struct berth_err e;
    static const int64_t want[] = {7, 1, 2, -1};

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    typed(&b);
    assert_int_equal(berth_v2_pb_read(&a, (struct berth_slice){b.at, b.len}, &q, &e), 0);
    assert_true(q.typed);
    assert_int_equal(q.input_count, 2);
    assert_int_equal(q.inputs[0].rank, 2);
    assert_int_equal(q.inputs[0].size, sizeof want);
    assert_memory_equal(q.inputs[0].bytes, want, sizeof want);
    assert_int_equal(q.inputs[1].size, 0);
    berth_arena_fini(&a);
}

static void
answers_lend_large_tensors(void **unused)
{
    enum { LARGE = 100000 };
    static char large[LARGE];
    const struct berth_tensor outputs[] = {
        {.name = "a", .dtype = BERTH_UINT8, .rank = 1, .shape = {3}, .bytes = "abc", .size = 3},
        {.name = "b", .dtype = BERTH_UINT8, .rank = 1, .shape = {LARGE}, .bytes = large, LARGE},
        {.name = "c", .dtype = BERTH_UINT8, .rank = 1, .shape = {2}, .bytes = "de", .size = 2},
    };
    const struct berth_v2_infer asked = {.id = {"i", 1}};
    const struct berth_v2_answer from = {.model = "m",
                                         .version = "1",
                                         .asked = &asked,
                                         .outputs = outputs,
                                         .output_count = BERTH_COUNT(outputs)};
    const struct berth_v2_pb_flag none = {NULL, false};
    struct berth_arena a;
    struct berth_buf b;
    struct berth_slice *parts;
    struct berth_err e;
    size_t count;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&b, &a);
    assert_int_equal(berth_v2_pb_put(&b, &a, &from, &none, &parts, &count, &e), 0);
    assert_int_equal(count, 3); /* b's bytes; c's head; c's bytes */
    assert_ptr_equal(parts[0].at, large);
    for (size_t i = 0; i < count; i++)
        berth_buf_put(&b, parts[i].at, parts[i].len);
    const Inference__ModelInferResponse *m = (const Inference__ModelInferResponse *)berth_pb_unpack(
        &a, &inference__model_infer_response__descriptor, (struct berth_slice){b.at, b.len});
    assert_non_null(m);
    assert_string_equal(m->id, "i");
    assert_int_equal(m->n_outputs, 3);
    assert_int_equal(m->n_raw_output_contents, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(m->outputs[i]->name, outputs[i].name);
        assert_int_equal(m->raw_output_contents[i].len, outputs[i].size);
    }
    assert_memory_equal(m->raw_output_contents[2].data, "de", 2);
    berth_arena_fini(&a);
}

/* Does the decoded value have that text in it? */
static bool
has(const char *at, size_t len, const char *text)
{
    return memmem(at, len, text, strlen(text)) != NULL;
}

static void
details_name_the_field(void **unused)
{
    static const struct {
        const char *why;
        struct berth_fault fault;
        const char *field; /* NULL: none */
    } cases[] = {
        {"by the message",
         {.code = -BERTH_EINVAL, .message = "inputs[0].shape: must be"},
         "\x0a\x0finputs[0].shape"},
        {"by itself", {.code = -BERTH_EINVAL, .param = "key", .message = "no"}, "\x0a\3key"},
        {"no path", {.code = -BERTH_EINVAL, .message = "the message is bad: x"}, NULL},
        {"no field's fault", {.code = -BERTH_ENOENT, .message = "m: is not there"}, NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_buf b;
        char *padded;
        void *raw_at;
        size_t n;

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        berth_buf_init(&b, &a);
        berth_grpc_details_put(&b, &cases[i].fault, "req-1");
        assert_false(b.failed);
        assert_null(memchr(b.at, '=', b.len));
        padded =
            berth_arena_printf(&a, "%.*s%s", (int)b.len, b.at, &"==="[3 - (4 - b.len % 4) % 4]);
        assert_true(berth_base64_decode(&a, padded, strlen(padded), &raw_at, &n));
        assert_true(has(raw_at, n, cases[i].fault.message));
        assert_true(has(raw_at, n, "google.rpc.ErrorInfo") && has(raw_at, n, "req-1"));
        assert_int_equal(has(raw_at, n, "google.rpc.BadRequest"), cases[i].field != NULL);
        if (cases[i].field != NULL)
            assert_true(has(raw_at, n, cases[i].field));
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read),
        cmocka_unit_test(contents_are_converted),
        cmocka_unit_test(answers_lend_large_tensors),
        cmocka_unit_test(details_name_the_field),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
