#include "deploy/spec/engines.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "wire/json.h"

enum { ARGS_OWN_MAX = 32, ENV_MAX = 8 };

/* A command line that is being put together. */
struct line {
    struct berth_arena *a;
    const char **at;
    size_t count, max;
    bool failed;
};

static void
put(struct line *l, const char *text)
{
    if (text == NULL || l->count >= l->max)
        l->failed = true;
    else
        l->at[l->count++] = text;
}

/* "--key=value" as one word. */
static void
put_option(struct line *l, const char *key, const char *value)
{
    put(l, berth_arena_printf(l->a, "--%s=%s", key, value));
}

static void
put_number(struct line *l, const char *key, uint32_t n)
{
    put(l, berth_arena_printf(l->a, "--%s=%u", key, n));
}

/* ---- the engines ---- */

static void
put_berth(struct line *l, const struct berth_spec *s, const char *path)
{
    struct berth_buf b;
    struct berth_jw w;

    put(l, "berth");
    put(l, "serve");
    put_option(l, "host", "$(HOST)");
    put_option(l, "port", "$(PORT)");
    put_option(l, "state-dir", "none");
    if (s->context_len == 0) {
        put(l, berth_arena_printf(l->a, "--model=%s=%s", s->model_name, path));
        return;
    }
    berth_buf_init(&b, l->a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, s->model_name);
    berth_jw_object(&w);
    berth_jw_key(&w, "path");
    berth_jw_string(&w, path);
    berth_jw_key(&w, "config");
    berth_jw_object(&w);
    berth_jw_key(&w, "context_length");
    berth_jw_uint(&w, s->context_len);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    const char *json = berth_buf_text(&b);
    put(l, json != NULL ? berth_arena_printf(l->a, "--model=%s", json) : NULL);
}

static void
put_llama(struct line *l, const struct berth_spec *s, const char *path)
{
    put(l, "llama-server");
    /* It takes no "--key=value". */
    put(l, "--host");
    put(l, "$(HOST)");
    put(l, "--port");
    put(l, "$(PORT)");
    put(l, "--model");
    put(l, path);
    put(l, "--alias");
    put(l, s->model_name);
    if (s->context_len > 0) {
        put(l, "--ctx-size");
        put(l, berth_arena_printf(l->a, "%u", s->context_len));
    }
    if (s->accelerator_count > 0) {
        put(l, "--n-gpu-layers");
        put(l, "999");
    }
}

static void
put_vllm(struct line *l, const struct berth_spec *s, const char *path)
{
    put(l, "python3");
    put(l, "-m");
    put(l, "vllm.entrypoints.openai.api_server");
    put_option(l, "host", "$(HOST)");
    put_option(l, "port", "$(PORT)");
    put_option(l, "model", path);
    put_option(l, "dtype", "auto");
    put_option(l, "served-model-name", s->model_name);
    put(l, "--trust-remote-code");
    if (s->context_len > 0)
        put_number(l, "max-model-len", s->context_len);
    if (s->accelerator_count > 0)
        put_number(l, "tensor-parallel-size", s->accelerator_count);
}

static void
put_sglang(struct line *l, const struct berth_spec *s, const char *path)
{
    put(l, "python3");
    put(l, "-m");
    put(l, "sglang.launch_server");
    put_option(l, "host", "$(HOST)");
    put_option(l, "port", "$(PORT)");
    put_option(l, "model-path", path);
    put_option(l, "served-model-name", s->model_name);
    put(l, "--trust-remote-code");
    if (s->context_len > 0)
        put_number(l, "context-length", s->context_len);
    if (s->accelerator_count > 0)
        put_number(l, "tensor-parallel-size", s->accelerator_count);
}

/* The environment runs it. */
static void
put_none(struct line *l, const struct berth_spec *s, const char *path)
{
    (void)l;
    (void)s;
    (void)path;
}

static const struct engine {
    const char *name, *health_path, *image;
    bool folder; /* it takes a model's folder, not a file of it */
    void (*put)(struct line *l, const struct berth_spec *s, const char *path);
} engines[] = {
    {"berth", "/ready", NULL, false, put_berth},
    {"llama-server", "/health", "ghcr.io/ggml-org/llama.cpp:server", false, put_llama},
    {"vllm", "/health", "vllm/vllm-openai:v0.10.0", true, put_vllm},
    {"sglang", "/health", "lmsysorg/sglang:latest", true, put_sglang},
    {"ollama", "/", NULL, false, put_none},
    {"command", "/health", NULL, false, NULL},
};

