#include "operator/cluster/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "kube/covers.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/pull_secrets.h"
#include "wire/json.h"

/* ---- objects, changed ---- */

/* NULL: out of memory. */
static const struct berth_json *
patched(const struct msvc_view *v, const struct berth_json *tree, const char *patch)
{
    return patch != NULL ? berth_kube_patched(v->a, tree, berth_slice_of(patch)) : NULL;
}

bool
msvc_covers(const struct berth_json *live, const struct berth_json *wish)
{
    for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);) {
        /* Lists of the API server leave out what each object of them is. */
        if (!berth_slice_is(it.key, "apiVersion") && !berth_slice_is(it.key, "kind") &&
            !berth_kube_covers(berth_json_get(live, it.key.at), it.value))
            return false;
    }
    return true;
}

static bool
sum_of(const struct msvc_view *v, const struct berth_json *wish, char ret[MSVC_SUM])
{
    struct berth_buf text;

    berth_buf_init(&text, v->a);
    berth_json_put(&text, wish);
    if (wish == NULL || text.failed)
        return false;
    msvc_sum(text.at, text.len, ret);
    return true;
}

/* The wish with the sum of itself as an annotation, so that a later process knows it. */
static bool
put_note(const struct msvc_view *v, struct msvc_plan *p)
{
    if (!sum_of(v, p->wish, p->digest))
        return false;
    if (p->like[0] == '\0')
        memcpy(p->like, p->digest, sizeof p->like);
    p->wish = patched(v, p->wish,
                      berth_arena_printf(v->a, "{\"metadata\":{\"annotations\":{\"%s\":\"%s\"}}}",
                                         BERTH_MSVC_APPLIED_NOTE, p->digest));
    return p->wish != NULL;
}

static bool
is_going(const struct berth_json *live)
{
    return berth_kube_text(live, "metadata.deletionTimestamp").len > 0;
}

/* What the sums say: it was made by this operator as it is wished for now. */
static bool
is_as_noted(const struct msvc_child *c, const struct msvc_plan *p)
{
    return c->live != NULL &&
           berth_slice_is(berth_kube_annotation(c->live, BERTH_MSVC_APPLIED_NOTE), p->digest) &&
           msvc_covers(c->live, p->wish);
}

/* ---- whose it is ---- */

static void
refuse_unless_ours(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *p)
{
    if (c->live != NULL && !msvc_is_ours(v, c->kind, c->live, &p->refusal))
        p->step = MSVC_STEP_REFUSE;
}

/* ---- ConfigMaps, which several services may have ---- */

/* One of two that wish for the same is as good as the other: all of them own it.  Of two that wish
 * for different things the older has it. */
static bool
share(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *p)
{
    struct msvc_others others = {0};

    msvc_others_of(v, c->live, &others);
    if (others.count == 0) {
        refuse_unless_ours(v, c, p);
        others = (struct msvc_others){0};
    } else if (others.older != NULL && !is_as_noted(c, p)) {
        p->step = MSVC_STEP_REFUSE;
        p->refusal.why =
            berth_arena_printf(v->a,
                               "is ModelService %s's, too, which has something else in it: give "
                               "one of the two another name",
                               others.older);
    } else {
        p->exact = true;
    }
    if (p->step == MSVC_STEP_REFUSE)
        return true;
    const char *owners = msvc_owners_text(v, &others, true);
    if (owners == NULL)
        return false;
    p->wish = patched(v, p->wish,
                      berth_arena_printf(v->a, "{\"metadata\":{\"ownerReferences\":%s}}", owners));
    return p->wish != NULL;
}

/* What differs from one owner to the other is no part of its sum. */
static bool
draw_up_map(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *p)
{
    static const char common[] =
        "{\"metadata\":{\"ownerReferences\":null,\"labels\":{\"" BERTH_MSVC_UID_LABEL "\":null}}}";

    p->wish = patched(v, p->wish, common);
    return p->wish != NULL && put_note(v, p) && share(v, c, p);
}

/* ---- replicas that somebody else is to set ---- */

