#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shimlets/process/process_priv.h"

enum { RECORD_MEMORY_MAX = 8 * 1024 * 1024, FAILURES_LOOP = 3 };

/* ---- the machine ---- */

void
process_enter(struct process_machine *m, struct berth_shimlet *s)
{
    (void)pthread_mutex_lock(&m->mu);
    s->machine = m;
    s->neighbour = m->shimlets;
    m->shimlets = s;
    (void)pthread_mutex_unlock(&m->mu);
}

void
process_leave(struct berth_shimlet *s)
{
    struct berth_shimlet **link = &s->machine->shimlets;

    (void)pthread_mutex_lock(&s->machine->mu);
    while (*link != s)
        link = &(*link)->neighbour;
    *link = s->neighbour;
    (void)pthread_mutex_unlock(&s->machine->mu);
}

static bool
has_port(const struct process_replica *r, uint32_t port)
{
    return r->rec.port == port;
}

static bool
has_device(const struct process_replica *r, uint32_t device)
{
    for (size_t i = 0; i < r->rec.device_count; i++) {
        if (r->rec.devices[i] == device)
            return true;
    }
    return false;
}

static bool
is_taken(const struct berth_shimlet *s, bool (*has)(const struct process_replica *r, uint32_t what),
         uint32_t what)
{
    for (const struct berth_shimlet *o = s->machine->shimlets; o != NULL; o = o->neighbour) {
        for (const struct process_unit *u = o->units; u != NULL; u = u->next) {
            for (const struct process_replica *r = u->replicas; r != NULL; r = r->next) {
                if (has(r, what))
                    return true;
            }
        }
    }
    return false;
}

bool
process_port_taken(const struct berth_shimlet *s, uint16_t port)
{
    return is_taken(s, has_port, port);
}

bool
process_device_taken(const struct berth_shimlet *s, uint32_t device)
{
    return is_taken(s, has_device, device);
}

int
process_accelerator_check(const struct berth_unit *u, struct berth_err *e)
{
    static const char known[] = "nvidia.com/gpu";
    const char *is = u->accelerator_resource;

    if (u->accelerator_count == 0 || is == NULL || strcmp(is, known) == 0)
        return 0;
    return berth_err_set(
        e, BERTH_EUNSUPPORTED,
        "how to give %.60s to a process is not known; %s is (CUDA_VISIBLE_DEVICES)", is, known);
}

/* ---- units and replicas ---- */

struct process_unit *
process_unit_find(struct berth_shimlet *s, const char *name)
{
    for (struct process_unit *u = s->units; u != NULL; u = u->next) {
        if (strcmp(u->name, name) == 0)
            return u;
    }
    return NULL;
}

struct process_unit *
process_unit_new(struct berth_shimlet *s, const char *name)
{
    struct process_unit *u = calloc(1, sizeof *u);

    if (u == NULL)
        return NULL;
    (void)snprintf(u->name, sizeof u->name, "%s", name);
    u->next = s->units;
    s->units = u;
    return u;
}

void
process_unit_drop(struct berth_shimlet *s, struct process_unit *u)
{
    struct process_unit **link = &s->units;

    while (*link != u)
        link = &(*link)->next;
    *link = u->next;
    while (u->replicas != NULL)
        process_replica_drop(u->replicas);
    free(u);
}

struct process_replica *
process_replica_find(struct berth_shimlet *s, const char *id)
{
    for (struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (struct process_replica *r = u->replicas; r != NULL; r = r->next) {
            if (strcmp(r->rec.id, id) == 0)
                return r;
        }
    }
    return NULL;
}

struct process_replica *
process_replica_new(struct process_unit *u)
{
    struct process_replica **link = &u->replicas;
    struct process_replica *r = calloc(1, sizeof *r);

    if (r == NULL)
        return NULL;
    r->unit = u;
    r->pidfd = -1;
    berth_arena_init(&r->arena, RECORD_MEMORY_MAX);
    while (*link != NULL)
        link = &(*link)->next;
    *link = r;
    u->replica_count++;
    return r;
}

void
process_replica_drop(struct process_replica *r)
{
    struct process_replica **link = &r->unit->replicas;

    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    r->unit->replica_count--;
    if (r->pidfd >= 0)
        (void)close(r->pidfd);
    berth_arena_fini(&r->arena);
    free(r);
}

