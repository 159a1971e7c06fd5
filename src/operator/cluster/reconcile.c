#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "merge/shape.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/base.h"
#include "os/memory.h"
#include "recon/reconciler.h"
#include "wire/json.h"

/* One look at one ModelService: what it comes to, what there is, what to report. */

static const size_t drawing_memory_max = 64u << 20, memory_max = 32u << 20; /* of one look */
static const struct berth_outcome not_yet = {.kind = BERTH_OUTCOME_AFTER,
                                             .after_ns = 200 * BERTH_MS};
static const uint64_t settle_ns = 10 * BERTH_S, unknown_ns = BERTH_S, conflict_ns = 30 * BERTH_S,
                      unread_ns = 5 * BERTH_S, refused_ns = BERTH_S, told_ns = 600 * BERTH_S;

/* ---- its base configuration ---- */

static bool
may_read_from(const struct berth_msvc_controller *c, const char *own, const char *space)
{
    if (strcmp(own, space) == 0)
        return true;
    for (size_t i = 0; i < c->conf.base_space_count; i++) {
        if (strcmp(c->conf.base_spaces[i], "*") == 0 || strcmp(c->conf.base_spaces[i], space) == 0)
            return true;
    }
    return false;
}

/* The ConfigMap's data; NULL with 0 when none is referred to.  1: it is told what is wrong. */
static int
find_base(struct msvc_look *x, struct berth_arena *a, const struct berth_json **ret,
          struct berth_err *e)
{
    const struct berth_json *ref = berth_kube_at(x->object, "spec.baseConfigMapRef"), *map = NULL;
    const char *name = berth_json_member_text(ref, "name", "");
    const char *space = berth_json_member_text(ref, "namespace", "");
    static const char path[] = "spec.baseConfigMapRef";

    *ret = NULL;
    if (name[0] == '\0')
        return 0;
    if (space[strspn(space, " ")] == '\0')
        space = x->m.ns;
    if (!may_read_from(x->c, x->m.ns, space)) {
        berth_msvc_problem(&x->problems, false, "modelservice", path,
                           "namespace %s is not open to base configurations of others: copy the "
                           "ConfigMap, or have the operator started with --base-namespaces %s",
                           space, space);
        return 1;
    }
    struct berth_kube_informer *maps = msvc_maps_of(x->c, space);
    struct berth_kube_informer_state state = {.trouble = ""};
    int r =
        maps != NULL ? berth_kube_informer_get(maps, a, space, name, &map, e) : -BERTH_ENOTREADY;
    if (maps != NULL && r == -BERTH_ENOTREADY)
        berth_kube_informer_state(maps, &state);
    if (state.trouble[0] != '\0') {
        berth_msvc_problem(&x->problems, false, "modelservice", path,
                           "ConfigMaps of namespace %s cannot be read: %s", space, state.trouble);
        msvc_again(x, unread_ns);
        return 1;
    }
    if (r == -BERTH_ELIMIT) {
        const struct berth_kube_until until = msvc_until(x->c);
        const struct berth_kube_ref at = {
            .kind = &berth_kube_config_maps, .space = space, .name = name};
        r = berth_kube_get(x->c->conf.kube, &until, a, &at, &map, e);
    }
    if (r == -BERTH_ENOENT) {
        berth_msvc_problem(&x->problems, false, "modelservice", path,
                           "there is no ConfigMap %s in namespace %s", name, space);
        return 1;
    }
    if (r == 0)
        *ret = berth_json_get(map, "data");
    return r;
}

/* ---- one model, one service ---- */

bool
msvc_is_older(const struct berth_json *a, const struct berth_json *b)
{
    const struct berth_slice x = berth_kube_text(a, "metadata.creationTimestamp"),
                             y = berth_kube_text(b, "metadata.creationTimestamp");
    const int r = strcmp(x.at, y.at);

    return r != 0 ? r < 0
                  : strcmp(berth_kube_text(a, "metadata.name").at,
                           berth_kube_text(b, "metadata.name").at) < 0;
}

/* Pods of two services with one model's name would be taken for each other's. */
static int
check_unique(struct msvc_look *x, struct berth_arena *a, struct berth_err *e)
{
    enum { FEW = 16 };
    const struct berth_json **all = NULL;
    char model[MSVC_INDEX_MAX];
    size_t count = 0;
    int r = -BERTH_ELIMIT;

    if (msvc_index_model(model, x->object).len == 0)
        return 0;
    for (size_t cap = FEW; r == -BERTH_ELIMIT && cap <= MSVC_SERVICES_MAX;
         cap = cap == FEW ? MSVC_SERVICES_MAX : SIZE_MAX) {
        if ((all = berth_arena_alloc_n(a, cap, sizeof(void *))) == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "out of memory");
        r = berth_kube_informer_find(atomic_load(&x->c->services), a, model, all, cap, &count, e);
    }
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(berth_kube_text(all[i], "metadata.uid").at, x->m.uid) == 0 ||
            !msvc_is_older(all[i], x->object))
            continue;
        berth_msvc_problem(&x->problems, false, "modelservice", "spec.routing.modelName",
                           "ModelService %s of this namespace has modelName %s already: pods of "
                           "both would bear the label llm-d.ai/model=%s; give this one another",
                           berth_kube_text(all[i], "metadata.name").at,
                           berth_kube_text(all[i], "spec.routing.modelName").at, x->m.names.model);
        return 0;
    }
    return 0;
}

