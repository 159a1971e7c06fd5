#ifndef BERTH_SHIMLET_H
#define BERTH_SHIMLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h> /* berth_setting, berth_log_level, BERTH_HAS's rules */
#include <berth/err.h>

/*
 * The plugin ABI of shimlets.  A shimlet reaches one kind of environment (processes of this
 * machine, a container engine, Kubernetes) and keeps workloads there as they are wanted.  It is
 * declarative: the host says what a workload should be, looks at what it is, and asks again until
 * both are the same.  Every operation is idempotent and may be cut off at any point and repeated.
 *
 * A shimlet is compiled in, or a shared object berth-shimlet-NAME.so that exports one function,
 * BERTH_SHIMLET_ENTRY.  Structs that carry struct_size grow at the end; a member beyond the other
 * side's struct_size is not there.  All text is UTF-8 and NUL-ended.
 */
#define BERTH_SHIMLET_ABI 1u

struct berth_shimlet; /* the plugin's own: one opened environment */
struct berth_op;      /* the host's own: one operation under way, with its deadline */

struct berth_pair {
    const char *key, *value;
};

/*
 * A workload as it should be: one revision of a service on one track, in any number of equal
 * replicas.  Borrowed for the call only.
 *
 * In command and env, the environment replaces $(PORT), $(HOST) (the address to listen on) and
 * $(REPLICA) (0, 1, ...) by a replica's own.  $$ is a dollar.
 */
struct berth_unit {
    uint32_t struct_size;
    const char *name;       /* unique in the environment: [a-z0-9-], at most 52, from a letter */
    const char *service_id; /* [a-z0-9-], at most 100 */
    const char *track;      /* "stable", "canary" */
    uint64_t revision;      /* of the service, grows with each change */
    const char *hash;       /* of everything here but replicas: hex; another hash is out of date */
    uint32_t replicas;      /* 0 is allowed: exists, and serves nothing */
    const char *model_name; /* what clients ask for */
    const char *model_path; /* file or folder, as the environment's machines see it; or NULL */
    const char *image;      /* container image; NULL: the shimlet's default, or none needed */
    const char *const *command; /* NULL-ended, the engine's whole command line; NULL: the image's */
    const struct berth_pair *env;
    size_t env_count;
    uint16_t port;      /* to listen on; 0: the environment chooses, and keeps it for a replica */
    uint64_t cpu_milli; /* of a replica: 1500 is one core and a half; 0: no limit */
    uint64_t memory_bytes; /* of a replica; 0: no limit */
    uint32_t accelerator_count;
    const char *accelerator_resource; /* "nvidia.com/gpu"; NULL: none */
    const char *accelerator_product;  /* "H20"; NULL: any */
    const char *health_path;          /* answered with 200 when ready: "/health" */
    uint64_t start_timeout_ns;        /* a replica that is not ready after this has failed */
    uint64_t drain_timeout_ns;        /* for requests in flight before a replica is stopped */
    uint32_t surge_max;               /* replicas beyond `replicas` while rolling: at least 1 ... */
    uint32_t unavailable_max;         /* ... unless this is: replicas that may be missing */
    const char *workload;             /* "Deployment" or "StatefulSet"; ignored elsewhere */
    uint32_t scale_min, scale_max;    /* horizontal scaling by the environment; max 0: none */
    uint32_t scale_cpu_percent;
    const struct berth_pair *labels; /* the user's own, besides the shimlet's */
    size_t label_count;
    const char *settings_json; /* the service's own settings for this shimlet: an object */
    const char *spec_json;     /* the service's spec, for keeping with the workload */
    /* The engine speaks TLS alone, and has a certificate of this authority (a PEM file of the
     * control plane's machine): probe it so, and tell of endpoints with https.  NULL: plain HTTP.
     * Only for shimlets with the feature "tls". */
    const char *ca_path;
    const char *key_path; /* a file whose first word the engine wants to be sent; NULL: none */
};

enum berth_replica_state {
    BERTH_REPLICA_STARTING, /* made, and not ready yet */
    BERTH_REPLICA_READY,    /* health_path answers */
    BERTH_REPLICA_FAILED,   /* crashed, cannot start, not scheduled: see reason */
    BERTH_REPLICA_STOPPING,
};

