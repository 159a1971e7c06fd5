#ifndef BERTH_MSVC_PLAN_H
#define BERTH_MSVC_PLAN_H

#include <stdbool.h>

#include <berth/err.h>

#include "base/buf.h"
#include "operator/cluster/controller_priv.h"
#include "operator/cluster/owner.h"

/*
 * What is to be done with one child, as data: from what is wished for, what there is and what is
 * known.  No call is made and nothing is kept, so that the operator, which does it, and
 * `generate --diff`, which tries it, do the same.  Steps come one after another: after each that
 * says so, the next plan is made of what is known then.
 */
enum msvc_step {
    MSVC_STEP_NONE,   /* it is as it is wished for, as far as is known; or not ours to take away */
    MSVC_STEP_REFUSE, /* it is not ours to touch */
    MSVC_STEP_WAIT,   /* it is being deleted, and made anew when it is gone */
    MSVC_STEP_ASK,    /* who set what is to be known: ask the server, and plan again */
    MSVC_STEP_TAKE_OVER, /* merge `text`: what llm-d's operator set is ours then; plan again */
    MSVC_STEP_HAND_OVER, /* apply `text` as MSVC_SCALER: replicas are not only ours; plan again */
    MSVC_STEP_REPLACE,   /* delete it, for it cannot become `wish` by a change; plan again */
    MSVC_STEP_APPLY,     /* apply `text` */
    MSVC_STEP_LET_GO,    /* others own it besides: our reference goes */
    MSVC_STEP_DELETE,    /* nobody wishes for it any more */
};
#define MSVC_SCALER "berth-modelservice-scale"

/* What is known of one. */
struct msvc_child {
    const struct berth_kube_kind *kind;
    const struct berth_json *wish;    /* as the builder made it */
    const struct berth_json *live;    /* NULL: there is none, as far as is known */
    const struct msvc_applied *known; /* what this process applied; NULL: nothing */
    bool unseen;                      /* the cache does not have it, and nobody asked the server */
    bool full;                        /* live has managedFields */
    bool taken_over, handed_over;     /* that was done */
};

struct msvc_plan {
    enum msvc_step step;
    struct msvc_refusal refusal; /* of REFUSE */
    bool behind;                 /* of NONE: the cache does not show it yet */
    bool going;                  /* of NONE, REFUSE and WAIT: it is being deleted */
    /* As it is to be, with the sum of itself as a note; of all but NONE and REFUSE. */
    const struct berth_json *wish;
    char digest[MSVC_SUM];
    char like[MSVC_SUM]; /* the sum without what others set by and by */
    /* What is sent: with what is kept of the live one's, and the version that it holds of. */
    struct berth_slice text;
    bool exact; /* of APPLY: that version is the live one's: of another the server makes nothing */
    bool force; /* fields that others own, too */
};

/* 0; -BERTH_ENOMEM. */
int msvc_plan(const struct msvc_view *v, const struct msvc_child *c, struct msvc_plan *ret);
/* One that is not wished for: NONE (going: it was made here), ASK (then again with full, as live is
 * then), LET_GO (text: a merge patch), DELETE. */
int msvc_plan_unwished(const struct msvc_view *v, const struct berth_json *live, bool full,
                       struct msvc_plan *ret);
/* Does the service wish for that object? */
bool msvc_is_wished(const struct berth_msvc_set *wish, const struct berth_kube_kind *kind,
                    const char *name);
/* berth_kube_covers(), but for what lists leave out: apiVersion and kind. */
bool msvc_covers(const struct berth_json *live, const struct berth_json *wish);

#endif
