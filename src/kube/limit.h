#ifndef BERTH_KUBE_LIMIT_H
#define BERTH_KUBE_LIMIT_H

#include <stdint.h>

/*
 * A token bucket: `burst` calls at once, `qps` a second from then on.  Pure; the caller locks and
 * waits.
 */
struct berth_kube_limit {
    double qps; /* 0: no limit */
    double burst;
    double tokens; /* < 0: so many are promised ahead */
    uint64_t at_ns;
};

void berth_kube_limit_init(struct berth_kube_limit *l, double qps, double burst, uint64_t now_ns);
/* Take one: how long to wait before it may be used, in ns; UINT64_MAX: longer than wait_ns_max, and
 * none was taken. */
uint64_t berth_kube_limit_take(struct berth_kube_limit *l, uint64_t now_ns, uint64_t wait_ns_max);

#endif
