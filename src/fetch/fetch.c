#include "fetch/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/client.h"
#include "net/digest.h"
#include "wire/uri.h"

#define HUB "https://huggingface.co"

enum { MEMORY_BYTES_MAX = 1 << 20, PIECE_BYTES = 1 << 20, BREAKS_MAX = 5, NAME_BYTES_MAX = 200 };

/* One file on its way. */
struct fetching {
    const struct berth_fetch *what;
    struct berth_arena arena;
    struct berth_client *client;
    const char *url;
    char sha256[BERTH_DIGEST_HEX]; /* that it must have; empty: any */
    const char *path, *part;       /* where it goes; where it grows */
    const char *note;              /* PART.from: URL and ETag that the part belongs to */
    int fd;                        /* of the part */
    uint64_t have;                 /* bytes in it */
    uint64_t begin;                /* of them, when this answer began */
    uint64_t total;                /* of the whole; 0: unknown */
    char etag[128];                /* of the part */
    uint16_t status;               /* of the answer, once its body comes */
    int disk_errno;
    bool too_big;
};

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "fetch: not enough memory");
}

/* ---- names ---- */

static int
source_bad(const char *source, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL,
                         "'%s' is no source: give a path, https://HOST/FILE or "
                         "hf://ORG/REPO/FILE[@REVISION]",
                         source);
}

/* hf://ORG/REPO/FILE[@REVISION] to the hub's address of it. */
static int
hub_url(struct fetching *f, const char *source, struct berth_err *e)
{
    const char *org = source + strlen("hf://");
    const char *slash = strchr(org, '/');
    const char *file = slash != NULL ? strchr(slash + 1, '/') : NULL;
    const char *base = f->what->hf_endpoint != NULL ? f->what->hf_endpoint : HUB;
    struct berth_buf b;

    if (file == NULL || slash == org || file == slash + 1 || file[1] == '\0' || file[1] == '@')
        return source_bad(source, e);
    const char *at = strrchr(file, '@');
    const size_t file_len = at != NULL ? (size_t)(at - file) - 1 : strlen(file + 1);
    berth_buf_init(&b, &f->arena);
    berth_buf_put(&b, base, strlen(base) - (base[strlen(base) - 1] == '/'));
    berth_buf_printf(&b, "/%.*s/resolve/", (int)(file - org), org);
    if (at != NULL)
        berth_uri_put(&b, at + 1, strlen(at + 1));
    else
        berth_buf_puts(&b, "main");
    for (size_t i = 0; i <= file_len; i++) { /* the slashes stay */
        const size_t n = strcspn(file + i, "/");
        const size_t left = file_len + 1 - i;
        berth_uri_put(&b, file + i, n < left ? n : left);
        i += n;
        if (n < left)
            berth_buf_putc(&b, '/');
    }
    f->url = berth_buf_text(&b);
    return f->url != NULL ? 0 : no_memory(e);
}

/* The last part of the URL's path, decoded; a name that could leave the folder is refused. */
static const char *
name_of(struct fetching *f)
{
    const size_t end = strcspn(f->url, "?#");
    size_t from = end;
    struct berth_slice name;

    if (f->what->name != NULL)
        name = berth_slice_of(f->what->name);
    else {
        while (from > 0 && f->url[from - 1] != '/')
            from--;
        if (!berth_uri_decode(&f->arena, (struct berth_slice){f->url + from, end - from}, false,
                              &name))
            return NULL;
    }
    if (name.len == 0 || name.len > NAME_BYTES_MAX || name.at[0] == '.' ||
        memchr(name.at, '/', name.len) != NULL)
        return NULL;
    return name.at;
}

/* Split source and digest; find URL, path and names of the helpers beside it. */
static int
names_find(struct fetching *f, const char *source, struct berth_err *e)
{
    int rc = 0;

    if (strncasecmp(source, "hf://", 5) == 0)
        rc = hub_url(f, source, e);
    else
        f->url = source;
    const char *name = rc == 0 ? name_of(f) : NULL;
    if (rc != 0)
        return rc;
    if (name == NULL)
        return berth_err_set(e, BERTH_EINVAL, "%s has no usable file name: give one", source);
    f->path = berth_arena_printf(&f->arena, "%s/%s", f->what->folder, name);
    f->part = f->path != NULL ? berth_arena_printf(&f->arena, "%s.part", f->path) : NULL;
    f->note = f->part != NULL ? berth_arena_printf(&f->arena, "%s.from", f->part) : NULL;
    return f->note != NULL ? 0 : no_memory(e);
}

