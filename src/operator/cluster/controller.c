#include "operator/cluster/controller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "kube/event.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "recon/reconciler.h"
#include "wire/json.h"

static const uint64_t call_ns = 30 * BERTH_S, backoff_ns_max = 60 * BERTH_S;

bool
msvc_is_stopping(void *arg)
{
    const struct berth_msvc_controller *c = arg;

    return atomic_load(&c->stopping) ||
           (c->conf.may_work != NULL && !c->conf.may_work(c->conf.arg));
}

struct berth_kube_until
msvc_until(struct berth_msvc_controller *c)
{
    return (struct berth_kube_until){
        .deadline_ns = berth_now_ns() + call_ns, .cancelled = msvc_is_stopping, .arg = c};
}

void
msvc_look_at(struct berth_msvc_controller *c, struct berth_slice space, struct berth_slice name,
             uint64_t after_ns)
{
    char key[BERTH_WORKQ_KEY_MAX + 1];
    const int n =
        snprintf(key, sizeof key, "%.*s/%.*s", (int)space.len, space.at, (int)name.len, name.at);

    if (n > 0 && (size_t)n < sizeof key && name.len > 0 && c->work != NULL)
        (void)(after_ns > 0 ? berth_reconciler_add_after(c->work, key, after_ns)
                            : berth_reconciler_add(c->work, key));
}

/* ---- by what services are found ---- */

struct berth_slice
msvc_index(char text[MSVC_INDEX_MAX], const char *what, struct berth_slice space,
           struct berth_slice name)
{
    const int n = snprintf(text, MSVC_INDEX_MAX, "%s %.*s/%.*s", what, (int)space.len, space.at,
                           (int)name.len, name.at);

    /* What is longer is in no index, and nowhere to be found by it. */
    return (struct berth_slice){text, n > 0 && n < MSVC_INDEX_MAX ? (size_t)n : 0};
}

struct berth_slice
msvc_index_model(char text[MSVC_INDEX_MAX], const struct berth_json *service)
{
    const struct berth_slice model = berth_kube_text(service, "spec.routing.modelName");
    char label[BERTH_MSVC_NAME_MAX];

    berth_msvc_model_label(model.at, model.len, label);
    return msvc_index(text, "model", berth_kube_text(service, "metadata.namespace"),
                      berth_slice_of(label));
}

/* Their model, their base configuration, what their status says they share, whether they are ready,
 * and themselves. */
static void
index_service(const struct berth_json *service, void (*put)(void *arg, struct berth_slice value),
              void *arg)
{
    const struct berth_slice space = berth_kube_text(service, "metadata.namespace");
    struct berth_slice in = berth_kube_text(service, "spec.baseConfigMapRef.namespace");
    const struct berth_json *maps = berth_kube_at(service, "status.configMapNames");
    const struct berth_slice none = {"", 0};
    char text[MSVC_INDEX_MAX];

    const struct berth_json *ready = msvc_condition_of(berth_json_get(service, "status"), "Ready");

    if (strspn(in.at, " ") == in.len)
        in = space;
    put(arg, msvc_index(text, "ready", none,
                        berth_slice_of(berth_json_member_text(ready, "status", ""))));
    put(arg, msvc_index(text, "uid", none, berth_kube_text(service, "metadata.uid")));
    put(arg, msvc_index_model(text, service));
    put(arg, msvc_index(text, "map", in, berth_kube_text(service, "spec.baseConfigMapRef.name")));
    for (struct berth_json_iter it = berth_json_iter(maps); berth_json_next(&it);) {
        struct berth_slice name;
        if (berth_json_string(it.value, &name))
            put(arg, msvc_index(text, "map", space, name));
    }
}

/* ---- what happened, to whom ---- */

static void
look_at_found(struct berth_msvc_controller *c, struct berth_kube_informer *services,
              const char *index, uint64_t after_ns)
{
    const struct berth_kube_place *all = NULL;
    struct berth_err e = {""};
    struct berth_arena a;
    size_t count = 0;

    berth_arena_init(&a, 256u << 20);
    const int r = berth_kube_informer_names(services, &a, index, &all, &count, &e);
    if (r < 0 && r != -BERTH_ENOTREADY) /* the first list tells of each */
        berth_warn("operator: a change is not followed: %s", e.msg);
    for (size_t i = 0; i < count; i++)
        msvc_look_at(c, berth_slice_of(all[i].space), berth_slice_of(all[i].name), after_ns);
    berth_arena_fini(&a);
}

