#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "operator/cluster/controller_priv.h"
#include "recon/reconciler.h"

/*
 * What people make and services need, asked for at the start.  The namespace that is looked after:
 * watches tell what comes to be in it.  The role of endpoint pickers is watched from then on; no
 * service is looked at before it is known whether there is one, so that a restart says nothing new,
 * or before twelve seconds have gone.
 */

static const struct berth_kube_kind cluster_roles = {"rbac.authorization.k8s.io/v1", "ClusterRole",
                                                     "clusterroles", true};
static const struct berth_kube_kind namespaces = {"v1", "Namespace", "namespaces", true};
/* What is not answered in time is asked again soon.  Services are looked at without an answer after
 * two tries, which last as long as the others' first lists are in: twelve seconds at most. */
static const uint64_t ask_ns = 5 * BERTH_S, again_ns = 2 * BERTH_S;
static const uint32_t tries_max = 2;
/* Of work; those of services have a slash. */
static const char role_key[] = "role", space_key[] = "namespace";

bool
msvc_is_need(const char *key)
{
    return strchr(key, '/') == NULL;
}

static int
find(struct berth_msvc_controller *c, const struct berth_kube_kind *kind, const char *name,
     struct berth_err *e)
{
    struct berth_kube_until until = msvc_until(c);
    const struct berth_kube_ref ref = {.kind = kind, .name = name};
    struct berth_arena a;

    until.deadline_ns = berth_now_ns() + ask_ns;
    berth_arena_init(&a, 16u << 20);
    const int r = berth_kube_get(c->conf.kube, &until, &a, &ref, NULL, e);
    berth_arena_fini(&a);
    return r;
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
tell_unseen(const struct berth_msvc_controller *c, const char *why)
{
    berth_warn("operator: that ClusterRole %.253s comes or goes cannot be seen: %s",
               c->conf.build.epp_cluster_role, why);
}

/* It is tried again and again: the right may be given yet. */
static void
role_troubled(void *arg, int r, const char *why)
{
    if (r == -BERTH_EPERM)
        tell_unseen(arg, why);
}

static void
watch_role(struct berth_msvc_controller *c)
{
    enum { NAME_BYTES = 253 };
    const char *name = c->conf.build.epp_cluster_role;
    char fields[NAME_BYTES + sizeof "metadata.name="];
    struct berth_err e = {""};

    /* Of all names that a role may have, some mean something else in a selector. */
    if (strlen(name) > NAME_BYTES || strpbrk(name, ",=\\") != NULL) {
        tell_unseen(c, "its name is too long, or has a comma, an equals sign or a backslash");
        return;
    }
    (void)snprintf(fields, sizeof fields, "metadata.name=%s", name);
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &cluster_roles, .fields = fields},
        .names_only = true,
        .changed = role_changed,
        .troubled = role_troubled,
        .arg = c};
    if (berth_kube_informer_start(c->conf.kube, &conf, &c->role, &e) < 0)
        tell_unseen(c, e.msg);
}

/* No service is to wait for it any longer, and for nothing else. */
static void
go_on_without_role(struct berth_msvc_controller *c, const char *why)
{
    if (!msvc_has_lists(c) || atomic_load(&c->stopping) || ++c->role_tries != tries_max)
        return;
    berth_info("operator: whether there is a ClusterRole %s is not known yet: %s",
               c->conf.build.epp_cluster_role, why);
    atomic_store(&c->role_known, true);
}

/* False: the answer is still to come. */
static bool
find_role(struct berth_msvc_controller *c)
{
    const char *name = c->conf.build.epp_cluster_role;
    struct berth_err e = {""};
    const int r = find(c, &cluster_roles, name, &e);

    if (r == 0 || r == -BERTH_ENOENT) {
        atomic_store(&c->lacks_role, r < 0);
        watch_role(c);
    } else if (r == -BERTH_EPERM || r == -BERTH_EAUTH) {
        berth_info("operator: whether there is a ClusterRole %s cannot be seen: %s", name, e.msg);
    } else {
        go_on_without_role(c, e.msg);
        return false;
    }
    if (atomic_exchange(&c->role_known, true))
        msvc_look_at_all(c, 0); /* they were looked at without the answer */
    return true;
}

static bool
find_space(struct berth_msvc_controller *c)
{
    const char *name = c->conf.space;
    struct berth_err e = {""};
    const int r = find(c, &namespaces, name, &e);

    if (r == -BERTH_ENOENT)
        berth_warn("operator: there is no namespace %s, which --namespace names: its ModelServices "
                   "are looked after once it is made (kubectl create namespace %s)",
                   name, name);
    /* Who may not see it does not know, and never will; any other failure passes. */
    return r == 0 || r == -BERTH_ENOENT || r == -BERTH_EPERM || r == -BERTH_EAUTH;
}

struct berth_outcome
msvc_find_need(struct berth_msvc_controller *c, const char *key)
{
    const bool found = strcmp(key, role_key) == 0 ? find_role(c) : find_space(c);

    return found ? (struct berth_outcome){.kind = BERTH_OUTCOME_OK}
                 : (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = again_ns};
}

void
msvc_look_for_needs(struct berth_msvc_controller *c)
{
    if (c->conf.space != NULL)
        (void)berth_reconciler_add(c->work, space_key);
    if (c->conf.build.epp_cluster_role == NULL || c->conf.build.epp_cluster_role[0] == '\0' ||
        berth_reconciler_add(c->work, role_key) < 0)
        atomic_store(&c->role_known, true);
}

void
msvc_check_needs(struct msvc_look *x)
{
    if (x->problems.errors == 0 && x->wish.of[BERTH_MSVC_EPP_ROLE_BINDING] != NULL &&
        atomic_load(&x->c->lacks_role))
        berth_msvc_problem(&x->problems, true, BERTH_MSVC_IN_SERVICE, "",
                           "the endpoint picker has no rights: there is no ClusterRole %s, which "
                           "the operator's --epp-cluster-role names: make it (kubectl apply -f "
                           "deploy/modelservice/epp.yaml makes modelservice-epp), or have the "
                           "operator started with one that there is",
                           x->c->conf.build.epp_cluster_role);
}
