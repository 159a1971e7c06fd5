#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "os/process.h"
#include "plugin/plugins.h"
#include "plugin/workers_priv.h"

enum { EVENT_ARENA_BYTES_MAX = 64 << 20 };

static void
worker_free(struct berth_worker *w)
{
    berth_region_fini(&w->region);
    berth_arena_fini(&w->event_arena);
    if (w->describe != NULL)
        berth_arena_fini(&w->describe_arena);
    (void)pthread_cond_destroy(&w->changed);
    (void)pthread_mutex_destroy(&w->mu);
    (void)pthread_mutex_destroy(&w->side_mu);
    free(w->copy);
    free(w->name);
    free(w->key);
    free(w->path);
    free(w->settings_json);
    free(w->plugin_dir);
    free(w);
}

static int
set_texts(struct berth_worker *w, const struct berth_load *how, struct berth_err *e)
{
    const struct berth_isolation *iso = how->isolation;
    const char *found = berth_plugins_file(iso->workers->conf.plugins, w->real);
    char file[PATH_MAX];
    const char *slash = found != NULL && realpath(found, file) != NULL ? strrchr(file, '/') : NULL;
    char *model;

    if (slash == NULL)
        return berth_err_set(e, BERTH_EUNSUPPORTED,
                             "isolation: backend %s is part of this program and cannot be loaded "
                             "by another process",
                             w->real->name);
    if (asprintf(&model, "%s\n%s\n%s", iso->name, iso->version, how->path) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    w->model_hash = berth_worker_hash(model);
    free(model);
    w->name = strdup(iso->name);
    w->path = strdup(how->path);
    w->settings_json = strdup(how->settings_json);
    w->plugin_dir = strndup(file, (size_t)(slash - file));
    w->key = berth_worker_key(w->real, file, how, iso->memory_bytes_max);
    if (w->name == NULL || w->path == NULL || w->settings_json == NULL || w->plugin_dir == NULL ||
        w->key == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    w->key_hash = berth_worker_hash(w->key);
    return 0;
}

static struct berth_worker *
worker_new(const struct berth_host *h, const struct berth_load *how,
           const struct berth_backend_ops *real)
{
    const struct berth_isolation *iso = how->isolation;
    struct berth_worker *w = calloc(1, sizeof *w);
    pthread_condattr_t attr;

    if (w == NULL)
        return NULL;
    w->all = iso->workers;
    w->real = real;
    w->host = h;
    w->threads = how->threads;
    w->memory_bytes_max = iso->memory_bytes_max;
    w->run_ns_max = iso->run_ns_max;
    w->keep_core = iso->keep_core;
    w->failed = iso->failed;
    w->restarted = iso->restarted;
    w->failed_arg = iso->failed_arg;
    w->log_fd = w->pid_fd = w->control_fd = w->region.fd = -1;
    w->state = BERTH_WORKER_STARTING;
    berth_arena_init(&w->event_arena, EVENT_ARENA_BYTES_MAX);
    (void)pthread_mutex_init(&w->mu, NULL);
    (void)pthread_mutex_init(&w->side_mu, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return w;
}

/* From here on the warden has it too. */
static int
enlist(struct berth_worker *w, struct berth_err *e)
{
    struct berth_workers *all = w->all;

    (void)pthread_mutex_lock(&all->mu);
    bool full = all->len == BERTH_WORKERS_MAX;
    if (!full) {
        w->next = all->first;
        all->first = w;
        all->len++;
    }
    (void)pthread_mutex_unlock(&all->mu);
    if (full)
        return berth_err_set(e, BERTH_ELIMIT, "more than %d workers", BERTH_WORKERS_MAX);
    berth_workers_wake(all);
    return 0;
}

void
berth_proxy_unload(struct berth_instance *m)
{
    struct berth_worker *w = berth_worker_of(m);

    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->mu);
    w->end_asked = true;
    berth_workers_wake(w->all);
    while (w->state != BERTH_WORKER_GONE)
        (void)pthread_cond_wait(&w->changed, &w->mu);
    (void)pthread_mutex_unlock(&w->mu);
    worker_free(w);
}

int
berth_proxy_load(const struct berth_host *h, const struct berth_load *how,
                 struct berth_instance **ret, struct berth_err *e)
{
    const struct berth_isolation *iso = how->isolation;

    berth_assert(iso != NULL);
    struct berth_worker *w = worker_new(h, how, iso->real);
    if (w == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    int r = set_texts(w, how, e);
    if (r < 0 || (r = enlist(w, e)) < 0) {
        worker_free(w);
        return r;
    }
    (void)pthread_mutex_lock(&w->mu);
    while (w->state == BERTH_WORKER_STARTING)
        (void)pthread_cond_wait(&w->changed, &w->mu);
    if (w->state != BERTH_WORKER_READY)
        r = berth_err_set(e,
                          w->load_result < 0 ? (enum berth_code) - w->load_result : BERTH_EBACKEND,
                          "%s", w->why);
    (void)pthread_mutex_unlock(&w->mu);
    if (r < 0) {
        berth_proxy_unload((struct berth_instance *)(void *)w);
        return r;
    }
    *ret = (struct berth_instance *)(void *)w;
    return 0;
}

void
berth_isolated_kill(struct berth_instance *m, const char *why)
{
    struct berth_worker *w = berth_worker_of(m);

    (void)pthread_mutex_lock(&w->mu);
    berth_worker_kill_locked(w, why);
    (void)pthread_mutex_unlock(&w->mu);
}

struct berth_isolated_state
berth_isolated_state(struct berth_instance *m)
{
    struct berth_worker *w = berth_worker_of(m);

    (void)pthread_mutex_lock(&w->mu);
    struct berth_isolated_state s = {.pid = w->pid, .restarts = w->restarts, .adopted = w->adopted};
    (void)pthread_mutex_unlock(&w->mu);
    return s;
}

uint64_t
berth_isolated_cpu_ns(struct berth_instance *m)
{
    return berth_worker_of(m)->cpu_ns;
}

/* To ask the kernel takes it milliseconds for each 100 MB; what the worker found out after its load
 * does for the first time, so that one that is adopted need not be counted again. */
uint64_t
berth_proxy_memory(const struct berth_instance *m)
{
    struct berth_worker *w = berth_worker_of(m);

    (void)pthread_mutex_lock(&w->mu);
    const uint64_t said = w->loaded_bytes;
    const pid_t pid = w->pid;
    w->loaded_bytes = 0;
    (void)pthread_mutex_unlock(&w->mu);
    if (pid == 0)
        return 0;
    return said != 0 && said <= berth_process_resident(pid) ? said : berth_process_share(pid);
}
