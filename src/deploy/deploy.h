#ifndef BERTH_DEPLOY_H
#define BERTH_DEPLOY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/pipeline.h>
#include <berth/shimlet.h>

#include "base/buf.h"
#include "deploy/spec/spec.h"

struct berth_arena;
struct berth_metrics;
struct berth_routes;
struct berth_store;

/*
 * The control plane: services as desired records in the store, brought about and kept by one
 * reconcile engine.  Whatever changes a service is in the store before it is answered, so that a
 * process that is killed at any point goes on where it was and makes nothing twice.
 *
 * Threads: every function from any thread but a loop's, unless said; they may wait for the disk.
 * Answers are JSON, appended to `out` (the value of "data"); on failure out is as it was.
 *
 * Store keys: "service/ID" the record (desired revision, phase, how far its pipeline got),
 * "revision/ID/NNNNNNNN" a spec, "event/NNNNNNNNNNNNNNNN" an event.
 */
struct berth_deploy;

/* Time, for tests that own the clock.  Any thread. */
struct berth_deploy_clock {
    uint64_t (*now_ns)(void *arg);  /* monotonic */
    uint64_t (*wall_ns)(void *arg); /* since 1970 */
    uint64_t (*random)(void *arg);
    void *arg;
};

struct berth_deploy_conf {
    struct berth_store *store;
    struct berth_metrics *metrics;          /* NULL: none */
    struct berth_routes *routes;            /* told of replicas; NULL: none */
    const struct berth_deploy_clock *clock; /* NULL: the system's */
    const char *state_dir;                  /* shimlets keep theirs in it; NULL: none is kept */
    const char *program;                    /* path of berth itself */
    const char *default_shimlet, *default_pipeline, *model_root;
    const struct berth_accelerator *accelerators; /* before the built-in ones; or NULL */
    const char *plugin_dir;  /* of shimlets and pipelines in files; NULL: none */
    bool plugin_any_path;    /* they may be loaded from elsewhere, too */
    const char *plugin_sums; /* a file of lines "SHA256  NAME" that they must be in; or NULL */
    const char *plugin_settings_json; /* {"NAME": {..}} of loaded shimlets; NULL: none */
    uint32_t workers;                 /* 0: none; the caller drives berth_deploy_turn() */
    uint64_t resync_ns;               /* 300 s */
    uint64_t poll_ns;                 /* of environments that do not tell of changes: 2 s */
    uint64_t forget_ns;     /* how long a deleted service is shown as terminated: 10 min */
    uint32_t services_max;  /* 10,000 */
    uint32_t events_max;    /* kept: 10,000 */
    uint32_t revisions_max; /* kept for a service: 20 */
};

/* Everything in conf is copied but store, metrics, routes and clock, which must outlive it. */
int berth_deploy_new(const struct berth_deploy_conf *conf, struct berth_deploy **ret,
                     struct berth_err *e);

/* ---- environments and workflows; before start() and while running ---- */

/* ops: static storage.  settings_json: an object; NULL: "{}".  Opened at first use.  replace: a
 * newer one takes over for what begins from now on; what is under way ends with the old one, which
 * is then closed (its workloads stay, and the new one finds them).
 *   -BERTH_EABI, -BERTH_EEXIST (and not replace) */
int berth_deploy_add_shimlet(struct berth_deploy *d, const struct berth_shimlet_ops *ops,
                             const char *file, const char *settings_json, bool replace,
                             struct berth_err *e);
int berth_deploy_add_pipeline(struct berth_deploy *d, berth_pipeline_entry_fn *entry,
                              const char *file, bool replace, struct berth_err *e);
/* No new use; waits until what is under way has ended, for limit_ns at most.
 *   -BERTH_ENOENT, -BERTH_EPERM services use it (named in the message), -BERTH_EDEADLINE */
int berth_deploy_retire_shimlet(struct berth_deploy *d, const char *name, uint64_t limit_ns,
                                struct berth_err *e);
int berth_deploy_retire_pipeline(struct berth_deploy *d, const char *name, uint64_t limit_ns,
                                 struct berth_err *e);

