#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "shimlets/kubernetes/kubernetes_priv.h"

/* What a person can do about what the cluster says of a pod.  The first row that fits counts. */

#define PULL "ErrImagePull ImagePullBackOff ImageInspectError RegistryUnavailable"
#define GPU                                                                                   \
    "not enough accelerators are free: ask for fewer (acceleratorCount), free some or add a " \
    "machine; it starts by itself then"

static const struct {
    const char *reasons; /* with blanks between */
    const char *words;   /* in the message; NULL: any */
    const char *advice;
} rows[] = {
    {PULL, "not found", "there is no such image or tag: mend `image`"},
    {PULL, "manifest unknown", "there is no such image or tag: mend `image`"},
    {PULL, "nauthorized",
     "the registry wants to know who asks: name a Secret in image_pull_secret"},
    {PULL, "denied",
     "no such image, or the registry wants to know who asks: mend `image`, or name a "
     "Secret in image_pull_secret"},
    {PULL, "x509", "the machine does not trust the registry: give it the authority's certificate"},
    {PULL, "dial tcp",
     "the machine does not reach the registry: mend its network, or take an image "
     "from a registry that it reaches"},
    {PULL, NULL,
     "is `image` right, does the machine reach its registry, and does that want a Secret "
     "(image_pull_secret)?"},
    {"InvalidImageName", NULL, "mend `image`: REGISTRY/NAME:TAG"},
    {"ErrImageNeverPull", NULL,
     "bring the image to the machine, or let it be pulled (image_pull_policy)"},
    {"CreateContainerConfigError", NULL,
     "a Secret or ConfigMap that the container wants is not in the namespace: create it"},
    {"OOMKilled", NULL,
     "it needs more memory than it may take: raise resourceRequirements.memory, or take a smaller "
     "model or contextLength"},
    {"ContainerCannotRun StartError RunContainerError CreateContainerError", "not found",
     "its command is not in the image: mend `command` or `image`"},
    {"ContainerCannotRun StartError RunContainerError CreateContainerError", "no such file",
     "its command is not in the image: mend `command` or `image`"},
    {"RunContainerError CreateContainerError PostStartHookError", NULL,
     "mend `command`, `image` or what is mounted; `kubectl describe pod` has the machine's word"},
    {"CrashLoopBackOff Error", NULL,
     "`berth logs` has its last words; it is started again by itself"},
    /* Machines that are kept free, or are others, are among many that are full. */
    {"Unschedulable", "/gpu", GPU},
    {"Unschedulable", "Ascend", GPU},
    {"Unschedulable", "Insufficient",
     "not enough is free: lower resourceRequirements, free some or add a machine; it starts by "
     "itself then"},
    {"Unschedulable", "affinity/selector",
     "no machine is as asked for: mend acceleratorType or node_selector, or label a machine"},
    {"Unschedulable", "taint",
     "machines are kept free of it: allow their taints (`tolerations: all`), or take them away"},
    {"Unschedulable", "persistentvolumeclaim",
     "the claim that model_volume names is not there or not bound: create it"},
    {"Evicted", NULL,
     "its machine ran short and another takes its place; what is asked for in resourceRequirements "
     "is "
     "kept free for it"},
    {"FailedCreate", "quota", "the namespace's quota is used up: raise it, or ask for less"},
    {"FailedCreate", NULL,
     "an admission rule of the cluster or namespace refuses its pods: mend what it "
     "names"},
};

/* Is it one of those in the list? */
static bool
is_in(const char *list, struct berth_slice word)
{
    for (const char *at = list; word.len > 0 && *at != '\0';) {
        const size_t n = strcspn(at, " ");

        if (n == word.len && memcmp(at, word.at, n) == 0)
            return true;
        at += n + (at[n] == ' ');
    }
    return false;
}

const char *
kubernetes_advice(struct berth_slice reason, const char *message)
{
    for (size_t i = 0; i < BERTH_COUNT(rows); i++)
        if (is_in(rows[i].reasons, reason) &&
            (rows[i].words == NULL || strstr(message, rows[i].words) != NULL))
            return rows[i].advice;
    return "";
}
