#include "os/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "os/cgroup.h"

/* Cores that the process may run on. */
static uint32_t
allowed(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than a cpu_set_t has room for */
    return online > 0 ? (uint32_t)online : 1;
}

/* The numbers of a file in a group's folder; false: there is none. */
static bool
read_file(const char *root, const char *folder, const char *name, char text[BERTH_CGROUP_TEXT_MAX])
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);

    return n > 0 && (size_t)n < sizeof path && berth_cgroup_text(root, path, text);
}

/* One group: does its quota allow fewer than the number at arg?  Microseconds of processor time in
 * each period: "200000 100000" or "max 100000", in version 1 two files and -1. */
static void
take_quota(void *arg, const char *root, const char *folder, bool unified)
{
    char text[BERTH_CGROUP_TEXT_MAX];
    uint32_t *cores = arg;
    long long quota, period;

    if (unified) {
        if (!read_file(root, folder, "cpu.max", text) ||
            sscanf(text, "%lld %lld", &quota, &period) != 2) /* NOLINT(cert-err34-c) */
            return;
    } else if (!read_file(root, folder, "cpu.cfs_quota_us", text) ||
               sscanf(text, "%lld", &quota) != 1 || /* NOLINT(cert-err34-c) */
               !read_file(root, folder, "cpu.cfs_period_us", text) ||
               sscanf(text, "%lld", &period) != 1) { /* NOLINT(cert-err34-c) */
        return;
    }
    if (quota <= 0 || period <= 0)
        return;
    const long long whole = quota / period + (quota % period != 0);
    if (whole < *cores)
        *cores = (uint32_t)whole;
}

uint32_t
berth_cores_usable(const char *root)
{
    uint32_t cores = allowed();

    berth_cgroup_walk(root != NULL ? root : "", "cpu", take_quota, &cores);
    return cores;
}
