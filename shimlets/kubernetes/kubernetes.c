#include "shimlets/kubernetes/kubernetes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shimlets/kubernetes/kubernetes_priv.h"
#include "shimlets/kubernetes/state.h"
#include "wire/json.h"

enum { READY_WAIT_S = 30, JUST_BACK_S = 60, INFORMERS = 4 };

/* ---- open and close ---- */

static void
workload_changed(void *arg, const struct berth_json *object, bool gone)
{
    struct berth_shimlet *s = arg;

    kubernetes_saw_workload(s, object, gone);
    (void)atomic_fetch_add(&s->changes, 1);
    kubernetes_tell(s, object);
}

static void
other_changed(void *arg, const struct berth_json *object, bool gone)
{
    struct berth_shimlet *s = arg;

    (void)atomic_fetch_add(&s->changes, 1);
    kubernetes_tell(s, object);
}

/* What does not say that we ask for the wrong thing: it passes when the server is back. */
static bool
is_unreachable(int r)
{
    return r == -BERTH_ENETWORK || r == -BERTH_EDEADLINE || r == -BERTH_EAGAIN;
}

/* One line when it begins and one when it ends, whatever becomes of it in between. */
static void
troubled(void *arg, int r, const char *why)
{
    struct berth_shimlet *s = arg;
    char text[400];

    /* A server that refuses answers: what is asked of it is to fail for that reason, not to wait.
     */
    const bool answers = r < 0 && !is_unreachable(r);
    if (r == 0 || !s->troubled || answers) {
        (void)snprintf(text, sizeof text, "kubernetes: %.360s", r < 0 ? why : "it works again");
        s->h->log(r < 0 ? BERTH_LOG_WARN : BERTH_LOG_INFO, text);
    }
    s->troubled = r < 0;
    (void)atomic_fetch_add(&s->changes, 1);
    if (is_unreachable(r))
        atomic_store(&s->back_ns, UINT64_MAX);
    else if (atomic_load(&s->back_ns) == UINT64_MAX)
        atomic_store(&s->back_ns, berth_now_ns());
    if (BERTH_SHIMLET_HOST_HAS(s->h, away))
        s->h->away(s->who, answers ? NULL : why);
}

static int
start_informers(struct berth_shimlet *s, struct berth_err *e)
{
    const struct {
        const struct berth_kube_kind *kind;
        struct berth_kube_informer **at;
    } all[INFORMERS] = {
        {&berth_kube_deployments, &s->deployments},
        {&berth_kube_stateful_sets, &s->stateful_sets},
        {&berth_kube_services, &s->services},
        {&berth_kube_pods, &s->pods},
    };
    char labels[KUBERNETES_NAME_MAX * 3];
    int r = 0;

    (void)snprintf(labels, sizeof labels, "managed-by=%s,%s/owner=%s", s->conf.managed_by,
                   s->conf.managed_by, s->owner);
    for (size_t i = 0; r == 0 && i < INFORMERS; i++) {
        const struct berth_kube_informer_conf conf = {
            .selection = {.kind = all[i].kind, .space = s->conf.space, .labels = labels},
            .index_label = "app.kubernetes.io/instance",
            .changed = i < 2 ? workload_changed : other_changed,
            .troubled = i == 0 ? troubled : NULL, /* one of them says it for all */
            .arg = s,
        };
        r = berth_kube_informer_start(s->k, &conf, all[i].at, e);
    }
    return r;
}

static void
do_close(struct berth_shimlet *s)
{
    if (s == NULL)
        return;
    if (s->k != NULL)
        berth_kube_stop(s->k);
    berth_kube_informer_stop(s->deployments);
    berth_kube_informer_stop(s->stateful_sets);
    berth_kube_informer_stop(s->services);
    berth_kube_informer_stop(s->pods);
    berth_kube_free(s->k);
    berth_arena_fini(&s->arena);
    kubernetes_forget_all(s);
    (void)pthread_mutex_destroy(&s->mu);
    free(s);
}

