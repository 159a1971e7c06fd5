#include "api/services.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/fields.h"
#include "base/arena.h"
#include "base/num.h"
#include "wire/uri.h"
#include "wire/yaml.h"

/* ModelServeShim's API: services that are deployed elsewhere. */

enum { MODELS_LISTED_MAX = 10000 };

struct berth_deploy *
berth_services_open(struct berth_call *c)
{
    if (c->api->conf.deploy == NULL)
        berth_call_fail(c, -BERTH_EUNSUPPORTED, NULL,
                        "this server deploys no services; start it with deploy.enabled");
    return c->api->conf.deploy;
}

struct berth_actor
berth_services_actor(struct berth_call *c)
{
    const struct berth_slice key = berth_admit_key(c->x);
    const struct berth_slice *operator= berth_exchange_header(c->x, "x-operator");
    struct berth_actor who = {.name = c->x->peer, .peer = c->x->peer, .request_id = c->id};
    const struct berth_api_key *known =
        c->api->conf.key_count > 0 && key.len > 0 ? berth_admit_find(&c->api->admit, key) : NULL;
    const char *name = NULL;

    if (known != NULL) {
        char print[BERTH_API_KEY_PRINT];

        berth_admit_print(known, print);
        name = known->name[0] != '\0' ? known->name : berth_arena_strdup(c->arena, print);
        who.known = true;
        who.scopes = berth_admit_scopes(&c->api->admit, key);
    } else if (operator!= NULL && operator->len> 0 && operator->len <= 128) {
        name = berth_arena_strndup(c->arena, operator->at, operator->len);
    }
    if (name != NULL)
        who.name = name;
    return who;
}

void
berth_services_answer(struct berth_call *c, int r, const char *message,
                      const struct berth_buf *data, const char *field, const struct berth_err *e)
{
    struct berth_buf b;
    struct berth_jw w;

    if (r < 0) {
        const struct berth_fault f = {.code = r,
                                      .kind = r == -BERTH_ENOENT ? "NOT_FOUND" : NULL,
                                      .param = field != NULL && field[0] != '\0' ? field : NULL,
                                      .message = e->msg};
        berth_call_fault(c, &f);
        return;
    }
    berth_buf_init(&b, c->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "code");
    berth_jw_int(&w, 0);
    berth_jw_key(&w, "message");
    berth_jw_string(&w, message);
    berth_jw_key(&w, "data");
    if (data != NULL && data->len > 0)
        berth_jw_raw(&w, data->at, data->len);
    else
        berth_jw_null(&w);
    berth_jw_object_end(&w);
    b.failed |= data != NULL && data->failed;
    berth_call_json(c, 200, &b);
}

const char *
berth_services_named(struct berth_call *c, struct berth_deploy *d)
{
    char *id = berth_arena_alloc(c->arena, BERTH_SERVICE_ID_MAX);
    struct berth_err e;
    int r;

    if (id == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "out of memory");
        return NULL;
    }
    r = berth_deploy_find(d, c->version.at, false, id, &e);
    if (r == 0)
        return id;
    berth_services_answer(c, r, NULL, NULL, "serviceId", &e);
    return NULL;
}

const char *
berth_services_asked(struct berth_call *c, const char *key)
{
    struct berth_slice v;

    return berth_uri_query(c->arena, c->x->query, key, &v)
               ? berth_arena_strndup(c->arena, v.at, v.len)
               : NULL;
}

bool
berth_services_asked_number(struct berth_call *c, const char *key, int64_t min, int64_t max,
                            int64_t *ret)
{
    const char *text = berth_services_asked(c, key);
    char message[128];

    if (text == NULL || berth_int_parse(text, strlen(text), min, max, ret))
        return true;
    (void)snprintf(message, sizeof message, "%s: must be a whole number from %lld to %lld", key,
                   (long long)min, (long long)max);
    berth_call_fail(c, -BERTH_EINVAL, key, message);
    return false;
}

bool
berth_services_asked_flag(struct berth_call *c, const char *key)
{
    const char *text = berth_services_asked(c, key);

    return text != NULL && (text[0] == '\0' || strcmp(text, "1") == 0 ||
                            strcmp(text, "true") == 0 || strcmp(text, "yes") == 0);
}

/* ---- specs in bodies ---- */

static bool
is_yaml(const struct berth_call *c)
{
    const struct berth_slice *type = berth_exchange_header(c->x, "content-type");

    return type != NULL && memmem(type->at, type->len, "yaml", 4) != NULL;
}

