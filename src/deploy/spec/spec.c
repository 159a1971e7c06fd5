#include "deploy/spec/spec.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/clock.h"
#include "deploy/spec/spec_priv.h"
#include "wire/json.h"

#define AT(f) offsetof(struct berth_spec, f)

enum { NAME_BYTES_MAX = 256 };

/* clang-format off */
const struct berth_spec_row berth_spec_rows[] = {
    {"modelName", BERTH_SPEC_TEXT, AT(model_name), 1, NAME_BYTES_MAX, NULL, false, false},
    {"name", BERTH_SPEC_TEXT, AT(model_name), 1, NAME_BYTES_MAX, NULL, true, false},
    {"modelFile", BERTH_SPEC_PATH, AT(model_file), 1, 4096, NULL, false, false},
    {"modelFileDir", BERTH_SPEC_PATH, AT(model_file), 1, 4096, NULL, true, false},
    {"pipeline", BERTH_SPEC_NAME, AT(pipeline), 1, 64, NULL, false, true},
    {"goalSetName", BERTH_SPEC_NAME, AT(pipeline), 1, 64, NULL, true, true},
    {"shimlet", BERTH_SPEC_NAME, AT(shimlet), 1, 64, NULL, false, false},
    {"shimletName", BERTH_SPEC_NAME, AT(shimlet), 1, 64, NULL, true, false},
    {"resourceRequirements", BERTH_SPEC_NESTED, 0, 0, 0, NULL, false, false},
    {"resourceRequirements.acceleratorType", BERTH_SPEC_TEXT, AT(accelerator_type), 0, 128, NULL, false, false},
    {"resourceRequirements.acceleratorCount", BERTH_SPEC_COUNT, AT(accelerator_count), 0, 1024, NULL, false, false},
    {"resourceRequirements.cpu", BERTH_SPEC_CPU, AT(cpu_milli), 0, 0, NULL, false, false},
    {"resourceRequirements.memory", BERTH_SPEC_BYTES, AT(memory_bytes), 0, 0, NULL, false, false},
    {"replicaCount", BERTH_SPEC_COUNT, AT(replicas), 0, BERTH_SPEC_REPLICAS_MAX, NULL, false, true},
    {"contextLength", BERTH_SPEC_COUNT, AT(context_len), 0, 100000000, NULL, false, false},
    {"env", BERTH_SPEC_PAIRS, AT(env), 0, BERTH_SPEC_ENV_MAX, NULL, false, false},
    {"labels", BERTH_SPEC_LABELS, AT(labels), 0, BERTH_SPEC_LABELS_MAX, NULL, false, false},
    {"engine", BERTH_SPEC_WORD, AT(engine), 0, 0, "berth llama-server vllm sglang ollama command", false, false},
    {"command", BERTH_SPEC_STRINGS, AT(command), 1, BERTH_SPEC_ARGS_MAX, NULL, false, false},
    {"args", BERTH_SPEC_STRINGS, AT(args), 0, BERTH_SPEC_ARGS_MAX, NULL, false, false},
    {"image", BERTH_SPEC_TEXT, AT(image), 1, 512, NULL, false, false},
    {"modelImage", BERTH_SPEC_TEXT, AT(image), 1, 512, NULL, true, false},
    {"port", BERTH_SPEC_PORT, AT(port), 0, 65535, NULL, false, false},
    {"healthPath", BERTH_SPEC_PATH, AT(health_path), 1, 512, NULL, false, false},
    {"workload", BERTH_SPEC_WORD, AT(workload), 0, 0, "Deployment StatefulSet", false, false},
    {"autoscale", BERTH_SPEC_NESTED, 0, 0, 0, NULL, false, true},
    {"autoscale.min", BERTH_SPEC_COUNT, AT(scale_min), 0, BERTH_SPEC_REPLICAS_MAX, NULL, false, true},
    {"autoscale.max", BERTH_SPEC_COUNT, AT(scale_max), 0, BERTH_SPEC_REPLICAS_MAX, NULL, false, true},
    {"autoscale.cpuPercent", BERTH_SPEC_COUNT, AT(scale_cpu_percent), 0, 1000, NULL, false, true},
    {"quantConfig", BERTH_SPEC_OBJECT, AT(quant_json), 0, 0, NULL, false, false},
    {"parameters", BERTH_SPEC_OBJECT, AT(parameters_json), 0, 0, NULL, false, false},
    {"securityConfig", BERTH_SPEC_NESTED, 0, 0, 0, NULL, false, true},
    {"securityConfig.allow", BERTH_SPEC_STRINGS, AT(allow), 0, BERTH_SPEC_ALLOW_MAX, NULL, false, true},
    {"securityConfig.hosts", BERTH_SPEC_STRINGS, AT(hosts), 0, BERTH_SPEC_HOSTS_MAX, NULL, false, true},
    {"securityConfig.certFile", BERTH_SPEC_PATH, AT(cert_file), 1, 400, NULL, false, true},
    {"securityConfig.keyFile", BERTH_SPEC_PATH, AT(key_file), 1, 400, NULL, false, true},
    {"securityConfig.caFile", BERTH_SPEC_PATH, AT(ca_file), 1, 400, NULL, false, true},
    {"securityConfig.apiKeyFile", BERTH_SPEC_PATH, AT(api_key_file), 1, 400, NULL, false, true},
    {"strategy", BERTH_SPEC_NESTED, 0, 0, 0, NULL, false, true},
    {"strategy.type", BERTH_SPEC_STRATEGY, AT(strategy), 0, 0, "rolling recreate canary", false, true},
    {"strategy.maxSurge", BERTH_SPEC_COUNT, AT(surge_max), 0, BERTH_SPEC_REPLICAS_MAX, NULL, false, true},
    {"strategy.maxUnavailable", BERTH_SPEC_COUNT, AT(unavailable_max), 0, BERTH_SPEC_REPLICAS_MAX, NULL, false, true},
    {"strategy.canary", BERTH_SPEC_NESTED, 0, 0, 0, NULL, false, true},
    {"strategy.canary.weight", BERTH_SPEC_COUNT, AT(canary_percent), 0, 100, NULL, false, true},
    {"strategy.canary.replicas", BERTH_SPEC_COUNT, AT(canary_replicas), 0, BERTH_SPEC_REPLICAS_MAX, NULL, false, true},
    {"startTimeoutMs", BERTH_SPEC_MS, AT(start_timeout_ns), 1, 86400000, NULL, false, true},
    {"drainTimeoutMs", BERTH_SPEC_MS, AT(drain_timeout_ns), 0, 3600000, NULL, false, true},
    {"firstAnswerTimeoutMs", BERTH_SPEC_MS, AT(first_timeout_ns), 0, 86400000, NULL, false, true},
    {"hasSideEffects", BERTH_SPEC_BOOL, AT(has_side_effects), 0, 0, NULL, false, true},
    {"steps", BERTH_SPEC_STEPS, AT(steps), 0, BERTH_SPEC_STEPS_MAX, NULL, false, true},
    {"shimletConfig", BERTH_SPEC_OBJECT, AT(shimlet_json), 0, 0, NULL, false, false},
    {"serviceId", BERTH_SPEC_IGNORED, 0, 0, 0, NULL, true, true},
    {NULL, BERTH_SPEC_IGNORED, 0, 0, 0, NULL, false, false},
};
/* clang-format on */

