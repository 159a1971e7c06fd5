#ifndef BERTH_PIPELINE_H
#define BERTH_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/shimlet.h>

/*
 * The plugin ABI of pipelines.  A pipeline is how a service is brought about: an ordered list of
 * goals.  The host asks each goal in turn whether it is achieved and has it brought about if not,
 * with retries, a time limit and rollback; it keeps how far it got, so that a restart goes on where
 * it stopped.  A pipeline keeps nothing itself: what a later step needs, an earlier one set()s.
 *
 * A pipeline is compiled in, or a shared object berth-pipeline-NAME.so that exports one function,
 * BERTH_PIPELINE_ENTRY.  Rules of growth as in shimlet.h.
 */
#define BERTH_PIPELINE_ABI 1u

struct berth_deployment; /* the host's own: a service while one of its steps runs */

enum berth_on_failure {
    BERTH_ON_FAILURE_DEFAULT,  /* the pipeline's, which is abort */
    BERTH_ON_FAILURE_ABORT,    /* stop; what was done stays */
    BERTH_ON_FAILURE_CONTINUE, /* mark it failed and go on */
    BERTH_ON_FAILURE_ROLLBACK, /* undo this step and those before it, last first */
};

/* Zero: the host's default (10 retries, 5 min, 200 ms doubling to 10 s). */
struct berth_policy {
    uint32_t retries_max; /* after the first try; UINT32_MAX: none at all */
    uint64_t timeout_ms;  /* of the step, all its tries and waiting included */
    uint64_t backoff_ms, backoff_max_ms;
    enum berth_on_failure on_failure;
};

/*
 * One step.  On one of the host's threads, one at a time for a service.  Each function returns soon
 * after cancelled() says so.  What fails with -BERTH_EINVAL, -BERTH_EPERM, -BERTH_EAUTH,
 * -BERTH_EUNSUPPORTED, -BERTH_ELIMIT or -BERTH_ECONFIG is not tried again.
 */
struct berth_goal {
    const char *name; /* "config-rendering"; NULL ends a list */
    /* 1: achieved, 0: not (yet), or a failure.  NULL: once ensure() has succeeded. */
    int (*achieved)(struct berth_deployment *d, struct berth_err *e);
    /* Bring it about; idempotent.  Need not wait: achieved() is asked again.  NULL: only waits. */
    int (*ensure)(struct berth_deployment *d, struct berth_err *e);
    /* Undo it.  NULL: nothing to undo. */
    int (*rollback)(struct berth_deployment *d, struct berth_err *e);
    struct berth_policy policy;
};

/* Who asked for what a step brings about: the change of the service that came last.  The bits of
 * scopes are those of the server's keys. */
enum {
    BERTH_CALLER_READ = 1u << 0,
    BERTH_CALLER_INFER = 1u << 1,
    BERTH_CALLER_MANAGE = 1u << 2,
};
struct berth_caller {
    uint32_t struct_size;
    const char *name; /* a key's name; of a caller without one what it says, or its address */
    bool known;       /* it showed a key that the server knows; else name is hearsay */
    uint32_t scopes;  /* that the key had then; 0: none */
};

struct berth_pipeline_host {
    uint32_t struct_size;
    void (*log)(enum berth_log_level level, const char *msg);
    bool (*cancelled)(const struct berth_deployment *d);
    uint64_t (*left_ns)(const struct berth_deployment *d);
    void (*note)(const struct berth_deployment *d, const char *text); /* the service's log */

    /* A value: what a step has set, else the spec's by its path ("modelName",
     * "resourceRequirements.memory", "quantConfig.type"), as text; numbers in decimal, objects and
     * arrays as JSON.  NULL: there is none.  "stable.revision" and "canary.revision": which
     * revision of the service is wished for there; NULL: none.  Borrowed until this step's function
     * returns. */
    const char *(*get)(const struct berth_deployment *d, const char *key);
    /* Set a value (NULL: take it away), kept for later steps and over restarts.  These make the
     * unit, and win over the spec: "modelPath", "image", "command" (a JSON array), "env.NAME",
     * "port", "healthPath", "memory" and "cpu" (as in the spec), "caPath" and "keyPath" (as in
     * berth_unit).  -BERTH_ETOOBIG */
    int (*set)(struct berth_deployment *d, const char *key, const char *value, struct berth_err *e);

