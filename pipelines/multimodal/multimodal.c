#include "pipelines/multimodal/multimodal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "pipelines/parts.h"
#include "wire/json.h"

enum { FILE_BYTES_MAX = 4 << 20, ARENA_BYTES_MAX = 32 << 20, OPTION_MAX = 96, OPTIONS_MAX = 4 };

/* ---- the model's own words ---- */

/* dir/name as a JSON object.  -BERTH_EINVAL */
static int
read_object(const char *dir, const char *name, struct berth_arena *a, const struct berth_json **ret,
            struct berth_err *e)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
    char *text = berth_arena_alloc(a, FILE_BYTES_MAX);
    const size_t n = text != NULL ? fread(text, 1, FILE_BYTES_MAX, f) : 0;
    (void)fclose(f);
    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (n == FILE_BYTES_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: is too large", path);
    const int r = berth_json_parse(a, text, n, NULL, ret, e);
    if (r < 0)
        return berth_err_wrap(e, -BERTH_EINVAL, "%s", path);
    return berth_json_type(*ret) == BERTH_JSON_OBJECT
               ? 0
               : berth_err_set(e, BERTH_EINVAL, "%s: must be an object", path);
}

/* Three numbers, one for each colour; where there are none, nothing is normalised. */
static int
check_colours(const struct berth_json *object, const char *key, bool divides, struct berth_err *e)
{
    const struct berth_json *list = berth_json_get(object, key);
    double x;

    if (list == NULL)
        return 0;
    if (berth_json_len(list) != 3)
        return berth_err_set(e, BERTH_EINVAL, "preprocessor_config.json: %s must have 3 numbers",
                             key);
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        if (!berth_json_real(it.value, &x) || (divides && !(x > 0)))
            return berth_err_set(e, BERTH_EINVAL,
                                 "preprocessor_config.json: %s[%zu] must be a number%s", key,
                                 it.index, divides ? " above 0" : "");
    }
    return 0;
}

/* "size" is a number of pixels, or an object of them. */
static int
check_size(const struct berth_json *object, const char *key, struct berth_err *e)
{
    const struct berth_json *size = berth_json_get(object, key);
    double x;

    if (size == NULL)
        return 0;
    bool good = berth_json_real(size, &x) && x >= 1;
    if (berth_json_type(size) == BERTH_JSON_OBJECT) {
        good = berth_json_len(size) > 0;
        for (struct berth_json_iter it = berth_json_iter(size); berth_json_next(&it);)
            good = good && berth_json_real(it.value, &x) && x >= 1;
    }
    return good ? 0
                : berth_err_set(e, BERTH_EINVAL,
                                "preprocessor_config.json: %s must be pixels, 1 at least", key);
}

static int
check_images(const char *dir, struct berth_arena *a, struct berth_err *e)
{
    const struct berth_json *object;
    struct berth_slice type;
    int r = read_object(dir, "preprocessor_config.json", a, &object, e);

    if (r < 0)
        return r;
    if (!berth_json_string(berth_json_get(object, "image_processor_type"), &type) &&
        !berth_json_string(berth_json_get(object, "processor_class"), &type))
        return berth_err_set(e, BERTH_EINVAL,
                             "preprocessor_config.json: neither image_processor_type nor "
                             "processor_class says how images are prepared");
    if ((r = check_colours(object, "image_mean", false, e)) < 0 ||
        (r = check_colours(object, "image_std", true, e)) < 0 ||
        (r = check_size(object, "size", e)) < 0)
        return r;
    return check_size(object, "crop_size", e);
}

static int
check_text(const char *dir, struct berth_arena *a, struct berth_err *e)
{
    const struct berth_json *object;
    const int r = read_object(dir, "config.json", a, &object, e);

    if (r < 0)
        return r;
    if (berth_json_len(berth_json_get(object, "architectures")) == 0)
        return berth_err_set(e, BERTH_EINVAL, "config.json: architectures is missing");
    if (berth_json_type(berth_json_get(object, "vision_config")) != BERTH_JSON_OBJECT)
        return berth_err_set(e, BERTH_EINVAL,
                             "config.json: vision_config is missing: the model has no eyes");
    return 0;
}

static int
validate(struct berth_deployment *d, struct berth_err *e)
{
    struct berth_arena a;
    const char *path;
    struct stat st;
    int r = berth_parts_host()->goal("model-validation")->ensure(d, e);

    if (r < 0 || (r = berth_parts_model(d, &path, e)) < 0)
        return r;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: must be the model's folder, with config.json and "
                             "preprocessor_config.json",
                             path);
    berth_arena_init(&a, ARENA_BYTES_MAX);
    r = check_text(path, &a, e);
    if (r == 0)
        r = check_images(path, &a, e);
    berth_arena_fini(&a);
    return r;
}