/* spec.decoupleScaling: who scales prefill and decode is an autoscaler's business. */
static bool
is_scaled_by_others(const struct msvc_view *v, const struct msvc_child *c)
{
    static const struct {
        enum berth_msvc_child workload, autoscaler;
    } scaled[] = {{BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_PREFILL_HPA},
                  {BERTH_MSVC_PREFILL_LWS, BERTH_MSVC_PREFILL_HPA},
                  {BERTH_MSVC_DECODE_DEPLOYMENT, BERTH_MSVC_DECODE_HPA},
                  {BERTH_MSVC_DECODE_LWS, BERTH_MSVC_DECODE_HPA}};

    for (size_t i = 0; i < sizeof scaled / sizeof *scaled; i++) {
        if (v->wish->of[scaled[i].workload] == c->wish)
            return v->wish->of[scaled[i].autoscaler] != NULL ||
                   berth_kube_flag(v->m->spec, "decoupleScaling");
    }
    return false;
}

/*
 * The field becomes another manager's, with the value that is there: what is ours alone would fall
 * back to 1 when we leave it out.  A new object is made with what is wished for, and handed over at
 * the next look.  An autoscaler that is faster is not undone: the version has to be that one.
 */
static const char *
handing_over(const struct msvc_view *v, const struct msvc_child *c)
{
    return berth_arena_printf(
        v->a,
        "{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\","
        "\"resourceVersion\":\"%s\"},\"spec\":{\"replicas\":%" PRId64 "}}",
        c->kind->group_version, c->kind->kind, berth_kube_text(c->live, "metadata.name").at,
        berth_kube_text(c->live, "metadata.resourceVersion").at,
        berth_kube_int(c->live, "spec.replicas", 1));
}

/* ---- as it is to be ---- */

static bool
is_account(const struct msvc_child *c)
{
    return c->kind == berth_msvc_kind_of(BERTH_MSVC_PD_ACCOUNT)->kube;
}

/* False: out of memory. */
static bool
draw_up(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *p)
{
    p->wish = c->wish;
    if (c->kind == &berth_kube_config_maps)
        return draw_up_map(v, c, p);
    refuse_unless_ours(v, c, p);
    if (p->step == MSVC_STEP_REFUSE)
        return true;
    if (is_account(c) && (p->wish = berth_msvc_note_pull_secrets(p->wish, v->a)) == NULL)
        return false;
    if (is_scaled_by_others(v, c)) {
        const struct berth_json *bare = patched(v, p->wish, "{\"spec\":{\"replicas\":null}}");
        if (!sum_of(v, bare, p->like))
            return false;
        if (c->live != NULL)
            p->wish = bare;
    }
    return put_note(v, p);
}

/* ---- what is sent ---- */

/* The version that the server's object must have; NULL: any. */
static const char *
version_for(const struct msvc_child *c, const struct msvc_plan *p)
{
    /* No object's: with it a server makes one, and refuses where there is one already.  So nothing
     * that somebody else made is touched, and nobody need be asked before. */
    static const char none[] = "1";

    if (c->unseen)
        return none;
    return p->exact && c->live != NULL ? berth_kube_text(c->live, "metadata.resourceVersion").at
                                       : NULL;
}

/* False: out of memory. */
static bool
put_text(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *p)
{
    const struct berth_json *wish = p->wish;
    struct berth_buf text;

    if (is_account(c)) {
        wish = berth_msvc_keep_pull_secrets(c->live, wish, v->a);
        /* It is applied as a whole: what somebody adds meanwhile would go. */
        p->exact = p->exact || berth_json_get(wish, "imagePullSecrets") != NULL;
    }
    const char *version = version_for(c, p);
    if (version != NULL && wish != NULL)
        wish = patched(
            v, wish,
            berth_arena_printf(v->a, "{\"metadata\":{\"resourceVersion\":\"%s\"}}", version));
    if (wish == NULL)
        return false;
    berth_buf_init(&text, v->a);
    berth_json_put(&text, wish);
    p->text = (struct berth_slice){text.at, text.len};
    return !text.failed;
}

/* ---- what is done ---- */

/* Is the live object as it is wished for, as far as is known? */
static bool
is_done(const struct msvc_child *c, struct msvc_plan *p)
{
    return (c->known != NULL &&
            msvc_is_as_applied(c->known, p->digest, c->live, p->wish, &p->behind)) ||
           is_as_noted(c, p);
}

/* The role that is given away cannot be changed, only given anew. */
static bool
has_another_role(const struct msvc_child *c, const struct msvc_plan *p)
{
    const struct berth_json *role = berth_json_get(p->wish, "roleRef");

    return role != NULL && !berth_kube_covers(berth_json_get(c->live, "roleRef"), role);
}

