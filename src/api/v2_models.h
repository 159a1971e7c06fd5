#ifndef BERTH_API_V2_MODELS_H
#define BERTH_API_V2_MODELS_H

#include <stdbool.h>
#include <stdint.h>

#include "infer/registry.h"

struct berth_call;

/* What REST and gRPC tell alike of the server and its models. */

/* Extensions of the protocol that are offered; NULL ends them. */
extern const char *const berth_v2_extensions[];
bool berth_v2_is_ready(const struct berth_call *c);

/* The version that c->name and c->version mean, or the one that serves; NULL: answered. */
const struct berth_model_version_info *berth_v2_find_version(struct berth_call *c,
                                                             struct berth_model_info *m);
/* Is it the one that is meant: by its number, or a label of it? */
bool berth_v2_is_version(const struct berth_model_version_info *v, struct berth_slice name);
/* Answer that the version does not serve, and why. */
void berth_v2_fail_not_ready(struct berth_call *c, const struct berth_model_info *m,
                             const struct berth_model_version_info *v);

/* Triton's max_batch_size; 0: the shapes have no batch dimension. */
uint32_t berth_v2_batch_max(const struct berth_model_info *m,
                            const struct berth_model_version_info *v);
/* Triton's name for a state, and the reason beside it. */
const char *berth_v2_state(enum berth_model_state s);
const char *berth_v2_reason(enum berth_model_state s, const char *why);

#endif
