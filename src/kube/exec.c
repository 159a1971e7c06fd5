#include "kube/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/config.h"
#include "kube/object.h"
#include "os/process.h"
#include "wire/base64.h"
#include "wire/json.h"

extern char **environ;

enum { POLL_MS = 50, ENVIRON_MAX = 4096, STDERR_MAX = 4096 };

/* ---- what it is told ---- */

/* KUBERNETES_EXEC_INFO, as the API's document says. */
static char *
exec_info(const struct berth_kube_config *c, struct berth_arena *a)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_buf_puts(&b, "KUBERNETES_EXEC_INFO=");
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "apiVersion");
    berth_jw_string(&w, c->exec->api_version);
    berth_jw_key(&w, "kind");
    berth_jw_string(&w, "ExecCredential");
    berth_jw_key(&w, "spec");
    berth_jw_object(&w);
    berth_jw_key(&w, "interactive");
    berth_jw_bool(&w, false);
    if (c->exec->cluster_info) {
        berth_jw_key(&w, "cluster");
        berth_jw_object(&w);
        berth_jw_key(&w, "server");
        berth_jw_string(&w, c->server);
        if (c->server_name != NULL) {
            berth_jw_key(&w, "tls-server-name");
            berth_jw_string(&w, c->server_name);
        }
        if (c->tls.unverified) {
            berth_jw_key(&w, "insecure-skip-tls-verify");
            berth_jw_bool(&w, true);
        }
        if (c->tls.ca_pem.len > 0) {
            struct berth_buf ca;
            berth_buf_init(&ca, a);
            berth_base64_put(&ca, c->tls.ca_pem.at, c->tls.ca_pem.len);
            berth_jw_key(&w, "certificate-authority-data");
            berth_jw_string(&w, berth_buf_text(&ca));
        }
        berth_jw_object_end(&w);
    }
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return (char *)(uintptr_t)berth_buf_text(&b);
}

static bool
same_name(const char *x, const char *y)
{
    const size_t n = strcspn(x, "=");

    return strncmp(x, y, n) == 0 && y[n] == '=';
}

/* Ours, less what the kubeconfig sets anew.  NULL: out of memory. */
static char **
exec_environ(const struct berth_kube_config *c, struct berth_arena *a)
{
    char **env = BERTH_NEW_N(a, char *, ENVIRON_MAX + BERTH_KUBE_EXEC_ARGS_MAX + 2);
    size_t n = 0;

    if (env == NULL)
        return NULL;
    for (size_t i = 0; environ[i] != NULL && n < ENVIRON_MAX; i++) {
        bool ours = !same_name("KUBERNETES_EXEC_INFO", environ[i]);
        for (size_t k = 0; ours && c->exec->env[k] != NULL; k++)
            ours = !same_name(c->exec->env[k], environ[i]);
        if (ours)
            env[n++] = environ[i];
    }
    for (size_t k = 0; c->exec->env[k] != NULL; k++)
        env[n++] = (char *)(uintptr_t)c->exec->env[k];
    env[n] = exec_info(c, a);
    return env[n] != NULL ? env : NULL;
}

/* ---- running it ---- */

struct child {
    pid_t pid;
    int out, err; /* our ends; -1: at its end */
};

static int
start(const struct berth_kube_exec *exec, char **env, struct child *ret, struct berth_err *e)
{
    int out[2], err[2];

    if (pipe2(out, O_CLOEXEC) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "cannot start %s: %m", exec->command);
    if (pipe2(err, O_CLOEXEC) < 0) {
        (void)berth_err_set(e, BERTH_ELIMIT, "cannot start %s: %m", exec->command);
        (void)close(out[0]);
        (void)close(out[1]);
        return -BERTH_ELIMIT;
    }
    const struct berth_spawn how = {.file = exec->command,
                                    .argv = exec->args,
                                    .env = env,
                                    .search = true,
                                    .out_fd = out[1],
                                    .err_fd = err[1]};
    const int r = berth_process_spawn(&how, &ret->pid, e);
    (void)close(out[1]);
    (void)close(err[1]);
    ret->out = out[0];
    ret->err = err[0];
    if (r < 0) {
        (void)close(out[0]);
        (void)close(err[0]);
    }
    return r;
}

