#include "kube/event.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/siphash.h"
#include "kube/client.h"
#include "kube/limit.h"
#include "wire/json.h"

enum {
    KNOWN_MAX = 1024, /* events that a repetition is counted in */
    WAITING_MAX = 512,
    NAME_MAX_BYTES = 253,
    SPACE_MAX = 64,
    REASON_MAX = 128,
    NOTE_MAX = 1024,
    VERSION_MAX = 32,
    TEXT_ARENA_MAX = 64 * 1024,
    QPS = 20,
    BURST = 50,
    CALL_S = 10,
    TRIES = 3,
};
static const uint64_t series_ns = 360 * BERTH_S, flush_ns = BERTH_S;

static const struct berth_kube_kind events_kind = {"events.k8s.io/v1", "Event", "events", false};

/* One that was told; in the order of the first telling. */
struct known {
    uint8_t sum[BERTH_SIPHASH_BYTES]; /* of what it says, and about whom */
    char version[VERSION_MAX];        /* the object's, when it was told last */
    char *text;                       /* to be created with; NULL: the server has it */
    uint64_t told_ns;
    unsigned count; /* so far */
    bool waits, in_work;
    struct known *next; /* of those that wait */
    UT_hash_handle hh;
    const char *space; /* behind the name */
    char name[];       /* of the Event; there may be many, so no longer than it is */
};

struct berth_kube_events {
    struct berth_kube *k;
    struct berth_kube_events_conf conf;
    char instance[REASON_MAX + 1];
    uint8_t key[BERTH_SIPHASH_KEY];
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t wake; /* something waits, or it is to end; CLOCK_MONOTONIC */
    /* Under mu. */
    struct known *known, *first, *last;
    uint64_t ends_ns; /* 0: it goes on */
    struct berth_kube_events_stats stats;
    /* The thread's. */
    struct berth_kube_limit limit;
    bool troubled;
};

/* ---- an event as text ---- */

/* As many bytes of it as there is room for, without half a character at the end. */
static size_t
cut(const char *text, size_t cap)
{
    size_t n = strnlen(text, cap + 1);

    if (n > cap)
        for (n = cap; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;)
            n--;
    return n;
}

static void
put_cut(struct berth_jw *w, const char *key, const char *text, size_t cap)
{
    berth_jw_key(w, key);
    berth_jw_string_n(w, text, cut(text, cap));
}

static void
put_event(struct berth_kube_events *r, const struct berth_kube_event *x, const char *name,
          struct berth_buf *b)
{
    char now[BERTH_TIME_TEXT];
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "apiVersion", events_kind.group_version);
    berth_jw_pair(&w, "kind", events_kind.kind);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_pair(&w, "name", name);
    berth_jw_pair(&w, "namespace", x->space);
    berth_jw_object_end(&w);
    berth_jw_key(&w, "regarding");
    berth_jw_object(&w);
    berth_jw_pair(&w, "apiVersion", x->api_version);
    berth_jw_pair(&w, "kind", x->kind);
    berth_jw_pair(&w, "namespace", x->space);
    berth_jw_pair(&w, "name", x->name);
    berth_jw_pair(&w, "uid", x->uid);
    berth_jw_object_end(&w);
    berth_jw_pair(&w, "type", x->warning ? "Warning" : "Normal");
    put_cut(&w, "reason", x->reason, REASON_MAX);
    put_cut(&w, "action", x->action, REASON_MAX);
    put_cut(&w, "note", x->note, NOTE_MAX);
    berth_jw_pair(&w, "eventTime", berth_time_text(berth_wall_ns(), now));
    berth_jw_pair(&w, "reportingController", r->conf.controller);
    berth_jw_pair(&w, "reportingInstance", r->instance);
    berth_jw_object_end(&w);
}

static void
put_series(unsigned count, struct berth_buf *b)
{
    char now[BERTH_TIME_TEXT];
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "series");
    berth_jw_object(&w);
    berth_jw_key(&w, "count");
    berth_jw_uint(&w, count);
    berth_jw_pair(&w, "lastObservedTime", berth_time_text(berth_wall_ns(), now));
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
}

static void
sum_of(const struct berth_kube_events *r, const struct berth_kube_event *x,
       uint8_t ret[BERTH_SIPHASH_BYTES])
{
    const char *const parts[] = {x->api_version, x->kind,   x->space,  x->name,
                                 x->uid,         x->reason, x->action, x->note};
    struct berth_siphash s;

    berth_siphash_init(&s, r->key);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        berth_siphash_put(&s, parts[i], strlen(parts[i]) + 1);
    berth_siphash_end(&s, ret);
}

/* ---- what is known; mu is held ---- */

static void
forget_locked(struct berth_kube_events *r, struct known *x)
{
    HASH_DEL(r->known, x);
    free(x->text);
    free(x);
}

