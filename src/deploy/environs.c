#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* The shimlets and pipelines that this control plane has, and who uses them. */

struct berth_shimlet_open;

static void
environ_free(struct environ *x)
{
    if (x->opened)
        x->ops->close(x->open);
    (void)pthread_mutex_destroy(&x->open_mu);
    free(x->file);
    free(x->settings_json);
    free(x);
}

static void
flow_free(struct flow *x)
{
    free(x->file);
    free(x);
}

static struct environ **
find_environ_locked(struct berth_deploy *d, const char *name)
{
    struct environ **at = &d->environs;

    while (*at != NULL && strcmp((*at)->ops->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static bool
flow_is(const struct flow *x, const char *name)
{
    if (strcmp(x->ops->name, name) == 0)
        return true;
    if (!BERTH_PIPELINE_HAS(x->ops, aliases))
        return false;
    for (const char *const *alias = x->ops->aliases; *alias != NULL; alias++) {
        if (strcmp(*alias, name) == 0)
            return true;
    }
    return false;
}

static struct flow **
find_flow_locked(struct berth_deploy *d, const char *name)
{
    struct flow **at = &d->flows;

    while (*at != NULL && !flow_is(*at, name))
        at = &(*at)->next;
    return at;
}

struct environ *
berth_environ_get(struct berth_deploy *d, const char *name)
{
    (void)pthread_mutex_lock(&d->mu);
    struct environ *x = *find_environ_locked(d, name);
    if (x != NULL)
        x->refs++;
    (void)pthread_mutex_unlock(&d->mu);
    return x;
}

struct flow *
berth_flow_get(struct berth_deploy *d, const char *name)
{
    (void)pthread_mutex_lock(&d->mu);
    struct flow *x = *find_flow_locked(d, name);
    if (x != NULL)
        x->refs++;
    (void)pthread_mutex_unlock(&d->mu);
    return x;
}

void
berth_environ_put(struct berth_deploy *d, struct environ *x)
{
    if (x == NULL)
        return;
    (void)pthread_mutex_lock(&d->mu);
    const bool last = --x->refs == 0;
    (void)pthread_cond_broadcast(&d->released);
    (void)pthread_mutex_unlock(&d->mu);
    if (last)
        environ_free(x);
}

void
berth_flow_put(struct berth_deploy *d, struct flow *x)
{
    if (x == NULL)
        return;
    (void)pthread_mutex_lock(&d->mu);
    const bool last = --x->refs == 0;
    (void)pthread_cond_broadcast(&d->released);
    (void)pthread_mutex_unlock(&d->mu);
    if (last)
        flow_free(x);
}

void
berth_environs_free(struct berth_deploy *d)
{
    for (struct environ *x = d->environs, *next; x != NULL; x = next) {
        next = x->next;
        environ_free(x);
    }
    for (struct flow *x = d->flows, *next; x != NULL; x = next) {
        next = x->next;
        flow_free(x);
    }
    d->environs = NULL;
    d->flows = NULL;
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
    for (struct environ *x = d->environs; x != NULL && n < cap; x = x->next) {
        if (!atomic_load(&x->opened) && (state_dir_of(x, dir) == NULL || access(dir, F_OK) != 0))
            continue;
        x->refs++;
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

/* Services that stood still for want of it go on. */
static void
came(struct berth_deploy *d, const char *type, const char *name)
{
    struct service **all;
    size_t n;

    berth_kept_found(d, type, name);
    if (!atomic_load(&d->started) || berth_deploy_all(d, &all, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        (void)pthread_mutex_lock(&all[i]->mu);
        const bool waits = atomic_load(&all[i]->unplugged);
        all[i]->retry = all[i]->retry || (waits && all[i]->phase == BERTH_PHASE_FAILED);
        (void)pthread_mutex_unlock(&all[i]->mu);
        if (waits)
            berth_deploy_poke(d, all[i]->id, 0);
        berth_service_unref(d, all[i]);
    }
    free(all);
}

int
berth_deploy_add_shimlet(struct berth_deploy *d, const struct berth_shimlet_ops *ops,
                         const char *file, const char *settings_json, bool replace,
                         struct berth_err *e)
{
    int r = berth_environ_check(ops, e);

    if (r < 0)
        return r;
    struct environ *x = calloc(1, sizeof *x), *old = NULL;
    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "shimlet %s: out of memory", ops->name);
    *x = (struct environ){.d = d, .ops = ops, .refs = 1, .loaded_wall_ns = berth_deploy_wall(d)};
    (void)pthread_mutex_init(&x->open_mu, NULL);
    x->file = file != NULL ? strdup(file) : NULL;
    x->settings_json = strdup(settings_json != NULL ? settings_json : "{}");
    if ((file != NULL && x->file == NULL) || x->settings_json == NULL) {
        environ_free(x);
        return berth_err_set(e, BERTH_ENOMEM, "shimlet %s: out of memory", ops->name);
    }
    (void)pthread_mutex_lock(&d->mu);
    struct environ **at = find_environ_locked(d, ops->name);
    if (*at != NULL && !replace) {
        r = berth_err_set(e, BERTH_EEXIST,
                          "there is a shimlet %s already; say replace to have this "
                          "one take over",
                          ops->name);
    } else {
        old = *at;
        x->next = old != NULL ? old->next : NULL;
        *at = x;
    }
    (void)pthread_mutex_unlock(&d->mu);
    berth_environ_put(d, old);
    if (r < 0)
        environ_free(x);
    else
        came(d, "shimlet", ops->name);
    return r;
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
    struct flow *x = calloc(1, sizeof *x), *old = NULL;
    if (x == NULL || (file != NULL && (x->file = strdup(file)) == NULL)) {
        free(x);
        return berth_err_set(e, BERTH_ENOMEM, "pipeline %s: out of memory", ops->name);
    }
    x->ops = ops;
    x->names = berth_flow_names(ops); /* with no lock held, as they are looked at with some */
    x->refs = 1;
    x->loaded_wall_ns = berth_deploy_wall(d);
    (void)pthread_mutex_lock(&d->mu);
    struct flow **at = find_flow_locked(d, ops->name);
    if (*at != NULL && !replace) {
        r = berth_err_set(e, BERTH_EEXIST,
                          "there is a pipeline %s already; say replace to have "
                          "this one take over",
                          ops->name);
    } else if (*at != NULL && strcmp((*at)->ops->name, ops->name) != 0) {
        r = berth_err_set(
            e, BERTH_EEXIST,
            "pipeline %s has the other name %s; one of yours needs a name of its own, "
            "or %s, to take over all of it",
            (*at)->ops->name, ops->name, (*at)->ops->name);
    } else {
        old = *at;
        x->next = old != NULL ? old->next : NULL;
        *at = x;
    }
    (void)pthread_mutex_unlock(&d->mu);
    berth_flow_put(d, old);
    if (r < 0)
        flow_free(x);
    else
        came(d, "pipeline", ops->name);
    return r;
}

/* ---- going ---- */

/* Services that are not gone and use the plugin, as "a, b and 3 more"; how many. */
static size_t
users(struct berth_deploy *d, const char *shimlet, const struct flow *flow, char *ret, size_t cap)
{
    struct service **all;
    size_t n, used = 0, at = 0;

    ret[0] = '\0';
    if (berth_deploy_all(d, &all, &n) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct service *s = all[i];
        (void)pthread_mutex_lock(&s->mu);
        bool is = shimlet != NULL && strcmp(s->shimlet, shimlet) == 0;
        for (int k = 0; k < TRACK_COUNT && flow != NULL; k++) {
            const struct revision *wish = s->tracks[k].wish;
            is = is || (wish != NULL && flow_is(flow, wish->spec.pipeline));
        }
        is = is && s->phase != BERTH_PHASE_TERMINATED;
        (void)pthread_mutex_unlock(&s->mu);
        if (is && ++used <= 5 && at < cap) {
            int len = snprintf(ret + at, cap - at, "%s%s", used > 1 ? ", " : "", s->id);
            at += len > 0 ? (size_t)len : 0;
        }
        berth_service_unref(d, s);
    }
    free(all);
    if (used > 5 && at < cap)
        (void)snprintf(ret + at, cap - at, " and %zu more", used - 5);
    return used;
}

/* Wait until *refs is `least`; under d->mu. */
static bool
await_release_locked(struct berth_deploy *d, const uint32_t *refs, uint32_t least,
                     uint64_t limit_ns)
{
    const uint64_t until = berth_now_ns() + limit_ns;
    const struct timespec at = {.tv_sec = (time_t)(until / BERTH_S),
                                .tv_nsec = (long)(until % BERTH_S)};

    while (*refs > least) {
        if (pthread_cond_timedwait(&d->released, &d->mu, &at) != 0 && *refs > least)
            return false;
    }
    return true;
}

int
berth_deploy_retire_shimlet(struct berth_deploy *d, const char *name, uint64_t limit_ns,
                            struct berth_err *e)
{
    char list[300];
    const size_t used = users(d, name, NULL, list, sizeof list);

    if (used > 0)
        return berth_err_set(e, BERTH_EPERM,
                             "shimlet %s: %zu services use it (%s); delete them "
                             "first, or load another one with replace",
                             name, used, list);
    (void)pthread_mutex_lock(&d->mu);
    struct environ **at = find_environ_locked(d, name), *x = *at;
    bool free_now = false;
    int r = 0;
    if (x == NULL) {
        (void)pthread_mutex_unlock(&d->mu);
        return berth_environ_unknown(d, name, e);
    }
    *at = x->next;
    if (await_release_locked(d, &x->refs, 1, limit_ns)) {
        x->refs = 0;
        free_now = true;
    } else {
        x->refs--; /* whoever has it frees it */
        r = berth_err_set(e, BERTH_EDEADLINE,
                          "shimlet %s: something is still under way with it; "
                          "it goes when that has ended",
                          name);
    }
    (void)pthread_mutex_unlock(&d->mu);
    if (free_now)
        environ_free(x);
    return r;
}

int
berth_deploy_retire_pipeline(struct berth_deploy *d, const char *name, uint64_t limit_ns,
                             struct berth_err *e)
{
    char list[300];
    struct flow *held = berth_flow_get(d, name);

    if (held == NULL)
        return berth_flow_unknown(d, name, e);
    const size_t used = users(d, NULL, held, list, sizeof list);
    berth_flow_put(d, held);
    if (used > 0)
        return berth_err_set(e, BERTH_EPERM,
                             "pipeline %s: %zu services use it (%s); delete them "
                             "first, or load another one with replace",
                             name, used, list);
    (void)pthread_mutex_lock(&d->mu);
    struct flow **at = find_flow_locked(d, name), *x = *at;
    bool free_now = false;
    int r = 0;
    if (x == NULL) {
        (void)pthread_mutex_unlock(&d->mu);
        return berth_flow_unknown(d, name, e);
    }
    *at = x->next;
    if (await_release_locked(d, &x->refs, 1, limit_ns)) {
        free_now = true;
    } else {
        x->refs--;
        r = berth_err_set(e, BERTH_EDEADLINE,
                          "pipeline %s: something is still under way with it; "
                          "it goes when that has ended",
                          name);
    }
    (void)pthread_mutex_unlock(&d->mu);
    if (free_now)
        flow_free(x);
    return r;
}

/* ---- being looked at ---- */

int
berth_environ_unknown(struct berth_deploy *d, const char *name, struct berth_err *e)
{
    char list[300] = "";
    size_t at = 0;

    if (berth_kept_why(d, "shimlet", name, list, sizeof list))
        return berth_err_set(e, BERTH_ENOENT, "shimlet %s is not loaded: %.180s; load it again",
                             name, list);
    (void)pthread_mutex_lock(&d->mu);
    for (struct environ *x = d->environs; x != NULL && at < sizeof list; x = x->next)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at > 0 ? ", " : "are ",
                               x->ops->name);
    (void)pthread_mutex_unlock(&d->mu);
    return berth_err_set(e, BERTH_ENOENT, "shimlet %s is not known; there %s", name,
                         list[0] != '\0' ? list : "is none");
}

int
berth_flow_unknown(struct berth_deploy *d, const char *name, struct berth_err *e)
{
    char list[300] = "";
    size_t at = 0;

    if (berth_kept_why(d, "pipeline", name, list, sizeof list))
        return berth_err_set(e, BERTH_ENOENT, "pipeline %s is not loaded: %.180s; load it again",
                             name, list);
    (void)pthread_mutex_lock(&d->mu);
    for (struct flow *x = d->flows; x != NULL && at < sizeof list; x = x->next)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at > 0 ? ", " : "are ",
                               x->ops->name);
    (void)pthread_mutex_unlock(&d->mu);
    return berth_err_set(e, BERTH_ENOENT, "pipeline %s is not known; there %s", name,
                         list[0] != '\0' ? list : "is none");
}

int
berth_deploy_check_names(struct berth_deploy *d, const char *shimlet, const char *pipeline,
                         struct berth_err *e)
{
    (void)pthread_mutex_lock(&d->mu);
    const bool no_shimlet = shimlet != NULL && *find_environ_locked(d, shimlet) == NULL;
    const bool no_flow = pipeline != NULL && *find_flow_locked(d, pipeline) == NULL;
    (void)pthread_mutex_unlock(&d->mu);
    if (no_shimlet)
        return berth_environ_unknown(d, shimlet, e);
    return no_flow ? berth_flow_unknown(d, pipeline, e) : 0;
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
    put_source(w, x->ops->version, x->ops->description, x->file, x->loaded_wall_ns);
    berth_jw_key(w, "inUse");
    berth_jw_uint(w, x->refs - 1);
    berth_jw_object_end(w);
}

static void
put_plugins_locked(struct berth_deploy *d, struct berth_arena *a, struct berth_jw *w)
{
    berth_jw_key(w, "shimlets");
    berth_jw_array(w);
    for (struct environ *x = d->environs; x != NULL; x = x->next) {
        berth_jw_object(w);
        berth_jw_key(w, "name");
        berth_jw_string(w, x->ops->name);
        put_source(w, x->ops->version, x->ops->description, x->file, x->loaded_wall_ns);
        berth_jw_key(w, "state");
        berth_jw_string(w, x->opened ? "open" : "loaded");
        berth_jw_key(w, "inUse");
        berth_jw_uint(w, x->refs - 1);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
    berth_jw_key(w, "pipelines");
    berth_jw_array(w);
    for (struct flow *x = d->flows; x != NULL; x = x->next)
        put_flow(w, x);
    berth_jw_array_end(w);
    berth_jw_key(w, "goalsets");
    berth_jw_array(w);
    for (struct flow *x = d->flows; x != NULL; x = x->next) {
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
