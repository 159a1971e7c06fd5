#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "infer/host.h"
#include "infer/registry_priv.h"
#include "plugin/plugins.h"
#include "wire/json.h"

enum { PLAN_BYTES_MAX = 16 << 20 };
static const uint64_t drain_ns = 30 * BERTH_S;

/* ---- plans ---- */

static int
plan_backend(struct berth_registry *g, const char *path, const char *backend,
             const struct berth_json *manifest, struct berth_plan *p, struct berth_err *e)
{
    struct berth_slice named = {NULL, 0};
    struct berth_err inner = {""};
    char version[4096];
    int r;

    if (backend[0] == '\0' && berth_json_string(berth_json_get(manifest, "backend"), &named))
        backend = named.at;
    if (backend[0] != '\0') {
        r = berth_plugins_backend(g->conf.plugins, backend, &p->ops, &inner);
        return r < 0 ? berth_err_set(e, r == -BERTH_ENOENT ? BERTH_EINVAL : (enum berth_code) - r,
                                     "backend: %s", inner.msg)
                     : 0;
    }
    if (p->dirs.in_folders)
        (void)snprintf(version, sizeof version, "%s/%s", path, p->dirs.at[p->dirs.len - 1].label);
    return berth_plugins_for_path(g->conf.plugins, p->dirs.in_folders ? version : path, &p->ops, e);
}

int
berth_plan_init(struct berth_registry *g, const char *path, const char *backend,
                const struct berth_json *config, struct berth_plan *p, struct berth_err *e)
{
    const struct berth_json *manifest, *merged;
    int r;

    berth_arena_init(&p->arena, PLAN_BYTES_MAX);
    if ((r = berth_versions_scan(path, &p->dirs, e)) < 0 ||
        (r = berth_config_manifest(&p->arena, path, &manifest, e)) < 0 ||
        (r = plan_backend(g, path, backend, manifest, p, e)) < 0 ||
        (r = berth_config_merge(&p->arena, config, manifest, &merged, e)) < 0 ||
        (r = berth_config_check(&p->arena, merged, p->ops, &p->conf, e)) < 0)
        berth_plan_fini(p);
    return r;
}

void
berth_plan_fini(struct berth_plan *p)
{
    berth_arena_fini(&p->arena);
}

/* Make m (a reference, given; or NULL) what was loaded last. */
static void
set_last(struct berth_slot *s, struct berth_model *m)
{
    if (m != NULL)
        (void)atomic_fetch_add(&m->kept, 1);
    if (s->last != NULL)
        (void)atomic_fetch_sub(&s->last->kept, 1);
    berth_model_unref(s->last);
    s->last = m;
}

static int
compare_slots(const void *a, const void *b)
{
    const struct berth_slot *x = a, *y = b;

    return (x->dir.number > y->dir.number) - (x->dir.number < y->dir.number);
}

void
berth_entry_plan_locked(struct berth_entry *x, const struct berth_plan *p)
{
    size_t kept = 0;

    /* What is gone from the disk stays while it serves. */
    for (size_t i = 0; i < x->slot_len; i++) {
        struct berth_slot *s = &x->slots[i];
        s->on_disk = s->wanted = false;
        for (size_t k = 0; k < p->dirs.len; k++)
            s->on_disk = s->on_disk || strcmp(p->dirs.at[k].label, s->dir.label) == 0;
        if (!s->on_disk && s->serving == NULL) {
            set_last(s, NULL);
            continue;
        }
        x->slots[kept++] = *s;
    }
    x->slot_len = kept;
    for (size_t k = 0; k < p->dirs.len; k++) {
        size_t i = 0;
        while (i < kept && strcmp(x->slots[i].dir.label, p->dirs.at[k].label) != 0)
            i++;
        if (i == kept && x->slot_len < BERTH_VERSION_DIRS_MAX)
            x->slots[i = x->slot_len++] =
                (struct berth_slot){.dir = p->dirs.at[k], .on_disk = true};
        if (i < x->slot_len)
            x->slots[i].wanted = berth_plan_wants(p, &p->dirs.at[k]);
    }
    qsort(x->slots, x->slot_len, sizeof x->slots[0], compare_slots);
    x->routes = p->conf.routes;
    (void)snprintf(x->used_backend, sizeof x->used_backend, "%.64s", p->ops->name);
}

/* ---- stopping models ---- */

