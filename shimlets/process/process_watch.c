#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "os/process.h"
#include "shimlets/process/process_priv.h"

enum { TOLD_AT_ONCE = 64 };

void
process_tell(struct berth_shimlet *s)
{
    for (size_t n = TOLD_AT_ONCE; n == TOLD_AT_ONCE;) {
        char changed[TOLD_AT_ONCE][PROCESS_TEXT_MAX];

        n = 0;
        for (struct process_unit *u = s->units; u != NULL && n < TOLD_AT_ONCE; u = u->next) {
            if (!u->dirty)
                continue;
            u->dirty = false;
            memcpy(changed[n++], u->service_id, sizeof changed[0]);
        }
        if (n == 0)
            return;
        (void)pthread_mutex_unlock(&s->machine->mu);
        for (size_t i = 0; i < n; i++)
            s->h->changed(s->who, changed[i]);
        (void)pthread_mutex_lock(&s->machine->mu);
    }
}

/* ---- one that ended ---- */

/* "ended by signal 9 (Killed)" */
static void
how_it_ended(const struct process_replica *r, char *ret, size_t cap)
{
    char text[128];
    int status;

    const bool known = waitpid(r->pid, &status, WNOHANG) == r->pid; /* else not our child */

    if (r->verdict[0] != '\0') {
        (void)snprintf(ret, cap, "%s", r->verdict);
        return;
    }
    if (!known) {
        (void)snprintf(ret, cap, "ended (its status went to the program that started it)");
        return;
    }
    (void)berth_process_status_text(status, text, sizeof text);
    (void)snprintf(ret, cap, "%s", strncmp(text, "was ", 4) == 0 ? text + 4 : text);
}

/* Its last process is gone: so is it. */
static void
forget(struct berth_shimlet *s, struct process_replica *r)
{
    r->unit->dirty = true;
    process_group_remove(s, r->rec.id);
    process_erase_replica(s, r);
    process_replica_drop(r);
}

/* All that it started and that stayed in its group, at once.  A child that ended and was not waited
 * for holds its number, which is the group's; another's child may have given it back. */
static void
kill_group(const struct process_replica *r)
{
    siginfo_t how = {.si_pid = 0};

    if (waitid(P_PID, (id_t)r->pid, &how, WEXITED | WNOHANG | WNOWAIT) == 0 && how.si_pid == r->pid)
        (void)kill(-r->pid, SIGKILL);
}

/* True: it was forgotten. */
static bool
ended(struct berth_shimlet *s, struct process_replica *r)
{
    char how[256];

    kill_group(r);
    const bool swept = process_sweep(s, r); /* what it leaves behind goes, too */
    how_it_ended(r, how, sizeof how);
    r->verdict[0] = '\0';
    if (r->pidfd >= 0)
        (void)close(r->pidfd);
    r->pidfd = -1;
    r->pid = 0;
    r->memory_bytes = r->cpu_milli = 0;
    if (r->state == BERTH_REPLICA_STOPPING) {
        r->due_ns = berth_now_ns();
        if (!swept)
            return false; /* tried again at once */
        forget(s, r);
        return true;
    }
    process_failed(s, r, how);
    return false;
}

/* ---- what is due ---- */

/* True: it was forgotten.  Else *ret_next_ns is when something is due for it. */
static bool
turn(struct berth_shimlet *s, struct process_replica *r, uint64_t *ret_next_ns)
{
    const uint64_t now = berth_now_ns();
    const bool held = process_hold(r);
    bool sure;

    if (process_has_ended(r) && ended(s, r))
        return true;
    if (r->state == BERTH_REPLICA_STOPPING && now >= r->due_ns) {
        if (r->pid == 0 && process_sweep(s, r) && !process_is_held(s, r, &sure)) {
            forget(s, r);
            return true;
        }
        process_signal(r, SIGKILL); /* it was asked and did not go */
        r->due_ns = now + 100 * BERTH_MS;
    } else if (r->state == BERTH_REPLICA_FAILED && now >= r->due_ns) {
        r->restarts++;
        process_start(s, r);
    } else if (r->sought && now >= r->due_ns) {
        process_adopt(s, r);
    }
    *ret_next_ns =
        r->state == BERTH_REPLICA_STOPPING || r->state == BERTH_REPLICA_FAILED || r->sought
            ? r->due_ns
            : UINT64_MAX;
    if (!held && *ret_next_ns > now + 100 * BERTH_MS)
        *ret_next_ns = now + 100 * BERTH_MS; /* nothing tells of its end but another look */
    return false;
}

static size_t
count_replicas(const struct berth_shimlet *s)
{
    size_t n = 0;

    for (const struct process_unit *u = s->units; u != NULL; u = u->next)
        n += u->replica_count;
    return n;
}

/* A turn for each, then what to wait for: fds (the event's first) and for how long. */
static uint64_t
round_of(struct berth_shimlet *s, struct pollfd **fds, nfds_t *ret_count)
{
    uint64_t next = UINT64_MAX;
    nfds_t n = 1;

    for (struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (struct process_replica *r = u->replicas, *after; r != NULL; r = after) {
            uint64_t its = UINT64_MAX;

            after = r->next;
            if (!turn(s, r, &its) && its < next)
                next = its;
        }
    }
    const size_t replicas = count_replicas(s);
    struct pollfd *more = reallocarray(*fds, replicas + 1, sizeof **fds);
    if (more == NULL && *fds == NULL)
        return berth_now_ns() + BERTH_S; /* look without them */
    if (more == NULL) {
        *ret_count = 1;
        return berth_now_ns() + BERTH_S;
    }
    *fds = more;
    (*fds)[0] = (struct pollfd){.fd = s->event_fd, .events = POLLIN};
    for (const struct process_unit *u = s->units; u != NULL; u = u->next) {
        for (const struct process_replica *r = u->replicas; r != NULL; r = r->next) {
            if (r->pidfd >= 0)
                (*fds)[n++] = (struct pollfd){.fd = r->pidfd, .events = POLLIN};
        }
    }
    *ret_count = n;
    return next;
}

void *
process_watch(void *shimlet)
{
    struct berth_shimlet *s = shimlet;
    struct pollfd *fds = NULL;
    nfds_t count = 0;

    (void)pthread_mutex_lock(&s->machine->mu);
    while (!s->ends) {
        const uint64_t next = round_of(s, &fds, &count);
        eventfd_t ignored;

        process_tell(s);
        (void)pthread_mutex_unlock(&s->machine->mu);
        const uint64_t now = berth_now_ns();
        const uint64_t wait = next > now ? next - now : 0;
        const struct timespec t = {.tv_sec = (time_t)(wait / BERTH_S),
                                   .tv_nsec = (long)(wait % BERTH_S)};
        /* A descriptor that was closed since is not in use again before the next round: only this
         * thread closes and opens them, but for apply(), which wakes us. */
        if (ppoll(fds, count, next == UINT64_MAX ? NULL : &t, NULL) > 0 && fds[0].revents != 0)
            (void)eventfd_read(s->event_fd, &ignored);
        (void)pthread_mutex_lock(&s->machine->mu);
    }
    (void)pthread_mutex_unlock(&s->machine->mu);
    free(fds);
    return NULL;
}
