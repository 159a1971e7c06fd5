#ifndef BERTH_PB_ALIGN_H
#define BERTH_PB_ALIGN_H

#include <stddef.h>
#include <stdint.h>

/*
 * Copies a message that comes in pieces so that the payloads of one of its fields lie aligned to 64
 * bytes: then tensors in it can be used where they are.  In front of such a field it puts another,
 * number 15, of as many zeros as are needed; whoever reads the message skips what it does not know.
 * The message must have no field 15 of its own that matters.  What is damaged is copied as it is.
 */
enum {
    BERTH_PB_ALIGN_TO = 64,
    BERTH_PB_ALIGN_FROM = 64,   /* bytes of a payload that are worth it */
    BERTH_PB_ALIGN_SPARE = 2048 /* room beside the message's length; beyond, nothing is aligned */
};

struct berth_pb_align {
    uint32_t field; /* whose payloads; set by the caller, all else 0 */
    size_t out_len; /* what has been written */
    size_t spare_used;
    /* Where in the message it is. */
    int state;
    unsigned shift;  /* of the number that is being read */
    uint64_t number; /* ... so far */
    uint32_t tag;
    size_t tag_at; /* where the field begins in the output */
    uint64_t left; /* of the payload */
};

/* The next n bytes of the message, appended to what is at `to`: aligned to 64, with room for the
 * whole message and BERTH_PB_ALIGN_SPARE. */
void berth_pb_align_put(struct berth_pb_align *a, char *to, const char *at, size_t n);

#endif
