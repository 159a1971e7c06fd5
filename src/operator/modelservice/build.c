#include "operator/modelservice/build.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/buf.h"
#include "merge/merge.h"
#include "merge/rules.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/overlay.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

struct build {
    const struct berth_msvc *m;
    const struct berth_msvc_base *base;
    const struct berth_msvc_conf *conf;
    struct berth_arena *a;
    struct berth_msvc_problems *problems;
    struct berth_msvc_set *set;
    struct berth_err *e;
};

/* ---- which children there are ---- */

static bool
says(const struct build *b, const char *part)
{
    return berth_json_type(berth_json_get(b->m->spec, part)) == BERTH_JSON_OBJECT;
}

static bool
has_gateways(const struct build *b)
{
    return berth_json_len(berth_json_get(berth_json_get(b->m->spec, "routing"), "gatewayRefs")) > 0;
}

/* The Deployment that a child is of no use without; BERTH_MSVC_CHILDREN: it stands alone. */
static enum berth_msvc_child
needs(enum berth_msvc_child child)
{
    switch (child) {
    case BERTH_MSVC_PREFILL_SERVICE:
        return BERTH_MSVC_PREFILL_DEPLOYMENT;
    case BERTH_MSVC_DECODE_SERVICE:
        return BERTH_MSVC_DECODE_DEPLOYMENT;
    case BERTH_MSVC_EPP_SERVICE:
    case BERTH_MSVC_EPP_ACCOUNT:
    case BERTH_MSVC_EPP_ROLE_BINDING:
        return BERTH_MSVC_EPP_DEPLOYMENT;
    default:
        return BERTH_MSVC_CHILDREN;
    }
}

static bool
is_there(const struct build *b, enum berth_msvc_child child)
{
    const bool in_base = b->base->of[child] != NULL;

    switch (child) {
    case BERTH_MSVC_PREFILL_DEPLOYMENT:
        return in_base || says(b, "prefill");
    case BERTH_MSVC_DECODE_DEPLOYMENT:
        return in_base || says(b, "decode");
    case BERTH_MSVC_PD_ACCOUNT:
        return is_there(b, BERTH_MSVC_PREFILL_DEPLOYMENT) ||
               is_there(b, BERTH_MSVC_DECODE_DEPLOYMENT);
    case BERTH_MSVC_EPP_ACCOUNT:
    case BERTH_MSVC_EPP_ROLE_BINDING:
        return is_there(b, BERTH_MSVC_EPP_DEPLOYMENT);
    case BERTH_MSVC_HTTP_ROUTE:
        return in_base || has_gateways(b);
    case BERTH_MSVC_CONFIG_MAPS:
        return berth_json_len(b->base->of[child]) > 0;
    default:
        return in_base && (needs(child) == BERTH_MSVC_CHILDREN || is_there(b, needs(child)));
    }
}

/* ---- laying over ---- */

static int
parsed(struct build *b, struct berth_buf *text, const struct berth_json **ret)
{
    struct berth_err why;

    if (!text->failed && berth_json_parse(b->a, text->at, text->len, NULL, ret, &why) == 0)
        return 0;
    return berth_err_set(b->e, BERTH_ENOMEM, "it takes more memory than it may");
}

static int
lay_over(struct build *b, enum berth_msvc_child child, const struct berth_json *base,
         struct berth_buf *overlay)
{
    const struct berth_json *top = NULL;
    struct berth_err why = {""};
    size_t count;
    const struct berth_merge_rule *rules = berth_merge_rules(&count);
    int r = parsed(b, overlay, &top);

    if (r < 0)
        return r;
    r = berth_merge(rules, count, base, top, b->a, &b->set->of[child], &why);
    if (r == -BERTH_EINVAL) {
        /* Of one child; the others are looked at all the same. */
        berth_msvc_problem(b->problems, false, berth_msvc_kind_of(child)->key, "", "%s", why.msg);
        return 0;
    }
    return r < 0 ? berth_err_set(b->e, -r, "%s: %s", berth_msvc_kind_of(child)->key, why.msg) : 0;
}

typedef void put_fn(const struct berth_msvc_overlay *o, struct berth_jw *w);

static int
make(struct build *b, enum berth_msvc_child child, put_fn *put)
{
    const struct berth_msvc_overlay o = {
        .m = b->m, .conf = b->conf, .child = child, .base = b->base->of[child]};
    struct berth_buf text;
    struct berth_jw w;

    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    put(&o, &w);
    return lay_over(b, child, b->base->of[child], &text);
}

