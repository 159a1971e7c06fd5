#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "operator/modelservice/test_generate.h"

/* What objects of a base configuration say of themselves and may not: in llm-d's mapping as it is
 * written, in what is applied left out, and told in both. */

#define SERVICE    HF "  decode: {containers: [{name: c, image: i}]}\n"
#define DEPLOYMENT BASE "  decodeDeployment: |\n"
#define META       DEPLOYMENT "    metadata:\n      labels: {a: b}\n"
#define META_PATH  "decodeDeployment.metadata."
#define TOLD       "base:6:7 decodeDeployment: metadata."

#define PODS(what) \
    DEPLOYMENT "    spec:\n      template: {metadata: {annotations: {a: b}, " what "}}\n"
#define PODS_PATH "decodeDeployment.spec.template.metadata."
#define PODS_TOLD "base:5:50 decodeDeployment: spec.template.metadata."
#define GROUP(who, other)                                                            \
    BASE "  decodeLeaderWorkerSet: |\n    spec: {leaderWorkerTemplate: {" who        \
         "Template: {metadata: {labels: {a: b}, uid: u2}, spec: " ENGINE "}, " other \
         "Template: {spec: " ENGINE "}, size: 2}}\n"
#define ENGINE "{containers: [{name: c, image: i}]}"
#define GROUP_PATH(who) \
    "decodeLeaderWorkerSet.spec.leaderWorkerTemplate." who "Template.metadata.uid"

