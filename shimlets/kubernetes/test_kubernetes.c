#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "shimlets/kubernetes/kubernetes_priv.h"
#include "wire/json.h"

/* What is pure of the shimlet: names, and the objects of a unit. */

static void
names_are_what_kubernetes_takes(void **unused)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"Qwen3-0.6B", "qwen3-0-6b"},
        {"7B", "model-7b"},
        {"llama-3-8b", "llama-3-8b"},
        {"Org/Name_v1.5", "orgnamev1-5"},
        {"...", "model"},
        {"", "model"},
        {"-a-", "model--a"},
        {"\xc3\xa4pfel", "pfel"},
        {"a123456789b123456789c123456789d123456789e123456789f123456789g1234",
         "a123456789b123456789c123456789d123456789e123456789f123456789g12"},
        {"a123456789b123456789c123456789d123456789e123456789f123456789g1-4",
         "a123456789b123456789c123456789d123456789e123456789f123456789g1"},
    };
    char got[KUBERNETES_NAME_MAX + 1];

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        kubernetes_name(cases[i].text, got);
        assert_string_equal(got, cases[i].want);
    }
    kubernetes_label_value("llama-0b0c", got);
    assert_string_equal(got, "llama-0b0c");
    char one[100], two[100], other[KUBERNETES_NAME_MAX + 1];
    memset(one, 'x', sizeof one);
    memset(two, 'x', sizeof two);
    one[99] = two[99] = '\0';
    two[98] = 'y'; /* the difference is where it is cut off */
    kubernetes_label_value(one, got);
    kubernetes_label_value(two, other);
    assert_int_equal(strlen(got), KUBERNETES_NAME_MAX);
    assert_string_not_equal(got, other);
    kubernetes_label_value(one, other);
    assert_string_equal(got, other); /* and the same each time */
}

static void
models_are_mounted_by_their_folder(void **unused)
{
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"/models/llama", "/models/llama"},
        {"/models/llama/", "/models/llama"},
        {"/models/q/model.gguf", "/models/q"},
        {"/models/q/model.SAFETENSORS", "/models/q"},
        {"/models/q/a.bin", "/models/q"},
        {"/models/q/a.pt", "/models/q"},
        {"/models/q/a.txt", "/models/q/a.txt"},
        {NULL, NULL},
        {"", NULL},
        {".", NULL},
        {"/", NULL},
        {"/model.gguf", NULL},
        {"model.gguf", NULL},
        {"models/llama", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_err e;
        const char *got;
        berth_arena_init(&a, 4096);
        const int r = kubernetes_model_dir(&a, cases[i].path, &got, &e);
        assert_int_equal(r, cases[i].want != NULL ? 0 : -BERTH_EINVAL);
        if (r == 0)
            assert_string_equal(got, cases[i].want);
        berth_arena_fini(&a);
    }
}

/* ---- objects ---- */

struct drawn {
    struct berth_arena a;
    struct kubernetes_conf conf;
    struct kubernetes_object objects[KUBERNETES_OBJECTS_MAX];
    const struct berth_json *json[KUBERNETES_OBJECTS_MAX];
    size_t count;
    struct berth_err e;
};

static struct berth_unit
plain(void)
{
    return (struct berth_unit){
        .name = "llama-0b0c-stable",
        .service_id = "llama-0b0c",
        .track = "stable",
        .revision = 3,
        .hash = "abcd",
        .replicas = 2,
        .model_name = "Llama-3.8B",
        .model_path = "/models/llama",
        .image = "engine:0",
        .health_path = "/health",
        .start_timeout_ns = 300 * BERTH_S,
        .drain_timeout_ns = 30 * BERTH_S,
        .surge_max = 1,
    };
}

static int
draw(struct drawn *d, const struct berth_unit *u, const char *settings)
{
    const struct kubernetes_plan p = {
        .conf = &d->conf, .unit = u, .owner = "me", .space = "default", .port = 30123};
    struct kubernetes_conf dflt;

    memset(d, 0, sizeof *d);
    berth_arena_init(&d->a, 1 << 20);
    kubernetes_conf_default(&dflt);
    d->conf = dflt;
    kubernetes_conf_read(settings, &dflt, &d->conf);
    const int r = kubernetes_render(&p, &d->a, d->objects, &d->count, &d->e);
    for (size_t i = 0; r == 0 && i < d->count; i++)
        assert_int_equal(berth_json_parse(&d->a, d->objects[i].json.at, d->objects[i].json.len,
                                          NULL, &d->json[i], &d->e),
                         0);
    return r;
}

