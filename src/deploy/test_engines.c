#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "deploy/engines.h"

static const struct berth_spec_defaults dflt = {
    .pipeline = "opensourcellm", .shimlet = "process", .model_root = "/models"};

static void
each_engine_gets_its_own_words(void **unused)
{
    static const struct {
        const char *why, *spec, *path, *engine, *command, *image;
    } cases[] = {
        {"this program, where a process runs", "{\"modelName\":\"m\"}", "/m/a.gguf", "berth",
         "[\"berth\",\"serve\",\"--host=$(HOST)\",\"--port=$(PORT)\",\"--state-dir=none\","
         "\"--model=m=/m/a.gguf\"]",
         NULL},
        {"with a context", "{\"modelName\":\"m\",\"contextLength\":4096,\"args\":[\"-x\"]}",
         "/m/a.gguf", "berth",
         "[\"berth\",\"serve\",\"--host=$(HOST)\",\"--port=$(PORT)\",\"--state-dir=none\","
         "\"--model={\\\"m\\\":{\\\"path\\\":\\\"/m/a.gguf\\\",\\\"config\\\":{"
         "\\\"context_length\\\":4096}}}\",\"-x\"]",
         NULL},
        {"vLLM on Kubernetes, of the file's folder",
         "{\"modelName\":\"m\",\"shimlet\":\"k8s\",\"contextLength\":8192,"
         "\"resourceRequirements\":{\"acceleratorType\":\"NVIDIA H20\",\"acceleratorCount\":2}}",
         "/m/x.gguf", "vllm",
         "[\"python3\",\"-m\",\"vllm.entrypoints.openai.api_server\",\"--host=0.0.0.0\","
         "\"--port=$(PORT)\",\"--model=/m\",\"--dtype=auto\",\"--served-model-name=m\","
         "\"--trust-remote-code\",\"--max-model-len=8192\",\"--tensor-parallel-size=2\"]",
         "vllm/vllm-openai:v0.10.0"},
        {"llama-server", "{\"modelName\":\"m\",\"engine\":\"llama-server\",\"image\":\"own\"}",
         "/m/a.gguf", "llama-server",
         "[\"llama-server\",\"--host\",\"$(HOST)\",\"--port\",\"$(PORT)\",\"--model\","
         "\"/m/a.gguf\",\"--alias\",\"m\"]",
         "own"},
        {"SGLang", "{\"modelName\":\"m\",\"engine\":\"sglang\"}", "/models/m", "sglang",
         "[\"python3\",\"-m\",\"sglang.launch_server\",\"--host=0.0.0.0\",\"--port=$(PORT)\","
         "\"--model-path=/models/m\",\"--served-model-name=m\",\"--trust-remote-code\"]",
         "lmsysorg/sglang:latest"},
        {"a command as it is", "{\"modelName\":\"m\",\"command\":[\"a\",\"b\"],\"args\":[\"c\"]}",
         "/models/m", "command", "[\"a\",\"b\",\"c\"]", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct berth_arena a;
        struct berth_spec s;
        struct berth_rendered r;
        struct berth_err e = {""};
        bool lenient;

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        assert_int_equal(
            berth_spec_parse_text(berth_slice_of(cases[i].spec), &dflt, &a, &s, &lenient, NULL, &e),
            0);
        assert_int_equal(berth_engine_render(&s, cases[i].path, &a, &r, &e), 0);
        assert_string_equal(r.engine, cases[i].engine);
        assert_string_equal(berth_engine_command_json(r.command, &a), cases[i].command);
        if (cases[i].image != NULL)
            assert_string_equal(r.image, cases[i].image);
        else
            assert_null(r.image);
        berth_arena_fini(&a);
    }
}

static void
a_path_without_a_folder_of_its_own_is_refused(void **unused)
{
    struct berth_arena a;
    struct berth_spec s;
    struct berth_rendered r;
    struct berth_err e = {""};
    bool lenient;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    assert_int_equal(berth_spec_parse_text(BERTH_SLICE("{\"modelName\":\"m\",\"engine\":\"vllm\"}"),
                                           &dflt, &a, &s, &lenient, NULL, &e),
                     0);
    assert_int_equal(berth_engine_render(&s, "/x.gguf", &a, &r, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "folder"));
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_engine_gets_its_own_words),
        cmocka_unit_test(a_path_without_a_folder_of_its_own_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
