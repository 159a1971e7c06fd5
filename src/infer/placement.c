#include "infer/placement.h"

enum { PERIOD_MIN = 16, PERIOD_MAX = 65536 };
/* It comes below the one and goes above the other, so that what is between them stays put.  A
 * single run counts up to the third: a thread that lost its core for a while says nothing about the
 * model, but two such in a row are believed. */
static const uint64_t comes_ns = 100000, goes_ns = 200000, counts_ns = 1000000;

void
berth_placement_init(struct berth_placement *p)
{
    *p = (struct berth_placement){.wanted = PERIOD_MIN, .period = PERIOD_MIN};
}

bool
berth_placement_ran(struct berth_placement *p, uint64_t run_ns)
{
    const uint64_t ns = run_ns < counts_ns ? run_ns : counts_ns;

    p->run_ns = p->run_ns == 0 ? ns : (p->run_ns * 7 + ns) / 8;
    p->wanted -= p->wanted > 0;
    if (p->here && p->run_ns > goes_ns) {
        p->here = false;
        p->period = p->period < PERIOD_MAX ? p->period * 4 : PERIOD_MAX;
        p->wanted = p->period;
    } else if (!p->here && p->wanted == 0 && p->run_ns < comes_ns) {
        p->here = true;
    }
    return p->here;
}
