#include "deploy/events.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/num.h"
#include "store/store.h"
#include "wire/json.h"

enum { KEY_MAX = 32, READ_AT_ONCE = 64, LOAD_BYTES_MAX = 256 << 20 };

/* One event in memory; texts are malloc'd. */
struct kept {
    char *type, *service_id, *json;
    size_t json_len;
    uint64_t wall_ns;
};

struct berth_events {
    struct berth_store *store;
    const struct berth_deploy_clock *clock; /* NULL: the system's */
    uint32_t max;
    pthread_mutex_t commit; /* one change after the other, so that numbers have no gaps */

    pthread_mutex_t mu;                /* never held while the disk is waited for */
    struct kept *ring;                 /* under mu: event N is at ring[N % max] */
    uint64_t first, next;              /* under mu: the oldest that is kept, the next to come */
    struct berth_event_watch *watches; /* under mu */
    struct berth_event_watch *telling; /* under mu: its changed() runs */
    bool untold;                       /* under mu: something came while somebody tells */
    pthread_cond_t told;               /* telling has changed */
};

/* ---- in memory ---- */

static void
kept_fini(struct kept *k)
{
    free(k->type);
    free(k->service_id);
    free(k->json);
    *k = (struct kept){.type = NULL};
}

static bool
kept_init(struct kept *k, const char *type, const char *service_id, struct berth_slice json,
          uint64_t wall_ns)
{
    *k = (struct kept){.type = strdup(type),
                       .service_id = service_id != NULL ? strdup(service_id) : NULL,
                       .json = malloc(json.len + 1),
                       .json_len = json.len,
                       .wall_ns = wall_ns};
    if (k->type == NULL || k->json == NULL || (service_id != NULL && k->service_id == NULL)) {
        kept_fini(k);
        return false;
    }
    memcpy(k->json, json.at, json.len);
    k->json[json.len] = '\0';
    return true;
}

static void
keep_locked(struct berth_events *ev, struct kept *k)
{
    struct kept *at = &ev->ring[ev->next % ev->max];

    if (ev->next - ev->first >= ev->max)
        ev->first++;
    kept_fini(at);
    *at = *k;
    ev->next++;
}

static const char *
event_key(uint64_t seq, char ret[KEY_MAX])
{
    (void)snprintf(ret, KEY_MAX, "event/%016llx", (unsigned long long)seq);
    return ret;
}

static uint64_t
event_number(const char *key)
{
    return strtoull(key + strlen("event/"), NULL, 16);
}

/* ---- from the store ---- */

static uint64_t
wall_of(const char *text)
{
    struct tm tm = {0};
    const char *end = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    unsigned us = 0;

    if (end == NULL)
        return 0;
    (void)sscanf(end, ".%6u", &us); /* NOLINT(cert-err34-c): our own text; 0 will do */
    return (uint64_t)timegm(&tm) * BERTH_S + us * 1000u;
}

static int
load_one(struct berth_events *ev, struct berth_arena *a, const struct berth_record *r,
         struct berth_err *e)
{
    const struct berth_json *v = NULL;
    struct berth_slice type = {"", 0}, id = {NULL, 0}, at = {NULL, 0};
    struct kept k;
    uint64_t seq = 0;

    if (berth_json_parse(a, r->value.at, r->value.len, NULL, &v, NULL) < 0 ||
        !berth_json_uint(berth_json_get(v, "seq"), &seq) || seq == 0)
        return 0; /* not ours to lose a service for */
    (void)berth_json_string(berth_json_get(v, "type"), &type);
    (void)berth_json_string(berth_json_get(v, "serviceId"), &id);
    (void)berth_json_string(berth_json_get(v, "time"), &at);
    if (!kept_init(&k, type.at, id.at, r->value, wall_of(at.at)))
        return berth_err_set(e, BERTH_ENOMEM, "events: out of memory");
    if (seq != ev->next) /* a gap: what is before it is not kept */
        ev->first = ev->next = seq;
    keep_locked(ev, &k);
    return 0;
}

static int
load(struct berth_events *ev, struct berth_err *e)
{
    struct berth_arena a, each;
    struct berth_record *records;
    size_t count = 0;
    int r;

    berth_arena_init(&a, LOAD_BYTES_MAX);
    berth_arena_init(&each, 4 << 20);
    r = berth_store_list(ev->store, &a, "event/", &records, &count, e);
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = load_one(ev, &each, &records[i], e);
        berth_arena_reset(&each);
    }
    /* More than are kept now: a smaller number was set, or there was a gap. */
    for (size_t i = 0; r == 0 && i < count && event_number(records[i].key) < ev->first; i++)
        r = berth_store_delete(ev->store, records[i].key, e);
    berth_arena_fini(&each);
    berth_arena_fini(&a);
    return r < 0 ? berth_err_wrap(e, r, "events") : 0;
}

