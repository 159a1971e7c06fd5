#include "cmd/local.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "cmd/cmd_priv.h"
#include "cmd/remote.h"
#include "conf/conf.h"

enum { START_S = 30, STOP_S = 40, TAIL_BYTES = 1500 };

static void
wait_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The host and port of http://HOST:PORT on this machine; false for another one. */
static bool
place_of(const char *base, char host[64], char port[8])
{
    static const char *const here[] = {"127.0.0.1", "localhost", "[::1]"};
    const char *at = base + strlen("http://");
    int64_t n = 80;

    if (strncmp(base, "http://", 7) != 0)
        return false;
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        const size_t len = strlen(here[i]);
        if (strncmp(at, here[i], len) != 0 || (at[len] != ':' && at[len] != '\0'))
            continue;
        if (at[len] == ':' && !berth_int_parse(at + len + 1, strlen(at + len + 1), 1, 65535, &n))
            return false;
        (void)snprintf(host, 64, "%s", i == 2 ? "::1" : here[i]);
        (void)snprintf(port, 8, "%d", (int)n);
        return true;
    }
    return false;
}

/* In the child: nothing but async-signal-safe calls before exec. */
static void
become(const char *const argv[], int log_fd)
{
    const int null_fd = open("/dev/null", O_RDONLY);

    (void)setpgid(0, 0); /* Ctrl-C is for the command, not for the server */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(log_fd, STDOUT_FILENO);
    (void)dup2(log_fd, STDERR_FILENO);
    (void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int
spawn(struct berth_local *l, struct berth_remote *r, const char *const argv[])
{
    const int fd = open(l->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return berth_failed(r->args, "%s: cannot be written: %m", l->log);
    l->pid = fork();
    if (l->pid == 0)
        become(argv, fd);
    (void)close(fd);
    if (l->pid < 0) {
        l->pid = 0;
        return berth_failed(r->args, "cannot start a server: %m");
    }
    return BERTH_EXIT_OK;
}

/* Did it end by itself? */
static bool
is_gone(struct berth_local *l)
{
    if (l->pid > 0 && waitpid(l->pid, NULL, WNOHANG) == l->pid)
        l->pid = 0;
    return l->pid == 0;
}

static int
await(struct berth_local *l, struct berth_remote *r)
{
    const uint64_t end = berth_now_ns() + START_S * BERTH_S;

    while (!berth_remote_alive(r)) {
        const bool gone = is_gone(l);
        if (gone || berth_now_ns() > end) {
            (void)berth_failed(r->args,
                               gone ? "the server ended at once; the end of its log, %s:"
                                    : "the server does not answer; its log, %s:",
                               l->log);
            berth_local_tail(l);
            berth_local_stop(l);
            return BERTH_EXIT_FAILED;
        }
        wait_ms(20);
    }
    return BERTH_EXIT_OK;
}

int
berth_local_start(struct berth_local *l, struct berth_remote *r, const char *name, const char *path)
{
    char host[64], port[8], state[PATH_MAX - 16];
    char *model = path != NULL ? berth_arena_printf(&r->arena, "%s=%s", name, path) : NULL;

    *l = (struct berth_local){0};
    if (!place_of(r->base, host, port))
        return berth_remote_absent(r, "and it is not on this machine");
    (void)berth_conf_state_dir_default(environ, state, sizeof state);
    if (mkdir(state, 0700) != 0 && errno == ENOENT) { /* its parents are missing too */
        for (char *slash = strchr(state + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
            *slash = '\0';
            (void)mkdir(state, 0700);
            *slash = '/';
        }
        (void)mkdir(state, 0700);
    }
    (void)snprintf(l->log, sizeof l->log, "%s/run.log", state);
    const char *argv[] = {"berth",
                          "serve",
                          "--host",
                          host,
                          "--port",
                          port,
                          "--grpc-port",
                          "0",
                          "--state-dir",
                          state,
                          "--set",
                          "monitoring.prometheus_enabled=false",
                          model != NULL ? "--model" : NULL,
                          model,
                          NULL};
    (void)fprintf(stderr, "No server at %s: starting one for this command.\n", r->base);
    const int rc = spawn(l, r, argv);
    return rc == 0 ? await(l, r) : rc;
}

void
berth_local_stop(struct berth_local *l)
{
    const uint64_t end = berth_now_ns() + STOP_S * BERTH_S;

    if (l->pid <= 0)
        return;
    (void)kill(l->pid, SIGTERM);
    while (!is_gone(l)) {
        if (berth_now_ns() > end) {
            (void)kill(l->pid, SIGKILL);
            (void)waitpid(l->pid, NULL, 0);
            l->pid = 0;
            return;
        }
        wait_ms(10);
    }
}

void
berth_local_tail(const struct berth_local *l)
{
    char text[TAIL_BYTES + 1];
    const int fd = open(l->log, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    const off_t size = lseek(fd, 0, SEEK_END);
    const off_t from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
    const ssize_t n = pread(fd, text, TAIL_BYTES, from);
    (void)close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    const char *line = from > 0 ? strchr(text, '\n') : NULL; /* from the next whole line on */
    (void)fputs(line != NULL ? line + 1 : text, stderr);
}
