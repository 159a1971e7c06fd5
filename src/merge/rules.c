#include "merge/rules.h"

#include "base/assert.h"
#include "merge/merge.h"

/*
 * Keys are those of Kubernetes' own patches (patchMergeKey and listMapKey of its API), with the
 * defaults that its API server would fill in.
 */
#define CONTAINERS "**.spec.containers|initContainers"
#define NODE_TERMS \
    "**.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"

static const struct berth_merge_rule rules[] = {
    {"metadata.ownerReferences", BERTH_MERGE_KEYED, "kind,name,uid?"},
    {"**.metadata.finalizers", BERTH_MERGE_APPEND, NULL},

    /* A pod, wherever it is. */
    {CONTAINERS, BERTH_MERGE_KEYED, "name"},
    {CONTAINERS "[].args", BERTH_MERGE_FLAGS, NULL},
    {CONTAINERS "[].env", BERTH_MERGE_KEYED_UNITS, "name"},
    {CONTAINERS "[].envFrom", BERTH_MERGE_APPEND, NULL},
    {CONTAINERS "[].ports", BERTH_MERGE_KEYED, "containerPort,protocol=TCP"},
    {CONTAINERS "[].volumeMounts", BERTH_MERGE_KEYED, "mountPath"},
    {CONTAINERS "[].volumeDevices", BERTH_MERGE_KEYED, "devicePath"},
    {CONTAINERS "[].resources.claims", BERTH_MERGE_KEYED, "name"},
    {CONTAINERS "[].resizePolicy", BERTH_MERGE_KEYED, "resourceName"},
    {CONTAINERS "[].livenessProbe|readinessProbe|startupProbe", BERTH_MERGE_ONE_OF,
     "exec,grpc,httpGet,tcpSocket"},
    {CONTAINERS "[].lifecycle.postStart|preStop", BERTH_MERGE_ONE_OF,
     "exec,httpGet,sleep,tcpSocket"},
    {CONTAINERS "[].securityContext.capabilities.add|drop", BERTH_MERGE_PREPEND, "distinct"},
    {"**.securityContext.seccompProfile|appArmorProfile", BERTH_MERGE_ATOMIC, NULL},
    {"**.spec.volumes", BERTH_MERGE_KEYED, "name"},
    {"**.spec.volumes[]", BERTH_MERGE_ONE_OF, "!name"},
    {"**.spec.tolerations", BERTH_MERGE_APPEND, NULL},
    {"**.spec.imagePullSecrets", BERTH_MERGE_KEYED, "name"},
    {"**.spec.hostAliases", BERTH_MERGE_KEYED_UNITS, "ip"},
    {"**.spec.resourceClaims", BERTH_MERGE_KEYED_UNITS, "name"},
    {"**.spec.schedulingGates", BERTH_MERGE_KEYED, "name"},
    {"**.spec.topologySpreadConstraints", BERTH_MERGE_KEYED, "topologyKey,whenUnsatisfiable"},
    {NODE_TERMS, BERTH_MERGE_AND, NULL},

    /* Deployment and LeaderWorkerSet */
    {"spec.strategy", BERTH_MERGE_ONE_OF, "type=RollingUpdate:rollingUpdate"},
    {"spec.rolloutStrategy", BERTH_MERGE_ONE_OF, "type=RollingUpdate:rollingUpdateConfiguration"},

    /* Service */
    {"spec.ports", BERTH_MERGE_KEYED, "port,protocol=TCP"},

    /* HTTPRoute.  A Gateway may be named once for each of its listeners.  A reference without a
     * listener is the same as one that names one; another port is another value, not another
     * reference. */
    {"spec.parentRefs", BERTH_MERGE_KEYED,
     "group=gateway.networking.k8s.io,kind=Gateway,namespace,name,sectionName?,port*"},
    {"spec.hostnames", BERTH_MERGE_APPEND, NULL},

    /* InferencePool v1 */
    {"spec.targetPorts", BERTH_MERGE_KEYED, "number"},

    /* ServiceAccount */
    {"imagePullSecrets|secrets", BERTH_MERGE_KEYED, "name"},
};

const struct berth_merge_rule *
berth_merge_rules(size_t *ret_count)
{
    *ret_count = BERTH_COUNT(rules);
    return rules;
}
