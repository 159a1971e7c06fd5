#include "cmd/control.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "deploy/deploy.h"
#include "pipelines/pipelines.h"
#include "shimlets/shimlets.h"
#include "wire/json.h"

static int
read_accelerators(const struct berth_json *map, struct berth_arena *a,
                  const struct berth_accelerator **ret, struct berth_err *e)
{
    struct berth_accelerator *rows =
        BERTH_NEW_N(a, struct berth_accelerator, berth_json_len(map) + 1);

    if (rows == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (struct berth_json_iter it = berth_json_iter(map); berth_json_next(&it);) {
        struct berth_slice resource;

        if (!berth_json_string(it.value, &resource))
            return berth_err_set(e, BERTH_ECONFIG, "deploy.accelerators.%s: must be a string",
                                 it.key.at);
        rows[it.index] = (struct berth_accelerator){it.key.at, resource.at};
    }
    *ret = rows;
    return 0;
}

static int
add_builtin(struct berth_deploy *d, const struct berth_conf *c, struct berth_arena *a,
            struct berth_err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && berth_shimlets_builtin[i] != NULL; i++) {
        const char *name = berth_shimlets_builtin[i]->name;
        const struct berth_json *settings = berth_json_get(c->plugins.plugin_configs, name);
        struct berth_buf text;

        if (settings == NULL && strcmp(name, "k8s") == 0) /* another name of the same */
            settings = berth_json_get(c->plugins.plugin_configs, "kubernetes");
        berth_buf_init(&text, a);
        if (settings != NULL)
            berth_json_put(&text, settings);
        r = berth_deploy_add_shimlet(d, berth_shimlets_builtin[i], NULL,
                                     text.len > 0 ? berth_buf_text(&text) : NULL, false, e);
    }
    for (size_t i = 0; r == 0 && berth_pipelines_builtin[i] != NULL; i++)
        r = berth_deploy_add_pipeline(d, berth_pipelines_builtin[i], NULL, false, e);
    return r;
}

/* What cannot be loaded is told and left out, unless deploy.load_strict. */
static int
load_files(struct berth_deploy *d, const struct berth_conf *c, struct berth_arena *a,
           struct berth_err *e)
{
    for (size_t i = 0; i < c->deploy.preload.count; i++) {
        struct berth_deploy_file file = {.path = c->deploy.preload.at[i], .type = "shimlet"};
        struct berth_buf out;

        /* "pipeline:PATH", "shimlet:PATH", or by the file's name. */
        if (strncmp(file.path, "pipeline:", 9) == 0 || strstr(file.path, "berth-pipeline-") != NULL)
            file.type = "pipeline";
        if (strncmp(file.path, "pipeline:", 9) == 0)
            file.path += 9;
        else if (strncmp(file.path, "shimlet:", 8) == 0)
            file.path += 8;
        berth_buf_init(&out, a);
        const int r = berth_deploy_load(d, &file, a, &out, e);
        if (r < 0 && c->deploy.load_strict)
            return berth_err_wrap(e, r, "deploy.preload");
        if (r < 0)
            berth_warn("deploy.preload: %s", e->msg);
    }
    const int r = c->deploy.load_folder ? berth_deploy_load_folder(d, c->deploy.load_strict, e) : 0;
    return r < 0 ? r : berth_deploy_load_kept(d, e);
}

static int
begin(struct berth_deploy *d, const struct berth_conf *c, struct berth_arena *a,
      struct berth_err *e)
{
    int r = add_builtin(d, c, a, e);

    if (r == 0)
        r = load_files(d, c, a, e);
    if (r == 0)
        r = berth_deploy_check_names(d, c->deploy.shimlet, c->deploy.pipeline, e);
    return r == 0 ? berth_deploy_start(d, e) : r;
}

int
berth_control_up(const struct berth_control_conf *how, struct berth_deploy **ret,
                 struct berth_err *e)
{
    const struct berth_conf_deploy *c = &how->conf->deploy;
    char program[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    struct berth_deploy_conf conf = {
        .store = how->store,
        .metrics = how->metrics,
        .routes = how->routes,
        .state_dir = how->state_dir,
        .program = program,
        .default_shimlet = c->shimlet,
        .default_pipeline = c->pipeline,
        .model_root = c->model_root,
        .plugin_dir = how->plugin_dir,
        .plugin_any_path = c->load_any_path,
        .plugin_sums = c->plugin_sums != NULL && *c->plugin_sums != '\0' ? c->plugin_sums : NULL,
        .workers = (uint32_t)c->workers,
        .resync_ns = (uint64_t)c->resync_secs * BERTH_S,
        .poll_ns = (uint64_t)c->poll_ms * BERTH_MS,
        .forget_ns = (uint64_t)c->forget_secs * BERTH_S,
        .services_max = (uint32_t)c->max_services,
        .events_max = (uint32_t)c->max_events,
        .revisions_max = (uint32_t)c->max_revisions,
    };
    struct berth_arena a;
    struct berth_buf settings;
    struct berth_deploy *d = NULL;
    int r;

    program[n > 0 ? n : 0] = '\0';
    berth_arena_init(&a, 16 << 20);
    berth_buf_init(&settings, &a);
    if (how->conf->plugins.plugin_configs != NULL)
        berth_json_put(&settings, how->conf->plugins.plugin_configs);
    conf.plugin_settings_json = settings.len > 0 ? berth_buf_text(&settings) : NULL;
    r = read_accelerators(c->accelerators, &a, &conf.accelerators, e);
    if (r == 0)
        r = berth_deploy_new(&conf, &d, e);
    if (r == 0)
        r = begin(d, how->conf, &a, e);
    berth_arena_fini(&a);
    if (r < 0) {
        berth_deploy_free(d);
        return berth_err_wrap(e, r, "deploy");
    }
    *ret = d;
    return 0;
}
