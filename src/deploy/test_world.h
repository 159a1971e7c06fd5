#ifndef BERTH_DEPLOY_TEST_WORLD_H
#define BERTH_DEPLOY_TEST_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "deploy/deploy.h"

struct berth_store;

/*
 * A world for the engine's tests: a virtual clock, an environment that does what a real one does
 * (replicas take time to start, roll, crash, come back) and what it does on bad days (errors, lost
 * answers, changes by others), and a process that can be killed at any call and starts again from
 * what its store has.  One thread; one world at a time (the ABI's functions have no other way to
 * it).
 */
enum { WORLD_UNITS_MAX = 32, WORLD_REPLICAS_MAX = 32 };

struct world_replica {
    uint64_t id;
    char hash[24];
    uint64_t revision, ready_ns;
    uint64_t late_ns; /* not ready by then, it has failed */
    uint64_t gone_ns; /* 0: it is not going */
    bool dead;
};
struct world_unit {
    bool exists, drifted;
    char name[64], service_id[112], track[16], hash[24], model_path[64];
    char image[64]; /* "": none */
    uint32_t desired, surge_max, unavailable_max;
    uint64_t revision, start_timeout_ns;
    struct world_replica replicas[WORLD_REPLICAS_MAX];
    size_t replica_count;
};
struct world {
    uint64_t seed, random, now_ns;
    struct world_unit units[WORLD_UNITS_MAX];
    uint64_t next_replica;
    /* Bad days, in percent of calls. */
    uint32_t error_percent, lost_percent, slow_percent;
    void (*meanwhile)(struct world *w); /* called within each call of the environment; or NULL */
    uint64_t start_ns_max;              /* a replica's start takes up to that */
    const char *broken_model;           /* replicas of this one never get ready */
    uint32_t scaled;                    /* what it chooses where it may; 0: what is wished for */
    void (*drained)(struct world *w, const struct berth_op *op); /* a machine is to be emptied */
    char broken_hash[24];               /* ... or of this unit */
    bool watches, offline, sees_files;
    const char *settings_json; /* of the environment, from the next start on; NULL: none */
    uint64_t dies_in;          /* calls until the process is killed; 0: it is not */
    bool dead;                 /* it was: nothing that it does counts any more */
    uint64_t calls, applies, removes, restarts;
    const struct berth_shimlet_host *host;
    void *who;
    struct berth_store *store, *kept; /* kept: as the store was when it died */
    struct berth_deploy *d;
    struct berth_deploy_conf conf;
    struct berth_deploy_clock clock;
};
extern struct world *world;

void world_init(struct world *w, uint64_t seed);
void world_fini(struct world *w);
/* Start the control plane from the store; world_kill() ends it at once, as kill -9 does. */
void world_start(struct world *w);
void world_kill(struct world *w);
uint64_t world_random(struct world *w);
bool world_chance(struct world *w, uint32_t percent);
struct world_unit *world_unit_of(struct world *w, const char *service_id, const char *track);
uint32_t world_ready(const struct world *w, const struct world_unit *u);
/* Something of this control plane's that it has not asked for, or not any more; NULL: no room. */
struct world_unit *world_leave(struct world *w, const char *service_id, const char *track);
/* Something about the unit changed: an environment that watches says so. */
void world_changed(struct world *w, const struct world_unit *u);
/* Turn the engine until nothing is due before now + ns; killed and started again on the way. */
void world_run(struct world *w, uint64_t ns);
/* A spec from JSON; in the arena. */
void world_spec(struct world *w, const char *json, struct berth_arena *a, struct berth_spec *ret);

#endif
