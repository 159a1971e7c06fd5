#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "infer/registry_priv.h"
#include "store/store.h"
#include "wire/json.h"

/* What is known of models' memory, in the store: records "memory/0000", ..., each for some models.
 * They are written together, since a model may move from one to another.  A crash loses what was
 * learned in the last seconds, and nothing else. */

enum { MODELS_EACH = 1200, RECORDS_MAX = 8 }; /* more models than that are not remembered */
static const uint64_t save_ns = 10 * BERTH_S;

static void
put_forecast(struct berth_jw *w, const char *key, const struct berth_forecast *f)
{
    berth_jw_key(w, key);
    berth_jw_object(w);
    berth_jw_pair_uint(w, "bytes", f->bytes);
    berth_jw_pair_uint(w, "load_ns", f->load_ns);
    berth_jw_pair_uint(w, "evicted", f->evicted);
    berth_jw_pair_uint(w, "known", f->by);
    berth_jw_pair_uint(w, "wall", f->wall_ns);
    berth_jw_object_end(w);
}

static void
put_entry(struct berth_jw *w, const struct berth_entry *x)
{
    berth_jw_key(w, x->name);
    berth_jw_object(w);
    berth_jw_pair_uint(w, "bytes", x->known_bytes);
    berth_jw_pair_uint(w, "load_ns", x->known_load_ns);
    berth_jw_pair_uint(w, "used", atomic_load(&((struct berth_entry *)x)->used_wall_ns));
    put_forecast(w, "predicted", &x->predicted);
    put_forecast(w, "measured", &x->measured);
    berth_jw_object_end(w);
}

static void
put_lessons(struct berth_jw *w, const struct berth_room *room)
{
    berth_jw_key(w, "backends");
    berth_jw_object(w);
    for (size_t i = 0; i < room->lesson_len; i++) {
        const struct berth_lesson *l = &room->lessons[i];
        berth_jw_key(w, l->backend);
        berth_jw_object(w);
        berth_jw_pair_uint(w, "permille", l->permille);
        berth_jw_pair_uint(w, "base", l->base);
        berth_jw_pair_uint(w, "bytes_per_s", l->bytes_per_s);
        berth_jw_object_end(w);
    }
    berth_jw_object_end(w);
}

/* The next record's text, from entry `x` on; returns the first that did not go in. */
static const struct berth_entry *
put_record_locked(const struct berth_registry *g, struct berth_buf *b, const struct berth_entry *x)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    put_lessons(&w, &g->room);
    if (x == g->by_name) /* the first record only */
        berth_room_put_seen(&w, &g->room);
    berth_jw_key(&w, "models");
    berth_jw_object(&w);
    for (int n = 0; x != NULL && n < MODELS_EACH; x = x->by_name.next) {
        if (x->ephemeral || x->known_bytes == 0)
            continue;
        put_entry(&w, x);
        n++;
    }
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return x;
}

/* All of the records, and none that was there for more models. */
static void
write_records(struct berth_registry *g, struct berth_buf *records, size_t n)
{
    struct berth_store_op ops[RECORDS_MAX];
    char keys[RECORDS_MAX][24];
    struct berth_err e = {"out of memory"};
    bool whole = true;

    for (size_t i = 0; i < RECORDS_MAX; i++) {
        const char *text = i < n ? berth_buf_text(&records[i]) : NULL;
        whole = whole && (i >= n || text != NULL);
        (void)snprintf(keys[i], sizeof keys[i], "memory/%04zu", i);
        ops[i] = (struct berth_store_op){.kind = i < n ? BERTH_STORE_PUT : BERTH_STORE_DELETE,
                                         .key = keys[i],
                                         .value = {text, i < n ? records[i].len : 0}};
    }
    if (!whole || berth_store_txn(g->conf.store, ops, RECORDS_MAX, NULL, &e) < 0)
        berth_warn("what is known of models' memory is not kept: %s", e.msg);
}

void
berth_room_save(struct berth_registry *g, bool now)
{
    struct berth_buf records[RECORDS_MAX];
    size_t n = 0;

    (void)pthread_rwlock_wrlock(&g->lock);
    const uint64_t at = berth_now_ns();
    if (!g->room.dirty || (!now && at - g->room.saved_ns < save_ns)) {
        (void)pthread_rwlock_unlock(&g->lock);
        return;
    }
    g->room.dirty = false;
    g->room.saved_ns = at;
    const struct berth_entry *x = g->by_name;
    do {
        berth_buf_init(&records[n], NULL);
        x = put_record_locked(g, &records[n++], x);
    } while (x != NULL && n < BERTH_COUNT(records));
    (void)pthread_rwlock_unlock(&g->lock);
    write_records(g, records, n);
    for (size_t i = 0; i < n; i++)
        berth_buf_fini(&records[i]);
}

/* ---- reading ---- */

static uint64_t
number(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

static struct berth_forecast
read_forecast(const struct berth_json *v)
{
    const uint64_t by = number(v, "known");

    return (struct berth_forecast){.bytes = number(v, "bytes"),
                                   .load_ns = number(v, "load_ns"),
                                   .evicted = (uint32_t)number(v, "evicted"),
                                   .by = by <= BERTH_BY_BACKEND ? (enum berth_forecast_by)by
                                                                : BERTH_BY_FILES,
                                   .wall_ns = number(v, "wall")};
}

static void
read_record_locked(struct berth_registry *g, const struct berth_json *v)
{
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "models"));
         berth_json_next(&it);) {
        struct berth_entry *x = berth_entry_find_locked(g, it.key);
        if (x == NULL)
            continue;
        x->known_bytes = number(it.value, "bytes");
        x->known_load_ns = x->item.load_ns = number(it.value, "load_ns");
        atomic_store(&x->used_wall_ns, number(it.value, "used"));
        x->predicted = read_forecast(berth_json_get(it.value, "predicted"));
        x->measured = read_forecast(berth_json_get(it.value, "measured"));
    }
    berth_room_read_seen_locked(&g->room, v);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(v, "backends"));
         berth_json_next(&it) && g->room.lesson_len < BERTH_LESSONS_MAX;) {
        struct berth_lesson *l = &g->room.lessons[0];
        while (l < &g->room.lessons[g->room.lesson_len] && !berth_slice_is(it.key, l->backend))
            l++;
        g->room.lesson_len += l == &g->room.lessons[g->room.lesson_len];
        (void)snprintf(l->backend, sizeof l->backend, "%.*s", (int)it.key.len, it.key.at);
        l->permille = number(it.value, "permille");
        l->base = number(it.value, "base");
        l->bytes_per_s = number(it.value, "bytes_per_s") + 1;
    }
}

void
berth_room_restore(struct berth_registry *g, struct berth_arena *a)
{
    struct berth_record *records = NULL;
    struct berth_err e;
    size_t count = 0;

    if (berth_store_list(g->conf.store, a, "memory/", &records, &count, &e) < 0) {
        berth_warn("what was known of models' memory is lost: %s", e.msg);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct berth_json *v = NULL;
        if (berth_json_parse(a, records[i].value.at, records[i].value.len, NULL, &v, &e) < 0) {
            berth_warn("%s: damaged, and made anew: %s", records[i].key, e.msg);
            continue;
        }
        (void)pthread_rwlock_wrlock(&g->lock);
        read_record_locked(g, v);
        (void)pthread_rwlock_unlock(&g->lock);
    }
}
