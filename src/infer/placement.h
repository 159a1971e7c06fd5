#ifndef BERTH_PLACEMENT_H
#define BERTH_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Where a model's runs happen: on its instances' threads, or on the loops that parsed the requests.
 * A hand-over to another thread and back costs more than a small run, so what was seen to be small
 * runs on the loop, and goes back to the threads when it grows.  Pure; times in ns.
 */
struct berth_placement {
    bool here;       /* on the loop */
    uint32_t wanted; /* runs to see until it may be */
    uint32_t period; /* of these the next time: more, the more often it went back */
    uint64_t run_ns; /* moving average */
    bool odd;        /* the last run took much longer than that */
};

void berth_placement_init(struct berth_placement *p);
/* A run took run_ns.  Returns p->here. */
bool berth_placement_ran(struct berth_placement *p, uint64_t run_ns);

#endif
