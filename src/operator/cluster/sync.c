#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "operator/cluster/controller_priv.h"
#include "operator/cluster/plan.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/* Children: each as it is wished for, and none that is not. */

static const uint64_t soon_ns = 200 * BERTH_MS, busy_ns = 5 * BERTH_S, held_up_ns = 30 * BERTH_S;
/* What was one before us with our name goes with that one. */
static const uint64_t passing_ns = 2 * BERTH_S;

/* One child that is wished for. */
struct child {
    struct msvc_child is;
    struct berth_kube_ref ref;
    struct msvc_plan plan;
    struct msvc_applied known;
    char key[MSVC_KEY_MAX];
    bool told;    /* what hinders it */
    bool held_up; /* it is being deleted, and somebody keeps it */
    bool acts;    /* it has not to wait for its turn */
};

/* ---- what is told of it ---- */

void
msvc_add_text(struct msvc_look *x, const char **to, const char *text)
{
    enum { TEXT_MAX = 1000 };

    if (text == NULL)
        text = "out of memory";
    if (*to == NULL)
        *to = text;
    else if (strlen(*to) < TEXT_MAX)
        *to = berth_arena_printf(x->a, "%s; %s", *to, text);
    if (*to == NULL)
        *to = "out of memory";
}

void
msvc_fail(struct msvc_look *x, const struct berth_kube_ref *ref, int code, const char *why)
{
    x->may_pass = x->may_pass || (code != -BERTH_EINVAL && code != -BERTH_EPERM &&
                                  code != -BERTH_ENOENT && code != -BERTH_ENOTREADY);
    msvc_add_text(x, &x->failure,
                  berth_arena_printf(x->a, "%s %s: %s", ref->kind->kind, ref->name, why));
}

__attribute__((format(printf, 2, 3))) static void
add_conflict(struct msvc_look *x, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text)
        berth_utf8_mark_cut(text, sizeof text);
    msvc_add_text(x, &x->conflict, berth_arena_strdup(x->a, text));
}

void
msvc_again(struct msvc_look *x, uint64_t after_ns)
{
    if (x->again_ns == 0 || after_ns < x->again_ns)
        x->again_ns = after_ns;
}

/* It is another one by now, or going: it is looked at again. */
static void
put_off(struct msvc_look *x, uint64_t after_ns)
{
    x->unapplied = true;
    msvc_again(x, after_ns);
}

/* ---- what there is ---- */

/* That one cannot tell is no answer: the look has failed, and nothing is taken away by it. */
static const struct berth_json *
cached_service(void *arg, const char *name)
{
    struct msvc_look *x = arg;
    const struct berth_kube_ref ref = {
        .kind = &berth_msvc_services, .space = x->m.ns, .name = name};
    const struct berth_json *found = NULL;
    struct berth_err e = {""};
    const int r =
        berth_kube_informer_get(atomic_load(&x->c->services), x->a, x->m.ns, name, &found, &e);

    if (r < 0 && r != -BERTH_ENOENT)
        msvc_fail(x, &ref, r, e.msg);
    return r < 0 ? NULL : found;
}

struct msvc_view
msvc_view_of(struct msvc_look *x)
{
    return (struct msvc_view){.a = x->a,
                              .m = &x->m,
                              .object = x->object,
                              .wish = &x->wish,
                              .service = cached_service,
                              .arg = x};
}

/* Asks the server, which also knows objects that bear no label of ours, and who set what. */
static int
ask_for(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_json *found = NULL;
    const int r = berth_kube_get(x->c->conf.kube, &until, x->a, &c->ref, &found, e);

    if (r < 0 && r != -BERTH_ENOENT)
        return r;
    c->is.live = found;
    c->is.full = found != NULL;
    return 0;
}

static int
find_live(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    struct berth_kube_informer *cache = msvc_informer_awaited(x, c->ref.kind);

    if (cache == NULL)
        return msvc_unserved(x, c->ref.kind, e);
    const int r = berth_kube_informer_get(cache, x->a, c->ref.space, c->ref.name, &c->is.live, e);
    if (r == 0)
        return 0;
    if (r == -BERTH_ELIMIT)
        return ask_for(x, c, e); /* the cache cannot have all of that kind */
    if (r != -BERTH_ENOENT)
        return r;
    /* What was applied just now is on its way into the cache. */
    c->is.unseen = c->is.known == NULL || !msvc_is_recent(c->is.known);
    return 0;
}

