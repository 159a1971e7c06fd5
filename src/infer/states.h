#ifndef BERTH_STATES_H
#define BERTH_STATES_H

#include <stdatomic.h>
#include <stdbool.h>

#include "os/loop.h"

struct berth_registry;

/*
 * Somebody who is told when the state of any model has changed, or a model came or went.  Lies in
 * its owner's memory, zeroed at first; the owner sets loop, changed, ended and user.
 */
struct berth_state_watch {
    struct berth_loop *loop;
    /* On the loop.  Several changes may be told as one; the last is always told. */
    void (*changed)(struct berth_state_watch *w);
    /* On the loop, exactly once after berth_registry_state_unwatch() and maybe within it: the
     * memory is the owner's again. */
    void (*ended)(struct berth_state_watch *w);
    void *user;
    /* The registry's own. */
    struct berth_msg msg;
    atomic_bool posted;
    bool over;
    struct berth_state_watch *next, *prev;
};

/* Both on the loop.  Whoever watches unwatches before the registry goes. */
void berth_registry_state_watch(struct berth_registry *g, struct berth_state_watch *w);
void berth_registry_state_unwatch(struct berth_registry *g, struct berth_state_watch *w);

#endif
