#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "base/arena.h"
#include "infer/registry.h"

/* Models come, change and go: /v1/models' POST, PATCH and DELETE. */

/* id, reload: NULL: not said. */
static void
reply_done(struct berth_call *c, const char *id, const bool *reload, const char *message)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    if (id != NULL) {
        berth_jw_key(&w, "model_id");
        berth_jw_string(&w, id);
    }
    berth_jw_key(&w, "status");
    berth_jw_string(&w, "success");
    berth_jw_key(&w, "message");
    berth_jw_string(&w, message);
    if (reload != NULL) {
        berth_jw_key(&w, "reload");
        berth_jw_bool(&w, *reload);
    }
    berth_jw_object_end(&w);
    berth_call_json(c, 200, &b);
}

static const char *
say(struct berth_call *c, const char *name, const char *what)
{
    return berth_arena_printf(&c->x->arena, "Model '%s' %s", name, what);
}

void
berth_unimodel_delete(struct berth_call *c)
{
    struct berth_err e;
    const int r = berth_registry_unregister(c->api->conf.registry, c->name, &e);

    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        reply_done(c, NULL, NULL, say(c, c->name.at, "unregistered successfully"));
}

/* Our own request, so an unknown member is a mistake worth telling. */
static int
check_keys(const struct berth_json *body, struct berth_err *e)
{
    static const char *const known[] = {"name",       "backend", "model_path",
                                        "model_type", "config",  "metadata"};

    for (struct berth_json_iter it = berth_json_iter(body); berth_json_next(&it);) {
        size_t i = 0;

        while (i < sizeof known / sizeof *known && !berth_slice_is(it.key, known[i]))
            i++;
        if (i == sizeof known / sizeof *known)
            return berth_err_set(e, BERTH_EINVAL,
                                 "%.*s: is not known here; a registration has name, model_path, "
                                 "backend, model_type and config",
                                 (int)(it.key.len < 64 ? it.key.len : 64), it.key.at);
    }
    return 0;
}

/* UniModel's names of backends whose engines have other ones here. */
static const char *
backend_name(const char *name)
{
    static const struct {
        const char *unimodel, *ours;
    } names[] = {{"gguf", "llama"}, {"llama.cpp", "llama"}, {"onnxruntime", "onnx"}};

    for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].unimodel) == 0)
            return names[i].ours;
    }
    return name;
}

static int
read_spec(struct berth_call *c, struct berth_model_spec *spec, struct berth_err *e)
{
    struct berth_fields f = berth_fields(c->body, "", e);
    struct berth_slice name = {NULL, 0}, backend = {NULL, 0}, path = {NULL, 0}, type = {NULL, 0};
    int r;

    *spec = (struct berth_model_spec){.config = berth_field(&f, "config")};
    if ((r = check_keys(c->body, e)) < 0 || (r = berth_field_string(&f, "name", &name)) < 0 ||
        (r = berth_field_string(&f, "backend", &backend)) < 0 ||
        (r = berth_field_string(&f, "model_path", &path)) < 0 ||
        (r = berth_field_string(&f, "model_type", &type)) < 0)
        return r;
    if (name.len == 0)
        return berth_field_bad(&f, "name", "is missing; give the model a name");
    if (path.len == 0)
        return berth_field_bad(&f, "model_path", "is missing; name the model's file or folder");
    if (spec->config != NULL && berth_json_type(spec->config) != BERTH_JSON_OBJECT)
        return berth_field_bad(&f, "config", "must be an object, not %s",
                               berth_json_type_name(spec->config));
    spec->name = name.at;
    spec->path = path.at;
    spec->backend = backend_name(backend.at);
    spec->model_type = type.at;
    return 0;
}

void
berth_unimodel_register(struct berth_call *c)
{
    struct berth_model_spec spec;
    char id[BERTH_UUID_TEXT];
    struct berth_err e;
    int r;

    if (!berth_call_body(c))
        return;
    r = read_spec(c, &spec, &e);
    if (r == 0 && (r = berth_registry_register(c->api->conf.registry, &spec, id, &e)) < 0 &&
        strncmp(e.msg, "path: ", 6) == 0) { /* the registry's word for what is model_path here */
        struct berth_err inner = e;
        (void)berth_err_set(&e, BERTH_EINVAL, "model_%.400s", inner.msg);
    }
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        reply_done(c, berth_arena_strdup(&c->x->arena, id), NULL,
                   say(c, spec.name, "registered successfully"));
}

void
berth_unimodel_configure(struct berth_call *c)
{
    const struct berth_json *config;
    struct berth_err e;
    bool reload;
    int r = 0;

    if (!berth_call_body(c))
        return;
    config = berth_json_get(c->body, "config");
    for (struct berth_json_iter it = berth_json_iter(c->body); r == 0 && berth_json_next(&it);) {
        if (!berth_slice_is(it.key, "config"))
            r = berth_err_set(&e, BERTH_EINVAL,
                              "%.64s: cannot be changed; only config can, the rest by registering "
                              "the model anew",
                              it.key.at);
    }
    if (r == 0)
        r = berth_registry_configure(c->api->conf.registry, c->name, config, &reload, &e);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        /* A load takes as long as it takes, so where its outcome will be is said. */
        reply_done(c, NULL, &reload,
                   say(c, c->name.at,
                       reload ? "configured; it loads again, and what is loaded serves until that "
                                "is ready, or goes on if it fails: the last entry of its status' "
                                "life will tell, and why"
                              : "configured successfully"));
}
