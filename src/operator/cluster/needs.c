#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "operator/cluster/controller_priv.h"
#include "recon/reconciler.h"

/*
 * What people make and services need: the role of endpoint pickers.  It is asked for when a service
 * has a picker, at most each ten minutes; and while there is none, each half a minute.
 */

static const struct berth_kube_kind cluster_roles = {"rbac.authorization.k8s.io/v1", "ClusterRole",
                                                     "clusterroles", true};
static const uint64_t known_ns = 600 * BERTH_S, missing_ns = 30 * BERTH_S;
static const char role_key[] = "role"; /* of work; those of services have a slash */

bool
msvc_is_need(const char *key)
{
    return strchr(key, '/') == NULL;
}

struct berth_outcome
msvc_find_need(struct berth_msvc_controller *c)
{
    const char *name = c->conf.build.epp_cluster_role;
    const struct berth_kube_until until = msvc_until(c);
    const struct berth_kube_ref ref = {.kind = &cluster_roles, .name = name};
    struct berth_err e = {""};
    struct berth_arena a;

    berth_arena_init(&a, 16u << 20);
    const int r = berth_kube_get(c->conf.kube, &until, &a, &ref, NULL, &e);
    berth_arena_fini(&a);
    /* Who may not see it does not know; any other failure passes. */
    const bool knows = r == 0 || r == -BERTH_ENOENT || r == -BERTH_EPERM || r == -BERTH_EAUTH;
    if (knows && atomic_exchange(&c->lacks_role, r == -BERTH_ENOENT) != (r == -BERTH_ENOENT)) {
        if (r == 0)
            berth_info("operator: there is a ClusterRole %s now", name);
        msvc_look_at_all(c, 0);
    }
    if (knows && r != -BERTH_ENOENT)
        return (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
    return (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = missing_ns};
}

void
msvc_check_needs(struct msvc_look *x)
{
    struct berth_msvc_controller *c = x->c;
    const uint64_t now_ns = berth_now_ns();

    if (x->problems.errors > 0 || x->wish.of[BERTH_MSVC_EPP_ROLE_BINDING] == NULL)
        return;
    (void)pthread_mutex_lock(&c->mu);
    const bool due = c->role_asked_ns == 0 || now_ns - c->role_asked_ns > known_ns;
    if (due)
        c->role_asked_ns = now_ns;
    (void)pthread_mutex_unlock(&c->mu);
    if (due)
        (void)berth_reconciler_add(c->work, role_key);
    if (atomic_load(&c->lacks_role))
        berth_msvc_problem(&x->problems, true, BERTH_MSVC_IN_SERVICE, "",
                           "the endpoint picker has no rights: there is no ClusterRole %s, which "
                           "the operator's --epp-cluster-role names: make it (kubectl apply -f "
                           "deploy/modelservice/epp.yaml makes modelservice-epp), or have the "
                           "operator started with one that there is",
                           c->conf.build.epp_cluster_role);
}
