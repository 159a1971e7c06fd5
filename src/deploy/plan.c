#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* What a change would do, and what replicas print: looking, without changing anything. */

struct plan {
    struct berth_deploy *d;
    struct service *s; /* NULL: a new one */
    struct berth_arena *a;
    struct berth_jw *w;
};

/* A deployment of a service that is not in the map, with the spec as its wish. */
static int
pretend(struct plan *p, const struct berth_spec *spec, struct service **ret_service,
        struct berth_deployment **ret, struct berth_err *e)
{
    const char *name = p->s != NULL ? p->s->id : berth_name_service(spec->model_name, "new", p->a);
    struct service *s = name != NULL ? berth_service_new(name) : NULL;
    struct track *from;
    int r = 0;

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "plan: out of memory");
    (void)snprintf(s->shimlet, sizeof s->shimlet, "%s", spec->shimlet);
    if (p->s != NULL) { /* with what its steps have set */
        (void)pthread_mutex_lock(&p->s->mu);
        s->last_revision = p->s->last_revision;
        from = &p->s->tracks[STABLE];
        for (uint32_t i = 0; r == 0 && i < from->value_count; i++)
            r = berth_values_set(&s->tracks[STABLE], from->values[i].key, from->values[i].text, e);
        (void)pthread_mutex_unlock(&p->s->mu);
    }
    if (r == 0)
        r = berth_revision_parse(p->d, spec->json, spec->json_len, s->last_revision + 1,
                                 &s->tracks[STABLE].wish, e);
    if (r == 0)
        r = berth_deployment_new(ret, p->d, s, STABLE, e);
    if (r < 0) {
        berth_service_free(s);
        return r;
    }
    (*ret)->op = (struct berth_op){.d = p->d, .deadline_ns = berth_deploy_now(p->d) + 30 * BERTH_S};
    *ret_service = s;
    return 0;
}

static void
take_objects(void *arg, const char *json, size_t len)
{
    struct plan *p = arg;
    const struct berth_json *v;
    struct berth_err e;

    if (berth_json_parse(p->a, json, len, NULL, &v, &e) == 0)
        berth_jw_value(p->w, v);
    else
        berth_jw_null(p->w);
}

/* Has a pipeline that step, and are it and those before it the host's own goals? */
static bool
has_step(const struct flow *f, const char *name, bool *ret_plain)
{
    const struct berth_goal *goals;
    const char *const *names;
    struct berth_err e;
    uint32_t n;

    *ret_plain = true;
    if (berth_flow_steps(f, false, &goals, &names, &n, &e) < 0)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const char *step = goals != NULL ? goals[i].name : names[i];
        const struct berth_goal *own = berth_host_goal(step);
        *ret_plain = *ret_plain && goals != NULL && own != NULL && goals[i].ensure == own->ensure;
        if (strcmp(step, name) == 0)
            return true;
    }
    return false;
}

/*
 * What the first steps would make of the spec; the host's own change nothing but the values of a
 * service that is pretended.  Another pipeline's steps are not run, they may fetch or write: a new
 * service gets what the host's goals would make of it, one that is there keeps what they have set.
 */
static int
take_first_steps(struct plan *p, struct berth_deployment *x, bool *ret_checked, struct berth_err *e)
{
    struct track *t = &x->s->tracks[STABLE];
    bool plain, ignored;
    const bool renders = has_step(x->flow, "config-rendering", &plain);
    const bool looks = has_step(x->flow, "model-validation", &ignored);
    int r = 0;

    *ret_checked = false;
    if (renders && plain)
        berth_values_clear(t); /* as a run of it begins */
    else if (p->s != NULL || !renders || !looks)
        return looks ? berth_deployment_model(x, e) : 0;
    if (looks)
        r = berth_host_goal("model-validation")->ensure(x, e);
    if (r == 0) {
        r = berth_host_goal("config-rendering")->ensure(x, e);
        *ret_checked = true; /* that is how it ends */
    }
    return r;
}

static void
put_objects_and_fit(struct plan *p, struct berth_deployment *x)
{
    const struct berth_shimlet_ops *ops = x->environ->ops;
    struct berth_err e = {""}, unseen;
    bool checked;
    int r = take_first_steps(p, x, &checked, &e);
    const int made = berth_deployment_unit(x, r == 0 ? &e : &unseen);

    berth_jw_key(p->w, "objects");
    const size_t before = p->w->b->len;
    if (made == 0 && BERTH_SHIMLET_HAS(ops, render))
        (void)ops->render(x->shimlet, &x->op, &x->unit, take_objects, p, &unseen);
    if (p->w->b->len == before) {
        berth_jw_array(p->w);
        berth_jw_array_end(p->w);
    }
    if (r == 0)
        r = made;
    if (r == 0 && !checked && BERTH_SHIMLET_HAS(ops, check))
        r = ops->check(x->shimlet, &x->op, &x->unit, &e);
    berth_jw_key(p->w, "fits");
    berth_jw_bool(p->w, r == 0);
    berth_jw_key(p->w, "why");
    berth_jw_string(p->w, r == 0 ? "" : e.msg);
}

