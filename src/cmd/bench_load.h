#ifndef BERTH_BENCH_LOAD_H
#define BERTH_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <berth/err.h>

#include "base/buf.h"
#include "cmd/bench_errors.h"
#include "cmd/bench_stages.h"

struct berth_h2_request;

/* Counts of durations in nanoseconds, 128 steps for each power of two: within 0.8 %. */
enum { BERTH_HIST_STEPS = 128, BERTH_HIST_BUCKETS = 58 * BERTH_HIST_STEPS };
struct berth_hist {
    uint64_t counts[BERTH_HIST_BUCKETS];
    uint64_t count, sum_ns, max_ns;
};
void berth_hist_add(struct berth_hist *h, uint64_t ns);
void berth_hist_merge(struct berth_hist *h, const struct berth_hist *more);
/* The duration that a share p (0 to 1) of them does not exceed; 0 when there is none. */
uint64_t berth_hist_at(const struct berth_hist *h, double p);

/*
 * The same request, or several of a kind, over and over on kept connections, by one thread:
 * HTTP/1.1, or HTTP/2 with several streams on each connection.  Closed loop: each connection (each
 * stream) sends its next request when the last is answered.  Open loop (rate > 0): when a request
 * is due is fixed in advance whatever the answers, and its latency counts from then, so that a
 * server that stalls cannot hide it; what was due and never sent counts as failed.  A connection
 * that the server closes is opened again for its next request, within that request's latency.  A
 * request that is not answered in time gives its connection up, with all that is under way on it.
 */
struct berth_load {
    const char *host, *port;
    const struct berth_slice *http1;      /* requests for HTTP/1.1: heads and bodies */
    const struct berth_h2_request *http2; /* the same for HTTP/2; NULL: HTTP/1.1 */
    size_t request_count;                 /* of them; 0: 1 */
    bool zipf;                            /* which is sent: by Zipf's law; else in turns */
    bool grpc;                            /* it succeeds when gRPC's status is 0 */
    uint32_t connections;                 /* 1..4096 */
    uint32_t streams;                     /* of each connection; 0: 1; HTTP/1.1: at most 1 */
    double rate;                          /* requests a second; 0: closed loop */
    bool poisson;                         /* due at random, with that mean; else evenly */
    uint64_t seed;                        /* of the randomness */
    uint64_t warmup_ns;                   /* requests due earlier are sent and not counted */
    uint64_t duration_ns;                 /* after the warm-up; 0: until so many requests */
    uint64_t requests;                    /* to count; 0: until the time is over */
    uint64_t timeout_ns; /* for an answer, from when its request is begun; 0: 60 s */
    uint64_t grace_ns;   /* after the end, for the last answers and what was due; 0: 10 s */
    pid_t server_pid;    /* whose CPU time is measured, with its children; 0: none */
};

struct berth_load_result {
    struct berth_hist latency; /* of those answered with success, from when they were due */
    struct berth_errors errors;
    uint64_t ok, failed;
    uint64_t ended;              /* after the warm-up, whenever they were due */
    uint64_t elapsed_ns, cpu_ns; /* without the warm-up; cpu: of this program, to see that it is not
                                    the limit */
    uint64_t server_cpu_ns;      /* of server_pid and its children */
    struct berth_stages stages;  /* summed, as the server said them */
};

/* Blocks for the time and a little.  -BERTH_ENETWORK: no connection; -BERTH_ENOMEM; -BERTH_ENOENT:
 * no process server_pid. */
int berth_load_run(const struct berth_load *load, struct berth_load_result *ret,
                   struct berth_err *e);

#endif
