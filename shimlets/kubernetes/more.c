#include <stdio.h>
#include <string.h>

#include "shimlets/kubernetes/state.h"
#include "wire/json.h"

/* What is offered besides applying: whether it fits, and what there is to give. */

/* ---- machines ---- */

struct machines {
    const struct berth_unit *u;
    const char *resource; /* of accelerators; NULL: any */
    uint64_t cpu_milli, memory_bytes;
    uint64_t accelerators;        /* sums */
    uint64_t cpu_max, memory_max; /* of the largest */
    uint64_t accelerators_max;
    size_t count, fits;
};

static uint64_t
amount(const struct berth_json *list, const char *key)
{
    struct berth_slice text = {NULL, 0};

    return berth_json_string(berth_json_get(list, key), &text) ? kubernetes_quantity_milli(text)
                                                               : 0;
}

static uint64_t
max_of(uint64_t x, uint64_t y)
{
    return x > y ? x : y;
}

static bool
take_machine(void *arg, const struct berth_json *node)
{
    struct machines *m = arg;
    const struct berth_json *has = berth_kube_at(node, "status.allocatable");
    const uint64_t cpu = amount(has, "cpu"), memory = amount(has, "memory") / 1000;
    const uint64_t gpus = amount(has, m->resource != NULL ? m->resource : "nvidia.com/gpu") / 1000;

    m->count++;
    m->cpu_milli += cpu;
    m->memory_bytes += memory;
    m->accelerators += gpus;
    m->cpu_max = max_of(m->cpu_max, cpu);
    m->memory_max = max_of(m->memory_max, memory);
    m->accelerators_max = max_of(m->accelerators_max, gpus);
    if (m->u != NULL && cpu >= m->u->cpu_milli && memory >= m->u->memory_bytes &&
        gpus >= m->u->accelerator_count)
        m->fits++;
    return true;
}

/* An empty cluster may be one that makes machines when they are asked for: nothing is refused. */
int
kubernetes_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *u,
                 struct berth_err *e)
{
    const struct berth_kube_selection nodes = {.kind = &berth_kube_nodes};
    struct machines m = {.u = u, .resource = u->accelerator_resource};
    struct kubernetes_object objects[KUBERNETES_OBJECTS_MAX];
    struct kubernetes_asked asked;
    const struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct berth_arena a;
    size_t n;

    berth_arena_init(&a, KUBERNETES_ARENA_MAX);
    int r = kubernetes_draw_up(s, op, &a, u, objects, &n, e);
    berth_arena_fini(&a);
    if (r == 0)
        r = berth_kube_list(s->k, &until, &nodes, take_machine, &m, NULL, e);
    if (r < 0 || m.count == 0 || m.fits > 0)
        return r;
    return berth_err_set(
        e, BERTH_ELIMIT,
        "none of %zu nodes can hold a replica: it wants cpu %llum, memory %llu MiB and %u of %s; "
        "the most a node has is %llum, %llu MiB and %llu",
        m.count, (unsigned long long)u->cpu_milli, (unsigned long long)(u->memory_bytes >> 20),
        u->accelerator_count,
        u->accelerator_resource != NULL ? u->accelerator_resource : "accelerators",
        (unsigned long long)m.cpu_max, (unsigned long long)(m.memory_max >> 20),
        (unsigned long long)m.accelerators_max);
}

struct taken {
    uint64_t cpu_milli, memory_bytes, accelerators;
};

static bool
take_pod(void *arg, const struct berth_json *pod)
{
    struct taken *t = arg;
    struct berth_json_iter it = berth_json_iter(berth_kube_at(pod, "spec.containers"));

    if (kubernetes_pod_is_over(pod) || berth_kube_text(pod, "spec.nodeName").len == 0)
        return true;
    while (berth_json_next(&it)) {
        const struct berth_json *wants = berth_kube_at(it.value, "resources.requests");
        t->cpu_milli += amount(wants, "cpu");
        t->memory_bytes += amount(wants, "memory") / 1000;
    }
    t->accelerators += kubernetes_pod_accelerators(pod);
    return true;
}

static uint64_t
less(uint64_t total, uint64_t taken)
{
    return total > taken ? total - taken : 0;
}

/* What pods hold of the machines: every one's, where we may see them, else our namespace's. */
static int
sum_pods(struct berth_shimlet *s, const struct berth_kube_until *until, struct taken *t,
         struct berth_err *e)
{
    const struct berth_kube_selection all = {.kind = &berth_kube_pods};
    const struct berth_kube_selection ours = {.kind = &berth_kube_pods, .space = s->conf.space};
    int r = -BERTH_EPERM;

    if (!atomic_load(&s->own_pods_only))
        r = berth_kube_list(s->k, until, &all, take_pod, t, NULL, e);
    if (r != -BERTH_EPERM)
        return r;
    if (!atomic_exchange(&s->own_pods_only, true))
        s->h->log(BERTH_LOG_WARN,
                  "kubernetes: pods of other namespaces may not be listed: what they hold of the "
                  "machines counts as free; a ClusterRole with list of pods would tell");
    *t = (struct taken){0};
    return berth_kube_list(s->k, until, &ours, take_pod, t, NULL, e);
}

int
kubernetes_resources(struct berth_shimlet *s, const struct berth_op *op,
                     struct berth_resources *ret, struct berth_err *e)
{
    const struct berth_kube_selection nodes = {.kind = &berth_kube_nodes};
    struct kubernetes_asked asked;
    const struct berth_kube_until until = kubernetes_until(s, op, &asked);
    struct machines m = {.u = NULL};
    struct taken t = {0};
    int r = berth_kube_list(s->k, &until, &nodes, take_machine, &m, NULL, e);

    if (r == 0)
        r = sum_pods(s, &until, &t, e);
    if (r < 0)
        return r;
    *ret = (struct berth_resources){
        .struct_size = sizeof *ret,
        .cpu_milli_total = m.cpu_milli,
        .cpu_milli_free = less(m.cpu_milli, t.cpu_milli),
        .memory_bytes_total = m.memory_bytes,
        .memory_bytes_free = less(m.memory_bytes, t.memory_bytes),
        .accelerators_total = (uint32_t)m.accelerators,
        .accelerators_free = (uint32_t)less(m.accelerators, t.accelerators),
    };
    return 0;
}
