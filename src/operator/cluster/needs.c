#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "operator/cluster/controller_priv.h"
#include "recon/reconciler.h"

/*
 * What people make and services need.  The namespace that is looked after: it is asked for once, at
 * the start; watches tell what comes to be in it.  The role of endpoint pickers: when a service has
 * a picker, at most each ten minutes; once it was missing it is watched.
 */

static const struct berth_kube_kind cluster_roles = {"rbac.authorization.k8s.io/v1", "ClusterRole",
                                                     "clusterroles", true};
static const struct berth_kube_kind namespaces = {"v1", "Namespace", "namespaces", true};
static const uint64_t known_ns = 600 * BERTH_S, unknown_ns = 30 * BERTH_S;
/* Of work; those of services have a slash. */
static const char role_key[] = "role", space_key[] = "namespace";

bool
msvc_is_need(const char *key)
{
    return strchr(key, '/') == NULL;
}

/* False: the answer is still to come. */
static bool
find(struct berth_msvc_controller *c, const struct berth_kube_kind *kind, const char *name,
     bool *ret_missing)
{
    const struct berth_kube_until until = msvc_until(c);
    const struct berth_kube_ref ref = {.kind = kind, .name = name};
    struct berth_err e = {""};
    struct berth_arena a;

    berth_arena_init(&a, 16u << 20);
    const int r = berth_kube_get(c->conf.kube, &until, &a, &ref, NULL, &e);
    berth_arena_fini(&a);
    *ret_missing = r == -BERTH_ENOENT;
    /* Who may not see it does not know, and never will; any other failure passes. */
    return r == 0 || r == -BERTH_ENOENT || r == -BERTH_EPERM || r == -BERTH_EAUTH;
}

static void
role_changed(void *arg, const struct berth_json *object, bool gone)
{
    struct berth_msvc_controller *c = arg;

    (void)object;
    if (atomic_exchange(&c->lacks_role, gone) == gone)
        return;
    if (!gone)
        berth_info("operator: there is a ClusterRole %s now", c->conf.build.epp_cluster_role);
    msvc_look_at_all(c, 0);
}

static void
watch_role(struct berth_msvc_controller *c)
{
    char fields[320];
    struct berth_err e = {""};

    (void)snprintf(fields, sizeof fields, "metadata.name=%s", c->conf.build.epp_cluster_role);
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &cluster_roles, .fields = fields},
        .names_only = true,
        .changed = role_changed,
        .arg = c};
    if (berth_kube_informer_start(c->conf.kube, &conf, &c->role, &e) < 0)
        berth_warn("operator: that there is a ClusterRole %s will be seen when the operator is "
                   "started again: %s",
                   c->conf.build.epp_cluster_role, e.msg);
}

struct berth_outcome
msvc_find_need(struct berth_msvc_controller *c, const char *key)
{
    const bool is_role = strcmp(key, role_key) == 0;
    const char *name = is_role ? c->conf.build.epp_cluster_role : c->conf.space;
    bool missing;

    if (is_role && c->role != NULL)
        return (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
    if (!find(c, is_role ? &cluster_roles : &namespaces, name, &missing))
        return (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = unknown_ns};
    if (missing && is_role) {
        atomic_store(&c->lacks_role, true);
        msvc_look_at_all(c, 0);
        watch_role(c);
    } else if (missing) {
        berth_warn("operator: there is no namespace %s, which --namespace names: its ModelServices "
                   "are looked after once it is made (kubectl create namespace %s)",
                   name, name);
    }
    return (struct berth_outcome){.kind = BERTH_OUTCOME_OK};
}

void
msvc_look_for_space(struct berth_msvc_controller *c)
{
    if (c->conf.space != NULL)
        (void)berth_reconciler_add(c->work, space_key);
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
