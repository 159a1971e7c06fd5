#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "shimlets/kubernetes/kubernetes_priv.h"
#include "wire/json.h"

/* ---- a pod ---- */

static const struct berth_json *
condition(const struct berth_json *object, const char *type)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(object, "status.conditions"));

    while (berth_json_next(&it))
        if (berth_slice_is(berth_kube_text(it.value, "type"), type))
            return it.value;
    return NULL;
}

static bool
is_true(const struct berth_json *cond)
{
    return berth_slice_is(berth_kube_text(cond, "status"), "True");
}

static bool
is_false(const struct berth_json *cond)
{
    return berth_slice_is(berth_kube_text(cond, "status"), "False");
}

/* "Reason: message; what to do".  What the scheduler says of preemption is of no use to anybody. */
static const char *
with_advice(struct berth_arena *a, struct berth_slice reason, struct berth_slice message)
{
    const char *advice = kubernetes_advice(reason, message.at);
    const char *cut = strstr(message.at, " preemption: ");
    const int len = cut != NULL ? (int)(cut - message.at) : 300;

    return berth_arena_printf(a, "%s%s%.*s%s%s", reason.at, message.len > 0 ? ": " : "",
                              len < 300 ? len : 300, message.at, advice[0] != '\0' ? "; " : "",
                              advice);
}

/* Reasons for waiting that do not pass by themselves while nothing is done about them. */
static bool
is_stuck(struct berth_slice reason)
{
    static const char *const stuck[] = {
        "CrashLoopBackOff",    "ImagePullBackOff",           "ErrImagePull",
        "InvalidImageName",    "CreateContainerConfigError", "CreateContainerError",
        "RunContainerError",   "ErrImageNeverPull",          "ImageInspectError",
        "RegistryUnavailable", "PostStartHookError",
    };

    for (size_t i = 0; i < BERTH_COUNT(stuck); i++)
        if (berth_slice_is(reason, stuck[i]))
            return true;
    return false;
}

/* What to do about how it ended, else about what it waits for. */
static const char *
why_ended(const struct berth_json *terminated, struct berth_slice otherwise)
{
    const char *advice = kubernetes_advice(berth_kube_text(terminated, "reason"),
                                           berth_kube_text(terminated, "message").at);

    return advice[0] != '\0' ? advice : kubernetes_advice(otherwise, "");
}

/* Nothing says what it waits for: that is in events, which are not ours to read. */
static const char *
overdue(struct berth_arena *a, const struct berth_json *pod, int64_t limit_s)
{
    const bool begun = berth_slice_is(berth_kube_text(pod, "status.phase"), "Running");
    const struct berth_slice node = berth_kube_text(pod, "spec.nodeName");

    if (begun)
        return berth_arena_printf(
            a,
            "not ready within %lld s; `berth logs` shows how far it is: raise "
            "startTimeoutMs when its model takes longer to load",
            (long long)limit_s);
    return berth_arena_printf(a,
                              "not ready within %lld s, and its container is not made yet: is the "
                              "model's folder (or model_volume) there on %s?  `kubectl describe "
                              "pod` has the machine's word",
                              (long long)limit_s, node.len > 0 ? node.at : "a machine");
}

struct verdict {
    enum berth_replica_state state;
    const char *reason; /* NULL: none */
    uint32_t restarts;
};

/* What its containers say: a reason to fail, or to mention. */
static void
judge_containers(struct berth_arena *a, const struct berth_json *pod, const char *list,
                 struct verdict *v)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(pod, list));

    while (berth_json_next(&it)) {
        const struct berth_json *waiting = berth_kube_at(it.value, "state.waiting");
        const struct berth_json *last = berth_kube_at(it.value, "lastState.terminated");
        const struct berth_json *ended = berth_kube_at(it.value, "state.terminated");
        const struct berth_slice reason = berth_kube_text(waiting, "reason");
        const struct berth_slice message = berth_kube_text(waiting, "message");
        const char *before = berth_kube_how_ended(a, last);
        v->restarts += (uint32_t)berth_kube_int(it.value, "restartCount", 0);
        if (v->state == BERTH_REPLICA_FAILED)
            continue;
        if (is_stuck(reason)) {
            v->state = BERTH_REPLICA_FAILED;
            v->reason = before[0] == '\0'
                            ? with_advice(a, reason, message)
                            : berth_arena_printf(a, "%s%s%.300s; it ended with %s; %s", reason.at,
                                                 message.len > 0 ? ": " : "", message.at, before,
                                                 why_ended(last, reason));
        } else if (ended != NULL && berth_kube_int(ended, "exitCode", 0) != 0) {
            v->reason = berth_arena_printf(a, "ended with %s; %s", berth_kube_how_ended(a, ended),
                                           why_ended(ended, BERTH_SLICE("Error")));
        } else if (before[0] != '\0' && v->reason == NULL) {
            v->reason = berth_arena_printf(a, "started again; it ended with %s; %s", before,
                                           why_ended(last, BERTH_SLICE("Error")));
        }
    }
}

