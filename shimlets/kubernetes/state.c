#include "shimlets/kubernetes/state.h"

#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

/* ---- the list of what is known; the caller holds mu ---- */

static struct kubernetes_known **
place_locked(struct berth_shimlet *s, const char *name)
{
    struct kubernetes_known **at = &s->known;

    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static struct kubernetes_known *
make_locked(struct berth_shimlet *s, const char *name)
{
    struct kubernetes_known **at = place_locked(s, name);

    if (*at == NULL && strlen(name) <= KUBERNETES_NAME_MAX) {
        *at = calloc(1, sizeof **at);
        if (*at != NULL)
            memcpy((*at)->name, name, strlen(name) + 1);
    }
    return *at;
}

static void
drop_locked(struct kubernetes_known **at)
{
    struct kubernetes_known *k = *at;

    if (k == NULL)
        return;
    *at = k->next;
    free(k);
}

/* ---- from outside ---- */

struct kubernetes_known
kubernetes_known(struct berth_shimlet *s, const char *unit_name)
{
    struct kubernetes_known copy = {0};

    (void)pthread_mutex_lock(&s->mu);
    const struct kubernetes_known *k = *place_locked(s, unit_name);
    if (k != NULL)
        copy = *k;
    (void)pthread_mutex_unlock(&s->mu);
    copy.next = NULL;
    return copy;
}

int
kubernetes_keep(struct berth_shimlet *s, const struct kubernetes_known *k, struct berth_err *e)
{
    (void)pthread_mutex_lock(&s->mu);
    struct kubernetes_known *at = make_locked(s, k->name);
    if (at != NULL) {
        struct kubernetes_known *next = at->next;
        *at = *k;
        at->next = next;
    }
    (void)pthread_mutex_unlock(&s->mu);
    return at != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

void
kubernetes_forget(struct berth_shimlet *s, const char *unit_name)
{
    (void)pthread_mutex_lock(&s->mu);
    drop_locked(place_locked(s, unit_name));
    (void)pthread_mutex_unlock(&s->mu);
    (void)atomic_fetch_add(&s->changes, 1);
}

void
kubernetes_forget_all(struct berth_shimlet *s)
{
    while (s->known != NULL)
        drop_locked(&s->known);
}

void
kubernetes_saw_workload(struct berth_shimlet *s, const struct berth_json *object, bool gone)
{
    const struct berth_slice name = berth_kube_text(object, "metadata.name");
    const int64_t port = kubernetes_workload_port(object);

    (void)pthread_mutex_lock(&s->mu);
    struct kubernetes_known **at = place_locked(s, name.at);
    if (gone) {
        /* Ours to remember are those that apply() made, until remove() is through with them. */
        if (*at != NULL && (*at)->kind == NULL)
            drop_locked(at);
    } else {
        struct kubernetes_known *k = make_locked(s, name.at);
        if (k != NULL) {
            k->seen = true;
            /* Only what the server has just told has them. */
            if (berth_kube_at(object, "metadata.managedFields") != NULL)
                k->touched = kubernetes_is_touched(&s->conf, object);
            if (port > 0 && port <= UINT16_MAX)
                k->port = (uint16_t)port;
        }
    }
    (void)pthread_mutex_unlock(&s->mu);
}

void
kubernetes_tell(struct berth_shimlet *s, const struct berth_json *object)
{
    const struct berth_slice id = kubernetes_note(&s->conf, object, "service-id");

    if (id.len > 0)
        s->h->changed(s->who, id.at);
}

static bool
is_given_locked(const struct berth_shimlet *s, uint16_t port, const char *but)
{
    for (const struct kubernetes_known *k = s->known; k != NULL; k = k->next)
        if (k->port == port && strcmp(k->name, but) != 0)
            return true;
    return false;
}

int
kubernetes_port(struct berth_shimlet *s, const struct berth_unit *u, bool keep, uint16_t *ret,
                struct berth_err *e)
{
    uint16_t port = u->port;
    int r = 0;

    (void)pthread_mutex_lock(&s->mu);
    struct kubernetes_known *k = keep ? make_locked(s, u->name) : *place_locked(s, u->name);
    if (k == NULL && keep) {
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    } else if (port == 0 && k != NULL && k->port > 0) {
        port = k->port;
    } else if (port == 0) {
        const uint32_t first = kubernetes_port_first(u->name) - KUBERNETES_PORT_FIRST;
        for (uint32_t i = 0; i < KUBERNETES_PORT_COUNT && port == 0; i++) {
            const uint16_t one =
                (uint16_t)(KUBERNETES_PORT_FIRST + (first + i) % KUBERNETES_PORT_COUNT);
            port = is_given_locked(s, one, u->name) ? 0 : one;
        }
        if (port == 0)
            r = berth_err_set(e, BERTH_ELIMIT, "all %d ports are given to services; name one",
                              KUBERNETES_PORT_COUNT);
    }
    if (r == 0 && keep)
        k->port = port;
    (void)pthread_mutex_unlock(&s->mu);
    if (r == 0)
        *ret = port;
    return r;
}

const char *
kubernetes_drift(struct berth_shimlet *s, const char *unit_name, const struct berth_json *workload)
{
    const struct kubernetes_known k = kubernetes_known(s, unit_name);

    if (workload == NULL || k.removing)
        return NULL;
    if (k.kind == NULL) /* not applied yet by this process */
        return k.touched ? "somebody changed the workload while nobody watched it" : NULL;
    return berth_kube_int(workload, "metadata.generation", 0) > k.generation
               ? "somebody changed the workload"
               : NULL;
}

/* ---- what the informers have ---- */

static int
get(struct berth_kube_informer *i, struct berth_arena *a, const char *space, const char *name,
    const struct berth_json **ret, struct berth_err *e)
{
    const int r = berth_kube_informer_get(i, a, space, name, ret, e);

    if (r == -BERTH_ENOENT)
        *ret = NULL;
    return r == -BERTH_ENOENT ? 0 : r;
}

int
kubernetes_find(struct berth_shimlet *s, struct berth_arena *a, const char *unit_name,
                struct kubernetes_found *ret, struct berth_err *e)
{
    struct kubernetes_found f = {.kind = &berth_kube_deployments};
    int r = get(s->deployments, a, s->conf.space, unit_name, &f.workload, e);

    if (r == 0 && f.workload == NULL) {
        f.kind = &berth_kube_stateful_sets;
        r = get(s->stateful_sets, a, s->conf.space, unit_name, &f.workload, e);
    }
    if (r == 0)
        r = get(s->services, a, s->conf.space, unit_name, &f.service, e);
    f.pods = BERTH_NEW_N(a, const struct berth_json *, KUBERNETES_PODS_MAX);
    if (r == 0 && f.pods == NULL)
        r = berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r == 0)
        r = berth_kube_informer_find(s->pods, a, unit_name, f.pods, KUBERNETES_PODS_MAX,
                                     &f.pod_count, e);
    if (r == 0)
        *ret = f;
    return r;
}
