#ifndef BERTH_OS_MEMORY_H
#define BERTH_OS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * What memory there is for this process, and who has it.  Two may set the bound: the machine
 * (/proc/meminfo) and the control group of this process or one above it (version 1 or 2); taken is
 * the one that has the least left.  Bytes.
 */
struct berth_memory {
    uint64_t total_bytes; /* the machine's, or the group's limit */
    uint64_t
        free_bytes; /* that nobody uses; pages of files count as free, as they can be dropped */
    uint64_t self_bytes; /* of the rest, what this process has */
    bool grouped;        /* the bound is a control group's */
};

/* root: NULL, or a folder in which proc/ and sys/ lie, for tests.  Some ten microseconds; any
 * thread.  -BERTH_EIO: /proc cannot be read or understood. */
int berth_memory_read(const char *root, struct berth_memory *ret, struct berth_err *e);

/* This process's own memory, shared pages by their share (PSS), files mapped in included; 0: not
 * known.  Walks the page tables: a millisecond for some GiB. */
uint64_t berth_memory_self_pss(void);
/* malloc()'s bytes.  Looks at every arena under its lock, one after the other: 10 us, and 250 where
 * much is kept in pieces. */
struct berth_heap {
    uint64_t used_bytes; /* given out, whatever of it was there before */
    uint64_t kept_bytes; /* freed, and kept for later; after a trim most of it has no pages */
};
struct berth_heap berth_memory_heap(void);
/* One heap for all threads from now on, before there are others: a program that waits for others'
 * answers most of the time pays for one per thread in memory and gets nothing for it. */
void berth_memory_share_heap(void);
/* Give what malloc() keeps for later back to the system.  Takes as long as there is to give. */
void berth_memory_trim(void);

#endif