    /* The unit as it stands now.  Borrowed until the next set() or this function's return. */
    const struct berth_unit *(*unit)(struct berth_deployment *d);
    /* The service's environment.  As in shimlet.h. */
    int (*apply)(struct berth_deployment *d, struct berth_err *e);
    int (*status)(struct berth_deployment *d,
                  void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
                  struct berth_err *e);
    int (*remove)(struct berth_deployment *d, struct berth_err *e); /* 0: gone, 1: not yet */
    int (*check)(struct berth_deployment *d, struct berth_err *e);
    int (*resources)(struct berth_deployment *d, struct berth_resources *ret, struct berth_err *e);

    /* A goal that the host brings along, to be copied into a list: "model-validation",
     * "config-rendering", "resource-deployment", "health-check", "resource-removal",
     * "accelerator-release", "file-removal" (of folder()).  NULL: no such. */
    const struct berth_goal *(*goal)(const char *name);

    /* A folder for files that the service's pipeline makes, with no folders in it: made already,
     * there after a restart.  NULL: none is kept.  Borrowed until this step's function returns. */
    const char *(*folder)(struct berth_deployment *d);

    /* Who asks.  Borrowed until this step's function returns. */
    const struct berth_caller *(*caller)(struct berth_deployment *d);
    /* Who may ask the service through this server: names of keys (NULL-ended); "*": any known key.
     * In force at once, and until another pipeline has brought the service about without it; never
     * for more than the spec's securityConfig.allow, where it has one. */
    int (*allow)(struct berth_deployment *d, const char *const *names, struct berth_err *e);
    /* A record for the audit, kept with the service's events: what was decided, for or against
     * whom (NULL: the caller), and why. */
    int (*audit)(struct berth_deployment *d, const char *action, bool granted, const char *who,
                 const char *text, struct berth_err *e);
};

struct berth_pipeline_ops {
    uint32_t abi;         /* = BERTH_PIPELINE_ABI */
    uint32_t struct_size; /* = sizeof this struct in the plugin's headers */
    const char *name;     /* "opensourcellm"; static storage, as all below */
    const char *version;
    const char *description;    /* one line */
    const char *const *aliases; /* NULL-ended, or NULL: none */
    /* Either: the goals of deploying, and of removing (NULL: the host's).  Ended by a NULL name. */
    const struct berth_goal *deploy;
    const struct berth_goal *remove;
    /* Or: the names of the steps, NULL-ended, in static storage and asked for once, when the
     * pipeline is registered; and one function that runs any of them:
     * -BERTH_EUNSUPPORTED "unsupported step: NAME" for others. */
    const char *const *(*steps)(void);
    int (*run_step)(const char *name, struct berth_deployment *d, struct berth_err *e);
    struct berth_policy policy; /* for steps that say nothing */
};

#define BERTH_PIPELINE_HAS(ops, member)                                                         \
    ((ops)->struct_size >= offsetof(struct berth_pipeline_ops, member) + sizeof(ops)->member && \
     (ops)->member != NULL)

/* The one exported symbol.  h stays.  Returns static storage, or NULL with *e filled. */
typedef const struct berth_pipeline_ops *
berth_pipeline_entry_fn(const struct berth_pipeline_host *h, struct berth_err *e);
#define BERTH_PIPELINE_ENTRY "berth_pipeline_entry"
#ifdef __cplusplus
extern "C"
#endif
    __attribute__((visibility("default"))) const struct berth_pipeline_ops *
    berth_pipeline_entry(const struct berth_pipeline_host *h, struct berth_err *e);

#endif