/* Take what there is; closes the end at its end.  False: more than max. */
static bool
take(int *fd, struct berth_buf *b, size_t max, bool keep_last)
{
    char piece[4096];
    const ssize_t n = read(*fd, piece, sizeof piece);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n <= 0) {
        (void)close(*fd);
        *fd = -1;
        return true;
    }
    if (keep_last && b->len + (size_t)n > max)
        b->len = 0; /* of what it complains the end tells most */
    if ((size_t)n > max - b->len)
        return false;
    berth_buf_put(b, piece, (size_t)n);
    return true;
}

/* 0, or why it is not waited for any longer. */
static int
may_wait(const struct berth_kube_until *until)
{
    if (until->cancelled != NULL && until->cancelled(until->arg))
        return -BERTH_ECANCELED;
    return berth_now_ns() >= until->deadline_ns ? -BERTH_EDEADLINE : 0;
}

/* Until it has closed both its outputs.  0, or why not. */
static int
listen_to(struct child *child, struct berth_buf *out, struct berth_buf *err,
          const struct berth_kube_until *until)
{
    while (child->out >= 0 || child->err >= 0) {
        struct pollfd fds[2] = {{.fd = child->out, .events = POLLIN},
                                {.fd = child->err, .events = POLLIN}};
        const int r = may_wait(until);
        if (r < 0)
            return r;
        if (poll(fds, 2, POLL_MS) <= 0)
            continue;
        if (fds[0].revents != 0 && !take(&child->out, out, BERTH_KUBE_EXEC_OUTPUT_MAX, false))
            return -BERTH_ETOOBIG;
        if (fds[1].revents != 0 && !take(&child->err, err, STDERR_MAX, true))
            return -BERTH_ETOOBIG;
    }
    return 0;
}

/* It closed its outputs, so it is about to end: wait for that, but not for ever. */
static int
reap(pid_t pid, int pidfd, const struct berth_kube_until *until, int *ret_status)
{
    while (!berth_process_reap(pid, ret_status)) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        const int r = may_wait(until);
        if (r < 0)
            return r;
        (void)poll(&p, 1, POLL_MS);
    }
    return 0;
}

static const char *
last_line(struct berth_buf *err)
{
    const char *text = berth_buf_text(err);

    if (text == NULL || err->len == 0)
        return "it said nothing";
    while (err->len > 0 && (err->at[err->len - 1] == '\n' || err->at[err->len - 1] == '\r'))
        err->at[--err->len] = '\0';
    const char *line = strrchr(text, '\n');
    return line != NULL ? line + 1 : text;
}

/* A program that fails may do better the next time, as when the server that it asks is away: that
 * is worth another try, which what is wrong in the kubeconfig is not. */
static int
outcome(const char *command, int r, int status, uint64_t waited_ns, struct berth_buf *err,
        struct berth_err *e)
{
    char how[96];

    if (r == -BERTH_ECANCELED)
        return berth_err_set(e, BERTH_ECANCELED, "%s: stopped", command);
    if (r == -BERTH_EDEADLINE)
        return berth_err_set(e, BERTH_EDEADLINE, "%s: gave no credentials within %llu s", command,
                             (unsigned long long)(waited_ns / BERTH_S));
    if (r == -BERTH_ETOOBIG)
        return berth_err_set(e, BERTH_ECONFIG, "%s: printed more than %d bytes", command,
                             BERTH_KUBE_EXEC_OUTPUT_MAX);
    if (status != 0)
        return berth_err_set(e, BERTH_ENETWORK, "%s %s: %.200s", command,
                             berth_process_status_text(status, how, sizeof how), last_line(err));
    return 0;
}

