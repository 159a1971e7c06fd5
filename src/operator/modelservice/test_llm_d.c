#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "operator/modelservice/test_generate.h"

/* What llm-d made of odd services and base configurations, this makes of them, too. */

static const struct {
    const char *service, *base, *path, *want;
} cases[] = {
    /* Nothing is added where there is nothing to add. */
    {PVC "  decode: {containers: [{name: c, mountModelVolume: true}]}\n", NULL,
     POD ".containers[0].env", "-"},
    {PVC "  decode: {containers: [{name: c, mountModelVolume: true, env: [{name: A}]}]}\n", NULL,
     POD ".containers[0].env", "[{\"name\":\"A\"}]"},
    /* Nothing behind a key is nothing said; what a service's container has not got is not taken. */
    {HF "  decode: {containers: [{name: c, args: , command: , env: }]}\n",
     BASE "  decodeDeployment: 'spec: {template: {spec: {containers: [{name: c, args: [x]}]}}}'\n",
     POD ".containers[0]", "{\"args\":[\"x\"],\"name\":\"c\"}"},
    {HF "  decode: {containers: [{name: c, image: i, ports: [{containerPort: 1}], stdin: true}]}\n",
     NULL, POD ".containers[0]", "{\"image\":\"i\",\"name\":\"c\"}"},
    /* Blank values of the base; anchors in it; marks of the byte order. */
    /* As large as it may be. */
    {HF "  decode: {containers: [{name: c, resources: {limits: {a: 9Ei, b: '1e20', c: "
        "12345678901234567890123}}}]}\n",
     NULL, POD ".containers[0].resources.limits",
     "{\"a\":\"9Ei\",\"b\":\"1e20\",\"c\":\"12345678901234567890123\"}"},
    {HF "  decode: {containers: [{name: c, env: [{name: A, value: 12345678901234567890123}]}]}\n",
     NULL, POD ".containers[0].env[0].value", "\"12345678901234567890123\""},
    /* A pool without a port. */
    {HF, BASE "  inferencePool: '{}'\n", "inferencePool.spec.targetPortNumber", "0"},
    {HF, BASE "  decodeDeployment:\n  prefillDeployment: ~\n", "decodeDeployment", "-"},
    {HF,
     BASE "  decodeDeployment: '{x-a: &a {b: c}, metadata: {labels: *a, annotations: *a}, y: 1}'\n",
     "decodeDeployment.x-a", "-"},
    {HF, BASE "  decodeDeployment: '{x-a: &a {b: c}, metadata: {annotations: *a}, y: 1}'\n",
     "decodeDeployment.y", "-"},
    {HF, BASE "  decodeDeployment: '{x-a: &a {b: c}, metadata: {annotations: *a}, y: 1}'\n",
     "decodeDeployment.metadata.annotations", "{\"b\":\"c\"}"},
    {"\xef\xbb\xbf" HF,
     "\xef\xbb\xbf" BASE "  decodeDeployment: '\xef\xbb\xbfspec: {replicas: 2}'\n",
     "decodeDeployment.spec.replicas", "2"},
    {HF,
     BASE
     "  inferenceModel: '{metadata: {labels: {a: b, llm-d.ai/model: z}, annotations: {c: d}}}'\n",
     "inferenceModel.metadata.labels",
     "{\"llm-d.ai/inferenceServing\":\"true\",\"llm-d.ai/model\":\"org-m\"}"},
};

static void
odd_files_come_to_the_same(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct berth_json *map = NULL;
        struct berth_buf out;
        if (generate(cases[i].service, cases[i].base, false, &out) != 0)
            fail_msg("case %zu: %s: %s", i, problems.at[0].path, problems.at[0].text);
        assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
        const char *got = at(map, cases[i].path);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu, %s: %s, should be %s", i, cases[i].path, got, cases[i].want);
        berth_arena_reset(&arena);
    }
}

#define FROM(uri)                                                                                 \
    HEAD "  modelArtifacts: {uri: '" uri "'}\n  decode: {containers: [{name: c, image: i, args: " \
         "['{{ .MountedModelPath }}'], mountModelVolume: true}]}\n"
#define ACCELERATORS(types) HF "  decode: {acceleratorTypes: " types "}\n"