static int
connect_to(struct berth_shimlet *s, struct berth_err *e)
{
    const struct berth_kube_config_from from = {.path = s->conf.kubeconfig,
                                                .context = s->conf.context};
    const struct berth_kube_conf conf = {
        .qps = (double)s->conf.qps,
        .burst = (double)s->conf.burst,
        .timeout_ns = (uint64_t)s->conf.timeout_s * BERTH_S,
        .manager = s->conf.manager,
    };
    int r = berth_kube_config_load(&s->arena, &from, &s->config, e);

    if (r < 0)
        return r;
    if (s->conf.space[0] == '\0')
        (void)snprintf(s->conf.space, sizeof s->conf.space, "%s", s->config.space);
    r = berth_kube_new(&s->config, &conf, &s->k, e);
    return r < 0 ? r : start_informers(s, e);
}

/* The server need not be there yet: what is asked of it says so. */
static int
do_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
        struct berth_shimlet **ret, struct berth_err *e)
{
    struct berth_shimlet *s = calloc(1, sizeof *s);
    struct kubernetes_conf dflt;

    if (s == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    s->h = h;
    s->who = how->who;
    (void)pthread_mutex_init(&s->mu, NULL);
    berth_arena_init(&s->arena, KUBERNETES_ARENA_MAX);
    (void)snprintf(s->owner, sizeof s->owner, "%s", how->owner != NULL ? how->owner : "berth");
    kubernetes_conf_default(&dflt);
    kubernetes_conf_read(how->settings_json != NULL ? how->settings_json : "{}", &dflt, &s->conf);
    int r = kubernetes_conf_check(&s->conf, e);
    if (r == 0)
        r = connect_to(s, e);
    if (r < 0)
        do_close(s);
    else
        *ret = s;
    return r < 0 ? berth_err_wrap(e, r, "kubernetes") : 0;
}

/* ---- an operation ---- */

static bool
is_cancelled(void *arg)
{
    const struct kubernetes_asked *asked = arg;

    return asked->h->cancelled(asked->op);
}

struct berth_kube_until
kubernetes_until(struct berth_shimlet *s, const struct berth_op *op, struct kubernetes_asked *asked)
{
    const uint64_t now_ns = berth_now_ns(), left_ns = s->h->left_ns(op);
    const uint64_t own_ns = (uint64_t)s->conf.timeout_s * BERTH_S;

    *asked = (struct kubernetes_asked){.h = s->h, .op = op};
    return (struct berth_kube_until){
        .deadline_ns = now_ns + (left_ns < own_ns ? left_ns : own_ns),
        .cancelled = is_cancelled,
        .arg = asked,
    };
}

/* Until every cache has had its first list. */
static int
wait_ready(struct berth_shimlet *s, const struct berth_op *op, struct berth_err *e)
{
    struct berth_kube_informer *all[INFORMERS] = {s->deployments, s->stateful_sets, s->services,
                                                  s->pods};
    struct kubernetes_asked asked;
    struct berth_kube_until until = kubernetes_until(s, op, &asked);
    const uint64_t soon_ns = berth_now_ns() + READY_WAIT_S * BERTH_S;
    int r = 0;

    if (soon_ns < until.deadline_ns)
        until.deadline_ns = soon_ns;
    for (size_t i = 0; r == 0 && i < INFORMERS; i++)
        r = berth_kube_informer_wait(all[i], &until, e);
    return r == -BERTH_EDEADLINE ? -BERTH_ENETWORK : r;
}

/* A server that has just begun does not know yet what it allows to whom. */
static bool
is_just_back(struct berth_shimlet *s)
{
    const uint64_t back_ns = atomic_load(&s->back_ns);

    return back_ns == UINT64_MAX ||
           (back_ns != 0 && berth_now_ns() - back_ns < JUST_BACK_S * BERTH_S);
}

/* To what the host knows to take: what may pass, and what may not. */
static int
for_host(struct berth_shimlet *s, int r)
{
    if ((r == -BERTH_EAUTH || r == -BERTH_EPERM) && is_just_back(s))
        return -BERTH_EAGAIN;
    switch (-r) {
    case BERTH_ENOENT: /* a namespace that is not there */
    case BERTH_ECONFIG:
    case BERTH_ETOOBIG:
        return -BERTH_EINVAL;
    case BERTH_EAUTH:
        return -BERTH_EPERM;
    case BERTH_EEXIST:
    case BERTH_ENOTREADY:
        return -BERTH_EAGAIN;
    default:
        return r;
    }
}

static int
finish(struct berth_shimlet *s, int r, struct berth_arena *a, struct berth_err *e)
{
    berth_arena_fini(a);
    return r < 0 ? berth_err_wrap(e, for_host(s, r), "kubernetes") : r;
}

static int
do_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
         struct berth_err *e)
{
    struct berth_arena a;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = wait_ready(s, op, e);
    if (r == 0)
        r = kubernetes_apply(s, op, &a, u, e);
    return finish(s, r, &a, e);
}

