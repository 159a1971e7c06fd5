#ifndef BERTH_BENCH_PICK_H
#define BERTH_BENCH_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which of several models the next request is for: in turns, or by Zipf's law (the k-th is asked
 * 1/k as often as the first, as real traffic is).  The same sequence for a seed.  Pure.
 */
enum { BERTH_PICK_MAX = 4096 };

struct berth_pick {
    size_t count; /* 1..BERTH_PICK_MAX */
    bool zipf;
    /* Private. */
    uint64_t number, random;
    double below[BERTH_PICK_MAX]; /* the share of the requests for those up to this one */
};

/* count and zipf are set. */
void berth_pick_begin(struct berth_pick *p, uint64_t seed);
/* 0 to count - 1 */
size_t berth_pick_next(struct berth_pick *p);

/* The next of a known sequence for a seed, so that a run can be repeated: in (0, 1]. */
double berth_bench_random_share(uint64_t *state);

/* "m{0..127}" or "m{0..127:zipf}": how many names that is, 1 for a name without a range; 0: wrong.
 */
size_t berth_names_parse(const char *text, bool *ret_zipf);
/* The index-th of them into room. */
void berth_names_put(const char *text, size_t index, char *room, size_t size);

#endif
