#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "infer/registry_priv.h"

/* What a load would mean, without loading. */

static int
victims_locked(const struct berth_ledger_choice *c, struct berth_arena *a,
               struct berth_load_plan *ret, struct berth_err *e)
{
    struct berth_plan_victim *v = BERTH_NEW_N(a, struct berth_plan_victim, c->victim_count + 1);

    for (uint32_t i = 0; v != NULL && i < c->victim_count; i++) {
        const struct berth_entry *x = c->victims[i]->owner;
        v[i] = (struct berth_plan_victim){.name = berth_arena_strdup(a, x->name),
                                          .bytes = x->item.held.on[0],
                                          .reload_ns = x->item.load_ns};
        if (v[i].name == NULL)
            v = NULL;
    }
    if (v == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory left for the plan");
    ret->victims = v;
    ret->victim_count = c->victim_count;
    return 0;
}

static int
ask_ledger(struct berth_registry *g, struct berth_arena *a, const char *name,
           const struct berth_forecast *f, struct berth_load_plan *ret, struct berth_err *e)
{
    const uint64_t now = berth_now_ns();
    struct berth_ledger_ask ask = {
        .need = {{f->bytes}}, .since_ns = now, .now_ns = now, .evict = true};
    struct berth_err why = {""};

    (void)pthread_rwlock_wrlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, berth_slice_of(name));
    ask.self = x != NULL ? &x->item : NULL;
    berth_room_look_locked(g, now);
    const struct berth_ledger_choice c = berth_ledger_choose(&g->room.ledger, &ask);
    ret->sums = berth_ledger_sums(&g->room.ledger, 0);
    int r = victims_locked(&c, a, ret, e);
    (void)pthread_rwlock_unlock(&g->lock);
    if (c.verdict == BERTH_LEDGER_WAIT || c.verdict == BERTH_LEDGER_NEVER)
        (void)berth_room_tell(&ret->sums, name, f, &c, &why);
    ret->verdict = c.verdict;
    ret->bytes = f->bytes;
    ret->load_ns = f->load_ns;
    ret->by = f->by;
    ret->why = berth_arena_strdup(a, why.msg);
    return r;
}

/* What is wanted of it and not loaded, together. */
static struct berth_forecast
forecast(struct berth_registry *g, const struct berth_entry *x, const struct berth_plan *p,
         const char *path)
{
    struct berth_forecast sum = {.by = BERTH_BY_LOAD};

    for (size_t i = 0; i < p->dirs.len; i++) {
        char full[4096];
        if (!berth_plan_wants(p, &p->dirs.at[i]))
            continue;
        (void)snprintf(full, sizeof full, p->dirs.in_folders ? "%s/%s" : "%s", path,
                       p->dirs.at[i].label);
        const struct berth_forecast f = berth_room_forecast(g, x, p, full);
        sum.bytes += f.bytes;
        sum.load_ns += f.load_ns;
        if (f.by != BERTH_BY_LOAD)
            sum.by = f.by;
    }
    return sum;
}

/* Copies of what a registered model is planned by, since it may go meanwhile. */
struct copied {
    struct berth_arena arena;
    const char *name, *path, *backend;
    const struct berth_json *config;
    struct berth_entry known; /* only what a forecast looks at */
    bool loaded;
};

static int
copy_entry(struct berth_registry *g, struct berth_slice name_or_id, struct copied *c,
           struct berth_err *e)
{
    int r = 0;

    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, name_or_id);
    if (x == NULL) {
        r = berth_entry_unknown(name_or_id, e);
    } else {
        c->name = berth_arena_strdup(&c->arena, x->name);
        c->path = berth_arena_strdup(&c->arena, x->path);
        c->backend = berth_arena_strdup(&c->arena, x->backend);
        c->known.known_bytes = x->known_bytes;
        c->known.known_load_ns = x->known_load_ns;
        c->loaded = berth_entry_serving(x) != NULL;
        r = berth_config_merge(&c->arena, x->config->tree, NULL, &c->config, e);
        if (c->name == NULL || c->path == NULL || c->backend == NULL)
            r = berth_err_set(e, BERTH_ENOMEM, "no memory left for the plan");
    }
    (void)pthread_rwlock_unlock(&g->lock);
    return r;
}

static int
plan_copied(struct berth_registry *g, struct berth_arena *a, const struct copied *c,
            struct berth_load_plan *ret, struct berth_err *e)
{
    struct berth_plan p;
    int r = berth_plan_init(g, c->path, c->backend, c->config, &p, e);

    if (r < 0)
        return r;
    const struct berth_forecast f = forecast(g, &c->known, &p, c->path);
    *ret = (struct berth_load_plan){.name = berth_arena_strdup(a, c->name),
                                    .backend = berth_arena_strdup(a, p.ops->name),
                                    .loaded = c->loaded};
    berth_plan_fini(&p);
    if (ret->name == NULL || ret->backend == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory left for the plan");
    (void)berth_registry_memory(g); /* as of now */
    return ask_ledger(g, a, c->name, &f, ret, e);
}

int
berth_registry_plan(struct berth_registry *g, struct berth_arena *a, struct berth_slice name_or_id,
                    const char *path, const char *backend, const struct berth_json *config,
                    struct berth_load_plan *ret, struct berth_err *e)
{
    struct copied *c = BERTH_NEW(a, struct copied);
    int r = 0;

    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory left for the plan");
    berth_arena_init(&c->arena, 16 << 20);
    c->name = "";
    c->path = path;
    c->backend = backend != NULL ? backend : "";
    c->config = config;
    if (name_or_id.len > 0)
        r = copy_entry(g, name_or_id, c, e);
    if (r == 0)
        r = plan_copied(g, a, c, ret, e);
    berth_arena_fini(&c->arena);
    return r;
}
