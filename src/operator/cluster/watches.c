#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "kube/informer.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/* What is watched besides the services: their children and base configurations.  A kind that not
 * every cluster serves is watched from when a look needs it and the cluster says that it does. */

static const uint64_t call_ns = 30 * BERTH_S, ask_again_ns = 15 * BERTH_S,
                      ask_soon_ns = 5 * BERTH_S, answer_ns = 2 * BERTH_S,
                      config_maps_bytes_max = 64u << 20;
/* One may have a MiB. */
static const unsigned config_maps_page = 20;

/* ---- what happened, to whom ---- */

/* Its owner, as our reference in it says, and our label where somebody took that away. */
static void
child_changed(void *arg, const struct berth_json *object, bool gone)
{
    const struct berth_json *owners = berth_kube_at(object, "metadata.ownerReferences");
    const struct berth_slice uid = berth_kube_label(object, BERTH_MSVC_UID_LABEL),
                             space = berth_kube_text(object, "metadata.namespace");
    const char *name = berth_kube_text(object, "metadata.name").at;
    const struct msvc_watch *w = arg;
    char text[MSVC_INDEX_MAX];
    bool found = false;

    for (struct berth_json_iter it = berth_json_iter(owners); berth_json_next(&it);) {
        const char *owner = berth_json_member_text(it.value, "uid", "");
        if (!msvc_is_service(it.value))
            continue;
        if (gone) /* to be made anew, however short ago it was applied */
            msvc_forget(w->c, owner, w->kind, name);
        msvc_look_at(w->c, space, berth_slice_of(berth_json_member_text(it.value, "name", "")),
                     MSVC_GATHER_NS);
        found = found || berth_slice_is(uid, owner);
    }
    if (uid.len == 0 || found)
        return;
    if (gone)
        msvc_forget(w->c, uid.at, w->kind, name);
    msvc_look_at_those(w->c, msvc_index(text, "uid", berth_slice_of(""), uid), MSVC_GATHER_NS);
}

/* It may be somebody's base configuration, or made from one, or be shared. */
static void
config_map_changed(void *arg, const struct berth_json *object, bool gone)
{
    char text[MSVC_INDEX_MAX];

    child_changed(arg, object, gone);
    msvc_look_at_those(((const struct msvc_watch *)arg)->c,
                       msvc_index(text, "map", berth_kube_text(object, "metadata.namespace"),
                                  berth_kube_text(object, "metadata.name")),
                       MSVC_GATHER_NS);
}

/* In a namespace of base configurations alone. */
static void
base_changed(void *arg, const struct berth_json *object, bool gone)
{
    char text[MSVC_INDEX_MAX];

    (void)gone;
    msvc_look_at_those(((const struct msvc_watch *)arg)->c,
                       msvc_index(text, "map", berth_kube_text(object, "metadata.namespace"),
                                  berth_kube_text(object, "metadata.name")),
                       MSVC_GATHER_NS);
}

/* Children by those that own them: a ConfigMap may be several services'. */
static void
index_child(const struct berth_json *object, void (*put)(void *arg, struct berth_slice value),
            void *arg)
{
    const struct berth_json *owners = berth_kube_at(object, "metadata.ownerReferences");

    for (struct berth_json_iter it = berth_json_iter(owners); berth_json_next(&it);) {
        if (msvc_is_service(it.value))
            put(arg, berth_slice_of(berth_json_member_text(it.value, "uid", "")));
    }
}

/* What is not the server's being away: a right that is missing, say. */
static void
watch_troubled(void *arg, int r, const char *why)
{
    struct msvc_watch *w = arg;
    const bool was_gone = w->gone;

    if (w->space != NULL && w->space != w->c->conf.space)
        return; /* those who need it are told in their status */
    if (r == -BERTH_EPERM || r == -BERTH_EAUTH || r == -BERTH_ENOENT)
        berth_warn("operator: %ss are not seen, and %s until they are: %s", w->kind->kind,
                   w->is_everywhere ? "nothing is looked after" : "those that need one wait", why);
    /* A kind that is not served any more, or again, changes how all that need one stand. */
    w->gone = r == -BERTH_ENOENT;
    if (w->gone != was_gone)
        msvc_look_at_all(w->c, MSVC_GATHER_NS);
}

/* ---- watches ---- */

