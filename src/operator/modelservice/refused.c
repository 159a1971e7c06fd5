#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "kube/object.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* What an API server refuses of workloads and of what is in front of them, told before one is asked
 * and where a person wrote it: elements of a list that cannot be told apart, and counts below 0. Of
 * elements that the base has twice the last is kept, where that is what is meant. */

#define POD   "spec.template.spec"
#define GROUP "spec.leaderWorkerTemplate."

enum { PATH_BYTES = 256, LISTS = 2 };

/* Elements that are to differ in the key, of lists of a pod, a container or another object. */
enum keep {
    KEEP_NONE,         /* nobody knows which is meant */
    KEEP_LAST,         /* as whoever reads such a list has it */
    KEEP_LAST_OF_SAME, /* if they mean the same: one place of a volume, one request of a claim */
};
struct also {
    const char *name, *dflt; /* dflt: where it is missing; name NULL: the end */
};
struct rule {
    const char *lists[LISTS], *key;
    const struct also *also; /* is of the key; NULL: nothing */
    const char *why;
    enum keep keep;
};
static const struct also protocol[] = {{"protocol", "TCP"}, {NULL, NULL}};
static const struct also when_unsatisfiable[] = {{"whenUnsatisfiable", ""}, {NULL, NULL}};
static const struct also of_parent[] = {{"namespace", ""},
                                        {"sectionName", ""},
                                        {"port", ""},
                                        {"kind", "Gateway"},
                                        {"group", "gateway.networking.k8s.io"},
                                        {NULL, NULL}};
static const struct rule of_pod[] = {
    {{"initContainers", "containers"},
     "name",
     NULL,
     "the pod has two containers of that name, initContainers among them",
     KEEP_NONE},
    {{"volumes"}, "name", NULL, "the pod has two volumes of that name", KEEP_LAST},
    {{"topologySpreadConstraints"},
     "topologyKey",
     when_unsatisfiable,
     "the pod has two constraints of that topologyKey and whenUnsatisfiable",
     KEEP_LAST},
    {{"schedulingGates"}, "name", NULL, "the pod has two scheduling gates of that name", KEEP_LAST},
    {{"resourceClaims"}, "name", NULL, "the pod has two claims of that name", KEEP_LAST},
    {{"imagePullSecrets"}, "name", NULL, "the pod has two pull secrets of that name", KEEP_LAST},
    {{"hostAliases"}, "ip", NULL, "the pod has two aliases of that address: make one", KEEP_NONE},
};
static const struct rule of_container[] = {
    {{"env"}, "name", NULL, "the container has two variables of that name", KEEP_LAST},
    {{"ports"}, "name", NULL, "the container has two ports of that name", KEEP_LAST},
    {{"ports"}, "containerPort", protocol, "the container has that port twice", KEEP_LAST},
    {{"volumeMounts"}, "mountPath", NULL, "the container has two volumes there", KEEP_LAST_OF_SAME},
    {{"volumeDevices"},
     "devicePath",
     NULL,
     "the container has two devices there",
     KEEP_LAST_OF_SAME},
    {{"resources.claims"},
     "name",
     NULL,
     "the container has two claims of that name",
     KEEP_LAST_OF_SAME},
    {{"resizePolicy"},
     "resourceName",
     NULL,
     "the container has two resize policies of that resource",
     KEEP_LAST},
};
static const struct rule of_services[] = {
    {{"ports"}, "name", NULL, "the Service has two ports of that name", KEEP_LAST},
    {{"ports"}, "port", protocol, "the Service has that port twice", KEEP_LAST},
};
static const struct rule of_pools[] = {
    {{"targetPorts"}, "number", NULL, "the pool has that port twice", KEEP_LAST},
};

/* The service's as gatewayRefs.  Who says the port of one of two is told by the server. */
static const struct rule of_routes[] = {
    {{"parentRefs", "gatewayRefs"},
     "name",
     of_parent,
     "the route has that parent twice",
     KEEP_LAST},
};

struct element {
    const struct berth_json *value;
    struct berth_slice key;
    size_t at; /* in the document's order */
};

/* Whose lists they are: one of those containers that are called so; containers NULL: the pod's. */
struct whose {
    const struct rule *containers;
    struct berth_slice name;
};

