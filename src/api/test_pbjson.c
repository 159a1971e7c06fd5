#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/pbjson.h"
#include "api/proto_sets.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/pb.h"

/* JSON to a message and back to JSON: what comes back. */
static const struct {
    const char *why, *message, *json, *back;
} rounds[] = {
    {"texts and numbers", "Usage", "{\"prompt_tokens\":3,\"total_tokens\":4294967295}",
     "{\"prompt_tokens\":3,\"total_tokens\":4294967295}"},
    {"what is unknown or null is left out", "Usage", "{\"x\":1,\"prompt_tokens\":null}", "{}"},
    {"what has another type is left out", "Usage", "{\"prompt_tokens\":\"3\"}", "{}"},
    {"zero is told", "Usage", "{\"prompt_tokens\":0}", "{\"prompt_tokens\":0}"},
    {"any JSON", "PredictResponse",
     "{\"output\":{\"a\":[1,2.5,-3,\"x\",true,null,[],{}],\"b\":1e300}}",
     "{\"output\":{\"a\":[1,2.5,-3,\"x\",true,null,[],{}],\"b\":1e300}}"},
    {"a null as a value", "PredictResponse", "{\"output\":null}", "{\"output\":null}"},
    {"a whole number stays one, beyond 2^53 too", "PredictResponse",
     "{\"output\":[1.0,9007199254740992,1e20]}",
     "{\"output\":[1,9007199254740992,100000000000000000000.0]}"},
    {"messages in messages, and lists", "ModelInfo",
     "{\"name\":\"m\",\"metadata\":{\"tags\":[\"a\",\"b\"],\"custom_metadata\":{\"k\":\"v\"}}}",
     "{\"name\":\"m\",\"metadata\":{\"tags\":[\"a\",\"b\"],\"custom_metadata\":{\"k\":\"v\"}}}"},
    {"Rust's enumerations", "ModelInfo", "{\"status\":{\"Error\":\"why\"}}",
     "{\"status\":\"Error\"}"},
    {"doubles", "PerformanceStats", "{\"avg_latency_ms\":0.1,\"p95_latency_ms\":-2}",
     "{\"avg_latency_ms\":0.1,\"p95_latency_ms\":-2}"},
};

static struct berth_slice
descriptor(const char *message)
{
    char name[64];
    const struct berth_slice full = {
        name, (size_t)snprintf(name, sizeof name, ".unimodel.v1.%s", message)};

    return berth_proto_message(full);
}

static void
json_becomes_a_message_and_comes_back(void **unused)
{
    for (size_t i = 0; i < BERTH_COUNT(rounds); i++) {
        const struct berth_slice d = descriptor(rounds[i].message);
        const struct berth_json *v;
        struct berth_buf message, text;
        struct berth_arena a;
        struct berth_err e = {""};
        struct berth_jw w;

        print_message("  %s\n", rounds[i].why);
        assert_true(d.len > 0);
        berth_arena_init(&a, 1 << 20);
        assert_int_equal(berth_json_parse(&a, rounds[i].json, strlen(rounds[i].json), NULL, &v, &e),
                         0);
        berth_buf_init(&message, &a);
        berth_pbjson_put(&message, d, v);
        assert_false(message.failed);
        berth_buf_init(&text, &a);
        berth_jw_init(&w, &text);
        berth_jw_object(&w);
        const struct berth_slice put = {message.len > 0 ? message.at : "", message.len};
        assert_int_equal(berth_pbjson_read(&w, d, put, &e), 0);
        berth_jw_object_end(&w);
        assert_string_equal(berth_buf_text(&text), rounds[i].back);
        berth_arena_fini(&a);
    }
}

/* Messages as clients may send them. */
#define M(literal) literal, sizeof(literal) - 1
static const struct {
    const char *why, *message, *at;
    size_t len;
    const char *says; /* JSON, or the error */
    int want;
} reads[] = {
    {"bytes are base64", "PredictRequest", M("\x22\x03\x01\x02\x03"),
     "{\"binary\":{\"type\":\"Binary\",\"data\":\"AQID\"}}", 0},
    {"optional numbers", "Parameters",
     M("\x08\x00\x15\x00\x00\x80\x3e\x28\xff\xff\xff\xff\xff\xff"
       "\xff\xff\xff\x01\x32\x01.\x32\x01!"),
     "{\"max_tokens\":0,\"temperature\":0.25,\"seed\":-1,\"stop\":[\".\",\"!\"]}", 0},
    {"the last one counts", "Usage", M("\x08\x01\x08\x02"), "{\"prompt_tokens\":2}", 0},
    {"unknown fields are passed over", "Usage", M("\x98\x06\x01\x10\x05"),
     "{\"completion_tokens\":5}", 0},
    {"a number that is no double", "PredictResponse", M("\x0a\x05\x15\0\0\0\0"),
     "{\"output\":null}", 0},
    {"NaN is no JSON", "PredictResponse", M("\x0a\x09\x11\0\0\0\0\0\0\xf8\x7f"),
     "{\"output\":null}", 0},
    {"a text that is a number", "ModelInfo", M("\x08\x01"), "id: the message is damaged",
     -BERTH_EINVAL},
    {"cut short", "ModelInfo",
     M("\x0a\x05"
       "ab"),
     "id: the message is damaged", -BERTH_EINVAL},
    {"cut short within", "PredictResponse", M("\x0a\x02\x1a\x05"), "output: the message is damaged",
     -BERTH_EINVAL},
};

