#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "operator/modelservice/test_generate.h"

/* What an API server refuses is told before one is asked: of llm-d's mapping as a warning, of what
 * is to be applied as an error, and where it was written. */

#define DECODE       "  decode:\n    containers:\n" /* lines 7 and 8 of the service */
#define IN_POD(what) BASE "  decodeDeployment: |\n    spec: {template: {spec: {" what "}}}\n"
#define HEAD_WITH(refs)                                                                 \
    "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: svc}\nspec:\n" \
    "  routing: {modelName: Org/M, " refs "}\n  modelArtifacts: {uri: 'hf://org/m'}\n"
#define ROUTE(spec) BASE "  inferencePool: '{}'\n  httpRoute: |\n    spec: {" spec "}\n"
#define C(more)     "    - {name: c, image: i" more "}\n"

static const struct {
    const char *service, *base, *told, *says;
} cases[] = {
    /* Containers. */
    {HF DECODE C("") C(""), NULL, "service:10:7 spec.decode.containers[1]", "c: the pod has two"},
    {HF DECODE C("") C("") C(""), NULL, "service:11:7 spec.decode.containers[2]", "two containers"},
    {HF DECODE C("") "    initContainers:\n" C(""), NULL, "service:9:7 spec.decode.containers[0]",
     "initContainers among them"},
    {HF DECODE C(""), IN_POD("containers: [{name: a, image: i}, {name: a, image: i}]"),
     "base:4:64 spec.template.spec.containers[1]", "a: the pod has two containers"},
    {HF DECODE C(""), IN_POD("initContainers: [{name: c, image: i}]"),
     "service:9:7 spec.decode.containers[0]", "c: the pod has two"},
    {HF DECODE C(""), IN_POD("initContainers: [{name: d, image: i}], containers: [{name: c}]"), "",
     NULL},
    {HF DECODE C(""), IN_POD("containers: [{name: c}, {name: c}]"),
     "base:4:54 spec.template.spec.containers[1]", "c: the pod has two containers"},
    {HF "  endpointPicker: {initContainers: [{name: a, image: i}, {name: a, image: i}]}\n",
     BASE "  eppDeployment: '{}'\n", "service:7:58 spec.endpointPicker.initContainers[1]", "a: "},
    /* A group's, once: its leaders' and its workers', from where they come. */
    {HF "  decode: {multinode: true}\n", IN_POD("containers: [{name: a, image: i}, {name: a}]"),
     "base:4:64 spec.template.spec.containers[1]", "a: "},
    {HF,
     BASE "  decodeLeaderWorkerSet: |\n    spec: {leaderWorkerTemplate: {workerTemplate: {spec:\n"
          "      {containers: [{name: a, image: i}, {name: a}]}}}}\n",
     "base:5:42 spec.leaderWorkerTemplate.workerTemplate.spec.containers[1]", "a: "},
    /* What is in a container, and cannot be kept. */
    {HF DECODE C(", env: [{name: A, value: x}, {name: B}, {name: A, value: v}]"), NULL,
     "service:9:65 spec.decode.containers[0].env[2]", "A: the container has two variables"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, volumeMounts: [{name: a, mountPath: /x}, {name: b, mountPath: "
            "/x}]}], volumes: [{name: a}, {name: b}]"),
     "base:4:94 spec.template.spec.containers[0].volumeMounts[1]", "/x: "},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, volumeMounts: [{name: a, mountPath: /x}, {name: a, mountPath: "
            "/x, subPath: y}]}], volumes: [{name: a}]"),
     "base:4:94 spec.template.spec.containers[0].volumeMounts[1]", "/x: "},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, volumeDevices: [{name: v, devicePath: /d}, {name: w, "
            "devicePath: /d}]}]"),
     "base:4:96 spec.template.spec.containers[0].volumeDevices[1]", "/d: the container has two"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, resources: {claims: [{name: g, request: a}, {name: g, request: "
            "b}]}}]"),
     "base:4:97 spec.template.spec.containers[0].resources.claims[1]", "g: the container has two"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c}], hostAliases: [{ip: 1.2.3.4, hostnames: [a]}, {ip: 1.2.3.4, "
            "hostnames: [b]}]"),
     "base:4:100 spec.template.spec.hostAliases[1]", "1.2.3.4: the pod has two aliases"},
    /* The route's parents. */
    {HEAD_WITH("gatewayRefs: [{name: g}, {name: h}, {name: g, kind: Gateway}]"), ROUTE(""),
     "service:5:67 spec.routing.gatewayRefs[2]", "g: the route has that parent twice"},
    {HEAD_WITH("gatewayRefs: [{name: g}, {name: g}]"), ROUTE("parentRefs: [{name: g}]"), "", NULL},
    /* No doubles. */
    {HEAD_WITH("gatewayRefs: [{name: g, sectionName: a}, {name: g, sectionName: b}]"), ROUTE(""),
     "", NULL},
    {HEAD_WITH("gatewayRefs: [{name: g}]"), ROUTE("parentRefs: [{name: g}, {name: g, port: 80}]"),
     "", NULL},
    {HEAD_WITH("gatewayRefs: [{name: g}]"),
     ROUTE("parentRefs: [{name: h}, {name: h, namespace: n}, {name: h, group: ''}]"), "", NULL},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c}], topologySpreadConstraints: [{topologyKey: z, "
            "whenUnsatisfiable: A}, {topologyKey: z, whenUnsatisfiable: B}, {topologyKey: y, "
            "whenUnsatisfiable: A}]"),
     "", NULL},
    {HF DECODE C(""),
     BASE "  decodeService: 'spec: {ports: [{name: a, port: 80}, {name: b, port: 80, protocol: "
          "UDP}]}'\n",
     "", NULL},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, ports: [{containerPort: 1}, {containerPort: 1, protocol: "
            "UDP}]}, {name: d, image: i, ports: [{containerPort: 1}]}]"),
     "", NULL},
    {HF DECODE C(", env: [{name: A, value: x}]"),
     IN_POD("containers: [{name: c, env: [{name: A, value: v}]}]"), "", NULL},
    /* Counts. */
    {HF "  decode: {replicas: -1}\n", NULL, "service:7:12 spec.decode.replicas", "-1: it is 0"},
    {HF "  decode: {}\n", BASE "  decodeDeployment: 'spec: {replicas: -2}'\n",
     "base:3:29 spec.replicas", "-2: it is 0 or more"},
    {HF "  decode: {replicas: 1}\n", BASE "  decodeDeployment: 'spec: {replicas: -2}'\n", "", NULL},
    {HF "  decode: {multinode: true}\n", BASE "  decodeDeployment: 'spec: {replicas: -2}'\n",
     "base:3:29 spec.replicas", "-2: "},
    {HF "  endpointPicker: {replicas: -1}\n", BASE "  eppDeployment: '{}'\n",
     "service:7:20 spec.endpointPicker.replicas", "-1: "},
    {HF "  prefill: {}\n", BASE "  prefillDeployment: 'spec: {minReadySeconds: -1}'\n",
     "base:3:30 spec.minReadySeconds", "-1: "},
};

