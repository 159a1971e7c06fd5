#include "kube/auth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "kube/config.h"
#include "kube/exec.h"
#include "kube/file.h"
#include "wire/base64.h"

enum {
    TOKEN_BYTES_MAX = 64 * 1024,
    KEPT_BYTES_MAX = 2 << 20,
    TOKEN_FILE_S = 10,   /* how old what was read may be: the kubelet renews it in place */
    EXEC_TIMEOUT_S = 60, /* a program may ask another server */
    EARLY_S = 10,        /* what expires is renewed so long before */
    REFUSED_S = 5,       /* refused again within that: the credentials are wrong, not old */
    FAILED_S = 5,        /* how long a program's failure is everybody's, before it runs again */
    ENOUGH_S = 10,       /* a program that was waited for so long has failed, not its caller */
    SLICE_MS = 50,       /* how often who waits for another's program is asked whether it may */
};

struct berth_kube_auth {
    const struct berth_kube_config *config;
    atomic_bool stopped;
    pthread_mutex_t mu;
    pthread_cond_t cond; /* a program has ended; CLOCK_MONOTONIC */
    /* Under mu: what was got last, in kept. */
    struct berth_arena kept;
    bool have;
    bool running;    /* some caller runs the program, without the lock */
    uint64_t got_ns; /* monotonic */
    struct berth_kube_exec_result result;
    int failure; /* of the program's last run; 0: none */
    uint64_t failed_ns;
    struct berth_err why;
};

int
berth_kube_auth_new(const struct berth_kube_config *config, struct berth_kube_auth **ret,
                    struct berth_err *e)
{
    struct berth_kube_auth *x = calloc(1, sizeof *x);
    pthread_condattr_t attr;

    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    x->config = config;
    (void)pthread_mutex_init(&x->mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&x->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    berth_arena_init(&x->kept, KEPT_BYTES_MAX);
    *ret = x;
    return 0;
}

void
berth_kube_auth_free(struct berth_kube_auth *x)
{
    if (x == NULL)
        return;
    berth_arena_fini(&x->kept);
    (void)pthread_cond_destroy(&x->cond);
    (void)pthread_mutex_destroy(&x->mu);
    free(x);
}

void
berth_kube_auth_stop(struct berth_kube_auth *x)
{
    atomic_store(&x->stopped, true);
}

static bool
is_fresh_locked(const struct berth_kube_auth *x)
{
    if (!x->have)
        return false;
    if (x->config->exec == NULL)
        return berth_now_ns() - x->got_ns < TOKEN_FILE_S * BERTH_S;
    return x->result.expires_wall_ns == 0 ||
           berth_wall_ns() + EARLY_S * BERTH_S < x->result.expires_wall_ns;
}

static int
read_token_locked(struct berth_kube_auth *x, struct berth_err *e)
{
    char *token;
    size_t len;
    const int r =
        berth_kube_file_read(&x->kept, x->config->token_file, TOKEN_BYTES_MAX, &token, &len, e);

    if (r < 0)
        return r;
    if (len == 0)
        return berth_err_set(e, BERTH_ECONFIG, "%s: holds no token", x->config->token_file);
    x->result = (struct berth_kube_exec_result){.token = token};
    return 0;
}

static int
reread_locked(struct berth_kube_auth *x, struct berth_err *e)
{
    berth_arena_reset(&x->kept);
    const int r = read_token_locked(x, e);
    x->have = r == 0;
    x->got_ns = berth_now_ns();
    return r;
}

/* ---- a program ---- */

/* Who waits for a program: one that runs it, or for another's run. */
struct asker {
    const struct berth_kube_auth *x;
    const struct berth_kube_until *until; /* may be NULL */
};

static bool
is_cancelled(void *arg)
{
    const struct asker *w = arg;

    return atomic_load(&w->x->stopped) ||
           (w->until != NULL && w->until->cancelled != NULL && w->until->cancelled(w->until->arg));
}

/* A caller that goes away, or had little time, says nothing of the program. */
static bool
is_its_own_failure(int r, uint64_t ran_ns)
{
    return r < 0 && r != -BERTH_ECANCELED && r != -BERTH_ENOMEM &&
           (r != -BERTH_EDEADLINE || ran_ns >= ENOUGH_S * BERTH_S);
}

/* mu is held, and given back while the program runs. */
static void
run_locked(struct berth_kube_auth *x, struct asker *w, uint64_t deadline_ns, int *ret,
           struct berth_err *e)
{
    const uint64_t begin_ns = berth_now_ns(), most_ns = begin_ns + EXEC_TIMEOUT_S * BERTH_S;
    const struct berth_kube_until until = {.deadline_ns =
                                               deadline_ns < most_ns ? deadline_ns : most_ns,
                                           .cancelled = is_cancelled,
                                           .arg = w};
    struct berth_kube_exec_result result = {0};
    struct berth_err why = {{0}};
    struct berth_arena got;

