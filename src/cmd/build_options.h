#ifndef BERTH_CMD_BUILD_OPTIONS_H
#define BERTH_CMD_BUILD_OPTIONS_H

#include "cmd/cmd_priv.h"

struct berth_msvc_conf;

/* What is made of a ModelService by options that `modelservice` and `operator` both have; conf
 * borrows the names of it. */
struct berth_build_options {
    struct berth_arg_names epp_secrets, pd_secrets;
};

/* Names that nothing in a cluster can have are told.  0, or the exit status. */
int berth_build_options_read(const struct berth_args *args, struct berth_arena *a,
                             struct berth_build_options *o, struct berth_msvc_conf *conf);

#endif
