#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/fields.h"
#include "api/openai.h"
#include "api/scores.h"
#include "api/test_json.h"
#include "api/unimodel_input.h"
#include "api/vision.h"
#include "base/assert.h"

/* ---- UniModel ---- */

static void
inputs_are_told_apart(void **unused)
{
    static const struct {
        const char *why, *json;
        bool image;
        enum berth_input_kind kind;
        bool tagged;
        size_t len; /* of text or bytes */
    } cases[] = {
        {"a string is a text", "\"hi\"", false, BERTH_INPUT_TEXT, false, 2},
        {"or an image for models that take one", "\"aGk=\"", true, BERTH_INPUT_BINARY, false, 2},
        {"as a data URL, too", "\"data:image/png;base64,aGk=\"", true, BERTH_INPUT_BINARY, false,
         2},
        {"numbers are JSON", "[1,2]", false, BERTH_INPUT_JSON, false, 0},
        {"so is a bare number", "1", true, BERTH_INPUT_JSON, false, 0},
        {"an object is, too", "{\"type\":\"Text\"}", false, BERTH_INPUT_JSON, false, 0},
        {"tagged text", "{\"type\":\"Text\",\"data\":\"hi\"}", true, BERTH_INPUT_TEXT, true, 2},
        {"tagged bytes", "{\"type\":\"Binary\",\"data\":[1,255,0]}", false, BERTH_INPUT_BINARY,
         true, 3},
        {"tagged base64", "{\"type\":\"Binary\",\"data\":\"aGk=\"}", false, BERTH_INPUT_BINARY,
         true, 2},
        {"tagged JSON", "{\"type\":\"Json\",\"data\":{\"x\":1}}", false, BERTH_INPUT_JSON, true, 0},
        {"several at once",
         "{\"type\":\"Multimodal\",\"data\":{\"text\":\"hi\",\"image\":\"aGk=\"}}", false,
         BERTH_INPUT_MULTIMODAL, true, 2},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_input in;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        assert_int_equal(
            berth_input_read(&arena, json(cases[i].json), "input", cases[i].image, &in, &e), 0);
        assert_int_equal(in.kind, cases[i].kind);
        assert_int_equal(in.tagged, cases[i].tagged);
        if (in.kind == BERTH_INPUT_TEXT || in.kind == BERTH_INPUT_MULTIMODAL)
            assert_int_equal(in.text.len, cases[i].len);
        if (in.kind == BERTH_INPUT_BINARY || in.kind == BERTH_INPUT_MULTIMODAL)
            assert_int_equal(in.binary_len, cases[i].len);
    }
}

static void
wrong_inputs_are_refused(void **unused)
{
    static const struct {
        const char *json, *message;
        bool image;
    } cases[] = {
        {"null", "input: is missing; give a text, an image as base64, or numbers", false},
        {"\"\"", "input: a text must have 1 to 1000000 bytes; this one has 0", false},
        {"\"a\\u0000b\"", "input: a text must not contain U+0000", false},
        {"\"!!!\"", "input: must be base64 or a data: URL", true},
        {"\"data:image/png,xx\"", "input: a data URL must look like data:image/png;base64,...",
         true},
        {"\"\"", "input: binary data must have 1 to 100000000 bytes; this has 0", true},
        {"{\"type\":\"Video\",\"data\":1}",
         "input.type: must be Text, Binary, Json or Multimodal, not \"Video\"", false},
        {"{\"type\":\"Text\",\"data\":1}", "input.data: must be a string, not a whole number",
         false},
        {"{\"type\":\"Json\",\"data\":null}", "input.data: must not be null", false},
        {"{\"type\":\"Binary\",\"data\":[256]}", "input.data[0]: must be a byte, 0 to 255", false},
        {"{\"type\":\"Multimodal\",\"data\":{}}", "input.data: must be an object of 1 to 64 inputs",
         false},
        {"{\"type\":\"Multimodal\",\"data\":{\"\":\"x\"}}", "input.data: a key must not be empty",
         false},
        {"{\"type\":\"Multimodal\",\"data\":{\"a\":{\"type\":\"Multimodal\",\"data\":"
         "{\"b\":\"x\"}}}}",
         "input.data.a: must not be Multimodal again", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_input in;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].json);
        assert_int_equal(
            berth_input_read(&arena, json(cases[i].json), "input", cases[i].image, &in, &e),
            -BERTH_EINVAL);
        assert_string_equal(e.msg, cases[i].message);
    }
}

