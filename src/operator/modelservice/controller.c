#include "operator/modelservice/controller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "operator/modelservice/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "recon/reconciler.h"
#include "wire/json.h"

static const uint64_t ask_again_ns = 60 * BERTH_S, config_maps_bytes_max = 64u << 20;
/* A rollout tells of itself many times; one look sees all of it. */
static const uint64_t gather_ns = 200 * BERTH_MS;

static bool
is_stopping(void *arg)
{
    return atomic_load(&((struct berth_msvc_controller *)arg)->stopping);
}

struct berth_kube_until
msvc_until(struct berth_msvc_controller *c)
{
    return (struct berth_kube_until){.cancelled = is_stopping, .arg = c};
}

static void
look_at(struct berth_msvc_controller *c, struct berth_slice space, struct berth_slice name,
        uint64_t after_ns)
{
    char key[BERTH_WORKQ_KEY_MAX + 1];
    const int n =
        snprintf(key, sizeof key, "%.*s/%.*s", (int)space.len, space.at, (int)name.len, name.at);

    if (n > 0 && (size_t)n < sizeof key && name.len > 0 && c->work != NULL)
        (void)(after_ns > 0 ? berth_reconciler_add_after(c->work, key, after_ns)
                            : berth_reconciler_add(c->work, key));
}

/* ---- what happened, to whom ---- */

/* Look at every service that fits the object. */
static void
look_at_those(struct berth_msvc_controller *c, const struct berth_json *object,
              bool (*fits)(const struct berth_json *service, const struct berth_json *object))
{
    enum { SERVICES_MAX = 10000 };
    struct berth_kube_informer *services = atomic_load(&c->services);
    const struct berth_json **all;
    struct berth_arena a;
    struct berth_err e;
    size_t count = 0;

    berth_arena_init(&a, 256u << 20);
    all = berth_arena_alloc_n(&a, SERVICES_MAX, sizeof *all);
    if (all != NULL && services != NULL)
        (void)berth_kube_informer_find(services, &a, NULL, all, SERVICES_MAX, &count, &e);
    for (size_t i = 0; i < count; i++) {
        if (fits(all[i], object))
            look_at(c, berth_kube_text(all[i], "metadata.namespace"),
                    berth_kube_text(all[i], "metadata.name"), 0);
    }
    berth_arena_fini(&a);
}

static bool
has_same(const struct berth_json *x, const struct berth_json *y, const char *path)
{
    return strcmp(berth_kube_text(x, path).at, berth_kube_text(y, path).at) == 0;
}

/* One that waited for the name of a model is the next to have it. */
static bool
wants_its_model(const struct berth_json *service, const struct berth_json *gone)
{
    return has_same(service, gone, "spec.routing.modelName") &&
           has_same(service, gone, "metadata.namespace");
}

static void
service_changed(void *arg, const struct berth_json *object, bool gone)
{
    struct berth_msvc_controller *c = arg;

    look_at(c, berth_kube_text(object, "metadata.namespace"),
            berth_kube_text(object, "metadata.name"), 0);
    if (!gone)
        return;
    msvc_forget(c, berth_kube_text(object, "metadata.uid").at, NULL, NULL);
    look_at_those(c, object, wants_its_model);
}

/* Its owner, as our reference in it says. */
static void
child_changed(void *arg, const struct berth_json *object, bool gone)
{
    const struct berth_json *owners = berth_kube_at(object, "metadata.ownerReferences");
    const struct msvc_watch *w = arg;

    if (gone) /* to be made anew, however short ago it was applied */
        msvc_forget(w->c, berth_kube_label(object, BERTH_MSVC_UID_LABEL).at, w->kind,
                    berth_kube_text(object, "metadata.name").at);
    for (struct berth_json_iter it = berth_json_iter(owners); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "kind", ""), "ModelService") == 0 &&
            strcmp(berth_json_member_text(it.value, "apiVersion", ""),
                   berth_msvc_services.group_version) == 0)
            look_at(w->c, berth_kube_text(object, "metadata.namespace"),
                    berth_slice_of(berth_json_member_text(it.value, "name", "")), gather_ns);
    }
}

static bool
refers_to(const struct berth_json *service, const struct berth_json *map)
{
    const struct berth_slice in = berth_kube_text(service, "spec.baseConfigMapRef.namespace");

    return strcmp(berth_kube_text(service, "spec.baseConfigMapRef.name").at,
                  berth_kube_text(map, "metadata.name").at) == 0 &&
           (in.len > 0 ? berth_slice_is(in, berth_kube_text(map, "metadata.namespace").at)
                       : has_same(service, map, "metadata.namespace"));
}

/* It may be somebody's base configuration, or made from one. */
static void
config_map_changed(void *arg, const struct berth_json *object, bool gone)
{
    child_changed(arg, object, gone);
    look_at_those(((const struct msvc_watch *)arg)->c, object, refers_to);
}

/* One line when it begins and one when it ends, whatever becomes of it in between. */
static void
troubled(void *arg, int r, const char *why)
{
    struct berth_msvc_controller *c = arg;

    if (r == 0)
        berth_info("operator: the API server answers again");
    else if (!c->troubled)
        berth_warn("operator: %s", why);
    c->troubled = r < 0;
}

/* ---- watches ---- */

