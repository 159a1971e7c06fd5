#include "operator/modelservice/generate.h"

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "conf/near.h"
#include "merge/limits.h"
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
    berth_buf_init(&text, a);
    if (format == BERTH_MSVC_JSON) {
        berth_jw_init(&w, &text);
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
        if (!text.failed)
            berth_json_indent(out, text.at, text.len);
        berth_buf_putc(out, '\n');
        return text.failed || out->failed ? -BERTH_ENOMEM : 0;
    }
    berth_jw_init(&w, &text);
    put_map(set, &w);
    if (text.failed || berth_json_parse(a, text.at, text.len, NULL, &map, NULL) < 0)
        return -BERTH_ENOMEM;
    return berth_yaml_put(out, map, a);
}

/* "kind: ModelService" as a line of its own. */
static bool
is_of_kind(struct berth_slice line, const char *kind)
{
    static const char key[] = "kind:";
    size_t n = sizeof key - 1;
    const size_t len = strlen(kind);

    if (line.len < n || memcmp(line.at, key, n) != 0)
        return false;
    while (n < line.len && line.at[n] == ' ')
        n++;
    return line.len - n >= len && memcmp(line.at + n, kind, len) == 0 &&
           (line.len - n == len || strchr(" \t\r", line.at[n + len]) != NULL);
}

/* Which of the documents is of the kind, from 1; 0: it is not seen which. */
static size_t
document_of(struct berth_slice text, const char *kind)
{
    size_t documents = 0;
    bool begun = false;

    for (size_t from = 0, n; from < text.len; from += n + 1) {
        const char *at = text.at + from, *end = memchr(at, '\n', text.len - from);
        n = end != NULL ? (size_t)(end - at) : text.len - from;
        if (n >= 3 && memcmp(at, "---", 3) == 0) {
            begun = false;
            continue;
        }
        if (n == 0 || strchr(" \t\r#%", at[0]) != NULL)
            continue; /* nothing, a comment, a directive, or of what has begun */
        documents += !begun;
        begun = true;
        if (is_of_kind((struct berth_slice){at, n}, kind))
            return documents;
    }
    return 0;
}

/* Is it what others keep such an object in?  Which then is told. */
static bool
is_among_others(const struct berth_json *v, struct berth_slice text, const char *in,
                const char *kind, struct berth_msvc_problems *p)
{
    const char *is = berth_json_member_text(v, "kind", "");
    const size_t len = strlen(is);
    const bool is_list = len >= 4 && strcmp(is + len - 4, "List") == 0;
    const size_t document = document_of(text, kind);

    if (is[0] == '\0' || strcmp(is, kind) == 0 || (!is_list && document < 2))
        return false;
    if (is_list)
        berth_msvc_problem(p, false, in, "kind",
                           "it is a list: kubectl get %s NAME -o yaml prints one %s",
                           strcmp(kind, "ConfigMap") == 0 ? "configmap" : "modelservice", kind);
    else
        berth_msvc_problem(p, false, in, "kind",
                           "the %s is document %zu: give each a file of its own", kind, document);
    return true;
}

/* A file as a tree; *ret stays where a base has nothing in it.  What it should be of is said where
 * it is another's. */
static int
read_file(struct berth_slice text, const char *in, const char *kind, struct berth_msvc_problems *p,
          const struct berth_json **ret)
{
    const struct berth_json *v = NULL;

    (void)berth_msvc_text_of(p, in, text);
    if (!berth_msvc_parse(p, in, text, &v))
        return -BERTH_EINVAL;
    if (berth_json_type(v) == BERTH_JSON_NULL && strcmp(in, BERTH_MSVC_IN_BASE) == 0) {
        berth_msvc_problem(p, true, in, "",
                           "there is nothing in it: the base configuration is empty");
        return 0; /* as llm-d has it */
    }
    if (berth_json_type(v) == BERTH_JSON_NULL) {
        berth_msvc_problem(p, false, in, "", "there is nothing in it, it should be a %s", kind);
        return -BERTH_EINVAL;
    }
    if (berth_json_type(v) != BERTH_JSON_OBJECT) {
        berth_msvc_problem(p, false, in, "", "it is %s, should be a %s", berth_json_type_name(v),
                           kind);
        return -BERTH_EINVAL;
    }
    if (is_among_others(v, text, in, kind, p))
        return -BERTH_EINVAL;
    *ret = v;
    return 0;
}

