#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/log.h"
#include "kube/covers.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/* The status: what llm-d's controller says, and whether all is well. */

struct report {
    struct msvc_look *x;
    struct berth_jw w;
    const struct berth_json *before; /* the conditions that are there */
    char now[32];
    bool ready, knows_why;
    const char *waits_for;
};

/* ---- conditions ---- */

const struct berth_json *
msvc_condition_of(const struct berth_json *status, const char *type)
{
    const struct berth_json *all = berth_json_get(status, "conditions");

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "type", ""), type) == 0)
            return it.value;
    }
    return NULL;
}

/* Since when: a condition that says the same as before says so since then. */
static const char *
since(const struct report *r, const char *type, const char *status)
{
    for (struct berth_json_iter it = berth_json_iter(r->before); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "type", ""), type) == 0 &&
            strcmp(berth_json_member_text(it.value, "status", ""), status) == 0)
            return berth_json_member_text(it.value, "lastTransitionTime", r->now);
    }
    return r->now;
}

static void
put_condition(struct report *r, const char *type, bool status, const char *reason,
              const char *message)
{
    const char *word = status ? "True" : "False";

    berth_jw_object(&r->w);
    berth_jw_pair(&r->w, "type", type);
    berth_jw_pair(&r->w, "status", word);
    berth_jw_pair(&r->w, "reason", reason);
    berth_jw_pair(&r->w, "message", message);
    berth_jw_pair(&r->w, "lastTransitionTime", since(r, type, word));
    berth_jw_key(&r->w, "observedGeneration");
    berth_jw_int(&r->w, berth_kube_int(r->x->object, "metadata.generation", 0));
    berth_jw_object_end(&r->w);
}

/* Those of a Deployment, under its role's name. */
static void
put_conditions_of(struct report *r, const char *prefix, const struct berth_json *live)
{
    const struct berth_json *all = berth_kube_at(live, "status.conditions");
    char type[64];

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        const struct berth_json *c = it.value;
        const char *status = berth_json_member_text(c, "status", "Unknown"),
                   *reason = berth_json_member_text(c, "reason", "");
        (void)snprintf(type, sizeof type, "%s%s", prefix, berth_json_member_text(c, "type", ""));
        berth_jw_object(&r->w);
        berth_jw_pair(&r->w, "type", type);
        berth_jw_pair(&r->w, "status", status);
        berth_jw_pair(&r->w, "reason", reason[0] != '\0' ? reason : "Unknown");
        berth_jw_pair(&r->w, "message", berth_json_member_text(c, "message", ""));
        berth_jw_pair(&r->w, "lastTransitionTime",
                      berth_json_member_text(c, "lastTransitionTime", since(r, type, status)));
        berth_jw_object_end(&r->w);
    }
}

/* All problems in one text, as far as there is room. */
static const char *
problems_text(struct msvc_look *x)
{
    enum { TEXT_MAX = 1024 };
    struct berth_buf b;

    berth_buf_init(&b, x->a);
    for (size_t i = 0; i < x->problems.count && b.len < TEXT_MAX; i++) {
        const struct berth_msvc_problem *p = &x->problems.at[i];
        const bool of_service = strcmp(p->in, BERTH_MSVC_IN_SERVICE) == 0;
        char line[32] = "";
        if (p->warning && x->problems.errors > 0)
            continue;
        if (p->line > 0)
            (void)snprintf(line, sizeof line, " line %zu", p->line);
        berth_buf_printf(&b, "%s%s%s%s%s%s%s", b.len > 0 ? "; " : "", of_service ? "" : p->in,
                         of_service ? "" : line, of_service ? "" : ": ", p->path,
                         p->path[0] != '\0' ? ": " : "", p->text);
    }
    const char *text = berth_buf_text(&b);
    return text != NULL ? text : "";
}

static const char *
joined(struct berth_arena *a, const char *one, const char *more)
{
    if (one == NULL || more == NULL)
        return one != NULL ? one : more;
    return berth_arena_printf(a, "%s; %s", one, more);
}

