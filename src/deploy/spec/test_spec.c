#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "deploy/phase.h"
#include "deploy/spec/spec.h"

static const struct berth_spec_defaults dflt = {
    .pipeline = "opensourcellm", .shimlet = "process", .model_root = "/models"};

static int
parse(struct berth_arena *a, const char *text, struct berth_spec *s, struct berth_spec_fault *f,
      struct berth_err *e)
{
    bool lenient;

    berth_arena_init(a, 4 << 20);
    return berth_spec_parse_text(berth_slice_of(text), &dflt, a, s, &lenient, f, e);
}

static void
the_published_example_parses_with_its_backslashes(void **unused)
{
    static const char text[] =
        "{ \\\n"
        "  \"modelName\": \"llama-3-8b\", \\\n"
        "  \"modelFile\": \"/models/llama-3-8b\", \\\r\n"
        "  \"resourceRequirements\": { \\\n"
        "    \"acceleratorType\": \"NVIDIA GPU\", \\\n"
        "    \"acceleratorCount\": 1, \"cpu\": \"4\", \"memory\": \"16Gi\" \\\n"
        "  }, \\\n  \"replicaCount\": 2 \\\n}";
    struct berth_arena a;
    struct berth_spec s;
    struct berth_spec_fault f;
    struct berth_err e = {""};
    bool lenient = false;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_spec_parse_text(berth_slice_of(text), &dflt, &a, &s, &lenient, &f, &e),
                     0);
    assert_true(lenient);
    assert_string_equal(s.model_name, "llama-3-8b");
    assert_string_equal(s.model_file, "/models/llama-3-8b");
    assert_string_equal(s.accelerator_resource, "nvidia.com/gpu");
    assert_null(s.accelerator_product);
    assert_int_equal(s.accelerator_count, 1);
    assert_int_equal(s.cpu_milli, 4000);
    assert_int_equal(s.memory_bytes, 16ULL << 30);
    assert_int_equal(s.replicas, 2);
    assert_string_equal(s.pipeline, "opensourcellm");
    assert_string_equal(s.shimlet, "process");
    /* A backslash within a string is the string's. */
    assert_int_equal(berth_spec_parse_text(BERTH_SLICE("{\"modelName\":\"a\\nb\"}"), &dflt, &a, &s,
                                           &lenient, &f, &e),
                     0);
    assert_false(lenient);
    assert_string_equal(s.model_name, "a\nb");
    berth_arena_fini(&a);
}

