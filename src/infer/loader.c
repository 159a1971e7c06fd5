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

bool
berth_plan_wants(const struct berth_plan *p, const struct berth_version_dir *dir)
{
    switch (p->conf.versions) {
    case BERTH_VERSIONS_LATEST:
        return dir->number == p->dirs.at[p->dirs.len - 1].number;
    case BERTH_VERSIONS_ALL:
        return true;
    case BERTH_VERSIONS_LIST:
        for (uint32_t i = 0; i < p->conf.version_len; i++) {
            if (p->conf.version_list[i] == dir->number)
                return true;
        }
        return false;
    }
    return false;
}

void
berth_slot_set_last(struct berth_slot *s, struct berth_model *m)
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
            berth_slot_set_last(s, NULL);
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
    (void)snprintf(x->used_backend, sizeof x->used_backend, "%.64s", p->ops->name);
}

/* ---- stopping models ---- */

static void
stop_model(struct berth_registry *g, struct berth_model *m)
{
    berth_model_stop(m, drain_ns, &g->closing);
    berth_series_sub(m->series.memory, m->memory_bytes);
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
    stop_model(g, t->m);
    free(t);
    berth_registry_count_states(g);
    (void)pthread_mutex_lock(&g->jobs_mu);
    g->retiring--;
    (void)pthread_cond_broadcast(&g->jobs_cond);
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return NULL;
}

void
berth_retire(struct berth_registry *g, struct berth_model *m)
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
        stop_model(g, m);
        (void)pthread_mutex_lock(&g->jobs_mu);
        g->retiring--;
        (void)pthread_cond_broadcast(&g->jobs_cond);
        (void)pthread_mutex_unlock(&g->jobs_mu);
    }
    (void)pthread_attr_destroy(&attr);
}

/* Take the serving model out of a slot; the caller retires what it gets. */
static struct berth_model *
take_serving_locked(struct berth_slot *s)
{
    struct berth_model *m = s->serving;

    s->serving = NULL;
    return m;
}

/* ---- loading ---- */

/* What of the memory of this process is its own, in bytes; shared pages by their share. */
static uint64_t
process_bytes(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    unsigned long long kb = 0;
    char line[256];

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "Pss: %llu kB", &kb) == 1)
            break;
    }
    if (f != NULL)
        (void)fclose(f);
    return (uint64_t)kb * 1024;
}

/* Load m and measure what it takes.  Loads that overlap share the growth that they saw. */
static int
start_measured(struct berth_registry *g, struct berth_model *m, uint32_t threads,
               struct berth_err *e)
{
    uint64_t before = process_bytes();
    unsigned begun = atomic_fetch_add(&g->loads_begun, 1);
    unsigned sharers = atomic_fetch_add(&g->loads_now, 1) + 1;
    int r = berth_model_start(m, threads, e);
    uint64_t after = process_bytes();

    sharers += atomic_load(&g->loads_begun) - begun - 1;
    (void)atomic_fetch_sub(&g->loads_now, 1);
    if (r < 0)
        return r;
    uint64_t grown = after > before ? (after - before) / sharers : 0;
    m->memory_bytes = grown > m->engine_bytes ? grown : m->engine_bytes;
    berth_series_add(m->series.memory, m->memory_bytes);
    berth_series_observe(m->series.load_seconds, (double)m->load_ns / 1e9);
    return 0;
}

/* Work in a process of its own, if that is wanted. */
static int
isolate(struct berth_registry *g, const struct berth_plan *p, struct berth_model_make *make,
        struct berth_err *e)
{
    const struct berth_isolation_conf *c = &p->conf.isolation;

    if (c->said ? !c->process : !g->conf.isolate)
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

static int
make_model(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
           const struct berth_version_dir *dir, struct berth_model **ret, struct berth_err *e)
{
    const char *path = p->dirs.in_folders ? berth_arena_printf((struct berth_arena *)&p->arena,
                                                               "%s/%s", x->path, dir->label)
                                          : x->path;
    struct berth_batch_conf batch;

    if (path == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "model %s: out of memory", x->name);
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
    return r < 0 ? r : berth_model_new(&make, ret, e);
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
        berth_slot_set_last(s, m);
        s->generation = generation;
        if (ready) {
            old = take_serving_locked(s);
            berth_model_ref(m);
            s->serving = m;
        }
    }
    (void)pthread_rwlock_unlock(&g->lock);
    if (old != NULL) {
        berth_model_leave(old, "a newer load serves in its place");
        berth_retire(g, old);
    }
    berth_waits_settle(g, x);
}