/* The pods of one kind of one object. */
struct look {
    struct build *b;
    const char *part; /* of the service: "decode" */
    /* The base configuration's: of which key, where in it; the pods' spec, NULL: it has none. */
    const char *in, *path;
    const struct berth_json *base;
    struct element *all;
    size_t room;
    const struct berth_json **out; /* elements that are to go */
    size_t out_count, out_room;
    size_t *walks;   /* of a rule: through all of that, for the places of what is told */
    size_t out_from; /* those of the lists that are looked at begin there, and are in order */
};

/* ---- who is told apart ---- */

/* Empty: the element has no such member. */
static struct berth_slice
text_of(const struct look *l, const struct berth_json *element, const char *member)
{
    const struct berth_json *v = berth_json_get(element, member);
    struct berth_slice ret = {"", 0};
    int64_t number;

    if (berth_json_string(v, &ret) || !berth_json_int(v, &number))
        return ret;
    const char *text = berth_arena_printf(l->b->a, "%" PRId64, number);
    return text != NULL ? berth_slice_of(text) : ret;
}

/* Empty: the element has no such key. */
static struct berth_slice
key_of(const struct look *l, const struct rule *rule, const struct berth_json *element)
{
    struct berth_slice ret = text_of(l, element, rule->key);

    if (ret.len == 0)
        return ret;
    for (const struct also *also = rule->also; also != NULL && also->name != NULL; also++) {
        const struct berth_slice more = text_of(l, element, also->name);
        const char *text =
            berth_arena_printf(l->b->a, "%.*s/%.*s", (int)ret.len, ret.at, (int)more.len, more.at);
        if (text != NULL && berth_json_get(element, also->name) == NULL)
            text = berth_arena_printf(l->b->a, "%s%s", text, also->dflt);
        ret = text != NULL ? berth_slice_of(text) : ret;
    }
    return ret;
}

static int
by_key(const void *x, const void *y)
{
    const struct element *a = x, *b = y;
    const size_t n = a->key.len < b->key.len ? a->key.len : b->key.len;
    const int r = memcmp(a->key.at, b->key.at, n);

    if (r != 0)
        return r;
    if (a->key.len != b->key.len)
        return a->key.len < b->key.len ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static bool
is_same(struct berth_slice a, struct berth_slice b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* ---- where they were written ---- */

/* Of the elements of `from`, which is at the path `before`, the last that has that key: how many
 * have it. */
static size_t
find_last(const struct look *l, const struct rule *rule, const struct berth_json *from,
          const char *before, struct berth_slice key, const struct berth_json **ret,
          char path[static PATH_BYTES])
{
    size_t count = 0;

    for (size_t i = 0; i < LISTS && rule->lists[i] != NULL; i++) {
        for (struct berth_json_iter it = berth_json_iter(berth_kube_at(from, rule->lists[i]));
             berth_json_next(&it);) {
            if (!is_same(key_of(l, rule, it.value), key))
                continue;
            count++;
            *ret = it.value;
            (void)snprintf(path, PATH_BYTES, "%s.%s[%zu]", before, rule->lists[i], it.index);
        }
    }
    return count;
}

/* The same of whose it is in a pod. */
static size_t
find_in(const struct look *l, const struct rule *rule, const struct berth_json *pod,
        const char *before, const struct whose *whose, struct berth_slice key,
        char path[static PATH_BYTES])
{
    const struct berth_json *from = pod, *one = NULL;
    char container[PATH_BYTES];

    (void)snprintf(container, sizeof container, "%s", before);
    if (whose->containers != NULL &&
        find_last(l, whose->containers, pod, before, whose->name, &from, container) == 0)
        return 0;
    return find_last(l, rule, from, container, key, &one, path);
}

/* Leaders and workers may come from one place, of which once is enough. */
static bool
is_told(const struct berth_msvc_problems *p, const char *in, const char *path, const char *text)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->at[i].in, in) == 0 && strcmp(p->at[i].path, path) == 0 &&
            strcmp(p->at[i].text, text) == 0)
            return true;
    }
    return false;
}