/* The body as a spec.  False: it is none, and c is answered. */
static bool
read_spec(struct berth_call *c, struct berth_deploy *d, struct berth_spec *ret, bool *ret_lenient)
{
    const struct berth_spec_defaults *dflt = berth_deploy_defaults(d);
    struct berth_spec_fault f = {""};
    struct berth_err e = {""};
    int r;

    *ret_lenient = false;
    if (is_yaml(c)) {
        const struct berth_json *body;

        r = c->x->body.len <= BERTH_SPEC_BYTES_MAX
                ? berth_yaml_parse(c->arena, c->x->body.at, c->x->body.len, &body, &e)
                : berth_err_set(&e, BERTH_ETOOBIG, "the spec is too large");
        if (r == 0)
            r = berth_spec_parse(body, dflt, c->arena, ret, &f, &e);
    } else {
        r = berth_spec_parse_text(c->x->body, dflt, c->arena, ret, ret_lenient, &f, &e);
    }
    if (r == 0)
        r = berth_spec_check(ret, &f, &e);
    if (r < 0)
        berth_services_answer(c, r, NULL, NULL, f.field, &e);
    return r == 0;
}

/* What was accepted: its steps are yet to come, whatever has happened since. */
static void
put_accepted(struct berth_call *c, struct berth_deploy *d, const char *id, bool lenient,
             struct berth_buf *out)
{
    struct berth_buf pipeline;
    const struct berth_json *p = NULL, *steps;
    struct berth_slice first = {"", 0};
    struct berth_jw w;

    berth_buf_init(&pipeline, c->arena);
    if (berth_deploy_pipeline(d, id, NULL, c->arena, &pipeline, NULL) == 0)
        (void)berth_json_parse(c->arena, pipeline.at, pipeline.len, NULL, &p, NULL);
    steps = berth_json_get(p, "totalSteps");
    struct berth_json_iter it = berth_json_iter(steps);
    if (berth_json_next(&it))
        (void)berth_json_string(it.value, &first);
    berth_jw_init(&w, out);
    berth_jw_object(&w);
    berth_jw_pair(&w, "serviceId", id);
    berth_jw_pair(&w, "status", "pending");
    berth_jw_pair(&w, "currentStep", first.at);
    berth_jw_key(&w, "totalSteps");
    if (steps != NULL)
        berth_jw_value(&w, steps);
    else
        berth_jw_null(&w);
    if (lenient)
        berth_jw_pair(
            &w, "warning",
            "the body holds a backslash before line ends, which is not JSON; it was taken as "
            "blanks");
    berth_jw_object_end(&w);
}

void
berth_services_deploy(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    struct berth_spec spec;
    bool lenient;
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_buf data;
    struct berth_err e = {""};
    int r;

    if (d == NULL || !read_spec(c, d, &spec, &lenient))
        return;
    const struct berth_actor who = berth_services_actor(c);
    r = berth_deploy_create(d, &spec, &who, id, &e);
    berth_buf_init(&data, c->arena);
    if (r == 0)
        put_accepted(c, d, id, lenient, &data);
    berth_services_answer(c, r == -BERTH_ENOENT ? -BERTH_EINVAL : r, "deploy submit success", &data,
                          NULL, &e);
}

/* {"serviceId", "status", "revision"} after a change. */
static void
answer_change(struct berth_call *c, int r, const char *message, const char *id, const char *status,
              uint64_t revision, const struct berth_err *e)
{
    struct berth_buf data;
    struct berth_jw w;

    berth_buf_init(&data, c->arena);
    berth_jw_init(&w, &data);
    berth_jw_object(&w);
    berth_jw_pair(&w, "serviceId", id);
    if (status != NULL)
        berth_jw_pair(&w, "status", status);
    if (revision > 0) {
        berth_jw_key(&w, "revision");
        berth_jw_uint(&w, revision);
    }
    berth_jw_object_end(&w);
    berth_services_answer(c, r, message, &data, NULL, e);
}

/* The revision that If-Match or ?revision= says was read; 0: none. */
static bool
read_expected(struct berth_call *c, uint64_t *ret)
{
    const struct berth_slice *h = berth_exchange_header(c->x, "if-match");
    int64_t n = 0;

    if (h != NULL) {
        struct berth_slice v = *h;

        if (v.len >= 2 && v.at[0] == '"' && v.at[v.len - 1] == '"')
            v = (struct berth_slice){v.at + 1, v.len - 2};
        if (!berth_int_parse(v.at, v.len, 1, INT64_MAX, &n)) {
            berth_call_fail(c, -BERTH_EINVAL, "If-Match", "If-Match: must be a revision's number");
            return false;
        }
    } else if (!berth_services_asked_number(c, "revision", 1, INT64_MAX, &n)) {
        return false;
    }
    *ret = (uint64_t)n;
    return true;
}

