#ifndef BERTH_MSVC_CONTROLLER_PRIV_H
#define BERTH_MSVC_CONTROLLER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "kube/client.h"
#include "kube/informer.h"
#include "net/digest.h"
#include "operator/modelservice/controller.h"
#include "operator/modelservice/service.h"

struct berth_outcome;
struct berth_reconciler;

enum { MSVC_VERSION_MAX = 32, MSVC_WATCHES_MAX = 16, MSVC_KEY_MAX = 320 };

/* What is watched of one kind; started when the cluster serves it. */
struct msvc_watch {
    struct berth_msvc_controller *c;
    const struct berth_kube_kind *kind;
    struct berth_kube_informer *_Atomic informer; /* NULL: not served, as far as is known */
    _Atomic uint64_t asked_ns;                    /* when that was asked for last */
};

/* The last apply of one object: what the cache shows may be older. */
struct msvc_applied {
    char key[MSVC_KEY_MAX]; /* "UID KIND NAME" */
    char digest[BERTH_DIGEST_HEX];
    char version[MSVC_VERSION_MAX]; /* resourceVersion after it */
    uint64_t at_ns;
    UT_hash_handle hh;
};

struct berth_msvc_controller {
    struct berth_msvc_controller_conf conf;
    struct berth_reconciler *work;
    struct berth_kube_informer *_Atomic services; /* NULL: not started yet */
    struct msvc_watch watches[MSVC_WATCHES_MAX];  /* of children, each kind once */
    size_t watch_count;
    pthread_mutex_t mu; /* of applied, and of starting watches */
    struct msvc_applied *applied;
    bool troubled; /* of the services' watch, on its thread */
    atomic_bool stopping;
    _Atomic uint64_t reconciles, failed, applies, deletes, status_writes;
};

/* One look at one service. */
struct msvc_look {
    struct berth_msvc_controller *c;
    struct berth_arena *a;
    const struct berth_json *object; /* the ModelService as the cache has it */
    struct berth_msvc m;
    struct berth_msvc_problems problems;
    struct berth_msvc_set wish;
    const char *conflict; /* what is not ours to touch; NULL: nothing */
    const char *failure;  /* the first call that failed; NULL: none */
    bool going_on;        /* something was changed: the cache will tell */
};

/* ---- controller.c ---- */
/* The informer of a kind, started now if the cluster serves it by now.  NULL: it does not. */
struct berth_kube_informer *msvc_informer(struct berth_msvc_controller *c,
                                          const struct berth_kube_kind *kind);
struct berth_kube_until msvc_until(struct berth_msvc_controller *c);
/* Is the first list of everything that is watched in?  Before, nothing is certain. */
bool msvc_is_synced(struct berth_msvc_controller *c);

/* ---- reconcile.c ---- */
int msvc_reconcile(void *arg, const char *key, struct berth_outcome *ret);

/* ---- sync.c: children ---- */
/* Apply what differs and take away what is not wished for.  What failed is in the look. */
void msvc_sync(struct msvc_look *x);
/* Forget what was applied for a service: one object of a kind, all of it (name NULL), or, with uid
 * NULL, everything of everybody. */
void msvc_forget(struct berth_msvc_controller *c, const char *uid,
                 const struct berth_kube_kind *kind, const char *name);
/* The live object of a child, or NULL. */
const struct berth_json *msvc_live(struct msvc_look *x, enum berth_msvc_child child);

/* ---- report.c: status ---- */
/* Write the status when it says something else than the one that is there. */
int msvc_report(struct msvc_look *x, struct berth_err *e);

#endif