/* ---- the steps ---- */

static void
see_it_go(struct msvc_look *x, struct child *c)
{
    c->held_up = msvc_see_it_go(x, &c->ref, c->is.live, true, c->told);
    c->told = c->told || c->held_up;
    x->unapplied = true;
}

static void
refuse(struct msvc_look *x, const struct child *c)
{
    x->unapplied = true;
    if (c->plan.refusal.passes) {
        x->going_on = true;
        msvc_again(x, passing_ns);
    } else {
        add_conflict(x, "%s %s %s", c->ref.kind->kind, c->ref.name,
                     c->plan.refusal.why != NULL ? c->plan.refusal.why : "is not ours");
    }
}

static void
wait_for_it(struct msvc_look *x, const struct child *c)
{
    x->going_on = x->going_on || !c->held_up; /* it goes, and is made anew then */
    msvc_again(x, c->held_up ? held_up_ns : busy_ns);
}

/* Or has it been changed, by us and by others, so often that it has to wait? */
static bool
may_act(struct msvc_look *x, struct child *c)
{
    if (c->is.known == NULL || c->acts)
        return true;
    if (c->known.undone >= MSVC_CONTESTED && !c->told) {
        msvc_add_text(x, &x->contested,
                      berth_arena_printf(x->a, "%s %s", c->ref.kind->kind, c->ref.name));
        c->told = true;
    }
    const uint64_t undone_ns = msvc_hold_ns(&c->known), pace_ns = msvc_pace_ns(&c->known);
    const uint64_t hold_ns = undone_ns > pace_ns ? undone_ns : pace_ns;
    c->acts = hold_ns == 0;
    if (c->acts)
        return true;
    x->going_on = true;
    put_off(x, hold_ns);
    return false;
}

static int
take_over(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);

    berth_info("ModelService %s/%s: %s %s of llm-d's operator is taken over", x->m.ns, x->m.name,
               c->ref.kind->kind, c->ref.name);
    c->is.taken_over = true;
    return berth_kube_merge(x->c->conf.kube, &until, x->a, &c->ref, c->plan.text, &c->is.live, e);
}

static int
hand_over(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_kube_apply how = {
        .object = c->plan.text, .manager = MSVC_SCALER, .force = true};

    c->is.handed_over = true;
    return berth_kube_apply(x->c->conf.kube, &until, x->a, &c->ref, &how, NULL, e);
}

static int
replace(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const int r = berth_kube_delete(x->c->conf.kube, &until, &c->ref, c->is.live, e);

    if (r < 0)
        return r;
    atomic_fetch_add(&x->c->deletes, 1);
    c->is.live = NULL;
    c->is.known = NULL; /* of the one that was */
    return 0;
}

static int
apply(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_kube_apply how = {.object = c->plan.text, .force = c->plan.force};
    const struct berth_json *after = NULL;
    const int r = berth_kube_apply(x->c->conf.kube, &until, x->a, &c->ref, &how, &after, e);

    if (r < 0)
        return r;
    atomic_fetch_add(&x->c->applies, 1);
    msvc_note_applied(x->c, c->key, c->plan.digest, c->plan.like, c->plan.wish, after);
    msvc_said_add(x, &x->applied, c->ref.kind, c->ref.name);
    x->going_on = true;
    return 0;
}

/* A call.  1: another step is to come; 0: that was the last. */
static int
act(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    static int (*const does[])(struct msvc_look *, struct child *,
                               struct berth_err *) = {[MSVC_STEP_ASK] = ask_for,
                                                      [MSVC_STEP_TAKE_OVER] = take_over,
                                                      [MSVC_STEP_HAND_OVER] = hand_over,
                                                      [MSVC_STEP_REPLACE] = replace,
                                                      [MSVC_STEP_APPLY] = apply};
    const bool last = c->plan.step == MSVC_STEP_APPLY;

    int r = does[c->plan.step](x, c, e);
    if (r == 0)
        return !last;
    if (r != -BERTH_EEXIST)
        return r;
    if (last && c->is.unseen) {
        c->is.unseen = false; /* there is one already that the cache does not have */
        return (r = ask_for(x, c, e)) < 0 ? r : 1;
    }
    if (last && c->is.live != NULL && !c->plan.exact)
        return r;
    put_off(x, soon_ns); /* it is another one by now */
    return 0;
}