static void
update(struct berth_call *c, struct berth_deploy *d, const char *id, const struct berth_spec *spec,
       uint64_t expected)
{
    const struct berth_actor who = berth_services_actor(c);
    uint64_t revision = 0;
    struct berth_err e = {""};
    const int r = berth_deploy_update(d, id, spec, expected, &who, &revision, &e);

    answer_change(c, r == -BERTH_ENOENT ? -BERTH_EINVAL : r, "update submit success", id,
                  "updating", revision, &e);
}

void
berth_services_update(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *id = d != NULL ? berth_services_named(c, d) : NULL;
    struct berth_spec spec;
    bool lenient;
    uint64_t expected = 0;

    if (id != NULL && read_expected(c, &expected) && read_spec(c, d, &spec, &lenient))
        update(c, d, id, &spec, expected);
}

/* A spec with its variables as {NAME: value}, so that a patch may be about one of them. */
static int
by_variable(struct berth_arena *a, const struct berth_json **spec, struct berth_err *e)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    for (struct berth_json_iter it = berth_json_iter(*spec); berth_json_next(&it);) {
        berth_jw_key_n(&w, it.key.at, it.key.len);
        if (!berth_slice_is(it.key, "env")) {
            berth_jw_value(&w, it.value);
            continue;
        }
        berth_jw_object(&w);
        for (struct berth_json_iter v = berth_json_iter(it.value); berth_json_next(&v);) {
            struct berth_slice name;

            if (!berth_json_string(berth_json_get(v.value, "key"), &name))
                continue; /* there is none: it is a spec in its one form */
            berth_jw_key_n(&w, name.at, name.len);
            berth_jw_value(&w, berth_json_get(v.value, "value"));
        }
        berth_jw_object_end(&w);
    }
    berth_jw_object_end(&w);
    return berth_buf_text(&b) != NULL ? berth_json_parse(a, b.at, b.len, NULL, spec, e)
                                      : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

/* The body merged into the spec that there is, secrets as they are; *ret_revision is what it was
 * merged into.  False: c is answered. */
static bool
read_patched(struct berth_call *c, struct berth_deploy *d, const char *id, struct berth_spec *ret,
             uint64_t *ret_revision)
{
    const struct berth_json *seen = NULL;
    struct berth_slice text;
    struct berth_buf merged;
    struct berth_jw w;
    struct berth_spec_fault f = {""};
    struct berth_err e = {""};
    bool lenient;
    int r;

    if (!berth_call_body(c))
        return false;
    r = berth_deploy_spec(d, id, c->arena, &text, ret_revision, &e);
    if (r == 0)
        r = berth_json_parse(c->arena, text.at, text.len, NULL, &seen, &e);
    if (r == 0)
        r = by_variable(c->arena, &seen, &e);
    if (r == 0) {
        berth_buf_init(&merged, c->arena);
        berth_jw_init(&w, &merged);
        berth_jw_merged(&w, seen, c->body);
        r = berth_buf_text(&merged) != NULL
                ? berth_spec_parse_text((struct berth_slice){merged.at, merged.len},
                                        berth_deploy_defaults(d), c->arena, ret, &lenient, &f, &e)
                : berth_err_set(&e, BERTH_ENOMEM, "out of memory");
    }
    if (r == 0)
        r = berth_spec_check(ret, &f, &e);
    if (r < 0)
        berth_services_answer(c, r, NULL, NULL, f.field, &e);
    return r == 0;
}

void
berth_services_patch(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *id = d != NULL ? berth_services_named(c, d) : NULL;
    struct berth_spec spec;
    uint64_t expected = 0, revision = 0;

    if (id != NULL && read_expected(c, &expected) && read_patched(c, d, id, &spec, &revision))
        update(c, d, id, &spec, expected > 0 ? expected : revision); /* it must still be there */
}

void
berth_services_delete(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    char id[BERTH_SERVICE_ID_MAX];
    struct berth_err e = {""};
    int r;

    if (d == NULL)
        return;
    const struct berth_actor who = berth_services_actor(c);
    /* What is unknown has been deleted. */
    r = berth_deploy_find(d, c->version.at, true, id, &e);
    if (r == 0)
        r = berth_deploy_delete(d, id, &who, &e);
    else if (r == -BERTH_ENOENT)
        r = 0;
    answer_change(c, r, "delete submit success", c->version.at, NULL, 0, &e);
}

/* ---- looking ---- */

typedef int look_fn(struct berth_deploy *d, const char *id, struct berth_arena *a,
                    struct berth_buf *out, struct berth_err *e);

