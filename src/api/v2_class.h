#ifndef BERTH_API_V2_CLASS_H
#define BERTH_API_V2_CLASS_H

#include <berth/err.h>

struct berth_arena;
struct berth_v2_answer;
struct berth_v2_infer;

/* Triton's classification extension: outputs asked for with the parameter "classification": k are
 * replaced in *from by BYTES tensors of the k best elements of each row, "value:index[:label]".
 * Pure.  -BERTH_EINVAL: the output is no numbers; -BERTH_ENOMEM. */
int berth_v2_classify(struct berth_arena *a, const struct berth_v2_infer *asked,
                      struct berth_v2_answer *from, struct berth_err *e);

#endif