/* Is something on its way that nobody need do anything for? */
static void
put_progressing(struct report *r)
{
    const struct msvc_look *x = r->x;

    if (x->problems.errors > 0 || x->conflict != NULL || x->held_up != NULL)
        put_condition(r, "Progressing", false, "Blocked",
                      "it waits for a change by somebody: see Ready");
    else if (x->failure != NULL || x->contested != NULL)
        put_condition(r, "Progressing", true, "Retrying", "it is tried again: see Ready");
    else if (x->going_on || !r->ready)
        put_condition(r, "Progressing", true, "RollingOut",
                      "what is wished for is on its way: see Ready");
    else
        put_condition(r, "Progressing", false, "Complete", "it is as it is wished for");
}

static void
put_own_conditions(struct report *r)
{
    struct msvc_look *x = r->x;
    const bool valid = x->problems.errors == 0;
    const char *problems = problems_text(x);

    put_progressing(r);

    put_condition(r, "ConfigValid", valid,
                  !valid                  ? "Invalid"
                  : x->problems.count > 0 ? "Warnings"
                                          : "Valid",
                  problems);
    if (!valid)
        put_condition(r, "Ready", false, "ConfigInvalid", problems);
    else if (x->conflict != NULL)
        put_condition(r, "Ready", false, "Conflict",
                      joined(x->a, x->conflict, joined(x->a, x->failure, x->held_up)));
    else if (x->failure != NULL)
        put_condition(r, "Ready", false, "ApplyFailed", joined(x->a, x->failure, x->held_up));
    else if (x->held_up != NULL)
        put_condition(r, "Ready", false, "Terminating", x->held_up);
    else if (x->contested != NULL)
        put_condition(r, "Ready", false, "Contested",
                      berth_arena_printf(x->a,
                                         "%s: another program undoes what is applied here; it is "
                                         "mended once a minute at most: end that one (kubectl get "
                                         "--show-managed-fields tells who it is)",
                                         x->contested));
    else if (x->going_on)
        put_condition(r, "Ready", false, "Progressing", "what was changed just now is on its way");
    else if (!r->ready)
        put_condition(r, "Ready", false, "Progressing", r->waits_for != NULL ? r->waits_for : "");
    else
        put_condition(r, "Ready", true, "Ready", "every replica is available");
}

/* ---- members ---- */

struct role {
    enum berth_msvc_child deployment, worker_set; /* one of them is there */
    const char *name, *prefix;                    /* "decode", "Decode" */
};
static const struct role roles[] = {
    {BERTH_MSVC_PREFILL_DEPLOYMENT, BERTH_MSVC_PREFILL_LWS, "prefill", "Prefill"},
    {BERTH_MSVC_DECODE_DEPLOYMENT, BERTH_MSVC_DECODE_LWS, "decode", "Decode"},
    {BERTH_MSVC_EPP_DEPLOYMENT, BERTH_MSVC_CHILDREN, "epp", "Epp"}};

static enum berth_msvc_child
workload_of(const struct report *r, const struct role *role)
{
    if (role->worker_set == BERTH_MSVC_CHILDREN)
        return role->deployment;
    /* Nobody knows what it is to be: it is what there is. */
    if (r->x->problems.errors > 0)
        return msvc_live(r->x, role->deployment) == NULL &&
                       msvc_live(r->x, role->worker_set) != NULL
                   ? role->worker_set
                   : role->deployment;
    return r->x->wish.of[role->worker_set] != NULL ? role->worker_set : role->deployment;
}

/* Has its controller seen what it is to be?  One of LeaderWorkerSets before 0.8 does not say; while
 * it rolls something out, it does. */
static bool
is_current(const struct berth_json *live, bool is_group)
{
    const int64_t generation = berth_kube_int(live, "metadata.generation", 1);

    /* A deletion that somebody holds up is a generation, too, of which its controller may say
     * nothing.  Sync tells of it when it lasts. */
    if (berth_kube_text(live, "metadata.deletionTimestamp").len > 0)
        return true;
    if (is_group) {
        for (struct berth_json_iter it = berth_json_iter(berth_kube_at(live, "status.conditions"));
             berth_json_next(&it);) {
            if (strcmp(berth_json_member_text(it.value, "type", ""), "UpdateInProgress") == 0 &&
                strcmp(berth_json_member_text(it.value, "status", ""), "True") == 0)
                return false;
        }
    }
    return berth_kube_int(live, "status.observedGeneration", is_group ? generation : 0) >=
           generation;
}

