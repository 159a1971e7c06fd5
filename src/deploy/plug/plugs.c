#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"

/* A list of plugins of one kind, counted by their users: shimlets, and pipelines. */

static bool
is_named(const struct plug *p, const char *name)
{
    if (strcmp(p->name, name) == 0)
        return true;
    for (const char *const *alias = p->aliases; alias != NULL && *alias != NULL; alias++) {
        if (strcmp(*alias, name) == 0)
            return true;
    }
    return false;
}

static struct plug **
find_locked(struct plugs *all, const char *name)
{
    struct plug **at = &all->first;

    while (*at != NULL && !is_named(*at, name))
        at = &(*at)->next;
    return at;
}

static void
plug_free(struct plug *p)
{
    char *file = p->file;

    p->free_it(p);
    free(file);
}

struct plug *
berth_plug_get(struct berth_deploy *d, struct plugs *all, const char *name)
{
    (void)pthread_mutex_lock(&d->mu);
    struct plug *p = *find_locked(all, name);
    if (p != NULL)
        p->refs++;
    (void)pthread_mutex_unlock(&d->mu);
    return p;
}

void
berth_plug_put(struct berth_deploy *d, struct plug *p)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_lock(&d->mu);
    const bool last = --p->refs == 0;
    (void)pthread_cond_broadcast(&d->released);
    (void)pthread_mutex_unlock(&d->mu);
    if (last)
        plug_free(p);
}

void
berth_plugs_free(struct plugs *all)
{
    for (struct plug *p = all->first, *next; p != NULL; p = next) {
        next = p->next;
        plug_free(p);
    }
    all->first = NULL;
}

/* ---- coming ---- */

