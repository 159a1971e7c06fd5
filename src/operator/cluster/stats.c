#include "base/buf.h"
#include "kube/event.h"
#include "operator/cluster/controller_priv.h"
#include "recon/reconciler.h"

/* What a controller has done, and how many services there are. */

static size_t
count_ready(struct berth_kube_informer *services, const char *status)
{
    char text[MSVC_INDEX_MAX];

    return berth_kube_informer_count(
        services, msvc_index(text, "ready", berth_slice_of(""), berth_slice_of(status)).at);
}

void
berth_msvc_controller_stats(struct berth_msvc_controller *c,
                            struct berth_msvc_controller_stats *ret)
{
    const struct berth_kube_events_stats events = berth_kube_events_stats(c->events);
    struct berth_kube_informer *services = atomic_load(&c->services);
    struct berth_kube_informer_state known = {.objects = 0};
    struct berth_reconciler_stats work;

    berth_reconciler_stats(c->work, &work);
    if (services != NULL)
        berth_kube_informer_state(services, &known);
    const size_t ready = services != NULL ? count_ready(services, "True") : 0,
                 unready = services != NULL ? count_ready(services, "False") : 0;
    *ret = (struct berth_msvc_controller_stats){.done = atomic_load(&c->done),
                                                .failed = atomic_load(&c->failed),
                                                .applies = atomic_load(&c->applies),
                                                .deletes = atomic_load(&c->deletes),
                                                .status_writes = atomic_load(&c->status_writes),
                                                .events_sent = events.sent,
                                                .events_failed = events.failed,
                                                .events_dropped = events.dropped,
                                                .services = known.objects,
                                                .ready = ready,
                                                .unready = unready,
                                                .waiting = work.queue.waiting,
                                                .synced = msvc_is_synced(c)};
}
