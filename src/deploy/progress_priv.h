#ifndef BERTH_DEPLOY_PROGRESS_PRIV_H
#define BERTH_DEPLOY_PROGRESS_PRIV_H

#include "deploy/deploy_priv.h"

/* How far the steps of a deployment came.  Of the reconcile that has it. */

/* Where the service keeps it: for this track, or for its removal. */
struct progress **berth_progress_of(struct berth_deployment *x);
/* Keep x->run there; what is pending or not saved yet is written with it. */
int berth_progress_save(struct berth_deployment *x, struct berth_err *e);
/* The observe of a berth_steps_env whose arg is a berth_deployment: the change is told and counted,
 * and saved where the next one would not do it. */
int berth_progress_observe(void *x, const struct berth_run *run, uint32_t step,
                           enum berth_step_state was);

#endif
