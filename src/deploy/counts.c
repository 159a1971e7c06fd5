#include <stdio.h>
#include <stdlib.h>

#include "deploy/deploy_priv.h"
#include "obs/metrics.h"

/* What the engine counts. */

static const char *
result(bool ok)
{
    return ok ? "succeeded" : "failed";
}

void
berth_deploy_count_run(struct berth_deploy *d, const char *pipeline, const char *shimlet, bool ok,
                       uint64_t took_ns)
{
    struct berth_metrics *m = d->conf.metrics;

    if (m == NULL)
        return;
    berth_series_add(
        berth_metrics_series(m, BERTH_METRIC_DEPLOYMENTS,
                             (const char *const[]){pipeline, shimlet, result(ok), NULL}),
        1);
    berth_series_observe(berth_metrics_series(m, BERTH_METRIC_PIPELINE_SECONDS,
                                              (const char *const[]){pipeline, NULL}),
                         (double)took_ns / 1e9);
    const uint64_t all = atomic_fetch_add(&d->runs, 1) + 1;
    const uint64_t good = ok ? atomic_fetch_add(&d->good_runs, 1) + 1 : atomic_load(&d->good_runs);
    berth_series_set(
        berth_metrics_series(m, BERTH_METRIC_DEPLOYMENT_RATIO, (const char *const[]){NULL}),
        (double)good / (double)all);
}

void
berth_deploy_count_step(struct berth_deploy *d, const char *pipeline, const char *step, bool ok,
                        uint64_t took_ns)
{
    if (d->conf.metrics != NULL)
        berth_series_observe(
            berth_metrics_series(d->conf.metrics, BERTH_METRIC_STEP_SECONDS,
                                 (const char *const[]){pipeline, step, result(ok), NULL}),
            (double)took_ns / 1e9);
}

void
berth_deploy_count_retry(struct berth_deploy *d, const char *pipeline, const char *step)
{
    if (d->conf.metrics != NULL)
        berth_series_add(berth_metrics_series(d->conf.metrics, BERTH_METRIC_STEP_RETRIES,
                                              (const char *const[]){pipeline, step, NULL}),
                         1);
}

void
berth_deploy_count_move(struct berth_deploy *d, enum berth_phase from, enum berth_phase to)
{
    struct berth_metrics *m = d->conf.metrics;

    if (m == NULL)
        return;
    if (from != BERTH_PHASE_COUNT)
        berth_series_sub(berth_metrics_series(m, BERTH_METRIC_SERVICES,
                                              (const char *const[]){berth_phase_name(from), NULL}),
                         1);
    if (to != BERTH_PHASE_COUNT)
        berth_series_add(berth_metrics_series(m, BERTH_METRIC_SERVICES,
                                              (const char *const[]){berth_phase_name(to), NULL}),
                         1);
}

#define UNKNOWN UINT64_MAX /* environments do not tell how busy accelerators are */

/* Not held on to: what a service or a plugin had goes with it. */
static void
set_gauge(struct berth_metrics *m, enum berth_family f, const char *const *labels, double v)
{
    struct berth_series *s = berth_metrics_series(m, f, labels);

    berth_series_set(s, v);
    berth_metrics_release(m, &s, 1);
}

static void
set_count(struct berth_metrics *m, enum berth_family f, uint64_t n)
{
    berth_series_set_count(berth_metrics_series(m, f, (const char *const[]){NULL}), n);
}

static void
render_plugins_locked(struct berth_metrics *m, const struct plugs *all)
{
    for (const struct plug *p = all->first; p != NULL; p = p->next)
        set_gauge(
            m, BERTH_METRIC_PLUGIN_LOADED,
            (const char *const[]){all->type, p->name, p->version != NULL ? p->version : "", NULL},
            1);
}

void
berth_deploy_count_plug_gone_locked(struct berth_deploy *d, const struct plugs *all,
                                    const struct plug *p)
{
    if (d->conf.metrics != NULL)
        berth_metrics_forget_one(
            d->conf.metrics, BERTH_METRIC_PLUGIN_LOADED,
            (const char *const[]){all->type, p->name, p->version != NULL ? p->version : "", NULL});
}

