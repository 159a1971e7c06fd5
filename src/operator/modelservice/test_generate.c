#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "operator/modelservice/test_generate.h"

/* What two files come to: cases of a service, a base configuration and what is then at a path. */

#define LWS "decodeLeaderWorkerSet.spec.leaderWorkerTemplate"
#define GROUP_POD                                                                                 \
    "{\"containers\":[{\"env\":[{\"name\":\"HF_TOKEN\",\"valueFrom\":{\"secretKeyRef\":{\"key\":" \
    "\"HF_TOKEN\",\"name\":\"tok\"}}},{\"name\":\"HF_HOME\",\"value\":\"/"                        \
    "model-cache\"}],\"image\":"                                                                  \
    "\"i\",\"name\":\"c\",\"volumeMounts\":[{\"mountPath\":\"/"                                   \
    "model-cache\",\"name\":\"model-storage\""                                                    \
    "}]}],\"serviceAccountName\":\"svc-sa\",\"volumes\":[{\"emptyDir\":{\"sizeLimit\":\"5Gi\"},"  \
    "\"name\":\"model-storage\"}]}"
#define GROUP_BASE                                                                           \
    BASE "  decodeLeaderWorkerSet: 'spec: {leaderWorkerTemplate: {size: 2, leaderTemplate: " \
         "{spec: {containers: [{name: c, args: [l]}, {name: proxy, image: p}]}}, "           \
         "workerTemplate: {spec: {containers: [{name: c, args: [w]}]}}}}'\n"

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
    /* A group of pods instead of one: a LeaderWorkerSet. */
    {HF "  decode: {multinode: true, replicas: 3}\n", NULL, "decodeDeployment", "-"},
    {HF "  decode: {multinode: true, replicas: 3}\n", NULL, "decodeLeaderWorkerSet.metadata",
     "{\"labels\":{\"llm-d.ai/inferenceServing\":\"true\",\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/"
     "role\":\"decode\"},\"name\":\"svc-decode\",\"namespace\":\"ns\",\"ownerReferences\":[{"
     "\"apiVersion\":\"llm-d.ai/"
     "v1alpha1\",\"kind\":\"ModelService\",\"name\":\"svc\",\"uid\":\"u1\"}]"
     "}"},
    {HF "  decode: {multinode: true, replicas: 3}\n", NULL, "decodeLeaderWorkerSet.spec.replicas",
     "3"},
    {HF "  decode: {multinode: true}\n", NULL, LWS ".size", "-"},
    {HF "  decode: {parallelism: {workers: 4}}\n", NULL, LWS ".size", "4"},
    {HF "  decode: {parallelism: {data: 6, dataLocal: 2}}\n", NULL, LWS ".size", "3"},
    {HF "  decode: {parallelism: {workers: 1}}\n", NULL, "decodeLeaderWorkerSet", "-"},
    {HF "  prefill: {multinode: true}\n", NULL, "prefillLeaderWorkerSet.metadata.name",
     "\"svc-prefill\""},
    {HF "  prefill: {multinode: true}\n", NULL, "pdServiceAccount.metadata.name", "\"svc-sa\""},
    {HF "  decode: {multinode: true}\n", BASE "  decodeService: '{}'\n",
     "decodeService.spec.selector",
     "{\"llm-d.ai/inferenceServing\":\"true\",\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/role\":"
     "\"decode\"}"},
    /* Requests come to leaders alone: workers do not bear what is selected by. */
    {HF "  decode: {multinode: true}\n", NULL, LWS ".leaderTemplate.metadata.labels",
     "{\"llm-d.ai/inferenceServing\":\"true\",\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/role\":"
     "\"decode\"}"},
    {HF "  decode: {multinode: true}\n", NULL, LWS ".workerTemplate.metadata.labels",
     "{\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/role\":\"decode\"}"},
    {HF "  decode: {multinode: true}\n",
     BASE "  decodeDeployment: 'spec: {template: {metadata: {labels: {llm-d.ai/inferenceServing: "
          "\"true\", a: b}}}}'\n",
     LWS ".workerTemplate.metadata.labels",
     "{\"a\":\"b\",\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/role\":\"decode\"}"},
    {HF "  decode: {multinode: true}\n",
     BASE "  decodeLeaderWorkerSet: 'spec: {leaderWorkerTemplate: {workerTemplate: {metadata: "
          "{labels: {llm-d.ai/inferenceServing: \"true\"}}}}}'\n",
     LWS ".workerTemplate.metadata.labels",
     "{\"llm-d.ai/inferenceServing\":\"true\",\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/role\":"
     "\"decode\"}"},
    /* Its base: a LeaderWorkerSet's, or the Deployment's pods. */
    {HF "  decode: {multinode: true, containers: [{name: c, mountModelVolume: true}]}\n",
     BASE "  decodeDeployment: '{metadata: {labels: {a: b}}, spec: {replicas: 5, strategy: {type: "
          "Recreate}, template: {spec: {containers: [{name: c, image: i}]}}}}'\n",
     "decodeLeaderWorkerSet.spec",
     "{\"leaderWorkerTemplate\":{\"leaderTemplate\":{\"metadata\":{\"labels\":{\"llm-d.ai/"
     "inferenceServing\":\"true\",\"llm-d.ai/model\":\"org-m\",\"llm-d.ai/role\":\"decode\"}},"
     "\"spec\":" GROUP_POD "},\"workerTemplate\":{\"metadata\":{\"labels\":{\"llm-d.ai/model\":"
     "\"org-m\",\"llm-d.ai/role\":\"decode\"}},\"spec\":" GROUP_POD "}},\"replicas\":5}"},
    {HF "  decode: {multinode: true, containers: [{name: c, args: [x]}]}\n", GROUP_BASE,
     LWS ".leaderTemplate.spec.containers[0]", "{\"args\":[\"x\",\"l\"],\"name\":\"c\"}"},
    {HF "  decode: {multinode: true, containers: [{name: c, args: [x]}]}\n", GROUP_BASE,
     LWS ".workerTemplate.spec.containers[0]", "{\"args\":[\"x\",\"w\"],\"name\":\"c\"}"},
    {HF "  decode: {containers: [{name: c, image: ''}]}\n", /* as absent: no pod runs it */
     BASE "  decodeDeployment: '{spec: {template: {spec: {containers: [{name: c, image: i}]}}}}'\n",
     POD ".containers[0].image", "\"i\""},
    {HF "  decode: {containers: [{name: c}]}\n", GROUP_BASE, LWS ".size", "2"},
    {HF, GROUP_BASE, LWS ".size", "2"},
    {HF "  decode: {multinode: false}\n", GROUP_BASE, "decodeLeaderWorkerSet", "-"},
    {HF "  decode: {}\n", GROUP_BASE "  decodeDeployment: '{}'\n", "decodeLeaderWorkerSet", "-"},
    {HF "  decode: {parallelism: {workers: 4}}\n", GROUP_BASE "  decodeDeployment: '{}'\n",
     LWS ".size", "4"},
    /* A container that the base has in one of the two is the service's there alone. */
    {HF "  decode: {containers: [{name: proxy, args: [z]}]}\n", GROUP_BASE,
     LWS ".workerTemplate.spec.containers", "[{\"args\":[\"w\"],\"name\":\"c\"}]"},
    {HF "  decode: {containers: [{name: proxy, args: [z]}]}\n", GROUP_BASE,
     LWS ".leaderTemplate.spec.containers[1]",
     "{\"args\":[\"z\"],\"image\":\"p\",\"name\":\"proxy\"}"},
    {HF "  decode: {containers: [{name: new, image: o}]}\n", GROUP_BASE,
     LWS ".workerTemplate.spec.containers[1].image", "\"o\""},
    /* Parallelism: flags at the end, variables, accelerators. */
    {HF "  decode: {parallelism: {tensor: 4}, containers: [{name: c, args: [m]}]}\n", NULL,
     POD ".containers[0].args", "[\"m\",\"--tensor-parallel-size\",\"4\"]"},
    {HF "  decode: {parallelism: {tensor: 4}, containers: [{name: c}]}\n", NULL,
     POD ".containers[0]",
     "{\"args\":[\"--tensor-parallel-size\",\"4\"],\"env\":[{\"name\":\"TP_SIZE\",\"value\":\"4\"},"
     "{"
     "\"name\":\"DP_SIZE\",\"value\":\"1\"},{\"name\":\"DP_SIZE_LOCAL\",\"value\":\"1\"}],\"name\":"
     "\"c\",\"resources\":{\"limits\":{\"nvidia.com/gpu\":\"4\"},\"requests\":{\"nvidia.com/gpu\":"
     "\"4\"}}}"},
    {HF "  decode: {parallelism: {tensor: 2, data: 8, dataLocal: 4}, containers: [{name: c}]}\n",
     NULL, LWS ".workerTemplate.spec.containers[0].args",
     "[\"--tensor-parallel-size\",\"2\",\"--data-parallel-size\",\"8\",\"--data-parallel-size-"
     "local\",\"4\"]"},
    {HF "  decode: {parallelism: {tensor: 2, data: 8, dataLocal: 4}, containers: [{name: c}]}\n",
     NULL, LWS ".leaderTemplate.spec.containers[0].resources.limits", "{\"nvidia.com/gpu\":\"8\"}"},
    {HF "  decode: {parallelism: {tensor: 2, workers: 4}, containers: [{name: c}]}\n", NULL,
     LWS ".leaderTemplate.spec.containers[0].args", "[\"--tensor-parallel-size\",\"2\"]"},
    {HF "  decode: {parallelism: {data: 2}, containers: [{name: c}]}\n", NULL,
     POD ".containers[0].args",
     "[\"--data-parallel-size\",\"2\",\"--data-parallel-size-local\",\"2\"]"},
    /* Flags are such in front of "--" alone. */
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, args: [m, --, x, --]}]}\n",
     NULL, POD ".containers[0].args",
     "[\"m\",\"--tensor-parallel-size\",\"2\",\"--\",\"x\",\"--\"]"},
    /* The engine is the container with the model; variables are everybody's. */
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: a}, {name: c, mountModelVolume: "
        "true}]}\n",
     NULL, POD ".containers[0]",
     "{\"env\":[{\"name\":\"TP_SIZE\",\"value\":\"2\"},{\"name\":\"DP_SIZE\",\"value\":\"1\"},{"
     "\"name\":\"DP_SIZE_LOCAL\",\"value\":\"1\"}],\"name\":\"a\"}"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: a}, {name: c, mountModelVolume: "
        "true}]}\n",
     NULL, POD ".containers[1].args", "[\"--tensor-parallel-size\",\"2\"]"},
    /* Nothing is added where nothing is asked for, or all of it is said. */
    {HF "  decode: {parallelism: {tensor: 1}, containers: [{name: c}]}\n", NULL,
     POD ".containers[0]", "{\"name\":\"c\"}"},
    {HF "  decode: {parallelism: {tensor: 0}, containers: [{name: c}]}\n", NULL,
     POD ".containers[0]", "{\"name\":\"c\"}"},
    {HF "  decode: {parallelism: {}, containers: [{name: c}]}\n", NULL, POD ".containers[0]",
     "{\"name\":\"c\"}"},
    {HF "  decode: {parallelism: {tensor: 8}, containers: [{name: c, args: [m, "
        "--tensor-parallel-size, \"8\"], resources: {limits: {nvidia.com/gpu: 1}}}]}\n",
     NULL, "decodeDeployment.metadata.annotations", "-"},
    {HF "  decode: {parallelism: {tensor: 8}, containers: [{name: c, args: [m, -tp=8]}]}\n", NULL,
     POD ".containers[0]", "{\"args\":[\"m\",\"-tp=8\"],\"name\":\"c\"}"},
    {HF "  decode: {parallelism: {tensor: 8}, containers: [{name: c, command: [sh, -c, 'exec vllm "
        "serve m --tensor_parallel_size=8']}]}\n",
     NULL, POD ".containers[0]",
     "{\"command\":[\"sh\",\"-c\",\"exec vllm serve m --tensor_parallel_size=8\"],\"name\":\"c\"}"},
    /* A shell is told by variables alone; what only looks like a flag is none. */
    {HF
     "  decode: {parallelism: {tensor: 8}, containers: [{name: c, command: [/bin/sh, -ec], args: "
     "['x']}]}\n",
     NULL, POD ".containers[0].args", "[\"x\"]"},
    {HF "  decode: {parallelism: {tensor: 8}, containers: [{name: c, args: [-c, '1']}]}\n", NULL,
     POD ".containers[0].args", "[\"-c\",\"1\",\"--tensor-parallel-size\",\"8\"]"},
    {HF "  decode: {parallelism: {tensor: 8}, containers: [{name: c, args: "
        "[--no-tp, x--tensor-parallel-size, --tensor-parallel-sizes]}]}\n",
     NULL, POD ".containers[0].args",
     "[\"--no-tp\",\"x--tensor-parallel-size\",\"--tensor-parallel-sizes\",\"--tensor-parallel-"
     "size\",\"8\"]"},
    {HF "  decode: {parallelism: {data: 2, tensor: 2}, containers: [{name: c, args: [-tp, '2', "
        "--data-parallel-size-local, '2']}]}\n",
     NULL, POD ".containers[0].args",
     "[\"-tp\",\"2\",\"--data-parallel-size-local\",\"2\",\"--data-parallel-size\",\"2\"]"},
    /* Accelerators: of the vendor that the nodes are of, and as anybody has said. */
    {HF
     "  decode: {parallelism: {tensor: 2}, containers: [{name: c}], acceleratorTypes: {labelKey: "
     "amd.com/gpu.family, labelValues: [x]}}\n",
     NULL, POD ".containers[0].resources.limits", "{\"amd.com/gpu\":\"2\"}"},
    {HF
     "  decode: {parallelism: {tensor: 2}, containers: [{name: c}], acceleratorTypes: {labelKey: "
     "cloud.google.com/gke-tpu-accelerator, labelValues: [x]}}\n",
     NULL, POD ".containers[0].resources.limits", "{\"google.com/tpu\":\"2\"}"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, resources: {limits: {cpu: "
        "1}}}]}\n",
     NULL, POD ".containers[0].resources",
     "{\"limits\":{\"cpu\":\"1\",\"nvidia.com/gpu\":\"2\"},\"requests\":{\"nvidia.com/"
     "gpu\":\"2\"}}"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c}]}\n",
     BASE
     "  decodeDeployment: 'spec: {template: {spec: {containers: [{name: c, resources: {limits: "
     "{nvidia.com/mig-1g.5gb: 3}}}]}}}'\n",
     POD ".containers[0].resources", "{\"limits\":{\"nvidia.com/mig-1g.5gb\":\"3\"}}"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, resources: {limits: "
        "{nvidia.com/gpu: 3}}}]}\n",
     NULL, "decodeDeployment.metadata.annotations",
     "{\"llm-d.ai/accelerator-warning\":\"nvidia.com/gpu is 3, which stays; parallelism comes to 2 "
     "in "
     "each pod\"}"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, resources: {limits: "
        "{nvidia.com/gpu: 0}}}]}\n",
     NULL, "decodeDeployment.metadata.annotations", "-"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, resources: {claims: [{name: "
        "x}]}}]}\n",
     NULL, POD ".containers[0].resources", "{\"claims\":[{\"name\":\"x\"}]}"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, image: "
        "'r/llm-d-inference-sim:1'}]}\n",
     NULL, POD ".containers[0].resources", "-"},
    {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, env: [{name: TP_SIZE, value: "
        "'9'}]}]}\n",
     NULL, POD ".containers[0].env[0].value", "\"9\""},
    /* Requirements on nodes hold together. */
    {HF "  decode: {acceleratorTypes: {labelKey: gpu, labelValues: [A, B]}}\n", NULL,
     POD ".affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
     "[{\"matchExpressions\":[{\"key\":\"gpu\",\"operator\":\"In\",\"values\":[\"A\",\"B\"]}]}]"},
    /* Autoscalers of what there is; then nobody else says how many. */
    {HF "  decode: {replicas: 2}\n", BASE "  decodeHPA: 'spec: {maxReplicas: 4}'\n",
     "decodeHPA.spec",
     "{\"maxReplicas\":4,\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\","
     "\"name\":\"svc-decode\"}}"},
    {HF "  decode: {replicas: 2}\n", BASE "  decodeHPA: 'spec: {maxReplicas: 4}'\n",
     "decodeHPA.metadata.name", "\"svc-decode\""},
    {HF "  decode: {replicas: 2}\n",
     BASE "  decodeHPA: 'spec: {maxReplicas: 4}'\n  decodeDeployment: 'spec: {replicas: 3}'\n",
     "decodeDeployment.spec.replicas", "-"},
    {HF "  decode: {replicas: 2}\n  prefill: {replicas: 3}\n",
     BASE "  decodeHPA: 'spec: {maxReplicas: 4}'\n", "prefillDeployment.spec.replicas", "3"},
    {HF "  decode: {}\n", BASE "  prefillHPA: '{}'\n", "prefillHPA", "-"},
    {HF, BASE "  prefillLeaderWorkerSet: '{}'\n  prefillHPA: 'spec: {maxReplicas: 4}'\n",
     "prefillHPA.spec.scaleTargetRef.kind", "\"LeaderWorkerSet\""},
    {HF "  decode: {autoscaling: {maxReplicas: 4, targetCPUUtilizationPercentage: 70}}\n",
     BASE "  decodeHPA: 'spec: {minReplicas: 2, maxReplicas: 3}'\n", "decodeHPA.spec",
     "{\"maxReplicas\":4,\"metrics\":[{\"resource\":{\"name\":\"cpu\",\"target\":"
     "{\"averageUtilization\":70,\"type\":\"Utilization\"}},\"type\":\"Resource\"}],"
     "\"minReplicas\":2,\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\","
     "\"name\":\"svc-decode\"}}"},
    {HF "  decode: {replicas: 2, autoscaling: {maxReplicas: 4}}\n", NULL,
     "decodeDeployment.spec.replicas", "-"},
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
    {HF, BASE "  configMaps: '[{metadata: {name: a, namespace: \" \"}}]'\n",
     "configMaps[0].metadata.namespace", "\"ns\""},
    {HF, BASE "  configMaps: '[{metadata: {name: a, namespace: \" \"}}]'\n",
     "configMaps[0].metadata.ownerReferences[0].uid", "\"u1\""},
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

/* Pools of either generation, and what leads to them. */

#define OLD_POOL "  inferencePool: 'spec: {targetPortNumber: 8000}'\n"
#define NEW_POOL "  inferencePool: 'spec: {targetPorts: [{number: 8000}]}'\n"
#define OLD_ROUTE                                                                               \
    "  httpRoute: 'spec: {rules: [{backendRefs: [{group: inference.networking.x-k8s.io, kind: " \
    "InferencePool, name: {{ .InferencePoolName }}}]}]}'\n"
#define FOREIGN "  inferencePool: 'spec: {extensionRef: {name: theirs}}'\n"
#define FOREIGN_V1 \
    "  inferencePool: 'spec: {endpointPickerRef: {name: theirs, port: {number: 1}}}'\n"
#define PICKER  "  eppDeployment: '{}'\n"
#define BACKEND "httpRoute.spec.rules[0].backendRefs[0].group"

static const struct {
    enum berth_msvc_inference inference;
    bool applied;
    const char *base, *path, *want;
} pools[] = {
    /* As it was written. */
    {BERTH_MSVC_AS_WRITTEN, false, OLD_POOL, "inferencePool.apiVersion",
     "\"inference.networking.x-k8s.io/v1alpha2\""},
    {BERTH_MSVC_AS_WRITTEN, false, NEW_POOL, "inferencePool.apiVersion",
     "\"inference.networking.k8s.io/v1\""},
    {BERTH_MSVC_AS_WRITTEN, false, NEW_POOL, "inferencePool.spec",
     "{\"endpointPickerRef\":{\"name\":\"svc-epp-service\",\"port\":{\"number\":9002}},"
     "\"selector\":{\"matchLabels\":{\"llm-d.ai/inferenceServing\":\"true\",\"llm-d.ai/model\":"
     "\"org-m\"}},\"targetPorts\":[{\"number\":8000}]}"},
    {BERTH_MSVC_AS_WRITTEN, false, OLD_POOL, BACKEND, "\"inference.networking.x-k8s.io\""},
    {BERTH_MSVC_AS_WRITTEN, false, NEW_POOL, BACKEND, "\"inference.networking.k8s.io\""},
    {BERTH_MSVC_AS_WRITTEN, false, OLD_POOL OLD_ROUTE, BACKEND,
     "\"inference.networking.x-k8s.io\""},
    {BERTH_MSVC_AS_WRITTEN, false, NEW_POOL OLD_ROUTE, BACKEND, "\"inference.networking.k8s.io\""},
    {BERTH_MSVC_AS_WRITTEN, false, OLD_POOL "  inferenceObjective: '{}'\n",
     "inferenceObjective.spec.poolRef.group", "\"inference.networking.x-k8s.io\""},
    /* The other one, when that is asked for. */
    {BERTH_MSVC_TO_V1, false, OLD_POOL, "inferencePool.spec.targetPorts", "[{\"number\":8000}]"},
    {BERTH_MSVC_TO_V1, false, OLD_POOL OLD_ROUTE, BACKEND, "\"inference.networking.k8s.io\""},
    /* A pool of somebody else's is none of ours. */
    {BERTH_MSVC_TO_V1, false, OLD_ROUTE, BACKEND, "\"inference.networking.x-k8s.io\""},
    {BERTH_MSVC_TO_V1, false, OLD_POOL "  inferenceModel: 'spec: {criticality: Sheddable}'\n",
     "inferenceObjective.spec",
     "{\"poolRef\":{\"group\":\"inference.networking.k8s.io\",\"kind\":\"InferencePool\","
     "\"name\":\"svc-inference-pool\"},\"priority\":-1}"},
    {BERTH_MSVC_TO_V1ALPHA2, false, NEW_POOL, "inferencePool.spec.targetPortNumber", "8000"},
    /* Whose picker is asked: the own one, the one that is named; and as llm-d prints it. */
    {BERTH_MSVC_AS_WRITTEN, true, FOREIGN, "inferencePool.spec.extensionRef.name", "\"theirs\""},
    {BERTH_MSVC_AS_WRITTEN, true, FOREIGN PICKER, "inferencePool.spec.extensionRef.name",
     "\"svc-epp-service\""},
    {BERTH_MSVC_AS_WRITTEN, false, FOREIGN, "inferencePool.spec.extensionRef.name",
     "\"svc-epp-service\""},
    {BERTH_MSVC_AS_WRITTEN, false, FOREIGN_V1, "inferencePool.spec.endpointPickerRef",
     "{\"name\":\"theirs\",\"port\":{\"number\":1}}"},
    {BERTH_MSVC_TO_V1, true, FOREIGN, "inferencePool.spec.endpointPickerRef",
     "{\"name\":\"theirs\",\"port\":{\"number\":9002}}"},
};

static void
pools_are_of_the_generation_that_is_wished_for(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        const struct berth_msvc_conf conf = {.epp_cluster_role = "picker",
                                             .inference = pools[i].inference,
                                             .managed = pools[i].applied};
        const char *base = berth_arena_printf(&arena, "%s%s", BASE, pools[i].base);
        const struct berth_msvc_files files = {.service = berth_slice_of(HF),
                                               .base = berth_slice_of(base)};
        const struct berth_json *map = NULL;
        struct berth_err e = {""};
        struct berth_buf out;
        problems = (struct berth_msvc_problems){.arena = &arena};
        berth_buf_init(&out, &arena);
        if (berth_msvc_generate(&files, &conf, BERTH_MSVC_MAP, &arena, &problems, &out, &e) < 0)
            fail_msg("case %zu: %s: %s", i, problems.at[0].path, problems.at[0].text);
        assert_int_equal(berth_yaml_parse(&arena, out.at, out.len, &map, NULL), 0);
        const char *got = at(map, pools[i].path);
        if (strcmp(got, pools[i].want) != 0)
            fail_msg("case %zu, %s: %s, should be %s", i, pools[i].path, got, pools[i].want);
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
    assert_int_equal(problems.errors, 5); /* and the accelerators, which llm-d takes */
    assert_int_equal(out.len, 0);
}

static void
an_autoscaler_has_room(void **unused)
{
    static const char *const wrong[] = {"decodeHPA: '{}'",
                                        "decodeHPA: 'spec: {minReplicas: 3, maxReplicas: 2}'"};
    struct berth_buf out;
    char base[128];

    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)snprintf(base, sizeof base, BASE "  %s\n", wrong[i]);
        assert_int_not_equal(generate(HF "  decode: {}\n", base, false, &out), 0);
        assert_int_equal(problems.errors, 1);
        const struct berth_msvc_problem *p = problems.at;
        while (p->warning)
            p++; /* of the route, that it has no rules */
        assert_non_null(strstr(p->path, "Replicas"));
    }
}

/* Who makes a workload makes it with its replicas; who applies it again and again has none. */
static void
replicas_beside_an_autoscaler_depend_on_who_applies_them(void **unused)
{
    static const struct {
        bool managed, leaves;
        const char *want;
    } rows[] = {{false, true, "-"}, {false, false, "2"}, {true, false, "2"}};
    const struct berth_msvc_files files = {
        .service = berth_slice_of(HF "  decode: {replicas: 2, autoscaling: {maxReplicas: 4}}\n")};

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct berth_msvc_conf conf = {
            .applied = true, .managed = rows[i].managed, .leaves_replicas = rows[i].leaves};
        struct berth_msvc m = {0};
        struct berth_msvc_set set;
        struct berth_err e = {""};
        problems = (struct berth_msvc_problems){.arena = &arena};
        assert_int_equal(berth_msvc_draw_up(&files, &conf, &arena, &problems, &m, &set, &e), 0);
        assert_string_equal(at(set.of[BERTH_MSVC_DECODE_DEPLOYMENT], "spec.replicas"),
                            rows[i].want);
    }
}

/* A number that changes nothing is told, but for the 1 that llm-d's definition filled in. */
static void
replicas_beside_an_autoscaler_are_told(void **unused)
{
    static const struct {
        const char *decode;
        bool told;
    } rows[] = {{"replicas: 2, autoscaling: {maxReplicas: 4}", true},
                {"replicas: 0, autoscaling: {maxReplicas: 4}", true},
                {"replicas: 1, autoscaling: {maxReplicas: 4}", false},
                {"autoscaling: {maxReplicas: 4}", false},
                {"replicas: 2", false}};
    struct berth_buf out;

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *service = berth_arena_printf(&arena, HF "  decode: {%s}\n", rows[i].decode);
        bool told = false;
        assert_int_equal(generate(service, NULL, false, &out), 0);
        for (size_t j = 0; j < problems.count; j++)
            told = told || (problems.at[j].warning &&
                            strcmp(problems.at[j].path, "spec.decode.replicas") == 0);
        assert_int_equal(told, rows[i].told);
    }
}

/* The API server refuses an owner without a uid, which a service that is only a file has not got.
 */
static void
what_is_to_be_applied_has_no_owner_without_a_uid(void **unused)
{
    static const char service[] = "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\n"
                                  "metadata: {name: svc}\nspec:\n  routing: {modelName: m, "
                                  "gatewayRefs: [{name: gw}]}\n"
                                  "  modelArtifacts: {uri: 'hf://o/m'}\n  decode: {}\n";
    static const enum berth_msvc_format formats[] = {BERTH_MSVC_MAP, BERTH_MSVC_YAML,
                                                     BERTH_MSVC_JSON};
    const struct berth_msvc_files files = {.service = berth_slice_of(service)};
    const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};

    (void)unused;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct berth_err e = {""};
        struct berth_buf out;
        problems = (struct berth_msvc_problems){.arena = &arena};
        berth_buf_init(&out, &arena);
        assert_int_equal(
            berth_msvc_generate(&files, &conf, formats[i], &arena, &problems, &out, &e), 0);
        assert_int_equal(strstr(berth_buf_text(&out), "ownerReferences") != NULL,
                         formats[i] == BERTH_MSVC_MAP);
        /* And, as a cluster has it, a gateway says of what kind it is. */
        assert_int_equal(strstr(berth_buf_text(&out), "gateway.networking.k8s.io\n") != NULL,
                         formats[i] == BERTH_MSVC_YAML);
    }
}

