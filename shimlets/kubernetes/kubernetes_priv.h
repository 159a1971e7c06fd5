#ifndef BERTH_SHIMLET_KUBERNETES_PRIV_H
#define BERTH_SHIMLET_KUBERNETES_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include <berth/shimlet.h>

#include "base/arena.h"
#include "base/buf.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/informer.h"

struct berth_json;

enum {
    KUBERNETES_TEXT_MAX = 256, /* of a setting */
    KUBERNETES_NAME_MAX = 63,  /* of an object, and of a label's value */
    KUBERNETES_PORT_FIRST = 30000,
    KUBERNETES_PORT_COUNT = 2768, /* up to 32767 */
    KUBERNETES_PODS_MAX = 2048,   /* of one workload */
    KUBERNETES_ARENA_MAX = 64 << 20,
};

/* ---- settings (conf.c) ---- */

struct kubernetes_conf {
    char kubeconfig[KUBERNETES_TEXT_MAX * 4], context[KUBERNETES_TEXT_MAX];
    char space[KUBERNETES_TEXT_MAX]; /* "": the context's */
    char image[KUBERNETES_TEXT_MAX], pull_policy[32], pull_secret[KUBERNETES_TEXT_MAX];
    char node_selector[KUBERNETES_TEXT_MAX * 2]; /* "key=value,key=value" */
    char tolerations[16];                        /* "none", "accelerator", "all" */
    char model_volume[KUBERNETES_TEXT_MAX];      /* "hostPath", or a claim's name */
    char model_root[KUBERNETES_TEXT_MAX];        /* where a claim's root is */
    char service_type[32], service_account[KUBERNETES_TEXT_MAX];
    char product_label[KUBERNETES_TEXT_MAX];
    char manager[KUBERNETES_TEXT_MAX];    /* of fields */
    char managed_by[KUBERNETES_NAME_MAX]; /* label's value, and prefix of annotations */
    bool host_network;
    int64_t qps, burst, timeout_s;
};
extern const struct berth_setting kubernetes_settings[];
/* json: flat; what it does not say is dflt's.  A whole object; unknown members are left alone. */
void kubernetes_conf_read(const char *json, const struct kubernetes_conf *dflt,
                          struct kubernetes_conf *ret);
void kubernetes_conf_default(struct kubernetes_conf *ret);
/* -BERTH_EINVAL with the setting and what it may be. */
int kubernetes_conf_check(const struct kubernetes_conf *c, struct berth_err *e);
/* A service's own settings: -BERTH_EINVAL for what a service may not set, or is of a wrong type. */
int kubernetes_conf_check_own(const char *json, struct berth_arena *a, struct berth_err *e);
/* Who has the replicas that an autoscaler sets, until it does. */
void kubernetes_scale_manager(const struct kubernetes_conf *c, char ret[KUBERNETES_TEXT_MAX + 8]);

/* ---- names (names.c) ---- */

/* As Kubernetes wants names: "Qwen3-0.6B" -> "qwen3-0-6b", "7B" -> "model-7b". */
void kubernetes_name(const char *text, char ret[KUBERNETES_NAME_MAX + 1]);
/* A label's value from a longer text: cut, with a hash of all of it at the end. */
void kubernetes_label_value(const char *text, char ret[KUBERNETES_NAME_MAX + 1]);
/* The folder to mount: a path to a model's file becomes its parent's.  -BERTH_EINVAL for none, "."
 * and "/". */
int kubernetes_model_dir(struct berth_arena *a, const char *path, const char **ret,
                         struct berth_err *e);
/* Where the search for a free port begins. */
uint16_t kubernetes_port_first(const char *unit_name);
/* 64 bits of a text as hex: for labels, and to know whether what was applied is the same. */
void kubernetes_digest(const void *bytes, size_t len, char ret[17]);

/* ---- what a unit becomes (render.c); pure ---- */

struct kubernetes_plan {
    const struct kubernetes_conf *conf; /* the unit's settings over the environment's */
    const struct berth_unit *unit;
    const char *owner;
    const char *space;
    uint16_t port;
    const char *const
        *products; /* values of the product label that will do; NULL-ended; NULL: any */
};

struct kubernetes_object {
    const struct berth_kube_kind *kind;
    struct berth_slice json; /* in the arena */
    char digest[17];         /* of it, also in its annotation */
};
enum { KUBERNETES_OBJECTS_MAX = 3 }; /* workload, Service, and an autoscaler */
/* How many were written to ret.  -BERTH_EINVAL with what is wrong in the unit; -BERTH_ENOMEM. */
int kubernetes_render(const struct kubernetes_plan *p, struct berth_arena *a,
                      struct kubernetes_object ret[KUBERNETES_OBJECTS_MAX], size_t *ret_count,
                      struct berth_err *e);