/* A shared object.  Opened and asked in a child process first, so that one that crashes harms
 * nothing; then here. */
struct berth_deploy_file {
    const char *type;        /* "shimlet", "pipeline" */
    const char *path;        /* within conf.plugin_dir, unless conf.plugin_any_path */
    const char *name;        /* that it must have; NULL: any */
    const char *config_json; /* a shimlet's settings; NULL: none */
    const char *sha256;      /* hex, that the file must have; NULL: any, or conf.plugin_sums */
    bool replace;
    bool keep; /* load it again, the same bytes, at the next start; until it is unloaded */
};
/* {"type","name","version","path","loadedAt"}.
 *   -BERTH_EINVAL no plugin, another type or name, wrong checksum; -BERTH_EABI; -BERTH_ENOENT;
 *   -BERTH_EPERM outside the plugin folder; -BERTH_EEXIST and not replace */
int berth_deploy_load(struct berth_deploy *d, const struct berth_deploy_file *f,
                      struct berth_arena *a, struct berth_buf *out, struct berth_err *e);
/* The same file again (replace), or none of that name any more; built-in ones stay: -BERTH_EPERM */
int berth_deploy_reload(struct berth_deploy *d, const char *type, const char *name,
                        struct berth_arena *a, struct berth_buf *out, struct berth_err *e);
int berth_deploy_unload(struct berth_deploy *d, const char *type, const char *name,
                        struct berth_err *e);
/* Those that were kept, over what is there; before start().  What cannot be loaded is told in the
 * log, by its services, and as "missing" by berth_deploy_plugins(). */
int berth_deploy_load_kept(struct berth_deploy *d, struct berth_err *e);
/* Every berth-shimlet-*.so and berth-pipeline-*.so of conf.plugin_dir.  What cannot be loaded is
 * told in the log and left out; strict: -BERTH_EABI instead. */
int berth_deploy_load_folder(struct berth_deploy *d, bool strict, struct berth_err *e);

/* In the child that a file is tried in: `berth probe TYPE [FOLDER]`, which a shimlet
 * has for its state; NULL: none.  Does not return. */
__attribute__((noreturn)) void berth_deploy_trial(const char *type, const char *state_dir);

/* {"defaultShimlet","defaultPipeline","shimlets":[..],"pipelines":[..],"goalsets":[..],
 * "missing":[{"type","name","why"}]}: those that were kept and cannot be loaded */
int berth_deploy_plugins(struct berth_deploy *d, struct berth_arena *a, struct berth_buf *out,
                         struct berth_err *e);
/* Are these known?  -BERTH_ENOENT: the message lists those there are. */
int berth_deploy_check_names(struct berth_deploy *d, const char *shimlet, const char *pipeline,
                             struct berth_err *e);

/* Take up every service of the store again, adopt what runs, and begin.  Workers start here. */
int berth_deploy_start(struct berth_deploy *d, struct berth_err *e);
/* Begin nothing new, cut what is under way short (it goes on after the next start), wait for it,
 * limit_ns at most.  Workloads stay.  Idempotent. */
void berth_deploy_stop(struct berth_deploy *d, uint64_t limit_ns);
/* After stop(): the end was asked for.  Starts that end within a minute without it are taken for a
 * crash loop, and the next ones wait before they take services up.  Idempotent. */
void berth_deploy_end_well(struct berth_deploy *d);
void berth_deploy_free(struct berth_deploy *d); /* stopped first; NULL is fine */
/* With workers 0: reconcile one service that is due; false: none is.  *ret_next_ns: when the next
 * one is (UINT64_MAX: never, unless something changes). */
bool berth_deploy_turn(struct berth_deploy *d, uint64_t *ret_next_ns);

/* ---- what people ask for ---- */

/* Who asks, for the audit; borrowed. */
struct berth_actor {
    const char *name; /* the key's name, X-Operator, or the peer's address */
    const char *peer;
    const char *request_id; /* or NULL */
    bool known;             /* name is that of a key which the server knows */
    uint32_t scopes;        /* of that key, as in pipeline.h; 0: none */
};

