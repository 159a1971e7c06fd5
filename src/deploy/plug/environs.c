#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* The shimlets and pipelines that this control plane has, and who uses them. */

static struct environ *
environ_of(struct plug *p)
{
    return (struct environ *)p; /* its first member */
}

static void
environ_free(struct plug *p)
{
    struct environ *x = environ_of(p);

    if (x->opened)
        x->ops->close(x->open);
    (void)pthread_mutex_destroy(&x->open_mu);
    (void)pthread_mutex_destroy(&x->away_mu);
    free(x->settings_json);
    free(x);
}

static void
flow_free(struct plug *p)
{
    free(p); /* a flow's first member */
}

struct environ *
berth_environ_get(struct berth_deploy *d, const char *name)
{
    return environ_of(berth_plug_get(d, &d->environs, name));
}

struct flow *
berth_flow_get(struct berth_deploy *d, const char *name)
{
    return (struct flow *)berth_plug_get(d, &d->flows, name);
}

void
berth_environ_put(struct berth_deploy *d, struct environ *x)
{
    berth_plug_put(d, x != NULL ? &x->plug : NULL);
}

void
berth_flow_put(struct berth_deploy *d, struct flow *x)
{
    berth_plug_put(d, x != NULL ? &x->plug : NULL);
}

void
berth_environs_free(struct berth_deploy *d)
{
    berth_plugs_free(&d->environs);
    berth_plugs_free(&d->flows);
}

/* Its folder, when the control plane keeps a state; made when it is opened first. */
static const char *
state_dir_of(const struct environ *x, char ret[4096])
{
    const char *state = x->d->conf.state_dir;

    if (state == NULL)
        return NULL;
    (void)snprintf(ret, 4096, "%s/shimlets/%s", state, x->ops->name);
    return ret;
}

size_t
berth_environs_used(struct berth_deploy *d, struct environ **ret, size_t cap)
{
    char dir[4096];
    size_t n = 0;

    (void)pthread_mutex_lock(&d->mu);
    for (struct plug *p = d->environs.first; p != NULL && n < cap; p = p->next) {
        struct environ *x = environ_of(p);
        if (!atomic_load(&x->opened) && (state_dir_of(x, dir) == NULL || access(dir, F_OK) != 0))
            continue;
        p->refs++;
        ret[n++] = x;
    }
    (void)pthread_mutex_unlock(&d->mu);
    return n;
}

int
berth_environ_open(struct environ *x, struct berth_shimlet **ret, struct berth_err *e)
{
    char dir[4096] = "";
    int r = 0;

    (void)pthread_mutex_lock(&x->open_mu);
    if (!x->opened) {
        if (x->d->conf.state_dir != NULL) {
            (void)snprintf(dir, sizeof dir, "%s/shimlets", x->d->conf.state_dir);
            (void)mkdir(dir, 0700); /* the next one says what is wrong */
            if (mkdir(state_dir_of(x, dir), 0700) < 0 && access(dir, W_OK | X_OK) < 0)
                r = berth_err_set(e, BERTH_EIO, "shimlet %s: %s: %m", x->ops->name, dir);
        }
        const struct berth_shimlet_open how = {.struct_size = sizeof how,
                                               .settings_json = x->settings_json,
                                               .state_dir = dir[0] != '\0' ? dir : NULL,
                                               .owner = x->d->owner,
                                               .program = x->d->conf.program,
                                               .who = x};
        if (r == 0 && (r = x->ops->open(&berth_deploy_shimlet_host, &how, &x->open, e)) < 0)
            r = berth_err_wrap(e, r, "shimlet %s", x->ops->name);
        x->opened = r == 0;
    }
    if (r == 0)
        *ret = x->open;
    (void)pthread_mutex_unlock(&x->open_mu);
    return r;
}

/* ---- coming ---- */

int
berth_environ_check(const struct berth_shimlet_ops *ops, struct berth_err *e)
{
    if (ops->abi != BERTH_SHIMLET_ABI)
        return berth_err_set(e, BERTH_EABI,
                             "the shimlet speaks ABI %u, this program %u: build it "
                             "against this version's berth/shimlet.h",
                             ops->abi, BERTH_SHIMLET_ABI);
    if (ops->struct_size < offsetof(struct berth_shimlet_ops, check) || ops->name == NULL ||
        ops->open == NULL || ops->close == NULL || ops->apply == NULL || ops->remove == NULL ||
        ops->status == NULL || ops->list == NULL)
        return berth_err_set(e, BERTH_EABI,
                             "the shimlet lacks one of name, open, close, apply, "
                             "remove, status and list");
    return 0;
}

