#ifndef BERTH_EXPIRY_H
#define BERTH_EXPIRY_H

#include <stdint.h>

struct berth_request;

/*
 * Requests by when they expire: a pairing heap through the requests' own members, so that it needs
 * no memory.  put is O(1), remove O(log n) amortised.  Pure; starts as NULL.
 */
void berth_expiry_put(struct berth_request **heap, struct berth_request *r, uint64_t at_ns);
/* r is in the heap. */
void berth_expiry_remove(struct berth_request **heap, struct berth_request *r);

#endif
