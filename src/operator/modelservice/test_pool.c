#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "operator/modelservice/base.h"
#include "operator/modelservice/pool.h"
#include "operator/modelservice/service.h"
#include "operator/modelservice/test_arena.h"
#include "wire/json.h"

static struct berth_msvc_problems problems;

static const struct berth_json *
json(const char *text)
{
    const struct berth_json *ret = NULL;

    assert_int_equal(berth_json_parse(&arena, text, strlen(text), NULL, &ret, NULL), 0);
    return ret;
}

static const char *
text_of(const struct berth_json *v)
{
    struct berth_buf b;

    if (v == NULL)
        return "-";
    berth_buf_init(&b, &arena);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

enum {
    POOL = BERTH_MSVC_POOL,
    POOL_V1 = BERTH_MSVC_POOL_V1,
    MODEL = BERTH_MSVC_MODEL,
    OBJECTIVE = BERTH_MSVC_OBJECTIVE
};

#define SPEC(text) "{\"spec\":{" text "}}"

static const struct {
    enum berth_msvc_inference to;
    int from;
    const char *said;
    int into;
    const char *want, *lost; /* lost: in the warning; NULL: there is none */
} conversions[] = {
    /* A pool, forth. */
    {BERTH_MSVC_TO_V1, POOL, "{}", POOL_V1, "{\"spec\":{}}", NULL},
    {BERTH_MSVC_TO_V1, POOL,
     "{\"apiVersion\":\"x\",\"kind\":\"y\",\"metadata\":{\"labels\":{\"a\":\"b\"}},\"status\":{},"
     "\"spec\":{\"targetPortNumber\":8000,\"selector\":{\"app\":\"x\"},\"extensionRef\":{\"name\":"
     "\"epp\",\"portNumber\":9,\"failureMode\":\"FailOpen\",\"kind\":\"Service\",\"group\":\"\"},"
     "\"later\":1}}",
     POOL_V1,
     "{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"later\":1,\"selector\":{\"matchLabels\":"
     "{\"app\":\"x\"}},\"targetPorts\":[{\"number\":8000}],\"endpointPickerRef\":{\"name\":\"epp\","
     "\"failureMode\":\"FailOpen\",\"kind\":\"Service\",\"group\":\"\",\"port\":{\"number\":9}}}}",
     NULL},
    /* null is nothing. */
    {BERTH_MSVC_TO_V1, POOL,
     SPEC("\"targetPortNumber\":null,\"selector\":null,\"extensionRef\":null"), POOL_V1,
     "{\"spec\":{}}", NULL},
    {BERTH_MSVC_TO_V1, POOL_V1, SPEC("\"targetPorts\":[]"), POOL_V1, SPEC("\"targetPorts\":[]"),
     NULL},
    /* And back. */
    {BERTH_MSVC_TO_V1ALPHA2, POOL_V1,
     SPEC("\"selector\":{\"matchLabels\":{\"app\":\"x\"}},\"targetPorts\":[{\"number\":8000}],"
          "\"endpointPickerRef\":{\"name\":\"epp\",\"port\":{\"number\":9},\"failureMode\":"
          "\"FailClose\"}"),
     POOL,
     SPEC("\"selector\":{\"app\":\"x\"},\"targetPortNumber\":8000,\"extensionRef\":{\"name\":"
          "\"epp\",\"failureMode\":\"FailClose\",\"portNumber\":9}"),
     NULL},
    {BERTH_MSVC_TO_V1ALPHA2, POOL_V1, SPEC("\"targetPorts\":[{\"number\":1},{\"number\":2}]"), POOL,
     SPEC("\"targetPortNumber\":1"), "spec.targetPorts"},
    {BERTH_MSVC_TO_V1ALPHA2, POOL_V1, SPEC("\"appProtocol\":\"http\""), POOL, SPEC(""),
     "spec.appProtocol"},
    /* Models: what they say of pools and names is the service's to say. */
    {BERTH_MSVC_TO_V1, MODEL, SPEC("\"criticality\":\"Critical\",\"poolRef\":{\"name\":\"p\"}"),
     OBJECTIVE, SPEC("\"priority\":1"), NULL},
    {BERTH_MSVC_TO_V1, MODEL, SPEC("\"criticality\":\"Standard\""), OBJECTIVE,
     SPEC("\"priority\":0"), NULL},
    {BERTH_MSVC_TO_V1, MODEL, SPEC("\"criticality\":\"Sheddable\""), OBJECTIVE,
     SPEC("\"priority\":-1"), NULL},
    {BERTH_MSVC_TO_V1, MODEL, SPEC(""), OBJECTIVE, SPEC(""), NULL},
    {BERTH_MSVC_TO_V1, MODEL, SPEC("\"targetModels\":[{\"name\":\"a\"}]"), OBJECTIVE, SPEC(""),
     "spec.targetModels"},
    {BERTH_MSVC_TO_V1ALPHA2, OBJECTIVE, SPEC("\"priority\":1"), MODEL,
     SPEC("\"criticality\":\"Critical\""), NULL},
    {BERTH_MSVC_TO_V1ALPHA2, OBJECTIVE, SPEC("\"priority\":0"), MODEL,
     SPEC("\"criticality\":\"Standard\""), NULL},
    {BERTH_MSVC_TO_V1ALPHA2, OBJECTIVE, SPEC("\"priority\":-5"), MODEL,
     SPEC("\"criticality\":\"Sheddable\""), "spec.priority"},
    {BERTH_MSVC_TO_V1ALPHA2, OBJECTIVE, SPEC(""), MODEL, SPEC(""), NULL},
    /* As it was written. */
    {BERTH_MSVC_AS_WRITTEN, POOL, "{}", POOL, "{}", NULL},
    {BERTH_MSVC_AS_WRITTEN, POOL_V1, "{}", POOL_V1, "{}", NULL},
};

static void
each_generation_is_converted_into_the_other(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof conversions / sizeof *conversions; i++) {
        struct berth_msvc_base base = {0};
        struct berth_err e;
        problems = (struct berth_msvc_problems){.arena = &arena};
        base.of[conversions[i].from] = json(conversions[i].said);
        assert_int_equal(
            berth_msvc_pool_convert(&base, conversions[i].to, false, &arena, &problems, &e), 0);
        const char *got = text_of(base.of[conversions[i].into]);
        if (strcmp(got, conversions[i].want) != 0)
            fail_msg("case %zu: %s, should be %s", i, got, conversions[i].want);
        if (conversions[i].from != conversions[i].into)
            assert_null(base.of[conversions[i].from]);
        assert_int_equal(problems.errors, 0);
        assert_int_equal(problems.count, conversions[i].lost != NULL ? 1 : 0);
        if (conversions[i].lost != NULL)
            assert_string_equal(problems.at[0].path, conversions[i].lost);
        berth_arena_reset(&arena);
    }
}

