#include "kube/lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "kube/client.h"
#include "kube/object.h"
#include "wire/json.h"

enum {
    VERSION_MAX = 64,
    HOLDER_MAX = 256,
    IDENTITY_MAX = 200,
    ANSWER_MAX = 1 << 20,
    SECONDS_DEFAULT = 15,
    SECONDS_MAX = 3600,
    RETRY_S_MAX = 2,
    GIVE_BACK_S = 3,
    TRIES = 3, /* of one renewal, when others write in between */
};

/* The Lease, as it was seen last. */
struct sight {
    char holder[HOLDER_MAX];   /* "": nobody's */
    char version[VERSION_MAX]; /* resourceVersion; "": there is none */
    bool known;                /* it was ever asked for */
    uint64_t at_ns;            /* since when it is like that */
    uint64_t lasts_ns;         /* how long it is to be left alone from then on */
    int64_t transitions;
};

struct berth_kube_lease {
    struct berth_kube *k;
    struct berth_kube_lease_conf conf;
    uint64_t renew_ns, retry_ns, holds_ns;
    /* Until when this process leads unless it renews; 0: it does not.  Boot clock. */
    atomic_uint_fast64_t held_until_ns;
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t wake; /* of `stopping` */
    bool stopping;
    /* The thread's own. */
    bool leads;
    bool perhaps_ours; /* a write was tried, and not seen to fail */
    bool troubled;
    struct sight seen;
};

/* Time passes in it while the machine sleeps, too: others do not sleep with it. */
static uint64_t
boot_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec;
}

bool
berth_kube_lease_is_held(const struct berth_kube_lease *l)
{
    const uint64_t until = atomic_load(&l->held_until_ns);

    return until > 0 && boot_ns() < until;
}

static bool
is_stopping(void *arg)
{
    struct berth_kube_lease *l = arg;

    (void)pthread_mutex_lock(&l->mu);
    const bool stopping = l->stopping;
    (void)pthread_mutex_unlock(&l->mu);
    return stopping;
}

/* False: it is to stop. */
static bool
rest(struct berth_kube_lease *l, uint64_t ns)
{
    const uint64_t end = berth_now_ns() + ns;
    const struct timespec until = {.tv_sec = (time_t)(end / BERTH_S),
                                   .tv_nsec = (long)(end % BERTH_S)};

    (void)pthread_mutex_lock(&l->mu);
    while (!l->stopping && pthread_cond_timedwait(&l->wake, &l->mu, &until) != ETIMEDOUT)
        ;
    const bool goes_on = !l->stopping;
    (void)pthread_mutex_unlock(&l->mu);
    return goes_on;
}

static struct berth_kube_ref
ref_of(const struct berth_kube_lease *l)
{
    return (struct berth_kube_ref){
        .kind = &berth_kube_leases, .space = l->conf.space, .name = l->conf.name};
}

/* A call is tried once, as there is another turn, and not beyond the time that this process leads.
 */
static struct berth_kube_until
until_of(struct berth_kube_lease *l)
{
    const uint64_t held = atomic_load(&l->held_until_ns), boot = boot_ns();
    uint64_t left_ns = l->renew_ns;

    if (l->leads && held < boot + left_ns)
        left_ns = held > boot ? held - boot : 1;
    return (struct berth_kube_until){.deadline_ns = berth_now_ns() + left_ns,
                                     .cancelled = is_stopping,
                                     .arg = l,
                                     .tries_max = 1};
}

__attribute__((format(printf, 3, 4))) static void
tell(struct berth_kube_lease *l, bool bad, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (l->conf.told != NULL)
        l->conf.told(l->conf.arg, bad, text);
}

/* Once, until it works again. */
static void
tell_trouble(struct berth_kube_lease *l, int r, const char *why)
{
    if (r >= 0 && l->troubled)
        tell(l, false, "the lease %s/%s can be asked for again", l->conf.space, l->conf.name);
    else if (r < 0 && !l->troubled && !is_stopping(l))
        tell(l, true, "the lease %s/%s: %s", l->conf.space, l->conf.name, why);
    l->troubled = r < 0;
}

