#include "operator/modelservice/kinds.h"

#include <string.h>

#include "operator/modelservice/pool.h"

#define GATEWAY   "gateway.networking.k8s.io/v1"
#define INFERENCE BERTH_MSVC_INFERENCE_V1ALPHA2 "/v1alpha2"
#define RBAC      "rbac.authorization.k8s.io/v1"
#define GROUPS    "leaderworkerset.x-k8s.io/v1"

const struct berth_kube_kind berth_msvc_services = {"llm-d.ai/v1alpha1", "ModelService",
                                                    "modelservices", false};

static const struct berth_kube_kind accounts = {"v1", "ServiceAccount", "serviceaccounts", false},
                                    bindings = {RBAC, "RoleBinding", "rolebindings", false},
                                    routes = {GATEWAY, "HTTPRoute", "httproutes", false},
                                    pools = {INFERENCE, "InferencePool", "inferencepools", false},
                                    pools_v1 = {BERTH_MSVC_INFERENCE_V1 "/v1", "InferencePool",
                                                "inferencepools", false},
                                    models = {INFERENCE, "InferenceModel", "inferencemodels",
                                              false},
                                    objectives = {INFERENCE, "InferenceObjective",
                                                  "inferenceobjectives", false};
const struct berth_kube_kind berth_msvc_worker_sets = {GROUPS, "LeaderWorkerSet",
                                                       "leaderworkersets", false};

static const struct berth_msvc_kind kinds[BERTH_MSVC_CHILDREN] = {
    [BERTH_MSVC_CONFIG_MAPS] = {"configMaps", &berth_kube_config_maps, true, true},
    [BERTH_MSVC_PREFILL_DEPLOYMENT] = {"prefillDeployment", &berth_kube_deployments, true, true},
    [BERTH_MSVC_PREFILL_LWS] = {"prefillLeaderWorkerSet", &berth_msvc_worker_sets, true, false},
    [BERTH_MSVC_PREFILL_SERVICE] = {"prefillService", &berth_kube_services, true, true},
    [BERTH_MSVC_PREFILL_HPA] = {"prefillHPA", &berth_kube_autoscalers, true, true},
    [BERTH_MSVC_DECODE_DEPLOYMENT] = {"decodeDeployment", &berth_kube_deployments, true, true},
    [BERTH_MSVC_DECODE_LWS] = {"decodeLeaderWorkerSet", &berth_msvc_worker_sets, true, false},
    [BERTH_MSVC_DECODE_SERVICE] = {"decodeService", &berth_kube_services, true, true},
    [BERTH_MSVC_DECODE_HPA] = {"decodeHPA", &berth_kube_autoscalers, true, true},
    [BERTH_MSVC_PD_ACCOUNT] = {"pdServiceAccount", &accounts, false, true},
    [BERTH_MSVC_EPP_DEPLOYMENT] = {"eppDeployment", &berth_kube_deployments, true, true},
    [BERTH_MSVC_EPP_SERVICE] = {"eppService", &berth_kube_services, true, true},
    [BERTH_MSVC_EPP_ACCOUNT] = {"eppServiceAccount", &accounts, false, true},
    [BERTH_MSVC_EPP_ROLE_BINDING] = {"eppRoleBinding", &bindings, false, true},
    [BERTH_MSVC_POOL] = {"inferencePool", &pools, true, false},
    [BERTH_MSVC_POOL_V1] = {"inferencePool", &pools_v1, true, false},
    [BERTH_MSVC_MODEL] = {"inferenceModel", &models, true, false},
    [BERTH_MSVC_OBJECTIVE] = {"inferenceObjective", &objectives, true, false},
    [BERTH_MSVC_HTTP_ROUTE] = {"httpRoute", &routes, true, false},
};

const struct berth_msvc_kind *
berth_msvc_kind_of(enum berth_msvc_child child)
{
    return &kinds[child];
}

const struct berth_kube_kind *
berth_msvc_counterpart_of(const struct berth_kube_kind *kind)
{
    static const struct berth_kube_kind *const pairs[][2] = {{&pools_v1, &pools},
                                                             {&objectives, &models}};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (kind == pairs[i][0] || kind == pairs[i][1])
            return pairs[i][kind == pairs[i][0]];
    }
    return NULL;
}

const char *
berth_msvc_provider_of(const struct berth_kube_kind *kind)
{
    static const struct {
        const char *group, *from;
    } providers[] = {{"leaderworkerset.x-k8s.io/", "LeaderWorkerSet (lws.sigs.k8s.io)"},
                     {"gateway.networking.k8s.io/", "the Gateway API"},
                     {"inference.networking.", "the Gateway API Inference Extension"}};

    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (strncmp(kind->group_version, providers[i].group, strlen(providers[i].group)) == 0)
            return providers[i].from;
    }
    return NULL;
}
