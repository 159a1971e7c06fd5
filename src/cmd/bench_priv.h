#ifndef BERTH_BENCH_PRIV_H
#define BERTH_BENCH_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "cmd/bench_options.h"
#include "cmd/bench_report.h"
#include "cmd/bench_work.h"
#include "cmd/remote.h"

/* What bench.c (runs) and bench_prepare.c (servers and requests) share of one `berth bench`. */

struct target {
    const char *base; /* "http://HOST:PORT" */
    const char *host, *port, *authority;
    struct berth_slice *http1; /* a request for each name */
    struct berth_h2_request *http2;
    pid_t pid; /* 0: not told */
};

struct bench {
    const struct berth_args *args;
    struct berth_remote remote;
    const char *model, *prompt; /* model: as typed; prompt NULL: predictions */
    char name[256];             /* the first model's */
    size_t name_count;
    bool zipf;
    struct berth_bench_options o;
    bool has_stats;           /* the first server tells what its time went to */
    struct berth_work *works; /* one for each name */
    struct target targets[2];
    size_t target_count;
    struct berth_bench_run *runs;
    size_t run_count;
};

/* Exit statuses; what is wrong is told. */
int berth_bench_no_memory(const struct bench *b);
/* --server and --compare, into targets. */
int berth_bench_read_targets(struct bench *b);
/* A request for each name and server, as the options say. */
int berth_bench_make_work(struct bench *b);

/* Where the first server's time went, by its own account. */
struct berth_bench_account {
    uint64_t requests;
    uint64_t ns[4];
};
/* The statistics extension's sums over all versions of the model; false: not offered. */
bool berth_bench_account_read(struct bench *b, struct berth_bench_account *ret);
/* What lies between two of them, as stages of a run that has none. */
void berth_bench_account_put(struct berth_bench_run *run, const struct berth_bench_account *before,
                             const struct berth_bench_account *after);

#endif
