#include "operator/modelservice/kinds.h"

#define GATEWAY   "gateway.networking.k8s.io/v1"
#define INFERENCE "inference.networking.x-k8s.io/v1alpha2"
#define RBAC      "rbac.authorization.k8s.io/v1"

const struct berth_kube_kind berth_msvc_services = {"llm-d.ai/v1alpha1", "ModelService",
                                                    "modelservices", false};

static const struct berth_kube_kind accounts = {"v1", "ServiceAccount", "serviceaccounts", false},
                                    bindings = {RBAC, "RoleBinding", "rolebindings", false},
                                    routes = {GATEWAY, "HTTPRoute", "httproutes", false},
                                    pools = {INFERENCE, "InferencePool", "inferencepools", false},
                                    models = {INFERENCE, "InferenceModel", "inferencemodels",
                                              false};

static const struct berth_msvc_kind kinds[BERTH_MSVC_CHILDREN] = {
    [BERTH_MSVC_CONFIG_MAPS] = {"configMaps", &berth_kube_config_maps, true},
    [BERTH_MSVC_PREFILL_DEPLOYMENT] = {"prefillDeployment", &berth_kube_deployments, true},
    [BERTH_MSVC_PREFILL_SERVICE] = {"prefillService", &berth_kube_services, true},
    [BERTH_MSVC_DECODE_DEPLOYMENT] = {"decodeDeployment", &berth_kube_deployments, true},
    [BERTH_MSVC_DECODE_SERVICE] = {"decodeService", &berth_kube_services, true},
    [BERTH_MSVC_PD_ACCOUNT] = {"pdServiceAccount", &accounts, false},
    [BERTH_MSVC_EPP_DEPLOYMENT] = {"eppDeployment", &berth_kube_deployments, true},
    [BERTH_MSVC_EPP_SERVICE] = {"eppService", &berth_kube_services, true},
    [BERTH_MSVC_EPP_ACCOUNT] = {"eppServiceAccount", &accounts, false},
    [BERTH_MSVC_EPP_ROLE_BINDING] = {"eppRoleBinding", &bindings, false},
    [BERTH_MSVC_HTTP_ROUTE] = {"httpRoute", &routes, true},
    [BERTH_MSVC_POOL] = {"inferencePool", &pools, true},
    [BERTH_MSVC_MODEL] = {"inferenceModel", &models, true},
};

const struct berth_msvc_kind *
berth_msvc_kind_of(enum berth_msvc_child child)
{
    return &kinds[child];
}
