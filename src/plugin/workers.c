#include "plugin/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "plugin/workers_priv.h"

void
berth_workers_wake(struct berth_workers *all)
{
    (void)eventfd_write(all->wake_fd, 1);
}

bool
berth_workers_own(struct berth_workers *all, const char *socket_name)
{
    bool own = false;

    (void)pthread_mutex_lock(&all->mu);
    for (struct berth_worker *w = all->first; w != NULL && !own; w = w->next)
        own = strcmp(w->socket_name, socket_name) == 0;
    (void)pthread_mutex_unlock(&all->mu);
    return own;
}

static int
open_dirs(struct berth_workers *all, const char *state_dir, struct berth_err *e)
{
    char path[4096];
    struct stat st;

    if ((size_t)snprintf(path, sizeof path, "%s/workers", state_dir) >= sizeof path)
        return berth_err_set(e, BERTH_EINVAL, "state_dir: the path is too long");
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return berth_err_set(e, BERTH_EIO, "cannot make %s: %m", path);
    all->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (all->dir_fd < 0 || fstat(all->dir_fd, &st) < 0)
        return berth_err_set(e, BERTH_EIO, "cannot open %s: %m", path);
    /* Whoever may write there could pose as a worker. */
    if (st.st_uid != geteuid() || ((st.st_mode & 077) != 0 && fchmod(all->dir_fd, 0700) < 0))
        return berth_err_set(e, BERTH_EIO, "%s must belong to this user alone", path);
    if (asprintf(&all->core_dir, "%s/cores", path) < 0) {
        all->core_dir = NULL;
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    }
    return 0;
}

int
berth_workers_new(const struct berth_workers_conf *conf, struct berth_workers **ret,
                  struct berth_err *e)
{
    struct berth_workers *all = calloc(1, sizeof *all);
    int r = 0;

    if (all == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "workers: out of memory");
    all->conf = *conf;
    all->dir_fd = -1;
    (void)pthread_mutex_init(&all->mu, NULL);
    all->program = strdup(conf->program != NULL ? conf->program : "/proc/self/exe");
    all->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (all->program == NULL || all->wake_fd < 0)
        r = berth_err_set(e, BERTH_ENOMEM, "workers: %m");
    if (r == 0 && conf->state_dir != NULL)
        r = open_dirs(all, conf->state_dir, e);
    if (r == 0 && all->dir_fd >= 0)
        berth_workers_sweep(all->dir_fd);
    if (r == 0 && pthread_create(&all->warden, NULL, berth_warden_main, all) != 0)
        r = berth_err_set(e, BERTH_ELIMIT, "workers: cannot start their thread");
    if (r == 0) {
        *ret = all;
        return 0;
    }
    all->stop = true;
    berth_workers_free(all);
    return r;
}

void
berth_workers_free(struct berth_workers *all)
{
    if (all == NULL)
        return;
    berth_assert(all->first == NULL);
    if (!atomic_exchange(&all->stop, true)) {
        berth_workers_wake(all);
        (void)pthread_join(all->warden, NULL);
    }
    for (struct isolated_ops *o = all->ops, *next; o != NULL; o = next) {
        next = o->next;
        free(o);
    }
    berth_closep(&all->dir_fd);
    berth_closep(&all->wake_fd);
    (void)pthread_mutex_destroy(&all->mu);
    free(all->program);
    free(all->core_dir);
    free(all);
}

void
berth_workers_keep(struct berth_workers *all)
{
    atomic_store(&all->keep, true);
}

void
berth_workers_end_loads(struct berth_workers *all)
{
    atomic_store(&all->closing, true);
    berth_workers_wake(all);
}

void
berth_workers_end_loads_of(struct berth_workers *all, const char *model)
{
    (void)pthread_mutex_lock(&all->mu);
    for (struct berth_worker *w = all->first; w != NULL; w = w->next) {
        if (strcmp(w->name, model) == 0)
            atomic_store(&w->unwanted, true); /* without effect once it was loaded */
    }
    (void)pthread_mutex_unlock(&all->mu);
    berth_workers_wake(all);
}

const struct berth_backend_ops *
berth_workers_ops(struct berth_workers *all, const struct berth_backend_ops *real)
{
    (void)pthread_mutex_lock(&all->mu);
    struct isolated_ops *o = all->ops;
    while (o != NULL && o->real != real)
        o = o->next;
    if (o == NULL && (o = calloc(1, sizeof *o)) != NULL) {
        o->real = real;
        berth_proxy_fill(real, &o->ops);
        o->next = all->ops;
        all->ops = o;
    }
    (void)pthread_mutex_unlock(&all->mu);
    return o != NULL ? &o->ops : NULL;
}
