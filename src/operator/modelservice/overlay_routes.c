#include <inttypes.h>
#include <stdio.h>
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

static void
put_number(struct berth_jw *w, const struct berth_json *v, const char *key)
{
    const struct berth_json *number = berth_json_get(v, key);

    if (berth_json_type(number) != BERTH_JSON_INT)
        return;
    berth_jw_key(w, key);
    berth_jw_value(w, number);
}

/* Of all pods' requests of CPU. */
static void
put_cpu_metric(struct berth_jw *w, const struct berth_json *percentage)
{
    static const char before[] = "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\","
                                 "\"target\":{\"type\":\"Utilization\","
                                 "\"averageUtilization\":",
                      after[] = "}}}]";
    char text[sizeof before + sizeof after + 24];
    int64_t n = 0;

    if (!berth_json_int(percentage, &n))
        return;
    const int len = snprintf(text, sizeof text, "%s%" PRId64 "%s", before, n, after);
    berth_jw_key(w, "metrics");
    berth_jw_raw(w, text, (size_t)len);
}

/* Of the role's workload, whichever kind that is. */
void
berth_msvc_put_autoscaler(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const struct berth_kube_kind *kind = berth_msvc_kind_of(o->workload)->kube;
    const char *role = o->child == BERTH_MSVC_PREFILL_HPA ? "prefill" : "decode";
    const struct berth_json *own = berth_json_get(berth_json_get(o->m->spec, role), "autoscaling");

    open_spec(o, w);
    put_number(w, own, "minReplicas");
    put_number(w, own, "maxReplicas");
    put_cpu_metric(w, berth_json_get(own, "targetCPUUtilizationPercentage"));
    berth_jw_key(w, "scaleTargetRef");
    berth_jw_object(w);
    berth_jw_pair(w, "apiVersion", kind->group_version);
    berth_jw_pair(w, "kind", kind->kind);
    berth_jw_pair(w, "name", o->m->names.of[o->workload]);
    berth_jw_object_end(w);
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

/* As a cluster has them: the definition of ModelServices says of what kind a parent is. */
static void
put_parents(const struct berth_json *refs, struct berth_jw *w)
{
    berth_jw_array(w);
    for (struct berth_json_iter it = berth_json_iter(refs); berth_json_next(&it);) {
        berth_jw_object(w);
        if (berth_json_get(it.value, "group") == NULL)
            berth_jw_pair(w, "group", "gateway.networking.k8s.io");
        if (berth_json_get(it.value, "kind") == NULL)
            berth_jw_pair(w, "kind", "Gateway");
        for (struct berth_json_iter at = berth_json_iter(it.value); berth_json_next(&at);) {
            berth_jw_key_n(w, at.key.at, at.key.len);
            berth_jw_value(w, at.value);
        }
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

void
berth_msvc_put_route(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    const struct berth_json *refs =
        berth_json_get(berth_json_get(o->m->spec, "routing"), "gatewayRefs");

    open_spec(o, w);
    if (berth_json_len(refs) > 0) {
        berth_jw_key(w, "parentRefs");
        o->conf->applied ? put_parents(refs, w) : berth_jw_value(w, refs);
    }
    close_spec(w);
}

/* Of the pool that the service has. */
static const char *
group_of(const struct berth_msvc_overlay *o)
{
    return o->to_v1 ? BERTH_MSVC_INFERENCE_V1 : BERTH_MSVC_INFERENCE_V1ALPHA2;
}

void
berth_msvc_put_route_rules(const struct berth_msvc_overlay *o, struct berth_jw *w)
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
    berth_jw_pair(w, "group", group_of(o));
    berth_jw_pair(w, "kind", berth_msvc_kind_of(BERTH_MSVC_POOL)->kube->kind);
    berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_POOL]);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

/* Is the mapping printed that llm-d prints? */
static bool
is_as_llm_d(const struct berth_msvc_overlay *o)
{
    return !o->to_v1 && !o->conf->applied && !o->conf->managed;
}

/*
 * The endpoint picker that the pool asks: the service's own or, where it has none, whichever the
 * base configuration names.  The mapping that llm-d prints has always the service's own name.
 */
static void
put_picker_name(const struct berth_msvc_overlay *o, const char *key, struct berth_jw *w)
{
    const char *base =
        berth_json_member_text(berth_json_get(berth_json_get(o->base, "spec"), key), "name", "");

    if (o->has_picker || base[0] == '\0' || is_as_llm_d(o))
        berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_EPP_SERVICE]);
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
    put_picker_name(o, "extensionRef", w);
    berth_jw_object_end(w);
    /* A cluster refuses a pool without a port; llm-d prints it so. */
    if (is_as_llm_d(o) && berth_json_type(berth_json_get(berth_json_get(o->base, "spec"),
                                                         "targetPortNumber")) == BERTH_JSON_NULL) {
        berth_jw_key(w, "targetPortNumber");
        berth_jw_int(w, 0);
    }
    close_spec(w);
}

void
berth_msvc_put_pool_v1(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    /* The port of a Service has to be said; v1alpha2 took it for this one. */
    enum { PICKER_PORT = 9002 };
    const struct berth_json *picker =
        berth_json_get(berth_json_get(o->base, "spec"), "endpointPickerRef");
    const struct berth_json *port = berth_json_get(picker, "port");

    open_spec(o, w);
    berth_jw_key(w, "selector");
    berth_jw_object(w);
    berth_jw_key(w, "matchLabels");
    berth_msvc_put_labels(o, w);
    berth_jw_object_end(w);
    berth_jw_key(w, "endpointPickerRef");
    berth_jw_object(w);
    put_picker_name(o, "endpointPickerRef", w);
    if (berth_json_type(port) == BERTH_JSON_NULL &&
        strcmp(berth_json_member_text(picker, "kind", "Service"), "Service") == 0) {
        berth_jw_key(w, "port");
        berth_jw_object(w);
        berth_jw_key(w, "number");
        berth_jw_int(w, PICKER_PORT);
        berth_jw_object_end(w);
    }
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
    if (o->to_v1)
        berth_jw_pair(w, "group", group_of(o));
    berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_POOL]);
    berth_jw_object_end(w);
    close_spec(w);
}

void
berth_msvc_put_objective(const struct berth_msvc_overlay *o, struct berth_jw *w)
{
    open_spec(o, w);
    berth_jw_key(w, "poolRef");
    berth_jw_object(w);
    berth_jw_pair(w, "group", group_of(o));
    berth_jw_pair(w, "kind", berth_msvc_kind_of(BERTH_MSVC_POOL_V1)->kube->kind);
    berth_jw_pair(w, "name", o->m->names.of[BERTH_MSVC_POOL_V1]);
    berth_jw_object_end(w);
    close_spec(w);
}
