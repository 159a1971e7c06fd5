#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "os/process.h"

/* The command lines that a spec has around a step, for /bin/sh with BERTH_SERVICE_ID and BERTH_STEP
 * in its environment. */

enum { SAID_MAX = 200 };

/* Read what it prints until it ends, or its time is up. */
static int
follow(struct berth_deployment *x, pid_t pid, int fd, char *said, size_t cap)
{
    size_t len = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char more[512];
        if (berth_op_cancelled(&x->op)) {
            berth_process_end(pid);
            return -BERTH_ECANCELED;
        }
        if (poll(&p, 1, 100) <= 0)
            continue;
        const ssize_t n = read(fd, more, sizeof more);
        if (n <= 0)
            break;
        const size_t keep = (size_t)n < cap - 1 - len ? (size_t)n : cap - 1 - len;
        memcpy(said + len, more, keep);
        len += keep;
    }
    said[len] = '\0';
    said[strcspn(said, "\n")] = '\0';
    return 0;
}

static int
run_hook(struct berth_deployment *x, const struct berth_step *step, const char *line,
         struct berth_err *e)
{
    static const char wrapper[] = "export BERTH_SERVICE_ID=\"$1\" BERTH_STEP=\"$2\"; eval \"$3\"";
    const char *const argv[] = {"/bin/sh", "-c",       wrapper, "berth-hook",
                                x->s->id,  step->name, line,    NULL};
    char said[SAID_MAX] = "", how[64];
    int fds[2], status = 0, r;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "hook: %m");
    const struct berth_spawn spawn = {.file = argv[0], .argv = argv, .out_fd = fds[1]};
    r = berth_process_spawn(&spawn, &pid, e);
    (void)close(fds[1]);
    if (r == 0 && (r = follow(x, pid, fds[0], said, sizeof said)) < 0)
        (void)berth_err_set(e, BERTH_ECANCELED, "the hook \"%.80s\" was cut short", line);
    (void)close(fds[0]);
    if (r < 0)
        return r;
    /* It has closed its output; what it left running in the background may go on. */
    for (int i = 0; i < 600 && !berth_process_reap(pid, &status); i++) {
        if (berth_op_cancelled(&x->op)) {
            berth_process_end(pid);
            return berth_err_set(e, BERTH_ECANCELED, "the hook \"%.80s\" was cut short", line);
        }
        (void)poll(NULL, 0, 10);
    }
    if (status == 0)
        return 0;
    return berth_err_set(e, BERTH_EBACKEND, "the hook \"%.80s\" %s%s%s", line,
                         berth_process_status_text(status, how, sizeof how),
                         said[0] != '\0' ? ": " : "", said);
}

static const struct berth_spec_step *
of_step(const struct berth_deployment *x, const struct berth_step *step)
{
    const struct berth_spec *spec = &x->revision->spec;

    for (size_t i = 0; i < spec->step_count; i++) {
        if (strcmp(spec->steps[i].name, step->name) == 0)
            return &spec->steps[i];
    }
    return NULL;
}

int
berth_hook_pre(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = arg;
    const struct berth_spec_step *own = of_step(x, step);

    x->op.deadline_ns = berth_deploy_now(x->d) + step->policy.timeout_ns;
    return own != NULL && own->pre_hook != NULL ? run_hook(x, step, own->pre_hook, e) : 0;
}

int
berth_hook_post(void *arg, const struct berth_step *step, struct berth_err *e)
{
    struct berth_deployment *x = arg;
    const struct berth_spec_step *own = of_step(x, step);

    x->op.deadline_ns = berth_deploy_now(x->d) + step->policy.timeout_ns;
    return own != NULL && own->post_hook != NULL ? run_hook(x, step, own->post_hook, e) : 0;
}
