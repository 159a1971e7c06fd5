#ifndef BERTH_MSVC_OVERLAY_H
#define BERTH_MSVC_OVERLAY_H

#include <stdbool.h>

#include "operator/modelservice/build.h"
#include "operator/modelservice/names.h"

struct berth_json;
struct berth_jw;
struct berth_msvc;

/* Whose pods requests may come to. */
#define BERTH_MSVC_SERVES_LABEL "llm-d.ai/inferenceServing"
#define BERTH_MSVC_MODEL_LABEL  "llm-d.ai/model"

/*
 * What a ModelService says of each child, as an object that is merged over the base's.  Each writes
 * one whole object.
 */
struct berth_msvc_overlay {
    const struct berth_msvc *m;
    const struct berth_msvc_conf *conf;
    enum berth_msvc_child child;
    const struct berth_json *base;  /* of this child, or NULL */
    enum berth_msvc_child workload; /* of its role; BERTH_MSVC_CHILDREN: it is of none */
    bool is_autoscaled;             /* the workload's replicas are a HorizontalPodAutoscaler's */
    bool has_picker;                /* an endpoint picker of its own */
    bool to_v1;                     /* its pool is of v1 */
};

/* "apiVersion" to "metadata", the object left open for "spec". */
void berth_msvc_put_head(const struct berth_msvc_overlay *o, struct berth_jw *w);
/* The labels that tell this child's pods: an object. */
void berth_msvc_put_labels(const struct berth_msvc_overlay *o, struct berth_jw *w);

void berth_msvc_put_deployment(const struct berth_msvc_overlay *o, struct berth_jw *w);
/* A leader and workers.  o->base has both templates, or is NULL. */
void berth_msvc_put_worker_set(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_service(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_autoscaler(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_account(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_role_binding(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_route(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_pool_v1(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_pool(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_model(const struct berth_msvc_overlay *o, struct berth_jw *w);
void berth_msvc_put_objective(const struct berth_msvc_overlay *o, struct berth_jw *w);
/* A ConfigMap's head, named by the base; owned by the service or, in another namespace, by nobody.
 */
void berth_msvc_put_config_map(const struct berth_msvc *m, const struct berth_msvc_conf *conf,
                               const char *name, bool owned, struct berth_jw *w);
/* The volume that the model is on, as a pod's spec with nothing but that. */
void berth_msvc_put_volume(const struct berth_msvc_overlay *o, struct berth_jw *w);
/* A route to the pool for everything, as an HTTPRoute with nothing but that. */
void berth_msvc_put_route_rules(const struct berth_msvc_overlay *o, struct berth_jw *w);

#endif