/* What hinders the pods of a workload, where anybody says so; of: "3 of 4 replicas …". */
static const char *
why_short(struct report *r, const struct berth_json *live, int64_t available, const char *of)
{
    const struct berth_json *failure =
        msvc_condition_of(berth_json_get(live, "status"), "ReplicaFailure");
    const char *before = berth_json_member_text(
        msvc_condition_of(berth_json_get(r->x->object, "status"), "Ready"), "message", "");
    const size_t n = strlen(of);

    if (r->x->problems.errors > 0)
        return NULL; /* it is not what is wished for */
    if (strcmp(berth_json_member_text(failure, "status", ""), "True") == 0)
        return berth_json_member_text(failure, "message", NULL);
    const bool told = strncmp(before, of, n) == 0 && strncmp(before + n, "; ", 2) == 0;
    return msvc_why_short(r->x, live, available, told ? before + n + 2 : NULL);
}

/* The first that is not as it is to be is told of, or rather the first of which it is known why. */
static void
put_unready(struct report *r, const struct berth_json *live, enum berth_msvc_child child,
            int64_t available, int64_t wanted, bool is_short)
{
    const char *of =
        berth_arena_printf(r->x->a, "%s: %" PRId64 " of %" PRId64 " replicas are available",
                           r->x->m.names.of[child], available, wanted);
    const char *why = is_short && of != NULL ? why_short(r, live, available, of) : NULL;

    if (r->ready || why != NULL)
        r->waits_for = why != NULL ? berth_arena_printf(r->x->a, "%s; %s", of, why) : of;
    r->knows_why = why != NULL;
    r->ready = false;
}

/* Replicas of a LeaderWorkerSet are groups; one is available when all of its pods are ready. */
static void
put_role(struct report *r, const struct role *role, const struct berth_json *live)
{
    const enum berth_msvc_child child = workload_of(r, role);
    const bool is_group = child == role->worker_set;
    const int64_t wanted = berth_kube_int(live, "spec.replicas", 1),
                  ready = berth_kube_int(live, "status.readyReplicas", 0),
                  available =
                      is_group ? ready : berth_kube_int(live, "status.availableReplicas", 0),
                  updated = berth_kube_int(live, "status.updatedReplicas", 0);
    const bool current = is_current(live, is_group);
    char key[40], text[48];

    (void)snprintf(key, sizeof key, "%s%sRef", role->name,
                   is_group ? "LeaderWorkerSet" : "Deployment");
    berth_jw_pair(&r->w, key, r->x->m.names.of[child]);
    (void)snprintf(key, sizeof key, "%sReady", role->name);
    (void)snprintf(text, sizeof text, "%" PRId64 "/%" PRId64, ready, wanted);
    berth_jw_pair(&r->w, key, text);
    (void)snprintf(key, sizeof key, "%sAvailable", role->name);
    berth_jw_key(&r->w, key);
    berth_jw_int(&r->w, available);
    const bool is_short = available < wanted || updated < wanted;
    if (!is_short)
        msvc_not_short(r->x, r->x->m.names.of[child]);
    if ((!current || is_short) && !r->knows_why)
        put_unready(r, live, child, available, wanted, is_short);
}

/* Those that were not taken away yet are named, too: where there are more than the cache has, they
 * are found by that alone. */
static void
put_maps(struct report *r)
{
    const struct berth_json *wished = r->x->wish.of[BERTH_MSVC_CONFIG_MAPS];

    if (wished == NULL && r->x->left_count == 0)
        return;
    berth_jw_key(&r->w, "configMapNames");
    berth_jw_array(&r->w);
    for (struct berth_json_iter it = berth_json_iter(wished); berth_json_next(&it);)
        berth_jw_string(&r->w, berth_kube_text(it.value, "metadata.name").at);
    for (size_t i = 0; i < r->x->left_count; i++)
        berth_jw_string(&r->w, r->x->left[i]);
    berth_jw_array_end(&r->w);
}