/* Not ready for longer than a start may take: a start that hangs is a failure. */
static bool
is_overdue(const struct kubernetes_look *l, const struct berth_json *pod, int64_t limit_s)
{
    uint64_t since = berth_kube_time(berth_kube_text(pod, "status.startTime"));

    if (since == 0)
        since = berth_kube_time(berth_kube_text(pod, "metadata.creationTimestamp"));
    return limit_s > 0 && since > 0 && l->wall_ns > since &&
           l->wall_ns - since > (uint64_t)limit_s * BERTH_S;
}

static struct verdict
judge(const struct kubernetes_look *l, struct berth_arena *a, const struct berth_json *pod,
      int64_t limit_s)
{
    const struct berth_slice phase = berth_kube_text(pod, "status.phase");
    const struct berth_json *scheduled = condition(pod, "PodScheduled");
    struct verdict v = {.state = BERTH_REPLICA_STARTING};

    judge_containers(a, pod, "status.initContainerStatuses", &v);
    judge_containers(a, pod, "status.containerStatuses", &v);
    if (berth_kube_text(pod, "metadata.deletionTimestamp").len > 0) {
        v.state = BERTH_REPLICA_STOPPING;
    } else if (berth_slice_is(phase, "Failed") || berth_slice_is(phase, "Succeeded")) {
        const struct berth_slice why = berth_kube_text(pod, "status.reason");
        v.state = BERTH_REPLICA_FAILED;
        if (why.len > 0 || v.reason == NULL)
            v.reason =
                with_advice(a, why.len > 0 ? why : phase, berth_kube_text(pod, "status.message"));
    } else if (is_true(condition(pod, "Ready"))) {
        v.state = BERTH_REPLICA_READY;
    } else if (is_false(scheduled)) {
        v.state = BERTH_REPLICA_FAILED;
        v.reason = with_advice(a, berth_kube_text(scheduled, "reason"),
                               berth_kube_text(scheduled, "message"));
    } else if (v.state == BERTH_REPLICA_STARTING && is_overdue(l, pod, limit_s)) {
        v.state = BERTH_REPLICA_FAILED;
        if (v.reason == NULL)
            v.reason = overdue(a, pod, limit_s);
    }
    return v;
}

bool
kubernetes_pod_is_over(const struct berth_json *pod)
{
    const struct berth_slice phase = berth_kube_text(pod, "status.phase");

    return berth_slice_is(phase, "Failed") || berth_slice_is(phase, "Succeeded");
}

uint64_t
kubernetes_quantity_milli(struct berth_slice text)
{
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {
        {"m", 0.001}, {"", 1},      {"k", 1e3},        {"M", 1e6},           {"G", 1e9},
        {"T", 1e12},  {"Ki", 1024}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1.0995e12},
    };
    char *end = NULL;

    if (text.len == 0 || (text.at[0] != '.' && (text.at[0] < '0' || text.at[0] > '9')))
        return 0;
    const double n = strtod(text.at, &end);
    for (size_t i = 0; i < BERTH_COUNT(units); i++) {
        const double milli = n * units[i].factor * 1000;
        if (strcmp(end, units[i].suffix) == 0)
            return milli < 1.8e19 ? (uint64_t)(milli + 0.5) : UINT64_MAX;
    }
    return 0;
}

static bool
is_accelerator(struct berth_slice key)
{
    return strcasestr(key.at, "gpu") != NULL || strstr(key.at, "nvidia") != NULL ||
           strstr(key.at, "Ascend") != NULL;
}

uint32_t
kubernetes_pod_accelerators(const struct berth_json *pod)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(pod, "spec.containers"));
    uint64_t sum = 0;

    while (berth_json_next(&it)) {
        struct berth_json_iter r = berth_json_iter(berth_kube_at(it.value, "resources.limits"));
        while (berth_json_next(&r)) {
            struct berth_slice text = {NULL, 0};
            if (is_accelerator(r.key) && berth_json_string(r.value, &text))
                sum += kubernetes_quantity_milli(text) / 1000;
        }
    }
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

/* ---- addresses ---- */

