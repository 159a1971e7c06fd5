#include "operator/modelservice/build.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/buf.h"
#include "merge/merge.h"
#include "merge/rules.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/overlay.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

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

bool
build_is_broken(const struct build *b, enum berth_msvc_child child)
{
    return child < BERTH_MSVC_CHILDREN &&
           (b->base->is_broken[child] || b->base->is_broken[build_deployment_of(child)]);
}

/* The Deployment that a child is of no use without, or what stands in its place;
 * BERTH_MSVC_CHILDREN: it stands alone. */
static enum berth_msvc_child
needs(enum berth_msvc_child child)
{
    switch (child) {
    case BERTH_MSVC_PREFILL_SERVICE:
    case BERTH_MSVC_PREFILL_HPA:
        return BERTH_MSVC_PREFILL_DEPLOYMENT;
    case BERTH_MSVC_DECODE_SERVICE:
    case BERTH_MSVC_DECODE_HPA:
        return BERTH_MSVC_DECODE_DEPLOYMENT;
    case BERTH_MSVC_EPP_SERVICE:
    case BERTH_MSVC_EPP_ACCOUNT:
    case BERTH_MSVC_EPP_ROLE_BINDING:
        return BERTH_MSVC_EPP_DEPLOYMENT;
    default:
        return BERTH_MSVC_CHILDREN;
    }
}

/* NULL: the child is of none. */
static const struct build_role *
role_of(enum berth_msvc_child child)
{
    if (child >= BERTH_MSVC_PREFILL_DEPLOYMENT && child <= BERTH_MSVC_PREFILL_HPA)
        return &build_prefill;
    return child >= BERTH_MSVC_DECODE_DEPLOYMENT && child <= BERTH_MSVC_DECODE_HPA ? &build_decode
                                                                                   : NULL;
}

/* spec.decode.autoscaling, say. */
static bool
scales(const struct build *b, const struct build_role *role)
{
    const struct berth_json *part = berth_json_get(b->m->spec, role->name);

    return berth_json_type(berth_json_get(part, "autoscaling")) == BERTH_JSON_OBJECT;
}

static bool
is_there(const struct build *b, enum berth_msvc_child child)
{
    const bool in_base = b->base->of[child] != NULL;

    switch (child) {
    case BERTH_MSVC_PREFILL_DEPLOYMENT:
    case BERTH_MSVC_PREFILL_LWS:
        return build_workload_of(b, &build_prefill) != BERTH_MSVC_CHILDREN;
    case BERTH_MSVC_DECODE_DEPLOYMENT:
    case BERTH_MSVC_DECODE_LWS:
        return build_workload_of(b, &build_decode) != BERTH_MSVC_CHILDREN;
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
    case BERTH_MSVC_PREFILL_HPA:
    case BERTH_MSVC_DECODE_HPA:
        return (in_base || scales(b, role_of(child))) && is_there(b, needs(child));
    default:
        return in_base && (needs(child) == BERTH_MSVC_CHILDREN || is_there(b, needs(child)));
    }
}

/* ---- laying over ---- */

int
build_parsed(struct build *b, struct berth_buf *text, const struct berth_json **ret)
{
    struct berth_err why;

    if (!text->failed && berth_json_parse(b->a, text->at, text->len, NULL, ret, &why) == 0)
        return 0;
    return -BERTH_ENOMEM; /* told at the end of all */
}

/* What berth_merge() refuses: "PATH: why". */
static void
tell_of_merge(struct build *b, enum berth_msvc_child child, const char *before, const char *msg)
{
    const char *why = strstr(msg, ": ");
    const char *path =
        berth_arena_printf(b->a, "%s%.*s", before, why != NULL ? (int)(why - msg) : 0, msg);

    berth_msvc_problem(b->problems, false, berth_msvc_kind_of(child)->key, path != NULL ? path : "",
                       "%s", why != NULL ? why + 2 : msg);
}

int
build_lay_over(struct build *b, enum berth_msvc_child child, const struct berth_json *base,
               struct berth_buf *overlay)
{
    const struct berth_json *top = NULL;
    struct berth_err why = {""};
    size_t count;
    const struct berth_merge_rule *rules = berth_merge_rules(&count);
    int r = build_parsed(b, overlay, &top);

