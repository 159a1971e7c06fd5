#include <stdio.h>
#include <string.h>

#include <berth/err.h>

#include "base/buf.h"
#include "kube/object.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/parallelism.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* Prefill and decode: a Deployment, or, where a group of pods serves together, a LeaderWorkerSet.
 */

const struct build_role build_prefill = {"prefill", BERTH_MSVC_PREFILL_DEPLOYMENT,
                                         BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_PREFILL_HPA},
                        build_decode = {"decode", BERTH_MSVC_DECODE_DEPLOYMENT,
                                        BERTH_MSVC_DECODE_LWS, BERTH_MSVC_DECODE_HPA};

#define GROUP "spec.leaderWorkerTemplate"

/* ---- which of the two ---- */

static const struct berth_json *
part_of(const struct build *b, const struct build_role *role)
{
    return berth_json_get(b->m->spec, role->name);
}

enum berth_msvc_child
build_workload_of(const struct build *b, const struct build_role *role)
{
    const struct berth_json *part = part_of(b, role);
    const bool says = berth_json_type(part) == BERTH_JSON_OBJECT;
    struct berth_msvc_parallelism p;
    struct berth_err unsaid;
    bool chosen = false;

    if (!says && b->base->of[role->deployment] == NULL && b->base->of[role->worker_set] == NULL)
        return BERTH_MSVC_CHILDREN;
    (void)berth_msvc_parallelism_of(part, &p, &unsaid);
    if (p.multinode)
        return role->worker_set;
    /* A base that has nothing else has said so, but for a service that will not have it. */
    if (!berth_json_bool(berth_json_get(part, "multinode"), &chosen) &&
        b->base->of[role->worker_set] != NULL && b->base->of[role->deployment] == NULL)
        return role->worker_set;
    return role->deployment;
}

enum berth_msvc_child
build_deployment_of(enum berth_msvc_child child)
{
    if (child == BERTH_MSVC_PREFILL_LWS)
        return BERTH_MSVC_PREFILL_DEPLOYMENT;
    return child == BERTH_MSVC_DECODE_LWS ? BERTH_MSVC_DECODE_DEPLOYMENT : child;
}

/* ---- its base ---- */

/* The Deployment's, as one that leaders and workers have in common: but requests do not come to
 * workers. */
static int
base_of_deployment(struct build *b, const struct berth_json *deployment,
                   const struct berth_json **ret)
{
    static const char hide[] = "{\"metadata\":{\"labels\":{\"" BERTH_MSVC_SERVES_LABEL "\":null}}}";
    const struct berth_json *template = berth_kube_at(deployment, "spec.template"), *patch = NULL;
    const struct berth_json *replicas = berth_kube_at(deployment, "spec.replicas");
    const struct berth_json *metadata = berth_json_get(deployment, "metadata");
    struct berth_buf text;
    struct berth_jw w;

    berth_buf_init(&text, b->a);
    berth_buf_puts(&text, hide);
    const int r = build_parsed(b, &text, &patch);
    if (r < 0)
        return r;
    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    if (metadata != NULL) {
        berth_jw_key(&w, "metadata");
        berth_jw_value(&w, metadata);
    }
    berth_jw_key(&w, "spec");
    berth_jw_object(&w);
    if (replicas != NULL) {
        berth_jw_key(&w, "replicas");
        berth_jw_value(&w, replicas);
    }
    berth_jw_key(&w, "leaderWorkerTemplate");
    berth_jw_object(&w);
    if (template != NULL) {
        berth_jw_key(&w, "leaderTemplate");
        berth_jw_value(&w, template);
        berth_jw_key(&w, "workerTemplate");
        berth_jw_merged(&w, template, patch);
    }
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return build_parsed(b, &text, ret);
}

/* Leaders are as workers are, unless the base tells them apart. */
static int
base_with_leader(struct build *b, const struct berth_json *base, const struct berth_json **ret)
{
    const struct berth_json *workers = berth_kube_at(base, GROUP ".workerTemplate"), *patch = NULL;
    struct berth_buf text;
    struct berth_jw w;

    *ret = base;
    if (workers == NULL ||
        berth_json_type(berth_kube_at(base, GROUP ".leaderTemplate")) == BERTH_JSON_OBJECT)
        return 0;
    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    berth_buf_puts(&text, "{\"spec\":{\"leaderWorkerTemplate\":{\"leaderTemplate\":");
    berth_json_put(&text, workers);
    berth_buf_puts(&text, "}}}");
    const int r = build_parsed(b, &text, &patch);
    if (r < 0)
        return r;
    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    berth_jw_merged(&w, base, patch);
    return build_parsed(b, &text, ret);
}

static int
make_worker_set(struct build *b, const struct build_role *role)
{
    const struct berth_json *base = b->base->of[role->worker_set];
    const struct berth_json *deployment = b->base->of[role->deployment];
    int r = 0;

    if (base != NULL)
        r = base_with_leader(b, base, &base);
    else if (deployment != NULL)
        r = base_of_deployment(b, deployment, &base);
    return r < 0 ? r : build_make_over(b, role->worker_set, base, berth_msvc_put_worker_set);
}

