#include "api/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"

struct berth_shm_region {
    struct berth_shm_region *next;
    atomic_uint refs; /* the table's, and one for each use */
    int fd;
    uint64_t offset, byte_size;
    char name[BERTH_SHM_NAME_MAX + 1], key[BERTH_SHM_NAME_MAX + 2];
};

struct berth_shm {
    pthread_mutex_t mu;
    struct berth_shm_region *first; /* by name */
    size_t count;
};

struct berth_shm *
berth_shm_new(void)
{
    struct berth_shm *t = calloc(1, sizeof *t);

    if (t != NULL)
        (void)pthread_mutex_init(&t->mu, NULL);
    return t;
}

static void
unref(struct berth_shm_region *g)
{
    if (atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    (void)close(g->fd);
    free(g);
}

void
berth_shm_free(struct berth_shm *t)
{
    if (t == NULL)
        return;
    for (struct berth_shm_region *g = t->first, *next; g != NULL; g = next) {
        next = g->next;
        unref(g);
    }
    (void)pthread_mutex_destroy(&t->mu);
    free(t);
}

/* ---- registering ---- */

/* A name in /dev/shm and nowhere else: one segment, with a slash in front or without. */
static int
read_key(const char *key, char to[BERTH_SHM_NAME_MAX + 2], struct berth_err *e)
{
    const char *name = key[0] == '/' ? key + 1 : key;
    const size_t len = strlen(name);

    if (len == 0 || len > BERTH_SHM_NAME_MAX || strchr(name, '/') != NULL ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "key: must be the name of a shared memory, such as \"/tensors\"");
    (void)snprintf(to, BERTH_SHM_NAME_MAX + 2, "/%s", name);
    return 0;
}

/* Is [offset, offset + size) within what the file has now? */
static int
check_size(const struct berth_shm_region *g, uint64_t offset, uint64_t size, struct berth_err *e)
{
    struct stat st;

    if (fstat(g->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL, "key: %s is no shared memory", g->key);
    if (size > (uint64_t)st.st_size || offset > (uint64_t)st.st_size - size)
        return berth_err_set(
            e, BERTH_EINVAL,
            "shared memory region '%s': %s has %lld bytes, fewer than %llu at %llu", g->name,
            g->key, (long long)st.st_size, (unsigned long long)size, (unsigned long long)offset);
    return 0;
}

static int
open_region(struct berth_shm_region *g, struct berth_err *e)
{
    g->fd = shm_open(g->key, O_RDWR | O_CLOEXEC, 0);
    if (g->fd >= 0)
        return check_size(g, g->offset, g->byte_size, e);
    return berth_err_set(e,
                         errno == ENOENT   ? BERTH_ENOENT
                         : errno == EACCES ? BERTH_EPERM
                                           : BERTH_EINVAL,
                         "unable to open shared memory region '%s': %s: %m", g->name, g->key);
}

/* Where the name is, or should be. */
static struct berth_shm_region **
find_locked(struct berth_shm *t, struct berth_slice name, bool *ret_there)
{
    struct berth_shm_region **at = &t->first;

    for (; *at != NULL; at = &(*at)->next) {
        const size_t len = strlen((*at)->name);
        const int order = memcmp((*at)->name, name.at, len < name.len ? len : name.len);

        *ret_there = order == 0 && len == name.len;
        if (*ret_there || order > 0 || (order == 0 && len > name.len))
            return at;
    }
    *ret_there = false;
    return at;
}

static int
insert(struct berth_shm *t, struct berth_shm_region *g, struct berth_err *e)
{
    bool there;
    int r = 0;

    (void)pthread_mutex_lock(&t->mu);
    struct berth_shm_region **at = find_locked(t, berth_slice_of(g->name), &there);
    if (there) {
        r = berth_err_set(e, BERTH_EEXIST, "shared memory region '%s' already in manager", g->name);
    } else if (t->count == BERTH_SHM_REGIONS_MAX) {
        r = berth_err_set(e, BERTH_ELIMIT, "there are %d shared memory regions; unregister some",
                          BERTH_SHM_REGIONS_MAX);
    } else {
        g->next = *at;
        *at = g;
        t->count++;
    }
    (void)pthread_mutex_unlock(&t->mu);
    return r;
}

int
berth_shm_register(struct berth_shm *t, const struct berth_shm_info *region, struct berth_err *e)
{
    const size_t len = strlen(region->name);
    struct berth_shm_region *g = calloc(1, sizeof *g);
    int r;

    if (g == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    g->fd = -1;
    atomic_init(&g->refs, 1);
    g->offset = region->offset;
    g->byte_size = region->byte_size;
    if (len == 0 || len > BERTH_SHM_NAME_MAX) {
        r = berth_err_set(e, BERTH_EINVAL, "name: must have 1 to %d bytes", BERTH_SHM_NAME_MAX);
    } else if (region->byte_size == 0) {
        r = berth_err_set(e, BERTH_EINVAL, "byte_size: must be at least 1");
    } else {
        memcpy(g->name, region->name, len + 1);
        if ((r = read_key(region->key, g->key, e)) == 0 && (r = open_region(g, e)) == 0)
            r = insert(t, g, e);
    }
    if (r < 0) {
        if (g->fd >= 0)
            (void)close(g->fd);
        free(g);
    }
    return r;
}

static int
unknown(struct berth_slice name, struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOENT, "Unable to find system shared memory region: '%.*s'",
                         (int)(name.len < 100 ? name.len : 100), name.at);
}

int
berth_shm_unregister(struct berth_shm *t, struct berth_slice name, struct berth_err *e)
{
    struct berth_shm_region *gone = NULL, *next;
    bool there = true;

    (void)pthread_mutex_lock(&t->mu);
    if (name.len == 0) {
        gone = t->first;
        t->first = NULL;
        t->count = 0;
    } else {
        struct berth_shm_region **at = find_locked(t, name, &there);
        if (there) {
            gone = *at;
            *at = gone->next;
            gone->next = NULL;
            t->count--;
        }
    }
    (void)pthread_mutex_unlock(&t->mu);
    for (; gone != NULL; gone = next) {
        next = gone->next;
        unref(gone);
    }
    return there ? 0 : unknown(name, e);
}

int
berth_shm_list(struct berth_shm *t, struct berth_arena *a, struct berth_slice name,
               struct berth_shm_info **ret, size_t *ret_count, struct berth_err *e)
{
    struct berth_shm_info *list;
    size_t n = 0;
    bool ok = true;

    (void)pthread_mutex_lock(&t->mu);
    list = BERTH_NEW_N(a, struct berth_shm_info, t->count + 1);
    for (const struct berth_shm_region *g = t->first; g != NULL && list != NULL; g = g->next) {
        if (name.len > 0 && !berth_slice_is(name, g->name))
            continue;
        list[n] = (struct berth_shm_info){.name = berth_arena_strdup(a, g->name),
                                          .key = berth_arena_strdup(a, g->key),
                                          .offset = g->offset,
                                          .byte_size = g->byte_size};
        ok = ok && list[n].name != NULL && list[n].key != NULL;
        n++;
    }
    (void)pthread_mutex_unlock(&t->mu);
    if (list == NULL || !ok)
        return berth_err_set(e, BERTH_ENOMEM, "the answer is larger than its memory limit");
    if (name.len > 0 && n == 0)
        return unknown(name, e);
    *ret = list;
    *ret_count = n;
    return 0;
}

/* ---- tensors ---- */

/* The region that the span lies in, referenced; or NULL, and *ret says why. */
static struct berth_shm_region *
take(struct berth_shm *t, const struct berth_shm_span *span, int *ret, struct berth_err *e)
{
    const struct berth_slice name = berth_slice_of(span->region);
    struct berth_shm_region *g = span->held;
    bool there;
    int r;

    (void)pthread_mutex_lock(&t->mu);
    if (g == NULL) {
        struct berth_shm_region **at = find_locked(t, name, &there);
        g = there ? *at : NULL;
    }
    if (g != NULL)
        (void)atomic_fetch_add(&g->refs, 1);
    (void)pthread_mutex_unlock(&t->mu);
    if (g == NULL) {
        *ret = unknown(name, e);
        return NULL;
    }
    if (span->size > g->byte_size || span->offset > g->byte_size - span->size)
        r = berth_err_set(e, BERTH_EINVAL,
                          "shared memory region '%s': has %llu bytes, fewer than %llu at %llu",
                          g->name, (unsigned long long)g->byte_size, (unsigned long long)span->size,
                          (unsigned long long)span->offset);
    else
        r = check_size(g, g->offset + span->offset, span->size, e);
    *ret = r;
    if (r == 0)
        return g;
    unref(g);
    return NULL;
}

static void
let_go(void *region)
{
    unref(region);
}

int
berth_shm_hold(struct berth_shm *t, struct berth_arena *a, struct berth_shm_span *span,
               struct berth_err *e)
{
    int r;

    if (span->held != NULL)
        return 0;
    struct berth_shm_region *g = take(t, span, &r, e);
    if (g == NULL)
        return r;
    if (berth_arena_defer(a, let_go, g) < 0) {
        unref(g);
        return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
    }
    span->held = g;
    return 0;
}

static int
cut_short(const struct berth_shm_region *g, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL, "shared memory region '%s': %s was cut short meanwhile",
                         g->name, g->key);
}

int
berth_shm_read(struct berth_shm *t, const struct berth_shm_span *from, void *to,
               struct berth_err *e)
{
    uint64_t done = 0;
    int r;
    struct berth_shm_region *g = take(t, from, &r, e);

    if (g == NULL)
        return r;
    while (r == 0 && done < from->size) {
        const ssize_t n = pread(g->fd, (char *)to + done, from->size - done,
                                (off_t)(g->offset + from->offset + done));
        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            r = cut_short(g, e);
    }
    unref(g);
    return r;
}

/* A file that is cut short between the look at its size and this grows again, with zeros in it:
 * harmless. */
int
berth_shm_write(struct berth_shm *t, const struct berth_shm_span *to, const void *from,
                struct berth_err *e)
{
    uint64_t done = 0;
    int r;
    struct berth_shm_region *g = take(t, to, &r, e);

    if (g == NULL)
        return r;
    while (r == 0 && done < to->size) {
        const ssize_t n = pwrite(g->fd, (const char *)from + done, to->size - done,
                                 (off_t)(g->offset + to->offset + done));
        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            r = cut_short(g, e);
    }
    unref(g);
    return r;
}