void
berth_stop_model(struct berth_registry *g, struct berth_model *m)
{
    berth_model_stop(m, drain_ns, &g->closing);
    berth_series_sub(m->series.memory, m->memory_bytes);
    (void)pthread_mutex_lock(&m->mu);
    bool unloaded = m->instance_len == 0; /* else its engine hangs, and keeps what it has */
    (void)pthread_mutex_unlock(&m->mu);
    berth_room_parted(g, m, unloaded);
    berth_model_unref(m);
}

struct retire {
    struct berth_registry *g;
    struct berth_model *m;
};

static void *
retire_main(void *arg)
{
    struct retire *t = arg;
    struct berth_registry *g = t->g;

    (void)pthread_setname_np(pthread_self(), "berth-retire");
    berth_stop_model(g, t->m);
    free(t);
    berth_registry_count_states(g);
    (void)pthread_mutex_lock(&g->jobs_mu);
    berth_loader_hurry_locked(g);
    g->retiring--;
    (void)pthread_cond_broadcast(&g->jobs_cond);
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return NULL;
}

/* Stop m on a thread of its own and drop the caller's reference. */
static void
retire_model(struct berth_registry *g, struct berth_model *m)
{
    struct retire *t = malloc(sizeof *t);
    pthread_attr_t attr;
    pthread_t thread;

    (void)pthread_mutex_lock(&g->jobs_mu);
    g->retiring++; /* no bound needed: every one holds a loaded model */
    (void)pthread_mutex_unlock(&g->jobs_mu);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (t != NULL)
        *t = (struct retire){.g = g, .m = m};
    if (t == NULL || pthread_create(&thread, &attr, retire_main, t) != 0) {
        free(t);
        berth_stop_model(g, m);
        (void)pthread_mutex_lock(&g->jobs_mu);
        g->retiring--;
        (void)pthread_cond_broadcast(&g->jobs_cond);
        (void)pthread_mutex_unlock(&g->jobs_mu);
    }
    (void)pthread_attr_destroy(&attr);
}

struct berth_model *
berth_take_serving_locked(struct berth_registry *g, struct berth_entry *x, struct berth_slot *s)
{
    struct berth_model *m = s->serving;

    s->serving = NULL;
    if (m != NULL) {
        berth_room_parting_locked(g, m);
        berth_room_settle_locked(g, x);
    }
    return m;
}

/* ---- loading ---- */

bool
berth_plan_isolates(const struct berth_registry *g, const struct berth_plan *p)
{
    return p->conf.isolation.said ? p->conf.isolation.process : g->conf.isolate;
}

/* Work in a process of its own, if that is wanted. */
static int
isolate(struct berth_registry *g, const struct berth_plan *p, struct berth_model_make *make,
        struct berth_err *e)
{
    const struct berth_isolation_conf *c = &p->conf.isolation;

    if (!berth_plan_isolates(g, p))
        return 0;
    if (g->conf.workers == NULL)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "isolation: this program has no workers");
    make->ops = berth_workers_ops(g->conf.workers, p->ops);
    if (make->ops == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", make->name);
    make->isolation = (struct berth_isolation){
        .workers = g->conf.workers,
        .real = p->ops,
        .memory_bytes_max = c->memory_bytes_max,
        .run_ns_max = c->run_ns_max != 0 ? c->run_ns_max : g->conf.run_ns_max,
        .keep_core = c->keep_core,
    };
    return 0;
}

/* A model that was unregistered while it is loaded: the series that were made after that are gone
 * like those before, but for those of another that has its name now. */
static void
forget_again(struct berth_registry *g, const struct berth_entry *x)
{
    (void)pthread_rwlock_rdlock(&g->lock);
    if (x->gone && berth_entry_find_locked(g, berth_slice_of(x->name)) == NULL)
        berth_metrics_forget(g->conf.metrics, x->name);
    (void)pthread_rwlock_unlock(&g->lock);
}

static int
make_model(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
           const struct berth_version_dir *dir, const char *path, struct berth_model **ret,
           struct berth_err *e)
{
    struct berth_batch_conf batch;

    (void)pthread_rwlock_rdlock(&g->lock);
    batch = g->conf.batch;
    (void)pthread_rwlock_unlock(&g->lock);
    struct berth_model_make make = {.name = x->name,
                                    .id = x->id,
                                    .version = dir->label,
                                    .path = path,
                                    .ops = p->ops,
                                    .host = berth_host_calls(),
                                    .conf = &p->conf,
                                    .batch = &batch,
                                    .stats = x->stats,
                                    .cache = g->cache,
                                    .metrics = g->conf.metrics,
                                    .watchdog = g->watchdog,
                                    .cores = g->cores,
                                    .failed = berth_registry_model_failed,
                                    .failed_arg = g};
    int r = isolate(g, p, &make, e);
    r = r < 0 ? r : berth_model_new(&make, ret, e);
    forget_again(g, x);
    return r;
}

