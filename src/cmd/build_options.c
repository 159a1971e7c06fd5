#include "cmd/build_options.h"

#include "operator/modelservice/build.h"
#include "operator/modelservice/names.h"

static int
read_secrets(const struct berth_args *args, struct berth_arena *a, const char *flag,
             struct berth_arg_names *ret)
{
    int r = berth_arg_names(args, a, flag, ret);

    for (size_t i = 0; r == 0 && i < ret->count; i++) {
        if (!berth_msvc_is_secret(ret->at[i]))
            r = berth_usage(args,
                            "--%s %.64s: no Secret has such a name: small letters, digits, '-' "
                            "and '.', 253 at most",
                            flag, ret->at[i]);
    }
    return r;
}

int
berth_build_options_read(const struct berth_args *args, struct berth_arena *a,
                         struct berth_build_options *o, struct berth_msvc_conf *conf)
{
    const char *role = berth_arg(args, "epp-cluster-role");
    int r;

    if (role != NULL && role[0] != '\0' && !berth_msvc_is_cluster_role(role))
        return berth_usage(args,
                           "--epp-cluster-role %.64s: no ClusterRole has such a name: without '/' "
                           "and '%%', and not \".\" or \"..\"",
                           role);
    if ((r = read_secrets(args, a, "epp-pull-secrets", &o->epp_secrets)) != 0 ||
        (r = read_secrets(args, a, "pd-pull-secrets", &o->pd_secrets)) != 0)
        return r;
    conf->epp_cluster_role = role;
    conf->epp_pull_secrets = o->epp_secrets.at;
    conf->epp_pull_secret_count = o->epp_secrets.count;
    conf->pd_pull_secrets = o->pd_secrets.at;
    conf->pd_pull_secret_count = o->pd_secrets.count;
    return 0;
}
