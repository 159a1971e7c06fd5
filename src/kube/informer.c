#include "kube/informer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/random.h"
#include "kube/watch.h"
#include "net/client.h"
#include "wire/json.h"

enum {
    BYTES_MAX_MIB = 256,
    WATCH_S = 270, /* and up to a minute more, so that many do not end together */
    WATCH_S_MORE = 60,
    PAUSE_MS = 400,
    PAUSE_MS_MAX = 8000,
    TRIAL_S = 3,      /* of the first watch after trouble: that it lasts says that it works */
    SOON_S = 2,       /* a watch that ends by itself sooner is trouble */
    FAILURES_MAX = 3, /* of a watch, before a list is to tell whether anything works */
    LIST_S = 120,
    LIST_TRIES = 2, /* the second as the server asks; then the pauses are ours */
    TOLD_ARENA_MAX = 64 << 20,
};

struct berth_kube_informer {
    struct berth_kube *k;
    struct berth_kube_informer_conf conf;
    char *space, *labels, *fields;
    struct berth_client *http; /* the watch's connection */
    pthread_t thread;
    atomic_bool stopped;
    pthread_mutex_t mu;
    pthread_cond_t cond; /* synced or stopped */
    /* Under mu. */
    struct berth_kube_store *store;
    struct berth_kube_informer_state state;
    /* The thread's own. */
    char version[BERTH_KUBE_VERSION_TEXT];
    unsigned failures; /* in a row */
    unsigned expired;  /* in a row: watches whose version was too old as soon as they began */
    uint64_t resync_ns;
    int trouble; /* that was told last; 0: that it works */
};

/* ---- telling ---- */

static void
tell(struct berth_kube_informer *i, const struct berth_json *object, bool gone)
{
    if (i->conf.changed != NULL && !atomic_load(&i->stopped))
        i->conf.changed(i->conf.arg, object, gone);
}

static void
tell_trouble(struct berth_kube_informer *i, int r, const char *why)
{
    (void)pthread_mutex_lock(&i->mu);
    (void)snprintf(i->state.trouble, sizeof i->state.trouble, "%s", why != NULL ? why : "");
    i->state.failure = r;
    (void)pthread_mutex_unlock(&i->mu);
    if (r != i->trouble && i->conf.troubled != NULL && !atomic_load(&i->stopped))
        i->conf.troubled(i->conf.arg, r, why);
    i->trouble = r;
}

static void
tell_works(struct berth_kube_informer *i)
{
    tell_trouble(i, 0, NULL);
    i->failures = 0;
}

/* The text of what went, kept until the lock is given back. */
struct gone {
    struct berth_arena a;
    struct text {
        struct text *next;
        const char *at;
        size_t len;
    } * first;
};

static bool
keep_text(void *arg, const struct berth_kube_stored *one)
{
    struct gone *g = arg;
    struct text *t = BERTH_NEW(&g->a, struct text);
    const char *copy = berth_arena_strndup(&g->a, one->text.at, one->text.len);

    if (t != NULL && copy != NULL) {
        *t = (struct text){.next = g->first, .at = copy, .len = one->text.len};
        g->first = t;
    }
    return true;
}

static void
keep_gone(void *arg, const struct berth_kube_stored *one)
{
    (void)keep_text(arg, one);
}

static void
tell_texts(struct berth_kube_informer *i, const struct gone *g, bool gone)
{
    const struct berth_json *object;
    struct berth_arena a;

    berth_arena_init(&a, TOLD_ARENA_MAX);
    for (const struct text *t = g->first; t != NULL; t = t->next) {
        if (berth_json_parse(&a, t->at, t->len, NULL, &object, NULL) == 0)
            tell(i, object, gone);
        berth_arena_reset(&a);
    }
    berth_arena_fini(&a);
}