/* One that is over, or the oldest; those that wait or are in work stay. */
static void
make_room_locked(struct berth_kube_events *r)
{
    struct known *x, *next;

    HASH_ITER(hh, r->known, x, next)
    {
        if (x->waits || x->in_work)
            continue;
        forget_locked(r, x);
        if (HASH_COUNT(r->known) < KNOWN_MAX)
            return;
    }
}

static struct known *
find_locked(struct berth_kube_events *r, const uint8_t sum[BERTH_SIPHASH_BYTES])
{
    struct known *x = NULL;

    HASH_FIND(hh, r->known, sum, BERTH_SIPHASH_BYTES, x);
    if (x == NULL || x->waits || x->in_work || berth_now_ns() - x->told_ns <= series_ns)
        return x;
    forget_locked(r, x); /* long ago: that is another event */
    return NULL;
}

static struct known *
add_locked(struct berth_kube_events *r, const struct berth_kube_event *event,
           const uint8_t sum[BERTH_SIPHASH_BYTES], const char *name, const struct berth_buf *text)
{
    if (HASH_COUNT(r->known) >= KNOWN_MAX)
        make_room_locked(r);
    const size_t name_bytes = strlen(name) + 1, space_bytes = strlen(event->space) + 1;
    struct known *x =
        HASH_COUNT(r->known) < KNOWN_MAX ? calloc(1, sizeof *x + name_bytes + space_bytes) : NULL;
    if (x == NULL || (x->text = strndup(text->at, text->len)) == NULL) {
        free(x);
        return NULL;
    }
    memcpy(x->sum, sum, sizeof x->sum);
    memcpy(x->name, name, name_bytes);
    x->space = memcpy(x->name + name_bytes, event->space, space_bytes);
    HASH_ADD(hh, r->known, sum, sizeof x->sum, x);
    if (x->hh.tbl != NULL)
        return x;
    free(x->text);
    free(x);
    return NULL;
}

static void
enqueue_locked(struct berth_kube_events *r, struct known *x)
{
    x->waits = true;
    x->next = NULL;
    if (r->last != NULL)
        r->last->next = x;
    else
        r->first = x;
    r->last = x;
    r->stats.waiting++;
    (void)pthread_cond_signal(&r->wake);
}

static struct known *
dequeue_locked(struct berth_kube_events *r)
{
    struct known *x = r->first;

    r->first = x->next;
    if (r->first == NULL)
        r->last = NULL;
    x->waits = false;
    r->stats.waiting--;
    return x;
}

bool
berth_kube_events_tell(struct berth_kube_events *r, const struct berth_kube_event *event)
{
    uint8_t sum[BERTH_SIPHASH_BYTES];
    char name[NAME_MAX_BYTES + 1];
    struct berth_arena a;
    struct berth_buf text;

    if (r == NULL)
        return true;
    sum_of(r, event, sum);
    (void)snprintf(name, sizeof name, "%.200s.%016" PRIx64, event->name, berth_random_u64());
    berth_arena_init(&a, TEXT_ARENA_MAX);
    berth_buf_init(&text, &a);
    put_event(r, event, name, &text);
    (void)pthread_mutex_lock(&r->mu);
    struct known *x = find_locked(r, sum);
    const bool old = x != NULL && event->version != NULL && strcmp(x->version, event->version) == 0;
    if (!old && (x == NULL || !x->waits) &&
        (r->stats.waiting >= WAITING_MAX || r->ends_ns > 0 || text.failed ||
         strlen(event->space) >= SPACE_MAX))
        r->stats.dropped++;
    else if (x == NULL && (x = add_locked(r, event, sum, name, &text)) == NULL)
        r->stats.dropped++;
    else if (!old) {
        x->count++;
        x->told_ns = berth_now_ns();
        (void)snprintf(x->version, sizeof x->version, "%s",
                       event->version != NULL ? event->version : "");
        if (!x->waits)
            enqueue_locked(r, x);
    }
    (void)pthread_mutex_unlock(&r->mu);
    berth_arena_fini(&a);
    return !old;
}

/* ---- the thread ---- */

static bool
is_over(void *arg)
{
    struct berth_kube_events *r = arg;

    (void)pthread_mutex_lock(&r->mu);
    const bool over = r->ends_ns > 0 && berth_now_ns() >= r->ends_ns;
    (void)pthread_mutex_unlock(&r->mu);
    return over || (r->conf.may_send != NULL && !r->conf.may_send(r->conf.arg));
}

/* x is in work: it stays, and its name, space and text do not change. */
static int
send_one(struct berth_kube_events *r, const struct known *x, unsigned count, struct berth_err *e)
{
    const struct berth_kube_until until = {.deadline_ns = berth_now_ns() + CALL_S * BERTH_S,
                                           .cancelled = is_over,
                                           .arg = r,
                                           .tries_max = TRIES};
    const struct berth_kube_ref ref = {.kind = &events_kind, .space = x->space, .name = x->name};
    struct berth_arena a;
    struct berth_buf b;
    int result;

    berth_arena_init(&a, TEXT_ARENA_MAX);
    if (x->text != NULL) {
        result = berth_kube_create(r->k, &until, &a, &ref, berth_slice_of(x->text), NULL, e);
        if (result == -BERTH_EEXIST) /* its answer was lost before */
            result = 0;
    } else {
        berth_buf_init(&b, &a);
        put_series(count, &b);
        result = b.failed ? berth_err_set(e, BERTH_ENOMEM, "out of memory")
                          : berth_kube_merge(r->k, &until, &a, &ref,
                                             (struct berth_slice){b.at, b.len}, NULL, e);
    }
    berth_arena_fini(&a);
    return result;
}

