#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "shimlets/ollama/ollama_priv.h"

/* What is known of a unit: a small file for each, written whole and renamed.  A unit has one
 * operation at a time, so nothing is locked. */

enum { RECORD_BYTES_MAX = 64 * 1024, PATH_BYTES = 1024, UNITS_MAX = 20000 };

static bool
path_of(const struct berth_shimlet *s, const char *unit, const char *end, char ret[PATH_BYTES])
{
    return snprintf(ret, PATH_BYTES, "%s/%s.%s", s->dir, unit, end) < PATH_BYTES;
}

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "ollama: out of memory");
}

/* ---- as text ---- */

static void
put(struct berth_jw *w, const char *key, const char *text)
{
    if (text == NULL)
        return;
    berth_jw_key(w, key);
    berth_jw_string(w, text);
}

static void
write_record(const struct berth_ollama_record *r, struct berth_buf *b)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_object(&w);
    put(&w, "unit", r->unit);
    put(&w, "service", r->service_id);
    put(&w, "track", r->track);
    put(&w, "hash", r->hash);
    put(&w, "host", r->host);
    put(&w, "pulled", r->pulled);
    berth_jw_pair_uint(&w, "replicas", r->replicas);
    berth_jw_pair_uint(&w, "number", r->number);
    berth_jw_pair_uint(&w, "drain_ns", r->drain_ns);
    berth_jw_key(&w, "made");
    berth_jw_array(&w);
    for (size_t i = 0; i < r->made_count; i++) {
        berth_jw_object(&w);
        put(&w, "name", r->made[i].name);
        berth_jw_key(&w, "loaded");
        berth_jw_bool(&w, r->made[i].loaded);
        berth_jw_key(&w, "cold");
        berth_jw_bool(&w, r->made[i].cold);
        put(&w, "reason", r->made[i].reason);
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
}

static bool
read_record(const char *text, size_t len, struct berth_arena *a, struct berth_ollama_record *ret)
{
    struct berth_ollama_record r = {0};
    const struct berth_json *root;

    if (berth_json_parse(a, text, len, NULL, &root, NULL) < 0)
        return false;
    r.unit = berth_json_member_text(root, "unit", NULL);
    r.service_id = berth_json_member_text(root, "service", NULL);
    r.track = berth_json_member_text(root, "track", NULL);
    r.hash = berth_json_member_text(root, "hash", NULL);
    r.host = berth_json_member_text(root, "host", NULL);
    r.pulled = berth_json_member_text(root, "pulled", NULL);
    r.replicas = (uint32_t)berth_json_member_uint(root, "replicas");
    r.number = berth_json_member_uint(root, "number");
    r.drain_ns = berth_json_member_uint(root, "drain_ns");
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(root, "made"));
         berth_json_next(&it) && r.made_count < BERTH_OLLAMA_MADE_MAX;) {
        struct berth_ollama_made *m = &r.made[r.made_count];

        m->name = berth_json_member_text(it.value, "name", NULL);
        m->reason = berth_json_member_text(it.value, "reason", NULL);
        m->loaded = berth_json_member_bool(it.value, "loaded");
        m->cold = berth_json_member_bool(it.value, "cold");
        r.made_count += m->name != NULL;
    }
    *ret = r;
    return r.unit != NULL && r.service_id != NULL && r.track != NULL && r.hash != NULL &&
           r.host != NULL;
}

/* ---- as a file ---- */

static int
read_file(const char *path, struct berth_arena *a, struct berth_ollama_record *ret,
          struct berth_err *e)
{
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd >= 0 ? berth_arena_alloc(a, RECORD_BYTES_MAX) : NULL;

    if (fd < 0)
        return errno == ENOENT ? 0 : berth_err_set(e, BERTH_EIO, "ollama: %s: %m", path);
    if (text == NULL)
        return no_memory(e);
    const ssize_t n = read(fd, text, RECORD_BYTES_MAX);
    if (n <= 0 || n == RECORD_BYTES_MAX || !read_record(text, (size_t)n, a, ret))
        return berth_err_set(e, BERTH_EIO,
                             "ollama: %s is no record: remove it, and the models of its name from "
                             "the server",
                             path);
    return 1;
}

int
berth_ollama_record_get(const struct berth_shimlet *s, const char *unit, struct berth_arena *a,
                        struct berth_ollama_record *ret, struct berth_err *e)
{
    char path[PATH_BYTES];

    if (!path_of(s, unit, "json", path))
        return berth_err_set(e, BERTH_EIO, "ollama: %.200s: the path is too long", s->dir);
    return read_file(path, a, ret, e);
}

static int
sync_dir(const char *dir)
{
    BERTH_AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -1 : fsync(fd);
}

int
berth_ollama_record_put(const struct berth_shimlet *s, const struct berth_ollama_record *r,
                        struct berth_err *e)
{
    char path[PATH_BYTES], fresh[PATH_BYTES];
    struct berth_buf b;
    int rc = 0;

    if (!path_of(s, r->unit, "json", path) || !path_of(s, r->unit, "new", fresh))
        return berth_err_set(e, BERTH_EIO, "ollama: %.200s: the path is too long", s->dir);
    berth_buf_init(&b, NULL);
    write_record(r, &b);
    if (b.failed || b.len >= RECORD_BYTES_MAX) {
        berth_buf_fini(&b);
        return no_memory(e);
    }
    BERTH_AUTO_CLOSE int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b.at, b.len) != (ssize_t)b.len || fsync(fd) < 0 ||
        rename(fresh, path) < 0 || sync_dir(s->dir) < 0)
        rc = berth_err_set(e, BERTH_EIO, "ollama: %s: %m", path);
    berth_buf_fini(&b);
    return rc;
}

int
berth_ollama_record_drop(const struct berth_shimlet *s, const char *unit, struct berth_err *e)
{
    char path[PATH_BYTES];

    if (!path_of(s, unit, "json", path) || (unlink(path) < 0 && errno != ENOENT))
        return berth_err_set(e, BERTH_EIO, "ollama: %s: %m", path);
    return 0;
}

int
berth_ollama_record_each(const struct berth_shimlet *s,
                         void (*each)(void *arg, const struct berth_ollama_record *r), void *arg,
                         struct berth_err *e)
{
    DIR *d = opendir(s->dir);
    size_t count = 0;
    int r = 0;

    if (d == NULL)
        return berth_err_set(e, BERTH_EIO, "ollama: %s: %m", s->dir);
    for (const struct dirent *f; r >= 0 && count < UNITS_MAX && (f = readdir(d)) != NULL;) {
        const char *end = strrchr(f->d_name, '.');
        struct berth_ollama_record one;
        struct berth_arena a;
        char path[PATH_BYTES];

        if (end == NULL || strcmp(end, ".json") != 0 ||
            snprintf(path, sizeof path, "%s/%s", s->dir, f->d_name) >= (int)sizeof path)
            continue;
        berth_arena_init(&a, 4 * (size_t)RECORD_BYTES_MAX);
        r = read_file(path, &a, &one, e);
        if (r == 1)
            each(arg, &one);
        if (r == -BERTH_EIO) { /* the others are there all the same */
            berth_warn("%s", e->msg);
            r = 0;
        }
        count++;
        berth_arena_fini(&a);
    }
    (void)closedir(d);
    return r < 0 ? r : 0;
}