    if (r < 0)
        return r;
    r = berth_merge(rules, count, base, top, b->a, &b->set->of[child], &why);
    if (r == -BERTH_EINVAL || r == -BERTH_ETOOBIG) {
        /* Of one child; the others are looked at all the same. */
        tell_of_merge(b, child, "", why.msg);
        return 0;
    }
    return r < 0 ? berth_err_set(b->e, -r, "%s: %s", berth_msvc_kind_of(child)->key, why.msg) : 0;
}

static bool
is_to_v1(const struct build *b)
{
    const struct berth_json *const *of = b->base->of;

    return b->conf->inference == BERTH_MSVC_TO_V1 || of[BERTH_MSVC_POOL_V1] != NULL ||
           (of[BERTH_MSVC_POOL] == NULL && of[BERTH_MSVC_OBJECTIVE] != NULL);
}

/* What the service says, with base in mind, over under. */
static int
lay(struct build *b, enum berth_msvc_child child, const struct berth_json *base,
    const struct berth_json *under, build_put_fn *put)
{
    const struct build_role *role = role_of(child);
    const struct berth_msvc_overlay o = {
        .m = b->m,
        .conf = b->conf,
        .child = child,
        .base = base,
        .workload = role != NULL ? build_workload_of(b, role) : BERTH_MSVC_CHILDREN,
        .is_autoscaled = role != NULL && is_there(b, role->autoscaler),
        .has_picker = is_there(b, BERTH_MSVC_EPP_DEPLOYMENT),
        .to_v1 = is_to_v1(b)};
    struct berth_buf text;
    struct berth_jw w;

    b->making = berth_msvc_kind_of(child)->key;
    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    put(&o, &w);
    return build_lay_over(b, child, under, &text);
}

int
build_make_over(struct build *b, enum berth_msvc_child child, const struct berth_json *base,
                build_put_fn *put)
{
    return lay(b, child, base, base, put);
}

static int
make(struct build *b, enum berth_msvc_child child, build_put_fn *put)
{
    return build_make_over(b, child, b->base->of[child], put);
}

/* More over what is made already. */
static int
add(struct build *b, enum berth_msvc_child child, build_put_fn *put)
{
    return lay(b, child, b->base->of[child], b->set->of[child], put);
}

/* ---- one by one ---- */

static int
make_picker(struct build *b)
{
    int r;

    if (!is_there(b, BERTH_MSVC_EPP_DEPLOYMENT)) {
        if (says(b, "endpointPicker") && !build_is_broken(b, BERTH_MSVC_EPP_DEPLOYMENT))
            berth_msvc_problem(b->problems, true, "modelservice", "spec.endpointPicker",
                               "it does nothing: the base configuration has no eppDeployment");
        return 0;
    }
    if (b->conf->epp_cluster_role == NULL || b->conf->epp_cluster_role[0] == '\0')
        berth_msvc_problem(b->problems, true, "eppDeployment", "",
                           "an endpoint picker needs rights: name its ClusterRole with "
                           "--epp-cluster-role");
    if ((r = make(b, BERTH_MSVC_EPP_DEPLOYMENT, berth_msvc_put_deployment)) < 0 ||
        (r = build_check_images(b, BERTH_MSVC_EPP_DEPLOYMENT, "endpointPicker")) < 0 ||
        (r = build_check_refused(b, BERTH_MSVC_EPP_DEPLOYMENT, "endpointPicker")) < 0 ||
        (r = make(b, BERTH_MSVC_EPP_ACCOUNT, berth_msvc_put_account)) < 0)
        return r;
    return make(b, BERTH_MSVC_EPP_ROLE_BINDING, berth_msvc_put_role_binding);
}

static int
make_if_there(struct build *b, enum berth_msvc_child child, build_put_fn *put)
{
    if (is_there(b, child)) {
        const int r = make(b, child, put);
        return r < 0 ? r : build_check_front(b, child);
    }
    if (b->base->of[child] != NULL && !build_is_broken(b, needs(child)))
        berth_msvc_problem(b->problems, true, berth_msvc_kind_of(child)->key, "",
                           "it is left out: there is no %s that it could be for",
                           berth_msvc_kind_of(needs(child))->key);
    return 0;
}

