#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"
#include "wire/yaml.h"

/* What two files come to: cases of a service, a base configuration and what is then at a path. */

static struct berth_arena arena;
static struct berth_msvc_problems problems;

static int
generate(const char *service, const char *base, bool strict, struct berth_buf *out)
{
    const struct berth_msvc_files files = {.service = berth_slice_of(service),
                                           .base = berth_slice_of(base != NULL ? base : "")};
    static const char *const secrets[] = {"pull"};
    const struct berth_msvc_conf conf = {.strict = strict,
                                         .epp_cluster_role = "picker",
                                         .pd_pull_secrets = secrets,
                                         .pd_pull_secret_count = 1};
    struct berth_err e = {""};

    problems = (struct berth_msvc_problems){.arena = &arena};
    berth_buf_init(out, &arena);
    return berth_msvc_generate(&files, &conf, BERTH_MSVC_MAP, &arena, &problems, out, &e);
}

/* The value at "decodeDeployment.spec.replicas" or "containers[0]", as JSON; "-": not there. */
static const char *
at(const struct berth_json *v, const char *path)
{
    char step[64];
    struct berth_buf b;

    while (v != NULL && *path != '\0') {
        const size_t n = strcspn(path, ".[");
        if (*path == '[') {
            size_t index = (size_t)(path[1] - '0');
            struct berth_json_iter it = berth_json_iter(v);
            v = NULL;
            while (berth_json_next(&it)) {
                if (it.index == index)
                    v = it.value;
            }
            path += 3;
        } else {
            assert_in_range(n, 1, sizeof step - 1);
            (void)snprintf(step, sizeof step, "%.*s", (int)n, path);
            v = berth_json_get(v, step);
            path += n;
        }
        path += *path == '.';
    }
    if (v == NULL)
        return "-";
    berth_buf_init(&b, &arena);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

#define HEAD                                                                                   \
    "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: svc, namespace: ns, " \
    "uid: u1}\nspec:\n  routing: {modelName: Org/M, ports: [{name: app, port: 8000}], "        \
    "gatewayRefs: [{name: gw}]}\n"
#define HF   HEAD "  modelArtifacts: {uri: 'hf://org/m', authSecretName: tok, size: 5Gi}\n"
#define PVC  HEAD "  modelArtifacts: {uri: 'pvc://claim/a/m'}\n"
#define BASE "kind: ConfigMap\ndata:\n"
#define POD  "decodeDeployment.spec.template.spec"

static const struct {
    const char *service, *base, *path, *want;
} cases[] = {
    /* Presence is meant. */
    {HF "  decode: {replicas: 0}\n", BASE "  decodeDeployment: 'spec: {replicas: 2}'\n",
     "decodeDeployment.spec.replicas", "0"},
    {HF "  decode: {}\n", BASE "  decodeDeployment: 'spec: {replicas: 2}'\n",
     "decodeDeployment.spec.replicas", "2"},
    {HF "  decode: {}\n", NULL, "decodeDeployment.spec.replicas", "-"},
    {HF "  decode: {}\n", NULL, "prefillDeployment", "-"},
    {HF, BASE "  prefillDeployment: '{}'\n", "prefillDeployment.metadata.name", "\"svc-prefill\""},
    {HF "  decode: {}\n", NULL, "pdServiceAccount.imagePullSecrets", "[{\"name\":\"pull\"}]"},
    /* The model's volume, only for who mounts it. */
    {HF "  decode: {containers: [{name: c}]}\n", NULL, POD ".volumes", "-"},
    {HF "  decode: {containers: [{name: c, mountModelVolume: true}]}\n", NULL, POD ".volumes",
     "[{\"emptyDir\":{\"sizeLimit\":\"5Gi\"},\"name\":\"model-storage\"}]"},
    {HF "  decode: {containers: [{name: c, mountModelVolume: true, env: [{name: HF_HOME, value: "
        "/x}]}]}\n",
     NULL, POD ".containers[0].env",
     "[{\"name\":\"HF_TOKEN\",\"valueFrom\":{\"secretKeyRef\":{\"key\":\"HF_TOKEN\","
     "\"name\":\"tok\"}}},{\"name\":\"HF_HOME\",\"value\":\"/x\"}]"},
    {PVC "  decode: {containers: [{name: c, mountModelVolume: true}]}\n", NULL,
     POD ".containers[0].volumeMounts",
     "[{\"mountPath\":\"/model-cache\",\"name\":\"model-storage\",\"readOnly\":true}]"},
    {HEAD "  modelArtifacts: {uri: 'oci://r/m:1'}\n  decode: {containers: [{name: c, "
          "mountModelVolume: true}]}\n",
     NULL, POD ".volumes[0].image.reference", "\"r/m:1\""},
    /* Templates, in the service and in the base. */
    {PVC "  decode: {containers: [{name: c, args: ['{{ .MountedModelPath }}', '{{ getPort "
         "\"app\" }}'], image: 'i:{{ .SanitizedModelName }}'}]}\n",
     NULL, POD ".containers[0].args", "[\"/model-cache/a/m\",\"8000\"]"},
    {PVC "  decode: {}\n",
     BASE "  decodeDeployment: |\n    spec: {template: {spec: {containers: [{name: c, ports: "
          "[{containerPort: {{ getPort \"app\" }}}]}]}}}\n",
     POD ".containers[0].ports[0].containerPort", "8000"},
    /* Requirements on nodes hold together. */
    {HF "  decode: {acceleratorTypes: {labelKey: gpu, labelValues: [A, B]}}\n", NULL,
     POD ".affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
     "[{\"matchExpressions\":[{\"key\":\"gpu\",\"operator\":\"In\",\"values\":[\"A\",\"B\"]}]}]"},
    /* Routing. */
    {HF, NULL, "httpRoute.spec.parentRefs", "[{\"name\":\"gw\"}]"},
    {HF, BASE "  inferencePool: 'spec: {targetPortNumber: 8000}'\n",
     "httpRoute.spec.rules[0].backendRefs[0].name", "\"svc-inference-pool\""},
    {HF, BASE "  inferencePool: '{}'\n", "inferencePool.spec.extensionRef.name",
     "\"svc-epp-service\""},
    {HF, BASE "  inferenceModel: '{spec: {criticality: Critical}}'\n", "inferenceModel.spec",
     "{\"criticality\":\"Critical\",\"modelName\":\"Org/M\",\"poolRef\":{\"name\":\"svc-inference-"
     "pool\"}}"},
    {HF, BASE "  decodeService: '{}'\n", "decodeService", "-"},
    {HF, BASE "  eppDeployment: '{}'\n", "eppRoleBinding.roleRef.name", "\"picker\""},
    /* ConfigMaps: an owner only where the garbage collector may follow it. */
    {HF, BASE "  configMaps: '[{metadata: {name: a}}, {metadata: {name: b, namespace: other}}]'\n",
     "configMaps[0].metadata.ownerReferences[0].uid", "\"u1\""},
    {HF, BASE "  configMaps: '[{metadata: {name: a}}, {metadata: {name: b, namespace: other}}]'\n",
     "configMaps[1].metadata.ownerReferences", "-"},
};

static void
two_files_come_to_objects(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct berth_json *map = NULL;
        struct berth_buf out;
        const int r = generate(cases[i].service, cases[i].base, false, &out);
        if (r != 0)
            fail_msg("case %zu: %s: %s", i, problems.at[0].path, problems.at[0].text);
        assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
        const char *got = at(map, cases[i].path);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu, %s: %s, should be %s", i, cases[i].path, got, cases[i].want);
        berth_arena_reset(&arena);
    }
}

