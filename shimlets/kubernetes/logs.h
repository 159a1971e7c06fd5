#ifndef BERTH_SHIMLET_KUBERNETES_LOGS_H
#define BERTH_SHIMLET_KUBERNETES_LOGS_H

#include "shimlets/kubernetes/kubernetes_priv.h"

/* What pods print: of one pod, and of all of a unit as they come and go.  Files logs.c, follow.c.
 */

/* Where lines go.  One thread. */
struct kubernetes_log {
    bool (*line)(void *arg, const char *replica, const char *text, size_t len);
    void *arg;
    const char *replica;
    struct berth_buf rest; /* the begin of a line */
    bool stopped;          /* line() has said so */
    bool given;            /* there was a line */
};
void kubernetes_log_give(struct kubernetes_log *l, const char *at, size_t len);

struct kubernetes_log_query {
    const char *pod, *container;
    const char *since; /* RFC 3339; "": from its begin */
    uint32_t tail;     /* 0: all */
    bool follow;
};
/* One pod's log, until it ends or line() has heard enough; else the failure. */
int kubernetes_log_read(struct berth_shimlet *s, const struct berth_kube_until *until,
                        const struct kubernetes_log_query *q, struct kubernetes_log *l,
                        struct berth_err *e);
/* Which of a pod's containers is meant; in the pod's memory. */
struct berth_slice kubernetes_log_container(const struct berth_json *pod);

/*
 * All pods of a unit at once as they come, until the caller has heard enough or is cancelled, or
 * the unit is gone; with q->replica that one, until it ends.  line() is called on the caller's
 * thread.
 */
int kubernetes_follow(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
                      const struct berth_log_query *q, struct kubernetes_log *l,
                      struct berth_err *e);

#endif