/* Whoever says another number wonders why nothing happens.  llm-d's definition filled in a 1. */
static void
warn_of_replicas(struct build *b, enum berth_msvc_child child)
{
    const char *role = role_of(child)->name;
    const char *path = berth_arena_printf(b->a, "spec.%s.replicas", role);
    int64_t replicas = 1;

    (void)berth_json_int(berth_json_get(berth_json_get(b->m->spec, role), "replicas"), &replicas);
    if (path != NULL && replicas != 1)
        berth_msvc_problem(b->problems, true, BERTH_MSVC_IN_SERVICE, path,
                           "how many there are is the HorizontalPodAutoscaler's (autoscaling, or "
                           "%s of the base configuration): change its minReplicas and "
                           "maxReplicas, and leave this out",
                           berth_msvc_kind_of(child)->key);
}

/* The API server refuses it otherwise. */
static int
make_autoscaler(struct build *b, enum berth_msvc_child child)
{
    const char *key = berth_msvc_kind_of(child)->key;
    const int r = make_if_there(b, child, berth_msvc_put_autoscaler);
    const struct berth_json *spec = berth_json_get(b->set->of[child], "spec");
    int64_t least = 1, most = 0;

    if (r < 0 || b->set->of[child] == NULL || build_is_broken(b, child))
        return r;
    warn_of_replicas(b, child);
    (void)berth_json_int(berth_json_get(spec, "minReplicas"), &least);
    if (!berth_json_int(berth_json_get(spec, "maxReplicas"), &most))
        berth_msvc_problem(b->problems, false, key, "spec.maxReplicas",
                           "it is missing: at most how many are there to be?");
    else if (most < 1)
        berth_msvc_problem(b->problems, false, key, "spec.maxReplicas",
                           "%" PRId64 ": it is 1 or more", most);
    else if (least > most)
        berth_msvc_problem(b->problems, false, key, "spec.minReplicas",
                           "%" PRId64 " is more than maxReplicas, %" PRId64, least, most);
    return 0;
}

/* The route leads to the generation of the pool that there is.  Without a word about generations a
 * route to a pool of v1alpha2 is printed as it was written. */
static int
reroute(struct build *b)
{
    const struct berth_json **route = &b->set->of[BERTH_MSVC_HTTP_ROUTE];
    const bool v1 = is_to_v1(b);

    if (!v1 && b->conf->inference == BERTH_MSVC_AS_WRITTEN)
        return 0;
    return berth_msvc_route_to_pool(*route, b->m->names.of[BERTH_MSVC_POOL],
                                    v1 ? BERTH_MSVC_INFERENCE_V1 : BERTH_MSVC_INFERENCE_V1ALPHA2,
                                    b->a, route, b->e);
}

/* llm-d's mapping has the own picker's name; what is to be applied has the one that was meant. */
static int
make_old_pool(struct build *b)
{
    const struct berth_json *spec = berth_json_get(b->base->of[BERTH_MSVC_POOL], "spec");
    const char *name = berth_json_member_text(berth_json_get(spec, "extensionRef"), "name", "");

    if (is_there(b, BERTH_MSVC_POOL) && name[0] != '\0' && !b->conf->applied && !b->conf->managed &&
        !is_there(b, BERTH_MSVC_EPP_DEPLOYMENT))
        berth_msvc_problem(b->problems, true, "inferencePool", "spec.extensionRef.name",
                           "%s: this output has the name that llm-d gives it; what is applied, and "
                           "-o yaml, keep it",
                           name);
    return make_if_there(b, BERTH_MSVC_POOL, berth_msvc_put_pool);
}