/* Printed as llm-d does, with a warning; refused where a cluster is to have it. */
static void
what_llm_d_takes_is_printed(void **unused)
{
    static const struct {
        const char *service, *path, *want, *says;
    } rows[] = {
        {FROM("hf://a"), POD ".volumes", "-", "names no model"},
        {FROM("hf://a"), POD ".containers[0].volumeMounts[0].name", "\"model-storage\"", "REPO"},
        {FROM("hf://a/b/c"), POD ".containers[0].args[0]", "\"/model-cache\"", "names no model"},
        {FROM("pvc://c"), POD ".volumes", "-", "names no path"},
        {FROM("pvc://c"), POD ".containers[0].args[0]", "\"\"", "names no path"},
        {FROM("pvc:///a"), POD ".volumes[0].persistentVolumeClaim.claimName", "\"\"", "no claim"},
        {FROM("pvc://c/../a"), POD ".containers[0].args[0]", "\"/model-cache/../a\"", "\"..\""},
        {HF "  decode: {containers: [{name: c, image: i, env: [{name: A, value: '{{ x }}'}]}]}\n",
         POD ".containers[0].env[0].value", "\"{{ x }}\"", "x"},
        {HF "  decode: {containers: [{name: c}]}\n", POD ".containers[0].name", "\"c\"",
         "c has no image"},
        {PVC "  decode: {initContainers: [{name: c, image: ''}]}\n", POD ".initContainers[0].name",
         "\"c\"", "c has no image"},
        {HEAD "  modelArtifacts: {uri: 'hf://org/m', authSecretName: a..b}\n  decode: {}\n",
         POD ".serviceAccountName", "\"svc-sa\"", "a..b is no name"},
        {ACCELERATORS("{}"), POD ".affinity", "-", "labelKey is empty"},
        {ACCELERATORS("{labelKey: '', labelValues: [a]}"), POD ".affinity", "-", "labelKey"},
        {ACCELERATORS("{labelKey: k, labelValues: []}"), POD ".affinity", "-", "labelValues is"},
        {HF "  decode: {parallelism: {tensor: -1}}\n", POD ".affinity", "-", "tensor is -1"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct berth_msvc_files files = {.service = berth_slice_of(rows[i].service)};
        const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};
        const struct berth_json *map = NULL;
        struct berth_err e = {""};
        struct berth_buf out;
        bool told = false;

        print_message("  %s\n", rows[i].says);
        assert_int_equal(generate(rows[i].service, NULL, false, &out), 0);
        assert_int_equal(problems.errors, 0);
        for (size_t j = 0; j < problems.count; j++)
            told = told || strstr(problems.at[j].text, rows[i].says) != NULL;
        assert_true(told);
        assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
        assert_string_equal(at(map, rows[i].path), rows[i].want);

        assert_int_not_equal(generate(rows[i].service, NULL, true, &out), 0);
        assert_int_equal(problems.errors, 1);
        problems = (struct berth_msvc_problems){.arena = &arena};
        assert_int_not_equal(
            berth_msvc_generate(&files, &conf, BERTH_MSVC_YAML, &arena, &problems, &out, &e), 0);
        assert_int_equal(problems.errors, 1);
        berth_arena_reset(&arena);
    }
}

/* Of two ConfigMaps of one name each apply would undo the other's. */
static void
maps_that_no_cluster_takes_are_printed(void **unused)
{
    static const struct {
        const char *maps, *says;
    } rows[] = {
        {"[{metadata: {name: tw}}, {metadata: {name: tw, namespace: ns}}]", "tw is there twice"},
        {"[{metadata: {name: Tw}}]", "no name of an object"},
        {"[{metadata: {name: tw.}}]", "no name of an object"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *base = berth_arena_printf(&arena, BASE "  configMaps: '%s'\n", rows[i].maps);
        bool told = false;
        struct berth_buf out;

        assert_int_equal(generate(HF, base, false, &out), 0);
        assert_int_equal(problems.errors, 0);
        for (size_t j = 0; j < problems.count; j++)
            told = told || strstr(problems.at[j].text, rows[i].says) != NULL;
        assert_true(told);
        assert_int_not_equal(generate(HF, base, true, &out), 0);
        assert_int_equal(problems.errors, 1);
        berth_arena_reset(&arena);
    }
}

/* Each of them is within what one may take. */
static void
templates_share_what_they_may_take(void **unused)
{
    struct berth_buf service, out;

    (void)unused;
    berth_buf_init(&service, &arena);
    berth_buf_printf(&service, HF "  decode: {containers: [{name: c, image: i, args: [");
    for (int i = 0; i < 40; i++)
        berth_buf_printf(&service, "'{{ len (repeat 1000000 \"x\") }}',");
    berth_buf_printf(&service, "]}]}\n");
    assert_int_equal(generate(berth_buf_text(&service), NULL, false, &out), -BERTH_EINVAL);
    assert_int_equal(problems.errors, 1);
    assert_non_null(strstr(problems.at[problems.count - 1].text, "more computing"));
    berth_arena_reset(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(odd_files_come_to_the_same, begin, end),
        cmocka_unit_test_setup_teardown(what_llm_d_takes_is_printed, begin, end),
        cmocka_unit_test_setup_teardown(maps_that_no_cluster_takes_are_printed, begin, end),
        cmocka_unit_test_setup_teardown(templates_share_what_they_may_take, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
