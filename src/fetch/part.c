#include "fetch/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { READ_BYTES = 1024 * 1024, FROM_BYTES_MAX = 512, LOCK_TRIES = 4 };

static const char from_mark[] = "berth part 1";

/* Read the file from its beginning into a sum. */
static int
sum_fd(int fd, const char *path, uint64_t len, struct berth_digest *sum,
       bool (*go_on)(void *arg, uint64_t summed, uint64_t total), void *arg, struct berth_err *e)
{
    BERTH_AUTO_FREE char *piece = malloc(READ_BYTES);
    uint64_t at = 0;

    if (piece == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    while (at < len) {
        const size_t want = len - at < READ_BYTES ? (size_t)(len - at) : READ_BYTES;
        const ssize_t n = pread(fd, piece, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return berth_err_set(e, BERTH_EIO, "%s: cannot read it at %llu: %m", path,
                                 (unsigned long long)at);
        berth_digest_put(sum, piece, (size_t)n);
        at += (uint64_t)n;
        if (go_on != NULL && !go_on(arg, at, len))
            return berth_err_set(e, BERTH_ECANCELED, "%s: stopped", path);
    }
    return 0;
}

int
berth_part_sum_file(const char *path, char ret[BERTH_DIGEST_HEX],
                    bool (*go_on)(void *arg, uint64_t summed, uint64_t total), void *arg,
                    struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return berth_err_set(e, errno == ENOENT ? BERTH_ENOENT : BERTH_EIO, "%s: %m", path);
    if (!S_ISREG(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL, "%s: not a file: it has no checksum", path);
    struct berth_digest *sum = berth_digest_new();
    if (sum == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    const int r = sum_fd(fd, path, (uint64_t)st.st_size, sum, go_on, arg, e);
    if (r == 0)
        berth_digest_hex(sum, ret);
    berth_digest_free(sum);
    return r;
}

/* ---- FILE.part.from ---- */

/* One line off *at, NUL-ended in place; NULL: none. */
static char *
line_of(char **at)
{
    char *begin = *at, *end = begin != NULL ? strchr(begin, '\n') : NULL;

    if (end == NULL)
        return NULL;
    *end = '\0';
    *at = end + 1;
    return begin;
}

/* What the part is of.  A file that is not as we write it says nothing. */
static bool
from_read(struct berth_part *p)
{
    BERTH_AUTO_CLOSE int fd = open(p->from_path, O_RDONLY | O_CLOEXEC);
    char text[FROM_BYTES_MAX + 1], hex[BERTH_DIGEST_HEX], *at = text;
    const ssize_t n = fd < 0 ? -1 : read(fd, text, FROM_BYTES_MAX);

    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *mark = line_of(&at), *url = line_of(&at), *sha = line_of(&at), *etag = line_of(&at);
    if (etag == NULL || strcmp(mark, from_mark) != 0 || strcmp(url, p->url_sum) != 0 ||
        strlen(etag) >= sizeof p->etag)
        return false;
    if (sha[0] != '\0' && !berth_digest_parse(sha, strlen(sha), hex))
        return false;
    if (sha[0] == '\0' && etag[0] == '\0')
        return false;
    (void)snprintf(p->etag, sizeof p->etag, "%s", etag);
    (void)snprintf(p->sha256, sizeof p->sha256, "%s", sha);
    return true;
}

int
berth_part_describe(struct berth_part *p, const char *etag, const char *sha256, struct berth_err *e)
{
    const size_t etag_len = strlen(etag);
    const bool strong = etag_len > 2 && etag[0] == '"' && etag[etag_len - 1] == '"';
    FILE *f = fopen(p->from_path, "we");

    if (f == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %m", p->from_path);
    /* Only a strong ETag says that the bytes are the same. */
    (void)snprintf(p->etag, sizeof p->etag, "%s", strong ? etag : "");
    (void)snprintf(p->sha256, sizeof p->sha256, "%s", sha256);
    const int n = fprintf(f, "%s\n%s\n%s\n%s\n", from_mark, p->url_sum, p->sha256, p->etag);
    if (fclose(f) != 0 || n < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", p->from_path);
    return 0;
}

/* ---- FILE.part ---- */

/* Open and lock it.  Whoever held the lock may have renamed the file meanwhile: look again. */
static int
open_locked(struct berth_part *p, struct stat *st, struct berth_err *e)
{
    struct stat named;

    for (int i = 0; i < LOCK_TRIES; i++) {
        p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (p->fd < 0)
            return berth_err_set(e, BERTH_EIO, "%s: %m", p->path);
        if (flock(p->fd, LOCK_EX | LOCK_NB) < 0)
            return berth_err_set(e, BERTH_EAGAIN, "%s: another process is fetching that", p->path);
        if (fstat(p->fd, st) < 0)
            return berth_err_set(e, BERTH_EIO, "%s: %m", p->path);
        if (stat(p->path, &named) == 0 && named.st_ino == st->st_ino && named.st_dev == st->st_dev)
            return 0;
        (void)close(p->fd);
        p->fd = -1;
    }
    return berth_err_set(e, BERTH_EAGAIN, "%s: another process is fetching that", p->path);
}

static int
open_part(struct berth_part *p, bool (*go_on)(void *arg, uint64_t summed, uint64_t total),
          void *arg, struct berth_err *e)
{
    struct stat st;
    int r = open_locked(p, &st, e);

    if (r < 0)
        return r;
    if (st.st_size == 0 || !from_read(p))
        return berth_part_clear(p, e);
    r = sum_fd(p->fd, p->path, (uint64_t)st.st_size, p->sum, go_on, arg, e);
    if (r == 0 && lseek(p->fd, st.st_size, SEEK_SET) < 0)
        r = berth_err_set(e, BERTH_EIO, "%s: %m", p->path);
    if (r == 0)
        p->len = (uint64_t)st.st_size;
    return r;
}

int
berth_part_open(struct berth_part *p, const char *file, const char *url,
                bool (*go_on)(void *arg, uint64_t summed, uint64_t total), void *arg,
                struct berth_err *e)
{
    *p = (struct berth_part){.fd = -1, .sum = berth_digest_new(), .file = strdup(file)};
    int r = 0;

    if (p->sum == NULL || p->file == NULL || asprintf(&p->path, "%s.part", file) < 0)
        r = -BERTH_ENOMEM;
    if (r == 0 && asprintf(&p->from_path, "%s.from", p->path) < 0)
        r = -BERTH_ENOMEM;
    if (r < 0) {
        berth_part_fini(p);
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", file);
    }
    berth_digest_of(url, strlen(url), p->url_sum);
    r = open_part(p, go_on, arg, e);
    if (r < 0)
        berth_part_fini(p);
    return r;
}

void
berth_part_fini(struct berth_part *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    berth_digest_free(p->sum);
    free(p->file);
    free(p->path);
    free(p->from_path);
    *p = (struct berth_part){.fd = -1};
}

int
berth_part_clear(struct berth_part *p, struct berth_err *e)
{
    /* First the bytes, then what is known of them: cut off in between, nothing is believed. */
    if (ftruncate(p->fd, 0) < 0 || lseek(p->fd, 0, SEEK_SET) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", p->path);
    (void)unlink(p->from_path);
    p->len = 0;
    p->etag[0] = p->sha256[0] = '\0';
    berth_digest_reset(p->sum);
    return 0;
}

int
berth_part_put(struct berth_part *p, const void *bytes, size_t n, struct berth_err *e)
{
    const char *at = bytes;
    size_t left = n;

    while (left > 0) {
        const ssize_t done = write(p->fd, at, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return berth_err_set(e, BERTH_EIO, "%s: %m", p->path);
        berth_digest_put(p->sum, at, (size_t)done);
        p->len += (uint64_t)done;
        at += done;
        left -= (size_t)done;
    }
    return 0;
}

/* A rename is on disk once its folder is. */
static void
sync_folder(const char *file)
{
    BERTH_AUTO_FREE char *folder = strdup(file);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;

    if (slash == NULL)
        return;
    slash[slash == folder ? 1 : 0] = '\0';
    BERTH_AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd); /* some file systems cannot; the file itself is safe already */
}

int
berth_part_finish(struct berth_part *p, struct berth_err *e)
{
    if (fsync(p->fd) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", p->path);
    if (rename(p->path, p->file) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: cannot be put in place: %m", p->file);
    (void)unlink(p->from_path);
    sync_folder(p->file);
    return 0;
}

void
berth_part_delete(struct berth_part *p)
{
    (void)unlink(p->path);
    (void)unlink(p->from_path);
    p->len = 0;
}
