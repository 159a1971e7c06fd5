#include "infer/states.h"

#include <stddef.h>
#include <utlist.h>

#include "base/assert.h"
#include "infer/registry_priv.h"

static void
told(struct berth_msg *m)
{
    struct berth_state_watch *w =
        (struct berth_state_watch *)(void *)((char *)m - offsetof(struct berth_state_watch, msg));

    atomic_store(&w->posted, false); /* what happens from here on is told again */
    if (w->over)
        w->ended(w);
    else
        w->changed(w);
}

void
berth_states_tell(struct berth_registry *g)
{
    struct berth_state_watch *w;

    (void)pthread_mutex_lock(&g->states_mu);
    DL_FOREACH(g->state_watches, w)
    {
        if (!atomic_exchange(&w->posted, true)) {
            w->msg.run = told;
            berth_loop_post(w->loop, &w->msg);
        }
    }
    (void)pthread_mutex_unlock(&g->states_mu);
}

void
berth_registry_state_watch(struct berth_registry *g, struct berth_state_watch *w)
{
    berth_assert(berth_loop_is_mine(w->loop) && w->changed != NULL && w->ended != NULL);
    (void)pthread_mutex_lock(&g->states_mu);
    DL_APPEND(g->state_watches, w);
    (void)pthread_mutex_unlock(&g->states_mu);
}

void
berth_registry_state_unwatch(struct berth_registry *g, struct berth_state_watch *w)
{
    berth_assert(berth_loop_is_mine(w->loop) && !w->over);
    (void)pthread_mutex_lock(&g->states_mu);
    DL_DELETE(g->state_watches, w);
    (void)pthread_mutex_unlock(&g->states_mu);
    w->over = true;
    if (!atomic_load(&w->posted)) /* nobody posts it any more: else told() comes */
        w->ended(w);
}
