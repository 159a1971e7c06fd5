#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "shimlets/kubernetes/state.h"
#include "wire/json.h"

enum { TRIES = 5 };

/* Taints, and moving our pods off a machine. */

/* The patch that makes the node so; ret_same: it is already. */
static int
write_patch(const struct berth_shimlet *s, const struct berth_json *node, bool drain,
            struct berth_arena *a, struct berth_slice *ret, bool *ret_same, struct berth_err *e)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(node, "spec.taints"));
    char key[KUBERNETES_NAME_MAX + 16];
    struct berth_buf b;
    struct berth_jw w;
    bool has = false;

    (void)snprintf(key, sizeof key, "%s/drain", s->conf.managed_by);
    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_key(&w, "resourceVersion"); /* so that another's change in between is not undone */
    berth_jw_string(&w, berth_kube_text(node, "metadata.resourceVersion").at);
    berth_jw_object_end(&w);
    berth_jw_key(&w, "spec");
    berth_jw_object(&w);
    berth_jw_key(&w, "taints");
    berth_jw_array(&w);
    while (berth_json_next(&it)) {
        const bool ours = berth_slice_is(berth_kube_text(it.value, "key"), key);
        has = has || ours;
        if (!ours)
            berth_jw_value(&w, it.value);
    }
    if (drain) {
        berth_jw_object(&w);
        berth_jw_key(&w, "key");
        berth_jw_string(&w, key);
        berth_jw_key(&w, "effect");
        berth_jw_string(&w, "NoSchedule");
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    if (berth_buf_text(&b) == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    *ret = (struct berth_slice){b.at, b.len};
    *ret_same = has == drain;
    return 0;
}

static int
set_taint(struct berth_shimlet *s, const struct berth_kube_until *until, const char *name,
          bool drain, struct berth_arena *a, struct berth_err *e)
{
    const struct berth_kube_ref ref = {.kind = &berth_kube_nodes, .name = name};
    const struct berth_json *node;
    struct berth_slice patch;
    bool same;
    int r = 0;

    for (int i = 0; i < TRIES; i++) {
        r = berth_kube_get(s->k, until, a, &ref, &node, e);
        if (r == 0)
            r = write_patch(s, node, drain, a, &patch, &same, e);
        if (r < 0 || same)
            return r;
        r = berth_kube_merge(s->k, until, a, &ref, patch, &node, e);
        if (r != -BERTH_EEXIST) /* else somebody changed it meanwhile: look again */
            return r;
    }
    return r;
}

/* An eviction keeps to disruption budgets: -BERTH_EAGAIN when one forbids it now. */
static int
evict(struct berth_shimlet *s, const struct berth_op *op, const struct berth_json *pod,
      struct berth_arena *a, struct berth_err *e)
{
    struct kubernetes_asked asked;
    const char *name = berth_kube_text(pod, "metadata.name").at;
    const char *space = berth_kube_text(pod, "metadata.namespace").at;
    const struct berth_kube_ref ref = {&berth_kube_pods, space, name, "eviction"};
    const int64_t grace = berth_kube_int(pod, "spec.terminationGracePeriodSeconds", 30);
    const struct berth_json *got;
    const char *body = berth_arena_printf(a,
                                          "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\","
                                          "\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\"}}",
                                          name, space);

    if (body == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    (void)s->h->drain(op, name, (uint64_t)(grace > 0 ? grace : 0) * BERTH_S);
    /* From here on: draining takes longer than a call may. */
    const struct berth_kube_until until = kubernetes_until(s, op, &asked);
    const int r =
        berth_kube_create(s->k, &until, a, &ref, (struct berth_slice){body, strlen(body)}, &got, e);
    return r == -BERTH_ENOENT ? 0 : r;
}

int
kubernetes_node(struct berth_shimlet *s, const struct berth_op *op, const char *node, bool drain,
                struct berth_err *e)
{
    enum { ALL = 16384 };
    struct kubernetes_asked asked;
    const struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct berth_arena a;
    size_t n = 0;

    berth_arena_init(&a, 16 * (size_t)KUBERNETES_ARENA_MAX);
    const struct berth_json **pods = BERTH_NEW_N(&a, const struct berth_json *, ALL);
    int r = pods != NULL ? set_taint(s, &until, node, drain, &a, e)
                         : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0 && drain)
        r = berth_kube_informer_find(s->pods, &a, NULL, pods, ALL, &n, e);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (berth_slice_is(berth_kube_text(pods[i], "spec.nodeName"), node) &&
            berth_kube_text(pods[i], "metadata.deletionTimestamp").len == 0 &&
            !kubernetes_pod_is_over(pods[i]))
            r = evict(s, op, pods[i], &a, e);
    berth_arena_fini(&a);
    return r;
}