static const struct {
    const char *base, *path, *map, *applied; /* what is at the path, in either; "-": nothing */
    const char *told;                        /* the place of the warning; "": there is none */
} cases[] = {
    {META "      finalizers: [x/y]\n", META_PATH "finalizers", "[\"x/y\"]", "-", TOLD "finalizers"},
    {META "      managedFields: [{manager: m}]\n", META_PATH "managedFields",
     "[{\"manager\":\"m\"}]", "-", TOLD "managedFields"},
    {META "      resourceVersion: '7'\n", META_PATH "resourceVersion", "\"7\"", "-",
     TOLD "resourceVersion"},
    {META "      uid: u2\n", META_PATH "uid", "\"u2\"", "-", TOLD "uid"},
    {META "      generation: 3\n", META_PATH "generation", "3", "-", TOLD "generation"},
    {META "      creationTimestamp: '2025-01-01T00:00:00Z'\n", META_PATH "creationTimestamp",
     "\"2025-01-01T00:00:00Z\"", "-", TOLD "creationTimestamp"},
    {META "      deletionTimestamp: '2025-01-01T00:00:00Z'\n", META_PATH "deletionTimestamp",
     "\"2025-01-01T00:00:00Z\"", "-", TOLD "deletionTimestamp"},
    {META "      deletionGracePeriodSeconds: 0\n", META_PATH "deletionGracePeriodSeconds", "0", "-",
     TOLD "deletionGracePeriodSeconds"},
    {META "      selfLink: /a\n", META_PATH "selfLink", "\"/a\"", "-", TOLD "selfLink"},
    {META "      generateName: a-\n", META_PATH "generateName", "\"a-\"", "-", TOLD "generateName"},
    {META "      annotations: {deployment.kubernetes.io/revision: '4', c: d}\n",
     META_PATH "annotations", "{\"c\":\"d\",\"deployment.kubernetes.io/revision\":\"4\"}",
     "{\"c\":\"d\"}",
     "base:6:21 decodeDeployment: metadata.annotations.deployment.kubernetes.io/revision"},
    {DEPLOYMENT "    spec: {replicas: 2}\n    status: {replicas: 2}\n", "decodeDeployment.status",
     "{\"replicas\":2}", "-", "base:5:5 decodeDeployment: status"},
    /* Other owners, too: ours stays. */
    {META "      ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u9}]\n",
     META_PATH "ownerReferences[1].name", "\"svc\"", "-", TOLD "ownerReferences"},
    {META "      ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u9}]\n",
     META_PATH "ownerReferences[0].name", "\"p\"", "\"svc\"", TOLD "ownerReferences"},
    /* The rest of it stays. */
    {META "      uid: u2\n", META_PATH "labels.a", "\"b\"", "\"b\"", TOLD "uid"},
    /* Of pods, the same. */
    {PODS("finalizers: [x/y]"), PODS_PATH "finalizers", "[\"x/y\"]", "-", PODS_TOLD "finalizers"},
    {PODS("finalizers: [x/y]"), PODS_PATH "annotations.a", "\"b\"", "\"b\"",
     PODS_TOLD "finalizers"},
    {PODS("ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u9}]"),
     PODS_PATH "ownerReferences[0].name", "\"p\"", "-", PODS_TOLD "ownerReferences"},
    {PODS("uid: u2"), PODS_PATH "uid", "\"u2\"", "-", PODS_TOLD "uid"},
    {PODS("resourceVersion: '7'"), PODS_PATH "resourceVersion", "\"7\"", "-",
     PODS_TOLD "resourceVersion"},
    {PODS("selfLink: /a"), PODS_PATH "selfLink", "\"/a\"", "-", PODS_TOLD "selfLink"},
    {PODS("managedFields: [{manager: m}]"), PODS_PATH "managedFields", "[{\"manager\":\"m\"}]", "-",
     PODS_TOLD "managedFields"},
    {PODS("creationTimestamp: null"), PODS_PATH "annotations.a", "\"b\"", "\"b\"", ""},
    {GROUP("leader", "worker"), GROUP_PATH("leader"), "\"u2\"", "-",
     "base:4:79 decodeLeaderWorkerSet: spec.leaderWorkerTemplate.leaderTemplate.metadata.uid"},
    {GROUP("worker", "leader"), GROUP_PATH("worker"), "\"u2\"", "-",
     "base:4:79 decodeLeaderWorkerSet: spec.leaderWorkerTemplate.workerTemplate.metadata.uid"},
    {META "      annotations: {a.io/revision: '4'}\n", META_PATH "annotations",
     "{\"a.io/revision\":\"4\"}", "{\"a.io/revision\":\"4\"}", ""},
    /* What tools write where there is nothing. */
    {META "      creationTimestamp: null\n    status: {}\n", "decodeDeployment.status", "{}", "-",
     ""},
    {META "      ownerReferences: []\n      finalizers: []\n      uid: ''\n", META_PATH "uid",
     "\"\"", "-", ""},
    /* Each of a list. */
    {BASE "  configMaps: |\n    - metadata: {name: a}\n    - metadata:\n        name: b\n"
          "        finalizers: [x/y]\n",
     "configMaps[1].metadata.finalizers", "[\"x/y\"]", "-",
     "base:7:9 configMaps: [1].metadata.finalizers"},
    /* Another kind or version than what is made. */
    {DEPLOYMENT "    apiVersion: apps/v1\n    kind: StatefulSet\n", "decodeDeployment.kind",
     "\"Deployment\"", "\"Deployment\"", "base:5:5 decodeDeployment: kind"},
    {DEPLOYMENT "    kind: Deployment\n    apiVersion: apps/v1beta1\n",
     "decodeDeployment.apiVersion", "\"apps/v1\"", "\"apps/v1\"",
     "base:5:5 decodeDeployment: apiVersion"},
    {DEPLOYMENT "    kind: Deployment\n    apiVersion: apps/v1\n", "decodeDeployment.kind",
     "\"Deployment\"", "\"Deployment\"", ""},
    {BASE "  inferencePool: |\n    apiVersion: inference.networking.x-k8s.io/v1alpha1\n",
     "inferencePool.apiVersion", "\"inference.networking.x-k8s.io/v1alpha2\"",
     "\"inference.networking.x-k8s.io/v1alpha2\"", "base:4:5 inferencePool: apiVersion"},
    {BASE "  inferencePool: |\n    apiVersion: inference.networking.k8s.io/v1\n",
     "inferencePool.apiVersion", "\"inference.networking.k8s.io/v1\"",
     "\"inference.networking.k8s.io/v1\"", ""},
    {BASE "  configMaps: |\n    - kind: Secret\n      metadata: {name: a}\n", "configMaps[0].kind",
     "\"ConfigMap\"", "\"ConfigMap\"", "base:4:7 configMaps: [0].kind"},
    /* Another namespace than the service's. */
    {META "      namespace: elsewhere\n", META_PATH "namespace", "\"ns\"", "\"ns\"",
     TOLD "namespace"},
    {META "      namespace: ns\n", META_PATH "namespace", "\"ns\"", "\"ns\"", ""},
};

