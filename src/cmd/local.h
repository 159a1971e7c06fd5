#ifndef BERTH_LOCAL_H
#define BERTH_LOCAL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct berth_remote;

/* A server that a command starts for itself, because none runs, and ends when it is done. */
struct berth_local {
    pid_t pid; /* 0: none */
    char log[PATH_MAX];
};

/* Start `berth serve` at the remote's address (which must be on this machine), with the model
 * name=path when path is not NULL, and wait until it answers.  The exit status; told. */
int berth_local_start(struct berth_local *l, struct berth_remote *r, const char *name,
                      const char *path);
/* Ask it to end and wait for that; nothing when none was started. */
void berth_local_stop(struct berth_local *l);
/* Print the last lines of its log on standard error. */
void berth_local_tail(const struct berth_local *l);

#endif
