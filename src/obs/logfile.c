#include "obs/logfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "wire/gzip.h"

enum { CHUNK = 1 << 20, PATH_BYTES_MAX = 4096, SWEEP_S = 3600 };

struct berth_logfile {
    struct berth_logfile_conf conf; /* path is ours */
    char *dir, *name;               /* its two parts, in one piece of memory each */
    int fd;
    uint64_t bytes;
    pthread_t sweeper;
    pthread_mutex_t mu;
    pthread_cond_t wake;
    bool wanted, stop; /* under mu */
};

static bool
is_stopping(struct berth_logfile *f)
{
    (void)pthread_mutex_lock(&f->mu);
    const bool stop = f->stop;
    (void)pthread_mutex_unlock(&f->mu);
    return stop;
}

/* ---- what was put aside ---- */

static bool
ends_in(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

/* NAME.2...: a file of ours, and of nobody else. */
static bool
is_aside(const struct berth_logfile *f, const char *name)
{
    const size_t n = strlen(f->name);
    const char *stamp = name + n + 1;

    return strncmp(name, f->name, n) == 0 && name[n] == '.' && strspn(stamp, "0123456789") == 8 &&
           stamp[8] == 'T';
}

/* One piece of it after the other, each as a member of its own: what gzip reads as one file. */
static int
compress_to(struct berth_logfile *f, int from, int to)
{
    BERTH_AUTO_FREE char *in = malloc(CHUNK);
    ssize_t n = -1;

    if (in == NULL)
        return -1;
    while (!is_stopping(f) && (n = read(from, in, CHUNK)) > 0) {
        const struct berth_slice part = {in, (size_t)n};
        struct berth_arena a;
        char *out;
        size_t len;

        berth_arena_init(&a, (size_t)4 * CHUNK);
        if (berth_gzip_write(&a, &part, 1, false, 0, &out, &len, NULL) < 0 ||
            write(to, out, len) != (ssize_t)len)
            n = -1;
        berth_arena_fini(&a);
        if (n < 0)
            break;
    }
    return n == 0 ? 0 : -1;
}

/* The whole .gz is there before the other goes; its time stays, as it decides how long it is kept.
 */
static void
compress(struct berth_logfile *f, int dir, const char *name)
{
    char part[NAME_MAX + 16], done[NAME_MAX + 16];
    struct stat st;
    BERTH_AUTO_CLOSE int from = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    (void)snprintf(part, sizeof part, "%s.part", name);
    (void)snprintf(done, sizeof done, "%s.gz", name);
    if (from < 0 || fstat(from, &st) < 0)
        return;
    BERTH_AUTO_CLOSE int to =
        openat(dir, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (to < 0)
        return;
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (compress_to(f, from, to) == 0 && futimens(to, times) == 0 &&
        renameat(dir, part, dir, done) == 0)
        (void)unlinkat(dir, name, 0);
    else
        (void)unlinkat(dir, part, 0);
}

static int
by_age(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*b)->d_name, (*a)->d_name); /* their stamps, the newest first */
}

static void
sweep(struct berth_logfile *f)
{
    const time_t now = (time_t)(berth_wall_ns() / BERTH_S);
    struct dirent **found = NULL;
    uint32_t kept = 0;
    BERTH_AUTO_CLOSE int dir = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int n = dir >= 0 ? scandirat(dir, ".", &found, NULL, by_age) : -1;

    for (int i = 0; i < n; i++) {
        const char *name = found[i]->d_name;
        struct stat st;

        if (is_aside(f, name) && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            const bool old = f->conf.keep_seconds > 0 && now > st.st_mtime &&
                             (uint64_t)(now - st.st_mtime) > f->conf.keep_seconds;

            if (old || kept >= f->conf.keep || ends_in(name, ".part"))
                (void)unlinkat(dir, name, 0);
            else if (++kept > 0 && f->conf.compress && !ends_in(name, ".gz"))
                compress(f, dir, name);
        }
        free(found[i]);
    }
    free(found);
}