/* More over what is made already. */
static int
add(struct build *b, enum berth_msvc_child child,
    void (*put)(const struct berth_msvc *m, struct berth_jw *w))
{
    struct berth_buf text;
    struct berth_jw w;

    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    put(b->m, &w);
    return lay_over(b, child, b->set->of[child], &text);
}

/* ---- what depends on the merged object ---- */

static const struct berth_json *
pod_of(const struct berth_json *deployment)
{
    return berth_json_get(berth_json_get(berth_json_get(deployment, "spec"), "template"), "spec");
}

static bool
mounts_model(const struct berth_json *pod, const char *list)
{
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(pod, list));
         berth_json_next(&it);) {
        for (struct berth_json_iter at = berth_json_iter(berth_json_get(it.value, "volumeMounts"));
             berth_json_next(&at);) {
            if (strcmp(berth_json_member_text(at.value, "name", ""), BERTH_MSVC_VOLUME) == 0)
                return true;
        }
    }
    return false;
}

static void
check_accelerators(struct build *b, const char *role)
{
    const struct berth_json *types =
        berth_json_get(berth_json_get(b->m->spec, role), "acceleratorTypes");
    char path[64];

    if (types == NULL || berth_json_type(types) == BERTH_JSON_NULL)
        return;
    (void)snprintf(path, sizeof path, "spec.%s.acceleratorTypes", role);
    if (berth_json_member_text(types, "labelKey", "")[0] == '\0')
        berth_msvc_problem(b->problems, false, "modelservice", path,
                           "labelKey is empty: name the label of the nodes that are meant");
    else if (berth_json_len(berth_json_get(types, "labelValues")) == 0)
        berth_msvc_problem(b->problems, false, "modelservice", path,
                           "labelValues is empty: name at least one");
}

static int
make_workload(struct build *b, enum berth_msvc_child child, const char *role)
{
    int r;

    if (!is_there(b, child))
        return 0;
    check_accelerators(b, role);
    if ((r = make(b, child, berth_msvc_put_deployment)) < 0)
        return r;
    const struct berth_json *pod = pod_of(b->set->of[child]);
    if (b->set->of[child] != NULL && berth_json_len(berth_json_get(pod, "containers")) == 0)
        berth_msvc_problem(
            b->problems, true, berth_msvc_kind_of(child)->key, "spec.template.spec.containers",
            "it has none: neither spec.%s nor the base configuration says one", role);
    if (mounts_model(pod, "containers") || mounts_model(pod, "initContainers"))
        r = add(b, child, berth_msvc_put_volume);
    return r;
}

static int
make_picker(struct build *b)
{
    int r;

    if (!is_there(b, BERTH_MSVC_EPP_DEPLOYMENT)) {
        if (says(b, "endpointPicker"))
            berth_msvc_problem(b->problems, true, "modelservice", "spec.endpointPicker",
                               "it does nothing: the base configuration has no eppDeployment");
        return 0;
    }
    if (b->conf->epp_cluster_role == NULL || b->conf->epp_cluster_role[0] == '\0')
        berth_msvc_problem(b->problems, true, "eppDeployment", "",
                           "an endpoint picker needs rights: name its ClusterRole with "
                           "--epp-cluster-role");
    if ((r = make(b, BERTH_MSVC_EPP_DEPLOYMENT, berth_msvc_put_deployment)) < 0 ||
        (r = make(b, BERTH_MSVC_EPP_ACCOUNT, berth_msvc_put_account)) < 0)
        return r;
    return make(b, BERTH_MSVC_EPP_ROLE_BINDING, berth_msvc_put_role_binding);
}

static int
make_route(struct build *b)
{
    int r;

    if (!is_there(b, BERTH_MSVC_HTTP_ROUTE))
        return 0;
    if ((r = make(b, BERTH_MSVC_HTTP_ROUTE, berth_msvc_put_route)) < 0)
        return r;
    const struct berth_json *spec = berth_json_get(b->set->of[BERTH_MSVC_HTTP_ROUTE], "spec");
    if (berth_json_len(berth_json_get(spec, "parentRefs")) == 0)
        berth_msvc_problem(b->problems, true, "httpRoute", "spec.parentRefs",
                           "it has none: no gateway takes the route; say spec.routing.gatewayRefs");
    if (berth_json_len(berth_json_get(spec, "rules")) > 0)
        return 0;
    if (is_there(b, BERTH_MSVC_POOL))
        return add(b, BERTH_MSVC_HTTP_ROUTE, berth_msvc_put_route_rules);
    berth_msvc_problem(b->problems, true, "httpRoute", "spec.rules",
                       "it has none, and there is no inferencePool that it could lead to");
    return 0;
}

