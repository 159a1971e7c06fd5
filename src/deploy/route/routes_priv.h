#ifndef BERTH_DEPLOY_ROUTES_PRIV_H
#define BERTH_DEPLOY_ROUTES_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "base/arena.h"
#include "deploy/route/routes.h"

/*
 * What routes.c (publishing), route_snapshot.c (what is held of it), route_list.c (looking) and
 * trips.c (requests) share.  Locks: berth_routes.mu before a
 * service's mu; the first is held for finding and counting snapshots, the second for choosing.
 */
enum { BERTH_ROUTE_STATUSES_MAX = 16 };

struct berth_series;

/* Of one replica, for as long as a snapshot names it. */
struct berth_route_shared {
    UT_hash_handle hh;
    struct berth_balance_replica b; /* under the service's mu, as everything here */
    uint32_t refs;                  /* snapshots */
    bool named;                     /* by the publication under way */
    uint64_t requests;
    struct berth_series *in_flight, *breaker;
    /* By status, at hand; what does not fit is looked up. */
    uint16_t statuses[BERTH_ROUTE_STATUSES_MAX];
    struct berth_series *answered[BERTH_ROUTE_STATUSES_MAX];
    char *id;
};

struct berth_route_record {
    UT_hash_handle by_id, by_name;
    struct berth_routes *routes;
    uint64_t number; /* in the order of first publication */
    char *id, *name; /* name: the present snapshot's */
    bool owns_name;
    struct berth_route_snapshot *now; /* NULL: removed, and there for requests under way */
    uint32_t snapshots;               /* alive; under routes->mu */
    pthread_mutex_t mu;
    pthread_cond_t idle; /* a draining replica has nothing in flight */
    uint32_t drains;     /* that wait just now */
    struct berth_balance balance;
    struct berth_route_shared *replicas;             /* by id */
    struct berth_series *seconds[BERTH_TRACK_COUNT]; /* NULL: not made yet */
};

struct berth_route_snapshot {
    struct berth_arena arena; /* all that the members point to */
    struct berth_route_record *of;
    uint32_t refs; /* under routes->mu */
    struct berth_route_service service;
    uint32_t weights[BERTH_TRACK_COUNT];
    struct berth_route_replica *replicas;
    struct berth_route_shared **shared;      /* one for each of them */
    struct berth_balance_replica **balanced; /* likewise, as balance.h wants them */
    size_t count;
};

struct berth_routes {
    struct berth_routes_conf conf; /* balance: filled in */
    pthread_mutex_t mu;
    struct berth_route_record *by_id, *by_name; /* by_name: those that own their name */
    uint64_t numbers;
    atomic_uint published;
};

/* Of what is to be published: not bound to a record, one reference.
 *   -BERTH_EINVAL an endpoint that is none; -BERTH_ENOMEM */
int berth_route_snapshot_new(const struct berth_routed_service *from,
                             struct berth_route_snapshot **ret, struct berth_err *e);
void berth_route_snapshot_free(struct berth_route_snapshot *s);
/* By id; NULL: none.  Under routes->mu. */
struct berth_route_record *berth_routes_find_locked(const struct berth_routes *r, const char *id);
/* Give a reference back; the last one takes the snapshot along, and maybe its record. */
void berth_route_snapshot_unref(struct berth_route_snapshot *s);
/* What a gauge shows, after a change.  Under the service's mu. */
void berth_route_show_locked(const struct berth_route_shared *s);

#endif
