#ifndef BERTH_REGISTRY_PRIV_H
#define BERTH_REGISTRY_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#include "base/arena.h"
#include "infer/ledger.h"
#include "infer/model_priv.h"
#include "infer/registry.h"
#include "infer/room.h"
#include "infer/states.h"
#include "infer/versions.h"
#include "infer/waits.h"

enum { BERTH_MODEL_NAME_MAX = 128, BERTH_LOADERS_MAX = 16 };

/* What loaders do first: what somebody waits for, what is to be, what waits for room. */
enum berth_jobs { BERTH_JOBS_DEMAND, BERTH_JOBS_WISH, BERTH_JOBS_BLOCKED, BERTH_JOBS_COUNT };

/* What a load needs, or needed. */
struct berth_forecast {
    uint64_t bytes, load_ns;
    uint64_t
        least_bytes;  /* a guess may be lowered to this, so that it keeps nothing out for good */
    uint32_t evicted; /* models that had to go */
    enum berth_forecast_by by;
    uint64_t wall_ns; /* 0: there was none */
};

/* A version of an entry.  Both models are references of the registry's. */
struct berth_slot {
    struct berth_version_dir dir;
    bool on_disk;
    bool wanted;                 /* by the configuration, as of the last plan */
    struct berth_model *serving; /* handed out by find() */
    struct berth_model *last;    /* loaded last; may be the same */
    uint64_t generation;         /* of the load() that `last` is for */
};

/* A registration's config.  The tree is constant. */
struct berth_entry_config {
    atomic_uint refs;
    struct berth_arena arena;
    const struct berth_json *tree;
};

/*
 * A registered model.  The texts are constant; everything else is under the
 * registry's lock.  A loader thread that works on an entry has it for itself as far as loading and
 * freeing go.
 */
struct berth_entry {
    UT_hash_handle by_name, by_id;
    struct berth_arena arena; /* of the constant part */
    char id[BERTH_UUID_TEXT];
    const char *name, *path, *backend /* "" : by the file */, *model_type;
    struct berth_entry_config *config; /* a reference; replaced by configure() */
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
    struct berth_version_routes routes;
    atomic_uint_least64_t ticket; /* of requests that name no version */

    /* Memory: room.c. */
    struct berth_ledger_item item;
    atomic_uint_least64_t uses; /* finds; uses_seen: those that the ledger knows of */
    uint64_t uses_seen;
    uint64_t known_bytes, known_load_ns;       /* as measured by its last load; 0: never */
    struct berth_forecast predicted, measured; /* of its last load */
    enum berth_loading loading;
    uint64_t keep_alive_ns; /* 0: never unloaded for want of use */
    char room_why[480];     /* it is not loaded because; "" */
    bool asked;             /* load() was called: others may go for it */
    int failed_code;        /* of its last load; 0: it went well */
    uint64_t failed_ns;

    /* Under the registry's jobs_mu. */
    bool queued, busy;
    bool retried;         /* it is tried again after a wait for room */
    enum berth_jobs list; /* while queued and not busy */
    struct berth_entry *job_next, *job_prev;
    uint64_t blocked_ns;            /* since when it waits for room; 0: it does not */
    struct berth_model_wait *waits; /* oldest first; the first one's prev is the last */
    uint32_t wait_len;
};

struct berth_watch;
struct berth_jw;

/* What the loads of a backend taught about its files. */
struct berth_lesson {
    char backend[72];
    uint64_t permille; /* memory by file size, of large files */
    uint64_t base;     /* memory of small files, less their size */
    uint64_t bytes_per_s;
    bool begun; /* in this process: its engine's own start has been paid for */
};
enum { BERTH_LESSONS_MAX = 32, BERTH_SEEN_MAX = 128 };

/* What the files at a path took with certain settings; place 0: nothing. */
struct berth_seen {
    uint64_t place, bytes, load_ns;
};

/* The registry's account of memory: room.c.  Under the registry's lock. */
/* When malloc()'s kept memory is given back (room_trim.c). */
struct berth_trim {
    uint64_t
        rest_bytes; /* resident, not in use, and there after the last trim: that does not help */
    uint64_t looked_ns;
};

struct berth_room {
    struct berth_ledger ledger;
    uint64_t measured_ns;     /* when the machine was looked at */
    uint64_t going_bytes;     /* of the account, what models have that are being stopped */
    uint64_t untrimmed_bytes; /* unloaded since malloc's memory was given back */
    struct berth_trim trim;
    struct berth_lesson lessons[BERTH_LESSONS_MAX];
    size_t lesson_len;
    struct berth_seen seen[BERTH_SEEN_MAX]; /* a ring: the oldest goes first */
    size_t seen_next;
    bool dirty; /* something to be kept in the store */
    uint64_t saved_ns;
    struct berth_series *sums[6], *evictions[6], *braked, *refused, *demand_loads, *waiting,
        *wait_seconds;
};

