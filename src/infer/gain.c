#include "infer/gain.h"

enum {
    COSTS_SEEN_MIN = 4,
    PROBE_PERIOD_MIN = 16,
    PROBE_PERIOD_MAX = 256,
    MEASURING_RUNS_MAX = 8, /* batches in a row while it is not known what a run alone costs */
    ALONE_RUNS_MIN = 32,    /* then a batch is tried */
    ALONE_RUNS_MAX = 256,
    BATCH_RUNS_MAX = 256 /* then a request runs alone */
};
/* A share of a batch that is at least this much of a single run is no gain; one that has been
 * decided to be a gain must lose more than that, lest noise turn the choice about. */
static const double no_gain = 0.8, lost_gain = 0.9;
/* What a run costs beside the engine's part: it is taken from the queue, counted and observed. */
static const double own_ns = 1000;

void
berth_gain_init(struct berth_gain *g)
{
    *g = (struct berth_gain){
        .expected = UINT32_MAX, .probe_period = PROBE_PERIOD_MIN, .alone_runs = ALONE_RUNS_MIN};
}

/* Other programs can make a run of 30 us take 4 ms, but none can make it shorter.  So the first
 * figure is the least of some runs (the very first one finds cold caches, too), and a longer run
 * counts as twice the average at most. */
static void
average(double *at, uint32_t *count, double v)
{
    if (*count < COSTS_SEEN_MIN) {
        *at = *count == 0 || v < *at ? v : *at;
        ++*count;
        return;
    }
    *at += 0.2 * ((v < 2 * *at ? v : 2 * *at) - *at);
}

static void
decide(struct berth_gain *g)
{
    enum berth_gain_choice choice = g->choice;

    if (g->single_count < COSTS_SEEN_MIN || g->shared_count < COSTS_SEEN_MIN)
        return;
    if (g->shared_ns >=
        (choice == BERTH_GAIN_BATCH ? lost_gain : no_gain) * (g->single_ns + own_ns))
        choice = BERTH_GAIN_ALONE;
    else
        choice = BERTH_GAIN_BATCH;
    if (choice == g->choice)
        return;
    g->changes += g->choice != BERTH_GAIN_MEASURING;
    g->choice = choice;
    g->stale = 0;
    g->alone_runs = ALONE_RUNS_MIN;
}

void
berth_gain_ran(struct berth_gain *g, uint32_t n, uint64_t run_ns)
{
    if (n == 0)
        return;
    if (n == 1)
        average(&g->single_ns, &g->single_count, (double)run_ns);
    else
        average(&g->shared_ns, &g->shared_count, (double)run_ns / n);
    if ((n == 1) == (g->choice == BERTH_GAIN_ALONE))
        g->stale += g->stale < UINT32_MAX;
    else
        g->stale = 0;
    const enum berth_gain_choice was = g->choice;
    decide(g);
    if (n > 1 && was == BERTH_GAIN_ALONE && g->choice == was && g->alone_runs < ALONE_RUNS_MAX)
        g->alone_runs *= 2;
}

void
berth_gain_took(struct berth_gain *g, uint32_t n, bool waited)
{
    if (waited) {
        if (n != g->expected)
            g->probe_period = PROBE_PERIOD_MIN;
        else if (g->probe_period < PROBE_PERIOD_MAX)
            g->probe_period *= 2;
        g->expected = n;
        g->probe_in = g->probe_period;
        return;
    }
    if (n > g->expected) {
        g->expected = n;
        g->probe_period = PROBE_PERIOD_MIN;
    }
    if (g->probe_in > 0)
        g->probe_in--;
}

uint64_t
berth_gain_wait_ns(const struct berth_gain *g, uint64_t max_ns)
{
    if (g->choice == BERTH_GAIN_ALONE || g->single_count < COSTS_SEEN_MIN)
        return 0;
    const uint64_t run_ns = (uint64_t)g->single_ns;
    return run_ns < max_ns ? run_ns : max_ns;
}

uint32_t
berth_gain_requests_max(const struct berth_gain *g, uint32_t max)
{
    switch (g->choice) {
    case BERTH_GAIN_MEASURING: /* under load nobody runs alone by itself */
        return g->single_count < COSTS_SEEN_MIN && g->stale >= MEASURING_RUNS_MAX ? 1 : max;
    case BERTH_GAIN_BATCH:
        return g->stale < BATCH_RUNS_MAX ? max : 1;
    case BERTH_GAIN_ALONE:
        return g->stale < g->alone_runs ? 1 : max;
    }
    return max;
}

bool
berth_gain_enough(const struct berth_gain *g, uint32_t n)
{
    return g->probe_in > 0 && n >= g->expected;
}

const char *
berth_gain_name(enum berth_gain_choice c)
{
    static const char *const names[] = {
        [BERTH_GAIN_MEASURING] = "measuring",
        [BERTH_GAIN_BATCH] = "batch",
        [BERTH_GAIN_ALONE] = "alone",
    };

    return names[c];
}
