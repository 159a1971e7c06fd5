#ifndef BERTH_MSVC_BASE_H
#define BERTH_MSVC_BASE_H

#include <stdbool.h>

#include "operator/modelservice/names.h"

struct berth_arena;
struct berth_err;
struct berth_json;
struct berth_msvc;
struct berth_msvc_problems;

/*
 * A base configuration: what an operator of a cluster lays beneath each ModelService that refers to
 * it.  It is the data of a ConfigMap; the values of the keys that kinds.h has are templates of
 * YAML.
 */
struct berth_msvc_base {
    const struct berth_json *of[BERTH_MSVC_CHILDREN]; /* NULL: none; configMaps: a list */
    bool is_broken[BERTH_MSVC_CHILDREN]; /* it is there and none that can be read, which is told: of
                                          * what is missing without it nothing is certain */
};

/* data: the ConfigMap's, NULL for none.  Problems go to p, all keys' in one run. */
int berth_msvc_base_read(const struct berth_json *data, const struct berth_msvc *m,
                         struct berth_arena *a, struct berth_msvc_problems *p,
                         struct berth_msvc_base *ret, struct berth_err *e);

#endif
