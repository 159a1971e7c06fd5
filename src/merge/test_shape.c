#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "merge/shape_priv.h"
#include "wire/json.h"
#include "wire/yaml.h"

static struct berth_arena arena;

static const struct berth_json *
read_yaml(const char *text)
{
    const struct berth_json *v = NULL;
    struct berth_yaml_notes notes;
    struct berth_err e;

    if (berth_yaml_parse_told(&arena, text, strlen(text), &v, &notes, &e) != 0)
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

/* "PATH: error: TEXT", one a line. */
static const char *
problems_text(const struct berth_shape_problems *p)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    for (size_t i = 0; i < p->count; i++)
        berth_buf_printf(&b, "%s%s: %s: %s", i > 0 ? "\n" : "", p->at[i].path,
                         p->at[i].is_error ? "error" : "warning", p->at[i].text);
    return berth_buf_text(&b);
}

static const struct berth_json *
check(const char *kind, const char *text, bool strict, struct berth_shape_problems *ret)
{
    const struct berth_shape_how how = {.strict = strict};
    const struct berth_json *got = NULL;
    struct berth_err e = {""};

    if (berth_shape_check(berth_shape_of(kind, NULL), read_yaml(text), &how, &arena, &got, ret,
                          &e) != 0)
        fail_msg("%s", e.msg);
    return got;
}

#define POD(s) "{spec: {template: {spec: {containers: [" s "]}}}}"

