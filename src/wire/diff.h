#ifndef BERTH_DIFF_H
#define BERTH_DIFF_H

#include <stdbool.h>

#include "base/buf.h"

struct berth_arena;

/* Two texts compared line by line. */
struct berth_diff_text {
    const char *name; /* for the header: a file's, "/dev/null" of what is not there */
    struct berth_slice text;
};

enum {
    BERTH_DIFF_CONTEXT = 3, /* lines around what differs */
    BERTH_DIFF_EDITS_MAX = 2000,
};

/*
 * Their differences as a unified diff, as `diff -u` prints them, appended to out; nothing when
 * there are none, which *ret_differ tells.  No diff has fewer lines, up to BERTH_DIFF_EDITS_MAX
 * lines that come or go (work: lines times edits); beyond, all between the first and the last
 * difference is replaced.  Scratch memory (16 MiB at most, and some of each line) comes from the
 * arena. -BERTH_ENOMEM    what was appended is no diff
 */
int berth_diff(const struct berth_diff_text *from, const struct berth_diff_text *to,
               struct berth_arena *a, struct berth_buf *out, bool *ret_differ);

#endif