enum { BERTH_SERVICE_ID_MAX = 112 };

/* The defaults that a spec is parsed with. */
const struct berth_spec_defaults *berth_deploy_defaults(const struct berth_deploy *d);

/* Durable, then begun.  id: the new service's.
 *   -BERTH_ENOENT no such shimlet or pipeline; -BERTH_ELIMIT services_max */
int berth_deploy_create(struct berth_deploy *d, const struct berth_spec *spec,
                        const struct berth_actor *who, char id[BERTH_SERVICE_ID_MAX],
                        struct berth_err *e);
/* A new revision, unless nothing differs.  With strategy canary: it runs beside the present one
 * until promoted or aborted.  expected: the revision that was read, or 0.
 *   -BERTH_ENOENT, -BERTH_EEXIST another revision came first, or it is being deleted */
int berth_deploy_update(struct berth_deploy *d, const char *id, const struct berth_spec *spec,
                        uint64_t expected, const struct berth_actor *who, uint64_t *ret_revision,
                        struct berth_err *e);
int berth_deploy_scale(struct berth_deploy *d, const char *id, uint32_t replicas,
                       const struct berth_actor *who, uint64_t *ret_revision, struct berth_err *e);
/* Back to a revision, as a new one; 0: the one before, or the end of a canary. */
int berth_deploy_rollback(struct berth_deploy *d, const char *id, uint64_t revision,
                          const struct berth_actor *who, uint64_t *ret_revision,
                          struct berth_err *e);
/* A canary: all traffic to it, and the service becomes it; or another weight in percent. */
int berth_deploy_promote(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                         uint64_t *ret_revision, struct berth_err *e);
int berth_deploy_weight(struct berth_deploy *d, const char *id, uint32_t percent,
                        const struct berth_actor *who, struct berth_err *e);
/* Begin the deletion; of an unknown one: 0. */
int berth_deploy_delete(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                        struct berth_err *e);
/* A failed service is tried again from its first step. */
int berth_deploy_retry(struct berth_deploy *d, const char *id, const struct berth_actor *who,
                       struct berth_err *e);
int berth_deploy_drain_node(struct berth_deploy *d, const char *shimlet, const char *node,
                            bool drain, const struct berth_actor *who, struct berth_err *e);

/* Somebody asked a service that is not for everybody: one more of that for the audit, where the
 * first time is told at once and more of the same in sums (a minute's, then growing to an hour's).
 * who: a key's name; NULL: nobody known.  Any thread, a loop's too; never waits for the disk. */
void berth_deploy_access(struct berth_deploy *d, const char *service_id, const char *who,
                         const char *peer, bool granted);

/* ---- what people look at ---- */

/* The whole id of a service that is named by it; else by its model's name; else by an unambiguous
 * beginning of the id, unless `whole`: who deletes names what he means.
 *   -BERTH_ENOENT; -BERTH_EINVAL: several, or only a beginning; those that it may be are listed */
int berth_deploy_find(struct berth_deploy *d, const char *name, bool whole,
                      char id[BERTH_SERVICE_ID_MAX], struct berth_err *e);
/* {"serviceId","status","phase","endpoint","updateTime","modelName","pipeline","shimlet",
 *  "revision","runningRevision","retrying","currentStep","totalSteps","spec","resources":{"requested","observed"},"replicas":[..],
 *  "canary","security","conditions","message","away","createdAt","updatedAt","routes"}
 *  away: {"since","message"} when the environment cannot be reached, else null
 *  routes: as berth_routes_put() has it; null before there is a replica */
int berth_deploy_describe(struct berth_deploy *d, const char *id, struct berth_arena *a,
                          struct berth_buf *out, struct berth_err *e);
/* The spec as it was given, secrets as they are, and the revision that a change would follow: for
 * what merges into it, not to be shown.  -BERTH_ENOENT: there is none, or none any more. */
int berth_deploy_spec(struct berth_deploy *d, const char *id, struct berth_arena *a,
                      struct berth_slice *ret, uint64_t *ret_revision, struct berth_err *e);