/* "kind" or "apiVersion" of a file: nobody takes an object of which it is not known. */
static void
check_type(const struct berth_json *v, const char *in, const char *member, const char *want,
           struct berth_msvc_problems *p)
{
    const char *is = berth_json_member_text(v, member, "");
    const bool mixed = strcmp(is, "ModelService") == 0 || strcmp(is, "ConfigMap") == 0;

    if (is[0] == '\0')
        berth_msvc_invalid(p, in, member, "it is missing: %s", want);
    else if (strcmp(is, want) != 0)
        berth_msvc_invalid(p, in, member, "%.64s: it should be %s%s", is, want,
                           mixed ? ": are -m and -b mixed up?" : "");
}

/* What the API server would say of it: a cluster's operator is shown none that it has refused. */
static int
check_service(const struct berth_json *doc, struct berth_arena *a, struct berth_msvc_problems *p,
              struct berth_err *e)
{
    struct berth_err why = {""};
    size_t count;
    const struct berth_limit *limits = berth_limits_of_model_service(&count);
    int r = berth_msvc_limited(p, BERTH_MSVC_IN_SERVICE, limits, count, doc, &why);

    check_type(doc, BERTH_MSVC_IN_SERVICE, "apiVersion", berth_msvc_services.group_version, p);
    check_type(doc, BERTH_MSVC_IN_SERVICE, "kind", berth_msvc_services.kind, p);
    if (r == 0) {
        limits = berth_limits_beyond_definition(&count);
        r = berth_msvc_limited(p, BERTH_MSVC_IN_SERVICE, limits, count, doc, &why);
    }
    if (r == -BERTH_ENOMEM)
        return berth_msvc_no_memory(a, "the ModelService", e);
    if (r < 0)
        berth_msvc_problem(p, false, BERTH_MSVC_IN_SERVICE, "", "%s", why.msg);
    return 0;
}

/* The service with what files says of its metadata, its shape looked at. */
static int
read_service(const struct berth_msvc_files *files, struct berth_arena *a,
             struct berth_msvc_problems *p, const struct berth_json **ret, struct berth_err *e)
{
    const struct berth_json *doc = NULL;
    const int r = read_file(files->service, BERTH_MSVC_IN_SERVICE, "ModelService", p, &doc);
    struct berth_buf b;
    struct berth_jw w;

    if (r < 0)
        return r;
    if (files->more != NULL) {
        berth_buf_init(&b, a);
        berth_jw_init(&w, &b);
        berth_jw_merged(&w, doc, files->more);
        if (b.failed || berth_json_parse(a, b.at, b.len, NULL, &doc, NULL) < 0)
            return berth_msvc_no_memory(a, "the ModelService", e);
    }
    *ret =
        berth_msvc_shaped(p, BERTH_MSVC_IN_SERVICE, berth_shape_of("ModelService", NULL), "", doc);
    return *ret != NULL ? 0 : berth_msvc_no_memory(a, "the ModelService", e);
}

/* A ConfigMap without data: by what name has it them? */
static void
check_data(const struct berth_json *config, struct berth_msvc_problems *p)
{
    static const char *const names[] = {"data"};

    for (struct berth_json_iter it = berth_json_iter(config); berth_json_next(&it);) {
        const char *key = berth_arena_printf(p->arena, "%.*s", (int)it.key.len, it.key.at);
        if (key != NULL && berth_near_miss(key, names, BERTH_COUNT(names)) != NULL) {
            berth_msvc_problem(p, true, BERTH_MSVC_IN_BASE, key,
                               "no such field: do you mean data? The base configuration is empty");
            return;
        }
    }
    berth_msvc_problem(p, true, BERTH_MSVC_IN_BASE, "",
                       "it has no data: the base configuration is empty");
}

/* config NULL: there is none, or, as is_told, nothing in it. */
static void
check_base(const struct berth_json *config, bool is_told, const struct berth_msvc *m,
           struct berth_msvc_problems *p)
{
    const char *named =
        berth_json_member_text(berth_json_get(m->spec, "baseConfigMapRef"), "name", "");
    const char *given = berth_json_member_text(berth_json_get(config, "metadata"), "name", "");