int
berth_events_new(struct berth_store *store, uint32_t max, const struct berth_deploy_clock *clock,
                 struct berth_events **ret, struct berth_err *e)
{
    struct berth_events *ev = calloc(1, sizeof *ev);
    int r;

    if (ev != NULL)
        ev->ring = calloc(max, sizeof *ev->ring);
    if (ev == NULL || ev->ring == NULL) {
        free(ev);
        return berth_err_set(e, BERTH_ENOMEM, "events: out of memory");
    }
    ev->store = store;
    ev->clock = clock;
    ev->max = max;
    ev->first = ev->next = 1;
    (void)pthread_mutex_init(&ev->commit, NULL);
    (void)pthread_mutex_init(&ev->mu, NULL);
    (void)pthread_cond_init(&ev->told, NULL);
    r = load(ev, e);
    if (r < 0)
        berth_events_free(ev);
    else
        *ret = ev;
    return r;
}

void
berth_events_free(struct berth_events *ev)
{
    if (ev == NULL)
        return;
    for (uint32_t i = 0; i < ev->max; i++)
        kept_fini(&ev->ring[i]);
    (void)pthread_cond_destroy(&ev->told);
    (void)pthread_mutex_destroy(&ev->mu);
    (void)pthread_mutex_destroy(&ev->commit);
    free(ev->ring);
    free(ev);
}

/* ---- what happens ---- */

static int
render(const struct berth_event *event, uint64_t seq, uint64_t wall_ns, struct berth_buf *b)
{
    char time[BERTH_TIME_TEXT];
    struct berth_jw w;
    size_t n = event->members != NULL ? strlen(event->members) : 0;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "seq");
    berth_jw_uint(&w, seq);
    berth_jw_key(&w, "time");
    berth_jw_string(&w, berth_time_text(wall_ns, time));
    berth_jw_key(&w, "type");
    berth_jw_string(&w, event->type);
    if (event->service_id != NULL) {
        berth_jw_key(&w, "serviceId");
        berth_jw_string(&w, event->service_id);
    }
    if (n > 2) { /* "{...}": its inside */
        berth_assert(event->members[0] == '{' && event->members[n - 1] == '}');
        berth_buf_putc(b, ',');
        berth_buf_put(b, event->members + 1, n - 2);
    }
    berth_jw_object_end(&w);
    return b->failed ? -BERTH_ENOMEM : 0;
}

/* Tell every watch, each with no lock held.  One thread tells at a time; one that finds another at
 * it has that one go round again. */
static void
tell(struct berth_events *ev)
{
    (void)pthread_mutex_lock(&ev->mu);
    ev->untold = true;
    while (ev->untold && ev->telling == NULL) {
        ev->untold = false;
        for (struct berth_event_watch *w = ev->watches; w != NULL; w = ev->telling->next) {
            ev->telling = w;
            (void)pthread_cond_broadcast(&ev->told);
            (void)pthread_mutex_unlock(&ev->mu);
            w->changed(w);
            (void)pthread_mutex_lock(&ev->mu);
        }
        ev->telling = NULL;
        (void)pthread_cond_broadcast(&ev->told);
    }
    (void)pthread_mutex_unlock(&ev->mu);
}

struct commit {
    struct berth_store_op ops[BERTH_STORE_OPS_MAX];
    size_t op_count;
    char put_keys[BERTH_EVENTS_AT_ONCE_MAX][KEY_MAX], drop_keys[BERTH_EVENTS_AT_ONCE_MAX][KEY_MAX];
    struct kept kept[BERTH_EVENTS_AT_ONCE_MAX];
};

/* Fill in the events' records, and the removal of those that are no longer kept. */
static int
prepare(struct berth_events *ev, struct commit *c, const struct berth_event *events, size_t count,
        struct berth_err *e)
{
    const uint64_t wall_ns =
        ev->clock != NULL ? ev->clock->wall_ns(ev->clock->arg) : berth_wall_ns();
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    for (size_t i = 0; i < count; i++) {
        const uint64_t seq = ev->next + i; /* only commit() moves it, and this is within one */
        bool ok;

        b.len = 0;
        ok = render(&events[i], seq, wall_ns, &b) == 0 &&
             kept_init(&c->kept[i], events[i].type, events[i].service_id,
                       (struct berth_slice){b.at, b.len}, wall_ns);
        if (!ok) {
            berth_buf_fini(&b);
            return berth_err_set(e, BERTH_ENOMEM, "events: out of memory");
        }
        c->ops[c->op_count++] =
            (struct berth_store_op){.kind = BERTH_STORE_PUT,
                                    .key = event_key(seq, c->put_keys[i]),
                                    .value = {c->kept[i].json, c->kept[i].json_len}};
        if (seq - ev->first >= ev->max)
            c->ops[c->op_count++] = (struct berth_store_op){
                .kind = BERTH_STORE_DELETE, .key = event_key(seq - ev->max, c->drop_keys[i])};
    }
    berth_buf_fini(&b);
    return 0;
}

