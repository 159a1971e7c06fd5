#include <stdio.h>
#include <stdlib.h>

#include "instance_priv.h"

/* The engine computes sequences together only when their numbers follow one another; a gap that a
 * finished one leaves makes two computations of one.  A new request fills it; when none comes for
 * this many steps, the last sequence moves there. */
enum { STEPS_BEFORE_MOVE = 6 };

/* Copying costs time by the token: more than these stay where they are. */
static const size_t bytes_max = 256u << 20;

/* The lowest free slot that has a taken one behind it, and the highest taken one; false when the
 * taken ones have no gap. */
static bool
find_gap(struct berth_instance *m, struct berth_slot **ret_gap, struct berth_slot **ret_last)
{
    struct berth_slot *gap = NULL, *last = NULL;

    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        struct berth_slot *const s = &m->slots[i];

        if (s->r != NULL)
            last = s;
        else if (gap == NULL)
            gap = s;
    }
    *ret_gap = gap;
    *ret_last = last;
    return gap != NULL && last > gap;
}

/* Copy the cache of `from` to `to`, which is free.  False when it stays where it was. */
static bool
copy_cache(struct berth_instance *m, struct berth_slot *from, struct berth_slot *to)
{
    const llama_seq_id from_id = (llama_seq_id)(from - m->slots);
    const llama_seq_id to_id = (llama_seq_id)(to - m->slots);
    const size_t size = llama_state_seq_get_size(m->engine, from_id);
    uint8_t *const bytes = size > 0 && size <= bytes_max ? malloc(size) : NULL;
    bool moved = false;

    if (bytes == NULL)
        return false;
    berth_slot_cut(m, to, 0);
    if (llama_state_seq_get_data(m->engine, bytes, size, from_id) == size)
        moved = llama_state_seq_set_data(m->engine, bytes, size, to_id) > 0;
    free(bytes);
    if (!moved)
        (void)llama_memory_seq_rm(llama_get_memory(m->engine), to_id, -1, -1);
    return moved;
}

void
berth_instance_compact(struct berth_instance *m)
{
    struct berth_slot *gap, *last;
    char line[80];

    if (m->conf.kv_unified || !find_gap(m, &gap, &last)) {
        m->gap_steps = 0;
        return;
    }
    if (++m->gap_steps < STEPS_BEFORE_MOVE)
        return;
    m->gap_steps = 0;
    if (!copy_cache(m, last, gap))
        return;
    /* They change places: the cache of the one goes to the other's number. */
    const struct berth_slot mover = *last;
    *last = *gap;
    *gap = mover;
    last->kept = 0;
    berth_slot_cut(m, last, 0);
    (void)snprintf(line, sizeof line, "llama: sequence moved from %d to %d", (int)(last - m->slots),
                   (int)(gap - m->slots));
    m->host->log(BERTH_LOG_DEBUG, line);
}
