#ifndef BERTH_KUBE_LEASE_H
#define BERTH_KUBE_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

struct berth_kube;

/*
 * Which of several processes leads, by a Lease of the API server (coordination.k8s.io/v1), in the
 * way of Kubernetes' own controllers: who holds it renews it; when it was not renewed for its
 * duration, by the watch of the one who looks on, another takes it.  Nobody's clock is compared
 * with another's, and every write is on the condition that the Lease is as it was seen.
 *
 * Whoever could not renew it for two thirds of its duration leads no more, so that it has stopped
 * before another may begin.  That end comes by the clock alone, also in a process that was halted
 * meanwhile: berth_kube_lease_is_held() is to be asked before each write that only a leader makes.
 * (What was sent before and is on its way then cannot be called back.)
 *
 * Who leads writes every third of the duration; one who looks on asks every two fifteenths of it,
 * and at least every 2 s.
 */
struct berth_kube_lease;

struct berth_kube_lease_conf {
    const char *space, *name;
    const char *identity; /* of this process, and no other's; at most 200 bytes */
    uint64_t duration_ns; /* 0: 15 s; whole seconds, at least 1, at most 1 h */
    /* All on the lease's thread.  Leading begins: < 0 gives the lease back, to try again later. */
    int (*begin)(void *arg, const struct berth_kube_lease *l, struct berth_err *e);
    /* It ends, as `why` says: when this returns, nothing is done as a leader any more. */
    void (*end)(void *arg, const char *why);
    /* Something for the log: what is the matter, or (bad false) how it stands.  May be NULL. */
    void (*told)(void *arg, bool bad, const char *what);
    void *arg;
};

/* conf's texts are borrowed until the stop; k outlives it, and is best its own: its calls are not
 * to wait for others' connections.  -BERTH_EINVAL, -BERTH_ENOMEM, -BERTH_ELIMIT (no thread) */
int berth_kube_lease_start(struct berth_kube *k, const struct berth_kube_lease_conf *conf,
                           struct berth_kube_lease **ret, struct berth_err *e);
/* Ends leading (end() is called), gives the lease back so that another may have it at once (that
 * takes 3 s at most), and ends.  NULL is fine. */
void berth_kube_lease_stop(struct berth_kube_lease *l);

/* Does this process lead right now?  Any thread; no lock. */
bool berth_kube_lease_is_held(const struct berth_kube_lease *l);

#endif
