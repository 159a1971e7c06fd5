#include "shimlets/shimlets.h"

/* A row for each folder here that is compiled in. */
const struct berth_shimlet_ops *const berth_shimlets_builtin[] = {
    NULL,
};
