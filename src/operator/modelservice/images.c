#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/buf.h"
#include "kube/object.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/problems.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* Containers that the service names and nobody gives an image: as a rule their names are mistyped.
 */

/* The pods of one object: a LeaderWorkerSet has two kinds of them, everything else one. */
enum { PODS_MAX = 3 };
struct pods {
    const struct berth_json *of[PODS_MAX]; /* their specs; NULL: there are none */
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
            if (!with_image || berth_json_member_text(it.value, "image", "")[0] != '\0')
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
        if (has(&with_image, name))
            continue;
        (void)snprintf(path, sizeof path, "spec.%s.%s[%zu]", part, key, it.index);
        berth_msvc_invalid(b->problems, BERTH_MSVC_IN_SERVICE, path, "%.63s has no image%s",
                           name[0] != '\0' ? name : "it", others);
    }
    return true;
}

int
build_check_images(struct build *b, enum berth_msvc_child child, const char *part)
{
    const struct berth_json *made = b->set->of[child];
    const struct pods pods = {
        {berth_kube_at(made, "spec.template.spec"),
         berth_kube_at(made, "spec.leaderWorkerTemplate.leaderTemplate.spec"),
         berth_kube_at(made, "spec.leaderWorkerTemplate.workerTemplate.spec")}};

    if (made == NULL || build_is_broken(b, child))
        return 0; /* it could not be merged or read, which is told */
    return check_list(b, part, "initContainers", &pods) && check_list(b, part, "containers", &pods)
               ? 0
               : -BERTH_ENOMEM;
}