/* ---- the look ---- */

/* Reads the service, and finds its base configuration: *ret_data NULL, there is none. */
static int
read_up(struct msvc_look *x, struct berth_arena *a, const struct berth_json **ret_data,
        struct berth_err *e)
{
    /* The server has checked it by its definition; here it is to be as the server will print what
     * comes of it. */
    struct berth_msvc_problems unsaid = {.arena = x->a};
    const struct berth_json *doc = berth_msvc_shaped(
        &unsaid, "modelservice", berth_shape_of("ModelService", NULL), "", x->object);
    int r = doc != NULL ? berth_msvc_read(doc, x->a, &x->problems, &x->m, e)
                        : berth_msvc_no_memory(x->a, "the ModelService", e);

    if (r < 0 || (r = check_unique(x, a, e)) < 0)
        return r;
    return find_base(x, a, ret_data, e);
}

static bool
has_pool(const struct berth_msvc_base *base)
{
    return base->of[BERTH_MSVC_POOL] != NULL || base->of[BERTH_MSVC_POOL_V1] != NULL ||
           base->of[BERTH_MSVC_MODEL] != NULL || base->of[BERTH_MSVC_OBJECTIVE] != NULL;
}

static int
draw_up_in(struct msvc_look *x, struct berth_arena *a, const struct berth_json *data,
           struct berth_msvc_conf *how, struct berth_err *e)
{
    struct berth_msvc_base base = {0};
    int r = berth_msvc_base_read(data, &x->m, a, &x->problems, &base, e);

    if (r < 0)
        return r;
    if (!has_pool(&base)) /* its template has come to nothing */
        how->inference = BERTH_MSVC_TO_V1;
    r = berth_msvc_build(&x->m, &base, how, a, &x->problems, &x->wish, e);
    berth_msvc_locate(&x->problems);
    return r;
}

/* What came of it, from the arena in which it was drawn up to the look's. */
static bool
keep_drawn(struct msvc_look *x)
{
    struct berth_msvc_problems *p = &x->problems;
    bool kept = true;

    p->arena = x->a;
    p->text_count = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct berth_msvc_problem *at = &p->at[i];
        at->path = berth_arena_strdup(x->a, at->path);
        at->text = berth_arena_strdup(x->a, at->text);
        kept = kept && at->path != NULL && at->text != NULL;
    }
    for (size_t i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        struct berth_buf text;
        if (x->wish.of[i] == NULL)
            continue;
        berth_buf_init(&text, NULL);
        berth_json_put(&text, x->wish.of[i]);
        kept = kept && !text.failed &&
               berth_json_parse(x->a, text.at, text.len, NULL, &x->wish.of[i], NULL) == 0;
        berth_buf_fini(&text);
    }
    return kept;
}

/* Most of what this takes is for what comes before the objects: it is given back before the calls,
 * which last. */
static int
draw_up(struct msvc_look *x, struct berth_err *e)
{
    struct berth_msvc_conf how = x->c->conf.build;
    const struct berth_json *data = NULL;
    struct berth_arena a;

    berth_arena_init(&a, drawing_memory_max);
    x->problems.arena = &a;
    int r = read_up(x, &a, &data, e);
    if (r == 0)
        r = msvc_choose_inference(x, data, &how, e);
    (void)pthread_mutex_lock(&x->c->drawing);
    if (r == 0)
        r = draw_up_in(x, &a, data, &how, e);
    else if (r > 0)
        r = 0; /* what is wrong has been told */
    if (!keep_drawn(x) && r == 0)
        r = berth_msvc_no_memory(x->a, "the ModelService's objects", e);
    berth_arena_fini(&a);
    (void)pthread_mutex_unlock(&x->c->drawing);
    if (r != -BERTH_ENOMEM)
        return r;
    /* Most likely it is the service's own doing, which is to be told of; else it passes. */
    x->wish = (struct berth_msvc_set){.of = {NULL}};
    (void)berth_msvc_problem(&x->problems, false, BERTH_MSVC_IN_SERVICE, "", "%s", e->msg);
    msvc_again(x, conflict_ns);
    return 0;
}