/* Services that stood still for want of it go on. */
static void
came(struct berth_deploy *d, const char *type, const char *name)
{
    struct service **all;
    size_t n;

    berth_kept_found(d, type, name);
    if (!atomic_load(&d->started) || berth_deploy_all(d, &all, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        (void)pthread_mutex_lock(&all[i]->mu);
        const bool waits = atomic_load(&all[i]->unplugged);
        all[i]->retry = all[i]->retry || (waits && all[i]->phase == BERTH_PHASE_FAILED);
        (void)pthread_mutex_unlock(&all[i]->mu);
        if (waits)
            berth_deploy_poke(d, all[i]->id, 0);
        berth_service_unref(d, all[i]);
    }
    free(all);
}

static bool
is_same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

/* Put it into the list, in place of *ret_old. */
static int
insert_locked(struct plugs *all, struct plug *p, bool replace, struct plug **ret_old,
              struct berth_err *e)
{
    struct plug **at = find_locked(all, p->name), *old = *at;

    if (old != NULL && !replace)
        return berth_err_set(e, BERTH_EEXIST,
                             "there is a %s %s already; say replace to have this one take over",
                             all->type, p->name);
    if (old != NULL && strcmp(old->name, p->name) != 0)
        return berth_err_set(e, BERTH_EEXIST,
                             "%s %s has the other name %s; one of yours needs a name of its own, "
                             "or %s, to take over all of it",
                             all->type, old->name, p->name, old->name);
    p->next = old != NULL ? old->next : NULL;
    *at = p;
    *ret_old = old;
    return 0;
}

int
berth_plug_add(struct berth_deploy *d, struct plugs *all, struct plug *p, const char *file,
               bool replace, struct berth_err *e)
{
    struct plug *old = NULL;
    int r = 0;

    p->refs = 1;
    p->loaded_wall_ns = berth_deploy_wall(d);
    p->file = file != NULL ? strdup(file) : NULL;
    if (file != NULL && p->file == NULL) {
        r = berth_err_set(e, BERTH_ENOMEM, "%s %s: out of memory", all->type, p->name);
    } else {
        (void)pthread_mutex_lock(&d->mu);
        r = insert_locked(all, p, replace, &old, e);
        if (old != NULL && !is_same_text(old->version, p->version))
            berth_deploy_count_plug_gone_locked(d, all, old);
        (void)pthread_mutex_unlock(&d->mu);
    }
    if (r < 0) {
        plug_free(p);
        return r;
    }
    came(d, all->type, p->name);
    berth_plug_put(d, old);
    return 0;
}

/* ---- going ---- */

static bool
uses(struct berth_deploy *d, const struct plugs *all, const struct plug *p, struct service *s)
{
    bool is = false;

    (void)pthread_mutex_lock(&s->mu);
    if (all == &d->environs)
        is = is_named(p, s->shimlet);
    for (size_t i = 0; all != &d->environs && i < TRACK_COUNT; i++) {
        const struct revision *wish =
            s->tracks[i].wish; /* a canary may have a pipeline of its own */
        is = is || (wish != NULL && is_named(p, wish->spec.pipeline));
    }
    is = is && s->phase != BERTH_PHASE_TERMINATED;
    (void)pthread_mutex_unlock(&s->mu);
    return is;
}

/* Services that are not gone and use the plugin, as "a, b and 3 more"; how many. */
static size_t
users(struct berth_deploy *d, const struct plugs *all, const struct plug *p, char *ret, size_t cap)
{
    struct service **services;
    size_t n, used = 0, at = 0;

    ret[0] = '\0';
    if (berth_deploy_all(d, &services, &n) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (uses(d, all, p, services[i]) && ++used <= 5 && at < cap) {
            const int len =
                snprintf(ret + at, cap - at, "%s%s", used > 1 ? ", " : "", services[i]->id);
            at += len > 0 ? (size_t)len : 0;
        }
        berth_service_unref(d, services[i]);
    }
    free(services);
    if (used > 5 && at < cap)
        (void)snprintf(ret + at, cap - at, " and %zu more", used - 5);
    return used;
}

/* Wait until *refs is `least`; under d->mu. */
static bool
await_release_locked(struct berth_deploy *d, const uint32_t *refs, uint32_t least,
                     uint64_t limit_ns)
{
    const uint64_t until = berth_now_ns() + limit_ns;
    const struct timespec at = {.tv_sec = (time_t)(until / BERTH_S),
                                .tv_nsec = (long)(until % BERTH_S)};

    while (*refs > least) {
        if (pthread_cond_timedwait(&d->released, &d->mu, &at) != 0 && *refs > least)
            return false;
    }
    return true;
}

int
berth_plug_retire(struct berth_deploy *d, struct plugs *all, const char *name, uint64_t limit_ns,
                  struct berth_err *e)
{
    char list[300];
    struct plug *p = berth_plug_get(d, all, name);
    int r = 0;

    if (p == NULL)
        return berth_plug_unknown(d, all, name, e);
    const size_t used = users(d, all, p, list, sizeof list);
    if (used > 0) {
        berth_plug_put(d, p);
        return berth_err_set(e, BERTH_EPERM,
                             "%s %s: %zu services use it (%s); delete them first, or load another "
                             "one with replace",
                             all->type, name, used, list);
    }
    (void)pthread_mutex_lock(&d->mu);
    struct plug **at = &all->first;
    while (*at != NULL && *at != p)
        at = &(*at)->next;
    if (*at == p) { /* nobody was faster */
        *at = p->next;
        p->refs--; /* the list's own */
        berth_deploy_count_plug_gone_locked(d, all, p);
    }
    if (!await_release_locked(d, &p->refs, 1, limit_ns))
        r = berth_err_set(
            e, BERTH_EDEADLINE,
            "%s %s: something is still under way with it; it goes when that has ended", all->type,
            name);
    (void)pthread_mutex_unlock(&d->mu);
    berth_plug_put(d, p); /* the last one frees it */
    return r;
}

/* ---- not being there ---- */

int
berth_plug_unknown(struct berth_deploy *d, struct plugs *all, const char *name, struct berth_err *e)
{
    char list[300] = "";
    size_t at = 0;

    if (berth_kept_why(d, all->type, name, list, sizeof list))
        return berth_err_set(e, BERTH_ENOENT, "%s %s is not loaded: %.180s; load it again",
                             all->type, name, list);
    (void)pthread_mutex_lock(&d->mu);
    for (const struct plug *p = all->first; p != NULL && at < sizeof list; p = p->next)
        at +=
            (size_t)snprintf(list + at, sizeof list - at, "%s%s", at > 0 ? ", " : "are ", p->name);
    (void)pthread_mutex_unlock(&d->mu);
    return berth_err_set(e, BERTH_ENOENT, "%s %s is not known; there %s", all->type, name,
                         list[0] != '\0' ? list : "is none");
}

bool
berth_plug_is(struct berth_deploy *d, struct plugs *all, const char *name)
{
    (void)pthread_mutex_lock(&d->mu);
    const bool is = *find_locked(all, name) != NULL;
    (void)pthread_mutex_unlock(&d->mu);
    return is;
}
