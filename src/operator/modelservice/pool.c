#include "operator/modelservice/pool.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* One object that is written anew. */
struct draft {
    struct berth_arena *a;
    struct berth_msvc_problems *problems;
    struct berth_buf text;
    struct berth_jw w;
};

static void
begin(struct draft *d)
{
    berth_buf_init(&d->text, d->a);
    berth_jw_init(&d->w, &d->text);
}

static int
finish(struct draft *d, const struct berth_json **ret, struct berth_err *e)
{
    if (!d->text.failed && berth_json_parse(d->a, d->text.at, d->text.len, NULL, ret, NULL) == 0)
        return 0;
    return berth_msvc_no_memory(d->a, "inferencePool", e);
}

/* A member that says something: null says that there is none. */
static const struct berth_json *
said(const struct berth_json *v, const char *key)
{
    const struct berth_json *ret = berth_json_get(v, key);

    return berth_json_type(ret) != BERTH_JSON_NULL ? ret : NULL;
}

static void
put_as(struct berth_jw *w, const char *key, const struct berth_json *v)
{
    if (v == NULL)
        return;
    berth_jw_key(w, key);
    berth_jw_value(w, v);
}

/* The members of v that are not in the list, which ends with NULL. */
static void
put_others(struct berth_jw *w, const struct berth_json *v, const char *const *without)
{
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const char *const *at = without;
        while (*at != NULL && !berth_slice_is(it.key, *at))
            at++;
        if (*at != NULL)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
}

/* Everything of an object but what its kind has, and its spec left open. */
static void
open_object(struct draft *d, const struct berth_json *from)
{
    static const char *const kinds_own[] = {"apiVersion", "kind", "spec", "status", NULL};

    begin(d);
    berth_jw_object(&d->w);
    put_others(&d->w, from, kinds_own);
    berth_jw_key(&d->w, "spec");
    berth_jw_object(&d->w);
}

static int
close_object(struct draft *d, const struct berth_json **ret, struct berth_err *e)
{
    berth_jw_object_end(&d->w);
    berth_jw_object_end(&d->w);
    return finish(d, ret, e);
}

/* ---- pools ---- */

bool
berth_msvc_pool_is_v1(const struct berth_json *pool)
{
    const char *version = berth_json_member_text(pool, "apiVersion", "");
    const struct berth_json *spec = berth_json_get(pool, "spec");

    if (strncmp(version, BERTH_MSVC_INFERENCE_V1 "/", sizeof BERTH_MSVC_INFERENCE_V1) == 0)
        return true;
    if (strncmp(version, BERTH_MSVC_INFERENCE_V1ALPHA2 "/", sizeof BERTH_MSVC_INFERENCE_V1ALPHA2) ==
        0)
        return false;
    return said(spec, "targetPorts") != NULL || said(spec, "endpointPickerRef") != NULL ||
           berth_json_type(berth_json_get(berth_json_get(spec, "selector"), "matchLabels")) ==
               BERTH_JSON_OBJECT;
}

static int
pool_to_v1(struct draft *d, const struct berth_json *old, const struct berth_json **ret,
           struct berth_err *e)
{
    static const char *const other_name[] = {"selector", "targetPortNumber", "extensionRef", NULL},
                             *const other_shape[] = {"portNumber", NULL};
    const struct berth_json *spec = berth_json_get(old, "spec");
    const struct berth_json *picker = said(spec, "extensionRef"),
                            *selector = said(spec, "selector"),
                            *port = said(spec, "targetPortNumber");
    struct berth_jw *w = &d->w;

    open_object(d, old);
    put_others(w, spec, other_name);
    if (selector != NULL) {
        berth_jw_key(w, "selector");
        berth_jw_object(w);
        put_as(w, "matchLabels", selector);
        berth_jw_object_end(w);
    }
    if (port != NULL) {
        berth_jw_key(w, "targetPorts");
        berth_jw_array(w);
        berth_jw_object(w);
        put_as(w, "number", port);
        berth_jw_object_end(w);
        berth_jw_array_end(w);
    }
    if (picker != NULL) {
        berth_jw_key(w, "endpointPickerRef");
        berth_jw_object(w);
        put_others(w, picker, other_shape);
        if (said(picker, "portNumber") != NULL) {
            berth_jw_key(w, "port");
            berth_jw_object(w);
            put_as(w, "number", said(picker, "portNumber"));
            berth_jw_object_end(w);
        }
        berth_jw_object_end(w);
    }
    return close_object(d, ret, e);
}

