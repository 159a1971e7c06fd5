#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "merge/merge.h"
#include "merge/rules.h"
#include "wire/json.h"
#include "wire/yaml.h"

static struct berth_arena arena;

static const struct berth_json *
read_yaml(const char *text)
{
    const struct berth_json *v = NULL;
    struct berth_err e;

    if (berth_yaml_parse(&arena, text, strlen(text), &v, &e) != 0)
        fail_msg("%s: %s", text, e.msg);
    return v;
}

static const char *
text_of(const struct berth_json *v)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

/* around has one "%s" where the three texts stand. */
static const char *
wrapped(const char *around, const char *text)
{
    const char *hole = strstr(around, "%s");
    struct berth_buf b;

    assert_non_null(hole);
    berth_buf_init(&b, &arena);
    berth_buf_put(&b, around, (size_t)(hole - around));
    berth_buf_puts(&b, text);
    berth_buf_puts(&b, hole + 2);
    return berth_buf_text(&b);
}

#define DEPLOYMENT "{kind: Deployment, spec: {template: {spec: %s}}}"
#define LWS        "{spec: {leaderWorkerTemplate: {workerTemplate: {spec: %s}}}}"
#define CONTAINER  "{spec: {template: {spec: {containers: [{name: llm, %s}]}}}}"
#define INIT       "{spec: {template: {spec: {initContainers: [{name: llm, %s}]}}}}"
#define SPEC       "{spec: %s}"

