#ifndef BERTH_MSVC_KINDS_H
#define BERTH_MSVC_KINDS_H

#include <stdbool.h>

#include "kube/object.h"
#include "operator/modelservice/names.h"

/* What each child is, as one table: its key in a base configuration and in the output of
 * `generate`, its kind, whether a base configuration may have it, and whether every cluster serves
 * it.  One that some do not is asked for: at the start, and again when one is wished for. */
struct berth_msvc_kind {
    const char *key;
    const struct berth_kube_kind *kube;
    bool is_input, is_everywhere;
};
const struct berth_msvc_kind *berth_msvc_kind_of(enum berth_msvc_child child);

extern const struct berth_kube_kind berth_msvc_services; /* ModelServices themselves */
extern const struct berth_kube_kind berth_msvc_worker_sets;

/* What a cluster with the other generation of pools has in its place; NULL: nothing. */
const struct berth_kube_kind *berth_msvc_counterpart_of(const struct berth_kube_kind *kind);
/* What brings a kind into a cluster, for messages; NULL: every cluster has it. */
const char *berth_msvc_provider_of(const struct berth_kube_kind *kind);

#endif
