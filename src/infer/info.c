#include <stdlib.h>
#include <string.h>

#include "infer/registry_priv.h"
#include "plugin/workers.h"
#include "wire/json.h"

const char *
berth_model_name(const struct berth_model *m)
{
    return m->name;
}

const char *
berth_model_id(const struct berth_model *m)
{
    return m->id;
}

const char *
berth_model_version(const struct berth_model *m)
{
    return m->version;
}

const char *
berth_model_backend(const struct berth_model *m)
{
    return m->ops->name;
}

const struct berth_describe *
berth_model_describe(const struct berth_model *m)
{
    return atomic_load_explicit(&((struct berth_model *)m)->describe, memory_order_acquire);
}

size_t
berth_model_output_bytes(const struct berth_model *m)
{
    return atomic_load_explicit(&((struct berth_model *)m)->output_bytes, memory_order_relaxed);
}

const struct berth_json *
berth_model_manifest(const struct berth_model *m)
{
    return m->conf.merged;
}

bool
berth_model_caches(const struct berth_model *m)
{
    return m->cache != NULL;
}

static int
copy_specs(struct berth_arena *a, const struct berth_tensor_spec *from, size_t count,
           const struct berth_tensor_spec **ret)
{
    struct berth_tensor_spec *specs = BERTH_NEW_N(a, struct berth_tensor_spec, count + 1);

    if (specs == NULL)
        return -BERTH_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        specs[i] = from[i];
        specs[i].name = berth_arena_strdup(a, from[i].name);
        if (specs[i].name == NULL)
            return -BERTH_ENOMEM;
    }
    *ret = specs;
    return 0;
}

struct berth_describe *
berth_describe_copy(struct berth_arena *a, const struct berth_describe *from)
{
    struct berth_describe *d = BERTH_NEW(a, struct berth_describe);

    if (d == NULL)
        return NULL;
    memcpy(d, from, from->struct_size < sizeof *d ? from->struct_size : sizeof *d);
    d->struct_size = sizeof *d;
    d->platform = berth_arena_strdup(a, d->platform != NULL ? d->platform : "");
    if (d->platform == NULL || copy_specs(a, d->inputs, d->input_count, &d->inputs) < 0 ||
        copy_specs(a, d->outputs, d->output_count, &d->outputs) < 0)
        return NULL;
    return d;
}

struct berth_slot *
berth_entry_serving(struct berth_entry *x)
{
    for (size_t i = x->slot_len; i > 0; i--) {
        if (x->slots[i - 1].serving != NULL)
            return &x->slots[i - 1];
    }
    return NULL;
}

enum berth_model_state
berth_slot_state(const struct berth_entry *x, const struct berth_slot *s, char why[480])
{
    bool pending = x->wish_loaded && x->wish != x->achieved;

    if (why != NULL)
        why[0] = '\0';
    if (s->serving != NULL)
        return berth_model_state(s->serving, why);
    if (pending && s->wanted && s->generation != x->wish)
        return BERTH_MODEL_LOADING;
    if (s->last != NULL) {
        enum berth_model_state state = berth_model_state(s->last, why);
        if (state == BERTH_MODEL_READY) /* just taken out of service, to be stopped */
            return BERTH_MODEL_DRAINING;
        if (state == BERTH_MODEL_UNLOADED && why != NULL)
            memcpy(why, x->room_why, sizeof x->room_why);
        return state;
    }
    if (x->why[0] != '\0' && s->wanted) {
        if (why != NULL)
            memcpy(why, x->why, sizeof x->why);
        return BERTH_MODEL_FAILED;
    }
    if (why != NULL)
        memcpy(why, x->room_why, sizeof x->room_why);
    return BERTH_MODEL_UNLOADED;
}

enum berth_model_state
berth_entry_state(const struct berth_entry *x, char why[480])
{
    const struct berth_slot *s = berth_entry_serving((struct berth_entry *)x);
    bool pending = x->wish_loaded && x->wish != x->achieved;

    if (s != NULL)
        return berth_slot_state(x, s, why);
    if (why != NULL)
        why[0] = '\0';
    for (size_t i = x->slot_len; i > 0; i--) {
        const struct berth_slot *k = &x->slots[i - 1];
        if (k->wanted || (k->last != NULL && s == NULL))
            return berth_slot_state(x, k, why);
    }
    if (pending)
        return BERTH_MODEL_LOADING;
    if (x->why[0] == '\0')
        return BERTH_MODEL_UNLOADED;
    if (why != NULL)
        memcpy(why, x->why, sizeof x->why);
    return BERTH_MODEL_FAILED;
}

/* A tree of its own in a. */
static const struct berth_json *
copy_json(struct berth_arena *a, const struct berth_json *v)
{
    const struct berth_json *copy = NULL;

    return berth_config_merge(a, v, NULL, &copy, NULL) == 0 ? copy : NULL;
}

/* How it is addressed. */
static void
copy_routes(struct berth_arena *a, const struct berth_entry *x, const struct berth_slot *s,
            struct berth_model_version_info *ret)
{
    const struct berth_version_routes *r = &x->routes;
    uint64_t sum = 0;