static int
make_route(struct build *b)
{
    int r;

    if (!is_there(b, BERTH_MSVC_HTTP_ROUTE))
        return 0;
    if ((r = make(b, BERTH_MSVC_HTTP_ROUTE, berth_msvc_put_route)) < 0 ||
        (r = build_check_front(b, BERTH_MSVC_HTTP_ROUTE)) < 0)
        return r;
    const struct berth_json *spec = berth_json_get(b->set->of[BERTH_MSVC_HTTP_ROUTE], "spec");
    if (berth_json_len(berth_json_get(spec, "parentRefs")) == 0)
        berth_msvc_problem(b->problems, true, "httpRoute", "spec.parentRefs",
                           "it has none: no gateway takes the route; say spec.routing.gatewayRefs");
    const bool has_pool = is_there(b, BERTH_MSVC_POOL) || is_there(b, BERTH_MSVC_POOL_V1);
    if (berth_json_len(berth_json_get(spec, "rules")) > 0)
        return has_pool ? reroute(b) : 0;
    if (has_pool)
        return add(b, BERTH_MSVC_HTTP_ROUTE, berth_msvc_put_route_rules);
    if (build_is_broken(b, BERTH_MSVC_POOL) || build_is_broken(b, BERTH_MSVC_HTTP_ROUTE))
        return 0;
    berth_msvc_problem(b->problems, true, "httpRoute", "spec.rules",
                       "it has none, and there is no inferencePool that it could lead to");
    return 0;
}

/* ---- ConfigMaps ---- */

enum { KUBE_NAME_MAX = 253 };

/* Room for the names of that many.  False: out of memory. */
static bool
begin_names(struct build *b, size_t count)
{
    b->map_room = 16;
    while (b->map_room / 2 < count && b->map_room < SIZE_MAX / 4)
        b->map_room *= 2;
    b->map_names = BERTH_NEW_N(b->a, const char *, b->map_room);
    return b->map_names != NULL;
}

/* Is it the first of that name?  False in *ret_memory: there was none. */
static bool
is_new_name(struct build *b, const char *space, const char *name, bool *ret_memory)
{
    const char *text = berth_arena_printf(b->a, "%s/%s", space, name);
    uint64_t sum = 1469598103934665603u; /* FNV-1a */

    *ret_memory = text != NULL;
    if (text == NULL)
        return false;
    for (const char *c = text; *c != '\0'; c++)
        sum = (sum ^ (unsigned char)*c) * 1099511628211u;
    for (size_t i = (size_t)sum & (b->map_room - 1);; i = (i + 1) & (b->map_room - 1)) {
        if (b->map_names[i] == NULL) {
            b->map_names[i] = text;
            return true;
        }
        if (strcmp(b->map_names[i], text) == 0)
            return false;
    }
}

/* What no object may be called, and what two of them are: an apply of one would undo the other's,
 * without an end.  False: it is told, or memory is gone. */
static bool
check_map_name(struct build *b, const struct berth_json *meta, const char *space, size_t index)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
    struct berth_slice name = {"", 0};
    char path[64];
    bool memory = true;

    (void)berth_json_string(berth_json_get(meta, "name"), &name);
    (void)snprintf(path, sizeof path, "[%zu].metadata.name", index);
    if (name.len == 0 || name.len > KUBE_NAME_MAX) {
        name.len == 0 ? berth_msvc_invalid(b->problems, "configMaps", path, "it is missing")
                      : berth_msvc_invalid(b->problems, "configMaps", path,
                                           "it has %zu characters, and %d are the most", name.len,
                                           KUBE_NAME_MAX);
        return true;
    }
    if (strlen(name.at) != name.len) {
        berth_msvc_problem(b->problems, false, "configMaps", path, "a byte of it is 0");
        return false;
    }
    if (strspn(name.at, allowed) != name.len || strchr("-.", name.at[0]) != NULL ||
        strchr("-.", name.at[name.len - 1]) != NULL)
        berth_msvc_invalid(b->problems, "configMaps", path,
                           "it is no name of an object: lower-case letters, digits, '-' and '.', "
                           "the first and the last a letter or digit");
    if (!is_new_name(b, space, name.at, &memory) && memory)
        berth_msvc_invalid(b->problems, "configMaps", path, "%s is there twice", name.at);
    return memory;
}

