#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "operator/cluster/controller_priv.h"
#include "wire/json.h"

/*
 * Why a workload has fewer replicas than it is to have.  Pods are not watched: where there are some
 * they are asked for once a workload has stayed short for half a minute, and then ever more seldom
 * while it does.
 */

static const uint64_t stays_ns = 30 * BERTH_S, seldom_ns = 600 * BERTH_S, ask_ns = 5 * BERTH_S;
enum { PODS_MAX = 5000, PODS_PAGE = 100 /* with a MiB of text: a pod has some KiB */ };
/* Those that do not run yet are few: they come first. */
static const char *const phases[] = {"status.phase=Pending", "status.phase=Running"};

/* A workload that is short of replicas; under the controller's mu. */
struct msvc_short {
    uint64_t since_ns, due_ns; /* when it had another number of them; when its pods are asked for */
    int64_t available;
    char *why; /* as its pods said last; NULL: nothing */
    UT_hash_handle hh;
    char key[]; /* "UID NAME" */
};

/* ---- what a pod says ---- */

/* Not one of those that pass by themselves. */
static bool
is_hindered(struct berth_slice reason)
{
    return reason.len > 0 && !berth_slice_is(reason, "ContainerCreating") &&
           !berth_slice_is(reason, "PodInitializing");
}

/* What keeps a container from being ready, if it says so: what it waits for, and how it ended. */
static const char *
container_hindrance(struct berth_arena *a, const struct berth_json *container)
{
    const struct berth_slice reason = berth_kube_text(container, "state.waiting.reason");
    char message[304];

    if (berth_kube_flag(container, "ready"))
        return NULL;
    const char *ended = berth_kube_how_ended(a, berth_kube_at(container, "state.terminated")),
               *before = berth_kube_how_ended(a, berth_kube_at(container, "lastState.terminated"));
    if (snprintf(message, sizeof message, "%s",
                 berth_kube_text(container, "state.waiting.message").at) >= (int)sizeof message)
        berth_utf8_mark_cut(message, sizeof message);
    if (is_hindered(reason))
        return berth_arena_printf(a, "%s%s%s%s%s", reason.at, message[0] != '\0' ? ": " : "",
                                  message, before[0] != '\0' ? "; it ended with " : "", before);
    if (ended[0] != '\0')
        return berth_arena_printf(a, "it ended with %s", ended);
    return before[0] != '\0' ? berth_arena_printf(a, "started again; it ended with %s", before)
                             : NULL;
}

/* Of the first that says so. */
static const char *
containers_hindrance(struct berth_arena *a, const struct berth_json *pod)
{
    static const char *const lists[] = {"status.initContainerStatuses", "status.containerStatuses"};

    for (size_t i = 0; i < BERTH_COUNT(lists); i++) {
        for (struct berth_json_iter it = berth_json_iter(berth_kube_at(pod, lists[i]));
             berth_json_next(&it);) {
            const char *why = container_hindrance(a, it.value);
            if (why != NULL)
                return berth_arena_printf(a, ", container %s: %s",
                                          berth_json_member_text(it.value, "name", ""), why);
        }
    }
    return NULL;
}

const char *
msvc_pod_hindrance(struct berth_arena *a, const struct berth_json *pod)
{
    const struct berth_json *placed =
        msvc_condition_of(berth_json_get(pod, "status"), "PodScheduled");
    const char *why = NULL;
    char text[600];

    if (berth_kube_text(pod, "metadata.deletionTimestamp").len > 0)
        return NULL;
    if (strcmp(berth_json_member_text(placed, "status", ""), "False") == 0)
        why = berth_arena_printf(a, ": %s: %s",
                                 berth_json_member_text(placed, "reason", "it is not placed"),
                                 berth_json_member_text(placed, "message", ""));
    else
        why = containers_hindrance(a, pod);
    if (why == NULL)
        return NULL;
    if (snprintf(text, sizeof text, "pod %s%s", berth_kube_text(pod, "metadata.name").at, why) >=
        (int)sizeof text)
        berth_utf8_mark_cut(text, sizeof text);
    return berth_arena_strdup(a, text);
}

/* ---- asking for them ---- */

struct search {
    struct berth_arena *a;
    const char *why;
    unsigned seen;
};

static bool
see_pod(void *arg, const struct berth_json *pod)
{
    struct search *s = arg;

    s->why = msvc_pod_hindrance(s->a, pod);
    return s->why == NULL && ++s->seen < PODS_MAX;
}

/* By what its pods are found. */
static const char *
labels_of(struct msvc_look *x, const struct berth_json *live)
{
    const struct berth_json *all = berth_kube_at(live, "spec.selector.matchLabels");
    struct berth_buf b;

    berth_buf_init(&b, x->a);
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        struct berth_slice value;
        if (berth_json_string(it.value, &value))
            berth_buf_printf(&b, "%s%.*s=%.*s", b.len > 0 ? "," : "", (int)it.key.len, it.key.at,
                             (int)value.len, value.at);
    }
    if (all == NULL) /* a LeaderWorkerSet */
        berth_buf_printf(&b, "leaderworkerset.sigs.k8s.io/name=%s",
                         berth_kube_text(live, "metadata.name").at);
    return b.len > 0 ? berth_buf_text(&b) : NULL;
}

