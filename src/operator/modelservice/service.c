#include "operator/modelservice/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "template/template.h"
#include "template/value.h"
#include "wire/json.h"

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

/* A problem at a byte of the template that is rendered now. */
static void
tell_of(const struct berth_msvc_templates *t, bool warning, size_t at, const char *msg)
{
    const bool of_service = strcmp(t->in, BERTH_MSVC_IN_SERVICE) == 0;

    if (!berth_msvc_has_room(t->problems, warning)) {
        (void)berth_msvc_problem(t->problems, warning, t->in, t->path, "%s", msg);
        return;
    }
    const struct berth_msvc_text *document =
        of_service ? berth_msvc_find_text(t->problems, t->in) : NULL;
    const struct berth_msvc_spot spot = berth_msvc_spot_of(t->text, at);
    char line[32] = "";

    /* Without the document its line within the text is all that can be told. */
    if (of_service && document == NULL && spot.line > 1)
        (void)snprintf(line, sizeof line, "line %zu: ", spot.line);
    struct berth_msvc_problem *p =
        berth_msvc_problem(t->problems, warning, t->in, t->path, "%s%s", line, msg);
    if (p == NULL)
        return;
    if (document != NULL) {
        p->value = t->text;
        p->within = spot;
    } else if (!of_service) {
        p->line = spot.line;
        p->column = spot.column;
    }
}

