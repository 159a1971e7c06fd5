#include <stdio.h>

#include "base/log.h"
#include "infer/registry_priv.h"
#include "os/memory.h"

/* What m takes, of how much the process grew.  Where loads and unloads overlap that tells little:
 * then what was expected counts. */
static uint64_t
judge(struct berth_registry *g, const struct berth_entry *x, const struct berth_model *m,
      const struct berth_forecast *f, uint64_t grown, bool alone)
{
    const bool begins = berth_room_begins(g, m->ops->name); /* it grew by the engine itself, too */
    uint64_t bytes = m->engine_bytes;

    if (m->outside)
        return bytes > 0 ? bytes : f->bytes;
    if (alone && !(begins && m->engine_bytes > f->least_bytes))
        bytes = grown > bytes ? grown : bytes;
    if (!alone && bytes < f->bytes)
        bytes = f->bytes;
    if (bytes < f->least_bytes && m->engine_bytes < f->least_bytes)
        bytes = f->least_bytes;
    /* Measured once, it does not shrink by a less lucky look; by many it may. */
    const uint64_t known = x->known_bytes - x->known_bytes / 64;
    bytes = bytes < known ? known : bytes;
    return bytes > 0 ? bytes : 1;
}

int
berth_room_start(struct berth_registry *g, const struct berth_entry *x, struct berth_model *m,
                 const struct berth_forecast *f, uint32_t threads, struct berth_err *e)
{
    /* What malloc() kept of earlier models is used again without growth of the process: hence both
     * measures. */
    const bool first = x->known_bytes == 0; /* the page tables are walked once only */
    const uint64_t pss = first ? berth_memory_self_pss() : 0, heap = berth_memory_heap().used_bytes;
    unsigned begun = atomic_fetch_add(&g->loads_begun, 1);
    unsigned sharers = atomic_fetch_add(&g->loads_now, 1) + 1;
    int r = berth_model_start(m, threads, e);
    const uint64_t pss_now = first ? berth_memory_self_pss() : 0;
    const uint64_t heap_now = berth_memory_heap().used_bytes;

    sharers += atomic_load(&g->loads_begun) - begun - 1;
    (void)atomic_fetch_sub(&g->loads_now, 1);
    if (r < 0)
        return r;
    m->outside = m->isolation.workers != NULL;
    uint64_t grown = pss_now > pss ? pss_now - pss : 0;
    grown = heap_now > heap && heap_now - heap > grown ? heap_now - heap : grown;
    m->memory_bytes = judge(g, x, m, f, grown, sharers == 1);
    berth_series_add(m->series.memory, m->memory_bytes);
    berth_series_observe(m->series.load_seconds, (double)m->load_ns / 1e9);
    return 0;
}

void
berth_room_tell_excess(struct berth_entry *x, const struct berth_model *m,
                       const struct berth_forecast *f, const struct berth_ledger_sums *s,
                       uint64_t max_bytes, uint64_t excess)
{
    char took[24], expected[24], over[24], held[24], budget[24];
    const bool set = max_bytes > 0 && max_bytes <= s->budget_bytes;

    (void)snprintf(
        x->room_why, sizeof x->room_why,
        "model '%s' took %s, %s more than %s leaves (expected %s, %s; models hold %s of "
        "%s with it); lower context_length, parallel or instances, or %s",
        x->name, berth_room_size_text(m->memory_bytes, took), berth_room_size_text(excess, over),
        set ? "engine.memory.max_memory_gb" : "the machine",
        berth_room_size_text(f->bytes, expected), berth_room_source(f),
        berth_room_size_text(s->held_bytes, held), berth_room_size_text(s->budget_bytes, budget),
        set ? "raise it" : "unload another model");
    berth_warn("model %s: took more than expected, and is unloaded again: %s", x->name,
               x->room_why);
}