/* Load a version anew.  0 when it serves now. */
static int
load_version(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
             const struct berth_version_dir *dir, uint64_t generation)
{
    struct berth_err e = {""};
    struct berth_model *m;
    int r = make_model(g, x, p, dir, &m, &e);

    if (r < 0) {
        berth_error("model %s: %s", x->name, e.msg);
        return r;
    }
    berth_info("model %s: loading version %s with %s", x->name, dir->label, p->ops->name);
    r = start_measured(g, m, p->conf.threads != 0 ? p->conf.threads : g->conf.cores, &e);
    if (r < 0)
        berth_warn("model %s: version %s failed to load: %s", x->name, dir->label, e.msg);
    else
        berth_info("model %s: version %s is ready after %llu ms, %llu MiB", x->name, dir->label,
                   (unsigned long long)(m->load_ns / BERTH_MS),
                   (unsigned long long)(m->memory_bytes >> 20));
    publish(g, x, dir->label, generation, m, r == 0);
    return r;
}

void
berth_retire_all(struct berth_registry *g, struct berth_entry *x, bool all)
{
    struct berth_model *retired[BERTH_VERSION_DIRS_MAX];
    size_t n = 0;

    (void)pthread_rwlock_wrlock(&g->lock);
    for (size_t i = 0; i < x->slot_len; i++) {
        if ((all || !x->slots[i].wanted) && x->slots[i].serving != NULL)
            retired[n++] = take_serving_locked(&x->slots[i]);
    }
    (void)pthread_rwlock_unlock(&g->lock);
    for (size_t i = 0; i < n; i++) {
        berth_model_leave(retired[i], all ? "asked to unload" : "not wanted any more");
        berth_retire(g, retired[i]);
    }
}

static void
load_entry(struct berth_registry *g, struct berth_entry *x, uint64_t generation)
{
    struct berth_version_dir wanted[BERTH_VERSION_DIRS_MAX];
    struct berth_err e = {""};
    struct berth_plan p;
    size_t n = 0, ready = 0;
    int r = berth_plan_init(g, x->path, x->backend, x->config, &p, &e);

    (void)pthread_rwlock_wrlock(&g->lock);
    (void)snprintf(x->why, sizeof x->why, "%s", r < 0 ? e.msg : "");
    if (r == 0)
        berth_entry_plan_locked(x, &p);
    for (size_t i = x->slot_len; r == 0 && i > 0; i--) { /* the latest first: it is asked for */
        const struct berth_slot *s = &x->slots[i - 1];
        if (s->wanted)
            wanted[n++] = s->dir;
    }
    if (r == 0 && n == 0)
        (void)snprintf(x->why, sizeof x->why, "config.versions: none of them is in the folder");
    (void)pthread_rwlock_unlock(&g->lock);
    if (r < 0) {
        berth_warn("model %s: %s", x->name, e.msg);
        return;
    }
    for (size_t i = 0; i < n && !atomic_load(&g->closing); i++)
        ready += load_version(g, x, &p, &wanted[i], generation) == 0;
    if (ready > 0)
        berth_retire_all(g, x, false);
    berth_plan_fini(&p);
}

void
berth_entry_free(struct berth_entry *x)
{
    berth_assert(x->waits == NULL);
    for (size_t i = 0; i < x->slot_len; i++) {
        berth_assert(x->slots[i].serving == NULL);
        berth_slot_set_last(&x->slots[i], NULL);
    }
    berth_stats_unref(x->stats);
    struct berth_arena arena = x->arena;
    free(x);
    berth_arena_fini(&arena);
}

/* Make x what it is wished to be. */
static void
work(struct berth_registry *g, struct berth_entry *x)
{
    (void)pthread_rwlock_rdlock(&g->lock);
    uint64_t wish = x->wish;
    bool load = x->wish_loaded && !x->gone, due = x->wish != x->achieved;
    (void)pthread_rwlock_unlock(&g->lock);
    if (!due)
        return;
    if (load)
        load_entry(g, x, wish);
    else
        berth_retire_all(g, x, true);
    (void)pthread_rwlock_wrlock(&g->lock);
    x->achieved = wish;
    (void)pthread_rwlock_unlock(&g->lock);
    berth_waits_settle(g, x);
    berth_registry_count_states(g);
}

