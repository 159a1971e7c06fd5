#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"

/* Broken files, and where each of their problems is: in the file as a person wrote it. */

static struct berth_arena arena;
static struct berth_msvc_problems problems;

/* Of what kind it is, at its end, so that all the lines before it stay. */
static struct berth_slice
with_kind(const char *service)
{
    const size_t len = strlen(service);

    if (strstr(service, "spec:") == NULL || strstr(service, "---") != NULL ||
        strstr(service, "apiVersion") != NULL)
        return berth_slice_of(service);
    const char *ret =
        berth_arena_printf(&arena, "%.*sapiVersion: llm-d.ai/v1alpha1\n%s", (int)len, service,
                           strstr(service, "kind: ") == NULL ? "kind: ModelService\n" : "");
    assert_non_null(ret);
    return berth_slice_of(ret);
}

static int
generate(const char *service, const char *base)
{
    const struct berth_msvc_files files = {.service = with_kind(service),
                                           .base = base != NULL ? berth_slice_of(base)
                                                                : (struct berth_slice){0}};
    const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};
    struct berth_err e = {""};
    struct berth_buf out;

    problems = (struct berth_msvc_problems){.arena = &arena};
    berth_buf_init(&out, &arena);
    return berth_msvc_generate(&files, &conf, BERTH_MSVC_MAP, &arena, &problems, &out, &e);
}

/* "service:13:5" for an error, "base:4:3?" for a warning, one behind the other. */
static const char *
places(void)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    for (size_t i = 0; i < problems.count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        berth_buf_printf(&b, "%s%s:%zu:%zu%s", i > 0 ? " " : "", p->in_service ? "service" : "base",
                         p->line, p->column, p->warning ? "?" : "");
    }
    return berth_buf_text(&b);
}

#define GOOD_HEAD                                                                                \
    "kind: ModelService\n" /* 1 */                                                               \
    "metadata: {name: svc}\n"                                                                    \
    "spec:\n"                                                                                    \
    "  routing: {modelName: org/m, gatewayRefs: [{name: gw}], ports: [{name: app, port: 80}]}\n" \
    "  modelArtifacts: {uri: 'hf://org/m'}\n" /* 5 */
#define GOOD GOOD_HEAD "  decode: {containers: [{name: c, image: i}]}\n"
#define MAP  "kind: ConfigMap\nmetadata: {name: base}\ndata:\n" /* 1 to 3 */
/* No route without rules, so that nothing is told of it. */
#define ROUTED "  inferencePool: '{}'\n"