/* An array of what describe tells, without spec, replicas, conditions and routes. */
int berth_deploy_list(struct berth_deploy *d, struct berth_arena *a, struct berth_buf *out,
                      struct berth_err *e);
/* What the environments have of this control plane's:
 * [{"shimlet","unit","serviceId","track","hash", "state"}], state "known" or "orphan" (no service
 * has it, and nobody deleted one that had); on their way out: "stray", a canary that is not wished
 * for, and "deleted".  Asks the environments. */
int berth_deploy_units(struct berth_deploy *d, struct berth_arena *a, struct berth_buf *out,
                       struct berth_err *e);
/* How far the steps came.  track: "canary"; NULL: the service itself.
 * {"serviceId","track","revision","pipeline","shimlet","state","currentStep","totalSteps":[..],"steps":[{"name",
 *  "state","attempts","maxRetries","timeoutMs","startedAt","finishedAt","durationMs","error"}]} */
int berth_deploy_pipeline(struct berth_deploy *d, const char *id, const char *track,
                          struct berth_arena *a, struct berth_buf *out, struct berth_err *e);
/* [{"revision","createdAt","operator","hash","current","spec"}], newest first. */
int berth_deploy_revisions(struct berth_deploy *d, const char *id, struct berth_arena *a,
                           struct berth_buf *out, struct berth_err *e);
/* What create (id NULL) or update would do: {"action":"create"|"update"|"none","changes":[..],
 *  "rolls":bool,"objects":[..] as the shimlet renders them,"fits":bool,"why"}.  Changes nothing. */
int berth_deploy_plan(struct berth_deploy *d, const char *id, const struct berth_spec *spec,
                      struct berth_arena *a, struct berth_buf *out, struct berth_err *e);
/* What replicas printed; as berth_shimlet_ops.logs.  cancelled() is asked while following. */
struct berth_deploy_logs {
    const char *track; /* NULL: stable */
    struct berth_log_query query;
    bool (*line)(void *arg, const char *replica, const char *text, size_t len);
    bool (*cancelled)(void *arg);
    void *arg;
};
int berth_deploy_logs(struct berth_deploy *d, const char *id, const struct berth_deploy_logs *how,
                      struct berth_err *e);

/* ---- events ----
 *
 * {"seq","time","type","serviceId",...}: type "service.created", "service.updated",
 * "service.deleted" (audit: "operator", "peer", "parameters"), "service.status" ("from", "to",
 * "status", "endpoint", "reason"), "service.step" ("step", "event", "state", "attempt",
 * "durationMs", "operator", "parameters", "message", "level"), "service.note",
 * "service.orphan" ("shimlet", "unit", "track": a workload that no service has), "service.audit" (a
 * pipeline's decision: "action", "decision", "operator", "message"), "service.access"
 * (who asked the service or was refused: "decision", "operator", "peer", "count", "sinceMs").
 * Durable in the same transaction as the change that they tell of; numbered without gaps.
 */
struct berth_event_query {
    uint64_t after;         /* seq; 0, or more than there is: from the oldest that is kept */
    const char *service_id; /* NULL: all */
    const char *type;       /* a beginning of it: "service.step"; NULL: all */
    uint64_t since_wall_ns; /* 0: all */
    size_t limit;           /* 0: 1,000 */
};
/* Calls each() with one event's JSON after the other.  *ret_last: where to go on (after). */
int berth_deploy_events(struct berth_deploy *d, const struct berth_event_query *q,
                        bool (*each)(void *arg, uint64_t seq, struct berth_slice json), void *arg,
                        uint64_t *ret_last, struct berth_err *e);
/* Told after each change that has events, on any thread, with no lock held: post to a loop. */
struct berth_event_watch {
    void (*changed)(struct berth_event_watch *w);
    struct berth_event_watch *next, **link; /* the engine's */
};
void berth_deploy_watch(struct berth_deploy *d, struct berth_event_watch *w);
/* changed() is not running and will not be called any more when this returns. */
void berth_deploy_unwatch(struct berth_deploy *d, struct berth_event_watch *w);

#endif