void
msvc_look_at_all(struct berth_msvc_controller *c, uint64_t after_ns)
{
    struct berth_kube_informer *services = atomic_load(&c->services);

    if (services != NULL)
        look_at_found(c, services, NULL, after_ns);
}

void
msvc_look_at_those(struct berth_msvc_controller *c, struct berth_slice index, uint64_t after_ns)
{
    struct berth_kube_informer *services = atomic_load(&c->services);

    if (services != NULL && index.len > 0)
        look_at_found(c, services, index.at, after_ns);
}

static void
forget(struct berth_msvc_controller *c, const char *uid)
{
    msvc_forget(c, uid, NULL, NULL);
    msvc_forget_shorts(c, uid);
}

static void
service_changed(void *arg, const struct berth_json *object, bool gone)
{
    const struct berth_slice space = berth_kube_text(object, "metadata.namespace");
    struct berth_msvc_controller *c = arg;
    char text[MSVC_INDEX_MAX];

    msvc_look_at(c, space, berth_kube_text(object, "metadata.name"), 0);
    if (gone)
        forget(c, berth_kube_text(object, "metadata.uid").at);
    /* One may be the next to have the name of its model, or may not have it any more. */
    msvc_look_at_those(c, msvc_index_model(text, object), MSVC_GATHER_NS);
}

/* One line when it begins and one when it ends, whatever becomes of it in between. */
static void
troubled(void *arg, int r, const char *why)
{
    struct berth_msvc_controller *c = arg;

    if (r == 0)
        berth_info("operator: %s",
                   c->undefined ? "ModelServices are defined now" : "the API server answers again");
    else if (r == -BERTH_ENOENT)
        berth_warn("operator: " BERTH_MSVC_UNDEFINED " (%s)", why);
    else if (!c->troubled)
        berth_warn("operator: %s", why);
    c->troubled = r < 0;
    c->undefined = r == -BERTH_ENOENT || (r < 0 && c->undefined);
}

bool
msvc_is_synced(struct berth_msvc_controller *c)
{
    return msvc_has_lists(c) && atomic_load(&c->role_known);
}

static int
start(struct berth_msvc_controller *c, struct berth_err *e)
{
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &berth_msvc_services, .space = c->conf.space},
        .index = index_service,
        .changed = service_changed,
        .troubled = troubled, /* one says it for all */
        .arg = c};
    const struct berth_reconciler_conf work = {.name = "modelservice",
                                               .thread_count =
                                                   c->conf.workers > 0 ? c->conf.workers : 4,
                                               .queue = {.backoff_max_ns = backoff_ns_max},
                                               .reconcile = msvc_reconcile,
                                               .arg = c};
    struct berth_kube_informer *services = NULL;
    int r = msvc_watches_list(c, e);

    if (r == 0)
        r = msvc_tell_start(c, e);
    if (r == 0)
        r = berth_reconciler_new(&work, &c->work, e);
    if (r == 0)
        r = msvc_watches_start(c, e);
    if (r == 0 && (r = berth_kube_informer_start(c->conf.kube, &conf, &services, e)) == 0)
        atomic_store(&c->services, services);
    if (r == 0)
        msvc_look_for_needs(c);
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
    (void)pthread_mutex_init(&c->drawing, NULL);
    (void)pthread_mutex_init(&c->mu, NULL);
    (void)pthread_cond_init(&c->asked, NULL);
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
        while (berth_reconciler_stop(c->work, 5 * BERTH_S) < 0)
            berth_warn("operator: a look at a ModelService is not over yet");
    msvc_watches_stop(c);
    msvc_definitions_stop(c);
    berth_kube_informer_stop(c->role);
    /* The last of them: what the others see is looked up in it. */
    berth_kube_informer_stop(atomic_load(&c->services));
    berth_reconciler_free(c->work);
    berth_kube_events_free(c->events);
    forget(c, NULL);
    (void)pthread_cond_destroy(&c->asked);
    (void)pthread_mutex_destroy(&c->mu);
    (void)pthread_mutex_destroy(&c->drawing);
    free(c);
}