/* Numbers that contradict each other, and what is left out. */
static void
groups_have_problems(void **unused)
{
    static const struct {
        const char *service, *base, *path, *says;
    } wrong[] = {
        {HF "  decode: {parallelism: {data: 5, workers: 2}}\n", NULL, "spec.decode.parallelism",
         "data is 5"},
        {HF "  decode: {parallelism: {data: 2, dataLocal: 4}}\n", NULL, "spec.decode.parallelism",
         "data is 2"},
        {HF "  prefill: {parallelism: {data: 4, dataLocal: 2, workers: 4}}\n", NULL,
         "spec.prefill.parallelism", "2 x 4"},
        {HF "  decode: {parallelism: {workers: -1}}\n", NULL, "spec.decode.parallelism",
         "workers is -1"},
        {HF "  decode: {parallelism: {tensor: 9999999}}\n", NULL, "spec.decode.parallelism",
         "tensor is 9999999"},
        {HF "  decode: {multinode: false, parallelism: {workers: 2}}\n", NULL,
         "spec.decode.parallelism", "multinode is false"},
        {HF "  decode: {multinode: false, containers: [{name: c}]}\n", GROUP_BASE, "", "left out"},
        {HF "  decode: {multinode: true}\n", NULL,
         "spec.leaderWorkerTemplate.leaderTemplate.spec.containers", "it has none"},
        {HF "  decode: {parallelism: {tensor: 2}, containers: [{name: c, args: [-tp, '4']}]}\n",
         NULL, "spec.template.spec.containers[0]", "--tensor-parallel-size is 4"},
        {HF
         "  decode: {parallelism: {tensor: 8}, containers: [{name: c, args: [-tp, '8'], resources: "
         "{requests: {nvidia.com/gpu: 1}}}]}\n",
         NULL, "spec.template.spec.containers[0]", "nvidia.com/gpu is 1"},
        {HF
         "  decode: {parallelism: {tensor: 8}, containers: [{name: c, command: [sh, -c, run]}]}\n",
         NULL, "spec.template.spec.containers[0]", "$TP_SIZE"},
    };
    struct berth_buf out;

    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        print_message("  %s\n", wrong[i].says);
        assert_int_not_equal(generate(wrong[i].service, wrong[i].base, true, &out), 0);
        bool told = false;
        for (size_t j = 0; j < problems.count; j++)
            told = told || (strcmp(problems.at[j].path, wrong[i].path) == 0 &&
                            strstr(problems.at[j].text, wrong[i].says) != NULL);
        assert_true(told);
        berth_arena_reset(&arena);
    }
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_files_come_to_objects, begin, end),
        cmocka_unit_test_setup_teardown(pools_are_of_the_generation_that_is_wished_for, begin, end),
        cmocka_unit_test_setup_teardown(an_autoscaler_has_room, begin, end),
        cmocka_unit_test_setup_teardown(replicas_beside_an_autoscaler_are_told, begin, end),
        cmocka_unit_test_setup_teardown(replicas_beside_an_autoscaler_depend_on_who_applies_them,
                                        begin, end),
        cmocka_unit_test_setup_teardown(all_problems_are_told_at_once, begin, end),
        cmocka_unit_test_setup_teardown(what_is_to_be_applied_has_no_owner_without_a_uid, begin,
                                        end),
        cmocka_unit_test_setup_teardown(groups_have_problems, begin, end),
        cmocka_unit_test_setup_teardown(warnings_fail_when_asked_to, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
