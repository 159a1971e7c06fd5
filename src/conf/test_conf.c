#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "conf/conf.h"
#include "conf/near.h"

enum { WORDS_MAX = 16 };

/* A configuration from text with one word an entry; file NULL: none. */
static int
load(const char *file, const char *const *args, const char *const *env, bool file_first,
     struct berth_conf **ret, struct berth_err *e)
{
    char path[] = "/tmp/berth-conf-XXXXXX";
    char *argv[WORDS_MAX] = {NULL}, *envp[WORDS_MAX] = {NULL};
    char place[64];
    int argc = 0, envc = 0;

    if (file != NULL) {
        const int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, file, strlen(file)), (ssize_t)strlen(file));
        (void)close(fd);
        (void)snprintf(place, sizeof place, "BERTH_CONFIG=%s", path);
        envp[envc++] = place;
    }
    for (; args != NULL && args[argc] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc];
    for (size_t i = 0; env != NULL && env[i] != NULL; i++)
        envp[envc++] = (char *)(uintptr_t)env[i];
    const struct berth_conf_from from = {argc, argv, envp, file_first, NULL, NULL};
    const int rc = berth_conf_load(&from, ret, e);
    if (file != NULL)
        (void)unlink(path);
    return rc;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
later_sources_win_key_by_key(void **unused)
{
    static const char file[] = "server:\n  port: 8100\n  host: 10.0.0.1\n  max_connections: 7\n"
                               "engine:\n  batch_config: {max_batch_size: 4}\n";
    struct berth_conf *c = NULL;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(load(file, WORDS("--port", "8300", "--set", "engine.queue_len=9"),
                          WORDS("UNIMODEL_PORT=8200", "BERTH_SERVER_HOST=10.0.0.2", "HOME=/h"),
                          false, &c, &e),
                     0);
    assert_int_equal(c->server.port, 8300);
    assert_string_equal(c->server.host, "10.0.0.2");
    assert_int_equal(c->server.max_connections, 7);
    assert_int_equal(c->server.grpc_port, 9000);
    assert_int_equal(c->engine.batch_config.max_batch_size, 4);
    assert_int_equal(c->engine.queue_len, 9);
    assert_string_equal(c->state_dir, "/h/.local/state/berth");
    berth_conf_free(c);
}

static void
wrong_things_are_named(void **unused)
{
    static const struct {
        const char *why, *file, *arg, *env, *want;
        int rc;
    } cases[] = {
        {"an unknown key", "server:\n  prot: 1\n", NULL, NULL,
         ":2: server.prot: no such setting; did you mean server.port?", -BERTH_ECONFIG},
        {"a key in the wrong section", "server:\n  host: x\nengine:\n  port: 1\n", NULL, NULL,
         ":4: engine.port: no such setting; did you mean server.port?", -BERTH_ECONFIG},
        {"a misspelt section", "servr:\n  port: 1\n", NULL, NULL,
         ":1: servr: no such setting; did you mean server?", -BERTH_ECONFIG},
        {"out of range", "server: {port: 70000}\n", NULL, NULL,
         ":1: server.port: 70000 is out of range: 0 to 65535", -BERTH_ECONFIG},
        {"a text for a number", "server: {port: '80'}\n", NULL, NULL,
         "server.port: must be a whole number, is a string", -BERTH_ECONFIG},
        {"given twice", "gpu: {device_ids: []}\nengine: {gpu: {device_ids: []}}\n", NULL, NULL,
         ":2: engine.gpu.device_ids: is given twice", -BERTH_ECONFIG},
        {"no YAML", "a: [\n", NULL, NULL, "line ", -BERTH_ECONFIG},
        {"a list for a section", "server: []\n", NULL, NULL, "server: must be a mapping",
         -BERTH_ECONFIG},
        {"a bad variable", NULL, NULL, "UNIMODEL_PORT=x",
         "Invalid UNIMODEL_PORT: 'x' is not a whole number", -BERTH_ECONFIG},
        {"a bad variable of ours", NULL, NULL, "BERTH_ENGINE_MAX_MODELS=0",
         "Invalid BERTH_ENGINE_MAX_MODELS: 0 is out of range", -BERTH_ECONFIG},
        {"an unknown flag", NULL, "--prt=1", NULL, "no flag --prt; did you mean --port?",
         -BERTH_EINVAL},
        {"a word behind one dash", NULL, "-port=1", NULL, "no flag -port; did you mean --port?",
         -BERTH_EINVAL},
        {"a letter that is none", NULL, "-x", NULL, "no flag -x; see --help", -BERTH_EINVAL},
        {"a flag without its value", NULL, "--port", NULL, "--port needs a value", -BERTH_EINVAL},
        {"a bad flag", NULL, "--port=-1", NULL, "--port: -1 is out of range", -BERTH_EINVAL},
        {"an unknown key by flag", NULL, "--set=server.prt=1", NULL,
         "--set server.prt: no such setting; did you mean server.port?", -BERTH_EINVAL},
        {"ports that are the same", NULL, "--port=9000", NULL, "must differ", -BERTH_ECONFIG},
        {"TLS without its files", NULL, "--tls", NULL, "tls_cert_path is missing", -BERTH_ECONFIG},
        {"locked out", NULL, "--auth", NULL, "nobody could get in", -BERTH_ECONFIG},
        {"a level that is none", NULL, "--log-level=loud", NULL,
         "expected trace, debug, info, warn or error, got 'loud'", -BERTH_EINVAL},
        {"a place that is none", NULL, "--isolation=procss", NULL,
         "expected none or process, got 'procss'", -BERTH_EINVAL},
        {"memory with a unit", NULL, "--max-memory=1GB", NULL,
         "'1GB' is not a number; it is in GiB, without a unit, as in 1.5", -BERTH_EINVAL},
        {"a file that is not there", NULL, "--config=/nonexistent/x.yaml", NULL,
         "/nonexistent/x.yaml: cannot be opened", -BERTH_ECONFIG},
        {"a bad model name", NULL, "--model=a b=/x", NULL, "'a b' is no model's name",
         -BERTH_EINVAL},
        {"zero is no share", "gpu: {memory_fraction: 0}", NULL, NULL, "out of range",
         -BERTH_ECONFIG},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_conf *c = NULL;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        const int rc = load(cases[i].file, cases[i].arg != NULL ? WORDS(cases[i].arg) : NULL,
                            cases[i].env != NULL ? WORDS(cases[i].env) : NULL, false, &c, &e);
        assert_int_equal(rc, cases[i].rc);
        assert_null(c);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("got: %s", e.msg);
    }
}

