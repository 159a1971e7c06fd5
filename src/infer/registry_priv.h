#ifndef BERTH_REGISTRY_PRIV_H
#define BERTH_REGISTRY_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "base/arena.h"
#include "infer/model_priv.h"
#include "infer/registry.h"
#include "infer/states.h"
#include "infer/versions.h"
#include "infer/waits.h"

enum { BERTH_MODEL_NAME_MAX = 128, BERTH_LOADERS_MAX = 16 };

/* A version of an entry.  Both models are references of the registry's. */
struct berth_slot {
    struct berth_version_dir dir;
    bool on_disk;
    bool wanted;                 /* by the configuration, as of the last plan */
    struct berth_model *serving; /* handed out by find() */
    struct berth_model *last;    /* loaded last; may be the same */
    uint64_t generation;         /* of the load() that `last` is for */
};

/*
 * A registered model.  The texts and the tree are constant; everything else is under the
 * registry's lock.  A loader thread that works on an entry has it for itself as far as loading and
 * freeing go.
 */
struct berth_entry {
    UT_hash_handle by_name, by_id;
    struct berth_arena arena; /* of the constant part */
    char id[BERTH_UUID_TEXT];
    const char *name, *path, *backend /* "" : by the file */, *model_type;
    const struct berth_json *config;
    bool ephemeral;
    uint64_t created_wall_ns;
    atomic_uint_least64_t used_wall_ns;
    struct berth_stats *stats;

    bool wish_loaded, gone;
    uint64_t wish, achieved; /* a load(), unload() or unregister() makes them differ */
    char why[480];           /* the last plan failed */
    char used_backend[72];   /* what the plan found */
    struct berth_slot slots[BERTH_VERSION_DIRS_MAX];
    size_t slot_len;
    /* Under the registry's jobs_mu. */
    bool queued, busy;
    struct berth_entry *job_next;
    struct berth_model_wait *waits; /* oldest first; the first one's prev is the last */
    uint32_t wait_len;
};

struct berth_watch;

struct berth_registry {
    struct berth_registry_conf conf; /* .batch under lock */
    struct berth_watchdog *watchdog;
    struct berth_cores *cores; /* NULL: ungoverned */
    pthread_mutex_t change_mu; /* over a whole register, unregister, load, unload: with the store */
    pthread_rwlock_t lock;     /* the tables and all entries; never held over a load or the store */
    struct berth_entry *by_name, *by_id;
    struct berth_series *states[BERTH_MODEL_STATE_COUNT];

    pthread_mutex_t jobs_mu;
    pthread_cond_t jobs_cond;
    struct berth_entry *jobs_first, *jobs_last; /* under jobs_mu */
    bool failed_seen, stop;
    uint32_t retiring; /* threads that stop a model */
    pthread_t loaders[BERTH_LOADERS_MAX];
    uint32_t loader_len;
    atomic_bool closing;
    atomic_uint loads_now, loads_begun; /* for measuring memory */
    struct berth_watch *watches;        /* under change_mu */
    pthread_mutex_t states_mu;          /* held for no other lock */
    struct berth_state_watch *state_watches;
};

/* A model's plan: what to load, made anew for every load. */
struct berth_plan {
    struct berth_arena arena;
    const struct berth_backend_ops *ops;
    struct berth_model_conf conf;
    struct berth_version_dirs dirs;
};
/* Look at path, manifest, backend and configuration.  Freed by berth_plan_fini(). */
int berth_plan_init(struct berth_registry *g, const char *path, const char *backend,
                    const struct berth_json *config, struct berth_plan *p, struct berth_err *e);
void berth_plan_fini(struct berth_plan *p);
bool berth_plan_wants(const struct berth_plan *p, const struct berth_version_dir *dir);
/* Take the plan's versions into the entry. */
void berth_entry_plan_locked(struct berth_entry *x, const struct berth_plan *p);

/* loader.c */
int berth_loaders_start(struct berth_registry *g, struct berth_err *e);
void berth_loaders_stop(struct berth_registry *g);
void berth_loader_queue(struct berth_registry *g, struct berth_entry *x);
void berth_registry_model_failed(void *registry);
/* Stop m on a thread of its own and drop the caller's reference. */
void berth_retire(struct berth_registry *g, struct berth_model *m);
/* Make m (a reference, given; or NULL) what was loaded last. */
void berth_slot_set_last(struct berth_slot *s, struct berth_model *m);
/* Retire what serves: all of it, or only the versions that are not wanted. */
void berth_retire_all(struct berth_registry *g, struct berth_entry *x, bool all);
void berth_entry_free(struct berth_entry *x);
void berth_registry_count_states(struct berth_registry *g);

/* info.c */
enum berth_model_state berth_slot_state(const struct berth_entry *x, const struct berth_slot *s,
                                        char why[480]);
enum berth_model_state berth_entry_state(const struct berth_entry *x, char why[480]);
struct berth_slot *berth_entry_serving(struct berth_entry *x);

/* waits.c: end every wait for x that can be ended: its model serves, or will not.  With no lock. */
void berth_waits_settle(struct berth_registry *g, struct berth_entry *x);
/* The registry goes: nobody waits any more, and no wait begins. */
void berth_waits_end_all(struct berth_registry *g);

/* registry.c: a version of x to serve with, referenced; or why not. */
int berth_entry_version_locked(struct berth_entry *x, struct berth_slice version,
                               struct berth_model **ret, struct berth_err *e);
/* The entry of this name, else of this identity; NULL. */
struct berth_entry *berth_entry_find_locked(struct berth_registry *g,
                                            struct berth_slice name_or_id);
/* -BERTH_ENOENT: there is none. */
int berth_entry_unknown(struct berth_slice name_or_id, struct berth_err *e);
/* Keep a model that cannot be registered as FAILED, with the reason; never in the
 * store. */
int berth_registry_register_broken(struct berth_registry *g, const struct berth_model_spec *spec,
                                   const char *why);

/* states.c: tell who watches.  Any thread. */
void berth_states_tell(struct berth_registry *g);

/* watch.c */
void berth_watches_stop(struct berth_registry *g);

#endif