    ret->labels = BERTH_NEW_N(a, const char *, r->label_len + 1);
    for (uint32_t i = 0; ret->labels != NULL && i < r->label_len; i++) {
        if (r->labels[i].number == s->dir.number)
            ret->labels[ret->label_count++] = berth_arena_strdup(a, r->labels[i].name);
    }
    for (uint32_t i = 0; i < r->share_len; i++)
        sum += r->shares[i].weight;
    for (uint32_t i = 0; i < r->share_len; i++) {
        if (r->shares[i].number == s->dir.number)
            ret->share = (double)r->shares[i].weight / (double)sum;
    }
    ret->split = r->share_len > 0;
}

/* Whose thread runs is not unloaded yet, so that its worker may be asked. */
static void
copy_workers_locked(struct berth_model *m, struct berth_model_version_info *ret)
{
    for (uint32_t i = 0; ret->isolated && i < m->instance_len; i++) {
        if (m->instances[i].ended || !m->instances[i].started)
            continue;
        const struct berth_isolated_state s = berth_isolated_state(m->instances[i].engine);
        ret->worker_pid = ret->worker_pid != 0 ? ret->worker_pid : s.pid;
        ret->worker_restarts += s.restarts;
    }
}

static void
copy_version(struct berth_arena *a, const struct berth_entry *x, const struct berth_slot *s,
             struct berth_model_version_info *ret)
{
    struct berth_model *m = s->serving != NULL ? s->serving : s->last;
    const struct berth_describe *d = m != NULL ? berth_model_describe(m) : NULL;
    char why[480];

    ret->state = berth_slot_state(x, s, why);
    ret->on_demand = s->wanted && berth_is_on_demand_locked(x, ret->state);
    ret->version = berth_arena_strdup(a, s->dir.label);
    ret->why = berth_arena_strdup(a, why);
    copy_routes(a, x, s, ret);
    (void)berth_stats_version_get(x->stats, s->dir.label, a, &ret->stats); /* else: zeros */
    if (m == NULL || d == NULL)
        return;
    ret->load_ns = m->load_ns;
    ret->loaded_wall_ns = m->loaded_wall_ns;
    ret->describe = berth_describe_copy(a, d);
    if (ret->state != BERTH_MODEL_READY && ret->state != BERTH_MODEL_DRAINING)
        return; /* what it had is given back */
    ret->instances = m->conf.instances;
    ret->memory_bytes = m->memory_bytes;
    ret->engine_bytes = m->engine_bytes;
    ret->threads = m->threads;
    ret->isolated = m->isolation.workers != NULL;
    (void)pthread_mutex_lock(&m->mu);
    copy_workers_locked(m, ret);
    ret->on_loop = m->batcher.at_once;
    (void)pthread_mutex_unlock(&m->mu);
    for (uint32_t i = 0; i < m->conf.instances; i++) {
        const uint32_t n = atomic_load(&m->instances[i].cores_given);
        ret->cores_given = n > ret->cores_given ? n : ret->cores_given;
    }
}

static void
add_load(struct berth_model *m, struct berth_model_info *ret)
{
    (void)pthread_mutex_lock(&m->mu);
    ret->queue_len += m->batcher.len + m->batcher.seq_len;
    for (uint32_t i = 0; i < m->instance_len; i++)
        ret->running += m->instances[i].running_len + m->instances[i].hand_len;
    (void)pthread_mutex_unlock(&m->mu);
}

static struct berth_model_memory
memory_of(const struct berth_entry *x)
{
    static const char *const loadings[] = {"start", "demand", "manual"};

    return (struct berth_model_memory){.held_bytes = x->item.held.on[0],
                                       .load = loadings[x->loading],
                                       .pinned = x->item.pinned,
                                       .in_use = x->item.in_use,
                                       .keep_alive_ns = x->keep_alive_ns,
                                       .predicted_bytes = x->predicted.bytes,
                                       .predicted_load_ns = x->predicted.load_ns,
                                       .predicted_by = x->predicted.by,
                                       .measured_bytes = x->measured.bytes,
                                       .measured_load_ns = x->measured.load_ns,
                                       .evicted = x->measured.evicted,
                                       .loaded_wall_ns = x->measured.wall_ns};
}

/* By what it does, when nobody said. */
static const char *
type_of(const struct berth_model_info *info)
{
    const struct berth_describe *d = NULL;

    for (size_t i = 0; i < info->version_count; i++)
        d = info->versions[i].describe != NULL ? info->versions[i].describe : d;
    if (d == NULL || strcmp(info->backend, "echo") == 0)
        return "Custom";
    if ((d->tasks & (BERTH_TASK_COMPLETION | BERTH_TASK_CHAT | BERTH_TASK_EMBEDDING)) != 0)
        return "LLM";
    return berth_json_get(info->manifest, "image") != NULL ? "CV" : "ML";
}

