#include <string.h>

#include "api/fields.h"
#include "api/services.h"

/* Shimlets and pipelines: which there are, and loading them from files while running. */

/* type and name of a body; the rest of f is the caller's. */
static bool
read_which(struct berth_call *c, struct berth_fields *f, const char **ret_type,
           const char **ret_name)
{
    struct berth_slice type = {"", 0}, name = {"", 0};

    if (berth_field_string(f, "type", &type) < 0 || berth_field_string(f, "name", &name) < 0) {
        berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, f->bad, f->e);
        return false;
    }
    if (!berth_slice_is(type, "shimlet") && !berth_slice_is(type, "pipeline")) {
        (void)berth_err_set(f->e, BERTH_EINVAL, "type: must be \"shimlet\" or \"pipeline\"");
        berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, "type", f->e);
        return false;
    }
    *ret_type = type.at;
    *ret_name = name.len > 0 ? name.at : NULL;
    return true;
}

void
berth_extensions_list(struct berth_call *c)
{
    berth_services_all(c, berth_deploy_plugins);
}

void
berth_extensions_load(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    struct berth_deploy_file file = {.keep = true};
    struct berth_slice path = {"", 0}, sum = {"", 0};
    struct berth_buf data, config;
    struct berth_err e = {""};

    if (d == NULL || !berth_call_body(c))
        return;
    struct berth_fields f = berth_fields(c->body, "", &e);
    if (!read_which(c, &f, &file.type, &file.name))
        return;
    if (berth_field_string(&f, "path", &path) < 0 || berth_field_string(&f, "sha256", &sum) < 0 ||
        berth_field_bool(&f, "replace", &file.replace) < 0) {
        berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, f.bad, &e);
        return;
    }
    if (path.len == 0) {
        (void)berth_err_set(&e, BERTH_EINVAL, "path: is missing: the plugin's shared object");
        berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, "path", &e);
        return;
    }
    berth_buf_init(&config, c->arena);
    if (berth_field(&f, "config") != NULL)
        berth_json_put(&config, berth_field(&f, "config"));
    file.path = path.at;
    file.sha256 = sum.len > 0 ? sum.at : NULL;
    file.config_json = config.len > 0 ? berth_buf_text(&config) : NULL;
    berth_buf_init(&data, c->arena);
    int r = berth_deploy_load(d, &file, c->arena, &data, &e);
    if (r == -BERTH_EABI || r == -BERTH_ENOENT) /* the request names what cannot be loaded */
        r = -BERTH_EINVAL;
    berth_services_answer(c, r, "plugin loaded", &data, r < 0 ? "path" : NULL, &e);
}

/* Unload and reload take {"type", "name"}. */
static bool
read_one(struct berth_call *c, struct berth_deploy **ret, const char **ret_type,
         const char **ret_name)
{
    struct berth_err e = {""};

    *ret = berth_services_open(c);
    if (*ret == NULL || !berth_call_body(c))
        return false;
    struct berth_fields f = berth_fields(c->body, "", &e);
    if (!read_which(c, &f, ret_type, ret_name))
        return false;
    if (*ret_name != NULL)
        return true;
    (void)berth_err_set(&e, BERTH_EINVAL, "name: is missing; see GET /api/v1/plugins");
    berth_services_answer(c, -BERTH_EINVAL, NULL, NULL, "name", &e);
    return false;
}

void
berth_extensions_reload(struct berth_call *c)
{
    struct berth_deploy *d;
    const char *type, *name;
    struct berth_buf data;
    struct berth_err e = {""};

    if (!read_one(c, &d, &type, &name))
        return;
    berth_buf_init(&data, c->arena);
    const int r = berth_deploy_reload(d, type, name, c->arena, &data, &e);
    berth_services_answer(c, r, "plugin reloaded", &data, NULL, &e);
}

void
berth_extensions_unload(struct berth_call *c)
{
    struct berth_deploy *d;
    const char *type, *name;
    struct berth_err e = {""};

    if (!read_one(c, &d, &type, &name))
        return;
    const int r = berth_deploy_unload(d, type, name, &e);
    berth_services_answer(c, r, "plugin unloaded", NULL, NULL, &e);
}
