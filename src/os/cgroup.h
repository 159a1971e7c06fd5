#ifndef BERTH_OS_CGROUP_H
#define BERTH_OS_CGROUP_H

#include <stdbool.h>

/*
 * The control groups of this process, version 1 or 2, as their files say.  Any thread; nothing is
 * kept.  root: "", or a folder in which proc/ and sys/ lie, for tests.
 */

enum { BERTH_CGROUP_TEXT_MAX = 32 * 1024 };

/* A file that the kernel makes, whole: at most BERTH_CGROUP_TEXT_MAX - 1 bytes, NUL-ended; false:
 * there is none. */
bool berth_cgroup_text(const char *root, const char *path, char text[BERTH_CGROUP_TEXT_MAX]);

/* Told of one group: its folder below root.  unified: its files have version 2's names. */
typedef void berth_cgroup_fn(void *arg, const char *root, const char *folder, bool unified);

/* The group of this process that `controller` ("memory") governs and those above it, innermost
 * first, at most 32. */
void berth_cgroup_walk(const char *root, const char *controller, berth_cgroup_fn *fn, void *arg);

#endif