/* Models that gave up by themselves: out of service, and their memory back. */
static void
retire_failed(struct berth_registry *g)
{
    struct berth_model *failed[64];
    size_t n = 0;

    (void)pthread_rwlock_wrlock(&g->lock);
    for (struct berth_entry *x = g->by_name; x != NULL; x = x->by_name.next) {
        for (size_t i = 0; i < x->slot_len && n < BERTH_COUNT(failed); i++) {
            struct berth_slot *s = &x->slots[i];
            if (s->serving != NULL && berth_model_state(s->serving, NULL) == BERTH_MODEL_FAILED)
                failed[n++] = take_serving_locked(s);
        }
    }
    (void)pthread_rwlock_unlock(&g->lock);
    for (size_t i = 0; i < n; i++) {
        berth_error("model %s: failed: %s", failed[i]->name, failed[i]->why);
        berth_retire(g, failed[i]);
    }
    berth_registry_count_states(g);
    if (n == BERTH_COUNT(failed))
        berth_registry_model_failed(g); /* there may be more */
}

/* ---- the pool ---- */

void
berth_registry_model_failed(void *registry)
{
    struct berth_registry *g = registry;

    (void)pthread_mutex_lock(&g->jobs_mu);
    g->failed_seen = true;
    (void)pthread_cond_broadcast(&g->jobs_cond);
    (void)pthread_mutex_unlock(&g->jobs_mu);
}

static void
queue_locked(struct berth_registry *g, struct berth_entry *x)
{
    if (x->queued)
        return;
    x->queued = true;
    if (x->busy)
        return; /* its loader will look again */
    x->job_next = NULL;
    if (g->jobs_first == NULL)
        g->jobs_first = x;
    else
        g->jobs_last->job_next = x;
    g->jobs_last = x;
    (void)pthread_cond_broadcast(&g->jobs_cond);
}

void
berth_loader_queue(struct berth_registry *g, struct berth_entry *x)
{
    (void)pthread_mutex_lock(&g->jobs_mu);
    queue_locked(g, x);
    (void)pthread_mutex_unlock(&g->jobs_mu);
}

/* Work on x until nobody queued it meanwhile; free it when it is gone.  Holds jobs_mu outside. */
static void
work_locked(struct berth_registry *g, struct berth_entry *x)
{
    bool gone = false;

    x->busy = true;
    while (x->queued && !g->stop) {
        x->queued = false;
        (void)pthread_mutex_unlock(&g->jobs_mu);
        work(g, x);
        (void)pthread_rwlock_rdlock(&g->lock);
        gone = x->gone;
        (void)pthread_rwlock_unlock(&g->lock);
        (void)pthread_mutex_lock(&g->jobs_mu);
    }
    x->busy = false;
    if (x->queued) { /* stopped: left to berth_registry_free() */
        x->queued = false;
        queue_locked(g, x);
        return;
    }
    if (gone) /* out of the tables: nobody else knows it */
        berth_entry_free(x);
}

static void *
loader_main(void *arg)
{
    struct berth_registry *g = arg;

    (void)pthread_setname_np(pthread_self(), "berth-loader");
    (void)pthread_mutex_lock(&g->jobs_mu);
    while (!g->stop) {
        if (g->failed_seen) {
            g->failed_seen = false;
            (void)pthread_mutex_unlock(&g->jobs_mu);
            retire_failed(g);
            (void)pthread_mutex_lock(&g->jobs_mu);
        } else if (g->jobs_first != NULL) {
            struct berth_entry *x = g->jobs_first;
            g->jobs_first = x->job_next;
            work_locked(g, x);
        } else {
            (void)pthread_cond_wait(&g->jobs_cond, &g->jobs_mu);
        }
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return NULL;
}

int
berth_loaders_start(struct berth_registry *g, struct berth_err *e)
{
    uint32_t n = g->conf.loaders == 0 ? 2 : g->conf.loaders;

    n = n > BERTH_LOADERS_MAX ? BERTH_LOADERS_MAX : n;
    while (g->loader_len < n) {
        if (pthread_create(&g->loaders[g->loader_len], NULL, loader_main, g) != 0) {
            berth_loaders_stop(g);
            return berth_err_set(e, BERTH_ENOMEM, "registry: cannot start its loader threads");
        }
        g->loader_len++;
    }
    return 0;
}

void
berth_loaders_stop(struct berth_registry *g)
{
    (void)pthread_mutex_lock(&g->jobs_mu);
    g->stop = true;
    (void)pthread_cond_broadcast(&g->jobs_cond);
    (void)pthread_mutex_unlock(&g->jobs_mu);
    for (uint32_t i = 0; i < g->loader_len; i++)
        (void)pthread_join(g->loaders[i], NULL);
    g->loader_len = 0;
}
