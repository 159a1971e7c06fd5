#ifndef BERTH_DEPLOY_PRIV_H
#define BERTH_DEPLOY_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include <uthash.h>

#include "base/arena.h"
#include "deploy/deploy.h"
#include "deploy/events.h"
#include "deploy/phase.h"
#include "recon/reconciler.h"
#include "recon/steps.h"
#include "store/store.h"

struct berth_json;

/*
 * What the files of the engine share.
 *
 * Locks, outermost first: a service's told_mu (while the routes are told of it), its mu (its
 * fields; held while its record is written), then d->mu (the maps and counts of references; short).
 * Functions of plugins are called with none of them held.  A service's track is changed by its one
 * reconcile under mu; what people wish for (revisions, deleting) by their calls under mu.
 */

/* ---- plugins ---- */

/* What shimlets and pipelines have in common, as their first member: plugs.c. */
struct plug {
    struct plug *next;
    const char *name;           /* the plugin's */
    const char *version;        /* likewise; NULL: it tells none */
    const char *const *aliases; /* NULL: none */
    char *file;                 /* NULL: compiled in */
    uint64_t loaded_wall_ns;
    uint32_t refs;                   /* under d->mu; the list's own is one */
    void (*free_it)(struct plug *p); /* when it is retired and nobody uses it; all but file */
};
struct plugs {
    const char *type;   /* "shimlet" */
    struct plug *first; /* under d->mu */
};

/* A shimlet, opened at first use. */
struct environ {
    struct plug plug;
    struct berth_deploy *d;
    const struct berth_shimlet_ops *ops;
    char *settings_json;
    pthread_mutex_t open_mu;
    struct berth_shimlet *open; /* under open_mu */
    atomic_bool opened;
    /* reach.c: since when it cannot be reached, 0: it can; and since when it can again, 0: it never
     * could not. */
    atomic_uint_fast64_t away_wall_ns, back_wall_ns;
    pthread_mutex_t away_mu; /* the innermost */
    char away_why[200];      /* under away_mu */
};
struct flow {
    struct plug plug;
    const struct berth_pipeline_ops *ops;
    const char *const *names; /* of its steps, asked once; NULL: it has goals */
};

/* The names that it gives its steps, for flow.names. */
const char *const *berth_flow_names(const struct berth_pipeline_ops *ops);
/* Do they fit this program?  -BERTH_EABI */
int berth_environ_check(const struct berth_shimlet_ops *ops, struct berth_err *e);
int berth_flow_check(const struct berth_pipeline_ops *ops, struct berth_err *e);

/* ---- services ---- */

/* One spec of a service; immutable. */
struct revision {
    atomic_uint refs;
    struct berth_arena arena;
    struct berth_spec spec;
    uint64_t number;
    bool good; /* when it was loaded: it had run as the stable one, or its record is an older one */
};

struct value {
    char *key, *text;
};
enum { VALUES_MAX = 128, VALUES_BYTES_MAX = 64 * 1024 };

/* How far a list of steps came, as it is shown and saved.  One piece of memory. */
struct step_info {
    char name[BERTH_STEP_NAME_MAX + 1];
    uint32_t max_retries;
    uint64_t timeout_ns;
};
struct progress {
    uint64_t revision;
    uint64_t started_wall_ns;
    bool taken_back; /* it failed, and its step says that what was before is to come back */
    struct step_info *infos;
    struct berth_run *run; /* berth_run_bytes() of it */
};

/* What the environment said last. */
struct seen {
    struct berth_arena arena;
    struct berth_observed as; /* points into the arena */
    uint64_t wall_ns;         /* 0: never */
    uint32_t ready;           /* replicas that run the wished hash and are ready */
};

enum which { STABLE, CANARY, TRACK_COUNT }; /* in the order of berth_track_name() */
struct track {
    struct revision *wish; /* NULL: nothing is wished for on this track */
    bool leaving;          /* a canary that is to go */
    char mending[160];     /* what differs, as it was told; empty: nothing does */
    uint64_t good;         /* the last revision that was brought about; 0: none */
    struct progress *progress;
    struct value *values;
    uint32_t value_count;
    struct seen *seen;
    uint64_t taken_over_ns; /* the first look at what an earlier run of the program left; 0: none */
};

