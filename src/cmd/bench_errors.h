#ifndef BERTH_BENCH_ERRORS_H
#define BERTH_BENCH_ERRORS_H

#include <stdint.h>

#include "base/buf.h"

struct berth_jw;

/* Why requests failed, counted.  One thread; each has its own, merged at the end. */
#define BERTH_BENCH_ERRORS(X)                                        \
    X(CONNECT, "connect") /* no connection */                        \
    X(TIMEOUT, "timeout") /* no whole answer in time */              \
    X(BROKEN, "broken")   /* cut short, or no answer that is HTTP */ \
    X(UNSENT, "unsent")   /* open loop: due, but never sent */

enum berth_bench_error {
#define X(name, text) BERTH_BENCH_##name,
    BERTH_BENCH_ERRORS(X)
#undef X
        BERTH_BENCH_ERROR_COUNT
};

enum { BERTH_BENCH_STATUS_MAX = 599, BERTH_BENCH_GRPC_MAX = 17 };

struct berth_errors {
    uint64_t kinds[BERTH_BENCH_ERROR_COUNT];
    uint64_t statuses[BERTH_BENCH_STATUS_MAX + 1]; /* answers that are no success */
    uint64_t grpc[BERTH_BENCH_GRPC_MAX + 1];       /* the same by gRPC's status; the last: others */
};

/* status: 0 to 599 */
void berth_errors_add_status(struct berth_errors *s, uint16_t status);
void berth_errors_add_grpc(struct berth_errors *s, int32_t status);
void berth_errors_merge(struct berth_errors *s, const struct berth_errors *more);
uint64_t berth_errors_sum(const struct berth_errors *s);
/* {"connect":0,...,"status":{"503":2},"grpc":{"UNAVAILABLE":1}} */
void berth_errors_put_json(const struct berth_errors *s, struct berth_jw *w);
/* "connect 1, status 503: 2", those that happened. */
void berth_errors_put_text(const struct berth_errors *s, struct berth_buf *out);

#endif
