#ifndef BERTH_MSVC_PARALLELISM_H
#define BERTH_MSVC_PARALLELISM_H

#include <stdbool.h>
#include <stdint.h>

#include <berth/err.h>

struct berth_json;

/*
 * How a role's engine is spread (spec.ROLE.parallelism): `data` copies of the model, `local` of
 * them on each of `workers` pods, each on `tensor` accelerators.  What is not said follows from
 * what is, as in llm-d's chart, and is 1 where nothing does.
 */
struct berth_msvc_parallelism {
    int64_t tensor, data, local, workers; /* from 1 */
    bool says_workers;                    /* workers is said or follows, and is no mere default */
    bool multinode; /* a group of pods serves: `multinode: true`, or more workers than one */
};

/* role: spec.prefill or spec.decode as its shape has it; NULL: nothing is said.
 *   -BERTH_EINVAL  numbers that contradict each other; e says which, *ret is all ones */
int berth_msvc_parallelism_of(const struct berth_json *role, struct berth_msvc_parallelism *ret,
                              struct berth_err *e);

#endif
