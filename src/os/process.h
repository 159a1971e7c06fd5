#ifndef BERTH_PROCESS_H
#define BERTH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <berth/err.h>

/*
 * Processes that this one starts, and what they take.  Any thread; nothing is kept.
 */

enum { BERTH_SPAWN_FDS_MAX = 4 };

struct berth_spawn {
    const char *file;        /* the program; no PATH is searched unless `search` */
    const char *const *argv; /* NULL-ended */
    char *const *env;        /* NULL-ended; NULL: ours */
    bool search;             /* a file without '/' is looked for in PATH */
    int out_fd;              /* becomes its 1 and 2; its 0 is /dev/null */
    int err_fd;              /* becomes its 2 instead; 0: out_fd does */
    int fds[BERTH_SPAWN_FDS_MAX];
    size_t fd_count; /* they become 3, 4, ...; every other one is closed in it */
    /* It gets SIGKILL when the thread that started it ends, and thus at the latest with us, however
     * we end.  So for a thread that waits for it anyhow; not what it starts in turn.  Needs a file
     * that is not searched for. */
    bool dies_with_us;
};
/* Our environment for a child that has no business with our own settings (BERTH_..., UNIMODEL_...),
 * some of which are secrets: without them, but for those of the names in `keep` (NULL: none), and
 * with `more` ("NAME=value") behind.  Both NULL-ended.  The list is the caller's, its texts are
 * not.  NULL: no memory. */
char **berth_process_environ(const char *const *keep, char *const *more);

/* Start it in a session of its own (a Ctrl-C at our terminal is not for it), with every signal
 * unblocked and at its default.  Descriptors stay the caller's.  -BERTH_EIO (there is no such
 * program, or it is none), -BERTH_ELIMIT */
int berth_process_spawn(const struct berth_spawn *how, pid_t *ret_pid, struct berth_err *e);

/* A descriptor that becomes readable when the process ends; -1: there is none of that number. */
int berth_process_watch(pid_t pid);
/* Take the exit status of a child that has ended; false: not ended, or no child of ours. */
bool berth_process_reap(pid_t pid, int *ret_status);
/* SIGKILL to it, and to its session's processes when it leads one. */
void berth_process_kill(pid_t pid, int pidfd);
/* SIGKILL to a child of ours that leads a session, with what it has started there, and wait until
 * it is gone: a few milliseconds. */
void berth_process_end(pid_t pid);
/* "was ended by signal 11 (Segmentation fault)", "ended with status 0". */
const char *berth_process_status_text(int status, char *ret, size_t cap);

/* Resident bytes: all of them, cheap to ask; shared pages by their share, slow to ask (it walks
 * the page tables).  0: not to be had. */
uint64_t berth_process_resident(pid_t pid);
uint64_t berth_process_share(pid_t pid);

#endif