static void
tell(const struct look *l, bool keeps, const char *in, const char *path, const char *text)
{
    if (is_told(l->b->problems, in, path, text))
        return;
    if (keeps)
        berth_msvc_problem(l->b->problems, true, in, path, "%s", text);
    else
        berth_msvc_invalid(l->b->problems, in, path, "%s", text);
}

/* Who says it twice is told; where the service says it and the base does, the service. */
static void
tell_of_key(struct look *l, const struct rule *rule, const struct whose *whose,
            struct berth_slice key, bool keeps)
{
    const struct berth_json *part = berth_json_get(l->b->m->spec, l->part);
    char before[64], path[PATH_BYTES] = "", base_path[PATH_BYTES] = "", text[192];

    const bool warning = keeps || l->b->problems->is_preview;

    if (++*l->walks > BERTH_MSVC_PROBLEMS_MAX || !berth_msvc_has_room(l->b->problems, warning)) {
        berth_msvc_one_more(l->b->problems, warning);
        return;
    }
    (void)snprintf(before, sizeof before, "spec.%s", l->part);
    const size_t said = find_in(l, rule, part, before, whose, key, path);
    const size_t in_base = find_in(l, rule, l->base, l->path, whose, key, base_path);
    const bool of_service = said > 1 || (said == 1 && in_base < 2);
    keeps = keeps && !of_service; /* the definition of a ModelService does not take it */
    const size_t shown = rule->also == of_parent ? strcspn(key.at, "/") : key.len;
    (void)snprintf(text, sizeof text, "%.*s: %s%s", (int)(shown < 64 ? shown : 64), key.at,
                   rule->why, keeps ? ": the last one is kept" : "");
    if (of_service)
        tell(l, false, BERTH_MSVC_IN_SERVICE, path, text);
    else
        tell(l, keeps, l->in, base_path, text);
}

/* ---- leaving out ---- */

static bool
leave_out(struct look *l, const struct berth_json *element)
{
    if (l->out_count == l->out_room) {
        const size_t room = l->out_room > 0 ? l->out_room * 2 : 16;
        const struct berth_json **more = BERTH_NEW_N(l->b->a, const struct berth_json *, room);
        if (more == NULL)
            return false;
        if (l->out_count > 0)
            memcpy(more, l->out, l->out_count * sizeof *more);
        l->out = more;
        l->out_room = room;
    }
    l->out[l->out_count++] = element;
    return true;
}

static int
by_place(const void *x, const void *y)
{
    const struct berth_json *const *a = x, *const *b = y;

    return (uintptr_t)*a < (uintptr_t)*b ? -1 : (uintptr_t)*a > (uintptr_t)*b;
}

static void
put_without(const struct look *l, const struct berth_json *v, struct berth_jw *w)
{
    const bool object = berth_json_type(v) == BERTH_JSON_OBJECT;

    if (!object && berth_json_type(v) != BERTH_JSON_ARRAY) {
        berth_jw_value(w, v);
        return;
    }
    object ? berth_jw_object(w) : berth_jw_array(w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (bsearch(&it.value, l->out, l->out_count, sizeof *l->out, by_place) != NULL)
            continue;
        if (object)
            berth_jw_key_n(w, it.key.at, it.key.len);
        put_without(l, it.value, w);
    }
    object ? berth_jw_object_end(w) : berth_jw_array_end(w);
}

static void
sort_out(struct look *l, size_t from)
{
    if (l->out_count > from)
        qsort(&l->out[from], l->out_count - from, sizeof *l->out, by_place);
}

/* Has a rule before left it out? */
static bool
is_out(const struct look *l, const struct berth_json *element)
{
    const size_t count = l->out_count - l->out_from;

    return count > 0 &&
           bsearch(&element, &l->out[l->out_from], count, sizeof *l->out, by_place) != NULL;
}

/* What is made, without those elements. */
static int
make_without(struct look *l, const struct berth_json **made)
{
    struct berth_buf text;
    struct berth_jw w;

    if (l->out_count == 0)
        return 0;
    sort_out(l, 0);
    berth_buf_init(&text, l->b->a);
    berth_jw_init(&w, &text);
    put_without(l, *made, &w);
    return build_parsed(l->b, &text, made);
}

/* ---- looking ---- */

static bool
make_room(struct look *l, size_t count)
{
    if (count <= l->room)
        return true;
    l->room = count < 16 ? 16 : count;
    l->all = BERTH_NEW_N(l->b->a, struct element, l->room);
    return l->all != NULL;
}