static void
resync(struct berth_kube_informer *i)
{
    struct gone all = {.first = NULL};

    if (i->conf.resync_ns == 0 || berth_now_ns() - i->resync_ns < i->conf.resync_ns)
        return;
    i->resync_ns = berth_now_ns();
    berth_arena_init(&all.a, i->conf.bytes_max + TOLD_ARENA_MAX);
    (void)pthread_mutex_lock(&i->mu);
    berth_kube_store_each(i->store, NULL, keep_text, &all);
    (void)pthread_mutex_unlock(&i->mu);
    tell_texts(i, &all, false);
    berth_arena_fini(&all.a);
}

/* ---- listing ---- */

static bool
is_stopped(void *arg)
{
    const struct berth_kube_informer *i = arg;

    return atomic_load(&i->stopped);
}

static int
put(struct berth_kube_informer *i, const struct berth_json *object)
{
    (void)pthread_mutex_lock(&i->mu);
    const int r = berth_kube_store_put(i->store, object);
    if (r == -BERTH_ELIMIT || r == -BERTH_ENOMEM)
        i->state.lossy = true;
    (void)pthread_mutex_unlock(&i->mu);
    return r;
}

static bool
take_listed(void *arg, const struct berth_json *object)
{
    struct berth_kube_informer *i = arg;

    if (put(i, object) != 0)
        tell(i, object, false);
    return !atomic_load(&i->stopped);
}

static int
list(struct berth_kube_informer *i, struct berth_err *e)
{
    const struct berth_kube_until until = {
        .deadline_ns = berth_now_ns() + LIST_S * BERTH_S,
        .cancelled = is_stopped,
        .arg = i,
        .tries_max = LIST_TRIES,
    };
    struct gone gone = {.first = NULL};

    (void)pthread_mutex_lock(&i->mu);
    i->state.lists++;
    i->state.lossy = false;
    berth_kube_store_begin(i->store);
    (void)pthread_mutex_unlock(&i->mu);
    const int r = berth_kube_list(i->k, &until, &i->conf.selection, take_listed, i, i->version, e);
    if (r < 0)
        return r; /* what is kept stays: it is the best that is known */
    berth_arena_init(&gone.a, i->conf.bytes_max + TOLD_ARENA_MAX);
    (void)pthread_mutex_lock(&i->mu);
    berth_kube_store_sweep(i->store, keep_gone, &gone);
    i->state.synced = true;
    (void)pthread_cond_broadcast(&i->cond);
    (void)pthread_mutex_unlock(&i->mu);
    tell_texts(i, &gone, true);
    berth_arena_fini(&gone.a);
    return 0;
}

/* ---- watching ---- */

static bool
take_event(void *arg, enum berth_kube_event event, const struct berth_json *object,
           const char *version)
{
    struct berth_kube_informer *i = arg;

    (void)snprintf(i->version, sizeof i->version, "%s", version);
    switch (event) {
    case BERTH_KUBE_ADDED:
    case BERTH_KUBE_MODIFIED:
        if (put(i, object) != 0)
            tell(i, object, false);
        break;
    case BERTH_KUBE_DELETED:
        (void)pthread_mutex_lock(&i->mu);
        (void)berth_kube_store_remove(i->store, berth_kube_text(object, "metadata.namespace").at,
                                      berth_kube_text(object, "metadata.name").at);
        (void)pthread_mutex_unlock(&i->mu);
        tell(i, object, true);
        break;
    case BERTH_KUBE_BOOKMARK:
        break;
    }
    tell_works(i);
    return !atomic_load(&i->stopped);
}

/* Half of it to all of it; sooner when stopped.  times: before this one. */
static void
pause_for(struct berth_kube_informer *i, unsigned times)
{
    uint64_t ms = (uint64_t)PAUSE_MS << (times < 8 ? times : 8);

    if (ms > PAUSE_MS_MAX)
        ms = PAUSE_MS_MAX;
    const uint64_t at_ns =
        berth_now_ns() + ms * BERTH_MS / 2 + berth_random_u64() % (ms * BERTH_MS / 2);
    const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                .tv_nsec = (long)(at_ns % BERTH_S)};
    (void)pthread_mutex_lock(&i->mu);
    while (!atomic_load(&i->stopped) && berth_now_ns() < at_ns)
        (void)pthread_cond_timedwait(&i->cond, &i->mu, &at);
    (void)pthread_mutex_unlock(&i->mu);
}

