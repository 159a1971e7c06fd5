#ifndef BERTH_REGISTRY_H
#define BERTH_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

#include "base/buf.h"
#include "base/random.h"
#include "infer/batcher.h"
#include "infer/lifecycle.h"
#include "infer/stats.h"

struct berth_arena;
struct berth_json;
struct berth_metrics;
struct berth_model;
struct berth_plugins;
struct berth_store;
struct berth_workers;

/*
 * Every model this server knows: registered durably, loaded in the background on a pool of its
 * own, found by name or identity.  Any thread; loading never makes another model's request wait.
 */
struct berth_registry;

/* The memory that models may take, and what becomes of those that nobody uses. */
struct berth_memory_conf {
    uint64_t max_bytes;     /* all together; 0: what the machine or the control group has */
    uint64_t reserve_bytes; /* of the machine's, never promised; 0: a twentieth, 16 MiB to 2 GiB */
    uint64_t keep_alive_ns; /* unloaded when unused for so long; 0: never */
    uint64_t load_wait_ns;  /* how long a load() waits for room; 0: two minutes */
    bool unmeasured;        /* max_bytes alone counts: for tests */
};

struct berth_registry_conf {
    struct berth_store *store;
    struct berth_plugins *plugins;
    struct berth_metrics *metrics;
    struct berth_workers *workers; /* where isolated models run; NULL: none can be isolated */
    bool isolate;                  /* those that do not say otherwise too */
    uint64_t run_ns_max;           /* longest run of an isolated model that says nothing; 0: any */
    uint32_t models_max;           /* engine.max_models */
    uint32_t cores;                /* that engines may use together */
    bool ungoverned;               /* each uses all its threads at any time */
    uint32_t loaders;              /* loads at once: 2 */
    struct berth_batch_conf batch; /* defaults; a model's config may say otherwise */
    struct berth_memory_conf memory;
    uint64_t cache_bytes_max; /* of answers of models with response_cache; 0: none are kept */
};

int berth_registry_new(const struct berth_registry_conf *conf, struct berth_registry **ret,
                       struct berth_err *e);
/* Stop taking work, cut what runs (done() is posted for it), unload everything.  Loops must still
 * run.  NULL is fine. */
void berth_registry_free(struct berth_registry *g);
/* Register again what the store has, and load what was loaded.  Bad ones are kept as FAILED with
 * the reason and harm nothing else. */
int berth_registry_restore(struct berth_registry *g, struct berth_err *e);
/* New defaults for models that do not say otherwise; takes effect with the next batch. */
void berth_registry_batch_set(struct berth_registry *g, const struct berth_batch_conf *batch);

/* At once; what does not fit any more goes. */
void berth_registry_cache_set(struct berth_registry *g, uint64_t bytes_max);

struct berth_model_spec {
    const char *name;       /* letters, digits, - _ . ; 1 to 128 of them */
    const char *path;       /* a file, a folder with a model, or one with versions 1/ 2/ ... */
    const char *backend;    /* NULL or "": by the file */
    const char *model_type; /* NULL or "": by the backend: LLM, CV, Audio, Multimodal, ML, Custom */
    /* The backend's settings and Berth's own (instances, batching, labels, image, ...); NULL: none
     */
    const struct berth_json *config;
    bool ephemeral; /* not kept in the store: --model on the command line, --model-dir */
    bool no_load;   /* register only */
};

/*
 * Durable, then loading in the background.  ret_id is the identity.
 *   -BERTH_EINVAL  name, path, backend or config; the message names the field
 *   -BERTH_EEXIST  the name is taken (same spec: still so)      -BERTH_ELIMIT  models_max
 *   -BERTH_ENOENT  no such path
 */
int berth_registry_register(struct berth_registry *g, const struct berth_model_spec *spec,
                            char ret_id[BERTH_UUID_TEXT], struct berth_err *e);
/* Forget it for good: drains and unloads in the background.  -BERTH_ENOENT */
int berth_registry_unregister(struct berth_registry *g, struct berth_slice name_or_id,
                              struct berth_err *e);
/* Load again (also new settings or versions on disk: the old instance serves until the new one is
 * ready), or unload and stay registered.  Both return at once.  -BERTH_ENOENT */
int berth_registry_load(struct berth_registry *g, struct berth_slice name_or_id,
                        struct berth_err *e);
int berth_registry_unload(struct berth_registry *g, struct berth_slice name_or_id,
                          struct berth_err *e);