enum { REASON_MAX = 400, OPERATOR_MAX = 128, NAME_MAX_BYTES = 64 };
struct service {
    UT_hash_handle hh; /* under d->mu */
    uint32_t refs;     /* under d->mu; the map's own is one */
    char id[BERTH_SERVICE_ID_MAX];
    char model_name[260]; /* under d->mu, as finding a service must not wait for the disk */
    bool gone;            /* likewise: it is terminated */
    pthread_mutex_t told_mu, mu;
    /* Grows when what is wished for changes: what is under way for an older one is cut short. */
    atomic_uint_fast64_t generation;
    char shimlet[NAME_MAX_BYTES + 1];
    enum berth_phase phase;
    uint64_t last_revision; /* the number given last */
    struct track tracks[TRACK_COUNT];
    uint32_t canary_percent;
    bool deleting, retry;
    atomic_bool unplugged; /* its shimlet or pipeline was not there when it was looked at last */
    bool promoting;        /* the canary goes when stable has become it */
    struct progress *removal;
    atomic_bool stray;        /* there is a workload of a canary that is not wished for */
    char reason[REASON_MAX];  /* why it failed or is degraded */
    char asker[OPERATOR_MAX]; /* who changed it last */
    bool asker_known;         /* by a key with these scopes */
    uint32_t asker_scopes;
    uint64_t created_wall_ns, changed_wall_ns, phase_wall_ns;
    uint64_t marked;        /* the stable revision whose record says that it was good */
    bool unsaved;           /* what is here is not in the store */
    struct unsaved *kept;   /* events that could not be written; NULL: none */
    uint32_t failed_runs;   /* in a row */
    uint64_t retry_wall_ns; /* when a failed one is tried again; 0: when asked to */
    uint64_t tried_back_ns; /* the return of its environment that it was tried for; 0: none */
};

/* ---- events ---- */

/* Events of one change, told when it is in the store. */
struct pending {
    struct berth_arena *a;
    struct berth_event at[BERTH_EVENTS_AT_ONCE_MAX];
    uint32_t count;
    const char *type, *service_id; /* of the one that is being written */
};

struct berth_deploy {
    struct berth_deploy_conf conf; /* strings are owned */
    struct berth_spec_defaults defaults;
    char owner[41];
    pthread_mutex_t mu;
    pthread_cond_t released; /* a plugin lost a user */
    struct plugs environs, flows;
    struct lost *lost;        /* plugins that should be there, under mu: kept.c */
    struct service *services; /* uthash by id */
    struct berth_events *events;
    struct berth_access *access;         /* who asked what is not for everybody */
    struct berth_reconciler *reconciler; /* with workers */
    struct berth_workq *queue;           /* without, under queue_mu */
    pthread_mutex_t queue_mu;
    uint64_t start_wall_ns, early_starts; /* 0 before it: starts.c */
    char **orphans; /* "SHIMLET/UNIT" that were told of; of the one sweep at a time */
    size_t orphan_count;
    atomic_bool stopping, started;
    atomic_uint loads;                    /* of plugins from files, that stay mapped for good */
    atomic_uint_fast64_t runs, good_runs; /* that came to an end */
    atomic_uint illegal_moves;            /* of phases; refused */
};

/* deploy.c: services and the queue */
struct service *berth_deploy_service(struct berth_deploy *d, const char *id); /* NULL; unref it */
void berth_service_unref(struct berth_deploy *d, struct service *s);
/* Take over what a service is found by.  s->mu held. */
void berth_deploy_named(struct berth_deploy *d, struct service *s);
void berth_deploy_poke(struct berth_deploy *d, const char *id, uint64_t after_ns);
/* Every service is looked at by then, where it is not sooner anyway.  Returns how many there are.
 */
size_t berth_deploy_poke_all(struct berth_deploy *d, uint64_t after_ns);
uint64_t berth_deploy_now(const struct berth_deploy *d);
uint64_t berth_deploy_wall(const struct berth_deploy *d);
uint64_t berth_deploy_random(const struct berth_deploy *d);
struct service *berth_service_new(const char *id);
void berth_service_free(struct service *s);
/* -BERTH_ELIMIT, -BERTH_EEXIST; the map takes a reference of its own */
int berth_deploy_add_service(struct berth_deploy *d, struct service *s, struct berth_err *e);
void berth_deploy_drop_service(struct berth_deploy *d, struct service *s);
/* Every service, each with a reference; the array is the caller's to free(). */
int berth_deploy_all(struct berth_deploy *d, struct service ***ret, size_t *ret_count);

/* change.c */
/* May the service become the spec?  s->mu held.  -BERTH_EEXIST it is going, -BERTH_EINVAL */
int berth_service_takes(const struct service *s, const struct berth_spec *spec,
                        struct berth_err *e);
/* An update that failed and says so is taken back: the last good revision becomes a new one.  0, or
 * 1: there is nothing to be taken back. */