/* Of the one that is called so, found; else NULL. */
static void
warn_of_port(const struct berth_msvc_templates *t, const struct berth_json *ports,
             const struct berth_json *found, struct berth_slice name)
{
    const int shown = (int)(name.len < 64 ? name.len : 64);
    char known[512] = "", msg[1024];
    int64_t port;
    size_t n = 0;

    for (struct berth_json_iter it = berth_json_iter(ports); berth_json_next(&it);) {
        const char *text = berth_json_member_text(it.value, "name", "");
        if (n + strlen(text) + 3 < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", text);
    }
    if (found == NULL)
        (void)snprintf(msg, sizeof msg,
                       "getPort: spec.routing.ports has no port \"%.*s\": add {name: %.*s, port: "
                       "NUMBER} there, or name one that it has (%s); -1 stands for it",
                       shown, name.at, shown, name.at, n > 0 ? known : "none at all");
    else if (berth_json_int(berth_json_get(found, "port"), &port))
        (void)snprintf(msg, sizeof msg,
                       "getPort: port \"%.*s\" of spec.routing.ports is %" PRId64
                       ": give it a number from 1 to 65535; -1 stands for it",
                       shown, name.at, port);
    else
        (void)snprintf(msg, sizeof msg,
                       "getPort: port \"%.*s\" of spec.routing.ports has no number: give it a "
                       "port from 1 to 65535; -1 stands for it",
                       shown, name.at);
    tell_of(t, true, t->trace.at, msg);
}

/* getPort "name": the port of that name. */
static int
get_port(void *arg, struct berth_arena *a, const struct berth_tvalue *argv, size_t argc,
         struct berth_tvalue *ret, struct berth_err *e)
{
    const struct berth_msvc_templates *t = arg;
    const struct berth_json *ports = berth_json_get(berth_json_get(t->m->spec, "routing"), "ports");
    const struct berth_json *found = NULL;
    struct berth_slice name;
    int64_t port = -1;

    (void)a;
    (void)argc;
    if (argv[0].kind != BERTH_T_STRING)
        return berth_err_set(e, BERTH_EINVAL,
                             "getPort takes a port's name in quotes: getPort \"app\"");
    for (struct berth_json_iter it = berth_json_iter(ports); found == NULL && berth_json_next(&it);)
        if (berth_json_string(berth_json_get(it.value, "name"), &name) &&
            name.len == argv[0].s.len && memcmp(name.at, argv[0].s.at, name.len) == 0)
            found = it.value;
    if (!berth_json_int(berth_json_get(found, "port"), &port) || port < 0) {
        warn_of_port(t, ports, found, argv[0].s);
        port = -1;
    }
    *ret = berth_tv_int(port);
    ret->type = BERTH_TT_INT32;
    return 0;
}

bool
berth_msvc_render(struct berth_msvc_templates *t, struct berth_slice text, struct berth_arena *a,
                  struct berth_buf *out)
{
    const struct berth_template_fn port = {
        .name = "getPort", .min_args = 1, .max_args = 1, .call = get_port, .arg = t};
    const struct berth_template template = {.data = t->m->vars,
                                            .data_name = "the ModelService's variables",
                                            .fns = &port,
                                            .fn_count = 1,
                                            .cancelled = t->problems->cancelled,
                                            .cancel_arg = t->problems->cancel_arg,
                                            .trace = &t->trace};
    struct berth_err e = {""};
    struct berth_msvc_problems *p = t->problems;

    if (p->work > BERTH_MSVC_WORK_MAX || p->is_full)
        return false; /* that is told already */
    t->text = text;
    t->trace = (struct berth_template_trace){0};
    const int r = berth_template_render(&template, text.at, text.len, a, out, &e);
    p->work += t->trace.work + 1;
    if (p->work > BERTH_MSVC_WORK_MAX) {
        berth_msvc_problem(p, false, t->in, t->path,
                           "the templates of this service take more computing than they may");
        return false;
    }
    if (r == 0)
        return true;
    if (r == -BERTH_ENOMEM) {
        berth_msvc_no_room(p, t->in, t->path);
        return false;
    }
    for (size_t i = 0; i < t->trace.failure_count; i++)
        tell_of(t, t->was_literal && t->problems->is_preview, t->trace.failures[i].at,
                t->trace.failures[i].why);
    return false;
}

/* ---- strings of the service itself ---- */

struct interpolation {
    struct berth_msvc_templates templates;
    struct berth_arena *a, one; /* one: for what rendering one string takes */
    struct berth_jw w;
    char path[512];
};

static void
put_text(struct interpolation *x, struct berth_slice text)
{
    struct berth_buf out;

    if (memmem(text.at, text.len, "{{", 2) == NULL) {
        berth_jw_string_n(&x->w, text.at, text.len);
        return;
    }
    x->one.max_bytes = x->a->max_bytes - x->a->used_bytes;
    berth_buf_init(&out, &x->one);
    x->templates.path = x->path;
    x->templates.was_literal = strstr(x->path, ".args[") == NULL;
    if (berth_msvc_render(&x->templates, text, &x->one, &out))
        berth_jw_string_n(&x->w, out.at, out.len);
    else
        berth_jw_string_n(&x->w, text.at, text.len);
    berth_arena_reset(&x->one);
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

    berth_arena_init(&x.one, a->max_bytes);
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
    berth_arena_fini(&x.one);
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
    const struct berth_json *routing = berth_json_get(m->spec, "routing");

    if (m->name[0] == '\0')
        berth_msvc_invalid(p, in, "metadata.name", "it is missing: the service's name");
    if (berth_json_type(routing) != BERTH_JSON_OBJECT)
        berth_msvc_invalid(p, in, "spec.routing", "it is missing: {modelName: NAME}");
    else if (m->model[0] == '\0' &&
             berth_json_type(berth_json_get(routing, "modelName")) == BERTH_JSON_STRING)
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
        return berth_msvc_no_memory(a, "", e);
    check_required(ret, p);
    if (ret->auth_secret[0] != '\0' && !berth_msvc_is_secret(ret->auth_secret))
        berth_msvc_invalid(p, BERTH_MSVC_IN_SERVICE, "spec.modelArtifacts.authSecretName",
                           "%.64s is no name that a Secret may have: small letters, digits, '-' "
                           "and '.'",
                           ret->auth_secret);
    const int r = berth_msvc_artifact_parse(berth_json_member_text(artifacts, "uri", ""), a,
                                            &ret->artifact, &why);
    if (r == -BERTH_ENOMEM)
        return berth_msvc_no_memory(a, "", e);
    if (r < 0)
        berth_msvc_problem(p, false, "modelservice",
                           berth_json_type(artifacts) == BERTH_JSON_OBJECT
                               ? "spec.modelArtifacts.uri"
                               : "spec.modelArtifacts",
                           "%s", why.msg);
    else if (ret->artifact.flaw[0] != '\0')
        berth_msvc_invalid(p, "modelservice", "spec.modelArtifacts.uri", "%s", ret->artifact.flaw);
    berth_msvc_names_of(ret->name, ret->model, &ret->names);
    if ((ret->vars = make_vars(ret, a)) == NULL || (ret->spec = interpolate(ret, a, p)) == NULL)
        return berth_msvc_no_memory(a, "", e);
    return 0;
}