/* Put m, loaded or failed, in its slot.  What served before goes when m is better. */
static void
publish(struct berth_registry *g, struct berth_entry *x, const char *label, uint64_t generation,
        struct berth_model *m, bool ready)
{
    struct berth_model *old = NULL;

    (void)pthread_rwlock_wrlock(&g->lock);
    for (size_t i = 0; i < x->slot_len; i++) {
        struct berth_slot *s = &x->slots[i];
        if (strcmp(s->dir.label, label) != 0)
            continue;
        set_last(s, m);
        s->generation = generation;
        if (ready) {
            old = berth_take_serving_locked(g, x, s);
            berth_model_ref(m);
            s->serving = m;
        }
    }
    berth_room_settle_locked(g, x);
    struct berth_model_wait *served = berth_waits_take_locked(g, x, 0, 0);
    (void)pthread_rwlock_unlock(&g->lock);
    berth_waits_post(served);
    if (old != NULL) {
        berth_model_leave(old, "a newer load serves in its place");
        retire_model(g, old);
    }
}

/* What came of a load: it serves, it does not, it did not get memory, or not yet. */
enum loaded { LOADED, BROKEN, REFUSED, BLOCKED };

static void
keep_outcome(struct berth_registry *g, struct berth_entry *x, const struct berth_forecast *f,
             const struct berth_model *m, int code)
{
    (void)pthread_rwlock_wrlock(&g->lock);
    x->failed_code = code;
    x->failed_ns = berth_now_ns();
    if (code == 0) {
        x->room_why[0] = '\0';
        x->predicted = *f;
        x->measured = (struct berth_forecast){.bytes = m->memory_bytes,
                                              .load_ns = m->load_ns,
                                              .evicted = f->evicted,
                                              .by = BERTH_BY_LOAD,
                                              .wall_ns = berth_wall_ns()};
    }
    (void)pthread_rwlock_unlock(&g->lock);
}

static enum loaded
load_admitted(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
              const struct berth_version_dir *dir, const char *path, struct berth_forecast *f,
              uint64_t generation, const struct berth_why_load *why)
{
    struct berth_err e = {""};
    struct berth_model *m;
    int r = make_model(g, x, p, dir, path, &m, &e);

    if (r < 0) {
        berth_error("model %s: %s", x->name, e.msg);
        (void)pthread_rwlock_wrlock(&g->lock);
        berth_room_settle_locked(g, x);
        (void)pthread_rwlock_unlock(&g->lock);
        return BROKEN;
    }
    berth_info("model %s: loading version %s with %s", x->name, dir->label, p->ops->name);
    r = berth_room_start(g, x, m, f, p->conf.threads != 0 ? p->conf.threads : g->conf.cores, &e);
    if (r < 0)
        berth_warn("model %s: version %s failed to load: %s", x->name, dir->label, e.msg);
    else
        berth_info("model %s: version %s is ready after %llu ms, %llu MiB", x->name, dir->label,
                   (unsigned long long)(m->load_ns / BERTH_MS),
                   (unsigned long long)(m->memory_bytes >> 20));
    keep_outcome(g, x, f, m, r);
    if (r == 0) {
        berth_room_learn(g, x, m, path);
        const int room = berth_room_confirm(g, x, dir->label, m, f, why);
        if (room != 0) {
            berth_model_leave(m, "took more memory than is left");
            berth_stop_model(g, m);
            return room > 0 ? BLOCKED : REFUSED;
        }
    }
    publish(g, x, dir->label, generation, m, r == 0);
    return r == 0 ? LOADED : BROKEN;
}