static int
make_if_there(struct build *b, enum berth_msvc_child child, put_fn *put)
{
    if (is_there(b, child))
        return make(b, child, put);
    if (b->base->of[child] != NULL)
        berth_msvc_problem(b->problems, true, berth_msvc_kind_of(child)->key, "",
                           "it is left out: there is no %s that it could stand before",
                           berth_msvc_kind_of(needs(child))->key);
    return 0;
}

/* ---- ConfigMaps ---- */

static int
put_config_map(struct build *b, const struct berth_json *from, size_t index, struct berth_jw *w)
{
    const struct berth_json *meta = berth_json_get(from, "metadata"), *merged = NULL;
    const char *name = berth_json_member_text(meta, "name", "");
    const char *ns = berth_json_member_text(meta, "namespace", b->m->ns);
    struct berth_msvc named = *b->m;
    struct berth_buf text;
    struct berth_jw head;
    size_t count;
    int r;

    if (name[0] == '\0' || strlen(name) > 253) {
        char path[64];
        (void)snprintf(path, sizeof path, "[%zu].metadata.name", index);
        berth_msvc_problem(b->problems, false, "configMaps", path, "it is missing");
        return 0;
    }
    berth_buf_init(&text, b->a);
    berth_jw_init(&head, &text);
    named.ns = ns[0] != '\0' ? ns : b->m->ns;
    /* An owner in another namespace would have the garbage collector delete the map. */
    const bool owned = b->m->ns[0] == '\0' || strcmp(named.ns, b->m->ns) == 0;
    berth_msvc_put_config_map(&named, b->conf, name, owned, &head);
    const struct berth_merge_rule *rules = berth_merge_rules(&count);
    const struct berth_json *top = NULL;
    if ((r = parsed(b, &text, &top)) < 0 ||
        (r = berth_merge(rules, count, from, top, b->a, &merged, b->e)) < 0)
        return r;
    berth_jw_value(w, merged);
    return 0;
}

static int
make_config_maps(struct build *b)
{
    struct berth_buf text;
    struct berth_jw w;
    int r = 0;

    if (!is_there(b, BERTH_MSVC_CONFIG_MAPS))
        return 0;
    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(b->base->of[BERTH_MSVC_CONFIG_MAPS]);
         r == 0 && berth_json_next(&it);)
        r = put_config_map(b, it.value, it.index, &w);
    berth_jw_array_end(&w);
    return r == 0 ? parsed(b, &text, &b->set->of[BERTH_MSVC_CONFIG_MAPS]) : r;
}

int
berth_msvc_build(const struct berth_msvc *m, const struct berth_msvc_base *base,
                 const struct berth_msvc_conf *conf, struct berth_arena *a,
                 struct berth_msvc_problems *p, struct berth_msvc_set *ret, struct berth_err *e)
{
    struct build b = {
        .m = m, .base = base, .conf = conf, .a = a, .problems = p, .set = ret, .e = e};
    int r;

    memset(ret, 0, sizeof *ret);
    if ((r = make_config_maps(&b)) < 0 ||
        (r = make_workload(&b, BERTH_MSVC_PREFILL_DEPLOYMENT, "prefill")) < 0 ||
        (r = make_workload(&b, BERTH_MSVC_DECODE_DEPLOYMENT, "decode")) < 0 ||
        (r = make_if_there(&b, BERTH_MSVC_PREFILL_SERVICE, berth_msvc_put_service)) < 0 ||
        (r = make_if_there(&b, BERTH_MSVC_DECODE_SERVICE, berth_msvc_put_service)) < 0 ||
        (r = make_if_there(&b, BERTH_MSVC_PD_ACCOUNT, berth_msvc_put_account)) < 0 ||
        (r = make_picker(&b)) < 0 ||
        (r = make_if_there(&b, BERTH_MSVC_EPP_SERVICE, berth_msvc_put_service)) < 0 ||
        (r = make_if_there(&b, BERTH_MSVC_POOL, berth_msvc_put_pool)) < 0 ||
        (r = make_if_there(&b, BERTH_MSVC_MODEL, berth_msvc_put_model)) < 0)
        return r;
    return make_route(&b);
}