static int
pool_to_v1alpha2(struct draft *d, const struct berth_json *new, const struct berth_json **ret,
                 struct berth_err *e)
{
    static const char *const other_name[] = {"selector", "targetPorts", "endpointPickerRef",
                                             "appProtocol", NULL},
                             *const other_shape[] = {"port", NULL};
    const struct berth_json *spec = berth_json_get(new, "spec");
    const struct berth_json *picker = said(spec, "endpointPickerRef"),
                            *ports = berth_json_get(spec, "targetPorts");
    struct berth_json_iter first = berth_json_iter(ports);
    struct berth_jw *w = &d->w;

    open_object(d, new);
    put_others(w, spec, other_name);
    put_as(w, "selector", said(said(spec, "selector"), "matchLabels"));
    if (berth_json_next(&first))
        put_as(w, "targetPortNumber", said(first.value, "number"));
    if (picker != NULL) {
        berth_jw_key(w, "extensionRef");
        berth_jw_object(w);
        put_others(w, picker, other_shape);
        put_as(w, "portNumber", said(said(picker, "port"), "number"));
        berth_jw_object_end(w);
    }
    if (berth_json_len(ports) > 1)
        berth_msvc_problem(d->problems, true, "inferencePool", "spec.targetPorts",
                           "a pool of v1alpha2 has one port: the first is taken");
    if (said(spec, "appProtocol") != NULL)
        berth_msvc_problem(d->problems, true, "inferencePool", "spec.appProtocol",
                           "a pool of v1alpha2 has none: it is left out");
    return close_object(d, ret, e);
}

/* ---- models and objectives ---- */

/* What is above 0 is served first, what is below is refused when there is too much. */
static const struct {
    const char *criticality;
    int64_t priority;
} levels[] = {{"Critical", 1}, {"Standard", 0}, {"Sheddable", -1}};

static int
model_to_objective(struct draft *d, const struct berth_json *model, const struct berth_json **ret,
                   struct berth_err *e)
{
    const struct berth_json *spec = berth_json_get(model, "spec");
    const char *criticality = berth_json_member_text(spec, "criticality", "");

    open_object(d, model);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(levels[i].criticality, criticality) != 0)
            continue;
        berth_jw_key(&d->w, "priority");
        berth_jw_int(&d->w, levels[i].priority);
    }
    if (berth_json_len(berth_json_get(spec, "targetModels")) > 0)
        berth_msvc_problem(d->problems, true, "inferenceModel", "spec.targetModels",
                           "an InferenceObjective has none: requests are no longer divided among "
                           "them");
    return close_object(d, ret, e);
}

static int
objective_to_model(struct draft *d, const struct berth_json *objective,
                   const struct berth_json **ret, struct berth_err *e)
{
    const struct berth_json *spec = berth_json_get(objective, "spec");
    int64_t priority = 0;

    open_object(d, objective);
    if (berth_json_int(berth_json_get(spec, "priority"), &priority)) {
        const size_t i = priority > 0 ? 0 : priority == 0 ? 1 : 2;
        berth_jw_pair(&d->w, "criticality", levels[i].criticality);
        if (priority != levels[i].priority)
            berth_msvc_problem(d->problems, true, "inferenceObjective", "spec.priority",
                               "an InferenceModel has three levels: %" PRId64 " becomes %s",
                               priority, levels[i].criticality);
    }
    return close_object(d, ret, e);
}

/* ---- all of them ---- */

/* Requests are served without it, in no order of importance. */
static void
leave_out(struct draft *d, const struct berth_json *object, const char *key)
{
    if (object != NULL)
        berth_msvc_problem(
            d->problems, true, key, "",
            "it is left out: the cluster has pools of v1, and no InferenceObjectives");
}

