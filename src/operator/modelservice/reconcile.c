#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "merge/shape.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/controller_priv.h"
#include "recon/reconciler.h"
#include "wire/json.h"

/* One look at one ModelService: what it comes to, what there is, what to report. */

static const size_t memory_max = 64u << 20;
static const uint64_t not_yet_ns = 200 * BERTH_MS, settle_ns = 10 * BERTH_S,
                      conflict_ns = 30 * BERTH_S;

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
find_base(struct msvc_look *x, const struct berth_json **ret, struct berth_err *e)
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
    struct berth_kube_informer *maps = msvc_informer(x->c, &berth_kube_config_maps);
    int r =
        maps != NULL ? berth_kube_informer_get(maps, x->a, space, name, &map, e) : -BERTH_ENOTREADY;
    if (r == -BERTH_ELIMIT) {
        const struct berth_kube_until until = msvc_until(x->c);
        const struct berth_kube_ref at = {
            .kind = &berth_kube_config_maps, .space = space, .name = name};
        r = berth_kube_get(x->c->conf.kube, &until, x->a, &at, &map, e);
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

static bool
is_older(const struct berth_json *a, const struct berth_json *b)
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
check_unique(struct msvc_look *x, struct berth_err *e)
{
    enum { SERVICES_MAX = 10000 };
    const struct berth_json **all = berth_arena_alloc_n(x->a, SERVICES_MAX, sizeof *all);
    size_t count = 0;

    if (all == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    const int r = berth_kube_informer_find(atomic_load(&x->c->services), x->a, NULL, all,
                                           SERVICES_MAX, &count, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(berth_kube_text(all[i], "metadata.namespace").at, x->m.ns) != 0 ||
            strcmp(berth_kube_text(all[i], "metadata.uid").at, x->m.uid) == 0 ||
            strcmp(berth_kube_text(all[i], "spec.routing.modelName").at, x->m.model) != 0 ||
            !is_older(all[i], x->object))
            continue;
        berth_msvc_problem(&x->problems, false, "modelservice", "spec.routing.modelName",
                           "%s of this namespace serves %s already: their pods could not be told "
                           "apart",
                           berth_kube_text(all[i], "metadata.name").at, x->m.model);
        return 0;
    }
    return 0;
}

/* ---- the look ---- */

static int
draw_up(struct msvc_look *x, struct berth_err *e)
{
    const struct berth_json *data = NULL;
    /* The server has checked it by its definition; here it is to be as the server will print what
     * comes of it. */
    struct berth_msvc_problems unsaid = {.arena = x->a};
    struct berth_msvc_base base = {0};
    const struct berth_json *doc = berth_msvc_shaped(
        &unsaid, "modelservice", berth_shape_of("ModelService", NULL), "", x->object);
    int r = doc != NULL ? berth_msvc_read(doc, x->a, &x->problems, &x->m, e)
                        : berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may");

    if (r < 0 || (r = check_unique(x, e)) < 0 || (r = find_base(x, &data, e)) != 0)
        return r < 0 ? r : 0;
    if ((r = berth_msvc_base_read(data, &x->m, x->a, &x->problems, &base, e)) < 0)
        return r;
    return berth_msvc_build(&x->m, &base, &x->c->conf.build, x->a, &x->problems, &x->wish, e);
}

static int
look(struct msvc_look *x, struct berth_outcome *ret, struct berth_err *e)
{
    int r = draw_up(x, e);

    if (r < 0)
        return r;
    if (x->problems.errors == 0)
        msvc_sync(x);
    if ((r = msvc_report(x, e)) < 0)
        return r;
    if (x->failure != NULL)
        return berth_err_set(e, BERTH_ENETWORK, "%s", x->failure);
    /* What was applied and does not come back from the watch is looked at again. */
    *ret = (struct berth_outcome){.kind = BERTH_OUTCOME_OK,
                                  .after_ns = x->going_on           ? settle_ns
                                              : x->conflict != NULL ? conflict_ns
                                                                    : 0};
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

int
msvc_reconcile(void *arg, const char *key, struct berth_outcome *ret)
{
    struct berth_msvc_controller *c = arg;
    struct berth_arena a;
    struct msvc_look x = {.c = c, .a = &a, .problems = {.arena = &a}};
    struct berth_err e = {""};

    berth_arena_init(&a, memory_max);
    int r = find_service(c, &a, key, &x.object, &e);
    if (r == -BERTH_ENOTREADY) {
        *ret = (struct berth_outcome){.kind = BERTH_OUTCOME_AFTER, .after_ns = not_yet_ns};
        r = 0;
    } else if (r == -BERTH_ENOENT) {
        r = 0; /* its children go after it: they name it as their owner */
    } else if (r == 0 && berth_kube_text(x.object, "metadata.deletionTimestamp").len == 0) {
        atomic_fetch_add(&c->reconciles, 1);
        if ((r = look(&x, ret, &e)) < 0 && !atomic_load(&c->stopping)) {
            atomic_fetch_add(&c->failed, 1);
            berth_warn("ModelService %s: %s", key, e.msg);
        }
    }
    berth_arena_fini(&a);
    return r;
}
