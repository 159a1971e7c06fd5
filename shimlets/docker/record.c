#include "shimlets/docker/docker_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "wire/json.h"

enum { RECORD_BYTES_MAX = 4096, RECORDS_MAX = 20000 };

static void
record_free(struct berth_docker_record *r)
{
    if (r == NULL)
        return;
    free(r->name);
    free(r->service_id);
    free(r->track);
    free(r->hash);
    free(r);
}

static struct berth_docker_record *
record_new(const char *name, const char *service_id, const char *track, const char *hash,
           uint32_t replicas)
{
    struct berth_docker_record *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    r->name = strdup(name);
    r->service_id = strdup(service_id);
    r->track = strdup(track);
    r->hash = strdup(hash);
    r->replicas = replicas;
    if (r->name == NULL || r->service_id == NULL || r->track == NULL || r->hash == NULL) {
        record_free(r);
        return NULL;
    }
    return r;
}

/* In place of what has its name; r is taken. */
static void
keep_locked(struct berth_shimlet *s, struct berth_docker_record *r)
{
    struct berth_docker_record **link = &s->records;

    while (*link != NULL && strcmp((*link)->name, r->name) != 0)
        link = &(*link)->next;
    if (*link != NULL) {
        struct berth_docker_record *old = *link;
        r->next = old->next;
        record_free(old);
    }
    *link = r;
}

/* ---- files ---- */

static int
write_all(int fd, const char *at, size_t len)
{
    while (len > 0) {
        const ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

static int
sync_dir(const char *dir)
{
    BERTH_AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -1 : fsync(fd);
}

/* name is [a-z0-9-], so it is a file's. */
static int
file_put(const struct berth_shimlet *s, const char *name, const char *text, size_t len,
         struct berth_err *e)
{
    char path[512], temp[512];

    if (s->units_dir == NULL)
        return 0;
    if ((size_t)snprintf(path, sizeof path, "%s/%s.json", s->units_dir, name) >= sizeof path ||
        (size_t)snprintf(temp, sizeof temp, "%s/%s.new", s->units_dir, name) >= sizeof temp)
        return berth_err_set(e, BERTH_EIO, "docker: %.200s: the path is too long", s->units_dir);
    BERTH_AUTO_CLOSE int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, text, len) < 0 || rename(temp, path) < 0 ||
        sync_dir(s->units_dir) < 0) {
        const int err = errno;
        (void)unlink(temp);
        errno = err;
        return berth_err_set(e, BERTH_EIO, "docker: %.300s: %m", path);
    }
    return 0;
}

static int
text_of(const struct berth_json *root, const char *key, const char **ret)
{
    struct berth_slice v;

    if (!berth_json_string(berth_json_get(root, key), &v))
        return -1;
    *ret = v.at;
    return 0;
}

/* One file into memory; false: it is none of ours, or damaged. */
static bool
load_file(struct berth_shimlet *s, const char *path)
{
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    const char *name, *service_id, *track, *hash;
    const struct berth_json *root;
    struct berth_docker_record *r = NULL;
    struct berth_arena a;
    uint64_t replicas;
    char text[RECORD_BYTES_MAX];

    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (n <= 0 || n == (ssize_t)sizeof text)
        return false;
    berth_arena_init(&a, 64 * (size_t)1024);
    if (berth_json_parse(&a, text, (size_t)n, NULL, &root, NULL) == 0 &&
        text_of(root, "name", &name) == 0 && text_of(root, "service", &service_id) == 0 &&
        text_of(root, "track", &track) == 0 && text_of(root, "hash", &hash) == 0 &&
        berth_json_uint(berth_json_get(root, "replicas"), &replicas) && replicas <= UINT32_MAX)
        r = record_new(name, service_id, track, hash, (uint32_t)replicas);
    berth_arena_fini(&a);
    if (r != NULL)
        keep_locked(s, r);
    return r != NULL;
}

