#ifndef BERTH_MSVC_BUILD_H
#define BERTH_MSVC_BUILD_H

#include <stdbool.h>
#include <stddef.h>

#include "operator/modelservice/names.h"
#include "operator/modelservice/pool.h"

struct berth_arena;
struct berth_err;
struct berth_json;
struct berth_msvc;
struct berth_msvc_base;
struct berth_msvc_problems;

#define BERTH_MSVC_UID_LABEL    "llm-d.ai/modelservice-uid"
#define BERTH_MSVC_APPLIED_NOTE "llm-d.ai/applied" /* annotation: the sum of what was applied */

/* What the controller was started with. */
struct berth_msvc_conf {
    bool strict;  /* warnings are errors */
    bool applied; /* objects are for an API server, which takes no owner without a uid */
    bool managed; /* children bear BERTH_MSVC_UID_LABEL: a controller finds them by it */
    /* An autoscaler's workload says no replicas: they are for somebody who applies them again and
     * again, and would undo what the autoscaler does. */
    bool leaves_replicas;
    /* Which generation of pools comes out, and whether there are objectives: pool.h. */
    enum berth_msvc_inference inference;
    bool no_objectives;
    const char *epp_cluster_role; /* NULL or "": none */
    const char *const *epp_pull_secrets, *const *pd_pull_secrets;
    size_t epp_pull_secret_count, pd_pull_secret_count;
};

/* The objects that a ModelService comes to; NULL: not there.  configMaps: a list. */
struct berth_msvc_set {
    const struct berth_json *of[BERTH_MSVC_CHILDREN];
};

/*
 * The children of m over base: which there are, and each as what the service says merged over what
 * the base says.  Reads nothing, asks nobody, gives the same for the same.  Problems go to p.
 *   -BERTH_ENOMEM, or what berth_merge() refuses
 */
int berth_msvc_build(const struct berth_msvc *m, const struct berth_msvc_base *base,
                     const struct berth_msvc_conf *conf, struct berth_arena *a,
                     struct berth_msvc_problems *p, struct berth_msvc_set *ret,
                     struct berth_err *e);

#endif
