#include "kube/client_priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "kube/config.h"
#include "kube/limit.h"
#include "wire/json.h"

enum {
    QPS = 10,
    BURST = 20,
    TIMEOUT_S = 30,
    TRIES = 6,
    PAUSE_MS = 200, /* before the second try; twice that before the next */
    PAUSE_MS_MAX = 10000,
    CONNECT_S = 5,
    RECEIVE_BYTES = 16 * 1024, /* each connection keeps that */
    SLICE_MS = 100,            /* how often a caller who may cancel is asked while waiting */
};

struct slot {
    struct berth_client *http;
    bool busy;
};

struct berth_kube {
    const struct berth_kube_config *config;
    struct berth_kube_auth *auth;
    struct berth_kube_conf conf;
    char *base;       /* "https://NAME:PORT/PATH" to put before paths */
    char *connect_to; /* "HOST:PORT", when base has the name to check; else NULL */
    atomic_bool stopped;
    atomic_uint_fast64_t calls, retries, throttled_ns;
    pthread_mutex_t mu;
    pthread_cond_t cond; /* a slot is free, or stopped; CLOCK_MONOTONIC */
    /* Under mu. */
    struct berth_kube_limit limit;
    struct slot slots[BERTH_KUBE_CONNECTIONS_MAX];
};

/* ---- begin and end ---- */