#define C0   "decodeDeployment.spec.template.spec.containers[0]."
#define LEFT "decodeLeaderWorkerSet.spec.leaderWorkerTemplate."

/* Of what the base has twice the last is kept. */
static const struct {
    const char *service, *base, *told, *says;
    const char *path, *kept; /* in what is printed */
} doubles[] = {
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, env: [{name: A, value: x}, {name: B}, {name: A, value: v}, "
            "{name: C}]}]"),
     "base:4:91 spec.template.spec.containers[0].env[2]",
     "A: the container has two variables of that name: the last one is kept", C0 "env",
     "[{\"name\":\"B\"},{\"name\":\"A\",\"value\":\"v\"},{\"name\":\"C\"}]"},
    {HF DECODE C(""), IN_POD("containers: [{name: c, env: [{name: A}, {name: A}, {name: A}]}]"),
     "base:4:81 spec.template.spec.containers[0].env[2]", "A: ", C0 "env", "[{\"name\":\"A\"}]"},
    {HF DECODE C(", env: [{name: A, value: z}]"),
     IN_POD("containers: [{name: c, env: [{name: A, value: x}, {name: A, value: v}]}]"),
     "base:4:80 spec.template.spec.containers[0].env[1]", "A: ", C0 "env",
     "[{\"name\":\"A\",\"value\":\"z\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, ports: [{name: p, containerPort: 1}, {name: p, "
            "containerPort: 2}]}]"),
     "base:4:90 spec.template.spec.containers[0].ports[1]", "p: the container has two ports",
     C0 "ports", "[{\"containerPort\":2,\"name\":\"p\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, ports: [{containerPort: 1}, {containerPort: 1, protocol: "
            "TCP}]}]"),
     "base:4:81 spec.template.spec.containers[0].ports[1]", "1/TCP: the container has that port",
     C0 "ports", "[{\"containerPort\":1,\"protocol\":\"TCP\"}]"},
    {HF DECODE C(""), /* of those that the names have left each has a number of its own */
     IN_POD("containers: [{name: c, ports: [{name: h, containerPort: 1}, {name: p, containerPort: "
            "1}, {name: p, containerPort: 2}]}]"),
     "base:4:119 spec.template.spec.containers[0].ports[2]", "p: the container has two ports",
     C0 "ports", "[{\"containerPort\":1,\"name\":\"h\"},{\"containerPort\":2,\"name\":\"p\"}]"},
    {HF DECODE C(""),
     IN_POD("initContainers: [{name: i, image: i, env: [{name: A}, {name: A, value: ''}]}]"),
     "base:4:84 spec.template.spec.initContainers[0].env[1]",
     "A: ", "decodeDeployment.spec.template.spec.initContainers[0].env",
     "[{\"name\":\"A\",\"value\":\"\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, volumeMounts: [{name: a, mountPath: /x}, {name: a, mountPath: "
            "/x, readOnly: true}]}], volumes: [{name: a}]"),
     "base:4:94 spec.template.spec.containers[0].volumeMounts[1]", "/x: ", C0 "volumeMounts",
     "[{\"mountPath\":\"/x\",\"name\":\"a\",\"readOnly\":true}]"},
    {HF DECODE C(""), IN_POD("volumes: [{name: a, emptyDir: {}}, {name: a, hostPath: {path: /}}]"),
     "base:4:65 spec.template.spec.volumes[1]", "a: the pod has two volumes",
     "decodeDeployment.spec.template.spec.volumes",
     "[{\"hostPath\":{\"path\":\"/\"},\"name\":\"a\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c}], topologySpreadConstraints: [{topologyKey: z, "
            "whenUnsatisfiable: A, maxSkew: 1}, {topologyKey: z, whenUnsatisfiable: B}, "
            "{topologyKey: z, whenUnsatisfiable: A, maxSkew: 2}]"),
     "base:4:175 spec.template.spec.topologySpreadConstraints[2]",
     "z/A: the pod has two constraints of that topologyKey and whenUnsatisfiable: the last one is",
     POD ".topologySpreadConstraints",
     "[{\"topologyKey\":\"z\",\"whenUnsatisfiable\":\"B\"},{\"maxSkew\":2,\"topologyKey\":\"z\","
     "\"whenUnsatisfiable\":\"A\"}]"},
    {HF DECODE C(""), IN_POD("containers: [{name: c}], schedulingGates: [{name: g}, {name: g}]"),
     "base:4:84 spec.template.spec.schedulingGates[1]", "g: the pod has two scheduling gates",
     POD ".schedulingGates", "[{\"name\":\"g\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c}], resourceClaims: [{name: g, resourceClaimName: x}, {name: g, "
            "resourceClaimName: w}]"),
     "base:4:105 spec.template.spec.resourceClaims[1]", "g: the pod has two claims",
     POD ".resourceClaims", "[{\"name\":\"g\",\"resourceClaimName\":\"w\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c}], imagePullSecrets: [{name: g}, {name: h}, {name: g}]"),
     "base:4:96 spec.template.spec.imagePullSecrets[2]", "g: the pod has two pull secrets",
     POD ".imagePullSecrets", "[{\"name\":\"h\"},{\"name\":\"g\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, volumeDevices: [{name: v, devicePath: /d}, {name: v, "
            "devicePath: /d}]}]"),
     "base:4:96 spec.template.spec.containers[0].volumeDevices[1]", "/d: the container has two",
     C0 "volumeDevices", "[{\"devicePath\":\"/d\",\"name\":\"v\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, resources: {claims: [{name: g}, {name: g}]}}]"),
     "base:4:85 spec.template.spec.containers[0].resources.claims[1]", "g: the container has two",
     C0 "resources.claims", "[{\"name\":\"g\"}]"},
    {HF DECODE C(""),
     IN_POD("containers: [{name: c, resizePolicy: [{resourceName: cpu, restartPolicy: A}, "
            "{resourceName: cpu, restartPolicy: B}]}]"),
     "base:4:107 spec.template.spec.containers[0].resizePolicy[1]", "cpu: the container has two",
     C0 "resizePolicy", "[{\"resourceName\":\"cpu\",\"restartPolicy\":\"B\"}]"},
    /* Of what is in front of pods. */
    {HF DECODE C(""),
     BASE "  decodeService: |\n    spec:\n      ports:\n      - {name: a, port: 80}\n"
          "      - {name: b, port: 80, protocol: TCP}\n",
     "base:7:9 spec.ports[1]", "80/TCP: the Service has that port twice: the last one is kept",
     "decodeService.spec.ports", "[{\"name\":\"b\",\"port\":80,\"protocol\":\"TCP\"}]"},
    {HF "  prefill: {}\n",
     BASE
     "  prefillService: |\n    spec:\n      ports: [{name: a, port: 80}, {name: a, port: 81}]\n",
     "base:5:36 spec.ports[1]", "a: the Service has two ports of that name",
     "prefillService.spec.ports", "[{\"name\":\"a\",\"port\":81}]"},
    {HF,
     BASE "  eppDeployment: '{}'\n  eppService: |\n    spec:\n      ports:\n"
          "      - {port: 1}\n      - {port: 1}\n",
     "base:8:9 spec.ports[1]", "1/TCP: ", "eppService.spec.ports", "[{\"port\":1}]"},
    {HF,
     BASE "  inferencePool: |\n    spec: {targetPorts: [{number: 1}, {number: 2}, {number: 1}]}\n",
     "base:4:52 spec.targetPorts[2]", "1: the pool has that port twice",
     "inferencePool.spec.targetPorts", "[{\"number\":2},{\"number\":1}]"},
    {HEAD_WITH("gatewayRefs: [{name: g}]"),
     ROUTE("parentRefs: [{name: h, port: 80}, {name: h, group: gateway.networking.k8s.io, port: "
           "80, sectionName: ''}]"),
     "base:5:46 spec.parentRefs[1]", "h: the route has that parent twice: the last one is kept",
     "httpRoute.spec.parentRefs",
     "[{\"group\":\"gateway.networking.k8s.io\",\"name\":\"h\",\"port\":80,\"sectionName\":\"\"},"
     "{\"name\":\"g\"}]"},
    /* A group's, once. */
    {HF "  decode: {multinode: true}\n",
     IN_POD("containers: [{name: a, image: i, env: [{name: A}, {name: A}]}]"),
     "base:4:80 spec.template.spec.containers[0].env[1]",
     "A: ", LEFT "workerTemplate.spec.containers[0].env", "[{\"name\":\"A\"}]"},
    {HF,
     BASE "  decodeLeaderWorkerSet: |\n    spec: {leaderWorkerTemplate: {leaderTemplate: {spec:\n"
          "      {volumes: [{name: a}, {name: a}]}}}}\n",
     "base:5:29 spec.leaderWorkerTemplate.leaderTemplate.spec.volumes[1]", "two volumes",
     LEFT "leaderTemplate.spec.volumes", "[{\"name\":\"a\"}]"},
};