static void
who_has_said_both_is_taken_at_his_word(void **unused)
{
    static const enum berth_msvc_inference generations[] = {BERTH_MSVC_TO_V1ALPHA2,
                                                            BERTH_MSVC_TO_V1};
    struct berth_err e;

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct berth_msvc_base base = {0};
        problems = (struct berth_msvc_problems){.arena = &arena};
        base.of[MODEL] = json("{\"a\":1}");
        base.of[OBJECTIVE] = json("{\"b\":1}");
        assert_int_equal(
            berth_msvc_pool_convert(&base, generations[i], false, &arena, &problems, &e), 0);
        assert_string_equal(text_of(base.of[MODEL]), i == 0 ? "{\"a\":1}" : "-");
        assert_string_equal(text_of(base.of[OBJECTIVE]), i == 1 ? "{\"b\":1}" : "-");
        assert_int_equal(problems.count, 0);
    }
}

/* Of the extension's later versions, which have pools alone. */
static void
neither_goes_where_there_are_no_objectives(void **unused)
{
    static const struct {
        bool model, objective;
        const char *told;
    } cases[] = {{false, false, NULL},
                 {true, false, "inferenceModel"},
                 {false, true, "inferenceObjective"},
                 {true, true, "inferenceObjective"}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct berth_msvc_base base = {0};
        struct berth_err e;
        problems = (struct berth_msvc_problems){.arena = &arena};
        base.of[MODEL] = cases[i].model ? json(SPEC("\"criticality\":\"Critical\"")) : NULL;
        base.of[OBJECTIVE] = cases[i].objective ? json("{}") : NULL;
        assert_int_equal(
            berth_msvc_pool_convert(&base, BERTH_MSVC_TO_V1, true, &arena, &problems, &e), 0);
        assert_null(base.of[OBJECTIVE]);
        assert_null(base.of[MODEL]);
        assert_int_equal(problems.count, cases[i].told != NULL ? 1 : 0);
        if (cases[i].told != NULL)
            assert_string_equal(problems.at[0].in, cases[i].told);
    }
}