/* Does the environment scale it? */
bool kubernetes_is_scaled(const struct berth_unit *u);
/* The value of "<managed_by>/KEY"; empty: none. */
struct berth_slice kubernetes_note(const struct kubernetes_conf *c, const struct berth_json *object,
                                   const char *key);

/* ---- what there is (observe.c); pure ---- */

struct kubernetes_look {
    const struct kubernetes_conf *conf;
    const struct berth_json *workload, *service; /* NULL: there is none */
    const struct berth_json *const *pods;
    size_t pod_count;
    uint64_t wall_ns;
    bool in_cluster;     /* so that the cluster's names and addresses can be reached */
    const char *drifted; /* what somebody changed, as is known elsewhere; NULL: nothing */
};
/* Fills ret, whose texts are in the arena.  -BERTH_ENOMEM. */
int kubernetes_observe(const struct kubernetes_look *l, struct berth_arena *a,
                       struct berth_observed *ret, struct berth_err *e);
/* What a person can do about it ("" where the message says all there is): the reason of a pod's
 * container, condition or end, with the cluster's message (advice.c).  Static. */
const char *kubernetes_advice(struct berth_slice reason, const char *message);
/* How many accelerators (resources with "gpu" or a vendor's domain) a pod holds. */
uint32_t kubernetes_pod_accelerators(const struct berth_json *pod);
bool kubernetes_pod_is_over(const struct berth_json *pod); /* it holds nothing any more */
/* Has somebody else than us, or an autoscaler, set a field of the workload's spec?  So its
 * metadata.managedFields say; without ours among them it may be anything. */
bool kubernetes_is_touched(const struct kubernetes_conf *c, const struct berth_json *workload);

/* containerPort "http" of a workload; 0: none. */
int64_t kubernetes_workload_port(const struct berth_json *workload);

/* ---- one environment (kubernetes.c) ---- */

/* What is known of a unit besides what the informers have: what apply() did, so that a change by
 * somebody else is seen, and a cache that is behind is not taken for one. */
struct kubernetes_known {
    struct kubernetes_known *next;
    char name[KUBERNETES_NAME_MAX + 1];
    uint16_t port;                      /* 0: none yet */
    const struct berth_kube_kind *kind; /* that was applied; NULL: nothing by this process */
    char digest[17], service_digest[17], scaler_digest[17]; /* that was applied; "": not */
    int64_t generation;                                     /* the workload's after that */
    bool seen;    /* the informer has had the workload since it was applied */
    bool touched; /* somebody else owns a field of the workload's spec: it may differ */
    bool removing;
    uint64_t at_ns; /* of the last apply or removal */
};

struct berth_shimlet {
    const struct berth_shimlet_host *h;
    void *who;
    struct kubernetes_conf conf;
    char owner[64];
    struct berth_arena arena; /* the kubeconfig's */
    struct berth_kube_config config;
    struct berth_kube *k;
    struct berth_kube_informer *deployments, *stateful_sets, *services, *pods;
    /* Since when the server can be reached again; UINT64_MAX: it cannot be; 0: it always could. */
    atomic_uint_fast64_t back_ns;
    bool troubled; /* of the first informer's thread */
    /* Of workloads and pods, and that the server is back: for those who follow logs. */
    atomic_uint_fast64_t changes;
    atomic_bool own_pods_only; /* those of other namespaces are not ours to list */
    pthread_mutex_t mu;
    struct kubernetes_known *known; /* under mu */
};

/* Of an operation: who may end it.  asked is the caller's, and lives as long as what comes back. */
struct kubernetes_asked {
    const struct berth_shimlet_host *h;
    const struct berth_op *op;
};
struct berth_kube_until kubernetes_until(struct berth_shimlet *s, const struct berth_op *op,
                                         struct kubernetes_asked *asked);
/* "500m", "16Gi", "2" as thousandths, or as units; 0: not a quantity. */
uint64_t kubernetes_quantity_milli(struct berth_slice text);

/* ---- the rest (more.c, logs.c, node.c) ---- */

int kubernetes_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                     struct berth_err *e);
int kubernetes_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                    const struct berth_log_query *q,
                    bool (*line)(void *arg, const char *replica, const char *text, size_t len),
                    void *arg, struct berth_err *e);
int kubernetes_resources(struct berth_shimlet *s, const struct berth_op *op,
                         struct berth_resources *ret, struct berth_err *e);
int kubernetes_node(struct berth_shimlet *s, const struct berth_op *op, const char *node,
                    bool drain, struct berth_err *e);

#endif
