#include "operator/modelservice/service.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "merge/shape.h"
#include "template/template.h"
#include "template/value.h"
#include "wire/json.h"
#include "wire/yaml.h"

void
berth_msvc_problem(struct berth_msvc_problems *p, bool warning, const char *in, const char *path,
                   const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    p->errors += !warning;
    if (p->count == BERTH_MSVC_PROBLEMS_MAX)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *kept = berth_arena_strdup(p->arena, text);
    const char *where = berth_arena_strdup(p->arena, path);
    p->at[p->count++] = (struct berth_msvc_problem){.in = in,
                                                    .path = where != NULL ? where : "",
                                                    .text = kept != NULL ? kept : "out of memory",
                                                    .warning = warning};
}

bool
berth_msvc_parse(struct berth_msvc_problems *p, const char *in, struct berth_slice text,
                 const struct berth_json **ret)
{
    struct berth_yaml_notes notes = {0};
    struct berth_err why = {""};

    if (berth_yaml_parse_told(p->arena, text.at, text.len, ret, &notes, &why) < 0) {
        berth_msvc_problem(p, false, in, "", "%s", why.msg);
        return false;
    }
    for (size_t i = 0; i < notes.count; i++) {
        berth_msvc_problem(p, true, in, "", "%s", notes.at[i].text);
        if (p->count < BERTH_MSVC_PROBLEMS_MAX)
            p->at[p->count - 1].line = notes.at[i].line;
    }
    return true;
}

const struct berth_json *
berth_msvc_shaped(struct berth_msvc_problems *p, const char *in, const struct berth_shape *shape,
                  const char *at, const struct berth_json *v)
{
    const struct berth_shape_how how = {.prefix = at};
    struct berth_shape_problems found;
    const struct berth_json *ret = NULL;
    struct berth_err e;

    if (berth_shape_check(shape, v, &how, p->arena, &ret, &found, &e) < 0)
        return NULL;
    for (size_t i = 0; i < found.count; i++)
        berth_msvc_problem(p, !found.at[i].is_error, in, found.at[i].path, "%s", found.at[i].text);
    if (found.beyond > 0)
        berth_msvc_problem(p, found.errors == 0, in, at, "%zu more like these", found.beyond);
    return ret;
}

/* ---- what templates see ---- */

static const struct berth_json *
make_vars(const struct berth_msvc *m, struct berth_arena *a)
{
    const struct berth_msvc_names *n = &m->names;
    const struct {
        const char *name, *value;
    } vars[] = {{"ModelServiceName", m->name},
                {"ModelServiceNamespace", m->ns},
                {"ModelName", m->model},
                {"SanitizedModelName", n->model},
                {"HFModelName", m->artifact.hf_model},
                {"ModelPath", m->artifact.model_path},
                {"MountedModelPath", m->artifact.mounted},
                {"AuthSecretName", m->auth_secret},
                {"PrefillDeploymentName", n->of[BERTH_MSVC_PREFILL_DEPLOYMENT]},
                {"DecodeDeploymentName", n->of[BERTH_MSVC_DECODE_DEPLOYMENT]},
                {"PrefillServiceName", n->of[BERTH_MSVC_PREFILL_SERVICE]},
                {"DecodeServiceName", n->of[BERTH_MSVC_DECODE_SERVICE]},
                {"EPPDeploymentName", n->of[BERTH_MSVC_EPP_DEPLOYMENT]},
                {"EPPServiceName", n->of[BERTH_MSVC_EPP_SERVICE]},
                {"InferencePoolName", n->of[BERTH_MSVC_POOL]},
                {"InferenceModelName", n->of[BERTH_MSVC_MODEL]}};
    const struct berth_json *ret = NULL;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    for (size_t i = 0; i < sizeof vars / sizeof *vars; i++) {
        berth_jw_key(&w, vars[i].name);
        berth_jw_string(&w, vars[i].value);
    }
    berth_jw_object_end(&w);
    if (b.failed || berth_json_parse(a, b.at, b.len, NULL, &ret, NULL) < 0)
        return NULL;
    return ret;
}

static void
warn_of_port(const struct berth_msvc_templates *t, const struct berth_json *ports,
             struct berth_slice name)
{
    char known[512] = "";
    size_t n = 0;