/* Does the object's text hold that? */
static bool
holds(const struct drawn *d, size_t i, const char *text)
{
    const bool yes = strstr(d->objects[i].json.at, text) != NULL;

    if (!yes)
        print_message("  not there: %s\n  in %s\n", text, d->objects[i].json.at);
    return yes;
}

static void
a_unit_becomes_what_is_documented(void **unused)
{
    struct berth_unit u = plain();
    static const struct berth_pair env[] = {{"BATCH", "$(PORT)"}, {"HF_HOME", "/mine"}};
    static const struct berth_pair user_labels[] = {{"team", "a"}, {"app", "stolen"}};
    struct drawn d;

    (void)unused;
    u.cpu_milli = 4000;
    u.memory_bytes = UINT64_C(16) << 30;
    u.accelerator_count = 2;
    u.accelerator_resource = "nvidia.com/gpu";
    u.env = env;
    u.env_count = 2;
    u.labels = user_labels;
    u.label_count = 2;
    u.spec_json = "{\"contextLength\":4096,\"pipeline\":\"opensourcellm\"}";
    assert_int_equal(draw(&d, &u, "{}"), 0);
    assert_int_equal(d.count, 2);
    static const char *const has[] = {
        "\"kind\":\"Deployment\",\"metadata\":{\"name\":\"llama-0b0c-stable\",\"namespace\":"
        "\"default\"",
        "\"labels\":{\"team\":\"a\",\"app\":\"llama-0b0c\",\"track\":\"stable\",\"managed-by\":"
        "\"berth\"",
        "\"berth/service-id\":\"llama-0b0c\"",
        "\"berth/model-name\":\"Llama-3.8B\"",
        "\"berth/model-path\":\"/models/llama\"",
        "\"berth/goal-set-name\":\"opensourcellm\"",
        "\"berth/shimlet-name\":\"kubernetes\"",
        "\"berth/spec-hash\":\"abcd\"",
        "\"replicas\":2",
        "\"matchLabels\":{\"app\":\"llama-0b0c\"",
        "\"name\":\"llama-3-8b\",\"image\":\"engine:0\"",
        "\"imagePullPolicy\":\"IfNotPresent\"",
        "{\"name\":\"MODEL\",\"value\":\"Llama-3.8B\"},{\"name\":\"SERVING_ENGINE\",\"value\":"
        "\"openai\"},{\"name\":\"PORT\",\"value\":\"30123\"},{\"name\":\"TRANSFORMERS_OFFLINE\","
        "\"value\":\"1\"},{\"name\":\"SERVICE_ID\",\"value\":\"llama-0b0c\"},{\"name\":"
        "\"CONTEXT_LENGTH\",\"value\":\"4096\"}",
        "{\"name\":\"BATCH\",\"value\":\"30123\"},{\"name\":\"HF_HOME\",\"value\":\"/mine\"}",
        "{\"name\":\"http\",\"containerPort\":30123,\"protocol\":\"TCP\"}",
        "\"requests\":{\"cpu\":\"4\",\"memory\":\"16Gi\",\"nvidia.com/gpu\":\"2\"},\"limits\":{"
        "\"cpu\":\"4\",\"memory\":\"16Gi\",\"nvidia.com/gpu\":\"2\"}",
        "{\"name\":\"models\",\"mountPath\":\"/models/llama\",\"readOnly\":true}",
        "{\"name\":\"models\",\"hostPath\":{\"path\":\"/models/llama\",\"type\":\"Directory\"}}",
        "\"startupProbe\":{\"httpGet\":{\"path\":\"/"
        "health\",\"port\":\"http\"},\"periodSeconds\":5,"
        "\"timeoutSeconds\":5,\"failureThreshold\":60}",
        "\"tolerations\":[{\"key\":\"nvidia.com/gpu\",\"operator\":\"Exists\"}]",
        "\"maxSurge\":1,\"maxUnavailable\":0",
        "\"terminationGracePeriodSeconds\":35",
    };
    for (size_t i = 0; i < BERTH_COUNT(has); i++)
        assert_true(holds(&d, 0, has[i]));
    assert_null(strstr(d.objects[0].json.at, "hostNetwork"));
    assert_null(strstr(d.objects[0].json.at, "stolen"));
    assert_null(strstr(d.objects[0].json.at, "\"command\"")); /* the image's own */
    assert_null(strstr(d.objects[0].json.at, "\"args\""));
    assert_true(holds(&d, 1, "\"selector\":{\"app\":\"llama-0b0c\""));
    assert_true(holds(&d, 1, "\"port\":30123,\"targetPort\":\"http\""));
    /* The same twice, and another when anything differs. */
    struct drawn again, other;
    assert_int_equal(draw(&again, &u, "{}"), 0);
    assert_string_equal(again.objects[0].json.at, d.objects[0].json.at);
    u.replicas = 3;
    assert_int_equal(draw(&other, &u, "{}"), 0);
    assert_string_not_equal(other.objects[0].digest, d.objects[0].digest);
    assert_string_equal(other.objects[1].digest, d.objects[1].digest); /* not the Service */
    berth_arena_fini(&d.a);
    berth_arena_fini(&again.a);
    berth_arena_fini(&other.a);
}

