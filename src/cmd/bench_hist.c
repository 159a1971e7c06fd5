#include <string.h>

#include "cmd/bench_load.h"

/* Below 64 a bucket a number; then 64 buckets for every power of two. */
static size_t
bucket(uint64_t ns)
{
    if (ns < 64)
        return (size_t)ns;
    const unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (size_t)(power - 5) * 64 + (ns >> (power - 6) & 63);
}

/* The largest number in a bucket. */
static uint64_t
top(size_t index)
{
    if (index < 64)
        return index;
    const unsigned power = (unsigned)(index / 64) + 5;
    return (((uint64_t)64 + index % 64 + 1) << (power - 6)) - 1;
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