static int
start_watch(struct berth_msvc_controller *c, struct msvc_watch *w, struct berth_err *e)
{
    const bool config_maps = w->kind == &berth_kube_config_maps;
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = w->kind,
                      .space = c->conf.space,
                      /* A base configuration has no label of ours. */
                      .labels = config_maps ? NULL : BERTH_MSVC_UID_LABEL},
        .index_label = BERTH_MSVC_UID_LABEL,
        .bytes_max = config_maps ? config_maps_bytes_max : 0,
        .changed = config_maps ? config_map_changed : child_changed,
        .arg = w};
    struct berth_kube_informer *i = NULL;
    const int r = berth_kube_informer_start(c->conf.kube, &conf, &i, e);

    if (r == 0)
        atomic_store(&w->informer, i);
    return r;
}

static struct msvc_watch *
watch_of(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    for (size_t i = 0; i < c->watch_count; i++) {
        if (c->watches[i].kind == kind)
            return &c->watches[i];
    }
    return NULL;
}

struct berth_kube_informer *
msvc_informer(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    struct msvc_watch *w = watch_of(c, kind);
    const struct berth_kube_until until = msvc_until(c);
    struct berth_kube_informer *i = atomic_load(&w->informer);
    struct berth_err e = {""};
    bool serves = false;

    if (i != NULL)
        return i;
    (void)pthread_mutex_lock(&c->mu);
    const uint64_t now = berth_now_ns(), asked = atomic_load(&w->asked_ns);
    if ((i = atomic_load(&w->informer)) == NULL && (asked == 0 || now - asked > ask_again_ns)) {
        atomic_store(&w->asked_ns, now);
        if (berth_kube_serves(c->conf.kube, &until, kind, &serves, &e) < 0)
            berth_warn("operator: %s", e.msg);
        else if (serves && start_watch(c, w, &e) < 0)
            berth_warn("operator: %s", e.msg);
        i = atomic_load(&w->informer);
    }
    (void)pthread_mutex_unlock(&c->mu);
    if (i != NULL)
        (void)berth_kube_informer_wait(i, &until, &e);
    return i;
}

bool
msvc_is_synced(struct berth_msvc_controller *c)
{
    struct berth_kube_informer *at = atomic_load(&c->services);
    struct berth_kube_informer_state state = {.synced = false};

    if (at != NULL)
        berth_kube_informer_state(at, &state);
    for (size_t i = 0; i < c->watch_count && state.synced; i++) {
        at = atomic_load(&c->watches[i].informer);
        if (at != NULL)
            berth_kube_informer_state(at, &state);
    }
    return state.synced;
}

static void
list_watches(struct berth_msvc_controller *c)
{
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        const struct berth_kube_kind *kind = berth_msvc_kind_of(i)->kube;
        if (watch_of(c, kind) == NULL)
            c->watches[c->watch_count++] = (struct msvc_watch){.c = c, .kind = kind};
    }
}

/* Kinds that every cluster has. */
static bool
is_everywhere(const struct berth_kube_kind *kind)
{
    return strstr(kind->group_version, "networking") == NULL;
}

static int
start(struct berth_msvc_controller *c, struct berth_err *e)
{
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &berth_msvc_services, .space = c->conf.space},
        .changed = service_changed,
        .troubled = troubled, /* one says it for all */
        .arg = c};
    const struct berth_reconciler_conf work = {.name = "modelservice",
                                               .thread_count =
                                                   c->conf.workers > 0 ? c->conf.workers : 2,
                                               .reconcile = msvc_reconcile,
                                               .arg = c};
    struct berth_kube_informer *services = NULL;
    int r = berth_reconciler_new(&work, &c->work, e);

    list_watches(c);
    for (size_t i = 0; r == 0 && i < c->watch_count; i++) {
        if (is_everywhere(c->watches[i].kind))
            r = start_watch(c, &c->watches[i], e);
    }
    if (r == 0 && (r = berth_kube_informer_start(c->conf.kube, &conf, &services, e)) == 0)
        atomic_store(&c->services, services);
    return r;
}

int
berth_msvc_controller_start(const struct berth_msvc_controller_conf *conf,
                            struct berth_msvc_controller **ret, struct berth_err *e)
{
    struct berth_msvc_controller *c = calloc(1, sizeof *c);

    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    c->conf = *conf;
    c->conf.build.managed = true;
    (void)pthread_mutex_init(&c->mu, NULL);
    const int r = start(c, e);
    if (r < 0)
        berth_msvc_controller_stop(c);
    else
        *ret = c;
    return r;
}

void
berth_msvc_controller_stop(struct berth_msvc_controller *c)
{
    if (c == NULL)
        return;
    atomic_store(&c->stopping, true);
    if (c->work != NULL)
        (void)berth_reconciler_stop(c->work, 5 * BERTH_S);
    berth_kube_informer_stop(atomic_load(&c->services));
    for (size_t i = 0; i < c->watch_count; i++)
        berth_kube_informer_stop(atomic_load(&c->watches[i].informer));
    berth_reconciler_free(c->work);
    msvc_forget(c, NULL, NULL, NULL);
    (void)pthread_mutex_destroy(&c->mu);
    free(c);
}

void
berth_msvc_controller_stats(struct berth_msvc_controller *c,
                            struct berth_msvc_controller_stats *ret)
{
    struct berth_reconciler_stats work;

    berth_reconciler_stats(c->work, &work);
    *ret = (struct berth_msvc_controller_stats){.reconciles = atomic_load(&c->reconciles),
                                                .failed = atomic_load(&c->failed),
                                                .applies = atomic_load(&c->applies),
                                                .deletes = atomic_load(&c->deletes),
                                                .status_writes = atomic_load(&c->status_writes),
                                                .waiting = work.queue.waiting,
                                                .synced = msvc_is_synced(c)};
}