struct berth_replica {
    uint32_t struct_size;
    const char *id;   /* unique in the environment, and never used again for another */
    const char *hash; /* of the unit that it runs */
    uint64_t revision;
    enum berth_replica_state state;
    const char
        *endpoint;      /* "http://127.0.0.1:41234"; NULL: not known, or not reachable from here */
    const char *reason; /* for a person: "ended by signal 9 (Killed)"; or NULL */
    const char *node;   /* the machine; or NULL */
    uint32_t restarts;
    uint64_t memory_bytes;          /* that it takes now; 0: not known */
    uint64_t cpu_milli;             /* averaged over some seconds; 0: not known */
    const char *ca_path, *key_path; /* of the unit that it was made from */
};

/* A workload as it is.  Borrowed by the host for the call only. */
struct berth_observed {
    uint32_t struct_size;
    bool exists;
    bool drifted;              /* somebody changed what apply() had made: see message */
    const char *hash;          /* that apply() was last given; or NULL */
    uint32_t replicas_desired; /* that apply() was last given */
    const struct berth_replica *replicas;
    size_t replica_count;
    const char *endpoint; /* one address for all of them (a Kubernetes Service); or NULL */
    const char *message;  /* or NULL */
    /* What each of replicas[] calls the model, where that is another name than the unit's
     * model_name: requests reach it under this one.  NULL, or NULL for one of them: the unit's. */
    const char *const *model_names;
};

#define BERTH_OBSERVED_HAS(seen, member) \
    ((seen)->struct_size >= offsetof(struct berth_observed, member) + sizeof(seen)->member)

struct berth_listed {
    const char *service_id, *track, *name, *hash;
};

/* What an environment has to give.  0 in *_total: not known. */
struct berth_resources {
    uint32_t struct_size;
    uint64_t cpu_milli_total, cpu_milli_free;
    uint64_t memory_bytes_total, memory_bytes_free;
    uint32_t accelerators_total, accelerators_free;
};

struct berth_log_query {
    const char *replica; /* an id; NULL: all */
    uint32_t tail_lines; /* from the end; 0: all that is kept */
    bool follow;         /* go on until cancelled(op) */
};

/* A question for an engine's health. */
struct berth_probe {
    uint32_t struct_size;
    const char *url;
    uint64_t timeout_ns;
    const char *ca_path, *key_path; /* as in berth_unit; NULL: the system's authorities, no key */
};

/* ---- what the host offers; any thread ---- */

struct berth_shimlet_host {
    uint32_t struct_size;
    void (*log)(enum berth_log_level level, const char *msg);
    /* Should the operation end now?  (Deadline passed, service deleted, program stops.)  Ask it at
     * least every 100 ms; then return -BERTH_ECANCELED. */
    bool (*cancelled)(const struct berth_op *op);
    uint64_t (*left_ns)(const struct berth_op *op); /* until its deadline */
    /* A line for the log of the service that op is about. */
    void (*note)(const struct berth_op *op, const char *text);
    /* No new requests to this replica; waits until none is in flight, for limit_ns at most.  Call
     * it before stopping one, and stop it whatever comes back. */
    int (*drain)(const struct berth_op *op, const char *replica_id, uint64_t limit_ns);
    /* GET url; 0 when it answers 200 within timeout_ns. */
    int (*probe)(const char *url, uint64_t timeout_ns, struct berth_err *e);
    /* Something about the service may have changed: look at it soon.  `who` is from open(). */
    void (*changed)(void *who, const char *service_id);
    /* As probe(), of an engine that speaks TLS or wants a key. */
    int (*probe_as)(const struct berth_probe *p, struct berth_err *e);
    /* The environment cannot be reached: why, for a person; NULL: it can be again.  Until that its
     * services are neither brought about nor looked at; what was seen of them stays, requests go
     * where they went, and people are told.  Then each is looked at at once, also one that waits to
     * be tried again.  `who` is from open(); the same may be said twice. */
    void (*away)(void *who, const char *why);
};

#define BERTH_SHIMLET_HOST_HAS(h, member)                                                   \
    ((h)->struct_size >= offsetof(struct berth_shimlet_host, member) + sizeof(h)->member && \
     (h)->member != NULL)

struct berth_shimlet_open {
    uint32_t struct_size;
    const char *settings_json; /* an object of this shimlet's settings, checked; "{}" at least */
    const char *state_dir; /* a folder of its own that stays; made already; NULL: none is kept */
    const char *owner;     /* marks what belongs to this control plane: [a-z0-9-], at most 40 */
    const char *program;   /* path of berth itself */
    void *who;             /* for host->changed() */
};

