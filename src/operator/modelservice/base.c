#include "operator/modelservice/base.h"

#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/buf.h"
#include "conf/near.h"
#include "merge/shape.h"
#include "operator/modelservice/head.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/pool.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

enum { VALUE_MAX = 1 << 20 /* a ConfigMap's */ };

static bool
is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strchr(" \t\r\n", text[i]) == NULL)
            return false;
    }
    return true;
}

static const struct berth_json *
checked(const struct berth_msvc *m, struct berth_msvc_problems *p, enum berth_msvc_child child,
        const char *at, const struct berth_json *v, struct berth_arena *a)
{
    const struct berth_msvc_kind *kind = berth_msvc_kind_of(child);

    v = berth_msvc_shaped(p, kind->key, berth_shape_of(kind->kube->kind, kind->kube->group_version),
                          at, v);
    return v != NULL ? berth_msvc_headed(p, m, kind, at, v, a) : NULL;
}

static const struct berth_json *
checked_list(const struct berth_msvc *m, struct berth_msvc_problems *p,
             const struct berth_json *list, struct berth_arena *a)
{
    const struct berth_json *ret = NULL, *one;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        const char *at = berth_arena_printf(a, "[%zu]", it.index);
        if (at == NULL || (one = checked(m, p, BERTH_MSVC_CONFIG_MAPS, at, it.value, a)) == NULL)
            return NULL;
        berth_jw_value(&w, one);
    }
    berth_jw_array_end(&w);
    return b.failed || berth_json_parse(a, b.at, b.len, NULL, &ret, NULL) < 0 ? NULL : ret;
}

/* One value: rendered, parsed, and of the type that it should be. */
static void
read_value(const struct berth_msvc *m, enum berth_msvc_child child, struct berth_slice text,
           struct berth_arena *a, struct berth_msvc_problems *p, struct berth_msvc_base *ret)
{
    const struct berth_msvc_kind *kind = berth_msvc_kind_of(child);
    const enum berth_json_type want =
        child == BERTH_MSVC_CONFIG_MAPS ? BERTH_JSON_ARRAY : BERTH_JSON_OBJECT;
    struct berth_msvc_templates templates = {.m = m, .problems = p, .in = kind->key, .path = ""};
    const struct berth_json *v = NULL;
    struct berth_buf out;

    struct berth_msvc_text *origin = berth_msvc_text_of(p, kind->key, text);
    berth_buf_init(&out, a);
    if (!berth_msvc_render(&templates, text, a, &out))
        return;
    origin->read = (struct berth_slice){out.len > 0 ? out.at : "", out.len};
    origin->lines = templates.trace.lines;
    origin->line_count = templates.trace.line_count;
    if (is_blank(out.at, out.len))
        return;
    if (!berth_msvc_parse(p, kind->key, (struct berth_slice){out.at, out.len}, &v))
        return;
    if (berth_json_type(v) == BERTH_JSON_NULL)
        return; /* nothing but comments */
    if (berth_json_type(v) != want) {
        berth_msvc_problem(p, false, kind->key, "", "it is %s, should be %s",
                           berth_json_type_name(v),
                           want == BERTH_JSON_ARRAY ? "a list of ConfigMaps" : kind->kube->kind);
        return;
    }
    if (child == BERTH_MSVC_POOL && berth_msvc_pool_is_v1(v))
        child = BERTH_MSVC_POOL_V1;
    v = child == BERTH_MSVC_CONFIG_MAPS ? checked_list(m, p, v, a) : checked(m, p, child, "", v, a);
    if (v != NULL)
        ret->of[child] = v;
    else
        berth_msvc_no_room(p, kind->key, "");
}

static enum berth_msvc_child
child_of(struct berth_slice key)
{
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        if (berth_slice_is(key, berth_msvc_kind_of(i)->key))
            return i;
    }
    return BERTH_MSVC_CHILDREN;
}

/* The key that was meant by one that there is not, or NULL. */
static const char *
near_key(const char *key)
{
    const char *names[BERTH_MSVC_CHILDREN];
    size_t count = 0;

    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        if (berth_msvc_kind_of(i)->is_input)
            names[count++] = berth_msvc_kind_of(i)->key;
    }
    return berth_near_miss(key, names, count);
}

static void
tell_unused(struct berth_slice key, enum berth_msvc_child child, struct berth_arena *a,
            struct berth_msvc_problems *p)
{
    const char *path = berth_arena_printf(a, "data.%.*s", (int)key.len, key.at);
    const char *near = path != NULL ? near_key(path + strlen("data.")) : NULL;

    path = path != NULL ? path : "data";
    if (child != BERTH_MSVC_CHILDREN)
        berth_msvc_problem(p, true, BERTH_MSVC_IN_BASE, path, "it is always made anew; ignored");
    else
        berth_msvc_problem(p, true, BERTH_MSVC_IN_BASE, path,
                           "no such key is known, and it is ignored%s%s%s",
                           near != NULL ? ": do you mean " : "", near != NULL ? near : "",
                           near != NULL ? "?" : "");
}

int
berth_msvc_base_read(const struct berth_json *data, const struct berth_msvc *m,
                     struct berth_arena *a, struct berth_msvc_problems *p,
                     struct berth_msvc_base *ret, struct berth_err *e)
{
    memset(ret, 0, sizeof *ret);
    if (data != NULL && berth_json_type(data) != BERTH_JSON_OBJECT &&
        berth_json_type(data) != BERTH_JSON_NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "data is %s: it should be a ConfigMap's, keys with text",
                             berth_json_type_name(data));
    for (struct berth_json_iter it = berth_json_iter(data); berth_json_next(&it);) {
        const enum berth_msvc_child child = child_of(it.key);
        if (p->cancelled != NULL && p->cancelled(p->cancel_arg))
            return berth_err_set(e, BERTH_ECANCELED, "it is to end");
        struct berth_slice text;
        if (child == BERTH_MSVC_CHILDREN || !berth_msvc_kind_of(child)->is_input) {
            tell_unused(it.key, child, a, p);
            continue;
        }
        const char *key = berth_msvc_kind_of(child)->key;
        const size_t errors = p->errors;
        if (berth_json_type(it.value) == BERTH_JSON_NULL)
            continue; /* as blank as "" */
        if (!berth_json_string(it.value, &text))
            berth_msvc_problem(p, false, key, "", "it is %s, should be text (write %s: |)",
                               berth_json_type_name(it.value), key);
        else if (text.len > VALUE_MAX)
            berth_msvc_problem(p, false, key, "", "it has more than %d bytes", VALUE_MAX);
        else
            read_value(m, child, text, a, p, ret);
        if (p->errors > errors && ret->of[child] == NULL &&
            (child != BERTH_MSVC_POOL || ret->of[BERTH_MSVC_POOL_V1] == NULL))
            ret->is_broken[child] = true;
    }
    return 0;
}
