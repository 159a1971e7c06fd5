#include "kube/auth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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
};

struct berth_kube_auth {
    const struct berth_kube_config *config;
    atomic_bool stopped;
    pthread_mutex_t mu;
    /* Under mu: what was got last, in kept. */
    struct berth_arena kept;
    bool have;
    uint64_t got_ns; /* monotonic */
    struct berth_kube_exec_result result;
};

int
berth_kube_auth_new(const struct berth_kube_config *config, struct berth_kube_auth **ret,
                    struct berth_err *e)
{
    struct berth_kube_auth *x = calloc(1, sizeof *x);

    if (x == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    x->config = config;
    (void)pthread_mutex_init(&x->mu, NULL);
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
renew_locked(struct berth_kube_auth *x, struct berth_err *e)
{
    x->have = false;
    berth_arena_reset(&x->kept);
    const int r = x->config->exec != NULL
                      ? berth_kube_exec_run(x->config, &x->kept, EXEC_TIMEOUT_S * BERTH_S,
                                            &x->stopped, &x->result, e)
                      : read_token_locked(x, e);
    x->have = r == 0;
    x->got_ns = berth_now_ns();
    return r;
}

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
berth_kube_auth_get(struct berth_kube_auth *x, struct berth_arena *a,
                    struct berth_kube_credential *ret, struct berth_err *e)
{
    const struct berth_kube_config *c = x->config;
    struct berth_kube_credential cred = {.tls = c->tls, .bearer = c->token};
    int r = 0;

    if (c->exec != NULL || c->token_file != NULL) {
        (void)pthread_mutex_lock(&x->mu);
        if (!is_fresh_locked(x))
            r = renew_locked(x, e);
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
