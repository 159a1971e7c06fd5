#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "shimlets/process/process_priv.h"

extern char **environ; /* POSIX has it in no header without _GNU_SOURCE's unistd.h */

enum { ENV_MAX = 4096, ARGS_MAX = 4096, EXEC_FD = PROCESS_LOCK_FD + 1 };
static const uint64_t seek_ns = 20 * BERTH_MS;

/* ---- what is started ---- */

/* "$(PORT)", "$(HOST)", "$(REPLICA)" by the replica's own, "$$" by "$"; in a.  NULL: no memory. */
static char *
expand(struct berth_arena *a, const char *text, const char *host, uint16_t port, uint32_t index)
{
    struct berth_buf b;

    berth_buf_init(&b, a);
    while (*text != '\0') {
        if (strncmp(text, "$(PORT)", 7) == 0) {
            berth_buf_printf(&b, "%u", port);
            text += 7;
        } else if (strncmp(text, "$(HOST)", 7) == 0) {
            berth_buf_puts(&b, host);
            text += 7;
        } else if (strncmp(text, "$(REPLICA)", 10) == 0) {
            berth_buf_printf(&b, "%u", index);
            text += 10;
        } else {
            text += text[0] == '$' && text[1] == '$';
            berth_buf_putc(&b, *text++);
        }
    }
    berth_buf_putc(&b, '\0');
    return b.failed ? NULL : b.at;
}

int
process_program(const struct berth_shimlet *s, const char *name, char ret[PROCESS_PATH_MAX],
                struct berth_err *e)
{
    const char *path = getenv("PATH"); /* NOLINT(concurrency-mt-unsafe): nobody sets it here */

    if (strcmp(name, "berth") == 0 && s->program[0] != '\0')
        name = s->program; /* the one that runs now, wherever it lies */
    if (strchr(name, '/') != NULL) {
        (void)snprintf(ret, PROCESS_PATH_MAX, "%s", name);
        return access(ret, X_OK) == 0 ? 0 : berth_err_set(e, BERTH_EINVAL, "%s: %m", name);
    }
    if (path == NULL)
        path = "/usr/local/bin:/usr/bin:/bin";
    while (*path != '\0') {
        const size_t len = strcspn(path, ":");
        struct stat st;

        (void)snprintf(ret, PROCESS_PATH_MAX, "%.*s/%s", (int)len, path, name);
        if (len > 0 && access(ret, X_OK) == 0 && stat(ret, &st) == 0 && S_ISREG(st.st_mode))
            return 0;
        path += len + (path[len] == ':');
    }
    return berth_err_set(e, BERTH_EINVAL, "there is no program %s on this machine (in PATH)", name);
}

/* What the child needs, all of it made before fork(): there, only system calls are safe. */
struct child {
    char program[PROCESS_PATH_MAX];
    const char *argv[ARGS_MAX + 1];
    const char *envp[ENV_MAX + 1];
    const char *cwd;
    int log_fd, lock_fd, exec_fd;
    struct process_limits limits;
};

/* What it says when it cannot become the engine. */
struct fault {
    int why; /* errno */
    bool limits;
};

static bool
env_is(const char *entry, const char *key)
{
    const size_t len = strlen(key);

    return strncmp(entry, key, len) == 0 && entry[len] == '=';
}

/* Set KEY=VALUE, in place of what there was of that key. */
static bool
env_put(const char **envp, size_t *n, struct berth_arena *a, const char *key, const char *value)
{
    size_t at = 0;

    while (at < *n && !env_is(envp[at], key))
        at++;
    if (at >= ENV_MAX)
        return false;
    envp[at] = berth_arena_printf(a, "%s=%s", key, value);
    *n += at == *n;
    return envp[at] != NULL;
}

/* Ours without our own settings, which would be taken for the engine's; then the unit's; then the
 * marks, which nothing may hide. */
