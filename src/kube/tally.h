#ifndef BERTH_KUBE_TALLY_H
#define BERTH_KUBE_TALLY_H

#include <stdint.h>

#include "obs/metrics.h"

struct berth_kube_kind;

/*
 * What an API server was asked for, what it answered and how long that took, as metrics: a counter
 * with the labels verb, resource ("deployments.apps") and code, and a histogram of seconds with the
 * label verb.  Several clients may share one.  Any thread; after the first call of its sort each
 * takes atomic additions and no lock.
 */
struct berth_kube_tally;

enum berth_kube_verb {
    BERTH_KUBE_GET,
    BERTH_KUBE_LIST,
    BERTH_KUBE_WATCH,
    BERTH_KUBE_CREATE,
    BERTH_KUBE_APPLY,
    BERTH_KUBE_PATCH,
    BERTH_KUBE_DELETE,
};

/* Sorts of calls that have series of their own; what comes beyond is counted as "other". */
enum { BERTH_KUBE_TALLY_MAX = 192 };

/* m is borrowed until berth_kube_tally_free().  NULL: no memory. */
struct berth_kube_tally *berth_kube_tally_new(struct berth_metrics *m, enum berth_family answers,
                                              enum berth_family seconds);
/* No client may use it any more.  NULL is fine. */
void berth_kube_tally_free(struct berth_kube_tally *t);

/* One try of a call has ended after that time.  t may be NULL: nobody counts.  kind: one of a
 * static table; NULL: a path that belongs to none.  status: of HTTP; 0: there was no answer.  Of a
 * watch, which lasts, no time is kept. */
void berth_kube_tally_add(struct berth_kube_tally *t, enum berth_kube_verb verb,
                          const struct berth_kube_kind *kind, uint16_t status, uint64_t took_ns);

#endif
