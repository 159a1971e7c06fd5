#ifndef BERTH_CONTROL_H
#define BERTH_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <berth/err.h>

/*
 * The socket between a server and a worker (SOCK_SEQPACKET): few, small messages.  Its end is how
 * each learns that the other is gone.  Nothing here blocks.
 */
enum berth_control_kind {
    BERTH_CONTROL_ATTACH = 1, /* server: descriptors of the shared memory and for 1 and 2; a load
                                 waits in the lane */
    BERTH_CONTROL_LOADED,     /* worker: its answer is in the lane */
    BERTH_CONTROL_CANCEL,     /* server: nobody waits for command `seq` of the run lane */
    BERTH_CONTROL_END,        /* server: go */
};
struct berth_control {
    uint32_t protocol; /* = BERTH_WORKER_PROTOCOL */
    uint32_t kind;
    uint32_t seq;
};
enum { BERTH_CONTROL_FDS = 2 };

/* Both ends; close-on-exec. */
int berth_control_pair(int ret[2], struct berth_err *e);
/* fds: BERTH_CONTROL_FDS of them, or NULL.  -BERTH_EIO: the other side is gone, or does not read.
 */
int berth_control_send(int fd, const struct berth_control *c, const int *fds);
/* 1: one message; its descriptors, if any, are the caller's (-1 where there is none).  0: none
 * waits.  -BERTH_EIO: the other side is gone, or talks nonsense. */
int berth_control_recv(int fd, struct berth_control *ret, int ret_fds[BERTH_CONTROL_FDS]);

/* A name in a folder to be found under; dir_fd is of the folder.  Returns a descriptor, or -1 with
 * errno (ECONNREFUSED: whoever listened there is gone). */
int berth_control_listen(int dir_fd, const char *name);
int berth_control_connect(int dir_fd, const char *name);
int berth_control_accept(int listen_fd);
/* Who is at the other end?  False: not this user. */
bool berth_control_peer(int fd, pid_t *ret_pid);

#endif
