#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"

extern char **environ; /* POSIX has it in no header without _GNU_SOURCE's unistd.h */

/* dup2() in the child would overwrite a descriptor whose number is a target: move them all above.
 */
enum { FIRST_FD = 3, ABOVE = 64 };

static int
file_actions(const struct berth_spawn *how, const int moved[], posix_spawn_file_actions_t *acts)
{
    int r = posix_spawn_file_actions_addopen(acts, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (r == 0)
        r = posix_spawn_file_actions_adddup2(acts, moved[how->fd_count], STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(acts, moved[how->fd_count + (how->err_fd > 0 ? 1 : 0)],
                                             STDERR_FILENO);
    for (size_t i = 0; r == 0 && i < how->fd_count; i++)
        r = posix_spawn_file_actions_adddup2(acts, moved[i], FIRST_FD + (int)i);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(acts, FIRST_FD + (int)how->fd_count);
    return r;
}

static int
spawn(const struct berth_spawn *how, const int moved[], pid_t *ret_pid)
{
    posix_spawn_file_actions_t acts;
    posix_spawnattr_t attr;
    sigset_t none, every;
    pid_t pid;
    int r;

    (void)sigemptyset(&none);
    (void)sigfillset(&every);
    (void)posix_spawn_file_actions_init(&acts);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setsigdefault(&attr, &every);
    r = file_actions(how, moved, &acts);
    if (r == 0)
        r = (how->search ? posix_spawnp : posix_spawn)(&pid, how->file, &acts, &attr,
                                                       (char *const *)how->argv,
                                                       how->env != NULL ? how->env : environ);
    if (r == 0)
        *ret_pid = pid;
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&acts);
    return r;
}

/* ---- one that dies with us: posix_spawn() has no word for it ---- */

/* In the child, where only what is safe in a signal handler may be called. */
static int
become(const struct berth_spawn *how, const int moved[], pid_t parent)
{
    sigset_t none;
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const size_t err = how->fd_count + (how->err_fd > 0 ? 1 : 0);

    (void)sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return errno;
    if (getppid() != parent) /* it went before we asked */
        _exit(EXIT_FAILURE);
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL); /* some have no such thing to be set */
    if (null < 0 || setsid() < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(moved[how->fd_count], STDOUT_FILENO) < 0 || dup2(moved[err], STDERR_FILENO) < 0)
        return errno;
    for (size_t i = 0; i < how->fd_count; i++) {
        if (dup2(moved[i], FIRST_FD + (int)i) < 0)
            return errno;
    }
    /* The others are closed as the program begins: one of them is to say that it did not.  Before
     * Linux 5.11 those are that are ours, which say so themselves. */
    (void)close_range(FIRST_FD + (unsigned)how->fd_count, ~0U, CLOSE_RANGE_CLOEXEC);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execve(how->file, (char *const *)how->argv, how->env != NULL ? how->env : environ);
    return errno;
}

static int
spawn_tied(const struct berth_spawn *how, const int moved[], pid_t *ret_pid)
{
    const pid_t parent = getpid();
    sigset_t every, before;
    int fds[2], r = 0;

    berth_assert(!how->search);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return errno;
    /* Above what becomes its own descriptors. */
    const int tell = fcntl(fds[1], F_DUPFD_CLOEXEC, ABOVE);
    (void)close(fds[1]);
    if (tell < 0) {
        r = errno;
        (void)close(fds[0]);
        return r;
    }
    (void)sigfillset(&every); /* no handler of ours runs in the child */
    (void)pthread_sigmask(SIG_SETMASK, &every, &before);
    const pid_t pid = fork();
    if (pid == 0) {
        r = become(how, moved, parent);
        (void)!write(tell, &r, sizeof r);
        _exit(EXIT_FAILURE);
    }
    if (pid < 0)
        r = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)close(tell);
    ssize_t n = 0;
    while (pid > 0 && (n = read(fds[0], &r, sizeof r)) < 0 && errno == EINTR)
        continue;
    (void)close(fds[0]);
    if (pid > 0 && n > 0)
        (void)waitpid(pid, NULL, 0);
    else if (pid > 0)
        *ret_pid = pid;
    return r;
}

