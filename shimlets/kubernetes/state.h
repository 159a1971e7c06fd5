#ifndef BERTH_SHIMLET_KUBERNETES_STATE_H
#define BERTH_SHIMLET_KUBERNETES_STATE_H

#include "shimlets/kubernetes/kubernetes_priv.h"

/* What is known of units (state.c), and what is done to them (apply.c). */

/* What the informers have of a unit.  Texts are in the arena. */
struct kubernetes_found {
    const struct berth_json *workload; /* NULL: there is none */
    const struct berth_kube_kind *kind;
    const struct berth_json *service;
    const struct berth_json **pods;
    size_t pod_count;
};
int kubernetes_find(struct berth_shimlet *s, struct berth_arena *a, const char *unit_name,
                    struct kubernetes_found *ret, struct berth_err *e);

/* An informer's callback saw a workload. */
void kubernetes_saw_workload(struct berth_shimlet *s, const struct berth_json *object, bool gone);
/* The host is to look at the object's service. */
void kubernetes_tell(struct berth_shimlet *s, const struct berth_json *object);
void kubernetes_forget_all(struct berth_shimlet *s);

/* A copy of what is known of a unit; zeros when nothing is. */
struct kubernetes_known kubernetes_known(struct berth_shimlet *s, const char *unit_name);
/* Write it back. -BERTH_ENOMEM */
int kubernetes_keep(struct berth_shimlet *s, const struct kubernetes_known *k, struct berth_err *e);
void kubernetes_forget(struct berth_shimlet *s, const char *unit_name);
/* The unit's port: what it has, or one that no other unit has; keep: which is its own from now on.
 * -BERTH_ELIMIT: all are given. */
int kubernetes_port(struct berth_shimlet *s, const struct berth_unit *u, bool keep, uint16_t *ret,
                    struct berth_err *e);
/* What somebody changed since apply(), or before this process began, or NULL.  Static text. */
const char *kubernetes_drift(struct berth_shimlet *s, const char *unit_name,
                             const struct berth_json *workload);
/* The objects that a unit would become now. */
int kubernetes_draw_up(struct berth_shimlet *s, const struct berth_op *op, struct berth_arena *a,
                       const struct berth_unit *u,
                       struct kubernetes_object ret[KUBERNETES_OBJECTS_MAX], size_t *ret_count,
                       struct berth_err *e);
int kubernetes_apply(struct berth_shimlet *s, const struct berth_op *op, struct berth_arena *a,
                     const struct berth_unit *u, struct berth_err *e);
/* 0: nothing is left; 1: on its way. */
int kubernetes_remove(struct berth_shimlet *s, const struct berth_op *op, struct berth_arena *a,
                      const char *unit_name, struct berth_err *e);

#endif
