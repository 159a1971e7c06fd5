#ifndef BERTH_BENCH_LOAD_H
#define BERTH_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

/* Counts of durations in nanoseconds, 64 steps for each power of two: within 1.6 %. */
enum { BERTH_HIST_BUCKETS = 59 * 64 };
struct berth_hist {
    uint64_t counts[BERTH_HIST_BUCKETS];
    uint64_t count, sum_ns, max_ns;
};
void berth_hist_add(struct berth_hist *h, uint64_t ns);
void berth_hist_merge(struct berth_hist *h, const struct berth_hist *more);
/* The duration that a share p (0 to 1) of them does not exceed; 0 when there is none. */
uint64_t berth_hist_at(const struct berth_hist *h, double p);

/*
 * The same HTTP/1.1 request over and over on kept connections, by one thread.  Closed loop: each
 * connection sends its next request when the last is answered.  Open loop (rate > 0): request i is
 * due at i/rate whatever the answers, and its latency counts from then, so that a server that
 * stalls cannot hide it; what was due and never sent counts as failed, with the time it waited.
 */
struct berth_load {
    const char *host, *port;
    struct berth_slice request; /* head and body */
    uint32_t connections;       /* 1..4096 */
    double rate;                /* requests a second; 0: closed loop */
    uint64_t duration_ns;
};

struct berth_load_result {
    struct berth_hist latency; /* of all, failed ones too */
    uint64_t ok, failed;
    uint64_t elapsed_ns, cpu_ns; /* cpu: of this program, to see that it is not the limit */
    uint16_t status;             /* of the last failed answer; 0: no answer */
};

/* Blocks for the duration and a little.  -BERTH_ENETWORK: no connection; -BERTH_ENOMEM. */
int berth_load_run(const struct berth_load *load, struct berth_load_result *ret,
                   struct berth_err *e);

#endif
