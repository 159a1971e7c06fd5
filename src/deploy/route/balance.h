#ifndef BERTH_DEPLOY_BALANCE_H
#define BERTH_DEPLOY_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct berth_forward_end;

/*
 * Which replica of a service gets the next request, whether a failed one is tried again, and which
 * replica gets none for a while.  Pure: time is passed in, nothing waits, nobody else is asked.
 * Whoever shares these structs between threads locks them.
 *
 * - The share of a track (stable, canary) is exact: of any ten requests one goes to a canary of
 *   10 %.  A track that has no replica to give leaves its share to the other.
 * - Within a track: fewest requests in flight, then the longest without one.
 * - A replica's breaker opens after several failures in a row, or when too many of its last
 *   requests failed; after a while (twice as long each time) one request is let through, and what
 *   becomes of it closes the breaker or opens it again.
 * - Retries come out of a budget that requests fill, so that a service that is broken as a whole is
 *   not asked much more often than it is wanted.
 */
enum berth_track { BERTH_TRACK_STABLE, BERTH_TRACK_CANARY, BERTH_TRACK_COUNT };
const char *berth_track_name(enum berth_track t); /* "stable", "canary" */

struct berth_balance_conf {
    uint32_t row_max;              /* failures in a row that open a breaker: 5 */
    uint32_t failed_permille;      /* of the requests of a window: 500 */
    uint32_t window_len_min;       /* fewer say nothing: 20 */
    uint64_t window_ns;            /* 10 s */
    uint64_t open_ns, open_max_ns; /* the first time, at most: 1 s, 60 s */
    uint32_t retry_permille;       /* of requests, over time: 200 */
    uint32_t retry_reserve;        /* that there are at the start: 100 */
    uint32_t retry_reserve_max;    /* saved up when nothing fails: 1,000 */
};
/* The numbers above for every member that is 0. */
struct berth_balance_conf berth_balance_conf(struct berth_balance_conf asked);

enum berth_breaker_state { BERTH_BREAKER_CLOSED, BERTH_BREAKER_PROBING, BERTH_BREAKER_OPEN };
const char *berth_breaker_state_name(enum berth_breaker_state s);

/* What one request said of its replica. */
enum berth_verdict { BERTH_VERDICT_GOOD, BERTH_VERDICT_BAD, BERTH_VERDICT_NONE };

struct berth_breaker {
    enum berth_breaker_state state;
    uint32_t row; /* failures since the last success */
    struct {
        uint64_t begin_ns;
        uint32_t len, failed;
    } windows[2];               /* the present one, the one before */
    uint64_t open_ns, until_ns; /* how long it was opened for last; until when */
    uint64_t closed_ns;         /* when it was closed last; 0: never opened */
};

/* One replica: members of the first group are its owner's to set. */
struct berth_balance_replica {
    enum berth_track track;
    bool ready, draining;
    uint64_t out_until_ns; /* before that it gets nothing, ready or not */
    struct berth_breaker breaker;
    uint32_t in_flight;
    uint64_t last_pick; /* number of the pick; 0: never */
};

/* What a service's replicas share.  berth_balance_init() first. */
struct berth_balance {
    int64_t credit[BERTH_TRACK_COUNT];
    uint64_t picks;
    uint64_t retry_permille; /* the budget, in thousandths of a retry */
};
void berth_balance_init(struct berth_balance *b, const struct berth_balance_conf *conf);

struct berth_balance_ask {
    struct berth_balance_replica *const *replicas;
    size_t count;
    const uint32_t *weights;                    /* of each track; 0: it gets none */
    struct berth_balance_replica *const *tried; /* not these again; the first says the track */
    size_t tried_count;
    uint64_t now_ns;
};
/* The one to take, counted as in flight until berth_balance_done(), or NULL: none may be asked now.
 * *ret_probe: it decides over its breaker, and is to be said to done(). */
struct berth_balance_replica *
berth_balance_pick(struct berth_balance *b, const struct berth_balance_ask *ask, bool *ret_probe);
/* Would there be one? */
bool berth_balance_has(const struct berth_balance_ask *ask);
void berth_balance_done(struct berth_balance_replica *r, const struct berth_balance_conf *conf,
                        enum berth_verdict verdict, bool probe, uint64_t now_ns);
/* The probe's answer has begun, and is no failure: that is enough, it may go on for long.  It is no
 * probe any more. */
void berth_balance_answered(struct berth_balance_replica *r, uint64_t now_ns);
/* When, at the earliest, one of these that is ready can be asked again; 0: none is ready. */
uint64_t berth_balance_again_ns(const struct berth_balance_ask *ask);

/* A new request: it adds to the budget. */
void berth_balance_fill(struct berth_balance *b, const struct berth_balance_conf *conf);
/* Is there a retry in it?  Then it may be taken. */
bool berth_balance_affords(const struct berth_balance *b);
void berth_balance_spend(struct berth_balance *b);

/* ---- rules over what became of an attempt ---- */

/* Does the replica say, by status, that it cannot do this now (429, 502, 503, 504)?  Then another
 * one is asked, where there is one. */
bool berth_status_is_retried(uint16_t status);
/*
 * May the request be sent to another replica?  Only as long as nothing of an answer was passed on.
 *   nothing was sent (refused, unreachable, TLS failed)        always
 *   429, 503: the replica says that it did nothing             always
 *   502, 504, the connection ended early, no right HTTP        if it is repeatable
 *   a deadline passed                                          never: the client has waited long
 *                                                              enough, the replica may still work
 * Repeatable: GET, HEAD, and POST of inference, which computes and changes nothing, unless the
 * service says that its requests have side effects.
 */
bool berth_retry_is_safe(const struct berth_forward_end *end, bool repeatable);
/* A client that left says nothing, nor does an answer that was begun and took longer than we let
 * it; every other failure is the replica's. */
enum berth_verdict berth_verdict_of(const struct berth_forward_end *end);

#endif