int
berth_process_spawn(const struct berth_spawn *how, pid_t *ret_pid, struct berth_err *e)
{
    int from[BERTH_SPAWN_FDS_MAX + 2], moved[BERTH_SPAWN_FDS_MAX + 2];
    size_t n = 0, count = how->fd_count;
    int r = 0;

    berth_assert(how->fd_count <= BERTH_SPAWN_FDS_MAX);
    memcpy(from, how->fds, count * sizeof from[0]);
    from[count++] = how->out_fd;
    if (how->err_fd > 0)
        from[count++] = how->err_fd;
    for (; r == 0 && n < count; n++) {
        moved[n] = fcntl(from[n], F_DUPFD_CLOEXEC, ABOVE);
        if (moved[n] < 0)
            r = errno;
    }
    if (r == 0)
        r = (how->dies_with_us ? spawn_tied : spawn)(how, moved, ret_pid);
    while (n > 0)
        berth_closep(&moved[--n]);
    if (r == 0)
        return 0;
    errno = r;
    return berth_err_set(e, r == EAGAIN || r == ENOMEM || r == EMFILE ? BERTH_ELIMIT : BERTH_EIO,
                         "cannot start %s: %m", how->file);
}

static bool
is_kept(const char *variable, const char *const *keep)
{
    if (strncmp(variable, "BERTH_", 6) != 0 && strncmp(variable, "UNIMODEL_", 9) != 0)
        return true;
    for (; keep != NULL && *keep != NULL; keep++) {
        const size_t n = strlen(*keep);

        if (strncmp(variable, *keep, n) == 0 && variable[n] == '=')
            return true;
    }
    return false;
}

char **
berth_process_environ(const char *const *keep, char *const *more)
{
    size_t n = 0, m = 0, k = 0;

    while (environ != NULL && environ[n] != NULL)
        n++;
    while (more[m] != NULL)
        m++;
    char **list = calloc(n + m + 1, sizeof *list);
    if (list == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (is_kept(environ[i], keep))
            list[k++] = environ[i];
    }
    memcpy(list + k, more, m * sizeof *list);
    return list;
}

int
berth_process_watch(pid_t pid)
{
    return pidfd_open(pid, 0); /* close-on-exec by itself */
}

bool
berth_process_reap(pid_t pid, int *ret_status)
{
    int status;

    if (waitpid(pid, &status, WNOHANG) != pid)
        return false;
    *ret_status = status;
    return true;
}

void
berth_process_kill(pid_t pid, int pidfd)
{
    bool leads = pidfd_send_signal(pidfd, 0, NULL, 0) == 0 && getsid(pid) == pid;

    (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    if (leads)
        (void)kill(-pid, SIGKILL); /* what it started is of no use without it */
}

void
berth_process_end(pid_t pid)
{
    (void)kill(-pid, SIGKILL); /* first, as its number is not used again before it is reaped */
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

const char *
berth_process_status_text(int status, char *ret, size_t cap)
{
    const char *name = WIFSIGNALED(status) ? sigdescr_np(WTERMSIG(status)) : NULL;

    if (WIFSIGNALED(status))
        (void)snprintf(ret, cap, "was ended by signal %d (%s)%s", WTERMSIG(status),
                       name != NULL ? name : "unknown", WCOREDUMP(status) ? ", core dumped" : "");
    else
        (void)snprintf(ret, cap, "ended by itself with status %d", WEXITSTATUS(status));
    return ret;
}

uint64_t
berth_process_resident(pid_t pid)
{
    unsigned long long pages = 0;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1) /* NOLINT(cert-err34-c): the kernel's own text */
        pages = 0;
    (void)fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t
berth_process_share(pid_t pid)
{
    unsigned long long kb = 0;
    char path[64], line[256];

    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "Pss: %llu kB", &kb) == 1) /* NOLINT(cert-err34-c) */
            break;
    }
    if (f != NULL)
        (void)fclose(f);
    return (uint64_t)kb * 1024;
}