static const struct engine *
choose(const struct berth_spec *s)
{
    const char *shimlet = s->shimlet != NULL ? s->shimlet : "";
    const bool kubernetes = strcmp(shimlet, "kubernetes") == 0 || strcmp(shimlet, "k8s") == 0;
    const char *name = s->engine;

    if (name == NULL)
        name = s->command != NULL               ? "command"
               : strcmp(shimlet, "ollama") == 0 ? "ollama"
               : kubernetes || (strcmp(shimlet, "docker") == 0 && s->accelerator_count > 0)
                   ? "vllm"
                   : "berth";
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(engines[i].name, name) == 0)
            return &engines[i];
    return NULL;
}

/* ---- rendering ---- */

static int
render_command(const struct engine *engine, const struct berth_spec *s, const char *path,
               struct berth_arena *a, const char *const **ret, struct berth_err *e)
{
    size_t given = 0;
    struct line l = {.a = a};

    for (const char *const *arg = s->command; arg != NULL && *arg != NULL; arg++)
        given++;
    for (const char *const *arg = s->args; arg != NULL && *arg != NULL; arg++)
        given++;
    l.max = ARGS_OWN_MAX + given;
    l.at = BERTH_NEW_N(a, const char *, l.max + 1);
    if (l.at == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (s->command != NULL)
        for (const char *const *arg = s->command; *arg != NULL; arg++)
            put(&l, *arg);
    else
        engine->put(&l, s, path);
    for (const char *const *arg = s->args; arg != NULL && *arg != NULL; arg++)
        put(&l, *arg);
    *ret = l.at;
    return l.failed ? berth_err_set(e, BERTH_ENOMEM, "out of memory") : 0;
}

/* What the program that this carries on gave every engine. */
static int
render_env(const struct engine *engine, const struct berth_spec *s, struct berth_arena *a,
           struct berth_rendered *r, struct berth_err *e)
{
    struct berth_pair *env = BERTH_NEW_N(a, struct berth_pair, ENV_MAX);
    size_t n = 0;

    if (env == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    env[n++] = (struct berth_pair){"MODEL", s->model_name};
    env[n++] = (struct berth_pair){"SERVING_ENGINE", "openai"};
    env[n++] = (struct berth_pair){"PORT", "$(PORT)"};
    if (strcmp(engine->name, "berth") == 0) /* a server of one model deploys no others */
        env[n++] = (struct berth_pair){"BERTH_DEPLOY_ENABLED", "false"};
    if (engine->folder) {
        env[n++] = (struct berth_pair){"TRANSFORMERS_OFFLINE", "1"};
        env[n++] = (struct berth_pair){"HF_HOME", "/tmp"};
    }
    if (s->context_len > 0) {
        char *text = berth_arena_printf(a, "%u", s->context_len);

        if (text == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
        env[n++] = (struct berth_pair){"CONTEXT_LENGTH", text};
    }
    r->env = env;
    r->env_count = n;
    return 0;
}

int
berth_engine_render(const struct berth_spec *spec, const char *model_path, struct berth_arena *a,
                    struct berth_rendered *ret, struct berth_err *e)
{
    const struct engine *engine = choose(spec);
    struct berth_rendered r = {.model_path = model_path};
    int rc = 0;

    if (engine == NULL)
        return berth_err_set(e, BERTH_EINVAL, "engine: \"%s\" is not known", spec->engine);
    if (model_path == NULL && spec->command == NULL && engine->put != put_none)
        return berth_err_set(e, BERTH_EINVAL,
                             "modelFile: is missing, and the model root has no model \"%.64s\"",
                             spec->model_name);
    r.engine = engine->name;
    r.health_path = spec->health_path != NULL ? spec->health_path : engine->health_path;
    r.image = spec->image != NULL ? spec->image : engine->image;
    if (engine->folder && model_path != NULL)
        rc = berth_name_model_dir(model_path, a, &r.model_path, e);
    if (rc == 0)
        rc = render_command(engine, spec, r.model_path, a, &r.command, e);
    if (rc == 0)
        rc = render_env(engine, spec, a, &r, e);
    if (rc == 0)
        *ret = r;
    return rc;
}

char *
berth_engine_command_json(const char *const *command, struct berth_arena *a)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    for (; *command != NULL; command++)
        berth_jw_string(&w, *command);
    berth_jw_array_end(&w);
    return (char *)(size_t)berth_buf_text(&b);
}
