#include "os/memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { FILE_BYTES_MAX = 32 * 1024, LEVELS_MAX = 32 };
/* Version 1 says "no limit" as the largest number of whole pages. */
static const uint64_t no_limit = UINT64_C(1) << 60;

/* The whole of a small file as text; false: there is none. */
static bool
read_text(const char *root, const char *path, char text[FILE_BYTES_MAX])
{
    char full[PATH_MAX];
    size_t len = 0;
    int n = snprintf(full, sizeof full, "%s%s", root, path);

    if (n < 0 || (size_t)n >= sizeof full)
        return false;
    BERTH_AUTO_CLOSE int fd = open(full, O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && len < FILE_BYTES_MAX - 1; len += (size_t)got) {
        got = read(fd, text + len, FILE_BYTES_MAX - 1 - len);
        if (got < 0)
            return false;
        if (got == 0)
            break;
    }
    text[len] = '\0';
    return fd >= 0;
}

/* The number after `name` at the beginning of a line. */
static bool
find_number(const char *text, const char *name, uint64_t *ret)
{
    const size_t len = strlen(name);

    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, len) == 0 && (line[len] == ' ' || line[len] == ':')) {
            char *end;
            const char *at = line + len + 1 + strspn(line + len + 1, " \t");
            *ret = strtoull(at, &end, 10);
            return end != at;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

static uint64_t
minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- control groups ---- */

/* How the two versions name the same things. */
struct kind {
    const char *mount, *limit, *usage, *active, *inactive;
};
static const struct kind kinds[] = {
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file",
     "total_inactive_file"},
    {"/sys/fs/cgroup", "memory.max", "memory.current", "active_file", "inactive_file"},
};

static bool
read_number(const char *root, const char *folder, const char *name, uint64_t *ret)
{
    char path[PATH_MAX], text[FILE_BYTES_MAX], *end;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);

    if (n < 0 || (size_t)n >= sizeof path || !read_text(root, path, text))
        return false;
    if (strncmp(text, "max", 3) == 0)
        *ret = UINT64_MAX;
    else
        *ret = strtoull(text, &end, 10);
    return true;
}

/* One level: does it leave less than *m has? */
static void
take_level(const char *root, const char *folder, const struct kind *k, struct berth_memory *m)
{
    char path[PATH_MAX], stat[FILE_BYTES_MAX];
    uint64_t limit, usage, active = 0, inactive = 0;
    int n = snprintf(path, sizeof path, "%s/memory.stat", folder);

    if (!read_number(root, folder, k->limit, &limit) || limit >= no_limit ||
        !read_number(root, folder, k->usage, &usage))
        return;
    if (n > 0 && (size_t)n < sizeof path && read_text(root, path, stat)) {
        (void)find_number(stat, k->active, &active);
        (void)find_number(stat, k->inactive, &inactive);
    }
    const uint64_t left = minus(limit, minus(minus(usage, active), inactive));
    if (left >= m->free_bytes)
        return;
    m->total_bytes = limit;
    m->free_bytes = left;
    m->grouped = true;
}

/* The group at mount/path and those above it.  Within a container the path may be one of the
 * outside, and the mount is then the group itself. */
static void
take_group(const char *root, const struct kind *k, const char *path, struct berth_memory *m)
{
    char folder[PATH_MAX];
    const size_t mount_len = strlen(k->mount);
    int n = snprintf(folder, sizeof folder, "%s%s", k->mount, strcmp(path, "/") == 0 ? "" : path);

    if (n < 0 || (size_t)n >= sizeof folder || strstr(path, "..") != NULL)
        (void)snprintf(folder, sizeof folder, "%s", k->mount);
    for (int level = 0; level < LEVELS_MAX; level++) {
        take_level(root, folder, k, m);
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= mount_len || slash == NULL)
            break;
        *slash = '\0';
    }
}

/* A line "7:cpu,memory:/a/b" of version 1, or "0::/a/b" of version 2. */
static const struct kind *
kind_of(const char *controllers, size_t len)
{
    static const char wanted[] = "memory";

    if (len == 0)
        return &kinds[1];
    for (const char *at = controllers, *end = at + len; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const size_t n = (size_t)((comma != NULL ? comma : end) - at);
        if (n == strlen(wanted) && memcmp(at, wanted, n) == 0)
            return &kinds[0];
        at += n + 1;
    }
    return NULL;
}

static void
take_groups(const char *root, struct berth_memory *m)
{
    char text[FILE_BYTES_MAX], *rest = NULL;

    if (!read_text(root, "/proc/self/cgroup", text))
        return;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *first = strchr(line, ':');
        const char *second = first != NULL ? strchr(first + 1, ':') : NULL;
        if (second == NULL)
            continue;
        const struct kind *k = kind_of(first + 1, (size_t)(second - first - 1));
        if (k != NULL)
            take_group(root, k, second + 1, m);
    }
}

/* ---- this process ---- */

int
berth_memory_read(const char *root, struct berth_memory *ret, struct berth_err *e)
{
    char text[FILE_BYTES_MAX];
    uint64_t total, available;
    unsigned long long resident, shared;
    struct berth_memory m = {.grouped = false};

    root = root != NULL ? root : "";
    if (!read_text(root, "/proc/meminfo", text) || !find_number(text, "MemTotal", &total) ||
        !find_number(text, "MemAvailable", &available) || total > UINT64_MAX / 1024 ||
        available > total)
        return berth_err_set(e, BERTH_EIO, "%s/proc/meminfo: no MemTotal and MemAvailable in it",
                             root);
    m.total_bytes = total * 1024;
    m.free_bytes = available * 1024;
    if (!read_text(root, "/proc/self/statm", text) ||
        sscanf(text, "%*u %llu %llu", &resident, &shared) != 2) /* NOLINT(cert-err34-c) */
        return berth_err_set(e, BERTH_EIO, "%s/proc/self/statm: not understood", root);
    m.self_bytes = minus(resident, shared) * (uint64_t)sysconf(_SC_PAGESIZE);
    take_groups(root, &m);
    *ret = m;
    return 0;
}

uint64_t
berth_memory_pss(int pid)
{
    char path[64], text[FILE_BYTES_MAX];
    uint64_t kb;

    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    return read_text("", path, text) && find_number(text, "Pss", &kb) ? kb * 1024 : 0;
}

uint64_t
berth_memory_self_pss(void)
{
    return berth_memory_pss((int)getpid());
}

static void
first_ask(void)
{
    (void)mallinfo2();
}

/* The C library's heap is made ready by the first call that it gets, not expecting another beside
 * it.  That is main()'s first malloc(), unless another allocator is in its place: then it is ours.
 * The one variable at file scope is so because that heap is the process's as well. */
static void
begin_heap(void)
{
    static pthread_once_t begun = PTHREAD_ONCE_INIT;

    (void)pthread_once(&begun, first_ask);
}

uint64_t
berth_memory_heap(void)
{
    begin_heap();
    const struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

void
berth_memory_trim(void)
{
    begin_heap();
    (void)malloc_trim(0);
}
