#ifndef BERTH_SHIMLETS_ROLLOUT_H
#define BERTH_SHIMLETS_ROLLOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/shimlet.h>

/*
 * What to do next so that the replicas seen become those wanted, for environments that keep
 * replicas themselves.  Pure: no clock, no memory, any thread.
 *
 * New replicas (of the wanted hash) are started within surge_max; old ones are stopped when enough
 * others are ready.  A failed replica is one: who keeps it restarts it at its own pace.  One that
 * is being stopped takes a place until it is gone.  Held after every step, whatever the states:
 *   - never more than replicas + surge_max of them, unless there were already;
 *   - a ready one is stopped only when replicas - unavailable_max ready ones remain.
 * With surge_max 0 and unavailable_max >= replicas all old ones go first, and then the new ones
 * come (recreate).  Both 0 counts as unavailable_max 1.
 */
struct berth_rollout_want {
    uint32_t replicas, surge_max, unavailable_max;
    const char *hash;
    /* An index belongs to one replica at a time, old or new (a fixed port goes with it).  False: to
     * one new replica at a time, so that a roll to as many gives the same indices again. */
    bool index_exclusive;
};

struct berth_rollout_seen {
    uint32_t index;   /* of the replica in its unit: $(REPLICA) */
    const char *hash; /* that it was started for */
    enum berth_replica_state state;
};

struct berth_rollout_step {
    enum { BERTH_ROLLOUT_START, BERTH_ROLLOUT_STOP } what;
    uint32_t index; /* START: of the new replica */
    size_t at;      /* STOP: which of seen[]; drain it first */
};

/*
 * The steps of this round into steps[]: at most cap, starts first.  Take them all, then look and
 * plan again.  0: nothing to do now, either because all is as wanted or because something has to
 * get ready or go first.
 */
size_t berth_rollout_plan(const struct berth_rollout_want *want,
                          const struct berth_rollout_seen *seen, size_t seen_count,
                          struct berth_rollout_step *steps, size_t cap);

#endif
