#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"
#include "operator/modelservice/test_arena.h"

/* What an API server refuses of a ModelService by its definition, told without one. */

static struct berth_msvc_problems problems;

static int
generate(const char *service, enum berth_msvc_format format)
{
    static const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};
    const struct berth_msvc_files files = {.service = berth_slice_of(service)};
    struct berth_err e = {""};
    struct berth_buf out;

    problems = (struct berth_msvc_problems){.arena = &arena};
    berth_buf_init(&out, &arena);
    return berth_msvc_generate(&files, &conf, format, &arena, &problems, &out, &e);
}

#define TOP        "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: svc}\nspec:\n"
#define FROM       "  modelArtifacts: {uri: 'hf://o/m'}\n"       /* 5 */
#define ROUTING(s) TOP FROM "  routing: {modelName: m, " s "}\n" /* 6 */
#define ROLE(s)    ROUTING("ports: []") "  decode: {" s "}\n"    /* 7 */
#define VARS(s)    ROLE("containers: [{name: c, image: i, env: [" s "]}]")

static const struct {
    const char *why, *service;
    const char *told; /* "5:3 PATH: TEXT" of the one error; "": there is none */
    bool is_preview;  /* where nothing is applied, it is a warning */
} cases[] = {
    {"all that there can be",
     TOP "  modelArtifacts: {uri: 'hf://o/m', authSecretName: a.b-c, size: 5}\n"
         "  routing: {modelName: m, ports: [{name: a, port: 65535}], gatewayRefs: [{name: g, "
         "group: '', kind: Service, namespace: ns, sectionName: a.b, port: 65535}]}\n"
         "  decode: {replicas: ~, parallelism: {tensor: 0}, autoscaling: {minReplicas: 2, "
         "maxReplicas: 2}, acceleratorTypes: {labelKey: k, labelValues: [v]}}\n",
     "", false},
    {"no routing", TOP FROM, "4:1 spec.routing: it is missing: {modelName: NAME}", true},
    {"no model", TOP "  routing: {modelName: m}\n",
     "4:1 spec.modelArtifacts: it is missing: say where the model comes from, with a uri", false},
    {"a model that is nothing", TOP "  modelArtifacts:\n  routing: {modelName: m}\n",
     "5:3 spec.modelArtifacts: it is missing: say where", false},
    {"a model from nowhere", TOP "  modelArtifacts: {size: 1Gi}\n  routing: {modelName: m}\n",
     "5:3 spec.modelArtifacts.uri: it is missing: say where", false},
    {"a model from an empty place", TOP "  modelArtifacts: {uri: ''}\n  routing: {modelName: m}\n",
     "5:20 spec.modelArtifacts.uri: it is missing: say where", false},
    {"no name of the model", TOP FROM "  routing: {}\n",
     "6:3 spec.routing.modelName: it is missing: the model's name in requests", false},
    {"nothing for a name", TOP FROM "  routing: {modelName: ~}\n",
     "6:13 spec.routing.modelName: it is missing", false},
    {"a port of 0", ROUTING("ports: [{name: a, port: 0}]"),
     "6:45 spec.routing.ports[0].port: 0: it is 1 or more", false},
    {"a port below 0", ROUTING("ports: [{name: a, port: -3}]"),
     "6:45 spec.routing.ports[0].port: -3: it is 1 or more", false},
    {"a port that there is not, which the definition takes",
     ROUTING("ports: [{name: a, port: 65536}]"),
     "6:45 spec.routing.ports[0].port: 65536: it is from 1 to 65535", true},
    {"a port without a number", ROUTING("ports: [{name: a}]"),
     "6:35 spec.routing.ports[0].port: it is missing", false},
    {"a port's name twice",
     ROUTING("ports: [{name: a, port: 1}, {name: b, port: 1}, {name: a, port: 2}]"),
     "6:75 spec.routing.ports[2]: name a is there already, at [0]: each once", true},
    {"a gateway's name that is empty", ROUTING("gatewayRefs: [{name: ''}]"),
     "6:42 spec.routing.gatewayRefs[0].name: it is empty: the Gateway's name", false},
    {"an element with nothing in it", TOP FROM "  routing:\n    modelName: m\n    ports:\n    -\n",
     "9:6 spec.routing.ports[0]: an object is wanted, there is nothing", true},
    {"a gateway with nothing in it", ROUTING("gatewayRefs: [~]"),
     "6:41 spec.routing.gatewayRefs[0]: an object is wanted, there is nothing", true},
    {"a variable with nothing in it", VARS("{name: A}, ~"),
     "7:62 spec.decode.containers[0].env[1]: an object is wanted, there is nothing", true},
    {"a gateway's port", ROUTING("gatewayRefs: [{name: g, port: 65536}]"),
     "6:51 spec.routing.gatewayRefs[0].port: 65536: it is from 1 to 65535", false},
    {"a gateway's namespace", ROUTING("gatewayRefs: [{name: g, namespace: My_N}]"),
     "6:51 spec.routing.gatewayRefs[0].namespace: \"My_N\": it should be small letters, digits and "
     "'-'",
     false},
    {"a gateway's group", ROUTING("gatewayRefs: [{name: g, group: a..b}]"),
     "6:51 spec.routing.gatewayRefs[0].group: \"a..b\": it should be small letters", false},
    {"a Secret's name",
     TOP "  modelArtifacts: {uri: 'hf://o/m', authSecretName: A_b}\n"
         "  routing: {modelName: m}\n",
     "5:37 spec.modelArtifacts.authSecretName: A_b is no name that a Secret may have", true},
    {"a model that is none", TOP "  modelArtifacts: {uri: 'hf://m'}\n  routing: {modelName: m}\n",
     "5:20 spec.modelArtifacts.uri: \"hf://m\" names no model", true},
    {"more workers than one", ROLE("multinode: false, parallelism: {workers: 2}"),
     "7:30 spec.decode.parallelism: it comes to 2 workers, but multinode is false", true},
    {"copies that are no multiple", ROLE("parallelism: {data: 5, workers: 2}"),
     "7:12 spec.decode.parallelism: data is 5, which is not", true},
    {"workers that are none", ROLE("parallelism: {workers: 0}"),
     "7:26 spec.decode.parallelism.workers: 0: it is from 1 to 1048576", false},
    {"accelerators below 0", ROLE("parallelism: {tensor: -1}"),
     "7:12 spec.decode.parallelism: tensor is -1: it should be 1 to 1048576", true},
    {"a label of no name", ROLE("acceleratorTypes: {labelValues: [v]}"),
     "7:12 spec.decode.acceleratorTypes: labelKey is empty", true},
    {"how busy it is to be",
     ROLE("autoscaling: {maxReplicas: 1, targetCPUUtilizationPercentage: 0}"),
     "7:42 spec.decode.autoscaling.targetCPUUtilizationPercentage: 0: it is 1 or more", false},
    {"more than 32 bits hold", ROLE("replicas: 2147483648"),
     "7:12 spec.decode.replicas: a whole number from -2147483648 to 2147483647 is wanted", false},
    {"as many as they hold", ROLE("replicas: 2147483647"), "", false},
    {"a count below 0 of what is not made",
     ROUTING("ports: []") "  endpointPicker: {replicas: -1}\n",
     "7:20 spec.endpointPicker.replicas: -1: it is 0 or more", false},
    {"a container without a name", ROLE("containers: [{image: i}]"),
     "7:25 spec.decode.containers[0].name: it is missing: the container's", false},
    {"a variable without a name", VARS("{value: x}"),
     "7:51 spec.decode.containers[0].env[0].name: it is missing: the variable's", false},
    {"a variable twice", VARS("{name: A}, {name: A}"),
     "7:62 spec.decode.containers[0].env[1]: A: the container has two variables", true},
    {"a key of a Secret that is not said", VARS("{name: A, valueFrom: {secretKeyRef: {name: s}}}"),
     "7:73 spec.decode.containers[0].env[0].valueFrom.secretKeyRef.key: it is missing", false},
    {"an argument that is a number", ROLE("containers: [{name: c, image: i, args: [8000]}]"),
     "7:52 spec.decode.containers[0].args[0]: a whole number is read as \"8000\", a string: write "
     "it in "
     "quotes",
     true},
    {"a word that is none", VARS("{name: A, value: yes}"),
     "7:61 spec.decode.containers[0].env[0].value: a boolean is read as \"true\"", true},
    {"nothing in a list", ROLE("containers: [{name: c, image: i, command: [~]}]"),
     "7:55 spec.decode.containers[0].command[0]: null is read as \"\"", true},
    {"half a byte",
     TOP "  modelArtifacts: {uri: 'hf://o/m', size: 0.5}\n  routing: {modelName: m}\n",
     "5:37 spec.modelArtifacts.size: a number is read as \"0.5\"", true},
    {"a service's name",
     "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: My_Svc}\n"
     "spec:\n" FROM "  routing: {modelName: m}\n",
     "3:12 metadata.name: \"My_Svc\": it should be small letters, digits, '-' and '.'", true},
    {"another version",
     "apiVersion: llm-d.ai/v1\nkind: ModelService\nmetadata: {name: a}\nspec:\n" FROM
     "  routing: {modelName: m}\n",
     "1:1 apiVersion: llm-d.ai/v1: it should be llm-d.ai/v1alpha1", true},
    {"no version",
     "kind: ModelService\nmetadata: {name: a}\nspec:\n" FROM "  routing: {modelName: m}\n",
     "1:0 apiVersion: it is missing: llm-d.ai/v1alpha1", true},
    {"no kind",
     "apiVersion: llm-d.ai/v1alpha1\nmetadata: {name: a}\nspec:\n" FROM
     "  routing: {modelName: m}\n",
     "1:0 kind: it is missing: ModelService", true},
};

