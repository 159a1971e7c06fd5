#ifndef BERTH_API_V2_CHECK_H
#define BERTH_API_V2_CHECK_H

#include <berth/backend.h>
#include <berth/err.h>

struct berth_call;
struct berth_call_ops;
struct berth_v2_infer;

/* What REST and gRPC do alike with an inference request that was read. */

/* Does it fit the model?  Triton's texts where its clients may look for them; whatever else is
 * wrong, the core says.  -BERTH_EINVAL */
int berth_v2_check(const struct berth_describe *d, const char *model,
                   const struct berth_v2_infer *asked, struct berth_err *e);
/* Give it to c->model as c's one part; c->state is asked. */
void berth_v2_run(struct berth_call *c, struct berth_v2_infer *asked,
                  const struct berth_call_ops *ops);

#endif
