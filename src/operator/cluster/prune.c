#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "operator/cluster/controller_priv.h"
#include "operator/cluster/plan.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/* What was made for a service and is not wished for any more. */

static const uint64_t soon_ns = 200 * BERTH_MS;

/* What is to be done with it.  What a person made is asked for once in each version of it.  *live:
 * what the answer was. */
static int
plan_for(struct msvc_look *x, const struct berth_kube_ref *ref, const struct berth_json **live,
         struct msvc_plan *ret, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct msvc_view view = msvc_view_of(x);
    struct msvc_applied known;
    char key[MSVC_KEY_MAX];

    int r = msvc_plan_unwished(&view, *live, false, ret);
    if (r < 0 || ret->step != MSVC_STEP_ASK)
        return r < 0 ? berth_err_set(e, BERTH_ENOMEM, "out of memory") : 0;
    ret->step = MSVC_STEP_NONE;
    msvc_key(x, ref, key);
    if (msvc_recall(x->c, key, &known) && known.digest[0] == '\0' &&
        berth_slice_is(berth_kube_text(*live, "metadata.resourceVersion"), known.version))
        return 0; /* the server said so of this version of it */
    r = berth_kube_get(x->c->conf.kube, &until, x->a, ref, live, e);
    if (r < 0)
        return r == -BERTH_ENOENT ? 0 : r;
    if (msvc_plan_unwished(&view, *live, true, ret) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (ret->step == MSVC_STEP_NONE)
        msvc_note_applied(x->c, key, "", "", *live, *live);
    return 0;
}

static int
let_go_or_delete(struct msvc_look *x, const struct berth_kube_ref *ref,
                 const struct berth_json *live, const struct msvc_plan *p, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);

    return p->step == MSVC_STEP_LET_GO
               ? berth_kube_merge(x->c->conf.kube, &until, x->a, ref, p->text, NULL, e)
               : berth_kube_delete(x->c->conf.kube, &until, ref, live, e);
}

static void
take_away(struct msvc_look *x, const struct berth_kube_ref *ref, const struct berth_json *live)
{
    struct berth_err e = {""};
    struct msvc_plan plan;
    int r = plan_for(x, ref, &live, &plan, &e);

    if (r == 0 && plan.going)
        (void)msvc_see_it_go(x, ref, live, false, false);
    /* Whose it is besides may not have been told. */
    if ((r == 0 && plan.step == MSVC_STEP_NONE) || x->failure != NULL)
        return;
    if (r == 0)
        r = let_go_or_delete(x, ref, live, &plan, &e);
    if (r == -BERTH_EEXIST) {
        msvc_again(x, soon_ns);
        return;
    }
    if (r < 0) {
        msvc_fail(x, ref, r, e.msg);
        return;
    }
    atomic_fetch_add(&x->c->deletes, 1);
    msvc_said_add(x, &x->taken_away, ref->kind, ref->name);
    x->going_on = true;
    berth_info("ModelService %s/%s: %s %s is not wished for any more and goes", x->m.ns, x->m.name,
               ref->kind->kind, ref->name);
}

/* A pool that another one takes the place of goes when the route to that one is seen. */
static bool
is_pool(const struct berth_kube_kind *kind)
{
    return kind == berth_msvc_kind_of(BERTH_MSVC_POOL)->kube ||
           kind == berth_msvc_kind_of(BERTH_MSVC_POOL_V1)->kube;
}

/* ---- ConfigMaps beyond those that the cache can have ---- */

/* The status of before has the names of those that were made.  Is that one, which is not wished
 * for, left?  One that is known is found by its owner; of the others the server is asked, if
 * somebody is to act on it. */
static bool
is_left(struct msvc_look *x, struct berth_kube_informer *cache, const struct berth_kube_ref *ref,
        bool act)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_json *live = NULL;
    struct berth_err e = {""};
    int r = berth_kube_informer_get(cache, x->a, ref->space, ref->name, &live, &e);

    if (r == 0)
        return msvc_names_owner(live, x->m.uid);
    if (r != -BERTH_ELIMIT || !act)
        return r != -BERTH_ENOENT;
    r = berth_kube_get(x->c->conf.kube, &until, x->a, ref, &live, &e);
    if (r == 0)
        take_away(x, ref, live);
    else if (r != -BERTH_ENOENT)
        msvc_fail(x, ref, r, e.msg);
    return r == 0 ? msvc_names_owner(live, x->m.uid) : r != -BERTH_ENOENT;
}

static bool
find_left(struct msvc_look *x, bool act)
{
    const struct berth_json *names = berth_kube_at(x->object, "status.configMapNames");
    struct berth_kube_informer *cache = msvc_informer_known(x->c, &berth_kube_config_maps);

    x->left = BERTH_NEW_N(x->a, const char *, berth_json_len(names) + 1);
    x->left_count = 0;
    if (x->left == NULL)
        return false;
    for (struct berth_json_iter it = berth_json_iter(names); berth_json_next(&it);) {
        struct berth_kube_ref ref = {.kind = &berth_kube_config_maps, .space = x->m.ns};
        struct berth_slice name;
        if (!berth_json_string(it.value, &name) || msvc_is_wished(&x->wish, ref.kind, name.at))
            continue;
        ref.name = name.at;
        if (cache == NULL || is_left(x, cache, &ref, act)) /* NULL: nothing is known of any yet */
            x->left[x->left_count++] = name.at;
    }
    return true;
}

bool
msvc_left(struct msvc_look *x)
{
    return x->left != NULL || find_left(x, false);
}

void
msvc_prune(struct msvc_look *x)
{
    const bool changing = x->going_on;

    for (size_t i = 0; i < x->c->watch_count; i++) {
        const struct berth_kube_kind *kind = x->c->watches[i].kind;
        struct berth_kube_informer *cache = msvc_informer_known(x->c, kind);
        const struct berth_kube_place *found = NULL;
        struct berth_err e = {""};
        size_t count = 0;
        if (cache == NULL || (changing && is_pool(kind)) ||
            berth_kube_informer_names(cache, x->a, x->m.uid, &found, &count, &e) < 0)
            continue; /* the watch, when it knows, tells of each */
        for (size_t j = 0; j < count; j++) {
            const struct berth_kube_ref ref = {
                .kind = kind, .space = x->m.ns, .name = found[j].name};
            const struct berth_json *live = NULL;
            if (!msvc_is_wished(&x->wish, kind, ref.name) &&
                berth_kube_informer_get(cache, x->a, x->m.ns, ref.name, &live, &e) == 0)
                take_away(x, &ref, live);
        }
    }
    (void)find_left(x, true);
}
