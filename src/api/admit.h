#ifndef BERTH_API_ADMIT_H
#define BERTH_API_ADMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "base/buf.h"

struct berth_exchange;
struct berth_fault;

/*
 * Who may come in: keys with scopes, the rule for servers without keys, origins of web pages, and
 * rates.  Read-only after init, but for the rates' cells, which are atomic.
 */
enum { BERTH_RATE_CELLS = 4096 };

struct berth_admit {
    const struct berth_api_key *keys;
    size_t key_count;
    const char *const *origins;
    size_t origin_count;
    uint64_t interval_ns, burst_ns; /* of the rate; 0: no limit */
    /* When the next request of whoever hashes here would be on time (CLOCK_MONOTONIC). */
    _Atomic uint64_t cells[BERTH_RATE_CELLS];
};

void berth_admit_init(struct berth_admit *a, const struct berth_api_conf *conf);

/* The key of a request: Authorization: Bearer or X-API-Key; empty when there is none. */
struct berth_slice berth_admit_key(const struct berth_exchange *x);
/* A number that stands for a key, never 0; different keys' are, as good as always, different. */
uint64_t berth_admit_who_hash(struct berth_slice key);
/* The scopes of a key's text; 0 when nobody has that key.  Takes the same time for every key. */
uint32_t berth_admit_scopes(const struct berth_admit *a, struct berth_slice key);
/* The first key of that text; NULL: nobody has it.  Takes the same time for every key. */
const struct berth_api_key *berth_admit_find(const struct berth_admit *a, struct berth_slice key);
/* What a key is called where it must not be shown: "key-" and the beginning of its hash. */
void berth_admit_print(const struct berth_api_key *key, char ret[BERTH_API_KEY_PRINT]);
/* What to answer in Access-Control-Allow-Origin for a page of that origin; empty: nothing.
 * NUL-ended. */
struct berth_slice berth_admit_origin(const struct berth_admit *a, struct berth_slice origin,
                                      bool *ret_by_name);

struct berth_admit_who {
    struct berth_slice key;    /* or empty */
    struct berth_slice origin; /* the page that asks; or empty */
    struct berth_slice host;   /* the server as the client names it */
    const char *peer;          /* "address:port" */
    bool loopback;
};
/* 0, or the code and *ret filled: -BERTH_EAUTH, -BERTH_EPERM. */
int berth_admit_check(const struct berth_admit *a, enum berth_scope scope,
                      const struct berth_admit_who *who, struct berth_fault *ret);
/* 0, or how many seconds to wait before the next try. */
uint32_t berth_admit_rate(struct berth_admit *a, const struct berth_admit_who *who,
                          uint64_t now_ns);

#endif
