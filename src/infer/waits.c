#include "infer/waits.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/registry_priv.h"

/* Those who wait for a model.  A wait begins under the registry's lock and its jobs_mu, and models
 * are published under the same lock: so no wait misses the model that it is for. */

static const uint64_t again_ns = 5 * BERTH_S; /* after a load that ran out of memory */

/* Could it be loaded, if somebody asks?  Not what somebody unloaded, and nothing broken. */
static bool
is_loadable_locked(const struct berth_entry *x, enum berth_model_state state)
{
    if (!x->wish_loaded || x->gone)
        return false;
    switch (state) {
    case BERTH_MODEL_LOADING:
        return true;
    case BERTH_MODEL_UNLOADED:
    case BERTH_MODEL_DRAINING:
        return x->loading != BERTH_LOADING_MANUAL;
    case BERTH_MODEL_FAILED:
        return x->failed_code == -BERTH_ENOMEM && berth_now_ns() - x->failed_ns > again_ns;
    case BERTH_MODEL_READY:
    case BERTH_MODEL_STATE_COUNT:
        break;
    }
    return false;
}

bool
berth_is_on_demand_locked(const struct berth_entry *x, enum berth_model_state state)
{
    return (state == BERTH_MODEL_UNLOADED || state == BERTH_MODEL_DRAINING) &&
           is_loadable_locked(x, state);
}

/* Will the entry (or that version of it) come by itself, or when somebody asks? */
static bool
is_coming_locked(const struct berth_entry *x, struct berth_slice version)
{
    if (x->slot_len == 0) /* never looked at: its versions are not known yet */
        return x->wish_loaded && x->wish != x->achieved && !x->gone;
    if (version.len == 0)
        return is_loadable_locked(x, berth_entry_state(x, NULL));
    const struct berth_slot *s = berth_entry_slot((struct berth_entry *)x, version);
    return s != NULL && s->wanted && is_loadable_locked(x, berth_slot_state(x, s, NULL));
}

static int
begin_locked(struct berth_registry *g, struct berth_entry *x, struct berth_slice version,
             struct berth_model_wait *w, struct berth_err *e)
{
    int r = 1;

    if (version.len >= sizeof w->version)
        return berth_err_set(e, BERTH_ENOENT, "model '%s' has no version '%.32s'", x->name,
                             version.at);
    (void)pthread_mutex_lock(&g->jobs_mu);
    if (atomic_load(&g->closing)) {
        r = berth_err_set(e, BERTH_ENOTREADY, "model '%s': the server is stopping", x->name);
    } else if (x->wait_len >= g->conf.batch.queue_len_max) {
        r = berth_err_set(e, BERTH_EAGAIN,
                          "model '%s' is not loaded yet, and %u requests wait for it already, as "
                          "many as engine.queue_len allows",
                          x->name, x->wait_len);
    } else {
        memcpy(w->version, version.at != NULL ? version.at : "", version.len);
        w->version[version.len] = '\0';
        w->begin_ns = berth_now_ns();
        w->entry = x;
        w->model = NULL;
        DL_APPEND(x->waits, w);
        x->wait_len++;
        berth_series_add(g->room.waiting, 1);
        berth_loader_demand_locked(g, x);
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return r;
}

int
berth_registry_find_or_wait(struct berth_registry *g, struct berth_slice name_or_id,
                            struct berth_slice version, struct berth_model_wait *w,
                            struct berth_model **ret, struct berth_err *e)
{
    (void)pthread_rwlock_rdlock(&g->lock);
    struct berth_entry *x = berth_entry_find_locked(g, name_or_id);
    int r = x != NULL ? berth_entry_version_locked(x, version, ret, e)
                      : berth_entry_unknown(name_or_id, e);