/* The errors: "5:3 PATH: TEXT". */
static const char *
errors_text(void)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    for (size_t i = 0; i < problems.count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        if (!p->warning)
            berth_buf_printf(&b, "%s%zu:%zu %s: %s", b.len > 0 ? "\n" : "", p->line, p->column,
                             p->path, p->text);
    }
    return berth_buf_text(&b);
}

static void
what_its_definition_refuses_is_told(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const bool is_wrong = cases[i].told[0] != '\0';
        print_message("  %s\n", cases[i].why);
        int r = generate(cases[i].service, BERTH_MSVC_YAML);
        const char *told = errors_text();
        if (strncmp(told, cases[i].told, strlen(cases[i].told)) != 0 || strchr(told, '\n') != NULL)
            fail_msg("%s, should be %s", told, cases[i].told);
        assert_int_equal(r < 0, is_wrong);
        r = generate(cases[i].service, BERTH_MSVC_MAP);
        assert_int_equal(r < 0, is_wrong && !cases[i].is_preview);
        berth_arena_reset(&arena);
    }
}

/* However long a list is: each is told of once, and the rest is counted. */
static void
many_are_counted(void **unused)
{
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_buf_puts(&b, TOP FROM "  routing:\n    modelName: m\n    ports:\n");
    for (int i = 0; i < 20000; i++)
        berth_buf_printf(&b, "    - {name: p%d, port: 0}\n    - {name: p%d, port: 1}\n", i, i);
    assert_int_equal(generate(berth_buf_text(&b), BERTH_MSVC_MAP), -BERTH_EINVAL);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_in_range(problems.errors, 20000, 40000);
}

/* What a template takes while it is rendered is given back behind it. */
static void
many_templates_have_room(void **unused)
{
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_buf_puts(&b, ROLE("containers: [{name: c, image: i, args: ["));
    b.len -= strlen("}\n");
    for (int i = 0; i < 20000; i++)
        berth_buf_puts(&b, "'{{ .ModelName }}', ");
    berth_buf_puts(&b, "]}]}\n");
    assert_int_equal(generate(berth_buf_text(&b), BERTH_MSVC_YAML), 0);
    assert_int_equal(problems.errors, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_its_definition_refuses_is_told, begin, end),
        cmocka_unit_test_setup_teardown(many_are_counted, begin, end),
        cmocka_unit_test_setup_teardown(many_templates_have_room, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