static void
what_is_wrong_is_named(void **unused)
{
    static const struct {
        const char *why, *text, *field, *says;
        int rc;
    } cases[] = {
        {"no JSON", "{", "", "the body is not JSON", -BERTH_EINVAL},
        {"nothing", "", "", "the body is not JSON", -BERTH_EINVAL},
        {"no object", "null", "", "should be a JSON object", -BERTH_EINVAL},
        {"no model", "{}", "modelName", "is missing", -BERTH_EINVAL},
        {"a typing error", "{\"modelName\":\"a\",\"replicas\":1}", "replicas", "replicaCount",
         -BERTH_EINVAL},
        {"one further in", "{\"modelName\":\"a\",\"resourceRequirements\":{\"mem\":1}}",
         "resourceRequirements.mem", "memory", -BERTH_EINVAL},
        {"a wrong type", "{\"modelName\":7}", "modelName", "a string", -BERTH_EINVAL},
        {"neither true nor false", "{\"modelName\":\"a\",\"hasSideEffects\":1}", "hasSideEffects",
         "true or false", -BERTH_EINVAL},
        {"a fraction of a replica", "{\"modelName\":\"a\",\"replicaCount\":1.5}", "replicaCount",
         "whole number", -BERTH_EINVAL},
        {"a negative one", "{\"modelName\":\"a\",\"replicaCount\":-1}", "replicaCount", "0 to 1000",
         -BERTH_EINVAL},
        {"no such accelerator",
         "{\"modelName\":\"a\",\"resourceRequirements\":{\"acceleratorType\":\"Abacus\"}}",
         "resourceRequirements.acceleratorType", "NVIDIA GPU", -BERTH_EINVAL},
        {"a bad quantity", "{\"modelName\":\"a\",\"resourceRequirements\":{\"memory\":\"16Gb\"}}",
         "resourceRequirements.memory", "16Gi", -BERTH_EINVAL},
        {"a key without a value's shape", "{\"modelName\":\"a\",\"env\":[1]}", "env[0]", "key",
         -BERTH_EINVAL},
        {"a key twice",
         "{\"modelName\":\"a\",\"env\":[{\"key\":\"A\",\"value\":\"1\"},{\"key\":\"A\",\"value\":"
         "\"2\"}]}",
         "env[1]", "twice", -BERTH_EINVAL},
        {"an engine nobody has", "{\"modelName\":\"a\",\"engine\":\"x\"}", "engine", "llama-server",
         -BERTH_EINVAL},
        {"a command engine without one", "{\"modelName\":\"a\",\"engine\":\"command\"}", "command",
         "missing", -BERTH_EINVAL},
        {"a step's key", "{\"modelName\":\"a\",\"steps\":{\"x\":{\"retries\":1}}}",
         "steps.x.retries", "maxRetries", -BERTH_EINVAL},
        {"a NUL", "{\"modelName\":\"a\\u0000b\"}", "modelName", "NUL", -BERTH_EINVAL},
        {"nothing could roll",
         "{\"modelName\":\"a\",\"strategy\":{\"maxSurge\":0,\"maxUnavailable\":0}}",
         "strategy.maxSurge", "replaced", -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_arena a;
        struct berth_spec s;
        struct berth_spec_fault f;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        assert_int_equal(parse(&a, cases[i].text, &s, &f, &e), cases[i].rc);
        assert_string_equal(f.field, cases[i].field);
        assert_non_null(strstr(e.msg, cases[i].says));
        berth_arena_fini(&a);
    }
}

static void
other_names_mean_the_same(void **unused)
{
    struct berth_arena a, b;
    struct berth_spec x, y;
    struct berth_spec_fault f;
    struct berth_err e;

    (void)unused;
    assert_int_equal(
        parse(&a,
              "{\"name\":\"m\",\"modelFileDir\":\"/m/d\",\"goalSetName\":\"quant\","
              "\"shimletName\":\"k8s\",\"modelImage\":\"i\",\"env\":{\"A\":1,\"B\":true},"
              "\"serviceId\":\"zzz\"}",
              &x, &f, &e),
        0);
    assert_int_equal(parse(&b,
                           "{\"modelName\":\"m\",\"modelFile\":\"/m/d\",\"pipeline\":\"quant\","
                           "\"shimlet\":\"k8s\",\"image\":\"i\",\"env\":[{\"key\":\"A\",\"value\":"
                           "\"1\"},{\"key\":\"B\",\"value\":\"true\"}],\"name\":\"not this\"}",
                           &y, &f, &e),
                     0);
    assert_string_equal(x.json, y.json);
    assert_string_equal(x.hash, y.hash);
    berth_arena_fini(&a);
    berth_arena_fini(&b);
}

static void
one_form_reads_back_as_itself(void **unused)
{
    struct berth_arena a, b;
    struct berth_spec x, y;
    struct berth_spec_fault f;
    struct berth_err e;

    (void)unused;
    assert_int_equal(
        parse(&a,
              "{\"modelFile\":\"/m/SmolLM2.gguf\",\"resourceRequirements\":{\"acceleratorType\":"
              "\"NVIDIA H20\",\"cpu\":\"1.5\",\"memory\":1536},\"args\":[\"-x\",\"\"],"
              "\"labels\":{\"team\":\"a\"},\"autoscale\":{\"min\":1,\"max\":4,\"cpuPercent\":80},"
              "\"strategy\":{\"type\":\"canary\",\"canary\":{\"weight\":20,\"replicas\":0}},"
              "\"steps\":{\"health-check\":{\"maxRetries\":0,\"timeoutMs\":5000,\"onFailure\":"
              "\"rollback\",\"preHook\":\"true\"}},\"shimletConfig\":{\"a\":[1,{\"b\":null}]}}",
              &x, &f, &e),
        0);
    assert_string_equal(x.model_name, "SmolLM2");
    assert_string_equal(x.accelerator_product, "H20");
    assert_int_equal(x.accelerator_count, 1);
    assert_int_equal(x.cpu_milli, 1500);
    assert_int_equal(x.memory_bytes, 1536);
    assert_int_equal(x.strategy, BERTH_STRATEGY_CANARY);
    assert_int_equal(x.canary_percent, 20);
    assert_int_equal(x.steps[0].policy.retries_max, UINT32_MAX);
    assert_int_equal(parse(&b, x.json, &y, &f, &e), 0);
    assert_string_equal(x.json, y.json);
    assert_string_equal(x.hash, y.hash);
    berth_arena_fini(&a);
    berth_arena_fini(&b);
}

static void
the_hash_tells_whether_replicas_must_be_replaced(void **unused)
{
    static const struct {
        const char *why, *text;
        bool same;
    } cases[] = {
        {"more of them", "{\"modelName\":\"m\",\"replicaCount\":3}", true},
        {"how to roll", "{\"modelName\":\"m\",\"strategy\":{\"maxSurge\":2}}", true},
        {"retries of a step", "{\"modelName\":\"m\",\"steps\":{\"x\":{\"maxRetries\":2}}}", true},
        {"an environment variable", "{\"modelName\":\"m\",\"env\":{\"A\":\"1\"}}", false},
        {"the path", "{\"modelName\":\"m\",\"modelFile\":\"/m\"}", false},
        {"the context", "{\"modelName\":\"m\",\"contextLength\":4096}", false},
    };
    struct berth_arena a, b;
    struct berth_spec x, y;
    struct berth_spec_fault f;
    struct berth_err e;

    (void)unused;
    assert_int_equal(parse(&a, "{\"modelName\":\"m\"}", &x, &f, &e), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].why);
        assert_int_equal(parse(&b, cases[i].text, &y, &f, &e), 0);
        assert_int_equal(strcmp(x.hash, y.hash) == 0, cases[i].same);
        berth_arena_fini(&b);
    }
    assert_int_equal(berth_spec_scaled(&x, 5, &a, &y, &e), 0);
    assert_int_equal(y.replicas, 5);
    assert_non_null(strstr(y.json, "\"replicaCount\":5"));
    berth_arena_fini(&a);
}