int64_t
kubernetes_workload_port(const struct berth_json *workload)
{
    struct berth_json_iter it =
        berth_json_iter(berth_kube_at(workload, "spec.template.spec.containers"));

    while (berth_json_next(&it)) {
        struct berth_json_iter port = berth_json_iter(berth_json_get(it.value, "ports"));
        while (berth_json_next(&port))
            if (berth_slice_is(berth_kube_text(port.value, "name"), "http"))
                return berth_kube_int(port.value, "containerPort", 0);
    }
    return 0;
}

/* A pod's own address: its machine's when it uses that network. */
static const char *
pod_endpoint(struct berth_arena *a, const struct berth_json *pod, int64_t port)
{
    const bool host = berth_kube_flag(pod, "spec.hostNetwork");
    const struct berth_slice ip = berth_kube_text(pod, host ? "status.hostIP" : "status.podIP");

    if (ip.len == 0 || port == 0)
        return NULL;
    return berth_arena_printf(a, strchr(ip.at, ':') != NULL ? "http://[%s]:%lld" : "http://%s:%lld",
                              ip.at, (long long)port);
}

/* Where the service is for those outside: a machine's port or a balancer, when it has one. */
static const char *
outside(const struct kubernetes_look *l, struct berth_arena *a)
{
    struct berth_json_iter ports = berth_json_iter(berth_kube_at(l->service, "spec.ports"));
    struct berth_json_iter balancers =
        berth_json_iter(berth_kube_at(l->service, "status.loadBalancer.ingress"));

    if (!berth_json_next(&ports))
        return NULL;
    const int64_t port = berth_kube_int(ports.value, "port", 0);
    const int64_t node_port = berth_kube_int(ports.value, "nodePort", 0);
    if (berth_json_next(&balancers)) {
        const struct berth_slice ip = berth_kube_text(balancers.value, "ip");
        const struct berth_slice name = berth_kube_text(balancers.value, "hostname");
        return berth_arena_printf(a, "http://%s:%lld", ip.len > 0 ? ip.at : name.at,
                                  (long long)port);
    }
    for (size_t i = 0; node_port > 0 && i < l->pod_count; i++) {
        const struct berth_slice ip = berth_kube_text(l->pods[i], "status.hostIP");
        if (ip.len > 0)
            return berth_arena_printf(a, "http://%s:%lld", ip.at, (long long)node_port);
    }
    return NULL;
}

static const char *
endpoint(const struct kubernetes_look *l, struct berth_arena *a)
{
    const int64_t port = kubernetes_workload_port(l->workload);
    const char *at = l->in_cluster ? NULL : outside(l, a);

    for (size_t i = 0; at == NULL && i < l->pod_count; i++)
        if (berth_kube_flag(l->pods[i], "spec.hostNetwork") &&
            is_true(condition(l->pods[i], "Ready")))
            at = pod_endpoint(a, l->pods[i], port);
    if (at == NULL && l->service != NULL && port > 0)
        at = berth_arena_printf(
            a, "http://%s.%s.svc:%lld", berth_kube_text(l->service, "metadata.name").at,
            berth_kube_text(l->service, "metadata.namespace").at, (long long)port);
    return at;
}

/* ---- the workload ---- */

bool
kubernetes_is_touched(const struct kubernetes_conf *c, const struct berth_json *workload)
{
    struct berth_json_iter it = berth_json_iter(berth_kube_at(workload, "metadata.managedFields"));
    char scale[KUBERNETES_TEXT_MAX + 8];
    bool ours = false;

    kubernetes_scale_manager(c, scale);
    while (berth_json_next(&it)) {
        const struct berth_slice manager = berth_kube_text(it.value, "manager");
        if (berth_kube_text(it.value, "subresource").len > 0) /* status, and scale */
            continue;
        if (berth_slice_is(manager, c->manager) &&
            berth_slice_is(berth_kube_text(it.value, "operation"), "Apply"))
            ours = true;
        else if (!berth_slice_is(manager, scale) &&
                 berth_kube_at(it.value, "fieldsV1.f:spec") != NULL)
            return true;
    }
    return !ours;
}

/* What the cluster could not do at all, so that no pod can tell. */
static const char *
trouble(const struct kubernetes_look *l, struct berth_arena *a)
{
    const struct berth_json *failure = condition(l->workload, "ReplicaFailure");
    const struct berth_json *progress = condition(l->workload, "Progressing");

    if (is_true(failure))
        return with_advice(a, berth_kube_text(failure, "reason"),
                           berth_kube_text(failure, "message"));
    if (is_false(progress))
        return berth_arena_printf(a, "%s: %.400s", berth_kube_text(progress, "reason").at,
                                  berth_kube_text(progress, "message").at);
    return NULL;
}