static const struct {
    const char *why, *service, *base, *want, *says;
} cases[] = {
    /* The service's file. */
    {"nothing wrong", GOOD, MAP ROUTED, "", NULL},
    {"broken YAML: an open quote ends with the file", "kind: 'x\nspec: {}\n", NULL, "service:1:7",
     "is not closed"},
    {"broken YAML: a tab", "kind: ModelService\nspec:\n\trouting: {}\n", NULL, "service:3:1",
     "a tab indents this line"},
    {"broken YAML: an indent too deep", "metadata:\n  name: a\n   uid: b\n", NULL, "service:3:4",
     "keys of one mapping begin in one column"},
    {"nothing at all", "", MAP ROUTED, "service:1:0",
     "there is nothing in it, it should be a ModelService"},
    {"no spec", "kind: ModelService\nmetadata: {name: a}\napiVersion: llm-d.ai/v1alpha1\n",
     MAP ROUTED, "service:1:0", "no spec"},
    {"a spec that is a list", "kind: ModelService\nmetadata: {name: a}\nspec: [1]\n", MAP ROUTED,
     "service:3:1", "an object is wanted"},
    {"another kind: the files are mixed up", "kind: ConfigMap\nspec: {}\nmetadata: {name: a}\n",
     NULL, "service:1:1? service:2:1? service:2:1", "mixed up"},
    {"no name",
     "metadata:\n  namespace: x\nspec:\n  routing: {modelName: a}\n"
     "  modelArtifacts: {uri: 'hf://a/b'}\n",
     NULL, "service:1:1?", "name"},
    {"a key twice", "metadata: {name: a}\nmetadata: {name: b}\n" GOOD_HEAD, MAP ROUTED,
     "service:2:1? service:4:1?", "on line 1 already"},
    {"a wrong type",
     GOOD_HEAD "  decode:\n    replicas: two\n    containers: [{name: c, image: i}]\n", MAP ROUTED,
     "service:7:5", "whole number"},
    {"a wrong type in a list",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: i\n      args:\n      - "
               "a\n      - {b: c}\n",
     MAP ROUTED, "service:12:9", "string"},
    {"an unknown member, near another",
     GOOD_HEAD "  decode:\n    containers: [{name: c, image: i}]\n"
               "    replica: 1\n",
     MAP ROUTED, "service:8:5?", "replicas"},
    {"a model from nowhere",
     "metadata: {name: svc}\nspec:\n  routing: {modelName: m}\n"
     "  modelArtifacts:\n    size: 1Gi\n    uri: 'ftp://x'\n",
     NULL, "service:6:5", "prefix"},
    {"no quantity",
     "metadata: {name: svc}\nspec:\n  routing: {modelName: m}\n"
     "  modelArtifacts:\n    uri: 'hf://a/b'\n    size: much\n",
     NULL, "service:6:5", "quantity"},
    {"a template's variable, quoted",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: i\n"
               "      args: ['a', '{{ .Nope }}']\n",
     MAP ROUTED, "service:10:23", "no variable .Nope"},
    {"a template's variable, in the second line of a block",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: i\n      args:\n      - |\n"
               "        first\n        x {{ .Nope }}\n",
     MAP ROUTED, "service:13:14", "no variable .Nope"},
    {"two of them in one text",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n"
               "      image: \"{{ .No }}{{ .Nix }}\"\n",
     MAP ROUTED, "service:9:18? service:9:27?", "no variable"},
    {"a port that is not there",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: i\n"
               "      args: ['{{ getPort \"b\" }}']\n",
     MAP ROUTED, "service:10:18?",
     "has no port \"b\": add {name: b, port: NUMBER} there, or name one that it has (app); -1"},
    {"a port below 0",
     "metadata: {name: svc}\nspec:\n  routing: {modelName: m, gatewayRefs: [{name: g}], ports: "
     "[{name: b, port: -5}]}\n  modelArtifacts: {uri: 'hf://o/m'}\n  decode:\n    containers:\n"
     "    - {name: c, image: i, args: ['{{ getPort \"b\" }}']}\n",
     MAP ROUTED, "service:3:71 service:7:38?",
     "port \"b\" of spec.routing.ports is -5: give it a number from 1 to 65535; -1 stands"},
    {"a port without a number",
     "metadata: {name: svc}\nspec:\n  routing: {modelName: m, gatewayRefs: [{name: g}], ports: "
     "[{name: b}]}\n  modelArtifacts: {uri: 'hf://o/m'}\n  decode:\n    containers:\n"
     "    - {name: c, image: i, args: ['{{ getPort \"b\" }}']}\n",
     MAP ROUTED, "service:3:61 service:7:38?", "has no number"},
    {"a port without its quotes",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: i\n"
               "      args: ['{{ getPort 8000 }}']\n",
     MAP ROUTED, "service:10:18", "takes a port's name in quotes"},
    {"labels of nodes without a value",
     GOOD_HEAD
     "  decode:\n    containers: [{name: c, image: i}]\n    acceleratorTypes: {labelKey: gpu}\n",
     MAP ROUTED, "service:8:5?", "labelValues"},
    {"a name of a container that is mistyped",
     GOOD_HEAD "  decode:\n    containers:\n    - name: vlm\n",
     MAP ROUTED "  decodeDeployment: 'spec: {template: {spec: {containers: [{name: vllm, image: "
                "v}]}}}'\n",
     "service:8:7?", "vlm has no image; the base configuration has vllm"},
    {"an image of a wrong type, which is one mistake",
     GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: []\n"
               "    - {name: d, image: {a: b}}\n    - {name: e, image: ''}\n",
     MAP ROUTED, "service:9:7 service:10:17 service:11:7?", "wanted"},
    {"a container that is none, and a name that is none",
     GOOD_HEAD "  decode:\n    containers:\n    - 5\n    - {name: [], image: i}\n", MAP ROUTED,
     "service:8:7 service:9:8", "wanted"},
    {"the same of the base configuration's", GOOD_HEAD "  decode: {}\n",
     MAP ROUTED "  decodeDeployment: |\n    spec: {template: {spec: {containers: [{name: c, image: "
                "[]},\n      {name: [], image: i}, {name: e}]}}}\n",
     "base:6:53 base:7:8 base:7:29?", "wanted"},
    {"one of a group's, and one that begins before the others",
     GOOD_HEAD "  prefill:\n    multinode: true\n    containers: [{name: v}]\n"
               "    initContainers:\n    - {name: w}\n",
     MAP ROUTED
     "  prefillLeaderWorkerSet: 'spec: {leaderWorkerTemplate: {workerTemplate: {spec: "
     "{initContainers: [{name: x, image: i}, {name: z, image: i}], containers: [{name: v, "
     "image: i}]}}}}'\n",
     "service:10:7?", "w has no image; the base configuration has x, z"},
    {"one of an endpoint picker's", GOOD "  endpointPicker: {containers: [{name: e}]}\n",
     MAP ROUTED "  eppDeployment: 'spec: {template: {spec: {containers: [{name: epp, image: i}]}}}'"
                "\n",
     "service:7:33?", "e has no image; the base configuration has epp"},
    {"a base configuration that is not given", GOOD "  baseConfigMapRef: {name: base}\n", NULL,
     "service:4:3? service:7:3?", "it names base: give its ConfigMap with -b"},
    {"another base configuration than is referred to", GOOD "  baseConfigMapRef: {name: other}\n",
     MAP ROUTED, "base:2:12?", "this is base, and the ModelService refers to other"},
    {"the one that is referred to", GOOD "  baseConfigMapRef: {name: base}\n", MAP ROUTED, "",
     NULL},
    {"a name that no Secret has",
     "metadata: {name: svc}\nspec:\n  routing: {modelName: m, gatewayRefs: [{name: g}]}\n"
     "  modelArtifacts: {uri: 'hf://o/m', authSecretName: A_b}\n",
     MAP ROUTED, "service:4:37?", "no name that a Secret may have"},
    {"a picker that is nowhere", GOOD "  endpointPicker: {replicas: 1}\n", MAP ROUTED,
     "service:7:3?", "does nothing"},
    {"a second document", GOOD "apiVersion: llm-d.ai/v1alpha1\n---\n" GOOD, MAP ROUTED,
     "service:8:1?", "documents"},
    {"documents with nothing in them around it",
     "---\n---\napiVersion: llm-d.ai/v1alpha1\n" GOOD "---\n# end\n",
     "---\n" MAP ROUTED "  x: ''\n---\n", "base:6:3?", "no such key"},
    {"no containers, and no base to say any", GOOD_HEAD "  prefill: {}\n", NULL,
     "service:4:3? service:6:3?", "it has none"},
    /* The base's file: the ConfigMap itself. */
    {"broken YAML of the file", GOOD, "data:\n  a: [\n", "base:2:6", "the [ that begins here"},
    {"no ConfigMap but text", GOOD, "hello\n", "base:1:0", "should be a ConfigMap"},
    {"no data", GOOD_HEAD, "kind: ConfigMap\n", "service:4:3? base:1:0?", "no data"},
    {"an unknown key", GOOD, MAP ROUTED "  decodDeployment: ''\n", "base:5:3?", "no such key"},
    {"a value that is no text", GOOD, MAP ROUTED "  decodeService:\n    spec: {}\n", "base:5:3",
     "should be text"},
    {"two documents", GOOD, MAP ROUTED "---\n" MAP, "base:5:1?", "documents"},
    /* What is within its values. */
    {"a wrong type", GOOD, MAP ROUTED "  decodeDeployment: |\n    spec:\n      replicas: two\n",
     "base:7:7", "whole number"},
    {"behind lines that a condition leaves out", GOOD,
     MAP ROUTED "  decodeDeployment: |\n    spec:\n      {{- if false }}\n      paused: true\n"
                "      {{- end }}\n      replicas: two\n",
     "base:10:7", "whole number"},
    {"behind lines that a range makes", GOOD,
     MAP ROUTED
     "  decodeDeployment: |\n    metadata:\n      labels:\n        {{- range until 5 }}\n"
     "        l{{ . }}: x\n        {{- end }}\n    spec:\n      replicas: two\n",
     "base:12:7", "whole number"},
    {"on a line that a template makes: it has no column", GOOD,
     MAP ROUTED "  decodeDeployment: |\n    spec:\n    {{ \"replicas: two\" | indent 2 }}\n",
     "base:7:0", NULL},
    {"a value on one line, quoted", GOOD,
     MAP ROUTED "  decodeDeployment: 'spec: {replicas: two}'\n", "base:5:29", "whole number"},
    {"a value with its newlines escaped", GOOD,
     MAP ROUTED "  decodeDeployment: \"spec:\\n  paused: 1\\n  replicas: two\\n\"\n",
     "base:5:31 base:5:44", "wanted"},
    {"a folded value", GOOD,
     MAP ROUTED "  decodeDeployment: >\n    {spec:\n    {paused: false,\n"
                "    replicas: two}}\n",
     "base:8:5", "whole number"},
    {"comments and empty lines before it, and more after", GOOD,
     MAP ROUTED "  decodeDeployment: |  # the pods\n\n    # of all\n\n    spec:\n"
                "      template: {spec: {contaners: []}}\n  decodeService: '{}'\n",
     "base:10:25?", "containers"},
    {"a template's function", GOOD,
     MAP ROUTED "  decodeDeployment: |\n    a: 1\n    b: {{ nofn }}\n", "base:7:11", "not defined"},
    {"two variables in one value", GOOD,
     MAP ROUTED "  decodeDeployment: |\n    spec:\n      paused: {{ .A1 }}\n"
                "      replicas: {{ .A2 }}\n",
     "base:7:18 base:8:20", "no variable"},
    {"a condition that is not ended", GOOD,
     MAP ROUTED "  decodeDeployment: |\n    {{ if 1 }}\n    a: 1\n", "base:6:8", "end"},
    {"broken YAML", GOOD, MAP ROUTED "  decodeDeployment: |\n    spec: {a: 1\n    b: 2\n",
     "base:6:11", "is not closed"},
    {"broken YAML, without which nothing is certain of the role",
     GOOD_HEAD "  decode: {containers: [{name: v}]}\n  prefill: {}\n  endpointPicker: {}\n",
     MAP ROUTED "  decodeDeployment: '{'\n  prefillDeployment: '['\n  eppDeployment: '{{ x }}'\n"
                "  prefillService: '{}'\n",
     "base:5:22 base:6:23 base:7:22", "is not closed"},
    {"broken YAML of a role's group",
     GOOD_HEAD "  decode: {multinode: true, containers: [{name: v}]}\n",
     MAP ROUTED "  decodeLeaderWorkerSet: '{'\n", "base:5:27", "is not closed"},
    {"broken YAML of the pool, to which the route leads", GOOD, MAP "  inferencePool: '{'\n",
     "base:4:19", "is not closed"},
    {"a key twice", GOOD, MAP ROUTED "  decodeDeployment: |\n    spec: {}\n    spec: {}\n",
     "base:7:5?", "already"},
    {"in a list of ConfigMaps", GOOD,
     MAP ROUTED "  configMaps: |\n    - metadata: {name: a}\n    - metadata:\n        name: b\n"
                "      data:\n        x: [1]\n",
     "base:10:9", "string"},
    {"a ConfigMap without a name", GOOD,
     MAP ROUTED "  configMaps: |\n    - metadata: {labels: {}}\n", "base:6:7?", "missing"},
    {"what cannot be merged", GOOD_HEAD "  decode: {containers: [{name: c, args: [a]}]}\n",
     MAP ROUTED "  decodeDeployment: |\n    spec:\n      template:\n        spec:\n"
                "          containers: {name: c}\n",
     "base:9:11 base:9:11", "list"},
    {"an object that is not one", GOOD, MAP ROUTED "  decodeDeployment: |\n    - 1\n", "base:5:3",
     "should be Deployment"},
    {"a route that leads nowhere", GOOD, MAP "  httpRoute: |\n    spec: {}\n", "base:5:5?",
     "no inferencePool"},
};

