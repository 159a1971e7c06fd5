#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "kube/object.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/problems.h"
#include "wire/json.h"

#define LABELS "metadata.labels"
#define GROUP  "spec.leaderWorkerTemplate."
#define NONE   BERTH_MSVC_CHILDREN

/* Who selects pods, by what, and whose pods these are to be: one of those that are wished for. */
static const struct selecting {
    enum berth_msvc_child child;
    const char *path;
    enum berth_msvc_child pods[4];
} selecting[] = {
    {BERTH_MSVC_PREFILL_SERVICE,
     "spec.selector",
     {BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_PREFILL_LWS, NONE, NONE}},
    {BERTH_MSVC_DECODE_SERVICE,
     "spec.selector",
     {BERTH_MSVC_DECODE_DEPLOYMENT, BERTH_MSVC_DECODE_LWS, NONE, NONE}},
    {BERTH_MSVC_EPP_SERVICE, "spec.selector", {BERTH_MSVC_EPP_DEPLOYMENT, NONE, NONE, NONE}},
    {BERTH_MSVC_POOL,
     "spec.selector",
     {BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_DECODE_DEPLOYMENT,
      BERTH_MSVC_DECODE_LWS}},
    {BERTH_MSVC_POOL_V1,
     "spec.selector.matchLabels",
     {BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_DECODE_DEPLOYMENT,
      BERTH_MSVC_DECODE_LWS}},
};
static const enum berth_msvc_child workloads[] = {
    BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_DECODE_DEPLOYMENT,
    BERTH_MSVC_DECODE_LWS, BERTH_MSVC_EPP_DEPLOYMENT};

/* Pods get it from the controllers that make them. */
static bool
is_controllers(struct berth_slice key)
{
    static const char *const keys[] = {"leaderworkerset.sigs.k8s.io/", "pod-template-hash",
                                       "apps.kubernetes.io/", "statefulset.kubernetes.io/"};

    for (size_t i = 0; i < BERTH_COUNT(keys); i++)
        if (strncmp(key.at, keys[i], strlen(keys[i])) == 0)
            return true;
    return false;
}

/* The first label of the selector that is not among those; false: all are. */
static bool
find_lacking(const struct berth_json *selector, const struct berth_json *labels,
             struct berth_slice *ret_key, struct berth_slice *ret_value)
{
    for (struct berth_json_iter it = berth_json_iter(selector); berth_json_next(&it);) {
        struct berth_slice value, has;
        if (!berth_json_string(it.value, &value) || is_controllers(it.key) ||
            (berth_json_string(berth_json_get(labels, it.key.at), &has) && has.len == value.len &&
             memcmp(has.at, value.at, has.len) == 0))
            continue;
        *ret_key = it.key;
        *ret_value = value;
        return true;
    }
    return false;
}

/* Of leaders and workers, which are alike where leaders are not said, one is enough. */
static bool
are_selected(const struct berth_json *workload, const struct berth_json *selector,
             struct berth_slice *ret_key, struct berth_slice *ret_value)
{
    static const char *const templates[] = {"spec.template." LABELS, GROUP "leaderTemplate." LABELS,
                                            GROUP "workerTemplate." LABELS};

    for (size_t i = 0; i < BERTH_COUNT(templates); i++) {
        const struct berth_json *labels = berth_kube_at(workload, templates[i]);
        if ((i == 0 || labels != NULL) && !find_lacking(selector, labels, ret_key, ret_value))
            return true;
    }
    return false;
}

static void
check(const struct berth_msvc_set *wish, const struct selecting *s, struct berth_msvc_problems *p)
{
    const struct berth_json *selector = berth_kube_at(wish->of[s->child], s->path);
    const struct berth_json *own = NULL;
    struct berth_slice key = {"", 0}, value = {"", 0};

    for (size_t i = 0; i < BERTH_COUNT(s->pods) && s->pods[i] != NONE && !own; i++)
        own = wish->of[s->pods[i]];
    if (own == NULL || berth_json_len(selector) == 0)
        return; /* the pods are somebody else's, or its endpoints are */
    for (size_t i = 0; i < BERTH_COUNT(workloads); i++) {
        if (wish->of[workloads[i]] != NULL &&
            are_selected(wish->of[workloads[i]], selector, &key, &value))
            return;
    }
    (void)are_selected(own, selector, &key, &value);
    (void)berth_msvc_problem(p, true, berth_msvc_kind_of(s->child)->key, s->path,
                             "none of the pods bears %.*s: %.*s, so that nobody answers behind it: "
                             "leave that label out, or give it to the pods (metadata.labels of "
                             "their template)",
                             (int)key.len, key.at, (int)value.len, value.at);
}

static void
check_own(const struct berth_json *workload, enum berth_msvc_child child,
          struct berth_msvc_problems *p)
{
    static const char path[] = "spec.selector.matchLabels";
    struct berth_slice key, value;

    if (find_lacking(berth_kube_at(workload, path),
                     berth_kube_at(workload, "spec.template." LABELS), &key, &value))
        berth_msvc_invalid(p, berth_msvc_kind_of(child)->key, path,
                           "its own pods do not bear %.*s: %.*s, and no API server takes it "
                           "so: leave that label out, or give it to the pods "
                           "(spec.template.metadata.labels)",
                           (int)key.len, key.at, (int)value.len, value.at);
}

void
build_check_selectors(const struct berth_msvc_set *wish, struct berth_msvc_problems *p)
{
    for (size_t i = 0; i < BERTH_COUNT(workloads); i++)
        check_own(wish->of[workloads[i]], workloads[i], p);
    for (size_t i = 0; i < BERTH_COUNT(selecting); i++)
        check(wish, &selecting[i], p);
}