/* "https://HOST:PORT/PATH" with another name than the server's: that goes into the URL. */
static int
make_base(struct berth_kube *k, struct berth_err *e)
{
    const struct berth_kube_config *c = k->config;
    const char *host = strstr(c->server, "://") + 3;
    const size_t n = strcspn(host, "/");
    const char *bracket = memchr(host, ']', n);
    const char *from = bracket != NULL ? bracket : host; /* colons are part of an IPv6 address */
    const char *colon = memchr(from, ':', n - (size_t)(from - host));
    int r;

    if (c->server_name == NULL) {
        k->base = strdup(c->server);
        return k->base != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    const char *port = colon != NULL ? colon : "";
    const int port_len = colon != NULL ? (int)(host + n - colon) : 0;
    r = asprintf(&k->base, "%.*s%s%.*s%s", (int)(host - c->server), c->server, c->server_name,
                 port_len, port, host + n);
    if (r < 0)
        k->base = NULL;
    else
        r = asprintf(&k->connect_to, "%.*s%s", (int)n, host, colon != NULL ? "" : ":443");
    if (r < 0) {
        k->connect_to = NULL;
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    return 0;
}

int
berth_kube_new(const struct berth_kube_config *config, const struct berth_kube_conf *conf,
               struct berth_kube **ret, struct berth_err *e)
{
    struct berth_kube *k = calloc(1, sizeof *k);
    pthread_condattr_t attr;

    if (k == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    k->config = config;
    k->conf = *conf;
    if (k->conf.qps == 0)
        k->conf.qps = QPS;
    if (k->conf.burst == 0)
        k->conf.burst = BURST;
    if (k->conf.timeout_ns == 0)
        k->conf.timeout_ns = TIMEOUT_S * BERTH_S;
    if (k->conf.tries_max == 0)
        k->conf.tries_max = TRIES;
    if (k->conf.manager == NULL)
        k->conf.manager = "berth";
    (void)pthread_mutex_init(&k->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&k->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    berth_kube_limit_init(&k->limit, k->conf.qps, k->conf.burst, berth_now_ns());
    int r = make_base(k, e);
    if (r == 0)
        r = berth_kube_auth_new(config, &k->auth, e);
    if (r < 0)
        berth_kube_free(k);
    else
        *ret = k;
    return r;
}

void
berth_kube_free(struct berth_kube *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < BERTH_KUBE_CONNECTIONS_MAX; i++) {
        berth_assert(!k->slots[i].busy);
        berth_client_free(k->slots[i].http);
    }
    berth_kube_auth_free(k->auth);
    free(k->base);
    free(k->connect_to);
    (void)pthread_cond_destroy(&k->cond);
    (void)pthread_mutex_destroy(&k->mu);
    free(k);
}

void
berth_kube_stop(struct berth_kube *k)
{
    atomic_store(&k->stopped, true);
    berth_kube_auth_stop(k->auth);
    (void)pthread_mutex_lock(&k->mu);
    for (size_t i = 0; i < BERTH_KUBE_CONNECTIONS_MAX; i++)
        if (k->slots[i].http != NULL)
            berth_client_stop(k->slots[i].http);
    (void)pthread_cond_broadcast(&k->cond);
    (void)pthread_mutex_unlock(&k->mu);
}

static bool
is_stopped(const struct berth_kube *k)
{
    return atomic_load(&k->stopped);
}

struct berth_kube_auth *
berth_kube_auth_of(struct berth_kube *k)
{
    return k->auth;
}

void
berth_kube_ended(struct berth_kube *k, const struct berth_kube_call *call, uint16_t status,
                 uint64_t took_ns)
{
    berth_kube_tally_add(k->conf.tally, call->verb, call->kind, status, took_ns);
}

struct berth_kube_asked
berth_kube_asked(const struct berth_kube *k, const char *what)
{
    return (struct berth_kube_asked){.what = what,
                                     .user = k->config->user,
                                     .denied = k->conf.denied,
                                     .ungranted = k->conf.ungranted};
}

const char *
berth_kube_manager(const struct berth_kube *k)
{
    return k->conf.manager;
}

const char *
berth_kube_space(const struct berth_kube *k)
{
    return k->config->space;
}

struct berth_kube_counts
berth_kube_counts(const struct berth_kube *k)
{
    return (struct berth_kube_counts){
        .calls = atomic_load(&k->calls),
        .retries = atomic_load(&k->retries),
        .throttled_ns = atomic_load(&k->throttled_ns),
    };
}

/* ---- waiting ---- */

static bool
is_over(const struct berth_kube *k, const struct berth_kube_until *until)
{
    return is_stopped(k) || (until->cancelled != NULL && until->cancelled(until->arg));
}

/* mu is held.  Until somebody signals or at_ns, or for a slice when a caller is to be asked. */
static void
wait_locked(struct berth_kube *k, const struct berth_kube_until *until, uint64_t at_ns)
{
    const uint64_t slice_ns = berth_now_ns() + SLICE_MS * BERTH_MS;

    if (until->cancelled != NULL && slice_ns < at_ns)
        at_ns = slice_ns;
    const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                .tv_nsec = (long)(at_ns % BERTH_S)};
    (void)pthread_cond_timedwait(&k->cond, &k->mu, &at);
}

/* 0, or -BERTH_ECANCELED, or -BERTH_EDEADLINE when at_ns is beyond the caller's time. */
static int
pause_until(struct berth_kube *k, const struct berth_kube_until *until, uint64_t at_ns)
{
    int r = at_ns > until->deadline_ns ? -BERTH_EDEADLINE : 0;

    while (r == 0 && berth_now_ns() < at_ns) {
        if (is_over(k, until)) /* without the lock: it is the caller's function */
            return -BERTH_ECANCELED;
        (void)pthread_mutex_lock(&k->mu);
        if (!is_stopped(k))
            wait_locked(k, until, at_ns);
        (void)pthread_mutex_unlock(&k->mu);
    }
    return r;
}

/* One of the calls a second. */
static int
take_turn(struct berth_kube *k, const struct berth_kube_until *until, struct berth_err *e)
{
    const uint64_t now_ns = berth_now_ns();
    const uint64_t left_ns = until->deadline_ns > now_ns ? until->deadline_ns - now_ns : 0;

    (void)pthread_mutex_lock(&k->mu);
    const uint64_t wait_ns = berth_kube_limit_take(&k->limit, now_ns, left_ns);
    (void)pthread_mutex_unlock(&k->mu);
    if (wait_ns == UINT64_MAX)
        return berth_err_set(e, BERTH_EAGAIN,
                             "too many calls wait for their turn (%.0f a second are allowed)",
                             k->conf.qps);
    atomic_fetch_add(&k->throttled_ns, wait_ns);
    return pause_until(k, until, now_ns + wait_ns) == 0
               ? 0
               : berth_err_set(e, BERTH_ECANCELED, "stopped");
}

/* A connection that nobody uses. */
static int
take_slot(struct berth_kube *k, const struct berth_kube_until *until, struct slot **ret,
          struct berth_err *e)
{
    for (;;) {
        if (is_over(k, until))
            return berth_err_set(e, BERTH_ECANCELED, "stopped");
        if (berth_now_ns() >= until->deadline_ns)
            return berth_err_set(e, BERTH_EDEADLINE, "all %d connections are busy",
                                 BERTH_KUBE_CONNECTIONS_MAX);
        (void)pthread_mutex_lock(&k->mu);
        for (size_t i = 0; i < BERTH_KUBE_CONNECTIONS_MAX; i++) {
            struct slot *s = &k->slots[i];
            int r = 0;
            if (s->busy)
                continue;
            if (s->http == NULL)
                r = berth_client_new(&s->http, e);
            if (r == 0 && is_stopped(k)) /* it came after berth_kube_stop()'s round */
                berth_client_stop(s->http);
            s->busy = r == 0;
            (void)pthread_mutex_unlock(&k->mu);
            *ret = s;
            return r;
        }
        wait_locked(k, until, until->deadline_ns);
        (void)pthread_mutex_unlock(&k->mu);
    }
}

static void
give_slot(struct berth_kube *k, struct slot *s)
{
    (void)pthread_mutex_lock(&k->mu);
    s->busy = false;
    (void)pthread_cond_broadcast(&k->cond);
    (void)pthread_mutex_unlock(&k->mu);
}

/* ---- one call ---- */

int
berth_kube_prepare(struct berth_kube *k, const struct berth_kube_until *until,
                   struct berth_arena *scratch, const struct berth_kube_call *call,
                   struct berth_kube_ready *ret, struct berth_err *e)
{
    size_t n = 0;
    int r = berth_kube_auth_get(k->auth, until, scratch, &ret->credential, e);

    if (r < 0)
        return berth_err_wrap(e, r, "%s: credentials", call->what);
    r = take_turn(k, until, e);
    if (r < 0)
        return berth_err_wrap(e, r, "%s", call->what);
    const char *url = berth_arena_printf(scratch, "%s%s", k->base, call->path);
    const char *type =
        berth_arena_printf(scratch, "Content-Type: %s",
                           call->content_type != NULL ? call->content_type : "application/json");
    const char *accept = berth_arena_printf(
        scratch, "Accept: %s", call->accept != NULL ? call->accept : "application/json");
    if (url == NULL || type == NULL || accept == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", call->what);
    ret->headers[n++] = accept;
    if (call->body != NULL)
        ret->headers[n++] = type;
    if (ret->credential.header != NULL)
        ret->headers[n++] = ret->credential.header;
    ret->headers[n] = NULL;
    ret->http = (struct berth_client_call){
        .method = call->method,
        .url = url,
        .headers = ret->headers,
        .bearer = ret->credential.bearer,
        .body = call->body,
        .body_len = call->body_len,
        .connect_ns_max = CONNECT_S * BERTH_S,
        .body_bytes_max = BERTH_KUBE_ANSWER_MAX,
        .receive_bytes = RECEIVE_BYTES,
        .tls = &ret->credential.tls,
        .connect_to = k->connect_to,
        .proxy = k->config->proxy,
    };
    atomic_fetch_add(&k->calls, 1);
    return 0;
}

static bool
go_on(void *arg, uint64_t got, uint64_t total)
{
    const struct berth_kube_until *until = arg;

    return !until->cancelled(until->arg);
}

/* One try: 0 with an answer whose body is the caller's, or the failure. */
static int
once(struct berth_kube *k, struct berth_kube_until *until, const struct berth_kube_call *call,
     struct berth_client_answer *ret, struct berth_err *e)
{
    struct berth_kube_ready ready;
    struct berth_arena scratch;
    struct slot *slot = NULL;

    berth_arena_init(&scratch, BERTH_KUBE_SCRATCH_MAX);
    int r = berth_kube_prepare(k, until, &scratch, call, &ready, e);
    if (r == 0) {
        r = take_slot(k, until, &slot, e);
        if (r == 0) {
            const uint64_t now_ns = berth_now_ns();
            const uint64_t left_ns = until->deadline_ns > now_ns ? until->deadline_ns - now_ns : 1;
            ready.http.total_ns_max = left_ns;
            ready.http.silent_ns_max = left_ns;
            ready.http.go_on = until->cancelled != NULL ? go_on : NULL;
            ready.http.arg = until;
            r = berth_client_call(slot->http, &ready.http, ret, e);
            give_slot(k, slot);
            berth_kube_ended(k, call, r == 0 ? ret->status : 0, berth_now_ns() - now_ns);
        }
        if (r < 0)
            (void)berth_err_wrap(e, r, "%s", call->what);
    }
    berth_arena_fini(&scratch);
    return r;
}

/* Half of it to all of it, so that many clients do not come back at once. */
static uint64_t
pause_ns(unsigned tries, uint32_t asked_s)
{
    uint64_t ms = (uint64_t)PAUSE_MS << (tries < 16 ? tries : 16);

    if (ms > PAUSE_MS_MAX)
        ms = PAUSE_MS_MAX;
    const uint64_t ns = ms * BERTH_MS / 2 + berth_random_u64() % (ms * BERTH_MS / 2);
    const uint64_t asked_ns = (uint64_t)asked_s * BERTH_S;
    return asked_ns > 0 ? asked_ns + ns / 4 : ns;
}

static bool
is_worth_again(int r)
{
    return r == -BERTH_ENETWORK || r == -BERTH_EAGAIN || r == -BERTH_EDEADLINE;
}

/* The answer's tree, or its error. */
static int
read_answer(struct berth_kube *k, struct berth_arena *a, const struct berth_kube_call *call,
            struct berth_client_answer *answer, const struct berth_json **ret,
            struct berth_kube_status *status, struct berth_err *e)
{
    const struct berth_kube_asked asked = berth_kube_asked(k, call->what);
    const struct berth_json *body = NULL;
    struct berth_arena own;
    int r = 0;

    if (answer->status < 300 && ret == NULL)
        return 0;
    if (answer->status < 300) {
        r = berth_json_parse(a, answer->body.at, answer->body.len, NULL, ret, e);
        return r < 0 ? berth_err_wrap(e, r == -BERTH_EINVAL ? -BERTH_ENETWORK : r,
                                      "%s: the answer is no JSON", call->what)
                     : 0;
    }
    berth_arena_init(&own, BERTH_KUBE_SCRATCH_MAX);
    if (berth_json_parse(&own, answer->body.at, answer->body.len, NULL, &body, NULL) < 0)
        body = NULL;
    r = berth_kube_status_error(answer->status, answer->retry_after_s, body, &asked, status, e);
    berth_arena_fini(&own);
    return r;
}

int
berth_kube_call(struct berth_kube *k, const struct berth_kube_until *given, struct berth_arena *a,
                const struct berth_kube_call *call, const struct berth_json **ret,
                struct berth_kube_status *ret_status, struct berth_err *e)
{
    struct berth_kube_until until = given != NULL ? *given : (struct berth_kube_until){0};
    struct berth_kube_status status = {0};
    const uint32_t tries_max = until.tries_max > 0 && until.tries_max < k->conf.tries_max
                                   ? until.tries_max
                                   : k->conf.tries_max;
    bool renewed = false;

    if (until.deadline_ns == 0)
        until.deadline_ns = berth_now_ns() + k->conf.timeout_ns;
    for (unsigned tries = 0;; tries++) {
        struct berth_client_answer answer;
        status = (struct berth_kube_status){0};
        int r = once(k, &until, call, &answer, e);
        if (r == 0) {
            r = read_answer(k, a, call, &answer, ret, &status, e);
            berth_buf_fini(&answer.body);
        }
        if (ret_status != NULL)
            *ret_status = status;
        if (r == 0)
            return 0;
        if (r == -BERTH_EAUTH && !renewed && berth_kube_auth_refused(k->auth)) {
            renewed = true; /* once, at once: what we had was old */
            continue;
        }
        if (!is_worth_again(r) || tries + 1 >= tries_max || is_over(k, &until))
            return r;
        const int paused =
            pause_until(k, &until, berth_now_ns() + pause_ns(tries, status.retry_after_s));
        if (paused < 0)
            return r; /* what went wrong says more than that the time is over */
        atomic_fetch_add(&k->retries, 1);
    }
}
