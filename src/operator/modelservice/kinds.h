#ifndef BERTH_MSVC_KINDS_H
#define BERTH_MSVC_KINDS_H

#include <stdbool.h>

#include "kube/object.h"
#include "operator/modelservice/names.h"

/* What each child is, as one table: its key in a base configuration and in the output of
 * `generate`, its kind, whether a base configuration may have it. */
struct berth_msvc_kind {
    const char *key;
    const struct berth_kube_kind *kube;
    bool is_input;
};
const struct berth_msvc_kind *berth_msvc_kind_of(enum berth_msvc_child child);

extern const struct berth_kube_kind berth_msvc_services; /* ModelServices themselves */

#endif
