#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "shimlets/process/process_priv.h"

enum { STAT_MAX = 1024, ENVIRON_MAX = 256 * 1024, SWEEPS_MAX = 50 };

/* A file of /proc into text; -1: there is none, or it is not ours to read. */
static ssize_t
slurp(pid_t pid, const char *name, char *text, size_t cap)
{
    char path[64];
    size_t n = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (n < cap - 1) {
        const ssize_t got = read(fd, text + n, cap - 1 - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return (ssize_t)n;
}

bool
process_stat_read(pid_t pid, struct process_stat *ret)
{
    unsigned long long user, kernel, start, pages;
    char text[STAT_MAX];
    int session;
    char state;

    if (slurp(pid, "stat", text, sizeof text) <= 0)
        return false;
    const char *rest = strrchr(text, ')'); /* the name before it may hold anything */
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own text */
    if (rest == NULL || sscanf(rest + 1,
                               " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d "
                               "%*d %*d %*d %llu %*u %llu",
                               &state, &session, &user, &kernel, &start, &pages) != 6)
        return false;
    *ret = (struct process_stat){
        .pid = pid,
        .session = session,
        .state = state,
        .start_ticks = start,
        .cpu_ticks = user + kernel,
        .memory_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE),
    };
    return true;
}

void
process_boot(char ret[PROCESS_BOOT_MAX])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (f == NULL || fscanf(f, "%39s", ret) != 1)
        (void)snprintf(ret, PROCESS_BOOT_MAX, "-");
    if (f != NULL)
        (void)fclose(f);
}

bool
process_stat_all(bool (*fn)(void *arg, const struct process_stat *p), void *arg)
{
    DIR *d = opendir("/proc");
    bool more = d != NULL, whole = more;
    size_t seen = 0;

    for (struct dirent *f; more && seen < PROCESS_SEEN_MAX && (f = readdir(d)) != NULL;) {
        struct process_stat p;
        char *end;
        const long pid = strtol(f->d_name, &end, 10);

        if (!isdigit((unsigned char)f->d_name[0]) || *end != '\0')
            continue;
        errno = 0;
        if (!process_stat_read((pid_t)pid, &p)) { /* gone, but for want of descriptors or memory */
            whole = whole && errno != EMFILE && errno != ENFILE && errno != ENOMEM;
            continue;
        }
        seen++;
        more = fn(arg, &p);
    }
    if (d != NULL)
        (void)closedir(d);
    return whole;
}

/* ---- the mark that a replica's processes inherit ---- */

/* Its marks: the state folder and the replica, as they stand in text; NULL: not there. */
static bool
marks(char *text, size_t len, const char **ret_dir, const char **ret_id)
{
    static const char dir[] = "BERTH_REPLICA_OF=", id[] = "BERTH_REPLICA=";

    *ret_dir = *ret_id = NULL;
    for (char *at = text; at < text + len; at += strlen(at) + 1) {
        if (strncmp(at, dir, sizeof dir - 1) == 0)
            *ret_dir = at + sizeof dir - 1;
        else if (strncmp(at, id, sizeof id - 1) == 0)
            *ret_id = at + sizeof id - 1;
    }
    return *ret_dir != NULL && *ret_id != NULL;
}

bool
process_is_of(pid_t pid, const char *state_dir, const char *id)
{
    BERTH_AUTO_FREE char *text = malloc(ENVIRON_MAX);
    const char *its_dir, *its_id;

    if (text == NULL)
        return false;
    const ssize_t len = slurp(pid, "environ", text, ENVIRON_MAX);

    return len > 0 && marks(text, (size_t)len, &its_dir, &its_id) &&
           strcmp(its_dir, state_dir) == 0 && (id == NULL || strcmp(its_id, id) == 0);
}

/* What tells the processes of one replica from all others. */
struct hunt {
    const char *state_dir, *id;
    const char *lock; /* its lock file */
    pid_t session;    /* that its last run leads; 0: no longer known */
    pid_t leader;
    size_t found;
};

/* The replica's lock is what an engine inherits at LOCK_FD, also where it has emptied or
 * overwritten its environment (env -i, setproctitle) and left its session. */
static bool
holds_lock(pid_t pid, const char *lock)
{
    char path[64], to[PROCESS_PATH_MAX];

    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, PROCESS_LOCK_FD);
    const ssize_t n = readlink(path, to, sizeof to - 1); /* needs no descriptor of ours */
    if (n <= 0)
        return false;
    to[n] = '\0';
    return strcmp(to, lock) == 0;
}

static bool
belongs(const struct hunt *h, const struct process_stat *p)
{
    return p->pid != getpid() &&
           ((h->session != 0 && p->session == h->session) || holds_lock(p->pid, h->lock) ||
            process_is_of(p->pid, h->state_dir, h->id));
}

static bool
is_leader(void *arg, const struct process_stat *p)
{
    struct hunt *h = arg;

    if (p->session == p->pid && p->state != 'Z' && process_is_of(p->pid, h->state_dir, h->id))
        h->leader = p->pid;
    return h->leader == 0;
}

pid_t
process_find_leader(const char *state_dir, const char *id)
{
    struct hunt h = {.state_dir = state_dir, .id = id};

    (void)process_stat_all(is_leader, &h);
    return h.leader;
}

static bool
kill_one(void *arg, const struct process_stat *p)
{
    struct hunt *h = arg;
    struct process_stat now;

    if (p->state == 'Z' || p->state == 'X' || !belongs(h, p))
        return true;
    h->found++;
    /* SIGKILL, if it still is what it was: a number may have become another's in between. */
    BERTH_AUTO_CLOSE int fd = pidfd_open(p->pid, 0);
    if (fd >= 0 && process_stat_read(p->pid, &now) && belongs(h, &now))
        (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
    else if (fd < 0 && process_stat_read(p->pid, &now) && now.start_ticks == p->start_ticks)
        (void)kill(p->pid, SIGKILL); /* no descriptor is left */
    return true;
}

bool
process_sweep(const struct berth_shimlet *s, struct process_replica *r)
{
    char lock[PROCESS_PATH_MAX];

    process_path(s, r->unit->name, r->rec.id, ".lock", lock);
    process_group_kill(s, r->rec.id);
    for (int i = 0; i < SWEEPS_MAX; i++) {
        struct hunt h = {
            .state_dir = s->state_dir, .id = r->rec.id, .lock = lock, .session = r->session};

        if (!process_stat_all(kill_one, &h))
            return false;
        if (h.found == 0) {
            r->session = 0; /* its number may become another's from here on */
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)BERTH_MS}, NULL);
    }
    return false;
}

/* ---- those of no replica ---- */

static void
kill_marked(pid_t pid, const char *state_dir, const char *id)
{
    BERTH_AUTO_CLOSE int fd = pidfd_open(pid, 0);

    if (fd >= 0 && process_is_of(pid, state_dir, id))
        (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

static bool
kill_orphan(void *arg, const struct process_stat *p)
{
    struct berth_shimlet *s = arg;
    BERTH_AUTO_FREE char *text = malloc(ENVIRON_MAX);
    const char *its_dir, *its_id;

    if (text == NULL || p->state == 'Z')
        return true;
    const ssize_t len = slurp(p->pid, "environ", text, ENVIRON_MAX);
    if (len > 0 && marks(text, (size_t)len, &its_dir, &its_id) &&
        strcmp(its_dir, s->state_dir) == 0 && process_replica_find(s, its_id) == NULL)
        kill_marked(p->pid, s->state_dir, its_id);
    return true;
}

void
process_sweep_orphans(struct berth_shimlet *s)
{
    (void)process_stat_all(kill_orphan, s);
}