/* Names of objects, where there is one. */
static void
put_refs(struct report *r)
{
    static const struct {
        const char *key;
        enum berth_msvc_child child;
    } refs[] = {{"httpRouteRef", BERTH_MSVC_HTTP_ROUTE},
                {"inferencePoolRef", BERTH_MSVC_POOL},
                {"inferencePoolRef", BERTH_MSVC_POOL_V1},
                {"inferenceModelRef", BERTH_MSVC_MODEL},
                {"inferenceObjectiveRef", BERTH_MSVC_OBJECTIVE},
                {"eppRoleBinding", BERTH_MSVC_EPP_ROLE_BINDING}};
    const struct berth_msvc_set *wish = &r->x->wish;
    const struct berth_msvc_names *names = &r->x->m.names;

    for (size_t i = 0; i < sizeof refs / sizeof *refs; i++) {
        if (wish->of[refs[i].child] != NULL)
            berth_jw_pair(&r->w, refs[i].key, names->of[refs[i].child]);
    }
    if (wish->of[workload_of(r, &roles[0])] != NULL)
        berth_jw_pair(&r->w, "prefillServiceAccountRef", names->of[BERTH_MSVC_PD_ACCOUNT]);
    if (wish->of[workload_of(r, &roles[1])] != NULL)
        berth_jw_pair(&r->w, "decodeServiceAccountRef", names->of[BERTH_MSVC_PD_ACCOUNT]);
    put_maps(r);
}

/* What was made stays while the configuration is wrong. */
static void
put_old_refs(struct report *r)
{
    static const char *const keys[] = {"httpRouteRef",
                                       "inferencePoolRef",
                                       "inferenceModelRef",
                                       "inferenceObjectiveRef",
                                       "eppRoleBinding",
                                       "prefillServiceAccountRef",
                                       "decodeServiceAccountRef",
                                       "configMapNames"};
    const struct berth_json *old = berth_json_get(r->x->object, "status");

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct berth_json *was = berth_json_get(old, keys[i]);
        if (was == NULL)
            continue;
        berth_jw_key(&r->w, keys[i]);
        berth_jw_value(&r->w, was);
    }
}

static void
put_status(struct report *r)
{
    const struct berth_json *live[sizeof roles / sizeof *roles] = {NULL};
    struct msvc_look *x = r->x;

    r->ready = true;
    berth_jw_object(&r->w);
    berth_jw_key(&r->w, "observedGeneration");
    berth_jw_int(&r->w, berth_kube_int(x->object, "metadata.generation", 0));
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        const enum berth_msvc_child child = workload_of(r, &roles[i]);
        if (x->problems.errors == 0 && x->wish.of[child] == NULL) {
            msvc_not_short(x, x->m.names.of[child]);
            continue;
        }
        live[i] = msvc_live(x, child);
        if (live[i] != NULL)
            put_role(r, &roles[i], live[i]);
        else if (r->ready)
            r->waits_for = berth_arena_printf(x->a, "%s is being made", x->m.names.of[child]);
        r->ready = r->ready && live[i] != NULL;
    }
    if (x->problems.errors == 0)
        put_refs(r);
    else
        put_old_refs(r);
    berth_jw_key(&r->w, "conditions");
    berth_jw_array(&r->w);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        put_conditions_of(r, roles[i].prefix, live[i]);
    put_own_conditions(r);
    berth_jw_array_end(&r->w);
    berth_jw_object_end(&r->w);
}

/* The status as a whole, of that very service: it may be gone, and another have its name by now. */
static void
put_patch(const struct msvc_look *x, struct berth_buf *b, const struct berth_json *status)
{
    struct berth_jw w;

    berth_jw_init(&w, b);
    berth_jw_array(&w);
    berth_jw_object(&w);
    berth_jw_pair(&w, "op", "test");
    berth_jw_pair(&w, "path", "/metadata/uid");
    berth_jw_pair(&w, "value", x->m.uid);
    berth_jw_object_end(&w);
    berth_jw_object(&w);
    berth_jw_pair(&w, "op", "add");
    berth_jw_pair(&w, "path", "/status");
    berth_jw_key(&w, "value");
    berth_jw_value(&w, status);
    berth_jw_object_end(&w);
    berth_jw_array_end(&w);
}

