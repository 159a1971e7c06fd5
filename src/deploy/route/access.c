#include "deploy/route/access.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

static const uint64_t pause_ns_min = 60 * BERTH_S, pause_ns_max = 3600 * BERTH_S;

bool
berth_access_allows(const char *allow, const char *name, const char *print)
{
    if (allow == NULL)
        return true;
    if (name == NULL && print == NULL)
        return false;
    for (const char *at = allow; *at != '\0';) {
        const size_t len = strcspn(at, " ");

        if ((len == 1 && *at == '*') ||
            (name != NULL && strlen(name) == len && memcmp(at, name, len) == 0 && len > 0) ||
            (print != NULL && strlen(print) == len && memcmp(at, print, len) == 0 && len > 0))
            return true;
        at += len + (at[len] == ' ');
    }
    return false;
}

/* ---- sums ---- */

static uint64_t
hash_text(uint64_t h, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

static uint16_t *
bucket_of(struct berth_access_sums *s, const struct berth_access_sum *at)
{
    return &s->first[at->hash % BERTH_ACCESS_SUMS_MAX];
}

static struct berth_access_sum *
find(struct berth_access_sums *s, const struct berth_access_sum *like)
{
    for (uint16_t i = *bucket_of(s, like); i != 0; i = s->at[i - 1].next) {
        struct berth_access_sum *at = &s->at[i - 1];

        s->compared++;
        if (at->hash == like->hash && at->granted == like->granted && at->known == like->known &&
            strcmp(at->who, like->who) == 0 && strcmp(at->service_id, like->service_id) == 0)
            return at;
    }
    return NULL;
}

static void
enter(struct berth_access_sums *s, struct berth_access_sum *at)
{
    uint16_t *first = bucket_of(s, at);

    at->next = *first;
    *first = (uint16_t)(1 + (at - s->at));
}

static void
leave(struct berth_access_sums *s, const struct berth_access_sum *at)
{
    uint16_t *link = bucket_of(s, at);

    while (&s->at[*link - 1] != at)
        link = &s->at[*link - 1].next;
    *link = at->next;
}

/* The last one takes its place. */
static void
drop(struct berth_access_sums *s, struct berth_access_sum *at)
{
    struct berth_access_sum *last = &s->at[s->len - 1];

    leave(s, at);
    if (at != last) {
        leave(s, last);
        *at = *last;
        enter(s, at);
    }
    s->len--;
}

bool
berth_access_add(struct berth_access_sums *s, const char *service_id, const char *who,
                 const char *peer, bool granted, uint64_t now_ns)
{
    const char *colon = strrchr(peer, ':');
    const size_t len = colon != NULL ? (size_t)(colon - peer) : strlen(peer);
    struct berth_access_sum like = {.granted = granted, .known = who != NULL, .due_ns = now_ns};

    (void)snprintf(like.service_id, sizeof like.service_id, "%s", service_id);
    (void)snprintf(like.peer, sizeof like.peer, "%s", peer);
    if (who != NULL)
        (void)snprintf(like.who, sizeof like.who, "%s", who);
    else
        (void)snprintf(like.who, sizeof like.who, "%.*s", (int)len, peer);
    const char kind = (char)(2 * granted + (who != NULL));
    like.hash = hash_text(UINT64_C(0xcbf29ce484222325), &kind, 1);
    like.hash = hash_text(like.hash, like.service_id, strlen(like.service_id));
    like.hash = hash_text(like.hash, like.who, strlen(like.who));
    struct berth_access_sum *at = find(s, &like);
    if (at == NULL && s->len == BERTH_ACCESS_SUMS_MAX) {
        s->others++;
        return false;
    }
    if (at == NULL) {
        at = &s->at[s->len++];
        *at = like;
        enter(s, at);
    }
    at->count++;
    return at->due_ns <= now_ns;
}

bool
berth_access_take(struct berth_access_sums *s, bool all, uint64_t now_ns,
                  struct berth_access_sum *ret, uint64_t *ret_next_ns)
{
    *ret_next_ns = UINT64_MAX;
    for (size_t i = 0; i < s->len;) {
        struct berth_access_sum *at = &s->at[i];

        if (at->count > 0 && (all || at->due_ns <= now_ns)) {
            *ret = *at;
            at->count = 0;
            at->pause_ns = at->pause_ns == 0                 ? pause_ns_min
                           : at->pause_ns < pause_ns_max / 4 ? at->pause_ns * 4
                                                             : pause_ns_max;
            at->since_ns = now_ns;
            at->due_ns = now_ns + at->pause_ns;
            return true;
        }
        if (at->count == 0 && at->due_ns <= now_ns) {
            drop(s, at); /* it was not there for a whole pause */
            continue;
        }
        if (at->due_ns < *ret_next_ns)
            *ret_next_ns = at->due_ns;
        i++;
    }
    return false;
}

/* ---- as events ---- */

struct berth_access {
    struct berth_deploy *d;
    pthread_mutex_t mu;
    pthread_cond_t wake; /* on CLOCK_MONOTONIC */
    pthread_t thread;
    bool runs, ends;
    struct berth_access_sums sums;
};

struct berth_access *
berth_access_new(struct berth_deploy *d)
{
    struct berth_access *x = calloc(1, sizeof *x);
    pthread_condattr_t attr;

    if (x == NULL)
        return NULL;
    x->d = d;
    (void)pthread_mutex_init(&x->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&x->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    return x;
}

/* Into the store and the log; no lock held. */
static void
tell(struct berth_deploy *d, const struct berth_access_sum *sum, uint64_t now_ns)
{
    const char *decision = sum->granted ? "granted" : "refused";
    struct pending p = {0};
    struct berth_arena a;
    struct berth_buf b;
    struct berth_jw w;
    struct berth_err e = {""};

    berth_arena_init(&a, 64 * 1024);
    p.a = &a;
    berth_pending_begin(&p, &b, &w, "service.access", NULL);
    p.service_id = sum->service_id;
    berth_jw_key(&w, "decision");
    berth_jw_string(&w, decision);
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, sum->who);
    berth_jw_key(&w, "known");
    berth_jw_bool(&w, sum->known);
    berth_jw_key(&w, "peer");
    berth_jw_string(&w, sum->peer);
    berth_jw_key(&w, "count");
    berth_jw_uint(&w, sum->count);
    berth_jw_key(&w, "sinceMs");
    berth_jw_uint(&w, sum->since_ns > 0 ? (now_ns - sum->since_ns) / BERTH_MS : 0);
    berth_jw_key(&w, "level");
    berth_jw_string(&w, sum->granted ? "info" : "warn");
    berth_pending_end(&p, &b, &w);
    berth_log(sum->granted ? BERTH_LOG_INFO : BERTH_LOG_WARN,
              "audit: service %s: access %s to %s (%s), %llu times", sum->service_id, decision,
              sum->who, sum->peer, (unsigned long long)sum->count);
    if (berth_deploy_commit(d, NULL, &p, NULL, 0, &e) < 0)
        berth_warn("audit: not kept: %s", e.msg);
    berth_arena_fini(&a);
}

static void *
run(void *access)
{
    struct berth_access *x = access;
    struct berth_access_sum sum;
    uint64_t next_ns;

    (void)pthread_mutex_lock(&x->mu);
    for (;;) {
        const uint64_t now_ns = berth_now_ns();

        if (berth_access_take(&x->sums, x->ends, now_ns, &sum, &next_ns)) {
            const uint64_t others = x->sums.others;
            x->sums.others = 0;
            (void)pthread_mutex_unlock(&x->mu);
            tell(x->d, &sum, now_ns);
            if (others > 0)
                berth_warn("audit: %llu requests came from more than %d callers, and are not told",
                           (unsigned long long)others, BERTH_ACCESS_SUMS_MAX);
            (void)pthread_mutex_lock(&x->mu);
            continue;
        }
        if (x->ends)
            break;
        if (next_ns == UINT64_MAX) {
            (void)pthread_cond_wait(&x->wake, &x->mu);
            continue;
        }
        const struct timespec until = {.tv_sec = (time_t)(next_ns / BERTH_S),
                                       .tv_nsec = (long)(next_ns % BERTH_S)};
        (void)pthread_cond_timedwait(&x->wake, &x->mu, &until);
    }
    (void)pthread_mutex_unlock(&x->mu);
    return NULL;
}

void
berth_deploy_access(struct berth_deploy *d, const char *service_id, const char *who,
                    const char *peer, bool granted)
{
    struct berth_access *x = d->access;

    (void)pthread_mutex_lock(&x->mu);
    if (!x->ends) {
        if (!x->runs) /* the first one of all */
            x->runs = pthread_create(&x->thread, NULL, run, x) == 0;
        if (berth_access_add(&x->sums, service_id, who, peer, granted, berth_now_ns()))
            (void)pthread_cond_signal(&x->wake);
    }
    (void)pthread_mutex_unlock(&x->mu);
}

void
berth_access_stop(struct berth_access *x)
{
    (void)pthread_mutex_lock(&x->mu);
    const bool joins = x->runs && !x->ends;
    x->ends = true;
    (void)pthread_cond_signal(&x->wake);
    (void)pthread_mutex_unlock(&x->mu);
    if (joins)
        (void)pthread_join(x->thread, NULL);
}

void
berth_access_free(struct berth_access *x)
{
    if (x == NULL)
        return;
    berth_access_stop(x);
    (void)pthread_cond_destroy(&x->wake);
    (void)pthread_mutex_destroy(&x->mu);
    free(x);
}