/* All that is told of pods and their counts: "base:4:67 PATH"; *ret_text: the last one's. */
static const char *
told(bool as_warning, const char **ret_text)
{
    const char *ret = "";

    for (size_t i = 0; i < problems.count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        if (p->warning && strstr(p->text, " two ") == NULL &&
            strstr(p->text, "0 or more") == NULL && strstr(p->text, "twice") == NULL)
            continue; /* no rules, no containers, ... */
        assert_int_equal(p->warning, as_warning);
        ret = berth_arena_printf(&arena, "%s%s%s:%zu:%zu %s", ret, ret[0] != '\0' ? ", " : "",
                                 p->in_service ? "service" : "base", p->line, p->column, p->path);
        assert_non_null(ret);
        *ret_text = p->text;
    }
    return ret;
}

static void
what_no_cluster_takes_is_told(void **unused)
{
    static const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const bool is_wrong = cases[i].told[0] != '\0';
        const char *base = cases[i].base;
        const struct berth_msvc_files files = {.service = berth_slice_of(cases[i].service),
                                               .base = {base, base != NULL ? strlen(base) : 0}};
        const char *text = "";
        struct berth_err e = {""};
        struct berth_buf out;
        print_message("  %zu %s\n", i, cases[i].told);
        assert_int_equal(generate(cases[i].service, base, false, &out), 0);
        assert_string_equal(told(true, &text), cases[i].told);
        if (is_wrong && strstr(text, cases[i].says) == NULL)
            fail_msg("%s, should say %s", text, cases[i].says);
        problems = (struct berth_msvc_problems){.arena = &arena};
        berth_buf_init(&out, &arena);
        const int r =
            berth_msvc_generate(&files, &conf, BERTH_MSVC_YAML, &arena, &problems, &out, &e);
        assert_int_equal(r < 0, is_wrong);
        assert_int_equal(problems.errors, is_wrong);
        assert_string_equal(told(false, &text), cases[i].told);
        berth_arena_reset(&arena);
    }
}