int
berth_docker_records_load(struct berth_shimlet *s, struct berth_err *e)
{
    size_t count = 0;

    if (s->units_dir == NULL)
        return 0;
    if (mkdir(s->units_dir, 0700) < 0 && errno != EEXIST)
        return berth_err_set(e, BERTH_EIO, "docker: %.300s: %m", s->units_dir);
    DIR *dir = opendir(s->units_dir);
    if (dir == NULL)
        return berth_err_set(e, BERTH_EIO, "docker: %.300s: %m", s->units_dir);
    for (const struct dirent *d; count < RECORDS_MAX && (d = readdir(dir)) != NULL;) {
        const char *end = strrchr(d->d_name, '.');
        char path[768], text[1024];

        if (end == NULL || strcmp(end, ".json") != 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", s->units_dir, d->d_name);
        if (load_file(s, path)) {
            count++;
            continue;
        }
        (void)snprintf(text, sizeof text, "docker: %s is no record and is not used", path);
        s->h->log(BERTH_LOG_WARN, text);
    }
    (void)closedir(dir);
    return 0;
}

void
berth_docker_records_free(struct berth_shimlet *s)
{
    while (s->records != NULL) {
        struct berth_docker_record *r = s->records;
        s->records = r->next;
        record_free(r);
    }
}

/* ---- from outside ---- */

int
berth_docker_record_put(struct berth_shimlet *s, const struct berth_unit *u, struct berth_err *e)
{
    struct berth_docker_record *r =
        record_new(u->name, u->service_id, u->track, u->hash, u->replicas);
    struct berth_buf text;
    struct berth_jw w;
    bool same = false;
    int rc = 0;

    if (r == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    (void)pthread_mutex_lock(&s->mu);
    for (const struct berth_docker_record *o = s->records; o != NULL && !same; o = o->next)
        same = strcmp(o->name, r->name) == 0 && strcmp(o->hash, r->hash) == 0 &&
               strcmp(o->service_id, r->service_id) == 0 && strcmp(o->track, r->track) == 0 &&
               o->replicas == r->replicas;
    (void)pthread_mutex_unlock(&s->mu);
    if (same) { /* every round says the same again: the disk has it */
        record_free(r);
        return 0;
    }
    berth_buf_init(&text, NULL);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    berth_jw_key(&w, "name");
    berth_jw_string(&w, r->name);
    berth_jw_key(&w, "service");
    berth_jw_string(&w, r->service_id);
    berth_jw_key(&w, "track");
    berth_jw_string(&w, r->track);
    berth_jw_key(&w, "hash");
    berth_jw_string(&w, r->hash);
    berth_jw_key(&w, "replicas");
    berth_jw_uint(&w, r->replicas);
    berth_jw_object_end(&w);
    if (text.failed)
        rc = berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    else
        rc = file_put(s, r->name, text.at, text.len, e);
    berth_buf_fini(&text);
    if (rc < 0) {
        record_free(r);
        return rc;
    }
    (void)pthread_mutex_lock(&s->mu);
    keep_locked(s, r);
    (void)pthread_mutex_unlock(&s->mu);
    return 0;
}

static bool
copy(const struct berth_docker_record *from, struct berth_arena *a, struct berth_docker_record *to)
{
    *to = (struct berth_docker_record){
        .name = berth_arena_strdup(a, from->name),
        .service_id = berth_arena_strdup(a, from->service_id),
        .track = berth_arena_strdup(a, from->track),
        .hash = berth_arena_strdup(a, from->hash),
        .replicas = from->replicas,
    };
    return to->name != NULL && to->service_id != NULL && to->track != NULL && to->hash != NULL;
}

int
berth_docker_record_get(struct berth_shimlet *s, const char *unit_name, struct berth_arena *a,
                        struct berth_docker_record *ret, struct berth_err *e)
{
    int r = 0;

    (void)pthread_mutex_lock(&s->mu);
    for (const struct berth_docker_record *o = s->records; o != NULL && r == 0; o = o->next)
        if (strcmp(o->name, unit_name) == 0)
            r = copy(o, a, ret) ? 1 : -BERTH_ENOMEM;
    (void)pthread_mutex_unlock(&s->mu);
    return r < 0 ? berth_err_set(e, BERTH_ENOMEM, "docker: out of memory") : r;
}

int
berth_docker_record_drop(struct berth_shimlet *s, const char *unit_name, struct berth_err *e)
{
    char path[512];

    if (s->units_dir != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s.json", s->units_dir, unit_name);
        if (unlink(path) < 0 && errno != ENOENT)
            return berth_err_set(e, BERTH_EIO, "docker: %.300s: %m", path);
    }
    (void)pthread_mutex_lock(&s->mu);
    for (struct berth_docker_record **link = &s->records; *link != NULL; link = &(*link)->next)
        if (strcmp((*link)->name, unit_name) == 0) {
            struct berth_docker_record *r = *link;
            *link = r->next;
            record_free(r);
            break;
        }
    (void)pthread_mutex_unlock(&s->mu);
    return 0;
}

int
berth_docker_record_all(struct berth_shimlet *s, struct berth_arena *a,
                        struct berth_docker_record **ret, struct berth_err *e)
{
    struct berth_docker_record *first = NULL;
    bool ok = true;

    (void)pthread_mutex_lock(&s->mu);
    for (const struct berth_docker_record *o = s->records; o != NULL && ok; o = o->next) {
        struct berth_docker_record *r = BERTH_NEW(a, struct berth_docker_record);
        ok = r != NULL && copy(o, a, r);
        if (ok) {
            r->next = first;
            first = r;
        }
    }
    (void)pthread_mutex_unlock(&s->mu);
    if (!ok)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    *ret = first;
    return 0;
}