static void
render_service(struct berth_metrics *m, struct service *s)
{
    uint64_t memory = 0, cpu = 0;

    /* A loop renders: it does not wait for a service whose record is being written. */
    if (pthread_mutex_trylock(&s->mu) != 0)
        return;
    const struct revision *wish = s->tracks[STABLE].wish;
    for (int k = 0; k < TRACK_COUNT; k++) {
        const struct seen *seen = s->tracks[k].seen;
        for (size_t i = 0; seen != NULL && i < seen->as.replica_count; i++) {
            memory += seen->as.replicas[i].memory_bytes;
            cpu += seen->as.replicas[i].cpu_milli;
        }
    }
    const uint64_t n = wish != NULL && !s->deleting ? wish->spec.replicas : 0;
    const bool gone = s->phase == BERTH_PHASE_TERMINATED;
    const char *accelerator = wish != NULL && wish->spec.accelerator_resource != NULL
                                  ? wish->spec.accelerator_resource
                                  : "accelerators";
    const struct {
        const char *resource;
        uint64_t asked, used;
    } rows[] = {
        {"memory_bytes", wish != NULL ? n * wish->spec.memory_bytes : 0, memory},
        {"cpu_milli", wish != NULL ? n * wish->spec.cpu_milli : 0, cpu},
        {"", wish != NULL ? n * wish->spec.accelerator_count : 0, UNKNOWN},
    };
    char name[128];

    (void)snprintf(name, sizeof name, "%s", accelerator); /* wish may go when mu is given back */
    (void)pthread_mutex_unlock(&s->mu);
    if (gone)
        berth_metrics_forget_of(m, "service", s->id);
    for (size_t i = 0; !gone && i < sizeof rows / sizeof rows[0]; i++) {
        const char *resource = rows[i].resource[0] != '\0' ? rows[i].resource : name;
        const char *const labels[] = {s->id, resource, NULL};

        set_gauge(m, BERTH_METRIC_RESOURCE_REQUESTED, labels, (double)rows[i].asked);
        if (rows[i].used == UNKNOWN)
            continue;
        set_gauge(m, BERTH_METRIC_RESOURCE_USED, labels, (double)rows[i].used);
        if (rows[i].asked > 0)
            set_gauge(m, BERTH_METRIC_RESOURCE_RATIO, labels,
                      (double)rows[i].used / (double)rows[i].asked);
    }
}

/* Gauges that are read when somebody asks: the queue, what is loaded, and what services ask for and
 * take. */
void
berth_deploy_render(void *arg)
{
    struct berth_deploy *d = arg;
    struct berth_metrics *m = d->conf.metrics;
    struct berth_reconciler_stats stats;
    struct service **all;
    size_t n = 0;

    if (d->reconciler != NULL) {
        const char *const none[] = {NULL};
        berth_reconciler_stats(d->reconciler, &stats);
        berth_series_set(berth_metrics_series(m, BERTH_METRIC_WORKQUEUE_DEPTH, none),
                         (double)stats.queue.due);
        berth_series_set(berth_metrics_series(m, BERTH_METRIC_WORKQUEUE_BUSY, none),
                         (double)stats.busy);
        berth_series_set(berth_metrics_series(m, BERTH_METRIC_WORKQUEUE_LONGEST, none),
                         (double)stats.longest_ns / 1e9);
        set_count(m, BERTH_METRIC_WORKQUEUE_RETRIES, stats.queue.retries);
        set_count(m, BERTH_METRIC_RECONCILES, stats.done);
        set_count(m, BERTH_METRIC_RECONCILE_ERRORS, stats.failed);
        berth_series_set(berth_metrics_series(m, BERTH_METRIC_RECONCILE_SECONDS, none),
                         (double)stats.busy_ns / 1e9);
    }
    (void)pthread_mutex_lock(&d->mu);
    render_plugins_locked(m, &d->environs);
    render_plugins_locked(m, &d->flows);
    (void)pthread_mutex_unlock(&d->mu);
    if (berth_deploy_all(d, &all, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        render_service(m, all[i]);
        berth_service_unref(d, all[i]);
    }
    free(all);
}