/* ---- what depends on the merged object ---- */

static bool
has_mount(const struct berth_json *pod, const char *list)
{
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(pod, list));
         berth_json_next(&it);) {
        if (build_mounts_model(it.value))
            return true;
    }
    return false;
}

int
build_add_to_pods(struct build *b, enum berth_msvc_child child, const char *path,
                  void (*put)(void *arg, struct berth_jw *w), void *arg)
{
    struct berth_buf text;
    struct berth_jw w;
    size_t depth = 1;

    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    for (const char *at = path; at != NULL; depth++) {
        const size_t n = strcspn(at, ".");
        berth_jw_key_n(&w, at, n);
        berth_jw_object(&w);
        at = at[n] == '.' ? at + n + 1 : NULL;
    }
    berth_jw_key(&w, "spec");
    put(arg, &w);
    while (depth-- > 0)
        berth_jw_object_end(&w);
    return build_lay_over(b, child, b->set->of[child], &text);
}

static void
put_volume(void *arg, struct berth_jw *w)
{
    berth_msvc_put_volume(arg, w);
}

static int
look_at_pods(struct build *b, const struct build_role *role, enum berth_msvc_child child,
             const char *path)
{
    struct berth_msvc_overlay o = {.m = b->m, .conf = b->conf, .child = child};
    const struct berth_json *pod = berth_json_get(berth_kube_at(b->set->of[child], path), "spec");
    char at[96];

    if (b->set->of[child] == NULL)
        return 0;
    (void)snprintf(at, sizeof at, "%s.spec.containers", path);
    if (berth_json_len(berth_json_get(pod, "containers")) == 0 && !build_is_broken(b, child))
        berth_msvc_problem(b->problems, true, berth_msvc_kind_of(child)->key, at,
                           "it has none: neither spec.%s nor the base configuration says one",
                           role->name);
    const int r = build_spread(b, role, child, path);
    if (r == 0 && b->m->artifact.has_volume &&
        (has_mount(pod, "containers") || has_mount(pod, "initContainers")))
        return build_add_to_pods(b, child, path, put_volume, &o);
    return r;
}

/* ---- problems ---- */

static void
check_accelerators(struct build *b, const struct build_role *role)
{
    const struct berth_json *types = berth_json_get(part_of(b, role), "acceleratorTypes");
    char path[64];

    if (types == NULL || berth_json_type(types) == BERTH_JSON_NULL)
        return;
    (void)snprintf(path, sizeof path, "spec.%s.acceleratorTypes", role->name);
    if (berth_json_member_text(types, "labelKey", "")[0] == '\0')
        berth_msvc_invalid(b->problems, BERTH_MSVC_IN_SERVICE, path,
                           "labelKey is empty: name the label of the nodes that are meant");
    else if (berth_json_len(berth_json_get(types, "labelValues")) == 0)
        berth_msvc_invalid(b->problems, BERTH_MSVC_IN_SERVICE, path,
                           "labelValues is empty: name at least one");
}

static void
check_group(struct build *b, const struct build_role *role, enum berth_msvc_child made)
{
    struct berth_msvc_parallelism p;
    struct berth_err why = {""};
    char path[64];

    (void)snprintf(path, sizeof path, "spec.%s.parallelism", role->name);
    if (berth_msvc_parallelism_of(part_of(b, role), &p, &why) < 0)
        berth_msvc_invalid(b->problems, BERTH_MSVC_IN_SERVICE, path, "%s", why.msg);
    else if (made == role->deployment && b->base->of[made] == NULL &&
             b->base->of[role->worker_set] != NULL)
        berth_msvc_problem(b->problems, true, berth_msvc_kind_of(role->worker_set)->key, "",
                           "it is left out: spec.%s.multinode is false", role->name);
}

static int
make_workload(struct build *b, const struct build_role *role, enum berth_msvc_child made)
{
    int r;

    if (made == role->deployment) {
        r = build_make_over(b, made, b->base->of[made], berth_msvc_put_deployment);
        return r < 0 ? r : look_at_pods(b, role, made, "spec.template");
    }
    if ((r = make_worker_set(b, role)) < 0 ||
        (r = look_at_pods(b, role, made, GROUP ".leaderTemplate")) < 0)
        return r;
    return look_at_pods(b, role, made, GROUP ".workerTemplate");
}

int
build_make_workload(struct build *b, const struct build_role *role)
{
    const enum berth_msvc_child made = build_workload_of(b, role);

    if (made == BERTH_MSVC_CHILDREN)
        return 0;
    check_accelerators(b, role);
    check_group(b, role, made);
    int r = make_workload(b, role, made);
    if (r == 0)
        r = build_check_images(b, made, role->name);
    return r == 0 ? build_check_refused(b, made, role->name) : r;
}