/* Load a version anew. */
static enum loaded
load_version(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
             const struct berth_version_dir *dir, uint64_t generation,
             const struct berth_why_load *why)
{
    const char *path = p->dirs.in_folders ? berth_arena_printf((struct berth_arena *)&p->arena,
                                                               "%s/%s", x->path, dir->label)
                                          : x->path;
    struct berth_err e = {"out of memory"};

    if (path == NULL) {
        berth_error("model %s: %s", x->name, e.msg);
        return BROKEN;
    }
    struct berth_forecast f = berth_room_forecast(g, x, p, path);
    int r = berth_room_admit(g, x, &f, why, &e);
    if (r > 0)
        return BLOCKED;
    if (r < 0) {
        berth_log(why->demand || why->asked ? BERTH_LOG_WARN : BERTH_LOG_INFO, "%s%s", e.msg,
                  why->demand || why->asked ? "" : "; it is loaded when a request comes");
        return REFUSED;
    }
    if (why->demand)
        berth_series_add(g->room.demand_loads, 1);
    return load_admitted(g, x, p, dir, path, &f, generation, why);
}

void
berth_retire_all(struct berth_registry *g, struct berth_entry *x, bool all)
{
    struct berth_model *retired[BERTH_VERSION_DIRS_MAX];
    size_t n = 0;

    (void)pthread_rwlock_wrlock(&g->lock);
    for (size_t i = 0; i < x->slot_len; i++) {
        if ((all || !x->slots[i].wanted) && x->slots[i].serving != NULL)
            retired[n++] = berth_take_serving_locked(g, x, &x->slots[i]);
    }
    (void)pthread_rwlock_unlock(&g->lock);
    for (size_t i = 0; i < n; i++) {
        berth_model_leave(retired[i], all ? "asked to unload" : "not wanted any more");
        retire_model(g, retired[i]);
    }
}

/* What of x is to be loaded now, the latest version first: it is asked for.  Also takes the plan
 * (NULL: there is none, for the reason e) into x.  -1: nothing can be loaded. */
static int
choose_locked(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
              const struct berth_why_load *why, const struct berth_err *e,
              struct berth_version_dir wanted[BERTH_VERSION_DIRS_MAX])
{
    const uint64_t keep = g->conf.memory.keep_alive_ns;
    int n = 0;

    (void)snprintf(x->why, sizeof x->why, "%s", p == NULL ? e->msg : "");
    if (p == NULL)
        return -1;
    berth_entry_plan_locked(x, p);
    x->loading = p->conf.loading;
    x->item.pinned = p->conf.pin;
    x->keep_alive_ns = p->conf.has_keep_alive ? p->conf.keep_alive_ns
                       : keep > 0             ? keep
                                              : UINT64_MAX;
    if (!why->demand && !why->asked && p->conf.loading != BERTH_LOADING_START && !p->conf.pin) {
        (void)snprintf(x->room_why, sizeof x->room_why, "%s",
                       p->conf.loading == BERTH_LOADING_DEMAND
                           ? "it is loaded when a request comes"
                           : "it is loaded when somebody says so");
        return 0;
    }
    for (size_t i = x->slot_len; i > 0; i--) {
        const struct berth_slot *s = &x->slots[i - 1];
        if (s->wanted && (s->serving == NULL || s->generation != x->wish) &&
            !(why->demand && !why->asked && s->serving != NULL))
            wanted[n++] = s->dir;
    }
    if (n == 0 && x->slot_len > 0 && berth_entry_serving(x) == NULL) {
        (void)snprintf(x->why, sizeof x->why, "config.versions: none of them is in the folder");
        return -1;
    }
    return n;
}

static enum loaded
load_entry(struct berth_registry *g, struct berth_entry *x, uint64_t generation,
           const struct berth_why_load *why)
{
    struct berth_version_dir wanted[BERTH_VERSION_DIRS_MAX];
    struct berth_err e = {""};
    struct berth_plan p;
    enum loaded worst = LOADED;
    size_t ready = 0;
    struct berth_entry_config *config = berth_entry_config(g, x);
    int r = berth_plan_init(g, x->path, x->backend, config->tree, &p, &e);

    berth_entry_config_unref(config);
    (void)pthread_rwlock_wrlock(&g->lock);
    int n = choose_locked(g, x, r == 0 ? &p : NULL, why, &e, wanted);
    (void)pthread_rwlock_unlock(&g->lock);
    if (r < 0) {
        berth_warn("model %s: %s", x->name, e.msg);
        return BROKEN;
    }
    struct berth_why_load how = *why;
    how.asked = how.asked || p.conf.pin; /* what is pinned is wanted for good */
    for (int i = 0; i < n && !atomic_load(&g->closing) && worst != BLOCKED; i++) {
        const enum loaded l = load_version(g, x, &p, &wanted[i], generation, &how);
        ready += l == LOADED;
        worst = l > worst ? l : worst;
    }
    if (ready > 0 && worst != BLOCKED)
        berth_retire_all(g, x, false);
    berth_plan_fini(&p);
    return worst;
}