int berth_deploy_take_back(struct berth_deploy *d, const char *id, struct berth_err *e);

/* plugs.c: one kind of plugins, in a list */
struct plug *berth_plug_get(struct berth_deploy *d, struct plugs *all, const char *name);
void berth_plug_put(struct berth_deploy *d, struct plug *p); /* NULL is fine */
bool berth_plug_is(struct berth_deploy *d, struct plugs *all, const char *name);
/* Takes p, on failure too.  -BERTH_EEXIST */
int berth_plug_add(struct berth_deploy *d, struct plugs *all, struct plug *p, const char *file,
                   bool replace, struct berth_err *e);
int berth_plug_retire(struct berth_deploy *d, struct plugs *all, const char *name,
                      uint64_t limit_ns, struct berth_err *e);
/* -BERTH_ENOENT, with those there are, or why it is not loaded */
int berth_plug_unknown(struct berth_deploy *d, struct plugs *all, const char *name,
                       struct berth_err *e);
void berth_plugs_free(struct plugs *all);

/* trial.c: a folder for a trial under TMPDIR or /tmp, made and removed by the parent, since the
 * child may be killed.  NULL: it cannot be made; else the caller's to end. */
char *berth_trial_folder(void);
void berth_trial_folder_end(char *dir); /* NULL is fine */

/* environs.c */
struct environ *berth_environ_get(struct berth_deploy *d, const char *name); /* NULL: none */
struct flow *berth_flow_get(struct berth_deploy *d, const char *name);       /* by an alias too */
void berth_environ_put(struct berth_deploy *d, struct environ *x);           /* NULL is fine */
void berth_flow_put(struct berth_deploy *d, struct flow *x);
int berth_environ_open(struct environ *x, struct berth_shimlet **ret, struct berth_err *e);
/* Those that were ever opened, each with a reference; how many, at most cap. */
size_t berth_environs_used(struct berth_deploy *d, struct environ **ret, size_t cap);
void berth_environs_free(struct berth_deploy *d);
int berth_environ_unknown(struct berth_deploy *d, const char *name, struct berth_err *e);
int berth_flow_unknown(struct berth_deploy *d, const char *name, struct berth_err *e);

/* kept.c: plugins that are loaded again at the next start */
struct berth_jw;
int berth_kept_put(struct berth_deploy *d, const struct berth_deploy_file *f, const char *name,
                   const char *path, const char *sum, struct berth_arena *a, struct berth_err *e);
int berth_kept_drop(struct berth_deploy *d, const char *type, const char *name,
                    struct berth_arena *a, struct berth_err *e);
bool berth_kept_is(struct berth_deploy *d, const char *type, const char *name,
                   struct berth_arena *a);
/* Why one that should be there is not.  False: none should. */
bool berth_kept_why(struct berth_deploy *d, const char *type, const char *name, char *ret,
                    size_t cap);
void berth_kept_found(struct berth_deploy *d, const char *type, const char *name); /* it is */
void berth_kept_list(struct berth_deploy *d, struct berth_jw *w); /* those missing; d->mu held */
void berth_kept_free(struct berth_deploy *d);

/* host.c: what plugins may call */
struct berth_op {
    struct berth_deploy *d;
    struct service *s;                       /* NULL: about none */
    const struct berth_shimlet_ops *environ; /* with s NULL: whose replicas are meant */
    uint64_t generation;
    uint64_t deadline_ns;
    bool (*cancelled)(void *arg); /* the asker's own; NULL: none */
    void *arg;
};
extern const struct berth_shimlet_host berth_deploy_shimlet_host;
void berth_host_log(enum berth_log_level level, const char *msg);
bool berth_op_cancelled(const struct berth_op *op);
uint64_t berth_op_left_ns(const struct berth_op *op);

/* record.c */
int berth_revision_parse(struct berth_deploy *d, const char *json, size_t len, uint64_t number,
                         struct revision **ret, struct berth_err *e);
struct revision *berth_revision_ref(struct revision *r);
void berth_revision_unref(struct revision *r); /* NULL is fine */
/* Out of the store; -BERTH_ENOENT */
int berth_revision_load(struct berth_deploy *d, const char *id, uint64_t number,
                        struct revision **ret, struct berth_err *e);
const char *berth_revision_key(struct berth_arena *a, const char *id, uint64_t number);
/* op: the revision's record with the mark that it ran as the stable one; in a.  0, or 1: it has
 * that mark, or is not kept any more. */
int berth_revision_mark(struct berth_deploy *d, const char *id, uint64_t number,
                        struct berth_arena *a, struct berth_store_op *op, struct berth_err *e);
