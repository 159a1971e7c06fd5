#include <assert.h>
#include <string.h>

#include "cmd/bench_load.h"

/* Below STEPS a bucket a number; then STEPS buckets for every power of two. */
enum { STEPS = BERTH_HIST_STEPS, STEPS_POWER = 7 };
static_assert(1 << STEPS_POWER == STEPS && BERTH_HIST_BUCKETS == (64 - STEPS_POWER + 1) * STEPS,
              "a bucket for every number");

static size_t
bucket(uint64_t ns)
{
    if (ns < STEPS)
        return (size_t)ns;
    const unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (size_t)(power - STEPS_POWER + 1) * STEPS + (ns >> (power - STEPS_POWER) & (STEPS - 1));
}

/* The largest number in a bucket. */
static uint64_t
top(size_t index)
{
    if (index < STEPS)
        return index;
    const unsigned power = (unsigned)(index / STEPS) + STEPS_POWER - 1;
    return ((STEPS + (uint64_t)index % STEPS + 1) << (power - STEPS_POWER)) - 1;
}

void
berth_hist_add(struct berth_hist *h, uint64_t ns)
{
    h->counts[bucket(ns)]++;
    h->count++;
    h->sum_ns += ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

void
berth_hist_merge(struct berth_hist *h, const struct berth_hist *more)
{
    for (size_t i = 0; i < BERTH_HIST_BUCKETS; i++)
        h->counts[i] += more->counts[i];
    h->count += more->count;
    h->sum_ns += more->sum_ns;
    if (more->max_ns > h->max_ns)
        h->max_ns = more->max_ns;
}

uint64_t
berth_hist_at(const struct berth_hist *h, double p)
{
    uint64_t left = (uint64_t)(p * (double)h->count);

    if (left >= h->count)
        return h->max_ns;
    for (size_t i = 0; i < BERTH_HIST_BUCKETS; i++) {
        if (h->counts[i] > left)
            return top(i) < h->max_ns ? top(i) : h->max_ns;
        left -= h->counts[i];
    }
    return h->max_ns;
}
