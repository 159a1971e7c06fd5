#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd_priv.h"
#include "cmd/service.h"
#include "wire/json.h"
#include "wire/yaml.h"

/* deploy, update: a spec from a file, a model and words; planned, or done and watched. */

enum { FILE_BYTES_MAX = 256 * 1024, WAIT_S = 600 };

/* The file's text (- : standard input) as a tree.  False: told. */
static bool
read_file(const struct berth_args *args, const char *path, struct berth_arena *a,
          const struct berth_json **ret)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char *text = berth_arena_alloc(a, FILE_BYTES_MAX + 1);
    struct berth_err e;
    size_t n;
    bool failed;

    if (f == NULL || text == NULL) {
        (void)berth_failed(args, "%s: %s", path, f == NULL ? strerrordesc_np(errno) : "no memory");
        return false;
    }
    n = fread(text, 1, FILE_BYTES_MAX + 1, f);
    failed = ferror(f) != 0;
    if (f != stdin)
        (void)fclose(f);
    if (failed || n > FILE_BYTES_MAX) {
        (void)berth_failed(args, failed ? "%s: cannot be read" : "%s: is larger than 256 KiB",
                           path);
        return false;
    }
    if (berth_yaml_parse(a, text, n, ret, &e) < 0) { /* JSON is YAML, too */
        (void)berth_failed(args, "%s: %s", path, e.msg);
        return false;
    }
    return true;
}

/* Where a registered model's files are; NULL: the server has none of that name. */
static const char *
registered_path(struct berth_remote *r, const char *name)
{
    struct berth_slice text;
    const struct berth_json *model = NULL;
    uint16_t status = 0;

    if (berth_remote_try(r, "GET", "/v1/models/{}", name, NULL, &status, &text) != BERTH_EXIT_OK ||
        status != 200 || berth_json_parse(&r->arena, text.at, text.len, NULL, &model, NULL) < 0)
        return NULL;
    return berth_remote_text(berth_json_get(model, "config"), "model_path", NULL);
}

static void
put(struct berth_jw *w, const char *key, const char *text)
{
    if (text == NULL)
        return;
    berth_jw_key(w, key);
    berth_jw_string(w, text);
}

/* MODEL and the options as an object.  MODEL is a file or folder of this machine, a model that the
 * server has, or a name that the server's model root may have. */
static bool
read_model(struct berth_remote *r, const char *model, const struct berth_json **ret)
{
    const struct berth_args *args = r->args;
    const bool is_path = model != NULL && (strchr(model, '/') != NULL || access(model, F_OK) == 0);
    char path[PATH_MAX];
    struct berth_buf b;
    struct berth_jw w;
    long long replicas = -1;

    if (is_path && realpath(model, path) == NULL) {
        (void)berth_failed(args, "%s: there is no such file or folder", model);
        return false;
    }
    if (!berth_arg_int(args, "replicas", 0, 1000, &replicas))
        return false;
    berth_buf_init(&b, &r->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    if (is_path) {
        put(&w, "modelFile", path);
    } else if (model != NULL) {
        put(&w, "modelName", model);
        put(&w, "modelFile", registered_path(r, model));
    }
    put(&w, "shimlet", berth_arg(args, "shimlet"));
    put(&w, "pipeline", berth_arg(args, "pipeline"));
    if (replicas >= 0) {
        berth_jw_key(&w, "replicaCount");
        berth_jw_int(&w, replicas);
    }
    berth_jw_object_end(&w);
    return berth_buf_text(&b) != NULL &&
           berth_json_parse(&r->arena, b.at, b.len, NULL, ret, NULL) == 0;
}

static bool
merge(struct berth_arena *a, const struct berth_json *v, const struct berth_json *patch,
      const struct berth_json **ret)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_merged(&w, v, patch);
    return berth_buf_text(&b) != NULL && berth_json_parse(a, b.at, b.len, NULL, ret, NULL) == 0;
}

static void
put_changes(struct berth_buf *out, const struct berth_json *changes)
{
    for (struct berth_json_iter it = berth_json_iter(changes); berth_json_next(&it);) {
        berth_buf_printf(out, "  %-32s ", berth_remote_text(it.value, "path", "?"));
        berth_json_put(out, berth_json_get(it.value, "from"));
        berth_buf_puts(out, " -> ");
        berth_json_put(out, berth_json_get(it.value, "to"));
        berth_buf_putc(out, '\n');
    }
}