static int
start_watch(struct berth_msvc_controller *c, struct msvc_watch *w, struct berth_err *e)
{
    const bool config_maps = w->kind == &berth_kube_config_maps;
    const bool base = config_maps && w->space != NULL && w->space != c->conf.space;
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = w->kind,
                      .space = w->space,
                      /* A base configuration has no label of ours. */
                      .labels = config_maps ? NULL : BERTH_MSVC_UID_LABEL,
                      .page = config_maps ? config_maps_page : 0},
        .index_label = BERTH_MSVC_UID_LABEL,
        .index = index_child,
        .bytes_max = config_maps ? config_maps_bytes_max : 0,
        .changed = base          ? base_changed
                   : config_maps ? config_map_changed
                                 : child_changed,
        .troubled = watch_troubled,
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

/* One at a time asks, and no lock is held meanwhile.  The others wait for the answer as long as one
 * takes that comes at all: theirs are the threads that services without that kind need, too. */
static bool
may_ask(struct berth_msvc_controller *c, struct msvc_watch *w)
{
    const uint64_t end_ns = berth_now_ns() + answer_ns;
    const struct timespec end = {.tv_sec = (time_t)(end_ns / BERTH_S),
                                 .tv_nsec = (long)(end_ns % BERTH_S)};
    bool ret = false;

    (void)pthread_mutex_lock(&c->mu);
    while (w->asking &&
           pthread_cond_clockwait(&c->asked, &c->mu, CLOCK_MONOTONIC, &end) != ETIMEDOUT)
        ;
    if (!w->asking) {
        const uint64_t now_ns = berth_now_ns();
        ret = w->asking = atomic_load(&w->informer) == NULL &&
                          (w->asked_ns == 0 || now_ns - w->asked_ns > ask_again_ns);
    }
    (void)pthread_mutex_unlock(&c->mu);
    return ret;
}

static void
ask(struct berth_msvc_controller *c, struct msvc_watch *w)
{
    const struct berth_kube_until until = msvc_until(c);
    struct berth_err e = {""};
    bool serves = false;

    const int r = berth_kube_serves(c->conf.kube, &until, w->kind, &serves, &e);
    if (r == 0)
        atomic_store(&w->unserved, !serves);
    if (r < 0 || (serves && atomic_load(&w->informer) == NULL && start_watch(c, w, &e) < 0))
        berth_warn("operator: %s", e.msg);
    (void)pthread_mutex_lock(&c->mu);
    w->asking = false;
    /* No answer is asked for again soon. */
    w->asked_ns = berth_now_ns() - (r < 0 ? ask_again_ns - ask_soon_ns : 0);
    (void)pthread_cond_broadcast(&c->asked);
    (void)pthread_mutex_unlock(&c->mu);
}

/* Was it served, and is not any more?  When it is again, its watch tells, and this is false. */
static bool
is_gone(struct berth_kube_informer *i)
{
    struct berth_kube_informer_state state = {.failure = 0};

    if (i != NULL)
        berth_kube_informer_state(i, &state);
    return state.failure == -BERTH_ENOENT;
}

struct waiter {
    struct berth_msvc_controller *c;
    struct berth_kube_informer *i;
};

/* Nobody waits for what cannot be listed: others may need that thread. */
static bool
is_in_vain(void *arg)
{
    struct berth_kube_informer_state state;
    const struct waiter *w = arg;

    berth_kube_informer_state(w->i, &state);
    return state.failure != 0 || msvc_is_stopping(w->c);
}

struct berth_kube_informer *
msvc_informer(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    struct msvc_watch *w = watch_of(c, kind);
    struct berth_kube_informer *i = atomic_load(&w->informer);
    struct berth_err e = {""};

    if (i == NULL && may_ask(c, w))
        ask(c, w);
    i = atomic_load(&w->informer);
    if (i != NULL) { /* also one that another look has just begun */
        struct waiter waiter = {c, i};
        const struct berth_kube_until until = {
            .deadline_ns = berth_now_ns() + call_ns, .cancelled = is_in_vain, .arg = &waiter};
        (void)berth_kube_informer_wait(i, &until, &e);
    }
    return is_gone(i) ? NULL : i;
}

struct berth_kube_informer *
msvc_informer_known(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    struct msvc_watch *w = watch_of(c, kind);

    (void)pthread_mutex_lock(&c->mu);
    const bool never_asked = w->asked_ns == 0;
    (void)pthread_mutex_unlock(&c->mu);
    struct berth_kube_informer *i =
        never_asked ? msvc_informer(c, kind) : atomic_load(&w->informer);
    return is_gone(i) ? NULL : i;
}

