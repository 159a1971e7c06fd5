#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/*
 * Which generation of pools a cluster has, and which kinds it lacks.  It is asked; and while it
 * lacks one that a service needs or would go over to, a watch of that one definition tells when it
 * comes, so that nobody asks again and again.
 */

static const struct berth_kube_kind definitions = {
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", true};
/* A server says that a definition holds a little before it serves what it defines. */
static const uint64_t served_ns = 2 * BERTH_S, served_ns_max = 30 * BERTH_S,
                      unseen_ns = 5 * BERTH_S;

/* Is the version that is made use of one of those that are served? */
static bool
has_version(const struct berth_json *definition, const struct berth_kube_kind *kind)
{
    const char *version = strchr(kind->group_version, '/') + 1;

    return berth_kube_flag(berth_kube_named(berth_kube_at(definition, "spec.versions"), version),
                           "served");
}

static bool
is_established(const struct berth_json *definition)
{
    const struct berth_json *all = berth_kube_at(definition, "status.conditions");

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "type", ""), "Established") == 0)
            return strcmp(berth_json_member_text(it.value, "status", ""), "True") == 0;
    }
    return false;
}

static void
definition_changed(void *arg, const struct berth_json *object, bool gone)
{
    struct msvc_definition *d = arg;
    const bool is = !gone && has_version(object, d->kind) && is_established(object);

    if (is && atomic_load(&d->since_ns) == 0) {
        berth_info("operator: the cluster has a definition of %s of %s now", d->kind->plural,
                   d->kind->group_version);
        atomic_store(&d->since_ns, berth_now_ns());
        msvc_look_at_all(d->c, served_ns);
    }
    if (!is)
        atomic_store(&d->since_ns, 0);
}

static struct msvc_definition *
definition_of(struct berth_msvc_controller *c, const struct berth_kube_kind *kind)
{
    struct msvc_definition *ret = NULL;

    (void)pthread_mutex_lock(&c->mu);
    for (size_t i = 0; ret == NULL && i < MSVC_DEFINITIONS_MAX; i++) {
        struct msvc_definition *d = &c->definitions[i];
        if (d->kind == NULL) {
            d->c = c;
            d->kind = kind;
        }
        ret = d->kind == kind ? d : NULL;
    }
    (void)pthread_mutex_unlock(&c->mu);
    berth_assert(ret != NULL); /* there are fewer kinds that a cluster may lack */
    return ret;
}

/* Was it defined just now, and may come to be served at any moment?  One that is not by and by has
 * other versions than ours. */
static bool
is_coming(const struct msvc_definition *d)
{
    const uint64_t since_ns = atomic_load(&d->since_ns);

    return since_ns > 0 && berth_now_ns() - since_ns < served_ns_max;
}

static void
watch(struct msvc_look *x, struct msvc_definition *d)
{
    struct berth_msvc_controller *c = d->c;
    const struct berth_kube_kind *kind = d->kind;
    const struct berth_kube_until until = msvc_until(c);
    struct berth_err e = {""};
    struct berth_arena a;
    char name[128], fields[160];

    (void)snprintf(name, sizeof name, "%s.%.*s", kind->plural,
                   (int)strcspn(kind->group_version, "/"), kind->group_version);
    (void)snprintf(fields, sizeof fields, "metadata.name=%s", name);
    const struct berth_kube_ref ref = {.kind = &definitions, .name = name};
    const struct berth_kube_informer_conf conf = {
        .selection = {.kind = &definitions, .fields = fields},
        .names_only = true, /* one may have a MiB */
        .changed = definition_changed,
        .arg = d};
    berth_arena_init(&a, 16u << 20);
    int r = berth_kube_get(c->conf.kube, &until, &a, &ref, NULL, &e);
    berth_arena_fini(&a);
    if ((r == 0 || r == -BERTH_ENOENT) &&
        (r = berth_kube_informer_start(c->conf.kube, &conf, &d->informer, &e)) == 0)
        return;
    if (r != -BERTH_EPERM && r != -BERTH_EAUTH) {
        atomic_store(&d->wanted, false);
        msvc_again(x, unseen_ns);
        return;
    }
    /* Without the right to see it, it is found out at a later change of a service. */
    berth_info("operator: that %s of %s are defined will not be seen at once: %s", kind->plural,
               kind->group_version, e.msg);
}