/* As act(). */
static int
do_step(struct msvc_look *x, struct child *c, struct berth_err *e)
{
    if (c->plan.going)
        see_it_go(x, c);
    switch (c->plan.step) {
    case MSVC_STEP_NONE:
        x->behind = x->behind || c->plan.behind;
        x->going_on = x->going_on || c->plan.behind; /* look again when it should not be */
        return 0;
    case MSVC_STEP_REFUSE:
        refuse(x, c);
        return 0;
    case MSVC_STEP_WAIT:
        wait_for_it(x, c);
        return 0;
    case MSVC_STEP_ASK:
    case MSVC_STEP_TAKE_OVER:
    case MSVC_STEP_HAND_OVER:
    case MSVC_STEP_REPLACE:
    case MSVC_STEP_APPLY:
        return may_act(x, c) ? act(x, c, e) : 0;
    case MSVC_STEP_LET_GO:
    case MSVC_STEP_DELETE:
        break; /* of what is not wished for */
    }
    return berth_err_set(e, BERTH_EINVAL, "step %d", (int)c->plan.step);
}

static void
sync_object(struct msvc_look *x, const struct berth_kube_kind *kind, const struct berth_json *wish)
{
    enum { STEPS_MAX = 8 }; /* one of each, and one more for what others do meanwhile */
    const struct msvc_view view = msvc_view_of(x);
    struct child c = {.is = {.kind = kind, .wish = wish},
                      .ref = {.kind = kind,
                              .space = berth_kube_text(wish, "metadata.namespace").at,
                              .name = berth_kube_text(wish, "metadata.name").at}};
    struct berth_err e = {""};

    msvc_key(x, &c.ref, c.key);
    c.is.known = msvc_recall(x->c, c.key, &c.known) ? &c.known : NULL;
    int r = find_live(x, &c, &e);
    bool more = r == 0;
    for (int i = 0; more && i < STEPS_MAX; i++) {
        r = msvc_plan(&view, &c.is, &c.plan);
        r = r < 0 ? berth_err_set(&e, BERTH_ENOMEM, "out of memory") : do_step(x, &c, &e);
        more = r > 0;
    }
    if (r < 0)
        msvc_fail(x, &c.ref, r, e.msg);
    else if (more)
        put_off(x, busy_ns);
}

/* ---- all of them ---- */

const struct berth_json *
msvc_live(struct msvc_look *x, enum berth_msvc_child child)
{
    struct berth_kube_informer *cache = msvc_informer_known(x->c, berth_msvc_kind_of(child)->kube);
    const struct berth_json *live = NULL;
    struct berth_err e;

    if (cache == NULL ||
        berth_kube_informer_get(cache, x->a, x->m.ns, x->m.names.of[child], &live, &e) < 0)
        return NULL;
    return live;
}

/* Pods are refused, and tried again ever more slowly, while their account is not there. */
static bool
goes_first(int child)
{
    return child == BERTH_MSVC_PD_ACCOUNT || child == BERTH_MSVC_EPP_ACCOUNT;
}

static void
sync_those(struct msvc_look *x, bool first)
{
    for (int i = BERTH_MSVC_CONFIG_MAPS + 1; i < BERTH_MSVC_CHILDREN; i++) {
        if (x->wish.of[i] != NULL && goes_first(i) == first)
            sync_object(x, berth_msvc_kind_of(i)->kube, x->wish.of[i]);
    }
}

void
msvc_sync(struct msvc_look *x)
{
    for (struct berth_json_iter it = berth_json_iter(x->wish.of[BERTH_MSVC_CONFIG_MAPS]);
         berth_json_next(&it);)
        sync_object(x, &berth_kube_config_maps, it.value);
    sync_those(x, true);
    sync_those(x, false);
    /* Not while something cannot be seen: then nothing is certain.  And what is there stays until
     * that which takes its place is. */
    if (x->failure == NULL && !x->unapplied)
        msvc_prune(x);
}
