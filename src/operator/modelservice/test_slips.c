#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"
#include "operator/modelservice/test_arena.h"

/* Slips of the pen, and files that are not what they are given for: what a person is told first. */

#define GOOD                                                                            \
    "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: svc}\nspec:\n" \
    "  routing: {modelName: m}\n  modelArtifacts: {uri: 'hf://o/m'}\n"                  \
    "  decode: {containers: [{name: c, image: i}]}\n"
#define NAMED GOOD "  baseConfigMapRef: {name: b}\n"
#define BASE  "kind: ConfigMap\ndata:\n"

static const struct {
    const char *why, *service, *base;
    const char *told; /* "base:3:5 PATH: TEXT", one of the problems; '?' behind a warning's place */
} cases[] = {
    {"a key, nearly", GOOD, BASE "  decodeDeploymnt: ''\n",
     "base:3:3? data.decodeDeploymnt: no such key is known, and it is ignored: do you mean "
     "decodeDeployment?"},
    {"a key of llm-d's that is none of a base's", GOOD, BASE "  inferenceModl: ''\n",
     "base:3:3? data.inferenceModl: no such key is known, and it is ignored: do you mean "
     "inferenceModel?"},
    {"another key", GOOD, BASE "  notes: ''\n",
     "base:3:3? data.notes: no such key is known, and it is ignored"},
    {"the data, nearly", GOOD, "kind: ConfigMap\ndat: {eppService: ''}\n",
     "base:2:1? dat: no such field: do you mean data? The base configuration is empty"},
    {"a bracket of a service that is not closed",
     "kind: ModelService\nspec:\n  decode: {a: [b,\n  c: d\n  e: f\n", NULL,
     "service:3:15 : the [ that begins here is not closed: put a ] where its list ends"},
    {"a base with nothing in it", NAMED, "",
     "base:1:0? : there is nothing in it: the base configuration is empty"},
    {"one with a comment alone", NAMED, "# later\n",
     "base:1:0? : there is nothing in it: the base configuration is empty"},
    {"no base, where one is named", NAMED, NULL,
     "service:8:3? spec.baseConfigMapRef: it names b: give its ConfigMap with -b"},
    {"two documents in one file", BASE "---\n# mine\n---\n" GOOD, BASE,
     "service:1:1 kind: the ModelService is document 2: give each a file of its own"},
    {"with a directive before them", "%YAML 1.1\n---\n" BASE "---\n" GOOD, BASE,
     "service:3:1 kind: the ModelService is document 2: give each a file of its own"},
    {"the same for the base", GOOD, GOOD "---\r\n" BASE,
     "base:2:1 kind: the ConfigMap is document 2: give each a file of its own"},
    {"in their order one file for both is half right", GOOD, GOOD "---\n" BASE "---\n" GOOD,
     "base:2:1 kind: the ConfigMap is document 2: give each a file of its own"},
    {"no ModelService among them", BASE "---\nkind: ModelServices\n", BASE,
     "service:1:1? kind: ConfigMap: it should be ModelService: are -m and -b mixed up?"},
    {"a list", "apiVersion: v1\nkind: List\nitems:\n- kind: ModelService\n  spec: {}\n", BASE,
     "service:2:1 kind: it is a list: kubectl get modelservice NAME -o yaml prints one "
     "ModelService"},
    {"a list of a base's", GOOD, "kind: ConfigMapList\nitems: [{kind: ConfigMap}]\n",
     "base:1:1 kind: it is a list: kubectl get configmap NAME -o yaml prints one ConfigMap"},
    {"other data", GOOD, "kind: ConfigMap\nbinaryData: {eppService: ''}\n",
     "base:1:0? : it has no data: the base configuration is empty"},
};

static struct berth_msvc_problems problems;

static void
generate(const char *service, const char *base)
{
    static const struct berth_msvc_conf conf = {.epp_cluster_role = "picker"};
    const struct berth_msvc_files files = {.service = berth_slice_of(service),
                                           .base = base != NULL ? berth_slice_of(base)
                                                                : (struct berth_slice){0}};
    struct berth_err e = {""};
    struct berth_buf out;

    problems = (struct berth_msvc_problems){.arena = &arena};
    berth_buf_init(&out, &arena);
    (void)berth_msvc_generate(&files, &conf, BERTH_MSVC_MAP, &arena, &problems, &out, &e);
}

/* In lines: "base:3:5? PATH: TEXT". */
static const char *
told(void)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    for (size_t i = 0; i < problems.count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        berth_buf_printf(&b, "%s:%zu:%zu%s %s: %s\n", p->in_service ? "service" : "base", p->line,
                         p->column, p->warning ? "?" : "", p->path, p->text);
    }
    return berth_buf_text(&b);
}

static void
what_was_meant_is_asked(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *want = berth_arena_printf(&arena, "%s\n", cases[i].told);
        print_message("  %s\n", cases[i].why);
        generate(cases[i].service, cases[i].base);
        if (strstr(told(), want) == NULL)
            fail_msg("%sshould have %s", told(), want);
        berth_arena_reset(&arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_meant_is_asked, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