static void
kinds_merge_as_kubernetes_means_them(void **unused)
{
    static const struct {
        const char *why, *around, *base, *overlay, *want;
    } rows[] = {
        {"containers by name", DEPLOYMENT, "{containers: [{name: b}, {name: a, image: x}]}",
         "{containers: [{name: z}, {name: a, image: y}]}",
         "{containers: [{name: b}, {name: a, image: y}, {name: z}]}"},
        {"containers of a worker", LWS, "{containers: [{name: a, args: [x], image: i}]}",
         "{containers: [{name: a, args: [m]}]}",
         "{containers: [{name: a, args: [m, x], image: i}]}"},
        {"args in front", INIT, "args: [--port, '1']", "args: [m]", "args: [m, --port, '1']"},
        {"a flag for a flag", INIT, "args: [--port, '1']", "args: [m, --port, '2']",
         "args: [m, --port, '2']"},
        {"args replaced", CONTAINER, "args: [--port, '1']", "args: [$replace, m]", "args: [m]"},
        {"command replaced", CONTAINER, "command: [old, x]", "command: [new]", "command: [new]"},
        {"command kept", CONTAINER, "command: [old, x]", "command: []", "command: [old, x]"},
        {"env as units", CONTAINER, "env: [{name: T, value: plain}]",
         "env: [{name: T, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: U, value: ''}]",
         "env: [{name: T, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: U, value: ''}]"},
        {"envFrom once", CONTAINER, "envFrom: [{secretRef: {name: a}}]",
         "envFrom: [{secretRef: {name: a}}, {prefix: P_, secretRef: {name: a}}]",
         "envFrom: [{secretRef: {name: a}}, {prefix: P_, secretRef: {name: a}}]"},
        {"ports by number and protocol", CONTAINER, "ports: [{containerPort: 80, name: x}]",
         "ports: [{containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: UDP}]",
         "ports: [{containerPort: 80, name: x, protocol: TCP}, {containerPort: 80, protocol: "
         "UDP}]"},
        {"mounts by path", CONTAINER, "volumeMounts: [{name: m, mountPath: /c}]",
         "volumeMounts: [{name: m, mountPath: /c, readOnly: true}, {name: m, mountPath: /d}]",
         "volumeMounts: [{name: m, mountPath: /c, readOnly: true}, {name: m, mountPath: /d}]"},
        {"resources by name", CONTAINER,
         "resources: {limits: {gpu: '1', cpu: '4'}, claims: [{name: x}]}",
         "resources: {limits: {gpu: '8'}, claims: [{name: x, request: r}, {name: y}]}",
         "resources: {limits: {gpu: '8', cpu: '4'}, claims: [{name: x, request: r}, {name: y}]}"},
        {"a probe asks in one way", CONTAINER,
         "livenessProbe: {httpGet: {port: 1}, periodSeconds: 5}",
         "livenessProbe: {tcpSocket: {port: x}}",
         "livenessProbe: {periodSeconds: 5, tcpSocket: {port: x}}"},
        {"a hook acts in one way", INIT, "lifecycle: {preStop: {exec: {command: [a]}}}",
         "lifecycle: {preStop: {sleep: {seconds: 1}}}",
         "lifecycle: {preStop: {sleep: {seconds: 1}}}"},
        {"what is allowed", CONTAINER,
         "securityContext: {allowPrivilegeEscalation: true, runAsUser: 1000, "
         "capabilities: {drop: [ALL]}, seccompProfile: {type: Localhost, localhostProfile: p}}",
         "securityContext: {allowPrivilegeEscalation: false, runAsUser: 0, runAsNonRoot: true, "
         "capabilities: {drop: [NET_RAW, ALL]}, seccompProfile: {type: RuntimeDefault}}",
         "securityContext: {allowPrivilegeEscalation: false, runAsUser: 0, "
         "capabilities: {drop: [NET_RAW, ALL]}, seccompProfile: {type: RuntimeDefault}, "
         "runAsNonRoot: true}"},
        {"volumes by name, of one source", DEPLOYMENT,
         "{volumes: [{name: m, emptyDir: {sizeLimit: 20Gi}}, {name: c, emptyDir: {}}]}",
         "{volumes: [{name: m, emptyDir: {}}, {name: c, configMap: {name: x}}]}",
         "{volumes: [{name: m, emptyDir: {sizeLimit: 20Gi}}, {name: c, configMap: {name: x}}]}"},
        {"tolerations once", DEPLOYMENT, "{tolerations: [{key: a}]}",
         "{tolerations: [{key: b}, {key: a}]}", "{tolerations: [{key: a}, {key: b}]}"},
        {"pull secrets are united", DEPLOYMENT, "{imagePullSecrets: [{name: injected}]}",
         "{imagePullSecrets: [{name: a}, {name: injected}]}",
         "{imagePullSecrets: [{name: injected}, {name: a}]}"},
        {"an account's pull secrets, too", "%s", "{imagePullSecrets: [{name: injected}]}",
         "{imagePullSecrets: [{name: a}]}", "{imagePullSecrets: [{name: injected}, {name: a}]}"},
        {"the accelerator beside the zone", DEPLOYMENT,
         "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
         "{nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: Exists}]}]}}}}",
         "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
         "{nodeSelectorTerms: [{matchExpressions: [{key: gpu, operator: In, values: [H100]}]}]}}}}",
         "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
         "{nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: Exists}, "
         "{key: gpu, operator: In, values: [H100]}]}]}}}}"},
        {"an owner by kind and name", "%s",
         "{metadata: {ownerReferences: [{kind: M, name: a}, {kind: N, name: a, uid: '1'}]}}",
         "{metadata: {ownerReferences: [{kind: M, name: a, uid: '2'}, "
         "{kind: N, name: a, uid: '3'}]}}",
         "{metadata: {ownerReferences: [{kind: M, name: a, uid: '2'}, "
         "{kind: N, name: a, uid: '1'}, {kind: N, name: a, uid: '3'}]}}"},
        {"labels and selectors by key", "%s",
         "{metadata: {labels: {a: x, b: y}}, spec: {selector: {matchLabels: {a: x}}}}",
         "{metadata: {labels: {a: ''}}, spec: {selector: {matchLabels: {b: z}}}}",
         "{metadata: {labels: {a: '', b: y}}, spec: {selector: {matchLabels: {a: x, b: z}}}}"},
        {"nothing rolls in Recreate", SPEC,
         "{strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%}}}",
         "{strategy: {type: Recreate}}", "{strategy: {type: Recreate}}"},
        {"a workers' group rolls in its way", SPEC,
         "{rolloutStrategy: {type: RollingUpdate, "
         "rollingUpdateConfiguration: {maxSurge: 1, partition: 2}}}",
         "{rolloutStrategy: {rollingUpdateConfiguration: {maxSurge: 0}}}",
         "{rolloutStrategy: {rollingUpdateConfiguration: {maxSurge: 0, partition: 2}}}"},
        {"a service's ports", SPEC, "{ports: [{port: 80, targetPort: 8000}]}",
         "{ports: [{port: 80, protocol: TCP, targetPort: http}, {port: 81}]}",
         "{ports: [{port: 80, targetPort: http, protocol: TCP}, {port: 81}]}"},
        {"listeners of a Gateway", SPEC, "{parentRefs: [{name: g, sectionName: http}, {name: h}]}",
         "{parentRefs: [{name: g, sectionName: https, kind: Gateway}, {name: h, namespace: n}]}",
         "{parentRefs: [{name: g, sectionName: http}, {name: h}, "
         "{name: g, sectionName: https, kind: Gateway}, {name: h, namespace: n}]}"},
        {"a pool's picker", SPEC,
         "{selector: {old: '1'}, targetPortNumber: 8000, "
         "extensionRef: {kind: Service, name: e, failureMode: FailClose}}",
         "{selector: {a: b}, targetPortNumber: 9000, extensionRef: {name: e2}}",
         "{selector: {old: '1', a: b}, targetPortNumber: 9000, "
         "extensionRef: {kind: Service, name: e2, failureMode: FailClose}}"},
        {"a pool's ports", SPEC, "{targetPorts: [{number: 8000}]}",
         "{targetPorts: [{number: 8000}, {number: 8001}]}",
         "{targetPorts: [{number: 8000}, {number: 8001}]}"},
        {"metrics are replaced", SPEC, "{maxReplicas: 3, metrics: [{type: Resource}]}",
         "{metrics: [{type: Pods}]}", "{maxReplicas: 3, metrics: [{type: Pods}]}"},
        {"a map's data by key, whatever the keys", "{data: %s}", "{args: a, k: v}",
         "{k: w, containers: b}", "{args: a, k: w, containers: b}"},
    };
    size_t count;
    const struct berth_merge_rule *rules = berth_merge_rules(&count);

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(rows); i++) {
        const struct berth_json *got = NULL;
        struct berth_err e = {""};
        const char *around = rows[i].around;

        print_message("  %s\n", rows[i].why);
        if (berth_merge(rules, count, read_yaml(wrapped(around, rows[i].base)),
                        read_yaml(wrapped(around, rows[i].overlay)), &arena, &got, &e) != 0)
            fail_msg("%s", e.msg);
        assert_string_equal(text_of(got), text_of(read_yaml(wrapped(around, rows[i].want))));
        berth_arena_reset(&arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_merge_as_kubernetes_means_them),
    };

    berth_arena_init(&arena, 64 << 20);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    berth_arena_fini(&arena);
    return failed;
}