    for (struct berth_json_iter it = berth_json_iter(ports); berth_json_next(&it);) {
        const char *text = berth_json_member_text(it.value, "name", "");
        if (n + strlen(text) + 3 < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", text);
    }
    berth_msvc_problem(t->problems, true, t->in, t->path,
                       "getPort: spec.routing.ports has no port \"%.*s\" (it has %s); -1 stands "
                       "for it",
                       (int)(name.len < 64 ? name.len : 64), name.at,
                       n > 0 ? known : "none at all");
}

/* getPort "name": the port of that name. */
static int
get_port(void *arg, struct berth_arena *a, const struct berth_tvalue *argv, size_t argc,
         struct berth_tvalue *ret, struct berth_err *e)
{
    const struct berth_msvc_templates *t = arg;
    const struct berth_json *ports = berth_json_get(berth_json_get(t->m->spec, "routing"), "ports");
    struct berth_slice name;
    uint64_t port;

    (void)a;
    (void)argc;
    if (argv[0].kind != BERTH_T_STRING)
        return berth_err_set(e, BERTH_EINVAL, "getPort takes a port's name, a string");
    for (struct berth_json_iter it = berth_json_iter(ports); berth_json_next(&it);) {
        if (!berth_json_string(berth_json_get(it.value, "name"), &name) ||
            name.len != argv[0].s.len || memcmp(name.at, argv[0].s.at, name.len) != 0 ||
            !berth_json_uint(berth_json_get(it.value, "port"), &port))
            continue;
        *ret = berth_tv_int((int64_t)port);
        ret->type = BERTH_TT_INT32;
        return 0;
    }
    warn_of_port(t, ports, argv[0].s);
    *ret = berth_tv_int(-1);
    ret->type = BERTH_TT_INT32;
    return 0;
}

/* The message without its template's name, which the problem has already. */
static const char *
without(const char *name, const char *msg)
{
    const size_t n = strlen(name);

    if (strncmp(msg, name, n) != 0 || msg[n] != ':')
        return msg;
    return msg + n + 1 + (msg[n + 1] == ' ');
}

bool
berth_msvc_render(struct berth_msvc_templates *t, struct berth_slice text, struct berth_arena *a,
                  struct berth_buf *out)
{
    const struct berth_template_fn port = {
        .name = "getPort", .min_args = 1, .max_args = 1, .call = get_port, .arg = t};
    const struct berth_template template = {.name = t->path[0] != '\0' ? t->path : t->in,
                                            .data = t->m->vars,
                                            .data_name = "the ModelService's variables",
                                            .fns = &port,
                                            .fn_count = 1};
    struct berth_err e = {""};