static void
a_difference_is_told_by_path(void **unused)
{
    struct berth_arena a, b;
    struct berth_spec x, y;
    struct berth_spec_fault f;
    struct berth_err e;
    struct berth_buf out;

    (void)unused;
    assert_int_equal(
        parse(&a,
              "{\"modelName\":\"m\",\"replicaCount\":1,\"env\":{\"A\":\"1\",\"B\":\"2\","
              "\"API_TOKEN\":\"old\"},\"resourceRequirements\":{\"cpu\":\"1\"}}",
              &x, &f, &e),
        0);
    assert_int_equal(
        parse(&b,
              "{\"modelName\":\"m\",\"replicaCount\":2,\"env\":{\"B\":\"3\",\"C\":\"4\","
              "\"API_TOKEN\":\"new\"},\"resourceRequirements\":{\"cpu\":\"1\"}}",
              &y, &f, &e),
        0);
    berth_buf_init(&out, &a);
    berth_spec_diff(&x, &y, &a, &out);
    assert_string_equal(berth_buf_text(&out),
                        "[{\"path\":\"replicaCount\",\"from\":1,\"to\":2},"
                        "{\"path\":\"env.A\",\"from\":\"1\",\"to\":null},"
                        "{\"path\":\"env.B\",\"from\":\"2\",\"to\":\"3\"},"
                        "{\"path\":\"env.API_TOKEN\",\"from\":\"***\",\"to\":\"***\"},"
                        "{\"path\":\"env.C\",\"from\":null,\"to\":\"4\"}]");
    berth_buf_init(&out, &a);
    berth_spec_diff(&x, &x, &a, &out);
    assert_string_equal(berth_buf_text(&out), "[]");
    berth_arena_fini(&b);
    assert_int_equal(
        parse(&b,
              "{\"modelName\":\"m\",\"replicaCount\":1,\"env\":{\"A\":\"1\",\"B\":\"2\","
              "\"API_TOKEN\":\"old\"},\"resourceRequirements\":{\"cpu\":\"1\"},"
              "\"args\":[\"--api-key\",\"X\"],"
              "\"shimletConfig\":{\"registry\":{\"password\":\"hunter2\"}}}",
              &y, &f, &e),
        0);
    berth_buf_init(&out, &a);
    berth_spec_diff(&x, &y, &a, &out); /* what comes as a whole has secrets within */
    assert_non_null(strstr(berth_buf_text(&out), "\"to\":[\"--api-key\",\"***\"]"));
    assert_non_null(strstr(berth_buf_text(&out), "{\"password\":\"***\"}"));
    assert_null(strstr(berth_buf_text(&out), "hunter2"));
    berth_arena_fini(&a);
    berth_arena_fini(&b);
}

