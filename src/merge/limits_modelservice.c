#include <stdint.h>

#include "base/assert.h"
#include "merge/limits.h"
#include "wire/json.h"

/*
 * What deploy/modelservice/crd.yaml says of a ModelService's spec; a test compares the two.  What
 * it says of types is in shape_modelservice.c, and its status is not a person's to write.
 */

#define ROLE      "spec.decode|prefill"
#define PARALLEL  ROLE ".parallelism"
#define SCALING   ROLE ".autoscaling"
#define TYPES     ROLE ".acceleratorTypes"
#define GATEWAY   "spec.routing.gatewayRefs[]"
#define CONTAINER "spec.decode|prefill|endpointPicker.containers|initContainers[]"
#define FROM      CONTAINER ".env[].valueFrom"

#define WORD       "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define SUBDOMAIN  WORD "(\\." WORD ")*"
#define OF_DOMAINS "small letters, digits, '-' and '.', first and last a letter or digit"
#define OF_WORDS   "small letters, digits and '-', first and last a letter or digit"

#define NEEDS(of, member) .path = (of), .kind = BERTH_LIMIT_REQUIRED, .text = (member)
#define RANGE(of, least, most) \
    .path = (of), .kind = BERTH_LIMIT_RANGE, .min = (least), .max = (most)
#define LENGTH(of, least, most) \
    .path = (of), .kind = BERTH_LIMIT_LENGTH, .min = (least), .max = (most)
#define ITEMS(of, least, most) \
    .path = (of), .kind = BERTH_LIMIT_ITEMS, .min = (least), .max = (most)
#define PATTERN(of, as)   .path = (of), .kind = BERTH_LIMIT_PATTERN, .text = (as)
#define DISTINCT(of, key) .path = (of), .kind = BERTH_LIMIT_DISTINCT, .text = (key)
#define RULE(of, rule)    .path = (of), .kind = BERTH_LIMIT_RULE, .text = (rule)

enum { COUNT_MAX = 1048576 };

/* ---- rules ---- */

static bool
number(const struct berth_json *v, const char *name, int64_t *ret)
{
    return berth_json_int(berth_json_get(v, name), ret);
}

static bool
one_worker_or_multinode(const struct berth_json *role)
{
    bool multinode;
    int64_t workers;

    return !berth_json_bool(berth_json_get(role, "multinode"), &multinode) || multinode ||
           !number(berth_json_get(role, "parallelism"), "workers", &workers) || workers == 1;
}

static bool
least_is_not_most(const struct berth_json *scaling)
{
    int64_t least, most;

    return !number(scaling, "minReplicas", &least) || !number(scaling, "maxReplicas", &most) ||
           least <= most;
}

/* What is not above 0 breaks another limit. */
static bool
is_multiple(const struct berth_json *v, const char *of)
{
    int64_t data, n;

    return !number(v, "data", &data) || !number(v, of, &n) || n <= 0 || data % n == 0;
}

static bool
is_multiple_of_workers(const struct berth_json *v)
{
    return is_multiple(v, "workers");
}

static bool
is_multiple_of_local(const struct berth_json *v)
{
    return is_multiple(v, "dataLocal");
}

static bool
is_product(const struct berth_json *v)
{
    int64_t data, local, workers;

    return !number(v, "data", &data) || !number(v, "dataLocal", &local) ||
           !number(v, "workers", &workers) || workers <= 0 || workers > COUNT_MAX || local <= 0 ||
           local > COUNT_MAX || data == local * workers;
}

/* ---- the table ---- */

