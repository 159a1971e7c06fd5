#ifndef BERTH_DEPLOY_ACCESS_H
#define BERTH_DEPLOY_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* May the key of these names ask (print: its fingerprint, which names it as well)?  allow: names
 * with blanks between, "*" for any key; NULL: everybody.  NULL for both: nobody showed a key. */
bool berth_access_allows(const char *allow, const char *name, const char *print);

/*
 * Who asked services that are not for everybody, in sums: of a service, a caller and a decision.
 * The first time is due at once; more of the same a minute later, then after pauses that grow to an
 * hour, so that no caller, however busy, crowds other events out.  Pure; the caller has the lock.
 */
enum {
    BERTH_ACCESS_SUMS_MAX = 512, /* callers told apart; those beyond it are one */
    BERTH_ACCESS_WHO_MAX = 128,
};

struct berth_access_sum {
    char service_id[112], who[BERTH_ACCESS_WHO_MAX]; /* who: a key's name, or an address */
    char peer[64];                                   /* of the first time */
    bool granted, known;                             /* known: who is a key's name */
    uint64_t count;                                  /* since it was told last */
    uint64_t since_ns;                               /* when that was; 0 in the first one */
    /* private */
    uint64_t hash, due_ns, pause_ns;
    uint16_t next; /* of its bucket; as first[] */
};

struct berth_access_sums {
    struct berth_access_sum at[BERTH_ACCESS_SUMS_MAX];
    size_t len;
    uint64_t others; /* of callers beyond that */
    /* private */
    uint64_t compared;                     /* sums, to find others */
    uint16_t first[BERTH_ACCESS_SUMS_MAX]; /* by hash: 1 + a place in at[]; 0: none */
};

/* One more.  who NULL: nobody known, and the address of `peer` ("ADDRESS:PORT") stands for it.
 * True: there is something to be told at once. */
bool berth_access_add(struct berth_access_sums *s, const char *service_id, const char *who,
                      const char *peer, bool granted, uint64_t now_ns);
/* The next sum that is due, which begins anew; false: none is, *ret_next_ns: when (UINT64_MAX:
 * never).  Sums that were 0 for their pause are forgotten.  all: whatever is not told yet. */
bool berth_access_take(struct berth_access_sums *s, bool all, uint64_t now_ns,
                       struct berth_access_sum *ret, uint64_t *ret_next_ns);

/* ---- with a thread that writes them as events; access.c ---- */

struct berth_deploy;
struct berth_access;
/* NULL: no memory. */
struct berth_access *berth_access_new(struct berth_deploy *d);
/* What is not told is; no thread after this.  Idempotent. */
void berth_access_stop(struct berth_access *x);
void berth_access_free(struct berth_access *x); /* stopped; NULL is fine */

#endif