static void
models_come_from_everywhere(void **unused)
{
    static const char file[] =
        "models:\n  a: /m/a.gguf\n  b: {path: /m/b, backend: onnx, config: {labels: [x]}}\n";
    static const struct {
        const char *name, *path;
    } want[] = {{"a", "/other"}, {"b", "/m/b"}, {"c.d", "m=/c.d.onnx"}, {"e", "./x/e"}};
    struct berth_conf *c = NULL;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(
        load(file, WORDS("--model", "a=/other", "c.d=m=/c.d.onnx", "./x/e/"), NULL, false, &c, &e),
        0);
    assert_int_equal(c->models.count, BERTH_COUNT(want));
    for (size_t i = 0; i < BERTH_COUNT(want); i++) {
        assert_string_equal(c->models.at[i].name, want[i].name);
        assert_string_equal(c->models.at[i].path, want[i].path);
    }
    assert_string_equal(c->models.at[1].backend, "onnx");
    assert_non_null(c->models.at[1].config);
    assert_null(c->models.at[0].backend);
    berth_conf_free(c);
}

static void
lists_and_aliases_are_read(void **unused)
{
    static const char file[] = "gpu:\n  device_ids: [0, 1]\nmonitoring:\n  log_level: warn\n"
                               "security:\n  cors_allowed_origins: [a, b]\nstorage:\n";
    struct berth_conf *c = NULL;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(load(file, WORDS("--model-dir", "x", "--model-dir=y,z", "--no-access-log"),
                          WORDS("UNIMODEL_GPU_DEVICES=2, 3,5"), false, &c, &e),
                     0);
    assert_int_equal(c->engine.gpu.device_ids.count, 3);
    assert_int_equal(c->engine.gpu.device_ids.at[2], 5);
    assert_string_equal(c->logging.level, "warn");
    assert_int_equal(c->security.cors_allowed_origins.count, 2);
    assert_int_equal(c->model_dirs.count, 3);
    assert_string_equal(c->model_dirs.at[2], "z");
    berth_conf_free(c);
}