/* mu is held.  Until something waits and its turn has come; false: it is to end. */
static bool
wait_locked(struct berth_kube_events *r)
{
    while (r->first == NULL && r->ends_ns == 0)
        (void)pthread_cond_wait(&r->wake, &r->mu);
    if (r->first == NULL)
        return false;
    const uint64_t now = berth_now_ns();
    const uint64_t at = now + berth_kube_limit_take(&r->limit, now, series_ns);
    const struct timespec until = {.tv_sec = (time_t)(at / BERTH_S),
                                   .tv_nsec = (long)(at % BERTH_S)};
    while (berth_now_ns() < at && (r->ends_ns == 0 || at < r->ends_ns))
        (void)pthread_cond_timedwait(&r->wake, &r->mu, &until);
    return r->ends_ns == 0 || (at < r->ends_ns && berth_now_ns() < r->ends_ns);
}

static void
tell_trouble(struct berth_kube_events *r, int result, const char *why)
{
    const bool is = result < 0;

    if (is != r->troubled && r->conf.troubled != NULL && !(is && is_over(r)))
        r->conf.troubled(r->conf.arg, is ? why : NULL);
    r->troubled = is;
}

static void
work_locked(struct berth_kube_events *r)
{
    struct known *x = dequeue_locked(r);
    const bool make = x->text != NULL;
    const unsigned count = x->count;
    struct berth_err e = {""};

    x->in_work = true;
    (void)pthread_mutex_unlock(&r->mu);
    const int result = send_one(r, x, count, &e);
    tell_trouble(r, make || result != -BERTH_ENOENT ? result : 0, e.msg);
    (void)pthread_mutex_lock(&r->mu);
    x->in_work = false;
    r->stats.sent += result == 0;
    r->stats.failed += result < 0;
    if (result == 0 && make) {
        free(x->text);
        x->text = NULL;
        if (x->count > 1 && !x->waits) /* it was told again before */
            enqueue_locked(r, x);
    } else if (result < 0 && !x->waits && (make || result == -BERTH_ENOENT)) {
        forget_locked(r, x); /* it is not there: what is told again is told anew */
    }
}

static void *
run(void *arg)
{
    struct berth_kube_events *r = arg;

    (void)pthread_setname_np(pthread_self(), "berth-events");
    (void)pthread_mutex_lock(&r->mu);
    while (wait_locked(r))
        work_locked(r);
    r->stats.dropped += r->stats.waiting;
    (void)pthread_mutex_unlock(&r->mu);
    return NULL;
}

/* ---- begin and end ---- */

int
berth_kube_events_new(struct berth_kube *k, const struct berth_kube_events_conf *conf,
                      struct berth_kube_events **ret, struct berth_err *e)
{
    struct berth_kube_events *r = calloc(1, sizeof *r);
    pthread_condattr_t attr;

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    r->k = k;
    r->conf = *conf;
    (void)snprintf(r->instance, sizeof r->instance, "%.*s", (int)cut(conf->instance, REASON_MAX),
                   conf->instance);
    for (size_t i = 0; i < sizeof r->key; i += sizeof(uint64_t)) {
        const uint64_t part = berth_random_u64();
        memcpy(r->key + i, &part, sizeof part);
    }
    berth_kube_limit_init(&r->limit, QPS, BURST, berth_now_ns());
    (void)pthread_mutex_init(&r->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        (void)pthread_cond_destroy(&r->wake);
        (void)pthread_mutex_destroy(&r->mu);
        free(r);
        return berth_err_set(e, BERTH_ELIMIT, "no thread to be had for events");
    }
    *ret = r;
    return 0;
}

void
berth_kube_events_free(struct berth_kube_events *r)
{
    struct known *x, *next;

    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&r->mu);
    r->ends_ns = berth_now_ns() + flush_ns;
    (void)pthread_cond_broadcast(&r->wake);
    (void)pthread_mutex_unlock(&r->mu);
    (void)pthread_join(r->thread, NULL);
    HASH_ITER(hh, r->known, x, next)
    forget_locked(r, x);
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->mu);
    free(r);
}

struct berth_kube_events_stats
berth_kube_events_stats(struct berth_kube_events *r)
{
    (void)pthread_mutex_lock(&r->mu);
    const struct berth_kube_events_stats ret = r->stats;
    (void)pthread_mutex_unlock(&r->mu);
    return ret;
}