static void
put_changes(struct plan *p, const struct berth_spec *spec)
{
    struct berth_buf diff;
    bool rolls = false;

    berth_jw_key(p->w, "action");
    if (p->s == NULL) {
        berth_jw_string(p->w, "create");
        berth_jw_key(p->w, "changes");
        berth_jw_array(p->w);
        berth_jw_array_end(p->w);
    } else {
        (void)pthread_mutex_lock(&p->s->mu);
        const struct berth_spec *now = &p->s->tracks[STABLE].wish->spec;
        const bool same =
            now->json_len == spec->json_len && memcmp(now->json, spec->json, now->json_len) == 0;
        rolls = strcmp(now->hash, spec->hash) != 0;
        berth_jw_string(p->w, same ? "none" : "update");
        berth_buf_init(&diff, p->a);
        berth_spec_diff(now, spec, p->a, &diff);
        berth_jw_key(p->w, "changes");
        berth_jw_raw(p->w, diff.failed ? "[]" : diff.at, diff.failed ? 2 : diff.len);
        (void)pthread_mutex_unlock(&p->s->mu);
    }
    berth_jw_key(p->w, "rolls");
    berth_jw_bool(p->w, rolls);
}

int
berth_deploy_plan(struct berth_deploy *d, const char *id, const struct berth_spec *spec,
                  struct berth_arena *a, struct berth_buf *out, struct berth_err *e)
{
    const size_t before = out->len;
    struct berth_deployment *x = NULL;
    struct service *made = NULL;
    struct berth_spec whole;
    struct berth_jw w;
    struct plan p = {.d = d, .a = a, .w = &w};
    int r = berth_deploy_check_names(d, spec->shimlet, spec->pipeline, e);

    if (r < 0)
        return r;
    if (id != NULL && (p.s = berth_deploy_service(d, id)) == NULL)
        return berth_err_set(e, BERTH_ENOENT, "there is no service %s", id);
    if (p.s != NULL) { /* what an update refuses is no plan */
        (void)pthread_mutex_lock(&p.s->mu);
        r = berth_service_takes(p.s, spec, e);
        if (r == 0 &&
            (r = berth_spec_unmasked(spec, &p.s->tracks[STABLE].wish->spec, a, &whole, e)) == 0)
            spec = &whole;
        (void)pthread_mutex_unlock(&p.s->mu);
    }
    berth_jw_init(&w, out);
    berth_jw_object(&w);
    if (r == 0 && (r = pretend(&p, spec, &made, &x, e)) == 0) {
        put_changes(&p, spec);
        put_objects_and_fit(&p, x);
        berth_deployment_free(x);
        berth_service_free(made);
    }
    berth_jw_object_end(&w);
    if (p.s != NULL)
        berth_service_unref(d, p.s);
    if (r == 0 && out->failed)
        r = berth_err_set(e, BERTH_ENOMEM, "plan: out of memory");
    if (r < 0)
        out->len = before;
    return r;
}

/* ---- logs ---- */

int
berth_deploy_logs(struct berth_deploy *d, const char *id, const struct berth_deploy_logs *how,
                  struct berth_err *e)
{
    const bool canary = how->track != NULL && strcmp(how->track, "canary") == 0;
    struct service *s = berth_deploy_service(d, id);
    struct berth_deployment *x = NULL;
    int r;

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOENT, "there is no service %s", id);
    if ((r = berth_deployment_new(&x, d, s, canary ? CANARY : STABLE, e)) == 0) {
        /* Not cut short by a change of the service: following goes on over it. */
        x->op = (struct berth_op){
            .d = d, .deadline_ns = UINT64_MAX, .cancelled = how->cancelled, .arg = how->arg};
        (void)pthread_mutex_lock(&s->mu); /* the unit is made of the track's values */
        r = berth_deployment_unit(x, e);
        (void)pthread_mutex_unlock(&s->mu);
        if (r == 0 && !BERTH_SHIMLET_HAS(x->environ->ops, logs))
            r = berth_err_set(e, BERTH_EUNSUPPORTED, "shimlet %s keeps no logs", s->shimlet);
        if (r == 0)
            r = x->environ->ops->logs(x->shimlet, &x->op, x->unit.name, &how->query, how->line,
                                      how->arg, e);
        berth_deployment_free(x);
    }
    berth_service_unref(d, s);
    return r;
}
