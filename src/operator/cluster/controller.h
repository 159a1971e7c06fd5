#ifndef BERTH_MSVC_CONTROLLER_H
#define BERTH_MSVC_CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "operator/modelservice/build.h"

struct berth_kube;
struct berth_msvc_controller;

/* Who owns the fields that are applied: what the client is to be made with. */
#define BERTH_MSVC_MANAGER "berth-modelservice"
/* To whoever finds that a cluster has no such kind. */
#define BERTH_MSVC_UNDEFINED                                                               \
    "ModelServices are not defined in this cluster: make -C deploy/modelservice install, " \
    "or helm install berth-modelservice deploy/helm/berth-modelservice, defines them"

/*
 * Keeps what ModelServices come to as they wish it: applied by server-side apply with a field
 * manager of its own, watched, mended, and taken away when it is no longer wished for.  While
 * nothing changes it makes no call but its watches.
 */
struct berth_msvc_controller_conf {
    struct berth_kube *kube; /* outlives the controller */
    struct berth_msvc_conf build;
    const char *space; /* the namespace to look after; NULL: all */
    /* Namespaces besides a service's own that its base configuration may be in; "*": any. */
    const char *const *base_spaces;
    size_t base_space_count;
    uint32_t workers; /* 0: 4 */
    /* May it go on?  Asked before each call that it makes, on its threads, and several times a
     * second during one, which then ends: no leader, no writes.  NULL: until the stop. */
    bool (*may_work)(void *arg);
    void *arg;
};

/* Everything in conf is borrowed until the stop.  Begins at once, on threads of its own. */
int berth_msvc_controller_start(const struct berth_msvc_controller_conf *conf,
                                struct berth_msvc_controller **ret, struct berth_err *e);
/* Ends what is under way and its watches.  NULL is fine. */
void berth_msvc_controller_stop(struct berth_msvc_controller *c);

struct berth_msvc_controller_stats {
    uint64_t done, failed; /* looks at ModelServices that are over */
    uint64_t applies, deletes, status_writes;
    uint64_t events_sent, events_failed, events_dropped;
    uint64_t services;       /* that are known */
    uint64_t ready, unready; /* of these, such as say so; the others do not yet */
    uint32_t waiting;        /* keys due or to come */
    bool synced;             /* everything that is watched is known */
};
void berth_msvc_controller_stats(struct berth_msvc_controller *c,
                                 struct berth_msvc_controller_stats *ret);

#endif