static int
put_config_map(struct build *b, const struct berth_json *from, size_t index, struct berth_jw *w)
{
    const struct berth_json *meta = berth_json_get(from, "metadata"), *merged = NULL;
    const char *name = berth_json_member_text(meta, "name", "");
    const char *said = berth_json_member_text(meta, "namespace", "");
    const char *ns = said[strspn(said, " \t\r\n")] != '\0' ? said : b->m->ns;
    struct berth_msvc named = *b->m;
    struct berth_buf text;
    struct berth_jw head;
    char path[64];
    size_t count;
    int r;

    if (!check_map_name(b, meta, ns, index))
        return 0;
    berth_buf_init(&text, b->a);
    berth_jw_init(&head, &text);
    named.ns = ns;
    if (b->conf->managed && strcmp(named.ns, b->m->ns) != 0) {
        (void)snprintf(path, sizeof path, "[%zu].metadata.namespace", index);
        berth_msvc_problem(b->problems, false, "configMaps", path,
                           "%s: a ModelService has ConfigMaps in its own namespace alone", ns);
        return 0;
    }
    /* An owner in another namespace would have the garbage collector delete the map. */
    const bool owned = b->m->ns[0] == '\0' || strcmp(named.ns, b->m->ns) == 0;
    berth_msvc_put_config_map(&named, b->conf, name, owned, &head);
    const struct berth_merge_rule *rules = berth_merge_rules(&count);
    const struct berth_json *top = NULL;
    struct berth_err why = {""};
    if ((r = build_parsed(b, &text, &top)) < 0)
        return r;
    r = berth_merge(rules, count, from, top, b->a, &merged, &why);
    if (r == -BERTH_EINVAL) {
        char element[32];
        (void)snprintf(element, sizeof element, "[%zu].", index);
        tell_of_merge(b, BERTH_MSVC_CONFIG_MAPS, element, why.msg);
        return 0;
    }
    if (r < 0)
        return berth_err_set(b->e, -r, "configMaps[%zu]: %s", index, why.msg);
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
    b->making = berth_msvc_kind_of(BERTH_MSVC_CONFIG_MAPS)->key;
    if (!begin_names(b, berth_json_len(b->base->of[BERTH_MSVC_CONFIG_MAPS])))
        return -BERTH_ENOMEM;
    berth_buf_init(&text, b->a);
    berth_jw_init(&w, &text);
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(b->base->of[BERTH_MSVC_CONFIG_MAPS]);
         r == 0 && berth_json_next(&it);)
        r = put_config_map(b, it.value, it.index, &w);
    berth_jw_array_end(&w);
    return r == 0 ? build_parsed(b, &text, &b->set->of[BERTH_MSVC_CONFIG_MAPS]) : r;
}

static int
build_all(struct build *b)
{
    int r;

    if ((r = make_config_maps(b)) < 0 || (r = build_make_workload(b, &build_prefill)) < 0 ||
        (r = build_make_workload(b, &build_decode)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_PREFILL_SERVICE, berth_msvc_put_service)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_DECODE_SERVICE, berth_msvc_put_service)) < 0 ||
        (r = make_autoscaler(b, BERTH_MSVC_PREFILL_HPA)) < 0 ||
        (r = make_autoscaler(b, BERTH_MSVC_DECODE_HPA)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_PD_ACCOUNT, berth_msvc_put_account)) < 0 ||
        (r = make_picker(b)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_EPP_SERVICE, berth_msvc_put_service)) < 0 ||
        (r = make_old_pool(b)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_POOL_V1, berth_msvc_put_pool_v1)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_MODEL, berth_msvc_put_model)) < 0 ||
        (r = make_if_there(b, BERTH_MSVC_OBJECTIVE, berth_msvc_put_objective)) < 0)
        return r;
    return make_route(b);
}

int
berth_msvc_build(const struct berth_msvc *m, const struct berth_msvc_base *base,
                 const struct berth_msvc_conf *conf, struct berth_arena *a,
                 struct berth_msvc_problems *p, struct berth_msvc_set *ret, struct berth_err *e)
{
    struct berth_msvc_base converted = *base;
    struct build b = {.m = m,
                      .base = &converted,
                      .conf = conf,
                      .a = a,
                      .problems = p,
                      .set = ret,
                      .making = berth_msvc_kind_of(BERTH_MSVC_POOL)->key,
                      .e = e};

    memset(ret, 0, sizeof *ret);
    int r = berth_msvc_pool_convert(&converted, conf->inference, conf->no_objectives, a, p, e);
    if (r == 0)
        r = build_all(&b);
    if (r == 0)
        build_check_selectors(ret, p);
    return r == -BERTH_ENOMEM ? berth_msvc_no_memory(a, b.making, e) : r;
}