static void
each_has_its_line(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        (void)generate(cases[i].service, cases[i].base);
        const char *got = places();
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%zu, %s: \"%s\", should be \"%s\": %s", i, cases[i].why, got, cases[i].want,
                     problems.count > 0 ? problems.at[0].text : "");
        bool says = cases[i].says == NULL;
        for (size_t j = 0; j < problems.count; j++)
            says = says || strstr(problems.at[j].text, cases[i].says) != NULL;
        if (!says)
            fail_msg("%s: %s, should say %s", cases[i].why, problems.at[0].text, cases[i].says);
        berth_arena_reset(&arena);
    }
}

/* However many warnings there are, and in whatever order. */
static void
warnings_hide_no_errors(void **unused)
{
    struct berth_buf text;

    (void)unused;
    berth_buf_init(&text, &arena);
    berth_buf_puts(&text, GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      image: i\n");
    for (int i = 0; i < 300; i++)
        berth_buf_printf(&text, "      nosuchfield%d: 1\n", i);
    berth_buf_puts(&text, "    replicas: two\n");
    assert_int_not_equal(generate(berth_buf_text(&text), MAP ROUTED), 0);
    assert_int_equal(problems.errors, 1);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_int_equal(problems.warnings, 300);
    assert_false(problems.at[problems.count - 1].warning);
    assert_int_equal(problems.at[problems.count - 1].line, 310);
    berth_arena_reset(&arena);

    problems = (struct berth_msvc_problems){.arena = &arena};
    for (int i = 0; i < 150; i++)
        (void)berth_msvc_problem(&problems, i % 3 > 0, BERTH_MSVC_IN_SERVICE, "", "%d", i);
    for (int i = 0; i < 150; i++)
        (void)berth_msvc_problem(&problems, false, BERTH_MSVC_IN_SERVICE, "", "%d", i);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_int_equal(problems.errors, 200);
    assert_int_equal(problems.warnings, 100);
    for (size_t i = 0; i < problems.count; i++)
        assert_false(problems.at[i].warning);
    berth_arena_reset(&arena);
}

static void
repeat(struct berth_buf *b, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        berth_buf_puts(b, text);
}

/* Of 100 errors or warnings, whatever comes first in the file. */
static void
first_are_told(const char *file, size_t from, size_t line, size_t count)
{
    for (size_t i = from; i < from + count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        if (p->in_service != (file[0] == 's') || p->line != line + i - from)
            fail_msg("%zu: %zu:%zu %s: %s, should be %zu of %s", i, p->line, p->column, p->path,
                     p->text, line + i - from, file);
    }
}

/* However many there are, and in whatever order they are found. */
static void
the_first_of_the_files_are_kept(void **unused)
{
    struct berth_buf service, base;

    (void)unused;
    /* Types are looked at first, then templates, then limits. */
    berth_buf_init(&service, &arena);
    berth_buf_puts(&service, "metadata: {name: svc}\nspec:\n  modelArtifacts: {uri: 'hf://o/m'}\n"
                             "  routing:\n    modelName: m\n    ports:\n");
    repeat(&service, 40, "    - {name: '', port: 0}\n"); /* 7 */
    berth_buf_puts(&service, "  decode:\n    containers:\n    - name: c\n      image: i\n"
                             "      args:\n");
    repeat(&service, 40, "      - '{{ .Nope }}'\n"); /* 52 */
    repeat(&service, 1000, "      - {}\n");          /* 92 */
    assert_int_equal(generate(berth_buf_text(&service), NULL), -BERTH_EINVAL);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_int_equal(problems.errors, 1080);
    first_are_told("service", 0, 7, 40);
    first_are_told("service", 40, 52, 40);
    first_are_told("service", 80, 92, 20);
    berth_arena_reset(&arena);

    /* As many as there can be. */
    berth_buf_init(&service, &arena);
    berth_buf_puts(&service, "metadata: {name: svc}\nspec:\n  modelArtifacts: {uri: 'hf://o/m'}\n"
                             "  routing: {modelName: m, ports: [{name: a, port: 0}]}\n"
                             "  decode:\n    containers:\n");
    for (int i = 0; i < 30000; i++)
        berth_buf_printf(&service, "    - {name: c%d}\n", i); /* 7 */
    assert_int_equal(generate(berth_buf_text(&service), NULL), -BERTH_EINVAL);
    assert_int_equal(problems.errors, 1);
    assert_int_equal(problems.warnings, 30000);
    first_are_told("service", 0, 4, 1);
    first_are_told("service", 1, 7, 99);
    berth_arena_reset(&arena);

    /* Prefill is made before decode. */
    berth_buf_init(&base, &arena);
    berth_buf_puts(&base, MAP ROUTED "  decodeDeployment: |\n    spec:\n      template:\n"
                                     "        spec:\n          containers:\n");
    repeat(&base, 70, "          - {image: i}\n"); /* 10 */
    berth_buf_puts(&base, "  prefillDeployment: |\n    spec:\n      template:\n"
                          "        spec:\n          containers:\n");
    repeat(&base, 300, "          - {image: i}\n"); /* 85 */
    assert_int_equal(generate(GOOD_HEAD "  prefill: {}\n  decode: {}\n", berth_buf_text(&base)), 0);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_int_equal(problems.warnings, 370);
    first_are_told("base", 0, 10, 70);
    first_are_told("base", 70, 85, 30);
    berth_arena_reset(&arena);

    /* In one line, as JSON has it. */
    berth_buf_init(&service, &arena);
    berth_buf_puts(&service, "{apiVersion: llm-d.ai/v1alpha1, kind: ModelService, metadata: "
                             "{name: svc}, spec: {modelArtifacts: {uri: 'hf://o/m'}, "
                             "routing: {modelName: m, ports: [");
    repeat(&service, 60, "{port: 0, name: ''}, ");
    berth_buf_puts(&service, "]}, decode: {containers: [{name: c, image: i, args: [");
    repeat(&service, 60, "[], ");
    berth_buf_puts(&service, "]}]}}}\n");
    assert_int_equal(generate(berth_buf_text(&service), NULL), -BERTH_EINVAL);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    for (size_t i = 0; i < problems.count; i++)
        assert_non_null(strstr(problems.at[i].path, i < 60 ? "ports[" : "args["));
    berth_arena_reset(&arena);
}

/* What is there twice is found by its name. */
static void
the_first_doubles_are_told(void **unused)
{
    struct berth_buf service, base;

    (void)unused;
    berth_buf_init(&service, &arena);
    berth_buf_puts(&service, "metadata: {name: svc}\nspec:\n  modelArtifacts: {uri: 'hf://o/m'}\n"
                             "  routing:\n    modelName: m\n    ports:\n");
    for (int i = 0; i < 400; i++)
        berth_buf_printf(&service, "    - {name: p%03d, port: %d}\n", (999 - i) % 200,
                         i % 8 == 0 && i < 200 ? 0 : 1); /* 7 */
    assert_int_equal(generate(berth_buf_text(&service), NULL), -BERTH_EINVAL);
    assert_int_equal(problems.errors, 25);
    assert_int_equal(problems.warnings, 200);
    for (size_t i = 0; i < 25; i++)
        assert_int_equal(problems.at[i].line, 7 + 8 * i);
    first_are_told("service", 25, 207, 75);

    berth_buf_puts(&service, "    - {name: q, port: 0}\n");
    assert_int_equal(generate(berth_buf_text(&service), NULL), -BERTH_EINVAL);
    assert_int_equal(problems.errors, 26);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_int_equal(problems.at[99].line, 407); /* of an error, after many warnings */
    berth_arena_reset(&arena);

    berth_buf_init(&base, &arena);
    berth_buf_puts(&base, MAP ROUTED "  decodeDeployment: |\n    spec:\n      template:\n"
                                     "        spec:\n          containers:\n"
                                     "          - name: c\n            image: i\n"
                                     "            env:\n");
    for (int i = 0; i < 400; i++)
        berth_buf_printf(&base, "            - {name: V%03d}\n", (999 - i) % 200); /* 13 */
    assert_int_equal(generate(GOOD_HEAD "  decode: {}\n", berth_buf_text(&base)), 0);
    assert_int_equal(problems.warnings, 200);
    first_are_told("base", 0, 213, 100);
    berth_arena_reset(&arena);
}

/* What the reading of YAML tells, and nobody else. */
static void
the_first_of_yaml_is_told(void **unused)
{
    struct berth_buf service;

    (void)unused;
    berth_buf_init(&service, &arena);
    berth_buf_puts(&service, "spec:\n  modelArtifacts: {uri: 'hf://o/m'}\n"
                             "  routing: {modelName: m}\n  x:\n");
    repeat(&service, 150, "  - 0777\n"); /* 5 */
    berth_buf_puts(&service, "metadata: {name: svc}\n");
    (void)generate(berth_buf_text(&service), NULL);
    assert_int_equal(problems.warnings, 151);
    first_are_told("service", 0, 4, 100);
    berth_arena_reset(&arena);
}

/* More than is chosen from: those that are told first, and memory is not used up. */
static void
choosing_ends(void **unused)
{
    struct berth_buf service;

    (void)unused;
    berth_buf_init(&service, &arena);
    berth_buf_puts(&service, GOOD_HEAD "  decode:\n    containers:\n    - name: c\n"
                                       "      image: i\n      args:\n");
    berth_buf_puts(&service,
                   "      - '{{ range until 20000 }}{{ getPort \"no\" }}{{ end }}'\n"); /* 11 */
    assert_int_equal(generate(berth_buf_text(&service), NULL), 0);
    assert_int_equal(problems.count, BERTH_MSVC_PROBLEMS_MAX);
    assert_int_equal(problems.warnings, 20001);
    for (size_t i = 0; i < problems.count; i++)
        assert_int_equal(problems.at[i].line, 11);
    assert_in_range(arena.used_bytes, 1, 16u << 20);
    berth_arena_reset(&arena);
}

/* What takes too much comparing has its place, and the other children are looked at all the same.
 */
static void
what_is_too_long_to_be_merged_is_told(void **unused)
{
    struct berth_buf service, base;

    (void)unused;
    berth_buf_init(&service, &arena);
    berth_buf_init(&base, &arena);
    berth_buf_puts(&service, GOOD_HEAD "  decode:\n    containers:\n    - name: c\n      args:\n");
    berth_buf_puts(&base,
                   MAP ROUTED "  decodeDeployment: |\n    spec: {template: {spec: {containers: "
                              "[{name: c, image: i,\n      args: [");
    for (int i = 0; i < 9000; i++) {
        berth_buf_printf(&service, "      - --s%d=1\n", i);
        berth_buf_printf(&base, "--b%d=1, ", i);
    }
    berth_buf_puts(&base, "]}]}}}\n  decodeService: 'spec: {ports: [{port: x}]}'\n");
    assert_int_equal(generate(berth_buf_text(&service), berth_buf_text(&base)), -BERTH_EINVAL);
    assert_int_equal(problems.errors, 2);
    assert_string_equal(places(), "base:6:30 base:8:35");
    assert_non_null(strstr(problems.at[0].text, "comparisons"));
    berth_arena_reset(&arena);
}

/* With whatever memory there is, it is told that it ended, where, and what to do. */
static void
the_end_of_memory_is_told(void **unused)
{
    struct berth_arena texts;
    struct berth_buf service, base, out;
    size_t of_key = 0, of_service = 0, of_made = 0, enough = 0;

    (void)unused;
    berth_arena_init(&texts, 4u << 20);
    berth_buf_init(&service, &texts);
    berth_buf_init(&base, &texts);
    berth_buf_puts(&service, GOOD_HEAD "  decode:\n    containers:\n");
    berth_buf_puts(&base, MAP ROUTED "  decodeDeployment: |\n    spec:\n      template:\n"
                                     "        spec:\n          containers:\n");
    for (int i = 0; i < 200; i++) {
        berth_buf_printf(&service, "    - {name: c%d, args: ['{{ .ModelName }}']}\n", i);
        berth_buf_printf(&base, "          - {name: c%d, image: i}\n", i);
    }
    berth_buf_puts(&service, "apiVersion: llm-d.ai/v1alpha1\n");
    const struct berth_msvc_files files = {.service = {service.at, service.len},
                                           .base = {base.at, base.len}};
    const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};
    for (size_t max = 4096; max < 4u << 20; max += max / 24) {
        struct berth_arena a;
        struct berth_err e = {""};
        berth_arena_init(&a, max);
        problems = (struct berth_msvc_problems){.arena = &a};
        berth_buf_init(&out, &a);
        const int r = berth_msvc_generate(&files, &conf, BERTH_MSVC_YAML, &a, &problems, &out, &e);
        const struct berth_msvc_problem *p = problems.at;
        const struct berth_msvc_problem *end = problems.at + problems.count;
        size_t told = strstr(e.msg, "make it smaller") != NULL;
        for (p = problems.at; p < end; p++)
            told += strstr(p->text, "make it smaller") != NULL ||
                    strstr(p->text, "out of memory") != NULL;
        assert_int_equal(told, r != 0); /* once, whatever could not be looked at any more */
        for (p = problems.at; p < end && strstr(p->text, "make it smaller") == NULL;)
            p++;
        if (r == 0)
            enough++;
        else if (strstr(e.msg, "make it smaller") != NULL)
            of_made += strncmp(e.msg, "decodeDeployment: ", 18) == 0;
        else if (p < end)
            *(strcmp(p->in, BERTH_MSVC_IN_SERVICE) == 0 ? &of_service : &of_key) += 1;
        else
            fail_msg("%zu bytes: %s, %zu problems", max, e.msg, problems.count);
        assert_true(r == 0 || problems.errors > 0 || r == -BERTH_ENOMEM);
        berth_arena_fini(&a);
    }
    print_message("  service %zu, keys %zu, made %zu, enough %zu\n", of_service, of_key, of_made,
                  enough);
    assert_true(of_service > 0 && of_key > 0 && of_made > 0 && enough > 0);
    berth_arena_fini(&texts);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_line),
        cmocka_unit_test(warnings_hide_no_errors),
        cmocka_unit_test(the_first_of_the_files_are_kept),
        cmocka_unit_test(the_first_doubles_are_told),
        cmocka_unit_test(the_first_of_yaml_is_told),
        cmocka_unit_test(choosing_ends),
        cmocka_unit_test(what_is_too_long_to_be_merged_is_told),
        cmocka_unit_test(the_end_of_memory_is_told),
    };

    berth_arena_init(&arena, 64u << 20);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    berth_arena_fini(&arena);
    return failed;
}
