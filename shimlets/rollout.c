#include "shimlets/rollout.h"

#include <string.h>

/* One round under way. */
struct round {
    const struct berth_rollout_want *want;
    const struct berth_rollout_seen *seen;
    size_t seen_count;
    struct berth_rollout_step *steps;
    size_t len, cap;
};

static bool
is_living(const struct berth_rollout_seen *r)
{
    return r->state != BERTH_REPLICA_STOPPING;
}

static bool
is_fresh(const struct round *o, const struct berth_rollout_seen *r)
{
    return strcmp(r->hash, o->want->hash) == 0;
}

static bool
is_ready(const struct berth_rollout_seen *r)
{
    return r->state == BERTH_REPLICA_READY;
}

/* Living replicas of a kind. */
static size_t
count(const struct round *o, bool fresh, bool ready)
{
    size_t n = 0;

    for (size_t i = 0; i < o->seen_count; i++)
        n += is_living(&o->seen[i]) && is_fresh(o, &o->seen[i]) == fresh &&
             is_ready(&o->seen[i]) == ready;
    return n;
}

static size_t
over(size_t n, size_t limit)
{
    return n > limit ? n - limit : 0;
}

static bool
is_taken(const struct round *o, uint32_t index)
{
    for (size_t i = 0; i < o->seen_count; i++) {
        const struct berth_rollout_seen *r = &o->seen[i];

        if (r->index == index && (o->want->index_exclusive || (is_living(r) && is_fresh(o, r))))
            return true;
    }
    return false;
}

static void
start(struct round *o, size_t n)
{
    for (uint32_t index = 0; n > 0 && o->len < o->cap; index++) {
        if (is_taken(o, index))
            continue;
        o->steps[o->len++] =
            (struct berth_rollout_step){.what = BERTH_ROLLOUT_START, .index = index};
        n--;
    }
}

static bool
is_chosen(const struct round *o, size_t at)
{
    for (size_t i = 0; i < o->len; i++) {
        if (o->steps[i].what == BERTH_ROLLOUT_STOP && o->steps[i].at == at)
            return true;
    }
    return false;
}

/* Stop up to n living ones of a kind, those with the highest index first; returns how many. */
static size_t
stop(struct round *o, bool fresh, bool ready, size_t n)
{
    size_t stopped = 0;

    for (; stopped < n && o->len < o->cap; stopped++) {
        size_t best = o->seen_count;

        for (size_t i = 0; i < o->seen_count; i++) {
            const struct berth_rollout_seen *r = &o->seen[i];

            if (is_living(r) && is_fresh(o, r) == fresh && is_ready(r) == ready &&
                !is_chosen(o, i) && (best == o->seen_count || r->index > o->seen[best].index))
                best = i;
        }
        if (best == o->seen_count)
            break;
        o->steps[o->len++] = (struct berth_rollout_step){.what = BERTH_ROLLOUT_STOP, .at = best};
    }
    return stopped;
}

size_t
berth_rollout_plan(const struct berth_rollout_want *want, const struct berth_rollout_seen *seen,
                   size_t seen_count, struct berth_rollout_step *steps, size_t cap)
{
    struct round o = {want, seen, seen_count, steps, 0, cap};
    const size_t all_max = (size_t)want->replicas + want->surge_max;
    const size_t may_miss =
        want->surge_max == 0 && want->unavailable_max == 0 ? 1 : want->unavailable_max;
    const size_t ready_min = over(want->replicas, may_miss);
    const size_t fresh_ready = count(&o, true, true), fresh_unready = count(&o, true, false);
    const size_t stale_ready = count(&o, false, true), stale_unready = count(&o, false, false);
    const size_t fresh = fresh_ready + fresh_unready, ready = fresh_ready + stale_ready;
    const size_t missing = over(want->replicas, fresh), room = over(all_max, seen_count);

    start(&o, missing < room ? missing : room);
    /* Too many of the wanted ones: those go first that do not serve. */
    size_t excess = over(fresh, want->replicas);
    excess -= stop(&o, true, false, excess);
    size_t spare = over(ready, ready_min); /* ready ones that can be done without */
    spare -= stop(&o, true, true, excess < spare ? excess : spare);
    /* Old ones that do not serve go as far as those left could make up ready_min again: a new
     * revision that does not come up must not cost the old one its places. */
    (void)stop(&o, false, false, over(fresh_ready + stale_ready + stale_unready, ready_min));
    (void)stop(&o, false, true, spare);
    return o.len;
}