int
berth_deploy_add_shimlet(struct berth_deploy *d, const struct berth_shimlet_ops *ops,
                         const char *file, const char *settings_json, bool replace,
                         struct berth_err *e)
{
    int r = berth_environ_check(ops, e);

    if (r < 0)
        return r;
    struct environ *x = calloc(1, sizeof *x);
    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "shimlet %s: out of memory", ops->name);
    *x = (struct environ){
        .plug = {.name = ops->name, .version = ops->version, .free_it = environ_free},
        .d = d,
        .ops = ops};
    (void)pthread_mutex_init(&x->open_mu, NULL);
    (void)pthread_mutex_init(&x->away_mu, NULL);
    x->settings_json = strdup(settings_json != NULL ? settings_json : "{}");
    if (x->settings_json == NULL) {
        environ_free(&x->plug);
        return berth_err_set(e, BERTH_ENOMEM, "shimlet %s: out of memory", ops->name);
    }
    return berth_plug_add(d, &d->environs, &x->plug, file, replace, e);
}

int
berth_flow_check(const struct berth_pipeline_ops *ops, struct berth_err *e)
{
    if (ops->abi != BERTH_PIPELINE_ABI)
        return berth_err_set(e, BERTH_EABI,
                             "the pipeline speaks ABI %u, this program %u: build it "
                             "against this version's berth/pipeline.h",
                             ops->abi, BERTH_PIPELINE_ABI);
    const bool listed = BERTH_PIPELINE_HAS(ops, deploy),
               named = BERTH_PIPELINE_HAS(ops, steps) && BERTH_PIPELINE_HAS(ops, run_step);
    if (ops->name == NULL || (!listed && !named))
        return berth_err_set(e, BERTH_EABI,
                             "the pipeline needs a name, and deploy, or steps and run_step");
    return 0;
}

int
berth_deploy_add_pipeline(struct berth_deploy *d, berth_pipeline_entry_fn *entry, const char *file,
                          bool replace, struct berth_err *e)
{
    const struct berth_pipeline_ops *ops = entry(&berth_deploy_pipeline_host, e);
    int r;

    if (ops == NULL)
        return -BERTH_EABI;
    if ((r = berth_flow_check(ops, e)) < 0)
        return r;
    struct flow *x = calloc(1, sizeof *x);
    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "pipeline %s: out of memory", ops->name);
    *x = (struct flow){.plug = {.name = ops->name,
                                .version = ops->version,
                                .aliases = BERTH_PIPELINE_HAS(ops, aliases) ? ops->aliases : NULL,
                                .free_it = flow_free},
                       .ops = ops,
                       .names = berth_flow_names(ops)};
    return berth_plug_add(d, &d->flows, &x->plug, file, replace, e);
}

/* ---- going ---- */

int
berth_deploy_retire_shimlet(struct berth_deploy *d, const char *name, uint64_t limit_ns,
                            struct berth_err *e)
{
    return berth_plug_retire(d, &d->environs, name, limit_ns, e);
}

int
berth_deploy_retire_pipeline(struct berth_deploy *d, const char *name, uint64_t limit_ns,
                             struct berth_err *e)
{
    return berth_plug_retire(d, &d->flows, name, limit_ns, e);
}

/* ---- being looked at ---- */

int
berth_environ_unknown(struct berth_deploy *d, const char *name, struct berth_err *e)
{
    return berth_plug_unknown(d, &d->environs, name, e);
}

int
berth_flow_unknown(struct berth_deploy *d, const char *name, struct berth_err *e)
{
    return berth_plug_unknown(d, &d->flows, name, e);
}

int
berth_deploy_check_names(struct berth_deploy *d, const char *shimlet, const char *pipeline,
                         struct berth_err *e)
{
    if (shimlet != NULL && !berth_plug_is(d, &d->environs, shimlet))
        return berth_environ_unknown(d, shimlet, e);
    return pipeline == NULL || berth_plug_is(d, &d->flows, pipeline)
               ? 0
               : berth_flow_unknown(d, pipeline, e);
}

static void
put_source(struct berth_jw *w, const char *version, const char *description, const char *file,
           uint64_t loaded_wall_ns)
{
    char time[BERTH_TIME_TEXT];

    berth_jw_key(w, "version");
    berth_jw_string(w, version != NULL ? version : "");
    berth_jw_key(w, "description");
    berth_jw_string(w, description != NULL ? description : "");
    berth_jw_key(w, "source");
    berth_jw_string(w, file != NULL ? file : "builtin");
    berth_jw_key(w, "loadedAt");
    berth_jw_string(w, berth_time_text(loaded_wall_ns, time));
}