static void
units_may_want_other_things(void **unused)
{
    struct berth_unit u = plain();
    static const char *const command[] = {"berth", "serve",      "--port=$(PORT)",
                                          "$$(x)", "$(REPLICA)", NULL};
    static const char *const options[] = {"--a", NULL};
    struct drawn d;

    (void)unused;
    u.workload = "StatefulSet";
    u.command = command;
    u.image = "engine:1";
    assert_int_equal(draw(&d, &u,
                          "{\"host_network\":true,\"node_selector\":\"a=b,c/d=e\","
                          "\"tolerations\":\"all\",\"service_type\":\"NodePort\","
                          "\"model_volume\":\"shared\",\"model_root\":\"/models\"}"),
                     0);
    static const char *const has[] = {
        "\"kind\":\"StatefulSet\"",
        "\"serviceName\":\"llama-0b0c-stable\"",
        "\"command\":[\"berth\",\"serve\"],"
        "\"args\":[\"--port=30123\",\"$$(x)\",\"$(REPLICA)\"]",
        "\"image\":\"engine:1\"",
        "\"hostNetwork\":true",
        "\"hostPort\":30123",
        "\"nodeSelector\":{\"a\":\"b\",\"c/d\":\"e\"}",
        "\"tolerations\":[{\"operator\":\"Exists\"}]",
        "\"subPath\":\"llama\"",
        "\"persistentVolumeClaim\":{\"claimName\":\"shared\"}",
        "metadata.labels['apps.kubernetes.io/pod-index']",
    };
    for (size_t i = 0; i < BERTH_COUNT(has); i++)
        assert_true(holds(&d, 0, has[i]));
    assert_true(holds(&d, 1, "\"type\":\"NodePort\""));
    berth_arena_fini(&d.a);
    u.workload = NULL;
    u.command = options;
    u.scale_max = 4;
    u.cpu_milli = 1500;
    u.model_path = "a-name"; /* the engine knows what that is */
    assert_int_equal(draw(&d, &u, "{}"), 0);
    assert_int_equal(d.count, 3);
    assert_true(holds(&d, 0, "\"args\":[\"--a\"]"));
    assert_true(holds(&d, 0, "\"cpu\":\"1500m\""));
    assert_null(strstr(d.objects[0].json.at, "\"replicas\":")); /* the autoscaler's */
    assert_null(strstr(d.objects[0].json.at, "hostPath"));
    assert_true(holds(&d, 2, "\"minReplicas\":1,\"maxReplicas\":4"));
    assert_true(holds(&d, 2, "\"averageUtilization\":80"));
    berth_arena_fini(&d.a);
}

static void
an_image_is_the_services_or_the_environments(void **unused)
{
    struct berth_unit u = plain();
    struct drawn d;

    (void)unused;
    u.image = NULL;
    assert_int_equal(draw(&d, &u, "{\"image\":\"mine:7\"}"), 0);
    assert_true(holds(&d, 0, "\"image\":\"mine:7\""));
    berth_arena_fini(&d.a);
    u.image = "its-own:1";
    assert_int_equal(draw(&d, &u, "{\"image\":\"mine:7\"}"), 0);
    assert_true(holds(&d, 0, "\"image\":\"its-own:1\""));
    berth_arena_fini(&d.a);
}

