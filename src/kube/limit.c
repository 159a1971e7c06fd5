#include "kube/limit.h"

#include "base/clock.h"

void
berth_kube_limit_init(struct berth_kube_limit *l, double qps, double burst, uint64_t now_ns)
{
    *l = (struct berth_kube_limit){.qps = qps,
                                   .burst = burst < 1 ? 1 : burst,
                                   .tokens = burst < 1 ? 1 : burst,
                                   .at_ns = now_ns};
}

uint64_t
berth_kube_limit_take(struct berth_kube_limit *l, uint64_t now_ns, uint64_t wait_ns_max)
{
    if (l->qps <= 0)
        return 0;
    if (now_ns > l->at_ns) {
        const double more = (double)(now_ns - l->at_ns) / (double)BERTH_S * l->qps;
        l->tokens = l->tokens + more > l->burst ? l->burst : l->tokens + more;
        l->at_ns = now_ns;
    }
    const double lacking = 1 - l->tokens;
    const uint64_t wait_ns = lacking <= 0 ? 0 : (uint64_t)(lacking / l->qps * (double)BERTH_S);
    if (wait_ns > wait_ns_max)
        return UINT64_MAX;
    l->tokens -= 1;
    return wait_ns;
}