/* Is the kind served?  As msvc_choose_generation() asks. */
static int
find_out(void *arg, enum berth_msvc_child child, struct berth_err *e)
{
    struct msvc_look *x = arg;
    struct berth_msvc_controller *c = x->c;
    const struct berth_kube_kind *kind = berth_msvc_kind_of(child)->kube;
    /* The older one is not waited for. */
    struct msvc_definition *d = child != BERTH_MSVC_POOL ? definition_of(c, kind) : NULL;

    if (d != NULL && is_coming(d))
        msvc_ask_again(c, kind);
    if (msvc_informer(c, kind) != NULL)
        return 0;
    if (!msvc_is_unserved(c, kind))
        return berth_err_set(e, BERTH_ENOTREADY, "the cluster has not said whether it serves %s",
                             kind->group_version);
    if (d == NULL)
        return 1;
    if (!msvc_was_served(c, kind) && !atomic_exchange(&d->wanted, true))
        watch(x, d);
    x->going_on = x->going_on || is_coming(d);
    return 1;
}

struct berth_kube_informer *
msvc_informer_awaited(struct msvc_look *x, const struct berth_kube_kind *kind)
{
    struct berth_msvc_controller *c = x->c;
    struct berth_kube_informer *i = msvc_informer(c, kind);

    if (i != NULL || berth_msvc_provider_of(kind) == NULL)
        return i;
    struct msvc_definition *d = definition_of(c, kind);
    if (is_coming(d)) {
        msvc_ask_again(c, kind);
        i = msvc_informer(c, kind);
        x->coming = x->coming || i == NULL;
    } else if (msvc_is_unserved(c, kind) && !msvc_was_served(c, kind) &&
               !atomic_exchange(&d->wanted, true)) {
        watch(x, d);
    }
    return i;
}

int
msvc_unserved(struct msvc_look *x, const struct berth_kube_kind *kind, struct berth_err *e)
{
    const struct berth_kube_kind *other = berth_msvc_counterpart_of(kind);
    const char *from = berth_msvc_provider_of(kind);

    if (from == NULL)
        from = "its resource definitions";
    if (other != NULL && msvc_informer_known(x->c, other) == NULL)
        return berth_err_set(e, BERTH_ENOTREADY,
                             "the cluster serves neither %s of %s nor %s of %s: install %s, of "
                             "either generation",
                             kind->plural, kind->group_version, other->plural, other->group_version,
                             from);
    if (msvc_was_served(x->c, kind))
        return berth_err_set(e, BERTH_ENOTREADY,
                             "the cluster does not serve %s of %s any more: have that version "
                             "served again (spec.versions of its definition), or install %s",
                             kind->plural, kind->group_version, from);
    return berth_err_set(e, BERTH_ENOTREADY, "the cluster does not serve %s of %s: install %s",
                         kind->plural, kind->group_version, from);
}

int
msvc_choose_generation(int (*serves)(void *arg, enum berth_msvc_child child, struct berth_err *e),
                       void *arg, bool with_models, struct berth_msvc_conf *conf,
                       struct berth_err *e)
{
    int r = serves(arg, BERTH_MSVC_POOL_V1, e);

    if (r < 0)
        return r;
    conf->inference = BERTH_MSVC_TO_V1;
    if (r == 0) {
        r = with_models ? serves(arg, BERTH_MSVC_OBJECTIVE, e) : 0;
        conf->no_objectives = r > 0;
        return r < 0 ? r : 0;
    }
    if ((r = serves(arg, BERTH_MSVC_POOL, e)) < 0)
        return r;
    /* Of neither: what is missing is the newer one. */
    if (r == 0)
        conf->inference = BERTH_MSVC_TO_V1ALPHA2;
    return 0;
}

/* A base configuration has one for pools of both generations. */
static bool
has_key(const struct berth_json *data, enum berth_msvc_child child)
{
    return berth_json_get(data, berth_msvc_kind_of(child)->key) != NULL;
}

int
msvc_choose_inference(struct msvc_look *x, const struct berth_json *data,
                      struct berth_msvc_conf *conf, struct berth_err *e)
{
    const bool models = has_key(data, BERTH_MSVC_MODEL) || has_key(data, BERTH_MSVC_OBJECTIVE);

    conf->inference = BERTH_MSVC_TO_V1;
    if (!models && !has_key(data, BERTH_MSVC_POOL))
        return 0;
    return msvc_choose_generation(find_out, x, models, conf, e);
}

void
msvc_definitions_stop(struct berth_msvc_controller *c)
{
    for (size_t i = 0; i < MSVC_DEFINITIONS_MAX; i++)
        berth_kube_informer_stop(c->definitions[i].informer);
}