static void
put_steps(struct berth_jw *w, const struct flow *x, bool removing)
{
    const struct berth_goal *goals;
    const char *const *names;
    uint32_t n;
    struct berth_err e;

    berth_jw_array(w);
    if (berth_flow_steps(x, removing, &goals, &names, &n, &e) == 0) {
        for (uint32_t i = 0; i < n; i++)
            berth_jw_string(w, goals != NULL ? goals[i].name : names[i]);
    }
    berth_jw_array_end(w);
}

static void
put_goalset(struct berth_jw *w, struct berth_arena *a, const struct flow *x, const char *name,
            bool removing)
{
    static const char tail[] = "-deploy";
    size_t len = strlen(name); /* a name that is a goal set's own already keeps its beginning */

    if (len > sizeof tail - 1 && strcmp(name + len - (sizeof tail - 1), tail) == 0)
        len -= sizeof tail - 1;
    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(
        w, berth_arena_printf(a, "%.*s-%s", (int)len, name, removing ? "delete" : "deploy"));
    berth_jw_key(w, "goals");
    put_steps(w, x, removing);
    berth_jw_object_end(w);
}

static void
put_flow(struct berth_jw *w, const struct flow *x)
{
    berth_jw_object(w);
    berth_jw_key(w, "name");
    berth_jw_string(w, x->ops->name);
    berth_jw_key(w, "steps");
    put_steps(w, x, false);
    berth_jw_key(w, "aliases");
    berth_jw_array(w);
    for (const char *const *alias = BERTH_PIPELINE_HAS(x->ops, aliases) ? x->ops->aliases : NULL;
         alias != NULL && *alias != NULL; alias++)
        berth_jw_string(w, *alias);
    berth_jw_array_end(w);
    put_source(w, x->ops->version, x->ops->description, x->plug.file, x->plug.loaded_wall_ns);
    berth_jw_key(w, "inUse");
    berth_jw_uint(w, x->plug.refs - 1);
    berth_jw_object_end(w);
}

static void
put_plugins_locked(struct berth_deploy *d, struct berth_arena *a, struct berth_jw *w)
{
    berth_jw_key(w, "shimlets");
    berth_jw_array(w);
    for (struct plug *p = d->environs.first; p != NULL; p = p->next) {
        const struct environ *x = environ_of(p);
        berth_jw_object(w);
        berth_jw_key(w, "name");
        berth_jw_string(w, x->ops->name);
        put_source(w, x->ops->version, x->ops->description, x->plug.file, x->plug.loaded_wall_ns);
        berth_jw_key(w, "state");
        berth_jw_string(w, x->opened ? "open" : "loaded");
        berth_jw_key(w, "inUse");
        berth_jw_uint(w, x->plug.refs - 1);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
    berth_jw_key(w, "pipelines");
    berth_jw_array(w);
    for (const struct plug *p = d->flows.first; p != NULL; p = p->next)
        put_flow(w, (const struct flow *)p);
    berth_jw_array_end(w);
    berth_jw_key(w, "goalsets");
    berth_jw_array(w);
    for (const struct plug *p = d->flows.first; p != NULL; p = p->next) {
        const struct flow *x = (const struct flow *)p;
        put_goalset(w, a, x, x->ops->name, false);
        put_goalset(w, a, x, x->ops->name, true);
        for (const char *const *alias = BERTH_PIPELINE_HAS(x->ops, aliases) ? x->ops->aliases
                                                                            : NULL;
             alias != NULL && *alias != NULL; alias++) {
            put_goalset(w, a, x, *alias, false);
            put_goalset(w, a, x, *alias, true);
        }
    }
    berth_jw_array_end(w);
    berth_jw_key(w, "missing");
    berth_kept_list(d, w);
}

int
berth_deploy_plugins(struct berth_deploy *d, struct berth_arena *a, struct berth_buf *out,
                     struct berth_err *e)
{
    const size_t before = out->len;
    struct berth_jw w;

    berth_jw_init(&w, out);
    berth_jw_object(&w);
    berth_jw_key(&w, "defaultShimlet");
    berth_jw_string(&w, d->defaults.shimlet);
    berth_jw_key(&w, "defaultPipeline");
    berth_jw_string(&w, d->defaults.pipeline);
    (void)pthread_mutex_lock(&d->mu);
    put_plugins_locked(d, a, &w);
    (void)pthread_mutex_unlock(&d->mu);
    berth_jw_object_end(&w);
    if (!out->failed)
        return 0;
    out->len = before;
    return berth_err_set(e, BERTH_ENOMEM, "plugins: out of memory");
}
