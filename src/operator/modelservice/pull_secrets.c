#include "operator/modelservice/pull_secrets.h"

#include <stdbool.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "kube/object.h"
#include "wire/json.h"

static bool
is_noted(const char *names, const char *name)
{
    const size_t len = strlen(name);

    while (*names != '\0') {
        const size_t n = strcspn(names, ",");
        if (n == len && memcmp(names, name, n) == 0)
            return true;
        names += n + (names[n] == ',');
    }
    return false;
}

const struct berth_json *
berth_msvc_note_pull_secrets(const struct berth_json *wish, struct berth_arena *a)
{
    const struct berth_json *mine = berth_json_get(wish, "imagePullSecrets");
    struct berth_buf names, text;
    struct berth_jw w;

    if (berth_json_len(mine) == 0)
        return wish;
    berth_buf_init(&names, a);
    for (struct berth_json_iter it = berth_json_iter(mine); berth_json_next(&it);)
        berth_buf_printf(&names, "%s%s", names.len > 0 ? "," : "",
                         berth_json_member_text(it.value, "name", ""));
    berth_buf_init(&text, a);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_key(&w, "annotations");
    berth_jw_object(&w);
    berth_jw_pair(&w, BERTH_MSVC_PULL_NOTE, berth_buf_text(&names));
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return names.failed || text.failed
               ? NULL
               : berth_kube_patched(a, wish, (struct berth_slice){text.at, text.len});
}

const struct berth_json *
berth_msvc_keep_pull_secrets(const struct berth_json *live, const struct berth_json *wish,
                             struct berth_arena *a)
{
    const struct berth_json *mine = berth_json_get(wish, "imagePullSecrets");
    const char *before = berth_kube_annotation(live, BERTH_MSVC_PULL_NOTE).at;
    struct berth_buf text;
    struct berth_jw w;
    size_t kept = 0;

    berth_buf_init(&text, a);
    berth_jw_init(&w, &text);
    berth_jw_object(&w);
    berth_jw_key(&w, "imagePullSecrets");
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(mine); berth_json_next(&it);)
        berth_jw_value(&w, it.value);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(live, "imagePullSecrets"));
         berth_json_next(&it);) {
        const char *name = berth_json_member_text(it.value, "name", "");
        if (berth_kube_named(mine, name) != NULL || is_noted(before, name))
            continue;
        berth_jw_value(&w, it.value);
        kept++;
    }
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    if (kept == 0)
        return wish;
    return text.failed ? NULL
                       : berth_kube_patched(a, wish, (struct berth_slice){text.at, text.len});
}