static bool
make_env(const struct berth_shimlet *s, const struct process_replica *r, struct berth_arena *a,
         const char **envp)
{
    char path[PROCESS_PATH_MAX], devices[PROCESS_DEVICES_MAX * 4] = "";
    size_t n = 0, len = 0;
    bool ok = true;

    for (char **at = environ; *at != NULL && n < ENV_MAX / 2; at++) {
        const bool setting = strncmp(*at, "BERTH_", 6) == 0 || strncmp(*at, "UNIMODEL_", 9) == 0;

        if (!setting || env_is(*at, "BERTH_PLUGINS_PLUGIN_DIR")) /* the folder of backends */
            envp[n++] = *at;
    }
    process_path(s, r->unit->name, r->rec.id, ".d", path);
    ok = env_put(envp, &n, a, "BERTH_STATE_DIR", path);
    for (size_t i = 0; i < r->rec.device_count; i++)
        len += (size_t)snprintf(devices + len, sizeof devices - len, "%s%u", i > 0 ? "," : "",
                                r->rec.devices[i]);
    if (r->rec.device_count > 0)
        ok = ok && env_put(envp, &n, a, "CUDA_VISIBLE_DEVICES", devices);
    for (size_t i = 0; ok && i < r->rec.env_count; i++) {
        const char *value = expand(a, r->rec.env[i].value, s->conf.host, r->rec.port, r->rec.index);

        ok = value != NULL && env_put(envp, &n, a, r->rec.env[i].key, value);
    }
    ok = ok && env_put(envp, &n, a, "BERTH_REPLICA", r->rec.id) &&
         env_put(envp, &n, a, "BERTH_REPLICA_OF", s->state_dir);
    envp[n] = NULL;
    return ok;
}

static int
make_child(struct berth_shimlet *s, struct process_replica *r, struct berth_arena *a,
           struct child *ret, struct berth_err *e)
{
    size_t n = 0;
    int fail = process_program(s, r->rec.command[0], ret->program, e);

