#ifndef BERTH_SHIMLET_KUBERNETES_RENDER_H
#define BERTH_SHIMLET_KUBERNETES_RENDER_H

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "shimlets/kubernetes/kubernetes_priv.h"
#include "wire/json.h"

/* What render.c (objects) and render_pod.c (their pods) share. */

/* All that one rendering reads, worked out before anything is written. */
struct draft {
    const struct kubernetes_plan *p;
    const struct berth_unit *u;
    const struct kubernetes_conf *c;
    struct berth_arena *a;
    const struct berth_json *spec;               /* the service's, or NULL */
    const char *model_dir;                       /* NULL: nothing to mount */
    char container[KUBERNETES_NAME_MAX + 1];     /* the container's name */
    char service_label[KUBERNETES_NAME_MAX + 1]; /* the service id, short enough for a label */
    bool stateful, scaled;
    const char *digest; /* NULL while it is not known */
    struct berth_jw w;
};

static inline void
pair(struct draft *d, const char *key, const char *value)
{
    berth_jw_key(&d->w, key);
    berth_jw_string(&d->w, value);
}

static inline void
number(struct draft *d, const char *key, int64_t value)
{
    berth_jw_key(&d->w, key);
    berth_jw_int(&d->w, value);
}

static inline void
begin(struct draft *d, const char *key)
{
    berth_jw_key(&d->w, key);
    berth_jw_object(&d->w);
}

static inline void
begin_list(struct draft *d, const char *key)
{
    berth_jw_key(&d->w, key);
    berth_jw_array(&d->w);
}

static inline void
end(struct draft *d)
{
    berth_jw_object_end(&d->w);
}

static inline void
end_list(struct draft *d)
{
    berth_jw_array_end(&d->w);
}

static inline void
note(struct draft *d, const char *key, const char *value)
{
    char full[KUBERNETES_NAME_MAX + 32];

    if (value == NULL || value[0] == '\0')
        return;
    (void)snprintf(full, sizeof full, "%s/%s", d->c->managed_by, key);
    pair(d, full, value);
}

/* Nanoseconds as seconds, at least so many, at most a week. */
static inline int64_t
seconds(uint64_t ns, int64_t least)
{
    const uint64_t s = ns / BERTH_S;

    return s < (uint64_t)least ? least : s > 86400 * 7 ? 86400 * 7 : (int64_t)s;
}

/* "labels": {...} */
void kubernetes_put_labels(struct draft *d);
/* "template": {...} */
void kubernetes_put_pod(struct draft *d);
/* The container's image; NULL: nobody names one. */
static inline const char *
image_of(const struct draft *d)
{
    return d->u->image != NULL ? d->u->image : d->c->image[0] != '\0' ? d->c->image : NULL;
}
/* The part of the model's folder that is within the claim, "" for all of it; NULL: it is not. */
const char *kubernetes_claim_sub(const struct draft *d);
static inline bool
is_claim(const struct draft *d)
{
    return strcmp(d->c->model_volume, "hostPath") != 0;
}

#endif