static void
values_are_as_they_are_meant(void **unused)
{
    static const struct {
        const char *why, *kind, *text, *want;
    } cases[] = {
        {"numbers and words for strings", "Deployment",
         POD("{args: [8000, 1.50, true, yes, 0777, 1e3, ~, x], env: [{name: A, value: 10}, "
             "{name: B, value: no}]}"),
         POD("{args: ['8000', '1.5', 'true', 'true', '511', '1000', '', x], "
             "env: [{name: A, value: '10'}, {name: B, value: 'false'}]}")},
        {"in maps of strings", "ConfigMap",
         "{data: {n: 5, b: true, z: ~, big: 18446744073709551615, small: -1, e: 0.1}}",
         "{data: {n: '5', b: 'true', z: '', big: '18446744073709551615', small: '-1', e: '0.1'}}"},
        {"far down, too", "Deployment",
         POD("{env: [{name: A, valueFrom: {secretKeyRef: {name: 123, key: 456}}}]}"),
         POD("{env: [{name: A, valueFrom: {secretKeyRef: {name: '123', key: '456'}}}]}")},
        {"no string member from nothing", "Deployment", POD("{image: ~}"), POD("{image: ~}")},
        {"a whole number with a point", "Service",
         "{spec: {ports: [{port: 80.0, targetPort: 8e3}]}}",
         "{spec: {ports: [{port: 80, targetPort: 8000}]}}"},
        {"a port's name", "Service", "{spec: {ports: [{targetPort: http}]}}",
         "{spec: {ports: [{targetPort: http}]}}"},
        {"quantities", "Deployment",
         POD("{resources: {limits: {cpu: 1, memory: 16Gi, nvidia.com/gpu: '2', x: 0.5, y: 1000m, "
             "z: 1.5Gi, w: 2e3, n: ~}}}"),
         POD("{resources: {limits: {cpu: '1', memory: 16Gi, nvidia.com/gpu: '2', x: 500m, y: '1', "
             "z: 1536Mi, w: 2k, n: ~}}}")},
        {"a quantity beyond all numbers", "Deployment",
         POD("{resources: {limits: {a: 9Ei, b: '1e20', c: 12345678901234567890123}}}"),
         POD("{resources: {limits: {a: 9Ei, b: '1e20', c: '12345678901234567890123'}}}")},
        {"nothing is nothing", "Deployment", "{metadata: {labels: ~}, spec: {template: ~}}",
         "{metadata: {labels: ~}, spec: {template: ~}}"},
        {"nothing at all", "Deployment", "~", "~"},
        {"what is free", "Deployment", "{status: {a: [1, {b: 2}]}}", "{status: {a: [1, {b: 2}]}}"},
        {"a leader's and its workers' pods", "LeaderWorkerSet",
         "{spec: {leaderWorkerTemplate: {size: 2.0, leaderTemplate: {spec: {containers: [{args: "
         "[1]}]}}, workerTemplate: {metadata: {labels: {a: 1}}}}}}",
         "{spec: {leaderWorkerTemplate: {size: 2, leaderTemplate: {spec: {containers: [{args: "
         "['1']}]}}, workerTemplate: {metadata: {labels: {a: '1'}}}}}}"},
        {"a route", "HTTPRoute",
         "{spec: {hostnames: [1], parentRefs: [{name: 1, port: 80}], rules: [{backendRefs: [{name: "
         "2, "
         "weight: 1}], matches: [{path: {value: 1}, headers: [{name: a, value: 1}]}]}]}}",
         "{spec: {hostnames: ['1'], parentRefs: [{name: '1', port: 80}], rules: [{backendRefs: "
         "[{name: '2', weight: 1}], matches: [{path: {value: '1'}, headers: [{name: a, value: "
         "'1'}]}]}]}}"},
        {"a pool of old", "InferencePool",
         "{spec: {selector: {app: 1}, targetPortNumber: 8000, extensionRef: {name: 1, portNumber: "
         "9}}}",
         "{spec: {selector: {app: '1'}, targetPortNumber: 8000, extensionRef: {name: '1', "
         "portNumber: 9}}}"},
        {"how far to scale", "HorizontalPodAutoscaler",
         "{spec: {minReplicas: 1, metrics: [{type: Pods, pods: {metric: {name: 1}, target: "
         "{averageValue: 0.5}}}]}}",
         "{spec: {minReplicas: 1, metrics: [{type: Pods, pods: {metric: {name: '1'}, target: "
         "{averageValue: 500m}}}]}}"},
        {"models", "InferenceModel",
         "{spec: {modelName: 1, targetModels: [{name: 2, weight: 3}], poolRef: {name: 4}}}",
         "{spec: {modelName: '1', targetModels: [{name: '2', weight: 3}], poolRef: {name: '4'}}}"},
        {"objectives", "InferenceObjective", "{spec: {priority: 1.0, poolRef: {name: 4}}}",
         "{spec: {priority: 1, poolRef: {name: '4'}}}"},
        {"a service", "ModelService",
         "{spec: {modelArtifacts: {uri: 1, size: 0.5}, routing: {modelName: 7, ports: [{name: 1, "
         "port: "
         "80.0}]}, decode: {replicas: ~, containers: [{name: 1, args: [$replace, 8000], "
         "mountModelVolume: true, env: [{name: A, value: 1}]}]}}}",
         "{spec: {modelArtifacts: {uri: '1', size: 500m}, routing: {modelName: '7', ports: [{name: "
         "'1', port: 80}]}, decode: {replicas: ~, containers: [{name: '1', args: [$replace, "
         "'8000'], "
         "mountModelVolume: true, env: [{name: A, value: '1'}]}]}}}"},
        {"accounts", "ServiceAccount", "{imagePullSecrets: [{name: 1}]}",
         "{imagePullSecrets: [{name: '1'}]}"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_shape_problems problems;

        print_message("  %s\n", cases[i].why);
        const struct berth_json *got = check(cases[i].kind, cases[i].text, true, &problems);
        assert_string_equal(problems_text(&problems), "");
        assert_int_equal(problems.errors, 0);
        assert_string_equal(text_of(got), text_of(read_yaml(cases[i].want)));
        berth_arena_reset(&arena);
    }
}

#define BEYOND_32                                                                                \
    ": error: a whole number from -2147483648 to 2147483647 is wanted, this is a number beyond " \
    "64 bits"
#define ZEROS_16 "0000000000000000"
#define ZEROS_64 ZEROS_16 ZEROS_16 ZEROS_16 ZEROS_16

static void
problems_are_told(void **unused)
{
    static const struct {
        const char *why, *kind, *text, *want;
    } cases[] = {
        {"all of them, in order", "Deployment",
         "{specc: 1, spec: {replicas: '2', template: {spec: {containers: [{name: a}, {name: [1], "
         "imagePulPolicy: x, resources: {limits: {cpu: 16Gb}}}], volumes: {}}}}}",
         "specc: warning: no such field: do you mean spec?\n"
         "spec.replicas: error: a whole number, without quotes, is wanted, this is a string\n"
         "spec.template.spec.containers[1].name: error: a string is wanted, this is a list\n"
         "spec.template.spec.containers[1].imagePulPolicy: warning: no such field: do you mean "
         "imagePullPolicy?\n"
         "spec.template.spec.containers[1].resources.limits.cpu: error: \"16Gb\" is no quantity: "
         "write it as 500m, 4 or 16Gi\n"
         "spec.template.spec.volumes: error: a list is wanted, this is an object"},
        {"a list for an object", "Deployment", "{spec: []}",
         "spec: error: an object is wanted, this is a list"},
        {"an object for a map", "Service", "{spec: {selector: [a]}}",
         "spec.selector: error: an object is wanted, this is a list"},
        {"a word for a number", "Service",
         "{spec: {ports: [{port: http}, {port: 8.5}, {port: true}]}}",
         "spec.ports[0].port: error: a whole number is wanted, this is a string\n"
         "spec.ports[1].port: error: a whole number is wanted, this is a number\n"
         "spec.ports[2].port: error: a whole number is wanted, this is a boolean"},
        {"beyond 32 bits", "Deployment", "{spec: {replicas: 2147483648, minReadySeconds: 1e10}}",
         "spec.replicas: error: a whole number from -2147483648 to 2147483647 is wanted\n"
         "spec.minReadySeconds: error: a whole number from -2147483648 to 2147483647 is wanted"},
        {"nor a port's", "Service",
         "{spec: {ports: [{port: 99999999999, targetPort: 18446744073709551615}]}}",
         "spec.ports[0].port: error: a whole number from -2147483648 to 2147483647 is "
         "wanted\n"
         "spec.ports[0].targetPort" BEYOND_32},
        {"beyond 64 bits", "Deployment",
         "{spec: {replicas: 99999999999999999999, template: {spec: {terminationGracePeriodSeconds: "
         "18446744073709551615, securityContext: {fsGroup: -9223372036854775809}}}}}",
         "spec.replicas: error: a whole number from -2147483648 to 2147483647 is wanted, this is a "
         "number beyond 64 bits\n"
         "spec.template.spec.terminationGracePeriodSeconds: error: a whole number is wanted, this "
         "is a number beyond 64 bits\n"
         "spec.template.spec.securityContext.fsGroup: error: a whole number is wanted, this is a "
         "number beyond 64 bits"},
        {"in whatever form they are written", "Service",
         "{spec: {healthCheckNodePort: 0x1FFFFFFFFFFFFFFFF, ports: [{port: 1e400}, {port: 1e30}, "
         "{port: -0b1" ZEROS_64 "}, {port: 0o7_777_777_777_777_777_777_777_777}, {port: +2.5E999}, "
         "{targetPort: 0x1_FFFF_FFFF_FFFF_FFFF}]}}",
         "spec.healthCheckNodePort" BEYOND_32 "\n"
         "spec.ports[0].port" BEYOND_32 "\n"
         "spec.ports[1].port" BEYOND_32 "\n"
         "spec.ports[2].port" BEYOND_32 "\n"
         "spec.ports[3].port" BEYOND_32 "\n"
         "spec.ports[4].port" BEYOND_32 "\n"
         "spec.ports[5].targetPort" BEYOND_32},
        {"what looks like one", "Service",
         "{spec: {healthCheckNodePort: '0x1f', ports: [{port: 1e400x}, {port: "
         "0xFFFFFFFFFFFFFFFFG}, "
         "{port: e400}, {port: '0x'}, {targetPort: '5e400'}]}}",
         "spec.healthCheckNodePort: error: a whole number is wanted, this is a string\n"
         "spec.ports[0].port: error: a whole number is wanted, this is a string\n"
         "spec.ports[1].port: error: a whole number is wanted, this is a string\n"
         "spec.ports[2].port: error: a whole number is wanted, this is a string\n"
         "spec.ports[3].port: error: a whole number is wanted, this is a string"},
        {"nor where a name may be", "Service",
         "{spec: {ports: [{targetPort: 99999999999999999999}, {targetPort: .inf}, {port: .NaN}]}}",
         "spec.ports[0].targetPort" BEYOND_32 "\n"
         "spec.ports[1].targetPort: error: a whole number is "
         "wanted, and .inf is none\n"
         "spec.ports[2].port: error: a whole number is wanted, "
         "and .NaN is none"},
        {"a name is none of these", "Service", "{spec: {ports: [{targetPort: 9p}]}}", ""},
        {"64 bits where they may be", "Deployment",
         "{spec: {template: {spec: {terminationGracePeriodSeconds: 9999999999}}}}", ""},
        {"no word for true", "Deployment", "{spec: {paused: maybe}}",
         "spec.paused: error: true or false is wanted, this is a string"},
        {"an object in a list of strings", "Deployment", POD("{args: [{a: 1}, x]}"),
         "spec.template.spec.containers[0].args[0]: error: a string is wanted, this is an object"},
        {"another case", "Deployment", POD("{Image: x}"),
         "spec.template.spec.containers[0].Image: warning: no such field: do you mean image?"},
        {"nothing near", "ConfigMap", "{somethingElse: 1}",
         "somethingElse: warning: no such field"},
        {"no space behind a colon", "Deployment", "spec:\n  replicas:2\n",
         "spec: error: an object is wanted, this is a string: a space is missing behind its colon"},
        {"nothing for an object of a list", "Deployment",
         POD("~, {env: [{name: a}], ports: [~], args: [x]}"),
         "spec.template.spec.containers[0]: warning: an object is wanted, there is nothing: leave "
         "the element out\n"
         "spec.template.spec.containers[1].ports[0]: warning: an object is wanted, there is "
         "nothing: leave the element out"},
        {"no document", "ConfigMap", "[1]", ": error: an object is wanted, this is a list"},
        {"what a service cannot say of a container", "ModelService",
         "{spec: {prefill: {containers: [{name: a, ports: [], volumeMount: x}]}}}",
         "spec.prefill.containers[0].ports: warning: no such field\n"
         "spec.prefill.containers[0].volumeMount: warning: no such field"},
        {"a colon without its space, of a mapping in braces", "ModelService",
         "{spec: {routing: {ports: [{name:http, port: 1}]}}}",
         "spec.routing.ports[0].name:http: warning: no such field: is a space missing behind the "
         "colon?"},
        {"a quantity of another kind", "Deployment", POD("{resources: {limits: {cpu: [1]}}}"),
         "spec.template.spec.containers[0].resources.limits.cpu: error: a quantity such as 500m or "
         "16Gi is wanted, this is a list"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_shape_problems problems;

        print_message("  %s\n", cases[i].why);
        const struct berth_json *got = check(cases[i].kind, cases[i].text, false, &problems);
        assert_string_equal(problems_text(&problems), cases[i].want);
        assert_string_equal(text_of(got), text_of(read_yaml(cases[i].text))); /* nothing is lost */
        berth_arena_reset(&arena);
    }
}

static void
strict_is_strict(void **unused)
{
    struct berth_shape_problems problems;

    (void)unused;
    (void)check("ConfigMap", "{a: 1, dat: {b: c}}", true, &problems);
    assert_string_equal(problems_text(&problems), "a: error: no such field\n"
                                                  "dat: error: no such field: do you mean data?");
    assert_int_equal(problems.errors, 2);
    berth_arena_reset(&arena);
}

static void
a_prefix_goes_before(void **unused)
{
    const struct berth_shape_how how = {.prefix = "[2]"};
    struct berth_shape_problems problems;
    const struct berth_json *got;

    (void)unused;
    assert_int_equal(berth_shape_check(berth_shape_of("ConfigMap", "v1"), read_yaml("{data: 1}"),
                                       &how, &arena, &got, &problems, NULL),
                     0);
    assert_string_equal(problems.at[0].path, "[2].data");
    berth_arena_reset(&arena);
}

static void
problems_are_bounded(void **unused)
{
    struct berth_shape_problems problems;
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_buf_puts(&b, "spec:\n  ports:\n");
    for (int i = 0; i < 1000; i++)
        berth_buf_puts(&b, "  - {port: x, y: 1}\n");
    (void)check("Service", berth_buf_text(&b), false, &problems);
    assert_int_equal(problems.count, BERTH_SHAPE_PROBLEMS_MAX);
    assert_int_equal(problems.beyond, 2000 - BERTH_SHAPE_PROBLEMS_MAX);
    assert_int_equal(problems.errors, 1000);
    berth_arena_reset(&arena);
}

static void
kinds_are_found(void **unused)
{
    const char *new = "inference.networking.k8s.io/v1",
               *old = "inference.networking.x-k8s.io/v1alpha2";

    (void)unused;
    assert_null(berth_shape_of("Pod", NULL));
    assert_non_null(berth_shape_of("Deployment", "apps/v1"));
    assert_ptr_equal(berth_shape_of("InferencePool", old), berth_shape_of("InferencePool", NULL));
    assert_ptr_not_equal(berth_shape_of("InferencePool", old),
                         berth_shape_of("InferencePool", new));
}

/* Each name once and in order, an object's table for objects alone: all the way down. */
static void
is_well_formed(const struct berth_shape *shape, int depth)
{
    assert_in_range(depth, 1, 16);
    assert_in_range(shape->count, 1, 64);
    for (size_t i = 0; i < shape->count; i++) {
        const struct shape_field *f = &shape->fields[i];

        assert_true(i == 0 || strcmp(shape->fields[i - 1].name, f->name) < 0);
        assert_int_equal(f->of != NULL, f->type == SHAPE_OBJECT);
        if (f->of != NULL)
            is_well_formed(f->of, depth + 1);
    }
}

static void
tables_are_well_formed(void **unused)
{
    static const char *const kinds[] = {
        "Deployment",        "LeaderWorkerSet", "HorizontalPodAutoscaler",
        "Service",           "ServiceAccount",  "ConfigMap",
        "HTTPRoute",         "InferencePool",   "InferenceModel",
        "InferenceObjective"};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(kinds); i++)
        is_well_formed(berth_shape_of(kinds[i], NULL), 1);
    is_well_formed(berth_shape_of("InferencePool", "inference.networking.k8s.io/v1"), 1);
}

/* Members that a reader of JSON keeps. */
static void
the_last_of_one_name_is_kept(void **unused)
{
    static const char text[] = "{\"kind\":1,\"data\":{\"a\":1,\"b\":2,\"a\":3},\"kind\":\"x\"}";
    const struct berth_json *v, *got;
    struct berth_shape_problems problems;

    (void)unused;
    assert_int_equal(berth_json_parse(&arena, text, sizeof text - 1, NULL, &v, NULL), 0);
    assert_int_equal(berth_shape_check(berth_shape_of("ConfigMap", NULL), v, NULL, &arena, &got,
                                       &problems, NULL),
                     0);
    assert_string_equal(text_of(got), "{\"data\":{\"b\":\"2\",\"a\":\"3\"},\"kind\":\"x\"}");
    berth_arena_reset(&arena);
}

/* Wherever it ends. */
static void
the_end_of_memory_is_told(void **unused)
{
    static const char text[] =
        "{metadata: {labels: {a: 1.5, b: true, c: ~}}, spec: {replicas: 3.0, template: {spec: "
        "{containers: [{name: c, resources: {limits: {cpu: 1.5, memory: 2}}, env: [{name: A, "
        "value: "
        "1.25}]}]}}}}";
    const struct berth_shape *shape = berth_shape_of("Deployment", NULL);
    const struct berth_shape_how how = {.is_typed = true};
    const struct berth_json *v, *ret;
    struct berth_shape_problems found;
    struct berth_err e;
    size_t enough = 0;

    (void)unused;
    assert_int_equal(berth_yaml_parse(&arena, text, sizeof text - 1, &v, &e), 0);
    for (size_t bytes = 0; enough < 8; bytes += 16) {
        struct berth_arena small;
        berth_arena_init(&small, bytes);
        const int r = berth_shape_check(shape, v, &how, &small, &ret, &found, &e);
        enough += r == 0;
        if (r != 0)
            assert_int_equal(r, -BERTH_ENOMEM);
        berth_arena_fini(&small);
        assert_in_range(bytes, 0, 1 << 20);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_as_they_are_meant),
        cmocka_unit_test(problems_are_told),
        cmocka_unit_test(strict_is_strict),
        cmocka_unit_test(a_prefix_goes_before),
        cmocka_unit_test(problems_are_bounded),
        cmocka_unit_test(kinds_are_found),
        cmocka_unit_test(the_last_of_one_name_is_kept),
        cmocka_unit_test(tables_are_well_formed),
        cmocka_unit_test(the_end_of_memory_is_told),
    };

    berth_arena_init(&arena, 64 << 20);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    berth_arena_fini(&arena);
    return failed;
}