static void
all_problems_are_told_at_once(void **unused)
{
    struct berth_buf out;

    (void)unused;
    assert_int_not_equal(
        generate(HEAD "  modelArtifacts: {uri: 'ftp://x'}\n  decode: {containers: [{name: c, args: "
                      "['{{ .Nope }}']}], acceleratorTypes: {labelKey: '', labelValues: []}}\n",
                 BASE "  decodeDeployment: '{{ nofn }}'\n  prefillDeployment: '[1]'\n"
                      "  httpRoute: '{'\n",
                 false, &out),
        0);
    assert_int_equal(problems.errors, 6);
    assert_int_equal(out.len, 0);
}

static void
warnings_fail_when_asked_to(void **unused)
{
    static const char unknown_port[] =
        BASE "  inferencePool: 'spec: {targetPortNumber: {{ getPort \"nope\" }}}'\n";
    struct berth_buf out;

    (void)unused;
    assert_int_equal(generate(HF, unknown_port, false, &out), 0);
    assert_non_null(strstr(berth_buf_text(&out), "targetPortNumber: -1"));
    assert_int_equal(problems.errors, 0);
    assert_non_null(strstr(problems.at[0].text, "app")); /* the ports that there are */
    assert_int_not_equal(generate(HF, unknown_port, true, &out), 0);
}

static int
begin(void **unused)
{
    berth_arena_init(&arena, 64u << 20);
    return 0;
}

static int
end(void **unused)
{
    berth_arena_fini(&arena);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_files_come_to_objects, begin, end),
        cmocka_unit_test_setup_teardown(all_problems_are_told_at_once, begin, end),
        cmocka_unit_test_setup_teardown(warnings_fail_when_asked_to, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
