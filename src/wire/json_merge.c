#include "wire/json.h"

static void
merge(struct berth_jw *w, const struct berth_json *v, const struct berth_json *patch)
{
    if (berth_json_type(patch) != BERTH_JSON_OBJECT) {
        berth_jw_value(w, patch);
        return;
    }
    if (berth_json_type(v) != BERTH_JSON_OBJECT)
        v = NULL;       /* an array's elements have no keys: the patch takes its place */
    berth_jw_object(w); /* not deeper than patch, which has been parsed */
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const struct berth_json *p = berth_json_get(patch, it.key.at);

        if (p != NULL && berth_json_type(p) == BERTH_JSON_NULL)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        if (p != NULL)
            merge(w, it.value, p);
        else
            berth_jw_value(w, it.value);
    }
    for (struct berth_json_iter it = berth_json_iter(patch); berth_json_next(&it);) {
        if (berth_json_get(v, it.key.at) != NULL || berth_json_type(it.value) == BERTH_JSON_NULL)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        merge(w, NULL, it.value);
    }
    berth_jw_object_end(w);
}

void
berth_jw_merged(struct berth_jw *w, const struct berth_json *v, const struct berth_json *patch)
{
    merge(w, v, patch);
}