/* False: they could not be seen. */
static bool
ask_pods(struct msvc_look *x, const struct berth_json *live, const char **ret_why)
{
    struct berth_kube_until until = msvc_until(x->c);
    struct berth_kube_selection those = {.kind = &berth_kube_pods,
                                         .space = x->m.ns,
                                         .labels = labels_of(x, live),
                                         .page = PODS_PAGE};
    struct search s = {.a = x->a};
    struct berth_err e;
    int r = 0;

    *ret_why = NULL;
    if (those.labels == NULL)
        return false;
    until.deadline_ns = berth_now_ns() + ask_ns;
    for (size_t i = 0; r == 0 && i < BERTH_COUNT(phases); i++) {
        those.fields = phases[i];
        r = berth_kube_list(x->c->conf.kube, &until, &those, see_pod, &s, NULL, &e);
    }
    if (r == -BERTH_EPERM)
        s.why = berth_arena_printf(x->a, "why cannot be seen: %s", e.msg);
    *ret_why = s.why;
    return r == 0 || s.why != NULL || s.seen >= PODS_MAX;
}

/* ---- when ---- */

static void
put_key(char ret[MSVC_KEY_MAX], const struct msvc_look *x, const char *name)
{
    (void)snprintf(ret, MSVC_KEY_MAX, "%s %s", x->m.uid, name);
}

/* NULL: out of memory. */
static struct msvc_short *
find_or_add_locked(struct berth_msvc_controller *c, const char *key, int64_t available,
                   const char *told, uint64_t now_ns)
{
    struct msvc_short *at = NULL;

    HASH_FIND_STR(c->shorts, key, at);
    if (at != NULL && at->available == available)
        return at;
    if (at == NULL) {
        if ((at = calloc(1, sizeof *at + strlen(key) + 1)) == NULL)
            return NULL;
        memcpy(at->key, key, strlen(key) + 1);
        HASH_ADD_KEYPTR(hh, c->shorts, at->key, strlen(at->key), at);
        if (at->hh.tbl == NULL) {
            free(at);
            return NULL;
        }
        at->why = told != NULL ? strdup(told) : NULL;
    } else {
        free(BERTH_TAKE(at->why)); /* it went on */
    }
    at->available = available;
    at->since_ns = now_ns;
    at->due_ns = now_ns + stays_ns;
    return at;
}

static void
drop_locked(struct berth_msvc_controller *c, struct msvc_short *at)
{
    HASH_DEL(c->shorts, at);
    free(at->why);
    free(at);
}

void
msvc_not_short(struct msvc_look *x, const char *name)
{
    struct msvc_short *at = NULL;
    char key[MSVC_KEY_MAX];

    put_key(key, x, name);
    (void)pthread_mutex_lock(&x->c->mu);
    HASH_FIND_STR(x->c->shorts, key, at);
    if (at != NULL)
        drop_locked(x->c, at);
    (void)pthread_mutex_unlock(&x->c->mu);
}

void
msvc_forget_shorts(struct berth_msvc_controller *c, const char *uid)
{
    const size_t n = uid != NULL ? strlen(uid) : 0;
    struct msvc_short *at, *next;

    (void)pthread_mutex_lock(&c->mu);
    HASH_ITER(hh, c->shorts, at, next)
    {
        if (uid == NULL || (strncmp(at->key, uid, n) == 0 && at->key[n] == ' '))
            drop_locked(c, at);
    }
    (void)pthread_mutex_unlock(&c->mu);
}

static void
keep_why(struct berth_msvc_controller *c, const char *key, const char *why)
{
    struct msvc_short *at = NULL;

    (void)pthread_mutex_lock(&c->mu);
    HASH_FIND_STR(c->shorts, key, at);
    if (at != NULL) {
        free(at->why);
        at->why = why != NULL ? strdup(why) : NULL;
    }
    (void)pthread_mutex_unlock(&c->mu);
}

const char *
msvc_why_short(struct msvc_look *x, const struct berth_json *live, int64_t available,
               const char *told)
{
    const uint64_t now_ns = berth_now_ns();
    const char *why = NULL, *found = NULL;
    char key[MSVC_KEY_MAX];

    if (berth_kube_int(live, "status.replicas", 0) == 0)
        return NULL; /* its controller has made no pods: there is nobody to ask */
    put_key(key, x, berth_kube_text(live, "metadata.name").at);
    (void)pthread_mutex_lock(&x->c->mu);
    struct msvc_short *at = find_or_add_locked(x->c, key, available, told, now_ns);
    /* One of the workers asks at a time: others are not to wait for what is slow. */
    const bool due = at != NULL && now_ns >= at->due_ns;
    const bool asks = due && !x->c->pods_asked;
    if (asks) {
        const uint64_t lasts_ns = now_ns - at->since_ns;
        at->due_ns = now_ns + (lasts_ns < seldom_ns ? lasts_ns : seldom_ns);
        x->c->pods_asked = true;
    }
    if (at != NULL && at->why != NULL)
        why = berth_arena_strdup(x->a, at->why);
    if (at != NULL)
        msvc_again(x, at->due_ns > now_ns ? at->due_ns - now_ns : BERTH_S);
    (void)pthread_mutex_unlock(&x->c->mu);
    if (!asks)
        return why;
    const bool seen = ask_pods(x, live, &found);
    if (seen)
        keep_why(x->c, key, found);
    (void)pthread_mutex_lock(&x->c->mu);
    x->c->pods_asked = false;
    (void)pthread_mutex_unlock(&x->c->mu);
    return seen ? found : why;
}