static void
a_pool_says_which_generation_it_is_of(void **unused)
{
    static const struct {
        const char *pool;
        bool is_v1;
    } cases[] = {
        {"{}", false},
        {"{\"apiVersion\":\"inference.networking.k8s.io/v1\"}", true},
        {"{\"apiVersion\":\"inference.networking.x-k8s.io/v1alpha2\"}", false},
        /* Its apiVersion is what counts; one that is of neither says nothing. */
        {"{\"apiVersion\":\"inference.networking.x-k8s.io/"
         "v1alpha2\",\"spec\":{\"targetPorts\":[]}}",
         false},
        {"{\"apiVersion\":\"v1\",\"spec\":{\"targetPorts\":[]}}", true},
        {"{\"apiVersion\":\"inference.networking.k8s.io\"}", false},
        {SPEC("\"targetPorts\":[]"), true},
        {SPEC("\"endpointPickerRef\":{}"), true},
        {SPEC("\"selector\":{\"matchLabels\":{}}"), true},
        /* A label may have that name. */
        {SPEC("\"selector\":{\"matchLabels\":\"x\"}"), false},
        {SPEC("\"targetPortNumber\":1"), false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (berth_msvc_pool_is_v1(json(cases[i].pool)) != cases[i].is_v1)
            fail_msg("case %zu: %s", i, cases[i].pool);
    }
}

static void
only_references_to_the_pool_are_changed(void **unused)
{
    static const struct {
        const char *reference, *want;
    } cases[] = {
        {"{\"group\":\"inference.networking.x-k8s.io\",\"kind\":\"InferencePool\",\"name\":\"p\"}",
         "{\"group\":\"inference.networking.k8s.io\",\"kind\":\"InferencePool\",\"name\":\"p\"}"},
        {"{\"group\":\"inference.networking.k8s.io\",\"kind\":\"InferencePool\",\"name\":\"p\"}",
         "{\"group\":\"inference.networking.k8s.io\",\"kind\":\"InferencePool\",\"name\":\"p\"}"},
        /* Another's, another kind, no generation at all. */
        {"{\"group\":\"inference.networking.x-k8s.io\",\"kind\":\"InferencePool\",\"name\":\"q\"}",
         NULL},
        {"{\"group\":\"inference.networking.x-k8s.io\",\"kind\":\"Other\",\"name\":\"p\"}", NULL},
        {"{\"group\":\"example.com\",\"kind\":\"InferencePool\",\"name\":\"p\"}", NULL},
        {"{\"kind\":\"InferencePool\",\"name\":\"p\"}", NULL},
    };
    struct berth_err e;
    char route[512], want[512];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char shape[] = "{\"spec\":{\"rules\":[{\"backendRefs\":[%s,{\"name\":\"s\","
                                    "\"port\":1}]}],\"n\":null}}";
        const struct berth_json *got = NULL;
        (void)snprintf(route, sizeof route, shape, cases[i].reference);
        (void)snprintf(want, sizeof want, shape,
                       cases[i].want != NULL ? cases[i].want : cases[i].reference);
        assert_int_equal(
            berth_msvc_route_to_pool(json(route), "p", BERTH_MSVC_INFERENCE_V1, &arena, &got, &e),
            0);
        assert_string_equal(text_of(got), want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_generation_is_converted_into_the_other, begin, end),
        cmocka_unit_test_setup_teardown(who_has_said_both_is_taken_at_his_word, begin, end),
        cmocka_unit_test_setup_teardown(neither_goes_where_there_are_no_objectives, begin, end),
        cmocka_unit_test_setup_teardown(a_pool_says_which_generation_it_is_of, begin, end),
        cmocka_unit_test_setup_teardown(only_references_to_the_pool_are_changed, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
