#include "infer/registry.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "infer/cache.h"
#include "infer/registry_priv.h"
#include "plugin/workers.h"
#include "store/store.h"
#include "wire/json.h"

enum { ENTRY_BYTES_MAX = 4 << 20, TYPE_LEN_MAX = 64 };

int
berth_registry_new(const struct berth_registry_conf *conf, struct berth_registry **ret,
                   struct berth_err *e)
{
    struct berth_registry *g = calloc(1, sizeof *g);
    pthread_condattr_t attr;
    int r;

    if (g == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "registry: out of memory");
    g->conf = *conf;
    if (g->conf.cores == 0)
        g->conf.cores = 1;
    (void)pthread_mutex_init(&g->change_mu, NULL);
    (void)pthread_mutex_init(&g->states_mu, NULL);
    (void)pthread_mutex_init(&g->count_mu, NULL);
    (void)pthread_rwlock_init(&g->lock, NULL);
    (void)pthread_mutex_init(&g->jobs_mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&g->jobs_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    for (size_t i = 0; i < BERTH_MODEL_STATE_COUNT; i++)
        g->states[i] = berth_metrics_series(
            conf->metrics, BERTH_METRIC_MODELS,
            (const char *const[]){berth_model_state_name((enum berth_model_state)i), NULL});
    berth_room_init(g);
    if (!conf->ungoverned && (g->cores = berth_cores_new(g->conf.cores, conf->metrics)) == NULL) {
        berth_registry_free(g);
        return berth_err_set(e, BERTH_ENOMEM, "registry: out of memory");
    }
    g->cache = berth_cache_new(conf->cache_bytes_max, conf->metrics);
    if (g->cache == NULL) {
        berth_registry_free(g);
        return berth_err_set(e, BERTH_ENOMEM, "registry: out of memory");
    }
    if ((r = berth_watchdog_new(&g->watchdog, e)) < 0 || (r = berth_loaders_start(g, e)) < 0) {
        berth_registry_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

void
berth_registry_free(struct berth_registry *g)
{
    struct berth_entry *x, *next;

    if (g == NULL)
        return;
    atomic_store(&g->closing, true);
    berth_watches_stop(g);
    berth_loaders_stop(g);
    berth_waits_end_all(g);
    berth_room_save(g, true);
    HASH_ITER(by_name, g->by_name, x, next)
    {
        berth_retire_all(g, x, true);
    }
    for (size_t i = 0; i < BERTH_JOBS_COUNT; i++) { /* unregistered, not yet worked on */
        for (x = g->jobs[i]; x != NULL; x = x->job_next) {
            if (x->gone)
                berth_retire_all(g, x, true);
        }
    }
    (void)pthread_mutex_lock(&g->jobs_mu);
    while (g->retiring > 0)
        (void)pthread_cond_wait(&g->jobs_cond, &g->jobs_mu);
    for (size_t i = 0; i < BERTH_JOBS_COUNT; i++) {
        for (x = g->jobs[i]; x != NULL; x = next) {
            next = x->job_next;
            if (x->gone)
                berth_entry_free(x);
        }
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    HASH_CLEAR(by_id, g->by_id);
    HASH_ITER(by_name, g->by_name, x, next)
    {
        HASH_DELETE(by_name, g->by_name, x);
        berth_entry_free(x);
    }
    berth_watchdog_free(g->watchdog);
    berth_cores_free(g->cores);
    berth_cache_unref(g->cache);
    (void)pthread_cond_destroy(&g->jobs_cond);
    (void)pthread_mutex_destroy(&g->jobs_mu);
    (void)pthread_rwlock_destroy(&g->lock);
    (void)pthread_mutex_destroy(&g->change_mu);
    (void)pthread_mutex_destroy(&g->states_mu);
    (void)pthread_mutex_destroy(&g->count_mu);
    free(g);
}

struct berth_entry *
berth_entry_find_locked(struct berth_registry *g, struct berth_slice name_or_id)
{
    struct berth_entry *x = NULL;

    HASH_FIND(by_name, g->by_name, name_or_id.at, name_or_id.len, x);
    if (x == NULL)
        HASH_FIND(by_id, g->by_id, name_or_id.at, name_or_id.len, x);
    return x;
}

int
berth_entry_unknown(struct berth_slice name, struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOENT, "model '%.*s' is not registered",
                         (int)(name.len < BERTH_MODEL_NAME_MAX ? name.len : BERTH_MODEL_NAME_MAX),
                         name.at);
}

/* With many models this looks at many: then not at every change, but soon. */
static bool
is_time_to_count(struct berth_registry *g)
{
    enum { FEW = 256 };
    const uint64_t now = berth_now_ns();

    (void)pthread_rwlock_rdlock(&g->lock);
    const unsigned n = HASH_CNT(by_name, g->by_name);
    (void)pthread_rwlock_unlock(&g->lock);
    (void)pthread_mutex_lock(&g->jobs_mu);
    g->count_due = n > FEW && now - g->counted_ns < BERTH_S / 4;
    if (!g->count_due)
        g->counted_ns = now;
    const bool yes = !g->count_due;
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return yes;
}

void
berth_registry_count_states(struct berth_registry *g)
{
    uint32_t counts[BERTH_MODEL_STATE_COUNT] = {0};

    berth_states_tell(g);
    if (!is_time_to_count(g))
        return;
    (void)pthread_mutex_lock(&g->count_mu);
    (void)pthread_rwlock_rdlock(&g->lock);
    for (const struct berth_entry *x = g->by_name; x != NULL; x = x->by_name.next)
        counts[berth_entry_state(x, NULL)]++;
    for (size_t i = 0; i < BERTH_MODEL_STATE_COUNT; i++)
        berth_series_set(g->states[i], counts[i]);
    (void)pthread_rwlock_unlock(&g->lock);
    (void)pthread_mutex_unlock(&g->count_mu);
}

/* ---- registering ---- */

static int
check_name(const char *name, struct berth_err *e)
{
    size_t len = name != NULL ? strlen(name) : 0;
    size_t good = name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789-_.")
                               : 0;

    if (len == 0 || len > BERTH_MODEL_NAME_MAX)
        return berth_err_set(e, BERTH_EINVAL, "name: 1 to %d characters, got %zu",
                             BERTH_MODEL_NAME_MAX, len);
    if (good != len)
        return berth_err_set(e, BERTH_EINVAL,
                             "name: letters, digits, '-', '_' and '.' only, got '%.128s'", name);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return berth_err_set(e, BERTH_EINVAL, "name: '%s' would be a folder", name);
    return 0;
}

static const char *
absolute_path(struct berth_arena *a, const char *path)
{
    char cwd[PATH_MAX];

    if (path[0] == '/')
        return berth_arena_strdup(a, path);
    if (getcwd(cwd, sizeof cwd) == NULL)
        return NULL;
    return berth_arena_printf(a, "%s/%s", cwd, path);
}

/* An entry of its own memory, not in the tables yet. */
int
berth_entry_new(const struct berth_model_spec *spec, struct berth_entry **ret, struct berth_err *e)
{
    struct berth_entry *x = calloc(1, sizeof *x);
    int r = 0;

    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", spec->name);
    berth_arena_init(&x->arena, ENTRY_BYTES_MAX);
    x->name = berth_arena_strdup(&x->arena, spec->name);
    x->path = absolute_path(&x->arena, spec->path);
    x->backend = berth_arena_strdup(&x->arena, spec->backend != NULL ? spec->backend : "");
    x->model_type = berth_arena_strdup(&x->arena, spec->model_type != NULL ? spec->model_type : "");
    x->stats = berth_stats_new();
    x->ephemeral = spec->ephemeral;
    x->wish_loaded = !spec->no_load;
    x->wish = spec->no_load ? 0 : 1;
    x->created_wall_ns = berth_wall_ns();
    (void)berth_uuid_text(x->id);
    if (x->name == NULL || x->path == NULL || x->backend == NULL || x->model_type == NULL ||
        x->stats == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", spec->name);
    if (r == 0)
        r = berth_entry_config_new(spec->config, &x->config, e);
    if (r < 0) {
        berth_entry_free(x);
        return r;
    }
    *ret = x;
    return 0;
}

void
berth_entry_put_locked(struct berth_registry *g, struct berth_entry *x)
{
    HASH_ADD_KEYPTR(by_name, g->by_name, x->name, strlen(x->name), x);
    HASH_ADD_KEYPTR(by_id, g->by_id, x->id, strlen(x->id), x);
}

static const char *
record_key(char buf[BERTH_MODEL_NAME_MAX + 8], const char *name)
{
    (void)snprintf(buf, BERTH_MODEL_NAME_MAX + 8, "model/%s", name);
    return buf;
}

int
berth_entry_store(struct berth_registry *g, const struct berth_entry *x,
                  const struct berth_json *config, bool loaded, struct berth_err *e)
{
    char key[BERTH_MODEL_NAME_MAX + 8];
    struct berth_buf b;
    struct berth_jw w;

    if (x->ephemeral)
        return 0;
    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    const char *const texts[][2] = {
        {"id", x->id},           {"name", x->name},
        {"path", x->path},       {"backend", x->backend},
        {"type", x->model_type}, {"desired", loaded ? "loaded" : "unloaded"}};
    for (size_t i = 0; i < BERTH_COUNT(texts); i++) {
        berth_jw_key(&w, texts[i][0]);
        berth_jw_string(&w, texts[i][1]);
    }
    berth_jw_key(&w, "created");
    berth_jw_uint(&w, x->created_wall_ns);
    berth_jw_key(&w, "config");
    berth_jw_value(&w, config);
    berth_jw_object_end(&w);
    const char *json = berth_buf_text(&b);
    int r = json == NULL ? berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", x->name)
                         : berth_store_put(g->conf.store, record_key(key, x->name),
                                           (struct berth_slice){json, b.len}, 0, e);
    berth_buf_fini(&b);
    return r;
}

/* Is there room for the name?  Under change_mu. */
static int
check_room(struct berth_registry *g, const char *name, struct berth_err *e)
{
    int r = 0;

    (void)pthread_rwlock_rdlock(&g->lock);
    if (berth_entry_find_locked(g, berth_slice_of(name)) != NULL)
        r = berth_err_set(e, BERTH_EEXIST,
                          "name: model '%s' is registered already; unregister it first, or use "
                          "another name",
                          name);
    else if (HASH_CNT(by_name, g->by_name) >= g->conf.models_max)
        r = berth_err_set(e, BERTH_ELIMIT,
                          "%u models are registered, as many as engine.max_models allows; "
                          "unregister one or raise it",
                          g->conf.models_max);
    (void)pthread_rwlock_unlock(&g->lock);
    return r;
}

static int
add(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
    struct berth_err *e)
{
    int r;

    (void)pthread_mutex_lock(&g->change_mu);
    if ((r = check_room(g, x->name, e)) == 0 &&
        (r = berth_entry_store(g, x, x->config->tree, x->wish_loaded, e)) == 0) {
        (void)pthread_rwlock_wrlock(&g->lock);
        berth_entry_plan_locked(x, p);
        berth_entry_put_locked(g, x);
        (void)pthread_rwlock_unlock(&g->lock);
        if (x->wish_loaded)
            berth_loader_queue(g, x);
    }
    (void)pthread_mutex_unlock(&g->change_mu);
    return r;
}

int
berth_registry_register(struct berth_registry *g, const struct berth_model_spec *spec,
                        char ret_id[BERTH_UUID_TEXT], struct berth_err *e)
{
    char id[BERTH_UUID_TEXT];
    struct berth_entry *x;
    struct berth_plan p;
    int r = check_name(spec->name, e);

    if (r < 0)
        return r;
    if (spec->path == NULL || spec->path[0] == '\0')
        return berth_err_set(e, BERTH_EINVAL, "path: the model's file or folder is missing");
    if (spec->model_type != NULL && strlen(spec->model_type) > TYPE_LEN_MAX)
        return berth_err_set(e, BERTH_EINVAL, "model_type: at most %d characters", TYPE_LEN_MAX);
    if (spec->config != NULL && berth_json_type(spec->config) != BERTH_JSON_NULL &&
        berth_json_type(spec->config) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "config: expected an object, got %s",
                             berth_json_type_name(spec->config));
    if ((r = berth_entry_new(spec, &x, e)) < 0)
        return r;
    if ((r = berth_plan_init(g, x->path, x->backend, x->config->tree, &p, e)) < 0) {
        berth_entry_free(x);
        return r;
    }
    memcpy(id, x->id, sizeof id);
    r = add(g, x, &p, e);
    berth_plan_fini(&p);
    if (r < 0) {
        berth_entry_free(x);
        return r;
    }
    memcpy(ret_id, id, sizeof id);
    berth_registry_count_states(g);
    return 0;
}

int
berth_registry_register_broken(struct berth_registry *g, const struct berth_model_spec *spec,
                               const char *why)
{
    struct berth_entry *x;
    int r = check_name(spec->name, NULL);

    if (r < 0 || (r = berth_entry_new(spec, &x, NULL)) < 0)
        return r;
    x->wish = x->achieved = 0;
    x->ephemeral = true;
    (void)snprintf(x->why, sizeof x->why, "%s", why);
    (void)pthread_mutex_lock(&g->change_mu);
    if ((r = check_room(g, x->name, NULL)) == 0) {
        (void)pthread_rwlock_wrlock(&g->lock);
        berth_entry_put_locked(g, x);
        (void)pthread_rwlock_unlock(&g->lock);
    }
    (void)pthread_mutex_unlock(&g->change_mu);
    if (r < 0)
        berth_entry_free(x);
    else
        berth_registry_count_states(g);
    return r;
}

/* ---- changing ---- */

enum change { LOAD, UNLOAD, FORGET };

static int
change_held(struct berth_registry *g, struct berth_slice name_or_id, enum change what,
            struct berth_err *e)
{
    char key[BERTH_MODEL_NAME_MAX + 8], name[BERTH_MODEL_NAME_MAX + 1];
    int r = 0;

    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, name_or_id);
    (void)pthread_rwlock_unlock(&g->lock);
    if (x == NULL) /* it stays in the tables: only we take it out, under change_mu */
        return berth_entry_unknown(name_or_id, e);
    (void)snprintf(name, sizeof name, "%s", x->name);
    if (what == FORGET && !x->ephemeral)
        r = berth_store_delete(g->conf.store, record_key(key, name), e);
    else if (what != FORGET && x->wish_loaded != (what == LOAD))
        r = berth_entry_store(g, x, x->config->tree, what == LOAD, e);
    if (r < 0)
        return r;
    (void)pthread_rwlock_wrlock(&g->lock);
    x->wish++;
    x->wish_loaded = what == LOAD;
    x->asked = what == LOAD;
    if (what == FORGET) {
        x->gone = true;
        HASH_DELETE(by_name, g->by_name, x);
        HASH_DELETE(by_id, g->by_id, x);
    }
    /* Within the lock: a loader that sees it gone must find it queued, or it would be freed. */
    berth_loader_queue(g, x);
    (void)pthread_rwlock_unlock(&g->lock);
    if (what == FORGET)
        berth_metrics_forget(g->conf.metrics, name);
    if (what != LOAD && g->conf.workers != NULL) /* an engine in this process cannot be stopped */
        berth_workers_end_loads_of(g->conf.workers, name);
    return 0;
}

static int
change(struct berth_registry *g, struct berth_slice name_or_id, enum change what,
       struct berth_err *e)
{
    (void)pthread_mutex_lock(&g->change_mu);
    int r = change_held(g, name_or_id, what, e);
    (void)pthread_mutex_unlock(&g->change_mu);
    if (r == 0)
        berth_registry_count_states(g);
    return r;
}

int
berth_registry_unregister(struct berth_registry *g, struct berth_slice name_or_id,
                          struct berth_err *e)
{
    return change(g, name_or_id, FORGET, e);
}

int
berth_registry_load(struct berth_registry *g, struct berth_slice name_or_id, struct berth_err *e)
{
    return change(g, name_or_id, LOAD, e);
}

int
berth_registry_unload(struct berth_registry *g, struct berth_slice name_or_id, struct berth_err *e)
{
    return change(g, name_or_id, UNLOAD, e);
}

void
berth_registry_batch_set(struct berth_registry *g, const struct berth_batch_conf *batch)
{
    (void)pthread_rwlock_wrlock(&g->lock);
    g->conf.batch = *batch;
    for (struct berth_entry *x = g->by_name; x != NULL; x = x->by_name.next) {
        for (size_t i = 0; i < x->slot_len; i++) {
            if (x->slots[i].serving != NULL)
                berth_model_batch_set(x->slots[i].serving, batch);
        }
    }
    (void)pthread_rwlock_unlock(&g->lock);
}

void
berth_registry_cache_set(struct berth_registry *g, uint64_t bytes_max)
{
    berth_cache_limit(g->cache, bytes_max);
}

/* ---- finding ---- */

static int
not_ready(const struct berth_entry *x, const struct berth_slot *s, struct berth_err *e)
{
    char why[480] = "";
    enum berth_model_state state =
        s != NULL ? berth_slot_state(x, s, why) : berth_entry_state(x, why);

    return berth_err_set(e, BERTH_ENOTREADY, "model '%s'%s%s is %s%s%.300s", x->name,
                         s != NULL ? " version " : "", s != NULL ? s->dir.label : "",
                         berth_model_state_name(state), why[0] != '\0' ? ": " : "", why);
}

int
berth_entry_version_locked(struct berth_entry *x, struct berth_slice version,
                           struct berth_model **ret, struct berth_err *e)
{
    struct berth_slot *s = NULL;

    if (version.len == 0) {
        s = berth_entry_choose(x);
        if (s == NULL)
            return not_ready(x, NULL, e);
    } else {
        s = berth_entry_slot(x, version);
        if (s == NULL)
            return berth_err_set(e, BERTH_ENOENT, "model '%s' has no version '%.*s'", x->name,
                                 (int)(version.len < 32 ? version.len : 32), version.at);
        if (s->serving == NULL)
            return not_ready(x, s, e);
    }
    berth_model_ref(s->serving);
    *ret = s->serving;
    atomic_store_explicit(&x->used_wall_ns, berth_wall_ns(), memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&x->uses, 1, memory_order_relaxed);
    return 0;
}

int
berth_registry_find(struct berth_registry *g, struct berth_slice name_or_id,
                    struct berth_slice version, struct berth_model **ret, struct berth_err *e)
{
    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, name_or_id);
    int r = x != NULL ? berth_entry_version_locked(x, version, ret, e)
                      : berth_entry_unknown(name_or_id, e);
    (void)pthread_rwlock_unlock(&g->lock);
    if (r == -BERTH_ENOTREADY)
        *ret = NULL;
    return r;
}
