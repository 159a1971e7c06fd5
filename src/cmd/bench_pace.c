#include "cmd/bench_pace.h"

#include <math.h>

#include "cmd/bench_pick.h"

void
berth_pace_begin(struct berth_pace *p, uint64_t begin_ns)
{
    p->number = 0;
    p->begin_ns = begin_ns;
    p->random = p->seed;
    p->at_s = 0;
}

uint64_t
berth_pace_next(const struct berth_pace *p)
{
    return p->begin_ns + (uint64_t)(p->at_s * 1e9);
}

void
berth_pace_take(struct berth_pace *p)
{
    p->number++;
    if (!p->poisson) {
        p->at_s = (double)p->number / p->rate; /* from the start, so that nothing adds up */
        return;
    }
    p->at_s -= log(berth_bench_random_share(&p->random)) / p->rate;
}