/* Human names for accelerators.  What holds a '/' is a resource's own name already. */
static const struct berth_accelerator accelerators_builtin[] = {
    {"NVIDIA", "nvidia.com/gpu"},       {"AMD", "amd.com/gpu"}, {"Intel", "gpu.intel.com/i915"},
    {"Ascend", "huawei.com/Ascend910"}, {NULL, NULL},
};

static const struct berth_spec_row *
find_row(const char *path)
{
    for (const struct berth_spec_row *row = berth_spec_rows; row->path != NULL; row++)
        if (strcmp(row->path, path) == 0)
            return row;
    return NULL;
}

/* "modelName, resourceRequirements, ..." beside the unknown one. */
static int
unknown(struct berth_spec_reader *r, const char *prefix, const char *path)
{
    char list[256] = "";
    size_t n = 0;

    for (const struct berth_spec_row *row = berth_spec_rows; row->path != NULL; row++) {
        const char *rest = row->path + strlen(prefix);

        if (strncmp(row->path, prefix, strlen(prefix)) != 0 || strchr(rest, '.') != NULL ||
            row->alias || n >= sizeof list)
            continue;
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", rest);
    }
    return berth_spec_bad(r, path, "is not known; there are %s%s", list,
                          n >= sizeof list ? " ..." : "");
}

