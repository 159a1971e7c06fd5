#ifndef BERTH_CONFIG_H
#define BERTH_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/backend.h>

#include "infer/batching.h"
#include "infer/pad.h"
#include "infer/versions.h"

struct berth_arena;
struct berth_json;

/* Which version folders are loaded. */
enum berth_versions { BERTH_VERSIONS_LATEST, BERTH_VERSIONS_ALL, BERTH_VERSIONS_LIST };
enum { BERTH_VERSIONS_MAX = 64, BERTH_INSTANCES_MAX = 64, BERTH_MANIFEST_BYTES_MAX = 256 * 1024 };

/* When a model is loaded: when it is registered and at start, as far as there is room, and on
 * demand; when a request comes; only when somebody says load. */
enum berth_loading { BERTH_LOADING_START, BERTH_LOADING_DEMAND, BERTH_LOADING_MANUAL };

/* A model's configuration, checked.  Everything is in the arena it was made in. */
struct berth_model_conf {
    const struct berth_json *merged; /* the manifest under the registration's config */
    const char *settings_json;       /* what is the backend's */
    uint32_t instances;
    uint32_t threads;              /* 0: not said */
    struct berth_batch_conf batch; /* of sizes and waits, what is said below */
    bool has_batch_max, has_wait, has_queue, has_mode;
    struct berth_queue_policy policy; /* of levels that have none of their own */
    uint32_t policy_levels;           /* a bit for each that has */
    struct berth_pad_conf pad;
    bool response_cache;
    enum berth_loading loading;
    bool pin;               /* never evicted */
    bool has_keep_alive;    /* else the server's */
    uint64_t keep_alive_ns; /* unloaded when unused for so long; UINT64_MAX: never */
    uint64_t memory_bytes;  /* what it needs, before it was measured; 0: not said */
    enum berth_versions versions;
    uint32_t version_latest; /* LATEST: how many, at least 1 */
    struct berth_version_routes routes;
    uint64_t version_list[BERTH_VERSIONS_MAX];
    uint32_t version_len;
    struct berth_isolation_conf {
        bool said, process;        /* `isolation` stands there, and is "process" */
        uint64_t memory_bytes_max; /* 0: no limit */
        uint64_t run_ns_max;       /* 0: not said */
        bool keep_core;
    } isolation;
};

/* The manifest of the model at path: berth.yaml, berth.yml or berth.json in it when it is a
 * folder.  *ret is NULL when there is none.  -BERTH_EINVAL with its name and the place. */
int berth_config_manifest(struct berth_arena *a, const char *path, const struct berth_json **ret,
                          struct berth_err *e);

/* Members of a, and those of b where a has none; either may be NULL. */
int berth_config_merge(struct berth_arena *arena, const struct berth_json *a,
                       const struct berth_json *b, const struct berth_json **ret,
                       struct berth_err *e);

/* Check a merged configuration against Berth's own keys and the backend's table.  -BERTH_EINVAL
 * names the key, what is expected, and for an unknown one the nearest that there is. */
int berth_config_check(struct berth_arena *a, const struct berth_json *merged,
                       const struct berth_backend_ops *ops, struct berth_model_conf *ret,
                       struct berth_err *e);

/* What the model says over the defaults. */
struct berth_batch_conf berth_config_batch(const struct berth_model_conf *c,
                                           const struct berth_batch_conf *defaults);

#endif