/* The one warning but that of the route, which has no rules here: "base:4:3 KEY: PATH". */
static const char *
warning(void)
{
    const char *ret = "";

    for (size_t i = 0; i < problems.count; i++) {
        const struct berth_msvc_problem *p = &problems.at[i];
        if (strcmp(p->in, "httpRoute") == 0 && strcmp(p->path, "spec.rules") == 0)
            continue;
        assert_true(p->warning);
        assert_string_equal(ret, "");
        ret = berth_arena_printf(&arena, "%s:%zu:%zu %s: %s", p->in_service ? "service" : "base",
                                 p->line, p->column, p->in, p->path);
        assert_non_null(ret);
    }
    return ret;
}

static const struct berth_json *
read_back(const struct berth_buf *out)
{
    const struct berth_json *ret = NULL;

    assert_int_equal(berth_yaml_parse(&arena, out->at, out->len, &ret, NULL), 0);
    return ret;
}

/* As it is applied, by its keys: what `at` reads paths of. */
static const struct berth_json *
applied(const char *base)
{
    const struct berth_msvc_files files = {.service = berth_slice_of(SERVICE),
                                           .base = berth_slice_of(base)};
    const struct berth_msvc_conf conf = {.epp_cluster_role = "picker", .applied = true};
    static const char *const keys[BERTH_MSVC_CHILDREN] = {
        [BERTH_MSVC_CONFIG_MAPS] = "configMaps",
        [BERTH_MSVC_DECODE_DEPLOYMENT] = "decodeDeployment",
        [BERTH_MSVC_DECODE_LWS] = "decodeLeaderWorkerSet",
        [BERTH_MSVC_POOL] = "inferencePool",
        [BERTH_MSVC_POOL_V1] = "inferencePool"};
    struct berth_msvc m = {0};
    struct berth_msvc_set set;
    struct berth_err e = {""};
    struct berth_buf text;
    struct berth_jw w;

    problems = (struct berth_msvc_problems){.arena = &arena};
    assert_int_equal(berth_msvc_draw_up(&files, &conf, &arena, &problems, &m, &set, &e), 0);
    berth_buf_init(&text, &arena);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        if (keys[i] == NULL || set.of[i] == NULL)
            continue;
        berth_jw_key(&w, keys[i]);
        berth_jw_value(&w, set.of[i]);
    }
    berth_jw_object_end(&w);
    return read_back(&text);
}

static void
what_only_a_cluster_may_say_is_left_out(void **unused)
{
    struct berth_buf out;

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %zu %s\n", i, cases[i].path);
        assert_int_equal(generate(SERVICE, cases[i].base, false, &out), 0);
        assert_string_equal(warning(), cases[i].told);
        assert_string_equal(at(read_back(&out), cases[i].path), cases[i].map);
        const struct berth_json *made = applied(cases[i].base);
        assert_string_equal(warning(), cases[i].told);
        assert_string_equal(at(made, cases[i].path), cases[i].applied);
        if (cases[i].told[0] != '\0')
            assert_int_not_equal(generate(SERVICE, cases[i].base, true, &out), 0);
        berth_arena_reset(&arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_only_a_cluster_may_say_is_left_out, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
