#include "shimlets/kubernetes/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "wire/json.h"

enum {
    PRODUCTS_MAX = 32,
    AGAIN_S = 10, /* what was asked for and has not been seen since is asked for again */
};

/* One unit's operation while it goes on. */
struct applying {
    struct berth_shimlet *s;
    const struct berth_op *op;
    const struct berth_kube_until *until;
    struct berth_arena *a;
    const struct berth_unit *u;
    struct kubernetes_found f;
    struct kubernetes_known k;
    unsigned applied; /* objects */
};

/* ---- which machines have the accelerator ---- */

struct products {
    struct berth_arena *a;
    const char *wanted, *label;
    const char **found;
    size_t count;
};

static int
by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static bool
take_node(void *arg, const struct berth_json *node)
{
    struct products *p = arg;
    const struct berth_slice value = berth_kube_label(node, p->label);

    if (value.len == 0 || strcasestr(value.at, p->wanted) == NULL || p->count == PRODUCTS_MAX)
        return true;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->found[i], value.at) == 0)
            return true;
    p->found[p->count] = berth_arena_strdup(p->a, value.at);
    p->count += p->found[p->count] != NULL;
    return true;
}

/* What an earlier apply() of the same unit found: pods are not to move when machines come and go.
 */
static bool
earlier_products(struct products *p, const struct kubernetes_conf *c, const struct berth_unit *u,
                 const struct berth_json *workload)
{
    const struct berth_slice text = kubernetes_note(c, workload, "products");

    if (text.len == 0 || !berth_slice_is(kubernetes_note(c, workload, "spec-hash"), u->hash))
        return false;
    for (const char *at = text.at; *at != '\0' && p->count < PRODUCTS_MAX;) {
        const size_t n = strcspn(at, ",");
        p->found[p->count] = berth_arena_strndup(p->a, at, n);
        p->count += p->found[p->count] != NULL;
        at += n + (at[n] == ',');
    }
    return p->count > 0;
}

/* Machines say "NVIDIA-H20" where a person says "H20". */
static int
find_products(const struct applying *x, const struct kubernetes_conf *c, const char *const **ret,
              struct berth_err *e)
{
    const struct berth_unit *u = x->u;
    struct products p = {.a = x->a, .wanted = u->accelerator_product, .label = c->product_label};
    const struct berth_kube_selection nodes = {.kind = &berth_kube_nodes,
                                               .labels = c->product_label};