int
berth_events_commit(struct berth_events *ev, const struct berth_store_op *ops, size_t op_count,
                    const struct berth_event *events, size_t event_count, struct berth_err *e)
{
    struct commit *c;
    int r;

    if (event_count > BERTH_EVENTS_AT_ONCE_MAX ||
        op_count > BERTH_STORE_OPS_MAX - 2 * event_count || op_count + event_count == 0)
        return berth_err_set(e, BERTH_EINVAL, "events: %zu changes with %zu events at once",
                             op_count, event_count);
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "events: out of memory");
    if (op_count > 0)
        memcpy(c->ops, ops, op_count * sizeof *ops);
    c->op_count = op_count;
    (void)pthread_mutex_lock(&ev->commit);
    r = prepare(ev, c, events, event_count, e);
    if (r == 0)
        r = berth_store_txn(ev->store, c->ops, c->op_count, NULL, e);
    if (r == 0 && event_count > 0) {
        (void)pthread_mutex_lock(&ev->mu);
        for (size_t i = 0; i < event_count; i++) {
            keep_locked(ev, &c->kept[i]);
            c->kept[i] = (struct kept){.type = NULL}; /* the ring's now */
        }
        (void)pthread_mutex_unlock(&ev->mu);
    }
    (void)pthread_mutex_unlock(&ev->commit);
    if (r == 0 && event_count > 0)
        tell(ev);
    for (size_t i = 0; i < event_count; i++)
        kept_fini(&c->kept[i]);
    free(c);
    return r;
}

/* ---- looking ---- */

static bool
fits(const struct kept *k, const struct berth_event_query *q)
{
    return (q->service_id == NULL ||
            (k->service_id != NULL && strcmp(k->service_id, q->service_id) == 0)) &&
           (q->type == NULL || strncmp(k->type, q->type, strlen(q->type)) == 0) &&
           k->wall_ns >= q->since_wall_ns;
}

struct copied {
    uint64_t seq;
    size_t at, len;
};

/* Copy up to READ_AT_ONCE of the events from *at on that fit; *at: where to go on. */
static size_t
copy_some(struct berth_events *ev, const struct berth_event_query *q, uint64_t *at,
          struct copied *ret, struct berth_buf *text)
{
    size_t n = 0;

    text->len = 0;
    (void)pthread_mutex_lock(&ev->mu);
    if (*at < ev->first)
        *at = ev->first;
    for (; *at < ev->next && n < READ_AT_ONCE && !text->failed; (*at)++) {
        const struct kept *k = &ev->ring[*at % ev->max];

        if (!fits(k, q))
            continue;
        ret[n++] = (struct copied){.seq = *at, .at = text->len, .len = k->json_len};
        berth_buf_put(text, k->json, k->json_len + 1);
    }
    (void)pthread_mutex_unlock(&ev->mu);
    return n;
}

int
berth_events_read(struct berth_events *ev, const struct berth_event_query *q,
                  bool (*each)(void *arg, uint64_t seq, struct berth_slice json), void *arg,
                  uint64_t *ret_last, struct berth_err *e)
{
    struct copied some[READ_AT_ONCE];
    struct berth_buf text;
    uint64_t at, last;
    size_t left = q->limit > 0 ? q->limit : 1000;
    bool more = true;
    int r = 0;

    berth_buf_init(&text, NULL);
    (void)pthread_mutex_lock(&ev->mu);
    /* Who has seen more than there is has seen another store's: this one is new to him. */
    last = q->after < ev->next ? q->after : 0;
    (void)pthread_mutex_unlock(&ev->mu);
    at = last + 1;
    while (more && left > 0) {
        const size_t n = copy_some(ev, q, &at, some, &text);

        if (text.failed) {
            r = berth_err_set(e, BERTH_ENOMEM, "events: out of memory");
            break;
        }
        last = at - 1 > last ? at - 1 : last; /* also past those that do not fit */
        for (size_t i = 0; more && i < n; i++, left--) {
            if (left == 0)
                break;
            more = each(arg, some[i].seq, (struct berth_slice){text.at + some[i].at, some[i].len});
            if (!more || left == 1)
                last = some[i].seq;
        }
        more = more && n == READ_AT_ONCE;
    }
    berth_buf_fini(&text);
    if (r == 0)
        *ret_last = last;
    return r;
}

void
berth_events_watch(struct berth_events *ev, struct berth_event_watch *w)
{
    (void)pthread_mutex_lock(&ev->mu);
    w->next = ev->watches;
    w->link = &ev->watches;
    if (w->next != NULL)
        w->next->link = &w->next;
    ev->watches = w;
    (void)pthread_mutex_unlock(&ev->mu);
}

void
berth_events_unwatch(struct berth_events *ev, struct berth_event_watch *w)
{
    (void)pthread_mutex_lock(&ev->mu);
    while (ev->telling == w)
        (void)pthread_cond_wait(&ev->told, &ev->mu);
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    w->next = NULL;
    w->link = NULL;
    (void)pthread_mutex_unlock(&ev->mu);
}