static void
look(struct berth_call *c, look_fn *fn)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *id = d != NULL ? berth_services_named(c, d) : NULL;
    struct berth_buf data;
    struct berth_err e = {""};

    if (id == NULL)
        return;
    berth_buf_init(&data, c->arena);
    const int r = fn(d, id, c->arena, &data, &e);
    berth_services_answer(c, r, "success", &data, NULL, &e);
}

void
berth_services_get(struct berth_call *c)
{
    look(c, berth_deploy_describe);
}

void
berth_services_pipeline(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *id = d != NULL ? berth_services_named(c, d) : NULL;
    struct berth_buf data;
    struct berth_err e = {""};

    if (id == NULL)
        return;
    berth_buf_init(&data, c->arena);
    const int r =
        berth_deploy_pipeline(d, id, berth_services_asked(c, "track"), c->arena, &data, &e);
    berth_services_answer(c, r, "success", &data, NULL, &e);
}

void
berth_services_revisions(struct berth_call *c)
{
    look(c, berth_deploy_revisions);
}

void
berth_services_all(struct berth_call *c, int (*fn)(struct berth_deploy *d, struct berth_arena *a,
                                                   struct berth_buf *out, struct berth_err *e))
{
    struct berth_deploy *d = berth_services_open(c);
    struct berth_buf data;
    struct berth_err e = {""};

    if (d == NULL)
        return;
    berth_buf_init(&data, c->arena);
    const int r = fn(d, c->arena, &data, &e);
    berth_services_answer(c, r, "success", &data, NULL, &e);
}

void
berth_services_list(struct berth_call *c)
{
    berth_services_all(c, berth_deploy_list);
}

void
berth_services_units(struct berth_call *c)
{
    berth_services_all(c, berth_deploy_units);
}

void
berth_services_plan(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char *id = NULL;
    struct berth_spec spec;
    struct berth_buf data;
    struct berth_err e = {""};
    uint64_t ignored;
    bool lenient;

    if (d == NULL || (c->version.len > 0 && (id = berth_services_named(c, d)) == NULL))
        return;
    if (id != NULL && berth_services_asked_flag(c, "merge")
            ? !read_patched(c, d, id, &spec, &ignored)
            : !read_spec(c, d, &spec, &lenient))
        return;
    berth_buf_init(&data, c->arena);
    const int r = berth_deploy_plan(d, id, &spec, c->arena, &data, &e);
    berth_services_answer(c, r == -BERTH_ENOENT ? -BERTH_EINVAL : r, "success", &data, NULL, &e);
}

/* ---- folders of models ---- */

static int
by_name(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Names of the folders in root, sorted.  -BERTH_EIO, -BERTH_ENOMEM */
static int
list_folders(struct berth_arena *a, const char *root, const char ***ret, size_t *ret_count,
             struct berth_err *e)
{
    const char **names = BERTH_NEW_N(a, const char *, MODELS_LISTED_MAX);
    size_t n = 0;
    DIR *dir = opendir(root);

    if (dir == NULL || names == NULL) {
        const int why = errno;

        if (dir != NULL)
            (void)closedir(dir);
        return berth_err_set(e, dir == NULL ? BERTH_EIO : BERTH_ENOMEM,
                             "model root %s: %s; set deploy.model_root", root,
                             dir == NULL && why == ENOENT ? "no such folder" : "cannot be read");
    }
    for (const struct dirent *at; n < MODELS_LISTED_MAX && (at = readdir(dir)) != NULL;) {
        struct stat st;

        if (at->d_name[0] == '.' || fstatat(dirfd(dir), at->d_name, &st, 0) < 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        names[n] = berth_arena_strdup(a, at->d_name);
        if (names[n] == NULL)
            break;
        n++;
    }
    (void)closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    *ret = names;
    *ret_count = n;
    return 0;
}

void
berth_services_models(struct berth_call *c)
{
    struct berth_deploy *d = berth_services_open(c);
    const char **names = NULL, *root;
    size_t n = 0;
    struct berth_buf data;
    struct berth_jw w;
    struct berth_err e = {""};

    if (d == NULL)
        return;
    root = berth_deploy_defaults(d)->model_root;
    const int r = list_folders(c->arena, root, &names, &n, &e);
    berth_buf_init(&data, c->arena);
    berth_jw_init(&w, &data);
    berth_jw_array(&w);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const bool slash = root[0] != '\0' && root[strlen(root) - 1] == '/';

        berth_jw_object(&w);
        berth_jw_pair(&w, "modelName", names[i]);
        berth_jw_pair(&w, "modelPath",
                      berth_arena_printf(c->arena, "%s%s%s", root, slash ? "" : "/", names[i]));
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_services_answer(c, r, "success", &data, NULL, &e);
}