/*
 * Change a registered model's config by a merge patch (RFC 7386: null takes a key out).  Durable.
 * Labels, shares, batching and queues change at once; with other keys the model is loaded again in
 * the background, and the old one serves until the new one is ready: *ret_reload.
 *   -BERTH_ENOENT   -BERTH_EINVAL  the result is no right config; the message names the key
 */
int berth_registry_configure(struct berth_registry *g, struct berth_slice name_or_id,
                             const struct berth_json *patch, bool *ret_reload, struct berth_err *e);

/* The version to serve a request (version.len 0: the latest ready one), referenced: unref it.
 *   -BERTH_ENOENT  no such model or version      -BERTH_ENOTREADY  with *ret = NULL and the reason
 */
int berth_registry_find(struct berth_registry *g, struct berth_slice name_or_id,
                        struct berth_slice version, struct berth_model **ret, struct berth_err *e);

struct berth_model_version_info {
    const char *version;
    const char **labels; /* other names of it */
    size_t label_count;
    bool split;   /* requests that name no version are shared out */
    double share; /* ... and this is its part: 0 to 1 */
    enum berth_model_state state;
    bool on_demand;  /* not loaded, but a request would have it loaded */
    const char *why; /* FAILED: the reason; else "" */
    uint32_t instances;
    uint64_t
        memory_bytes; /* measured: growth of the process over the load, or the engine's figure */
    uint64_t engine_bytes; /* what the engine says; 0: nothing */
    uint64_t load_ns;      /* what the last load took */
    uint64_t loaded_wall_ns;
    bool isolated;            /* each instance has a process of its own */
    int64_t worker_pid;       /* of the first instance; 0: none now */
    uint64_t worker_restarts; /* of all instances, since it was loaded */
    bool on_loop;             /* its runs are so short that loops do them */
    uint32_t threads;         /* of an instance, at most */
    uint32_t cores_given;     /* to the last run or step, of one that runs; 0: none asked yet */
    const struct berth_describe *describe; /* copied; NULL until it was ready once */
    struct berth_version_stats stats;
};

/* A model's memory, and what becomes of it.  Numbers of 0: not known yet. */
/* What a forecast of a model's memory comes from.  The numbers are kept in the store. */
enum berth_forecast_by { BERTH_BY_FILES = 0, BERTH_BY_LOAD = 1, BERTH_BY_BACKEND = 2 };
/* "its files", "an earlier load", "its backend" */
const char *berth_forecast_by_text(enum berth_forecast_by by);

struct berth_model_memory {
    uint64_t held_bytes;
    const char *load; /* "start", "demand", "manual" */
    bool pinned, in_use;
    uint64_t keep_alive_ns; /* UINT64_MAX: for ever */
    /* Its last load: as it was expected, and as it turned out. */
    uint64_t predicted_bytes, predicted_load_ns, measured_bytes, measured_load_ns;
    enum berth_forecast_by predicted_by;
    uint32_t evicted; /* models that went for it */
    uint64_t loaded_wall_ns;
};

/* A copy in the arena, true at the time of the call. */
struct berth_model_info {
    const char *id, *name, *path, *backend, *model_type;
    const struct berth_json *config, *manifest;
    enum berth_model_state state; /* of the version that serves, or that failed last */
    const char *why;
    const char *version; /* the one served without asking; "" when none */
    const struct berth_model_version_info *versions;
    size_t version_count;
    uint64_t created_wall_ns, used_wall_ns;
    uint32_t queue_len, running;
    struct berth_batch_conf batch;
    struct berth_batch_view batching; /* of the version that serves: what was decided, and why */
    struct berth_model_stats stats;
    struct berth_model_memory memory;
    const struct berth_state_change *changes; /* the last ones, oldest first */
    size_t change_count;
    uint64_t change_total;
};
int berth_registry_info(struct berth_registry *g, struct berth_arena *a,
                        struct berth_slice name_or_id, struct berth_model_info *ret,
                        struct berth_err *e);
/* All, by name. */
int berth_registry_list(struct berth_registry *g, struct berth_arena *a,
                        struct berth_model_info **ret, size_t *ret_count, struct berth_err *e);

/* How things stand, cheaply: for /ready and /health. */
struct berth_registry_counts {
    uint32_t registered, ready, loading, failed, queued, running;
    uint32_t on_demand; /* not loaded, but a request would have it loaded */
};
struct berth_registry_counts berth_registry_counts(struct berth_registry *g);

/* Watch a folder: a model file or folder put there is registered (name without suffix), one taken
 * away is unregistered, a changed one loaded again; a bad one is reported by log and state. */
int berth_registry_watch_dir(struct berth_registry *g, const char *dir, struct berth_err *e);

#endif