static int
not_started(const struct berth_kube_config *c, int r, struct berth_err *e)
{
    const char *hint = c->exec->install_hint;
    char why[160];

    (void)snprintf(why, sizeof why, "%s", e != NULL ? e->msg : "");
    return berth_err_set(e, r == -BERTH_ELIMIT ? BERTH_ENETWORK : BERTH_ECONFIG,
                         "user \"%.80s\": %s%s%.240s", c->user != NULL ? c->user : "", why,
                         hint != NULL ? "; " : "", hint != NULL ? hint : "");
}

int
berth_kube_exec_run(const struct berth_kube_config *config, struct berth_arena *a,
                    const struct berth_kube_until *until, struct berth_kube_exec_result *ret,
                    struct berth_err *e)
{
    const struct berth_kube_exec *exec = config->exec;
    const uint64_t begin_ns = berth_now_ns();
    char **env = exec_environ(config, a);
    struct berth_buf out, err;
    struct child child;
    int status = 0;

    berth_buf_init(&out, a);
    berth_buf_init(&err, a);
    if (env == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    int r = start(exec, env, &child, e);
    if (r < 0)
        return not_started(config, r, e);
    BERTH_AUTO_CLOSE int pidfd = berth_process_watch(child.pid);
    r = listen_to(&child, &out, &err, until);
    if (r == 0)
        r = reap(child.pid, pidfd, until, &status);
    if (r < 0)
        berth_process_end(child.pid); /* and what it started, which holds our pipes */
    berth_closep(&child.out);
    berth_closep(&child.err);
    r = outcome(exec->command, r, status, berth_now_ns() - begin_ns, &err, e);
    if (r < 0)
        return r;
    const char *text = berth_buf_text(&out);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    r = berth_kube_exec_parse(a, text, out.len, exec->api_version, ret, e);
    return r < 0 ? berth_err_wrap(e, r, "%s", exec->command) : 0;
}

/* ---- what it says ---- */

int
berth_kube_exec_parse(struct berth_arena *a, const char *text, size_t len, const char *api_version,
                      struct berth_kube_exec_result *ret, struct berth_err *e)
{
    struct berth_kube_exec_result x = {0};
    const struct berth_json *doc;
    const int r = berth_json_parse(a, text, len, NULL, &doc, e);

    if (r < 0)
        return berth_err_wrap(e, r == -BERTH_EINVAL ? -BERTH_ECONFIG : r, "its answer");
    if (!berth_slice_is(berth_kube_text(doc, "kind"), "ExecCredential") ||
        !berth_slice_is(berth_kube_text(doc, "apiVersion"), api_version))
        return berth_err_set(e, BERTH_ECONFIG, "its answer is no ExecCredential of %s",
                             api_version);
    const struct berth_slice token = berth_kube_text(doc, "status.token");
    const struct berth_slice until = berth_kube_text(doc, "status.expirationTimestamp");
    x.cert_pem = berth_kube_text(doc, "status.clientCertificateData");
    x.key_pem = berth_kube_text(doc, "status.clientKeyData");
    if (token.len > 0 && strcspn(token.at, "\r\n") != token.len)
        return berth_err_set(e, BERTH_ECONFIG, "its answer's token holds a line end or a NUL");
    x.token = token.len > 0 ? token.at : NULL;
    if ((x.cert_pem.len > 0) != (x.key_pem.len > 0))
        return berth_err_set(e, BERTH_ECONFIG,
                             "its answer has one of clientCertificateData and clientKeyData");
    if (x.token == NULL && x.cert_pem.len == 0)
        return berth_err_set(e, BERTH_ECONFIG, "its answer has neither a token nor a certificate");
    x.expires_wall_ns = berth_kube_time(until);
    if (until.len > 0 && x.expires_wall_ns == 0)
        return berth_err_set(e, BERTH_ECONFIG, "its answer's expirationTimestamp is not RFC 3339");
    *ret = x;
    return 0;
}
