#ifndef BERTH_GAIN_H
#define BERTH_GAIN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Does a model gain from batches?  Decided from what its runs took: a request's share of a batch
 * against a run of its own.  Pure; the caller holds the model's lock.
 *
 * Both figures are kept fresh: while batches run, one request now and then runs alone; while
 * requests run alone, a batch is tried now and then.  So a model that changes its behaviour gets
 * another decision.
 */
enum berth_gain_choice {
    BERTH_GAIN_MEASURING, /* too little seen: what waits runs together, nobody is waited for */
    BERTH_GAIN_BATCH,     /* company is worth a wait of one run at most */
    BERTH_GAIN_ALONE,     /* it is not: requests run one by one, at once */
};

struct berth_gain {
    enum berth_gain_choice choice;
    double single_ns, shared_ns; /* moving averages of a request's share of a run, pauses apart */
    uint32_t single_count, shared_count;
    uint32_t stale;      /* runs since the other kind was measured last */
    uint32_t alone_runs; /* until a batch is tried; more each time that it was no gain */
    uint32_t changes;    /* of the choice, after the first */
    uint32_t expected;   /* how many come together; UINT32_MAX: not known */
    uint32_t probe_in, probe_period; /* batches until the whole wait is tried again */
};

void berth_gain_init(struct berth_gain *g);
/* A run of n requests took run_ns. */
void berth_gain_ran(struct berth_gain *g, uint32_t n, uint64_t run_ns);
/* A batch of n was taken from those that wait.  waited: because of its age, not its size. */
void berth_gain_took(struct berth_gain *g, uint32_t n, bool waited);
/* The longest wait for company, at most max_ns; how many the next run may take, of max; and is n
 * enough not to wait any more? */
uint64_t berth_gain_wait_ns(const struct berth_gain *g, uint64_t max_ns);
uint32_t berth_gain_requests_max(const struct berth_gain *g, uint32_t max);
bool berth_gain_enough(const struct berth_gain *g, uint32_t n);

const char *berth_gain_name(enum berth_gain_choice c); /* "measuring", "batch", "alone" */

#endif
