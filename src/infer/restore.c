#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/registry_priv.h"
#include "store/store.h"
#include "wire/json.h"

/* What was registered before a restart. */

enum { RECORD_BYTES_MAX = 64 << 20 };
/* Of all records together: more than the store gets from any number of models that fit. */
static const size_t records_bytes_max = (size_t)64 << 30;

static const char *
member_text(const struct berth_json *v, const char *key)
{
    struct berth_slice text;

    return berth_json_string(berth_json_get(v, key), &text) ? text.at : NULL;
}

/* One record back into the tables; why: what is wrong with it. */
static int
restore_one(struct berth_registry *g, struct berth_arena *a, const struct berth_record *record,
            struct berth_err *e)
{
    const struct berth_json *v = NULL;
    struct berth_err inner = {"the record has no path or identity"};
    struct berth_entry *x;
    uint64_t created;
    int bad = berth_json_parse(a, record->value.at, record->value.len, NULL, &v, &inner);
    const char *id = member_text(v, "id"), *desired = member_text(v, "desired");
    struct berth_model_spec spec = {.name = record->key + strlen("model/"),
                                    .path = member_text(v, "path"),
                                    .backend = member_text(v, "backend"),
                                    .model_type = member_text(v, "type"),
                                    .config = berth_json_get(v, "config")};

    if (spec.path == NULL || id == NULL || strlen(id) + 1 != BERTH_UUID_TEXT) {
        bad = -BERTH_EINVAL;
        spec.path = "/";
        id = NULL;
    }
    spec.no_load = bad < 0 || (desired != NULL && strcmp(desired, "unloaded") == 0);
    int r = berth_entry_new(&spec, &x, e);
    if (r < 0)
        return r;
    if (id != NULL)
        memcpy(x->id, id, BERTH_UUID_TEXT);
    if (berth_json_uint(berth_json_get(v, "created"), &created))
        x->created_wall_ns = created;
    if (bad < 0)
        (void)snprintf(x->why, sizeof x->why, "its record in the store is damaged: %.300s",
                       inner.msg);
    (void)pthread_rwlock_wrlock(&g->lock);
    bool taken = berth_entry_find_locked(g, berth_slice_of(x->name)) != NULL;
    if (!taken)
        berth_entry_put_locked(g, x);
    (void)pthread_rwlock_unlock(&g->lock);
    if (taken)
        berth_entry_free(x);
    return 0;
}

static int
compare_use(const void *a, const void *b)
{
    struct berth_entry *const *x = a, *const *y = b;
    const uint64_t used_x = atomic_load(&(*x)->used_wall_ns),
                   used_y = atomic_load(&(*y)->used_wall_ns);

    return (used_x < used_y) - (used_x > used_y);
}

/* What was loaded comes back as far as there is room, what was used last first. */
static int
queue_restored(struct berth_registry *g, struct berth_arena *a, struct berth_err *e)
{
    size_t n = 0;

    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry **all =
        BERTH_NEW_N(a, struct berth_entry *, HASH_CNT(by_name, g->by_name) + 1);
    for (struct berth_entry *x = g->by_name; all != NULL && x != NULL; x = x->by_name.next) {
        if (x->wish != x->achieved)
            all[n++] = x;
    }
    (void)pthread_rwlock_unlock(&g->lock);
    if (all == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "registry: out of memory");
    qsort(all, n, sizeof all[0], compare_use); /* they stay: change_mu is held */
    for (size_t i = 0; i < n; i++)
        berth_loader_queue(g, all[i]);
    return 0;
}

int
berth_registry_restore(struct berth_registry *g, struct berth_err *e)
{
    struct berth_arena a, one; /* of all records; of one's tree */
    struct berth_record *records;
    size_t count;

    berth_arena_init(&a, records_bytes_max);
    berth_arena_init(&one, RECORD_BYTES_MAX);
    (void)pthread_mutex_lock(&g->change_mu);
    int r = berth_store_list(g->conf.store, &a, "model/", &records, &count, e);
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = restore_one(g, &one, &records[i], e);
        berth_arena_reset(&one);
    }
    if (r == 0) {
        berth_room_restore(g, &one);
        r = queue_restored(g, &one, e);
    }
    (void)pthread_mutex_unlock(&g->change_mu);
    berth_arena_fini(&one);
    berth_arena_fini(&a);
    berth_registry_count_states(g);
    return r;
}
