#include "infer/waits.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"
#include "infer/registry_priv.h"

/* Those who wait for a model.  A wait begins under the registry's lock and its jobs_mu, and models
 * are published under the same lock: so no wait misses the model that it is for. */

/* Will the entry (or that version of it) come by itself, or when somebody asks? */
static bool
is_coming_locked(const struct berth_entry *x, struct berth_slice version)
{
    bool pending = x->wish_loaded && x->wish != x->achieved && !x->gone;

    if (!pending)
        return false;
    if (x->slot_len == 0) /* never looked at: its versions are not known yet */
        return true;
    if (version.len == 0)
        return berth_entry_state(x, NULL) == BERTH_MODEL_LOADING;
    for (size_t i = 0; i < x->slot_len; i++) {
        const struct berth_slot *s = &x->slots[i];
        if (berth_slice_is(version, s->dir.label))
            return berth_slot_state(x, s, NULL) == BERTH_MODEL_LOADING;
    }
    return false;
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
take_out_locked(struct berth_model_wait *w, struct berth_model_wait **list)
{
    struct berth_entry *x = w->entry;

    DL_DELETE(x->waits, w);
    x->wait_len--;
    w->entry = NULL;
    DL_APPEND(*list, w);
}

static void
post_all(struct berth_model_wait *list)
{
    for (struct berth_model_wait *w = list, *next; w != NULL; w = next) {
        next = w->next; /* posted is gone */
        w->msg.run = ready_run;
        berth_loop_post(w->loop, &w->msg);
    }
}

void
berth_waits_settle(struct berth_registry *g, struct berth_entry *x)
{
    struct berth_model_wait *done = NULL, *w, *next;

    (void)pthread_rwlock_rdlock(&g->lock);
    (void)pthread_mutex_lock(&g->jobs_mu);
    DL_FOREACH_SAFE(x->waits, w, next)
    {
        const struct berth_slice version = berth_slice_of(w->version);
        w->result = berth_entry_version_locked(x, version, &w->model, &w->err);
        if (w->result == 0 || !is_coming_locked(x, version))
            take_out_locked(w, &done);
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    (void)pthread_rwlock_unlock(&g->lock);
    post_all(done);
}

void
berth_registry_wait_end(struct berth_registry *g, struct berth_model_wait *w, enum berth_code code)
{
    struct berth_model_wait *done = NULL;

    (void)pthread_rwlock_rdlock(&g->lock); /* an entry that is waited for stays */
    (void)pthread_mutex_lock(&g->jobs_mu);
    if (w->entry != NULL) {
        const double waited = (double)(berth_now_ns() - w->begin_ns) / 1e9;
        w->result = berth_err_set(&w->err, code, "model '%s' was not loaded within %.3f s",
                                  w->entry->name, waited);
        take_out_locked(w, &done);
    }
    (void)pthread_mutex_unlock(&g->jobs_mu);
    (void)pthread_rwlock_unlock(&g->lock);
    post_all(done);
}

static void
end_locked(struct berth_entry *x, struct berth_model_wait **list)
{
    struct berth_model_wait *w, *next;

    DL_FOREACH_SAFE(x->waits, w, next)
    {
        w->result =
            berth_err_set(&w->err, BERTH_ENOTREADY, "model '%s': the server is stopping", x->name);
        take_out_locked(w, list);
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
        end_locked(x, &done);
    for (struct berth_entry *x = g->jobs_first; x != NULL; x = x->job_next)
        end_locked(x, &done);
    (void)pthread_mutex_unlock(&g->jobs_mu);
    (void)pthread_rwlock_unlock(&g->lock);
    post_all(done);
}
