#ifndef BERTH_BATCHING_H
#define BERTH_BATCHING_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How the requests of a model wait and run together: the defaults of the server, or what a model's
 * configuration makes of them.  Values only.
 */
enum {
    BERTH_PRIORITIES_MAX = 16, /* levels; 1 is served first */
    BERTH_PREFERRED_MAX = 16,
    BERTH_QUEUE_LEN_MAX = 65536,
    BERTH_BATCH_MAX = 1024, /* requests in one run */
};

enum berth_batching {
    BERTH_BATCHING_AUTO,    /* decided from measured run times: infer/gain.h */
    BERTH_BATCHING_DYNAMIC, /* as large and as late as allowed */
    BERTH_BATCHING_OFF,     /* one by one */
};

/* What happens to those that wait, at one level of priority. */
struct berth_queue_policy {
    uint64_t timeout_ns;    /* longest wait; 0: none */
    uint32_t queue_len_max; /* requests waiting; 0: as many as the model's queue takes */
    bool delay;             /* past its timeout: after the others of its level, not refused */
    bool allow_override;    /* a request may ask for a shorter timeout of its own */
};

struct berth_batch_conf {
    uint32_t batch_requests_max; /* requests in one run: 8 */
    uint64_t wait_ns_max;        /* how long the oldest waits for company: 50 ms; 0: none */
    uint32_t queue_len_max;      /* requests waiting; beyond: -BERTH_EAGAIN */
    enum berth_batching mode;
    bool no_padding;                         /* ragged inputs do not meet, whatever a model says */
    uint32_t preferred[BERTH_PREFERRED_MAX]; /* rows; ascending */
    uint32_t preferred_len;
    uint32_t priority_levels;  /* 0: one queue, whatever priority a request has */
    uint32_t priority_default; /* 1 to priority_levels */
    struct berth_queue_policy policies[BERTH_PRIORITIES_MAX]; /* of level i + 1 */
};

#endif