/* ---- what is there ---- */

static bool
is_mine(const struct berth_kube_lease *l)
{
    return strcmp(l->seen.holder, l->conf.identity) == 0;
}

static bool
is_others(const struct berth_kube_lease *l)
{
    return l->seen.holder[0] != '\0' && !is_mine(l);
}

/* Take in an answer; NULL: there is none. */
static void
see(struct berth_kube_lease *l, const struct berth_json *lease)
{
    const int64_t seconds = berth_kube_int(lease, "spec.leaseDurationSeconds", SECONDS_DEFAULT);
    char holder[HOLDER_MAX], version[VERSION_MAX]; /* as much as is compared and kept */
    struct sight *s = &l->seen;

    (void)snprintf(holder, sizeof holder, "%s", berth_kube_text(lease, "spec.holderIdentity").at);
    (void)snprintf(version, sizeof version, "%s",
                   berth_kube_text(lease, "metadata.resourceVersion").at);
    const bool other = strcmp(holder, s->holder) != 0;
    if (!s->known || other || strcmp(version, s->version) != 0) {
        s->at_ns = boot_ns();
        /* Who held a lease that was taken away may not know it yet: that time stays.  One second is
         * what a lease that is given back has, and nobody's it is to be had then. */
        if (lease != NULL)
            s->lasts_ns = seconds < 1 || (holder[0] == '\0' && seconds == 1)
                              ? 0
                              : (uint64_t)seconds * BERTH_S;
    }
    s->known = true;
    memcpy(s->holder, holder, sizeof holder);
    memcpy(s->version, version, sizeof version);
    s->transitions = berth_kube_int(lease, "spec.leaseTransitions", 0);
    if (other && is_others(l))
        tell(l, false, "stands by: %s leads", s->holder);
}

static int
look(struct berth_kube_lease *l, struct berth_err *e)
{
    const struct berth_kube_until until = until_of(l);
    const struct berth_kube_ref ref = ref_of(l);
    const struct berth_json *lease = NULL;
    struct berth_arena a;

    berth_arena_init(&a, ANSWER_MAX);
    int r = berth_kube_get(l->k, &until, &a, &ref, &lease, e);
    if (r == -BERTH_ENOENT) {
        lease = NULL;
        r = 0;
    }
    if (r == 0) {
        see(l, lease);
        l->perhaps_ours = is_mine(l);
    }
    berth_arena_fini(&a);
    return r;
}

/* How long it is to be left alone; 0: it may be taken. */
static uint64_t
left_ns(const struct berth_kube_lease *l)
{
    const uint64_t passed = boot_ns() - l->seen.at_ns;

    return is_mine(l) || passed >= l->seen.lasts_ns ? 0 : l->seen.lasts_ns - passed;
}

/* ---- writing it ---- */

/* The Lease as this process holds it, or, with "" for a holder, gives it back. */
static void
put_lease(struct berth_kube_lease *l, const char *holder, struct berth_buf *b)
{
    const bool make = l->seen.version[0] == '\0';
    char now[BERTH_TIME_TEXT];
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "apiVersion", berth_kube_leases.group_version);
    berth_jw_pair(&w, "kind", berth_kube_leases.kind);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_pair(&w, "name", l->conf.name);
    if (!make)
        berth_jw_pair(&w, "resourceVersion", l->seen.version);
    berth_jw_object_end(&w);
    berth_jw_key(&w, "spec");
    berth_jw_object(&w);
    berth_jw_pair(&w, "holderIdentity", holder);
    berth_jw_key(&w, "leaseDurationSeconds");
    berth_jw_uint(&w, holder[0] != '\0' ? l->conf.duration_ns / BERTH_S : 1);
    berth_jw_pair(&w, "renewTime", berth_time_text(berth_wall_ns(), now));
    if (strcmp(l->seen.holder, holder) != 0 && holder[0] != '\0') {
        berth_jw_pair(&w, "acquireTime", now);
        berth_jw_key(&w, "leaseTransitions");
        berth_jw_int(&w, make ? 0 : l->seen.transitions + 1);
    }
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
}

