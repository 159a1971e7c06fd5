#ifndef BERTH_BENCH_OPTIONS_H
#define BERTH_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cmd/bench_work.h"

struct berth_args;

/* What `berth bench` was told, checked. */
struct berth_bench_options {
    uint32_t connections, streams;          /* streams: of each connection */
    long long max_tokens, requests, rounds; /* requests 0: for so many seconds */
    double rate, seconds, warmup_s;         /* rate 0: closed loop; seconds 0: until requests */
    double p99_ms_max;                      /* ends a sweep; 0: nothing does */
    double from, to, step;                  /* of a sweep; step 0: none */
    bool poisson;
    enum berth_protocol protocol;
    pid_t pids[2]; /* of the servers; 0: not told */
};

/* Pins this process when --cpu says so.  False: told, exit with usage. */
bool berth_bench_options_read(struct berth_bench_options *o, const struct berth_args *args);

#endif
