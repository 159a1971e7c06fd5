#include "operator/modelservice/generate.h"

#include <string.h>

#include "base/arena.h"
#include "merge/shape.h"
#include "operator/modelservice/base.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"
#include "wire/yaml.h"

/* In the order in which they are applied: what others refer to comes first. */
static void
put_map(const struct berth_msvc_set *set, struct berth_jw *w)
{
    berth_jw_object(w);
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        if (set->of[i] == NULL)
            continue;
        berth_jw_key(w, berth_msvc_kind_of(i)->key);
        berth_jw_value(w, set->of[i]);
    }
    berth_jw_object_end(w);
}

/* Each object of the set, in the order of application. */
static int
for_each(const struct berth_msvc_set *set, int (*each)(const struct berth_json *object, void *arg),
         void *arg)
{
    int r = 0;

    for (struct berth_json_iter it = berth_json_iter(set->of[BERTH_MSVC_CONFIG_MAPS]);
         r == 0 && berth_json_next(&it);)
        r = each(it.value, arg);
    for (int i = BERTH_MSVC_CONFIG_MAPS + 1; r == 0 && i < BERTH_MSVC_CHILDREN; i++) {
        if (set->of[i] != NULL)
            r = each(set->of[i], arg);
    }
    return r;
}

struct printing {
    struct berth_buf *out;
    struct berth_arena *a;
    struct berth_jw *w;
};

static int
print_document(const struct berth_json *object, void *arg)
{
    struct printing *x = arg;

    berth_buf_puts(x->out, "---\n");
    return berth_yaml_put(x->out, object, x->a);
}

static int
print_item(const struct berth_json *object, void *arg)
{
    berth_jw_value(((struct printing *)arg)->w, object);
    return 0;
}

static int
print_set(const struct berth_msvc_set *set, enum berth_msvc_format format, struct berth_arena *a,
          struct berth_buf *out)
{
    const struct berth_json *map = NULL;
    struct printing x = {.out = out, .a = a};
    struct berth_buf text;
    struct berth_jw w;

    if (format == BERTH_MSVC_YAML)
        return for_each(set, print_document, &x);
    if (format == BERTH_MSVC_JSON) {
        berth_jw_init(&w, out);
        x.w = &w;
        berth_jw_object(&w);
        berth_jw_key(&w, "apiVersion");
        berth_jw_string(&w, "v1");
        berth_jw_key(&w, "kind");
        berth_jw_string(&w, "List");
        berth_jw_key(&w, "items");
        berth_jw_array(&w);
        (void)for_each(set, print_item, &x);
        berth_jw_array_end(&w);
        berth_jw_object_end(&w);
        berth_buf_putc(out, '\n');
        return out->failed ? -BERTH_ENOMEM : 0;
    }
    berth_buf_init(&text, a);
    berth_jw_init(&w, &text);
    put_map(set, &w);
    if (text.failed || berth_json_parse(a, text.at, text.len, NULL, &map, NULL) < 0)
        return -BERTH_ENOMEM;
    return berth_yaml_put(out, map, a);
}

static int
read_file(struct berth_slice text, const char *in, const char *what, struct berth_msvc_problems *p,
          const struct berth_json **ret)
{
    if (!berth_msvc_parse(p, in, text, ret))
        return -BERTH_EINVAL;
    if (berth_json_type(*ret) != BERTH_JSON_OBJECT)
        berth_msvc_problem(p, false, in, "", "it is %s, should be a %s", berth_json_type_name(*ret),
                           what);
    else
        return 0;
    return -BERTH_EINVAL;
}

int
berth_msvc_generate(const struct berth_msvc_files *files, const struct berth_msvc_conf *conf,
                    enum berth_msvc_format format, struct berth_arena *a,
                    struct berth_msvc_problems *p, struct berth_buf *out, struct berth_err *e)
{
    const struct berth_json *doc = NULL, *config = NULL;
    struct berth_msvc_base base;
    struct berth_msvc_set set;
    struct berth_err why = {""};
    struct berth_msvc m = {0};
    int r = read_file(files->service, "modelservice", "ModelService", p, &doc);

    if (r == 0 && (doc = berth_msvc_shaped(p, "modelservice", berth_shape_of("ModelService", NULL),
                                           "", doc)) == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may");
    if (files->base.len > 0 && read_file(files->base, "baseconfig", "ConfigMap", p, &config) < 0)
        r = -BERTH_EINVAL;
    berth_err_set(e, BERTH_EINVAL, "%s", "");
    if (r < 0)
        return r;
    if ((r = berth_msvc_read(doc, a, p, &m, &why)) < 0) {
        berth_msvc_problem(p, false, "modelservice", "", "%s", why.msg);
        return -BERTH_EINVAL;
    }
    if ((r = berth_msvc_base_read(berth_json_get(config, "data"), &m, a, p, &base, &why)) < 0) {
        berth_msvc_problem(p, false, "baseconfig", "", "%s", why.msg);
        return -BERTH_EINVAL;
    }
    if ((r = berth_msvc_build(&m, &base, conf, a, p, &set, e)) < 0)
        return r;
    if (p->errors > 0 || (conf->strict && p->count > 0))
        return -BERTH_EINVAL;
    return print_set(&set, format, a, out) < 0
               ? berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may")
               : 0;
}
