#include <string.h>

#include "operator/modelservice/kinds.h"
#include "operator/modelservice/overlay.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* What leads requests to pods: services, the route, the pool and the model; and who may do what. */

static void
open_spec(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    berth_msvc_put_head(o, w);
    berth_jw_key(w, "spec");
    berth_jw_object(w);
}

static void
close_spec(struct berth_jw *w)
{
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

void
berth_msvc_put_service(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    open_spec(o, w);
    berth_jw_key(w, "selector");
    berth_msvc_put_labels(o, w);
    close_spec(w);
}

void
berth_msvc_put_account(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const bool picker = o->child == BERTH_MSVC_EPP_ACCOUNT;
    const char *const *secrets = picker ? o->conf->epp_pull_secrets : o->conf->pd_pull_secrets;
    const size_t count = picker ? o->conf->epp_pull_secret_count : o->conf->pd_pull_secret_count;

    berth_msvc_put_head(o, w);
    if (count > 0) {
        berth_jw_key(w, "imagePullSecrets");
        berth_jw_array(w);
        for (size_t i = 0; i < count; i++) {
            berth_jw_object(w);
            berth_jw_pair(w, "name", secrets[i]);
            berth_jw_object_end(w);
        }
        berth_jw_array_end(w);
    }
    berth_jw_object_end(w);
}

void
berth_msvc_put_role_binding(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const char *role = o->conf->epp_cluster_role;

    berth_msvc_put_head(o, w);
    berth_jw_key(w, "subjects");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_pair(w, "kind", "ServiceAccount");
    berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_EPP_ACCOUNT]);
    if (o->m->ns[0] != '\0')
        berth_jw_pair(w, "namespace", o->m->ns);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_key(w, "roleRef");
    berth_jw_object(w);
    berth_jw_pair(w, "apiGroup", "rbac.authorization.k8s.io");
    berth_jw_pair(w, "kind", "ClusterRole");
    berth_jw_pair(w, "name", role != NULL ? role : "");
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

void
berth_msvc_put_route(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const struct berth_json *refs =
        berth_json_get(berth_json_get(o->m->spec, "routing"), "gatewayRefs");

    open_spec(o, w);
    if (berth_json_len(refs) > 0) {
        berth_jw_key(w, "parentRefs");
        berth_jw_value(w, refs);
    }
    close_spec(w);
}

void
berth_msvc_put_route_rules(const struct berth_msvc *m, struct berth_jw *w)
{
    berth_jw_object(w);
    berth_jw_key(w, "spec");
    berth_jw_object(w);
    berth_jw_key(w, "rules");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_key(w, "matches");
    berth_jw_raw(w, "[{\"path\":{\"type\":\"PathPrefix\",\"value\":\"/\"}}]",
                 strlen("[{\"path\":{\"type\":\"PathPrefix\",\"value\":\"/\"}}]"));
    berth_jw_key(w, "backendRefs");
    berth_jw_array(w);
    berth_jw_object(w);
    berth_jw_pair(w, "group", "inference.networking.x-k8s.io");
    berth_jw_pair(w, "kind", berth_msvc_kind_of(BERTH_MSVC_POOL)->kube->kind);
    berth_jw_pair(w, "name", m->names.of[BERTH_MSVC_POOL]);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

/* Prefill and decode pods are its members. */
void
berth_msvc_put_pool(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    open_spec(o, w);
    berth_jw_key(w, "selector");
    berth_msvc_put_labels(o, w);
    berth_jw_key(w, "extensionRef");
    berth_jw_object(w);
    berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_EPP_SERVICE]);
    berth_jw_object_end(w);
    close_spec(w);
}

void
berth_msvc_put_model(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    open_spec(o, w);
    berth_jw_pair(w, "modelName", o->m->model);
    berth_jw_key(w, "poolRef");
    berth_jw_object(w);
    berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_POOL]);
    berth_jw_object_end(w);
    close_spec(w);
}