static const struct berth_limit limits[] = {
    {NEEDS("spec", "modelArtifacts"), .says = "{uri: hf://REPO/MODEL}, say"},
    {NEEDS("spec", "routing"), .says = "{modelName: NAME}"},

    {NEEDS("spec.routing", "modelName"), .says = "the model's name in requests"},
    {LENGTH("spec.routing.modelName", 0, 256)},
    {RULE("spec.routing.modelName", "self == oldSelf"), .says = "modelName is immutable"},
    {DISTINCT("spec.routing.ports", "name"), .stricter = true},
    {NEEDS("spec.routing.ports[]", "name"), .says = "what getPort calls the port"},
    {NEEDS("spec.routing.ports[]", "port")},
    {RANGE("spec.routing.ports[].port", 1, INT32_MAX)},
    {ITEMS("spec.routing.gatewayRefs", 0, 32)},
    {NEEDS(GATEWAY, "name"), .says = "the Gateway's"},
    {LENGTH(GATEWAY ".name", 1, 253), .says = "the Gateway's name"},
    {LENGTH(GATEWAY ".group", 0, 253)},
    {PATTERN(GATEWAY ".group", "^$|^" SUBDOMAIN "$"), .says = OF_DOMAINS},
    {LENGTH(GATEWAY ".kind", 1, 63), .says = "leave it out for a Gateway"},
    {PATTERN(GATEWAY ".kind", "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"),
     .says = "letters, digits and '-', the first a letter, the last a letter or digit"},
    {LENGTH(GATEWAY ".namespace", 1, 63), .says = "leave it out for the service's own"},
    {PATTERN(GATEWAY ".namespace", "^" WORD "$"), .says = OF_WORDS},
    {LENGTH(GATEWAY ".sectionName", 1, 253), .says = "leave it out for all listeners"},
    {PATTERN(GATEWAY ".sectionName", "^" SUBDOMAIN "$"), .says = OF_DOMAINS},
    {RANGE(GATEWAY ".port", 1, 65535)},

    {NEEDS("spec.modelArtifacts", "uri"), .says = "hf://REPO/MODEL, say"},
    {LENGTH("spec.modelArtifacts.uri", 0, 4096), .stricter = true},
    {.path = "spec.modelArtifacts.uri",
     .kind = BERTH_LIMIT_MATCHES,
     .text = "^(hf://[^/]+/[^/]+|pvc://[^/]+/.+|pvc[+]hf://[^/]+/(.*/)?[^/]+/[^/]+|oci://[^:].*)$",
     .says = "one of hf://REPO/MODEL, pvc://CLAIM/PATH, pvc+hf://CLAIM/CACHE/REPO/MODEL, "
             "oci://IMAGE[::PATH]",
     .stricter = true},
    {.path = "spec.modelArtifacts.uri",
     .kind = BERTH_LIMIT_NO_MATCH,
     .text = "(/|::)[.][.](/|$)",
     .says = "without \"..\" in its path",
     .stricter = true},
    {LENGTH("spec.modelArtifacts.authSecretName", 0, 253)},
    {PATTERN("spec.modelArtifacts.authSecretName", "^$|^" SUBDOMAIN "$"), .says = OF_DOMAINS},

    {RULE(ROLE, "!has(self.multinode) || self.multinode || !has(self.parallelism) || "
                "!has(self.parallelism.workers) || self.parallelism.workers == 1"),
     .holds = one_worker_or_multinode, .says = "more workers than one take multinode",
     .at = "parallelism"},
    {RANGE("spec.decode|prefill|endpointPicker.replicas", 0, INT32_MAX)},
    {RULE(SCALING, "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= "
                   "self.maxReplicas"),
     .holds = least_is_not_most, .says = "minReplicas must not be more than maxReplicas"},
    {RANGE(SCALING ".minReplicas", 0, INT32_MAX)},
    {RANGE(SCALING ".maxReplicas", 1, INT32_MAX)},
    {RANGE(SCALING ".targetCPUUtilizationPercentage", 1, INT32_MAX)},
    {RULE(PARALLEL, "!has(self.data) || !has(self.workers) || self.data % self.workers == 0"),
     .holds = is_multiple_of_workers, .says = "data must be a multiple of workers"},
    {RULE(PARALLEL, "!has(self.data) || !has(self.dataLocal) || self.data % self.dataLocal == 0"),
     .holds = is_multiple_of_local, .says = "data must be a multiple of dataLocal"},
    {RULE(PARALLEL, "!has(self.data) || !has(self.dataLocal) || !has(self.workers) || self.data == "
                    "self.dataLocal * self.workers"),
     .holds = is_product, .says = "data must be dataLocal x workers"},
    {RANGE(PARALLEL ".data|dataLocal|workers", 1, COUNT_MAX)},
    {RANGE(PARALLEL ".tensor", 0, INT32_MAX)},
    {NEEDS(TYPES, "labelKey"), .says = "the label of the nodes that are meant"},
    {NEEDS(TYPES, "labelValues"), .says = "at least one value of the label"},
    {LENGTH(TYPES ".labelKey", 1, INT64_MAX), .says = "the label of the nodes that are meant"},
    {ITEMS(TYPES ".labelValues", 1, INT64_MAX), .says = "at least one value of the label"},

    {NEEDS(CONTAINER, "name"), .says = "the container's"},
    {DISTINCT(CONTAINER ".env", "name")},
    {NEEDS(CONTAINER ".env[]", "name"), .says = "the variable's"},
    {NEEDS(FROM ".configMapKeyRef|secretKeyRef", "key")},
    {NEEDS(FROM ".fieldRef", "fieldPath"), .says = "metadata.name, say"},
    {NEEDS(FROM ".resourceFieldRef", "resource"), .says = "limits.cpu, say"},
    {DISTINCT(CONTAINER ".resources.claims", "name")},
    {NEEDS(CONTAINER ".resources.claims[]", "name")},
};

const struct berth_limit *
berth_limits_of_model_service(size_t *ret_count)
{
    *ret_count = BERTH_COUNT(limits);
    return limits;
}

/* ---- what the definition takes ---- */

/* llm-d's `generate` takes any: the names of children are lower-cased, and it is the API server
 * that refuses what is made with such a port. */
static const struct berth_limit beyond[] = {
    {LENGTH("metadata.name", 0, 253), .stricter = true},
    {PATTERN("metadata.name", "^" SUBDOMAIN "$"), .says = OF_DOMAINS, .stricter = true},
    {LENGTH("metadata.namespace", 0, 63), .stricter = true},
    {PATTERN("metadata.namespace", "^$|^" WORD "$"), .says = OF_WORDS, .stricter = true},
    {RANGE("spec.routing.ports[].port", 1, 65535), .stricter = true},
};

const struct berth_limit *
berth_limits_beyond_definition(size_t *ret_count)
{
    *ret_count = BERTH_COUNT(beyond);
    return beyond;
}
