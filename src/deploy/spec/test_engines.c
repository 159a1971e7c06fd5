#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "deploy/spec/engines.h"

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
         "[\"python3\",\"-m\",\"vllm.entrypoints.openai.api_server\",\"--host=$(HOST)\","
         "\"--port=$(PORT)\",\"--model=/m\",\"--dtype=auto\",\"--served-model-name=m\","
         "\"--trust-remote-code\",\"--max-model-len=8192\",\"--tensor-parallel-size=2\"]",
         "vllm/vllm-openai:v0.10.0"},
        {"llama-server", "{\"modelName\":\"m\",\"engine\":\"llama-server\",\"image\":\"own\"}",
         "/m/a.gguf", "llama-server",
         "[\"llama-server\",\"--host\",\"$(HOST)\",\"--port\",\"$(PORT)\",\"--model\","
         "\"/m/a.gguf\",\"--alias\",\"m\"]",
         "own"},
        {"SGLang", "{\"modelName\":\"m\",\"engine\":\"sglang\"}", "/models/m", "sglang",
         "[\"python3\",\"-m\",\"sglang.launch_server\",\"--host=$(HOST)\",\"--port=$(PORT)\","
         "\"--model-path=/models/m\",\"--served-model-name=m\",\"--trust-remote-code\"]",
         "lmsysorg/sglang:latest"},
        {"Ollama runs its own, of a name alone, too",
         "{\"modelName\":\"smollm:135m\",\"shimlet\":\"ollama\"}", NULL, "ollama", "[]", NULL},
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

/* An engine that is a process must not be open to the network unless its environment says so. */
static void
each_listens_where_it_is_told(void **unused)
{
    static const char *const names[] = {"berth", "llama-server", "vllm", "sglang"};

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct berth_arena a;
        struct berth_spec s;
        struct berth_rendered r;
        struct berth_err e = {""};
        bool lenient, told = false;

        print_message("  %s\n", names[i]);
        berth_arena_init(&a, 1 << 20);
        const char *spec =
            berth_arena_printf(&a, "{\"modelName\":\"m\",\"engine\":\"%s\"}", names[i]);
        assert_int_equal(
            berth_spec_parse_text(berth_slice_of(spec), &dflt, &a, &s, &lenient, NULL, &e), 0);
        assert_int_equal(berth_engine_render(&s, "/models/m/x.gguf", &a, &r, &e), 0);
        for (const char *const *word = r.command; *word != NULL; word++) {
            assert_null(strstr(*word, "0.0.0.0"));
            told = told || strcmp(*word, "--host=$(HOST)") == 0 ||
                   (strcmp(*word, "--host") == 0 && strcmp(word[1], "$(HOST)") == 0);
        }
        assert_true(told);
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

/* Engines that are told what to serve cannot be told of nothing. */
static void
without_a_model_there_is_nothing_to_run(void **unused)
{
    static const char *const engines[] = {"berth", "llama-server", "vllm", "sglang"};
    struct berth_arena a;
    struct berth_spec s;
    struct berth_rendered r;
    struct berth_err e = {""};
    bool lenient;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        const char *json =
            berth_arena_printf(&a, "{\"modelName\":\"m\",\"engine\":\"%s\"}", engines[i]);
        assert_int_equal(
            berth_spec_parse_text(berth_slice_of(json), &dflt, &a, &s, &lenient, NULL, &e), 0);
        assert_int_equal(berth_engine_render(&s, NULL, &a, &r, &e), -BERTH_EINVAL);
        assert_ptr_equal(strstr(e.msg, "modelFile: "), e.msg);
    }
    assert_int_equal(berth_spec_parse_text(BERTH_SLICE("{\"modelName\":\"m\",\"command\":[\"a\"]}"),
                                           &dflt, &a, &s, &lenient, NULL, &e),
                     0);
    assert_int_equal(berth_engine_render(&s, NULL, &a, &r, &e), 0);
    assert_null(r.model_path);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_engine_gets_its_own_words),
        cmocka_unit_test(each_listens_where_it_is_told),
        cmocka_unit_test(a_path_without_a_folder_of_its_own_is_refused),
        cmocka_unit_test(without_a_model_there_is_nothing_to_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