    if (berth_template_render(&template, text.at, text.len, a, out, &e) == 0)
        return true;
    berth_msvc_problem(t->problems, false, t->in, t->path, "%s", without(template.name, e.msg));
    return false;
}

/* ---- strings of the service itself ---- */

struct interpolation {
    struct berth_msvc_templates templates;
    struct berth_arena *a;
    struct berth_jw w;
    char path[512];
};

static void
put_text(struct interpolation *x, struct berth_slice text)
{
    struct berth_buf out;

    berth_buf_init(&out, x->a);
    x->templates.path = x->path;
    if (memmem(text.at, text.len, "{{", 2) != NULL &&
        berth_msvc_render(&x->templates, text, x->a, &out))
        berth_jw_string_n(&x->w, out.at, out.len);
    else
        berth_jw_string_n(&x->w, text.at, text.len);
}

static void
put_interpolated(struct interpolation *x, const struct berth_json *v)
{
    const enum berth_json_type type = berth_json_type(v);
    const size_t len = strlen(x->path);
    struct berth_slice text;

    if (berth_json_string(v, &text)) {
        put_text(x, text);
        return;
    }
    if (type != BERTH_JSON_OBJECT && type != BERTH_JSON_ARRAY) {
        berth_jw_value(&x->w, v);
        return;
    }
    type == BERTH_JSON_OBJECT ? berth_jw_object(&x->w) : berth_jw_array(&x->w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (type == BERTH_JSON_OBJECT) {
            berth_jw_key_n(&x->w, it.key.at, it.key.len);
            (void)snprintf(x->path + len, sizeof x->path - len, ".%.*s", (int)it.key.len,
                           it.key.at);
        } else {
            (void)snprintf(x->path + len, sizeof x->path - len, "[%zu]", it.index);
        }
        put_interpolated(x, it.value);
        x->path[len] = '\0';
    }
    type == BERTH_JSON_OBJECT ? berth_jw_object_end(&x->w) : berth_jw_array_end(&x->w);
}

/* All strings below prefill, decode and endpointPicker; the rest is what the variables are made
 * of. */
static const struct berth_json *
interpolate(const struct berth_msvc *m, struct berth_arena *a, struct berth_msvc_problems *p)
{
    struct interpolation x = {.templates = {.m = m, .problems = p, .in = "modelservice"}, .a = a};
    const struct berth_json *ret = NULL;
    struct berth_buf b;

    berth_buf_init(&b, a);
    berth_jw_init(&x.w, &b);
    berth_jw_object(&x.w);
    for (struct berth_json_iter it = berth_json_iter(m->spec); berth_json_next(&it);) {
        berth_jw_key_n(&x.w, it.key.at, it.key.len);
        if (!berth_slice_is(it.key, "prefill") && !berth_slice_is(it.key, "decode") &&
            !berth_slice_is(it.key, "endpointPicker")) {
            berth_jw_value(&x.w, it.value);
            continue;
        }
        (void)snprintf(x.path, sizeof x.path, "spec.%.*s", (int)it.key.len, it.key.at);
        put_interpolated(&x, it.value);
    }
    berth_jw_object_end(&x.w);
    if (b.failed || berth_json_parse(a, b.at, b.len, NULL, &ret, NULL) < 0)
        return NULL;
    return ret;
}

/* ---- reading ---- */

static const char *
copy_of(const struct berth_json *v, const char *key, struct berth_arena *a)
{
    return berth_arena_strdup(a, berth_json_member_text(v, key, ""));
}

static void
check_required(const struct berth_msvc *m, struct berth_msvc_problems *p)
{
    static const char in[] = "modelservice";

    if (m->name[0] == '\0')
        berth_msvc_problem(p, false, in, "metadata.name", "it is missing: the service's name");
    if (berth_json_type(berth_json_get(m->spec, "routing")) != BERTH_JSON_OBJECT)
        berth_msvc_problem(p, false, in, "spec.routing", "it is missing: {modelName: NAME}");
    else if (m->model[0] == '\0')
        berth_msvc_problem(p, true, in, "spec.routing.modelName",
                           "it is empty: no request can name the model");
}

int
berth_msvc_read(const struct berth_json *doc, struct berth_arena *a, struct berth_msvc_problems *p,
                struct berth_msvc *ret, struct berth_err *e)
{
    const struct berth_json *meta = berth_json_get(doc, "metadata");
    struct berth_err why = {""};

    ret->spec = berth_json_get(doc, "spec");
    if (berth_json_type(ret->spec) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL, "it has no spec: it is not a ModelService");
    const struct berth_json *artifacts = berth_json_get(ret->spec, "modelArtifacts");
    bool read_only = true;
    (void)berth_json_bool(berth_json_get(artifacts, "readOnly"), &read_only);
    ret->read_only = read_only;
    ret->name = copy_of(meta, "name", a);
    ret->ns = copy_of(meta, "namespace", a);
    ret->uid = copy_of(meta, "uid", a);
    ret->model = copy_of(berth_json_get(ret->spec, "routing"), "modelName", a);
    ret->auth_secret = copy_of(artifacts, "authSecretName", a);
    ret->size = copy_of(artifacts, "size", a);
    if (ret->name == NULL || ret->ns == NULL || ret->uid == NULL || ret->model == NULL ||
        ret->auth_secret == NULL || ret->size == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    check_required(ret, p);
    const int r = berth_msvc_artifact_parse(berth_json_member_text(artifacts, "uri", ""), a,
                                            &ret->artifact, &why);
    if (r == -BERTH_ENOMEM)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (r < 0)
        berth_msvc_problem(p, false, "modelservice", "spec.modelArtifacts.uri", "%s", why.msg);
    berth_msvc_names_of(ret->name, ret->model, &ret->names);
    if ((ret->vars = make_vars(ret, a)) == NULL || (ret->spec = interpolate(ret, a, p)) == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may");
    return 0;
}