static int
do_remove(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
          struct berth_err *e)
{
    struct berth_arena a;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = wait_ready(s, op, e);
    if (r == 0)
        r = kubernetes_remove(s, op, &a, unit_name, e);
    return finish(s, r, &a, e);
}

static int
do_status(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
          void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
          struct berth_err *e)
{
    struct berth_observed seen;
    struct kubernetes_found f;
    struct berth_arena a;
    int r;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    r = wait_ready(s, op, e);
    if (r == 0)
        r = kubernetes_find(s, &a, unit_name, &f, e);
    if (r == 0) {
        const struct kubernetes_look look = {
            .conf = &s->conf,
            .workload = f.workload,
            .service = f.service,
            .pods = f.pods,
            .pod_count = f.pod_count,
            .wall_ns = berth_wall_ns(),
            .in_cluster = s->config.context == NULL,
            .drifted = kubernetes_drift(s, unit_name, f.workload),
        };
        r = kubernetes_observe(&look, &a, &seen, e);
    }
    if (r == 0)
        tell(arg, &seen);
    return finish(s, r, &a, e);
}

struct lister {
    const struct berth_shimlet *s;
    void (*each)(void *arg, const struct berth_listed *one);
    void *arg;
};

static void
list_one(const struct lister *l, const struct berth_json *workload)
{
    const struct berth_slice hash = kubernetes_note(&l->s->conf, workload, "spec-hash");
    const struct berth_listed one = {
        .service_id = kubernetes_note(&l->s->conf, workload, "service-id").at,
        .track = berth_kube_label(workload, "track").at,
        .name = berth_kube_text(workload, "metadata.name").at,
        .hash = hash.at,
    };

    l->each(l->arg, &one);
}

static int
do_list(struct berth_shimlet *s, const struct berth_op *op,
        void (*each)(void *arg, const struct berth_listed *one), void *arg, struct berth_err *e)
{
    enum { ALL = 16384 };
    struct berth_kube_informer *kinds[] = {s->deployments, s->stateful_sets};
    const struct lister l = {.s = s, .each = each, .arg = arg};
    struct berth_arena a;

    berth_arena_init(&a, 16 * (size_t)KUBERNETES_ARENA_MAX);
    const struct berth_json **found = BERTH_NEW_N(&a, const struct berth_json *, ALL);
    int r = found != NULL ? wait_ready(s, op, e) : berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (size_t k = 0; r == 0 && k < 2; k++) {
        size_t n = 0;
        r = berth_kube_informer_find(kinds[k], &a, NULL, found, ALL, &n, e);
        for (size_t i = 0; r == 0 && i < n; i++)
            list_one(&l, found[i]);
    }
    return finish(s, r, &a, e);
}