static void
pause_after_failure(struct berth_kube_informer *i)
{
    pause_for(i, i->failures++);
}

/* The version is too old: a list gives a new one.  When that one is too old at once, too, as it is
 * behind a server whose cache is broken, lists without a pause would be what breaks it for good. */
static void
pause_after_expiry(struct berth_kube_informer *i, bool soon)
{
    if (!soon)
        i->expired = 0;
    else if (i->expired++ > 0)
        pause_for(i, i->expired - 2);
}

/* One watch: 0 go on with another, 1 list again. */
static int
watch(struct berth_kube_informer *i)
{
    const struct berth_kube_watch w = {
        .selection = &i->conf.selection,
        .version = i->version,
        .seconds =
            i->trouble != 0 ? TRIAL_S : WATCH_S + (uint32_t)(berth_random_u64() % WATCH_S_MORE),
        .each = take_event,
        .arg = i,
    };
    const uint64_t begin_ns = berth_now_ns();
    char version[BERTH_KUBE_VERSION_TEXT];
    struct berth_err e = {{0}};

    memcpy(version, i->version, sizeof version); /* events move it on while it is read */
    struct berth_kube_watch mine = w;
    mine.version = version;
    (void)pthread_mutex_lock(&i->mu);
    i->state.watches++;
    (void)pthread_mutex_unlock(&i->mu);
    const int r = berth_kube_watch(i->k, i->http, &mine, &e);
    const bool soon = berth_now_ns() - begin_ns < SOON_S * BERTH_S;
    if (atomic_load(&i->stopped))
        return 1;
    if (r == 1) {
        pause_after_expiry(i, soon);
        return 1;
    }
    if (r == 0 && !soon) {
        i->expired = 0;
        tell_works(i);
        resync(i);
        return 0;
    }
    tell_trouble(i, r < 0 ? r : -BERTH_ENETWORK, r < 0 ? e.msg : "the watch ended early");
    pause_after_failure(i);
    return i->failures > FAILURES_MAX ? 1 : 0;
}

static void *
run(void *arg)
{
    struct berth_kube_informer *i = arg;

    (void)pthread_setname_np(pthread_self(), "berth-informer");
    i->resync_ns = berth_now_ns();
    while (!atomic_load(&i->stopped)) {
        struct berth_err e = {{0}};
        const int r = list(i, &e);
        if (r < 0) {
            if (!atomic_load(&i->stopped))
                tell_trouble(i, r, e.msg);
            pause_after_failure(i);
            continue;
        }
        tell_works(i);
        while (watch(i) == 0)
            ;
    }
    return NULL;
}

/* ---- begin and end ---- */

static bool
copy_text(const char *text, char **ret)
{
    *ret = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret != NULL;
}

static void
release(struct berth_kube_informer *i)
{
    berth_kube_store_free(i->store);
    berth_client_free(i->http);
    (void)pthread_cond_destroy(&i->cond);
    (void)pthread_mutex_destroy(&i->mu);
    free(i->space);
    free(i->labels);
    free(i->fields);
    free(i);
}

int
berth_kube_informer_start(struct berth_kube *k, const struct berth_kube_informer_conf *conf,
                          struct berth_kube_informer **ret, struct berth_err *e)
{
    struct berth_kube_informer *i = calloc(1, sizeof *i);
    const struct berth_kube_selection *s = &conf->selection;
    pthread_condattr_t attr;
    int r;

