#include "api/fields.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/num.h"
#include "base/random.h"
#include "wire/json.h"

struct berth_fields
berth_fields(const struct berth_json *object, const char *path, struct berth_err *e)
{
    return (struct berth_fields){.object = object, .path = path, .e = e};
}

int
berth_field_bad(struct berth_fields *f, const char *key, const char *fmt, ...)
{
    char why[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    (void)snprintf(f->bad, sizeof f->bad, "%s%s", f->path, key);
    return berth_err_set(f->e, BERTH_EINVAL, "%s%s: %s", f->path, key, why);
}

const struct berth_json *
berth_field(const struct berth_fields *f, const char *key)
{
    const struct berth_json *v = berth_json_get(f->object, key);

    return berth_json_type(v) == BERTH_JSON_NULL ? NULL : v;
}

int
berth_field_bool(struct berth_fields *f, const char *key, bool *ret)
{
    const struct berth_json *v = berth_field(f, key);

    if (v != NULL && !berth_json_bool(v, ret))
        return berth_field_bad(f, key, "must be true or false, not %s", berth_json_type_name(v));
    return 0;
}

int
berth_field_int(struct berth_fields *f, const char *key, int64_t min, int64_t max, int64_t *ret)
{
    const struct berth_json *v = berth_field(f, key);
    int64_t n;

    if (v == NULL)
        return 0;
    if (!berth_json_int(v, &n) || n < min || n > max)
        return berth_field_bad(f, key, "must be a whole number from %lld to %lld", (long long)min,
                               (long long)max);
    *ret = n;
    return 0;
}

static int
field_real(struct berth_fields *f, const char *key, double min, double max, double *ret)
{
    const struct berth_json *v = berth_field(f, key);
    double n;

    if (v == NULL)
        return 0;
    if (!berth_json_real(v, &n))
        return berth_field_bad(f, key, "must be a number from %g to %g, not %s", min, max,
                               berth_json_type_name(v));
    if (!(n >= min && n <= max))
        return berth_field_bad(f, key, "must be a number from %g to %g", min, max);
    *ret = n;
    return 0;
}

int
berth_field_float(struct berth_fields *f, const char *key, double min, double max, float *ret)
{
    double n = (double)*ret;
    const int r = field_real(f, key, min, max, &n);

    if (r == 0)
        *ret = (float)n;
    return r;
}

int
berth_field_string(struct berth_fields *f, const char *key, struct berth_slice *ret)
{
    const struct berth_json *v = berth_field(f, key);
    struct berth_slice s;

    if (v == NULL)
        return 0;
    if (!berth_json_string(v, &s))
        return berth_field_bad(f, key, "must be a string, not %s", berth_json_type_name(v));
    if (memchr(s.at, '\0', s.len) != NULL)
        return berth_field_bad(f, key, "must not contain U+0000");
    *ret = s;
    return 0;
}

void
berth_gen_init(struct berth_gen *g)
{
    *g = (struct berth_gen){.struct_size = sizeof *g,
                            .temperature = 1,
                            .top_p = 1,
                            .repeat_penalty = 1,
                            .seed = berth_random_u64(),
                            .logprobs = -1};
}

int
berth_gen_read_max_tokens(struct berth_fields *f, const char *const *keys, struct berth_gen *g)
{
    for (; *keys != NULL; keys++) {
        int64_t n = g->max_tokens;

        if (berth_field(f, *keys) == NULL)
            continue;
        const int r = berth_field_int(f, *keys, 1, BERTH_TOKENS_MAX, &n);
        if (r == 0)
            g->max_tokens = (uint32_t)n;
        return r;
    }
    return 0;
}

static int
read_one_stop(struct berth_fields *f, const struct berth_json *v, const char **ret)
{
    struct berth_slice s;

    if (!berth_json_string(v, &s))
        return berth_field_bad(f, "stop", "must be a string or an array of strings");
    if (s.len == 0 || s.len > BERTH_STOP_BYTES_MAX || memchr(s.at, '\0', s.len) != NULL)
        return berth_field_bad(f, "stop", "each must have 1 to %d bytes and no U+0000",
                               BERTH_STOP_BYTES_MAX);
    *ret = s.at;
    return 0;
}

static int
read_stop(struct berth_fields *f, struct berth_arena *a, struct berth_gen *g)
{
    const struct berth_json *v = berth_field(f, "stop");
    const bool many = berth_json_type(v) == BERTH_JSON_ARRAY;
    const size_t n = many ? berth_json_len(v) : 1;
    const char **stop;

    if (v == NULL || n == 0)
        return 0;
    if (n > BERTH_STOP_MAX)
        return berth_field_bad(f, "stop", "must have at most %d strings", BERTH_STOP_MAX);
    stop = BERTH_NEW_N(a, const char *, n);
    if (stop == NULL)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    g->stop = stop;
    g->stop_count = n;
    if (!many)
        return read_one_stop(f, v, &stop[0]);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const int r = read_one_stop(f, it.value, &stop[it.index]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int
read_bias(struct berth_fields *f, struct berth_arena *a, struct berth_gen *g)
{
    const struct berth_json *v = berth_field(f, "logit_bias");
    const size_t n = berth_json_len(v);
    struct berth_logit_bias *bias;
    size_t i = 0;

    if (v == NULL)
        return 0;
    if (berth_json_type(v) != BERTH_JSON_OBJECT || n > BERTH_BIAS_MAX)
        return berth_field_bad(f, "logit_bias",
                               "must be an object of at most %d token numbers to biases",
                               BERTH_BIAS_MAX);
    if (n == 0)
        return 0;
    bias = BERTH_NEW_N(a, struct berth_logit_bias, n);
    if (bias == NULL)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it) && i < n; i++) {
        int64_t token;
        double x;

        if (!berth_int_parse(it.key.at, it.key.len, 0, INT32_MAX, &token) ||
            !berth_json_real(it.value, &x) || !(x >= -100 && x <= 100))
            return berth_field_bad(f, "logit_bias",
                                   "each key must be a token's number and each value a number "
                                   "from -100 to 100");
        bias[i] = (struct berth_logit_bias){.token = (int32_t)token, .bias = (float)x};
    }
    g->bias = bias;
    g->bias_count = i;
    return 0;
}

int
berth_gen_read(struct berth_fields *f, struct berth_arena *a, struct berth_gen *g)
{
    int64_t top_k = g->top_k, seed = (int64_t)g->seed;
    int r;

    if ((r = berth_field_float(f, "temperature", 0, 2, &g->temperature)) < 0 ||
        (r = berth_field_float(f, "top_p", 0, 1, &g->top_p)) < 0 ||
        (r = berth_field_float(f, "min_p", 0, 1, &g->min_p)) < 0 ||
        (r = berth_field_int(f, "top_k", -1, INT32_MAX, &top_k)) < 0 ||
        (r = berth_field_float(f, "presence_penalty", -2, 2, &g->presence_penalty)) < 0 ||
        (r = berth_field_float(f, "frequency_penalty", -2, 2, &g->frequency_penalty)) < 0 ||
        (r = berth_field_float(f, "repetition_penalty", 0.01, 10, &g->repeat_penalty)) < 0 ||
        (r = berth_field_float(f, "repeat_penalty", 0.01, 10, &g->repeat_penalty)) < 0 ||
        (r = berth_field_int(f, "seed", INT64_MIN, INT64_MAX, &seed)) < 0 ||
        (r = berth_field_bool(f, "ignore_eos", &g->ignore_eos)) < 0 ||
        (r = read_stop(f, a, g)) < 0 || (r = read_bias(f, a, g)) < 0)
        return r;
    /* Nothing is below the most likely token: the smallest share keeps that one alone. */
    if (g->top_p <= 0)
        g->top_p = 1e-6f;
    g->top_k = top_k > 0 ? (int32_t)top_k : 0; /* -1 is how some clients write "off" */
    g->seeded = g->seeded || berth_field(f, "seed") != NULL;
    g->seed = (uint64_t)seed;
    return 0;
}