void berth_record_put(const struct service *s, struct berth_buf *out); /* s->mu held */
int berth_record_read(struct berth_deploy *d, const struct berth_record *record,
                      struct service **ret, struct berth_err *e);
struct seen *berth_seen_new(const struct berth_observed *as, uint64_t wall_ns);
void berth_seen_free(struct seen *s);
void berth_values_clear(struct track *t);
const char *berth_values_get(const struct track *t, const char *key);
int berth_values_set(struct track *t, const char *key, const char *text, struct berth_err *e);
/* Who may ask, as "REVISION NAME NAME ...": a value that outlives the run that set it, so that a
 * service is not open to all while it is brought about anew. */
#define BERTH_VALUE_ALLOW "allow"
/* A run begins: all values go but that one. */
void berth_values_begin(struct track *t);
/* The run for that revision is done: one that it has not set goes. */
void berth_values_settle(struct track *t, uint64_t revision);

/* progress.c */
struct progress *berth_progress_new(uint32_t step_count); /* NULL: no memory */
void berth_progress_free(struct progress *p);

/* journal.c */
/* Write the service as it is, with what is pending and `ops` besides, in one transaction; s NULL:
 * only those.  s->mu held.  On success pending is empty. */
int berth_deploy_commit(struct berth_deploy *d, struct service *s, struct pending *p,
                        const struct berth_store_op *ops, size_t count, struct berth_err *e);
/* The same for what the engine itself has changed: when it fails, memory is ahead of the store, and
 * what is pending is kept and written with the next one (s->unsaved). */
int berth_deploy_save(struct berth_deploy *d, struct service *s, struct pending *p,
                      struct berth_err *e);
void berth_service_forget_kept(struct service *s);
/* One more event; when there is no room it is counted in the log and left out. */
struct berth_jw;
void berth_pending_begin(struct pending *p, struct berth_buf *b, struct berth_jw *w,
                         const char *type, const struct service *s);
void berth_pending_end(struct pending *p, struct berth_buf *b, struct berth_jw *w);
void berth_pending_note(struct pending *p, const struct service *s, const char *level,
                        const char *text);
/* The event of a service that came. */
void berth_service_came(struct berth_deploy *d, struct service *s, struct pending *p);
/* Move the phase, with its event and metrics; an illegal move is refused and logged. */
int berth_service_move(struct berth_deploy *d, struct service *s, enum berth_phase to,
                       const char *reason, struct pending *p);

/* ---- bringing about ---- */

/* A service while its steps run. */
struct berth_deployment {
    struct berth_deploy *d;
    struct service *s;
    enum which which;
    struct berth_op op;
    struct environ *environ;
    struct berth_shimlet *shimlet;
    struct flow *flow;
    char asker[OPERATOR_MAX];
    struct berth_caller caller;
    struct revision *revision;     /* of the track; referenced */
    const struct berth_json *spec; /* its JSON as a tree */
    struct berth_arena arena;      /* of the reconcile */
    struct berth_arena scratch;    /* of a step's function */
    struct berth_unit unit;
    bool unit_made;
    bool removing;
    struct pending pending;
    struct berth_run run;
    struct berth_step steps[BERTH_STEPS_MAX];
    uint32_t step_count;
    const struct berth_step *at; /* whose function runs */
    bool unsaved;
};
/* Begin on a track: plugins referenced and opened.  -BERTH_ENOENT one of them is not there (any
 * more), or nothing is wished for on the track. */
int berth_deployment_new(struct berth_deployment **ret, struct berth_deploy *d, struct service *s,
                         enum which which, struct berth_err *e);
void berth_deployment_free(struct berth_deployment *x);
/* unit.c: x->unit from spec and values */
int berth_deployment_unit(struct berth_deployment *x, struct berth_err *e);
/* Can the environment do what x->unit wants of it?  -BERTH_EUNSUPPORTED */
int berth_unit_suits(const struct berth_deployment *x, struct berth_err *e);
/* Names of the steps, for a plan or an answer before anything began. */
int berth_flow_steps(const struct flow *f, bool removing, const struct berth_goal **ret_goals,
                     const char *const **ret_names, uint32_t *ret_count, struct berth_err *e);
/* hooks.c: the command lines that a spec has around a step */
int berth_hook_pre(void *x, const struct berth_step *step, struct berth_err *e);
int berth_hook_post(void *x, const struct berth_step *step, struct berth_err *e);
/* goals.c */
const struct berth_goal *berth_host_goal(const char *name);
/* Is the model there, as far as can be known here?  -BERTH_EINVAL, with what to do */
int berth_deployment_model(struct berth_deployment *x, struct berth_err *e);
extern const struct berth_pipeline_host berth_deploy_pipeline_host;
extern const struct berth_goal berth_goals_remove[];

