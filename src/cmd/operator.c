#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "cmd/build_options.h"
#include "cmd/cmd_priv.h"
#include "cmd/operator_http.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/lease.h"
#include "kube/tally.h"
#include "obs/metrics.h"
#include "operator/cluster/controller.h"
#include "os/memory.h"

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

/* The controller, while this process leads. */
struct operating {
    struct berth_msvc_controller_conf *conf;
    struct berth_kube *lease_kube; /* NULL: there is no other operator */
    const struct berth_kube_lease *lease;
    pthread_mutex_t mu;
    /* Under mu. */
    struct berth_msvc_controller *c;         /* NULL: it does not lead */
    struct berth_msvc_controller_stats past; /* what controllers of before counted */
};

static int
begin(void *arg, const struct berth_kube_lease *lease, struct berth_err *e)
{
    struct operating *x = arg;

    struct berth_msvc_controller *c = NULL;

    x->lease = lease;
    const int r = berth_msvc_controller_start(x->conf, &c, e);
    (void)pthread_mutex_lock(&x->mu);
    x->c = c;
    (void)pthread_mutex_unlock(&x->mu);
    if (r == 0)
        berth_info("operator: looks after the ModelServices of %s",
                   x->conf->space != NULL ? x->conf->space : "all namespaces");
    return r;
}

/* What b counted, on top of a; how it stands is b's. */
static struct berth_msvc_controller_stats
sum_of(const struct berth_msvc_controller_stats *a, const struct berth_msvc_controller_stats *b)
{
    struct berth_msvc_controller_stats ret = *b;

    ret.done += a->done;
    ret.failed += a->failed;
    ret.applies += a->applies;
    ret.deletes += a->deletes;
    ret.status_writes += a->status_writes;
    ret.events_sent += a->events_sent;
    ret.events_failed += a->events_failed;
    ret.events_dropped += a->events_dropped;
    return ret;
}

static void
stop(struct operating *x)
{
    struct berth_msvc_controller_stats stats;

    (void)pthread_mutex_lock(&x->mu);
    struct berth_msvc_controller *c = BERTH_TAKE(x->c);
    if (c != NULL) {
        berth_msvc_controller_stats(c, &stats);
        x->past = sum_of(&x->past, &stats);
        /* Of what works alone. */
        x->past.services = x->past.ready = x->past.unready = x->past.waiting = x->past.synced = 0;
    }
    (void)pthread_mutex_unlock(&x->mu);
    berth_msvc_controller_stop(c);
}

static void
end(void *arg, const char *why)
{
    berth_info("operator: leads no more: %s", why);
    stop(arg);
}

/* For who asks by HTTP. */
static void
read_state(void *arg, struct berth_operator_state *ret)
{
    struct operating *x = arg;
    struct berth_msvc_controller_stats stats;
    struct berth_kube_counts calls = berth_kube_counts(x->conf->kube);

    (void)pthread_mutex_lock(&x->mu);
    *ret = (struct berth_operator_state){.stats = x->past, .leads = x->c != NULL};
    if (x->c != NULL) {
        berth_msvc_controller_stats(x->c, &stats);
        ret->stats = sum_of(&x->past, &stats);
    }
    (void)pthread_mutex_unlock(&x->mu);
    ret->ready = ret->leads ? ret->stats.synced : x->lease_kube != NULL;
    ret->api_calls = calls.calls;
    ret->api_retries = calls.retries;
    if (x->lease_kube != NULL) {
        calls = berth_kube_counts(x->lease_kube);
        ret->api_calls += calls.calls;
        ret->api_retries += calls.retries;
    }
}

static void
told(void *arg, bool bad, const char *what)
{
    (void)arg;
    if (bad)
        berth_warn("operator: %s", what);
    else
        berth_info("operator: %s", what);
}

/* Whoever was halted for long does not know it when it goes on: it is asked before each call. */
static bool
may_work(void *arg)
{
    const struct operating *x = arg;

    return x->lease == NULL || berth_kube_lease_is_held(x->lease);
}

/* ---- of several, one leads ---- */

/* What a person recognises, and no other process has. */
static void
name_myself(char *ret, size_t cap)
{
    char host[128] = "berth";

    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(ret, cap, "%.120s_%016" PRIx64, host, berth_random_u64());
}

/* "15", "15s" or "1m"; 0: not one. */
static uint64_t
seconds_of(const char *text)
{
    unsigned long long n = 0;
    char unit = 's', more;
    const int got = sscanf(text, "%5llu%c%c", &n, &unit, &more); /* NOLINT(cert-err34-c): bounded */

    if (text[0] < '0' || text[0] > '9' || got > 2 || (unit != 's' && unit != 'm'))
        return 0;
    return unit == 'm' ? n * 60 : n;
}