/* On the condition that it is as it was seen.  -BERTH_EEXIST: it is not, look again. */
static int
write_lease(struct berth_kube_lease *l, const struct berth_kube_until *until, const char *holder,
            struct berth_err *e)
{
    const bool make = l->seen.version[0] == '\0';
    const struct berth_kube_ref ref = ref_of(l);
    const struct berth_json *after = NULL;
    struct berth_arena a;
    struct berth_buf b;
    int r;

    berth_arena_init(&a, ANSWER_MAX);
    berth_buf_init(&b, &a);
    put_lease(l, holder, &b);
    const struct berth_slice text = {b.at, b.len};
    if (b.failed)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    else if (make)
        r = berth_kube_create(l->k, until, &a, &ref, text, &after, e);
    else
        r = berth_kube_merge(l->k, until, &a, &ref, text, &after, e);
    if (r == 0)
        see(l, after);
    berth_arena_fini(&a);
    return r;
}

/* Have it for another while, from before the call was made. */
static int
hold(struct berth_kube_lease *l, struct berth_err *e)
{
    const struct berth_kube_until until = until_of(l);
    const uint64_t began = boot_ns();

    l->perhaps_ours = true;
    const int r = write_lease(l, &until, l->conf.identity, e);
    if (r == 0 && is_mine(l))
        atomic_store(&l->held_until_ns, began + l->holds_ns);
    return r;
}

/* So that nobody has to wait.  Its last write's answer may have been lost: then it looks again. */
static void
give_back(struct berth_kube_lease *l)
{
    const struct berth_kube_until until = {.deadline_ns = berth_now_ns() + GIVE_BACK_S * BERTH_S};
    const struct berth_kube_ref ref = ref_of(l);
    struct berth_err e = {""};
    int r = is_mine(l) ? write_lease(l, &until, "", &e) : -BERTH_EEXIST;

    if (r == -BERTH_EEXIST) {
        const struct berth_json *lease = NULL;
        struct berth_arena a;
        berth_arena_init(&a, ANSWER_MAX);
        if ((r = berth_kube_get(l->k, &until, &a, &ref, &lease, &e)) == 0) {
            see(l, lease);
            r = is_mine(l) ? write_lease(l, &until, "", &e) : 0;
        }
        berth_arena_fini(&a);
    }
    if (r < 0 && r != -BERTH_ENOENT)
        tell(l, true, "the lease %s/%s could not be given back: %s", l->conf.space, l->conf.name,
             e.msg);
    l->perhaps_ours = false;
}

/* ---- leading ---- */

static void
lose(struct berth_kube_lease *l, const char *why)
{
    atomic_store(&l->held_until_ns, 0);
    l->leads = false;
    l->conf.end(l->conf.arg, why);
}

/* Of one that leads; how long to rest then. */
static uint64_t
renew(struct berth_kube_lease *l)
{
    struct berth_err e = {""};
    char why[HOLDER_MAX + 64];
    int r = -BERTH_EEXIST;

    for (int i = 0; i < TRIES && (r == -BERTH_EEXIST || r == -BERTH_ENOENT); i++) {
        /* Somebody wrote it, or took it away.  What is nobody's stays ours: it is taken by another
         * only when that other has seen it like that for our time. */
        if (i > 0 && (r = look(l, &e)) < 0)
            break;
        if (is_others(l)) {
            (void)snprintf(why, sizeof why, "%s has the lease", l->seen.holder);
            lose(l, why);
            return l->retry_ns;
        }
        r = hold(l, &e);
    }
    tell_trouble(l, r, e.msg);
    const uint64_t until = atomic_load(&l->held_until_ns), now = boot_ns();
    if (r == 0)
        return l->renew_ns;
    return until > now && until - now < l->retry_ns ? until - now : l->retry_ns;
}

