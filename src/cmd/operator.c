#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/log.h"
#include "cmd/cmd_priv.h"
#include "kube/client.h"
#include "kube/config.h"
#include "operator/modelservice/controller.h"

/* `berth operator`: ModelServices of a cluster, looked after. */

/* Until a person or the system ends it. */
static void
wait_for_end(const sigset_t *ends)
{
    int sig;

    while (sigwait(ends, &sig) != 0)
        ;
    berth_info("operator: ends on %s", strsignal(sig));
}

static int
operate(const struct berth_args *args, struct berth_kube *kube,
        struct berth_msvc_controller_conf *conf, const sigset_t *ends)
{
    struct berth_msvc_controller *c = NULL;
    struct berth_err e = {""};

    conf->kube = kube;
    if (berth_msvc_controller_start(conf, &c, &e) < 0)
        return berth_failed(args, "%s", e.msg);
    berth_info("operator: looks after the ModelServices of %s",
               conf->space != NULL ? conf->space : "all namespaces");
    wait_for_end(ends);
    berth_kube_stop(kube);
    berth_msvc_controller_stop(c);
    return BERTH_EXIT_OK;
}

static int
run(const struct berth_args *args, struct berth_arena *a)
{
    const struct berth_kube_config_from from = {.path = berth_arg(args, "kubeconfig")};
    const struct berth_kube_conf how = {.qps = -1 /* the server says when it is too much */,
                                        .manager = "berth-modelservice"};
    struct berth_arg_names epp, pd, bases;
    struct berth_kube_config config;
    struct berth_kube *kube = NULL;
    struct berth_err e = {""};
    sigset_t ends;
    int r;

    if ((r = berth_arg_names(args, a, "epp-pull-secrets", &epp)) != 0 ||
        (r = berth_arg_names(args, a, "pd-pull-secrets", &pd)) != 0 ||
        (r = berth_arg_names(args, a, "base-namespaces", &bases)) != 0)
        return r;
    struct berth_msvc_controller_conf conf = {
        .build = {.epp_cluster_role = berth_arg(args, "epp-cluster-role"),
                  .epp_pull_secrets = epp.at,
                  .epp_pull_secret_count = epp.count,
                  .pd_pull_secrets = pd.at,
                  .pd_pull_secret_count = pd.count},
        .space = berth_arg(args, "namespace"),
        .base_spaces = bases.at,
        .base_space_count = bases.count};
    if (conf.build.epp_cluster_role == NULL || conf.build.epp_cluster_role[0] == '\0')
        return berth_usage(args, "which rights do endpoint pickers get? Name a ClusterRole with "
                                 "--epp-cluster-role NAME");
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &ends, NULL); /* all threads inherit that */
    if (berth_kube_config_load(a, &from, &config, &e) < 0 ||
        berth_kube_new(&config, &how, &kube, &e) < 0)
        return berth_failed(args, "%s", e.msg);
    r = operate(args, kube, &conf, &ends);
    berth_kube_free(kube);
    return r;
}

int
berth_run_operator(const struct berth_args *args)
{
    struct berth_arena a;

    berth_arena_init(&a, 16u << 20);
    const int r = run(args, &a);
    berth_arena_fini(&a);
    return r;
}
