#include "os/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/cgroup.h"

/* Version 1 says "no limit" as the largest number of whole pages. */
static const uint64_t no_limit = UINT64_C(1) << 60;

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
    const char *limit, *usage, *active, *inactive;
};
static const struct kind kinds[] = {
    {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file", "total_inactive_file"},
    {"memory.max", "memory.current", "active_file", "inactive_file"},
};

static bool
read_number(const char *root, const char *folder, const char *name, uint64_t *ret)
{
    char path[PATH_MAX], text[BERTH_CGROUP_TEXT_MAX], *end;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);

    if (n < 0 || (size_t)n >= sizeof path || !berth_cgroup_text(root, path, text))
        return false;
    if (strncmp(text, "max", 3) == 0)
        *ret = UINT64_MAX;
    else
        *ret = strtoull(text, &end, 10);
    return true;
}

/* One group: does it leave less than the memory at arg has? */
static void
take_group(void *arg, const char *root, const char *folder, bool unified)
{
    struct berth_memory *m = arg;
    const struct kind *k = &kinds[unified];
    char path[PATH_MAX], stat[BERTH_CGROUP_TEXT_MAX];
    uint64_t limit, usage, active = 0, inactive = 0;
    int n = snprintf(path, sizeof path, "%s/memory.stat", folder);

    if (!read_number(root, folder, k->limit, &limit) || limit >= no_limit ||
        !read_number(root, folder, k->usage, &usage))
        return;
    if (n > 0 && (size_t)n < sizeof path && berth_cgroup_text(root, path, stat)) {
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

/* ---- this process ---- */

int
berth_memory_read(const char *root, struct berth_memory *ret, struct berth_err *e)
{
    char text[BERTH_CGROUP_TEXT_MAX];
    uint64_t total, available;
    unsigned long long resident, shared;
    struct berth_memory m = {.grouped = false};

    root = root != NULL ? root : "";
    if (!berth_cgroup_text(root, "/proc/meminfo", text) || !find_number(text, "MemTotal", &total) ||
        !find_number(text, "MemAvailable", &available) || total > UINT64_MAX / 1024 ||
        available > total)
        return berth_err_set(e, BERTH_EIO, "%s/proc/meminfo: no MemTotal and MemAvailable in it",
                             root);
    m.total_bytes = total * 1024;
    m.free_bytes = available * 1024;
    if (!berth_cgroup_text(root, "/proc/self/statm", text) ||
        sscanf(text, "%*u %llu %llu", &resident, &shared) != 2) /* NOLINT(cert-err34-c) */
        return berth_err_set(e, BERTH_EIO, "%s/proc/self/statm: not understood", root);
    m.self_bytes = minus(resident, shared) * (uint64_t)sysconf(_SC_PAGESIZE);
    berth_cgroup_walk(root, "memory", take_group, &m);
    *ret = m;
    return 0;
}

uint64_t
berth_memory_self_pss(void)
{
    char text[BERTH_CGROUP_TEXT_MAX];
    uint64_t kb;

    return berth_cgroup_text("", "/proc/self/smaps_rollup", text) && find_number(text, "Pss", &kb)
               ? kb * 1024
               : 0;
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

struct berth_heap
berth_memory_heap(void)
{
    begin_heap();
    const struct mallinfo2 m = mallinfo2();

    return (struct berth_heap){.used_bytes = m.uordblks + m.hblkhd, .kept_bytes = m.fordblks};
}

void
berth_memory_share_heap(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
}

void
berth_memory_trim(void)
{
    begin_heap();
    (void)malloc_trim(0);
}