/* How it is elected, into conf; its texts go into the arena.  0, or the exit status. */
static int
read_election(const struct berth_args *args, struct berth_arena *a,
              const struct berth_msvc_controller_conf *work, struct berth_kube_lease_conf *ret)
{
    enum { SHORTEST_S = 3, LONGEST_S = 3600 };
    const char *text = berth_arg(args, "leader-elect-lease-duration");
    const uint64_t seconds = text != NULL ? seconds_of(text) : 15;
    char identity[160];

    if (text != NULL && berth_arg(args, "leader-elect") == NULL &&
        !berth_arg_is_off(args, "leader-elect"))
        return berth_usage(args, "--leader-elect-lease-duration goes with --leader-elect");
    if (seconds < SHORTEST_S || seconds > LONGEST_S)
        return berth_usage(args, "--leader-elect-lease-duration: %d to %d seconds, as in 15s",
                           SHORTEST_S, LONGEST_S);
    name_myself(identity, sizeof identity);
    /* Those that look after other namespaces are at work beside each other. */
    ret->name = berth_arena_printf(a, "berth-modelservice%s%s", work->space != NULL ? "-" : "",
                                   work->space != NULL ? work->space : "");
    ret->identity = berth_arena_strdup(a, identity);
    ret->duration_ns = seconds * BERTH_S;
    return ret->name != NULL && ret->identity != NULL ? 0 : berth_failed(args, "out of memory");
}

static int
lead_in_turn(struct operating *x, struct berth_kube_lease_conf *how, const sigset_t *ends,
             struct berth_err *e)
{
    struct berth_kube_lease *lease = NULL;

    how->begin = begin;
    how->end = end;
    how->told = told;
    how->arg = x;
    const int r = berth_kube_lease_start(x->lease_kube, how, &lease, e);
    if (r == 0) {
        berth_info("operator: one of those that may lead, as %s", how->identity);
        wait_for_end(ends);
        berth_kube_lease_stop(lease);
    }
    return r;
}

static int
alone(struct operating *x, const sigset_t *ends, struct berth_err *e)
{
    const int r = begin(x, NULL, e);

    if (r == 0) {
        wait_for_end(ends);
        stop(x);
    }
    return r;
}

/* 0, or the exit status. */
static int
check_address(const struct berth_args *args, const char *flag)
{
    struct berth_err e = {""};

    return berth_operator_http_check(berth_arg(args, flag), &e) < 0
               ? berth_usage(args, "--%s: %s", flag, e.msg)
               : 0;
}

/* Where probes and metrics are served, and how.  0, or the exit status. */
static int
read_serving(const struct berth_args *args, struct berth_arena *a,
             struct berth_operator_http_conf *ret)
{
    const char *folder = berth_arg(args, "metrics-cert-path");
    const char *cert = berth_arg(args, "metrics-cert-name");
    const char *key = berth_arg(args, "metrics-cert-key");

    *ret = (struct berth_operator_http_conf){.health = berth_arg(args, "health-probe-bind-address"),
                                             .metrics = berth_arg(args, "metrics-bind-address"),
                                             .token_path = berth_arg(args, "metrics-token-file")};
    int r = check_address(args, "health-probe-bind-address");
    if (r != 0 || (r = check_address(args, "metrics-bind-address")) != 0)
        return r;
    if (folder == NULL && (cert != NULL || key != NULL))
        return berth_usage(args, "--metrics-cert-name and --metrics-cert-key are files in "
                                 "--metrics-cert-path DIR");
    if (folder == NULL && berth_arg(args, "metrics-secure") != NULL)
        return berth_usage(args, "--metrics-secure: name the folder of a certificate (tls.crt, "
                                 "tls.key) with --metrics-cert-path DIR; none is made up here");
    if (folder != NULL && !berth_arg_is_off(args, "metrics-secure")) {
        ret->cert_path = berth_arena_printf(a, "%s/%s", folder, cert != NULL ? cert : "tls.crt");
        ret->key_path = berth_arena_printf(a, "%s/%s", folder, key != NULL ? key : "tls.key");
        if (ret->cert_path == NULL || ret->key_path == NULL)
            return berth_failed(args, "out of memory");
    }
    if (ret->cert_path != NULL && berth_operator_http_is_one(ret->health, ret->metrics))
        return berth_usage(args, "probes ask by plain HTTP: with --metrics-cert-path give "
                                 "--metrics-bind-address another address than theirs");
    if (ret->token_path != NULL && ret->cert_path == NULL)
        return berth_usage(args,
                           "--metrics-token-file: by plain HTTP anybody could read the token; "
                           "name a certificate with --metrics-cert-path DIR");
    return 0;
}