/* A client reads a spec, changes something and sends it back. */
static void
what_was_masked_stays_what_it_is(void **unused)
{
    static const char had[] = "{\"modelName\":\"m\",\"env\":{\"API_TOKEN\":\"old\",\"A\":\"***\","
                              "\"DB\":\"pg://u:pw@h/d\"},\"steps\":{\"health-check\":{"
                              "\"preHook\":\"run --now\"}}}";
    static const struct {
        const char *why, *env, *hooks, *want_env, *want_hooks;
    } cases[] = {
        {"all as it was shown", "\"API_TOKEN\":\"***\",\"DB\":\"pg://u:***@h/d\"",
         "\"preHook\":\"***\"",
         "{\"key\":\"API_TOKEN\",\"value\":\"old\"},{\"key\":\"DB\",\"value\":\"pg://u:pw@h/d\"}",
         "{\"preHook\":\"run --now\"}"},
        {"what is new is new", "\"API_TOKEN\":\"new\",\"DB\":\"pg://u:***@other/d\"",
         "\"preHook\":\"true\",\"postHook\":\"***\"",
         "{\"key\":\"API_TOKEN\",\"value\":\"new\"},"
         "{\"key\":\"DB\",\"value\":\"pg://u:***@other/d\"}",
         "{\"preHook\":\"true\",\"postHook\":\"***\"}"},
        {"stars are another's", "\"A\":\"***\",\"B_TOKEN\":\"***\"", "\"preHook\":\"***\"",
         "{\"key\":\"A\",\"value\":\"***\"},{\"key\":\"B_TOKEN\",\"value\":\"***\"}",
         "{\"preHook\":\"run --now\"}"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_spec_fault f;
        struct berth_err e = {""};
        struct berth_spec x, y, got;
        struct berth_arena a;
        char text[512];

        assert_int_equal(parse(&a, had, &x, &f, &e), 0);
        struct berth_arena b;
        (void)snprintf(text, sizeof text,
                       "{\"modelName\":\"m\",\"env\":{%s},\"steps\":{\"health-check\":{%s}}}",
                       cases[i].env, cases[i].hooks);
        assert_int_equal(parse(&b, text, &y, &f, &e), 0);
        assert_int_equal(berth_spec_unmasked(&y, &x, &b, &got, &e), 0);
        if (strstr(got.json, cases[i].want_env) == NULL ||
            strstr(got.json, cases[i].want_hooks) == NULL)
            fail_msg("%s: %s", cases[i].why, got.json);
        berth_arena_fini(&b);
        berth_arena_fini(&a);
    }
}

static void
words_that_were_masked_are_put_back_or_refused(void **unused)
{
    static const char had[] =
        "{\"modelName\":\"m\",\"args\":[\"--port\",\"1\",\"--api-key\",\"K\",\"--hf-token=T\"],"
        "\"command\":[\"sh\",\"-c\",\"API_KEY=X serve\"],"
        "\"parameters\":{\"password\":7,\"deep\":[{\"token\":\"D\"},\"x\"]}}";
    static const struct {
        const char *why, *sent, *want; /* want: in the spec, or in the message */
        int rc;
    } cases[] = {
        {"as it was shown", "\"args\":[\"--port\",\"1\",\"--api-key\",\"***\",\"--hf-token=***\"]",
         "[\"--port\",\"1\",\"--api-key\",\"K\",\"--hf-token=T\"]", 0},
        {"at other places", "\"args\":[\"--hf-token=***\",\"--api-key\",\"***\",\"-v\"]",
         "[\"--hf-token=T\",\"--api-key\",\"K\",\"-v\"]", 0},
        {"in a line", "\"command\":[\"sh\",\"-c\",\"API_KEY=*** serve\"]", "\"API_KEY=X serve\"",
         0},
        {"in an object, whatever it was",
         "\"parameters\":{\"password\":\"***\",\"deep\":[{\"token\":\"***\"},\"y\"]}",
         "{\"password\":7,\"deep\":[{\"token\":\"D\"},\"y\"]}", 0},
        {"what is given is taken", "\"args\":[\"--api-key\",\"new\"]", "[\"--api-key\",\"new\"]",
         0},
        {"of another flag", "\"args\":[\"--password\",\"***\"]", "args[1]: \"***\"", -BERTH_EINVAL},
        {"of another line", "\"command\":[\"sh\",\"API_KEY=*** run\"]", "command[1]: \"***\"",
         -BERTH_EINVAL},
        {"of another member", "\"parameters\":{\"deep\":[{\"secret\":\"***\"}]}",
         "parameters.deep[0].secret: \"***\"", -BERTH_EINVAL},
        {"where nothing was", "\"shimletConfig\":{\"password\":\"***\"}",
         "shimletConfig.password: ", -BERTH_EINVAL},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_spec_fault f;
        struct berth_err e = {""};
        struct berth_spec x, y, got = {.json = ""};
        struct berth_arena a, b;
        char text[512];

        assert_int_equal(parse(&a, had, &x, &f, &e), 0);
        (void)snprintf(text, sizeof text, "{\"modelName\":\"m\",%s}", cases[i].sent);
        assert_int_equal(parse(&b, text, &y, &f, &e), 0);
        const int r = berth_spec_unmasked(&y, &x, &b, &got, &e);
        if (r != cases[i].rc || strstr(r < 0 ? e.msg : got.json, cases[i].want) == NULL)
            fail_msg("%s: %d %s %s", cases[i].why, r, e.msg, got.json);
        berth_arena_fini(&b);
        berth_arena_fini(&a);
    }
}

/* Such a path names this machine's root or wherever the server was started, never a model. */
static void
a_model_has_a_path_of_its_own(void **unused)
{
    static const struct {
        const char *path;
        int rc;
    } cases[] = {
        {"/", -BERTH_EINVAL},
        {".", -BERTH_EINVAL},
        {"./", -BERTH_EINVAL},
        {"//", -BERTH_EINVAL},
        {"/./", -BERTH_EINVAL},
        {"..", -BERTH_EINVAL},
        {"/..", -BERTH_EINVAL},
        {"../..", -BERTH_EINVAL},
        {"/m.gguf", 0},
        {"/m", 0},
        {"./m", 0},
        {"../.m", 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_spec_fault f = {""};
        struct berth_err e = {""};
        struct berth_arena a;
        struct berth_spec s;
        char text[128];

        (void)snprintf(text, sizeof text, "{\"modelName\":\"m\",\"modelFile\":\"%s\"}",
                       cases[i].path);
        assert_int_equal(parse(&a, text, &s, &f, &e), 0); /* what is kept can be read again */
        if (berth_spec_check(&s, &f, &e) != cases[i].rc)
            fail_msg("%s: %s", cases[i].path, e.msg);
        assert_string_equal(f.field, cases[i].rc == 0 ? "" : "modelFile");
        if (cases[i].rc < 0)
            assert_non_null(strstr(e.msg, "modelFile: "));
        berth_arena_fini(&a);
    }
}

static void
names_fit_where_they_go(void **unused)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"Qwen3-0.6B", "qwen3-0-6b"}, {"7B", "model-7b"}, {"", "model"},          {"!!!", "model"},
        {"a_b/c.d", "a-b-c-d"},       {"abc--", "abc"},   {"-abc", "model--abc"}, {"日本", "model"},
    };
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(berth_name_sanitise(cases[i].from, 63, &a), cases[i].to);
    assert_string_equal(berth_name_sanitise("abcdefghij-klm", 11, &a), "abcdefghij");

    const char *id = berth_name_service("Llama-3-8B", "01234567-89ab-4def-8123-456789abcdef", &a);
    assert_string_equal(id, "llama-3-8b-01234567-89ab-4def-8123-456789abcdef");
    const char *stable = berth_name_unit(id, "stable", &a),
               *canary = berth_name_unit(id, "canary", &a);
    assert_true(strlen(stable) <= 52);
    assert_string_not_equal(stable, canary);
    assert_string_equal(stable, berth_name_unit(id, "stable", &a));
    assert_string_not_equal(
        stable, berth_name_unit("llama-3-8b-01234567-89ab-4def-8123-456789abcdee", "stable", &a));
    berth_arena_fini(&a);
}