static void
texts_have_a_limit(void **unused)
{
    static const struct {
        size_t len;
        int want;
    } cases[] = {{1000000, 0}, {1000001, -BERTH_EINVAL}};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        char *text = berth_arena_alloc(&arena, cases[i].len + 3);
        struct berth_input in;
        struct berth_err e;

        assert_non_null(text);
        memset(text, 'a', cases[i].len + 2);
        text[0] = text[cases[i].len + 1] = '"';
        assert_int_equal(berth_input_read(&arena, json(text), "input", false, &in, &e),
                         cases[i].want);
    }
}

static const struct berth_tensor_spec iris[] = {
    {.name = "x", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 4}}};
static const struct berth_tensor_spec picture[] = {
    {.name = "p", .dtype = BERTH_FP32, .rank = 4, .shape = {-1, 1, 2, 2}}};
static const struct berth_tensor_spec two[] = {
    {.name = "a", .dtype = BERTH_INT64, .rank = 1, .shape = {-1}},
    {.name = "b", .dtype = BERTH_BYTES, .rank = 1, .shape = {-1}}};

static void
numbers_take_the_models_shape(void **unused)
{
    static const struct {
        const char *why, *json;
        const struct berth_tensor_spec *specs;
        size_t spec_count;
        const char *message; /* NULL: fine */
        uint32_t rank;
        int64_t shape[4];
        bool row;
    } cases[] = {
        {"a batch as it is", "[[1,2,3,4],[5,6,7,8]]", iris, 1, NULL, 2, {2, 4}, false},
        {"one row gets a batch around it", "[1,2,3,4]", iris, 1, NULL, 2, {1, 4}, true},
        {"one picture, nested, gets a batch around it",
         "[[[1,2],[3,4]]]",
         picture,
         1,
         NULL,
         4,
         {1, 1, 2, 2},
         true},
        {"flat numbers fill a known shape", "[1,2,3,4]", picture, 1, NULL, 4, {1, 1, 2, 2}, true},
        {"an object by name", "{\"x\":[[1,2,3,4]]}", iris, 1, NULL, 2, {1, 4}, false},
        {"several by name", "{\"b\":[\"t\"],\"a\":[1]}", two, 2, NULL, 1, {1}, false},
        {"a model that takes anything", "[[1],[2]]", NULL, 0, NULL, 2, {2, 1}, false},
        {"one is missing",
         "{\"a\":[1]}",
         two,
         2,
         "input.b: is missing; the model needs it",
         0,
         {0},
         false},
        {"one is too many",
         "{\"y\":[1]}",
         iris,
         1,
         "input.y: the model has no such input; its first is 'x'",
         0,
         {0},
         false},
        {"several without names",
         "[1]",
         two,
         2,
         "input: the model has 2 inputs; give an object with each by name",
         0,
         {0},
         false},
        {"another rank",
         "[[[1]]]",
         iris,
         1,
         "input: has 3 dimensions, but input 'x' of the model has 2",
         0,
         {0},
         false},
        {"ragged",
         "[[1,2,3,4],[5]]",
         iris,
         1,
         "input: has 1 elements in a row of dimension 1, but its shape says 4",
         0,
         {0},
         false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_describe d = {.inputs = cases[i].specs,
                                         .input_count = cases[i].spec_count};
        struct berth_input_tensors t;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        const int r = berth_input_tensors(&arena, json(cases[i].json), "input", &d, &t, &e);
        assert_int_equal(r, cases[i].message == NULL ? 0 : -BERTH_EINVAL);
        if (r < 0) {
            assert_string_equal(e.msg, cases[i].message);
            continue;
        }
        assert_int_equal(t.inputs[0].rank, cases[i].rank);
        for (uint32_t k = 0; k < cases[i].rank; k++)
            assert_int_equal(t.inputs[0].shape[k], cases[i].shape[k]);
        assert_int_equal(t.row, cases[i].row);
    }
}

static void
untyped_numbers_keep_their_kind(void **unused)
{
    static const struct {
        const char *json;
        enum berth_dtype dtype;
        const char *back;
    } cases[] = {
        {"[1,2]", BERTH_INT64, "[1,2]"},  {"[1,2.5]", BERTH_FP64, "[1.0,2.5]"},
        {"[true]", BERTH_BOOL, "[true]"}, {"[\"a\"]", BERTH_BYTES, "[\"a\"]"},
        {"7", BERTH_INT64, "7"},
    };
    const struct berth_describe d = {.input_count = 0};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_input_tensors t;
        struct berth_err e = {""};
        struct berth_buf b;
        struct berth_jw w;

        print_message("  %s\n", cases[i].json);
        assert_int_equal(berth_input_tensors(&arena, json(cases[i].json), "input", &d, &t, &e), 0);
        assert_int_equal(t.inputs[0].dtype, cases[i].dtype);
        berth_buf_init(&b, &arena);
        berth_jw_init(&w, &b);
        assert_int_equal(berth_output_put(&w, t.inputs, t.count, t.row, &e), 0);
        assert_string_equal(berth_buf_text(&b), cases[i].back);
    }
}