static void
keys_come_from_a_file(void **unused)
{
    char path[] = "/tmp/berth-keys-XXXXXX";
    struct berth_conf *c = NULL;
    struct berth_err e = {""};
    const int fd = mkstemp(path);

    (void)unused;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "# ours\nalpha\n\r\nbeta viewer\n", 27), 27);
    (void)close(fd);
    assert_int_equal(load(NULL, WORDS("--api-key-file", path), NULL, false, &c, &e), 0);
    (void)unlink(path);
    assert_true(c->security.auth_enabled);
    assert_int_equal(c->security.api_keys.count, 2);
    assert_string_equal(c->security.api_keys.at[1], "beta viewer");
    berth_conf_free(c);
}

static void
rust_log_gives_the_level(void **unused)
{
    static const struct {
        const char *env, *want;
    } cases[] = {
        {"RUST_LOG=debug", "debug"},
        {"RUST_LOG=unimodel=warn", "warn"},
        {"RUST_LOG=h2=error,DEBUG", "debug"},
        {"RUST_LOG=nonsense", "info"},
        {"RUST_LOG=", "info"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_conf *c = NULL;
        struct berth_err e = {""};
        assert_int_equal(load(NULL, NULL, WORDS(cases[i].env), false, &c, &e), 0);
        assert_string_equal(c->logging.level, cases[i].want);
        berth_conf_free(c);
    }
}

static void
inert_keys_are_noted(void **unused)
{
    struct berth_conf *c = NULL;
    struct berth_err e = {""};

    (void)unused;
    assert_int_equal(load("gpu: {enable_p2p: true}\n", NULL, NULL, false, &c, &e), 0);
    assert_int_equal(c->notes.count, 1);
    assert_non_null(strstr(c->notes.at[0], "engine.gpu.enable_p2p"));
    berth_conf_free(c);
}

static void
what_is_printed_can_be_read(void **unused)
{
    struct berth_conf *c = NULL, *again = NULL;
    struct berth_err e = {""};
    struct berth_buf text, shown;

    (void)unused;
    berth_buf_init(&text, NULL);
    berth_buf_init(&shown, NULL);
    assert_int_equal(load("security: {api_keys: [s3cret]}\nmodels: {a: /x}\n", WORDS("--port=0"),
                          NULL, false, &c, &e),
                     0);
    berth_conf_print(c, false, &text);
    berth_conf_print(c, true, &shown);
    assert_non_null(strstr(berth_buf_text(&shown), "# --port"));
    assert_null(strstr(berth_buf_text(&shown), "s3cret"));
    assert_null(strstr(berth_buf_text(&text), "s3cret"));
    assert_int_equal(load(berth_buf_text(&text), NULL, NULL, false, &again, &e), 0);
    assert_int_equal(again->server.port, 0);
    assert_int_equal(again->models.count, 1);
    berth_buf_fini(&text);
    berth_buf_fini(&shown);
    berth_conf_free(c);
    berth_conf_free(again);
}

static void
see_change(void *arg, const char *key, bool live)
{
    char *seen = arg;

    (void)snprintf(seen + strlen(seen), 200 - strlen(seen), "%s%s ", key, live ? "*" : "");
}

static void
changes_are_found(void **unused)
{
    struct berth_conf *a = NULL, *b = NULL;
    struct berth_err e = {""};
    char seen[200] = "";

    (void)unused;
    assert_int_equal(load(NULL, NULL, NULL, false, &a, &e), 0);
    assert_int_equal(load(NULL, WORDS("--log-level=debug", "--port=1"), NULL, false, &b, &e), 0);
    berth_conf_diff(a, b, see_change, seen);
    assert_string_equal(seen, "server.port logging.level* ");
    berth_conf_free(a);
    berth_conf_free(b);
}

static void
near_misses_are_slips(void **unused)
{
    static const char *const names[] = {"serve", "list", "predict", "ps"};
    static const struct {
        const char *word, *want;
    } cases[] = {{"sevre", "serve"}, {"lst", "list"}, {"perdict", "predict"},
                 {"xyz", NULL},      {"", NULL},      {"serve", "serve"}};

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const char *got = berth_near_miss(cases[i].word, names, BERTH_COUNT(names));
        if (cases[i].want == NULL)
            assert_null(got);
        else
            assert_string_equal(got, cases[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_sources_win_key_by_key),
        cmocka_unit_test(wrong_things_are_named),
        cmocka_unit_test(models_come_from_everywhere),
        cmocka_unit_test(lists_and_aliases_are_read),
        cmocka_unit_test(keys_come_from_a_file),
        cmocka_unit_test(rust_log_gives_the_level),
        cmocka_unit_test(inert_keys_are_noted),
        cmocka_unit_test(what_is_printed_can_be_read),
        cmocka_unit_test(changes_are_found),
        cmocka_unit_test(near_misses_are_slips),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