static void
a_models_folder_is_found(void **unused)
{
    static const struct {
        const char *path, *dir;
    } cases[] = {
        {"/m/x.gguf", "/m"}, {"/m/x.SafeTensors", "/m"},
        {"/m/x", "/m/x"},    {"/m/x/", "/m/x"},
        {"", NULL},          {".", NULL},
        {"/", NULL},         {"/x.pt", NULL},
        {"x.bin", NULL},     {"//", NULL},
    };
    struct berth_arena a;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *dir = NULL;
        struct berth_err e;
        const int rc = berth_name_model_dir(cases[i].path, &a, &dir, &e);

        assert_int_equal(rc, cases[i].dir != NULL ? 0 : -BERTH_EINVAL);
        if (rc == 0)
            assert_string_equal(dir, cases[i].dir);
    }
    berth_arena_fini(&a);
}

static void
quantities_are_exact(void **unused)
{
    static const struct {
        const char *text;
        uint64_t cpu, bytes; /* UINT64_MAX: refused */
    } cases[] = {
        {"4", 4000, 4},
        {"1.5", 1500, 2},
        {"500m", 500, 1},
        {"16Gi", 17179869184000, 17179869184},
        {"512M", 512000000000, 512000000},
        {"1e3", 1000000, 1000},
        {"1E3", 1000000, 1000},
        {"1E", UINT64_MAX, 1000000000000000000},
        {"0.1", 100, 1},
        {"100u", 1, 1},
        {"1k", 1000000, 1000},
        {".5", 500, 1},
        {"", UINT64_MAX, UINT64_MAX},
        {"Gi", UINT64_MAX, UINT64_MAX},
        {"-1", UINT64_MAX, UINT64_MAX},
        {"1 Gi", UINT64_MAX, UINT64_MAX},
        {"1Gib", UINT64_MAX, UINT64_MAX},
        {"99999999999Ei", UINT64_MAX, UINT64_MAX},
        {"1e99", UINT64_MAX, UINT64_MAX},
        {"1.2.3", UINT64_MAX, UINT64_MAX},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t n = UINT64_MAX;
        struct berth_err e;

        print_message("  %s\n", cases[i].text);
        const int cpu = berth_quantity_cpu(cases[i].text, &n, &e);
        assert_int_equal(cpu, cases[i].cpu == UINT64_MAX ? -BERTH_EINVAL : 0);
        if (cpu == 0)
            assert_int_equal(n, cases[i].cpu);
        const int bytes = berth_quantity_bytes(cases[i].text, &n, &e);
        assert_int_equal(bytes, cases[i].bytes == UINT64_MAX ? -BERTH_EINVAL : 0);
        if (bytes == 0)
            assert_int_equal(n, cases[i].bytes);
    }
}