/* Of one that looks on. */
static uint64_t
stand_by(struct berth_kube_lease *l)
{
    struct berth_err e = {""};
    int r = look(l, &e);
    const uint64_t wait_ns = left_ns(l);

    if (r == 0 && wait_ns > 0) {
        tell_trouble(l, 0, NULL);
        return wait_ns < l->retry_ns ? wait_ns : l->retry_ns;
    }
    if (r == 0)
        r = hold(l, &e);
    if (r != -BERTH_EEXIST) /* somebody was faster */
        tell_trouble(l, r, e.msg);
    if (r < 0)
        return l->retry_ns;
    l->leads = true;
    if ((r = l->conf.begin(l->conf.arg, l, &e)) == 0)
        return l->renew_ns;
    tell(l, true, "cannot lead: %s", e.msg);
    atomic_store(&l->held_until_ns, 0);
    l->leads = false;
    give_back(l);
    return l->conf.duration_ns;
}

static void *
run(void *arg)
{
    struct berth_kube_lease *l = arg;
    uint64_t wait_ns;

    (void)pthread_setname_np(pthread_self(), "berth-lease");
    do {
        if (l->leads && !berth_kube_lease_is_held(l))
            lose(l, "the lease could not be renewed in time");
        wait_ns = l->leads ? renew(l) : stand_by(l);
    } while (rest(l, wait_ns));
    if (l->leads)
        lose(l, "it is to stop");
    if (l->perhaps_ours)
        give_back(l);
    return NULL;
}

/* ---- begin and end ---- */

int
berth_kube_lease_start(struct berth_kube *k, const struct berth_kube_lease_conf *conf,
                       struct berth_kube_lease **ret, struct berth_err *e)
{
    const uint64_t ns = conf->duration_ns > 0 ? conf->duration_ns : SECONDS_DEFAULT * BERTH_S;
    pthread_condattr_t attr;

    if (ns % BERTH_S != 0 || ns > SECONDS_MAX * BERTH_S)
        return berth_err_set(e, BERTH_EINVAL, "a lease lasts whole seconds, 1 to %d", SECONDS_MAX);
    if (strlen(conf->identity) > IDENTITY_MAX || conf->identity[0] == '\0')
        return berth_err_set(e, BERTH_EINVAL, "an identity has 1 to %d bytes", IDENTITY_MAX);
    struct berth_kube_lease *l = calloc(1, sizeof *l);
    if (l == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    l->k = k;
    l->conf = *conf;
    l->conf.duration_ns = ns;
    l->holds_ns = ns / 3 * 2;
    l->renew_ns = ns / 3;
    l->retry_ns = ns / 15 * 2 < RETRY_S_MAX * BERTH_S ? ns / 15 * 2 : RETRY_S_MAX * BERTH_S;
    (void)pthread_mutex_init(&l->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    const int failed = pthread_create(&l->thread, NULL, run, l);
    if (failed != 0) {
        (void)pthread_cond_destroy(&l->wake);
        (void)pthread_mutex_destroy(&l->mu);
        free(l);
        return berth_err_set(e, BERTH_ELIMIT, "no thread to be had for the lease");
    }
    *ret = l;
    return 0;
}

void
berth_kube_lease_stop(struct berth_kube_lease *l)
{
    if (l == NULL)
        return;
    (void)pthread_mutex_lock(&l->mu);
    l->stopping = true;
    (void)pthread_cond_broadcast(&l->wake);
    (void)pthread_mutex_unlock(&l->mu);
    (void)pthread_join(l->thread, NULL);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->mu);
    free(l);
}
