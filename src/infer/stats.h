#ifndef BERTH_STATS_H
#define BERTH_STATS_H

#include <stdint.h>

#include "infer/registry.h"

/*
 * How a registered model has been doing, over all its versions.  Shared: ref and unref.  Any
 * thread; a lock of its own, taken once a batch.
 */
struct berth_stats;

struct berth_stats *berth_stats_new(void); /* NULL: out of memory */
void berth_stats_ref(struct berth_stats *s);
void berth_stats_unref(struct berth_stats *s);

struct berth_stats_item {
    int result; /* 0 or -BERTH_E... */
    uint64_t latency_ns, queue_ns;
    uint32_t tokens_in, tokens_out;
};
/* n requests ended that ran together for run_ns (0: they never ran). */
void berth_stats_add(struct berth_stats *s, const struct berth_stats_item *items, size_t n,
                     uint64_t run_ns);
void berth_stats_get(struct berth_stats *s, struct berth_model_stats *ret);

#endif