    if (fail < 0)
        return fail;
    for (; r->rec.command[n] != NULL && n < ARGS_MAX; n++) {
        ret->argv[n] = expand(a, r->rec.command[n], s->conf.host, r->rec.port, r->rec.index);
        if (ret->argv[n] == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    ret->argv[n] = NULL;
    ret->cwd = r->rec.cwd;
    if (!make_env(s, r, a, ret->envp))
        return berth_err_set(e, BERTH_ENOMEM, "no memory for its environment, or more than %d",
                             ENV_MAX);
    return process_limits_make(s, r, &ret->limits, e);
}

/* ---- the child, until it is the engine ---- */

__attribute__((noreturn)) static void
become(const struct child *c)
{
    sigset_t none;
    int null_fd = open("/dev/null", O_RDONLY);
    struct fault fault;

    /* Ignored signals stay ignored over exec. */
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    fault = (struct fault){.why = process_limits_take(&c->limits), .limits = true};
    /* Above what they are to become, then down: a target may be another's number now. */
    const int log_fd = fcntl(c->log_fd, F_DUPFD, 16), lock_fd = fcntl(c->lock_fd, F_DUPFD, 16);
    const int exec_fd = fcntl(c->exec_fd, F_DUPFD, 16);
    (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(log_fd, STDOUT_FILENO);
    (void)dup2(log_fd, STDERR_FILENO);
    (void)dup2(lock_fd, PROCESS_LOCK_FD);
    (void)dup3(exec_fd, EXEC_FD, O_CLOEXEC);
    (void)close_range(EXEC_FD + 1, ~0u, 0);
    if (fault.why == 0) {
        if (chdir(c->cwd) == 0)
            (void)execve(c->program, (char *const *)c->argv, (char *const *)c->envp);
        fault = (struct fault){.why = errno};
    }
    (void)!write(EXEC_FD, &fault, sizeof fault);
    _exit(127);
}

/* Fork, and wait until it is the engine (some 1 ms); with every signal blocked, so that none of our
 * handlers runs in the child. */
static int
launch(const struct child *c, int exec_read_fd, pid_t *ret_pid, struct berth_err *e)
{
    struct fault fault = {.why = 0};
    sigset_t every, was;

    (void)sigfillset(&every);
    (void)pthread_sigmask(SIG_SETMASK, &every, &was);
    const pid_t pid = fork();
    if (pid == 0)
        become(c);
    const int fork_errno = errno;
    (void)pthread_sigmask(SIG_SETMASK, &was, NULL);
    (void)close(c->exec_fd);
    if (pid < 0) {
        errno = fork_errno;
        return berth_err_set(e, BERTH_ELIMIT, "cannot start a process: %m");
    }
    ssize_t n;
    do
        n = read(exec_read_fd, &fault, sizeof fault);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof fault) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        errno = fault.why;
        if (fault.limits)
            return berth_err_set(e, BERTH_EIO, "its limits cannot be put on it (%s): %m",
                                 c->limits.group[0] != '\0' ? c->limits.group
                                                            : "RLIMIT_DATA, affinity");
        return berth_err_set(e, BERTH_EINVAL, "cannot start %s in %s: %m", c->program, c->cwd);
    }
    *ret_pid = pid;
    return 0;
}

/* ---- starting one ---- */

/* Locked by us, or -1: somebody holds it (EWOULDBLOCK), or it cannot be opened. */
static int
take_lock(const struct berth_shimlet *s, const struct process_replica *r)
{
    char path[PROCESS_PATH_MAX];

    process_path(s, r->unit->name, r->rec.id, ".lock", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        const int why = errno;

        (void)close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

bool
process_is_held(const struct berth_shimlet *s, const struct process_replica *r, bool *ret_sure)
{
    BERTH_AUTO_CLOSE int fd = take_lock(s, r);

    *ret_sure = fd >= 0 || errno == EWOULDBLOCK;
    return fd < 0;
}

/*
 * The port it had, if it can still be had; a fixed one or none.  Where it ended without ever being
 * ready it is not tried for ever: what is free to us need not be so to every engine, which may not
 * take a port that is still being closed.
 */
static int
settle_port(struct berth_shimlet *s, struct process_replica *r, struct berth_err *e)
{
    struct process_record *rec = &r->rec;
    const bool doubtful = r->unready_ends > 0 && !rec->port_fixed;

    if (rec->port != 0 && !doubtful && process_port_free(s->conf.host, rec->port))
        return 0;
    if (rec->port_fixed)
        return berth_err_set(e, BERTH_EAGAIN, "port %u is in use by another program", rec->port);
    const uint16_t had = rec->port;
    rec->port = 0;
    rec->port = process_port_pick(s, had);
    if (rec->port == 0)
        return berth_err_set(e, BERTH_ELIMIT, "no port from %u to %u is free", s->conf.port_min,
                             s->conf.port_max);
    return process_keep_record(s, r, e);
}

static void
started(struct berth_shimlet *s, struct process_replica *r, pid_t pid)
{
    struct process_stat p;
    struct berth_err e;

    r->pid = r->session = pid;
    r->start_ticks = process_stat_read(pid, &p) ? p.start_ticks : 0;
    r->pidfd = pidfd_open(pid, 0); /* -1: process_hold() tries again */
    r->state = BERTH_REPLICA_STARTING;
    r->begun_ns = r->probe_ns = berth_now_ns();
    r->ready_ns = 0;
    r->silent = 0;
    r->heard[0] = '\0';
    r->asked = false; /* an answer that is under way is another process's */
    r->cpu_at_ns = 0;
    r->unit->dirty = true;
    if (process_keep_run(s, r, &e) < 0) /* then its environment tells who it is */
        s->h->log(BERTH_LOG_DEBUG, e.msg);
    process_wake(s);
}

static int
start(struct berth_shimlet *s, struct process_replica *r, struct berth_err *e)
{
    BERTH_AUTO_FREE struct child *c = calloc(1, sizeof *c);
    BERTH_AUTO_CLOSE int lock_fd = take_lock(s, r), log_fd = -1, exec_read_fd = -1;
    char path[PROCESS_PATH_MAX];
    struct berth_arena a;
    int pipe_fds[2];
    pid_t pid = 0;

    if (lock_fd < 0 && errno == EWOULDBLOCK) { /* it runs: the last program's child */
        r->sought = true;
        return 0;
    }
    if (c == NULL || lock_fd < 0)
        return berth_err_set(e, BERTH_EIO, "the lock of %s: %m", r->rec.id);
    int fail = settle_port(s, r, e);
    if (fail < 0)
        return fail;
    process_path(s, r->unit->name, r->rec.id, ".d", path);
    (void)mkdir(path, 0700);
    process_path(s, r->unit->name, r->rec.id, ".log", path);
    log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "a pipe: %m");
    exec_read_fd = pipe_fds[0];
    c->log_fd = log_fd;
    c->lock_fd = lock_fd;
    c->exec_fd = pipe_fds[1];
    berth_arena_init(&a, 16u << 20);
    fail = make_child(s, r, &a, c, e);
    if (fail == 0)
        fail = launch(c, exec_read_fd, &pid, e);
    else
        (void)close(c->exec_fd);
    berth_arena_fini(&a);
    if (fail == 0)
        started(s, r, pid);
    return fail;
}

void
process_start(struct berth_shimlet *s, struct process_replica *r)
{
    struct berth_err e;

    r->sought = false;
    if (start(s, r, &e) < 0) {
        process_failed(s, r, e.msg);
    } else if (r->sought) {
        r->state = BERTH_REPLICA_STARTING;
        r->begun_ns = berth_now_ns();
        r->due_ns = r->begun_ns + seek_ns;
        process_wake(s);
    }
}

/* ---- taking over ---- */

static void
take_over(struct berth_shimlet *s, struct process_replica *r, pid_t pid)
{
    struct process_stat p;

    r->pidfd = pidfd_open(pid, 0);
    /* It may have ended since, and its number be another's. */
    if (!process_stat_read(pid, &p) ||
        (p.start_ticks != r->start_ticks && !process_is_of(pid, s->state_dir, r->rec.id))) {
        if (r->pidfd >= 0)
            (void)close(r->pidfd);
        r->pidfd = -1;
        r->pid = 0;
        return;
    }
    r->pid = r->session = pid;
    r->start_ticks = p.start_ticks;
    r->sought = false;
    r->asked = false;
    r->heard[0] = '\0';
    r->state = BERTH_REPLICA_STARTING; /* until it is asked how it is: at once */
    r->begun_ns = r->probe_ns = berth_now_ns();
    r->cpu_at_ns = 0;
    (void)process_keep_run(s, r, NULL);
}

void
process_adopt(struct berth_shimlet *s, struct process_replica *r)
{
    const uint64_t now = berth_now_ns();
    bool sure = true;

    if (r->pid == 0)
        r->pid = process_find_leader(s->state_dir, r->rec.id);
    if (r->pid != 0)
        take_over(s, r, r->pid);
    r->unit->dirty = true;
    if (r->pid == 0 && process_is_held(s, r, &sure)) {
        /* Between fork and exec it cannot be told from us: a moment later it can.  Or its head is
         * gone and others of it live: they go. */
        r->state = BERTH_REPLICA_STARTING;
        if (!r->sought || !sure)
            r->begun_ns = now;
        r->sought = true;
        r->due_ns = now + seek_ns;
        if (now - r->begun_ns > 10 * seek_ns)
            (void)process_sweep(s, r);
    } else if (r->pid == 0) {
        r->sought = false;
        (void)process_sweep(s, r);
        r->state = BERTH_REPLICA_FAILED;
        r->due_ns = now;
        (void)snprintf(r->reason, sizeof r->reason, "ended while no control plane was there");
    }
    if (r->rec.stopping)
        process_stop(s, r);
    else
        process_wake(s);
}