/* What differs from what apply() made, as far as the cluster itself tells. */
static const char *
drift(const struct kubernetes_look *l, struct berth_arena *a, int64_t wanted)
{
    const bool scaled = kubernetes_note(l->conf, l->workload, "scaled").len > 0;
    const int64_t has = berth_kube_int(l->workload, "spec.replicas", 1);

    if (!scaled && has != wanted)
        return berth_arena_printf(a, "somebody set replicas to %lld; %lld are wanted",
                                  (long long)has, (long long)wanted);
    if (l->service == NULL)
        return "somebody deleted the Service";
    return l->drifted;
}

static void
tell_pod(const struct kubernetes_look *l, struct berth_arena *a, const struct berth_json *pod,
         int64_t limit_s, struct berth_replica *ret)
{
    const struct berth_slice hash = kubernetes_note(l->conf, pod, "spec-hash");
    const struct berth_slice current = kubernetes_note(l->conf, l->workload, "spec-hash");
    const struct berth_slice revision = kubernetes_note(l->conf, l->workload, "revision");
    const struct berth_slice node = berth_kube_text(pod, "spec.nodeName");
    const struct verdict v = judge(l, a, pod, limit_s);

    *ret = (struct berth_replica){
        .struct_size = sizeof *ret,
        .id = berth_kube_text(pod, "metadata.name").at,
        .hash = hash.at,
        .revision = strcmp(hash.at, current.at) == 0 ? strtoull(revision.at, NULL, 10) : 0,
        .state = v.state,
        .endpoint = pod_endpoint(a, pod, kubernetes_workload_port(l->workload)),
        .reason = v.reason,
        .node = node.len > 0 ? node.at : NULL,
        .restarts = v.restarts,
    };
}

/* Pods that are over, as those that a machine evicted, stay until somebody tidies up.  One of them
 * is a replica only as long as no other pod has its place. */
static uint64_t
over_that_count(const struct kubernetes_look *l)
{
    const int64_t wanted = berth_kube_int(l->workload, "spec.replicas", 1);
    int64_t others = 0;

    for (size_t i = 0; i < l->pod_count; i++)
        others += !kubernetes_pod_is_over(l->pods[i]) &&
                  berth_kube_text(l->pods[i], "metadata.deletionTimestamp").len == 0;
    return l->workload != NULL && wanted > others ? (uint64_t)(wanted - others) : 0;
}

static uint64_t
created_ns(const struct berth_json *pod)
{
    return berth_kube_time(berth_kube_text(pod, "metadata.creationTimestamp"));
}

/* Is it among the `most` newest of those that are over? */
static bool
is_newest_over(const struct kubernetes_look *l, size_t which, uint64_t most)
{
    const uint64_t its = created_ns(l->pods[which]);
    uint64_t newer = 0;

    for (size_t i = 0; i < l->pod_count && newer < most; i++) {
        const uint64_t other = created_ns(l->pods[i]);
        newer += i != which && kubernetes_pod_is_over(l->pods[i]) &&
                 (other > its || (other == its && i < which));
    }
    return newer < most;
}

int
kubernetes_observe(const struct kubernetes_look *l, struct berth_arena *a,
                   struct berth_observed *ret, struct berth_err *e)
{
    struct berth_replica *replicas = BERTH_NEW_N(a, struct berth_replica, l->pod_count + 1);
    const struct berth_slice hash = kubernetes_note(l->conf, l->workload, "spec-hash");
    const struct berth_slice wanted = kubernetes_note(l->conf, l->workload, "replicas");
    const int64_t limit_s = berth_kube_int(l->workload, "spec.progressDeadlineSeconds", 0);

    const uint64_t over = over_that_count(l);
    size_t n = 0;

    if (replicas == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (size_t i = 0; i < l->pod_count; i++)
        if (!kubernetes_pod_is_over(l->pods[i]) || is_newest_over(l, i, over))
            tell_pod(l, a, l->pods[i], limit_s, &replicas[n++]);
    *ret = (struct berth_observed){
        .struct_size = sizeof *ret,
        .exists = l->workload != NULL,
        .replicas = replicas,
        .replica_count = n,
    };
    if (l->workload == NULL)
        return 0;
    ret->hash = hash.len > 0 ? hash.at : NULL;
    ret->replicas_desired = (uint32_t)strtoul(wanted.at, NULL, 10);
    ret->endpoint = endpoint(l, a);
    const char *drifted = drift(l, a, ret->replicas_desired);
    ret->drifted = drifted != NULL;
    ret->message = drifted != NULL ? drifted : trouble(l, a);
    return 0;
}
