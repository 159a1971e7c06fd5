#include <stdio.h>
#include <string.h>

#include <berth/settings.h>

#include "shimlets/kubernetes/kubernetes_priv.h"

#define INT(key, least, most, dflt, help)               \
    {                                                   \
        key, BERTH_SETTING_INT, least, most, dflt, help \
    }
#define STRING(key, dflt, help)                     \
    {                                               \
        key, BERTH_SETTING_STRING, 0, 0, dflt, help \
    }
#define BOOL(key, dflt, help)                     \
    {                                             \
        key, BERTH_SETTING_BOOL, 0, 0, dflt, help \
    }

/* Those from image on a service may set for itself (shimletConfig). */
const struct berth_setting kubernetes_settings[] = {
    STRING("kubeconfig", "", "a file; empty: KUBECONFIG, ~/.kube/config, or the pod's account"),
    STRING("context", "", "of the kubeconfig; empty: the current one"),
    STRING("namespace", "", "where workloads go; empty: the context's, or default"),
    INT("qps", 1, 10000, "10", "calls a second"),
    INT("burst", 1, 10000, "20", "calls at once"),
    INT("timeout_s", 1, 3600, "30", "a call with its repetitions takes no longer"),
    STRING("field_manager", "berth", "who owns the fields that are applied"),
    STRING("managed_by", "berth", "value of the label managed-by, prefix of annotations"),
    STRING("image", "", "of services that name none; empty: their engine's"),
    STRING("image_pull_policy", "IfNotPresent", "Always, IfNotPresent or Never"),
    STRING("image_pull_secret", "", "a Secret for the registry"),
    BOOL("host_network", "false", "pods use their machine's network"),
    STRING("node_selector", "", "labels of the machines that will do: key=value,key=value"),
    STRING("tolerations", "accelerator", "none, accelerator (its taint), all (any taint)"),
    STRING("model_volume", "hostPath", "hostPath, or the name of a PersistentVolumeClaim"),
    STRING("model_root", "/models", "the path that a claim's root stands for"),
    STRING("service_type", "ClusterIP", "ClusterIP, NodePort or LoadBalancer"),
    STRING("service_account", "", "of the pods; empty: the namespace's default"),
    STRING("product_label", "nvidia.com/gpu.product", "node label that has an accelerator's name"),
    {.key = NULL},
};

static void
text(const char *json, const char *key, const char *dflt, char *ret, size_t cap)
{
    char was[KUBERNETES_TEXT_MAX * 4];

    (void)snprintf(was, sizeof was, "%s", dflt); /* dflt and ret may be the same */
    (void)berth_setting_string(json, key, was, ret, cap);
}
#define TEXT(key, member) text(json, key, dflt->member, ret->member, sizeof ret->member)

void
kubernetes_conf_read(const char *json, const struct kubernetes_conf *dflt,
                     struct kubernetes_conf *ret)
{
    TEXT("kubeconfig", kubeconfig);
    TEXT("context", context);
    TEXT("namespace", space);
    TEXT("field_manager", manager);
    TEXT("managed_by", managed_by);
    TEXT("image", image);
    TEXT("image_pull_policy", pull_policy);
    TEXT("image_pull_secret", pull_secret);
    TEXT("node_selector", node_selector);
    TEXT("tolerations", tolerations);
    TEXT("model_volume", model_volume);
    TEXT("model_root", model_root);
    TEXT("service_type", service_type);
    TEXT("service_account", service_account);
    TEXT("product_label", product_label);
    ret->host_network = berth_setting_bool(json, "host_network", dflt->host_network);
    ret->qps = berth_setting_int(json, "qps", dflt->qps);
    ret->burst = berth_setting_int(json, "burst", dflt->burst);
    ret->timeout_s = berth_setting_int(json, "timeout_s", dflt->timeout_s);
}

static const char *
default_of(const char *key)
{
    for (const struct berth_setting *s = kubernetes_settings; s->key != NULL; s++)
        if (strcmp(s->key, key) == 0)
            return s->dflt;
    return "";
}

/* The table above is the one place where defaults are. */
void
kubernetes_conf_default(struct kubernetes_conf *ret)
{
    *ret = (struct kubernetes_conf){.qps = 10, .burst = 20, .timeout_s = 30};
    (void)snprintf(ret->manager, sizeof ret->manager, "%s", default_of("field_manager"));
    (void)snprintf(ret->managed_by, sizeof ret->managed_by, "%s", default_of("managed_by"));
    (void)snprintf(ret->pull_policy, sizeof ret->pull_policy, "%s",
                   default_of("image_pull_policy"));
    (void)snprintf(ret->tolerations, sizeof ret->tolerations, "%s", default_of("tolerations"));
    (void)snprintf(ret->model_volume, sizeof ret->model_volume, "%s", default_of("model_volume"));
    (void)snprintf(ret->model_root, sizeof ret->model_root, "%s", default_of("model_root"));
    (void)snprintf(ret->service_type, sizeof ret->service_type, "%s", default_of("service_type"));
    (void)snprintf(ret->product_label, sizeof ret->product_label, "%s",
                   default_of("product_label"));
}

void
kubernetes_scale_manager(const struct kubernetes_conf *c, char ret[KUBERNETES_TEXT_MAX + 8])
{
    (void)snprintf(ret, KUBERNETES_TEXT_MAX + 8, "%s-scale", c->manager);
}

static bool
is_one_of(const char *value, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(value, *names) == 0)
            return true;
    return false;
}

int
kubernetes_conf_check(const struct kubernetes_conf *c, struct berth_err *e)
{
    static const char *const policies[] = {"Always", "IfNotPresent", "Never", NULL};
    static const char *const tolerations[] = {"none", "accelerator", "all", NULL};
    static const char *const types[] = {"ClusterIP", "NodePort", "LoadBalancer", NULL};
    char name[KUBERNETES_NAME_MAX + 1];

    if (!is_one_of(c->pull_policy, policies))
        return berth_err_set(e, BERTH_EINVAL,
                             "image_pull_policy is \"%s\"; it may be Always, IfNotPresent or Never",
                             c->pull_policy);
    if (!is_one_of(c->tolerations, tolerations))
        return berth_err_set(e, BERTH_EINVAL,
                             "tolerations is \"%s\"; it may be none, accelerator or all",
                             c->tolerations);
    if (!is_one_of(c->service_type, types))
        return berth_err_set(
            e, BERTH_EINVAL,
            "service_type is \"%s\"; it may be ClusterIP, NodePort or LoadBalancer",
            c->service_type);
    kubernetes_name(c->managed_by, name);
    if (strcmp(name, c->managed_by) != 0)
        return berth_err_set(e, BERTH_EINVAL, "managed_by is \"%s\"; it may have a-z, 0-9 and -",
                             c->managed_by);
    for (const char *at = c->node_selector; *at != '\0';) {
        const size_t n = strcspn(at, ",");
        const char *eq = memchr(at, '=', n);
        if (eq == NULL || eq == at)
            return berth_err_set(e, BERTH_EINVAL,
                                 "node_selector is \"%s\"; it is written key=value,key=value",
                                 c->node_selector);
        at += n + (at[n] == ',');
    }
    return 0;
}