/* Aliases are read after all others, so that the canonical name wins. */
static int
read_members(struct berth_spec_reader *r, const char *prefix, const struct berth_json *v,
             bool aliases)
{
    int rc = 0;

    for (struct berth_json_iter it = berth_json_iter(v); rc == 0 && berth_json_next(&it);) {
        char path[160], nested[162];
        const struct berth_spec_row *row;

        (void)snprintf(path, sizeof path, "%s%.120s", prefix, it.key.at);
        row = find_row(path);
        if (row == NULL)
            return unknown(r, prefix, path);
        if (berth_json_type(it.value) == BERTH_JSON_NULL || row->alias != aliases)
            continue; /* null: as if it were not there */
        if (row->type != BERTH_SPEC_NESTED) {
            rc = berth_spec_read_row(r, row, it.value);
            continue;
        }
        if (berth_json_type(it.value) != BERTH_JSON_OBJECT)
            return berth_spec_bad(r, path, "should be an object, not %s",
                                  berth_json_type_name(it.value));
        (void)snprintf(nested, sizeof nested, "%s.", path);
        rc = read_members(r, nested, it.value, aliases);
    }
    return rc;
}

/* The file's or folder's own name, without what tells its format. */
static const char *
name_of_file(struct berth_spec_reader *r, const char *file)
{
    size_t end = strlen(file);

    while (end > 1 && file[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && file[begin - 1] != '/')
        begin--;
    const char *dot = memrchr(file + begin, '.', end - begin);
    if (dot != NULL && dot > file + begin &&
        (size_t)(file + end - dot) <= sizeof ".safetensors" - 1)
        end = (size_t)(dot - file);
    return berth_arena_strndup(r->a, file + begin, end - begin);
}

/* The row whose prefix the text begins with; NULL: none. */
static const struct berth_accelerator *
find_accelerator(const struct berth_accelerator *rows, const char *text)
{
    for (; rows != NULL && rows->prefix != NULL; rows++)
        if (strncasecmp(text, rows->prefix, strlen(rows->prefix)) == 0)
            return rows;
    return NULL;
}

static int
fill_accelerator(struct berth_spec_reader *r, const struct berth_spec_defaults *dflt)
{
    static const char path[] = "resourceRequirements.acceleratorType";
    struct berth_spec *s = r->s;
    const struct berth_accelerator *row;

    if (s->accelerator_type == NULL || s->accelerator_type[0] == '\0') {
        s->accelerator_type = NULL;
        if (s->accelerator_count > 0) /* counted, not named: the usual kind */
            s->accelerator_resource = accelerators_builtin[0].resource;
        return 0;
    }
    if (!r->count_given)
        s->accelerator_count = 1;
    if (strchr(s->accelerator_type, '/') != NULL) {
        s->accelerator_resource = s->accelerator_type;
        return 0;
    }
    row = find_accelerator(dflt->accelerators, s->accelerator_type);
    if (row == NULL)
        row = find_accelerator(accelerators_builtin, s->accelerator_type);
    if (row == NULL)
        return berth_spec_bad(r, path,
                              "\"%.64s\" is no accelerator known here; write \"NVIDIA GPU\", "
                              "\"NVIDIA H20\", \"AMD GPU\", \"Intel GPU\", \"Ascend 910\" or a "
                              "resource's name such as nvidia.com/gpu",
                              s->accelerator_type);
    const char *rest = s->accelerator_type + strlen(row->prefix);
    rest += strspn(rest, " -_");
    s->accelerator_resource = row->resource;
    if (*rest != '\0' && strcasecmp(rest, "GPU") != 0)
        s->accelerator_product = rest;
    return 0;
}

static int
fill_defaults(struct berth_spec_reader *r, const struct berth_spec_defaults *dflt)
{
    struct berth_spec *s = r->s;

    if (s->model_name == NULL && s->model_file == NULL)
        return berth_spec_bad(r, "modelName", "is missing: the name of the model to deploy");
    if (s->model_name == NULL)
        s->model_name = name_of_file(r, s->model_file);
    if (s->pipeline == NULL)
        s->pipeline = dflt->pipeline;
    if (s->shimlet == NULL)
        s->shimlet = dflt->shimlet;
    if (s->shimlet_json == NULL)
        s->shimlet_json = "{}";
    if (s->model_name == NULL)
        return berth_spec_no_memory(r);
    if (strlen(s->model_name) > NAME_BYTES_MAX)
        return berth_spec_bad(r, "modelName", "is missing, and modelFile's is longer than %d bytes",
                              NAME_BYTES_MAX);
    if (s->scale_max > 0 && s->scale_min > s->scale_max)
        return berth_spec_bad(r, "autoscale.min", "is more than autoscale.max (%u)", s->scale_max);
    if (s->strategy != BERTH_STRATEGY_RECREATE && s->surge_max == 0 && s->unavailable_max == 0)
        return berth_spec_bad(r, "strategy.maxSurge",
                              "and maxUnavailable cannot both be 0: nothing could be replaced");
    if (s->strategy != BERTH_STRATEGY_CANARY) /* they say nothing then */
        s->canary_percent = s->canary_replicas = 0;
    if (s->engine != NULL && strcmp(s->engine, "command") == 0 && s->command == NULL)
        return berth_spec_bad(r, "command", "is missing: engine \"command\" runs it");
    return fill_accelerator(r, dflt);
}

int
berth_spec_parse(const struct berth_json *body, const struct berth_spec_defaults *dflt,
                 struct berth_arena *a, struct berth_spec *ret, struct berth_spec_fault *f,
                 struct berth_err *e)
{
    struct berth_spec s = {
        .replicas = 1,
        .surge_max = 1,
        .canary_percent = 10,
        .canary_replicas = 1,
        .start_timeout_ns = 300 * BERTH_S,
        .drain_timeout_ns = 30 * BERTH_S,
    };
    struct berth_spec_reader r = {.s = &s, .a = a, .f = f, .e = e};
    int rc;

    if (f != NULL)
        f->field[0] = '\0';
    if (berth_json_type(body) != BERTH_JSON_OBJECT)
        return berth_spec_bad(&r, "", "the body should be a JSON object with modelName, not %s",
                              berth_json_type_name(body));
    rc = read_members(&r, "", body, false);
    if (rc == 0)
        rc = read_members(&r, "", body, true);
    if (rc == 0)
        rc = fill_defaults(&r, dflt);
    if (rc == 0)
        rc = berth_spec_finish(&s, a, e);
    if (rc < 0)
        return rc;
    *ret = s;
    return 0;
}

int
berth_spec_parse_text(struct berth_slice text, const struct berth_spec_defaults *dflt,
                      struct berth_arena *a, struct berth_spec *ret, bool *ret_lenient,
                      struct berth_spec_fault *f, struct berth_err *e)
{
    const struct berth_json *body;
    char *copy;
    bool quoted = false, lenient = false;
    int rc;

    if (f != NULL)
        f->field[0] = '\0';
    if (text.len > BERTH_SPEC_BYTES_MAX)
        return berth_err_set(e, BERTH_ETOOBIG, "the spec has %zu bytes; at most %d", text.len,
                             BERTH_SPEC_BYTES_MAX);
    copy = berth_arena_strndup(a, text.at, text.len);
    if (copy == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (size_t i = 0; i < text.len; i++) {
        if (copy[i] == '"') {
            quoted = !quoted;
        } else if (copy[i] == '\\' && quoted) {
            i++;
        } else if (copy[i] == '\\' && (i + 1 >= text.len || copy[i + 1] == '\n' ||
                                       (copy[i + 1] == '\r' && copy[i + 2] == '\n'))) {
            copy[i] = ' ';
            lenient = true;
        }
    }
    rc = berth_json_parse(a, copy, text.len, NULL, &body, e);
    if (rc < 0)
        return berth_err_wrap(e, rc, "the body is not JSON");
    rc = berth_spec_parse(body, dflt, a, ret, f, e);
    if (rc == 0)
        *ret_lenient = lenient;
    return rc;
}

int
berth_spec_check(const struct berth_spec *s, struct berth_spec_fault *f, struct berth_err *e)
{
    struct berth_spec_reader r = {.f = f, .e = e};

    if (s->model_file != NULL && s->model_file[strspn(s->model_file, "./")] == '\0')
        return berth_spec_bad(&r, "modelFile",
                              "\"%.64s\" names no model: give the path of its file, or of a folder "
                              "of its own such as /models/NAME",
                              s->model_file);
    return 0;
}

const struct berth_spec_step *
berth_spec_step_of(const struct berth_spec *s, const char *name)
{
    for (size_t i = 0; i < s->step_count; i++) {
        if (strcmp(s->steps[i].name, name) == 0)
            return &s->steps[i];
    }
    return NULL;
}