    if (named[0] != '\0' && given[0] != '\0' && strcmp(named, given) != 0)
        berth_msvc_problem(p, true, BERTH_MSVC_IN_BASE, "metadata.name",
                           "this is %.253s, and the ModelService refers to %.253s "
                           "(spec.baseConfigMapRef.name): is it the right file?",
                           given, named);
    if (config == NULL && !is_told && named[0] != '\0')
        berth_msvc_problem(p, true, BERTH_MSVC_IN_SERVICE, "spec.baseConfigMapRef",
                           "it names %.253s: give its ConfigMap with -b", named);
    if (config != NULL && berth_json_get(config, "data") == NULL)
        check_data(config, p);
}

/* doc NULL: it could not be read, which is told. */
static int
draw_up(const struct berth_json *doc, const struct berth_msvc_files *files,
        const struct berth_msvc_conf *conf, struct berth_arena *a, struct berth_msvc_problems *p,
        struct berth_msvc *ret_service, struct berth_msvc_set *ret, struct berth_err *e)
{
    const struct berth_json *config = NULL;
    struct berth_msvc_base base;
    struct berth_err why = {""};
    int r;

    if (files->base.at != NULL &&
        read_file(files->base, BERTH_MSVC_IN_BASE, "ConfigMap", p, &config) < 0)
        return -BERTH_EINVAL;
    if (config != NULL && berth_json_get(config, "kind") != NULL)
        check_type(config, BERTH_MSVC_IN_BASE, "kind", "ConfigMap", p);
    if (doc == NULL)
        return -BERTH_EINVAL;
    if ((r = berth_msvc_read(doc, a, p, ret_service, &why)) < 0) {
        if (r == -BERTH_ENOMEM)
            berth_msvc_no_room(p, BERTH_MSVC_IN_SERVICE, "spec");
        else if (p->errors == 0) /* else what its spec is has been told */
            berth_msvc_problem(p, false, BERTH_MSVC_IN_SERVICE, "spec", "%s", why.msg);
        return -BERTH_EINVAL;
    }
    if (files->base.at == NULL) {
        config = files->base_map;
        p->base_in_cluster = config != NULL;
    }
    check_base(config, files->base.at != NULL, ret_service, p);
    if ((r = berth_msvc_base_read(berth_json_get(config, "data"), ret_service, a, p, &base, &why)) <
        0) {
        berth_msvc_problem(p, false, BERTH_MSVC_IN_BASE, "data", "%s", why.msg);
        return -BERTH_EINVAL;
    }
    return berth_msvc_build(ret_service, &base, conf, a, p, ret, e);
}

int
berth_msvc_draw_up(const struct berth_msvc_files *files, const struct berth_msvc_conf *conf,
                   struct berth_arena *a, struct berth_msvc_problems *p,
                   struct berth_msvc *ret_service, struct berth_msvc_set *ret, struct berth_err *e)
{
    const struct berth_json *doc = NULL;

    berth_err_set(e, BERTH_EINVAL, "%s", "");
    p->of_files = true;
    int r = read_service(files, a, p, &doc, e);
    if (r != -BERTH_ENOMEM)
        r = draw_up(doc, files, conf, a, p, ret_service, ret, e);
    if (r != -BERTH_ENOMEM && doc != NULL && !p->is_full) {
        const int checked = check_service(doc, a, p, e);
        r = checked < 0 ? checked : r;
    }
    if (r == 0 && (p->errors > 0 || (conf->strict && p->warnings > 0)))
        r = -BERTH_EINVAL;
    if (p->is_full)
        r = berth_err_set(e, BERTH_ENOMEM, "%s", ""); /* once is enough */
    berth_msvc_locate(p);
    berth_msvc_in_files(p);
    return r;
}

int
berth_msvc_generate(const struct berth_msvc_files *files, const struct berth_msvc_conf *conf,
                    enum berth_msvc_format format, struct berth_arena *a,
                    struct berth_msvc_problems *p, struct berth_buf *out, struct berth_err *e)
{
    struct berth_msvc_conf how = *conf;
    struct berth_msvc_set set;
    struct berth_msvc m = {0};

    how.applied = format != BERTH_MSVC_MAP;
    how.leaves_replicas = true;
    p->is_preview = !how.applied && !how.managed && !how.strict;
    const int r = berth_msvc_draw_up(files, &how, a, p, &m, &set, e);
    if (r < 0)
        return r;
    return print_set(&set, format, a, out) < 0
               ? berth_msvc_no_memory(a, "what it comes to, as text", e)
               : 0;
}
