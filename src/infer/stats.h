#ifndef BERTH_STATS_H
#define BERTH_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "infer/lifecycle.h"

struct berth_arena;

/*
 * How a registered model has been doing: over all its versions, for each of them as the Open
 * Inference Protocol's statistics want it, and how its states went.  Kept over loads and unloads.
 * Shared: ref and unref.  Any thread; a lock of its own, taken once a batch.
 */
struct berth_stats;

/* ---- what is told ---- */

struct berth_model_stats {
    uint64_t requests, ok, failed, canceled;
    uint64_t tokens_in, tokens_out;
    uint64_t batches;
    double latency_avg_ms;                 /* moving average, weight 0.1 for the newest */
    double latency_p95_ms, latency_p99_ms; /* of the last 1,024 */
    double rps;                            /* over the last minute */
    uint64_t queue_ns, run_ns;             /* sums */
    uint64_t last_wall_ns;
};

struct berth_duration {
    uint64_t count, ns; /* ns: the sum */
};

/* Runs of one batch size.  The times are the run's, not one for each of its requests. */
struct berth_batch_stats {
    uint64_t rows;  /* inferences in the batch: requests, or the rows that they bring */
    uint64_t count; /* runs */
    uint64_t input_ns, infer_ns, output_ns;
};

/*
 * A version's numbers in Triton's words: ModelStatistics of gRPC, model_stats[] of REST.  All are
 * sums since the model was registered, over every load of the version.
 *   success, fail   requests with a result, or without (cancelled ones, too), and how long they
 *                   took from submit to done; success includes those answered from the cache
 *   queue           how long the successful ones waited for their run, for cores included; those
 *                   answered from the cache are counted with the nothing that they waited
 *   input, infer, output
 *                   of the successful ones that ran: from being taken to the engine's begin, in the
 *                   engine, and from its end to done.  A request counts with its whole batch's time
 *   cache_hit       looking for an answer and copying it out
 *   cache_miss      looking for it in vain, and keeping the answer that was then computed
 * A generation is one execution with batch size 1, and infer is its whole time with the engine.
 */
struct berth_version_stats {
    uint64_t last_wall_ns; /* CLOCK_REALTIME of the last request's end; 0: none yet */
    uint64_t inferences;   /* rows of successful requests that ran */
    uint64_t executions;   /* runs, also of those that failed */
    struct berth_duration success, fail, queue, input, infer, output, cache_hit, cache_miss;
    /* By rows, ascending; at most BERTH_STATS_SIZES_MAX: runs of further sizes are in no entry. */
    const struct berth_batch_stats *batches;
    size_t batch_count;
};

/* A change of a version's state. */
struct berth_state_change {
    uint64_t wall_ns;
    char version[24];
    enum berth_model_state state; /* from then on */
    char why[160];                /* "" when the state says it all */
};

enum { BERTH_STATS_SIZES_MAX = 256, BERTH_STATS_CHANGES_MAX = 64 };

/* ---- who counts ---- */

struct berth_stats *berth_stats_new(void); /* NULL: out of memory */
void berth_stats_ref(struct berth_stats *s);
void berth_stats_unref(struct berth_stats *s);

/* A version's number for the calls below; made when there is none of that label.  Versions beyond
 * 64 share the last one's number. */
uint32_t berth_stats_version(struct berth_stats *s, const char *label);

struct berth_stats_item {
    int result;    /* 0 or -BERTH_E... */
    uint32_t rows; /* inferences that it brings; 0 counts as 1 */
    uint64_t latency_ns, queue_ns, input_ns, infer_ns, output_ns;
    uint32_t tokens_in, tokens_out;
};
struct berth_stats_run {
    uint64_t rows, input_ns, infer_ns, output_ns;
};
/* n requests ended that ran together; run: NULL when they never ran. */
void berth_stats_add(struct berth_stats *s, uint32_t version, const struct berth_stats_item *items,
                     size_t n, const struct berth_stats_run *run);
/* A request was answered from the cache after lookup_ns, latency_ns after its submit; or lookup_ns
 * went into looking in vain and keeping (the request itself is counted by add). */
void berth_stats_hit(struct berth_stats *s, uint32_t version, uint64_t lookup_ns,
                     uint64_t latency_ns);
void berth_stats_miss(struct berth_stats *s, uint32_t version, uint64_t lookup_ns);
/* The version's state is now this one; why: NULL or a text, cut when it is long. */
void berth_stats_state(struct berth_stats *s, uint32_t version, enum berth_model_state state,
                       const char *why);

/* ---- who asks ---- */

void berth_stats_get(struct berth_stats *s, struct berth_model_stats *ret);
/* Zeros for a version that never was counted.  -BERTH_ENOMEM: the arena is full. */
int berth_stats_version_get(struct berth_stats *s, const char *label, struct berth_arena *a,
                            struct berth_version_stats *ret);
/* The last changes, oldest first, in the arena; at most BERTH_STATS_CHANGES_MAX.  *ret_total: how
 * many there were.  -BERTH_ENOMEM */
int berth_stats_changes(struct berth_stats *s, struct berth_arena *a,
                        const struct berth_state_change **ret, size_t *ret_count,
                        uint64_t *ret_total);

#endif
