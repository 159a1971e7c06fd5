#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/buf.h"
#include "kube/object.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* Containers that nobody gives an image or a name.  Where it is the service that names one, its
 * name is mistyped as a rule. */

/* The pods of one object: a LeaderWorkerSet has two kinds of them, everything else one. */
enum { PODS_MAX = 3, WORKERS = 2 };
static const char *const pod_paths[PODS_MAX] = {"spec.template.spec",
                                                "spec.leaderWorkerTemplate.leaderTemplate.spec",
                                                "spec.leaderWorkerTemplate.workerTemplate.spec"};
struct pods {
    const struct berth_json *of[PODS_MAX]; /* their specs; NULL: there are none */
};

/* Pods of the base configuration. */
struct base_pod {
    const char *in, *path;              /* the key, and where in it */
    const struct berth_json *of, *made; /* their spec, and what it has become */
};

/* Names, sorted. */
struct names {
    const char **at;
    size_t count;
};

static int
by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static bool
has(const struct names *names, const char *name)
{
    return names->count > 0 &&
           bsearch(&name, names->at, names->count, sizeof *names->at, by_text) != NULL;
}

/* One of a wrong type is said, and its shape has told so. */
static bool
says(const struct berth_json *container, const char *member)
{
    const struct berth_json *v = berth_json_get(container, member);
    struct berth_slice text;

    return berth_json_string(v, &text) ? text.len > 0 : berth_json_type(v) != BERTH_JSON_NULL;
}

/* Of the containers in the lists.  False: no memory. */
static bool
names_of(const struct berth_json *const *lists, size_t list_count, bool with_image,
         struct berth_arena *a, struct names *ret)
{
    size_t room = 0;

    for (size_t i = 0; i < list_count; i++)
        room += berth_json_len(lists[i]);
    *ret = (struct names){.at = BERTH_NEW_N(a, const char *, room + 1)};
    if (ret->at == NULL)
        return false;
    for (size_t i = 0; i < list_count; i++) {
        for (struct berth_json_iter it = berth_json_iter(lists[i]); berth_json_next(&it);) {
            if (!with_image || says(it.value, "image"))
                ret->at[ret->count++] = berth_json_member_text(it.value, "name", "");
        }
    }
    qsort(ret->at, ret->count, sizeof *ret->at, by_text);
    return true;
}

/* "; the base configuration has vllm, proxy": those that the service says nothing of, of the first
 * pods that have any. */
static void
put_others(const struct berth_json *const lists[PODS_MAX], const struct names *said,
           char ret[static 256])
{
    size_t n = 0;

    ret[0] = '\0';
    for (int i = 0; i < PODS_MAX && n == 0; i++) {
        for (struct berth_json_iter it = berth_json_iter(lists[i]); berth_json_next(&it);) {
            const char *name = berth_json_member_text(it.value, "name", "");
            if (name[0] == '\0' || has(said, name) || n + strlen(name) > 200)
                continue;
            n += (size_t)snprintf(ret + n, 256 - n, "%s%s",
                                  n > 0 ? ", " : "; the base configuration has ", name);
        }
    }
}

/* False: no memory. */
static bool
check_list(struct build *b, const char *part, const char *key, const struct pods *pods)
{
    const struct berth_json *said = berth_json_get(berth_json_get(b->m->spec, part), key);
    const struct berth_json *lists[PODS_MAX];
    struct names named, with_image;
    char others[256], path[96];

    for (int i = 0; i < PODS_MAX; i++)
        lists[i] = berth_json_get(pods->of[i], key);
    if (!names_of(&said, 1, false, b->a, &named) ||
        !names_of(lists, PODS_MAX, true, b->a, &with_image))
        return false;
    put_others(lists, &named, others);
    for (struct berth_json_iter it = berth_json_iter(said); berth_json_next(&it);) {
        const char *name = berth_json_member_text(it.value, "name", "");
        if (has(&with_image, name) || says(it.value, "image") ||
            berth_json_type(it.value) != BERTH_JSON_OBJECT)
            continue; /* its shape has told the latter */
        (void)snprintf(path, sizeof path, "spec.%s.%s[%zu]", part, key, it.index);
        berth_msvc_invalid(b->problems, BERTH_MSVC_IN_SERVICE, path, "%.63s has no image%s",
                           name[0] != '\0' ? name : "it", others);
    }
    return true;
}

/* Those of the base configuration; what the service names without an image is told already.  False:
 * no memory. */
static bool
check_base(struct build *b, const char *part, const char *key, const struct pods *pods,
           const struct base_pod *from)
{
    const struct berth_json *said = berth_json_get(berth_json_get(b->m->spec, part), key);
    const struct berth_json *made = berth_json_get(from->made, key), *lists[PODS_MAX];
    struct names named, anywhere, with_image;
    char path[128];

    for (int i = 0; i < PODS_MAX; i++)
        lists[i] = berth_json_get(pods->of[i], key);
    if (!names_of(&said, 1, false, b->a, &named) ||
        !names_of(lists, PODS_MAX, true, b->a, &anywhere) ||
        !names_of(&made, 1, true, b->a, &with_image))
        return false;
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(from->of, key));
         berth_json_next(&it);) {
        const char *name = berth_json_member_text(it.value, "name", "");
        const bool is_told = has(&named, name) && !has(&anywhere, name);
        if (berth_json_type(it.value) != BERTH_JSON_OBJECT)
            continue; /* its shape has told so */
        (void)snprintf(path, sizeof path, "%s.%s[%zu]", from->path, key, it.index);
        if (name[0] == '\0' && !says(it.value, "name"))
            berth_msvc_invalid(b->problems, from->in, path, "this container has no name");
        else if (name[0] != '\0' && !has(&with_image, name) && !is_told)
            berth_msvc_invalid(b->problems, from->in, path,
                               "%.63s has no image, here or in spec.%s.%s of the ModelService",
                               name, part, key);
    }
    return true;
}

/* A group may be made of what the base has for a Deployment. */
static bool
check_bases(struct build *b, enum berth_msvc_child child, const char *part, const struct pods *pods)
{
    const enum berth_msvc_child from =
        b->base->of[child] != NULL ? child : build_deployment_of(child);

    for (int i = 0; i < PODS_MAX; i++) {
        const struct base_pod one = {.in = berth_msvc_kind_of(from)->key,
                                     .path = pod_paths[i],
                                     .of = berth_kube_at(b->base->of[from], pod_paths[i]),
                                     .made = pods->of[from == child ? i : WORKERS]};
        if (one.of != NULL && (!check_base(b, part, "initContainers", pods, &one) ||
                               !check_base(b, part, "containers", pods, &one)))
            return false;
    }
    return true;
}

int
build_check_images(struct build *b, enum berth_msvc_child child, const char *part)
{
    const struct berth_json *made = b->set->of[child];
    struct pods pods;

    if (made == NULL || build_is_broken(b, child))
        return 0; /* it could not be merged or read, which is told */
    for (int i = 0; i < PODS_MAX; i++)
        pods.of[i] = berth_kube_at(made, pod_paths[i]);
    return check_list(b, part, "initContainers", &pods) &&
                   check_list(b, part, "containers", &pods) && check_bases(b, child, part, &pods)
               ? 0
               : -BERTH_ENOMEM;
}