static void
of_what_is_there_twice_the_last_is_kept(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(doubles); i++) {
        const struct berth_json *map = NULL;
        const char *text = "";
        struct berth_buf out;
        print_message("  %zu %s\n", i, doubles[i].told);
        for (int strict = 0; strict < 2; strict++) {
            const int r = generate(doubles[i].service, doubles[i].base, strict, &out);
            assert_string_equal(told(true, &text), doubles[i].told);
            if (strstr(text, doubles[i].says) == NULL)
                fail_msg("%s, should say %s", text, doubles[i].says);
            assert_int_equal(r, strict ? -BERTH_EINVAL : 0);
            assert_int_equal(problems.errors, 0);
            if (strict)
                continue;
            assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
            assert_string_equal(at(map, doubles[i].path), doubles[i].kept);
        }
        berth_arena_reset(&arena);
    }
}

/* The mapping is llm-d's all the same. */
static void
it_is_printed_all_the_same(void **unused)
{
    const struct berth_json *map = NULL;
    struct berth_buf out;

    (void)unused;
    assert_int_equal(generate(HF "  decode: {replicas: -1}\n", NULL, false, &out), 0);
    assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
    assert_string_equal(at(map, "decodeDeployment.spec.replicas"), "-1");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_no_cluster_takes_is_told, begin, end),
        cmocka_unit_test_setup_teardown(of_what_is_there_twice_the_last_is_kept, begin, end),
        cmocka_unit_test_setup_teardown(it_is_printed_all_the_same, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