/* Are all of them the same place of one volume, or the same request of one claim? */
static bool
is_one(const struct element *all, size_t count)
{
    static const char *const members[] = {"name", "subPath", "subPathExpr", "request"};

    for (size_t i = 1; i < count; i++) {
        for (size_t k = 0; k < BERTH_COUNT(members); k++) {
            if (strcmp(berth_json_member_text(all[i].value, members[k], ""),
                       berth_json_member_text(all[0].value, members[k], "")) != 0)
                return false;
        }
    }
    return true;
}

/* Elements of one key, in their order. */
struct group {
    const struct element *all;
    size_t count;
};

static int
by_last(const void *x, const void *y)
{
    const struct group *a = x, *b = y;
    const size_t at = a->all[a->count - 1].at, other = b->all[b->count - 1].at;

    return at < other ? -1 : at > other;
}

/* False: no memory. */
static bool
take_doubles(struct look *l, const struct rule *rule, const struct whose *whose,
             const struct element *all, size_t count)
{
    const bool keeps =
        rule->keep == KEEP_LAST || (rule->keep == KEEP_LAST_OF_SAME && is_one(all, count));
    bool memory = true;

    tell_of_key(l, rule, whose, all[0].key, keeps);
    for (size_t i = 0; keeps && memory && i < count - 1; i++)
        memory = leave_out(l, all[i].value);
    return memory;
}

/* Of elements in the order of their keys, told in that of the document.  False: no memory. */
static bool
take_all_doubles(struct look *l, const struct rule *rule, const struct whose *whose,
                 const struct element *all, size_t count)
{
    struct group *groups = NULL;
    size_t n = 0;
    bool memory = true;

    for (size_t i = 0, end = 0; i < count; i = end) {
        while (end < count && is_same(all[i].key, all[end].key))
            end++;
        if (end - i < 2 || all[i].key.len == 0)
            continue;
        if (groups == NULL && (groups = BERTH_NEW_N(l->b->a, struct group, count / 2)) == NULL)
            return false;
        groups[n++] = (struct group){&all[i], end - i};
    }
    if (n > 0)
        qsort(groups, n, sizeof *groups, by_last);
    for (size_t i = 0; memory && i < n; i++)
        memory = take_doubles(l, rule, whose, groups[i].all, groups[i].count);
    return memory;
}

/* False: no memory. */
static bool
check(struct look *l, const struct rule *rule, const struct berth_json *from,
      const struct whose *whose)
{
    size_t count = 0, n = 0;

    for (size_t i = 0; i < LISTS && rule->lists[i] != NULL; i++)
        count += berth_json_len(berth_kube_at(from, rule->lists[i]));
    if (count < 2)
        return true;
    if (!make_room(l, count))
        return false;
    for (size_t i = 0; i < LISTS && rule->lists[i] != NULL; i++) {
        for (struct berth_json_iter it = berth_json_iter(berth_kube_at(from, rule->lists[i]));
             berth_json_next(&it);) {
            if (is_out(l, it.value))
                continue;
            l->all[n] = (struct element){it.value, key_of(l, rule, it.value), n};
            n++;
        }
    }
    qsort(l->all, n, sizeof *l->all, by_key);
    if (!take_all_doubles(l, rule, whose, l->all, n))
        return false;
    sort_out(l, l->out_from);
    return true;
}

static bool
check_containers(struct look *l, const struct berth_json *pod, const char *list)
{
    const struct rule named = {{list}, "name", NULL, "", KEEP_NONE};
    size_t walks[BERTH_COUNT(of_container)] = {0};

    for (struct berth_json_iter it = berth_json_iter(berth_json_get(pod, list));
         berth_json_next(&it);) {
        const struct whose whose = {&named, key_of(l, &named, it.value)};
        l->out_from = l->out_count;
        for (size_t i = 0; i < BERTH_COUNT(of_container); i++) {
            l->walks = &walks[i];
            if (!check(l, &of_container[i], it.value, &whose))
                return false;
        }
    }
    return true;
}

