#include <string.h>

#include "shimlets/kubernetes/kubernetes_priv.h"
#include "wire/json.h"

/* What a service may say for itself: the settings from image on, each of its type. */

static const struct berth_setting *
own_setting(struct berth_slice key)
{
    const struct berth_setting *s = kubernetes_settings;

    while (strcmp(s->key, "image") != 0)
        s++;
    while (s->key != NULL && !berth_slice_is(key, s->key))
        s++;
    return s->key != NULL ? s : NULL;
}

int
kubernetes_conf_check_own(const char *json, struct berth_arena *a, struct berth_err *e)
{
    const struct berth_json *root;
    bool flag;
    int r = berth_json_parse(a, json, strlen(json), NULL, &root, e);

    for (struct berth_json_iter it = berth_json_iter(r == 0 ? root : NULL); berth_json_next(&it);) {
        const struct berth_setting *s = own_setting(it.key);
        const int len = (int)(it.key.len < 64 ? it.key.len : 64);
        if (s == NULL)
            return berth_err_set(
                e, BERTH_EINVAL,
                "%.*s is nothing that a service may set for itself on Kubernetes: image, "
                "image_pull_policy, image_pull_secret, host_network, node_selector, tolerations, "
                "model_volume, model_root, service_type, service_account and product_label are",
                len, it.key.at);
        if (s->type == BERTH_SETTING_BOOL ? !berth_json_bool(it.value, &flag)
                                          : berth_json_type(it.value) != BERTH_JSON_STRING)
            return berth_err_set(e, BERTH_EINVAL, "%.*s is %s", len, it.key.at,
                                 berth_json_type_name(it.value));
    }
    return r;
}
