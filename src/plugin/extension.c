#include "plugin/extension.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "os/process.h"

enum { ANSWER_BYTES_MAX = 600, SETTINGS_BYTES_MAX = 1 << 20 };

/* ---- the copy ---- */

static int
write_all(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;

    while (n > 0) {
        const ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

static int
copy_bytes(const char *path, int from, int to, struct berth_digest *sum, struct berth_err *e)
{
    char part[64 * 1024];
    size_t got = 0;

    for (;;) {
        const ssize_t n = read(from, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return berth_err_set(e, BERTH_EIO, "%s: %m", path);
        if (got == 0 && (n < 4 || memcmp(part, "\177ELF", 4) != 0))
            return berth_err_set(e, BERTH_EINVAL, "%s: not a shared object", path);
        if (n == 0)
            return 0;
        got += (size_t)n;
        if (got > BERTH_EXTENSION_BYTES_MAX)
            return berth_err_set(e, BERTH_ETOOBIG, "%s: more than %d MiB", path,
                                 BERTH_EXTENSION_BYTES_MAX >> 20);
        if (write_all(to, part, (size_t)n) < 0)
            return berth_err_set(e, BERTH_EIO, "%s: copying it: %m", path);
        berth_digest_put(sum, part, (size_t)n);
    }
}

int
berth_extension_path_err(const char *path, int errnum, struct berth_err *e)
{
    enum berth_code code = BERTH_EIO; /* a fault of ours */

    switch (errnum) {
    case ENOENT:
        code = BERTH_ENOENT;
        break;
    case ELOOP:        /* links in a circle */
    case ENAMETOOLONG: /* no file has such a name */
    case ENOTDIR:
    case ENXIO: /* a socket */
        code = BERTH_EINVAL;
        break;
    case EACCES:
    case EPERM:
        return berth_err_set(e, BERTH_EPERM,
                             "%.300s: %s; let the user that runs this program read it, and pass "
                             "through the folders above it",
                             path, strerrordesc_np(errnum));
    default:
        break;
    }
    return berth_err_set(e, code, "%s: %s", path, strerrordesc_np(errnum));
}

int
berth_extension_copy(const char *path, int *ret_fd, char ret_sum[BERTH_DIGEST_HEX],
                     struct berth_err *e)
{
    const char *slash = strrchr(path, '/');
    struct stat st;
    /* O_NONBLOCK: a FIFO of that name must not hold us up. */
    BERTH_AUTO_CLOSE const int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (from < 0)
        return berth_extension_path_err(path, errno, e);
    if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL, "%s: not a file", path);
    const int to = memfd_create(slash != NULL ? slash + 1 : path, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (to < 0)
        return berth_err_set(e, BERTH_EIO, "%s: copying it: %m", path);
    struct berth_digest *sum = berth_digest_new();
    int r = sum != NULL ? copy_bytes(path, from, to, sum, e)
                        : berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    if (r == 0 &&
        fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        r = berth_err_set(e, BERTH_EIO, "%s: sealing the copy: %m", path);
    if (r == 0) {
        berth_digest_hex(sum, ret_sum);
        *ret_fd = to;
    } else {
        (void)close(to);
    }
    berth_digest_free(sum);
    return r;
}

/* ---- the trial: the parent's side ---- */

/* What the child says, up to the end of a line; false: its time is up. */
static bool
read_answer(int fd, uint64_t until_ns, char ret[ANSWER_BYTES_MAX])
{
    size_t len = 0;

    while (len < ANSWER_BYTES_MAX - 1) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        const uint64_t now = berth_now_ns();
        if (now >= until_ns)
            return false;
        if (poll(&p, 1, (int)((until_ns - now) / BERTH_MS) + 1) <= 0)
            continue;
        const ssize_t n = read(fd, ret + len, ANSWER_BYTES_MAX - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (memchr(ret, '\n', len) != NULL)
            break;
    }
    ret[len] = '\0';
    return true;
}

static int
settings_file(const char *json, struct berth_err *e)
{
    const int fd = memfd_create("settings", MFD_CLOEXEC);

    if (fd >= 0 && write_all(fd, json, strlen(json)) == 0 && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    berth_closep(&fd);
    return berth_err_set(e, BERTH_EIO, "passing the settings on: %m");
}

static int
follow(const struct berth_extension_trial *t, pid_t pid, int fd,
       char ret_name[BERTH_EXTENSION_NAME_MAX + 1], struct berth_err *e)
{
    const uint64_t until_ns = berth_now_ns() + t->limit_ns;
    char answer[ANSWER_BYTES_MAX];
    bool ended = false;
    int status = 0;

    if (read_answer(fd, until_ns, answer)) {
        while (!(ended = berth_process_reap(pid, &status)) && berth_now_ns() < until_ns)
            (void)poll(NULL, 0, 2);
    }
    if (ended)
        return berth_extension_answer(t->path, answer, status, ret_name, e);
    berth_process_end(pid);
    return berth_err_set(e, BERTH_EINVAL,
                         "%s: tried in a process of its own, which had not ended after %llu s",
                         t->path, (unsigned long long)(t->limit_ns / BERTH_S));
}

int
berth_extension_try(const struct berth_extension_trial *t,
                    char ret_name[BERTH_EXTENSION_NAME_MAX + 1], struct berth_err *e)
{
    const char *const argv[] = {"berth", "probe", t->kind, t->state_dir, NULL};
    BERTH_AUTO_CLOSE const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    BERTH_AUTO_CLOSE const int settings = settings_file(t->settings_json, e);
    int fds[2];
    pid_t pid;

    if (settings < 0)
        return settings;
    if (null < 0 || pipe2(fds, O_CLOEXEC) < 0)
        return berth_err_set(e, BERTH_ELIMIT, "%s: trying it: %m", t->path);
    const struct berth_spawn how = {.file = t->program,
                                    .argv = argv,
                                    .out_fd = null,
                                    .fds = {fds[1], t->fd, settings},
                                    .fd_count = 3};
    int r = berth_process_spawn(&how, &pid, e);
    (void)close(fds[1]);
    if (r == 0)
        r = follow(t, pid, fds[0], ret_name, e);
    (void)close(fds[0]);
    return r;
}

/* ---- opening ---- */

static int
cannot_open(const char *path, const char *at, struct berth_err *e)
{
    const char *why = dlerror(); /* NOLINT(concurrency-mt-unsafe): per thread in glibc */
    const size_t len = strlen(at);

    if (why == NULL)
        return berth_err_set(e, BERTH_EABI, "%s: the loader gives no reason", path);
    if (strncmp(why, at, len) == 0 && strncmp(why + len, ": ", 2) == 0)
        why += len + 2;
    return berth_err_set(e, BERTH_EABI, "%s: %s", path, why);
}

int
berth_extension_open(int fd, const char *path, const char *symbol, void **ret, struct berth_err *e)
{
    char at[64];

    (void)snprintf(at, sizeof at, "/proc/self/fd/%d", fd);
    /* Never closed: code of a library that has started threads cannot be unmapped. */
    void *so = dlopen(at, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (so == NULL) {
        const int r = cannot_open(path, at, e);
        (void)close(fd);
        return r;
    }
    void *found = dlsym(so, symbol);
    if (found == NULL)
        return berth_err_set(e, BERTH_EABI, "%s: no symbol %s: not a plugin of that type", path,
                             symbol);
    *ret = found;
    return 0;
}

/* ---- the trial: the child's side ---- */

void
berth_extension_child_begin(unsigned limit_s)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the parent has a limit of its own besides */
    (void)alarm(limit_s);
}

char *
berth_extension_child_settings(void)
{
    struct stat st;
    char *text = NULL;

    if (fstat(BERTH_EXTENSION_SETTINGS_FD, &st) < 0 || st.st_size > SETTINGS_BYTES_MAX)
        return NULL;
    const size_t size = (size_t)st.st_size;
    text = calloc(1, size + 1);
    if (text != NULL && pread(BERTH_EXTENSION_SETTINGS_FD, text, size, 0) != (ssize_t)size) {
        free(text);
        text = NULL;
    }
    return text;
}

void
berth_extension_child_end(int r, const char *name, const struct berth_err *e)
{
    char line[ANSWER_BYTES_MAX];
    const int n =
        r < 0 ? snprintf(line, sizeof line - 1, "%d %s", -r, e->msg)
              : snprintf(line, sizeof line - 1, "ok %.*s", 2 * BERTH_EXTENSION_NAME_MAX, name);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 2;

    for (size_t i = 0; i < len; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[len++] = '\n';
    /* Destructors of the plugin are not of interest, and might crash. */
    _exit(write_all(BERTH_EXTENSION_ANSWER_FD, line, len) < 0);
}
