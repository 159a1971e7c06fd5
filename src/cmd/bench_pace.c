#include "cmd/bench_pace.h"

#include <math.h>

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

/* splitmix64: a known sequence for a seed, so that a run can be repeated. */
static uint64_t
random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void
berth_pace_take(struct berth_pace *p)
{
    p->number++;
    if (!p->poisson) {
        p->at_s = (double)p->number / p->rate; /* from the start, so that nothing adds up */
        return;
    }
    /* Uniform in (0, 1], so that the logarithm is finite. */
    const double u = ((double)(random_next(&p->random) >> 11) + 1) * 0x1p-53;
    p->at_s -= log(u) / p->rate;
}