void
berth_entry_free(struct berth_entry *x)
{
    berth_assert(x->waits == NULL);
    for (size_t i = 0; i < x->slot_len; i++) {
        berth_assert(x->slots[i].serving == NULL);
        set_last(&x->slots[i], NULL);
    }
    berth_stats_unref(x->stats);
    berth_entry_config_unref(x->config);
    struct berth_arena arena = x->arena;
    free(x);
    berth_arena_fini(&arena);
}

/* How long somebody may wait for room who only said load. */
static bool
is_patient(struct berth_registry *g, const struct berth_entry *x, const struct berth_why_load *why)
{
    const uint64_t most =
        g->conf.memory.load_wait_ns > 0 ? g->conf.memory.load_wait_ns : 120 * BERTH_S;

    if (atomic_load(&g->closing))
        return false;
    /* Those who wait for it have their own limits. */
    return why->demand || (why->asked && berth_now_ns() - x->blocked_ns < most);
}

/* Why x is to be loaded, as of now.  False: there is nothing to do. */
static bool
look(struct berth_registry *g, struct berth_entry *x, struct berth_why_load *ret,
     uint64_t *ret_wish, bool *ret_load)
{
    (void)pthread_rwlock_wrlock(&g->lock);
    (void)pthread_mutex_lock(&g->jobs_mu);
    *ret = (struct berth_why_load){.demand = x->waits != NULL, .asked = x->asked};
    ret->since_ns = ret->demand ? x->waits->begin_ns : berth_now_ns();
    if (x->blocked_ns == 0)
        x->blocked_ns = berth_now_ns();
    (void)pthread_mutex_unlock(&g->jobs_mu);
    bool due = x->wish != x->achieved;
    *ret_load = x->wish_loaded && !x->gone;
    if (!due && ret->demand && *ret_load) {
        x->wish++; /* LOADING from here on */
        due = true;
    }
    *ret_wish = x->wish;
    (void)pthread_rwlock_unlock(&g->lock);
    return due;
}

bool
berth_loader_work(struct berth_registry *g, struct berth_entry *x)
{
    enum loaded l = LOADED;
    const uint64_t began_ns = berth_now_ns();
    struct berth_model_wait *over;
    struct berth_why_load why;
    uint64_t wish;
    bool load;

    if (!look(g, x, &why, &wish, &load)) {
        (void)pthread_rwlock_rdlock(&g->lock);
        over = berth_waits_take_locked(g, x, 1, began_ns);
        (void)pthread_rwlock_unlock(&g->lock);
        berth_waits_post(over);
        return true;
    }
    if (load)
        l = load_entry(g, x, wish, &why);
    else
        berth_retire_all(g, x, true);
    if (l == BLOCKED && is_patient(g, x, &why))
        return false;
    (void)pthread_rwlock_wrlock(&g->lock);
    x->achieved = wish;
    x->asked = false;
    if (!load)
        x->room_why[0] = '\0';
    x->blocked_ns = 0;
    over = berth_waits_take_locked(g, x, l >= REFUSED ? -BERTH_ENOMEM : 1, began_ns);
    (void)pthread_rwlock_unlock(&g->lock);
    berth_waits_post(over);
    berth_registry_count_states(g);
    return true;
}

void
berth_retire_failed(struct berth_registry *g)
{
    struct berth_model *failed[64];
    size_t n = 0;

    (void)pthread_rwlock_wrlock(&g->lock);
    for (struct berth_entry *x = g->by_name; x != NULL; x = x->by_name.next) {
        for (size_t i = 0; i < x->slot_len && n < BERTH_COUNT(failed); i++) {
            struct berth_slot *s = &x->slots[i];
            if (s->serving != NULL && berth_model_state(s->serving, NULL) == BERTH_MODEL_FAILED)
                failed[n++] = berth_take_serving_locked(g, x, s);
        }
    }
    (void)pthread_rwlock_unlock(&g->lock);
    for (size_t i = 0; i < n; i++) {
        berth_error("model %s: failed: %s", failed[i]->name, failed[i]->why);
        retire_model(g, failed[i]);
    }
    berth_registry_count_states(g);
    if (n == BERTH_COUNT(failed))
        berth_registry_model_failed(g); /* there may be more */
}