void
process_wake(struct berth_shimlet *s)
{
    (void)eventfd_write(s->event_fd, 1);
    (void)pthread_cond_broadcast(&s->look);
}

/* ---- its process ---- */

/* A child that was not waited for keeps its number, ended or not. */
static bool
is_child(pid_t pid, bool *ret_ended)
{
    siginfo_t how = {.si_pid = 0};
    const bool is = waitid(P_PID, (id_t)pid, &how, WEXITED | WNOHANG | WNOWAIT) == 0;

    *ret_ended = is && how.si_pid == pid;
    return is;
}

/* Without a descriptor: is the number still that process's?  If that cannot be told, as the machine
 * is short of descriptors, it is taken to run: the next look tells. */
static bool
runs_by_number(const struct process_replica *r, bool *ret_sure)
{
    struct process_stat now;
    bool ended;

    *ret_sure = true;
    if (is_child(r->pid, &ended))
        return !ended;
    if (process_stat_read(r->pid, &now))
        return now.state != 'Z' && now.start_ticks == r->start_ticks;
    *ret_sure = kill(r->pid, 0) < 0 && errno == ESRCH;
    return !*ret_sure;
}

bool
process_hold(struct process_replica *r)
{
    bool sure;

    if (r->pid == 0 || r->pidfd >= 0)
        return true;
    r->pidfd = pidfd_open(r->pid, 0);
    if (r->pidfd >= 0 && (!runs_by_number(r, &sure) || !sure)) { /* it may hold another's by now */
        (void)close(r->pidfd);
        r->pidfd = -1;
    }
    return r->pidfd >= 0;
}

bool
process_has_ended(struct process_replica *r)
{
    struct pollfd p = {.fd = r->pidfd, .events = POLLIN};
    bool sure;

    if (r->pid == 0)
        return false;
    return r->pidfd >= 0 ? poll(&p, 1, 0) > 0 : !runs_by_number(r, &sure) && sure;
}

void
process_signal(struct process_replica *r, int sig)
{
    bool sure = true;

    if (r->pid == 0)
        return;
    /* The number is its own as long as there is something to signal by pidfd: a zombie keeps it. */
    if (process_hold(r) ? pidfd_send_signal(r->pidfd, 0, NULL, 0) == 0
                        : runs_by_number(r, &sure) && sure)
        (void)kill(-r->pid, sig); /* the wrapping shell and what it started */
}

void
process_stop(struct berth_shimlet *s, struct process_replica *r)
{
    struct berth_err e;

    r->state = BERTH_REPLICA_STOPPING;
    r->ready_ns = 0;
    r->due_ns = berth_now_ns() + (r->pid != 0 ? s->conf.stop_ns : 0);
    r->rec.stopping = true;
    r->unit->dirty = true;
    if (process_keep_record(s, r, &e) < 0) /* the host asks again after a restart */
        s->h->log(BERTH_LOG_WARN, e.msg);
    process_signal(r, SIGTERM);
    process_wake(s);
}

void
process_failed(struct berth_shimlet *s, struct process_replica *r, const char *how)
{
    const uint64_t now = berth_now_ns();
    uint64_t wait = s->conf.restart_ns;
    char last[256];

    /* What served for a minute begins anew. */
    if (r->ready_ns != 0 && now - r->ready_ns > 60 * BERTH_S)
        r->failures = 0;
    for (uint32_t i = 0; i < r->failures && wait < s->conf.restart_ns_max; i++)
        wait *= 2;
    r->failures++;
    r->unready_ends = r->ready_ns == 0 ? r->unready_ends + 1 : 0;
    r->ready_ns = 0;
    r->state = BERTH_REPLICA_FAILED;
    r->due_ns = now + (wait < s->conf.restart_ns_max ? wait : s->conf.restart_ns_max);
    process_log_last(s, r, last, sizeof last);
    if (r->failures >= FAILURES_LOOP)
        (void)snprintf(r->reason, sizeof r->reason, "crash loop (%u times in a row): %s%s%s",
                       r->failures, how, last[0] != '\0' ? "; its last lines: " : "", last);
    else
        (void)snprintf(r->reason, sizeof r->reason, "%s%s%s", how,
                       last[0] != '\0' ? "; its last lines: " : "", last);
    r->unit->dirty = true;
    process_wake(s);
}
