#include "merge/shape.h"

#include <string.h>

#include "merge/shape_priv.h"

static const struct {
    const char *kind, *group; /* group: what api_version begins with, "" for any */
    const struct berth_shape *shape;
} kinds[] = {
    {"ModelService", "", &shape_model_service},
    {"Deployment", "", &shape_deployment},
    {"LeaderWorkerSet", "", &shape_leader_worker_set},
    {"HorizontalPodAutoscaler", "", &shape_autoscaler},
    {"Service", "", &shape_service},
    {"ConfigMap", "", &shape_config_map},
    {"ServiceAccount", "", &shape_service_account},
    {"HTTPRoute", "", &shape_route},
    {"InferencePool", "inference.networking.k8s.io/", &shape_pool},
    {"InferencePool", "", &shape_old_pool},
    {"InferenceModel", "", &shape_model},
    {"InferenceObjective", "", &shape_objective},
};

const struct berth_shape *
berth_shape_of(const char *kind, const char *api_version)
{
    if (api_version == NULL)
        api_version = "";
    for (size_t i = 0; i < BERTH_COUNT(kinds); i++)
        if (strcmp(kinds[i].kind, kind) == 0 &&
            strncmp(api_version, kinds[i].group, strlen(kinds[i].group)) == 0)
            return kinds[i].shape;
    return NULL;
}

/* ---- names ---- */

const struct shape_field *
shape_find(const struct berth_shape *shape, struct berth_slice name)
{
    for (size_t i = 0; i < shape->count; i++)
        if (berth_slice_is(name, shape->fields[i].name))
            return &shape->fields[i];
    return NULL;
}

enum { NAME_BYTES_MAX = 64 };

static bool
is_same_letter(char a, char b)
{
    return a == b ||
           ((a ^ b) == ('a' ^ 'A') && (a | ('a' ^ 'A')) >= 'a' && (a | ('a' ^ 'A')) <= 'z');
}

/* How many letters to change, put in or leave out; a change of case is none. */
static size_t
distance(struct berth_slice a, const char *b)
{
    const size_t len = strlen(b);
    size_t row[NAME_BYTES_MAX + 1];

    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 0; i < a.len; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < len; j++) {
            const size_t change = corner + !is_same_letter(a.at[i], b[j]);
            corner = row[j + 1];
            const size_t other = (corner < row[j] ? corner : row[j]) + 1;
            row[j + 1] = change < other ? change : other;
        }
    }
    return row[len];
}

const char *
shape_nearest(const struct berth_shape *shape, struct berth_slice name)
{
    const char *nearest = NULL;
    size_t best = name.len / 3 + 1; /* what is further off is another word */

    if (name.len > NAME_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < shape->count; i++) {
        berth_assert(strlen(shape->fields[i].name) <= NAME_BYTES_MAX);
        const size_t far = distance(name, shape->fields[i].name);
        if (far < best) {
            best = far;
            nearest = shape->fields[i].name;
        }
    }
    return nearest;
}

void
shape_drop_warning(struct berth_shape_problem *found, struct berth_shape_problems *count)
{
    for (size_t i = count->count; i-- > 0;) {
        if (found[i].is_error)
            continue;
        memmove(&found[i], &found[i + 1], (count->count - i - 1) * sizeof found[0]);
        count->count--;
        count->beyond++;
        return;
    }
}