    x->running = true;
    (void)pthread_mutex_unlock(&x->mu);
    berth_arena_init(&got, KEPT_BYTES_MAX);
    const int r = berth_kube_exec_run(x->config, &got, &until, &result, &why);
    (void)pthread_mutex_lock(&x->mu);
    x->running = false;
    x->have = r == 0;
    x->got_ns = berth_now_ns();
    x->failure = is_its_own_failure(r, x->got_ns - begin_ns) ? r : 0;
    x->failed_ns = x->got_ns;
    x->why = why;
    if (r == 0) {
        berth_arena_fini(&x->kept);
        x->kept = got; /* chunks stay where they are */
        x->result = result;
    } else {
        berth_arena_fini(&got);
        if (e != NULL)
            *e = why;
    }
    (void)pthread_cond_broadcast(&x->cond);
    *ret = r;
}

/* mu is held.  Until another's run is over, or for a slice. */
static void
wait_locked(struct berth_kube_auth *x)
{
    const uint64_t at_ns = berth_now_ns() + SLICE_MS * BERTH_MS;
    const struct timespec at = {.tv_sec = (time_t)(at_ns / BERTH_S),
                                .tv_nsec = (long)(at_ns % BERTH_S)};

    (void)pthread_cond_timedwait(&x->cond, &x->mu, &at);
}

/* Many callers, one run: the others wait for it, each for as long as it may, and share how it went.
 * mu is held. */
static int
ask_locked(struct berth_kube_auth *x, const struct berth_kube_until *until, struct berth_err *e)
{
    const uint64_t deadline_ns = until != NULL && until->deadline_ns > 0
                                     ? until->deadline_ns
                                     : berth_now_ns() + EXEC_TIMEOUT_S * BERTH_S;
    struct asker w = {.x = x, .until = until};
    int r = 0;

    while (r == 0 && !is_fresh_locked(x)) {
        if (x->failure < 0 && berth_now_ns() - x->failed_ns < FAILED_S * BERTH_S) {
            if (e != NULL)
                *e = x->why;
            return x->failure;
        }
        if (!x->running) {
            run_locked(x, &w, deadline_ns, &r, e);
            return r; /* what it gave is taken, however soon it expires */
        }
        wait_locked(x);
        (void)pthread_mutex_unlock(&x->mu);
        const bool cancelled = is_cancelled(&w); /* without the lock: it is the caller's function */
        (void)pthread_mutex_lock(&x->mu);
        if (cancelled)
            r = berth_err_set(e, BERTH_ECANCELED, "%s: stopped", x->config->exec->command);
        else if (berth_now_ns() >= deadline_ns)
            r = berth_err_set(e, BERTH_EDEADLINE, "%s: gives no credentials",
                              x->config->exec->command);
    }
    return r;
}

/* ---- what it comes to ---- */

/* What was got stays the auth's, and may be renewed while a call uses it: so it is copied. */
static int
copy_locked(const struct berth_kube_auth *x, struct berth_arena *a,
            struct berth_kube_credential *ret, struct berth_err *e)
{
    const struct berth_kube_exec_result *r = &x->result;

    if (r->token != NULL) {
        ret->bearer = berth_arena_strdup(a, r->token);
        if (ret->bearer == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    if (r->cert_pem.len > 0) {
        ret->tls.cert_pem.at = berth_arena_strndup(a, r->cert_pem.at, r->cert_pem.len);
        ret->tls.key_pem.at = berth_arena_strndup(a, r->key_pem.at, r->key_pem.len);
        ret->tls.cert_pem.len = r->cert_pem.len;
        ret->tls.key_pem.len = r->key_pem.len;
        if (ret->tls.cert_pem.at == NULL || ret->tls.key_pem.at == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    return 0;
}

static int
basic_header(const struct berth_kube_config *c, struct berth_arena *a, const char **ret,
             struct berth_err *e)
{
    const char *pair = berth_arena_printf(a, "%s:%s", c->basic_user,
                                          c->basic_password != NULL ? c->basic_password : "");
    struct berth_buf b;

    berth_buf_init(&b, a);
    berth_buf_puts(&b, "Authorization: Basic ");
    if (pair != NULL)
        berth_base64_put(&b, pair, strlen(pair));
    *ret = pair != NULL ? berth_buf_text(&b) : NULL;
    return *ret != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

int
berth_kube_auth_get(struct berth_kube_auth *x, const struct berth_kube_until *until,
                    struct berth_arena *a, struct berth_kube_credential *ret, struct berth_err *e)
{
    const struct berth_kube_config *c = x->config;
    struct berth_kube_credential cred = {.tls = c->tls, .bearer = c->token};
    int r = 0;

    if (c->exec != NULL || c->token_file != NULL) {
        (void)pthread_mutex_lock(&x->mu);
        if (c->exec != NULL)
            r = ask_locked(x, until, e);
        else if (!is_fresh_locked(x))
            r = reread_locked(x, e);
        if (r == 0)
            r = copy_locked(x, a, &cred, e);
        (void)pthread_mutex_unlock(&x->mu);
    } else if (c->token == NULL && c->basic_user != NULL) {
        r = basic_header(c, a, &cred.header, e);
    }
    if (r == 0)
        *ret = cred;
    return r;
}

bool
berth_kube_auth_refused(struct berth_kube_auth *x)
{
    bool again;

    if (x->config->exec == NULL && x->config->token_file == NULL)
        return false;
    (void)pthread_mutex_lock(&x->mu);
    again = x->have && berth_now_ns() - x->got_ns > REFUSED_S * BERTH_S;
    if (again)
        x->have = false;
    (void)pthread_mutex_unlock(&x->mu);
    return again;
}
