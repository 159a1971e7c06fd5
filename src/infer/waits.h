#ifndef BERTH_WAITS_H
#define BERTH_WAITS_H

#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"
#include "os/loop.h"

struct berth_entry;
struct berth_model;
struct berth_registry;

/*
 * Somebody who waits until a model is loaded.  Lies in its owner's memory, zeroed at first; the
 * owner sets loop, ready and user, and leaves it alone from a wait that began until ready() runs.
 */
struct berth_model_wait {
    struct berth_loop *loop;
    /* On the loop, exactly once after the wait began. */
    void (*ready)(struct berth_model_wait *w);
    void *user;
    /* Set before ready(): 0 and the model, a reference to be given back; or -BERTH_E... and why. */
    int result;
    struct berth_model *model;
    struct berth_err err;
    uint64_t begin_ns; /* CLOCK_MONOTONIC */
    /* The registry's own. */
    struct berth_msg msg;
    struct berth_entry *entry; /* NULL: ready() is on its way */
    struct berth_model_wait *next, *prev;
    char version[24];
};

/*
 * As berth_registry_find(), but a model that is not loaded and will be, or can be on demand, is
 * waited for.  On the loop.  Returns
 *   0  *ret is the model
 *   1  w waits, and ready() will come: when the model is loaded, when that failed, or when the
 *      registry goes.  The model that it brings was held for it and cannot be evicted before.
 *  <0  as berth_registry_find(), or -BERTH_EAGAIN: as many as engine.queue_len wait for it already
 */
int berth_registry_find_or_wait(struct berth_registry *g, struct berth_slice name_or_id,
                                struct berth_slice version, struct berth_model_wait *w,
                                struct berth_model **ret, struct berth_err *e);
/* Nobody wants to wait longer: ready() comes with this code and, for what the model was waiting
 * for, a message; or with what it already had.  On the loop, after a wait began; idempotent. */
void berth_registry_wait_end(struct berth_registry *g, struct berth_model_wait *w,
                             enum berth_code code);

#endif