/* ---- the disk ---- */

static int
folder_make(const char *folder, struct berth_err *e)
{
    char part[PATH_MAX];

    if (snprintf(part, sizeof part, "%s", folder) >= (int)sizeof part || folder[0] == '\0')
        return berth_err_set(e, BERTH_EIO, "%s: is no folder's name", folder);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return berth_err_set(e, BERTH_EIO, "%s: cannot be made: %m", part);
        if (slash == NULL)
            return 0;
        *slash = '/';
    }
}

/* Room on the disk for n more bytes, and some for others? */
static int
room_check(struct fetching *f, uint64_t n, struct berth_err *e)
{
    struct statvfs fs;

    if (f->what->bytes_max > 0 && f->begin + n > f->what->bytes_max)
        return berth_err_set(e, BERTH_ETOOBIG, "%s has %llu bytes, only %llu are allowed", f->url,
                             (unsigned long long)(f->begin + n),
                             (unsigned long long)f->what->bytes_max);
    if (statvfs(f->what->folder, &fs) != 0)
        return 0; /* then writing will tell */
    const uint64_t spare = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (n > spare)
        return berth_err_set(e, BERTH_ETOOBIG,
                             "%s needs %llu more bytes, %s has only %llu left: make room, or "
                             "choose another folder",
                             f->url, (unsigned long long)n, f->what->folder,
                             (unsigned long long)spare);
    return 0;
}

/* What the part belongs to: two lines, URL and ETag.  It counts only for the same URL. */
static void
note_read(struct fetching *f)
{
    BERTH_AUTO_FREE char *line = NULL;
    size_t size = 0;
    FILE *in = fopen(f->note, "re");

    f->etag[0] = '\0';
    if (in == NULL)
        return;
    ssize_t n = getline(&line, &size, in);
    if (n > 0 && line[n - 1] == '\n')
        line[n - 1] = '\0';
    const bool same = n > 0 && strcmp(line, f->url) == 0;
    n = same ? getline(&line, &size, in) : -1;
    if (n > 0 && line[n - 1] == '\n')
        line[--n] = '\0';
    if (n > 0 && (size_t)n < sizeof f->etag)
        memcpy(f->etag, line, (size_t)n + 1);
    (void)fclose(in);
}

static void
note_write(const struct fetching *f)
{
    FILE *out = fopen(f->note, "we");

    if (out == NULL)
        return; /* then a broken-off part is fetched anew */
    (void)fprintf(out, "%s\n%s\n", f->url, f->etag);
    (void)fclose(out);
}

static int
part_open(struct fetching *f, struct berth_err *e)
{
    struct stat st;

    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return berth_err_set(e, BERTH_EIO, "%s: cannot be opened: %m", f->part);
    note_read(f);
    f->have = f->etag[0] != '\0' ? (uint64_t)st.st_size : 0; /* of nothing known: start anew */
    return 0;
}

/* ---- the transfer ---- */

