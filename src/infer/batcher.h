#ifndef BERTH_BATCHER_H
#define BERTH_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "infer/registry.h"

struct berth_request;

/*
 * The requests that wait for one model: tensor requests in groups that may run together, and
 * sequences in the order they came.  Pure: no lock, no clock, no memory of its own.  The caller
 * holds the model's lock and says what time it is (CLOCK_MONOTONIC, ns).
 *
 * A batch is due when it is full, or when its oldest request has waited long enough.  With `learn`
 * the batcher also uses what it saw: nobody waits longer than a single run takes (company saves at
 * most that), nor at all before that is known or when a batch of n has cost about n single runs;
 * and a batch is full when as many wait as came together the last time that it waited to the end,
 * which is tried again now and then.
 */
enum { BERTH_BATCH_GROUPS_MAX = 32, BERTH_BATCH_MAX = 1024 };

struct berth_batch_group {
    struct berth_request *first, *last;
    uint32_t len;
    uint64_t rows;
};

struct berth_batcher {
    struct berth_batch_conf conf;
    uint32_t rows_max; /* as berth_describe.batch_rows_max */
    bool learn;
    bool at_once; /* runs are so short that company is what came in the same moment: no wait */
    /* Requests of one group run together, but those of the last one, where everything goes that
     * found all other groups taken: they run one by one. */
    struct berth_batch_group groups[BERTH_BATCH_GROUPS_MAX];
    uint32_t len; /* tensor requests waiting */
    struct berth_request *seq_first, *seq_last;
    uint32_t seq_len;
    /* Learned. */
    uint32_t expected;               /* how many come together */
    uint32_t probe_in, probe_period; /* batches until the whole wait is tried again */
    double single_ns, shared_ns;     /* moving averages of a request's share of a run */
    uint32_t single_count, shared_count;
};

void berth_batcher_init(struct berth_batcher *b, const struct berth_batch_conf *conf,
                        uint32_t rows_max, bool learn);
/* How many requests one run may carry, and how long the oldest waits for that. */
uint32_t berth_batcher_requests_max(const struct berth_batcher *b);
uint64_t berth_batcher_wait_ns(const struct berth_batcher *b);

/* Queue r, by its task.  -BERTH_EAGAIN: full. */
int berth_batcher_put(struct berth_batcher *b, struct berth_request *r);
/* The batch that is due, oldest first: how many were written to reqs[BERTH_BATCH_MAX].  0: none is,
 * and *ret_wake_ns is when one will be (UINT64_MAX: not without a put). */
uint32_t berth_batcher_take(struct berth_batcher *b, uint64_t now_ns, struct berth_request *reqs[],
                            uint64_t *ret_wake_ns);
/* Would berth_batcher_take() give something now? */
bool berth_batcher_due(const struct berth_batcher *b, uint64_t now_ns);
/* The oldest sequence, or NULL. */
struct berth_request *berth_batcher_take_sequence(struct berth_batcher *b);
/* Take r out; false when it is not here (any more). */
bool berth_batcher_remove(struct berth_batcher *b, struct berth_request *r);
/* Take out all for which dead() says so, linked by ->next. */
struct berth_request *berth_batcher_sweep(struct berth_batcher *b,
                                          bool (*dead)(struct berth_request *r, void *arg),
                                          void *arg);
/* What a run of n requests cost. */
void berth_batcher_ran(struct berth_batcher *b, uint32_t n, uint64_t run_ns);

#endif
