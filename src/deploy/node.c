#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* Machines of an environment that are to be emptied, or used again. */

/* Who drained what, for the audit. */
static int
audit(struct berth_deploy *d, const char *shimlet, const char *node, bool drain,
      const struct berth_actor *who, struct berth_err *e)
{
    struct berth_arena a;
    struct pending p = {.a = &a};
    struct berth_buf b;
    struct berth_jw w;

    berth_arena_init(&a, 64 * 1024);
    berth_pending_begin(&p, &b, &w, "node", NULL);
    berth_jw_key(&w, "action");
    berth_jw_string(&w, drain ? "drain" : "undrain");
    berth_jw_key(&w, "operator");
    berth_jw_string(&w, who->name != NULL ? who->name : "");
    berth_jw_key(&w, "peer");
    berth_jw_string(&w, who->peer != NULL ? who->peer : "");
    berth_jw_key(&w, "parameters");
    berth_jw_object(&w);
    berth_jw_key(&w, "node");
    berth_jw_string(&w, node);
    berth_jw_key(&w, "shimlet");
    berth_jw_string(&w, shimlet);
    berth_jw_object_end(&w);
    berth_pending_end(&p, &b, &w);
    const int r = berth_deploy_commit(d, NULL, &p, NULL, 0, e);
    berth_arena_fini(&a);
    return r;
}

int
berth_deploy_drain_node(struct berth_deploy *d, const char *shimlet, const char *node, bool drain,
                        const struct berth_actor *who, struct berth_err *e)
{
    struct environ *x = berth_environ_get(d, shimlet);
    struct berth_shimlet *open;
    int r;

    if (x == NULL)
        return berth_environ_unknown(d, shimlet, e);
    const struct berth_op op = {
        .d = d, .environ = x->ops, .deadline_ns = berth_deploy_now(d) + 300 * BERTH_S};
    if (!BERTH_SHIMLET_HAS(x->ops, node))
        r = berth_err_set(e, BERTH_EUNSUPPORTED, "shimlet %s has no machines to drain", shimlet);
    else if ((r = berth_environ_open(x, &open, e)) == 0 &&
             (r = audit(d, shimlet, node, drain, who, e)) == 0) /* before anything is moved */
        r = x->ops->node(open, &op, node, drain, e);
    berth_environ_put(d, x);
    return r;
}
