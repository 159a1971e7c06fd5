#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "os/cgroup.h"
#include "shimlets/process/process_priv.h"

static const uint64_t cpu_period_us = 100000;

/* ---- control groups, version 2 ---- */

static bool
write_text(const char *folder, const char *file, const char *text)
{
    char path[PROCESS_PATH_MAX + 64];

    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    BERTH_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* "cpuset" is no "cpu". */
static bool
has_word(const char *text, const char *word)
{
    while (*text != '\0') {
        const size_t len = strcspn(text, " \t\n");

        if (len == strlen(word) && strncmp(text, word, len) == 0)
            return true;
        text += len + (text[len] != '\0');
    }
    return false;
}

static bool
has_controllers(const char *folder)
{
    char text[BERTH_CGROUP_TEXT_MAX], file[PROCESS_PATH_MAX + 32];

    (void)snprintf(file, sizeof file, "%s/cgroup.subtree_control", folder);
    return berth_cgroup_text("", file, text) && has_word(text, "memory") && has_word(text, "cpu");
}

static void
take_unified(void *arg, const char *root, const char *folder, bool unified)
{
    char *ret = arg;

    if (ret[0] != '\0' || !unified)
        return;
    (void)snprintf(ret, PROCESS_PATH_MAX, "%s%s", root, folder);
}

/* Groups can be made in `folder` when its controllers are given on to them: a delegated group whose
 * own processes are in a leaf of it, or one without processes. */
static bool
can_hold_groups(const char *folder)
{
    char probe[PROCESS_PATH_MAX + 32];

    if (!has_controllers(folder) &&
        (!write_text(folder, "cgroup.subtree_control", "+cpu +memory") || !has_controllers(folder)))
        return false;
    (void)snprintf(probe, sizeof probe, "%s/berth-probe", folder);
    if (mkdir(probe, 0755) < 0 && errno != EEXIST)
        return false;
    (void)rmdir(probe);
    return true;
}

void
process_cgroup_find(const char *asked, char ret[PROCESS_PATH_MAX])
{
    char own[PROCESS_PATH_MAX] = "";

    ret[0] = '\0';
    if (strcmp(asked, "none") == 0)
        return;
    if (asked[0] != '\0') {
        if (can_hold_groups(asked))
            (void)snprintf(ret, PROCESS_PATH_MAX, "%s", asked);
        return;
    }
    berth_cgroup_walk("", "memory", take_unified, own);
    char *parent = strrchr(own, '/');
    if (parent == NULL || parent == own)
        return;
    /* A service whose processes are in a leaf has the group above for others. */
    if (can_hold_groups(own)) {
        (void)snprintf(ret, PROCESS_PATH_MAX, "%s", own);
        return;
    }
    *parent = '\0';
    if (has_controllers(own) && can_hold_groups(own))
        (void)snprintf(ret, PROCESS_PATH_MAX, "%s", own);
}

static void
group_path(const struct berth_shimlet *s, const char *id, char ret[PROCESS_PATH_MAX])
{
    (void)snprintf(ret, PROCESS_PATH_MAX, "%s/berth-%s", s->conf.cgroup, id);
}

static bool
make_group(const struct berth_shimlet *s, const struct process_replica *r, char *folder)
{
    char text[64];
    bool ok;

    group_path(s, r->rec.id, folder);
    ok = mkdir(folder, 0755) == 0 || errno == EEXIST;
    if (r->rec.memory_bytes > 0) {
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)r->rec.memory_bytes);
        ok = ok && write_text(folder, "memory.max", text);
        (void)write_text(folder, "memory.swap.max", "0"); /* not everywhere there */
    }
    if (r->rec.cpu_milli > 0) {
        (void)snprintf(text, sizeof text, "%llu %llu",
                       (unsigned long long)(r->rec.cpu_milli * cpu_period_us / 1000),
                       (unsigned long long)cpu_period_us);
        ok = ok && write_text(folder, "cpu.max", text);
    }
    return ok;
}

void
process_group_kill(const struct berth_shimlet *s, const char *id)
{
    char folder[PROCESS_PATH_MAX];

    if (s->conf.cgroup[0] == '\0')
        return;
    group_path(s, id, folder);
    if (access(folder, F_OK) == 0)
        (void)write_text(folder, "cgroup.kill", "1");
}

void
process_group_remove(const struct berth_shimlet *s, const char *id)
{
    char folder[PROCESS_PATH_MAX];

    if (s->conf.cgroup[0] == '\0')
        return;
    process_group_kill(s, id);
    group_path(s, id, folder);
    for (int i = 0; i < 50 && rmdir(folder) < 0 && errno == EBUSY; i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)BERTH_MS}, NULL);
}

