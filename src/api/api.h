#ifndef BERTH_API_H
#define BERTH_API_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "net/digest.h"
#include "net/server.h"

struct berth_metrics;
struct berth_plugins;
struct berth_registry;
struct berth_routes;

/*
 * Every HTTP dialect of Berth behind one struct berth_server_app: UniModel, OpenAI, the Open
 * Inference Protocol (version 2), health, metrics and administration.  It parses a body, checks it
 * completely, gives requests to the models of a registry and renders their answers.
 *
 * Threads: the app's functions run on the loop of their exchange; nothing is shared between loops
 * but counters.  What may block (registering a model) runs on one thread of the api's own.
 */
struct berth_api;

/* What a key may do; a route names the one it needs. */
enum berth_scope {
    BERTH_SCOPE_PUBLIC = 0, /* needs no key: health */
    BERTH_SCOPE_READ = 1u << 0,
    BERTH_SCOPE_INFER = 1u << 1,
    BERTH_SCOPE_MANAGE = 1u << 2,
};

enum { BERTH_API_KEY_NAME_MAX = 64 };
struct berth_api_key {
    char sha256_hex[BERTH_DIGEST_HEX]; /* of the key's text, in lower case */
    uint32_t scopes;                   /* of enum berth_scope */
    char name[BERTH_API_KEY_NAME_MAX]; /* of who has it; "": the fingerprint stands for it */
};
enum { BERTH_API_KEY_PRINT = 13 }; /* "key-1a2b3c4d" with the NUL */

/* The hash that a key of len bytes is kept as. */
void berth_api_key_hash(const char *key, size_t len, char ret[BERTH_DIGEST_HEX]);

/* berth_listen_conf.tag: what a port answers. */
enum berth_api_listener {
    BERTH_API_LISTENER_ALL,
    BERTH_API_LISTENER_METRICS, /* /metrics, /health and /ready, without a key */
};

/* A rate for each key or, without keys, each peer's address. */
struct berth_api_rate {
    uint32_t requests_per_minute; /* 0: no limit */
    uint32_t burst;               /* that many at once; at least 1 */
};

struct berth_api_conf {
    struct berth_registry *registry;
    struct berth_plugins *plugins; /* NULL: GET /v1/plugins answers an empty list */
    struct berth_deploy *deploy;   /* NULL: no services; /api/v1 says so */
    struct berth_metrics *metrics;
    struct berth_routes *routes; /* of deployed services; NULL: there are none */
    const char *version;         /* NULL: BERTH_VERSION */
    const struct berth_api_key *keys;
    size_t key_count; /* 0: whoever reaches the port may read and infer; see manage below */
    const char *const *cors_origins; /* "*" or whole origins; none: no CORS headers */
    size_t cors_origin_count;
    struct berth_api_rate rate;
    uint64_t request_timeout_ns; /* of one request, answered with 504; 0: 300 s */
    uint64_t run_timeout_ns;   /* likewise, of one that generates nothing; 0: request_timeout_ns */
    uint64_t load_wait_ns;     /* of a request for a model that is not loaded; 0: no wait, 503 */
    size_t body_bytes_max;     /* of requests with tensors or images; 0: 128 MiB */
    size_t output_bytes_max;   /* that one request's outputs may take; 0: 256 MiB */
    uint32_t image_pixels_max; /* width times height of an image sent in; 0: 100,000,000 */
    const atomic_bool *stopping; /* true: /ready and /v2/health/ready answer 503; NULL: never */
    /* True: likewise, for what the server is to serve at once is not registered yet; NULL: never.
     */
    const atomic_bool *starting;
    bool access_log;           /* a line for every request at info level; else at debug level */
    uint32_t explain_requests; /* that GET /v1/requests remembers; 0: none */
    uint32_t loops;            /* that the app's functions run on; 0: one */
};

/*
 * Everything in conf but registry, plugins, deploy, metrics, stopping and starting is copied; those
 * must outlive the api.  *ret is given to berth_api_free().  -BERTH_ECONFIG: the message names the
 * setting.
 *
 * Without keys, routes that change something (BERTH_SCOPE_MANAGE) are refused to peers that are
 * not on this machine, and to web pages of other origins that are not listed by name.
 */
int berth_api_new(const struct berth_api_conf *conf, struct berth_api **ret, struct berth_err *e);
/* Finish what runs on the api's own thread and refuse more of it: after berth_server_drain(),
 * before berth_registry_free().  Idempotent; not from a loop. */
void berth_api_stop(struct berth_api *api);
/* Stopped first.  After berth_server_free(), before the loops go.  NULL is fine. */
void berth_api_free(struct berth_api *api);
struct berth_server_app berth_api_app(struct berth_api *api);

#endif
