#ifndef BERTH_BENCH_PACE_H
#define BERTH_BENCH_PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * When requests are due, in an open loop: evenly, or at random as independent users come (Poisson:
 * exponential gaps).  Fixed in advance by the rate and the seed, whatever the answers.  Pure.
 */
struct berth_pace {
    double rate; /* requests a second, > 0 */
    bool poisson;
    uint64_t seed;
    /* Private. */
    uint64_t number, begin_ns, random;
    double at_s; /* of the next one, after begin */
};

/* rate, poisson and seed are set; the first request is due at begin_ns. */
void berth_pace_begin(struct berth_pace *p, uint64_t begin_ns);
/* When the next one is due; the same until berth_pace_take(). */
uint64_t berth_pace_next(const struct berth_pace *p);
void berth_pace_take(struct berth_pace *p);

#endif