static int
look(struct msvc_look *x, struct berth_outcome *ret, struct berth_err *e)
{
    int r = draw_up(x, e);

    if (r < 0)
        return r;
    if (atomic_load(&x->c->stopping))
        return berth_err_set(e, BERTH_ECANCELED, "it is to end"); /* half of it may be missing */
    msvc_check_needs(x);
    if (x->problems.errors == 0)
        msvc_sync(x);
    if ((r = msvc_report(x, e)) < 0)
        return r;
    if (x->failure != NULL)
        return berth_err_set(e, BERTH_ENETWORK, "%s", x->failure);
    /* What was applied and does not come back from the watch is looked at again; so is what no
     * watch of ours sees. */
    if (x->going_on)
        msvc_again(x, settle_ns);
    if (x->conflict != NULL)
        msvc_again(x, conflict_ns);
    *ret = (struct berth_outcome){.kind = BERTH_OUTCOME_OK, .after_ns = x->again_ns};
    return 0;
}

static int
find_service(struct berth_msvc_controller *c, struct berth_arena *a, const char *key,
             const struct berth_json **ret, struct berth_err *e)
{
    struct berth_kube_informer *services = atomic_load(&c->services);
    const char *slash = strchr(key, '/');
    char space[256];

    if (!msvc_is_synced(c) || slash == NULL || (size_t)(slash - key) >= sizeof space)
        return berth_err_set(e, BERTH_ENOTREADY, "nothing is known yet");
    (void)snprintf(space, sizeof space, "%.*s", (int)(slash - key), key);
    return berth_kube_informer_get(services, a, space, slash + 1, ret, e);
}

/* What many looks took is not kept once nobody waits for one: a rest may be long. */
static void
give_back(struct berth_msvc_controller *c)
{
    struct berth_reconciler_stats work;

    berth_reconciler_stats(c->work, &work);
    if (work.queue.waiting == 0)
        berth_memory_trim();
}

/* Told when it is another than the last time, or that was long ago.  Two services that have one
 * place among failures are told of more often.  why NULL: it failed no more. */
static void
tell_failure(struct berth_msvc_controller *c, const char *key, const char *why)
{
    char place[BERTH_DIGEST_HEX], text[BERTH_DIGEST_HEX] = "";
    const uint64_t now = berth_now_ns();

    berth_digest_of(key, strlen(key), place);
    if (why != NULL)
        berth_digest_of(why, strlen(why), text);
    struct msvc_failure *last = &c->failures[strtoul((char[]){place[0], place[1], 0}, NULL, 16)];
    (void)pthread_mutex_lock(&c->mu);
    const bool same = strcmp(last->key, place) == 0;
    const bool tell =
        why != NULL && (!same || strcmp(last->text, text) != 0 || now - last->at_ns >= told_ns);
    if (tell || (why == NULL && same)) {
        memcpy(last->key, place, sizeof place);
        memcpy(last->text, text, sizeof text);
        last->at_ns = now;
    }
    (void)pthread_mutex_unlock(&c->mu);
    if (tell)
        berth_warn("ModelService %s: %s", key, why);
}

static bool
is_stopping(void *arg)
{
    const struct berth_msvc_controller *c = arg;

    return atomic_load(&c->stopping);
}

int
msvc_reconcile(void *arg, const char *key, struct berth_outcome *ret)
{
    struct berth_msvc_controller *c = arg;
    struct berth_arena a;
    struct msvc_look x = {
        .c = c, .a = &a, .problems = {.arena = &a, .cancelled = is_stopping, .cancel_arg = c}};
    struct berth_err e = {""};

    if (msvc_is_need(key)) {
        *ret = msvc_find_need(c, key);
        return 0;
    }
    berth_arena_init(&a, memory_max);
    int r = find_service(c, &a, key, &x.object, &e);
    if (r == -BERTH_ENOTREADY) {
        *ret = not_yet;
        r = 0;
    } else if (r == -BERTH_ENOENT) {
        r = 0; /* its children go after it: they name it as their owner */
    } else if (r == 0 && berth_kube_text(x.object, "metadata.deletionTimestamp").len == 0) {
        r = look(&x, ret, &e);
        if (r == -BERTH_ENOTREADY) {
            *ret = (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = unknown_ns};
            r = 0;
        }
        if (r == 0) {
            atomic_fetch_add(&c->done, 1);
            if (atomic_load(&c->failed) > 0)
                tell_failure(c, key, NULL);
        } else if (!atomic_load(&c->stopping)) {
            atomic_fetch_add(&c->failed, 1);
            tell_failure(c, key, x.failure != NULL ? x.failure : e.msg);
        }
        if (r < 0 && x.failure != NULL && !x.may_pass) {
            *ret = x.coming ? (struct berth_outcome){BERTH_OUTCOME_AFTER, unknown_ns}
                            : (struct berth_outcome){BERTH_OUTCOME_FAILED, refused_ns};
            r = 0;
        }
    }
    berth_arena_fini(&a);
    give_back(c);
    return r;
}