/* ---- OpenAI ---- */

static void
messages_are_made_plain(void **unused)
{
    static const struct {
        const char *why, *messages, *want; /* want: JSON, or the message */
        bool ok;
    } cases[] = {
        {"strings stay", "[{\"role\":\"user\",\"content\":\"a\",\"name\":\"x\"}]",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", true},
        {"parts are joined",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"type\":\"text\",\"text\":\"b\"}]}]",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}]}", true},
        {"developer is system's newer name", "[{\"role\":\"developer\",\"content\":\"a\"}]",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", true},
        {"an assistant may be silent", "[{\"role\":\"assistant\",\"content\":null}]",
         "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}", true},
        {"quotes are escaped", "[{\"role\":\"user\",\"content\":\"\\\"\"}]",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"\\\"\"}]}", true},
        {"none", "[]", "messages: must be an array of 1 to 4096 messages", false},
        {"no array", "\"hi\"", "messages: must be an array of 1 to 4096 messages", false},
        {"no content", "[{\"role\":\"user\"}]",
         "messages[0]: content: must be a string or an array of parts, not nothing", false},
        {"an unknown role", "[{\"role\":\"king\",\"content\":\"a\"}]",
         "messages[0]: role: must be system, developer, user or assistant, not \"king\"", false},
        {"an image", "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]",
         "messages[0]: content[0]: this model reads text only, not parts of type \"image_url\"",
         false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_err e = {""};
        struct berth_buf b;
        char text[512];

        print_message("  %s\n", cases[i].why);
        (void)snprintf(text, sizeof text, "{\"messages\":%s}", cases[i].messages);
        struct berth_fields f = berth_fields(json(text), "", &e);
        berth_buf_init(&b, &arena);
        const int r = berth_openai_messages(&f, &b);
        assert_int_equal(r, cases[i].ok ? 0 : -BERTH_EINVAL);
        assert_string_equal(cases[i].ok ? berth_buf_text(&b) : e.msg, cases[i].want);
    }
}

static void
prompts_have_four_forms(void **unused)
{
    static const struct {
        const char *prompt;
        int want;
        size_t count, first_tokens;
    } cases[] = {
        {"\"a\"", 0, 1, 0},
        {"[\"a\",\"b\"]", 0, 2, 0},
        {"[1,2,3]", 0, 1, 3},
        {"[[1,2],[3]]", 0, 2, 2},
        {"[]", -BERTH_EINVAL, 0, 0},
        {"[[]]", -BERTH_EINVAL, 0, 0},
        {"7", -BERTH_EINVAL, 0, 0},
        {"[1,\"a\"]", -BERTH_EINVAL, 0, 0},
        {"[-1]", -BERTH_EINVAL, 0, 0},
        {"[1.5]", -BERTH_EINVAL, 0, 0},
        {"{}", -BERTH_EINVAL, 0, 0},
        {"\"a\\u0000\"", -BERTH_EINVAL, 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_openai_prompt *p;
        struct berth_err e = {""};
        size_t n;
        char text[128];

        print_message("  %s\n", cases[i].prompt);
        (void)snprintf(text, sizeof text, "{\"prompt\":%s}", cases[i].prompt);
        struct berth_fields f = berth_fields(json(text), "", &e);
        assert_int_equal(berth_openai_prompts(&f, &arena, "prompt", &p, &n), cases[i].want);
        if (cases[i].want < 0) {
            assert_string_equal(f.bad, "prompt");
            continue;
        }
        assert_int_equal(n, cases[i].count);
        assert_int_equal(p[0].token_count, cases[i].first_tokens);
    }
}

/* ---- images ---- */

/* A grey PNG of 2 by 2: 0, 255, 255, 0. */
static const unsigned char png[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x57, 0xdd, 0x52, 0xf8, 0x00, 0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78,
    0x9c, 0x63, 0x60, 0xf8, 0x0f, 0x84, 0x00, 0x06, 0x00, 0x01, 0xff, 0x93, 0xd1, 0xe4,
    0x89, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

static void
scores_are_named_and_ranked(void **unused)
{
    static const float scores[] = {1, 3, 2};
    const struct berth_tensor out = {
        .name = "y", .dtype = BERTH_FP32, .rank = 2, .shape = {1, 3}, .bytes = scores, .size = 12};
    static const struct {
        const char *why, *manifest, *want; /* want: how the text begins, or the message */
        bool ok;
    } cases[] = {
        {"by label", "{\"labels\":[\"a\",\"b\",\"c\"],\"output\":{\"top\":2}}",
         "{\"label\":\"b\",\"index\":1,\"score\":3.0,\"top\":[{\"label\":\"b\",\"index\":1,"
         "\"score\":3.0},{\"label\":\"c\",\"index\":2,\"score\":2.0}],\"scores\":[1.0,3.0,2.0]}",
         true},
        {"without labels", "{\"output\":{\"name\":\"y\",\"top\":1}}",
         "{\"label\":null,\"index\":1,\"score\":3.0,\"top\":[{\"label\":null,\"index\":1,"
         "\"score\":3.0}],\"scores\":[1.0,3.0,2.0]}",
         true},
        {"of an output that is not there", "{\"output\":{\"name\":\"z\"}}",
         "manifest: output.name: the model gives no 'z'", false},
        {"an unknown activation", "{\"output\":{\"activation\":\"relu\"}}",
         "manifest: output.activation: must be none, softmax or sigmoid", false},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_err e = {""};
        struct berth_buf b;
        struct berth_jw w;

        print_message("  %s\n", cases[i].why);
        berth_buf_init(&b, &arena);
        berth_jw_init(&w, &b);
        const int r = berth_vision_put_scores(&w, &arena, json(cases[i].manifest), &out, 1, &e);
        assert_int_equal(r == 0, cases[i].ok);
        assert_string_equal(r == 0 ? berth_buf_text(&b) : e.msg, cases[i].want);
    }
}

static void
activations_are_right(void **unused)
{
    float x[] = {1, 1, 1, 1}, y[] = {0, 1000, -1000};

    (void)unused;
    berth_scores_softmax(x, 4);
    for (int i = 0; i < 4; i++)
        assert_true(x[i] > 0.2499f && x[i] < 0.2501f);
    berth_scores_softmax(y, 3); /* no overflow */
    assert_true(y[1] > 0.999f && y[0] < 0.001f && y[2] < 0.001f);
    float z[] = {0};
    berth_scores_sigmoid(z, 1);
    assert_true(z[0] > 0.499f && z[0] < 0.501f);
}

static void
the_best_are_found(void **unused)
{
    const float x[] = {2, __builtin_nanf(""), 5, 5, -1};
    uint32_t best[5];

    (void)unused;
    berth_scores_best(x, 5, best, 5);
    const uint32_t want[] = {2, 3, 0, 4, 1}; /* the first of equals first, NaN last */
    assert_memory_equal(best, want, sizeof want);
    berth_scores_best(x, 5, best, 1);
    assert_int_equal(best[0], 2);
}

static void
images_become_the_models_tensor(void **unused)
{
    static const struct berth_tensor_spec specs[] = {
        {.name = "p", .dtype = BERTH_FP32, .rank = 4, .shape = {-1, 1, 2, 2}},
        {.name = "p", .dtype = BERTH_UINT8, .rank = 4, .shape = {1, 2, 2, 1}},
        {.name = "p", .dtype = BERTH_FP32, .rank = 2, .shape = {-1, 4}},
    };
    static const struct {
        const char *why, *manifest;
        size_t spec;
        uint32_t rank;
        int64_t shape[4];
        size_t size;
    } cases[] = {
        {"all from the model", "{\"image\":{}}", 0, 4, {1, 1, 2, 2}, 16},
        {"0 to 255", "{\"image\":{\"scale\":255,\"layout\":\"NHWC\"}}", 1, 4, {1, 2, 2, 1}, 4},
        {"one row",
         "{\"image\":{\"width\":2,\"height\":2,\"channels\":1,\"layout\":\"flat\"}}",
         2,
         2,
         {1, 4},
         16},
    };
    const struct berth_vision_image image = {
        .bytes = png, .len = sizeof png, .pixels_max = 100, .path = "input"};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_describe d = {.inputs = &specs[cases[i].spec], .input_count = 1};
        struct berth_tensor t;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        const int r = berth_vision_tensor(&arena, json(cases[i].manifest), &d, &image, &t, &e);
        assert_string_equal(e.msg, "");
        assert_int_equal(r, 0);
        assert_int_equal(t.rank, cases[i].rank);
        for (uint32_t k = 0; k < t.rank; k++)
            assert_int_equal(t.shape[k], cases[i].shape[k]);
        assert_int_equal(t.size, cases[i].size);
        if (t.dtype == BERTH_UINT8) {
            const unsigned char want[] = {0, 255, 255, 0};
            assert_memory_equal(t.bytes, want, sizeof want);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(inputs_are_told_apart, reset, fini),
        cmocka_unit_test_setup_teardown(wrong_inputs_are_refused, reset, fini),
        cmocka_unit_test_setup_teardown(texts_have_a_limit, reset, fini),
        cmocka_unit_test_setup_teardown(numbers_take_the_models_shape, reset, fini),
        cmocka_unit_test_setup_teardown(untyped_numbers_keep_their_kind, reset, fini),
        cmocka_unit_test_setup_teardown(messages_are_made_plain, reset, fini),
        cmocka_unit_test_setup_teardown(prompts_have_four_forms, reset, fini),
        cmocka_unit_test_setup_teardown(scores_are_named_and_ranked, reset, fini),
        cmocka_unit_test_setup_teardown(activations_are_right, reset, fini),
        cmocka_unit_test_setup_teardown(the_best_are_found, reset, fini),
        cmocka_unit_test_setup_teardown(images_become_the_models_tensor, reset, fini),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
