#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "deploy/deploy_priv.h"
#include "os/process.h"

/* The command lines that a spec has around a step, for /bin/sh with BERTH_SERVICE_ID and BERTH_STEP
 * in its environment, and nothing else that begins like that. */

enum { SAID_MAX = 200, LOOK_MS = 100 };

/* A hook that runs: it has ended when its shell has.  What that left running in the background may
 * go on, and keep the output open. */
struct hook {
    pid_t pid;
    int out_fd;   /* not blocking; -1: it was closed */
    int watch_fd; /* readable when the shell has ended; -1: asked from time to time */
    char said[SAID_MAX];
    size_t said_len;
};

/* Keep the beginning of what it has printed by now. */
static void
listen_to(struct hook *h)
{
    enum { READS_MAX = 64 }; /* one that prints for ever is not listened to for ever */
    char more[512];

    for (int i = 0; i < READS_MAX && h->out_fd >= 0; i++) {
        const ssize_t n = read(h->out_fd, more, sizeof more);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            berth_closep(&h->out_fd);
            h->out_fd = -1;
            return;
        }
        const size_t room = sizeof h->said - 1 - h->said_len;
        const size_t keep = (size_t)n < room ? (size_t)n : room;
        memcpy(h->said + h->said_len, more, keep);
        h->said_len += keep;
    }
}

/* Until the shell has ended; it is reaped then.  -BERTH_ECANCELED: it was cut short. */
static int
follow(struct hook *h, const struct berth_op *op, int *ret_status)
{
    while (!berth_process_reap(h->pid, ret_status)) {
        struct pollfd p[] = {{.fd = h->out_fd, .events = POLLIN},
                             {.fd = h->watch_fd, .events = POLLIN}};
        if (berth_op_cancelled(op)) {
            berth_process_end(h->pid);
            return -BERTH_ECANCELED;
        }
        if (poll(p, 2, LOOK_MS) > 0)
            listen_to(h);
    }
    listen_to(h);
    h->said[strcspn(h->said, "\n")] = '\0';
    return 0;
}

static int
start(struct hook *h, const struct berth_deployment *x, const struct berth_step *step,
      const char *line, struct berth_err *e)
{
    const char *const argv[] = {"/bin/sh", "-c", line, "berth-hook", NULL};
    char id[sizeof "BERTH_SERVICE_ID=" + BERTH_SERVICE_ID_MAX];
    char name[sizeof "BERTH_STEP=" + BERTH_STEP_NAME_MAX];
    int fds[2];

    (void)snprintf(id, sizeof id, "BERTH_SERVICE_ID=%s", x->s->id);
    (void)snprintf(name, sizeof name, "BERTH_STEP=%s", step->name);
    char *const more[] = {id, name, NULL};
    BERTH_AUTO_FREE char **env = berth_process_environ(NULL, more);
    if (env == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "hook: out of memory");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "hook: %m");
    /* The next server runs it again: one that has no server any more must not go on beside that. */
    const struct berth_spawn spawn = {
        .file = argv[0], .argv = argv, .env = env, .out_fd = fds[1], .dies_with_us = true};
    const int r = berth_process_spawn(&spawn, &h->pid, e);
    (void)close(fds[1]);
    if (r < 0) {
        (void)close(fds[0]);
        return r;
    }
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK); /* our end alone */
    h->out_fd = fds[0];
    h->watch_fd = berth_process_watch(h->pid);
    return 0;
}

/* which: "preHook".  Its line is not told, as it may hold a secret. */
static int
run_hook(struct berth_deployment *x, const struct berth_step *step, const char *which,
         const char *line, struct berth_err *e)
{
    struct hook h = {.out_fd = -1, .watch_fd = -1};
    char how[64];
    int status = 0, r = start(&h, x, step, line, e);

    if (r == 0 && (r = follow(&h, &x->op, &status)) < 0)
        r = berth_err_set(e, BERTH_ECANCELED, "the %s of %s was cut short", which, step->name);
    berth_closep(&h.out_fd);
    berth_closep(&h.watch_fd);
    if (r < 0 || status == 0)
        return r;
    return berth_err_set(e, BERTH_EBACKEND, "the %s of %s %s%s%s", which, step->name,
                         berth_process_status_text(status, how, sizeof how),
                         h.said[0] != '\0' ? ": " : "", h.said);
}

int
berth_hook_pre(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = arg;
    const struct berth_spec_step *own = berth_spec_step_of(&x->revision->spec, step->name);

    x->op.deadline_ns = berth_deploy_now(x->d) + step->policy.timeout_ns;
    return own != NULL && own->pre_hook != NULL ? run_hook(x, step, "preHook", own->pre_hook, e)
                                                : 0;
}

int
berth_hook_post(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = arg;
    const struct berth_spec_step *own = berth_spec_step_of(&x->revision->spec, step->name);

    x->op.deadline_ns = berth_deploy_now(x->d) + step->policy.timeout_ns;
    return own != NULL && own->post_hook != NULL ? run_hook(x, step, "postHook", own->post_hook, e)
                                                 : 0;
}
