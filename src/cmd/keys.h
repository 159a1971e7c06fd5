#ifndef BERTH_KEYS_H
#define BERTH_KEYS_H

#include <stddef.h>

#include <berth/err.h>

struct berth_api_key;
struct berth_conf;

/* The keys of a configuration, hashed.  None: nobody needs one. */
struct berth_keys {
    struct berth_api_key *at; /* ours */
    size_t count;
};

/* -BERTH_ECONFIG: a key that cannot be read, or authentication is on and there is no key. */
int berth_keys_init(struct berth_keys *k, const struct berth_conf *conf, struct berth_err *e);
void berth_keys_fini(struct berth_keys *k);

#endif