static void
phases_move_by_their_table(void **unused)
{
    static const struct {
        const char *why;
        enum berth_phase from, to;
        int want;
    } cases[] = {
        {"a new service begins its pipeline", BERTH_PHASE_INITIALIZING,
         BERTH_PHASE_PIPELINE_EXECUTING, 0},
        {"what runs never begins anew", BERTH_PHASE_RUNNING, BERTH_PHASE_INITIALIZING,
         -BERTH_EINVAL},
        {"a lost replica", BERTH_PHASE_RUNNING, BERTH_PHASE_DEGRADED, 0},
        {"that comes back", BERTH_PHASE_DEGRADED, BERTH_PHASE_RUNNING, 0},
        {"a failure is not final", BERTH_PHASE_FAILED, BERTH_PHASE_PIPELINE_EXECUTING, 0},
        {"a deletion is", BERTH_PHASE_TERMINATING, BERTH_PHASE_RUNNING, -BERTH_EINVAL},
        {"nothing comes after the end", BERTH_PHASE_TERMINATED, BERTH_PHASE_TERMINATING,
         -BERTH_EINVAL},
        {"to stay is no move", BERTH_PHASE_RUNNING, BERTH_PHASE_RUNNING, 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum berth_phase p = cases[i].from;

        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_phase_move(&p, cases[i].to), cases[i].want);
        assert_int_equal(p, cases[i].want == 0 ? cases[i].to : cases[i].from);
    }
    for (int p = 0; p < BERTH_PHASE_COUNT; p++)
        assert_int_equal(berth_phase_parse(berth_phase_name((enum berth_phase)p)), p);
    assert_int_equal(berth_phase_parse("blocked"), -1);
    assert_string_equal(berth_phase_status(BERTH_PHASE_HEALTH_CHECKING), "creating");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_example_parses_with_its_backslashes),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(other_names_mean_the_same),
        cmocka_unit_test(one_form_reads_back_as_itself),
        cmocka_unit_test(the_hash_tells_whether_replicas_must_be_replaced),
        cmocka_unit_test(a_difference_is_told_by_path),
        cmocka_unit_test(what_was_masked_stays_what_it_is),
        cmocka_unit_test(words_that_were_masked_are_put_back_or_refused),
        cmocka_unit_test(a_model_has_a_path_of_its_own),
        cmocka_unit_test(names_fit_where_they_go),
        cmocka_unit_test(a_models_folder_is_found),
        cmocka_unit_test(quantities_are_exact),
        cmocka_unit_test(phases_move_by_their_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