    if (r < 0 && x != NULL && is_coming_locked(x, version))
        r = begin_locked(g, x, version, w, e);
    (void)pthread_rwlock_unlock(&g->lock);
    return r;
}

static void
ready_run(struct berth_msg *m)
{
    struct berth_model_wait *w =
        (struct berth_model_wait *)(void *)((char *)m - offsetof(struct berth_model_wait, msg));

    w->ready(w);
}

static void
take_out_locked(struct berth_registry *g, struct berth_model_wait *w,
                struct berth_model_wait **list)
{
    struct berth_entry *x = w->entry;

    berth_series_sub(g->room.waiting, 1);
    berth_series_observe(g->room.wait_seconds, (double)(berth_now_ns() - w->begin_ns) / 1e9);
    DL_DELETE(x->waits, w);
    x->wait_len--;
    w->entry = NULL;
    DL_APPEND(*list, w);
}

void
berth_waits_post(struct berth_model_wait *list)
{
    for (struct berth_model_wait *w = list, *next; w != NULL; w = next) {
        next = w->next; /* posted is gone */
        w->msg.run = ready_run;
        berth_loop_post(w->loop, &w->msg);
    }
}

struct berth_model_wait *
berth_waits_take_locked(struct berth_registry *g, struct berth_entry *x, int over,
                        uint64_t since_ns)
{
    struct berth_model_wait *done = NULL, *w, *next;

    (void)pthread_mutex_lock(&g->jobs_mu);
    DL_FOREACH_SAFE(x->waits, w, next)
    {
        const struct berth_slice version = berth_slice_of(w->version);
        w->result = berth_entry_version_locked(x, version, &w->model, &w->err);
        /* Who came after the load had begun may be meant for the next one. */
        if (w->result < 0 &&
            (over == 0 || (w->begin_ns > since_ns && is_coming_locked(x, version))))
            continue;
        if (w->result < 0 && over < 0)
            w->result = berth_err_set(&w->err, (enum berth_code) - over, "%s", x->room_why);
        take_out_locked(g, w, &done);
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    return done;
}

void
berth_registry_wait_end(struct berth_registry *g, struct berth_model_wait *w, enum berth_code code)
{
    struct berth_model_wait *done = NULL;

    (void)pthread_rwlock_rdlock(&g->lock); /* an entry that is waited for stays */
    (void)pthread_mutex_lock(&g->jobs_mu);
    if (w->entry != NULL) {
        const double waited = (double)(berth_now_ns() - w->begin_ns) / 1e9;
        const char *why = w->entry->room_why;
        w->result = berth_err_set(&w->err, code, "model '%s' was not loaded within %.3f s%s%s",
                                  w->entry->name, waited, why[0] != '\0' ? ": " : "", why);
        take_out_locked(g, w, &done);
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    (void)pthread_rwlock_unlock(&g->lock);
    berth_waits_post(done);
}

static void
end_locked(struct berth_registry *g, struct berth_entry *x, struct berth_model_wait **list)
{
    struct berth_model_wait *w, *next;

    DL_FOREACH_SAFE(x->waits, w, next)
    {
        w->result =
            berth_err_set(&w->err, BERTH_ENOTREADY, "model '%s': the server is stopping", x->name);
        take_out_locked(g, w, list);
    }
}

void
berth_waits_end_all(struct berth_registry *g)
{
    struct berth_model_wait *done = NULL;

    berth_assert(atomic_load(&g->closing));
    (void)pthread_rwlock_rdlock(&g->lock);
    (void)pthread_mutex_lock(&g->jobs_mu);
    for (struct berth_entry *x = g->by_name; x != NULL; x = x->by_name.next)
        end_locked(g, x, &done);
    for (size_t i = 0; i < BERTH_JOBS_COUNT; i++) { /* unregistered, not yet worked on */
        for (struct berth_entry *x = g->jobs[i]; x != NULL; x = x->job_next)
            end_locked(g, x, &done);
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    (void)pthread_rwlock_unlock(&g->lock);
    berth_waits_post(done);
}