    *ret = NULL;
    if (u->accelerator_count == 0 || p.wanted == NULL || p.wanted[0] == '\0')
        return 0;
    p.found = BERTH_NEW_N(x->a, const char *, PRODUCTS_MAX + 1);
    if (p.found == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (!earlier_products(&p, c, u, x->f.workload)) {
        const int r = berth_kube_list(x->s->k, x->until, &nodes, take_node, &p, NULL, e);
        if (r < 0)
            return r;
        if (p.count == 0) /* none yet: the scheduler will say so */
            p.found[p.count++] = p.wanted;
        qsort(p.found, p.count, sizeof p.found[0], by_text);
    }
    *ret = p.found;
    return 0;
}

/* ---- drawing up ---- */

/* keep: the port is the unit's from now on. */
static int
draw_up(struct applying *x, bool keep, struct kubernetes_object ret[KUBERNETES_OBJECTS_MAX],
        size_t *ret_count, struct berth_err *e)
{
    struct berth_shimlet *s = x->s;
    const struct berth_unit *u = x->u;
    struct kubernetes_conf *conf = BERTH_NEW(x->a, struct kubernetes_conf);
    struct kubernetes_plan plan = {
        .conf = conf, .unit = u, .owner = s->owner, .space = s->conf.space};
    int r = 0;

    if (conf == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    *conf = s->conf;
    if (u->settings_json != NULL) {
        r = kubernetes_conf_check_own(u->settings_json, x->a, e);
        kubernetes_conf_read(u->settings_json, &s->conf, conf);
    }
    if (r == 0)
        r = kubernetes_conf_check(conf, e);
    if (r < 0)
        return berth_err_wrap(e, r, "shimletConfig");
    r = find_products(x, conf, &plan.products, e);
    if (r == 0)
        r = kubernetes_port(s, u, keep, &plan.port, e);
    return r < 0 ? r : kubernetes_render(&plan, x->a, ret, ret_count, e);
}

int
kubernetes_draw_up(struct berth_shimlet *s, const struct berth_op *op, struct berth_arena *a,
                   const struct berth_unit *u, struct kubernetes_object ret[KUBERNETES_OBJECTS_MAX],
                   size_t *ret_count, struct berth_err *e)
{
    struct kubernetes_asked asked;
    const struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct applying x = {.s = s, .op = op, .until = &until, .a = a, .u = u};
    const int r = kubernetes_find(s, a, u->name, &x.f, e);

    return r < 0 ? r : draw_up(&x, false, ret, ret_count, e);
}

/* ---- applying ---- */

static struct berth_kube_ref
ref_of(const struct berth_shimlet *s, const struct berth_kube_kind *kind, const char *name)
{
    return (struct berth_kube_ref){.kind = kind, .space = s->conf.space, .name = name};
}

static int
put(struct applying *x, const struct kubernetes_object *o, const struct berth_json **ret,
    struct berth_err *e)
{
    const struct berth_kube_ref ref = ref_of(x->s, o->kind, x->u->name);
    const struct berth_kube_apply how = {.object = o->json, .force = true};
    const int r = berth_kube_apply(x->s->k, x->until, x->a, &ref, &how, ret, e);

    if (r == 0) {
        char text[160];
        (void)snprintf(text, sizeof text, "applied %s %s/%s", o->kind->kind, x->s->conf.space,
                       x->u->name);
        x->s->h->note(x->op, text);
        x->applied++;
        x->k.at_ns = berth_now_ns();
    }
    return r;
}

static bool
is_applied(const struct berth_shimlet *s, const struct berth_json *object, const char *digest)
{
    return berth_slice_is(kubernetes_note(&s->conf, object, "applied"), digest);
}

/* Is the workload as it was applied, so that there is nothing to ask the server for? */
static bool
is_workload_done(struct applying *x, const struct kubernetes_object *o)
{
    const struct berth_json *w = x->f.workload;
    const int64_t generation = berth_kube_int(w, "metadata.generation", 0);

    if (x->k.kind == o->kind && strcmp(x->k.digest, o->digest) == 0) {
        if (w != NULL)
            return generation <= x->k.generation; /* less: the cache is behind */
        return !x->k.seen && berth_now_ns() - x->k.at_ns < AGAIN_S * BERTH_S;
    }
    if (w == NULL || x->f.kind != o->kind || !is_applied(x->s, w, o->digest) || x->k.kind != NULL ||
        x->k.touched ||
        (!kubernetes_is_scaled(x->u) &&
         berth_kube_int(w, "spec.replicas", 1) != (int64_t)x->u->replicas))
        return false;
    /* An earlier process applied it, and nobody else has set a field of it since. */
    x->k.kind = o->kind;
    x->k.generation = generation;
    x->k.seen = true;
    memcpy(x->k.digest, o->digest, sizeof o->digest);
    return true;
}

/* Replicas become the autoscaler's, so the next apply leaves them out; but what one leaves out that
 * no other manager has is taken away, and a workload without replicas gets one: an outage.  So
 * another manager takes over the number that there is.  Somebody who has just set another one is a
 * conflict, which is tried again when the informer has that. */
static int
hand_over_replicas(struct applying *x, const struct kubernetes_object *o, struct berth_err *e)
{
    const struct berth_json *w = x->f.workload, *got;
    const struct berth_kube_ref ref = ref_of(x->s, o->kind, x->u->name);
    const bool was_scaled = kubernetes_note(&x->s->conf, w, "scaled").len > 0 &&
                            (x->k.kind == NULL || x->k.scaler_digest[0] != '\0');
    char manager[KUBERNETES_TEXT_MAX + 8];

    if (!kubernetes_is_scaled(x->u) || w == NULL || x->f.kind != o->kind || was_scaled)
        return 0;
    const char *json =
        berth_arena_printf(x->a,
                           "{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\","
                           "\"namespace\":\"%s\"},\"spec\":{\"replicas\":%lld}}",
                           o->kind->group_version, o->kind->kind, x->u->name, x->s->conf.space,
                           (long long)berth_kube_int(w, "spec.replicas", 1));
    if (json == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    kubernetes_scale_manager(&x->s->conf, manager);
    const struct berth_kube_apply how = {.object = {json, strlen(json)}, .manager = manager};
    return berth_kube_apply(x->s->k, x->until, x->a, &ref, &how, &got, e);
}

static int
apply_workload(struct applying *x, const struct kubernetes_object *o, struct berth_err *e)
{
    const struct berth_json *got = NULL;
    int r;

    if (is_workload_done(x, o))
        return 0;
    if (x->f.workload != NULL && x->f.kind != o->kind) { /* was a Deployment, is a StatefulSet */
        const struct berth_kube_ref old = ref_of(x->s, x->f.kind, x->u->name);
        r = berth_kube_delete(x->s->k, x->until, &old, NULL, e);
        if (r < 0)
            return r;
    }
    x->k.seen = x->f.workload != NULL && x->f.kind == o->kind;
    r = hand_over_replicas(x, o, e);
    if (r == 0)
        r = put(x, o, &got, e);
    if (r < 0)
        return r;
    x->k.kind = o->kind;
    x->k.generation = berth_kube_int(got, "metadata.generation", 0);
    memcpy(x->k.digest, o->digest, sizeof o->digest);
    return 0;
}

/* Its version tells nothing (others write its status), so what we set is compared. */
static bool
is_service_same(struct applying *x, const struct kubernetes_object *o)
{
    static const char *const texts[] = {"spec.selector.app", "spec.selector.track", "spec.type"};
    const struct berth_json *wanted, *has = x->f.service;

    if (has == NULL || !is_applied(x->s, has, o->digest) ||
        berth_json_parse(x->a, o->json.at, o->json.len, NULL, &wanted, NULL) < 0)
        return false;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(berth_kube_text(has, texts[i]).at, berth_kube_text(wanted, texts[i]).at) != 0)
            return false;
    struct berth_json_iter w = berth_json_iter(berth_kube_at(wanted, "spec.ports"));
    struct berth_json_iter h = berth_json_iter(berth_kube_at(has, "spec.ports"));
    return berth_json_next(&w) && berth_json_next(&h) &&
           berth_kube_int(w.value, "port", 0) == berth_kube_int(h.value, "port", -1) &&
           strcmp(berth_kube_text(h.value, "targetPort").at, "http") == 0;
}

static int
apply_service(struct applying *x, const struct kubernetes_object *o, struct berth_err *e)
{
    const bool fresh = strcmp(x->k.service_digest, o->digest) == 0 &&
                       berth_now_ns() - x->k.at_ns < AGAIN_S * BERTH_S;
    const struct berth_json *got;

    if (is_service_same(x, o) || (fresh && x->f.service == NULL))
        return 0;
    const int r = put(x, o, &got, e);
    if (r == 0)
        memcpy(x->k.service_digest, o->digest, sizeof o->digest);
    return r;
}

/* Autoscalers are not watched: they are applied when what they say changes, or after a restart. */
static int
apply_scaler(struct applying *x, const struct kubernetes_object *o, struct berth_err *e)
{
    const struct berth_json *got;

    if (strcmp(x->k.scaler_digest, o->digest) == 0 && x->applied == 0)
        return 0;
    const int r = put(x, o, &got, e);
    if (r == 0)
        memcpy(x->k.scaler_digest, o->digest, sizeof o->digest);
    return r;
}

static bool
has_scaler(const struct applying *x)
{
    return x->k.scaler_digest[0] != '\0' ||
           kubernetes_note(&x->s->conf, x->f.workload, "scaled").len > 0;
}

static int
drop_scaler(struct applying *x, const char *name, struct berth_err *e)
{
    const struct berth_kube_ref ref = ref_of(x->s, &berth_kube_autoscalers, name);
    const int r = berth_kube_delete(x->s->k, x->until, &ref, NULL, e);

    if (r >= 0)
        x->k.scaler_digest[0] = '\0';
    return r < 0 ? r : 0;
}

int
kubernetes_apply(struct berth_shimlet *s, const struct berth_op *op, struct berth_arena *a,
                 const struct berth_unit *u, struct berth_err *e)
{
    struct kubernetes_object objects[KUBERNETES_OBJECTS_MAX];
    struct kubernetes_asked asked;
    const struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct applying x = {.s = s, .op = op, .until = &until, .a = a, .u = u};
    size_t n = 0;
    int r = kubernetes_find(s, a, u->name, &x.f, e);

    if (r == 0)
        r = draw_up(&x, true, objects, &n, e);
    if (r < 0)
        return r;
    x.k = kubernetes_known(s, u->name);
    x.k.removing = false;
    if (n < KUBERNETES_OBJECTS_MAX && has_scaler(&x))
        r = drop_scaler(&x, u->name, e); /* before replicas are ours again */
    if (r == 0)
        r = apply_workload(&x, &objects[0], e);
    if (r == 0)
        r = apply_service(&x, &objects[1], e);
    if (r == 0 && n == KUBERNETES_OBJECTS_MAX)
        r = apply_scaler(&x, &objects[2], e);
    /* What was done is kept, also when the rest failed. */
    const struct kubernetes_known now = kubernetes_known(s, u->name);
    x.k.seen = x.k.seen || now.seen; /* the informer may have been quicker */
    const int kept = kubernetes_keep(s, &x.k, r == 0 ? e : NULL);
    return r < 0 ? r : kept;
}

/* ---- removing ---- */

/* No new requests to what is about to go; each for as long as it gets to end by itself. */
static void
drain_pods(struct applying *x)
{
    for (size_t i = 0; i < x->f.pod_count; i++) {
        const struct berth_json *pod = x->f.pods[i];
        const int64_t grace = berth_kube_int(pod, "spec.terminationGracePeriodSeconds", 30);
        if (berth_kube_text(pod, "metadata.deletionTimestamp").len == 0 &&
            berth_kube_text(pod, "status.podIP").len > 0)
            (void)x->s->h->drain(x->op, berth_kube_text(pod, "metadata.name").at,
                                 (uint64_t)(grace > 0 ? grace : 0) * BERTH_S);
    }
}

/* The workload last: as long as it is there, it says what else there is. */
static int
delete_all(struct applying *x, const char *name, struct berth_err *e)
{
    const struct berth_kube_kind *kind = x->f.workload != NULL ? x->f.kind : x->k.kind;
    const struct berth_kube_ref service = ref_of(x->s, &berth_kube_services, name);
    const struct berth_kube_ref workload = ref_of(x->s, kind, name);
    int r = has_scaler(x) ? drop_scaler(x, name, e) : 0;

    if (r >= 0)
        r = berth_kube_delete(x->s->k, x->until, &service, NULL, e);
    if (r >= 0 && kind != NULL)
        r = berth_kube_delete(x->s->k, x->until, &workload, NULL, e);
    return r < 0 ? r : 0;
}

int
kubernetes_remove(struct berth_shimlet *s, const struct berth_op *op, struct berth_arena *a,
                  const char *unit_name, struct berth_err *e)
{
    struct kubernetes_asked asked;
    struct berth_kube_until until;
    struct applying x = {.s = s, .op = op, .until = &until, .a = a};
    int r = kubernetes_find(s, a, unit_name, &x.f, e);

    if (r < 0)
        return r;
    x.k = kubernetes_known(s, unit_name);
    const bool there = x.f.workload != NULL || x.f.service != NULL;
    const bool late = berth_now_ns() - x.k.at_ns > AGAIN_S * BERTH_S;
    /* The cache may be behind what apply() has just made. */
    if (!there && x.f.pod_count == 0 && (x.k.kind == NULL || x.k.removing)) {
        kubernetes_forget(s, unit_name);
        return 0;
    }
    if (x.k.removing && !(there && late))
        return 1;
    if (!there && x.k.kind == NULL)
        return 1; /* pods that are on their way out */
    drain_pods(&x);
    until = kubernetes_until(s, op, &asked); /* draining takes longer than a call may */
    r = delete_all(&x, unit_name, e);
    if (r < 0)
        return r;
    s->h->note(op, "deleted workload and Service");
    (void)snprintf(x.k.name, sizeof x.k.name, "%s", unit_name);
    x.k.removing = true;
    x.k.at_ns = berth_now_ns();
    r = kubernetes_keep(s, &x.k, e);
    return r < 0 ? r : 1;
}
