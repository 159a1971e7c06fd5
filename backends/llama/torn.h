#ifndef BERTH_LLAMA_TORN_H
#define BERTH_LLAMA_TORN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Model files that are cut off or overwritten while they are mapped.  The kernel answers a look
 * beyond a file's new end with SIGBUS, whose default ends the program, and with it every other
 * model.  Here the lost part reads as zeros instead and is noted, so that whoever computes with it
 * can tell.  Only shared read-only mappings of files are treated so: that is how the engine maps
 * weights, and nobody else in this process maps anything.
 */

/* Take SIGBUS over; once, before the first model is mapped.  Other causes of it end the program as
 * before. */
void berth_torn_watch(void);

/* A file and the moment from which on it matters.  Plain value. */
struct berth_torn_file {
    uint64_t inode;
    uint32_t since;
    bool has_parts; /* of a model in several files: whichever is torn counts */
};
/* Of a file that is about to be mapped. */
struct berth_torn_file berth_torn_file(const char *path);
/* Has a part of its mapping been lost since?  Any thread. */
bool berth_torn_is(const struct berth_torn_file *f);

#endif
