#include "infer/placement.h"

enum { PERIOD_MIN = 16, PERIOD_MAX = 65536 };
/* It comes below the one and goes above the other, so that what is between them stays put.  A run
 * that lost its core for a while says nothing about the model, so a single long one counts as twice
 * the average; a second in a row is believed, up to the third figure, which is enough to go. */
static const uint64_t comes_ns = 100000, goes_ns = 200000, counts_ns = 2000000;

void
berth_placement_init(struct berth_placement *p)
{
    *p = (struct berth_placement){.wanted = PERIOD_MIN, .period = PERIOD_MIN};
}

bool
berth_placement_ran(struct berth_placement *p, uint64_t run_ns)
{
    const bool was_odd = p->odd;
    uint64_t ns = run_ns < counts_ns ? run_ns : counts_ns;

    p->odd = p->run_ns != 0 && run_ns > comes_ns && run_ns > 2 * p->run_ns;
    if (p->odd && !was_odd)
        ns = 2 * p->run_ns;
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