static void *
sweeper_main(void *arg)
{
    struct berth_logfile *f = arg;

    (void)pthread_mutex_lock(&f->mu);
    while (!f->stop) {
        if (f->wanted) {
            f->wanted = false;
            (void)pthread_mutex_unlock(&f->mu);
            sweep(f);
            (void)pthread_mutex_lock(&f->mu);
            continue;
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += SWEEP_S; /* what grows old does so without a line, too */
        if (pthread_cond_clockwait(&f->wake, &f->mu, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            f->wanted = true;
    }
    (void)pthread_mutex_unlock(&f->mu);
    return NULL;
}

/* ---- the file ---- */

static int
open_file(const struct berth_logfile *f, uint64_t *ret_bytes)
{
    struct stat st;
    const int fd = open(f->conf.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

    if (fd >= 0)
        *ret_bytes = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return fd;
}

/* When it cannot be done the file goes on growing: a log that is too large is better than none. */
static void
put_aside(struct berth_logfile *f)
{
    char time[BERTH_TIME_TEXT], aside[PATH_BYTES_MAX], *to = time;
    uint64_t bytes = 0;

    (void)berth_time_text(berth_wall_ns(), time);
    for (const char *from = time; *from != '\0'; from++)
        if (*from != '-' && *from != ':')
            *to++ = *from;
    *to = '\0';
    if ((size_t)snprintf(aside, sizeof aside, "%s.%s", f->conf.path, time) >= sizeof aside ||
        renameat2(AT_FDCWD, f->conf.path, AT_FDCWD, aside, RENAME_NOREPLACE) < 0)
        return;
    const int fd = open_file(f, &bytes);
    if (fd < 0)
        return;
    (void)close(f->fd);
    f->fd = fd;
    f->bytes = bytes;
    (void)pthread_mutex_lock(&f->mu);
    f->wanted = true;
    (void)pthread_cond_signal(&f->wake);
    (void)pthread_mutex_unlock(&f->mu);
}

void
berth_logfile_write(void *arg, const char *line, size_t len)
{
    struct berth_logfile *f = arg;

    if (f->bytes > 0 && f->bytes + len > f->conf.bytes_max)
        put_aside(f);
    if (write(f->fd, line, len) == (ssize_t)len)
        f->bytes += len;
}

/* ---- new and free ---- */

static int
open_up(struct berth_logfile *f, struct berth_err *e)
{
    const char *slash = strrchr(f->conf.path, '/');

    f->dir = slash == NULL           ? strdup(".")
             : slash == f->conf.path ? strdup("/")
                                     : strndup(f->conf.path, (size_t)(slash - f->conf.path));
    f->name = strdup(slash != NULL ? slash + 1 : f->conf.path);
    if (f->dir == NULL || f->name == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (f->name[0] == '\0' || strlen(f->name) > NAME_MAX - 40)
        return berth_err_set(e, BERTH_ECONFIG, "%s: must name a file", f->conf.path);
    if (mkdir(f->dir, 0750) < 0 && errno != EEXIST)
        return berth_err_set(e, BERTH_ECONFIG, "%s: %m", f->dir);
    f->fd = open_file(f, &f->bytes);
    if (f->fd < 0)
        return berth_err_set(e, BERTH_ECONFIG, "%s: %m", f->conf.path);
    const int r = pthread_create(&f->sweeper, NULL, sweeper_main, f);
    if (r != 0)
        return berth_err_set(e, BERTH_ENOMEM, "no thread for the log file");
    (void)pthread_setname_np(f->sweeper, "berth-log");
    return 0;
}

int
berth_logfile_new(const struct berth_logfile_conf *conf, struct berth_logfile **ret,
                  struct berth_err *e)
{
    struct berth_logfile *f = calloc(1, sizeof *f);

    if (f == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    f->conf = *conf;
    f->fd = -1;
    f->wanted = true; /* what was left from before */
    (void)pthread_mutex_init(&f->mu, NULL);
    (void)pthread_cond_init(&f->wake, NULL);
    f->conf.path = strdup(conf->path);
    const int r =
        f->conf.path == NULL ? berth_err_set(e, BERTH_ENOMEM, "out of memory") : open_up(f, e);
    if (r < 0) {
        f->stop = true; /* it has no thread */
        berth_logfile_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

void
berth_logfile_free(struct berth_logfile *f)
{
    if (f == NULL)
        return;
    (void)pthread_mutex_lock(&f->mu);
    const bool runs = !f->stop;
    f->stop = true;
    (void)pthread_cond_signal(&f->wake);
    (void)pthread_mutex_unlock(&f->mu);
    if (runs)
        (void)pthread_join(f->sweeper, NULL);
    if (f->fd >= 0)
        (void)close(f->fd);
    (void)pthread_cond_destroy(&f->wake);
    (void)pthread_mutex_destroy(&f->mu);
    free((char *)f->conf.path);
    free(f->dir);
    free(f->name);
    free(f);
}