struct berth_registry {
    struct berth_registry_conf conf; /* .batch under lock */
    struct berth_watchdog *watchdog;
    struct berth_cache *cache;
    struct berth_cores *cores; /* NULL: ungoverned */
    pthread_mutex_t change_mu; /* over a whole register, unregister, load, unload: with the store */
    pthread_rwlock_t lock;     /* the tables and all entries; never held over a load or the store */
    struct berth_entry *by_name, *by_id;
    struct berth_series *states[BERTH_MODEL_STATE_COUNT];

    pthread_mutex_t jobs_mu;
    pthread_cond_t jobs_cond;
    struct berth_entry *jobs[BERTH_JOBS_COUNT]; /* under jobs_mu */
    uint64_t retry_ns, house_ns;                /* when those without room are tried, and */
    uint64_t retry_pause_ns;                    /* how long after, and */
    bool failed_seen, stop;                     /* when the house is kept; under jobs_mu */
    uint32_t retiring;                          /* threads that stop a model */
    pthread_t loaders[BERTH_LOADERS_MAX];
    uint32_t loader_len;
    atomic_bool closing;
    atomic_uint loads_now, loads_begun; /* for measuring memory */
    struct berth_watch *watches;        /* under change_mu */
    struct berth_room room;
    uint64_t counted_ns; /* states, under jobs_mu */
    bool count_due;
    pthread_mutex_t states_mu; /* held for no other lock */
    pthread_mutex_t count_mu;  /* before lock: of two counts, the later one is the one that stays */
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
/* Is it to run in a process of its own? */
bool berth_plan_isolates(const struct berth_registry *g, const struct berth_plan *p);
bool berth_plan_wants(const struct berth_plan *p, const struct berth_version_dir *dir);
/* Take the plan's versions into the entry. */
void berth_entry_plan_locked(struct berth_entry *x, const struct berth_plan *p);

/* Why a model is loaded. */
struct berth_why_load {
    bool demand, asked; /* somebody waits for it; somebody said load: others may go for it */
    uint64_t since_ns;  /* when that began */
};

/* jobs.c: the loader threads and what they have to do */
int berth_loaders_start(struct berth_registry *g, struct berth_err *e);
void berth_loaders_stop(struct berth_registry *g);
void berth_loader_queue(struct berth_registry *g, struct berth_entry *x);
/* Somebody waits for x.  Under jobs_mu. */
/* Somebody waits for room from now on, or there may be more of it: look soon.  Under jobs_mu. */
void berth_loader_hurry_locked(struct berth_registry *g);
void berth_loader_demand_locked(struct berth_registry *g, struct berth_entry *x);
void berth_registry_model_failed(void *registry);

/* loader.c: make x what it is wished to be.  False: it needs memory that is in use; try again. */
bool berth_loader_work(struct berth_registry *g, struct berth_entry *x);
/* Take what serves out of a slot; the caller retires or stops what it gets. */
struct berth_model *berth_take_serving_locked(struct berth_registry *g, struct berth_entry *x,
                                              struct berth_slot *s);
/* Stop m here and now, and drop the caller's reference. */
void berth_stop_model(struct berth_registry *g, struct berth_model *m);
/* Retire what serves: all of it, or only the versions that are not wanted. */
void berth_retire_all(struct berth_registry *g, struct berth_entry *x, bool all);
/* Models that gave up by themselves: out of service, and their memory back. */
void berth_retire_failed(struct berth_registry *g);
void berth_entry_free(struct berth_entry *x);
void berth_registry_count_states(struct berth_registry *g);

/* configure.c.  A copy of the tree, which may be NULL; the reference is the caller's. */
int berth_entry_config_new(const struct berth_json *tree, struct berth_entry_config **ret,
                           struct berth_err *e);
void berth_entry_config_unref(struct berth_entry_config *c); /* NULL is fine */
/* What x has now, referenced. */
struct berth_entry_config *berth_entry_config(struct berth_registry *g, struct berth_entry *x);
/* The version that this text names, by number or label; NULL. */
struct berth_slot *berth_entry_slot(struct berth_entry *x, struct berth_slice version);
/* The version for a request that names none; NULL: none is ready. */
struct berth_slot *berth_entry_choose(struct berth_entry *x);
/* registry.c: keep x with this config. */
int berth_entry_store(struct berth_registry *g, const struct berth_entry *x,
                      const struct berth_json *config, bool loaded, struct berth_err *e);

/* room.c */
void berth_room_init(struct berth_registry *g);
/* What a version at path will need. */
struct berth_forecast berth_room_forecast(struct berth_registry *g, const struct berth_entry *x,
                                          const struct berth_plan *p, const char *path);
/* May x take f->bytes more?  Evicts for it what may go.  Returns 0: they are promised, until
 * berth_room_settle_locked(); 1: not before something in use has ended; or -BERTH_ENOMEM with the
 * sums.  Not under a lock; a loader's. */
int berth_room_admit(struct berth_registry *g, struct berth_entry *x, struct berth_forecast *f,
                     const struct berth_why_load *why, struct berth_err *e);
/* Bring the account to what x serves now; promises are over. */
void berth_room_settle_locked(struct berth_registry *g, struct berth_entry *x);
/* m, loaded and not serving yet, was measured: is there room for it, if it took more than f?  Idle
 * others go for it as in berth_room_admit().  Returns 0: there is; 1: not before something in use
 * has ended, and what it needs is known now; or -BERTH_ENOMEM.  When not 0, x->room_why has the
 * sums, and the caller stops m.  Not under a lock; a loader's. */
int berth_room_confirm(struct berth_registry *g, struct berth_entry *x, const char *label,
                       struct berth_model *m, struct berth_forecast *f,
                       const struct berth_why_load *why);
/* room_measure.c: x->room_why says that m took more than is left. */
void berth_room_tell_excess(struct berth_entry *x, const struct berth_model *m,
                            const struct berth_forecast *f, const struct berth_ledger_sums *s,
                            uint64_t max_bytes, uint64_t excess);
/* "560.0 MiB"; returns room. */
const char *berth_room_size_text(uint64_t bytes, char room[24]);
/* m no longer serves, and its memory is not back yet; then it was stopped, and it is, unless its
 * engine hangs and keeps what it has. */
void berth_room_parting_locked(struct berth_registry *g, struct berth_model *m);
void berth_room_parted(struct berth_registry *g, struct berth_model *m, bool unloaded);
/* Is it the first load with this backend in this process?  Then its growth is the engine's too. */
bool berth_room_begins(struct berth_registry *g, const char *backend);
/* room_measure.c: berth_model_start(), and m->memory_bytes is what it took. */
int berth_room_start(struct berth_registry *g, const struct berth_entry *x, struct berth_model *m,
                     const struct berth_forecast *f, uint32_t threads, struct berth_err *e);
/* What a load of x from path took. */
void berth_room_learn(struct berth_registry *g, struct berth_entry *x, const struct berth_model *m,
                      const char *path);
/* Now and then: measure, unload what nobody used for long, make room that others took.  Returns
 * when to do it again, in ns. */
uint64_t berth_room_keep(struct berth_registry *g);
/* Give malloc()'s kept memory back when it is much; looks every ten seconds at most. */
void berth_room_trim(struct berth_registry *g);
/* Would it help, with so much resident and so much in use?  Learns when there is less of it. */
bool berth_trim_is_due(struct berth_trim *t, uint64_t self_bytes, uint64_t used_bytes);
/* It was done, and this is how much there is now. */
void berth_trim_is_done(struct berth_trim *t, uint64_t self_bytes, uint64_t used_bytes);
/* "measured", "as its backend says", "guessed by its files" */
const char *berth_room_source(const struct berth_forecast *f);
/* Who is in use, and when each was used last, as of now.  Under the lock for writing. */
void berth_room_look_locked(struct berth_registry *g, uint64_t now_ns);
/* -BERTH_ENOMEM with the sums in it. */
int berth_room_tell(const struct berth_ledger_sums *s, const char *name,
                    const struct berth_forecast *f, const struct berth_ledger_choice *c,
                    struct berth_err *e);

/* room_seen.c.  The files at path (so many bytes) with these settings, as a number that is not 0.
 */
uint64_t berth_room_place(const char *path, uint64_t files, const char *backend,
                          const struct berth_model_conf *c);
/* What is known of it; NULL: nothing. */
const struct berth_seen *berth_room_seen_locked(const struct berth_room *room, uint64_t place);
void berth_room_see_locked(struct berth_room *room, uint64_t place, uint64_t bytes,
                           uint64_t load_ns);
/* All of it as the member "files" of a record; and back. */
void berth_room_put_seen(struct berth_jw *w, const struct berth_room *room);
void berth_room_read_seen_locked(struct berth_room *room, const struct berth_json *record);

/* room_store.c: what is known of models' memory, kept in the store */
void berth_room_save(struct berth_registry *g, bool now);
void berth_room_restore(struct berth_registry *g, struct berth_arena *a);

/* info.c */
enum berth_model_state berth_slot_state(const struct berth_entry *x, const struct berth_slot *s,
                                        char why[480]);
enum berth_model_state berth_entry_state(const struct berth_entry *x, char why[480]);
struct berth_slot *berth_entry_serving(struct berth_entry *x);

/* waits.c: every wait for x that can have its model, and has it.  over: 0, and the others go on;
 * else the load that began at since_ns is over, and they end: with this code and room_why, or, when
 * it is 1, with the state.  To be posted without a lock; what serves them cannot go before that. */
struct berth_model_wait *berth_waits_take_locked(struct berth_registry *g, struct berth_entry *x,
                                                 int over, uint64_t since_ns);
void berth_waits_post(struct berth_model_wait *list);
/* In this state: would a request have it loaded? */
bool berth_is_on_demand_locked(const struct berth_entry *x, enum berth_model_state state);
/* The registry goes: nobody waits any more, and no wait begins. */
void berth_waits_end_all(struct berth_registry *g);

/* registry.c: an entry of its own memory, not in the tables yet; and into them */
int berth_entry_new(const struct berth_model_spec *spec, struct berth_entry **ret,
                    struct berth_err *e);
void berth_entry_put_locked(struct berth_registry *g, struct berth_entry *x);

/* A version of x to serve with, referenced; or why not. */
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
