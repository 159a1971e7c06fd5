#ifndef BERTH_OS_CORES_H
#define BERTH_OS_CORES_H

#include <stdint.h>

/* How many cores this process may use: those that it may run on (taskset, cpusets), or fewer where
 * its control group or one above has a quota of processor time (a container's limit), which is
 * rounded up.  At least 1.  root: NULL, or a folder in which proc/ and sys/ lie, for tests.  Any
 * thread. */
uint32_t berth_cores_usable(const char *root);

#endif