static void
messages_are_read_or_refused(void **unused)
{
    for (size_t i = 0; i < BERTH_COUNT(reads); i++) {
        struct berth_err e = {""};
        struct berth_buf text;
        struct berth_jw w;

        print_message("  %s\n", reads[i].why);
        berth_buf_init(&text, NULL);
        berth_jw_init(&w, &text);
        berth_jw_object(&w);
        const int r = berth_pbjson_read(&w, descriptor(reads[i].message),
                                        (struct berth_slice){reads[i].at, reads[i].len}, &e);
        berth_jw_object_end(&w);
        assert_int_equal(r, reads[i].want);
        assert_string_equal(r < 0 ? e.msg : berth_buf_text(&text), reads[i].says);
        berth_buf_fini(&text);
    }
}

static void
depth_has_a_limit(void **unused)
{
    /* A list in a list in a list ... as google.protobuf.Value. */
    struct berth_err e = {""};
    struct berth_buf text;
    struct berth_jw w;
    char message[256];
    size_t len = 0;

    for (int i = 0; i < 40; i++) { /* from the innermost out: ListValue{Value}, Value{list} */
        memmove(message + 4, message, len);
        message[0] = 6 << 3 | 2;
        message[1] = (char)(len + 2);
        message[2] = 1 << 3 | 2;
        message[3] = (char)len;
        len += 4;
        if (len > 120)
            break;
    }
    memmove(message + 2, message, len);
    message[0] = 1 << 3 | 2;
    message[1] = (char)len;
    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    const int r = berth_pbjson_read(&w, descriptor("PredictResponse"),
                                    (struct berth_slice){message, len + 2}, &e);
    assert_int_equal(r, 0); /* 30 deep is fine */
    berth_buf_fini(&text);

    /* Beyond that by hand: lengths of two bytes. */
    struct berth_buf deep, next;
    berth_buf_init(&deep, NULL);
    for (int i = 0; i < 40; i++) {
        berth_buf_init(&next, NULL);
        const size_t list = berth_pb_begin(&next, 6);
        berth_pb_put_bytes(&next, 1, deep.len > 0 ? deep.at : "", deep.len);
        berth_pb_end(&next, list);
        berth_buf_fini(&deep);
        deep = next;
    }
    berth_buf_init(&next, NULL);
    berth_pb_put_bytes(&next, 1, deep.at, deep.len);
    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    assert_int_equal(berth_pbjson_read(&w, descriptor("PredictResponse"),
                                       (struct berth_slice){next.at, next.len}, &e),
                     -BERTH_EINVAL);
    assert_string_equal(e.msg, "output: is deeper than 32 levels");
    berth_buf_fini(&text);
    berth_buf_fini(&deep);
    berth_buf_fini(&next);
}

static void
files_are_listed_once_and_know_their_symbols(void **unused)
{
    static const struct {
        const char *symbol, *file; /* NULL: none */
    } cases[] = {
        {"unimodel.v1.Usage", "unimodel.proto"},
        {"unimodel.v1.Usage.total_tokens", "unimodel.proto"},
        {"unimodel.v1.InferenceService", "unimodel.proto"},
        {"unimodel.v1.InferenceService.Predict", "unimodel.proto"},
        {"google.protobuf.Value", "google/protobuf/struct.proto"},
        {"google.protobuf.NullValue.NULL_VALUE", "google/protobuf/struct.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"},
        {"unimodel.v1.Usag", NULL},
        {"unimodel.v1", NULL},
        {"unimodel.v1.Usage.", NULL},
        {"unimodel.v1.Usage.none", NULL},
        {"", NULL},
    };
    size_t structs = 0;

    for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);)
        structs += berth_slice_is(it.name, "google/protobuf/struct.proto");
    assert_int_equal(structs, 1);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *found = NULL;
        char name[64] = "";

        print_message("  %s\n", cases[i].symbol);
        for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) {
            if (!berth_proto_defines(&it, berth_slice_of(cases[i].symbol)))
                continue;
            assert_null(found);
            memcpy(name, it.name.at, it.name.len);
            found = name;
        }
        if (cases[i].file == NULL)
            assert_null(found);
        else
            assert_string_equal(name, cases[i].file);
    }
    assert_int_equal(berth_proto_message(BERTH_SLICE("unimodel.v1.None")).len, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_becomes_a_message_and_comes_back),
        cmocka_unit_test(messages_are_read_or_refused),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(files_are_listed_once_and_know_their_symbols),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