/* Nothing that waits, but for each model's own lock. */
static int
copy_info_locked(struct berth_registry *g, struct berth_arena *a, struct berth_entry *x,
                 struct berth_model_info *ret, struct berth_err *e)
{
    const struct berth_model *shown = NULL;
    const struct berth_slot *serving = berth_entry_serving(x);
    struct berth_model_version_info *versions =
        BERTH_NEW_N(a, struct berth_model_version_info, x->slot_len + 1);
    char why[480];

    *ret = (struct berth_model_info){
        .id = berth_arena_strdup(a, x->id),
        .name = berth_arena_strdup(a, x->name),
        .path = berth_arena_strdup(a, x->path),
        .backend = berth_arena_strdup(a, x->used_backend[0] != '\0' ? x->used_backend : x->backend),
        .state = berth_entry_state(x, why),
        .version = serving != NULL ? berth_arena_strdup(a, serving->dir.label) : "",
        .config = copy_json(a, x->config->tree),
        .created_wall_ns = x->created_wall_ns,
        .used_wall_ns = atomic_load(&x->used_wall_ns),
        .batch = g->conf.batch,
        .memory = memory_of(x),
    };
    ret->why = berth_arena_strdup(a, why);
    for (size_t i = 0; versions != NULL && i < x->slot_len; i++) {
        struct berth_slot *s = &x->slots[i];
        copy_version(a, x, s, &versions[i]);
        shown = s->last != NULL ? s->last : shown;
        if (s->serving != NULL)
            add_load(s->serving, ret);
    }
    if (serving != NULL)
        shown = serving->serving;
    if (shown != NULL) {
        ret->batch = berth_config_batch(&shown->conf, &g->conf.batch);
        (void)pthread_mutex_lock((pthread_mutex_t *)&shown->mu);
        ret->batching = berth_batcher_view(&shown->batcher);
        (void)pthread_mutex_unlock((pthread_mutex_t *)&shown->mu);
    }
    ret->manifest = copy_json(a, shown != NULL ? shown->conf.merged : x->config->tree);
    ret->versions = versions;
    ret->version_count = x->slot_len;
    berth_stats_get(x->stats, &ret->stats);
    (void)berth_stats_changes(x->stats, a, &ret->changes, &ret->change_count, &ret->change_total);
    if (ret->id == NULL || ret->name == NULL || ret->path == NULL || ret->backend == NULL ||
        ret->version == NULL || ret->config == NULL || ret->manifest == NULL || ret->why == NULL ||
        versions == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "model %s: no memory left for its description",
                             x->name);
    ret->model_type =
        x->model_type[0] != '\0' ? berth_arena_strdup(a, x->model_type) : type_of(ret);
    return ret->model_type != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "no memory left");
}

int
berth_registry_info(struct berth_registry *g, struct berth_arena *a, struct berth_slice name_or_id,
                    struct berth_model_info *ret, struct berth_err *e)
{
    struct berth_model_info info;

    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, name_or_id);
    int r = x != NULL ? copy_info_locked(g, a, x, &info, e) : berth_entry_unknown(name_or_id, e);
    (void)pthread_rwlock_unlock(&g->lock);
    if (r == 0)
        *ret = info;
    return r;
}

static int
compare(const void *a, const void *b)
{
    const struct berth_model_info *x = a, *y = b;

    return strcmp(x->name, y->name);
}

int
berth_registry_list(struct berth_registry *g, struct berth_arena *a, struct berth_model_info **ret,
                    size_t *ret_count, struct berth_err *e)
{
    size_t n = 0;
    int r = 0;

    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_model_info *list =
        BERTH_NEW_N(a, struct berth_model_info, HASH_CNT(by_name, g->by_name) + 1);
    if (list == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "no memory left for the list of models");
    for (struct berth_entry *x = g->by_name; r == 0 && x != NULL; x = x->by_name.next)
        r = copy_info_locked(g, a, x, &list[n++], e);
    (void)pthread_rwlock_unlock(&g->lock);
    if (r < 0)
        return r;
    qsort(list, n, sizeof *list, compare);
    *ret = list;
    *ret_count = n;
    return 0;
}

struct berth_registry_counts
berth_registry_counts(struct berth_registry *g)
{
    struct berth_registry_counts c = {0};

    (void)pthread_rwlock_rdlock(&g->lock);
    for (struct berth_entry *x = g->by_name; x != NULL; x = x->by_name.next) {
        struct berth_model_info load = {0};
        enum berth_model_state state = berth_entry_state(x, NULL);
        c.registered++;
        c.ready += state == BERTH_MODEL_READY;
        c.loading += state == BERTH_MODEL_LOADING;
        c.failed += state == BERTH_MODEL_FAILED;
        c.on_demand += berth_is_on_demand_locked(x, state);
        for (size_t i = 0; i < x->slot_len; i++) {
            if (x->slots[i].serving != NULL)
                add_load(x->slots[i].serving, &load);
        }
        c.queued += load.queue_len;
        c.running += load.running;
    }
    (void)pthread_rwlock_unlock(&g->lock);
    return c;
}