    if (i == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    i->k = k;
    i->conf = *conf;
    if (i->conf.bytes_max == 0)
        i->conf.bytes_max = (uint64_t)BYTES_MAX_MIB << 20;
    (void)pthread_mutex_init(&i->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&i->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    i->store = berth_kube_store_new(conf->index_label, conf->index, i->conf.bytes_max);
    r = i->store != NULL && copy_text(s->space, &i->space) && copy_text(s->labels, &i->labels) &&
                copy_text(s->fields, &i->fields)
            ? berth_client_new(&i->http, e)
            : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0 && conf->names_only)
        berth_kube_store_keep_names(i->store);
    i->conf.selection = (struct berth_kube_selection){.kind = s->kind,
                                                      .space = i->space,
                                                      .labels = i->labels,
                                                      .fields = i->fields,
                                                      .page = s->page};
    if (r == 0 && pthread_create(&i->thread, NULL, run, i) != 0)
        r = berth_err_set(e, BERTH_ELIMIT, "no thread for watching %s", s->kind->plural);
    if (r < 0)
        release(i);
    else
        *ret = i;
    return r;
}

void
berth_kube_informer_stop(struct berth_kube_informer *i)
{
    if (i == NULL)
        return;
    atomic_store(&i->stopped, true);
    berth_client_stop(i->http);
    (void)pthread_mutex_lock(&i->mu);
    (void)pthread_cond_broadcast(&i->cond);
    (void)pthread_mutex_unlock(&i->mu);
    (void)pthread_join(i->thread, NULL);
    release(i);
}

int
berth_kube_informer_wait(struct berth_kube_informer *i, const struct berth_kube_until *until,
                         struct berth_err *e)
{
    enum { SLICE_MS = 50 };
    int r = 0;

    (void)pthread_mutex_lock(&i->mu);
    while (!i->state.synced && r == 0) {
        const uint64_t now_ns = berth_now_ns();
        const uint64_t at_ns = now_ns + SLICE_MS * BERTH_MS;
        const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                    .tv_nsec = (long)(at_ns % BERTH_S)};
        if (now_ns >= until->deadline_ns) {
            r = berth_err_set(
                e, BERTH_EDEADLINE, "%s are not known yet: %s", i->conf.selection.kind->plural,
                i->state.trouble[0] != '\0' ? i->state.trouble : "the list takes too long");
            break;
        }
        (void)pthread_cond_timedwait(&i->cond, &i->mu, &at);
        if (until->cancelled == NULL)
            continue;
        (void)pthread_mutex_unlock(&i->mu);
        const bool cancelled = until->cancelled(until->arg);
        (void)pthread_mutex_lock(&i->mu);
        if (cancelled)
            r = berth_err_set(e, BERTH_ECANCELED, "stopped while %s were not known yet%s%s",
                              i->conf.selection.kind->plural,
                              i->state.trouble[0] != '\0' ? ": " : "", i->state.trouble);
    }
    (void)pthread_mutex_unlock(&i->mu);
    return r;
}

/* ---- reading ---- */

static int
why_not(const struct berth_kube_informer_state *s, const char *name, struct berth_err *e)
{
    if (!s->synced)
        return berth_err_set(e, BERTH_ENOTREADY, "%s: nothing is known yet: %s", name, s->trouble);
    if (s->lossy)
        return berth_err_set(e, BERTH_ELIMIT, "%s: more objects than are kept", name);
    return berth_err_set(e, BERTH_ENOENT, "%s: there is none", name);
}

int
berth_kube_informer_get(struct berth_kube_informer *i, struct berth_arena *a, const char *space,
                        const char *name, const struct berth_json **ret, struct berth_err *e)
{
    struct berth_kube_stored one;
    struct berth_slice copy = {NULL, 0};
    int r = 0;

    (void)pthread_mutex_lock(&i->mu);
    if (berth_kube_store_get(i->store, space, name, &one)) {
        copy =
            (struct berth_slice){berth_arena_strndup(a, one.text.at, one.text.len), one.text.len};
        if (copy.at == NULL)
            r = berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", name);
    } else {
        r = why_not(&i->state, name, e);
    }
    (void)pthread_mutex_unlock(&i->mu);
    return r < 0 ? r : berth_json_parse(a, copy.at, copy.len, NULL, ret, e);
}