static int
print_plan(struct berth_remote *r, const struct berth_json *plan)
{
    const char *action = berth_remote_text(plan, "action", "?");
    const struct berth_json *objects = berth_json_get(plan, "objects");
    struct berth_buf out;
    bool rolls = false, fits = true;

    if (berth_arg(r->args, "json") != NULL)
        return berth_service_print(r->args, plan);
    (void)berth_json_bool(berth_json_get(plan, "rolls"), &rolls);
    (void)berth_json_bool(berth_json_get(plan, "fits"), &fits);
    berth_buf_init(&out, NULL);
    berth_buf_printf(&out, "%s\n",
                     strcmp(action, "none") == 0     ? "nothing would change"
                     : strcmp(action, "create") == 0 ? "a service would be created"
                     : rolls ? "the service would be updated, its replicas replaced"
                             : "the service would be updated, its replicas stay");
    put_changes(&out, berth_json_get(plan, "changes"));
    if (fits)
        berth_buf_puts(&out, "it fits\n");
    else
        berth_buf_printf(&out, "it does not fit: %s\n", berth_remote_text(plan, "why", "?"));
    if (berth_json_len(objects) > 0) {
        berth_buf_puts(&out, "objects:\n");
        for (struct berth_json_iter it = berth_json_iter(objects); berth_json_next(&it);) {
            berth_buf_puts(&out, "  ");
            berth_json_put(&out, it.value);
            berth_buf_putc(&out, '\n');
        }
    }
    const int rc = berth_print(r->args, &out);
    return rc != BERTH_EXIT_OK ? rc : fits ? BERTH_EXIT_OK : BERTH_EXIT_FAILED;
}

/* Send the spec, and watch what comes of it. */
static int
submit(struct berth_remote *r, const char *method, const char *path, const char *name,
       const struct berth_json *spec)
{
    const struct berth_json *data = NULL;
    struct berth_buf body;
    long long limit_s = WAIT_S;
    uint64_t revision = 0;
    int rc;

    if (!berth_arg_int(r->args, "timeout", 1, 86400, &limit_s))
        return BERTH_EXIT_USAGE;
    berth_buf_init(&body, &r->arena);
    berth_json_put(&body, spec);
    if (body.failed)
        return berth_failed(r->args, "not enough memory");
    rc = berth_service_call(r, method, path, name, &body, &data);
    if (rc != BERTH_EXIT_OK)
        return rc;
    if (berth_arg(r->args, "plan") != NULL)
        return print_plan(r, data);
    if (berth_arg(r->args, "json") != NULL)
        return berth_service_print(r->args, data);
    const char *id = berth_remote_text(data, "serviceId", "?");
    (void)berth_json_uint(berth_json_get(data, "revision"), &revision);
    if (berth_arg(r->args, "no-wait") != NULL) {
        (void)printf("%s\n", id);
        return BERTH_EXIT_OK;
    }
    (void)fprintf(stderr, "%s\n", id);
    return berth_service_wait(r, id, revision, (uint64_t)limit_s);
}

/* KEY=VALUE, and no path that has a '=' in it. */
static bool
is_pair(const char *word)
{
    const size_t n = strcspn(word, "=/");

    return n > 0 && word[n] == '=' && access(word, F_OK) != 0;
}

int
berth_run_deploy(const struct berth_args *args)
{
    const char *file = berth_arg(args, "file");
    const size_t words = args->word_count > 0 && !is_pair(args->words[0]);
    const struct berth_json *spec = NULL, *model = NULL, *more = NULL;
    struct berth_remote r;

    if (file == NULL && args->word_count == 0)
        return berth_usage(args, "what is to be deployed? give a MODEL, or --file FILE");
    int rc = berth_remote_init(&r, args);
    if (rc != BERTH_EXIT_OK)
        return rc;
    rc = berth_service_words(args, words, &r.arena, &more) ? BERTH_EXIT_FAILED : BERTH_EXIT_USAGE;
    if (more != NULL && (file == NULL || read_file(args, file, &r.arena, &spec)) &&
        read_model(&r, words > 0 ? args->words[0] : NULL, &model) &&
        merge(&r.arena, spec, model, &spec) && merge(&r.arena, spec, more, &spec))
        rc = submit(&r, "POST", berth_arg(args, "plan") != NULL ? "/plan" : "/deploy", NULL, spec);
    berth_remote_fini(&r);
    return rc;
}

/* A file is the whole new spec; words change the present one. */
int
berth_run_update(const struct berth_args *args)
{
    const char *file = berth_arg(args, "file");
    const struct berth_json *spec = NULL, *more = NULL;
    const bool plan = berth_arg(args, "plan") != NULL;
    struct berth_remote r;

    if (file == NULL && args->word_count < 2)
        return berth_usage(args, "what is to change? give KEY=VALUE, or --file FILE");
    int rc = berth_remote_init(&r, args);
    if (rc != BERTH_EXIT_OK)
        return rc;
    rc = berth_service_words(args, 1, &r.arena, &more) ? BERTH_EXIT_FAILED : BERTH_EXIT_USAGE;
    if (more != NULL && (file == NULL || read_file(args, file, &r.arena, &spec))) {
        rc = BERTH_EXIT_OK;
        if (spec != NULL && !merge(&r.arena, spec, more, &more))
            rc = berth_failed(args, "not enough memory");
        if (rc == BERTH_EXIT_OK) /* what is not named stays: only the server knows the secrets */
            rc = submit(&r,
                        plan           ? "POST"
                        : spec != NULL ? "PUT"
                                       : "PATCH",
                        !plan          ? "/{}"
                        : spec != NULL ? "/{}/plan"
                                       : "/{}/plan?merge=1",
                        args->words[0], more);
    }
    berth_remote_fini(&r);
    return rc;
}
