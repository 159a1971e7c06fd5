#include "cmd/bench_proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <berth/err.h>

#include "base/cleanup.h"
#include "base/num.h"

struct entry {
    int64_t pid, parent, ticks, pages;
    bool ours;
};

/* A number of a line whose numbers are between single blanks; moves behind it. */
static bool
take(const char **at, int64_t *ret)
{
    const size_t len = strcspn(*at, " \n");
    const bool ok = berth_int_parse(*at, len, INT64_MIN, INT64_MAX, ret);

    *at += len + ((*at)[len] == ' ');
    return ok;
}

/* /proc/PID/stat: "PID (NAME) STATE PARENT ...".  A name can hold anything, also parentheses. */
static bool
parse(const char *text, struct entry *ret)
{
    /* Numbers behind the state, from 0: parent 0, utime 10, stime 11, cutime 12, cstime 13, rss 20.
     */
    enum { PARENT = 0, TIMES = 10, TIMES_END = 14, RSS = 20 };
    const char *at = strrchr(text, ')');
    int64_t n;

    if (at == NULL || strlen(at) < 4)
        return false;
    at += 4; /* ") S " */
    ret->ticks = 0;
    for (int i = 0; i <= RSS; i++) {
        /* Some fields between are larger than int64_t; those that count are not. */
        const bool is_number = take(&at, &n);
        if (i == PARENT && is_number)
            ret->parent = n;
        else if (i >= TIMES && i < TIMES_END && is_number)
            ret->ticks += n;
        else if (i == RSS && is_number)
            ret->pages = n;
        else if (i == PARENT || i == RSS || (i >= TIMES && i < TIMES_END))
            return false;
    }
    return true;
}

static bool
read_entry(int64_t pid, struct entry *ret)
{
    char path[40], text[1024];

    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    BERTH_AUTO_CLOSE const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (n <= 0)
        return false;
    text[n] = '\0';
    *ret = (struct entry){.pid = pid};
    return parse(text, ret);
}

static size_t
read_all(struct entry *all, size_t cap, DIR *dir)
{
    const struct dirent *d;
    size_t n = 0;
    int64_t pid;

    while (n < cap && (d = readdir(dir)) != NULL) /* NOLINT(concurrency-mt-unsafe): our own DIR */
        if (berth_int_parse(d->d_name, strlen(d->d_name), 1, INT32_MAX, &pid))
            n += read_entry(pid, &all[n]);
    return n;
}

int
berth_proc_read(pid_t root, struct berth_proc *ret)
{
    BERTH_AUTO_FREE struct entry *all = calloc(BERTH_PROC_TREE_MAX, sizeof *all);
    DIR *dir = opendir("/proc");
    bool more = false;

    if (dir == NULL)
        return -BERTH_EIO;
    const size_t n = all != NULL ? read_all(all, BERTH_PROC_TREE_MAX, dir) : 0;
    (void)closedir(dir);
    if (all == NULL)
        return -BERTH_ENOMEM;
    for (size_t i = 0; i < n; i++)
        more |= all[i].ours = all[i].pid == root;
    if (!more)
        return -BERTH_ENOENT;
    while (more) { /* at most once for each generation */
        more = false;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; !all[i].ours && j < n; j++)
                more |= all[i].ours = all[j].ours && all[j].pid == all[i].parent;
    }
    *ret = (struct berth_proc){.processes = 0};
    const uint64_t tick_ns = 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    for (size_t i = 0; i < n; i++) {
        if (!all[i].ours)
            continue;
        ret->cpu_ns += (uint64_t)all[i].ticks * tick_ns;
        ret->rss_bytes += (uint64_t)all[i].pages * (uint64_t)sysconf(_SC_PAGESIZE);
        ret->processes++;
    }
    return 0;
}
