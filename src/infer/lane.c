#include "infer/lane.h"

#include <stdlib.h>

#include "base/clock.h"
#include "infer/model_priv.h"
#include "os/loop.h"

static const uint64_t round_ns_max = 1 * BERTH_MS;

struct berth_lane {
    struct berth_late late; /* first: see run_round() */
    struct berth_loop *loop;
    struct berth_model *model; /* a reference while it is due */
    struct berth_lane *next;
};

/* One whose thread sleeps and that nobody has. */
static struct berth_instance_thread *
free_instance_locked(struct berth_model *m)
{
    for (uint32_t k = 0; k < m->instance_len; k++) {
        struct berth_instance_thread *i = &m->instances[k];
        if (!i->lent && i->asleep && i->hand_len == 0)
            return i;
    }
    return NULL;
}

static bool
is_lent_locked(const struct berth_model *m)
{
    for (uint32_t k = 0; k < m->instance_len; k++) {
        if (m->instances[k].lent)
            return true;
    }
    return false;
}

static void
run_round(struct berth_late *late)
{
    struct berth_lane *l = (struct berth_lane *)(void *)late;
    struct berth_model *m = l->model;
    const uint64_t end_ns = berth_loop_late_ns(l->loop) + round_ns_max;
    struct berth_instance_thread *i;
    bool worked = true;

    (void)pthread_mutex_lock(&m->mu);
    while (worked && m->batcher.len > 0 && !m->stopping && m->batcher.at_once &&
           berth_now_ns() < end_ns && (i = free_instance_locked(m)) != NULL) {
        i->lent = true;
        worked = berth_instance_work_locked(i);
        i->lent = false;
    }
    /* Who has an instance looks again before it gives it back.  Threads that were woken while
     * theirs was lent have gone back to sleep. */
    if ((m->batcher.len > 0 || m->batcher.seq_len > 0 || m->stopping) && m->sleepers > 0 &&
        !is_lent_locked(m))
        (void)pthread_cond_broadcast(&m->work);
    (void)pthread_mutex_unlock(&m->mu);
    berth_model_unref(m);
}

void
berth_lane_note_locked(struct berth_model *m, struct berth_loop *loop)
{
    struct berth_lane *l = m->lanes;

    while (l != NULL && l->loop != loop)
        l = l->next;
    if (l == NULL) {
        l = calloc(1, sizeof *l);
        if (l == NULL) {
            berth_model_wake_locked(m);
            return;
        }
        *l = (struct berth_lane){.late.run = run_round, .loop = loop, .model = m, .next = m->lanes};
        m->lanes = l;
    }
    if (berth_loop_late(loop, &l->late))
        berth_model_ref(m);
}

void
berth_lanes_free(struct berth_lane *first)
{
    for (struct berth_lane *l = first, *next; l != NULL; l = next) {
        next = l->next;
        free(l);
    }
}