static int
do_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
          void (*text)(void *arg, const char *json, size_t len), void *arg, struct berth_err *e)
{
    struct kubernetes_object objects[KUBERNETES_OBJECTS_MAX];
    struct berth_arena a;
    struct berth_buf b;
    size_t n = 0;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    berth_buf_init(&b, &a);
    int r = wait_ready(s, op, e);
    if (r == 0)
        r = kubernetes_draw_up(s, op, &a, u, objects, &n, e);
    berth_buf_putc(&b, '[');
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (i > 0)
            berth_buf_putc(&b, ',');
        berth_buf_put(&b, objects[i].json.at, objects[i].json.len);
    }
    berth_buf_putc(&b, ']');
    const char *all = berth_buf_text(&b);
    if (r == 0 && all == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0)
        text(arg, all, b.len);
    return finish(s, r, &a, e);
}

static bool
do_watches(const struct berth_shimlet *s)
{
    return true;
}

static int
do_held(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
        uint32_t *ret_accelerators, struct berth_err *e)
{
    struct kubernetes_found f;
    struct berth_arena a;
    uint32_t held = 0;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = wait_ready(s, op, e);
    if (r == 0)
        r = kubernetes_find(s, &a, unit_name, &f, e);
    for (size_t i = 0; r == 0 && i < f.pod_count; i++)
        if (!kubernetes_pod_is_over(f.pods[i]))
            held += kubernetes_pod_accelerators(f.pods[i]);
    if (r == 0)
        *ret_accelerators = held;
    return finish(s, r, &a, e);
}

static int
do_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
         struct berth_err *e)
{
    int r = wait_ready(s, op, e);

    if (r == 0)
        r = kubernetes_check(s, op, u, e);
    return r < 0 ? berth_err_wrap(e, for_host(s, r), "kubernetes") : 0;
}

static int
do_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
        const struct berth_log_query *q,
        bool (*line)(void *arg, const char *replica, const char *text, size_t len), void *arg,
        struct berth_err *e)
{
    int r = wait_ready(s, op, e);

    if (r == 0)
        r = kubernetes_logs(s, op, unit_name, q, line, arg, e);
    return r < 0 ? berth_err_wrap(e, r == -BERTH_ENOENT ? r : for_host(s, r), "kubernetes") : 0;
}

static int
do_resources(struct berth_shimlet *s, const struct berth_op *op, struct berth_resources *ret,
             struct berth_err *e)
{
    const int r = kubernetes_resources(s, op, ret, e);

    return r < 0 ? berth_err_wrap(e, for_host(s, r), "kubernetes") : 0;
}

static int
do_node(struct berth_shimlet *s, const struct berth_op *op, const char *node, bool drain,
        struct berth_err *e)
{
    int r = wait_ready(s, op, e);

    if (r == 0)
        r = kubernetes_node(s, op, node, drain, e);
    return r < 0 ? berth_err_wrap(e, r == -BERTH_ENOENT ? r : for_host(s, r), "kubernetes") : r;
}

#define OPS(its_name)                                                                           \
    {                                                                                           \
        .abi = BERTH_SHIMLET_ABI, .struct_size = sizeof(struct berth_shimlet_ops),              \
        .name = its_name, .version = BERTH_VERSION,                                             \
        .description = "Deployments or StatefulSets with a Service, by server-side apply",      \
        .settings = kubernetes_settings, .open = do_open, .close = do_close, .apply = do_apply, \
        .remove = do_remove, .status = do_status, .list = do_list, .check = do_check,           \
        .logs = do_logs, .resources = do_resources, .render = do_render, .watches = do_watches, \
        .node = do_node, .held = do_held,                                                       \
    }

const struct berth_shimlet_ops berth_shimlet_kubernetes = OPS("kubernetes");
const struct berth_shimlet_ops berth_shimlet_k8s = OPS("k8s");
