#ifndef BERTH_BENCH_REPORT_H
#define BERTH_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "cmd/bench_errors.h"
#include "cmd/bench_stages.h"

struct berth_hist;

/* What runs of a load came to, as numbers, and how that is told.  Pure. */

struct berth_spread { /* milliseconds */
    double mean, p50, p90, p95, p99, p99_9, max;
};
struct berth_spread berth_spread_of(const struct berth_hist *h);

struct berth_bench_run {
    size_t server;  /* 0: --server, 1: --compare */
    unsigned round; /* from 1 */
    double rate;    /* 0: closed loop */
    uint64_t ok, failed, completion_tokens;
    double seconds;
    double client_cpu_share;                     /* of the time; predictions */
    double server_cpu_us;                        /* for a request; < 0: not measured */
    struct berth_spread latency, first, between; /* the last two: chats */
    struct berth_errors errors;
    struct berth_stages stages; /* summed over requests */
};

struct berth_bench_report {
    const char *model, *workload, *protocol; /* "predict" or "chat"; "rest" */
    const char *servers[2];                  /* their addresses; the second may be NULL */
    uint32_t connections, streams;
    bool poisson;
    bool is_sweep;
    double p99_ms_max; /* of a sweep; 0: none */
    const struct berth_bench_run *runs;
    size_t run_count;
};

/* One object: the run itself when there is one, else all of them and the medians. */
void berth_report_json(const struct berth_bench_report *r, struct berth_buf *out);
void berth_report_text(const struct berth_bench_report *r, struct berth_buf *out);
/* The median of a server's runs at a rate of what `value` says of each; NAN: there are none. */
double berth_report_median(const struct berth_bench_report *r, size_t server, double rate,
                           double (*value)(const struct berth_bench_run *run));
double berth_run_p99(const struct berth_bench_run *run);

#endif