static void
a_service_may_set_what_is_its_own(void **unused)
{
    static const struct {
        const char *json, *says; /* NULL: it may */
    } cases[] = {
        {"{}", NULL},
        {"{\"image\":\"x\",\"host_network\":true,\"product_label\":\"l\"}", NULL},
        {"{\"namespace\":\"other\"}", "namespace is nothing that a service may set"},
        {"{\"managed_by\":\"x\"}", "managed_by is nothing"},
        {"{\"imagePullPolicy\":\"Never\"}", "image_pull_policy"},
        {"{\"host_network\":\"yes\"}", "host_network is a string"},
        {"{\"node_selector\":{\"a\":\"b\"}}", "node_selector is an object"},
        {"{", "line 1"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_arena a;
        struct berth_err e = {{0}};
        berth_arena_init(&a, 1 << 16);
        const int r = kubernetes_conf_check_own(cases[i].json, &a, &e);
        print_message("  %s\n", e.msg);
        assert_int_equal(r, cases[i].says == NULL ? 0 : -BERTH_EINVAL);
        if (cases[i].says != NULL)
            assert_non_null(strstr(e.msg, cases[i].says));
        berth_arena_fini(&a);
    }
}

static void
what_cannot_be_is_refused_by_name(void **unused)
{
    static const struct berth_pair bad_label[] = {{"team", "a b"}};
    struct berth_unit cases[7];
    static const char *const says[] = {
        "workload is \"Job\"",      "modelFile",          "labels.team", "min 5 is more than max 4",
        "resourceRequirements.cpu", "no acceleratorType", "which image"};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        cases[i] = plain();
    cases[0].workload = "Job";
    cases[1].model_path = "/";
    cases[2].labels = bad_label;
    cases[2].label_count = 1;
    cases[3].scale_min = 5;
    cases[3].scale_max = 4;
    cases[4].scale_max = 4;
    cases[5].accelerator_count = 1;
    cases[6].image = NULL;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct drawn d;
        assert_int_equal(draw(&d, &cases[i], "{}"), -BERTH_EINVAL);
        print_message("  %s\n", d.e.msg);
        assert_non_null(strstr(d.e.msg, says[i]));
        berth_arena_fini(&d.a);
    }
    static const char *const settings[] = {
        "{\"tolerations\":\"some\"}", "{\"service_type\":\"x\"}", "{\"node_selector\":\"a\"}",
        "{\"image_pull_policy\":\"x\"}", "{\"managed_by\":\"A b\"}"};
    for (size_t i = 0; i < BERTH_COUNT(settings); i++) {
        struct kubernetes_conf dflt, c;
        struct berth_err e;
        kubernetes_conf_default(&dflt);
        assert_int_equal(kubernetes_conf_check(&dflt, &e), 0);
        c = dflt;
        kubernetes_conf_read(settings[i], &dflt, &c);
        assert_int_equal(kubernetes_conf_check(&c, &e), -BERTH_EINVAL);
    }
}

static void
quantities_are_read(void **unused)
{
    static const struct {
        const char *text;
        uint64_t milli;
    } cases[] = {
        {"1", 1000},     {"500m", 500},    {"1.5", 1500},
        {"2k", 2000000}, {"1Ki", 1024000}, {"256Gi", UINT64_C(256) * 1073741824 * 1000},
        {"x", 0},        {"", 0},          {"-1", 0},
        {"1Zi", 0},      {"1e3", 1000000}, {"99999999999999999999Gi", UINT64_MAX},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        assert_true(kubernetes_quantity_milli(berth_slice_of(cases[i].text)) == cases[i].milli);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_what_kubernetes_takes),
        cmocka_unit_test(models_are_mounted_by_their_folder),
        cmocka_unit_test(a_unit_becomes_what_is_documented),
        cmocka_unit_test(units_may_want_other_things),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
        cmocka_unit_test(an_image_is_the_services_or_the_environments),
        cmocka_unit_test(a_service_may_set_what_is_its_own),
        cmocka_unit_test(quantities_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