/* bring.c: 1 it is there, 0 not yet (*ret_wait_ns), < 0 the run has failed */
int berth_track_bring(struct berth_deploy *d, struct service *s, enum which which,
                      uint64_t *ret_wait_ns, struct berth_err *e);
int berth_service_remove(struct berth_deploy *d, struct service *s, uint64_t *ret_wait_ns,
                         struct berth_err *e);
/* keep.c: look, and mend what differs.  1 as wished, 0 not (yet) */
int berth_track_keep(struct berth_deploy *d, struct service *s, enum which which,
                     uint64_t *ret_wait_ns, struct berth_err *e);
/* Remove a canary's workload: 1 gone, 0 on its way. */
int berth_track_leave(struct berth_deploy *d, struct service *s, struct berth_err *e);
int berth_deployment_look(struct berth_deployment *x, struct berth_err *e);
/* How many replicas there should be at least: of a unit, of a spec's stable track. */
uint32_t berth_unit_wanted(const struct berth_unit *u);
uint32_t berth_spec_wanted(const struct berth_spec *spec);
/* Does apply() have something to do? */
bool berth_seen_differs(const struct seen *seen, const struct berth_unit *u);
/* Tell the routes which replicas there are, and for whom.  Any thread; not with s->mu held. */
void berth_deploy_told_routes(struct berth_deploy *d, struct service *s);
/* Who may ask a service with this stable track now, in a: names with blanks between, "*" for any
 * key; *ret NULL: everybody.  s->mu held.  False: no memory. */
bool berth_track_allow(const struct track *t, struct berth_arena *a, const char **ret);
/* Is a replica to be replaced or started again? */
bool berth_seen_failed(const struct seen *seen);
/* The first replica that is not there yet and why, then what the environment says; NULL: nothing.
 * Borrowed from seen, or in a. */
const char *berth_seen_says(const struct seen *seen, struct berth_arena *a);
/* starts.c: how long the services wait, in nanoseconds, since the starts before ended early */
uint64_t berth_starts_begin(struct berth_deploy *d);
/* orphans.c: workloads that no record wishes for.  The queue has this among the services. */
#define ORPHANS_KEY ":orphans"
struct berth_outcome berth_orphans_sweep(struct berth_deploy *d);
/* 1: the canary that is not wished for is gone, 0: on its way */
int berth_stray_remove(struct berth_deploy *d, struct service *s, struct berth_err *e);
void berth_orphans_free(struct berth_deploy *d);
/* reach.c: environments that cannot be reached for a while */
void berth_host_away(void *who, const char *why);
/* Must the service wait until its environment can be reached?  Then the time that passes is not
 * charged to its steps.  Of its reconcile. */
bool berth_service_waits(struct berth_deploy *d, struct service *s);
/* Could its environment not be reached at wall_ns or later, and can it be now?  Once for each
 * return; of its reconcile. */
bool berth_service_is_back(struct berth_deploy *d, struct service *s, uint64_t wall_ns);
/* Can its environment be reached?  To be asked before s->mu is held: a plugin may go when nobody
 * uses it any more, and waits for its threads.  Texts are in a. */
struct reach {
    uint64_t away_wall_ns; /* since when not; 0: it can */
    const char *text;      /* the same for people, "": it can */
};
struct reach berth_service_reach(struct berth_deploy *d, const struct service *s,
                                 struct berth_arena *a);
/* As the members message, which has `own` besides, and away. */
void berth_reach_put(struct berth_jw *w, const struct reach *r, const char *own);
/* reconcile.c */
int berth_service_reconcile(void *d, const char *id, struct berth_outcome *ret);

/* counts.c; nothing without conf.metrics */
void berth_deploy_count_run(struct berth_deploy *d, const char *pipeline, const char *shimlet,
                            bool ok, uint64_t took_ns);
void berth_deploy_count_step(struct berth_deploy *d, const char *pipeline, const char *step,
                             bool ok, uint64_t took_ns);
void berth_deploy_count_retry(struct berth_deploy *d, const char *pipeline, const char *step);
/* from or to BERTH_PHASE_COUNT: it came, or it is gone */
void berth_deploy_count_move(struct berth_deploy *d, enum berth_phase from, enum berth_phase to);
/* It has left its list.  Under d->mu. */
void berth_deploy_count_plug_gone_locked(struct berth_deploy *d, const struct plugs *all,
                                         const struct plug *p);
void berth_deploy_render(void *d); /* before metrics are shown */

#endif