/* The server has refused the patch.  Is it another one's by now? */
static bool
is_anothers(struct msvc_look *x)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_kube_ref ref = {
        .kind = &berth_msvc_services, .space = x->m.ns, .name = x->m.name};
    const struct berth_json *found = NULL;
    struct berth_err e;
    const int r = berth_kube_get(x->c->conf.kube, &until, x->a, &ref, &found, &e);

    return r == -BERTH_ENOENT ||
           (r == 0 && !berth_slice_is(berth_kube_text(found, "metadata.uid"), x->m.uid));
}

/* Not as often as somebody else may write it: five at once, then one a second, and ever more slowly
 * while another one, such as a second operator, says something else each time. */
static bool
may_write(struct msvc_look *x, const char *key, bool *ret_overwritten)
{
    struct msvc_applied known;

    *ret_overwritten = false;
    if (!msvc_recall(x->c, key, &known))
        return true;
    *ret_overwritten = msvc_is_overwritten(&known, x->object);
    const uint64_t undone_ns = *ret_overwritten ? msvc_hold_ns(&known) : 0,
                   pace_ns = msvc_pace_ns(&known);
    const uint64_t hold_ns = undone_ns > pace_ns ? undone_ns : pace_ns;
    if (hold_ns > 0)
        msvc_again(x, hold_ns);
    return hold_ns == 0;
}

static int
write_status(struct msvc_look *x, const struct berth_json *status, const char *key,
             bool overwritten, struct berth_err *e)
{
    const struct berth_json *after = NULL;
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_kube_ref ref = {
        .kind = &berth_msvc_services, .space = x->m.ns, .name = x->m.name, .sub = "status"};
    struct berth_buf patch;

    berth_buf_init(&patch, x->a);
    put_patch(x, &patch, status);
    if (patch.failed)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    const int r = berth_kube_json_patch(x->c->conf.kube, &until, x->a, &ref,
                                        (struct berth_slice){patch.at, patch.len}, &after, e);
    if (r == 0) {
        atomic_fetch_add(&x->c->status_writes, 1);
        if (msvc_note_status(x->c, key, overwritten, after) == MSVC_CONTESTED)
            berth_warn(
                "ModelService %s/%s: somebody else writes its status, too, and it is written "
                "ever more seldom: is another operator at work?  Two need --leader-elect",
                x->m.ns, x->m.name);
    }
    /* It went meanwhile. */
    return r == -BERTH_ENOENT || (r == -BERTH_EINVAL && is_anothers(x)) ? 0 : r;
}

/* The first status of a service whose children were just made would say only that they were: the
 * watch tells of them soon, and what it does not tell of for ten seconds is applied again. */
static bool
waits_for_watch(const struct msvc_look *x, const struct berth_json *old)
{
    return old == NULL && (x->applied.text != NULL || x->behind) && x->problems.errors == 0 &&
           x->conflict == NULL && x->failure == NULL && x->contested == NULL && x->held_up == NULL;
}

int
msvc_report(struct msvc_look *x, struct berth_err *e)
{
    const struct berth_json *old = berth_json_get(x->object, "status"), *new = NULL;
    struct report r = {.x = x, .before = berth_json_get(old, "conditions")};
    const time_t now = time(NULL);
    char key[MSVC_KEY_MAX];
    bool overwritten = false;
    struct berth_buf text;
    struct tm utc;

    (void)strftime(r.now, sizeof r.now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    berth_buf_init(&text, x->a);
    berth_jw_init(&r.w, &text);
    if (x->problems.errors == 0 && !msvc_left(x))
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    put_status(&r);
    if (text.failed || berth_json_parse(x->a, text.at, text.len, NULL, &new, NULL) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    const bool same = old != NULL && berth_kube_covers(old, new) && berth_kube_covers(new, old);
    (void)snprintf(key, sizeof key, "%s status", x->m.uid);
    msvc_tell_done(x);
    if (!same && !may_write(x, key, &overwritten))
        return 0; /* it is told with the report that says so */
    msvc_tell(x, old, new);
    return same || waits_for_watch(x, old) ? 0 : write_status(x, new, key, overwritten, e);
}