/* ---- without them ---- */

/* To which cores the replicas of an environment are pinned. */
static void
count_pinned(const struct berth_shimlet *s, const struct process_replica *but,
             uint32_t used[CPU_SETSIZE])
{
    for (const struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (const struct process_replica *o = u->replicas; o != NULL; o = o->next) {
            cpu_set_t its;

            if (o == but || o->pid == 0 || o->rec.cpu_milli == 0 ||
                sched_getaffinity(o->pid, sizeof its, &its) < 0)
                continue;
            for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
                used[cpu] += CPU_ISSET(cpu, &its) != 0;
        }
    }
}

/* As many whole cores as it may use, those that the fewest other replicas are pinned to. */
static void
pick_cpus(const struct berth_shimlet *s, const struct process_replica *r, cpu_set_t *ret)
{
    uint32_t used[CPU_SETSIZE] = {0};
    const uint64_t want = (r->rec.cpu_milli + 999) / 1000;
    cpu_set_t ours;

    CPU_ZERO(ret);
    if (sched_getaffinity(0, sizeof ours, &ours) < 0)
        return;
    for (const struct berth_shimlet *of = s->machine->shimlets; of != NULL; of = of->neighbour)
        count_pinned(of, r, used);
    for (uint64_t n = 0; n < want; n++) {
        size_t best = CPU_SETSIZE;

        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &ours) && !CPU_ISSET(cpu, ret) &&
                (best == CPU_SETSIZE || used[cpu] < used[best]))
                best = cpu;
        }
        if (best == CPU_SETSIZE)
            return; /* more than there are: all of them */
        CPU_SET(best, ret);
    }
}

int
process_limits_make(struct berth_shimlet *s, const struct process_replica *r,
                    struct process_limits *ret, struct berth_err *e)
{
    char folder[PROCESS_PATH_MAX];

    *ret = (struct process_limits){.data_bytes = 0};
    if (s->conf.cgroup[0] != '\0') {
        if (!make_group(s, r, folder))
            return berth_err_set(e, BERTH_EIO, "cannot make the group %s: %m", folder);
        (void)snprintf(ret->group, sizeof ret->group, "%.*s/cgroup.procs",
                       (int)sizeof ret->group - 16, folder);
        return 0;
    }
    ret->data_bytes = r->rec.memory_bytes;
    if (r->rec.cpu_milli > 0) {
        pick_cpus(s, r, &ret->cpus);
        ret->pin = CPU_COUNT(&ret->cpus) > 0;
    }
    return 0;
}

static int
join_group(const char *procs)
{
    const int fd = open(procs, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    const bool ok = fd >= 0 && write(fd, "0", 1) == 1; /* the writer */
    const int why = errno;

    if (fd >= 0)
        (void)close(fd);
    return ok ? 0 : why;
}

int
process_limits_take(const struct process_limits *l)
{
    struct rlimit data;

    if (l->group[0] != '\0') {
        const int why = join_group(l->group);

        if (why != 0)
            return why;
    }
    if (l->data_bytes > 0) {
        if (getrlimit(RLIMIT_DATA, &data) < 0)
            return errno;
        /* A narrower one that we live under ourselves is not ours to widen. */
        if (data.rlim_max > l->data_bytes)
            data.rlim_max = l->data_bytes;
        data.rlim_cur = data.rlim_max;
        if (setrlimit(RLIMIT_DATA, &data) < 0)
            return errno;
    }
    return l->pin && sched_setaffinity(0, sizeof l->cpus, &l->cpus) < 0 ? errno : 0;
}

const char *
process_limits_text(const struct berth_shimlet *s, const struct process_unit *u)
{
    const bool memory = u->memory_bytes > 0, cpu = u->cpu_milli > 0;

    if (!memory && !cpu)
        return "no limits";
    if (s->conf.cgroup[0] != '\0')
        return memory && cpu ? "memory and cores limited by control group"
               : memory      ? "memory limited by control group"
                             : "cores limited by control group";
    return memory && cpu ? "memory limited by RLIMIT_DATA (of each process), cores by affinity"
           : memory      ? "memory limited by RLIMIT_DATA (of each process)"
                         : "cores limited by affinity";
}

uint32_t
process_devices(void)
{
    DIR *d = opendir("/dev");
    uint32_t n = 0;

    for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
        const bool numbered =
            strncmp(f->d_name, "nvidia", 6) == 0 && f->d_name[6] >= '0' && f->d_name[6] <= '9';

        n += numbered && n < PROCESS_DEVICES_MAX;
    }
    if (d != NULL)
        (void)closedir(d);
    return n;
}