static enum msvc_step
step_for(const struct msvc_view *v, const struct msvc_child *c, const struct msvc_plan *p)
{
    if (c->live == NULL)
        return MSVC_STEP_APPLY;
    /* llm-d's own operator made it: what that one set and is not wished for is to go. */
    if (!c->taken_over && berth_kube_annotation(c->live, BERTH_MSVC_APPLIED_NOTE).len == 0) {
        if (!c->full)
            return MSVC_STEP_ASK;
        if (msvc_is_llmds(c->live))
            return MSVC_STEP_TAKE_OVER;
    }
    if (!c->handed_over && is_scaled_by_others(v, c)) {
        if (!c->full)
            return MSVC_STEP_ASK;
        if (msvc_owns_replicas(c->live))
            return MSVC_STEP_HAND_OVER;
    }
    return has_another_role(c, p) ? MSVC_STEP_REPLACE : MSVC_STEP_APPLY;
}

int
msvc_plan(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *ret)
{
    const char *text = "";

    *ret = (struct msvc_plan){.step = MSVC_STEP_NONE, .going = is_going(c->live)};
    if (!draw_up(v, c, ret))
        return -BERTH_ENOMEM;
    if (ret->step == MSVC_STEP_REFUSE || is_done(c, ret))
        return 0;
    ret->step = ret->going ? MSVC_STEP_WAIT : step_for(v, c, ret);
    if (ret->step == MSVC_STEP_TAKE_OVER)
        text = msvc_taking_over(v->a, c->live);
    else if (ret->step == MSVC_STEP_HAND_OVER)
        text = handing_over(v, c);
    else if (ret->step == MSVC_STEP_APPLY)
        /* What somebody made since we asked is not taken over. */
        ret->force = c->live != NULL || (c->known != NULL && msvc_is_recent(c->known));
    if (text == NULL || (ret->step == MSVC_STEP_APPLY && !put_text(v, c, ret)))
        return -BERTH_ENOMEM;
    if (ret->step != MSVC_STEP_APPLY)
        ret->text = berth_slice_of(text);
    return 0;
}

/* ---- what is not wished for any more ---- */

bool
msvc_is_wished(const struct berth_msvc_set *wish, const struct berth_kube_kind *kind,
               const char *name)
{
    for (int i = BERTH_MSVC_CONFIG_MAPS + 1; i < BERTH_MSVC_CHILDREN; i++) {
        if (berth_msvc_kind_of(i)->kube == kind &&
            strcmp(berth_kube_text(wish->of[i], "metadata.name").at, name) == 0)
            return true;
    }
    if (kind != &berth_kube_config_maps)
        return false;
    for (struct berth_json_iter it = berth_json_iter(wish->of[BERTH_MSVC_CONFIG_MAPS]);
         berth_json_next(&it);) {
        if (strcmp(berth_kube_text(it.value, "metadata.name").at, name) == 0)
            return true;
    }
    return false;
}

int
msvc_plan_unwished(const struct msvc_view *v, const struct berth_json *live, bool full,
                   struct msvc_plan *ret)
{
    struct msvc_others others;

    const bool noted = berth_kube_annotation(live, BERTH_MSVC_APPLIED_NOTE).len > 0;

    *ret = (struct msvc_plan){.step = MSVC_STEP_NONE};
    /* A copy that somebody made of such an object has no owner. */
    if (!msvc_names_owner(live, v->m->uid))
        return 0;
    if (is_going(live)) {
        ret->going = noted;
        return 0;
    }
    /* Did llm-d's operator, or this one, make it?  An owner may be named by anybody: what a person
     * made and gave the service goes with the service, and not before. */
    if (!noted && (!full || !msvc_is_llmds(live))) {
        ret->step = full ? MSVC_STEP_NONE : MSVC_STEP_ASK;
        return 0;
    }
    msvc_others_of(v, live, &others);
    ret->step = others.count > 0 ? MSVC_STEP_LET_GO : MSVC_STEP_DELETE;
    if (others.count == 0)
        return 0;
    /* It stays for those that own it besides. */
    const char *owners = msvc_owners_text(v, &others, false);
    const char *patch =
        owners == NULL
            ? NULL
            : berth_arena_printf(
                  v->a, "{\"metadata\":{\"resourceVersion\":\"%s\",\"ownerReferences\":%s}}",
                  berth_kube_text(live, "metadata.resourceVersion").at, owners);
    if (patch == NULL)
        return -BERTH_ENOMEM;
    ret->text = berth_slice_of(patch);
    return 0;
}