struct berth_kube_informer *
msvc_maps_of(struct berth_msvc_controller *c, const char *space)
{
    const char *own = watch_of(c, &berth_kube_config_maps)->space;

    if (own == NULL || strcmp(own, space) == 0)
        return msvc_informer(c, &berth_kube_config_maps);
    for (size_t i = 0; i < c->base_count; i++) {
        if (strcmp(c->bases[i].space, space) == 0)
            return atomic_load(&c->bases[i].informer);
    }
    return NULL;
}

bool
msvc_is_unserved(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    struct msvc_watch *w = watch_of(c, kind);

    return atomic_load(&w->unserved) || is_gone(atomic_load(&w->informer));
}

bool
msvc_was_served(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    return atomic_load(&watch_of(c, kind)->informer) != NULL;
}

void
msvc_ask_again(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    struct msvc_watch *w = watch_of(c, kind);

    (void)pthread_mutex_lock(&c->mu);
    if (berth_now_ns() - w->asked_ns > BERTH_S)
        w->asked_ns = 0;
    (void)pthread_mutex_unlock(&c->mu);
}

bool
msvc_has_lists(struct berth_msvc_controller *c)
{
    struct berth_kube_informer *at = atomic_load(&c->services);
    struct berth_kube_informer_state state = {.synced = false};

    if (at != NULL)
        berth_kube_informer_state(at, &state);
    /* Of the other kinds each look finds out what it needs. */
    for (size_t i = 0; i < c->watch_count && state.synced; i++) {
        at = atomic_load(&c->watches[i].informer);
        if (at != NULL && c->watches[i].is_everywhere)
            berth_kube_informer_state(at, &state);
    }
    return state.synced;
}

/* ---- from the start to the end ---- */

static void
list_watches(struct berth_msvc_controller *c)
{
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        const struct berth_msvc_kind *kind = berth_msvc_kind_of(i);
        const bool all = kind->kube == &berth_kube_config_maps && c->sees_all_maps;
        if (watch_of(c, kind->kube) != NULL)
            continue;
        berth_assert(c->watch_count < MSVC_WATCHES_MAX);
        c->watches[c->watch_count++] = (struct msvc_watch){.c = c,
                                                           .kind = kind->kube,
                                                           .space = all ? NULL : c->conf.space,
                                                           .is_everywhere = kind->is_everywhere};
    }
}

/* Namespaces of base configurations besides the one that is looked after. */
static int
list_bases(struct berth_msvc_controller *c, struct berth_err *e)
{
    for (size_t i = 0; c->conf.space != NULL && i < c->conf.base_space_count; i++) {
        const char *space = c->conf.base_spaces[i];
        bool known = strcmp(space, c->conf.space) == 0;
        c->sees_all_maps = c->sees_all_maps || strcmp(space, "*") == 0;
        for (size_t j = 0; j < c->base_count; j++)
            known = known || strcmp(c->bases[j].space, space) == 0;
        if (known)
            continue;
        if (c->base_count == MSVC_BASES_MAX)
            return berth_err_set(e, BERTH_ELIMIT,
                                 "--base-namespaces: more than %d with --namespace: say * to see "
                                 "the ConfigMaps of all",
                                 MSVC_BASES_MAX);
        c->bases[c->base_count++] =
            (struct msvc_watch){.c = c, .kind = &berth_kube_config_maps, .space = space};
    }
    if (c->sees_all_maps)
        c->base_count = 0;
    return 0;
}

int
msvc_watches_list(struct berth_msvc_controller *c, struct berth_err *e)
{
    const int r = list_bases(c, e);

    list_watches(c);
    return r;
}

int
msvc_watches_start(struct berth_msvc_controller *c, struct berth_err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->watch_count; i++) {
        if (c->watches[i].is_everywhere)
            r = start_watch(c, &c->watches[i], e);
    }
    for (size_t i = 0; r == 0 && i < c->base_count; i++)
        r = start_watch(c, &c->bases[i], e);
    return r;
}

void
msvc_watches_stop(struct berth_msvc_controller *c)
{
    for (size_t i = 0; i < c->watch_count; i++)
        berth_kube_informer_stop(atomic_load(&c->watches[i].informer));
    for (size_t i = 0; i < c->base_count; i++)
        berth_kube_informer_stop(atomic_load(&c->bases[i].informer));
}