/* Pods at a path of what is made. */
static bool
check_pods(struct build *b, enum berth_msvc_child child, const char *part, const char *path)
{
    static const struct whose all = {NULL, {"", 0}};
    const struct berth_json *pod = berth_kube_at(b->set->of[child], path);
    struct look l = {.b = b, .part = part, .path = path, .in = berth_msvc_kind_of(child)->key};

    l.base = berth_kube_at(b->base->of[child], path);
    const enum berth_msvc_child deployment = build_deployment_of(child);
    if (b->base->of[child] == NULL && b->base->of[deployment] != NULL) {
        l.in = berth_msvc_kind_of(deployment)->key;
        l.path = POD;
        l.base = berth_kube_at(b->base->of[deployment], POD);
    } else if (l.base == NULL && child != deployment) {
        l.path = GROUP "workerTemplate.spec"; /* leaders are as workers are */
        l.base = berth_kube_at(b->base->of[child], l.path);
    }
    for (size_t i = 0; i < BERTH_COUNT(of_pod); i++) {
        size_t walks = 0;
        l.walks = &walks;
        if (!check(&l, &of_pod[i], pod, &all))
            return false;
    }
    return check_containers(&l, pod, "initContainers") && check_containers(&l, pod, "containers") &&
           make_without(&l, &b->set->of[child]) == 0;
}

static const struct rule *
rules_of(enum berth_msvc_child child, size_t *ret_count)
{
    *ret_count = 1;
    if (child == BERTH_MSVC_HTTP_ROUTE)
        return of_routes;
    if (child == BERTH_MSVC_POOL_V1)
        return of_pools;
    *ret_count =
        berth_msvc_kind_of(child)->kube == &berth_kube_services ? BERTH_COUNT(of_services) : 0;
    return of_services;
}

int
build_check_front(struct build *b, enum berth_msvc_child child)
{
    static const struct whose all = {NULL, {"", 0}};
    size_t count;
    const struct rule *rules = rules_of(child, &count);
    struct look l = {.b = b,
                     .part = child == BERTH_MSVC_HTTP_ROUTE ? "routing" : "",
                     .path = "spec",
                     .in = berth_msvc_kind_of(child)->key};

    if (b->set->of[child] == NULL || count == 0)
        return 0;
    l.base = berth_kube_at(b->base->of[child], l.path);
    for (size_t i = 0; i < count; i++) {
        size_t walks = 0;
        l.walks = &walks;
        if (!check(&l, &rules[i], berth_kube_at(b->set->of[child], l.path), &all))
            return -BERTH_ENOMEM;
    }
    return make_without(&l, &b->set->of[child]);
}

static void
check_counts(struct build *b, enum berth_msvc_child child, const char *part)
{
    static const char *const counts[] = {"replicas", "minReadySeconds", "progressDeadlineSeconds",
                                         "revisionHistoryLimit"};
    const enum berth_msvc_child from =
        b->base->of[child] != NULL ? child : build_deployment_of(child);
    const struct berth_json *spec = berth_json_get(b->set->of[child], "spec");
    int64_t n;

    for (size_t i = 0; i < BERTH_COUNT(counts); i++) {
        char path[64];
        if (!berth_json_int(berth_json_get(spec, counts[i]), &n) || n >= 0)
            continue;
        const struct berth_json *said = berth_json_get(berth_json_get(b->m->spec, part), counts[i]);
        const bool of_service = berth_json_int(said, &n);
        (void)snprintf(path, sizeof path, "spec.%s%s%s", of_service ? part : "",
                       of_service ? "." : "", counts[i]);
        berth_msvc_invalid(b->problems,
                           of_service ? BERTH_MSVC_IN_SERVICE : berth_msvc_kind_of(from)->key, path,
                           "%" PRId64 ": it is 0 or more", n);
    }
}

int
build_check_refused(struct build *b, enum berth_msvc_child child, const char *part)
{
    bool memory = true;

    if (b->set->of[child] == NULL)
        return 0; /* it could not be merged, which is told */
    check_counts(b, child, part);
    if (child == build_deployment_of(child))
        memory = check_pods(b, child, part, POD);
    else
        memory = check_pods(b, child, part, GROUP "leaderTemplate.spec") &&
                 check_pods(b, child, part, GROUP "workerTemplate.spec");
    return memory ? 0 : -BERTH_ENOMEM;
}