/* Somebody can ask for numbers. */
static int
count_calls(struct berth_operator_http_conf *http, struct berth_kube_conf *kube,
            struct berth_err *e)
{
    http->numbers = berth_metrics_new();
    if (http->numbers != NULL)
        kube->tally = berth_kube_tally_new(http->numbers, BERTH_METRIC_MSVC_API_ANSWERS,
                                           BERTH_METRIC_MSVC_API_SECONDS);
    return kube->tally != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

static const char denied[] = "; the operator's role lacks this right: apply "
                             "deploy/modelservice/rbac.yaml, or upgrade the Helm release; who runs "
                             "it by hand needs its ClusterRole modelservice-operator (kubectl auth "
                             "can-i shows what is allowed)";

/* Until it is ended.  election: NULL, there is no other. */
static int
operate(const struct berth_args *args, const struct berth_kube_config *config, struct operating *x,
        struct berth_operator_http_conf *about, struct berth_kube_lease_conf *election,
        const sigset_t *ends)
{
    char ungranted[320];
    struct berth_kube_conf how = {.qps = -1 /* the server says when it is too much */,
                                  .manager = BERTH_MSVC_MANAGER,
                                  .denied = denied,
                                  .ungranted = ungranted};
    struct berth_operator_http *http = NULL;
    struct berth_err e = {""};
    int r = 0;

    (void)snprintf(
        ungranted, sizeof ungranted,
        "; the operator's role may not give ClusterRole %.100s away: deploy it with that "
        "name (make -C deploy/modelservice deploy EPP_CLUSTERROLE=…, or epp.clusterRole "
        "of the chart)",
        x->conf->build.epp_cluster_role);
    about->read = read_state;
    about->arg = x;
    if (!berth_operator_http_is_off(about->metrics))
        r = count_calls(about, &how, &e);
    if (r == 0)
        r = berth_kube_new(config, &how, &x->conf->kube, &e);
    /* A client of its own: what the controller asks for at once must not keep a renewal waiting. */
    if (r == 0 && election != NULL)
        r = berth_kube_new(config, &how, &x->lease_kube, &e);
    if (r == 0)
        r = berth_operator_http_start(about, &http, &e);
    if (r == 0)
        r = election != NULL ? lead_in_turn(x, election, ends, &e) : alone(x, ends, &e);
    berth_operator_http_stop(http);
    berth_kube_free(x->lease_kube);
    berth_kube_free(x->conf->kube);
    berth_kube_tally_free(how.tally);
    berth_metrics_free(about->numbers);
    return r < 0 ? berth_failed(args, "%s", e.msg) : BERTH_EXIT_OK;
}

/* As names of namespaces are (RFC 1123). */
static bool
is_label(const char *text)
{
    enum { LABEL_MAX = 63 };
    const size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n > 0 && n <= LABEL_MAX && text[n] == '\0' && text[0] != '-' && text[n - 1] != '-';
}

/* A name that none has would be looked after, or read from, in vain.  0, or the exit status. */
static int
check_space(const struct berth_args *args, const char *flag, const char *name)
{
    return is_label(name)
               ? 0
               : berth_usage(args,
                             "--%s %.64s: no namespace has such a name: small letters, digits and "
                             "'-', 63 at most",
                             flag, name);
}

static int
check_spaces(const struct berth_args *args, const char *own, const struct berth_arg_names *bases)
{
    int r = own != NULL ? check_space(args, "namespace", own) : 0;

    for (size_t i = 0; r == 0 && i < bases->count; i++)
        r = strcmp(bases->at[i], "*") == 0 ? 0 : check_space(args, "base-namespaces", bases->at[i]);
    return r;
}

static int
set_log_level(const struct berth_args *args)
{
    const char *text = berth_arg(args, "log-level");
    enum berth_log_level level = BERTH_LOG_INFO;

    if (text != NULL && !berth_log_level_parse(text, &level))
        return berth_usage(args, "--log-level %.32s: it is debug, info, warn or error", text);
    berth_log_init(level, BERTH_LOG_TEXT, STDERR_FILENO);
    return 0;
}

static int
run(const struct berth_args *args, struct berth_arena *a)
{
    const struct berth_kube_config_from from = {.path = berth_arg(args, "kubeconfig")};
    struct berth_kube_lease_conf election = {.name = NULL};
    struct berth_build_options options;
    struct berth_arg_names bases;
    struct berth_operator_http_conf about;
    struct berth_kube_config config;
    struct berth_err e = {""};
    sigset_t ends;
    int r;

    if ((r = set_log_level(args)) != 0 ||
        (r = berth_arg_names(args, a, "base-namespaces", &bases)) != 0)
        return r;
    berth_memory_share_heap();
    struct berth_msvc_controller_conf conf = {.space = berth_arg(args, "namespace"),
                                              .base_spaces = bases.at,
                                              .base_space_count = bases.count};
    if ((r = berth_build_options_read(args, a, &options, &conf.build)) != 0 ||
        (r = check_spaces(args, conf.space, &bases)) != 0)
        return r;
    if (conf.build.epp_cluster_role == NULL || conf.build.epp_cluster_role[0] == '\0')
        return berth_usage(args, "which rights do endpoint pickers get? Name a ClusterRole with "
                                 "--epp-cluster-role NAME");
    if ((r = read_election(args, a, &conf, &election)) != 0 ||
        (r = read_serving(args, a, &about)) != 0)
        return r;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &ends, NULL); /* all threads inherit that */
    if (berth_kube_config_load(a, &from, &config, &e) < 0)
        return berth_failed(args, "%s", e.msg);
    struct operating x = {.conf = &conf, .mu = PTHREAD_MUTEX_INITIALIZER};
    conf.may_work = may_work;
    conf.arg = &x;
    election.space = config.space;
    return operate(args, &config, &x, &about,
                   berth_arg(args, "leader-elect") != NULL ? &election : NULL, &ends);
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
