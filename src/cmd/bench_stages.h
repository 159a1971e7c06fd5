#ifndef BERTH_BENCH_STAGES_H
#define BERTH_BENCH_STAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * Where a server's time went, by its own account: the field Server-Timing of each answer
 * ("queue;dur=0.012, engine;dur=1.5", milliseconds).  One thread.
 */
enum { BERTH_STAGES_MAX = 12, BERTH_STAGE_NAME_MAX = 24 };

struct berth_stages {
    size_t count;
    struct {
        char name[BERTH_STAGE_NAME_MAX];
        double ms;      /* sum over the requests */
        uint64_t times; /* how many requests said it */
    } at[BERTH_STAGES_MAX];
};

/* One answer's field, into s (whose count is set to how many there are).  Entries without a
 * duration, or that do not fit, are left out. */
void berth_stages_parse(struct berth_stages *s, struct berth_slice value);
/* Add one answer's, or another sum. */
void berth_stages_add(struct berth_stages *sum, const struct berth_stages *more);

#endif