static bool
write_all(struct fetching *f, const char *bytes, size_t len)
{
    while (len > 0) {
        const ssize_t n = pwrite(f->fd, bytes, len, (off_t)f->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            f->disk_errno = errno;
            return false;
        }
        f->have += (uint64_t)n;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool
on_part(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct fetching *f = arg;

    if (status != 200 && status != 206)
        return true; /* an error's text */
    if (f->status == 0) {
        f->status = status;
        if (status == 200) { /* from the beginning after all */
            f->begin = f->have = 0;
            if (ftruncate(f->fd, 0) != 0) {
                f->disk_errno = errno;
                return false;
            }
        }
    }
    if (f->what->bytes_max > 0 && len > f->what->bytes_max - f->have) {
        f->too_big = true;
        return false;
    }
    return write_all(f, bytes, len);
}

static bool
on_progress(void *arg, uint64_t got, uint64_t total)
{
    struct fetching *f = arg;

    f->total = total > 0 ? f->begin + total : 0;
    return f->what->progress == NULL || f->what->progress(f->what->arg, f->begin + got, f->total);
}

/* Ask what is there: size, ETag, and whether the server lets us. */
static int
look(struct fetching *f, struct berth_client_answer *ret, struct berth_err *e)
{
    const struct berth_client_call call = {
        .method = "HEAD", .url = f->url, .bearer = f->what->hf_token};

    return berth_client_call(f->client, &call, ret, e);
}

static int
status_fail(const struct fetching *f, uint16_t status, struct berth_err *e)
{
    if (status == 401 || status == 403)
        return berth_err_set(e, BERTH_EAUTH, "%s: the server says %u: %s", f->url, status,
                             f->what->hf_token == NULL ? "a token is needed; set HF_TOKEN"
                                                       : "the token does not allow it");
    if (status == 404 || status == 410)
        return berth_err_set(e, BERTH_ENOENT, "%s: the server says %u: no such file", f->url,
                             status);
    return berth_err_set(e, BERTH_ENETWORK, "%s: the server says %u", f->url, status);
}

/* Fetch from f->have on.  0: the whole is there. */
static int
once(struct fetching *f, struct berth_err *e)
{
    const struct berth_client_call call = {
        .url = f->url,
        .bearer = f->what->hf_token,
        .body_bytes_max = UINT64_MAX,
        .resume_at = f->have,
        .if_range = f->have > 0 && strncmp(f->etag, "W/", 2) != 0 ? f->etag : NULL,
        .body_part = on_part,
        .go_on = on_progress,
        .arg = f,
    };
    struct berth_client_answer answer;

    f->begin = f->have;
    f->status = 0;
    const int rc = berth_client_call(f->client, &call, &answer, e);
    if (f->disk_errno != 0)
        return berth_err_set(e, f->disk_errno == ENOSPC ? BERTH_ETOOBIG : BERTH_EIO,
                             "%s: cannot be written: %s", f->part, strerrordesc_np(f->disk_errno));
    if (f->too_big)
        return berth_err_set(e, BERTH_ETOOBIG, "%s is larger than the %llu bytes allowed", f->url,
                             (unsigned long long)f->what->bytes_max);
    if (rc != 0)
        return rc;
    if (answer.status == 416) { /* nothing behind what we have: the digest decides */
        f->status = 206;
        return 0;
    }
    if (answer.status != 200 && answer.status != 206)
        return status_fail(f, answer.status, e);
    if (f->status == 0 && answer.status == 200 && ftruncate(f->fd, 0) != 0) /* an empty file */
        return berth_err_set(e, BERTH_EIO, "%s: cannot be written: %m", f->part);
    return 0;
}

/* Look first, so that size, room and ETag are known; then fetch, going on after breaks. */
static int
transfer(struct fetching *f, struct berth_err *e)
{
    struct berth_client_answer head;
    int rc = look(f, &head, e);

    if (rc != 0)
        return rc;
    const bool told = head.status >= 200 && head.status < 300;
    if (!told && head.status != 405 && head.status != 501)
        return status_fail(f, head.status, e);
    if (told && (f->have == 0 || strcmp(head.etag, f->etag) != 0)) {
        f->have = 0; /* another file now */
        (void)snprintf(f->etag, sizeof f->etag, "%s", head.etag);
        note_write(f);
    }
    if (f->sha256[0] == '\0' && told) { /* the hub's large files: the digest is the linked ETag */
        const size_t n = strspn(head.linked_etag, "W/\"");
        (void)berth_digest_parse(head.linked_etag + n, strcspn(head.linked_etag + n, "\""),
                                 f->sha256);
    }
    if (told && head.content_length != UINT64_MAX) {
        f->begin = f->have;
        const uint64_t left = head.content_length > f->have ? head.content_length - f->have : 0;
        rc = room_check(f, left, e);
        if (rc == 0 && left == 0 && f->have > 0)
            return 0; /* it was whole already */
    }
    for (int breaks = 0; rc == 0; breaks++) {
        const uint64_t before = f->have;
        rc = once(f, e);
        const bool again = (rc == -BERTH_ENETWORK || rc == -BERTH_EDEADLINE) && f->status != 0 &&
                           f->have > before && breaks < BREAKS_MAX;
        if (!again)
            break;
        rc = 0; /* some of it came: go on from there */
        (void)nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    return rc;
}

/* ---- the end ---- */

static int
digest_of(const char *path, char ret[BERTH_DIGEST_HEX], struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    BERTH_AUTO_FREE char *piece = malloc(PIECE_BYTES);
    struct berth_digest *d = berth_digest_new();
    ssize_t n = 1;

    if (fd < 0 || piece == NULL || d == NULL) {
        berth_digest_free(d);
        return berth_err_set(e, fd < 0 ? BERTH_EIO : BERTH_ENOMEM, "%s: cannot be checked: %m",
                             path);
    }
    while (n != 0) {
        n = read(fd, piece, PIECE_BYTES);
        if (n > 0)
            berth_digest_put(d, piece, (size_t)n);
        if (n < 0 && errno != EINTR)
            break;
    }
    berth_digest_hex(d, ret);
    berth_digest_free(d);
    return n == 0 ? 0 : berth_err_set(e, BERTH_EIO, "%s: cannot be read: %m", path);
}

static int
verify(const char *path, const char *want, struct berth_err *e)
{
    char got[BERTH_DIGEST_HEX];
    const int rc = digest_of(path, got, e);

    if (rc != 0 || strcmp(got, want) == 0)
        return rc;
    return berth_err_set(e, BERTH_EBACKEND, "the checksum is %s, expected %s", got, want);
}

static int
put_in_place(struct fetching *f, struct berth_err *e)
{
    int rc = f->sha256[0] != '\0' ? verify(f->part, f->sha256, e) : 0;

    if (rc == -BERTH_EBACKEND) {
        (void)unlink(f->part);
        (void)unlink(f->note);
        return berth_err_wrap(e, rc, "%s", f->url);
    }
    if (rc != 0)
        return rc;
    if (fsync(f->fd) != 0 || rename(f->part, f->path) != 0)
        return berth_err_set(e, BERTH_EIO, "%s: cannot be put in place: %m", f->path);
    (void)unlink(f->note);
    return 0;
}

static int
from_url(struct fetching *f, struct berth_err *e)
{
    int rc;

    if (f->sha256[0] != '\0' && access(f->path, R_OK) == 0 && verify(f->path, f->sha256, NULL) == 0)
        return 0; /* fetched before */
    rc = folder_make(f->what->folder, e);
    if (rc == 0)
        rc = part_open(f, e);
    if (rc == 0)
        rc = berth_client_new(&f->client, e);
    if (rc == 0)
        rc = transfer(f, e);
    if (rc == 0)
        rc = put_in_place(f, e);
    else if (f->have == 0) { /* nothing came: leave nothing behind */
        (void)unlink(f->part);
        (void)unlink(f->note);
    }
    berth_client_free(f->client);
    if (f->fd >= 0)
        (void)close(f->fd);
    return rc;
}

static int
from_path(struct fetching *f, const char *source, struct berth_err *e)
{
    const char *path = strncmp(source, "file://", 7) == 0 ? source + 7 : source;
    char whole[PATH_MAX];

    if (realpath(path, whole) == NULL)
        return berth_err_set(e, errno == ENOENT ? BERTH_ENOENT : BERTH_EIO, "%s: %m", path);
    f->path = berth_arena_strdup(&f->arena, whole);
    if (f->path == NULL)
        return no_memory(e);
    if (f->sha256[0] == '\0')
        return 0;
    const int rc = verify(whole, f->sha256, e);
    return rc != 0 ? berth_err_wrap(e, rc, "%s", whole) : 0;
}

int
berth_fetch(const struct berth_fetch *what, char **ret_path, struct berth_err *e)
{
    struct fetching f = {.what = what, .fd = -1};
    const char *mark = strstr(what->source, "#sha256=");
    const char *sha256 = what->sha256 != NULL ? what->sha256 : mark != NULL ? mark + 8 : NULL;
    int rc = 0;

    if (sha256 != NULL && !berth_digest_parse(sha256, strlen(sha256), f.sha256))
        return berth_err_set(e, BERTH_EINVAL, "'%s' is no SHA-256: 64 hex digits", sha256);
    berth_arena_init(&f.arena, MEMORY_BYTES_MAX);
    const size_t len = mark != NULL ? (size_t)(mark - what->source) : strlen(what->source);
    const char *source = berth_arena_strndup(&f.arena, what->source, len);
    if (source == NULL)
        rc = no_memory(e);
    else if (strstr(source, "://") == NULL || strncmp(source, "file://", 7) == 0)
        rc = source[0] != '\0' ? from_path(&f, source, e) : source_bad(source, e);
    else if (strncasecmp(source, "http://", 7) != 0 && strncasecmp(source, "https://", 8) != 0 &&
             strncasecmp(source, "hf://", 5) != 0)
        rc = source_bad(source, e);
    else if ((rc = names_find(&f, source, e)) == 0)
        rc = from_url(&f, e);
    char *path = rc == 0 ? strdup(f.path) : NULL;
    if (rc == 0 && path == NULL)
        rc = no_memory(e);
    berth_arena_fini(&f.arena);
    if (rc == 0)
        *ret_path = path;
    return rc;
}
