#ifndef BERTH_API_TIMING_H
#define BERTH_API_TIMING_H

#include <stddef.h>
#include <stdint.h>

struct berth_call;

/* Where the time of a request went that is about to be answered; the whole account is told later,
 * by GET /v1/requests/{id}/explain. */
struct berth_timing {
    const char *name; /* "berth_queue_us"; static text */
    int64_t value;    /* microseconds, or a count */
};

/* In the call's arena; *ret_count is 0 when that is full, or nothing was given to a model. */
const struct berth_timing *berth_call_timings(const struct berth_call *c, size_t *ret_count);
/* The same as a Server-Timing header (W3C), when the request asked for it by ?berth_timing=true. */
void berth_call_timing_header(const struct berth_call *c);

#endif
