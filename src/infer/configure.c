#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "infer/registry_priv.h"
#include "wire/json.h"

/* A registration's config, and changing it while the model serves; which version a request gets. */

enum { CONFIG_BYTES_MAX = 4 << 20, PATCH_DEPTH_MAX = 8 };

int
berth_entry_config_new(const struct berth_json *tree, struct berth_entry_config **ret,
                       struct berth_err *e)
{
    struct berth_entry_config *c = calloc(1, sizeof *c);

    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "config: out of memory");
    atomic_init(&c->refs, 1);
    berth_arena_init(&c->arena, CONFIG_BYTES_MAX);
    const int r = berth_config_merge(&c->arena, tree, NULL, &c->tree, e);
    if (r < 0) {
        berth_entry_config_unref(c);
        return r;
    }
    *ret = c;
    return 0;
}

void
berth_entry_config_unref(struct berth_entry_config *c)
{
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    berth_arena_fini(&c->arena);
    free(c);
}

struct berth_entry_config *
berth_entry_config(struct berth_registry *g, struct berth_entry *x)
{
    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry_config *c = x->config;
    (void)atomic_fetch_add(&c->refs, 1);
    (void)pthread_rwlock_unlock(&g->lock);
    return c;
}

/* ---- which version ---- */

bool
berth_plan_wants(const struct berth_plan *p, const struct berth_version_dir *dir)
{
    if (berth_versions_named(&p->conf.routes, dir->number))
        return true;
    switch (p->conf.versions) {
    case BERTH_VERSIONS_LATEST:
        return p->dirs.len <= p->conf.version_latest ||
               dir->number >= p->dirs.at[p->dirs.len - p->conf.version_latest].number;
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

static struct berth_slot *
slot_of(struct berth_entry *x, uint64_t number)
{
    for (size_t i = 0; i < x->slot_len; i++) {
        if (x->slots[i].dir.number == number)
            return &x->slots[i];
    }
    return NULL;
}

struct berth_slot *
berth_entry_slot(struct berth_entry *x, struct berth_slice version)
{
    uint64_t number;

    for (size_t i = 0; i < x->slot_len; i++) {
        if (berth_slice_is(version, x->slots[i].dir.label))
            return &x->slots[i];
    }
    return berth_versions_labelled(&x->routes, version.at, version.len, &number)
               ? slot_of(x, number)
               : NULL;
}

struct berth_slot *
berth_entry_choose(struct berth_entry *x)
{
    const struct berth_version_routes *r = &x->routes;
    struct berth_slot *ready[BERTH_VERSION_NAMES_MAX];
    uint32_t weights[BERTH_VERSION_NAMES_MAX];
    size_t n = 0;

    if (r->share_len == 0)
        return berth_entry_serving(x);
    /* A version that is not ready leaves its share to the others. */
    for (uint32_t i = 0; i < r->share_len; i++) {
        struct berth_slot *s = r->shares[i].weight > 0 ? slot_of(x, r->shares[i].number) : NULL;
        if (s == NULL || s->serving == NULL)
            continue;
        ready[n] = s;
        weights[n++] = r->shares[i].weight;
    }
    if (n == 0)
        return NULL;
    return ready[berth_versions_pick(
        weights, n, atomic_fetch_add_explicit(&x->ticket, 1, memory_order_relaxed))];
}

/* ---- changing ---- */

/* RFC 7386, written out: what of `from` the patch leaves, then what it brings. */
static int
put_patched(struct berth_jw *w, const struct berth_json *from, const struct berth_json *patch,
            int depth, struct berth_err *e)
{
    const bool object = berth_json_type(from) == BERTH_JSON_OBJECT;
    int r = 0;

    if (berth_json_type(patch) != BERTH_JSON_OBJECT) {
        berth_jw_value(w, patch);
        return 0;
    }
    if (depth == PATCH_DEPTH_MAX)
        return berth_err_set(e, BERTH_EINVAL, "config: nested deeper than %d levels",
                             PATCH_DEPTH_MAX);
    berth_jw_object(w);
    for (struct berth_json_iter it = berth_json_iter(object ? from : NULL); berth_json_next(&it);) {
        if (berth_json_get(patch, it.key.at) != NULL)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
    for (struct berth_json_iter it = berth_json_iter(patch); r == 0 && berth_json_next(&it);) {
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        r = put_patched(w, object ? berth_json_get(from, it.key.at) : NULL, it.value, depth + 1, e);
    }
    berth_jw_object_end(w);
    return r;
}

static int
patched(const struct berth_json *from, const struct berth_json *patch,
        struct berth_entry_config **ret, struct berth_err *e)
{
    const struct berth_json *tree;
    struct berth_arena a;
    struct berth_buf text;
    struct berth_jw w;

    berth_arena_init(&a, CONFIG_BYTES_MAX);
    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    int r = put_patched(&w, from, patch, 0, e);
    const char *json = berth_buf_text(&text);
    if (r == 0 && json == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "config: out of memory");
    if (r == 0 && (r = berth_json_parse(&a, json, text.len, NULL, &tree, e)) == 0)
        r = berth_entry_config_new(tree, ret, e);
    berth_buf_fini(&text);
    berth_arena_fini(&a);
    return r;
}

static bool
is_equal(const struct berth_json *a, const struct berth_json *b)
{
    struct berth_buf x, y;

    if (a == NULL || b == NULL)
        return a == b;
    berth_buf_init(&x, NULL);
    berth_buf_init(&y, NULL);
    berth_json_put(&x, a);
    berth_json_put(&y, b);
    const char *s = berth_buf_text(&x), *t = berth_buf_text(&y);
    const bool equal = s != NULL && t != NULL && strcmp(s, t) == 0;
    berth_buf_fini(&x);
    berth_buf_fini(&y);
    return equal;
}

/* Members of a that b has not, or otherwise, and that a model takes over only by a load. */
static bool
has_fixed(const struct berth_json *a, const struct berth_json *b)
{
    static const char *const live[] = {"versions", "max_batch_size", "max_batch_wait_ms",
                                       "queue_len", "description"};
    static const char *const padding[] = {"pad", "cut", "length_buckets"};

    for (struct berth_json_iter it = berth_json_iter(a); berth_json_next(&it);) {
        const struct berth_json *other = berth_json_get(b, it.key.at);
        bool fixed = !is_equal(it.value, other);
        for (size_t i = 0; i < BERTH_COUNT(live); i++)
            fixed = fixed && !berth_slice_is(it.key, live[i]);
        if (fixed && berth_slice_is(it.key, "batching")) {
            fixed = false;
            for (size_t i = 0; i < BERTH_COUNT(padding); i++)
                fixed = fixed || !is_equal(berth_json_get(it.value, padding[i]),
                                           berth_json_get(other, padding[i]));
        }
        if (fixed)
            return true;
    }
    return false;
}

/* Take the new config over; true: something is to be loaded or unloaded. */
static bool
adopt_locked(struct berth_registry *g, struct berth_entry *x, const struct berth_plan *p,
             const struct berth_json *old)
{
    bool reload = has_fixed(old, x->config->tree) || has_fixed(x->config->tree, old);

    for (size_t i = 0; i < p->dirs.len; i++) {
        const struct berth_slot *s = slot_of(x, p->dirs.at[i].number);
        reload = reload || s == NULL || s->wanted != berth_plan_wants(p, &p->dirs.at[i]);
    }
    x->routes = p->conf.routes;
    for (size_t i = 0; i < x->slot_len; i++) {
        if (x->slots[i].serving != NULL)
            berth_model_conf_set(x->slots[i].serving, &p->conf, &g->conf.batch);
    }
    if (x->wish_loaded && reload) {
        x->wish++;
        x->asked = x->asked || berth_entry_serving(x) != NULL; /* who serves goes on serving */
        berth_loader_queue(g, x);
    }
    return x->wish_loaded && reload;
}

static int
configure_held(struct berth_registry *g, struct berth_entry *x, const struct berth_json *patch,
               bool *ret_reload, struct berth_err *e)
{
    struct berth_entry_config *old = x->config, *config; /* it changes under change_mu only */
    struct berth_plan p;
    int r = patched(old->tree, patch, &config, e);

    if (r < 0)
        return r;
    if ((r = berth_plan_init(g, x->path, x->backend, config->tree, &p, e)) < 0) {
        berth_entry_config_unref(config);
        return r;
    }
    r = berth_entry_store(g, x, config->tree, x->wish_loaded, e);
    if (r == 0) {
        (void)pthread_rwlock_wrlock(&g->lock);
        x->config = config;
        *ret_reload = adopt_locked(g, x, &p, old->tree);
        (void)pthread_rwlock_unlock(&g->lock);
    }
    berth_plan_fini(&p);
    berth_entry_config_unref(r == 0 ? old : config);
    return r;
}

int
berth_registry_configure(struct berth_registry *g, struct berth_slice name_or_id,
                         const struct berth_json *patch, bool *ret_reload, struct berth_err *e)
{
    if (berth_json_type(patch) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "config: expected an object, got %s",
                             berth_json_type_name(patch));
    (void)pthread_mutex_lock(&g->change_mu);
    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, name_or_id);
    (void)pthread_rwlock_unlock(&g->lock);
    /* It stays in the tables: only who has change_mu takes it out. */
    const int r =
        x != NULL ? configure_held(g, x, patch, ret_reload, e) : berth_entry_unknown(name_or_id, e);
    (void)pthread_mutex_unlock(&g->change_mu);
    if (r == 0)
        berth_registry_count_states(g);
    return r;
}