struct finder {
    struct gone found;
    size_t count, cap;
};

static bool
find_one(void *arg, const struct berth_kube_stored *one)
{
    struct finder *f = arg;

    f->count++;
    return f->count <= f->cap ? keep_text(&f->found, one) : false;
}

int
berth_kube_informer_find(struct berth_kube_informer *i, struct berth_arena *a, const char *index,
                         const struct berth_json **ret, size_t cap, size_t *ret_count,
                         struct berth_err *e)
{
    struct finder f = {.cap = cap};
    size_t n = 0;
    int r = 0;

    berth_arena_init(&f.found.a, i->conf.bytes_max + TOLD_ARENA_MAX);
    (void)pthread_mutex_lock(&i->mu);
    if (i->state.synced && !i->state.lossy)
        berth_kube_store_each(i->store, index, find_one, &f);
    else
        r = why_not(&i->state, i->conf.selection.kind->plural, e);
    (void)pthread_mutex_unlock(&i->mu);
    if (r == 0 && f.count > cap)
        r = berth_err_set(e, BERTH_ELIMIT, "more than %zu %s", cap, i->conf.selection.kind->plural);
    for (const struct text *t = f.found.first; r == 0 && t != NULL; t = t->next)
        r = berth_json_parse(a, t->at, t->len, NULL, &ret[n++], e);
    if (r == 0 && n < f.count)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    berth_arena_fini(&f.found.a);
    if (r == 0)
        *ret_count = n;
    return r;
}

static bool
count_one(void *arg, const struct berth_kube_stored *one)
{
    (void)one;
    ++*(size_t *)arg;
    return true;
}

size_t
berth_kube_informer_count(struct berth_kube_informer *i, const char *index)
{
    size_t count = 0;

    (void)pthread_mutex_lock(&i->mu);
    berth_kube_store_each(i->store, index, count_one, &count);
    (void)pthread_mutex_unlock(&i->mu);
    return count;
}

struct namer {
    struct berth_arena *a;
    struct berth_kube_place *places; /* NULL: they are counted */
    size_t count;
    bool failed;
};

static bool
name_one(void *arg, const struct berth_kube_stored *one)
{
    struct namer *n = arg;

    if (n->places != NULL) {
        const struct berth_kube_place at = {.space = berth_arena_strdup(n->a, one->space),
                                            .name = berth_arena_strdup(n->a, one->name)};
        n->places[n->count] = at;
        n->failed = at.space == NULL || at.name == NULL;
    }
    n->count++;
    return !n->failed;
}

int
berth_kube_informer_names(struct berth_kube_informer *i, struct berth_arena *a, const char *index,
                          const struct berth_kube_place **ret, size_t *ret_count,
                          struct berth_err *e)
{
    struct namer n = {.a = a};
    int r = 0;

    (void)pthread_mutex_lock(&i->mu);
    if (i->state.synced) {
        berth_kube_store_each(i->store, index, name_one, &n);
        n.places = berth_arena_alloc_n(a, n.count + 1, sizeof *n.places);
        n.failed = n.places == NULL;
        n.count = 0;
        if (!n.failed)
            berth_kube_store_each(i->store, index, name_one, &n);
    } else {
        r = why_not(&i->state, i->conf.selection.kind->plural, e);
    }
    (void)pthread_mutex_unlock(&i->mu);
    if (n.failed)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0) {
        *ret = n.places;
        *ret_count = n.count;
    }
    return r;
}

void
berth_kube_informer_state(struct berth_kube_informer *i, struct berth_kube_informer_state *ret)
{
    (void)pthread_mutex_lock(&i->mu);
    *ret = i->state;
    ret->objects = berth_kube_store_count(i->store);
    ret->bytes = berth_kube_store_bytes(i->store);
    (void)pthread_mutex_unlock(&i->mu);
}