/* ---- what the engine is given ---- */

struct options {
    char at[OPTIONS_MAX][OPTION_MAX];
    size_t count;
};

static int
read_uint(struct berth_deployment *d, const char *key, unsigned long max, unsigned long *ret,
          struct berth_err *e)
{
    const char *text = berth_parts_host()->get(d, key);
    char *end = NULL;

    if (text == NULL)
        return 0;
    const unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || n == 0 || n > max)
        return berth_err_set(e, BERTH_EINVAL, "%s: must be a whole number, 1 to %lu", key, max);
    *ret = n;
    return 0;
}

/* The GPU's memory is for the weights, the cache of what was read, and the images under way; the
 * last grow with their number and size, so that the engine is left a part that it does not fill. */
static int
choose(struct berth_deployment *d, bool vllm, struct options *o, struct berth_err *e)
{
    const char *fraction = berth_parts_host()->get(d, "parameters.gpuMemoryFraction");
    unsigned long images = 1, pixels = 0;
    char *end = NULL;
    int r = read_uint(d, "parameters.imagesPerPrompt", 64, &images, e);

    if (r < 0 || (r = read_uint(d, "parameters.maxPixels", 1UL << 30, &pixels, e)) < 0)
        return r;
    double part = images > 4 ? 0.80 : 0.85;
    if (fraction != NULL) {
        part = strtod(fraction, &end);
        if (end == fraction || *end != '\0' || !(part > 0 && part < 1))
            return berth_err_set(e, BERTH_EINVAL,
                                 "parameters.gpuMemoryFraction: must be between 0 and 1");
    }
    (void)snprintf(o->at[o->count++], OPTION_MAX, "--%s=%.2f",
                   vllm ? "gpu-memory-utilization" : "mem-fraction-static", part);
    if (!vllm && (pixels > 0 || images > 1))
        return berth_err_set(e, BERTH_EINVAL,
                             "parameters: imagesPerPrompt and maxPixels are for vllm; SGLang has "
                             "no such options");
    if (vllm)
        (void)snprintf(o->at[o->count++], OPTION_MAX, "--limit-mm-per-prompt={\"image\":%lu}",
                       images);
    if (pixels > 0)
        (void)snprintf(o->at[o->count++], OPTION_MAX, "--mm-processor-kwargs={\"max_pixels\":%lu}",
                       pixels);
    return 0;
}

static int
render_in(struct berth_deployment *d, struct berth_arena *a, struct berth_err *e)
{
    const char *text = berth_parts_host()->get(d, "command");
    const struct berth_json *command = NULL;
    struct options o = {.count = 0};
    int r;

    if (text != NULL && (r = berth_json_parse(a, text, strlen(text), NULL, &command, e)) < 0)
        return r;
    const bool vllm = text != NULL && strstr(text, "vllm.entrypoints") != NULL;
    if (!vllm && (text == NULL || strstr(text, "sglang.launch_server") == NULL))
        return berth_err_set(e, BERTH_EINVAL,
                             "engine: a model that sees needs vllm or sglang in this pipeline");
    if ((r = choose(d, vllm, &o, e)) < 0)
        return r;
    const char *at[OPTIONS_MAX];
    for (size_t i = 0; i < o.count; i++)
        at[i] = o.at[i];
    return berth_parts_append(d, command, at, o.count, a, e);
}

static int
render(struct berth_deployment *d, struct berth_err *e)
{
    struct berth_arena a;
    int r = berth_parts_host()->goal("config-rendering")->ensure(d, e);

    if (r < 0)
        return r;
    berth_arena_init(&a, ARENA_BYTES_MAX);
    r = render_in(d, &a, e);
    berth_arena_fini(&a);
    return r;
}

const struct berth_pipeline_ops *
berth_pipeline_multimodal(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const char *const names[] = {"model-validation", "config-rendering",
                                        "resource-deployment", "health-check", NULL};
    static const struct berth_goal own[] = {
        {.name = "model-validation", .ensure = validate},
        {.name = "config-rendering", .ensure = render},
        {.name = NULL},
    };
    /* Filled in once, by the one call of the entry. */
    static struct berth_goal deploy[5];
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "multimodal",
        .version = "1",
        .description = "a model that sees, on vLLM or SGLang",
        .deploy = deploy,
    };

    berth_parts_begin(h);
    return berth_parts_goals(names, own, deploy, e) < 0 ? NULL : &ops;
}
