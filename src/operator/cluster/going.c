#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "operator/cluster/controller_priv.h"
#include "wire/json.h"

/* Children that are being deleted: somebody may keep one from going for ever. */

/* A deletion that takes longer waits for somebody.  Kubernetes' own finalizers go by themselves,
 * when the pods have ended and the balancer of a cloud is gone. */
static const uint64_t going_ns = 10 * BERTH_S, by_itself_ns = 120 * BERTH_S,
                      held_up_ns = 30 * BERTH_S;

/* "x/y, z/y", as far as there is room.  NULL: none. */
static const char *
finalizers_of(struct msvc_look *x, const struct berth_json *live)
{
    enum { TEXT_MAX = 300 };
    struct berth_buf b;

    berth_buf_init(&b, x->a);
    for (struct berth_json_iter it = berth_json_iter(berth_kube_at(live, "metadata.finalizers"));
         b.len < TEXT_MAX && berth_json_next(&it);) {
        struct berth_slice name;
        if (berth_json_string(it.value, &name))
            berth_buf_printf(&b, "%s%.*s", b.len > 0 ? ", " : "", (int)name.len, name.at);
    }
    return b.len > 0 ? berth_buf_text(&b) : NULL;
}

static void
tell_held_up(struct msvc_look *x, const struct berth_kube_ref *ref, const struct berth_json *live,
             bool wished)
{
    const char *finalizers = finalizers_of(x, live);

    msvc_add_text(x, &x->held_up,
                  berth_arena_printf(
                      x->a,
                      "%s %s is being deleted, since %s, and waits for %s%s: it is %s; let it go "
                      "(kubectl edit -n %s %s %s) if nobody is left to do so",
                      ref->kind->kind, ref->name,
                      berth_kube_text(live, "metadata.deletionTimestamp").at,
                      finalizers != NULL ? "the finalizer " : "the API server",
                      finalizers != NULL ? finalizers : "",
                      wished ? "made anew when it is gone" : "not wished for any more", ref->space,
                      ref->kind->plural, ref->name));
}

static bool
goes_by_itself(const struct berth_json *live)
{
    static const char *const known[] = {"foregroundDeletion", "orphan",
                                        "service.kubernetes.io/load-balancer-cleanup"};
    const struct berth_json *all = berth_kube_at(live, "metadata.finalizers");

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        struct berth_slice one;
        bool is_known = false;
        for (size_t i = 0; berth_json_string(it.value, &one) && i < BERTH_COUNT(known); i++)
            is_known = is_known || berth_slice_is(one, known[i]);
        if (!is_known)
            return false;
    }
    return true;
}

/* For a moment every deletion goes on; one that a finalizer holds up may do so for ever.  By the
 * server's clock and ours: where these are far apart it is told too early rather than never. */
bool
msvc_see_it_go(struct msvc_look *x, const struct berth_kube_ref *ref, const struct berth_json *live,
               bool wished, bool told)
{
    const uint64_t asked_ns = berth_kube_time(berth_kube_text(live, "metadata.deletionTimestamp"));
    const uint64_t now_ns = berth_wall_ns();
    const uint64_t apart_ns = asked_ns < now_ns ? now_ns - asked_ns : asked_ns - now_ns;
    const uint64_t limit_ns = goes_by_itself(live) ? by_itself_ns : going_ns;
    const bool held_up = apart_ns >= limit_ns;

    if (held_up && !told)
        tell_held_up(x, ref, live, wished);
    msvc_again(x, held_up ? held_up_ns : asked_ns + limit_ns - now_ns);
    return held_up;
}
