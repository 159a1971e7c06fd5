#include "base/clock.h"
#include "infer/registry_priv.h"
#include "os/memory.h"

/* What malloc() keeps of requests that were large.  Freed pieces between small ones that live
 * longer stay resident for good, in every arena: 200 MiB after some thousand bad bodies, which the
 * ledger then counts as the server's own and evicts models for.  So it is given back when it is
 * much.  Not after every request, since pages that come back cost a fault each, and giving back 100
 * MiB takes 39 ms under the locks of the arenas, one after the other. */

static const uint64_t trim_bytes = (uint64_t)32 << 20, trim_pause_ns = 10 * BERTH_S;

bool
berth_trim_is_due(struct berth_trim *t, uint64_t self_bytes, uint64_t used_bytes)
{
    const uint64_t waste = self_bytes > used_bytes ? self_bytes - used_bytes : 0;

    if (waste < t->rest_bytes)
        t->rest_bytes = waste;
    return waste - t->rest_bytes >= trim_bytes;
}

void
berth_trim_is_done(struct berth_trim *t, uint64_t self_bytes, uint64_t used_bytes)
{
    t->rest_bytes = self_bytes > used_bytes ? self_bytes - used_bytes : 0;
}

void
berth_room_trim(struct berth_registry *g)
{
    struct berth_trim t;
    struct berth_memory now;
    const uint64_t at = berth_now_ns();

    (void)pthread_rwlock_wrlock(&g->lock);
    const bool early = g->room.trim.looked_ns != 0 && at - g->room.trim.looked_ns < trim_pause_ns;
    if (!early)
        g->room.trim.looked_ns = at;
    t = g->room.trim;
    (void)pthread_rwlock_unlock(&g->lock);
    if (early || g->conf.memory.unmeasured || berth_memory_read(NULL, &now, NULL) < 0)
        return;
    if (berth_trim_is_due(&t, now.self_bytes, berth_memory_heap().used_bytes)) {
        berth_memory_trim();
        if (berth_memory_read(NULL, &now, NULL) < 0)
            return;
        berth_trim_is_done(&t, now.self_bytes, berth_memory_heap().used_bytes);
    }
    (void)pthread_rwlock_wrlock(&g->lock);
    g->room.trim.rest_bytes = t.rest_bytes;
    (void)pthread_rwlock_unlock(&g->lock);
}
