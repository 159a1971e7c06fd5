#ifndef BERTH_CHILD_H
#define BERTH_CHILD_H

/*
 * The worker process: loads one model with its backend, and runs what its server puts into the
 * shared memory.  When the server goes it waits a while for a new one, and ends.
 */
enum { BERTH_CHILD_CONTROL_FD = 3, BERTH_CHILD_DIR_FD = 4 };

/* Descriptor 3 is the socket to the server; with socket_name, 4 is the folder where to listen under
 * that name for the next server.  Returns the exit status, when it could not begin. */
int berth_child_main(const char *socket_name);

#endif