static int
to_v1(struct berth_msvc_base *base, bool no_objectives, struct draft *d, struct berth_err *e)
{
    const struct berth_json *pool = base->of[BERTH_MSVC_POOL], *model = base->of[BERTH_MSVC_MODEL];
    int r = 0;

    base->of[BERTH_MSVC_POOL] = base->of[BERTH_MSVC_MODEL] = NULL;
    if (pool != NULL && (r = pool_to_v1(d, pool, &base->of[BERTH_MSVC_POOL_V1], e)) < 0)
        return r;
    if (no_objectives) {
        leave_out(d, base->of[BERTH_MSVC_OBJECTIVE], "inferenceObjective");
        leave_out(d, base->of[BERTH_MSVC_OBJECTIVE] == NULL ? model : NULL, "inferenceModel");
        base->of[BERTH_MSVC_OBJECTIVE] = NULL;
        return 0;
    }
    if (model == NULL || base->of[BERTH_MSVC_OBJECTIVE] != NULL)
        return 0;
    return model_to_objective(d, model, &base->of[BERTH_MSVC_OBJECTIVE], e);
}

static int
to_v1alpha2(struct berth_msvc_base *base, struct draft *d, struct berth_err *e)
{
    const struct berth_json *pool = base->of[BERTH_MSVC_POOL_V1],
                            *objective = base->of[BERTH_MSVC_OBJECTIVE];
    int r = 0;

    base->of[BERTH_MSVC_POOL_V1] = base->of[BERTH_MSVC_OBJECTIVE] = NULL;
    if (pool != NULL && (r = pool_to_v1alpha2(d, pool, &base->of[BERTH_MSVC_POOL], e)) < 0)
        return r;
    if (objective != NULL && base->of[BERTH_MSVC_MODEL] == NULL)
        return objective_to_model(d, objective, &base->of[BERTH_MSVC_MODEL], e);
    return 0;
}

int
berth_msvc_pool_convert(struct berth_msvc_base *base, enum berth_msvc_inference to,
                        bool no_objectives, struct berth_arena *a, struct berth_msvc_problems *p,
                        struct berth_err *e)
{
    struct draft d = {.a = a, .problems = p};

    switch (to) {
    case BERTH_MSVC_AS_WRITTEN:
        return 0;
    case BERTH_MSVC_TO_V1ALPHA2:
        return to_v1alpha2(base, &d, e);
    case BERTH_MSVC_TO_V1:
        return to_v1(base, no_objectives, &d, e);
    }
    return 0;
}

/* ---- routes ---- */

struct rerouting {
    const char *name, *group;
};

static bool
is_reference(const struct rerouting *x, const struct berth_json *v)
{
    const char *group = berth_json_member_text(v, "group", "");

    return strcmp(berth_json_member_text(v, "kind", ""), "InferencePool") == 0 &&
           strcmp(berth_json_member_text(v, "name", ""), x->name) == 0 &&
           (strcmp(group, BERTH_MSVC_INFERENCE_V1) == 0 ||
            strcmp(group, BERTH_MSVC_INFERENCE_V1ALPHA2) == 0);
}

/* As deep as JSON may be. */
static void
put_rerouted(const struct rerouting *x, const struct berth_json *v, struct berth_jw *w)
{
    const enum berth_json_type type = berth_json_type(v);

    if (type != BERTH_JSON_OBJECT && type != BERTH_JSON_ARRAY) {
        berth_jw_value(w, v);
        return;
    }
    const bool reference = type == BERTH_JSON_OBJECT && is_reference(x, v);
    type == BERTH_JSON_OBJECT ? berth_jw_object(w) : berth_jw_array(w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (type == BERTH_JSON_OBJECT)
            berth_jw_key_n(w, it.key.at, it.key.len);
        if (reference && berth_slice_is(it.key, "group"))
            berth_jw_string(w, x->group);
        else
            put_rerouted(x, it.value, w);
    }
    type == BERTH_JSON_OBJECT ? berth_jw_object_end(w) : berth_jw_array_end(w);
}

int
berth_msvc_route_to_pool(const struct berth_json *route, const char *name, const char *group,
                         struct berth_arena *a, const struct berth_json **ret, struct berth_err *e)
{
    const struct rerouting x = {.name = name, .group = group};
    struct draft d = {.a = a};

    if (route == NULL) {
        *ret = NULL;
        return 0;
    }
    begin(&d);
    put_rerouted(&x, route, &d.w);
    return finish(&d, ret, e);
}
