#ifndef BERTH_DEPLOY_ROUTES_H
#define BERTH_DEPLOY_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "deploy/route/balance.h"

struct berth_forward_end;
struct berth_jw;
struct berth_metrics;

/*
 * Model name -> service -> tracks -> replicas: where requests for deployed services go.  The engine
 * publishes a service as a whole whenever something about it changes; what it publishes is an
 * immutable snapshot that requests hold on to.  What replicas share (in flight, breakers) outlives
 * snapshots and belongs to a service, under one short lock.
 *
 * Names: a service is found by its name or its id.  Of two services of one name the older has it. A
 * model of the registry wins over both: the api asks the registry first.
 *
 * Threads: any, unless said.  Nothing here waits but berth_routes_drain().
 */
struct berth_routes;

enum {
    BERTH_ROUTES_SERVICES_MAX = 10000,
    BERTH_ROUTES_REPLICAS_MAX = 1024, /* of a service */
    BERTH_TRIES_MAX = 3,              /* of one request */
    BERTH_ROUTES_HOLD_S = 5,          /* see berth_routes_drain() */
};

struct berth_routes_conf {
    struct berth_metrics *metrics; /* NULL: none */
    struct berth_balance_conf balance;
    /* Is a model of that name registered here?  For a warning in descriptions; NULL: never. */
    bool (*is_local)(void *arg, const char *name);
    void *arg;
};
int berth_routes_new(const struct berth_routes_conf *conf, struct berth_routes **ret,
                     struct berth_err *e);
/* No trip is under way.  NULL is fine. */
void berth_routes_free(struct berth_routes *r);

/* ---- the engine's side ---- */

struct berth_routed_replica {
    const char *id;          /* never used again for another one */
    const char *endpoint;    /* "http://10.0.0.7:8080/base"; NULL: it gets no requests */
    const char *served_name; /* that this one knows; NULL: the service's */
    enum berth_track track;
    bool ready;
    const char *ca_path;       /* its own, before the service's; NULL: that one */
    const char *authorization; /* likewise */
};

/* What is published; copied.  Zeros are defaults. */
struct berth_routed_service {
    const char *id;
    const char *name;                    /* that clients ask for */
    const char *served_name;             /* that the replicas know; NULL: name */
    uint32_t weights[BERTH_TRACK_COUNT]; /* relative to each other; all 0: stable has all */
    const struct berth_routed_replica *replicas;
    size_t replica_count;
    const char *authorization; /* sent to the replicas: "Bearer ..."; NULL: none */
    const char *ca_path;       /* PEM, whom to believe for https; NULL: the system's */
    const char *allow;       /* names of keys with blanks between; "*": any; NULL: no matter who */
    bool has_side_effects;   /* a request must not reach two replicas */
    uint64_t connect_ns_max; /* 2 s */
    uint64_t first_ns_max;  /* until an answer begins; 0: of a stream as silent_ns_max, else as long
                               as the request may take */
    uint64_t silent_ns_max; /* within an answer: 120 s */
};
/* In place of what was published for that id.  A replica that is not named any more gets no new
 * requests; those under way end in peace.
 *   -BERTH_EINVAL an endpoint that is none, or two replicas of one id; -BERTH_ELIMIT; -BERTH_ENOMEM
 */
int berth_routes_publish(struct berth_routes *r, const struct berth_routed_service *s,
                         struct berth_err *e);
/* Of an unknown one: nothing. */
void berth_routes_remove(struct berth_routes *r, const char *service_id);
/*
 * No new requests to this replica, and wait until none is in flight, limit_ns at most.  It gets
 * requests again when it is published as ready after that: then it was not ended after all.  When
 * none was in flight any more, not before BERTH_ROUTES_HOLD_S: who drained it is about to end it,
 * and who publishes may not have seen that yet.
 * Not from a loop.  Returns how many still are: 0 when it was unknown.
 */
uint32_t berth_routes_drain(struct berth_routes *r, const char *service_id, const char *replica_id,
                            uint64_t limit_ns);
/* {"name","warning":null|text,"replicas":[{"id","track","ready","draining",
 * "inFlight","breaker","requests"}]} of a service, or null. */
void berth_routes_put(struct berth_routes *r, const char *service_id, struct berth_jw *w);

/* ---- the api's side ---- */

/* A replica as a request sees it. */
struct berth_route_replica {
    const char *id;
    const char *origin;      /* "http://10.0.0.7:8080" */
    const char *base;        /* "" or "/base" */
    const char *served_name; /* that it knows the model by */
    enum berth_track track;
    const char *ca_path, *authorization; /* its own, else the service's */
};

/* A service as it was when the request came. */
struct berth_route_service {
    const char *id, *name, *served_name, *authorization, *ca_path;
    const char *allow; /* see berth_access_allows() */
    bool has_side_effects;
    uint64_t connect_ns_max, first_ns_max, silent_ns_max;
};

/*
 * One request on its way through a service: find it, then for each try next(), answered(), done();
 * then end().  Caller's memory; zeroed is fine to end.
 */
struct berth_trip {
    const struct berth_route_service *service;
    const struct berth_route_replica *replica; /* between next() and done() */
    uint32_t tries;
    /* private */
    struct berth_route_snapshot *snapshot;
    struct berth_routes *routes;
    struct berth_balance_replica *tried[BERTH_TRIES_MAX];
    uint64_t begin_ns;
    bool probe, in_flight;
};

/* Is anything published at all?  One load. */
bool berth_routes_are(const struct berth_routes *r);
/* By name or id.  -BERTH_ENOENT: none. */
int berth_trip_find(struct berth_trip *t, struct berth_routes *r, struct berth_slice name);
/* Choose a replica: the first, or another one, which costs the service's retry budget.
 *   -BERTH_ENOTREADY  none is ready, or all failed lately; the message says which
 *   -BERTH_EAGAIN     the budget is spent, or it was tried BERTH_TRIES_MAX times */
int berth_trip_next(struct berth_trip *t, uint64_t now_ns, struct berth_err *e);
/* Would next() find another replica now, and the budget for it? */
bool berth_trip_can_go_on(const struct berth_trip *t, uint64_t now_ns);
/* The answer begins, with a status that is not retried. */
void berth_trip_answered(struct berth_trip *t, uint64_t now_ns);
/* What became of the try.  t->replica is kept for messages. */
void berth_trip_done(struct berth_trip *t, const struct berth_forward_end *end, uint64_t now_ns);
/* The request is answered, or its client left. */
void berth_trip_end(struct berth_trip *t, uint64_t now_ns);

/* What clients may ask for: calls each() for every service with a ready replica, in the order of
 * their publication; under the lock, so copy and go.  allow: as in berth_routed_service. */
void berth_routes_each(struct berth_routes *r,
                       void (*each)(void *arg, const char *name, const char *allow), void *arg);

/* ---- pure, for tests and fuzzers ---- */

/* "http://host:8080/base/" -> "http://host:8080" and "/base".  The texts lie in out, which has room
 * for strlen(endpoint) + 2.  False: it is none, or has a user, a query or a fragment. */
bool berth_endpoint_split(const char *endpoint, char *out, const char **ret_origin,
                          const char **ret_base);

#endif