/* ---- what the plugin offers ---- */

struct berth_shimlet_ops {
    uint32_t abi;         /* = BERTH_SHIMLET_ABI */
    uint32_t struct_size; /* = sizeof this struct in the plugin's headers */
    const char *name;     /* "docker"; static storage, as all below */
    const char *version;
    const char *description;              /* one line */
    const struct berth_setting *settings; /* of the environment; NULL: none */

    /* Required.  Any thread, several at once for different workloads, one at a time for one.
     * Failures: -BERTH_EINVAL, -BERTH_EPERM, -BERTH_EUNSUPPORTED, -BERTH_ELIMIT (does not fit) are
     * not tried again; -BERTH_ENETWORK, -BERTH_EIO, -BERTH_EDEADLINE, -BERTH_EAGAIN are. */
    int (*open)(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
                struct berth_shimlet **ret, struct berth_err *e);
    /* Workloads stay as they are.  s may be NULL. */
    void (*close)(struct berth_shimlet *s);
    /* Take one round of steps towards the unit: create or change it, and while rolling start new
     * replicas and stop old ones as surge_max and unavailable_max allow.  Does not wait for
     * replicas to get ready: the host looks at status() and calls again while hash, count or a
     * replica's hash differ.  Makes nothing twice, also after a lost answer or a restart. */
    int (*apply)(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                 struct berth_err *e);
    /* Remove the workload and all that was made for it.  0: nothing is left (also when there was
     * nothing); 1: on its way, ask again; drains replicas first. */
    int (*remove)(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                  struct berth_err *e);
    /* Look at it: calls tell() once.  Cheap: the host may ask every second. */
    int (*status)(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                  void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
                  struct berth_err *e);
    /* Every workload of this owner. */
    int (*list)(struct berth_shimlet *s, const struct berth_op *op,
                void (*each)(void *arg, const struct berth_listed *one), void *arg,
                struct berth_err *e);

    /* Optional from here on: NULL, or beyond struct_size, means "not offered". */
    /* Could this unit ever run here?  -BERTH_ELIMIT with the sums, -BERTH_EINVAL, ... */
    int (*check)(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                 struct berth_err *e);
    /* What replicas printed, oldest first; line() returns false to stop.  Blocks with follow. */
    int (*logs)(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                const struct berth_log_query *q,
                bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                void *arg, struct berth_err *e);
    int (*resources)(struct berth_shimlet *s, const struct berth_op *op,
                     struct berth_resources *ret, struct berth_err *e);
    /* The objects that apply() would make, as a JSON array, for `plan`; text() once. */
    int (*render)(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                  void (*text)(void *arg, const char *json, size_t len), void *arg,
                  struct berth_err *e);
    /* True: changed() tells of every change, and nothing needs to be polled.  False: the host asks
     * status() from time to time. */
    bool (*watches)(const struct berth_shimlet *s);
    /* Keep new work off a machine and move what is there away (drain), or take it back. */
    int (*node)(struct berth_shimlet *s, const struct berth_op *op, const char *node, bool drain,
                struct berth_err *e);
    /* How many accelerators the workload still holds; remove() of the service waits for 0. */
    int (*held)(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                uint32_t *ret_accelerators, struct berth_err *e);
    /* True: model_path is opened on the machine that the host runs on, so that the host can say at
     * once that it is not there.  False: other machines or containers open it. */
    bool (*sees_files)(const struct berth_shimlet *s);
    /* What it can beyond the above: a NULL-ended list.  "tls": unit.ca_path and unit.key_path. */
    const char *const *features;
};

#define BERTH_SHIMLET_HAS(ops, member)                                                         \
    ((ops)->struct_size >= offsetof(struct berth_shimlet_ops, member) + sizeof(ops)->member && \
     (ops)->member != NULL)

/* The one exported symbol.  Returns static storage, or NULL with *e filled.  Called once. */
typedef const struct berth_shimlet_ops *berth_shimlet_entry_fn(const struct berth_shimlet_host *h,
                                                               struct berth_err *e);
#define BERTH_SHIMLET_ENTRY "berth_shimlet_entry"
#ifdef __cplusplus
extern "C"
#endif
    __attribute__((visibility("default"))) const struct berth_shimlet_ops *
    berth_shimlet_entry(const struct berth_shimlet_host *h, struct berth_err *e);

#endif
