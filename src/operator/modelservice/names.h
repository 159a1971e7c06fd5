#ifndef BERTH_MSVC_NAMES_H
#define BERTH_MSVC_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The names of what a ModelService is made of.  They are those of llm-d's controller wherever these
 * are names at all; what it cuts off or gives the same name, has a sum of the whole in it here.
 */
enum berth_msvc_child {
    BERTH_MSVC_CONFIG_MAPS, /* named in the base configuration, as many as it has */
    BERTH_MSVC_PREFILL_DEPLOYMENT,
    BERTH_MSVC_PREFILL_LWS, /* a LeaderWorkerSet, in place of the Deployment */
    BERTH_MSVC_PREFILL_SERVICE,
    BERTH_MSVC_PREFILL_HPA,
    BERTH_MSVC_DECODE_DEPLOYMENT,
    BERTH_MSVC_DECODE_LWS,
    BERTH_MSVC_DECODE_SERVICE,
    BERTH_MSVC_DECODE_HPA,
    BERTH_MSVC_PD_ACCOUNT,
    BERTH_MSVC_EPP_DEPLOYMENT,
    BERTH_MSVC_EPP_SERVICE,
    BERTH_MSVC_EPP_ACCOUNT,
    BERTH_MSVC_EPP_ROLE_BINDING,
    BERTH_MSVC_POOL,    /* of v1alpha2; of the two pools there is one at most */
    BERTH_MSVC_POOL_V1, /* of v1 */
    BERTH_MSVC_MODEL,
    BERTH_MSVC_OBJECTIVE,
    BERTH_MSVC_HTTP_ROUTE, /* after the pool that it leads to */
    BERTH_MSVC_CHILDREN,
};

enum { BERTH_MSVC_NAME_MAX = 64 /* a label's value, with the NUL */ };

struct berth_msvc_names {
    char of[BERTH_MSVC_CHILDREN][BERTH_MSVC_NAME_MAX];
    char model[BERTH_MSVC_NAME_MAX]; /* the model's name as a label's value; never "" */
};

/*
 * Lower-case letters, digits and dashes out of any text: each run of anything else becomes one
 * dash, none is left at the ends.  What is longer than a label may be is cut, and 8 hex digits of
 * its sum stand for the rest.  May be "".
 */
void berth_msvc_sanitize(const char *text, size_t len, char ret[BERTH_MSVC_NAME_MAX]);
/* A model's name as a label's value, which its pods are told by; never "". */
void berth_msvc_model_label(const char *model, size_t len, char ret[BERTH_MSVC_NAME_MAX]);
/* Is it a name that a Secret (a ClusterRole) may have? */
bool berth_msvc_is_secret(const char *name);
bool berth_msvc_is_cluster_role(const char *name);
/* service: metadata.name; model: spec.routing.modelName. */
void berth_msvc_names_of(const char *service, const char *model, struct berth_msvc_names *ret);

#endif
