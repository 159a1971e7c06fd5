#ifndef BERTH_API_V2_SHM_H
#define BERTH_API_V2_SHM_H

#include <berth/err.h>

#include "api/v2_infer.h"

struct berth_arena;
struct berth_shm;

/* Tensors of a request that lie in shared memory: inputs are fetched, outputs put there. */

/* After the request was read.  -BERTH_EINVAL, -BERTH_ENOENT, -BERTH_ENOMEM */
int berth_v2_shm_fetch(struct berth_shm *t, struct berth_arena *a, struct berth_v2_infer *asked,
                       struct berth_err *e);
/* Before the answer is written: outputs that were put into shared memory are marked in asked. */
int berth_v2_shm_put(struct berth_shm *t, struct berth_v2_infer *asked,
                     const struct berth_v2_answer *from, struct berth_err *e);

#endif
