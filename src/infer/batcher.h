#ifndef BERTH_BATCHER_H
#define BERTH_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "infer/batching.h"
#include "infer/gain.h"

struct berth_instance_thread;
struct berth_request;

/*
 * The requests that wait for one model: tensor requests in groups that may run together, and
 * sequences, both by priority and in the order they came.  Pure: no lock, no clock, no memory of
 * its own.  The caller holds the model's lock and says what time it is (CLOCK_MONOTONIC, ns).
 *
 * A batch takes the requests of one group, those of priority 1 first.  It is due
 *  - when it has a preferred size: the largest one that the first requests add up to;
 *  - when it is full, by requests or by rows;
 *  - when the oldest request of the group has waited for wait_ns, or there is no wait.
 * Of the batches that are due that with the most urgent request goes, a full one before others.
 *
 * A request that waits longer than the policy of its level allows is refused, or (`delay`) goes
 * behind the others of its level, and from then on waits for nobody's company.
 *
 * With BERTH_BATCHING_AUTO, wait and size follow what was measured (infer/gain.h), and a batch is
 * full when as many wait as came together the last time that it waited to the end.
 */
enum {
    BERTH_BATCH_GROUPS_MAX = 32,
    BERTH_BATCH_SEQUENCES = BERTH_BATCH_GROUPS_MAX, /* the groups behind those of tensors */
    BERTH_BATCH_RETRIES,
    BERTH_BATCH_SEQUENCE_RETRIES,
    BERTH_BATCH_GROUPS_ALL,
    BERTH_BATCH_LISTS = 2 * BERTH_PRIORITIES_MAX /* of each level: in time, delayed */
};

struct berth_batch_list {
    struct berth_request *first, *last;
};

struct berth_batch_group {
    struct berth_batch_list lists[BERTH_BATCH_LISTS]; /* most urgent first */
    uint32_t lists_used;                              /* a bit for each that is not empty */
    uint32_t len;
    uint64_t rows;
};

struct berth_batcher {
    struct berth_batch_conf conf;
    uint32_t rows_max; /* as berth_describe.batch_rows_max */
    /* Set by the caller, where berth_batcher_may_hurry(): runs are so short that company is what
     * came in the same moment.  No wait then. */
    bool at_once;
    /* Tensor requests of one group run together, but those of the last group, where everything
     * goes that found all other groups taken: they run one by one. */
    struct berth_batch_group groups[BERTH_BATCH_GROUPS_ALL];
    uint32_t groups_used;                     /* a bit for each of the tensors' */
    uint32_t len;                             /* tensor requests waiting, retries included */
    uint32_t seq_len;                         /* sequences waiting, likewise */
    uint32_t level_len[BERTH_PRIORITIES_MAX]; /* both together */
    struct berth_request *expiry;             /* infer/expiry.h: those that may expire */
    struct berth_gain gain;
};

void berth_batcher_init(struct berth_batcher *b, const struct berth_batch_conf *conf,
                        uint32_t rows_max);
/* Another configuration.  Those that wait keep their place and timeout. */
void berth_batcher_conf_set(struct berth_batcher *b, const struct berth_batch_conf *conf);
/* How many requests one run may carry, and how long the oldest waits for that. */
uint32_t berth_batcher_requests_max(const struct berth_batcher *b);
/* Did nobody ask for a wait? */
bool berth_batcher_may_hurry(const struct berth_batcher *b);
uint64_t berth_batcher_wait_ns(const struct berth_batcher *b);

/* Queue r, by its task, priority and queue_timeout_ns, which counts from submit_ns.
 * -BERTH_EAGAIN: the queue is full, or r's level of it. */
int berth_batcher_put(struct berth_batcher *b, struct berth_request *r);
/* Queue r again, which `avoid` failed: before all others, for any other instance, alone. */
void berth_batcher_put_retry(struct berth_batcher *b, struct berth_request *r,
                             const struct berth_instance_thread *avoid);
/* What r waits behind: 0 for priority 1. */
uint32_t berth_batcher_level(const struct berth_batcher *b, const struct berth_request *r);

/* The batch that is due for this instance: how many were written to reqs[BERTH_BATCH_MAX].  0: none
 * is, and *ret_wake_ns is when one will be (UINT64_MAX: not without a put).  Expired requests must
 * have been taken out before. */
uint32_t berth_batcher_take(struct berth_batcher *b, uint64_t now_ns,
                            const struct berth_instance_thread *who, struct berth_request *reqs[],
                            uint64_t *ret_wake_ns);
/* Would berth_batcher_take() give something now, to an instance that failed none of it? */
bool berth_batcher_due(const struct berth_batcher *b, uint64_t now_ns);
/* The sequence that is next for this instance, or NULL; and is there one? */
struct berth_request *berth_batcher_take_sequence(struct berth_batcher *b,
                                                  const struct berth_instance_thread *who);
bool berth_batcher_has_sequence(const struct berth_batcher *b,
                                const struct berth_instance_thread *who);

/* Take out those that have expired at now_ns, linked by ->next: past their deadline, or past their
 * timeout in the queue (then ->timed_out).  *ret_delayed: some were delayed instead, so that a
 * batch may be due.  *ret_next_ns: when the next one expires (UINT64_MAX: none will). */
struct berth_request *berth_batcher_expire(struct berth_batcher *b, uint64_t now_ns,
                                           bool *ret_delayed, uint64_t *ret_next_ns);
/* Take r out; false when it is not here (any more). */
bool berth_batcher_remove(struct berth_batcher *b, struct berth_request *r);
/* Take out all, linked by ->next. */
struct berth_request *berth_batcher_take_all(struct berth_batcher *b);
/* What a run of n requests cost. */
void berth_batcher_ran(struct berth_batcher *b, uint32_t n, uint64_t run_ns);

/* How things stand, for people. */
struct berth_batch_view {
    enum berth_batching mode;
    enum berth_gain_choice choice; /* of AUTO */
    bool batchable;                /* the model has a batch dimension that is free */
    uint64_t single_ns, shared_ns; /* measured, of a request; 0: not yet */
    uint64_t wait_ns;              /* for company, now */
    uint32_t requests_max;         /* in a run, now */
    uint32_t expected;             /* that come together; 0: not known */
    uint32_t changes;              /* of the choice */
};
struct berth_batch_view berth_batcher_view(const struct berth_batcher *b);
enum { BERTH_BATCH_WHY = 160 };
const char *berth_batch_why(const struct berth_batch_view *v, char buf[BERTH_BATCH_WHY]);
const char *berth_batching_name(enum berth_batching m); /* "auto", "dynamic", "off" */

#endif
